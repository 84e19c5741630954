/* state.h - what a run that stopped needs to go on with the same bits, in one safetensors file.
 *
 *     NAME, m.NAME, v.NAME        each parameter that is trained, float32, and its moments, in the type that they have
 *     __metadata__                settings, progress (the fields of gr_state), digest (of all numbers)
 *
 * It appears under its name only when it is whole, and the digest says whether it still is. The order of the rows
 * follows from the seed and the step, so there is no other state. */
#ifndef GR_TRAIN_STATE_H
#define GR_TRAIN_STATE_H

#include "file/weights.h"
#include "train/share.h"

#define GR_NEVER UINT64_MAX
#define GR_CARRIED 4

typedef struct {
    uint64_t step;              /* steps taken */
    uint64_t judged;            /* the step after which held-out rows were last judged; GR_NEVER: not yet */
    uint64_t best;              /* the step whose weights judged them best; GR_NEVER: none yet */
    double best_accuracy, best_loss;
    uint64_t processes;         /* that took the last step */
    uint64_t steps, warmup;     /* of the run, in all, and over which its rate rises */
    uint64_t waited;            /* judgings since the best */
    double carried[GR_CARRIED]; /* of a run that makes its own examples: numbers that go from one to the next */
} gr_state;

/* settings: lines "name=value" of all that the run's bits depend on. What gr_state_check() refuses is not saved.
 * Process 0 saves, and the others give it their moments, in gr_state_give(). */
gram_status gr_state_save(const char *path, const gr_state *s, const char *settings, const gr_share *share,
                          gram_err *err);
gram_status gr_state_give(const gr_share *share, gram_err *err);
/* Fills in *s, the parameters and the optimizer. GRAM_EARG: settings are others, and the sentence
 * names these; GRAM_EFORMAT: it is not whole.
 * The others get all that in gr_state_take(). */
gram_status gr_state_load(const char *path, gr_state *s, const char *settings, const gr_share *share, gram_err *err);
gram_status gr_state_take(gr_state *s, const gr_share *share, gram_err *err);
/* GRAM_EARG where the settings that a file holds are others, which the sentence names. */
gram_status gr_state_same(const char *path, const char *was, const char *settings, gram_err *err);
/* Whether every value of the parameters is a finite number; `what` begins the sentence about the one that is not. */
gram_status gr_state_check(const gr_adamw *a, const char *what, gram_err *err);
/* The same of the tensors of a base model, whose values nobody trains. */
gram_status gr_state_check_base(const gr_weights *w, gram_err *err);

#endif
