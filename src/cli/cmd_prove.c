/* cmd_prove.c - `gram prove`: why the better answer of each pair is better, by a model that is told which it is. */
#include <math.h>
#include <string.h>
#include "cli/cli.h"

static char *out, *format, *products;
static gram_prove_options set;
static long long k = 4, tokens = 256, seed;
static double temperature = 1, top_p = 1, least = -1;

static const struct poptOption opts[] = {
    { "out", 'o', POPT_ARG_STRING, &out, 0,
      "Write to FILE, which appears under its name when it is whole; - is standard output (the default).", "FILE" },
    { "k", 'k', POPT_ARG_LONGLONG, &k, 0, "Write N proofs of each pair, half of them in each order (default: 4).",
     "N" },
    { "max-new-tokens", '\0', POPT_ARG_LONGLONG, &tokens, 0,
      "Cut a proof at N tokens (default: 256). One that was cut is not kept.", "N" },
    { "temperature", 'T', POPT_ARG_DOUBLE, &temperature, 0,
      "Divide the logits by X before a token is drawn (default: 1).", "X" },
    { "top-p", '\0', POPT_ARG_DOUBLE, &top_p, 0,
      "Draw from the likeliest tokens that have the mass X together (default: 1).", "X" },
    { "seed", 's', POPT_ARG_LONGLONG, &seed, 0, "Of the draws (default: 0).", "N" },
    { "least", '\0', POPT_ARG_DOUBLE, &least, 0,
      "Give a pair no rationale where its best proof scores less than X (default: -1, where the pair does not explain "
      "it).",
      "X" },
    { "rationale-format", '\0', POPT_ARG_STRING, &format, 0, "As of gram score.", "gram-r2|rm-r1|think-rm|FILE" },
    { "products", '\0', POPT_ARG_STRING, &products, 0, "As of gram score.", "auto|few|tiles" },
    CLI_INCLUDE(cli_rows_table, "Run options:"),
    CLI_INCLUDE(cli_prompt_table, "Judge options:"),
    CLI_INCLUDE(cli_run_table, "Engine options:"),
    CLI_DEVICES,
    CLI_TABLE_END
};

static int read_settings(void)
{
    int way = cli_choice("products", products, "auto|few|tiles");

    if (way < 0)
        return CLI_USAGE;
    if (k < 0 || tokens < 0 || seed < 0)
        return cli_usage("--%s: wanted a number that is not negative", k < 0 ? "k" : tokens < 0 ? "max-new-tokens"
                                                                                                : "seed");
    gram_prove_options_init(&set);
    set.k = (size_t)k;
    set.max_tokens = (size_t)tokens;
    set.temperature = temperature;
    set.top_p = top_p;
    set.seed = (uint64_t)seed;
    set.least = least;
    set.format = format;
    set.products = (gram_products)way;
    return CLI_DONE;
}

static int prove(gram_model *m, const char *in)
{
    cli_progress p;
    gram_file_options o = cli_rows(&p, NULL);
    gram_prove_report report = { .score = 0 };
    gram_err err;
    gram_status rc;

    cli_progress_start(&p, m, "pairs");
    rc = gram_prove_file(m, in, out ? out : "-", &set, &o, &report, &err);
    cli_progress_end(&p);
    if (!rc && !cli_quiet) {
        fprintf(stderr, "%llu pairs proved, %llu not; proofs: %llu, cut: %llu, concluding for the other answer: "
                "%llu", (unsigned long long)report.proved, (unsigned long long)report.unproved,
                (unsigned long long)report.proofs, (unsigned long long)report.cut, (unsigned long long)report.contrary);
        if (report.proved)
            fprintf(stderr, "; mean score %.3f", report.score);
        fputc('\n', stderr);
    }
    if (!rc)
        cli_summary(&p, &report.file);
    return cli_rows_status(rc, &err, out);
}

static int run(const char **arg, size_t n)
{
    gram_model *m = NULL;
    int rc = read_settings();

    (void)n;
    if (rc)
        return rc;
    rc = cli_rows_check(out);
    if (!rc)
        rc = cli_open(&m, arg[0]);
    if (!rc)
        rc = prove(m, arg[1]);
    gram_close(m);
    return rc;
}

const cli_command cli_prove = {
    "prove", "PROVER PAIRS.jsonl", "Write why the better answer of each pair is better",
    "Tells a model (best one trained with `gram finetune --loss proof`) which answer of each pair is better, lets it "
    "write --k proofs, rates them by how much the pair explains them (minus the log-probability of a proof given the "
    "pair over that of the same tokens without it), and writes a line for each row: the pair with the best proof as "
    "its \"rationale\", which `gram finetune --loss rationale` learns from, and all proofs with their scores. A pair "
    "without a good one has null and what it was \"dropped\" for; training passes over it.",
    "gram prove prover/ pairs.jsonl --k 4 --out proofs.jsonl\n"
    "gram finetune MODEL proofs.jsonl --loss rationale --out judge/",
    2, 2, opts, run, true
};
