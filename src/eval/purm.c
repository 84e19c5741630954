/* purm.c - see purm.h. */
#include <math.h>
#include <stdlib.h>
#include "base/err.h"
#include "eval/purm.h"
#include "reward/score.h"

static double mean_of(double sum, double n)
{
    return n > 0 ? sum / n : NAN;
}

static void collect(const gr_eval_row *row, size_t n, const double *u, gr_eval_value *value, gr_eval_spread *out)
{
    double right = 0, wrong = 0, n_right = 0, sigma = 0;
    size_t k = 0;

    for (size_t i = 0; i < n; i++) {
        const gr_eval_row *r = &row[i];
        double is_right = gr_eval_right(r), both, d;
        if (!r->spread || r->dropped)
            continue;
        both = (u[2 * k] + u[2 * k + 1]) / 2;
        right += is_right * both;
        wrong += (1 - is_right) * both;
        n_right += is_right;
        sigma += (r->sigma[0] + r->sigma[1]) / 2;
        d = r->reward[0] - out->lambda * u[2 * k] - (r->reward[1] - out->lambda * u[2 * k + 1]);
        value[k++] = (gr_eval_value){ r->prompt, d > 0 ? 1 : d < 0 ? 0 : 0.5 };
    }
    out->rows = k;
    out->sigma = mean_of(sigma, (double)k);
    out->overlap = mean_of(right + wrong, (double)k);
    out->right = mean_of(right, n_right);
    out->wrong = mean_of(wrong, (double)k - n_right);
    out->penalised = gr_eval_mean(value, k);
}

gram_status gr_eval_spread_of(const gr_eval_row *row, size_t n, double lambda, gr_eval_spread *out, gram_err *err)
{
    double *mean = gr_calloc(2 * n, sizeof *mean), *sigma = gr_calloc(2 * n, sizeof *sigma);
    double *u = gr_calloc(2 * n, sizeof *u);
    gr_eval_value *value = gr_calloc(n, sizeof *value);
    gram_status rc = mean && sigma && u && value ? GRAM_OK : gr_nomem(err, "evaluation");
    size_t k = 0;

    *out = (gr_eval_spread){ .lambda = lambda };
    for (size_t i = 0; i < n && !rc; i++)
        for (size_t s = 0; s < 2 && row[i].spread && !row[i].dropped; s++) {
            mean[k] = row[i].reward[s];
            sigma[k++] = row[i].sigma[s];
        }
    if (!rc && k > 0) {
        gr_overlap(mean, sigma, k, u);
        collect(row, n, u, value, out);
    }
    free(mean);
    free(sigma);
    free(u);
    free(value);
    return rc;
}
