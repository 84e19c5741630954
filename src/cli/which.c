/* which.c - whether MODEL was left out. A model and a file of rows are told apart by what they are, and where that
 * cannot be told nothing is guessed: a number from another judge than was meant looks like any other. */
#include <errno.h>
#include <glob.h>
#include <string.h>
#include <sys/stat.h>
#include "base/utf8.h"
#include "cli/cli.h"

typedef enum { MODEL, ROWS, FOLDER, MISSING, UNCLEAR } kind;

static bool has_file(const char *dir, const char *name)
{
    char path[4096];
    struct stat st;

    return snprintf(path, sizeof path, "%s/%s", dir, name) < (int)sizeof path && !stat(path, &st);
}

/* By its first bytes, and where these may be anything by its name. */
static kind kind_of_file(const char *path)
{
    static const struct { const char *magic; size_t n; kind is; } known[] = {
        { "GGUF", 4, MODEL }, { "PAR1", 4, ROWS }, { "ARROW1", 6, ROWS },
        { "\xff\xff\xff\xff", 4, ROWS }, { "\x1f\x8b", 2, ROWS }, { "\x28\xb5\x2f\xfd", 4, ROWS }
    };
    char head[512];
    FILE *f = fopen(path, "rb");
    size_t n, i;

    if (!f)
        return MISSING;
    n = fread(head, 1, sizeof head, f);
    fclose(f);
    for (size_t k = 0; k < GR_COUNT(known); k++)
        if (n >= known[k].n && !memcmp(head, known[k].magic, known[k].n))
            return known[k].is;
    if (gram_rows_named(path))
        return ROWS;
    i = gr_utf8_mark(head, n);
    while (i < n && head[i] && strchr(" \t\r\n", head[i]))
        i++;
    return i < n && (head[i] == '{' || head[i] == '[') ? ROWS : UNCLEAR;
}

/* "part-*.jsonl" stands for the files of rows that it matches. */
static kind kind_of_pattern(const char *path)
{
    glob_t found = { 0 };
    int error = errno;
    kind is = MISSING;

    if (strpbrk(path, "*?[") && !glob(path, 0, NULL, &found))
        is = kind_of_file(found.gl_pathv[0]) == ROWS ? ROWS : UNCLEAR;
    globfree(&found);
    errno = error;
    return is;
}

static kind kind_of(const char *path)
{
    static const char *const parts[] = { "config.json", "adapter_config.json", "tokenizer.json", "judge.json" };
    struct stat st;

    if (gr_name_is_standard(path))
        return ROWS;
    if (stat(path, &st))
        return kind_of_pattern(path);
    if (S_ISDIR(st.st_mode)) {
        for (size_t i = 0; i < GR_COUNT(parts); i++)
            if (has_file(path, parts[i]))
                return MODEL;
        return FOLDER;
    }
    return S_ISREG(st.st_mode) ? kind_of_file(path) : ROWS;    /* a pipe is read once, and no model is read from one */
}

int cli_model_first(const char *const *arg, size_t n)
{
    for (size_t i = 1; i < n && kind_of(arg[0]) == ROWS; i++)
        if (kind_of(arg[i]) == MODEL)
            return cli_usage("%s is a model, and %s before it holds rows: the model comes first", arg[i], arg[0]);
    return CLI_DONE;
}

int cli_model_left_out(const char *const *arg, size_t n, bool *out)
{
    kind is = kind_of(arg[0]);
    const char *why = strerror(errno);

    *out = is == ROWS || (is == FOLDER && n == 1);         /* a folder stands for the files of rows in it */
    if (*out || n > 1)
        return CLI_DONE;
    switch (is) {
    case MODEL:   return cli_usage("%s is a model, and what it is to judge is missing", arg[0]);
    case MISSING: return cli_fail("%s: %s", arg[0], why);
    default:      return cli_usage("%s is no model, and neither its first bytes nor its name say that it holds rows; "
                                   "with a MODEL before it, it is read as such", arg[0]);
    }
}
