/* state.c - see state.h. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/digest.h"
#include "base/err.h"
#include "file/save.h"
#include "file/weights.h"
#include "train/state.h"

static const char *const part[] = { "", "m.", "v." };

gram_status gr_state_check(const gr_adamw *a, const char *what, gram_err *err)
{
    for (size_t i = 0; i < a->n_params; i++) {
        const gr_param *p = &a->param[i];
        for (size_t k = 0; k < p->rows * p->cols; k++)
            if (p->half ? (p->half[k] & 0x7f80) == 0x7f80 : !isfinite(p->w[k]))
                return gr_fail(err, GRAM_EFORMAT, "%s: tensor %s: value %zu is %g, and training wants finite numbers",
                               what, p->name, k, p->half ? INFINITY : p->w[k]);
    }
    return GRAM_OK;
}

/* GR_NEVER reads and writes as a number like any other. */
static void write_progress(char text[200], const gr_state *s)
{
    snprintf(text, 200, "step=%" PRIu64 " judged=%" PRIu64 " best=%" PRIu64 " best-accuracy=%.17g best-loss=%.17g "
             "processes=%" PRIu64, s->step, s->judged, s->best, s->best_accuracy, s->best_loss, s->processes);
}

/* Moments come from the other processes when it is their turn to be written. */
static gram_status collect(void *arg, size_t i, gram_err *err)
{
    const gr_share *share = arg;
    size_t n = share->a->n_params;

    return i % n ? GRAM_OK : gr_share_collect(share, i / n, err);
}

gram_status gr_state_save(const char *path, const gr_state *s, const char *settings, const gr_share *share,
                          gram_err *err)
{
    const gr_adamw *a = share->a;
    char progress[200], digest[24];
    const gr_meta meta[] = { { "progress", progress }, { "digest", digest }, { "settings", settings } };
    gram_status rc = gr_state_check(a, "no checkpoint is written", err);
    gr_saved *t = rc ? NULL : gr_calloc(GR_COUNT(part) * a->n_params, sizeof *t);
    size_t n = 0;
    uint64_t h = 0;

    if (rc)
        return rc;
    if (!t)
        return gr_nomem(err, path);
    write_progress(progress, s);
    rc = gr_share_digest(share, &h, err);
    snprintf(digest, sizeof digest, "%016" PRIx64, h);
    for (size_t k = 0; k < GR_COUNT(part); k++)
        for (size_t i = 0, at = 0; i < a->n_params; i++) {
            const gr_param *p = &a->param[i];
            t[n++] = (gr_saved){ part[k], p->name, gr_share_part(share, k, i, at), p->rows, p->cols, p->decay };
            at += p->rows * p->cols;
        }
    if (!rc)
        rc = gr_st_write_as_it_comes(path, t, n, meta, GR_COUNT(meta), collect, (void *)(uintptr_t)share, err);
    free(t);
    return rc;
}

gram_status gr_state_give(const gr_share *share, gram_err *err)
{
    uint64_t digest;
    gram_status rc = gr_share_digest(share, &digest, err);

    for (size_t k = 0; k < GR_COUNT(part) && !rc; k++)
        rc = gr_share_collect(share, k, err);
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
    if (!text || sscanf(text, "step=%" SCNu64 " judged=%" SCNu64 " best=%" SCNu64 " best-accuracy=%lf best-loss=%lf "
                        "processes=%" SCNu64 "%n", &s->step, &s->judged, &s->best, &s->best_accuracy, &s->best_loss,
                        &s->processes, &end) != 6 || text[end])
        rc = gr_fail(err, GRAM_EFORMAT, "%s: metadata progress: wanted step, judged, best and its numbers, and "
                     "processes, found %s", path, text ? text : "nothing");
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

/* The tensors of part k of each parameter, [n_params]. */
static gram_status find_part(const gr_st *st, const char *path, const gr_adamw *a, size_t k, const gr_named **out,
                             gram_err *err)
{
    for (size_t i = 0; i < a->n_params; i++) {
        const gr_param *p = &a->param[i];
        uint64_t bytes = (uint64_t)p->rows * p->cols * sizeof *p->w;
        const gr_named *t = find(st, part[k], p->name);
        if (!t || t->type != GR_F32 || t->bytes != bytes)
            return gr_fail(err, GRAM_EFORMAT, "%s: tensor %s%s: wanted %" PRIu64 " bytes of F32, found %s", path,
                           part[k], p->name, bytes, t ? "another size or type" : "none");
        out[i] = t;
    }
    return GRAM_OK;
}

/* As gr_share_digest() makes it of the values. */
static gram_status check_digest(const char *path, const gr_adamw *a, const gr_named *const *t, gram_err *err)
{
    char *text = NULL, now[24];
    uint64_t h = GR_DIGEST;
    gram_status rc = gr_st_meta(path, "digest", &text, err);

    if (rc)
        return rc;
    for (size_t k = 0; k < GR_COUNT(part); k++)
        for (size_t i = 0; i < a->slices; i++) {
            const gr_slice *c = &a->slice[i];
            const float *x = (const float *)t[k * a->n_params + c->param]->data + c->first;
            uint64_t one = gr_digest_words(GR_DIGEST, x, c->n);
            h = gr_digest_words(h, &one, sizeof one / sizeof(uint32_t));
        }
    snprintf(now, sizeof now, "%016" PRIx64, h);
    if (!text || strcmp(text, now))
        rc = gr_fail(err, GRAM_EFORMAT, "%s: the numbers in it are not those that were written: their digest is %s, "
                     "wanted %s", path, now, text ? text : "one in the metadata");
    free(text);
    return rc;
}

/* Nothing can be wrong with the file any more, so the other processes are given what is in it. */
static gram_status spread(const gr_share *share, const gr_named *const *t, gram_err *err)
{
    const gr_adamw *a = share->a;
    gram_status rc = GRAM_OK;

    for (size_t k = 0; k < GR_COUNT(part) && !rc; k++) {
        for (size_t i = 0, at = 0; i < a->n_params; i++) {
            const gr_named *one = t[k * a->n_params + i];
            memcpy(gr_share_part(share, k, i, at), one->data, one->bytes);
            at += one->bytes / sizeof(float);
        }
        rc = gr_share_spread(share, k, err);
    }
    return rc;
}

gram_status gr_state_load(const char *path, gr_state *s, const char *settings, const gr_share *share, gram_err *err)
{
    gr_adamw *a = share->a;
    const gr_named **t = NULL;
    gr_st *st;
    gram_status rc = gr_st_open(&st, path, err);

    if (rc)
        return rc;
    rc = check_settings(path, settings, err);
    if (!rc)
        rc = read_progress(path, s, err);
    if (!rc && !(t = gr_calloc(GR_COUNT(part) * a->n_params, sizeof(*t))))
        rc = gr_nomem(err, path);
    for (size_t k = 0; k < GR_COUNT(part) && !rc; k++)
        rc = find_part(st, path, a, k, t + k * a->n_params, err);
    if (!rc)
        rc = check_digest(path, a, t, err);
    if (!rc)
        rc = gr_dist_broadcast(share->d, s, sizeof *s, err);
    if (!rc)
        rc = spread(share, t, err);
    a->t = s->step;
    free(t);
    gr_st_close(st);
    return rc;
}

gram_status gr_state_take(gr_state *s, const gr_share *share, gram_err *err)
{
    gram_status rc = gr_dist_broadcast(share->d, s, sizeof *s, err);

    for (size_t k = 0; k < GR_COUNT(part) && !rc; k++)
        rc = gr_share_spread(share, k, err);
    share->a->t = s->step;
    return rc;
}
