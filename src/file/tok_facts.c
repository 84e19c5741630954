/* tok_facts.c - see tok_facts.h. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "file/io.h"
#include "file/tok_facts.h"

#define SMALL_MOST ((size_t)64 << 20)

/* A token's text: a string, or an object with "content". */
static const char *token_text(const json_t *v)
{
    return json_is_object(v) ? json_string_value(json_object_get(v, "content")) : json_string_value(v);
}

/* chat_template: a string, or a list of named templates of which "default" is meant. */
static const char *template_text(const json_t *v)
{
    size_t i;
    const json_t *one;

    json_array_foreach(v, i, one)
        if (json_is_string(json_object_get(one, "name")) &&
            !strcmp(json_string_value(json_object_get(one, "name")), "default"))
            return json_string_value(json_object_get(one, "template"));
    return json_string_value(v);
}

static bool copy(char **out, const char *s)
{
    *out = s ? gr_strdup(s) : NULL;
    return !s || *out;
}

static gram_status of_json(gr_tok_facts *f, const char *path, const char *text, size_t n, gram_err *err)
{
    json_error_t je;
    json_t *root = json_loadb(text, n, JSON_DECODE_INT_AS_REAL, &je);   /* "model_max_length" is often about 1e30 */
    gram_status rc = GRAM_OK;

    if (!root && json_error_code(&je) == json_error_out_of_memory)
        return gr_nomem(err, path);
    if (!json_is_object(root))
        rc = gr_fail(err, GRAM_EFORMAT, "%s:%d: wanted a JSON object: %s", path, root ? 1 : je.line,
                     root ? "found another value" : je.text);
    else if (!copy(&f->jinja, template_text(json_object_get(root, "chat_template"))) ||
             !copy(&f->bos, token_text(json_object_get(root, "bos_token"))) ||
             !copy(&f->eos, token_text(json_object_get(root, "eos_token"))) ||
             !copy(&f->unk, token_text(json_object_get(root, "unk_token"))) ||
             !copy(&f->pad, token_text(json_object_get(root, "pad_token"))))
        rc = gr_nomem(err, "chat template");
    f->add_bos = json_is_true(json_object_get(root, "add_bos_token"));
    f->add_eos = json_is_true(json_object_get(root, "add_eos_token"));
    json_decref(root);
    return rc;
}

/* Newer checkpoints keep the template in a file of its own. */
static gram_status own_template(gr_tok_facts *f, const char *dir, gram_err *err)
{
    char *path = gr_path_join(dir, "chat_template.jinja"), *text = NULL;
    size_t n;
    gram_status rc = path ? GRAM_OK : gr_nomem(err, dir);

    if (!rc && gr_path_exists(path))
        rc = gr_read_file(path, SMALL_MOST, &text, &n, err);
    if (!rc && text) {
        free(f->jinja);
        f->jinja = text;
    }
    free(path);
    return rc;
}

gram_status gr_tok_facts_read(gr_tok_facts *out, const char *dir, gram_err *err)
{
    char *path = gr_path_join(dir, "tokenizer_config.json"), *text = NULL;
    size_t n;
    gram_status rc = path ? GRAM_OK : gr_nomem(err, dir);

    *out = (gr_tok_facts){ 0 };
    if (!rc && gr_path_exists(path))
        rc = gr_read_file(path, SMALL_MOST, &text, &n, err);
    if (!rc && text)
        rc = of_json(out, path, text, n, err);
    if (!rc)
        rc = own_template(out, dir, err);
    if (rc)
        gr_tok_facts_clear(out);
    free(path);
    free(text);
    return rc;
}

void gr_tok_facts_clear(gr_tok_facts *f)
{
    free(f->jinja);
    free(f->bos);
    free(f->eos);
    free(f->unk);
    free(f->pad);
    *f = (gr_tok_facts){ 0 };
}
