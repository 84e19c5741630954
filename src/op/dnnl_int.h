/* dnnl_int.h - what of oneDNN 2 and 3 differs, under one set of names, for the files that call it.
 *
 * A description of memory is a struct in oneDNN 2, and nobody frees it; in 3 it is made, copied and destroyed. Here it
 * is a value that begins as { 0 } and that gr_md_clear() takes, with both. */
#ifndef GR_OP_DNNL_INT_H
#define GR_OP_DNNL_INT_H

#include <stdbool.h>
#include <dnnl.h>
#include <dnnl_version.h>

typedef dnnl_memory_desc_t gr_md;

#if DNNL_VERSION_MAJOR >= 3
#define GR_MD(m) (m)                        /* as oneDNN's functions take it */
#define GR_DNNL_ISA_ALL dnnl_cpu_isa_default

static inline dnnl_status_t gr_md_by_strides(gr_md *m, const dnnl_dims_t dims, dnnl_data_type_t type,
                                             const dnnl_dims_t strides)
{
    return dnnl_memory_desc_create_with_strides(m, 2, dims, type, strides);
}

static inline dnnl_status_t gr_md_by_tag(gr_md *m, const dnnl_dims_t dims, dnnl_data_type_t type,
                                         dnnl_format_tag_t tag)
{
    return dnnl_memory_desc_create_with_tag(m, 2, dims, type, tag);
}

static inline void gr_md_clear(gr_md *m)
{
    if (*m)
        dnnl_memory_desc_destroy(*m);
    *m = NULL;
}

/* What a primitive has chosen, in place of what was asked of it. */
static inline dnnl_status_t gr_md_of(gr_md *m, dnnl_primitive_desc_t pd, dnnl_query_t what)
{
    gr_md_clear(m);
    return dnnl_memory_desc_clone(m, dnnl_primitive_desc_query_md(pd, what, 0));
}

static inline dnnl_status_t gr_matmul_desc(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, const gr_md *x,
                                           const gr_md *w, const gr_md *y, dnnl_primitive_attr_t attr)
{
    return dnnl_matmul_primitive_desc_create(pd, engine, *x, *w, NULL, *y, attr);
}

static inline dnnl_status_t gr_add_to_y(dnnl_post_ops_t ops)
{
    return dnnl_post_ops_append_sum(ops, 1, 0, dnnl_data_type_undef);
}
#else
#define GR_MD(m) (&(m))
#define GR_DNNL_ISA_ALL dnnl_cpu_isa_all

static inline dnnl_status_t gr_md_by_strides(gr_md *m, const dnnl_dims_t dims, dnnl_data_type_t type,
                                             const dnnl_dims_t strides)
{
    return dnnl_memory_desc_init_by_strides(m, 2, dims, type, strides);
}

static inline dnnl_status_t gr_md_by_tag(gr_md *m, const dnnl_dims_t dims, dnnl_data_type_t type,
                                         dnnl_format_tag_t tag)
{
    return dnnl_memory_desc_init_by_tag(m, 2, dims, type, tag);
}

static inline void gr_md_clear(gr_md *m)
{
    (void)m;
}

static inline dnnl_status_t gr_md_of(gr_md *m, dnnl_primitive_desc_t pd, dnnl_query_t what)
{
    *m = *dnnl_primitive_desc_query_md(pd, what, 0);
    return dnnl_success;
}

static inline dnnl_status_t gr_matmul_desc(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, const gr_md *x,
                                           const gr_md *w, const gr_md *y, dnnl_primitive_attr_t attr)
{
    dnnl_matmul_desc_t desc;
    dnnl_status_t s = dnnl_matmul_desc_init(&desc, x, w, NULL, y);

    return s ? s : dnnl_primitive_desc_create(pd, &desc, attr, engine, NULL);
}

static inline dnnl_status_t gr_add_to_y(dnnl_post_ops_t ops)
{
    return dnnl_post_ops_append_sum(ops, 1);
}
#endif

#endif
