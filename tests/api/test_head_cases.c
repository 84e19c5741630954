/* test_head_cases.c - checkpoints as people have them, in tests/cases/, and what must become of each: a reward, a judge
 * with a note, or a refusal that names the reason. The numbers are transformers'. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "check.h"
#include "file/io.h"
#include "file/save.h"
#include "file/weights.h"
#include "gram/train.h"

#define CASES "tests/cases/"

static char said[4096];

static void hear(void *arg, const char *text)
{
    size_t n = strlen(said);

    (void)arg;
    snprintf(said + n, sizeof said - n, "%s\n", text);
}

/* What comes of a case's one pair. want: both rewards, or with .judge p_forward; nothing: refused for `word` and
 * `word2`. Of what is read, a note has these words. */
static const struct {
    const char *dir, *model, *base;
    bool read, judge;
    double want[2];
    const char *word, *word2;
} cases[] = {
    { "config_json_bom", "model", NULL, true, false, { -1.2707, -1.0689 }, "", "" },
    { "gguf_lora_adapter", "adapter.gguf", NULL, false, false, { 0, 0 }, "LoRA adapter", "base" },
    { "gguf_rank_with_cls_passes", "model.gguf", NULL, false, false, { 0, 0 }, "cls.output.weight", "2 rows" },
    { "gguf_rank_without_head", "model.gguf", NULL, false, false, { 0, 0 }, "pooling type 4, rank", "head is missing" },
    { "quantization_config_off", "model", NULL, true, false, { -1.0731, -1.3207 }, "", "" },
    { "quantization_fp8_passes", "model", NULL, false, false, { 0, 0 }, "fp8", "packed" },
    { "qwen2_for_reward_model", "model", NULL, true, false, { 1.3827, 1.3527 }, "auto_map",
      "transformers' Qwen2ForSequenceClassification" },
    { "reward_model_class_no_labels", "model", NULL, true, false, { -0.7434, -0.7365 }, "", "" },
    { "seqcls_adapter_passes", "model", "base", true, false, { -0.868166, -0.820148 }, "", "" },
    { "seqcls_adapter_modules_to_save_name", "model", "base", true, false, { 0.563159, 0.500488 }, "", "" },
    { "seqcls_adapter_without_head", "model", "base", false, false, { 0, 0 }, "head is missing", "score.weight" },
    { "sequence_classifier_stale_labels", "model", NULL, true, false, { -0.2572, -0.2425 }, "id2label", "5 labels" },
    { "tied_flag_equal_lm_head_passes", "model", NULL, true, true, { 0.968418, 0 }, "", "" },
    { "tied_flag_with_own_lm_head", "model", NULL, true, true, { 0.753046, 0 }, "tie_word_embeddings", "lm_head" },
    { "value_head_beside_causal", "model", NULL, true, false, { 1.3307 + 0.25, 2.3428 + 0.25 }, "v_head.summary", "" },
    { "value_head_prefix_value_head", "model", NULL, true, false, { -1.3253, -1.1726 }, "", "" },
    { "lfs_pointer_weights", "model", NULL, false, false, { 0, 0 }, "Git LFS pointer", "model.safetensors" },
    { "gguf_split_part_passes", "model-00001-of-00003.gguf", NULL, false, false, { 0, 0 }, "split", "merge" },
    { "gguf_yarn_within_original", "model.gguf", NULL, true, true, { 0.444726, 0 }, "", "" },
};

static void has(const char *name, const char *text, const char *a, const char *b)
{
    if (!strstr(text, a) || !strstr(text, b))
        fail_msg("%s: wanted \"%s\" and \"%s\", found \"%s\"", name, a, b, text);
}

static void each_is_read_or_named(void **state)
{
    const gram_message question = { "user", "What is 2+2?" };
    const gram_pair pair = { { &question, 1 }, "It is 4.", "It is 5." };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(cases); i++) {
        char path[128], base[128];
        gram_options o = { .note = hear, .base = cases[i].base ? base : NULL };
        gram_verdict v;
        gram_model *m;
        gram_status rc;
        *said = '\0';
        snprintf(path, sizeof path, CASES "%s/%s", cases[i].dir, cases[i].model);
        snprintf(base, sizeof base, CASES "%s/%s", cases[i].dir, cases[i].base ? cases[i].base : "");
        rc = gram_open(&m, path, &o, &check_err);
        if (!rc == !cases[i].read)
            fail_msg("%s: status %d, \"%s\"", cases[i].dir, (int)rc, rc ? check_err.text : "opened");
        has(cases[i].dir, rc ? check_err.text : said, cases[i].word, cases[i].word2);
        if (rc)
            continue;
        CHECK_OK(gram_score(m, &pair, 1, &v, &check_err));
        assert_true(v.rewarded == !cases[i].judge);
        for (size_t k = 0; k < (cases[i].judge ? 1 : 2); k++) {
            double got = cases[i].judge ? v.p_forward : v.reward[k].mean;
            if (!(fabs(got - cases[i].want[k]) < 1e-4))     /* the last digit that was written down */
                fail_msg("%s: found %.7g, wanted %.7g", cases[i].dir, got, cases[i].want[k]);
        }
        gram_close(m);
    }
}

/* ---- Their siblings ------------------------------------------------------------------------------------ */

#define POINTER "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n"
#define BOM "\xef\xbb\xbf"

/* A copy of a folder in which a file is made anew, or gets `before` in front of it, or has its first `text` changed.
 * Then `open` is opened, "" the folder itself: read where `why` is NULL. */
static const struct { const char *from, *open, *file, *before, *text, *to, *why; } siblings[] = {
    { "golden/heads/openrlhf", "", "tokenizer.json", BOM, NULL, NULL, NULL },
    { "golden/heads/openrlhf", "", "tokenizer_config.json", BOM, NULL, NULL, NULL },
    { "golden/heads/openrlhf", "", "config.json", "\xff\xfe", NULL, NULL, "byte-order mark of UTF-16" },
    { "golden/heads/openrlhf", "", "tokenizer.json", NULL, NULL, POINTER, "tokenizer.json: a Git LFS pointer" },
    { "golden/heads/llamafactory", "", "value_head.safetensors", NULL, NULL, POINTER,
      "value_head.safetensors: a Git LFS pointer" },
    { "golden/heads/openrlhf", "", "config.json", NULL, "\"model_type\"", "\"quantization_config\": {}, \"model_type\"",
      NULL },
    { "golden/heads/openrlhf", "", "config.json", NULL, "\"model_type\"",
      "\"quantization_config\": {\"quant_method\": \"bitsandbytes\", \"bnb_4bit_quant_type\": \"nf4\"}, "
      "\"model_type\"", NULL },
    { "golden/heads/openrlhf", "", "config.json", NULL, "\"model_type\"",
      "\"quantization_config\": {\"quant_method\": \"aqlm\"}, \"model_type\"", "\"aqlm\"" },
    { "golden/heads/openrlhf", "", "config.json", NULL, "\"model_type\"",
      "\"quantization_config\": {\"quant_method\": \"gptq\", \"bits\": 4}, \"model_type\"",
      "config.json says that weights are packed by \"gptq\", and no tensor is" },
    { "golden/models/llama_gptq", "", "config.json", NULL, "\"quantization_config\"", "\"quantization_confix\"",
      "config.json has no \"quantization_config\" that says how" },
    { "golden/models/llama_fp8_channels", "", "config.json", NULL, "\"type\": \"float\"", "\"type\": \"int\"",
      "is packed as F8_E4M3, and config.json says that weights are packed by \"compressed-tensors\" as whole numbers" },
    { "golden/models/llama_ct_int8", "", "config.json", NULL, "\"type\": \"int\"", "\"type\": \"float\"",
      "config.json has no \"quantization_config\" that says how" },
    { "golden/models/qwen3_fp8", "", "config.json", NULL, "\"fp8\",", "\"gptq\", \"bits\": 4,",
      "\"activation_scheme\"" },
    { "golden/models/qwen3_fp8", "", "config.json", NULL, "\"quantization_config\"", "\"quantization_confix\"",
      "config.json has no \"quantization_config\"" },
    { "golden/models/qwen3_fp8", "", "config.json", NULL, "\"fmt\": \"e4m3\"", "\"fmt\": \"e5m2\"", "\"fmt\" e5m2" },
    { "golden/models/qwen3_fp8", "", "config.json", NULL, "\n   32,\n   32\n", "\n   48,\n   32\n",
      "wanted whole blocks of [48, 32]" },
    { "golden/models/qwen3_fp8", "", "config.json", NULL, "\n   32,\n   32\n", "\n   32\n",
      "\"weight_block_size\": wanted" },
    { "golden/models/qwen3_fp8", "", "model.safetensors", NULL, "q_proj.weight_scale_inv", "q_proj.weight_scale_inx",
      "wanted a matrix with weight_scale_inv" },
    { "golden/models/qwen3_fp8", "", "config.json", NULL, "\"activation_scheme\": \"dynamic\"",
      "\"activation_scheme\": \"static\"", NULL },
    { "golden/heads/openrlhf", "", "config.json", NULL, "\"RewardModel\"", "\"MyOwnRewardModel\"", NULL },
    { "golden/heads/openrlhf", "", "config.json", NULL, "\"value_head_prefix\": \"value_head\"",
      "\"value_head_prefix\": \"score\"", NULL },
    { "golden/heads/grm", "", "config.json", NULL, "LlamaForCausalLM", "LlamaForCausalLMWithValueHead", NULL },
    { "golden/heads/qwen2-rm", "", "config.json", NULL, "Qwen2ForRewardModel", "Qwen2ForSequenceClassification", NULL },
    { "cases/sequence_classifier_stale_labels", "model", "model/config.json", NULL, "\"num_labels\": 1",
      "\"num_labels\": 2", NULL },
    { "cases/reward_model_class_no_labels", "model", "model/config.json", NULL, "\"model_type\"",
      "\"num_labels\": null, \"model_type\"", NULL },
    { "cases/seqcls_adapter_passes", "model", "model/adapter_config.json", NULL, "\"score\"", "\"classifier\"", NULL },
    { "cases/seqcls_adapter_passes", "model", "base/config.json", NULL, "LlamaForCausalLM", "LlamaModel", NULL },
    { "cases/seqcls_adapter_without_head", "model", "model/adapter_config.json", NULL, "\"classifier\"", "\"v_head\"",
      "head is missing" },
    { "cases/tied_flag_with_own_lm_head", "model", "model/config.json", NULL, "\"tie_word_embeddings\": true",
      "\"tie_word_embeddings\": false", NULL },
    { "cases/tied_flag_equal_lm_head_passes", "model", "model/config.json", NULL, "\"tie_word_embeddings\": true",
      "\"tie_word_embeddings\": null", NULL },
    { "cases/value_head_beside_causal", "model", "model/value_head.safetensors", NULL, NULL, "", "value_head" },
    { "cases/gguf_split_part_passes", "model-00001-of-00003.gguf", "model-00002-of-00003.gguf", NULL, NULL, "GGUF",
      "model-00002-of-00003.gguf" },
    { "golden/heads", "cls.gguf", "cls.gguf", NULL, "cls.output.weight", "cls.outpux.weight", "head is missing" },
};

/* The bytes may be a GGUF's, with NUL among them. */
static void change(const char *path, const char *before, const char *text, const char *to)
{
    char *old = NULL, *at = NULL;
    size_t n = 0, head = 0, tail = 0;
    FILE *f;

    if (before || text)
        CHECK_OK(gr_read_file(path, 1 << 24, &old, &n, &check_err));
    if (text) {
        at = memmem(old, n, text, strlen(text));
        assert_non_null(at);
        head = (size_t)(at - old);
        tail = head + strlen(text);
    }
    f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f, "%s", before ? before : "");
    if (head)
        fwrite(old, 1, head, f);
    fprintf(f, "%s", to ? to : "");
    if (n > tail)
        fwrite(old + tail, 1, n - tail, f);
    assert_int_equal(fclose(f), 0);
    free(old);
}

static void siblings_are_read_or_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < GR_COUNT(siblings); i++) {
        char *dir = check_tmppath("sibling"), *command = NULL, *base = NULL, *path, *model;
        gram_model *m = NULL;
        gram_status rc;
        struct stat st;
        assert_true(asprintf(&command, "rm -rf '%s' && cp -r 'tests/%s' '%s'", dir, siblings[i].from, dir) > 0);
        assert_int_equal(system(command), 0);
        path = gr_path_join(dir, siblings[i].file);
        change(path, siblings[i].before, siblings[i].text, siblings[i].to);
        model = gr_path_join(dir, siblings[i].open);
        base = gr_path_join(dir, "base");
        rc = gram_open(&m, model, &(gram_options){ .note = hear, .base = stat(base, &st) ? NULL : base }, &check_err);
        gram_close(m);
        if (!rc != !siblings[i].why || (rc && !strstr(check_err.text, siblings[i].why)))
            fail_msg("%zu, %s: status %d, \"%s\"", i, siblings[i].from, (int)rc, rc ? check_err.text : "opened");
        free(dir), free(command), free(base), free(path), free(model);
    }
}

/* The token that a tokenizer puts in front of a text is one of its own. */
static void the_token_in_front_is_one(void **state)
{
    static const char *const id[] = { "1", "4294967297" };      /* the second is the first in 32 bits */
    char *dir = check_tmppath("front"), *command = NULL, *path = gr_path_join(dir, "tokenizer.json");

    (void)state;
    for (size_t i = 0; i < GR_COUNT(id); i++) {
        gram_tokenizer *t = NULL;
        char *post = NULL;
        gram_status rc;
        assert_true(asprintf(&command, "rm -rf '%s' && cp -r tests/golden/heads/openrlhf '%s'", dir, dir) > 0);
        assert_int_equal(system(command), 0);
        assert_true(asprintf(&post, "\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": "
                             "[{\"SpecialToken\": {\"id\": \"x\"}}], \"special_tokens\": {\"x\": {\"ids\": [%s]}}}",
                             id[i]) > 0);
        change(path, NULL, "\"post_processor\": null", post);
        rc = gram_tokenizer_open(&t, dir, &check_err);
        gram_tokenizer_close(t);
        assert_int_equal(rc, i ? GRAM_EFORMAT : GRAM_OK);
        free(command), free(post);
    }
    assert_non_null(strstr(check_err.text, "puts token 4294967297 in front of a text"));
    free(path);
    free(dir);
}

/* Older packers of weights wrote a bias of zeros to each matrix; one that is none is not passed over. */
static void a_bias_of_zeros_adds_nothing(void **state)
{
    enum { WIDTH = 16 };
    static const char *const last[] = { "0", "1e-6" };
    char *dir = check_tmppath("biased"), *path = gr_path_join(dir, "value_head.safetensors"), *command = NULL;

    (void)state;
    assert_true(asprintf(&command, "cp -r 'tests/golden/heads/openrlhf' '%s'", dir) > 0);
    assert_int_equal(system(command), 0);
    for (size_t i = 0; i < GR_COUNT(last); i++) {
        float b[WIDTH] = { [WIDTH - 1] = strtof(last[i], NULL) };
        gram_model *m = NULL;
        gram_status rc;
        CHECK_OK(gr_st_write(path, &(gr_saved){ "", "model.layers.0.mlp.down_proj.bias", b, 1, WIDTH, false, false }, 1,
                             NULL, 0, &check_err));
        rc = gram_open(&m, dir, NULL, &check_err);
        gram_close(m);
        assert_int_equal(rc, i ? GRAM_EUNSUPPORTED : GRAM_OK);
    }
    assert_non_null(strstr(check_err.text, "model.layers.0.mlp.down_proj.bias is not one that the architecture"));
    free(dir), free(path), free(command);
}

/* The head of an adapter that an older PEFT saved is the trained one, not the one it began with. */
static void the_trained_head_is_used(void **state)
{
    gr_st *st;

    (void)state;
    CHECK_OK(gr_st_open(&st, CASES "seqcls_adapter_modules_to_save_name/model/adapter_model.safetensors", &check_err));
    assert_non_null(gr_st_find(st, "base_model.model.score.original_module.weight"));
    gr_st_close(st);
}

/* Training goes on from the head in value_head.safetensors: a short step leaves it nearly as it was. */
static void training_goes_on_from_a_value_head(void **state)
{
    static const char from[] = CASES "value_head_finetune_continue/model";
    char *out = check_tmppath("out");
    gram_train_options o;
    gr_weights *was, *is;
    const gr_named *a, *b;

    (void)state;
    gram_train_options_init(&o, GRAM_STAGE_FINETUNE);
    gram_train_options_set_loss(&o, GRAM_LOSS_BT);
    o.steps = 1;
    o.batch_rows = 2;
    CHECK_OK(gram_finetune(from, CASES "value_head_finetune_continue/train.jsonl", out, &o, NULL, &check_err));
    CHECK_OK(gr_weights_open_dir(&was, from, &check_err));
    CHECK_OK(gr_weights_open_dir(&is, out, &check_err));
    a = gr_weights_find(was, "v_head.summary.weight");
    b = gr_weights_find(is, "score.weight");
    assert_true(a && b && a->bytes == b->bytes && a->type == GR_F32 && gr_weights_find(is, "score.bias"));
    for (size_t i = 0; i < a->bytes / sizeof(float); i++)
        assert_true(fabsf(((const float *)a->data)[i] - ((const float *)b->data)[i]) < 1e-3f);      /* AdamW's step */
    gr_weights_close(was);
    gr_weights_close(is);
    free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_is_read_or_named),
        cmocka_unit_test(siblings_are_read_or_named),
        cmocka_unit_test(the_token_in_front_is_one),
        cmocka_unit_test(the_trained_head_is_used), cmocka_unit_test(a_bias_of_zeros_adds_nothing),
        cmocka_unit_test(training_goes_on_from_a_value_head),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
