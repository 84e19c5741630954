/* checkpoints.h - OUT/checkpoints/step-000050.safetensors and its neighbours: the last few states of a run.
 *
 * The newest is what a resume goes on from; where it was cut short, by a disk or by a hand, the one before it. */
#ifndef GR_TRAIN_CHECKPOINTS_H
#define GR_TRAIN_CHECKPOINTS_H

#include "gram/gram.h"
#include "train/state.h"

typedef struct { char *dir; size_t keep; } gr_checkpoints;
gram_status gr_checkpoints_init(gr_checkpoints *c, const char *out, size_t keep, gram_err *err);
void gr_checkpoints_clear(gr_checkpoints *c);           /* memory alone */

bool gr_checkpoints_any(const gr_checkpoints *c);
/* Adds one, and then takes away all but the `keep` newest. */
gram_status gr_checkpoints_save(const gr_checkpoints *c, const gr_state *s, const char *settings,
                                const gr_share *share, gram_err *err);
/* The newest that is whole. Newer ones that are not are named to warn; all of them being so is an error. */
gram_status gr_checkpoints_load(const gr_checkpoints *c, gr_state *s, const char *settings,
                                const gr_share *share, gram_warn_fn *warn, void *arg, gram_err *err);
void gr_checkpoints_remove(const gr_checkpoints *c);    /* all, and the directory where nothing else is in it */

#endif
