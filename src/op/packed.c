/* packed.c - see packed.h. */
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include "base/err.h"
#include "op/op.h"
#include "op/packed.h"

enum { PANEL = GR_PACKED_PANEL };

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

struct making { gr_packed to; gr_strip_row_fn *row; void *arg; bool bf16; };

/* Tasks are strips of panels. */
static void make_strips(void *arg, gr_lane *lane, size_t first, size_t n)
{
    const struct making *m = arg;
    const gr_packed *w = &m->to;
    gr_strip s = { .row = m->row, .arg = m->arg, .bf16 = m->bf16, .K = w->K, .B = gr_packed_rotated(w->K),
                   .filled = filled(w->K), .group = 4, .ld = 4 * PANEL };
    void *room = gr_lane_bytes(lane, gr_strip_room(w->K));

    for (size_t o = first * GR_STRIP; o < (first + n) * GR_STRIP && room; o += GR_STRIP) {
        s.o = o;
        s.n = gr_min(GR_STRIP, w->O - gr_min(o, w->O));
        s.to = (int8_t *)(uintptr_t)w->panels + o / PANEL * PANEL * s.filled + o % PANEL * 4;
        s.scale = (float *)(uintptr_t)w->scale + o;
        s.sum = (int32_t *)(uintptr_t)w->sum + o;
        lane->op->strip(&s, room);
    }
}

gram_status gr_packed_make(void *p, gr_device *d, size_t O, size_t K, gr_strip_row_fn *row, void *arg, bool bf16,
                           gram_err *err)
{
    struct making m = { gr_packed_at(p, O, K), row, arg, bf16 };
    const struct header h = { GR_PACKED_WORD, GR_PACKED_LAYOUT, O, K };

    memset(p, 0, GR_ALIGN);
    memcpy(p, &h, sizeof h);
    gr_device_run(d, filled(O) / GR_STRIP, GR_CUT_ONE, make_strips, &m);
    return gr_device_wait(d, err);
}
