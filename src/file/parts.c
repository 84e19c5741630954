/* parts.c - the parts of a split GGUF, as llama-gguf-split and llama.cpp's converter write them.
 *
 * NAME-00001-of-00003.gguf holds the keys, and each part its tensors and three keys: split.no (from 0), split.count and
 * split.tensors.count, of all parts together. The first part stands for the whole; the others lie beside it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "file/file_int.h"

enum { PARTS_MOST = 99999 };

#define SUFFIX "-00001-of-00003.gguf"

size_t gr_gguf_part_count(const char *first)
{
    size_t len = strlen(first), n = 0;
    char end[64];

    if (len < strlen(SUFFIX) || sscanf(first + len - strlen(SUFFIX), "-00001-of-%5zu.gguf", &n) != 1)
        return 1;
    snprintf(end, sizeof end, "-00001-of-%05zu.gguf", n);
    return strcmp(first + len - strlen(SUFFIX), end) ? 1 : n;
}

/* The first one's with another number. */
char *gr_gguf_part_path(const char *first, size_t i, size_t n)
{
    gr_buf b = { 0 };

    if (gr_buf_add(&b, first, strlen(first) - strlen(SUFFIX)) && gr_buf_printf(&b, "-%05zu-of-%05zu.gguf", i + 1, n))
        return b.p;
    gr_buf_clear(&b);
    return NULL;
}

static gram_status check_name(const char *path, uint64_t no, uint64_t n, gram_err *err)
{
    char end[64];
    size_t len;

    if (n > PARTS_MOST)
        return gr_fail(err, GRAM_EFORMAT, "%s: said to be split into %" PRIu64 " parts, at most %d wanted", path, n,
                       PARTS_MOST);
    if (no != 0)
        return gr_fail(err, GRAM_EARG, "%s: part %" PRIu64 " of a model that is split into %" PRIu64 "; the first "
                       "part, whose name ends in -00001-of-%05" PRIu64 ".gguf, opens all of them", path, no + 1, n, n);
    len = (size_t)snprintf(end, sizeof end, "-%05" PRIu64 "-of-%05" PRIu64 ".gguf", no + 1, n);
    if (strlen(path) < len || strcmp(path + strlen(path) - len, end))
        return gr_fail(err, GRAM_EARG, "%s: part 1 of a model that is split into %" PRIu64 "; the others are found by "
                       "its name, which must end in %s, or are merged with it (llama-gguf-split --merge)", path, n,
                       end);
    return GRAM_OK;
}

static gram_status open_part(gr_gguf **out, const char *path, size_t i, size_t n, gram_err *err)
{
    uint64_t no = 0, count = 0;
    gram_status rc;

    if (!gr_path_exists(path))
        return gr_fail(err, GRAM_EIO, "%s: part %zu of a model that is split into %zu is missing; all parts lie beside "
                       "each other, or are merged into one file (llama-gguf-split --merge)", path, i + 1, n);
    rc = gr_gguf_open(out, path, err);
    if (rc)
        return rc;
    gr_gguf_u64(*out, "split.no", &no);                 /* 0 is of the first alone */
    gr_gguf_u64(*out, "split.count", &count);
    if (no == i && count == n)
        return GRAM_OK;
    return gr_fail(err, GRAM_EFORMAT, "%s: keys split.no and split.count: wanted %zu and %zu, found %" PRIu64 " and %"
                   PRIu64, path, i, n, no, count);
}

static gram_status check_count(const gr_gguf *first, const char *path, size_t found, gram_err *err)
{
    uint64_t want;

    if (!gr_gguf_u64(first, "split.tensors.count", &want) || want == found)
        return GRAM_OK;
    return gr_fail(err, GRAM_EFORMAT, "%s: %" PRIu64 " tensors in all parts wanted, found %zu", path, want, found);
}

gram_status gr_gguf_parts(gr_gguf ***out, size_t *n, const gr_gguf *first, const char *path, gram_err *err)
{
    uint64_t count = 1, no = 0;
    size_t tensors = gr_gguf_names(first)->n;
    gram_status rc;

    *out = NULL;
    *n = 0;
    if (!gr_gguf_u64(first, "split.count", &count) || count < 2)
        return GRAM_OK;
    gr_gguf_u64(first, "split.no", &no);
    rc = check_name(path, no, count, err);
    if (!rc && !(*out = gr_calloc((size_t)count, sizeof **out)))
        rc = gr_nomem(err, path);
    for (size_t i = 1; i < count && !rc; i++) {
        char *name = gr_gguf_part_path(path, i, (size_t)count);
        rc = name ? open_part(&(*out)[*n], name, i, (size_t)count, err) : gr_nomem(err, path);
        *n += (*out)[*n] != NULL;
        tensors += rc ? 0 : gr_gguf_names((*out)[*n - 1])->n;
        free(name);
    }
    return rc ? rc : check_count(first, path, tensors, err);
}
