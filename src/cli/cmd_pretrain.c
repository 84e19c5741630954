/* cmd_pretrain.c - `gram pretrain`: stage 1 of GRAM, a language model learns what pairs of answers look like. */
#include "cli/train_options.h"

static const struct poptOption opts[] = {
    CLI_INCLUDE(cli_train_own[GRAM_STAGE_PRETRAIN], "Options:"),
    CLI_INCLUDE(cli_train_both, "Training options:"),
    CLI_INCLUDE(cli_prompt_table, "Judge options:"),
    CLI_INCLUDE(cli_run_table, "Engine options:"),
    CLI_DEVICES,
    CLI_TABLE_END
};

static int run(const char **arg, size_t n)
{
    (void)n;
    return cli_train(GRAM_STAGE_PRETRAIN, arg[0], arg + 1);
}

const cli_command cli_pretrain = {
    "pretrain", "MODEL UNLABELED.jsonl...", "Train a model to write pairs of answers, before it learns to judge them",
    "Stage 1 of GRAM: minimises -log pi([a, b] | x) on pairs drawn from each prompt's responses. The question is read, "
    "and both answers, within the marks of the judge prompt, are learnt token by token. No labels are used. "
    "`gram finetune` goes on from what comes out; after --lora-rank, with the same. --truncate knows error and drop "
    "here.\n\n"
    "Started by Open MPI's mpirun, processes share each step; `gram help finetune` says more.",
    "gram pretrain ./my-model unlabeled.jsonl --out stage1/\n"
    "gram pretrain ./my-model unlabeled.jsonl.gz --out stage1/ --pairs 4 --max-tokens 2048",
    2, CLI_MANY, opts, run, true
};
