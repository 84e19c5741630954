/* bon_int.h - a line of `gram bon` on its way: what bon.c collects and bon_line.c writes. */
#ifndef GR_API_BON_INT_H
#define GR_API_BON_INT_H

#include <jansson.h>
#include "api/job.h"
#include "eval/bon.h"
#include "gram/bon.h"

typedef struct gr_bon_line {
    struct gr_bon_line *next;
    gr_group row;               /* of a policy, its responses come one by one */
    json_t *columns;            /* the row as it stood */
    uint64_t digest;            /* of what is read of the row */
    size_t index, left;         /* answers that are not there yet */
    json_t **answer;            /* [n] of a policy: what a line says of each; NULL elsewhere */
    double *gold;               /* [n] from a column; NULL: none */
    char *error;                /* there is no winner: why */
    size_t written;             /* tokens of its answers, and of the reference */
    gram_judged_group judged, by_gold;
} gr_bon_line;
void gr_bon_line_free(gr_bon_line *l);

/* The line as it is written; NULL: out of memory. gold NULL: none was asked for. */
json_t *gr_bon_line_json(const gr_bon_line *l, const double *gold, bool seconds);
/* The index of the largest reward, the first of equal ones; n: none has one. */
size_t gr_bon_winner(const double *reward, size_t n);
/* Takes the line, of this run or of one before, into the curve. */
gram_status gr_bon_take(gr_bon *b, const json_t *line, gram_err *err);
/* What a line of a run before must say to be of this run too: n answers (0: any), the seed of its first (of a policy),
 * and gold where there is one. GRAM_EARG says what differs. */
typedef struct { size_t n; const uint64_t *seed; bool gold; } gr_bon_expected;
gram_status gr_bon_check(const json_t *line, const gr_bon_expected *e, const char *name, uint64_t number,
                         gram_err *err);

/* gram_bon_file() of opt->file.workers (bon_shares.c). */
gram_status gr_bon_shares(gram_model *policy, gram_judge *judge, const char *in, const char *out,
                          const gram_bon_options *opt, gram_bon_report *report, char **table, gram_err *err);

#endif
