/* verdicts.c - see verdicts.h. */
#include <math.h>
#include <stdlib.h>
#include "base/err.h"
#include "eval/again.h"
#include "eval/text.h"
#include "eval/verdicts.h"

enum { ID = 18, QUESTION = 44 };    /* columns */

static bool number(gr_buf *b, double x)
{
    return isnan(x) ? gr_buf_printf(b, "  %7s", "-") : gr_buf_printf(b, "  %7.4f", x);
}

/* What was asked, on one line. */
static bool question(gr_buf *b, const gr_row *row)
{
    char *text = gr_strdup(!row ? "(its file has changed)" : row->n_turns ? row->turn[row->n_turns - 1].content : "");
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

struct to { const gr_eval_row *row; gr_buf *out; };

static gram_status add_line(void *arg, size_t i, const gr_row *row, gram_err *err)
{
    const struct to *to = arg;

    return line(to->out, &to->row[i], row) ? GRAM_OK : gr_nomem(err, "verdicts");
}

gram_status gr_eval_verdicts(const gr_eval_row *row, size_t n, const char *const *path, size_t files, gr_rules rules,
                             const char *columns, gr_buf *out, gram_err *err)
{
    bool ok = gr_buf_printf(out, "%-*s  %-*s  %7s  %7s  %7s  %s\n", ID, "id", QUESTION, "question", "forward",
                            "swapped", "prefers", "verdict");
    struct to to = { row, out };
    gram_status rc = ok ? gr_eval_again(row, n, path, files, rules, columns, add_line, &to, err)
                        : gr_nomem(err, "verdicts");

    return rc || gr_buf_puts(out, "\n") ? rc : gr_nomem(err, "verdicts");
}
