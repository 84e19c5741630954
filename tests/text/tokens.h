/* tokens.h - what the two tests of the tokenizer share: files, lists as a GGUF file has them, comparing ids. */
#ifndef TOKENS_H
#define TOKENS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <jansson.h>
#include "check.h"
#include "text/tokenizer.h"

/* All that a file, or a command when it starts with '|', has to say; free() p. */
static gr_str slurp(const char *path)
{
    FILE *f = *path == '|' ? popen(path + 1, "r") : fopen(path, "rb");
    gr_buf b = { 0 };
    char block[65536];
    size_t n;

    if (!f)
        fail_msg("%s: cannot be opened", path);
    while ((n = fread(block, 1, sizeof block, f)) > 0)
        assert_true(gr_buf_add(&b, block, n));
    if (*path == '|' ? pclose(f) : fclose(f))
        fail_msg("%s: cannot be read", path);
    return (gr_str){ b.p, b.n };
}

static inline gr_tok *tok_of(const char *path)
{
    gr_str s = slurp(path);
    gr_tok *t;

    CHECK_OK(gr_tok_from_json(&t, path, s.p, s.n, &check_err));
    free((char *)(uintptr_t)s.p);
    return t;
}

/* The JSON value of the next line, or NULL at the end. */
static json_t *next_line(gr_str *s)
{
    const char *end = s->n ? memchr(s->p, '\n', s->n) : NULL;
    size_t n = end ? (size_t)(end - s->p) : s->n;
    json_t *j = n ? json_loadb(s->p, n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL) : NULL;

    s->p += end ? n + 1 : n;
    s->n -= end ? n + 1 : n;
    return j;
}

static void same_ids(const gr_tok *t, const char *name, size_t line, json_t *text, bool special, json_t *want)
{
    gr_ids ids = { 0 };

    CHECK_OK(gr_tok_encode(t, json_string_value(text), json_string_length(text), special, &ids, &check_err));
    for (size_t i = 0; i < ids.n && i < json_array_size(want); i++)
        if (ids.p[i] != json_integer_value(json_array_get(want, i)))
            fail_msg("%s, text %zu, special %d: id %zu is %d, wanted %d", name, line, special, i, ids.p[i],
                     (int)json_integer_value(json_array_get(want, i)));
    if (ids.n != json_array_size(want))
        fail_msg("%s, text %zu, special %d: %zu ids, wanted %zu", name, line, special, ids.n, json_array_size(want));
    gr_ids_clear(&ids);
}

/* The lists of a GGUF file that holds the same tokenizer. `pre` NULL: SentencePiece, a token's score falls with
 * the rank of the first merge that makes it. */
struct lists { gr_tok_spec spec; json_t *root; char *merges; };

static inline void lists_of(struct lists *l, const char *path, const char *pre)
{
    gr_str s = slurp(path);
    json_t *model, *vocab, *merges, *added, *v;
    gr_tok_spec *spec = &l->spec;
    gr_buf lines = { 0 };
    const char *key;
    size_t i, n;

    l->root = json_loadb(s.p, s.n, JSON_ALLOW_NUL, NULL);
    free((char *)(uintptr_t)s.p);
    model = json_object_get(l->root, "model");
    vocab = json_object_get(model, "vocab");
    merges = json_object_get(model, "merges");
    added = json_object_get(l->root, "added_tokens");
    n = json_object_size(vocab) + json_array_size(added);       /* room; those in both count once */
    gr_str *token = calloc(n, sizeof *token), *merge = calloc(json_array_size(merges), sizeof *merge);
    float *score = calloc(n, sizeof *score);
    int32_t *type = calloc(n, sizeof *type);
    *spec = (gr_tok_spec){ .model = pre ? (gr_str){ "gpt2", 4 } : (gr_str){ "llama", 5 }, .token = token, .type = type,
                           .merge = merge, .score = score, .add_space_prefix = true, .unknown_id = pre ? -1 : 0 };
    if (pre)
        spec->pre = (gr_str){ pre, strlen(pre) };
    json_object_foreach(vocab, key, v) {
        size_t id = (size_t)json_integer_value(v);
        token[id] = (gr_str){ key, strlen(key) };
        type[id] = !pre && !strncmp(key, "<0x", 3) && strlen(key) == 6 ? 6 : 1;
        score[id] = -1e9f;
        spec->n_tokens = gr_max(spec->n_tokens, id + 1);
    }
    json_array_foreach(added, i, v) {
        size_t id = (size_t)json_integer_value(json_object_get(v, "id"));
        token[id] = (gr_str){ json_string_value(json_object_get(v, "content")),
                              json_string_length(json_object_get(v, "content")) };
        type[id] = json_is_true(json_object_get(v, "special")) ? 3 : 4;
        spec->n_tokens = gr_max(spec->n_tokens, id + 1);
    }
    for (i = pre ? 0 : json_array_size(merges); i-- > 0; ) {
        json_t *m = json_array_get(merges, i);
        char made[256] = "";
        if (json_is_string(m)) {
            const char *line = json_string_value(m), *space = strchr(line, ' ');
            snprintf(made, sizeof made, "%.*s%s", (int)(space - line), line, space + 1);
        } else
            snprintf(made, sizeof made, "%s%s", json_string_value(json_array_get(m, 0)),
                     json_string_value(json_array_get(m, 1)));
        score[json_integer_value(json_object_get(vocab, made))] = -(float)i;
    }
    spec->n_merges = pre ? json_array_size(merges) : 0;
    for (i = 0; i < spec->n_merges; i++) {                      /* "left right", one behind the other */
        json_t *m = json_array_get(merges, i);
        if (json_is_string(m))
            assert_true(gr_buf_printf(&lines, "%s\n", json_string_value(m)));
        else
            assert_true(gr_buf_printf(&lines, "%s %s\n", json_string_value(json_array_get(m, 0)),
                                      json_string_value(json_array_get(m, 1))));
    }
    l->merges = lines.p;
    for (i = 0, key = lines.p; i < spec->n_merges; i++, key += merge[i - 1].n + 1)
        merge[i] = (gr_str){ key, strcspn(key, "\n") };
}

static inline void lists_clear(struct lists *l)
{
    free((void *)(uintptr_t)l->spec.token);
    free((void *)(uintptr_t)l->spec.merge);
    free((void *)(uintptr_t)l->spec.score);
    free((void *)(uintptr_t)l->spec.type);
    free(l->merges);
    json_decref(l->root);
}

#endif
