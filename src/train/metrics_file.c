/* metrics_file.c - see metrics_file.h. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/err.h"
#include "base/json.h"
#include "file/io.h"
#include "train/metrics_file.h"
#include "train/tfevents.h"

#define LARGEST ((size_t)1 << 30)

enum { LINES, HELD, SAMPLES, EVENTS, FILES };
static const char *const name[FILES] = { "metrics.jsonl", "held-out.jsonl", "samples.jsonl",
                                         "tb/events.out.tfevents.gram" };

struct gr_metrics { struct { char *path; FILE *f; } file[FILES]; };

/* ---- Reading -------------------------------------------------------------------------------------- */

/* Returns false to end. */
typedef bool visit_fn(void *arg, const char *line, size_t n, const json_t *row);

/* The whole lines of a file, as far as they are JSON: a run that was killed, or a machine that went down, may leave a
 * part of one after them. A file that is not there has none. */
static gram_status each_line(const char *path, visit_fn *visit, void *arg, gram_err *err)
{
    char *text = NULL, *end;
    size_t bytes = 0;
    bool more = true;
    gram_status rc = gr_path_exists(path) ? gr_read_file(path, LARGEST, &text, &bytes, err) : GRAM_OK;

    for (char *at = text; at && more && (end = memchr(at, '\n', bytes - (size_t)(at - text))); at = end + 1) {
        json_error_t e;
        json_t *row = json_loadb(at, (size_t)(end - at), 0, &e);
        if (!row && json_error_code(&e) == json_error_out_of_memory)
            rc = gr_nomem(err, path);
        more = row && visit(arg, at, (size_t)(end + 1 - at), row);
        json_decref(row);
    }
    free(text);
    return rc;
}

static double number(const json_t *row, const char *key)
{
    const json_t *v = json_object_get(row, key);

    return json_is_number(v) ? json_number_value(v) : NAN;
}

/* The set that a line is of, from 0. */
static size_t set_of(const json_t *row)
{
    json_int_t set = json_integer_value(json_object_get(row, "set"));

    return set > 1 ? (size_t)set - 1 : 0;
}

static gr_metric metric_of(const json_t *row)
{
    bool held = json_object_get(row, "held_loss");

    return (gr_metric){
        .step = (uint64_t)json_integer_value(json_object_get(row, "step")), .held = held, .set = set_of(row),
        .time = number(row, "time"),
        .loss = number(row, held ? "held_loss" : "loss"), .accuracy = number(row, held ? "held_accuracy" : "accuracy"),
        .lr = number(row, "lr"), .grad_norm = number(row, "grad_norm"), .tokens_per_s = number(row, "tokens_per_s")
    };
}

struct list { gr_metric *m; size_t n, cap; bool failed; };

static bool add_metric(void *arg, const char *line, size_t n, const json_t *row)
{
    struct list *l = arg;

    (void)line, (void)n;
    if (l->n == l->cap) {
        size_t cap = gr_max(2 * l->cap, 256);
        gr_metric *more = realloc(l->m, cap * sizeof *more);
        l->failed = !more;
        if (!more)
            return false;
        l->m = more;
        l->cap = cap;
    }
    l->m[l->n++] = metric_of(row);
    return true;
}

static gram_status read_metrics(const char *path, gr_metric **out, size_t *n, gram_err *err)
{
    struct list l = { 0 };
    gram_status rc = each_line(path, add_metric, &l, err);

    if (!rc && l.failed)
        rc = gr_nomem(err, path);
    if (rc)
        free(l.m);
    *out = rc ? NULL : l.m;
    *n = rc ? 0 : l.n;
    return rc;
}

gram_status gr_metrics_read(const char *dir, gr_metric **out, size_t *n, gram_err *err)
{
    char *path = gr_path_join(dir, name[LINES]);
    gram_status rc = path ? read_metrics(path, out, n, err) : gr_nomem(err, dir);

    free(path);
    return rc;
}

struct wanted { uint64_t step; size_t set; gr_held *out; bool failed; };

static bool take_judged(void *arg, const char *line, size_t bytes, const json_t *row)
{
    struct wanted *w = arg;
    const json_t *p = json_object_get(row, "preference");
    size_t n = json_array_size(p);

    (void)line, (void)bytes;
    if ((uint64_t)json_integer_value(json_object_get(row, "step")) != w->step || set_of(row) != w->set || n == 0)
        return true;
    w->out->p = gr_calloc(n, sizeof *w->out->p);
    w->failed = !w->out->p;
    w->out->n = w->failed ? 0 : n;
    for (size_t i = 0; i < w->out->n; i++)
        for (size_t k = 0; k < 2; k++) {
            double x = json_number_value(json_array_get(json_array_get(p, i), k));
            w->out->p[i][k] = x >= 0 && x <= 1 ? x : 0.5;           /* somebody wrote into it */
        }
    return false;
}

gram_status gr_metrics_judged(const char *dir, uint64_t step, size_t set, gr_held *out, gram_err *err)
{
    struct wanted w = { step, set, out, false };
    char *path = gr_path_join(dir, name[HELD]);
    gram_status rc;

    *out = (gr_held){ .loss = NAN, .accuracy = NAN };
    rc = path ? each_line(path, take_judged, &w, err) : gr_nomem(err, dir);
    if (!rc && w.failed)
        rc = gr_nomem(err, path);
    free(path);
    return rc;
}

/* ---- What a resumed run keeps --------------------------------------------------------------------- */

struct keeping { uint64_t steps, judged; bool always_held; gr_buf text; bool failed; };

static bool keep_line(void *arg, const char *line, size_t n, const json_t *row)
{
    struct keeping *k = arg;
    uint64_t step = (uint64_t)json_integer_value(json_object_get(row, "step"));
    bool held = k->always_held || json_object_get(row, "held_loss");

    if (held ? k->judged != GR_NEVER && step <= k->judged : step <= k->steps)
        k->failed = !gr_buf_add(&k->text, line, n);
    return !k->failed;
}

static gram_status keep_lines(const char *path, bool always_held, uint64_t steps, uint64_t judged, gram_err *err)
{
    struct keeping k = { steps, judged, always_held, { 0 }, false };
    gr_out *o = NULL;
    gram_status rc;

    if (!gr_path_exists(path))
        return GRAM_OK;
    rc = each_line(path, keep_line, &k, err);
    if (!rc && k.failed)
        rc = gr_nomem(err, path);
    if (!rc)
        rc = gr_out_open(&o, path, false, err);
    if (!rc)
        rc = gr_out_write(o, k.text.p, k.text.n, err);
    if (!rc)
        rc = gr_out_commit(o, err);
    gr_out_close(o);
    gr_buf_clear(&k.text);
    return rc;
}

/* ---- Event files ---------------------------------------------------------------------------------- */

static double clock_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool add_event(gr_buf *b, const gr_metric *m)
{
    const gr_scalar train[] = { { "loss/train", m->loss }, { "accuracy/train", m->accuracy },
                                { "optimizer/learning_rate", m->lr }, { "optimizer/gradient_norm", m->grad_norm },
                                { "speed/tokens_per_second", m->tokens_per_s } };
    char loss[48] = "loss/held_out", accuracy[48] = "accuracy/held_out";
    const gr_scalar held[] = { { loss, m->loss }, { accuracy, m->accuracy } };

    if (m->set) {
        snprintf(loss, sizeof loss, "loss/held_out_%zu", m->set + 1);
        snprintf(accuracy, sizeof accuracy, "accuracy/held_out_%zu", m->set + 1);
    }
    return m->held ? gr_tfevents_add(b, m->time, m->step, held, GR_COUNT(held))
                   : gr_tfevents_add(b, m->time, m->step, train, GR_COUNT(train));
}

/* A run's own numbers under the names that TRL gives them. */
static bool add_number(gr_buf *b, double time, uint64_t step, bool held, const char *key, double x)
{
    char tag[96];
    const gr_scalar s = { tag, x };

    snprintf(tag, sizeof tag, "%s/%s", held ? "eval" : "train", key);
    return gr_tfevents_add(b, time, step, &s, 1);
}

static bool is_known(const char *key)
{
    static const char *const known[] = { "step", "loss", "accuracy", "lr", "grad_norm", "tokens_per_s", "tokens",
                                         "seconds", "time", "set", "file", "held_loss", "held_accuracy" };

    for (size_t i = 0; i < GR_COUNT(known); i++)
        if (!strcmp(known[i], key))
            return true;
    return false;
}

/* ---- Writing -------------------------------------------------------------------------------------- */

static gram_status make_tb(const char *dir, gram_err *err)
{
    char *tb = gr_path_join(dir, "tb");
    gram_status rc = tb ? GRAM_OK : gr_nomem(err, dir);

    if (!rc)
        rc = gr_make_directory(tb, err);
    free(tb);
    return rc;
}

static gram_status append(gr_metrics *m, int file, const gr_buf *b, gram_err *err)
{
    FILE *f = m->file[file].f;

    if (fwrite(b->p, 1, b->n, f) != b->n || fflush(f))
        return gr_fail(err, GRAM_EIO, "%s: not written: %s", m->file[file].path, strerror(errno));
    return GRAM_OK;
}

struct events { gr_buf b; bool begun, failed; };

static bool add_row_events(void *arg, const char *line, size_t n, const json_t *row)
{
    struct events *e = arg;
    const gr_metric m = metric_of(row);
    const char *key;
    json_t *v;
    bool ok = (e->begun || gr_tfevents_begin(&e->b, m.time)) && add_event(&e->b, &m);

    (void)line, (void)n;
    json_object_foreach((json_t *)(uintptr_t)row, key, v)
        if (json_is_number(v) && !is_known(key))
            ok = ok && add_number(&e->b, m.time, m.step, m.held, key, json_number_value(v));
    e->begun = true;
    e->failed = !ok;
    return ok;
}

/* All that metrics.jsonl says so far. */
static gram_status write_events(gr_metrics *m, gram_err *err)
{
    struct events e = { .begun = false };
    gram_status rc = each_line(m->file[LINES].path, add_row_events, &e, err);

    if (!rc && !e.failed && !e.begun)
        e.failed = !gr_tfevents_begin(&e.b, clock_now());
    if (!rc)
        rc = e.failed ? gr_nomem(err, m->file[EVENTS].path) : append(m, EVENTS, &e.b, err);
    gr_buf_clear(&e.b);
    return rc;
}

static gram_status open_files(gr_metrics *m, const char *dir, uint64_t steps, uint64_t judged, bool samples,
                              gram_err *err)
{
    gram_status rc = make_tb(dir, err);

    for (int i = 0; i < FILES && !rc; i++) {
        char *path = i == SAMPLES && !samples ? NULL : (m->file[i].path = gr_path_join(dir, name[i]));
        if (i == SAMPLES && !samples)
            continue;
        if (!path)
            return gr_nomem(err, dir);
        if (i != EVENTS)
            rc = keep_lines(path, i == HELD, steps, judged, err);
        if (!rc && !(m->file[i].f = fopen(path, i == EVENTS ? "we" : "ae")))
            rc = gr_fail(err, GRAM_EIO, "%s: not opened: %s", path, strerror(errno));
    }
    return rc ? rc : write_events(m, err);
}

gram_status gr_metrics_open(gr_metrics **out, const char *dir, uint64_t steps, uint64_t judged, bool samples,
                            gram_err *err)
{
    gr_metrics *m = gr_calloc(1, sizeof *m);
    gram_status rc = m ? open_files(m, dir, steps, judged, samples, err) : gr_nomem(err, dir);

    if (rc) {
        gr_metrics_close(m);
        m = NULL;
    }
    *out = m;
    return rc;
}

/* A line of metrics.jsonl, and the same as an event; both buffers are empty afterwards. */
static gram_status add_line(gr_metrics *m, gr_buf *line, bool ok, const gr_metric *metric, const gram_number *more,
                            size_t n_more, gram_err *err)
{
    gr_buf event = { 0 };
    gram_status rc;

    ok = ok && add_event(&event, metric);
    for (size_t i = 0; i < n_more && ok; i++)
        if (isfinite(more[i].value))
            ok = add_number(&event, metric->time, metric->step, metric->held, more[i].name, more[i].value);
    rc = ok ? append(m, LINES, line, err) : gr_nomem(err, m->file[LINES].path);
    if (!rc)
        rc = append(m, EVENTS, &event, err);
    gr_buf_clear(line);
    gr_buf_clear(&event);
    return rc;
}

static bool print_numbers(gr_buf *b, const gram_number *more, size_t n)
{
    bool ok = true;

    for (size_t i = 0; i < n && ok; i++)
        if (isfinite(more[i].value))
            ok = gr_buf_printf(b, ",\"%s\":%.9g", more[i].name, more[i].value);
    return ok;
}

gram_status gr_metrics_step(gr_metrics *m, const gram_train_step *s, gram_err *err)
{
    const gr_metric metric = { s->step, false, 0, clock_now(), s->loss, s->accuracy, s->lr, s->grad_norm,
                               s->tokens_per_s };
    gr_buf b = { 0 };
    bool ok = gr_buf_printf(&b, "{\"step\":%" PRIu64 ",\"loss\":%.9g", s->step, s->loss);

    if (ok && !isnan(s->accuracy))
        ok = gr_buf_printf(&b, ",\"accuracy\":%.6g", s->accuracy);
    ok = ok && print_numbers(&b, s->more, s->n_more);
    ok = ok && gr_buf_printf(&b, ",\"lr\":%.9g,\"grad_norm\":%.9g,\"tokens_per_s\":%.1f,\"tokens\":%" PRIu64
                             ",\"seconds\":%.3f,\"time\":%.3f}\n", s->lr, s->grad_norm, s->tokens_per_s, s->tokens,
                             s->seconds, metric.time);
    return add_line(m, &b, ok, &metric, s->more, s->n_more, err);
}

/* Behind the step, which set it is: `,"set":2,"file":"other.jsonl"`; nothing of the first. A name that is no UTF-8 is
 * left out. */
static bool add_set(gr_buf *b, size_t set, const char *file)
{
    json_t *string;
    char *text;
    bool ok;

    if (!set)
        return true;
    errno = 0;
    string = json_string(file);
    if (!string)
        return errno != ENOMEM && gr_buf_printf(b, ",\"set\":%zu", set + 1);
    text = gr_json_text(string, JSON_ENCODE_ANY);
    ok = text && gr_buf_printf(b, ",\"set\":%zu,\"file\":%s", set + 1, text);
    json_decref(string);
    free(text);
    return ok;
}

/* What each row's answers were thought of; stage 1 has no such thing. */
static gram_status add_rows(gr_metrics *m, uint64_t step, size_t set, const char *file, const gr_held *j, gram_err *err)
{
    gr_buf b = { 0 };
    bool ok = gr_buf_printf(&b, "{\"step\":%" PRIu64, step) && add_set(&b, set, file) &&
              gr_buf_puts(&b, ",\"preference\":[");
    gram_status rc;

    for (size_t i = 0; i < j->n && ok; i++)
        ok = gr_buf_printf(&b, "%s[%.17g,%.17g]", i ? "," : "", j->p[i][0], j->p[i][1]);
    ok = ok && gr_buf_puts(&b, "]}\n");
    rc = ok ? append(m, HELD, &b, err) : gr_nomem(err, m->file[HELD].path);
    gr_buf_clear(&b);
    return rc;
}

/* Every row's numbers come first: a line of metrics.jsonl says that they are there. */
gram_status gr_metrics_held(gr_metrics *m, uint64_t step, size_t set, const char *file, const gr_held *j,
                            gram_err *err)
{
    const gr_metric metric = { step, true, set, clock_now(), j->loss, j->accuracy, NAN, NAN, NAN };
    gr_buf b = { 0 };
    gram_status rc = isnan(j->accuracy) ? GRAM_OK : add_rows(m, step, set, file, j, err);
    bool ok = !rc && gr_buf_printf(&b, "{\"step\":%" PRIu64, step) && add_set(&b, set, file) &&
              gr_buf_printf(&b, ",\"held_loss\":%.9g", j->loss);

    if (ok && !isnan(j->accuracy))
        ok = gr_buf_printf(&b, ",\"held_accuracy\":%.9g", j->accuracy);
    ok = ok && print_numbers(&b, j->more, j->n_more) && gr_buf_printf(&b, ",\"time\":%.3f}\n", metric.time);
    return rc ? rc : add_line(m, &b, ok, &metric, j->more, j->n_more, err);
}

gram_status gr_metrics_sample(gr_metrics *m, const gr_buf *line, gram_err *err)
{
    return append(m, SAMPLES, line, err);
}

gram_status gr_metrics_sync(gr_metrics *m, gram_err *err)
{
    for (int i = 0; i < EVENTS; i++)
        if (m->file[i].f && fsync(fileno(m->file[i].f)) && errno != EINVAL && errno != EROFS && errno != ENOTSUP)
            return gr_fail(err, GRAM_EIO, "%s: not synced: %s", m->file[i].path, strerror(errno));
    return GRAM_OK;
}

void gr_metrics_close(gr_metrics *m)
{
    if (!m)
        return;
    for (int i = 0; i < FILES; i++) {
        if (m->file[i].f)
            fclose(m->file[i].f);
        free(m->file[i].path);
    }
    free(m);
}
