/* bytes.h - a tokenizer whose tokens are bytes, for tests that count them. */
#ifndef TESTS_BYTES_H
#define TESTS_BYTES_H

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "check.h"
#include "text/tokenizer.h"

enum { IM_START = 256, IM_END = 257, THINK = 258, THINK_END = 259 };

/* A byte-level tokenizer without merges: a token is a byte, so lengths can be counted by hand. thinks: <think> and
 * </think> are added tokens that are not special, as in Qwen3. */
static inline gr_tok *bytes_tokenizer(bool thinks)
{
    json_t *vocab = json_object(), *root;
    char *text;
    gr_tok *tok;

    for (int b = 0, extra = 0; b < 256; b++) {  /* GPT-2's letters for bytes */
        bool shown = (b >= '!' && b <= '~') || (b >= 0xa1 && b != 0xad);
        int u = shown ? b : 256 + extra++;
        char s[4] = { (char)u };
        if (u >= 0x80) {
            s[0] = (char)(0xc0 | u >> 6);
            s[1] = (char)(0x80 | (u & 0x3f));
        }
        json_object_set_new(vocab, s, json_integer(b));
    }
    root = json_pack("{s:s, s:[{s:i,s:s,s:b,s:b,s:b,s:b,s:b},{s:i,s:s,s:b,s:b,s:b,s:b,s:b}], s:n,"
                     " s:{s:s,s:b,s:b,s:b}, s:n, s:{s:s}, s:{s:s,s:o,s:[]}}", "version", "1.0", "added_tokens",
                     "id", IM_START, "content", "<|im_start|>", "single_word", 0, "lstrip", 0, "rstrip", 0,
                     "normalized", 0, "special", 1,
                     "id", IM_END, "content", "<|im_end|>", "single_word", 0, "lstrip", 0, "rstrip", 0,
                     "normalized", 0, "special", 1, "normalizer",
                     "pre_tokenizer", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1, "use_regex", 1,
                     "post_processor", "decoder", "type", "ByteLevel",
                     "model", "type", "BPE", "vocab", vocab, "merges");
    assert_non_null(root);
    for (int k = 0; k < 2 && thinks; k++)
        json_array_append_new(json_object_get(root, "added_tokens"),
                              json_pack("{s:i,s:s,s:b,s:b,s:b,s:b,s:b}", "id", THINK + k, "content",
                                        k ? "</think>" : "<think>", "single_word", 0, "lstrip", 0, "rstrip", 0,
                                        "normalized", 0, "special", 0));
    text = json_dumps(root, 0);
    CHECK_OK(gr_tok_from_json(&tok, "bytes", text, strlen(text), &check_err));
    free(text);
    json_decref(root);
    return tok;
}

#endif
