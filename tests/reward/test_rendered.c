/* test_rendered.c - texts that templates made, taken apart again: what was rendered comes back, whatever the family and
 * the script; what no template made is refused; and nothing is read past a text's end. */
#include <stdlib.h>
#include <string.h>
#include "check.h"
#include "reward/rendered.h"
#include "text/chat.h"

static const char *const families[] = { "chatml", "llama3", "llama2", "mistral", "gemma", "qwen3" };

/* The conversations end with an answer where `answered`. */
static const gram_message talks[][4] = {
    { { .role = "user", .content = "Why is the sky blue?" }, { .role = "assistant",
                                                              .content = "Rayleigh scattering." } },
    { { .role = "user", .content = "Grüße, 世界! 🌍\n\nZwei\nZeilen" },
     { .role = "assistant", .content = "नमस्ते\n\n- a\n- b" },
      { .role = "user", .content = "und?" }, { .role = "assistant", .content = "الجواب 42" } },
    { { .role = "user", .content = "assistant" }, { .role = "assistant", .content = "user\nsystem" } },
};
static const size_t turns[] = { 2, 4, 2 };

static bool open_family(gr_chat *c, const char *name)
{
    const gr_chat_facts facts = { .bos = !strcmp(name, "llama3") ? "<|begin_of_text|>" : "<s>" };

    return !gr_chat_init(c, name, &facts, NULL, NULL);
}

static void check_same(const gram_message *got, size_t n, const gram_message *want, size_t m, const char *family)
{
    if (n != m)
        fail_msg("%s: %zu turns, wanted %zu", family, n, m);
    for (size_t i = 0; i < n; i++)
        if (strcmp(got[i].role, want[i].role) || strcmp(got[i].content, want[i].content))
            fail_msg("%s: turn %zu is %s \"%s\", wanted %s \"%s\"", family, i, got[i].role, got[i].content,
                     want[i].role,
                     want[i].content);
}

static void what_was_rendered_comes_back(void **state)
{
    (void)state;
    for (size_t f = 0; f < GR_COUNT(families); f++)
        for (size_t k = 0; k < GR_COUNT(talks); k++)
            for (size_t n = turns[k] - 1; n <= turns[k]; n++) {
                gr_chat c = { 0 };
                gr_chat_text t = { 0 };
                gram_message *got;
                size_t found;
                assert_true(open_family(&c, families[f]));
                if (n % 2)
                    CHECK_OK(gr_chat_render(&c, talks[k], n, NULL, &t, &check_err));
                else
                    CHECK_OK(gr_chat_render_answered(&c, talks[k], n, NULL, &t, &check_err));
                CHECK_OK(gr_rendered_turns(&c, (gr_str){ t.text.p, t.text.n }, &got, &found, &check_err));
                check_same(got, found, talks[k], n, families[f]);
                free(got);
                gr_chat_text_clear(&t);
                gr_chat_clear(&c);
            }
}

/* Every beginning of a rendered text: it ends in an answer that was cut off, or it is refused; never is one turn less
 * than was there taken for the whole. */
static void every_cut(void **state)
{
    (void)state;
    for (size_t f = 0; f < GR_COUNT(families); f++) {
        gr_chat c = { 0 };
        gr_chat_text t = { 0 };
        assert_true(open_family(&c, families[f]));
        CHECK_OK(gr_chat_render_answered(&c, talks[0], 2, NULL, &t, &check_err));
        for (size_t n = 0; n < t.text.n; n++) {
            char *copy = malloc(n ? n : 1);         /* as long as it is: a byte behind it is not ours */
            gram_message *got = NULL;
            size_t found;
            memcpy(copy, t.text.p, n);
            if (!gr_rendered_turns(&c, (gr_str){ copy, n }, &got, &found, &check_err)) {
                assert_string_equal(got[0].content, talks[0][0].content);
                assert_true(found == 1 || !strncmp(got[1].content, talks[0][1].content, 1));
            }
            free(got);
            free(copy);
        }
        gr_chat_text_clear(&t);
        gr_chat_clear(&c);
    }
}

static void what_no_template_made(void **state)
{
    static const char *const bad[] = {
        "", "no template", "\n\nHuman: q\n\nAssistant: a",
        "<|im_start|>user\nq<|im_end|>\n",
        "x<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n",
        "<|im_start|>tool\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n",
        "<|im_start|>assistant\na<|im_end|>\n",
        /* two turns of the user, and marks inside a turn */
        "<|im_start|>user\nq<|im_end|>\n<|im_start|>user\nr<|im_end|>\n<|im_start|>assistant\na",
        "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>b<|im_end|>\n",
        "<|im_start|>user\nq<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\na",
    };
    gr_chat c = { 0 };

    (void)state;
    assert_true(open_family(&c, "chatml"));
    for (size_t i = 0; i < GR_COUNT(bad); i++) {
        gram_message *got;
        size_t n;
        if (gr_rendered_turns(&c, (gr_str){ bad[i], strlen(bad[i]) }, &got, &n, &check_err) != GRAM_EARG)
            fail_msg("\"%s\" is taken for a conversation", bad[i]);
        assert_null(got);
    }
    gr_chat_clear(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_rendered_comes_back),
        cmocka_unit_test(every_cut),
        cmocka_unit_test(what_no_template_made),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
