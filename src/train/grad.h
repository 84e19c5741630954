/* grad.h - the loss of some examples and its gradients, added to the trainee's.
 *
 *   stage 2    L = sum_i w_i (L_i,A + L_i,B) / (2 n)       both orders of row i; n rows in the batch
 *   scalar     L = sum_i w_i L_i / n                       one conversation for each answer; see reward/loss.h
 *   stage 1    L = sum over targets -log p / n             n target tokens in the batch
 *   rationale  L = sum_i w_i (sum_t -log p(t) + v L_i) / n the text's tokens over the vocabulary, the label's over the
 *                                                          two labels as in stage 2, v its weight; n counts both
 *   proof      as stage 1, the text's tokens alone
 *
 * n is that of the whole batch, so the cut into micro-batches moves no weight from row to row. */
#ifndef GR_TRAIN_GRAD_H
#define GR_TRAIN_GRAD_H

#include "model/trainee.h"
#include "train/policy.h"
#include "train/set.h"

typedef struct {
    gr_trainee *t;
    const gr_config *cfg;
    gr_device *device;
    int32_t label[2];           /* stage 2: ids of A and B */
    bool write;                 /* stage 1, rationale, proof */
    double temperature;         /* by which logits of the vocabulary are divided; 0: 1 */
    gr_loss_rules loss;         /* otherwise */
    bool look;                  /* kto: the pass that measures z, before the others; its gr_sum has z in chosen */
    double chosen;              /* bt-posreg, kto: gr_sum's of the whole batch, which its gradients want beforehand */
    struct {
        bool *unit, known;
        size_t at;
    } on;                       /* where unit is not NULL: which hidden units of the reward head are on, of each answer;
                                 * noted from `at` on, or, once known, held as they are */
    struct gr_head *head;       /* of whole texts, made when it is first needed; gr_grad_clear() frees it */
} gr_grad;

/* What examples amounted to; sums, so that they may be added up over micro-batches. */
typedef struct {
    double loss;                /* already over n */
    double right, count;        /* stage 2, rationale: rows whose mean preference is for chosen, ties half; rows */
    double chosen;              /* scalar: the weighted rewards of chosen answers, already over n; kto: z */
    double policy[6];           /* policies: of preferred answers, or good ones: how many, beta u, log pi; then of the
                                 * others */
    uint64_t tokens;            /* read, each sequence whole */
    uint64_t computed;          /* after sharing prefixes */
    double (*p)[2];             /* stage 2: gets each row's preference for chosen, read first and second; or NULL */
} gr_sum;

/* n: the batch's rows or target tokens. backward false: the loss alone. The term that bt-posreg has once a batch is not
 * in sum->loss: gr_grad_whole() adds it when the sums are those of all micro-batches of all processes. */
gram_status gr_grad_add(gr_grad *g, const gr_example *const *e, size_t count, double n, bool backward, gr_sum *sum,
                        gram_err *err);
void gr_grad_whole(const gr_grad *g, gr_sum *sum);
/* What the trainee computes at the end of each of the examples' sequences, [n_seqs, gr_grad_width()]: the logits of
 * the two labels, or what the reward head gives. */
size_t gr_grad_width(const gr_grad *g);
bool gr_grad_is_scalar(const gr_grad *g);
bool gr_grad_has_verdicts(const gr_grad *g);        /* whether an example has one, to be right or wrong */
double gr_grad_accuracy(const gr_grad *g, const gr_sum *sum);   /* NAN where nothing has a verdict */
void gr_grad_outputs(const gr_grad *g, const float *hidden, size_t n_seqs, double *out);
gram_status gr_grad_logits(gr_grad *g, const gr_example *const *e, size_t count, double *out, gram_err *err);
/* How many of the examples make the next micro-batch: as many as batch_tokens hold, at least one. */
size_t gr_grad_fits(const gr_example *const *e, size_t count, size_t batch_tokens);
/* What an example counts in n. */
double gr_grad_weight(const gr_grad *g, const gr_example *e);
uint64_t gr_grad_head_bytes(const gr_config *c, size_t threads);   /* memory of a chunk of logits of the vocabulary */
void gr_grad_clear(gr_grad *g);

/* An answer that was sampled, for a policy: e has its tokens in seq[0], after those of the prompt. */
typedef struct {
    gr_example e;
    double *logp, *advantage;   /* [n] of its tokens. logp: from the last forward pass of gr_grad_policy() or _logp() */
    const double *old, *ref;    /* [n], or NULL; see policy.h */
    double *value;              /* [n], or NULL: from the last forward pass of gr_grad_values() or _value() */
    const double *before, *returns;     /* [n] of PPO: the values when the answer was written, and what came */
} gr_sampled;
/* The answers' log-probabilities under g become the reference's of the examples. */
gram_status gr_grad_reference(gr_grad *g, const gr_example *const *e, size_t count, gram_err *err);
/* One micro-batch, of a gr_grad whose `write` is set: the log-probabilities alone; the policy's loss, its sums and its
 * gradients. *sum gets tokens. */
gram_status gr_grad_logp(gr_grad *g, gr_sampled *const *s, size_t count, gr_sum *sum, gram_err *err);
gram_status gr_grad_policy(gr_grad *g, const gr_policy_rules *rules, gr_sampled *const *s, size_t count,
                           gr_policy_counts n, gr_policy_sum *policy, gr_sum *sum, gram_err *err);
/* The same of a value model, whose reward head says before each token what the rest of the answer will bring: the
 * values alone; its loss, weight times the mean over n tokens, and its gradients. */
typedef struct { double clip, weight; } gr_value_rules;
typedef struct { double loss, tokens, clipped; } gr_value_sum;      /* loss: weight left out */
gram_status gr_grad_values(gr_grad *g, gr_sampled *const *s, size_t count, gr_sum *sum, gram_err *err);
gram_status gr_grad_value(gr_grad *g, const gr_value_rules *rules, gr_sampled *const *s, size_t count, double n,
                          gr_value_sum *value, gr_sum *sum, gram_err *err);

#endif
