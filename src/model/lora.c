/* lora.c - see lora.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/random.h"
#include "file/io.h"
#include "file/tensors.h"
#include "model/lora_int.h"
#include "op/op.h"

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

void gr_lora_modules(const char *out[10], const gr_config *c, unsigned targets)
{
    size_t n = 0;

    for (size_t i = 0; i < GR_MAT_EXPERTS; i++) {
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

/* Whether a directory has its matrices each apart and under other names than a Llama's: Mixtral. */
static bool is_renamed(const gr_config *c)
{
    return !has_own_names(c) && strcmp(gr_tensor_own_module(c, GR_T_GATE), gr_tensor_module(c, GR_T_GATE));
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
    if (which >= GR_MAT_EXPERTS)
        return which - (l->spec.stacked && gr_matrix_kind(which) == GR_MAT_UP);
    return l->own ? first_of(c, which) : which;
}

float gr_lora_scale(double alpha, size_t rank, bool root)
{
    return (float)(alpha / (root ? sqrt((double)rank) : (double)rank));
}

/* Whether matrix i of all, layer by layer, is there and one that has an adapter. Where experts have theirs together, a
 * layer without experts has none at its gate, up and down. */
static bool is_target(const gr_config *c, const gr_lora_spec *s, size_t i)
{
    size_t n = gr_matrices(c), which = i % n;
    bool dense = which >= GR_MAT_GATE && which <= GR_MAT_DOWN;

    return s->targets >> gr_matrix_kind(which) & 1 && gr_matrix_there(c, which, i / n) && !(s->stacked && dense);
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
    char a[GR_LORA_NAME], b[GR_LORA_NAME];
    size_t O, K, r = l->spec.rank;
    gr_fused in;
    gram_status rc = GRAM_OK;

    gr_lora_name(a, m, which, layer, 'A', l->own);
    gr_lora_name(b, m, which, layer, 'B', l->own && !gr_matrix_fused(&m->cfg, which, &in));
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
    char name[GR_LORA_NAME];
    gram_status rc = GRAM_OK;

    l->score = gr_head_of(&m->cfg);
    for (size_t i = 0; !rc && gr_head_part_at(&called, m->cfg.width, i, &p); i++) {
        gr_lora_head_name(name, &p);
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
        if (!is_target(&m->cfg, spec, i))
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
    const gr_lora_spec all = { .targets = GR_LORA_ALL };
    uint64_t state = ~seed;                 /* not the numbers that order the rows */
    size_t least = SIZE_MAX;

    *out = NULL;
    for (size_t i = 0; i < m->cfg.layers * gr_matrices(&m->cfg); i++) {
        size_t O, K;
        gr_matrix_shape(&m->cfg, i % gr_matrices(&m->cfg), &O, &K);
        least = is_target(&m->cfg, &all, i) ? gr_min(least, gr_min(O, K)) : least;
    }
    if (spec->rank < 1 || spec->rank > least || !(spec->targets & GR_LORA_ALL))
        return gr_fail(err, GRAM_EARG, "LoRA rank: wanted 1 to %zu, the narrowest side of this model's matrices, found "
                       "%zu", least, spec->rank);
    for (size_t i = 0; i < GR_MATRICES; i++)
        if ((spec->targets >> i & 1) != (spec->targets >> first_of(&m->cfg, i) & 1))
            return gr_fail(err, GRAM_EARG, "LoRA targets: %s and %s are one matrix in this architecture, %s: wanted "
                           "both or none", brief[i], brief[first_of(&m->cfg, i)],
                           gr_tensor_own_module(&m->cfg, (gr_tensor_kind)(GR_T_Q + i)));
    return open_all(out, m, spec, has_own_names(&m->cfg) || is_renamed(&m->cfg), fill_new, &state, err);
}

static gram_status fill_read(float *a, float *b, size_t rank, const gr_model *m, size_t which, size_t layer,
                             void *arg, gram_err *err)
{
    struct lora_found f;
    gram_status rc = gr_lora_find_pair(&f, m, arg, which, layer, err);

    (void)rank;
    if (!rc && a)
        gr_lora_a(&f, a);
    return rc ? rc : gr_lora_b_columns(b, &f, m, arg, which, 1, m->cfg.rope_interleaved, err);
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

/* What is read of an adapter, matrix by matrix. */
struct census { gr_lora_spec spec; size_t tensors, found, together, stacked; };

static gram_status count_one(struct census *n, const gr_model *m, const gr_adapter *a, size_t which, size_t layer,
                             gram_err *err)
{
    struct lora_found f;
    gram_status rc = gr_lora_find_pair(&f, m, a, which, layer, err);

    if (rc || !f.t[0])
        return rc;
    n->found++;
    n->together += f.in.take > 0 && !f.stack;
    n->stacked += f.stack > 0;
    n->tensors += gr_lora_tensors(&f);
    n->spec.targets |= 1u << gr_matrix_kind(which);
    if (gr_lora_rank(&f) != n->spec.rank)
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: tensor %s has rank %zu beside others of %zu; to be trained further "
                       "an adapter has one", a->path, f.t[0]->name, gr_lora_rank(&f), n->spec.rank);
    if (f.alpha != n->spec.alpha)
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: tensor %s has alpha %g beside others of %g; to be trained further "
                       "an adapter has one", a->path, f.t[0]->name, f.alpha, n->spec.alpha);
    return GRAM_OK;
}

/* Whether what was found is what training can hold: the same in every layer. */
static gram_status check_census(struct census *n, const gr_model *m, const gr_adapter *a, gram_err *err)
{
    size_t all = m->cfg.layers * gr_matrices(&m->cfg), wanted = 0, of_experts = 0;

    n->spec.stacked = n->stacked > 0;
    for (size_t i = 0; i < all; i++) {
        bool is = is_target(&m->cfg, &n->spec, i);
        wanted += is;
        of_experts += is && i % gr_matrices(&m->cfg) >= GR_MAT_EXPERTS;
    }
    if (n->found != wanted)
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: %zu matrices have adapters, and the like of them in all %zu layers "
                       "are %zu; to be trained further every layer has the same", a->path, n->found, m->cfg.layers,
                       wanted);
    if ((n->together && n->together != pairs_together(&m->cfg, n->spec.targets) * m->cfg.layers) ||
        (n->stacked && n->stacked != of_experts))
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: matrices that lie in one tensor have an adapter together here, and "
                       "each its own there", a->path);
    return GRAM_OK;
}

static gram_status read_head(const gr_lora *l, const gr_model *m, const gr_adapter *a, gram_err *err)
{
    gr_head_part part;
    gram_status rc = GRAM_OK;

    for (size_t i = 0; !rc && gr_adapter_has_head(a) && gr_head_part_at(&m->cfg.head, m->cfg.width, i, &part); i++) {
        size_t bytes = part.rows * part.cols * sizeof(float);
        float *there = l->score.part[part.at], *w = gr_device_map(m->on, there, bytes, false);
        rc = w ? gr_lora_head_part(w, a, m->cfg.width, &part, err) : gr_nomem(err, "LoRA");
        gr_device_unmap(m->on, there, w, bytes, !rc);
    }
    return rc;
}

gram_status gr_lora_read(gr_lora **out, const gr_model *m, const gr_adapter *a, gram_err *err)
{
    struct census n = { .spec = { a->cfg.rank, a->cfg.alpha, a->cfg.root, 0, a->cfg.dropout, false } };
    size_t each = gr_matrices(&m->cfg);
    gram_status rc = GRAM_OK;

    *out = NULL;
    if (a->cfg.dora || a->cfg.biases != GR_BIASES_BASE)
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: \"%s\" is set: such an adapter is not trained further; gram merge "
                       "makes a model of it", a->path, a->cfg.dora ? "use_dora" : "bias");
    for (size_t i = 0; i < m->cfg.layers * each && !rc; i++)
        if (gr_matrix_there(&m->cfg, i % each, i / each))
            rc = count_one(&n, m, a, i % each, i / each, err);
    if (!rc)
        rc = gr_lora_check_all(m, a, n.tensors, err);
    if (!rc)
        rc = check_census(&n, m, a, err);
    if (!rc)
        rc = open_all(out, m, &n.spec, n.together > 0 || (!n.spec.stacked && is_renamed(&m->cfg)), fill_read,
                      (void *)(uintptr_t)a, err);
    if (!rc)
        rc = read_head(*out, m, a, err);
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

/* s x W^T, W being A or B: in u, or where that is NULL in scratch. */
static gr_mat narrowed(gr_lane *lane, const struct lora_pair *p, const gr_linear *l, gr_mat u, gr_mat x, size_t M)
{
    if (!u.p)
        u = gr_lane_scratch(lane, M, p->rank);
    if (lane->rc)
        return u;
    gr_linear_fwd(lane, l, u, x, M);
    lane->op->scale(lane, u, p->scale, M, p->rank);
    return u;
}

void gr_lora_fwd(gr_lane *lane, const struct lora_pair *p, gr_mat y, gr_mat x, gr_mat u, size_t M)
{
    size_t mark = gr_lane_mark(lane);

    u = narrowed(lane, p, p->la, u, x, M);
    if (!lane->rc)
        gr_linear_dx(lane, p->lb, y, u, M, true);
    gr_lane_give_back(lane, mark);
}

void gr_lora_dx(gr_lane *lane, const struct lora_pair *p, gr_mat dx, gr_mat dy, gr_mat du, size_t M)
{
    size_t mark = gr_lane_mark(lane);

    du = narrowed(lane, p, p->lb, du, dy, M);
    if (!lane->rc)
        gr_linear_dx(lane, p->la, dx, du, M, true);
    gr_lane_give_back(lane, mark);
}

void gr_lora_dw(gr_lane *lane, const struct lora_pair *p, gr_mat da, gr_mat db, gr_mat dy, gr_mat x, gr_mat u,
                gr_mat du, size_t M)
{
    size_t r = p->rank, mark = gr_lane_mark(lane);

    if (!u.p)
        u = narrowed(lane, p, p->la, u, x, M);
    if (!du.p)
        du = narrowed(lane, p, p->lb, du, dy, M);
    if (!lane->rc) {
        gr_linear_dw(lane, da, du, x, M, da.ld, 0, r);
        gr_linear_dw(lane, db, u, dy, M, db.ld, 0, r);
    }
    gr_lane_give_back(lane, mark);
}

uint64_t gr_lora_folded_bytes(const gr_lora_spec *s, const gr_config *c)
{
    uint64_t n = 0;

    for (size_t i = 0; i < c->layers * gr_matrices(c); i++) {
        size_t O, K;
        gr_matrix_shape(c, i % gr_matrices(c), &O, &K);
        if (is_target(c, s, i))
            n += (uint64_t)O * K * sizeof(float);
    }
    return n;
}
