/* output.c - see output.h. */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/err.h"
#include "file/io.h"
#include "file/save.h"
#include "train/output.h"

/* What the weights are called in `best` and in the output. */
static const char *weights_name(const gr_training *r)
{
    return r->lora ? GR_ADAPTER_WEIGHTS : "model.safetensors";
}

struct output {
    const gr_training *r;
    gr_grad *grad;
    const gr_param *param;
    size_t n;
    const char *dir;
    char *path;                 /* of the weights */
    uint64_t step, steps;       /* whose they are, of how many */
};

/* All that the output has: of a head that was trained alone, the frozen weights too. */
static const gr_param *params_of(const gr_training *r, size_t *n)
{
    return r->lora ? gr_lora_params(r->lora, n) : gr_model_params(r->model, n);
}

/* The name of the tensor that a file has it in. */
static const char *name_of(const gr_param *p)
{
    return p->in ? p->in : p->name;
}

/* A reward model has no head over the vocabulary, though sft-reg trains one. */
static bool is_written(const gr_training *r, const gr_param *p)
{
    return !gr_model_config(r->model)->reward || strcmp(p->name, "lm_head.weight");
}

/* A row of the tensor-th of the tensors that are written, as float32. */
static gram_status written_row(void *arg, size_t tensor, size_t row, float *out, gram_err *err)
{
    const gr_param *p = ((const gr_param *const *)arg)[tensor];

    (void)err;
    for (; row >= p->rows; p++)
        row -= p->rows;
    gr_param_get(p, row * p->cols, p->cols, out);
    return GRAM_OK;
}

/* The template that the run was given goes with the model, which was trained on its texts. */
static gram_status write_template(const struct output *o, gram_err *err)
{
    const char *text = o->r->chat_template;
    char *path = text ? gr_path_join(o->dir, "chat_template.jinja") : NULL;
    gram_status rc = !text ? GRAM_OK : path ? gr_write_file(path, text, strlen(text), err) : gr_nomem(err, o->dir);

    free(path);
    return rc;
}

/* Words that a judge was trained on and that are not usual for it go with it, so that it is asked in the same ones. */
static gram_status write_card(const struct output *o, gram_err *err)
{
    char *path = gr_card_says_words(&o->r->card) ? gr_path_join(o->dir, GR_CARD_FILE) : NULL;
    gram_status rc = GRAM_OK;

    if (path)
        rc = gr_card_write(path, &o->r->card, NULL, err);
    else if (gr_card_says_words(&o->r->card))
        rc = gr_nomem(err, o->dir);
    free(path);
    return rc;
}

static gram_status save_model(const struct output *o, gram_err *err)
{
    char step[24], steps[24], base[24];
    const gr_config *cfg = gr_model_config(o->r->model);
    const gr_meta meta[] = { { "format", "pt" }, { "step", step }, { "steps", steps }, { GR_ADAPTER_BESIDE, base },
                             { "gram_reward_head", GR_PURM_MARK } };
    const size_t n_meta = !o->r->lora ? 3 : cfg->reward == GR_REWARD_PURM ? 5 : 4;  /* transformers wants the first */
    gr_planned *t;
    const gr_param **each;
    size_t n = 0;
    gram_status rc;

    snprintf(step, sizeof step, "%" PRIu64, o->step);
    snprintf(steps, sizeof steps, "%" PRIu64, o->steps);
    if (o->r->lora) {
        snprintf(base, sizeof base, "%016" PRIx64, gr_weights_digest(o->r->weights));
        rc = gr_path_exists(o->path) ? GRAM_OK : gr_copy_words(o->r->from, o->dir, err);
        if (!rc)
            rc = write_template(o, err);
        if (!rc)
            rc = write_card(o, err);
        return rc ? rc : gr_lora_write(o->r->lora, o->r->model, o->dir, o->r->base, meta, n_meta, err);
    }
    t = gr_calloc(o->n, sizeof *t);
    each = gr_calloc(o->n, sizeof(*each));
    rc = t && each ? GRAM_OK : gr_nomem(err, o->path);
    for (size_t i = 0; i < o->n && !rc; i++) {
        const gr_param *p = &o->param[i];
        if (!is_written(o->r, p))
            continue;
        if (p->in && p->first > 0)
            continue;
        each[n] = p;
        t[n++] = (gr_planned){ name_of(p), p->w.type, p->in ? p->all : p->rows, p->cols, !p->decay };
    }
    if (!rc && !gr_path_exists(o->path))        /* they come first */
        rc = gr_write_model_files(o->r->from, o->dir, o->r->mode == GR_LINEAR_BF16 ? "bfloat16" : "float32",
                                  cfg, err);
    if (!rc)
        rc = write_template(o, err);
    if (!rc)
        rc = write_card(o, err);
    if (!rc)
        rc = gr_st_write_rows(o->path, t, n, meta, n_meta, written_row, each, err);
    free(t);
    free(each);
    return rc;
}

enum { SOME = 1024 };           /* values that are looked at together */

/* Whether a tensor of a file has the type and the bits of a parameter; with `take` the parameter gets them. float32
 * holds a bfloat16 exactly, so its bits tell. */
static bool same_or_taken(const gr_param *p, const gr_named *t, bool take)
{
    size_t bytes = gr_dtype_bytes(p->w.type);
    float mine[SOME], theirs[SOME];
    bool same = t && t->type == p->w.type && t->bytes == (p->in ? p->all : p->rows) * p->cols * bytes;

    for (size_t k = 0, n; k < gr_param_count(p) && same; k += n) {
        n = gr_min(SOME, gr_param_count(p) - k);
        gr_dequant(theirs, (const char *)t->data + (p->first * p->cols + k) * bytes, t->type, n);
        if (take)
            same = gr_param_put(p, k, n, theirs);
        gr_param_get(p, k, n, mine);
        same = same && !memcmp(mine, theirs, n * sizeof *mine);
    }
    return same;
}

static gram_status same_weights(const struct output *o, const gr_weights *w, gram_err *err)
{
    for (size_t i = 0; i < o->n; i++) {
        const gr_param *p = &o->param[i];
        if (is_written(o->r, p) && !same_or_taken(p, gr_weights_find(w, name_of(p)), false))
            return gr_fail(err, GRAM_EIO, "%s: read again, tensor %s is not what was written", o->path,
                           p->name);
    }
    return GRAM_OK;
}

enum { ROWS = 4 };              /* that are compared: the first of the data */

static size_t check_rows(const struct output *o)
{
    return gr_min(ROWS, o->r->train->n);
}

/* What the model under training gives for them, [rows, orders, gr_grad_width()]. */
static gram_status trained_logits(const struct output *o, double *want, gram_err *err)
{
    size_t each = (o->grad->write ? 1 : 2) * gr_grad_width(o->grad);
    gr_example room = { 0 };
    const gr_example *e;
    gram_status rc = GRAM_OK;

    for (size_t i = 0; i < check_rows(o) && !rc; i++) {
        rc = gr_set_get(o->r->train, i, &room, &e, err);
        if (!rc)
            rc = gr_grad_logits(o->grad, &e, 1, want + i * each, err);
    }
    gr_room_clear(&room);
    return rc;
}

/* The same through the forward pass that scores: they add in different orders, and what is wrong with a configuration
 * moves logits by far more. On a GPU rows may be bfloat16 between products, of which a folded adapter has fewer: some
 * tens of roundings of 2^-9 on the way. */
static gram_status same_logits(const struct output *o, const gr_model *m, const double *want, gram_err *err)
{
    const size_t each = o->grad->write ? 1 : 2, width = gr_grad_width(o->grad);
    const double near = gr_model_rows(m) == GR_BF16 ? 0x1p-5 : 1e-3;
    float got[4];
    gr_example room = { 0 };
    const gr_example *e;
    gr_seq seq[2];
    gr_work *work = NULL;
    gr_forest f;
    gram_status rc = gr_work_open(&work, m, NULL, GR_ROWS_ALIKE, o->r->device, err);

    for (size_t i = 0; i < check_rows(o) && !rc; i++, want += each * width) {
        rc = gr_set_get(o->r->train, i, &room, &e, err);
        for (size_t k = 0; k < each && !rc; k++)
            seq[k] = (gr_seq){ e->seq[k].p, e->seq[k].n };
        if (!rc)
            rc = gr_forest_init(&f, seq, each, gr_model_config(m)->far.after, NULL, GR_SAVE_SHARED, err);
        if (rc)
            break;
        rc = gr_grad_is_scalar(o->grad) ? gr_model_rewards(work, &f, NULL, got, err)
                                        : gr_model_label_logits(work, &f, o->r->label, 2, got, err);
        gr_forest_clear(&f, true);
        for (size_t k = 0; k < each * width && !rc; k++)
            if (!(fabs(got[k] - want[k]) <= near * (1 + fabs(want[k]))))
                rc = gr_fail(err, GRAM_EIO, "%s: read again, the model gives %.6g where the trained one gave %.6g",
                             o->path, got[k], want[k]);
    }
    gr_room_clear(&room);
    gr_work_close(work);
    return rc;
}

/* Whether two parameters have the same bits; with `take` p gets those of q. */
static bool same_values(const gr_param *p, const gr_param *q, bool take)
{
    float mine[SOME], theirs[SOME];
    bool same = true;

    for (size_t k = 0, n; k < gr_param_count(p) && same; k += n) {
        n = gr_min(SOME, gr_param_count(p) - k);
        gr_param_get(q, k, n, theirs);
        if (take)
            same = gr_param_put(p, k, n, theirs);
        gr_param_get(p, k, n, mine);
        same = same && !memcmp(mine, theirs, n * sizeof *mine);
    }
    return same;
}

/* Every number of an adapter as the directory has it: compared with the parameters bit for bit, or taken over. */
static gram_status read_adapter(const gr_training *r, const char *dir, const gr_param *param, size_t n, bool take,
                                gr_adapter **out, gram_err *err)
{
    gr_lora *l = NULL;
    const gr_param *got;
    size_t n_got;
    gram_status rc = gr_adapter_open(out, dir, err);

    if (!rc)
        rc = gr_lora_read(&l, r->model, *out, err);
    if (rc)
        return rc;
    got = gr_lora_params(l, &n_got);
    for (size_t i = 0; i < n && !rc; i++) {
        bool same = i < n_got && !strcmp(got[i].name, param[i].name) && got[i].rows == param[i].rows &&
                    got[i].cols == param[i].cols;
        if (!same || !same_values(&param[i], &got[i], take))
            rc = gr_fail(err, GRAM_EIO, "%s: read again, tensor %s is not what was written", dir, param[i].name);
    }
    gr_lora_close(l);
    return rc;
}

/* The base with the adapter that was read again, through the forward pass that scores. */
static gram_status reopen_folded(const struct output *o, const gr_adapter *a, const double *want, gram_err *err)
{
    const gr_weights *w = o->r->weights;
    gr_model *m;
    gr_config cfg;
    gram_status rc = gr_config_open(&cfg, w, a, &(gr_head_asked){ 0 }, err);

    if (rc)
        return rc;
    rc = gr_model_open_folded(&m, o->r->device, w, a, &cfg, o->r->mode, GR_MODEL_EXACT, err);
    if (!rc)
        rc = same_logits(o, m, want, err);
    gr_model_close(m);
    return rc;
}

/* An adapter is read again whole in any case. Rows through the base with it folded in take memory for a second copy of
 * the matrices. */
static gram_status reopen_adapter(const struct output *o, const double *want, bool rows, gram_err *err)
{
    gr_adapter *a = NULL;
    gram_status rc = read_adapter(o->r, o->r->out, o->param, o->n, false, &a, err);

    if (!rc && rows)
        rc = reopen_folded(o, a, want, err);
    gr_adapter_close(a);
    return rc;
}

static gram_status reopen(const struct output *o, const double *want, gram_err *err)
{
    gr_weights *w = NULL;
    gr_model *m = NULL;
    gr_config cfg;
    gram_status rc = gr_weights_open_dir(&w, o->r->out, err);

    if (!rc)
        rc = same_weights(o, w, err);
    if (!rc)
        rc = gr_config_open(&cfg, w, NULL, &(gr_head_asked){ 0 }, err);
    if (!rc)
        rc = gr_model_open(&m, o->r->device, w, &cfg, o->r->mode, err);     /* bfloat16 is not copied to float32 */
    if (!rc)
        rc = same_logits(o, m, want, err);
    gr_model_close(m);
    gr_weights_close(w);
    return rc;
}

gram_status gr_output_write(const gr_training *r, gr_grad *grad, uint64_t step, uint64_t steps, bool rows,
                            gram_err *err)
{
    size_t n;
    const gr_param *param = params_of(r, &n);
    struct output o = { r, grad, param, n, r->out, gr_path_join(r->out, weights_name(r)), step, steps };
    double want[ROWS * 4];
    gram_status rc = o.path ? save_model(&o, err) : gr_nomem(err, r->out);

    if (!rc && rows)
        rc = trained_logits(&o, want, err);
    gr_trainee_release(grad->t);            /* room for the model that is opened again */
    if (!rc)
        rc = r->lora ? reopen_adapter(&o, want, rows, err) : reopen(&o, want, err);
    free(o.path);
    return rc;
}

/* ---- The best so far ------------------------------------------------------------------------------ */

gram_status gr_output_best(const gr_training *r, uint64_t step, uint64_t steps, gram_err *err)
{
    size_t n;
    const gr_param *param = params_of(r, &n);
    char *dir = gr_path_join(r->out, "best"), *path = dir ? gr_path_join(dir, weights_name(r)) : NULL;
    const struct output o = { r, NULL, param, n, dir, path, step, steps };
    gram_status rc = path ? GRAM_OK : gr_nomem(err, r->out);

    if (!rc)
        rc = gr_make_directory(dir, err);
    if (!rc)
        rc = save_model(&o, err);
    free(path);
    free(dir);
    return rc;
}

static gram_status check_step(const char *path, uint64_t step, gram_err *err)
{
    char *text, want[24];
    gram_status rc = gr_st_meta(path, "step", &text, err);

    snprintf(want, sizeof want, "%" PRIu64, step);
    if (!rc && (!text || strcmp(text, want)))
        rc = gr_fail(err, GRAM_EFORMAT, "%s: wanted the weights of step %s, the best of the run, and found those of "
                     "step %s", path, want, text ? text : "none");
    free(text);
    return rc;
}

static gram_status take_weights(const gr_training *r, const char *path, const gr_st *st, const gr_param *param,
                                size_t n, gram_err *err)
{
    for (size_t i = 0; i < n; i++) {
        const gr_named *t = NULL;
        if (!is_written(r, &param[i]))
            continue;
        for (size_t k = 0; k < gr_st_count(st) && !t; k++)
            t = strcmp(gr_st_at(st, k)->name, name_of(&param[i])) ? NULL : gr_st_at(st, k);
        if (!same_or_taken(&param[i], t, true))
            return gr_fail(err, GRAM_EFORMAT, "%s: tensor %s: wanted %zu finite values of %s, found %s", path,
                           param[i].name, gr_param_count(&param[i]), gr_dtype_name(param[i].w.type),
                           t ? "another size or type" : "none");
    }
    return GRAM_OK;
}

gram_status gr_output_take_best(const gr_training *r, uint64_t step, gram_err *err)
{
    size_t n;
    const gr_param *param = params_of(r, &n);
    char *dir = gr_path_join(r->out, "best"), *path = dir ? gr_path_join(dir, weights_name(r)) : NULL;
    gr_adapter *a = NULL;
    gr_st *st = NULL;
    gram_status rc = path ? check_step(path, step, err) : gr_nomem(err, r->out);

    if (!rc && r->lora)
        rc = read_adapter(r, dir, param, n, true, &a, err);
    else if (!rc)
        rc = gr_st_open(&st, path, err);
    if (!rc && st)
        rc = take_weights(r, path, st, param, n, err);
    gr_adapter_close(a);
    gr_st_close(st);
    free(path);
    free(dir);
    return rc;
}

void gr_output_drop_best(const gr_training *r)
{
    int out = open(r->out, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int best = openat(out, "best", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = best < 0 ? NULL : fdopendir(best);
    const struct dirent *e;

    while (d && (e = readdir(d)))
        if (*e->d_name != '.' && faccessat(out, e->d_name, F_OK, 0) == 0)
            unlinkat(best, e->d_name, 0);
    if (d)
        closedir(d);                        /* and best with it */
    else if (best >= 0)
        close(best);
    unlinkat(out, "best", AT_REMOVEDIR);
    if (out >= 0)
        close(out);
}
