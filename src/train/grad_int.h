/* grad_int.h - what the files of gradients share: a file for each kind of loss. */
#ifndef GR_TRAIN_GRAD_INT_H
#define GR_TRAIN_GRAD_INT_H

#include "train/grad.h"

/* Adds the loss of the forest's examples, and its gradients; n as for gr_grad_add(). */
typedef gram_status gr_grad_fn(gr_grad *g, const gr_forest *f, const gr_example *const *e, size_t count, double n,
                               bool backward, gr_sum *sum, gram_err *err);
gr_grad_fn gr_grad_judge, gr_grad_scalar, gr_grad_written, gr_grad_offline;

/* The sequences of some examples, [first, first + each) of each; clear it with gr_forest_clear(f, true). */
typedef struct { size_t first, each; } gr_orders;
gram_status gr_grad_grow(gr_forest *f, const gr_grad *g, gr_orders which, const gr_example *const *e, size_t count,
                         gr_sum *sum, gram_err *err);
/* Rows of the vocabulary's head: loss[n] = -log p of the targets, and where backward is set dhidden[n, C] and the
 * head's gradient of sum_i wt[i] loss[i]. weigh: the weights follow from the losses; it is called for rows [first,
 * first + n) in their order, whose losses are there, and sets wt. NULL: they are known. */
typedef void gr_weigh_words_fn(void *arg, size_t first, size_t n);
typedef struct {
    const float *hidden, *wt;
    const int32_t *target;
    float *dhidden;
    double *loss;
    size_t n;
    gr_weigh_words_fn *weigh;
    void *arg;
} gr_words;
gram_status gr_grad_words(gr_grad *g, const gr_words *w, bool backward, gram_err *err);
/* The answers of the forest's sequences, one token after the other, and their hidden states from a forward pass. */
typedef struct {
    size_t rows, *row, *at;     /* at[sequences + 1]: where each one's tokens begin */
    int32_t *target;
    float *wt, *dhidden;
    double *loss;
    const float *hidden;
} gr_answers;
gram_status gr_answers_open(gr_answers *a, gr_grad *g, const gr_forest *f, gr_orders which,
                            const gr_example *const *e, size_t count, gram_err *err);
void gr_answers_clear(gr_answers *a);
/* The same of samples, with the forest; both are to be cleared, whatever comes out. */
gram_status gr_answers_of(gr_answers *a, gr_forest *f, gr_grad *g, gr_sampled *const *s, size_t count, gr_sum *sum,
                          gram_err *err);
/* a->loss; backward: the gradients of sum_i wt[i] loss[i] too, down to the first layer. weigh as in gr_words: it sets
 * a->wt. */
gram_status gr_answers_learn(gr_answers *a, gr_grad *g, bool backward, gr_weigh_words_fn *weigh, void *arg,
                             gram_err *err);

void gr_grad_head_close(struct gr_head *h);

/* The rows of sequence s of the forest, which is seq[k] of e, that write its tokens from where its answer begins, and
 * those tokens; how many. */
size_t gr_grad_trace(const gr_forest *f, size_t s, const gr_example *e, int k, size_t *row, int32_t *target);
static inline size_t gr_asked(const gr_example *e, int k) { return k ? e->asked_other : e->asked; }

/* dL/dd of one verdict reaches the hidden state that its logits z [2] are read from, *dhidden = ..., and the two rows
 * of the head, through the cap on each logit. d is z of label `right` less the other's. False: memory ran out. */
bool gr_grad_push_verdict(gr_grad *g, float *dhidden, const float *hidden, const double *z, int right, double dd);

#endif
