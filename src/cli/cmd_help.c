/* cmd_help.c - `gram help`, `gram version` and `gram completion`: the program about itself. */
#include <string.h>
#include "cli/cli.h"

static int man;

static const struct poptOption help_opts[] = {
    { "man", '\0', POPT_ARG_NONE, &man, 0, "Write the manual page as roff, for `make install`.", NULL },
    CLI_TABLE_END
};
static const struct poptOption no_opts[] = { CLI_TABLE_END };

static int help(const char **arg, size_t n)
{
    const cli_command *c = n ? cli_find(arg[0]) : NULL;

    if (n && !c)
        return cli_unknown(arg[0]);
    if (man)
        cli_print_man(stdout);
    else if (c)
        cli_print_help(stdout, c);
    else
        cli_print_overview(stdout);
    return CLI_DONE;
}

const cli_command cli_help = {
    "help", "[COMMAND]", "List the commands, or say how one is used",
    "Prints the list of commands, or the help of COMMAND.",
    "gram help\ngram help score",
    0, 1, help_opts, help
};

static int version(const char **arg, size_t n)
{
    (void)arg, (void)n;
    printf("gram %s\n", gram_version());
    return CLI_DONE;
}

const cli_command cli_version = {
    "version", "", "Print the version",
    "Prints the version of the library that this program uses.",
    "gram version",
    0, 0, no_opts, version
};

static int completion(const char **arg, size_t n)
{
    (void)n;
    if (strcmp(arg[0], "bash") && strcmp(arg[0], "zsh") && strcmp(arg[0], "fish"))
        return cli_usage("%s: wanted bash, zsh or fish", arg[0]);
    cli_print_completion(stdout, arg[0]);
    return CLI_DONE;
}

const cli_command cli_completion = {
    "completion", "SHELL", "Write a completion script for bash, zsh or fish",
    "Writes a script that completes gram's commands, options and their values. `make install` installs all three.",
    "source <(gram completion bash)\ngram completion fish > ~/.config/fish/completions/gram.fish",
    1, 1, no_opts, completion
};
