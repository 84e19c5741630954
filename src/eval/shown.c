/* shown.c - see shown.h. */
#include <stdlib.h>
#include "base/err.h"
#include "eval/again.h"
#include "eval/shown.h"
#include "eval/text.h"

#define OTHERS 20                   /* rows beside the worst */
#define LONGEST 6000                /* bytes of a text that the page has */

static bool is_shown(const gr_eval_result *r, size_t row)
{
    for (size_t k = 0; k < r->n_shown; k++)
        if (r->shown[k].row == row)
            return true;
    return false;
}

void gr_eval_shown_choose(gr_eval_result *r)
{
    size_t step = gr_max((r->n_rows + OTHERS - 1) / OTHERS, 1);

    for (size_t k = 0; k < r->n_worst; k++)
        r->shown[r->n_shown++].row = r->worst[k];
    for (size_t i = 0; i < r->n_rows && r->votes.rationales; i += step)
        if (r->row[i].why && r->row[i].why->n && !is_shown(r, i))
            r->shown[r->n_shown++].row = i;
}

/* ---- Texts ---- */

static bool add(gr_buf *b, const char *name, const char *text)
{
    return !text || (gr_buf_printf(b, "%s%s:\n", b->n ? "\n\n" : "", name) && gr_buf_puts(b, text));
}

/* A text that is too long for a page ends where a character does, and says how much it leaves out. */
static char *shortened(gr_buf *b)
{
    size_t end = LONGEST, left;

    if (b->n <= LONGEST)
        return b->p;
    while (((unsigned char)b->p[end] & 0xC0) == 0x80)
        end--;
    left = gr_text_points(b->p + end);
    b->n = end;
    b->p[end] = '\0';
    return gr_buf_printf(b, " [... and %zu characters]", left) ? b->p : NULL;
}

/* Takes *b over. */
static bool keep(char **out, gr_buf *b, bool ok)
{
    *out = ok ? shortened(b) : NULL;
    if (!*out)
        gr_buf_clear(b);
    return *out != NULL;
}

static bool answer(char **out, const char *text, const char *extra)
{
    gr_buf b = { 0 };

    return keep(out, &b, gr_buf_puts(&b, text) && (!extra || (gr_buf_puts(&b, "\n") && gr_buf_puts(&b, extra))));
}

static gram_status keep_texts(gr_eval_shown *s, const gr_row *row, gram_err *err)
{
    gr_buf b = { 0 };
    bool ok = true;

    for (size_t t = 0; t < row->n_turns && ok; t++)
        ok = row->n_turns == 1 ? gr_buf_puts(&b, row->turn[t].content)
                               : add(&b, row->turn[t].role, row->turn[t].content);
    ok = ok && add(&b, "tools", row->tools) && add(&b, "criteria", row->criteria);
    ok = keep(&s->prompt, &b, ok) && answer(&s->answer[0], row->chosen, row->chosen_extra) &&
        answer(&s->answer[1], row->rejected, row->rejected_extra);
    return ok ? GRAM_OK : gr_nomem(err, "evaluation report");
}

static gram_status keep_shown(void *arg, size_t i, const gr_row *row, gram_err *err)
{
    gr_eval_result *r = arg;

    for (size_t k = 0; k < r->n_shown; k++)
        if (r->shown[k].row == i)
            return row ? keep_texts(&r->shown[k], row, err) : GRAM_OK;
    return GRAM_OK;
}

gram_status gr_eval_shown_read(gr_eval_result *r, const char *const *path, gr_rules rules, const char *columns,
                               gram_err *err)
{
    return r->n_shown ? gr_eval_again(r->row, r->n_rows, path, r->n_files, rules, columns, keep_shown, r, err)
                      : GRAM_OK;
}
