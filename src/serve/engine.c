/* engine.c - the real engine: gram.h behind the pointers of engine.h, and nothing that gram.h does not give. */
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "serve/engine.h"

typedef struct {
    gram_model *model;
    const gram_tokenizer *tokenizer;    /* the model's */
} libgram;

static void lib_close(gr_engine *e)
{
    libgram *l = e->self;

    if (!l)
        return;
    gram_close(l->model);
    free(l);
    e->self = NULL;
}

static gram_status lib_open(gr_engine *e, gram_err *err)
{
    gram_status rc;
    libgram *l = calloc(1, sizeof *l);

    if (!l)
        return gr_nomem(err, e->path);
    e->self = l;
    rc = gram_open(&l->model, e->path, &e->options, err);
    if (!rc)
        rc = gram_tokenizer_of(&l->tokenizer, l->model, err);
    if (rc) {
        lib_close(e);
        return rc;
    }
    e->rewards = e->options.pointwise || strcmp(gram_head(l->model), "vocabulary");
    e->spread = !strcmp(gram_head(l->model), "purm");
    e->temperature = gram_temperature(l->model);
    e->arithmetic = gram_arithmetic(l->model);
    gram_fingerprint(l->model, e->fingerprint);
    return GRAM_OK;
}

static gram_model *model(gr_engine *e)
{
    return ((libgram *)e->self)->model;
}

static gram_status lib_score(gr_engine *e, const gram_pair *pair, size_t n, gram_verdict *out, size_t *bad,
                             gram_err *err)
{
    return gram_score_each(model(e), pair, n, out, bad, err);
}

static gram_status lib_rewards_of(gr_engine *e, const gram_text *text, size_t n, gram_reward *out, size_t *bad,
                                  gram_err *err)
{
    return gram_text_rewards(model(e), text, n, out, bad, err);
}

static gram_status lib_read_chat(gr_engine *e, const char *text, size_t bytes, gram_message **turn, size_t *n,
                                 gram_err *err)
{
    return gram_read_chat(model(e), text, bytes, turn, n, err);
}

static gram_status lib_show(gr_engine *e, const gram_pair *pair, bool swapped, char **out, gram_err *err)
{
    return gram_show_prompt(model(e), pair, swapped, out, err);
}

static void lib_usage(gr_engine *e, gram_usage *out)
{
    *out = gram_get_usage(model(e));
}

static gram_status lib_tokenize(gr_engine *e, const char *text, size_t bytes, bool special, int32_t **out, size_t *n,
                                gram_err *err)
{
    return gram_tokenize(((libgram *)e->self)->tokenizer, text, bytes, special, out, n, err);
}

static gram_status lib_prompt_ids(gr_engine *e, const char *text, size_t bytes, int32_t **out, size_t *n,
                                  gram_err *err)
{
    return gram_tokenize_prompt(((libgram *)e->self)->tokenizer, text, bytes, out, n, err);
}

static gram_status lib_detokenize(gr_engine *e, const int32_t *id, size_t n, bool special, char **out, size_t *bytes,
                                  gram_err *err)
{
    return gram_detokenize(((libgram *)e->self)->tokenizer, id, n, special, out, bytes, err);
}

static gram_status lib_show_chat(gr_engine *e, gram_prompt prompt, char **out, gram_err *err)
{
    return gram_show_chat(model(e), prompt, out, err);
}

static gram_status lib_label_logits(gr_engine *e, const int32_t *const *token, const size_t *n_tokens, size_t n,
                                    const int32_t *label, size_t n_labels, float *out, float *log_sum, gram_err *err)
{
    return gram_label_logits(model(e), token, n_tokens, n, label, n_labels, out, log_sum, err);
}

static gram_status lib_writer_open(gr_engine *e, gram_writer **out, const gram_writing *w, size_t *prompt_tokens,
                                   gram_err *err)
{
    gram_status rc = gram_writer_open(out, model(e), w, err);

    if (!rc)
        *prompt_tokens = gram_writer_prompt_tokens(*out);
    return rc;
}

static gram_status lib_text_logprobs(gr_engine *e, const int32_t *id, size_t n, size_t top, gram_written_fn *fn,
                                     void *arg, gram_err *err)
{
    return gram_text_logprobs(model(e), id, n, top, fn, arg, err);
}

static gram_status lib_reasoner_open(gr_engine *e, gram_reasoner **out, const gram_rationale_options *o, gram_err *err)
{
    return gram_reasoner_open(out, model(e), o, err);
}

static void lib_set_turns(gr_engine *e, const gram_turns *turns)
{
    gram_set_turns(model(e), turns);
}

void gr_engine_libgram(gr_engine *e)
{
    e->open = lib_open;
    e->close = lib_close;
    e->score = lib_score;
    e->rewards_of = lib_rewards_of;
    e->read_chat = lib_read_chat;
    e->show = lib_show;
    e->usage = lib_usage;
    e->tokenize = lib_tokenize;
    e->prompt_ids = lib_prompt_ids;
    e->detokenize = lib_detokenize;
    e->show_chat = lib_show_chat;
    e->rank = gram_rank_by;
    e->label_logits = lib_label_logits;
    e->writer_open = lib_writer_open;
    e->writer_next = gram_writer_next;
    e->writer_close = gram_writer_close;
    e->text_logprobs = lib_text_logprobs;
    e->reasoner_open = lib_reasoner_open;
    e->reasoner_close = gram_reasoner_close;
    e->reason_show = gram_reason_show;
    e->reasoning_open = gram_reasoning_open;
    e->reasoning_write = gram_reasoning_write;
    e->reasoning_read = gram_reasoning_read;
    e->reasoning_verdict = gram_reasoning_verdict;
    e->reasoning_close = gram_reasoning_close;
    e->set_turns = lib_set_turns;
}
