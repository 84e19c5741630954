/* align.h - train a policy, a model that writes answers, from the rewards of a judge: RAFT and policy gradients.
 *
 *     gram_train_options o;
 *     gram_train_options_init(&o, GRAM_STAGE_ALIGN);
 *     gram_train_options_set_algorithm(&o, GRAM_ALGORITHM_RAFT);
 *     o.align.judge = "reward/";
 *     o.align.max_new = 64;
 *     if (gram_align("my-model", "prompts.jsonl", "out", &o, NULL, &err)) { puts(err.text); return 1; }
 *
 * The options are those of gram/train.h, `align` among them; docs/alignment.md has the formulas. */
#ifndef GRAM_ALIGN_H
#define GRAM_ALIGN_H

#include "gram/judge.h"
#include "gram/train.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* prompts: rows as gram_generate_file() reads them; a "reference" is the answer to compare with. The policy answers
 * them, opt->align.judge gives the answers rewards, and the policy learns. Writes what gram_finetune() writes, and
 * OUT/samples.jsonl, a line for each answer. opt->eval_file are prompts whose greedy answers are judged: the loss of
 * held-out rows is their mean reward with its sign turned. A run depends on its prompts, its options, the judge's
 * answers and the kind of CPU alone, stopped and resumed or not. report may be NULL. */
gram_status gram_align(const char *policy, const char *prompts, const char *out, const gram_train_options *opt,
                       gram_train_report *report, gram_err *err);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
