/* letters.h - a tiny model that writes letters, for tests of what is written. */
#ifndef TESTS_LETTERS_H
#define TESTS_LETTERS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "check.h"

/* 61 tokens for such models of tests/golden/models: two marks, newline, space, letters, and pieces of a character. */
static inline char *letters_tokenizer(void)
{
    static const char *const first[] = { "<|im_start|>", "<|im_end|>", "\\u010a", "\\u0120", "\\u00c3", "\\u00bc",
                                         "\\u00f0\\u0141", "\\u013a\\u0122", "." };
    gr_buf b = { 0 };

    gr_buf_puts(&b, "{\"added_tokens\":[{\"id\":0,\"content\":\"<|im_start|>\",\"special\":true},"
                    "{\"id\":1,\"content\":\"<|im_end|>\",\"special\":true}],"
                    "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true},"
                    "\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":{");
    for (int i = 0; i < 61; i++) {
        char one[2] = { (char)(i < 35 ? 'a' + i - 9 : 'A' + i - 35), 0 };
        gr_buf_printf(&b, "%s\"%s\":%d", i ? "," : "", i < 9 ? first[i] : one, i);
    }
    gr_buf_puts(&b, "}}}");
    return b.p;
}

static inline void letters_put(const char *dir, const char *name, const void *p, size_t n)
{
    char path[400];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "wb");
    assert_true(f && fwrite(p, 1, n, f) == n && fclose(f) == 0);
}

static inline void letters_copy(const char *dir, const char *from_model, const char *name)
{
    static char bytes[1 << 17];
    char from[300];
    FILE *f;

    snprintf(from, sizeof from, "tests/golden/models/%s/%s", from_model, name);
    f = fopen(from, "rb");
    assert_non_null(f);
    letters_put(dir, name, bytes, fread(bytes, 1, sizeof bytes, f));
    fclose(f);
}

/* A model of 61 words in dir, whose answers end with tokens 7 and 40. */
static inline void letters_model_of(const char *dir, const char *model)
{
    static const char config[] =
        "{\"chat_template\":\"{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' "
        "}}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}\"}";
    static const char ends[] = "{\"eos_token_id\":[7, 40]}";
    char *words = letters_tokenizer();

    letters_copy(dir, model, "config.json");
    letters_copy(dir, model, "model.safetensors");
    letters_put(dir, "tokenizer.json", words, strlen(words));
    letters_put(dir, "tokenizer_config.json", config, strlen(config));
    letters_put(dir, "generation_config.json", ends, strlen(ends));
    free(words);
}

static inline void letters_model(const char *dir)
{
    letters_model_of(dir, "llama_gqa");
}

#endif
