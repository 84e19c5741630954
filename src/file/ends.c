/* ends.c - see ends.h. */
#include <jansson.h>
#include <stdlib.h>
#include "base/err.h"
#include "base/json.h"
#include "file/ends.h"
#include "file/io.h"

#define CONFIG_MOST ((size_t)16 << 20)

static gram_status add(gr_ids *out, const json_t *v, const char *path, gram_err *err)
{
    json_int_t id = json_integer_value(v);

    if (json_is_null(v) || !v)
        return GRAM_OK;
    if (!json_is_integer(v) || id < 0 || id > INT32_MAX)
        return gr_fail(err, GRAM_EFORMAT, "%s: eos_token_id: wanted a token id or a list of them, found something else",
                       path);
    return gr_ids_add(out, &(int32_t){ (int32_t)id }, 1) ? GRAM_OK : gr_nomem(err, path);
}

static gram_status of_file(gr_ids *out, const char *dir, const char *name, gram_err *err)
{
    char *path = gr_path_join(dir, name), *text = NULL;
    size_t n, i;
    json_t *root, *v, *one;
    json_error_t je;
    gram_status rc = GRAM_OK;

    if (!path)
        return gr_nomem(err, dir);
    if (gr_path_exists(path))
        rc = gr_read_file(path, CONFIG_MOST, &text, &n, err);
    if (!rc && text) {
        root = gr_json_loadb(text, n, 0, &je);
        v = json_object_get(root, "eos_token_id");
        if (!root)
            rc = gr_fail(err, GRAM_EFORMAT, "%s:%d: not JSON: %s", path, je.line, je.text);
        else if (!json_is_array(v))
            rc = add(out, v, path, err);
        json_array_foreach(v, i, one)
            if (!rc)
                rc = add(out, one, path, err);
        json_decref(root);
    }
    free(text);
    free(path);
    return rc;
}

gram_status gr_ends_of_dir(gr_ids *out, const char *dir, gram_err *err)
{
    gram_status rc = of_file(out, dir, "config.json", err);

    return rc ? rc : of_file(out, dir, "generation_config.json", err);
}

gram_status gr_ends_of_gguf(gr_ids *out, const gr_gguf *g, gram_err *err)
{
    static const char *const keys[] = { "tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                        "tokenizer.ggml.eom_token_id" };

    for (size_t i = 0; i < GR_COUNT(keys); i++) {
        uint64_t id;
        if (gr_gguf_u64(g, keys[i], &id) && id <= INT32_MAX && !gr_ids_add(out, &(int32_t){ (int32_t)id }, 1))
            return gr_nomem(err, "token ids");
    }
    return GRAM_OK;
}
