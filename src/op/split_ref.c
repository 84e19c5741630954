/* split_ref.c - what every other split must agree with, bit for bit. */
#include <string.h>
#include "op/split.h"
#include "tensor/dtype.h"

void gr_split_ref(uint16_t *hi, uint16_t *lo, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t u = (uint32_t)(hi[i] = gr_bf16(x[i])) << 16;
        float f;
        memcpy(&f, &u, sizeof f);
        if (lo)
            lo[i] = gr_bf16(x[i] - f);
    }
}
