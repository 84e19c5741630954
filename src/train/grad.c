/* grad.c - see grad.h. */
#include <math.h>
#include <stdlib.h>
#include "base/err.h"
#include "op/cap.h"
#include "reward/loss.h"
#include "train/grad_int.h"

gram_status gr_grad_grow(gr_forest *f, const gr_grad *g, gr_orders which, const gr_example *const *e, size_t count,
                         gr_sum *sum, gram_err *err)
{
    size_t each = which.each;
    gr_seq *seq = gr_calloc(count * each, sizeof *seq);
    gram_status rc;

    if (!seq)
        return gr_nomem(err, "training rows");
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < each; k++)
            seq[i * each + k] = (gr_seq){ e[i]->seq[which.first + k].p, e[i]->seq[which.first + k].n };
        for (size_t k = 0; k < each; k++)
            sum->tokens += e[i]->seq[which.first + k].n;
    }
    rc = gr_forest_init(f, seq, count * each, g->cfg->far.after, NULL, GR_SAVE_SHARED, err);
    if (!rc)
        sum->computed += f->rows;
    free(seq);
    return rc;
}

size_t gr_grad_width(const gr_grad *g)
{
    return gr_grad_is_scalar(g) ? gr_reward_outputs(g->cfg->reward) : 2;
}

void gr_grad_outputs(const gr_grad *g, const float *hidden, size_t n_seqs, double *out)
{
    size_t C = g->cfg->width, n = gr_grad_width(g);

    for (size_t i = 0; i < n_seqs; i++) {
        if (gr_grad_is_scalar(g))
            gr_head_fwd(gr_trainee_score(g->t), NULL, NULL, hidden + i * C, out + n * i);
        for (size_t k = 0; k < n && !gr_grad_is_scalar(g); k++)
            out[n * i + k] = gr_model_logit(g->cfg, gr_dot(hidden + i * C, gr_trainee_head(g->t, g->label[k]), C));
    }
}

gram_status gr_grad_logits(gr_grad *g, const gr_example *const *e, size_t count, double *out, gram_err *err)
{
    gr_forest f;
    gr_sum sum = { 0 };
    const float *hidden;
    gram_status rc = gr_grad_grow(&f, g, (gr_orders){ 0, g->write ? 1 : 2 }, e, count, &sum, err);

    if (rc)
        return rc;
    rc = gr_trainee_forward(g->t, &f, f.leaf_row, f.n_seqs, &hidden, err);
    if (!rc)
        gr_grad_outputs(g, hidden, f.n_seqs, out);
    gr_forest_clear(&f, true);
    return rc;
}

bool gr_grad_is_scalar(const gr_grad *g)
{
    return !g->write && gram_loss_is_scalar(g->loss.kind);
}

size_t gr_grad_fits(const gr_example *const *e, size_t count, size_t batch_tokens)
{
    size_t tokens = gr_example_tokens(e[0]), k = 1;

    for (; k < count && tokens + gr_example_tokens(e[k]) <= batch_tokens; k++)
        tokens += gr_example_tokens(e[k]);
    return k;
}

double gr_grad_weight(const gr_grad *g, const gr_example *e)
{
    return g->write ? (double)(e->seq[0].n - e->asked) : 1;
}

gram_status gr_grad_add(gr_grad *g, const gr_example *const *e, size_t count, double n, bool backward, gr_sum *sum,
                        gram_err *err)
{
    gr_grad_fn *add = g->write ? gr_grad_written : gram_loss_is_policy(g->loss.kind) ? gr_grad_offline
                    : gr_grad_is_scalar(g) ? gr_grad_scalar : gr_grad_judge;
    bool one = g->write || g->loss.kind == GRAM_LOSS_KTO;       /* kto looks at its answers, or at others' */
    gr_forest f;
    gram_status rc = gr_grad_grow(&f, g, (gr_orders){ g->look, one ? 1 : 2 }, e, count, sum, err);

    if (rc)
        return rc;
    rc = add(g, &f, e, count, n, backward, sum, err);
    gr_forest_clear(&f, true);
    return rc;
}

bool gr_grad_has_verdicts(const gr_grad *g)
{
    return !g->write || g->loss.kind == GRAM_LOSS_RATIONALE;
}

double gr_grad_accuracy(const gr_grad *g, const gr_sum *sum)
{
    return gr_grad_has_verdicts(g) ? sum->right / sum->count : NAN;
}

void gr_grad_whole(const gr_grad *g, gr_sum *sum)
{
    double slope;

    if (gr_grad_is_scalar(g) && g->loss.kind == GRAM_LOSS_BT_POSREG)
        sum->loss += g->loss.posreg * gr_loss_pair(sum->chosen, 1, &slope);
}

void gr_grad_clear(gr_grad *g)
{
    gr_grad_head_close(g->head);
    g->head = NULL;
}
