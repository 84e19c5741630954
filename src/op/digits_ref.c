/* digits_ref.c - panels, and what every other build must agree with, bit for bit. */
#include <float.h>
#include <math.h>
#include <string.h>
#include "op/digits_int.h"

enum { BLOCK = GR_DIGITS_BLOCK, PANEL = GR_DIGITS_PANEL };

/* NULL: panels have not this type. */
static const struct digits_type *of_type(gr_dtype type)
{
    static const struct digits_type q4_0 = DIGITS_Q4_0, q4_1 = DIGITS_Q4_1, q8_0 = DIGITS_Q8_0;

    return type == GR_Q4_0 ? &q4_0 : type == GR_Q4_1 ? &q4_1 : type == GR_Q8_0 ? &q8_0 : NULL;
}

/* ---- Panels --------------------------------------------------------------------------------------- */

bool gr_digits_has(gr_dtype type, size_t K)
{
    return of_type(type) && K > 0 && K % BLOCK == 0;
}

size_t gr_digits_panel_bytes(gr_dtype type, size_t K)
{
    return K / BLOCK * digits_block(*of_type(type));
}

size_t gr_digits_bytes(gr_dtype type, size_t O, size_t K)
{
    return (O + PANEL - 1) / PANEL * gr_digits_panel_bytes(type, K);
}

/* Output i's part of a panel's block, from the file's bytes of it. The signed bytes of Q8_0 begin at -128. */
static void pack_block(uint8_t *to, size_t i, const uint8_t *from, const struct digits_type *t)
{
    const uint8_t *q = from + (t->mins ? 4 : 2);
    uint8_t *w = to + digits_head(*t) + 4 * i;

    memcpy(to + 2 * i, from, 2);
    if (t->mins)
        memcpy(to + 2 * (PANEL + i), from + 2, 2);
    for (size_t k = 0; k < BLOCK / (t->nibbles ? 2 : 1); k += 4) {
        uint32_t four;
        memcpy(&four, q + k, sizeof four);
        four ^= t->zero == 128 ? 0x80808080u : 0;
        memcpy(w + k * PANEL, &four, sizeof four);
    }
}

void gr_digits_pack(void *panels, const void *rows, gr_dtype type, size_t O, size_t K)
{
    const struct digits_type *t = of_type(type);
    size_t panel = gr_digits_panel_bytes(type, K), block = digits_block(*t), bytes = gr_dtype_bytes(type);
    const uint8_t *from = rows;

    if (O % PANEL)
        memset((uint8_t *)panels + O / PANEL * panel, 0, panel);
    for (size_t o = 0; o < O; o++)
        for (size_t b = 0; b < K / BLOCK; b++, from += bytes)
            pack_block((uint8_t *)panels + o / PANEL * panel + b * block, o % PANEL, from, t);
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
            to->of.half[0][k] = (int16_t)upper;
            to->of.half[1][k] = (int16_t)(X - 256 * upper);
            to->upper_sum += upper;
            to->low_sum += X - 256 * upper;
        }
        to->sum = to->scale * (float)(256 * to->upper_sum + to->low_sum);
    }
}

static float half_at(const uint8_t *p)
{
    float f;

    gr_dequant(&f, p, GR_F16, 1);
    return f;
}

/* y + what output i of a block adds. */
static float add_block(float y, const gr_digits *x, const uint8_t *w, size_t i, const struct digits_type *t)
{
    const uint8_t *q = w + digits_head(*t) + 4 * i;
    int32_t upper = -t->zero * x->upper_sum, low = -t->zero * x->low_sum;
    size_t bytes = BLOCK / (t->nibbles ? 2 : 1);

    for (size_t k = 0; k < BLOCK; k++) {
        int32_t both = q[k % bytes / 4 * 4 * PANEL + k % 4];
        int32_t one = !t->nibbles ? both : k < bytes ? both & 15 : both >> 4;
        upper += one * x->of.half[0][k];
        low += one * x->of.half[1][k];
    }
    y = fmaf(fmaf((float)upper, 256, (float)low), half_at(w + 2 * i) * x->scale, y);
    return t->mins ? fmaf(half_at(w + 2 * (PANEL + i)), x->sum, y) : y;
}

void gr_digits_dot_ref(gr_mat y, const gr_digits *x, size_t M, const void *panels, gr_dtype type, size_t O, size_t K)
{
    const struct digits_type *t = of_type(type);
    size_t panel = gr_digits_panel_bytes(type, K), block = digits_block(*t), blocks = K / BLOCK;

    for (size_t m = 0; m < M; m++)
        for (size_t o = 0; o < O; o++) {
            const uint8_t *w = (const uint8_t *)panels + o / PANEL * panel;
            float sum = 0;
            for (size_t b = 0; b < blocks; b++)
                sum = add_block(sum, x + m * blocks + b, w + b * block, o % PANEL, t);
            gr_f32(y)[m * y.ld + o] = sum;
        }
}
