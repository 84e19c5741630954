/* attn.c - a pass of attention on a CPU: its tasks, each a run of queries or keys and a key/value head, by the kernels
 * for one such; and the scratch that every build of these fits into. */
#include "op/attn_int.h"
#include "op/op.h"

size_t gr_attn_scratch(size_t D, size_t G)
{
    return gr_max(gr_attn_lay(NULL, GR_ATTN_QUERIES, D, G).bytes,
                  gr_attn_bwd_lay(NULL, gr_max(GR_ATTN_QUERIES * G, GR_ATTN_QUERIES), D).bytes);
}

/* The numbers of a run and a head in lse or delta. */
static float *of_head(const gr_attn_pass *a, float *x, size_t head, size_t row)
{
    return x ? x + (head * a->lse_rows + row) * a->shape.G : NULL;
}

/* Where the spans of a run lie in this layer, for a head. */
static const gr_kv_span *place(gr_lane *lane, const gr_attn_pass *a, const gr_attn_run *run, size_t head)
{
    gr_kv_span *span = gr_lane_bytes(lane, run->n_spans * sizeof *span);

    for (size_t i = 0; span && i < run->n_spans; i++) {
        const gr_attn_span *s = &a->span[run->span + i];
        const gr_attn_store *in = &a->store[s->store];
        const float *row = (const float *)in->page[s->page] + s->first * in->ld + head * a->shape.D;
        span[i] = (gr_kv_span){ row + in->k, row + in->v, in->ld, s->n };
    }
    return span;
}

typedef void task_fn(gr_lane *lane, const gr_attn_pass *a, size_t run, size_t head, void *scratch);

static void each(gr_lane *lane, const gr_attn_pass *a, size_t first, size_t n, task_fn *task)
{
    void *scratch = gr_lane_bytes(lane, gr_attn_scratch(a->shape.D, a->shape.G));
    size_t mark = gr_lane_mark(lane);

    for (size_t i = first; i < first + n && !lane->rc; i++) {
        task(lane, a, i / a->kv_heads, i % a->kv_heads, scratch);
        gr_lane_give_back(lane, mark);
    }
}

static void fwd(gr_lane *lane, const gr_attn_pass *a, size_t i, size_t head, void *scratch)
{
    const gr_attn_run *run = &a->run[i];
    const gr_kv_span *span = place(lane, a, run, head);
    size_t col = head * a->shape.G * a->shape.D;

    if (span)
        lane->op->attn_run_fwd(gr_mat_at(a->o, run->row, col), of_head(a, a->lse, head, run->row),
                               gr_mat_at(a->q, run->row, col), run->n, run->pos0, span, &a->shape, scratch);
}

static void dq(gr_lane *lane, const gr_attn_pass *a, size_t i, size_t head, void *scratch)
{
    const gr_attn_run *run = &a->run[i];
    const gr_kv_span *span = place(lane, a, run, head);
    size_t col = head * a->shape.G * a->shape.D;

    if (span)
        lane->op->attn_run_dq(gr_mat_at(a->dq, run->row, col), of_head(a, a->delta, head, run->row),
                              gr_mat_at(a->dout, run->row, col), gr_mat_at(a->o, run->row, col),
                              of_head(a, a->lse, head, run->row), gr_mat_at(a->q, run->row, col), run->n, run->pos0,
                              span, &a->shape, scratch);
}

static void dkv(gr_lane *lane, const gr_attn_pass *a, size_t i, size_t head, void *scratch)
{
    const gr_attn_run *keys = &a->key_run[i];
    size_t from = a->seen_from[i], n = a->seen_from[i + 1] - from, at = head * a->shape.D, col = at * a->shape.G;
    gr_q_span *query = gr_lane_bytes(lane, n * sizeof *query);

    for (size_t k = 0; query && k < n; k++) {
        const gr_attn_run *run = &a->run[a->seen[from + k]];
        query[k] = (gr_q_span){ gr_f32(gr_mat_at(a->q, run->row, col)), gr_f32(gr_mat_at(a->dout, run->row, col)),
                                of_head(a, a->lse, head, run->row), of_head(a, a->delta, head, run->row), a->q.ld,
                                run->n, run->pos0 };
    }
    if (query)
        lane->op->attn_run_dkv(gr_mat_at(a->dk, keys->row, at), gr_mat_at(a->dv, keys->row, at),
                               gr_mat_at(a->k, keys->row, at), gr_mat_at(a->v, keys->row, at), keys->n, keys->pos0,
                               query, n, &a->shape, scratch);
}

void gr_attn_fwd_cpu(gr_lane *lane, const gr_attn_pass *a, size_t first, size_t n)
{
    each(lane, a, first, n, fwd);
}

void gr_attn_dq_cpu(gr_lane *lane, const gr_attn_pass *a, size_t first, size_t n)
{
    each(lane, a, first, n, dq);
}

void gr_attn_dkv_cpu(gr_lane *lane, const gr_attn_pass *a, size_t first, size_t n)
{
    each(lane, a, first, n, dkv);
}
