/* loop.c - see loop.h.
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
#include <unistd.h>
#include "base/digest.h"
#include "base/err.h"
#include "file/io.h"
#include "file/save.h"
#include "train/estimate.h"
#include "train/output.h"
#include "train/loop_int.h"

static double seconds(const struct loop *l)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - l->start.tv_sec) + 1e-9 * (double)(now.tv_nsec - l->start.tv_nsec);
}

bool gr_run_is_first(const struct loop *l)
{
    return gr_dist_rank(l->r->opt->dist) == 0;
}

bool gr_run_is_over(const struct loop *l)
{
    uint64_t patience = l->r->opt->patience;

    return l->state.step == l->steps || (patience && l->state.waited >= patience);
}

/* ---- What the run will be ------------------------------------------------------------------------- */

static uint64_t digest_of(const gr_param *p, uint64_t h)
{
    float x[1024];

    for (size_t k = 0, n; k < gr_param_count(p); k += n) {
        n = gr_min(GR_COUNT(x), gr_param_count(p) - k);
        gr_param_get(p, k, n, x);
        h = gr_digest_words(h, x, n);
    }
    return h;
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
    if (!rc)
        rc = gr_dist_same(d, "number of steps", l->steps, err);
    if (!rc)
        rc = gr_dist_same(d, "devices (a CPU or a GPU)", gr_device_is_host(l->r->device), err);
    return rc ? rc : gr_dist_same(d, "options", gr_digest(GR_DIGEST, l->settings, strlen(l->settings)), err);
}

static gram_status open_held(struct loop *l, gram_err *err)
{
    l->held = gr_calloc(l->r->n_held, sizeof *l->held);
    for (size_t i = 0; l->held && i < l->r->n_held; i++)
        if (!(l->held[i].p = gr_calloc(l->r->held[i].n, sizeof *l->held[i].p)))
            return gr_nomem(err, "held-out rows");
    return l->held ? GRAM_OK : gr_nomem(err, "held-out rows");
}

/* ZeRO-2: layers share one place for their gradients. */
static bool shares_gradients(const struct loop *l)
{
    return l->r->opt->zero == 2;
}

static gr_trainee *by_layer(const struct loop *l)
{
    return shares_gradients(l) ? l->t : NULL;
}

static gram_status open_trainee(struct loop *l, gram_err *err)
{
    const gr_training *r = l->r;

    if (r->opt->freeze)
        return gr_trainee_open_head(&l->t, r->model, r->device, err);
    return shares_gradients(l) ? gr_trainee_open_layers(&l->t, r->model, r->device, err)
                               : gr_trainee_open_lora(&l->t, r->model, r->lora, r->device, err);
}

/* The trainee's parameters, and behind them those that the source has besides. */
static gram_status list_params(struct loop *l, gram_err *err)
{
    const gr_source *s = l->r->source;
    size_t n, also = s ? s->n_also : 0;
    const gr_param *param = gr_trainee_params(l->t, &n);

    l->param = gr_calloc(n + also, sizeof *l->param);
    if (!l->param)
        return gr_nomem(err, "training");
    memcpy(l->param, param, n * sizeof *param);
    for (size_t i = 0; i < n && s; i++)
        l->param[i].rests = s->rests;
    if (also)
        memcpy(l->param + n, s->also, also * sizeof *param);
    return gr_share_cut(&l->adam, l->param, n + also, l->r->opt->dist, by_layer(l),
                        l->r->opt->optim_state == GRAM_STATE_BF16, err);
}

static gram_status loop_open(struct loop *l, gram_err *err)
{
    const gr_training *r = l->r;
    const gram_train_options *o = r->opt;
    gram_status rc;

    l->rows = o->steps ? o->steps * o->batch_rows : (uint64_t)r->train->n * o->epochs;
    l->steps = r->source ? r->source->steps : (l->rows + o->batch_rows - 1) / o->batch_rows;
    l->warmup = (uint64_t)ceil(o->warmup * (double)l->steps);
    l->order = (gr_order){ .n = r->train->n, .seed = o->seed };
    l->state = (gr_state){ .judged = GR_NEVER, .best = GR_NEVER, .steps = l->steps, .warmup = l->warmup };
    l->weights_path = gr_path_join(r->out, r->lora ? GR_ADAPTER_WEIGHTS : "model.safetensors");
    l->batch = gr_calloc(o->batch_rows, sizeof *l->batch);
    l->room = gr_calloc(o->batch_rows, sizeof *l->room);
    if (!l->weights_path || !l->batch || !l->room)
        return gr_nomem(err, "training");
    rc = open_held(l, err);
    if (!rc)
        rc = gr_checkpoints_init(&l->checkpoints, r->out, o->keep, err);
    if (!rc)
        rc = open_trainee(l, err);
    if (!rc)
        rc = list_params(l, err);
    if (!rc)
        rc = gr_share_open(&l->share, o->dist, &l->adam, by_layer(l), err);
    l->adam.decay = o->weight_decay;
    l->adam.seed = o->seed;
    l->grad = (gr_grad){ .t = l->t, .cfg = gr_model_config(r->model), .device = r->device,
                         .label = { r->label[0], r->label[1] },
                         .write = r->stage == GRAM_STAGE_PRETRAIN || r->source || gram_loss_writes(r->loss.kind),
                         .temperature = r->source ? o->align.temperature : 0,
                         .loss = r->loss };
    if (!rc)
        rc = gr_run_settings(r, &l->settings, err);
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
    free(l->param);
    gr_trainee_close(l->t);
    gr_order_clear(&l->order);
    free(l->batch);
    for (size_t i = 0; l->room && i < l->r->opt->batch_rows; i++)
        gr_room_clear(&l->room[i]);
    free(l->room);
    for (size_t i = 0; l->held && i < l->r->n_held; i++)
        free(l->held[i].p);
    free(l->held);
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

static gram_status check_finite(const gram_train_step *s, double norm, gram_err *err)
{
    if (isfinite(s->loss) && isfinite(norm))
        return GRAM_OK;
    return gr_fail(err, GRAM_EFORMAT, "step %" PRIu64 ": the loss is %g and the gradients' norm %g: the run has "
                   "diverged, and no weight of this step was kept; a smaller `lr` may help", s->step, s->loss, norm);
}

/* Behind the step's own numbers. */
static void add_number(struct loop *l, gram_train_step *s, const char *name, double value)
{
    size_t n = gr_min(s->n_more, GR_COUNT(l->number) - 1);

    if (s->more != l->number)
        memcpy(l->number, s->more, n * sizeof *s->more);
    l->number[n] = (gram_number){ name, value };
    s->more = l->number;
    s->n_more = n + 1;
}

static double clipping(double clip, double norm)
{
    return clip > 0 && norm > clip ? clip / norm : 1;
}

/* The gradients of the model that is the run's, and of what the source trains beside it, are clipped each by its own
 * norm: PPO's values, which may be far off at first, do not take the policy's steps from it. */
static gram_status clip(struct loop *l, gram_train_step *s, double *scale, gram_err *err)
{
    const gr_source *from = l->r->source;
    size_t n = l->adam.n_params, own = n - (from ? from->n_also : 0);
    double also = gr_squares_norm(&l->adam, own, n);
    gram_status rc;

    s->grad_norm = gr_squares_norm(&l->adam, 0, own);
    rc = check_finite(s, s->grad_norm, err);
    if (!rc)
        rc = check_finite(s, also, err);
    if (rc)
        return rc;
    *scale = clipping(l->r->opt->clip, s->grad_norm);
    for (size_t i = own; i < n; i++)                    /* of the step's, which goes before it */
        l->param[i].scale = clipping(l->r->opt->clip, also) / *scale;
    if (own < n)
        add_number(l, s, "val/grad_norm", also);
    return GRAM_OK;
}

/* Losses of which a mean is that of the whole batch, and wanted beforehand. */
static bool looks_first(const struct loop *l)
{
    return l->r->loss.kind == GRAM_LOSS_BT_POSREG || l->r->loss.kind == GRAM_LOSS_KTO;
}

static gram_status look(struct loop *l, const gr_example *const *e, size_t count, double n, gram_err *err)
{
    gr_sum first_look = { 0 };
    gram_status rc;

    l->grad.look = l->r->loss.kind == GRAM_LOSS_KTO;
    rc = learn(l, e, count, n, false, &first_look, err);
    l->grad.look = false;
    if (!rc)
        rc = gr_share_sum(&l->share, &first_look, err);
    l->grad.chosen = first_look.chosen;
    return rc;
}

gram_status gr_run_look(struct loop *l, const gr_example *const *e, size_t count, double n, gram_err *err)
{
    l->grad.chosen = 0;
    return l->r->loss.kind == GRAM_LOSS_KTO ? look(l, e, count, n, err) : GRAM_OK;
}

/* The loss of the batch and its gradients, of which this process then has its part. */
static gram_status learn_batch(struct loop *l, size_t count, double n, gr_sum *sum, gram_err *err)
{
    gram_status rc = gr_share_batch(&l->share, l->batch, &count, err);

    if (!rc && looks_first(l))
        rc = look(l, l->batch, count, n, err);
    if (!rc)
        rc = learn(l, l->batch, count, n, true, sum, err);
    if (!rc)
        rc = gr_share_end_passes(&l->share, err);
    if (!rc)
        rc = gr_share_sum(&l->share, sum, err);
    gr_grad_whole(&l->grad, sum);
    return rc ? rc : gr_share_gradients(&l->share, l->r->device, err);
}

/* The rows of the next step, and the gradients of their loss. */
static gram_status learn_rows(struct loop *l, gr_sum *sum, gram_err *err)
{
    const gram_train_options *o = l->r->opt;
    uint64_t first = l->state.step * o->batch_rows;
    size_t count = (size_t)(l->rows - first < o->batch_rows ? l->rows - first : o->batch_rows), index;
    double n = 0;
    gram_status rc = GRAM_OK;

    for (size_t i = 0; i < count && !rc; i++) {
        rc = gr_order_at(&l->order, first + i, &index, err);
        if (!rc)
            rc = gr_set_get(l->r->train, index, &l->room[i], &l->batch[i], err);
        if (!rc)
            n += gr_grad_weight(&l->grad, l->batch[i]);
    }
    return rc ? rc : learn_batch(l, count, n, sum, err);
}

/* A policy's numbers as TRL names them: means over preferred answers, or good ones, and over the others. */
static void tell_policy(struct loop *l, gram_train_step *s, const gr_sum *sum)
{
    static const char *const name[] = { "rewards/chosen", "logps/chosen", "rewards/rejected", "logps/rejected",
                                        "rewards/margins", "rewards/accuracies", "kl" };
    const double *p = sum->policy;
    const double x[] = { p[1] / p[0], p[2] / p[0], p[4] / p[3], p[5] / p[3], p[1] / p[0] - p[4] / p[3],
                         sum->right / sum->count, l->r->loss.kind == GRAM_LOSS_KTO ? fmax(l->grad.chosen, 0) : NAN };

    for (size_t i = 0; i < GR_COUNT(x); i++)
        l->number[i] = (gram_number){ name[i], x[i] };
    s->more = l->number;
    s->n_more = GR_COUNT(x);
}

static gram_status learn_source(struct loop *l, gram_train_step *s, gr_sum *sum, gram_err *err)
{
    const gr_source *from = l->r->source;
    gram_status rc = from->learn(from->arg, &l->grad, l->state.step, l->state.carried, l->metrics, sum, &s->more,
                                 &s->n_more, err);

    if (!rc)
        rc = gr_share_sum(&l->share, sum, err);
    return rc ? rc : gr_share_gradients(&l->share, l->r->device, err);
}

static gram_status take_step(struct loop *l, gram_train_step *s, gram_err *err)
{
    const gram_train_options *o = l->r->opt;
    double scale, begin = seconds(l);
    gr_sum sum = { 0 };
    gram_status rc;

    *s = (gram_train_step){ .step = l->state.step + 1, .steps = l->steps };
    gr_trainee_zero(l->t);
    gr_share_begin(&l->share);
    gr_trainee_drop(l->t, o->seed, l->state.step);
    rc = l->r->source ? learn_source(l, s, &sum, err) : learn_rows(l, &sum, err);
    gr_trainee_keep(l->t);
    if (rc)
        return rc;
    if (gram_loss_is_policy(l->r->loss.kind))
        tell_policy(l, s, &sum);
    l->tokens += sum.tokens;
    s->loss = sum.loss;
    s->accuracy = gr_grad_accuracy(&l->grad, &sum);
    s->tokens = l->tokens;
    s->lr = gr_learning_rate((gr_schedule)o->schedule, o->lr, l->state.step, l->warmup, l->steps);
    rc = clip(l, s, &scale, err);
    if (rc)
        return rc;
    gr_adamw_step(&l->adam, s->lr, scale, l->r->device);
    rc = gr_share_values(&l->share, err);
    if (rc)
        return rc;
    l->state.step++;
    s->seconds = seconds(l);
    s->took = s->seconds - begin;
    s->tokens_per_s = s->took > 0 ? (double)sum.tokens / s->took : 0;
    return GRAM_OK;
}

static gram_status save_state(struct loop *l, gram_err *err)
{
    gram_status rc;

    l->state.processes = gr_dist_size(l->share.d);
    if (!gr_run_is_first(l))
        return gr_state_give(&l->share, err);
    rc = gr_metrics_sync(l->metrics, err);
    return rc ? rc : gr_checkpoints_save(&l->checkpoints, &l->state, l->settings, &l->share, err);
}

gram_status gr_run_stop(struct loop *l, const char *why, gram_err *err)
{
    gram_status rc = l->state.step ? save_state(l, err) : GRAM_OK;

    if (!rc && !l->state.step)
        rc = gr_fail(err, GRAM_ESTOPPED, "stopped before the first of %" PRIu64 " steps%s", l->steps, why);
    else if (!rc)
        rc = gr_fail(err, GRAM_ESTOPPED, "stopped after step %" PRIu64 " of %" PRIu64 "%s; %s holds it", l->state.step,
                     l->steps, why, l->checkpoints.dir);
    return rc;
}

/* ---- The loop ------------------------------------------------------------------------------------- */

/* A rollout that was begun is learnt to its end: what it wrote cannot be written again by other weights. */
static bool between_rollouts(const struct loop *l)
{
    return !l->r->source || l->state.step % l->r->source->every == 0;
}

bool gr_run_is_time(const struct loop *l, uint64_t every)
{
    uint64_t step = l->state.step, rollout = l->r->source ? l->r->source->every : 1;

    return every && between_rollouts(l) && step >= rollout && step / every != (step - rollout) / every;
}

static gram_status one_step(struct loop *l, gram_err *err)
{
    const gram_train_options *o = l->r->opt;
    gram_train_step s;
    struct { bool asked, late; } stop = { false, false };
    gram_status rc = take_step(l, &s, err);

    if (!rc && gr_run_is_first(l))
        rc = gr_metrics_step(l->metrics, &s, err);
    if (rc)
        return rc;
    l->report->loss = s.loss;
    l->asked = (o->progress && o->progress(o->arg, &s)) || l->asked;
    stop.asked = l->asked && between_rollouts(l);
    stop.late = o->max_minutes > 0 && s.seconds > 60 * o->max_minutes && s.step < l->steps && between_rollouts(l);
    rc = gr_dist_broadcast(l->share.d, &stop, sizeof stop, err);
    if (rc || !(stop.asked || stop.late))
        return rc;
    return gr_run_stop(l, stop.asked ? "" : ", since `max-minutes` have gone by", err);
}

/* A checkpoint is written after the judging of its step, so that a run that goes on from it need not judge again; the
 * last one before the model, which may fail to be written. */
static gram_status all_steps(struct loop *l, gram_err *err)
{
    uint64_t every = l->r->opt->save_every;
    gram_status rc = gr_judging_due(l) ? gr_judging(l, err) : GRAM_OK;

    while (!rc && !gr_run_is_over(l)) {
        rc = one_step(l, err);
        if (!rc && gr_judging_due(l))
            rc = gr_judging(l, err);
        if (!rc && (gr_run_is_time(l, every) || (every && gr_run_is_over(l))))
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

/* A run that had ended goes on: the model of its last step, which was its best, is about to be another's. */
static gram_status reopen(struct loop *l, gram_err *err)
{
    gr_checkpoints_reopen(&l->checkpoints);
    return l->state.best == l->state.step ? gr_output_best(l->r, l->state.step, l->steps, err) : GRAM_OK;
}

/* From the newest checkpoint; ended: that of a run whose model is written. */
static gram_status load(struct loop *l, bool ended, gram_err *err)
{
    const gram_train_options *o = l->r->opt;
    gram_status rc = gr_run_is_first(l) ? gr_checkpoints_load(&l->checkpoints, &l->state, l->settings, &l->share,
                                                             o->note, o->arg, err)
                                        : gr_state_take(&l->state, &l->share, err);

    if (!rc)
        rc = gr_run_check_steps(l, err);
    if (!rc)
        rc = say_resumed(l, err);
    l->report->resumed = l->state.step;
    l->report->finished = !rc && ended && gr_run_is_over(l);
    if (rc || !ended || !gr_run_is_first(l))
        return rc;
    return l->report->finished ? gr_run_same(l, err) : reopen(l, err);
}

/* A model without checkpoints: its run has ended, and cannot go on to another number of steps. */
static gram_status check_ended(const struct loop *l, gram_err *err)
{
    char *steps = NULL, want[24];
    gram_status rc = gr_run_same(l, err);

    if (!rc)
        rc = gr_st_meta(l->weights_path, "steps", &steps, err);
    snprintf(want, sizeof want, "%" PRIu64, l->steps);
    if (!rc && steps && strcmp(steps, want))
        rc = gr_fail(err, GRAM_EARG, "%s is the model of a run of %s steps that has ended, and %s are asked for: its "
                     "checkpoints are gone, as they do not go where `schedule` is constant or `extend` was given; a "
                     "new run can train the model further", l->weights_path, steps, want);
    free(steps);
    return rc;
}

/* A directory that holds something is not written over. */
static gram_status begin(struct loop *l, gram_err *err)
{
    const gram_train_options *o = l->r->opt;
    struct { enum { NOTHING, RUN, MODEL } what; bool ended; } found = { NOTHING, false };
    bool any = false;
    gram_status rc = gr_run_is_first(l) ? gr_checkpoints_any(&l->checkpoints, &any, err) : GRAM_OK;

    if (rc)
        return rc;
    if (gr_run_is_first(l)) {
        found.ended = gr_path_exists(l->weights_path) && gr_checkpoints_ended(&l->checkpoints);
        found.what = any ? RUN : gr_path_exists(l->weights_path) ? MODEL : NOTHING;
    }
    rc = gr_dist_broadcast(l->share.d, &found, sizeof found, err);
    if (rc)
        return rc;
    if (found.what && !o->resume && (found.what == MODEL || found.ended))
        return gr_fail(err, GRAM_EARG, "%s is there already, and is not written over", l->weights_path);
    if (found.what && !o->resume)
        return gr_fail(err, GRAM_EARG, "%s holds a run: `resume` goes on with it; a new one needs another directory",
                       l->checkpoints.dir);
    if (found.what == NOTHING && gr_run_is_first(l))
        rc = gr_weights_check_none(l->r->out, err);
    if (!rc && found.what != MODEL && l->r->needs_reference)
        rc = gr_run_refer(l, err);
    if (rc)
        return rc;
    if (found.what == RUN) {
        rc = load(l, found.ended, err);
    } else if (found.what == MODEL) {
        l->report->finished = true;
        rc = gr_run_is_first(l) ? check_ended(l, err) : GRAM_OK;
    } else {
        rc = gr_state_check(&l->adam, l->r->from, err);
        if (!rc && l->r->weights && gr_run_is_first(l))
            rc = gr_state_check_base(l->r->weights, err);
    }
    if (!rc && !l->report->finished && gr_run_is_first(l))
        rc = gr_metrics_open(&l->metrics, l->r->out, l->state.step, l->state.judged, l->r->source, err);
    return rc;
}

/* What is left is the model, and where the run may get more steps what these need. The best one goes last: a run that
 * is killed before may need it. */
static void tidy(struct loop *l)
{
    const gram_train_options *o = l->r->opt;
    bool more = o->save_every && (o->schedule == GRAM_SCHEDULE_CONSTANT || o->extend);

    gr_checkpoints_end(&l->checkpoints, more);
    if (l->state.best == l->state.step || (o->best && !more))
        gr_output_drop_best(l->r);
}

static void fill_report(const struct loop *l)
{
    gram_train_report *report = l->report;

    report->steps = l->state.step;
    report->early = l->state.step < l->steps && gr_run_is_over(l);
    report->eval_rows = l->r->held->n;
    if (l->state.best != GR_NEVER) {
        report->best_step = l->state.best;
        report->best_accuracy = l->state.best_accuracy;
        report->best_loss = l->state.best_loss;
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
    if (!rc && r->opt->best && l->state.best != l->state.step)
        rc = gr_judging_take_best(l, err);
    if (!rc && gr_run_is_first(l))
        rc = gr_run_note(l, err);
    if (!rc && gr_run_is_first(l))
        rc = gr_output_write(r, &l->grad, r->opt->best ? l->state.best : l->state.step, l->steps, l->check_rows, err);
    fill_report(l);
    if (!rc && r->finish && gr_run_is_first(l))
        rc = r->finish(r->arg, l->report, err);
    if (!rc && gr_run_is_first(l))
        tidy(l);
    return rc;
}

gram_status gr_train(const gr_training *r, gram_train_report *report, gram_err *err)
{
    struct loop l = { .r = r, .report = report, .lock = -1 };
    gram_status rc;

    clock_gettime(CLOCK_MONOTONIC, &l.start);
    report->loss = report->best_accuracy = report->best_loss = NAN;
    rc = gr_run_is_first(&l) ? lock(&l, err) : GRAM_OK;
    if (!rc)
        rc = loop_open(&l, err);
    if (!rc)
        rc = gr_estimate_run(r, l.t, &l.share, &report->memory_bytes, &l.check_rows, err);
    if (!rc)
        rc = begin(&l, err);
    if (!rc && !report->finished && gr_run_is_first(&l))
        rc = gr_estimate_disk(r, &l.adam, l.steps, &report->disk_bytes, err);
    if (!rc && !report->finished)
        rc = go_on(&l, err);
    if (!rc)
        rc = gr_dist_barrier(r->opt->dist, err);        /* the run is over for all when process 0 has written it */
    loop_clear(&l);
    return rc;
}
