/* unpack.c - weights whose codes and scales are tensors of their own, made ordinary ones: see file_int.h. fp8.c knows
 * codes of floating point, whole.c those of whole numbers. */
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
    const char *part[6];
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
      { "weight_scale", "weight_zero_point", "input_scale", "input_zero_point", "SCB", "weight_format" } },
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
                            const gr_quantization *how, const char *path, gram_err *err)
{
    gram_status rc = GRAM_OK;

    for (size_t i = 0; i < a->n && !rc; i++) {
        const struct form *f = form_of(&a->t[i]);
        if (f) {
            const struct gr_codes c = { a, &a->t[i], f->code, how, path };
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

gram_status gr_unpack(gr_names *a, gr_scaled **made, size_t *n_made, const char *dir, gram_err *err)
{
    gr_quantization how = { 0 };
    size_t some = 0, codes = 0, n = 0;
    gram_status rc = GRAM_OK;
    gr_named *t;

    for (size_t i = 0; i < a->n; i++) {
        bool whole = gr_dtype_is_codes(a->t[i].type), packed = form_of(&a->t[i]);
        codes += whole && packed;
        some += whole || packed;
    }
    if (!some)
        return GRAM_OK;
    if (codes)
        rc = gr_quantization_read(&how, dir, err);
    if (rc)
        return rc;
    t = gr_calloc(a->n, sizeof *t);
    *made = gr_calloc(some, sizeof **made);
    rc = t && *made ? make_all(t, &n, a, *made, n_made, &how, dir, err) : gr_nomem(err, dir);
    if (rc) {
        free(t);
        return rc;
    }
    gr_names_clear(a);
    *a = (gr_names){ .t = t, .n = n };
    return gr_names_index(a, dir, err);
}
