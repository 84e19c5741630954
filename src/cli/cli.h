/* cli.h - what the commands of the gram program share.
 *
 * A command is a cli_command: a name, its words for people, a popt table and a function. --help, the man page
 * and the shell completions are all written from these, so they cannot drift from what is parsed. An
 * option's argument name says what completes it: "f32|bf16" a choice, "FILE" and "DIR" a path. */
#ifndef CLI_H
#define CLI_H

#include <jansson.h>
#include <popt.h>
#include <stdbool.h>
#include <stdio.h>
#include "base/clock.h"
#include "base/mem.h"
#include "gram/gram.h"
#include "gram/rationale.h"

enum { CLI_DONE = 0, CLI_FAILED = 1, CLI_USAGE = 2 };   /* the exit codes */

typedef struct {
    const char *name;
    const char *args;           /* "MODEL PAIRS.jsonl" */
    const char *summary;        /* one line, no full stop */
    const char *text;           /* what it does, paragraphs divided by an empty line */
    const char *examples;       /* lines to type */
    size_t min_args, max_args;
    const struct poptOption *opts;
    int (*run)(const char **arg, size_t n);             /* gives the exit code */
    bool shared;                /* processes that a launcher started share its work */
} cli_command;

extern const cli_command cli_info, cli_render, cli_tokenize, cli_logits, cli_score, cli_rank, cli_generate, cli_prove,
                         cli_selftrain, cli_bon, cli_eval, cli_evalpolicy, cli_finetune, cli_pretrain, cli_raft, cli_rl,
                         cli_train_recipe, cli_merge, cli_merge_shards, cli_convert, cli_serve, cli_watch, cli_fetch,
                         cli_completion, cli_help, cli_version;
extern const cli_command *const cli_commands[];         /* ends with NULL */
extern const char cli_about[], cli_exit_codes[], cli_environment[];

#define CLI_MANY SIZE_MAX
/* Whether an option was given, by its val (1 .. CLI_VALS - 1), where its value alone does not tell. */
enum { CLI_VALS = 64 };
extern bool cli_given[CLI_VALS];

/* ---- Options that commands share (options.c) ---------------------------------------------------- */

#define CLI_INCLUDE(table, title) { NULL, '\0', POPT_ARG_INCLUDE_TABLE, table, 0, title, NULL }
#define CLI_TABLE_END             { NULL, '\0', 0, NULL, 0, NULL, NULL }
extern struct poptOption cli_run_table[];       /* --dtype --base --threads --batch-tokens */
extern struct poptOption cli_engine_table[];    /* the same and which head gives a reward, for those that score */
extern struct poptOption cli_chat_table[];      /* --template --chat-arg; the next one holds it */
extern struct poptOption cli_prompt_table[];    /* --judge-prompt --labels --template --max-tokens --truncate */
extern struct poptOption cli_policy_table[];    /* --max-tokens --truncate --template, for those that learn to answer */
extern struct poptOption cli_pointwise_table[]; /* --pointwise */
extern struct poptOption cli_judge_table[];     /* the prompt's and --lambda --single-order, for those that score */
extern struct poptOption cli_rationale_table[]; /* --rationale --votes and what goes with them */
/* *out is o, filled from them, or NULL without --rationale. Zero, or an exit code after a message. */
int cli_rationale(gram_rationale_options *o, const gram_rationale_options **out);
extern struct poptOption cli_votes_table[];     /* --judge-votes: the same of a judge beside a policy */
int cli_votes(gram_rationale_options *o, const gram_rationale_options **out);
extern struct poptOption cli_rows_whole_table[];    /* --resume --columns --skip-bad --quiet */
extern struct poptOption cli_rows_table[];      /* the same and --shard, for those whose rows many can share */
extern struct poptOption cli_recipe_table[];    /* --set --keys, for those that run a recipe */
extern int cli_keys;                            /* --keys: print them */
/* The n_set values of --set, where there is a recipe among n arguments. Zero, or an exit code after a message. */
int cli_recipe_set(size_t n, const char *const **set, size_t *n_set);
extern struct poptOption cli_common_table[];    /* --help; main() adds it to every command */
extern struct poptOption cli_devices_table[];   /* --devices; of those whose processes share their work */
#define CLI_DEVICES CLI_INCLUDE(cli_devices_table, "Several devices:")
/* Where --devices was given: starts the processes and waits for them. Zero, or an exit code; *over: of the command. */
int cli_devices_run(char **argv, bool *over);

/* What those options said, as the library wants it. Zero, or an exit code after a message. */
int cli_model_options(gram_options *out);
/* The name of the first option that was given of how a judge that is opened here is asked, or NULL; of how a model is
 * opened, with other, which is opened in any case, those that are the judge's alone; and of all of these, or of how
 * verdicts count. Where no model is opened they would do nothing; --threads and --batch-tokens never change a number,
 * and may be given always. */
const char *cli_asking_given(void);
const char *cli_engine_given(bool other);
const char *cli_model_given(void);
/* The place of `value` in `choices` ("f32|bf16|int8"), NULL being the first; -1 after a message with the option. */
int cli_choice(const char *option, const char *value, const char *choices);
/* Opens the model with cli_model_options(), NULL being the shipped judge; the same. */
int cli_open(gram_model **out, const char *path);
extern int cli_quiet, cli_resume, cli_skip_bad, cli_single_order;
extern char *cli_columns, *cli_shard, *cli_device, *cli_devices;        /* NULL: not given */
bool cli_drops(void);                           /* --truncate drop */

/* Whether the first of n arguments is rows already, and not a model (which.c). Zero, or an exit code after a message
 * where it is one argument and no rows. */
int cli_model_left_out(const char *const *arg, size_t n, bool *out);
/* An error where the first of n arguments is rows and another is a model, which comes first in every command. */
int cli_model_first(const char *const *arg, size_t n);

/* ---- Parsing and help (main.c, help.c) ---------------------------------------------------------- */

/* The options of a table and of the tables that it includes, in order; false from visit ends the walk. */
typedef bool cli_visit_fn(const struct poptOption *o, void *arg);
bool cli_each_option(const struct poptOption *table, cli_visit_fn *visit, void *arg);
const cli_command *cli_find(const char *name);          /* NULL: no such command */
int cli_unknown(const char *typed);                     /* says so, and what may have been meant; the exit code */
void cli_print_overview(FILE *f);
void cli_print_help(FILE *f, const cli_command *c);
void cli_print_man(FILE *f);
void cli_print_completion(FILE *f, const char *shell);  /* bash, zsh or fish */

/* ---- Talk, all of it on stderr (messages.c) --------------------------------------------------------- */

/* "gram score: ..." and the exit code: cli_usage() CLI_USAGE, with where the help is. */
int cli_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
int cli_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same for an error of the library: GRAM_EARG is a usage error, all else a failure. */
int cli_fail_err(const gram_err *err);
/* The library calls options by their names, `lr` or `recompute auto`; here they are --lr and --recompute auto, unless
 * what is told of came from a recipe. out is at least as large as the text and a half. */
const char *cli_dashes(const char *text, char *out, size_t room);
extern bool cli_from_recipe;
/* Whether this is one of several processes that mpirun started and not the first, which says what all would say. */
bool cli_is_echo(void);
void cli_set_name(const char *command);                 /* what messages begin with */

/* A line of progress where stderr is a terminal, and Ctrl-C turned into a stop that keeps what is done. */
typedef struct {
    gram_model *m;
    const char *unit;
    double start, shown;
    bool terminal, drawn;
    uint64_t first;
} cli_progress;
void cli_progress_start(cli_progress *p, gram_model *m, const char *unit);
void cli_progress_end(cli_progress *p);                 /* the line is cleared, Ctrl-C kills again */
void cli_clear_line(cli_progress *p);
bool cli_stopping(void);                                /* Ctrl-C came */
void cli_clock(char out[24], double seconds);           /* "1:02:03" */
gram_progress_fn cli_progress_fn;                       /* arg: a cli_progress */
gram_warn_fn cli_warn_fn;
/* The last line: "100 rows in 0:41 (2.44 rows/s, 4350 tokens/s), 2 bad rows skipped". */
void cli_summary(const cli_progress *p, const gram_file_report *r);
/* ", 4 of them from the run before", or that nothing was left to do. */
void cli_resumed(const gram_file_report *r);
/* Of cli_rows_table: whether it fits an output, as an exit code, after which the options of a run can be had; and the
 * exit code of a run over them, as cli_file_status(). */
int cli_rows_check(const char *out);
gram_file_options cli_rows(cli_progress *p, const gram_rationale_options *rationale);
int cli_rows_status(gram_status rc, const gram_err *err, const char *out);
/* The exit code of a call over files, with how to resume `out` where it was stopped. */
int cli_file_status(gram_status rc, const gram_err *err, const char *out);

/* ---- Small things (messages.c) ---------------------------------------------------------------------- */

/* The rest of a stream; false after a message where it cannot be read. */
bool cli_slurp(FILE *f, const char *name, gr_buf *out);
void cli_bytes(char out[32], double bytes);             /* "93.8 MiB" */
/* The ids of a JSON array, found at name:line; an exit code. */
int cli_ids(const json_t *array, const char *name, size_t line, gr_ids *out);

#endif
