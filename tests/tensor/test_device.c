/* test_device.c - runs that are cut into pieces, scratch that grows, failures that are kept until somebody waits, and
 * parameters read and written through their device. */
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "check.h"
#include "tensor/param.h"

static gr_device *open_device(size_t threads)
{
    gr_device *d;

    CHECK_OK(gr_device_open_cpu(&d, threads, NULL, &check_err));
    return d;
}

struct cover { unsigned char seen[5000]; size_t piece[5000], first[64], most, unit, pieces; bool ragged; };

static void cover(void *arg, gr_lane *lane, size_t first, size_t n)
{
    struct cover *c = arg;

    for (size_t i = first; i < first + n; i++) {
        c->seen[i]++;
        c->piece[i] = lane->piece;
    }
    if (first % c->unit || n > c->most || lane->piece >= c->pieces || lane->unit != c->unit)
        __atomic_store_n(&c->ragged, true, __ATOMIC_RELAXED);
}

/* Each row once, pieces in the order of their rows, of whole units, no longer than asked, equal but for a unit. */
static void a_run_covers_its_rows_once(void **state)
{
    static const gr_cut cut[] = { { 96, 384, 0, false }, { 16, 128, 4, false }, { 1, 1, 1, false },
                                  { 64, 64, 1, false }, { 16, 128, 2, false } };

    (void)state;
    for (size_t threads = 1; threads <= 3; threads++) {
        gr_device *d = open_device(threads);
        for (size_t k = 0; k < GR_COUNT(cut); k++)
            for (size_t n = 0; n < 5000; n = n * 3 / 2 + 1) {
                struct cover c = { .most = cut[k].most, .unit = cut[k].unit, .pieces = gr_device_pieces(d, n, cut[k]) };
                gr_device_run(d, n, cut[k], cover, &c);
                CHECK_OK(gr_device_wait(d, &check_err));
                assert_false(c.ragged);
                for (size_t i = 0; i < n; i++) {
                    assert_int_equal(c.seen[i], 1);
                    assert_true(i == 0 || c.piece[i] == c.piece[i - 1] || c.piece[i] == c.piece[i - 1] + 1);
                }
                assert_true(n == 0 || c.piece[n - 1] + 1 == c.pieces);
            }
        gr_device_close(d);
    }
}

struct turns { gr_device *d; size_t asked, taken; bool within; unsigned char seen[77]; };

static bool every_other(void *arg)
{
    struct turns *t = arg;

    assert_false(t->within);                            /* a turn is not interrupted */
    return ++t->asked % 2 == 0;
}

static bool always(void *arg)
{
    assert_false(((struct turns *)arg)->within);
    return true;
}

static void see(void *arg, gr_lane *lane, size_t first, size_t n)
{
    struct turns *t = arg;

    memset(gr_lane_bytes(lane, 5000), 9, 5000);         /* scratch of its own: no piece of the outer run has any */
    for (size_t i = first; i < first + n; i++)
        t->seen[i]++;
}

static void run_within(void *arg)
{
    struct turns *t = arg;

    t->within = true;
    memset(t->seen, 0, sizeof t->seen);
    gr_device_run(t->d, 77, (gr_cut){ 5, 5, 1, false }, see, t);
    CHECK_OK(gr_device_wait(t->d, &check_err));
    for (size_t i = 0; i < 77; i++)
        assert_int_equal(t->seen[i], 1);
    t->within = false;
    t->taken++;
}

/* Others' runs come between the pieces of one that goes on behind them. */
static void others_have_their_turns(void **state)
{
    static const gr_cut cut[] = { { 16, 128, 4, false }, { .unit = 1, .most = 100, .share = 1, .whole = true },
                                  { 96, 384, 0, false } };

    (void)state;
    for (size_t threads = 1; threads <= 3; threads++)
        for (size_t k = 0; k < GR_COUNT(cut); k++) {
            gr_device *d = open_device(threads);
            struct turns t = { .d = d };
            size_t most = cut[k].share ? cut[k].most : cut[k].unit;     /* as short as pieces can be */
            struct cover c = { .most = most, .unit = cut[k].unit,
                               .pieces = gr_device_pieces(d, 5000, (gr_cut){ cut[k].unit, most, cut[k].share,
                                                                             cut[k].whole }) };
            gr_device_set_turns(d, &(gr_turns){ every_other, always, run_within, &t });
            gr_device_run(d, 5000, cut[k], cover, &c);
            gr_device_set_turns(d, NULL);
            CHECK_OK(gr_device_wait(d, &check_err));
            assert_true(t.taken > 0 || threads > 1);
            assert_false(c.ragged);
            for (size_t i = 0; i < 5000; i++)
                assert_int_equal(c.seen[i], 1);
            gr_device_close(d);
        }
}

struct sharing { gr_device *d; bool inside; size_t asked, taken, rows; };

static bool every_third(void *arg)
{
    return ++((struct sharing *)arg)->asked % 3 == 0;
}

static void not_inside(void *arg)
{
    struct sharing *s = arg;

    assert_false(s->inside);
    s->taken++;
}

static void count_rows(void *arg, gr_lane *lane, size_t first, size_t n)
{
    struct sharing *s = arg;

    (void)first;
    if (lane->index == 0)
        s->rows += n;
}

static void share_rows(void *arg, gr_lane *lane, size_t first, size_t n)
{
    struct sharing *s = arg;

    (void)first;
    s->inside = true;
    gr_lane_share(lane, 50 * n, GR_CUT_ONE, count_rows, s);
    s->inside = false;
}

/* What a lane has shared out computes in its scratch, which a turn would take: it comes between whole pieces alone. */
static void no_turn_comes_inside_of_a_piece(void **state)
{
    (void)state;
    for (size_t threads = 1; threads <= 3; threads++) {
        struct sharing s = { .d = open_device(threads) };
        gr_device_set_turns(s.d, &(gr_turns){ every_third, NULL, not_inside, &s });
        gr_device_run(s.d, 7, (gr_cut){ 1, 1, 1, true }, share_rows, &s);
        gr_device_set_turns(s.d, NULL);
        CHECK_OK(gr_device_wait(s.d, &check_err));
        assert_true(s.taken > 0 && s.rows > 0);
        gr_device_close(s.d);
    }
}

struct beside { gr_device *d; size_t turns; unsigned char seen[500]; bool failed; atomic_bool within; };

static bool often(void *arg)
{
    static unsigned asked;

    assert_false(gr_device_is_beside(((struct beside *)arg)->d));
    return ++asked % 3 == 0;
}

static bool yes(void *arg)
{
    (void)arg;
    return true;
}

static void fail_one(void *arg, gr_lane *lane, size_t first, size_t n)
{
    gram_err err;

    (void)arg;
    (void)n;
    if (first == 2)
        gr_lane_fail(lane, gr_fail(&err, GRAM_EIO, "of the turn"), &err);
}

static void see_beside(void *arg, gr_lane *lane, size_t first, size_t n)
{
    struct beside *b = arg;

    memset(gr_lane_bytes(lane, 3000), 5, 3000);
    if (lane->index == 0 || lane->index >= gr_device_lanes(b->d))
        b->failed = true;
    for (size_t i = first; i < first + n; i++)
        b->seen[i]++;
}

static void share_beside(void *arg, gr_lane *lane, size_t first, size_t n)
{
    unsigned char *mine = gr_lane_bytes(lane, 1000);
    bool kept = true;

    (void)first;
    memset(mine, 7, 1000);
    gr_lane_share(lane, n, (gr_cut){ 5, 5, 1, false }, see_beside, arg);
    for (size_t i = 0; i < 1000; i++)
        kept = kept && mine[i] == 7;
    ((struct beside *)arg)->failed |= !kept;
}

/* Runs of its own: in pieces, shared out, and one that fails. */
static void turn_beside(void *arg)
{
    struct beside *b = arg;
    gram_err err;

    b->within = true;
    for (volatile int i = 0; i < 100000; i++)       /* longer than a run of the others */
        ;
    memset(b->seen, 0, sizeof b->seen);
    gr_device_run(b->d, 500, (gr_cut){ 7, 14, 1, false }, see_beside, b);
    gr_device_run(b->d, 500, (gr_cut){ .unit = 1, .most = 500, .share = 1, .whole = true }, share_beside, b);
    b->failed |= !gr_device_is_beside(b->d) || gr_device_wait(b->d, &err) != GRAM_OK;
    gr_device_run(b->d, 9, GR_CUT_ONE, fail_one, NULL);
    b->failed |= gr_device_wait(b->d, &err) != GRAM_EIO || gr_device_wait(b->d, &err) != GRAM_OK;
    for (size_t i = 0; i < 500; i++)
        b->failed |= b->seen[i] != 2;
    b->turns++;
    b->within = false;
}

/* A lane has its turn while the others go on, and neither sees the other's rows, scratch or failures. */
static void a_turn_is_taken_beside_a_run(void **state)
{
    (void)state;
    for (size_t threads = 2; threads <= 4; threads++) {
        struct beside b = { .d = open_device(threads) };
        gr_device_set_turns(b.d, &(gr_turns){ often, NULL, turn_beside, &b, yes });
        for (size_t i = 0; i < 40; i++) {
            const gr_cut cut = { 16, 32, 0, false };
            struct cover c = { .most = 32, .unit = 16, .pieces = gr_device_pieces(b.d, 5000, cut) };
            gr_device_run(b.d, 5000, cut, cover, &c);
            for (size_t k = 0; k < 5000; k++)
                assert_int_equal(c.seen[k], 1);
            assert_false(c.ragged);
            if (i % 2 == 0) {
                CHECK_OK(gr_device_wait(b.d, &check_err));
                assert_false(b.within);
            }
        }
        gr_device_set_turns(b.d, NULL);
        CHECK_OK(gr_device_wait(b.d, &check_err));
        assert_true(b.turns > 0);
        assert_false(b.failed);
        gr_device_close(b.d);
    }
}

static void count_whole(void *arg, gr_lane *lane, size_t first, size_t n)
{
    struct cover *c = arg;
    unsigned char *mine = gr_lane_bytes(lane, 1000);

    memset(mine, 7, 1000);
    c->unit = 5;
    c->most = 5;
    c->pieces = (n + 4) / 5;
    gr_lane_share(lane, n, (gr_cut){ 5, 5, 1, false }, cover, c);
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(mine[i], 7);           /* what is shared out leaves the lane's scratch alone */
    assert_true(first == 0 && lane->whole && lane->unit == 1);
}

static void a_whole_piece_shares_itself_out(void **state)
{
    (void)state;
    for (size_t threads = 1; threads <= 3; threads++) {
        gr_device *d = open_device(threads);
        struct cover c = { 0 };
        gr_device_run(d, 77, (gr_cut){ .unit = 1, .most = SIZE_MAX, .share = 1, .whole = true }, count_whole, &c);
        CHECK_OK(gr_device_wait(d, &check_err));
        for (size_t i = 0; i < 77; i++)
            assert_int_equal(c.seen[i], 1);
        assert_false(c.ragged);
        gr_device_close(d);
    }
}

/* Blocks that do not overlap, be the arena as small as it is at first. */
static void use_scratch(void *arg, gr_lane *lane, size_t first, size_t n)
{
    unsigned char *p[20];

    (void)arg, (void)n;
    for (size_t i = 0; i < GR_COUNT(p); i++) {
        p[i] = gr_lane_bytes(lane, 100 * (i + first));
        assert_true(p[i] && (uintptr_t)p[i] % GR_ALIGN == 0);
        memset(p[i], (int)i, 100 * (i + first));
    }
    for (size_t i = 0; i < GR_COUNT(p); i++)
        for (size_t k = 0; k < 100 * (i + first); k++)
            assert_int_equal(p[i][k], i);
}

static void scratch_grows(void **state)
{
    gr_device *d = open_device(2);
    gr_lane *lane;
    void *a, *b;

    (void)state;
    gr_device_run(d, 50, GR_CUT_ONE, use_scratch, NULL);
    CHECK_OK(gr_device_wait(d, &check_err));
    CHECK_OK(gr_device_reserve(d, 1 << 20, &check_err));
    lane = gr_device_lane(d);
    a = gr_lane_bytes(lane, 1000);
    gr_lane_give_back(lane, 0);
    b = gr_lane_bytes(lane, 1000);
    assert_ptr_equal(a, b);
    gr_device_close(d);
}

static void fail_third(void *arg, gr_lane *lane, size_t first, size_t n)
{
    size_t *ran = arg;
    gram_err err;

    (void)n;
    if (first == 3)
        gr_lane_fail(lane, gr_fail(&err, GRAM_EIO, "piece %zu", first), &err);
    __atomic_add_fetch(ran, 1, __ATOMIC_RELAXED);
}

static void a_failure_is_kept_until_somebody_waits(void **state)
{
    gr_device *d = open_device(3);
    size_t ran = 0, later = 0;

    (void)state;
    gr_device_run(d, 9, GR_CUT_ONE, fail_third, &ran);
    gr_device_run(d, 2, GR_CUT_ONE, fail_third, &later);
    assert_int_equal(later, 0);
    assert_int_equal(gr_device_wait(d, &check_err), GRAM_EIO);
    assert_string_equal(check_err.text, "piece 3");
    CHECK_OK(gr_device_wait(d, &check_err));
    gr_device_run(d, 2, GR_CUT_ONE, fail_third, &later);
    assert_int_equal(later, 2);
    gr_device_close(d);
}

/* Much memory is zeroed by all threads, to its last byte and no further. */
static void memory_is_zeroed(void **state)
{
    gr_device *d = open_device(3);
    size_t bytes = ((size_t)7 << 20) + 5;
    unsigned char *p = gr_alloc_aligned(bytes + 1, 1);

    (void)state;
    assert_non_null(p);
    memset(p, 1, bytes + 1);
    gr_device_zero(d, p, bytes);
    for (size_t i = 0; i < bytes; i++)
        if (p[i])
            fail_msg("byte %zu is not zero", i);
    assert_int_equal(p[bytes], 1);
    free(p);
    gr_device_close(d);
}

static void parameters_are_read_and_written(void **state)
{
    float w[6] = { 1, 2, 3, 4, 5, 6 }, g[6] = { 0 }, x[6], bad[1] = { NAN };
    uint16_t half[6];
    const gr_param p = { .name = "w", .rows = 2, .cols = 3, .decay = true, .w = gr_mat_f32(w, 3),
                         .g = gr_mat_f32(g, 3) };
    const gr_param h = { .name = "h", .rows = 2, .cols = 3, .decay = true, .w = { half, 3, GR_BF16 },
                         .g = gr_mat_f32(g, 3) };

    (void)state;
    gr_param_get(&p, 2, 3, x);
    assert_true(x[0] == 3 && x[2] == 5);
    assert_true(gr_param_put(&p, 4, 2, x) && w[4] == 3 && w[5] == 4);
    assert_true(gr_param_put(&h, 0, 6, w));
    gr_param_get(&h, 1, 5, x);
    assert_true(x[0] == 2 && x[4] == 4 && half[0] == 0x3f80);
    assert_false(gr_param_put(&h, 0, 1, bad));
    gr_param_put_grad(&h, 3, 1, w + 1);
    gr_param_get_grad(&p, 3, 1, x);
    assert_true(g[3] == 2 && x[0] == 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_covers_its_rows_once),
        cmocka_unit_test(others_have_their_turns),
        cmocka_unit_test(no_turn_comes_inside_of_a_piece),
        cmocka_unit_test(a_turn_is_taken_beside_a_run),
        cmocka_unit_test(a_whole_piece_shares_itself_out),
        cmocka_unit_test(scratch_grows),
        cmocka_unit_test(a_failure_is_kept_until_somebody_waits),
        cmocka_unit_test(memory_is_zeroed),
        cmocka_unit_test(parameters_are_read_and_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
