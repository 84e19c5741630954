/* fuzz_jinja.c - any template and any conversation: the template is refused with a sentence, or ends within its limits,
 * and what it writes is UTF-8 whose bytes each have an origin. The input is the template, a zero byte, and JSON. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "jinja/jinja.h"
#include "text/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const gr_jinja_text *t)
{
    size_t at = 0;

    for (size_t i = 0; i < t->n; at = t->run[i++].end)
        if (t->run[i].end <= at || (i && t->run[i].given == t->run[i - 1].given))
            abort();
    if (at != t->text.n || gr_utf8_bad(t->text.p, t->text.n) < t->text.n)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data, *nul = memchr(data, 0, size);
    size_t n = nul ? (size_t)(nul - text) : size;
    json_t *given = nul ? json_loadb(nul + 1, size - n - 1, 0, NULL) : NULL;
    gr_jinja_vars vars = { .given = json_is_object(given) ? given : NULL };
    gr_jinja_text out = { 0 };
    gram_err err = { 0 };
    gr_jinja *t;

    if (gr_jinja_compile(&t, "t", text, n, &err)) {
        if (!*err.text)
            abort();
    } else {
        if (!gr_jinja_render(t, &vars, &out, &err))
            check(&out);
        else if (!err.status)
            abort();
        gr_jinja_text_clear(&out);
        gr_jinja_close(t);
    }
    json_decref(given);
    return 0;
}
