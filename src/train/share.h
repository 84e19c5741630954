/* share.h - a run shared out over processes: the rows of a batch, the sums over it, and the optimizer's memory.
 *
 *     rows       each process takes some rows of every batch, about as many tokens as the others
 *     gradients  are added up in the order of the ranks; each process gets the sums of its part of all values
 *     step       of that part, whose moments it alone has (ZeRO-1)
 *     values     go from each to all
 *
 * The loss is divided by what the whole batch counts in every process, so gradients are sums and nothing is averaged.
 * A run of one process does none of this. */
#ifndef GR_TRAIN_SHARE_H
#define GR_TRAIN_SHARE_H

#include "comm/comm.h"
#include "optim/optim.h"
#include "train/grad.h"

typedef struct {
    gr_dist *d;                 /* NULL: one process */
    gr_adamw *a;                /* borrowed: this process's part */
    gr_piece *piece[2];         /* of w and g */
    size_t *at;                 /* [n_params + 1] where each parameter begins among all values */
    float *copy;                /* [floats] of a device whose memory the host cannot touch; otherwise NULL */
    size_t *cut;
    gr_vector w, g;             /* all values and all gradients, cut where the parts are */
} gr_share;
/* a was made by gr_adamw_init_part() with the rank and the number of the processes; both stay borrowed. */
gram_status gr_share_open(gr_share *s, gr_dist *d, gr_adamw *a, gram_err *err);
void gr_share_clear(gr_share *s);

/* The process's rows of a batch, moved to its front in their order: each, the longest first, goes to the process that
 * has the fewest tokens so far. */
gram_status gr_share_batch(const gr_share *s, const gr_example **e, size_t *count, gram_err *err);
/* Its rows of a list that stays in order, of which tokens[] are told: [*first, *first + *n). */
void gr_share_rows(const gr_share *s, const size_t *tokens, size_t count, size_t *first, size_t *n);

gram_status gr_share_sum(const gr_share *s, gr_sum *sum, gram_err *err);
/* Adds up the gradients; each process then has those of its part, and of all the squares, of which gr_squares_norm()
 * makes norms. */
gram_status gr_share_gradients(const gr_share *s, gr_device *device, gram_err *err);
/* The values that each has stepped go to all. */
gram_status gr_share_values(const gr_share *s, gram_err *err);

/* For checkpoints, which process 0 reads and writes. Part 0 is the values, 1 and 2 are m and v. */
enum { GR_SHARE_PARTS = 3 };
/* Moments of all, and bfloat16 values as float32, to the gradients of process 0, where gr_share_part() then finds them;
 * alone, moments stay where they are. */
gram_status gr_share_collect(const gr_share *s, size_t part, gram_err *err);
/* The way back: what process 0 has at gr_share_part() to the values of all, or to each its moments. */
gram_status gr_share_spread(const gr_share *s, size_t part, gram_err *err);
/* Where process 0 has the values, or collected moments, of parameter i, whose first is value `at` of the list. */
float *gr_share_part(const gr_share *s, size_t part, size_t i, size_t at);
/* A digest of all values and moments, which does not depend on the number of processes; each takes its part. */
gram_status gr_share_digest(const gr_share *s, uint64_t *digest, gram_err *err);

#endif
