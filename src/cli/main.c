/* main.c - the gram program: the table that names every command, and the way from argv to one of them. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/suggest.h"
#include "cli/cli.h"
#include "cli/train_options.h"
#include "gram/dist.h"

const cli_command *const cli_commands[] = {
    &cli_info, &cli_render, &cli_tokenize, &cli_logits, &cli_score, &cli_rank, &cli_generate, &cli_prove,
    &cli_selftrain, &cli_bon, &cli_eval, &cli_evalpolicy, &cli_finetune, &cli_pretrain, &cli_raft, &cli_rl,
    &cli_train_recipe, &cli_merge, &cli_merge_shards, &cli_convert, &cli_serve, &cli_watch, &cli_fetch,
    &cli_completion, &cli_help, &cli_version,
    NULL
};

bool cli_given[CLI_VALS];

const char cli_about[] =
    "gram judges answers with a generative reward model: a language model reads a question and two answers, and "
    "the probability of its one-token verdict is the reward.";
const char cli_exit_codes[] =
    "0: done. 1: failed, or stopped by Ctrl-C; one sentence on stderr says why. 2: usage error.";
const char cli_environment[] =
    "GRAM_CPU=ref|avx2|avx512|vnni|bf16|amx caps the instructions that are used; by default the CPU's best are. vnni "
    "multiplies nothing in bfloat16, bf16 nothing with AMX, and so no float32 as sums of two bfloat16, which "
    "GRAM_CPU=bf16x3 forces on a CPU with AVX512_BF16 and without AMX. "
    "GRAM_PEER_TIMEOUT=SECONDS: a process of a run under mpirun that gives no sign of life for so long ends the run "
    "(30; 0: never).";

const cli_command *cli_find(const char *name)
{
    for (size_t i = 0; cli_commands[i]; i++)
        if (!strcmp(cli_commands[i]->name, name))
            return cli_commands[i];
    return NULL;
}

static bool nearest_option(const struct poptOption *o, void *arg)
{
    if (o->longName)
        gr_near_try(arg, o->longName);
    return true;
}

int cli_unknown(const char *typed)
{
    gr_near n = { .typed = typed + strspn(typed, "-") };        /* "--verison" */

    for (size_t i = 0; cli_commands[i]; i++)
        gr_near_try(&n, cli_commands[i]->name);
    if (gr_near_best(&n))
        return cli_usage("there is no command '%s'; did you mean '%s'?", typed, gr_near_best(&n));
    return cli_usage("there is no command '%s'", typed);
}

/* popt names the value that it could not take; the option is what stands before it. */
static int bad_value(const char *typed, char **argv, int rc)
{
    for (size_t i = 1; argv[i] && argv[i + 1]; i++)
        if (argv[i][0] == '-' && !strcmp(argv[i + 1], typed))
            return cli_usage("%s %s: %s", argv[i], typed, poptStrerror(rc));
    return cli_usage("%s: %s", typed, poptStrerror(rc));
}

static int bad_option(poptContext con, const struct poptOption *table, char **argv, int rc)
{
    const char *typed = poptBadOption(con, POPT_BADOPTION_NOALIAS);
    gr_near n = { .typed = typed + strspn(typed, "-") };

    if (rc != POPT_ERROR_BADOPT)
        return bad_value(typed, argv, rc);
    if (*n.typed)
        cli_each_option(table, nearest_option, &n);
    if (gr_near_best(&n))
        return cli_usage("there is no option '%s'; did you mean '--%s'?", typed, gr_near_best(&n));
    return cli_usage("there is no option '%s'", typed);
}

static int check_letters(const char **arg, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!*arg[i])
            return cli_usage("argument %zu is empty, as where a variable of the shell is not set", i + 1);
    return CLI_DONE;
}

/* program: what the command was called with, from its name on. */
static int run(const cli_command *c, int argc, char **program)
{
    const struct poptOption table[] = {
        CLI_INCLUDE((void *)(uintptr_t)c->opts, NULL), CLI_INCLUDE(cli_common_table, NULL), CLI_TABLE_END
    };
    char **argv = program + 1;
    poptContext con = poptGetContext(c->name, argc, (const char **)(uintptr_t)argv, table, 0);
    const char **arg = NULL, *none = NULL;
    size_t n = 0;
    bool over = false;
    int rc;

    cli_set_name(c->name);
    if (!con)
        return cli_fail("out of memory");
    while ((rc = poptGetNextOpt(con)) > 0)
        if (rc == 'h') {
            cli_print_help(stdout, c);
            poptFreeContext(con);
            return CLI_DONE;
        } else if (rc < CLI_VALS)
            cli_given[rc] = true;
    if (rc < -1) {
        rc = bad_option(con, table, argv, rc);
    } else {
        arg = poptGetArgs(con);
        while (arg && arg[n])
            n++;
        if (n < c->min_args || n > c->max_args)
            rc = cli_usage("wanted %s, found %zu argument%s", *c->args ? c->args : "no argument", n, n == 1 ? "" : "s");
        else if (!(rc = check_letters(arg, n)) && !(rc = cli_model_first(arg, n)) &&
                 !(rc = cli_devices_run(program, &over)) && !over)
            rc = c->run(arg ? arg : &none, n);
    }
    poptFreeContext(con);
    return rc;
}

/* A full disk, or a pipe that failed, is seen only when what stdio held back is written. */
static int close_stdout(int rc)
{
    bool bad = ferror(stdout);

    if (fflush(stdout) || bad) {
        cli_fail("standard output: %s", strerror(errno ? errno : EIO));
        return rc ? rc : CLI_FAILED;
    }
    return rc;
}

/* "score, rank and train" */
static void list_shared(char *to, size_t size)
{
    size_t n = 0, left = 0;

    for (size_t i = 0; cli_commands[i]; i++)
        left += cli_commands[i]->shared;
    for (size_t i = 0; cli_commands[i] && n < size; i++)
        if (cli_commands[i]->shared)
            n += (size_t)snprintf(to + n, size - n, "%s%s", cli_commands[i]->name,
                                  --left > 1 ? ", " : left ? " and " : "");
}

/* Under mpirun each process would do all of it, and write the same file. */
static bool is_alone(const cli_command *c)
{
    char shared[256];
    int rank, size;

    if (c->shared || !gram_dist_launched(&rank, &size))
        return true;
    cli_set_name(c->name);
    list_shared(shared, sizeof shared);
    cli_usage("mpirun started %d processes of it, and each would do the whole work: %s alone share theirs", size,
              shared);
    return false;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : NULL;
    const cli_command *c;

    cli_train_init();
    signal(SIGXFSZ, SIG_IGN);       /* a file that may not grow is a failed write, with its sentence */
    if (!name) {
        cli_print_overview(stderr);
        return CLI_USAGE;
    }
    if (!strcmp(name, "--help") || !strcmp(name, "-h"))
        name = "help";
    else if (!strcmp(name, "--version") || !strcmp(name, "-V"))
        name = "version";
    c = cli_find(name);
    if (c && !is_alone(c))
        return CLI_USAGE;
    return close_stdout(c ? run(c, argc - 1, argv) : cli_unknown(name));
}
