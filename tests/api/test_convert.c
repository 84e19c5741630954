/* test_convert.c - gram_convert() both ways: tiny models of every architecture keep the bits of their weights and
 * logits, a judge its tokens and verdicts, and what has no form in the other format is said. */
#include <float.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include "check.h"
#include "file/io.h"
#include "file/weights.h"
#include "gram/convert.h"
#include "gram/train.h"
#include "in_dir.h"
#include "logits.h"

#define JUDGE  "tests/golden/train/judge"

static void convert(const char *from, const char *to, gram_store dtype)
{
    const gram_convert_options o = { .dtype = dtype };
    gram_convert_report r;

    CHECK_OK(gram_convert(from, to, &o, &r, &check_err));
    assert_true(r.tensors > 10 && r.bytes > 1000);
}

static void same_logits(const char *name, const char *a, const char *b)
{
    size_t n, m;
    float *x = golden_logits(name, a, GRAM_F32, &n), *y = golden_logits(name, b, GRAM_F32, &m);

    assert_int_equal(n, m);
    if (memcmp(x, y, n * sizeof *x))
        fail_msg("%s and %s give other logits", a, b);
    free(x), free(y);
}

/* A GGUF of a Llama has the channels of a head in another order, so that q.k adds them in another: the logits are
 * those of another exact program, see test_golden_models.c; of 7 layers and sums of 131 numbers at most. */
static void close_logits(const char *name, const char *a, const char *b)
{
    size_t n, m;
    float *x = golden_logits(name, a, GRAM_F32, &n), *y = golden_logits(name, b, GRAM_F32, &m);

    assert_int_equal(n, m);
    CHECK_CLOSE(x, y, n, 2.0 * 7 * 131 * FLT_EPSILON);
    free(x), free(y);
}

/* Each tensor of `of`, which may be halves, as float32 in `whole`. loss: what a norm of Gemma may lose. */
static void same_values(const char *of, const char *whole, double loss)
{
    gr_weights *a, *b;

    CHECK_OK(gr_weights_open_dir(&a, of, &check_err));
    CHECK_OK(gr_weights_open_dir(&b, whole, &check_err));
    assert_int_equal(gr_weights_count(a), gr_weights_count(b));
    for (size_t i = 0; i < gr_weights_count(a); i++) {
        const gr_named *x = gr_weights_at(a, i), *y = gr_weights_find(b, x->name);
        gr_tensor t = gr_named_tensor(x);
        float *v = calloc(t.rows * t.cols, sizeof *v);
        if (!y || y->type != GR_F32 || y->n_dims != x->n_dims || y->dim[0] != x->dim[0])
            fail_msg("%s: tensor %s is not the same", whole, x->name);
        gr_dequant(v, x->data, x->type, t.rows * t.cols);
        for (size_t k = 0; k < t.rows * t.cols; k++)
            if (!(fabs(v[k] - (double)((const float *)y->data)[k]) <= (x->n_dims == 1 ? loss : 0)))
                fail_msg("%s: tensor %s has other values", whole, x->name);
        free(v);
    }
    gr_weights_close(a);
    gr_weights_close(b);
}

/* Directory to GGUF to directory: in f32 no bit of a weight changes, nor of a logit, and a GGUF in blocks is the model
 * that its own directory is. Gemma's norms go by 1 + w, which is rounded to multiples of 2^-23. */
static void every_architecture_keeps_its_bits(void **state)
{
    static const char *const name[] = { "llama_mha", "llama_gqa", "llama_scaled", "llama_scaled_new", "llama_linear",
                                        "llama_bias", "mistral_window", "mistral_wide", "qwen2", "qwen3",
                                        "qwen3_sharded", "gemma3", "smollm3", "olmo2", "internlm2", "phi3",
                                        "phi3_long", "phi4_mini", "gemma", "granite",
                                        "gemma2", "llama_f64", "qwen3_fp8",
                                        "llama_fp8_channels", "llama_gptq", "llama_gptq_v2", "qwen2_awq",
                                        "llama_ct_packed", "llama_ct_int8", "llama_nf4", "llama_fp4",
                                        "llama_bnb8" };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(name); i++) {
        char *gguf = in_dir(name[i], ".gguf"), *back = in_dir(name[i], ""), *from;
        bool gemma = !strncmp(name[i], "gemma", 5);
        char *small = in_dir(name[i], ".q8_0.gguf"), *small_back = in_dir(name[i], "_q8_0");

        assert_true(asprintf(&from, MODELS "%s", name[i]) > 0);
        convert(from, gguf, GRAM_STORE_F32);
        close_logits(name[i], from, gguf);
        convert(gguf, back, GRAM_STORE_F32);
        (gemma ? close_logits : same_logits)(name[i], from, back);
        if (strcmp(name[i], "internlm2"))   /* it comes back as a Llama */
            same_values(from, back, gemma ? 0x1p-24 : 0);
        convert(gguf, small, GRAM_STORE_Q8_0);
        convert(small, small_back, GRAM_STORE_F32);
        close_logits(name[i], small, small_back);
        free(gguf), free(back), free(small), free(small_back), free(from);
    }
}

/* What was packed is an ordinary model when it is written, and its config.json says so. */
static void packed_models_become_plain(void **state)
{
    static const char *const name[] = { "qwen3_fp8", "llama_fp8_channels", "llama_gptq", "llama_gptq_v2", "qwen2_awq",
                                        "llama_ct_packed", "llama_ct_int8", "llama_nf4", "llama_fp4", "llama_bnb8" };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(name); i++) {
        char *plain = in_dir(name[i], "_plain"), *bytes = in_dir(name[i], "_int8"), *from;
        gram_info info;
        assert_true(asprintf(&from, MODELS "%s", name[i]) > 0);
        convert(from, plain, GRAM_STORE_F32);
        same_logits(name[i], from, plain);
        same_values(from, plain, 0);
        convert(from, bytes, GRAM_STORE_INT8);
        CHECK_OK(gram_inspect(bytes, NULL, &info, &check_err));
        free(plain), free(bytes), free(from);
    }
}

/* OLMo 3 is an OLMo 2 with windows in a GGUF, whose full layers alone have YaRN; with a base of rope or an attention
 * factor of its own it has no form there. */
static void olmo3_is_an_olmo2_with_windows(void **state)
{
    char *same = in_dir("olmo3", ""), *back = in_dir("olmo3_back", ""), *gguf = in_dir("olmo3", ".gguf");
    const gram_convert_options o = { .dtype = GRAM_STORE_F32 };

    (void)state;
    convert(MODELS "gguf_olmo3/model.gguf", back, GRAM_STORE_F32);
    close_logits("gguf_olmo3", MODELS "gguf_olmo3/model.gguf", back);
    convert(back, gguf, GRAM_STORE_F32);
    close_logits("gguf_olmo3", back, gguf);
    convert(MODELS "olmo3", same, GRAM_STORE_F32);
    same_logits("olmo3", MODELS "olmo3", same);
    same_values(MODELS "olmo3", same, 0);
    assert_int_equal(gram_convert(MODELS "olmo3", gguf, &o, NULL, &check_err), GRAM_EUNSUPPORTED);
    assert_non_null(strstr(check_err.text, "attention factor of YaRN"));
    free(same), free(back), free(gguf);
}

/* YaRN as llama.cpp has it, with any attention factor; what it does not have is refused. */
static void yarn_is_carried_or_refused(void **state)
{
    char *back = in_dir("yarn", ""), *again = in_dir("yarn", ".gguf"), *config = in_dir("yarn", "/config.json");
    char *other = in_dir("yarn_other", ".gguf"), *text, *at;
    const gram_convert_options o = { .dtype = GRAM_STORE_F32 };
    size_t n;

    (void)state;
    convert(MODELS "gguf_yarn/model.gguf", back, GRAM_STORE_F32);
    close_logits("gguf_yarn", MODELS "gguf_yarn/model.gguf", back);
    convert(back, again, GRAM_STORE_F32);
    close_logits("gguf_yarn", back, again);
    CHECK_OK(gr_read_file(config, 1 << 20, &text, &n, &check_err));
    at = strstr(text, "\"attention_factor\": 1.1386294");
    assert_non_null(at);
    memcpy(at + strlen("\"attention_factor\": "), "0.8000000", 9);
    CHECK_OK(gr_write_file(config, text, n, &check_err));
    convert(back, other, GRAM_STORE_F32);
    close_logits("gguf_yarn", back, other);
    assert_int_equal(gram_convert(MODELS "llama_yarn", other, &o, NULL, &check_err), GRAM_EUNSUPPORTED);
    assert_non_null(strstr(check_err.text, "beta_fast"));
    free(back), free(again), free(config), free(other), free(text);
}

/* A GGUF has all experts of a layer in one tensor, a directory each apart, or as newer ones have it all together. */
static void check_experts(const char *gguf, const char *stack)
{
    void (*same)(const char *, const char *, const char *) = strcmp(gguf, "gguf_mixtral") ? same_logits : close_logits;
    char *apart = in_dir(gguf, "_apart"), *again = in_dir(gguf, "_apart.gguf"), *small = in_dir(gguf, ".q8_0.gguf");
    char *from_stacked = in_dir(stack, "_apart"), *small_apart = in_dir(gguf, "_small_apart");
    char *model, *stacked;

    assert_true(asprintf(&model, MODELS "%s/model.gguf", gguf) > 0);
    assert_true(asprintf(&stacked, MODELS "%s", stack) > 0);
    convert(model, apart, GRAM_STORE_F32);
    same(gguf, model, apart);
    convert(apart, again, GRAM_STORE_F32);
    same(gguf, apart, again);
    convert(again, small, GRAM_STORE_Q8_0);
    convert(small, small_apart, GRAM_STORE_F32);
    same(gguf, small, small_apart);
    convert(stacked, from_stacked, GRAM_STORE_F32);
    same_logits(stack, stacked, from_stacked);
    free(apart), free(again), free(small), free(small_apart), free(from_stacked), free(model), free(stacked);
}

static void experts_are_taken_apart_and_stacked(void **state)
{
    (void)state;
    check_experts("gguf_qwen3_moe", "qwen3_moe_stacked");
    check_experts("gguf_mixtral", "mixtral_stacked");
    check_experts("gguf_olmoe", "olmoe");
    check_experts("gguf_qwen2_moe", "qwen2_moe_stacked");
}

static void halves_are_written_and_read(void **state)
{
    char *half = in_dir("half", ""), *again = in_dir("half_again", ""), *bf16 = in_dir("bf16", "");
    char *config = in_dir("half", "/config.json"), *text;
    size_t n;

    (void)state;
    convert(MODELS "llama_gqa", half, GRAM_STORE_F16);          /* stored as f16: nothing is lost */
    same_logits("llama_gqa", MODELS "llama_gqa", half);
    CHECK_OK(gr_read_file(config, 10000, &text, &n, &check_err));
    assert_non_null(strstr(text, "float16"));
    free(text);
    convert(half, again, GRAM_STORE_F32);
    same_values(half, again, 0);
    convert(MODELS "mistral_wide", bf16, GRAM_STORE_BF16);
    same_logits("mistral_wide", MODELS "mistral_wide", bf16);
    free(half), free(again), free(bf16), free(config);
}

/* The type of each tensor of a GGUF, by its name and its rows: docs/convert.md has the rules, llama.cpp the numbers of
 * file types. */
static gr_dtype wanted_type(const gr_named *t, gr_dtype asked)
{
    size_t block = gr_dtype_block(asked);

    if (t->n_dims < 2 || strstr(t->name, ".ffn_gate_inp."))
        return GR_F32;
    if (block > 1 && gr_named_tensor(t).cols % block)
        return GR_F16;
    return block > 1 && (!strncmp(t->name, "token_embd", 10) || !strncmp(t->name, "output.", 7)) ? GR_Q8_0 : asked;
}

static void each_tensor_has_the_type_that_was_asked_for(void **state)
{
    static const struct { gram_store store; gr_dtype type; uint64_t file; } each[] = {
        { GRAM_STORE_F32, GR_F32, 0 }, { GRAM_STORE_BF16, GR_BF16, 32 }, { GRAM_STORE_F16, GR_F16, 1 },
        { GRAM_STORE_Q8_0, GR_Q8_0, 7 }, { GRAM_STORE_Q5_1, GR_Q5_1, 9 }, { GRAM_STORE_Q5_0, GR_Q5_0, 8 },
        { GRAM_STORE_Q4_1, GR_Q4_1, 3 }, { GRAM_STORE_Q4_0, GR_Q4_0, 2 },
    };
    char *to = in_dir("typed", ".gguf"), *experts = in_dir("typed-experts", "");
    const char *const model[] = { MODELS "llama_gqa", experts };

    (void)state;
    convert(MODELS "gguf_qwen3_moe/model.gguf", experts, GRAM_STORE_F32);
    for (size_t i = 0; i < GR_COUNT(each) * GR_COUNT(model); i++) {
        gr_weights *w;
        uint64_t file = 99;
        size_t as_asked = 0;
        convert(model[i % 2], to, each[i / 2].store);
        CHECK_OK(gr_weights_open_gguf(&w, to, &check_err));
        assert_true(gr_gguf_u64(gr_weights_gguf(w), "general.file_type", &file) && file == each[i / 2].file);
        for (size_t k = 0; k < gr_weights_count(w); k++) {
            const gr_named *t = gr_weights_at(w, k);
            if (t->type != wanted_type(t, each[i / 2].type))
                fail_msg("%s as %s: %s is %s, wanted %s", model[i % 2], gr_dtype_name(each[i / 2].type), t->name,
                         gr_dtype_name(t->type), gr_dtype_name(wanted_type(t, each[i / 2].type)));
            as_asked += t->type == each[i / 2].type;
        }
        assert_true(as_asked > 0 || i % 2);             /* rows of the second are no whole blocks */
        gr_weights_close(w);
    }
    free(to), free(experts);
}

static void score(const char *path, gram_verdict *v)
{
    const gram_message q = { "user", "Which is more, \"z\" or 12345?" };
    const gram_pair pair = { { &q, 1 }, "zzzz it's <|im_end|>", "\xc3\xa9\xe4\xbd\xa0 aaaa" };
    const gram_options o = { .judge_prompt = "Q {input}\nA {response_a}\nB {response_b}\nBetter:" };
    gram_model *m;

    CHECK_OK(gram_open(&m, path, &o, &check_err));
    CHECK_OK(gram_score(m, &pair, 1, v, &check_err));
    gram_close(m);
}

static void a_judge_gives_the_same_verdict(void **state)
{
    char *gguf = in_dir("judge", ".gguf"), *back = in_dir("judge", ""), *trained = in_dir("trained", "");
    char *pairs = in_dir("pairs", ".jsonl");
    gram_train_options o;
    gram_verdict a, b, c;
    FILE *f = fopen(pairs, "w");

    (void)state;
    fputs("{\"prompt\":\"q\",\"chosen\":\"z\",\"rejected\":\"a\"}\n", f);
    assert_int_equal(fclose(f), 0);
    convert(JUDGE, gguf, GRAM_STORE_F32);
    convert(gguf, back, GRAM_STORE_F32);
    score(JUDGE, &a);
    score(gguf, &b);
    score(back, &c);
    assert_true(a.tokens == b.tokens && b.tokens == c.tokens);
    CHECK_CLOSE(b.logit[0], a.logit[0], 4, 1e-4);       /* another order of additions; another token moves far more */
    assert_memory_equal(a.logit, c.logit, sizeof a.logit);

    gram_train_options_init(&o, GRAM_STAGE_FINETUNE);   /* as its directory is: a step of nothing moves nothing */
    o.lr = 0;
    o.steps = 1;
    CHECK_OK(gram_finetune(gguf, pairs, trained, &o, NULL, &check_err));
    same_values(JUDGE, trained, 0);
    score(trained, &c);
    assert_memory_equal(a.logit, c.logit, sizeof a.logit);
    free(gguf), free(back), free(trained), free(pairs);
}

static void fails(const char *from, const char *to, gram_store dtype, gram_status want, const char *word)
{
    const gram_convert_options o = { .dtype = dtype };
    char *path = in_dir(to, "");
    gram_status got = gram_convert(from, path, &o, NULL, &check_err);

    if (got != want || !strstr(check_err.text, word))
        fail_msg("%s to %s: %d, \"%s\"; wanted %d and \"%s\"", from, to, (int)got, got ? check_err.text : "", (int)want,
                 word);
    free(path);
}

static void what_has_no_form_is_said(void **state)
{
    char *there = in_dir("there", "");

    (void)state;
    fails(MODELS "qwen2_window", "x.gguf", GRAM_STORE_F32, GRAM_EUNSUPPORTED, "sliding window");
    fails(MODELS "gemma3_untied", "x.gguf", GRAM_STORE_F32, GRAM_EUNSUPPORTED, "query_pre_attn_scalar");
    fails(MODELS "smollm3_old", "x.gguf", GRAM_STORE_F32, GRAM_EUNSUPPORTED, "sliding window");
    fails(MODELS "gemma2_untied", "x.gguf", GRAM_STORE_F32, GRAM_EUNSUPPORTED, "a pattern of sliding layers");
    fails(MODELS "qwen3_moe", "x.gguf", GRAM_STORE_F32, GRAM_EUNSUPPORTED, "layers without experts");
    fails(MODELS "qwen3", "x", GRAM_STORE_Q8_0, GRAM_EARG, "Q8_0");
    fails("tests/golden/rewards/llama", "x.gguf", GRAM_STORE_F32, GRAM_EUNSUPPORTED, "reward head");
    fails("no/such", "x", GRAM_STORE_F32, GRAM_EIO, "no/such");
    convert(JUDGE, there, GRAM_STORE_F32);
    fails(JUDGE, "there", GRAM_STORE_F32, GRAM_EARG, "not written over");
    fails(there, "there", GRAM_STORE_F32, GRAM_EARG, "onto itself");
    free(there);
}

/* A copy of the judge with another file in the place of one of its own. */
static char *judge_with(const char *name, const char *file, const char *from)
{
    static const char *const part[] = { "config.json", "model.safetensors", "tokenizer.json" };
    char *copy = in_dir(name, ""), *command;

    assert_true(asprintf(&command, "mkdir '%s'", copy) > 0);
    assert_int_equal(system(command), 0);
    free(command);
    for (size_t i = 0; i < GR_COUNT(part); i++) {
        bool other = !strcmp(part[i], file);
        assert_true(asprintf(&command, "cp '%s%s' '%s/%s'", other ? from : JUDGE "/", other ? "" : part[i], copy,
                             part[i]) > 0);
        assert_int_equal(system(command), 0);
        free(command);
    }
    return copy;
}

static void a_tokenizer_without_a_name_is_said(void **state)
{
    char *odd = judge_with("odd", "tokenizer.json", "tests/golden/tokens/splits.json");
    char *large = judge_with("large", "tokenizer.json", "tests/golden/tokens/llama3.json");

    (void)state;
    fails(odd, "x.gguf", GRAM_STORE_F32, GRAM_EUNSUPPORTED, "no name for this tokenizer");
    fails(large, "x.gguf", GRAM_STORE_F32, GRAM_EFORMAT, "259 rows");
    free(odd), free(large);
}

/* A file that may not grow: the name stays without a file, and with the file that it had. */
static void a_full_disk_leaves_what_was_there(void **state)
{
    char *path = in_dir("full", ".gguf"), *text;
    const gram_convert_options o = { 0 };
    struct rlimit old, small;
    size_t n;
    FILE *f;

    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    small = old;
    small.rlim_cur = 20000;
    setrlimit(RLIMIT_FSIZE, &small);
    for (int there = 0; there < 2; there++) {
        if (there) {
            f = fopen(path, "w");
            fputs("old", f);
            fclose(f);
        }
        assert_int_equal(gram_convert(MODELS "qwen3", path, &o, NULL, &check_err), GRAM_EIO);
        assert_int_equal(gr_path_exists(path), there);
    }
    setrlimit(RLIMIT_FSIZE, &old);
    CHECK_OK(gr_read_file(path, 100, &text, &n, &check_err));
    assert_string_equal(text, "old");
    free(text), free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_architecture_keeps_its_bits), cmocka_unit_test(packed_models_become_plain),
        cmocka_unit_test(yarn_is_carried_or_refused),
        cmocka_unit_test(olmo3_is_an_olmo2_with_windows),
        cmocka_unit_test(experts_are_taken_apart_and_stacked),
        cmocka_unit_test(halves_are_written_and_read),
        cmocka_unit_test(each_tensor_has_the_type_that_was_asked_for),
        cmocka_unit_test(a_judge_gives_the_same_verdict),
        cmocka_unit_test(what_has_no_form_is_said),
        cmocka_unit_test(a_tokenizer_without_a_name_is_said),
        cmocka_unit_test(a_full_disk_leaves_what_was_there),
    };

    dir = check_tmpdir();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
