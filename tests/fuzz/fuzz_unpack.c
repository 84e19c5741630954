/* fuzz_unpack.c - any bytes as the weights and config.json of a directory: refused, or weights that can be read to
 * their last byte.
 *
 * | u16 n | config.json, n bytes | model.safetensors | */
#include <stdio.h>
#include <string.h>
#include "file/weights.h"
#include "fuzz_file.h"

static void write_file(const char *dir, const char *name, const uint8_t *p, size_t n)
{
    char path[128];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "wb");
    if (!f || fwrite(p, 1, n, f) != n || fclose(f))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char dir[] = "/tmp/fuzz-unpack-XXXXXX";
    static bool ready;
    uint16_t n;
    gr_weights *w;
    gram_err err;

    if (size < sizeof n || (memcpy(&n, data, sizeof n), n > size - sizeof n))
        return 0;
    if (!ready && !mkdtemp(dir))
        abort();
    ready = true;
    write_file(dir, "config.json", data + sizeof n, n);
    write_file(dir, "model.safetensors", data + sizeof n + n, size - sizeof n - n);
    if (gr_weights_open_dir(&w, dir, &err))
        return 0;
    for (size_t i = 0; i < gr_weights_count(w); i++)
        fuzz_touch(gr_weights_at(w, i)->data, gr_weights_at(w, i)->bytes);
    gr_weights_close(w);
    return 0;
}
