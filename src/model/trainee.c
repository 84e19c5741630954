/* trainee.c - see trainee.h. Opening, the forward pass, and the rows of the head. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/random.h"
#include "model/trainee_int.h"

/* ---- Opening ------------------------------------------------------------------------------------- */

static int by_place(const void *pa, const void *pb)
{
    uintptr_t a = (uintptr_t)(*(const gr_param *const *)pa)->w.p, b = (uintptr_t)(*(const gr_param *const *)pb)->w.p;

    return a < b ? -1 : a > b;
}

/* The parameters in the order of their places in memory: a model of many experts has tens of thousands. */
struct places { const gr_param **p; size_t n; };

static bool places_open(struct places *all, const gr_trainee *t)
{
    *all = (struct places){ gr_calloc(t->n_params, sizeof *all->p), t->n_params };
    for (size_t i = 0; all->p && i < t->n_params; i++)
        all->p[i] = &t->param[i];
    if (all->p)
        qsort(all->p, all->n, sizeof *all->p, by_place);
    return all->p;
}

static const gr_param *param_of(const struct places *all, const void *w)
{
    const gr_param key = { .w.p = (void *)(uintptr_t)w }, *of = &key;
    const gr_param *const *found = w ? bsearch(&of, all->p, all->n, sizeof *all->p, by_place) : NULL;

    return found ? *found : NULL;
}

static float *grad_of(const struct places *all, const void *w)
{
    const gr_param *p = param_of(all, w);

    return p ? gr_f32(p->g) : NULL;
}

static void bind_layer(const gr_trainee *t, const struct places *all, size_t i)
{
    const struct layer *l = &t->m->layer[i];
    size_t n = gr_matrices(&t->m->cfg);
    struct grads *g = &t->g[i];

    *g = (struct grads){
        .attn_norm = grad_of(all, l->attn_norm), .mlp_norm = grad_of(all, l->mlp_norm),
        .attn_post_norm = grad_of(all, l->attn_post_norm), .mlp_post_norm = grad_of(all, l->mlp_post_norm),
        .q_norm = grad_of(all, l->q_norm), .k_norm = grad_of(all, l->k_norm), .mat = t->g_mat + i * n,
        .lora = t->lora ? t->g_lora + i * n : NULL,
    };
    for (size_t k = 0; k < GR_COUNT(g->bias); k++)
        g->bias[k] = grad_of(all, l->bias[k]);
    for (size_t k = 0; k < n; k++) {
        g->mat[k] = grad_of(all, l->mat[k].w);
        if (t->lora) {
            g->lora[k][0] = grad_of(all, lora_pair(t->lora, i, k)->a);
            g->lora[k][1] = grad_of(all, lora_pair(t->lora, i, k)->b);
        }
    }
}

static gram_status bind_grads(gr_trainee *t, gram_err *err)
{
    struct places all;

    if (!places_open(&all, t))
        return gr_nomem(err, "training");
    for (size_t i = 0; i < t->m->cfg.layers; i++)
        bind_layer(t, &all, i);
    t->g_embed = grad_of(&all, t->m->embed.data);
    t->g_head = grad_of(&all, t->m->head.data);
    t->g_final = grad_of(&all, t->m->final_norm);
    free(all.p);
    return GRAM_OK;
}

/* What is the host's of the reward head: its values, and the gradients of a step. Where host and device are one, these
 * are the parameters'. */
static gram_status open_score(gr_trainee *t, gram_err *err)
{
    t->score = t->lora ? t->lora->score : t->m->score;
    t->g_score = t->score;
    for (size_t i = 0; i < GR_HEAD_PARTS; i++) {
        t->score_param[i] = NULL;
        for (size_t k = 0; t->score.part[i] && k < t->n_params; k++)
            if (t->param[k].w.p == t->score.part[i])
                t->score_param[i] = &t->param[k];
        t->g_score.part[i] = t->score_param[i] ? gr_f32(t->score_param[i]->g) : NULL;
        if (!t->score_param[i] || gr_device_is_host(t->d))
            continue;
        t->score.part[i] = gr_calloc(gr_param_count(t->score_param[i]), sizeof(float));
        t->g_score.part[i] = gr_calloc(gr_param_count(t->score_param[i]), sizeof(float));
        if (!t->score.part[i] || !t->g_score.part[i])
            return gr_nomem(err, "training");
    }
    return GRAM_OK;
}

static void score_close(gr_trainee *t)
{
    for (size_t i = 0; i < GR_HEAD_PARTS && !gr_device_is_host(t->d); i++)
        if (t->score_param[i]) {
            free(t->score.part[i]);
            free(t->g_score.part[i]);
        }
}

/* Before a forward pass the host gets the head's values, and after its loss the device the gradients. */
static void get_score(gr_trainee *t)
{
    for (size_t i = 0; i < GR_HEAD_PARTS && !gr_device_is_host(t->d); i++)
        if (t->score_param[i])
            gr_param_get(t->score_param[i], 0, gr_param_count(t->score_param[i]), t->score.part[i]);
}

void gr_trainee_put_score(gr_trainee *t)
{
    for (size_t i = 0; i < GR_HEAD_PARTS && !gr_device_is_host(t->d); i++)
        if (t->score_param[i])
            gr_param_put_grad(t->score_param[i], 0, gr_param_count(t->score_param[i]), t->g_score.part[i]);
}

/* How many floats the adapters of a layer have, those of experts left out: the same in each, or 0 in some. */
static size_t lora_floats(const gr_lora *l, const gr_config *c)
{
    size_t n = 0;

    for (size_t i = 0; l && i < (c->experts ? GR_MAT_EXPERTS : GR_MATRICES); i++) {
        size_t O, K;
        gr_matrix_shape(c, i, &O, &K);
        if (l->spec.targets & 1u << i)
            n += l->spec.rank * (O + K);
    }
    return n;
}

/* Whether the host may read the head where it is. */
static bool is_hosts_head(const gr_trainee *t)
{
    return t->m->head.type == GR_F32 && (gr_device_is_host(t->d) || !t->m->writable);
}

/* Room for rows of the head that the host must have expanded or brought. */
static bool open_head(gr_trainee *t)
{
    for (size_t i = 0; i < HEAD_ROWS; i++)
        t->head_id[i] = -1;
    if (is_hosts_head(t))
        return true;
    t->head_row = gr_alloc_aligned(HEAD_ROWS * t->m->cfg.width, sizeof *t->head_row);
    return t->head_row != NULL;
}

static bool is_of_head(const gr_model *m, const gr_param *p)
{
    for (size_t i = 0; i < GR_HEAD_PARTS; i++)
        if (p->w.p && p->w.p == m->score.part[i])
            return true;
    return false;
}

/* The pass over the layers, and memory for what follows from the model alone. */
static bool open_pass(gr_trainee *t)
{
    const gr_model *m = t->m;
    size_t n = gr_matrices(&m->cfg);

    t->p = (struct pass){ .m = m, .lora = t->lora, .d = t->d, .cut = gr_linear_cut(t->d, GR_ROWS_BLOCKS, 0),
                           .plan = &t->plan, .keep = true, .type = gr_model_rows(m), .ldf = gr_linear_ld(m->cfg.hidden),
                          .lde = gr_linear_ld(m->cfg.expert_hidden) };
    t->g = gr_calloc(m->cfg.layers, sizeof *t->g);
    t->g_mat = gr_calloc(m->cfg.layers * n, sizeof *t->g_mat);
    t->g_lora = gr_calloc(t->lora ? m->cfg.layers * n : 1, sizeof *t->g_lora);
    t->dw = gr_calloc(n, sizeof *t->dw);
    t->dw_first = gr_calloc(n + 1, sizeof *t->dw_first);
    t->p.kept = gr_calloc(m->cfg.layers, sizeof *t->p.kept);
    return t->g && t->g_mat && t->g_lora && t->dw && t->dw_first && t->p.kept;
}

/* ---- Places of gradients -------------------------------------------------------------------------- */

static void mark(const gr_trainee *t, const struct places *all, const void *w, size_t layer)
{
    const gr_param *p = param_of(all, w);

    if (p)
        t->layer_of[p - t->param] = layer;
}

/* Whose parameters are whose. */
static bool find_layers(gr_trainee *t)
{
    size_t layers = t->m->cfg.layers;
    struct places all = { 0 };

    t->layer_of = gr_calloc(t->n_params, sizeof *t->layer_of);
    if (!t->layer_of || !places_open(&all, t))
        return false;
    for (size_t i = 0; i < t->n_params; i++)
        t->layer_of[i] = layers;
    for (size_t i = 0; i < layers; i++) {
        const struct layer *l = &t->m->layer[i];
        const void *const own[] = { l->attn_norm, l->mlp_norm, l->attn_post_norm, l->mlp_post_norm, l->q_norm,
                                    l->k_norm, l->bias[0], l->bias[1], l->bias[2], l->bias[3] };
        for (size_t k = 0; k < GR_COUNT(own); k++)
            mark(t, &all, own[k], i);
        for (size_t k = 0; k < gr_matrices(&t->m->cfg); k++)
            mark(t, &all, l->mat[k].w, i);
    }
    free(all.p);
    return true;
}

/* Where the gradient of parameter i begins: behind those before it, or in the place that layers share. */
static size_t next_place(const gr_trainee *t, size_t i, size_t *used, size_t *of_layer)
{
    size_t layer = gr_trainee_layer_of(t, i), *to = layer < t->m->cfg.layers ? &of_layer[layer] : used, at = *to;

    *to += gr_param_count(&t->param[i]);
    return at;
}

static bool place_gradients(gr_trainee *t)
{
    size_t layers = t->m->cfg.layers, used = 0, *of_layer = gr_calloc(layers, sizeof *of_layer);
    void *grad;

    if (!of_layer)
        return false;
    for (size_t i = 0; i < t->n_params; i++)
        next_place(t, i, &used, of_layer);
    for (size_t i = 0; i < layers; i++) {
        t->bucket_floats = gr_max(t->bucket_floats, of_layer[i]);
        of_layer[i] = used;                         /* behind those of no layer */
    }
    t->grad_floats = used + t->bucket_floats;
    if (!gr_device_alloc_zeros(t->d, &grad, t->grad_floats, sizeof *t->grad, NULL)) {
        t->grad = grad;
        t->bucket = t->grad + used;
        used = 0;
        for (size_t i = 0; i < t->n_params; i++)
            t->param[i].g = gr_mat_f32(t->grad + next_place(t, i, &used, of_layer), t->param[i].cols);
    }
    free(of_layer);
    return t->grad;
}

/* Those of the n parameters that are trained, with room for their gradients. */
static bool take_params(gr_trainee *t, const gr_param *p, size_t n, bool by_layer)
{
    t->param = gr_calloc(n, sizeof *t->param);
    if (!t->param)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!t->head_only || is_of_head(t->m, &p[i]))
            t->param[t->n_params++] = p[i];
    return (!by_layer || find_layers(t)) && place_gradients(t);
}

size_t gr_trainee_layer_of(const gr_trainee *t, size_t i)
{
    return t->layer_of ? t->layer_of[i] : t->m->cfg.layers;
}

size_t gr_trainee_layers(const gr_trainee *t)
{
    return t->m->cfg.layers;
}

size_t gr_trainee_grad_floats(const gr_trainee *t)
{
    return t->grad_floats;
}

void gr_trainee_watch(gr_trainee *t, const gr_layer_watch *watch)
{
    t->watch = *watch;
}

/* Every weight, the head alone, or every weight with one place for the gradients of all layers. */
enum what { ALL, HEAD_ONLY, BY_LAYER };

static gram_status open_trainee(gr_trainee **out, gr_model *m, gr_lora *lora, enum what what, gr_device *d,
                                gram_err *err)
{
    gr_trainee *t = gr_calloc(1, sizeof *t);
    const gr_param *p;
    size_t n;
    gram_status rc = t ? GRAM_OK : gr_nomem(err, "training");

    *out = NULL;
    if (rc)
        return rc;
    if (m->cfg.router_loss && what != HEAD_ONLY) {
        free(t);
        return gr_fail(err, GRAM_EUNSUPPORTED, "\"output_router_logits\" true of the model's config.json asks for the "
                       "routers' own loss in training (router_aux_loss_coef), which is not supported");
    }
    p = lora ? gr_lora_params(lora, &n) : gr_model_params(m, &n);
    t->m = m;
    t->lora = lora;
    t->d = d;
    t->head_only = what == HEAD_ONLY;
    gr_trainee_recompute(t, 0);
    t->lora_floats = lora_floats(lora, &m->cfg);
    if (!open_pass(t) || !take_params(t, p, n, what == BY_LAYER) || !open_head(t))
        rc = gr_nomem(err, "training");
    gr_trainee_keep(t);
    if (!rc)
        rc = gr_device_reserve(d, gr_pass_scratch(&t->p, t->p.cut.most), err);
    if (!rc)
        rc = bind_grads(t, err);
    if (!rc)
        rc = open_score(t, err);
    if (rc) {
        gr_trainee_close(t);
        return rc;
    }
    *out = t;
    return GRAM_OK;
}

gram_status gr_trainee_open(gr_trainee **out, gr_model *m, gr_device *d, gram_err *err)
{
    return open_trainee(out, m, NULL, ALL, d, err);
}

gram_status gr_trainee_open_lora(gr_trainee **out, gr_model *m, gr_lora *lora, gr_device *d, gram_err *err)
{
    return open_trainee(out, m, lora, ALL, d, err);
}

gram_status gr_trainee_open_layers(gr_trainee **out, gr_model *m, gr_device *d, gram_err *err)
{
    return open_trainee(out, m, NULL, BY_LAYER, d, err);
}

gram_status gr_trainee_open_head(gr_trainee **out, gr_model *m, gr_device *d, gram_err *err)
{
    return open_trainee(out, m, NULL, HEAD_ONLY, d, err);
}

gram_status gr_trainee_open_frozen(gr_trainee **out, gr_model *m, gr_lora *lora, gr_device *d, gram_err *err)
{
    gram_status rc = open_trainee(out, m, lora, HEAD_ONLY, d, err);

    if (!rc)
        (*out)->n_params = 0;
    return rc;
}

void gr_trainee_release(gr_trainee *t)
{
    gr_trainee_clear_rows(t);
}

uint64_t gr_trainee_held(const gr_trainee *t)
{
    return t->floats * sizeof *t->memory;
}

void gr_trainee_close(gr_trainee *t)
{
    if (!t)
        return;
    gr_trainee_clear_rows(t);
    gr_plan_clear(&t->plan);
    gr_seen_clear(&t->seen);
    gr_seen_clear(&t->want_seen);
    gr_pass_clear(&t->p);
    score_close(t);
    free(t->view);
    free(t->head_row);
    free(t->p.kept);
    free(t->g);
    free(t->g_mat);
    free(t->g_lora);
    free(t->dw);
    free(t->dw_first);
    gr_device_free(t->d, t->grad);
    free(t->layer_of);
    free(t->param);
    free(t);
}

gr_device *gr_trainee_device(const gr_trainee *t)
{
    return t->d;
}

gr_param *gr_trainee_params(gr_trainee *t, size_t *n)
{
    *n = t->n_params;
    return t->param;
}

void gr_trainee_zero(gr_trainee *t)
{
    gr_device_zero(t->d, t->grad, t->grad_floats * sizeof *t->grad);
    for (size_t i = 0; i < GR_HEAD_PARTS && !gr_device_is_host(t->d); i++)
        if (t->score_param[i])
            memset(t->g_score.part[i], 0, gr_param_count(t->score_param[i]) * sizeof(float));
}

void gr_trainee_recompute(gr_trainee *t, size_t layers)
{
    /* A head that is trained alone has no backward pass below it: all layers share one place; none is recomputed. */
    t->recomputed = t->head_only ? t->m->cfg.layers : gr_min(layers, t->m->cfg.layers);
}

size_t gr_trainee_recomputed(const gr_trainee *t)
{
    return t->recomputed;
}

void gr_trainee_drop(gr_trainee *t, uint64_t seed, uint64_t step)
{
    t->p.drop = t->lora && t->lora->spec.dropout > 0;
    t->p.drop_key = gr_random_at(gr_random_at(0, seed), step);
    t->p.by = t->m->steps;
}

/* Rows that are judged are not rounded; sums of two are float32's numbers, and those of the step that follows. */
void gr_trainee_keep(gr_trainee *t)
{
    t->p.drop = false;
    t->p.by = t->m->steps == GR_BY_SPLIT ? GR_BY_SPLIT : GR_BY_F32;
}

const float *gr_trainee_head(gr_trainee *t, int32_t v)
{
    size_t C = t->m->cfg.width, i = 0;

    if (!t->head_row)
        return (const float *)t->m->head.data + (size_t)v * C;
    while (i < HEAD_ROWS && t->head_id[i] != v)
        i++;
    if (i == HEAD_ROWS) {
        i = t->head_next++ % HEAD_ROWS;
        gr_model_head_row(t->m, (size_t)v, t->head_row + i * C);
        t->head_id[i] = v;
    }
    return t->head_row + i * C;
}

const gr_tensor *gr_trainee_head_tensor(const gr_trainee *t)
{
    return &t->m->head;
}

float *gr_trainee_head_grad(gr_trainee *t)
{
    return t->g_head;
}

bool gr_trainee_head_add(gr_trainee *t, int32_t v, double s, const float *x)
{
    size_t C = t->m->cfg.width, bytes = C * sizeof(float);
    float *at = t->g_head ? t->g_head + (size_t)v * C : NULL, *g = at ? gr_device_map(t->d, at, bytes, true) : NULL;

    for (size_t c = 0; c < C && g; c++)
        g[c] += (float)(s * x[c]);
    gr_device_unmap(t->d, at, g, bytes, true);
    return !at || g;
}

const gr_head *gr_trainee_score(const gr_trainee *t)
{
    return &t->score;
}

const gr_head *gr_trainee_score_grad(const gr_trainee *t)
{
    return &t->g_score;
}

/* ---- Forward ------------------------------------------------------------------------------------- */

/* A row's key follows from its token and the key of the row before it in the text. */
static void make_keys(gr_trainee *t, const gr_forest *f)
{
    const gr_segment *seg = f->seg;

    for (size_t s = 0; s < f->n_segs; s++) {
        const gr_segment *up = seg[s].parent == GR_NO_SEGMENT ? NULL : &seg[seg[s].parent];
        uint64_t key = up ? t->key[up->row + up->len - 1] : 0;
        for (size_t i = seg[s].row; i < seg[s].row + seg[s].len; i++)
            t->key[i] = key = gr_random_at(key, (uint64_t)f->token[i]);
    }
    for (size_t i = 0; i < t->plan.n_want; i++)
        t->key[t->rows + i] = t->key[t->plan.want[i]];
    t->p.key = t->key;
    t->p.want_key = t->key + t->rows;
}

/* What the passes need to know of the forest, and memory for its rows. */
static gram_status take_forest(gr_trainee *t, const gr_forest *f, const size_t *want, size_t n, gram_err *err)
{
    gram_status rc = gr_forest_check(f, t->m->cfg.vocabulary, err);

    assert(f->far == t->m->cfg.far.after);
    if (!rc)
        rc = gr_trainee_reserve(t, gr_max(f->rows, n), err);
    if (!rc)
        rc = gr_plan_forest(&t->plan, f, want, n, false, err);
    if (!rc)
        rc = gr_pass_tables(&t->p, err);
    if (!rc && !t->head_only)
        rc = gr_seen_forest(&t->seen, &t->plan, f, false, err);
    if (!rc && !t->head_only)
        rc = gr_seen_forest(&t->want_seen, &t->plan, f, true, err);
    if (!rc && t->p.drop)
        make_keys(t, f);
    return rc;
}

/* The rows that are asked for, and their last norm. */
static void last_norm(void *arg, gr_lane *lane, size_t first, size_t n)
{
    const gr_trainee *t = arg;
    size_t C = t->m->cfg.width;
    const gr_norm norm = norm_of(&t->m->cfg, t->m->final_norm, C);

    (void)first;
    if (t->p.narrow)
        lane->op->copy(lane, t->xf, t->p.out, n, C);
    else
        lane->op->gather(lane, t->xf, t->p.out, t->plan.want, n, C);
    lane->op->rmsnorm_fwd(lane, t->hidden, t->rf, t->xf, &norm, n);
}

gram_status gr_trainee_forward(gr_trainee *t, const gr_forest *f, const size_t *want, size_t n,
                               const float **hidden, gram_err *err)
{
    size_t C = t->m->cfg.width;
    gram_status rc = take_forest(t, f, want, n, err);

    if (rc)
        return rc;
    t->p.narrow = 2 * n <= f->rows;
    for (size_t i = 0; i < HEAD_ROWS; i++)          /* a step may have changed them */
        t->head_id[i] = -1;
    get_score(t);
    gr_device_zero(t->d, gr_mat_at(t->p.kept->x, f->rows, 0).p, (t->rows - f->rows) * C * sizeof(float));
    gr_pass_forward(&t->p);
    gr_device_once(t->d, last_norm, t, n);
    rc = gr_device_wait(t->d, err);
    if (rc)
        return rc;
    *hidden = gr_device_view(t->d, t->hidden.p, n * C * sizeof **hidden, &t->view);
    return *hidden ? GRAM_OK : gr_nomem(err, "training");
}
