/* cmd_eval.c - `gram eval`: how often the model prefers the answer that people preferred. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "cli/cli.h"
#include "gram/dist.h"

static char *json, *report_dir, *rules, *rows_path, *fit;
static int verdicts, comparing;

static const struct poptOption opts[] = {
    { "json", 'j', POPT_ARG_STRING, &json, 0, "Write all numbers to FILE as JSON.", "FILE" },
    { "report", 'R', POPT_ARG_STRING, &report_dir, 0,
      "Write a page with plots, readable without this program or a network, to DIR/index.html.", "DIR" },
    { "rules", '\0', POPT_ARG_STRING, &rules, 0,
      "Count as a published benchmark does on its own files: RewardBench (math-prm counted as 984), RewardBench 2 "
      "(best of four, and Ties), RM-Bench (3x3, easy, normal and hard) or JudgeBench (a positive vote over both "
      "orders).",
      "rewardbench|rewardbench2|rm-bench|judgebench" },
    { "rows", '\0', POPT_ARG_STRING, &rows_path, 0,
      "Write the verdict of each row to FILE, which is also what --resume reads (default: NAME.rows.jsonl beside the "
      "JSON, or rows.jsonl in the report's directory).", "FILE" },
    { "compare", 'c', POPT_ARG_NONE, &comparing, 0,
      "No model is run: A.json B.json (or a report's folder, or a file of rows) say how two judges did on the same "
      "rows; prints the difference with its paired interval, and the rows that they judge otherwise, which --rows "
      "writes to a file.", NULL },
    { "fit-temperature", '\0', POPT_ARG_STRING, &fit, 0,
      "Find the temperature that calibrates the judge on these rows, which it must not have learnt from, and write it "
      "to FILE: judge.json in the judge's directory is then heeded by every command (docs/judge.md).", "FILE" },
    { "verdicts", 'v', POPT_ARG_NONE, &verdicts, 0,
      "Also print a line for each row: what was asked and who won.", NULL },
    CLI_INCLUDE(cli_rows_table, "Run options:"),
    CLI_INCLUDE(cli_judge_table, "Judge options:"),
    CLI_INCLUDE(cli_pointwise_table, NULL),
    CLI_INCLUDE(cli_rationale_table, "Rationales:"),
    CLI_INCLUDE(cli_engine_table, "Engine options:"),
    CLI_DEVICES,
    CLI_TABLE_END
};

/* ---- The run ------------------------------------------------------------------------------------ */

static gram_rationale_options writing;
static const gram_rationale_options *rationale;

static int evaluate(gram_model *m, const char *const *file, size_t n, const char *rows_file)
{
    cli_progress p;
    gram_eval_options o = { .file = cli_rows(&p, rationale),
                            .rules = rules, .json = json, .report_dir = report_dir, .rows = rows_file,
                            .fit_temperature = fit, .verdicts = verdicts };
    gram_eval_summary sum = { 0 };
    char *table = NULL;
    gram_err err;
    gram_status s;
    int rc;

    cli_progress_start(&p, m, "pairs");
    s = gram_eval(m, file, n, &o, &sum, &table, &err);
    cli_progress_end(&p);
    rc = cli_rows_status(s, &err, rows_file);
    if (!rc && table && !(json && !strcmp(json, "-")))
        fputs(table, stdout);
    fflush(stdout);                                     /* before what is said of it on stderr */
    if (!rc)
        cli_summary(&p, &(gram_file_report){ .rows = sum.rows + sum.dropped, .bad = sum.bad, .dropped = sum.dropped,
                                             .truncated = sum.truncated, .resumed = sum.resumed,
                                             .seconds = sum.seconds, .usage = gram_get_usage(m) });
    free(table);
    return rc;
}

/* Where the verdict of each row goes when --rows does not say; empty: nowhere. */
static bool default_rows(gr_buf *path)
{
    size_t n = json ? strlen(json) : 0;

    if (json && strcmp(json, "-"))
        return gr_buf_add(path, json, n > 5 && !strcmp(json + n - 5, ".json") ? n - 5 : n) &&
               gr_buf_puts(path, ".rows.jsonl");
    return !report_dir || gr_buf_printf(path, "%s/rows.jsonl", report_dir);
}

static int compare(const char **arg, size_t n)
{
    char *table = NULL;
    gram_err err;

    if (n != 2)
        return cli_usage("--compare takes two runs, found %zu", n);
    if (report_dir || rules || verdicts || cli_resume || fit || rationale || cli_columns || cli_skip_bad || cli_shard ||
        cli_model_given())
        return cli_usage("--compare reads runs that are over: of this command's options it takes --json and --rows");
    if (gram_eval_compare(arg[0], arg[1], json, rows_path, NULL, &table, &err))
        return cli_fail_err(&err);
    if (!(json && !strcmp(json, "-")))
        fputs(table, stdout);
    free(table);
    return CLI_DONE;
}

/* shared: the rows are, with other runs or processes. */
static int over_folder(const char *model, const char *folder, bool shared)
{
    cli_progress p;
    gram_eval_options o = { .rules = rules, .json = json, .report_dir = report_dir, .rows = rows_path,
                            .fit_temperature = fit };
    gram_model *m = NULL;
    char *table = NULL;
    gram_err err;
    gram_status s;
    int rc = verdicts ? cli_usage("--verdicts prints the rows of files, not of a folder") : CLI_DONE;

    if (!rc && shared)
        rc = report_dir ? cli_rows_check(report_dir)
                        : cli_usage("processes that share the rows of a folder join them by their lines: --report is "
                                    "needed");
    if (!rc)
        rc = cli_open(&m, model);
    if (rc)
        return rc;
    o.file = cli_rows(&p, rationale);
    cli_progress_start(&p, m, "pairs");
    s = gram_eval_folder(m, folder, &o, &table, &err);
    cli_progress_end(&p);
    rc = s == GRAM_ESTOPPED ? cli_fail_err(&err) : cli_rows_status(s, &err, report_dir);
    if (!rc && table && !(json && !strcmp(json, "-")))
        fputs(table, stdout);
    free(table);
    gram_close(m);
    return rc;
}

static int run(const char **arg, size_t n)
{
    struct stat st;
    gr_buf path = { 0 };
    gram_model *m = NULL;
    bool shipped = false, launched;
    int worker, workers, rc = cli_rationale(&writing, &rationale);

    if (rc)
        return rc;
    launched = gram_dist_launched(&worker, &workers);
    if (launched && comparing)
        return cli_usage("a launcher started %d processes of it, and --compare is the work of one", workers);
    if (comparing)
        return compare(arg, n);
    rc = cli_model_left_out(arg, n, &shipped);
    if (rc)
        return rc;
    if (n == (shipped ? 1 : 2) && !stat(arg[n - 1], &st) && S_ISDIR(st.st_mode))
        return over_folder(shipped ? NULL : arg[0], arg[n - 1], launched || cli_shard);
    if (!(rows_path ? gr_buf_puts(&path, rows_path) : default_rows(&path)))
        return cli_fail("out of memory");
    if ((launched || cli_shard) && !path.n)
        rc = cli_usage("processes that share the rows join them by their lines: --rows, --json or --report is needed");
    else if (cli_resume && !path.n)
        rc = cli_usage("--resume needs --rows, --json or --report: the rows that the run before wrote");
    else if (path.n)
        rc = cli_rows_check(path.p);
    if (!rc)
        rc = cli_open(&m, shipped ? NULL : arg[0]);
    if (!rc)
        rc = evaluate(m, arg + !shipped, n - !shipped, path.p);
    gram_close(m);
    gr_buf_clear(&path);
    return rc;
}

const cli_command cli_eval = {
    "eval", "[MODEL] DATA.jsonl...", "Measure accuracy and agreement on labelled pairs",
    "Reads labelled pairs (as `gram score` does) and prints, for each file and each subset: accuracy with its 95 % "
    "interval, how often the two orders disagree (flips) and how often the answer read first wins, the expected "
    "calibration error, what \"the longer answer wins\" would score, and the speed.\n\n"
    "A folder in place of the files is a run over every benchmark in it, each by its own rules, with one page for "
    "all.\n\n"
    "Without MODEL the judge that comes with gram decides (`gram fetch`); whether the first argument is a model is "
    "told by what is in it.\n\n"
    "A run that was cut off goes on with --resume from the rows that it wrote. Processes that mpirun or srun started "
    "share the rows; with --shard a run judges some, and the same command with --resume and without --shard makes the "
    "numbers of all.",
    "gram eval data/demo.jsonl --verdicts\n"
    "gram eval model.gguf a.jsonl --json numbers.json --fit-temperature ./my-judge/judge.json\n"
    "gram eval model.gguf a.jsonl b.jsonl.gz --json numbers.json --report report/\n"
    "gram eval ./my-grm rewardbench.jsonl --rules rewardbench --resume --json rb.json\n"
    "gram eval ./my-grm benchmarks/ --report report/\n"
    "gram eval --compare before.json after.json",
    1, CLI_MANY, opts, run, true
};
