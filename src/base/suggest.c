/* suggest.c - see suggest.h. */
#include <stdint.h>
#include <string.h>
#include "base/mem.h"
#include "base/suggest.h"

/* How many letters must be put in, left out or changed to make a of b (Levenshtein), for names up to 31 long. */
static size_t distance(const char *a, const char *b)
{
    size_t row[32], n = strlen(b);

    if (n >= GR_COUNT(row))
        return SIZE_MAX;
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < n; j++) {
            size_t change = diagonal + (a[i] != b[j]);
            diagonal = row[j + 1];
            row[j + 1] = gr_min(change, gr_min(row[j], row[j + 1]) + 1);
        }
    }
    return row[n];
}

void gr_near_try(gr_near *n, const char *name)
{
    size_t d = distance(name, n->typed);

    if (!strncmp(name, n->typed, strlen(n->typed)))     /* an abbreviation */
        d = gr_min(d, 1);
    if (d < (n->best ? n->off : 4)) {
        n->off = d;
        n->best = name;
    }
}

const char *gr_near_best(const gr_near *n)
{
    return n->best && 2 * n->off <= strlen(n->typed) ? n->best : NULL;      /* of "foo" "bon" is no misspelling */
}
