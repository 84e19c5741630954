/* test_lora_gguf.c - LoRA adapters in GGUF files, which llama.cpp's convert_lora_to_gguf made of PEFT's in
 * tests/golden/train: the logits that PEFT gives, over a directory, over a GGUF of it and merged; and what is refused.
 *
 *     convert_lora_to_gguf.py --base tests/golden/train/MODEL tests/golden/train/MODEL/lora */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "check.h"
#include "file/io.h"
#include "gram/convert.h"
#include "gram/train.h"

#define TRAIN "tests/golden/train/"
enum { TOKENS = 96 };
static const int32_t label[2] = { 65, 66 };

static char *path_of(const char *model, const char *name)
{
    char *path;

    assert_true(asprintf(&path, TRAIN "%s/%s", model, name) > 0);
    return path;
}

static json_t *list_of(const char *model, const char *name)
{
    char *path = path_of(model, name);
    json_t *list = json_load_file(path, 0, NULL);

    assert_non_null(list);
    free(path);
    return list;
}

/* The labels' logits at the last token; the bound is that of tests/model/test_lora.c. */
static void check_logits(const char *model, const char *path, const char *base)
{
    gram_options o = { .base = base, .threads = 2 };
    json_t *want = list_of(model, "lora/logits.json"), *list = list_of(model, "tokens.json");
    int32_t token[TOKENS];
    gram_model *m;
    float *z;

    CHECK_OK(gram_open(&m, path, &o, &check_err));
    for (size_t i = 0; i < TOKENS; i++)
        token[i] = (int32_t)json_integer_value(json_array_get(list, i));
    z = calloc(TOKENS * gram_vocabulary(m), sizeof *z);
    CHECK_OK(gram_logits(m, token, TOKENS, z, &check_err));
    for (size_t k = 0; k < 2; k++) {
        double got = (double)z[(TOKENS - 1) * gram_vocabulary(m) + (size_t)label[k]];
        if (!(fabs(got - json_number_value(json_array_get(want, k))) < 2e-5))
            fail_msg("%s over %s: logit %.9g, wanted %.9g", path, base ? base : "itself", got,
                     json_number_value(json_array_get(want, k)));
    }
    gram_close(m);
    free(z);
    json_decref(want);
    json_decref(list);
}

static void logits_are_pefts(void **state)
{
    static const char *const model[] = { "llama_gqa", "qwen2_bias" };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(model); i++) {
        char *dir = path_of(model[i], ""), *adapter = path_of(model[i], "lora.gguf"), *gguf, *merged;
        gguf = check_tmppath(i ? "b1.gguf" : "b0.gguf");
        merged = check_tmppath(i ? "m1" : "m0");
        check_logits(model[i], adapter, dir);
        CHECK_OK(gram_convert(dir, gguf, NULL, NULL, &check_err));
        check_logits(model[i], adapter, gguf);
        CHECK_OK(gram_merge(adapter, dir, merged, GRAM_F32, &check_err));
        check_logits(model[i], merged, NULL);
        free(dir), free(adapter), free(gguf), free(merged);
    }
}

/* A copy with the first `from` overwritten by `to`, which is as long. */
static char *changed(const char *name, const char *from, const void *to, size_t n, size_t skip)
{
    char *text, *path = check_tmppath(name), *at;
    size_t size;

    CHECK_OK(gr_read_file(TRAIN "llama_gqa/lora.gguf", 1 << 20, &text, &size, &check_err));
    at = memmem(text, size, from, strlen(from));
    assert_non_null(at);
    memcpy(at + skip, to, n);
    CHECK_OK(gr_write_file(path, text, size, &check_err));
    free(text);
    return path;
}

static void fails(const char *path, const char *base, gram_status want, const char *word)
{
    gram_options o = { .base = base };
    gram_model *m;
    gram_status rc = gram_open(&m, path, &o, &check_err);

    assert_null(m);
    if (rc != want || !strstr(check_err.text, word))
        fail_msg("%s: %d, \"%s\"; wanted %d and \"%s\"", path, rc, check_err.text, want, word);
}

static void what_cannot_be_done_is_named(void **state)
{
#define ALPHA "adapter.lora.alpha"
    static const float none = 0;
    const struct { char *path; gram_status rc; const char *says; } bad[] = {
        { changed("kind.gguf", "adapter.type\x08", "cvec", 4, 12 + 12), GRAM_EUNSUPPORTED, "adapter.type" },
        { changed("alpha.gguf", ALPHA, &none, 4, strlen(ALPHA) + 4), GRAM_EFORMAT, ALPHA },
        { changed("name.gguf", "blk.1.attn_q.weight.lora_b", "x", 1, 0), GRAM_EFORMAT, "has no partner" },
        { changed("norm.gguf", "blk.1.attn_q.weight.lora", "blk.1.attn_n", 12, 0), GRAM_EFORMAT, "no partner" },
        { changed("layer.gguf", "blk.2.ffn_up.weight.lora_a", "blk.7", 5, 0), GRAM_EFORMAT, "no partner" },
        { changed("arch.gguf", "llama", "qwen3", 5, 0), GRAM_EARG, "the architecture qwen3" },
    };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(bad); i++) {
        fails(bad[i].path, TRAIN "llama_gqa", bad[i].rc, bad[i].says);
        free(bad[i].path);
    }
    fails(TRAIN "llama_gqa/lora.gguf", NULL, GRAM_EARG, "a LoRA adapter, which is no model without its base");
    fails(TRAIN "llama_gqa/lora.gguf", TRAIN "qwen2_bias", GRAM_EARG, "architecture llama");
    fails(TRAIN "llama_gqa/lora.gguf", TRAIN "qwen2_bias/lora.gguf", GRAM_EUNSUPPORTED, "an adapter too");
    fails(TRAIN "llama_gqa/lora.gguf", TRAIN "llama_gqa/lora", GRAM_EUNSUPPORTED, "an adapter too");
    fails(TRAIN "llama_gqa/lora.gguf", TRAIN "none", GRAM_EIO, "none");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_pefts),
        cmocka_unit_test(what_cannot_be_done_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
