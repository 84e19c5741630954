/* lines.c - see io.h. Reads through a file descriptor and zlib's inflate or zstd's stream, so that standard input may
 * be compressed too, and a stream that ends early is told from one that is whole (gzread() would not tell). */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>
#include "base/err.h"
#include "file/arrow.h"
#include "file/file_int.h"
#include "file/io.h"
#include "file/pack.h"
#include "file/table.h"
#include "file/temp.h"

#define BLOCK   ((size_t)64 << 10)
#define LONGEST ((size_t)64 << 20)
#define TELLING ((size_t)512)

struct gr_lines {
    char *name;                     /* for errors */
    int fd, temp;                   /* temp: where a table lies that came through a pipe, or -1 */
    bool own_fd, gzip, begun, end;  /* begun: the first bytes were looked at; end: of the text */
    bool told;                      /* the first bytes of the text are those of a text */
    bool in_member;                 /* gzip, zstd: a member or frame is open, so the file may not end here */
    z_stream z;
    ZSTD_DStream *zstd;             /* NULL: it is not */
    bool zstd_more;                 /* it holds text that did not fit */
    gr_table *table;                /* the file is one, and its rows are the lines; NULL: it is none */
    unsigned char raw[BLOCK];       /* as read */
    size_t raw_at, raw_n;
    char text[BLOCK];               /* inflated (or unused: plain files are taken from raw) */
    const char *got;                /* bytes not yet given to a line */
    size_t got_n;
    gr_buf line;
    uint64_t number;
};

/* A table is told by its first bytes, CSV and TSV by their name: what is called Parquet and is none may be a Git LFS
 * pointer, which is told below. */
static gr_table_kind kind_of(const void *p, size_t n, const char *path)
{
    gr_table_kind named = gr_table_kind_of(path);

    if (n >= 4 && !memcmp(p, "PAR1", 4))
        return GR_TABLE_PARQUET;
    if (n >= 4 && gr_arrow_is(p, n))
        return GR_TABLE_ARROW;              /* of either form */
    return named == GR_TABLE_CSV || named == GR_TABLE_TSV ? named : GR_TABLE_NONE;
}

/* A table is read at any place, so one that comes through a pipe is put into a file first. */
static gram_status open_piped(gr_lines *l, const char *path, gr_table_kind kind, gram_err *err)
{
    gram_status rc = gr_temp_open(&l->temp, err);

    if (!rc)
        rc = gr_temp_fill(l->temp, l->raw + l->raw_at, l->raw_n - l->raw_at, l->fd, l->name, err);
    l->raw_at = l->raw_n;
    if (!rc)
        rc = gr_table_open(&l->table, path, l->temp, kind, err);
    return rc == GRAM_EFORMAT ? GRAM_EIO : rc;          /* it is no row that is bad */
}

static gram_status open_table(gr_lines *l, const char *path, gram_err *err)
{
    gr_table_kind kind = kind_of("", 0, path);
    char first[8];
    struct stat st;
    ssize_t n;

    if (fstat(l->fd, &st) || !S_ISREG(st.st_mode) || lseek(l->fd, 0, SEEK_CUR) != 0)
        return kind ? open_piped(l, path, kind, err) : GRAM_OK;
    n = pread(l->fd, first, sizeof first, 0);
    if (n == 0 && gr_table_kind_of(path) != GR_TABLE_NONE)
        return gr_fail(err, GRAM_EIO, "%s: an empty file is no table: it was cut off, or never written", path);
    kind = kind_of(first, n < 0 ? 0 : (size_t)n, path);
    return kind ? gr_table_open(&l->table, path, l->fd, kind, err) : GRAM_OK;
}

gram_status gr_lines_open(gr_lines **out, const char *path, gram_err *err)
{
    bool standard = gr_name_is_standard(path);
    gram_status rc;
    struct stat st;
    gr_lines *l = gr_calloc(1, sizeof *l);

    *out = NULL;
    if (!l)
        return gr_nomem(err, path);
    l->fd = l->temp = -1;
    l->name = gr_strdup(standard ? "standard input" : path);
    if (!l->name) {
        gr_lines_close(l);
        return gr_nomem(err, path);
    }
    l->fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    l->own_fd = !standard;
    if (l->fd < 0 || (!fstat(l->fd, &st) && S_ISDIR(st.st_mode))) {
        int why = l->fd < 0 ? errno : EISDIR;
        gr_lines_close(l);
        return gr_fail(err, GRAM_EIO, "%s: %s", path, strerror(why));
    }
    rc = open_table(l, path, err);
    if (rc)
        gr_lines_close(l);
    else
        *out = l;
    return rc;
}

void gr_lines_close(gr_lines *l)
{
    if (!l)
        return;
    if (l->gzip)
        inflateEnd(&l->z);
    ZSTD_freeDStream(l->zstd);
    gr_table_close(l->table);
    if (l->own_fd && l->fd >= 0)
        close(l->fd);
    if (l->temp >= 0)
        close(l->temp);
    gr_buf_clear(&l->line);
    free(l->name);
    free(l);
}

uint64_t gr_lines_number(const gr_lines *l)
{
    return l->number;
}

/* Reads more bytes after those in raw[], which are moved to its front. *n 0: the end of the file. */
static gram_status read_raw(gr_lines *l, size_t *n, gram_err *err)
{
    ssize_t k;

    memmove(l->raw, l->raw + l->raw_at, l->raw_n - l->raw_at);
    l->raw_n -= l->raw_at;
    l->raw_at = 0;
    do
        k = read(l->fd, l->raw + l->raw_n, BLOCK - l->raw_n);
    while (k < 0 && errno == EINTR);
    if (k < 0)
        return gr_fail(err, GRAM_EIO, "%s:%" PRIu64 ": %s", l->name, l->number + 1, strerror(errno));
    *n = (size_t)k;
    l->raw_n += (size_t)k;
    return GRAM_OK;
}

/* GRAM_EIO, not GRAM_EFORMAT: it is not this line that is bad, and there is none after it to go on with. */
static gram_status unpack_failed(gr_lines *l, const char *what, gram_err *err)
{
    return gr_fail(err, GRAM_EIO, "%s:%" PRIu64 ": %s", l->name, l->number + 1, what);
}

/* Whether this can be text, asked once of what comes first. */
static gram_status tell(gr_lines *l, const void *p, size_t n, gram_err *err)
{
    const char *what = l->told ? NULL : gr_sniff(p, n);

    l->told = true;
    return what ? gr_fail(err, GRAM_EIO, "%s: this is %s", l->name, what) : GRAM_OK;
}

/* Looks at the first bytes, however small the pieces in which a pipe gives them: enough to tell a format by, or a
 * line, so that rows that come one by one do not wait. */
static gram_status begin(gr_lines *l, gram_err *err)
{
    gr_table_kind kind;
    gr_packing packing;
    gram_status rc;
    size_t n;

    l->begun = true;
    do {
        rc = read_raw(l, &n, err);
        if (rc)
            return rc;
    } while (n > 0 && (l->raw_n < 2 || (l->raw_n < TELLING && !memchr(l->raw, '\n', l->raw_n))));
    kind = kind_of(l->raw, l->raw_n, "");
    if (kind)
        return open_piped(l, l->name, kind, err);
    packing = gr_packing_by(l->raw, l->raw_n);
    if (packing == GR_PACK_ZSTD) {
        l->zstd = ZSTD_createDStream();
        return l->zstd ? GRAM_OK : gr_nomem(err, l->name);
    }
    if (packing == GR_PACK_NONE)
        return tell(l, l->raw, l->raw_n, err);
    if (inflateInit2(&l->z, 15 + 16) != Z_OK)           /* 16: a gzip header is wanted */
        return gr_nomem(err, l->name);
    l->gzip = l->in_member = true;
    return GRAM_OK;
}

/* Between two gzip members: the next one, zero padding, or the end. */
static gram_status next_member(gr_lines *l, gram_err *err)
{
    gram_status rc;
    size_t n;

    for (;;) {
        while (l->raw_at < l->raw_n && l->raw[l->raw_at] == 0)
            l->raw_at++;
        if (l->raw_at < l->raw_n)
            break;
        rc = read_raw(l, &n, err);
        if (rc)
            return rc;
        if (n == 0) {
            l->end = true;
            return GRAM_OK;
        }
    }
    if (inflateReset(&l->z) != Z_OK)
        return unpack_failed(l, "gzip data are damaged", err);
    l->in_member = true;
    return GRAM_OK;
}

/* Gives got[] new bytes, or sets end. */
static gram_status refill_gzip(gr_lines *l, gram_err *err)
{
    gram_status rc;
    size_t n;

    while (l->got_n == 0 && !l->end) {
        int z;
        if (!l->in_member) {
            rc = next_member(l, err);
            if (rc)
                return rc;
            continue;
        }
        if (l->raw_at == l->raw_n) {
            rc = read_raw(l, &n, err);
            if (rc)
                return rc;
            if (n == 0)
                return unpack_failed(l, "the gzip stream ends early", err);
        }
        l->z.next_in = l->raw + l->raw_at;
        l->z.avail_in = (uInt)(l->raw_n - l->raw_at);
        l->z.next_out = (unsigned char *)l->text;
        l->z.avail_out = BLOCK;
        z = inflate(&l->z, Z_NO_FLUSH);
        l->raw_at = l->raw_n - l->z.avail_in;
        l->got = l->text;
        l->got_n = BLOCK - l->z.avail_out;
        if (z == Z_STREAM_END)
            l->in_member = false;
        else if (z == Z_MEM_ERROR)
            return gr_nomem(err, l->name);
        else if (z != Z_OK && z != Z_BUF_ERROR)         /* Z_BUF_ERROR: it wants more input */
            return unpack_failed(l, "gzip data are damaged", err);
    }
    return tell(l, l->got, l->got_n, err);
}

static gram_status refill_zstd(gr_lines *l, gram_err *err)
{
    size_t n;

    while (l->got_n == 0 && !l->end) {
        ZSTD_inBuffer in;
        ZSTD_outBuffer to = { l->text, BLOCK, 0 };
        size_t left;
        if (l->raw_at == l->raw_n && !l->zstd_more) {
            gram_status rc = read_raw(l, &n, err);
            if (rc)
                return rc;
            if (n == 0 && l->in_member)
                return unpack_failed(l, "the zstd stream ends early", err);
            l->end = n == 0;
            if (l->end)
                break;
        }
        in = (ZSTD_inBuffer){ l->raw + l->raw_at, l->raw_n - l->raw_at, 0 };
        left = ZSTD_decompressStream(l->zstd, &to, &in);
        if (ZSTD_getErrorCode(left) == ZSTD_error_frameParameter_windowTooLarge)
            return unpack_failed(l, "packed with a window of more than 128 MiB: `zstdcat -M2048MB FILE | gram ... -` "
                                 "reads it", err);
        if (ZSTD_getErrorCode(left) == ZSTD_error_memory_allocation)
            return gr_nomem(err, l->name);
        if (ZSTD_isError(left))
            return unpack_failed(l, "zstd data are damaged", err);
        l->in_member = left != 0;
        l->zstd_more = to.pos == BLOCK;
        l->raw_at += in.pos;
        l->got = l->text;
        l->got_n = to.pos;
    }
    return tell(l, l->got, l->got_n, err);
}

static gram_status refill(gr_lines *l, gram_err *err)
{
    gram_status rc;
    size_t n = 0;

    if (l->gzip)
        return refill_gzip(l, err);
    if (l->zstd)
        return refill_zstd(l, err);
    if (l->raw_at == l->raw_n) {
        rc = read_raw(l, &n, err);
        if (rc)
            return rc;
    }
    l->got = (const char *)l->raw + l->raw_at;
    l->got_n = l->raw_n - l->raw_at;
    l->raw_at = l->raw_n;
    l->end = l->got_n == 0;
    return GRAM_OK;
}

/* Bytes to take, where none are left. *end: there are no more. */
static gram_status more(gr_lines *l, bool *end, gram_err *err)
{
    gram_status rc = l->got_n == 0 && !l->end ? refill(l, err) : GRAM_OK;

    *end = l->got_n == 0;
    return rc;
}

/* What there is up to the next newline, *n bytes; the newline is taken too. */
static const char *take(gr_lines *l, size_t *n, bool *whole)
{
    const char *p = l->got, *newline = memchr(p, '\n', l->got_n);
    size_t all;

    *n = newline ? (size_t)(newline - p) : l->got_n;
    *whole = newline != NULL;
    all = *n + *whole;
    l->got += all;
    l->got_n -= all;
    return p;
}

/* The rest of the line is passed over, so that the call after this failure gives the next one. */
static gram_status too_long(gr_lines *l, bool whole, gram_err *err)
{
    gram_status rc = GRAM_OK;
    bool end = false;
    size_t n;

    while (!whole && !rc && !end) {
        rc = more(l, &end, err);
        if (!rc && !end)
            take(l, &n, &whole);
    }
    if (rc)
        return rc;
    l->number++;
    return gr_fail(err, GRAM_EFORMAT, "%s:%" PRIu64 ": longer than %zu bytes", l->name, l->number, LONGEST);
}

gram_status gr_lines_next(gr_lines *l, const char **line, size_t *n, gram_err *err)
{
    bool any = false, whole = false, end;   /* an empty last line is given only where a newline ends it */

    *line = NULL;
    *n = 0;
    if (!l->table && !l->begun) {
        gram_status rc = begin(l, err);
        if (rc)
            return rc;
    }
    if (l->table) {
        gram_status rc = gr_table_next(l->table, line, n, err);
        l->number += *line != NULL;
        return rc;
    }
    l->line.n = 0;
    while (!whole) {
        gram_status rc = more(l, &end, err);
        const char *p;
        size_t part;
        if (rc)
            return rc;
        if (end)
            break;
        p = take(l, &part, &whole);
        if (part > LONGEST - l->line.n)
            return too_long(l, whole, err);
        if (!gr_buf_add(&l->line, p, part))
            return gr_nomem(err, l->name);
        any = true;
    }
    if (!any)
        return GRAM_OK;
    l->number++;
    *line = l->line.p;
    *n = l->line.n;
    return GRAM_OK;
}
