/* fp8.c - weights of one byte with scales beside them: see file_int.h.
 *
 * X.weight is [rows, cols] of F8_E4M3. X.weight_scale_inv, as DeepSeek and Qwen write it, or X.weight_scale, as
 * compressed-tensors does, is a grid [a, b], or one number, each for rows/a x cols/b weights; a weight is its byte's
 * value times that. In transformers the former multiply in float32, the latter in their own type, to which the product
 * is rounded. */
#include <string.h>
#include "base/err.h"
#include "file/file_int.h"

enum { BLOCK = 32, CODES_AT = sizeof(float) };

/* One weight's codes and scales, and what it becomes. */
struct scales { const gr_named *w, *t; size_t rows, cols; gr_dtype type; };

static gram_status find_scales(struct scales *out, const struct gr_codes *c, gram_err *err)
{
    const gr_named *w = c->t, *s = gr_codes_beside(c, "weight_scale_inv");
    bool rounds = !s;

    if (!s)
        s = gr_codes_beside(c, "weight_scale");
    *out = (struct scales){ w, s, 1, 1, GR_F32 };
    if (!s || w->n_dims != 2)
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: tensor \"%s\" is F8_E4M3: wanted a matrix with weight_scale_inv or "
                       "weight_scale beside it", c->path, w->name);
    if (s->n_dims == 2)
        out->rows = s->dim[0], out->cols = s->dim[1];
    if (!gr_dtype_is_plain(s->type) || s->n_dims > 2 || (s->n_dims == 1 && s->dim[0] != 1) || !out->rows ||
        !out->cols || w->dim[0] % out->rows || w->dim[1] % out->cols)
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: tensor \"%s\": wanted F32, F16 or BF16, one number or a grid that "
                       "divides [%zu, %zu]; found %s of %zu dimensions [%zu, %zu]", c->path, s->name, w->dim[0],
                       w->dim[1], gr_dtype_name(s->type), s->n_dims, s->n_dims ? s->dim[0] : 1,
                       s->n_dims > 1 ? s->dim[1] : 1);
    out->type = rounds && s->type != GR_F32 ? s->type : w->dim[1] / out->cols % BLOCK ? GR_F32 : GR_F8_SCALED;
    return GRAM_OK;
}

/* The scale of row r at column k. */
static float scale_at(const struct scales *s, size_t r, size_t k)
{
    return gr_named_value(s->t, r / (s->w->dim[0] / s->rows) * s->cols + k / (s->w->dim[1] / s->cols));
}

/* One row, as blocks that each have their scale, or as numbers of the type. */
static bool make_row(const void *arg, size_t r, void *row, float *some)
{
    const struct scales *s = arg;
    const uint8_t *code = (const uint8_t *)s->w->data + r * s->w->dim[1];
    char *to = row;

    for (size_t k = 0, n; k < s->w->dim[1]; k += n, code += n) {
        float d = scale_at(s, r, k);
        n = gr_min(BLOCK, s->w->dim[1] / s->cols - k % (s->w->dim[1] / s->cols));
        if (s->type == GR_F8_SCALED) {
            memcpy(to, &d, sizeof d);
            memcpy(to + CODES_AT, code, BLOCK);
            to += gr_dtype_bytes(s->type);
            continue;
        }
        gr_dequant(some, code, GR_F8_E4M3, n);
        for (size_t i = 0; i < n; i++)
            some[i] *= d;
        if (!gr_quantize(to, s->type, some, n))
            return false;
        to += n * gr_dtype_bytes(s->type);
    }
    return true;
}

gram_status gr_fp8_make(gr_named *out, gr_scaled *made, const struct gr_codes *c, gram_err *err)
{
    struct scales s;
    gram_status rc = find_scales(&s, c, err);

    if (rc)
        return rc;
    made->grid[0] = s.rows, made->grid[1] = s.cols;
    return gr_codes_fill(out, made, c, &(gr_named){ .type = s.type, .dim = { c->t->dim[0], c->t->dim[1] } }, BLOCK,
                         make_row, &s, err);
}
