/* metrics_file.h - what a run says in numbers, on the disk as soon as it is known.
 *
 *     OUT/metrics.jsonl       {"step":1,"loss":..}, a line for each step; {"step":0,"held_loss":..,"held_accuracy":..},
 *                             a line each time that the held-out rows were judged, in stage 1 without the accuracy.
 *                             Sets behind the first say which they are: "set":2,"file":"other.jsonl"
 *     OUT/held-out.jsonl      {"step":0,"preference":[[0.52,0.47],..]}: of these rows, chosen read first and second
 *     OUT/samples.jsonl       of a run that writes its own examples: each, with the step that learns of it first
 *     OUT/tb/events.out...    the numbers of metrics.jsonl for TensorBoard
 *
 * A resumed run takes some steps again, so what is there of them is cut off first; the event file is written anew from
 * the lines that stay, and says nothing twice. */
#ifndef GR_TRAIN_METRICS_FILE_H
#define GR_TRAIN_METRICS_FILE_H

#include "gram/train.h"
#include "train/state.h"

/* The held-out rows as a model judges them. */
typedef struct {
    size_t n;
    double (*p)[2];             /* [n] preference for chosen, read first and second; owned */
    double loss, accuracy;
    const gram_number *more;    /* [n_more] borrowed */
    size_t n_more;
} gr_held;

typedef struct {
    uint64_t step;
    bool held;                  /* loss and accuracy are of held-out rows, and the rest is NAN */
    size_t set;                 /* of which set, from 0 */
    double time;                /* seconds since 1970 */
    double loss, accuracy, lr, grad_norm, tokens_per_s;
} gr_metric;

/* The lines of metrics.jsonl in their order; *out is malloc'ed. What follows a line that was cut short is not there. */
gram_status gr_metrics_read(const char *dir, gr_metric **out, size_t *n, gram_err *err);
/* Fills in out->p of the rows of a set that were judged after a step, NULL where the file does not say. */
gram_status gr_metrics_judged(const char *dir, uint64_t step, size_t set, gr_held *out, gram_err *err);

typedef struct gr_metrics gr_metrics;
/* Keeps what is there of the first `steps` steps, and of rows judged up to step `judged` (GR_NEVER: none). samples: the
 * run has such. */
gram_status gr_metrics_open(gr_metrics **out, const char *dir, uint64_t steps, uint64_t judged, bool samples,
                            gram_err *err);
gram_status gr_metrics_step(gr_metrics *m, const gram_train_step *s, gram_err *err);
gram_status gr_metrics_held(gr_metrics *m, uint64_t step, size_t set, const char *file, const gr_held *j,
                            gram_err *err);
/* A line of samples.jsonl, an object that begins with its step. */
gram_status gr_metrics_sample(gr_metrics *m, const gr_buf *line, gram_err *err);
gram_status gr_metrics_sync(gr_metrics *m, gram_err *err);     /* before a checkpoint that relies on them */
void gr_metrics_close(gr_metrics *m);

#endif
