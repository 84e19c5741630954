/* fuzz_zip.c - any bytes as a zip archive: an error, or a member whose bytes can be read, as many as it says. */
#include <stdint.h>
#include "file/zip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static gram_status touch(void *arg, const void *p, size_t n, gram_err *err)
{
    static volatile unsigned char last;
    uint64_t *all = arg;

    (void)err;
    for (size_t i = 0; i < n; i++)
        last = ((const unsigned char *)p)[i];
    (void)last;
    *all += n;
    return *all > (64 << 20) ? GRAM_ESTOPPED : GRAM_OK;      /* a bomb is long, and no fault */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t all = 0;
    gram_err err;

    gr_zip_read(data, size, "x.zip", "a/b", touch, &all, &err);
    return 0;
}
