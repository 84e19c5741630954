/* rope_ref.c - what every other rope must agree with, and the table that all of them read. */
#include <math.h>
#include "op/rope.h"

/* way is 1 to turn by the angle, -1 to turn back. */
static void turn(float *x, size_t ldx, const int32_t *pos, const float *table, size_t N, size_t H, size_t D,
                 size_t R, bool interleaved, float way)
{
    size_t half = R / 2, step = interleaved ? 2 : 1, apart = interleaved ? 1 : half;

    for (size_t n = 0; n < N; n++)
        for (size_t h = 0; h < H; h++) {
            float *row = x + n * ldx + h * D;
            const float *c = table + (size_t)pos[n] * R, *s = c + half;
            for (size_t i = 0; i < half; i++) {
                float *a = row + i * step, *b = a + apart, a0 = *a, b0 = *b;
                *a = a0 * c[i] - b0 * (way * s[i]);
                *b = a0 * (way * s[i]) + b0 * c[i];
            }
        }
}

void gr_rope_fwd_ref(gr_lane *lane, gr_mat x, const int32_t *pos, const float *table, size_t N, size_t H, size_t D,
                     size_t R, bool interleaved)
{
    (void)lane;
    turn(x.p, x.ld, pos, table, N, H, D, R, interleaved, 1);
}

void gr_rope_bwd_ref(gr_lane *lane, gr_mat dx, const int32_t *pos, const float *table, size_t N, size_t H, size_t D,
                     size_t R, bool interleaved)
{
    (void)lane;
    turn(dx.p, dx.ld, pos, table, N, H, D, R, interleaved, -1);
}

void gr_rope_table(float *table, const float *freq, size_t first_pos, size_t max_pos, size_t R, float scale)
{
    for (size_t p = 0; p < max_pos; p++, table += R)
        for (size_t i = 0; i < R / 2; i++) {
            float angle = (float)(first_pos + p) * freq[i];
            table[i] = (float)(cos((double)angle) * scale);
            table[R / 2 + i] = (float)(sin((double)angle) * scale);
        }
}
