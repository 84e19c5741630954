/* cmd_bon.c - `gram bon`: n answers to each prompt, and the one that a judge prefers. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "cli/generation.h"
#include "cli/judging.h"
#include "gram/bon.h"

#define ANSWERS 8               /* to a prompt; said, like every other setting */

static char *out, *gold_where, *by, *json, *report_dir;
static int seconds;

static const struct poptOption opts[] = {
    CLI_INCLUDE(cli_judging_table, NULL),
    { "n", 'n', POPT_ARG_LONGLONG, &cli_answers, CLI_ANSWERS,
      "Write N answers to each prompt, at most 1024 (default: 8). Where rows have their responses, the largest n of "
      "the curve, over rows with as many (default: as many as each row has).", "N" },
    { "by", 'b', POPT_ARG_STRING, &by, 0,
      "How a judge that compares gives numbers: all-pairs (the default), reference (each with the row's "
      "\"reference\", or else the policy's greedy answer), tournament, linear (the best so far with the next) or "
      "circular (neighbours "
      "in a ring). Both orders are read, always.", "all-pairs|reference|tournament|linear|circular" },
    { "gold", 'g', POPT_ARG_STRING, &gold_where, 0,
      "Measure the judge's choices by a second judge, or by the numbers that each row has under this name, and print "
      "the curve over n: gold of its choice, of a random answer, of the longest, of the best. --pointwise, with what "
      "goes with it, is of --judge alone.",
      "JUDGE" },
    { "out", 'o', POPT_ARG_STRING, &out, 0,
      "Write to FILE, which appears under its name when it is whole; - is standard output (the default).", "FILE" },
    { "json", 'j', POPT_ARG_STRING, &json, 0, "Write the curve to FILE as JSON.", "FILE" },
    { "report", 'R', POPT_ARG_STRING, &report_dir, 0,
      "Write a page with plots, readable without this program or a network, to DIR/index.html.", "DIR" },
    { "seconds", '\0', POPT_ARG_NONE, &seconds, 0,
      "Say in each line how long its judging took; two runs then differ.", NULL },
    CLI_INCLUDE(cli_generation_table, "Options of the answers:"),
    CLI_INCLUDE(cli_rows_table, "Run options:"),
    CLI_INCLUDE(cli_judge_table, "Judge options:"),
    CLI_INCLUDE(cli_pointwise_table, NULL),
    CLI_INCLUDE(cli_votes_table, NULL),
    CLI_INCLUDE(cli_engine_table, "Engine options:"),
    CLI_TABLE_END
};

struct judges { gram_judge *judge, *gold; const char *column; };

static bool is_judge(const char *where)
{
    return !strncmp(where, "http://", 7) || !strncmp(where, "https://", 8) || !strncmp(where, "exec:", 5) ||
           strchr(where, '/') || !access(where, F_OK);
}

/* The judge, over the policy's model where it is the same. */
static int open_judges(struct judges *j, gram_model *policy, const char *policy_path)
{
    gram_options model, plain;
    gram_rationale_options reasons;
    gram_judge_options o, gold;
    gram_err err;
    gram_status s;
    int rc = cli_model_options(&model);

    if (rc)
        return rc;
    plain = model;
    plain.lambda = 0;                       /* the judge's */
    if (model.pointwise) {                  /* the judge is asked so, and no other model by its prompt */
        plain.pointwise = false;
        plain.scale = plain.judge_prompt = plain.label_a = plain.label_b = NULL;
    }
    rc = cli_judging(&o, &model, &reasons);
    if (!rc)
        rc = cli_judge_unused(gold_where && is_judge(gold_where) ? gold_where : NULL, cli_engine_given(policy));
    if (rc)
        return rc;
    gold = (gram_judge_options){ .model = &plain, .key = o.key, .timeout = o.timeout };
    if (by && gram_scheme_parse(by, &o.scheme, &err))
        return cli_usage("--by: %s", err.text);
    s = policy && !strcmp(cli_judge_where, policy_path) && !cli_policy_template
      ? gram_judge_over(&j->judge, policy, &o, &err) : gram_judge_open(&j->judge, cli_judge_where, &o, &err);
    if (!s && gold_where && is_judge(gold_where))
        s = gram_judge_open(&j->gold, gold_where, &gold, &err);
    else
        j->column = gold_where;
    return s ? cli_fail_err(&err) : CLI_DONE;
}

static int open_policy(gram_model **m, const char *path)
{
    gram_options o;
    gram_err err;
    int rc = cli_model_options(&o);

    if (rc)
        return rc;
    if (strcmp(path, cli_judge_where) || cli_policy_template)
        o = cli_writer_options(&o, cli_policy_template);
    return gram_open(m, path, &o, &err) ? cli_fail_err(&err) : CLI_DONE;
}

static void say_cost(const char *who, const gram_judge_cost *c)
{
    fprintf(stderr, "%s: ", who);
    if (c->comparisons)
        fprintf(stderr, "%zu comparisons (%zu in which the orders disagreed), ", c->comparisons, c->flips);
    fprintf(stderr, "%zu reads, %zu tokens, %zu of them computed, %.1f s\n", c->passes, c->tokens, c->tokens_computed,
            c->seconds);
}

static void summary(const gram_bon_report *r, bool gold)
{
    if (cli_quiet)
        return;
    fprintf(stderr, "%llu row%s in %.1f s", (unsigned long long)r->file.rows, r->file.rows == 1 ? "" : "s",
            r->file.seconds);
    cli_resumed(&r->file);
    if (r->file.bad)
        fprintf(stderr, ", %llu bad row%s skipped", (unsigned long long)r->file.bad, r->file.bad == 1 ? "" : "s");
    if (r->failed)
        fprintf(stderr, ", %llu without a winner: %s an \"error\"", (unsigned long long)r->failed,
                r->failed == 1 ? "its line has" : "their lines have");
    if (r->unjudged)
        fprintf(stderr, ", %llu response%s without a reward", (unsigned long long)r->unjudged,
                r->unjudged == 1 ? "" : "s");
    fputc('\n', stderr);
    if (r->answers)
        fprintf(stderr, "policy: %llu answer%s of %llu tokens, %llu of them cut\n", (unsigned long long)r->answers,
                r->answers == 1 ? "" : "s", (unsigned long long)r->tokens, (unsigned long long)r->cut);
    say_cost("judge", &r->judge);
    if (gold)
        say_cost("gold", &r->gold);
}

static int best_of(gram_model *policy, const struct judges *j, const char *in, const gram_generation *g)
{
    bool to_file = out && !gr_name_is_standard(out);
    cli_progress p;
    gram_bon_options o = { .generation = g, .gold = j->gold, .gold_column = j->column, .seconds = seconds, .json = json,
                           .report_dir = report_dir, .most = policy || !cli_given[CLI_ANSWERS] ? 0 : g->n,
                           .file = cli_rows(&p, NULL) };
    gram_bon_report report = { 0 };
    char *table = NULL;
    gram_err err;
    gram_status rc;

    cli_progress_start(&p, policy ? policy : gram_judge_model(j->judge), "rows");
    rc = gram_bon_file(policy, j->judge, in, out ? out : "-", &o, &report, &table, &err);
    cli_progress_end(&p);
    if (!rc && table && (to_file || !cli_quiet))        /* of all rows, not of a share */
        fputs(table, to_file ? stdout : stderr);
    if (!rc)
        summary(&report, j->gold);
    free(table);
    return cli_rows_status(rc, &err, out);
}

/* Options of the answers, where none are written. */
static int refuse_generation(void)
{
    const char *name = cli_generation_given();

    if (name)
        return cli_usage("--%s: no policy is given to write answers", name);
    return cli_policy_template ? cli_usage("--policy-template: no policy is given") : CLI_DONE;
}

static int run(const char **arg, size_t n)
{
    const char *path = n == 2 ? arg[0] : NULL;
    struct judges j = { 0 };
    gram_model *policy = NULL;
    gram_generation g;
    int rc;

    if (cli_judge_needed())
        return CLI_USAGE;
    if (cli_single_order)
        return cli_usage("--single-order: a reward is of both orders");
    rc = cli_rows_check(out);
    if (!rc && !path)
        rc = refuse_generation();
    if (!rc)
        rc = cli_generation(&g, path, ANSWERS);
    if (!rc && path)
        rc = open_policy(&policy, path);
    if (!rc)
        rc = open_judges(&j, policy, path);
    if (!rc && path)
        rc = cli_say_generation(policy, &g);
    if (!rc && !cli_quiet)
        fprintf(stderr, "judge: %s\n", gram_judge_about(j.judge));
    if (!rc)
        rc = best_of(policy, &j, arg[n - 1], &g);
    gram_judge_close(j.judge);
    gram_judge_close(j.gold);
    gram_close(policy);
    return rc;
}

const cli_command cli_bon = {
    "bon", "[POLICY] ROWS.jsonl", "The best of n answers, by any judge, and what more answers would give",
    "With a POLICY the rows are prompts, as `gram generate` reads them, and get --n answers each. Without, they are "
    "groups of responses, as `gram rank` reads them. Writes one JSON object a line in the order of the input: id, "
    "prompt, "
    "responses, rewards, winner (the index of the best, the first of equal ones), completion (its text), cost. A "
    "response that cannot be judged has null for a reward, and never a number.\n\n"
    "The table, --json and --report say what the best of 1, 2, 4, ... answers has on average, over all subsets of "
    "those that were judged, with 95 % intervals over prompts, and with --gold what it is worth to somebody else. "
    "Ctrl-C keeps what is done in FILE.partial, and the same command with --resume goes on from there and ends with "
    "the same bytes. Processes that mpirun or srun started share the rows; with --shard a run writes and judges some, "
    "and the same command with --resume and without --shard joins them and makes the curve.",
    "gram bon policy/ prompts.jsonl --judge judge/ --n 16 --out winners.jsonl\n"
    "gram bon policy/ prompts.jsonl --judge judge/ --gold larger/ --report bon/\n"
    "gram bon groups.jsonl --judge reward-model/ --gold score --json curve.json\n"
    "gram bon groups.jsonl --judge 'exec:python3 reward.py' | jq -r .completion\n"
    "for i in 0 1 2; do gram bon policy/ p.jsonl --judge judge/ -o w.jsonl --shard $i/3; done\n"
    "gram bon policy/ p.jsonl --judge judge/ -o w.jsonl --resume",
    1, 2, opts, run, true
};
