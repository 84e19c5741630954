/* run.c - see run.h.
 *
 *     batch of rows --+-- micro-batch: forest, forward, loss, backward --+-- norm, clip, AdamW -- metrics -- checkpoint
 *                     +-- micro-batch: ...           gradients add up ---+
 *
 * Which rows a step takes follows from the seed and the step, and how they are cut into micro-batches from their
 * lengths and batch_tokens. Several processes share each step (share.h), and process 0 alone reads and writes what is
 * in OUT; the others go the same way through this file. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>
#include "base/digest.h"
#include "base/err.h"
#include "file/io.h"
#include "train/checkpoints.h"
#include "train/estimate.h"
#include "train/grad.h"
#include "train/metrics.h"
#include "train/output.h"
#include "train/run.h"
#include "train/share.h"

struct loop {
    const gr_training *r;
    gr_trainee *t;
    gr_adamw adam;
    gr_share share;
    gr_grad grad;
    gr_order order;
    gr_state state;
    uint64_t steps, warmup, rows;   /* rows: places of the stream that the run takes */
    const gr_example **batch;       /* [batch_rows] */
    char *settings, *weights_path;
    gr_checkpoints checkpoints;
    gr_metrics *metrics;
    int lock;                       /* on the output directory */
    gr_held held;                 /* as they were last judged; n == 0: not in this call */
    struct timespec start;
    uint64_t tokens;
    bool check_rows;                /* of the model that is opened again: there is memory for it */
    gram_train_report *report;
};

static double seconds(const struct loop *l)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - l->start.tv_sec) + 1e-9 * (double)(now.tv_nsec - l->start.tv_nsec);
}

/* Whether this process reads and writes what is in OUT. */
static bool is_first(const struct loop *l)
{
    return gr_dist_rank(l->r->opt->dist) == 0;
}

/* ---- What the run will be ------------------------------------------------------------------------- */

static gram_status say_settings(struct loop *l, gram_err *err)
{
    const gram_train_options *o = l->r->opt;
    gr_buf b = { 0 };
    bool ok = gr_buf_printf(&b, "stage=%d lr=%.17g schedule=%d warmup=%.17g decay=%.17g clip=%.17g batch=%zu "
                            "batch-tokens=%zu steps=%" PRIu64 " seed=%" PRIu64 " labels=%d,%d data=%016" PRIx64,
                            (int)l->r->stage + 1, o->lr, (int)o->schedule, o->warmup, o->weight_decay, o->clip,
                            o->batch_rows, l->r->batch_tokens, l->steps, o->seed, (int)l->r->label[0],
                            (int)l->r->label[1], l->r->train->digest);

    if (ok && l->r->lora) {
        const gr_lora_spec *s = gr_lora_get_spec(l->r->lora);
        ok = gr_buf_printf(&b, " lora=%zu,%.17g,%d,%u base-dtype=%d base=%016" PRIx64, s->rank, s->alpha, s->root,
                           s->targets, (int)o->model.dtype, gr_weights_digest(l->r->weights));
        if (ok && s->dropout > 0)
            ok = gr_buf_printf(&b, " dropout=%.17g", s->dropout);
    }
    if (ok && o->freeze)                    /* a checkpoint has the head alone */
        ok = gr_buf_printf(&b, " freeze base=%016" PRIx64, gr_weights_digest(l->r->weights));
    if (ok && !l->r->lora && o->model.dtype == GRAM_BF16)
        ok = gr_buf_printf(&b, " dtype=bf16");
    if (ok && gram_loss_is_scalar(o->loss))
        ok = gr_buf_printf(&b, " loss=%s posreg=%.17g sft=%.17g,%.17g", gram_loss_name(o->loss), o->posreg,
                           o->sft_weight, o->sft_beta);
    if (ok && gr_model_config(l->r->model)->head.hidden)
        ok = gr_buf_printf(&b, " head=%zu", gr_model_config(l->r->model)->head.hidden);
    if (ok && l->r->held->n > 0)            /* which weights are the best depends on them */
        ok = gr_buf_printf(&b, " held-out=%016" PRIx64 " eval-every=%" PRIu64, l->r->held->digest, o->eval_every);
    if (!ok) {
        gr_buf_clear(&b);
        return gr_nomem(err, "settings");
    }
    l->settings = b.p;
    return GRAM_OK;
}

static uint64_t digest_of(const gr_param *p, uint64_t h)
{
    size_t n = p->rows * p->cols;

    if (!p->half)
        return gr_digest_words(h, p->w, n);
    h = gr_digest_words(h, p->half, n / 2);
    return gr_digest(h, p->half + n / 2 * 2, n % 2 * sizeof *p->half);
}

/* Each process reads files of its own, which may be on a disk of its own. */
static gram_status same_everywhere(const struct loop *l, gram_err *err)
{
    gr_dist *d = l->r->opt->dist;
    uint64_t weights = GR_DIGEST;
    gram_status rc;

    for (size_t i = 0; d && i < l->adam.n_params; i++)
        weights = digest_of(&l->adam.param[i], weights);
    rc = gr_dist_same(d, "weights", weights, err);
    if (!rc)
        rc = gr_dist_same(d, "training rows", l->r->train->digest, err);
    if (!rc)
        rc = gr_dist_same(d, "held-out rows", l->r->held->digest, err);
    return rc ? rc : gr_dist_same(d, "options", gr_digest(GR_DIGEST, l->settings, strlen(l->settings)), err);
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
    l->state = (gr_state){ .judged = GR_NEVER, .best = GR_NEVER };
    l->weights_path = gr_path_join(r->out, r->lora ? GR_ADAPTER_WEIGHTS : "model.safetensors");
    l->batch = gr_calloc(o->batch_rows, sizeof *l->batch);
    l->held.p = gr_calloc(r->held->n, sizeof *l->held.p);
    if (!l->weights_path || !l->batch || !l->held.p)
        return gr_nomem(err, "training");
    rc = gr_checkpoints_init(&l->checkpoints, r->out, o->keep, err);
    if (!rc)
        rc = o->freeze ? gr_trainee_open_head(&l->t, r->model, r->pool, err)
                       : gr_trainee_open_lora(&l->t, r->model, r->lora, r->pool, err);
    if (rc)
        return rc;
    param = gr_trainee_params(l->t, &n);
    rc = gr_adamw_init_part(&l->adam, param, n, gr_dist_rank(o->dist), gr_dist_size(o->dist), err);
    if (!rc)
        rc = gr_share_open(&l->share, o->dist, &l->adam, err);
    l->adam.decay = o->weight_decay;
    l->adam.seed = o->seed;
    l->grad = (gr_grad){ .t = l->t, .cfg = gr_model_config(r->model), .pool = r->pool,
                         .label = { r->label[0], r->label[1] }, .write = r->stage == GRAM_STAGE_PRETRAIN,
                         .loss = r->loss };
    if (!rc)
        rc = say_settings(l, err);
    return rc ? rc : same_everywhere(l, err);
}

static void loop_clear(struct loop *l)
{
    gr_metrics_close(l->metrics);
    if (l->lock >= 0)
        close(l->lock);
    gr_checkpoints_clear(&l->checkpoints);
    gr_grad_clear(&l->grad);
    gr_share_clear(&l->share);
    gr_adamw_clear(&l->adam);
    gr_trainee_close(l->t);
    gr_order_clear(&l->order);
    free(l->batch);
    free(l->held.p);
    free(l->settings);
    free(l->weights_path);
}

/* ---- Batches -------------------------------------------------------------------------------------- */

static gram_status learn(struct loop *l, const gr_example *const *e, size_t count, double n, bool backward, gr_sum *sum,
                         gram_err *err)
{
    gram_status rc = GRAM_OK;

    for (size_t i = 0, k; i < count && !rc; i += k) {
        k = gr_grad_fits(e + i, count - i, l->r->batch_tokens);
        rc = gr_grad_add(&l->grad, e + i, k, n, backward, sum, err);
        if (!rc)
            rc = gr_dist_check(l->share.d, err);
    }
    return rc;
}

/* ---- A step --------------------------------------------------------------------------------------- */

static gram_status check_finite(const gram_train_step *s, gram_err *err)
{
    if (isfinite(s->loss) && isfinite(s->grad_norm))
        return GRAM_OK;
    return gr_fail(err, GRAM_EFORMAT, "step %" PRIu64 ": the loss is %g and the gradients' norm %g: the run has "
                   "diverged, and no weight of this step was kept; a smaller --lr may help", s->step, s->loss,
                   s->grad_norm);
}

/* The loss of the batch and its gradients, of which this process then has its part. */
static gram_status learn_batch(struct loop *l, size_t count, double n, gr_sum *sum, double *norm, gram_err *err)
{
    bool posreg = l->r->loss.kind == GRAM_LOSS_BT_POSREG;   /* its mean is that of the batch, and wanted beforehand */
    gr_sum first_look = { 0 };
    gram_status rc = gr_share_batch(&l->share, l->batch, &count, err);

    if (!rc && posreg)
        rc = learn(l, l->batch, count, n, false, &first_look, err);
    if (!rc && posreg)
        rc = gr_share_sum(&l->share, &first_look, err);
    l->grad.chosen = first_look.chosen;
    if (!rc)
        rc = learn(l, l->batch, count, n, true, sum, err);
    if (!rc)
        rc = gr_share_sum(&l->share, sum, err);
    gr_grad_whole(&l->grad, sum);
    return rc ? rc : gr_share_gradients(&l->share, l->r->pool, norm, err);
}

static gram_status take_step(struct loop *l, gram_train_step *s, gram_err *err)
{
    const gram_train_options *o = l->r->opt;
    uint64_t first = l->state.step * o->batch_rows;
    size_t count = (size_t)(l->rows - first < o->batch_rows ? l->rows - first : o->batch_rows), index;
    double n = 0, scale = 1, norm = 0, begin = seconds(l);
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
    gr_trainee_drop(l->t, o->seed, l->state.step);
    if (!rc)
        rc = learn_batch(l, count, n, &sum, &norm, err);
    gr_trainee_keep(l->t);
    if (rc)
        return rc;
    l->tokens += sum.tokens;
    *s = (gram_train_step){ .step = l->state.step + 1, .steps = l->steps, .loss = sum.loss,
                            .accuracy = l->grad.write ? NAN : sum.right / sum.count, .tokens = l->tokens,
                            .held_loss = l->held.n ? l->held.loss : NAN,
                            .held_accuracy = l->held.n ? l->held.accuracy : NAN,
                            .lr = gr_learning_rate((gr_schedule)o->schedule, o->lr, l->state.step, l->warmup, l->steps),
                            .grad_norm = norm };
    rc = check_finite(s, err);
    if (rc)
        return rc;
    if (o->clip > 0 && s->grad_norm > o->clip)
        scale = o->clip / s->grad_norm;
    gr_adamw_step(&l->adam, s->lr, scale, l->r->pool);
    rc = gr_share_values(&l->share, err);
    if (rc)
        return rc;
    l->state.step++;
    s->seconds = seconds(l);
    s->tokens_per_s = s->seconds > begin ? (double)sum.tokens / (s->seconds - begin) : 0;
    return GRAM_OK;
}

static gram_status save_state(struct loop *l, gram_err *err)
{
    gram_status rc;

    l->state.processes = gr_dist_size(l->share.d);
    if (!is_first(l))
        return gr_state_give(&l->share, err);
    rc = gr_metrics_sync(l->metrics, err);
    return rc ? rc : gr_checkpoints_save(&l->checkpoints, &l->state, l->settings, &l->share, err);
}

/* Somebody asked to stop: what is done is kept. */
static gram_status stop(struct loop *l, gram_err *err)
{
    gram_status rc = l->state.step ? save_state(l, err) : GRAM_OK;

    if (!rc && !l->state.step)
        rc = gr_fail(err, GRAM_ESTOPPED, "stopped before the first of %" PRIu64 " steps", l->steps);
    else if (!rc)
        rc = gr_fail(err, GRAM_ESTOPPED, "stopped after step %" PRIu64 " of %" PRIu64 "; %s holds it", l->state.step,
                     l->steps, l->checkpoints.dir);
    return rc;
}

/* ---- Held-out rows -------------------------------------------------------------------------------- */

/* What each process has of them becomes that of all. */
static gram_status put_together(struct loop *l, gr_sum *sum, bool *stopped, gram_err *err)
{
    gram_status rc = gr_dist_broadcast(l->share.d, stopped, sizeof *stopped, err);

    if (!rc && !*stopped)
        rc = gr_share_sum(&l->share, sum, err);
    if (!rc && !*stopped)
        rc = gr_dist_sum(l->share.d, l->held.p[0], 2 * l->r->held->n, err);
    return rc;
}

/* Judges them; *stopped where the caller asked for it, and then they are not. */
static gram_status judge_rows(struct loop *l, const gr_example *const *e, bool *stopped, gram_err *err)
{
    const gram_train_options *o = l->r->opt;
    size_t n = l->r->held->n, first, own, k;
    gr_sum sum;
    gram_status rc = GRAM_OK;

    gr_share_rows(&l->share, e, n, &first, &own);
    memset(l->held.p, 0, n * sizeof *l->held.p);
    sum = (gr_sum){ .p = l->held.p + first };
    *stopped = o->judging && o->judging(o->arg, 0, n) != 0;
    for (size_t i = 0; i < own && !rc && !*stopped; i += k) {
        k = gr_grad_fits(e + first + i, own - i, l->r->batch_tokens);
        rc = gr_grad_add(&l->grad, e + first + i, k, (double)n, false, &sum, err);
        *stopped = !rc && o->judging && o->judging(o->arg, (i + k) * n / own, n) != 0;
    }
    if (!rc)
        rc = put_together(l, &sum, stopped, err);
    gr_grad_whole(&l->grad, &sum);
    if (!rc && !*stopped && !isfinite(sum.loss))
        rc = gr_fail(err, GRAM_EFORMAT, "after step %" PRIu64 ": the loss of the held-out rows is %g: the run has "
                     "diverged; a smaller --lr may help", l->state.step, sum.loss);
    l->held.n = rc || *stopped ? 0 : n;
    l->held.loss = sum.loss;
    l->held.accuracy = sum.right / sum.count;
    return rc;
}

static gram_status judge(struct loop *l, bool *stopped, gram_err *err)
{
    const gr_set *held = l->r->held;
    const gr_example **e = gr_calloc(held->n, sizeof *e);
    gram_status rc;

    if (!e)
        return gr_nomem(err, "held-out rows");
    for (size_t i = 0; i < held->n; i++)
        e[i] = &held->e[i];
    rc = judge_rows(l, e, stopped, err);
    free(e);
    return rc;
}

/* Whether they are judged now: before the first step, behind the last, and every so many between. */
static bool judging_due(const struct loop *l)
{
    uint64_t step = l->state.step, every = l->r->opt->eval_every;

    return l->r->held->n > 0 && l->state.judged != step &&
           (step == 0 || step == l->steps || (every && step % every == 0));
}

/* Where two are as often right, the smaller loss is better; where that is equal too, the earlier. */
static bool is_best(const struct loop *l)
{
    const gr_state *s = &l->state;

    return s->best == GR_NEVER || l->held.accuracy > s->best_accuracy ||
           (l->held.accuracy == s->best_accuracy && l->held.loss < s->best_loss);
}

/* The best weights become a model of their own, unless they are about to be the run's. */
static gram_status evaluate(struct loop *l, gram_err *err)
{
    gr_state *s = &l->state;
    bool stopped;
    gram_status rc = judge(l, &stopped, err);

    if (!rc && stopped)
        return stop(l, err);
    if (!rc && is_first(l))
        rc = gr_metrics_held(l->metrics, s->step, &l->held, err);
    if (rc)
        return rc;
    s->judged = s->step;
    if (s->step == 0 || !is_best(l))
        return GRAM_OK;
    if (s->step < l->steps && is_first(l))
        rc = gr_output_best(l->r, s->step, err);
    s->best = s->step;
    s->best_accuracy = l->held.accuracy;
    s->best_loss = l->held.loss;
    return rc;
}

/* --best: the weights become those of the best step, and are judged as that step's were. */
static gram_status take_best(struct loop *l, gram_err *err)
{
    bool stopped = false;
    gram_status rc = GRAM_OK;

    if (is_first(l))
        rc = gr_output_take_best(l->r, l->state.best, err);
    if (!rc)
        rc = gr_share_collect(&l->share, 0, err);
    if (!rc)
        rc = gr_share_spread(&l->share, 0, err);
    if (!rc)
        rc = judge(l, &stopped, err);
    return !rc && stopped ? stop(l, err) : rc;
}

/* ---- The loop ------------------------------------------------------------------------------------- */

static gram_status one_step(struct loop *l, gram_err *err)
{
    const gram_train_options *o = l->r->opt;
    gram_train_step s;
    bool asked = false;
    gram_status rc = take_step(l, &s, err);

    if (!rc && is_first(l))
        rc = gr_metrics_step(l->metrics, &s, err);
    if (rc)
        return rc;
    l->report->loss = s.loss;
    asked = o->progress && o->progress(o->arg, &s);
    rc = gr_dist_broadcast(l->share.d, &asked, sizeof asked, err);
    return !rc && asked ? stop(l, err) : rc;
}

/* A checkpoint is written behind the judging of its step, so that a run that goes on from it need not judge again. */
static gram_status all_steps(struct loop *l, gram_err *err)
{
    uint64_t every = l->r->opt->save_every;
    gram_status rc = judging_due(l) ? evaluate(l, err) : GRAM_OK;

    while (l->state.step < l->steps && !rc) {
        rc = one_step(l, err);
        if (!rc && judging_due(l))
            rc = evaluate(l, err);
        if (!rc && every && l->state.step % every == 0 && l->state.step < l->steps)
            rc = save_state(l, err);
    }
    return rc;
}

/* ------------------------------------------------------------------------------------------------- */

/* Two runs would write the same files. A file system without locks lets them. */
static gram_status lock(struct loop *l, gram_err *err)
{
    l->lock = open(l->r->out, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (l->lock >= 0 && flock(l->lock, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK)
        return gr_fail(err, GRAM_EIO, "%s: another run is writing to it", l->r->out);
    return GRAM_OK;
}

/* Where the checkpoint is of another number of processes, only the last bits will differ, but that is said. */
static gram_status say_resumed(const struct loop *l, gram_err *err)
{
    const gram_train_options *o = l->r->opt;
    size_t size = gr_dist_size(l->share.d);
    gr_buf text = { 0 };
    bool ok = true;

    if (l->state.processes != size && o->note)
        ok = gr_buf_printf(&text, "the checkpoint of step %" PRIu64 " was written by %" PRIu64 " process%s, and %zu "
                           "go%s on: sums are added in another order, and their last bits will differ", l->state.step,
                           l->state.processes, l->state.processes == 1 ? "" : "es", size, size == 1 ? "es" : "");
    if (ok && text.p)
        o->note(o->arg, text.p);
    gr_buf_clear(&text);
    return ok ? GRAM_OK : gr_nomem(err, "training");
}

/* A directory that holds something is not written over. */
static gram_status begin(struct loop *l, gram_err *err)
{
    const gram_train_options *o = l->r->opt;
    enum { NOTHING, RUN, MODEL } found = NOTHING;
    gram_status rc;

    if (is_first(l))
        found = gr_checkpoints_any(&l->checkpoints) ? RUN : gr_path_exists(l->weights_path) ? MODEL : NOTHING;
    rc = gr_dist_broadcast(l->share.d, &found, sizeof found, err);
    if (rc)
        return rc;
    if (found == RUN && !o->resume)
        return gr_fail(err, GRAM_EARG, "%s holds a run: --resume goes on with it; a new one needs another directory",
                       l->checkpoints.dir);
    if (found == MODEL && !o->resume)
        return gr_fail(err, GRAM_EARG, "%s is there already, and is not written over", l->weights_path);
    l->report->finished = found == MODEL;
    if (l->report->finished)
        return GRAM_OK;
    if (found && is_first(l))
        rc = gr_checkpoints_load(&l->checkpoints, &l->state, l->settings, &l->share, o->note, o->arg, err);
    else if (found)
        rc = gr_state_take(&l->state, &l->share, err);
    else
        rc = gr_state_check(&l->adam, l->r->from, err);
    if (!rc && found)
        rc = say_resumed(l, err);
    l->report->resumed = l->state.step;
    if (!rc && is_first(l))
        rc = gr_metrics_open(&l->metrics, l->r->out, l->state.step, l->state.judged, err);
    return rc;
}

/* What is left is the model. The best one goes last: a run that is killed before may need it. */
static void tidy(struct loop *l)
{
    gr_checkpoints_remove(&l->checkpoints);
    if (l->r->opt->best || l->state.best == l->steps)
        gr_output_drop_best(l->r);
}

static void fill_report(const struct loop *l)
{
    gram_train_report *report = l->report;

    report->steps = l->state.step;
    report->eval_rows = l->r->held->n;
    if (l->state.best != GR_NEVER) {
        report->best_step = l->state.best;
        report->best_accuracy = l->state.best_accuracy;
    }
    report->seconds = seconds(l);
}

/* From where begin() left it to the files in OUT. */
static gram_status go_on(struct loop *l, gram_err *err)
{
    const gr_training *r = l->r;
    gram_status rc = all_steps(l, err);

    if (!rc)
        rc = gr_state_check(&l->adam, "no model is written", err);
    if (!rc && r->opt->best && l->state.best != l->steps)
        rc = take_best(l, err);
    if (!rc && is_first(l))
        rc = gr_output_write(r, &l->grad, r->opt->best ? l->state.best : l->steps, l->check_rows, err);
    fill_report(l);
    if (!rc && r->finish && is_first(l))
        rc = r->finish(r->arg, l->report, err);
    if (!rc && is_first(l))
        tidy(l);
    return rc;
}

gram_status gr_train(const gr_training *r, gram_train_report *report, gram_err *err)
{
    struct loop l = { .r = r, .report = report, .lock = -1 };
    gram_status rc;

    clock_gettime(CLOCK_MONOTONIC, &l.start);
    report->loss = report->best_accuracy = NAN;
    rc = is_first(&l) ? lock(&l, err) : GRAM_OK;
    if (!rc)
        rc = loop_open(&l, err);
    if (!rc)
        rc = gr_estimate_run(r, l.t, &l.adam, &report->memory_bytes, &l.check_rows, err);
    if (!rc)
        rc = begin(&l, err);
    if (!rc && !report->finished)
        rc = go_on(&l, err);
    if (!rc)
        rc = gr_dist_barrier(r->opt->dist, err);        /* the run is over for all when process 0 has written it */
    loop_clear(&l);
    return rc;
}
