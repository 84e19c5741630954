/* reward.c - see reward.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "serve/reward.h"

gr_rewards *gr_rewards_new(gr_req *r, size_t n)
{
    gr_rewards *w = gr_req_alloc(r, 1, sizeof *w);

    if (!w)
        return NULL;
    w->item = gr_req_alloc(r, n, sizeof *w->item);
    if (!w->item)
        return NULL;
    w->n = n;
    r->state = w;
    return w;
}

int gr_rewards_references(gr_req *r, gr_rewards *w)
{
    static const char *const names[] = { "reference", "labels", "label", NULL };
    json_t *v = gr_field(r, names);

    if (json_is_array(v) && json_array_size(v) != w->n)
        return gr_refuse(r, 422, "reference", "%zu reference answers for %zu responses", json_array_size(v), w->n);
    for (size_t i = 0; v && i < w->n; i++) {
        json_t *one = json_is_array(v) ? json_array_get(v, i) : v;
        if (!json_is_string(one) && !json_is_null(one))
            return gr_refuse(r, 422, "reference", "reference answer %zu must be a string or null", i);
        w->item[i].reference = json_string_value(one);
    }
    return 0;
}

static bool same_prompt(const gram_prompt *a, const gram_prompt *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (strcmp(a->turn[i].role, b->turn[i].role) || strcmp(a->turn[i].content, b->turn[i].content))
            return false;
    return true;
}

static void find_groups(gr_rewards *w)
{
    size_t *group = w->group;

    for (size_t i = 0; i < w->n; i++) {
        group[i] = i;
        for (size_t j = 0; j < i && group[i] == i && !w->item[i].reference; j++)
            if (group[j] == j && !w->item[j].reference && same_prompt(&w->item[i].prompt, &w->item[j].prompt))
                group[i] = j;
    }
}

gram_reward gr_head_read(gr_req *r, const gram_verdict *v)
{
    gram_reward out = v->reward[0];

    out.tokens = v->tokens / 2;
    out.truncated = v->truncated;
    r->tokens -= v->tokens - out.tokens;
    return out;
}

/* The rewards of the group that begins with item `first`, each less lambda u. */
static int read_heads(gr_req *r, gr_rewards *w, size_t first)
{
    size_t n = 0;
    gram_reward *reward;
    double *score, *u;
    gram_err err;

    for (size_t i = first; i < w->n; i++)
        n += w->group[i] == first;
    reward = gr_req_alloc(r, n, sizeof *reward);
    score = gr_req_alloc(r, n, sizeof *score);
    u = gr_req_alloc(r, n, sizeof *u);
    if (!reward || !score || !u)
        return r->status;
    for (size_t i = first, k = 0; i < w->n; i++)
        if (w->group[i] == first)
            reward[k++] = w->item[i].head;
    if (gram_reward_scores(reward, n, r->engine->options.lambda, r->engine->spread, score, u, &err))
        return gr_refuse_err(r, &err);
    for (size_t i = first, k = 0; i < w->n; i++)
        if (w->group[i] == first) {
            gr_item *it = &w->item[i];
            it->margin = score[k];
            it->overlap = r->engine->spread ? u[k] : NAN;
            it->reward = 1 / (1 + exp(-it->margin));
            k++;
        }
    return 0;
}

static int read_verdicts(gr_req *r)
{
    gr_rewards *w = r->state;

    for (size_t k = 0; k < r->job.n; k++) {
        const gram_verdict *v = &r->job.verdict[k];
        size_t side[2] = { w->who[k].i, w->who[k].j };
        if (side[0] == side[1]) {
            gr_item *it = &w->item[side[0]];
            it->head = gr_head_read(r, v);
            it->comparisons = 1;
            it->tokens = it->head.tokens;
            it->truncated = it->head.truncated;
            continue;
        }
        for (int s = 0; s < 2 && side[s] < w->n; s++) {
            gr_item *it = &w->item[side[s]];
            it->reward += s ? 1 - v->preference : v->preference;
            it->margin += s ? -v->logit_margin : v->logit_margin;
            it->comparisons++;
            it->flips += v->p_swapped == v->p_swapped && !v->consistent;
            it->tokens += v->tokens;
            it->truncated |= v->truncated;
        }
    }
    for (size_t i = 0; i < w->n; i++) {
        w->item[i].reward /= (double)w->item[i].comparisons;
        w->item[i].margin /= (double)w->item[i].comparisons;
    }
    for (size_t i = 0; i < w->n; i++) {
        int rc = w->item[i].by_head && w->group[i] == i ? read_heads(r, w, i) : 0;
        if (rc)
            return rc;
    }
    return 0;
}

/* Writes the comparisons, or only counts them where pair is NULL. */
static size_t list_pairs(const gr_rewards *w, gram_pair *pair)
{
    size_t k = 0;

    for (size_t i = 0; i < w->n; i++) {
        const gr_item *a = &w->item[i];
        if (a->reference || a->by_head) {
            if (pair) {
                pair[k] = (gram_pair){ a->prompt, a->response, a->by_head ? a->response : a->reference };
                w->who[k].i = i;
                w->who[k].j = a->by_head ? i : w->n;
            }
            k++;
        }
        for (size_t j = i + 1; j < w->n && !a->reference && !a->by_head; j++) {
            if (w->group[j] != w->group[i] || w->item[j].reference)
                continue;
            if (pair) {
                pair[k] = (gram_pair){ a->prompt, a->response, w->item[j].response };
                w->who[k].i = i;
                w->who[k].j = j;
            }
            k++;
        }
    }
    return k;
}

static bool is_alone(const gr_rewards *w, size_t i)
{
    for (size_t j = 0; j < w->n; j++)
        if (j != i && w->group[j] == w->group[i])
            return false;
    return !w->item[i].reference;
}

int gr_rewards_ask(gr_req *r, gr_rewards *w, gr_req_fn *finish)
{
    size_t n;
    gram_pair *pair;

    w->group = gr_req_alloc(r, w->n, sizeof *w->group);
    if (!w->group)
        return r->status;
    for (size_t i = 0; i < w->n; i++)
        if (!w->item[i].reference && !w->group_only)
            w->item[i].reference = r->opt->reference;
    find_groups(w);
    for (size_t i = 0; i < w->n; i++) {
        w->item[i].by_head = r->engine->rewards && !w->item[i].reference && !w->group_only;
        if (!w->item[i].by_head && is_alone(w, i))
            return gr_refuse(r, 422, "reference", "response %zu has nothing to be compared with: give a reference "
                             "answer, or two or more responses to the same prompt, or start the server with "
                             "--reference", i);
    }
    n = list_pairs(w, NULL);
    if (n > r->opt->max_pairs)
        return gr_refuse(r, 413, NULL, "the request needs %zu comparisons; this server makes %zu for one request "
                         "(a reference answer would need one for each response)", n, r->opt->max_pairs);
    pair = gr_req_alloc(r, n, sizeof *pair);
    w->who = gr_req_alloc(r, n, sizeof *w->who);
    if (!pair || !w->who)
        return r->status;
    list_pairs(w, pair);
    r->read = read_verdicts;
    return gr_ask(r, pair, n, finish);
}

double gr_item_value(const gr_rewards *w, size_t i)
{
    return w->raw ? w->item[i].margin : w->item[i].reward;
}

double gr_item_trainer(const gr_item *it)
{
    return it->by_head ? it->margin : it->reward;
}

static int better(const void *a, const void *b, void *arg)
{
    const gr_rewards *w = arg;
    size_t i = *(const size_t *)a, j = *(const size_t *)b;
    double x = w->item[i].reward, y = w->item[j].reward;

    if (x == y) {                           /* s() rounds large rewards to 1 */
        x = w->item[i].margin;
        y = w->item[j].margin;
    }
    return x != y ? (x < y ? 1 : -1) : (i > j) - (i < j);
}

size_t *gr_rewards_order(gr_req *r, gr_rewards *w)
{
    size_t *order = gr_req_alloc(r, w->n, sizeof *order);

    if (!order)
        return NULL;
    for (size_t i = 0; i < w->n; i++)
        order[i] = i;
    qsort_r(order, w->n, sizeof *order, better, w);
    return order;
}
