/* fuzz_tok_model.c - any bytes as a tokenizer.model, and behind a line "{...}" as the tokenizer_config.json beside it:
 * an error, or lists that make a tokenizer and a tokenizer.json of it. */
#include <stdlib.h>
#include <string.h>
#include "text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char text[] = " Hello<s> w\xc3\xb6rld 123\n\xe2\x96\x81" "ab \xf0\x9f\x98\x80 <sep>  x";
    const char *s = (const char *)data, *line = size && *s == '{' ? memchr(s, '\n', size) : NULL;
    size_t config = line ? (size_t)(line - s) + 1 : 0;
    gr_buf json = { 0 };
    gr_ids ids = { 0 };
    gr_tok_lists l;
    gram_err err;
    gr_tok *t;

    if (gr_tok_model_read(&l, "tokenizer.model", s + config, size - config, line ? s : NULL, config, 0, &err))
        return 0;
    if (!gr_tok_from_spec(&t, "lists", &l.spec, &err)) {
        if (!gr_tok_encode(t, text, sizeof text - 1, true, &ids, &err))
            for (size_t i = 0; i < ids.n; i++)
                if (ids.p[i] < 0 || (size_t)ids.p[i] >= gr_tok_vocabulary(t))
                    abort();
        gr_tok_close(t);
        if (!gr_tok_spec_json(&l.spec, "lists", -1, -1, &json, &err) &&
            !gr_tok_from_json(&t, "written", json.p, json.n, &err))
            gr_tok_close(t);
    }
    gr_ids_clear(&ids);
    gr_buf_clear(&json);
    gr_tok_lists_clear(&l);
    return 0;
}
