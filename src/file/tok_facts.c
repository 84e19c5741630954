/* tok_facts.c - see tok_facts.h. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/json.h"
#include "file/file_int.h"
#include "file/io.h"
#include "file/tok_facts.h"
#include "text/tokenizer.h"

#define SMALL_MOST ((size_t)64 << 20)

/* A token's text: a string, or an object with "content". */
static const char *token_text(const json_t *v)
{
    return json_is_object(v) ? json_string_value(json_object_get(v, "content")) : json_string_value(v);
}

static bool copy(char **out, const char *s)
{
    *out = s ? gr_strdup(s) : NULL;
    return !s || *out;
}

/* An object of a file, or an empty one where there is no such file. */
static gram_status read_object(json_t **out, const char *dir, const char *file, gram_err *err)
{
    char *path = gr_path_join(dir, file), *text = NULL;
    size_t n;
    json_error_t je;
    gram_status rc = path ? GRAM_OK : gr_nomem(err, dir);

    *out = NULL;
    if (!rc && gr_path_named(path))
        rc = gr_read_file(path, SMALL_MOST, &text, &n, err);
    if (!rc)                                    /* "model_max_length" is often about 1e30 */
        *out = text ? gr_json_loadb(text, n, JSON_DECODE_INT_AS_REAL, &je) : json_object();
    if (!rc && !*out && (!text || json_error_code(&je) == json_error_out_of_memory))
        rc = gr_nomem(err, path);
    else if (!rc && !json_is_object(*out))
        rc = gr_fail(err, GRAM_EFORMAT, "%s:%d: wanted a JSON object: %s", path, *out ? 1 : je.line,
                     *out ? "found another value" : je.text);
    if (rc) {
        json_decref(*out);
        *out = NULL;
    }
    free(path);
    free(text);
    return rc;
}

static bool names_token(const char *key)
{
    size_t n = strlen(key);

    return n > 6 && !strcmp(key + n - 6, "_token") && strncmp(key, "add_", 4);
}

/* The entries that are tokens; those of a model's own are under a key that ends in _token too, or in an object. */
static bool add_tokens(json_t *tokens, const json_t *from)
{
    static const char *const inner[] = { "extra_special_tokens", "model_specific_special_tokens" };
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)(uintptr_t)from, key, v)
        if (names_token(key) && token_text(v) && json_object_set_new(tokens, key, json_string(token_text(v))))
            return false;
    for (size_t i = 0; i < GR_COUNT(inner); i++)
        if (json_is_object(json_object_get(from, inner[i])) && !add_tokens(tokens, json_object_get(from, inner[i])))
            return false;
    return true;
}

/* ---- Tokens that the tokenizer should have --------------------------------------------------------- */

static bool add_special(json_t *to, const json_t *token, const char *name)
{
    const char *text = token_text(token);

    return !text || json_object_get(to, text) || !json_object_set_new(to, text, name ? json_string(name) : json_null());
}

/* Lists of further ones, and added tokens by their ids; extra_special_tokens is a list in transformers 5 alone. */
static bool add_lists(json_t *to, const json_t *from)
{
    static const char *const key[] = { "additional_special_tokens", "extra_special_tokens" };
    const char *id;
    json_t *one;
    bool ok = true;
    size_t k;

    for (size_t i = 0; i < GR_COUNT(key); i++)
        json_array_foreach(json_object_get(from, key[i]), k, one)
            ok = ok && add_special(to, one, NULL);
    json_object_foreach(json_object_get(from, "added_tokens_decoder"), id, one)
        ok = ok && add_special(to, one, NULL);
    return ok;
}

/* added: added_tokens.json, ids by texts, which slow tokenizers write. */
static json_t *special_of(const json_t *named, const json_t *config, const json_t *map, const json_t *added)
{
    bool older = !json_object_get(config, "added_tokens_decoder");
    json_t *to = json_object(), *v;
    const char *name;
    bool ok = to != NULL;

    json_object_foreach((json_t *)(uintptr_t)named, name, v)
        ok = ok && add_special(to, v, name);
    ok = ok && add_lists(to, config) && (!older || add_lists(to, map));
    json_object_foreach((json_t *)(uintptr_t)added, name, v)
        ok = ok && (json_object_get(to, name) || !json_object_set_new(to, name, json_null()));
    if (ok)
        return to;
    json_decref(to);
    return NULL;
}

/* Whether the template writes a token: spelt out, or by its name. */
static bool is_written(const gr_tok_facts *f, const char *text, const char *name)
{
    const char *in[] = { f->chat.jinja, f->chat.tools };

    for (size_t i = 0; i < GR_COUNT(in); i++)
        if (in[i] && (strstr(in[i], text) || (name && strstr(in[i], name))))
            return true;
    return false;
}

gram_status gr_tok_facts_check(const gr_tok_facts *f, const gr_tok *t, const char *dir, gram_err *err)
{
    int spaced = gr_tok_spaced(t);
    gram_status rc = GRAM_OK;
    const char *text;
    json_t *name;

    if (f->prefix != GR_PREFIX_UNSAID && spaced >= 0 && spaced != (f->prefix == GR_PREFIX_YES))
        return gr_fail(err, GRAM_EFORMAT, "%s: tokenizer_config.json has \"add_prefix_space\" %s, and the ByteLevel of "
                       "tokenizer.json %s: wanted the same in both", dir, spaced ? "false" : "true",
                       spaced ? "true" : "false");
    json_object_foreach(f->special, text, name) {
        gr_ids ids = { 0 };
        if (!*text || !is_written(f, text, json_string_value(name)))
            continue;
        rc = gr_tok_encode(t, text, strlen(text), true, &ids, err);
        if (!rc && ids.n != 1)
            rc = gr_fail(err, GRAM_EFORMAT, "%s: the chat template writes \"%.64s\", which tokenizer_config.json (or "
                         "special_tokens_map.json, or added_tokens.json) calls a token, and the tokenizer has none of "
                         "that text", dir, text);
        gr_ids_clear(&ids);
        if (rc)
            break;
    }
    return rc;
}

/* ---- Reading -------------------------------------------------------------------------------------- */

static bool take_tokens(gr_tok_facts *f, const json_t *config, const json_t *map, const json_t *added)
{
    json_t *tokens = json_object();
    /* As transformers: the older file is heeded where the newer does not list its tokens. */
    bool ok = tokens && add_tokens(tokens, config)
           && (json_object_get(config, "added_tokens_decoder") || add_tokens(tokens, map));

    ok = ok && copy(&f->bos, json_string_value(json_object_get(tokens, "bos_token")))
      && copy(&f->eos, json_string_value(json_object_get(tokens, "eos_token")))
      && copy(&f->unk, json_string_value(json_object_get(tokens, "unk_token")))
      && copy(&f->pad, json_string_value(json_object_get(tokens, "pad_token")))
      && (f->tokens = gr_json_text(tokens, JSON_COMPACT))
      && (f->special = special_of(tokens, config, map, added));
    json_decref(tokens);
    return ok;
}

gram_status gr_tok_facts_read(gr_tok_facts *out, const char *dir, gram_err *err)
{
    json_t *config, *map = NULL, *added = NULL;
    gram_status rc = read_object(&config, dir, "tokenizer_config.json", err);

    *out = (gr_tok_facts){ 0 };
    if (!rc)
        rc = read_object(&map, dir, "special_tokens_map.json", err);
    if (!rc)
        rc = read_object(&added, dir, "added_tokens.json", err);
    if (!rc && !take_tokens(out, config, map, added))
        rc = gr_nomem(err, "special tokens");
    if (!rc)
        rc = gr_templates_of_dir(&out->chat, dir, config, err);
    out->add_bos = json_is_true(json_object_get(config, "add_bos_token"));
    out->add_eos = json_is_true(json_object_get(config, "add_eos_token"));
    if (json_is_boolean(json_object_get(config, "add_prefix_space")))
        out->prefix = json_is_true(json_object_get(config, "add_prefix_space")) ? GR_PREFIX_YES : GR_PREFIX_NO;
    json_decref(config);
    json_decref(map);
    json_decref(added);
    if (rc)
        gr_tok_facts_clear(out);
    return rc;
}

void gr_tok_facts_clear(gr_tok_facts *f)
{
    gr_templates_clear(&f->chat);
    free(f->bos);
    free(f->eos);
    free(f->unk);
    free(f->pad);
    free(f->tokens);
    json_decref(f->special);
    *f = (gr_tok_facts){ 0 };
}
