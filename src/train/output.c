/* output.c - see output.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "file/io.h"
#include "file/save.h"
#include "train/output.h"

struct output {
    const gr_training *r;
    gr_grad *grad;
    const gr_param *param;
    size_t n;
    char *path;                 /* of the weights */
};

static gram_status save_model(const struct output *o, gram_err *err)
{
    static const gr_meta meta = { "format", "pt" };         /* transformers wants it */
    gr_saved *t = gr_calloc(o->n, sizeof *t);
    gram_status rc;

    if (!t)
        return gr_nomem(err, o->path);
    for (size_t i = 0; i < o->n; i++) {
        const gr_param *p = &o->param[i];
        t[i] = (gr_saved){ "", p->name, p->w, p->rows, p->cols };
    }
    rc = gr_copy_model_files(o->r->from, o->r->out, err);
    if (!rc)
        rc = gr_st_write(o->path, t, o->n, &meta, 1, err);
    free(t);
    return rc;
}

static gram_status same_weights(const struct output *o, const gr_weights *w, gram_err *err)
{
    for (size_t i = 0; i < o->n; i++) {
        const gr_param *p = &o->param[i];
        const gr_named *t = gr_weights_find(w, p->name);
        if (!t || t->type != GR_F32 || memcmp(t->data, p->w, p->rows * p->cols * sizeof *p->w))
            return gr_fail(err, GRAM_EIO, "%s: read again, tensor %s is not what was written", o->path,
                           p->name);
    }
    return GRAM_OK;
}

/* Some rows through the forward pass that scores, against the one that trained: they add in different orders, and what
 * is wrong with a configuration moves logits by far more. */
static gram_status same_logits(const struct output *o, const gr_model *m, gram_err *err)
{
    enum { ROWS = 4 };
    const size_t n = gr_min(ROWS, o->r->train->n), each = o->grad->write ? 1 : 2;
    const gr_example *e[ROWS];
    gr_seq seq[2 * ROWS];
    double want[4 * ROWS];
    float got[4 * ROWS];
    gr_work *work = NULL;
    gr_forest f;
    gram_status rc = gr_work_open(&work, m, o->r->pool, err);

    for (size_t i = 0; i < n * each; i++) {
        e[i / each] = &o->r->train->e[i / each];
        seq[i] = (gr_seq){ e[i / each]->seq[i % each].p, e[i / each]->seq[i % each].n };
    }
    for (size_t i = 0; i < n && !rc; i++) {
        rc = gr_grad_logits(o->grad, e + i, 1, want + i * each * 2, err);
        if (!rc)
            rc = gr_forest_init(&f, seq + i * each, each, NULL, GR_SAVE_SHARED, err);
        if (rc)
            break;
        rc = gr_model_label_logits(work, &f, o->r->label, 2, got + i * each * 2, err);
        gr_forest_clear(&f, true);
    }
    for (size_t i = 0; i < n * each * 2 && !rc; i++)
        if (!(fabs(got[i] - want[i]) <= 1e-3 * (1 + fabs(want[i]))))
            rc = gr_fail(err, GRAM_EIO, "%s: read again, the model gives logit %.6g where the trained one gave %.6g",
                         o->path, got[i], want[i]);
    gr_work_close(work);
    return rc;
}

static gram_status reopen(const struct output *o, gram_err *err)
{
    gr_weights *w = NULL;
    gr_model *m = NULL;
    gr_config cfg;
    gram_status rc = gr_weights_open_dir(&w, o->r->out, err);

    if (!rc)
        rc = same_weights(o, w, err);
    if (!rc)
        rc = gr_config_read(&cfg, o->r->out, err);
    if (!rc)
        rc = gr_model_open(&m, w, &cfg, GR_LINEAR_F32, err);
    if (!rc)
        rc = same_logits(o, m, err);
    gr_model_close(m);
    gr_weights_close(w);
    return rc;
}

gram_status gr_output_write(const gr_training *r, gr_grad *grad, const gr_param *param, size_t n, gram_err *err)
{
    struct output o = { r, grad, param, n, gr_path_join(r->out, "model.safetensors") };
    gram_status rc = o.path ? save_model(&o, err) : gr_nomem(err, r->out);

    if (!rc)
        rc = reopen(&o, err);
    free(o.path);
    return rc;
}
