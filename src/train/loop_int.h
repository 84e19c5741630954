/* loop_int.h - a run on its way, which the files of the loop share: loop.c, judging.c, reference.c and settings.c. */
#ifndef GR_TRAIN_LOOP_INT_H
#define GR_TRAIN_LOOP_INT_H

#include <time.h>
#include "train/checkpoints.h"
#include "train/metrics_file.h"
#include "train/loop.h"

struct loop {
    const gr_training *r;
    gr_trainee *t;
    gr_adamw adam;
    gr_param *param;            /* what adam steps */
    gr_share share;
    gr_grad grad;
    gr_order order;
    gr_state state;
    uint64_t steps, warmup, rows;   /* rows: places of the stream that the run takes */
    const gr_example **batch;       /* [batch_rows] */
    gr_example *room;               /* [batch_rows] for examples that lie in a file */
    char *settings, *weights_path;
    gr_checkpoints checkpoints;
    gr_metrics *metrics;
    int lock;                       /* on the output directory */
    gr_held *held;                  /* [r->n_held] as they were last judged; n == 0: not in this call */
    struct timespec start;
    uint64_t tokens;
    bool asked;                     /* somebody wants the run to stop */
    gram_number number[96];         /* of a step, where the loop has some of its own */
    bool check_rows;                /* of the model that is opened again: there is memory for it */
    gram_train_report *report;
};

/* Whether this process reads and writes what is in OUT. */
bool gr_run_is_first(const struct loop *l);
/* Whether the weights are the last ones: after the last step, or where patience is at its end. */
bool gr_run_is_over(const struct loop *l);
/* Whether it is time for what is done every so many steps: after the rollout in which they were full. */
bool gr_run_is_time(const struct loop *l, uint64_t every);
/* Somebody asked to stop: what is done is kept, and the call fails with GRAM_ESTOPPED. why: "" or a reason. */
gram_status gr_run_stop(struct loop *l, const char *why, gram_err *err);

/* reference.c: fills in ref of all rows, whose weights are those that the run starts from. */
gram_status gr_run_refer(struct loop *l, gram_err *err);
/* kto: what a list of examples wants to be looked at for before its loss is taken; n: theirs. */
gram_status gr_run_look(struct loop *l, const gr_example *const *e, size_t count, double n, gram_err *err);

/* settings.c: *out is all that the run's bits depend on, a line for each; see gr_state_load(). */
gram_status gr_run_settings(const gr_training *r, char **out, gram_err *err);
/* OUT/run.txt, from which a run that has ended knows itself: these, and what chose the weights that are written. */
gram_status gr_run_note(const struct loop *l, gram_err *err);
/* Whether the run that has ended is the one that is asked for. */
gram_status gr_run_same(const struct loop *l, gram_err *err);
/* Behind a checkpoint's state: whether the run may have the number of steps that is asked for. */
gram_status gr_run_check_steps(struct loop *l, gram_err *err);

/* judging.c */
bool gr_judging_due(const struct loop *l);
/* Judges the held-out sets; the best weights become a model of their own, unless they are about to be the run's. */
gram_status gr_judging(struct loop *l, gram_err *err);
/* The weights become those of the best step, and are judged as that step's were. */
gram_status gr_judging_take_best(struct loop *l, gram_err *err);

#endif
