/* judge_program.c - a judge that is a program of the user's: a line of JSON for each answer, and a number back. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "api/job.h"
#include "api/judge_int.h"
#include "base/err.h"
#include "base/json.h"

struct lines { const gram_judge *j; const size_t *index; gram_judged_group *out; };

/* The keys that are the judge's own stand in front of the caller's, which cannot take their place. */
static bool add_line(gr_buf *b, const gram_group *g, json_t *columns, size_t i)
{
    json_t *o = json_pack("{s:o, s:s, s:I}", "prompt", gr_api_prompt_json(&g->prompt), "completion", g->response[i],
                          "index", (json_int_t)i);
    char *text = NULL;
    bool ok = o;

    if (ok && g->prompt.criteria)
        ok = !json_object_set_new(o, "criteria", json_string(g->prompt.criteria));
    if (ok && g->reference)
        ok = !json_object_set_new(o, "reference", json_string(g->reference));
    if (ok && columns)
        ok = !json_object_update_missing(o, columns);
    if (ok)
        text = gr_json_text(o, JSON_COMPACT);
    ok = text && gr_buf_puts(b, text) && gr_buf_puts(b, "\n");
    free(text);
    json_decref(o);
    return ok;
}

static bool fail(gram_judged_group *out, size_t i, const char *what, gr_str line)
{
    gr_buf b = { 0 };
    bool ok = gr_buf_printf(&b, "%s%s%.*s", what, line.n ? ": " : "", (int)gr_min(line.n, 120), line.n ? line.p : "") &&
              gr_judged_group_fail(out, i, b.p);

    gr_buf_clear(&b);
    return ok;
}

static bool is_blank(gr_str s)
{
    while (s.n && strchr(" \t\r", s.p[s.n - 1]))
        s.n--;
    return s.n == 0;
}

/* Infinity and NaN as Python and others print them: no JSON, but an answer. */
static bool is_no_number(gr_str s)
{
    const char *p = s.p;
    size_t n = s.n;

    if (n && (*p == '-' || *p == '+')) {
        p++;
        n--;
    }
    return (n == 3 && (!strncasecmp(p, "nan", 3) || !strncasecmp(p, "inf", 3))) ||
           (n == 8 && !strncasecmp(p, "infinity", 8));
}

/* What the value says of answer i. */
static bool take_value(gram_judged_group *out, size_t i, json_t *v, gr_str line)
{
    const char *why = json_string_value(json_object_get(v, "error"));
    json_t *x = json_is_object(v) ? json_object_get(v, "reward") : v;

    if (why)
        return fail(out, i, "the program says", (gr_str){ why, strlen(why) });
    if (json_is_number(x)) {
        out->reward[i] = json_number_value(x) + 0.0;
        return true;
    }
    return json_is_null(x) ? fail(out, i, "the program gave it no number", (gr_str){ 0 })
                           : fail(out, i, "the program wrote no number", line);
}

gram_status gr_judge_program_line(const gram_judge *j, size_t i, gr_str line, gram_judged_group *out, gram_err *err)
{
    json_t *v = json_loadb(line.p, line.n, JSON_DECODE_ANY, NULL), *echo = json_object_get(v, "index");
    gram_status rc = GRAM_OK;
    bool ok = true;

    if (v && echo && (!json_is_integer(echo) || json_integer_value(echo) != (json_int_t)i))
        rc = gr_fail(err, GRAM_EIO, "%s: it answered with index %lld where %zu was asked for", j->about,
                     (long long)json_integer_value(echo), i);
    else if (v)
        ok = take_value(out, i, v, line);
    else if (is_blank(line) || is_no_number(line))
        ok = fail(out, i, "the program gave it no number", line);
    else                                    /* a greeting, or a line too many: what comes next may be another's */
        rc = gr_fail(err, GRAM_EIO, "%s: it wrote a line that is no JSON: %.*s", j->about,
                     (int)gr_min(line.n, 120), line.p);
    out->cost.passes++;
    json_decref(v);
    return rc ? rc : ok ? GRAM_OK : gr_nomem(err, "rewards");
}

static gram_status take_line(void *arg, size_t k, gr_str line, gram_err *err)
{
    const struct lines *l = arg;

    return gr_judge_program_line(l->j, l->index[k], line, l->out, err);
}

gram_status gr_judge_program_rewards(gram_judge *j, const gram_group *g, const size_t *index, size_t n,
                                     gram_judged_group *out, gram_err *err)
{
    struct lines l = { j, index, out };
    json_error_t je;
    json_t *columns = g->columns ? json_loads(g->columns, 0, &je) : NULL;
    gr_buf text = { 0 };
    gram_status rc = GRAM_OK;

    if (g->columns && !json_is_object(columns))
        rc = gr_fail(err, GRAM_EARG, "columns: wanted a JSON object%s%s", columns ? "" : ": ", columns ? "" : je.text);
    for (size_t k = 0; k < n && !rc; k++)
        if (!add_line(&text, g, columns, index[k]))
            rc = gr_nomem(err, "a program's lines");
    if (!rc)
        rc = gr_program_ask(j->program, text.p, text.n, n, take_line, &l, err);
    gr_buf_clear(&text);
    json_decref(columns);
    return rc;
}
