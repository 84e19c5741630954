/* fuzz_eval_rows.c - what an evaluation reads: a line of rows.jsonl (a partial file from who knows where) gives a
 * row that reads back as itself, and an upstream object gives pairs that hold together, or one sentence each. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "eval/record.h"
#include "eval/source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(bool ok)
{
    if (!ok)
        abort();
}

static void record(const char *json, size_t n)
{
    gram_err err;
    gr_eval_row r, back;
    gr_buf once = { 0 }, twice = { 0 };
    char *file, *again;
    uint64_t run;

    if (gr_eval_row_parse("f", 1, json, n, &r, &file, &run, &err))
        return;
    need(gr_eval_row_write(&once, &r, file, run));
    need(!gr_eval_row_parse("f", 1, once.p, once.n, &back, &again, &run, &err));
    need(gr_eval_row_write(&twice, &back, again, run) && !strcmp(once.p, twice.p));
    free(file);
    free(again);
    gr_eval_row_clear(&r);
    gr_eval_row_clear(&back);
    gr_buf_clear(&once);
    gr_buf_clear(&twice);
}

static void upstream(gr_rules rules, const json_t *o)
{
    gram_err err;
    const gr_at at = { "f", 1, &err, false };
    gr_eval_item *item;
    size_t n;

    if (gr_rules_rows(rules, &at, o, &item, &n))
        return;
    need(n == (rules == GR_RULES_RMBENCH ? 9 : 1));
    for (size_t i = 0; i < n; i++) {
        const gr_row *r = &item[i].row;
        need(r->id && r->n_turns == 1 && *r->chosen && *r->rejected && gr_rules_knows(rules, r->subset));
        gr_eval_item_clear(&item[i]);
    }
    free(item);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *o = json_loadb((const char *)data, size, 0, NULL);

    record((const char *)data, size);
    upstream(GR_RULES_RMBENCH, o);
    upstream(GR_RULES_JUDGEBENCH, o);
    json_decref(o);
    return 0;
}
