/* grad_int.h - what the files of gradients share: a file for each kind of loss. */
#ifndef GR_TRAIN_GRAD_INT_H
#define GR_TRAIN_GRAD_INT_H

#include "train/grad.h"

/* Adds the loss of the forest's examples, and its gradients; n as for gr_grad_add(). */
typedef gram_status gr_grad_fn(gr_grad *g, const gr_forest *f, const gr_example *const *e, size_t count, double n,
                               bool backward, gr_sum *sum, gram_err *err);
gr_grad_fn gr_grad_judge, gr_grad_scalar, gr_grad_written;

/* Rows of the vocabulary's head: loss[n] = -log p of the targets, and where backward is set dhidden[n, C] and the
 * head's gradient of sum_i wt[i] loss[i]. */
typedef struct { const float *hidden, *wt; const int32_t *target; float *dhidden; double *loss; size_t n; } gr_words;
gram_status gr_grad_words(gr_grad *g, const gr_words *w, bool backward, gram_err *err);
void gr_grad_head_close(struct gr_head *h);

/* The rows of sequence s, which is seq[0] of e, that write its tokens from e->asked on, and those tokens; how many. */
size_t gr_grad_trace(const gr_forest *f, size_t s, const gr_example *e, size_t *row, int32_t *target);

#endif
