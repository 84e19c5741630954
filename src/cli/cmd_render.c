/* cmd_render.c - `gram render`: what a chat template makes of conversations. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/json.h"
#include "base/utf8.h"
#include "cli/cli.h"
#include "gram/chat.h"

static char *bos, *eos;

static const struct poptOption opts[] = {
    { "bos", '\0', POPT_ARG_STRING, &bos, 0, "Without MODEL: bos_token for the template.", "TEXT" },
    { "columns", '\0', POPT_ARG_STRING, &cli_columns, 0,
      "What the file calls the keys that are read: messages=conversation,tools=functions. Other keys are left alone "
      "then; without this they are errors.", "NAME=COLUMN,..." },
    { "eos", '\0', POPT_ARG_STRING, &eos, 0, "Without MODEL: eos_token for the template.", "TEXT" },
    CLI_INCLUDE(cli_chat_table, "Template options:"),
    CLI_TABLE_END
};

static int put(const char *key, const char *text, size_t n)
{
    json_t *o = json_pack("{s:o}", key, json_stringn(text, n));
    char *line = gr_json_text(o, JSON_COMPACT);
    int rc = line ? CLI_DONE : cli_fail("out of memory");

    if (line)
        puts(line);
    free(line);
    json_decref(o);
    return rc;
}

static int one(void *arg, const char *text, size_t n, const char *why)
{
    int *failed = arg;

    *failed = put(text ? "text" : "error", text ? text : why, text ? n : strlen(why));
    return *failed;
}

static int each_row(const gram_template *t, const char *name)
{
    gram_err err;
    int failed = CLI_DONE;

    return gram_template_render_file(t, name, cli_columns, one, &failed, &err) && !failed ? cli_fail_err(&err) : failed;
}

/* --template FILE --bos TEXT --eos TEXT, where there is no model. */
static int open_file(gram_template **t, const gram_options *o)
{
    gr_buf text = { 0 };
    gram_err err;
    json_t *tokens = json_object();
    char *list = NULL;
    FILE *f = fopen(o->chat_template, "rb");
    int rc = CLI_DONE;

    *t = NULL;
    if (!f)
        rc = cli_fail("%s: %s", o->chat_template, strerror(errno));
    else if (!cli_slurp(f, o->chat_template, &text))
        rc = CLI_FAILED;
    gr_utf8_unmark(text.p, &text.n);
    if (!rc && text.n && strlen(text.p) != text.n)
        rc = cli_fail("%s: a template is text, and this file holds a NUL byte", o->chat_template);
    if (!rc && ((bos && json_object_set_new(tokens, "bos_token", json_string(bos)))
                || (eos && json_object_set_new(tokens, "eos_token", json_string(eos)))
                || !(list = gr_json_text(tokens, JSON_COMPACT))))
        rc = cli_fail("--bos, --eos: not UTF-8");
    if (!rc && gram_template_new(t, o->chat_template, text.n ? text.p : "", list, o->chat_args, &err))
        rc = cli_fail_err(&err);
    if (f)
        fclose(f);
    gr_buf_clear(&text);
    json_decref(tokens);
    free(list);
    return rc;
}

static int run(const char **arg, size_t n)
{
    const char *in = arg[n - 1];
    gram_options o;
    gram_template *t;
    gram_err err;
    int rc = cli_model_options(&o);

    if (rc)
        return rc;
    if (n == 1 && !o.chat_template)
        return cli_usage("wanted MODEL and CONVERSATIONS.jsonl, or --template FILE and CONVERSATIONS.jsonl");
    if (n == 2 && (bos || eos))
        return cli_usage("--%s: the model has its own", bos ? "bos" : "eos");
    if (n == 1)
        rc = open_file(&t, &o);
    else if (gram_template_open(&t, arg[0], &o, &err))
        rc = cli_fail_err(&err);
    if (!rc)
        rc = each_row(t, in);
    if (!rc || n == 1)
        gram_template_close(t);
    return rc;
}

const cli_command cli_render = {
    "render", "[MODEL] CONVERSATIONS.jsonl", "Show what a chat template makes of conversations",
    "Reads conversations, {\"messages\": [...]} a line, with \"tools\", \"documents\", \"add_generation_prompt\" and "
    "\"arguments\" (the template's variables) where they are wanted, and writes {\"text\"} or {\"error\"} a line, in "
    "order: the text that the model would be given to read, special tokens written out, or why the template refuses "
    "the conversation. The text is the one that transformers' apply_chat_template gives. Files may be of any kind that "
    "rows are read from, Parquet, Arrow and CSV among them; \"-\" is standard input.\n\n"
    "The template is MODEL's own, or that of --template; with --template FILE no model is needed, and --bos and --eos "
    "give its special tokens. Today's date, where a template writes it, follows SOURCE_DATE_EPOCH.",
    "gram render model/ conversations.jsonl\n"
    "gram render --template chat_template.jinja --bos '<s>' --eos '</s>' conversations.jsonl",
    1, 2, opts, run
};
