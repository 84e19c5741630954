/* blas.c - cublasLt, looked for when a GPU is opened. */
#include "base/err.h"
#include "base/library.h"
#include "cuda/cuda_int.h"

#define LIBRARY "libcublasLt.so.13"         /* of CUDA 13 */

/* The functions, which __typeof__ holds against NVIDIA's header where this is built for a GPU. */
static gram_status find_symbols(struct gr_blas *b, gram_err *err)
{
    const gr_symbol symbol[] = {
        { &b->status_string, "cublasLtGetStatusString" }, { &b->create, "cublasLtCreate" },
        { &b->destroy, "cublasLtDestroy" }, { &b->desc_create, "cublasLtMatmulDescCreate" },
        { &b->desc_destroy, "cublasLtMatmulDescDestroy" }, { &b->desc_set, "cublasLtMatmulDescSetAttribute" },
        { &b->layout_create, "cublasLtMatrixLayoutCreate" }, { &b->layout_destroy, "cublasLtMatrixLayoutDestroy" },
        { &b->preference_create, "cublasLtMatmulPreferenceCreate" },
        { &b->preference_destroy, "cublasLtMatmulPreferenceDestroy" },
        { &b->preference_set, "cublasLtMatmulPreferenceSetAttribute" },
        { &b->heuristic, "cublasLtMatmulAlgoGetHeuristic" }, { &b->check, "cublasLtMatmulAlgoCheck" },
        { &b->config_get, "cublasLtMatmulAlgoConfigGetAttribute" }, { &b->matmul, "cublasLtMatmul" },
    };
    const char *missing = gr_library_missing(b->library, symbol, GR_COUNT(symbol));

    return missing ? gr_fail(err, GRAM_EUNSUPPORTED, LIBRARY ": %s is missing: it is not NVIDIA's", missing) : GRAM_OK;
}

static gram_status fail(const struct gr_blas *b, cublasStatus_t s, const char *device, gram_err *err)
{
    return gr_fail(err, s == CUBLAS_STATUS_ALLOC_FAILED ? GRAM_ENOMEM : GRAM_EUNSUPPORTED, "device %s: cublasLt: %s",
                   device, b->status_string(s));
}

gram_status gr_blas_open(struct gr_blas *b, const char *device, gram_err *err)
{
    gram_status rc;
    cublasStatus_t s;

    b->library = gr_cuda_library(LIBRARY, "/nvidia/cu13/lib", err);
    if (!b->library)
        return GRAM_EUNSUPPORTED;
    rc = find_symbols(b, err);
    if (rc)
        return rc;
    s = b->create(&b->handle);
    return s ? fail(b, s, device, err) : GRAM_OK;
}

void gr_blas_close(struct gr_blas *b)
{
    if (b->handle)
        b->destroy(b->handle);
    b->handle = NULL;
}
