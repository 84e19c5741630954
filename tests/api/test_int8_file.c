/* test_int8_file.c - a model written in int8: mapped, it gives the bits of `dtype` int8 of what it was made of, in
 * every architecture, as a judge and of an adapter; and what it is not for, and what is not whole, is said. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "check.h"
#include "file/io.h"
#include "file/weights.h"
#include "gram/convert.h"
#include "gram/train.h"
#include "in_dir.h"
#include "logits.h"

#define JUDGE "tests/golden/train/judge"

static gram_status convert(const char *from, const char *to, gram_store dtype)
{
    const gram_convert_options o = { .dtype = dtype };

    return gram_convert(from, to, &o, NULL, &check_err);
}

static void fails(gram_status got, gram_status want, const char *says)
{
    if (got != want || !strstr(check_err.text, says))
        fail_msg("%d, \"%s\"; wanted %d and \"%s\"", (int)got, got ? check_err.text : "", (int)want, says);
}

/* A GGUF is the directory that gram convert makes of it. */
static void every_architecture_has_the_bits_of_int8(void **state)
{
    static const char *const name[] = { "llama_gqa", "llama_scaled", "llama_bias", "mistral_window", "qwen2", "qwen3",
                                        "qwen3_sharded", "gemma", "granite", "gemma2", "gemma3", "smollm3", "olmo2",
                                        "internlm2", "phi3", "phi3_long", "qwen3_moe", "qwen3_moe_stacked", "mixtral",
                                        "mixtral_stacked", "olmoe", "gguf_q4_1", "gguf_gemma2", "gguf_qwen3_moe",
                                        "gguf_mixtral", "gguf_olmoe", "qwen2_moe", "qwen2_moe_stacked",
                                        "gguf_qwen2_moe" };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(name); i++) {
        char *int8 = in_dir(name[i], ".int8"), *whole = in_dir(name[i], ".f32"), *from;
        bool gguf = !strncmp(name[i], "gguf", 4);
        size_t n, m, k;
        float *x, *y, *z;
        assert_true(asprintf(&from, MODELS "%s%s", name[i], gguf ? "/model.gguf" : "") > 0);
        if (gguf)
            CHECK_OK(convert(from, whole, GRAM_STORE_F32));
        CHECK_OK(convert(from, int8, GRAM_STORE_INT8));
        x = golden_logits(name[i], gguf ? whole : from, GRAM_INT8, &n);
        y = golden_logits(name[i], int8, GRAM_INT8, &m);
        z = golden_logits(name[i], int8, GRAM_DTYPE_AUTO, &k);
        assert_true(n == m && n == k);
        if (memcmp(x, y, n * sizeof *x) || memcmp(x, z, n * sizeof *x))
            fail_msg("%s: other logits than int8's", name[i]);
        free(x), free(y), free(z), free(int8), free(whole), free(from);
    }
}

static gram_verdict score(const char *path, gram_dtype dtype)
{
    const gram_message q = { "user", "Which is more, \"z\" or 12345?" };
    const gram_pair pair = { { &q, 1 }, "zzzz it's <|im_end|>", "\xc3\xa9\xe4\xbd\xa0 aaaa" };
    const gram_options o = { .judge_prompt = "Q {input}\nA {response_a}\nB {response_b}\nBetter:", .dtype = dtype };
    gram_verdict v;
    gram_model *m;

    CHECK_OK(gram_open(&m, path, &o, &check_err));
    CHECK_OK(gram_score(m, &pair, 1, &v, &check_err));
    gram_close(m);
    return v;
}

/* The same of one byte, and these are other scores than int8's where the CPU has that, as gram_inspect() says. */
static void check_fast(const char *whole, const char *int8, const gram_verdict *in_int8)
{
    const gram_options fast = { .dtype = GRAM_INT8_FAST };
    gram_verdict a = score(whole, GRAM_INT8_FAST), b = score(int8, GRAM_INT8_FAST);
    gram_info was, is;

    assert_memory_equal(a.logit, b.logit, sizeof a.logit);
    CHECK_OK(gram_inspect(whole, &fast, &was, &check_err));
    CHECK_OK(gram_inspect(int8, &fast, &is, &check_err));
    assert_string_equal(was.arithmetic, is.arithmetic);
    assert_true(!strstr(is.arithmetic, "one byte") == !memcmp(a.logit, in_int8->logit, sizeof a.logit));
    assert_true(was.weight_bytes == is.weight_bytes);
}

/* The card's name and temperature go with it; and what gram_inspect() says of it is what it says of the model. */
static void a_judge_is_the_same_judge(void **state)
{
    char *int8 = in_dir("judge", ""), *copy = in_dir("copy", ""), *command;
    const gram_options in_int8 = { .dtype = GRAM_INT8 };
    gram_verdict a, b;
    gram_info was, is;

    (void)state;
    assert_true(asprintf(&command, "cp -r " JUDGE " '%s' && chmod -R u+w '%s'", copy, copy) > 0);
    assert_int_equal(system(command), 0);
    free(command);
    assert_true(asprintf(&command, "%s/judge.json", copy) > 0);
    CHECK_OK(gr_write_file(command, "{\"name\":\"j\",\"temperature\":2.5}", 30, &check_err));
    free(command);
    CHECK_OK(convert(copy, int8, GRAM_STORE_INT8));
    a = score(copy, GRAM_INT8);
    b = score(int8, GRAM_DTYPE_AUTO);
    assert_memory_equal(a.logit, b.logit, sizeof a.logit);
    assert_true(a.tokens == b.tokens && a.preference == b.preference);
    CHECK_OK(gram_inspect(copy, &in_int8, &was, &check_err));
    CHECK_OK(gram_inspect(int8, NULL, &is, &check_err));
    assert_true(was.parameters == is.parameters && is.temperature == 2.5 && was.weight_bytes == is.weight_bytes);
    assert_string_equal(is.judge, "j");
    assert_string_equal(was.arithmetic, is.arithmetic);
    assert_string_equal(is.format, "8 bits of gram convert");
    assert_string_equal(is.type[0].name, "8 bits");
    check_fast(copy, int8, &a);
    free(int8), free(copy);
}

/* It is what gram merge makes of it. */
static void an_adapter_is_folded_in(void **state)
{
    char *pairs = check_write("pairs.jsonl", "{\"prompt\":\"q\",\"chosen\":\"z\",\"rejected\":\"a\"}\n");
    char *adapter = in_dir("adapter", ""), *int8 = in_dir("folded", ""), *merged = in_dir("merged", "");
    gram_train_options o;
    gram_verdict a, b;

    (void)state;
    gram_train_options_init(&o, GRAM_STAGE_FINETUNE);
    o.lr = 0.01;
    o.steps = 2;
    o.warmup = 0;
    o.lora_rank = 2;
    CHECK_OK(gram_finetune(JUDGE, pairs, adapter, &o, NULL, &check_err));
    CHECK_OK(convert(adapter, int8, GRAM_STORE_INT8));
    CHECK_OK(gram_merge(adapter, NULL, merged, GRAM_F32, &check_err));
    a = score(merged, GRAM_INT8);
    b = score(int8, GRAM_INT8);
    assert_memory_equal(a.logit, b.logit, sizeof a.logit);
    free(pairs), free(adapter), free(int8), free(merged);
}

static void it_is_for_int8_alone(void **state)
{
    static const gram_dtype other[] = { GRAM_F32, GRAM_BF16 };
    static const char says[] = "they are read with the dtype int8";
    char *int8 = in_dir("alone", ""), *gguf = in_dir("alone", ".gguf"), *again = in_dir("again", "");
    char *pairs = check_write("one.jsonl", "{\"prompt\":\"q\",\"chosen\":\"z\",\"rejected\":\"a\"}\n");
    gram_train_options o;
    gram_model *m;

    (void)state;
    fails(convert(JUDGE, gguf, GRAM_STORE_INT8), GRAM_EARG, "into a directory");
    CHECK_OK(convert(JUDGE, int8, GRAM_STORE_INT8));
    fails(convert(JUDGE, int8, GRAM_STORE_INT8), GRAM_EARG, "not written over");
    for (size_t i = 0; i < GR_COUNT(other); i++) {
        fails(gram_open(&m, int8, &(gram_options){ .dtype = other[i] }, &check_err), GRAM_EUNSUPPORTED, says);
        assert_null(m);
    }
    fails(convert(int8, again, GRAM_STORE_F32), GRAM_EUNSUPPORTED, says);
    fails(convert(int8, gguf, GRAM_STORE_Q8_0), GRAM_EUNSUPPORTED, says);
    gram_train_options_init(&o, GRAM_STAGE_FINETUNE);
    for (o.lora_rank = 0; o.lora_rank < 3; o.lora_rank += 2)
        fails(gram_finetune(int8, pairs, again, &o, NULL, &check_err), GRAM_EUNSUPPORTED, says);
    free(int8), free(gguf), free(again), free(pairs);
}

/* One byte changed, by where it stands; the file is short. */
static void what_is_not_whole_is_said(void **state)
{
    static const char *const says[] = { "digest", "digest", "digest", "said to be bytes", "other weights" };
    char *whole = in_dir("whole", ""), *weights = in_dir("whole", "/" GR_PACKED_WEIGHTS), *text;
    char *single = in_dir("whole", "/model.safetensors");
    gram_options o = { .dtype = GRAM_INT8 };
    gram_model *m;
    size_t n;

    (void)state;
    CHECK_OK(convert(JUDGE, whole, GRAM_STORE_INT8));
    CHECK_OK(gr_read_file(weights, 1 << 24, &text, &n, &check_err));
    for (size_t i = 0; i < GR_COUNT(says); i++) {
        uint64_t header;
        size_t at;
        memcpy(&header, text, sizeof header);
        at = i == 0 ? 8 + (size_t)header + 100 : i == 1 ? n - 20 : n - 3;   /* a scale; a norm; the digest */
        text[at] ^= 1;
        CHECK_OK(gr_write_file(weights, text, i == 3 ? n - 1 : n, &check_err));
        text[at] ^= 1;
        if (i == 4) {
            CHECK_OK(gr_write_file(weights, text, n, &check_err));
            CHECK_OK(gr_write_file(single, text, n, &check_err));
        }
        fails(gram_open(&m, whole, &o, &check_err), i == 4 ? GRAM_EARG : GRAM_EFORMAT, says[i]);
    }
    remove(single);
    CHECK_OK(gram_open(&m, whole, &o, &check_err));
    gram_close(m);
    free(text), free(whole), free(weights), free(single);
}

/* A weight that is no number, which bytes would take for one. */
static void a_broken_model_stays_one(void **state)
{
    static const float bad[] = { NAN, INFINITY };
    const gram_message q = { "user", "q" };
    const gram_pair pair = { { &q, 1 }, "z", "a" };
    const gram_options o = { .judge_prompt = "{input} {response_a} {response_b}", .dtype = GRAM_INT8 };
    char *broken = in_dir("broken", ""), *weights = in_dir("broken", "/model.safetensors"), *command, *text, *at;
    size_t n;

    (void)state;
    assert_true(asprintf(&command, "cp -r " JUDGE " '%s' && chmod -R u+w '%s'", broken, broken) > 0);
    assert_int_equal(system(command), 0);
    CHECK_OK(gr_read_file(weights, 1 << 24, &text, &n, &check_err));
    at = strstr(text + 8, "model.layers.0.mlp.up_proj.weight");
    at = text + 8 + *(const unsigned char *)text + 256 * *((const unsigned char *)text + 1) +
         strtoul(strchr(strstr(at, "data_offsets"), '[') + 1, NULL, 10) + 5 * sizeof *bad;
    for (size_t i = 0; i < GR_COUNT(bad); i++) {
        char *int8 = in_dir("broken", i ? ".inf" : ".nan");
        gram_verdict v;
        gram_model *m;
        memcpy(at, &bad[i], sizeof *bad);
        CHECK_OK(gr_write_file(weights, text, n, &check_err));
        CHECK_OK(gram_open(&m, broken, &o, &check_err));
        fails(gram_score(m, &pair, 1, &v, &check_err), GRAM_EFORMAT, "wanted a finite number");
        gram_close(m);
        fails(convert(broken, int8, GRAM_STORE_INT8), GRAM_EFORMAT, "of tensor model.layers.0.mlp.up_proj.weight has a "
              "value that 8 bits do not hold");
        free(int8);
    }
    free(broken), free(weights), free(command), free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_architecture_has_the_bits_of_int8),
        cmocka_unit_test(a_judge_is_the_same_judge),
        cmocka_unit_test(an_adapter_is_folded_in),
        cmocka_unit_test(it_is_for_int8_alone),
        cmocka_unit_test(what_is_not_whole_is_said),
        cmocka_unit_test(a_broken_model_stays_one),
    };

    dir = check_tmpdir();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
