/* eval_check.h - what the tests of src/eval share: golden rows, and a judge that needs no model. */
#ifndef EVAL_CHECK_H
#define EVAL_CHECK_H

#include <ctype.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "check.h"
#include "eval/eval.h"
#include "file/io.h"

#define GOLDEN "tests/golden/eval/"

static inline char *load_text(const char *path)
{
    char *text;
    size_t n;

    CHECK_OK(gr_read_file(path, (size_t)1 << 24, &text, &n, &check_err));
    return text;
}

static inline json_t *load_json(const char *path)
{
    json_error_t e;
    json_t *o = json_load_file(path, 0, &e);

    if (!o)
        fail_msg("%s:%d: %s", path, e.line, e.text);
    return o;
}

/* The rows of rows.jsonl, in the files of metrics.json. */
typedef struct { gr_eval_row row[512]; size_t n; gr_eval_result result; } golden_rows;

static inline void golden_rows_load(golden_rows *g)
{
    static const char *const path[] = { "a.jsonl", "c.jsonl", "dir/b.jsonl.gz" };
    char *text = load_text(GOLDEN "rows.jsonl"), *line = text;

    *g = (golden_rows){ 0 };
    g->result.n_files = GR_COUNT(path);
    g->result.file = gr_calloc(GR_COUNT(path), sizeof *g->result.file);
    for (size_t f = 0; f < GR_COUNT(path); f++)
        g->result.file[f].path = gr_strdup(path[f]);
    for (char *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        char *file;
        uint64_t run;
        CHECK_OK(gr_eval_row_parse("rows.jsonl", g->n + 1, line, (size_t)(end - line), &g->row[g->n], &file, &run,
                                   &check_err));
        while (strcmp(path[g->row[g->n].file], file))
            g->row[g->n].file++;
        free(file);
        g->n++;
    }
    free(text);
}

static inline void golden_rows_clear(golden_rows *g)
{
    for (size_t i = 0; i < g->n; i++)
        gr_eval_row_clear(&g->row[i]);
    gr_eval_result_clear(&g->result);
}

/* The judge of scripts/golden_eval.py: reads q=X out of answers and bias=Y out of the question. */
typedef struct {
    size_t calls, pairs;            /* so far */
    size_t fail_pair;               /* 0: none; a call that comes to the n-th pair fails with GRAM_EIO */
    const char *too_long;           /* NULL: nothing is; a question that holds this text is */
    bool drop;                      /* and is dropped instead of failing */
} fake_judge;

static inline double fake_number(const char *key, const char *text)
{
    const char *at = strstr(text, key);

    return at ? strtod(at + strlen(key), NULL) : 0;
}

static inline double fake_sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static inline gram_status fake_score(void *arg, const gram_pair *pair, size_t n,
                                     gram_verdict *out, gram_reasoned *why, gram_err *err)
{
    fake_judge *j = arg;

    (void)why;

    j->calls++;
    for (size_t i = 0; i < n; i++) {
        const char *question = pair[i].prompt.turn[pair[i].prompt.n - 1].content;
        double d = fake_number("q=", pair[i].a) - fake_number("q=", pair[i].b), bias = fake_number("bias=", question);
        out[i] = (gram_verdict){ .p_forward = fake_sigmoid(d + bias), .p_swapped = 1 - fake_sigmoid(-d + bias),
                                 .logit_margin = d, .tokens = 100 + strlen(question) };
        out[i].preference = (out[i].p_forward + out[i].p_swapped) / 2;
        out[i].consistent = (out[i].p_forward > 0.5) == (out[i].p_swapped > 0.5);
        if (j->too_long && strstr(question, j->too_long)) {
            if (!j->drop) {
                snprintf(err->text, sizeof err->text, "pair %zu: 3000 tokens, wanted at most 2048", i);
                return err->status = GRAM_ELIMIT;
            }
            out[i] = (gram_verdict){ .dropped = true };
        }
        if (++j->pairs == j->fail_pair) {
            snprintf(err->text, sizeof err->text, "the judge broke");
            return err->status = GRAM_EIO;
        }
    }
    return GRAM_OK;
}

/* Fails unless `got` holds every key, string, list and number of `want`, numbers within 1e-9. */
static inline void json_within(const char *where, const json_t *want, const json_t *got)
{
    char below[300];
    const char *key;
    const json_t *v;
    size_t i;

    if (json_is_object(want)) {
        json_object_foreach((json_t *)(uintptr_t)want, key, v) {
            snprintf(below, sizeof below, "%.200s.%s", where, key);
            json_within(below, v, json_object_get(got, key));
        }
    } else if (json_is_array(want)) {
        if (json_array_size(want) != json_array_size(got))
            fail_msg("%s: a list of %zu, wanted %zu", where, json_array_size(got), json_array_size(want));
        json_array_foreach(want, i, v) {
            snprintf(below, sizeof below, "%.200s[%zu]", where, i);
            json_within(below, v, json_array_get(got, i));
        }
    } else if (json_is_number(want)) {
        if (!json_is_number(got) || !(fabs(json_number_value(want) - json_number_value(got)) <= 1e-9))
            fail_msg("%s: %.12g, wanted %.12g", where, json_number_value(got), json_number_value(want));
    } else if (!json_equal(want, got)) {
        fail_msg("%s: differs from %s", where, json_is_null(want) ? "null" : json_string_value(want));
    }
}

/* Text that would break a page. */
#define EVIL "<script>alert(\"x\")</script>&amp;'\xe2\x80\xae\x01"

/* Every tag is closed in its turn, every attribute quoted, every ampersand begins an entity. */
static inline void well_formed(const char *page)
{
    char open[64][16];
    size_t depth = 0;
    const char *p = strstr(page, "<html");

    assert_non_null(p);
    for (; *p; p++) {
        size_t n = 0;
        char name[16];
        bool close, empty = false, quoted = false;
        if (*p == '&') {
            size_t k = strspn(p + 1, "#abcdefghijklmnopqrstuvwxyz0123456789");
            assert_true(k > 0 && p[1 + k] == ';');
        }
        assert_true(*p != '>' && (unsigned char)*p != 0x7f && ((unsigned char)*p >= 0x20 || *p == '\n'));
        if (*p != '<')
            continue;
        close = *++p == '/';
        p += close;
        while (isalnum((unsigned char)p[n]) && n < 15)
            n++;
        snprintf(name, sizeof name, "%.*s", (int)n, p);
        assert_true(n > 0);
        for (; *p && (quoted || *p != '>'); p++) {
            assert_true(*p != '<' && (quoted || *p != '=' || p[1] == '"'));
            quoted ^= *p == '"';
            empty = *p == '/';
        }
        assert_true(*p == '>');
        if (close) {
            assert_true(depth > 0);
            assert_string_equal(open[--depth], name);
        } else if (!empty) {
            assert_true(depth < 64);
            strcpy(open[depth++], name);
        }
    }
    assert_int_equal(depth, 0);
}

#endif
