/* card.c - see card.h. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/json.h"
#include "file/card.h"
#include "file/io.h"
#include "text/chat.h"

void gr_card_forget_words(gr_card *c)
{
    free(c->reads.prompt);
    free(c->reads.label[0]);
    free(c->reads.label[1]);
    free(c->reads.template);
    free(c->reads.chat_args);
    free(c->reads.format);
    c->reads = (gr_card_reads){ 0 };
}

void gr_card_clear(gr_card *c)
{
    free(c->name);
    free(c->about);
    gr_card_forget_words(c);
    free(c->base_file);
    free(c->base_sha256);
    *c = (gr_card){ 0 };
}

bool gr_card_says_words(const gr_card *c)
{
    return c->reads.prompt || c->reads.label[0] || c->reads.template || c->reads.chat_args ||
           c->reads.format;
}

static gram_status wrong(const char *name, const char *key, const char *wanted, gram_err *err)
{
    return gr_fail(err, GRAM_EFORMAT, "%s: %s: wanted %s", name, key, wanted);
}

/* A text that may be missing, and is not empty. */
static gram_status take_text(char **out, const json_t *o, const char *name, const char *key, gram_err *err)
{
    const json_t *v = json_object_get(o, key);

    if (!v)
        return GRAM_OK;
    if (!json_is_string(v) || !json_string_length(v) || strlen(json_string_value(v)) != json_string_length(v))
        return wrong(name, key, "a text that is not empty", err);
    *out = gr_strdup(json_string_value(v));
    return *out ? GRAM_OK : gr_nomem(err, name);
}

static gram_status know_keys(const json_t *o, const char *const *known, const char *name, const char *of, gram_err *err)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)(uintptr_t)o, key, v) {
        size_t i = 0;
        while (known[i] && strcmp(known[i], key))
            i++;
        if (!known[i])
            return gr_fail(err, GRAM_EFORMAT, "%s: the key \"%s\"%s is not known", name, key, of);
    }
    return GRAM_OK;
}

static gram_status take_base(gr_card *c, const json_t *base, const char *name, gram_err *err)
{
    static const char *const known[] = { "file", "bytes", "sha256", NULL };
    const json_t *bytes = json_object_get(base, "bytes");
    gram_status rc;

    if (!json_is_object(base))
        return wrong(name, "base", "an object with file, bytes and sha256", err);
    rc = know_keys(base, known, name, " in base", err);
    if (!rc)
        rc = take_text(&c->base_file, base, name, "file", err);
    if (!rc)
        rc = take_text(&c->base_sha256, base, name, "sha256", err);
    if (!rc && (!c->base_file || strchr(c->base_file, '/')))
        rc = wrong(name, "base", "the name of a file, without a directory, as file", err);
    if (!rc && (!json_is_integer(bytes) || json_integer_value(bytes) <= 0))
        rc = wrong(name, "base", "the file's size in bytes as bytes", err);
    if (!rc && c->base_sha256 && (strlen(c->base_sha256) != 64 || strspn(c->base_sha256, "0123456789abcdef") != 64))
        rc = wrong(name, "base", "64 digits of 0 to f as sha256", err);
    c->base_bytes = rc ? 0 : (uint64_t)json_integer_value(bytes);
    return rc;
}

/* A file's name would lead elsewhere wherever the judge is. */
static gram_status take_format(char **out, const json_t *v, const char *name, gram_err *err)
{
    static const char *const known[] = { "gram-r2", "rm-r1", "think-rm" };
    const char *s = json_string_value(v);
    bool ok = !v || json_is_object(v);

    for (size_t i = 0; s && i < GR_COUNT(known); i++)
        ok = ok || !strcmp(s, known[i]);
    if (!ok)
        return wrong(name, "format", "gram-r2, rm-r1, think-rm or an object", err);
    *out = !v ? NULL : s ? gr_strdup(s) : gr_json_text(v, JSON_COMPACT);
    return *out || !v ? GRAM_OK : gr_nomem(err, name);
}

static gram_status take_reads(gr_card_reads *r, const json_t *o, const char *name, gram_err *err)
{
    static const char *const known[] = { "prompt", "labels", "template", "chat_args", "format", NULL };
    const json_t *labels = json_object_get(o, "labels"), *args = json_object_get(o, "chat_args");
    gram_status rc;

    if (!json_is_object(o))
        return wrong(name, "reads", "an object with prompt, labels, template, chat_args and format", err);
    rc = know_keys(o, known, name, " in reads", err);
    if (!rc)
        rc = take_text(&r->prompt, o, name, "prompt", err);
    if (!rc)
        rc = take_text(&r->template, o, name, "template", err);
    if (!rc && r->template && !gr_chat_parse(r->template))
        rc = wrong(name, "template", "chatml, llama3, llama2, mistral, qwen3 or gemma", err);
    if (!rc && labels && json_array_size(labels) != 2)
        rc = wrong(name, "labels", "a list of two texts", err);
    for (size_t i = 0; i < 2 && labels && !rc; i++) {
        const json_t *one = json_array_get(labels, i);
        size_t n = json_string_length(one);
        if (!n || strlen(json_string_value(one)) != n)
            rc = wrong(name, "labels", "a list of two texts that are not empty", err);
        else if (!(r->label[i] = gr_strdup(json_string_value(one))))
            rc = gr_nomem(err, name);
    }
    if (!rc && args && !json_is_object(args))
        rc = wrong(name, "chat_args", "an object", err);
    if (!rc && args && !(r->chat_args = gr_json_text(args, JSON_COMPACT)))
        rc = gr_nomem(err, name);
    return rc ? rc : take_format(&r->format, json_object_get(o, "format"), name, err);
}

static gram_status take(gr_card *c, const json_t *root, const char *name, gram_err *err)
{
    static const char *const known[] = { "name", "about", "temperature", "reads", "base", "calibration", NULL };
    const json_t *t = json_object_get(root, "temperature"), *base = json_object_get(root, "base");
    const json_t *reads = json_object_get(root, "reads");
    gram_status rc;

    if (!json_is_object(root))
        return gr_fail(err, GRAM_EFORMAT, "%s: wanted a JSON object", name);
    rc = know_keys(root, known, name, "", err);
    if (!rc)
        rc = take_text(&c->name, root, name, "name", err);
    if (!rc)
        rc = take_text(&c->about, root, name, "about", err);
    if (!rc && t && !(json_is_number(t) && json_number_value(t) >= 1e-3 && json_number_value(t) <= 1e3))
        rc = wrong(name, "temperature", "a number from 0.001 to 1000", err);
    if (!rc && reads)
        rc = take_reads(&c->reads, reads, name, err);
    if (!rc && base)
        rc = take_base(c, base, name, err);
    if (!rc && t)
        c->temperature = json_number_value(t);
    return rc;
}

gram_status gr_card_parse(gr_card *out, const char *name, const char *text, size_t n, gram_err *err)
{
    json_error_t e;
    json_t *root = gr_json_loadb(text, n, JSON_REJECT_DUPLICATES, &e);
    gram_status rc;

    *out = (gr_card){ .there = true };
    if (!root && json_error_code(&e) == json_error_out_of_memory)
        return gr_nomem(err, name);
    if (!root)
        return gr_fail(err, GRAM_EFORMAT, "%s:%d: %s", name, e.line, e.text);
    rc = take(out, root, name, err);
    json_decref(root);
    if (rc)
        gr_card_clear(out);
    return rc;
}

gram_status gr_card_read(gr_card *out, const char *path, gram_err *err)
{
    char *name = gr_path_join(path, GR_CARD_FILE), *text;
    size_t n;
    gram_status rc = name ? GRAM_OK : gr_nomem(err, path);

    *out = (gr_card){ 0 };
    if (!rc && gr_path_named(name)) {
        rc = gr_read_file(name, GR_CARD_MOST, &text, &n, err);
        if (!rc) {
            rc = gr_card_parse(out, name, text, n, err);
            free(text);
        }
    }
    free(name);
    return rc;
}

/* A new reference; NULL: out of memory. */
static json_t *reads_json(const gr_card_reads *r)
{
    json_t *o = json_object();
    bool ok = o != NULL;

    if (r->prompt)
        ok = ok && !json_object_set_new(o, "prompt", json_string(r->prompt));
    if (r->label[0])
        ok = ok && !json_object_set_new(o, "labels", json_pack("[s, s]", r->label[0], r->label[1]));
    if (r->template)
        ok = ok && !json_object_set_new(o, "template", json_string(r->template));
    if (r->chat_args)
        ok = ok && !json_object_set_new(o, "chat_args", gr_json_loadb(r->chat_args, strlen(r->chat_args), 0, NULL));
    if (r->format)
        ok = ok && !json_object_set_new(o, "format", *r->format == '{' ? gr_json_loadb(r->format, strlen(r->format), 0,
                                                                                      NULL) : json_string(r->format));
    if (!ok) {
        json_decref(o);
        o = NULL;
    }
    return o;
}

gram_status gr_card_write(const char *path, const gr_card *c, const gram_temperature_fit *fit, gram_err *err)
{
    json_t *o = json_object();
    bool ok = o != NULL;
    char *text;
    gram_status rc;

    if (c->name)
        ok = ok && !json_object_set_new(o, "name", json_string(c->name));
    if (c->about)
        ok = ok && !json_object_set_new(o, "about", json_string(c->about));
    if (c->temperature > 0)
        ok = ok && !json_object_set_new(o, "temperature", json_real(c->temperature));
    if (gr_card_says_words(c))
        ok = ok && !json_object_set_new(o, "reads", reads_json(&c->reads));
    if (c->base_file)
        ok = ok && !json_object_set_new(o, "base", json_pack("{s:s, s:I, s:s*}", "file", c->base_file, "bytes",
                                                             (json_int_t)c->base_bytes, "sha256", c->base_sha256));
    if (fit)
        ok = ok && !json_object_set_new(o, "calibration", json_pack(
            "{s:I, s:f, s:f, s:f, s:f, s:f, s:f}", "pairs", (json_int_t)fit->pairs, "low", fit->low, "high", fit->high,
            "nll_before", fit->nll_before, "nll_after", fit->nll_after, "ece_before", fit->ece_before, "ece_after",
            fit->ece_after));
    text = ok ? gr_json_text(o, JSON_INDENT(2)) : NULL;
    if (text) {
        gr_buf b = { 0 };
        rc = gr_buf_printf(&b, "%s\n", text) ? gr_write_file(path, b.p, b.n, err) : gr_nomem(err, path);
        gr_buf_clear(&b);
    } else {
        rc = gr_nomem(err, path);
    }
    free(text);
    json_decref(o);
    return rc;
}
