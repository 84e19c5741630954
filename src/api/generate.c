/* generate.c - the model as a writer: what ends its answers, the one engine that all of its texts share, and answers to
 * a list of prompts. */
#include <jansson.h>
#include <math.h>
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
    if (g->speculate > GR_GUESSES_MOST)
        return gr_fail(err, GRAM_EARG, "speculate: wanted 0 to %d tokens, found %zu", GR_GUESSES_MOST, g->speculate);
    return GRAM_OK;
}

const char *gram_products_name(gram_products p)
{
    static const char *const names[] = { "auto", "few", "tiles" };

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

gram_status gr_api_write_engine(gram_model *m, const gr_api_engine *e, gr_write **out, gr_kv_tree **kv, gram_err *err)
{
    gr_write_setup s = { .m = m->model, .tok = m->file.tok, .live = GR_API_LIVE, .prefill = e->prefill,
                         .guesses = e->guesses };
    gram_status rc = check_writes(m, err);

    *out = NULL;
    *kv = NULL;
    if (!rc)
        rc = gr_api_kv_open(kv, m, m->text_bytes, err);
    s.work = e->products == GRAM_PRODUCTS_TILES ? m->scorer.work : m->writing;
    s.kv = *kv;
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
                                 .finish = gr_api_finish(t->finish), .products = a->products,
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

/* How a run multiplies follows from the answers that it is asked for, those that a run before it has written among
 * them, so that it goes on as that one did: what is read ahead here is as much as can tell. */
static gram_status open_engine(struct answers *a, gram_err *err)
{
    gram_status rc = check_writes(a->m, err);

    while (!rc && !a->end && a->next * a->g->n <= GR_API_LIVE)
        rc = read_one(a, err);
    a->products = a->g->products;
    if (a->products == GRAM_PRODUCTS_AUTO)
        a->products = gr_api_products(a->m, a->next * a->g->n);
    if (!rc)
        rc = tell_memory(a, err);
    if (!rc)
        rc = gr_api_write_engine(a->m, &(gr_api_engine){ a->products, a->g->speculate, a->m->scorer.batch_tokens },
                                 &a->w, &a->kv, err);
    if (rc)
        return rc;
    a->sampling = gr_api_sampling(a->g);
    if (!gr_ids_add(&a->ends, a->m->ends.p, a->m->ends.n) || !gr_ids_add(&a->ends, a->g->stop_ids, a->g->n_stop_ids))
        rc = gr_nomem(err, "token ids");
    a->stops = (gr_stops){ a->ends.p, a->ends.n, a->g->stop, a->g->n_stop };
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

/* ---- generation_config.json ---------------------------------------------------------------------- */

struct taken { gram_generation *g; gr_buf said; const char *path; gram_err *err; };

static gram_status take_number(struct taken *t, const json_t *o, const char *key, double low, double *out)
{
    const json_t *v = json_object_get(o, key);

    if (!v || json_is_null(v))
        return GRAM_OK;
    if (!json_is_number(v) || !(json_number_value(v) >= low))
        return gr_fail(t->err, GRAM_EFORMAT, "%s: %s: wanted a number of %g or more", t->path, key, low);
    *out = json_number_value(v);
    return gr_buf_printf(&t->said, "%s%s %g", t->said.n ? ", " : "", key, *out) ? GRAM_OK : gr_nomem(t->err, t->path);
}

static gram_status take_size(struct taken *t, const json_t *o, const char *key, size_t *out)
{
    double x = (double)*out;
    gram_status rc = take_number(t, o, key, 0, &x);

    if (!rc && (x != floor(x) || x > 1e9))
        return gr_fail(t->err, GRAM_EFORMAT, "%s: %s: wanted a whole number, found %g", t->path, key, x);
    *out = (size_t)x;
    return rc;
}

/* Settings that change an answer and that gram has not, and the values with which they change nothing. */
static gram_status refuse_others(struct taken *t, const json_t *o)
{
    static const struct { const char *key; double neutral; } other[] = {
        { "num_beams", 1 }, { "typical_p", 1 }, { "epsilon_cutoff", 0 }, { "eta_cutoff", 0 }, { "top_h", 0 },
        { "no_repeat_ngram_size", 0 }, { "encoder_repetition_penalty", 1 }, { "penalty_alpha", 0 },
        { "diversity_penalty", 0 }, { "guidance_scale", 1 }, { "num_beam_groups", 1 }, { "bad_words_ids", 0 },
        { "suppress_tokens", 0 }, { "begin_suppress_tokens", 0 }, { "forced_bos_token_id", 0 },
        { "forced_eos_token_id", 0 }, { "sequence_bias", 0 }, { "force_words_ids", 0 }, { "stop_strings", 0 },
        { "exponential_decay_length_penalty", 0 }, { "dola_layers", 0 }, { "constraints", 0 },
    };

    for (size_t i = 0; i < GR_COUNT(other); i++) {
        const json_t *v = json_object_get(o, other[i].key);
        bool same = !v || json_is_null(v) || json_is_false(v) ||
                    (json_is_number(v) && json_number_value(v) == other[i].neutral);
        if (!same)
            return gr_fail(t->err, GRAM_EUNSUPPORTED, "%s: %s changes what is written, and gram has no such setting",
                           t->path, other[i].key);
    }
    return GRAM_OK;
}

static gram_status take_all(struct taken *t, const json_t *o)
{
    const json_t *sample = json_object_get(o, "do_sample");
    gram_generation *g = t->g;
    gram_status rc = refuse_others(t, o);

    if (!rc)
        rc = take_number(t, o, "temperature", 0, &g->temperature);
    if (!rc)
        rc = take_size(t, o, "top_k", &g->top_k);
    if (!rc)
        rc = take_number(t, o, "top_p", 0, &g->top_p);
    if (!rc)
        rc = take_number(t, o, "min_p", 0, &g->min_p);
    if (!rc)
        rc = take_number(t, o, "repetition_penalty", 0, &g->repetition_penalty);
    if (!rc)
        rc = take_size(t, o, "min_new_tokens", &g->min_new_tokens);
    if (!rc)
        rc = take_size(t, o, "max_new_tokens", &g->max_new_tokens);
    if (!rc && !json_is_true(sample)) {             /* transformers' default is greedy */
        g->temperature = 0;
        if (!gr_buf_printf(&t->said, "%sdo_sample false (greedy)", t->said.n ? ", " : ""))
            rc = gr_nomem(t->err, t->path);
    }
    return rc;
}

gram_status gram_generation_from_config(gram_generation *g, const char *path, char **what, gram_err *err)
{
    char *file = gr_path_join(path, "generation_config.json"), *text = NULL;
    struct taken t = { .g = g, .path = file, .err = err };
    size_t n;
    json_error_t je;
    json_t *o = NULL;
    gram_status rc = file ? GRAM_OK : gr_nomem(err, path);

    if (!rc && !gr_path_exists(file))
        rc = gr_buf_puts(&t.said, "no generation_config.json is there: all settings are as without it") ? GRAM_OK
           : gr_nomem(err, path);
    else if (!rc)
        rc = gr_read_file(file, (size_t)1 << 20, &text, &n, err);
    if (!rc && text) {
        o = json_loadb(text, n, 0, &je);
        rc = json_is_object(o) ? take_all(&t, o)
           : gr_fail(err, GRAM_EFORMAT, "%s:%d: wanted a JSON object%s%s", file, o ? 1 : je.line, o ? "" : ": ",
                     o ? "" : je.text);
    }
    json_decref(o);
    free(text);
    free(file);
    if (!rc && what)
        *what = t.said.p;
    else
        gr_buf_clear(&t.said);
    return rc;
}
