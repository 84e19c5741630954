/* judging.h - the options of a judge beside a policy. */
#ifndef CLI_JUDGING_H
#define CLI_JUDGING_H

#include "cli/cli.h"
#include "gram/judge.h"

extern struct poptOption cli_judging_table[];       /* --judge --unit --judge-timeout --policy-template */
extern char *cli_judge_where, *cli_policy_template;
int cli_judge_needed(void);                         /* an exit code: whether --judge was given */
/* *o is what they say, with --judge-votes, whose settings *reasons holds, and --lambda of the judge's model, which o
 * borrows. An exit code. */
int cli_judging(gram_judge_options *o, const gram_options *model, gram_rationale_options *reasons);
/* Refuses how a judge is asked (--judge-prompt, --truncate, --template ...) and an option of its model, the name of one
 * that was given or NULL, where none is a model, and --judge-timeout where none is a program. gold: a second judge, or
 * NULL. */
int cli_judge_unused(const char *gold, const char *engine);

#endif
