/* config_packed.c - "quantization_config" of a config.json: how weights are packed. What would change a number and is
 * not done here is refused by its key. */
#include <stdlib.h>
#include <string.h>
#include <jansson.h>
#include "base/err.h"
#include "file/config_in_int.h"
#include "file/file_int.h"

/* bitsandbytes leaves its section behind where both of its packings are off, and the weights are what they were. */
static bool is_off(json_t *packed, const char *name)
{
    return name && !strcmp(name, "bitsandbytes") && !json_is_true(gr_in_get(packed, "load_in_4bit")) &&
           !json_is_true(gr_in_get(packed, "load_in_8bit")) && !json_is_true(gr_in_get(packed, "_load_in_4bit")) &&
           !json_is_true(gr_in_get(packed, "_load_in_8bit"));
}

static bool is_blank(const json_t *v)
{
    return !v || json_is_null(v) || json_is_false(v) || (json_is_object(v) && !json_object_size(v)) ||
           (json_is_array(v) && !json_array_size(v));
}

/* Whether the value of a key is blank or one of these words; known NULL: it may be anything. */
struct packed_key { const char *name; const char *const *words; };

static const char *const e4m3[] = { "e4m3", "float8_e4m3fn", NULL }, *const schemes[] = { "dynamic", "static", NULL },
                  *const fmt[] = { "float", "ue8m0", NULL }, *const fp8[] = { "fp8", NULL },
                  *const no_word[] = { NULL },
                  *const formats[] = { "float-quantized", "naive-quantized", "pack-quantized", "int-quantized",
                                       "mixed-precision", NULL },
                  *const of_float[] = { "float", NULL },
                  *const strategies[] = { "tensor", "channel", "block", NULL };

static gram_status check_section(const struct gr_config_in *in, const json_t *o, const struct packed_key *known,
                                 size_t n, gram_err *err)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)(uintptr_t)o, key, v) {
        const char *word = json_string_value(v);
        const char *const *w;
        size_t i = 0;
        while (i < n && strcmp(key, known[i].name))
            i++;
        if (is_blank(v) || (i < n && !known[i].words))
            continue;
        for (w = i < n ? known[i].words : no_word; *w && word && strcmp(*w, word); w++)
            ;
        if (!*w || !word)
            return gr_fail(err, GRAM_EUNSUPPORTED, "%s: \"%.64s\" %s%.64s of the packed weights is not supported",
                           in->name, key, word ? word : "", word ? "" : "(its value)");
    }
    return GRAM_OK;
}

/* The size of blocks, [rows, columns], or nothing; all groups have the same. */
static gram_status read_block(const struct gr_config_in *in, const json_t *v, const char *key, size_t block[2],
                              gram_err *err)
{
    size_t was[2] = { block[0], block[1] };

    if (is_blank(v))
        return GRAM_OK;
    for (size_t i = 0; i < 2; i++) {
        json_int_t n = json_integer_value(json_array_get(v, i));
        if (json_array_size(v) != 2 || n < 1 || n > 1 << 20 || (was[0] && was[i] != (size_t)n))
            return gr_fail(err, GRAM_EUNSUPPORTED, "%s: \"%s\": wanted two numbers above 0, the same for all weights",
                           in->name, key);
        block[i] = (size_t)n;
    }
    return GRAM_OK;
}

static gram_status read_bits(const struct gr_config_in *in, const char *key, const json_t *v, unsigned *bits,
                             gram_err *err)
{
    json_int_t n = json_integer_value(v);

    if (n != 4 && n != 8)
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: weights packed as whole numbers: wanted \"%s\" 4 or 8, found %"
                       JSON_INTEGER_FORMAT, in->name, key, n);
    *bits = (unsigned)n;
    return GRAM_OK;
}

/* The inputs that share a scale; -1, and nothing: all. */
static gram_status read_group(const struct gr_config_in *in, const json_t *v, size_t *group, gram_err *err)
{
    json_int_t n = is_blank(v) ? -1 : json_integer_value(v);

    if (n != -1 && (n < 1 || n > 1 << 20))
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: \"group_size\" of the packed weights: wanted -1 or a number above "
                       "0, found %" JSON_INTEGER_FORMAT, in->name, n);
    *group = n < 0 ? 0 : (size_t)n;
    return GRAM_OK;
}

/* Weights of one of compressed-tensors' groups as bytes of floating point: a scale for each matrix, row or block. */
static gram_status read_floats(const struct gr_config_in *in, const json_t *weights, gr_quantization *q, gram_err *err)
{
    static const struct packed_key known[] = {
        { "num_bits", NULL }, { "type", of_float }, { "symmetric", NULL }, { "strategy", strategies },
        { "block_structure", NULL }, { "observer", NULL }, { "observer_kwargs", NULL }, { "scale_dtype", NULL },
        { "zp_dtype", NULL },
    };
    gram_status rc = GRAM_OK;

    if (json_integer_value(json_object_get(weights, "num_bits")) != 8 ||
        json_is_false(json_object_get(weights, "symmetric")))
        rc = gr_fail(err, GRAM_EUNSUPPORTED, "%s: weights of floating point packed by \"compressed-tensors\": wanted "
                     "num_bits 8, symmetric", in->name);
    if (!rc)
        rc = check_section(in, weights, known, GR_COUNT(known), err);
    return rc ? rc : read_block(in, json_object_get(weights, "block_structure"), "block_structure", q->block, err);
}

/* The same as whole numbers, with a scale for each matrix, row or group of inputs. */
static gram_status read_whole(const struct gr_config_in *in, const json_t *weights, gr_quantization *q, gram_err *err)
{
    static const char *const by[] = { "tensor", "channel", "group", NULL }, *const of_int[] = { "int", NULL },
                      *const order[] = { "group", "dynamic", "weight", "static", NULL };
    static const struct packed_key known[] = {
        { "num_bits", NULL }, { "type", of_int }, { "symmetric", NULL }, { "strategy", by }, { "group_size", NULL },
        { "actorder", order }, { "observer", NULL }, { "observer_kwargs", NULL }, { "scale_dtype", NULL },
        { "zp_dtype", NULL },
    };
    const char *strategy = json_string_value(json_object_get(weights, "strategy"));
    const char *listed = json_string_value(json_object_get(weights, "actorder"));
    gram_status rc = check_section(in, weights, known, GR_COUNT(known), err);

    if (!rc)
        rc = read_bits(in, "num_bits", json_object_get(weights, "num_bits"), &q->bits, err);
    if (!rc)
        rc = read_group(in, json_object_get(weights, "group_size"), &q->group, err);
    if (!rc && strategy && !strcmp(strategy, "group") != (q->group > 0))
        rc = gr_fail(err, GRAM_EUNSUPPORTED, "%s: \"group_size\" of the packed weights: found %zu with the strategy %s",
                     in->name, q->group, strategy);
    q->ordered = listed && (!strcmp(listed, "group") || !strcmp(listed, "dynamic"));
    q->zeros = json_is_false(json_object_get(weights, "symmetric"));
    return rc;
}

static bool same_way(const gr_quantization *a, const gr_quantization *b)
{
    return a->bits == b->bits && a->group == b->group && a->zeros == b->zeros && a->ordered == b->ordered;
}

/* q: the ways of the groups before. */
static gram_status read_part(const struct gr_config_in *in, const json_t *part, bool first, gr_quantization *q,
                             bool *rounded, gram_err *err)
{
    static const struct packed_key known[] = { { "targets", NULL }, { "weights", NULL }, { "input_activations", NULL },
                                               { "format", formats } };
    const json_t *weights = json_object_get(part, "weights");
    const char *type = json_string_value(json_object_get(weights, "type"));
    gr_quantization p = { .method = q->method, .block = { q->block[0], q->block[1] } };
    size_t at = 0;
    gram_status rc = check_section(in, part, known, GR_COUNT(known), err);

    *rounded = *rounded || !is_blank(json_object_get(part, "input_activations"));
    if (!rc)
        rc = (type && !strcmp(type, "float") ? read_floats : read_whole)(in, weights, &p, err);
    if (!rc && !first && !p.bits != !q->bits)
        rc = gr_fail(err, GRAM_EUNSUPPORTED, "%s: \"config_groups\": wanted all weights as whole numbers, or all as "
                     "numbers of floating point", in->name);
    while (!rc && !first && at < GR_WAYS && q[at].method && !same_way(&q[at], &p))
        at++;
    if (at == GR_WAYS)
        rc = gr_fail(err, GRAM_EUNSUPPORTED, "%s: \"config_groups\": wanted weights packed in %d ways at most",
                     in->name, GR_WAYS);
    if (!rc)
        q[at] = p;
    return rc;
}

static gram_status read_compressed(const struct gr_config_in *in, json_t *packed, gr_quantization *q, bool *rounded,
                                   gram_err *err)
{
    static const struct packed_key known[] = {
        { "quant_method", NULL }, { "format", formats }, { "config_groups", NULL }, { "ignore", NULL },
        { "quantization_status", NULL }, { "global_compression_ratio", NULL }, { "version", NULL },
        { "dequantize", NULL }, { "run_compressed", NULL },
    };
    bool first = true;
    const char *name;
    json_t *part;
    gram_status rc = check_section(in, packed, known, GR_COUNT(known), err);

    json_object_foreach(json_object_get(packed, "config_groups"), name, part) {
        if (!rc)
            rc = read_part(in, part, first, q, rounded, err);
        first = false;
    }
    return rc;
}

/* ---- GPTQ ------------------------------------------------------------------------------------------- */

/* What was done to find the codes, and how others compute with them, is let be. */
static gram_status read_gptq(const struct gr_config_in *in, const json_t *packed, gr_quantization *p, gram_err *err)
{
    static const char *const gptq[] = { "gptq", NULL }, *const stored[] = { "gptq", "gptq_v2", NULL },
                      *const int32[] = { "int32", NULL };
    static const struct packed_key known[] = {
        { "quant_method", gptq }, { "method", gptq }, { "bits", NULL }, { "group_size", NULL }, { "desc_act", NULL },
        { "sym", NULL }, { "checkpoint_format", stored }, { "format", stored }, { "pack_dtype", int32 },
        { "lm_head", NULL }, { "static_groups", NULL }, { "true_sequential", NULL }, { "act_group_aware", NULL },
        { "damp_percent", NULL }, { "damp_auto_increment", NULL }, { "mse", NULL }, { "meta", NULL },
        { "dataset", NULL }, { "tokenizer", NULL }, { "batch_size", NULL }, { "pad_token_id", NULL },
        { "model_seqlen", NULL }, { "max_input_length", NULL }, { "cache_block_outputs", NULL }, { "backend", NULL },
        { "block_name_to_quantize", NULL }, { "module_name_preceding_first_block", NULL },
        { "modules_in_block_to_quantize", NULL }, { "use_cuda_fp16", NULL }, { "use_exllama", NULL },
        { "disable_exllama", NULL }, { "exllama_config", NULL }, { "model_name_or_path", NULL },
        { "model_file_base_name", NULL },
    };
    const char *format = json_string_value(json_object_get(packed, "checkpoint_format"));
    const char *also = json_string_value(json_object_get(packed, "format"));
    gram_status rc = check_section(in, packed, known, GR_COUNT(known), err);

    format = format ? format : also ? also : "gptq";
    if (!rc && also && strcmp(format, also))
        rc = gr_fail(err, GRAM_EUNSUPPORTED, "%s: the packed weights have the \"checkpoint_format\" %s and the "
                     "\"format\" %s", in->name, format, also);
    if (!rc)
        rc = read_bits(in, "bits", json_object_get(packed, "bits"), &p->bits, err);
    p->zeros = true;
    p->less_one = !strcmp(format, "gptq");
    p->ordered = json_is_true(json_object_get(packed, "desc_act"));
    return rc ? rc : read_group(in, json_object_get(packed, "group_size"), &p->group, err);
}

/* ---- AWQ -------------------------------------------------------------------------------------------- */

/* Zeros are always there, whatever "zero_point" says. */
static gram_status read_awq(const struct gr_config_in *in, const json_t *packed, gr_quantization *q, gram_err *err)
{
    static const char *const awq[] = { "awq", NULL }, *const gemm[] = { "gemm", "GEMM", NULL },
                      *const backend[] = { "autoawq", "auto", "gemm", NULL }, *const int32[] = { "int32", NULL };
    static const struct packed_key known[] = {
        { "quant_method", awq }, { "method", awq }, { "bits", NULL }, { "group_size", NULL }, { "zero_point", NULL },
        { "version", gemm }, { "format", gemm }, { "checkpoint_format", gemm }, { "backend", backend },
        { "pack_dtype", int32 }, { "modules_to_not_convert", NULL }, { "do_fuse", NULL }, { "modules_to_fuse", NULL },
        { "fuse_max_seq_len", NULL }, { "exllama_config", NULL }, { "sym", NULL }, { "lm_head", NULL },
        { "damp_percent", NULL }, { "true_sequential", NULL }, { "meta", NULL },
    };
    const json_t *bits = json_object_get(packed, "bits");
    gram_status rc = check_section(in, packed, known, GR_COUNT(known), err);

    if (!rc && json_integer_value(bits) != 4)
        rc = gr_fail(err, GRAM_EUNSUPPORTED, "%s: weights packed by \"awq\": wanted \"bits\" 4, found "
                     "%" JSON_INTEGER_FORMAT, in->name, json_integer_value(bits));
    q->bits = 4;
    q->zeros = true;
    return rc ? rc : read_group(in, json_object_get(packed, "group_size"), &q->group, err);
}

/* ---- bitsandbytes ----------------------------------------------------------------------------------- */

/* In which type others compute, and what is a question of memory, is let be. */
static gram_status read_bnb(const struct gr_config_in *in, const json_t *packed, gr_quantization *p, bool *rounded,
                            gram_err *err)
{
    static const char *const types[] = { "nf4", "fp4", NULL }, *const bytes[] = { "uint8", NULL };
    static const struct packed_key known[] = {
        { "quant_method", NULL }, { "load_in_4bit", NULL }, { "load_in_8bit", NULL }, { "_load_in_4bit", NULL },
        { "_load_in_8bit", NULL }, { "bnb_4bit_quant_type", types }, { "bnb_4bit_quant_storage", bytes },
        { "bnb_4bit_compute_dtype", NULL }, { "bnb_4bit_use_double_quant", NULL }, { "llm_int8_threshold", NULL },
        { "llm_int8_skip_modules", NULL }, { "llm_int8_enable_fp32_cpu_offload", NULL },
    };
    bool four = json_is_true(json_object_get(packed, "load_in_4bit")) ||
                json_is_true(json_object_get(packed, "_load_in_4bit"));
    bool eight = json_is_true(json_object_get(packed, "load_in_8bit")) ||
                 json_is_true(json_object_get(packed, "_load_in_8bit"));

    if (four && eight)
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: the packed weights are said to have both 4 bits and 8", in->name);
    p->bits = four ? 4 : 8;
    *rounded = eight;
    return check_section(in, packed, known, GR_COUNT(known), err);
}

/* ---- The section ------------------------------------------------------------------------------------ */

/* p: [GR_WAYS + 1]. rounded: other programs round activations, too. */
static gram_status read_packing(const struct gr_config_in *in, gr_quantization *p, bool *rounded, gram_err *err)
{
    static const struct packed_key known[] = {
        { "quant_method", NULL }, { "activation_scheme", schemes }, { "fmt", e4m3 }, { "weight_block_size", NULL },
        { "modules_to_not_convert", NULL }, { "ignored_layers", NULL }, { "modules_to_convert", NULL },
        { "dequantize", NULL }, { "scale_fmt", fmt }, { "expert_dtype", fp8 },
    };
    json_t *packed = gr_in_get(in->top, "quantization_config");
    const char *name = json_string_value(gr_in_get(packed, "quant_method"));
    gram_status rc;

    memset(p, 0, (GR_WAYS + 1) * sizeof *p);
    *rounded = false;
    if (!packed || is_off(packed, name) || (json_is_object(packed) && !json_object_size(packed)))
        return GRAM_OK;
    if (name && !strcmp(name, "fp8")) {
        p->method = "fp8";
        *rounded = true;
        rc = check_section(in, packed, known, GR_COUNT(known), err);
        return rc ? rc : read_block(in, gr_in_get(packed, "weight_block_size"), "weight_block_size", p->block, err);
    }
    if (name && !strcmp(name, "compressed-tensors")) {
        p->method = "compressed-tensors";
        return read_compressed(in, packed, p, rounded, err);
    }
    if (name && !strcmp(name, "gptq")) {
        p->method = "gptq";
        return read_gptq(in, packed, p, err);
    }
    if (name && !strcmp(name, "awq")) {
        p->method = "awq";
        return read_awq(in, packed, p, err);
    }
    if (name && !strcmp(name, "bitsandbytes")) {
        p->method = "bitsandbytes";
        return read_bnb(in, packed, p, rounded, err);
    }
    return gr_fail(err, GRAM_EUNSUPPORTED, "%s: weights packed by \"%s\" are not supported; F64, F32, F16, BF16, "
                   "F8_E4M3 (fp8, compressed-tensors), whole numbers (gptq, awq, compressed-tensors, bitsandbytes) and "
                   "GGUF are", in->name, name ? name : "quantization_config");
}

gram_status gr_quantization_read(gr_quantization out[GR_WAYS + 1], const char *dir, gram_err *err)
{
    char *path = gr_path_join(dir, "config.json"), *text = NULL;
    struct gr_config_in in = { .name = path };
    bool rounded;
    size_t n;
    gram_status rc = path ? gr_read_file(path, CONFIG_LIMIT, &text, &n, err) : gr_nomem(err, dir);

    if (!rc)
        rc = gr_json_parse(&in.top, path, text, n, err);
    if (!rc)
        rc = read_packing(&in, out, &rounded, err);
    json_decref(in.top);
    free(text);
    free(path);
    return rc;
}

/* How weights are packed: as bytes of floating point or whole numbers with scales, or not at all. The tensors say which
 * they are. */
gram_status gr_config_check_packing(const struct gr_config_in *in, gr_config *c, gram_err *err)
{
    gr_quantization how[GR_WAYS + 1];
    bool rounded;
    gram_status rc = read_packing(in, how, &rounded, err);

    c->said.quantization = how[0];
    c->said.quantization.several = how[1].method != NULL;
    if (!rc && rounded)
        rc = gr_config_note(c, err, "%s: packed weights are read as the numbers that they stand for; activations are "
                            "not rounded to 8 bits", in->name);
    return rc;
}

/* ---- The tensors ------------------------------------------------------------------------------------ */

/* The grid alone does not say it: 192 rows with two scales may be blocks of 128 of which the last is shorter. */
static gram_status check_block(const gr_config *c, const gr_scaled *s, const char *path, gram_err *err)
{
    const size_t *block = c->said.quantization.block;

    for (size_t i = 0; i < 2 && block[0]; i++)
        if (s->grid[i] != gr_round_up(s->size[i], block[i]) / block[i] || (s->grid[i] > 1 && s->size[i] % block[i] > 0))
            return gr_fail(err, GRAM_EUNSUPPORTED, "%s: tensor \"%s\" is [%zu, %zu] with [%zu, %zu] scales; wanted "
                           "whole blocks of [%zu, %zu], as config.json says", path, s->name, s->size[0], s->size[1],
                           s->grid[0], s->grid[1], block[0], block[1]);
    return GRAM_OK;
}

gram_status gr_config_check_packed(const gr_config *c, const gr_weights *w, gram_err *err)
{
    const gr_quantization *p = &c->said.quantization;
    gram_status rc = GRAM_OK;

    if (p->method && !gr_weights_scaled_count(w))
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: config.json says that weights are packed by \"%s\", and no tensor "
                       "is", gr_weights_path(w), p->method);
    if (!p->method && gr_weights_scaled_count(w))
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: tensors are F8_E4M3, and config.json has no "
                       "\"quantization_config\" of fp8 or compressed-tensors", gr_weights_path(w));
    for (size_t i = 0; i < gr_weights_scaled_count(w) && !rc; i++) {
        const gr_scaled *s = gr_weights_scaled_at(w, i);
        if (!p->bits != (s->was == GR_F8_E4M3))
            rc = gr_fail(err, GRAM_EUNSUPPORTED, "%s: tensor \"%s\" is packed as %s, and config.json says that weights "
                         "are packed by \"%s\" as %s", gr_weights_path(w), s->name, gr_dtype_name(s->was), p->method,
                         p->bits ? "whole numbers" : "F8_E4M3");
        else if (!p->bits)
            rc = check_block(c, s, gr_weights_path(w), err);
    }
    return rc;
}
