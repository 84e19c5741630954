/* quantize.c - float32 to the types of dtype.h that can be written, to the bits of the official gguf package.
 *
 *   Q8_0  d = max |x| / 127                  q = round(x / d)
 *   Q4_0  d = x of the largest |x| / -8      q = floor(x / d + 8.5), at most 15         Q5_0  -16, 16.5, 31
 *   Q4_1  d = (max - min) / 15, m = min      q = floor((x - m) / d + 0.5)               Q5_1  31 */
#include <assert.h>
#include <math.h>
#include <string.h>
#include "tensor/dtype.h"
#include "tensor/fast.h"

enum { BLOCK = 32 };

/* To the nearest, ties to even; what is beyond the largest half becomes infinity. From 2^-14 to 2^16 a half is bits of
 * the float, rounded; below, the sum with 1/2 is rounded to multiples of 2^-24, and its last bits are the half. Each
 * takes the part of x that is on its side of 2^-14, where the other gives 0x400: of a choice gcc makes a jump around
 * the sum, and no vectors. */
static inline uint16_t to_half(float f)
{
    const int32_t least = 0x38800000, most = 0x47800000;        /* 2^-14 and 2^16 */
    int32_t x, sign, high, low;

    memcpy(&x, &f, sizeof x);
    sign = x >> 16 & 0x8000;
    x &= 0x7fffffff;
    high = x > least ? x : least;
    high = high < most ? high : most;
    low = x < least ? x : least;
    memcpy(&f, &low, sizeof f);
    f += 0.5f;
    memcpy(&low, &f, sizeof low);
    high = ((high - 0x38000000 + 0xfff + (high >> 13 & 1)) >> 13) + (low - 0x3f000000) - 0x400;
    return (uint16_t)(sign | high | (x > 0x7f800000) << 9);
}

uint16_t gr_bf16(float f)
{
    uint32_t x;

    memcpy(&x, &f, sizeof x);
    if ((x & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(x >> 16 | 64);
    return (uint16_t)((x + 0x7fff + (x >> 16 & 1)) >> 16);
}

static void put_half(uint8_t *to, float f)
{
    uint16_t h = to_half(f);

    memcpy(to, &h, sizeof h);
}

static void q8_0(uint8_t *to, const float *x)
{
    float most = 0, d, inverse;

    for (size_t i = 0; i < BLOCK; i++)
        most = fmaxf(most, fabsf(x[i]));
    d = most / 127;
    inverse = d > 0 ? 1 / d : 0;
    put_half(to, d);
    for (size_t i = 0; i < BLOCK; i++)
        to[2 + i] = (uint8_t)(int8_t)roundf(x[i] * inverse);
}

/* Q4_0 and Q5_0 have `half` values on each side of zero. */
static void symmetric(uint8_t *to, uint8_t q[BLOCK], const float *x, int half)
{
    float most = 0, d, inverse;

    for (size_t i = 0; i < BLOCK; i++)
        if (fabsf(x[i]) > fabsf(most))
            most = x[i];
    d = most / (float)-half;
    inverse = d > 0 || d < 0 ? 1 / d : 0;
    put_half(to, d);
    for (size_t i = 0; i < BLOCK; i++)
        q[i] = (uint8_t)fminf((float)(2 * half - 1), x[i] * inverse + ((float)half + 0.5f));
}

/* Q4_1 and Q5_1: `top` steps from the smallest to the largest. */
static void from_min(uint8_t *to, uint8_t q[BLOCK], const float *x, int top)
{
    float low = x[0], high = x[0], d, inverse;

    for (size_t i = 1; i < BLOCK; i++) {
        low = fminf(low, x[i]);
        high = fmaxf(high, x[i]);
    }
    d = (high - low) / (float)top;
    inverse = d > 0 ? 1 / d : 0;
    put_half(to, d);
    put_half(to + 2, low);
    for (size_t i = 0; i < BLOCK; i++)
        q[i] = (uint8_t)fminf((float)top, (x[i] - low) * inverse + 0.5f);
}

/* The fifth bits, where there are any, and then the nibbles. */
static void pack(uint8_t *to, const uint8_t q[BLOCK], bool fifth)
{
    uint32_t high = 0;

    for (size_t i = 0; i < BLOCK; i++)
        high |= (uint32_t)(q[i] >> 4 & 1) << i;
    if (fifth) {
        memcpy(to, &high, sizeof high);
        to += sizeof high;
    }
    for (size_t i = 0; i < BLOCK / 2; i++)
        to[i] = (uint8_t)((q[i] & 15) | (q[i + BLOCK / 2] & 15) << 4);
}

static void block(uint8_t *to, gr_dtype t, const float *x)
{
    uint8_t q[BLOCK];

    if (t == GR_Q8_0) {
        q8_0(to, x);
    } else if (t == GR_Q4_0 || t == GR_Q5_0) {
        symmetric(to, q, x, t == GR_Q4_0 ? 8 : 16);
        pack(to + 2, q, t == GR_Q5_0);
    } else {
        from_min(to, q, x, t == GR_Q4_1 ? 15 : 31);
        pack(to + 4, q, t == GR_Q5_1);
    }
}

bool gr_quantizes(gr_dtype t)
{
    return t == GR_F32 || t == GR_F16 || t == GR_BF16 || t == GR_Q8_0 || t == GR_Q4_0 || t == GR_Q4_1 ||
           t == GR_Q5_0 || t == GR_Q5_1;
}

/* Whether a half's exponent is all ones. */
static bool beyond(const uint8_t *p)
{
    uint16_t h;

    memcpy(&h, p, sizeof h);
    return (h & 0x7c00) == 0x7c00;
}

/* False where one is no number, or beyond what the type holds. */
FAST static bool halves(uint8_t *to, const float *x, size_t n)
{
    unsigned bad = 0;

    for (size_t i = 0; i < n; i++) {
        uint16_t h = to_half(x[i]);
        bad |= (h & 0x7c00) == 0x7c00;
        memcpy(to + 2 * i, &h, sizeof h);
    }
    return !bad;
}

FAST static bool bfloats(uint8_t *to, const float *x, size_t n)
{
    unsigned bad = 0;

    for (size_t i = 0; i < n; i++) {
        uint16_t h = gr_bf16(x[i]);
        bad |= (h & 0x7f80) == 0x7f80;
        memcpy(to + 2 * i, &h, sizeof h);
    }
    return !bad;
}

bool gr_quantize(void *out, gr_dtype t, const float *x, size_t n)
{
    uint8_t *to = out;
    size_t values = gr_dtype_block(t), bytes = gr_dtype_bytes(t);
    bool bad = false;

    assert(gr_quantizes(t) && n % values == 0);
    if (t == GR_F32) {
        if (n)
            memcpy(out, x, n * sizeof *x);
        return true;                        /* as they are, whatever they are */
    }
    if (t == GR_F16 || t == GR_BF16)
        return t == GR_F16 ? halves(to, x, n) : bfloats(to, x, n);
    for (size_t i = 0; i < n; i++)
        bad |= !isfinite(x[i]);
    if (bad)
        return false;
    for (; n > 0; n -= values, x += values, to += bytes) {
        block(to, t, x);
        bad |= beyond(to) || ((t == GR_Q4_1 || t == GR_Q5_1) && beyond(to + 2));
    }
    return !bad;
}
