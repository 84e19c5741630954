/* cmd_logits.c - `gram logits`: what the model says of every position, for checking against other programs. */
#include <string.h>
#include "cli/cli.h"

static char *tokens, *out;

static const struct poptOption opts[] = {
    { "tokens", 'i', POPT_ARG_STRING, &tokens, 0,
      "The token ids, as a JSON array; or the name of a file that holds one, - being standard input.", "JSON" },
    { "out", 'o', POPT_ARG_STRING, &out, 0, "Write the logits to this file.", "F.npy" },
    CLI_INCLUDE(cli_run_table, "Engine options:"),
    CLI_TABLE_END
};

static int read_ids(gr_ids *ids)
{
    bool text = tokens[strspn(tokens, " \t\n")] == '[', in = !strcmp(tokens, "-");
    const char *name = text ? "--tokens" : in ? "standard input" : tokens;
    json_error_t e;
    json_t *j = text ? json_loads(tokens, 0, &e) : in ? json_loadf(stdin, 0, &e) : json_load_file(tokens, 0, &e);
    int rc;

    if (!j)                         /* jansson names the file that it cannot open, but no place in one that it can */
        return text ? cli_usage("--tokens: %s", e.text) : e.line < 0 ? cli_fail("%s", e.text)
               : cli_fail("%s:%d: %s", name, e.line, e.text);
    rc = cli_ids(j, name, 1, ids);
    json_decref(j);
    if (!rc && ids->n == 0)
        rc = cli_fail("%s: wanted at least one token id", name);
    return rc;
}

static int run(const char **arg, size_t n)
{
    gr_ids ids = { 0 };
    gram_model *m = NULL;
    gram_err err;
    int rc;

    (void)n;
    if (!tokens || !out)
        return cli_usage("--%s is needed", tokens ? "out" : "tokens");
    rc = read_ids(&ids);
    if (!rc)
        rc = cli_open(&m, arg[0]);
    if (!rc && gram_logits_file(m, ids.p, ids.n, out, &err))
        rc = cli_fail_err(&err);
    gram_close(m);
    gr_ids_clear(&ids);
    return rc;
}

const cli_command cli_logits = {
    "logits", "MODEL", "Write the next-token logits of a sequence as a NumPy file",
    "Runs the model over T token ids, adding no BOS, and writes the logits of the token after each of them as a "
    "float32 array [T,V] in NumPy's .npy format.",
    "gram logits model.gguf --tokens '[1, 4093, 198]' --out logits.npy",
    1, 1, opts, run
};
