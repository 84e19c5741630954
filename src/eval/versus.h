/* versus.h - a policy's answers beside a baseline's: the numbers of gram/evalpolicy.h from judged rows, and what shows
 * them. */
#ifndef GR_EVAL_VERSUS_H
#define GR_EVAL_VERSUS_H

#include "base/mem.h"
#include "gram/evalpolicy.h"

/* A row; NAN where there is no such number. [2]: of the policy, of the baseline. */
typedef struct {
    uint64_t prompt;                /* which it is of */
    double win, preference, flip, kl, kl_token;
    double reward[2], tokens[2], cut[2];
    double tie, gain, chars[2], repetition[2];      /* gr_versus_add() fills these in */
} gr_versus_row;

typedef struct { uint64_t *p; size_t n, cap; } gr_word_runs;

typedef struct {
    gr_versus_row *row;
    size_t n, cap;
    gr_word_runs run[2][3];         /* digests of runs of 1, 2, 3 words, of all answers */
    size_t answers[2];
} gr_versus;
/* text[1] NULL: there is no baseline. */
gram_status gr_versus_add(gr_versus *v, const gr_versus_row *row, const char *const text[2], gram_err *err);
gram_status gr_versus_collect(gr_versus *v, gram_policy_comparison *out, gram_err *err);
void gr_versus_clear(gr_versus *v);

/* theta and phi of gram/evalpolicy.h, over rows that count times[i] each (NULL: once). theta is infinite where all y
 * are 1 or 0. */
void gr_length_fit(const double *y, const double *x, const double *times, size_t n, double *theta, double *phi);

/* Borrowed, NULL where there is none. */
typedef struct { const char *prompt, *text[2]; double win, reward[2]; } gr_versus_sample;
typedef struct {
    const char *data, *policy, *baseline, *judge, *generation, *date;
    const char *note;               /* on the KL, a sentence */
    size_t each;                    /* answers to each prompt: rows of the comparison */
    uint64_t failed, unjudged;
    const gr_versus_sample *sample; /* [samples] side by side */
    size_t samples;
} gr_versus_facts;
gram_status gr_versus_table(const gram_policy_comparison *c, const gr_versus_facts *f, gr_buf *out, gram_err *err);
gram_status gr_versus_json(const gram_policy_comparison *c, const gr_versus_facts *f, gr_buf *out, gram_err *err);
gram_status gr_versus_page(const gram_policy_comparison *c, const gr_versus_facts *f, gr_buf *out, gram_err *err);

#endif
