/* attn.h - causal attention with an online softmax: no T x T matrix, grouped queries, sliding window, capped scores.
 *
 *   s[i,j] = scale * q[i] . k[j]            for j <= i and, with a window, j > i - window
 *   s[i,j] = cap tanh(s[i,j] / cap)         with a cap (op/cap.h)
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
 *   ds[i,j]  = p[i,j] (do[i] . v[j] - delta[i])                    times 1 - (s[i,j] / cap)^2 with a cap
 *   dq[i]    = scale * sum_j ds[i,j] k[j]                          a call for a run of queries, as forward
 *   dk[j]    = scale * sum_i ds[i,j] q[i]                          a call for GR_ATTN_QUERIES keys, over all
 *   dv[j]    = sum_i p[i,j] do[i]                                  queries, of all runs and heads, that see them
 *
 * Each number is one sum, query after query or key after key: how queries and keys are cut into calls, spans and
 * runs changes no bit of it, only their order does.
 *
 *   shapes    q o dq do [nq, G*D] (head g at column g*D)    lse delta [nq, G]
 *             k v of a span: [n, D], rows ldk (both) apart
 *             spans hold at least pos0 + nq keys together
 *             scratch: gr_attn_scratch(D, G) bytes, GR_ALIGN-aligned
 *
 * That is what a CPU has for a run of queries and one key/value head. A lane is asked for a pass: all runs and heads of
 * a layer, of which it makes some. Its keys and values lie in pages, which a span names by their number: a pass is said
 * once and is the same in every layer but for where in a page the layer's rows are. */
#ifndef GR_OP_ATTN_H
#define GR_OP_ATTN_H

#include "tensor/device.h"

#define GR_ATTN_QUERIES 128      /* nq at most in one call; callers cut longer segments at any place */

typedef struct { size_t D, G, window /* 0: none */; float scale, cap /* 0: none */; } gr_attn_shape;

/* ---- A pass ---------------------------------------------------------------------------------------- */

/* Queries of rows [row, row + n) at positions pos0 ..; the keys of positions 0 .. are those of n_spans spans from
 * `span` on, one after the other. There may be more keys than the run sees. */
typedef struct { size_t row, n, pos0, span, n_spans; } gr_attn_run;
/* Rows [first, first + n) of a page of a store. */
typedef struct { uint32_t store, page, first, n; } gr_attn_span;
/* The pages of a store, and where in each of them the keys and values of the layer begin, in numbers; rows ld apart. */
typedef struct { void *const *page; size_t k, v, ld; } gr_attn_store;

enum { GR_ATTN_STORES = 2 };
typedef struct {
    gr_attn_shape shape;
    size_t kv_heads;
    const gr_attn_run *run;
    size_t runs;
    const gr_attn_span *span;
    gr_attn_store store[GR_ATTN_STORES];
    gr_mat q, o;                /* all heads beside each other */
    float *lse, *delta;         /* [kv_heads][lse_rows, G]: a run's are [n, G]. Forward: lse may be NULL */
    size_t lse_rows;
    /* Backward: dq by runs, then dk and dv by runs of keys, whose rows those of k and v are. Run i of them is seen by
     * the runs of queries seen[seen_from[i]] .. seen[seen_from[i + 1] - 1]. */
    gr_mat dq, dout, k, v, dk, dv;
    const gr_attn_run *key_run;
    size_t key_runs;
    const size_t *seen_from, *seen;
} gr_attn_pass;

/* Tasks [first, first + n) of runs * kv_heads; of key_runs * kv_heads for dkv. */
typedef void gr_attn_fn(gr_lane *lane, const gr_attn_pass *a, size_t first, size_t n);
gr_attn_fn gr_attn_fwd_cpu, gr_attn_dq_cpu, gr_attn_dkv_cpu;

/* ---- A run and a head, on a CPU -------------------------------------------------------------------- */

typedef struct { const float *k, *v; size_t ldk, n; } gr_kv_span;

/* lse may be NULL. */
typedef void gr_attn_run_fwd_fn(gr_mat o, float *lse, gr_mat q, size_t nq, size_t pos0, const gr_kv_span *span,
                                const gr_attn_shape *s, void *scratch);
gr_attn_run_fwd_fn gr_attn_run_fwd_ref, gr_attn_run_fwd_avx2, gr_attn_run_fwd_avx512;

/* dq is overwritten; delta is written for dkv. */
typedef void gr_attn_run_dq_fn(gr_mat dq, float *delta, gr_mat dout, gr_mat o, const float *lse, gr_mat q, size_t nq,
                               size_t pos0, const gr_kv_span *span, const gr_attn_shape *s, void *scratch);
gr_attn_run_dq_fn gr_attn_run_dq_ref, gr_attn_run_dq_avx2, gr_attn_run_dq_avx512;

/* Queries pos0 .. pos0 + n - 1 as dkv sees them: the G heads of one key/value head, rows of q and dout ldq apart. */
typedef struct { const float *q, *dout, *lse, *delta; size_t ldq, n, pos0; } gr_q_span;

/* The nk <= GR_ATTN_QUERIES keys at positions kpos0 .. and their values; dk dv [nk,D], rows as far apart, are
 * overwritten. Runs that see none of the keys may be among the runs. */
typedef void gr_attn_run_dkv_fn(gr_mat dk, gr_mat dv, gr_mat k, gr_mat v, size_t nk, size_t kpos0, const gr_q_span *run,
                                size_t n_runs, const gr_attn_shape *s, void *scratch);
gr_attn_run_dkv_fn gr_attn_run_dkv_ref, gr_attn_run_dkv_avx2, gr_attn_run_dkv_avx512;

size_t gr_attn_scratch(size_t D, size_t G);             /* enough for each of the three */

#endif
