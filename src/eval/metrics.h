/* metrics.h - the numbers that are made from judged rows, and how sure they are.
 *
 * Each row i has a value x_i in [0,1] for each question asked of it (p is its preference for chosen):
 *
 *     right       1 if p > 1/2, 1/2 if p = 1/2, else 0              accuracy = mean
 *     flip        1 if the two orders disagree, else 0              flip rate = mean over rows read in both
 *     first seat  mean over its orders of: 1 if the answer read     first-seat rate = mean; 1/2 is unbiased
 *                 first won, 1/2 at a tie, else 0
 *     longer      1 if chosen has more code points, 1/2 if equally  longer-answer baseline = mean
 *                 many, else 0
 *
 * The 95 % interval of a mean. Rows that share a prompt are not independent, so Wilson's interval is taken at
 * an effective number of rows, after Kish and after Korn and Graubard. With G prompts, m_g rows each, n in all,
 * x the mean, d_i = x_i - x:
 *
 *     V  = G/(G-1) sum_g (sum_{i in g} d_i)^2 / n^2        variance of the mean, prompts as clusters
 *     V0 = n/(n-1) sum_i d_i^2 / n^2                       the same, had every row its own prompt
 *     n* = n / max(1, V/V0) * (t(n-1) / t(G-1))^2          t(k): 97.5 % point of Student's t, k degrees
 *     n* = n^2 / sum_g m_g^2                               where all x_i are equal (V0 = 0), or G = 1
 *     interval = ( x + z^2/2n*  -+  z sqrt( x(1-x)/n* + z^2/4n*^2 ) ) / (1 + z^2/n*),   z = 1.959964
 *
 * With no shared prompt n* = n and this is Wilson's interval. Values of 1/2 vary less than x(1-x) says, so
 * there the interval is a little wide, never narrow. A weighted mean of means, sum_k w_k x_k (macro averages,
 * RewardBench's sections), combines their intervals (l_k, u_k) as Zou and Donner do (MOVER):
 *
 *     low  = x - sqrt( sum_k w_k^2 (x_k - l_k)^2 )         high = x + sqrt( sum_k w_k^2 (u_k - x_k)^2 )
 *
 * Expected calibration error over B = 15 bins of equal width of confidence c = max(p, 1-p) in [1/2, 1]:
 *
 *     bin = min(B-1, floor((c - 1/2) * 2B))    ECE = sum_b n_b/n |mean_b(right) - mean_b(c)|                */
#ifndef GR_EVAL_METRICS_H
#define GR_EVAL_METRICS_H

#include "eval/record.h"
#include "gram/gram.h"

#define GR_EVAL_BINS 15

typedef struct { uint64_t rows; double confidence; gram_interval accuracy; } gr_eval_bin;   /* NAN without rows */

typedef struct {
    uint64_t rows;              /* that have a score: the others below are dropped */
    uint64_t dropped, truncated;
    uint64_t ties;              /* a preference of exactly 1/2 */
    uint64_t prompts;           /* different ones */
    uint64_t tokens;
    gram_interval accuracy, flip_rate, first_seat, longer;  /* NAN where there are no rows to ask */
    double confidence, ece;
    gr_eval_bin bin[GR_EVAL_BINS];
} gr_eval_stats;

/* The numbers of the n rows row[index[0..n)]. */
gram_status gr_eval_stats_of(const gr_eval_row *row, const size_t *index, size_t n, gr_eval_stats *out,
                             gram_err *err);

double gr_eval_right(const gr_eval_row *r);         /* 1, 1/2 or 0 as above */

typedef struct { uint64_t cluster; double x; } gr_eval_value;
/* The mean of v[n] and its interval; v is sorted by cluster on return. */
gram_interval gr_eval_mean(gr_eval_value *v, size_t n);
/* The mean of paired differences in [-1, 1], and its interval (compare.h) before that is kept in there, infinite where
 * all are of one cluster; n > 0, and v is sorted by cluster on return. */
gram_interval gr_eval_paired(gr_eval_value *v, size_t n);
/* sum w x over sum w, and its interval; parts without a value are left out. */
gram_interval gr_eval_combine(const gram_interval *part, const double *weight, size_t n);
gram_interval gr_eval_wilson(double x, double n);
double gr_eval_t975(double degrees);                /* 97.5 % point of Student's t; a whole number >= 1 */

#endif
