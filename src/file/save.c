/* save.c - see save.h. */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "base/digest.h"
#include "base/err.h"
#include "base/json.h"
#include "file/config.h"
#include "file/file_int.h"
#include "file/gguf_tok.h"
#include "file/save.h"
#include "text/utf8.h"

#define SMALL_MOST ((size_t)512 << 20)          /* a tokenizer.json may have many megabytes */

/* ---- safetensors --------------------------------------------------------------------------------- */

static bool add_meta(json_t *header, const gr_meta *meta, size_t n)
{
    json_t *m = json_object();

    for (size_t i = 0; i < n; i++)
        if (json_object_set_new(m, meta[i].key, json_string(meta[i].value)))
            return json_decref(m), false;
    return json_object_set_new(header, "__metadata__", m) == 0;
}

static bool add_tensor(json_t *header, const char *prefix, const gr_planned *t, uint64_t *at)
{
    static const char *const type[] = { [GR_F32] = "F32", [GR_F16] = "F16", [GR_BF16] = "BF16" };
    gr_buf name = { 0 };
    uint64_t from = *at;
    json_t *shape = t->packed ? json_pack("[I]", (json_int_t)t->packed)
                    : t->flat ? json_pack("[I]", (json_int_t)(t->rows * t->cols))
                              : json_pack("[I,I]", (json_int_t)t->rows, (json_int_t)t->cols), *v;
    bool ok;

    *at += gr_planned_bytes(t);
    v = json_pack("{s:s,s:o,s:[I,I]}", "dtype", t->packed ? "I8" : type[t->type], "shape", shape, "data_offsets",
                  (json_int_t)from, (json_int_t)*at);
    ok = gr_buf_puts(&name, prefix) && gr_buf_puts(&name, t->name) && !json_object_set(header, name.p, v);
    json_decref(v);
    gr_buf_clear(&name);
    return ok;
}

/* The length, and the header filled up with spaces so that the numbers after it are at a multiple of `align`, of 8 or
 * GR_ALIGN. Takes header over, which is NULL where memory ran out. */
static gram_status write_header(gr_out *o, const char *path, json_t *header, size_t align, gram_err *err)
{
    char space[GR_ALIGN];
    char *text = gr_json_text(header, JSON_COMPACT);
    uint64_t bytes;
    gram_status rc;

    json_decref(header);
    if (!text)
        return gr_nomem(err, path);
    memset(space, ' ', sizeof space);
    bytes = gr_round_up(sizeof bytes + strlen(text), align) - sizeof bytes;
    rc = gr_out_write(o, &bytes, sizeof bytes, err);        /* little-endian, as every machine that this builds on */
    if (!rc)
        rc = gr_out_write(o, text, strlen(text), err);
    if (!rc)
        rc = gr_out_write(o, space, bytes - strlen(text), err);
    free(text);
    return rc;
}

/* The header of what is in memory or of what is planned, whichever there is; NULL where memory ran out. */
static json_t *header_of(const gr_saved *saved, const gr_planned *planned, size_t n, const gr_meta *meta, size_t n_meta)
{
    json_t *header = json_object();
    uint64_t at = 0;
    bool ok = header && add_meta(header, meta, n_meta);

    for (size_t i = 0; i < n && ok; i++) {
        const gr_saved *s = saved ? &saved[i] : NULL;
        gr_planned p = s ? (gr_planned){ .name = s->name, .type = s->half ? GR_BF16 : GR_F32, .rows = s->rows,
                                         .cols = s->cols, .flat = s->rows == 1 && !s->matrix } : planned[i];
        ok = add_tensor(header, s ? s->prefix : "", &p, &at);
    }
    if (ok)
        return header;
    json_decref(header);
    return NULL;
}

static gram_status write_saved(gr_out *o, const gr_saved *t, gram_err *err)
{
    enum { SOME = 1024 };
    size_t count = t->rows * t->cols;
    uint16_t half[SOME];
    gram_status rc = GRAM_OK;

    if (!t->half)
        return gr_out_write(o, t->data, count * sizeof *t->data, err);
    for (size_t k = 0, n; k < count && !rc; k += n) {
        n = gr_min(SOME, count - k);
        for (size_t i = 0; i < n; i++)
            half[i] = gr_bf16(t->data[k + i]);
        rc = gr_out_write(o, half, n * sizeof *half, err);
    }
    return rc;
}

gram_status gr_st_write_as_it_comes(const char *path, const gr_saved *t, size_t n, const gr_meta *meta, size_t n_meta,
                                    gr_saving_fn *fn, void *arg, gram_err *err)
{
    gr_out *o;
    gram_status rc = gr_out_open(&o, path, false, err);

    if (!rc)
        rc = write_header(o, path, header_of(t, NULL, n, meta, n_meta), 8, err);
    for (size_t i = 0; i < n && !rc; i++) {
        rc = fn ? fn(arg, i, err) : GRAM_OK;
        if (!rc)
            rc = write_saved(o, &t[i], err);
    }
    if (!rc)
        rc = gr_out_commit(o, err);
    gr_out_close(o);
    return rc;
}

gram_status gr_st_write(const char *path, const gr_saved *t, size_t n, const gr_meta *meta, size_t n_meta,
                        gram_err *err)
{
    return gr_st_write_as_it_comes(path, t, n, meta, n_meta, NULL, NULL, err);
}

uint64_t gr_planned_bytes(const gr_planned *t)
{
    size_t row = 0;

    if (t->packed)
        return t->packed;
    gr_dtype_row_bytes(t->type, t->cols, &row);         /* of a tensor that memory or a file holds: it does not wrap */
    return (uint64_t)row * t->rows;
}

gram_status gr_rows_write(gr_out *o, const char *path, const gr_planned *t, size_t i, gr_row_fn *row, void *arg,
                          uint64_t *digest, gram_err *err)
{
    size_t bytes = 0;
    float *x = gr_alloc_aligned(t[i].cols, sizeof *x);
    void *out;
    gram_status rc = GRAM_OK;

    gr_dtype_row_bytes(t[i].type, t[i].cols, &bytes);
    out = gr_alloc_aligned(bytes, 1);
    if (!x || !out)
        rc = gr_nomem(err, path);
    for (size_t r = 0; r < t[i].rows && !rc; r++) {
        rc = row(arg, i, r, x, err);
        if (rc)
            break;
        if (gr_quantize(out, t[i].type, x, t[i].cols))
            rc = gr_out_write(o, out, bytes, err);
        else
            rc = gr_fail(err, GRAM_EFORMAT, "%s: not written: row %zu of tensor %s has a value that %s does not hold",
                         path, r, t[i].name, gr_dtype_name(t[i].type));
        if (digest && t[i].flat)
            *digest = gr_digest(*digest, out, bytes);
        for (size_t k = (r == 0) + (r + 1 == t[i].rows); digest && !t[i].flat && k > 0; k--)
            *digest = gr_digest_piece(*digest, out, bytes);
    }
    free(x);
    free(out);
    return rc;
}

gram_status gr_st_write_rows(const char *path, const gr_planned *t, size_t n, const gr_meta *meta, size_t n_meta,
                             gr_row_fn *row, void *arg, gram_err *err)
{
    gr_out *o;
    gram_status rc = gr_out_open(&o, path, false, err);

    if (!rc)
        rc = write_header(o, path, header_of(NULL, t, n, meta, n_meta), 8, err);
    for (size_t i = 0; i < n && !rc; i++)
        rc = gr_rows_write(o, path, t, i, row, arg, NULL, err);
    if (!rc)
        rc = gr_out_commit(o, err);
    gr_out_close(o);
    return rc;
}

/* One that is packed; both pieces of it are in the digest. */
static gram_status write_pack(gr_out *o, const char *path, const gr_named *t, size_t i, gr_pack_fn *pack, void *arg,
                              uint64_t *digest, gram_err *err)
{
    char *p = gr_alloc_aligned(t->bytes, 1);
    gram_status rc = p ? pack(arg, i, p, err) : gr_nomem(err, path);

    if (!rc) {
        *digest = gr_digest_values(*digest, t, p);
        rc = gr_out_write(o, p, t->bytes, err);
    }
    free(p);
    return rc;
}

static gr_named named(const gr_planned *t)
{
    bool flat = t->packed || t->flat;

    return (gr_named){ .name = t->name, .type = t->type, .n_dims = flat ? 1 : 2, .packed = t->packed > 0,
                       .dim = { t->packed ? t->packed : flat ? t->rows * t->cols : t->rows, flat ? 0 : t->cols },
                       .bytes = gr_planned_bytes(t) };
}

gram_status gr_st_write_packed(const char *path, const gr_planned *t, size_t n, gr_row_fn *row, gr_pack_fn *pack,
                               void *arg, gram_err *err)
{
    static const gr_meta meta = { "format", GR_PACKED_FORMAT };
    gr_planned *all = gr_calloc(n + 1, sizeof *all);
    uint64_t digest = GR_DIGEST;
    gr_out *o = NULL;
    gram_status rc = all ? gr_out_open(&o, path, false, err) : gr_nomem(err, path);

    if (!rc) {
        memcpy(all, t, n * sizeof *all);
        all[n] = (gr_planned){ .name = GR_PACKED_DIGEST, .packed = sizeof digest };
        rc = write_header(o, path, header_of(NULL, all, n + 1, &meta, 1), GR_ALIGN, err);
    }
    for (size_t i = 0; i < n && !rc; i++) {
        const gr_named as = named(&t[i]);
        digest = gr_digest_tensor(digest, &as);
        rc = as.packed ? write_pack(o, path, &as, i, pack, arg, &digest, err)
                       : gr_rows_write(o, path, t, i, row, arg, &digest, err);
    }
    if (!rc)
        rc = gr_out_write(o, &digest, sizeof digest, err);
    if (!rc)
        rc = gr_out_commit(o, err);
    gr_out_close(o);
    free(all);
    return rc;
}

gram_status gr_st_meta(const char *path, const char *key, char **out, gram_err *err)
{
    gr_map map;
    uint64_t n = 0;
    json_t *header = NULL;
    const char *value;
    gram_status rc = gr_map_open(&map, path, err);

    *out = NULL;
    if (rc)
        return rc;
    if (map.size >= sizeof n)
        memcpy(&n, map.data, sizeof n);
    if (map.size < sizeof n || n > map.size - sizeof n)
        rc = gr_fail(err, GRAM_EFORMAT, "%s: wanted a safetensors file, and its %zu bytes end before its header does",
                     path, map.size);
    else
        rc = gr_json_parse(&header, path, (const char *)map.data + sizeof n, n, err);
    value = rc ? NULL : json_string_value(json_object_get(json_object_get(header, "__metadata__"), key));
    if (value && !(*out = gr_strdup(value)))
        rc = gr_nomem(err, path);
    json_decref(header);
    gr_map_close(&map);
    return rc;
}

/* ---- The files beside the weights ----------------------------------------------------------------- */

/* What transformers writes of a ...ForSequenceClassification; and PURM's mark, since its two labels are no classes. */
static bool say_reward(json_t *root, const gr_config *cfg)
{
    static const char *const id[] = { "0", "1" }, *const label[] = { "LABEL_0", "LABEL_1" };
    json_t *names = json_object(), *ids = json_object();
    gr_buf b = { 0 };
    bool ok = gr_buf_puts(&b, gr_arch_of(gr_arch_written(cfg->architecture, cfg->window > 0))->classifier);

    for (size_t i = 0; i < gr_reward_outputs(cfg->reward) && ok; i++)
        ok = !json_object_set_new(names, id[i], json_string(label[i])) &&
             !json_object_set_new(ids, label[i], json_integer((json_int_t)i));
    ok = ok && !json_object_set_new(root, "architectures", json_pack("[s]", b.p)) &&
         !json_object_set(root, "id2label", names) && !json_object_set(root, "label2id", ids) &&
         (cfg->reward != GR_REWARD_PURM || !json_object_set_new(root, "gram_reward_head", json_string(GR_PURM_MARK)));
    json_object_del(root, "num_labels");
    json_object_del(root, "value_head_prefix");             /* what is written is called score */
    json_decref(names);
    json_decref(ids);
    gr_buf_clear(&b);
    return ok;
}

/* transformers rounds the weights to the dtype that config.json says, and ties what it says is tied; what is written is
 * not packed any more. A text that says all this stays as it is. */
static gram_status edit_config(const char *path, const char *dtype, const gr_config *cfg, char **text, size_t *n,
                               gram_err *err)
{
    static const char *const key[] = { "dtype", "torch_dtype" };
    json_t *root;
    gram_status rc = gr_json_parse(&root, path, *text, *n, err);
    bool ok = true, changed = cfg && cfg->reward;

    if (rc)
        return rc;
    if (cfg && !cfg->reward && !cfg->tied_head && json_is_true(json_object_get(root, "tie_word_embeddings"))) {
        changed = true;
        ok = !json_object_set_new(root, "tie_word_embeddings", json_false());
    }
    changed = !json_object_del(root, "quantization_config") || changed;
    for (size_t i = 0; i < GR_COUNT(key); i++) {
        const json_t *v = json_object_get(root, key[i]);
        if (v && !(json_is_string(v) && !strcmp(json_string_value(v), dtype))) {
            changed = true;
            ok = ok && !json_object_set_new(root, key[i], json_string(dtype));
        }
    }
    if (!changed) {
        json_decref(root);
        return GRAM_OK;
    }
    ok = ok && (!cfg || !cfg->reward || say_reward(root, cfg));
    free(*text);
    *text = ok ? gr_json_text(root, JSON_INDENT(2) | JSON_REAL_PRECISION(17)) : NULL;
    *n = *text ? strlen(*text) : 0;
    json_decref(root);
    return *text ? GRAM_OK : gr_nomem(err, path);
}

/* dtype: NULL where the file is not config.json. */
static gram_status copy_one(const char *from, const char *to, const char *dtype, const gr_config *cfg, gram_err *err)
{
    char *text = NULL;
    size_t n;
    gram_status rc = gr_read_file(from, SMALL_MOST, &text, &n, err);

    if (!rc && dtype)
        rc = edit_config(from, dtype, cfg, &text, &n, err);
    if (!rc)
        rc = gr_write_file(to, text, n, err);
    free(text);
    return rc;
}

/* ---- The same files of a GGUF --------------------------------------------------------------------- */

static gram_status write_in(const char *dir, const char *name, const gr_buf *text, gram_err *err)
{
    char *path = gr_path_join(dir, name);
    gram_status rc = path ? gr_write_file(path, text->p, text->n, err) : gr_nomem(err, dir);

    free(path);
    return rc;
}

static bool set_token(json_t *o, const char *key, const gr_gguf_tok *t, int32_t id)
{
    return id < 0 || !json_object_set_new(o, key, json_stringn(t->lists.spec.token[id].p, t->lists.spec.token[id].n));
}

/* One template as it is, several as a list of named ones. */
static json_t *templates_json(const gr_templates *t)
{
    json_t *list, *v;
    const char *name;

    if (json_object_size(t->named) == 1 && t->jinja)
        return json_string(t->jinja);
    list = json_array();
    json_object_foreach(t->named, name, v)
        if (json_array_append_new(list, json_pack("{s:s, s:O}", "name", name, "template", v))) {
            json_decref(list);
            return NULL;
        }
    return list;
}

/* tokenizer_config.json */
static gram_status token_facts(const gr_gguf_tok *t, const gr_config *c, const char *name, gr_buf *out, gram_err *err)
{
    json_t *o = json_pack("{s:s, s:b, s:b, s:b, s:I}", "tokenizer_class", "PreTrainedTokenizerFast", "add_bos_token",
                          t->add_bos, "add_eos_token", t->add_eos, "clean_up_tokenization_spaces", 0,
                          "model_max_length", (json_int_t)c->context);
    bool ok = set_token(o, "bos_token", t, t->bos) && set_token(o, "eos_token", t, t->eos) &&
              set_token(o, "unk_token", t, t->lists.spec.unknown_id) && set_token(o, "pad_token", t, t->pad);
    char *text = NULL;

    if (ok && t->facts.chat.named)
        ok = !json_object_set_new(o, "chat_template", templates_json(&t->facts.chat));
    if (ok)
        text = gr_json_text(o, JSON_INDENT(2));
    ok = text && gr_buf_puts(out, text) && gr_buf_puts(out, "\n");
    free(text);
    json_decref(o);
    return ok ? GRAM_OK : gr_nomem(err, name);
}

static gram_status write_tokenizer(const gr_weights *w, const gr_config *c, const char *to, gram_err *err)
{
    const char *name = gr_weights_path(w);
    gr_buf whole = { 0 }, facts = { 0 };
    gr_gguf_tok t;
    gram_status rc = gr_gguf_tok_read(&t, w, err);

    if (!rc)
        rc = gr_tok_spec_json(&t.lists.spec, name, t.add_bos ? t.bos : -1, t.add_eos ? t.eos : -1, &whole, err);
    if (!rc)
        rc = token_facts(&t, c, name, &facts, err);
    if (!rc)
        rc = write_in(to, "tokenizer.json", &whole, err);
    if (!rc)
        rc = write_in(to, "tokenizer_config.json", &facts, err);
    gr_gguf_tok_clear(&t);
    gr_buf_clear(&whole);
    gr_buf_clear(&facts);
    return rc;
}

/* dtype NULL: the words alone. */
static gram_status files_of_gguf(const char *from, const char *to, const char *dtype, const gr_config *cfg,
                                 gram_err *err)
{
    gr_weights *w;
    gr_config c = { 0 };
    gr_buf config = { 0 };
    gram_status rc = gr_weights_open_gguf(&w, from, err);

    if (!rc)
        rc = gr_config_from_gguf(&c, gr_weights_gguf(w), w, err);
    if (!rc && dtype)
        rc = gr_config_json(&c, from, dtype, &config, err);
    if (!rc && dtype && cfg)
        rc = edit_config(from, dtype, cfg, &config.p, &config.n, err);
    if (!rc && !gr_gguf_tok_none(w))
        rc = write_tokenizer(w, &c, to, err);
    if (!rc && dtype)
        rc = write_in(to, "config.json", &config, err);
    gr_buf_clear(&config);
    gr_config_clear(&c);
    gr_weights_close(w);
    return rc;
}

/* config.json of a directory whose tensors are written in another architecture's form. */
static gram_status rewrite_config(const char *from, const char *to, const char *dtype, const gr_config *cfg,
                                  gram_err *err)
{
    gr_buf b = { 0 };
    gram_status rc = gr_config_json(cfg, from, dtype, &b, err);

    if (!rc)
        rc = edit_config(from, dtype, cfg, &b.p, &b.n, err);
    if (!rc)
        rc = write_in(to, "config.json", &b, err);
    gr_buf_clear(&b);
    return rc;
}

gram_status gr_write_model_files(const char *from, const char *to, const char *dtype, const gr_config *cfg,
                                 gram_err *err)
{
    static const char *const name[] = {
        "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model",
        "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja",
        "chat_template.json", "processor_config.json", "preprocessor_config.json",
    };
    gram_status rc = GRAM_OK;

    if (gr_path_regular(from))
        return files_of_gguf(from, to, dtype, cfg, err);
    for (size_t i = dtype ? 0 : 2; i < GR_COUNT(name) && !rc; i++) {
        char *a = gr_path_join(from, name[i]), *b = gr_path_join(to, name[i]);
        if (!a || !b)
            rc = gr_nomem(err, to);
        else if (i == 0 && cfg && gr_config_has(cfg, GR_HAS_OWN_FORM))
            rc = rewrite_config(from, to, dtype, cfg, err);
        else if (gr_path_exists(a))
            rc = copy_one(a, b, i == 0 ? dtype : NULL, cfg, err);
        free(a);
        free(b);
    }
    return rc ? rc : gr_templates_copy(from, to, err);
}

gram_status gr_copy_model_files(const char *from, const char *to, const gr_config *cfg, gram_err *err)
{
    return gr_write_model_files(from, to, "float32", cfg, err);
}

gram_status gr_copy_words(const char *from, const char *to, gram_err *err)
{
    return gr_write_model_files(from, to, NULL, NULL, err);
}
