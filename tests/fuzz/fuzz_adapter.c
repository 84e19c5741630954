/* fuzz_adapter.c - any bytes as an adapter_config.json: an error, or numbers in range. */
#include <stdlib.h>
#include "file/adapter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gram_err err;
    gr_adapter_config c;

    if (gr_adapter_config_parse(&c, "adapter_config.json", (const char *)data, size, &err))
        return 0;
    if (!c.rank || !(c.alpha > 0) || (c.base && !*c.base))
        abort();
    gr_adapter_config_clear(&c);
    return 0;
}
