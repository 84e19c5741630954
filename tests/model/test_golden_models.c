/* test_golden_models.c - logits of tiny models of every architecture, stored in every way, as transformers gives them.
 *
 * scripts/golden_models.py made tests/golden/models/ and proved that each model's feature (a window, a rope, a bias)
 * moves its logits by far more than the tolerance here. A hidden state passes 2 products and 2 sums of squares a
 * layer, each a float32 sum of at most K numbers; each may be off by K roundings of half an ulp, so that two exact
 * programs differ by less than 2 * layers * K * FLT_EPSILON of the largest logit, K the longest of a model's sums. */
#include <float.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/cpu.h"
#include "check.h"
#include "device.h"
#include "file/io.h"
#include "model/model.h"
#include "op/op.h"

#define GOLDEN "tests/golden/models/"

static gr_device *device;      /* at first oneDNN's cap is settled: see main() */

struct golden {
    gr_weights *weights;
    gr_ids token;
    char *npy;
    float *logits;              /* [token.n, vocabulary], in npy */
    size_t vocabulary;
};

static char *read_all(const char *dir, const char *name, size_t *n)
{
    char path[256], *text = NULL;

    snprintf(path, sizeof path, GOLDEN "%s/%s", dir, name);
    CHECK_OK(gr_read_file(path, 1 << 24, &text, n, &check_err));
    return text;
}

static void read_ids(gr_ids *out, json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        int32_t id = (int32_t)json_integer_value(json_array_get(list, i));
        assert_true(gr_ids_add(out, &id, 1));
    }
}

/* "\x93NUMPY", version 1.0, u16 length of a header that says ...'shape': (T, V)..., then float32. */
static void read_npy(struct golden *g, const char *dir, const char *name, size_t tokens)
{
    size_t n, rows, header;
    const char *shape;

    g->npy = read_all(dir, name, &n);
    assert_true(n > 10 && !memcmp(g->npy, "\x93NUMPY\x01", 7));
    header = 10 + (unsigned char)g->npy[8] + 256u * (unsigned char)g->npy[9];
    shape = strstr(g->npy + 10, "'shape': (");
    assert_true(shape && strstr(g->npy + 10, "'<f4'"));
    assert_int_equal(sscanf(shape, "'shape': (%zu, %zu)", &rows, &g->vocabulary), 2);
    assert_int_equal(rows, tokens);
    assert_int_equal(n, header + rows * g->vocabulary * sizeof(float));
    g->logits = (float *)(void *)(g->npy + header);     /* NumPy pads the header to 64 bytes */
}

static void open_weights(struct golden *g, const char *dir)
{
    char path[256];

    snprintf(path, sizeof path, GOLDEN "%s/model.gguf", dir);
    if (gr_path_exists(path)) {
        CHECK_OK(gr_weights_open_gguf(&g->weights, path, &check_err));
        return;
    }
    snprintf(path, sizeof path, GOLDEN "%s", dir);
    CHECK_OK(gr_weights_open_dir(&g->weights, path, &check_err));
}

static struct golden golden_open(const char *dir)
{
    struct golden g = { 0 };
    size_t n;
    char *text = read_all(dir, "tokens.json", &n);
    json_t *list = json_loads(text, 0, NULL);

    read_ids(&g.token, list);
    json_decref(list);
    free(text);
    read_npy(&g, dir, "logits.npy", g.token.n);
    open_weights(&g, dir);
    return g;
}

static void golden_close(struct golden *g)
{
    gr_weights_close(g->weights);
    gr_ids_clear(&g->token);
    free(g->npy);
}

static gr_model *open_model(const struct golden *g, const char *dir, gr_linear_mode mode)
{
    const gr_gguf *meta = gr_weights_gguf(g->weights);
    char path[256];
    gr_config cfg;
    gr_model *m = NULL;

    snprintf(path, sizeof path, GOLDEN "%s", dir);
    CHECK_OK(meta ? gr_config_from_gguf(&cfg, meta, g->weights, &check_err) : gr_config_read(&cfg, path, &check_err));
    CHECK_OK(gr_model_open(&m, device, g->weights, &cfg, mode, &check_err));
    assert_int_equal(gr_model_config(m)->vocabulary, g->vocabulary);
    return m;
}

/* The sequence and two of its prefixes: three segments in a row, so that attention crosses their borders while the
 * rows stay those of the sequence. */
static void run(const gr_model *m, gr_rows_way way, const gr_ids *token, float *out)
{
    gr_seq seq[] = { { token->p, token->n }, { token->p, token->n / 3 }, { token->p, token->n / 3 * 2 } };
    gr_work *work = NULL;
    size_t *want = gr_calloc(token->n, sizeof *want), far = gr_model_config(m)->far.after;
    gr_forest f;

    assert_non_null(want);
    for (size_t i = 0; i < token->n; i++)
        want[i] = i;
    CHECK_OK(gr_work_open(&work, m, NULL, way, device, &check_err));
    CHECK_OK(gr_forest_init(&f, seq, far && token->n > far ? 1 : GR_COUNT(seq), far, NULL, GR_SAVE_SHARED, &check_err));
    assert_int_equal(f.rows, token->n);
    CHECK_OK(gr_model_logits(work, &f, want, token->n, out, &check_err));
    gr_forest_clear(&f, true);
    free(want);
    gr_work_close(work);
}

static bool on_gpu(void) { return !gr_device_is_host(device); }

/* A GPU has one for any number of rows. */
static gr_rows_way next_way(gr_rows_way way)
{
    return way == GR_ROWS_ALIKE && !on_gpu() ? GR_ROWS_FEW : GR_ROWS_FEW + 1;
}

static double tolerance(const gr_model *m, size_t T)
{
    const gr_config *c = gr_model_config(m);
    size_t K = gr_max(gr_max(c->width, gr_config_most_hidden(c)), gr_max(c->heads * c->head_dim, T));

    return 2.0 * (double)c->layers * (double)K * FLT_EPSILON;
}

/* A product of which each side is a sum of two bfloat16 is off by 5 2^-18 of the largest besides, as test_matmul_bf16.c
 * has it. */
static double split_tolerance(const gr_model *m, size_t T)
{
    return tolerance(m, T) + 2.0 * (double)gr_model_config(m)->layers * 5 * 0x1p-18;
}

/* Root of the mean squared difference, in units of that of the wanted numbers. */
static double rms_off(const float *a, const float *b, size_t n)
{
    double d = 0, s = 0;

    for (size_t i = 0; i < n; i++) {
        d += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        s += (double)b[i] * b[i];
    }
    return sqrt(d / s);
}

static bool all_bf16(const gr_weights *w)
{
    for (size_t i = 0; i < gr_weights_count(w); i++)
        if (gr_weights_at(w, i)->n_dims == 2 && gr_weights_at(w, i)->type != GR_BF16)
            return false;
    return true;
}

/* On a GPU rows are rounded between products, too: what comes of each, and in attention the weights and what they make.
 * Of 0.16 % that is sqrt(0.16^2 + 0.11^2) = 0.2 %, and 9 roundings for 7: 1.5 times as much. */
static double rounded_by(gr_linear_mode mode)
{
    return mode == GR_LINEAR_INT8 ? 0.054 : gr_linear_rows(device, mode) == GR_BF16 ? 1.5 * 0.0125 : 0.0125;
}

/* bf16 storage is exact where the file is bf16. Int8 rounds weights to 1/127 of a row's largest, about 3 sigma:
 * 3/127/sqrt(12) = 0.7 % of noise a product (an activation's is 64 times less), 1.8 % for the 7 of a layer; three times
 * that for softmax, which these models sharpen on purpose, and because a weight's error is the same in all tokens that
 * attention sums. A wrong scale or a saturated sum is far beyond it. Rounding to bfloat16 is 2^-9 at most, 0.11 % at
 * rms, 0.16 % of both sides where int8 has 0.7 %. */
static void check_mode(const struct golden *g, const char *dir, gr_linear_mode mode)
{
    size_t n = g->token.n * g->vocabulary;
    float *out = check_fenced(n * sizeof *out);
    gr_model *m = open_model(g, dir, mode);

    for (gr_rows_way way = GR_ROWS_ALIKE; way <= GR_ROWS_FEW; way = next_way(way)) {
        run(m, way, &g->token, out);
        check_digest(out, n * sizeof *out, "logits %s mode %d%s", dir, (int)mode, way == GR_ROWS_FEW ? " few" : "");
        if (mode == GR_LINEAR_INT8 || mode == GR_LINEAR_ROUNDED || gr_linear_rows(device, mode) == GR_BF16) {
            double most = rounded_by(mode) * (double)gr_model_config(m)->layers;
            if (!(rms_off(out, g->logits, n) < most))
                fail_msg("%s: mode %d is off by %.4f of the logits' spread", dir, (int)mode,
                         rms_off(out, g->logits, n));
        } else {
            CHECK_CLOSE(out, g->logits, n, (mode == GR_LINEAR_SPLIT ? split_tolerance : tolerance)(m, g->token.n));
        }
    }
    gr_model_close(m);
}

static bool has_experts(const char *dir)
{
    return strstr(dir, "moe") || strstr(dir, "mixtral");
}

static void agrees_with_transformers(void **state)
{
    /* A window, norms of heads, norms behind a branch, LongRoPE, experts, a bias, a quantised file. */
    static const char *const emulated[] = { "llama_gqa", "llama_bias", "mistral_window", "qwen3", "gemma3", "olmo2",
                                            "granite", "phi3_long", "qwen3_moe", "gguf_q4_0" };
    const char *dir = *state;
    bool taken = check_some(2, 1) == 2;
    struct golden g;
    static const unsigned cap[] = { ~0u, GR_CPU_AVX2, 0 };      /* all first: oneDNN obeys the first call alone */

    for (size_t i = 0; i < GR_COUNT(emulated); i++)
        taken |= !strcmp(dir, emulated[i]);
    if (!taken || !check_has(dir))
        skip();
    g = golden_open(dir);
    for (size_t i = 0; i < (CHECK_RACES || on_gpu() ? 1 : GR_COUNT(cap)); i++) {
        if (i && (gr_cpu() & cap[i]) == (gr_cpu() & cap[i - 1]))        /* as this program is capped itself */
            continue;
        if (!on_gpu()) {
            gr_device_close(device);
            CHECK_OK(gr_device_open_cpu(&device, 2, gr_kern_of(gr_cpu() & cap[i]), &check_err));
        }
        check_mode(&g, dir, GR_LINEAR_F32);
        if (!on_gpu() || getenv("GRAM_TEST_ALL"))
            check_mode(&g, dir, GR_LINEAR_KEEP);
        if (!on_gpu())
            check_mode(&g, dir, GR_LINEAR_INT8);
        if (all_bf16(g.weights) && (!on_gpu() || !has_experts(dir)))
            check_mode(&g, dir, GR_LINEAR_BF16);
        if (gr_linear_multiplies_bf16(device)) {
            /* a rounding may send a token to another expert, which gives other logits */
            if (!has_experts(dir))
                check_mode(&g, dir, GR_LINEAR_ROUNDED);
            if (!on_gpu())
                check_mode(&g, dir, GR_LINEAR_SPLIT);
        }
    }
    golden_close(&g);
}

/* A copy of Gemma's files as newer multimodal checkpoints have them: the text model's tensors under
 * "model.language_model.", beside others that are not read. */
static void write_nested(const char *dir)
{
    size_t n, bytes;
    char *all = read_all("gemma3", "model.safetensors", &n), *text, path[256];
    json_t *from, *to = json_object(), *v;
    const char *key;
    uint64_t len;
    FILE *f;

    memcpy(&len, all, sizeof len);
    bytes = n - 8 - (size_t)len;
    from = json_loadb(all + 8, (size_t)len, 0, NULL);
    json_object_foreach(from, key, v) {
        char name[128];
        snprintf(name, sizeof name, strncmp(key, "model.", 6) ? "%s" : "model.language_model.%s",
                 strncmp(key, "model.", 6) ? key : key + 6);
        json_object_set(to, name, v);
    }
    json_object_set_new(to, "model.vision_tower.w", json_pack("{s:s, s:[i], s:[i, i]}", "dtype", "F32", "shape", 1,
                                                              "data_offsets", (int)bytes, (int)bytes + 4));
    text = json_dumps(to, JSON_COMPACT);
    len = strlen(text);
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    f = fopen(path, "wb");
    assert_true(f && fwrite(&len, 8, 1, f) == 1 && fwrite(text, 1, len, f) == len);
    assert_true(fwrite(all + n - bytes, 1, bytes, f) == bytes && fwrite("\0\0\0", 1, 4, f) == 4 && !fclose(f));
    json_decref(from);
    json_decref(to);
    free(text);
    free(all);
}

static void a_multimodal_file_gives_the_same_bits(void **state)
{
    struct golden g = golden_open("gemma3");
    size_t n = g.token.n * g.vocabulary, bytes;
    float *want = check_fenced(n * sizeof *want), *out = check_fenced(n * sizeof *out);
    char *inner = read_all("gemma3", "config.json", &bytes), *config = NULL;
    gr_weights *w;
    gr_config cfg;
    gr_model *m = open_model(&g, "gemma3", GR_LINEAR_F32);

    (void)state;
    run(m, GR_ROWS_ALIKE, &g.token, want);
    gr_model_close(m);
    write_nested(check_tmpdir());
    CHECK_OK(gr_weights_open_dir(&w, check_tmpdir(), &check_err));
    assert_true(asprintf(&config, "{\"model_type\":\"gemma3\",\"text_config\":%s}", inner) > 0);
    CHECK_OK(gr_config_parse(&cfg, "config.json", config, strlen(config), &check_err));
    CHECK_OK(gr_model_open(&m, device, w, &cfg, GR_LINEAR_F32, &check_err));
    run(m, GR_ROWS_ALIKE, &g.token, out);
    assert_memory_equal(out, want, n * sizeof *out);
    gr_model_close(m);
    gr_weights_close(w);
    golden_close(&g);
    free(inner);
    free(config);
}

/* The logits at the end of n_seqs texts, in one batch. */
static void ends(const gr_model *m, gr_rows_way way, gr_kv_tree *cache, gr_save save, const gr_seq *seq, size_t n_seqs,
                 float *out)
{
    gr_work *work = NULL;
    gr_forest f;

    CHECK_OK(gr_work_open(&work, m, NULL, way, device, &check_err));
    CHECK_OK(gr_forest_init(&f, seq, n_seqs, gr_model_config(m)->far.after, cache, save, &check_err));
    CHECK_OK(gr_model_logits(work, &f, f.leaf_row, n_seqs, out, &check_err));
    gr_forest_clear(&f, true);
    gr_work_close(work);
}

/* LongRoPE: a text beyond the original context and its beginning, which is within it, in one batch and from one cache,
 * each with the logits that transformers gives it alone; and a text that is written on beyond it. */
static void a_text_has_the_rope_of_its_length(void **state)
{
    struct golden all = golden_open("phi3_long");
    size_t V = all.vocabulary, near = 48;
    gr_seq seq[] = { { all.token.p, near }, { all.token.p, all.token.n }, { all.token.p, near + 1 } };
    float *out = check_fenced(3 * V * sizeof *out), *again = check_fenced(3 * V * sizeof *out);
    struct golden brief = { 0 };
    gr_model *m = open_model(&all, "phi3_long", GR_LINEAR_KEEP);
    double tol = tolerance(m, all.token.n);
    gr_kv_tree *cache;

    (void)state;
    read_npy(&brief, "phi3_long", "short.npy", near);
    for (gr_rows_way way = GR_ROWS_ALIKE; way <= GR_ROWS_FEW; way = next_way(way)) {
        ends(m, way, NULL, GR_SAVE_SHARED, seq, 3, out);
        CHECK_CLOSE(out, brief.logits + (near - 1) * V, V, tol);
        CHECK_CLOSE(out + V, all.logits + (all.token.n - 1) * V, V, tol);
        CHECK_CLOSE(out + 2 * V, all.logits + near * V, V, tol);
        CHECK_OK(gr_model_kv_open(&cache, m, device, SIZE_MAX / 2, &check_err));
        for (int turn = 0; turn < 2; turn++)
            for (size_t i = 0; i < 3; i++) {        /* each is known, in part or whole, by the time it comes again */
                ends(m, way, cache, GR_SAVE_ALL, &seq[turn ? i : 2 - i], 1, again);
                assert_memory_equal(again, out + (turn ? i : 2 - i) * V, V * sizeof *out);
            }
        gr_kv_close(cache);
    }
    gr_model_close(m);
    free(brief.npy);
    golden_close(&all);
}

#define MODEL(name) { name, agrees_with_transformers, NULL, NULL, (void *)(uintptr_t)name }

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        MODEL("llama_mha"), MODEL("llama_gqa"), MODEL("llama_scaled"), MODEL("llama_scaled_new"),
        MODEL("qwen3_fp8"), MODEL("llama_fp8_channels"), MODEL("llama_gptq"), MODEL("llama_gptq_v2"),
        MODEL("qwen2_awq"), MODEL("llama_ct_packed"), MODEL("llama_ct_int8"),
        MODEL("llama_nf4"), MODEL("llama_fp4"), MODEL("llama_bnb8"),
        MODEL("llama_f64"), MODEL("llama_yarn"), MODEL("gguf_yarn"),
        MODEL("llama_linear"), MODEL("llama_bias"), MODEL("mistral_window"), MODEL("mistral_wide"), MODEL("qwen2"),
        MODEL("qwen2_window"), MODEL("qwen3"), MODEL("qwen3_sharded"), MODEL("gemma3"), MODEL("gemma3_untied"),
        MODEL("qwen3_head320"), MODEL("gemma3_head512"), MODEL("smollm3"), MODEL("smollm3_old"),
        MODEL("olmo2"), MODEL("internlm2"),
        MODEL("phi3"), MODEL("phi3_long"), MODEL("phi4_mini"), MODEL("gemma2"), MODEL("gemma2_untied"), MODEL("gemma"),
        MODEL("granite"), MODEL("olmo3"),
        MODEL("qwen3_moe"), MODEL("qwen3_moe_stacked"), MODEL("mixtral"), MODEL("mixtral_stacked"), MODEL("olmoe"),
        MODEL("qwen2_moe"), MODEL("qwen2_moe_stacked"), MODEL("gguf_qwen2_moe"),
        MODEL("gguf_f32_scaled"), MODEL("gguf_f16_linear"), MODEL("gguf_bf16_headdim"), MODEL("gguf_q4_0"),
        MODEL("gguf_q4_1"), MODEL("gguf_q5_0"), MODEL("gguf_q5_1"), MODEL("gguf_k"), MODEL("gguf_qwen2"),
        MODEL("gguf_qwen3"), MODEL("gguf_gemma3"), MODEL("gguf_smollm3"), MODEL("gguf_olmo2"), MODEL("gguf_gemma2"),
        MODEL("gguf_gemma"), MODEL("gguf_granite"), MODEL("gguf_phi3"), MODEL("gguf_phi4_mini"),
        MODEL("gguf_qwen3_moe"), MODEL("gguf_mixtral"), MODEL("gguf_olmoe"), MODEL("gguf_olmo3"),
        MODEL("gguf_few_bits"), MODEL("gguf_grids"),
        cmocka_unit_test(a_multimodal_file_gives_the_same_bits),
        cmocka_unit_test(a_text_has_the_rope_of_its_length),
    };
    CHECK_OK(gr_device_open(&device, NULL, 2, &check_err));
    return cmocka_run_group_tests_name("golden models", tests, NULL, NULL) + CHECK_CAPPED(argc, argv) != 0;
}
