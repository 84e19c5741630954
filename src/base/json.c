/* json.c - see json.h. */
#include <jansson.h>
#include <math.h>
#include <string.h>
#include "base/json.h"
#include "base/mem.h"
#include "base/utf8.h"

typedef struct { gr_buf b; bool ok; } sink;

/* jansson goes on behind some of the -1 that this returns, so the first failure is remembered. */
static int keep(const char *p, size_t n, void *arg)
{
    sink *s = arg;

    s->ok = s->ok && gr_buf_add(&s->b, p, n);
    return s->ok ? 0 : -1;
}

char *gr_json_text(const json_t *o, size_t flags)
{
    sink s = { { 0 }, true };

    if (o && !json_dump_callback(o, keep, &s, flags) && s.ok)
        return s.b.p;
    gr_buf_clear(&s.b);
    return NULL;
}

json_t *gr_json_loadb(const char *text, size_t n, size_t flags, json_error_t *e)
{
    size_t mark = gr_utf8_mark(text, n);

    return json_loadb(text + mark, n - mark, flags, e);
}

json_t *gr_json_real(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}
