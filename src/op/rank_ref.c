/* rank_ref.c - see rank.h. Memory is what this waits for, so there is no other build. */
#include "op/rank.h"

enum { SOME = 512 };                        /* numbers whose sums stay in the cache from rank to rank */

void gr_rank_sum_ref(gr_lane *lane, float *y, const float *came, size_t ld, size_t own, size_t P, size_t n)
{
    float sum[SOME];

    (void)lane;
    for (size_t at = 0, k; at < n; at += k) {
        k = gr_min(SOME, n - at);
        for (size_t p = 0; p < P; p++) {
            const float *x = p == own ? y + at : came + p * ld + at;
            for (size_t i = 0; i < k; i++)
                sum[i] = p ? sum[i] + x[i] : x[i];
        }
        for (size_t i = 0; i < k; i++)
            y[at + i] = sum[i];
    }
}
