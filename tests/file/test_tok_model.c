/* test_tok_model.c - SentencePiece's tokenizer.model in a directory without tokenizer.json: the ids of transformers and
 * of SentencePiece (scripts/golden_sp.py), the same as a GGUF has them, and what other models and broken files are
 * told. */
#include "file/gguf_tok.h"
#include "file/io.h"
#include "text/tokens.h"

#define GOLDEN "tests/golden/tokens/"

static void check_ids(const gr_tok *t, const char *name, bool special)
{
    char path[128];
    gr_str file, at;
    json_t *line;
    size_t n = 0;

    snprintf(path, sizeof path, GOLDEN "%s/ids.jsonl", name);
    file = at = slurp(path);
    for (; (line = next_line(&at)); n++) {
        same_ids(t, name, n, json_array_get(line, 0), special, json_array_get(line, 1));
        json_decref(line);
    }
    assert_true(n > 50);
    free((char *)(uintptr_t)file.p);
}

/* From the file, as a GGUF of a model with a larger embedding holds it, and as a tokenizer.json. */
static void ids_are_transformers(void **state)
{
    static const struct { const char *name; bool special; gr_tok_scheme scheme; const char *says; } each[] = {
        { "sp_llama", true, GR_SCHEME_FIRST, "\"<sep>\" (lstrip, rstrip)" },
        { "sp_legacy", true, GR_SCHEME_ALWAYS, "\"<sep>\" (lstrip, rstrip)" },
        { "sp_bare", false, GR_SCHEME_PREPEND, NULL }
    };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(each); i++) {
        char dir[128];
        gr_tok_lists l;
        gr_gguf_tok g;
        gr_buf json = { 0 };
        gr_tok *t;
        snprintf(dir, sizeof dir, GOLDEN "%s", each[i].name);
        CHECK_OK(gr_dir_tok_model(&l, dir, 0, &check_err));
        assert_true(l.spec.scheme == each[i].scheme && l.spec.add_space_prefix == (i < 2));
        assert_true(each[i].says ? strstr(l.formless.p, each[i].says) != NULL : l.formless.n == 0);
        CHECK_OK(gr_tok_from_spec(&t, dir, &l.spec, &check_err));
        check_ids(t, each[i].name, each[i].special);
        gr_tok_close(t);
        CHECK_OK(gr_tok_spec_json(&l.spec, dir, -1, -1, &json, &check_err));
        CHECK_OK(gr_tok_from_json(&t, dir, json.p, json.n, &check_err));
        check_ids(t, each[i].name, each[i].special);
        gr_tok_close(t);
        gr_buf_clear(&json);
        gr_tok_lists_clear(&l);
        CHECK_OK(gr_gguf_tok_of_dir(&g, dir, &(gr_config){ .vocabulary = 530, .bos = 1, .eos = 2 }, &check_err));
        assert_true(g.lists.spec.n_tokens == 530 && gr_str_is(g.lists.spec.token[529], "[PAD529]"));
        assert_true(g.bos == 1 && g.eos == 2 && g.lists.spec.unknown_id == 0);
        CHECK_OK(gr_tok_from_spec(&t, dir, &g.lists.spec, &check_err));
        check_ids(t, each[i].name, each[i].special);
        gr_tok_close(t);
        gr_gguf_tok_clear(&g);
        assert_int_equal(gr_gguf_tok_of_dir(&g, dir, &(gr_config){ .vocabulary = 519 }, &check_err), GRAM_EFORMAT);
        assert_non_null(strstr(check_err.text, "519 rows"));
    }
}

/* ---- Files made here ------------------------------------------------------------------------------- */

static gr_buf made;

static void varint(gr_buf *b, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        assert_true(gr_buf_add(b, &(unsigned char){ (unsigned char)(v | 0x80) }, 1));
    assert_true(gr_buf_add(b, &(unsigned char){ (unsigned char)v }, 1));
}

static void bytes(gr_buf *b, unsigned number, const char *s, size_t n)
{
    varint(b, number << 3 | 2);
    varint(b, n);
    assert_true(gr_buf_add(b, s, n));
}

static void number(gr_buf *b, unsigned field, uint64_t v)
{
    varint(b, field << 3);
    varint(b, v);
}

static void piece(const char *text, uint64_t type)
{
    gr_buf b = { 0 };

    bytes(&b, 1, text, strlen(text));
    number(&b, 3, type);
    bytes(&made, 1, b.p, b.n);
    gr_buf_clear(&b);
}

/* A message of one number each, or of bytes where v is UINT64_MAX. */
static void part(unsigned field, unsigned inner, uint64_t v)
{
    gr_buf b = { 0 };

    if (v == UINT64_MAX)
        bytes(&b, inner, "rules", 5);
    else
        number(&b, inner, v);
    bytes(&made, field, b.p, b.n);
    gr_buf_clear(&b);
}

/* A model of BPE with plain spaces. */
static void good(void)
{
    made.n = 0;
    piece("<unk>", 2), piece("a", 1);
    part(2, 3, 2), part(3, 4, 0);
}

static void reads(gram_status want, const char *config, const char *says)
{
    gr_tok_lists l;
    gram_status rc = gr_tok_model_read(&l, "tokenizer.model", made.p ? made.p : "", made.n, config,
                                       config ? strlen(config) : 0, 0, &check_err);

    if (rc != want || (rc && (!strstr(check_err.text, says) || strncmp(check_err.text, "tokenizer.model: ", 17))))
        fail_msg("%d, \"%s\"; wanted %d and \"%s\"", rc, rc ? check_err.text : "", want, says);
    if (!rc)
        gr_tok_lists_clear(&l);
}

static void other_models_are_named(void **state)
{
    (void)state;
    good(), reads(GRAM_OK, NULL, "");
    good(), part(2, 3, 1), reads(GRAM_EUNSUPPORTED, NULL, "a unigram model");
    made.n = 0, piece("a", 1), reads(GRAM_EUNSUPPORTED, NULL, "a unigram model");       /* what is left open is that */
    good(), part(2, 3, 4), reads(GRAM_EUNSUPPORTED, NULL, "words or characters");
    good(), part(3, 2, UINT64_MAX), reads(GRAM_EUNSUPPORTED, NULL, "a normalizer with rules");
    good(), part(3, 6, UINT64_MAX), reads(GRAM_EUNSUPPORTED, NULL, "a normalizer with rules");
    good(), part(3, 4, 1), reads(GRAM_EUNSUPPORTED, NULL, "remove_extra_whitespaces");
    good(), part(3, 5, 0), reads(GRAM_EUNSUPPORTED, NULL, "no escape_whitespaces");
    good(), part(2, 24, 1), reads(GRAM_EUNSUPPORTED, NULL, "treat_whitespace_as_suffix");
    assert_non_null(strstr(check_err.text, "save_pretrained"));
    good(), piece("b", 7), reads(GRAM_EFORMAT, NULL, "piece 2");
    good(), piece("\xff", 1), reads(GRAM_EFORMAT, NULL, "piece 2");
    made.n = 0, reads(GRAM_EFORMAT, NULL, "not a SentencePiece model");
    assert_true(gr_buf_puts(&made, "IQ== 0\nIg== 1\n"));                                /* tiktoken's form */
    reads(GRAM_EFORMAT, NULL, "not a SentencePiece model");
}

static void added_tokens_are_checked(void **state)
{
#define ADDED(s) "{\"added_tokens_decoder\":{" s "}}"
    (void)state;
    good(), reads(GRAM_OK, ADDED("\"2\":{\"content\":\"<x>\"},\"9\":{\"content\":\"<y>\",\"special\":true}"), "");
    reads(GRAM_EFORMAT, ADDED("\"x\":{\"content\":\"<x>\"}"), "\"x\"");
    reads(GRAM_EFORMAT, ADDED("\"-1\":{\"content\":\"<x>\"}"), "\"-1\"");
    reads(GRAM_EFORMAT, ADDED("\"99999999\":{\"content\":\"<x>\"}"), "\"99999999\"");
    reads(GRAM_EFORMAT, ADDED("\"2\":{\"content\":\"\"}"), "\"2\"");
    reads(GRAM_EFORMAT, ADDED("\"2\":3"), "\"2\"");
    reads(GRAM_EFORMAT, "{", "not JSON");
    reads(GRAM_OK, "[]", "");
}

/* Cut anywhere, or with any byte changed, it is an error or a tokenizer. */
static void cut_and_changed(void **state)
{
    gr_str s = slurp(GOLDEN "sp_bare/tokenizer.model");
    char *p = malloc(s.n);

    (void)state;
    for (size_t k = 0; k < s.n; k += k < 400 ? 1 : 37) {
        gr_tok_lists l;
        gr_tok *t;
        for (int flip = 0; flip < 2; flip++) {
            memcpy(p, s.p, s.n);
            p[k] ^= flip ? 0x41 : 0;
            if (gr_tok_model_read(&l, "m", p, flip ? s.n : k, NULL, 0, 0, &check_err))
                continue;
            if (!gr_tok_from_spec(&t, "m", &l.spec, &check_err))
                gr_tok_close(t);
            gr_tok_lists_clear(&l);
        }
    }
    free(p);
    free((char *)(uintptr_t)s.p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_transformers),
        cmocka_unit_test(other_models_are_named),
        cmocka_unit_test(added_tokens_are_checked),
        cmocka_unit_test(cut_and_changed),
    };
    int rc = cmocka_run_group_tests(tests, NULL, NULL);

    gr_buf_clear(&made);
    return rc;
}
