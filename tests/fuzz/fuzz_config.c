/* fuzz_config.c - any bytes as a config.json: an error, or a struct whose numbers are in range. */
#include <math.h>
#include <stdlib.h>
#include "file/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gram_err err;
    gr_config c;

    if (gr_config_parse(&c, "config.json", (const char *)data, size, &err))
        return 0;
    if (!c.layers || !c.width || !c.hidden || !c.vocabulary || !c.context || c.heads % c.kv_heads || c.head_dim % 2 ||
        !(c.attn_scale > 0))
        abort();
    for (size_t i = 0; i < c.layers; i++)
        if (c.sliding[i] && !c.window)
            abort();
    if (!c.rope_dim || c.rope_dim % 2 || c.rope_dim > c.head_dim)
        abort();
    for (size_t i = 0; i < c.rope_dim / 2; i++)
        if (!isfinite(c.inv_freq[0][i]) || !isfinite(c.inv_freq[1][i]) || (c.far.after && !isfinite(c.far.freq[i])))
            abort();
    gr_config_clear(&c);
    return 0;
}
