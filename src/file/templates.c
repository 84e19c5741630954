/* templates.c - the chat templates of a directory, found where transformers finds them.
 *
 *     chat_template.jinja             the default
 *     additional_chat_templates/      NAME.jinja each; with or without the file above they stand for all others
 *     tokenizer_config.json           "chat_template": a text, or a list of { "name", "template" }
 *     chat_template.json, processor_config.json, preprocessor_config.json
 *                                     "chat_template", of a processor; where there is no other */
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/json.h"
#include "file/file_int.h"
#include "file/io.h"
#include "file/tok_facts.h"

#define TEMPLATE_MOST ((size_t)16 << 20)
static const char folder[] = "additional_chat_templates", end[] = ".jinja";

void gr_templates_clear(gr_templates *t)
{
    free(t->jinja);
    free(t->tools);
    free(t->source);
    free(t->names);
    json_decref(t->named);
    *t = (gr_templates){ 0 };
}

static bool list_names(const json_t *named, gr_buf *out)
{
    const char *name;
    json_t *v;

    json_object_foreach((json_t *)(uintptr_t)named, name, v)
        if (!gr_buf_printf(out, "%s%s", out->n ? ", " : "", name))
            return false;
    return true;
}

/* Takes them out of an object of names and texts. */
static gram_status take(gr_templates *out, json_t *named, const char *source, gram_err *err)
{
    const char *jinja = json_string_value(json_object_get(named, "default"));
    const char *tools = json_string_value(json_object_get(named, "tool_use"));
    gr_buf names = { 0 };
    bool ok = true;

    *out = (gr_templates){ 0 };
    if (!json_object_size(named))
        return GRAM_OK;
    out->named = json_incref(named);
    if (jinja)
        ok = (out->jinja = gr_strdup(jinja)) && (!tools || (out->tools = gr_strdup(tools)));
    else
        ok = list_names(named, &names);
    out->names = names.p;
    ok = ok && (out->source = gr_strdup(source));
    if (ok)
        return GRAM_OK;
    gr_templates_clear(out);
    return gr_nomem(err, "chat template");
}

/* ---- From files --------------------------------------------------------------------------------- */

/* A file of the directory as a text in `named`; one that is absent adds nothing. */
static gram_status add_file(json_t *named, const char *name, const char *dir, const char *file, gram_err *err)
{
    char *path = gr_path_join(dir, file), *text = NULL;
    size_t n;
    gram_status rc = path ? GRAM_OK : gr_nomem(err, dir);

    if (!rc && gr_path_named(path))
        rc = gr_read_file(path, TEMPLATE_MOST, &text, &n, err);
    if (!rc && text && json_object_set_new(named, name, json_stringn(text, n)))
        rc = gr_fail(err, GRAM_EFORMAT, "%s: not UTF-8", path);
    free(path);
    free(text);
    return rc;
}

static gram_status add_folder(json_t *named, const char *dir, gram_err *err)
{
    char *path = gr_path_join(dir, folder);
    DIR *d = path ? opendir(path) : NULL;
    const char *file;
    gram_status rc = path ? GRAM_OK : gr_nomem(err, dir);

    if (path && !d && errno != ENOENT && errno != ENOTDIR)      /* an adapter in a GGUF is a file */
        rc = gr_fail(err, GRAM_EIO, "%s: %s", path, strerror(errno));
    while (d && !rc && !(rc = gr_next_name(d, path, &file, err)) && file) {
        size_t n = strlen(file), tail = sizeof end - 1;
        char *name;
        if (n <= tail || strcmp(file + n - tail, end))
            continue;
        name = gr_strndup(file, n - tail);
        rc = name ? add_file(named, name, path, file, err) : gr_nomem(err, path);
        free(name);
    }
    if (d)
        closedir(d);
    free(path);
    return rc;
}

/* A text, or a list of named ones. */
static gram_status add_json(json_t *named, const json_t *v, const char *file, gram_err *err)
{
    size_t i;
    const json_t *one;

    if (!v || json_is_null(v))
        return GRAM_OK;
    if (json_is_string(v))
        return json_object_set(named, "default", (json_t *)(uintptr_t)v) ? gr_nomem(err, file) : GRAM_OK;
    if (json_is_object(v))
        return json_object_update(named, (json_t *)(uintptr_t)v) ? gr_nomem(err, file) : GRAM_OK;
    if (!json_is_array(v))
        return gr_fail(err, GRAM_EFORMAT, "%s: \"chat_template\": wanted a text or a list of named texts", file);
    json_array_foreach(v, i, one) {
        const char *name = json_string_value(json_object_get(one, "name"));
        if (!name || !json_is_string(json_object_get(one, "template")))
            return gr_fail(err, GRAM_EFORMAT, "%s: \"chat_template\" %zu: wanted \"name\" and \"template\"", file,
                           i + 1);
        if (json_object_set(named, name, json_object_get(one, "template")))
            return gr_nomem(err, file);
    }
    return GRAM_OK;
}

static gram_status of_processor(json_t *named, const char *dir, const char *file, gram_err *err)
{
    char *path = gr_path_join(dir, file), *text = NULL;
    size_t n;
    json_error_t e;
    json_t *root;
    gram_status rc = path ? GRAM_OK : gr_nomem(err, dir);

    if (!rc && gr_path_named(path))
        rc = gr_read_file(path, TEMPLATE_MOST, &text, &n, err);
    if (!rc && text) {
        root = gr_json_loadb(text, n, JSON_DECODE_INT_AS_REAL, &e);
        if (!root)
            rc = gr_fail(err, json_error_code(&e) == json_error_out_of_memory ? GRAM_ENOMEM : GRAM_EFORMAT, "%s:%d: %s",
                         path, e.line, e.text);
        else
            rc = add_json(named, json_object_get(root, "chat_template"), path, err);
        json_decref(root);
    }
    free(path);
    free(text);
    return rc;
}

gram_status gr_templates_of_dir(gr_templates *out, const char *dir, const json_t *config, gram_err *err)
{
    static const char *const processor[] = { "chat_template.json", "processor_config.json",
                                             "preprocessor_config.json" };
    const char *source = "chat_template.jinja";
    json_t *named = json_object();
    gram_status rc = named ? add_file(named, "default", dir, source, err) : gr_nomem(err, dir);

    *out = (gr_templates){ 0 };
    if (!rc && !json_object_size(named))
        source = folder;
    if (!rc)
        rc = add_folder(named, dir, err);
    if (!rc && !json_object_size(named)) {
        source = "tokenizer_config.json";
        rc = add_json(named, json_object_get(config, "chat_template"), source, err);
    }
    for (size_t i = 0; i < GR_COUNT(processor) && !rc && !json_object_size(named); i++) {
        source = processor[i];
        rc = of_processor(named, dir, source, err);
    }
    if (!rc)
        rc = take(out, named, source, err);
    json_decref(named);
    return rc;
}

gram_status gr_templates_of_gguf(gr_templates *out, const gr_gguf *g, const char *path, gram_err *err)
{
    static const char plain[] = "tokenizer.chat_template";
    size_t n = sizeof plain - 1;
    json_t *named = json_object();
    gram_status rc = named ? GRAM_OK : gr_nomem(err, "chat template");
    gr_str key, s;

    *out = (gr_templates){ 0 };
    for (size_t i = 0; !rc && gr_gguf_key(g, i, &key); i++) {
        char name[128];
        if (key.n < n || key.n >= sizeof name || memcmp(key.p, plain, n) || (key.n > n && key.p[n] != '.'))
            continue;
        snprintf(name, sizeof name, "%.*s", (int)key.n, key.p);
        if (!gr_gguf_str(g, name, &s))
            rc = gr_fail(err, GRAM_EFORMAT, "%s: key %s: wanted a text", path, name);
        else if (json_object_set_new(named, key.n > n ? name + n + 1 : "default", json_stringn(s.p, s.n)))
            rc = gr_fail(err, GRAM_EFORMAT, "%s: key %s is not UTF-8", path, name);
    }
    if (!rc)
        rc = take(out, named, plain, err);
    json_decref(named);
    return rc;
}

/* ---- To another directory ----------------------------------------------------------------------- */

gram_status gr_templates_copy(const char *from, const char *to, gram_err *err)
{
    char *a = gr_path_join(from, folder), *b = gr_path_join(to, folder);
    json_t *named = json_object(), *v;
    const char *name;
    gram_status rc = a && b && named ? add_folder(named, from, err) : gr_nomem(err, to);

    if (!rc && json_object_size(named))
        rc = gr_make_directory(b, err);
    json_object_foreach(named, name, v) {
        gr_buf file = { 0 };
        char *path = NULL;
        if (!rc && !(gr_buf_printf(&file, "%s%s", name, end) && (path = gr_path_join(b, file.p))))
            rc = gr_nomem(err, to);
        if (!rc)
            rc = gr_write_file(path, json_string_value(v), json_string_length(v), err);
        gr_buf_clear(&file);
        free(path);
    }
    json_decref(named);
    free(a);
    free(b);
    return rc;
}
