/* cmd_finetune.c - `gram finetune`: stage 2 of GRAM, a language model learns to give the verdict. */
#include "cli/train_options.h"

static const struct poptOption opts[] = {
    CLI_INCLUDE(cli_train_own[GRAM_STAGE_FINETUNE], "Options:"),
    CLI_INCLUDE(cli_train_both, "Training options:"),
    CLI_INCLUDE(cli_prompt_table, "Judge options:"),
    CLI_INCLUDE(cli_run_table, "Engine options:"),
    CLI_DEVICES,
    CLI_TABLE_END
};

static int run(const char **arg, size_t n)
{
    (void)n;
    return cli_train(GRAM_STAGE_FINETUNE, arg[0], arg + 1);
}

const cli_command cli_finetune = {
    "finetune", "MODEL PAIRS.jsonl...", "Train a judge, or a reward model, on labelled pairs",
    "Stage 2 of GRAM: both orders of each pair are read as `gram score` reads them, and the two label logits learn "
    "which answer is better. With --loss bt and those like it each answer is read by itself, as a conversation in the "
    "model's own chat template, and a head on its last token learns a number; MODEL then is a language model, "
    "which gets such a head, or a reward model, whose head goes on. Every weight is trained, in float32, with AdamW. "
    "MODEL is a Hugging Face directory or a .gguf file; what comes out is a directory that `gram score` and "
    "transformers open.\n\n--loss dpo, cdpo, ipo, simpo, orpo and kto train a policy, which writes answers, on the "
    "same pairs (kto on rows of a prompt, a \"completion\" and a \"label\"): docs/alignment.md.\n\n"
    "With --lora-rank the model stays as it is and low-rank adapters beside it are trained, in far less memory. What "
    "comes out is a directory that `gram score` and PEFT open; `gram merge` makes a whole model of it. MODEL may be "
    "such a directory, which is then trained further.\n\n"
    "Started by Open MPI's mpirun, or by --devices for each GPU that it names, processes share each step and the "
    "optimizer's memory. Ctrl-C gives them two seconds "
    "to write a checkpoint; mpirun --mca odls_base_sigkill_timeout N makes it 2 N, and SIGUSR1 to mpirun gives all the "
    "time they need.\n\n"
    "A run's bits do not depend on the number of threads, nor on whether it was stopped and resumed.",
    "gram finetune ./my-model pairs.jsonl --out judge/ --loss gram --eval-file heldout.jsonl\n"
    "gram finetune ./my-model pairs.jsonl --out reward/ --loss bt-margin\n"
    "gram finetune ./my-model pairs.jsonl --out better/ --loss dpo --beta 0.1\n"
    "gram finetune ./my-model pairs.jsonl --out judge/ --max-tokens 2048 --truncate balanced --resume\n"
    "mpirun -np 4 gram finetune ./my-model pairs.jsonl --out judge/\n"
    "gram finetune ./my-model pairs.jsonl --out judge-lora/ --lora-rank 16 --lr 2e-4",
    2, CLI_MANY, opts, run, true
};
