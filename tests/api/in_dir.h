/* in_dir.h - names in the directory of a test program, which its main() makes. */
#ifndef TEST_API_IN_DIR_H
#define TEST_API_IN_DIR_H

#include <stdio.h>
#include "check.h"

static char *dir;

/* DIR/NAMEending, malloc'ed. */
static inline char *in_dir(const char *name, const char *ending)
{
    char *p;

    assert_true(asprintf(&p, "%s/%s%s", dir, name, ending) > 0);
    return p;
}

#endif
