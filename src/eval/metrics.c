/* metrics.c - see metrics.h. Each value is a multiple of 1/2, so sums of them are exact in any order. */
#include <math.h>
#include <stdlib.h>
#include "base/err.h"
#include "eval/metrics.h"

#define Z975 1.959963984540054

static const gram_interval nothing = { NAN, NAN, NAN };

gram_interval gr_eval_wilson(double x, double n)
{
    double z2 = Z975 * Z975 / n;
    double middle = (x + z2 / 2) / (1 + z2);
    double half = Z975 * sqrt(x * (1 - x) / n + z2 / (4 * n)) / (1 + z2);

    return (gram_interval){ x, fmin(x, fmax(0, middle - half)), fmax(x, fmin(1, middle + half)) };
}

/* P(|T| < t) of Student's t for whole degrees of freedom (Abramowitz and Stegun 26.7.3 and 26.7.4). */
static double student_inside(double t, size_t degrees)
{
    double angle = atan(t / sqrt((double)degrees)), c = cos(angle), sum = 0, term = degrees % 2 ? c : 1;

    for (size_t k = degrees % 2 + 2; k <= degrees; k += 2) {
        sum += term;
        term *= c * c * (double)(k - 1) / (double)k;
    }
    return degrees % 2 ? 2 / M_PI * (angle + sin(angle) * sum) : sin(angle) * sum;
}

/* From 200 degrees on Cornish and Fisher's expansion is exact to twelve digits. */
double gr_eval_t975(double degrees)
{
    double z = Z975, z2 = z * z, d = degrees, low = z, high = 13;

    if (d > 200)
        return z + z * ((z2 + 1) / (4 * d) + ((5 * z2 + 16) * z2 + 3) / (96 * d * d) +
                        (((3 * z2 + 19) * z2 + 17) * z2 - 15) / (384 * d * d * d) +
                        ((((79 * z2 + 776) * z2 + 1482) * z2 - 1920) * z2 - 945) / (92160 * d * d * d * d));
    while (high - low > 1e-12 && low + (high - low) / 2 > low) {
        double t = low + (high - low) / 2;
        if (student_inside(t, (size_t)d) < 0.95)
            low = t;
        else
            high = t;
    }
    return low;
}

static int by_cluster(const void *a, const void *b)
{
    uint64_t x = ((const gr_eval_value *)a)->cluster, y = ((const gr_eval_value *)b)->cluster;

    return x < y ? -1 : x > y;
}

/* n* of metrics.h, for values sorted by cluster around their mean. */
static double effective_rows(const gr_eval_value *v, size_t n, double mean)
{
    double between = 0, alone = 0, squares = 0, groups = 0, all = (double)n, V, V0;

    for (size_t i = 0, end; i < n; i = end) {
        double sum = 0;
        for (end = i; end < n && v[end].cluster == v[i].cluster; end++) {
            sum += v[end].x - mean;
            alone += (v[end].x - mean) * (v[end].x - mean);
        }
        between += sum * sum;
        squares += (double)(end - i) * (double)(end - i);
        groups++;
    }
    if (groups == all)
        return all;
    if (groups == 1 || alone == 0)
        return all * all / squares;
    V = groups / (groups - 1) * between;
    V0 = all / (all - 1) * alone;
    return all / fmax(1, V / V0) * pow(gr_eval_t975(all - 1) / gr_eval_t975(groups - 1), 2);
}

gram_interval gr_eval_mean(gr_eval_value *v, size_t n)
{
    double sum = 0;

    if (n == 0)
        return nothing;
    for (size_t i = 0; i < n; i++)
        sum += v[i].x;
    qsort(v, n, sizeof *v, by_cluster);
    return gr_eval_wilson(sum / (double)n, effective_rows(v, n, sum / (double)n));
}

gram_interval gr_eval_paired(gr_eval_value *v, size_t n)
{
    double x = 0, between = 0, groups = 0, middle, each, half;

    for (size_t i = 0; i < n; i++)
        x += v[i].x / (double)n;
    qsort(v, n, sizeof *v, by_cluster);
    for (size_t i = 0; i < n; i++)
        groups += i == 0 || v[i].cluster != v[i - 1].cluster;
    if (groups < 2)
        return (gram_interval){ x, -INFINITY, INFINITY };
    middle = x * groups / (groups + 2);
    each = (double)n / groups;
    for (size_t i = 0, end; i < n; i = end) {
        double sum = 0;
        for (end = i; end < n && v[end].cluster == v[i].cluster; end++)
            sum += v[end].x - middle;
        between += sum * sum;
    }
    between = groups / (groups - 1) * between + each * each * (2 + 2 * middle * middle);
    half = gr_eval_t975(groups - 1) * sqrt(between) / ((double)n + 2 * each);
    return (gram_interval){ x, middle - half, middle + half };
}

gram_interval gr_eval_combine(const gram_interval *part, const double *weight, size_t n)
{
    double all = 0, x = 0, below = 0, above = 0;

    for (size_t k = 0; k < n; k++)
        if (!isnan(part[k].value))
            all += weight[k];
    if (!(all > 0))
        return nothing;
    for (size_t k = 0; k < n; k++) {
        double w = weight[k] / all;
        if (isnan(part[k].value))
            continue;
        x += w * part[k].value;
        below += w * w * (part[k].value - part[k].low) * (part[k].value - part[k].low);
        above += w * w * (part[k].high - part[k].value) * (part[k].high - part[k].value);
    }
    return (gram_interval){ x, fmax(0, x - sqrt(below)), fmin(1, x + sqrt(above)) };
}

static double won(double p)
{
    return p > 0.5 ? 1 : p == 0.5 ? 0.5 : 0;
}

double gr_eval_right(const gr_eval_row *r)
{
    return won(r->preference);
}

static double first_seat(const gr_eval_row *r)
{
    if (r->rewarded)                                    /* no answer is read first */
        return NAN;
    if (!gr_eval_both(r))
        return isnan(r->p_forward) ? 1 - won(r->p_swapped) : won(r->p_forward);
    return (won(r->p_forward) + 1 - won(r->p_swapped)) / 2;
}

static double longer(const gr_eval_row *r)
{
    return r->chosen_chars > r->rejected_chars ? 1 : r->chosen_chars == r->rejected_chars ? 0.5 : 0;
}

static double flipped(const gr_eval_row *r)
{
    return gr_eval_both(r) ? !r->consistent : NAN;      /* NAN: not asked */
}

/* The mean of one question over the rows that have a score and an answer to it. */
static gram_interval mean_of(double (*question)(const gr_eval_row *), const gr_eval_row *row, const size_t *index,
                             size_t n, gr_eval_value *scratch)
{
    size_t used = 0;

    for (size_t i = 0; i < n; i++) {
        const gr_eval_row *r = &row[index[i]];
        double x = r->dropped ? NAN : question(r);
        if (!isnan(x))
            scratch[used++] = (gr_eval_value){ r->prompt, x };
    }
    return gr_eval_mean(scratch, used);
}

static void count_rows(const gr_eval_row *row, const size_t *index, size_t n, gr_eval_stats *out)
{
    for (size_t i = 0; i < n; i++) {
        const gr_eval_row *r = &row[index[i]];
        out->rows += !r->dropped;
        out->dropped += r->dropped;
        out->truncated += r->truncated && !r->dropped;
        out->ties += !r->dropped && r->preference == 0.5;
        out->tokens += r->dropped ? 0 : r->tokens;
    }
}

static double confidence(const gr_eval_row *r)
{
    return fmax(r->preference, 1 - r->preference);
}

/* The rows of a bin, and their sum of confidences. */
static gr_eval_bin bin_of(const gr_eval_row *row, const size_t *index, size_t n, size_t bin, gr_eval_value *scratch)
{
    gr_eval_bin b = { .rows = 0 };

    for (size_t i = 0; i < n; i++) {
        const gr_eval_row *r = &row[index[i]];
        if (r->dropped || gr_min(GR_EVAL_BINS - 1, (size_t)((confidence(r) - 0.5) * 2 * GR_EVAL_BINS)) != bin)
            continue;
        scratch[b.rows++] = (gr_eval_value){ r->prompt, gr_eval_right(r) };
        b.confidence += confidence(r);
    }
    b.confidence = b.rows ? b.confidence / (double)b.rows : NAN;
    b.accuracy = gr_eval_mean(scratch, b.rows);
    return b;
}

static void calibrate(const gr_eval_row *row, const size_t *index, size_t n, gr_eval_stats *out,
                      gr_eval_value *scratch)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += row[index[i]].dropped ? 0 : confidence(&row[index[i]]);
    out->confidence = out->rows ? sum / (double)out->rows : NAN;
    out->ece = out->rows ? 0 : NAN;
    for (size_t k = 0; k < GR_EVAL_BINS; k++) {
        gr_eval_bin *b = &out->bin[k];
        *b = bin_of(row, index, n, k, scratch);
        if (b->rows)
            out->ece += (double)b->rows / (double)out->rows * fabs(b->accuracy.value - b->confidence);
    }
}

gram_status gr_eval_stats_of(const gr_eval_row *row, const size_t *index, size_t n, gr_eval_stats *out,
                             gram_err *err)
{
    gr_eval_value *scratch = gr_calloc(n, sizeof *scratch);

    *out = (gr_eval_stats){ 0 };
    if (!scratch)
        return gr_nomem(err, "evaluation results");
    count_rows(row, index, n, out);
    calibrate(row, index, n, out, scratch);
    out->flip_rate = mean_of(flipped, row, index, n, scratch);
    out->first_seat = mean_of(first_seat, row, index, n, scratch);
    out->longer = mean_of(longer, row, index, n, scratch);
    out->accuracy = mean_of(gr_eval_right, row, index, n, scratch);
    for (size_t i = 0; i < out->rows; i++)              /* accuracy was asked of every row, and sorted them */
        out->prompts += i == 0 || scratch[i].cluster != scratch[i - 1].cluster;
    free(scratch);
    return GRAM_OK;
}
