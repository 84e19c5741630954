/* fuzz_safetensors.c - any bytes as a .safetensors file: an error, or tensors that can be read to their last byte, and
 * weights of 8 bits that are refused or lie within theirs; and the bytes themselves as such a weight. */
#include <string.h>
#include "file/file_int.h"
#include "fuzz_file.h"
#include "op/packed.h"

static void as_weight(const void *p, size_t bytes)
{
    gram_err err;
    gr_packed w;

    if (gr_packed_read(&w, "w", p, bytes, &err))
        return;
    fuzz_touch(w.scale, w.O * sizeof *w.scale);
    fuzz_touch(w.sum, w.O * sizeof *w.sum);
    fuzz_touch(w.panels, gr_round_up(w.O, GR_PACKED_PANEL) * gr_round_up(w.K, GR_PACKED_PANEL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    void *copy = gr_alloc_aligned(size, 1);
    gram_err err;
    gr_st *st;

    if (!copy)
        return 0;
    if (size)
        memcpy(copy, data, size);
    as_weight(copy, size);
    free(copy);
    if (gr_st_open_codes(&st, fuzz_file(data, size), &err))
        return 0;
    for (size_t i = 0; i < gr_st_count(st); i++)
        fuzz_touch(gr_st_at(st, i)->data, gr_st_at(st, i)->bytes);
    for (size_t i = 0; i < gr_st_packed(st)->n; i++)
        as_weight(gr_st_packed(st)->t[i].data, gr_st_packed(st)->t[i].bytes);
    gr_st_close(st);
    return 0;
}
