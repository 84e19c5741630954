/* trainee.h - a model under training: a forward pass that keeps what the backward pass needs, and the gradients.
 *
 * Both run over a prefix forest, so a prefix that both orders of a pair share is computed once in forward and backward:
 * the keys and values of a shared segment collect the gradients of every query below it. Sums over rows run in one
 * fixed order, so a step has the same bits at any number of threads. */
#ifndef GR_MODEL_TRAINEE_H
#define GR_MODEL_TRAINEE_H

#include "model/lora.h"

typedef struct gr_trainee gr_trainee;

/* m was opened by gr_model_open_writable() and is borrowed; its parameters get gradients here. */
gram_status gr_trainee_open(gr_trainee **out, gr_model *m, gr_device *d, gram_err *err);
/* The same for any model, whose own weights stay as they are: the parameters are those of the adapters, borrowed. lora
 * NULL: as gr_trainee_open(). */
gram_status gr_trainee_open_lora(gr_trainee **out, gr_model *m, gr_lora *lora, gr_device *d, gram_err *err);
/* The same for the reward head's parameters alone. Nothing else has a gradient, and no
 * backward pass goes below it. */
gram_status gr_trainee_open_head(gr_trainee **out, gr_model *m, gr_device *d, gram_err *err);
/* The same for any model, with adapters or without, and forward passes alone, whose bits are those of the passes above:
 * what a policy is held against. */
gram_status gr_trainee_open_frozen(gr_trainee **out, gr_model *m, gr_lora *lora, gr_device *d, gram_err *err);
/* As gr_trainee_open(), where the gradients of the layers share one place, which holds those of the largest (ZeRO-2):
 * in each backward pass they are there when layer() is called, from the last layer to the first, and gone when it
 * returns. begin() is called before. Both may fail, and the pass with them. */
typedef struct {
    gram_status (*begin)(void *arg, gram_err *err);
    gram_status (*layer)(void *arg, size_t layer, gram_err *err);
    void *arg;
} gr_layer_watch;
gram_status gr_trainee_open_layers(gr_trainee **out, gr_model *m, gr_device *d, gram_err *err);
void gr_trainee_watch(gr_trainee *t, const gr_layer_watch *watch);
/* The layer of parameter i; the number of layers: of none, or each has a place of its own. */
size_t gr_trainee_layer_of(const gr_trainee *t, size_t i);
size_t gr_trainee_grad_floats(const gr_trainee *t);     /* that have places */
size_t gr_trainee_layers(const gr_trainee *t);
void gr_trainee_zero_bucket(gr_trainee *t);             /* the place that layers share */
void gr_trainee_close(gr_trainee *t);
gr_device *gr_trainee_device(const gr_trainee *t);
/* The parameters with their gradients, in the order of the file; the list lives as long as t. */
gr_param *gr_trainee_params(gr_trainee *t, size_t *n);
void gr_trainee_zero(gr_trainee *t);
/* From now on the lowest `layers` layers keep their input alone, and their backward pass computes the rest again: the
 * same bits, in a tenth of the activations' memory and four thirds of the time where that is all layers. Before the
 * first forward. */
void gr_trainee_recompute(gr_trainee *t, size_t layers);
size_t gr_trainee_recomputed(const gr_trainee *t);
/* From now on, in forward and backward, adapters see their inputs with dropout, where they have any, and products are
 * made as gr_model_train_by() said; or without dropout and rounding, as when rows are only judged. What is left out
 * follows from the seed, the step, the layer, the matrix and the tokens up to the row's, so another cut into
 * micro-batches, threads or processes leaves the same out. */
void gr_trainee_drop(gr_trainee *t, uint64_t seed, uint64_t step);
void gr_trainee_keep(gr_trainee *t);
/* Gives the memory of activations back; the next forward takes it again. */
void gr_trainee_release(gr_trainee *t);
uint64_t gr_trainee_held(const gr_trainee *t);          /* bytes that would come back */
/* What a forward and backward pass over `rows` rows keep in memory, besides weights and gradients. */
uint64_t gr_trainee_bytes(gr_trainee *t, size_t rows);

/* Final hidden states of the rows want[n], after the last norm: *hidden [n, width], in t until the next forward. The
 * forest stays borrowed until the backward pass, and has no cache. */
gram_status gr_trainee_forward(gr_trainee *t, const gr_forest *f, const size_t *want, size_t n,
                               const float **hidden, gram_err *err);
/* Adds the gradients of all parameters, given dhidden [n, width] of the last forward's hidden states. What the loss
 * gives the head itself is added through gr_trainee_head_add() and gr_trainee_head_grad(). */
gram_status gr_trainee_backward(gr_trainee *t, const float *dhidden, gram_err *err);

/* Row v of the output head, [width], which stays only until 8 others were asked for. */
const float *gr_trainee_head(gr_trainee *t, int32_t v);
/* The gradient of row v += s x, on the host; nothing where the head is frozen. False: there is no memory. */
bool gr_trainee_head_add(gr_trainee *t, int32_t v, double s, const float *x);
/* The whole head's, [vocabulary, width], on the device; NULL where it is frozen. */
float *gr_trainee_head_grad(gr_trainee *t);
const gr_tensor *gr_trainee_head_tensor(const gr_trainee *t);       /* all of it */
/* The reward head, in a model that has one, and its gradients. */
const gr_head *gr_trainee_score(const gr_trainee *t);
const gr_head *gr_trainee_score_grad(const gr_trainee *t);

#endif
