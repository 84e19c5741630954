/* matmul.c - products on a GPU by cublasLt, for which a row's bits do not depend on the rows beside it.
 *
 * cublasLt picks a kernel by the whole shape, rows included, and another kernel may add in another order. So for each
 * kind of product and (N, K) one algorithm is asked for once, as if for PIN_ROWS rows, without a workspace and without
 * cutting K, and is used for every number of rows. These come in whole units of UNIT rows, so that no kernel for
 * vectors is ever chosen. A gradient of weights sums over the rows: there the algorithm is the same for any number of
 * them, and the bits follow from the number.
 *
 * A matrix is [rows, ld] here and column-major there, so that each is seen transposed:
 *
 *     forward   y^T  [O,M] = (W^T)^T x^T         W^T [K,O], as it lies
 *     dx        dx^T [K,M] = W^T dy^T
 *     dW        dW^T [K,O] += x^T (dy^T)^T
 *
 * float32 is multiplied in float32 (no TF32); with weights of bfloat16 what they are multiplied by is rounded to it,
 * and sums are float32. Rows on either side are float32 or bfloat16, and results are rounded to bfloat16 once. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "cuda/cuda_int.h"
#include "op/gpu_kern.h"

enum { UNIT = 128, PIN_ROWS = 8192, CANDIDATES = 16, SLAB = 1 << 20 };

struct linear {
    const struct gr_kern *op;       /* as gr_linear_base */
    gr_device *on;
    const void *w;                  /* [O,K] on the device, float32 or bfloat16 */
    void *own;                      /* NULL: w is borrowed */
    const float *bias;
    size_t O, K;
    gr_dtype type;
    bool rounds;                    /* for now: both sides of a product are made bfloat16 */
};
_Static_assert(offsetof(struct linear, op) == offsetof(gr_linear_base, op), "every gr_linear begins alike");

static struct gr_cuda *cuda_of(const gr_device *d)
{
    return gr_device_self(d);
}

/* ---- Pins ----------------------------------------------------------------------------------------- */

/* d [m,n] = a b, + d where `add`; column-major. a [m,k] and b [k,n], or what lies is their transpose. */
struct product {
    size_t m, n, k, lda, ldb, ldd;
    bool ta, tb, add;
    gr_dtype type, out;             /* of a and b; of d and the bias: bfloat16 of products in it alone */
    const void *bias;               /* [m], or NULL */
    size_t align;                   /* of all of them, in bytes */
};

/* What an algorithm is the same for: all of a product but how many rows it has, n, or k of a dW. */
struct key { size_t m, k, type, out; int ta, tb, add, bias; size_t align; };
struct pin { struct key key; cublasLtMatmulAlgo_t algo; };
struct gr_cuda_pins { struct pin *pin; size_t n, cap; };

void gr_cuda_pins_close(struct gr_cuda *g)
{
    if (g->pins)
        free(g->pins->pin);
    free(g->pins);
}

static struct key key_of(const struct product *p)
{
    struct key key;

    memset(&key, 0, sizeof key);                /* compared as bytes */
    key.m = p->m;
    key.k = p->tb ? p->n : p->k;                /* tb: a dW, whose k are the rows */
    key.type = p->type;
    key.out = p->out;
    key.ta = p->ta;
    key.tb = p->tb;
    key.add = p->add;
    key.bias = p->bias != NULL;
    key.align = p->align;
    return key;
}

struct views { cublasLtMatmulDesc_t op; cublasLtMatrixLayout_t a, b, d; };

static void views_close(const struct gr_blas *l, struct views *v)
{
    if (v->d)
        l->layout_destroy(v->d);
    if (v->b)
        l->layout_destroy(v->b);
    if (v->a)
        l->layout_destroy(v->a);
    if (v->op)
        l->desc_destroy(v->op);
}

static cublasStatus_t describe(const struct gr_blas *l, struct views *v, const struct product *p)
{
    const int32_t ta = p->ta ? CUBLAS_OP_T : CUBLAS_OP_N, tb = p->tb ? CUBLAS_OP_T : CUBLAS_OP_N;
    const int32_t with_bias = CUBLASLT_EPILOGUE_BIAS;
    cublasStatus_t s = l->desc_create(&v->op, CUBLAS_COMPUTE_32F, CUDA_R_32F);

    if (!s)
        s = l->desc_set(v->op, CUBLASLT_MATMUL_DESC_TRANSA, &ta, sizeof ta);
    if (!s)
        s = l->desc_set(v->op, CUBLASLT_MATMUL_DESC_TRANSB, &tb, sizeof tb);
    if (!s && p->bias)
        s = l->desc_set(v->op, CUBLASLT_MATMUL_DESC_EPILOGUE, &with_bias, sizeof with_bias);
    if (!s && p->bias)
        s = l->desc_set(v->op, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &p->bias, sizeof p->bias);
    return s;
}

static cublasStatus_t views_open(const struct gr_blas *l, struct views *v, const struct product *p)
{
    cudaDataType_t type = p->type == GR_F32 ? CUDA_R_32F : CUDA_R_16BF;
    cudaDataType_t out = p->out == GR_F32 ? CUDA_R_32F : CUDA_R_16BF;
    cublasStatus_t s;

    *v = (struct views){ 0 };
    s = describe(l, v, p);
    if (!s)
        s = l->layout_create(&v->a, type, p->ta ? p->k : p->m, p->ta ? p->m : p->k, (int64_t)p->lda);
    if (!s)
        s = l->layout_create(&v->b, type, p->tb ? p->n : p->k, p->tb ? p->k : p->n, (int64_t)p->ldb);
    if (!s)
        s = l->layout_create(&v->d, out, p->m, p->n, (int64_t)p->ldd);
    return s;
}

/* No workspace, so that K is not cut; and pointers need not be better aligned than these are. */
static cublasStatus_t prefer(const struct gr_blas *l, cublasLtMatmulPreference_t p, size_t align)
{
    static const cublasLtMatmulPreferenceAttributes_t aligned[] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
    };
    const uint64_t room = 0;
    const uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_NONE, bytes = (uint32_t)align;
    cublasStatus_t s = l->preference_set(p, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &room, sizeof room);

    if (!s)
        s = l->preference_set(p, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reductions, sizeof reductions);
    for (size_t i = 0; i < GR_COUNT(aligned) && !s; i++)
        s = l->preference_set(p, aligned[i], &bytes, sizeof bytes);
    return s;
}

/* The first that does not cut K. */
static cublasStatus_t choose(const struct gr_blas *l, cublasLtMatmulAlgo_t *algo, const struct product *p)
{
    cublasLtMatmulHeuristicResult_t r[CANDIDATES];
    cublasLtMatmulPreference_t preference = NULL;
    struct product asked = *p;
    struct views v;
    cublasStatus_t s;
    int got = 0;

    *(p->tb ? &asked.k : &asked.n) = PIN_ROWS;
    s = views_open(l, &v, &asked);
    if (!s)
        s = l->preference_create(&preference);
    if (!s)
        s = prefer(l, preference, p->align);
    if (!s)
        s = l->heuristic(l->handle, v.op, v.a, v.b, v.d, v.d, preference, CANDIDATES, r, &got);
    if (!s) {
        s = CUBLAS_STATUS_NOT_SUPPORTED;
        for (int i = 0; i < got && s; i++) {
            int32_t parts = 0;
            size_t size;
            if (r[i].state || l->config_get(&r[i].algo, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &parts, sizeof parts, &size) ||
                parts > 1)
                continue;
            *algo = r[i].algo;
            s = CUBLAS_STATUS_SUCCESS;
        }
    }
    if (preference)
        l->preference_destroy(preference);
    views_close(l, &v);
    return s;
}

static cublasStatus_t pinned(struct gr_cuda *g, const cublasLtMatmulAlgo_t **out, const struct product *p)
{
    struct gr_cuda_pins *all = g->pins ? g->pins : gr_calloc(1, sizeof *all);
    const struct key key = key_of(p);
    struct pin *more;
    cublasStatus_t s;

    g->pins = all;
    for (size_t i = 0; all && i < all->n; i++)
        if (!memcmp(&all->pin[i].key, &key, sizeof key)) {
            *out = &all->pin[i].algo;
            return CUBLAS_STATUS_SUCCESS;
        }
    more = all ? gr_grown(all->pin, all->n, &all->cap, 1, sizeof *more) : NULL;
    if (!more)
        return CUBLAS_STATUS_ALLOC_FAILED;
    all->pin = more;
    s = choose(&g->blas, &more[all->n].algo, p);
    if (!s) {
        more[all->n].key = key;
        *out = &more[all->n++].algo;
    }
    return s;
}

/* ---- A product ------------------------------------------------------------------------------------ */

static size_t alignment(const void *p, size_t ld, size_t each)
{
    uintptr_t bits = (uintptr_t)p | ld * each | 16;

    return bits & (~bits + 1);                  /* the lowest bit, 16 at most */
}

static void multiply(gr_lane *lane, struct product *p, const void *a, const void *b, void *d)
{
    struct gr_cuda *g = cuda_of(lane->device);
    const float one = 1, before = p->add ? 1 : 0;
    size_t each = gr_dtype_bytes(p->type);
    const cublasLtMatmulAlgo_t *algo = NULL;
    cublasLtMatmulHeuristicResult_t usable;
    cublasStatus_t s;
    struct views v = { 0 };

    if (lane->rc)
        return;
    p->align = gr_min(gr_min(alignment(a, p->lda, each), alignment(b, p->ldb, each)),
                      alignment(d, p->ldd, gr_dtype_bytes(p->out)));
    s = pinned(g, &algo, p);
    if (!s)
        s = views_open(&g->blas, &v, p);
    if (!s)
        s = g->blas.check(g->blas.handle, v.op, v.a, v.b, v.d, v.d, algo, &usable);
    if (!s)
        s = g->blas.matmul(g->blas.handle, v.op, &one, a, v.a, b, v.b, &before, d, v.d, d, v.d, algo, NULL, 0,
                           g->stream);
    views_close(&g->blas, &v);
    if (s)
        lane->rc = gr_fail(&lane->err, s == CUBLAS_STATUS_ALLOC_FAILED ? GRAM_ENOMEM : GRAM_EUNSUPPORTED,
                           "device %s: cublasLt, product of [%zu,%zu] and [%zu,%zu]: %s", g->name, p->m, p->k, p->k,
                           p->n, g->blas.status_string(s));
}

/* Rows as the products of such weights want them: where they lie, or rounded in scratch. */
static gr_mat as_type(gr_lane *lane, gr_dtype type, gr_mat x, size_t M, size_t C)
{
    gr_mat y = { NULL, gr_round_up(C, 8), type };

    if (x.type == type)
        return x;
    y.p = gr_lane_bytes(lane, M * y.ld * gr_dtype_bytes(type));
    if (!lane->rc)
        lane->op->copy(lane, y, x, M, C);
    return y;
}

/* The same to rows of either type. bfloat16 of a product in float32 is made of its float32. */
static void multiply_to(gr_lane *lane, struct product *p, const void *a, const void *b, gr_mat d)
{
    bool made = d.type == GR_F32 || d.type == p->type, add = p->add;
    gr_mat to = made ? d : gr_lane_scratch(lane, p->n, p->m);

    p->out = to.type;
    p->ldd = to.ld;
    p->add = add && made;
    if (p->bias)
        p->bias = as_type(lane, to.type, gr_mat_f32(p->bias, p->m), 1, p->m).p;
    multiply(lane, p, a, b, to.p);
    if (!made && !lane->rc && add)
        lane->op->add(lane, d, d, to, p->n, p->m);
    else if (!made && !lane->rc)
        lane->op->copy(lane, d, to, p->n, p->m);
}

/* ---- Weights -------------------------------------------------------------------------------------- */

static const struct linear *of(const gr_linear *l)
{
    return (const struct linear *)(const void *)l;
}

static bool is_on_device(const void *p)
{
    struct cudaPointerAttributes at = { 0 };
    cudaError_t e = cudaPointerGetAttributes(&at, p);

    if (e)
        cudaGetLastError();
    return !e && at.type == cudaMemoryTypeDevice;
}

/* Rows of the host's as the device is to have them, some at a time. */
static gram_status bring(struct linear *l, const gr_tensor *w, gram_err *err)
{
    size_t row = 0, each = gr_dtype_bytes(l->type), rows = gr_max(1, SLAB / (l->K * sizeof(float)));
    float *f = gr_alloc_aligned(rows * l->K, sizeof *f);
    void *half = gr_alloc_aligned(rows * l->K, each);
    gram_status rc = f && half ? gr_device_alloc(l->on, &l->own, l->O * l->K * each, err) : gr_nomem(err, "weights");

    gr_dtype_row_bytes(w->type, w->cols, &row);
    for (size_t o = 0; o < l->O && !rc; o += rows) {
        size_t n = gr_min(rows, l->O - o) * l->K;
        const void *from = (const char *)w->data + o * row;
        if (w->type != l->type) {
            for (size_t i = 0; i * l->K < n; i++)
                gr_dequant(f + i * l->K, (const char *)from + i * row, w->type, l->K);
            from = f;
        }
        if (w->type != l->type && l->type == GR_BF16) {
            if (!gr_quantize(half, GR_BF16, f, n))
                rc = gr_fail(err, GRAM_EFORMAT, "a weight is no finite number, or beyond what bfloat16 holds");
            from = half;
        }
        if (!rc)
            gr_device_put(l->on, (char *)l->own + o * l->K * each, from, n * each);
    }
    free(f);
    free(half);
    l->w = l->own;
    return rc;
}

static void close_linear(gr_linear *linear)
{
    struct linear *l = (struct linear *)(void *)linear;

    gr_device_free(l->on, l->own);
    free(l);
}

static gram_status open_linear(gr_linear **out, gr_device *d, const gr_tensor *w, const float *bias,
                               gr_linear_mode mode, gram_err *err)
{
    struct linear *l;
    bool there = is_on_device(w->data), rounded = mode == GR_LINEAR_BF16 || mode == GR_LINEAR_ROUNDED;
    gram_status rc = GRAM_OK;

    *out = NULL;
    if (mode == GR_LINEAR_INT8)
        return gr_fail(err, GRAM_EUNSUPPORTED, "device %s multiplies in f32 and bf16, not in int8", gr_device_name(d));
    l = gr_calloc(1, sizeof *l);
    if (!l)
        return gr_nomem(err, "weights");
    *l = (struct linear){ .op = gr_device_op(d), .on = d, .w = w->data, .bias = bias, .O = w->rows, .K = w->cols,
                          .type = there ? w->type : rounded ? GR_BF16 : GR_F32 };
    if (there && w->type != GR_F32 && w->type != GR_BF16)
        rc = gr_fail(err, GRAM_EUNSUPPORTED, "device %s: weights of %s", gr_device_name(d), gr_dtype_name(w->type));
    if (!there)
        rc = bring(l, w, err);
    if (rc)
        close_linear((gr_linear *)(void *)l);
    else
        *out = (gr_linear *)(void *)l;
    return rc;
}

static void rounds(gr_linear *l, bool on)
{
    ((struct linear *)(void *)l)->rounds = on;
}

/* The weight as it is multiplied: as it lies, or rounded in scratch. */
static gr_mat weight_of(gr_lane *lane, const struct linear *l)
{
    gr_mat w = { (void *)(uintptr_t)l->w, l->K, l->type };

    return as_type(lane, l->rounds ? GR_BF16 : l->type, w, l->O, l->K);
}

static size_t bytes(const gr_linear *l)
{
    return of(l)->O * of(l)->K * gr_dtype_bytes(of(l)->type);
}

static bool borrows(const gr_linear *l)
{
    return !of(l)->own;
}

/* ---- Use ------------------------------------------------------------------------------------------ */

/* Which products have it does not depend on M. */
static bool by_hopper(gr_lane *lane, const struct linear *l, gr_mat y, gr_mat x, gr_mat w, size_t M)
{
    unsigned blocks = cuda_of(lane->device)->hopper_blocks;

    return blocks && !l->bias && gr_gemm90_cuda(lane, y, x, w, M, l->O, l->K, blocks);
}

static void fwd(gr_lane *lane, const gr_linear_to *to, size_t n, gr_mat x, size_t M)
{
    size_t mark = gr_lane_mark(lane);
    gr_mat as = { 0 };

    assert(M % UNIT == 0);
    for (size_t i = 0; i < n && M > 0; i++) {
        const struct linear *l = of(to[i].l);
        gr_mat w = weight_of(lane, l);
        struct product p = { .m = l->O, .n = M, .k = l->K, .lda = w.ld, .ta = true, .type = w.type, .bias = l->bias };
        if (i == 0 || as.type != w.type)
            as = as_type(lane, w.type, x, M, l->K);
        p.ldb = as.ld;
        if (!by_hopper(lane, l, to[i].y, as, w, M))
            multiply_to(lane, &p, w.p, as.p, to[i].y);
    }
    gr_lane_give_back(lane, mark);
}

static void dx(gr_lane *lane, const gr_linear *linear, gr_mat dx, gr_mat dy, size_t M, bool add)
{
    const struct linear *l = of(linear);
    size_t mark = gr_lane_mark(lane);
    gr_mat w = weight_of(lane, l);
    struct product p = { .m = l->K, .n = M, .k = l->O, .lda = w.ld, .add = add, .type = w.type };

    assert(M % UNIT == 0);
    if (M > 0) {
        dy = as_type(lane, w.type, dy, M, l->O);
        p.ldb = dy.ld;
        multiply_to(lane, &p, w.p, dy.p, dx);
    }
    gr_lane_give_back(lane, mark);
}

static void dw(gr_lane *lane, gr_mat dW, gr_mat dy, gr_mat x, size_t M, size_t K, size_t o0, size_t o1, bool rounded)
{
    size_t mark = gr_lane_mark(lane);
    bool both = x.type == GR_BF16 && dy.type == GR_BF16;        /* and in float32 it would be the same product */
    struct product p = { .m = K, .n = o1 - o0, .k = M, .ldd = dW.ld, .tb = true, .add = true,
                         .type = rounded || both ? GR_BF16 : GR_F32, .out = GR_F32 };

    assert(dW.type == GR_F32);
    x = as_type(lane, p.type, x, M, K);
    dy = as_type(lane, p.type, gr_mat_at(dy, 0, o0), M, p.n);
    p.lda = x.ld;
    p.ldb = dy.ld;
    multiply(lane, &p, x.p, dy.p, gr_mat_at(dW, o0, 0).p);
    gr_lane_give_back(lane, mark);
}

/* As a dW whose x is a column of ones. */
static bool has_ones(gr_lane *lane, size_t n)
{
    struct gr_cuda *g = cuda_of(lane->device);
    void *more = NULL;
    float *host;

    if (n <= g->n_ones || lane->rc)
        return !lane->rc;
    n = gr_round_up(n, PIN_ROWS);
    host = gr_calloc(n, sizeof *host);
    if (!host)
        gr_lane_fail(lane, gr_nomem(&lane->err, "gradient of a bias"), &lane->err);
    else
        gr_lane_fail(lane, gr_device_alloc(lane->device, &more, n * sizeof *host, &lane->err), &lane->err);
    if (more) {
        for (size_t i = 0; i < n; i++)
            host[i] = 1;
        gr_device_put(lane->device, more, host, n * sizeof *host);
        gr_device_free(lane->device, g->ones);
        g->ones = more;
        g->n_ones = n;
    }
    free(host);
    return more;
}

static void db(gr_lane *lane, float *db, gr_mat dy, size_t M, size_t O)
{
    if (has_ones(lane, M))
        dw(lane, gr_mat_f32(db, 1), dy, gr_mat_f32(cuda_of(lane->device)->ones, 1), M, 1, 0, O, false);
}

const gr_linear_kind gr_linear_cuda = {
    { UNIT, UNIT, 0, false }, open_linear, close_linear, bytes, borrows, rounds, fwd, dx, dw, db,
};
