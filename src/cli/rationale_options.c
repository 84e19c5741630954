/* rationale_options.c - the options of a judge that writes its reasons, which several commands share. */
#include "cli/cli.h"

enum { VOTES = 50, FORMAT, TOKENS, TEMPERATURE, TOP_P, TOP_K, MIN_P, SEED, EARLY, SURE, PRODUCTS };

static int asked;
static char *format, *products;
static long long votes = 2, tokens = 512, top_k, seed, early;
static double temperature = 1, top_p = 1, min_p, sure = 0.9;

struct poptOption cli_rationale_table[] = {
    { "rationale", '\0', POPT_ARG_NONE, &asked, 0,
      "Let the judge write its reasons before each verdict, which is read from the labels' logits after them.", NULL },
    { "votes", '\0', POPT_ARG_LONGLONG, &votes, VOTES,
      "Write K rationales for each pair, over both orders in turn (default: 2). The verdict is their mean.", "K" },
    { "rationale-format", '\0', POPT_ARG_STRING, &format, FORMAT,
      "How reasons and verdict are written: gram-r2, rm-r1, think-rm, or a FILE with a JSON object: opening, closing, "
      "cue, ending, labels, prompt (default: as judge.json says that the judge learnt it, or gram-r2).",
      "gram-r2|rm-r1|think-rm|FILE" },
    { "rationale-tokens", '\0', POPT_ARG_LONGLONG, &tokens, TOKENS,
      "Close a rationale by force at N tokens (default: 512); this is counted.", "N" },
    { "temperature", 'T', POPT_ARG_DOUBLE, &temperature, TEMPERATURE,
      "Divide the logits by X before a token of a rationale is drawn (default: 1).", "X" },
    { "top-p", '\0', POPT_ARG_DOUBLE, &top_p, TOP_P,
      "Draw from the likeliest tokens that have the mass X together (default: 1).", "X" },
    { "top-k", '\0', POPT_ARG_LONGLONG, &top_k, TOP_K, "Draw from the N likeliest tokens (default: 0, from all).",
      "N" },
    { "min-p", '\0', POPT_ARG_DOUBLE, &min_p, MIN_P,
      "Draw from tokens that have X times the likeliest one's probability at least (default: 0).", "X" },
    { "seed", 's', POPT_ARG_LONGLONG, &seed, SEED,
      "Of the draws (default: 0). With the same seed a pair has the same rationales in any file.", "N" },
    { "early", '\0', POPT_ARG_LONGLONG, &early, EARLY,
      "Write no more for a pair whose first N rationales all prefer the same answer, each with more than --sure "
      "(default: 0, write all).", "N" },
    { "products", '\0', POPT_ARG_STRING, &products, PRODUCTS,
      "How rationales are written: tiles (auto is the same), for files, or few, which is quicker for a pair or two. "
      "Each writes other rationales.", "auto|few|tiles" },
    { "sure", '\0', POPT_ARG_DOUBLE, &sure, SURE, "The probability that --early asks for (default: 0.9).", "P" },
    CLI_TABLE_END
};

static long long judge_votes, judge_tokens = 512;
static char *judge_format;

struct poptOption cli_votes_table[] = {
    { "judge-votes", '\0', POPT_ARG_LONGLONG, &judge_votes, 0,
      "Let the judge, a model that compares, write its reasons K times before each verdict, over both orders in turn "
      "(default: 0, it writes none).", "K" },
    { "judge-tokens", '\0', POPT_ARG_LONGLONG, &judge_tokens, 0,
      "Close a rationale of the judge's by force at N tokens (default: 512).", "N" },
    { "judge-format", '\0', POPT_ARG_STRING, &judge_format, 0,
      "How the judge writes reasons and verdict, as --rationale-format of `gram score`.",
      "gram-r2|rm-r1|think-rm|FILE" },
    CLI_TABLE_END
};

int cli_votes(gram_rationale_options *o, const gram_rationale_options **out)
{
    gram_err err;

    *out = NULL;
    if (judge_votes == 0 && (judge_format || judge_tokens != 512))
        return cli_usage("--%s goes with --judge-votes", judge_format ? "judge-format" : "judge-tokens");
    if (judge_votes == 0)
        return CLI_DONE;
    if (judge_tokens < 1)
        return cli_usage("--judge-tokens %lld: wanted 1 or more", judge_tokens);
    if (judge_votes < 0 || judge_votes % 2)
        return cli_usage("--judge-votes %lld: half of them read a pair in each order: wanted an even number",
                         judge_votes);
    gram_rationale_options_init(o);
    o->format = judge_format;
    o->votes = (size_t)judge_votes;
    o->max_tokens = (size_t)judge_tokens;
    if (gram_rationale_options_check(o, &err))
        return cli_fail_err(&err);
    *out = o;
    return CLI_DONE;
}

int cli_rationale(gram_rationale_options *o, const gram_rationale_options **out)
{
    int way = cli_choice("products", products, "auto|few|tiles");
    gram_err err;

    *out = NULL;
    if (way < 0)
        return CLI_USAGE;
    for (const struct poptOption *t = cli_rationale_table; t->longName; t++)
        if (!asked && t->val && cli_given[t->val])
            return cli_usage("--%s goes with --rationale", t->longName);
    if (!asked)
        return CLI_DONE;
    if (cli_given[SURE] && !early)
        return cli_usage("--sure goes with --early: without it all rationales are written");
    if (votes < 0 || tokens < 0 || top_k < 0 || seed < 0 || early < 0)
        return cli_usage("--%s: wanted a number that is not negative", votes < 0 ? "votes" : tokens < 0
                         ? "rationale-tokens" : top_k < 0 ? "top-k" : seed < 0 ? "seed" : "early");
    gram_rationale_options_init(o);
    o->format = format;
    o->votes = (size_t)votes;
    o->max_tokens = (size_t)tokens;
    o->temperature = temperature;
    o->top_p = top_p;
    o->top_k = (size_t)top_k;
    o->min_p = min_p;
    o->seed = (uint64_t)seed;
    o->products = (gram_products)way;       /* in the order of the words */
    o->single_order = cli_single_order;
    o->early = (size_t)early;
    o->sure = sure;
    if (gram_rationale_options_check(o, &err))
        return cli_fail_err(&err);
    *out = o;
    return CLI_DONE;
}
