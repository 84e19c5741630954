/* bnb.c - weights as bitsandbytes packs them: see file_int.h.
 *
 * Of 4 bits, X.weight is one row of codes, two to a byte, the first in its upper half; behind its name lie
 *
 *   quant_map                       F32 [16], the number of each code (nf4, fp4)
 *   absmax                          F32 [blocks], or U8, codes of the three that follow
 *   nested_absmax, nested_quant_map F32 [blocks of blocks], F32 [256]
 *   quant_state.bitsandbytes__TYPE  JSON: the weight's shape and type, how many values and blocks make a block, and
 *                                   nested_offset, which is added to each absmax
 *
 * and a weight is quant_map[code] absmax[its block], which is rounded to its type. Blocks go on from row to row. Of 8
 * bits X.weight is I8 with X.SCB, F32 [rows]: a weight is code SCB / 127. In bitsandbytes both are multiplied so; with
 * 8 bits it rounds activations, too. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <jansson.h>
#include "base/err.h"
#include "file/file_int.h"

#define STATE "weight.quant_state.bitsandbytes__"

struct state {
    const struct gr_codes *c;
    gr_dtype type;
    size_t rows, cols, block, blocks;
    size_t outer;                           /* blocks that share a nested_absmax; 0: absmax are numbers */
    float offset;
    const gr_named *most, *map, *outer_most, *outer_map;
};

/* ---- What must be there ----------------------------------------------------------------------------- */

static gram_status wrong_state(const gr_named *t, const char *path, const char *what, gram_err *err)
{
    return gr_fail(err, GRAM_EUNSUPPORTED, "%s: tensor \"%s\": %s", path, t->name, what);
}

static bool read_count(const json_t *v, size_t *out)
{
    if (!json_is_integer(v) || json_integer_value(v) < 1)
        return false;
    *out = (size_t)json_integer_value(v);
    return true;
}

static bool read_type(const char *name, gr_dtype *out)
{
    static const struct { const char *name; gr_dtype type; } known[] = {
        { "float32", GR_F32 }, { "float16", GR_F16 }, { "bfloat16", GR_BF16 },
    };

    for (size_t i = 0; name && i < GR_COUNT(known); i++)
        if (!strcmp(name, known[i].name)) {
            *out = known[i].type;
            return true;
        }
    return false;
}

/* NULL: all is understood. */
static const char *read_object(struct state *s, const json_t *o, const char *kind)
{
    static const char *const known[] = { "quant_type", "blocksize", "dtype", "shape", "nested_blocksize",
                                         "nested_dtype", "nested_offset" };
    const char *type = json_string_value(json_object_get(o, "quant_type"));
    const char *nested = json_string_value(json_object_get(o, "nested_dtype"));
    const json_t *shape = json_object_get(o, "shape"), *offset = json_object_get(o, "nested_offset");
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)(uintptr_t)o, key, v) {
        size_t i = 0;
        while (i < GR_COUNT(known) && strcmp(key, known[i]))
            i++;
        if (i == GR_COUNT(known))
            return "its JSON has a key that is not known";
    }
    if (!type || strcmp(type, kind))
        return "\"quant_type\" is not what its name says";
    if (!read_type(json_string_value(json_object_get(o, "dtype")), &s->type))
        return "wanted the \"dtype\" float32, float16 or bfloat16";
    if (json_array_size(shape) != 2 || !read_count(json_array_get(shape, 0), &s->rows) ||
        !read_count(json_array_get(shape, 1), &s->cols) || !gr_mul(s->rows, s->cols, &s->blocks))
        return "wanted a \"shape\" of two counts";
    if (!read_count(json_object_get(o, "blocksize"), &s->block))
        return "wanted a \"blocksize\" above 0";
    s->blocks = s->blocks / s->block + (s->blocks % s->block > 0);
    if (!json_object_get(o, "nested_blocksize") && !offset)
        return NULL;
    if (!read_count(json_object_get(o, "nested_blocksize"), &s->outer) || !nested || strcmp(nested, "float32") ||
        !json_is_number(offset) || !isfinite((float)json_number_value(offset)))
        return "wanted a \"nested_blocksize\" above 0, the \"nested_dtype\" float32 and a number \"nested_offset\"";
    s->offset = (float)json_number_value(offset);
    return NULL;
}

static gram_status read_state(struct state *s, gram_err *err)
{
    static const char *const kind[] = { "nf4", "fp4" };
    const gr_named *t = NULL;
    const char *why;
    json_t *o = NULL;
    size_t i = 0;
    gram_status rc;

    for (; i < GR_COUNT(kind) && !t; i += !t) {
        char part[64];
        snprintf(part, sizeof part, STATE "%s", kind[i]);
        t = gr_codes_beside(s->c, part);
    }
    if (!t)
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: tensor \"%s\" is U8: wanted quant_state.bitsandbytes__nf4 or "
                       "__fp4 behind its name", s->c->path, s->c->t->name);
    if (t->type != GR_U8)
        return wrong_state(t, s->c->path, "wanted JSON as U8", err);
    rc = gr_json_parse(&o, t->name, t->data, t->bytes, err);
    why = rc ? NULL : read_object(s, o, kind[i]);
    json_decref(o);
    return why ? wrong_state(t, s->c->path, why, err) : rc;
}

static gram_status find_state(struct state *s, gram_err *err)
{
    const struct gr_codes *c = s->c;
    size_t n;
    gram_status rc = read_state(s, err);

    if (rc)
        return rc;
    n = s->rows * s->cols;
    if (c->t->bytes != n / 2 + n % 2)
        return gr_fail(err, GRAM_EFORMAT, "%s: tensor \"%s\": wanted %zu bytes, two codes in each, for [%zu, %zu]; "
                       "found %zu", c->path, c->t->name, n / 2 + n % 2, s->rows, s->cols, (size_t)c->t->bytes);
    rc = gr_codes_need(&s->map, c, "weight.quant_map", GR_F32, (size_t[]){ 16 }, 1, err);
    if (!rc)
        rc = gr_codes_need(&s->most, c, "weight.absmax", s->outer ? GR_U8 : GR_F32, &s->blocks, 1, err);
    if (!rc && s->outer)
        rc = gr_codes_need(&s->outer_most, c, "weight.nested_absmax", GR_F32,
                           (size_t[]){ s->blocks / s->outer + (s->blocks % s->outer > 0) }, 1, err);
    if (!rc && s->outer)
        rc = gr_codes_need(&s->outer_map, c, "weight.nested_quant_map", GR_F32, (size_t[]){ 256 }, 1, err);
    return rc;
}

static gram_status find_rows(struct state *s, gram_err *err)
{
    const gr_named *t = s->c->t, *format = gr_codes_beside(s->c, "weight_format");
    char found[128];

    if (t->n_dims != 2 || !t->dim[0] || !t->dim[1])
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: tensor \"%s\": wanted I8 [outputs, inputs], found %s", s->c->path,
                       t->name, gr_codes_shape(found, t));
    if (format && (format->type != GR_U8 || format->bytes != 1 || *(const uint8_t *)format->data != 0))
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: tensor \"%s\": wanted the number 0, rows as they are, of one byte",
                       s->c->path, format->name);
    s->rows = t->dim[0], s->cols = t->dim[1];
    return gr_codes_need(&s->most, s->c, "SCB", GR_F32, &s->rows, 1, err);
}

/* ---- The weight ------------------------------------------------------------------------------------- */

static float most_of(const struct state *s, size_t block)
{
    const float *most = s->most->data, *outer, *map;
    float x;

    if (!s->outer)
        return most[block];
    outer = s->outer_most->data;
    map = s->outer_map->data;
    x = map[((const uint8_t *)s->most->data)[block]] * outer[block / s->outer];
    return x + s->offset;
}

static bool four_bits(const void *arg, size_t r, void *to, float *row)
{
    const struct state *s = arg;
    const uint8_t *code = s->c->t->data;
    const float *map = s->map->data;
    size_t first = r * s->cols, end = first + s->cols;

    for (size_t i = first, stop; i < end; i = stop) {
        float most = most_of(s, i / s->block);
        stop = gr_min(end, i - i % s->block + s->block);
        for (size_t k = i; k < stop; k++)
            row[k - first] = map[k % 2 ? code[k / 2] & 15 : code[k / 2] >> 4] * most;
    }
    return gr_quantize(to, s->type, row, s->cols);
}

/* The two products are bitsandbytes' own, and its constant is the nearest to 1/127. */
static bool eight_bits(const void *arg, size_t r, void *to, float *row)
{
    const struct state *s = arg;
    const int8_t *code = (const int8_t *)s->c->t->data + r * s->cols;
    float most = ((const float *)s->most->data)[r];

    for (size_t k = 0; k < s->cols; k++) {
        float x = (float)code[k] * most;
        row[k] = x * (1.0f / 127);
    }
    return gr_quantize(to, GR_F32, row, s->cols);
}

gram_status gr_bnb_make(gr_named *out, gr_scaled *made, const struct gr_codes *c, gram_err *err)
{
    struct state s = { .c = c, .type = GR_F32 };
    unsigned bits = c->t->type == GR_U8 ? 4 : 8;
    gram_status rc;

    if (!c->how->method || strcmp(c->how->method, "bitsandbytes") || c->how->bits != bits)
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: tensor \"%s\" is %s, and config.json has no "
                       "\"quantization_config\" of bitsandbytes with %u bits", c->path, c->t->name,
                       gr_dtype_name(c->t->type), bits);
    rc = bits == 4 ? find_state(&s, err) : find_rows(&s, err);
    if (rc)
        return rc;
    return gr_codes_fill(out, made, c, &(gr_named){ .type = s.type, .dim = { s.rows, s.cols } }, s.cols,
                         bits == 4 ? four_bits : eight_bits, &s, err);
}
