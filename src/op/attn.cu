/* attn.cu - a pass of attention on a GPU (attn.h): its lists, which the host makes of runs and spans, and which kernels
 * have it. bfloat16 rows of a width that tensor cores take go to attn_mma*.cu, all others to attn_simt*.cu; a
 * Hopper's go to attn90*.cu where that is asked for. */
#include <stdlib.h>
#include "op/attn_gpu.cuh"

/* Each row of queries has a warp. */
enum { DELTA_WARPS = 4 };

__global__ void __launch_bounds__(DELTA_WARPS * 32) attn_delta(struct gpu_attn a)
{
    const struct attn_run run = a.run[attn_task(a) / a.kv_heads];
    uint32_t head = attn_head(a), i = blockIdx.y * DELTA_WARPS + threadIdx.x / 32, row = run.row + i / a.G, g = i % a.G;
    size_t col = ((size_t)head * a.G + g) * a.D;
    bool there = i < run.n * a.G;
    float sum = 0;

    for (uint32_t d = threadIdx.x % 32; there && d < a.D; d += 32)
        sum += gpu_get(a.dout, row, col + d) * gpu_get(a.o, row, col + d);
    sum = gpu_warp_sum(sum);
    if (there && threadIdx.x % 32 == 0)
        a.delta[attn_at(a, head, row, g)] = sum;
}

/* A warp for each row of queries: what blocks have left of it, span after span. Of one span it is what a block that has
 * all keys makes. */
enum { WIDEST = 256 };

__global__ void __launch_bounds__(DELTA_WARPS * 32) attn_join(struct gpu_attn a)
{
    const struct attn_run run = a.run[attn_task(a) / a.kv_heads];
    uint32_t head = attn_head(a), m = blockIdx.y * DELTA_WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
    uint32_t row = run.row + m / a.G, pos = run.pos0 + m / a.G, last = pos / ATTN_SPAN;
    const float *part = a.part + ((size_t)blockIdx.x * a.part_rows + m) * a.spans * (a.D + 2);
    uint32_t first = attn_first(a, pos) / ATTN_SPAN;
    float o[WIDEST / 32] = { 0 }, top = GPU_MINUS_INF, sum = 0;

    if (m >= run.n * a.G)
        return;
    part += (size_t)first * (a.D + 2);
    for (uint32_t z = first; z <= last; z++, part += a.D + 2) {
        float t = fmaxf(top, part[0]), keep = gpu_exp2((top - t) * GPU_LOG2E), by = gpu_exp2((part[0] - t) * GPU_LOG2E);
        top = t;
        sum = z == first ? part[1] : gpu_fma(sum, keep, part[1] * by);
#pragma unroll
        for (int i = 0; i < WIDEST / 32; i++)
            if (lane + 32 * i < a.D)
                o[i] = z == first ? part[2 + lane + 32 * i] : gpu_fma(o[i], keep, part[2 + lane + 32 * i] * by);
    }
#pragma unroll
    for (int i = 0; i < WIDEST / 32; i++)
        if (lane + 32 * i < a.D)
            gpu_set(a.o, row, ((size_t)head * a.G + m % a.G) * a.D + lane + 32 * i, o[i] / sum);
    if (a.lse && lane == 0)
        a.lse[attn_at(a, head, row, m % a.G)] = top + logf(sum);
}

/* ---- Lists ----------------------------------------------------------------------------------------- */

/* Runs whose keys are the same spans have one list, as long as the longest of them needs. */
struct owner { size_t span, run, need; };

static int by_span(const void *a, const void *b)
{
    const struct owner *x = (const struct owner *)a, *y = (const struct owner *)b;

    return x->span != y->span ? (x->span < y->span ? -1 : 1) : x->need != y->need ? (x->need > y->need ? -1 : 1) :
           x->run < y->run ? -1 : 1;
}

/* The entries of `need` positions. Returns the bits that any of their addresses has. */
static uint64_t list_keys(uint64_t *key, const gr_attn_pass *a, const gr_attn_run *run, size_t need)
{
    size_t bytes = a->q.type == GR_F32 ? 4 : 2;
    uint64_t any = 0;

    for (const gr_attn_span *s = a->span + run->span; need > 0; s++) {
        const gr_attn_store *in = &a->store[s->store];
        const char *page = (const char *)in->page[s->page];
        for (size_t i = 0; i < s->n && need > 0; i++, need--) {
            uint64_t at = (uint64_t)(uintptr_t)(page + (s->first + i) * in->ld * bytes);
            any |= at | in->k * bytes | in->v * bytes;
            *key++ = at | s->store;
        }
    }
    return any;
}

static size_t place_lists(struct owner *own, struct attn_run *run, size_t runs)
{
    size_t keys = 0;

    qsort(own, runs, sizeof *own, by_span);
    for (size_t i = 0; i < runs; i++) {
        bool leads = i == 0 || own[i].span != own[i - 1].span;
        run[own[i].run].keys = leads ? (uint32_t)keys : run[own[i - 1].run].keys;
        keys += leads ? own[i].need : 0;
        own[i].need = leads ? own[i].need : 0;
    }
    return keys;
}

/* Puts the runs of queries and, where asked, their keys on the device. */
static bool upload(gr_lane *lane, struct gpu_attn *g, const gr_attn_pass *a, bool keys)
{
    struct attn_run *run = (struct attn_run *)calloc(a->runs + 1, sizeof *run);
    struct owner *own = (struct owner *)calloc(a->runs + 1, sizeof *own);
    uint64_t *key = NULL, any = 0;
    size_t n = 0;

    for (size_t i = 0; run && own && i < a->runs; i++) {
        const gr_attn_run *r = &a->run[i];
        run[i] = attn_run{ (uint32_t)r->row, (uint32_t)r->n, (uint32_t)r->pos0, 0 };
        own[i] = owner{ r->span, i, r->n > 0 ? r->pos0 + r->n : 0 };
    }
    if (run && own && keys) {
        n = place_lists(own, run, a->runs);
        key = (uint64_t *)calloc(n + 1, sizeof *key);
        for (size_t i = 0; key && i < a->runs; i++)
            any |= list_keys(key + run[own[i].run].keys, a, &a->run[own[i].run], own[i].need);
        g->keys_fit = any % 16 == 0;
    }
    if (!run || !own || (keys && !key))
        gr_cuda_refuse(lane, "attention: out of memory for lists of keys");
    if (!lane->rc)
        g->run = (const struct attn_run *)gr_cuda_list(lane, run, a->runs * sizeof *run);
    if (!lane->rc && keys)
        g->key = (const uint64_t *)gr_cuda_list(lane, key, n * sizeof *key);
    free(run);
    free(own);
    free(key);
    return !lane->rc;
}

static bool upload_keys(gr_lane *lane, struct gpu_attn *g, const gr_attn_pass *a)
{
    struct attn_run *run = (struct attn_run *)calloc(a->key_runs + 1, sizeof *run);

    if (!run)
        gr_cuda_refuse(lane, "attention: out of memory for lists of keys");
    for (size_t i = 0; run && i < a->key_runs; i++)
        run[i] = attn_run{ (uint32_t)a->key_run[i].row, (uint32_t)a->key_run[i].n, (uint32_t)a->key_run[i].pos0, 0 };
    if (!lane->rc)
        g->key_run = (const struct attn_run *)gr_cuda_list(lane, run, a->key_runs * sizeof *run);
    if (!lane->rc)
        g->seen_from = (const size_t *)gr_cuda_list(lane, a->seen_from, (a->key_runs + 1) * sizeof *a->seen_from);
    if (!lane->rc)
        g->seen = (const size_t *)gr_cuda_list(lane, a->seen, a->seen_from[a->key_runs] * sizeof *a->seen);
    free(run);
    return !lane->rc;
}

static struct gpu_attn args(const gr_attn_pass *a, size_t first)
{
    struct gpu_attn g = {};

    g.q = a->q;
    g.o = a->o;
    g.dq = a->dq;
    g.dout = a->dout;
    g.k = a->k;
    g.v = a->v;
    g.dk = a->dk;
    g.dv = a->dv;
    g.lse = a->lse;
    g.delta = a->delta;
    g.lse_rows = a->lse_rows;
    g.G = (uint32_t)a->shape.G;
    g.D = (uint32_t)a->shape.D;
    g.kv_heads = (uint32_t)a->kv_heads;
    g.window = (uint32_t)a->shape.window;
    g.first = (uint32_t)first;
    g.scale = a->shape.scale;
    g.cap = a->shape.cap;
    for (int i = 0; i < GR_ATTN_STORES; i++) {
        g.store[i].k = a->store[i].k;
        g.store[i].v = a->store[i].v;
    }
    return g;
}

static uint32_t longest(const gr_attn_run *run, size_t runs)
{
    size_t n = 0;

    for (size_t i = 0; i < runs; i++)
        n = gr_max(n, run[i].n);
    return (uint32_t)n;
}

/* ---- A pass ---------------------------------------------------------------------------------------- */

typedef bool launch_fn(const struct attn_launch *l);

static void either(const struct attn_launch *l, launch_fn *mma, launch_fn *simt)
{
    if (!l->lane->rc && l->tasks > 0 && l->rows > 0 && !mma(l) && !simt(l))
        gr_cuda_refuse(l->lane, "attention: heads of more than 256 numbers are not for a GPU yet");
}

/* By a Hopper's own products where these are asked for, or by those of any GPU. */
static bool tensor_fwd(const struct attn_launch *l)
{
    return (gr_cuda_hopper(l->lane) && attn90_fwd(l)) || attn_mma_fwd(l);
}

static bool tensor_dq(const struct attn_launch *l)
{
    return (gr_cuda_hopper(l->lane) && attn90_dq(l)) || attn_mma_dq(l);
}

static bool tensor_dkv(const struct attn_launch *l)
{
    return (gr_cuda_hopper(l->lane) && attn90_dkv(l)) || attn_mma_dkv(l);
}

/* As many tasks at once as there is room for what their blocks leave. */
enum { PART_BYTES = 128 << 20 };

static void fwd_by_spans(const struct attn_launch *of, struct gpu_attn *g, size_t positions)
{
    struct attn_launch l = *of;
    size_t mark = gr_lane_mark(l.lane), each, some;

    g->part_rows = l.rows;
    g->spans = gpu_blocks(positions, ATTN_SPAN);
    each = (size_t)l.rows * g->spans * (g->D + 2) * sizeof *g->part;
    some = gr_min(gr_max(1, PART_BYTES / gr_max(each, 1)), of->tasks);
    g->part = (float *)gr_lane_bytes(l.lane, some * each);
    for (uint32_t at = 0; at < of->tasks && !l.lane->rc; at += l.tasks, g->first += l.tasks) {
        l.tasks = (uint32_t)gr_min(some, of->tasks - at);
        either(&l, tensor_fwd, attn_simt_fwd);
        GPU_RUN(l.lane, attn_join, dim3(l.tasks, gpu_blocks(l.rows, DELTA_WARPS)), dim3(DELTA_WARPS * 32), 0, *g);
    }
    gr_lane_give_back(l.lane, mark);
}

void gr_attn_fwd_cuda(gr_lane *lane, const gr_attn_pass *a, size_t first, size_t n)
{
    struct gpu_attn g = args(a, first);
    struct attn_launch l = { lane, &g, (uint32_t)n, longest(a->run, a->runs) * g.G };
    size_t positions = 0;

    if (n == 0 || l.rows == 0 || !upload(lane, &g, a, true))
        return;
    for (size_t i = 0; i < a->runs; i++)
        positions = gr_max(positions, a->run[i].pos0 + a->run[i].n);
    if (positions > ATTN_SPAN)
        fwd_by_spans(&l, &g, positions);
    else
        either(&l, tensor_fwd, attn_simt_fwd);
}

void gr_attn_dq_cuda(gr_lane *lane, const gr_attn_pass *a, size_t first, size_t n)
{
    struct gpu_attn g = args(a, first);
    struct attn_launch l = { lane, &g, (uint32_t)n, longest(a->run, a->runs) * g.G };

    if (n == 0 || l.rows == 0 || !upload(lane, &g, a, true))
        return;
    GPU_RUN(lane, attn_delta, dim3((unsigned)n, gpu_blocks(l.rows, DELTA_WARPS)), dim3(DELTA_WARPS * 32), 0, g);
    either(&l, tensor_dq, attn_simt_dq);
}

void gr_attn_dkv_cuda(gr_lane *lane, const gr_attn_pass *a, size_t first, size_t n)
{
    struct gpu_attn g = args(a, first);
    struct attn_launch l = { lane, &g, (uint32_t)n, longest(a->key_run, a->key_runs) };

    if (n > 0 && upload(lane, &g, a, false) && upload_keys(lane, &g, a))
        either(&l, tensor_dkv, attn_simt_dkv);
}
