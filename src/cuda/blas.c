/* blas.c - cublasLt, looked for when a GPU is opened: where $GRAM_CUDA_PATH says, where the loader looks, in NVIDIA's
 * folders, and in the packages that pip installs beside gram or torch. */
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/library.h"
#include "cuda/cuda_int.h"

#define LIBRARY "libcublasLt.so.13"         /* of CUDA 13 */
#define WHEEL "/nvidia/cu13/lib"
#define SITE "/lib*/python3*/site-packages" WHEEL

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
    static const int here;
    const char *venv = getenv("VIRTUAL_ENV");
    char beside[512], above[512];
    gr_buf site = { 0 };
    gram_status rc = GRAM_OK;
    cublasStatus_t s;

    if (venv && !gr_buf_printf(&site, "%s" SITE, venv))
        return gr_nomem(err, LIBRARY);
    b->library = gr_library_open(LIBRARY, (const char *const[]){
        getenv("GRAM_CUDA_PATH"), "",
        gr_library_folder(&here, "/.." WHEEL, beside, sizeof beside) ? beside : NULL,       /* of a wheel of gram */
        gr_library_folder(&here, "/../.." WHEEL, above, sizeof above) ? above : NULL,
        site.p, "/usr/local/cuda*/lib64", "/usr/local/cuda*/targets/*/lib", "~/.local" SITE, "/usr/local" SITE },
        9, err);
    gr_buf_clear(&site);
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
