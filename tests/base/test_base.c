/* test_base.c - errors cut at a character, sizes that cannot wrap, buffers that keep what they hold, CPU caps. */
#include <stdlib.h>
#include <string.h>
#include "base/cpu.h"
#include "base/err.h"
#include "base/random.h"
#include "check.h"

static void fail_writes_one_clean_sentence(void **state)
{
    gram_err err;

    (void)state;
    assert_int_equal(gr_fail(&err, GRAM_EFORMAT, "%s:%d: bad\nrow\t\x7f", "file", 3), GRAM_EFORMAT);
    assert_int_equal(err.status, GRAM_EFORMAT);
    assert_string_equal(err.text, "file:3: bad?row??");
    assert_int_equal(gr_fail(NULL, GRAM_EIO, "nobody listens"), GRAM_EIO);
    assert_int_equal(gr_nomem(&err, "pool"), GRAM_ENOMEM);
    assert_string_equal(err.text, "pool: out of memory");
}

/* Whatever the length of what comes before, a cut text ends with a whole character. */
static void fail_cuts_between_characters(void **state)
{
    char text[2100], before[8] = "";
    gram_err err;

    (void)state;
    text[0] = '\0';
    for (int i = 0; i < 500; i++)
        strcat(text, "\xf0\x9f\x98\x80");
    for (size_t shift = 0; shift < 5; shift++, strcat(before, "x")) {
        gr_fail(&err, GRAM_EARG, "%s%s", before, text);
        assert_in_range(strlen(err.text), sizeof err.text - 5, sizeof err.text - 1);
        assert_int_equal((strlen(err.text) - shift) % 4, 0);
    }
}

static void every_status_has_a_name(void **state)
{
    (void)state;
    for (int s = GRAM_OK; s <= GRAM_ESTOPPED; s++)
        assert_string_not_equal(gram_status_name((gram_status)s), "unknown status");
    assert_string_equal(gram_status_name((gram_status)99), "unknown status");
}

static void sizes_do_not_wrap(void **state)
{
    size_t n;

    (void)state;
    assert_true(gr_mul(3, 5, &n) && n == 15);
    assert_false(gr_mul(SIZE_MAX, 2, &n));
    assert_true(gr_add(SIZE_MAX - 1, 1, &n) && n == SIZE_MAX);
    assert_false(gr_add(SIZE_MAX, 1, &n));
    assert_null(gr_calloc(SIZE_MAX / 2, 3));
    assert_null(gr_alloc_aligned(SIZE_MAX, 1));
    assert_null(gr_alloc_aligned(SIZE_MAX / 4, 8));
    assert_null(gr_strndup("x", SIZE_MAX));
}

static void aligned_memory_is_aligned(void **state)
{
    (void)state;
    for (size_t n = 0; n < 200; n += 13) {
        char *p = gr_alloc_aligned(n, 1);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % GR_ALIGN, 0);
        memset(p, 1, n);
        free(p);
    }
}

static void buffers_grow_and_stay_terminated(void **state)
{
    gr_buf b = { 0 };

    (void)state;
    for (int i = 0; i < 1000; i++) {
        assert_true(gr_buf_printf(&b, "%d,", i));
        assert_int_equal(strlen(b.p), b.n);
    }
    assert_true(gr_buf_puts(&b, "end") && gr_buf_add(&b, NULL, 0));
    assert_int_equal(b.n, 10 * 2 + 90 * 3 + 900 * 4 + 3);
    assert_memory_equal(b.p, "0,1,2,", 6);
    assert_false(gr_buf_add(&b, "x", SIZE_MAX));
    assert_string_equal(b.p + b.n - 3, "end");
    gr_buf_clear(&b);
    assert_null(b.p);
}

static void ids_grow(void **state)
{
    gr_ids ids = { 0 };

    (void)state;
    for (int32_t i = 0; i < 1000; i++)
        assert_true(gr_ids_add(&ids, &i, 1));
    for (int32_t i = 0; i < 1000; i++)
        assert_int_equal(ids.p[i], i);
    assert_false(gr_ids_add(&ids, ids.p, SIZE_MAX));
    assert_int_equal(ids.n, 1000);
    gr_ids_clear(&ids);
}

static void arena_hands_out_aligned_pieces(void **state)
{
    static unsigned char block[4 * GR_ALIGN];
    gr_arena a = { block, sizeof block, 0 };

    (void)state;
    for (int round = 0; round < 2; round++) {
        assert_ptr_equal(gr_arena_alloc(&a, 1), block);
        assert_ptr_equal(gr_arena_alloc(&a, GR_ALIGN + 1), block + GR_ALIGN);
        assert_ptr_equal(gr_arena_alloc(&a, GR_ALIGN), block + 3 * GR_ALIGN);
        assert_int_equal(a.used, a.size);
        gr_arena_reset(&a);
    }
}

/* Each value below n as often as the others: of 7000 draws 1000 each, give or take 5 standard deviations of 29. */
static void random_numbers_stay_below(void **state)
{
    uint64_t s = 3;
    size_t seen[8] = { 0 };

    (void)state;
    for (int i = 0; i < 7000; i++) {
        size_t k = gr_random_below(&s, 7);
        assert_in_range(k, 0, 6);
        seen[k]++;
    }
    for (int k = 0; k < 7; k++)
        assert_in_range(seen[k], 853, 1147);
    assert_int_equal(gr_random_below(&s, 1), 0);
}

static void cpu_can_be_capped(void **state)
{
    unsigned best;
    gram_err err;

    (void)state;
    unsetenv("GRAM_CPU");
    best = gr_cpu();
    setenv("GRAM_CPU", "ref", 1);
    assert_int_equal(gr_cpu(), 0);
    setenv("GRAM_CPU", "avx2", 1);
    assert_int_equal(gr_cpu(), best & GR_CPU_AVX2);
    setenv("GRAM_CPU", "avx512", 1);
    assert_int_equal(gr_cpu(), best & (GR_CPU_AVX2 | GR_CPU_AVX512));
    setenv("GRAM_CPU", "vnni", 1);
    assert_int_equal(gr_cpu(), best & (GR_CPU_AVX2 | GR_CPU_AVX512 | GR_CPU_VNNI));
    setenv("GRAM_CPU", "bf16", 1);
    assert_int_equal(gr_cpu(), best & ~(unsigned)(GR_CPU_AMX | GR_CPU_SPLIT));
    setenv("GRAM_CPU", "bf16x3", 1);
    assert_int_equal(gr_cpu(),
                     (best & ~(unsigned)(GR_CPU_AMX | GR_CPU_SPLIT)) | (best & GR_CPU_BF16 ? GR_CPU_SPLIT : 0u));
    assert_true(!gr_cpu_check(&err) == ((best & GR_CPU_BF16) != 0));
    assert_true(best & GR_CPU_BF16 || strstr(err.text, "bf16x3: this CPU multiplies no bfloat16"));
    setenv("GRAM_CPU", "amx", 1);
    assert_int_equal(gr_cpu(), best);
    assert_int_equal(gr_cpu_check(&err), GRAM_OK);
    setenv("GRAM_CPU", "avx", 1);
    assert_int_equal(gr_cpu_check(&err), GRAM_EARG);
    assert_non_null(strstr(err.text, "bf16x3|amx, found \"avx\""));
    setenv("GRAM_CPU", "", 1);
    assert_int_equal(gr_cpu_check(&err), GRAM_OK);
    unsetenv("GRAM_CPU");
    assert_string_equal(gr_cpu_name(0), "ref");
    assert_string_equal(gr_cpu_name(GR_CPU_AVX2), "avx2");
    assert_string_equal(gr_cpu_name(GR_CPU_AVX2 | GR_CPU_AVX512), "avx512");
    assert_string_equal(gr_cpu_name(GR_CPU_AVX2 | GR_CPU_AVX512 | GR_CPU_VNNI), "avx512+vnni");
    assert_string_equal(gr_cpu_name(15), "avx512+vnni+bf16");
    assert_string_equal(gr_cpu_name(47), "avx512+vnni+bf16x3");
    assert_string_equal(gr_cpu_name(63), "avx512+vnni+bf16+amx");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fail_writes_one_clean_sentence), cmocka_unit_test(fail_cuts_between_characters),
        cmocka_unit_test(every_status_has_a_name), cmocka_unit_test(sizes_do_not_wrap),
        cmocka_unit_test(aligned_memory_is_aligned), cmocka_unit_test(buffers_grow_and_stay_terminated),
        cmocka_unit_test(ids_grow), cmocka_unit_test(arena_hands_out_aligned_pieces),
        cmocka_unit_test(random_numbers_stay_below), cmocka_unit_test(cpu_can_be_capped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
