/* state.c - see state.h. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "file/save.h"
#include "file/weights.h"
#include "train/state.h"

static const char *const part[] = { "", "m.", "v." };

/* The values of part k of each parameter, one parameter after the other. */
static float *values(const gr_adamw *a, size_t k, size_t param, size_t at)
{
    return k == 0 ? a->param[param].w : (k == 1 ? a->m : a->v) + at;
}

gram_status gr_state_check(const gr_adamw *a, const char *what, gram_err *err)
{
    for (size_t i = 0; i < a->n_params; i++) {
        const gr_param *p = &a->param[i];
        for (size_t k = 0; k < p->rows * p->cols; k++)
            if (!isfinite(p->w[k]))
                return gr_fail(err, GRAM_EFORMAT, "%s: tensor %s: value %zu is %g, and training wants finite numbers",
                               what, p->name, k, p->w[k]);
    }
    return GRAM_OK;
}

/* FNV-1a over words in place of bytes, since there are gigabytes: a word that changes always changes it. */
static uint64_t digest_of(const gr_adamw *a)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (size_t k = 0; k < GR_COUNT(part); k++)
        for (size_t i = 0, at = 0; i < a->n_params; i++) {
            size_t n = a->param[i].rows * a->param[i].cols;
            const float *x = values(a, k, i, at);
            for (size_t j = 0; j < n; j++) {
                uint32_t word;
                memcpy(&word, &x[j], sizeof word);
                h = (h ^ word) * 0x100000001b3u;
            }
            at += n;
        }
    return h;
}

/* GR_NEVER reads and writes as a number like any other. */
static void write_progress(char text[160], const gr_state *s)
{
    snprintf(text, 160, "step=%" PRIu64 " judged=%" PRIu64 " best=%" PRIu64 " best-accuracy=%.17g best-loss=%.17g",
             s->step, s->judged, s->best, s->best_accuracy, s->best_loss);
}

gram_status gr_state_save(const char *path, const gr_state *s, const char *settings, const gr_adamw *a, gram_err *err)
{
    char progress[160], digest[24];
    const gr_meta meta[] = { { "progress", progress }, { "digest", digest }, { "settings", settings } };
    gram_status rc = gr_state_check(a, "no checkpoint is written", err);
    gr_saved *t = rc ? NULL : gr_calloc(GR_COUNT(part) * a->n_params, sizeof *t);
    size_t n = 0;

    if (rc)
        return rc;
    if (!t)
        return gr_nomem(err, path);
    write_progress(progress, s);
    snprintf(digest, sizeof digest, "%016" PRIx64, digest_of(a));
    for (size_t k = 0; k < GR_COUNT(part); k++)
        for (size_t i = 0, at = 0; i < a->n_params; i++) {
            const gr_param *p = &a->param[i];
            t[n++] = (gr_saved){ part[k], p->name, values(a, k, i, at), p->rows, p->cols, p->decay };
            at += p->rows * p->cols;
        }
    rc = gr_st_write(path, t, n, meta, GR_COUNT(meta), err);
    free(t);
    return rc;
}

static gram_status check_settings(const char *path, const char *settings, gram_err *err)
{
    char *was;
    gram_status rc = gr_st_meta(path, "settings", &was, err);

    if (!rc && !was)
        rc = gr_fail(err, GRAM_EFORMAT, "%s: no checkpoint of a training run: its metadata have no settings", path);
    else if (!rc && strcmp(was, settings))
        rc = gr_fail(err, GRAM_EARG, "%s: this checkpoint belongs to a run with other data or options: it has %s, and "
                     "this run %s", path, was, settings);
    free(was);
    return rc;
}

static gram_status read_progress(const char *path, gr_state *s, gram_err *err)
{
    char *text = NULL;
    int end = 0;
    gram_status rc = gr_st_meta(path, "progress", &text, err);

    if (rc)
        return rc;
    if (!text || sscanf(text, "step=%" SCNu64 " judged=%" SCNu64 " best=%" SCNu64 " best-accuracy=%lf best-loss=%lf%n",
                        &s->step, &s->judged, &s->best, &s->best_accuracy, &s->best_loss, &end) != 5 || text[end])
        rc = gr_fail(err, GRAM_EFORMAT, "%s: metadata progress: wanted step, judged, best and its numbers, found %s",
                     path, text ? text : "nothing");
    free(text);
    return rc;
}

static gram_status check_digest(const char *path, const gr_adamw *a, gram_err *err)
{
    char *text = NULL, now[24];
    gram_status rc = gr_st_meta(path, "digest", &text, err);

    if (rc)
        return rc;
    snprintf(now, sizeof now, "%016" PRIx64, digest_of(a));
    if (!text || strcmp(text, now))
        rc = gr_fail(err, GRAM_EFORMAT, "%s: the numbers in it are not those that were written: their digest is %s, "
                     "wanted %s", path, now, text ? text : "one in the metadata");
    free(text);
    return rc;
}

static const gr_named *find(const gr_st *st, const char *prefix, const char *name)
{
    size_t n = strlen(prefix);

    for (size_t i = 0; i < gr_st_count(st); i++) {
        const gr_named *t = gr_st_at(st, i);
        if (!strncmp(t->name, prefix, n) && !strcmp(t->name + n, name))
            return t;
    }
    return NULL;
}

static gram_status read_values(const gr_st *st, const char *path, gr_adamw *a, gram_err *err)
{
    for (size_t k = 0; k < GR_COUNT(part); k++)
        for (size_t i = 0, at = 0; i < a->n_params; i++) {
            const gr_param *p = &a->param[i];
            uint64_t bytes = (uint64_t)p->rows * p->cols * sizeof *p->w;
            const gr_named *t = find(st, part[k], p->name);
            if (!t || t->type != GR_F32 || t->bytes != bytes)
                return gr_fail(err, GRAM_EFORMAT, "%s: tensor %s%s: wanted %" PRIu64 " bytes of F32, found %s", path,
                               part[k], p->name, bytes, t ? "another size or type" : "none");
            memcpy(values(a, k, i, at), t->data, bytes);
            at += p->rows * p->cols;
        }
    return GRAM_OK;
}

gram_status gr_state_load(const char *path, gr_state *s, const char *settings, gr_adamw *a, gram_err *err)
{
    gr_st *st;
    gram_status rc = gr_st_open(&st, path, err);

    if (rc)
        return rc;
    rc = check_settings(path, settings, err);
    if (!rc)
        rc = read_progress(path, s, err);
    if (!rc)
        rc = read_values(st, path, a, err);
    if (!rc)
        rc = check_digest(path, a, err);
    a->t = s->step;
    gr_st_close(st);
    return rc;
}
