/* test_tokenizer_shared.c - the released tokenizers, too large to ship: GRAM_SHARED names a folder that holds
 * tokenizers/NAME/tokenizer.json.xz and golden/tokens/NAME.jsonl.xz. Without it there is nothing to do. */
#include "text/tokens.h"

static const char *shared;

/* Without `marks` texts that hold U+2581 are left out: a GGUF writes Gemma's runs of it as spaces. */
static void compare(const gr_tok *t, const char *name, bool marks)
{
    char path[512];
    gr_str texts, golden, at, want;
    size_t line = 0;
    json_t *text;

    snprintf(path, sizeof path, "|xz -dc '%s/golden/tokens/texts.jsonl.xz'", shared);
    texts = at = slurp(path);
    snprintf(path, sizeof path, "|xz -dc '%s/golden/tokens/%s.jsonl.xz'", shared, name);
    golden = want = slurp(path);
    while ((text = next_line(&at))) {
        json_t *ids = next_line(&want);
        if (marks || !strstr(json_string_value(text), "\xe2\x96\x81"))
            same_ids(t, name, line, text, true, ids);
        line++;
        json_decref(text);
        json_decref(ids);
    }
    assert_true(line > 100);
    free((char *)(uintptr_t)texts.p);
    free((char *)(uintptr_t)golden.p);
}

static void released_tokenizers(void **state)
{
    static const char *const names[] = { "smollm2", "llama2", "llama3_1", "qwen3", "gemma3" };

    (void)state;
    if (!shared)
        skip();
    for (size_t i = 0; i < GR_COUNT(names); i++) {
        char path[512];
        gr_tok *t;

        snprintf(path, sizeof path, "|xz -dc '%s/tokenizers/%s/tokenizer.json.xz'", shared, names[i]);
        t = tok_of(path);
        compare(t, names[i], true);
        gr_tok_close(t);
    }
}

static void released_lists(void **state)
{
    static const char *const pair[][2] = { { "smollm2", "smollm" }, { "llama3_1", "llama-bpe" }, { "qwen3", "qwen2" },
                                           { "llama2", NULL } };

    (void)state;
    if (!shared)
        skip();
    for (size_t i = 0; i < GR_COUNT(pair); i++) {
        char path[512];
        struct lists l;
        gr_tok *t;

        snprintf(path, sizeof path, "|xz -dc '%s/tokenizers/%s/tokenizer.json.xz'", shared, pair[i][0]);
        lists_of(&l, path, pair[i][1]);
        CHECK_OK(gr_tok_from_spec(&t, path, &l.spec, &check_err));
        lists_clear(&l);
        compare(t, pair[i][0], true);
        gr_tok_close(t);
    }
}

/* A tokenizer.json as a GGUF has it. */
static void released_become_lists(void **state)
{
    static const struct { const char *name, *pre; size_t ids; } each[] = {
        { "smollm2", "smollm", 49152 }, { "llama3_1", "llama-bpe", 128256 }, { "qwen3", "qwen2", 151936 },
        { "llama2", "default", 32000 }, { "gemma3", "default", 262208 }
    };

    (void)state;
    if (!shared)
        skip();
    for (size_t i = 0; i < GR_COUNT(each); i++) {
        char path[512];
        gr_tok_lists l;
        gr_str json;
        gr_tok *t;

        snprintf(path, sizeof path, "|xz -dc '%s/tokenizers/%s/tokenizer.json.xz'", shared, each[i].name);
        json = slurp(path);
        CHECK_OK(gr_tok_lists_read(&l, path, json.p, json.n, each[i].ids, &check_err));
        assert_true(gr_str_is(l.spec.pre, each[i].pre) && l.formless.n == 0);
        CHECK_OK(gr_tok_from_spec(&t, path, &l.spec, &check_err));
        compare(t, each[i].name, strcmp(each[i].name, "gemma3") != 0);
        gr_tok_close(t);
        gr_tok_lists_clear(&l);
        free((char *)(uintptr_t)json.p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(released_tokenizers),
        cmocka_unit_test(released_lists),
        cmocka_unit_test(released_become_lists),
    };

    shared = getenv("GRAM_SHARED");
    if (!shared)
        puts("GRAM_SHARED is not set: the released tokenizers are not compared");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
