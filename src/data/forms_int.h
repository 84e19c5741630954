/* forms_int.h - a row being read, for the files that know its forms. */
#ifndef GR_DATA_FORMS_INT_H
#define GR_DATA_FORMS_INT_H

#include "data/rows_int.h"

#define GR_MOST_ANSWERS 64

typedef struct {
    const gr_at *at;
    const json_t *row;
    gr_talk prompt;
    char *tools, *criteria;
    gr_row *out;
    size_t n, cap, bytes;
    bool swapped;               /* as of gr_row, of the next row */
} gr_form;

/* What a pair's data say besides its texts. */
typedef struct { double margin, weight, soft; bool tie; } gr_label;
gram_status gr_label_read(const gr_at *at, const json_t *row, gr_label *out);

/* The first of the keys that is there, or NULL. */
const json_t *gr_first_of(const json_t *row, const char *const *key, size_t n, const char **name);
gram_status gr_number_read(const gr_at *at, const char *key, const json_t *v, double *out);
bool gr_answer_same(const gr_turn *a, const gr_turn *b);
/* Adds a row with the form's prompt. suffix tells expanded rows apart: "#i-j"; "" for a row alone. */
gram_status gr_form_add(gr_form *f, const gr_turn *chosen, const gr_turn *rejected, const gr_label *l,
                        const char *suffix);

/* ranked.c: the list of answers and its key, NULL where there is none; what it makes of it; the index of the best. */
const json_t *gr_ranked_list(const json_t *row, const char **key);
gram_status gr_ranked_read(gr_form *f, const char *key, const json_t *list);
bool gr_ranked_has_best(const json_t *row);
gram_status gr_ranked_best(const gr_at *at, const json_t *row, size_t n, size_t *out);

/* PPE's best of K: "response_1" to "response_K", "scores", and which two are compared; NULL where it is no such row. */
const json_t *gr_conflicts(const json_t *row);
gram_status gr_conflicts_read(gr_form *f);

#endif
