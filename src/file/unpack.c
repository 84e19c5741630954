/* unpack.c - weights whose codes and scales are tensors of their own, made ordinary ones: see file_int.h. fp8.c knows
 * codes of floating point, whole.c those of whole numbers, bnb.c those of bitsandbytes. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "file/file_int.h"

enum { NAME = 256 };

/* The codes of a weight "X.weight", and what else belongs to it: also what activations are rounded by elsewhere. */
struct form {
    const char *code;
    gr_dtype type;
    gram_status (*make)(gr_named *out, gr_scaled *made, const struct gr_codes *c, gram_err *err);
    const char *part[7];
};

static gram_status make_bytes(gr_named *out, gr_scaled *made, const struct gr_codes *c, gram_err *err)
{
    bool bnb = c->how->method && !strcmp(c->how->method, "bitsandbytes");

    return bnb ? gr_bnb_make(out, made, c, err) : gr_whole_make(out, made, c, err);
}

static const struct form forms[] = {
    { "weight", GR_F8_E4M3, gr_fp8_make, { "weight_scale_inv", "weight_scale", "input_scale", "activation_scale" } },
    { "qweight", GR_I32, gr_whole_make, { "qzeros", "scales", "g_idx" } },
    { "weight_packed", GR_I32, gr_whole_make,
      { "weight_scale", "weight_zero_point", "weight_shape", "weight_g_idx", "input_scale" } },
    { "weight", GR_I8, make_bytes,
      { "weight_scale", "weight_zero_point", "weight_g_idx", "input_scale", "input_zero_point", "SCB",
        "weight_format" } },
    { "weight", GR_U8, gr_bnb_make,
      { "weight.absmax", "weight.quant_map", "weight.nested_absmax", "weight.nested_quant_map",
        "weight.quant_state.bitsandbytes__nf4", "weight.quant_state.bitsandbytes__fp4" } },
};

/* "X.part" for "X.code"; false where the name is no such one, or too long. */
static bool beside(char out[NAME], const char *name, const char *code, const char *part)
{
    size_t n = strlen(name), end = strlen(code);

    return n > end + 1 && name[n - end - 1] == '.' && !strcmp(name + n - end, code) &&
           snprintf(out, NAME, "%.*s%s", (int)(n - end), name, part) < NAME;
}

const gr_named *gr_codes_beside(const struct gr_codes *c, const char *part)
{
    char name[NAME];

    return beside(name, c->t->name, c->code, part) ? gr_names_find(c->all, name) : NULL;
}

const char *gr_codes_shape(char out[128], const gr_named *t)
{
    int n = snprintf(out, 128, "%s [", gr_dtype_name(t->type));

    for (size_t i = 0; i < t->n_dims; i++)
        n += snprintf(out + n, 128 - (size_t)n, "%s%zu", i ? ", " : "", t->dim[i]);
    snprintf(out + n, 128 - (size_t)n, "]");
    return out;
}

static bool has_shape(const gr_named *t, const size_t *dim, size_t n_dims)
{
    for (size_t i = 0; i < n_dims && i < t->n_dims; i++)
        if (t->dim[i] != dim[i])
            return false;
    return t->n_dims == n_dims;
}

gram_status gr_codes_need(const gr_named **out, const struct gr_codes *c, const char *part, gr_dtype type,
                          const size_t *dim, size_t n_dims, gram_err *err)
{
    const gr_named *t = *out = gr_codes_beside(c, part);
    bool any = type == GR_DTYPES;
    char want[128], found[128];

    if (!t)
        return gr_fail(err, GRAM_EFORMAT, "%s: tensor \"%s\": wanted a tensor \"%s\" beside it, found none", c->path,
                       c->t->name, part);
    if (has_shape(t, dim, n_dims) && (any ? gr_dtype_is_plain(t->type) : t->type == type))
        return GRAM_OK;
    gr_codes_shape(want, &(gr_named){ .type = any ? GR_F32 : type, .n_dims = n_dims,
                                      .dim = { dim[0], n_dims > 1 ? dim[1] : 0 } });
    return gr_fail(err, GRAM_EUNSUPPORTED, "%s: tensor \"%s\": wanted %s%s, found %s", c->path, t->name,
                   any ? "F16, BF16 or " : "", want, gr_codes_shape(found, t));
}

/* A weight on its way. */
struct filling {
    gr_codes_row *fn;
    const void *arg;
    char *to;
    size_t rows, row;               /* bytes of a row */
    float *own;                     /* [workers][some] */
    size_t some;
    atomic_size_t bad;              /* the first row that failed so far; rows: none */
};

static void fill_rows(void *arg, size_t task, size_t worker)
{
    struct filling *f = arg;
    size_t end = gr_min((task + 1) * GR_CODES_ROWS, f->rows), bad = f->bad;

    for (size_t r = task * GR_CODES_ROWS; r < end; r++)
        if (!f->fn(f->arg, r, f->to + r * f->row, f->own + worker * f->some)) {
            while (r < bad && !atomic_compare_exchange_weak(&f->bad, &bad, r))
                ;
            return;
        }
}

/* Its name lies behind its values. */
gram_status gr_codes_fill(gr_named *out, gr_scaled *made, const struct gr_codes *c, const gr_named *what, size_t some,
                          gr_codes_row *fn, const void *arg, gram_err *err)
{
    size_t stem = strlen(c->t->name) - strlen(c->code), all = stem + sizeof "weight";
    struct filling f = { .fn = fn, .arg = arg, .rows = what->dim[0], .some = gr_round_up(some, GR_ALIGN) };
    char *name;

    *out = (gr_named){ .type = what->type, .n_dims = 2, .dim = { what->dim[0], what->dim[1] } };
    f.own = gr_alloc_aligned(gr_pool_size(c->pool), f.some * sizeof *f.own);
    if (f.own && gr_named_bytes(out, &out->bytes) && gr_dtype_row_bytes(out->type, out->dim[1], &f.row) &&
        gr_add(all, out->bytes, &all))
        made->data = gr_alloc_aligned(all, 1);
    if (!made->data) {
        free(f.own);
        return gr_fail(err, GRAM_ENOMEM, "%s: out of memory for tensor \"%s\"", c->path, c->t->name);
    }
    name = (char *)made->data + out->bytes;
    snprintf(name, all - out->bytes, "%.*sweight", (int)stem, c->t->name);
    out->data = made->data;
    out->name = made->name = name;
    made->size[0] = out->dim[0], made->size[1] = out->dim[1];
    f.to = made->data;
    f.bad = f.rows;
    gr_pool_run(c->pool, fill_rows, &f, f.rows / GR_CODES_ROWS + (f.rows % GR_CODES_ROWS > 0));
    free(f.own);
    return f.bad == f.rows ? GRAM_OK : gr_fail(err, GRAM_EFORMAT, "%s: tensor \"%s\": a value of row %zu is no finite "
                                               "number, or beyond what %s holds", c->path, name, (size_t)f.bad,
                                               gr_dtype_name(out->type));
}

static const struct form *form_of(const gr_named *t)
{
    char name[NAME];

    /* Bytes of floating point are a weight's, whatever they are called. */
    for (size_t i = 0; i < GR_COUNT(forms); i++)
        if (t->type == forms[i].type && (t->type == GR_F8_E4M3 || beside(name, t->name, forms[i].code, "")))
            return &forms[i];
    return NULL;
}

/* Whether it belongs to the codes of a weight. */
static bool is_part(const gr_names *a, const char *name)
{
    char code[NAME];

    for (size_t i = 0; i < GR_COUNT(forms); i++)
        for (size_t k = 0; k < GR_COUNT(forms[i].part) && forms[i].part[k]; k++) {
            const gr_named *t = beside(code, name, forms[i].part[k], forms[i].code) ? gr_names_find(a, code) : NULL;
            if (t && t->type == forms[i].type)
                return true;
        }
    return false;
}

/* The tensors of the list as they become, in t. */
static gram_status make_all(gr_named *t, size_t *n, const gr_names *a, gr_scaled *made, size_t *n_made,
                            const gr_quantization *how, gr_pool *pool, const char *path, gram_err *err)
{
    gram_status rc = GRAM_OK;

    for (size_t i = 0; i < a->n && !rc; i++) {
        const struct form *f = form_of(&a->t[i]);
        if (f) {
            const struct gr_codes c = { pool, a, &a->t[i], f->code, how, path };
            made[*n_made] = (gr_scaled){ .was = f->type };
            rc = f->make(&t[(*n)++], &made[(*n_made)++], &c, err);
        } else if (!is_part(a, a->t[i].name)) {
            if (gr_dtype_is_codes(a->t[i].type))
                rc = gr_unsupported_type(path, a->t[i].name, gr_dtype_name(a->t[i].type), err);
            t[(*n)++] = a->t[i];
        }
    }
    return rc;
}

gram_status gr_unpack(gr_names *a, gr_scaled **made, size_t *n_made, const char *dir, size_t threads, gram_err *err)
{
    gr_quantization how[GR_WAYS + 1] = { { 0 } };
    size_t some = 0, codes = 0, n = 0;
    gram_status rc = GRAM_OK;
    gr_pool *pool = NULL;
    gr_named *t;

    for (size_t i = 0; i < a->n; i++) {
        bool whole = gr_dtype_is_codes(a->t[i].type), packed = form_of(&a->t[i]);
        codes += whole && packed;
        some += whole || packed;
    }
    if (!some)
        return GRAM_OK;
    if (codes)
        rc = gr_quantization_read(how, dir, err);
    if (!rc)
        rc = gr_pool_open(&pool, threads, err);
    if (rc)
        return rc;
    t = gr_calloc(a->n, sizeof *t);
    *made = gr_calloc(some, sizeof **made);
    rc = t && *made ? make_all(t, &n, a, *made, n_made, how, pool, dir, err) : gr_nomem(err, dir);
    gr_pool_close(pool);
    if (rc) {
        free(t);
        return rc;
    }
    gr_names_clear(a);
    *a = (gr_names){ .t = t, .n = n };
    return gr_names_index(a, dir, err);
}
