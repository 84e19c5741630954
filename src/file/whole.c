/* whole.c - weights packed as whole numbers, some to a word of 32 bits, the first in its lowest bits: see file_int.h.
 *
 * A weight of one output and one input is (code - zero) scale. Groups of inputs have a zero and a scale for each
 * output; with f = 32 / bits codes in a word the tensors are
 *
 *   gptq   qweight [in/f, out]   qzeros [groups, out/f]   scales [groups, out]   g_idx [in], the group of each input
 *   awq    qweight [in, out/f]   qzeros [groups, out/f]   scales [groups, out]
 *   compressed-tensors
 *          weight_packed [out, in/f]   weight_zero_point [out/f, groups]   weight_scale [out, groups]
 *          weight_g_idx [in]   weight_shape [2]: out and in
 *          weight [out, in], signed bytes   weight_zero_point, too   weight_scale [out, groups], or one number
 *          weight_g_idx [in]
 *
 * AWQ has outputs 0 to 7 of a word at its places 0, 4, 1, 5, 2, 6, 3, 7.
 * The format that is called "gptq" stores zeros less one: in a word of zeros one is added to each as to a whole number,
 * with its carries, which is the inverse of how gptqmodel makes such a file of one with zeros as they are. The product
 * is rounded to the type of the scale, as the official code makes it in that type; the difference is exact in it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "file/file_int.h"
#include "tensor/fast.h"

/* A number for each output and each input or group, in words, or signed in bytes. */
struct grid {
    const gr_named *t;
    bool turned;                    /* its rows are inputs or groups, otherwise outputs */
    bool down;                      /* a word is of one column, otherwise of one row */
    bool shuffled;                  /* its numbers lie as AWQ has them */
    bool one;                       /* a row for all outputs */
    uint32_t more;                  /* added to each word */
};

struct whole {
    const struct gr_codes *c;
    struct grid code, zero;
    float middle;                   /* the zero of all, where zero.t is NULL */
    struct grid scale;
    const gr_named *index;          /* NULL: groups are `group` inputs, one behind the other */
    size_t out, in, group, groups;
};

/* ---- What lies in the file -------------------------------------------------------------------------- */

/* Words from one output's to the next: an odd number of lines of the cache, so that they do not share a set of it. */
static size_t turned_line(size_t n)
{
    return gr_round_up(n, 16) | 16;
}

/* The words of some outputs, one output's behind another's, `next` apart: taken out of the file one output after the
 * other each would miss the cache. */
static void turn(uint32_t *to, size_t next, const uint32_t *word, size_t cols, size_t some, size_t n)
{
    for (size_t k = 0; k < n; k++)
        for (size_t i = 0; i < some; i++)
            to[i * next + k] = word[k * cols + i];
}

/* All numbers of n words. */
FAST static void read_words(float *to, const uint32_t *word, size_t n, unsigned bits, uint32_t more)
{
    for (size_t i = 0; i < n && bits == 4; i++)
        for (unsigned k = 0; k < 8; k++)
            to[8 * i + k] = (float)(int32_t)((word[i] + more) >> 4 * k & 15);
    for (size_t i = 0; i < n && bits == 8; i++)
        for (unsigned k = 0; k < 4; k++)
            to[4 * i + k] = (float)(int32_t)((word[i] + more) >> 8 * k & 255);
}

/* One number of each of n words. */
FAST static void read_places(float *to, const uint32_t *word, size_t next, size_t n, unsigned shift, uint32_t mask,
                             uint32_t more)
{
    for (size_t k = 0; k < n; k++)
        to[k] = (float)(int32_t)((word[k * next] + more) >> shift & mask);
}

FAST static void scale_by(float *x, size_t n, float zero, float scale)
{
    for (size_t k = 0; k < n; k++)
        x[k] = (x[k] - zero) * scale;
}

FAST static void scale_listed(float *x, size_t n, const int32_t *group, const float *zero, const float *scale)
{
    for (size_t k = 0; k < n; k++)
        x[k] = (x[k] - zero[group[k]]) * scale[group[k]];
}

/* The numbers of one output, for n inputs or groups, to the end of a word. own: room for turned words. */
static void read_numbers(const struct grid *g, unsigned bits, size_t out, size_t n, float *to, uint32_t *own)
{
    static const uint8_t shuffled[] = { 0, 4, 1, 5, 2, 6, 3, 7 };
    const unsigned some = bits == 4 ? 3 : 2, last = (1u << some) - 1;           /* 2^some numbers in a word */
    const size_t cols = g->t->n_dims > 1 ? g->t->dim[1] : 1, words = (n >> some) + ((n & last) > 0);
    const bool all = g->turned == g->down;          /* all numbers of a word are of one output; else of one input */
    const size_t line = all ? words : n, at = all ? out : out >> some, each = GR_CODES_ROWS >> (all ? 0 : some);
    const uint32_t *word = g->t->data;
    size_t next = 1;

    if (g->t->type == GR_I8) {
        const int8_t *byte = g->t->data;
        for (size_t k = 0; k < n; k++)
            to[k] = byte[g->one ? 0 : out * cols + k];
        return;
    }
    if (g->turned && own) {
        if (out % GR_CODES_ROWS == 0)
            turn(own, turned_line(line), word + at, cols, gr_min(each, cols - at), line);
        word = own + at % each * turned_line(line);
    } else {
        word += g->turned ? at : at * cols;
        next = g->turned ? cols : 1;
    }
    if (all)
        read_words(to, word, words, bits, g->more);
    else
        read_places(to, word, next, n, (g->shuffled ? shuffled[out & last] : (unsigned)out & last) * bits,
                    (1u << bits) - 1, g->more);
}

/* own: the row, the zeros and scales of its groups, and the words of some rows. */
static bool make_row(const void *arg, size_t out, void *to, float *own)
{
    const struct whole *w = arg;
    const int32_t *listed = w->index ? w->index->data : NULL;
    float *row = own, *zero_of = own + gr_round_up(w->in, 8), *scale_of = zero_of + w->groups;

    for (size_t g = 0; g < w->groups; g++) {
        zero_of[g] = w->middle;
        scale_of[g] = gr_named_value(w->scale.t, w->scale.one ? 0 : w->scale.turned ? g * w->out + out
                                                                                    : out * w->groups + g);
    }
    if (w->zero.t)
        read_numbers(&w->zero, w->c->how->bits, out, w->groups, zero_of, NULL);
    read_numbers(&w->code, w->c->how->bits, out, w->in, row, (uint32_t *)(scale_of + w->groups));
    if (listed)
        scale_listed(row, w->in, listed, zero_of, scale_of);
    for (size_t g = 0; !listed && g < w->groups; g++)
        scale_by(row + g * w->group, gr_min(w->group, w->in - g * w->group), zero_of[g], scale_of[g]);
    return gr_quantize(to, w->scale.t->type, row, w->in);
}

/* ---- What must be there ----------------------------------------------------------------------------- */

/* How many groups there are, of inputs that are not 0 and may be many. */
static void set_groups(struct whole *w)
{
    size_t group = w->c->how->group;

    w->group = group ? group : w->in;
    w->groups = w->in / w->group + (w->in % w->group > 0);
}

/* GPTQ has a list where it says nothing, too: groups one behind the other are what they are without it. */
static gram_status check_index(struct whole *w, gram_err *err)
{
    const int32_t *group = w->index ? w->index->data : NULL;
    bool other = false;

    for (size_t k = 0; group && k < w->in; k++) {
        if (group[k] < 0 || (size_t)group[k] >= w->groups)
            return gr_fail(err, GRAM_EFORMAT, "%s: tensor \"%s\": input %zu is in group %d; wanted 0 to %zu",
                           w->c->path, w->index->name, k, (int)group[k], w->groups - 1);
        other = other || (size_t)group[k] != k / w->group;
    }
    w->index = other ? w->index : NULL;
    return GRAM_OK;
}

/* Of compressed-tensors: it sorts the inputs by their groups, and its later versions then cut them into pieces of one
 * size, which are the groups where each has as many. -1 is how it says that there is no list. */
static gram_status find_list(struct whole *w, bool wanted, gram_err *err)
{
    const int32_t *group;
    size_t *some, g = 0;
    gram_status rc = GRAM_OK;

    if (!wanted && !gr_codes_beside(w->c, "weight_g_idx"))
        return GRAM_OK;
    rc = gr_codes_need(&w->index, w->c, "weight_g_idx", GR_I32, &w->in, 1, err);
    if (!rc && ((const int32_t *)w->index->data)[0] == -1)
        w->index = NULL;
    if (!rc)
        rc = check_index(w, err);
    if (rc || !w->index)
        return rc;
    some = gr_calloc(w->groups, sizeof *some);
    if (!some)
        return gr_nomem(err, w->c->path);
    group = w->index->data;
    for (size_t k = 0; k < w->in; k++)
        some[group[k]]++;
    while (g < w->groups && some[g] == w->group)
        g++;
    if (g < w->groups)
        rc = gr_fail(err, GRAM_EUNSUPPORTED, "%s: tensor \"%s\": wanted %zu inputs in each group, found %zu in group "
                     "%zu", w->c->path, w->index->name, w->group, some[g], g);
    free(some);
    return rc;
}

static gram_status find_gptq(struct whole *w, gram_err *err)
{
    const struct gr_codes *c = w->c;
    const gr_named *t = c->t;
    size_t f = 32 / c->how->bits;
    gram_status rc = GRAM_OK;

    if (t->n_dims != 2 || !gr_mul(t->dim[0], f, &w->in) || !w->in || !t->dim[1]) {
        char found[128];
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: tensor \"%s\": wanted I32 [inputs / %zu, outputs], found %s",
                       c->path, t->name, f, gr_codes_shape(found, t));
    }
    w->out = t->dim[1];
    set_groups(w);
    w->code = (struct grid){ .t = t, .turned = true, .down = true };
    w->scale.turned = true;
    w->zero = (struct grid){ .turned = true, .more = c->how->less_one ? UINT32_MAX / ((1u << c->how->bits) - 1) : 0 };
    rc = gr_codes_need(&w->scale.t, c, "scales", GR_DTYPES, (size_t[]){ w->groups, w->out }, 2, err);
    if (!rc)
        rc = gr_codes_need(&w->zero.t, c, "qzeros", GR_I32, (size_t[]){ w->groups, w->out / f + (w->out % f > 0) }, 2,
                           err);
    if (!rc && (c->how->ordered || gr_codes_beside(c, "g_idx")))
        rc = gr_codes_need(&w->index, c, "g_idx", GR_I32, &w->in, 1, err);
    return rc ? rc : check_index(w, err);
}

static gram_status find_awq(struct whole *w, gram_err *err)
{
    const struct gr_codes *c = w->c;
    const gr_named *t = c->t;
    gram_status rc;

    if (t->n_dims != 2 || !gr_mul(t->dim[1], 8, &w->out) || !w->out || !t->dim[0]) {
        char found[128];
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: tensor \"%s\": wanted I32 [inputs, outputs / 8], found %s", c->path,
                       t->name, gr_codes_shape(found, t));
    }
    w->in = t->dim[0];
    set_groups(w);
    w->code = (struct grid){ .t = t, .turned = true, .shuffled = true };
    w->scale.turned = true;
    w->zero = (struct grid){ .turned = true, .shuffled = true };
    rc = gr_codes_need(&w->scale.t, c, "scales", GR_DTYPES, (size_t[]){ w->groups, w->out }, 2, err);
    return rc ? rc : gr_codes_need(&w->zero.t, c, "qzeros", GR_I32, (size_t[]){ w->groups, t->dim[1] }, 2, err);
}

/* The scales of compressed-tensors, [out, groups] or one. */
static gram_status find_scale(struct whole *w, gram_err *err)
{
    const gr_named *t = gr_codes_beside(w->c, "weight_scale");

    w->scale.one = t && w->groups == 1 && (t->n_dims == 0 || (t->n_dims == 1 && t->dim[0] == 1));
    return gr_codes_need(&w->scale.t, w->c, "weight_scale", GR_DTYPES,
                         w->scale.one ? t->dim : (size_t[]){ w->out, w->groups }, w->scale.one ? t->n_dims : 2, err);
}

static gram_status find_words(struct whole *w, gram_err *err)
{
    const struct gr_codes *c = w->c;
    const gr_named *t = c->t, *shape = gr_codes_beside(c, "weight_shape");
    const gr_named *zero = gr_codes_beside(c, "weight_zero_point");
    size_t f = 32 / c->how->bits, size[2] = { 0 };
    char found[128];
    gram_status rc = gr_codes_need(&shape, c, "weight_shape", shape && shape->type == GR_I32 ? GR_I32 : GR_I64,
                                   (size_t[]){ 2 }, 1, err);

    for (size_t i = 0; i < 2 && !rc; i++)
        size[i] = (size_t)(shape->type == GR_I32 ? ((const int32_t *)shape->data)[i] :
                                                   ((const int64_t *)shape->data)[i]);
    if (!rc && (t->n_dims != 2 || !size[0] || !size[1] || t->dim[0] != size[0] ||
                t->dim[1] != size[1] / f + (size[1] % f > 0)))
        rc = gr_fail(err, GRAM_EUNSUPPORTED, "%s: tensor \"%s\" of %u bits is %s; weight_shape says [%zu, %zu]",
                     c->path, t->name, c->how->bits, gr_codes_shape(found, t), size[0], size[1]);
    if (!rc && zero && !c->how->zeros)
        rc = gr_fail(err, GRAM_EUNSUPPORTED, "%s: tensor \"%s\": config.json says that the weights are symmetric",
                     c->path, zero->name);
    if (rc)
        return rc;
    w->out = size[0], w->in = size[1];
    set_groups(w);
    w->code = (struct grid){ .t = t };
    w->middle = (float)(1u << (c->how->bits - 1));
    w->zero = (struct grid){ .down = true };
    rc = find_scale(w, err);
    if (!rc && c->how->zeros)
        rc = gr_codes_need(&w->zero.t, c, "weight_zero_point", GR_I32,
                           (size_t[]){ w->out / f + (w->out % f > 0), w->groups }, 2, err);
    return rc ? rc : find_list(w, c->how->ordered, err);
}

static gram_status find_bytes(struct whole *w, gram_err *err)
{
    const struct gr_codes *c = w->c;
    const gr_named *t = c->t, *zero = gr_codes_beside(c, "weight_zero_point");
    char found[128];
    gram_status rc;

    if (t->n_dims != 2 || !t->dim[0] || !t->dim[1])
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: tensor \"%s\": wanted I8 [outputs, inputs], found %s", c->path,
                       t->name, gr_codes_shape(found, t));
    w->out = t->dim[0], w->in = t->dim[1];
    set_groups(w);
    w->code = (struct grid){ .t = t };
    rc = find_scale(w, err);
    w->zero = (struct grid){ .one = w->scale.one };
    if (!rc && (c->how->zeros || zero))
        rc = gr_codes_need(&w->zero.t, c, "weight_zero_point", GR_I8, w->scale.t->dim, w->scale.t->n_dims, err);
    return rc ? rc : find_list(w, false, err);
}

/* ---- The weight ------------------------------------------------------------------------------------- */

/* Whether both make the same numbers of the same tensors. */
static bool is_same(const struct whole *a, const struct whole *b)
{
    return !(a->middle < b->middle || a->middle > b->middle) && a->groups == b->groups &&
           (a->groups == 1 || a->group == b->group);
}

/* Of the ways in which weights are packed the one that the tensors fit: "targets" say which it is to be, by names or
 * classes of transformers, and they would not fit another. `of`: c with this way alone. */
static gram_status find_way(struct whole *w, struct gr_codes *of, gram_status find(struct whole *w, gram_err *err),
                            gram_err *err)
{
    const gr_quantization *how = of->how;
    struct gr_codes other = *of;
    gram_status rc = find(w, err);

    for (other.how = how + 1; other.how->method && rc != GRAM_ENOMEM; other.how++) {
        struct whole x = { .c = &other };
        gram_err why;
        gram_status fits = find(&x, &why);
        if (fits == GRAM_ENOMEM)
            return gr_nomem(err, of->path);
        if (fits)
            continue;
        if (!rc && !is_same(w, &x))
            return gr_fail(err, GRAM_EUNSUPPORTED, "%s: tensor \"%s\": more than one way of \"config_groups\" fits it",
                           of->path, of->t->name);
        of->how = other.how;
        x.c = of;
        *w = x;
        rc = GRAM_OK;
    }
    return rc;
}

gram_status gr_whole_make(gr_named *out, gr_scaled *made, const struct gr_codes *c, gram_err *err)
{
    static const struct { const char *method, *code; gram_status (*find)(struct whole *w, gram_err *err); } form[] = {
        { "gptq", "qweight", find_gptq }, { "awq", "qweight", find_awq },
        { "compressed-tensors", "weight_packed", find_words }, { "compressed-tensors", "weight", find_bytes },
    };
    struct gr_codes of = *c;
    struct whole w = { .c = &of };
    size_t i = 0, f, turned = 0;                    /* words that are turned at a time */
    gram_status rc;

    while (i < GR_COUNT(form) && (!c->how->bits || strcmp(form[i].method, c->how->method) ||
                                  strcmp(form[i].code, c->code)))
        i++;
    if (i == GR_COUNT(form))
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: tensor \"%s\" is packed as whole numbers, and config.json has no "
                       "\"quantization_config\" that says how", c->path, c->t->name);
    rc = find_way(&w, &of, form[i].find, err);
    if (rc)
        return rc;
    f = 32 / of.how->bits;
    if (w.code.turned)
        turned = gr_min(GR_CODES_ROWS / (w.code.down ? 1 : f), c->t->dim[1]) *
                 turned_line(w.code.down ? w.in / f : w.in);
    return gr_codes_fill(out, made, c, &(gr_named){ .type = w.scale.t->type, .dim = { w.out, w.in } },
                         gr_round_up(w.in, 8) + 2 * w.groups + turned, make_row, &w, err);
}
