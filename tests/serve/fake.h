/* fake.h - an engine without a model, for the server's tests: scores that follow from the texts alone, and words in
 * them that make it fail.
 *
 *     TOOLONG   GRAM_ELIMIT of the pair that holds it      BOOM   GRAM_EFORMAT      NAN    a preference that is no
 *     number SLOW      takes 0.2 s (2 ms a token)     CUT    truncated         FLIP   the orders disagree
 *     HELD      waits until the test lets it pass, and model "held" opens only then: no test guesses how fast a machine
 *     is
 *
 * Model "head" has PURM's reward head: an answer's reward is its strength, sigma a quarter; of a text the answer is
 * what stands behind its last header. The chat template is ChatML without a system turn of its own. */
#ifndef FAKE_H
#define FAKE_H

#include <math.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/err.h"
#include "base/mem.h"
#include "gram/rationale.h"
#include "serve/engine.h"

/* One post for each that may pass; NULL, as in programs that hold nothing: all may. */
static sem_t *fake_gate;
static _Atomic int fake_held;               /* how many wait there: the engine has begun with them */

static void fake_wait(void)
{
    fake_held++;
    while (fake_gate && sem_wait(fake_gate))
        ;                                   /* a signal */
    fake_held--;
}

/* Better answers are longer ones, then later ones in a fixed shuffle of the bytes. */
static double fake_strength(const char *s)
{
    unsigned h = 2166136261u;

    for (const char *p = s; *p; p++)
        h = (h ^ (unsigned char)*p) * 16777619u;
    return (double)(strlen(s) % 64) / 16 + (double)(h % 1000) / 1000;
}

static bool fake_has(const gram_pair *p, const char *word)
{
    return strstr(p->a, word) || strstr(p->b, word) || (p->prompt.criteria && strstr(p->prompt.criteria, word));
}

struct fake_self { gram_usage usage; gram_turns turns; };       /* of an engine that is open */

static gram_status fake_score(gr_engine *e, const gram_pair *pair, size_t n, gram_verdict *out, size_t *bad,
                              gram_err *err)
{
    const gram_turns *t = &((struct fake_self *)e->self)->turns;
    gram_usage *u = e->self;

    *bad = n;
    for (size_t i = 0; i < n; i++)          /* before anything is computed, as the library does */
        if (fake_has(&pair[i], "TOOLONG") || pair[i].extra_a || pair[i].extra_b) {
            *bad = i;
            return fake_has(&pair[i], "TOOLONG")
                 ? gr_fail(err, GRAM_ELIMIT, "the pair takes 9999 tokens, and at most 2048 may be read")
                 : gr_fail(err, GRAM_EUNSUPPORTED, "\"tool_calls\": the template does not write them");
        }

    for (size_t i = 0; i < n; i++) {
        const gram_pair *p = &pair[i];
        double m = fake_strength(p->a) - fake_strength(p->b);
        gram_verdict v = { .logit = { { (float)m, 0 }, { 0, (float)m } }, .logit_margin = m, .consistent = true };
        if (fake_has(p, "BOOM"))
            return gr_fail(err, GRAM_EFORMAT, "pair %zu: the engine broke", i);
        if (fake_has(p, "SLOW"))
            usleep(200000);
        if (fake_has(p, "HELD"))
            fake_wait();
        if (t->due && t->due(t->arg))
            t->turn(t->arg);
        v.p_forward = v.p_swapped = 1 / (1 + exp(-m));
        if (e->rewards) {
            v.p_swapped = NAN;
            v.rewarded = v.spread = true;
            v.reward[0] = (gram_reward){ .mean = fake_strength(p->a), .sigma = 0.25 };
            v.reward[1] = (gram_reward){ .mean = fake_strength(p->b), .sigma = 0.25 };
        }
        if (fake_has(p, "FLIP")) {
            v.p_swapped = 1 - v.p_swapped;
            v.consistent = false;
        }
        if (strstr(p->prompt.turn->content, "SEAT")) {      /* read once: who is read first is better */
            v.p_forward = p->turned ? NAN : 0.75;
            v.p_swapped = p->turned ? 0.25 : NAN;
            v.preference = p->turned ? 0.25 : 0.75;
            v.logit_margin = p->turned ? -1 : 1;
            out[i] = v;
            continue;
        }
        v.preference = fake_has(p, "NAN") ? NAN : e->rewards ? v.p_forward : (v.p_forward + v.p_swapped) / 2;
        v.truncated = fake_has(p, "CUT");
        v.tokens = 2 * (10 + (strlen(p->a) + strlen(p->b)) / 4);
        out[i] = v;
        u->tokens += v.tokens;
        u->tokens_computed += v.tokens / 2;
        u->sequences += 2;
    }
    return GRAM_OK;
}

/* The messages of "<|im_start|>ROLE\nCONTENT<|im_end|>\n..."; the last one may lack its end, or its content. */
static gram_status fake_read_chat(gr_engine *e, const char *text, size_t bytes, gram_message **turn, size_t *n,
                                  gram_err *err)
{
    static const char open[] = "<|im_start|>", close[] = "<|im_end|>\n";
    char *p, *copy;

    (void)e;
    *turn = malloc(64 * sizeof **turn + bytes + 1);
    if (!*turn)
        return gr_nomem(err, "chat");
    p = copy = (char *)(*turn + 64);
    memcpy(copy, text, bytes);
    copy[bytes] = '\0';
    for (*n = 0; *p && *n < 64; ) {
        char *role = p + sizeof open - 1, *line = strchr(p, '\n'), *end;
        if (strncmp(p, open, sizeof open - 1) || !line || (strncmp(role, "user\n", 5) &&
                                                           strncmp(role, "assistant\n", 10)
                                                           && strncmp(role, "system\n", 7)))
            break;
        *line = '\0';
        end = strstr(line + 1, close);
        (*turn)[(*n)++] = (gram_message){ .role = role, .content = line + 1 };
        p = end ? end + sizeof close - 1 : line + 1 + strlen(line + 1);
        if (end)
            *end = '\0';
        else if (!strncmp(p - gr_min((size_t)(p - line - 1), 10), "<|im_end|>", 10))
            p[-10] = '\0';
    }
    if (*n > 0 && !*p && !strcmp((*turn)[*n - 1].role, "assistant") && !(*turn)[*n - 1].content[0])
        --*n;                               /* the answer is to come */
    if (*n > 0 && !*p)
        return GRAM_OK;
    free(*turn);
    return gr_fail(err, GRAM_EARG, "the model's own chat template makes this text of no conversation");
}

static gram_status fake_rewards_of(gr_engine *e, const gram_text *text, size_t n, gram_reward *out, size_t *bad,
                                   gram_err *err)
{
    gram_usage *u = e->self;

    *bad = n;
    for (size_t i = 0; i < n; i++) {
        size_t from = text[i].answer, to = text[i].answer_end;
        const char *header = NULL;
        char *answer;
        for (const char *p = text[i].text; (p = strstr(p, "assistant\n")); p++)
            header = p + 10;
        if (to == 0) {
            from = header ? (size_t)(header - text[i].text) : 0;
            to = text[i].bytes;
        }
        answer = gr_strndup(text[i].text + from, to - from);
        if (!answer)
            return gr_nomem(err, "text");
        if (text[i].bytes && strstr(answer, "<|im_end|>") && text[i].answer_end == 0)
            *strstr(answer, "<|im_end|>") = '\0';
        if (strstr(answer, "TOOLONG")) {
            free(answer);
            *bad = i;
            return gr_fail(err, GRAM_ELIMIT, "the text takes 9999 tokens, and at most 2048 may be read");
        }
        out[i] = (gram_reward){ .mean = fake_strength(answer), .sigma = 0.25, .tokens = 10 + text[i].bytes / 4 };
        u->tokens += out[i].tokens;
        u->sequences++;
        free(answer);
    }
    return GRAM_OK;
}

static gram_status fake_show(gr_engine *e, const gram_pair *pair, bool swapped, char **out, gram_err *err)
{
    gr_buf b = { 0 };

    (void)e;
    if (!gr_buf_printf(&b, "<judge>%s\n[A] %s\n[B] %s</judge>", pair->prompt.turn[pair->prompt.n - 1].content,
                       swapped ? pair->b : pair->a, swapped ? pair->a : pair->b))
        return gr_nomem(err, "show");
    *out = b.p;
    return GRAM_OK;
}

static gram_status fake_show_chat(gr_engine *e, gram_prompt prompt, char **out, gram_err *err)
{
    (void)e;
    *out = gr_strndup(prompt.turn[prompt.n - 1].content, strlen(prompt.turn[prompt.n - 1].content));
    return *out ? GRAM_OK : gr_nomem(err, "chat");
}

static void fake_usage(gr_engine *e, gram_usage *out)
{
    *out = *(gram_usage *)e->self;
}

/* A token a byte. */
static gram_status fake_tokenize(gr_engine *e, const char *text, size_t bytes, bool special, int32_t **out, size_t *n,
                                 gram_err *err)
{
    (void)e; (void)special;
    *out = gr_calloc(bytes + 1, sizeof **out);
    if (!*out)
        return gr_nomem(err, "tokens");
    for (size_t i = 0; i < bytes; i++)
        (*out)[i] = (unsigned char)text[i];
    *n = bytes;
    return GRAM_OK;
}

static gram_status fake_prompt_ids(gr_engine *e, const char *text, size_t bytes, int32_t **out, size_t *n,
                                   gram_err *err)
{
    return fake_tokenize(e, text, bytes, true, out, n, err);
}

static gram_status fake_detokenize(gr_engine *e, const int32_t *id, size_t n, bool special, char **out, size_t *bytes,
                                   gram_err *err)
{
    (void)e; (void)special;
    *out = calloc(1, n + 1);
    if (!*out)
        return gr_nomem(err, "text");
    for (size_t i = 0; i < n; i++) {
        if (id[i] > 255) {
            free(*out);
            return gr_fail(err, GRAM_EARG, "token %zu: id %d is not in a vocabulary of 256", i, id[i]);
        }
        (*out)[i] = (char)id[i];
    }
    *bytes = n;
    return GRAM_OK;
}

static gram_status fake_labels(gr_engine *e, const int32_t *const *token, const size_t *n_tokens, size_t n,
                               const int32_t *label, size_t n_labels, float *out, float *log_sum, gram_err *err)
{
    (void)e; (void)token; (void)err;
    for (size_t i = 0; i < n; i++) {
        log_sum[i] = 4;
        for (size_t k = 0; k < n_labels; k++)
            out[i * n_labels + k] = (float)((label[k] + (int32_t)n_tokens[i]) % 7) / 2;
    }
    return GRAM_OK;
}

/* Each answer is "The answer is A. \xe2\x9c\x93" with the check mark in two tokens; then it ends its turn. The first
 * call has no token, as while a prompt is read. Answer k of the prompt NAN k has a logit that is none, and so has
 * the token 200 of a text that is read. To the prompt MUTE, and to one that begins with the token 7, it ends its turn
 * at once. */
static const char *const fake_token[] = { "The", " answer", " is", " A", ".", " \xe2\x9c", "\x93" };
struct fake_answer { gr_buf text; size_t at, shown; bool ended; };
struct gram_writer {
    gram_generation how;
    char *stop[16];
    size_t top, tokens, left;
    bool slow, begun;
    long nan;
    struct fake_answer *answer;
};

static void fake_writer_close(gram_writer *w)
{
    for (size_t i = 0; i < w->how.n_stop; i++)
        free(w->stop[i]);
    for (size_t k = 0; w->answer && k < w->how.n; k++)
        gr_buf_clear(&w->answer[k].text);
    free(w->answer);
    free(w);
}

static gram_status fake_writer_open(gr_engine *e, gram_writer **out, const gram_writing *o, size_t *tokens,
                                    gram_err *err)
{
    const char *prompt = o->id ? "" : o->prompt.turn[o->prompt.n - 1].content;
    gram_writer *w;

    (void)e;
    if (strstr(prompt, "TOOLONG"))
        return gr_fail(err, GRAM_ELIMIT, "9999 tokens, the model reads 2048");
    if (o->id && o->n_ids == 0)
        return gr_fail(err, GRAM_EARG, "the prompt has no tokens");
    if (strstr(prompt, "BUSY"))
        return gr_fail(err, GRAM_EBUSY, "the texts that are being written take all memory");
    w = gr_calloc(1, sizeof *w);
    if (!w)
        return gr_nomem(err, "writer");
    w->how = *o->how;
    w->how.n_stop = 0;
    w->top = o->top;
    w->left = w->how.n;
    w->slow = strstr(prompt, "SLOW") != NULL;
    w->nan = strstr(prompt, "NAN") ? strtol(strstr(prompt, "NAN") + 3, NULL, 10) : -1;
    w->answer = gr_calloc(w->how.n, sizeof *w->answer);
    for (; w->answer && w->how.n_stop < o->how->n_stop; w->how.n_stop++)
        if (!(w->stop[w->how.n_stop] = gr_strdup(o->how->stop[w->how.n_stop])))
            break;
    if (!w->answer || w->how.n_stop < o->how->n_stop) {
        fake_writer_close(w);
        return gr_nomem(err, "writer");
    }
    for (size_t k = 0; k < w->how.n && (strstr(prompt, "MUTE") || (o->id && o->id[0] == 7)); k++)
        w->answer[k].at = GR_COUNT(fake_token);
    *tokens = o->id ? o->n_ids : strlen(prompt);
    *out = w;
    return GRAM_OK;
}

/* Where the first stop string begins, or the end. */
static size_t fake_cut(const gram_writer *w, const gr_buf *text)
{
    size_t n = text->n;

    for (size_t i = 0; i < w->how.n_stop; i++) {
        const char *p = strstr(text->p, w->stop[i]);
        n = p ? gr_min(n, (size_t)(p - text->p)) : n;
    }
    return n;
}

/* So much less one byte of a text may be the beginning of a stop string. */
static size_t fake_longest(const gram_writer *w)
{
    size_t n = 1;

    for (size_t i = 0; i < w->how.n_stop; i++)
        n = gr_max(n, strlen(w->stop[i]));
    return n - 1;
}

static gram_status fake_one(gram_writer *w, size_t k, gram_written_fn *fn, void *arg, gram_err *err)
{
    struct fake_answer *a = &w->answer[k];
    const char *t = a->at < GR_COUNT(fake_token) ? fake_token[a->at] : "";
    gram_rival top[GRAM_TOP_MAX] = { { 0 } };
    gram_written out = { .k = k, .id = (int32_t)a->at, .text = t, .bytes = strlen(t), .top = top, .n_top = w->top,
                         .logprob = -0.5f - (float)k };
    size_t cut;

    for (size_t i = 0; i < w->top; i++)
        top[i] = (gram_rival){ (int32_t)i, i ? "x" : t, i ? 1 : strlen(t), -0.5f - (float)i };
    if (!gr_buf_puts(&a->text, t))
        return gr_nomem(err, "writer");
    a->at++;
    cut = fake_cut(w, &a->text);
    out.by_end = a->at > GR_COUNT(fake_token);
    out.ended = out.by_end || cut < a->text.n || a->at == w->how.max_new_tokens || w->nan == (long)k;
    out.finish = w->nan == (long)k ? GRAM_FINISH_FAILED : out.by_end ? GRAM_FINISH_STOP
               : cut < a->text.n ? GRAM_FINISH_STOP_STRING : GRAM_FINISH_LENGTH;
    out.error = "sampling: a logit is not a finite number: the model's weights are broken";
    if (!out.ended)                                         /* the mark is not whole yet, or a stop string may be */
        cut -= gr_min(cut, t == fake_token[5] ? 2 : fake_longest(w));
    out.more = a->text.p + a->shown;
    out.more_bytes = cut > a->shown ? cut - a->shown : 0;
    a->shown = gr_max(cut, a->shown);
    a->ended = out.ended;
    w->left -= a->ended;
    return fn(arg, &out, err);
}

static gram_status fake_writer_next(gram_writer *w, gram_written_fn *fn, void *arg, bool *more, gram_err *err)
{
    gram_status rc = GRAM_OK;

    for (size_t k = 0; k < w->how.n && w->begun && !rc; k++)
        if (!w->answer[k].ended)
            rc = fake_one(w, k, fn, arg, err);
    w->begun = true;
    *more = w->left > 0;
    if (w->slow)
        usleep(2000);
    return rc;
}

static gram_status fake_text_logprobs(gr_engine *e, const int32_t *id, size_t n, size_t top, gram_written_fn *fn,
                                      void *arg, gram_err *err)
{
    gram_status rc = GRAM_OK;

    (void)e;
    for (size_t i = 0; i < n && !rc; i++) {
        const char text[] = { (char)id[i], 0 };
        gram_rival rival[GRAM_TOP_MAX];
        for (size_t k = 0; k < top; k++)
            rival[k] = (gram_rival){ (int32_t)k, k ? "x" : text, 1, -0.5f - (float)k };
        if (id[i] == 200)
            return gr_fail(err, GRAM_EFORMAT, "token %zu: a logit is not a finite number", i);
        rc = fn(arg, &(gram_written){ .id = id[i], .text = text, .bytes = 1, .logprob = i ? -0.5f : NAN, .top = rival,
                                      .n_top = i ? top : 0 }, err);
    }
    return rc;
}

/* A judge that writes "Because j, A is better." a word at a time; its verdicts follow from the answers' strengths. The
 * texts have their own words: of a pair that holds BOOM they break, of SLOW a word takes 2 ms. */
struct gram_reasoner { gram_rationale_options o; };
struct gram_reasoning { gram_rationale_options o; double m; bool broken, slow; size_t at, from; gram_reasoned out; };
static const char *const fake_reason[] = { "Because", " \xe2\x9c\x93", " <b>A</b>", " is better." };

static size_t fake_rationale_most;          /* tokens of a rationale, as the last reasoner was told */

static gram_status fake_reasoner_open(gr_engine *e, gram_reasoner **out, const gram_rationale_options *o, gram_err *err)
{
    if (e->rewards)
        return gr_fail(err, GRAM_EUNSUPPORTED, "fake: a reward model, which cannot write");
    *out = gr_calloc(1, sizeof **out);
    if (!*out)
        return gr_nomem(err, "reasoner");
    (*out)->o = *o;
    fake_rationale_most = o->max_tokens;
    return GRAM_OK;
}

static void fake_reasoner_close(gram_reasoner *r)
{
    free(r);
}

static void fake_reasoning_close(gram_reasoning *g)
{
    if (g)
        gram_reasoned_clear(&g->out);
    free(g);
}

static gram_status fake_reasoning_open(gram_reasoning **out, gram_reasoner *r, const gram_pair *p, gram_err *err)
{
    gram_reasoning *g = NULL;

    *out = NULL;
    if (fake_has(p, "TOOLONG"))
        return gr_fail(err, GRAM_ELIMIT, "the pair takes 9999 tokens, and at most 2048 may be read");
    g = gr_calloc(1, sizeof *g);
    if (!g || !(g->out.rationale = gr_calloc(r->o.votes, sizeof *g->out.rationale))) {
        free(g);
        return gr_nomem(err, "reasoning");
    }
    g->o = r->o;
    g->m = fake_strength(p->a) - fake_strength(p->b);
    g->broken = fake_has(p, "BOOM");
    g->slow = fake_has(p, "SLOW");
    g->out.n = r->o.early ? r->o.early : r->o.votes;
    g->out.verdict.dropped = fake_has(p, "DROP");
    *out = g;
    return GRAM_OK;
}

static gram_status fake_reasoning_write(gram_reasoning *g, gram_reasoning_fn *fn, void *arg, bool *more, gram_err *err)
{
    const char *word = fake_reason[g->at++];
    gram_status rc = GRAM_OK;

    *more = g->at < GR_COUNT(fake_reason);
    if (g->broken && g->at == 2)
        return gr_fail(err, GRAM_EFORMAT, "the engine broke");
    if (g->slow)
        usleep(2000);
    for (size_t j = g->from; j < g->out.n && !rc; j++) {
        const gram_reasoning_part part = { j, j % 2 == 1, !*more, word, strlen(word) };
        rc = fn ? fn(arg, &part, err) : GRAM_OK;
    }
    return rc;
}

static gram_status fake_reasoning_read(gram_reasoning *g, bool *more, gram_err *err)
{
    gram_reasoned *v = &g->out;

    for (size_t j = g->from; j < v->n; j++) {
        gram_rationale *r = &v->rationale[j];
        gr_buf b = { 0 };
        for (size_t i = 0; i < GR_COUNT(fake_reason); i++)
            if (!gr_buf_puts(&b, fake_reason[i])) {
                gr_buf_clear(&b);
                return gr_nomem(err, "reasoning");
            }
        *r = (gram_rationale){ .text = b.p, .swapped = j % 2 == 1, .p = 1 / (1 + exp(-g->m)), .tokens = 4,
                               .status = GRAM_RATIONALE_CLOSED };
        v->votes[g->m < 0]++;
        v->written += 4;
    }
    g->from = v->n;
    g->at = 0;
    *more = v->n < g->o.votes && fabs(g->m) < 1;
    v->early = v->n < g->o.votes && !*more;
    v->n = *more ? g->o.votes : v->n;
    v->verdict.preference = v->verdict.p_forward = v->verdict.p_swapped = v->hard = 1 / (1 + exp(-g->m));
    v->verdict.logit_margin = g->m;
    v->verdict.consistent = true;
    v->verdict.tokens = 20 + v->written;
    return GRAM_OK;
}

static const gram_reasoned *fake_reasoning_verdict(const gram_reasoning *g)
{
    return &g->out;
}

static gram_status fake_reason_show(gram_reasoner *r, const gram_pair *p, bool swapped, char **out, gram_err *err)
{
    gr_buf b = { 0 };

    (void)r;
    if (!gr_buf_printf(&b, "reason on %s, %s", swapped ? p->b : p->a, swapped ? p->a : p->b))
        return gr_nomem(err, "reasoner");
    *out = b.p;
    return GRAM_OK;
}

static void fake_set_turns(gr_engine *e, const gram_turns *turns)
{
    ((struct fake_self *)e->self)->turns = turns ? *turns : (gram_turns){ 0 };
}

static gram_status fake_open(gr_engine *e, gram_err *err)
{
    if (!strcmp(e->path, "missing"))
        return gr_fail(err, GRAM_EIO, "missing: no such file");
    if (!strcmp(e->path, "held"))
        fake_wait();
    e->rewards = e->spread = !strcmp(e->path, "head");
    e->self = calloc(1, sizeof(struct fake_self));
    return e->self ? GRAM_OK : gr_nomem(err, "fake");
}

static void fake_close(gr_engine *e)
{
    free(e->self);
    e->self = NULL;
}

static inline gr_engine fake_engine(const char *path)
{
    return (gr_engine){ .path = path, .open = fake_open, .close = fake_close, .score = fake_score,
                        .rewards_of = fake_rewards_of, .read_chat = fake_read_chat, .show = fake_show,
                        .usage = fake_usage, .tokenize = fake_tokenize, .detokenize = fake_detokenize,
                        .show_chat = fake_show_chat, .label_logits = fake_labels,
                        .writer_open = fake_writer_open, .writer_next = fake_writer_next,
                        .writer_close = fake_writer_close, .set_turns = fake_set_turns,
                        .text_logprobs = fake_text_logprobs,
                        .reasoner_open = fake_reasoner_open, .reasoner_close = fake_reasoner_close,
                        .reason_show = fake_reason_show, .reasoning_open = fake_reasoning_open,
                        .reasoning_write = fake_reasoning_write, .reasoning_read = fake_reasoning_read,
                        .reasoning_verdict = fake_reasoning_verdict, .reasoning_close = fake_reasoning_close,
                        .prompt_ids = fake_prompt_ids, .rank = gram_rank_by };
}

#endif
