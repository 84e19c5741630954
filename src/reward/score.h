/* score.h - pairs to verdicts: both orders judged, packed by shared prefix, two logits each.
 *
 *     preference = ( s(z_A - z_B | a first) + s(z_B - z_A | b first) ) / 2        GRAM, section 3
 *
 * s is the sigmoid and z the logits of the labels, so the softmax runs over the two labels alone. A model with a reward
 * head reads two conversations instead, and the preference follows from their rewards:
 *
 *     preference = s(r_a - r_b)         PURM: E s(r_a - r_b), r normal      no order is read, so none can be swapped */
#ifndef GR_REWARD_SCORE_H
#define GR_REWARD_SCORE_H

#include "model/vocabulary.h"
#include "reward/judge.h"

typedef struct {
    gr_work *work;
    const gr_judge *judge;
    gr_kv_tree *cache;          /* prefixes kept between calls; NULL: none */
    size_t batch_tokens;        /* rows computed together */
    size_t one_from, one_ends;  /* one_ends > 0: of a text that is read behind its end alone, what stands between so
                                 * many first and so many last tokens is of one byte (gr_seq) */
    bool single_order;
    double temperature;         /* divides what probabilities are made of; 0: 1 */
    gram_usage usage;           /* added up over calls */
    const gr_model *model;      /* what work runs; needed by a judge with a scale alone */
    gr_vocabulary *head;        /* its own: NULL until a scale is read, then for gr_vocabulary_close() */
} gr_scorer;

/* Sets what is of one byte: all but each text's end and the words of s->judge, which are what two texts begin with that
 * have nothing else in common; none, where it cannot read these. */
gram_status gr_scorer_take_one_byte(gr_scorer *s, gram_err *err);

/* Whether two orders do not prefer different answers, by numbers whose signs say which each prefers: one that prefers
 * neither contradicts none. */
static inline bool gr_orders_agree(double forward, double swapped)
{
    return !((forward > 0 && swapped < 0) || (forward < 0 && swapped > 0));
}

/* The preference at this temperature, from a verdict's logits or rewards; 1: what rankings are made of. */
double gr_verdict_at(const gram_verdict *v, double temperature);

/* out[n]. Where one pair is to blame for a failure *bad is its index, counted from 0; otherwise n. */
gram_status gr_score_pairs(gr_scorer *s, const gram_pair *pair, size_t n, gram_verdict *out, size_t *bad,
                           gram_err *err);

/* out[n, n_labels]: next-token logits of the labels after each sequence; label NULL: what the reward head gives, and
 * n_labels its outputs. Sequences are sorted, so that those with a common prefix meet in a batch; a sequence's bits do
 * not depend on its batch. */
gram_status gr_score_sequences(gr_scorer *s, const gr_seq *seq, size_t n, const int32_t *label, size_t n_labels,
                               float *out, gram_err *err);

/* The same cut into batches: fn gets some of seq[n], which begins at `first`, in the order of their tokens. extra: rows
 * that it adds to those of each. What it computed is counted by gr_scorer_count(), rows since `start`. */
typedef gram_status gr_batch_fn(void *arg, gr_scorer *s, const gr_seq *const *sorted, const gr_seq *first, size_t n,
                                gram_err *err);
gram_status gr_score_batches(gr_scorer *s, const gr_seq *seq, size_t n, size_t extra, gr_batch_fn *fn, void *arg,
                             gram_err *err);
void gr_scorer_count(gr_scorer *s, const gr_seq *const *seq, size_t n, size_t rows, double start);

/* The reward of each answer to one prompt, out[n], by a model with a reward head or a judge of one answer. *bad as
 * above. */
gram_status gr_score_answers(gr_scorer *s, gram_prompt prompt, const char *const *answer, size_t n, gram_reward *out,
                             size_t *bad, gram_err *err);

/* The same of conversations that come rendered. */
gram_status gr_score_texts(gr_scorer *s, const gram_text *text, size_t n, gram_reward *out, size_t *bad, gram_err *err);

/* u[i], the mean over j != i of how far the normal distributions of i and j overlap (Bhattacharyya's coefficient),
 *
 *     BC(i,j) = sqrt(2 s_i s_j / (s_i^2 + s_j^2)) exp(-(m_i - m_j)^2 / (4 (s_i^2 + s_j^2)))
 *
 * over GR_OVERLAP_MOST others spread evenly over the list where there are more, so that the cost does not grow with
 * its square; NAN where there is no other. */
#define GR_OVERLAP_MOST 2048
void gr_overlap(const double *mean, const double *sigma, size_t n, double *u);

#endif
