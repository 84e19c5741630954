/* shards.c - see shards.h; and gram_merge_shards(). */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "api/shards.h"
#include "base/err.h"
#include "file/io.h"

#define MARK ".shard-"
#define MOST ((size_t)1 << 20)

gram_status gr_shard_check(const gram_file_options *o, const char *out, gram_err *err)
{
    if (!strcmp(out, "-"))
        return gr_fail(err, GRAM_EARG, "out: a share of the rows goes to a file, which is found by its name");
    if (o->shares > MOST || o->share >= o->shares)
        return gr_fail(err, GRAM_EARG, "shard %zu/%zu: wanted I/N with I from 0 to N - 1 and N up to %zu", o->share,
                       o->shares, MOST);
    return GRAM_OK;
}

gram_status gr_shard_name(const char *out, size_t share, size_t shares, char **name, gram_err *err)
{
    gr_buf b = { 0 };

    if (!gr_buf_printf(&b, "%s" MARK "%zu-of-%zu", out, share, shares)) {
        gr_buf_clear(&b);
        return gr_nomem(err, out);
    }
    *name = b.p;
    return GRAM_OK;
}

gram_status gr_shard_again(const char *name, bool resume, gram_err *err)
{
    gr_buf partial = { 0 };
    gram_status rc = GRAM_OK;

    if (!gr_path_exists(name))
        return GRAM_OK;
    if (!gr_buf_printf(&partial, "%s.partial", name))
        rc = gr_nomem(err, name);
    else if (resume ? !gr_path_exists(partial.p) && rename(name, partial.p) : unlink(name))
        rc = gr_fail(err, GRAM_EIO, "%s: %s", name, strerror(errno));
    gr_buf_clear(&partial);
    return rc;
}

/* ---- Merging -------------------------------------------------------------------------------------- */

/* "17-of-64": all of it, without signs or zeros in front. */
static bool read_mark(const char *s, size_t *share, size_t *shares)
{
    gr_buf again = { 0 };
    bool same;

    if (sscanf(s, "%7zu-of-%7zu", share, shares) != 2 || *share >= *shares || *shares > MOST)
        return false;
    same = gr_buf_printf(&again, "%zu-of-%zu", *share, *shares) && !strcmp(again.p, s);
    gr_buf_clear(&again);
    return same;
}

/* Which shares of `base` a directory holds. */
typedef struct {
    bool *there;                    /* [shares] */
    size_t shares, n;
} found;

static gram_status take_name(found *f, const char *out, size_t share, size_t shares, gram_err *err)
{
    if (f->shares == 0) {
        f->there = gr_calloc(shares, sizeof *f->there);
        if (!f->there)
            return gr_nomem(err, out);
        f->shares = shares;
    }
    if (shares != f->shares)
        return gr_fail(err, GRAM_EIO, "%s: there are shards of %zu and of %zu: wanted those of one run alone", out,
                       f->shares < shares ? f->shares : shares, f->shares < shares ? shares : f->shares);
    f->there[share] = true;
    f->n++;
    return GRAM_OK;
}

static gram_status find(found *f, const char *out, gram_err *err)
{
    const char *slash = strrchr(out, '/'), *base = slash ? slash + 1 : out;
    size_t n = strlen(base);
    gram_status rc = GRAM_OK;
    struct dirent *e;
    gr_buf dir = { 0 };
    DIR *d;

    if (!gr_buf_add(&dir, slash ? out : ".", slash ? (size_t)(slash - out) + 1 : 1))
        return gr_nomem(err, out);
    d = opendir(dir.p);
    if (!d)
        rc = gr_fail(err, GRAM_EIO, "%s: %s", dir.p, strerror(errno));
    while (d && !rc && (e = readdir(d))) {
        size_t share, shares;
        if (!strncmp(e->d_name, base, n) && !strncmp(e->d_name + n, MARK, sizeof MARK - 1) &&
            read_mark(e->d_name + n + sizeof MARK - 1, &share, &shares))
            rc = take_name(f, out, share, shares, err);
    }
    if (d)
        closedir(d);
    gr_buf_clear(&dir);
    return rc;
}

static gram_status all_there(const found *f, const char *out, gram_err *err)
{
    char *name = NULL;
    gr_buf partial = { 0 };
    bool begun;
    size_t k = 0;
    gram_status rc;

    if (f->n == 0)
        return gr_fail(err, GRAM_EIO, "%s: there is no shard of it (%s" MARK "0-of-N)", out, out);
    if (f->n == f->shares)
        return GRAM_OK;
    while (f->there[k])
        k++;
    rc = gr_shard_name(out, k, f->shares, &name, err);
    if (!rc && !gr_buf_printf(&partial, "%s.partial", name))
        rc = gr_nomem(err, out);
    begun = !rc && gr_path_exists(partial.p);
    if (!rc)
        rc = gr_fail(err, GRAM_EIO, "%s: %s (%zu of %zu shards are there)", name,
                     begun ? "this shard is not whole yet" : "this shard is missing", f->n, f->shares);
    gr_buf_clear(&partial);
    free(name);
    return rc;
}

static gram_status copy(gr_out *to, const char *path, uint64_t *rows, gram_err *err)
{
    gr_lines *l;
    const char *line;
    size_t n;
    gram_status rc = gr_lines_open(&l, path, err);

    if (rc)
        return rc;
    while (!(rc = gr_lines_next(l, &line, &n, err)) && line) {
        rc = gr_out_write(to, line, n, err);
        if (!rc)
            rc = gr_out_write(to, "\n", 1, err);
        if (rc)
            break;
        ++*rows;
    }
    gr_lines_close(l);
    return rc == GRAM_EFORMAT ? GRAM_EIO : rc;
}

gram_status gram_merge_shards(const char *out, uint64_t *rows, gram_err *err)
{
    found f = { 0 };
    gr_out *to = NULL;
    uint64_t n = 0;
    gram_status rc = find(&f, out, err);

    if (!rc)
        rc = all_there(&f, out, err);
    if (!rc)
        rc = gr_out_open(&to, out, false, err);
    if (!rc)
        rc = gr_out_as_table(to, err);
    for (size_t k = 0; k < f.shares && !rc; k++) {
        char *name = NULL;
        rc = gr_shard_name(out, k, f.shares, &name, err);
        if (!rc)
            rc = copy(to, name, &n, err);
        free(name);
    }
    if (!rc)
        rc = gr_out_commit(to, err);
    gr_out_close(to);
    free(f.there);
    if (rows)
        *rows = n;
    return rc;
}
