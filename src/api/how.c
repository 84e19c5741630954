/* how.c - see how.h. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "api/how.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/json.h"
#include "file/io.h"

enum { MOST = 1 << 20 };

/* Of the weights' names, shapes and first bytes, and of an adapter's. */
static uint64_t model_digest(const gram_model *m)
{
    uint64_t h = gr_weights_digest(m->file.weights);

    for (size_t i = 0; m->file.adapter && i < gr_adapter_count(m->file.adapter); i++) {
        const gr_named *t = gr_adapter_at(m->file.adapter, i);
        h = gr_digest(h, t->name, strlen(t->name) + 1);
        h = gr_digest(h, t->data, t->bytes);
    }
    return h;
}

json_t *gr_how_model(const gram_model *m)
{
    return m ? json_sprintf("%s %016" PRIx64 " %d", m->name, model_digest(m), (int)m->dtype) : json_null();
}

json_t *gr_how_judge(const gram_model *m)
{
    const gr_judge *j = &m->judge;
    uint64_t prompt = j->prompt ? gr_digest(GR_DIGEST, j->prompt, strlen(j->prompt)) : 0;

    return json_pack("{s:o, s:o, s:s?, s:s?, s:b, s:I, s:i, s:b, s:f, s:f}",
                     "judge prompt", json_sprintf("%016" PRIx64, prompt),
                     "chat template", json_sprintf("%s %016" PRIx64, gr_chat_name(m->chat), j->chat.digest),
                     "label A", j->label_text[0], "label B", j->label_text[1], "scale", j->scale != NULL,
                     "max tokens", (json_int_t)j->max_tokens, "truncate", (int)j->truncate,
                     "single order", m->scorer.single_order, "lambda", m->lambda, "temperature", m->temperature);
}

json_t *gr_how_generation(const gram_generation *g)
{
    json_t *stop = json_array(), *ids = json_array();
    bool ok = stop && ids;

    for (size_t i = 0; i < g->n_stop; i++)
        ok = !json_array_append_new(stop, json_string(g->stop[i])) && ok;
    for (size_t i = 0; i < g->n_stop_ids; i++)
        ok = !json_array_append_new(ids, json_integer(g->stop_ids[i])) && ok;
    if (!ok) {
        json_decref(stop);
        json_decref(ids);
        return NULL;
    }
    return json_pack("{s:f, s:I, s:f, s:f, s:f, s:f, s:f, s:I, s:I, s:I, s:s, s:o, s:o}", "temperature", g->temperature,
                     "top_k", (json_int_t)g->top_k, "top_p", g->top_p, "min_p", g->min_p, "repetition_penalty",
                     g->repetition_penalty, "presence_penalty", g->presence_penalty, "frequency_penalty",
                     g->frequency_penalty, "min_new_tokens", (json_int_t)g->min_new_tokens, "max_new_tokens",
                     (json_int_t)g->max_new_tokens, "seed", (json_int_t)g->seed, "products",
                     gram_products_name(g->products), "stop", stop, "stop_ids", ids);
}

gram_status gr_how_compare(const json_t *was, const json_t *is, const char *path, const char *what, const char *other,
                           gram_err *err)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)(uintptr_t)is, key, v) {
        const json_t *before = json_object_get(was, key);
        char *a, *b;
        gram_status rc;
        if (before && json_equal(before, v))
            continue;
        if (json_is_object(before) && json_is_object(v) && json_object_size(v))
            return gr_how_compare(before, v, path, what, other, err);
        a = gr_json_text(before, JSON_ENCODE_ANY | JSON_COMPACT);
        b = gr_json_text(v, JSON_ENCODE_ANY | JSON_COMPACT);
        rc = gr_fail(err, GRAM_EARG, "%s: %s has %s %s, and %s %s", path, what, key, a ? a : "of no kind", other,
                     b ? b : "another");
        free(a);
        free(b);
        return rc;
    }
    return GRAM_OK;
}

/* ---- Beside an output ------------------------------------------------------------------------------ */

static char *path_of(const char *name)
{
    gr_buf b = { 0 };

    if (gr_buf_printf(&b, "%s.how", name))
        return b.p;
    gr_buf_clear(&b);
    return NULL;
}

static gram_status read_path(json_t **how, const char *path, gram_err *err)
{
    char *text = NULL;
    size_t n;
    gram_status rc = gr_path_exists(path) ? gr_read_file(path, MOST, &text, &n, err) : GRAM_OK;

    *how = NULL;
    if (text && !(*how = json_loadb(text, n, 0, NULL)))
        rc = gr_fail(err, GRAM_EIO, "%s: it does not say in JSON how lines were made", path);
    free(text);
    return rc;
}

gram_status gr_how_read(json_t **how, const char *name, gram_err *err)
{
    char *path = path_of(name);
    gram_status rc = path ? read_path(how, path, err) : gr_nomem(err, name);

    if (!path)
        *how = NULL;
    free(path);
    return rc;
}

gram_status gr_how_keep(const char *path, const json_t *how, bool resume, gram_err *err)
{
    char *text = gr_json_text(how, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    json_t *was = NULL;
    gram_status rc = text ? GRAM_OK : gr_nomem(err, path);

    if (!rc && resume)
        rc = read_path(&was, path, err);
    if (!rc && was)
        rc = gr_how_compare(was, how, path, "the run that is to be resumed", "this one", err);
    else if (!rc)
        rc = gr_write_file(path, text, strlen(text), err);
    json_decref(was);
    free(text);
    return rc;
}

gram_status gr_how_begin(const char *name, const json_t *how, bool resume, gram_err *err)
{
    char *path = path_of(name);
    gram_status rc = path ? gr_how_keep(path, how, resume, err) : gr_nomem(err, name);

    free(path);
    return rc;
}

void gr_how_end(const char *name)
{
    char *path = path_of(name);

    if (path)
        unlink(path);
    free(path);
}
