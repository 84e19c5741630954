/* test_packed.c - 8-bit weights as a file holds them: what lies where, the bits of the same weight opened from its
 * float32, many rows and a handful, and what is refused. The program runs itself again for each instruction set. */
#include <stdlib.h>
#include <string.h>
#include "base/cpu.h"
#include "check.h"
#include "forward.h"
#include "op/packed.h"

static const struct { size_t O, K; } shape[] = {
    { 1, 1 }, { 2, 576 }, { 17, 33 }, { 64, 64 }, { 80, 40 }, { 320, 960 }, { 576, 576 }, { 520, 130 },
};

struct source { const float *w; size_t K; };

static const void *row_of(void *arg, size_t o, size_t k, size_t n, float *room)
{
    const struct source *s = arg;

    return o % 2 ? memcpy(room, s->w + o * s->K + k, n * sizeof *room) : s->w + o * s->K + k;
}

static void *pack(const float *w, size_t O, size_t K, size_t threads, size_t *bytes)
{
    struct source s = { w, K };
    void *p;

    *bytes = (size_t)gr_packed_bytes(O, K);
    p = gr_alloc_aligned(*bytes, 1);
    assert_non_null(p);
    memset(p, 0xaa, *bytes);
    CHECK_OK(gr_packed_make(p, check_device(threads), O, K, row_of, &s, false, &check_err));
    return p;
}

/* Each byte is the reference's, at its place; what is behind the outputs and behind K is 0, and any number of threads
 * makes the same bytes. */
static void bytes_lie_where_they_should(void **state)
{
    (void)state;
    for (size_t i = 0; i < GR_COUNT(shape); i++) {
        size_t O = shape[i].O, K = shape[i].K, Kp = gr_round_up(K, 64), bytes;
        float *w = check_randn(O * K, 2), *row = check_fenced(K * sizeof *row);
        int8_t *q = check_fenced(Kp);
        void *p = pack(w, O, K, 1, &bytes), *again = pack(w, O, K, 3, &bytes);
        gr_packed got;
        CHECK_OK(gr_packed_read(&got, "w", p, bytes, &check_err));
        assert_true(got.O == O && got.K == K);
        assert_memory_equal(p, again, bytes);
        for (size_t o = 0; o < gr_round_up(O, 64); o++) {
            float scale = 0;
            int32_t sum = 0;
            memset(q, 0, Kp);
            if (o < O) {
                gr_rotate_row_ref(row, w + o * K, K, gr_packed_rotated(K));
                sum = gr_quant_weight_ref(q, &scale, row, K);
            }
            assert_true(got.scale[o] == scale && got.sum[o] == sum);
            for (size_t k = 0; k < Kp; k++)
                assert_int_equal(got.panels[o / 64 * 64 * Kp + k / 4 * 256 + o % 64 * 4 + k % 4], q[k]);
        }
        free(p), free(again);
    }
}

static void it_multiplies_as_what_it_was_made_of(void **state)
{
    (void)state;
    for (size_t i = 0; i < GR_COUNT(shape); i++) {
        enum { FEW = 5 };
        size_t O = shape[i].O, K = shape[i].K, M = GR_TILE, bytes;
        float *w = check_randn(O * K, 2), *x = check_randn(M * K, 1), *bias = i % 2 ? check_randn(O, 3) : NULL;
        gr_tensor t = { GR_F32, w, O, K };
        void *p = pack(w, O, K, 1, &bytes);
        const gr_tensor shape_only = { GR_F32, NULL, O, K };
        size_t room = gr_round_up(gr_linear_int8_bytes(check_device(1), O, K, false), GR_ALIGN);
        gr_arena in = { gr_alloc_aligned(room, 1), room, 0 };
        gr_linear *direct, *packed, *put[2];
        gr_packed read;
        CHECK_OK(gr_packed_read(&read, "w", p, bytes, &check_err));
        CHECK_OK(gr_linear_open(&direct, check_device(1), &t, bias, GR_LINEAR_INT8, &check_err));
        CHECK_OK(gr_linear_open_int8(&packed, check_device(1), &shape_only, &read, bias, NULL, &check_err));
        assert_true(gr_linear_borrows(packed) == ((gr_cpu() & GR_CPU_VNNI) != 0));
        for (size_t k = 0; k < GR_COUNT(put); k++) {       /* there is room for one; the other gets its own */
            CHECK_OK(gr_linear_open_int8(&put[k], check_device(1), &t, NULL, bias, &in, &check_err));
            assert_true(in.used == room);
        }
        for (size_t k = 0; k < GR_COUNT(put); k++) {
            assert_memory_equal(forward(put[k], x, M, O, K), forward(direct, x, M, O, K), M * O * sizeof *x);
            gr_linear_close(put[k]);
        }
        free(in.base);
        assert_memory_equal(forward(packed, x, M, O, K), forward(direct, x, M, O, K), M * O * sizeof *x);
        assert_memory_equal(forward_few(1, packed, x, FEW, O, K), forward_few(1, direct, x, FEW, O, K),
                            FEW * O * sizeof *x);
        assert_true(gr_linear_bytes(packed) == gr_linear_bytes(direct));
        gr_linear_close(direct);
        gr_linear_close(packed);
        free(p);
    }
}

static void what_is_not_whole_is_refused(void **state)
{
    static const struct { size_t at; unsigned char to; gram_status rc; const char *says; } one[] = {
        { 0, 'G', GRAM_EFORMAT, "begin with gramint8" }, { 8, 2, GRAM_EUNSUPPORTED, "layout 2, and this gram reads 1" },
        { 16, 200, GRAM_EFORMAT, "8-bit weights of [200, 33]" }, { 24, 65, GRAM_EFORMAT, "of [17, 65]" },
        { 31, 255, GRAM_EFORMAT, "bytes, and" }, { 24, 0, GRAM_EFORMAT, "of [17, 0] have 0" },
        { 64 + 3, 255, GRAM_EFORMAT, "output 0 has the scale" },            /* negative */
        { 64 + 4 * 64 + 4 * 16 + 3, 127, GRAM_EFORMAT, "output 16 has" },     /* a sum far too large */
    };
    enum { O = 17, K = 33 };
    float *w = check_randn(O * K, 2);
    gr_packed read;
    size_t bytes;

    (void)state;
    for (size_t i = 0; i < GR_COUNT(one); i++) {
        unsigned char *p = pack(w, O, K, 1, &bytes);
        p[one[i].at] = one[i].to;
        assert_int_equal(gr_packed_read(&read, "file: tensor w", p, bytes, &check_err), one[i].rc);
        if (strncmp(check_err.text, "file: tensor w: ", 16) || !strstr(check_err.text, one[i].says))
            fail_msg("case %zu: %s", i, check_err.text);
        free(p);
    }
    for (size_t n = 0; n < 200; n += 7) {
        unsigned char *p = pack(w, O, K, 1, &bytes);
        assert_int_equal(gr_packed_read(&read, "w", p, n < 100 ? n : bytes - n, &check_err), GRAM_EFORMAT);
        free(p);
    }
    assert_true(gr_packed_bytes(SIZE_MAX / 64, SIZE_MAX / 64) == 0 && gr_packed_bytes(SIZE_MAX, 1) == 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_lie_where_they_should),
        cmocka_unit_test(it_multiplies_as_what_it_was_made_of),
        cmocka_unit_test(what_is_not_whole_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL) + check_capped(argc, argv) != 0;
}
