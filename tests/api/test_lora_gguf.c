/* test_lora_gguf.c - LoRA adapters in GGUF files, which llama.cpp's convert_lora_to_gguf made of PEFT's in
 * tests/golden/train, and those of PEFT's that no GGUF holds, DoRA and biases: the logits that PEFT gives, over a
 * directory, over a GGUF of it and merged; and what is refused.
 *
 *     convert_lora_to_gguf.py --base tests/golden/train/MODEL tests/golden/train/MODEL/lora */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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
static void check_logits(const char *model, const char *golden, const char *path, const char *base)
{
    gram_options o = { .base = base, .threads = 2 };
    json_t *want = list_of(model, golden), *list = list_of(model, "tokens.json");
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
    static const struct { const char *model, *adapter, *golden; } one[] = {
        { "llama_gqa", "lora.gguf", "lora/logits.json" }, { "qwen2_bias", "lora.gguf", "lora/logits.json" },
        { "llama_gqa", "dora", "dora/logits.json" }, { "../models/phi3", "dora", "dora/logits.json" },
        { "qwen2_bias", "dora", "dora/logits.json" }, { "qwen2_bias", "biases", "biases/logits.json" },
    };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(one); i++) {
        char *dir = path_of(one[i].model, ""), *adapter = path_of(one[i].model, one[i].adapter), *gguf, *merged;
        char name[2][16];
        snprintf(name[0], sizeof name[0], "b%zu.gguf", i);
        snprintf(name[1], sizeof name[1], "m%zu", i);
        gguf = check_tmppath(name[0]);
        merged = check_tmppath(name[1]);
        check_logits(one[i].model, one[i].golden, adapter, dir);
        CHECK_OK(gram_convert(dir, gguf, NULL, NULL, &check_err));
        check_logits(one[i].model, one[i].golden, adapter, gguf);
        CHECK_OK(gram_merge(adapter, dir, merged, GRAM_F32, &check_err));
        check_logits(one[i].model, one[i].golden, merged, NULL);
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

/* A copy of an adapter's directory, in whose `file` the first `from` is `to`, which is as long. */
static char *changed_dir(size_t i, const char *from_dir, const char *file, const char *from, const char *to)
{
    static const char *const names[] = { "adapter_config.json", "adapter_model.safetensors" };
    char name[16], *dir, *text, *at;
    size_t size;

    assert_int_equal(strlen(from), strlen(to));
    snprintf(name, sizeof name, "d%zu", i);
    dir = check_tmppath(name);
    assert_int_equal(mkdir(dir, 0700), 0);
    for (size_t k = 0; k < GR_COUNT(names); k++) {
        char path[512];
        snprintf(path, sizeof path, TRAIN "%s/%s", from_dir, names[k]);
        CHECK_OK(gr_read_file(path, 1 << 20, &text, &size, &check_err));
        at = strcmp(file, names[k]) ? NULL : memmem(text, size, from, strlen(from));
        assert_true(at || strcmp(file, names[k]));
        if (at)
            memcpy(at, to, strlen(to));
        snprintf(path, sizeof path, "%s/%s", dir, names[k]);
        CHECK_OK(gr_write_file(path, text, size, &check_err));
        free(text);
    }
    return dir;
}

static void what_an_adapter_lacks_is_named(void **state)
{
    static const char config[] = "adapter_config.json", tensors[] = "adapter_model.safetensors";
    static const struct { const char *dir, *base, *file, *from, *to, *says; gram_status rc; } bad[] = {
        { "llama_gqa/dora", "llama_gqa", tensors, "magnitude_vector", "magnitude_vectox",
          "\"use_dora\" needs it beside", GRAM_EFORMAT },
        { "llama_gqa/dora", "llama_gqa", config, "\"use_dora\": true", "\"use_dora\": null",
          "lora_magnitude_vector is none that can be added", GRAM_EUNSUPPORTED },
        { "llama_gqa/dora", "llama_gqa", config, "\"bias\": \"none\"", "\"bias\": \"some\"", "found \"some\"",
          GRAM_EUNSUPPORTED },
        { "qwen2_bias/biases", "qwen2_bias", tensors, "k_proj.base_layer.bias", "k_proj.base_layer.bxxs",
          "k_proj.base_layer.bias is missing: \"bias\" says", GRAM_EFORMAT },
        { "qwen2_bias/biases", "qwen2_bias", config, "\"bias\": \"all\"", "\"bias\":  null",
          ".bias is none that can be", GRAM_EUNSUPPORTED },
    };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(bad); i++) {
        char *dir = changed_dir(i, bad[i].dir, bad[i].file, bad[i].from, bad[i].to), *base = path_of(bad[i].base, "");
        char *merged = check_tmppath("never");
        fails(dir, base, bad[i].rc, bad[i].says);
        assert_int_equal(gram_merge(dir, base, merged, GRAM_F32, &check_err), bad[i].rc);
        free(dir), free(base), free(merged);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_pefts),
        cmocka_unit_test(what_cannot_be_done_is_named),
        cmocka_unit_test(what_an_adapter_lacks_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
