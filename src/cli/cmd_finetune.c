/* cmd_finetune.c - `gram finetune`: stage 2 of GRAM, a language model learns to give the verdict. */
#include <string.h>
#include "cli/train.h"

static char *loss, *ties, *head;

static const struct poptOption opts[] = {
    { "loss", '\0', POPT_ARG_STRING, &loss, 0,
      "What is minimised. gram (the default): the cross-entropy of the two labels, smoothed; generative: the same "
      "without smoothing. The others train a reward model, whose head reads one answer: bt (Bradley-Terry), bt-margin, "
      "bt-smooth, bt-posreg, sft-reg (which also learns to write the chosen answer) and purm (a mean and a spread).",
      "gram|generative|bt|bt-margin|bt-smooth|bt-posreg|sft-reg|purm" },
    { "smoothing", '\0', POPT_ARG_DOUBLE, &cli_train_smoothing, 0,
      "gram, bt-smooth: the mass that the target gives to the other label, as the paper defines it (default: 0.05; "
      "bt-smooth 0.1). torch's label_smoothing=0.1 is the paper's 0.05 and 0.05 here, since torch spreads it over both "
      "labels.", "X" },
    { "margin-scale", '\0', POPT_ARG_DOUBLE, &cli_train_margin_scale, 0,
      "bt-margin: multiplies the margins of the rows (default: 1).", "X" },
    { "posreg", '\0', POPT_ARG_DOUBLE, &cli_train_posreg, 0,
      "bt-posreg: the weight of the term that keeps chosen answers' rewards above 0 (default: 0.1).", "X" },
    { "sft-weight", '\0', POPT_ARG_DOUBLE, &cli_train_sft_weight, 0,
      "sft-reg: a, the share of the text's loss (default: 0.01).", "X" },
    { "sft-beta", '\0', POPT_ARG_DOUBLE, &cli_train_sft_beta, 0,
      "sft-reg: b, which multiplies the text's log-probability (default: 0.1).", "X" },
    { "head", '\0', POPT_ARG_STRING, &head, 0,
      "What gives a new reward model its number: linear, the hidden state of the last token times a vector (the "
      "default), or mlp, GRM's: a hidden layer, ReLU, and then the vector.", "linear|mlp" },
    { "head-width", '\0', POPT_ARG_LONGLONG, &cli_train_head_width, 0, "mlp: its hidden units (default: 1024).", "N" },
    { "freeze", '\0', POPT_ARG_NONE, &cli_train_freeze, 0,
      "Train the reward head alone and leave the rest of the model as it is.", NULL },
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
    gram_err err;

    (void)n;
    if (loss && gram_loss_parse(loss, &cli_train_loss, &err))
        return cli_usage("--loss: %s", err.text);
    if (ties && strcmp(ties, "half") && strcmp(ties, "drop"))
        return cli_usage("--ties %s: wanted half or drop", ties);
    if (head && strcmp(head, "linear") && strcmp(head, "mlp"))
        return cli_usage("--head %s: wanted linear or mlp", head);
    cli_train_head = head && !strcmp(head, "mlp") ? GRAM_HEAD_MLP : GRAM_HEAD_LINEAR;
    cli_train_drop_ties = ties && !strcmp(ties, "drop");
    return cli_train(GRAM_STAGE_FINETUNE, arg[0], arg[1]);
}

const cli_command cli_finetune = {
    "finetune", "MODEL PAIRS.jsonl", "Train a judge, or a reward model, on labelled pairs",
    "Stage 2 of GRAM: both orders of each pair are read as `gram score` reads them, and the two label logits learn "
    "which answer is better. With --loss bt and those like it each answer is read by itself, as a conversation in the "
    "model's own chat template, and a head behind its last token learns a number; MODEL then is a language model, "
    "which gets such a head, or one that has it (...ForSequenceClassification). Every weight is "
    "trained, in float32, with AdamW. MODEL is a Hugging Face directory or a .gguf file; what comes out is a directory "
    "that `gram score` and transformers open.\n\n"
    "With --lora-rank the model stays as it is and low-rank adapters beside it are trained, in far less memory. What "
    "comes out is a directory that `gram score` and PEFT open; `gram merge` makes a whole model of it. MODEL may be "
    "such a directory, which is then trained further.\n\n"
    "Started by Open MPI's mpirun, processes share each step and the optimizer's memory. Ctrl-C gives them two seconds "
    "to write a checkpoint; mpirun --mca odls_base_sigkill_timeout N makes it 2 N, and SIGUSR1 to mpirun gives all the "
    "time they need.\n\n"
    "A run's bits do not depend on the number of threads, nor on whether it was stopped and resumed.",
    "gram finetune ./my-model pairs.jsonl --out judge/ --loss gram --eval-file heldout.jsonl\n"
    "gram finetune ./my-model pairs.jsonl --out reward/ --loss bt-margin\n"
    "gram finetune ./my-model pairs.jsonl --out judge/ --max-tokens 2048 --truncate balanced --save-every 50 --resume\n"
    "mpirun -np 4 gram finetune ./my-model pairs.jsonl --out judge/\n"
    "gram finetune ./my-model pairs.jsonl --out judge-lora/ --lora-rank 16 --lr 2e-4",
    2, 2, opts, run
};
