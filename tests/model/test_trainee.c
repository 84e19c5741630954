/* test_trainee.c - gradients of the two-label loss against PyTorch's, for every kind of layer.
 *
 * tests/golden/train holds tiny seeded models made with transformers, and of each parameter's gradient of
 * L = -log s(d) + 0.05 d, d = z[65] - z[66] at the last position, three numbers: its norm, its sum, and its dot product
 * with cos(place), which a swap of two values changes. A gradient is a float32 sum that passes the layers twice; the
 * tolerance is test_golden_models.c's for once, doubled. A sum may cancel, so it is held to the norm's scale:
 * |sum| <= sqrt(n) norm. */
#include <float.h>
#include <jansson.h>
#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/cpu.h"
#include "check.h"
#include "device.h"
#include "file/io.h"
#include "model/trainee.h"
#include "op/op.h"

#define GOLDEN "tests/golden/train/"
enum { PREFERRED = 65, OTHER = 66 };
static const double eps = 0.05;

static json_t *read_json(const char *dir, const char *name)
{
    char path[256], *text;
    size_t n;
    json_t *v;

    snprintf(path, sizeof path, GOLDEN "%s/%s", dir, name);
    CHECK_OK(gr_read_file(path, 1 << 20, &text, &n, &check_err));
    v = json_loadb(text, n, 0, NULL);
    assert_non_null(v);
    free(text);
    return v;
}

struct subject {
    gr_weights *weights;
    gr_model *model;
    gr_device *device;
    gr_trainee *t;
    gr_ids tokens;
};

static struct subject subject_open(const char *dir, size_t threads)
{
    struct subject s = { 0 };
    char path[256];
    gr_config cfg;
    json_t *list = read_json(dir, "tokens.json");

    snprintf(path, sizeof path, GOLDEN "%s", dir);
    for (size_t i = 0; i < json_array_size(list); i++) {
        int32_t id = (int32_t)json_integer_value(json_array_get(list, i));
        assert_true(gr_ids_add(&s.tokens, &id, 1));
    }
    json_decref(list);
    CHECK_OK(gr_weights_open_dir(&s.weights, path, &check_err));
    CHECK_OK(gr_config_read(&cfg, path, &check_err));
    CHECK_OK(gr_device_open(&s.device, NULL, threads, &check_err));
    CHECK_OK(gr_model_open_writable(&s.model, s.device, s.weights, &cfg, &check_err));
    CHECK_OK(gr_trainee_open(&s.t, s.model, s.device, &check_err));
    return s;
}

static void subject_close(struct subject *s)
{
    gr_trainee_close(s->t);
    gr_model_close(s->model);
    gr_device_close(s->device);
    gr_weights_close(s->weights);
    gr_ids_clear(&s->tokens);
}

static double dot(const float *a, const float *b, size_t n)
{
    double s = 0;

    for (size_t i = 0; i < n; i++)
        s += (double)a[i] * b[i];
    return s;
}

/* The loss of n sequences, its gradients added; their logits' difference stays in d[n]. */
static double step(struct subject *s, const gr_seq *seq, size_t n, double *d)
{
    const gr_config *cfg = gr_model_config(s->model);
    size_t C = cfg->width;
    const float *hidden, *a = gr_trainee_head(s->t, PREFERRED), *b = gr_trainee_head(s->t, OTHER);
    float *dhidden = gr_calloc(n * C, sizeof *dhidden);
    double loss = 0;
    gr_forest f;

    CHECK_OK(gr_forest_init(&f, seq, n, gr_model_config(s->model)->far.after, NULL, GR_SAVE_SHARED, &check_err));
    CHECK_OK(gr_trainee_forward(s->t, &f, f.leaf_row, n, &hidden, &check_err));
    for (size_t i = 0; i < n; i++) {
        double za = gr_model_logit(cfg, dot(hidden + i * C, a, C)), zb = gr_model_logit(cfg, dot(hidden + i * C, b, C));
        double steep_a = gr_model_logit_slope(cfg, za), steep_b = gr_model_logit_slope(cfg, zb), dd;
        d[i] = za - zb;
        loss += log1p(exp(-d[i])) + eps * d[i];
        dd = 1 / (1 + exp(-d[i])) - 1 + eps;
        for (size_t c = 0; c < C; c++)
            dhidden[i * C + c] = (float)(dd * (steep_a * a[c] - steep_b * b[c]));
        assert_true(gr_trainee_head_add(s->t, PREFERRED, dd * steep_a, hidden + i * C));
        assert_true(gr_trainee_head_add(s->t, OTHER, -dd * steep_b, hidden + i * C));
    }
    CHECK_OK(gr_trainee_backward(s->t, dhidden, &check_err));
    gr_forest_clear(&f, true);
    free(dhidden);
    return loss;
}

static void check_model(const char *dir)
{
    struct subject s = subject_open(dir, 2);
    const gr_config *c = gr_model_config(s.model);
    json_t *want = read_json(dir, "train.json"), *grads = json_object_get(want, "gradient");
    size_t longest = gr_max(gr_max(c->hidden, c->width), c->heads * c->head_dim), n;
    double tol = 4.0 * (double)(c->layers * longest) * FLT_EPSILON, d, loss;
    gr_seq seq = { s.tokens.p, s.tokens.n };
    gr_param *p = gr_trainee_params(s.t, &n);

    loss = step(&s, &seq, 1, &d);
    if (fabs(loss - json_real_value(json_object_get(want, "loss"))) > 1e-4)
        fail_msg("%s: loss %.9g, wanted %.9g", dir, loss, json_real_value(json_object_get(want, "loss")));
    assert_int_equal(json_object_size(grads), n);
    for (size_t i = 0; i < n; i++) {
        const json_t *g = json_object_get(grads, p[i].name);
        double got[3] = { 0 }, norm = json_number_value(json_array_get(g, 0));
        float *x = check_map(&p[i], true);
        assert_int_equal(json_array_size(g), 3);
        for (size_t k = 0; k < p[i].rows * p[i].cols; k++) {
            got[0] += (double)x[k] * (double)x[k];
            got[1] += (double)x[k];
            got[2] += (double)x[k] * cos((double)k);
        }
        check_unmap(&p[i], true, x, false);
        got[0] = sqrt(got[0]);
        for (size_t k = 0; k < 3; k++) {
            double w = json_number_value(json_array_get(g, k));
            if (!(fabs(got[k] - w) <= tol * norm * (k ? sqrt((double)(p[i].rows * p[i].cols)) : 1)))
                fail_msg("%s: %s: number %zu of the gradient is %.9g, wanted %.9g", dir, p[i].name, k, got[k], w);
        }
    }
    json_decref(want);
    subject_close(&s);
}

static const char *const dirs[] = { "llama_gqa", "qwen2_bias", "qwen3_headdim", "mistral_window", "gemma3_text",
                                    "../models/qwen3_head320", "../models/gemma3_head512",
                                    "../models/smollm3", "../models/olmo2", "../models/phi3", "../models/phi3_long",
                                    "../models/phi4_mini", "../models/internlm2",
                                    "../models/gemma", "../models/granite", "../models/olmo3",
                                    "../models/gemma2", "../models/qwen3_moe", "../models/qwen3_moe_stacked",
                                    "../models/mixtral", "../models/olmoe", "../models/qwen2_moe" };

static void gradients_are_pytorchs(void **state)
{
    (void)state;
    for (size_t i = 0; i < check_some(GR_COUNT(dirs), 3); i++)
        if (check_has(dirs[i]))
            check_model(dirs[i]);
}

/* Two sequences with a common beginning: together, the beginning computed once, their gradients are the sum of each
 * alone; and at 1 and 3 threads they have the same bits. Together they are enough rows for a layer's weights to be laid
 * out first; alone they are not. */
static void shared_prefixes_collect_every_gradient(void **state)
{
    (void)state;
    for (size_t m = 0; m < check_some(GR_COUNT(dirs), 1); m++) {
        struct subject alone, one, three;
        int32_t first[200], other[200];
        gr_seq seq[2] = { { first, 200 }, { other, 190 } };
        size_t n;
        double d[2];
        gr_param *p, *q, *r;
        if (!check_has(dirs[m]))
            continue;
        alone = subject_open(dirs[m], 1);
        one = subject_open(dirs[m], 1);
        three = subject_open(dirs[m], 3);
        for (size_t i = 0; i < GR_COUNT(first); i++) {
            first[i] = (alone.tokens.p[i % 96] + (int32_t)(i / 96)) % 256;
            other[i] = i < 110 ? first[i] : (first[i] + 11) % 256;
        }
        step(&alone, &seq[0], 1, d);
        step(&alone, &seq[1], 1, d);
        step(&one, seq, 2, d);
        step(&three, seq, 2, d);
        p = gr_trainee_params(alone.t, &n);
        q = gr_trainee_params(one.t, &n);
        r = gr_trainee_params(three.t, &n);
        for (size_t i = 0; i < n; i++) {
            size_t count = p[i].rows * p[i].cols;
            float *a = check_map(&p[i], true), *b = check_map(&q[i], true);
            CHECK_CLOSE(b, a, count, 1e-4);
            assert_true(check_equal(&q[i], &r[i], true));
            check_digest(b, count * sizeof(float), "gradient %s %s", dirs[m], p[i].name);
            check_unmap(&p[i], true, a, false);
            check_unmap(&q[i], true, b, false);
        }
        subject_close(&alone);
        subject_close(&one);
        subject_close(&three);
    }
}

/* transformers adds the routers' own loss where config.json says so; a head that is trained alone has no part in it. */
static void the_routers_own_loss_is_refused(void **state)
{
    gr_weights *w;
    gr_config cfg;
    gr_model *m;
    gr_trainee *t;

    (void)state;
    CHECK_OK(gr_weights_open_dir(&w, GOLDEN "../models/qwen3_moe", &check_err));
    CHECK_OK(gr_config_read(&cfg, GOLDEN "../models/qwen3_moe", &check_err));
    assert_false(cfg.router_loss);
    cfg.router_loss = true;
    CHECK_OK(gr_model_open_writable(&m, check_device(1), w, &cfg, &check_err));
    assert_int_equal(gr_trainee_open(&t, m, check_device(1), &check_err), GRAM_EUNSUPPORTED);
    assert_non_null(strstr(check_err.text, "output_router_logits"));
    assert_null(t);
    gr_model_close(m);
    gr_weights_close(w);
}

/* Inputs kept alone in every layer, or in the lowest but one, one sequence asked for at its end and one at each token:
 * the bits of a pass that keeps all. */
static void made_again_has_the_same_bits(void **state)
{
    (void)state;
    for (size_t turn = 0; turn < 2 * GR_COUNT(dirs); turn++) {
        size_t m = turn / 2;
        bool asked = m < check_some(GR_COUNT(dirs), 1) || !strcmp(dirs[m], "../models/qwen3_moe");
        struct subject kept, again;
        gr_seq seq[2];
        gr_param *p, *q;
        double d[2], e[2];
        size_t n;
        if (!asked || !check_has(dirs[m]))
            continue;
        kept = subject_open(dirs[m], 2);
        again = subject_open(dirs[m], 2);
        seq[0] = (gr_seq){ kept.tokens.p, 96 };
        seq[1] = (gr_seq){ kept.tokens.p, 1 };
        gr_trainee_recompute(again.t, turn % 2 ? gr_model_config(again.model)->layers - 1 : SIZE_MAX);
        for (size_t rows = 1; rows <= 2; rows++) {
            assert_true(step(&kept, seq + rows - 1, 1, d) == step(&again, seq + rows - 1, 1, e));
            p = gr_trainee_params(kept.t, &n);
            q = gr_trainee_params(again.t, &n);
            for (size_t i = 0; i < n; i++)
                assert_true(check_equal(&p[i], &q[i], true));
        }
        if (gr_model_config(again.model)->layers - turn % 2 > 1)            /* one alone shares its place with none */
            assert_true(gr_trainee_bytes(again.t, 4096) < gr_trainee_bytes(kept.t, 4096));
        subject_close(&kept);
        subject_close(&again);
    }
}

/* What is said before the first step is what a pass then takes: the same blocks, give or take what the allocator keeps
 * for itself. */
static void memory_is_what_was_said(void **state)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip();                                 /* they have an allocator of their own */
#endif
    (void)state;
    if (!gr_device_is_host(check_device(1)))
        skip();                             /* a GPU's is not malloc()'s */
    for (int recompute = 0; recompute < 2; recompute++) {
        struct subject s = subject_open("qwen3_headdim", 1);   /* two make some shapes twice, by chance */
        enum { ROWS = 96 };
        gr_seq seq = { s.tokens.p, ROWS };
        const float *hidden;
        struct mallinfo2 before, after;
        uint64_t said, took;
        gr_forest f;
        if (recompute)
            gr_trainee_recompute(s.t, SIZE_MAX);
        said = gr_trainee_bytes(s.t, ROWS);
        CHECK_OK(gr_forest_init(&f, &seq, 1, 0, NULL, GR_SAVE_SHARED, &check_err));
        before = mallinfo2();
        CHECK_OK(gr_trainee_forward(s.t, &f, f.leaf_row, 1, &hidden, &check_err));
        after = mallinfo2();
        took = after.uordblks + after.hblkhd - before.uordblks - before.hblkhd;
        if (took < said || took > said + said / 20 + 65536)         /* and the products' shapes that are new */
            fail_msg("%llu bytes were said, %llu taken", (unsigned long long)said, (unsigned long long)took);
        gr_forest_clear(&f, true);
        subject_close(&s);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_are_pytorchs),
        cmocka_unit_test(shared_prefixes_collect_every_gradient),
        cmocka_unit_test(the_routers_own_loss_is_refused),
        cmocka_unit_test(made_again_has_the_same_bits),
        cmocka_unit_test(memory_is_what_was_said),
    };

    return cmocka_run_group_tests(tests, NULL, NULL) + CHECK_CAPPED(argc, argv) != 0;
}
