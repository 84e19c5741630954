/* again.c - see again.h. */
#include "base/err.h"
#include "eval/again.h"
#include "eval/source.h"

/* The rows from *at to end are those that were judged of one file. Others of it are bad, ties or of another share, and
 * ids may repeat: a row is known by its texts. */
static gram_status of_file(const gr_eval_row *row, size_t *at, size_t end, const char *path, gr_rules rules,
                           const char *columns, gr_eval_again_fn *fn, void *arg, gram_err *err)
{
    gr_eval_source *s;
    gr_eval_item item;
    bool over = false;
    gram_status rc = gr_eval_source_open(&s, path, rules, columns, err);

    while (!rc && *at < end) {
        const gr_eval_row *r = &row[*at];
        rc = gr_eval_source_next(s, &item, &over, err);
        if (rc == GRAM_EFORMAT) {           /* the run has told of it */
            rc = GRAM_OK;
            continue;
        }
        if (rc || over)
            break;
        if (!item.row.tie && item.cell == r->cell && gr_row_digest(&item.row) == r->texts)
            rc = fn(arg, (*at)++, &item.row, err);
        gr_eval_item_clear(&item);
    }
    gr_eval_source_close(s);
    return rc;
}

gram_status gr_eval_again(const gr_eval_row *row, size_t n, const char *const *path, size_t files, gr_rules rules,
                          const char *columns, gr_eval_again_fn *fn, void *arg, gram_err *err)
{
    gram_status rc = GRAM_OK;

    for (size_t f = 0, i = 0, end; f < files && !rc; f++) {
        for (end = i; end < n && row[end].file == f; )
            end++;
        if (i < end && gr_path_regular(path[f]))
            rc = of_file(row, &i, end, path[f], rules, columns, fn, arg, err);
        for (; i < end && !rc; i++)
            rc = fn(arg, i, NULL, err);
    }
    return rc;
}
