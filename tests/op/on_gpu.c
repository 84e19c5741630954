/* on_gpu.c - see on_gpu.h. */
#include <string.h>
#include "gpu.h"
#include "op/on_gpu.h"

static gr_device *gpu;
static bool half;                       /* of the call under way */

/* ---- What a call brings to the device -------------------------------------------------------------- */

static struct piece { char *host, *dev; size_t bytes; bool out, half; } piece[64];
static size_t pieces;

static float widen(uint16_t h)
{
    uint32_t u = (uint32_t)h << 16;
    float x;

    memcpy(&x, &u, sizeof x);
    return x;
}

/* float32 to the device, as bfloat16 where the piece is. */
static void put(const struct piece *p)
{
    uint16_t *h;

    if (!p->half) {
        gr_device_put(gpu, p->dev, p->host, p->bytes);
        return;
    }
    h = malloc(p->bytes / 2 + 1);
    assert_non_null(h);
    assert_true(gr_quantize(h, GR_BF16, (const float *)(const void *)p->host, p->bytes / 4));
    gr_device_put(gpu, p->dev, h, p->bytes / 2);
    free(h);
}

static void get(const struct piece *p)
{
    uint16_t *h;

    if (!p->half) {
        gr_device_get(gpu, p->host, p->dev, p->bytes);
        return;
    }
    h = malloc(p->bytes / 2 + 1);
    assert_non_null(h);
    gr_device_get(gpu, h, p->dev, p->bytes / 2);
    for (size_t i = 0; i < p->bytes / 4; i++)
        ((float *)(void *)p->host)[i] = widen(h[i]);
    free(h);
}

/* Where these bytes are on the device; what two arguments share is there once. */
static void *bring_as(const void *host, size_t bytes, bool out, bool as_half)
{
    struct piece *p = piece;
    char *at = (char *)(uintptr_t)host;
    void *dev;

    if (!at || bytes == 0)
        return at;
    for (; p < piece + pieces; p++)
        if (at < p->host + p->bytes && p->host < at + bytes) {
            assert_true(at >= p->host && at + bytes <= p->host + p->bytes);
            p->out |= out;
            return p->dev + (p->half ? (size_t)(at - p->host) / 2 : (size_t)(at - p->host));
        }
    assert_true(pieces < GR_COUNT(piece));
    CHECK_OK(gr_device_alloc(gpu, &dev, as_half ? bytes / 2 : bytes, &check_err));
    *p = (struct piece){ at, dev, bytes, out, as_half };
    put(p);
    pieces++;
    return dev;
}

static void *bring(const void *host, size_t bytes, bool out)
{
    return bring_as(host, bytes, out, false);
}

static gr_mat mat(gr_mat m, size_t N, size_t C, bool out)
{
    m.p = bring_as(m.p, N > 0 && C > 0 ? ((N - 1) * m.ld + C) * 4 : 0, out, half);
    m.type = half ? GR_BF16 : GR_F32;
    return m;
}

static gr_lane *begin(void)
{
    assert_int_equal(pieces, 0);
    return gr_device_lane(gpu);
}

/* What the first order of threads has made of the pieces that come back. */
static char *made[GR_COUNT(piece)];

static char *fetch(const struct piece *p)
{
    size_t bytes = p->half ? p->bytes / 2 : p->bytes;
    char *x = malloc(bytes);

    assert_non_null(x);
    gr_device_get(gpu, x, p->dev, bytes);
    return x;
}

static void keep_made(void)
{
    for (size_t i = 0; i < pieces; i++) {
        made[i] = piece[i].out ? fetch(&piece[i]) : NULL;
        put(&piece[i]);
    }
}

static void compare_made(const char *call)
{
    for (size_t i = 0; i < pieces; i++) {
        char *x = piece[i].out ? fetch(&piece[i]) : NULL;
        if (x && memcmp(x, made[i], piece[i].half ? piece[i].bytes / 2 : piece[i].bytes))
            fail_msg("%s: another order of threads gives other bits", call);
        free(x);
        free(made[i]);
    }
}

/* EACH_ORDER CALL: the call with threads in ascending order and, on what was there before, in another one, by turns
 * descending and random: a GPU keeps to none, and what has a race has other bits. A GPU that is one is asked once. */
#define EACH_ORDER for (int order_ = 0; next_order(order_, __func__); order_++)
static bool next_order(int turn, const char *call)
{
    static unsigned calls;

    CHECK_OK(gr_device_wait(gpu, &check_err));
    if (turn == 0) {
        gpu_order(GPU_ASCENDING);
        return true;
    }
    if (turn == 1 && gpu_order(calls++ % 2 ? GPU_RANDOM : GPU_DESCENDING)) {
        keep_made();
        return true;
    }
    if (turn == 2)
        compare_made(call);
    gpu_order(GPU_AS_ASKED);
    return false;
}

static void end(void)
{
    CHECK_OK(gr_device_wait(gpu, &check_err));
    for (; pieces > 0; pieces--) {
        const struct piece *p = &piece[pieces - 1];
        if (p->out)
            get(p);
        gr_device_free(gpu, p->dev);
    }
}

/* ---- Kernels --------------------------------------------------------------------------------------- */

static void rmsnorm_fwd(gr_lane *none, gr_mat y, float *r, gr_mat x, const gr_norm *norm, size_t N)
{
    gr_lane *lane = begin();
    const gr_norm n = { bring(norm->w, norm->C * 4, false), norm->bias, norm->eps, norm->C };

    (void)none;
    r = bring(r, N * 4, true);
    x = mat(x, N, n.C, false);
    EACH_ORDER lane->op->rmsnorm_fwd(lane, mat(y, N, n.C, true), r, x, &n, N);
    end();
}

static void rmsnorm_bwd(gr_lane *none, gr_mat dx, float *dw, gr_mat dy, gr_mat x, const float *r, const gr_norm *norm,
                        size_t N, bool sum)
{
    gr_lane *lane = begin();
    const gr_norm n = { bring(norm->w, norm->C * 4, false), norm->bias, norm->eps, norm->C };

    (void)none;
    dw = bring(dw, n.C * 4, true);
    dy = mat(dy, N, n.C, false);
    x = mat(x, N, n.C, false);
    r = bring(r, N * 4, false);
    EACH_ORDER lane->op->rmsnorm_bwd(lane, mat(dx, N, n.C, true), dw, dy, x, r, &n, N, sum);
    end();
}

static void add_norm(gr_lane *none, gr_mat y, float *r, gr_mat x, gr_mat a, gr_mat b, const gr_norm *norm, size_t N)
{
    gr_lane *lane = begin();
    const gr_norm n = { bring(norm->w, norm->C * 4, false), norm->bias, norm->eps, norm->C };

    (void)none;
    r = bring(r, N * 4, true);
    a = mat(a, N, n.C, false);
    b = mat(b, N, n.C, false);
    x = mat(x, N, n.C, true);
    EACH_ORDER lane->op->add_norm(lane, mat(y, N, n.C, true), r, x, a, b, &n, N);
    end();
}

static size_t table_rows(const int32_t *pos, size_t N)
{
    size_t rows = 0;

    for (size_t n = 0; n < N; n++)
        rows = gr_max(rows, (size_t)pos[n] + 1);
    return rows;
}

static void rope_fwd(gr_lane *none, gr_mat x, const int32_t *pos, const float *table, size_t N, size_t H, size_t D,
                     size_t R, bool interleaved)
{
    gr_lane *lane = begin();

    (void)none;
    table = bring(table, table_rows(pos, N) * R * 4, false);
    EACH_ORDER lane->op->rope_fwd(lane, mat(x, N, H * D, true), pos, table, N, H, D, R, interleaved);
    end();
}

static void rope_bwd(gr_lane *none, gr_mat x, const int32_t *pos, const float *table, size_t N, size_t H, size_t D,
                     size_t R, bool interleaved)
{
    gr_lane *lane = begin();

    (void)none;
    table = bring(table, table_rows(pos, N) * R * 4, false);
    EACH_ORDER lane->op->rope_bwd(lane, mat(x, N, H * D, true), pos, table, N, H, D, R, interleaved);
    end();
}

static void heads_fwd(gr_lane *none, gr_mat y, gr_mat x, const gr_heads *h, size_t N)
{
    gr_lane *lane = begin();
    gr_heads on = *h;

    (void)none;
    on.norm.w = bring(h->norm.w, h->norm.C * 4, false);
    on.r = bring(h->r, N * (h->H * h->D / h->norm.C) * 4, true);
    on.table = bring(h->table, table_rows(h->pos, N) * h->R * 4, false);
    x = mat(x, N, h->H * h->D, false);
    EACH_ORDER lane->op->heads_fwd(lane, mat(y, N, h->H * h->D, true), x, &on, N);
    end();
}

static void glu_fwd(gr_glu_fwd_fn *fn, gr_lane *lane, gr_mat y, gr_mat gate, gr_mat up, size_t N, size_t F)
{
    gate = mat(gate, N, F, false);
    up = mat(up, N, F, false);
    EACH_ORDER fn(lane, mat(y, N, F, true), gate, up, N, F);
    end();
}

static void swiglu_fwd(gr_lane *none, gr_mat y, gr_mat gate, gr_mat up, size_t N, size_t F)
{
    gr_lane *lane = begin();

    (void)none;
    glu_fwd(lane->op->swiglu_fwd, lane, y, gate, up, N, F);
}

static void geglu_fwd(gr_lane *none, gr_mat y, gr_mat gate, gr_mat up, size_t N, size_t F)
{
    gr_lane *lane = begin();

    (void)none;
    glu_fwd(lane->op->geglu_fwd, lane, y, gate, up, N, F);
}

static void glu_bwd(gr_glu_bwd_fn *fn, gr_lane *lane, gr_mat dgate, gr_mat dup, gr_mat dy, gr_mat gate, gr_mat up,
                    size_t N, size_t F)
{
    dy = mat(dy, N, F, false);
    gate = mat(gate, N, F, false);
    up = mat(up, N, F, false);
    dgate = mat(dgate, N, F, true);
    EACH_ORDER fn(lane, dgate, mat(dup, N, F, true), dy, gate, up, N, F);
    end();
}

static void swiglu_bwd(gr_lane *none, gr_mat dgate, gr_mat dup, gr_mat dy, gr_mat gate, gr_mat up, size_t N, size_t F)
{
    gr_lane *lane = begin();

    (void)none;
    glu_bwd(lane->op->swiglu_bwd, lane, dgate, dup, dy, gate, up, N, F);
}

static void geglu_bwd(gr_lane *none, gr_mat dgate, gr_mat dup, gr_mat dy, gr_mat gate, gr_mat up, size_t N, size_t F)
{
    gr_lane *lane = begin();

    (void)none;
    glu_bwd(lane->op->geglu_bwd, lane, dgate, dup, dy, gate, up, N, F);
}

static void cap_fwd(gr_lane *none, gr_mat y, gr_mat x, float cap, size_t N, size_t V)
{
    gr_lane *lane = begin();

    (void)none;
    x = mat(x, N, V, false);
    EACH_ORDER lane->op->cap_fwd(lane, mat(y, N, V, true), x, cap, N, V);
    end();
}

static void cap_bwd(gr_lane *none, gr_mat d, gr_mat y, float cap, size_t N, size_t V)
{
    gr_lane *lane = begin();

    (void)none;
    y = mat(y, N, V, false);
    EACH_ORDER lane->op->cap_bwd(lane, mat(d, N, V, true), y, cap, N, V);
    end();
}

static void ce_fwd(gr_lane *none, gr_mat z, const int32_t *t, double *loss, gr_ce_sum *sum, size_t N, size_t V)
{
    gr_lane *lane = begin();

    (void)none;
    EACH_ORDER lane->op->ce_fwd(lane, mat(z, N, V, true), t, loss, sum, N, V);
    end();
}

static void ce_bwd(gr_lane *none, gr_mat z, const int32_t *t, const float *wt, const gr_ce_sum *sum, size_t N, size_t V)
{
    gr_lane *lane = begin();

    (void)none;
    EACH_ORDER lane->op->ce_bwd(lane, mat(z, N, V, true), t, wt, sum, N, V);
    end();
}

static void ce(gr_lane *none, gr_mat z, const int32_t *t, const float *wt, double *loss, gr_ce_sum *sum, size_t N,
               size_t V)
{
    gr_lane *lane = begin();

    (void)none;
    EACH_ORDER lane->op->ce(lane, mat(z, N, V, true), t, wt, loss, sum, N, V);
    end();
}

/* By two slices, of which the first may be empty. */
static void adamw(const gr_adamw_slice *s)
{
    gr_lane *lane = begin();
    size_t n = s->n / 3, type = gr_dtype_bytes(s->type), kept = gr_dtype_bytes(s->kept);
    gr_adamw_slice a = *s, b;

    a.w = bring(s->w, s->n * type, true);
    a.m = bring(s->m, s->n * kept, true);
    a.v = bring(s->v, s->n * kept, true);
    a.g = bring(s->g, s->n * 4, false);
    b = a;
    a.n = n;
    b.n -= n;
    b.w = (char *)a.w + n * type;
    b.m = (char *)a.m + n * kept;
    b.v = (char *)a.v + n * kept;
    b.g += n;
    b.at += (uint32_t)n;
    EACH_ORDER lane->op->adamw_slices(lane, (gr_adamw_slice[]){ a, b }, 2);
    end();
}

static void squares(gr_lane *none, const float *x, size_t n, double *out)
{
    gr_lane *lane = begin();
    double sum[2];

    (void)none;
    x = bring(x, n * 4, false);
    EACH_ORDER lane->op->squares_slices(lane, (gr_squares_slice[]){ { x, n / 2 }, { x, n } }, 2, sum);
    end();
    *out = sum[1];
}

static void adamw_slices(gr_lane *none, const gr_adamw_slice *s, size_t n)
{
    gr_lane *lane = begin();
    gr_adamw_slice on[8];

    (void)none;
    assert_true(n <= GR_COUNT(on));
    for (size_t i = 0; i < n; i++) {
        size_t kept = s[i].n * gr_dtype_bytes(s[i].kept);
        on[i] = s[i];
        on[i].w = bring(s[i].w, s[i].n * gr_dtype_bytes(s[i].type), true);
        on[i].m = bring(s[i].m, kept, true);
        on[i].v = bring(s[i].v, kept, true);
        on[i].g = bring(s[i].g, s[i].n * 4, false);
    }
    EACH_ORDER lane->op->adamw_slices(lane, on, n);
    end();
}

static void rank_sum(gr_lane *none, float *y, const float *came, size_t ld, size_t own, size_t P, size_t n)
{
    gr_lane *lane = begin();

    (void)none;
    y = bring(y, n * 4, true);
    EACH_ORDER lane->op->rank_sum(lane, y, bring(came, ((P - 1) * ld + n) * 4, false), ld, own, P, n);
    end();
}

static void dropout_fwd(gr_lane *none, gr_mat y, gr_mat x, uint64_t key, const uint64_t *row_key, size_t N, size_t C,
                        double p)
{
    gr_lane *lane = begin();

    (void)none;
    x = mat(x, N, C, false);
    EACH_ORDER lane->op->dropout_fwd(lane, mat(y, N, C, true), x, key, row_key, N, C, p);
    end();
}

static void dropout_bwd(gr_lane *none, gr_mat dx, gr_mat dy, uint64_t key, const uint64_t *row_key, size_t N, size_t C,
                        double p)
{
    gr_lane *lane = begin();

    (void)none;
    dy = mat(dy, N, C, false);
    EACH_ORDER lane->op->dropout_bwd(lane, mat(dx, N, C, true), dy, key, row_key, N, C, p);
    end();
}

/* ---- Rows ------------------------------------------------------------------------------------------ */

static size_t rows_of(const size_t *row, size_t N)
{
    size_t rows = 0;

    for (size_t n = 0; n < N; n++)
        rows = gr_max(rows, row[n] + 1);
    return rows;
}

static void add(gr_lane *none, gr_mat y, gr_mat a, gr_mat b, size_t N, size_t C)
{
    gr_lane *lane = begin();

    (void)none;
    a = mat(a, N, C, false);
    b = mat(b, N, C, false);
    EACH_ORDER lane->op->add(lane, mat(y, N, C, true), a, b, N, C);
    end();
}

static void gather(gr_lane *none, gr_mat y, gr_mat x, const size_t *row, size_t N, size_t C)
{
    gr_lane *lane = begin();

    (void)none;
    x = mat(x, rows_of(row, N), C, false);
    EACH_ORDER lane->op->gather(lane, mat(y, N, C, true), x, row, N, C);
    end();
}

static void scatter(gr_lane *none, gr_mat y, gr_mat x, const size_t *row, size_t N, size_t C)
{
    gr_lane *lane = begin();

    (void)none;
    x = mat(x, N, C, false);
    EACH_ORDER lane->op->scatter(lane, mat(y, rows_of(row, N), C, true), x, row, N, C);
    end();
}

static void place(gr_lane *none, gr_mat y, gr_mat x, const size_t *row, size_t N, size_t C)
{
    gr_lane *lane = begin();

    (void)none;
    x = mat(x, N, C, false);
    EACH_ORDER lane->op->place(lane, mat(y, rows_of(row, N), C, true), x, row, N, C);
    end();
}

static void embed(gr_lane *none, gr_mat y, const gr_tensor *table, const int32_t *token, float scale, size_t N)
{
    gr_lane *lane = begin();
    gr_tensor there = *table;
    size_t bytes = 0;

    (void)none;
    gr_dtype_row_bytes(table->type, table->cols, &bytes);
    there.data = bring(table->data, table->rows * bytes, false);
    EACH_ORDER lane->op->embed(lane, mat(y, N, table->cols, true), &there, token, scale, N);
    end();
}

static void unembed(gr_lane *none, gr_mat table, gr_mat y, const int32_t *token, float scale, size_t N, size_t C)
{
    gr_lane *lane = begin();

    (void)none;
    y = mat(y, N, C, false);
    EACH_ORDER lane->op->unembed(lane, mat(table, table_rows(token, N), C, true), y, token, scale, N, C);
    end();
}

static void copy(gr_lane *none, gr_mat y, gr_mat x, size_t N, size_t C)
{
    gr_lane *lane = begin();

    (void)none;
    x = mat(x, N, C, false);
    EACH_ORDER lane->op->copy(lane, mat(y, N, C, true), x, N, C);
    end();
}

static void zero(gr_lane *none, gr_mat y, size_t N, size_t C)
{
    gr_lane *lane = begin();

    (void)none;
    EACH_ORDER lane->op->zero(lane, mat(y, N, C, true), N, C);
    end();
}

static void scale(gr_lane *none, gr_mat y, float s, size_t N, size_t C)
{
    gr_lane *lane = begin();

    (void)none;
    EACH_ORDER lane->op->scale(lane, mat(y, N, C, true), s, N, C);
    end();
}

/* ---- Experts --------------------------------------------------------------------------------------- */

static void route_fwd(gr_lane *none, gr_mat p, int32_t *chosen, gr_mat w, gr_mat z, size_t N, size_t E, size_t k,
                      bool norm)
{
    gr_lane *lane = begin();

    (void)none;
    p = mat(p, N, E, true);
    w = mat(w, N, k, true);
    EACH_ORDER lane->op->route_fwd(lane, p, chosen, w, mat(z, N, E, false), N, E, k, norm);
    end();
}

static void route_bwd(gr_lane *none, gr_mat dz, gr_mat dw, gr_mat p, const int32_t *chosen, gr_mat w, size_t N,
                      size_t E, size_t k, bool norm)
{
    gr_lane *lane = begin();

    (void)none;
    dz = mat(dz, N, E, true);
    dw = mat(dw, N, k, false);
    p = mat(p, N, E, false);
    EACH_ORDER lane->op->route_bwd(lane, dz, dw, p, chosen, mat(w, N, k, false), N, E, k, norm);
    end();
}

static void weigh(gr_lane *none, gr_mat d, gr_mat dy, gr_mat dw, gr_mat act, gr_mat w, const size_t *at, size_t n,
                  size_t M, size_t F, size_t C)
{
    gr_lane *lane = begin();
    size_t k = rows_of(at, n);

    (void)none;
    d = mat(d, M, F, true);
    dy = mat(dy, M, C, true);
    dw.p = bring(dw.p, k * 4, true);
    act = mat(act, n, F, false);
    w.p = bring(w.p, k * 4, false);
    EACH_ORDER lane->op->weigh(lane, d, dy, dw, act, w, at, n, M, F, C);
    end();
}

static void blend(gr_lane *none, gr_mat y, gr_mat x, gr_mat v, gr_mat w, size_t N, size_t k, size_t C)
{
    gr_lane *lane = begin();

    (void)none;
    x = mat(x, N, C, false);
    v = mat(v, N * k, C, false);
    w = mat(w, N, k, false);
    EACH_ORDER lane->op->blend(lane, mat(y, N, C, true), x, v, w, N, k, C);
    end();
}

/* ---- Attention: a run and a head as a pass ---------------------------------------------------------- */

enum { SPANS = 512 };
static void *page[GR_ATTN_STORES][SPANS];
static gr_attn_span at_span[SPANS];

/* The first `need` keys of the spans in pages of two stores, by turns; a page of one begins with keys, of the other
 * with values. Returns how many spans there are. */
static size_t bring_keys(gr_attn_pass *a, const gr_kv_span *span, size_t need)
{
    size_t n = 0, most = 0, ld = span->ldk, used[GR_ATTN_STORES] = { 0 };

    for (size_t have = 0; have < need; have += span[n++].n)
        most = gr_max(most, span[n].n);
    assert_true(n <= SPANS);
    for (size_t i = 0; i < n; i++) {
        size_t store = i % GR_ATTN_STORES, rows = span[i].n, floats = (most + rows) * ld;
        float *host = check_fenced(gr_max(floats, 1) * sizeof *host);
        const float *first = store ? span[i].v : span[i].k, *second = store ? span[i].k : span[i].v;
        for (size_t r = 0; r < rows; r++) {
            memcpy(host + r * ld, first + r * span[i].ldk, a->shape.D * sizeof *host);
            memcpy(host + (most + r) * ld, second + r * span[i].ldk, a->shape.D * sizeof *host);
        }
        page[store][used[store]] = bring_as(host, rows > 0 ? floats * 4 : 0, false, half);
        at_span[i] = (gr_attn_span){ (uint32_t)store, (uint32_t)used[store]++, 0, (uint32_t)rows };
    }
    a->span = at_span;
    a->store[0] = (gr_attn_store){ page[0], 0, most * ld, ld };
    a->store[1] = (gr_attn_store){ page[1], most * ld, 0, ld };
    return n;
}

static void attn_run_fwd(gr_mat o, float *lse, gr_mat q, size_t nq, size_t pos0, const gr_kv_span *span,
                         const gr_attn_shape *s, void *scratch)
{
    gr_lane *lane = begin();
    gr_attn_run run = { 0, nq, pos0, 0, 0 };
    gr_attn_pass a = { .shape = *s, .kv_heads = 1, .run = &run, .runs = 1, .lse_rows = nq };

    (void)scratch;
    run.n_spans = bring_keys(&a, span, pos0 + nq);
    a.q = mat(q, nq, s->G * s->D, false);
    a.o = mat(o, nq, s->G * s->D, true);
    a.lse = bring(lse, nq * s->G * 4, true);
    EACH_ORDER lane->op->attn_fwd(lane, &a, 0, 1);
    end();
}

static void attn_run_dq(gr_mat dq, float *delta, gr_mat dout, gr_mat o, const float *lse, gr_mat q, size_t nq,
                        size_t pos0, const gr_kv_span *span, const gr_attn_shape *s, void *scratch)
{
    gr_lane *lane = begin();
    gr_attn_run run = { 0, nq, pos0, 0, 0 };
    gr_attn_pass a = { .shape = *s, .kv_heads = 1, .run = &run, .runs = 1, .lse_rows = nq };

    (void)scratch;
    run.n_spans = bring_keys(&a, span, pos0 + nq);
    a.q = mat(q, nq, s->G * s->D, false);
    a.o = mat(o, nq, s->G * s->D, false);
    a.dout = mat(dout, nq, s->G * s->D, false);
    a.dq = mat(dq, nq, s->G * s->D, true);
    a.lse = bring(lse, nq * s->G * 4, false);
    a.delta = bring(delta, nq * s->G * 4, true);
    EACH_ORDER lane->op->attn_dq(lane, &a, 0, 1);
    end();
}

/* All runs of queries as rows of one matrix. */
static void bring_queries(gr_attn_pass *a, gr_attn_run *run, size_t *seen, const gr_q_span *of, size_t n)
{
    size_t row = 0, wide = a->shape.G * a->shape.D, G = a->shape.G, rows = 0;
    float *q, *dout, *lse, *delta;

    for (size_t i = 0; i < n; i++)
        rows += of[i].n;
    q = check_fenced(gr_max(1, rows * wide) * 4);
    dout = check_fenced(gr_max(1, rows * wide) * 4);
    lse = check_fenced(gr_max(1, rows * G) * 4);
    delta = check_fenced(gr_max(1, rows * G) * 4);
    for (size_t i = 0; i < n; row += of[i++].n) {
        run[i] = (gr_attn_run){ row, of[i].n, of[i].pos0, 0, 0 };
        seen[i] = i;
        for (size_t r = 0; r < of[i].n; r++) {
            memcpy(q + (row + r) * wide, of[i].q + r * of[i].ldq, wide * 4);
            memcpy(dout + (row + r) * wide, of[i].dout + r * of[i].ldq, wide * 4);
        }
        memcpy(lse + row * G, of[i].lse, of[i].n * G * 4);
        memcpy(delta + row * G, of[i].delta, of[i].n * G * 4);
    }
    a->q = mat(gr_mat_f32(q, wide), rows, wide, false);
    a->dout = mat(gr_mat_f32(dout, wide), rows, wide, false);
    a->lse = bring(lse, rows * G * 4, false);
    a->delta = bring(delta, rows * G * 4, false);
    a->lse_rows = rows;
    a->run = run;
    a->runs = n;
    a->seen = seen;
}

static void attn_run_dkv(gr_mat dk, gr_mat dv, gr_mat k, gr_mat v, size_t nk, size_t kpos0, const gr_q_span *of,
                         size_t n, const gr_attn_shape *s, void *scratch)
{
    static gr_attn_run run[SPANS];
    static size_t seen[SPANS];
    gr_lane *lane = begin();
    const gr_attn_run keys = { 0, nk, kpos0, 0, 0 };
    const size_t from[] = { 0, n };
    gr_attn_pass a = { .shape = *s, .kv_heads = 1, .key_run = &keys, .key_runs = 1, .seen_from = from };

    (void)scratch;
    assert_true(n <= SPANS);
    bring_queries(&a, run, seen, of, n);
    a.k = mat(k, nk, s->D, false);
    a.v = mat(v, nk, s->D, false);
    a.dk = mat(dk, nk, s->D, true);
    a.dv = mat(dv, nk, s->D, true);
    EACH_ORDER lane->op->attn_dkv(lane, &a, 0, 1);
    end();
}

/* ---- Tables ---------------------------------------------------------------------------------------- */

static const struct gr_kern table = {
    .add = add, .gather = gather, .scatter = scatter, .place = place, .embed = embed, .unembed = unembed, .copy = copy,
    .zero = zero, .scale = scale, .dropout_fwd = dropout_fwd, .dropout_bwd = dropout_bwd, .rmsnorm_fwd = rmsnorm_fwd,
    .add_norm = add_norm, .rmsnorm_bwd = rmsnorm_bwd, .rope_fwd = rope_fwd, .rope_bwd = rope_bwd,
    .heads_fwd = heads_fwd, .swiglu_fwd = swiglu_fwd,
    .geglu_fwd = geglu_fwd, .swiglu_bwd = swiglu_bwd, .geglu_bwd = geglu_bwd, .cap_fwd = cap_fwd, .cap_bwd = cap_bwd,
    .ce = ce, .ce_fwd = ce_fwd, .ce_bwd = ce_bwd, .route_fwd = route_fwd, .route_bwd = route_bwd, .weigh = weigh,
    .blend = blend, .adamw_slices = adamw_slices, .adamw = adamw, .squares = squares,
    .rank_sum = rank_sum,
    .attn_run_fwd = attn_run_fwd, .attn_run_dq = attn_run_dq, .attn_run_dkv = attn_run_dkv,
};

/* The build leaves the library out where there is no C++ compiler. */
static bool is_there(void)
{
    char path[4096];

    gpu_set_up();
    snprintf(path, sizeof path, "%s/libgram-cuda.so", getenv("GRAM_CUDA_PATH"));
    return access(path, R_OK) == 0;
}

static gr_device *opened[2];                /* as it is, and with a Hopper's own products */

static void close_gpu(void)
{
    for (size_t i = 0; i < GR_COUNT(opened); i++)
        gr_device_close(opened[i]);
}

static const struct gr_kern *ready(bool as_half, bool hopper)
{
    static bool asked[2];

    if (!asked[hopper]) {
        opened[hopper] = is_there() ? hopper ? gpu_open_hopper() : gpu_open() : NULL;
        if (opened[hopper] && !asked[!hopper])
            atexit(close_gpu);                  /* after the library's own, which is called last */
    }
    asked[hopper] = true;
    gpu = opened[hopper];
    half = as_half;
    return gpu ? &table : NULL;
}

const struct gr_kern *on_gpu(void)
{
    return ready(false, false);
}

const struct gr_kern *on_gpu_bf16(void)
{
    return ready(true, false);
}

const struct gr_kern *on_hopper_bf16(void)
{
    return ready(true, true);
}
