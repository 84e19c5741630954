/* forward.c - run packed rows through the layers.
 *
 * A layer is three passes, each a set of tasks that write apart from each other:
 *
 *     project   by blocks of rows: norm, q k v, the norms of q and k, rope
 *     attend    by runs of queries and key/value heads, over the spans of the segment's path
 *     mix       by blocks of rows: output projection, residual, norm, gated MLP, residual
 *
 * so that a block's activations stay in the cache from one product to the next, and only x, q, k, v and o are as
 * long as the batch. The number of rows in a block, the threads and the order of tasks change no bit: every
 * kernel's result for a row depends on that row alone. */
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "model/model_int.h"
#include "op/op.h"

#define BLOCK_BYTES ((size_t)16 << 20)      /* of a thread's scratch: bounds the rows of a block */
#define BLOCK_TILES 4                       /* more gain nothing: a weight's slice is then well reused */

/* Queries [first, first + n) of a segment; their q and o are the rows from `row` on. */
struct run { size_t seg, first, n, row; };

struct worker {
    unsigned char *scratch;
    gr_kv_span *span;           /* [max_spans of the forest] */
    gram_err err;
    gram_status rc;
};

struct gr_work {
    const gr_model *m;
    gr_pool *pool;
    size_t rows;                /* capacity, a multiple of GR_TILE */
    float *x, *q, *k, *v, *o, *xw;
    int32_t *pos;               /* [rows], of the rows in q */
    size_t table_pos;           /* positions that the rope tables hold */
    float *table[2];
    struct worker *worker;      /* [pool size] */
    size_t block;               /* rows of a block at most, a multiple of GR_TILE */
    size_t scratch_bytes;
    size_t spans;
    struct run *run;
    size_t runs;

    /* Of the forward that is under way: */
    const gr_forest *f;
    const struct layer *l;
    size_t layer, n_rows;       /* rows to work on, before rounding up to tiles */
    size_t tiles, blocks;       /* of those rows, and the blocks that share the tiles out */
    float *cur;                 /* x or xw: the residual stream of those rows */
    bool kv, qo;                /* which projections the pass makes */
};

/* The rows of a block, as many as keep a thread's scratch within bounds. */
static size_t block_rows(const gr_config *c)
{
    size_t row = (2 * c->width + 2 * c->hidden) * sizeof(float);
    size_t tiles = BLOCK_BYTES / (row * GR_TILE);

    return GR_TILE * gr_max(1, gr_min(tiles, BLOCK_TILES));
}

/* Floats of the two halves of a block's scratch: h and t [block, C], gate and up [block, F]. */
static size_t block_floats(const gr_config *c, size_t block)
{
    return 2 * gr_round_up(block * c->width, 16) + 2 * gr_round_up(block * c->hidden, 16);
}

static size_t worker_scratch(const gr_model *m, size_t block)
{
    const gr_config *c = &m->cfg;
    size_t linear = 0;

    for (size_t i = 0; i < c->layers; i++) {
        const struct layer *l = &m->layer[i];
        const gr_linear *const each[] = { l->q, l->k, l->v, l->o, l->gate, l->up, l->down };
        for (size_t j = 0; j < GR_COUNT(each); j++)
            linear = gr_max(linear, gr_linear_scratch(each[j], block));
    }
    return gr_max(block_floats(c, block) * sizeof(float) + gr_round_up(linear, GR_ALIGN),
                  gr_round_up(gr_attn_scratch(c->head_dim, c->heads / c->kv_heads), GR_ALIGN));
}

static uint64_t row_floats(const gr_config *c)
{
    return 2 * c->width + 2 * c->heads * c->head_dim + 2 * c->kv_heads * c->head_dim;
}

uint64_t gr_config_work_bytes(const gr_config *c, size_t rows, size_t threads)
{
    size_t block = block_rows(c);

    return ((uint64_t)gr_round_up(rows, GR_TILE) * row_floats(c) + (uint64_t)threads * block_floats(c, block)) *
           sizeof(float);
}

gram_status gr_work_open(gr_work **out, const gr_model *m, gr_pool *pool, gram_err *err)
{
    gr_work *w = gr_calloc(1, sizeof *w);
    size_t threads = gr_pool_size(pool);

    *out = NULL;
    if (!w)
        return gr_nomem(err, "forward pass");
    w->m = m;
    w->pool = pool;
    w->block = block_rows(&m->cfg);
    w->scratch_bytes = worker_scratch(m, w->block);
    w->worker = gr_calloc(threads, sizeof *w->worker);
    for (size_t i = 0; w->worker && i < threads; i++)
        if (!(w->worker[i].scratch = gr_alloc_aligned(w->scratch_bytes, 1))) {
            gr_work_close(w);
            return gr_nomem(err, "forward pass");
        }
    if (!w->worker) {
        gr_work_close(w);
        return gr_nomem(err, "forward pass");
    }
    *out = w;
    return GRAM_OK;
}

static void rows_clear(gr_work *w)
{
    free(w->x);
    free(w->q);
    free(w->k);
    free(w->v);
    free(w->o);
    free(w->xw);
    free(w->pos);
    free(w->run);
    w->x = w->q = w->k = w->v = w->o = w->xw = NULL;
    w->pos = NULL;
    w->run = NULL;
    w->rows = 0;
}

void gr_work_close(gr_work *w)
{
    if (!w)
        return;
    rows_clear(w);
    free(w->table[0]);
    free(w->table[1]);
    for (size_t i = 0; w->worker && i < gr_pool_size(w->pool); i++) {
        free(w->worker[i].scratch);
        free(w->worker[i].span);
    }
    free(w->worker);
    free(w);
}

const gr_config *gr_work_config(const gr_work *w)
{
    return &w->m->cfg;
}

const gr_model *gr_work_model(const gr_work *w)
{
    return w->m;
}

gr_pool *gr_work_pool(const gr_work *w)
{
    return w->pool;
}

/* Rotation tables for positions 0 .. n-1. */
static gram_status grow_tables(gr_work *w, size_t n, gram_err *err)
{
    const gr_config *c = &w->m->cfg;

    if (n <= w->table_pos)
        return GRAM_OK;
    n = gr_max(n, gr_min(2 * w->table_pos, c->context));
    w->table_pos = 0;
    for (size_t i = 0; i < 2; i++) {
        free(w->table[i]);
        w->table[i] = NULL;
        if (!c->inv_freq[i])
            continue;
        w->table[i] = gr_alloc_aligned(n * c->head_dim, sizeof(float));
        if (!w->table[i])
            return gr_nomem(err, "rotary tables");
        gr_rope_table(w->table[i], c->inv_freq[i], 0, n, c->head_dim, c->rope_scale[i]);
    }
    w->table_pos = n;
    return GRAM_OK;
}

/* Memory for the forest f of which `n_want` rows are asked for. */
static gram_status reserve(gr_work *w, const gr_forest *f, size_t n_want, gram_err *err)
{
    const gr_config *c = &w->m->cfg;
    size_t rows = gr_round_up(gr_max(f->rows, n_want), GR_TILE), q = c->heads * c->head_dim;
    size_t kv = c->kv_heads * c->head_dim;
    gram_status rc = grow_tables(w, f->max_len, err);

    if (rc)
        return rc;
    if (f->max_spans > w->spans) {
        for (size_t i = 0; i < gr_pool_size(w->pool); i++) {
            free(w->worker[i].span);
            w->worker[i].span = gr_calloc(f->max_spans, sizeof *w->worker[i].span);
            if (!w->worker[i].span) {
                w->spans = 0;
                return gr_nomem(err, "forward pass");
            }
        }
        w->spans = f->max_spans;
    }
    if (rows <= w->rows)
        return GRAM_OK;
    rows_clear(w);
    w->x = gr_alloc_aligned(rows * c->width, sizeof(float));
    w->xw = gr_alloc_aligned(rows * c->width, sizeof(float));
    w->q = gr_alloc_aligned(rows * q, sizeof(float));
    w->o = gr_alloc_aligned(rows * q, sizeof(float));
    w->k = gr_alloc_aligned(rows * kv, sizeof(float));
    w->v = gr_alloc_aligned(rows * kv, sizeof(float));
    w->pos = gr_calloc(rows, sizeof *w->pos);
    w->run = gr_calloc(rows, sizeof *w->run);       /* a run has at least one row */
    if (!w->x || !w->xw || !w->q || !w->o || !w->k || !w->v || !w->pos || !w->run) {
        rows_clear(w);
        return gr_fail(err, GRAM_ENOMEM, "forward pass: out of memory for %zu rows", rows);
    }
    w->rows = rows;
    return GRAM_OK;
}

static void embed_rows(gr_work *w)
{
    const gr_config *c = &w->m->cfg;
    const gr_tensor *e = &w->m->embed;
    size_t row_bytes = 0;

    gr_dtype_row_bytes(e->type, c->width, &row_bytes);      /* proved when the file was opened */
    for (size_t r = 0; r < w->f->rows; r++) {
        float *x = w->x + r * c->width;
        gr_dequant(x, (const char *)e->data + (size_t)w->f->token[r] * row_bytes, e->type, c->width);
        if (c->embed_scale != 1)
            for (size_t i = 0; i < c->width; i++)
                x[i] *= c->embed_scale;
    }
}

/* Rows beyond the last that a tile is filled up with: any finite numbers will do, and zeros are. */
static void pad_rows(float *x, size_t rows, size_t width)
{
    memset(x + rows * width, 0, (gr_round_up(rows, GR_TILE) - rows) * width * sizeof *x);
}

static void linears(struct worker *me, const gr_linear_to *to, size_t n, const float *x, size_t ldx, size_t M,
                    void *scratch)
{
    if (!me->rc)
        me->rc = gr_linears_fwd(to, n, x, ldx, M, scratch, &me->err);
}

static void linear(struct worker *me, const gr_linear *l, float *y, size_t ldy, const float *x, size_t ldx, size_t M,
                   void *scratch)
{
    linears(me, &(gr_linear_to){ l, y, ldy, NULL }, 1, x, ldx, M, scratch);
}

/* Normalises the heads of rows [r, r+n) of x, as rows of their own, and rotates them. */
static void norm_and_rotate(const gr_work *w, float *x, size_t H, const float *norm, size_t r, size_t n)
{
    const gr_config *c = &w->m->cfg;
    size_t D = c->head_dim, ld = H * D;

    if (norm)
        gr_kern.rmsnorm_fwd(x + r * ld, D, NULL, x + r * ld, D, norm, c->norm_bias, n * H, D, c->rms_eps);
    gr_kern.rope_fwd(x + r * ld, ld, w->pos + r, w->table[c->sliding[w->layer] && w->table[1]], n, H, D,
                     c->rope_interleaved);
}

/* The first row of a block, or the end of the one before. */
static size_t block_row(const gr_work *w, size_t block)
{
    return gr_min(w->tiles * block / w->blocks * GR_TILE, w->n_rows);
}

static void project(void *arg, size_t task, size_t worker)
{
    gr_work *w = arg;
    const gr_config *c = &w->m->cfg;
    struct worker *me = &w->worker[worker];
    size_t C = c->width, q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim, r = block_row(w, task);
    size_t n = block_row(w, task + 1) - r, M = gr_round_up(n, GR_TILE);
    float *h = (float *)(void *)me->scratch;
    void *scratch = me->scratch + block_floats(c, w->block) * sizeof(float);
    const gr_linear_to to[] = { { w->l->k, w->k + r * kv, kv, NULL }, { w->l->v, w->v + r * kv, kv, NULL },
                                { w->l->q, w->q + r * q, q, NULL } };

    gr_kern.rmsnorm_fwd(h, C, NULL, w->cur + r * C, C, w->l->attn_norm, c->norm_bias, M, C, c->rms_eps);
    linears(me, w->kv ? to : to + 2, (w->kv ? 2 : 0) + (w->qo ? 1 : 0), h, C, M, scratch);
    if (w->qo)
        norm_and_rotate(w, w->q, c->heads, w->l->q_norm, r, n);
    if (w->kv)
        norm_and_rotate(w, w->k, c->kv_heads, w->l->k_norm, r, n);
}

/* The keys and values that a run's queries see, in the order of their positions: cached nodes, then the rows of the
 * segments on the path. `col` is the first column of the head. */
static size_t spans_of(const gr_work *w, const struct run *run, size_t col, gr_kv_span *span)
{
    const gr_config *c = &w->m->cfg;
    const gr_segment *seg = w->f->seg;
    gr_kv_at at = seg[run->seg].at;
    size_t kv = c->kv_heads * c->head_dim, n = 0, rows = run->first + run->n;

    for (size_t s = run->seg; s != GR_NO_SEGMENT; s = seg[s].parent) {
        if (rows)
            span[n++] = (gr_kv_span){ w->k + seg[s].row * kv + col, w->v + seg[s].row * kv + col, kv, rows };
        rows = seg[s].parent == GR_NO_SEGMENT ? 0 : seg[seg[s].parent].len - seg[seg[s].parent].cached;
    }
    for (const gr_kv_node *node = at.node; node; node = gr_kv_parent(node)) {
        span[n++] = (gr_kv_span){ gr_kv_keys(node, w->layer) + col, gr_kv_values(node, w->layer) + col, kv,
                                  node == at.node ? at.used : gr_kv_count(node) };
    }
    for (size_t i = 0, j = n; i + 1 < j--; i++) {           /* collected from the last to the first */
        gr_kv_span swap = span[i];
        span[i] = span[j];
        span[j] = swap;
    }
    return n;
}

static void attend(void *arg, size_t task, size_t worker)
{
    gr_work *w = arg;
    const gr_config *c = &w->m->cfg;
    struct worker *me = &w->worker[worker];
    const struct run *run = &w->run[task / c->kv_heads];
    size_t head = task % c->kv_heads, D = c->head_dim, G = c->heads / c->kv_heads, q = c->heads * D, n;
    const gr_segment *seg = &w->f->seg[run->seg];

    n = spans_of(w, run, head * D, me->span);
    gr_kern.attn_fwd(w->o + run->row * q + head * G * D, q, NULL, w->q + run->row * q + head * G * D, q, run->n,
                     seg->pos + seg->cached + run->first, me->span, n, D, G, c->attn_scale,
                     c->sliding[w->layer] ? c->window : 0, me->scratch);
}

/* x += t. n is a multiple of 16, and steps of a constant length are what the compiler makes vectors of. */
static void add(float *restrict x, const float *restrict t, size_t n)
{
    for (size_t i = 0; i < n; i += 16)
        for (size_t j = 0; j < 16; j++)
            x[i + j] += t[i + j];
}

static void mix(void *arg, size_t task, size_t worker)
{
    gr_work *w = arg;
    const gr_config *c = &w->m->cfg;
    struct worker *me = &w->worker[worker];
    const struct layer *l = w->l;
    size_t C = c->width, F = c->hidden, q = c->heads * c->head_dim, r = block_row(w, task);
    size_t M = gr_round_up(block_row(w, task + 1) - r, GR_TILE);
    float *x = w->cur + r * C, *h = (float *)(void *)me->scratch, *t = h + gr_round_up(w->block * C, 16);
    float *gate = t + gr_round_up(w->block * C, 16), *up = gate + gr_round_up(w->block * F, 16);
    void *scratch = me->scratch + block_floats(c, w->block) * sizeof(float);
    const gr_linear_to gate_up[] = { { l->gate, gate, F, NULL }, { l->up, up, F, NULL } };

    linear(me, l->o, t, C, w->o + r * q, q, M, scratch);
    if (l->attn_post_norm)
        gr_kern.rmsnorm_fwd(t, C, NULL, t, C, l->attn_post_norm, c->norm_bias, M, C, c->rms_eps);
    add(x, t, M * C);
    gr_kern.rmsnorm_fwd(h, C, NULL, x, C, l->mlp_norm, c->norm_bias, M, C, c->rms_eps);
    linears(me, gate_up, GR_COUNT(gate_up), h, C, M, scratch);
    (c->geglu ? gr_kern.geglu_fwd : gr_kern.swiglu_fwd)(gate, gate, up, F, M, F);
    linear(me, l->down, t, C, gate, F, M, scratch);
    if (l->mlp_post_norm)
        gr_kern.rmsnorm_fwd(t, C, NULL, t, C, l->mlp_post_norm, c->norm_bias, M, C, c->rms_eps);
    add(x, t, M * C);
}

/* Longest first, so that no thread is left with a long one at the end. */
static int by_cost(const void *pa, const void *pb)
{
    const struct run *a = pa, *b = pb;

    return a->first + a->n != b->first + b->n ? (a->first + a->n > b->first + b->n ? -1 : 1) :
           a->row < b->row ? -1 : a->row > b->row;
}

/* Cuts the query rows row[0..n) (NULL: all rows, in order) into runs that lie within one segment. */
static void make_runs(gr_work *w, const size_t *row, size_t n)
{
    w->runs = 0;
    for (size_t i = 0; i < n; ) {
        size_t r = row ? row[i] : i, s = gr_forest_segment(w->f, r), j = i + 1;
        const gr_segment *seg = &w->f->seg[s];
        while (j < n && j - i < GR_ATTN_QUERIES && (row ? row[j] : j) == r + (j - i) &&
               r + (j - i) < seg->row + seg->len - seg->cached)
            j++;
        w->run[w->runs++] = (struct run){ s, r - seg->row, j - i, i };
        i = j;
    }
    qsort(w->run, w->runs, sizeof *w->run, by_cost);
}

/* As many blocks for each thread, the same number of tiles in each but for one: no thread waits long for another,
 * however few the rows are. */
static void blocks(gr_work *w, gr_task_fn *fn, size_t rows)
{
    size_t threads = gr_pool_size(w->pool), round = threads * (w->block / GR_TILE);

    w->n_rows = rows;
    w->tiles = (rows + GR_TILE - 1) / GR_TILE;
    w->blocks = gr_min(w->tiles, threads * ((w->tiles + round - 1) / round));
    gr_pool_run(w->pool, fn, w, w->blocks);
}

/* Copies the rows that the cache keeps, once a layer has made them. */
static void save_kv(gr_work *w)
{
    size_t kv = w->m->cfg.kv_heads * w->m->cfg.head_dim;

    for (size_t i = 0; i < w->f->n_segs; i++) {
        const gr_segment *s = &w->f->seg[i];
        size_t bytes = (s->len - s->cached) * kv * sizeof *w->k;
        if (!s->save)
            continue;
        memcpy(gr_kv_keys(s->save, w->layer), w->k + s->row * kv, bytes);
        memcpy(gr_kv_values(s->save, w->layer), w->v + s->row * kv, bytes);
    }
}

static void all_layers(gr_work *w, const size_t *want, size_t n)
{
    const gr_config *c = &w->m->cfg;

    w->cur = w->x;
    memcpy(w->pos, w->f->pos, w->f->rows * sizeof *w->pos);
    make_runs(w, NULL, w->f->rows);
    for (w->layer = 0; w->layer < c->layers; w->layer++) {
        bool last = w->layer == c->layers - 1;
        size_t rows = w->f->rows;

        w->l = &w->m->layer[w->layer];
        w->kv = true;
        w->qo = !last;
        blocks(w, project, rows);
        save_kv(w);
        if (last) {                         /* only what is asked for goes on */
            for (size_t i = 0; i < n; i++) {
                memcpy(w->xw + i * c->width, w->x + want[i] * c->width, c->width * sizeof *w->x);
                w->pos[i] = w->f->pos[want[i]];
            }
            rows = n;
            pad_rows(w->xw, rows, c->width);
            pad_rows(w->o, rows, c->heads * c->head_dim);
            w->cur = w->xw;
            w->kv = false;
            w->qo = true;
            blocks(w, project, rows);
            make_runs(w, want, n);
        }
        gr_pool_run(w->pool, attend, w, w->runs * c->kv_heads);
        blocks(w, mix, rows);
    }
}

gram_status gr_model_forward(gr_work *w, const gr_forest *f, const size_t *want, size_t n,
                             const float **hidden, gram_err *err)
{
    const gr_config *c = &w->m->cfg;
    gram_status rc;

    for (size_t r = 0; r < f->rows; r++)
        if (f->token[r] < 0 || (size_t)f->token[r] >= c->vocabulary)
            return gr_fail(err, GRAM_EARG, "token %d is not in the model's vocabulary of %zu", (int)f->token[r],
                           c->vocabulary);
    rc = reserve(w, f, n, err);
    if (rc)
        return rc;
    w->f = f;
    embed_rows(w);
    pad_rows(w->x, f->rows, c->width);
    pad_rows(w->o, f->rows, c->heads * c->head_dim);
    all_layers(w, want, n);
    for (size_t i = 0; i < gr_pool_size(w->pool); i++)
        if (w->worker[i].rc) {
            if (err)
                *err = w->worker[i].err;
            rc = w->worker[i].rc;
            w->worker[i].rc = GRAM_OK;
        }
    if (rc)
        return rc;
    gr_kern.rmsnorm_fwd(w->xw, c->width, NULL, w->xw, c->width, w->m->final_norm, c->norm_bias, n, c->width,
                        c->rms_eps);
    *hidden = w->xw;
    return GRAM_OK;
}
