/* folder.h - a judge over every benchmark of a folder, each by its own rules, and one page with all of them.
 *
 * A file is told by its first row: RM-Bench, JudgeBench and RewardBench 2 have forms of their own, and RewardBench has
 * names of subsets of its own. All else are pairs of the user's. */
#ifndef GR_EVAL_FOLDER_H
#define GR_EVAL_FOLDER_H

#include "eval/eval.h"

/* Judges the files of one benchmark, as gr_eval_run() does; opt: of that benchmark. */
typedef gram_status gr_eval_files_fn(void *arg, const char *const *file, size_t n, const gram_eval_options *opt,
                                     gram_eval_summary *out, gram_err *err);

/* As gram_eval_folder(). Of shares of the rows, or of workers, the benchmarks are judged and nothing else is made. */
gram_status gr_eval_folder(const char *folder, const gram_eval_options *opt, const gr_eval_facts *facts,
                           gr_eval_files_fn *judge, void *arg, char **table_out, gram_err *err);

#endif
