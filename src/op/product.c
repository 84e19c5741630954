/* product.c - see product_int.h. */
#include <dnnl_debug.h>
#include <omp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "op/product_int.h"

static struct { pthread_mutex_t lock; dnnl_engine_t engine; } cpu = { PTHREAD_MUTEX_INITIALIZER, NULL };

gram_status gr_dnnl_fail(gram_err *err, dnnl_status_t s, const char *what)
{
    return gr_fail(err, s == dnnl_out_of_memory ? GRAM_ENOMEM : GRAM_EUNSUPPORTED, "oneDNN: %s: %s", what,
                   dnnl_status2str(s));
}

/* The process's engine, made once and never taken down: primitives of every model hold on to it. */
gram_status gr_dnnl_engine(dnnl_engine_t *out, gram_err *err)
{
    dnnl_status_t s = dnnl_success;

    pthread_mutex_lock(&cpu.lock);
    if (!cpu.engine)
        s = dnnl_engine_create(&cpu.engine, dnnl_cpu, 0);
    *out = cpu.engine;
    pthread_mutex_unlock(&cpu.lock);
    return s ? gr_dnnl_fail(err, s, "no CPU engine") : GRAM_OK;
}

/* Some of oneDNN's kernels before 3.11.3 point rsp into the heap (its issue 4845), where a handler's frame then
 * overwrites what lies there: Ctrl-C ended some runs with a broken heap. What a crash raises is let through. */
gr_entered gr_dnnl_enter(void)
{
    static const int fatal[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT };
    gr_entered was = { .threads = omp_get_max_threads() };
    sigset_t held;

    sigfillset(&held);
    for (size_t i = 0; i < GR_COUNT(fatal); i++)
        sigdelset(&held, fatal[i]);
    pthread_sigmask(SIG_BLOCK, &held, &was.signals);
    omp_set_num_threads(1);
    return was;
}

void gr_dnnl_leave(const gr_entered *was)
{
    omp_set_num_threads(was->threads);
    pthread_sigmask(SIG_SETMASK, &was->signals, NULL);
}

static void free_product(gr_product *p)
{
    gr_md *const md[] = { &p->x, &p->w, &p->y, &p->pad };

    if (p->prim)
        dnnl_primitive_destroy(p->prim);
    for (size_t i = 0; i < GR_COUNT(md); i++)
        gr_md_clear(md[i]);
    free(p);
}

static dnnl_status_t describe_one(gr_md *m, size_t rows, size_t cols, size_t row, size_t col, dnnl_data_type_t type)
{
    const dnnl_dims_t dims = { (dnnl_dim_t)rows, (dnnl_dim_t)cols }, strides = { (dnnl_dim_t)row, (dnnl_dim_t)col };

    return gr_md_by_strides(m, dims, type, strides);
}

static dnnl_status_t describe(gr_product *p)
{
    const gr_product_shape *f = &p->shape;
    const dnnl_dims_t w = { (dnnl_dim_t)f->K, (dnnl_dim_t)f->N };
    dnnl_data_type_t type = f->bf16 ? dnnl_bf16 : dnnl_f32;
    dnnl_status_t s = f->int8 ? gr_md_by_tag(&p->w, w, dnnl_s8, dnnl_BA16a64b4a)
                              : describe_one(&p->w, f->K, f->N, f->w_row, f->w_col, type);

    if (!s)
        s = describe_one(&p->x, f->M, f->K, f->x_row, f->x_col, f->int8 ? dnnl_u8 : type);
    if (!s)
        s = describe_one(&p->y, f->M, f->N, f->ldy, 1, f->int8 ? dnnl_s32 : dnnl_f32);
    return s;
}

static dnnl_status_t add_to_y(dnnl_primitive_attr_t attr)
{
    dnnl_post_ops_t ops = NULL;
    dnnl_status_t s = dnnl_post_ops_create(&ops);

    if (!s)
        s = gr_add_to_y(ops);
    if (!s)
        s = dnnl_primitive_attr_set_post_ops(attr, ops);
    if (ops)
        dnnl_post_ops_destroy(ops);
    return s;
}

/* The scratchpad is the caller's, so that threads may run one primitive at once. */
/* Threads that ask for the same product get one descriptor from oneDNN's own cache. What makes it safe to share stands
 * in oneDNN, where ThreadSanitizer does not see it, and products are made rarely: they are made one at a time. */
static pthread_mutex_t building = PTHREAD_MUTEX_INITIALIZER;

static dnnl_status_t build(gr_product *p, dnnl_engine_t engine)
{
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_status_t s = describe(p);

    if (!s)
        s = dnnl_primitive_attr_create(&attr);
    if (!s)
        s = dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    if (!s && p->shape.add)
        s = add_to_y(attr);
    if (!s)
        s = gr_matmul_desc(&pd, engine, &p->x, &p->w, &p->y, attr);
    if (!s)
        s = gr_md_of(&p->pad, pd, dnnl_query_scratchpad_md);
    if (!s) {
        p->pad_bytes = dnnl_memory_desc_get_size(GR_MD(p->pad));
        s = dnnl_primitive_create(&p->prim, pd);
    }
    if (pd)
        dnnl_primitive_desc_destroy(pd);
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    return s;
}

static gram_status make(gr_product **out, const gr_product_shape *shape, gram_err *err)
{
    gr_product *p = gr_calloc(1, sizeof *p);
    dnnl_engine_t engine;
    dnnl_status_t s;
    gram_status rc;

    *out = NULL;
    if (!p)
        return gr_nomem(err, "matrix product");
    rc = gr_dnnl_engine(&engine, err);
    if (rc)
        goto out;
    p->shape = *shape;
    pthread_mutex_lock(&building);
    s = build(p, engine);
    pthread_mutex_unlock(&building);
    if (s) {
        rc = gr_dnnl_fail(err, s, "no matrix product of this shape");
        goto out;
    }
    *out = p;
    p = NULL;
out:
    if (p)
        free_product(p);
    return rc;
}

gram_status gr_product_get(const gr_product **out, gr_products *all, const gr_product_shape *s, gram_err *err)
{
    gram_status rc = GRAM_OK;
    gr_product *p;

    pthread_mutex_lock(&all->lock);
    p = all->first;
    while (p && memcmp(&p->shape, s, sizeof *s))
        p = p->next;
    if (!p) {
        rc = make(&p, s, err);
        if (!rc) {
            p->next = all->first;
            all->first = p;
        }
    }
    pthread_mutex_unlock(&all->lock);
    *out = p;
    return rc;
}

void gr_products_clear(gr_products *all)
{
    while (all->first) {
        gr_product *next = all->first->next;
        free_product(all->first);
        all->first = next;
    }
}

void gr_run_end(gr_run *r)
{
    dnnl_memory_t m[] = { r->x, r->w, r->y, r->pad };

    for (size_t i = 0; i < GR_COUNT(m); i++)
        if (m[i])
            dnnl_memory_destroy(m[i]);
    if (r->stream)
        dnnl_stream_destroy(r->stream);
    free(r->pad_own);
    *r = (gr_run){ 0 };
}

gram_status gr_run_begin(gr_run *r, const gr_product *p, void *pad, size_t room, gram_err *err)
{
    dnnl_engine_t engine;
    dnnl_status_t s;
    gram_status rc = gr_dnnl_engine(&engine, err);

    *r = (gr_run){ .p = p };
    if (rc)
        return rc;
    if (p->pad_bytes > room) {
        pad = r->pad_own = gr_alloc_aligned(p->pad_bytes, 1);
        if (!pad)
            return gr_nomem(err, "matrix product");
    }
    s = dnnl_stream_create(&r->stream, engine, dnnl_stream_default_flags);
    if (!s)
        s = dnnl_memory_create(&r->x, GR_MD(p->x), engine, DNNL_MEMORY_NONE);
    if (!s)
        s = dnnl_memory_create(&r->w, GR_MD(p->w), engine, DNNL_MEMORY_NONE);
    if (!s)
        s = dnnl_memory_create(&r->y, GR_MD(p->y), engine, DNNL_MEMORY_NONE);
    if (!s)
        s = dnnl_memory_create(&r->pad, GR_MD(p->pad), engine, pad);
    if (s) {
        gr_run_end(r);
        return gr_dnnl_fail(err, s, "a matrix product could not begin");
    }
    return GRAM_OK;
}

/* oneDNN takes pointers to void for what it only reads. */
gram_status gr_run_tile(const gr_run *r, void *y, const void *x, const void *w, gram_err *err)
{
    const dnnl_exec_arg_t arg[] = { { DNNL_ARG_SRC, r->x }, { DNNL_ARG_WEIGHTS, r->w }, { DNNL_ARG_DST, r->y },
                                    { DNNL_ARG_SCRATCHPAD, r->pad } };
    dnnl_status_t s = dnnl_memory_set_data_handle(r->x, (void *)(uintptr_t)x);

    if (!s)
        s = dnnl_memory_set_data_handle(r->w, (void *)(uintptr_t)w);
    if (!s)
        s = dnnl_memory_set_data_handle(r->y, y);
    if (!s)
        s = dnnl_primitive_execute(r->p->prim, r->stream, GR_COUNT(arg), arg);
    return s ? gr_dnnl_fail(err, s, "a matrix product failed") : GRAM_OK;
}

gram_status gr_product_rows(gr_products *all, const gr_product_shape *s, float *y, const void *x, const void *w,
                            size_t M, gr_arena room, gram_err *err)
{
    size_t x_bytes = s->x_row * (s->bf16 ? sizeof(uint16_t) : sizeof(float));
    const gr_product *p;
    gr_run r;
    gram_status rc = gr_product_get(&p, all, s, err);

    if (!rc)
        rc = gr_run_begin(&r, p, room.base + room.used, room.size - room.used, err);
    if (rc)
        return rc;
    for (size_t m = 0; m < M && !rc; m += s->M)
        rc = gr_run_tile(&r, y + m * s->ldy, (const char *)x + m * x_bytes, w, err);
    gr_run_end(&r);
    return rc;
}
