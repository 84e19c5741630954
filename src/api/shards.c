/* shards.c - see shards.h; and gram_merge_shards(). */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "api/how.h"
#include "api/overlap.h"
#include "api/shards.h"
#include "base/err.h"
#include "file/io.h"

#define MARK ".shard-"
#define MOST ((size_t)1 << 20)

gram_status gr_shard_check(const gram_file_options *o, const char *out, gram_err *err)
{
    if (gr_name_is_standard(out))
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

/* "17-of-64", without signs or zeros in front. *more: what is behind it, "" or from a point on. */
static bool read_mark(const char *s, size_t *share, size_t *shares, const char **more)
{
    gr_buf again = { 0 };
    bool same;

    if (sscanf(s, "%7zu-of-%7zu", share, shares) != 2 || *share >= *shares || *shares > MOST)
        return false;
    same = gr_buf_printf(&again, "%zu-of-%zu", *share, *shares) && !strncmp(again.p, s, again.n) &&
           (!s[again.n] || s[again.n] == '.');
    *more = s + again.n * same;
    gr_buf_clear(&again);
    return same;
}

/* Which shares of `base` a directory holds. */
typedef struct {
    const char *out;
    size_t only;                    /* > 0: shards of so many, others not being looked at */
    bool resumes;                   /* as of gr_how_end() */
    bool *there;                    /* [shares] */
    size_t shares, n;
} found;

static gram_status take_name(void *arg, const char *path, size_t share, size_t shares, const char *more, gram_err *err)
{
    found *f = arg;
    const char *out = f->out;

    (void)path;
    if (*more || (f->only && shares != f->only))
        return GRAM_OK;
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

/* Calls fn for each shard of `out`, and for what is called like one and goes on with more: ".partial", ".taken-RUN". */
typedef gram_status seen_fn(void *arg, const char *path, size_t share, size_t shares, const char *more, gram_err *err);

static gram_status each_shard(const char *out, seen_fn *fn, void *arg, gram_err *err)
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
        const char *more;
        char *path;
        if (strncmp(e->d_name, base, n) || strncmp(e->d_name + n, MARK, sizeof MARK - 1) ||
            !read_mark(e->d_name + n + sizeof MARK - 1, &share, &shares, &more))
            continue;
        path = gr_path_join(dir.p, e->d_name);
        rc = path ? fn(arg, path, share, shares, more, err) : gr_nomem(err, out);
        free(path);
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
        rc = gr_out_line(to, line, n, err);
        if (rc)
            break;
        ++*rows;
    }
    gr_lines_close(l);
    return rc == GRAM_EFORMAT ? GRAM_EIO : rc;
}

/* Their lines, one share after the other. */
static gram_status copy_all(gr_out *to, const found *f, uint64_t *rows, gram_err *err)
{
    gram_status rc = GRAM_OK;

    for (size_t k = 0; k < f->shares && !rc; k++) {
        char *name = NULL;
        rc = gr_shard_name(f->out, k, f->shares, &name, err);
        if (!rc)
            rc = copy(to, name, rows, err);
        free(name);
    }
    return rc;
}

/* Whether all shares were made in one way of the same lines, each as the one that it is called; *how is theirs as a run
 * without shares notes it, which may go on from their lines; NULL where nothing was noted beside any. */
static gram_status same_run(const found *f, json_t **how, gram_err *err)
{
    gram_status rc = GRAM_OK;
    gram_err why = { 0 };

    *how = NULL;
    for (size_t k = 0; k < f->shares && !rc; k++) {
        char *name = NULL;
        json_t *own = NULL;
        rc = gr_shard_name(f->out, k, f->shares, &name, err);
        if (!rc)
            rc = gr_how_read(&own, name, err);
        if (!rc && own && json_integer_value(json_object_get(own, "share")) != (json_int_t)k)
            rc = gr_fail(err, GRAM_EIO, "%s: what is noted beside it is of share %d", name,
                         (int)json_integer_value(json_object_get(own, "share")));
        json_object_del(own, "share");
        if (!rc && k && !own != !*how)
            rc = gr_fail(err, GRAM_EIO, "%s: how %s made is not noted beside %s: wanted NAME.how beside each shard, or "
                         "beside none", name, own ? "the shards before it were" : "it was", own ? "them" : "it");
        if (!rc && k && own && gr_how_compare(own, *how, name, "this shard", "those before", &why))
            rc = gr_fail(err, GRAM_EIO, "%s", why.text);
        if (!k)
            *how = json_incref(own);
        json_decref(own);
        free(name);
    }
    json_object_del(*how, "lines");
    json_object_del(*how, "digest of the lines");
    return rc;
}

/* PURM's verdicts, whose lines say more once all of them are there. */
static gram_status copy_spread(gr_out *to, const found *f, double lambda, uint64_t *rows, gram_err *err)
{
    gr_spread spread = { 0 };
    gram_status rc = GRAM_OK;

    for (size_t k = 0; k < f->shares && !rc; k++) {
        char *name = NULL;
        const char *line;
        gr_lines *l = NULL;
        size_t n;
        rc = gr_shard_name(f->out, k, f->shares, &name, err);
        if (!rc)
            rc = gr_lines_open(&l, name, err);
        while (!rc && !(rc = gr_lines_next(l, &line, &n, err)) && line) {
            rc = gr_spread_add(&spread, line, n, err);
            ++*rows;
        }
        gr_lines_close(l);
        free(name);
    }
    if (!rc)
        rc = gr_spread_write(&spread, lambda, to, err);
    gr_spread_clear(&spread);
    return rc == GRAM_EFORMAT ? GRAM_EIO : rc;
}

/* What is noted beside them, as beside one output. */
static gram_status join_how(gr_how *to, const found *f, const json_t *how, gram_err *err)
{
    gram_status rc = gr_how_begin(to, f->out, how, &(uint64_t){ 0 }, err);

    for (size_t k = 0; k < f->shares && !rc; k++) {
        char *name = NULL;
        rc = gr_shard_name(f->out, k, f->shares, &name, err);
        if (!rc)
            rc = gr_how_join(to, name, err);
        free(name);
    }
    return rc;
}

/* how: what was noted beside them, or NULL. */
static gram_status join_whole(const found *f, const char *name, const json_t *how, uint64_t *rows, gram_err *err)
{
    gr_out *to = NULL;
    gr_how beside = { .fd = -1 };
    gram_status rc = gr_out_open(&to, name, false, err);

    if (!rc)
        rc = gr_out_rows(to, err);
    if (!rc && how)
        rc = join_how(&beside, f, how, err);
    else if (!rc)
        gr_how_forget(name);
    if (!rc && json_is_true(json_object_get(how, "overlap")))
        rc = copy_spread(to, f, json_number_value(json_object_get(how, "lambda")), rows, err);
    else if (!rc)
        rc = copy_all(to, f, rows, err);
    if (!rc)
        rc = gr_out_commit(to, err);
    if (!rc && how)
        gr_how_end(&beside, name, f->resumes);
    gr_how_close(&beside);
    gr_out_close(to);
    return rc;
}

/* Their lines as a run that was cut off leaves them; how: what was noted beside them, or NULL. */
static gram_status join(const found *f, const char *name, const json_t *how, uint64_t *rows, gram_err *err)
{
    gr_out *to = NULL;
    gr_how beside = { .fd = -1 };
    gram_status rc = how ? join_how(&beside, f, how, err) : GRAM_OK;

    gr_how_close(&beside);
    if (!rc)
        rc = gr_out_open(&to, name, false, err);
    if (!rc)
        rc = copy_all(to, f, rows, err);
    if (!rc)
        rc = gr_out_commit(to, err);
    gr_out_close(to);
    return rc;
}

/* Joins the shares of `out`, all of which must be there. only, resumes: as in found. */
static gram_status merge(const char *out, size_t only, bool resumes, uint64_t *rows, gram_err *err)
{
    found f = { .out = out, .only = only, .resumes = resumes };
    gram_status rc = each_shard(out, take_name, &f, err);
    json_t *how = NULL;

    if (!rc)
        rc = all_there(&f, out, err);
    if (!rc)
        rc = same_run(&f, &how, err);
    if (!rc)
        rc = join_whole(&f, out, how, rows, err);
    json_decref(how);
    free(f.there);
    return rc;
}

gram_status gram_merge_shards(const char *out, uint64_t *rows, gram_err *err)
{
    uint64_t n = 0;
    gram_status rc = merge(out, 0, false, &n, err);

    if (rows)
        *rows = n;
    return rc;
}

/* Beside the file that `out` names, or leads to. */
static gram_status partial_name(gr_buf *name, const char *out, gram_err *err)
{
    char *real = realpath(out, NULL);
    bool ok = gr_buf_printf(name, "%s.partial", real ? real : out);

    free(real);
    return ok ? GRAM_OK : gr_nomem(err, out);
}

gram_status gr_shards_gather(const char *out, size_t only, bool spare, bool *there, gram_err *err)
{
    found f = { .out = out, .only = only };
    gr_buf name = { 0 };
    uint64_t rows = 0;
    json_t *how = NULL;
    gram_status rc = partial_name(&name, out, err);

    *there = false;
    if (!rc && !gr_name_is_standard(out) && (only || !gr_path_exists(name.p))) {
        rc = each_shard(out, take_name, &f, err);
        *there = !rc && f.n && (f.n == f.shares || !spare);
        rc = spare && rc == GRAM_EIO ? GRAM_OK : rc;
        if (*there)
            rc = all_there(&f, out, err);
        if (!rc && *there)
            rc = same_run(&f, &how, err);
        if (!rc && *there)
            rc = join(&f, name.p, how, &rows, err);
    }
    json_decref(how);
    gr_buf_clear(&name);
    free(f.there);
    return rc;
}

static gram_status remove_shard(void *arg, const char *path, size_t share, size_t shares, const char *more,
                                gram_err *err)
{
    (void)arg;
    (void)share;
    (void)shares;
    (void)more;
    return unlink(path) && errno != ENOENT ? gr_fail(err, GRAM_EIO, "%s: %s", path, strerror(errno)) : GRAM_OK;
}

gram_status gr_shards_remove(const char *out, gram_err *err)
{
    return each_shard(out, remove_shard, NULL, err);
}

/* ---- Processes that share the rows ---------------------------------------------------------------- */

/* Which of several processes does a share is settled by a file beside it that only one can make, ".taken-RUN"; that a
 * process has done all it could is told by ".ended-RUN" beside a name of its number. One machine and a network's file
 * system keep to this alike. What another start left of these says nothing. */

enum { EACH = 8 };                  /* shares to a process: a slow one holds the others up for an eighth of its part */

void gr_file_report_add(gram_file_report *to, const gram_file_report *r)
{
    to->rows += r->rows;
    to->bad += r->bad;
    to->dropped += r->dropped;
    to->truncated += r->truncated;
    to->resumed += r->resumed;
    to->usage.sequences += r->usage.sequences;
    to->usage.tokens += r->usage.tokens;
    to->usage.tokens_computed += r->usage.tokens_computed;
    to->usage.seconds += r->usage.seconds;
    to->seconds += r->seconds;
}

/* How many shares an earlier start has made, if any of them is there. */
static gram_status take_shares(void *arg, const char *path, size_t share, size_t shares, const char *more,
                               gram_err *err)
{
    size_t *n = arg;

    (void)share;
    (void)err;
    if (!*n && (!*more || !strcmp(more, ".partial")))
        *n = shares;
    (void)path;
    return GRAM_OK;
}

static gram_status check_work(const char *out, const gram_file_options *o, gram_err *err)
{
    static const char fine[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

    if (gr_name_is_standard(out))
        return gr_fail(err, GRAM_EARG, "out: processes that share the rows write a file");
    if (o->shares)
        return gr_fail(err, GRAM_EARG, "shard: processes that share the rows take their shares themselves");
    if (o->workers > MOST / EACH || o->worker >= o->workers)
        return gr_fail(err, GRAM_EARG, "worker %zu of %zu: wanted 0 to N - 1, of at most %zu", o->worker, o->workers,
                       MOST / EACH);
    if (!o->run || !*o->run || o->run[strspn(o->run, fine)] || strlen(o->run) > 100)
        return gr_fail(err, GRAM_EARG, "run: wanted letters, digits, points, - and _, at most 100 of them");
    return GRAM_OK;
}

/* OUT.shard-I-of-N.WHAT-RUN */
static gram_status mark_name(gr_buf *name, const char *out, size_t i, size_t n, const char *what,
                             const gram_file_options *o, gram_err *err)
{
    name->n = 0;
    return gr_buf_printf(name, "%s" MARK "%zu-of-%zu.%s-%s", out, i, n, what, o->run) ? GRAM_OK : gr_nomem(err, out);
}

/* *mine: the file is there, by this call and no other. */
static gram_status make_mark(const char *name, bool *mine, gram_err *err)
{
    int fd = open(name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);

    *mine = fd >= 0;
    if (fd < 0 && errno != EEXIST)
        return gr_fail(err, GRAM_EIO, "%s: %s", name, strerror(errno));
    if (fd >= 0)
        close(fd);
    return GRAM_OK;
}

/* *all: each of the processes has. */
static gram_status tell_end(const char *out, const gram_file_options *o, bool *all, gram_err *err)
{
    gr_buf name = { 0 };
    gram_status rc = mark_name(&name, out, o->worker, o->workers, "ended", o, err);
    bool mine;

    if (!rc)
        rc = make_mark(name.p, &mine, err);
    *all = true;
    for (size_t k = 0; k < o->workers && !rc && *all; k++) {
        rc = mark_name(&name, out, k, o->workers, "ended", o, err);
        *all = !rc && gr_path_exists(name.p);
    }
    gr_buf_clear(&name);
    return rc;
}

/* *last: all have ended, and this process makes the whole. Where two end at once, both see it, and one of them does. */
static gram_status come_last(const char *out, const gram_file_options *o, bool *last, gram_err *err)
{
    gr_buf name = { 0 };
    gram_status rc = tell_end(out, o, last, err);

    if (!rc && *last)
        rc = mark_name(&name, out, 0, o->workers, "merging", o, err);
    if (!rc && *last)
        rc = make_mark(name.p, last, err);
    gr_buf_clear(&name);
    return rc;
}

gram_status gr_shards_take(const char *out, const gram_file_options *o, gr_share_fn *fn, void *arg, size_t *shares,
                           bool *last, gram_err *err)
{
    gr_buf name = { 0 };
    gram_status rc = check_work(out, o, err);

    *shares = 0;
    *last = false;
    if (!rc && o->resume)
        rc = each_shard(out, take_shares, shares, err);
    *shares = *shares ? *shares : EACH * o->workers;
    for (size_t k = 0; k < *shares && !rc && fn; k++) {
        gram_file_options one = *o;
        bool mine = false;
        one.workers = 0;
        one.share = k;
        one.shares = *shares;
        rc = mark_name(&name, out, k, *shares, "taken", o, err);
        if (!rc)
            rc = make_mark(name.p, &mine, err);
        if (!rc && mine)
            rc = fn(arg, &one, err);
    }
    gr_buf_clear(&name);
    return rc ? rc : come_last(out, o, last, err);
}

gram_status gr_shards_one(const char *out, const gram_file_options *o, bool *one, gram_err *err)
{
    bool any = true;
    gram_status rc = o->resume && !gr_name_is_standard(out) && gr_how_is_whole(out) ? gr_shards_any(out, &any, err)
                                                                                    : GRAM_OK;

    *one = !rc && !any;
    return rc;
}

bool gr_shards_alone(gram_file_options *o)
{
    o->workers = 0;
    if (o->merged)
        *o->merged = !o->worker;
    return !o->worker;
}

gram_status gr_shards_work(const char *out, const gram_file_options *o, gr_share_fn *fn, void *arg, gram_err *err)
{
    gram_file_options all = *o;
    uint64_t rows = 0;
    size_t shares;
    bool last = false, one = false;
    gram_status rc = fn ? gr_shards_one(out, o, &one, err) : GRAM_OK;

    if (one)
        return gr_shards_alone(&all) ? fn(arg, &all, err) : GRAM_OK;
    if (!rc)
        rc = gr_shards_take(out, o, fn, arg, &shares, &last, err);
    if (o->merged)
        *o->merged = false;
    if (!rc && last && fn)
        rc = merge(out, shares, o->resume, &rows, err);
    if (!rc && last)
        rc = gr_shards_remove(out, err);
    if (!rc && last && o->merged)
        *o->merged = true;
    return rc;
}

void gr_shards_whole(gram_file_options *o)
{
    o->workers = 0;
    o->resume = true;
    o->progress = NULL;
    o->warn = NULL;                         /* bad rows were told of */
}

gram_status gr_shards_any(const char *out, bool *any, gram_err *err)
{
    size_t shares = 0;
    gram_status rc = each_shard(out, take_shares, &shares, err);

    *any = shares > 0;
    return rc;
}
