/* logprobs.c - a text as it stands: the log-probability of each of its tokens, by one pass over all of them. */
#include <math.h>
#include <stdlib.h>
#include "api/api_int.h"
#include "base/err.h"
#include "op/op.h"

enum { ROWS = 32 };             /* of logits at a time: a vocabulary of 150,000 makes 20 MB of them */

struct reading {
    gram_model *m;
    const int32_t *id;
    size_t n, top;
    gram_written_fn *fn;
    void *arg;
    float *weight;              /* [vocabulary] */
    gr_buf text;                /* of the token at hand and its rivals */
};

/* Token i, of which z are the logits before it; NULL: there is nothing before it. */
static gram_status tell(struct reading *r, size_t i, const float *z, gram_err *err)
{
    const struct gr_kern *op = gr_device_op(r->m->device);
    size_t V = gram_vocabulary(r->m), n = z ? gr_min(r->top, V) : 0, at[GRAM_TOP_MAX + 2] = { 0 };
    float top = z ? op->row_top(z, V) : 0;
    double all = z ? log(op->row_exp(r->weight, z, top, V)) : 0;
    int32_t best[GRAM_TOP_MAX];
    gram_rival rival[GRAM_TOP_MAX];
    gram_status rc = GRAM_OK;

    if (!isfinite(all))
        return gr_fail(err, GRAM_EFORMAT, "token %zu: a logit is not a finite number: the model's weights are broken",
                       i);
    if (n)
        gr_likeliest(z, V, best, n);
    r->text.n = 0;
    for (size_t k = 0; k <= n && !rc; k++) {
        rc = gr_tok_decode_piece(r->m->file.words.tok, k ? best[k - 1] : r->id[i], true, i == 0, &r->text, err);
        at[k + 1] = r->text.n;
    }
    if (!rc && !gr_buf_add(&r->text, "", 0))
        rc = gr_nomem(err, "log-probabilities");
    if (rc)
        return rc;
    for (size_t k = 0; k < n; k++)
        rival[k] = (gram_rival){ best[k], r->text.p + at[k + 1], at[k + 2] - at[k + 1],
                                 (float)((double)z[best[k]] - top - all) };
    return r->fn(r->arg, &(gram_written){ .id = r->id[i], .text = r->text.p, .bytes = at[1], .more = "",
                 .logprob = z ? (float)((double)z[r->id[i]] - top - all) : NAN, .top = rival, .n_top = n }, err);
}

static gram_status read_all(struct reading *r, const float *hidden, gr_vocabulary *head, gram_err *err)
{
    size_t C = gr_model_config(r->m->model)->width, V = gram_vocabulary(r->m);
    gram_status rc = tell(r, 0, NULL, err);

    for (size_t i = 1; i < r->n && !rc; i += ROWS) {
        size_t rows = gr_min(ROWS, r->n - i);
        const float *z;
        rc = gr_vocabulary_logits(head, hidden + (i - 1) * C, rows, &z, err);
        for (size_t k = 0; k < rows && !rc; k++)
            rc = tell(r, i + k, z + k * V, err);
    }
    return rc;
}

/* With the model's lock held. */
static gram_status forward(struct reading *r, const size_t *want, gram_err *err)
{
    size_t far = gr_model_config(r->m->model)->far.after;
    gr_vocabulary *head = NULL;
    gr_forest f = { 0 };
    const float *hidden = NULL;
    gram_status rc = gr_vocabulary_open(&head, r->m->model, GR_ROWS_ALIKE, gr_api_head(r->m), r->m->device, err);

    if (!rc)
        rc = gr_forest_init(&f, &(gr_seq){ r->id, r->n }, 1, far, NULL, GR_SAVE_SHARED, err);
    if (!rc && r->n > 1)
        rc = gr_model_forward(r->m->scorer.work, &f, want, r->n - 1, &hidden, err);
    if (!rc)
        rc = read_all(r, hidden, head, err);
    gr_forest_clear(&f, !rc);
    gr_vocabulary_close(head);
    return rc;
}

gram_status gram_text_logprobs(gram_model *m, const int32_t *id, size_t n, size_t top, gram_written_fn *fn, void *arg,
                               gram_err *err)
{
    struct reading r = { m, id, n, top, fn, arg, NULL, { 0 } };
    size_t context = gr_model_config(m->model)->context, V = gram_vocabulary(m), *want;
    gram_status rc = GRAM_OK;

    if (top > GRAM_TOP_MAX)
        return gr_fail(err, GRAM_EARG, "top: wanted 0 to %d, found %zu", GRAM_TOP_MAX, top);
    if (n == 0 || n > context)
        return gr_fail(err, GRAM_ELIMIT, "tokens: wanted 1 to %zu, which is the model's context, found %zu", context,
                       n);
    for (size_t i = 0; i < n; i++)
        if (id[i] < 0 || (size_t)id[i] >= V)
            return gr_fail(err, GRAM_EARG, "token %zu is %d, which is not in the vocabulary of %zu", i, (int)id[i], V);
    r.weight = gr_alloc_aligned(V, sizeof *r.weight);
    want = gr_calloc(n, sizeof *want);
    if (!r.weight || !want)
        rc = gr_nomem(err, "log-probabilities");
    for (size_t i = 0; i < n && !rc; i++)
        want[i] = i;
    gr_api_begin_scoring(m);
    if (!rc)
        rc = forward(&r, want, err);
    gr_api_end_scoring(m);
    free(r.weight);
    free(want);
    gr_buf_clear(&r.text);
    return rc;
}
