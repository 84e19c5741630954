/* train_options.h - what `gram finetune`, `gram pretrain` and `gram train` share. */
#ifndef GR_CLI_TRAIN_OPTIONS_H
#define GR_CLI_TRAIN_OPTIONS_H

#include "cli/cli.h"
#include "gram/train.h"

enum { CLI_TRAIN_MOST = 80 };                       /* options of a table; all are fewer */
/* The library's options of a stage: those that the other stage has not, and the others with --out and what only tells
 * or checks. cli_train_init() fills them in, before anything reads them. */
extern struct poptOption cli_train_own[2][CLI_TRAIN_MOST], cli_train_both[CLI_TRAIN_MOST];
void cli_train_init(void);

/* Runs the stage with what the options said; data: files, ends with NULL. An exit code. */
int cli_train(gram_stage stage, const char *model, const char *const *data);
/* The same with options from elsewhere. */
int cli_train_run(gram_stage stage, const char *model, const char *data, const char *to, gram_train_options o);

#endif
