/* dropout.c - see dropout.h. By parts, so that the compiler makes vectors of all but the draws: in a fourth of the
 * time. */
#include <string.h>
#include "base/random.h"
#include "op/dropout.h"

#ifdef __clang__
#define FAST
#else
#define FAST __attribute__((optimize("O3")))
#endif

enum { PART = 64 };

static void draw(uint16_t out[PART], uint64_t *key)
{
    for (size_t i = 0; i < PART / 4; i++) {
        uint64_t z = gr_random(key);
        memcpy(out + 4 * i, &z, sizeof z);          /* the lowest bits first, as the host stores them */
    }
}

static inline __attribute__((always_inline))
void drop(float *restrict y, const float *restrict x, size_t n, uint64_t key, double p, bool add)
{
    uint16_t chance[PART], least = (uint16_t)(p * 0x1p16);
    float scale = (float)(1 / (1 - p));

    for (size_t at = 0; at < n; at += PART) {
        size_t m = n - at < PART ? n - at : PART;
        draw(chance, &key);
        for (size_t c = 0; c < m; c++) {
            float kept = (float)(chance[c] >= least) * (scale * x[at + c]);
            y[at + c] = add ? y[at + c] + kept : kept;
        }
    }
}

FAST void gr_dropout_fwd(float *y, const float *x, size_t n, uint64_t key, double p)
{
    drop(y, x, n, key, p, false);
}

FAST void gr_dropout_bwd(float *dx, const float *dy, size_t n, uint64_t key, double p)
{
    drop(dx, dy, n, key, p, true);
}

void gr_dropout_rows_fwd(gr_lane *lane, gr_mat y, gr_mat x, uint64_t key, const uint64_t *row_key, size_t N, size_t C,
                         double p)
{
    (void)lane;
    for (size_t n = 0; n < N; n++)
        gr_dropout_fwd(gr_f32(gr_mat_at(y, n, 0)), gr_f32(gr_mat_at(x, n, 0)), C, gr_random_at(key, row_key[n]), p);
}

void gr_dropout_rows_bwd(gr_lane *lane, gr_mat dx, gr_mat dy, uint64_t key, const uint64_t *row_key, size_t N, size_t C,
                         double p)
{
    (void)lane;
    for (size_t n = 0; n < N; n++)
        gr_dropout_bwd(gr_f32(gr_mat_at(dx, n, 0)), gr_f32(gr_mat_at(dy, n, 0)), C, gr_random_at(key, row_key[n]), p);
}
