/* gpu_kern.h - the kernels of a GPU (.cu), and what they ask of the device that they are launched on.
 *
 * A .cu file is compiled by nvcc for a GPU, or by g++ with the emulator of tests/emu/ for the CPU; both give functions
 * of the types of op.h, which launch kernels on the stream of their lane and return before these have run. Matrices and
 * gr_lane_bytes() are memory of the device. What op's headers say to lie on the host, a launcher brings there and back
 * by the calls of this header. */
#ifndef GR_OP_GPU_KERN_H
#define GR_OP_GPU_KERN_H

#include "tensor/device.h"

struct gr_kern;

/* ---- What the kernels give: op/kern.cu ------------------------------------------------------------- */

/* Puts the GPU's into a table that begins as the CPU's: row_top and row_exp, whose rows the host has seen, remain, and
 * so does what only the CPU's files of op/ call. */
void gr_kern_cuda(struct gr_kern *op);
/* y [M,N] = x w^T of bfloat16 by a Hopper's own products, w [N,K], by so many blocks; false: not of such a shape, or
 * the lane says why. */
bool gr_gemm90_cuda(gr_lane *lane, gr_mat y, gr_mat x, gr_mat w, size_t M, size_t N, size_t K, unsigned blocks);

/* ---- What they ask of the device: cuda/device.c, or a test's own ---------------------------- */

struct CUstream_st;                                     /* a cudaStream_t points to one */
struct CUstream_st *gr_cuda_stream(const gr_lane *lane);
/* A list of the host's as the device's memory, aligned to 16 bytes, for what is launched in this piece. It is copied
 * before this returns; a list that is the same as the last at this address may be the copy that is there already. NULL
 * with lane->rc set where there is no memory. */
const void *gr_cuda_list(gr_lane *lane, const void *list, size_t bytes);
/* Memory of the device, aligned to 16 bytes, whose bytes are at `to` in the host's memory after gr_device_wait() or
 * _sync(). NULL as above. */
void *gr_cuda_result(gr_lane *lane, void *to, size_t bytes);
/* Whether this is a Hopper whose own products, by wgmma, are asked for: the same for all of its life. */
bool gr_cuda_hopper(const gr_lane *lane);
/* After a launch: a failure of it is noted in the lane with the name of the kernel. */
void gr_cuda_launched(gr_lane *lane, const char *kernel);
/* Notes that the kernels do not know such a shape or type: GRAM_EUNSUPPORTED with this sentence. */
void gr_cuda_refuse(gr_lane *lane, const char *what);

#endif
