/* library.h - shared libraries that are opened by name when they are first needed, so that a machine without them
 * lacks only what needs them. */
#ifndef GR_BASE_LIBRARY_H
#define GR_BASE_LIBRARY_H

#include <stdbool.h>
#include <stddef.h>
#include "gram/error.h"

/* Opens `file` from the first of n places where it is: a place is a folder, or a pattern of glob(3) for folders; NULL
 * is passed over, and "" is wherever the loader looks. NULL: *err says where it was looked for, or what is wrong with
 * one that was found. It stays until the process ends. */
void *gr_library_open(const char *file, const char *const *place, size_t n, gram_err *err);
/* A function, or an object, that *to is to point to. */
typedef struct { void *to; const char *name; } gr_symbol;
/* Finds all n of them in a library. The name of the first that it has not, or NULL: none is missing. */
const char *gr_library_missing(void *library, const gr_symbol *symbol, size_t n);
/* The folder that the code at `where` was loaded from, and what follows; false where it is not known, or too long. */
bool gr_library_folder(const void *where, const char *follows, char *out, size_t size);

#endif
