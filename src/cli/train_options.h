/* train_options.h - what `gram finetune`, `gram pretrain` and `gram train` share. */
#ifndef GR_CLI_TRAIN_OPTIONS_H
#define GR_CLI_TRAIN_OPTIONS_H

#include "cli/cli.h"
#include "gram/train.h"

enum { CLI_TRAIN_MOST = 112, CLI_TRAIN_ALL = 128 };   /* options of a table, and of all: they are fewer */
/* The library's options of a stage: those that the other stage has not, and the others with --out and what only tells
 * or checks. cli_train_init() fills them in, before anything reads them. */
extern struct poptOption cli_train_own[GRAM_STAGES][CLI_TRAIN_MOST], cli_train_both[CLI_TRAIN_MOST];
extern const struct poptOption cli_align_table[];       /* all options of `gram raft` and `gram rl` */
void cli_train_init(void);

/* Runs the stage with what the options said; data: files, ends with NULL. An exit code. */
int cli_train(gram_stage stage, const char *model, const char *const *data);
/* A policy's run; raft: the algorithms of `gram raft`, otherwise those of `gram rl`. */
int cli_align(bool raft, const char *policy, const char *const *prompts);
/* The same with options from elsewhere. */
int cli_train_run(gram_stage stage, const char *model, const char *data, const char *to, gram_train_options o);

#endif
