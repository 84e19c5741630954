/* options.c - the options that several commands share, and what they ask of the library. */
#include <ctype.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/json.h"
#include "cli/cli.h"
#include "gram/dist.h"

/* popt fills these; a process runs one command, so they can be static. */
int cli_quiet, cli_resume, cli_skip_bad, cli_single_order;
char *cli_columns, *cli_shard, *cli_device;
static char *dtype, *truncate_how, *judge_file, *labels, *chat_template, *base, *reward_token, *reward_weights;
static char *scale;
static char **chat_args;
static int threads, pointwise;
static double lambda;
static long long batch_tokens, max_tokens;

struct poptOption cli_run_table[] = {
    { "dtype", 'd', POPT_ARG_STRING, &dtype, 0,
      "Hold and multiply weights as f32 (the default, but for a model that gram convert wrote in int8), hold them as "
      "bf16, or use 8-bit integers. int8-fast judges most of a text in one byte a number, where int8 takes two: faster "
      "with VNNI or AMX, a little less exact (docs/design.md), and so it writes many answers; elsewhere it is int8. A "
      "CPU with AVX512_BF16 or AMX also multiplies in bf16, so its numbers differ from those of one without; "
      "GRAM_CPU=vnni forces the latter's, and `gram info --dtype bf16` says what is done here.",
      "f32|bf16|int8|int8-fast" },
    { "base", '\0', POPT_ARG_STRING, &base, 0,
      "Where the base model of a LoRA adapter is (default: where the adapter says; one in a GGUF file does not).",
      "PATH" },
    { "threads", 't', POPT_ARG_INT, &threads, 0, "Use N threads (default: one for each core).", "N" },
    { "device", '\0', POPT_ARG_STRING, &cli_device, 0,
      "Compute on the CPU, on a GPU by its number, or on the first GPU that can be used and otherwise the CPU "
      "(default: what GRAM_DEVICE says, or cpu). cuda is the first GPU, or under a launcher that of the process's "
      "number on its machine. `gram info` lists GPUs; see docs/gpu.md.", "cpu|cuda|cuda:0|auto" },
    { "batch-tokens", '\0', POPT_ARG_LONGLONG, &batch_tokens, 0,
      "Compute up to N tokens together (default: 4096). This changes speed and memory, never a score.", "N" },
    CLI_TABLE_END
};

struct poptOption cli_engine_table[] = {
    CLI_INCLUDE(cli_run_table, NULL),
    { "reward-token", '\0', POPT_ARG_STRING, &reward_token, 0,
      "The reward of a conversation is the logit of the token with this id after it (Llama-3.1-Nemotron-70B-Reward-HF: "
      "0).", "ID" },
    { "reward-weights", '\0', POPT_ARG_STRING, &reward_weights, 0,
      "A reward head with several outputs: the reward is their sum with these weights, as in 0.65,0.8,-0.4.",
      "X,X,..." },
    CLI_TABLE_END
};

struct poptOption cli_chat_table[] = {
    { "template", '\0', POPT_ARG_STRING, &chat_template, 0,
      "Render conversations by this chat template instead of the model's own: a file in Jinja, or one of those that "
      "are written in C, chatml, llama3, llama2, mistral, qwen3 or gemma.", "FILE" },
    { "chat-arg", '\0', POPT_ARG_ARGV, &chat_args, 0,
      "Set a variable of the chat template to a value in JSON, as in enable_thinking=true; may be given many times. A "
      "judge's template has enable_thinking=false where it reads it.", "NAME=JSON" },
    CLI_TABLE_END
};

struct poptOption cli_prompt_table[] = {
    { "judge-prompt", 'p', POPT_ARG_STRING, &judge_file, 0,
      "Take the judge prompt from FILE, byte for byte; it holds {input}, {response_a} and {response_b}, and "
      "where rows bring criteria {criteria} or {criteria?}.", "FILE" },
    { "labels", 'l', POPT_ARG_STRING, &labels, 0,
      "Read the verdict from these two labels, each one token (default: A,B).", "A,B" },
    { "max-tokens", 'm', POPT_ARG_LONGLONG, &max_tokens, 0,
      "Let one order's prompt have at most N tokens (default: the model's context).", "N" },
    { "truncate", '\0', POPT_ARG_STRING, &truncate_how, 0,
      "What to do with a pair that is longer: fail at it (error, the default), shorten the question's middle and "
      "then both answers evenly (balanced), or give it no score (drop).", "error|balanced|drop" },
    CLI_INCLUDE(cli_chat_table, NULL),
    CLI_TABLE_END
};

struct poptOption cli_policy_table[] = {
    { "max-tokens", 'm', POPT_ARG_LONGLONG, &max_tokens, 0,
      "Let a prompt and its answer have at most N tokens together (default: the model's context).", "N" },
    { "truncate", '\0', POPT_ARG_STRING, &truncate_how, 0,
      "What to do with a prompt that leaves no room for --max-new-tokens: fail at it (error, the default) or leave it "
      "out (drop).", "error|drop" },
    CLI_INCLUDE(cli_chat_table, NULL),
    CLI_TABLE_END
};

struct poptOption cli_pointwise_table[] = {
    { "pointwise", '\0', POPT_ARG_NONE, &pointwise, 0,
      "Judge one answer at a time: its reward is the margin of the logits of the labels Yes and No (--labels), and n "
      "answers cost n passes. --judge-prompt then holds {input} and {response}.", NULL },
    { "scale", '\0', POPT_ARG_STRING, &scale, 0,
      "With --pointwise: the judge replies with a whole number of this range, and the reward is the expected one, over "
      "the probabilities of all of them. No --labels are read then.", "0-10" },
    CLI_TABLE_END
};

struct poptOption cli_judge_table[] = {
    CLI_INCLUDE(cli_prompt_table, NULL),
    { "lambda", '\0', POPT_ARG_DOUBLE, &lambda, 0,
      "A PURM model: also count by mean - X u, u the overlap with the other answers; rank orders by it. The paper "
      "takes 30 (default: 0, the mean alone).", "X" },
    { "single-order", '\0', POPT_ARG_NONE, &cli_single_order, 0,
      "Read each pair in one order only, chosen first; `gram eval` takes turns from row to row, and `gram rank` draws "
      "who is read first. It costs half, and position bias is no longer averaged out.", NULL },
    CLI_TABLE_END
};

struct poptOption cli_rows_whole_table[] = {
    { "resume", 'r', POPT_ARG_NONE, &cli_resume, 0,
      "Go on after the rows that a run which was cut off left in its .partial file.", NULL },
    { "columns", '\0', POPT_ARG_STRING, &cli_columns, 0,
      "What the file calls the keys that are read: prompt=question,chosen=good. A path with dots leads into an object.",
      "NAME=COLUMN,..." },
    { "skip-bad", '\0', POPT_ARG_NONE, &cli_skip_bad, 0,
      "Warn about a row that cannot be read, count it and go on, instead of failing at it.", NULL },
    { "quiet", 'q', POPT_ARG_NONE, &cli_quiet, 0, "Say nothing but errors: no progress and no summary.", NULL },
    CLI_TABLE_END
};

struct poptOption cli_rows_table[] = {
    CLI_INCLUDE(cli_rows_whole_table, NULL),
    { "shard", '\0', POPT_ARG_STRING, &cli_shard, 0,
      "Of N runs, at once or one after the other, this is number I, from 0: it takes its share of the rows and writes "
      "OUT.shard-I-of-N; `gram merge-shards OUT` joins them.", "I/N" },
    CLI_TABLE_END
};

const char *cli_asking_given(void)
{
    const struct { const char *name; bool given; } all[] = {
        { "judge-prompt", judge_file }, { "labels", labels }, { "max-tokens", max_tokens != 0 },
        { "truncate", truncate_how }, { "template", chat_template }, { "chat-arg", chat_args },
        { "reward-token", reward_token }, { "reward-weights", reward_weights },
    };

    for (size_t i = 0; i < GR_COUNT(all); i++)
        if (all[i].given)
            return all[i].name;
    return NULL;
}

const char *cli_engine_given(bool other)
{
    return base ? "base" : other ? NULL : dtype ? "dtype" : cli_device ? "device" : NULL;
}

const char *cli_model_given(void)
{
    return cli_asking_given() ? cli_asking_given() : pointwise ? "pointwise" : scale ? "scale" : lambda != 0 ? "lambda"
         : cli_single_order ? "single-order" : cli_engine_given(false);
}

static size_t share, shares;        /* of --shard */
static int worker, workers;         /* of a launcher; 0: none */
static char start[160];             /* the name of the start, which all processes of it know and no other's do */
static bool merged;

static const char *first_set(const char *const *name)
{
    while (*name && !(getenv(*name) && *getenv(*name)))
        name++;
    return *name ? getenv(*name) : NULL;
}

/* gram itself, Open MPI, PMIx (srun --mpi=pmix), Slurm and MPICH name a start; a job that Slurm starts again has the
 * name of before, and a number; each of its steps has one, too. Threads: this process's part of the cores, where it is
 * not bound to some. */
static int join_others(const char *out)
{
    static const char *const names[] = { "GRAM_START", "PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid", "PMI_KVSNAME",
                                         "SLURM_JOB_ID", NULL };
    static const char *const local[] = { "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "SLURM_STEP_TASKS_PER_NODE",
                                         "SLURM_NTASKS_PER_NODE", NULL };
    const char *name = first_set(names), *again = getenv("SLURM_RESTART_COUNT"), *here = first_set(local);
    const char *step = getenv("SLURM_STEP_ID");
    long online = sysconf(_SC_NPROCESSORS_ONLN), on_host = here ? atol(here) : workers;
    cpu_set_t mine;

    if (!out || gr_name_is_standard(out))
        return cli_usage("a launcher started %d processes of it, which share the rows: --out FILE is needed", workers);
    if (cli_shard)
        return cli_usage("--shard: a launcher started %d processes of it, which take their shares themselves", workers);
    if (!name)
        return cli_usage("a launcher started %d processes of it, and does not say which start this is", workers);
    snprintf(start, sizeof start, "%.70s%s%.8s%s%.12s", name, again ? "." : "", again ? again : "", step ? "-" : "",
             step ? step : "");
    for (char *s = start; *s; s++)
        *s = isalnum((unsigned char)*s) || *s == '.' || *s == '_' ? *s : '-';
    if (!threads && on_host > 0 && sched_getaffinity(0, sizeof mine, &mine) == 0 && CPU_COUNT(&mine) == online)
        threads = online / on_host > 0 ? (int)(online / on_host) : 1;
    return CLI_DONE;
}

int cli_rows_check(const char *out)
{
    bool to_file = out && !gr_name_is_standard(out);
    char end;

    if (out && !*out)
        return cli_usage("--out: the name is empty, as where a variable of the shell is not set");
    if (cli_resume && !to_file)
        return cli_usage("--resume needs --out FILE: there is nothing to go on from on standard output");
    if (gram_dist_launched(&worker, &workers))
        return join_others(out);
    workers = 0;
    if (!cli_shard)
        return CLI_DONE;
    if (!to_file)
        return cli_usage("--shard needs --out FILE: the runs' outputs are joined by its name");
    if (!isdigit((unsigned char)*cli_shard) || sscanf(cli_shard, "%7zu/%7zu%c", &share, &shares, &end) != 2 ||
        share >= shares)
        return cli_usage("--shard %s: wanted I/N with I from 0 to N - 1, as 0/8", cli_shard);
    return CLI_DONE;
}

gram_file_options cli_rows(cli_progress *p, const gram_rationale_options *rationale)
{
    return (gram_file_options){ .resume = cli_resume, .skip_bad = cli_skip_bad, .progress = cli_progress_fn,
                                .warn = cli_warn_fn, .arg = p, .columns = cli_columns, .rationale = rationale,
                                .share = share, .shares = shares, .worker = (size_t)worker,
                                .workers = (size_t)workers, .run = start, .merged = &merged };
}

int cli_rows_status(gram_status rc, const gram_err *err, const char *out)
{
    gr_buf name = { 0 };
    int code;

    if (workers && rc != GRAM_ESTOPPED) {
        if (merged && !cli_quiet)
            fprintf(stderr, "%s is whole, by %d processes\n", out, workers);
        return cli_file_status(rc, err, NULL);
    }
    if (shares && !gr_buf_printf(&name, "%s.shard-%zu-of-%zu", out, share, shares))
        out = NULL;
    code = cli_file_status(rc, err, name.p ? name.p : out);
    gr_buf_clear(&name);
    return code;
}

struct poptOption cli_common_table[] = {
    { "help", 'h', POPT_ARG_NONE, NULL, 'h', "Show this help and exit.", NULL },
    CLI_TABLE_END
};

int cli_choice(const char *option, const char *value, const char *choices)
{
    int i = 0;

    if (!value)
        return 0;
    for (const char *p = choices;; p++, i++) {
        size_t n = strcspn(p, "|");
        if (strlen(value) == n && !strncmp(p, value, n))
            return i;
        p += n;
        if (!*p)
            break;
    }
    cli_usage("--%s %s: wanted one of %s", option, value, choices);
    return -1;
}

bool cli_drops(void)
{
    return truncate_how && !strcmp(truncate_how, "drop");
}

/* ---- Recipes -------------------------------------------------------------------------------------- */

static char **recipe_set;
int cli_keys;

struct poptOption cli_recipe_table[] = {
    { "set", 's', POPT_ARG_ARGV, &recipe_set, 0,
      "Set a key over what the file says; may be given many times. A path is then relative to the working directory.",
      "KEY=VALUE" },
    { "keys", '\0', POPT_ARG_NONE, &cli_keys, 0,
      "Print each key of a recipe and what its value may be, and end.", NULL },
    CLI_TABLE_END
};

int cli_recipe_set(size_t n, const char *const **set, size_t *n_set)
{
    *set = (const char *const *)recipe_set;
    *n_set = 0;
    if (n == 0)
        return cli_usage("wanted RECIPE.yaml, found 0 arguments");
    while (recipe_set && recipe_set[*n_set])
        ++*n_set;
    cli_from_recipe = true;
    return CLI_DONE;
}

static const char *argument_of(const struct poptOption *table, const char *name)
{
    while (table->longName && strcmp(table->longName, name))
        table++;
    return table->argDescrip;
}

static int split_labels(gram_options *out)
{
    char *comma = labels ? strchr(labels, ',') : NULL;

    if (!labels)
        return 0;
    if (!comma || comma == labels || !comma[1] || strchr(comma + 1, ','))
        return cli_usage("--labels %s: wanted two labels with a comma between them, as in A,B", labels);
    *comma = '\0';
    out->label_a = labels;
    out->label_b = comma + 1;
    return 0;
}

/* NAME=JSON of each --chat-arg, as the text of one object; NULL where there is none. */
static int join_chat_args(char **out)
{
    json_t *all = json_object();
    int rc = all ? 0 : cli_fail("out of memory");

    for (char **a = chat_args; a && *a && !rc; a++) {
        const char *equals = strchr(*a, '=');
        char *name = equals ? strndup(*a, (size_t)(equals - *a)) : NULL;
        json_error_t e;
        json_t *v = equals ? json_loads(equals + 1, JSON_DECODE_ANY, &e) : NULL;
        if (!equals || equals == *a)
            rc = cli_usage("--chat-arg %s: wanted NAME=JSON, as in enable_thinking=false", *a);
        else if (!v)
            rc = cli_usage("--chat-arg %s: the value is not JSON (%s); a text stands in quotes, as in '%s=\"%s\"'", *a,
                           e.text, name, equals + 1);
        else if (json_object_set(all, name, v))
            rc = cli_fail("--chat-arg %s: the name is not UTF-8", *a);
        json_decref(v);
        free(name);
    }
    if (!rc && json_object_size(all) && !(*out = gr_json_text(all, JSON_COMPACT)))
        rc = cli_fail("out of memory");
    json_decref(all);
    return rc;
}

/* What the model's files have to say, once for all processes. */
static void note(void *arg, const char *text)
{
    (void)arg;
    if (!cli_quiet && !cli_is_echo())
        fprintf(stderr, "note: %s\n", text);
}

static int read_model_options(gram_options *out)
{
    static char *judge_prompt, *variables;      /* borrowed by *out, like the strings of popt */
    int as_dtype = cli_choice("dtype", dtype, argument_of(cli_run_table, "dtype"));
    int as_truncate = cli_choice("truncate", truncate_how, argument_of(cli_prompt_table, "truncate"));
    gram_err err;
    int rc;

    *out = (gram_options){ 0 };
    if (as_dtype < 0 || as_truncate < 0)
        return CLI_USAGE;
    if (threads < 0 || batch_tokens < 0 || max_tokens < 0)
        return cli_usage("--%s: wanted a number that is not negative, found %lld",
                         threads < 0 ? "threads" : batch_tokens < 0 ? "batch-tokens" : "max-tokens",
                         threads < 0 ? threads : batch_tokens < 0 ? batch_tokens : max_tokens);
    if (!(lambda >= 0))
        return cli_usage("--lambda: wanted a number that is not negative, found %g", lambda);
    rc = split_labels(out);
    if (!rc && scale && !pointwise)
        rc = cli_usage("--scale goes with --pointwise: it is of one answer");
    if (!rc && scale && labels)
        rc = cli_usage("--scale: its numbers are the labels, and --labels %s,%s are given", labels, out->label_b);
    if (!rc && judge_file && gram_read_judge_prompt(&judge_prompt, judge_file, pointwise, &err))
        rc = cli_fail("%s", err.text);
    if (!rc)
        rc = join_chat_args(&variables);
    if (rc)
        return rc;
    out->threads = threads;
    out->device = cli_device;
    out->lambda = lambda;
    out->dtype = dtype ? (gram_dtype)as_dtype : GRAM_DTYPE_AUTO;    /* the enums are in the order of the words */
    out->truncate = (gram_truncate)as_truncate;
    out->max_tokens = (size_t)max_tokens;
    out->batch_tokens = (size_t)batch_tokens;
    out->single_order = cli_single_order;
    out->pointwise = pointwise;
    out->scale = scale;
    out->judge_prompt = judge_prompt;
    out->chat_template = chat_template;
    out->chat_args = variables;
    out->base = base;
    out->reward_token = reward_token;
    out->reward_weights = reward_weights;
    out->note = note;
    return 0;
}

/* What is typed is read once: a pipe has its bytes once, and labels are cut at their comma. */
int cli_model_options(gram_options *out)
{
    static gram_options said;
    static bool known;
    int rc = known ? CLI_DONE : read_model_options(&said);

    known = known || !rc;
    *out = said;
    return rc;
}

int cli_open(gram_model **out, const char *path)
{
    gram_options o;
    gram_err err;
    int rc = cli_model_options(&o);

    *out = NULL;
    if (rc)
        return rc;
    return gram_open(out, path, &o, &err) ? cli_fail_err(&err) : 0;
}
