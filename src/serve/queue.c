/* queue.c - see queue.h. One lock guards the list and every job's own part; it is never held while the engine works. */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/mem.h"
#include "serve/pace.h"
#include "serve/queue.h"

enum { BATCH_PAIRS = 256 };                 /* slots of a batch; short pairs fill them before the token budget */

struct gr_queue {
    gr_queue_options opt;
    pthread_mutex_t lock;
    pthread_cond_t work;
    gr_job *first, *last;                   /* waiting, or with pairs in the batch */
    size_t pairs;                           /* submitted and not yet judged or dropped */
    bool stopped;
    uint64_t round;
    /* Learned from what was judged, so that a budget in tokens can be kept: */
    double tokens_per_byte, computed_per_token;
    gr_queue_stats stats;
    /* Of the rounds of steps that write: */
    bool writing;                           /* one is under way */
    gr_pace pace;
    /* The worker's own, outside the lock. */
    gr_engine *engine;
    gram_pair pair[BATCH_PAIRS];
    const gram_text *text[BATCH_PAIRS];     /* NULL: the pair */
    gram_verdict verdict[BATCH_PAIRS];
    char *fault[BATCH_PAIRS];
    gram_text texts[BATCH_PAIRS];
    gram_reward reward[BATCH_PAIRS];
    struct run { gr_job *job; size_t at, n; } run[BATCH_PAIRS];     /* pairs at..at+n of job, in a row */
    size_t n_pairs, n_runs;
};

gram_status gr_queue_open(gr_queue **out, const gr_queue_options *opt, gram_err *err)
{
    gr_queue *q = calloc(1, sizeof *q);

    *out = NULL;
    if (!q)
        return gr_nomem(err, "queue");
    q->opt = *opt;
    q->pace.share = opt->text_share;
    q->tokens_per_byte = 0.3;               /* English, in most vocabularies; corrected by the first verdicts */
    q->computed_per_token = 1;              /* nothing shared, as little as may be given away */
    q->stats.tokens_per_second = 1000;
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->work, NULL);
    *out = q;
    return GRAM_OK;
}

void gr_queue_close(gr_queue *q)
{
    if (!q)
        return;
    pthread_cond_destroy(&q->work);
    pthread_mutex_destroy(&q->lock);
    free(q);
}

size_t gr_pair_bytes(const gram_pair *p, const gram_text *text)
{
    size_t n = 256;                                     /* the judge's own words */

    if (text)
        return 2 * (n + text->bytes + 4 * text->n_ids);
    n += strlen(p->a) + strlen(p->b) + (p->prompt.criteria ? strlen(p->prompt.criteria) : 0);
    for (size_t i = 0; i < p->prompt.n; i++)
        n += strlen(p->prompt.turn[i].content);
    return 2 * n;                                       /* both orders */
}

/* That the engine is left to compute, once prefixes are shared. */
static size_t pair_tokens(const gr_queue *q, const gram_pair *p, const gram_text *text)
{
    return 1 + (size_t)((double)gr_pair_bytes(p, text) * q->tokens_per_byte * q->computed_per_token);
}

static void list_add(gr_queue *q, gr_job *job)
{
    job->prev = q->last;
    job->next = NULL;
    *(q->last ? &q->last->next : &q->first) = job;
    q->last = job;
    q->stats.jobs++;
}

static void list_remove(gr_queue *q, gr_job *job)
{
    *(job->prev ? &job->prev->next : &q->first) = job->next;
    *(job->next ? &job->next->prev : &q->last) = job->prev;
    q->stats.jobs--;
}

bool gr_queue_submit(gr_queue *q, gr_job *job, double *retry_after)
{
    size_t units = job->step ? 1 : job->n, bytes = job->step ? 0 : job->bytes;
    bool ok;

    pthread_mutex_lock(&q->lock);
    ok = !q->stopped && (q->pairs == 0 || q->pairs + units <= q->opt.max_pairs);
    if (ok) {
        job->state = GR_JOB_WAITING;
        job->status = GRAM_OK;
        job->cancelled = job->late = false;
        job->started = 0;
        job->taken = job->in_batch = 0;
        job->round = 0;
        job->tokens = (size_t)((double)bytes * q->tokens_per_byte);
        job->queued = gr_now();
        list_add(q, job);
        q->pairs += units;
    } else {                                /* what waits, at the pace of late */
        double tokens = 0;
        for (const gr_job *j = q->first; j; j = j->next)
            tokens += (double)j->tokens;
        *retry_after = fmin(60, fmax(1, ceil(tokens / q->stats.tokens_per_second)));
    }
    pthread_mutex_unlock(&q->lock);
    if (ok)
        pthread_cond_signal(&q->work);      /* after the lock, which the worker takes as it wakes */
    return ok;
}

/* With the lock held: pairs that no batch has taken will not be computed. */
static void drop_rest(gr_queue *q, gr_job *job)
{
    size_t rest = job->step ? 1 : job->n - job->taken;

    if (job->step && (job->in_batch || (job->end && job->started != 0)))
        return;                             /* the worker gives the unit back, once it has ended it */
    q->pairs -= rest;
    q->stats.dropped_pairs += rest;
    job->taken += rest;
}

/* With the lock held: takes a finished job off the list. */
static void finish(gr_queue *q, gr_job *job)
{
    list_remove(q, job);
    job->state = GR_JOB_DONE;
}

static bool finished(const gr_job *job)
{
    return job->in_batch == 0 && job->taken == (job->step ? 1 : job->n);
}

/* Ends a job from outside; reports whether done() is due now rather than after the batch. Lock held. */
static bool end_early(gr_queue *q, gr_job *job)
{
    drop_rest(q, job);
    if (!finished(job))
        return false;
    finish(q, job);
    return true;
}

static bool cancel(gr_queue *q, gr_job *job)
{
    if (job->state != GR_JOB_WAITING || job->cancelled)
        return false;
    job->cancelled = true;
    job->status = gr_fail(&job->err, GRAM_ESTOPPED, "nobody waits for the answer");
    return end_early(q, job);
}

void gr_queue_cancel(gr_queue *q, gr_job *job)
{
    bool due;

    pthread_mutex_lock(&q->lock);
    due = cancel(q, job);
    pthread_mutex_unlock(&q->lock);
    if (due)
        q->opt.done(job);
}

void gr_queue_expire(gr_queue *q)
{
    double now = gr_now();
    gr_job *due;

    do {                                    /* one at a time: done() may give the job's memory back */
        due = NULL;
        pthread_mutex_lock(&q->lock);
        for (gr_job *j = q->first, *next; j && !due; j = next) {
            next = j->next;
            if (j->status || j->deadline == 0 || j->deadline > now)
                continue;
            j->late = true;
            j->status = gr_fail(&j->err, GRAM_ESTOPPED, "not finished within the time a request may take");
            if (end_early(q, j))
                due = j;
        }
        pthread_mutex_unlock(&q->lock);
        if (due)
            q->opt.done(due);
    } while (due);
}

void gr_queue_stop(gr_queue *q)
{
    pthread_mutex_lock(&q->lock);
    q->stopped = true;
    pthread_cond_broadcast(&q->work);
    pthread_mutex_unlock(&q->lock);
}

void gr_queue_read_stats(gr_queue *q, gr_queue_stats *out)
{
    pthread_mutex_lock(&q->lock);
    *out = q->stats;
    out->pairs = q->pairs;
    pthread_mutex_unlock(&q->lock);
}

/* Takes pairs of one job while its share lasts; the first may use what is left for all, and what is larger than a
 * whole batch goes alone. Lock held. */
static void take(gr_queue *q, gr_job *job, size_t *left, size_t share)
{
    size_t begin = job->taken;

    while (job->taken < job->n && q->n_pairs < BATCH_PAIRS) {
        const gram_text *text = job->text ? job->text[job->taken] : NULL;
        size_t tokens = pair_tokens(q, &job->pair[job->taken], text);
        bool may = job->taken == begin && (tokens <= *left || q->n_pairs == 0);
        if (tokens > share && !may)
            break;
        q->text[q->n_pairs] = text;
        q->pair[q->n_pairs++] = job->pair[job->taken++];
        *left -= gr_min(tokens, *left);
        share -= gr_min(tokens, share);
    }
    if (job->taken == begin)
        return;
    if (job->started == 0)
        job->started = gr_now();
    job->in_batch += job->taken - begin;
    q->run[q->n_runs++] = (struct run){ job, begin, job->taken - begin };
}

/* Fills the batch. Lock held. */
static void collect(gr_queue *q)
{
    size_t waiting = 0, left = q->opt.batch_tokens, share;

    q->n_pairs = q->n_runs = 0;
    for (gr_job *j = q->first; j; j = j->next)
        waiting += !j->step && j->taken < j->n;
    if (waiting == 0)
        return;
    share = left / waiting;
    for (gr_job *j = q->first; j; j = j->next)
        if (!j->step)
            take(q, j, &left, share);
    for (gr_job *j = q->first; j; j = j->next)
        if (!j->step)
            take(q, j, &left, left);
    for (size_t i = 0; i < q->n_runs; i++)
        if (q->run[i].job->taken < q->run[i].job->n) {
            list_remove(q, q->run[i].job);
            list_add(q, q->run[i].job);
        }
}

/* A text is rewarded; as a pair of it and itself would be, in the verdict. */
static gram_status reward(gr_queue *q, gr_engine *e, size_t at, size_t n, size_t *bad, gram_err *err)
{
    const gram_reward *out = q->reward;
    gram_status rc;

    for (size_t i = 0; i < n; i++)
        q->texts[i] = *q->text[at + i];
    rc = e->rewards_of(e, q->texts, n, q->reward, bad, err);
    for (size_t i = 0; i < n && !rc; i++)
        q->verdict[at + i] = (gram_verdict){
            .preference = 0.5, .p_forward = 0.5, .p_swapped = NAN, .consistent = true, .rewarded = true,
            .reward = { out[i], out[i] }, .tokens = 2 * out[i].tokens, .truncated = out[i].truncated,
            .dropped = out[i].dropped,
        };
    return rc;
}

/* Why pair i alone cannot be judged. */
static gram_status set_fault(gr_queue *q, size_t i, const char *why, gram_err *err)
{
    q->verdict[i] = (gram_verdict){ .p_swapped = NAN, .consistent = true };
    q->fault[i] = gr_strdup(why);
    return q->fault[i] ? GRAM_OK : gr_nomem(err, "queue");
}

static bool is_own_fault(gram_status rc)
{
    return rc == GRAM_ELIMIT || rc == GRAM_EARG || rc == GRAM_EUNSUPPORTED;
}

/* Judges at..at+n of the batch, all pairs or all texts. What is before one at fault, and what is after it, is judged
 * by itself: a fault shows before anything is computed. */
static gram_status judge_kind(gr_queue *q, gr_engine *e, size_t at, size_t n, gram_err *err)
{
    while (n > 0) {
        size_t bad = n;
        gram_status rc = q->text[at] ? reward(q, e, at, n, &bad, err)
                                     : e->score(e, q->pair + at, n, q->verdict + at, &bad, err);
        if (!rc || bad >= n || !is_own_fault(rc))
            return rc;
        rc = set_fault(q, at + bad, err->text, err);
        if (!rc && bad > 0)
            rc = judge_kind(q, e, at, bad, err);
        if (rc)
            return rc;
        at += bad + 1;
        n -= bad + 1;
    }
    return GRAM_OK;
}

/* Judges at..at+n of the batch and refuses what is no number. */
static gram_status judge(gr_queue *q, gr_engine *e, size_t at, size_t n, gram_err *err)
{
    gram_status rc = GRAM_OK;

    for (size_t i = at; i < at + n; i++) {              /* of an earlier try */
        free(q->fault[i]);
        q->fault[i] = NULL;
    }
    for (size_t i = at, j; !rc && i < at + n; i = j) {
        for (j = i + 1; j < at + n && !q->text[i] == !q->text[j]; j++)
            ;
        rc = judge_kind(q, e, i, j - i, err);
    }
    for (size_t i = at; !rc && i < at + n; i++) {
        const gram_verdict *v = &q->verdict[i];
        if (q->fault[i])
            continue;
        if (v->dropped)
            rc = set_fault(q, i, "it is longer than the model may read", err);
        else if (!isfinite(v->preference) || !isfinite(v->logit_margin))
            rc = gr_fail(err, GRAM_EFORMAT, "the model's answer to pair %zu is not a number", i - at);
    }
    return rc;
}

/* From a batch that took `computed` tokens and so many seconds. */
static void learn(gr_queue *q, uint64_t computed, double seconds)
{
    double bytes = 0, tokens = 0;

    for (size_t i = 0; i < q->n_pairs; i++) {
        if (q->fault[i])
            continue;
        bytes += (double)gr_pair_bytes(&q->pair[i], q->text[i]);
        tokens += (double)q->verdict[i].tokens;
    }
    if (tokens > 0) {
        q->tokens_per_byte += 0.1 * (tokens / bytes - q->tokens_per_byte);
        q->computed_per_token += 0.3 * (fmax((double)computed / tokens, 0.05) - q->computed_per_token);
        q->stats.tokens_per_second += 0.1 * (tokens / fmax(seconds, 1e-6) - q->stats.tokens_per_second);
    }
}

/* The run's verdicts, or its failure, go to its job. Reports whether the job is finished. Lock held. */
static bool settle(gr_queue *q, const struct run *r, size_t at, gram_status rc, const gram_err *err)
{
    gr_job *job = r->job;

    job->in_batch -= r->n;
    q->pairs -= r->n;
    for (size_t i = 0; i < r->n; i++) {
        job->verdict[r->at + i] = rc ? (gram_verdict){ 0 } : q->verdict[at + i];
        job->fault[r->at + i] = q->fault[at + i];
        q->fault[at + i] = NULL;
    }
    if (rc && !job->status) {
        job->status = rc;
        job->err = *err;
        if (r->at > 0)                      /* err counts from the first pair of this run */
            gr_fail(&job->err, rc, "counting from pair %zu: %s", r->at, err->text);
    }
    if (job->status)
        drop_rest(q, job);
    if (!finished(job))
        return false;
    finish(q, job);
    return true;
}

static bool is_failed(gr_queue *q, const gr_job *job)
{
    bool failed;

    pthread_mutex_lock(&q->lock);
    failed = job->status != GRAM_OK;
    pthread_mutex_unlock(&q->lock);
    return failed;
}

static void compute(gr_queue *q, gr_engine *e)
{
    double begin = gr_now();
    gram_err err;
    gram_usage before, after;
    gram_status rc;
    bool alone = q->n_runs == 1;

    e->usage(e, &before);
    rc = judge(q, e, 0, q->n_pairs, &err);
    e->usage(e, &after);
    pthread_mutex_lock(&q->lock);
    if (!rc)
        learn(q, after.tokens_computed - before.tokens_computed, gr_now() - begin);
    q->stats.usage = after;
    q->stats.batches++;
    q->stats.batch_pairs += q->n_pairs;
    q->stats.batch_failures += rc != GRAM_OK;
    q->stats.busy_seconds += gr_now() - begin;
    pthread_mutex_unlock(&q->lock);
    for (size_t i = 0, at = 0; i < q->n_runs; at += q->run[i++].n) {
        const struct run *r = &q->run[i];
        gram_status one = rc;
        bool done;
        if (rc && !alone && !is_failed(q, r->job))      /* one is at fault; the others shall have their scores */
            one = judge(q, e, at, r->n, &err);
        pthread_mutex_lock(&q->lock);
        done = settle(q, r, at, one, &err);
        pthread_mutex_unlock(&q->lock);
        if (done)
            q->opt.done(r->job);
    }
}

/* A job that goes by steps, whose turn it still is in this round, or which the worker is to end; NULL: none. Lock
 * held. */
static gr_job *next_step(const gr_queue *q, uint64_t round, bool in_turns)
{
    for (gr_job *j = q->first; j; j = j->next)
        if (j->step && j->in_turns == in_turns && !j->in_batch && (j->status || j->round != round))
            return j;
    return NULL;
}

/* The worker is done with a job that goes by steps. Called and left with the lock held, which is away in between. */
static void retire(gr_queue *q, gr_engine *e, gr_job *job)
{
    job->in_batch = 1;
    pthread_mutex_unlock(&q->lock);
    if (job->end && job->started != 0)
        job->end(e, job->arg);
    pthread_mutex_lock(&q->lock);
    job->in_batch = 0;
    job->taken = 1;
    q->pairs--;
    finish(q, job);
    pthread_mutex_unlock(&q->lock);
    q->opt.done(job);
    pthread_mutex_lock(&q->lock);
}

/* One step of each job of one of the two kinds; whether there was one. in_batch keeps a job on the list while the lock
 * is away. */
static bool step_all(gr_queue *q, gr_engine *e, bool in_turns)
{
    bool some = false;
    gr_job *job;
    uint64_t round;

    pthread_mutex_lock(&q->lock);
    round = ++q->round;
    while ((job = next_step(q, round, in_turns))) {
        bool again = !job->status;
        gram_err err;
        gram_status rc = GRAM_OK;
        job->round = round;
        job->in_batch = 1;
        if (again && job->started == 0)
            job->started = gr_now();
        pthread_mutex_unlock(&q->lock);
        if (again)
            rc = job->step(e, job->arg, &again, &err);
        some = true;
        pthread_mutex_lock(&q->lock);
        job->in_batch = 0;
        if (rc && !job->status) {
            job->status = rc;
            job->err = err;
        }
        if (job->status || !again)
            retire(q, e, job);
    }
    pthread_mutex_unlock(&q->lock);
    return some;
}

/* A token of each text that is written. */
static void write_all(gr_queue *q)
{
    double begin = gr_now(), now;
    bool some;

    pthread_mutex_lock(&q->lock);
    q->writing = true;
    pthread_mutex_unlock(&q->lock);
    some = step_all(q, q->engine, true);
    now = gr_now();
    pthread_mutex_lock(&q->lock);
    q->writing = false;
    if (some)
        gr_pace_end(&q->pace, begin, now);
    pthread_mutex_unlock(&q->lock);
}

/* Some text is written, or waits to be. */
static bool is_text(gr_queue *q)
{
    bool some;

    pthread_mutex_lock(&q->lock);
    some = next_step(q, UINT64_MAX, true) != NULL;
    pthread_mutex_unlock(&q->lock);
    return some;
}

static bool may_write(gr_queue *q)
{
    bool may;

    pthread_mutex_lock(&q->lock);
    may = !q->writing && gr_pace_is_due(&q->pace, gr_now()) && next_step(q, UINT64_MAX, true);
    pthread_mutex_unlock(&q->lock);
    return may;
}

static bool turn_due(void *arg)
{
    return may_write(arg);
}

static bool turn_soon(void *arg)
{
    return is_text(arg);
}

static bool turn_beside(void *arg)
{
    gr_queue *q = arg;
    bool beside;

    pthread_mutex_lock(&q->lock);
    beside = gr_pace_choose(&q->pace);
    pthread_mutex_unlock(&q->lock);
    return beside;
}

static void take_turn(void *arg)
{
    gr_queue *q = arg;

    pthread_mutex_lock(&q->lock);
    gr_pace_begin(&q->pace, gr_now());
    pthread_mutex_unlock(&q->lock);
    write_all(q);
}

void gr_queue_round(gr_queue *q, gr_engine *e)
{
    q->engine = e;
    pthread_mutex_lock(&q->lock);
    collect(q);
    pthread_mutex_unlock(&q->lock);
    if (q->n_pairs > 0)
        compute(q, e);
    step_all(q, e, false);
    if (q->n_pairs == 0 || may_write(q))
        write_all(q);
}

void gr_queue_work(gr_queue *q, gr_engine *e)
{
    bool stopped = false, due;
    gr_job *left;

    if (e->set_turns)
        e->set_turns(e, &(gram_turns){ turn_due, turn_soon, take_turn, q, turn_beside });
    while (!stopped) {
        pthread_mutex_lock(&q->lock);
        while (!q->first && !q->stopped)
            pthread_cond_wait(&q->work, &q->lock);
        stopped = q->stopped;
        pthread_mutex_unlock(&q->lock);
        if (!stopped)
            gr_queue_round(q, e);
    }
    do {                                    /* whoever still waits is told */
        pthread_mutex_lock(&q->lock);
        left = q->first;
        due = left && cancel(q, left);
        if (left && !due)
            retire(q, e, left);
        pthread_mutex_unlock(&q->lock);
        if (due)
            q->opt.done(left);
    } while (left);
}
