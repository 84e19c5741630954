/* adamw.c - see optim.h; what is done to a slice stands in op/adamw.h. */
#include <math.h>
#include <stdlib.h>
#include "base/err.h"
#include "base/random.h"
#include "op/op.h"
#include "optim/optim.h"

#define SLICE ((size_t)1 << 16)             /* values of a task */

/* Parts are as equal as whole slices allow. */
static size_t first_slice(const gr_adamw *a, size_t part, size_t parts)
{
    size_t s = 0;

    while (s < a->slices && (part == parts || a->slice[s].at < a->floats / parts * part))
        s++;
    return s;
}

size_t gr_adamw_cut(const gr_adamw *a, size_t part, size_t parts)
{
    size_t s = first_slice(a, part, parts);

    return s < a->slices ? a->slice[s].at : a->floats;
}

gram_status gr_adamw_init_part(gr_adamw *a, gr_param *param, size_t n, size_t part, size_t parts, gram_err *err)
{
    size_t at = 0, s = 0;
    void *m, *v;

    *a = (gr_adamw){ .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .param = param, .n_params = n,
                     .on = n ? param->on : NULL };
    for (size_t i = 0; i < n; i++) {
        a->floats += gr_param_count(&param[i]);
        a->slices += (gr_param_count(&param[i]) + SLICE - 1) / SLICE;
    }
    a->slice = gr_calloc(a->slices, sizeof *a->slice);
    a->squares = gr_calloc(a->slices, sizeof *a->squares);
    if (!a->slice || !a->squares)
        goto nomem;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0, count = gr_param_count(&param[i]); k < count; k += SLICE) {
            a->slice[s] = (gr_slice){ i, k, gr_min(SLICE, count - k), at };
            at += a->slice[s++].n;
        }
    a->own_slice = first_slice(a, part, parts);
    a->own_slices = first_slice(a, part + 1, parts) - a->own_slice;
    a->own = gr_adamw_cut(a, part, parts);
    a->own_floats = gr_adamw_cut(a, part + 1, parts) - a->own;
    if (gr_device_alloc_zeros(a->on, &m, a->own_floats, sizeof *a->m, NULL))
        goto nomem;
    a->m = m;
    if (gr_device_alloc_zeros(a->on, &v, a->own_floats, sizeof *a->v, NULL))
        goto nomem;
    a->v = v;
    return GRAM_OK;
nomem:
    gr_adamw_clear(a);
    return gr_nomem(err, "optimizer");
}

gram_status gr_adamw_init(gr_adamw *a, gr_param *param, size_t n, gram_err *err)
{
    return gr_adamw_init_part(a, param, n, 0, 1, err);
}

void gr_adamw_clear(gr_adamw *a)
{
    gr_device_free(a->on, a->m);
    gr_device_free(a->on, a->v);
    free(a->slice);
    free(a->squares);
    *a = (gr_adamw){ 0 };
}

static void square(void *arg, gr_lane *lane, size_t first, size_t n)
{
    gr_adamw *a = arg;

    for (size_t i = a->own_slice + first; i < a->own_slice + first + n; i++) {
        const gr_slice *s = &a->slice[i];
        lane->op->squares(lane, gr_f32(a->param[s->param].g) + s->first, s->n, &a->squares[i]);
    }
}

void gr_grad_squares(gr_adamw *a, gr_device *d)
{
    for (size_t i = 0; i < a->slices; i++)
        a->squares[i] = 0;
    gr_device_run(d, a->own_slices, GR_CUT_ONE, square, a);
    gr_device_sync(d);                      /* the host adds them up */
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

static void update_slice(const struct update *u, gr_lane *lane, const gr_slice *s)
{
    const gr_param *p = &u->a->param[s->param];
    size_t at = s->at - u->a->own;
    float *m = u->a->m + at, *v = u->a->v + at, *g = gr_f32(p->g) + s->first;
    uint64_t state = u->key + s->at / SLICE;            /* a key for each slice, so that places stay below 2^32 */
    gr_adamw_rule rule;

    if (u->a->t <= p->rests)
        return;
    rule = rule_of(u, p);
    if (p->w.type == GR_BF16)
        lane->op->adamw_bf16(lane, (uint16_t *)p->w.p + s->first, m, v, g, s->n, &rule, (uint32_t)gr_random(&state),
                             (uint32_t)s->at);
    else
        lane->op->adamw_f32(lane, gr_f32(p->w) + s->first, m, v, g, s->n, &rule);
}

static void update(void *arg, gr_lane *lane, size_t first, size_t n)
{
    const struct update *u = arg;

    for (size_t i = first; i < first + n; i++)
        update_slice(u, lane, &u->a->slice[u->a->own_slice + i]);
}

void gr_adamw_step(gr_adamw *a, double lr, double scale, gr_device *d)
{
    struct update u = { a, { .b1 = (float)(1 - a->beta1), .b2 = (float)a->beta2, .c2 = (float)(1 - a->beta2),
                             .eps = (float)a->eps }, lr, scale, 0 };
    uint64_t state = a->seed + ++a->t * 0x9e3779b97f4a7c15;

    u.key = gr_random(&state);
    gr_device_run(d, a->own_slices, GR_CUT_ONE, update, &u);
}
