/* noise.h - what in labelled rows speaks against them: pairs that are there with both labels, rows that are there
 * twice, held-out rows that are trained on. Rows are the same where their texts are, whole: two long ones of
 * which --truncate balanced leaves the same are not. */
#ifndef GR_TRAIN_NOISE_H
#define GR_TRAIN_NOISE_H

#include "train/set.h"

typedef struct {
    uint64_t contradicting;     /* training rows whose pair is there with the opposite label as well */
    uint64_t repeated;          /* training rows that are there once more, the first of each not counted */
    uint64_t seen;              /* held-out rows whose pair is among the training rows, whatever its label */
    uint64_t doubted, held_doubted;     /* of pairs: whose own soft label is for the other answer */
} gr_noise;

gram_status gr_noise_count(const gr_set *train, const gr_set *held, gr_noise *out, gram_err *err);

#endif
