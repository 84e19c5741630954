/* test_scores_gpu.c - scores of tiny models on an emulated GPU: in float32 those of the CPU, in bfloat16 near them, and
 * the same bits alone, in any batch, in any order, with what was read before kept, and whatever order threads go in.
 *
 * Whole files of golden logits pass on it too: GRAM_DEVICE=cuda:0 build/tests/model/test_golden_models. */
#include <math.h>
#include <sys/stat.h>
#include "file/io.h"
#include "file/save.h"
#include "gpu.h"
#include "model/model.h"

enum { SEQS = 5, MOST = 150, LABELS = 2, ROUNDED = 2 };        /* ROUNDED: so many of the models in bfloat16, too */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { DIRS = 1 };
#else
enum { DIRS = 5 };
#endif
static const int32_t label[LABELS] = { 5, 6 };
static int32_t tokens[SEQS][MOST];
static gr_seq seq[SEQS];
static gr_device *gpu, *cpu;

static int open_devices(void **state)
{
    (void)state;
    gpu = gpu_open();
    CHECK_OK(gr_device_open(&cpu, "cpu", 1, &check_err));
    for (size_t i = 0; i < SEQS; i++) {                 /* some begin alike; one is alone in its tile, one is long */
        seq[i] = (gr_seq){ tokens[i], i == 0 ? 1 : i == 1 ? MOST - 3 : 50 + 7 * i };
        for (size_t t = 0; t < seq[i].n; t++)
            tokens[i][t] = (int32_t)(t < 45 ? 7 * t + (i == 3) : 11 * t + 5 * i) % 61;
    }
    return 0;
}

static int close_devices(void **state)
{
    (void)state;
    gr_device_close(gpu);
    gr_device_close(cpu);
    return 0;
}

struct subject { gr_device *d; gr_weights *weights; gr_model *model; gr_work *work; };

static struct subject subject_open(gr_device *d, const char *dir, gr_linear_mode mode)
{
    struct subject s = { .d = d };
    char path[512];
    gr_config cfg;

    snprintf(path, sizeof path, "%s%s", strchr(dir, '/') ? "" : "tests/golden/models/", dir);
    CHECK_OK(gr_weights_open_dir(&s.weights, path, &check_err));
    CHECK_OK(gr_config_read(&cfg, path, &check_err));
    CHECK_OK(gr_model_open(&s.model, d, s.weights, &cfg, mode, &check_err));
    CHECK_OK(gr_work_open(&s.work, s.model, NULL, GR_ROWS_ALIKE, d, &check_err));
    return s;
}

static void subject_close(struct subject *s)
{
    gr_work_close(s->work);
    gr_model_close(s->model);
    gr_weights_close(s->weights);
}

/* The logits of seq[which[0..n)] in one batch. */
static void batch(const struct subject *s, gr_kv_tree *cache, const size_t *which, size_t n, float (*out)[LABELS])
{
    gr_seq picked[SEQS];
    float z[SEQS * LABELS];
    gr_forest f;

    for (size_t i = 0; i < n; i++)
        picked[i] = seq[which[i]];
    CHECK_OK(gr_forest_init(&f, picked, n, gr_model_config(s->model)->far.after, cache, GR_SAVE_ALL, &check_err));
    CHECK_OK(gr_model_label_logits(s->work, &f, label, LABELS, z, &check_err));
    for (size_t i = 0; i < n; i++)
        memcpy(out[which[i]], z + i * LABELS, sizeof *out);
    gr_forest_clear(&f, true);
}

static const size_t forth[SEQS] = { 0, 1, 2, 3, 4 }, back[SEQS] = { 4, 3, 2, 1, 0 };

static void expect(float (*got)[LABELS], float (*want)[LABELS], const char *dir, const char *what)
{
    for (size_t i = 0; i < SEQS; i++)
        if (memcmp(got[i], want[i], sizeof *want))
            fail_msg("%s, %s, sequence %zu: %.9g, alone %.9g", dir, what, i, (double)got[i][0], (double)want[i][0]);
}

/* Each alone, and all the ways in which they come together. */
static void read_all(const struct subject *s, const char *dir, float (*alone)[LABELS])
{
    float got[SEQS][LABELS];
    gr_kv_tree *cache;

    for (size_t i = 0; i < SEQS; i++)
        batch(s, NULL, &i, 1, alone);
    batch(s, NULL, back, SEQS, got);
    expect(got, alone, dir, "all in one batch");
    CHECK_OK(gr_model_kv_open(&cache, s->model, s->d, (size_t)1 << 24, &check_err));
    for (int round = 0; round < 2; round++) {
        batch(s, cache, forth, 3, got);
        batch(s, cache, forth + 3, 2, got);
        expect(got, alone, dir, "with a cache");
    }
    assert_true(gr_kv_bytes(cache) > 0);
    gr_kv_close(cache);
    for (enum gpu_order order = GPU_DESCENDING; order <= GPU_RANDOM && gpu_order(order); order++) {
        batch(s, NULL, forth, SEQS, got);
        expect(got, alone, dir, "with threads in another order");
    }
    gpu_order(GPU_AS_ASKED);
}

static double worst(float (*got)[LABELS], float (*want)[LABELS])
{
    double most = 0, off = 0;

    for (size_t i = 0; i < SEQS; i++)
        for (size_t k = 0; k < LABELS; k++) {
            most = fmax(most, fabs((double)want[i][k]));
            off = fabs((double)got[i][k] - want[i][k]) <= off ? off : fabs((double)got[i][k] - want[i][k]);
        }
    return off / most;
}

/* float32: the project's bound. bfloat16: weights and the inputs of products are rounded by 2^-9 of themselves on
 * average; in a layer four such errors follow each other and in two layers eight, which add like a random walk to
 * sqrt(16) 2^-9 = 2^-7 of a hidden state. A label's logit may be a small difference of large numbers: four times
 * that. */
static void is_the_cpus(gr_device *on, const char *dir, gr_linear_mode mode)
{
    struct subject a = subject_open(cpu, dir, mode), b = subject_open(on, dir, mode);
    float want[SEQS][LABELS], got[SEQS][LABELS];
    double off, bound = mode == GR_LINEAR_F32 ? 1e-3 : 0x1p-5;

    batch(&a, NULL, forth, SEQS, want);
    read_all(&b, dir, got);
    off = worst(got, want);
    if (!(off <= bound))
        fail_msg("%s, mode %d: off by %.3g of the largest, %.3g allowed", dir, (int)mode, off, bound);
    subject_close(&a);
    subject_close(&b);
}

static void scores_are_the_cpus(void **state)
{
    static const char *const dirs[] = { "qwen3", "llama_gqa", "gemma3", "qwen3_moe", "phi3_long" };

    (void)state;
    for (size_t i = 0; i < DIRS; i++)
        for (gr_linear_mode mode = GR_LINEAR_F32; mode <= (i < ROUNDED ? GR_LINEAR_BF16 : GR_LINEAR_F32); mode++)
            is_the_cpus(gpu, dirs[i], mode);
}

/* A llama of two layers with heads of `head` numbers, two of them and one of keys: none of the golden ones has such. */
enum { WORDS = 61, WIDE = 32, LAYERS = 2, QUERIES = 2, EACH = 9 };
static void write_model(char *dir, size_t n_dir, size_t head)
{
    static const char *const part[EACH] = { "input_layernorm.weight", "self_attn.q_proj.weight",
        "self_attn.k_proj.weight", "self_attn.v_proj.weight", "self_attn.o_proj.weight",
        "post_attention_layernorm.weight", "mlp.gate_proj.weight", "mlp.up_proj.weight", "mlp.down_proj.weight" };
    const size_t shape[EACH][2] = { { 1, WIDE }, { QUERIES * head, WIDE }, { head, WIDE }, { head, WIDE },
        { WIDE, QUERIES * head }, { 1, WIDE }, { WIDE, WIDE }, { WIDE, WIDE }, { WIDE, WIDE } };
    gr_saved t[LAYERS * EACH + 2] = { { "model.", "embed_tokens.weight", check_randn(WORDS * WIDE, 1), WORDS, WIDE },
                                      { "model.", "norm.weight", check_randn(WIDE, 2), 1, WIDE } };
    char prefix[LAYERS][64], path[512], config[512];

    snprintf(dir, n_dir, "%s/heads%zu", check_tmpdir(), head);
    assert_int_equal(mkdir(dir, 0777), 0);
    for (size_t i = 0; i < LAYERS * EACH; i++) {
        size_t rows = shape[i % EACH][0], cols = shape[i % EACH][1];
        float *x = check_randn(rows * cols, i + 3);
        for (size_t k = 0; k < rows * cols && rows > 1; k++)
            x[k] /= sqrtf((float)cols);
        snprintf(prefix[i / EACH], sizeof *prefix, "model.layers.%zu.", i / EACH);
        t[i + 2] = (gr_saved){ prefix[i / EACH], part[i % EACH], x, rows, cols };
    }
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    CHECK_OK(gr_st_write(path, t, GR_COUNT(t), NULL, 0, &check_err));
    snprintf(config, sizeof config, "{\"model_type\":\"llama\",\"vocab_size\":%d,\"hidden_size\":%d,"
             "\"head_dim\":%zu,\"intermediate_size\":%d,\"num_hidden_layers\":%d,\"num_attention_heads\":%d,"
             "\"num_key_value_heads\":1,\"hidden_act\":\"silu\",\"max_position_embeddings\":256,"
             "\"rms_norm_eps\":1e-5,\"rope_theta\":10000.0,\"tie_word_embeddings\":true}", WORDS, WIDE, head, WIDE,
             LAYERS, QUERIES);
    snprintf(path, sizeof path, "%s/config.json", dir);
    CHECK_OK(gr_write_file(path, config, strlen(config), &check_err));
}

/* Heads that it attends with by wgmma. On hardware that is no Hopper: as any other. */
static void scores_of_a_hopper_are_the_cpus(void **state)
{
    gr_device *hopper = gpu_open_hopper();
    char dir[256];

    (void)state;
    for (size_t head = 64; head <= (DIRS == 1 ? 64 : 128); head *= 2) {
        write_model(dir, sizeof dir, head);
        is_the_cpus(hopper, dir, GR_LINEAR_BF16);
    }
    gr_device_close(hopper);
}

/* With an argument: the tests of that name alone. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(scores_are_the_cpus),
                                        cmocka_unit_test(scores_of_a_hopper_are_the_cpus) };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, open_devices, close_devices);
}
