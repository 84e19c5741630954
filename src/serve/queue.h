/* queue.h - one bounded queue to one worker, which batches across requests.
 *
 *     request --> job: pairs --\
 *     request --> job: pairs ----> worker: a batch of up to a token budget, from all jobs --> done(job)
 *     request --> job: steps --/           then one step of each job that goes by steps
 *
 * Texts that are written do not wait for a batch to end: steps `in_turns` are made inside of one, as soon as the round
 * of such steps before has taken their share of the time since it began. So the token of a chat takes 1 / share times
 * as long as alone, whatever else is scored, and who scores keeps 1 - share of the time. Where the model has several
 * threads, one of them makes such a round while the others go on scoring, if that is soon enough: who scores then loses
 * that thread alone.
 *
 * A batch takes from every waiting job an equal share of the budget, one pair at the least, then fills up; who has more
 * goes to the end of the line. So a request of one pair does not wait for all of a request of a thousand. Scores do not
 * depend on neighbours, so nothing but time changes. A job that is cancelled loses the pairs no batch has taken yet.
 * A pair that is at fault itself (too long, or refused by the template) is left out and its job told why; the others
 * are judged. When a batch fails otherwise, its jobs are tried one by one, and only the job at fault fails. */
#ifndef GR_SERVE_QUEUE_H
#define GR_SERVE_QUEUE_H

#include "base/clock.h"
#include "serve/engine.h"

typedef struct gr_job gr_job;
typedef struct gr_queue gr_queue;

/* One piece of work that is not a pair (a token of a chat, label logits, a prompt shown). *again: call once more. */
typedef gram_status gr_step_fn(gr_engine *e, void *arg, bool *again, gram_err *err);

typedef enum { GR_JOB_IDLE, GR_JOB_WAITING, GR_JOB_DONE } gr_job_state;

/* Filled by its owner, who keeps it in place until done() was called. Not used by both ways at once. */
struct gr_job {
    const gram_pair *pair;          /* [n] judged into verdict[n] ... */
    const gram_text *const *text;   /* [n]: the text that is rewarded instead of the pair, as its reward[0]; NULL, or
                                     * an element that is NULL: the pair */
    gram_verdict *verdict;
    char **fault;                   /* [n] NULL, or why this one alone could not be judged: malloc'ed */
    size_t n;
    size_t bytes;                   /* of all their text, by gr_pair_bytes() */
    gr_step_fn *step;               /* ... or, where not NULL, called until it has enough */
    void *arg;
    void (*end)(gr_engine *e, void *arg);   /* called by the worker before done(), once a step was made, however the job
                                     * ends: gives back what steps took of the engine. NULL: nothing */
    bool in_turns;                  /* its steps write texts, and may be made between two pieces of a batch */
    void *owner;
    double deadline;                /* gr_now() time after which it fails; 0: never */

    /* The queue's own from here on; read them in done() or after. */
    gr_job_state state;
    gram_status status;             /* and err, once done */
    gram_err err;
    bool cancelled, late;           /* its client left; its time was up */
    double queued, started;         /* when it was submitted, when its first pair was taken; 0: never */
    size_t taken, in_batch;         /* pairs given out so far, and those being computed now */
    size_t tokens;                  /* thought to be needed for all of it */
    uint64_t round;                 /* of the worker, in which it last made a step */
    gr_job *prev, *next;
};

typedef struct {
    size_t max_pairs;               /* waiting or being computed, over all jobs */
    size_t batch_tokens;            /* that one call of the engine computes, shared prefixes once */
    double text_share;              /* of the time, for texts that are written while a batch is computed; above 0 */
    /* The job is finished: called without locks held, from the worker's thread, or from that of gr_queue_submit()
     * or gr_queue_expire() where the job never reached the worker. */
    void (*done)(gr_job *job);
} gr_queue_options;

typedef struct {
    size_t jobs, pairs;             /* waiting or being computed */
    uint64_t batches, batch_pairs, batch_failures, dropped_pairs;
    gram_usage usage;               /* the engine's own counts */
    double busy_seconds, tokens_per_second;     /* of late: an average that forgets */
} gr_queue_stats;

/* Text that a pair reads, in both orders. */
size_t gr_pair_bytes(const gram_pair *p, const gram_text *text);

gram_status gr_queue_open(gr_queue **out, const gr_queue_options *opt, gram_err *err);
void gr_queue_close(gr_queue *q);           /* after gr_queue_work() has returned; NULL is fine */
void gr_queue_work(gr_queue *q, gr_engine *e);      /* the worker: returns after gr_queue_stop(). The engine is open */
void gr_queue_round(gr_queue *q, gr_engine *e);     /* what one turn of that does, where there is a job */
/* The worker ends after the batch it is in; jobs still waiting are cancelled and done() is called for each. */
void gr_queue_stop(gr_queue *q);

/* False where the queue is full (*retry_after: seconds until it should not be) or stopped; the job is as it was. */
bool gr_queue_submit(gr_queue *q, gr_job *job, double *retry_after);
/* Nobody waits for it any more. done() comes as soon as no batch holds its pairs. */
void gr_queue_cancel(gr_queue *q, gr_job *job);
/* Fails the jobs whose deadline has passed. */
void gr_queue_expire(gr_queue *q);
void gr_queue_read_stats(gr_queue *q, gr_queue_stats *out);

#endif
