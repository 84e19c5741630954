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

/* 32 bits that differ in about half their places between neighbours, the upper ones most surely. */
static uint32_t chance(uint32_t key, uint32_t at)
{
    uint32_t x = at ^ key;

    x = (x ^ x >> 16) * 0x7feb352d;
    x = (x ^ x >> 15) * 0x846ca68b;
    return x;
}

static float load_as(gr_dtype type, const void *p, size_t i)
{
    uint32_t u;
    float x;

    if (type == GR_F32)
        return ((const float *)p)[i];
    u = (uint32_t)((const uint16_t *)p)[i] << 16;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* r: below 2^16, of the chance by which a bfloat16 is rounded. */
static void store_as(gr_dtype type, void *p, size_t i, float x, uint32_t r)
{
    uint32_t u;

    memcpy(&u, &x, sizeof u);
    if (type == GR_F32)
        ((float *)p)[i] = x;
    else
        ((uint16_t *)p)[i] = (uint16_t)((u + r) >> 16);
}

void gr_adamw_ref(const gr_adamw_slice *s)
{
    for (size_t i = 0; i < s->n; i++) {
        float m = load_as(s->kept, s->m, i), v = load_as(s->kept, s->v, i);
        float w = step(load_as(s->type, s->w, i), &m, &v, s->g[i], &s->rule);
        uint32_t of_w = chance(s->key[0], s->at + (uint32_t)i), of_moments = chance(s->key[1], s->at + (uint32_t)i);
        store_as(s->type, s->w, i, w, of_w >> 16);
        store_as(s->kept, s->m, i, m, of_moments >> 16);
        store_as(s->kept, s->v, i, v, (of_moments + (of_moments >> 16)) & 0xffff);
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
