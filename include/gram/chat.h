/* chat.h - chat templates alone: what a model would be given to read, without the model.
 *
 * A checkpoint's chat template is a program in Jinja; gram runs it as transformers' apply_chat_template does
 * (docs/templates.md). A template may serve many threads at once. */
#ifndef GRAM_CHAT_H
#define GRAM_CHAT_H

#include "gram/gram.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

typedef struct gram_template gram_template;
/* The template of a model (a directory, for which tokenizer_config.json will do, or a .gguf file), or the one that
 * opt->chat_template names; of the options chat_args, base and note are heeded too. Close it with
 * gram_template_close(). */
gram_status gram_template_open(gram_template **out, const char *model, const gram_options *opt, gram_err *err);
/* A template from its text. name: what errors call it. tokens, args: texts of JSON objects, each may be NULL: special
 * tokens by name ({"bos_token": "<s>", "eos_token": "</s>"}), and further variables. */
gram_status gram_template_new(gram_template **out, const char *name, const char *text, const char *tokens,
                              const char *args, gram_err *err);
/* Renders a conversation, the text of a JSON object: { "messages": [{ "role", "content", ... }, ...], "tools"?: [...],
 * "documents"?: [...], "add_generation_prompt"?: bool, "arguments"?: { variables of this conversation } }. *text is
 * malloc'ed and NUL-terminated, *n its length in bytes. On failure err->text is the template's own message where it
 * raised one (GRAM_EARG), as Python prints it. */
gram_status gram_template_render(const gram_template *t, const char *json, size_t bytes, char **text, size_t *n,
                                 gram_err *err);
/* Of a file of rows, or of several (docs/formats.md), each conversation, in order: its text of n bytes, NUL-terminated,
 * or text NULL and why there is none, which says file and line where the row is bad. 0 goes on; anything else ends the
 * call, which then fails with GRAM_ESTOPPED. */
typedef int gram_rendered_fn(void *arg, const char *text, size_t n, const char *why);
/* columns: "messages=conversation,tools=functions", what the file calls these keys; all other keys but those of a
 * conversation are then left alone. NULL: a key that is none of a conversation's is an error of its row. */
gram_status gram_template_render_file(const gram_template *t, const char *path, const char *columns,
                                      gram_rendered_fn *fn, void *arg, gram_err *err);
void gram_template_close(gram_template *t);         /* NULL is fine */

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
