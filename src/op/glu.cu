/* glu.cu - glu.h on a GPU: each thread has a number. */
#include "op/gpu.cuh"
#include "op/gpu_int.h"

#define ROOT 1.59576912160573071176f            /* 2 sqrt(2 / pi) */

/* act(gate) = gate s(h). These give h of the gate, and its slope. */
template <bool GELU> GPU_FN float inner(float g)
{
    return GELU ? ROOT * (g + 0.044715f * g * g * g) : g;
}

template <bool GELU> GPU_FN float slope(float g)
{
    return GELU ? ROOT * (1 + 3 * 0.044715f * g * g) : 1;
}

template <bool GELU> GPU_FN float act(float g)
{
    return g / (1 + expf(-inner<GELU>(g)));
}

template <bool GELU>
__global__ void __launch_bounds__(GPU_EACH_THREADS) glu_fwd(gr_mat y, gr_mat gate, gr_mat up, size_t N, size_t F)
{
    GPU_EACH(n, f, N, F)
        gpu_set(y, n, f, act<GELU>(gpu_get(gate, n, f)) * gpu_get(up, n, f));
}

/* 1 - s is e s, which does not cancel; where s or 1 - s is 0, the other factor may have overflowed. */
template <bool GELU>
__global__ void __launch_bounds__(GPU_EACH_THREADS) glu_bwd(gr_mat dgate, gr_mat dup, gr_mat dy, gr_mat gate, gr_mat up,
                                                            size_t N, size_t F)
{
    GPU_EACH(n, f, N, F) {
        float d = gpu_get(dy, n, f), g = gpu_get(gate, n, f), u = gpu_get(up, n, f);
        float e = expf(-inner<GELU>(g)), s = 1 / (1 + e), rest = s == 0 ? 1 : e * s;
        float bend = rest == 0 ? 0 : g * slope<GELU>(g) * rest;
        gpu_set(dgate, n, f, d * u * (s == 0 ? 0 : s * (1 + bend)));
        gpu_set(dup, n, f, d * (g * s));
    }
}

void gr_swiglu_fwd_cuda(gr_lane *lane, gr_mat y, gr_mat gate, gr_mat up, size_t N, size_t F)
{
    GPU_RUN_EACH(lane, glu_fwd<false>, N, F, y, gate, up, N, F);
}

void gr_geglu_fwd_cuda(gr_lane *lane, gr_mat y, gr_mat gate, gr_mat up, size_t N, size_t F)
{
    GPU_RUN_EACH(lane, glu_fwd<true>, N, F, y, gate, up, N, F);
}

void gr_swiglu_bwd_cuda(gr_lane *lane, gr_mat dgate, gr_mat dup, gr_mat dy, gr_mat gate, gr_mat up, size_t N, size_t F)
{
    GPU_RUN_EACH(lane, glu_bwd<false>, N, F, dgate, dup, dy, gate, up, N, F);
}

void gr_geglu_bwd_cuda(gr_lane *lane, gr_mat dgate, gr_mat dup, gr_mat dy, gr_mat gate, gr_mat up, size_t N, size_t F)
{
    GPU_RUN_EACH(lane, glu_bwd<true>, N, F, dgate, dup, dy, gate, up, N, F);
}
