/* prove.c - see prove.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/digest.h"
#include "base/err.h"
#include "base/random.h"
#include "rationale/prove.h"
#include "text/utf8.h"

void gram_prove_options_init(gram_prove_options *o)
{
    *o = (gram_prove_options){ .k = 4, .max_tokens = 256, .temperature = 1, .top_p = 1, .least = -1 };
}

void gram_proved_clear(gram_proved *v)
{
    for (size_t i = 0; i < v->n; i++)
        free(v->proof[i].text);
    free(v->proof);
    free(v->rationale);
    *v = (gram_proved){ 0 };
}

gram_status gr_prove_alone(const gr_reason_words *w, gr_ids *out, gram_err *err)
{
    static const gram_message ask = { "user", "Compare two responses to a question: say what is good and bad about "
                                      "each, which one is better, and why.", NULL };
    gr_chat_text t = { 0 };
    gram_status rc = gr_chat_render(&w->judge.chat, &ask, 1, NULL, &t, err);

    if (!rc)
        rc = gr_chat_encode(w->judge.tok, &t, out, err);
    gr_chat_text_clear(&t);
    return rc;
}

/* A pair on its way: the prompts of both orders, each told its label. */
struct proving { gr_ids prompt[2]; };

struct asked { const gr_prover *p; gram_proof *to; gr_ids ids; size_t index; };
struct writing { struct asked *asked; size_t n, bad; };

/* What keeps a proof from becoming a rationale, in words; NULL: nothing. *closed gets it with a conclusion. */
static gram_status settle_text(const gr_reason_words *w, gram_proof *v, gr_finish finish, gram_err *err)
{
    const char *const label[2] = { w->label[0], w->label[1] };
    gr_str text = { v->text, strlen(v->text) };
    int named = gr_conclusion(label, text), right = v->swapped;
    gr_buf b = { 0 };

    if (finish == GR_LENGTH)
        v->flaw = "cut";
    else if (!text.n)
        v->flaw = "empty";
    else if (named >= 0 && named != right)
        v->flaw = "concludes for the other answer";
    else if (!gr_names_answer(label, text, 0) && !gr_names_answer(label, text, 1))
        v->flaw = "names neither answer";
    if (v->flaw || named >= 0)
        return GRAM_OK;
    if (!gr_buf_printf(&b, "%s\n\nConclusion:\nResponse %s is better.", v->text, label[right])) {
        gr_buf_clear(&b);
        return gr_nomem(err, "a proof");
    }
    free(v->text);
    v->text = b.p;
    return GRAM_OK;
}

static gram_status take(void *arg, gr_text *t, gram_err *err)
{
    struct writing *w = arg;
    struct asked *a = t->ask.arg;
    gr_buf clean = { 0 };
    gr_str body;

    if (t->finish == GR_BROKEN) {
        w->bad = a->index;
        return gr_fail(err, t->why.status ? t->why.status : GRAM_EFORMAT, "%s", t->why.text);
    }
    for (size_t i = 0; i < t->n_answer; i++)
        a->to->ll_given += t->raw[i];
    a->to->tokens = t->n_answer;
    if (!gr_utf8_add(&clean, t->text.p, t->text.n) ||
        !gr_ids_add(&a->ids, a->p->alone.p, a->p->alone.n) ||
        !gr_ids_add(&a->ids, t->ids.p + t->ask.prompt.n, t->n_answer)) {
        gr_buf_clear(&clean);
        return gr_nomem(err, "a proof");
    }
    body = gr_format_trim((gr_str){ clean.p, clean.n });
    a->to->text = gr_strndup(body.n ? body.p : "", body.n);
    gr_buf_clear(&clean);
    return a->to->text ? settle_text(a->p->words[a->to->swapped], a->to, t->finish, err) : gr_nomem(err, "a proof");
}

static gram_status write_all(const gr_prover *p, const struct proving *pair, struct writing *w, gram_err *err)
{
    const gr_sampling sampling = { .temperature = p->opt.temperature, .top_p = p->opt.top_p, .repetition = 1 };
    gr_ask *ask = gr_calloc(w->n, sizeof *ask);
    gram_status rc;

    if (!ask)
        return gr_nomem(err, "proofs");
    for (size_t i = 0; i < w->n; i++) {
        const struct asked *a = &w->asked[i];
        const gr_ids *ids = &pair[a->index].prompt[a->to->swapped];
        ask[i] = (gr_ask){ .prompt = { ids->p, ids->n }, .sampling = &sampling, .stops = &p->stops,
                           .max_new = p->opt.max_tokens, .seed = a->to->seed, .arg = &w->asked[i] };
    }
    rc = p->write(p->arg, ask, w->n, take, w, err);
    free(ask);
    return rc;
}

static gram_status rate(const gr_prover *p, struct writing *w, gram_err *err)
{
    gram_status rc = GRAM_OK;

    for (size_t i = 0; i < w->n && !rc; i++) {
        struct asked *a = &w->asked[i];
        rc = p->force(p->arg, &(gr_seq){ a->ids.p, a->ids.n }, p->alone.n, &a->to->ll_alone, err);
        a->to->score = a->to->ll_alone < 0 ? -a->to->ll_given / a->to->ll_alone : NAN;
        if (isnan(a->to->score) && !a->to->flaw)
            a->to->flaw = "empty";
        if (rc)
            w->bad = a->index;
    }
    return rc;
}

/* The best proof without a flaw, and its text with the answers named by their places, a's the first. */
static gram_status choose(const gr_prover *p, gram_proved *v, gram_err *err)
{
    static const char *const plain[] = { "A", "B" };
    const char *const label[] = { p->words[0]->label[0], p->words[0]->label[1] };
    gr_buf any = { 0 };
    size_t named[2];
    bool seated;
    gram_status rc = GRAM_OK;

    v->best = v->n;
    for (size_t i = 0; i < v->n; i++)
        if (!v->proof[i].flaw && (v->best == v->n || v->proof[i].score > v->proof[v->best].score))
            v->best = i;
    if (v->best == v->n) {
        v->dropped = "every proof has a flaw";
        return GRAM_OK;
    }
    if (v->proof[v->best].score < p->opt.least) {
        v->dropped = "the best score is too low";
        v->best = v->n;
        return GRAM_OK;
    }
    rc = gr_reason_unseat((gr_str){ v->proof[v->best].text, strlen(v->proof[v->best].text) }, label, &any, named,
                          &seated, err);
    if (!rc && v->proof[v->best].swapped) {         /* its first answer is b */
        static const char *const turned[] = { "B", "A" };
        gr_buf seats = { 0 }, back = { 0 };
        rc = gr_reason_seat((gr_str){ any.p, any.n }, turned, 0, &seats, err);
        if (!rc)
            rc = gr_reason_unseat((gr_str){ seats.p, seats.n }, plain, &back, named, &seated, err);
        gr_buf_clear(&seats);
        gr_buf_clear(&any);
        any = back;
    }
    if (rc)
        gr_buf_clear(&any);
    v->rationale = any.p;
    return rc;
}

static gram_status begin(const gr_prover *p, const gram_pair *pair, struct proving *out, gram_proved *v, gram_err *err)
{
    gram_status rc = GRAM_OK;

    for (int k = 0; k < 2 && !rc; k++) {
        gr_reason_prompts text;
        rc = gr_reason_prompt(p->words[k], pair, true, &text, err);
        v->truncated = !rc && (v->truncated || text.truncated);
        if (!rc && text.dropped)
            v->dropped = GR_TOO_LONG;
        else if (!rc)
            rc = gr_reason_text_ids(p->words[k], &text.order[k], &out->prompt[k], err);
        if (!rc)
            gr_reason_prompts_clear(&text);
    }
    if (!rc && !v->dropped && !strcmp(pair->a, pair->b))
        v->dropped = "both answers are one text";
    v->proof = rc ? NULL : gr_calloc(p->opt.k, sizeof *v->proof);
    return rc || v->proof ? rc : gr_nomem(err, "proofs");
}

gram_status gr_prove_check(const gr_prover *p, const gram_pair *pair, gram_err *err)
{
    struct proving at = { 0 };
    gram_proved v = { 0 };
    gram_status rc = begin(p, pair, &at, &v, err);

    for (int k = 0; k < 2; k++)
        gr_ids_clear(&at.prompt[k]);
    gram_proved_clear(&v);
    return rc;
}

/* k proofs of each pair that is not dropped, those of one order next to each other. */
static gram_status ask_all(const gr_prover *p, const struct proving *pair, size_t n, gram_proved *out,
                           struct writing *w, gram_err *err)
{
    w->asked = gr_calloc(n * p->opt.k, sizeof *w->asked);
    w->bad = n;
    if (!w->asked)
        return gr_nomem(err, "proofs");
    for (size_t i = 0; i < n; i++) {
        if (out[i].dropped)
            continue;
        out[i].n = p->opt.k;
        for (size_t k = 0; k < 2; k++) {
            const gr_ids *ids = &pair[i].prompt[k];
            uint64_t seed = gr_random_at(p->opt.seed, gr_digest(GR_DIGEST, ids->p, ids->n * sizeof *ids->p));
            for (size_t j = k; j < p->opt.k; j += 2) {
                out[i].proof[j].swapped = k == 1;
                out[i].proof[j].seed = gr_random_at(seed, j);
                w->asked[w->n++] = (struct asked){ p, &out[i].proof[j], { 0 }, i };
            }
        }
    }
    return GRAM_OK;
}

gram_status gr_prove_pairs(const gr_prover *p, const gram_pair *pair, size_t n, gram_proved *out, size_t *bad,
                           gram_err *err)
{
    struct proving *at = gr_calloc(n, sizeof *at);
    struct writing w = { .bad = n };
    gram_status rc = at ? GRAM_OK : gr_nomem(err, "proofs");

    memset(out, 0, n * sizeof *out);
    for (size_t i = 0; i < n && !rc; i++) {
        rc = begin(p, &pair[i], &at[i], &out[i], err);
        w.bad = rc ? i : n;
    }
    if (!rc)
        rc = ask_all(p, at, n, out, &w, err);
    if (!rc && w.n)
        rc = write_all(p, at, &w, err);
    if (!rc)
        rc = rate(p, &w, err);
    for (size_t i = 0; i < n && !rc; i++)
        if (!out[i].dropped)
            rc = choose(p, &out[i], err);
    *bad = w.bad;
    for (size_t i = 0; i < w.n; i++)
        gr_ids_clear(&w.asked[i].ids);
    free(w.asked);
    for (size_t i = 0; i < n; i++) {
        for (int k = 0; at && k < 2; k++)
            gr_ids_clear(&at[i].prompt[k]);
        if (rc)
            gram_proved_clear(&out[i]);
    }
    free(at);
    return rc;
}
