/* route.cu - route.h on a GPU: a thread for each row that is routed, whose numbers are few, and a block of a row's
 * channels where experts' outputs are weighed and blended. */
#include "op/gpu.cuh"
#include "op/gpu_int.h"

#define ROUTE_FN GPU_FN
#include "op/route.inc"

enum { ROUTE_THREADS = 32, WEIGH_THREADS = 128 };

GPU_FN float *row_at(const gr_mat &m, size_t n) { return (float *)m.p + n * m.ld; }

__global__ void __launch_bounds__(ROUTE_THREADS) route_rows(gr_mat p, int32_t *chosen, gr_mat w, gr_mat z, size_t N,
                                                            size_t E, size_t k, bool norm)
{
    size_t n = (size_t)blockIdx.x * ROUTE_THREADS + threadIdx.x;

    if (n < N)
        route(row_at(p, n), chosen + n * k, row_at(w, n), row_at(z, n), E, k, norm);
}

__global__ void __launch_bounds__(ROUTE_THREADS) unroute_rows(gr_mat dz, gr_mat dw, gr_mat p, const int32_t *chosen,
                                                              gr_mat w, size_t N, size_t E, size_t k, bool norm)
{
    size_t n = (size_t)blockIdx.x * ROUTE_THREADS + threadIdx.x;

    if (n < N)
        unroute(row_at(dz, n), row_at(dw, n), row_at(p, n), chosen + n * k, row_at(w, n), E, k, norm);
}

/* Whether these rows are what the two above know. */
static bool known(gr_lane *lane, gr_mat a, gr_mat b, gr_mat c)
{
    if (a.type != GR_F32 || b.type != GR_F32 || c.type != GR_F32)
        gr_cuda_refuse(lane, "experts: the rows of a router are float32 on a GPU");
    return !lane->rc;
}

void gr_route_fwd_cuda(gr_lane *lane, gr_mat p, int32_t *chosen, gr_mat w, gr_mat z, size_t N, size_t E, size_t k,
                       bool norm)
{
    int32_t *to = (int32_t *)gr_cuda_result(lane, chosen, N * k * sizeof *to);

    if (N > 0 && known(lane, p, w, z))
        GPU_RUN(lane, route_rows, dim3(gpu_blocks(N, ROUTE_THREADS)), dim3(ROUTE_THREADS), 0, p, to, w, z, N, E, k,
                norm);
}

void gr_route_bwd_cuda(gr_lane *lane, gr_mat dz, gr_mat dw, gr_mat p, const int32_t *chosen, gr_mat w, size_t N,
                       size_t E, size_t k, bool norm)
{
    const int32_t *list = (const int32_t *)gr_cuda_list(lane, chosen, N * k * sizeof *chosen);

    if (N > 0 && known(lane, dz, dw, p) && known(lane, w, w, w))
        GPU_RUN(lane, unroute_rows, dim3(gpu_blocks(N, ROUTE_THREADS)), dim3(ROUTE_THREADS), 0, dz, dw, p, list, w, N,
                E, k, norm);
}

__global__ void __launch_bounds__(WEIGH_THREADS) weigh_rows(gr_mat d, gr_mat dy, float *dw, gr_mat act, const float *w,
                                                            const size_t *at, size_t n, size_t F, size_t C)
{
    GPU_SHARED(shared);
    size_t i = blockIdx.x;
    float by = i < n ? w[at[i]] : 0;
    double sum = 0;

    for (size_t f = threadIdx.x; d.p && i < n && f < F; f += WEIGH_THREADS)
        sum += (double)gpu_get(d, i, f) * (double)gpu_get(act, i, f);
    sum = gpu_block_sum(sum, (double *)shared);
    if (d.p && i < n && threadIdx.x == 0)
        dw[at[i]] = (float)sum;
    for (size_t f = threadIdx.x; d.p && f < F; f += WEIGH_THREADS)
        gpu_set(d, i, f, gpu_get(d, i, f) * by);
    for (size_t c = threadIdx.x; c < C; c += WEIGH_THREADS)
        gpu_set(dy, i, c, gpu_get(dy, i, c) * by);
}

void gr_weigh_cuda(gr_lane *lane, gr_mat d, gr_mat dy, gr_mat dw, gr_mat act, gr_mat w, const size_t *at, size_t n,
                   size_t M, size_t F, size_t C)
{
    const size_t *list = (const size_t *)gr_cuda_list(lane, at, n * sizeof *at);

    if (M > 0 && known(lane, w, w, w))
        GPU_RUN(lane, weigh_rows, dim3((unsigned)M), dim3(WEIGH_THREADS), WEIGH_THREADS / 32 * sizeof(double), d, dy,
                (float *)dw.p, act, (const float *)w.p, list, n, F, C);
}

__global__ void __launch_bounds__(GPU_EACH_THREADS) blend_rows(gr_mat y, gr_mat x, gr_mat v, gr_mat w, size_t N,
                                                               size_t k, size_t C)
{
    GPU_EACH(n, c, N, C) {
        float sum = gpu_get(x, n, c);
        for (size_t j = 0; j < k; j++)
            sum += gpu_get(w, n, j) * gpu_get(v, n * k + j, c);
        gpu_set(y, n, c, sum);
    }
}

void gr_blend_cuda(gr_lane *lane, gr_mat y, gr_mat x, gr_mat v, gr_mat w, size_t N, size_t k, size_t C)
{
    GPU_RUN_EACH(lane, blend_rows, N, C, y, x, v, w, N, k, C);
}
