/* train_options.c - see train_options.h. */
#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "cli/bar.h"
#include "cli/train_options.h"
#include "gram/align.h"

/* What was given for each of the library's options, as it was typed: the library says what it may be. */
enum { HELP = 1024 };             /* bytes of an option's sentences */
static struct { char *text, **list; int flag; char help[HELP]; } given[CLI_TRAIN_ALL];
static char *out;
static int check_gradients;
static char raft_by_default[] = "raft";

struct poptOption cli_train_own[GRAM_STAGES][CLI_TRAIN_MOST], cli_train_both[CLI_TRAIN_MOST] = {
    { "out", 'o', POPT_ARG_STRING, &out, 0,
      "Write the trained model, its numbers, report.html and checkpoints to the directory DIR.", "DIR" },
    { "check-gradients", '\0', POPT_ARG_NONE, &check_gradients, 0,
      "Train nothing: print how well the gradient of each tensor agrees with difference quotients of the first batch's "
      "loss, and fail where it does not. Takes 8 or more forward passes a tensor; --batch-rows 1 is quick.", NULL },
    { "quiet", 'q', POPT_ARG_NONE, &cli_quiet, 0, "Say nothing but errors.", NULL },
    CLI_TABLE_END
};

const struct poptOption cli_align_table[] = {
    CLI_INCLUDE(cli_train_own[GRAM_STAGE_ALIGN], "Options:"),
    CLI_INCLUDE(cli_train_both, "Training options:"),
    CLI_INCLUDE(cli_policy_table, "Prompt options:"),
    CLI_INCLUDE(cli_run_table, "Engine options:"),
    CLI_DEVICES,
    CLI_TABLE_END
};

/* ---- The tables, from the library's ---------------------------------------------------------------- */

#define FORMATS "gram-r2|rm-r1|think-rm|FILE"

/* What an option's value is called, where its kind does not say it. */
static const struct { const char *option, *value; } value_name[] = {
    { "judge", "JUDGE" }, { "eval-judge", "JUDGE" }, { "scale", "0-10" }, { "rationale-format", FORMATS },
    { "eval-judge-format", FORMATS }, { "sampler", "MODEL" }, { "value", "MODEL" }, { "reference", "MODEL" },
    { "cache", "DIR" }, { "columns", "NAME=COLUMN,..." },
};

static const char *argument_name(const gram_option *o)
{
    for (size_t i = 0; i < GR_COUNT(value_name); i++)
        if (!strcmp(o->name, value_name[i].option))
            return value_name[i].value;
    if (o->choices)
        return o->choices;
    return o->kind == GRAM_OPTION_REAL ? "X" : o->kind == GRAM_OPTION_WORD ? "LIST"
         : o->kind >= GRAM_OPTION_PATH ? "FILE" : "N";
}

/* A sentence of the library names options `so`; the command line's have dashes. */
static void write_dashes(const char *help, char *text, size_t room)
{
    bool inside = false;

    for (; *help && room > 3; help++) {
        if (*help != '`') {
            *text++ = *help;
            room--;
            continue;
        }
        inside = !inside;
        for (int i = 0; i < 2 && inside; i++, room--)
            *text++ = '-';
    }
    *text = '\0';
}

/* Its sentences with the defaults after them: "(default: 2e-5; pretrain 1e-5)". */
static void write_help(const gram_option *o, char *out_text, size_t room)
{
    static const char *const name[GRAM_STAGES] = { "pretrain", NULL, "raft and rl" };
    int most = o->stages & 1u << GRAM_STAGE_FINETUNE ? GRAM_STAGE_FINETUNE
             : o->stages & 1u << GRAM_STAGE_ALIGN ? GRAM_STAGE_ALIGN : GRAM_STAGE_PRETRAIN;
    const char *usual = o->usual[most];
    size_t at;

    write_dashes(o->help, out_text, room);
    at = strlen(out_text);
    if (usual)
        at += (size_t)snprintf(out_text + at, room - at, " (default: %s", usual);
    for (int stage = 0; stage < GRAM_STAGES && usual; stage++)
        if (stage != most && (o->stages >> stage & 1) && strcmp(o->usual[stage], usual))
            at += (size_t)snprintf(out_text + at, room - at, "; %s %s", name[stage], o->usual[stage]);
    snprintf(out_text + at, room - at, "%s.", usual ? ")" : "");
}

static void add(struct poptOption *table, size_t i, const gram_option *o)
{
    static const struct poptOption end = CLI_TABLE_END;
    bool flag = o->kind == GRAM_OPTION_FLAG, list = o->kind == GRAM_OPTION_PATHS;

    write_help(o, given[i].help, sizeof given[i].help);
    while (table->longName)
        table++;
    *table++ = (struct poptOption){ o->name, o->letter,
                                    flag ? POPT_ARG_NONE : list ? POPT_ARG_ARGV : POPT_ARG_STRING,
                                    flag ? (void *)&given[i].flag : list ? (void *)&given[i].list
                                                                         : (void *)&given[i].text,
                                    0, given[i].help, flag ? NULL : argument_name(o) };
    *table = end;
}

void cli_train_init(void)
{
    const gram_option *o;

    for (size_t i = 0; (o = gram_train_option(i)); i++) {
        bool all = o->stages == (1u << GRAM_STAGES) - 1;
        if (!o->shared && all)
            add(cli_train_both, i, o);
        for (int stage = 0; stage < GRAM_STAGES && !o->shared && !all; stage++)
            if (o->stages >> stage & 1)
                add(cli_train_own[stage], i, o);
    }
}

/* ---- What they said -------------------------------------------------------------------------------- */

/* What was given, over the defaults; then whether this run has a use for it. */
static int take_options(gram_train_options *o, gram_stage stage)
{
    const gram_option *k;
    gram_err err;

    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; (k = gram_train_option(i)); i++) {
            const char *value = given[i].flag ? "true" : given[i].list ? given[i].list[0] : given[i].text;
            if (value && (pass ? gram_train_option_used(o, stage, k->name, &err)
                               : gram_train_options_set(o, k->name, value, &err)))
                return cli_usage("--%s", err.text);
            if (given[i].list)
                *(char ***)((char *)o + k->more) = given[i].list + 1;
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
    int rc;

    gram_train_options_init(o, stage);
    rc = take_options(o, stage);
    if (!rc)
        rc = cli_model_options(&o->model);
    if (o->model.dtype == GRAM_DTYPE_AUTO)      /* what is trained is stored as it is said, and learns in float32 */
        o->model.dtype = GRAM_F32;
    if (!rc && !out && !check_gradients)
        rc = cli_usage("--out is missing: the directory that the trained model goes to");
    o->check_gradients = check_gradients ? on_gradient : NULL;
    return rc;
}

/* Another process died, or hangs. This one may be killed before its call returns, so it is said at once. */
static atomic_bool death_said;
static const char *out_dir;
static bool writes_best, aligned;

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

/* one_answer: rows are not pairs. */
static void summary(const gram_train_report *r, bool one_answer)
{
    if (cli_quiet)
        return;
    if (r->finished) {
        fprintf(stderr, "%s holds a model already: its run has ended, and nothing was done\n", out_dir);
        return;
    }
    fprintf(stderr, "%llu step%s over %llu row%s in %.0f s", (unsigned long long)r->steps, r->steps == 1 ? "" : "s",
            (unsigned long long)r->rows, r->rows == 1 ? "" : "s", r->seconds);
    if (isnan(r->loss))                             /* the run before was cut off between its last step and its end */
        fputs(", all of them taken before; the model is written", stderr);
    else
        fprintf(stderr, ", last loss %.4f", r->loss);
    if (r->early)
        fputs(", ended early: no judging was better than the best", stderr);
    if (r->dropped)
        fprintf(stderr, ", %llu dropped as too long", (unsigned long long)r->dropped);
    if (r->bad)
        fprintf(stderr, ", %llu bad rows skipped", (unsigned long long)r->bad);
    fputc('\n', stderr);
    if (aligned && !isnan(r->loss_after))
        printf("reward on %llu held-out prompt%s: %.4f before, %.4f after\n", (unsigned long long)r->eval_rows,
               r->eval_rows == 1 ? "" : "s", -r->loss_before, -r->loss_after);
    else if (!isnan(r->after.value))
        printf("accuracy on %llu held-out %s, with 95 %% intervals: %.1f %% (%.1f to %.1f) before, "
               "%.1f %% (%.1f to %.1f) after\n", (unsigned long long)r->eval_rows,
               one_answer ? "answers" : "pairs", 100 * r->before.value,
               100 * r->before.low, 100 * r->before.high, 100 * r->after.value, 100 * r->after.low,
               100 * r->after.high);
    else if (!isnan(r->loss_after))
        printf("loss on %llu held-out row%s: %.4f before, %.4f after\n", (unsigned long long)r->eval_rows,
               r->eval_rows == 1 ? "" : "s", r->loss_before, r->loss_after);
    if (aligned && !isnan(r->best_loss) && r->best_step == 0)
        printf("no reward between was better than the one before%s\n",
               writes_best ? ", whose weights were written" : "; the directory best/ holds that model");
    else if (r->best_step && r->best_step < r->steps && isnan(r->best_accuracy))
        printf("the best of the %s between: %.4f, after step %llu%s\n", aligned ? "rewards" : "losses",
               aligned ? -r->best_loss : r->best_loss,
               (unsigned long long)r->best_step,
               writes_best ? ", whose weights were written" : "; the directory best/ holds that model");
    else if (r->best_step && r->best_step < r->steps)
        printf("the best of the accuracies between: %.1f %%, after step %llu%s\n", 100 * r->best_accuracy,
               (unsigned long long)r->best_step,
               writes_best ? ", whose weights were written" : "; the directory best/ holds that model");
}

int cli_align(bool raft, const char *policy, const char *const *prompts)
{
    gram_train_options o;
    int rc;

    for (size_t i = 0; gram_train_option(i); i++)
        if (!strcmp(gram_train_option(i)->name, "algorithm") && !given[i].text && raft)
            given[i].text = raft_by_default;
    rc = fill_options(&o, GRAM_STAGE_ALIGN);
    if (!rc && raft != (o.align.algorithm <= GRAM_ALGORITHM_REINFORCE_REJ))
        return cli_usage("--algorithm %s: it is one of `gram %s`", gram_algorithm_name(o.align.algorithm),
                         raft ? "rl" : "raft");
    o.more_data = prompts + 1;
    return rc ? rc : cli_train_run(GRAM_STAGE_ALIGN, policy, prompts[0], out, o);
}

int cli_train(gram_stage stage, const char *model, const char *const *data)
{
    gram_train_options o;
    int rc = fill_options(&o, stage);

    o.more_data = data + 1;
    return rc ? rc : cli_train_run(stage, model, data[0], out, o);
}

int cli_train_run(gram_stage stage, const char *model, const char *data, const char *to, gram_train_options o)
{
    static gram_status (*const run[GRAM_STAGES])(const char *, const char *, const char *, const gram_train_options *,
                                                 gram_train_report *, gram_err *) = { gram_pretrain, gram_finetune,
                                                                                      gram_align };
    gram_train_report report;
    cli_bar bar = { .judging_took = 0 };
    gram_err err;
    gram_status s;
    int rc = CLI_DONE;

    out_dir = to;
    writes_best = o.best;
    aligned = stage == GRAM_STAGE_ALIGN;
    if (gram_dist_open(&o.dist, on_death, &bar, &err))
        return cli_is_echo() ? CLI_FAILED : cli_fail_err(&err);
    cli_quiet = cli_quiet || gram_dist_rank(o.dist) > 0;
    if (o.dist)
        signal(SIGPIPE, SIG_IGN);       /* mpirun, when it ends processes, does not wait for what they say */
    o.progress = cli_bar_step;
    o.judging = cli_bar_judging;
    o.held = cli_bar_held;
    o.note = cli_bar_note;
    o.arg = &bar;
    cli_bar_start(&bar);
    s = run[stage](model, data, to, &o, &report, &err);
    cli_bar_end(&bar);
    if (!s && check_gradients)
        puts("every gradient agrees");
    else if (!s)
        summary(&report, o.loss == GRAM_LOSS_KTO);
    else if (gram_dist_speaks(o.dist) && !atomic_exchange(&death_said, true))
        rc = s == GRAM_ESTOPPED && !check_gradients ? cli_fail("%s; the same command with --resume goes on", err.text)
                                                    : cli_fail_err(&err);
    else
        rc = CLI_FAILED;
    fflush(stdout);
    gram_dist_close(o.dist);
    return rc;
}
