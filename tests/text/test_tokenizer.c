/* test_tokenizer.c - ids and texts against the Rust library's (scripts/golden_tokens.py), the same tokenizers
 * from GGUF's lists, and what hostile files are told. */
#include "text/tokens.h"

#define GOLDEN "tests/golden/tokens/"

static const char *const names[] = { "llama3", "qwen", "smollm", "gpt2", "llama", "gemma", "odd", "splits" };

/* Each line of NAME.jsonl: ids with special tokens, without, decoded whole, decoded without special tokens. */
static void each_text(const gr_tok *t, const char *name, void (*check)(const gr_tok *, const char *, size_t, json_t *,
                                                                       json_t *))
{
    char path[128];
    gr_str texts = slurp(GOLDEN "texts.jsonl"), at = texts, golden, want;
    size_t line = 0;
    json_t *text;

    snprintf(path, sizeof path, GOLDEN "%s.jsonl", name);
    golden = want = slurp(path);
    while ((text = next_line(&at))) {
        json_t *j = next_line(&want);
        check(t, name, line++, text, j);
        json_decref(text);
        json_decref(j);
    }
    assert_true(line > 100);
    free((char *)(uintptr_t)texts.p);
    free((char *)(uintptr_t)golden.p);
}

static void same_encoding(const gr_tok *t, const char *name, size_t line, json_t *text, json_t *want)
{
    same_ids(t, name, line, text, true, json_array_get(want, 0));
    same_ids(t, name, line, text, false, json_array_get(want, 1));
}

static void same_decoding(const gr_tok *t, const char *name, size_t line, json_t *text, json_t *want)
{
    json_t *list = json_array_get(want, 0), *v;
    gr_ids ids = { 0 };
    size_t i;

    (void)text;
    json_array_foreach(list, i, v)
        assert_true(gr_ids_add(&ids, &(int32_t){ (int32_t)json_integer_value(v) }, 1));
    for (int special = 1; special >= 0; special--) {
        json_t *s = json_array_get(want, special ? 2 : 3);
        gr_buf b = { 0 };

        CHECK_OK(gr_tok_decode(t, ids.p, ids.n, special, &b, &check_err));
        if (b.n != json_string_length(s) || (b.n && memcmp(b.p, json_string_value(s), b.n)))
            fail_msg("%s, text %zu, special %d: \"%s\", wanted \"%s\"", name, line, special, b.p, json_string_value(s));
        gr_buf_clear(&b);
    }
    gr_ids_clear(&ids);
}

/* Token by token, a text comes out as it does at once, its characters whole although tokens cut them. */
static void same_pieces(const gr_tok *t, const char *name, size_t line, json_t *text, json_t *want)
{
    json_t *list = json_array_get(want, 0), *v, *s = json_array_get(want, 2);
    gr_buf b = { 0 };
    size_t i;

    (void)text;
    json_array_foreach(list, i, v)
        CHECK_OK(gr_tok_decode_piece(t, (int32_t)json_integer_value(v), true, i == 0, &b, &check_err));
    if (strstr(json_string_value(s), "\xef\xbf\xbd") == NULL &&
        (b.n != json_string_length(s) || (b.n && memcmp(b.p, json_string_value(s), b.n))))
        fail_msg("%s, text %zu in pieces: \"%s\", wanted \"%s\"", name, line, b.p, json_string_value(s));
    gr_buf_clear(&b);
}

static gr_tok *golden_tok(const char *name)
{
    char path[128];

    snprintf(path, sizeof path, GOLDEN "%s.json", name);
    return tok_of(path);
}

static void encodes_as_the_library(void **state)
{
    (void)state;
    for (size_t i = 0; i < GR_COUNT(names); i++) {
        gr_tok *t = golden_tok(names[i]);
        each_text(t, names[i], same_encoding);
        gr_tok_close(t);
    }
}

static void decodes_as_the_library(void **state)
{
    (void)state;
    for (size_t i = 0; i < GR_COUNT(names); i++) {
        gr_tok *t = golden_tok(names[i]);
        each_text(t, names[i], same_decoding);
        each_text(t, names[i], same_pieces);
        gr_tok_close(t);
    }
}

/* The tokenizer of the lists, or of the tokenizer.json that is written from them. */
static gr_tok *tok_of_lists(const gr_tok_spec *spec, const char *path, bool written)
{
    gr_buf json = { 0 };
    gr_tok *t;

    if (!written) {
        CHECK_OK(gr_tok_from_spec(&t, path, spec, &check_err));
        return t;
    }
    CHECK_OK(gr_tok_spec_json(spec, path, -1, -1, &json, &check_err));
    CHECK_OK(gr_tok_from_json(&t, path, json.p, json.n, &check_err));
    gr_buf_clear(&json);
    return t;
}

static void lists_say_the_same(void **state)
{
    static const char *const pair[][2] = { { "llama3", "llama-bpe" }, { "qwen", "qwen2" }, { "smollm", "smollm" },
                                           { "gpt2", "gpt-2" }, { "llama", NULL }, { "gemma", NULL } };

    (void)state;
    for (size_t i = 0; i < 2 * GR_COUNT(pair); i++) {
        const char *const *p = pair[i / 2];
        char path[128];
        struct lists l;
        gr_tok *t;

        snprintf(path, sizeof path, GOLDEN "%s.json", p[0]);
        lists_of(&l, path, p[1]);
        l.spec.add_space_prefix = strcmp(p[0], "gemma") != 0;
        t = tok_of_lists(&l.spec, path, i % 2);
        lists_clear(&l);
        each_text(t, p[0], same_encoding);
        each_text(t, p[0], same_decoding);
        gr_tok_close(t);
    }
}

/* A tokenizer.json as lists, and the lists as a tokenizer: the same ids. SentencePiece's scores are made of merges. */
static void json_becomes_lists(void **state)
{
    static const char *const pair[][2] = { { "llama3", "llama-bpe" }, { "qwen", "qwen2" }, { "smollm", "smollm" },
                                           { "gpt2", "gpt-2" }, { "llama", "default" }, { "gemma", "default" } };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(pair); i++) {
        char path[128];
        gr_tok_lists l;
        gr_str json;
        gr_tok *t;

        snprintf(path, sizeof path, GOLDEN "%s.json", pair[i][0]);
        json = slurp(path);
        CHECK_OK(gr_tok_lists_read(&l, path, json.p, json.n, 760, &check_err));
        assert_true(gr_str_is(l.spec.pre, pair[i][1]) && l.spec.n_tokens == 760);
        assert_true(gr_str_is(l.spec.token[759], "[PAD759]") && l.spec.type[759] == 5);
        CHECK_OK(gr_tok_from_spec(&t, path, &l.spec, &check_err));
        gr_tok_lists_clear(&l);
        each_text(t, pair[i][0], same_encoding);
        each_text(t, pair[i][0], same_decoding);
        each_text(t, pair[i][0], same_pieces);
        gr_tok_close(t);
        assert_int_equal(gr_tok_lists_read(&l, path, json.p, json.n, 690, &check_err), GRAM_EFORMAT);
        free((char *)(uintptr_t)json.p);
    }
}

static void a_tokenizer_without_a_name_is_refused(void **state)
{
    static const char *const name[] = { "odd", "splits" };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(name); i++) {
        char path[128];
        gr_tok_lists l;
        gr_str json;

        snprintf(path, sizeof path, GOLDEN "%s.json", name[i]);
        json = slurp(path);
        assert_int_equal(gr_tok_lists_read(&l, path, json.p, json.n, 1000, &check_err), GRAM_EUNSUPPORTED);
        assert_non_null(strstr(check_err.text, "no name for this tokenizer"));
        free((char *)(uintptr_t)json.p);
    }
}

/* Two characters that are no tokens merge into one that is; left alone, one becomes its bytes. */
static void scores_merge_unknown_characters(void **state)
{
    static const gr_str token[] = { { "<unk>", 5 }, { "<0xC3>", 6 }, { "<0xA9>", 6 }, { "\xc3\xa9x", 3 }, { "a", 1 } };
    static const float score[] = { 0, 0, 0, -1, -2 };
    static const int32_t type[] = { 2, 6, 6, 1, 1 };
    gr_tok_spec spec = { .model = { "llama", 5 }, .n_tokens = 5, .token = token, .score = score, .type = type };
    static const int32_t want[] = { 4, 3, 1, 2, 0 };
    gr_ids ids = { 0 };
    gr_tok *t;

    (void)state;
    CHECK_OK(gr_tok_from_spec(&t, "lists", &spec, &check_err));
    assert_int_equal(gr_tok_vocabulary(t), 5);
    assert_int_equal(gr_tok_find(t, "x"), -1);
    CHECK_OK(gr_tok_encode(t, "a\xc3\xa9x\xc3\xa9z", 7, false, &ids, &check_err));
    assert_int_equal(ids.n, 5);
    assert_memory_equal(ids.p, want, sizeof want);
    gr_ids_clear(&ids);
    gr_tok_close(t);
}

static void tokens_are_found(void **state)
{
    gr_tok *t = golden_tok("qwen");
    int32_t end = gr_tok_find(t, "<|im_end|>"), think = gr_tok_find(t, "<think>");

    (void)state;
    assert_true(end >= 0 && gr_tok_is_special(t, end));
    assert_true(think >= 0 && !gr_tok_is_special(t, think));
    assert_int_equal((size_t)gr_tok_find(t, "</think>") + 1, gr_tok_vocabulary(t));
    assert_int_equal(gr_tok_find(t, "no such token"), -1);
    assert_int_equal(gr_tok_text(t, end).n, 10);
    assert_null(gr_tok_text(t, -1).p);
    assert_null(gr_tok_text(t, 1 << 30).p);
    assert_string_equal(gr_tok_kind(t), "byte-level BPE");
    gr_tok_close(t);
}

static void bad_text_is_refused_by_offset(void **state)
{
    gr_tok *t = golden_tok("gpt2");
    gr_ids ids = { 0 };
    gr_buf b = { 0 };
    gram_err err;

    (void)state;
    assert_int_equal(gr_tok_encode(t, "ab\xed\xa0\x80", 5, false, &ids, &err), GRAM_EFORMAT);
    assert_non_null(strstr(err.text, "offset 2"));
    assert_int_equal(gr_tok_decode(t, &(int32_t){ 1 << 20 }, 1, true, &b, &err), GRAM_EARG);
    assert_int_equal(ids.n + b.n, 0);
    gr_tok_close(t);
}

static void becomes(const gr_tok *t, const char *text, const char *want)
{
    gr_ids ids = { 0 };
    gr_buf back = { 0 };

    CHECK_OK(gr_tok_encode(t, text, strlen(text), false, &ids, &check_err));
    CHECK_OK(gr_tok_decode(t, ids.p, ids.n, true, &back, &check_err));
    assert_string_equal(back.p, want);
    gr_ids_clear(&ids);
    gr_buf_clear(&back);
}

static void marks_are_ordered(void **state)
{
    gr_tok *t = tok_of("tests/golden/tokens/qwen.json");
    gr_buf many = { 0 }, want = { 0 };
    size_t n = 1 << 18;

    (void)state;
    becomes(t, "q\u0301\u0323", "q\u0323\u0301");
    becomes(t, "e\u0323\u0301\uac00\u11a8", "\u1eb9\u0301\uac01");
    /* to the library U+1715, of Unicode 14, is a letter */
    becomes(t, "e\u0305\u1715\u0301", "e\u0305\u1715\u0301");
    assert_true(gr_buf_puts(&many, "q") && gr_buf_puts(&want, "q"));
    for (size_t i = 0; i < n; i++)
        assert_true(gr_buf_puts(&many, "\u0301\u0323") && gr_buf_puts(&want, "\u0323"));
    for (size_t i = 0; i < n; i++)
        assert_true(gr_buf_puts(&want, "\u0301"));
    becomes(t, many.p, want.p);             /* 1 MB: a moment, where each step over the run would take minutes */
    gr_buf_clear(&many);
    gr_buf_clear(&want);
    gr_tok_close(t);
}

/* White space that one added token took with it is none for the next one to be found in. */
static void stripped_space_is_gone(void **state)
{
    static const char json[] =
        "{\"added_tokens\":[{\"id\":1,\"content\":\"[X]\",\"rstrip\":true,\"normalized\":false,\"special\":true},"
        "{\"id\":2,\"content\":\"  \",\"lstrip\":true,\"normalized\":false,\"special\":true}],"
        "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}";
    gr_ids ids = { 0 };
    gr_tok *t;

    (void)state;
    CHECK_OK(gr_tok_from_json(&t, "t.json", json, sizeof json - 1, &check_err));
    CHECK_OK(gr_tok_encode(t, "[X]  a  [X]", 11, true, &ids, &check_err));
    assert_int_equal(ids.n, 4);
    assert_memory_equal(ids.p, ((const int32_t[]){ 1, 0, 2, 1 }), sizeof(int32_t[4]));
    gr_ids_clear(&ids);
    gr_tok_close(t);
}

static void a_regex_gives_up(void **state)
{
    static const char json[] =
        "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(?:(?:a|a)+)+$\"},\"behavior\":\"Isolated\"},"
        "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}";
    gr_ids ids = { 0 };
    gram_err err;
    gr_tok *t;

    (void)state;
    CHECK_OK(gr_tok_from_json(&t, "t.json", json, sizeof json - 1, &check_err));
    assert_int_equal(gr_tok_encode(t, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", 34, false, &ids, &err), GRAM_ELIMIT);
    gr_ids_clear(&ids);
    gr_tok_close(t);
}

/* What of "a<superscript two>_9 $<smiling face>." a pattern leaves, as the ids of its characters. */
static void classes_are_the_librarys(void **state)
{
    static const struct { const char *re, *left; } one[] = {
        { "[[:punct:]]", "0134" }, { "[[:word:]]", "14567" }, { "[\\\\w]", "14567" }, { "\\\\w", "4567" },
        { "[[:space:]]", "0123567" }, { "[[:digit:][:ascii:]]", "16" }, { "[^[:word:]]", "023" },
    };
    char json[512], got[16];

    (void)state;
    for (size_t i = 0; i < GR_COUNT(one); i++) {
        gr_ids ids = { 0 };
        gr_tok *t;

        snprintf(json, sizeof json, "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"%s\"},"
                 "\"behavior\":\"Removed\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"\u00b2\":1,\"_\":2,"
                 "\"9\":3,\" \":4,\"$\":5,\"\U0001f642\":6,\".\":7},\"merges\":[]}}", one[i].re);
        CHECK_OK(gr_tok_from_json(&t, "t.json", json, strlen(json), &check_err));
        CHECK_OK(gr_tok_encode(t, "a\u00b2_9 $\U0001f642.", 13, false, &ids, &check_err));
        for (size_t k = 0; k < ids.n; k++)
            got[k] = (char)('0' + ids.p[k]);
        got[ids.n] = '\0';
        if (strcmp(got, one[i].left))
            fail_msg("%s leaves %s, wanted %s", one[i].re, got, one[i].left);
        gr_ids_clear(&ids);
        gr_tok_close(t);
    }
}

static void bad_files_are_named(void **state)
{
#define MODEL "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[]}"
    static const struct { const char *json; gram_status status; const char *says; } bad[] = {
        { "", GRAM_EFORMAT, "not JSON" },
        { "[]", GRAM_EFORMAT, "not an object" },
        { "{}", GRAM_EFORMAT, "\"model\" is missing" },
        { "{\"model\":{\"type\":\"Unigram\"}}", GRAM_EUNSUPPORTED, "Unigram" },
        { "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":-1},\"merges\":[]}}", GRAM_EFORMAT, "\"a\"" },
        { "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":16777215},\"merges\":[]}}", GRAM_EFORMAT, "id 16777215" },
        { "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}}", GRAM_EFORMAT, "same id 0" },
        { "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a b\"]}}", GRAM_EFORMAT, "merge 0" },
        { "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"ab\"]}}", GRAM_EFORMAT, "one space" },
        { "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[[\"a\"]]}}", GRAM_EFORMAT, "merge 0" },
        { "{\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":[],\"dropout\":0.1}}", GRAM_EUNSUPPORTED, "dropout" },
        { "{\"normalizer\":{\"type\":\"Precompiled\"}," MODEL "}", GRAM_EUNSUPPORTED, "normalizer \"Precompiled\"" },
        { "{\"pre_tokenizer\":{\"type\":\"X\"}," MODEL "}", GRAM_EUNSUPPORTED, "pre_tokenizer \"X\"" },
        { "{\"decoder\":{\"type\":\"CTC\"}," MODEL "}", GRAM_EUNSUPPORTED, "decoder \"CTC\"" },
        { "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},\"behavior\":\"Removed\"}," MODEL "}",
          GRAM_EFORMAT, "does not compile" },
        { "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[a[b]]\"},\"behavior\":\"Removed\"},"
          MODEL "}",
          GRAM_EUNSUPPORTED, "a class inside a class" },
        { "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\pL+\"},\"behavior\":\"Removed\"},"
          MODEL "}", GRAM_EUNSUPPORTED, "\\p without {" },
        { "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[[:alpha:]]\"},\"behavior\":\"Removed\"},"
          MODEL "}", GRAM_EUNSUPPORTED, "a class by name other than space" },
        { "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\X\"},\"behavior\":\"Removed\"},"
          MODEL "}", GRAM_EUNSUPPORTED, "an escape that is not known here" },
        { "{\"added_tokens\":[{\"id\":0,\"content\":\"b\"}]," MODEL "}", GRAM_EFORMAT, "\"b\"" },
    };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(bad); i++) {
        gram_err err = { 0 };
        gr_tok *t;

        assert_int_equal(gr_tok_from_json(&t, "t.json", bad[i].json, strlen(bad[i].json), &err), bad[i].status);
        assert_null(t);
        if (!strstr(err.text, bad[i].says) || strncmp(err.text, "t.json", 6))
            fail_msg("%s: \"%s\" does not say \"%s\"", bad[i].json, err.text, bad[i].says);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encodes_as_the_library),
        cmocka_unit_test(decodes_as_the_library),
        cmocka_unit_test(lists_say_the_same),
        cmocka_unit_test(json_becomes_lists),
        cmocka_unit_test(a_tokenizer_without_a_name_is_refused),
        cmocka_unit_test(scores_merge_unknown_characters),
        cmocka_unit_test(tokens_are_found),
        cmocka_unit_test(bad_text_is_refused_by_offset),
        cmocka_unit_test(marks_are_ordered),
        cmocka_unit_test(stripped_space_is_gone),
        cmocka_unit_test(a_regex_gives_up),
        cmocka_unit_test(classes_are_the_librarys),
        cmocka_unit_test(bad_files_are_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
