/* test_same_bits.c - a score does not depend on its neighbours: equal bits alone, in any batch, in any order, at
 * 1, 2 or 3 threads, and with its beginning taken from the cache. For every dtype and under every GRAM_CPU, or on the
 * device that GRAM_DEVICE names: an emulated one takes some of the models and of the sequences. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/cpu.h"
#include "check.h"
#include "device.h"
#include "model/model.h"
#include "op/op.h"

enum { SEQS = 40, LABELS = 3 };
static const int32_t label[LABELS] = { 5, 6, 7 };
static int32_t tokens[SEQS][512];
static gr_seq seq[SEQS];
static size_t seqs;             /* so many of them are taken */

/* Questions that share a beginning, answers that share some of the rest, and lengths on both sides of a tile. */
static void draw(void)
{
    unsigned seed = 3;

    seqs = check_some(gr_cpu() ? SEQS : 15, 8);     /* the plain kernels are twenty times as slow */
    for (size_t i = 0; i < SEQS; i++) {
        size_t shared = i % 4 * 37;
        seq[i] = (gr_seq){ tokens[i], 1 + shared + (size_t)rand_r(&seed) % (i % 5 ? 60 : 300) };
        for (size_t t = 0; t < seq[i].n; t++)
            tokens[i][t] = t < shared ? (int32_t)(t * 31 + i % 2) % 61 : rand_r(&seed) % 61;
    }
}

struct subject {
    gr_weights *weights;
    gr_model *model;
    gr_linear_mode mode;
    gr_rows_way way;
    size_t ends;                /* > 0: tokens between the first 20 and so many at the end are of one byte */
};

static struct subject subject_open(const char *dir, gr_linear_mode mode, gr_rows_way way, size_t ends)
{
    struct subject s = { .mode = mode, .way = way, .ends = ends };
    gr_config cfg;

    if (strstr(dir, ".gguf")) {
        CHECK_OK(gr_weights_open_gguf(&s.weights, dir, &check_err));
        CHECK_OK(gr_config_from_gguf(&cfg, gr_weights_gguf(s.weights), s.weights, &check_err));
    } else {
        CHECK_OK(gr_weights_open_dir(&s.weights, dir, &check_err));
        CHECK_OK(gr_config_read(&cfg, dir, &check_err));
    }
    CHECK_OK(gr_model_open(&s.model, check_device(1), s.weights, &cfg, mode, &check_err));
    return s;
}

static void subject_close(struct subject *s)
{
    gr_model_close(s->model);
    gr_weights_close(s->weights);
}

/* The logits of seq[which[0..n)] in one batch. */
static void batch(const struct subject *s, size_t threads, gr_kv_tree *cache, const size_t *which, size_t n,
                  float (*out)[LABELS])
{
    gr_seq picked[SEQS];
    float z[SEQS * LABELS];
    gr_device *device;
    gr_work *work;
    gr_forest f;

    for (size_t i = 0; i < n; i++) {
        picked[i] = seq[which[i]];
        picked[i].one_from = 20;
        picked[i].one_to = s->ends ? picked[i].n - gr_min(picked[i].n, s->ends) : 0;
    }
    CHECK_OK(gr_device_open(&device, NULL, threads, &check_err));
    CHECK_OK(gr_work_open(&work, s->model, NULL, s->way, device, &check_err));
    CHECK_OK(gr_forest_init(&f, picked, n, gr_model_config(s->model)->far.after, cache, GR_SAVE_SHARED, &check_err));
    CHECK_OK(gr_model_label_logits(work, &f, label, LABELS, z, &check_err));
    for (size_t i = 0; i < n; i++)
        memcpy(out[which[i]], z + i * LABELS, sizeof *out);
    gr_forest_clear(&f, true);
    gr_work_close(work);
    gr_device_close(device);
}

static void expect_same(float (*got)[LABELS], float (*want)[LABELS], const char *what)
{
    for (size_t i = 0; i < seqs; i++)
        if (memcmp(got[i], want[i], sizeof *want))
            fail_msg("sequence %zu of %zu tokens, %s: %.9g, alone %.9g", i, seq[i].n, what, (double)got[i][0],
                     (double)want[i][0]);
}

/* Which has no bytes to multiply by, one lane, and one way for any number of rows. */
static bool on_gpu(void)
{
    return !gr_device_is_host(check_device(1));
}

static void shuffle(size_t order[SEQS], unsigned *seed)
{
    for (size_t i = seqs - 1; i > 0; i--) {
        size_t j = (size_t)rand_r(seed) % (i + 1), swap = order[i];
        order[i] = order[j];
        order[j] = swap;
    }
}

/* What takes turns from one subject to the next: which numbers of threads have all in one batch, and which have five;
 * each model has both, and each number of threads. */
static void check_subject(const char *dir, gr_linear_mode mode, gr_rows_way way, size_t ends)
{
    static size_t turn;
    struct subject s = subject_open(dir, mode, way, ends);
    float alone[SEQS][LABELS], got[SEQS][LABELS];
    size_t order[SEQS];
    unsigned seed = 5;
    gr_kv_tree *cache;

    for (size_t i = 0; i < seqs; i++)
        order[i] = i;
    if (CHECK_RACES)
        batch(&s, 2, NULL, order, seqs, alone);
    for (size_t i = 0; i < seqs && !CHECK_RACES; i++)
        batch(&s, 1, NULL, &i, 1, alone);
    check_digest(alone, seqs * sizeof *alone, "scores %s mode %d%s%s", dir, (int)mode, way == GR_ROWS_FEW ? " few" : "",
                 ends ? " one byte" : "");
    for (size_t threads = 1 + CHECK_RACES; threads <= (on_gpu() ? 2 : 3); threads++) {
        size_t together = (threads + turn + turn / 2) % 2 ? seqs : 5;
        shuffle(order, &seed);
        for (size_t i = 0; i < seqs; i += together)
            batch(&s, threads, NULL, order + i, gr_min(together, seqs - i), got);
        expect_same(got, alone, together == 5 ? "five in a batch" : "all in one batch");
    }
    CHECK_OK(gr_model_kv_open(&cache, s.model, check_device(1), (size_t)1 << 24, &check_err));
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < seqs; i += 8)
            batch(&s, 2, cache, order + i, gr_min(8, seqs - i), got);
        expect_same(got, alone, "with a cache");
    }
    turn++;
    assert_true(gr_kv_bytes(cache) > 0);
    gr_kv_close(cache);
    subject_close(&s);
}

static void scores_do_not_depend_on_neighbours(void **state)
{
    static const char *const dirs[] = { "qwen3", "gemma3", "llama_gqa", "mistral_window", "qwen2", "smollm3", "olmo2",
                                        "internlm2", "gemma", "gemma2", "granite",
                                        "phi3_long", "phi4_mini", "qwen3_moe",
                                        "qwen3_moe_stacked", "mixtral", "olmoe", "qwen2_moe" };
    static const gr_linear_mode modes[] = { GR_LINEAR_F32, GR_LINEAR_BF16, GR_LINEAR_INT8 };

    (void)state;
    draw();
    for (size_t d = 0; d < check_some(GR_COUNT(dirs), 2); d++)
        for (size_t m = 0; m < GR_COUNT(modes) - on_gpu(); m++) {
            char path[128];
            snprintf(path, sizeof path, "tests/golden/models/%s", dirs[d]);
            check_subject(path, modes[m], GR_ROWS_ALIKE, 0);
            if (!on_gpu())
                check_subject(path, modes[m], GR_ROWS_FEW, 0);
        }
}

static void nor_do_those_of_one_byte(void **state)
{
    static const char *const dirs[] = { "llama_gqa", "qwen3_moe", "phi3_long" };

    (void)state;
    if (!gr_linear_has_one_byte(check_device(1)))
        skip();
    draw();
    for (size_t d = 0; d < check_some(GR_COUNT(dirs), 2); d++) {
        char path[128];
        snprintf(path, sizeof path, "tests/golden/models/%s", dirs[d]);
        check_subject(path, GR_LINEAR_INT8, GR_ROWS_ALIKE, 16);
    }
}

/* Of a handful of rows they are those of weights that are kept. */
static void nor_do_those_of_products_in_bfloat16(void **state)
{
    static const char *const dirs[] = { "llama_gqa", "gemma3", "qwen3_moe", "phi3_long" };

    (void)state;
    if (!gr_linear_multiplies_bf16(check_device(1)) || check_some(2, 1) == 1)
        skip();
    draw();
    for (size_t d = 0; d < GR_COUNT(dirs); d++)
        for (gr_linear_mode mode = GR_LINEAR_ROUNDED; mode <= GR_LINEAR_SPLIT; mode++) {
            char path[128];
            snprintf(path, sizeof path, "tests/golden/models/%s", dirs[d]);
            check_subject(path, mode, GR_ROWS_ALIKE, 0);
        }
}

/* Whose products of few rows are of whole numbers, beside weights of float32 and alone. */
static void nor_do_those_of_quantised_files(void **state)
{
    static const gr_linear_mode modes[] = { GR_LINEAR_F32, GR_LINEAR_KEEP };

    (void)state;
    if (check_some(2, 1) == 1)
        skip();
    draw();
    for (size_t m = 0; m < GR_COUNT(modes); m++) {
        check_subject("tests/golden/models/gguf_q4_0/model.gguf", modes[m], GR_ROWS_FEW, 0);
        check_subject("tests/golden/models/gguf_q4_1/model.gguf", modes[m], GR_ROWS_FEW, 0);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(scores_do_not_depend_on_neighbours),
                                        cmocka_unit_test(nor_do_those_of_one_byte),
                                        cmocka_unit_test(nor_do_those_of_products_in_bfloat16),
                                        cmocka_unit_test(nor_do_those_of_quantised_files) };

    return cmocka_run_group_tests(tests, NULL, NULL) + CHECK_CAPPED(argc, argv) != 0;
}
