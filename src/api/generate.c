/* generate.c - the model as a writer: what ends its answers, the one engine that all of its texts share, and answers to
 * a list of prompts. */
#include <stdlib.h>
#include <string.h>
#include "api/api_int.h"
#include "base/err.h"
#include "file/ends.h"
#include "text/utf8.h"

#define LIVE 96                 /* texts at once: a tile of the products */

void gram_generation_init(gram_generation *g)
{
    *g = (gram_generation){ .temperature = 1, .top_p = 1, .repetition_penalty = 1, .n = 1 };
}

static gr_sampling sampling_of(const gram_generation *g)
{
    return (gr_sampling){ g->temperature, g->top_k, g->top_p, g->min_p, g->repetition_penalty, g->presence_penalty,
                          g->frequency_penalty, g->min_new_tokens };
}

gram_status gram_generation_check(const gram_generation *g, gram_err *err)
{
    const gr_sampling s = sampling_of(g);
    const gr_stops stops = { NULL, 0, g->stop, g->n_stop };
    gram_status rc = gr_sampling_check(&s, err);

    if (!rc)
        rc = gr_stops_check(&stops, err);
    if (rc)
        return rc;
    if (g->n == 0 || g->n > GRAM_ANSWERS_MOST)
        return gr_fail(err, GRAM_EARG, "n: wanted 1 to %d, found %zu", GRAM_ANSWERS_MOST, g->n);
    if (g->max_new_tokens == 0)
        return gr_fail(err, GRAM_EARG, "max_new_tokens: wanted 1 or more; there is no default, which would cut answers "
                       "without a word");
    if (g->min_new_tokens > g->max_new_tokens)
        return gr_fail(err, GRAM_EARG, "min_new_tokens: %zu is more than max_new_tokens, %zu", g->min_new_tokens,
                       g->max_new_tokens);
    return GRAM_OK;
}

const char *gram_finish_name(gram_finish f)
{
    static const char *const names[] = { "stop", "stop_string", "length", "failed" };

    return (size_t)f < GR_COUNT(names) ? names[f] : "unknown";
}

/* ---- What ends an answer ------------------------------------------------------------------------ */

/* The token with which the chat template closes the assistant's turn: the last special one behind a rendered answer. */
static gram_status add_turn_end(gram_model *m, gram_err *err)
{
    const gram_message turn[] = { { .role = "user", .content = "x" }, { .role = "assistant", .content = "x" } };
    gr_chat_text open = { 0 }, closed = { 0 };
    gr_ids a = { 0 }, b = { 0 };
    gram_status rc = gr_chat_render(&m->judge.chat, turn, 1, NULL, &open, err);

    if (!rc)
        rc = gr_chat_encode(m->file.tok, &open, &a, err);
    if (!rc)
        rc = gr_chat_render_answered(&m->judge.chat, turn, 2, NULL, &closed, err);
    if (!rc)
        rc = gr_chat_encode(m->file.tok, &closed, &b, err);
    for (size_t i = b.n; i > a.n && !rc; i--)
        if (gr_tok_is_special(m->file.tok, b.p[i - 1])) {
            rc = gr_ids_add(&m->ends, &b.p[i - 1], 1) ? GRAM_OK : gr_nomem(err, "token ids");
            break;
        }
    gr_chat_text_clear(&open);
    gr_chat_text_clear(&closed);
    gr_ids_clear(&a);
    gr_ids_clear(&b);
    return rc;
}

/* m->ends, each id once. */
static gram_status find_ends(gram_model *m, gram_err *err)
{
    int32_t eos = gr_model_config(m->model)->eos;
    gr_ids all = { 0 };
    gram_status rc = eos < 0 || gr_ids_add(&m->ends, &eos, 1) ? GRAM_OK : gr_nomem(err, "token ids");

    if (!rc)
        rc = m->file.gguf ? gr_ends_of_gguf(&m->ends, gr_weights_gguf(m->file.weights), err)
                          : gr_ends_of_dir(&m->ends, gr_weights_path(m->file.weights), err);
    if (!rc)
        rc = add_turn_end(m, err);
    for (size_t i = 0; i < m->ends.n && !rc; i++) {
        size_t k = 0;
        while (k < all.n && all.p[k] != m->ends.p[i])
            k++;
        if (k == all.n && (size_t)m->ends.p[i] < gram_vocabulary(m) && !gr_ids_add(&all, &m->ends.p[i], 1))
            rc = gr_nomem(err, "token ids");
    }
    gr_ids_clear(&m->ends);
    m->ends = all;
    if (rc)
        gr_ids_clear(&m->ends);
    return rc;
}

/* ---- The engine --------------------------------------------------------------------------------- */

gram_status gr_api_write_engine(gram_model *m, gr_write **out, gr_kv_tree **kv, gram_err *err)
{
    gram_status rc = gr_api_ready(m, err);

    *out = NULL;
    *kv = NULL;
    if (rc)
        return rc;
    if (!gr_model_config(m->model)->words)
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: a reward model, whose head gives a number: it cannot write",
                       m->name);
    if (!m->ends.n)
        rc = find_ends(m, err);
    if (!rc)
        rc = gr_api_kv_open(kv, m, m->text_bytes, err);
    if (!rc)
        rc = gr_write_open(out, m->model, m->scorer.work, m->pool, m->file.tok, *kv, LIVE, m->scorer.batch_tokens, err);
    if (rc) {
        gr_kv_close(*kv);
        *kv = NULL;
    }
    return rc;
}

gram_status gr_api_prompt_ids(const gram_model *m, gram_prompt prompt, gr_ids *out, gram_err *err)
{
    gr_chat_text text = { 0 };
    gram_status rc = gr_chat_render(&m->judge.chat, prompt.turn, prompt.n, prompt.tools, &text, err);

    if (!rc)
        rc = gr_chat_encode(m->file.tok, &text, out, err);
    gr_chat_text_clear(&text);
    return rc;
}

/* ---- Answers ------------------------------------------------------------------------------------- */

/* A prompt whose answers are not all there yet. */
struct asked {
    struct asked *next;
    size_t index, left;
    gr_ids ids;
    uint64_t seed;              /* of its first answer */
};

struct answers {
    gram_model *m;
    const gram_generation *g;
    gr_api_prompts *source;
    gr_write *w;
    gr_kv_tree *kv;
    gr_sampling sampling;
    gr_stops stops;
    gr_ids ends;
    struct asked *open;
    size_t next;                /* the index of the prompt that is asked next */
    gr_buf text;                /* of the answer at hand, as UTF-8 */
    gram_answer_fn *fn;
    void *arg;
};

static gram_status tell(struct answers *a, const gram_answer *answer, gram_err *err)
{
    return a->fn(a->arg, answer) ? gr_fail(err, GRAM_ESTOPPED, "stopped") : GRAM_OK;
}

static void asked_done(struct answers *a, struct asked *p)
{
    for (struct asked **at = &a->open; *at; at = &(*at)->next)
        if (*at == p) {
            *at = p->next;
            break;
        }
    gr_ids_clear(&p->ids);
    free(p);
}

static gram_status tell_text(void *arg, gr_text *t, gram_err *err)
{
    static const gram_finish finish[] = { [GR_STOP] = GRAM_FINISH_STOP, [GR_STOP_STRING] = GRAM_FINISH_STOP_STRING,
                                          [GR_LENGTH] = GRAM_FINISH_LENGTH, [GR_BROKEN] = GRAM_FINISH_FAILED };
    struct answers *a = arg;
    struct asked *p = t->ask.arg;
    gram_status rc;

    if (t->finish == GR_WRITING)
        return GRAM_OK;
    a->text.n = 0;
    if (!gr_utf8_add(&a->text, t->text.p, t->text.n))
        return gr_nomem(err, "an answer");
    rc = tell(a, &(gram_answer){ .prompt = p->index, .k = (size_t)(t->ask.seed - p->seed), .finish = finish[t->finish],
                                 .text = a->text.p, .bytes = a->text.n, .id = t->ids.p + t->ask.prompt.n,
                                 .logprob = t->raw, .tempered = t->tempered, .tokens = t->n_answer,
                                 .prompt_tokens = t->ask.prompt.n, .seed = t->ask.seed,
                                 .error = t->finish == GR_BROKEN ? t->why.text : NULL }, err);
    gr_write_end(a->w, t);
    if (--p->left == 0)
        asked_done(a, p);
    return rc;
}

/* Every answer of the prompt has failed; those that wait are taken out. */
static gram_status tell_failed(struct answers *a, struct asked *p, gr_text *const *added, const gram_err *why,
                               gram_err *err)
{
    gram_status rc = GRAM_OK;

    for (size_t k = 0; k < p->left; k++)
        gr_write_end(a->w, added[k]);
    for (size_t k = 0; k < a->g->n && !rc; k++)
        rc = tell(a, &(gram_answer){ .prompt = p->index, .k = k, .finish = GRAM_FINISH_FAILED, .text = "",
                                     .seed = p->seed + k, .error = why->text }, err);
    asked_done(a, p);
    return rc;
}

/* Asks for the answers to one prompt, or tells why there will be none. */
static gram_status ask(struct answers *a, const gram_prompt *prompt, gram_err *err)
{
    struct asked *p = gr_calloc(1, sizeof *p);
    gr_text *added[GRAM_ANSWERS_MOST];
    gr_ask one = { .sampling = &a->sampling, .stops = &a->stops, .max_new = a->g->max_new_tokens, .arg = p };
    gram_err why;
    gram_status rc;

    if (!p)
        return gr_nomem(err, "a prompt");
    *p = (struct asked){ .next = a->open, .index = a->next, .seed = a->g->seed + a->next * a->g->n };
    a->open = p;
    a->next++;
    rc = gr_api_prompt_ids(a->m, *prompt, &p->ids, &why);
    one.prompt = (gr_seq){ p->ids.p, p->ids.n };
    for (size_t k = 0; k < a->g->n && !rc; k++) {
        one.seed = p->seed + k;
        rc = gr_write_add(a->w, &one, &added[k], &why);
        p->left += !rc;
    }
    if (!rc)
        return GRAM_OK;
    return rc == GRAM_ENOMEM ? gr_fail(err, rc, "%s", why.text) : tell_failed(a, p, added, &why, err);
}

/* Prompts are asked for when there is room for them, so that a long list need not be in memory. */
static gram_status write_all(struct answers *a, void *source_arg, gram_err *err)
{
    gram_status rc = GRAM_OK;
    bool more = true, end = false;

    while (!rc && (more || !end)) {
        while (!rc && !end && gr_write_waiting(a->w) < LIVE) {
            const gram_prompt *prompt;
            rc = a->source(source_arg, &prompt, err);
            end = !rc && !prompt;
            if (!rc && !end)
                rc = ask(a, prompt, err);
        }
        if (rc)
            break;
        pthread_mutex_lock(&a->m->lock);
        rc = gr_write_step(a->w, tell_text, a, &more, err);
        pthread_mutex_unlock(&a->m->lock);
    }
    return rc;
}

gram_status gr_api_generate(gram_model *m, gr_api_prompts *source, void *source_arg, size_t first,
                            const gram_generation *g, gram_answer_fn *fn, void *arg, gram_err *err)
{
    struct answers a = { .m = m, .g = g, .source = source, .next = first, .fn = fn, .arg = arg };
    gram_status rc = gram_generation_check(g, err);

    if (!rc)
        rc = gr_api_write_engine(m, &a.w, &a.kv, err);
    if (rc)
        return rc;
    a.sampling = sampling_of(g);
    if (!gr_ids_add(&a.ends, m->ends.p, m->ends.n) || !gr_ids_add(&a.ends, g->stop_ids, g->n_stop_ids))
        rc = gr_nomem(err, "token ids");
    a.stops = (gr_stops){ a.ends.p, a.ends.n, g->stop, g->n_stop };
    if (!rc)
        rc = write_all(&a, source_arg, err);
    gr_write_close(a.w);
    gr_kv_close(a.kv);
    while (a.open)
        asked_done(&a, a.open);
    gr_ids_clear(&a.ends);
    gr_buf_clear(&a.text);
    return rc;
}

struct list { const gram_prompt *prompt; size_t n, next; };

static gram_status next_of_list(void *arg, const gram_prompt **out, gram_err *err)
{
    struct list *l = arg;

    (void)err;
    *out = l->next < l->n ? &l->prompt[l->next++] : NULL;
    return GRAM_OK;
}

gram_status gram_generate(gram_model *m, const gram_prompt *prompt, size_t n, const gram_generation *g,
                          gram_answer_fn *fn, void *arg, gram_err *err)
{
    struct list l = { prompt, n, 0 };

    return gr_api_generate(m, next_of_list, &l, 0, g, fn, arg, err);
}
