/* train.c - see train.h. */
#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include "cli/bar.h"
#include "cli/train.h"

/* Each in the order of its enum. */
#define SCHEDULES  "cosine|linear|constant"
#define RECOMPUTES "auto|on|off"

/* A number that was not given stays NAN or -1, and the stage's default holds. */
static double lr = NAN, warmup = NAN, weight_decay = NAN, clip = NAN, lora_alpha = NAN, lora_dropout = NAN;
static long long lora_rank = -1, batch_rows = -1, epochs = -1, steps = -1, seed = -1, save_every = -1, keep = -1;
static char *lora_targets, *schedule, *recompute, *out;
static int check_gradients;
gram_loss cli_train_loss = GRAM_LOSS_GRAM;
double cli_train_smoothing = NAN, cli_train_margin_scale = NAN, cli_train_posreg = NAN, cli_train_sft_weight = NAN,
       cli_train_sft_beta = NAN;
long long cli_train_pairs = -1, cli_train_eval_every = -1, cli_train_head_width = -1;
char *cli_train_eval;
int cli_train_drop_ties, cli_train_best, cli_train_freeze;
gram_head_kind cli_train_head;

struct poptOption cli_train_table[] = {
    { "out", 'o', POPT_ARG_STRING, &out, 0,
      "Write the trained model, its numbers, report.html and until the end checkpoints to the directory DIR.", "DIR" },
    { "lr", '\0', POPT_ARG_DOUBLE, &lr, 0, "The peak of the learning rate (default: 2e-5; pretrain 1e-5).", "X" },
    { "schedule", '\0', POPT_ARG_STRING, &schedule, 0,
      "How the rate falls after its peak (default: cosine).", SCHEDULES },
    { "warmup", '\0', POPT_ARG_DOUBLE, &warmup, 0,
      "The share of the steps over which the rate rises (default: 0.1).", "X" },
    { "weight-decay", '\0', POPT_ARG_DOUBLE, &weight_decay, 0, "AdamW's decay of matrices (default: 0).", "X" },
    { "clip", '\0', POPT_ARG_DOUBLE, &clip, 0,
      "Scale gradients down to this norm of all of them together (default: 1; 0: never).", "X" },
    { "lora-rank", '\0', POPT_ARG_LONGLONG, &lora_rank, 0,
      "Train low-rank adapters of rank N beside a model that stays as it is, and write them as PEFT does (default: "
      "every weight is trained). --dtype bf16 halves the memory of the model; without adapters it is trained in two "
      "bytes, rounded by chance at each step.", "N" },
    { "lora-alpha", '\0', POPT_ARG_DOUBLE, &lora_alpha, 0,
      "What the adapters give is times X / rank (default: X is twice the rank).", "X" },
    { "lora-dropout", '\0', POPT_ARG_DOUBLE, &lora_dropout, 0,
      "The share of their inputs that the adapters do not see in a step, drawn anew for each token and matrix; never "
      "when the model is judged (default: 0, or what the adapter that is trained further had).", "P" },
    { "lora-targets", '\0', POPT_ARG_STRING, &lora_targets, 0,
      "Which matrices of a layer have adapters: some of q,k,v,o,gate,up,down (default: all of them).", "LIST" },
    { "recompute", '\0', POPT_ARG_STRING, &recompute, 0,
      "Layers that keep their input alone for the backward pass and make the rest again, with the same bits: on, "
      "all, for a tenth of the activations' memory and about four thirds of the time; off, none; auto, the default, as "
      "many as it takes for the run to fit the machine and, with adapters, for activations of 2 GiB.", RECOMPUTES },
    { "batch-rows", 'b', POPT_ARG_LONGLONG, &batch_rows, 0, "Rows of a step (default: 16; pretrain 32).", "N" },
    { "epochs", 'e', POPT_ARG_LONGLONG, &epochs, 0, "Go through the data N times (default: 2; pretrain 1).", "N" },
    { "steps", '\0', POPT_ARG_LONGLONG, &steps, 0, "Take N steps, however many epochs that is.", "N" },
    { "seed", 's', POPT_ARG_LONGLONG, &seed, 0, "Of the order of the rows (default: 0).", "N" },
    { "save-every", '\0', POPT_ARG_LONGLONG, &save_every, 0,
      "Write a checkpoint every N steps (default: 50; 0: only when stopped by Ctrl-C).", "N" },
    { "keep", '\0', POPT_ARG_LONGLONG, &keep, 0, "Keep the N newest checkpoints (default: 2).", "N" },
    { "check-gradients", '\0', POPT_ARG_NONE, &check_gradients, 0,
      "Train nothing: print how well the gradient of each tensor agrees with difference quotients of the first batch's "
      "loss, and fail where it does not. Takes 8 or more forward passes a tensor; --batch-rows 1 is quick.", NULL },
    { "resume", 'r', POPT_ARG_NONE, &cli_resume, 0,
      "Go on from the newest whole checkpoint in DIR, or begin where there is none. The run ends with the bits of one "
      "that was never stopped.", NULL },
    { "skip-bad", '\0', POPT_ARG_NONE, &cli_skip_bad, 0,
      "Warn about a row that cannot be read and go on, instead of failing at it.", NULL },
    { "quiet", 'q', POPT_ARG_NONE, &cli_quiet, 0, "Say nothing but errors.", NULL },
    CLI_TABLE_END
};

static int bad_number(const char *name)
{
    return cli_usage("--%s: wanted a number that is not negative", name);
}

/* The numbers that were given, over the defaults. */
static int fill_numbers(gram_train_options *o)
{
    const struct { const char *name; double from, *to; } real[] = {
        { "lr", lr, &o->lr }, { "warmup", warmup, &o->warmup }, { "weight-decay", weight_decay, &o->weight_decay },
        { "clip", clip, &o->clip }, { "smoothing", cli_train_smoothing, &o->smoothing },
        { "lora-alpha", lora_alpha, &o->lora_alpha }, { "lora-dropout", lora_dropout, &o->lora_dropout },
        { "margin-scale", cli_train_margin_scale, &o->margin_scale }, { "posreg", cli_train_posreg, &o->posreg },
        { "sft-weight", cli_train_sft_weight, &o->sft_weight }, { "sft-beta", cli_train_sft_beta, &o->sft_beta },
    };
    const struct { const char *name; long long from; size_t *size; uint64_t *wide; } whole[] = {
        { "batch-rows", batch_rows, &o->batch_rows, NULL }, { "epochs", epochs, &o->epochs, NULL },
        { "lora-rank", lora_rank, &o->lora_rank, NULL },
        { "head-width", cli_train_head_width, &o->head_width, NULL },
        { "pairs", cli_train_pairs, &o->pairs, NULL }, { "steps", steps, NULL, &o->steps },
        { "seed", seed, NULL, &o->seed }, { "save-every", save_every, NULL, &o->save_every },
        { "keep", keep, &o->keep, NULL }, { "eval-every", cli_train_eval_every, NULL, &o->eval_every },
    };

    for (size_t i = 0; i < GR_COUNT(real); i++) {
        if (real[i].from < 0)
            return bad_number(real[i].name);
        if (!isnan(real[i].from))
            *real[i].to = real[i].from;
    }
    for (size_t i = 0; i < GR_COUNT(whole); i++) {
        if (whole[i].from < -1)
            return bad_number(whole[i].name);
        if (whole[i].from >= 0 && whole[i].size)
            *whole[i].size = (size_t)whole[i].from;
        else if (whole[i].from >= 0)
            *whole[i].wide = (uint64_t)whole[i].from;
    }
    return 0;
}

/* A line of the table. */
static int on_gradient(void *arg, const gram_gradient_check *c)
{
    static bool begun;

    (void)arg;
    if (!begun)
        printf("%-52s %10s %10s %9s %9s\n", "tensor", "values", "norm", "error", "allowed");
    begun = true;
    printf("%-52s %10zu %10.3g %9.2g %9.2g%s\n", c->tensor, c->values, c->norm, c->error, c->bound,
           c->agrees ? "" : "  WRONG");
    fflush(stdout);
    return cli_stopping();
}

static int fill_options(gram_train_options *o, gram_stage stage)
{
    int as_schedule, as_recompute;
    int rc;

    gram_train_options_init(o, stage);
    gram_train_options_set_loss(o, cli_train_loss);
    rc = cli_model_options(&o->model);
    if (!rc)
        rc = fill_numbers(o);
    if (rc)
        return rc;
    if (!out && !check_gradients)
        return cli_usage("--out is missing: the directory that the trained model goes to");
    as_schedule = cli_choice("schedule", schedule, SCHEDULES);
    as_recompute = as_schedule < 0 ? -1 : cli_choice("recompute", recompute, RECOMPUTES);
    if (as_recompute < 0)
        return CLI_USAGE;
    o->schedule = (gram_schedule)as_schedule;
    o->lora_targets = lora_targets;
    o->recompute = (gram_recompute)as_recompute;
    o->eval_file = cli_train_eval;
    o->best = cli_train_best;
    o->head = cli_train_head;
    o->freeze = cli_train_freeze;
    o->drop_ties = cli_train_drop_ties;
    o->resume = cli_resume;
    o->check_gradients = check_gradients ? on_gradient : NULL;
    o->skip_bad = cli_skip_bad;
    return 0;
}

/* Another process died, or hangs. This one may be killed before its call returns, so it is said at once. */
static atomic_bool death_said;
static const char *out_dir;

static void on_death(void *arg, const gram_err *why)
{
    const cli_bar *bar = arg;

    if (atomic_exchange(&death_said, true))
        return;
    if (bar->p.drawn)
        fputc('\n', stderr);
    cli_fail("%s, and the run ends; the same command with --resume goes on from the last checkpoint in %s",
             why->text, out_dir);
}

static void summary(const gram_train_report *r)
{
    if (cli_quiet)
        return;
    if (r->finished) {
        fprintf(stderr, "%s holds a model already: its run has ended, and nothing was done\n", out_dir);
        return;
    }
    fprintf(stderr, "%llu step%s over %llu row%s in %.0f s, last loss %.4f", (unsigned long long)r->steps,
            r->steps == 1 ? "" : "s", (unsigned long long)r->rows, r->rows == 1 ? "" : "s", r->seconds, r->loss);
    if (r->dropped)
        fprintf(stderr, ", %llu dropped as too long", (unsigned long long)r->dropped);
    if (r->bad)
        fprintf(stderr, ", %llu bad rows skipped", (unsigned long long)r->bad);
    fputc('\n', stderr);
    if (!isnan(r->after.value))
        printf("accuracy on %llu held-out pairs, with 95 %% intervals: %.1f %% (%.1f to %.1f) before, "
               "%.1f %% (%.1f to %.1f) after\n", (unsigned long long)r->eval_rows, 100 * r->before.value,
               100 * r->before.low, 100 * r->before.high, 100 * r->after.value, 100 * r->after.low,
               100 * r->after.high);
    if (r->best_step && r->best_step < r->steps)
        printf("the best of the accuracies between: %.1f %%, after step %llu%s\n", 100 * r->best_accuracy,
               (unsigned long long)r->best_step,
               cli_train_best ? ", whose weights were written" : "; the directory best/ holds that model");
}

int cli_train(gram_stage stage, const char *model, const char *data)
{
    gram_train_options o;
    int rc = fill_options(&o, stage);

    return rc ? rc : cli_train_run(stage, model, data, out, o);
}

int cli_train_run(gram_stage stage, const char *model, const char *data, const char *to, gram_train_options o)
{
    gram_train_report report;
    cli_bar bar = { .judging_took = 0 };
    gram_err err;
    gram_status s;
    int rc = CLI_DONE;

    out_dir = to;
    cli_train_best = o.best;
    if (gram_dist_open(&o.dist, on_death, &bar, &err))
        return cli_is_echo() ? CLI_FAILED : cli_fail_err(&err);
    cli_quiet = cli_quiet || gram_dist_rank(o.dist) > 0;
    if (o.dist)
        signal(SIGPIPE, SIG_IGN);       /* mpirun, when it ends processes, does not wait for what they say */
    o.progress = cli_bar_step;
    o.judging = cli_bar_judging;
    o.note = cli_bar_note;
    o.arg = &bar;
    cli_bar_start(&bar);
    s = (stage == GRAM_STAGE_PRETRAIN ? gram_pretrain : gram_finetune)(model, data, to, &o, &report, &err);
    cli_bar_end(&bar);
    if (!s && check_gradients)
        puts("every gradient agrees");
    else if (!s)
        summary(&report);
    else if (gram_dist_speaks(o.dist) && !atomic_exchange(&death_said, true))
        rc = s == GRAM_ESTOPPED && !check_gradients ? cli_fail("%s; the same command with --resume goes on", err.text)
                                                    : cli_fail_err(&err);
    else
        rc = CLI_FAILED;
    fflush(stdout);
    gram_dist_close(o.dist);
    return rc;
}
