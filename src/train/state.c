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

enum {
    PROGRESS = 448,             /* bytes of the text that says how far a run is */
    SOME = 1024                 /* values looked at together */
};

static const char *const part[] = { "", "m.", "v." };

gram_status gr_state_check(const gr_adamw *a, const char *what, gram_err *err)
{
    for (size_t i = 0; i < a->n_params; i++) {
        const gr_param *p = &a->param[i];
        float x[SOME];
        for (size_t k = 0; k < gr_param_count(p); k++) {
            if (k % SOME == 0)
                gr_param_get(p, k, gr_min(SOME, gr_param_count(p) - k), x);
            if (!isfinite(x[k % SOME]))
                return gr_fail(err, GRAM_EFORMAT, "%s: tensor %s: value %zu is %g, and training wants finite numbers",
                               what, p->name, k, x[k % SOME]);
        }
    }
    return GRAM_OK;
}

static gram_status check_rows(const gr_weights *w, const gr_named *n, float *row, gram_err *err)
{
    const gr_tensor t = gr_named_tensor(n);

    for (size_t r = 0; r < t.rows; r++) {
        gr_dequant(row, (const char *)t.data + n->bytes / t.rows * r, t.type, t.cols);
        for (size_t c = 0; c < t.cols; c++)
            if (!isfinite(row[c]))
                return gr_fail(err, GRAM_EFORMAT, "%s: tensor %s: value %zu is %g, and training wants finite numbers, "
                               "of weights that stay as they are too", gr_weights_path(w), n->name, r * t.cols + c,
                               row[c]);
    }
    return GRAM_OK;
}

gram_status gr_state_check_base(const gr_weights *w, gram_err *err)
{
    gram_status rc = GRAM_OK;
    size_t most = 1;
    float *row;

    for (size_t i = 0; i < gr_weights_count(w); i++)
        most = gr_max(most, gr_named_tensor(gr_weights_at(w, i)).cols);
    row = gr_calloc(most, sizeof *row);
    if (!row)
        return gr_nomem(err, gr_weights_path(w));
    for (size_t i = 0; i < gr_weights_count(w) && !rc; i++)
        if (gr_weights_at(w, i)->bytes > 0)
            rc = check_rows(w, gr_weights_at(w, i), row, err);
    free(row);
    return rc;
}

/* GR_NEVER reads and writes as a number like any other. */
static void write_progress(char text[PROGRESS], const gr_state *s)
{
    const double *c = s->carried;
    bool any = c[0] != 0 || c[1] != 0 || c[2] != 0 || c[3] != 0;
    int n = snprintf(text, PROGRESS, "step=%" PRIu64 " judged=%" PRIu64 " best=%" PRIu64 " best-accuracy=%.17g "
             "best-loss=%.17g processes=%" PRIu64 " steps=%" PRIu64 " warmup=%" PRIu64 " waited=%" PRIu64, s->step,
             s->judged, s->best, s->best_accuracy, s->best_loss, s->processes, s->steps, s->warmup, s->waited);

    if (any)
        snprintf(text + n, PROGRESS - (size_t)n, " carried=%.17g,%.17g,%.17g,%.17g", c[0], c[1], c[2], c[3]);
}

/* What follows the rest, where anything does. */
static bool read_carried(const char *text, double c[GR_CARRIED])
{
    int end = 0;

    memset(c, 0, GR_CARRIED * sizeof *c);
    return !*text || (sscanf(text, " carried=%lf,%lf,%lf,%lf%n", &c[0], &c[1], &c[2], &c[3], &end) == GR_CARRIED &&
                      !text[end]);
}

/* In which a checkpoint has what is of part k. */
static gr_dtype type_of(const gr_adamw *a, size_t k)
{
    return k > 0 ? a->m.w.type : GR_F32;
}

/* A tensor comes to its place when it is its turn to be written. */
static gram_status collect(void *arg, size_t i, gram_err *err)
{
    const gr_share *share = arg;
    size_t n = share->a->n_params;

    return gr_share_collect(share, i / n, i % n, err);
}

gram_status gr_state_save(const char *path, const gr_state *s, const char *settings, const gr_share *share,
                          gram_err *err)
{
    const gr_adamw *a = share->a;
    char progress[PROGRESS], digest[24];
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
        for (size_t i = 0; i < a->n_params; i++) {
            const gr_param *p = &a->param[i];
            t[n++] = (gr_saved){ part[k], p->name, gr_share_part(share, k, i), p->rows, p->cols, p->decay,
                                 type_of(a, k) == GR_BF16 };
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

    for (size_t i = 0; i < GR_COUNT(part) * share->a->n_params && !rc; i++)
        rc = collect((void *)(uintptr_t)share, i, err);
    return rc;
}

/* The value of a setting, up to the line's end; NULL: the text has none of that name. */
static const char *setting(const char *text, const char *name, size_t n)
{
    for (; *text; text += strcspn(text, "\n"), text += *text == '\n')
        if (!strncmp(text, name, n) && text[n] == '=')
            return text + n + 1;
    return NULL;
}

/* "lr (0.003 there, 0.001 here)"; a digest tells nobody anything. */
static bool add_difference(gr_buf *b, const char *name, size_t n, const char *there, const char *here)
{
    size_t long_there = there ? strcspn(there, "\n") : 0, long_here = here ? strcspn(here, "\n") : 0;
    bool digest = (long_there == 16 || !there) && (long_here == 16 || !here);

    if (there && here && long_there == long_here && !strncmp(there, here, long_here))
        return true;
    if (!gr_buf_printf(b, "%s%.*s", b->n ? ", " : "", (int)n, name) || digest)
        return b->p != NULL;
    return gr_buf_printf(b, " (%.*s there, %.*s here)", there ? (int)long_there : 4, there ? there : "none",
                         here ? (int)long_here : 4, here ? here : "none");
}

/* Each line of `text` whose value is another in `other`; what both name once. */
static bool differences(gr_buf *b, const char *text, const char *other, bool here)
{
    bool ok = true;

    for (const char *p = text; *p && ok; p += strcspn(p, "\n"), p += *p == '\n') {
        size_t n = strcspn(p, "=\n");
        const char *value = setting(other, p, n), *own = p + n + (p[n] == '=');
        if (!here || !value)
            ok = add_difference(b, p, n, here ? value : own, here ? own : value);
    }
    return ok;
}

gram_status gr_state_same(const char *path, const char *was, const char *settings, gram_err *err)
{
    gr_buf b = { 0 };
    bool ok = differences(&b, was, settings, false) && differences(&b, settings, was, true);
    gram_status rc = GRAM_OK;

    if (!ok)
        rc = gr_nomem(err, path);
    else if (strcmp(was, settings))
        rc = gr_fail(err, GRAM_EARG, "%s: a run goes on as it was begun, and here is another: %s", path,
                     b.p ? b.p : "the order of its settings");
    gr_buf_clear(&b);
    return rc;
}

static gram_status check_settings(const char *path, const char *settings, gram_err *err)
{
    char *was;
    gram_status rc = gr_st_meta(path, "settings", &was, err);

    if (!rc && !was)
        rc = gr_fail(err, GRAM_EFORMAT, "%s: no checkpoint of a training run: its metadata have no settings", path);
    else if (!rc)
        rc = gr_state_same(path, was, settings, err);
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
                        "processes=%" SCNu64 " steps=%" SCNu64 " warmup=%" SCNu64 " waited=%" SCNu64 "%n", &s->step,
                        &s->judged, &s->best, &s->best_accuracy, &s->best_loss, &s->processes, &s->steps, &s->warmup,
                        &s->waited, &end) != 9 || !end || !read_carried(text + end, s->carried))
        rc = gr_fail(err, GRAM_EFORMAT, "%s: metadata progress: wanted step, judged, best and its numbers, "
                     "processes, steps, warmup and waited, found %s", path, text ? text : "nothing");
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
        uint64_t bytes = (uint64_t)gr_param_count(p) * gr_dtype_bytes(type_of(a, k));
        const gr_named *t = find(st, part[k], p->name);
        if (!t || t->type != type_of(a, k) || t->bytes != bytes)
            return gr_fail(err, GRAM_EFORMAT, "%s: tensor %s%s: wanted %" PRIu64 " bytes of %s, found %s", path,
                           part[k], p->name, bytes, gr_dtype_name(type_of(a, k)), t ? "another size or type" : "none");
        out[i] = t;
    }
    return GRAM_OK;
}

/* Of n values of a tensor, as float32. */
static uint64_t digest_of(const gr_named *t, size_t first, size_t n)
{
    const char *p = (const char *)t->data + first * gr_dtype_bytes(t->type);
    uint64_t h = GR_DIGEST;
    float x[SOME];

    if (t->type == GR_F32)
        return gr_digest_words(h, p, n);
    for (size_t k = 0, some; k < n; k += some) {
        some = gr_min(SOME, n - k);
        gr_dequant(x, p + k * gr_dtype_bytes(t->type), t->type, some);
        h = gr_digest_words(h, x, some);
    }
    return h;
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
            uint64_t one = digest_of(t[k * a->n_params + c->param], c->first, c->n);
            h = gr_digest_words(h, &one, sizeof one / sizeof(uint32_t));
        }
    snprintf(now, sizeof now, "%016" PRIx64, h);
    if (!text || strcmp(text, now))
        rc = gr_fail(err, GRAM_EFORMAT, "%s: the numbers in it are not those that were written: their digest is %s, "
                     "wanted %s", path, now, text ? text : "one in the metadata");
    free(text);
    return rc;
}

/* A tensor as float32: where it lies, or in process 0's room, which it has where a type is another. */
static const float *numbers_of(const gr_share *share, const gr_named *t)
{
    if (!t || t->type == GR_F32)
        return t ? t->data : NULL;
    gr_dequant(share->room, t->data, t->type, t->bytes / gr_dtype_bytes(t->type));
    return share->room;
}

/* Nothing can be wrong with the file any more, so the other processes are given what is in it. t NULL: this is one of
 * them. */
static gram_status spread(const gr_share *share, const gr_named *const *t, gram_err *err)
{
    const gr_adamw *a = share->a;
    gram_status rc;

    for (size_t i = 0; i < a->n_params && t; i++)
        gr_param_put(&a->param[i], 0, gr_param_count(&a->param[i]), t[i]->data);
    rc = gr_share_values_of_first(share, err);
    for (size_t k = 1; k < GR_COUNT(part); k++)
        for (size_t i = 0; i < a->n_params && !rc; i++)
            rc = gr_share_spread(share, k, i, numbers_of(share, t ? t[k * a->n_params + i] : NULL), err);
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

    if (!rc)
        rc = spread(share, NULL, err);
    share->a->t = s->step;
    return rc;
}
