/* packed.c - see packed.h. */
#include <emmintrin.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include "base/err.h"
#include "op/op.h"
#include "op/packed.h"

enum { PANEL = GR_PACKED_PANEL, STRIP = 16 };     /* outputs of a task: a cache line of 4 bytes of each */

struct header { char word[8]; uint64_t layout, O, K; };

static size_t filled(size_t n) { return gr_round_up(n, PANEL); }

uint64_t gr_packed_bytes(size_t O, size_t K)
{
    size_t panels, all;

    if (O == 0 || K == 0 || O > SIZE_MAX / 16 - PANEL || K > SIZE_MAX / 16 - PANEL ||
        !gr_mul(filled(O), filled(K), &panels) || !gr_add(panels, GR_ALIGN + 8 * filled(O), &all))
        return 0;
    return all;
}

gr_packed gr_packed_at(const void *p, size_t O, size_t K)
{
    const char *at = (const char *)p + GR_ALIGN;

    return (gr_packed){ O, K, (const float *)(const void *)at, (const int32_t *)(const void *)(at + 4 * filled(O)),
                        (const int8_t *)at + 8 * filled(O) };
}

/* A sum that no bytes have would wrap what is taken off a product. */
static gram_status check_numbers(const gr_packed *w, const char *what, gram_err *err)
{
    for (size_t o = 0; o < w->O; o++)
        if (!(w->scale[o] >= 0) || !isfinite(w->scale[o]) || fabs((double)w->sum[o]) > 128.0 * (double)w->K)
            return gr_fail(err, GRAM_EFORMAT, "%s: output %zu has the scale %g and the sum %" PRId32 ", which no 8-bit "
                           "weights have", what, o, w->scale[o], w->sum[o]);
    return GRAM_OK;
}

gram_status gr_packed_read(gr_packed *out, const char *what, const void *p, uint64_t bytes, gram_err *err)
{
    struct header h = { .layout = 0 };

    if (bytes >= GR_ALIGN)
        memcpy(&h, p, sizeof h);
    if (memcmp(h.word, GR_PACKED_WORD, sizeof h.word))
        return gr_fail(err, GRAM_EFORMAT, "%s: no 8-bit weights of gram: they begin with " GR_PACKED_WORD, what);
    if (h.layout != GR_PACKED_LAYOUT)
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: 8-bit weights of layout %" PRIu64 ", and this gram reads %d: gram "
                       "convert writes them anew", what, h.layout, GR_PACKED_LAYOUT);
    if (gr_packed_bytes(h.O, h.K) == 0 || gr_packed_bytes(h.O, h.K) != bytes)
        return gr_fail(err, GRAM_EFORMAT, "%s: %" PRIu64 " bytes, and 8-bit weights of [%" PRIu64 ", %" PRIu64 "] have "
                       "%" PRIu64, what, bytes, h.O, h.K, gr_packed_bytes(h.O, h.K));
    *out = gr_packed_at(p, h.O, h.K);
    return check_numbers(out, what, err);
}

/* ---- Making one ------------------------------------------------------------------------------------ */

struct making { gr_packed to; gr_packed_row_fn *row; void *arg; };

/* Words of 4 bytes: to [quads][64], the first 16 of each, of from [16][quads], quads a multiple of 4. */
static void weave(int8_t *to, const int8_t *from, size_t quads)
{
    for (size_t i = 0; i < STRIP; i += 4)
        for (size_t k = 0; k < quads; k += 4) {
            const int8_t *p = from + 4 * (i * quads + k);
            __m128i a = _mm_loadu_si128((const void *)p), b = _mm_loadu_si128((const void *)(p + 4 * quads));
            __m128i c = _mm_loadu_si128((const void *)(p + 8 * quads));
            __m128i d = _mm_loadu_si128((const void *)(p + 12 * quads));
            __m128i ab = _mm_unpacklo_epi32(a, b), cd = _mm_unpacklo_epi32(c, d);
            __m128i AB = _mm_unpackhi_epi32(a, b), CD = _mm_unpackhi_epi32(c, d);
            int8_t *q = to + 4 * (k * PANEL + i);
            _mm_storeu_si128((void *)q, _mm_unpacklo_epi64(ab, cd));
            _mm_storeu_si128((void *)(q + 4 * PANEL), _mm_unpackhi_epi64(ab, cd));
            _mm_storeu_si128((void *)(q + 8 * PANEL), _mm_unpacklo_epi64(AB, CD));
            _mm_storeu_si128((void *)(q + 12 * PANEL), _mm_unpackhi_epi64(AB, CD));
        }
}

/* Row o as bytes, q [Kp]; what is behind the outputs is zeros. */
static void make_row(const struct making *m, gr_lane *lane, size_t o, int8_t *q, float *row)
{
    const gr_packed *w = &m->to;
    float *scale = (float *)(uintptr_t)w->scale + o;
    int32_t *sum = (int32_t *)(uintptr_t)w->sum + o;

    *scale = 0;
    *sum = 0;
    memset(q + (o < w->O ? w->K : 0), 0, filled(w->K) - (o < w->O ? w->K : 0));
    if (o >= w->O)
        return;
    m->row(m->arg, o, row);
    lane->op->rotate_row(row, row, w->K, gr_packed_rotated(w->K));
    *sum = lane->op->quant_weight(q, scale, row, w->K);
}

/* Tasks are strips of panels. */
static void make_strips(void *arg, gr_lane *lane, size_t first, size_t n)
{
    const struct making *m = arg;
    size_t K = filled(m->to.K);
    float *row = gr_lane_bytes(lane, m->to.K * sizeof *row);
    int8_t *q = gr_lane_bytes(lane, STRIP * K);

    for (size_t o = first * STRIP; o < (first + n) * STRIP && !lane->rc; o += STRIP) {
        for (size_t i = 0; i < STRIP; i++)
            make_row(m, lane, o + i, q + i * K, row);
        weave((int8_t *)(uintptr_t)m->to.panels + o / PANEL * PANEL * K + o % PANEL * 4, q, K / 4);
    }
}

gram_status gr_packed_make(void *p, gr_device *d, size_t O, size_t K, gr_packed_row_fn *row, void *arg, gram_err *err)
{
    struct making m = { gr_packed_at(p, O, K), row, arg };
    const struct header h = { GR_PACKED_WORD, GR_PACKED_LAYOUT, O, K };

    memset(p, 0, GR_ALIGN);
    memcpy(p, &h, sizeof h);
    gr_device_run(d, filled(O) / STRIP, GR_CUT_ONE, make_strips, &m);
    return gr_device_wait(d, err);
}
