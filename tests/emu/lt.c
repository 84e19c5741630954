/* lt.c - see emu_lt.h: cublasLt's matrix product on the host, in float32, from real layouts and pointers.
 *
 * Like the real one it picks an algorithm by the whole shape: for few columns of D it likes to cut K, and where it may
 * not, to add in another order. So whoever does not pin an algorithm gets other bits for other numbers of rows. It is
 * compiled without sanitizers, and asks where its operands lie; what is wrong ends the program with a sentence. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "emu/emu_lt.h"

enum { FEW = 512, MARK = 0x6772616d };          /* MARK: an algorithm comes from here */

struct cublasLtContext { int unused; };
struct cublasLtMatmulDescOpaque { cublasOperation_t ta, tb; cublasLtEpilogue_t epilogue; const void *bias; };
struct cublasLtMatrixLayoutOpaque { cudaDataType type; uint64_t rows, cols; int64_t ld; };
struct cublasLtMatmulPreferenceOpaque { uint64_t workspace; uint32_t reductions, align[4]; };
enum { A_PARTS, A_BACKWARDS, A_ALIGN, A_WORKSPACE, A_MARK };     /* the words of an algorithm */

static void refuse(const char *what)
{
    fprintf(stderr, "cublasLt stand-in: %s\n", what);
    _Exit(96);
}

const char *cublasLtGetStatusString(cublasStatus_t status)
{
    return status == CUBLAS_STATUS_SUCCESS ? "CUBLAS_STATUS_SUCCESS" : status == CUBLAS_STATUS_ALLOC_FAILED ?
           "CUBLAS_STATUS_ALLOC_FAILED" : status == CUBLAS_STATUS_NOT_SUPPORTED ? "CUBLAS_STATUS_NOT_SUPPORTED" :
           "CUBLAS_STATUS_INVALID_VALUE";
}

static void *taken(size_t bytes)
{
    void *p = calloc(1, bytes);

    if (!p)
        refuse("out of memory");
    return p;
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *h)
{
    *h = taken(sizeof **h);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t h)
{
    free(h);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *d, cublasComputeType_t c, cudaDataType_t scale)
{
    *d = taken(sizeof **d);
    (*d)->epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    if (c != CUBLAS_COMPUTE_32F || scale != CUDA_R_32F)
        refuse("sums are to be float32");
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d)
{
    free(d);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t a, const void *v,
                                              size_t size)
{
    void *to = a == CUBLASLT_MATMUL_DESC_TRANSA ? (void *)&d->ta : a == CUBLASLT_MATMUL_DESC_TRANSB ? (void *)&d->tb :
               a == CUBLASLT_MATMUL_DESC_EPILOGUE ? (void *)&d->epilogue : (void *)&d->bias;

    if (size != (a == CUBLASLT_MATMUL_DESC_BIAS_POINTER ? sizeof(void *) : sizeof(int32_t)))
        refuse("an attribute of a wrong size");
    memcpy(to, v, size);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *l, cudaDataType type, uint64_t rows, uint64_t cols,
                                          int64_t ld)
{
    if (ld < (int64_t)rows || !rows || !cols)
        refuse("a leading dimension below the rows, or an empty matrix");
    *l = taken(sizeof **l);
    **l = (struct cublasLtMatrixLayoutOpaque){ type, rows, cols, ld };
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l)
{
    free(l);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *p)
{
    *p = taken(sizeof **p);
    (*p)->reductions = UINT32_MAX;
    for (int i = 0; i < 4; i++)
        (*p)->align[i] = 256;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p)
{
    free(p);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t p,
                                                    cublasLtMatmulPreferenceAttributes_t a, const void *v, size_t size)
{
    void *to = a == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES ? (void *)&p->workspace :
               a == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK ? (void *)&p->reductions :
               (void *)&p->align[a - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES];

    if (size != (a == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES ? sizeof(uint64_t) : sizeof(uint32_t)))
        refuse("a preference of a wrong size");
    memcpy(to, v, size);
    return CUBLAS_STATUS_SUCCESS;
}

static void give(cublasLtMatmulHeuristicResult_t *out, uint64_t parts, uint64_t backwards, uint64_t align)
{
    memset(out, 0, sizeof *out);
    out->algo.data[A_PARTS] = parts;
    out->algo.data[A_BACKWARDS] = backwards;
    out->algo.data[A_ALIGN] = align;
    out->algo.data[A_WORKSPACE] = parts > 1;
    out->algo.data[A_MARK] = MARK;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t h, cublasLtMatmulDesc_t d, cublasLtMatrixLayout_t A,
                                              cublasLtMatrixLayout_t B, cublasLtMatrixLayout_t C,
                                              cublasLtMatrixLayout_t D, cublasLtMatmulPreference_t p, int asked,
                                              cublasLtMatmulHeuristicResult_t *out, int *got)
{
    uint64_t align = 256;
    int few = D->cols < FEW;

    (void)h, (void)d, (void)A, (void)B, (void)C;
    for (int i = 0; i < 4; i++)
        align = p->align[i] < align ? p->align[i] : align;
    *got = 0;
    if (few && p->workspace && p->reductions && *got < asked)
        give(&out[(*got)++], 2, 0, align);
    if (*got < asked)
        give(&out[(*got)++], 1, (uint64_t)few, align);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t h, cublasLtMatmulDesc_t d, cublasLtMatrixLayout_t A,
                                       cublasLtMatrixLayout_t B, cublasLtMatrixLayout_t C, cublasLtMatrixLayout_t D,
                                       const cublasLtMatmulAlgo_t *algo, cublasLtMatmulHeuristicResult_t *out)
{
    (void)h, (void)d, (void)A, (void)B, (void)C, (void)D;
    memset(out, 0, sizeof *out);
    out->algo = *algo;
    return algo->data[A_MARK] == MARK ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t *algo,
                                                    cublasLtMatmulAlgoConfigAttributes_t a, void *v, size_t size,
                                                    size_t *written)
{
    int32_t x = (int32_t)algo->data[A_PARTS];

    if (a != CUBLASLT_ALGO_CONFIG_SPLITK_NUM || size != sizeof x)
        refuse("an attribute of an algorithm that it does not know");
    memcpy(v, &x, size);
    *written = size;
    return CUBLAS_STATUS_SUCCESS;
}

/* ---- The product ---------------------------------------------------------------------------------- */

static float load(const void *p, cudaDataType t, size_t i)
{
    uint32_t u;
    float f;

    if (t == CUDA_R_32F)
        return ((const float *)p)[i];
    u = (uint32_t)((const uint16_t *)p)[i] << 16;
    memcpy(&f, &u, sizeof f);
    return f;
}

static void store(void *p, cudaDataType t, size_t i, float f)
{
    uint32_t u;

    if (t == CUDA_R_32F) {
        ((float *)p)[i] = f;
        return;
    }
    memcpy(&u, &f, sizeof u);
    ((uint16_t *)p)[i] = (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

struct job {
    struct cublasLtMatmulDescOpaque d;
    struct cublasLtMatrixLayoutOpaque a, b, c;
    const void *A, *B;
    void *D;
    float alpha, beta;
    cublasLtMatmulAlgo_t algo;
};

static size_t width(cudaDataType t) { return t == CUDA_R_32F ? 4 : 2; }

static void lies_inside(const void *p, const struct cublasLtMatrixLayoutOpaque *l, const char *what)
{
    if (!emu_inside(p, ((size_t)l->ld * (l->cols - 1) + l->rows) * width(l->type)))
        refuse(what);
    if (((uintptr_t)p | (size_t)l->ld * width(l->type)) % width(l->type))
        refuse("a pointer that is not aligned");
}

/* One column of D: part by part of K, the sums of all rows at once. */
static void sums_of(const struct job *j, const float *a, size_t m, size_t k, size_t col, float *sum, float *part)
{
    size_t parts = j->algo.data[A_PARTS];

    memset(sum, 0, m * sizeof *sum);
    for (size_t p = 0; p < parts; p++) {
        size_t first = k * p / parts, end = k * (p + 1) / parts;
        memset(part, 0, m * sizeof *part);
        for (size_t s = first; s < end; s++) {
            size_t i = j->algo.data[A_BACKWARDS] ? end - 1 - (s - first) : s;
            float b = load(j->B, j->b.type, j->d.tb == CUBLAS_OP_T ? i * (size_t)j->b.ld + col :
                                                                      col * (size_t)j->b.ld + i);
            for (size_t row = 0; row < m; row++)
                part[row] += a[i * m + row] * b;
        }
        for (size_t row = 0; row < m; row++)
            sum[row] += part[row];
    }
}

static void run(void *arg)
{
    const struct job *j = arg;
    size_t m = j->c.rows, n = j->c.cols, k = j->d.ta == CUBLAS_OP_T ? j->a.rows : j->a.cols;
    float *a, *sum;

    lies_inside(j->A, &j->a, "A is not in device memory, or larger than what is there");
    lies_inside(j->B, &j->b, "B is not in device memory, or larger than what is there");
    lies_inside(j->D, &j->c, "D is not in device memory, or larger than what is there");
    if (j->d.epilogue == CUBLASLT_EPILOGUE_BIAS && !emu_inside(j->d.bias, m * width(j->c.type)))
        refuse("the bias is not in device memory, or larger than what is there");
    a = taken(k * m * sizeof *a);
    sum = taken(2 * m * sizeof *sum);
    for (size_t i = 0; i < k; i++)
        for (size_t row = 0; row < m; row++)
            a[i * m + row] = load(j->A, j->a.type, j->d.ta == CUBLAS_OP_T ? row * (size_t)j->a.ld + i :
                                                                            i * (size_t)j->a.ld + row);
    for (size_t col = 0; col < n; col++) {
        sums_of(j, a, m, k, col, sum, sum + m);
        for (size_t row = 0; row < m; row++) {
            size_t at = col * (size_t)j->c.ld + row;
            float y = sum[row] * j->alpha;
            if (j->beta != 0)
                y += j->beta * load(j->D, j->c.type, at);
            if (j->d.epilogue == CUBLASLT_EPILOGUE_BIAS)
                y += load(j->d.bias, j->c.type, row);
            store(j->D, j->c.type, at, y);
        }
    }
    free(a);
    free(sum);
}

static void aligned(const void *p, const struct cublasLtMatrixLayoutOpaque *l, const cublasLtMatmulAlgo_t *algo)
{
    if (((uintptr_t)p | (size_t)l->ld * width(l->type)) % algo->data[A_ALIGN])
        refuse("a pointer or leading dimension less aligned than the algorithm was asked for");
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t h, cublasLtMatmulDesc_t d, const void *alpha, const void *A,
                              cublasLtMatrixLayout_t lA, const void *B, cublasLtMatrixLayout_t lB, const void *beta,
                              const void *C, cublasLtMatrixLayout_t lC, void *D, cublasLtMatrixLayout_t lD,
                              const cublasLtMatmulAlgo_t *algo, void *workspace, size_t bytes, cudaStream_t s)
{
    struct job j = { *d, *lA, *lB, *lD, A, B, D, *(const float *)alpha, *(const float *)beta, { { 0 } } };
    size_t ka = d->ta == CUBLAS_OP_T ? lA->rows : lA->cols, kb = d->tb == CUBLAS_OP_T ? lB->cols : lB->rows;
    size_t m = d->ta == CUBLAS_OP_T ? lA->cols : lA->rows, n = d->tb == CUBLAS_OP_T ? lB->rows : lB->cols;

    (void)h, (void)lC;
    if (ka != kb || m != lD->rows || n != lD->cols || lA->type != lB->type)
        refuse("shapes or types that do not fit each other");
    if (C != D)
        refuse("C apart from D");
    if (!algo || algo->data[A_MARK] != MARK)
        refuse("an algorithm that did not come from here");
    if (algo->data[A_WORKSPACE] && (!workspace || !bytes))
        refuse("a cut K without a workspace");
    aligned(A, lA, algo);
    aligned(B, lB, algo);
    aligned(D, lD, algo);
    j.algo = *algo;
    emu_enqueue_c(s, run, &j, sizeof j);
    return CUBLAS_STATUS_SUCCESS;
}
