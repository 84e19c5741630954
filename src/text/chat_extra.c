/* chat_extra.c - what a conversation holds besides texts, and whether a template would write it. */
#include <jansson.h>
#include <string.h>
#include "base/err.h"
#include "base/utf8.h"
#include "text/chat.h"

/* Of a message's further keys those that the model is to read; name and tool_call_id only tell turns apart. */
static const char *const said[] = { "tool_calls", "function_call", "reasoning_content", "reasoning", "thinking" };

static gram_status check_text(size_t i, const char *role, const char *what, const char *s, gram_err *err)
{
    size_t n = s ? strlen(s) : 0, bad = gr_utf8_bad(s, n);

    if (!s)
        return gr_fail(err, GRAM_EARG, "turn %zu%s%s%s: wanted a %s, found NULL", i + 1, role ? " (" : "",
                       role ? role : "", role ? ")" : "", what);
    if (bad < n)
        return gr_fail(err, GRAM_EARG, "turn %zu%s%s%s: the %s is not UTF-8: byte 0x%02x at offset %zu", i + 1,
                       role ? " (" : "", role ? role : "", role ? ")" : "", what, (unsigned char)s[bad], bad);
    return GRAM_OK;
}

gram_status gr_chat_check_texts(const gram_message *turn, size_t n, gram_err *err)
{
    for (size_t i = 0; i < n; i++) {
        gram_status rc = check_text(i, NULL, "role", turn[i].role, err);
        if (!rc)
            rc = check_text(i, turn[i].role, "text", turn[i].content, err);
        if (rc)
            return rc;
    }
    return GRAM_OK;
}

static bool named(const char *jinja, const char *key)
{
    return jinja && strstr(jinja, key);
}

gram_status gr_chat_check_extra(const char *what, const char *jinja, const gram_message *turn, size_t n,
                                const char *tools, gram_err *err)
{
    gram_status texts = gr_chat_check_texts(turn, n, err);

    if (texts)
        return texts;
    if (tools && !named(jinja, "tools"))
        return gr_fail(err, GRAM_EUNSUPPORTED, "\"tools\": %s does not write them, so the model would not see them",
                       what);
    for (size_t i = 0; i < n; i++) {
        json_t *o;
        gram_status rc = GRAM_OK;

        if (!turn[i].extra)
            continue;
        o = json_loads(turn[i].extra, 0, NULL);
        if (!json_is_object(o))
            rc = gr_fail(err, GRAM_EARG, "turn %zu: extra is not the text of a JSON object", i + 1);
        for (size_t k = 0; k < GR_COUNT(said) && !rc; k++)
            if (json_object_get(o, said[k]) && !named(jinja, said[k]))
                rc = gr_fail(err, GRAM_EUNSUPPORTED, "turn %zu (%s): \"%s\": %s does not write it, so the model would "
                             "not see it", i + 1, turn[i].role, said[k], what);
        json_decref(o);
        if (rc)
            return rc;
    }
    return GRAM_OK;
}
