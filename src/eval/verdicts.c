/* verdicts.c - see verdicts.h. */
#include <math.h>
#include <stdlib.h>
#include "base/err.h"
#include "eval/metrics.h"
#include "eval/source.h"
#include "eval/text.h"
#include "eval/verdicts.h"

enum { ID = 18, QUESTION = 44 };    /* columns */

static bool number(gr_buf *b, double x)
{
    return isnan(x) ? gr_buf_printf(b, "  %7s", "-") : gr_buf_printf(b, "  %7.4f", x);
}

/* A text on one line. */
static bool question(gr_buf *b, const gr_row *row)
{
    char *text = gr_strdup(row->n_turns ? row->turn[row->n_turns - 1].content : "");
    bool ok = text;

    for (char *p = text; ok && *p; p++)
        *p = (unsigned char)*p < 0x20 || *p == 0x7f ? ' ' : *p;
    ok = ok && gr_text_cell(b, text, QUESTION);
    free(text);
    return ok;
}

static bool line(gr_buf *b, const gr_eval_row *r, const gr_row *row)
{
    const char *word = r->dropped ? "too long" : r->preference > 0.5 ? "right" : r->preference < 0.5 ? "wrong" : "tie";
    bool flips = !r->dropped && gr_eval_both(r) && !r->consistent;

    return gr_text_cell(b, r->id, ID) && gr_buf_puts(b, "  ") && question(b, row) && number(b, r->p_forward) &&
        number(b, r->p_swapped) && number(b, r->preference) &&
        gr_buf_printf(b, "  %s%s\n", word, flips ? ", flips" : "");
}

/* Rows that are bad, ties or of another share have no verdict, and ids may repeat: a row is known by its texts. */
static gram_status of_file(const gr_eval_row *row, size_t n, const char *path, gr_rules rules, const char *columns,
                           gr_buf *out, gram_err *err)
{
    gr_eval_source *s;
    gr_eval_item item;
    bool end = false;
    size_t i = 0;
    gram_status rc = gr_eval_source_open(&s, path, rules, columns, err);

    while (!rc && i < n) {
        rc = gr_eval_source_next(s, &item, &end, err);
        if (rc == GRAM_EFORMAT) {           /* the run has told of it */
            rc = GRAM_OK;
            continue;
        }
        if (!rc && end)
            rc = gr_fail(err, GRAM_EFORMAT, "%s: row %s was judged and is no longer in it", path, row[i].id);
        if (rc)
            break;
        if (!item.row.tie && item.cell == row[i].cell && gr_row_digest(&item.row) == row[i].texts)
            rc = line(out, &row[i++], &item.row) ? GRAM_OK : gr_nomem(err, "verdicts");
        gr_eval_item_clear(&item);
    }
    gr_eval_source_close(s);
    return rc;
}

gram_status gr_eval_verdicts(const gr_eval_row *row, size_t n, const char *const *path, size_t n_files, gr_rules rules,
                             const char *columns, gr_buf *out, gram_err *err)
{
    bool ok = gr_buf_printf(out, "%-*s  %-*s  %7s  %7s  %7s  %s\n", ID, "id", QUESTION, "question", "forward",
                            "swapped", "prefers", "verdict");
    gram_status rc = ok ? GRAM_OK : gr_nomem(err, "verdicts");

    for (size_t f = 0, i = 0, end; f < n_files && !rc; f++, i = end) {
        for (end = i; end < n && row[end].file == f; )
            end++;
        rc = of_file(row + i, end - i, path[f], rules, columns, out, err);
    }
    return rc || gr_buf_puts(out, "\n") ? rc : gr_nomem(err, "verdicts");
}
