/* test_strip.c - every build against the reference, byte for byte, in both kinds of panels, and the reference against
 * rows that are rotated and quantised one by one. */
#include <math.h>
#include <string.h>
#include "base/cpu.h"
#include "check.h"
#include "op/op.h"

static const size_t width[] = { 1, 33, 6, 12, 8, 40, 48, 96, 576, 640, 768, 1536, 512, 1032, 2048 };

struct source { float *w; size_t K; bool bf16; };

/* Of a bfloat16 nothing is left out: gr_quantize() refuses what is no number. */
static uint16_t upper(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)(bits >> 16);
}

/* Every third row of float32 lies where it is used. */
static const void *row_of(void *arg, size_t o, size_t k, size_t n, float *room)
{
    const struct source *s = arg;
    const float *from = s->w + o * s->K + k;

    assert_true(k % GR_STRIP_COLS == 0 && n <= GR_STRIP_COLS && k + n <= s->K);
    for (size_t i = 0; s->bf16 && i < n; i++)
        memcpy((char *)room + 2 * i, &(uint16_t){ upper(from[i]) }, 2);
    if (s->bf16)
        return room;
    return o % 3 ? memcpy(room, from, n * sizeof *room) : from;
}

/* A strip whose first row is row 2 of w, with what lies between groups left alone. */
static gr_strip strip_of(struct source *w, size_t n, size_t group, size_t bytes)
{
    gr_strip s = { .row = row_of, .arg = w, .bf16 = w->bf16, .o = 2, .n = n, .K = w->K, .B = gr_min(512, w->K & -w->K),
                   .filled = gr_round_up(w->K, group == 4 ? 64 : 2), .group = group, .ld = 5 * GR_STRIP * group };

    s.to = check_fenced(bytes);
    s.scale = check_fenced(GR_STRIP * sizeof *s.scale);
    s.sum = check_fenced(GR_STRIP * sizeof *s.sum);
    memset(s.to, 0x55, bytes);
    return s;
}

static void check_against_rows(const gr_strip *s, const float *w)
{
    float *row = check_fenced(s->K * sizeof *row), scale;
    int8_t *q = check_fenced(s->filled);

    for (size_t i = 0; i < GR_STRIP; i++) {
        int32_t sum = 0;
        memset(q, 0, s->filled);
        scale = 0;
        if (i < s->n) {
            gr_rotate_row_ref(row, w + (2 + i) * s->K, s->K, s->B);
            sum = gr_quant_weight_ref(q, &scale, row, s->K);
        }
        assert_true((isnan(scale) ? isnan(s->scale[i]) : s->scale[i] == scale) && s->sum[i] == sum);
        for (size_t k = 0; k < s->filled; k++)
            assert_int_equal(s->to[k / s->group * s->ld + i * s->group + k % s->group], q[k]);
    }
}

static void bytes_scales_and_sums_are_those_of_rows(void **state)
{
    static const size_t rows[] = { GR_STRIP, 9, 8, 3, 0 };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(width) * GR_COUNT(rows) * 4; i++) {
        size_t K = width[i / 4 / GR_COUNT(rows)], n = rows[i / 4 % GR_COUNT(rows)], group = i % 2 ? 2 : 4;
        size_t groups = gr_round_up(K, group == 4 ? 64 : 2) / group;
        size_t bytes = ((groups - 1) * 5 + 1) * GR_STRIP * group, numbers = GR_STRIP * sizeof(float);
        struct source w = { check_randn((2 + GR_STRIP) * K, i), K, i / 2 % 2 };
        void *room = check_fenced(gr_strip_room(K));
        gr_strip ref;
        for (size_t k = 0; k < K; k++)                  /* a row of zeros, and one with a value far from the others */
            w.w[3 * K + k] = 0;
        w.w[4 * K + K / 2] = -1000;
        for (size_t k = 0; k < K; k++)                  /* rows of next to nothing, and two that are no numbers */
            w.w[7 * K + k] = 1e-37f;
        w.w[5 * K + K / 3] = NAN;
        w.w[6 * K + K - 1] = INFINITY;
        for (size_t k = 0; w.bf16 && k < (2 + GR_STRIP) * K; k++) {
            uint16_t half = upper(w.w[k]);
            gr_dequant(w.w + k, &half, GR_BF16, 1);
        }
        ref = strip_of(&w, n, group, bytes);
        gr_strip_ref(&ref, room);
        check_against_rows(&ref, w.w);
        EACH_CPU {
            gr_strip s = strip_of(&w, n, group, bytes);
            check_op->strip(&s, room);
            assert_memory_equal(s.to, ref.to, bytes);
            for (size_t r = 0; r < GR_STRIP; r++)
                assert_true(isnan(ref.scale[r]) ? isnan(s.scale[r]) : s.scale[r] == ref.scale[r]);
            assert_memory_equal(s.sum, ref.sum, numbers);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_scales_and_sums_are_those_of_rows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
