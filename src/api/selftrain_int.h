/* selftrain_int.h - the parts of gram_selftrain(). */
#ifndef GR_API_SELFTRAIN_INT_H
#define GR_API_SELFTRAIN_INT_H

#include "api/api_int.h"
#include "api/stage.h"
#include "gram/selftrain.h"
#include "rationale/format.h"

/* ---- Options (selftrain_recipe.c) ------------------------------------------------------------------ */

/* A stage of each kind heeds some of the options. */
typedef enum { GR_SELF_TRAIN, GR_SELF_PROVE, GR_SELF_PAIRS, GR_SELF_VOTE, GR_SELF_LABEL, GR_SELF_EVAL } gr_self_kind;
/* The i-th option of selftrain.h that is no file, and whether a kind of stage heeds it; NULL at the end. */
const gram_option *gr_selftrain_option(size_t i, gr_self_kind kind, bool *heeds);
/* Everything that the tables say, and what takes two options to say. */
gram_status gr_selftrain_check(const gram_selftrain_options *o, gram_err *err);

/* ---- A run (selftrain_stage.c) --------------------------------------------------------------------- */

typedef struct {
    const gram_selftrain_options *o;
    gram_selftrain_calls calls;
    gr_digests digests;
    gram_selftrain_report report;
    gr_format format;
    const char *label[2];
    char **kept;                        /* paths that live as long as the run */
    size_t n_kept, cap;
    const char *prover, *judge;         /* paths; the judge is the newest */
    const char **data;                  /* [n_data] what a judge learns from, and NULL */
    size_t n_data;
    gram_selftrain_progress now;
    gram_model *m;                      /* that is at work; NULL: none */
    bool worked;                        /* a stage of this call had something to do */
    double began;
    uint64_t first;                     /* rows or steps that were done before this call */
} gr_self_run;

/* OUT/...; it lives as long as the run; NULL: memory ran out. */
const char *gr_self_path(gr_self_run *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Of a list that is given by its first file and the others. */
size_t gr_self_files(const char *first, const char *const *more);
const char *gr_self_file(const char *first, const char *const *more, size_t i);

/* arg: the run. */
gram_progress_fn gr_self_on_rows;
gram_train_fn gr_self_on_step;
gram_warn_fn gr_self_on_note, gr_self_on_warn;

/* Adds to a stage's record what it heeds: of the call's options, and of those of training all, or what a model is
 * opened with. */
gram_status gr_self_heed(const gr_self_run *r, gr_run_stage *s, gr_self_kind kind, gram_err *err);
gram_status gr_self_heed_training(gr_self_run *r, gr_run_stage *s, const gram_train_options *o, bool opened,
                                  gram_err *err);
/* And the files of a list, by the name of their key. */
gram_status gr_self_reads(gr_self_run *r, gr_run_stage *s, const char *what, const char *first, const char *const *more,
                          gram_err *err);

/* Does the work where the stage's output is not whole; s is cleared. heeded: how filling its record ended, which is
 * handed back where it failed. */
typedef gram_status gr_self_work_fn(gr_self_run *r, const char *out, const void *arg, gram_err *err);
gram_status gr_self_do(gr_self_run *r, gr_run_stage *s, gram_status heeded, size_t round, const char *unit,
                       gr_self_work_fn *work, const void *arg, gram_err *err);

/* ---- Rows (selftrain_rows.c) ----------------------------------------------------------------------- */

typedef struct {
    const gram_selftrain_options *o;
    const gram_selftrain_calls *calls;
    size_t round;                       /* from 1 */
    const char *folder;                 /* OUT/round-1 */
    const char *label[2];               /* what rationales call the answers */
} gr_self_round;
/* pairs.jsonl: the round's share of the unlabelled pairs. */
gram_status gr_selftrain_pairs(const gr_self_round *r, gram_err *err);
/* labels.jsonl, dropped.jsonl and rules.json, from pairs.jsonl and votes.jsonl. */
gram_status gr_selftrain_labels(const gr_self_round *r, gram_voted_labels *out, gram_err *err);
/* What rules.json holds. */
gram_status gr_selftrain_read_rules(const char *folder, gram_voted_labels *out, gram_err *err);
/* Rows and rationales of a file of proofs, and the sum of their scores, added to *r and *score. */
gram_status gr_selftrain_count_proofs(const char *path, gram_selftrain_round *r, double *score, gram_err *err);
/* The accuracy and the rows of an evaluation's numbers. */
gram_status gr_selftrain_read_eval(const char *path, gram_interval *accuracy, uint64_t *rows, gram_err *err);
/* ---- Report (selftrain_report.c) ------------------------------------------------------------------- */

struct json_t;
struct json_t *gr_selftrain_labels_json(const gram_voted_labels *l);       /* as rules.json has it; NULL: no memory */
/* rounds.json and report.html. */
gram_status gr_selftrain_write_report(const gram_selftrain_options *o, const gram_selftrain_report *r, gram_err *err);

#endif
