/* ranks.c - a rollout shared out over processes: each writes, judges and reads the answers to its own prompts, and then
 * all know all of them, so that what follows (advantages, means, which answers a step takes) is the same everywhere.
 *
 * What is drawn depends on seed, place and number alone, so a rollout of the same weights has the same bits in any
 * number of processes. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "align/align_int.h"
#include "base/err.h"

gr_part gr_align_part(const gr_align *a, size_t n)
{
    size_t rank = gr_dist_rank(a->f.opt->dist), size = gr_dist_size(a->f.opt->dist), at = n * rank / size;

    return (gr_part){ at, n * (rank + 1) / size - at, n };
}

/* ---- Answers --------------------------------------------------------------------------------------------- */

/* An answer on its way, before its ids, the log-probabilities of its tokens and its text. */
struct packed { uint64_t place, k, ids, asked, n, text, seed; double reward; int32_t finish, pad; };

static bool pack(gr_buf *b, const gr_answer *x)
{
    const gr_ids *ids = &x->s.e.seq[0];
    const struct packed h = { x->place, x->k, ids->n, x->s.e.asked, x->n, strlen(x->text), x->seed, x->reward,
                              (int32_t)x->finish, 0 };

    return gr_buf_add(b, (const char *)&h, sizeof h) &&
           gr_buf_add(b, (const char *)ids->p, ids->n * sizeof *ids->p) &&
           gr_buf_add(b, (const char *)x->drawn, x->n * sizeof *x->drawn) && gr_buf_add(b, x->text, h.text);
}

/* One of them, in this process's own memory. */
static gram_status unpack(const char **at, gr_answer *x, gram_err *err)
{
    struct packed h;
    gr_ids *ids = &x->s.e.seq[0];

    memcpy(&h, *at, sizeof h);                      /* texts of any length leave nothing aligned behind them */
    *at += sizeof h;
    *x = (gr_answer){ .place = h.place, .k = h.k, .seed = h.seed, .reward = h.reward, .finish = (gr_finish)h.finish };
    x->s.e.asked = h.asked;
    if (!gr_answer_room(x, h.n) || !(ids->p = gr_calloc(h.ids, sizeof *ids->p)))
        return gr_nomem(err, "answers");
    ids->n = ids->cap = h.ids;
    memcpy(ids->p, *at, h.ids * sizeof *ids->p);
    *at += h.ids * sizeof *ids->p;
    memcpy(x->drawn, *at, h.n * sizeof *x->drawn);
    *at += h.n * sizeof *x->drawn;
    x->text = gr_strndup(*at, h.text);
    *at += h.text;
    return x->text ? GRAM_OK : gr_nomem(err, "answers");
}

/* n answers, in the order of the processes, from what each has written. */
static gram_status unpack_all(const char *all, size_t each, const uint64_t *bytes, size_t size, gr_answer *x, size_t n,
                              gram_err *err)
{
    size_t found = 0;
    gram_status rc = GRAM_OK;

    for (size_t r = 0; r < size && !rc; r++) {
        const char *at = all + r * each, *end = at + bytes[r];
        while (at < end && !rc && found < n) {
            rc = unpack(&at, &x[found], err);
            found++;
        }
    }
    return rc;
}

gram_status gr_align_gather(const gr_align *a, gr_answer **x, size_t *n, size_t all, gram_err *err)
{
    gr_dist *d = a->f.opt->dist;
    size_t size = gr_dist_size(d), most = 0;
    uint64_t *bytes, mine;
    gr_answer *out;
    gr_buf b = { 0 };
    char *texts = NULL, *own = NULL;
    gram_status rc = GRAM_OK;

    if (size == 1)
        return GRAM_OK;
    bytes = gr_calloc(size, sizeof *bytes);
    out = gr_calloc(all, sizeof *out);
    for (size_t i = 0; i < *n && !rc; i++)
        rc = pack(&b, &(*x)[i]) ? GRAM_OK : gr_nomem(err, "answers");
    if (!rc && (!bytes || !out))
        rc = gr_nomem(err, "answers");
    mine = b.n;
    if (!rc)
        rc = gr_dist_all(d, &mine, bytes, sizeof mine, err);
    for (size_t r = 0; r < size && !rc; r++)
        most = gr_max(most, (size_t)bytes[r]);
    if (!rc && (!(own = gr_calloc(1, most)) || !(texts = gr_calloc(size, most))))
        rc = gr_nomem(err, "answers");
    if (!rc && b.n)
        memcpy(own, b.p, b.n);
    if (!rc)
        rc = gr_dist_all(d, own, texts, most, err);
    if (!rc)
        rc = unpack_all(texts, most, bytes, size, out, all, err);
    gr_buf_clear(&b);
    free(own);
    free(texts);
    free(bytes);
    if (rc) {
        gr_answers_free(out, all);
        return rc;
    }
    gr_answers_free(*x, *n);
    *x = out;
    *n = all;
    return GRAM_OK;
}

/* ---- Numbers --------------------------------------------------------------------------------------------- */

gram_status gr_align_gather_numbers(gr_align *a, size_t place, gram_err *err)
{
    gr_dist *d = a->f.opt->dist;
    size_t each = a->n / a->prompts, tokens = 0, at = 0;
    gr_part own = gr_align_part(a, a->prompts);
    double *x;
    gram_status rc;

    if (gr_dist_size(d) == 1)
        return GRAM_OK;
    for (size_t i = 0; i < a->n; i++)
        tokens += a->answer[i].n;
    x = gr_calloc(tokens, sizeof *x);               /* where others have their numbers this process has zeros */
    for (size_t i = 0; x && i < a->n; at += a->answer[i++].n)
        if (i / each >= own.at && i / each < own.at + own.n)
            memcpy(x + at, a->answer[i].numbers + place * a->answer[i].n, a->answer[i].n * sizeof *x);
    rc = x ? gr_dist_sum(d, x, tokens, err) : gr_nomem(err, "answers");
    at = 0;
    for (size_t i = 0; i < a->n && !rc; at += a->answer[i++].n)
        memcpy(a->answer[i].numbers + place * a->answer[i].n, x + at, a->answer[i].n * sizeof *x);
    free(x);
    return rc;
}

gram_status gr_align_sum_policy(const gr_align *a, gr_policy_sum *s, gram_err *err)
{
    gr_dist *d = a->f.opt->dist;
    size_t size = gr_dist_size(d);
    double x[] = { s->loss, s->tokens, s->ratios, s->ratio, s->low, s->high, s->old_kl, s->k1, s->k3 };
    double ends[2] = { s->ratio_min, s->ratio_max }, (*all)[2];
    gram_status rc;

    if (size == 1)
        return GRAM_OK;
    all = gr_calloc(size, sizeof *all);
    rc = all ? gr_dist_sum(d, x, GR_COUNT(x), err) : gr_nomem(err, "answers");
    if (!rc)
        rc = gr_dist_all(d, ends, all, sizeof ends, err);
    for (size_t r = 0; r < size && !rc; r++) {
        ends[0] = fmin(ends[0], all[r][0]);
        ends[1] = fmax(ends[1], all[r][1]);
    }
    *s = (gr_policy_sum){ x[0], x[1], x[2], x[3], ends[0], ends[1], x[4], x[5], x[6], x[7], x[8] };
    free(all);
    return rc;
}
