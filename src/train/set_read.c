/* set_read.c - the rows of files as examples.
 *
 *     a block of rows --+-- thread: row to examples --+-- in the order of the rows -- set, or file
 *                       +-- thread: ...             --+
 *                       +-- thread: reads the next block
 *
 * What comes out, the first sentence about a row, and the counts do not depend on the threads. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/limits.h"
#include "base/numeric.h"
#include "base/pool.h"
#include "train/cache.h"
#include "train/set_int.h"

/* Rows of the first block, behind which the threads are started, and of those after it; rows that are made before it is
 * said how much disk all will take. */
enum { FIRST = 32, BLOCK = 256, TOLD = 1024 };

struct block {
    gr_set_item *item;          /* [BLOCK] */
    size_t n;
    bool last;                  /* nothing comes behind it */
    uint64_t done;              /* gr_reader_done() behind it */
};

struct reading {
    gr_set_sink *to;
    gr_set_form form;
    const gr_set_rules *rules;
    gr_reader *reader;
    uint64_t before;            /* lines of the files before its own */
    gr_pool *pool;              /* opened with the second block */
    struct block now, next;
    uint64_t rows;              /* read */
    bool told, *full;
    gr_example first, last;     /* kto: whose other answer is not known yet; last.seq[0].n 0: none */
};

/* ---- Where examples go ---------------------------------------------------------------------------- */

static gram_status store(struct reading *r, gr_example *e, gram_err *err)
{
    gr_set *s = r->to->s;
    gram_status rc;

    gr_set_digest(s, e);
    gr_set_measure(s, e);
    if (!r->to->w)
        return gr_set_push(s, e, err);
    rc = gr_cache_add(r->to->w, e, err);
    *r->full |= rc == GRAM_EIO;
    gr_example_clear(e);
    s->n += !rc;
    return rc;
}

/* kto: behind e's prompt the answer of the next row, cut where it is too long. */
static gram_status mismatch(gr_example *e, const gr_example *next, size_t most, gram_err *err)
{
    size_t n = gr_min(next->seq[0].n - next->asked, most > e->asked ? most - e->asked : 1);

    if (!gr_ids_add(&e->seq[1], e->seq[0].p, e->asked) || !gr_ids_add(&e->seq[1], next->seq[0].p + next->asked, n))
        return gr_nomem(err, "training rows");
    e->asked_other = e->asked;
    return GRAM_OK;
}

/* Keeps one example of kto back until the next one comes. */
static gram_status take_labelled(struct reading *r, gr_example *e, gram_err *err)
{
    gram_status rc = GRAM_OK;

    if (r->last.seq[0].n) {
        rc = mismatch(&r->last, e, r->rules->judge->max_tokens, err);
        if (!rc)
            rc = store(r, &r->last, err);
    } else {
        r->first.asked = e->asked;
        rc = gr_ids_add(&r->first.seq[0], e->seq[0].p, e->seq[0].n) ? GRAM_OK : gr_nomem(err, "training rows");
    }
    if (rc)
        return rc;
    r->last = *e;
    *e = (gr_example){ 0 };
    return GRAM_OK;
}

static gram_status take(struct reading *r, gr_example *e, gram_err *err)
{
    return r->form == GR_FORM_LABELLED ? take_labelled(r, e, err) : store(r, e, err);
}

static gram_status finish(struct reading *r, const char *path, gram_err *err)
{
    gram_status rc;

    if (r->form != GR_FORM_LABELLED || (r->to->most && r->to->s->n >= r->to->most))
        return GRAM_OK;
    if (r->to->s->n == 0)
        return gr_fail(err, GRAM_EFORMAT, "%s: %d row: kto measures a policy's distance by answers to other prompts: "
                       "wanted two rows or more", path, r->last.seq[0].n ? 1 : 0);
    rc = mismatch(&r->last, &r->first, r->rules->judge->max_tokens, err);
    return rc ? rc : store(r, &r->last, err);
}

/* ---- Blocks --------------------------------------------------------------------------------------- */

/* Fills the block with the next rows. A row that is no row takes its place; what nothing can follow is the last. */
static void read_block(struct reading *r, struct block *b, size_t most)
{
    bool end = false;

    b->n = 0;
    b->last = false;
    while (b->n < most && !b->last) {
        gr_set_item *item = &b->item[b->n];
        gram_err why;
        gram_status rc = gr_set_next(item, r->form, r->reader, &end, &why);
        item->place += r->before;
        b->last = rc ? !(rc == GRAM_EFORMAT && r->rules->skip_bad) : end;
        item->rc = rc;
        item->why = rc ? why : item->why;
        b->n += rc || !end;
    }
    b->done = gr_reader_done(r->reader);
}

/* There was no memory to read one with. */
static void no_block(struct block *b)
{
    b->item[0] = (gr_set_item){ .unread = true };
    b->item[0].rc = gr_nomem(&b->item[0].why, "training rows");
    b->n = 1;
    b->last = true;
}

/* Task 0 reads the next block, the others make the rows of this one; in any thread, whose locale may be another. */
static void work(void *arg, size_t task, size_t worker)
{
    struct reading *r = arg;
    gr_set_item *item = task ? &r->now.item[task - 1] : NULL;
    gr_numeric numeric;
    bool entered = gr_numeric_enter(&numeric);

    (void)worker;
    if (!item && entered)
        read_block(r, &r->next, r->to->most ? FIRST : BLOCK);
    else if (!item)
        no_block(&r->next);
    else if (!item->rc && entered)
        gr_set_make(item, r->form, r->rules);
    else if (!item->rc)
        item->rc = gr_nomem(&item->why, "training rows");
    if (entered)
        gr_numeric_leave(&numeric);
}

static void work_last(void *arg, size_t task, size_t worker)
{
    work(arg, task + 1, worker);
}

static gram_status make_block(struct reading *r, gram_err *err)
{
    size_t first = r->now.last;
    gram_status rc = GRAM_OK;

    r->next.n = 0;
    r->next.last = true;
    if (r->now.n > FIRST && !r->pool)
        rc = gr_pool_open(&r->pool, r->rules->threads, err);
    if (rc)
        return rc;
    if (r->pool && !first)
        gr_pool_run(r->pool, work, r, r->now.n + 1);
    else if (r->pool)
        gr_pool_run(r->pool, work_last, r, r->now.n);
    for (size_t i = first; i < r->now.n + 1 && !r->pool; i++)
        work(r, i, 0);
    return GRAM_OK;
}

static gram_status skip(struct reading *r, const gr_set_item *item, gram_err *err)
{
    if (item->unread && r->rules->held && r->rules->split > 0)
        return GRAM_OK;                     /* the other half of the split has counted and said it */
    r->to->s->bad++;
    if (r->to->silent)
        return GRAM_OK;
    if (r->rules->warn)
        r->rules->warn(r->rules->arg, item->why.text);
    return r->to->w ? gr_cache_warn(r->to->w, item->why.text, err) : GRAM_OK;
}

static gram_status merge_one(struct reading *r, gr_set_item *item, gram_err *err)
{
    gram_status rc = item->rc;

    if (rc == GRAM_EFORMAT && r->rules->skip_bad)
        return skip(r, item, err);
    if (rc && err)
        *err = item->why;
    for (size_t i = 0; i < GR_SET_COUNTS && !rc; i++)
        *gr_set_count(r->to->s, i) += *gr_set_count(&item->part, i);
    for (size_t i = 0; i < item->part.n && !rc; i++)
        rc = take(r, &item->part.e[i], err);
    return rc;
}

static void clear_block(struct block *b)
{
    for (size_t i = 0; i < b->n; i++)
        gr_set_item_clear(&b->item[i]);
    b->n = 0;
}

static gram_status merge(struct reading *r, gram_err *err)
{
    gram_status rc = GRAM_OK;

    for (size_t i = 0; i < r->now.n && !rc; i++)
        rc = merge_one(r, &r->now.item[i], err);
    clear_block(&r->now);
    return rc;
}

/* What all rows will take of the disk, by those that were read, before more is written. lines: of this path. */
static gram_status tell_disk(struct reading *r, const char *path, gram_err *err)
{
    uint64_t all = gr_reader_total(r->reader), done = r->now.done, have;
    uint64_t here = 0, now = gr_cache_written(r->to->w);
    bool known = gr_disk_free(r->to->dir, &have);
    double need;
    gr_buf text = { 0 };
    bool ok;
    gram_status rc = gr_set_file_bytes(path, NULL, &here, err);

    r->told = true;
    if (rc || !all || !done || !here)
        return rc;
    need = (double)now / (double)done * (double)all * (double)r->to->bytes / (double)here;
    ok = gr_buf_printf(&text, "disk: the tokens of the rows take about %.2f GiB in %s", need / GR_GIB, r->to->dir);
    if (ok && known)
        ok = gr_buf_printf(&text, "; %.2f are free", (double)have / GR_GIB);
    if (ok && r->rules->warn)
        r->rules->warn(r->rules->arg, text.p);
    gr_buf_clear(&text);
    if (!ok)
        return gr_nomem(err, "training rows");
    if (!known || need - (double)now <= (double)have)
        return GRAM_OK;
    *r->full = true;
    return gr_fail(err, GRAM_EIO, "%s: the tokens of the rows take about %.2f GiB and %.2f GiB are free there: `cache` "
                   "names another directory", r->to->dir, need / GR_GIB, (double)have / GR_GIB);
}

static bool enough(const struct reading *r)
{
    return r->to->most && r->to->s->n >= r->to->most;
}

/* One block; *end: behind the last. */
static gram_status one_block(struct reading *r, const char *path, bool *end, gram_err *err)
{
    struct block was;
    gram_status rc;

    r->rows += r->now.n;
    rc = make_block(r, err);
    if (!rc)
        rc = merge(r, err);
    if (!rc)
        rc = gr_dist_check(r->rules->dist, err);
    if (!rc && r->to->w && !r->told && !r->now.last && r->rows >= TOLD)
        rc = tell_disk(r, path, err);
    *end = r->now.last;
    was = r->now;
    r->now = r->next;
    r->next = was;
    return rc;
}

static gram_status read_file(struct reading *r, const char *path, gram_err *err)
{
    bool end = false;
    gram_status rc = gr_reader_open(&r->reader, path, r->rules->columns, err);

    if (rc)
        return rc;
    read_block(r, &r->now, FIRST);
    while (!rc && !end && !enough(r))
        rc = one_block(r, path, &end, err);
    clear_block(&r->now);
    clear_block(&r->next);
    r->before += gr_reader_done(r->reader);
    gr_reader_close(r->reader);
    r->reader = NULL;
    return rc;
}

gram_status gr_set_read_into(gr_set_sink *to, gr_set_form form, const char *path, const char *const *more,
                             const gr_set_rules *rules, bool *full, gram_err *err)
{
    gr_set_item *item = gr_calloc(2 * BLOCK, sizeof *item);
    struct reading r = { .to = to, .form = form, .rules = rules, .full = full, .now.item = item,
                         .next.item = item ? item + BLOCK : NULL };
    const gr_set *s = to->s;
    gram_status rc = item ? read_file(&r, path, err) : gr_nomem(err, "training rows");

    for (; more && *more && !rc; more++)
        rc = read_file(&r, *more, err);
    if (!rc && s->n == 0 && !r.last.seq[0].n && s->apart)
        rc = gr_fail(err, GRAM_EFORMAT, "%s: split-by-prompt %g leaves no row %s", path, rules->split,
                     rules->held ? "to judge" : "to learn from");
    else if (!rc && s->n == 0 && !r.last.seq[0].n)
        rc = gr_fail(err, GRAM_EFORMAT, "%s: no row to learn from: %" PRIu64 " bad, %" PRIu64 " too long, %" PRIu64
                     " ties, %" PRIu64 " with two answers that are one text, %" PRIu64 " without a proof", path,
                     s->bad, s->dropped, s->ties, s->alike, s->unproved);
    if (!rc)
        rc = finish(&r, path, err);
    gr_example_clear(&r.first);
    gr_example_clear(&r.last);
    gr_pool_close(r.pool);
    free(item);
    return rc;
}

/* ---- A set ---------------------------------------------------------------------------------------- */

/* What no row says by itself. */
static gram_status check_set(const gr_set *s, gr_set_form form, const char *path, const gr_set_rules *rules,
                             gram_err *err)
{
    if (s->weightless && s->weightless >= (s->reasoned ? s->reasoned : s->n))
        return gr_fail(err, GRAM_EFORMAT, "%s: every row has the weight 0, so nothing would be learnt", path);
    if (form == GR_FORM_PAIRS && rules->loss.kind == GRAM_LOSS_BT_MARGIN && s->margins == 0)
        return gr_fail(err, GRAM_EARG, "%s: the loss bt-margin wants margins, and no row has one: a \"margin\", two "
                       "scores or a graded preference", path);
    return GRAM_OK;
}

gram_status gr_set_read(gr_set *out, gr_set_form form, const char *path, const char *const *more,
                        const gr_set_rules *rules, gram_err *err)
{
    gram_status rc;

    *out = (gr_set){ 0 };
    rc = rules->cache ? gr_set_read_cached(out, form, path, more, rules, err)
                      : gr_set_read_into(&(gr_set_sink){ .s = out }, form, path, more, rules, NULL, err);
    if (!rc)
        rc = check_set(out, form, path, rules, err);
    if (rc)
        gr_set_clear(out);
    return rc;
}
