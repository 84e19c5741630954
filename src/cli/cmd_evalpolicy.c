/* cmd_evalpolicy.c - `gram evalpolicy`: what a policy's answers are worth beside another's. */
#include <stdlib.h>
#include <string.h>
#include "cli/generation.h"
#include "cli/judging.h"
#include "gram/evalpolicy.h"

static char *out, *baseline, *column;
static int samples;

static const struct poptOption opts[] = {
    CLI_INCLUDE(cli_judging_table, NULL),
    { "baseline", 'B', POPT_ARG_STRING, &baseline, 0,
      "Compare with the answers of this model, by the same settings and the same seed.", "MODEL" },
    { "baseline-column", '\0', POPT_ARG_STRING, &column, 0,
      "Compare with the answers that the rows have under this name, as in reference or chosen.", "NAME" },
    { "out", 'o', POPT_ARG_STRING, &out, 0,
      "Write answers, verdicts, numbers.json and the page index.html into DIR.", "DIR" },
    { "n", 'n', POPT_ARG_LONGLONG, &cli_answers, CLI_ANSWERS,
      "Answers of each side to each prompt (default: 1). Answer k meets the baseline's answer k, which has the same "
      "seed; intervals are over the prompts.", "N" },
    { "samples", '\0', POPT_ARG_INT, &samples, 0,
      "Show N pairs of answers side by side in the page (default: 8).", "N" },
    CLI_INCLUDE(cli_generation_table, "Options of the answers:"),
    CLI_INCLUDE(cli_rows_whole_table, "Run options:"),
    { "shard", '\0', POPT_ARG_STRING | POPT_ARGFLAG_DOC_HIDDEN, &cli_shard, 0, NULL, NULL },   /* refused, with why */
    CLI_INCLUDE(cli_judge_table, "Judge options:"),
    CLI_INCLUDE(cli_pointwise_table, NULL),
    CLI_INCLUDE(cli_votes_table, NULL),
    CLI_INCLUDE(cli_engine_table, "Engine options:"),
    CLI_TABLE_END
};

struct models { gram_model *policy, *baseline; gram_judge *judge; };

/* base: of the policy alone, since the baseline is often the base itself. */
static int open_writer(gram_model **m, const char *path, const char *base, const gram_options *all)
{
    gram_options o = cli_writer_options(all, cli_policy_template);
    gram_err err;

    o.base = base;
    return gram_open(m, path, &o, &err) ? cli_fail_err(&err) : CLI_DONE;
}

static int open_all(struct models *m, const char *policy)
{
    gram_options model;
    gram_rationale_options reasons;
    gram_judge_options o;
    const char *base;
    gram_err err;
    int rc = cli_model_options(&model);

    if (!rc)
        rc = cli_judging(&o, &model, &reasons);
    if (!rc)
        rc = cli_judge_unused(NULL, NULL);
    if (rc)
        return rc;
    base = model.base;
    model.base = NULL;
    if (gram_judge_open(&m->judge, cli_judge_where, &o, &err))
        return cli_fail_err(&err);
    rc = open_writer(&m->policy, policy, base, &model);
    if (!rc && baseline)
        rc = open_writer(&m->baseline, baseline, NULL, &model);
    return rc;
}

static void summary(const gram_evalpolicy_report *r)
{
    const gram_judge_cost *c = &r->judge;

    if (cli_quiet)
        return;
    fprintf(stderr, "%llu prompt%s in %.1f s", (unsigned long long)r->rows, r->rows == 1 ? "" : "s", r->seconds);
    if (r->resumed)
        fprintf(stderr, ", %llu lines from the run before", (unsigned long long)r->resumed);
    if (r->bad)
        fprintf(stderr, ", %llu bad row%s skipped", (unsigned long long)r->bad, r->bad == 1 ? "" : "s");
    if (r->failed)
        fprintf(stderr, ", %llu without an answer", (unsigned long long)r->failed);
    if (r->unjudged)
        fprintf(stderr, ", %llu without a verdict", (unsigned long long)r->unjudged);
    fprintf(stderr, "\njudge: %zu reads, %zu tokens, %zu of them computed, %.1f s\n", c->passes, c->tokens,
            c->tokens_computed, c->seconds);
    fprintf(stderr, "%s%sindex.html shows it\n", out, out[strlen(out) - 1] == '/' ? "" : "/");
}

static int evaluate(const struct models *m, const char *in, const gram_generation *g)
{
    cli_progress p;
    const gram_evalpolicy_options o = { .generation = g, .baseline = m->baseline, .baseline_column = column,
                                        .samples = (size_t)samples, .file = cli_rows(&p, NULL) };
    gram_evalpolicy_report report = { 0 };
    char *table = NULL;
    gram_err err;
    gram_status rc;

    cli_progress_start(&p, m->policy, "lines");
    rc = gram_evalpolicy(m->policy, m->judge, in, out, &o, &report, &table, &err);
    cli_progress_end(&p);
    if (!rc) {
        fputs(table, stdout);
        summary(&report);
    }
    free(table);
    return cli_rows_status(rc, &err, out);
}

static int check(void)
{
    if (cli_judge_needed())
        return CLI_USAGE;
    if (!out)
        return cli_usage("--out DIR is needed: answers and verdicts are kept there");
    if (cli_single_order)
        return cli_usage("--single-order: a win is of both orders");
    if (cli_shard)
        return cli_usage("--shard: a win rate is of all rows");
    if (samples < 0)
        return cli_usage("--samples %d: wanted a number that is not negative", samples);
    if (baseline && column)
        return cli_usage("--baseline %s: --baseline-column %s is given too", baseline, column);
    return CLI_DONE;
}

static int run(const char **arg, size_t n)
{
    struct models m = { 0 };
    gram_generation g;
    int rc = check();

    (void)n;
    if (!rc)
        rc = cli_generation(&g, arg[0], 1);
    if (!rc && g.products == GRAM_PRODUCTS_AUTO)
        g.products = GRAM_PRODUCTS_TILES;
    if (!rc)
        rc = open_all(&m, arg[0]);
    if (!rc)
        rc = cli_say_generation(m.policy, &g);
    if (!rc && !cli_quiet)
        fprintf(stderr, "judge: %s\n", gram_judge_about(m.judge));
    if (!rc)
        rc = evaluate(&m, arg[1], &g);
    gram_judge_close(m.judge);
    gram_close(m.baseline);
    gram_close(m.policy);
    return rc;
}

const cli_command cli_evalpolicy = {
    "evalpolicy", "POLICY PROMPTS.jsonl", "What a policy's answers are worth beside another's, by any judge",
    "POLICY answers each prompt once, or --n times, and so does the --baseline, or the rows have its answers "
    "(--baseline-column). "
    "The judge reads each pair in both orders, or each answer once where it gives numbers. Prints the win rate, as it "
    "is and as it would be of answers of equal length, the reward, the KL to the baseline, length, repetition, "
    "distinct words "
    "and the share of answers that were cut, with 95 % intervals by bootstrap over the prompts.\n\n"
    "DIR gets policy.jsonl and baseline.jsonl (the answers), rows.jsonl (the verdicts), numbers.json and index.html, "
    "which shows answers side by side. --base is of the POLICY alone. Without a baseline a judge that gives numbers "
    "is wanted, and there is no win "
    "rate. Ctrl-C keeps what is done, and the same command with --resume goes on from there and ends with the same "
    "bytes.",
    "gram evalpolicy better/ prompts.jsonl --judge judge/ --baseline my-model/ --out eval/\n"
    "gram evalpolicy better/ prompts.jsonl --judge reward/ --baseline-column reference --out eval/\n"
    "gram evalpolicy better/ prompts.jsonl --judge 'exec:./reward.py' --baseline my-model/ --out eval/",
    2, 2, opts, run
};
