/* adamw.c - see optim.h; what is done to a slice stands in op/adamw.h. */
#include <math.h>
#include <stdlib.h>
#include "base/err.h"
#include "base/random.h"
#include "op/op.h"
#include "optim/optim.h"

#define SLICE ((size_t)1 << 16)             /* values of a task */

/* Where part `part` of the slices [s, end) begins: parts are as equal as whole slices allow. */
static size_t first_slice(const gr_adamw *a, size_t s, size_t end, size_t part, size_t parts)
{
    size_t from = s < end ? a->slice[s].at : 0, n = s < end ? a->slice[end - 1].at + a->slice[end - 1].n - from : 0;

    while (s < end && (part == parts || a->slice[s].at - from < n / parts * part))
        s++;
    return s;
}

/* Cuts one bucket, slices [s, end), and takes what is held here of it. */
static void cut_bucket(gr_adamw *a, const gr_adamw_cut *c, size_t bucket, size_t s, size_t end)
{
    for (size_t p = 0; p < c->parts; p++) {
        size_t first = first_slice(a, s, end, p, c->parts), next = first_slice(a, s, end, p + 1, c->parts);
        a->cut[bucket * c->parts + p] = first < a->slices ? a->slice[first].at : a->floats;
        for (; first < next && p == c->part; first++) {
            a->slice[first].own = a->own_floats;
            a->own_floats += a->slice[first].n;
            a->mine[a->own_slices++] = first;
        }
    }
}

static void cut_all(gr_adamw *a, const gr_adamw_cut *c)
{
    size_t s = 0;

    for (size_t b = 0; b < a->buckets; b++) {
        size_t end = s;
        while (end < a->slices && (!c->end || a->slice[end].param < c->end[b]))
            end++;
        cut_bucket(a, c, b, s, end);
        s = end;
    }
    a->cut[a->buckets * c->parts] = a->floats;
}

static bool take_zeros(gr_param *p, const char *name, gr_device *on, size_t n, gr_dtype type)
{
    *p = (gr_param){ .name = name, .rows = 1, .cols = n, .w = { NULL, n, type }, .on = on };
    return gr_device_alloc_zeros(on, &p->w.p, n, gr_dtype_bytes(type), NULL) == GRAM_OK;
}

static bool take_moments(gr_adamw *a, const gr_adamw_cut *c)
{
    gr_dtype type = c->half ? GR_BF16 : GR_F32;
    gr_param g = { 0 };
    bool ok = take_zeros(&a->m, "m", a->on, a->own_floats, type) &&
              take_zeros(&a->v, "v", a->on, a->own_floats, type) &&
              (!c->gradients || take_zeros(&g, "g", a->on, a->own_floats, GR_F32));

    a->g = g.w.p;
    return ok;
}

gram_status gr_adamw_init_part(gr_adamw *a, gr_param *param, size_t n, const gr_adamw_cut *c, gram_err *err)
{
    size_t at = 0, s = 0;

    *a = (gr_adamw){ .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .param = param, .n_params = n,
                     .on = n ? param->on : NULL, .buckets = c->end ? c->buckets : 1 };
    for (size_t i = 0; i < n; i++) {
        a->floats += gr_param_count(&param[i]);
        a->slices += (gr_param_count(&param[i]) + SLICE - 1) / SLICE;
    }
    a->slice = gr_calloc(a->slices, sizeof *a->slice);
    a->mine = gr_calloc(a->slices, sizeof *a->mine);
    a->squares = gr_calloc(a->slices, sizeof *a->squares);
    a->cut = gr_calloc(a->buckets * c->parts + 1, sizeof *a->cut);
    if (!a->slice || !a->mine || !a->squares || !a->cut)
        goto nomem;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0, count = gr_param_count(&param[i]); k < count; k += SLICE) {
            a->slice[s] = (gr_slice){ i, k, gr_min(SLICE, count - k), at, GR_NOT_OWN };
            at += a->slice[s++].n;
        }
    cut_all(a, c);
    a->step = gr_calloc(a->own_slices, sizeof *a->step);
    a->grad = gr_calloc(a->own_slices, sizeof *a->grad);
    a->sum = gr_calloc(a->own_slices, sizeof *a->sum);
    if (!a->step || !a->grad || !a->sum || !take_moments(a, c))
        goto nomem;
    return GRAM_OK;
nomem:
    gr_adamw_clear(a);
    return gr_nomem(err, "optimizer");
}

gram_status gr_adamw_init(gr_adamw *a, gr_param *param, size_t n, gram_err *err)
{
    return gr_adamw_init_part(a, param, n, &(gr_adamw_cut){ .parts = 1 }, err);
}

void gr_adamw_clear(gr_adamw *a)
{
    gr_device_free(a->on, a->m.w.p);
    gr_device_free(a->on, a->v.w.p);
    gr_device_free(a->on, a->g);
    free(a->slice);
    free(a->squares);
    free(a->mine);
    free(a->cut);
    free(a->step);
    free(a->grad);
    free(a->sum);
    *a = (gr_adamw){ 0 };
}

static const float *gradient_of(const gr_adamw *a, const gr_slice *s)
{
    return a->g ? a->g + s->own : gr_f32(a->param[s->param].g) + s->first;
}

static void square(void *arg, gr_lane *lane, size_t first, size_t n)
{
    gr_adamw *a = arg;

    for (size_t i = first; i < first + n; i++) {
        const gr_slice *s = &a->slice[a->mine[i]];
        a->grad[i] = (gr_squares_slice){ gradient_of(a, s), s->n };
    }
    lane->op->squares_slices(lane, a->grad + first, n, a->sum + first);
}

void gr_grad_squares(gr_adamw *a, gr_device *d)
{
    for (size_t i = 0; i < a->slices; i++)
        a->squares[i] = 0;
    gr_device_run(d, a->own_slices, GR_CUT_ONE, square, a);
    gr_device_sync(d);                      /* the host adds them up */
    for (size_t i = 0; i < a->own_slices; i++)
        a->squares[a->mine[i]] = a->sum[i];
}

double gr_squares_norm(const gr_adamw *a, size_t first, size_t end)
{
    double sum = 0;

    for (size_t i = 0; i < a->slices; i++)
        if (a->slice[i].param >= first && a->slice[i].param < end)
            sum += a->squares[i];
    return sqrt(sum);
}

double gr_grad_norm(gr_adamw *a, gr_device *d)
{
    gr_grad_squares(a, d);
    return gr_squares_norm(a, 0, a->n_params);
}

struct update { gr_adamw *a; gr_adamw_rule rule; double lr, scale; uint64_t key; };

/* Of the parameter, whose first step may be later than the others'. */
static gr_adamw_rule rule_of(const struct update *u, const gr_param *p)
{
    double t = (double)(u->a->t - p->rests), pace = p->pace > 0 ? p->pace : 1;
    gr_adamw_rule rule = u->rule;

    rule.scale = (float)(p->scale > 0 ? u->scale * p->scale : u->scale);
    rule.size = (float)(u->lr / (1 - pow(u->a->beta1, t))) * (float)pace;
    rule.root = (float)sqrt(1 - pow(u->a->beta2, t));
    rule.keep = p->decay ? (float)(1 - pace * (u->lr * u->a->decay)) : 1;
    return rule;
}

static gr_adamw_slice step_of(const struct update *u, const gr_slice *s)
{
    const gr_adamw *a = u->a;
    const gr_param *p = &a->param[s->param];
    uint64_t state = u->key + s->at / SLICE;            /* keys for each slice, so that places stay below 2^32 */
    gr_adamw_slice step = {
        .w = gr_mat_at(p->w, 0, s->first).p, .m = gr_mat_at(a->m.w, 0, s->own).p, .v = gr_mat_at(a->v.w, 0, s->own).p,
        .type = p->w.type, .kept = a->m.w.type, .g = gradient_of(a, s), .n = s->n, .rule = rule_of(u, p),
        .at = (uint32_t)s->at,
    };

    for (size_t i = 0; i < GR_COUNT(step.key); i++)
        step.key[i] = (uint32_t)gr_random(&state);
    return step;
}

static void update(void *arg, gr_lane *lane, size_t first, size_t n)
{
    const struct update *u = arg;
    gr_adamw_slice *step = u->a->step + first;
    size_t steps = 0;

    for (size_t i = first; i < first + n; i++) {
        const gr_slice *s = &u->a->slice[u->a->mine[i]];
        if (u->a->t > u->a->param[s->param].rests)
            step[steps++] = step_of(u, s);
    }
    lane->op->adamw_slices(lane, step, steps);
}

void gr_adamw_step(gr_adamw *a, double lr, double scale, gr_device *d)
{
    struct update u = { a, { .b1 = (float)(1 - a->beta1), .b2 = (float)a->beta2, .c2 = (float)(1 - a->beta2),
                             .eps = (float)a->eps }, lr, scale, 0 };
    uint64_t state = a->seed + ++a->t * 0x9e3779b97f4a7c15;

    u.key = gr_random(&state);
    gr_device_run(d, a->own_slices, GR_CUT_ONE, update, &u);
}
