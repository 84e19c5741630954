/* bind_names.c - what a tensor is called in a file, which rows of it are a matrix's, and in what order they lie.
 *
 * Hugging Face and GGUF name the same tensors differently; file/tensors.c is the whole translation. */
#include <stdio.h>
#include <string.h>
#include "model/bind_int.h"

void gr_bind_name_in(const gr_model *m, enum gr_bind_format format, char *out, size_t size, gr_tensor_kind slot,
                     size_t layer, const char *part)
{
    char stem[96];

    if (slot == GR_T_SCORE) {
        snprintf(out, size, "%s", part);
        return;
    }
    if (format == GR_AS_LLAMA)
        gr_tensor_stem(&m->cfg, false, slot, layer, stem, sizeof stem);
    else if (format == GR_AS_OWN)
        gr_tensor_stem_own(&m->cfg, false, slot, layer, stem, sizeof stem);
    else
        gr_tensor_stem_read(&m->cfg, format == GR_IN_GGUF, slot, layer, stem, sizeof stem);
    if (format != GR_IN_GGUF && m->nested)                 /* the head stays outside */
        snprintf(out, size, "%s%s.%s", slot == GR_T_HEAD ? "" : GR_NESTED,
                 stem + (slot == GR_T_HEAD ? 0 : strlen("model.")), part);
    else
        snprintf(out, size, "%s%s.%s", format == GR_IN_GGUF ? "" : m->cfg.prefix, stem, part);
    if (format == GR_IN_DIR && m->cfg.stacked && gr_tensor_of_expert(slot))
        out[strlen(out) - strlen(part) - 1] = '\0';     /* a parameter itself, not the weight of a module */
}

void gr_bind_name(const struct binder *b, char *out, size_t size, gr_tensor_kind slot, size_t layer, const char *part)
{
    gr_bind_name_in(b->m, gr_weights_gguf(b->m->file) ? GR_IN_GGUF : GR_IN_DIR, out, size, slot, layer, part);
}

/* GGUF's "llama" stores the rows of q and k so that rotation pairs are neighbours, (2i, 2i+1); a Hugging Face file
 * has them D/2 apart. The row of the GGUF that belongs at row r, and back. */
static size_t unpermuted(size_t D, size_t r)
{
    size_t i = r % D;

    return r - i + (i < D / 2 ? 2 * i : 2 * (i - D / 2) + 1);
}

static size_t permuted(size_t D, size_t r)
{
    size_t i = r % D;

    return r - i + (i % 2 ? i / 2 + D / 2 : i / 2);
}

size_t gr_matrix_unpermuted(const gr_config *c, size_t r)
{
    return unpermuted(c->head_dim, r);
}

size_t gr_matrix_permuted(const gr_config *c, size_t r)
{
    return permuted(c->head_dim, r);
}

/* The first of each kind follow each other here as there. */
_Static_assert((int)GR_T_ROUTER - (int)GR_T_Q == GR_MAT_ROUTER &&
               (int)GR_T_EXPERT_GATE - (int)GR_T_Q == GR_MAT_EXPERTS, "the order of matrices");

static gr_tensor_kind slot_of(size_t which)
{
    return (gr_tensor_kind)(which < GR_MAT_EXPERTS ? GR_T_Q + which : GR_T_EXPERT_GATE + (which - GR_MAT_EXPERTS) % 3);
}

/* What tensors.h counts by: layers, or experts of layers. */
static size_t place_of(const gr_config *c, size_t which, size_t layer)
{
    return which < GR_MAT_EXPERTS ? layer : layer * c->experts + (which - GR_MAT_EXPERTS) / 3;
}

size_t gr_bind_matrix_of(const gr_config *c, gr_tensor_kind slot, size_t at)
{
    return slot - GR_T_Q + (gr_tensor_of_expert(slot) ? 3 * (at % c->experts) : 0);
}

size_t gr_bind_layer_of(const gr_config *c, gr_tensor_kind slot, size_t at)
{
    return gr_tensor_of_expert(slot) ? at / c->experts : at;
}

struct matrix *gr_bind_mat_of(const gr_model *m, gr_tensor_kind slot, size_t at)
{
    return &m->layer[gr_bind_layer_of(&m->cfg, slot, at)].mat[gr_bind_matrix_of(&m->cfg, slot, at)];
}

size_t gr_matrices(const gr_config *c)
{
    return c->experts ? GR_MAT_EXPERTS + 3 * c->experts : GR_MATRICES;
}

bool gr_matrix_there(const gr_config *c, size_t which, size_t layer)
{
    return gr_tensor_there(c, slot_of(which), place_of(c, which, layer));
}

void gr_matrix_name(const gr_model *m, size_t which, size_t layer, char *out, size_t size)
{
    gr_bind_name_in(m, GR_AS_LLAMA, out, size, slot_of(which), place_of(&m->cfg, which, layer), "weight");
}

void gr_matrix_own_name(const gr_model *m, size_t which, size_t layer, char *out, size_t size)
{
    gr_bind_name_in(m, GR_AS_OWN, out, size, slot_of(which), place_of(&m->cfg, which, layer), "weight");
}

bool gr_matrix_fused(const gr_config *c, size_t which, gr_fused *in)
{
    return which < GR_MATRICES && gr_tensor_fused(c, false, slot_of(which), 0, in);
}

void gr_matrix_shape(const gr_config *c, size_t which, size_t *rows, size_t *cols)
{
    gr_tensor_shape(c, slot_of(which), rows, cols);
}

bool gr_bind_is_bias(const char *part)
{
    size_t n = strlen(part);

    return n >= 4 && !strcmp(part + n - 4, "bias");
}

gr_stored gr_bind_stored(const struct binder *b, gr_tensor_kind slot, size_t layer, const char *part,
                         const gr_tensor *t)
{
    const gr_config *c = &b->m->cfg;
    bool bias = gr_bind_is_bias(part), gemma = gr_config_has(c, GR_HAS_PLUS_ONE), pairs = gr_config_has(c,
                                                                                                        GR_GGUF_PAIRS);
    gr_stored s = { .t = *t, .flat = t->rows == 1 && slot != GR_T_SHARED && (slot != GR_T_SCORE || bias),
                    .head_dim = pairs && (slot == GR_T_Q || slot == GR_T_K) ? c->head_dim : 0,
                    .permuted = c->rope_interleaved, .gemma_norm = gemma && t->rows == 1 && !bias && slot != GR_T_SCORE,
                    .plus_one = gemma && c->norm_bias == 0 };
    char stem[96];

    gr_tensor_fused(c, gr_weights_gguf(b->m->file) != NULL, slot, layer, &s.in);
    s.experts = gr_tensor_of_expert(slot) ? c->experts : 0;
    if (!s.experts)
        gr_tensor_fused(c, false, slot, layer, &s.own_in);
    if (bias && s.head_dim)                 /* its values go where the rows go */
        s.t.rows = t->cols, s.t.cols = 1;
    if (slot == GR_T_SCORE) {
        snprintf(s.name, sizeof s.name, "%s", b->as);
        snprintf(s.gguf, sizeof s.gguf, "%s", b->as);
        snprintf(s.matrix, sizeof s.matrix, "%s", b->as);
        snprintf(s.own, sizeof s.own, "%s", b->as);
        return s;
    }
    gr_tensor_stem(c, false, slot, layer, stem, sizeof stem);
    snprintf(s.matrix, sizeof s.matrix, "%s.%s", stem, part);
    gr_tensor_stem_own(c, false, slot, layer, stem, sizeof stem);
    snprintf(s.own, sizeof s.own, "%s.%s", stem, part);
    gr_tensor_stem_written(c, false, slot, layer, stem, sizeof stem);
    snprintf(s.name, sizeof s.name, "%s.%s", stem, part);
    gr_tensor_stem_written(c, true, slot, layer, stem, sizeof stem);
    snprintf(s.gguf, sizeof s.gguf, "%s.%s", stem, part);
    return s;
}

void gr_stored_part(const gr_stored *s, bool gguf, size_t r, size_t k, size_t n, float *out)
{
    size_t row_bytes = 0, before = 0;

    if (s->head_dim && gguf)                /* where it goes, as a Hugging Face file counts; then where it comes from */
        r = permuted(s->head_dim, r);
    if (s->head_dim && s->permuted)
        r = unpermuted(s->head_dim, r);
    if (s->in.take)
        r = s->in.from + r / s->in.take * s->in.every + r % s->in.take;
    gr_dtype_row_bytes(s->t.type, s->t.cols, &row_bytes);       /* proved when the file was opened */
    gr_dtype_row_bytes(s->t.type, k, &before);
    gr_dequant(out, (const char *)s->t.data + r * row_bytes + before, s->t.type, n);
    if (s->gemma_norm && s->plus_one != gguf)
        for (size_t i = 0; i < n; i++)
            out[i] += gguf ? 1 : -1;
}

void gr_stored_row(const gr_stored *s, bool gguf, size_t r, float *out)
{
    gr_stored_part(s, gguf, r, 0, s->t.cols, out);
}

size_t gr_stored_together(const gr_stored *t, size_t n, bool gguf, size_t *rows)
{
    size_t i = 0;

    for (*rows = 0; i < n && !strcmp(gguf ? t[i].gguf : t[i].name, gguf ? t->gguf : t->name); i++)
        *rows += t[i].t.rows;
    return i;
}
