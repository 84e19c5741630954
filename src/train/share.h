/* share.h - a run shared out over processes: the rows of a batch, the sums over it, and the optimizer's memory.
 *
 *     rows       each process takes some rows of every batch, about as many tokens as the others
 *     gradients  are added up in the order of the ranks; each process gets the sums of its part of all values
 *     step       of that part, whose moments it alone has (ZeRO-1), and its gradients, too, if `zero` is 2: those of
 *                a layer are then added up as soon as a backward pass has made them, and every layer is cut into parts
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
    gr_trainee *t;              /* borrowed: whose layers share one place for their gradients (ZeRO-2); or NULL */
    size_t *at;                 /* [n_params + 1] where each parameter begins among all values */
    gr_vector w, g;             /* all values and all gradients, cut where the parts are */
    float *room;                /* [room_floats] where process 0 has what is neither its own nor the host's */
    size_t room_floats;
    struct gr_bucket *bucket;   /* [a->buckets] of ZeRO-2 */
    size_t *bucket_cut;         /* of all of them */
    gram_err hosts;             /* why hosts carry what lies on GPUs; "": they do not, or there are none */
} gr_share;
/* The parts of n parameters: by layers, where the trainee's share one place. half: moments are kept in bfloat16. */
gram_status gr_share_cut(gr_adamw *a, gr_param *param, size_t n, gr_dist *d, gr_trainee *by_layer, bool half,
                         gram_err *err);
/* a was made by gr_share_cut() of the same processes and trainee; all stay borrowed. */
gram_status gr_share_open(gr_share *s, gr_dist *d, gr_adamw *a, gr_trainee *by_layer, gram_err *err);
void gr_share_clear(gr_share *s);
uint64_t gr_share_bytes(const gr_share *s);     /* memory of the host that it takes */

/* The process's rows of a batch, moved to its front in their order: each, the longest first, goes to the process that
 * has the fewest tokens so far. */
gram_status gr_share_batch(const gr_share *s, const gr_example **e, size_t *count, gram_err *err);
/* Its rows of a list that stays in order, of which tokens[] are told: [*first, *first + *n). */
void gr_share_rows(const gr_share *s, const size_t *tokens, size_t count, size_t *first, size_t *n);

gram_status gr_share_sum(const gr_share *s, gr_sum *sum, gram_err *err);
/* Before the gradients of a step. */
void gr_share_begin(const gr_share *s);
/* After the last backward pass of a step, before anything else that all processes do: the passes that others have more
 * than this one. */
gram_status gr_share_end_passes(const gr_share *s, gram_err *err);
/* Adds up the gradients; each process then has those of its part, and of all the squares, of which gr_squares_norm()
 * makes norms. With ZeRO-2 those of layers were added up layer by layer, in each backward pass. */
gram_status gr_share_gradients(const gr_share *s, gr_device *device, gram_err *err);
/* The values that each has stepped go to all. */
gram_status gr_share_values(const gr_share *s, gram_err *err);

/* For checkpoints, which process 0 reads and writes. Part 0 is the values, 1 and 2 are m and v. */
enum { GR_SHARE_PARTS = 3 };
/* Brings tensor i of a part to where gr_share_part() says, in process 0. */
gram_status gr_share_collect(const gr_share *s, size_t part, size_t i, gram_err *err);
const float *gr_share_part(const gr_share *s, size_t part, size_t i);
/* The way back: the values of all become process 0's; to each its moments i, of which process 0 has all at `from`. */
gram_status gr_share_values_of_first(const gr_share *s, gram_err *err);
gram_status gr_share_spread(const gr_share *s, size_t part, size_t i, const float *from, gram_err *err);
/* A digest of all values and moments, which does not depend on the number of processes; each takes its part. */
gram_status gr_share_digest(const gr_share *s, uint64_t *digest, gram_err *err);

#endif
