/* zip.c - see zip.h.
 *     ... | local header, name, extra, data | ... | central directory: an entry a file | end: where it begins |     */
#include <string.h>
#include <zlib.h>
#include "base/err.h"
#include "base/mem.h"
#include "file/zip.h"

enum { END_BYTES = 22, ENTRY_BYTES = 46, LOCAL_BYTES = 30, COMMENT_MOST = 65535, BLOCK = 1 << 16 };

static uint32_t le16(const unsigned char *p)
{
    return p[0] | (uint32_t)p[1] << 8;
}

static uint32_t le32(const unsigned char *p)
{
    return le16(p) | le16(p + 2) << 16;
}

typedef struct { const unsigned char *data; uint32_t method, crc, packed, bytes; } entry;

/* The record at the end, which a comment may follow; NULL: there is none. */
static const unsigned char *find_end(const unsigned char *zip, size_t n)
{
    for (size_t back = END_BYTES; back <= n && back <= END_BYTES + COMMENT_MOST; back++) {
        const unsigned char *p = zip + n - back;
        if (le32(p) == 0x06054b50 && le16(p + 20) == back - END_BYTES)
            return p;
    }
    return NULL;
}

/* The bytes of the member whose entry in the directory is at p. */
static gram_status locate(entry *e, const unsigned char *zip, size_t n, const unsigned char *p, const char *name,
                          const char *member, gram_err *err)
{
    uint64_t local = le32(p + 42), at;

    *e = (entry){ .method = le16(p + 10), .crc = le32(p + 16), .packed = le32(p + 20), .bytes = le32(p + 24) };
    if (le16(p + 8) & 1 || e->packed == UINT32_MAX || e->bytes == UINT32_MAX || local == UINT32_MAX)
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: %s is encrypted or of Zip64, which is not read", name, member);
    if (local + LOCAL_BYTES > n || le32(zip + local) != 0x04034b50)
        return gr_fail(err, GRAM_EFORMAT, "%s: %s has no header at byte %llu", name, member, (unsigned long long)local);
    at = local + LOCAL_BYTES + le16(zip + local + 26) + le16(zip + local + 28);
    if (at > n || e->packed > n - at)
        return gr_fail(err, GRAM_EFORMAT, "%s: the %u bytes of %s go past its end", name, e->packed, member);
    e->data = zip + at;
    return GRAM_OK;
}

static gram_status find(entry *out, const unsigned char *zip, size_t n, const char *name, const char *member,
                        gram_err *err)
{
    const unsigned char *end = find_end(zip, n), *p, *last;
    size_t k = strlen(member);

    if (!end || le32(end + 16) > (size_t)(end - zip) || le32(end + 12) > (size_t)(end - zip) - le32(end + 16))
        return gr_fail(err, GRAM_EFORMAT, "%s: no zip archive, or one that was cut short", name);
    p = zip + le32(end + 16);
    last = p + le32(end + 12);
    while (last - p >= ENTRY_BYTES && le32(p) == 0x02014b50) {
        size_t named = le16(p + 28), all = ENTRY_BYTES + named + le16(p + 30) + le16(p + 32);
        if (all > (size_t)(last - p))
            break;
        if (named == k && !memcmp(p + ENTRY_BYTES, member, k))
            return locate(out, zip, n, p, name, member, err);
        p += all;
    }
    return gr_fail(err, GRAM_EFORMAT, "%s: no %s in it", name, member);
}

/* Inflates, never more than the archive promises. */
static gram_status inflate_all(const entry *e, gr_zip_fn *fn, void *arg, uLong *crc, const char *name,
                               const char *member, gram_err *err)
{
    unsigned char block[BLOCK];
    z_stream z = { .next_in = (Bytef *)(uintptr_t)e->data, .avail_in = e->packed };
    uint64_t left = e->bytes;
    gram_status rc = GRAM_OK;
    int code = inflateInit2(&z, -MAX_WBITS);

    if (code != Z_OK)
        return gr_nomem(err, name);
    while (!rc && code == Z_OK) {
        size_t got;
        z.next_out = block;
        z.avail_out = BLOCK;
        code = inflate(&z, Z_NO_FLUSH);
        got = BLOCK - z.avail_out;
        if (got > left)
            code = Z_DATA_ERROR;
        if ((code != Z_OK && code != Z_STREAM_END) || (code == Z_OK && got == 0))
            break;
        left -= got;
        *crc = crc32(*crc, block, (uInt)got);
        rc = got ? fn(arg, block, got, err) : GRAM_OK;
    }
    inflateEnd(&z);
    if (!rc && (code != Z_STREAM_END || left))
        rc = gr_fail(err, GRAM_EFORMAT, "%s: %s does not inflate to the %u bytes that it should have", name, member,
                     e->bytes);
    return rc;
}

gram_status gr_zip_read(const unsigned char *zip, size_t n, const char *name, const char *member, gr_zip_fn *fn,
                        void *arg, gram_err *err)
{
    uLong crc = crc32(0, NULL, 0);
    entry e;
    gram_status rc = find(&e, zip, n, name, member, err);

    if (rc)
        return rc;
    if (e.method == 8) {
        rc = inflate_all(&e, fn, arg, &crc, name, member, err);
    } else if (e.method == 0 && e.packed == e.bytes) {
        crc = crc32_z(crc, e.data, e.bytes);
        rc = e.bytes ? fn(arg, e.data, e.bytes, err) : GRAM_OK;
    } else {
        rc = gr_fail(err, GRAM_EUNSUPPORTED, "%s: %s is packed by method %u, and stored and deflated files are read",
                     name, member, e.method);
    }
    if (!rc && crc != e.crc)
        rc = gr_fail(err, GRAM_EFORMAT, "%s: the CRC of %s is %08lx, wanted %08x", name, member, crc, e.crc);
    return rc;
}
