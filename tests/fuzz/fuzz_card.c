/* fuzz_card.c - any bytes as judge.json: an error, or a temperature and a base that can be used. */
#include <stdlib.h>
#include <string.h>
#include "file/card.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gr_card c;
    gram_err err;

    if (gr_card_parse(&c, "judge.json", (const char *)data, size, &err))
        return 0;
    if (c.temperature && !(c.temperature >= 1e-3 && c.temperature <= 1e3))
        abort();
    if (c.base_file && (strchr(c.base_file, '/') || !c.base_bytes))
        abort();
    gr_card_clear(&c);
    return 0;
}
