/* reward.c - see reward.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "serve/groups.h"
#include "serve/serve_int.h"

gr_rewards *gr_rewards_new(gr_req *r, const char *field, bool list, size_t n)
{
    return gr_refuse_unread(r, GR_READS_FOREIGN) ? NULL : gr_rewards_room(r, field, list, n);
}

gr_rewards *gr_rewards_room(gr_req *r, const char *field, bool list, size_t n)
{
    gr_rewards *w = gr_req_alloc(r, 1, sizeof *w);

    if (!w)
        return NULL;
    w->item = gr_req_alloc(r, n, sizeof *w->item);
    if (!w->item)
        return NULL;
    w->n = n;
    w->field = field;
    w->list = list;
    r->state = w;
    return w;
}

/* ---- Faults ---- */

const char *gr_item_name(gr_req *r, const gr_rewards *w, size_t i)
{
    return w->list ? gr_at(r, w->field, i) : w->field;
}

int gr_item_read(gr_req *r, gr_item *it, int rc)
{
    if (rc != 422)
        return rc;
    it->why = gr_req_strndup(r, r->why, strlen(r->why));
    if (!it->why)
        return r->status;
    r->status = 0;
    r->why[0] = r->param[0] = '\0';
    return 0;
}

/* Item i cannot be judged for a reason that does not name it yet. */
static int set_fault(gr_req *r, gr_rewards *w, size_t i, const char *why)
{
    if (w->item[i].why)
        return 0;
    return gr_item_read(r, &w->item[i], gr_refuse(r, 422, NULL, "%s: %s", gr_item_name(r, w, i), why));
}

/* Refuses for all items at fault, where the endpoint has no place for them or no other item is left. */
static int refuse_faults(gr_req *r, gr_rewards *w)
{
    size_t n = 0;

    for (size_t i = 0; i < w->n; i++)
        n += w->item[i].why != NULL;
    if (n == 0 || (w->partial && n < w->n))
        return 0;
    for (size_t i = 0; i < w->n; i++)
        if (w->item[i].why)
            gr_fault_add(r, w->field, i, gr_item_name(r, w, i), w->item[i].why);
    return r->status;
}

/* ---- What is asked ---- */

static int add_text(gr_req *r, gr_rewards *w, size_t i, gram_text text)
{
    gram_text *t = gr_req_alloc(r, 1, sizeof *t);

    if (!t)
        return r->status;
    if (r->opt->strict_text && text.answer == 0)
        return gr_refuse(r, 422, gr_item_name(r, w, i), "%s is one text, in which an answer that holds the marks of a "
                         "turn cannot be told from turns; this server takes only what comes apart: messages, or a "
                         "prompt and its response", gr_item_name(r, w, i));
    *t = text;
    w->item[i].text = t;
    return 0;
}

int gr_item_text(gr_req *r, gr_rewards *w, size_t i, const char *text, size_t bytes, size_t answer, size_t answer_end)
{
    return add_text(r, w, i, (gram_text){ .text = text, .bytes = bytes, .answer = answer, .answer_end = answer_end });
}

int gr_item_ids(gr_req *r, gr_rewards *w, size_t i, const char *text, size_t bytes, const int32_t *id, size_t n)
{
    return add_text(r, w, i, (gram_text){ .text = text, .bytes = text ? bytes : 0, .id = id, .n_ids = n });
}

int gr_item_conversation(gr_req *r, gr_rewards *w, size_t i, json_t *v)
{
    gr_item *it = &w->item[i];
    gr_talk talk = { 0 };
    int rc;

    if (json_is_string(v))
        return gr_item_text(r, w, i, json_string_value(v), json_string_length(v), 0, 0);
    rc = gr_item_read(r, it, gr_read_conversation(r, v, gr_item_name(r, w, i), &talk));
    it->prompt = talk.prompt;
    it->response = talk.answer;
    it->extra = talk.extra;
    return rc;
}

/* The messages that a text was made of. */
static int split_text(gr_req *r, gr_rewards *w, size_t i)
{
    gr_item *it = &w->item[i];
    gram_message *found, *turn;
    size_t n;
    gr_talk talk = { 0 };
    gram_err err;
    int rc;

    if (!it->text->text)
        return gr_item_read(r, it, gr_refuse(r, 422, gr_item_name(r, w, i), "%s: these tokens are no text",
                                             gr_item_name(r, w, i)));
    if (r->engine->read_chat(r->engine, it->text->text, it->text->bytes, &found, &n, &err)) {
        rc = gr_refuse_err(r, &err);
        if (rc == 501)
            r->status = rc = 422;
        if (rc == 422)
            rc = gr_refuse(r, 422, gr_item_name(r, w, i), "%s: %s", gr_item_name(r, w, i), err.text);
        return gr_item_read(r, it, rc);
    }
    turn = gr_keep_turns(r, found, n);
    rc = turn ? 0 : r->status;
    if (!rc)
        rc = gr_item_read(r, it, gr_split_turns(r, turn, n, gr_item_name(r, w, i), &talk));
    it->prompt = talk.prompt;
    it->response = talk.answer;
    return rc;
}

int gr_rewards_references(gr_req *r, gr_rewards *w)
{
    static const char *const names[] = { "reference", "labels", "label", NULL };
    int rc = gr_check_all_names(r, names);

    return rc ? rc : gr_rewards_measured_by(r, w, gr_field(r, names));
}

int gr_rewards_measured_by(gr_req *r, gr_rewards *w, json_t *v)
{
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

int gr_rewards_raw(gr_req *r, gr_rewards *w)
{
    static const struct { const char *name; bool raw; } says[] = {
        { "use_activation", false }, { "activation", false }, { "softmax", false }, { "raw_scores", true },
    };
    const char *before = NULL;

    for (size_t i = 0; i < GR_COUNT(says); i++) {
        json_t *v = gr_field(r, (const char *[]){ says[i].name, NULL });
        bool raw = json_is_true(v) == says[i].raw;
        if (!v)
            continue;
        if (!json_is_boolean(v))
            return gr_refuse(r, 422, says[i].name, "%s must be true or false", says[i].name);
        if (before && raw != w->raw)
            return gr_refuse(r, 422, says[i].name, "%s and %s ask for different scores", before, says[i].name);
        w->raw = raw;
        before = says[i].name;
    }
    return 0;
}

/* Where each item's number comes from: of one kind for all. */
static int choose_scale(gr_req *r, gr_rewards *w)
{
    size_t with = 0;

    for (size_t i = 0; i < w->n; i++) {
        gr_item *it = &w->item[i];
        if (!it->reference && !w->group_only)
            it->reference = r->opt->reference;
        it->by_head = r->engine->rewards && !it->reference && !w->group_only && !w->reasons;
        with += it->reference != NULL;
    }
    if (with > 0 && with < w->n)
        return gr_refuse(r, 422, "reference", "%zu of %zu responses have a reference answer: rewards over a reference "
                         "are of another scale than those without, so give one for each, or none", with, w->n);
    return 0;
}

/* A head reads a text as it is; all others want its parts, as a judge of one answer does, and so does PURM's, to know
 * whose overlap counts. */
static int split_texts(gr_req *r, gr_rewards *w)
{
    int rc = 0;

    for (size_t i = 0; i < w->n && !rc; i++) {
        gr_item *it = &w->item[i];
        bool head = it->by_head && !r->engine->options.pointwise, group = head && r->engine->spread && w->n > 1;
        if (!it->text || it->why || (head && !group))
            continue;
        rc = split_text(r, w, i);
        if (head)
            it->why = NULL;                 /* alone, then */
        else
            it->text = NULL;
    }
    return rc;
}

static int fault_lonely(gr_req *r, gr_rewards *w)
{
    int rc = 0;

    for (size_t i = 0; i < w->n && !rc; i++) {
        const gr_item *it = &w->item[i];
        if (!it->by_head && !it->reference && !it->why && w->group[i] == i && w->next[i] == w->n)
            rc = set_fault(r, w, i, "there is nothing to compare it with: give a reference answer, or two or more "
                           "responses to the same prompt that can be read");
    }
    return rc;
}

/* Writes the comparisons, or only counts them where pair is NULL. */
static size_t list_pairs(const gr_rewards *w, gram_pair *pair, const gram_text **text)
{
    size_t k = 0;

    for (size_t i = 0; i < w->n; i++) {
        const gr_item *a = &w->item[i];
        if (a->why)
            continue;
        if (a->reference || a->by_head) {
            if (pair) {
                bool self = a->by_head;
                text[k] = a->text;
                pair[k] = (gram_pair){ .prompt = a->prompt, .a = a->response, .b = self ? a->response : a->reference,
                                       .extra_a = a->extra, .extra_b = self ? a->extra : NULL };
                w->who[k].i = i;
                w->who[k].j = self ? i : w->n;
            }
            k++;
            continue;
        }
        for (size_t j = w->next[i]; j < w->n; j = w->next[j]) {
            const gr_item *b = &w->item[j];
            if (pair) {
                pair[k] = (gram_pair){ .prompt = a->prompt, .a = a->response, .b = b->response, .extra_a = a->extra,
                                       .extra_b = b->extra };
                pair[k].turned = gram_pair_draw(&pair[k]);
                w->who[k].i = i;
                w->who[k].j = j;
            }
            k++;
        }
    }
    return k;
}

/* ---- What was answered ---- */

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
    size_t n = 0, k = 0;
    gram_reward *reward;
    double *score, *u;
    gram_err err;

    for (size_t i = first; i < w->n; i = w->next[i])
        n += !w->item[i].why;
    if (n == 0)
        return 0;
    reward = gr_req_alloc(r, n, sizeof *reward);
    score = gr_req_alloc(r, n, sizeof *score);
    u = gr_req_alloc(r, n, sizeof *u);
    if (!reward || !score || !u)
        return r->status;
    for (size_t i = first; i < w->n; i = w->next[i])
        if (!w->item[i].why)
            reward[k++] = w->item[i].head;
    if (gram_reward_scores(reward, n, r->engine->options.lambda, r->engine->spread, score, u, &err))
        return gr_refuse_err(r, &err);
    k = 0;
    for (size_t i = first; i < w->n; i = w->next[i])
        if (!w->item[i].why) {
            gr_item *it = &w->item[i];
            it->margin = score[k];
            it->overlap = r->engine->spread ? u[k] : NAN;
            it->reward = 1 / (1 + exp(-it->margin));
            k++;
        }
    return 0;
}

static size_t answer_bytes(const gr_item *it)
{
    return strlen(it->response) + (it->extra ? strlen(it->extra) : 0);
}

/* Who is to blame for a comparison that failed: of two responses the longer one, unless it is out already. */
static int read_faults(gr_req *r, gr_rewards *w)
{
    int rc = 0;

    for (size_t k = 0; k < r->job.n && !rc; k++) {
        size_t i = w->who[k].i, j = w->who[k].j;
        const char *why = r->job.fault[k];
        if (!why)
            continue;
        if (j == i || j == w->n)
            rc = set_fault(r, w, i, why);
        else if (!w->item[i].why && !w->item[j].why)
            rc = set_fault(r, w, answer_bytes(&w->item[j]) >= answer_bytes(&w->item[i]) ? j : i, why);
    }
    return rc;
}

/* Adds comparison k to its sides, where both got a number. */
static void count(const gr_req *r, gr_rewards *w, size_t k)
{
    const gram_verdict *v = &r->job.verdict[k];
    size_t side[2] = { w->who[k].i, w->who[k].j };

    for (int s = 0; s < 2; s++)
        if (side[s] < w->n && w->item[side[s]].why)
            return;
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

/* Equal responses of a group have equal numbers, whichever way round each was compared. */
static void join_equal(gr_rewards *w)
{
    for (size_t i = 0; i < w->n; i++) {
        const gr_item *a = &w->item[i];
        for (size_t j = a->why || a->by_head ? w->n : w->next[i]; j < w->n; j = w->next[j]) {
            gr_item *b = &w->item[j];
            if (b->why || strcmp(a->response, b->response)
                || (a->extra != b->extra && (!a->extra || !b->extra || strcmp(a->extra, b->extra))))
                continue;
            b->reward = a->reward;
            b->margin = a->margin;
        }
    }
}

static int read_verdicts(gr_req *r)
{
    gr_rewards *w = r->state;
    int rc = read_faults(r, w);

    for (size_t k = 0; k < r->job.n && !rc; k++) {
        gr_item *it = &w->item[w->who[k].i];
        if (w->who[k].i != w->who[k].j) {
            count(r, w, k);
        } else if (!it->why) {
            it->head = gr_head_read(r, &r->job.verdict[k]);
            it->comparisons = 1;
            it->tokens = it->head.tokens;
            it->truncated = it->head.truncated;
        }
    }
    for (size_t i = 0; i < w->n && !rc; i++) {
        gr_item *it = &w->item[i];
        if (it->comparisons > 0) {
            it->reward /= (double)it->comparisons;
            it->margin /= (double)it->comparisons;
        } else
            rc = set_fault(r, w, i, "none of the other responses to its prompt can be read, so there is nothing to "
                           "compare it with");
    }
    join_equal(w);
    for (size_t i = 0; i < w->n && !rc; i++)
        rc = w->item[i].by_head && w->group[i] == i ? read_heads(r, w, i) : 0;
    return rc ? rc : refuse_faults(r, w);
}

/* ---- Asking ---- */

/* The worker's, when all verdicts are there: a stream is answered by itself, and no more is compared. */
static gram_status read_stream(gr_req *r, gram_err *err)
{
    const gr_rewards *w = r->state;

    if (!w->reasons->stream)
        return GRAM_OK;
    r->read = NULL;
    if (!read_verdicts(r))
        return GRAM_OK;
    return r->status == 422 ? gr_fail(err, GRAM_EARG, "%s", r->why) : gr_nomem(err, "rewards");
}

static int ask_reasons(gr_req *r, gr_rewards *w, const gram_pair *pair, size_t n, gr_req_fn *finish)
{
    size_t (*called)[2] = gr_req_alloc(r, n, sizeof *called);

    if (!called)
        return r->status;
    for (size_t k = 0; k < n; k++) {
        called[k][0] = w->who[k].i;
        called[k][1] = w->who[k].j < w->n ? w->who[k].j : SIZE_MAX;
    }
    w->reasons->pair = pair;
    w->reasons->n = n;
    w->reasons->called = (const size_t (*)[2])called;
    w->reasons->more = read_stream;
    return gr_rationales_ask(r, w->reasons, finish);
}

int gr_rewards_ask(gr_req *r, gr_rewards *w, gr_req_fn *finish)
{
    size_t n;
    gram_pair *pair;
    const gram_text **text;
    int rc = choose_scale(r, w);

    if (!rc)
        rc = split_texts(r, w);
    if (!rc)
        rc = gr_find_groups(r, w, r->s->id_base);
    if (!rc)
        rc = fault_lonely(r, w);
    if (!rc)
        rc = refuse_faults(r, w);
    if (rc)
        return rc;
    n = list_pairs(w, NULL, NULL);
    if (n > r->opt->max_pairs)
        return gr_refuse(r, 413, NULL, "the request needs %zu comparisons; this server makes %zu for one request "
                         "(a reference answer would need one for each response)", n, r->opt->max_pairs);
    pair = gr_req_alloc(r, n, sizeof *pair);
    text = gr_req_alloc(r, n, sizeof *text);
    w->who = gr_req_alloc(r, n, sizeof *w->who);
    if (!pair || !text || !w->who)
        return r->status;
    list_pairs(w, pair, text);
    r->read = read_verdicts;
    return w->reasons ? ask_reasons(r, w, pair, n, finish) : gr_ask(r, pair, text, n, finish);
}

const char *gr_rewards_scale(const gr_rewards *w)
{
    size_t i = 0;

    while (i + 1 < w->n && w->item[i].why)
        i++;
    return w->item[i].by_head ? "head" : w->item[i].reference ? "reference" : "group";
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
