/* scale.c - see scale.h. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/err.h"
#include "op/op.h"
#include "reward/scale.h"

enum { ROWS = 32 };             /* of logits at a time: a vocabulary of 150,000 makes 20 MB of them */

/* ---- The numbers and their tokens ----------------------------------------------------------------- */

gram_status gr_scale_parse(const char *range, size_t *low, size_t *n, gram_err *err)
{
    unsigned from, to;
    char end;

    if (!isdigit((unsigned char)*range) || sscanf(range, "%3u-%3u%c", &from, &to, &end) != 2 || from >= to ||
        to >= GR_SCALE_MOST)
        return gr_fail(err, GRAM_EARG, "scale \"%s\": wanted two whole numbers from 0 to %d, the smaller one first, as "
                       "0-10", range, GR_SCALE_MOST - 1);
    *low = from;
    *n = to - from + 1;
    return GRAM_OK;
}

/* What stands behind the prompt where the reply is `number`: its tokens, and the one that ends the turn. */
static gram_status find_text(const gr_judge *j, const gram_message *ask, const char *number, gr_ids *out, gram_err *err)
{
    const gram_prompt prompt = { .turn = ask, .n = 1 };
    gr_chat_text t = { 0 };
    gr_ids whole = { 0 }, alone = { 0 };
    size_t asked = 0;
    gram_status rc = gr_judge_reply(j, prompt, number, &whole, &asked, err);

    if (!rc)
        rc = gr_chat_render(&j->chat, ask, 1, NULL, &t, err);
    if (!rc)
        rc = gr_chat_encode(j->tok, &t, &alone, err);
    if (!rc && (asked != alone.n || whole.n < asked + 2))
        rc = gr_fail(err, GRAM_EUNSUPPORTED, "scale: the number %s is not read behind the judge prompt: to this "
                     "tokenizer both are other tokens together", number);
    if (!rc && !gr_ids_add(out, whole.p + asked, whole.n - asked))
        rc = gr_nomem(err, "scale");
    gr_chat_text_clear(&t);
    gr_ids_clear(&whole);
    gr_ids_clear(&alone);
    return rc;
}

static gram_status find_texts(gr_scale *c, const gr_judge *j, gram_err *err)
{
    const gram_message ask = { .role = "user", .content = j->words[!j->words[0].text].text };
    gram_status rc = GRAM_OK;

    for (size_t k = 0; k < c->n && !rc; k++) {
        char number[24];
        snprintf(number, sizeof number, "%zu", c->low + k);
        rc = find_text(j, &ask, number, &c->text[k], err);
    }
    return rc;
}

/* The node of text k's first `len` tokens, which becomes one where there is none. */
static size_t node_of(gr_scale *c, size_t k, size_t len)
{
    for (size_t i = 0; i < c->n_nodes; i++)
        if (c->node[i].len == len && !memcmp(c->text[c->node[i].k].p, c->text[k].p, len * sizeof *c->text[k].p))
            return i;
    c->node[c->n_nodes] = (struct gr_scale_node){ k, len };
    return c->n_nodes++;
}

static int by_node(const void *pa, const void *pb)
{
    const struct gr_scale_step *a = pa, *b = pb;

    return a->node != b->node ? (a->node < b->node ? -1 : 1) : (a->k > b->k) - (a->k < b->k);
}

static gram_status make_steps(gr_scale *c, gram_err *err)
{
    size_t all = 0;

    for (size_t k = 0; k < c->n; k++)
        all += c->text[k].n;
    c->node = gr_calloc(all, sizeof *c->node);
    c->step = gr_calloc(all, sizeof *c->step);
    if (!c->node || !c->step)
        return gr_nomem(err, "scale");
    for (size_t k = 0; k < c->n; k++)
        for (size_t t = 0; t < c->text[k].n; t++) {
            c->step[c->n_steps++] = (struct gr_scale_step){ node_of(c, k, t), k, c->text[k].p[t] };
            c->longest = gr_max(c->longest, t);
        }
    qsort(c->step, c->n_steps, sizeof *c->step, by_node);
    return GRAM_OK;
}

gram_status gr_scale_open(gr_scale **out, const gr_judge *j, const char *range, gram_err *err)
{
    gr_scale *c = gr_calloc(1, sizeof *c);
    gram_status rc = c ? gr_scale_parse(range, &c->low, &c->n, err) : gr_nomem(err, "scale");

    *out = NULL;
    if (!rc && !(c->text = gr_calloc(c->n, sizeof *c->text)))
        rc = gr_nomem(err, "scale");
    if (!rc)
        rc = find_texts(c, j, err);
    if (!rc)
        rc = make_steps(c, err);
    if (rc)
        gr_scale_close(c);
    else
        *out = c;
    return rc;
}

void gr_scale_close(gr_scale *c)
{
    if (!c)
        return;
    for (size_t k = 0; c->text && k < c->n; k++)
        gr_ids_clear(&c->text[k]);
    free(c->text);
    free(c->node);
    free(c->step);
    free(c);
}

/* ---- Reading --------------------------------------------------------------------------------------- */

/* Every node behind every prompt, as sequences. */
struct reading { gr_scorer *s; const gr_scale *c; gr_seq *seq; int32_t *token; size_t n; float *weight; double *logp; };

static gram_status make_sequences(struct reading *r, const gr_seq *const *prompt, size_t n, gram_err *err)
{
    const gr_scale *c = r->c;
    size_t tokens = 0, at = 0;

    for (size_t i = 0; i < n; i++)
        tokens += prompt[i]->n + c->longest;
    r->n = n * c->n_nodes;
    r->seq = gr_calloc(r->n, sizeof *r->seq);
    r->token = gr_calloc(tokens, c->n_nodes * sizeof *r->token);
    r->logp = gr_calloc(n * c->n, sizeof *r->logp);
    if (!r->seq || !r->token || !r->logp)
        return gr_nomem(err, "scores");
    for (size_t i = 0; i < r->n; i++) {
        const gr_seq *p = prompt[i / c->n_nodes];
        const struct gr_scale_node *node = &c->node[i % c->n_nodes];
        int32_t *to = r->token + at;
        memcpy(to, p->token, p->n * sizeof *to);
        memcpy(to + p->n, c->text[node->k].p, node->len * sizeof *to);
        r->seq[i] = (gr_seq){ to, p->n + node->len };
        at += r->seq[i].n;
    }
    return GRAM_OK;
}

/* The logits z behind node `i % nodes` of prompt `i / nodes`. */
static void add_steps(struct reading *r, size_t i, const float *z)
{
    const gr_scale *c = r->c;
    const struct gr_kern *op = gr_device_op(gr_work_device(r->s->work));
    size_t V = gr_work_config(r->s->work)->vocabulary;
    float top = op->row_top(z, V);
    double all = log(op->row_exp(r->weight, z, top, V));

    for (size_t k = 0; k < c->n_steps; k++)
        if (c->step[k].node == i % c->n_nodes)
            r->logp[i / c->n_nodes * c->n + c->step[k].k] += (double)z[c->step[k].token] - top - all;
}

static gram_status read_nodes(struct reading *r, const gr_forest *f, gram_err *err)
{
    size_t C = gr_work_config(r->s->work)->width, V = gr_work_config(r->s->work)->vocabulary;
    const float *hidden, *z;
    gram_status rc = gr_model_forward(r->s->work, f, f->leaf_row, r->n, &hidden, err);

    for (size_t i = 0; i < r->n && !rc; i += ROWS) {
        size_t rows = gr_min(ROWS, r->n - i);
        rc = gr_vocabulary_logits(r->s->head, hidden + i * C, rows, &z, err);
        for (size_t k = 0; k < rows && !rc; k++)
            add_steps(r, i + k, z + k * V);
    }
    return rc;
}

/* logp[n], of each number, to the expected one and the sum of all probabilities. */
static void expect(const gr_scale *c, const double *logp, float out[2])
{
    double top = logp[0], sum = 0, mean = 0;

    for (size_t k = 1; k < c->n; k++)
        top = fmax(top, logp[k]);
    for (size_t k = 0; k < c->n; k++) {
        double p = exp(logp[k] - top);
        sum += p;
        mean += (double)(c->low + k) * p;
    }
    out[0] = (float)(mean / sum);
    out[1] = (float)(exp(top) * sum);
}

static gram_status read_batch(void *arg, gr_scorer *s, const gr_seq *const *prompt, const gr_seq *first, size_t n,
                              gram_err *err)
{
    size_t V = gr_work_config(s->work)->vocabulary;
    struct reading r = { s, s->judge->scale, .weight = gr_alloc_aligned(V, sizeof(float)) };
    float *out = arg;
    double start = gr_now();
    gr_forest f = { 0 };
    gram_status rc = r.weight ? make_sequences(&r, prompt, n, err) : gr_nomem(err, "scores");

    if (!rc)
        rc = gr_forest_init(&f, r.seq, r.n, gr_work_config(s->work)->far.after, s->cache, GR_SAVE_SHARED, err);
    if (!rc) {
        rc = read_nodes(&r, &f, err);
        gr_scorer_count(s, prompt, n, f.rows, start);
        gr_forest_clear(&f, !rc);
    }
    for (size_t i = 0; i < n && !rc; i++)
        expect(r.c, r.logp + i * r.c->n, out + 2 * (prompt[i] - first));
    free(r.seq);
    free(r.token);
    free(r.logp);
    free(r.weight);
    return rc;
}

gram_status gr_scale_read(gr_scorer *s, const gr_seq *seq, size_t n, float *out, gram_err *err)
{
    gram_status rc = GRAM_OK;

    if (!s->head)
        rc = gr_vocabulary_open(&s->head, s->model, GR_ROWS_ALIKE, GR_HEAD_EXACT, gr_work_device(s->work), err);
    return rc ? rc : gr_score_batches(s, seq, n, s->judge->scale->n_nodes - 1, read_batch, out, err);
}
