/* matmul_few.c - products of a handful of rows, each weight read once: see few.h and digits.h. The threads share out
 * the outputs.
 *
 * float32 sums run over K in the order of these, so a row has the same bits in any company, but others than from
 * matmul.c. What an int8 weight adds up is whole numbers: there they are the same. */
#include <assert.h>
#include <string.h>
#include "base/err.h"
#include "op/matmul_int.h"

enum {
    OUTPUTS = 32,               /* of a task: enough to be worth one, and whole panels of dot16.h and digits.h */
    PANEL = GR_PACKED_PANEL     /* the same, of bytes */
};

struct few {
    const gr_linear_to *to;
    size_t n;
    gr_mat x;
    size_t M;
    uint8_t *q;                 /* int8: x as bytes, and their scales */
    float *scale;
    gr_digits *digits;          /* x for weights that have panels, [M,K / 32] */
};

bool gr_few_panels(const gr_linear *l)
{
    bool reads_w = l->mode == GR_LINEAR_KEEP || (l->mode == GR_LINEAR_F32 && l->stays);

    return reads_w && gr_digits_has(l->w.type, l->K);
}

size_t gr_linear_few_bytes(const gr_linear *l)
{
    return !l->op->linear && gr_few_panels(l) ? gr_digits_bytes(l->w.type, l->O, l->K) : 0;
}

/* The lock of the list of products will do: both grow what a const weight has. */
gram_status gr_linear_few(const gr_linear *l, gram_err *err)
{
    gr_linear *grown = (gr_linear *)(uintptr_t)l;
    gram_status rc = GRAM_OK;

    if (l->op->linear || !gr_few_panels(l))
        return GRAM_OK;
    pthread_mutex_lock(&grown->products.lock);
    if (!l->panels) {
        void *panels = gr_alloc_aligned(gr_linear_few_bytes(l), 1);
        if (panels)
            gr_digits_pack(panels, l->w.data, l->w.type, l->O, l->K);
        else
            rc = gr_nomem(err, "weights");
        grown->panels = panels;
    }
    pthread_mutex_unlock(&grown->products.lock);
    return rc;
}

/* Whether each slice's outputs lie by themselves: float32 whose rows as the file has them are gone. */
static bool in_slices(const gr_linear *l)
{
    return l->packed && l->mode != GR_LINEAR_INT8 && !l->stays;
}

static bool in_bytes(const gr_linear *l)
{
    return l->mode == GR_LINEAR_INT8 && !l->wide;
}

/* Outputs of a task, which crosses no border of slices or panels. */
static size_t step(const gr_linear *l)
{
    return in_bytes(l) ? PANEL : OUTPUTS;
}

static size_t tasks(const gr_linear *l)
{
    size_t each = (l->slice + step(l) - 1) / step(l), last = outputs(l, (slices(l) - 1) * l->slice);

    return in_slices(l) ? (slices(l) - 1) * each + (last + step(l) - 1) / step(l) : (l->O + step(l) - 1) / step(l);
}

/* Rows of a weight that lie one after the other: in panels of their type, as they are, or, of a type that is not plain
 * and has no panels, one by one in float32. */
static void by_rows(gr_lane *lane, const struct few *f, const gr_linear *l, gr_mat y, size_t o, size_t n)
{
    size_t row = 0;
    char *w = (char *)(uintptr_t)l->w.data;
    float *one;

    gr_dtype_row_bytes(l->w.type, l->K, &row);          /* proved at open */
    w += o * row;
    if (gr_few_panels(l)) {
        l->op->digits_dot(y, f->digits, f->M, (const char *)l->panels +
                          o / GR_DIGITS_PANEL * gr_digits_panel_bytes(l->w.type, l->K), l->w.type, n, l->K);
        return;
    }
    if (gr_dtype_is_plain(l->w.type)) {
        l->op->few_rows(y, f->x, f->M, (gr_mat){ w, l->K, l->w.type }, n, l->K);
        return;
    }
    one = gr_lane_bytes(lane, l->K * sizeof *one);
    for (size_t i = 0; i < n && one; i++, w += row) {
        gr_dequant(one, w, l->w.type, l->K);
        l->op->few_rows(gr_mat_at(y, 0, i), f->x, f->M, gr_mat_f32(one, l->K), 1, l->K);
    }
}

/* Multiplies by panels, from the beginning of one on. */
static void by_bytes(gr_lane *lane, const struct few *f, const gr_linear *l, gr_mat y, size_t o, size_t n)
{
    int32_t *acc = gr_lane_bytes(lane, 2 * f->M * PANEL * sizeof *acc);

    for (size_t end = o + n, some; acc && o < end; o += some, y = gr_mat_at(y, 0, some)) {
        const int8_t *w = l->bytes + o / PANEL * gr_few_panel_bytes(PANEL, l->K);
        some = gr_min(PANEL, end - o);
        l->op->few_bytes(acc, PANEL, f->q, 2 * f->M, w, PANEL, some, l->K);
        l->op->dequant_acc(gr_f32(y), y.ld, acc, PANEL, f->scale, l->wscale + o, l->colsum + o, f->M, some);
    }
}

/* n outputs from o on, of whatever the weight has there. */
static void some_outputs(gr_lane *lane, const struct few *f, const gr_linear_to *at, size_t o, size_t n)
{
    const gr_linear *l = at->l;
    gr_mat to = gr_mat_at(at->y, 0, o);
    size_t mark = gr_lane_mark(lane), pairs = gr_dot16_pairs(l->K), slice = o / l->slice, in = o % l->slice;

    if (l->wide)
        l->op->dot16(to.p, to.ld, (const int16_t *)(const void *)f->q, f->scale, f->M,
                     l->bytes + gr_dot16_at(o, 0, pairs), l->wscale + o, n, pairs);
    else if (in_bytes(l))
        by_bytes(lane, f, l, to, o, n);
    else if (in_slices(l))                  /* float32 slices [K, ld] */
        l->op->few_cols(to, f->x, f->M, gr_mat_f32((const float *)l->own + slice * l->K * l->ld + in, l->ld), n, l->K,
                        false);
    else
        by_rows(lane, f, l, to, o, n);
    if (l->bias)
        add_bias(gr_f32(to), to.ld, l->bias + o, f->M, n);
    gr_lane_give_back(lane, mark);
}

/* n tasks of a weight from `task` on, all at once where their outputs lie together: a task by itself is so small that
 * finding its place would take a tenth of its time. */
static void some_tasks(gr_lane *lane, const struct few *f, const gr_linear_to *to, size_t task, size_t n)
{
    const gr_linear *l = to->l;
    size_t within = in_slices(l) ? l->slice : l->O, each = (within + step(l) - 1) / step(l);

    while (n > 0) {
        size_t first = task / each * within, o = first + task % each * step(l), some = gr_min(n, each - task % each);
        size_t end = gr_min(gr_min(first + within, l->O), o + some * step(l));
        some_outputs(lane, f, to, o, end - o);
        task += some;
        n -= some;
    }
}

static void run_tasks(void *arg, gr_lane *lane, size_t first, size_t n)
{
    const struct few *f = arg;

    for (size_t i = 0, at = first, all; n > 0 && !lane->rc; i++, at = at > all ? at - all : 0) {
        size_t some;
        all = tasks(f->to[i].l);
        some = at < all ? gr_min(n, all - at) : 0;
        some_tasks(lane, f, &f->to[i], at, some);
        n -= some;
    }
}

/* x as digits, once for all weights that have panels. */
static void make_digits(gr_lane *lane, struct few *f, size_t K)
{
    bool any = false;

    for (size_t i = 0; i < f->n; i++) {
        assert(!gr_few_panels(f->to[i].l) || f->to[i].l->panels);       /* gr_linear_few() comes first */
        any = any || gr_few_panels(f->to[i].l);
    }
    if (any)
        f->digits = gr_lane_bytes(lane, f->M * (K / GR_DIGITS_BLOCK) * sizeof *f->digits);
    for (size_t m = 0; f->digits && m < f->M; m++)
        f->to->l->op->digits_row(f->digits + m * (K / GR_DIGITS_BLOCK), gr_f32(f->x) + m * f->x.ld, K);
}

/* x as bytes, once for all weights. */
static void quantise(gr_lane *lane, struct few *f, const gr_linear *l)
{
    size_t bytes = f->M * gr_int8_row_bytes(l);
    float *row;

    f->q = gr_lane_bytes(lane, bytes + 3);              /* which few_bytes() may read */
    f->scale = gr_lane_bytes(lane, f->M * sizeof *f->scale);
    row = gr_lane_bytes(lane, l->K * sizeof *row);
    if (lane->rc)
        return;
    gr_int8_quantise(l, f->q, f->scale, f->x, f->M, row);
    memset(f->q + bytes, 0, 3);
}

bool gr_linear_lacks(const gr_linear *l, gr_rows_way way)
{
    if (l->op->linear)
        return false;
    return way == GR_ROWS_FEW ? gr_few_panels(l) && !l->panels : l->lacks_tiles;
}

void gr_few_fwd(gr_lane *lane, const gr_linear_to *to, size_t n, gr_mat x, size_t M)
{
    size_t mark = gr_lane_mark(lane), all = 0;
    struct few f = { .to = to, .n = n, .x = x, .M = M };

    for (size_t i = 0; i < n && !lane->rc; i++)
        if (in_slices(to[i].l))
            gr_lane_fail(lane, gr_linear_tiles(to[i].l, &lane->err), &lane->err);
    if (n > 0 && to->l->mode == GR_LINEAR_INT8)
        quantise(lane, &f, to->l);
    else if (n > 0)
        make_digits(lane, &f, to->l->K);
    for (size_t i = 0; i < n; i++)
        all += tasks(to[i].l);
    if (!lane->rc)
        gr_lane_share(lane, all, (gr_cut){ 1, gr_max(1, all / (4 * gr_device_lanes(lane->device))), 0, false },
                      run_tasks, &f);
    gr_lane_give_back(lane, mark);
}

struct few_dx { const gr_linear *l; gr_mat dx, dy; size_t M; bool add; };

static void dx_columns(void *arg, gr_lane *lane, size_t k, size_t n)
{
    const struct few_dx *f = arg;
    const gr_linear *l = f->l;

    (void)lane;
    l->op->few_cols(gr_mat_at(f->dx, 0, k), f->dy, f->M, gr_mat_f32((const float *)l->w.data + k, l->K), n, l->O,
                    f->add);
}

/* Of adapters alone, which are float32 where they lie. */
void gr_few_dx(gr_lane *lane, const gr_linear *l, gr_mat dx, gr_mat dy, size_t M, bool add)
{
    struct few_dx f = { l, dx, dy, M, add };

    assert(l->w.type == GR_F32 && !l->packed);
    gr_lane_share(lane, l->K, (gr_cut){ 256, 256, 1, false }, dx_columns, &f);
}
