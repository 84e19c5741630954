/* fuzz_cache.c - any bytes as a file of examples: an error, or rows each of which is given or refused. So that what
 * lies behind the digests is reached, those of the index and of the footer are put right first. */
#include <string.h>
#include "base/digest.h"
#include "fuzz_file.h"
#include "train/cache.h"
#include "train/cache_int.h"

#define KEY "rows=0\n"

/* Also of the rows, as far as the index names places that lie in the file. */
static void seal(uint8_t *p, size_t n)
{
    struct gr_cache_footer f;
    size_t end = n - sizeof f;

    memcpy(&f, p + end, sizeof f);
    if (f.index <= f.warnings && f.warnings <= end) {
        for (uint64_t i = 0; i < f.rows && i < (f.warnings - f.index) / sizeof(struct gr_cache_entry); i++) {
            struct gr_cache_entry e, next = { .at = f.index };
            memcpy(&e, p + f.index + i * sizeof e, sizeof e);
            if (i + 1 < (f.warnings - f.index) / sizeof e)
                memcpy(&next, p + f.index + (i + 1) * sizeof e, sizeof e);
            if (e.at <= end && next.at <= end && next.at >= e.at + sizeof(struct gr_cache_record)) {
                uint64_t h = gr_digest_words(GR_DIGEST, p + e.at + 8, (next.at - e.at - 8) / 4);
                memcpy(p + e.at, &h, sizeof h);
            }
        }
        f.digest_behind = gr_digest(gr_digest_words(GR_DIGEST, p + f.index, (f.warnings - f.index) / 4),
                                    p + f.warnings, end - f.warnings);
    }
    f.digest = gr_digest_words(GR_DIGEST, &f, (sizeof f - sizeof f.digest) / 4);
    memcpy(p + end, &f, sizeof f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size + 1);
    gr_example room = { 0 };
    const gr_example *e;
    const char *text;
    size_t at = 0;
    gram_err err;
    gr_set s;

    if (!copy)
        abort();
    memcpy(copy, data, size);
    if (size > sizeof(struct gr_cache_footer))
        seal(copy, size);
    if (!gr_cache_open(&s, fuzz_file(copy, size), KEY, 70000, &err)) {
        for (size_t i = 0; i < s.n; i++)
            if (!gr_set_get(&s, i, &room, &e, &err))
                for (int k = 0; k < 2; k++)
                    fuzz_touch(e->seq[k].p, e->seq[k].n * sizeof *e->seq[k].p);
        while ((text = gr_cache_warning(s.cache, &at)))
            fuzz_touch(text, strlen(text));
        gr_set_clear(&s);
    }
    gr_room_clear(&room);
    free(copy);
    return 0;
}
