/* nomem_json.h - after nomem.h: jansson's memory counts, since what it dumps we free, but never fails: its parser then
 * tells of wrong syntax as often as of memory. Hand json_take and json_give to json_set_alloc_funcs(). nomem.h goes by
 * who called: the volatile pointers, and the empty instruction, keep these calls from becoming jumps. */
#ifndef NOMEM_JSON_H
#define NOMEM_JSON_H

#include <stdlib.h>
#include "nomem.h"

static void *(*volatile take)(size_t) = malloc;
static void (*volatile give)(void *) = free;

static void *json_take(size_t n)
{
    long left = nomem_left;
    void *p;

    if (left >= 0)                      /* while nothing counts threads allocate side by side */
        nomem_left = -1;
    p = take(n);
    __asm__ volatile("");
    if (left >= 0)
        nomem_left = left;
    return p;
}

static void json_give(void *p)
{
    give(p);
    __asm__ volatile("");
}

#endif
