/* how.h - what decides the lines of an output, told as JSON and kept beside an output that is not whole: NAME.how.
 *
 * A run that goes on, and a merge of shares, put lines of several runs under one name. They must be of one judge that
 * was asked in one way, and of shares of the same lines: another one is refused by what it differs in. */
#ifndef GR_API_HOW_H
#define GR_API_HOW_H

#include <jansson.h>
#include "api/api_int.h"

/* Each NULL where memory ran out. */
json_t *gr_how_model(const gram_model *m);                  /* m NULL: null */
json_t *gr_how_judge(const gram_model *m);                  /* how it asks and is asked */
json_t *gr_how_generation(const gram_generation *g);
/* GRAM_EARG where a key of `is` has another value in `was`, or none; path: of `was`, and what the two are. */
gram_status gr_how_compare(const json_t *was, const json_t *is, const char *path, const char *what, const char *other,
                           gram_err *err);

/* Written to this path; with resume, and where it is there, compared with what it says. */
gram_status gr_how_keep(const char *path, const json_t *how, bool resume, gram_err *err);
/* The output of this name is begun, or with resume gone on with, and then it must have been begun so. Where nothing was
 * noted then, nothing is compared. */
gram_status gr_how_begin(const char *name, const json_t *how, bool resume, gram_err *err);
void gr_how_end(const char *name);                          /* it is whole: nothing goes on from here */
/* *how NULL: nothing was noted beside this output. */
gram_status gr_how_read(json_t **how, const char *name, gram_err *err);

#endif
