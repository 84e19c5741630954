/* source.c - see source.h. */
#include <stdlib.h>
#include "base/err.h"
#include "eval/source.h"

struct gr_eval_source {
    gr_rules rules;
    gr_reader *reader;
    bool upstream;                      /* rows of a form of its own */
    gr_eval_item *item;                 /* pairs of the object last read */
    size_t n_items, next;
};

static void drop_items(gr_eval_source *s)
{
    for (size_t i = s->next; i < s->n_items; i++)
        gr_eval_item_clear(&s->item[i]);
    free(s->item);
    s->item = NULL;
    s->n_items = s->next = 0;
}

void gr_eval_source_close(gr_eval_source *s)
{
    if (!s)
        return;
    drop_items(s);
    gr_reader_close(s->reader);
    free(s);
}

gram_status gr_eval_source_open(gr_eval_source **out, const char *path, gr_rules rules, const char *columns,
                                gram_err *err)
{
    gr_eval_source *s = gr_calloc(1, sizeof *s);
    gram_status rc;

    *out = NULL;
    if (!s)
        return gr_nomem(err, path);
    s->rules = rules;
    s->upstream = rules != GR_RULES_NONE && rules != GR_RULES_REWARDBENCH;
    rc = gr_reader_open(&s->reader, path, columns, err);
    if (rc)
        gr_eval_source_close(s);
    else
        *out = s;
    return rc;
}

/* Fills the queue of pairs from the next object. *end true: there is none. */
static gram_status next_object(gr_eval_source *s, bool *end, gram_err *err)
{
    json_t *o;
    gr_at at;
    gram_status rc;

    drop_items(s);
    rc = gr_reader_json(s->reader, &o, err);
    *end = !rc && !o;
    at = gr_reader_at(s->reader, err);
    if (!rc && o)
        rc = gr_rules_rows(s->rules, &at, o, &s->item, &s->n_items);
    json_decref(o);
    return rc;
}

static gram_status next_common(gr_eval_source *s, gr_eval_item *out, bool *end, gram_err *err)
{
    gram_status rc = gr_reader_pair(s->reader, &out->row, end, err);
    gr_at at;

    out->cell = -1;
    if (rc || *end || gr_rules_knows(s->rules, out->row.subset))
        return rc;
    at = gr_reader_at(s->reader, err);
    rc = gr_bad(&at, "\"subset\" should be %s, found \"%s\"", gr_rules_wants(s->rules),
                out->row.subset ? out->row.subset : "");
    gr_eval_item_clear(out);
    return rc;
}

gram_status gr_eval_source_next(gr_eval_source *s, gr_eval_item *out, bool *end, gram_err *err)
{
    gram_status rc = GRAM_OK;

    *out = (gr_eval_item){ .cell = -1 };
    *end = false;
    if (!s->upstream)
        return next_common(s, out, end, err);
    if (s->next == s->n_items)
        rc = next_object(s, end, err);
    if (!rc && !*end)
        *out = s->item[s->next++];
    return rc;
}
