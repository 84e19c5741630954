/* cuda_int.h - a GPU as the files of this folder see it.
 *
 * All that it is asked for goes to one stream, in order. What the host hands over is copied to pinned memory before a
 * call returns, so that the host may change it at once; what it asks for comes back the same way. */
#ifndef GR_CUDA_INT_H
#define GR_CUDA_INT_H

#include "cuda/nccl.h"
#include "cuda/runtime.h"
#include "op/gpu_entry.h"
#include "op/op.h"

enum { GR_CUDA_HALVES = 2 };

/* cublasLt, opened by name: it is half a gigabyte, and not every machine has it. */
struct gr_blas {
    void *library;
    cublasLtHandle_t handle;
    __typeof__(cublasLtGetStatusString) *status_string;
    __typeof__(cublasLtCreate) *create;
    __typeof__(cublasLtDestroy) *destroy;
    __typeof__(cublasLtMatmulDescCreate) *desc_create;
    __typeof__(cublasLtMatmulDescDestroy) *desc_destroy;
    __typeof__(cublasLtMatmulDescSetAttribute) *desc_set;
    __typeof__(cublasLtMatrixLayoutCreate) *layout_create;
    __typeof__(cublasLtMatrixLayoutDestroy) *layout_destroy;
    __typeof__(cublasLtMatmulPreferenceCreate) *preference_create;
    __typeof__(cublasLtMatmulPreferenceDestroy) *preference_destroy;
    __typeof__(cublasLtMatmulPreferenceSetAttribute) *preference_set;
    __typeof__(cublasLtMatmulAlgoGetHeuristic) *heuristic;
    __typeof__(cublasLtMatmulAlgoCheck) *check;
    __typeof__(cublasLtMatmulAlgoConfigGetAttribute) *config_get;
    __typeof__(cublasLtMatmul) *matmul;
};

/* NCCL, opened when processes share a run; comm NULL: they do not. */
struct gr_nccl {
    void *library;
    ncclComm_t comm;
    __typeof__(ncclGetUniqueId) *get_id;
    __typeof__(ncclCommInitRankConfig) *init;
    __typeof__(ncclCommAbort) *abort;
    __typeof__(ncclCommGetAsyncError) *async_error;
    __typeof__(ncclSend) *send;
    __typeof__(ncclRecv) *recv;
    __typeof__(ncclGroupStart) *group_start;
    __typeof__(ncclGroupEnd) *group_end;
    __typeof__(ncclGetErrorString) *error_string;
};

/* A number that a kernel makes for the host. */
struct gr_cuda_due { void *to; size_t at, bytes; };

struct gr_cuda {
    int index;
    char name[32];                      /* "cuda:0" */
    gr_device_kind kind;
    struct gr_kern op;
    cudaStream_t stream;
    gram_status rc;                     /* the first failure since the last wait */
    gram_err err;
    char *up;                           /* pinned, on its way to the device: two halves, */
    size_t half, used;                  /* the one that is being filled, and how far */
    cudaEvent_t sent[GR_CUDA_HALVES];   /* and when each is free again */
    char *down;                         /* pinned, on its way back */
    char *result;                       /* on the device: what gr_cuda_result() hands out */
    size_t result_used, result_size;
    struct gr_cuda_due *due;            /* [dues] of it */
    size_t dues, cap_due;
    struct gr_blas blas;
    struct gr_nccl nccl;
    struct gr_cuda_pins *pins;          /* the algorithms of its products */
    unsigned hopper_blocks;             /* of products by op/gemm90.cu; 0: wgmma is not asked for */
    float *ones;                        /* [n_ones], on the device */
    size_t n_ones;
};

/* Notes a failure for the next wait. True: there was none. */
bool gr_cuda_ok(struct gr_cuda *g, cudaError_t e, const char *what);

/* ---- library.c, blas.c, matmul.c, nccl.c ------------------------------------------------------------ */

/* A library of NVIDIA's, from where $GRAM_CUDA_PATH says, where the loader looks, NVIDIA's folders, and the packages
 * that pip installs beside gram or torch: `wheel` is its folder there, "/nvidia/...". NULL: *err says where it was
 * looked for. */
void *gr_cuda_library(const char *file, const char *wheel, gram_err *err);
gram_status gr_blas_open(struct gr_blas *b, const char *device, gram_err *err);
void gr_blas_close(struct gr_blas *b);
extern const gr_linear_kind gr_linear_cuda;
extern const gr_links_kind gr_links_nccl;
void gr_cuda_pins_close(struct gr_cuda *g);

#endif
