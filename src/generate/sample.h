/* sample.h - from a row of logits to the next token.
 *
 * The steps and their order are those of transformers' generate(), whose defaults are NOT taken over: every setting
 * that is not given is neutral.
 *
 *   z[v]       the model's logits
 *   penalties  repetition r over the ids of prompt and answer, each once:  z < 0 ? z r : z / r
 *              presence, frequency over the answer's ids:                  z - presence - frequency count
 *   end        ids that end an answer are out while it has fewer than min_new tokens
 *   T          y = z / T                           0: the largest z, of equal ones the lowest id, and no draw
 *   top_k      y of the k-th largest and more; ties with the k-th stay
 *   top_p      the likeliest of those until their mass is p: the token that crosses p stays. Of equal ones at the
 *   border
 *              the lowest ids stay (transformers leaves that to its sort)
 *   min_p      of those, the ones with at least min_p times the probability of the likeliest
 *   draw       the first id at which the running sum of the kept weights, in the order of ids, exceeds u times their
 *   sum
 *
 * Nothing is sorted: the borders of top_k and top_p are found digit by digit, by count and by mass. */
#ifndef GR_GENERATE_SAMPLE_H
#define GR_GENERATE_SAMPLE_H

#include "op/op.h"

typedef struct {
    double temperature;                     /* 0, or 1e-6 to 1e6; neutral: 1 */
    size_t top_k;                           /* 0: neutral */
    double top_p, min_p;                    /* in (0, 1] and [0, 1]; neutral: 1 and 0 */
    double repetition, presence, frequency; /* 1e-6 to 1e6, any, any; neutral: 1, 0, 0 */
    size_t min_new;                         /* tokens before an end may come; neutral: 0 */
} gr_sampling;
extern const gr_sampling gr_sampling_neutral;
/* GRAM_EARG names the setting, what is wanted and what was found. */
gram_status gr_sampling_check(const gr_sampling *s, gram_err *err);

/* The text that a row of logits continues. */
typedef struct { const int32_t *prompt, *answer; size_t n_prompt, n_answer; } gr_so_far;

/* A token with its log-probability under softmax(z) and under softmax(z / T), both over the whole vocabulary and before
 * penalties and filters. Greedy: both are that of softmax(z). */
typedef struct { int32_t id; float raw, tempered; } gr_drawn;

/* What one thread needs for vocabularies of V. */
typedef struct { const struct gr_kern *op; float *y, *w; uint32_t *seen; uint32_t turn; size_t V; } gr_sampler;
gram_status gr_sampler_init(gr_sampler *s, const struct gr_kern *op, size_t V, gram_err *err);
void gr_sampler_clear(gr_sampler *s);

/* One token after z [V], which stays as it is. end[n_end]: the ids that end an answer. u: the draw, in [0, 1). Fails
 * where a logit is not a number, or nothing is left to draw from. */
gram_status gr_sample(gr_sampler *r, const float *z, const gr_sampling *s, gr_so_far text, const int32_t *end,
                      size_t n_end,
                      double u, gr_drawn *out, gram_err *err);
/* The first half of it: r->w[V] holds the weight of each token that may be drawn, 0 for the others; *sum is theirs. */
gram_status gr_sample_weights(gr_sampler *r, const float *z, const gr_sampling *s, gr_so_far text, const int32_t *end,
                              size_t n_end, double *sum, gram_err *err);

/* The n likeliest tokens of z [V], likeliest first, of equal ones the lowest id first. n <= V. */
void gr_likeliest(const float *z, size_t V, int32_t *id, size_t n);

/* The draw of token `at` of an answer whose seed this is. */
double gr_draw_at(uint64_t seed, size_t at);

#endif
