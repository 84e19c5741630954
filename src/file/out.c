/* out.c - see io.h. A name either holds the whole of what was written or what it held before:
 *
 *     write NAME.partial ... fsync it, close it, rename it to NAME, fsync the directory
 *
 * Each of these may be where a full disk shows; any failure leaves NAME alone. Bytes are held back until a line
 * ends, so that a program that is killed leaves whole lines. What is not a regular file (a pipe, /dev/null)
 * is written in place: it cannot be half there, and must not be replaced by a file; a table goes there when it is
 * whole. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/err.h"
#include "file/io.h"
#include "file/pack.h"
#include "file/table.h"
#include "file/temp.h"

#define FLUSH_AT ((size_t)64 << 10)

struct gr_out {
    char *path;                 /* the final name, symbolic links followed; for "-": "standard output" */
    char *partial;              /* what is written until commit; NULL: path itself, in place */
    int fd, pipe;               /* pipe: where a table goes that is made of what fd holds, a file without a name, or
                                 * -1 */
    bool keep;
    gr_table_kind named, table; /* what the name asks for; rows become one when they are whole */
    gr_packing packed;          /* how lines are compressed when they are whole */
    bool failed;                /* a write failed, so this can never be committed */
    uint64_t written;           /* bytes in the file, those found by a resume included */
    gr_buf held;
};

static gram_status io_failed(gr_out *o, const char *what, gram_err *err)
{
    int e = errno;

    o->failed = true;
    return gr_fail(err, GRAM_EIO, "%s: %s: %s", o->partial ? o->partial : o->path, what, strerror(e));
}

/* A name beside the final one that no other run uses. */
static gram_status open_unique(gr_out *o, gram_err *err)
{
    for (unsigned i = 0; i < 1000; i++) {
        gr_buf name = { 0 };
        if (!gr_buf_printf(&name, "%s.%ld-%u.tmp", o->path, (long)getpid(), i)) {
            gr_buf_clear(&name);
            return gr_nomem(err, o->path);
        }
        o->fd = open(name.p, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (o->fd >= 0) {
            o->partial = name.p;
            return GRAM_OK;
        }
        gr_buf_clear(&name);
        if (errno != EEXIST)
            break;
    }
    return io_failed(o, "not created", err);
}

/* NAME.partial, whatever it holds, to this run alone. */
static gram_status open_partial(gr_out *o, gram_err *err)
{
    gr_buf name = { 0 };
    struct stat st, now;

    if (!gr_buf_printf(&name, "%s.partial", o->path)) {
        gr_buf_clear(&name);
        return gr_nomem(err, o->path);
    }
    o->partial = name.p;
    o->fd = open(name.p, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (o->fd < 0)
        return io_failed(o, "not created", err);
    if (flock(o->fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK) {
        close(o->fd);
        o->fd = -1;
        return gr_fail(err, GRAM_EIO, "%s: another run is writing it", o->partial);
    }
    if (fstat(o->fd, &st) || !S_ISREG(st.st_mode)) {
        close(o->fd);
        o->fd = -1;
        return gr_fail(err, GRAM_EIO, "%s: a regular file is needed there", o->partial);
    }
    if (stat(name.p, &now) || now.st_ino != st.st_ino || now.st_dev != st.st_dev) {
        close(o->fd);                       /* another run renamed it in between: it is that run's whole output */
        o->fd = -1;
        return gr_fail(err, GRAM_EIO, "%s: another run has just written it", o->path);
    }
    return GRAM_OK;
}

/* Settles path and how it is written; opens in place where that is the way. */
static gram_status begin(gr_out *o, const char *path, gram_err *err)
{
    struct stat st;
    char real[PATH_MAX];

    if (gr_name_is_standard(path)) {
        o->named = gr_table_kind_of(path);
        if (path[1] && !o->named)
            return gr_fail(err, GRAM_EARG, "%s: wanted - for standard output, or -.parquet, -.arrow, -.arrows, "
                           "-.csv or -.tsv", path);
        o->path = gr_strdup("standard output");
        if (!o->path)
            return gr_nomem(err, path);
        o->fd = STDOUT_FILENO;
        return GRAM_OK;
    }
    if (stat(path, &st) == 0) {
        if (S_ISDIR(st.st_mode))
            return gr_fail(err, GRAM_EIO, "%s: a file name is needed, this is a directory", path);
        o->path = gr_strdup(realpath(path, real) ? real : path);    /* a link stays one; the file behind it is
                                                                     * replaced. A pipe's /proc name leads nowhere */
        if (!o->path)
            return gr_nomem(err, path);
        if (!S_ISREG(st.st_mode)) {
            o->named = gr_table_kind_of(path);
            o->fd = open(path, O_WRONLY | O_CLOEXEC);
            return o->fd < 0 ? io_failed(o, "not opened", err) : GRAM_OK;
        }
    }
    if (!o->path)
        o->path = gr_strdup(path);
    o->named = o->path ? gr_table_kind_of(o->path) : GR_TABLE_NONE;
    return o->path ? GRAM_OK : gr_nomem(err, path);
}

static gram_status open_out(gr_out **out, const char *path, bool keep, gram_err *err)
{
    gr_out *o = gr_calloc(1, sizeof *o);
    gram_status rc;

    *out = NULL;
    if (!o)
        return gr_nomem(err, path);
    o->fd = o->pipe = -1;
    o->keep = keep;
    rc = begin(o, path, err);
    if (!rc && o->fd < 0)
        rc = keep ? open_partial(o, err) : open_unique(o, err);
    if (rc) {
        o->keep = true;                     /* what was there before is not ours to remove */
        o->written = 1;
        gr_out_close(o);
        return rc;
    }
    *out = o;
    return GRAM_OK;
}

gram_status gr_out_open(gr_out **out, const char *path, bool keep, gram_err *err)
{
    gram_status rc = open_out(out, path, keep, err);

    if (!rc && (*out)->partial && ftruncate((*out)->fd, 0)) {
        rc = io_failed(*out, "not emptied", err);
        gr_out_close(*out);
        *out = NULL;
    }
    return rc;
}

/* Counts the lines there are, up to `most`, and cuts what follows the last newline of these. */
static gram_status keep_lines(gr_out *o, uint64_t most, uint64_t *lines, gram_err *err)
{
    char block[1 << 14];
    uint64_t at = 0, whole = 0;
    ssize_t k;

    *lines = 0;
    while (*lines < most && (k = read(o->fd, block, sizeof block)) != 0) {
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return io_failed(o, "not read", err);
        for (ssize_t i = 0; i < k && *lines < most; i++)
            if (block[i] == '\n') {
                ++*lines;
                whole = at + (uint64_t)i + 1;
            }
        at += (uint64_t)k;
    }
    o->written = whole;
    if (ftruncate(o->fd, (off_t)whole) || lseek(o->fd, (off_t)whole, SEEK_SET) < 0)
        return io_failed(o, "not cut to its whole lines", err);
    return GRAM_OK;
}

gram_status gr_out_resume(gr_out **out, const char *path, uint64_t *lines, gram_err *err)
{
    gram_status rc;

    *lines = 0;
    rc = open_out(out, path, true, err);
    if (!rc && (*out)->partial)
        rc = keep_lines(*out, UINT64_MAX, lines, err);
    if (rc && *out) {
        (*out)->written = 1;                /* it was not made here: it stays */
        gr_out_close(*out);
        *out = NULL;
    }
    return rc;
}

bool gr_out_begun(const char *path)
{
    char real[PATH_MAX];
    gr_buf name = { 0 };
    bool begun = gr_buf_printf(&name, "%s.partial", realpath(path, real) ? real : path) && gr_path_exists(name.p);

    gr_buf_clear(&name);
    return begun;
}

gram_status gr_out_keep(gr_out *o, uint64_t lines, gram_err *err)
{
    return lseek(o->fd, 0, SEEK_SET) < 0 ? io_failed(o, "not read", err) : keep_lines(o, lines, &lines, err);
}

/* Writes the first n bytes held and moves the others down. */
static gram_status write_held(gr_out *o, size_t n, gram_err *err)
{
    size_t done = 0;

    while (done < n) {
        ssize_t k = write(o->fd, o->held.p + done, n - done);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return io_failed(o, "not written", err);
        done += (size_t)k;
        o->written += (uint64_t)k;
    }
    if (n > 0)
        memmove(o->held.p, o->held.p + n, o->held.n - n);
    o->held.n -= n;
    return GRAM_OK;
}

static gram_status refuse_failed(gr_out *o, gram_err *err)
{
    return gr_fail(err, GRAM_EIO, "%s: an earlier write failed", o->path);
}

gram_status gr_out_write(gr_out *o, const void *p, size_t n, gram_err *err)
{
    const char *newline;

    if (o->failed)
        return refuse_failed(o, err);
    while (n > 0) {
        size_t take = gr_min(n, FLUSH_AT);      /* so that a large array is not copied whole */
        if (!gr_buf_add(&o->held, p, take)) {
            o->failed = true;
            return gr_nomem(err, o->path);
        }
        p = (const char *)p + take;
        n -= take;
        if (o->held.n >= FLUSH_AT) {
            newline = memrchr(o->held.p, '\n', o->held.n);
            take = newline ? (size_t)(newline - o->held.p) + 1 : o->held.n >= 16 * FLUSH_AT ? o->held.n : 0;
            gram_status rc = write_held(o, take, err);
            if (rc)
                return rc;
        }
    }
    return GRAM_OK;
}

gram_status gr_out_line(gr_out *o, const void *p, size_t n, gram_err *err)
{
    gram_status rc = gr_out_write(o, p, n, err);

    return rc ? rc : gr_out_write(o, "\n", 1, err);
}

gram_status gr_out_flush(gr_out *o, gram_err *err)
{
    return o->failed ? refuse_failed(o, err) : write_held(o, o->held.n, err);
}

/* fsync, where the file is of a kind that has one. */
static bool synced(int fd)
{
    return fsync(fd) == 0 || errno == EINVAL || errno == EROFS || errno == ENOTSUP;
}

static gram_status sync_directory(const char *path, gram_err *err)
{
    const char *slash = strrchr(path, '/');
    char *dir = slash ? gr_strndup(path, slash == path ? 1 : (size_t)(slash - path)) : gr_strdup(".");
    gram_status rc = GRAM_OK;
    int fd;

    if (!dir)
        return gr_nomem(err, path);
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 && !synced(fd))             /* a directory that may be written but not read cannot be synced */
        rc = gr_fail(err, GRAM_EIO, "%s: not synced: %s", dir, strerror(errno));
    if (fd >= 0)
        close(fd);
    free(dir);
    return rc;
}

gram_status gr_out_rows(gr_out *o, gram_err *err)
{
    gram_status rc = o->named ? gr_table_ready(o->path, err) : GRAM_OK;

    o->table = o->named;
    o->packed = o->named ? GR_PACK_NONE : gr_packing_of(o->path);
    if (!rc && o->packed && !o->partial)
        rc = gr_fail(err, GRAM_EARG, "%s: what goes into a pipe is not compressed", o->path);
    if (!rc && !o->named && gr_table_foreign(o->path))
        rc = gr_fail(err, GRAM_EARG, "%s: rows are not written in the form of this ending: wanted .jsonl, .csv or .tsv "
                     "(and these with .gz or .zst), .parquet, .arrow, .arrows or .feather", o->path);
    if (rc || !o->table || o->partial)
        return rc;
    o->pipe = o->fd;
    rc = gr_temp_open(&o->fd, err);
    o->failed = rc != GRAM_OK;
    return rc;
}

/* The table goes into a file without a name, too, and from there through the pipe. */
static gram_status commit_piped(gr_out *o, gram_err *err)
{
    char from[40], to[40], block[1 << 14];
    int lines = o->fd, table;
    ssize_t k = 1;
    gram_status rc = gr_temp_open(&table, err);

    gr_temp_name(from, lines);
    gr_temp_name(to, table);
    if (!rc)
        rc = gr_table_write(from, to, o->path, o->table, err);
    o->fd = o->pipe;
    o->pipe = -1;
    while (!rc && k) {
        k = read(table, block, sizeof block);
        if (k < 0 && errno != EINTR)
            rc = io_failed(o, "the table that was made is not read", err);
        else if (k > 0)
            rc = gr_out_write(o, block, (size_t)k, err);
    }
    if (!rc)
        rc = gr_out_flush(o, err);
    close(lines);
    if (table >= 0)
        close(table);
    return rc;
}

/* A table, or compressed lines, take the name when they are whole; the lines that they were made from go. */
static gram_status commit_made(gr_out *o, gram_err *err)
{
    gr_buf name = { 0 };
    int fd = -1;
    gram_status rc = gr_buf_printf(&name, "%s.%ld.tmp", o->path, (long)getpid()) ? GRAM_OK : gr_nomem(err, o->path);

    if (!rc)
        unlink(name.p);                     /* of a run that was killed and had this number: in a container, each has */
    if (!rc && o->table)
        rc = gr_table_write(o->partial, name.p, o->path, o->table, err);
    if (!rc)
        fd = open(name.p, o->table ? O_RDONLY | O_CLOEXEC : O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (!rc && fd >= 0 && !o->table)
        rc = gr_pack(o->fd, fd, o->packed, o->path, err);
    if (!rc && (fd < 0 || !synced(fd) || rename(name.p, o->path)))
        rc = io_failed(o, o->table ? "not written as a table" : "not written compressed", err);
    if (fd >= 0)
        close(fd);
    if (rc && name.p)
        unlink(name.p);
    gr_buf_clear(&name);
    if (rc)
        return rc;
    unlink(o->partial);
    close(o->fd);
    o->fd = -1;
    free(o->partial);
    o->partial = NULL;
    return sync_directory(o->path, err);
}

gram_status gr_out_commit(gr_out *o, gram_err *err)
{
    gram_status rc = gr_out_flush(o, err);
    int fd = o->fd;

    if (rc)
        return rc;
    if (o->pipe >= 0)
        return commit_piped(o, err);
    if (!synced(fd))
        return io_failed(o, "not synced", err);
    if (!o->partial)
        return GRAM_OK;
    if (o->table || o->packed)
        return commit_made(o, err);
    if (rename(o->partial, o->path))        /* the lock is held until it is: see open_partial() */
        return io_failed(o, "not renamed", err);
    o->fd = -1;
    close(fd);                              /* what could still fail, fsync() has said */
    free(o->partial);
    o->partial = NULL;
    return sync_directory(o->path, err);
}

void gr_out_close(gr_out *o)
{
    if (!o)
        return;
    if (o->fd >= 0 && !o->failed)
        write_held(o, o->held.n, NULL);     /* nobody is left to hear of a failure; the file keeps what it has */
    if (o->partial && (!o->keep || o->written == 0))
        unlink(o->partial);
    if (o->fd > STDERR_FILENO)
        close(o->fd);
    if (o->pipe > STDERR_FILENO)
        close(o->pipe);
    gr_buf_clear(&o->held);
    free(o->partial);
    free(o->path);
    free(o);
}

void gr_out_drop(gr_out *o)
{
    if (o)
        o->keep = false;
    gr_out_close(o);
}

const char *gr_out_partial(const gr_out *o)
{
    return o->partial;
}

bool gr_out_in_place(const gr_out *o)
{
    return !o->partial;
}

gram_status gr_write_file(const char *path, const void *p, size_t n, gram_err *err)
{
    gr_out *o;
    gram_status rc = gr_out_open(&o, path, false, err);

    if (!rc)
        rc = gr_out_write(o, p, n, err);
    if (!rc)
        rc = gr_out_commit(o, err);
    gr_out_close(o);
    return rc;
}
