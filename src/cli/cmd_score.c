/* cmd_score.c - `gram score`: a verdict for each pair of a file; or what the model would read of it. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "cli/cli.h"
#include "cli/remote.h"
#include "gram/dist.h"

static char *out, *server;
static int show_prompt, show_tokens;
static gram_reasoner *writer;        /* whose prompts are shown; NULL: no rationales are asked for */

static const struct poptOption opts[] = {
    { "out", 'o', POPT_ARG_STRING, &out, 0,
      "Write to FILE, which appears under its name when it is whole; - is standard output (the default).", "FILE" },
    { "server", '\0', POPT_ARG_STRING, &server, 0,
      "Let the `gram serve` at URL judge; no MODEL is given then, and its options are the server's. GRAM_API_KEY is "
      "its key.", "URL" },
    { "show-prompt", '\0', POPT_ARG_NONE, &show_prompt, 0,
      "Score nothing: print the text that the model reads of each row, special tokens written out.", NULL },
    { "show-tokens", '\0', POPT_ARG_NONE, &show_tokens, 0,
      "Score nothing: print the token ids that the model reads of each row, a JSON object for each order.", NULL },
    CLI_INCLUDE(cli_rows_table, "Run options:"),
    CLI_INCLUDE(cli_judge_table, "Judge options:"),
    CLI_INCLUDE(cli_pointwise_table, NULL),
    CLI_INCLUDE(cli_rationale_table, "Rationales:"),
    CLI_INCLUDE(cli_engine_table, "Engine options:"),
    CLI_DEVICES,
    CLI_TABLE_END
};

/* The n-th pair; its number stands beside an id that several pairs of one row share in part. */
static gram_status show_text_of(gram_model *m, const gram_row *row, size_t n, bool swapped, gram_err *err)
{
    char *text, number[40] = "";
    gram_status rc = writer ? gram_reason_show(writer, &row->pair, swapped, &text, err)
                            : gram_show_prompt(m, &row->pair, swapped, &text, err);

    if (rc)
        return rc;
    if (strchr(row->id, '#'))
        snprintf(number, sizeof number, ", pair: %zu", n);
    printf("==== %s%s, %s ====\n%s\n", row->id, number, swapped ? "swapped" : "forward", text);
    free(text);
    return GRAM_OK;
}

static gram_status show_tokens_of(gram_model *m, const gram_row *row, bool swapped, gram_err *err)
{
    int32_t *id;
    size_t n;
    json_t *name;
    gram_status rc = gram_show_tokens(m, &row->pair, swapped, &id, &n, err);

    if (rc)
        return rc;
    name = json_string_nocheck(row->id);
    fputs("{\"id\":", stdout);
    json_dumpf(name, stdout, JSON_ENCODE_ANY);
    printf(",\"order\":\"%s\",\"tokens\":[", swapped ? "swapped" : "forward");
    for (size_t i = 0; i < n; i++)
        printf(i ? ",%d" : "%d", (int)id[i]);
    puts("]}");
    json_decref(name);
    free(id);
    return GRAM_OK;
}

/* A row that scoring would drop as too long, or skip, is told of and left out, as it is there. */
static int show_row(gram_model *m, const gram_row *row, size_t n)
{
    gram_err err;
    gram_status rc = GRAM_OK;
    cli_progress none = { 0 };
    char text[2048];

    for (int swapped = 0; swapped < (cli_single_order ? 1 : 2) && !rc; swapped++) {
        if (show_prompt)
            rc = show_text_of(m, row, n, swapped, &err);
        if (!rc && show_tokens)
            rc = show_tokens_of(m, row, swapped, &err);
    }
    if (!rc)
        return CLI_DONE;
    if (!(rc == GRAM_ELIMIT && cli_drops()) && !((rc == GRAM_EARG || rc == GRAM_EUNSUPPORTED) && cli_skip_bad))
        return cli_fail("%s: %s", row->id, err.text);
    snprintf(text, sizeof text, "%.900s: %s: %s", row->id, rc == GRAM_ELIMIT ? "dropped" : "skipped", err.text);
    cli_warn_fn(&none, text);
    return CLI_DONE;
}

static int show_file(gram_model *m, const char *path, const gram_rationale_options *rationale)
{
    cli_progress none = { 0 };      /* no line is drawn that a warning would have to clear */
    gram_rows *rows;
    const gram_row *row;
    gram_err err;
    size_t n = 0;
    int rc = CLI_DONE;

    if (rationale && gram_reasoner_open(&writer, m, rationale, &err))
        return cli_fail_err(&err);
    if (gram_rows_open_columns(&rows, path, cli_columns, &err)) {
        gram_reasoner_close(writer);
        return cli_fail_err(&err);
    }
    while (!rc) {
        gram_status s = gram_rows_next(rows, &row, &err);
        if (s == GRAM_EFORMAT && cli_skip_bad)
            cli_warn_fn(&none, err.text);
        else if (s)
            rc = cli_fail_err(&err);
        else if (!row)
            break;
        else
            rc = show_row(m, row, ++n);
    }
    gram_rows_close(rows);
    gram_reasoner_close(writer);
    writer = NULL;
    return rc;
}

static int score_file(gram_model *m, const char *in, const gram_rationale_options *rationale)
{
    cli_progress p;
    gram_file_options o = cli_rows(&p, rationale);
    gram_file_report report = { 0 };
    gram_err err;
    gram_status rc;

    cli_progress_start(&p, m, "pairs");
    rc = gram_score_file(m, in, out ? out : "-", &o, &report, &err);
    cli_progress_end(&p);
    if (!rc)
        cli_summary(&p, &report);
    return cli_rows_status(rc, &err, out);
}

static int run(const char **arg, size_t n)
{
    gram_rationale_options writing;
    const gram_rationale_options *rationale;
    gram_model *m = NULL;
    bool shipped = false;
    int rank, size, rc = cli_rationale(&writing, &rationale);

    if (rc)
        return rc;
    if (server && n != 1)
        return cli_usage("--server takes the place of MODEL: wanted PAIRS.jsonl alone");
    if (!server && n == 1)
        rc = cli_model_left_out(arg, n, &shipped);
    if (rc)
        return rc;
    if (server && (show_prompt || show_tokens || cli_resume || rationale || cli_shard))
        return cli_usage("--server goes with none of --show-prompt, --show-tokens, --resume, --shard and --rationale");
    if (server && cli_model_given())
        return cli_usage("--%s: the server at %s judges in its own way, with the options that it was started with",
                         cli_model_given(), server);
    if (rationale && show_tokens)
        return cli_usage("--show-tokens goes with no --rationale: --show-prompt shows what a rationale follows");
    if (server && gram_dist_launched(&rank, &size))
        return cli_usage("--server: a launcher started %d processes, and each would ask for all rows", size);
    if (server)
        return cli_score_remote(server, arg[0], out);
    if (out && (show_prompt || show_tokens))
        return cli_usage("--show-prompt and --show-tokens print on standard output and take no --out");
    rc = cli_rows_check(out);
    if (!rc)
        rc = cli_open(&m, shipped ? NULL : arg[0]);
    if (!rc)
        rc = show_prompt || show_tokens ? show_file(m, arg[n - 1], rationale) : score_file(m, arg[n - 1], rationale);
    gram_close(m);
    return rc;
}

const cli_command cli_score = {
    "score", "[MODEL] PAIRS.jsonl", "Judge pairs of answers, one JSON object a line",
    "Reads rows of JSON Lines (gzip and zstd too; Parquet, Arrow and CSV by DuckDB; - is standard input), each a "
    "prompt with a chosen and a rejected answer in "
    "any of the forms that docs/formats.md lists, and writes one JSON object a line in the order of the input: id, "
    "preference (the probability that chosen beats rejected, both orders averaged), p_forward, p_swapped, "
    "logit_margin, consistent, tokens (of both orders together) and truncated. Of a reward model a line also has the "
    "reward of each answer, and PURM's sigma, overlap and reward - lambda overlap, and of a calibrated judge the "
    "temperature that its probabilities are made with.\n\n"
    "Without MODEL the judge that comes with gram decides, over the base that `gram fetch` gets.\n\n"
    "With --rationale the judge writes its reasons --votes times, over both orders in turn, and preference is the mean "
    "of the verdicts after them (docs/rationale.md). A line then also has reward, votes, hard (the share of votes for "
    "chosen), error (the standard error), flip, first_seat, forced, contradicts, written (tokens), and for each order "
    "the rationales with p, status and tokens.\n\n"
    "Ctrl-C keeps what is done in FILE.partial, and the same command with --resume goes on from there.\n\n"
    "Started by mpirun or srun, processes share the rows (docs/many-machines.md).",
    "gram score pairs.jsonl --out verdicts.jsonl\n"
    "gram score model.gguf pairs.jsonl --out verdicts.jsonl\n"
    "zcat pairs.jsonl.gz | gram score model.gguf - > verdicts.jsonl\n"
    "gram score ./my-grm pairs.jsonl -o v.jsonl --judge-prompt judge.txt --dtype int8\n"
    "gram score model.gguf pairs.jsonl --show-prompt | less\n"
    "gram score ./my-gram-r2 pairs.jsonl --rationale --votes 4 -o v.jsonl\n"
    "gram score --server http://127.0.0.1:8080 pairs.jsonl --out verdicts.jsonl",
    1, 2, opts, run, true
};
