/* run.c - see run.h.
 *
 *     batch of rows --+-- micro-batch: forest, forward, loss, backward --+-- norm, clip, AdamW -- metrics -- checkpoint
 *                     +-- micro-batch: ...           gradients add up ---+
 *
 * Which rows a step takes follows from the seed and the step, and how they are cut into micro-batches from their
 * lengths and batch_tokens. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/err.h"
#include "file/io.h"
#include "train/grad.h"
#include "train/metrics.h"
#include "train/output.h"
#include "train/run.h"
#include "train/state.h"

struct loop {
    const gr_training *r;
    gr_trainee *t;
    gr_adamw adam;
    gr_grad grad;
    gr_order order;
    gr_state state;
    uint64_t steps, warmup, rows;   /* rows: places of the stream that the run takes */
    const gr_example **batch;       /* [batch_rows] */
    char *settings, *checkpoint, *metrics_path, *weights_path;
    FILE *metrics;
    struct timespec start;
    uint64_t tokens;
    gram_train_report *report;
};

static double seconds(const struct loop *l)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - l->start.tv_sec) + 1e-9 * (double)(now.tv_nsec - l->start.tv_nsec);
}

/* ---- What the run will be ------------------------------------------------------------------------- */

static gram_status say_settings(struct loop *l, gram_err *err)
{
    const gram_train_options *o = l->r->opt;
    gr_buf b = { 0 };

    if (!gr_buf_printf(&b, "stage=%d lr=%.17g schedule=%d warmup=%.17g decay=%.17g clip=%.17g batch=%zu "
                       "batch-tokens=%zu steps=%" PRIu64 " seed=%" PRIu64 " labels=%d,%d data=%016" PRIx64,
                       (int)l->r->stage + 1, o->lr,
                       (int)o->schedule, o->warmup, o->weight_decay, o->clip, o->batch_rows, l->r->batch_tokens,
                       l->steps, o->seed, (int)l->r->label[0], (int)l->r->label[1], l->r->train->digest)) {
        gr_buf_clear(&b);
        return gr_nomem(err, "settings");
    }
    l->settings = b.p;
    return GRAM_OK;
}

/* What the run will hold at most. The longest micro-batch is full, or one row. */
static gram_status estimate(struct loop *l, gram_err *err)
{
    const gr_training *r = l->r;
    uint64_t param = l->adam.floats * sizeof(float), rows = r->batch_tokens, acts, all;
    uint64_t have = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    const double G = 1 << 30;
    gr_buf text = { 0 };
    bool ok;

    for (size_t i = 0; i < r->train->n; i++)
        rows = gr_max(rows, gr_example_tokens(&r->train->e[i]));
    for (size_t i = 0; i < r->held->n; i++)
        rows = gr_max(rows, gr_example_tokens(&r->held->e[i]));
    acts = gr_trainee_bytes(l->t, rows);
    if (r->stage == GRAM_STAGE_PRETRAIN)
        acts += gr_grad_head_bytes(gr_model_config(r->model), gr_pool_size(r->pool));
    all = 4 * param + acts;
    l->report->memory_bytes = all;
    ok = gr_buf_printf(&text, "memory: at most about %.2f GiB: weights %.2f, gradients %.2f, optimizer %.2f, "
                       "activations of %" PRIu64 " tokens %.2f", (double)all / G, (double)param / G, (double)param / G,
                       2 * (double)param / G, rows, (double)acts / G);
    if (ok && r->opt->note)
        r->opt->note(r->opt->arg, text.p);
    gr_buf_clear(&text);
    if (!ok)
        return gr_nomem(err, "training");
    if (all > have)
        return gr_fail(err, GRAM_ENOMEM, "this run needs about %.2f GiB and the machine has %.2f GiB: a smaller "
                       "--batch-tokens or --max-tokens needs less", (double)all / G, (double)have / G);
    return GRAM_OK;
}

static gram_status loop_open(struct loop *l, gram_err *err)
{
    const gr_training *r = l->r;
    const gram_train_options *o = r->opt;
    gr_param *param;
    size_t n;
    gram_status rc;

    l->rows = o->steps ? o->steps * o->batch_rows : (uint64_t)r->train->n * o->epochs;
    l->steps = (l->rows + o->batch_rows - 1) / o->batch_rows;
    l->warmup = (uint64_t)ceil(o->warmup * (double)l->steps);
    l->order = (gr_order){ .n = r->train->n, .seed = o->seed };
    l->checkpoint = gr_path_join(r->out, "checkpoint.safetensors");
    l->metrics_path = gr_path_join(r->out, "metrics.jsonl");
    l->weights_path = gr_path_join(r->out, "model.safetensors");
    l->batch = gr_calloc(o->batch_rows, sizeof *l->batch);
    if (!l->checkpoint || !l->metrics_path || !l->weights_path || !l->batch)
        return gr_nomem(err, "training");
    rc = gr_trainee_open(&l->t, r->model, r->pool, err);
    if (rc)
        return rc;
    param = gr_trainee_params(l->t, &n);
    rc = gr_adamw_init(&l->adam, param, n, err);
    l->adam.decay = o->weight_decay;
    l->grad = (gr_grad){ .t = l->t, .cfg = gr_model_config(r->model), .pool = r->pool,
                         .label = { r->label[0], r->label[1] }, .write = r->stage == GRAM_STAGE_PRETRAIN };
    return rc ? rc : say_settings(l, err);
}

static void loop_clear(struct loop *l)
{
    if (l->metrics)
        fclose(l->metrics);
    gr_grad_clear(&l->grad);
    gr_adamw_clear(&l->adam);
    gr_trainee_close(l->t);
    gr_order_clear(&l->order);
    free(l->batch);
    free(l->settings);
    free(l->checkpoint);
    free(l->metrics_path);
    free(l->weights_path);
}

/* ---- Batches -------------------------------------------------------------------------------------- */

/* Gives examples to the trainee in micro-batches: as many as batch_tokens hold, at least one. */
static gram_status micro_batches(struct loop *l, const gr_example *const *e, size_t count, double n, bool backward,
                                 gr_sum *sum, gram_err *err)
{
    gram_status rc = GRAM_OK;

    for (size_t i = 0, k; i < count && !rc; i += k) {
        size_t tokens = gr_example_tokens(e[i]);
        for (k = 1; i + k < count && tokens + gr_example_tokens(e[i + k]) <= l->r->batch_tokens; k++)
            tokens += gr_example_tokens(e[i + k]);
        rc = gr_grad_add(&l->grad, e + i, k, n, backward, sum, err);
    }
    return rc;
}

static gram_status judge_held(struct loop *l, double *accuracy, gram_err *err)
{
    const gr_set *held = l->r->held;
    const gr_example **e = gr_calloc(held->n, sizeof *e);
    gr_sum sum = { 0 };
    gram_status rc = e ? GRAM_OK : gr_nomem(err, "held-out rows");

    *accuracy = NAN;
    for (size_t i = 0; i < held->n && e; i++)
        e[i] = &held->e[i];
    if (!rc && held->n > 0) {
        rc = micro_batches(l, e, held->n, (double)held->n, false, &sum, err);
        *accuracy = sum.right / sum.count;
    }
    free(e);
    return rc;
}

/* ---- A step --------------------------------------------------------------------------------------- */

static gram_status take_step(struct loop *l, gram_train_step *s, gram_err *err)
{
    const gram_train_options *o = l->r->opt;
    uint64_t first = l->state.step * o->batch_rows;
    size_t count = (size_t)(l->rows - first < o->batch_rows ? l->rows - first : o->batch_rows), index;
    double n = 0, scale = 1;
    gr_sum sum = { 0 };
    gram_status rc = GRAM_OK;

    for (size_t i = 0; i < count && !rc; i++) {
        rc = gr_order_at(&l->order, first + i, &index, err);
        if (!rc) {
            l->batch[i] = &l->r->train->e[index];
            n += gr_grad_weight(&l->grad, l->batch[i]);
        }
    }
    gr_trainee_zero(l->t);
    if (!rc)
        rc = micro_batches(l, l->batch, count, n, true, &sum, err);
    if (rc)
        return rc;
    l->tokens += sum.tokens;
    *s = (gram_train_step){ .step = l->state.step + 1, .steps = l->steps, .loss = sum.loss,
                            .accuracy = l->grad.write ? NAN : sum.right / sum.count, .tokens = l->tokens,
                            .lr = gr_learning_rate((gr_schedule)o->schedule, o->lr, l->state.step, l->warmup, l->steps),
                            .grad_norm = gr_grad_norm(&l->adam, l->r->pool) };
    if (!isfinite(s->loss) || !isfinite(s->grad_norm))
        return gr_fail(err, GRAM_EFORMAT, "step %" PRIu64 ": the loss is %g and the gradients' norm %g: the run has "
                       "diverged, and no weight of this step was kept; a smaller --lr may help", s->step, s->loss,
                       s->grad_norm);
    if (o->clip > 0 && s->grad_norm > o->clip)
        scale = o->clip / s->grad_norm;
    gr_adamw_step(&l->adam, s->lr, scale, l->r->pool);
    l->state.step++;
    s->seconds = seconds(l);
    return GRAM_OK;
}

static gram_status save_state(struct loop *l, gram_err *err)
{
    return gr_state_save(l->checkpoint, &l->state, l->settings, &l->adam, err);
}

static gram_status all_steps(struct loop *l, gram_err *err)
{
    const gram_train_options *o = l->r->opt;
    gram_train_step s;
    gram_status rc = GRAM_OK;

    while (l->state.step < l->steps && !rc) {
        bool stop;
        rc = take_step(l, &s, err);
        if (!rc)
            rc = gr_metrics_add(l->metrics, l->metrics_path, &s, err);
        if (rc)
            return rc;
        l->report->loss = s.loss;
        stop = o->progress && o->progress(o->arg, &s) != 0;
        if (stop || (o->save_every && l->state.step % o->save_every == 0 && l->state.step < l->steps))
            rc = save_state(l, err);
        if (!rc && stop)
            rc = gr_fail(err, GRAM_ESTOPPED, "stopped after step %" PRIu64 " of %" PRIu64 "; %s holds it",
                         l->state.step, l->steps, l->checkpoint);
    }
    return rc;
}

/* ------------------------------------------------------------------------------------------------- */

/* A directory that holds something is not written over. */
static gram_status begin(struct loop *l, gram_err *err)
{
    bool found = gr_path_exists(l->checkpoint);
    gram_status rc = GRAM_OK;

    if (found && !l->r->opt->resume)
        return gr_fail(err, GRAM_EARG, "%s is there: --resume goes on with that run; a new one needs another directory",
                       l->checkpoint);
    if (!found && gr_path_exists(l->weights_path))
        return gr_fail(err, GRAM_EARG, "%s is there already, and is not written over", l->weights_path);
    if (found)
        rc = gr_state_load(l->checkpoint, &l->state, l->settings, &l->adam, err);
    else
        rc = judge_held(l, &l->state.accuracy_before, err);
    l->report->resumed = l->state.step;
    if (!rc)
        rc = gr_metrics_open(&l->metrics, l->metrics_path, l->state.step, err);
    return rc;
}

gram_status gr_train(const gr_training *r, gram_train_report *report, gram_err *err)
{
    struct loop l = { .r = r, .report = report };
    gram_status rc;

    clock_gettime(CLOCK_MONOTONIC, &l.start);
    report->accuracy_before = report->accuracy_after = report->loss = NAN;
    rc = loop_open(&l, err);
    if (!rc)
        rc = estimate(&l, err);
    if (!rc)
        rc = begin(&l, err);
    if (!rc)
        rc = all_steps(&l, err);
    if (!rc)
        rc = judge_held(&l, &report->accuracy_after, err);
    if (!rc)
        rc = gr_output_write(r, &l.grad, l.adam.param, l.adam.n_params, err);
    if (!rc)
        unlink(l.checkpoint);               /* nothing is left to resume */
    report->steps = l.state.step;
    report->accuracy_before = l.state.accuracy_before;
    report->eval_rows = r->held->n;
    report->seconds = seconds(&l);
    loop_clear(&l);
    return rc;
}
