/* check.c - see check.h. */
#include <math.h>
#include <float.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/random.h"
#include "train/check.h"
#include "train/grad.h"

enum { DIRECTIONS = 2, NOISE = 6 };

struct check {
    const gr_training *r;
    gr_trainee *t;
    gr_grad grad;
    gr_order order;
    const gr_example **batch;
    gr_example *room;           /* [count] */
    size_t count;
    double n;                   /* what the batch counts */
    gr_param *param;
    size_t n_params;
    float *was, *u, *x, *g;     /* of the largest tensor: its values, the direction, moved values, its gradient */
    double noise;
    uint64_t random;
};

/* The loss of the batch; with its gradient where it is wanted. */
static gram_status loss_of(struct check *c, bool backward, double *loss, gram_err *err)
{
    bool mean = c->r->loss.kind == GRAM_LOSS_BT_POSREG && !c->grad.write;
    gram_status rc = GRAM_OK;

    for (int pass = mean ? 0 : 1; pass < 2 && !rc; pass++) {
        gr_sum sum = { 0 };
        c->grad.on.at = 0;
        for (size_t i = 0, k; i < c->count && !rc; i += k) {
            k = gr_grad_fits(c->batch + i, c->count - i, c->r->batch_tokens);
            rc = gr_grad_add(&c->grad, c->batch + i, k, c->n, backward && pass, &sum, err);
        }
        gr_grad_whole(&c->grad, &sum);
        c->grad.chosen = sum.chosen;
        *loss = sum.loss;
    }
    return rc;
}

/* B of a new adapter is 0, and so is then every gradient of A: no mistake in them could be seen. It gets values of
 * about the size that makes an adapter's output a tenth of what it could be with A's. */
static void wake_adapters(struct check *c)
{
    for (size_t i = 0; i < c->n_params; i++) {
        const gr_param *p = &c->param[i];
        size_t n = gr_param_count(p), zeros = 0;
        gr_param_get(p, 0, n, c->x);
        for (size_t k = 0; k < n; k++)
            zeros += c->x[k] == 0;
        for (size_t k = 0; k < n && zeros == n && strstr(p->name, "lora_B"); k++)
            c->x[k] = (float)(0.1 / sqrt((double)p->rows) * gr_random_normal(&c->random));
        gr_param_put(p, 0, n, c->x);
    }
}

static gram_status check_open(struct check *c, gram_err *err)
{
    const gr_training *r = c->r;
    size_t most = 0, index;
    gram_status rc = r->opt->freeze ? gr_trainee_open_head(&c->t, r->model, r->device, err)
                                    : gr_trainee_open_lora(&c->t, r->model, r->lora, r->device, err);

    if (rc)
        return rc;
    c->param = gr_trainee_params(c->t, &c->n_params);
    c->grad = (gr_grad){ .t = c->t, .cfg = gr_model_config(r->model), .device = r->device,
                         .label = { r->label[0], r->label[1] },
                         .write = r->stage == GRAM_STAGE_PRETRAIN || gram_loss_writes(r->loss.kind),
                         .loss = r->loss };
    for (size_t i = 0; i < c->n_params; i++)
        most = gr_max(most, gr_param_count(&c->param[i]));
    c->count = gr_min(r->opt->batch_rows, r->train->n);
    c->order = (gr_order){ .n = r->train->n, .seed = r->opt->seed };
    c->random = r->opt->seed;
    c->batch = gr_calloc(c->count, sizeof *c->batch);
    c->room = gr_calloc(c->count, sizeof *c->room);
    c->grad.on.unit = gr_calloc(2 * c->count * c->grad.cfg->head.hidden, sizeof *c->grad.on.unit);
    c->was = gr_alloc_aligned(most, sizeof *c->was);
    c->u = gr_alloc_aligned(most, sizeof *c->u);
    c->x = gr_alloc_aligned(most, sizeof *c->x);
    c->g = gr_alloc_aligned(most, sizeof *c->g);
    if (!c->batch || !c->room || !c->grad.on.unit || !c->was || !c->u || !c->x || !c->g)
        return gr_nomem(err, "gradient check");
    for (size_t i = 0; i < c->count && !rc; i++) {
        rc = gr_order_at(&c->order, i, &index, err);
        if (!rc)
            rc = gr_set_get(r->train, index, &c->room[i], &c->batch[i], err);
        if (!rc)
            c->n += gr_grad_weight(&c->grad, c->batch[i]);
    }
    wake_adapters(c);
    gr_trainee_zero(c->t);
    gr_trainee_drop(c->t, r->opt->seed, 0);
    return rc;
}

static void check_clear(struct check *c)
{
    gr_grad_clear(&c->grad);
    gr_trainee_close(c->t);
    gr_order_clear(&c->order);
    free(c->batch);
    for (size_t i = 0; c->room && i < c->count; i++)
        gr_room_clear(&c->room[i]);
    free(c->room);
    free(c->grad.on.unit);
    free(c->was);
    free(c->u);
    free(c->x);
    free(c->g);
}

/* Every value moves one bit by a draw: towards `up` for odd ones, away from it for even ones. *said: what the gradient
 * says of that is added. */
static void move(struct check *c, const gr_param *p, uint64_t *draws, float up, double *said)
{
    size_t n = gr_param_count(p);

    gr_param_get(p, 0, n, c->x);
    gr_param_get_grad(p, 0, n, c->g);
    for (size_t j = 0; j < n; j++) {
        float w = c->x[j];
        c->x[j] = nextafterf(w, gr_random(draws) & 1 ? up : -up);
        if (said)
            *said += ((double)c->x[j] - w) * c->g[j];
    }
    gr_param_put(p, 0, n, c->x);
}

/* Every weight moves one bit up or down; what the gradient says of it is taken off. */
static gram_status measure_noise(struct check *c, double loss, gram_err *err)
{
    double sum = 0, now;
    gram_status rc = GRAM_OK;

    for (int k = 0; k < NOISE && !rc; k++) {
        double said = 0;
        uint64_t from = c->random;
        for (size_t i = 0; i < c->n_params; i++)
            move(c, &c->param[i], &c->random, INFINITY, &said);
        rc = loss_of(c, false, &now, err);
        for (size_t i = 0; i < c->n_params; i++)            /* the same draws, the other way */
            move(c, &c->param[i], &from, -INFINITY, NULL);
        sum += (now - loss - said) * (now - loss - said);
    }
    c->noise = fmax(sqrt(sum / NOISE), FLT_EPSILON * fabs(loss));
    return rc;
}

static double norm(const float *x, size_t n)
{
    double s = 0;

    for (size_t i = 0; i < n; i++)
        s += (double)x[i] * x[i];
    return sqrt(s);
}

/* d(h u) and p(h u); the tensor is as it was afterwards. */
static gram_status difference(struct check *c, const gr_param *p, double h, double *d, double *said, gram_err *err)
{
    size_t n = gr_param_count(p);
    double loss[2];
    gram_status rc = GRAM_OK;

    *said = 0;
    for (int side = 0; side < 2 && !rc; side++) {
        for (size_t i = 0; i < n; i++) {
            c->x[i] = (float)(c->was[i] + (side ? -h : h) * c->u[i]);
            *said += (side ? -0.5 : 0.5) * c->g[i] * c->x[i];
        }
        gr_param_put(p, 0, n, c->x);
        rc = loss_of(c, false, &loss[side], err);
    }
    gr_param_put(p, 0, n, c->was);
    *d = (loss[0] - loss[1]) / 2;
    return rc;
}

/* One direction: longer where the noise would hide what it shows, shorter where the loss bends too much to be read. */
static gram_status try_direction(struct check *c, const gr_param *p, gram_gradient_check *out, gram_err *err)
{
    const double enough = 0.02, least = 1e-4, most = 0.16;
    size_t n = gr_param_count(p);
    double size = norm(c->was, n), length, d[2], said[2], best = INFINITY, error = 0, allowed = 0, by = 0;
    gram_status rc;

    for (size_t i = 0; i < n; i++)
        c->u[i] = (float)gr_random_normal(&c->random);
    length = norm(c->u, n);
    for (double share = 0.01; share >= least && share <= most * 1.01; share *= by) {
        double e, q, scale, noise, next, h = share * (size > 0 ? size : sqrt((double)n)) / length;
        rc = difference(c, p, h, &d[0], &said[0], err);
        if (!rc)
            rc = difference(c, p, h / 2, &d[1], &said[1], err);
        if (rc)
            return rc;
        e = (8 * (d[1] - said[1]) - (d[0] - said[0])) / 6;
        q = d[0] - said[0] - 2 * e;
        scale = hypot(said[1], out->norm * h / 2 * length / sqrt((double)n));
        if (!(scale > 0)) {                     /* no gradient: the loss must not move */
            out->agrees = out->agrees && fabs(e) <= 6 * c->noise;
            return GRAM_OK;
        }
        noise = 6 * c->noise / scale;
        next = said[0] != 0 ? q * q / fabs(said[0]) / scale : 0;
        if (noise + next < best) {
            best = noise + next;
            error = fabs(e) / scale;
            allowed = best + 1e-3 * fabs(said[1]) / scale;
        }
        if (noise + next <= enough || (by != 0 && (by > 1) != (noise > next)))
            break;
        by = noise > next ? 4 : 0.25;
    }
    out->agrees = out->agrees && error <= allowed;
    if (!(error <= out->error)) {
        out->error = error;
        out->bound = allowed;
    }
    return GRAM_OK;
}

static gram_status check_tensor(struct check *c, const gr_param *p, gram_gradient_check *out, gram_err *err)
{
    size_t n = gr_param_count(p);
    gram_status rc = GRAM_OK;

    gr_param_get(p, 0, n, c->was);
    gr_param_get_grad(p, 0, n, c->g);
    *out = (gram_gradient_check){ .tensor = p->name, .values = n, .norm = norm(c->g, n), .agrees = true };
    for (int k = 0; k < DIRECTIONS && !rc; k++)
        rc = try_direction(c, p, out, err);
    return rc;
}

gram_status gr_check_gradients(const gr_training *r, gram_err *err)
{
    struct check c = { .r = r };
    gram_gradient_check each, worst = { .error = -1 };
    size_t wrong = 0;
    double loss;
    gram_status rc = check_open(&c, err);

    if (!rc)
        rc = loss_of(&c, true, &loss, err);
    if (!rc && !isfinite(loss))
        rc = gr_fail(err, GRAM_EFORMAT, "the loss of the first batch is %g: there is no gradient to check", loss);
    c.grad.on.known = true;
    if (!rc)
        rc = measure_noise(&c, loss, err);
    for (size_t i = 0; i < c.n_params && !rc; i++) {
        rc = check_tensor(&c, &c.param[i], &each, err);
        if (!rc && r->opt->check_gradients(r->opt->arg, &each))
            rc = gr_fail(err, GRAM_ESTOPPED, "gradient check: stopped at tensor %zu of %zu", i + 1, c.n_params);
        if (!rc && !each.agrees && (!wrong++ || each.error > worst.error))
            worst = each;
    }
    if (!rc && wrong)
        rc = gr_fail(err, GRAM_EFORMAT, "the gradients of %zu of %zu tensors are not the loss's slopes; the worst, %s, "
                     "by %.2g of its size where %.2g is allowed", wrong, c.n_params, worst.tensor, worst.error,
                     worst.bound);
    check_clear(&c);
    return rc;
}
