/* test_lora.c - adapters: what they add to a model, their gradients, and what is refused of a file.
 *
 * tests/golden/train/MODEL/lora/ holds adapters that PEFT wrote, and the label logits that PEFT computed with them. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/cpu.h"
#include "check.h"
#include "device.h"
#include "file/io.h"
#include "file/save.h"
#include "model/lora.h"
#include "model/trainee.h"
#include "op/op.h"

#define GOLDEN "tests/golden/train/"
#define GGUF   "tests/golden/models/gguf_q4_0/model.gguf"
enum { TOKENS = 40 };
static const int32_t label[2] = { 35, 36 }, golden_label[2] = { 65, 66 };

struct subject {
    gr_weights *weights;
    gr_model *model;
    gr_device *device;
    gr_lora *lora;
    gr_trainee *t;
};

static void open_base(struct subject *s, const char *path, const gr_adapter *a, gr_linear_mode mode, bool writable)
{
    bool gguf = strstr(path, ".gguf") != NULL;
    gr_config cfg;

    *s = (struct subject){ 0 };
    CHECK_OK((gguf ? gr_weights_open_gguf : gr_weights_open_dir)(&s->weights, path, &check_err));
    CHECK_OK(gguf ? gr_config_from_gguf(&cfg, gr_weights_gguf(s->weights), s->weights, &check_err)
                  : gr_config_read(&cfg, path, &check_err));
    CHECK_OK(gr_device_open(&s->device, NULL, 2, &check_err));
    CHECK_OK(gr_model_open_folded(&s->model, s->device, s->weights, a, &cfg, mode, writable, &check_err));
}

/* New adapters of these targets; B is drawn too, so that it does not hide A. */
static struct subject open_new(const char *path, gr_linear_mode mode, unsigned targets)
{
    const gr_lora_spec spec = { 3, 5, false, targets, 0 };
    struct subject s;
    const gr_param *p;
    size_t n;

    open_base(&s, path, NULL, mode, false);
    CHECK_OK(gr_lora_open(&s.lora, s.model, &spec, 1, &check_err));
    p = gr_lora_params(s.lora, &n);
    for (size_t i = 0; i < n; i++) {
        float *x = strstr(p[i].name, "lora_B") ? check_randn(p[i].rows * p[i].cols, i) : NULL;
        for (size_t k = 0; x && k < p[i].rows * p[i].cols; k++)
            x[k] *= 0.05f;
        assert_true(!x || gr_param_put(&p[i], 0, gr_param_count(&p[i]), x));
    }
    CHECK_OK(gr_trainee_open_lora(&s.t, s.model, s.lora, s.device, &check_err));
    return s;
}

static void subject_close(struct subject *s)
{
    gr_trainee_close(s->t);
    gr_lora_close(s->lora);
    gr_model_close(s->model);
    gr_device_close(s->device);
    gr_weights_close(s->weights);
}

static void make_tokens(int32_t *out, const struct subject *s)
{
    for (int32_t i = 0; i < TOKENS; i++)
        out[i] = (7 * i + 3) % (int32_t)gr_model_config(s->model)->vocabulary;
}

static double dot(const float *a, const float *b, size_t n)
{
    double s = 0;

    for (size_t i = 0; i < n; i++)
        s += (double)a[i] * b[i];
    return s;
}

/* The labels' logits as the trainee computes them, and with `backward` the gradients of their difference. */
static void trainee_logits(struct subject *s, double z[2], bool backward)
{
    size_t C = gr_model_config(s->model)->width;
    int32_t token[TOKENS];
    gr_seq seq = { token, TOKENS };
    const float *h, *row[2] = { gr_trainee_head(s->t, label[0]), gr_trainee_head(s->t, label[1]) };
    float *dh = gr_calloc(C, sizeof *dh);
    gr_forest f;

    make_tokens(token, s);
    CHECK_OK(gr_forest_init(&f, &seq, 1, gr_model_config(s->model)->far.after, NULL, GR_SAVE_SHARED, &check_err));
    CHECK_OK(gr_trainee_forward(s->t, &f, f.leaf_row, 1, &h, &check_err));
    for (int i = 0; i < 2; i++)
        z[i] = dot(h, row[i], C);
    for (size_t c = 0; c < C; c++)
        dh[c] = row[0][c] - row[1][c];
    if (backward) {
        gr_trainee_zero(s->t);
        assert_null(gr_trainee_head_grad(s->t));
        CHECK_OK(gr_trainee_backward(s->t, dh, &check_err));
    }
    gr_forest_clear(&f, true);
    free(dh);
}

/* cache: where the tokens' keys and values are kept, or NULL. */
static void logits_by(const struct subject *s, gr_lora *lora, gr_rows_way way, gr_kv_tree *cache, const int32_t *token,
                      size_t n, const int32_t *of, float z[2])
{
    gr_seq seq = { token, n };
    gr_work *w;
    gr_forest f;

    CHECK_OK(gr_work_open(&w, s->model, lora, way, s->device, &check_err));
    CHECK_OK(gr_forest_init(&f, &seq, 1, gr_model_config(s->model)->far.after, cache, GR_SAVE_ALL, &check_err));
    CHECK_OK(gr_model_label_logits(w, &f, of, 2, z, &check_err));
    gr_forest_clear(&f, true);
    gr_work_close(w);
}

static void scored_logits(const struct subject *s, const int32_t *token, size_t n, const int32_t *of, float z[2])
{
    logits_by(s, NULL, GR_ROWS_ALIKE, NULL, token, n, of, z);
}

/* Adapters that are being trained, as the trainee sees them, in a pass of many rows, in one of few, and token by token
 * as a text is written: the same logits but for the order of sums, and the same bits however they are read. */
static void every_forward_sees_adapters_in_training(void **state)
{
    static const struct { const char *path; gr_linear_mode mode; } base[] = {
        { GOLDEN "llama_gqa", GR_LINEAR_F32 }, { GOLDEN "qwen2_bias", GR_LINEAR_BF16 },
        { GOLDEN "gemma3_text", GR_LINEAR_KEEP },
    };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(base); i++) {
        struct subject s = open_new(base[i].path, base[i].mode, GR_LORA_ALL);
        int32_t token[TOKENS];
        float plain[2], z[2], again[2];
        double want[2];
        make_tokens(token, &s);
        trainee_logits(&s, want, false);
        scored_logits(&s, token, TOKENS, label, plain);
        assert_true(fabs(plain[1] - want[1]) > 0.01);
        for (int few = 0; few < 2; few++) {
            gr_rows_way way = few ? GR_ROWS_FEW : GR_ROWS_ALIKE;
            gr_kv_tree *cache;
            logits_by(&s, s.lora, way, NULL, token, TOKENS, label, z);
            for (int k = 0; k < 2; k++)
                assert_true(fabs(z[k] - want[k]) < 1e-5 * (1 + fabs(want[k])));
            CHECK_OK(gr_model_kv_open(&cache, s.model, s.device, (size_t)1 << 24, &check_err));
            for (size_t n = TOKENS - 9; n <= TOKENS; n++)
                logits_by(&s, s.lora, way, cache, token, n, label, again);
            assert_memory_equal(again, z, sizeof z);
            gr_kv_close(cache);
        }
        subject_close(&s);
    }
}

/* ---- What an adapter adds ---------------------------------------------------------------------------- */

/* The bound is that of tests/model/test_golden_models.c: a few roundings of each layer's sums. */
static void folded_logits_are_pefts(void **state)
{
    static const char *const dirs[] = { "llama_gqa", "qwen2_bias", "gemma3_text", "../models/smollm3",
                                        "../models/olmo2", "../models/gemma2", "../models/phi3", "../models/phi3_long",
                                        "../models/gemma", "../models/granite", "../models/olmo3",
                                        "../models/phi4_mini", "../models/internlm2", "../models/qwen3_moe",
                                        "../models/qwen3_moe_stacked", "../models/mixtral", "../models/olmoe",
                                        "../models/qwen2_moe",
                                        "llama_gqa", "../models/phi3", "qwen2_bias", "qwen2_bias",
                                        "../models/mixtral" };
    enum { LORA = 18 };
    static const char *const others[] = { "dora", "dora", "dora", "biases", "stacked" };

    (void)state;
    for (size_t i = 0; i < 2 * GR_COUNT(dirs); i++) {
        char path[256];
        int32_t token[96];
        struct subject s;
        gr_adapter *a;
        float z[2];
        json_t *want, *list;
        const char *sub = i / 2 < LORA ? "lora" : others[i / 2 - LORA];
        snprintf(path, sizeof path, GOLDEN "%s/%s", dirs[i / 2], sub);
        CHECK_OK(gr_adapter_open(&a, path, &check_err));
        snprintf(path, sizeof path, GOLDEN "%s", dirs[i / 2]);
        open_base(&s, path, a, GR_LINEAR_F32, i % 2);
        snprintf(path, sizeof path, GOLDEN "%s/tokens.json", dirs[i / 2]);
        list = json_load_file(path, 0, NULL);
        for (size_t k = 0; k < 96; k++)
            token[k] = (int32_t)json_integer_value(json_array_get(list, k));
        scored_logits(&s, token, 96, golden_label, z);
        snprintf(path, sizeof path, GOLDEN "%s/%s/logits.json", dirs[i / 2], sub);
        want = json_load_file(path, 0, NULL);
        for (size_t k = 0; k < 2; k++)
            if (!(fabs(z[k] - json_number_value(json_array_get(want, k))) < 2e-5))
                fail_msg("%s/%s: logit %.9g, wanted %.9g", dirs[i / 2], sub, z[k],
                         json_number_value(json_array_get(want, k)));
        if (i / 2 >= LORA && strcmp(sub, "stacked")) {      /* to be trained further it would need more than A and B */
            assert_int_equal(gr_lora_read(&s.lora, s.model, a, &check_err), GRAM_EUNSUPPORTED);
            assert_non_null(strstr(check_err.text, "is not trained further"));
        }
        json_decref(want);
        json_decref(list);
        subject_close(&s);
        gr_adapter_close(a);
    }
}

/* Written, read again and folded, an adapter gives the logits that training saw, and the same bits to train on: with
 * each type of base, and with the rows of a GGUF's q and k, which stand in another order than a Hugging Face file's
 * (the writable model is in the latter's). */
static void a_written_adapter_is_the_trained_one(void **state)
{
    static const struct { const char *path; gr_linear_mode mode; } base[] = {
        { GOLDEN "qwen3_headdim", GR_LINEAR_F32 }, { GOLDEN "../models/olmo2", GR_LINEAR_F32 },
        { GOLDEN "../models/smollm3", GR_LINEAR_F32 }, { GOLDEN "../models/phi3", GR_LINEAR_KEEP },
        { GOLDEN "../models/phi4_mini", GR_LINEAR_F32 }, { GOLDEN "../models/internlm2", GR_LINEAR_F32 },
        { GOLDEN "../models/qwen3_moe", GR_LINEAR_KEEP }, { GOLDEN "../models/mixtral", GR_LINEAR_F32 },
        { GOLDEN "../models/mixtral_stacked", GR_LINEAR_F32 }, { GOLDEN "../models/olmoe", GR_LINEAR_F32 },
        { GOLDEN "../models/qwen2_moe", GR_LINEAR_F32 },
        { GOLDEN "../models/qwen3_moe_stacked", GR_LINEAR_F32 },
        { GOLDEN "llama_gqa", GR_LINEAR_KEEP }, { GGUF, GR_LINEAR_KEEP },
    };
    char *dir = check_tmpdir();

    (void)state;
    for (size_t i = 0; i < GR_COUNT(base); i++) {
        struct subject s = open_new(base[i].path, base[i].mode, GR_LORA_ALL), folded;
        gr_lora *again;
        gr_adapter *a;
        const gr_param *p, *q;
        int32_t token[TOKENS];
        double want[2];
        float z[2];
        size_t n, m;
        trainee_logits(&s, want, false);
        CHECK_OK(gr_lora_write(s.lora, s.model, dir, base[i].path, NULL, 0, &check_err));
        CHECK_OK(gr_adapter_open(&a, dir, &check_err));
        assert_string_equal(a->cfg.base, base[i].path);
        CHECK_OK(gr_lora_read(&again, s.model, a, &check_err));
        p = gr_lora_params(s.lora, &n);
        q = gr_lora_params(again, &m);
        assert_int_equal(n, m);
        for (size_t k = 0; k < n; k++) {
            assert_string_equal(p[k].name, q[k].name);
            assert_true(check_equal(&p[k], &q[k], false));
        }
        assert_int_equal(gr_lora_get_spec(again)->targets, GR_LORA_ALL);
        gr_lora_close(again);
        make_tokens(token, &s);
        for (int writable = 0; writable < 2; writable++) {
            open_base(&folded, base[i].path, a, GR_LINEAR_KEEP, writable);
            scored_logits(&folded, token, TOKENS, label, z);
            for (int k = 0; k < 2; k++)
                if (!(fabs(z[k] - want[k]) < 2e-5 * (1 + fabs(want[k]))))
                    fail_msg("%s: logit %.9g, wanted %.9g", base[i].path, z[k], want[k]);
            subject_close(&folded);
        }
        gr_adapter_close(a);
        subject_close(&s);
    }
}

static json_t *tensors_of(const gr_adapter *a)
{
    json_t *all = json_object();

    for (size_t i = 0; i < gr_adapter_count(a); i++) {
        const gr_named *t = gr_adapter_at(a, i);
        float *x = gr_calloc(t->dim[0] * t->dim[1], sizeof *x);
        char key[256];
        assert_non_null(x);
        gr_dequant(x, t->data, t->type, t->dim[0] * t->dim[1]);
        for (size_t k = 0; k < t->dim[0] * t->dim[1]; k++) {
            snprintf(key, sizeof key, "%s %zux%zu %zu", t->name, t->dim[0], t->dim[1], k);
            json_object_set_new(all, key, json_real(x[k]));
        }
        free(x);
    }
    return all;
}

/* An adapter of PEFT's target_parameters, A and B of all experts of a layer together, is written as it was read. */
static void check_stacked(const char *dir, const char *adapter)
{
    char *out = check_tmpdir();
    gr_adapter *a, *again;
    struct subject s;
    json_t *was, *is;

    CHECK_OK(gr_adapter_open(&a, adapter, &check_err));
    open_base(&s, dir, NULL, GR_LINEAR_KEEP, false);
    CHECK_OK(gr_lora_read(&s.lora, s.model, a, &check_err));
    assert_true(gr_lora_get_spec(s.lora)->stacked);
    assert_int_equal(gr_lora_get_spec(s.lora)->targets, 1 | 4 | 7 << 4 | 1 << 7);
    CHECK_OK(gr_lora_write(s.lora, s.model, out, dir, NULL, 0, &check_err));
    CHECK_OK(gr_adapter_open(&again, out, &check_err));
    was = tensors_of(a);
    is = tensors_of(again);
    assert_true(json_equal(was, is));
    assert_true(gr_adapter_config_targets(&again->cfg, "model.layers.1.mlp.experts.gate_up_proj"));
    assert_true(gr_adapter_config_targets(&again->cfg, "model.layers.1.mlp.experts.down_proj"));
    assert_true(gr_adapter_config_targets(&again->cfg, "model.layers.1.mlp.gate.weight"));
    json_decref(was);
    json_decref(is);
    gr_adapter_close(again);
    gr_adapter_close(a);
    subject_close(&s);
}

static void stacked_experts_are_written_as_peft_does(void **state)
{
    (void)state;
    check_stacked(GOLDEN "../models/qwen3_moe_stacked", GOLDEN "../models/qwen3_moe_stacked/lora");
    check_stacked(GOLDEN "../models/mixtral", GOLDEN "../models/mixtral/stacked");     /* whose experts stand apart */
}

/* Mixtral's matrices have names of their own, which PEFT looks for. */
static void mixtrals_adapters_have_its_names(void **state)
{
    struct subject s = open_new(GOLDEN "../models/mixtral", GR_LINEAR_F32, GR_LORA_ALL);
    char *out = check_tmpdir(), *config, *path;
    gr_adapter *a;
    size_t n;

    (void)state;
    CHECK_OK(gr_lora_write(s.lora, s.model, out, "base", NULL, 0, &check_err));
    CHECK_OK(gr_adapter_open(&a, out, &check_err));
    assert_non_null(gr_adapter_find(a, GR_ADAPTER_STEM "model.layers.1.block_sparse_moe.experts.5.w1.lora_A.weight"));
    assert_non_null(gr_adapter_find(a, GR_ADAPTER_STEM "model.layers.0.block_sparse_moe.experts.0.w2.lora_B.weight"));
    assert_true(asprintf(&path, "%s/adapter_config.json", out) > 0);
    CHECK_OK(gr_read_file(path, 1 << 16, &config, &n, &check_err));
    assert_non_null(strstr(config, "\"w1\""));
    assert_null(strstr(config, "\"gate_proj\""));
    free(path), free(config);
    gr_adapter_close(a);
    subject_close(&s);
}

/* llama.cpp's converter keeps the numbers and moves rows of q and k: read for training, the parameters are PEFT's. */
static void a_gguf_adapter_has_the_same_parameters(void **state)
{
    static const char *const dirs[] = { "llama_gqa", "qwen2_bias" };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(dirs); i++) {
        gr_lora *l[2];
        const gr_param *p, *q;
        struct subject s;
        size_t n, m;
        char path[256];
        snprintf(path, sizeof path, GOLDEN "%s", dirs[i]);
        open_base(&s, path, NULL, GR_LINEAR_F32, false);
        for (int gguf = 0; gguf < 2; gguf++) {
            gr_adapter *a;
            snprintf(path, sizeof path, GOLDEN "%s/lora%s", dirs[i], gguf ? ".gguf" : "");
            CHECK_OK(gr_adapter_open(&a, path, &check_err));
            CHECK_OK(gr_lora_read(&l[gguf], s.model, a, &check_err));
            gr_adapter_close(a);
        }
        assert_true(gr_lora_get_spec(l[0])->alpha == gr_lora_get_spec(l[1])->alpha);
        assert_true(gr_lora_get_spec(l[0])->rank == gr_lora_get_spec(l[1])->rank);
        p = gr_lora_params(l[0], &n);
        q = gr_lora_params(l[1], &m);
        assert_int_equal(n, m);
        for (size_t k = 0; k < n; k++) {
            assert_string_equal(p[k].name, q[k].name);
            assert_true(check_equal(&p[k], &q[k], false));
        }
        gr_lora_close(l[0]);
        gr_lora_close(l[1]);
        subject_close(&s);
    }
}

/* ---- Gradients ---------------------------------------------------------------------------------------- */

static void move(const gr_param *p, double by, const float *g)
{
    float *w = check_map(p, false);

    for (size_t j = 0; j < gr_param_count(p); j++)
        w[j] += (float)(by * g[j]);
    check_unmap(p, false, w, true);
}

/* Along its own gradient g a parameter's slope is |g|: (L(w + h g) - L(w - h g)) / 2h = |g|^2. The step moves w by
 * 0.01 of its own length, and the third derivative and the roundings of L stay below a hundredth. Not where such a step
 * may send a row to other experts. */
static void slopes_are_difference_quotients(void **state)
{
    static const char *const path[] = { GOLDEN "llama_gqa", GOLDEN "qwen3_headdim", GOLDEN "gemma3_text", GGUF,
                                        GOLDEN "../models/smollm3", GOLDEN "../models/olmo2",
                                        GOLDEN "../models/internlm2", GOLDEN "../models/phi4_mini" };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(path); i++) {
        struct subject s = open_new(path[i], GR_LINEAR_KEEP, GR_LORA_ALL);
        gr_param *p;
        size_t n;
        double z[2];
        trainee_logits(&s, z, true);
        p = gr_trainee_params(s.t, &n);
        for (size_t k = 0; k < n; k++) {
            size_t count = p[k].rows * p[k].cols;
            float *g = check_map(&p[k], true), *w = check_map(&p[k], false);
            double g2 = dot(g, g, count), h = 0.01 * sqrt(dot(w, w, count) / g2), at[2];
            check_unmap(&p[k], false, w, false);
            for (int side = 0; side < 2; side++) {
                move(&p[k], (side ? -2 : 1) * h, g);
                trainee_logits(&s, z, false);
                at[side] = z[0] - z[1];
            }
            move(&p[k], h, g);
            check_unmap(&p[k], true, g, false);
            if (!(fabs((at[0] - at[1]) / (2 * h) - g2) <= 0.01 * g2 + 4e-6 / h))
                fail_msg("%s: %s: slope %g, wanted %g", path[i], p[k].name, (at[0] - at[1]) / (2 * h), g2);
        }
        subject_close(&s);
    }
}

/* What is left out below the lowest adapter is missed by none: each target alone has the gradients that it has among
 * all of them, where the others add nothing. */
static void a_target_alone_has_its_gradients(void **state)
{
    struct subject all;
    gr_param *p, *q;
    size_t n, m;
    double z[2];

    (void)state;
    for (unsigned which = 0; which < 7; which++) {
        struct subject one = open_new(GOLDEN "llama_gqa", GR_LINEAR_F32, 1u << which);
        all = open_new(GOLDEN "llama_gqa", GR_LINEAR_F32, GR_LORA_ALL);
        p = gr_trainee_params(one.t, &n);
        q = gr_trainee_params(all.t, &m);
        for (size_t i = 0, k; i < m; i++) {
            for (k = 0; k < n && strcmp(p[k].name, q[i].name); k++)
                ;
            float *w = check_map(&q[i], false);
            if (k < n)
                assert_true(gr_param_put(&p[k], 0, gr_param_count(&q[i]), w));
            else if (strstr(q[i].name, "lora_B"))
                memset(w, 0, gr_param_count(&q[i]) * sizeof *w);
            check_unmap(&q[i], false, w, true);
        }
        trainee_logits(&one, z, true);
        trainee_logits(&all, z, true);
        for (size_t i = 0, found = 0; i < m; i++)
            for (size_t k = 0; k < n; k++)
                if (!strcmp(p[k].name, q[i].name)) {
                    float *a = check_map(&p[k], true), *b = check_map(&q[i], true);
                    CHECK_CLOSE(a, b, gr_param_count(&p[k]), 1e-6);
                    assert_true(dot(a, a, gr_param_count(&p[k])) > 0 && ++found <= n);
                    check_unmap(&p[k], true, a, false);
                    check_unmap(&q[i], true, b, false);
                }
        assert_int_equal(n, 2 * gr_model_config(one.model)->layers);
        subject_close(&one);
        subject_close(&all);
    }
}

static void new_adapters_follow_from_the_seed(void **state)
{
    const gr_lora_spec spec = { 4, 8, false, 5, 0 };
    struct subject s;
    gr_lora *a, *b, *c;
    const gr_param *p, *q, *r;
    size_t n;

    (void)state;
    open_base(&s, GOLDEN "llama_gqa", NULL, GR_LINEAR_F32, false);
    CHECK_OK(gr_lora_open(&a, s.model, &spec, 3, &check_err));
    CHECK_OK(gr_lora_open(&b, s.model, &spec, 3, &check_err));
    CHECK_OK(gr_lora_open(&c, s.model, &spec, 4, &check_err));
    p = gr_lora_params(a, &n);
    q = gr_lora_params(b, &n);
    r = gr_lora_params(c, &n);
    for (size_t i = 0; i < n; i += 2) {
        size_t count = p[i].rows * p[i].cols;
        double bound = 1 / sqrt((double)p[i].cols), sum = 0;
        float *w = check_map(&p[i], false);
        assert_true(check_equal(&p[i], &q[i], false) && !check_equal(&p[i], &r[i], false));
        for (size_t k = 0; k < count; k++) {
            assert_true(fabs((double)w[k]) <= bound * (1 + 1e-6));
            sum += (double)w[k] * (double)w[k];
        }
        check_unmap(&p[i], false, w, false);
        /* a uniform number's square is bound^2 / 3 on average, with deviation 0.3 bound^2 */
        assert_true(fabs(sum / (double)count - bound * bound / 3) < 5 * 0.3 * bound * bound / sqrt((double)count));
        w = check_map(&p[i + 1], false);
        for (size_t k = 0; k < gr_param_count(&p[i + 1]); k++)
            assert_true(w[k] == 0);
        check_unmap(&p[i + 1], false, w, false);
    }
    gr_lora_close(a);
    gr_lora_close(b);
    gr_lora_close(c);
    subject_close(&s);
}

/* ---- What is refused ---------------------------------------------------------------------------------- */

static void expect_refused(const char *dir, const gr_saved *t, size_t n, const char *why)
{
    const gr_adapter_config c = { .rank = 2, .alpha = 4 };
    const char *modules[10];
    struct subject s;
    char path[300];
    gr_config cfg;
    gr_model *m = NULL;
    gr_lora *l = NULL;
    gr_adapter *a;

    gr_lora_modules(modules, &(gr_config){ 0 }, 1);
    CHECK_OK(gr_adapter_config_write(dir, &c, modules, false, &check_err));
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", dir);
    CHECK_OK(gr_st_write(path, t, n, NULL, 0, &check_err));
    CHECK_OK(gr_adapter_open(&a, dir, &check_err));
    open_base(&s, GOLDEN "llama_gqa", NULL, GR_LINEAR_F32, false);
    CHECK_OK(gr_config_read(&cfg, GOLDEN "llama_gqa", &check_err));
    for (int i = 0; i < 2; i++) {
        gram_status rc = i ? gr_model_open_folded(&m, check_device(1), s.weights, a, &cfg, GR_LINEAR_F32, false,
                                                  &check_err)
                           : gr_lora_read(&l, s.model, a, &check_err);
        if (rc != GRAM_EFORMAT && rc != GRAM_EUNSUPPORTED)
            fail_msg("wanted \"%s\", found status %d", why, (int)rc);
        if (!strstr(check_err.text, why) || !strstr(check_err.text, dir))
            fail_msg("wanted \"%s\", found \"%s\"", why, check_err.text);
        assert_null(i ? (void *)m : (void *)l);
    }
    gr_adapter_close(a);
    subject_close(&s);
}

#define Q "base_model.model.model.layers.0.self_attn.q_proj."
static void broken_tensors_are_named(void **state)
{
    char *dir = check_tmpdir();
    struct subject s;
    size_t O, K;
    float *x;

    (void)state;
    open_base(&s, GOLDEN "llama_gqa", NULL, GR_LINEAR_F32, false);
    K = gr_model_config(s.model)->width;
    O = gr_model_config(s.model)->heads * gr_model_config(s.model)->head_dim;
    x = check_randn(2 * (O + K + 1), 1);
    subject_close(&s);
    expect_refused(dir, (const gr_saved[]){ { Q, "lora_A.weight", x, 2, K, true } }, 1, "no partner");
    expect_refused(dir, (const gr_saved[]){ { Q, "lora_A.weight", x, 2, K + 1, true },
                                            { Q, "lora_B.weight", x, O, 2, true } }, 2, "q_proj.lora_A.weight: wanted");
    expect_refused(dir, (const gr_saved[]){ { Q, "lora_A.weight", x, 2, K, true },
                                            { Q, "lora_B.weight", x, O, 1, true } }, 2, "q_proj.lora_B.weight: wanted");
    expect_refused(dir, (const gr_saved[]){ { Q, "lora_A.weight", x, 1, K, false },
                                            { Q, "lora_B.weight", x, O, 1, true } }, 2, "q_proj.lora_A.weight: wanted");
    expect_refused(dir, (const gr_saved[]){ { Q, "lora_A.weight", x, 2, K, true },
                                            { Q, "lora_B.weight", x, O, 2, true },
                                            { "", "base_model.model.lm_head.weight", x, 1, K, true } }, 3,
                   "lm_head.weight is none that");
    expect_refused(dir, (const gr_saved[]){ { "", "base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight", x,
                                              2, K, true } }, 1, "none of its 1 tensors");
}

static void targets_are_named_either_way(void **state)
{
    unsigned t;

    (void)state;
    CHECK_OK(gr_lora_targets(&t, NULL, &check_err));
    assert_int_equal(t, GR_LORA_ALL);
    CHECK_OK(gr_lora_targets(&t, "q,v_proj,down", &check_err));
    assert_int_equal(t, 1 | 4 | 64);
    assert_int_equal(gr_lora_targets(&t, "q,,v", &check_err), GRAM_EARG);
    assert_int_equal(gr_lora_targets(&t, "q,lm_head", &check_err), GRAM_EARG);
    assert_non_null(strstr(check_err.text, "\"lm_head\""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_forward_sees_adapters_in_training),
        cmocka_unit_test(folded_logits_are_pefts),
        cmocka_unit_test(a_written_adapter_is_the_trained_one),
        cmocka_unit_test(stacked_experts_are_written_as_peft_does),
        cmocka_unit_test(mixtrals_adapters_have_its_names),
        cmocka_unit_test(a_gguf_adapter_has_the_same_parameters),
        cmocka_unit_test(slopes_are_difference_quotients),
        cmocka_unit_test(a_target_alone_has_its_gradients),
        cmocka_unit_test(new_adapters_follow_from_the_seed),
        cmocka_unit_test(broken_tensors_are_named),
        cmocka_unit_test(targets_are_named_either_way),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
