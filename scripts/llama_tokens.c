/* llama_tokens.c - llama.cpp's ids of texts, for scripts/golden_pre.py.
 *
 *     cc llama_tokens.c -I llama.cpp/include -I llama.cpp/ggml/include -L build/bin -lllama -o llama_tokens
 *     llama_tokens MODEL.gguf SPECIAL < texts > ids
 *
 * A text is a line of hexadecimal digits, its ids a line of JSON. SPECIAL is 1 where special tokens count, else 0. */
#include <stdio.h>
#include <stdlib.h>
#include "llama.h"

static void say_nothing(enum ggml_log_level level, const char *text, void *data)
{
    (void)level, (void)text, (void)data;
}

static size_t from_hex(char *to, const char *line)
{
    size_t n = 0;

    for (unsigned byte; sscanf(line + 2 * n, "%2x", &byte) == 1; n++)
        to[n] = (char)byte;
    return n;
}

int main(int argc, char **argv)
{
    struct llama_model_params params = llama_model_default_params();
    struct llama_model *model;
    char *line = NULL;
    size_t cap = 0;

    llama_log_set(say_nothing, NULL);
    params.vocab_only = true;
    model = argc == 3 ? llama_model_load_from_file(argv[1], params) : NULL;
    if (!model)
        return 1;
    for (ssize_t n; (n = getline(&line, &cap, stdin)) > 0; ) {
        llama_token *id = calloc((size_t)n + 16, sizeof *id);
        char *text = malloc((size_t)n);
        int count = llama_tokenize(llama_model_get_vocab(model), text, (int)from_hex(text, line), id, (int)n + 16,
                                   false, *argv[2] == '1');
        putchar('[');
        for (int i = 0; i < count; i++)
            printf("%s%d", i ? "," : "", id[i]);
        puts("]");
        free(id);
        free(text);
    }
    free(line);
    llama_model_free(model);
    return 0;
}
