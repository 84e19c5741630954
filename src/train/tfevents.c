/* tfevents.c - see tfevents.h. */
#include <math.h>
#include <string.h>
#include "train/tfevents.h"

/* Castagnoli's polynomial, its bits reversed; a bit at a time is fast enough for a few hundred bytes a step. */
static uint32_t crc32c(const void *p, size_t n)
{
    uint32_t crc = 0xffffffffu;

    for (size_t i = 0; i < n; i++) {
        crc ^= ((const unsigned char *)p)[i];
        for (int k = 0; k < 8; k++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

static uint32_t masked(const void *p, size_t n)
{
    uint32_t crc = crc32c(p, n);

    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

/* Numbers go out as this machine holds them: little-endian, as every machine that gram builds on. */
static bool record(gr_buf *out, const gr_buf *event)
{
    uint64_t n = event->n;
    uint32_t of_length = masked(&n, sizeof n), of_event = masked(event->p, event->n);

    return gr_buf_add(out, &n, sizeof n) && gr_buf_add(out, &of_length, sizeof of_length) &&
           gr_buf_add(out, event->p, event->n) && gr_buf_add(out, &of_event, sizeof of_event);
}

static bool varint(gr_buf *b, uint64_t x)
{
    unsigned char byte[10];
    size_t n = 0;

    for (; x >= 0x80; x >>= 7)
        byte[n++] = (unsigned char)(x | 0x80);
    byte[n++] = (unsigned char)x;
    return gr_buf_add(b, byte, n);
}

enum { VARINT, FIXED64, BYTES, FIXED32 = 5 };       /* wire types */

static bool key(gr_buf *b, unsigned field, unsigned type)
{
    return varint(b, field << 3 | type);
}

static bool bytes(gr_buf *b, unsigned field, const void *p, size_t n)
{
    return key(b, field, BYTES) && varint(b, n) && gr_buf_add(b, p, n);
}

static bool wall_time(gr_buf *event, double time)
{
    return key(event, 1, FIXED64) && gr_buf_add(event, &time, sizeof time);
}

bool gr_tfevents_begin(gr_buf *out, double time)
{
    static const char version[] = "brain.Event:2";
    gr_buf event = { 0 };
    bool ok = wall_time(&event, time) && bytes(&event, 3, version, strlen(version)) && record(out, &event);

    gr_buf_clear(&event);
    return ok;
}

static bool add_scalar(gr_buf *summary, const gr_scalar *s)
{
    gr_buf value = { 0 };
    float x = (float)s->value;
    bool ok = bytes(&value, 1, s->tag, strlen(s->tag)) && key(&value, 2, FIXED32) &&
              gr_buf_add(&value, &x, sizeof x) && bytes(summary, 1, value.p, value.n);

    gr_buf_clear(&value);
    return ok;
}

bool gr_tfevents_add(gr_buf *out, double time, uint64_t step, const gr_scalar *s, size_t n)
{
    gr_buf event = { 0 }, summary = { 0 };
    bool ok = wall_time(&event, time);

    if (step)                               /* protobuf leaves out what is zero */
        ok = ok && key(&event, 2, VARINT) && varint(&event, step);

    for (size_t i = 0; i < n && ok; i++)
        if (!isnan(s[i].value))
            ok = add_scalar(&summary, &s[i]);
    if (ok && summary.n)
        ok = bytes(&event, 5, summary.p, summary.n) && record(out, &event);
    gr_buf_clear(&event);
    gr_buf_clear(&summary);
    return ok;
}
