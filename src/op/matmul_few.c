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
    OUTPUTS = 64,               /* of a task: enough to be worth one, and a multiple of dot16.h's panels */
    EXPANDED = 4,               /* rows of a weight that are expanded together */
    IN_TYPE = 8,                /* rows up to which they are multiplied in their type instead */
    BYTE_ROWS = 8               /* rows of an int8 product, so that few shapes occur */
};

struct few {
    const gr_linear_to *to;
    size_t n;
    gr_mat x;
    size_t M;
    uint8_t *q;                 /* int8: x as bytes, rows filled up to M_all, and their scales */
    float *scale;
    size_t M_all;
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

/* Whether each slice's outputs lie by themselves: bytes do, and float32 whose rows as the file has them are gone. */
static bool in_slices(const gr_linear *l)
{
    return l->packed && !l->wide && (l->mode == GR_LINEAR_INT8 || !l->stays);
}

/* Outputs of a task: a slice of bytes is a product of its own, and no task crosses a border of slices. */
static size_t step(const gr_linear *l)
{
    return l->mode == GR_LINEAR_INT8 && !l->wide ? l->slice : OUTPUTS;
}

static size_t tasks(const gr_linear *l)
{
    size_t each = (l->slice + step(l) - 1) / step(l), last = outputs(l, (slices(l) - 1) * l->slice);

    return in_slices(l) ? (slices(l) - 1) * each + (last + step(l) - 1) / step(l)
                                 : (l->O + step(l) - 1) / step(l);
}

/* Rows of a weight that lie one after the other, are multiplied in their type where rows are few, or have to be
 * expanded first: the bits are the same. */
static void by_rows(gr_lane *lane, const struct few *f, const gr_linear *l, gr_mat y, size_t o, size_t n)
{
    size_t mark = gr_lane_mark(lane), bytes = 0;
    float *room;

    if (f->digits && gr_few_panels(l)) {
        l->op->digits_dot(gr_mat_at(y, 0, o), f->digits, f->M, (const char *)l->panels +
                          o / GR_DIGITS_PANEL * gr_digits_panel_bytes(l->w.type, l->K), l->w.type, n, l->K);
        return;
    }
    if (l->w.type == GR_F32 && float_in_place(&l->w)) {
        l->op->few_rows(gr_mat_at(y, 0, o), f->x, f->M, gr_mat_f32((const float *)l->w.data + o * l->K, l->K), n, l->K);
        return;
    }
    gr_dtype_row_bytes(l->w.type, l->K, &bytes);        /* proved at open */
    if (f->M <= IN_TYPE && l->op->few_blocks(gr_mat_at(y, 0, o), f->x, f->M, (const char *)l->w.data + o * bytes,
                                             l->w.type, n, l->K))
        return;
    room = gr_lane_bytes(lane, EXPANDED * l->K * sizeof *room);
    for (size_t i = 0, some; i < n && room; i += some) {
        some = gr_min(EXPANDED, n - i);
        for (size_t k = 0; k < some; k++)
            expand_row(room + k * l->K, &l->w, o + i + k);
        l->op->few_rows(gr_mat_at(y, 0, o + i), f->x, f->M, gr_mat_f32(room, l->K), some, l->K);
    }
    gr_lane_give_back(lane, mark);
}

static void in_panels(const struct few *f, const gr_linear *l, gr_mat y, size_t o, size_t n, float *room)
{
    size_t pairs = gr_dot16_pairs(l->K);

    l->op->dot16(room, OUTPUTS, (const int16_t *)(const void *)f->q, f->scale, f->M_all,
                 (const int8_t *)l->own + gr_dot16_at(o, 0, pairs), l->wscale + o, n, pairs);
    for (size_t m = 0; m < f->M; m++)
        memcpy(gr_mat_at(y, m, o).p, room + m * OUTPUTS, n * sizeof *room);
}

static void in_bytes(gr_lane *lane, const struct few *f, const gr_linear *l, gr_mat y, size_t slice)
{
    int32_t *acc = gr_lane_bytes(lane, 2 * BYTE_ROWS * l->slice * sizeof *acc);
    void *pad = gr_lane_bytes(lane, l->pad_bytes);
    gr_entered was;

    if (lane->rc)
        return;
    was = gr_dnnl_enter();
    gr_lane_fail(lane, gr_int8_slice(l, y, f->q, f->scale, f->M, BYTE_ROWS, slice, acc,
                                     (gr_arena){ pad, l->pad_bytes, 0 }, &lane->err), &lane->err);
    gr_dnnl_leave(&was);
}

static void one_task(gr_lane *lane, const struct few *f, const gr_linear_to *to, size_t task)
{
    const gr_linear *l = to->l;
    size_t mark = gr_lane_mark(lane), each = (l->slice + OUTPUTS - 1) / OUTPUTS, o = task * OUTPUTS, n;
    float *room;

    if (l->mode == GR_LINEAR_INT8 && !l->wide) {
        in_bytes(lane, f, l, to->y, task);
        gr_lane_give_back(lane, mark);
        return;
    }
    if (in_slices(l)) {                    /* float32 slices [K, ld] */
        size_t in = task % each * OUTPUTS;
        o = task / each * l->slice;
        n = gr_min(OUTPUTS, outputs(l, o) - in);
        l->op->few_cols(gr_mat_at(to->y, 0, o + in), f->x, f->M,
                        gr_mat_f32((const float *)l->own + task / each * l->K * l->ld + in, l->ld), n, l->K, false);
        o += in;
    } else {
        n = gr_min(OUTPUTS, l->O - o);
        room = l->wide ? gr_lane_bytes(lane, f->M_all * OUTPUTS * sizeof *room) : NULL;
        if (room)
            in_panels(f, l, to->y, o, n, room);
        else
            by_rows(lane, f, l, to->y, o, n);
    }
    if (l->bias)
        add_bias(gr_f32(gr_mat_at(to->y, 0, o)), to->y.ld, l->bias + o, f->M, n);
    gr_lane_give_back(lane, mark);
}

static void run_tasks(void *arg, gr_lane *lane, size_t first, size_t n)
{
    const struct few *f = arg;

    for (size_t task = first; task < first + n && !lane->rc; task++) {
        size_t i = 0, left = task;
        while (left >= tasks(f->to[i].l))
            left -= tasks(f->to[i++].l);
        one_task(lane, f, &f->to[i], left);
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

/* x as bytes, once for all weights; rows of zeros fill it up. */
static void quantise(gr_lane *lane, struct few *f, const gr_linear *l)
{
    size_t bytes = gr_int8_row_bytes(l);
    float *row;

    f->M_all = gr_round_up(f->M, l->wide ? GR_DOT16_ROWS : BYTE_ROWS);
    f->q = gr_lane_bytes(lane, f->M_all * bytes);
    f->scale = gr_lane_bytes(lane, f->M_all * sizeof *f->scale);
    row = gr_lane_bytes(lane, l->K * sizeof *row);
    if (lane->rc)
        return;
    gr_int8_quantise(l, f->q, f->scale, f->x, f->M, row);
    memset(f->q + f->M * bytes, 0, (f->M_all - f->M) * bytes);
    memset(f->scale + f->M, 0, (f->M_all - f->M) * sizeof *f->scale);
}

void gr_few_fwd(gr_lane *lane, const gr_linear_to *to, size_t n, gr_mat x, size_t M)
{
    size_t mark = gr_lane_mark(lane), all = 0;
    struct few f = { .to = to, .n = n, .x = x, .M = M };

    if (n > 0 && to->l->mode == GR_LINEAR_INT8)
        quantise(lane, &f, to->l);
    else if (n > 0)
        make_digits(lane, &f, to->l->K);
    for (size_t i = 0; i < n; i++)
        all += tasks(to[i].l);
    if (!lane->rc)
        gr_lane_share(lane, all, (gr_cut){ 1, gr_max(1, all / (4 * gr_device_lanes(lane->device))), 1, false },
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
