/* lora_find.c - what an adapter's file has for a matrix of the model, and a matrix with it added: see lora_int.h.
 *
 * PEFT names A and B by the module that they stand beside. Experts that lie in one parameter for all of a layer have
 * one A and one B together (target_parameters): A [experts * rank, K], an expert's rows after those of the one before;
 * B [O, rank * experts], of which an expert has every experts-th column. Gate and up are one parameter, and have one A.
 * Of two such parameters of a module the second stands outside of the first, whose names have a "base_layer" more. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "model/lora_int.h"
#include "op/op.h"

/* ---- Names ---------------------------------------------------------------------------------------- */

/* PEFT's name of what stands beside a matrix, "model.layers.0.self_attn.q_proj.weight" or the like. */
static void name_part(char *out, const char *matrix, const char *part)
{
    snprintf(out, GR_LORA_NAME, GR_ADAPTER_STEM "%.*s.%s", (int)(strrchr(matrix, '.') - matrix), matrix, part);
}

static void name_of(char *out, const char *matrix, char part)
{
    name_part(out, matrix, part == 'A' ? "lora_A.weight" : "lora_B.weight");
}

void gr_lora_name(char out[GR_LORA_NAME], const gr_model *m, size_t which, size_t layer, char part, bool own)
{
    char full[128];

    (own ? gr_matrix_own_name : gr_matrix_name)(m, which, layer, full, sizeof full);
    name_of(out, full, part);
}

/* ---- Finding -------------------------------------------------------------------------------------- */

/* Finds A and B of a matrix [O,K], or neither. */
static gram_status find_named(const gr_named *out[2], const gr_adapter *a, const char *matrix, size_t O, size_t K,
                              gram_err *err)
{
    for (int i = 0; i < 2; i++) {
        char name[GR_LORA_NAME];
        name_of(name, matrix, "AB"[i]);
        out[i] = gr_adapter_find(a, name);
        if (i && !out[0] != !out[1])
            return gr_fail(err, GRAM_EFORMAT, "%s: tensor %s has no partner: of A and B one is missing", a->path,
                           out[0] ? out[0]->name : out[1]->name);
    }
    for (int i = 0; i < 2 && out[0]; i++) {
        const gr_named *t = out[i];
        if (t->n_dims != 2 || t->dim[i] != out[0]->dim[0] || t->dim[!i] != (i ? O : K) || !out[0]->dim[0])
            return gr_fail(err, GRAM_EFORMAT, "%s: tensor %s: wanted [%s%zu%s, found %zu dimensions [%zu, %zu]",
                           a->path, t->name, i ? "" : "rank, ", i ? O : K, i ? ", rank]" : "]", t->n_dims,
                           t->n_dims > 0 ? t->dim[0] : 0, t->n_dims > 1 ? t->dim[1] : 0);
    }
    return GRAM_OK;
}

static gram_status wrong_vector(const gr_adapter *a, const gr_named *t, size_t n, gram_err *err)
{
    return gr_fail(err, GRAM_EFORMAT, "%s: tensor %s: wanted [%zu], found %zu dimensions, the first of %zu", a->path,
                   t->name, n, t->n_dims, t->n_dims ? t->dim[0] : 0);
}

/* DoRA's lengths beside A and B of `matrix`. */
static gram_status find_magnitude(struct lora_found *f, const gr_adapter *a, const char *matrix, gram_err *err)
{
    char name[GR_LORA_NAME];
    size_t rows = f->t[1]->dim[0];

    if (f->stack)
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: tensor %s: \"use_dora\" is not supported where experts lie "
                       "together", a->path, f->t[0]->name);
    name_part(name, matrix, "lora_magnitude_vector");
    f->magnitude = gr_adapter_find(a, name);
    if (!f->magnitude)
        return gr_fail(err, GRAM_EFORMAT, "%s: tensor %s is missing; \"use_dora\" needs it beside %s", a->path, name,
                       f->t[0]->name);
    if (f->magnitude->n_dims != 1 || f->magnitude->dim[0] != rows)
        return wrong_vector(a, f->magnitude, rows, err);
    return GRAM_OK;
}

/* PEFT saves the bias of a matrix that has A and B as the base layer's; older versions did not. */
gram_status gr_lora_find_bias(const gr_named **out, const gr_adapter *a, const char *matrix, size_t O, gram_err *err)
{
    char inner[GR_LORA_NAME], outer[GR_LORA_NAME], pair[GR_LORA_NAME];
    bool adapted;

    *out = NULL;
    if (a->cfg.biases == GR_BIASES_BASE)
        return GRAM_OK;
    name_part(inner, matrix, "base_layer.bias");
    name_part(outer, matrix, "bias");
    name_of(pair, matrix, 'A');
    adapted = gr_adapter_find(a, pair) != NULL;
    *out = gr_adapter_find(a, inner) ? gr_adapter_find(a, inner) : gr_adapter_find(a, outer);
    if (!*out && (adapted || a->cfg.biases == GR_BIASES_ALL))
        return gr_fail(err, GRAM_EFORMAT, "%s: tensor %s is missing: \"bias\" says that it was trained, and it was "
                       "lost when the adapter was saved", a->path, adapted ? inner : outer);
    if (*out && ((*out)->n_dims != 1 || (*out)->dim[0] != O))
        return wrong_vector(a, *out, O, err);
    return GRAM_OK;
}

/* called: "model.layers.0.self_attn.q_proj.weight", or a parameter that is no module's weight. */
static gram_status alpha_of(double *out, const gr_adapter *a, const char *called, gram_err *err)
{
    size_t n = strlen(called), end = strlen(".weight");
    char name[GR_LORA_NAME];

    snprintf(name, sizeof name, "%.*s", (int)(n > end && !strcmp(called + n - end, ".weight") ? n - end : n), called);
    return gr_adapter_config_alpha(out, &a->cfg, name, err);
}

/* The name of a parameter that stacked experts lie in, and of the module that its A and B stand beside. */
struct stack { char parameter[GR_LORA_NAME], module[GR_LORA_NAME]; size_t expert; bool down, up; };

/* "model.layers.0.mlp.experts.3.up_proj.weight" is one of "model.layers.0.mlp.experts.gate_up_proj". False: the adapter
 * has nothing for that parameter. */
static bool stack_of(struct stack *s, const gr_adapter *a, const char *matrix)
{
    const char *at = strstr(matrix, ".experts.") + strlen(".experts.");
    int stem = (int)(at - matrix) - 1;
    char *kind, other[GR_LORA_NAME];
    bool inner;

    s->expert = (size_t)strtoul(at, &kind, 10);
    s->down = kind[1] == 'd';
    s->up = kind[1] == 'u';
    snprintf(s->parameter, sizeof s->parameter, "%.*s.%s", stem, matrix, s->down ? "down_proj" : "gate_up_proj");
    snprintf(other, sizeof other, "%.*s.down_proj", stem, matrix);
    inner = !s->down && gr_adapter_config_targets(&a->cfg, other);
    snprintf(s->module, sizeof s->module, "%.*s%s.weight", stem, matrix, inner ? ".base_layer" : "");
    return gr_adapter_config_targets(&a->cfg, s->parameter);
}

static gram_status find_stacked(struct lora_found *out, const gr_adapter *a, const struct stack *s,
                                const struct lora_matrix *m, gram_err *err)
{
    gram_status rc = find_named(out->t, a, s->module, s->down ? m->O : 2 * m->O, m->K, err);

    if (rc || !out->t[0])
        return rc;
    if (out->t[0]->dim[0] % m->experts)
        return gr_fail(err, GRAM_EFORMAT, "%s: tensor %s: %zu rows are no multiple of the %zu experts", a->path,
                       out->t[0]->name, out->t[0]->dim[0], m->experts);
    out->in = s->down ? (gr_fused){ 0 } : (gr_fused){ 2 * m->O, s->up ? m->O : 0, m->O, 0, 0 };
    out->stack = m->experts;
    out->expert = s->expert;
    return GRAM_OK;
}

gram_status gr_lora_find(struct lora_found *out, const gr_adapter *a, const struct lora_matrix *m, gram_err *err)
{
    const char *called = m->own;
    struct stack s;
    gram_status rc;

    *out = (struct lora_found){ .in = m->in };
    rc = find_named(out->t, a, called, m->in.take ? m->in.all : m->O, m->K, err);
    if (!rc && !out->t[0] && strcmp(m->own, m->name)) {
        out->in = (gr_fused){ 0 };          /* of its own, as gram gave them once */
        called = m->name;
        rc = find_named(out->t, a, called, m->O, m->K, err);
    }
    if (!rc && !out->t[0] && m->experts && stack_of(&s, a, m->name)) {
        called = s.parameter;
        rc = find_stacked(out, a, &s, m, err);
    }
    if (!rc && out->t[0])
        rc = alpha_of(&out->alpha, a, called, err);
    if (!rc && out->t[0] && a->cfg.dora)
        rc = find_magnitude(out, a, called, err);
    return rc;
}

gram_status gr_lora_find_pair(struct lora_found *out, const gr_model *m, const gr_adapter *a, size_t which,
                              size_t layer, gram_err *err)
{
    char matrix[128], own[128];
    struct lora_matrix of = { matrix, own, { 0 }, which < GR_MAT_EXPERTS ? 0 : m->cfg.experts, 0, 0 };

    gr_matrix_name(m, which, layer, matrix, sizeof matrix);
    gr_matrix_own_name(m, which, layer, own, sizeof own);
    gr_matrix_shape(&m->cfg, which, &of.O, &of.K);
    gr_matrix_fused(&m->cfg, which, &of.in);
    return gr_lora_find(out, a, &of, err);
}

size_t gr_lora_tensors(const struct lora_found *f)
{
    bool first = f->t[0] && f->expert == 0 && (!f->in.take || f->in.from == 0);

    return first ? 2 + (f->magnitude != NULL) : 0;
}

/* ---- Values --------------------------------------------------------------------------------------- */

size_t gr_lora_rank(const struct lora_found *f)
{
    return f->t[0]->dim[0] / (f->stack ? f->stack : 1);
}

float gr_lora_found_scale(const struct lora_found *f, const gr_adapter *a)
{
    return gr_lora_scale(f->alpha, gr_lora_rank(f), a->cfg.root);
}

void gr_lora_a(const struct lora_found *f, float *to)
{
    const gr_named *t = f->t[0];
    size_t r = gr_lora_rank(f), K = t->dim[1], bytes = 0;

    gr_dtype_row_bytes(t->type, K, &bytes);                 /* proved when the file was opened */
    gr_dequant(to, (const char *)t->data + f->expert * r * bytes, t->type, r * K);
}

size_t gr_lora_row(const struct lora_found *f, size_t row)
{
    return f->in.take ? f->in.from + row / f->in.take * f->in.every + row % f->in.take : row;
}

void gr_lora_b(const struct lora_found *f, size_t row, float *to)
{
    const gr_named *t = f->t[1];
    size_t r = gr_lora_rank(f), bytes = 0, one = 0;
    const char *from;

    gr_dtype_row_bytes(t->type, t->dim[1], &bytes);
    from = (const char *)t->data + gr_lora_row(f, row) * bytes;
    if (!f->stack) {
        gr_dequant(to, from, t->type, r);
        return;
    }
    gr_dtype_row_bytes(t->type, 1, &one);
    for (size_t i = 0; i < r; i++)
        gr_dequant(to + i, from + (i * f->stack + f->expert) * one, t->type, 1);
}

gram_status gr_lora_lengthen(float *w, size_t K, const struct lora_found *f, size_t row, const gr_adapter *a,
                             gram_err *err)
{
    double some[8] = { 0 }, sum = 0;
    float factor;

    if (!f->magnitude)
        return GRAM_OK;
    for (size_t k = 0; k < K; k++)
        some[k % 8] += (double)w[k] * (double)w[k];
    for (size_t i = 0; i < 8; i++)
        sum += some[i];
    factor = (float)((double)gr_named_value(f->magnitude, gr_lora_row(f, row)) / sqrt(sum));
    if (!isfinite(factor))
        return gr_fail(err, GRAM_EFORMAT, "%s: tensor %s: row %zu of its matrix has no length that is a number",
                       a->path, f->magnitude->name, row);
    for (size_t k = 0; k < K; k++)
        w[k] *= factor;
    return GRAM_OK;
}

/* Where the rows of B go in a matrix of the model: rows of q and k may lie otherwise in one of them. */
typedef size_t place_fn(const gr_config *c, size_t row);

static size_t same_place(const gr_config *c, size_t row)
{
    (void)c;
    return row;
}

/* in_pairs: the model's rows lie as a GGUF's do. */
static place_fn *place_of(const gr_adapter *a, size_t which, bool in_pairs)
{
    if (which > GR_MAT_K || gr_adapter_in_pairs(a) == in_pairs)
        return same_place;
    return in_pairs ? gr_matrix_unpermuted : gr_matrix_permuted;
}

gram_status gr_lora_b_columns(float *to, const struct lora_found *f, const gr_model *m, const gr_adapter *a,
                              size_t which, float scale, bool in_pairs, gram_err *err)
{
    size_t r = gr_lora_rank(f), O, K;
    place_fn *place = place_of(a, which, in_pairs);
    float *row = gr_alloc_aligned(r, sizeof *row);

    if (!row)
        return gr_nomem(err, "adapter");
    gr_matrix_shape(&m->cfg, which, &O, &K);
    for (size_t o = 0; o < O; o++) {
        size_t at = place(&m->cfg, o);
        gr_lora_b(f, o, row);
        for (size_t i = 0; i < r; i++)
            to[i * O + at] = scale * row[i];
    }
    free(row);
    return GRAM_OK;
}

/* ---- A matrix with its adapter added -------------------------------------------------------------- */

/* w [O,K] += B^T A, of M rows. */
struct fold { float *w; const float *A, *B; size_t M, O, K; };

static void fold_rows(void *arg, gr_lane *lane, size_t o, size_t n)
{
    const struct fold *f = arg;

    gr_linear_dw(lane, gr_mat_f32(f->w, f->K), gr_mat_f32(f->B, f->O), gr_mat_f32(f->A, f->K), f->M, f->K, o, o + n);
}

/* w, A and B are the host's. */
static gram_status fold_on(gr_device *d, float *w, const float *A, const float *B, size_t M, size_t O, size_t K,
                           gram_err *err)
{
    const void *held[3] = { NULL };
    gram_status rc = gr_device_hold(d, &held[0], w, O * K * sizeof *w, err);
    struct fold f;

    if (!rc)
        rc = gr_device_hold(d, &held[1], A, M * K * sizeof *A, err);
    if (!rc)
        rc = gr_device_hold(d, &held[2], B, M * O * sizeof *B, err);
    if (!rc) {
        f = (struct fold){ (float *)(uintptr_t)held[0], held[1], held[2], M, O, K };
        gr_device_run(d, O, (gr_cut){ 64, 64, 1, false }, fold_rows, &f);
        rc = gr_device_wait(d, err);
    }
    if (!rc && !gr_device_is_host(d))
        gr_device_get(d, w, held[0], O * K * sizeof *w);
    for (size_t i = 0; i < GR_COUNT(held); i++)
        gr_device_drop(d, held[i]);
    return rc;
}

static gram_status lengthen_all(float *w, const struct lora_found *f, const gr_model *m, const gr_adapter *a,
                                size_t which, bool in_pairs, gram_err *err)
{
    place_fn *place = place_of(a, which, in_pairs);
    size_t O, K;
    gram_status rc = GRAM_OK;

    gr_matrix_shape(&m->cfg, which, &O, &K);
    for (size_t o = 0; o < O && !rc && f->magnitude; o++)
        rc = gr_lora_lengthen(w + place(&m->cfg, o) * K, K, f, o, a, err);
    return rc;
}

gram_status gr_lora_put_bias(float *w, const gr_model *m, const gr_adapter *a, size_t which, size_t layer,
                             bool in_pairs, size_t *tensors, gram_err *err)
{
    place_fn *place = place_of(a, which, in_pairs);
    const gr_named *t;
    char matrix[128];
    size_t O, K;
    gram_status rc;

    gr_matrix_name(m, which, layer, matrix, sizeof matrix);
    gr_matrix_shape(&m->cfg, which, &O, &K);
    rc = gr_lora_find_bias(&t, a, matrix, O, err);
    *tensors = t != NULL;
    for (size_t o = 0; o < O && !rc && t; o++)
        w[place(&m->cfg, o)] = gr_named_value(t, o);
    return rc;
}

gram_status gr_lora_fold(float *w, const gr_model *m, const gr_adapter *a, size_t which, size_t layer,
                         bool in_pairs, size_t *tensors, bool *found, gram_err *err)
{
    struct lora_found in;
    size_t O, K, r, M;
    float *A = NULL, *B = NULL;
    gram_status rc = gr_lora_find_pair(&in, m, a, which, layer, err);

    *found = !rc && in.t[0];
    *tensors = rc ? 0 : gr_lora_tensors(&in);
    if (!*found)
        return rc;
    gr_matrix_shape(&m->cfg, which, &O, &K);
    r = gr_lora_rank(&in);
    M = gr_round_up(r, gr_linear_cut(m->on, GR_ROWS_ALIKE, 1).unit);     /* rows of zeros fill the product up */
    if (M <= SIZE_MAX / sizeof *A / gr_max(O, K)) {
        A = gr_alloc_aligned(M * K, sizeof *A);
        B = gr_alloc_aligned(M * O, sizeof *B);
    }
    if (!A || !B) {
        rc = gr_nomem(err, "adapter");
        goto out;
    }
    memset(A + r * K, 0, (M - r) * K * sizeof *A);
    memset(B + r * O, 0, (M - r) * O * sizeof *B);
    gr_lora_a(&in, A);
    rc = gr_lora_b_columns(B, &in, m, a, which, gr_lora_found_scale(&in, a), in_pairs, err);
    if (!rc)
        rc = fold_on(m->on, w, A, B, M, O, K, err);
    if (!rc)
        rc = lengthen_all(w, &in, m, a, which, in_pairs, err);
out:
    free(A);
    free(B);
    return rc;
}

void gr_lora_head_name(char out[GR_LORA_NAME], const gr_head_part *p)
{
    snprintf(out, GR_LORA_NAME, GR_ADAPTER_STEM "%s", p->name);
}

gram_status gr_lora_head_part(float *out, const gr_adapter *a, size_t width, const gr_head_part *p, gram_err *err)
{
    const gr_named *t;
    gram_status rc = gr_adapter_head_part(&t, a, width, p->at, err);

    if (!rc)
        gr_dequant(out, t->data, t->type, p->rows * p->cols);
    return rc;
}

/* Whether it stands beside a matrix of the model. The number in its name says in which layer that could be. */
static bool is_of_matrix(const gr_model *m, const gr_adapter *a, const gr_named *t)
{
    const char *digit = strpbrk(t->name, "0123456789");
    size_t l = digit ? (size_t)strtoul(digit, NULL, 10) : 0;
    struct lora_found f;
    const gr_named *bias;
    gram_err ignored;

    for (size_t j = 0; j < gr_matrices(&m->cfg) && l < m->cfg.layers; j++) {
        char matrix[128];
        size_t O, K;
        if (!gr_matrix_there(&m->cfg, j, l))
            continue;
        if (!gr_lora_find_pair(&f, m, a, j, l, &ignored) && (f.t[0] == t || f.t[1] == t || f.magnitude == t))
            return true;
        gr_matrix_name(m, j, l, matrix, sizeof matrix);
        gr_matrix_shape(&m->cfg, j, &O, &K);
        if (j <= GR_MAT_O && (j == GR_MAT_O ? m->cfg.o_bias : m->cfg.qkv_bias) &&
            !gr_lora_find_bias(&bias, a, matrix, O, &ignored) && bias == t)
            return true;
    }
    return false;
}

gram_status gr_lora_check_all(const gr_model *m, const gr_adapter *a, size_t tensors, gram_err *err)
{
    size_t head = gr_adapter_head_tensors(a);

    if (tensors == 0)
        return gr_fail(err, GRAM_EFORMAT, "%s: none of its %zu tensors belongs to the base model", a->path,
                       gr_adapter_count(a));
    if (tensors + head == gr_adapter_count(a))
        return GRAM_OK;
    for (size_t i = 0; i < gr_adapter_count(a); i++) {
        const gr_named *t = gr_adapter_at(a, i);
        if (!gr_adapter_is_head_tensor(a, t->name) && !is_of_matrix(m, a, t))
            return gr_fail(err, GRAM_EUNSUPPORTED, "%s: tensor %s is none that can be added to the base model", a->path,
                           t->name);
    }
    return gr_fail(err, GRAM_EFORMAT, "%s: %zu tensors, wanted %zu", a->path, gr_adapter_count(a), tensors + head);
}
