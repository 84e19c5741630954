/* result.h - everything that a run found, as the table, the JSON and the page show it. */
#ifndef GR_EVAL_RESULT_H
#define GR_EVAL_RESULT_H

#include "eval/metrics.h"
#include "eval/rules.h"
#include "eval/purm.h"
#include "eval/votes.h"

#define GR_EVAL_HISTOGRAM 20        /* bins of preference, equal width over [0,1] */
#define GR_EVAL_MARGINS 10          /* groups of rows by |logit margin|, equally many in each */
#define GR_EVAL_SHOWN 30            /* rows that a page shows with their texts */

/* What the run was; borrowed strings, NULL where not known. `date` is shown as given. */
typedef struct {
    const char *model;              /* a base name, no path of somebody's machine */
    const char *dtype, *arithmetic, *cpu, *chat_template, *truncate, *date;
    const char *prompt_hash;        /* of the judge prompt's bytes */
    const char *label_a, *label_b;
    size_t max_tokens;
    uint64_t weights;               /* their digest, 0: not known; not written anywhere */
    size_t batch_tokens;            /* that the scorer computes together, 0: a row at a time; not written anywhere */
    bool single_order;
    double lambda;                  /* PURM: of mean - lambda u */
    double temperature;             /* of judge.json, 0: none */
    const char *rationale;          /* how reasons were written, in words; NULL: none were */
} gr_eval_facts;

typedef struct {
    char *name;                     /* owned; "" where rows name none */
    gr_eval_stats stats;
} gr_eval_subset;

typedef struct {
    char *path, *name;              /* owned; name: as short as tells the files apart */
    gr_eval_stats stats;
    gram_interval macro;            /* mean over its subsets */
    gr_eval_subset *subset;         /* in the order of their names; one of them at least where there are rows */
    size_t n_subsets;
    uint64_t bad, label_ties;       /* rows not judged: unreadable; called a tie by the data */
} gr_eval_file;

/* A row by its place in the run. Its texts are owned, NULL where they could not be read again. */
typedef struct { size_t row; char *prompt, *answer[2]; } gr_eval_shown;     /* chosen, rejected */

typedef struct { uint64_t rows; double margin, low, high; gram_interval accuracy; } gr_eval_margin;

typedef struct {
    gr_eval_facts facts;
    gr_eval_file *file;
    size_t n_files;
    const gr_eval_row *row;         /* borrowed, in the order they were read */
    size_t n_rows;
    gr_eval_stats all;              /* micro: over rows */
    gram_interval macro, macro_subsets;     /* mean over files with rows; over subsets of all files */
    uint64_t bad, label_ties;
    uint64_t histogram[GR_EVAL_HISTOGRAM];
    gr_eval_margin margin[GR_EVAL_MARGINS]; /* the first n_margins hold rows */
    size_t n_margins;
    uint64_t quadrant[2][2];        /* [first order prefers chosen][swapped order does]; ties prefer neither and
                                     * are in none */
    size_t worst[10], n_worst;      /* rows judged wrong with the most confidence */
    gr_eval_shown shown[GR_EVAL_SHOWN];     /* the worst first (shown.h) */
    size_t n_shown;
    gr_rule_result rules;
    gr_eval_spread spread;
    gr_eval_votes votes;
    gram_temperature_fit fit;       /* pairs 0: not asked for */
    uint64_t resumed;               /* rows that an earlier run had judged */
    double seconds, tokens_per_s, pairs_per_s;      /* judging, in this run; NAN where it judged none */
} gr_eval_result;

/* Fills files' numbers and everything below from row[n], whose .file is below n_files. r->file[].path and the
 * counts of rows not judged are the caller's and already there, as are facts and speed. rules may be NONE. */
gram_status gr_eval_collect(gr_eval_result *r, const gr_eval_row *row, size_t n, gr_rules rules, gram_err *err);
/* Of a model that gives each answer a number there are no orders and no logits of labels to speak of. */
bool gr_eval_by_rewards(const gr_eval_result *r);
/* Whether each row was read in one order alone. */
bool gr_eval_one_order(const gr_eval_result *r);
void gr_eval_result_clear(gr_eval_result *r);       /* frees the files and what they own, and the texts */

#endif
