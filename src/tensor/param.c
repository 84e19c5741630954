/* param.c - see param.h. */
#include "tensor/param.h"

/* Of values that lie on the host; a device that has memory of its own brings them through put and get. */
static char *at(gr_mat m, size_t first)
{
    return (char *)m.p + first * gr_dtype_bytes(m.type);
}

void gr_param_get(const gr_param *p, size_t first, size_t n, float *out)
{
    if (p->w.type != GR_F32)
        gr_dequant(out, at(p->w, first), p->w.type, n);
    else
        gr_device_get(p->on, out, at(p->w, first), n * sizeof *out);
}

bool gr_param_put(const gr_param *p, size_t first, size_t n, const float *x)
{
    if (p->w.type != GR_F32)
        return gr_quantize(at(p->w, first), p->w.type, x, n);
    gr_device_put(p->on, at(p->w, first), x, n * sizeof *x);
    return true;
}

void gr_param_get_grad(const gr_param *p, size_t first, size_t n, float *out)
{
    gr_device_get(p->on, out, at(p->g, first), n * sizeof *out);
}

void gr_param_put_grad(const gr_param *p, size_t first, size_t n, const float *x)
{
    gr_device_put(p->on, at(p->g, first), x, n * sizeof *x);
}
