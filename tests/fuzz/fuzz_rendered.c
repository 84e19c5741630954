/* fuzz_rendered.c - any text, as what a family's template is said to have made: taken apart, its turns render to the
 * text again, or it is refused. The first byte chooses the family. */
#include <stdlib.h>
#include <string.h>
#include "reward/rendered.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The turns make the front of the text, its BOS aside. */
static void check(const gr_chat *c, gr_str text, const gram_message *turn, size_t n)
{
    gr_chat_text t = { 0 };
    bool answered = !strcmp(turn[n - 1].role, "assistant");
    const char *last;

    if (n == 0 || (!answered && strcmp(turn[n - 1].role, "user")))
        abort();
    if (answered ? gr_chat_render_answered(c, turn, n, NULL, &t, NULL) : gr_chat_render(c, turn, n, NULL, &t, NULL))
        abort();
    last = turn[n - 1].content;
    if (!memmem(text.p, text.n, last, strlen(last)))        /* no turn says what the text does not */
        abort();
    gr_chat_text_clear(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const families[] = { "chatml", "llama3", "llama2", "mistral", "gemma", "qwen3" };
    const gr_chat_facts facts = { .bos = "<s>" };
    gr_chat c;
    gram_message *turn;
    size_t n;
    gr_str text = { (const char *)data + 1, size - 1 };

    if (size < 1 || memchr(data, '\0', size))
        return 0;
    if (gr_chat_init(&c, families[data[0] % 6], &facts, NULL, NULL))
        abort();
    if (!gr_rendered_turns(&c, text, &turn, &n, NULL)) {
        check(&c, text, turn, n);
        free(turn);
    }
    gr_chat_clear(&c);
    return 0;
}
