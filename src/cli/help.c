/* help.c - help for people at a terminal, and the manual page, both from the commands' tables. */
#include <string.h>
#include "cli/cli.h"

enum { WIDTH = 79, OPTION_COLUMN = 26 };

bool cli_each_option(const struct poptOption *o, cli_visit_fn *visit, void *arg)
{
    for (; o->longName || o->shortName || o->arg; o++) {
        if ((o->argInfo & POPT_ARG_MASK) == POPT_ARG_INCLUDE_TABLE) {
            if (!cli_each_option(o->arg, visit, arg))
                return false;
        } else if (!(o->argInfo & POPT_ARGFLAG_DOC_HIDDEN) && !visit(o, arg)) {
            return false;
        }
    }
    return true;
}

/* Words in lines of WIDTH columns, from column `at` on, each line indented to `indent`. */
static void wrap(FILE *f, const char *text, size_t at, size_t indent)
{
    bool first = true;

    while (*text) {
        size_t n = strcspn(text, " \n");
        if (!first && at + 1 + n > WIDTH) {
            fprintf(f, "\n%*s", (int)indent, "");
            at = indent;
            first = true;
        }
        at += (size_t)fprintf(f, "%s%.*s", first ? "" : " ", (int)n, text);
        first = false;
        text += n;
        if (text[0] == '\n' && text[1] == '\n') {       /* a new paragraph */
            fprintf(f, "\n\n%*s", (int)indent, "");
            at = indent;
            first = true;
        }
        text += strspn(text, " \n");
    }
    fputc('\n', f);
}

static void print_lines(FILE *f, const char *before, const char *text)
{
    while (*text) {
        size_t n = strcspn(text, "\n");
        fprintf(f, "%s%.*s\n", before, (int)n, text);
        text += n + (text[n] != '\0');
    }
}

/* A name and its argument, of which a choice of more words than fit goes on in the next line. */
static int print_head(FILE *f, const char *head)
{
    int at = 0;

    while (*head) {
        int n = (int)strcspn(head, "|");
        n += head[n] == '|';
        if (at + n > WIDTH) {
            fprintf(f, "\n%*s", OPTION_COLUMN - 4, "");
            at = OPTION_COLUMN - 4;
        }
        at += fprintf(f, "%.*s", n, head);
        head += n;
    }
    return at;
}

static bool print_option(const struct poptOption *o, void *arg)
{
    FILE *f = arg;
    char head[160];
    int n = o->shortName ? snprintf(head, sizeof head, "  -%c, --%s", o->shortName, o->longName)
                         : snprintf(head, sizeof head, "      --%s", o->longName);

    if (o->argDescrip && n < (int)sizeof head)
        snprintf(head + n, sizeof head - (size_t)n, " %s", o->argDescrip);
    n = print_head(f, head);
    if (n > OPTION_COLUMN - 2) {
        fputc('\n', f);
        n = 0;
    }
    fprintf(f, "%*s", OPTION_COLUMN - n, "");
    wrap(f, o->descrip, OPTION_COLUMN, OPTION_COLUMN);
    return true;
}

/* A command's options under the titles of the tables that it includes; one without a title goes on under the last. */
static void print_options(FILE *f, const struct poptOption *o)
{
    bool titled = false, plain = false;         /* plain: the title is of options that are of no table */

    for (; o->longName || o->shortName || o->arg; o++) {
        bool table = (o->argInfo & POPT_ARG_MASK) == POPT_ARG_INCLUDE_TABLE;
        if (o->argInfo & POPT_ARGFLAG_DOC_HIDDEN)
            continue;
        if (table && o->descrip) {
            fprintf(f, "\n%s\n", o->descrip);
            plain = false;
        } else if (!titled || (!table && !plain)) {
            fputs("\nOptions:\n", f);
            plain = true;
        }
        titled = true;
        if (table)
            cli_each_option(o->arg, print_option, f);
        else
            print_option(o, f);
    }
}

void cli_print_overview(FILE *f)
{
    fputs("usage: gram COMMAND [ARGUMENT...] [OPTION...]\n\n", f);
    wrap(f, cli_about, 0, 0);
    fputs("\nCommands:\n", f);
    for (size_t i = 0; cli_commands[i]; i++)
        fprintf(f, "  %-13s%s.\n", cli_commands[i]->name, cli_commands[i]->summary);
    fputs("\n`gram COMMAND --help` says how a command is used.\n", f);
    fputs("\nExit codes: ", f);
    wrap(f, cli_exit_codes, 12, 0);
}

void cli_print_help(FILE *f, const cli_command *c)
{
    fprintf(f, "usage: gram %s %s%s[OPTION...]\n\n", c->name, c->args, *c->args ? " " : "");
    fprintf(f, "%s.\n\n", c->summary);
    wrap(f, c->text, 0, 0);
    print_options(f, c->opts);
    fputs("\nOther options:\n", f);
    cli_each_option(cli_common_table, print_option, f);
    fputs("\nExamples:\n", f);
    print_lines(f, "  ", c->examples);
    fputs("\nExit codes: ", f);
    wrap(f, cli_exit_codes, 12, 0);
}

/* ---- The manual page ---------------------------------------------------------------------------- */

/* Text as roff takes it: no escapes, hyphens that can be copied, and no dot or quote that begins a line. */
static void roff(FILE *f, const char *text)
{
    bool line_start = true;

    for (const char *p = text; *p; p++) {
        if (line_start && (*p == '.' || *p == '\''))
            fputs("\\&", f);
        line_start = *p == '\n';
        if (p[0] == '\n' && p[1] == '\n') {
            fputs("\n.PP\n", f);
            p++;
            line_start = true;
        } else if (*p == '\\') {
            fputs("\\e", f);
        } else if (*p == '-') {
            fputs("\\-", f);
        } else {
            fputc(*p, f);
        }
    }
    fputc('\n', f);
}

static bool man_option(const struct poptOption *o, void *arg)
{
    FILE *f = arg;

    fputs(".TP\n", f);
    if (o->shortName)
        fprintf(f, "\\fB\\-%c\\fR, ", o->shortName);
    fputs("\\fB\\-\\-", f);
    for (const char *p = o->longName; *p; p++)
        fprintf(f, *p == '-' ? "\\-" : "%c", *p);
    fputs("\\fR", f);
    if (o->argDescrip)
        fprintf(f, " \\fI%s\\fR", o->argDescrip);
    fputc('\n', f);
    roff(f, o->descrip);
    return true;
}

static void man_command(FILE *f, const cli_command *c)
{
    fprintf(f, ".SS gram %s %s\n", c->name, c->args);
    fprintf(f, "%s.\n.PP\n", c->summary);
    roff(f, c->text);
    cli_each_option(c->opts, man_option, f);
    fputs(".PP\nExamples:\n.PP\n.nf\n", f);
    roff(f, c->examples);
    fputs(".fi\n", f);
}

void cli_print_man(FILE *f)
{
    fprintf(f, ".\\\" Written by `gram help --man`.\n.TH GRAM 1 \"\" \"gram %s\" \"User Commands\"\n", gram_version());
    fputs(".SH NAME\ngram \\- score, rank and evaluate answers with a generative reward model\n"
          ".SH SYNOPSIS\n.B gram\n.I COMMAND\n.RI [ ARGUMENT... ]\n.RI [ OPTION... ]\n.SH DESCRIPTION\n", f);
    roff(f, cli_about);
    fputs(".PP\nEvery command takes \\fB\\-\\-help\\fR. Data goes to standard output, messages go to standard error.\n"
          ".SH COMMANDS\n", f);
    for (size_t i = 0; cli_commands[i]; i++)
        man_command(f, cli_commands[i]);
    fputs(".SH EXIT STATUS\n", f);
    roff(f, cli_exit_codes);
    fputs(".SH ENVIRONMENT\n", f);
    roff(f, cli_environment);
    fputs(".SH FILES\n.TP\n.I OUT.partial\nThe lines of an output that is not yet whole; it is renamed to OUT when the "
          "last row is done, and\n.B \\-\\-resume\ngoes on from it.\n", f);
}
