/* training_page.h - a training run as one page, from what it left in its output directory: the lines of metrics.jsonl
 * as curves, the held-out rows before and after. Like report.h's page it needs neither the network nor this program. */
#ifndef GR_EVAL_TRAINING_PAGE_H
#define GR_EVAL_TRAINING_PAGE_H

#include "base/mem.h"
#include "eval/metrics.h"
#include "gram/train.h"

/* A held-out set, borrowed; the first decides which weights are best. */
typedef struct {
    const char *name;
    size_t rows;
    const uint64_t *prompt;         /* [rows] what conversation each is of */
    gram_interval before, after;    /* filled in: accuracy, NAN where the files do not say */
} gr_run_set;

/* Borrowed strings; base names, no paths of somebody's machine. */
typedef struct {
    gram_stage stage;
    const char *model, *data;
    gr_run_set *set;                /* [sets] */
    size_t sets;
    const char *cpu, *date;
    const gram_train_options *opt;
    bool stopped;                   /* the run is not at its end */
} gr_run_facts;

/* Fills in the accuracies of the sets from OUT/held-out.jsonl, the report's, which are the first set's, its losses from
 * OUT/metrics.jsonl, each NAN where that does not say, and *page if it is not NULL. */
gram_status gr_eval_training(const char *out, const gr_run_facts *f, gram_train_report *report, gr_buf *page,
                             gram_err *err);

#endif
