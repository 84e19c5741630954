/* head.h - the head of a reward model, which reads the last token's hidden state x.
 *
 *   forward   y = W x                      or, with a hidden layer,
 *             a = max(0, W1 x + b1)        y = W2 a + b2
 *   backward  dx += W^T dy                 dW += dy x^T
 *             da = W2^T dy where a > 0     dx += W1^T da    dW1 += da x^T   db1 += da    dW2 += dy a^T   db2 += dy
 *   shapes    x dx [C]    a b1 [H]    y dy b2 [n]    W [n,C]    W1 [H,C]    W2 [n,H]
 *
 * Any bias may be absent; the one matrix W may have b2. Behind some heads a gate stands, a network that weighs their
 * outputs (file/config.h): those are read, and not trained. */
#ifndef GR_MODEL_HEAD_H
#define GR_MODEL_HEAD_H

#include "file/config.h"

/* part: W1, b1, W or W2, b2, as gr_head_part_at() counts them; NULL: there is none. tanh: instead of max(0, .), and
 * with one matrix behind it. */
typedef struct { size_t outputs, width, hidden; bool tanh; float *part[GR_HEAD_PARTS]; } gr_head;

/* The network of file/config.h's gr_gate_form: w[l] [size[l+1], size[l]], b[l] or NULL; scale and mix [n,n] are of
 * GR_GATE_PROMPT, or NULL. All owned. */
typedef struct {
    gr_gate_form form;
    float *w[GR_GATE_LAYERS], *b[GR_GATE_LAYERS];
    float *scale, *matrix;
} gr_gate;
/* The reward of the outputs y, weighed by what the network makes of the hidden state x. scratch: gr_gate_scratch()
 * doubles. */
double gr_gate_reward(const gr_gate *g, const float *x, const double *y, double *scratch);
size_t gr_gate_scratch(const gr_gate *g);
void gr_gate_clear(gr_gate *g);

/* The sum of products in double and in one order, so that the margin of two close rewards or labels is exact to the
 * hidden state. */
double gr_dot(const float *a, const float *b, size_t n);

gr_head gr_head_of(const gr_config *c);                 /* its sizes alone */
/* Sums in double, in one order. a may be NULL. on: not NULL, says for each hidden unit whether it lets its sum through,
 * above 0 or not. */
void gr_head_fwd(const gr_head *h, float *a, const bool *on, const float *x, double *y);
/* g: the gradients, of the head's shape, with NULL for what is frozen. */
void gr_head_bwd(const gr_head *h, const gr_head *g, float *dx, const float *a, const float *x, const double *dy);
/* Values to begin with: of one matrix as transformers draws it, from the normal distribution of deviation `std`; with a
 * hidden layer as torch's Linear, uniform in +-1/sqrt(inputs). */
void gr_head_draw(gr_head *h, double std, uint64_t seed);

#endif
