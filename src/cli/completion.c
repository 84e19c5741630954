/* completion.c - shell completion for bash, zsh and fish, from the commands' tables.
 *
 * An option's argument name says what follows it: words with '|' between them are a choice, and FILE, DIR, PATH, MODEL
 * and JUDGE, also as one of such words, what the shell completes by itself. */
#include <ctype.h>
#include <string.h>
#include "cli/cli.h"

static bool is_choice(const struct poptOption *o)
{
    return o->argDescrip && strchr(o->argDescrip, '|');
}

static bool is_path(const struct poptOption *o)
{
    static const char *const name[] = { "FILE", "DIR", "PATH", "MODEL", "JUDGE", "F.npy" };

    for (size_t i = 0; o->argDescrip && i < GR_COUNT(name); i++)
        if (strstr(o->argDescrip, name[i]))
            return true;
    return false;
}

/* The words of a choice with spaces between them, without those that are names for something else. */
static void choices(FILE *f, const struct poptOption *o)
{
    const char *gap = "";

    for (const char *p = o->argDescrip; *p; p += strcspn(p, "|"), p += *p == '|') {
        if (isupper((unsigned char)*p))
            continue;
        fprintf(f, "%s%.*s", gap, (int)strcspn(p, "|"), p);
        gap = " ";
    }
}

/* ---- bash --------------------------------------------------------------------------------------- */

static bool bash_name(const struct poptOption *o, void *arg)
{
    fprintf(arg, " --%s", o->longName);
    return true;
}

static bool bash_choice(const struct poptOption *o, void *arg)
{
    if (!is_choice(o))
        return true;
    fprintf(arg, "        --%s%s%.1s) COMPREPLY=($(compgen -W '", o->longName, o->shortName ? "|-" : "",
            &o->shortName);
    choices(arg, o);
    fputs("' -- \"$word\")); return ;;\n", arg);
    return true;
}

static void bash(FILE *f)
{
    fputs("# bash completion for gram, written by `gram completion bash`.\n"
          "_gram() {\n"
          "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]}\n"
          "    COMPREPLY=()\n"
          "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
          "        COMPREPLY=($(compgen -W '", f);
    for (size_t i = 0; cli_commands[i]; i++)
        fprintf(f, "%s%s", i ? " " : "", cli_commands[i]->name);
    fputs("' -- \"$word\"))\n        return\n    fi\n", f);
    for (size_t i = 0; cli_commands[i]; i++) {
        fprintf(f, "    if [ \"$command\" = %s ]; then\n        case $before in\n", cli_commands[i]->name);
        cli_each_option(cli_commands[i]->opts, bash_choice, f);
        fputs("        esac\n        [[ $word != -* ]] || COMPREPLY=($(compgen -W '--help", f);
        cli_each_option(cli_commands[i]->opts, bash_name, f);
        fputs("' -- \"$word\"))\n    fi\n", f);
    }
    fputs("}\ncomplete -o default -F _gram gram\n", f);
}

/* ---- zsh ---------------------------------------------------------------------------------------- */

/* Text inside '...[...]' of _arguments. */
static void zsh_text(FILE *f, const char *s)
{
    for (; *s; s++) {
        if (*s == '\'')
            fputs("'\\''", f);
        else if (strchr("[]:\\", *s))
            fprintf(f, "\\%c", *s);
        else
            fputc(*s, f);
    }
}

static bool zsh_option(const struct poptOption *o, void *arg)
{
    FILE *f = arg;

    fputs(" \\\n        ", f);
    if (o->shortName)
        fprintf(f, "'(-%c --%s)'{-%c,--%s}'[", o->shortName, o->longName, o->shortName, o->longName);
    else
        fprintf(f, "'--%s[", o->longName);
    zsh_text(f, o->descrip);
    fputc(']', f);
    if (o->argDescrip) {
        fputc(':', f);
        zsh_text(f, o->argDescrip);
        fputc(':', f);
        if (is_choice(o)) {
            fputc('(', f);
            choices(f, o);
            fputc(')', f);
        } else if (is_path(o)) {
            fputs("_files", f);
        }
    }
    fputc('\'', f);
    return true;
}

static void zsh(FILE *f)
{
    fputs("#compdef gram\n# Written by `gram completion zsh`.\n_gram() {\n    local -a commands=(\n", f);
    for (size_t i = 0; cli_commands[i]; i++) {
        fprintf(f, "        '%s:", cli_commands[i]->name);
        zsh_text(f, cli_commands[i]->summary);
        fputs("'\n", f);
    }
    fputs("    )\n    if (( CURRENT == 2 )); then\n        _describe command commands\n        return\n    fi\n"
          "    local command=$words[2]\n    shift words\n    (( CURRENT-- ))\n    case $command in\n", f);
    for (size_t i = 0; cli_commands[i]; i++) {
        fprintf(f, "    %s)\n        _arguments '*:file:_files'", cli_commands[i]->name);
        cli_each_option(cli_commands[i]->opts, zsh_option, f);
        cli_each_option(cli_common_table, zsh_option, f);
        fputs(" ;;\n", f);
    }
    fputs("    esac\n}\n_gram \"$@\"\n", f);
}

/* ---- fish --------------------------------------------------------------------------------------- */

static void fish_text(FILE *f, const char *s)
{
    fputc('\'', f);
    for (; *s; s++)
        fprintf(f, *s == '\'' || *s == '\\' ? "\\%c" : "%c", *s);
    fputc('\'', f);
}

typedef struct { FILE *f; const char *command; } fish_at;

static bool fish_option(const struct poptOption *o, void *arg)
{
    fish_at *at = arg;

    fprintf(at->f, "complete -c gram -n '__fish_seen_subcommand_from %s' -l %s", at->command, o->longName);
    if (o->shortName)
        fprintf(at->f, " -s %c", o->shortName);
    if (is_choice(o)) {
        fprintf(at->f, is_path(o) ? " -r -F -a '" : " -x -a '");
        choices(at->f, o);
        fputc('\'', at->f);
    } else if (is_path(o)) {
        fputs(" -r -F", at->f);
    } else if (o->argDescrip) {
        fputs(" -x", at->f);
    }
    fputs(" -d ", at->f);
    fish_text(at->f, o->descrip);
    fputc('\n', at->f);
    return true;
}

static void fish(FILE *f)
{
    fputs("# fish completion for gram, written by `gram completion fish`.\n", f);
    for (size_t i = 0; cli_commands[i]; i++) {
        fish_at at = { f, cli_commands[i]->name };
        fprintf(f, "complete -c gram -n __fish_use_subcommand -f -a %s -d ", at.command);
        fish_text(f, cli_commands[i]->summary);
        fputc('\n', f);
        cli_each_option(cli_commands[i]->opts, fish_option, &at);
        cli_each_option(cli_common_table, fish_option, &at);
    }
}

void cli_print_completion(FILE *f, const char *shell)
{
    if (!strcmp(shell, "bash"))
        bash(f);
    else if (!strcmp(shell, "zsh"))
        zsh(f);
    else
        fish(f);
}
