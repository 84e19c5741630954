/* estimate.h - the memory and the disk that a run will take, before it takes it. */
#ifndef GR_TRAIN_ESTIMATE_H
#define GR_TRAIN_ESTIMATE_H

#include "optim/optim.h"
#include "train/loop.h"
#include "train/share.h"

/* Before weights are read: whether all of them, their gradients and the optimizer fit the machine. */
gram_status gr_estimate_weights(const gr_weights *w, const gr_device *d, const gram_train_options *o, gram_err *err);
/* Before the first step: chooses how many layers are recomputed in the backward pass, and says by the note what the run
 * will hold at most, *bytes. Fails where the machine has less. *check_rows: there is memory to compare rows of the
 * model that is opened again. */
gram_status gr_estimate_run(const gr_training *r, gr_trainee *t, const gr_share *s, uint64_t *bytes, bool *check_rows,
                            gram_err *err);

/* Bytes that the run's directory will hold at most, said and checked in the same way. What it holds already counts as
 * free: a run that goes on writes over it. */
gram_status gr_estimate_disk(const gr_training *r, const gr_adamw *a, uint64_t steps, uint64_t *bytes, gram_err *err);

#endif
