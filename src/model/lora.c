/* lora.c - see lora.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/random.h"
#include "file/io.h"
#include "file/tensors.h"
#include "model/lora_int.h"
#include "op/op.h"

#define NAME 192

/* ---- Targets -------------------------------------------------------------------------------------- */

static const char *const brief[GR_MATRICES] = { "q", "k", "v", "o", "gate", "up", "down" };

static bool is_word(const char *p, size_t n, const char *word)
{
    return strlen(word) == n && !memcmp(p, word, n);
}

gram_status gr_lora_targets(unsigned *out, const char *list, gram_err *err)
{
    *out = list ? 0 : GR_LORA_ALL;
    for (const char *p = list; p; ) {
        size_t n = strcspn(p, ","), i = 0;
        unsigned before = *out, found = 0;
        for (; i < GR_MATRICES; i++)        /* "qkv_proj" is three of them */
            if (is_word(p, n, brief[i]) || gr_tensor_is_called((gr_tensor_kind)(GR_T_Q + i), p, n))
                found |= 1u << i;
        if (!found)
            return gr_fail(err, GRAM_EARG, "LoRA targets: wanted some of q,k,v,o,gate,up,down or PEFT's names of them, "
                           "found \"%.*s\"", (int)gr_min(n, 64), p);
        *out = before | found;
        p = p[n] ? p + n + 1 : NULL;
    }
    return GRAM_OK;
}

void gr_lora_modules(const char *out[8], const gr_config *c, unsigned targets)
{
    size_t n = 0;

    for (size_t i = 0; i < GR_MATRICES; i++) {
        const char *name = gr_tensor_own_module(c, (gr_tensor_kind)(GR_T_Q + i));
        if (targets & 1u << i && (n == 0 || strcmp(out[n - 1], name)))
            out[n++] = name;
    }
    out[n] = NULL;
}

/* Whether its matrices have other names in a directory of this architecture than in a Llama's, some in one another. */
static bool has_own_names(const gr_config *c)
{
    gr_fused in;

    return gr_matrix_fused(c, GR_MAT_Q, &in);
}

/* The first of the matrices that lie in one tensor with it. */
static size_t first_of(const gr_config *c, size_t which)
{
    gr_fused in;

    if (!gr_matrix_fused(c, which, &in))
        return which;
    return which <= GR_MAT_V ? GR_MAT_Q : GR_MAT_GATE;
}

size_t gr_lora_first(const gr_lora *l, const gr_config *c, size_t which)
{
    return l->own ? first_of(c, which) : which;
}

float gr_lora_scale(double alpha, size_t rank, bool root)
{
    return (float)(alpha / (root ? sqrt((double)rank) : (double)rank));
}

/* PEFT's name of the A or B of a matrix, "model.layers.0.self_attn.q_proj.weight" or the like. */
static void name_of(char *out, const char *matrix, char part)
{
    snprintf(out, NAME, GR_ADAPTER_STEM "%.*s.lora_%c.weight", (int)(strlen(matrix) - strlen(".weight")), matrix,
             part);
}

static void name_in(char *out, const gr_model *m, size_t which, size_t layer, char part, bool own)
{
    char full[128];

    (own ? gr_matrix_own_name : gr_matrix_name)(m, which, layer, full, sizeof full);
    name_of(out, full, part);
}

/* ---- Reading an adapter's tensors ------------------------------------------------------------------ */

/* The A and B of a matrix [O,K], or neither. */
static gram_status find_named(const gr_named *out[2], const gr_adapter *a, const char *matrix, size_t O, size_t K,
                              gram_err *err)
{
    for (int i = 0; i < 2; i++) {
        char name[NAME];
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

gram_status gr_lora_find(struct lora_found *out, const gr_adapter *a, const char *matrix, const char *own,
                         const gr_fused *in, size_t O, size_t K, gram_err *err)
{
    gram_status rc;

    *out = (struct lora_found){ .in = *in };
    rc = find_named(out->t, a, own, in->take ? in->all : O, K, err);
    if (rc || out->t[0] || !strcmp(own, matrix))
        return rc;
    out->in = (gr_fused){ 0 };              /* of its own, as gram gave them once */
    return find_named(out->t, a, matrix, O, K, err);
}

static gram_status find_pair(struct lora_found *out, const gr_model *m, const gr_adapter *a, size_t which,
                             size_t layer, gram_err *err)
{
    char matrix[128], own[128];
    gr_fused in = { 0 };
    size_t O, K;

    gr_matrix_name(m, which, layer, matrix, sizeof matrix);
    gr_matrix_own_name(m, which, layer, own, sizeof own);
    gr_matrix_shape(&m->cfg, which, &O, &K);
    gr_matrix_fused(&m->cfg, which, &in);
    return gr_lora_find(out, a, matrix, own, &in, O, K, err);
}

size_t gr_lora_pairs(const struct lora_found *f)
{
    return f->t[0] && (!f->in.take || f->in.from == 0);
}

size_t gr_lora_row(const struct lora_found *f, size_t row)
{
    return f->in.take ? f->in.from + row / f->in.take * f->in.every + row % f->in.take : row;
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

/* to [rank, O] = B's rows of the matrix, [O, rank], transposed and times `scale`, in their places. */
static gram_status transpose(float *to, const struct lora_found *f, size_t O, float scale, place_fn *place,
                             const gr_config *c, gram_err *err)
{
    const gr_named *b = f->t[1];
    size_t r = b->dim[1], row_bytes = 0;
    float *row = gr_alloc_aligned(r, sizeof *row);

    if (!row)
        return gr_nomem(err, "adapter");
    gr_dtype_row_bytes(b->type, r, &row_bytes);             /* proved when the file was opened */
    for (size_t o = 0; o < O; o++) {
        size_t at = place(c, o);
        gr_dequant(row, (const char *)b->data + gr_lora_row(f, o) * row_bytes, b->type, r);
        for (size_t i = 0; i < r; i++)
            to[i * O + at] = scale * row[i];
    }
    free(row);
    return GRAM_OK;
}

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

gram_status gr_lora_fold(float *w, const gr_model *m, const gr_adapter *a, size_t which, size_t layer,
                         bool in_pairs, size_t *pairs, bool *found, gram_err *err)
{
    struct lora_found in;
    const gr_named *const *t = in.t;
    size_t O, K, r, M;
    float *A = NULL, *B = NULL;
    gram_status rc = find_pair(&in, m, a, which, layer, err);

    *found = !rc && t[0];
    *pairs = rc ? 0 : gr_lora_pairs(&in);
    if (!*found)
        return rc;
    gr_matrix_shape(&m->cfg, which, &O, &K);
    r = t[0]->dim[0];
    M = gr_round_up(r, gr_linear_cut(m->on, GR_ROWS_ALIKE, 1).unit);      /* rows of zeros fill the product up */
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
    gr_dequant(A, t[0]->data, t[0]->type, r * K);
    rc = transpose(B, &in, O, gr_lora_scale(a->cfg.alpha, r, a->cfg.root), place_of(a, which, in_pairs), &m->cfg,
                   err);
    if (!rc)
        rc = fold_on(m->on, w, A, B, M, O, K, err);
out:
    free(A);
    free(B);
    return rc;
}

/* PEFT's name of a tensor of the reward head. */
static void name_of_part(char *out, const gr_head_part *p)
{
    snprintf(out, NAME, GR_ADAPTER_STEM "%s", p->name);
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
    char name[NAME];

    for (size_t j = 0; j < 4 * gr_matrices(&m->cfg) && l < m->cfg.layers; j++)
        if (j / 4 != GR_MAT_ROUTER && gr_matrix_there(&m->cfg, j / 4, l)) {
            name_in(name, m, j / 4, l, "AB"[j % 2], j / 2 % 2);
            if (gr_adapter_find(a, name) == t)
                return true;
        }
    return false;
}

gram_status gr_lora_check_all(const gr_model *m, const gr_adapter *a, size_t pairs, gram_err *err)
{
    size_t head = gr_adapter_head_tensors(a);

    if (pairs == 0)
        return gr_fail(err, GRAM_EFORMAT, "%s: none of its %zu tensors belongs to the base model", a->path,
                       gr_adapter_count(a));
    if (2 * pairs + head == gr_adapter_count(a))
        return GRAM_OK;
    for (size_t i = 0; i < gr_adapter_count(a); i++) {
        const gr_named *t = gr_adapter_at(a, i);
        if (!gr_adapter_is_head_tensor(a, t->name) && !is_of_matrix(m, a, t))
            return gr_fail(err, GRAM_EUNSUPPORTED, "%s: tensor %s is none that can be added to the base model", a->path,
                           t->name);
    }
    return gr_fail(err, GRAM_EFORMAT, "%s: %zu tensors, wanted %zu", a->path, gr_adapter_count(a), 2 * pairs + head);
}

/* Whether matrix i of all, layer by layer, is there and one that those targets mean. */
static bool is_target(const gr_config *c, unsigned targets, size_t i)
{
    size_t n = gr_matrices(c), which = i % n;

    return which != GR_MAT_ROUTER && targets >> gr_matrix_kind(which) & 1 && gr_matrix_there(c, which, i / n);
}

/* ---- Opening to train ------------------------------------------------------------------------------ */

/* Memory and a parameter; takes no values yet. */
static gram_status add_param(gr_lora *l, gr_device *on, float **out, const char *name, size_t rows, size_t cols,
                             gram_err *err)
{
    gr_param *p = &l->param[l->n_params];
    void *values = NULL;

    gr_device_alloc(on, &values, rows * cols * sizeof **out, NULL);
    *out = values;
    *p = (gr_param){ .name = gr_strdup(name), .w = gr_mat_f32(*out, cols), .rows = rows, .cols = cols, .decay = true,
                     .on = on };
    if (*out && p->name) {
        l->n_params++;
        return GRAM_OK;
    }
    gr_device_free(on, values);
    *out = NULL;
    free((char *)(uintptr_t)p->name);
    *p = (gr_param){ 0 };
    return gr_nomem(err, "LoRA");
}

static gram_status open_pair(gr_lora *l, const gr_model *m, size_t which, size_t layer, gram_err *err)
{
    struct lora_pair *p = lora_pair(l, layer, which), *first = lora_pair(l, layer, gr_lora_first(l, &m->cfg, which));
    char a[NAME], b[NAME];
    size_t O, K, r = l->spec.rank;
    gr_fused in;
    gram_status rc = GRAM_OK;

    name_in(a, m, which, layer, 'A', l->own);
    name_in(b, m, which, layer, 'B', l->own && !gr_matrix_fused(&m->cfg, which, &in));
    gr_matrix_shape(&m->cfg, which, &O, &K);
    p->rank = r;
    p->scale = gr_lora_scale(l->spec.alpha, r, l->spec.root);
    if (first == p)
        rc = add_param(l, m->on, &p->a, a, r, K, err);
    else
        p->a = first->a;
    if (!rc)
        rc = add_param(l, m->on, &p->b, b, r, O, err);
    if (!rc)
        rc = gr_linear_open(&p->la, m->on, &(gr_tensor){ GR_F32, p->a, r, K }, NULL, GR_LINEAR_F32, err);
    if (!rc)
        rc = gr_linear_open(&p->lb, m->on, &(gr_tensor){ GR_F32, p->b, r, O }, NULL, GR_LINEAR_F32, err);
    return rc;
}

/* A head of its own with the model's values. */
static gram_status open_head(gr_lora *l, const gr_model *m, gram_err *err)
{
    gr_head_form called = gr_head_renamed(&m->cfg.head);
    gr_head_part p;
    char name[NAME];
    gram_status rc = GRAM_OK;

    l->score = gr_head_of(&m->cfg);
    for (size_t i = 0; !rc && gr_head_part_at(&called, m->cfg.width, i, &p); i++) {
        name_of_part(name, &p);
        rc = add_param(l, m->on, &l->score.part[p.at], name, p.rows, p.cols, err);
        if (rc)
            break;
        l->n_head++;
        l->param[l->n_params - 1].decay = !p.bias;
        gr_device_put(m->on, l->score.part[p.at], m->score.part[p.at], p.rows * p.cols * sizeof(float));
    }
    return rc;
}

/* Fills the values of a pair of this rank in, as the host sees them: a [rank,K], or NULL where it is filled already,
 * and b [rank,O]. */
typedef gram_status fill_fn(float *a, float *b, size_t rank, const gr_model *m, size_t which, size_t layer,
                            void *arg, gram_err *err);

static gram_status fill_pair(gr_lora *l, const gr_model *m, size_t which, size_t layer, fill_fn *fill,
                             void *arg, gram_err *err)
{
    const struct lora_pair *p = lora_pair(l, layer, which);
    bool first = gr_lora_first(l, &m->cfg, which) == which;
    size_t O, K, bytes = p->rank * sizeof(float);
    float *a, *b;
    gram_status rc;

    gr_matrix_shape(&m->cfg, which, &O, &K);
    a = first ? gr_device_map(m->on, p->a, bytes * K, false) : NULL;
    b = gr_device_map(m->on, p->b, bytes * O, false);
    rc = (a || !first) && b ? fill(a, b, p->rank, m, which, layer, arg, err) : gr_nomem(err, "LoRA");
    if (first)
        gr_device_unmap(m->on, p->a, a, bytes * K, !rc);
    gr_device_unmap(m->on, p->b, b, bytes * O, !rc);
    return rc;
}

static gram_status open_all(gr_lora **out, const gr_model *m, const gr_lora_spec *spec, bool own, fill_fn *fill,
                            void *arg, gram_err *err)
{
    gr_lora *l = gr_calloc(1, sizeof *l);
    size_t n = gr_matrices(&m->cfg), all = m->cfg.layers * n;
    gram_status rc = GRAM_OK;

    *out = NULL;
    if (!l)
        return gr_nomem(err, "LoRA");
    l->spec = *spec;
    l->own = own;
    l->layers = m->cfg.layers;
    l->matrices = n;
    l->pair = gr_calloc(all, sizeof *l->pair);
    l->param = gr_calloc(2 * all + GR_HEAD_PARTS, sizeof *l->param);
    if (!l->pair || !l->param)
        rc = gr_nomem(err, "LoRA");
    for (size_t i = 0; i < all && !rc; i++) {
        if (!is_target(&m->cfg, spec->targets, i))
            continue;
        rc = open_pair(l, m, i % n, i / n, err);
        if (!rc)
            rc = fill_pair(l, m, i % n, i / n, fill, arg, err);
    }
    if (!rc)
        rc = open_head(l, m, err);
    if (rc) {
        gr_lora_close(l);
        return rc;
    }
    *out = l;
    return GRAM_OK;
}

static gram_status fill_new(float *a, float *b, size_t rank, const gr_model *m, size_t which, size_t layer,
                            void *arg, gram_err *err)
{
    uint64_t *state = arg;
    size_t O, K;

    (void)layer, (void)err;
    gr_matrix_shape(&m->cfg, which, &O, &K);
    for (size_t i = 0; a && i < rank * K; i++)
        a[i] = (float)((2 * gr_random_unit(state) - 1) / sqrt((double)K));
    memset(b, 0, rank * O * sizeof *b);
    return GRAM_OK;
}

gram_status gr_lora_open(gr_lora **out, const gr_model *m, const gr_lora_spec *spec, uint64_t seed, gram_err *err)
{
    uint64_t state = ~seed;                 /* not the numbers that order the rows */
    size_t least = SIZE_MAX;

    *out = NULL;
    for (size_t i = 0; i < m->cfg.layers * gr_matrices(&m->cfg); i++) {
        size_t O, K;
        gr_matrix_shape(&m->cfg, i % gr_matrices(&m->cfg), &O, &K);
        least = is_target(&m->cfg, GR_LORA_ALL, i) ? gr_min(least, gr_min(O, K)) : least;
    }
    if (spec->rank < 1 || spec->rank > least || !(spec->targets & GR_LORA_ALL))
        return gr_fail(err, GRAM_EARG, "LoRA rank: wanted 1 to %zu, the narrowest side of this model's matrices, found "
                       "%zu", least, spec->rank);
    for (size_t i = 0; i < GR_MATRICES; i++)
        if ((spec->targets >> i & 1) != (spec->targets >> first_of(&m->cfg, i) & 1))
            return gr_fail(err, GRAM_EARG, "LoRA targets: %s and %s are one matrix in this architecture, %s: wanted both "
                           "or none", brief[i], brief[first_of(&m->cfg, i)],
                           gr_tensor_own_module(&m->cfg, (gr_tensor_kind)(GR_T_Q + i)));
    return open_all(out, m, spec, has_own_names(&m->cfg), fill_new, &state, err);
}

static gram_status fill_read(float *a, float *b, size_t rank, const gr_model *m, size_t which, size_t layer,
                             void *arg, gram_err *err)
{
    struct lora_found f;
    gram_status rc = find_pair(&f, m, arg, which, layer, err);
    size_t O, K;

    (void)rank;
    gr_matrix_shape(&m->cfg, which, &O, &K);
    if (!rc && a)
        gr_dequant(a, f.t[0]->data, f.t[0]->type, f.t[0]->dim[0] * f.t[0]->dim[1]);
    return rc ? rc : transpose(b, &f, O, 1, place_of(arg, which, m->cfg.rope_interleaved), &m->cfg, err);
}

/* How many of the targets of a layer lie in a tensor with others. */
static size_t pairs_together(const gr_config *c, unsigned targets)
{
    gr_fused in;
    size_t n = 0;

    for (size_t i = 0; i < GR_MATRICES; i++)
        n += targets >> i & 1 && gr_matrix_fused(c, i, &in);
    return n;
}

gram_status gr_lora_read(gr_lora **out, const gr_model *m, const gr_adapter *a, gram_err *err)
{
    gr_lora_spec spec = { a->cfg.rank, a->cfg.alpha, a->cfg.root, 0, a->cfg.dropout };
    size_t n = gr_matrices(&m->cfg), pairs = 0, found = 0, together = 0, wanted = 0;
    gr_head_part part;
    gram_status rc = GRAM_OK;

    *out = NULL;
    for (size_t i = 0; i < m->cfg.layers * n && !rc; i++) {
        struct lora_found f = { 0 };
        const gr_named *const *t = f.t;
        if (is_target(&m->cfg, GR_LORA_ALL, i))
            rc = find_pair(&f, m, a, i % n, i / n, err);
        if (rc || !t[0])
            continue;
        found++;
        together += f.in.take > 0;
        pairs += gr_lora_pairs(&f);
        spec.targets |= 1u << gr_matrix_kind(i % n);
        if (t[0]->dim[0] != spec.rank)
            rc = gr_fail(err, GRAM_EUNSUPPORTED, "%s: tensor %s has rank %zu beside others of %zu; to be trained "
                         "further an adapter has one", a->path, t[0]->name, t[0]->dim[0], spec.rank);
    }
    for (size_t i = 0; i < m->cfg.layers * n; i++)
        wanted += is_target(&m->cfg, spec.targets, i);
    if (!rc)
        rc = gr_lora_check_all(m, a, pairs, err);
    if (!rc && found != wanted)
        rc = gr_fail(err, GRAM_EUNSUPPORTED, "%s: %zu matrices have adapters, and the like of them in all %zu layers "
                     "are %zu; to be trained further every layer has the same", a->path, found, m->cfg.layers, wanted);
    if (!rc && together && together != pairs_together(&m->cfg, spec.targets) * m->cfg.layers)
        rc = gr_fail(err, GRAM_EUNSUPPORTED, "%s: matrices that lie in one tensor have an adapter together here, and "
                     "each its own there", a->path);
    if (!rc)
        rc = open_all(out, m, &spec, together > 0, fill_read, (void *)(uintptr_t)a, err);
    for (size_t i = 0; !rc && gr_adapter_has_head(a) && gr_head_part_at(&m->cfg.head, m->cfg.width, i, &part); i++) {
        size_t bytes = part.rows * part.cols * sizeof(float);
        float *there = (*out)->score.part[part.at], *w = gr_device_map(m->on, there, bytes, false);
        rc = w ? gr_lora_head_part(w, a, m->cfg.width, &part, err) : gr_nomem(err, "LoRA");
        gr_device_unmap(m->on, there, w, bytes, !rc);
    }
    if (rc) {
        gr_lora_close(*out);
        *out = NULL;
    }
    return rc;
}

void gr_lora_close(gr_lora *l)
{
    if (!l)
        return;
    for (size_t i = 0; l->pair && i < l->layers * l->matrices; i++) {
        gr_linear_close(l->pair[i].la);
        gr_linear_close(l->pair[i].lb);
    }
    for (size_t i = 0; i < l->n_params; i++) {
        free((char *)(uintptr_t)l->param[i].name);
        gr_device_free(l->param[i].on, l->param[i].w.p);
    }
    free(l->param);
    free(l->pair);
    free(l);
}

const gr_lora_spec *gr_lora_get_spec(const gr_lora *l)
{
    return &l->spec;
}

void gr_lora_set_dropout(gr_lora *l, double dropout)
{
    l->spec.dropout = dropout;
}

const gr_param *gr_lora_params(const gr_lora *l, size_t *n)
{
    *n = l->n_params;
    return l->param;
}

/* ---- Use ------------------------------------------------------------------------------------------ */

size_t gr_lora_scratch(const struct lora_pair *p, size_t O, size_t K, size_t M)
{
    return p->rank ? gr_max(gr_max(gr_linear_scratch(p->la, M), gr_linear_scratch(p->lb, M)),
                            gr_max(gr_dw_scratch(O), gr_dw_scratch(K))) +
                     gr_round_up(2 * M * p->rank * sizeof(float), GR_ALIGN) : 0;
}

void gr_lora_fwd(gr_lane *lane, const struct lora_pair *p, gr_mat y, gr_mat x, size_t M)
{
    size_t mark = gr_lane_mark(lane);
    gr_mat u = gr_lane_scratch(lane, M, p->rank);

    if (lane->rc)
        return;
    gr_linear_fwd(lane, p->la, u, x, M);
    lane->op->scale(lane, u, p->scale, M, p->rank);
    gr_linear_dx(lane, p->lb, y, u, M, true);
    gr_lane_give_back(lane, mark);
}

void gr_lora_dx(gr_lane *lane, const struct lora_pair *p, gr_mat dx, gr_mat dy, size_t M)
{
    size_t mark = gr_lane_mark(lane);
    gr_mat du = gr_lane_scratch(lane, M, p->rank);

    if (lane->rc)
        return;
    gr_linear_fwd(lane, p->lb, du, dy, M);
    lane->op->scale(lane, du, p->scale, M, p->rank);
    gr_linear_dx(lane, p->la, dx, du, M, true);
    gr_lane_give_back(lane, mark);
}

void gr_lora_dw(gr_lane *lane, const struct lora_pair *p, gr_mat da, gr_mat db, gr_mat dy, gr_mat x, size_t M)
{
    size_t r = p->rank, mark = gr_lane_mark(lane);
    gr_mat u = gr_lane_scratch(lane, 2 * M, r), du = gr_mat_at(u, M, 0);

    if (lane->rc)
        return;
    gr_linear_fwd(lane, p->la, u, x, M);
    gr_linear_fwd(lane, p->lb, du, dy, M);
    lane->op->scale(lane, u, p->scale, 2 * M, r);
    gr_linear_dw(lane, da, du, x, M, da.ld, 0, r);
    gr_linear_dw(lane, db, u, dy, M, db.ld, 0, r);
    gr_lane_give_back(lane, mark);
}

/* ---- Writing -------------------------------------------------------------------------------------- */

/* B of the matrices that have one A, as a file has it, [all, rank]. Those in one tensor are of the first seven. */
static float *plain_b(const gr_lora *l, const gr_model *m, size_t layer, size_t which, size_t *all)
{
    size_t r = l->spec.rank, end = gr_max(which + 1, GR_MATRICES), O, K;
    float *b, *lies;

    *all = 0;
    for (size_t i = which; i < end; i++)
        if (gr_lora_first(l, &m->cfg, i) == which) {
            gr_matrix_shape(&m->cfg, i, &O, &K);
            *all += O;
        }
    b = gr_alloc_aligned(*all * r, sizeof *b);
    for (size_t i = which; i < end && b; i++) {
        struct lora_found f = { 0 };
        const float *from = lora_pair(l, layer, i)->b;
        if (gr_lora_first(l, &m->cfg, i) != which)
            continue;
        if (l->own)
            gr_matrix_fused(&m->cfg, i, &f.in);
        gr_matrix_shape(&m->cfg, i, &O, &K);
        lies = gr_device_map(m->on, (float *)(uintptr_t)from, r * O * sizeof *lies, true);
        if (!lies) {
            free(b);
            return NULL;
        }
        for (size_t o = 0; o < O; o++) {
            size_t at = m->cfg.rope_interleaved && i <= GR_MAT_K ? gr_matrix_unpermuted(&m->cfg, o) : o;
            for (size_t k = 0; k < r; k++)
                b[gr_lora_row(&f, o) * r + k] = lies[k * O + at];
        }
        gr_device_unmap(m->on, (float *)(uintptr_t)from, lies, r * O * sizeof *lies, false);
    }
    return b;
}

static float *host_copy(gr_device *on, const float *x, size_t n)
{
    float *copy = gr_alloc_aligned(n, sizeof *copy);

    if (copy)
        gr_device_get(on, copy, x, n * sizeof *copy);
    return copy;
}

static gram_status write_tensors(const gr_lora *l, const gr_model *m, const char *path, const gr_meta *meta,
                                 size_t n_meta, gram_err *err)
{
    gr_saved *t = gr_calloc(l->n_params, sizeof *t);
    char (*name)[NAME] = gr_calloc(l->n_params, sizeof *name);
    size_t n = 0;
    gram_status rc = t && name ? GRAM_OK : gr_nomem(err, path);

    for (size_t i = 0; i < l->layers * l->matrices && !rc; i++) {
        size_t which = i % l->matrices, layer = i / l->matrices;
        const struct lora_pair *p = &l->pair[i];
        size_t O, K, all;
        if (!p->rank || gr_lora_first(l, &m->cfg, which) != which)
            continue;
        gr_matrix_shape(&m->cfg, which, &O, &K);
        name_in(name[n], m, which, layer, 'A', l->own);
        name_in(name[n + 1], m, which, layer, 'B', l->own);
        t[n] = (gr_saved){ "", name[n], host_copy(m->on, p->a, p->rank * K), p->rank, K, true };
        t[n + 1] = (gr_saved){ "", name[n + 1], plain_b(l, m, layer, which, &all), 0, p->rank, true };
        t[n + 1].rows = all;
        n += 2;
    }
    for (size_t i = l->n_params - l->n_head; i < l->n_params && !rc; i++, n++)
        t[n] = (gr_saved){ "", l->param[i].name, host_copy(m->on, l->param[i].w.p, gr_param_count(&l->param[i])),
                            l->param[i].rows, l->param[i].cols,
                            l->param[i].decay };
    for (size_t i = 0; i < n && !rc; i++)
        rc = t[i].data ? GRAM_OK : gr_nomem(err, path);
    if (!rc)
        rc = gr_st_write(path, t, n, meta, n_meta, err);
    for (size_t i = 0; i < n; i++)
        free((float *)(uintptr_t)t[i].data);
    free(name);
    free(t);
    return rc;
}

gram_status gr_lora_write(const gr_lora *l, const gr_model *m, const char *dir, const char *base, const gr_meta *meta,
                          size_t n_meta, gram_err *err)
{
    const gr_adapter_config c = { (char *)(uintptr_t)base, l->spec.rank, l->spec.alpha, l->spec.root, l->spec.dropout,
                                   l->score.part[GR_HEAD_OUT] != NULL };
    const char *modules[8];
    char *path = gr_path_join(dir, GR_ADAPTER_WEIGHTS);
    gram_status rc = path ? GRAM_OK : gr_nomem(err, dir);

    gr_lora_modules(modules, l->own ? &m->cfg : &(gr_config){ 0 }, l->spec.targets);
    if (!rc)
        rc = gr_adapter_config_write(dir, &c, modules, l->score.part[GR_HEAD_OUT] != NULL, err);
    if (!rc)
        rc = write_tensors(l, m, path, meta, n_meta, err);
    free(path);
    return rc;
}

uint64_t gr_lora_folded_bytes(const gr_lora_spec *s, const gr_config *c)
{
    uint64_t n = 0;

    for (size_t i = 0; i < c->layers * gr_matrices(c); i++) {
        size_t O, K;
        gr_matrix_shape(c, i % gr_matrices(c), &O, &K);
        if (is_target(c, s->targets, i))
            n += (uint64_t)O * K * sizeof(float);
    }
    return n;
}
