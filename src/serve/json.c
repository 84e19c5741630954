/* json.c - reading JSON when memory runs out, and strings that hold what no model reads.
 *
 * jansson's reader forgets that it could not grow its buffer: it drops bytes of a string, or ends the process by an
 * assertion. A text that lost its end must not be scored, and a server must not end. So while it reads, a refused
 * allocation leaves the reader at once (longjmp), and all that it had taken is given back from a list. What jansson
 * frees meanwhile only waits on a second list: to look for each block among those taken would cost a text that is
 * wrong at its end the square of its length. Blocks stay plain malloc() blocks: what jansson returns is freed with
 * free() elsewhere in the process. */
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
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

/* ---- Strings that are no text ---- */

/* The code unit of a \uXXXX at p, of n bytes; -1: there is none. */
static int unit_at(const char *p, size_t n)
{
    int u = 0;

    if (n < 6 || p[0] != '\\' || p[1] != 'u')
        return -1;
    for (int i = 2; i < 6; i++) {
        const char *digits = "0123456789abcdef", *d = p[i] ? strchr(digits, p[i] | 0x20) : NULL;
        if (!d)
            return -1;
        u = 16 * u + (int)(d - digits);
    }
    return u;
}

/* Counts escapes of U+0000 and of surrogates that stand alone. Makes the latter the former in `copy`, where not NULL. A
 * backslash is inside a string, or the text is no JSON. */
static void find_odd(const char *text, size_t n, char *copy, size_t *nul, size_t *lone)
{
    *nul = *lone = 0;
    for (size_t i = 0; i < n; i++) {
        const char *p = memchr(text + i, '\\', n - i);
        int u, low;
        if (!p)
            return;
        i = (size_t)(p - text);
        u = unit_at(p, n - i);
        low = u >= 0xd800 && u < 0xdc00 ? unit_at(p + 6, n - i - 6) : -1;
        if (u < 0)
            i++;                            /* \n, \\ and their like */
        else if (u >= 0xd800 && u < 0xe000 && !(low >= 0xdc00 && low < 0xe000)) {
            ++*lone;
            if (copy)
                memcpy(copy + i + 2, "0000", 4);
            i += 5;
        } else {
            *nul += u == 0;
            i += low >= 0 ? 11 : 5;
        }
    }
}

static bool is_odd(const json_t *v)
{
    return json_is_string(v) && strlen(json_string_value(v)) != json_string_length(v);
}

/* The tree is as deep as the reader lets it be. */
static void replace_odd(json_t *v, json_t *odd)
{
    json_t *one;
    size_t i;

    json_array_foreach(v, i, one) {
        if (is_odd(one))
            json_array_set(v, i, odd);
        else
            replace_odd(one, odd);
    }
    for (void *at = json_object_iter(v); at; at = json_object_iter_next(v, at)) {
        one = json_object_iter_value(at);
        if (is_odd(one))
            json_object_iter_set(v, at, odd);
        else
            replace_odd(one, odd);
    }
}

/* ---- Reading ---- */

static bool load(const char *text, size_t n, json_t **out, json_error_t *e)
{
    *out = NULL;
    reading.on = true;
    if (setjmp(reading.out)) {
        end_reading(false);
        return false;
    }
    *out = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, e);
    end_reading(*out != NULL);
    return true;
}

bool gr_json_load(const char *text, size_t n, json_t **out, json_error_t *e, json_t **odd, const char **why)
{
    size_t nul, lone;
    char *copy = NULL;
    bool ok = true;

    *odd = NULL;
    find_odd(text, n, NULL, &nul, &lone);
    if (lone > 0) {
        copy = malloc(n);
        if (!copy)
            return false;
        memcpy(copy, text, n);
        find_odd(text, n, copy, &nul, &lone);
    }
    ok = load(copy ? copy : text, n, out, e);
    free(copy);
    if (ok && *out && nul + lone > 0) {
        *why = lone == 0 ? "U+0000" : nul == 0 ? "half of a surrogate pair" : "U+0000 or half of a surrogate pair";
        *odd = json_real(-1);
        if (*odd)
            replace_odd(*out, *odd);
        else {
            json_decref(*out);
            *out = NULL;
            ok = false;
        }
    }
    return ok;
}
