/* dtype.c - see dtype.h. One function a type, by ggml's definitions of its blocks (little-endian throughout):
 *
 *   Q4_0  d f16, 16 bytes: low nibbles are values 0..15, high ones 16..31        y = d (q - 8)
 *   Q4_1  d f16, m f16, the same                                                 y = d q + m
 *   Q5_0  d f16, 32 fifth bits, the same                                         y = d (q - 16)
 *   Q5_1  d f16, m f16, 32 fifth bits, the same                                  y = d q + m
 *   Q8_0  d f16, 32 signed bytes                                                 y = d q
 *   Q2_K  16 x (4-bit s, 4-bit t), 64 bytes of bit pairs, d f16, m f16           y = (d s) q - (m t)
 *   Q3_K  256 third bits, 64 bytes of low bit pairs, 16 x 6-bit s, d f16         y = (d (s - 32)) (q - 4)
 *   Q4_K  d f16, m f16, 8 x (6-bit s, 6-bit t), 128 bytes of nibbles             y = (d s) q - (m t)
 *   Q5_K  the same with 256 fifth bits before the nibbles
 *   Q6_K  128 bytes of low nibbles, 64 of high bit pairs, 16 signed s, d f16     y = (d s) (q - 32)
 *   IQ4_NL  d f16, nibbles as Q4_0's, which number the 16 values v               y = d v[q]
 *   F8_SCALED  d f32, 32 bytes of F8_E4M3, whose values are v                    y = d v
 *   IQ4_XS  d f16, 8 x (6-bit s), 128 bytes of such nibbles                      y = (d (s - 32)) v[q]
 *
 * iq.c has the others. Each product and sum is rounded to float32 once, as ggml's own code does; the loops run over one
 * block with fixed bounds, so the compiler makes vectors of them, in a build for AVX2 beside the plain one. */
#include <assert.h>
#include <string.h>
#include "tensor/fast.h"
#include "tensor/iq.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files are read in the byte order of little-endian hosts");

static const struct { const char *name; size_t block, bytes; } type[GR_DTYPES] = {
    [GR_F32]  = { "F32",    1,   4 },
    [GR_F16]  = { "F16",    1,   2 },
    [GR_BF16] = { "BF16",   1,   2 },
    [GR_Q4_0] = { "Q4_0",  32,  18 },
    [GR_Q4_1] = { "Q4_1",  32,  20 },
    [GR_Q5_0] = { "Q5_0",  32,  22 },
    [GR_Q5_1] = { "Q5_1",  32,  24 },
    [GR_Q8_0] = { "Q8_0",  32,  34 },
    [GR_Q2_K] = { "Q2_K", 256,  84 },
    [GR_Q3_K] = { "Q3_K", 256, 110 },
    [GR_Q4_K] = { "Q4_K", 256, 144 },
    [GR_Q5_K] = { "Q5_K", 256, 176 },
    [GR_Q6_K] = { "Q6_K", 256, 210 },
    [GR_IQ1_S]   = { "IQ1_S",   256,  50 },
    [GR_IQ1_M]   = { "IQ1_M",   256,  56 },
    [GR_IQ2_XXS] = { "IQ2_XXS", 256,  66 },
    [GR_IQ2_XS]  = { "IQ2_XS",  256,  74 },
    [GR_IQ2_S]   = { "IQ2_S",   256,  82 },
    [GR_IQ3_XXS] = { "IQ3_XXS", 256,  98 },
    [GR_IQ3_S]   = { "IQ3_S",   256, 110 },
    [GR_IQ4_NL]  = { "IQ4_NL",   32,  18 },
    [GR_IQ4_XS]  = { "IQ4_XS",  256, 136 },
    [GR_F64]     = { "F64",       1,   8 },
    [GR_F8_E4M3]   = { "F8_E4M3",    1,  1 },
    [GR_F8_SCALED] = { "F8_SCALED", 32, 36 },
    [GR_U8]  = { "U8",  1, 1 },
    [GR_I8]  = { "I8",  1, 1 },
    [GR_I32] = { "I32", 1, 4 },
    [GR_I64] = { "I64", 1, 8 },
};

const char *gr_dtype_name(gr_dtype t)
{
    assert(t < GR_DTYPES);
    return type[t].name;
}

size_t gr_dtype_block(gr_dtype t)
{
    assert(t < GR_DTYPES);
    return type[t].block;
}

size_t gr_dtype_bytes(gr_dtype t)
{
    assert(t < GR_DTYPES);
    return type[t].bytes;
}

bool gr_dtype_row_bytes(gr_dtype t, size_t K, size_t *bytes)
{
    assert(t < GR_DTYPES);
    return K % type[t].block == 0 && !__builtin_mul_overflow(K / type[t].block, type[t].bytes, bytes);
}

/* All ones where a < b, both below 2^31. A choice between two values by it is no branch, which a compiler may make of
 * one by ?:, and then a loop of it becomes no vectors. */
static inline uint32_t below(uint32_t a, uint32_t b)
{
    return (uint32_t)((int32_t)(a - b) >> 31);
}

/* Exact for every half: a subnormal one is its 10 bits times 2^-24, a normal float32. */
static inline float half(uint16_t h)
{
    uint32_t m = h & 0x7fffu, bits, tiny, small = below(m, 0x400);
    float f = (float)(int32_t)m * 0x1p-24f;

    memcpy(&tiny, &f, sizeof tiny);
    bits = (m << 13) + (112u << 23) + (~below(m, 0x7c00) & 112u << 23);     /* infinity and NaN keep all ones */
    bits = (tiny & small) | (bits & ~small) | (uint32_t)(h & 0x8000u) << 16;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* A block's scale, which nearly always is a normal number. */
static inline float half_at(const uint8_t *p)
{
    uint16_t h = (uint16_t)(p[0] | p[1] << 8), exponent = h & 0x7c00u;
    uint32_t bits = ((uint32_t)(h & 0x8000u) << 16 | (uint32_t)(h & 0x7fffu) << 13) + (112u << 23);
    float f;

    if (exponent == 0 || exponent == 0x7c00)
        return half(h);
    memcpy(&f, &bits, sizeof f);
    return f;
}

FAST static void dequant_f16(float *restrict y, const uint8_t *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, x + 2 * i, sizeof h);
        y[i] = half(h);
    }
}

FAST static void dequant_bf16(float *restrict y, const uint8_t *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        uint32_t bits;
        memcpy(&h, x + 2 * i, sizeof h);
        bits = (uint32_t)h << 16;
        memcpy(y + i, &bits, sizeof bits);
    }
}

FAST static void dequant_f64(float *restrict y, const uint8_t *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double d;
        memcpy(&d, x + 8 * i, sizeof d);
        y[i] = (float)d;
    }
}

/* 4 bits of exponent, 3 more: as half() does it. Of the largest exponent only the last number is none. */
static inline float e4m3(uint8_t b)
{
    uint32_t m = b & 0x7fu, bits, tiny, small = below(m, 8);
    float f = (float)(int32_t)m * 0x1p-9f;

    memcpy(&tiny, &f, sizeof tiny);
    bits = ((m << 20) + (120u << 23)) | (~below(m, 0x7f) & 0x7fc00000u);
    bits = (tiny & small) | (bits & ~small) | (uint32_t)(b & 0x80u) << 24;
    memcpy(&f, &bits, sizeof f);
    return f;
}

FAST static void dequant_f8(float *restrict y, const uint8_t *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = e4m3(x[i]);
}

FAST static void dequant_f8_scaled(float *restrict y, const uint8_t *restrict x, size_t n)
{
    for (; n > 0; n -= 32, y += 32, x += 36) {
        float d;
        memcpy(&d, x, sizeof d);
        for (size_t i = 0; i < 32; i++)
            y[i] = d * e4m3(x[4 + i]);
    }
}

FAST static void dequant_q8_0(float *restrict y, const uint8_t *restrict x, size_t n)
{
    for (; n > 0; n -= 32, y += 32, x += 34) {
        float d = half_at(x);
        for (size_t i = 0; i < 32; i++)
            y[i] = d * (float)(int8_t)x[2 + i];
    }
}

/* The 32 values of 16 bytes, low nibbles before high ones, a word at a time. In what follows this is done for some
 * blocks before floats are made: of a loop that does both the compiler takes the bytes out one by one. */
enum { SOME = 8 };

static inline void nibbles(uint8_t *q, const uint8_t *x)
{
    for (size_t i = 0; i < 16; i += 8) {
        uint64_t w, low, high;
        memcpy(&w, x + i, sizeof w);
        low = w & 0x0f0f0f0f0f0f0f0fu;
        high = w >> 4 & 0x0f0f0f0f0f0f0f0fu;
        memcpy(q + i, &low, sizeof low);
        memcpy(q + 16 + i, &high, sizeof high);
    }
}

FAST static void dequant_q4_0(float *restrict y, const uint8_t *restrict x, size_t n)
{
    uint8_t q[32 * SOME];

    for (size_t left = n / 32, some; left > 0; left -= some) {
        some = left < SOME ? left : SOME;
        for (size_t b = 0; b < some; b++)
            nibbles(q + 32 * b, x + 18 * b + 2);
        for (size_t b = 0; b < some; b++, y += 32, x += 18) {
            float d = half_at(x);
            for (size_t i = 0; i < 32; i++)
                y[i] = d * (float)(q[32 * b + i] - 8);
        }
    }
}

FAST static void dequant_q4_1(float *restrict y, const uint8_t *restrict x, size_t n)
{
    uint8_t q[32 * SOME];

    for (size_t left = n / 32, some; left > 0; left -= some) {
        some = left < SOME ? left : SOME;
        for (size_t b = 0; b < some; b++)
            nibbles(q + 32 * b, x + 20 * b + 4);
        for (size_t b = 0; b < some; b++, y += 32, x += 20) {
            float d = half_at(x), m = half_at(x + 2);
            for (size_t i = 0; i < 32; i++)
                y[i] = d * (float)q[32 * b + i] + m;
        }
    }
}

FAST static void dequant_q5_0(float *restrict y, const uint8_t *restrict x, size_t n)
{
    for (; n > 0; n -= 32, y += 32, x += 22) {
        float d = half_at(x);
        uint32_t high;
        memcpy(&high, x + 2, sizeof high);
        for (uint32_t i = 0; i < 16; i++) {
            y[i]      = d * (float)((int)((x[6 + i] & 15u) | (high >> i & 1) << 4) - 16);
            y[i + 16] = d * (float)((int)((uint32_t)x[6 + i] >> 4 | (high >> (i + 16) & 1) << 4) - 16);
        }
    }
}

FAST static void dequant_q5_1(float *restrict y, const uint8_t *restrict x, size_t n)
{
    for (; n > 0; n -= 32, y += 32, x += 24) {
        float d = half_at(x), m = half_at(x + 2);
        uint32_t high;
        memcpy(&high, x + 4, sizeof high);
        for (uint32_t i = 0; i < 16; i++) {
            y[i]      = d * (float)(int)((x[8 + i] & 15u) | (high >> i & 1) << 4) + m;
            y[i + 16] = d * (float)(int)((uint32_t)x[8 + i] >> 4 | (high >> (i + 16) & 1) << 4) + m;
        }
    }
}

/* Runs of 16 values. Of each half of a block the first two are the lowest bit pairs of 32 bytes, the last two the
 * highest. */
FAST static void dequant_q2_k(float *restrict y, const uint8_t *restrict x, size_t n)
{
    for (; n > 0; n -= 256, x += 84) {
        float d = half_at(x + 80), m = half_at(x + 82);
        for (unsigned j = 0; j < 16; j++, y += 16) {
            const uint8_t *q = x + 16 + j / 8 * 32 + j % 2 * 16;
            float s = d * (float)(x[j] & 15), t = m * (float)(x[j] >> 4);
            for (size_t i = 0; i < 16; i++)
                y[i] = s * (float)(q[i] >> j % 8 / 2 * 2 & 3) - t;
        }
    }
}

/* The low four bits are nibbles of bytes 0..7, the upper two those of bytes 8..11. */
int gr_q3_k_scale(const uint8_t *p, size_t j)
{
    return (p[j % 8] >> j / 8 * 4 & 15) + ((p[8 + j % 4] >> j / 4 * 2 & 3) << 4) - 32;
}

/* Runs as of Q2_K; of each value byte i % 32 has the third bit, which counts as 4 where it is 0. */
FAST static void dequant_q3_k(float *restrict y, const uint8_t *restrict x, size_t n)
{
    for (; n > 0; n -= 256, x += 110) {
        float d = half_at(x + 108);
        for (unsigned j = 0; j < 16; j++, y += 16) {
            const uint8_t *high = x + j % 2 * 16, *q = x + 32 + j / 8 * 32 + j % 2 * 16;
            float s = d * (float)gr_q3_k_scale(x + 96, j);
            for (size_t i = 0; i < 16; i++)
                y[i] = s * (float)((q[i] >> j % 8 / 2 * 2 & 3) + (high[i] >> j / 2 & 1) * 4 - 4);
        }
    }
}

/* The j-th of 8 pairs of 6-bit numbers in 12 bytes: the first four lie in the low bits of bytes 0..7, the others
 * in the nibbles of bytes 8..11 and the two high bits of bytes 0..7. */
static inline void scale_and_min(const uint8_t *p, size_t j, float *scale, float *min)
{
    if (j < 4) {
        *scale = (float)(p[j] & 63);
        *min   = (float)(p[j + 4] & 63);
    } else {
        *scale = (float)((p[j + 4] & 15) | p[j - 4] >> 6 << 4);
        *min   = (float)(p[j + 4] >> 4 | p[j] >> 6 << 4);
    }
}

FAST static void dequant_q4_k(float *restrict y, const uint8_t *restrict x, size_t n)
{
    for (; n > 0; n -= 256, x += 144) {
        float d = half_at(x), m = half_at(x + 2);
        const uint8_t *q = x + 16;
        for (size_t j = 0; j < 8; j += 2, q += 32, y += 64) {
            float s0, t0, s1, t1;
            scale_and_min(x + 4, j, &s0, &t0);
            scale_and_min(x + 4, j + 1, &s1, &t1);
            s0 *= d, t0 *= m, s1 *= d, t1 *= m;
            for (size_t i = 0; i < 32; i++) {
                y[i]      = s0 * (float)(q[i] & 15) - t0;
                y[i + 32] = s1 * (float)(q[i] >> 4) - t1;
            }
        }
    }
}

FAST static void dequant_q5_k(float *restrict y, const uint8_t *restrict x, size_t n)
{
    for (; n > 0; n -= 256, x += 176) {
        float d = half_at(x), m = half_at(x + 2);
        const uint8_t *high = x + 16, *q = x + 48;
        for (unsigned j = 0; j < 8; j += 2, q += 32, y += 64) {
            float s0, t0, s1, t1;
            scale_and_min(x + 4, j, &s0, &t0);
            scale_and_min(x + 4, j + 1, &s1, &t1);
            s0 *= d, t0 *= m, s1 *= d, t1 *= m;
            for (size_t i = 0; i < 32; i++) {
                y[i]      = s0 * (float)((q[i] & 15) | (high[i] >> j & 1) << 4) - t0;
                y[i + 32] = s1 * (float)(q[i] >> 4 | (high[i] >> (j + 1) & 1) << 4) - t1;
            }
        }
    }
}

FAST static void dequant_q6_k(float *restrict y, const uint8_t *restrict x, size_t n)
{
    for (; n > 0; n -= 256, x += 210) {
        float d = half_at(x + 208);
        const uint8_t *low = x, *high = x + 128, *scale = x + 192;
        for (size_t j = 0; j < 2; j++, low += 64, high += 32, scale += 8, y += 128) {
            for (size_t k = 0; k < 2; k++) {            /* a scale serves 16 values */
                const uint8_t *l = low + 16 * k, *h = high + 16 * k;
                float s[4], *to = y + 16 * k;
                for (size_t i = 0; i < 4; i++)
                    s[i] = d * (float)(int8_t)scale[2 * i + k];
                for (size_t i = 0; i < 16; i++) {
                    to[i]      = s[0] * (float)(((l[i] & 15)      | (h[i]      & 3) << 4) - 32);
                    to[i + 32] = s[1] * (float)(((l[i + 32] & 15) | (h[i] >> 2 & 3) << 4) - 32);
                    to[i + 64] = s[2] * (float)((l[i] >> 4        | (h[i] >> 4 & 3) << 4) - 32);
                    to[i + 96] = s[3] * (float)((l[i + 32] >> 4   | (h[i] >> 6 & 3) << 4) - 32);
                }
            }
        }
    }
}

const int8_t gr_iq4_values[16] = { -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113 };

/* 32 values of 16 bytes, low nibbles before high ones. */
static inline void iq4(float *restrict y, const uint8_t *restrict q, float d)
{
    for (size_t i = 0; i < 16; i++) {
        y[i]      = d * (float)gr_iq4_values[q[i] & 15];
        y[i + 16] = d * (float)gr_iq4_values[q[i] >> 4];
    }
}

FAST static void dequant_iq4_nl(float *restrict y, const uint8_t *restrict x, size_t n)
{
    for (; n > 0; n -= 32, y += 32, x += 18)
        iq4(y, x + 2, half_at(x));
}

/* The low four bits are nibbles of bytes 4..7, the upper two lie in bytes 2 and 3. */
int gr_iq4_xs_scale(const uint8_t *x, size_t j)
{
    return (x[4 + j / 2] >> j % 2 * 4 & 15) + ((x[2 + j / 4] >> j % 4 * 2 & 3) << 4) - 32;
}

FAST static void dequant_iq4_xs(float *restrict y, const uint8_t *restrict x, size_t n)
{
    for (; n > 0; n -= 256, x += 136) {
        float d = half_at(x);
        for (size_t j = 0; j < 8; j++, y += 32)
            iq4(y, x + 8 + 16 * j, d * (float)gr_iq4_xs_scale(x, j));
    }
}

void gr_dequant(float *y, const void *x, gr_dtype t, size_t n)
{
    assert(t < GR_DTYPES && !gr_dtype_is_codes(t) && n % type[t].block == 0);
    switch (t) {
    case GR_F32:
        if (n)
            memcpy(y, x, n * sizeof *y);
        break;
    case GR_F16:  dequant_f16(y, x, n);  break;
    case GR_BF16: dequant_bf16(y, x, n); break;
    case GR_Q4_0: dequant_q4_0(y, x, n); break;
    case GR_Q4_1: dequant_q4_1(y, x, n); break;
    case GR_Q5_0: dequant_q5_0(y, x, n); break;
    case GR_Q5_1: dequant_q5_1(y, x, n); break;
    case GR_Q8_0: dequant_q8_0(y, x, n); break;
    case GR_Q2_K: dequant_q2_k(y, x, n); break;
    case GR_Q3_K: dequant_q3_k(y, x, n); break;
    case GR_Q4_K: dequant_q4_k(y, x, n); break;
    case GR_Q5_K: dequant_q5_k(y, x, n); break;
    case GR_Q6_K: dequant_q6_k(y, x, n); break;
    case GR_IQ1_S: case GR_IQ1_M: case GR_IQ2_XXS: case GR_IQ2_XS: case GR_IQ2_S: case GR_IQ3_XXS: case GR_IQ3_S:
        gr_dequant_iq(y, x, t, n);
        break;
    case GR_IQ4_NL: dequant_iq4_nl(y, x, n); break;
    case GR_IQ4_XS: dequant_iq4_xs(y, x, n); break;
    case GR_F64: dequant_f64(y, x, n); break;
    case GR_F8_E4M3:   dequant_f8(y, x, n);        break;
    case GR_F8_SCALED: dequant_f8_scaled(y, x, n); break;
    case GR_U8: case GR_I8: case GR_I32: case GR_I64: case GR_DTYPES: break;
    }
}
