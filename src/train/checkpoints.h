/* checkpoints.h - OUT/checkpoints/step-000050.safetensors and its neighbours: the last few states of a run.
 *
 * The newest is what a resume goes on from; where it was cut short, by a disk or by a hand, the one before it. */
#ifndef GR_TRAIN_CHECKPOINTS_H
#define GR_TRAIN_CHECKPOINTS_H

#include "gram/gram.h"
#include "train/state.h"

typedef struct {
    char *dir, *mark;           /* mark: the file that says that the run has ended */
    size_t keep;
} gr_checkpoints;
gram_status gr_checkpoints_init(gr_checkpoints *c, const char *out, size_t keep, gram_err *err);
void gr_checkpoints_clear(gr_checkpoints *c);           /* memory alone */

/* Whether there is one; an error where that cannot be said: a directory that is there and cannot be read. */
gram_status gr_checkpoints_any(const gr_checkpoints *c, bool *any, gram_err *err);
/* Adds one, and then takes away all but the `keep` newest. */
gram_status gr_checkpoints_save(const gr_checkpoints *c, const gr_state *s, const char *settings,
                                const gr_share *share, gram_err *err);
/* The newest that is whole. Newer ones that are not are named to warn; all of them being so is an error. */
gram_status gr_checkpoints_load(const gr_checkpoints *c, gr_state *s, const char *settings,
                                const gr_share *share, gram_warn_fn *warn, void *arg, gram_err *err);
/* The run has ended, and its model is written: all go, and the directory where nothing else is in it; or, where it may
 * get more steps, all but the newest, and a mark says so. */
void gr_checkpoints_end(const gr_checkpoints *c, bool keep_newest);
bool gr_checkpoints_ended(const gr_checkpoints *c);
void gr_checkpoints_reopen(const gr_checkpoints *c);    /* the mark goes */

#endif
