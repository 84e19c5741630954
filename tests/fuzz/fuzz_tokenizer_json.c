/* fuzz_tokenizer_json.c - any bytes as a tokenizer.json: an error, or a tokenizer that survives a short text. */
#include <stdlib.h>
#include <string.h>
#include "text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* As a GGUF has it, and back: lists that were made can be written, and what is written is a tokenizer. */
static void as_lists(const char *json, size_t n)
{
    gr_buf text = { 0 };
    gr_tok_lists l;
    gram_err err;
    gr_tok *t;

    if (gr_tok_lists_read(&l, "tokenizer.json", json, n, 4096, &err))
        return;
    if (!gr_tok_spec_json(&l.spec, "lists", 0, 1, &text, &err)) {
        if (gr_tok_from_json(&t, "written", text.p, text.n, &err) && err.status != GRAM_ELIMIT)
            abort();
        gr_tok_close(t);
    }
    gr_buf_clear(&text);
    gr_tok_lists_clear(&l);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char text[] = " Hello<s> w\xc3\xb6rld 123\n\xe2\x96\x81" "ab \xf0\x9f\x98\x80 don't";
    gram_err err;
    gr_tok *t;

    if (gr_tok_from_json(&t, "tokenizer.json", (const char *)data, size, &err))
        return 0;
    as_lists((const char *)data, size);
    for (int special = 0; special < 2; special++) {
        gr_ids ids = { 0 };
        gr_buf back = { 0 };

        if (!gr_tok_encode(t, text, sizeof text - 1, special, &ids, &err)) {
            for (size_t i = 0; i < ids.n; i++)
                if (ids.p[i] < 0 || (size_t)ids.p[i] >= gr_tok_vocabulary(t))
                    abort();
            (void)gr_tok_decode(t, ids.p, ids.n, special, &back, &err);
        }
        gr_ids_clear(&ids);
        gr_buf_clear(&back);
    }
    gr_tok_close(t);
    return 0;
}
