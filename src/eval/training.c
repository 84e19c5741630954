/* training.c - see training.h. */
#include <stdlib.h>
#include "base/err.h"
#include "eval/training.h"
#include "train/metrics.h"

static gram_status stats_of(const gr_held *h, const uint64_t *prompt, gr_eval_stats *out, gram_err *err)
{
    gr_eval_row *row = gr_calloc(h->n, sizeof *row);
    size_t *index = gr_calloc(h->n, sizeof *index);
    gram_status rc = row && index ? GRAM_OK : gr_nomem(err, "held-out rows");

    for (size_t i = 0; i < h->n && !rc; i++) {
        const double *p = h->p[i];
        row[i] = (gr_eval_row){ .prompt = prompt[i], .preference = (p[0] + p[1]) / 2, .p_forward = p[0],
                                .p_swapped = p[1], .consistent = (p[0] > 0.5) == (p[1] > 0.5), .cell = -1 };
        index[i] = i;
    }
    if (!rc)
        rc = gr_eval_stats_of(row, index, h->n, out, err);
    free(row);
    free(index);
    return rc;
}

gram_status gr_eval_held_out(const char *dir, uint64_t step, const uint64_t *prompt, size_t n, gr_eval_stats *out,
                             gram_err *err)
{
    gr_held h;
    gram_status rc = gr_metrics_judged(dir, step, &h, err);

    h.n = h.n == n ? n : 0;                 /* of other rows: somebody's own file */
    if (!rc)
        rc = stats_of(&h, prompt, out, err);
    free(h.p);
    return rc;
}
