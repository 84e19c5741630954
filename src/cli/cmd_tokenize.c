/* cmd_tokenize.c - `gram tokenize`: text to token ids and back, for checking against other programs. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "cli/cli.h"

static int lines, decode, special;
static char *base;

static const struct poptOption opts[] = {
    { "base", '\0', POPT_ARG_STRING, &base, 0,
      "Of a LoRA adapter without a tokenizer: where its base model is, in place of where the adapter says.", "MODEL" },
    { "lines", 'l', POPT_ARG_NONE, &lines, 0, "Read one JSON string a line (with --decode: write one).", NULL },
    { "decode", '\0', POPT_ARG_NONE, &decode, 0, "Read one JSON array of ids a line and write text.", NULL },
    { "special", 's', POPT_ARG_NONE, &special, 0,
      "Special tokens written in the text count as special (with --decode: are written).", NULL },
    CLI_TABLE_END
};

static int write_ids(const gram_tokenizer *t, const char *text, size_t bytes)
{
    gram_err err;
    int32_t *id;
    size_t n;

    if (gram_tokenize(t, text, bytes, special, &id, &n, &err))
        return cli_fail_err(&err);
    putchar('[');
    for (size_t i = 0; i < n; i++)
        printf(i ? ",%d" : "%d", (int)id[i]);
    puts("]");
    free(id);
    return CLI_DONE;
}

/* What gram_detokenize() gives is UTF-8. */
static int write_json_string(const char *text, size_t bytes)
{
    json_t *s = json_stringn(text, bytes);
    int rc = s && !json_dumpf(s, stdout, JSON_ENCODE_ANY) ? CLI_DONE : cli_fail("standard output: %s", strerror(errno));

    putchar('\n');
    json_decref(s);
    return rc;
}

static int write_text(const gram_tokenizer *t, const int32_t *id, size_t n)
{
    gram_err err;
    char *text;
    size_t bytes;
    int rc = CLI_DONE;

    if (gram_detokenize(t, id, n, special, &text, &bytes, &err))
        return cli_fail_err(&err);
    if (lines)
        rc = write_json_string(text, bytes);
    else
        fwrite(text, 1, bytes, stdout);
    free(text);
    return rc;
}

/* One line of input: a JSON string to encode, or an array to decode. */
static int one_line(const gram_tokenizer *t, const char *line, size_t bytes, size_t number)
{
    json_error_t e;
    json_t *j = json_loadb(line, bytes, JSON_DECODE_ANY | JSON_ALLOW_NUL, &e);
    gr_ids ids = { 0 };
    int rc;

    if (!j)
        return cli_fail("standard input:%zu: not JSON: %s", number, e.text);
    if (decode)
        rc = cli_ids(j, "standard input", number, &ids);
    else
        rc = json_is_string(j) ? CLI_DONE : cli_fail("standard input:%zu: wanted a JSON string", number);
    if (!rc)
        rc = decode ? write_text(t, ids.p, ids.n) : write_ids(t, json_string_value(j), json_string_length(j));
    gr_ids_clear(&ids);
    json_decref(j);
    return rc;
}

static int each_line(const gram_tokenizer *t)
{
    char *line = NULL;
    size_t cap = 0, number = 0;
    ssize_t n;
    int rc = CLI_DONE;

    while (!rc && (n = getline(&line, &cap, stdin)) >= 0) {
        number++;
        if (line[strspn(line, " \t\r\n")])
            rc = one_line(t, line, (size_t)n, number);
    }
    if (!rc && ferror(stdin))
        rc = cli_fail("standard input: %s", strerror(errno));
    free(line);
    return rc;
}

static int whole(const gram_tokenizer *t)
{
    gr_buf text = { 0 };
    int rc = cli_slurp(stdin, "standard input", &text) ? write_ids(t, text.p ? text.p : "", text.n) : CLI_FAILED;

    gr_buf_clear(&text);
    return rc;
}

static int run(const char **arg, size_t n)
{
    gram_tokenizer *t;
    gram_err err;
    int rc;

    (void)n;
    if (gram_tokenizer_open_base(&t, arg[0], base, &err))
        return cli_fail_err(&err);
    rc = lines || decode ? each_line(t) : whole(t);
    gram_tokenizer_close(t);
    return rc;
}

const cli_command cli_tokenize = {
    "tokenize", "MODEL", "Turn text on standard input into token ids, or back",
    "Reads all of standard input as one text and writes one JSON array of ids; with --lines, an array for each line, "
    "which holds a JSON string. No BOS is added. MODEL is a .gguf file or a directory; one that holds a tokenizer.json "
    "or a tokenizer.model and no weights will do.\n\n"
    "With --decode it reads one array a line and writes the texts as they are, or with --lines as JSON strings. Bytes "
    "that are no whole character become U+FFFD.",
    "echo -n 'Hello world' | gram tokenize model.gguf\n"
    "echo '[19556, 905]' | gram tokenize model.gguf --decode",
    1, 1, opts, run
};
