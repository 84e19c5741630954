/* cmd_finetune.c - `gram finetune`: stage 2 of GRAM, a language model learns to give the verdict. */
#include <string.h>
#include "cli/train.h"

static char *loss, *ties;

static const struct poptOption opts[] = {
    { "loss", '\0', POPT_ARG_STRING, &loss, 0,
      "What is minimised. gram (the default): the cross-entropy of the two labels, smoothed.", "gram" },
    { "smoothing", '\0', POPT_ARG_DOUBLE, &cli_train_smoothing, 0,
      "The mass that the target gives to the other label, as the paper defines it (default: 0.05). torch's "
      "label_smoothing=0.1 is 0.05 here, since torch spreads it over both labels.", "X" },
    { "ties", '\0', POPT_ARG_STRING, &ties, 0,
      "Rows that the data call a tie: their target is a half (the default), or they are dropped.", "half|drop" },
    { "eval-file", '\0', POPT_ARG_STRING, &cli_train_eval, 0,
      "Judge the held-out pairs of FILE before the first step and after the last, and say how often it was right.",
      "FILE" },
    { "eval-every", '\0', POPT_ARG_LONGLONG, &cli_train_eval_every, 0,
      "Judge them every N steps too, and keep the model that did it best in DIR/best.", "N" },
    { "best", '\0', POPT_ARG_NONE, &cli_train_best, 0,
      "Write the model that judged them best, not the last one. Chosen by these pairs, its accuracy on them flatters.",
      NULL },
    CLI_INCLUDE(cli_train_table, "Training options:"),
    CLI_INCLUDE(cli_judge_table, "Judge options:"),
    CLI_INCLUDE(cli_engine_table, "Engine options:"),
    CLI_TABLE_END
};

static int run(const char **arg, size_t n)
{
    (void)n;
    if (loss && strcmp(loss, "gram"))
        return cli_usage("--loss %s: wanted gram", loss);
    if (ties && strcmp(ties, "half") && strcmp(ties, "drop"))
        return cli_usage("--ties %s: wanted half or drop", ties);
    cli_train_drop_ties = ties && !strcmp(ties, "drop");
    return cli_train(GRAM_STAGE_FINETUNE, arg[0], arg[1]);
}

const cli_command cli_finetune = {
    "finetune", "MODEL PAIRS.jsonl", "Train a model to give the verdict on labelled pairs",
    "Stage 2 of GRAM: both orders of each pair are read as `gram score` reads them, and the two label logits learn "
    "which answer is better. Every weight is trained, in float32, with AdamW. MODEL is a Hugging Face directory "
    "or a .gguf file; what comes out is a directory that `gram score` and transformers open.\n\n"
    "A run's bits do not depend on the number of threads, nor on whether it was stopped and resumed.",
    "gram finetune ./my-model pairs.jsonl --out judge/ --loss gram --eval-file heldout.jsonl\n"
    "gram finetune ./my-model pairs.jsonl --out judge/ --max-tokens 2048 --truncate balanced --save-every 50 --resume",
    2, 2, opts, run
};
