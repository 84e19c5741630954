/* cmd_generate.c - `gram generate`: answers to the prompts of a file. */
#include <string.h>
#include "cli/generation.h"

static char *out;
static int logprobs;

static const struct poptOption opts[] = {
    { "out", 'o', POPT_ARG_STRING, &out, 0,
      "Write to FILE, which appears under its name when it is whole; - is standard output (the default).", "FILE" },
    { "n", 'n', POPT_ARG_LONGLONG, &cli_answers, CLI_ANSWERS,
      "Write N answers to each prompt, at most 1024 (default: 1).", "N" },
    { "logprobs", '\0', POPT_ARG_NONE, &logprobs, 0,
      "Also write a list with the log-probability of each token, under all tokens and before temperature.", NULL },
    CLI_INCLUDE(cli_generation_table, NULL),
    CLI_INCLUDE(cli_rows_table, "Run options:"),
    CLI_INCLUDE(cli_chat_table, "Chat options:"),
    CLI_INCLUDE(cli_run_table, "Engine options:"),
    CLI_DEVICES,
    CLI_TABLE_END
};

static void summary(const cli_progress *p, const gram_generate_report *r, const gram_generation *g)
{
    if (cli_quiet)
        return;
    cli_summary(p, &r->file);
    fprintf(stderr, "%llu answer%s of %llu tokens, products %s", (unsigned long long)r->answers,
            r->answers == 1 ? "" : "s", (unsigned long long)r->tokens, gram_products_name(r->products));
    if (r->cut)
        fprintf(stderr, ", %llu of them cut at max-new-tokens %zu", (unsigned long long)r->cut, g->max_new_tokens);
    if (r->failed)
        fprintf(stderr, "; %llu prompt%s could not be answered: %s an \"error\"",
                (unsigned long long)r->failed, r->failed == 1 ? "" : "s",
                r->failed == 1 ? "its line has" : "their lines have");
    fputc('\n', stderr);
}

static int generate(gram_model *m, const char *in, const gram_generation *g)
{
    cli_progress p;
    gram_file_options o = cli_rows(&p, NULL);
    gram_generate_report report = { 0 };
    gram_err err;
    gram_status rc;

    cli_progress_start(&p, m, "prompts");
    rc = gram_generate_file(m, in, out ? out : "-", g, logprobs, &o, &report, &err);
    cli_progress_end(&p);
    if (!rc)
        summary(&p, &report, g);
    return cli_rows_status(rc, &err, out);
}

static int run(const char **arg, size_t count)
{
    gram_generation g;
    gram_model *m = NULL;
    int rc = cli_rows_check(out);

    (void)count;
    if (!rc)
        rc = cli_generation(&g, arg[0], 1);
    if (rc)
        return rc;
    rc = cli_open(&m, arg[0]);
    if (!rc)
        rc = cli_say_generation(m, &g);
    if (!rc)
        rc = generate(m, arg[1], &g);
    gram_close(m);
    return rc;
}

const cli_command cli_generate = {
    "generate", "MODEL PROMPTS.jsonl", "Write answers to prompts, one JSON object a line",
    "Reads rows of JSON Lines (gzip and zstd too; Parquet, Arrow and CSV by DuckDB; - is standard input): "
    "{\"prompt\": a text or a list of messages}, or a row of "
    "any form that docs/formats.md lists, whose prompt is taken. Writes one JSON object a line in the order of the "
    "input: id, prompt, completion, finish (stop, stop_string, length), tokens, logprob, logprob_tempered, seed, "
    "products; with --n more than 1 responses and lists, as `gram rank` reads them.\n\n"
    "An answer has the same bits alone, in any batch and at any number of threads. Ctrl-C keeps what is done in "
    "FILE.partial, and the same command with --resume goes on from there and ends with the same bytes.",
    "gram generate model.gguf prompts.jsonl --n 8 --out answers.jsonl\n"
    "gram generate model.gguf prompts.jsonl --greedy | jq -r .completion\n"
    "gram generate policy/ prompts.jsonl --n 16 --out groups.jsonl\n"
    "gram rank judge/ groups.jsonl --out ranked.jsonl",
    2, 2, opts, run, true
};
