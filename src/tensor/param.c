/* param.c - see param.h. */
#include "base/err.h"
#include "tensor/param.h"

enum { SOME = 1024 };               /* values that change their type together */

static char *at(gr_mat m, size_t first)
{
    return (char *)m.p + first * gr_dtype_bytes(m.type);
}

void gr_param_get(const gr_param *p, size_t first, size_t n, float *out)
{
    uint16_t half[SOME];

    if (p->w.type == GR_F32) {
        gr_device_get(p->on, out, at(p->w, first), n * sizeof *out);
        return;
    }
    for (size_t k; n > 0; first += k, out += k, n -= k) {
        k = gr_min(n, SOME);
        gr_device_get(p->on, half, at(p->w, first), k * sizeof *half);
        gr_dequant(out, half, p->w.type, k);
    }
}

bool gr_param_put(const gr_param *p, size_t first, size_t n, const float *x)
{
    uint16_t half[SOME];
    bool ok = true;

    if (p->w.type == GR_F32) {
        gr_device_put(p->on, at(p->w, first), x, n * sizeof *x);
        return true;
    }
    for (size_t k; n > 0; first += k, x += k, n -= k) {
        k = gr_min(n, SOME);
        ok = gr_quantize(half, p->w.type, x, k) && ok;
        gr_device_put(p->on, at(p->w, first), half, k * sizeof *half);
    }
    return ok;
}

void gr_param_get_grad(const gr_param *p, size_t first, size_t n, float *out)
{
    gr_device_get(p->on, out, at(p->g, first), n * sizeof *out);
}

void gr_param_put_grad(const gr_param *p, size_t first, size_t n, const float *x)
{
    gr_device_put(p->on, at(p->g, first), x, n * sizeof *x);
}
