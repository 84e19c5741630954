/* overlap.c - see overlap.h. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "api/job.h"
#include "api/overlap.h"
#include "base/err.h"
#include "base/json.h"
#include "reward/score.h"

static bool grow(gr_spread *s)
{
    size_t cap = 2 * s->cap + 512;
    double *mean = realloc(s->mean, cap * sizeof *mean), *sigma;

    if (mean)
        s->mean = mean;
    sigma = mean ? realloc(s->sigma, cap * sizeof *sigma) : NULL;
    if (!sigma)
        return false;
    s->sigma = sigma;
    s->cap = cap;
    return true;
}

/* Whether a line has a score; a pair's, as two rewards with their sigmas. */
static bool scored(const json_t *o)
{
    return json_array_size(json_object_get(o, "reward")) == 2 && json_array_size(json_object_get(o, "sigma")) == 2;
}

gram_status gr_spread_add(gr_spread *s, const char *line, size_t n, gram_err *err)
{
    json_error_t e;
    json_t *o = json_loadb(line, n, JSON_ALLOW_NUL, &e);
    bool ok = o && gr_buf_add(&s->text, line, n) && gr_buf_puts(&s->text, "\n");

    if (!o && json_error_code(&e) != json_error_out_of_memory)
        return gr_fail(err, GRAM_EFORMAT, "a line of the output is not JSON: %s", e.text);
    if (ok && s->n + 2 > s->cap)
        ok = grow(s);
    for (size_t k = 0; k < 2 && ok && scored(o); k++) {
        s->mean[s->n] = json_number_value(json_array_get(json_object_get(o, "reward"), k));
        s->sigma[s->n++] = json_number_value(json_array_get(json_object_get(o, "sigma"), k));
    }
    json_decref(o);
    return ok ? GRAM_OK : gr_nomem(err, "output lines");
}

static json_t *two(const double *x)
{
    return json_pack("[o,o]", gr_json_real(x[0]), gr_json_real(x[1]));
}

/* A line with u[2] of its answers; without a score it stays as it is. */
static gram_status write_line(const char *line, size_t n, const double *mean, const double *u, double lambda,
                              bool *used, gr_out *out, gram_err *err)
{
    json_t *o = json_loadb(line, n, JSON_ALLOW_NUL, NULL);
    gram_status rc;

    *used = scored(o);
    if (*used) {
        const double left[2] = { mean[0] - lambda * u[0], mean[1] - lambda * u[1] };
        if (json_object_set_new(o, "overlap", two(u)) || json_object_set_new(o, "penalised", two(left))) {
            json_decref(o);
            return gr_nomem(err, "output lines");
        }
    }
    rc = gr_api_write_line(out, o, "output lines", err);
    json_decref(o);
    return rc;
}

gram_status gr_spread_write(const gr_spread *s, double lambda, gr_out *o, gram_err *err)
{
    double *u = gr_calloc(s->n + 1, sizeof *u);
    const char *line = s->text.p, *end;
    size_t at = 0;
    bool used;
    gram_status rc = u ? GRAM_OK : gr_nomem(err, "output lines");

    if (!rc)
        gr_overlap(s->mean, s->sigma, s->n, u);
    for (; line && !rc && (end = memchr(line, '\n', (size_t)(s->text.p + s->text.n - line))); line = end + 1) {
        rc = write_line(line, (size_t)(end - line), s->mean + at, u + at, lambda, &used, o, err);
        at += used ? 2 : 0;
    }
    free(u);
    return rc;
}

void gr_spread_clear(gr_spread *s)
{
    gr_buf_clear(&s->text);
    free(s->mean);
    free(s->sigma);
    *s = (gr_spread){ 0 };
}
