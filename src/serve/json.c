/* json.c - reading JSON when memory runs out.
 *
 * jansson's reader forgets that it could not grow its buffer: it drops bytes of a string, or ends the process by an
 * assertion. A text that lost its end must not be scored, and a server must not end. So while it reads, a refused
 * allocation leaves the reader at once (longjmp), and all that it had taken is given back from a list. What jansson
 * frees meanwhile only waits on a second list: to look for each block among those taken would cost a text that is
 * wrong at its end the square of its length. Blocks stay plain malloc() blocks: what jansson returns is freed with
 * free() elsewhere in the process. */
#include <setjmp.h>
#include <stdlib.h>
#include "serve/serve_int.h"

typedef struct { void **block; size_t n, cap; } blocks;

/* A thread reads one text at a time. */
static _Thread_local struct { bool on; blocks taken, done; jmp_buf out; } reading;

/* False: no memory for the list; p is still the caller's. */
static bool keep(blocks *b, void *p)
{
    if (b->n == b->cap) {
        size_t cap = b->cap ? 2 * b->cap : 256;
        void **more = realloc(b->block, cap * sizeof *more);
        if (!more)
            return false;
        b->block = more;
        b->cap = cap;
    }
    b->block[b->n++] = p;
    return true;
}

static void *take(size_t n)
{
    void *p = malloc(n);

    if (!reading.on)
        return p;
    if (!p || !keep(&reading.taken, p)) {
        free(p);
        longjmp(reading.out, 1);
    }
    return p;
}

static void give(void *p)
{
    if (!reading.on)
        free(p);
    else if (p && !keep(&reading.done, p))
        longjmp(reading.out, 1);
}

void gr_json_init(void)
{
    json_set_alloc_funcs(take, give);
}

/* The text became a value, and what the reader is done with goes; or it did not, and all goes. */
static void end_reading(bool read)
{
    const blocks *b = read ? &reading.done : &reading.taken;

    reading.on = false;
    for (size_t i = 0; i < b->n; i++)
        free(b->block[i]);
    free(reading.taken.block);
    free(reading.done.block);
    reading.taken = reading.done = (blocks){ 0 };
}

bool gr_json_load(const char *text, size_t n, json_t **out, json_error_t *e)
{
    *out = NULL;
    reading.on = true;
    if (setjmp(reading.out)) {
        end_reading(false);
        return false;
    }
    *out = json_loadb(text, n, JSON_REJECT_DUPLICATES, e);
    end_reading(*out != NULL);
    return true;
}
