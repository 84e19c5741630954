/* adamw_ref.c - what every other build must equal to the bit. */
#include <math.h>
#include <string.h>
#include "op/adamw.h"

static float step(float w, float *m, float *v, float g, const gr_adamw_rule *r)
{
    float x = g * r->scale;

    *m += (x - *m) * r->b1;
    *v = *v * r->b2 + r->c2 * x * x;
    return w * r->keep - r->size * *m / (sqrtf(*v) / r->root + r->eps);
}

void gr_adamw_f32_ref(gr_lane *lane, float *w, float *m, float *v, const float *g, size_t n,
                      const gr_adamw_rule *r)
{
    (void)lane;
    for (size_t i = 0; i < n; i++)
        w[i] = step(w[i], m + i, v + i, g[i], r);
}

/* 16 bits that differ in about half their places between neighbours. */
static uint32_t chance(uint32_t key, uint32_t at)
{
    uint32_t x = at ^ key;

    x = (x ^ x >> 16) * 0x7feb352d;
    x = (x ^ x >> 15) * 0x846ca68b;
    return x >> 16;
}

void gr_adamw_bf16_ref(gr_lane *lane, uint16_t *w, float *m, float *v, const float *g, size_t n,
                       const gr_adamw_rule *r, uint32_t key, uint32_t at)
{
    (void)lane;
    for (size_t i = 0; i < n; i++) {
        uint32_t u = (uint32_t)w[i] << 16;
        float x;
        memcpy(&x, &u, sizeof x);
        x = step(x, m + i, v + i, g[i], r);
        memcpy(&u, &x, sizeof u);
        w[i] = (uint16_t)((u + chance(key, at + (uint32_t)i)) >> 16);
    }
}

/* 16 sums, value i in sum i % 16, which are then added in order. */
void gr_squares_ref(gr_lane *lane, const float *x, size_t n, double *out)
{
    double sum[16] = { 0 }, all = 0;

    (void)lane;
    for (size_t i = 0; i < n; i++)
        sum[i % 16] += (double)x[i] * x[i];
    for (size_t i = 0; i < 16; i++)
        all += sum[i];
    *out = all;
}
