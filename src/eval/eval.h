/* eval.h - judge labelled files with whatever scores a pair, and say how well it did.
 *
 * Rows are read twice: once to count them and to find the bad ones before an hour of judging, once to judge them
 * in batches, each batch's lines reaching rows.jsonl.partial before the next begins. A resumed run reads the
 * inputs again, takes the numbers of rows that the partial file already holds and judges the others; everything
 * but the speed is then as if it had never stopped. JSON, page and rows appear under their names when whole. */
#ifndef GR_EVAL_EVAL_H
#define GR_EVAL_EVAL_H

#include "eval/result.h"
#include "gram/gram.h"

/* Scores n pairs, as gram_score() does. GRAM_ELIMIT: one of them is too long. why[n] are empty, and hold what was
 * written before the verdicts, where something was. Half of the pairs are turned, so that no seat is the better
 * answer's where not as much is read in each order. */
typedef gram_status gr_score_fn(void *arg, const gram_pair *pair, size_t n, gram_verdict *out, gram_reasoned *why,
                                gram_err *err);

/* Where the rows of a run go, malloc'ed: opt->rows, else beside the JSON, else in the report's folder, else nowhere. */
gram_status gr_eval_rows_path(const gram_eval_options *o, char **out, gram_err *err);

/* As gram_eval(); of a share of the rows, opt->rows gets their lines and there is nothing else. facts go into JSON and
 * report, and all but cpu, date and truncate into the mark that keeps a resume from mixing two runs. table_out may be
 * NULL. */
gram_status gr_eval_run(const char *const *file, size_t n, const gram_eval_options *opt, const gr_eval_facts *facts,
                        gr_score_fn *score, void *arg, gram_eval_summary *out, char **table_out, gram_err *err);

#endif
