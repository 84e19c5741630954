/* overlap.h - what PURM's verdicts can only say once all of a file's are there: u, the overlap of an answer's reward
 * with those of all others, and mean - lambda u. Until then their lines are kept. */
#ifndef GR_API_OVERLAP_H
#define GR_API_OVERLAP_H

#include "file/io.h"

typedef struct {
    gr_buf text;                    /* the lines, whole */
    double *mean, *sigma;           /* [n], two for each line that has a score */
    size_t n, cap;
} gr_spread;

/* A line of JSON as gram_score_file() writes it, its newline left out. GRAM_EFORMAT: it is not JSON. */
gram_status gr_spread_add(gr_spread *s, const char *line, size_t n, gram_err *err);
/* All of them, with "overlap" and "penalised". */
gram_status gr_spread_write(const gr_spread *s, double lambda, gr_out *o, gram_err *err);
void gr_spread_clear(gr_spread *s);

#endif
