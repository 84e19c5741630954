/* test_emulated.c - scores, gradients, steps and whole runs on a device whose memory the host cannot touch: the bits of
 * the CPU, which are held to the golden files by tests/model and test_train.c. */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
#include "emu.h"
#include "device.h"
#include "file/io.h"
#include "model/vocabulary.h"
#include "optim/optim.h"
#include "reward/loss.h"
#include "train/check.h"
#include "train/grad.h"

#define MODELS "tests/golden/models/"
#define MODEL  "tests/golden/train/judge"
enum { THREADS = 2, SEQS = 4, MOST = 70 };

/* ---- Scores ---------------------------------------------------------------------------------------- */

struct bound { gr_weights *weights; gr_model *model; gr_device *device; };

static struct bound bound_open(gr_device *d, const char *path, gr_linear_mode mode, gr_model_use use)
{
    struct bound b = { .device = d };
    gr_config cfg;

    CHECK_OK(gr_weights_open_dir(&b.weights, path, &check_err));
    CHECK_OK(gr_config_read(&cfg, path, &check_err));
    CHECK_OK(gr_model_open_folded(&b.model, d, b.weights, NULL, &cfg, mode, use, &check_err));
    return b;
}

static void bound_close(struct bound *b)
{
    gr_model_close(b->model);
    gr_weights_close(b->weights);
}

static void draw(int32_t id[SEQS][MOST], gr_seq seq[SEQS])
{
    for (size_t i = 0; i < SEQS; i++) {
        seq[i] = (gr_seq){ id[i], MOST - 11 * i };
        for (size_t k = 0; k < seq[i].n; k++)
            id[i][k] = (int32_t)(k < 20 ? 3 * k : 5 * k + 7 * i) % 61;
    }
}

enum { LABELS = 2, VOCABULARY = 600 };
struct scores { float label[2][SEQS * LABELS], logits[SEQS * VOCABULARY], all[SEQS * VOCABULARY]; };

/* Twice with a cache, whose pages the second finds; then each way to the whole vocabulary. */
static void score(const struct bound *b, gr_rows_way way, struct scores *out)
{
    static const int32_t label[] = { 3, 5 };
    const gr_config *c = gr_model_config(b->model);
    int32_t id[SEQS][MOST];
    gr_seq seq[SEQS];
    gr_kv_tree *cache;
    gr_work *work;
    gr_vocabulary *head;
    gr_forest f;
    const float *hidden, *z;

    draw(id, seq);
    memset(out, 0, sizeof *out);
    assert_true(c->vocabulary <= VOCABULARY);
    CHECK_OK(gr_model_kv_open(&cache, b->model, b->device, 1 << 24, &check_err));
    CHECK_OK(gr_work_open(&work, b->model, NULL, way, b->device, &check_err));
    CHECK_OK(gr_vocabulary_open(&head, b->model, way, GR_HEAD_EXACT, b->device, &check_err));
    for (int k = 0; k < 2; k++) {
        CHECK_OK(gr_forest_init(&f, seq, SEQS, c->far.after, cache, GR_SAVE_SHARED, &check_err));
        CHECK_OK(gr_model_label_logits(work, &f, label, LABELS, out->label[k], &check_err));
        gr_forest_clear(&f, true);
    }
    CHECK_OK(gr_forest_init(&f, seq, SEQS, c->far.after, NULL, GR_SAVE_SHARED, &check_err));
    CHECK_OK(gr_model_logits(work, &f, f.leaf_row, SEQS, out->logits, &check_err));
    CHECK_OK(gr_model_forward(work, &f, f.leaf_row, SEQS, &hidden, &check_err));
    CHECK_OK(gr_vocabulary_logits(head, hidden, SEQS, &z, &check_err));
    memcpy(out->all, z, SEQS * c->vocabulary * sizeof *z);
    gr_forest_clear(&f, true);
    gr_vocabulary_close(head);
    gr_work_close(work);
    gr_kv_close(cache);
}

static void scores_are_the_cpus(void **state)
{
    static const char *const dirs[] = { "llama_gqa", "gemma3", "qwen3", "mistral_window", "qwen2", "smollm3", "olmo2",
                                        "internlm2", "gemma", "gemma2", "granite",
                                        "phi3", "phi3_long", "phi4_mini", "llama_bias",
                                        "qwen3_moe", "qwen3_moe_stacked" };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(dirs); i++)
        for (gr_linear_mode mode = GR_LINEAR_F32; mode <= GR_LINEAR_INT8; mode++)
            for (gr_rows_way way = GR_ROWS_ALIKE; way <= GR_ROWS_FEW; way++) {
                static struct scores want, got;
                char path[128];
                if (way == GR_ROWS_BLOCKS)
                    continue;
                snprintf(path, sizeof path, MODELS "%s", dirs[i]);
                for (int kind = 0; kind < 3; kind++) {
                    gr_device *d = kind ? emu_open(THREADS, kind == 2) : check_device(THREADS);
                    struct bound b = bound_open(d, path, mode, GR_MODEL_FIXED);
                    score(&b, way, kind ? &got : &want);
                    bound_close(&b);
                    if (kind)
                        gr_device_close(d);
                    if (kind && memcmp(&got, &want, sizeof got))
                        fail_msg("%s, mode %d, way %d: not the CPU's scores", dirs[i], (int)mode, (int)way);
                }
            }
}

/* ---- Steps ----------------------------------------------------------------------------------------- */

enum { ROWS = 4, STEPS = 3 };

static gr_set make_set(gram_loss loss, bool write)
{
    gr_set s = { 0 };

    for (size_t i = 0; i < ROWS; i++) {
        gr_example e = { .asked = 4, .soft = i == 1 ? 0.7 : 1, .weight = 1 + (double)i, .margin = 0.2 * (double)i };
        e.target = gr_loss_target(e.soft, loss == GRAM_LOSS_GRAM ? 0.05 : 0);
        for (size_t q = 0; q < (write ? 1 : 2); q++)
            for (size_t k = 0; k < 30 + i + q; k++) {
                int32_t id = (int32_t)(k < 12 ? 7 * k + i : 11 * k + 3 * q + i) % 250;
                assert_true(gr_ids_add(&e.seq[q], &id, 1));
            }
        CHECK_OK(gr_set_add(&s, &e, &check_err));
    }
    return s;
}

struct how { const char *name, *dir; gram_loss loss; bool write; size_t units,
            rank; gr_linear_mode mode; bool head_only; };
static const struct how hows[] = {
    { "every weight", MODEL, GRAM_LOSS_GRAM, false, 0, 0, GR_LINEAR_F32, false },
    { "text", MODEL, GRAM_LOSS_GRAM, true, 0, 0, GR_LINEAR_F32, false },
    { "text in bfloat16", MODEL, GRAM_LOSS_GRAM, true, 0, 0, GR_LINEAR_BF16, false },
    { "adapters", MODEL, GRAM_LOSS_GRAM, false, 0, 3, GR_LINEAR_F32, false },
    { "a head", MODEL, GRAM_LOSS_BT, false, 0, 0, GR_LINEAR_F32, false },
    { "a head with units, and text", MODEL, GRAM_LOSS_SFT_REG, false, 20, 0, GR_LINEAR_F32, false },
    { "a head and adapters", MODEL, GRAM_LOSS_PURM, false, 0, 3, GR_LINEAR_BF16, false },
    { "a head alone", MODEL, GRAM_LOSS_BT_POSREG, false, 20, 0, GR_LINEAR_F32, true },
    { "Gemma 3", "tests/golden/train/gemma3_text", GRAM_LOSS_GRAM, false, 0, 0, GR_LINEAR_F32, false },
    { "experts", MODELS "qwen3_moe", GRAM_LOSS_GRAM, false, 0, 0, GR_LINEAR_F32, false },
    { "adapters of experts", MODELS "qwen3_moe", GRAM_LOSS_GRAM, false, 0, 3, GR_LINEAR_F32, false },
    { "Qwen3", "tests/golden/train/qwen3_headdim", GRAM_LOSS_GRAM, false, 0, 0, GR_LINEAR_F32, false },
    { "Qwen2", "tests/golden/train/qwen2_bias", GRAM_LOSS_GRAM, false, 0, 4, GR_LINEAR_F32, false },
    { "a window", "tests/golden/train/mistral_window", GRAM_LOSS_GRAM, false, 0, 0, GR_LINEAR_F32, false },
};

struct subject { struct bound b; gr_lora *lora; gr_trainee *t; gr_adamw adam; gr_grad grad; };

static struct bound subject_bound(gr_device *d, const struct how *h)
{
    struct bound b = { .device = d };
    gr_config cfg;

    CHECK_OK(gr_weights_open_dir(&b.weights, h->dir, &check_err));
    CHECK_OK(gr_config_read(&cfg, h->dir, &check_err));
    if (gram_loss_is_scalar(h->loss)) {
        cfg.reward = h->loss == GRAM_LOSS_PURM ? GR_REWARD_PURM : GR_REWARD_MEAN;
        cfg.new_head = true;
        cfg.head = gr_head_new(gr_reward_outputs(cfg.reward), h->units);
        cfg.words = h->loss == GRAM_LOSS_SFT_REG;
    }
    CHECK_OK(gr_model_open_folded(&b.model, d, b.weights, NULL, &cfg, h->mode,
                                  h->rank ? GR_MODEL_FIXED : GR_MODEL_WRITABLE, &check_err));
    if (gram_loss_is_scalar(h->loss) && !h->rank)
        CHECK_OK(gr_model_draw_score(b.model, 9, &check_err));
    return b;
}

static gr_loss_rules rules_of(gram_loss loss)
{
    return (gr_loss_rules){ .kind = loss, .posreg = 0.1, .sft_weight = 0.01, .sft_beta = 0.1 };
}

static struct subject subject_open(gr_device *d, const struct how *h)
{
    struct subject s = { .b = subject_bound(d, h) };
    size_t n;
    gr_param *p;

    if (h->rank)
        CHECK_OK(gr_lora_open(&s.lora, s.b.model, &(gr_lora_spec){ .rank = h->rank, .alpha = 8, .dropout = 0.2,
                                                                    .targets = GR_LORA_ALL }, 3, &check_err));
    if (h->head_only)
        CHECK_OK(gr_trainee_open_head(&s.t, s.b.model, d, &check_err));
    else
        CHECK_OK(gr_trainee_open_lora(&s.t, s.b.model, s.lora, d, &check_err));
    gr_trainee_recompute(s.t, 1);
    p = gr_trainee_params(s.t, &n);
    CHECK_OK(gr_adamw_init(&s.adam, p, n, &check_err));
    s.grad = (gr_grad){ .t = s.t, .cfg = gr_model_config(s.b.model), .device = d, .label = { 65, 66 },
                        .write = h->write, .loss = rules_of(h->loss) };
    return s;
}

static void subject_close(struct subject *s)
{
    gr_grad_clear(&s->grad);
    gr_adamw_clear(&s->adam);
    gr_trainee_close(s->t);
    gr_lora_close(s->lora);
    bound_close(&s->b);
}

struct floats { float *p; size_t n; };

static float *floats_more(struct floats *f, size_t n)
{
    f->p = realloc(f->p, (f->n + n) * sizeof *f->p);
    assert_non_null(f->p);
    f->n += n;
    return f->p + f->n - n;
}

/* Two micro-batches a step; *out: the gradients of the first step, then the values after the last. */
static void train(struct subject *x, const gr_set *set, double *loss, struct floats *out)
{
    const gr_example *e[ROWS];
    double n = 0;

    for (size_t i = 0; i < ROWS; i++) {
        e[i] = &set->e[i];
        n += gr_grad_weight(&x->grad, e[i]);
    }
    for (uint64_t s = 0; s < STEPS; s++) {
        gr_sum sum = { 0 };
        double norm;
        gr_trainee_zero(x->t);
        gr_trainee_drop(x->t, 9, s);
        for (size_t i = 0; i < ROWS; i += 2)
            CHECK_OK(gr_grad_add(&x->grad, e + i, 2, n, true, &sum, &check_err));
        loss[s] = sum.loss;
        for (size_t i = 0; i < x->adam.n_params && s == 0; i++)
            gr_param_get_grad(&x->adam.param[i], 0, gr_param_count(&x->adam.param[i]),
                              floats_more(out, gr_param_count(&x->adam.param[i])));
        norm = gr_grad_norm(&x->adam, x->b.device);
        gr_adamw_step(&x->adam, 1e-2, norm > 1 ? 1 / norm : 1, x->b.device);
    }
    for (size_t i = 0; i < x->adam.n_params; i++)
        gr_param_get(&x->adam.param[i], 0, gr_param_count(&x->adam.param[i]),
                     floats_more(out, gr_param_count(&x->adam.param[i])));
}

static void steps_are_the_cpus(void **state)
{
    (void)state;
    for (size_t i = 0; i < GR_COUNT(hows); i++) {
        gr_set set = make_set(hows[i].loss, hows[i].write);
        double loss[2][STEPS];
        struct floats out[2] = { 0 };
        for (int kind = 0; kind < 2; kind++) {
            gr_device *d = kind ? emu_open(THREADS, false) : check_device(THREADS);
            struct subject x = subject_open(d, &hows[i]);
            train(&x, &set, loss[kind], &out[kind]);
            subject_close(&x);
            if (kind)
                gr_device_close(d);
        }
        if (memcmp(loss[0], loss[1], sizeof loss[0]) || out[0].n != out[1].n ||
            memcmp(out[0].p, out[1].p, out[0].n * sizeof *out[0].p))
            fail_msg("%s: not the CPU's gradients or steps: losses %g %g %g, wanted %g %g %g", hows[i].name, loss[1][0],
                     loss[1][1], loss[1][2], loss[0][0], loss[0][1], loss[0][2]);
        assert_true(loss[0][2] != loss[0][0]);
        free(out[0].p), free(out[1].p);
        gr_set_clear(&set);
    }
}

/* In one piece the shares of norms and adapters are added in another order. */
static void one_piece_gives_the_same_loss(void **state)
{
    (void)state;
    for (size_t i = 0; i < GR_COUNT(hows); i++) {
        gr_set set = make_set(hows[i].loss, hows[i].write);
        double loss[2][STEPS];
        for (int kind = 0; kind < 2; kind++) {
            gr_device *d = kind ? emu_open(1, true) : check_device(THREADS);
            struct subject x = subject_open(d, &hows[i]);
            struct floats out = { 0 };
            train(&x, &set, loss[kind], &out);
            free(out.p);
            subject_close(&x);
            if (kind)
                gr_device_close(d);
        }
        for (int s = 0; s < STEPS; s++)
            if (!(fabs(loss[1][s] - loss[0][s]) <= 1e-4 * fabs(loss[0][s])))
                fail_msg("%s: step %d: loss %g, wanted %g", hows[i].name, s, loss[1][s], loss[0][s]);
        gr_set_clear(&set);
    }
}

/* ---- Runs ------------------------------------------------------------------------------------------ */

static int stop_at_2(void *arg, const gram_train_step *s)
{
    return *(bool *)arg && s->step == 2;
}

static gram_status run(gr_device *d, const struct how *h, const char *out, bool stop, bool resume)
{
    gram_train_options o;
    gr_set set = make_set(h->loss, h->write), held = make_set(h->loss, h->write);
    const char *name = "held";
    struct bound b = subject_bound(d, h);
    gr_lora *lora = NULL;
    gram_train_report report = { 0 };
    char base[] = MODEL;
    gram_status rc;

    if (h->rank)
        CHECK_OK(gr_lora_open(&lora, b.model, &(gr_lora_spec){ .rank = h->rank, .alpha = 8, .targets = GR_LORA_ALL }, 3,
                              &check_err));
    gram_train_options_init(&o, h->write ? GRAM_STAGE_PRETRAIN : GRAM_STAGE_FINETUNE);
    o.batch_rows = 2, o.steps = 4, o.save_every = 1, o.eval_every = 2, o.best = true, o.resume = resume;
    o.lora_rank = h->rank, o.progress = stop_at_2, o.arg = &stop;
    rc = gr_train(&(gr_training){ .stage = h->write ? GRAM_STAGE_PRETRAIN : GRAM_STAGE_FINETUNE, .opt = &o,
                                  .loss = rules_of(h->loss), .batch_tokens = 100, .from = MODEL, .out = out,
                                  .model = b.model, .device = d, .train = &set, .held = &held, .held_name = &name,
                                  .n_held = 1, .label = { 65, 66 }, .lora = lora, .weights = b.weights, .base = base,
                                  .mode = h->mode }, &report, &check_err);
    gr_lora_close(lora);
    bound_close(&b);
    gr_set_clear(&set), gr_set_clear(&held);
    return rc;
}

/* With checkpoints, a stop, a resume, held-out rows and the best step's weights, which are read again when written. */
static void runs_are_the_cpus(void **state)
{
    (void)state;
    for (size_t i = 0; i < GR_COUNT(hows); i++) {
        char *out[2], name[40], command[600];
        const char *file = hows[i].rank ? "adapter_model.safetensors" : "model.safetensors";
        if (hows[i].head_only || strcmp(hows[i].dir, MODEL))
            continue;
        for (int kind = 0; kind < 2; kind++) {
            gr_device *d = kind ? emu_open(THREADS, false) : check_device(THREADS);
            snprintf(name, sizeof name, "run-%zu-%d", i, kind);
            out[kind] = check_tmppath(name);
            CHECK_OK(gr_make_directory(out[kind], &check_err));
            if (kind)
                assert_int_equal(run(d, &hows[i], out[kind], true, false), GRAM_ESTOPPED);
            CHECK_OK(run(d, &hows[i], out[kind], false, kind));
            if (kind)
                gr_device_close(d);
        }
        snprintf(command, sizeof command, "cmp '%s/%s' '%s/%s'", out[0], file, out[1], file);
        if (system(command))
            fail_msg("%s: a run on the emulated device is not the CPU's", hows[i].name);
        free(out[0]), free(out[1]);
    }
}

/* ---- The device itself ------------------------------------------------------------------------------- */

/* What a test relies on: the host that touches the device's memory dies. */
static void the_host_cannot_touch_it(void **state)
{
    gr_device *d = emu_open(1, false);
    float *p, x = 3;
    void *memory;
    int status;
    pid_t child;

    (void)state;
    assert_string_equal(gr_device_name(d), "emu");
    assert_true(!gr_device_is_host(d) && gr_device_free_bytes(d) > 1 << 20 && gr_device_activations(d) == GR_F32);
    CHECK_OK(gr_device_alloc(d, &memory, sizeof *p, &check_err));
    p = memory;
    gr_device_put(d, p, &x, sizeof x);
    child = fork();
    if (child == 0) {
        freopen("/dev/null", "w", stderr);
        signal(SIGSEGV, SIG_DFL);
        _exit(*(volatile float *)p == 3);
    }
    assert_true(waitpid(child, &status, 0) == child && !(WIFEXITED(status) && WEXITSTATUS(status) <= 1));
    x = 0;
    gr_device_get(d, &x, p, sizeof x);
    assert_true(x == 3);
    gr_device_free(d, p);
    gr_device_close(d);
    assert_string_equal(gr_device_name(check_device(1)), "cpu");
    assert_true(gr_device_free_bytes(check_device(1)) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_host_cannot_touch_it),
        cmocka_unit_test(scores_are_the_cpus),
        cmocka_unit_test(steps_are_the_cpus),
        cmocka_unit_test(one_piece_gives_the_same_loss),
        cmocka_unit_test(runs_are_the_cpus),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
