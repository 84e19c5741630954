/* bind_head.c - the tensors of a reward head: the file's, under whatever name, an adapter's, or zeros that training
 * will draw. */
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "model/bind_int.h"

/* Makes float32 of the file's tensor. */
static gram_status expanded(struct binder *b, float **out, const gr_tensor *t)
{
    size_t n = t->rows * t->cols;

    *out = gr_alloc_aligned(n, sizeof **out);
    if (!*out)
        return gr_nomem(b->err, "weights");
    gr_dequant(*out, t->data, t->type, n);
    b->m->bytes += n * sizeof **out;
    return GRAM_OK;
}

/* The head's row of a token as a reward head of its own. */
static gram_status bind_token(struct binder *b)
{
    gr_model *m = b->m;
    size_t bytes = 0;
    gr_tensor row = { m->head.type, NULL, 1, m->cfg.width };

    if (m->writable || b->list)
        return gr_fail(b->err, GRAM_EUNSUPPORTED, "%s: a reward that is a token's logit can be read alone, and neither "
                       "trained nor written", gr_weights_path(m->file));
    gr_dtype_row_bytes(m->head.type, m->cfg.width, &bytes);     /* proved when the file was opened */
    row.data = (const char *)m->head.data + (size_t)m->cfg.token * bytes;
    m->score.outputs = 1;
    return expanded(b, &m->score.part[GR_HEAD_OUT], &row);
}

/* A tensor of the network that weighs the head's outputs; one that need not be there may be NULL. */
static gram_status bind_of_gate(struct binder *b, const char *full, size_t rows, size_t cols, bool needed, float **out)
{
    gr_tensor t;
    gram_status rc;

    if (!needed && !gr_weights_find(b->m->file, full))
        return GRAM_OK;
    rc = gr_bind_find(b, GR_T_SCORE, 0, full, rows, cols, &t);
    return rc ? rc : expanded(b, out, &t);
}

static gram_status bind_gate(struct binder *b)
{
    gr_gate *g = &b->m->gate;
    const gr_gate_form *f = &g->form;
    char full[GR_HEAD_NAME];
    gram_status rc = GRAM_OK;

    g->form = b->m->cfg.gate;
    if (b->m->writable || b->list)
        return gr_fail(b->err, GRAM_EUNSUPPORTED, "%s: a reward head whose outputs a network weighs can be read alone, "
                       "and neither trained nor written", gr_weights_path(b->m->file));
    for (size_t l = 0; l < f->layers && !rc; l++) {
        gr_gate_name(full, f, l, false);
        rc = bind_of_gate(b, full, f->size[l + 1], f->size[l], true, &g->w[l]);
        gr_gate_name(full, f, l, true);
        if (!rc)
            rc = bind_of_gate(b, full, 1, f->size[l + 1], false, &g->b[l]);
    }
    if (rc || f->kind != GR_GATE_PROMPT)
        return rc;
    rc = bind_of_gate(b, GR_GATE_SCALE, 1, 1, false, &g->scale);
    return rc ? rc : bind_of_gate(b, GR_GATE_MATRIX, b->m->cfg.head.rows, b->m->cfg.head.rows, false, &g->matrix);
}

/* What takes the place of a tensor of the head that the file lacks: the adapter's, or zeros. */
static gram_status make_part(struct binder *b, const gr_head_part *p, bool own, float **out)
{
    gr_model *m = b->m;
    float *w = gr_calloc(p->rows * p->cols, sizeof *w);
    gram_status rc = w ? GRAM_OK : gr_nomem(b->err, "weights");

    if (!rc && own)
        rc = gr_lora_head_part(w, b->adapter, m->cfg.width, p, b->err);
    if (rc) {
        free(w);
        return rc;
    }
    *out = w;
    if (!m->writable) {
        m->bytes += p->rows * p->cols * sizeof *w;
        return GRAM_OK;
    }
    rc = gr_bind_add_param(b, GR_T_SCORE, 0, p->name, w, NULL, p->rows, p->cols);
    *out = rc ? NULL : m->param[m->n_params - 1].w.p;
    return rc;
}

/* A tensor of the reward head, as float32: an adapter's, the file's, or zeros where it is to be made. */
static gram_status bind_part(struct binder *b, const gr_head_part *p, bool own, float **out)
{
    gr_model *m = b->m;
    gr_tensor t;
    gram_status rc;

    if (m->cfg.new_head || own)
        return b->list ? GRAM_OK : make_part(b, p, own, out);
    rc = gr_bind_find(b, GR_T_SCORE, 0, p->name, p->rows, p->cols, &t);
    if (rc || b->list)
        return rc;
    if (!m->writable)
        return expanded(b, out, &t);
    *out = m->param[m->n_params - 1].w.p;
    return GRAM_OK;
}

gram_status gr_bind_head(struct binder *b)
{
    gr_config *c = &b->m->cfg;
    bool own = b->adapter && gr_adapter_has_head(b->adapter);
    gr_head_part p, as;
    gr_head_form called;
    gram_status rc = own || c->new_head || c->is_token ? GRAM_OK : gr_config_find_head(c, b->m->file, b->err);

    if (!rc && c->reward == GR_REWARD_PURM && c->head.rows != 2)
        rc = gr_fail(b->err, GRAM_EFORMAT, "%s: tensor %s.weight has %zu rows; PURM's head has two",
                     gr_weights_path(b->m->file), c->head.out, c->head.rows);
    b->m->score = gr_head_of(c);
    called = gr_head_renamed(&c->head);
    for (size_t i = 0; !rc && gr_head_part_at(&c->head, c->width, i, &p); i++) {
        gr_head_part_at(&called, c->width, i, &as);
        b->as = as.name;
        rc = bind_part(b, &p, own, &b->m->score.part[p.at]);
    }
    if (!rc && c->is_token)
        rc = bind_token(b);
    return rc || !c->gate.kind ? rc : bind_gate(b);
}

bool gr_bind_is_of_gate(const gr_config *c, const char *n)
{
    char full[GR_HEAD_NAME];
    bool yes = c->gate.kind == GR_GATE_PROMPT && (!strcmp(n, GR_GATE_SCALE) || !strcmp(n, GR_GATE_MATRIX));

    for (size_t k = 0; !yes && k < 2 * c->gate.layers; k++) {
        gr_gate_name(full, &c->gate, k / 2, k % 2);
        yes = !strcmp(full, n);
    }
    return yes;
}
