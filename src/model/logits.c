/* logits.c - from hidden states to the numbers that are asked for: two labels, or the whole vocabulary. */
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "model/model_int.h"

void gr_model_head_row(const gr_model *m, size_t v, float *out)
{
    size_t C = m->cfg.width, bytes = 0;

    for (size_t i = 0; i < m->n_params && m->writable; i++)
        if (m->param[i].w.p == m->head.data) {
            gr_param_get(&m->param[i], v * C, C, out);
            return;
        }
    gr_dtype_row_bytes(m->head.type, C, &bytes);            /* proved when the file was opened */
    gr_dequant(out, (const char *)m->head.data + v * bytes, m->head.type, C);
}

/* The logits of some rows of the head, of the last hidden states. */
static gram_status last_times(gr_work *w, const gr_forest *f, const float *row, size_t n, float *out, gram_err *err)
{
    const gr_config *c = &gr_work_model(w)->cfg;
    size_t C = c->width;
    const float *hidden;
    gram_status rc = gr_model_forward(w, f, f->leaf_row, f->n_seqs, &hidden, err);

    for (size_t i = 0; i < f->n_seqs && !rc; i++)
        for (size_t j = 0; j < n; j++)
            out[i * n + j] = (float)gr_model_logit(c, gr_dot(hidden + i * C, row + j * C, C));
    return rc;
}

gram_status gr_model_check_words(const gr_model *m, gram_err *err)
{
    if (m->cfg.words)
        return GRAM_OK;
    return gr_fail(err, GRAM_EUNSUPPORTED, "%s: a reward model, whose head gives a number: it has no logits of words",
                   gr_weights_path(m->file));
}

gram_status gr_model_label_logits(gr_work *w, const gr_forest *f, const int32_t *label, size_t n_labels,
                                  float *out, gram_err *err)
{
    const gr_model *m = gr_work_model(w);
    size_t C = m->cfg.width;
    float *row = gr_calloc(n_labels * C, sizeof *row);
    gram_status rc = row ? gr_model_check_words(m, err) : gr_nomem(err, "label rows");

    for (size_t j = 0; j < n_labels && !rc; j++)
        if (label[j] < 0 || (size_t)label[j] >= m->cfg.vocabulary)
            rc = gr_fail(err, GRAM_EARG, "label token %d is not in the model's vocabulary of %zu", (int)label[j],
                         m->cfg.vocabulary);
        else
            gr_model_head_row(m, (size_t)label[j], row + j * C);
    if (!rc)
        rc = last_times(w, f, row, n_labels, out, err);
    free(row);
    return rc;
}

bool gr_model_same_rows(const gr_model *m, int32_t a, int32_t b)
{
    size_t bytes = 0;

    gr_dtype_row_bytes(m->head.type, m->cfg.width, &bytes);     /* proved when the file was opened */
    return !memcmp((const char *)m->head.data + (size_t)a * bytes, (const char *)m->head.data + (size_t)b * bytes,
                   bytes);
}

/* The one number that a head with several outputs stands for. at: the hidden state that a gate reads. */
static double one_of(const gr_model *m, const double *y, const float *at, double *scratch)
{
    double sum = 0;

    if (m->gate.form.kind)
        return gr_gate_reward(&m->gate, at, y, scratch);
    for (size_t k = 0; k < m->cfg.head.rows; k++)
        sum += m->cfg.mix[k] * y[k];
    return sum;
}

gram_status gr_model_rewards(gr_work *w, const gr_forest *f, const size_t *prompt_end, float *out, gram_err *err)
{
    const gr_model *m = gr_work_model(w);
    const gr_head *h = &m->score;
    bool one = m->cfg.mix || m->gate.form.kind;
    size_t n = f->n_seqs, each = gr_reward_outputs(m->cfg.reward), wanted = prompt_end ? 2 * n : n;
    size_t *want = gr_calloc(wanted, sizeof *want);
    double *y = gr_calloc(h->outputs + gr_gate_scratch(&m->gate), sizeof *y);
    const float *hidden;
    gram_status rc = want && y ? GRAM_OK : gr_nomem(err, "rewards");

    for (size_t i = 0; i < wanted && !rc; i++)
        want[i] = i < n ? f->leaf_row[i] : prompt_end[i - n];
    if (!rc)
        rc = gr_model_forward(w, f, want, wanted, &hidden, err);
    for (size_t i = 0; i < n && !rc; i++) {
        const float *x = hidden + i * h->width;
        gr_head_fwd(h, NULL, NULL, x, y);
        if (m->cfg.is_token)
            y[0] = gr_model_logit(&m->cfg, y[0]);
        if (one)
            y[0] = one_of(m, y, prompt_end ? x + n * h->width : x, y + h->outputs);
        for (size_t k = 0; k < each; k++)
            out[i * each + k] = (float)y[k];
    }
    free(want);
    free(y);
    return rc;
}

struct head_task { const gr_config *cfg; const float *hidden, *head; float *out; size_t V, C, row, rows; };

#define HEAD_ROWS 256           /* of the head, expanded at a time */

static void head_rows(void *arg, gr_lane *lane, size_t first, size_t n)
{
    const struct head_task *t = arg;

    (void)lane;
    for (size_t i = first; i < first + n; i++)
        for (size_t v = t->row; v < t->row + t->rows; v++)
            t->out[i * t->V + v] = (float)gr_model_logit(t->cfg, gr_dot(t->hidden + i * t->C,
                                                                        t->head + (v - t->row) * t->C, t->C));
}

gram_status gr_model_logits(gr_work *w, const gr_forest *f, const size_t *want, size_t n, float *out, gram_err *err)
{
    const gr_model *m = gr_work_model(w);
    size_t C = m->cfg.width, V = m->cfg.vocabulary;
    float *head = gr_alloc_aligned(HEAD_ROWS * C, sizeof *head);
    const float *hidden;
    gram_status rc = head ? gr_model_check_words(m, err) : gr_nomem(err, "logits");

    if (!rc)
        rc = gr_model_forward(w, f, want, n, &hidden, err);
    for (size_t v = 0; v < V && !rc; v += HEAD_ROWS) {
        struct head_task t = { &m->cfg, hidden, head, out, V, C, v, gr_min(HEAD_ROWS, V - v) };
        for (size_t i = 0; i < t.rows; i++)
            gr_model_head_row(m, v + i, head + i * C);
        gr_device_run(gr_work_device(w), n, GR_CUT_ONE, head_rows, &t);
    }
    free(head);
    return rc;
}
