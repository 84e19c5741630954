/* rationale.c - the model as a judge that writes: gram_reasoner over src/rationale. */
#include <stdlib.h>
#include <string.h>
#include "api/reason_int.h"
#include "base/err.h"
#include "reward/rank.h"

static gram_status check_numbers(const gram_rationale_options *o, gram_err *err)
{
    const gr_sampling s = { .temperature = o->temperature, .top_k = o->top_k, .top_p = o->top_p, .min_p = o->min_p,
                            .repetition = 1 };

    if (o->votes == 0 || o->votes > GRAM_VOTES_MOST)
        return gr_fail(err, GRAM_EARG, "votes: wanted 1 to %d, found %zu", GRAM_VOTES_MOST, o->votes);
    if (o->max_tokens == 0)
        return gr_fail(err, GRAM_EARG, "max_tokens: wanted 1 or more tokens of a rationale, found 0");
    if (!(o->sure >= 0.5 && o->sure <= 1))
        return gr_fail(err, GRAM_EARG, "sure: wanted a probability from 0.5 to 1, found %g", o->sure);
    if ((unsigned)o->products > GRAM_PRODUCTS_TILES)
        return gr_fail(err, GRAM_EARG, "products: %d is none of gram_products", (int)o->products);
    if (o->early > o->votes)
        return gr_fail(err, GRAM_EARG, "early: %zu is more than votes, %zu", o->early, o->votes);
    if ((o->temperature == 0 || o->top_k == 1) && o->votes > (o->single_order ? 1 : 2))
        return gr_fail(err, GRAM_EARG, "votes: with temperature 0 or top_k 1 all rationales of an order are the same, "
                       "and %zu would count it several times: wanted at most %d", o->votes, o->single_order ? 1 : 2);
    return gr_sampling_check(&s, err);
}

gram_status gram_rationale_options_check(const gram_rationale_options *o, gram_err *err)
{
    gr_format f = { 0 };
    gram_status rc = check_numbers(o, err);

    if (!rc && o->prompt)
        rc = gram_check_judge_prompt(o->prompt, err);
    if (!rc)
        rc = gr_format_init(&f, o->format, err);
    gr_format_clear(&f);
    return rc;
}

/* ---- The model's two halves ----------------------------------------------------------------------- */

struct writing { gram_reasoner *r; gr_write_fn *fn; void *arg; size_t left; };

static gram_status take(void *arg, gr_text *t, gram_err *err)
{
    struct writing *w = arg;
    gram_status rc;

    w->r->m->scorer.usage.tokens++;                 /* the model's lock is held */
    if (t->finish == GR_WRITING)
        return GRAM_OK;
    rc = w->fn(w->arg, t, err);
    gr_write_end(w->r->engine, t);
    w->left--;
    return rc;
}

void gr_api_reason_close_engine(gram_reasoner *r)
{
    gr_write_close(r->engine);
    gr_kv_close(r->kv);
    r->engine = NULL;
    r->kv = NULL;
}

gram_status gr_api_reason_write(void *arg, const gr_ask *ask, size_t n, gr_write_fn *fn, void *fn_arg, gram_err *err)
{
    gram_reasoner *r = arg;
    struct writing w = { r, fn, fn_arg, n };
    size_t next = 0;
    bool more = true;
    gram_status rc = GRAM_OK;

    if (!r->engine) {
        pthread_mutex_lock(&r->m->lock);
        rc = gr_api_write_engine(r->m, &(gr_api_engine){ r->reason.opt.products, 0, r->m->scorer.batch_tokens },
                                 &r->engine, &r->kv, err);
        pthread_mutex_unlock(&r->m->lock);
    }
    while (!rc && w.left) {
        gr_text *t;
        while (!rc && next < n && gr_write_waiting(r->engine) < GR_API_LIVE)
            rc = gr_write_add(r->engine, &ask[next++], &t, err);
        if (rc)
            break;
        pthread_mutex_lock(&r->m->lock);
        rc = gr_write_step(r->engine, take, &w, &more, err);
        pthread_mutex_unlock(&r->m->lock);
    }
    if (rc)
        gr_api_reason_close_engine(r);                            /* and the texts that are in it */
    return rc;
}

static gram_status read_labels(void *arg, const gr_seq *seq, size_t n, const int32_t label[2], float *logit,
                               gram_err *err)
{
    gram_reasoner *r = arg;
    gram_status rc;

    gr_api_begin_scoring(r->m);
    rc = gr_score_sequences(&r->m->scorer, seq, n, label, 2, logit, err);
    gr_api_end_scoring(r->m);
    return rc;
}

/* ---- Opening -------------------------------------------------------------------------------------- */

/* A prover's words: the prompt names the better answer, and no tag is written. */
static gram_status make_prover(gr_format *f, const char *prompt, const char *label, gram_err *err)
{
    char *opening = gr_strdup("");
    gram_status rc = opening ? GRAM_OK : gr_nomem(err, "rationale format");

    free(f->opening);
    f->opening = opening;
    if (!rc) {
        free(f->prompt);
        rc = gr_format_prove_prompt(prompt, label, &f->prompt, err);
    }
    return rc;
}

const char *gr_api_format(const gram_model *m, const char *asked)
{
    return asked ? asked : m->file.card.reads.format;
}

gram_status gr_api_reason_words(gr_reason_words *w, const gram_model *m, const char *format, const char *prompt,
                                int prove, size_t room, gram_err *err)
{
    const gram_options chosen = { .chat_template = m->template, .chat_args = m->template_args };
    const char *const labels[2] = { m->judge.label_text[0], m->judge.label_text[1] };
    gr_format f;
    gr_chat chat;
    gram_status rc = gr_format_init(&f, gr_api_format(m, format), err);

    if (!prompt && !m->judge.own)
        prompt = m->judge.prompt;
    if (!rc && prove < 0 && f.asks && prompt && strcmp(f.prompt, prompt))
        rc = gr_fail(err, GRAM_EARG, "the rationale format has a \"prompt\", and the model was given another judge "
                     "prompt: one of them must go");
    if (!rc && prove >= 0)
        rc = make_prover(&f, prompt, f.label[prove] ? f.label[prove] : labels[prove], err);
    if (!rc)
        rc = gr_api_chat(&chat, &m->file, &chosen, false, err);
    if (rc) {
        gr_format_clear(&f);
        return rc;
    }
    chat.empty_think = false;                       /* it is about to think */
    return gr_reason_words_init(w, &f, &chat, m->file.words.tok, prove >= 0 ? NULL : prompt, labels, room,
                                m->judge.truncate, err);
}

/* The tags take no more tokens than bytes. */
gram_status gr_api_prompt_room(const gram_model *m, size_t max_tokens, const gr_format *f, size_t *room, gram_err *err)
{
    size_t context = gr_model_config(m->model)->context, tags = strlen(f->opening) + strlen(f->closing) +
                                                                strlen(f->cue) + 8;

    if (max_tokens >= context || context - max_tokens <= tags)
        return gr_fail(err, GRAM_EARG, "max_tokens: a text of %zu leaves no room for a pair in the model's context of "
                       "%zu", max_tokens, context);
    *room = gr_min(context - max_tokens - tags, m->judge.max_tokens);
    return GRAM_OK;
}

static gram_status open_words(gram_reasoner *r, const gram_rationale_options *o, gram_err *err)
{
    gr_format f;
    size_t room = 0;
    gram_status rc = gr_format_init(&f, gr_api_format(r->m, o->format), err);

    if (!rc)
        rc = gr_api_prompt_room(r->m, o->max_tokens, &f, &room, err);
    gr_format_clear(&f);
    return rc ? rc : gr_api_reason_words(&r->words, r->m, o->format, o->prompt, -1, room, err);
}

/* All that ends a rationale: the model's ends, and the closing tag as a text or as one special token. */
static gram_status find_stops(gram_reasoner *r, gram_err *err)
{
    gr_str tag = gr_format_tag(r->words.format.closing);
    int32_t *id;
    size_t n;
    gram_status rc = gram_end_ids(r->m, &id, &n, err);

    if (rc)
        return rc;
    r->tag = gr_strndup(tag.p, tag.n);
    if (!r->tag || !gr_ids_add(&r->ends, id, n) || !gr_ids_add(&r->ends, r->words.ends.p, r->words.ends.n))
        rc = gr_nomem(err, "rationale format");
    free(id);
    r->tags[0] = r->tag;
    r->reason.stops = (gr_stops){ r->ends.p, r->ends.n, r->tags, 1 };
    return rc;
}

gram_status gram_reasoner_open(gram_reasoner **out, gram_model *m, const gram_rationale_options *opt, gram_err *err)
{
    gram_rationale_options defaults;
    gram_reasoner *r;
    gram_status rc = gr_api_ready(m, err);

    *out = NULL;
    gram_rationale_options_init(&defaults);
    opt = opt ? opt : &defaults;
    if (!rc)
        rc = gram_rationale_options_check(opt, err);
    if (!rc && m->judge.pointwise)
        rc = gr_fail(err, GRAM_EARG, "pointwise: reasons are written about two answers, not about one");
    if (!rc && m->judge.plain)
        rc = gr_fail(err, GRAM_EUNSUPPORTED, "%s: a reward model, whose head gives a number: it cannot write reasons",
                     m->name);
    if (rc)
        return rc;
    r = gr_calloc(1, sizeof *r);
    if (!r)
        return gr_nomem(err, "rationales");
    pthread_mutex_init(&r->lock, NULL);
    r->m = m;
    rc = open_words(r, opt, err);
    r->reason = (gr_reason){ .words = &r->words, .opt = *opt, .context = gr_model_config(m->model)->context,
                             .write = gr_api_reason_write, .read = read_labels, .arg = r };
    r->reason.opt.single_order |= m->scorer.single_order;
    if (opt->products == GRAM_PRODUCTS_AUTO)
        r->reason.opt.products = GRAM_PRODUCTS_TILES;
    if (!rc)
        rc = find_stops(r, err);
    if (rc)
        gram_reasoner_close(r);
    else
        *out = r;
    return rc;
}

void gram_reasoner_close(gram_reasoner *r)
{
    if (!r)
        return;
    gr_api_reason_close_engine(r);
    gr_reason_words_clear(&r->words);
    gr_ids_clear(&r->ends);
    free(r->tag);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

/* ---- Judging -------------------------------------------------------------------------------------- */

gram_status gram_reason(gram_reasoner *r, const gram_pair *pair, size_t n, gram_reasoned *out, size_t *bad,
                        gram_err *err)
{
    gram_status rc;

    pthread_mutex_lock(&r->lock);
    rc = gr_reason_pairs(&r->reason, pair, n, out, bad, err);
    pthread_mutex_unlock(&r->lock);
    return rc;
}

gram_status gram_rationale_read(gram_reasoner *r, const gram_pair *pair, bool swapped, const char *text,
                                gram_rationale *out, gram_err *err)
{
    return gr_reason_stored(&r->reason, pair, swapped, text, out, err);
}

gram_status gram_reason_show(gram_reasoner *r, const gram_pair *pair, bool swapped, char **out, gram_err *err)
{
    gr_reason_prompts p;
    gram_status rc = gr_reason_prompt(&r->words, pair, swapped || !r->reason.opt.single_order, &p, err);

    *out = NULL;
    if (!rc && p.dropped)
        rc = gr_fail(err, GRAM_ELIMIT, "the pair takes more than %zu tokens", r->words.judge.max_tokens);
    if (!rc) {
        *out = p.order[swapped].text.p;             /* the caller's from here on */
        p.order[swapped].text = (gr_buf){ 0 };
    }
    gr_reason_prompts_clear(&p);
    return rc;
}

gram_status gram_rationale_parse(const char *format, const char *text, char **rationale, int *label, gram_err *err)
{
    gr_format f;
    gram_status rc = gr_format_init(&f, format, err);

    *rationale = NULL;
    *label = -1;
    if (!rc && !text)
        rc = gr_fail(err, GRAM_EARG, "the rationale: wanted a text, found NULL");
    if (!rc) {
        const char *const labels[2] = { f.label[0] ? f.label[0] : "A", f.label[1] ? f.label[1] : "B" };
        gr_str body = gr_format_parse(&f, labels, (gr_str){ text, strlen(text) }, label);
        *rationale = gr_strndup(body.p, body.n);
        rc = *rationale ? GRAM_OK : gr_nomem(err, "a rationale");
    }
    gr_format_clear(&f);
    return rc;
}

/* ---- Ranking -------------------------------------------------------------------------------------- */

struct group {
    gram_reasoner *r;
    gram_prompt prompt;
    const char *const *response;
    size_t n;
    const char *reference;
    gram_reason_compared_fn *fn;
    void *arg;
    size_t passes;              /* rationales read */
};

static gram_status judge_round(struct group *g, const gram_pair *p, const size_t (*pair)[2], size_t n,
                               gram_reasoned *v, gram_verdict *out, gram_err *err)
{
    gram_err why = { 0 };
    size_t bad;
    bool stop = false;
    gram_status rc = gram_reason(g->r, p, n, v, &bad, &why);

    if (rc && bad < n && pair[bad][1] < g->n)
        return gr_fail(err, rc, "responses %zu and %zu: %s", pair[bad][0], pair[bad][1], why.text);
    if (rc)
        return gr_fail(err, rc, "%s", why.text);
    for (size_t k = 0; k < n; k++) {
        out[k] = v[k].verdict;
        g->passes += v[k].n;
        stop = stop || (g->fn && g->fn(g->arg, pair[k][0], pair[k][1], &v[k]));
        gram_reasoned_clear(&v[k]);
    }
    return stop ? gr_fail(err, GRAM_ESTOPPED, "stopped") : GRAM_OK;
}

static gram_status compare(void *arg, const size_t (*pair)[2], size_t n, gram_verdict *out, gram_err *err)
{
    struct group *g = arg;
    gram_pair *p = gr_calloc(n, sizeof *p);
    gram_reasoned *v = gr_calloc(n, sizeof *v);
    gram_status rc = p && v ? GRAM_OK : gr_nomem(err, "ranking");

    if (!rc)
        gr_api_compared(p, g->prompt, g->response, g->n, g->reference, pair, n);
    if (!rc)
        rc = judge_round(g, p, pair, n, v, out, err);
    free(p);
    free(v);
    return rc;
}

gram_status gram_reason_rank(gram_reasoner *r, gram_prompt prompt, const char *const *response, size_t n,
                             gram_rank_method method, const char *reference, gram_reason_compared_fn *fn, void *arg,
                             gram_ranking *out, gram_err *err)
{
    struct group g = { r, prompt, response, n, reference, fn, arg, 0 };
    gram_status rc;

    *out = (gram_ranking){ 0 };
    if (method == GRAM_RANK_REFERENCE && !reference)
        return gr_fail(err, GRAM_EARG, "ranking by reference: wanted a reference answer, found none");
    rc = gr_api_responses(response, n, err);
    if (!rc)
        rc = gr_rank(compare, &g, n, method, out, err);
    if (!rc) {
        gram_ranking_join(out, response, n);
        out->passes = g.passes;
        out->tokens_computed = out->tokens;
    }
    return rc;
}
