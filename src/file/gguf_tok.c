/* gguf_tok.c - see gguf_tok.h. What a GGUF leaves open is as llama.cpp takes it. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/err.h"
#include "file/gguf_tok.h"
#include "file/io.h"

#define TOKENIZER_MOST ((size_t)512 << 20)      /* Gemma's tokenizer.json has 33 MB */

/* What GGUF has no key for: ids of added tokens, their GR_TOK_*, and Metaspace's prepend_scheme. */
#define FLAGGED "gram.tokenizer.added_tokens"
#define FLAGS   "gram.tokenizer.added_token_flags"
#define SCHEME  "gram.tokenizer.prepend_scheme"

/* ---- From a GGUF ---------------------------------------------------------------------------------- */

static int32_t token_id(const gr_gguf *g, const char *key, size_t n_tokens)
{
    uint64_t id;

    return gr_gguf_u64(g, key, &id) && id < n_tokens ? (int32_t)id : -1;
}

/* Flags of added tokens, in keys of our own: GGUF has none for them. */
static gram_status read_flags(gr_tok_lists *t, const gr_gguf *g, const char *path, gram_err *err)
{
    size_t n = gr_gguf_count(g, FLAGGED), n_tokens = t->spec.n_tokens;
    int32_t *id, *flag;
    gram_status rc = GRAM_OK;

    if (n == 0)
        return GRAM_OK;
    id = gr_calloc(n, sizeof *id);
    flag = gr_calloc(n, sizeof *flag);
    t->flag = gr_calloc(n_tokens, sizeof *t->flag);
    if (!id || !flag || !t->flag)
        rc = gr_nomem(err, path);
    else if (gr_gguf_count(g, FLAGS) != n || !gr_gguf_i32s(g, FLAGGED, id) || !gr_gguf_i32s(g, FLAGS, flag))
        rc = gr_fail(err, GRAM_EFORMAT, "%s: keys " FLAGGED " and " FLAGS ": wanted two lists of int32, equally long",
                     path);
    for (size_t i = 0; i < n && !rc; i++) {
        if (id[i] < 0 || (size_t)id[i] >= n_tokens || flag[i] < 0 || flag[i] > 31)
            rc = gr_fail(err, GRAM_EFORMAT, "%s: key " FLAGGED ": token %d with the flags %d, in a vocabulary of %zu",
                         path, id[i], flag[i], n_tokens);
        else
            t->flag[id[i]] = (uint8_t)flag[i];
    }
    t->spec.flag = t->flag;
    free(id);
    free(flag);
    return rc;
}

static bool contains(gr_str s, const char *word)
{
    size_t n = strlen(word);

    for (size_t i = 0; i + n <= s.n; i++)
        if (!strncasecmp(s.p + i, word, n))
            return true;
    return false;
}

/* Tokens that strip, as llama.cpp knows them by the model's name where the file does not say. */
static gram_status known_flags(gr_tok_lists *t, const gr_gguf *g, const char *path, gram_err *err)
{
    gr_tok_spec *s = &t->spec;
    gr_str name = { "", 0 };
    bool phi3, bert, jina;

    gr_gguf_str(g, "general.name", &name);
    phi3 = contains(name, "phi-3") || contains(name, "phi3");
    bert = contains(name, "modern-bert");
    jina = contains(s->pre, "jina-v2-de") || contains(s->pre, "jina-v2-es") || contains(s->pre, "jina-v2-code");
    if (s->flag || !s->type || !(phi3 || bert || jina))
        return GRAM_OK;
    t->flag = gr_calloc(s->n_tokens, sizeof *t->flag);
    if (!t->flag)
        return gr_nomem(err, path);
    for (size_t i = 0; i < s->n_tokens; i++) {
        bool added = s->type[i] >= 2 && s->type[i] <= 4, plain = gr_str_is(s->token[i], "<unk>") ||
                     gr_str_is(s->token[i], "<s>") || gr_str_is(s->token[i], "<|endoftext|>");
        if (phi3 && added && !plain)
            t->flag[i] = GR_TOK_RSTRIP;
        if ((jina && gr_str_is(s->token[i], "<mask>")) || (bert && gr_str_is(s->token[i], "[MASK]")))
            t->flag[i] = GR_TOK_LSTRIP;
    }
    s->flag = t->flag;
    return GRAM_OK;
}

static gram_status read_lists(gr_tok_lists *t, const gr_gguf *g, const char *path, gram_err *err)
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
    return read_flags(t, g, path, err);
}

static gram_status read_scheme(gr_tok_spec *s, const gr_gguf *g, const char *path, gram_err *err)
{
    gr_str v;

    if (!gr_gguf_str(g, SCHEME, &v))
        return GRAM_OK;
    if (!gr_str_is(v, "always") && !gr_str_is(v, "first"))
        return gr_fail(err, GRAM_EFORMAT, "%s: key " SCHEME " is \"%.*s\", always or first wanted", path,
                       (int)(v.n < 60 ? v.n : 60), v.p);
    s->scheme = gr_str_is(v, "first") ? GR_SCHEME_FIRST : GR_SCHEME_ALWAYS;
    return GRAM_OK;
}

gram_status gr_gguf_tok_read(gr_gguf_tok *out, const gr_weights *w, gram_err *err)
{
    const gr_gguf *g = gr_weights_gguf(w);
    const char *path = gr_weights_path(w);
    gr_gguf_tok t = { .lists.spec.add_space_prefix = true };
    gr_tok_spec *s = &t.lists.spec;
    gram_status rc;

    *out = (gr_gguf_tok){ 0 };
    if (!gr_gguf_str(g, "tokenizer.ggml.model", &s->model))
        return gr_fail(err, GRAM_EFORMAT, "%s: key tokenizer.ggml.model is missing: no tokenizer in this file", path);
    if (!gr_gguf_str(g, "tokenizer.ggml.pre", &s->pre))
        s->pre = (gr_str){ "", 0 };
    rc = read_lists(&t.lists, g, path, err);
    if (!rc)
        rc = known_flags(&t.lists, g, path, err);
    if (!rc)
        rc = read_scheme(s, g, path, err);
    if (rc) {
        gr_gguf_tok_clear(&t);
        return rc;
    }
    gr_gguf_bool(g, "tokenizer.ggml.add_space_prefix", &s->add_space_prefix);
    s->unknown_id = token_id(g, "tokenizer.ggml.unknown_token_id", s->n_tokens);
    t.bos = token_id(g, "tokenizer.ggml.bos_token_id", s->n_tokens);
    t.eos = token_id(g, "tokenizer.ggml.eos_token_id", s->n_tokens);
    t.pad = token_id(g, "tokenizer.ggml.padding_token_id", s->n_tokens);
    t.add_bos = gr_str_is(s->model, "llama") || gr_tok_pre_adds_bos(s->pre);
    gr_gguf_bool(g, "tokenizer.ggml.add_bos_token", &t.add_bos);
    gr_gguf_bool(g, "tokenizer.ggml.add_eos_token", &t.add_eos);
    rc = gr_templates_of_gguf(&t.facts.chat, g, path, err);
    if (rc)
        gr_gguf_tok_clear(&t);
    else
        *out = t;
    return rc;
}

bool gr_gguf_tok_none(const gr_weights *w)
{
    gr_str model;

    return gr_gguf_str(gr_weights_gguf(w), "tokenizer.ggml.model", &model) &&
           (gr_str_is(model, "none") || gr_str_is(model, "no_vocab"));
}

/* ---- From a directory ----------------------------------------------------------------------------- */

/* The id of a token's text; otherwise that of config.json, where the vocabulary has it. */
static int32_t find(const gr_gguf_tok *t, const char *text, int32_t otherwise)
{
    const gr_tok_spec *s = &t->lists.spec;

    for (size_t i = 0; text && i < s->n_tokens; i++)
        if (gr_str_is(s->token[i], text))
            return (int32_t)i;
    return otherwise >= 0 && (size_t)otherwise < s->n_tokens ? otherwise : -1;
}

/* What a TemplateProcessing puts around a text. */
static void read_template(gr_gguf_tok *t, const json_t *post)
{
    const char *type = json_string_value(json_object_get(post, "type"));
    const json_t *single = json_object_get(post, "single"), *v;
    size_t i;

    json_array_foreach(json_object_get(post, "processors"), i, v)
        read_template(t, v);
    if (!type || strcmp(type, "TemplateProcessing"))
        return;
    t->add_bos = json_object_get(json_array_get(single, 0), "SpecialToken") != NULL;
    t->add_eos = json_array_size(single) > 1 &&
                 json_object_get(json_array_get(single, json_array_size(single) - 1), "SpecialToken") != NULL;
}

/* A file's text, or NULL where there is none. */
static gram_status read_beside(char **text, size_t *n, const char *dir, const char *name, gram_err *err)
{
    char *path = gr_path_join(dir, name);
    gram_status rc = path ? GRAM_OK : gr_nomem(err, dir);

    *text = NULL;
    if (!rc && gr_path_exists(path))
        rc = gr_read_file(path, TOKENIZER_MOST, text, n, err);
    free(path);
    return rc;
}

gram_status gr_dir_tok_model(gr_tok_lists *out, const char *dir, size_t ids, gram_err *err)
{
    char *path = gr_path_join(dir, "tokenizer.model"), *text = NULL, *config = NULL, *added = NULL;
    size_t n, n_config = 0, n_added;
    gram_status rc = path ? gr_read_file(path, TOKENIZER_MOST, &text, &n, err) : gr_nomem(err, dir);

    *out = (gr_tok_lists){ 0 };
    if (!rc)
        rc = read_beside(&config, &n_config, dir, "tokenizer_config.json", err);
    if (!rc)
        rc = read_beside(&added, &n_added, dir, "added_tokens.json", err);
    if (!rc && added && !(config && strstr(config, "\"added_tokens_decoder\"")))
        rc = gr_fail(err, GRAM_EUNSUPPORTED, "%s: added_tokens.json beside a tokenizer.model, without what "
                     "tokenizer_config.json says of such tokens; transformers writes a tokenizer.json: "
                     "AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)", dir);
    if (!rc)
        rc = gr_tok_model_read(out, path, text, n, config, n_config, ids, err);
    free(path);
    free(text);
    free(config);
    free(added);
    return rc;
}

static gram_status lists_of_dir(gr_tok_lists *out, const char *dir, size_t ids, gram_err *err)
{
    char *path = gr_path_join(dir, "tokenizer.json"), *text = NULL;
    size_t n;
    gram_status rc = !path ? gr_nomem(err, dir) : GRAM_OK;

    if (!rc && !gr_path_exists(path))
        rc = gr_dir_tok_model(out, dir, ids, err);
    else if (!rc)
        rc = gr_read_file(path, TOKENIZER_MOST, &text, &n, err);
    if (!rc && text)
        rc = gr_tok_lists_read(out, path, text, n, ids, err);
    free(path);
    free(text);
    return rc;
}

gram_status gr_gguf_tok_of_dir(gr_gguf_tok *out, const char *dir, const gr_config *c, gram_err *err)
{
    gr_gguf_tok t = { 0 };
    gram_status rc = lists_of_dir(&t.lists, dir, c->vocabulary, err);

    *out = (gr_gguf_tok){ 0 };
    if (!rc)
        rc = gr_tok_facts_read(&t.facts, dir, err);
    if (rc) {
        gr_gguf_tok_clear(&t);
        return rc;
    }
    t.bos = find(&t, t.facts.bos, c->bos);
    t.eos = find(&t, t.facts.eos, c->eos);
    t.pad = find(&t, t.facts.pad, -1);
    if (t.lists.spec.unknown_id < 0)
        t.lists.spec.unknown_id = find(&t, t.facts.unk, -1);
    t.add_bos = t.facts.add_bos && t.bos >= 0;
    t.add_eos = t.facts.add_eos && t.eos >= 0;
    read_template(&t, json_object_get(t.lists.root, "post_processor"));
    *out = t;
    return GRAM_OK;
}

/* ---- To a GGUF ------------------------------------------------------------------------------------ */

static void add_id(gr_keys *k, const char *key, int32_t id)
{
    if (id >= 0)
        gr_keys_u32(k, key, (uint32_t)id);
}

static void add_flags(const gr_tok_spec *s, gr_keys *k)
{
    int32_t *id = gr_calloc(s->n_tokens, sizeof *id), *flag = gr_calloc(s->n_tokens, sizeof *flag);
    size_t n = 0;

    if (!id || !flag)
        k->failed = true;
    for (size_t i = 0; id && flag && i < s->n_tokens; i++)
        if (s->flag[i]) {
            id[n] = (int32_t)i;
            flag[n++] = s->flag[i];
        }
    if (n) {
        gr_keys_i32s(k, FLAGGED, id, n);
        gr_keys_i32s(k, FLAGS, flag, n);
    }
    free(id);
    free(flag);
}

/* Each under a key of its own, as llama.cpp's converter has them. */
static void add_templates(const gr_gguf_tok *t, gr_keys *k)
{
    const char *name;
    json_t *v;

    json_object_foreach(t->facts.chat.named, name, v) {
        gr_buf key = { 0 };
        bool plain = !strcmp(name, "default");
        if (!gr_buf_printf(&key, "tokenizer.chat_template%s%s", plain ? "" : ".", plain ? "" : name))
            k->failed = true;
        else if (json_is_string(v))
            gr_keys_str(k, key.p, (gr_str){ json_string_value(v), json_string_length(v) });
        gr_buf_clear(&key);
    }
}

void gr_gguf_tok_keys(const gr_gguf_tok *t, gr_keys *k)
{
    const gr_tok_spec *s = &t->lists.spec;

    gr_keys_str(k, "tokenizer.ggml.model", s->model);
    if (s->pre.n)
        gr_keys_str(k, "tokenizer.ggml.pre", s->pre);
    gr_keys_strs(k, "tokenizer.ggml.tokens", s->token, s->n_tokens);
    if (s->score)
        gr_keys_f32s(k, "tokenizer.ggml.scores", s->score, s->n_tokens);
    if (s->type)
        gr_keys_i32s(k, "tokenizer.ggml.token_type", s->type, s->n_tokens);
    if (!gr_str_is(s->model, "llama"))
        gr_keys_strs(k, "tokenizer.ggml.merges", s->merge, s->n_merges);
    else
        gr_keys_bool(k, "tokenizer.ggml.add_space_prefix", s->add_space_prefix);
    if (s->flag)
        add_flags(s, k);
    if (s->add_space_prefix && s->scheme)
        gr_keys_str(k, SCHEME, s->scheme == GR_SCHEME_FIRST ? (gr_str){ "first", 5 } : (gr_str){ "always", 6 });
    add_id(k, "tokenizer.ggml.bos_token_id", t->bos);
    add_id(k, "tokenizer.ggml.eos_token_id", t->eos);
    add_id(k, "tokenizer.ggml.padding_token_id", t->pad);
    add_id(k, "tokenizer.ggml.unknown_token_id", s->unknown_id);
    gr_keys_bool(k, "tokenizer.ggml.add_bos_token", t->add_bos);
    gr_keys_bool(k, "tokenizer.ggml.add_eos_token", t->add_eos);
    add_templates(t, k);
}

void gr_gguf_tok_clear(gr_gguf_tok *t)
{
    gr_tok_lists_clear(&t->lists);
    gr_tok_facts_clear(&t->facts);
    *t = (gr_gguf_tok){ 0 };
}
