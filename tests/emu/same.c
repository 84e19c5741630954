/* same.c - what stands in for NVIDIA's headers has their values: compiled by `make cuda`, which has them. The functions
 * are held by src/cuda, which is compiled against both. */
#include <cublasLt.h>
#include <cuda_runtime_api.h>
#if __has_include(<nccl.h>)
#include <nccl.h>
#endif

#define SAME(name, value) _Static_assert((int)(name) == (value), #name)
SAME(cudaErrorInvalidValue, 1);
SAME(cudaErrorMemoryAllocation, 2);
SAME(cudaErrorNoDevice, 100);
SAME(cudaErrorInvalidDevice, 101);
SAME(cudaErrorNotReady, 600);
SAME(cudaMemcpyHostToDevice, 1);
SAME(cudaMemcpyDeviceToHost, 2);
SAME(cudaMemcpyDeviceToDevice, 3);
SAME(cudaMemoryTypeDevice, 2);
SAME(cudaStreamNonBlocking, 1);
SAME(cudaEventDisableTiming, 2);
SAME(CUBLAS_STATUS_ALLOC_FAILED, 3);
SAME(CUBLAS_STATUS_INVALID_VALUE, 7);
SAME(CUBLAS_STATUS_NOT_SUPPORTED, 15);
SAME(CUBLAS_OP_T, 1);
SAME(CUDA_R_32F, 0);
SAME(CUDA_R_16BF, 14);
SAME(CUBLAS_COMPUTE_32F, 68);
SAME(CUBLASLT_MATMUL_DESC_TRANSA, 3);
SAME(CUBLASLT_MATMUL_DESC_TRANSB, 4);
SAME(CUBLASLT_MATMUL_DESC_EPILOGUE, 7);
SAME(CUBLASLT_MATMUL_DESC_BIAS_POINTER, 8);
SAME(CUBLASLT_EPILOGUE_BIAS, 4);
SAME(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, 1);
SAME(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, 3);
SAME(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, 5);
SAME(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, 8);
SAME(CUBLASLT_REDUCTION_SCHEME_NONE, 0);
SAME(CUBLASLT_ALGO_CONFIG_SPLITK_NUM, 2);
SAME(sizeof(cublasLtMatmulAlgo_t), 64);
SAME(sizeof(cublasLtMatmulHeuristicResult_t), 64 + 8 + 4 + 4 + 16);

/* NCCL's own header, where it is, has what src/cuda/nccl.h declares. */
#ifdef NCCL_MAJOR
#define SAME_FN(name, ...) _Static_assert(_Generic(&(name), ncclResult_t (*)(__VA_ARGS__): 1, default: 0), #name)
SAME(ncclSystemError, 2);
SAME(ncclInternalError, 3);
SAME(ncclInvalidArgument, 4);
SAME(ncclInvalidUsage, 5);
SAME(ncclRemoteError, 6);
SAME(ncclInProgress, 7);
SAME(ncclInt8, 0);
SAME(NCCL_VERSION(2, 18, 0), 21800);
SAME(NCCL_CONFIG_UNDEF_INT, -2147483647 - 1);
SAME(sizeof(ncclUniqueId), 128);
SAME(offsetof(ncclConfig_t, blocking), 16);
SAME(offsetof(ncclConfig_t, netName), 32);
SAME(offsetof(ncclConfig_t, splitShare), 40);
SAME_FN(ncclGetUniqueId, ncclUniqueId *);
SAME_FN(ncclCommInitRankConfig, ncclComm_t *, int, ncclUniqueId, int, ncclConfig_t *);
SAME_FN(ncclCommAbort, ncclComm_t);
SAME_FN(ncclCommGetAsyncError, ncclComm_t, ncclResult_t *);
SAME_FN(ncclSend, const void *, size_t, ncclDataType_t, int, ncclComm_t, cudaStream_t);
SAME_FN(ncclRecv, void *, size_t, ncclDataType_t, int, ncclComm_t, cudaStream_t);
_Static_assert(_Generic(&ncclGetErrorString, const char *(*)(ncclResult_t): 1, default: 0), "ncclGetErrorString");
#endif
