/* selftrain_report.c - what a self-training leaves for people and programs: report.html and rounds.json, from its
 * numbers and its files alone, so that the same run leaves the same bytes. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "api/selftrain_int.h"
#include "base/err.h"
#include "base/json.h"
#include "eval/selftrain_page.h"

enum { SAMPLES = 3 };                   /* of a round */

/* ---- rounds.json ---------------------------------------------------------------------------------- */

static json_t *interval_json(gram_interval v)
{
    return json_pack("{s:o, s:o, s:o}", "value", gr_json_real(v.value), "low", gr_json_real(v.low), "high",
                     gr_json_real(v.high));
}

static json_t *count_json(const gram_rule_count *c)
{
    return json_pack("{s:I, s:I, s:I}", "pairs", (json_int_t)c->n, "known", (json_int_t)c->known, "right",
                     (json_int_t)c->right);
}

static json_t *rules_json(const gram_voted_labels *l)
{
    json_t *rules = json_object();

    for (size_t i = 0; i < GRAM_RULES && rules; i++)
        if (json_object_set_new(rules, gram_rule_name((gram_rule)i),
                                json_pack("{s:I, s:o}", "broke", (json_int_t)l->broke[i], "dropped",
                                          count_json(&l->dropped[i])))) {
            json_decref(rules);
            return NULL;
        }
    return rules;
}

json_t *gr_selftrain_labels_json(const gram_voted_labels *l)
{
    return json_pack("{s:I, s:I, s:o, s:o, s:I, s:I, s:I, s:I, s:o}", "pairs", (json_int_t)l->pairs, "known",
                     (json_int_t)l->known, "kept", count_json(&l->kept), "dropped", count_json(&l->lost), "rationales",
                     (json_int_t)l->rationales, "forced", (json_int_t)l->forced, "contradicts",
                     (json_int_t)l->contradicts, "tokens", (json_int_t)l->tokens, "rules", rules_json(l));
}

static gram_status write_text(const char *folder, const char *name, const char *text, size_t n, gram_err *err)
{
    char *path = gr_path_join(folder, name);
    gram_status rc = path && text ? gr_write_file(path, text, n, err) : gr_nomem(err, name);

    free(path);
    return rc;
}

static gram_status write_numbers(const gram_selftrain_options *o, const gram_selftrain_report *r, gram_err *err)
{
    json_t *list = json_array(), *all;
    char *text;
    gram_status rc;

    for (size_t i = 0; i <= r->rounds && list; i++) {
        const gram_selftrain_round *n = &r->round[i];
        json_t *one = json_pack("{s:I, s:I, s:I, s:o, s:o, s:I, s:o?}", "round", (json_int_t)i, "rows",
                                (json_int_t)n->rows, "proved", (json_int_t)n->proved, "score", gr_json_real(n->score),
                                "accuracy", interval_json(n->accuracy), "eval_rows", (json_int_t)n->eval_rows, "labels",
                                i ? gr_selftrain_labels_json(&n->labels) : NULL);
        if (json_array_append_new(list, one)) {
            json_decref(list);
            list = NULL;
        }
    }
    all = json_pack("{s:i, s:o, s:o}", "gram_selftrain", 1, "rounds", list, "final", interval_json(r->final));
    text = gr_json_text(all, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    rc = write_text(o->out, "rounds.json", text, text ? strlen(text) : 0, err);
    free(text);
    json_decref(all);
    return rc;
}

/* ---- Samples -------------------------------------------------------------------------------------- */

typedef struct { gr_self_sample *p; size_t n; } samples;

static void samples_clear(samples *s)
{
    for (size_t i = 0; i < s->n; i++) {
        free(s->p[i].prompt);
        free(s->p[i].chosen);
        free(s->p[i].rejected);
        free(s->p[i].rationale);
    }
    free(s->p);
}

static char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return gr_strdup(s ? s : "");
}

/* A row of proofs; *taken false: it has no rationale. Its question is that of the last turn. */
static bool take_sample(samples *s, const json_t *o, size_t round, bool *taken)
{
    const json_t *turns = json_object_get(o, "prompt");
    const json_t *last = json_array_get(turns, json_array_size(turns) - 1);
    gr_self_sample *to = &s->p[s->n];

    *taken = json_is_string(json_object_get(o, "rationale"));
    if (!*taken)
        return true;
    *to = (gr_self_sample){ text_of(last, "content"), text_of(o, "chosen"), text_of(o, "rejected"),
                            text_of(o, "rationale"), NAN, round };
    s->n++;
    return to->prompt && to->chosen && to->rejected && to->rationale;
}

/* Up to SAMPLES rows of a file of proofs; there is room for them. */
static gram_status read_samples(samples *s, const char *path, size_t round, gram_err *err)
{
    gr_lines *in;
    const char *line;
    size_t n, left = SAMPLES;
    gram_status rc = gr_lines_open(&in, path, err);

    if (rc)
        return rc;
    while (left && !(rc = gr_lines_next(in, &line, &n, err)) && line) {
        json_t *o = json_loadb(line, n, 0, NULL);
        bool taken = false;
        if (!take_sample(s, o, round, &taken))
            rc = gr_nomem(err, path);
        left -= taken;
        json_decref(o);
        if (rc)
            break;
    }
    gr_lines_close(in);
    return rc;
}

static gram_status collect(const gram_selftrain_options *o, const gram_selftrain_report *r, samples *s, gram_err *err)
{
    gram_status rc = GRAM_OK;

    s->p = gr_calloc(SAMPLES * (r->rounds + 1), sizeof *s->p);
    if (!s->p)
        return gr_nomem(err, "report");
    for (size_t i = o->labelled ? 0 : 1; i <= r->rounds && !rc; i++) {
        char name[64], *path;
        if (i)
            snprintf(name, sizeof name, "round-%zu/proofs.jsonl", i);
        else
            snprintf(name, sizeof name, "01-proofs.jsonl");
        path = gr_path_join(o->out, name);
        rc = path ? read_samples(s, path, i, err) : gr_nomem(err, name);
        free(path);
    }
    return rc;
}

gram_status gr_selftrain_write_report(const gram_selftrain_options *o, const gram_selftrain_report *r, gram_err *err)
{
    char *name = gr_api_base_name(o->model);
    samples s = { NULL, 0 };
    gr_buf page = { 0 };
    gram_status rc = name ? collect(o, r, &s, err) : gr_nomem(err, "report");

    if (!rc)
        rc = gr_eval_selftrain(r, &(gr_self_facts){ name, o, s.p, s.n }, &page, err);
    if (!rc)
        rc = write_text(o->out, "report.html", page.p, page.n, err);
    if (!rc)
        rc = write_numbers(o, r, err);
    samples_clear(&s);
    gr_buf_clear(&page);
    free(name);
    return rc;
}
