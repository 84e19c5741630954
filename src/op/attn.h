/* attn.h - causal attention with an online softmax: no T x T matrix, grouped queries, sliding window.
 *
 *   s[i,j] = scale * q[i] . k[j]            for j <= i and, with a window, j > i - window
 *   o[i]   = sum_j p[i,j] v[j]          p[i,j] = exp(s[i,j] - lse[i]),  lse[i] = log sum_j exp(s[i,j])
 *
 * One call of forward computes the nq queries of one segment for one key/value head and the G query heads that share
 * it. The keys of positions 0, 1, 2, ... are the rows of the spans, one after the other: a prefix that other
 * sequences share, then the segment's own rows. Query t of the call has absolute position pos0 + t
 * and sees the keys 0 .. pos0 + t. Keys are walked in blocks aligned to absolute positions, so a query's
 * bits do not depend on how its prefix is cut into spans, nor on the other queries of the call.
 *
 * Backward makes p again from q, k and lse, once by queries and once by keys, so that nothing is added to from two
 * sides and no sum depends on threads:
 *
 *   delta[i] = do[i] . o[i]                                        (= sum_j p[i,j] dp[i,j])
 *   ds[i,j]  = p[i,j] (do[i] . v[j] - delta[i])
 *   dq[i]    = scale * sum_j ds[i,j] k[j]                          a call for a run of queries, as forward
 *   dk[j]    = scale * sum_i ds[i,j] q[i]                          a call for GR_ATTN_QUERIES keys, over all
 *   dv[j]    = sum_i p[i,j] do[i]                                  queries, of all runs and heads, that see them
 *
 * Each number is one sum, query after query or key after key: how queries and keys are cut into calls, spans and
 * runs changes no bit of it, only their order does.
 *
 *   shapes    q o dq do [nq, G*D], rows ldq, ldo, lddq, lddo apart (head g at column g*D)    lse delta [nq, G]
 *             k v of a span: [n, D], rows ldk (both) apart
 *             spans hold at least pos0 + nq keys together
 *             scratch: gr_attn_scratch(D, G) bytes, GR_ALIGN-aligned, one for each thread */
#ifndef GR_OP_ATTN_H
#define GR_OP_ATTN_H

#include <stddef.h>

#define GR_ATTN_QUERIES 128      /* nq at most in one call; callers cut longer segments at any place */

typedef struct { const float *k, *v; size_t ldk, n; } gr_kv_span;

/* lse may be NULL. */
typedef void gr_attn_fwd_fn(float *o, size_t ldo, float *lse, const float *q, size_t ldq, size_t nq, size_t pos0,
                            const gr_kv_span *span, size_t n_spans, size_t D, size_t G,
                            float scale, size_t window /* 0: none */, void *scratch);
gr_attn_fwd_fn gr_attn_fwd_ref, gr_attn_fwd_avx2, gr_attn_fwd_avx512;

/* dq is overwritten; delta is written for dkv. */
typedef void gr_attn_dq_fn(float *dq, size_t lddq, float *delta, const float *dout, size_t lddo, const float *o,
                           size_t ldo, const float *lse, const float *q, size_t ldq, size_t nq, size_t pos0,
                           const gr_kv_span *span, size_t n_spans, size_t D, size_t G, float scale, size_t window,
                           void *scratch);
gr_attn_dq_fn gr_attn_dq_ref, gr_attn_dq_avx2, gr_attn_dq_avx512;

/* Queries pos0 .. pos0 + n - 1 as dkv sees them: the G heads of one key/value head, rows of q and dout ldq apart. */
typedef struct { const float *q, *dout, *lse, *delta; size_t ldq, n, pos0; } gr_q_span;

/* The nk <= GR_ATTN_QUERIES keys at positions kpos0 .. and their values; dk dv [nk,D] are overwritten. Runs that see
 * none of the keys may be among the runs. */
typedef void gr_attn_dkv_fn(float *dk, float *dv, size_t lddk, const float *k, const float *v, size_t ldk, size_t nk,
                            size_t kpos0, const gr_q_span *run, size_t n_runs, size_t D, size_t G, float scale,
                            size_t window, void *scratch);
gr_attn_dkv_fn gr_attn_dkv_ref, gr_attn_dkv_avx2, gr_attn_dkv_avx512;

size_t gr_attn_scratch(size_t D, size_t G);             /* enough for each of the three */

#endif
