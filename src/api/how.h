/* how.h - what decides the lines of an output, told as JSON and kept beside it: NAME.how.
 *
 * A run that goes on, and a merge of shares, put lines of several runs under one name. They must be of one judge that
 * was asked in one way, and of the same rows: another one is refused by what it differs in. So behind the JSON stands,
 * for each line of the output, the digest of the row that it is of, 16 hexadecimal digits and a newline. It is written
 * before the line, so a run that is killed leaves at least as many digests as lines.
 *
 * Beside an output that is whole it stays where the run was one to go on, with a key "whole" that has the digest of the
 * output's bytes and the number of its lines: so a run that is to go on with it sees that nothing is left, and never
 * takes another file for it. */
#ifndef GR_API_HOW_H
#define GR_API_HOW_H

#include <jansson.h>
#include <sys/types.h>
#include "api/api_int.h"
#include "gram/judge.h"
#include "rationale/text.h"

/* A digest of their names, shapes and values, as gr_weights_sample() reads them, and of what the configuration, or who
 * asked for a reward, makes of them. */
uint64_t gr_how_weights(const gram_model *m);
/* How reasons are asked for, wherever the form and the prompt came from. */
uint64_t gr_how_words(const gr_reason_words *w);
/* Each NULL where memory ran out. */
json_t *gr_how_model(const gram_model *m);                  /* m NULL: null */
json_t *gr_how_judge(const gram_model *m);                  /* how it asks and is asked */
json_t *gr_how_generation(const gram_generation *g);
json_t *gr_how_judged(const gram_judge *j);                 /* all of a judge, as far as it is known; j NULL: null */
/* GRAM_EARG where a key of the one has another value in the other, or none; path: of `was`, and what the two are. That
 * an output is whole is no difference. */
gram_status gr_how_compare(const json_t *was, const json_t *is, const char *path, const char *what, const char *other,
                           gram_err *err);

/* Written to this path; with resume, and where it is there, compared with what it says. */
gram_status gr_how_keep(const char *path, const json_t *how, bool resume, gram_err *err);

/* The NAME.how of an output on its way. */
typedef struct {
    char *path;                     /* NULL: there is none, as of standard output */
    int fd;
    off_t begin;                    /* where the digests do */
    uint64_t n, read;               /* of them; given by gr_how_next() */
} gr_how;
/* The output of this name is begun, or, where *lines of it are there, gone on with: then it must have been begun so.
 * GRAM_EARG where nothing was noted then. *lines becomes how many of them have digests; what was noted of more is gone,
 * and those behind are to be written anew. */
gram_status gr_how_begin(gr_how *h, const char *name, const json_t *how, uint64_t *lines, gram_err *err);
gram_status gr_how_add(gr_how *h, uint64_t digest, gram_err *err);      /* of the row whose line comes next */
gram_status gr_how_next(gr_how *h, uint64_t *digest, gram_err *err);    /* of the first line's row, the second's ... */
void gr_how_close(gr_how *h);
/* The output has its name and is whole. resumes: a later run may be to go on with it, as this one was, so that it is
 * noted; without, and where that fails, nothing stays noted, and such a run makes the output anew. */
void gr_how_end(gr_how *h, const char *name, bool resumes);
/* Whether an output has this name that is whole, byte for byte as a run has noted. */
bool gr_how_is_whole(const char *name);
/* *whole: it is, and h gives the digests of its rows. GRAM_EARG: it is, and was made in another way than `how`. */
gram_status gr_how_open_whole(gr_how *h, const char *name, const json_t *how, bool *whole, gram_err *err);
void gr_how_forget(const char *name);                       /* nothing goes on from this output */
/* *how NULL: nothing was noted beside this output. */
gram_status gr_how_read(json_t **how, const char *name, gram_err *err);
/* Adds the digests that are noted beside another output, if anything is. */
gram_status gr_how_join(gr_how *h, const char *name, gram_err *err);

#endif
