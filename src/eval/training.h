/* training.h - a training run as one page, from what it left in its output directory: the lines of metrics.jsonl as
 * curves, the held-out rows before and after. Like report.h's page it needs neither the network nor this program. */
#ifndef GR_EVAL_TRAINING_H
#define GR_EVAL_TRAINING_H

#include "base/mem.h"
#include "eval/metrics.h"
#include "gram/train.h"

/* Borrowed strings; base names, no paths of somebody's machine. */
typedef struct {
    gram_stage stage;
    const char *model, *data, *eval_file;       /* eval_file NULL: none */
    const char *cpu, *date;
    const gram_train_options *opt;
    const uint64_t *prompt;         /* [report->eval_rows] what conversation each held-out row belongs to */
    bool stopped;                   /* the run is not at its end */
} gr_run_facts;

/* Fills in the report's accuracies from OUT/held-out.jsonl (NAN where it does not say), and *page if it is not NULL. */
gram_status gr_eval_training(const char *out, const gr_run_facts *f, gram_train_report *report, gr_buf *page,
                             gram_err *err);

#endif
