/* test_tok_gguf.c - tokenizers that pass through a GGUF: each word of tokenizer.ggml.pre, and added tokens of each
 * flag.
 *
 * pre.jsonl holds the Rust library's ids of a tokenizer whose merges know no words, so that they tell where each word
 * cuts a text (scripts/golden_pre.py, which asks llama.cpp too); added_*.jsonl those of tokenizers whose added tokens
 * strip, stand alone, are normalised or are words of the vocabulary (scripts/golden_added.py). */
#include "text/tokens.h"

#define GOLDEN "tests/golden/tokens/"

static void check_texts(const gr_tok *t, const char *name, json_t *texts, json_t *ids)
{
    json_t *text;
    size_t i;

    assert_true(json_array_size(texts) > 50 && json_array_size(ids) == json_array_size(texts));
    json_array_foreach(texts, i, text)
        same_ids(t, name, i, text, false, json_array_get(ids, i));
}

static gr_tok *written_and_read(const gr_tok_spec *spec, const char *name, gr_buf *json)
{
    gr_tok *t;

    CHECK_OK(gr_tok_spec_json(spec, name, -1, -1, json, &check_err));
    CHECK_OK(gr_tok_from_json(&t, name, json->p, json->n, &check_err));
    return t;
}

/* From the lists, from the tokenizer.json made of them, and from the lists made of that, which may go by the name of a
 * family that is the same. */
static void check_family(const char *name, json_t *texts, json_t *ids)
{
    struct lists l;
    gr_tok_lists back;
    gr_buf json = { 0 };
    gr_tok *t;

    lists_of(&l, GOLDEN "pre.json", name);
    CHECK_OK(gr_tok_from_spec(&t, name, &l.spec, &check_err));
    check_texts(t, name, texts, ids);
    gr_tok_close(t);
    t = written_and_read(&l.spec, name, &json);
    check_texts(t, name, texts, ids);
    gr_tok_close(t);
    CHECK_OK(gr_tok_lists_read(&back, name, json.p, json.n, l.spec.n_tokens, &check_err));
    assert_true(gr_str_is(back.spec.pre, name) || (gr_str_is(back.spec.pre, "llama-bpe") && !strcmp(name, "glm4")));
    CHECK_OK(gr_tok_from_spec(&t, name, &back.spec, &check_err));
    check_texts(t, name, texts, ids);
    gr_tok_close(t);
    gr_tok_lists_clear(&back);
    gr_buf_clear(&json);
    lists_clear(&l);
}

static void each_family_cuts_as_the_library(void **state)
{
    gr_str file = slurp(GOLDEN "pre.jsonl"), at = file;
    json_t *texts = next_line(&at), *line;
    size_t n = 0;

    (void)state;
    for (; (line = next_line(&at)); n++) {
        check_family(json_string_value(json_object_get(line, "pre")), texts, json_object_get(line, "ids"));
        json_decref(line);
    }
    assert_int_equal(n, 34);
    json_decref(texts);
    free((char *)(uintptr_t)file.p);
}

static void other_names_are_the_same_family(void **state)
{
    static const char *const same[][2] = {
        { "llama3", "llama-bpe" }, { "llama-v3", "llama-bpe" }, { "dbrx", "smaug-bpe" }, { "chatglm-bpe", "smaug-bpe" },
        { "deepseek-r1-qwen", "qwen2" }, { "phi-2", "gpt-2" }, { "starcoder", "smollm" }, { "refact", "smollm" },
        { "poro-chat", "bloom" }, { "llama4", "gpt-4o" }, { "hunyuan", "stablelm2" }, { "glm5", "glm4" },
        { "roberta-bpe", "gpt-2" }, { "mellum2", "smollm" }
    };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(same); i++) {
        gr_buf a = { 0 }, b = { 0 };
        for (int k = 0; k < 2; k++) {
            struct lists l;
            lists_of(&l, GOLDEN "pre.json", same[i][k]);
            gr_tok_close(written_and_read(&l.spec, same[i][k], k ? &a : &b));
            lists_clear(&l);
        }
        assert_string_equal(a.p, b.p);
        gr_buf_clear(&a);
        gr_buf_clear(&b);
    }
    assert_true(gr_tok_pre_adds_bos((gr_str){ "llama-v3", 8 }) && gr_tok_pre_adds_bos((gr_str){ "tekken", 6 }));
    assert_false(gr_tok_pre_adds_bos((gr_str){ "glm4", 4 }) || gr_tok_pre_adds_bos((gr_str){ "llama", 5 }));
}

static void a_name_that_is_not_known_is_said(void **state)
{
    static const char *const name[] = { "llama-bp", "llama-bpe ", "gemma4", "", " ", "llama-bpe llama3" };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(name); i++) {
        struct lists l;
        gr_tok *t;
        lists_of(&l, GOLDEN "pre.json", name[i]);
        assert_int_equal(gr_tok_from_spec(&t, "m.gguf", &l.spec, &check_err), GRAM_EUNSUPPORTED);
        assert_null(t);
        assert_non_null(strstr(check_err.text, *name[i] ? name[i] : "tokenizer.ggml.pre is missing"));
        assert_true(!*name[i] || (strstr(check_err.text, "llama-bpe") && strstr(check_err.text, "default")));
        lists_clear(&l);
    }
}

/* A tokenizer.json that says the same in other words has the same name; one that cuts otherwise has none. */
static void components_are_recognised(void **state)
{
#define CL "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}| ?" \
           "[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
#define RAW "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}| ?" \
            "[^\\\\s\\\\p{L}\\\\p{N}]+[\\r\\n]*|\\\\s*[\\r\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
#define TIK "'(?i:[sdmt]|ll|ve|re)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?+\\\\p{L}+|\\\\p{N}{1,3}| ?" \
            "[^\\\\s\\\\p{L}\\\\p{N}]++[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]|\\\\s+(?!\\\\S)|\\\\s+"
#define SPLIT(re, how, invert) "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" re "\"},\"behavior\":\"" how \
                               "\",\"invert\":" invert "}"
#define BYTES(regex) "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":false,\"use_regex\":" \
                     regex "}"
#define SEQ(a) "{\"type\":\"Sequence\",\"pretokenizers\":[" a "]}"
    static const struct { const char *norm, *pre, *ignore, *name; } c[] = {
        { "null", SEQ(SPLIT(CL, "Isolated", "false") "," BYTES("false")), "true", "llama-bpe" },
        { "null", SEQ(SPLIT(CL, "Removed", "true") "," BYTES("false")), "false", "smaug-bpe" },
        { "null", SEQ(SPLIT(RAW, "Isolated", "false") "," BYTES("false")), "false", "smaug-bpe" },
        { "null", SEQ(SPLIT(TIK, "Isolated", "false") "," BYTES("false")), "false", "smaug-bpe" },
        { "{\"type\":\"Sequence\",\"normalizers\":[]}", BYTES("true"), "false", "gpt-2" },
        { "{\"type\":\"NFC\"}", "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true}", "false",
          "olmo" },
        { "null", SEQ("{\"type\":\"Digits\",\"individual_digits\":true}," BYTES("true")), "false", "smollm" },
        { "{\"type\":\"NFC\"}", SEQ(SPLIT("\\\\p{N}", "Isolated", "false") "," BYTES("true")), "false", "command-r" },
        { "null", SEQ(SPLIT(CL, "Removed", "false") "," BYTES("false")), "false", NULL },
        { "null", SEQ(SPLIT(CL, "Isolated", "true") "," BYTES("false")), "false", NULL },
        { "null", SEQ(SPLIT(CL, "Isolated", "false") "," BYTES("true")), "false", NULL },
        { "{\"type\":\"NFKC\"}", SEQ(SPLIT(CL, "Isolated", "false") "," BYTES("false")), "false", NULL },
        { "null", SEQ(SPLIT("\\\\p{N}", "Removed", "true") "," BYTES("true")), "false", NULL },
        { "null", SEQ("{\"type\":\"Digits\",\"individual_digits\":false}," BYTES("true")), "false", NULL },
        { "null", "{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"use_regex\":true}", "false", NULL },
        { "null", BYTES("true"), "true", NULL },
        { "null", BYTES("false"), "false", NULL },
    };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(c); i++) {
        gr_tok_lists l;
        gr_buf json = { 0 };
        gram_status rc;
        assert_true(gr_buf_printf(&json, "{\"normalizer\":%s,\"pre_tokenizer\":%s,\"model\":{\"type\":\"BPE\","
                                  "\"vocab\":{\"a\":0},\"merges\":[],\"ignore_merges\":%s}}", c[i].norm, c[i].pre,
                                  c[i].ignore));
        rc = gr_tok_lists_read(&l, "t.json", json.p, json.n, 1, &check_err);
        if (rc != (c[i].name ? GRAM_OK : GRAM_EUNSUPPORTED) || (c[i].name && !gr_str_is(l.spec.pre, c[i].name)))
            fail_msg("%zu: %s: %.*s", i, rc ? check_err.text : "read", rc ? 0 : (int)l.spec.pre.n,
                     rc ? "" : l.spec.pre.p);
        if (!rc)
            gr_tok_lists_clear(&l);
        gr_buf_clear(&json);
    }
}

static void check_added(const gr_tok *t, const char *name)
{
    char path[128];
    gr_str file, at;
    json_t *line;
    size_t n = 0;

    snprintf(path, sizeof path, GOLDEN "added_%s.jsonl", name);
    file = at = slurp(path);
    for (; (line = next_line(&at)); n++) {
        same_ids(t, name, n, json_array_get(line, 0), true, json_array_get(line, 1));
        same_ids(t, name, n, json_array_get(line, 0), false, json_array_get(line, 2));
        json_decref(line);
    }
    assert_true(n > 100);
    free((char *)(uintptr_t)file.p);
}

/* As it stands, as lists, and written again: every flag of an added token, and the prefix of each scheme. */
static void added_tokens_keep_their_flags(void **state)
{
    static const struct { const char *name; const char *says[4]; } each[] = {
        { "bytes", { "\"<sep>\" (lstrip, rstrip)", "\"the\" (single_word)", "\"No\" (single_word)", NULL } },
        { "nfc", { "\"<mask>\" (lstrip)", NULL } },
        { "prepend", { "\"Yes\" (a word too)", "\"<mask>\" (lstrip, normalized, a word too)", "and 2 more", NULL } },
        { "bare", { "\"<end>\" (rstrip, a word too)", "<mask>\" (lstrip, a word too)", NULL } },
        { "always", { "\"No\" (single_word, a word too)", NULL } },
        { "first", { "\"No\" (single_word, a word too)", NULL } }
    };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(each); i++) {
        char path[128];
        gr_tok_lists l;
        gr_buf json = { 0 };
        gr_str file;
        gr_tok *t;

        snprintf(path, sizeof path, GOLDEN "added_%s.json", each[i].name);
        file = slurp(path);
        CHECK_OK(gr_tok_from_json(&t, path, file.p, file.n, &check_err));
        check_added(t, each[i].name);
        CHECK_OK(gr_tok_lists_read(&l, path, file.p, file.n, gr_tok_vocabulary(t), &check_err));
        gr_tok_close(t);
        for (const char *const *says = each[i].says; *says; says++)
            if (!strstr(l.formless.p, *says))
                fail_msg("%s: %s: does not say %s", each[i].name, l.formless.p, *says);
        CHECK_OK(gr_tok_from_spec(&t, path, &l.spec, &check_err));
        check_added(t, each[i].name);
        gr_tok_close(t);
        t = written_and_read(&l.spec, path, &json);
        check_added(t, each[i].name);
        gr_tok_close(t);
        gr_tok_lists_clear(&l);
        gr_buf_clear(&json);
        free((char *)(uintptr_t)file.p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_family_cuts_as_the_library),
        cmocka_unit_test(other_names_are_the_same_family),
        cmocka_unit_test(a_name_that_is_not_known_is_said),
        cmocka_unit_test(components_are_recognised),
        cmocka_unit_test(added_tokens_keep_their_flags),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
