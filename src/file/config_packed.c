/* config_packed.c - "quantization_config" of a config.json: how weights are packed. What would change a number and is
 * not done here is refused by its key. */
#include <string.h>
#include <jansson.h>
#include "base/err.h"
#include "file/config_in_int.h"

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
                  *const formats[] = { "float-quantized", "naive-quantized", NULL }, *const no_word[] = { NULL },
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

/* One of compressed-tensors' groups: bytes of floating point, with a scale for each matrix, row or block of it. */
static gram_status check_group(const struct gr_config_in *in, const json_t *group, size_t block[2], bool *rounded,
                               gram_err *err)
{
    static const struct packed_key known[] = { { "targets", NULL }, { "weights", NULL }, { "input_activations", NULL },
                                               { "format", formats } };
    static const struct packed_key of_weights[] = {
        { "num_bits", NULL }, { "type", of_float }, { "symmetric", NULL }, { "strategy", strategies },
        { "block_structure", NULL }, { "observer", NULL }, { "observer_kwargs", NULL }, { "scale_dtype", NULL },
        { "zp_dtype", NULL },
    };
    const json_t *weights = json_object_get(group, "weights");
    const json_t *bits = json_object_get(weights, "num_bits"), *type = json_object_get(weights, "type");
    gram_status rc = check_section(in, group, known, GR_COUNT(known), err);

    *rounded = *rounded || !is_blank(json_object_get(group, "input_activations"));
    if (!rc && (json_integer_value(bits) != 8 || !json_string_value(type) || strcmp(json_string_value(type), "float") ||
                json_is_false(json_object_get(weights, "symmetric"))))
        rc = gr_fail(err, GRAM_EUNSUPPORTED, "%s: weights packed by \"compressed-tensors\": wanted num_bits 8, type "
                     "float, symmetric", in->name);
    if (!rc)
        rc = check_section(in, weights, of_weights, GR_COUNT(of_weights), err);
    return rc ? rc : read_block(in, json_object_get(weights, "block_structure"), "block_structure", block, err);
}

static gram_status check_compressed(const struct gr_config_in *in, json_t *packed, size_t block[2], bool *rounded,
                                    gram_err *err)
{
    static const struct packed_key known[] = {
        { "quant_method", NULL }, { "format", formats }, { "config_groups", NULL }, { "ignore", NULL },
        { "quantization_status", NULL }, { "global_compression_ratio", NULL }, { "version", NULL },
        { "dequantize", NULL }, { "run_compressed", NULL },
    };
    const char *name;
    json_t *group;
    gram_status rc = check_section(in, packed, known, GR_COUNT(known), err);

    json_object_foreach(json_object_get(packed, "config_groups"), name, group)
        if (!rc)
            rc = check_group(in, group, block, rounded, err);
    return rc;
}

/* How weights are packed: as bytes of floating point with scales, or not at all. The tensors say which they are. */
gram_status gr_config_check_packing(const struct gr_config_in *in, gr_config *c, gram_err *err)
{
    static const struct packed_key known[] = {
        { "quant_method", NULL }, { "activation_scheme", schemes }, { "fmt", e4m3 }, { "weight_block_size", NULL },
        { "modules_to_not_convert", NULL }, { "ignored_layers", NULL }, { "modules_to_convert", NULL },
        { "dequantize", NULL }, { "scale_fmt", fmt }, { "expert_dtype", fp8 },
    };
    json_t *packed = gr_in_get(in->top, "quantization_config");
    const char *name = json_string_value(gr_in_get(packed, "quant_method"));
    bool rounded = true;
    gram_status rc;

    if (!packed || is_off(packed, name) || (json_is_object(packed) && !json_object_size(packed)))
        return GRAM_OK;
    if (name && !strcmp(name, "fp8")) {
        c->said.packed = "fp8";
        rc = check_section(in, packed, known, GR_COUNT(known), err);
        if (!rc)
            rc = read_block(in, gr_in_get(packed, "weight_block_size"), "weight_block_size", c->said.packed_block, err);
    } else if (name && !strcmp(name, "compressed-tensors")) {
        c->said.packed = "compressed-tensors";
        rounded = false;
        rc = check_compressed(in, packed, c->said.packed_block, &rounded, err);
    } else {
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: weights packed by \"%s\" are not supported; F64, F32, F16, BF16, "
                       "F8_E4M3 with scales (fp8, compressed-tensors) and GGUF are", in->name,
                       name ? name : "quantization_config");
    }
    if (!rc && rounded)
        rc = gr_config_note(c, err, "%s: weights of F8_E4M3 are read as the numbers that they stand for; activations "
                            "are not rounded to 8 bits", in->name);
    return rc;
}

/* The grid alone does not say it: 192 rows with two scales may be blocks of 128 of which the last is shorter. */
static gram_status check_block(const gr_config *c, const gr_scaled *s, const char *path, gram_err *err)
{
    const size_t *block = c->said.packed_block;

    for (size_t i = 0; i < 2 && block[0]; i++)
        if (s->grid[i] != gr_round_up(s->size[i], block[i]) / block[i] || (s->grid[i] > 1 && s->size[i] % block[i] > 0))
            return gr_fail(err, GRAM_EUNSUPPORTED, "%s: tensor \"%s\" is [%zu, %zu] with [%zu, %zu] scales; wanted "
                           "whole blocks of [%zu, %zu], as config.json says", path, s->name, s->size[0], s->size[1],
                           s->grid[0], s->grid[1], block[0], block[1]);
    return GRAM_OK;
}

gram_status gr_config_check_packed(const gr_config *c, const gr_weights *w, gram_err *err)
{
    gram_status rc = GRAM_OK;

    if (c->said.packed && !gr_weights_scaled_count(w))
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: config.json says that weights are packed by \"%s\", and no tensor "
                       "is F8_E4M3", gr_weights_path(w), c->said.packed);
    if (!c->said.packed && gr_weights_scaled_count(w))
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: tensors are F8_E4M3, and config.json has no "
                       "\"quantization_config\" of fp8 or compressed-tensors", gr_weights_path(w));
    for (size_t i = 0; i < gr_weights_scaled_count(w) && !rc; i++)
        rc = check_block(c, gr_weights_scaled_at(w, i), gr_weights_path(w), err);
    return rc;
}
