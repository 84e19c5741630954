/* lora_merge.c - a base and its adapter written as one model: see lora.h. */
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "model/lora_int.h"

struct merge {
    const gr_stored *t;
    struct lora_found *pair;        /* [n] of each of t; of a bias NULLs, and what stands in its place or NULL */
    const gr_named **bias;
    size_t *first;                  /* of each tensor that is written the first of t */
    const gr_adapter *a;
    const gr_named *head[GR_HEAD_PARTS];      /* the adapter's reward head; where each is written */
    size_t heads, place[GR_HEAD_PARTS];
    float *A, *b;                   /* [rank,K] of the matrix at hand, and the row's [rank] */
    const struct lora_found *expanded;      /* whose A it is */
};

static void expand_row(float *out, const gr_named *t, size_t row)
{
    size_t bytes = 0;

    gr_dtype_row_bytes(t->type, t->dim[t->n_dims - 1], &bytes);     /* proved when the file was opened */
    gr_dequant(out, (const char *)t->data + row * bytes, t->type, t->dim[t->n_dims - 1]);
}

static gram_status merged_row(void *arg, size_t tensor, size_t row, float *out, gram_err *err)
{
    struct merge *m = arg;
    const struct lora_found *f;
    size_t K, r, i;
    float s;

    for (i = 0; i < m->heads; i++)
        if (tensor == m->place[i]) {
            expand_row(out, m->head[i], row);
            return GRAM_OK;
        }
    for (i = m->first[tensor]; row >= m->t[i].t.rows; i++)
        row -= m->t[i].t.rows;
    f = &m->pair[i];
    if (m->bias[i]) {                       /* of which a row may be a value */
        gr_named one = *m->bias[i];
        one.dim[0] = m->t[i].t.cols;
        expand_row(out, &one, row);
        return GRAM_OK;
    }
    gr_stored_row(&m->t[i], false, row, out);
    if (!f->t[0])
        return GRAM_OK;
    r = gr_lora_rank(f);
    K = f->t[0]->dim[1];
    if (m->expanded != f)
        gr_lora_a(f, m->A);
    m->expanded = f;
    if (m->t[i].head_dim && gr_adapter_in_pairs(m->a))
        row = gr_matrix_unpermuted(&(gr_config){ .head_dim = m->t[i].head_dim }, row);
    gr_lora_b(f, row, m->b);
    s = gr_lora_found_scale(f, m->a);
    for (i = 0; i < r; i++)
        for (size_t k = 0; k < K; k++)
            out[k] += s * m->b[i] * m->A[i * K + k];
    return gr_lora_lengthen(out, K, f, row, m->a, err);
}

/* Of a matrix of a layer, and of no head. */
static bool is_bias(const gr_stored *t)
{
    size_t n = strlen(t->matrix), end = strlen("_proj.bias");

    return n > end && !strcmp(t->matrix + n - end, "_proj.bias");
}

/* Which tensor has which adapter, with memory for the largest. */
static gram_status pair_all(struct merge *m, const gr_stored *t, size_t n, const gr_adapter *a, gram_err *err)
{
    size_t floats = 0, rank = 0, used = 0;
    gram_status rc = GRAM_OK;

    for (size_t i = 0; i < n && !rc; i++) {
        if (t[i].flat) {
            rc = is_bias(&t[i]) ? gr_lora_find_bias(&m->bias[i], a, t[i].matrix, t[i].t.rows * t[i].t.cols, err) : rc;
            used += m->bias[i] != NULL;
            continue;
        }
        struct lora_found *f = &m->pair[i];
        const struct lora_matrix of = { t[i].matrix, t[i].own, t[i].own_in, t[i].experts, t[i].t.rows, t[i].t.cols };
        rc = gr_lora_find(f, a, &of, err);
        if (rc || !f->t[0])
            continue;
        used += gr_lora_tensors(f);
        rank = gr_max(rank, gr_lora_rank(f));
        floats = gr_max(floats, gr_lora_rank(f) * t[i].t.cols);
    }
    used += gr_adapter_head_tensors(a);
    if (!rc && used != gr_adapter_count(a))
        rc = gr_fail(err, GRAM_EUNSUPPORTED, "%s: %zu of its %zu tensors are none that can be added to the base model",
                     a->path, gr_adapter_count(a) - used, gr_adapter_count(a));
    if (rc)
        return rc;
    m->A = gr_alloc_aligned(floats, sizeof *m->A);
    m->b = gr_alloc_aligned(rank, sizeof *m->b);
    return m->A && m->b ? GRAM_OK : gr_nomem(err, a->path);
}

/* The head that the merged model gets where the adapter has one, and where it is written: after the rest. */
static gram_status take_head(struct merge *m, gr_config *cfg, gr_head_part part[GR_HEAD_PARTS], gram_err *err)
{
    gram_status rc = GRAM_OK;

    if (!gr_adapter_has_head(m->a))
        return GRAM_OK;
    cfg->new_head = true;                   /* whatever head the base has */
    for (; !rc && gr_head_part_at(&cfg->head, cfg->width, m->heads, &part[m->heads]); m->heads++)
        rc = gr_adapter_head_part(&m->head[m->heads], m->a, cfg->width, part[m->heads].at, err);
    return rc;
}

gram_status gr_lora_merge(const char *path, const gr_weights *w, gr_config *cfg, const gr_adapter *a, gr_dtype type,
                          gram_err *err)
{
    static const gr_meta meta = { "format", "pt" };
    struct merge m = { .a = a };
    gr_head_part part[GR_HEAD_PARTS];
    gr_planned *plan = NULL;
    gr_stored *t;
    size_t n, written = 0;
    gram_status rc = take_head(&m, cfg, part, err);

    if (rc) {
        gr_config_clear(cfg);
        return rc;
    }
    rc = gr_model_stored(&t, &n, w, cfg, err);
    if (rc)
        return rc;
    m.t = t;
    m.pair = gr_calloc(n, sizeof *m.pair);
    m.first = gr_calloc(n + GR_HEAD_PARTS, sizeof *m.first);
    plan = gr_calloc(n + GR_HEAD_PARTS, sizeof *plan);
    m.bias = gr_calloc(n, sizeof *m.bias);
    rc = m.pair && m.bias && m.first && plan ? pair_all(&m, t, n, a, err) : gr_nomem(err, path);
    for (size_t i = 0, rows; i < n && !rc; i += gr_stored_together(t + i, n - i, false, &rows)) {
        gr_stored_together(t + i, n - i, false, &rows);
        m.first[written] = i;
        plan[written++] = (gr_planned){ t[i].name, type, rows, t[i].t.cols, t[i].flat };
    }
    for (size_t k = 0; k < m.heads && !rc; k++) {
        m.place[k] = written;
        plan[written++] = (gr_planned){ part[k].name, type, part[k].rows, part[k].cols, part[k].bias };
    }
    if (!rc)
        rc = gr_st_write_rows(path, plan, written, &meta, 1, merged_row, &m, err);
    free(m.A);
    free(m.b);
    free(m.pair);
    free(m.bias);
    free(m.first);
    free(plan);
    free(t);
    return rc;
}
