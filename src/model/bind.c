/* bind.c - find each tensor of the architecture by its name in the file, and prove its shape.
 *
 * A tensor that nothing asked for is an error too: a bias that a checkpoint has and the forward pass leaves out would
 * give wrong scores without a word. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "model/bind_int.h"
#include "op/digits.h"
#include "op/packed.h"

gram_status gr_bind_settle(const gr_model *m, void **p, size_t bytes, gram_err *err)
{
    const void *there;
    gram_status rc;

    if (gr_device_is_host(m->on))
        return GRAM_OK;
    rc = gr_device_hold(m->on, &there, *p, bytes, err);
    free(*p);
    *p = (void *)(uintptr_t)there;
    return rc;
}

gram_status gr_bind_add_param(struct binder *b, gr_tensor_kind slot, size_t layer, const char *part, float *w,
                             uint16_t *half, size_t rows, size_t cols)
{
    gr_model *m = b->m;
    gr_param *p = m->param;
    void *values = half ? (void *)half : w;
    char full[128];
    gr_fused in = { .all = rows };
    bool renamed = false;
    gram_status rc = gr_bind_settle(m, &values, rows * cols * (half ? sizeof *half : sizeof *w), b->err);

    if (rc)
        return rc;

    if (m->n_params == m->cap_params) {
        size_t cap = 2 * m->cap_params + 64;
        p = realloc(p, cap * sizeof *p);
        if (p) {
            m->param = p;
            m->cap_params = cap;
        }
    }
    gr_bind_name_in(m, GR_AS_LLAMA, full, sizeof full, slot, layer, slot == GR_T_SCORE ? b->as : part);
    if (p)
        p[m->n_params] = (gr_param){ .name = gr_strdup(full), .rows = rows, .cols = cols, .on = m->on,
                                     .w = { values, cols, half ? GR_BF16 : GR_F32 },
                                     .decay = rows > 1 || slot == GR_T_SHARED ||
                                              (slot == GR_T_SCORE && !gr_bind_is_bias(part)) };
    if (p && p[m->n_params].name && slot != GR_T_SCORE && !gr_config_has(&m->cfg, GR_HAS_OWN_FORM)) {
        if (!gr_tensor_of_expert(slot))     /* which are written each apart */
            gr_tensor_fused(&m->cfg, false, slot, layer, &in);
        gr_bind_name_in(m, GR_AS_OWN, full, sizeof full, slot, layer, part);
        renamed = strcmp(full, p[m->n_params].name);
        p[m->n_params].in = renamed ? gr_strdup(full) : NULL;
        p[m->n_params].first = in.from;
        p[m->n_params].all = in.all;
    }
    if (!p || !p[m->n_params].name || (renamed && !p[m->n_params].in)) {
        if (p)
            free((char *)(uintptr_t)p[m->n_params].name);
        gr_device_free(m->on, values);
        return gr_nomem(b->err, "weights");
    }
    m->n_params++;
    m->bytes += rows * cols * (half ? sizeof *half : sizeof *w);
    return GRAM_OK;
}

/* *t is the parameter that was noted last. */
static gram_status stand_for(const struct binder *b, gr_tensor *t, gram_status rc)
{
    const gr_param *p = &b->m->param[b->m->n_params - 1];

    if (!rc)
        *t = (gr_tensor){ p->w.type, p->w.p, t->rows, t->cols };
    return rc;
}

/* Copies a matrix, rounded to bfloat16. */
static gram_status make_half(struct binder *b, gr_tensor_kind slot, size_t layer, const char *part, gr_tensor *t)
{
    const gr_stored s = gr_bind_stored(b, slot, layer, part, t);
    uint16_t *half = gr_alloc_aligned(t->rows * t->cols, sizeof *half);
    float *row = gr_alloc_aligned(t->cols, sizeof *row);

    if (!half || !row) {
        free(half);
        free(row);
        return gr_nomem(b->err, "weights");
    }
    for (size_t r = 0; r < t->rows; r++) {
        gr_stored_row(&s, false, r, row);
        if (!gr_quantize(half + r * t->cols, GR_BF16, row, t->cols)) {
            free(half);
            free(row);
            return gr_fail(b->err, GRAM_EFORMAT, "%s: tensor %s: a value of row %zu is no finite number, or beyond "
                           "what bfloat16 holds", gr_weights_path(b->m->file), s.name, r);
        }
    }
    free(row);
    return stand_for(b, t, gr_bind_add_param(b, slot, layer, part, NULL, half, t->rows, t->cols));
}

/* Copies a tensor into writable memory and lets *t stand for the copy. */
static gram_status make_writable(struct binder *b, gr_tensor_kind slot, size_t layer, const char *part, gr_tensor *t)
{
    const gr_stored s = gr_bind_stored(b, slot, layer, part, t);
    float *w;

    if (b->mode == GR_LINEAR_BF16 && t->rows > 1 && slot != GR_T_SCORE)
        return make_half(b, slot, layer, part, t);
    w = gr_alloc_aligned(t->rows * t->cols, sizeof *w);
    if (!w)
        return gr_nomem(b->err, "weights");
    for (size_t r = 0; r < s.t.rows; r++)
        gr_stored_row(&s, false, r, w + r * s.t.cols);
    return stand_for(b, t, gr_bind_add_param(b, slot, layer, part, w, NULL, t->rows, t->cols));
}

static gram_status note(struct binder *b, gr_tensor_kind slot, size_t layer, const char *part, const gr_tensor *t)
{
    struct list *l = b->list;

    if (l->n == l->cap) {
        size_t cap = 2 * l->cap + 64;
        gr_stored *p = realloc(l->t, cap * sizeof *p);
        if (!p)
            return gr_nomem(b->err, "tensors");
        l->t = p;
        l->cap = cap;
    }
    l->t[l->n++] = gr_bind_stored(b, slot, layer, part, t);
    return GRAM_OK;
}

/* The rows of one matrix among those of others, in the file's type: in place, or copied where they are not one after
 * the other. */
static gram_status take_apart(struct binder *b, gr_tensor_kind slot, size_t layer, const gr_fused *in, gr_tensor *t)
{
    const char *from = t->data;
    char *copy;
    size_t bytes = 0;

    gr_dtype_row_bytes(t->type, t->cols, &bytes);               /* proved when the file was opened */
    if (in->take == t->rows) {
        t->data = from + in->from * bytes;
        return GRAM_OK;
    }
    copy = gr_alloc_aligned(t->rows, bytes);
    if (!copy)
        return gr_nomem(b->err, "weights");
    for (size_t r = 0; r < t->rows; r += in->take)
        memcpy(copy + r * bytes, from + (in->from + r / in->take * in->every) * bytes, in->take * bytes);
    gr_bind_mat_of(b->m, slot, layer)->apart = copy;
    t->data = copy;
    return GRAM_OK;
}

/* The shape of a tensor that holds the matrices of all experts of a layer. */
static gram_status check_stack(const struct binder *b, const gr_named *t, const gr_fused *in, size_t cols)
{
    if (t->n_dims == 3 && t->dim[0] == in->deep && t->dim[1] == in->all / in->deep && t->dim[2] == cols)
        return GRAM_OK;
    return gr_fail(b->err, GRAM_EFORMAT,
                   "%s: tensor %s: wanted 3 dimensions [%zu, %zu, %zu], found %zu [%zu, %zu, %zu]",
                   gr_weights_path(b->m->file), t->name, in->deep, in->all / in->deep, cols, t->n_dims,
                   t->n_dims > 0 ? t->dim[0] : 0, t->n_dims > 1 ? t->dim[1] : 0, t->n_dims > 2 ? t->dim[2] : 0);
}

gram_status gr_bind_find(struct binder *b, gr_tensor_kind slot, size_t layer, const char *part, size_t rows,
                         size_t cols,
                        gr_tensor *out)
{
    const gr_named *t;
    char full[128];
    gr_fused in = { .all = rows };
    bool fused = gr_tensor_fused(&b->m->cfg, gr_weights_gguf(b->m->file) != NULL, slot, layer, &in);
    size_t r, c;
    gram_status rc = GRAM_OK;

    gr_bind_name(b, full, sizeof full, slot, layer, part);
    t = gr_weights_find(b->m->file, full);
    if (!t)
        return gr_fail(b->err, GRAM_EFORMAT, "%s: tensor %s is missing; %s needs it with shape [%zu, %zu]",
                       gr_weights_path(b->m->file), full, gr_arch_name(b->m->cfg.architecture), in.all, cols);
    if (in.deep)
        rc = check_stack(b, t, &in, cols);
    if (rc)
        return rc;
    r = in.deep ? in.all : t->n_dims == 2 ? t->dim[0] : 1;
    c = t->n_dims ? t->dim[t->n_dims - 1] : 1;
    if ((t->n_dims > 2 && !in.deep) || r != in.all || c != cols)
        return gr_fail(b->err, GRAM_EFORMAT, "%s: tensor %s has %zu dimensions with rows of %zu, wanted [%zu, %zu] "
                       "and found [%zu, %zu]", gr_weights_path(b->m->file), full, t->n_dims, c, in.all, cols, r, c);
    *out = (gr_tensor){ t->type, t->data, rows, cols };
    b->bound += in.from == 0;               /* of those that lie in one tensor the first counts */
    if ((b->list || b->m->writable) && (slot == GR_T_Q || slot == GR_T_K) && !strcmp(part, "bias") &&
        gr_dtype_block(t->type) > 1)
        return gr_fail(b->err, GRAM_EUNSUPPORTED, "%s: tensor %s is %s: a bias in blocks is not supported",
                       gr_weights_path(b->m->file), full, gr_dtype_name(t->type));
    if (b->list)
        return note(b, slot, layer, part, out);
    if (fused && !b->m->writable)
        return take_apart(b, slot, layer, &in, out);
    return b->m->writable ? make_writable(b, slot, layer, part, out) : GRAM_OK;
}

/* Puts the adapter's bias, if it has one, in the place of the base's. */
static gram_status put_bias(struct binder *b, gr_tensor_kind slot, size_t layer, const char *part, float *w)
{
    gr_model *m = b->m;
    size_t tensors = 0;
    gram_status rc;

    if (!b->adapter || !gr_bind_is_bias(part) || slot < GR_T_Q || slot > GR_T_O)
        return GRAM_OK;
    rc = gr_lora_put_bias(w, m, b->adapter, gr_bind_matrix_of(&m->cfg, slot, layer), layer,
                          !m->writable && m->cfg.rope_interleaved, &tensors, b->err);
    b->folded += tensors;
    return rc;
}

/* Puts a vector, expanded to float32, on the device. */
static gram_status vector(struct binder *b, float **out, gr_tensor_kind slot, size_t layer, const char *part, size_t n)
{
    gr_tensor t;
    void *w;
    float *there;
    gram_status rc = gr_bind_find(b, slot, layer, part, 1, n, &t);

    if (rc || b->list)
        return rc;
    if (b->m->writable) {                   /* the parameter itself; not freed with the layer */
        *out = b->m->param[b->m->n_params - 1].w.p;
        there = gr_device_map(b->m->on, *out, n * sizeof *there, true);
        rc = there ? put_bias(b, slot, layer, part, there) : gr_nomem(b->err, "weights");
        gr_device_unmap(b->m->on, *out, there, n * sizeof *there, !rc);
        return rc;
    }
    w = gr_alloc_aligned(n, sizeof **out);
    if (!w)
        return gr_nomem(b->err, "weights");
    gr_dequant(w, t.data, t.type, n);
    rc = put_bias(b, slot, layer, part, w);
    if (rc) {
        free(w);
        return rc;
    }
    rc = gr_bind_settle(b->m, &w, n * sizeof **out, b->err);
    *out = w;
    b->m->bytes += n * sizeof **out;
    return rc;
}

/* w as bfloat16 holds it. */
static gram_status round_values(struct binder *b, float *w, size_t n)
{
    uint16_t some[256];

    for (size_t k; n; w += k, n -= k) {
        k = gr_min(GR_COUNT(some), n);
        if (!gr_quantize(some, GR_BF16, w, k))
            return gr_fail(b->err, GRAM_EFORMAT, "%s: a value is no finite number, or beyond what bfloat16 holds",
                           gr_weights_path(b->m->file));
        gr_dequant(w, some, GR_BF16, k);
    }
    return GRAM_OK;
}

/* Adds the adapter's share to a matrix: in place where it may be written, otherwise to a copy that *t then is. */
static gram_status fold(struct binder *b, gr_tensor_kind slot, size_t layer, gr_tensor *t)
{
    gr_model *m = b->m;
    size_t which = gr_bind_matrix_of(&m->cfg, slot, layer);
    bool found = false;
    size_t tensors = 0;
    size_t bytes = t->rows * t->cols * sizeof(float);
    void *there = m->writable ? m->param[m->n_params - 1].w.p : NULL;
    float *w = m->writable ? gr_device_map(m->on, there, bytes, true) : gr_alloc_aligned(t->rows * t->cols, sizeof *w);
    gram_status rc = GRAM_OK;

    if (!w)
        return gr_nomem(b->err, "weights");
    if (!m->writable)
        gr_dequant(w, t->data, t->type, t->rows * t->cols);
    if (b->exact && b->mode == GR_LINEAR_BF16)
        rc = round_values(b, w, t->rows * t->cols);
    if (!rc)
        rc = gr_lora_fold(w, m, b->adapter, which, gr_bind_layer_of(&m->cfg, slot, layer),
                          !m->writable && m->cfg.rope_interleaved, &tensors, &found, b->err);
    b->folded += tensors;
    if (!rc && found && !m->writable) {
        gr_bind_mat_of(m, slot, layer)->folded = w;
        *t = (gr_tensor){ GR_F32, w, t->rows, t->cols };
    } else if (!m->writable) {
        free(w);
    } else {
        gr_device_unmap(m->on, there, w, bytes, !rc);
    }
    return rc;
}

/* In the last layer only the rows that are asked for go past k and v: int8 and bfloat16 save no time there, and what
 * comes last errs most. The rest of that layer keeps the file's type, as float32 where it is used. So does a router,
 * whose roundings send a token to other experts. */
static gr_linear_mode mode_of(const struct binder *b, gr_tensor_kind slot, size_t layer)
{
    const gr_config *c = &b->m->cfg;
    bool few = gr_bind_layer_of(c, slot, layer) + 1 == c->layers && slot != GR_T_K && slot != GR_T_V;

    if (b->exact && gr_bind_mat_of(b->m, slot, layer)->folded)
        return GR_LINEAR_KEEP;
    if ((slot == GR_T_ROUTER || slot == GR_T_SHARED) && b->mode != GR_LINEAR_F32)
        return GR_LINEAR_KEEP;
    return few && (b->mode == GR_LINEAR_INT8 || b->mode == GR_LINEAR_ROUNDED) ? GR_LINEAR_KEEP : b->mode;
}

static uint64_t tensor_bytes(const gr_tensor *t)
{
    size_t row = 0;

    gr_dtype_row_bytes(t->type, t->cols, &row);             /* proved when the file was opened */
    return (uint64_t)t->rows * row;
}

/* The matrix that gram packed, or NULL. */
static const gr_named *packed_of(const struct binder *b, gr_tensor_kind slot, size_t layer)
{
    char full[128];

    if (mode_of(b, slot, layer) != GR_LINEAR_INT8)
        return NULL;
    gr_bind_name_in(b->m, GR_AS_LLAMA, full, sizeof full, slot, layer, GR_PACKED_PART);
    return gr_weights_packed(b->m->file, full);
}

static gram_status packed_linear(struct binder *b, const gr_named *t, gr_tensor_kind slot, size_t layer, float **bias,
                                 size_t rows, size_t cols)
{
    struct matrix *mat = gr_bind_mat_of(b->m, slot, layer);
    char what[512];
    gr_packed w;
    gram_status rc;

    snprintf(what, sizeof what, "%s: tensor %s", gr_weights_path(b->m->file), t->name);
    rc = gr_packed_read(&w, what, t->data, t->bytes, b->err);
    if (!rc && (w.O != rows || w.K != cols))
        rc = gr_fail(b->err, GRAM_EFORMAT, "%s: wanted [%zu, %zu], found [%zu, %zu]", what, rows, cols, w.O, w.K);
    if (!rc && bias)
        rc = vector(b, bias, slot, layer, "bias", rows);
    if (!rc)
        rc = gr_linear_open_int8(&mat->l, b->m->on, &(gr_tensor){ GR_F32, NULL, rows, cols }, &w, bias ? *bias : NULL,
                                 &b->int8, b->err);
    if (!rc)
        b->m->bytes += gr_linear_bytes(mat->l);
    b->packed++;
    return rc;
}

static gram_status open_matrix(struct binder *b, struct matrix *mat, const gr_tensor *t, const float *bias,
                               gr_linear_mode mode)
{
    if (mode == GR_LINEAR_INT8)
        return gr_linear_open_int8(&mat->l, b->m->on, t, NULL, bias, &b->int8, b->err);
    return gr_linear_open(&mat->l, b->m->on, t, bias, mode, b->err);
}

static gram_status linear(struct binder *b, gr_tensor_kind slot, size_t layer, float **bias,
                          size_t rows, size_t cols)
{
    gr_tensor t;
    struct matrix *mat = gr_bind_mat_of(b->m, slot, layer);
    const gr_named *packed = packed_of(b, slot, layer);
    gram_status rc;

    if (packed)
        return packed_linear(b, packed, slot, layer, bias, rows, cols);
    rc = gr_bind_find(b, slot, layer, "weight", rows, cols, &t);
    if (!rc && b->list)
        b->list->t[b->list->n - 1].int8 = mode_of(b, slot, layer) == GR_LINEAR_INT8;
    if (!rc && b->m->writable)
        mat->w = t.data;
    if (!rc && b->adapter)
        rc = fold(b, slot, layer, &t);
    if (!rc && bias)
        rc = vector(b, bias, slot, layer, "bias", rows);
    if (!rc && b->list)
        return GRAM_OK;
    if (!rc)
        rc = open_matrix(b, mat, &t, bias ? *bias : NULL, mode_of(b, slot, layer));
    if (!rc)
        b->m->bytes += gr_linear_bytes(mat->l);
    if (!rc && (mat->apart || mat->folded))
        rc = gr_linear_tiles(mat->l, b->err);
    else if (!rc) {
        gr_linear_stays(mat->l);
        if (!gr_linear_borrows(mat->l) && mode_of(b, slot, layer) == GR_LINEAR_F32 && !gr_linear_few_bytes(mat->l))
            b->m->bytes += tensor_bytes(&t);    /* a handful of rows reads the file's */
    }
    if (!rc)
        b->m->bytes += gr_linear_few_bytes(mat->l);
    if (!rc && !gr_linear_borrows(mat->l)) {    /* it has its own form of what was taken apart or folded */
        free(mat->apart);
        free(mat->folded);
        mat->apart = mat->folded = NULL;
    }
    return rc;
}

/* Where a vector of a layer belongs; of a matrix NULL. */
static float **vector_of(struct layer *l, gr_tensor_kind slot)
{
    switch (slot) {
    case GR_T_ATTN_NORM:      return &l->attn_norm;
    case GR_T_MLP_NORM:       return &l->mlp_norm;
    case GR_T_ATTN_POST_NORM: return &l->attn_post_norm;
    case GR_T_MLP_POST_NORM:  return &l->mlp_post_norm;
    case GR_T_Q_NORM:         return &l->q_norm;
    case GR_T_K_NORM:         return &l->k_norm;
    default:                  return NULL;
    }
}

static gram_status bind_layer(struct binder *b, size_t i)
{
    const gr_config *c = &b->m->cfg;
    struct layer *l = &b->m->layer[i];
    gram_status rc = GRAM_OK;

    for (gr_tensor_kind s = GR_T_LAYER; s < GR_T_LAYER_END && !rc; s++) {
        size_t n = gr_tensor_of_expert(s) ? c->experts : 1;
        float **v = vector_of(l, s);
        size_t rows, cols;
        gr_tensor_shape(c, s, &rows, &cols);
        for (size_t at = i * n; at < (i + 1) * n && !rc && gr_tensor_there(c, s, at); at++)
            rc = v ? vector(b, v, s, at, "weight", cols)
                   : linear(b, s, at, gr_tensor_has_bias(c, s) ? &l->bias[s - GR_T_Q] : NULL, rows, cols);
    }
    return rc;
}

/* One piece of memory for all matrices in 8 bits, by the configuration, which no tensor has proved yet: where it cannot
 * be had, each gets its own. With an adapter too, which may change what is in 8 bits. */
static void make_int8_room(struct binder *b)
{
    const gr_config *c = &b->m->cfg;
    size_t all = 0;

    if (b->mode != GR_LINEAR_INT8 || b->adapter || b->list || b->m->writable)
        return;
    for (gr_tensor_kind s = GR_T_LAYER; s < GR_T_LAYER_END; s++) {
        size_t n = c->layers * (gr_tensor_of_expert(s) ? c->experts : 1), rows, cols;
        gr_tensor_shape(c, s, &rows, &cols);
        for (size_t at = 0; at < n; at++)
            if (!vector_of(b->m->layer, s) && gr_tensor_there(c, s, at) && mode_of(b, s, at) == GR_LINEAR_INT8)
                all += gr_round_up(gr_linear_int8_bytes(b->m->on, rows, cols, packed_of(b, s, at)), GR_ALIGN);
    }
    b->m->int8 = all ? gr_alloc_aligned(all, 1) : NULL;
    b->int8 = (gr_arena){ b->m->int8, b->m->int8 ? all : 0, 0 };
}

/* Tensors that checkpoints carry and no forward pass needs: tables that follow from the configuration, and the
 * image half of a model whose text half is read. */
static bool is_idle(const struct binder *b, const char *n)
{
    const char *end = strrchr(n, '.'), *prefix = b->m->nested ? GR_NESTED : b->m->cfg.prefix;

    return !strcmp(n, "rope_freqs.weight") || (b->m->cfg.far.after && !strncmp(n, "rope_factors_", 13)) ||
           (end && !strcmp(end, ".inv_freq")) || gr_head_is_idle(&b->m->cfg, n) ||
           (strncmp(n, prefix, strlen(prefix)) && !(b->m->nested && !strcmp(n, "lm_head.weight")));
}

/* Whether it is the name of a slot that the model has in a layer. The numbers in it say in which it could be. */
static bool is_of_slot(const struct binder *b, gr_tensor_kind s, const char *name)
{
    const gr_config *c = &b->m->cfg;
    const char *layer = strpbrk(name, "0123456789"), *expert = strstr(name, ".experts.");
    bool one = gr_tensor_of_expert(s) && !c->experts;
    size_t l = layer ? (size_t)strtoul(layer, NULL, 10) : 0, e = expert ? (size_t)strtoul(expert + 9, NULL, 10) : 0;
    char full[128];

    if (one || l >= c->layers || (c->experts && e >= c->experts))
        return false;
    l = gr_tensor_of_expert(s) ? l * c->experts + e : l;
    if (s >= GR_T_LAYER && !gr_tensor_there(c, s, l))
        return false;
    gr_bind_name(b, full, sizeof full, s, l, "weight");
    if (!strcmp(full, name))
        return true;
    gr_bind_name(b, full, sizeof full, s, l, "bias");
    return !strcmp(full, name) && gr_tensor_has_bias(c, s);
}

static bool is_of_a_slot(const struct binder *b, const char *name)
{
    bool known = false;

    for (gr_tensor_kind s = 0; s < GR_T_SCORE && !known; s++)
        known = is_of_slot(b, s, name);
    return known;
}

/* A bias of zeros where the architecture has none, as older packers wrote one to each matrix: it adds nothing. */
static bool is_no_bias(const struct binder *b, const gr_named *t)
{
    size_t n = strlen(t->name), stem = n - gr_min(n, strlen("bias"));
    char weight[128];

    if (t->n_dims != 1 || !gr_dtype_is_plain(t->type) || strcmp(t->name + stem, "bias") ||
        snprintf(weight, sizeof weight, "%.*sweight", (int)stem, t->name) >= (int)sizeof weight ||
        is_of_a_slot(b, t->name) || !is_of_a_slot(b, weight))
        return false;
    for (size_t i = 0; i < t->dim[0]; i++)
        if (!(gr_named_value(t, i) == 0))
            return false;
    return true;
}

/* Something in the file was not asked for: say what. */
static gram_status check_unknown(struct binder *b)
{
    const gr_weights *w = b->m->file;
    size_t idle = 0;
    gr_head_part part;
    char full[128];

    if (b->packed < gr_weights_packed_count(w))
        return gr_fail(b->err, GRAM_EUNSUPPORTED, "%s: %zu weights of 8 bits that %s has no use for",
                       gr_weights_path(w), gr_weights_packed_count(w) - b->packed,
                       gr_arch_name(b->m->cfg.architecture));
    for (size_t i = 0; i < gr_weights_count(w); i++)
        idle += is_idle(b, gr_weights_at(w, i)->name);
    if (b->m->cfg.tied_head || !b->m->cfg.words) {      /* many files save the tied head again */
        gr_bind_name(b, full, sizeof full, GR_T_HEAD, 0, "weight");
        idle += gr_weights_find(w, full) != NULL;
    }
    if (b->bound + idle >= gr_weights_count(w))
        return GRAM_OK;
    for (size_t i = 0; i < gr_weights_count(w); i++) {
        const char *n = gr_weights_at(w, i)->name;
        bool zeros = is_no_bias(b, gr_weights_at(w, i)), known = zeros || is_idle(b, n) || is_of_a_slot(b, n);
        idle += zeros;
        for (size_t k = 0; !known && gr_head_part_at(&b->m->cfg.head, b->m->cfg.width, k, &part); k++)
            known = !strcmp(part.name, n);
        known = known || gr_bind_is_of_gate(&b->m->cfg, n);
        if (!known)
            return gr_fail(b->err, GRAM_EUNSUPPORTED, "%s: tensor %s is not one that the architecture %s knows",
                           gr_weights_path(w), n, gr_arch_name(b->m->cfg.architecture));
    }
    if (b->bound + idle >= gr_weights_count(w))
        return GRAM_OK;
    return gr_fail(b->err, GRAM_EUNSUPPORTED, "%s: %zu tensors that %s has no use for, such as a second set of norms",
                   gr_weights_path(w), gr_weights_count(w) - b->bound - idle, gr_arch_name(b->m->cfg.architecture));
}

/* Whether a Hugging Face file has the experts of a layer in one tensor. */
static bool stacks(const gr_model *m)
{
    gr_config c = m->cfg;
    gr_model as = { .cfg = c, .nested = m->nested };
    size_t i = 0;
    char full[128];

    while (i < c.layers && !gr_config_sparse(&c, i))
        i++;
    if (i == c.layers || gr_weights_gguf(m->file))
        return false;
    as.cfg.stacked = true;
    gr_bind_name_in(&as, GR_IN_DIR, full, sizeof full, GR_T_EXPERT_DOWN, i * c.experts, "weight");
    return gr_weights_find(m->file, full) != NULL;
}

static gram_status open_layers(gr_model *m, gram_err *err)
{
    size_t n = gr_matrices(&m->cfg);

    m->layer = gr_calloc(m->cfg.layers, sizeof *m->layer);
    m->mat = gr_calloc(m->cfg.layers * n, sizeof *m->mat);
    if (!m->layer || !m->mat)
        return gr_nomem(err, "model");
    for (size_t i = 0; i < m->cfg.layers; i++)
        m->layer[i].mat = m->mat + i * n;
    m->cfg.stacked = stacks(m);
    return GRAM_OK;
}

/* The table of embeddings on the device: as the file has it, or, as kernels of another device than a CPU read no
 * blocks, expanded. */
static gram_status hold_table(gr_model *m, gram_err *err)
{
    const gr_tensor *t = &m->embed;
    size_t n = t->rows * t->cols;
    float *w;
    gram_status rc;

    if (gr_device_is_host(m->on) || gr_dtype_is_plain(t->type))
        return gr_device_hold(m->on, &m->table.data, t->data, tensor_bytes(t), err);
    w = gr_alloc_aligned(n, sizeof *w);
    if (!w)
        return gr_nomem(err, "embeddings");
    gr_dequant(w, t->data, t->type, n);
    m->table.type = GR_F32;
    rc = gr_device_hold(m->on, &m->table.data, w, n * sizeof *w, err);
    free(w);
    return rc;
}

/* What is packed is used as it is, or not at all. */
static gram_status check_packed(const struct binder *b)
{
    const gr_weights *w = b->m->file;

    if (gr_weights_packed_count(w) == 0 || (b->mode == GR_LINEAR_INT8 && !b->m->writable && !b->adapter && !b->list))
        return GRAM_OK;
    return gr_fail(b->err, GRAM_EUNSUPPORTED, "%s: gram convert wrote its weights in 8 bits: they are read with the "
                   "dtype int8, which has to be asked for, and neither trained, merged, converted nor given an adapter",
                   gr_weights_path(w));
}

static gram_status open_model(gr_model **out, gr_device *d, const gr_weights *w, const gr_adapter *a, gr_config *cfg,
                              gr_linear_mode mode, gr_model_use use, struct list *list, gram_err *err)
{
    gr_model *m = gr_calloc(1, sizeof *m);
    struct binder b = { .m = m, .mode = mode, .err = err, .adapter = a, .exact = use == GR_MODEL_EXACT, .list = list };
    bool writable = use == GR_MODEL_WRITABLE;
    gram_status rc;

    *out = NULL;
    if (!m) {
        gr_config_clear(cfg);
        return gr_nomem(err, "model");
    }
    m->on = d;
    m->mode = mode;
    m->writable = writable;
    m->cfg = *cfg;
    *cfg = (gr_config){ 0 };
    m->file = w;
    m->nested = m->cfg.prefix[0] && gr_weights_find(w, GR_NESTED "embed_tokens.weight");
    rc = check_packed(&b);
    if (!rc)
        rc = open_layers(m, err);
    if (rc)
        goto out;
    rc = gr_bind_find(&b, GR_T_EMBED, 0, "weight", m->cfg.vocabulary, m->cfg.width, &m->embed);
    m->head = m->table = m->embed;
    if (!rc && !writable && !list)
        rc = hold_table(m, err);
    if (!rc && gr_tensor_there(&m->cfg, GR_T_HEAD, 0))
        rc = gr_bind_find(&b, GR_T_HEAD, 0, "weight", m->cfg.vocabulary, m->cfg.width, &m->head);
    if (!rc && !writable)
        m->bytes += tensor_bytes(&m->embed) + (m->cfg.tied_head ? 0 : tensor_bytes(&m->head)) +
                    (gr_digits_has(m->head.type, m->cfg.width)          /* as vocabulary.c lays it out for few rows */
                     ? gr_digits_bytes(m->head.type, m->cfg.vocabulary, m->cfg.width) : 0);
    if (!rc)
        rc = vector(&b, &m->final_norm, GR_T_FINAL_NORM, 0, "weight", m->cfg.width);
    if (!rc)
        make_int8_room(&b);
    for (size_t i = 0; i < m->cfg.layers && !rc; i++) {
        rc = bind_layer(&b, i);
        gr_weights_release(m->file);        /* of what was copied the file's pages are not needed beside the copy */
    }
    if (!rc && m->cfg.reward)
        rc = gr_bind_head(&b);
    if (!rc)
        rc = check_unknown(&b);
    if (!rc && a)
        rc = gr_lora_check_all(m, a, b.folded, err);
    if (!rc && !list)
        rc = gr_device_wait(d, err);        /* the weights are there */
    if (rc)
        goto out;
    if (writable) {                         /* the copies have the form of a Hugging Face checkpoint */
        m->cfg.rope_interleaved = false;
        m->cfg.norm_bias = gr_config_has(&m->cfg, GR_HAS_PLUS_ONE) ? 1 : 0;
    }
    *out = m;
    m = NULL;
out:
    gr_model_close(m);
    return rc;
}

gram_status gr_model_open_folded(gr_model **out, gr_device *d, const gr_weights *w, const gr_adapter *a,
                                 gr_config *cfg, gr_linear_mode mode, gr_model_use use, gram_err *err)
{
    return open_model(out, d, w, a, cfg, mode, use, NULL, err);
}

gram_status gr_model_open(gr_model **out, gr_device *d, const gr_weights *w, gr_config *cfg, gr_linear_mode mode,
                          gram_err *err)
{
    return open_model(out, d, w, NULL, cfg, mode, GR_MODEL_FIXED, NULL, err);
}

gram_status gr_model_open_writable(gr_model **out, gr_device *d, const gr_weights *w, gr_config *cfg, gram_err *err)
{
    return open_model(out, d, w, NULL, cfg, GR_LINEAR_F32, GR_MODEL_WRITABLE, NULL, err);
}

gram_status gr_model_stored(gr_stored **out, size_t *n, const gr_weights *w, gr_config *cfg, gram_err *err)
{
    struct list list = { 0 };
    gr_model *m;
    gram_status rc = open_model(&m, NULL, w, NULL, cfg, GR_LINEAR_INT8, GR_MODEL_FIXED, &list, err);

    gr_model_close(m);
    if (rc) {
        free(list.t);
        list = (struct list){ 0 };
    }
    *out = list.t;
    *n = list.n;
    return rc;
}

gram_status gr_model_draw_score(gr_model *m, uint64_t seed, gram_err *err)
{
    gr_head h = m->score;
    size_t bytes[GR_HEAD_PARTS] = { 0 };
    gr_head_part p;
    bool ok = true;

    for (size_t i = 0; gr_head_part_at(&m->cfg.head, m->cfg.width, i, &p); i++) {
        bytes[p.at] = p.rows * p.cols * sizeof(float);
        if (m->writable)                    /* otherwise it is the host's on any device */
            h.part[p.at] = gr_device_map(m->on, m->score.part[p.at], bytes[p.at], false);
        ok = ok && h.part[p.at];
    }
    if (ok)
        gr_head_draw(&h, m->cfg.init_std, seed);
    for (size_t i = 0; m->writable && i < GR_HEAD_PARTS; i++)
        gr_device_unmap(m->on, m->score.part[i], bytes[i] ? h.part[i] : NULL, bytes[i], ok);
    return ok ? GRAM_OK : gr_nomem(err, "reward head");
}

void gr_model_train_by(gr_model *m, gr_multiply by)
{
    m->steps = by;
}

const gr_param *gr_model_params(const gr_model *m, size_t *n)
{
    *n = m->n_params;
    return m->param;
}

static void layer_clear(gr_device *d, struct layer *l, size_t matrices, bool vectors)
{
    float *vector[] = { l->attn_norm, l->mlp_norm, l->attn_post_norm, l->mlp_post_norm, l->q_norm, l->k_norm,
                        l->bias[0], l->bias[1], l->bias[2], l->bias[3] };

    for (size_t i = 0; vectors && i < GR_COUNT(vector); i++)
        gr_device_free(d, vector[i]);
    for (size_t i = 0; l->mat && i < matrices; i++) {
        gr_linear_close(l->mat[i].l);
        free(l->mat[i].apart);
        free(l->mat[i].folded);
    }
}

void gr_model_close(gr_model *m)
{
    if (!m)
        return;
    for (size_t i = 0; m->layer && i < m->cfg.layers; i++)
        layer_clear(m->on, &m->layer[i], gr_matrices(&m->cfg), !m->writable);
    free(m->layer);
    free(m->mat);
    free(m->int8);
    if (!m->writable) {
        gr_device_free(m->on, m->final_norm);
        gr_device_drop(m->on, m->table.data);
        for (size_t i = 0; i < GR_HEAD_PARTS; i++)
            free(m->score.part[i]);
    }
    for (size_t i = 0; i < m->n_params; i++) {
        free((char *)(uintptr_t)m->param[i].name);
        free((char *)(uintptr_t)m->param[i].in);
        gr_device_free(m->on, m->param[i].w.p);
    }
    free(m->param);
    gr_gate_clear(&m->gate);
    gr_config_clear(&m->cfg);
    free(m);
}

const gr_config *gr_model_config(const gr_model *m)
{
    return &m->cfg;
}

uint64_t gr_model_way_bytes(const gr_model *m, gr_rows_way way)
{
    gr_rows_way other = way == GR_ROWS_FEW ? GR_ROWS_ALIKE : GR_ROWS_FEW;
    uint64_t bytes = m->bytes;

    for (size_t i = 0; i < m->cfg.layers * gr_matrices(&m->cfg); i++) {
        const gr_linear *l = m->mat[i].l;
        if (l && gr_linear_lacks(l, other))
            bytes -= other == GR_ROWS_FEW ? gr_linear_few_bytes(l) : gr_linear_bytes(l);
    }
    return bytes;
}

uint64_t gr_model_lay_bytes(const gr_model *m)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < m->cfg.layers * gr_matrices(&m->cfg); i++)
        bytes += m->mat[i].l ? gr_linear_lay_bytes(m->mat[i].l) : 0;
    return bytes;
}

uint64_t gr_model_bytes(const gr_model *m)
{
    return m->bytes;
}
