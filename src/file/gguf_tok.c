/* gguf_tok.c - see gguf_tok.h. What a file leaves open is as llama.cpp takes it. */
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "file/gguf_tok.h"

static int32_t token_id(const gr_gguf *g, const char *key, size_t n_tokens)
{
    uint64_t id;

    return gr_gguf_u64(g, key, &id) && id < n_tokens ? (int32_t)id : -1;
}

static gram_status read_lists(gr_gguf_tok *t, const gr_gguf *g, const char *path, gram_err *err)
{
    gr_tok_spec *s = &t->spec;

    s->n_tokens = gr_gguf_count(g, "tokenizer.ggml.tokens");
    s->n_merges = gr_gguf_count(g, "tokenizer.ggml.merges");
    t->token = gr_calloc(s->n_tokens, sizeof *t->token);
    t->merge = gr_calloc(s->n_merges, sizeof *t->merge);
    t->score = gr_calloc(s->n_tokens, sizeof *t->score);
    t->type = gr_calloc(s->n_tokens, sizeof *t->type);
    if (!t->token || !t->merge || !t->score || !t->type)
        return gr_nomem(err, path);
    if (s->n_tokens == 0 || !gr_gguf_strs(g, "tokenizer.ggml.tokens", t->token) ||
        (s->n_merges && !gr_gguf_strs(g, "tokenizer.ggml.merges", t->merge)))
        return gr_fail(err, GRAM_EFORMAT, "%s: keys tokenizer.ggml.tokens and .merges: wanted lists of strings", path);
    s->token = t->token;
    s->merge = t->merge;
    if (gr_gguf_count(g, "tokenizer.ggml.scores") == s->n_tokens &&
        gr_gguf_f32s(g, "tokenizer.ggml.scores", t->score))
        s->score = t->score;
    if (gr_gguf_count(g, "tokenizer.ggml.token_type") == s->n_tokens &&
        gr_gguf_i32s(g, "tokenizer.ggml.token_type", t->type))
        s->type = t->type;
    return GRAM_OK;
}

gram_status gr_gguf_tok_read(gr_gguf_tok *out, const gr_weights *w, gram_err *err)
{
    const gr_gguf *g = gr_weights_gguf(w);
    const char *path = gr_weights_path(w);
    gr_gguf_tok t = { .spec = { .add_space_prefix = true } };
    gr_tok_spec *s = &t.spec;
    gram_status rc;

    *out = (gr_gguf_tok){ 0 };
    if (!gr_gguf_str(g, "tokenizer.ggml.model", &s->model))
        return gr_fail(err, GRAM_EFORMAT, "%s: key tokenizer.ggml.model is missing: no tokenizer in this file", path);
    if (!gr_gguf_str(g, "tokenizer.ggml.pre", &s->pre))
        s->pre = (gr_str){ "", 0 };
    rc = read_lists(&t, g, path, err);
    if (rc) {
        gr_gguf_tok_clear(&t);
        return rc;
    }
    gr_gguf_bool(g, "tokenizer.ggml.add_space_prefix", &s->add_space_prefix);
    s->unknown_id = token_id(g, "tokenizer.ggml.unknown_token_id", s->n_tokens);
    t.bos = token_id(g, "tokenizer.ggml.bos_token_id", s->n_tokens);
    t.eos = token_id(g, "tokenizer.ggml.eos_token_id", s->n_tokens);
    t.pad = token_id(g, "tokenizer.ggml.padding_token_id", s->n_tokens);
    t.add_bos = gr_str_is(s->model, "llama") || gr_str_is(s->pre, "llama-bpe");
    gr_gguf_bool(g, "tokenizer.ggml.add_bos_token", &t.add_bos);
    gr_gguf_bool(g, "tokenizer.ggml.add_eos_token", &t.add_eos);
    gr_gguf_str(g, "tokenizer.chat_template", &t.chat_template);
    *out = t;
    return GRAM_OK;
}

void gr_gguf_tok_clear(gr_gguf_tok *t)
{
    free(t->token);
    free(t->merge);
    free(t->score);
    free(t->type);
    *t = (gr_gguf_tok){ 0 };
}
