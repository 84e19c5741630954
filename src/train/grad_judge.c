/* grad_judge.c - two labels: both orders of a row, and two rows of the vocabulary's head. */
#include <math.h>
#include <stdlib.h>
#include "base/err.h"
#include "reward/loss.h"
#include "train/grad_int.h"

bool gr_grad_push_verdict(gr_grad *g, float *dhidden, const float *hidden, const double *z, int right, double dd)
{
    double da_z = dd * gr_model_logit_slope(g->cfg, z[right]);
    double db_z = dd * gr_model_logit_slope(g->cfg, z[1 - right]);
    bool one = g->cfg->logit_cap <= 0 && g->cfg->logit_div >= 1 && g->cfg->logit_div <= 1;    /* both are dd */
    size_t C = g->cfg->width;
    int32_t chosen = g->label[right], other = g->label[1 - right];
    const float *a = gr_trainee_head(g->t, chosen), *b = gr_trainee_head(g->t, other);

    for (size_t c = 0; c < C; c++)
        dhidden[c] = (float)(one ? dd * ((double)a[c] - b[c]) : da_z * a[c] - db_z * b[c]);
    return gr_trainee_head_add(g->t, chosen, da_z, hidden) && gr_trainee_head_add(g->t, other, -db_z, hidden);
}

gram_status gr_grad_judge(gr_grad *g, const gr_forest *f, const gr_example *const *e, size_t count, double n,
                          bool backward, gr_sum *sum, gram_err *err)
{
    size_t C = g->cfg->width, n_seqs = 2 * count;
    double *z = gr_calloc(n_seqs * 2, sizeof *z);
    float *dhidden = gr_calloc(n_seqs * C, sizeof *dhidden);
    const float *hidden;
    gram_status rc = z && dhidden ? GRAM_OK : gr_nomem(err, "training rows");

    if (!rc)
        rc = gr_trainee_forward(g->t, f, f->leaf_row, n_seqs, &hidden, err);
    if (!rc)
        gr_grad_outputs(g, hidden, n_seqs, z);
    for (size_t i = 0; i < count && !rc; i++) {
        const double *first = z + 4 * i, *second = first + 2, d[2] = { first[0] - first[1], second[1] - second[0] };
        double dd[2], prefer = 0;
        sum->loss += e[i]->weight * gr_loss_orders(d, e[i]->target, g->loss.order_weight, dd) / (2 * n);
        for (size_t k = 0; k < 2; k++) {
            size_t at = (2 * i + k) * C;
            if (backward && !rc && !gr_grad_push_verdict(g, dhidden + at, hidden + at, first + 2 * k, (int)k,
                                                         e[i]->weight * dd[k] / (2 * n)))
                rc = gr_nomem(err, "training rows");
            prefer += 0.5 / (1 + exp(-d[k]));
            if (sum->p)
                sum->p[(size_t)sum->count][k] = 1 / (1 + exp(-d[k]));
        }
        sum->right += e[i]->tie || prefer == 0.5 ? 0.5 : prefer > 0.5;
        sum->count++;
    }
    if (!rc && backward)
        rc = gr_trainee_backward(g->t, dhidden, err);
    free(z);
    free(dhidden);
    return rc;
}
