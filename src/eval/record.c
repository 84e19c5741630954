/* record.c - see record.h. */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/digest.h"
#include "base/err.h"
#include "base/json.h"
#include "eval/record.h"
#include "eval/text.h"
#include "rationale/json.h"

void gr_eval_row_clear(gr_eval_row *r)
{
    free(r->id);
    free(r->subset);
    if (r->why)
        gram_reasoned_clear(r->why);
    free(r->why);
    *r = (gr_eval_row){ .cell = -1 };
}

bool gr_eval_both(const gr_eval_row *r)
{
    return !isnan(r->p_forward) && !isnan(r->p_swapped);
}

bool gr_eval_turned(const gr_eval_row *r)
{
    const uint64_t chars[2] = { r->chosen_chars, r->rejected_chars };

    return gr_digest(r->prompt, chars, sizeof chars) >> 32 & 1;
}

static bool put_number(gr_buf *b, const char *key, double x)
{
    return gr_buf_printf(b, ",\"%s\":", key) && gr_text_number(b, x);
}

static bool put_two(gr_buf *b, const char *key, const double x[2])
{
    return gr_buf_printf(b, ",\"%s\":[", key) && gr_text_number(b, x[0]) && gr_buf_puts(b, ",") &&
        gr_text_number(b, x[1]) && gr_buf_puts(b, "]");
}

/* Numbers of jansson's 17 digits read back as they were. */
static bool put_reasons(gr_buf *b, const gram_reasoned *why)
{
    json_t *o = json_object();
    char *text = o && gr_reasoned_put(o, why, 0) && !json_object_del(o, "seed") ? gr_json_text(o, JSON_COMPACT) : NULL;
    bool ok = text && gr_buf_puts(b, ",\"reasons\":") && gr_buf_puts(b, text);

    free(text);
    json_decref(o);
    return ok;
}

bool gr_eval_row_write(gr_buf *b, const gr_eval_row *r, const char *file, uint64_t run)
{
    static const char *const truth[] = { "false", "true" };

    return gr_buf_puts(b, "{\"file\":") && gr_text_json(b, file) && gr_buf_puts(b, ",\"id\":") &&
        gr_text_json(b, r->id) && gr_buf_puts(b, ",\"subset\":") && gr_text_json(b, r->subset) &&
        put_number(b, "preference", r->preference) && put_number(b, "p_forward", r->p_forward) &&
        put_number(b, "p_swapped", r->p_swapped) && put_number(b, "logit_margin", r->logit_margin) &&
        gr_buf_printf(b, ",\"consistent\":%s,\"tokens\":%" PRIu64 ",\"truncated\":%s,\"dropped\":%s",
                      truth[r->consistent], r->tokens, truth[r->truncated], truth[r->dropped]) &&
        gr_buf_printf(b, ",\"prompt\":\"%016" PRIx64 "\",\"texts\":\"%016" PRIx64 "\",\"chars\":[%" PRIu64 ",%" PRIu64
                      "]", r->prompt, r->texts, r->chosen_chars, r->rejected_chars) &&
        (r->cell < 0 ? gr_buf_puts(b, ",\"cell\":null") : gr_buf_printf(b, ",\"cell\":%d", r->cell)) &&
        (!r->rewarded || put_two(b, "reward", r->reward)) && (!r->spread || put_two(b, "sigma", r->sigma)) &&
        (!r->why || put_reasons(b, r->why)) &&
        gr_buf_printf(b, ",\"run\":\"%016" PRIx64 "\"}\n", run);
}

/* What is being read, so that each getter can name it. The first failure is kept in rc. */
typedef struct { const char *name; uint64_t line; const json_t *o; gram_status rc; gram_err *err; } reader;

static const json_t *want(reader *p, const char *key, bool ok, const char *what)
{
    const json_t *v = json_object_get(p->o, key);

    if (p->rc)
        return NULL;
    if (!v || !ok) {
        p->rc = gr_fail(p->err, GRAM_EFORMAT, "%s:%" PRIu64 ": \"%s\" should be %s in a line of per-row results",
                        p->name, p->line, key, what);
        return NULL;
    }
    return v;
}

static char *get_string(reader *p, const char *key, bool may_be_null)
{
    const json_t *v = json_object_get(p->o, key);
    char *s = NULL;

    v = want(p, key, json_is_string(v) || (may_be_null && json_is_null(v)), "a string");
    if (v && json_is_string(v)) {
        s = gr_strdup(json_string_value(v));
        if (!s)
            p->rc = gr_nomem(p->err, p->name);
    }
    return s;
}

static double get_real(reader *p, const char *key)
{
    const json_t *v = json_object_get(p->o, key);

    v = want(p, key, json_is_number(v) || json_is_null(v), "a number or null");
    return v && json_is_number(v) ? json_number_value(v) : NAN;
}

static uint64_t as_count(reader *p, const char *key, const json_t *v)
{
    v = want(p, key, json_is_integer(v) && json_integer_value(v) >= 0, "a count") ? v : NULL;
    return v ? (uint64_t)json_integer_value(v) : 0;
}

static bool get_bool(reader *p, const char *key)
{
    return json_is_true(want(p, key, json_is_boolean(json_object_get(p->o, key)), "true or false"));
}

static uint64_t get_hash(reader *p, const char *key)
{
    const char *s = json_string_value(json_object_get(p->o, key));

    want(p, key, s && strlen(s) == 16 && strspn(s, "0123456789abcdef") == 16, "16 hexadecimal digits");
    return p->rc ? 0 : strtoull(s, NULL, 16);
}

/* A share of the whole, NAN where it may be missing. */
static double get_share(reader *p, const char *key, bool may_be_null)
{
    double x = get_real(p, key);

    want(p, key, isnan(x) ? may_be_null : x >= 0 && x <= 1, "a number from 0 to 1");
    return x;
}

static int get_cell(reader *p)
{
    const json_t *v = json_object_get(p->o, "cell");
    bool ok = json_is_null(v) || (json_is_integer(v) && json_integer_value(v) >= 0 && json_integer_value(v) < 64);

    v = want(p, "cell", ok, "null or 0 to 63");
    return v && json_is_integer(v) ? (int)json_integer_value(v) : -1;
}

/* Two numbers; false where the key is absent, or null, as in a table, whose rows have the columns of all. */
static bool get_two(reader *p, const char *key, double x[2])
{
    const json_t *v = json_object_get(p->o, key);

    if (!v || json_is_null(v))
        return false;
    want(p, key, json_array_size(v) == 2 && json_is_number(json_array_get(v, 0)) &&
                 json_is_number(json_array_get(v, 1)), "two numbers");
    x[0] = json_number_value(json_array_get(v, 0));
    x[1] = json_number_value(json_array_get(v, 1));
    return true;
}

static gram_reasoned *get_reasons(reader *p)
{
    const json_t *o = json_object_get(p->o, "reasons");
    const char *why;
    gram_reasoned *v = o && !json_is_null(o) && !p->rc ? gr_calloc(1, sizeof *v) : NULL;
    gram_status rc;

    if (!v && (!o || json_is_null(o) || p->rc))
        return NULL;
    rc = v ? gr_reasoned_get(o, v, &why) : GRAM_ENOMEM;
    if (!rc)
        return v;
    p->rc = rc == GRAM_ENOMEM ? gr_nomem(p->err, p->name)
          : gr_fail(p->err, rc, "%s:%" PRIu64 ": reasons: %s", p->name, p->line, why);
    free(v);
    return NULL;
}

static void read_all(reader *p, gr_eval_row *r, char **file, uint64_t *run)
{
    const json_t *chars = json_object_get(p->o, "chars"), *texts = json_object_get(p->o, "texts");

    *file = get_string(p, "file", false);
    r->id = get_string(p, "id", false);
    r->subset = get_string(p, "subset", true);
    r->dropped = get_bool(p, "dropped");
    r->preference = get_share(p, "preference", r->dropped);
    r->p_forward = get_share(p, "p_forward", true);
    r->p_swapped = get_share(p, "p_swapped", true);
    want(p, "p_forward", r->dropped || !isnan(r->p_forward) || !isnan(r->p_swapped), "a number, or else p_swapped,");
    r->logit_margin = get_real(p, "logit_margin");
    want(p, "logit_margin", r->dropped || !isnan(r->logit_margin), "a number");
    r->consistent = get_bool(p, "consistent");
    r->tokens = as_count(p, "tokens", json_object_get(p->o, "tokens"));
    r->truncated = get_bool(p, "truncated");
    r->prompt = get_hash(p, "prompt");
    if (texts && !json_is_null(texts))
        r->texts = get_hash(p, "texts");
    r->chosen_chars = as_count(p, "chars", json_array_get(chars, 0));
    r->rejected_chars = as_count(p, "chars", json_array_get(chars, 1));
    r->cell = get_cell(p);
    r->rewarded = get_two(p, "reward", r->reward);
    r->spread = get_two(p, "sigma", r->sigma);
    r->why = get_reasons(p);
    *run = get_hash(p, "run");
}

gram_status gr_eval_row_parse(const char *name, uint64_t line, const char *json, size_t n,
                              gr_eval_row *r, char **file, uint64_t *run, gram_err *err)
{
    json_error_t e;
    json_t *o = json_loadb(json, n, JSON_REJECT_DUPLICATES, &e);
    reader p = { name, line, o, GRAM_OK, err };

    *file = NULL;
    *r = (gr_eval_row){ .cell = -1 };
    if (!o && (json_error_code(&e) == json_error_out_of_memory || !*e.text))
        return gr_nomem(err, name);
    if (!json_is_object(o)) {
        p.rc = gr_fail(err, GRAM_EFORMAT, "%s:%" PRIu64 ": should be a JSON object of per-row results%s%s",
                       name, line, o ? "" : ": ", o ? "" : e.text);
        goto out;
    }
    read_all(&p, r, file, run);
out:
    if (p.rc) {
        gr_eval_row_clear(r);
        free(*file);
        *file = NULL;
    }
    json_decref(o);
    return p.rc;
}
