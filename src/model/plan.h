/* plan.h - what a forward pass computes: rows of any texts, where each stands in its text, the keys that it sees, and
 * where its own keys and values are kept.
 *
 * A pass has its own rows' keys and values of the layer at hand in store 0; pages of the prefix tree are store 1. Said
 * once, a plan is the same in every layer. Its arrays grow and stay from pass to pass. */
#ifndef GR_MODEL_PLAN_H
#define GR_MODEL_PLAN_H

#include "model/forest.h"

enum { GR_STORE_PASS, GR_STORE_PAGES };

/* Rows [row, row + n) go to a page, from its row `first` on. */
typedef struct { size_t row, n; uint32_t page, first; } gr_put;

typedef struct {
    size_t rows;
    int32_t *token, *angle;         /* [rows] angle: row of the tables of rope */
    gr_attn_run *run;               /* of the queries, each within one text */
    gr_put *put;                    /* in the order of their rows */
    size_t runs, puts;
    size_t *want;                   /* [n_want] rows that are asked for: they alone go past the last layer's keys */
    int32_t *want_angle;
    gr_attn_run *want_run;          /* of them, as rows 0 .. n_want - 1 */
    size_t n_want, want_runs;
    gr_attn_span *span;             /* of all runs */
    size_t spans;
    size_t angles;                  /* rows of rope's tables */
    const gr_pages *pages;          /* NULL: there is no tree */
    struct { size_t row, want, run, want_run, put, span; } cap;
} gr_plan;

/* The rows of a forest. f is borrowed for as long as the plan is used. longest: runs are ordered so that the longest
 * come first and no thread is left with one at the end; otherwise by their rows, one for each row that is asked for. */
gram_status gr_plan_forest(gr_plan *p, const gr_forest *f, const size_t *want, size_t n_want, bool longest,
                           gram_err *err);
void gr_plan_clear(gr_plan *p);

/* For a backward pass: run i of the keys, which are p->run, is seen by the runs run[from[i]] .. run[from[i + 1] - 1] of
 * the queries: p->run, or p->want_run. */
typedef struct { size_t *from, *run, cap_from, cap_run; } gr_seen;
gram_status gr_seen_forest(gr_seen *s, const gr_plan *p, const gr_forest *f, bool wanted, gram_err *err);
void gr_seen_clear(gr_seen *s);

#endif
