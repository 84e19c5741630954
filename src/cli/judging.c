/* judging.c - see judging.h. */
#include <stdlib.h>
#include <string.h>
#include "cli/judging.h"

char *cli_judge_where, *cli_policy_template;
static char *unit;
static double timeout_s;

struct poptOption cli_judging_table[] = {
    { "judge", 'J', POPT_ARG_STRING, &cli_judge_where, 0,
      "What judges: a model (one that compares, or one with a reward head), http://HOST:PORT of a `gram serve`, or "
      "exec:COMMAND, a program that reads a line of JSON for each answer and writes a number for each.",
      "JUDGE" },
    { "unit", '\0', POPT_ARG_STRING, &unit, 0,
      "What a comparison counts as: the logit margin of both orders (the default), or the mean of their preferences "
      "less 1/2. Where the orders disagree, the two may name different winners.", "margin|preference" },
    { "judge-timeout", '\0', POPT_ARG_DOUBLE, &timeout_s, 0,
      "Give a program X seconds for its next line (default: 600).", "X" },
    { "policy-template", '\0', POPT_ARG_STRING, &cli_policy_template, 0,
      "Render the prompts of a model that writes answers by this chat template, as --template does the judge's.",
      "FILE" },
    CLI_TABLE_END
};

int cli_judge_needed(void)
{
    return cli_judge_where ? CLI_DONE : cli_usage("--judge is needed: a model, a URL or exec:COMMAND");
}

int cli_judging(gram_judge_options *o, const gram_options *model, gram_rationale_options *reasons)
{
    gram_err err;

    *o = (gram_judge_options){ .model = model, .key = getenv("GRAM_API_KEY"), .timeout = timeout_s,
                               .lambda = model->lambda };
    if (unit && gram_unit_parse(unit, &o->unit, &err))
        return cli_usage("--unit: %s", err.text);
    return cli_votes(reasons, &o->rationale);
}

static bool is_program(const char *judge)
{
    return judge && !strncmp(judge, "exec:", 5);
}

static bool is_model(const char *judge)
{
    return judge && !is_program(judge) && strncmp(judge, "http://", 7) && strncmp(judge, "https://", 8);
}

int cli_judge_unused(const char *gold, const char *engine)
{
    const char *name = cli_asking_given() ? cli_asking_given() : engine, *judge = cli_judge_where;

    if (name && !is_model(judge) && !is_model(gold))
        return cli_usage("--%s: %s judges in its own way; a model that is opened here can be asked so", name, judge);
    if (timeout_s > 0 && !is_program(judge) && !is_program(gold))
        return cli_usage("--judge-timeout: %s is no program", judge);
    return CLI_DONE;
}
