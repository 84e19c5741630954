/* grad_judge.c - two labels: both orders of a row, and two rows of the vocabulary's head. */
#include <math.h>
#include <stdlib.h>
#include "base/err.h"
#include "op/cap.h"
#include "reward/loss.h"
#include "train/grad_int.h"

bool gr_grad_push_verdict(gr_grad *g, float *dhidden, const float *hidden, const double *z, int right, double dd)
{
    double da_z = dd * gr_cap_slope(z[right], g->cfg->logit_cap);
    double db_z = dd * gr_cap_slope(z[1 - right], g->cfg->logit_cap);
    size_t C = g->cfg->width;
    int32_t chosen = g->label[right], other = g->label[1 - right];
    const float *a = gr_trainee_head(g->t, chosen), *b = gr_trainee_head(g->t, other);

    for (size_t c = 0; c < C; c++)
        dhidden[c] = (float)(g->cfg->logit_cap > 0 ? da_z * a[c] - db_z * b[c] : dd * ((double)a[c] - b[c]));
    return gr_trainee_head_add(g->t, chosen, da_z, hidden) && gr_trainee_head_add(g->t, other, -db_z, hidden);
}

gram_status gr_grad_judge(gr_grad *g, const gr_forest *f, const gr_example *const *e, size_t count, double n,
                          bool backward, gr_sum *sum, gram_err *err)
{
    size_t C = g->cfg->width, n_seqs = 2 * count;
    double *z = gr_calloc(n_seqs * 2, sizeof *z), prefer = 0;
    float *dhidden = gr_calloc(n_seqs * C, sizeof *dhidden);
    const float *hidden;
    gram_status rc = z && dhidden ? GRAM_OK : gr_nomem(err, "training rows");

    if (!rc)
        rc = gr_trainee_forward(g->t, f, f->leaf_row, n_seqs, &hidden, err);
    if (!rc)
        gr_grad_outputs(g, hidden, n_seqs, z);
    for (size_t i = 0; i < n_seqs && !rc; i++) {
        const gr_example *row = e[i / 2];
        double d = z[2 * i + i % 2] - z[2 * i + 1 - i % 2], dd;
        sum->loss += row->weight * gr_loss_pair(d, row->target, &dd) / (2 * n);
        if (backward && !gr_grad_push_verdict(g, dhidden + i * C, hidden + i * C, z + 2 * i, i % 2,
                                              row->weight * dd / (2 * n)))
            rc = gr_nomem(err, "training rows");
        prefer = (i % 2 ? prefer : 0) + 0.5 / (1 + exp(-d));
        if (sum->p)
            sum->p[(size_t)sum->count][i % 2] = 1 / (1 + exp(-d));
        if (i % 2) {
            sum->right += row->tie || prefer == 0.5 ? 0.5 : prefer > 0.5;
            sum->count++;
        }
    }
    if (!rc && backward)
        rc = gr_trainee_backward(g->t, dhidden, err);
    free(z);
    free(dhidden);
    return rc;
}
