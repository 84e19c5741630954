/* nomem.h - for the one test program that includes it: the n-th allocation of our own code fails, for any n.
 *
 * Libraries keep their memory: oneDNN and OpenMP end the process when they get none. "Ours" is what calls from
 * the program itself, which tests link statically. Sanitizers have an allocator of their own; there nothing fails
 * and NOMEM_COUNTED is 0. */
#ifndef NOMEM_H
#define NOMEM_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include "check.h"

static long nomem_left = -1;            /* allocations of ours until one fails; below 0: none does */
/* taken by us and not given back by us, in any thread */
static _Atomic long nomem_live __attribute__((unused));

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define NOMEM_COUNTED 1
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t align, size_t n);
void __libc_free(void *p);
extern char __executable_start, etext;

static bool nomem_ours(const char *caller)
{
    return caller >= &__executable_start && caller < &etext;
}

static void *nomem_take(void *p, bool ours)
{
    if (!ours)
        return p;
    if (nomem_left >= 0 && nomem_left-- == 0) {
        __libc_free(p);
        errno = ENOMEM;
        return NULL;
    }
    nomem_live += p != NULL;
    return p;
}

#define NOMEM_OURS nomem_ours(__builtin_return_address(0))
void *malloc(size_t n) { return nomem_take(__libc_malloc(n), NOMEM_OURS); }
void *calloc(size_t n, size_t size) { return nomem_take(__libc_calloc(n, size), NOMEM_OURS); }
void *aligned_alloc(size_t align, size_t n) { return nomem_take(__libc_memalign(align, n), NOMEM_OURS); }
void *realloc(void *p, size_t n)
{
    if (p && NOMEM_OURS && nomem_left >= 0 && nomem_left-- == 0) {
        errno = ENOMEM;
        return NULL;
    }
    return p ? __libc_realloc(p, n) : nomem_take(__libc_malloc(n), NOMEM_OURS);
}
void free(void *p)
{
    nomem_live -= p && NOMEM_OURS;
    __libc_free(p);
}
#else
#define NOMEM_COUNTED 0
#endif

/* once(arg) as a whole, twice, and then with each of its allocations failing: it says so, and nothing is lost. */
typedef gram_status nomem_fn(bool arg, gram_err *err);
static inline void nomem_each(nomem_fn *once, bool arg)
{
    gram_status rc = GRAM_ENOMEM;

    CHECK_OK(once(arg, &check_err));
    CHECK_OK(once(arg, &check_err));
    for (long n = 0; rc && NOMEM_COUNTED; n++) {
        long live = nomem_live;
        nomem_left = n;
        rc = once(arg, &check_err);
        if (nomem_left >= 0 && rc)
            fail_msg("allocation %ld: %s", n, check_err.text);
        nomem_left = -1;
        if (rc && rc != GRAM_ENOMEM)
            fail_msg("allocation %ld: %s", n, check_err.text);
        if (nomem_live > live)
            fail_msg("allocation %ld: %ld blocks are lost", n, nomem_live - live);
    }
}
#endif
