/* selftrain_stage.c - what all stages of a self-training share: where they are, what they say, and what of the options
 * and files each has to be done anew for. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "api/selftrain_int.h"
#include "base/clock.h"
#include "base/err.h"
#include "data/paths.h"
#include "file/io.h"
#include "train/options.h"

/* ---- Paths ---------------------------------------------------------------------------------------- */

/* OUT/...; NULL: memory ran out. */
const char *gr_self_path(gr_self_run *r, const char *fmt, ...)
{
    char name[256];
    char **grown = gr_grown(r->kept, r->n_kept, &r->cap, 1, sizeof *r->kept);
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    if (!grown)
        return NULL;
    r->kept = grown;
    r->kept[r->n_kept] = gr_path_join(r->o->out, name);
    return r->kept[r->n_kept] ? r->kept[r->n_kept++] : NULL;
}

size_t gr_self_files(const char *first, const char *const *more)
{
    size_t n = first != NULL;

    while (first && more && more[n - 1])
        n++;
    return n;
}

const char *gr_self_file(const char *first, const char *const *more, size_t i)
{
    return i ? more[i - 1] : first;
}

/* ---- Progress ------------------------------------------------------------------------------------- */

static int tell(gr_self_run *r)
{
    r->now.seconds = gr_now() - r->began;
    return r->calls.progress ? r->calls.progress(r->calls.arg, &r->now) : 0;
}

int gr_self_on_rows(void *arg, uint64_t done, uint64_t total)
{
    gr_self_run *r = arg;
    double spent = gr_now() - r->began;

    r->first = r->now.done == 0 && r->first == 0 ? done : r->first;
    r->now.done = done;
    r->now.total = total;
    r->now.tokens_per_s = r->m && spent > 0 ? (double)gram_get_usage(r->m).tokens / spent : NAN;
    r->now.left = total > done && done > r->first ? spent / (double)(done - r->first) * (double)(total - done) : NAN;
    return tell(r);
}

int gr_self_on_step(void *arg, const gram_train_step *s)
{
    gr_self_run *r = arg;

    r->first = r->first ? r->first : s->step;
    r->now.done = s->step;
    r->now.total = s->steps;
    r->now.tokens_per_s = s->tokens_per_s;
    r->now.loss = s->loss;
    r->now.left = s->seconds / (double)(s->step - r->first + 1) * (double)(s->steps - s->step);
    return tell(r);
}

void gr_self_on_note(void *arg, const char *text)
{
    const gr_self_run *r = arg;

    if (r->calls.note)
        r->calls.note(r->calls.arg, text);
}

void gr_self_on_warn(void *arg, const char *text)
{
    const gr_self_run *r = arg;

    if (r->calls.warn)
        r->calls.warn(r->calls.arg, text);
}

/* ---- A stage -------------------------------------------------------------------------------------- */

/* What a stage heeds of the options of the call. */
gram_status gr_self_heed(const gr_self_run *r, gr_run_stage *s, gr_self_kind kind, gram_err *err)
{
    const gram_option *k;
    bool heeds;

    for (size_t i = 0; (k = gr_selftrain_option(i, kind, &heeds)); i++) {
        gr_buf b = { 0 };
        if (!heeds)
            continue;
        if (!gr_buf_puts(&b, "") || !gr_option_print(&b, k, (const void *)r->o)) {
            gr_buf_clear(&b);
            return gr_nomem(err, s->name);
        }
        gr_run_stage_set(s, k->name, b.p);
        gr_buf_clear(&b);
    }
    return GRAM_OK;
}

/* Options of training that change nothing of what comes out. */
static bool is_idle(const char *name)
{
    static const char *const none[] = { "threads", "recompute", "save-every", "keep", "resume", "base", "max-minutes" };

    for (size_t i = 0; i < GR_COUNT(none); i++)
        if (!strcmp(name, none[i]))
            return true;
    return false;
}

/* A name may be that of a file, whose text counts. */
static gram_status reads_text(gr_self_run *r, gr_run_stage *s, const char *what, const char *name, gram_err *err)
{
    return name && gr_path_regular(name) ? gr_run_stage_reads(s, what, name, &r->digests, err) : GRAM_OK;
}

/* And of those of training, all or what a model is opened with. */
gram_status gr_self_heed_training(gr_self_run *r, gr_run_stage *s, const gram_train_options *o, bool opened,
                                  gram_err *err)
{
    const gram_option *k;
    gram_status rc;

    for (size_t i = 0; (k = gram_train_option(i)); i++) {
        gr_buf b = { 0 };
        bool ok = true, words = k->at == offsetof(gram_train_options, rationale_format);
        if ((!words && gr_option_used(k, GRAM_STAGE_FINETUNE, o, NULL)) || is_idle(k->name) ||
            (opened && !words && !k->shared && k->kind != GRAM_OPTION_TEXT && k->kind != GRAM_OPTION_LABELS) ||
            (opened && (!strcmp(k->name, "dtype") || !strcmp(k->name, "batch-tokens"))) ||
            (k->kind >= GRAM_OPTION_WORD && !*(const char *const *)((const char *)o + k->at)))
            continue;
        ok = gr_option_print(&b, k, o);
        if (ok && k->kind == GRAM_OPTION_LABELS)
            ok = gr_buf_printf(&b, ",%s", o->model.label_b);
        if (ok && b.p)
            gr_run_stage_set(s, k->name, b.p);
        gr_buf_clear(&b);
        if (!ok)
            return gr_nomem(err, s->name);
    }
    rc = reads_text(r, s, "rationale-format", o->rationale_format, err);
    return rc ? rc : reads_text(r, s, "template", o->model.chat_template, err);
}

/* A name may stand for several files. */
static gram_status reads_rows(gr_self_run *r, gr_run_stage *s, const char *what, const char *name, size_t *seen,
                              gram_err *err)
{
    char **path = NULL;
    size_t n = 0;
    gram_status rc = gr_paths_list(name, &path, &n, err);

    for (size_t i = 0; i < n && !rc; i++) {
        char key[64];
        snprintf(key, sizeof key, "%s", what);
        if (++*seen > 1)
            snprintf(key, sizeof key, "%s, file %zu", what, *seen);
        rc = gr_run_stage_reads(s, key, path[i], &r->digests, err);
    }
    gr_paths_free(path, n);
    return rc;
}

gram_status gr_self_reads(gr_self_run *r, gr_run_stage *s, const char *what, const char *first, const char *const *more,
                          gram_err *err)
{
    size_t seen = 0;
    gram_status rc = GRAM_OK;

    for (size_t i = 0; i < gr_self_files(first, more) && !rc; i++)
        rc = reads_rows(r, s, what, gr_self_file(first, more, i), &seen, err);
    return rc;
}

static void begin_progress(gr_self_run *r, const gr_run_stage *s, size_t round, const char *unit)
{
    r->now = (gram_selftrain_progress){ .stage = s->name, .number = r->now.number + 1, .stages = r->now.stages,
                                        .round = round, .rounds = r->o->rounds, .unit = unit, .tokens_per_s = NAN,
                                        .left = NAN, .loss = NAN, .begins = true };
    r->began = gr_now();
    r->first = 0;
}

static gram_status do_stage(gr_self_run *r, gr_run_stage *s, size_t round, const char *unit, gr_self_work_fn *work,
                            const void *arg, gram_err *err)
{
    bool whole = false;
    gram_status rc = s->output ? gr_run_stage_begin(s, &r->digests, &whole, err) : gr_nomem(err, s->name);

    begin_progress(r, s, round, unit);
    r->now.skipped = whole;
    if (!rc && tell(r))
        rc = gr_fail(err, GRAM_ESTOPPED, "%s: stopped", s->name);
    r->now.begins = false;
    if (!rc && !whole) {
        r->worked = true;
        rc = work(r, s->output, arg, err);
        if (!rc)
            rc = gr_run_stage_end(s, &r->digests, err);
        r->now.ended = true;
        if (!rc && tell(r))
            rc = gr_fail(err, GRAM_ESTOPPED, "%s: stopped", s->name);
    }
    return rc;
}

gram_status gr_self_do(gr_self_run *r, gr_run_stage *s, gram_status heeded, size_t round, const char *unit,
                       gr_self_work_fn *work, const void *arg, gram_err *err)
{
    gram_status rc = heeded ? heeded : do_stage(r, s, round, unit, work, arg, err);

    gr_run_stage_clear(s);
    return rc;
}
