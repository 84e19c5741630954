/* attn_gpu.cuh - a pass of attention as the kernels of a GPU see it.
 *
 * A block has a run of queries or keys, a key/value head, and of those some rows: a row of queries is a pair of a query
 * and one of the G heads that share the key/value head, in the order query 0 head 0, query 0 head 1 .. Keys are walked
 * in tiles that are aligned to absolute positions, and a masked key adds an exact 0: a query's bits follow from its own
 * keys alone. */
#ifndef GR_OP_ATTN_GPU_CUH
#define GR_OP_ATTN_GPU_CUH

#include "op/gpu.cuh"
#include "op/gpu_int.h"

/* keys: where in gpu_attn.key its list begins, an entry for each position from 0 on. */
struct attn_run { uint32_t row, n, pos0, keys; };

struct gpu_attn {
    gr_mat q, o, dq, dout, k, v, dk, dv;
    float *lse, *delta;
    size_t lse_rows;
    uint32_t G, D, kv_heads, window, first;     /* first: the task of block 0 */
    float scale, cap;
    const struct attn_run *run, *key_run;
    const uint64_t *key;                        /* where the row begins in its page, and its store in bit 0 */
    struct { size_t k, v; } store[GR_ATTN_STORES];
    const size_t *seen_from, *seen;
    bool keys_fit;                              /* all rows of the list begin at multiples of 16 bytes */
    float *part;                                /* NULL, or [tasks, part_rows, spans, 2 + D]: see ATTN_SPAN */
    uint32_t part_rows, spans;
};

/* Keys are summed by spans of ATTN_SPAN positions, and these in their order. Where a pass has more positions than one,
 * each span is a block's, blockIdx.z: so the few rows of texts that are written keep a GPU busy, too. The block leaves
 * of each row its largest score, the sum of weights and the sum of values, which attn.cu joins. */
enum { ATTN_SPAN = 512 };

struct attn_range { uint32_t first, last; bool any; };

/* What a block walks of the positions [first, last]. */
GPU_FN struct attn_range attn_share(const struct gpu_attn &a, uint32_t first, uint32_t last)
{
    uint32_t from = blockIdx.z * ATTN_SPAN, to = from + ATTN_SPAN - 1;

    if (!a.part)
        return attn_range{ first, last, true };
    from = from > first ? from : first;
    to = to < last ? to : last;
    return attn_range{ from, to, from <= to };
}

/* Where it leaves row m of its run. */
GPU_FN float *attn_part(const struct gpu_attn &a, uint32_t m)
{
    return a.part + (((size_t)blockIdx.x * a.part_rows + m) * a.spans + blockIdx.z) * (a.D + 2);
}

/* A task's run and head. */
GPU_FN uint32_t attn_task(const struct gpu_attn &a) { return a.first + blockIdx.x; }
GPU_FN uint32_t attn_head(const struct gpu_attn &a) { return attn_task(a) % a.kv_heads; }

/* Where lse and delta have a row's number. */
GPU_FN size_t attn_at(const struct gpu_attn &a, uint32_t head, uint32_t row, uint32_t g)
{
    return ((size_t)head * a.lse_rows + row) * a.G + g;
}

/* Where a head's key, and its value, begin in a row of the list. */
GPU_FN size_t attn_col(const struct gpu_attn &a, uint32_t head) { return (size_t)head * a.D; }

template <class T> GPU_FN const T *attn_key(const struct gpu_attn &a, uint64_t entry, uint32_t head)
{
    return (const T *)(uintptr_t)(entry & ~1ull) + a.store[entry & 1].k + attn_col(a, head);
}

template <class T> GPU_FN const T *attn_value(const struct gpu_attn &a, uint64_t entry, uint32_t head)
{
    return (const T *)(uintptr_t)(entry & ~1ull) + a.store[entry & 1].v + attn_col(a, head);
}

/* The first position that the query at pos sees. */
GPU_FN uint32_t attn_first(const struct gpu_attn &a, uint32_t pos)
{
    return a.window && pos >= a.window ? pos - a.window + 1 : 0;
}

/* What a block that has `rows` rows of the run from m0 on walks. */
GPU_FN struct attn_range attn_walk(const struct gpu_attn &a, const struct attn_run &run, uint32_t m0, uint32_t rows)
{
    const uint32_t end = (m0 + rows - 1) / a.G;

    return attn_share(a, attn_first(a, run.pos0 + m0 / a.G), run.pos0 + (end < run.n ? end : run.n - 1));
}

GPU_FN bool attn_sees(const struct gpu_attn &a, uint32_t pos, uint32_t key)
{
    return key <= pos && (!a.window || key + a.window > pos);
}

/* A score from a product, and its slope by that product over scale. */
GPU_FN float attn_score(const struct gpu_attn &a, float dot)
{
    float s = dot * a.scale;

    return a.cap > 0 ? a.cap * tanhf(s / a.cap) : s;
}

GPU_FN float attn_slope(const struct gpu_attn &a, float score)
{
    float t = score / a.cap;

    return a.cap > 0 ? 1 - t * t : 1;
}

/* Kernels by their width; false: there is none for this shape or type. grid.x is the tasks'. */
struct attn_launch { gr_lane *lane; const struct gpu_attn *a; uint32_t tasks, rows; };   /* rows: of the longest run */
bool attn90_fwd(const struct attn_launch *l);
bool attn90_dq(const struct attn_launch *l);
bool attn90_dkv(const struct attn_launch *l);
bool attn_mma_fwd(const struct attn_launch *l);
bool attn_mma_dq(const struct attn_launch *l);
bool attn_mma_dkv(const struct attn_launch *l);
bool attn_simt_fwd(const struct attn_launch *l);
bool attn_simt_dq(const struct attn_launch *l);
bool attn_simt_dkv(const struct attn_launch *l);

#endif
