/* digits_ref.c - panels, and what every other build must agree with, bit for bit. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "op/digits_int.h"

enum { BLOCK = GR_DIGITS_BLOCK, PANEL = GR_DIGITS_PANEL };

const struct digits_type *gr_digits_type(gr_dtype type)
{
    static const struct digits_type is[GR_DTYPES] = {
        [GR_Q4_0] = { .bits = 4, .blocks = 1, .parts = 1, .zero = 8 },
        [GR_Q4_1] = { .bits = 4, .blocks = 1, .parts = 1, .mins = true },
        [GR_Q5_0] = { .bits = 5, .blocks = 1, .parts = 1, .zero = 16 },
        [GR_Q5_1] = { .bits = 5, .blocks = 1, .parts = 1, .mins = true },
        [GR_Q8_0] = { .bits = 8, .blocks = 1, .parts = 1, .zero = 128 },
        [GR_Q2_K] = { .bits = 4, .blocks = 8, .parts = 2, .mins = true },
        [GR_Q3_K] = { .bits = 4, .blocks = 8, .parts = 2, .zero = 4 },
        [GR_Q4_K] = { .bits = 4, .blocks = 8, .parts = 1, .mins = true },
        [GR_Q5_K] = { .bits = 5, .blocks = 8, .parts = 1, .mins = true },
        [GR_Q6_K] = { .bits = 6, .blocks = 8, .parts = 2, .zero = 32 },
        [GR_IQ4_NL] = { .bits = 8, .blocks = 1, .parts = 1, .zero = 128 },
        [GR_IQ4_XS] = { .bits = 8, .blocks = 8, .parts = 1, .zero = 128 },
    };

    return is[type].bits ? &is[type] : NULL;
}

/* ---- Panels --------------------------------------------------------------------------------------- */

bool gr_digits_has(gr_dtype type, size_t K)
{
    return gr_digits_type(type) && K > 0 && K % gr_dtype_block(type) == 0;
}

size_t gr_digits_panel_bytes(gr_dtype type, size_t K)
{
    return K / gr_dtype_block(type) * digits_group(*gr_digits_type(type));
}

size_t gr_digits_bytes(gr_dtype type, size_t O, size_t K)
{
    return (O + PANEL - 1) / PANEL * gr_digits_panel_bytes(type, K);
}

static uint32_t word_at(const uint8_t *p)
{
    uint32_t w;

    memcpy(&w, p, sizeof w);
    return w;
}

/* A low bit of each of 4 bytes, which bits i .. i + 3 say. */
static uint32_t spread(uint32_t bits, size_t i)
{
    return (bits >> i & 15) * 0x00204081u & 0x01010101u;
}

/* The values that 16 bytes number. Scales without a sign have theirs in the values, which are above -128. */
static void numbered(uint32_t q[8], const uint8_t *from, bool negative)
{
    uint8_t v[BLOCK];

    for (size_t i = 0; i < BLOCK; i++) {
        int value = gr_iq4_values[i < 16 ? from[i] & 15 : from[i - 16] >> 4];
        v[i] = (uint8_t)(128 + (negative ? -value : value));
    }
    memcpy(q, v, sizeof v);
}

/* The q of the j-th 32 values of a file's block, 4 in a word. Signed bytes begin at -128. How the others lie is said in
 * tensor/dtype.c. */
static void values(uint32_t q[8], const uint8_t *from, gr_dtype type, size_t j)
{
    const uint32_t low = 0x0f0f0f0f;

    switch (type) {
    case GR_Q8_0:
        for (size_t i = 0; i < 8; i++)
            q[i] = word_at(from + 2 + 4 * i) ^ 0x80808080u;
        break;
    case GR_IQ4_NL:
        numbered(q, from + 2, false);
        break;
    case GR_IQ4_XS:
        numbered(q, from + 8 + 16 * j, gr_iq4_xs_scale(from, j) < 0);
        break;
    case GR_Q2_K:
        for (size_t i = 0; i < 8; i++)
            q[i] = word_at(from + 16 + j / 4 * 32 + 4 * i) >> j % 4 * 2 & 0x03030303u;
        break;
    case GR_Q3_K:
        for (size_t i = 0; i < 8; i++)
            q[i] = (word_at(from + 32 + j / 4 * 32 + 4 * i) >> j % 4 * 2 & 0x03030303u) |
                   (word_at(from + 4 * i) >> j & 0x01010101u) << 2;
        break;
    case GR_Q4_K:
    case GR_Q5_K:
        for (size_t i = 0; i < 8; i++) {
            q[i] = word_at(from + (type == GR_Q4_K ? 16 : 48) + j / 2 * 32 + 4 * i) >> j % 2 * 4 & low;
            if (type == GR_Q5_K)
                q[i] |= (word_at(from + 16 + 4 * i) >> j & 0x01010101u) << 4;
        }
        break;
    case GR_Q6_K:
        for (size_t i = 0; i < 8; i++)
            q[i] = (word_at(from + j / 4 * 64 + j % 2 * 32 + 4 * i) >> j % 4 / 2 * 4 & low) |
                   (word_at(from + 128 + j / 4 * 32 + 4 * i) >> j % 4 * 2 & 0x03030303u) << 4;
        break;
    default: {
        bool fifth = type == GR_Q5_0 || type == GR_Q5_1;
        const uint8_t *upper = from + (type == GR_Q4_1 || type == GR_Q5_1 ? 4 : 2), *half = upper + (fifth ? 4 : 0);
        for (size_t i = 0; i < 4; i++) {
            q[i] = word_at(half + 4 * i) & low;
            q[i + 4] = word_at(half + 4 * i) >> 4 & low;
        }
        for (size_t i = 0; i < 8 && fifth; i++)
            q[i] |= spread(word_at(upper), 4 * i) << 4;
    }
    }
}

/* Puts output i's q into a panel's block: its upper bits, and the others behind them. */
static void put_values(uint8_t *to, size_t i, const uint32_t q[8], const struct digits_type *t)
{
    uint32_t upper[2] = { 0 };
    size_t words = t->bits == 8 ? 8 : 4;

    for (size_t k = 0; k < 8 && t->bits == 5; k++)
        upper[0] |= (q[k] >> 4 & 0x01010101u) << k;
    for (size_t k = 0; k < 8 && t->bits == 6; k++)
        upper[k / 4] |= (q[k] >> 4 & 0x03030303u) << k % 4 * 2;
    for (size_t k = 0; k < digits_upper(*t) / (4 * PANEL); k++)
        memcpy(to + 4 * (k * PANEL + i), upper + k, 4);
    to += digits_upper(*t);
    for (size_t k = 0; k < words; k++) {
        uint32_t four = words == 8 ? q[k] : (q[k] & 0x0f0f0f0fu) | (q[k + 4] & 0x0f0f0f0fu) << 4;
        memcpy(to + 4 * (k * PANEL + i), &four, 4);
    }
}

/* The k-th scale of a block of a file, and that of its minimum. Those of two parts are signed bytes. */
static uint8_t scale_of(const uint8_t *from, gr_dtype type, size_t k)
{
    const uint8_t *p = from + 4;

    switch (type) {
    case GR_Q2_K:   return from[k] & 15;
    case GR_Q3_K:   return (uint8_t)gr_q3_k_scale(from + 96, k);
    case GR_Q6_K:   return from[192 + k];
    case GR_IQ4_XS: return (uint8_t)abs(gr_iq4_xs_scale(from, k));
    default:        return k < 4 ? p[k] & 63 : (p[k + 4] & 15) | p[k - 4] >> 6 << 4;
    }
}

static uint8_t min_of(const uint8_t *from, gr_dtype type, size_t k)
{
    const uint8_t *p = from + 4;

    return type == GR_Q2_K ? from[k] >> 4 : k < 4 ? p[k + 4] & 63 : p[k + 4] >> 4 | p[k] >> 6 << 4;
}

/* Where a block of a file has its d, and behind it its m. */
static size_t place_of_d(gr_dtype type)
{
    return type == GR_Q2_K ? 80 : type == GR_Q3_K ? 108 : type == GR_Q6_K ? 208 : 0;
}

/* Makes output i's part of a panel's group from the file's block of it. */
static void pack_group(uint8_t *to, size_t i, const uint8_t *from, gr_dtype type, const struct digits_type *t)
{
    uint32_t q[8];

    memcpy(to + 2 * i, from + place_of_d(type), 2);
    if (t->mins) {
        memcpy(to + 2 * (PANEL + i), from + place_of_d(type) + 2, 2);
        to[2 * (PANEL + i) + 1] ^= t->blocks > 1 ? 0x80 : 0;            /* there they are taken away */
    }
    to += digits_head(*t);
    for (size_t j = 0; j < t->blocks; j++, to += digits_block(*t)) {
        for (size_t p = 0; p < t->parts && t->blocks > 1; p++) {
            to[p * PANEL + i] = scale_of(from, type, j * t->parts + p);
            if (t->mins)
                to[(t->parts + p) * PANEL + i] = min_of(from, type, j * t->parts + p);
        }
        values(q, from, type, j);
        put_values(to + digits_scales(*t), i, q, t);
    }
}

void gr_digits_pack(void *panels, const void *rows, gr_dtype type, size_t O, size_t K)
{
    const struct digits_type *t = gr_digits_type(type);
    size_t panel = gr_digits_panel_bytes(type, K), group = digits_group(*t), bytes = gr_dtype_bytes(type);
    const uint8_t *from = rows;

    if (O % PANEL)
        memset((uint8_t *)panels + O / PANEL * panel, 0, panel);
    for (size_t o = 0; o < O; o++)
        for (size_t b = 0; b < K / gr_dtype_block(type); b++, from += bytes)
            pack_group((uint8_t *)panels + o / PANEL * panel + b * group, o % PANEL, from, type, t);
}

/* ---- Products ------------------------------------------------------------------------------------- */

void gr_digits_row_ref(gr_digits *to, const float *x, size_t K)
{
    for (; K > 0; K -= BLOCK, x += BLOCK, to++) {
        float top = 0, inverse;
        bool finite = true;
        for (size_t k = 0; k < BLOCK; k++) {
            top = fmaxf(top, fabsf(x[k]));
            finite = finite && isfinite(x[k]);
        }
        *to = (gr_digits){ .scale = finite ? top / GR_DIGITS_LIMIT : NAN };
        to->scale = to->scale < FLT_MIN ? 0 : to->scale;        /* a division by it could overflow */
        inverse = to->scale > 0 ? 1 / to->scale : 0;
        for (size_t k = 0; k < BLOCK && inverse > 0; k++) {
            int32_t X = (int32_t)rintf(x[k] * inverse), upper = (X + 128) >> 8;
            to->half[0][k] = (int16_t)upper;
            to->half[1][k] = (int16_t)(X - 256 * upper);
            to->upper_sum[k / GR_DIGITS_PART] += upper;
            to->low_sum[k / GR_DIGITS_PART] += X - 256 * upper;
        }
        to->upper_sum[2] = to->upper_sum[0] + to->upper_sum[1];
        to->low_sum[2] = to->low_sum[0] + to->low_sum[1];
        to->sum = to->scale * (float)(256 * to->upper_sum[2] + to->low_sum[2]);
    }
}

/* Returns q of value k of output i; w begins with a block's upper bits. */
static int32_t value_at(const uint8_t *w, size_t i, size_t k, const struct digits_type *t)
{
    const uint8_t *q = w + digits_upper(*t) + 4 * i;
    int32_t both = q[(t->bits == 8 ? k : k % 16) / 4 * 4 * PANEL + k % 4], upper = 0;

    if (t->bits == 8)
        return both;
    if (t->bits == 5)
        upper = w[4 * i + k % 4] >> k / 4 & 1;
    else if (t->bits == 6)
        upper = w[k / 16 * 4 * PANEL + 4 * i + k % 4] >> k % 16 / 4 * 2 & 3;
    return (k < 16 ? both & 15 : both >> 4) | upper << 4;
}

/* y + what output i of a block adds. d, m: of its group. */
static float add_block(float y, const gr_digits *x, const uint8_t *w, size_t i, float d, float m,
                       const struct digits_type *t)
{
    const size_t each = BLOCK / t->parts;
    bool scales = t->blocks > 1;

    for (size_t p = 0; p < t->parts; p++) {
        int32_t upper = 0, low = 0;
        float scale = !scales ? d : d * (t->parts > 1 ? (float)(int8_t)w[p * PANEL + i] : (float)w[i]);
        for (size_t k = p * each; k < (p + 1) * each; k++) {
            int32_t one = value_at(w + digits_scales(*t), i, k, t) - t->zero;
            upper += one * x->half[0][k];
            low += one * x->half[1][k];
        }
        y = fmaf(fmaf((float)upper, 256, (float)low), scale * x->scale, y);
    }
    for (size_t p = 0; p < t->parts && t->mins; p++)
        y = fmaf(scales ? m * (float)w[(t->parts + p) * PANEL + i] : m, digits_sum(x, t->parts, p), y);
    return y;
}

/* One output of one row; w: where its panel begins. */
static float output(const gr_digits *x, size_t blocks, const uint8_t *w, size_t i, const struct digits_type *t)
{
    float y = 0, d = 0, m = 0;

    for (size_t b = 0; b < blocks; b++, w += digits_block(*t)) {
        if (b % t->blocks == 0) {
            d = gr_half_at(w + 2 * i);
            m = t->mins ? gr_half_at(w + 2 * (PANEL + i)) : 0;
            w += digits_head(*t);
        }
        y = add_block(y, x + b, w, i, d, m, t);
    }
    return y;
}

void gr_digits_dot_ref(gr_mat y, const gr_digits *x, size_t M, const void *panels, gr_dtype type, size_t O, size_t K)
{
    const struct digits_type *t = gr_digits_type(type);
    size_t panel = gr_digits_panel_bytes(type, K), blocks = K / BLOCK;

    for (size_t m = 0; m < M; m++)
        for (size_t o = 0; o < O; o++)
            gr_f32(y)[m * y.ld + o] = output(x + m * blocks, blocks, (const uint8_t *)panels + o / PANEL * panel,
                                             o % PANEL, t);
}
