/* attn_int.h - what the builds of attention share: a walk over the keys of the spans, and where things lie in
 * scratch. */
#ifndef GR_OP_ATTN_INT_H
#define GR_OP_ATTN_INT_H

#include "base/mem.h"
#include "op/attn.h"

enum {
    GR_ATTN_KEYS = 128,      /* keys in a block */
    GR_ATTN_ROWS = 6,       /* rows (a query of a head each) in a register tile */
    GR_ATTN_LANES = 16,     /* of the widest build */
    GR_ATTN_PANEL = 64      /* columns of a panel: of the widest build */
};

#define LOG2E_EXACT 1.4426950408889634
#define LOG2E ((float)LOG2E_EXACT)

typedef struct { const gr_kv_span *span; size_t at; } gr_kv_walk;       /* row `at` of span is next */

static inline void gr_kv_skip(gr_kv_walk *w, size_t n)
{
    for (; n >= w->span->n - w->at && n > 0; w->at = 0)
        n -= w->span++->n - w->at;
    w->at += n;
}

/* The next key; its value goes to *v. */
static inline const float *gr_kv_next(gr_kv_walk *w, const float **v)
{
    while (w->at == w->span->n) {
        w->span++;
        w->at = 0;
    }
    *v = w->span->v + w->at * w->span->ldk;
    return w->span->k + w->at++ * w->span->ldk;
}

/* Keys first .. are those that the query at pos sees. */
static inline size_t gr_attn_first(size_t pos, size_t window)
{
    return window && pos >= window ? pos - window + 1 : 0;
}

/* Dv is D rounded up to whole vectors, Dp to whole panels; R the rows, nq*G rounded up to whole tiles. */
typedef struct {
    float *kt;              /* [KEYS/PANEL, D, PANEL] the block's keys, transposed; columns without a key are 0 */
    float *v;               /* [Dp/PANEL, KEYS, PANEL] its values, or 0 */
    float *zero;            /* [Dv] what a missing key holds */
    float *q;               /* [R, D] scaled queries */
    float *o;               /* [R, Dv] sums of values, to be divided by the sum of weights */
    float *top;             /* [R] largest score so far */
    float *sum;             /* [R, LANES] sums of weights, lane by lane */
    size_t *pos;            /* [R] the absolute position of the row's query */
    size_t bytes;
} gr_attn_layout;

static inline float *gr_attn_place(char *base, size_t *used, size_t n)
{
    size_t at = *used;

    *used += gr_round_up(n * sizeof(float), GR_ALIGN);
    return base ? (float *)(void *)(base + at) : NULL;
}

/* base NULL: only bytes is of use. */
static inline gr_attn_layout gr_attn_lay(void *base, size_t nq, size_t D, size_t G)
{
    size_t R = gr_round_up(nq * G, GR_ATTN_ROWS), Dv = gr_round_up(D, GR_ATTN_LANES);
    size_t Dp = gr_round_up(D, GR_ATTN_PANEL);
    gr_attn_layout s = { 0 };

    s.kt   = gr_attn_place(base, &s.bytes, D * GR_ATTN_KEYS);
    s.v    = gr_attn_place(base, &s.bytes, GR_ATTN_KEYS * Dp);
    s.zero = gr_attn_place(base, &s.bytes, Dv);
    s.q    = gr_attn_place(base, &s.bytes, R * D);
    s.o    = gr_attn_place(base, &s.bytes, R * Dv);
    s.top  = gr_attn_place(base, &s.bytes, R);
    s.sum  = gr_attn_place(base, &s.bytes, R * GR_ATTN_LANES);
    s.pos  = (size_t *)(void *)gr_attn_place(base, &s.bytes, R * sizeof *s.pos / sizeof(float));
    return s;
}

/* Backward: rows are queries and columns keys for dq, the other way round for dkv. */
typedef struct {
    float *ct[2];           /* [D, KEYS] the block's columns, transposed: k v, or q do */
    float *c[2];            /* [KEYS, Dv] the same as rows */
    float *zero;            /* [Dv] what a missing column holds */
    float *r[2];            /* [R, D] the rows: q do, or k v */
    float *d[2];            /* [R, Dv] sums: dq, or dk dv */
    float *lse, *delta;     /* [max(R, KEYS)] of the rows, or of the columns */
    size_t bytes;
} gr_attn_bwd_layout;

static inline gr_attn_bwd_layout gr_attn_bwd_lay(void *base, size_t rows, size_t D)
{
    size_t R = gr_round_up(rows, GR_ATTN_ROWS), Dv = gr_round_up(D, GR_ATTN_LANES);
    gr_attn_bwd_layout s = { 0 };

    for (int i = 0; i < 2; i++) {
        s.ct[i] = gr_attn_place(base, &s.bytes, D * GR_ATTN_KEYS);
        s.c[i]  = gr_attn_place(base, &s.bytes, GR_ATTN_KEYS * Dv);
        s.r[i]  = gr_attn_place(base, &s.bytes, R * D);
        s.d[i]  = gr_attn_place(base, &s.bytes, R * Dv);
    }
    s.zero  = gr_attn_place(base, &s.bytes, Dv);
    s.lse   = gr_attn_place(base, &s.bytes, gr_max(R, GR_ATTN_KEYS));
    s.delta = gr_attn_place(base, &s.bytes, gr_max(R, GR_ATTN_KEYS));
    return s;
}

#endif
