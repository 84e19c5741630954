/* attn_mma.cuh - what the kernels of attention by mma.sync share: tiles in shared memory and their products.
 *
 * A tile has rows of D bfloat16, WIDE<D> apart: 64 or a multiple of it, so that 16-byte pieces can be swizzled by the
 * row modulo 8 and the eight rows of an ldmatrix lie in eight different groups of banks. */
#ifndef GR_OP_ATTN_MMA_CUH
#define GR_OP_ATTN_MMA_CUH

#include "op/attn_gpu.cuh"

#define WIDE(D) (((D) + 63) / 64 * 64)

/* p: of 8 numbers. SLAB rows: a tile of so many that lies as slabs of 64 columns, for wgmma (gpu90.cuh). */
template <int D, int SLAB = 0> GPU_FN unsigned char *attn_piece(unsigned char *tile, int row, int p)
{
    return SLAB ? tile + (p / 8 * SLAB + row) * 128 + (p % 8 ^ (row & 7)) * 16 :
           tile + row * WIDE(D) * 2 + (p ^ (row & 7)) * 16;
}

template <int N> GPU_FN void attn_clear(float (*x)[4])
{
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            x[n][i] = 0;
}

/* out [16, N] += 16 rows of `ta` from ra on, times the N rows of `tb`. */
template <int D, int N> GPU_FN void attn_times_rows(float (*out)[4], unsigned char *ta, int ra, unsigned char *tb,
                                                    int lane)
{
#pragma unroll
    for (int d = 0; d < D / 16; d++) {
        uint32_t a[4], b[4];
        gpu_ldmatrix(a, attn_piece<D>(ta, ra + lane % 16, 2 * d + lane / 16));
#pragma unroll
        for (int n = 0; n < N / 16; n++) {
            gpu_ldmatrix(b, attn_piece<D>(tb, n * 16 + lane / 16 * 8 + lane % 8, 2 * d + lane / 8 % 2));
            gpu_mma(out[2 * n], a, b);
            gpu_mma(out[2 * n + 1], a, b + 2);
        }
    }
}

/* out [16, PART] += p [16, N] times columns [from, from + PART) of the N rows of tb. */
template <int D, int N, int PART> GPU_FN void attn_times_cols(float (*out)[4], const float (*p)[4], unsigned char *tb,
                                                              int from, int lane)
{
#pragma unroll
    for (int n = 0; n < N / 16; n++) {
        uint32_t a[4], b[4];
#pragma unroll
        for (int i = 0; i < 4; i++)
            a[i] = gpu_pack(p[2 * n + i / 2][i % 2 * 2], p[2 * n + i / 2][i % 2 * 2 + 1]);
#pragma unroll
        for (int d = 0; d < PART / 16; d++) {
            gpu_ldmatrix_t(b, attn_piece<D>(tb, n * 16 + lane % 16, from / 8 + 2 * d + lane / 16));
            gpu_mma(out[2 * d], a, b);
            gpu_mma(out[2 * d + 1], a, b + 2);
        }
    }
}

/* Rows m .. of the run's pairs (query, head) to a tile: q, or the slope of o. */
template <int D, int N, int THREADS, int SLAB = 0>
GPU_FN void attn_load_rows(unsigned char *tile, const struct gpu_attn &a, const gr_mat &x, const struct attn_run &run,
                           uint32_t head, uint32_t m)
{
    for (int i = (int)threadIdx.x; i < N * D / 8; i += THREADS) {
        uint32_t r = (uint32_t)i / (D / 8), p = (uint32_t)i % (D / 8), query = (m + r) / a.G;
        bool there = query < run.n;
        size_t col = ((size_t)head * a.G + (m + r) % a.G) * D + p * 8;
        unsigned char *to = attn_piece<D, SLAB>(tile, (int)r, (int)p);
        gpu_copy16(to, (const bf16 *)x.p + (there ? (run.row + query) * x.ld + col : 0), there);
    }
}

/* Keys and values of positions [at, at + N), those within [first, last]; zeros for the others. */
template <int D, int N, int THREADS, int SLAB = 0>
GPU_FN void attn_load_keys(unsigned char *k, unsigned char *v, const struct gpu_attn &a, const struct attn_run &run,
                           uint32_t head, uint32_t at, uint32_t first, uint32_t last)
{
    for (int i = (int)threadIdx.x; i < N * D / 8; i += THREADS) {
        uint32_t r = (uint32_t)i / (D / 8), p = (uint32_t)i % (D / 8);
        bool there = at + r >= first && at + r <= last;
        uint64_t entry = there ? a.key[run.keys + at + r] : 0;
        const bf16 *nowhere = (const bf16 *)a.q.p;
        unsigned char *to_k = attn_piece<D, SLAB>(k, (int)r, (int)p), *to_v = attn_piece<D, SLAB>(v, (int)r, (int)p);
        gpu_copy16(to_k, there ? attn_key<bf16>(a, entry, head) + p * 8 : nowhere, there);
        gpu_copy16(to_v, there ? attn_value<bf16>(a, entry, head) + p * 8 : nowhere, there);
    }
}

/* Rows [from, from + N) of x and of y, of which n follow `row`, and zeros for the others: D columns from col on. */
template <int D, int N, int THREADS, int SLAB = 0>
GPU_FN void attn_load_both(unsigned char *tx, const gr_mat &x, unsigned char *ty, const gr_mat &y, size_t row,
                           uint32_t from, uint32_t n, size_t col)
{
    for (int i = (int)threadIdx.x; i < N * D / 8; i += THREADS) {
        uint32_t r = (uint32_t)i / (D / 8), p = (uint32_t)i % (D / 8);
        bool there = from + r < n;
        size_t at = row + (there ? from + r : 0);
        unsigned char *to_x = attn_piece<D, SLAB>(tx, (int)r, (int)p), *to_y = attn_piece<D, SLAB>(ty, (int)r, (int)p);
        gpu_copy16(to_x, (const bf16 *)x.p + at * x.ld + col + p * 8, there);
        gpu_copy16(to_y, (const bf16 *)y.p + at * y.ld + col + p * 8, there);
    }
}

/* Writes two neighbours of a row. */
GPU_FN void attn_put2(const gr_mat &m, size_t row, size_t col, float lo, float hi)
{
    *(uint32_t *)((bf16 *)m.p + row * m.ld + col) = gpu_pack(lo, hi);
}

/* Scores are kept as products, of which `unit` makes exponents of 2, or where they are capped as scores. */
GPU_FN float attn_unit(const struct gpu_attn &a) { return a.cap > 0 ? GPU_LOG2E : a.scale * GPU_LOG2E; }
GPU_FN float attn_kept(const struct gpu_attn &a, float dot) { return a.cap > 0 ? attn_score(a, dot) : dot; }

/* Weights and slopes of a tile: s becomes p, dp becomes p (dp - delta) times the slope of a cap. */
GPU_FN void attn_weigh(float *s, float *dp, const struct gpu_attn &a, float unit, float lse2, float delta, bool seen)
{
    float kept = attn_kept(a, *s), p = seen ? gpu_exp2(gpu_fma(kept, unit, -lse2)) : 0;

    *s = p;
    *dp = seen ? p * (*dp - delta) * attn_slope(a, kept) : 0;
}

/* What a thread has of a tile of 16 rows that begins at row m of the run: two rows. */
struct attn_row { uint32_t query, g, pos; bool there; };
GPU_FN struct attn_row attn_row_of(const struct gpu_attn &a, const struct attn_run &run, uint32_t m)
{
    return attn_row{ m / a.G, m % a.G, run.pos0 + m / a.G, m / a.G < run.n };
}

/* ---- Backward: what kernels by mma.sync and by wgmma have alike ---- */

/* A thread's two rows, the first at row m of the run, with what forward left of them. */
GPU_FN void attn_rows_of(struct attn_row *row, float *lse2, float *delta, const struct gpu_attn &a,
                         const struct attn_run &run, uint32_t head, uint32_t m)
{
#pragma unroll
    for (int h = 0; h < 2; h++) {
        row[h] = attn_row_of(a, run, m + (uint32_t)(8 * h));
        size_t at = row[h].there ? attn_at(a, head, run.row + row[h].query, row[h].g) : 0;
        lse2[h] = row[h].there ? a.lse[at] * GPU_LOG2E : 0;
        delta[h] = row[h].there ? a.delta[at] : 0;
    }
}

/* attn_weigh() of a thread's part of two rows and BN keys from `key` on. */
template <int BN>
GPU_FN void attn_weigh_rows(float (*s)[4], float (*dp)[4], const struct attn_row *row, const float *lse2,
                            const float *delta, const struct gpu_attn &a, float unit, uint32_t key, int lane)
{
#pragma unroll
    for (int n = 0; n < BN / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const struct attn_row &r = row[i / 2];
            bool seen = r.there && attn_sees(a, r.pos, key + (uint32_t)(n * 8 + lane % 4 * 2 + i % 2));
            attn_weigh(&s[n][i], &dp[n][i], a, unit, lse2[i / 2], delta[i / 2], seen);
        }
}

template <int D>
GPU_FN void attn_put_dq(const struct gpu_attn &a, const struct attn_run &run, uint32_t head, const struct attn_row *row,
                        const float (*dq)[4], int lane)
{
#pragma unroll
    for (int h = 0; h < 2; h++) {
        if (!row[h].there)
            continue;
        size_t col = ((size_t)head * a.G + row[h].g) * D + (size_t)(lane % 4 * 2);
#pragma unroll
        for (int d = 0; d < D / 8; d++)
            attn_put2(a.dq, run.row + row[h].query, col + (size_t)d * 8, dq[d][2 * h] * a.scale,
                      dq[d][2 * h + 1] * a.scale);
    }
}

/* What forward left of BQ queries from q0 on, of head g of the key/value head's. */
template <int BQ>
GPU_FN void attn_load_sums(float *lse2, float *delta, const struct gpu_attn &a, const struct attn_run &run,
                           uint32_t head, uint32_t g, uint32_t q0)
{
    if (threadIdx.x < BQ) {
        bool there = q0 + threadIdx.x < run.n;
        size_t at = there ? attn_at(a, head, run.row + q0 + threadIdx.x, g) : 0;
        lse2[threadIdx.x] = there ? a.lse[at] * GPU_LOG2E : 0;
        delta[threadIdx.x] = there ? a.delta[at] : 0;
    }
}

/* Two neighbours of COLS columns from `col` on of the key's dk and dv; h: which of a thread's two rows the key is. */
template <int COLS>
GPU_FN void attn_put_dkv(const struct gpu_attn &a, size_t row, size_t col, const float (*dk)[4], const float (*dv)[4],
                         int h)
{
#pragma unroll
    for (int d = 0; d < COLS / 8; d++) {
        attn_put2(a.dk, row, col + (size_t)d * 8, dk[d][2 * h] * a.scale, dk[d][2 * h + 1] * a.scale);
        attn_put2(a.dv, row, col + (size_t)d * 8, dv[d][2 * h], dv[d][2 * h + 1]);
    }
}

/* ---- Whether such kernels can have the rows of these: 16 bytes at a time ---- */

static inline bool attn_fits(const gr_mat &m)
{
    return m.type == GR_BF16 && m.ld % 8 == 0 && (uintptr_t)m.p % 16 == 0;
}

static inline bool attn_fwd_fits(const struct gpu_attn *a)
{
    return a->keys_fit && attn_fits(a->q) && attn_fits(a->o);
}

static inline bool attn_dq_fits(const struct gpu_attn *a)
{
    return a->keys_fit && attn_fits(a->q) && attn_fits(a->dout) && attn_fits(a->dq);
}

/* What dk and dv are made of. */
static inline bool attn_keys_and_queries_fit(const struct gpu_attn *a)
{
    return attn_fits(a->q) && attn_fits(a->dout) && attn_fits(a->k) && attn_fits(a->v) && attn_fits(a->dk) &&
           attn_fits(a->dv);
}

/* Of the run's queries the first that may see a key at pos, and the one behind the last that sees one of these. */
GPU_FN uint32_t attn_first_query(const struct attn_run &run, uint32_t pos)
{
    return pos > run.pos0 ? pos - run.pos0 : 0;
}

GPU_FN uint32_t attn_end_query(const struct gpu_attn &a, const struct attn_run &run, const struct attn_run &keys)
{
    const uint32_t end = keys.pos0 + keys.n - 1 + a.window;

    return !a.window || end >= run.pos0 + run.n ? run.n : end > run.pos0 ? end - run.pos0 : 0;
}

#endif
