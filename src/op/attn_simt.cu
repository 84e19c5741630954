/* attn_simt.cu - attention in float32 for heads of any width up to 256: four threads have a row. Forward with an online
 * softmax; backward once by queries and once by keys, so that nothing is added to from two sides. */
#include "op/attn_gpu.cuh"

enum { ROWS = 32, COLS = 16, QUAD = 4, THREADS = ROWS * QUAD };     /* COLS: of a tile that passes by */

/* Rows of shared memory, D + 1 floats apart, so that eight rows lie in eight banks; and ROWS x COLS weights. */
GPU_FN float *tile_at(float *shared, uint32_t rows, uint32_t D) { return shared + rows * (D + 1); }
static size_t bytes_of(uint32_t rows, uint32_t D)
{
    return (rows * (D + 1) + ROWS * (COLS + 1) + 2 * COLS) * sizeof(float);
}

/* Which row of the block's run a thread has: its query, head and position. */
struct row { uint32_t query, g, pos, quad, at; bool there; };

GPU_FN struct row row_of(const struct gpu_attn &a, const struct attn_run &run)
{
    uint32_t at = threadIdx.x / QUAD, m = blockIdx.y * ROWS + at, query = m / a.G;

    return row{ query, m % a.G, run.pos0 + query, threadIdx.x % QUAD, at, query < run.n };
}

GPU_FN size_t row_col(const struct gpu_attn &a, uint32_t head, uint32_t g) { return ((size_t)head * a.G + g) * a.D; }

/* The block's rows of q, do or the like. */
GPU_FN void load_rows(float *to, const struct gpu_attn &a, const gr_mat &m, const struct attn_run &run, uint32_t head,
                      uint32_t first, uint32_t rows)
{
    for (uint32_t i = threadIdx.x; i < rows * a.D; i += THREADS) {
        uint32_t r = i / a.D, d = i % a.D, at = first + r;
        bool there = at / a.G < run.n;
        to[r * (a.D + 1) + d] = there ? gpu_get(m, run.row + at / a.G, row_col(a, head, at % a.G) + d) : 0;
    }
}

/* Keys and values of positions [at, at + COLS), those within [first, last]; zeros for the others. */
GPU_FN void load_keys(float *k, float *v, const struct gpu_attn &a, const struct attn_run &run, uint32_t head,
                      uint32_t at, uint32_t first, uint32_t last)
{
    bool half = a.q.type != GR_F32;

    for (uint32_t i = threadIdx.x; i < COLS * a.D; i += THREADS) {
        uint32_t c = i / a.D, d = i % a.D, to = c * (a.D + 1) + d;
        bool there = at + c >= first && at + c <= last;
        uint64_t entry = there ? a.key[run.keys + at + c] : 0;
        k[to] = !there ? 0 : half ? gpu_f32(attn_key<bf16>(a, entry, head)[d]) : attn_key<float>(a, entry, head)[d];
        v[to] = !there ? 0 : half ? gpu_f32(attn_value<bf16>(a, entry, head)[d]) : attn_value<float>(a, entry, head)[d];
    }
}

GPU_FN float dot(const float *x, const float *y, uint32_t D)
{
    float sum = 0;

    for (uint32_t d = 0; d < D; d++)
        sum = gpu_fma(x[d], y[d], sum);
    return sum;
}

/* sum[i] += w x[quad + 4 i] */
template <int DMAX> GPU_FN void add_row(float *sum, float w, const float *x, uint32_t quad, uint32_t D)
{
#pragma unroll
    for (int i = 0; i < DMAX / QUAD; i++)
        if (quad + QUAD * i < D)
            sum[i] = gpu_fma(w, x[quad + QUAD * i], sum[i]);
}

template <int DMAX> GPU_FN void put_row(const gr_mat &m, size_t row, size_t col, const float *sum, float by,
                                        uint32_t quad,
                                        uint32_t D)
{
#pragma unroll
    for (int i = 0; i < DMAX / QUAD; i++)
        if (quad + QUAD * i < D)
            gpu_set(m, row, col + quad + QUAD * i, sum[i] * by);
}

/* The positions that the rows of a block see. */
GPU_FN uint32_t last_seen(const struct gpu_attn &a, const struct attn_run &run)
{
    uint32_t query = (blockIdx.y * ROWS + ROWS - 1) / a.G;

    return run.pos0 + (query < run.n ? query : run.n - 1);
}

GPU_FN uint32_t first_seen(const struct gpu_attn &a, const struct attn_run &run)
{
    return attn_first(a, run.pos0 + blockIdx.y * ROWS / a.G);
}

template <int DMAX> __global__ void __launch_bounds__(THREADS) simt_fwd(struct gpu_attn a)
{
    GPU_SHARED(shared);
    const struct attn_run run = a.run[attn_task(a) / a.kv_heads];
    const uint32_t head = attn_head(a), D = a.D;
    float *q = (float *)shared, *k = tile_at(q, ROWS, D), *v = tile_at(k, COLS, D), *w = tile_at(v, COLS, D);
    float o[DMAX / QUAD] = { 0 }, top = GPU_MINUS_INF, sum = 0;

    if (blockIdx.y * ROWS >= run.n * a.G)
        return;
    const struct row r = row_of(a, run);
    const struct attn_range share = attn_share(a, first_seen(a, run), last_seen(a, run));
    const uint32_t first = share.first, last = share.last;
    if (!share.any)
        return;
    load_rows(q, a, a.q, run, head, blockIdx.y * ROWS, ROWS);
    for (uint32_t at = first / COLS * COLS; at <= last; at += COLS) {
        float s[COLS / QUAD], t = top;
        __syncthreads();                                /* the tile before has been read */
        load_keys(k, v, a, run, head, at, first, last);
        __syncthreads();
        for (int i = 0; i < COLS / QUAD; i++) {
            uint32_t c = r.quad + QUAD * i;
            s[i] = attn_score(a, dot(q + r.at * (D + 1), k + c * (D + 1), D));
            if (!r.there || !attn_sees(a, r.pos, at + c))
                s[i] = GPU_MINUS_INF;
            t = fmaxf(t, s[i]);
        }
        t = fmaxf(t, __shfl_xor_sync(0xffffffffu, t, 1));
        t = fmaxf(t, __shfl_xor_sync(0xffffffffu, t, 2));
        float shift = t == GPU_MINUS_INF ? 0 : t, keep = gpu_exp2((top - shift) * GPU_LOG2E);
        top = t;
        sum *= keep;
        for (int i = 0; i < COLS / QUAD; i++) {
            float p = gpu_exp2((s[i] - shift) * GPU_LOG2E);
            w[r.at * (COLS + 1) + r.quad + QUAD * i] = p;
            sum += p;
        }
        for (int i = 0; i < DMAX / QUAD; i++)
            o[i] *= keep;
        __syncwarp();                                   /* the weights of a row, from its four threads */
        for (int c = 0; c < COLS; c++)
            add_row<DMAX>(o, w[r.at * (COLS + 1) + c], v + c * (D + 1), r.quad, D);
    }
    sum += __shfl_xor_sync(0xffffffffu, sum, 1);
    sum += __shfl_xor_sync(0xffffffffu, sum, 2);
    if (!r.there)
        return;
    if (a.part) {
        float *part = attn_part(a, blockIdx.y * ROWS + r.at);
        put_row<DMAX>(gr_mat{ part, 0, GR_F32 }, 0, 2, o, 1, r.quad, D);
        if (r.quad == 0) {
            part[0] = top;
            part[1] = sum;
        }
        return;
    }
    for (int i = 0; i < DMAX / QUAD; i++)
        o[i] /= sum;
    put_row<DMAX>(a.o, run.row + r.query, row_col(a, head, r.g), o, 1, r.quad, D);
    if (a.lse && r.quad == 0)
        a.lse[attn_at(a, head, run.row + r.query, r.g)] = top + logf(sum);
}

/* Of a pair: p, and ds over scale. */
GPU_FN float pair_ds(float *p, const struct gpu_attn &a, const float *q, const float *dout, const float *k,
                     const float *v,
                     float lse, float delta, bool seen)
{
    float s = attn_score(a, dot(q, k, a.D)), dp = dot(dout, v, a.D);

    *p = seen ? gpu_exp2((s - lse) * GPU_LOG2E) : 0;
    return seen ? *p * (dp - delta) * attn_slope(a, s) : 0;
}

template <int DMAX> __global__ void __launch_bounds__(THREADS) simt_dq(struct gpu_attn a)
{
    GPU_SHARED(shared);
    const struct attn_run run = a.run[attn_task(a) / a.kv_heads];
    const uint32_t head = attn_head(a), D = a.D;
    float *q = (float *)shared, *y = tile_at(q, ROWS, D), *k = tile_at(y, ROWS, D), *v = tile_at(k, COLS, D);
    float *w = tile_at(v, COLS, D), dq[DMAX / QUAD] = { 0 }, lse = 0, delta = 0;

    if (blockIdx.y * ROWS >= run.n * a.G)
        return;
    const struct row r = row_of(a, run);
    const uint32_t first = first_seen(a, run), last = last_seen(a, run);
    load_rows(q, a, a.q, run, head, blockIdx.y * ROWS, ROWS);
    load_rows(y, a, a.dout, run, head, blockIdx.y * ROWS, ROWS);
    if (r.there) {
        lse = a.lse[attn_at(a, head, run.row + r.query, r.g)];
        delta = a.delta[attn_at(a, head, run.row + r.query, r.g)];
    }
    for (uint32_t at = first / COLS * COLS; at <= last; at += COLS) {
        __syncthreads();                                /* the tile before has been read */
        load_keys(k, v, a, run, head, at, first, last);
        __syncthreads();
        for (uint32_t c = r.quad; c < COLS; c += QUAD) {
            float p;
            w[r.at * (COLS + 1) + c] = pair_ds(&p, a, q + r.at * (D + 1), y + r.at * (D + 1), k + c * (D + 1),
                                               v + c * (D + 1), lse, delta, r.there && attn_sees(a, r.pos, at + c));
        }
        __syncwarp();                                   /* the weights of a row, from its four threads */
        for (int c = 0; c < COLS; c++)
            add_row<DMAX>(dq, w[r.at * (COLS + 1) + c], k + c * (D + 1), r.quad, D);
    }
    if (r.there)
        put_row<DMAX>(a.dq, run.row + r.query, row_col(a, head, r.g), dq, a.scale, r.quad, D);
}

/* Rows of the block are keys here, and rows of queries pass by, COLS at a time from a run's first on. */
template <int DMAX> __global__ void __launch_bounds__(THREADS) simt_dkv(struct gpu_attn a)
{
    GPU_SHARED(shared);
    const uint32_t i_run = attn_task(a) / a.kv_heads, head = attn_head(a), D = a.D;
    const struct attn_run keys = a.key_run[i_run];
    float *k = (float *)shared, *v = tile_at(k, ROWS, D), *q = tile_at(v, ROWS, D), *y = tile_at(q, COLS, D);
    float *w = tile_at(y, COLS, D), *lse = w + ROWS * (COLS + 1), *delta = lse + COLS;
    float dk[DMAX / QUAD] = { 0 }, dv[DMAX / QUAD] = { 0 };
    const uint32_t at = threadIdx.x / QUAD, quad = threadIdx.x % QUAD, key = blockIdx.y * ROWS + at;

    if (blockIdx.y * ROWS >= keys.n)
        return;
    for (uint32_t i = threadIdx.x; i < ROWS * D; i += THREADS) {
        uint32_t n = blockIdx.y * ROWS + i / D, d = i % D, to = i / D * (D + 1) + d;
        k[to] = n < keys.n ? gpu_get(a.k, keys.row + n, attn_col(a, head) + d) : 0;
        v[to] = n < keys.n ? gpu_get(a.v, keys.row + n, attn_col(a, head) + d) : 0;
    }
    for (size_t l = a.seen_from[i_run]; l < a.seen_from[i_run + 1]; l++) {
        const struct attn_run run = a.run[a.seen[l]];
        uint32_t pos = keys.pos0 + blockIdx.y * ROWS;           /* queries before it see no key of the block */
        uint32_t begin = pos > run.pos0 ? (pos - run.pos0) * a.G / COLS * COLS : 0;
        for (uint32_t m = begin; m < run.n * a.G; m += COLS) {
            float p[COLS / QUAD], ds[COLS / QUAD];
            if (a.window && run.pos0 + m / a.G >= keys.pos0 + keys.n - 1 + a.window)
                break;                                          /* nor do those so far behind */
            __syncthreads();                                    /* the tile before has been read */
            load_rows(q, a, a.q, run, head, m, COLS);
            load_rows(y, a, a.dout, run, head, m, COLS);
            if (threadIdx.x < COLS) {
                uint32_t query = (m + threadIdx.x) / a.G;
                size_t of = attn_at(a, head, run.row + query, (m + threadIdx.x) % a.G);
                lse[threadIdx.x] = query < run.n ? a.lse[of] : 0;
                delta[threadIdx.x] = query < run.n ? a.delta[of] : 0;
            }
            __syncthreads();
            for (int i = 0; i < COLS / QUAD; i++) {
                uint32_t c = quad + QUAD * i, query = (m + c) / a.G;
                bool seen = key < keys.n && query < run.n && attn_sees(a, run.pos0 + query, keys.pos0 + key);
                ds[i] = pair_ds(&p[i], a, q + c * (D + 1), y + c * (D + 1), k + at * (D + 1), v + at * (D + 1), lse[c],
                                delta[c], seen);
                w[at * (COLS + 1) + c] = p[i];
            }
            __syncwarp();
            for (int c = 0; c < COLS; c++)
                add_row<DMAX>(dv, w[at * (COLS + 1) + c], y + c * (D + 1), quad, D);
            __syncwarp();
            for (int i = 0; i < COLS / QUAD; i++)
                w[at * (COLS + 1) + quad + QUAD * i] = ds[i];
            __syncwarp();
            for (int c = 0; c < COLS; c++)
                add_row<DMAX>(dk, w[at * (COLS + 1) + c], q + c * (D + 1), quad, D);
        }
    }
    if (key < keys.n) {
        put_row<DMAX>(a.dk, keys.row + key, attn_col(a, head), dk, a.scale, quad, D);
        put_row<DMAX>(a.dv, keys.row + key, attn_col(a, head), dv, 1, quad, D);
    }
}

template <class K> static void launch(const struct attn_launch *l, K kernel, uint32_t rows, const char *name)
{
    struct gpu_attn a = *l->a;
    size_t shared = bytes_of(rows, a.D);

    GPU_SHARED_MOST(kernel, shared, GPU_SHARED_ALL);
    GPU_LAUNCH(kernel, dim3(l->tasks, gpu_blocks(l->rows, ROWS), a.part ? a.spans : 1), dim3(THREADS), shared,
               gr_cuda_stream(l->lane), a);
    gr_cuda_launched(l->lane, name);
}

bool attn_simt_fwd(const struct attn_launch *l)
{
    if (l->a->D <= 64)
        launch(l, simt_fwd<64>, ROWS + 2 * COLS, "attn_simt_fwd");
    else if (l->a->D <= 128)
        launch(l, simt_fwd<128>, ROWS + 2 * COLS, "attn_simt_fwd");
    else if (l->a->D <= 256)
        launch(l, simt_fwd<256>, ROWS + 2 * COLS, "attn_simt_fwd");
    return l->a->D <= 256;
}

bool attn_simt_dq(const struct attn_launch *l)
{
    if (l->a->D <= 64)
        launch(l, simt_dq<64>, 2 * ROWS + 2 * COLS, "attn_simt_dq");
    else if (l->a->D <= 128)
        launch(l, simt_dq<128>, 2 * ROWS + 2 * COLS, "attn_simt_dq");
    else if (l->a->D <= 256)
        launch(l, simt_dq<256>, 2 * ROWS + 2 * COLS, "attn_simt_dq");
    return l->a->D <= 256;
}

bool attn_simt_dkv(const struct attn_launch *l)
{
    if (l->a->D <= 64)
        launch(l, simt_dkv<64>, 2 * ROWS + 2 * COLS, "attn_simt_dkv");
    else if (l->a->D <= 128)
        launch(l, simt_dkv<128>, 2 * ROWS + 2 * COLS, "attn_simt_dkv");
    else if (l->a->D <= 256)
        launch(l, simt_dkv<256>, 2 * ROWS + 2 * COLS, "attn_simt_dkv");
    return l->a->D <= 256;
}
