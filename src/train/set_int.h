/* set_int.h - what the files of a set share: set.c (examples), set_row.c and set_reason.c (of one row), set_read.c (of
 * all), set_cache.c (in a file). */
#ifndef GR_TRAIN_SET_INT_H
#define GR_TRAIN_SET_INT_H

#include "data/rows.h"
#include "train/set.h"

enum { GR_SET_COUNTS = 15 };
uint64_t *gr_set_count(gr_set *s, size_t i);            /* bad, dropped ... apart */

void gr_shuffle(size_t *a, size_t n, uint64_t seed, uint64_t stream);
void gr_example_clear(gr_example *e);
size_t gr_example_shared(const gr_example *e);          /* ids that both sequences begin with; 0: there is one alone */
void gr_set_digest(gr_set *s, const gr_example *e);     /* of the next example, */
void gr_set_measure(gr_set *s, const gr_example *e);    /* and what it says of the longest */
/* Moves it, neither digested nor measured, into a set in memory; a failure leaves it. */
gram_status gr_set_push(gr_set *s, gr_example *e, gram_err *err);

/* A row on its way from the file to examples. */
typedef struct {
    gr_row row;                 /* GR_FORM_PAIRS, _REASONS */
    gr_group group;             /* GR_FORM_GROUPS, and of _LABELLED the prompt */
    gr_labelled answer;         /* GR_FORM_LABELLED */
    gr_at at;                   /* name and line */
    uint64_t place;             /* its line as if all files stood behind each other */
    gram_status rc;             /* GRAM_OK, or why there are none */
    gram_err why;
    bool unread;                /* it was no row */
    gr_set part;                /* its examples, and what it adds to the counts */
} gr_set_item;
gram_status gr_set_next(gr_set_item *item, gr_set_form form, gr_reader *r, bool *end, gram_err *err);
/* item->part, and item->rc with item->why. It may run in any thread. */
void gr_set_make(gr_set_item *item, gr_set_form form, const gr_set_rules *rules);
void gr_set_item_clear(gr_set_item *item);

/* The examples of a row's reasons; prompt: hash of its conversation. GRAM_EFORMAT says what is wrong with the row. */
gram_status gr_set_add_reasons(gr_set *s, const gr_row *row, const gr_set_rules *rules, uint64_t prompt, gram_err *err);

/* Where examples go, one after the other: into the set, or into a file, and then s counts them. */
struct gr_cache_writer;
typedef struct {
    gr_set *s;
    struct gr_cache_writer *w;  /* NULL: into the set */
    size_t most;                /* not 0: reading ends behind so many examples */
    bool silent;                /* nothing is said of rows that are left out */
    uint64_t bytes;             /* of all files, for what is said of the disk; w alone */
    const char *dir;
} gr_set_sink;
/* GRAM_EIO with *full, which is there where to->w is: the directory has too little room, or is not written to. */
gram_status gr_set_read_into(gr_set_sink *to, gr_set_form form, const char *path, const char *const *more,
                             const gr_set_rules *rules, bool *full, gram_err *err);
/* Rows in a file; *out: it, or where !rules->bound forbids nothing, what lies in memory. */
gram_status gr_set_read_cached(gr_set *out, gr_set_form form, const char *path, const char *const *more,
                               const gr_set_rules *rules, gram_err *err);

#endif
