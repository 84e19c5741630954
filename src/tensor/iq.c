/* iq.c - see iq.h. By ggml's definitions; a block is 256 values, 32 points of 8 or 64 of 4:
 *
 *   IQ2_XXS  d f16, 8 x (4 x 8-bit point, 4 x 7 signs, 4-bit s)                            y = (d (s + 1/2) / 4) v
 *   IQ2_XS   d f16, 32 x (9-bit point, 7 signs), 16 x 4-bit s                              the same
 *   IQ2_S    d f16, 32 x 8 bits of a point, 256 signs, 32 x its upper 2, 16 x 4-bit s      the same
 *   IQ3_XXS  d f16, 64 x 8-bit point, 8 x (4 x 7 signs, 4-bit s)                           y = (d (s + 1/2) / 2) v
 *   IQ3_S    d f16, 64 x 8 bits of a point, 64 x its ninth, 256 signs, 8 x 4-bit s         y = (d (2 s + 1)) v
 *   IQ1_S    d f16, 32 x 8 bits of a point, 8 x (4 x its upper 3, 3-bit s, sign of 1/8)    y = (d (2 s + 1)) (v +- 1/8)
 *   IQ1_M    32 x 8 bits of a point, 32 x (its upper 3, sign), 4 x (4 x 3-bit s, 4 bits of d)             the same
 *
 * Of 7 signs the eighth makes the number of minuses even. Each product and sum is rounded once, as in dtype.c. */
#include "tensor/iq.h"
#include "tensor/iq_grids.inc"

static const int8_t of_iq1[4] = { -1, 0, 1 }, of_iq2[4] = { 8, 25, 43 };
static const int8_t of_iq3_xxs[8] = { 4, 12, 20, 28, 36, 44, 52, 62 }, of_iq3_s[8] = { 1, 3, 5, 7, 9, 11, 13, 15 };

static uint32_t word16(const uint8_t *p) { return (uint32_t)(p[0] | p[1] << 8); }
static uint32_t word32(const uint8_t *p) { return word16(p) | word16(p + 2) << 16; }

static unsigned with_eighth(uint32_t signs)
{
    signs &= 127;
    return signs | (unsigned)__builtin_parity(signs) << 7;
}

/* A point of 8 values of 2 bits, times d; where a bit of minus is set, a value is negative. */
static void eight(float *y, unsigned point, unsigned minus, float d)
{
    for (unsigned i = 0; i < 8; i++) {
        float v = d * (float)of_iq2[point >> 2 * i & 3];
        y[i] = minus >> i & 1 ? -v : v;
    }
}

static void four(float *y, unsigned point, unsigned minus, float d, const int8_t of[8])
{
    for (unsigned i = 0; i < 4; i++) {
        float v = d * (float)of[point >> 3 * i & 7];
        y[i] = minus >> i & 1 ? -v : v;
    }
}

static void ternary(float *y, unsigned point, float delta, float d)
{
    for (unsigned i = 0; i < 8; i++)
        y[i] = d * ((float)of_iq1[point >> 2 * i & 3] + delta);
}

static void iq2_xxs(float *y, const uint8_t *x)
{
    float d = gr_half_at(x);

    for (size_t i = 0; i < 32; i++) {
        const uint8_t *part = x + 2 + i / 4 * 8;
        uint32_t w = word32(part + 4);
        float scale = d * (0.5f + (float)(w >> 28)) * 0.25f;
        eight(y + 8 * i, iq2_xxs_grid[part[i % 4]], with_eighth(w >> 7 * (i % 4)), scale);
    }
}

/* Of IQ2_XS and IQ2_S: the scale of point i, which it shares with its neighbour. */
static float scale_of_two(const uint8_t *s, size_t i, float d)
{
    return d * (0.5f + (float)(s[i / 4] >> i % 4 / 2 * 4 & 15)) * 0.25f;
}

static void iq2_xs(float *y, const uint8_t *x)
{
    float d = gr_half_at(x);

    for (size_t i = 0; i < 32; i++) {
        uint32_t q = word16(x + 2 + 2 * i);
        eight(y + 8 * i, iq2_xs_grid[q & 511], with_eighth(q >> 9), scale_of_two(x + 66, i, d));
    }
}

static void iq2_s(float *y, const uint8_t *x)
{
    float d = gr_half_at(x);

    for (size_t i = 0; i < 32; i++) {
        unsigned upper = x[66 + i / 4] >> i % 4 * 2 & 3;
        eight(y + 8 * i, iq2_s_grid[x[2 + i] | upper << 8], x[34 + i], scale_of_two(x + 74, i, d));
    }
}

static void iq3_xxs(float *y, const uint8_t *x)
{
    float d = gr_half_at(x);

    for (size_t i = 0; i < 64; i++) {
        uint32_t w = word32(x + 66 + i / 8 * 4);
        four(y + 4 * i, iq3_xxs_grid[x[2 + i]], with_eighth(w >> 7 * (i % 8 / 2)) >> i % 2 * 4,
             d * (0.5f + (float)(w >> 28)) * 0.5f, of_iq3_xxs);
    }
}

static void iq3_s(float *y, const uint8_t *x)
{
    float d = gr_half_at(x);

    for (size_t i = 0; i < 64; i++) {
        unsigned ninth = x[66 + i / 8] >> i % 8 & 1, s = x[106 + i / 16] >> i % 16 / 8 * 4 & 15;
        float scale = d * (float)(1 + 2 * s);
        four(y + 4 * i, iq3_s_grid[x[2 + i] | ninth << 8], x[74 + i / 2] >> i % 2 * 4, scale, of_iq3_s);
    }
}

static void iq1_s(float *y, const uint8_t *x)
{
    float d = gr_half_at(x);

    for (size_t i = 0; i < 32; i++) {
        uint32_t w = word16(x + 34 + i / 4 * 2);
        ternary(y + 8 * i, iq1_s_grid[x[2 + i] | (w >> 3 * (i % 4) & 7) << 8], w & 0x8000 ? -0.125f : 0.125f,
                d * (float)(2 * (w >> 12 & 7) + 1));
    }
}

static void iq1_m(float *y, const uint8_t *x)
{
    const uint8_t *s = x + 48, half[2] = { (uint8_t)(s[1] >> 4 | (s[3] & 0xf0)), (uint8_t)(s[5] >> 4 | (s[7] & 0xf0)) };
    float d = gr_half_at(half);

    for (size_t i = 0; i < 32; i++) {
        unsigned upper = x[32 + i / 2] >> i % 2 * 4 & 15;
        uint32_t scale = word16(s + i / 8 * 2) >> 3 * (i / 2 % 4) & 7;
        ternary(y + 8 * i, iq1_s_grid[x[i] | (upper & 7) << 8], upper & 8 ? -0.125f : 0.125f,
                d * (float)(2 * scale + 1));
    }
}

void gr_dequant_iq(float *y, const uint8_t *x, gr_dtype t, size_t n)
{
    static void (*const fn[GR_DTYPES])(float *, const uint8_t *) = {
        [GR_IQ1_S] = iq1_s, [GR_IQ1_M] = iq1_m, [GR_IQ2_XXS] = iq2_xxs, [GR_IQ2_XS] = iq2_xs, [GR_IQ2_S] = iq2_s,
        [GR_IQ3_XXS] = iq3_xxs, [GR_IQ3_S] = iq3_s,
    };

    for (; n > 0; n -= gr_dtype_block(t), y += gr_dtype_block(t), x += gr_dtype_bytes(t))
        fn[t](y, x);
}
