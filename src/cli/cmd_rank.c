/* cmd_rank.c - `gram rank`: order the responses of each group, best first. */
#include <string.h>
#include "cli/cli.h"

static char *out, *method_name;

static const struct poptOption opts[] = {
    { "method", 'M', POPT_ARG_STRING, &method_name, 0,
      "linear keeps the best so far, tournament is a merge sort, all-pairs (the default) compares every two and fits "
      "Bradley-Terry strengths, reference compares each with the row's reference answer.",
      "linear|tournament|all-pairs|reference" },
    { "out", 'o', POPT_ARG_STRING, &out, 0,
      "Write to FILE, which appears under its name when it is whole; - is standard output (the default).", "FILE" },
    CLI_INCLUDE(cli_rows_table, "Run options:"),
    CLI_INCLUDE(cli_judge_table, "Judge options:"),
    CLI_INCLUDE(cli_pointwise_table, NULL),
    CLI_INCLUDE(cli_rationale_table, "Rationales:"),
    CLI_INCLUDE(cli_engine_table, "Engine options:"),
    CLI_DEVICES,
    CLI_TABLE_END
};

static int rank_file(gram_model *m, const char *in, gram_rank_method method, const gram_rationale_options *rationale)
{
    cli_progress p;
    gram_file_options o = cli_rows(&p, rationale);
    gram_file_report report = { 0 };
    gram_err err;
    gram_status rc;

    cli_progress_start(&p, m, "groups");
    rc = gram_rank_file(m, in, out ? out : "-", method, &o, &report, &err);
    cli_progress_end(&p);
    if (!rc)
        cli_summary(&p, &report);
    return cli_rows_status(rc, &err, out);
}

static int run(const char **arg, size_t n)
{
    gram_rank_method method = GRAM_RANK_ALL_PAIRS;
    gram_rationale_options writing;
    const gram_rationale_options *rationale;
    gram_model *m = NULL;
    gram_err err;
    bool shipped = false;
    int rc = cli_rationale(&writing, &rationale);

    if (!rc && n == 1)
        rc = cli_model_left_out(arg, n, &shipped);
    if (rc)
        return rc;
    if (method_name && gram_rank_method_parse(method_name, &method, &err))
        return cli_usage("--method: %s", err.text);
    rc = cli_rows_check(out);
    if (!rc)
        rc = cli_open(&m, shipped ? NULL : arg[0]);
    if (!rc)
        rc = rank_file(m, arg[n - 1], method, rationale);
    gram_close(m);
    return rc;
}

const cli_command cli_rank = {
    "rank", "[MODEL] GROUPS.jsonl", "Order the answers to one question, best first",
    "Reads rows of JSON Lines (gzip and zstd too; Parquet, Arrow and CSV by DuckDB; - is standard input), each "
    "{\"prompt\", \"responses\": [...]}, and writes one "
    "JSON object a line: the ranking, a number for each response, the forward passes and tokens that it cost, and "
    "whether the preferences seen were intransitive. A reward model reads each response once and sorts, whatever the "
    "method. Without MODEL the judge that comes with gram decides (`gram fetch`).\n\nWith --rationale each comparison "
    "is a vote over rationales, which stand under \"judged\".",
    "gram rank model.gguf groups.jsonl --method tournament --out ranks.jsonl\n"
    "gram rank model.gguf - --method all-pairs < groups.jsonl",
    1, 2, opts, run, true
};
