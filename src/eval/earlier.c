/* earlier.c - see earlier.h. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "eval/earlier.h"

gram_status gr_earlier_open(gr_earlier *e, gr_out **rows, const char *name, gram_err *err)
{
    gr_buf b = { 0 };

    if (!name || gr_name_is_standard(name))
        return gr_fail(err, GRAM_EARG, "a run resumes from its per-row results: name a file for them, for the JSON "
                       "or for the report");
    if (!gr_buf_printf(&b, "%s.partial", name))
        return gr_nomem(err, name);
    e->path = b.p;
    if (gr_path_exists(e->path)) {
        gram_status rc = gr_out_resume(rows, name, &e->left, err);
        return rc ? rc : gr_lines_open(&e->lines, e->path, err);
    }
    if (gr_path_exists(name)) {             /* that run was finished: nothing is judged twice */
        strcpy(e->path, name);              /* shorter than what it replaces */
        e->left = UINT64_MAX;
        e->copy = true;
        gram_status rc = gr_lines_open(&e->lines, name, err);
        return rc ? rc : gr_out_open(rows, name, true, err);
    }
    return gr_out_open(rows, name, true, err);
}

static void forget(gr_earlier *e)
{
    free(e->file);
    e->file = NULL;
    e->read = false;
}

void gr_earlier_clear(gr_earlier *e)
{
    if (e->read)
        gr_eval_row_clear(&e->row);
    forget(e);
    gr_lines_close(e->lines);
    free(e->path);
    *e = (gr_earlier){ 0 };
}

/* The next line, where it was not read yet. There may be no more: then e->lines is closed. */
static gram_status read_next(gr_earlier *e, gram_err *err)
{
    const char *line = NULL;
    size_t n;
    gram_status rc = GRAM_OK;

    if (e->read || !e->lines)
        return GRAM_OK;
    if (e->left)
        rc = gr_lines_next(e->lines, &line, &n, err);
    if (rc)
        return rc;
    if (!line) {
        gr_lines_close(e->lines);
        e->lines = NULL;
        return GRAM_OK;
    }
    e->left--;
    rc = gr_eval_row_parse(e->path, gr_lines_number(e->lines), line, n, &e->row, &e->file, &e->mark, err);
    e->read = !rc;
    return rc;
}

/* Rows that fitted are the same under each way to treat those that do not, so a run that met one that is too long may
 * go on with another --truncate. A row that was cut or dropped needs the way that did it. */
static bool other_truncation(const gr_eval_row *then, const char *now)
{
    return now && ((then->truncated && strcmp(now, "balanced")) || (then->dropped && strcmp(now, "drop")));
}

static bool same_row(const gr_earlier *e, const gr_eval_row *now, const char *file)
{
    const gr_eval_row *then = &e->row;

    return !strcmp(e->file, file) && !strcmp(then->id, now->id) && then->texts == now->texts &&
           then->cell == now->cell && (then->subset ? now->subset && !strcmp(then->subset, now->subset) : !now->subset);
}

gram_status gr_earlier_look(gr_earlier *e, const gr_eval_row *now, const char *file, uint64_t mark,
                            const char *truncate, gr_earlier_has *what, gram_err *err)
{
    gram_status rc = read_next(e, err);

    *what = GR_EARLIER_NONE;
    if (rc || !e->read)
        return rc;
    if (mark != e->mark || other_truncation(&e->row, truncate))
        return gr_fail(err, GRAM_EARG, "%s:%" PRIu64 ": written with another model or other settings, so it cannot be "
                       "resumed; remove it, or start anew", e->path, gr_lines_number(e->lines));
    *what = same_row(e, now, file) ? GR_EARLIER_THIS : GR_EARLIER_LATER;
    return GRAM_OK;
}

void gr_earlier_take(gr_earlier *e, gr_eval_row *now)
{
    size_t file = now->file;
    int cells = now->cells;

    gr_eval_row_clear(now);
    *now = e->row;
    now->file = file;
    now->cells = cells;
    forget(e);
}

gram_status gr_earlier_other(const gr_earlier *e, const gr_eval_row *now, const char *file, gram_err *err)
{
    if (!strcmp(e->file, file) && !strcmp(e->row.id, now->id))
        return gr_fail(err, GRAM_EARG, "%s:%" PRIu64 ": row %s of %s says something else than when this line was made "
                       "of it, so it cannot be resumed", e->path, gr_lines_number(e->lines), now->id, file);
    return gr_fail(err, GRAM_EARG, "%s:%" PRIu64 ": holds row %s of %s where the input has row %s of %s, so it "
                   "cannot be resumed", e->path, gr_lines_number(e->lines), e->row.id, e->file, now->id, file);
}

gram_status gr_earlier_end(gr_earlier *e, gram_err *err)
{
    gram_status rc = read_next(e, err);

    return rc || !e->read ? rc : gr_fail(err, GRAM_EARG, "%s: holds more rows than the input, so it cannot be resumed",
                                         e->path);
}
