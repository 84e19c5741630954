/* earlier.h - the rows that an evaluation has written before it was cut off, or to its end, taken over one by one.
 *
 * Each must be the row that the input has in its place, judged by the same model and settings. A row of the input that
 * has none, though a later one has, can only be one that was skipped. */
#ifndef GR_EVAL_EARLIER_H
#define GR_EVAL_EARLIER_H

#include "eval/record.h"
#include "file/io.h"

typedef struct {
    gr_lines *lines;            /* not yet taken over; NULL: there are none */
    char *path;
    uint64_t left;              /* how many at most */
    bool copy;                  /* they come from a whole file, and are to be written again */
    gr_eval_row row;            /* of the next line, where `read` */
    char *file;
    uint64_t mark;
    bool read;
} gr_earlier;

/* What is there of the rows of `name`, and the file to which this run writes them. */
gram_status gr_earlier_open(gr_earlier *e, gr_out **rows, const char *name, gram_err *err);
void gr_earlier_clear(gr_earlier *e);

/* What it has of a row: nothing, as of all that follow; its line; or that of a row that comes later. */
typedef enum { GR_EARLIER_NONE, GR_EARLIER_THIS, GR_EARLIER_LATER } gr_earlier_has;
/* file: that of `now`; mark: of this run; truncate: its way with what is too long, NULL: it has none. */
gram_status gr_earlier_look(gr_earlier *e, const gr_eval_row *now, const char *file, uint64_t mark,
                            const char *truncate, gr_earlier_has *what, gram_err *err);
/* Of GR_EARLIER_THIS: the line's row in the place of *now. */
void gr_earlier_take(gr_earlier *e, gr_eval_row *now);
/* Of GR_EARLIER_LATER: the failure that it is, unless the row was skipped. */
gram_status gr_earlier_other(const gr_earlier *e, const gr_eval_row *now, const char *file, gram_err *err);
/* Behind the last row: GRAM_EARG where there is a line left. */
gram_status gr_earlier_end(gr_earlier *e, gram_err *err);

#endif
