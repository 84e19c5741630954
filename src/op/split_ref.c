/* split_ref.c - what every other split must agree with, bit for bit. */
#include <string.h>
#include "op/split.h"

static uint16_t nearest(float f)
{
    uint32_t u;

    memcpy(&u, &f, sizeof u);
    if ((u & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

void gr_split_ref(uint16_t *hi, uint16_t *lo, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t u = (uint32_t)(hi[i] = nearest(x[i])) << 16;
        float f;
        memcpy(&f, &u, sizeof f);
        if (lo)
            lo[i] = nearest(x[i] - f);
    }
}
