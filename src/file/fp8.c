/* fp8.c - weights of one byte with scales beside them: see file_int.h.
 *
 * X.weight is [rows, cols] of F8_E4M3. X.weight_scale_inv, as DeepSeek and Qwen write it, or X.weight_scale, as
 * compressed-tensors does, is a grid [a, b], or one number, each for rows/a x cols/b weights; a weight is its byte's
 * value times that. In transformers the former multiply in float32, the latter in their own type, to which the product
 * is rounded. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "file/file_int.h"

enum { BLOCK = 32, CODES_AT = sizeof(float), NAME = 256 };

/* One weight's scales. */
struct scales { const gr_named *t; size_t rows, cols; bool rounds; };

/* "X.weight" with something behind "X.". False: it is no weight, or its name is too long. */
static bool sibling(char out[NAME], const char *weight, const char *part)
{
    size_t n = strlen(weight), end = strlen("weight");

    return n > end && !strcmp(weight + n - end, "weight") &&
           snprintf(out, NAME, "%.*s%s", (int)(n - end), weight, part) < NAME;
}

static gram_status find_scales(struct scales *out, const gr_names *a, const gr_named *w, const char *path,
                               gram_err *err)
{
    char name[NAME] = "";
    const gr_named *s = sibling(name, w->name, "weight_scale_inv") ? gr_names_find(a, name) : NULL;

    *out = (struct scales){ s, 1, 1, false };
    if (!s && sibling(name, w->name, "weight_scale")) {
        out->t = s = gr_names_find(a, name);
        out->rounds = s && s->type != GR_F32;
    }
    if (!s || w->n_dims != 2)
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: tensor \"%s\" is F8_E4M3: wanted a matrix with weight_scale_inv or "
                       "weight_scale beside it", path, w->name);
    if (s->n_dims == 2)
        out->rows = s->dim[0], out->cols = s->dim[1];
    if (!gr_dtype_is_plain(s->type) || s->n_dims > 2 || (s->n_dims == 1 && s->dim[0] != 1) || !out->rows ||
        !out->cols || w->dim[0] % out->rows || w->dim[1] % out->cols)
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: tensor \"%s\": wanted F32, F16 or BF16, one number or a grid that "
                       "divides [%zu, %zu]; found %s of %zu dimensions [%zu, %zu]", path, s->name, w->dim[0], w->dim[1],
                       gr_dtype_name(s->type), s->n_dims, s->n_dims ? s->dim[0] : 1, s->n_dims > 1 ? s->dim[1] : 1);
    return GRAM_OK;
}

/* The scale of row r at column k. */
static float scale_at(const struct scales *s, const gr_named *w, size_t r, size_t k)
{
    return gr_named_value(s->t, r / (w->dim[0] / s->rows) * s->cols + k / (w->dim[1] / s->cols));
}

/* One row, as blocks that each have their scale, or as numbers of the type. */
static bool make_row(char *to, gr_dtype type, const gr_named *w, const struct scales *s, size_t r)
{
    const uint8_t *code = (const uint8_t *)w->data + r * w->dim[1];
    float some[BLOCK];

    for (size_t k = 0, n; k < w->dim[1]; k += n, code += n) {
        float d = scale_at(s, w, r, k);
        n = gr_min(BLOCK, w->dim[1] / s->cols - k % (w->dim[1] / s->cols));
        if (type == GR_F8_SCALED) {
            memcpy(to, &d, sizeof d);
            memcpy(to + CODES_AT, code, BLOCK);
            to += gr_dtype_bytes(type);
            continue;
        }
        gr_dequant(some, code, GR_F8_E4M3, n);
        for (size_t i = 0; i < n; i++)
            some[i] *= d;
        if (!gr_quantize(to, type, some, n))
            return false;
        to += n * gr_dtype_bytes(type);
    }
    return true;
}

static gram_status make(gr_named *w, gr_scaled *out, const struct scales *s, const char *path, gram_err *err)
{
    gr_named made = *w;
    size_t row;

    made.type = s->rounds ? s->t->type : w->dim[1] / s->cols % BLOCK ? GR_F32 : GR_F8_SCALED;
    if (!gr_named_bytes(&made, &made.bytes) || !gr_dtype_row_bytes(made.type, w->dim[1], &row))
        return gr_nomem(err, path);
    *out = (gr_scaled){ gr_alloc_aligned(made.bytes, 1), w->name, { w->dim[0], w->dim[1] }, { s->rows, s->cols } };
    if (!out->data)
        return gr_fail(err, GRAM_ENOMEM, "%s: out of memory for tensor \"%s\"", path, w->name);
    for (size_t r = 0; r < w->dim[0]; r++)
        if (!make_row((char *)out->data + r * row, made.type, w, s, r))
            return gr_fail(err, GRAM_EFORMAT, "%s: tensor \"%s\": a value of row %zu is no finite number, or beyond "
                           "what %s holds", path, w->name, r, gr_dtype_name(made.type));
    made.data = out->data;
    *w = made;
    return GRAM_OK;
}

/* Whether it belongs to a weight of one byte: its scales, or those that activations are rounded by elsewhere. */
static bool is_scale(const gr_names *a, const bool *scaled, const char *name)
{
    static const char *const part[] = { "weight_scale_inv", "weight_scale", "input_scale", "activation_scale" };
    size_t n = strlen(name), end = 0, i = 0;
    char weight[NAME];
    const gr_named *w;

    while (i < GR_COUNT(part) && (end = strlen(part[i]), n < end || strcmp(name + n - end, part[i])))
        i++;
    if (i == GR_COUNT(part) || snprintf(weight, NAME, "%.*sweight", (int)(n - end), name) >= NAME)
        return false;
    w = gr_names_find(a, weight);
    return w && scaled[w - a->t];
}

gram_status gr_fp8_take(gr_names *a, gr_scaled **made, size_t *n_made, const char *path, gram_err *err)
{
    bool *scaled, *drop;
    size_t kept = 0, some = 0;
    gram_status rc;

    for (size_t i = 0; i < a->n; i++)
        some += a->t[i].type == GR_F8_E4M3;
    if (!some)
        return GRAM_OK;
    scaled = gr_calloc(a->n, sizeof *scaled);
    drop = gr_calloc(a->n, sizeof *drop);
    *made = gr_calloc(some, sizeof **made);
    rc = scaled && drop && *made ? GRAM_OK : gr_nomem(err, path);
    for (size_t i = 0; i < a->n && !rc; i++) {
        struct scales s;
        if (a->t[i].type != GR_F8_E4M3)
            continue;
        rc = find_scales(&s, a, &a->t[i], path, err);
        if (!rc)
            rc = make(&a->t[i], &(*made)[(*n_made)++], &s, path, err);
        scaled[i] = true;
    }
    for (size_t i = 0; i < a->n && !rc; i++)
        drop[i] = is_scale(a, scaled, a->t[i].name);
    for (size_t i = 0; i < a->n && !rc; i++)
        if (!drop[i])
            a->t[kept++] = a->t[i];
    free(scaled);
    free(drop);
    if (rc)
        return rc;
    a->n = kept;
    free(a->by_name);
    a->by_name = NULL;
    return gr_names_index(a, path, err);
}
