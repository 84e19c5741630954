/* train.h - what `gram finetune` and `gram pretrain` share. */
#ifndef CLI_TRAIN_H
#define CLI_TRAIN_H

#include "cli/cli.h"
#include "gram/train.h"

extern struct poptOption cli_train_table[];     /* --out, the optimizer, the batches, checkpoints */

/* What one command's own options say; unset where the command has none. */
extern gram_loss cli_train_loss;
extern double cli_train_smoothing, cli_train_margin_scale, cli_train_posreg, cli_train_sft_weight, cli_train_sft_beta;
extern long long cli_train_pairs, cli_train_eval_every, cli_train_head_width;
extern char *cli_train_eval;
extern int cli_train_drop_ties, cli_train_best, cli_train_freeze;
extern gram_head_kind cli_train_head;

/* Runs the stage with what the options said; an exit code. */
int cli_train(gram_stage stage, const char *model, const char *data);
/* The same with options from elsewhere. */
int cli_train_run(gram_stage stage, const char *model, const char *data, const char *to, gram_train_options o);

#endif
