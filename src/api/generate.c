/* generate.c - the model as a writer: what ends its answers, the one engine that all of its texts share, and answers to
 * a list of prompts. */
#include <stdlib.h>
#include <string.h>
#include "api/api_int.h"
#include "base/err.h"
#include "base/utf8.h"
#include "file/ends.h"

void gram_generation_init(gram_generation *g)
{
    *g = (gram_generation){ .temperature = 1, .top_p = 1, .repetition_penalty = 1, .n = 1 };
}

gr_sampling gr_api_sampling(const gram_generation *g)
{
    return (gr_sampling){ g->temperature, g->top_k, g->top_p, g->min_p, g->repetition_penalty, g->presence_penalty,
                          g->frequency_penalty, g->min_new_tokens };
}

gram_status gram_generation_check(const gram_generation *g, gram_err *err)
{
    const gr_sampling s = gr_api_sampling(g);
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
    if ((unsigned)g->products > GRAM_PRODUCTS_TILES)
        return gr_fail(err, GRAM_EARG, "products: wanted auto, few or tiles, found %s",
                       gram_products_name(g->products));
    if (g->speculate > GR_GUESSES_MOST)
        return gr_fail(err, GRAM_EARG, "speculate: wanted 0 to %d tokens, found %zu", GR_GUESSES_MOST, g->speculate);
    return GRAM_OK;
}

const char *gram_products_name(gram_products p)
{
    static const char *const names[] = { "auto", "few", "tiles", "tiles of bytes" };

    return (size_t)p < GR_COUNT(names) ? names[p] : "unknown";
}

gram_finish gr_api_finish(gr_finish f)
{
    static const gram_finish all[] = { [GR_WRITING] = GRAM_FINISH_LENGTH, [GR_STOP] = GRAM_FINISH_STOP,
                                       [GR_STOP_STRING] = GRAM_FINISH_STOP_STRING, [GR_LENGTH] = GRAM_FINISH_LENGTH,
                                       [GR_BROKEN] = GRAM_FINISH_FAILED };

    return all[f];
}

const char *gram_finish_name(gram_finish f)
{
    static const char *const names[] = { "stop", "stop_string", "length", "failed" };

    return (size_t)f < GR_COUNT(names) ? names[f] : "unknown";
}

/* ---- What ends an answer ------------------------------------------------------------------------ */

/* The token with which the chat template closes the assistant's turn, where there is one. */
static gram_status add_turn_end(gram_model *m, gram_err *err)
{
    int32_t id;
    gram_status rc = gr_judge_turn_end(&m->judge, &id, err);

    return rc || id < 0 || gr_ids_add(&m->ends, &id, 1) ? rc : gr_nomem(err, "token ids");
}

gram_status gr_api_find_ends(gram_model *m, gram_err *err)
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

/* Whether the model can write; m->ends is there then. */
static gram_status check_writes(gram_model *m, gram_err *err)
{
    gram_status rc = gr_api_ready(m, err);

    if (rc)
        return rc;
    if (!gr_model_config(m->model)->words)
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: a reward model, whose head gives a number: it cannot write",
                       m->name);
    return m->ends.n ? GRAM_OK : gr_api_find_ends(m, err);
}

gr_head_as gr_api_head(const gram_model *m)
{
    return m->dtype == GRAM_BF16 ? GR_HEAD_ROUNDED : GR_HEAD_EXACT;
}

bool gr_api_writes_bytes(const gram_model *m, gram_products products)
{
    return products == GRAM_PRODUCTS_TILES && m->dtype == GRAM_INT8_FAST && gr_linear_has_one_byte(m->device);
}

gram_status gr_api_write_engine(gram_model *m, const gr_api_engine *e, gr_write **out, gr_kv_tree **kv, gram_err *err)
{
    gr_write_setup s = { .m = m->model, .tok = m->file.words.tok, .live = GR_API_LIVE, .prefill = e->prefill,
                         .guesses = e->guesses, .lay = gr_api_lay_bytes(m, e->products) > 0,
                         .one_byte = gr_api_writes_bytes(m, e->products) };
    gram_status rc = check_writes(m, err);

    *out = NULL;
    *kv = NULL;
    if (!rc)
        rc = gr_api_kv_open(kv, m, m->text_bytes, err);
    s.work = e->products == GRAM_PRODUCTS_TILES ? m->scorer.work : m->writing;
    s.kv = *kv;
    s.rounded = s.one_byte || (e->products == GRAM_PRODUCTS_TILES && gr_api_head(m) == GR_HEAD_ROUNDED);
    if (!rc)
        rc = gr_write_open(out, &s, err);
    if (rc) {
        gr_kv_close(*kv);
        *kv = NULL;
    }
    return rc;
}

gram_status gr_api_prompt_ids(const gram_model *m, gram_prompt prompt, gr_ids *out, gram_err *err)
{
    gram_status rc = gr_prompt_check(prompt, err);

    return rc ? rc : gr_chat_ids(&m->judge.chat, m->file.words.tok, prompt.turn, prompt.n, prompt.tools, out, err);
}

/* ---- Answers ------------------------------------------------------------------------------------- */

/* A prompt whose answers are not all there yet. */
struct asked {
    struct asked *next;
    size_t index, left;
    gr_ids ids;
    gram_err why;               /* it cannot be answered */
    uint64_t seed;              /* of its first answer */
};

struct answers {
    gram_model *m;
    const gram_generation *g;
    gr_api_prompts *source;
    void *source_arg;
    gram_products products;     /* FEW or TILES, from when the engine is there */
    gr_write *w;
    gr_kv_tree *kv;
    gr_sampling sampling;
    gr_stops stops;
    gr_ids ends;
    struct asked *open;
    struct asked *ahead, **last;    /* read and not asked for yet */
    size_t next;                /* the index of the prompt that is read next */
    bool end;                   /* of the prompts */
    gr_buf text;                /* of the answer at hand, as UTF-8 */
    gram_answer_fn *fn;
    gr_api_between *between;
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
    struct answers *a = arg;
    struct asked *p = t->ask.arg;
    gram_status rc;

    a->m->scorer.usage.tokens++;                    /* the model's lock is held */
    if (t->finish == GR_WRITING)
        return GRAM_OK;
    a->text.n = 0;
    if (!gr_utf8_add(&a->text, t->text.p, t->text.n))
        return gr_nomem(err, "an answer");
    rc = tell(a, &(gram_answer){ .prompt = p->index, .k = (size_t)(t->ask.seed - p->seed),
                                 .finish = gr_api_finish(t->finish),
                                 .products = gr_api_writes_bytes(a->m, a->products) ? GRAM_PRODUCTS_BYTES : a->products,
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

/* The next prompt goes to the end of those that were read ahead. */
static gram_status read_one(struct answers *a, gram_err *err)
{
    const gram_prompt *prompt;
    struct asked *p;
    gram_status rc = a->source(a->source_arg, &prompt, err);

    a->end = !rc && !prompt;
    if (rc || a->end)
        return rc;
    p = gr_calloc(1, sizeof *p);
    if (!p)
        return gr_nomem(err, "a prompt");
    *p = (struct asked){ .index = a->next, .seed = a->g->seed + a->next * a->g->n };
    a->next++;
    *a->last = p;
    a->last = &p->next;
    rc = gr_api_prompt_ids(a->m, *prompt, &p->ids, &p->why);
    return rc == GRAM_ENOMEM ? gr_fail(err, rc, "%s", p->why.text) : GRAM_OK;
}

/* Asks for the answers to the first prompt that was read, or tells why there will be none. */
static gram_status ask(struct answers *a, gram_err *err)
{
    struct asked *p = a->ahead;
    gr_text *added[GRAM_ANSWERS_MOST];
    gr_ask one = { .sampling = &a->sampling, .stops = &a->stops, .max_new = a->g->max_new_tokens, .arg = p,
                   .prompt = { p->ids.p, p->ids.n } };
    gram_err why = p->why;
    gram_status rc = why.status;

    a->ahead = p->next;
    if (!a->ahead)
        a->last = &a->ahead;
    p->next = a->open;
    a->open = p;
    for (size_t k = 0; k < a->g->n && !rc; k++) {
        one.seed = p->seed + k;
        rc = gr_write_add(a->w, &one, &added[k], &why);
        p->left += !rc;
    }
    if (!rc)
        return GRAM_OK;
    return rc == GRAM_ENOMEM ? gr_fail(err, rc, "%s", why.text) : tell_failed(a, p, added, &why, err);
}

/* Of all prompts where they are few enough to have been read; otherwise how many come is not known. */
static gram_status tell_memory(struct answers *a, gram_err *err)
{
    gr_api_written w = { .n = a->g->n, .max_new = a->g->max_new_tokens, .guesses = a->g->speculate,
                         .products = a->products };

    for (const struct asked *p = a->ahead; p; p = p->next) {
        w.tokens += p->ids.n;
        w.longest = gr_max(w.longest, p->ids.n);
        w.prompts++;
    }
    if (!a->end)
        w.tokens = 0;
    return gr_api_tell_memory(a->m, &w, err);
}

gram_products gr_api_products(const gram_model *m, size_t answers)
{
    return gr_linear_way(m->device, answers) == GR_ROWS_FEW ? GRAM_PRODUCTS_FEW : GRAM_PRODUCTS_TILES;
}

gram_status gr_api_ends(const gram_model *m, const gram_generation *g, gr_ids *out, gram_err *err)
{
    size_t n = gram_vocabulary(m);
    bool ok = gr_ids_add(out, m->ends.p, m->ends.n) && gr_ids_add(out, g->stop_ids, g->n_stop_ids);

    for (size_t i = 0; i < g->n_stop_ids; i++)
        if (g->stop_ids[i] < 0 || (size_t)g->stop_ids[i] >= n)
            return gr_fail(err, GRAM_EARG, "stop_ids: %d is no token of this model, whose vocabulary has %zu",
                           (int)g->stop_ids[i], n);
    for (size_t i = 0; i < g->n_stop && ok; i++) {
        int32_t id = gr_tok_find(m->file.words.tok, g->stop[i]);
        if (id >= 0 && gr_tok_is_special(m->file.words.tok, id))
            ok = gr_ids_add(out, &id, 1);
    }
    return ok ? GRAM_OK : gr_nomem(err, "token ids");
}

/* How a run multiplies follows from the answers that it is asked for, those that a run before it has written among
 * them, so that it goes on as that one did: what is read ahead here is as much as can tell. */
static gram_status open_engine(struct answers *a, gram_err *err)
{
    gram_status rc;

    pthread_mutex_lock(&a->m->lock);
    rc = check_writes(a->m, err);
    pthread_mutex_unlock(&a->m->lock);
    if (!rc)
        rc = gr_api_ends(a->m, a->g, &a->ends, err);
    while (!rc && !a->end && a->next * a->g->n <= GR_API_LIVE)
        rc = read_one(a, err);
    a->products = a->g->products;
    if (a->products == GRAM_PRODUCTS_AUTO)
        a->products = gr_api_products(a->m, a->next * a->g->n);
    a->sampling = gr_api_sampling(a->g);
    a->stops = (gr_stops){ a->ends.p, a->ends.n, a->g->stop, a->g->n_stop };
    pthread_mutex_lock(&a->m->lock);
    if (!rc)
        rc = tell_memory(a, err);
    if (!rc)
        rc = gr_api_write_engine(a->m, &(gr_api_engine){ a->products, a->g->speculate, a->m->scorer.batch_tokens },
                                 &a->w, &a->kv, err);
    pthread_mutex_unlock(&a->m->lock);
    return rc;
}

/* Prompts are asked for when there is room for them, so that a long list need not be in memory. */
static gram_status write_all(struct answers *a, gram_err *err)
{
    gram_status rc = GRAM_OK;
    bool more = true;

    while (!rc && (more || a->ahead || !a->end)) {
        while (!rc && (a->ahead || !a->end) && gr_write_waiting(a->w) < GR_API_LIVE) {
            if (!a->ahead)
                rc = read_one(a, err);
            if (!rc && a->ahead)
                rc = ask(a, err);
        }
        if (rc)
            break;
        pthread_mutex_lock(&a->m->lock);
        rc = gr_write_step(a->w, tell_text, a, &more, err);
        pthread_mutex_unlock(&a->m->lock);
        if (!rc && a->between)
            rc = a->between(a->arg, err);
    }
    return rc;
}

gram_status gr_api_generate(gram_model *m, gr_api_prompts *source, void *source_arg, size_t first,
                            const gram_generation *g, gram_answer_fn *fn, gr_api_between *between, void *arg,
                            gram_err *err)
{
    struct answers a = { .m = m, .g = g, .source = source, .source_arg = source_arg, .next = first, .fn = fn,
                         .between = between, .arg = arg };
    gram_status rc = gram_generation_check(g, err);

    a.last = &a.ahead;
    if (!rc)
        rc = open_engine(&a, err);
    if (!rc)
        rc = write_all(&a, err);
    gr_write_close(a.w);
    gr_kv_close(a.kv);
    *a.last = a.open;                           /* those read ahead, then those asked for */
    while (a.ahead) {
        struct asked *p = a.ahead;
        a.ahead = p->next;
        gr_ids_clear(&p->ids);
        free(p);
    }
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

    return gr_api_generate(m, next_of_list, &l, 0, g, fn, NULL, arg, err);
}

gram_status gram_end_ids(gram_model *m, int32_t **ids, size_t *n, gram_err *err)
{
    gram_status rc = gr_api_ready(m, err);

    *ids = NULL;
    *n = 0;
    pthread_mutex_lock(&m->lock);
    if (!rc && !m->ends.n)
        rc = gr_api_find_ends(m, err);
    if (!rc && !(*ids = gr_calloc(m->ends.n, sizeof **ids)))
        rc = gr_nomem(err, "token ids");
    for (size_t i = 0; i < m->ends.n && !rc; i++)
        (*ids)[(*n)++] = m->ends.p[i];
    pthread_mutex_unlock(&m->lock);
    return rc;
}
