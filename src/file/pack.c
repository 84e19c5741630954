/* pack.c - see pack.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>
#include "base/err.h"
#include "file/io.h"
#include "file/pack.h"

enum { BLOCK = 1 << 16, GZIP_WINDOW = 15 + 16 };        /* zlib: the largest window, and gzip's header */

/* One of the two; a block of what is read, and one of what is made of it. */
struct packer {
    z_stream gzip;
    ZSTD_CCtx *zstd;            /* NULL: gzip */
    char in[BLOCK], out[BLOCK];
};

gr_packing gr_packing_of(const char *name)
{
    size_t n = strlen(name);

    return n > 3 && !strcmp(name + n - 3, ".gz") ? GR_PACK_GZIP :
           n > 4 && !strcmp(name + n - 4, ".zst") ? GR_PACK_ZSTD : GR_PACK_NONE;
}

gr_packing gr_packing_by(const void *first, size_t n)
{
    return n >= 2 && !memcmp(first, "\x1f\x8b", 2) ? GR_PACK_GZIP :
           n >= 4 && !memcmp(first, "\x28\xb5\x2f\xfd", 4) ? GR_PACK_ZSTD : GR_PACK_NONE;
}

/* Gives n bytes of p->in, the last of all where `end`, to the compressor, and what it makes to the file. */
static bool gzip(struct packer *p, size_t n, bool end, int to)
{
    p->gzip.next_in = (Bytef *)p->in;
    p->gzip.avail_in = (uInt)n;
    do {
        p->gzip.next_out = (Bytef *)p->out;
        p->gzip.avail_out = BLOCK;
        deflate(&p->gzip, end ? Z_FINISH : Z_NO_FLUSH);         /* what it gives is told by avail_out */
        if (!gr_write_all(to, p->out, BLOCK - p->gzip.avail_out))
            return false;
    } while (p->gzip.avail_out == 0);
    return true;
}

static bool zstd(struct packer *p, size_t n, bool end, int to)
{
    ZSTD_inBuffer in = { p->in, n, 0 };
    size_t left;

    do {
        ZSTD_outBuffer out = { p->out, BLOCK, 0 };
        left = ZSTD_compressStream2(p->zstd, &out, &in, end ? ZSTD_e_end : ZSTD_e_continue);
        if (ZSTD_isError(left)) {
            errno = ENOMEM;                                     /* all else would be a mistake of this file */
            return false;
        }
        if (!gr_write_all(to, p->out, out.pos))
            return false;
    } while (end ? left > 0 : in.pos < n);
    return true;
}

static bool all(struct packer *p, int from, int to)
{
    ssize_t n = 1;

    while (n != 0) {
        n = read(from, p->in, BLOCK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 || !(p->zstd ? zstd : gzip)(p, (size_t)n, n == 0, to))
            return false;
    }
    return true;
}

gram_status gr_pack(int from, int to, gr_packing how, const char *name, gram_err *err)
{
    struct packer *p = gr_calloc(1, sizeof *p);
    gram_status rc = GRAM_OK;

    if (p && how == GR_PACK_ZSTD)
        p->zstd = ZSTD_createCCtx();
    if (!p || (how == GR_PACK_ZSTD ? !p->zstd : deflateInit2(&p->gzip, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP_WINDOW,
                                                             8, Z_DEFAULT_STRATEGY) != Z_OK)) {
        free(p);
        return gr_nomem(err, name);
    }
    if (lseek(from, 0, SEEK_SET) < 0 || !all(p, from, to))
        rc = gr_fail(err, GRAM_EIO, "%s: not compressed: %s", name, strerror(errno));
    if (p->zstd)
        ZSTD_freeCCtx(p->zstd);
    else
        deflateEnd(&p->gzip);
    free(p);
    return rc;
}
