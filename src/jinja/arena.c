/* arena.c - memory that goes at once, and the one way out for errors. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include "jinja/jinja_int.h"

struct jchunk { jchunk *before; _Alignas(16) char data[]; };
enum { CHUNK = 16 << 10, CHUNK_MAX = 4 << 20 };

void gr_jarena_clear(jarena *a)
{
    while (a->last) {
        jchunk *before = a->last->before;
        free(a->last);
        a->last = before;
    }
    *a = (jarena){ 0 };
}

_Noreturn static void leave(jctx *j, gram_status status)
{
    j->status = status;
    longjmp(j->fail, 1);
}

static void need_chunk(jctx *j, size_t n)
{
    jarena *a = &j->mem;
    size_t size = gr_max(n, gr_min(gr_max(a->total, CHUNK), CHUNK_MAX));
    jchunk *c;

    if (size > a->limit - a->total)
        gr_jfail(j, GRAM_ELIMIT, "the chat template takes more than %zu MiB of memory", a->limit >> 20);
    c = malloc(sizeof *c + size);
    if (!c)
        leave(j, gr_nomem(j->err, "chat template"));
    c->before = a->last;
    a->last = c;
    a->cap = size;
    a->used = 0;
    a->total += size;
}

void *gr_jalloc(jctx *j, size_t n)
{
    jarena *a = &j->mem;
    void *p;

    if (n > JLIMIT_MEMORY)
        gr_jfail(j, GRAM_ELIMIT, "the chat template takes more than %zu MiB of memory", JLIMIT_MEMORY >> 20);
    n = gr_round_up(n + !n, 16);
    if (!a->last || n > a->cap - a->used)
        need_chunk(j, n);
    p = a->last->data + a->used;
    a->used += n;
    return memset(p, 0, n);
}

void *gr_jgrow(jctx *j, void *p, size_t n, size_t *cap, size_t more, size_t size)
{
    size_t want = n + more;
    void *grown;

    if (want <= *cap)
        return p;
    want = gr_max(gr_max(want, 2 * *cap), 8);
    if (want > JLIMIT_MEMORY / size)
        gr_jfail(j, GRAM_ELIMIT, "the chat template takes more than %zu MiB of memory", JLIMIT_MEMORY >> 20);
    grown = gr_jalloc(j, want * size);
    if (n)
        memcpy(grown, p, n * size);
    *cap = want;
    gr_jstep(j, n * size / 64);
    return grown;
}

char *gr_jprintf(jctx *j, const char *fmt, ...)
{
    va_list ap;
    int n;
    char *s;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    s = gr_jalloc(j, (size_t)gr_max(0, n) + 1);
    va_start(ap, fmt);
    vsnprintf(s, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return s;
}

void gr_jfail(jctx *j, gram_status status, const char *fmt, ...)
{
    char text[sizeof ((gram_err *)NULL)->text];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    leave(j, gr_fail(j->err, status, "%s", text));
}

void gr_jraise(jctx *j, const char *fmt, ...)
{
    char text[sizeof ((gram_err *)NULL)->text];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    leave(j, gr_fail(j->err, GRAM_EARG, "%s", text));
}

void gr_jstep(jctx *j, size_t n)
{
    if (n > JLIMIT_STEPS - j->steps)
        gr_jfail(j, GRAM_ELIMIT, "the chat template takes more than %d steps", JLIMIT_STEPS);
    j->steps += n;
}

void gr_jdeeper(jctx *j)
{
    gr_jstep(j, 1);
    if (++j->depth > JLIMIT_DEPTH)
        gr_jfail(j, GRAM_ELIMIT, "the chat template nests more than %d deep", JLIMIT_DEPTH);
}
