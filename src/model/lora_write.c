/* lora_write.c - adapters as PEFT writes them: see lora.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "file/io.h"
#include "file/tensors.h"
#include "model/lora_int.h"

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

/* ---- Experts that have their adapters together ----------------------------------------------------- */

/* What is written of the experts of a layer: the module that it stands beside, and its matrices. */
struct stack { char a[GR_LORA_NAME], b[GR_LORA_NAME]; size_t first, each; };

/* gate and up, or down. Where both are there, down stands outside. */
static void name_stack(struct stack *s, const gr_lora *l, size_t layer, bool down)
{
    bool inner = !down && l->spec.targets >> GR_MAT_DOWN & 1;

    snprintf(s->a, sizeof s->a, GR_ADAPTER_STEM "model.layers.%zu.mlp.experts%s.lora_A.weight", layer,
             inner ? ".base_layer" : "");
    snprintf(s->b, sizeof s->b, GR_ADAPTER_STEM "model.layers.%zu.mlp.experts%s.lora_B.weight", layer,
             inner ? ".base_layer" : "");
    s->first = down ? GR_MAT_DOWN : GR_MAT_GATE;
    s->each = down ? 1 : 2;
}

/* Makes A [experts * rank, K] of all, expert by expert. */
static float *stacked_a(const gr_lora *l, const gr_model *m, size_t layer, const struct stack *s, size_t K)
{
    size_t E = m->cfg.experts, n = l->spec.rank * K;
    float *out = gr_alloc_aligned(E * n, sizeof *out);

    for (size_t e = 0; e < E && out; e++)
        gr_device_get(m->on, out + e * n, lora_pair(l, layer, gr_expert_matrix(e, (enum gr_matrix)s->first))->a,
                      n * sizeof *out);
    return out;
}

/* Makes B [each * O, rank * experts], which has an expert in every experts-th column. */
static float *stacked_b(const gr_lora *l, const gr_model *m, size_t layer, const struct stack *s, size_t O)
{
    size_t E = m->cfg.experts, r = l->spec.rank;
    float *out = gr_alloc_aligned(s->each * O * E, r * sizeof *out), *lies = gr_alloc_aligned(r * O, sizeof *lies);

    for (size_t i = 0; i < E * s->each && out && lies; i++) {
        size_t e = i / s->each, which = s->first + i % s->each;
        gr_device_get(m->on, lies, lora_pair(l, layer, gr_expert_matrix(e, (enum gr_matrix)which))->b,
                      r * O * sizeof *lies);
        for (size_t o = 0; o < O; o++)
            for (size_t k = 0; k < r; k++)
                out[((i % s->each * O + o) * r + k) * E + e] = lies[k * O + o];
    }
    if (!lies) {
        free(out);
        out = NULL;
    }
    free(lies);
    return out;
}

/* Adds the two of a layer to t; their names stay in s. */
static size_t add_stack(gr_saved *t, const gr_lora *l, const gr_model *m, size_t layer, struct stack *s, bool down)
{
    size_t E = m->cfg.experts, r = l->spec.rank, O, K;

    name_stack(s, l, layer, down);
    gr_matrix_shape(&m->cfg, gr_expert_matrix(0, (enum gr_matrix)s->first), &O, &K);
    t[0] = (gr_saved){ "", s->a, stacked_a(l, m, layer, s, K), E * r, K, true };
    t[1] = (gr_saved){ "", s->b, stacked_b(l, m, layer, s, O), s->each * O, E * r, true };
    return 2;
}

/* ---- The files ------------------------------------------------------------------------------------- */

/* Everything that is written, whose names have room in name and s. */
static size_t gather(gr_saved *t, const gr_lora *l, const gr_model *m, char (*name)[GR_LORA_NAME], struct stack *s)
{
    size_t n = 0;

    for (size_t i = 0; i < l->layers * l->matrices; i++) {
        size_t which = i % l->matrices, layer = i / l->matrices;
        const struct lora_pair *p = &l->pair[i];
        bool stacked = l->spec.stacked && which >= GR_MAT_EXPERTS;
        size_t O, K, all;
        if (!p->rank || (stacked && which >= GR_MAT_EXPERTS + 3) || gr_lora_first(l, &m->cfg, which) != which)
            continue;
        if (stacked) {
            n += add_stack(t + n, l, m, layer, s++, gr_matrix_kind(which) == GR_MAT_DOWN);
            continue;
        }
        gr_matrix_shape(&m->cfg, which, &O, &K);
        gr_lora_name(name[n], m, which, layer, 'A', l->own);
        gr_lora_name(name[n + 1], m, which, layer, 'B', l->own);
        t[n] = (gr_saved){ "", name[n], host_copy(m->on, p->a, p->rank * K), p->rank, K, true };
        t[n + 1] = (gr_saved){ "", name[n + 1], plain_b(l, m, layer, which, &all), 0, p->rank, true };
        t[n + 1].rows = all;
        n += 2;
    }
    for (size_t i = l->n_params - l->n_head; i < l->n_params; i++, n++)
        t[n] = (gr_saved){ "", l->param[i].name, host_copy(m->on, l->param[i].w.p, gr_param_count(&l->param[i])),
                           l->param[i].rows, l->param[i].cols, l->param[i].decay };
    return n;
}

static gram_status write_tensors(const gr_lora *l, const gr_model *m, const char *path, const gr_meta *meta,
                                 size_t n_meta, gram_err *err)
{
    gr_saved *t = gr_calloc(l->n_params, sizeof *t);
    char (*name)[GR_LORA_NAME] = gr_calloc(l->n_params, sizeof *name);
    struct stack *s = gr_calloc(2 * l->layers, sizeof *s);
    gram_status rc = t && name && s ? GRAM_OK : gr_nomem(err, path);
    size_t n = rc ? 0 : gather(t, l, m, name, s);

    for (size_t i = 0; i < n && !rc; i++)
        rc = t[i].data ? GRAM_OK : gr_nomem(err, path);
    if (!rc)
        rc = gr_st_write(path, t, n, meta, n_meta, err);
    for (size_t i = 0; i < n; i++)
        free((float *)(uintptr_t)t[i].data);
    free(s);
    free(name);
    free(t);
    return rc;
}

/* What PEFT calls by target_parameters: what lies in no module of its own. */
static void list_parameters(const char *out[4], const gr_lora_spec *s)
{
    size_t n = 0;

    if (s->stacked && s->targets >> GR_MAT_GATE & 1)
        out[n++] = "mlp.experts.gate_up_proj";
    if (s->stacked && s->targets >> GR_MAT_DOWN & 1)
        out[n++] = "mlp.experts.down_proj";
    if (s->stacked && s->targets >> GR_MAT_ROUTER & 1)
        out[n++] = "mlp.gate.weight";
    out[n] = NULL;
}

gram_status gr_lora_write(const gr_lora *l, const gr_model *m, const char *dir, const char *base, const gr_meta *meta,
                          size_t n_meta, gram_err *err)
{
    const unsigned together = l->spec.stacked ? 15u << GR_MAT_GATE : 0;     /* the router too */
    const char *modules[10], *parameters[4];
    gr_adapter_config c = { .base = (char *)(uintptr_t)base, .rank = l->spec.rank, .alpha = l->spec.alpha,
                            .root = l->spec.root, .dropout = l->spec.dropout,
                            .says_head = l->score.part[GR_HEAD_OUT] != NULL };
    char *path = gr_path_join(dir, GR_ADAPTER_WEIGHTS);
    gram_status rc = path ? GRAM_OK : gr_nomem(err, dir);

    gr_lora_modules(modules, l->own ? &m->cfg : &(gr_config){ 0 }, l->spec.targets & ~together);
    list_parameters(parameters, &l->spec);
    if (parameters[0])
        c.parameters = (char **)(uintptr_t)parameters;
    if (!rc)
        rc = gr_adapter_config_write(dir, &c, modules, l->score.part[GR_HEAD_OUT] != NULL, err);
    if (!rc)
        rc = write_tensors(l, m, path, meta, n_meta, err);
    free(path);
    return rc;
}

