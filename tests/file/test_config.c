/* test_config.c - each config.json against what transformers makes of it, GGUF metadata, and what is refused. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "check.h"
#include "file/config_int.h"
#include "file/gguf_write.h"
#include "file/tok_facts.h"

#define GOLDEN "tests/golden/config/"

static double real(json_t *want, const char *key)
{
    return json_number_value(json_object_get(want, key));
}

static bool truth(json_t *want, const char *key)
{
    return json_is_true(json_object_get(want, key));
}

#define SAME(key) do { if ((json_int_t)c->key != json_integer_value(json_object_get(want, #key)))                    \
    fail_msg("%s: " #key " is %lld, wanted %lld", name, (long long)c->key,                                          \
             (long long)json_integer_value(json_object_get(want, #key))); } while (0)
#define SAME_BOOL(key) do { if (c->key != truth(want, #key)) fail_msg("%s: " #key " is %d", name, c->key); } while (0)

/* transformers computes the powers with a vector library whose last bit may differ from powf()'s, each of the few
 * steps behind it rounds once more: 4 units in the last place. */
static void check_freq(const char *name, const gr_config *c, json_t *want)
{
    for (size_t k = 0; k < 2; k++) {
        json_t *list = json_array_get(json_object_get(want, "inv_freq"), k);
        double f;
        assert_int_equal(json_array_size(list), c->head_dim / 2);
        for (size_t i = 0; i < c->head_dim / 2; i++) {
            f = strtod(json_string_value(json_array_get(list, i)), NULL);
            if (!(fabs((double)c->inv_freq[k][i] - f) <= 4 * 0x1p-23 * f))
                fail_msg("%s: frequency %zu of %zu is %a, wanted %a", name, i, k, (double)c->inv_freq[k][i], f);
        }
        f = json_number_value(json_array_get(json_object_get(want, "rope_scale"), k));
        assert_true(c->rope_scale[k] == (float)f);
    }
}

static void check_one(const char *name, const gr_config *c, json_t *want)
{
    SAME(layers); SAME(width); SAME(heads); SAME(kv_heads); SAME(head_dim); SAME(hidden); SAME(vocabulary);
    SAME(context); SAME(window); SAME(bos); SAME(eos);
    SAME_BOOL(tied_head); SAME_BOOL(qkv_bias); SAME_BOOL(o_bias); SAME_BOOL(qk_norm); SAME_BOOL(sandwich_norms);
    SAME_BOOL(geglu);
    assert_string_equal(gr_arch_name(c->architecture), json_string_value(json_object_get(want, "architecture")));
    assert_true(c->rms_eps == (float)real(want, "rms_eps"));
    assert_true(c->norm_bias == (float)real(want, "norm_bias"));
    assert_true(c->embed_scale == (float)real(want, "embed_scale"));
    assert_true(c->attn_scale == (float)real(want, "attn_scale"));
    assert_true(c->attn_cap == (float)real(want, "attn_cap") && c->logit_cap == (float)real(want, "logit_cap"));
    assert_true(c->branch_scale == (float)real(want, "branch_scale") && c->logit_div == (float)real(want, "logit_div"));
    assert_false(c->rope_interleaved);
    for (size_t i = 0; i < c->layers; i++)
        assert_int_equal(c->sliding[i], json_is_true(json_array_get(json_object_get(want, "sliding"), i)));
    check_freq(name, c, want);
}

static void config_json_reads_as_transformers_reads_it(void **state)
{
    json_error_t e;
    json_t *all = json_load_file(GOLDEN "want.json", 0, &e), *want;
    const char *name;

    (void)state;
    if (!all)
        fail_msg("want.json: %s; tests run in the root of the repository", e.text);
    assert_int_equal(json_object_size(all), 32);
    json_object_foreach(all, name, want) {
        char dir[128];
        gr_config c;
        snprintf(dir, sizeof dir, GOLDEN "%s", name);
        CHECK_OK(gr_config_read(&c, dir, &check_err));
        check_one(name, &c, want);
        assert_string_equal(c.prefix, strcmp(name, "gemma3_inner") ? "" : "language_model.");
        gr_config_clear(&c);
    }
    json_decref(all);
}

static void read_gguf(gr_config *c, gr_weights **w, const char *path)
{
    CHECK_OK(gr_weights_open_gguf(w, path, &check_err));
    CHECK_OK(gr_config_from_gguf(c, gr_weights_gguf(*w), *w, &check_err));
}

/* Written as config.json and read again: the same model. A GGUF's rows and norms lie otherwise, which config.json does
 * not say; it calls a Mistral llama, and a window makes it one again. */
static void same_when_written(const char *name, const gr_config *c, gr_arch arch)
{
    gr_buf text = { 0 };
    gr_config d;

    CHECK_OK(gr_config_json(c, name, "float32", &text, &check_err));
    CHECK_OK(gr_config_parse(&d, name, text.p, text.n, &check_err));
    gr_buf_clear(&text);
    assert_int_equal(d.architecture, arch);
    assert_true(d.layers == c->layers && d.width == c->width && d.heads == c->heads && d.kv_heads == c->kv_heads &&
                d.head_dim == c->head_dim && d.hidden == c->hidden && d.vocabulary == c->vocabulary &&
                d.context == c->context && d.window == c->window && d.bos == c->bos && d.eos == c->eos);
    assert_true(d.tied_head == c->tied_head && d.qkv_bias == c->qkv_bias && d.o_bias == c->o_bias &&
                d.qk_norm == c->qk_norm && d.sandwich_norms == c->sandwich_norms && d.geglu == c->geglu);
    assert_true(d.rms_eps == c->rms_eps && d.embed_scale == c->embed_scale && d.attn_scale == c->attn_scale);
    assert_true(d.attn_cap == c->attn_cap && d.logit_cap == c->logit_cap && d.branch_scale == c->branch_scale);
    assert_true(d.embed_scale == c->embed_scale && d.attn_scale == c->attn_scale && d.logit_div == c->logit_div);
    assert_memory_equal(d.sliding, c->sliding, c->layers * sizeof *c->sliding);
    for (size_t k = 0; k < 2; k++)          /* a list of factors divides in float32, a formula rounds a step more */
        CHECK_CLOSE(d.inv_freq[k], c->inv_freq[k], c->head_dim / 2, 4 * 0x1p-23);
    assert_true(d.rope[0].kind == c->rope[0].kind && d.rope_scale[0] == c->rope_scale[0] &&
                d.rope_scale[1] == c->rope_scale[1]);
    gr_config_clear(&d);
}

static void a_config_that_is_written_reads_the_same(void **state)
{
    static const struct { const char *name; gr_arch arch; } gguf[] = {
        { "mistral", GR_ARCH_MISTRAL }, { "qwen2", GR_ARCH_QWEN2 }, { "qwen3", GR_ARCH_QWEN3 },
        { "gemma", GR_ARCH_GEMMA },
        { "gemma2", GR_ARCH_GEMMA2 }, { "gemma3", GR_ARCH_GEMMA3 }, { "gemma3_pattern", GR_ARCH_GEMMA3 },
    };
    static const char scaled[] = "{\"model_type\": \"gemma3_text\", \"rope_parameters\": {\"sliding_attention\": "
                                 "{\"rope_type\": \"linear\", \"factor\": 8, \"rope_theta\": 10000}}}";
    json_t *all = json_load_file(GOLDEN "want.json", 0, NULL), *want;
    const char *name;
    gr_keys keys = { 0 };
    gr_weights *w;
    gr_config c;
    char path[128];

    (void)state;
    json_object_foreach(all, name, want) {
        snprintf(path, sizeof path, GOLDEN "%s", name);
        CHECK_OK(gr_config_read(&c, path, &check_err));
        same_when_written(name, &c, c.architecture);
        gr_config_clear(&c);
    }
    json_decref(all);
    for (size_t i = 0; i < GR_COUNT(gguf); i++) {
        snprintf(path, sizeof path, GOLDEN "%s.gguf", gguf[i].name);
        read_gguf(&c, &w, path);
        same_when_written(path, &c, gguf[i].arch);
        gr_config_clear(&c);
        gr_weights_close(w);
    }
    CHECK_OK(gr_config_read(&c, GOLDEN "mistral_types", &check_err));
    assert_int_equal(gr_config_keys(&c, "x", &keys, &check_err), GRAM_EUNSUPPORTED);
    assert_non_null(strstr(check_err.text, "layer_types"));
    gr_config_clear(&c);
    CHECK_OK(gr_config_parse(&c, "x", scaled, strlen(scaled), &check_err));
    assert_int_equal(gr_config_json(&c, "x", "float32", &(gr_buf){ 0 }, &check_err), GRAM_EUNSUPPORTED);
    assert_non_null(strstr(check_err.text, "scaled rope in the layers with a window"));
    gr_config_clear(&c);
    CHECK_OK(gr_config_read(&c, GOLDEN "gemma_old", &check_err));
    c.tied_head = false;
    assert_int_equal(gr_config_keys(&c, "x", &keys, &check_err), GRAM_EUNSUPPORTED);
    assert_non_null(strstr(check_err.text, "not the embedding"));
    gr_config_clear(&c);
    read_gguf(&c, &w, GOLDEN "llama3.gguf");        /* factors that no scaling of llama3 has */
    assert_int_equal(c.rope[0].kind, GR_ROPE_TABLE);
    assert_int_equal(gr_config_json(&c, "x", "float32", &(gr_buf){ 0 }, &check_err), GRAM_EUNSUPPORTED);
    assert_non_null(strstr(check_err.text, "rope_freqs.weight"));
    gr_config_clear(&c);
    gr_weights_close(w);
}

/* The factors of Llama 3.1 and 3.2, and of scalings with other numbers, lead back to a formula that gives them. */
static void the_factors_of_a_scaling_are_recognised(void **state)
{
    static const gr_rope known[] = {
        { GR_ROPE_LLAMA3, 5e5, 8, 1, 4, 8192 }, { GR_ROPE_LLAMA3, 5e5, 32, 1, 4, 8192 },
        { GR_ROPE_LLAMA3, 5e5, 16, 1, 8, 8192 }, { GR_ROPE_LLAMA3, 1e4, 4, 2, 6, 2048 },
        { GR_ROPE_LLAMA3, 5e5, 8, 1, 4, 32 }, { GR_ROPE_DEFAULT, 1e4, 0, 0, 0, 0 },
    };
    static const size_t head_dim[] = { 128, 64, 16, 8 };
    float factor[64];

    (void)state;
    for (size_t i = 0; i < GR_COUNT(known); i++)
        for (size_t h = 0; h < GR_COUNT(head_dim); h++)
            for (int said = 0; said < 2; said++) {
                gr_rope r = { .theta = known[i].theta };
                for (size_t k = 0; k < head_dim[h] / 2; k++)
                    factor[k] = (float)gr_rope_factor(&known[i], k, head_dim[h]);
                if (!gr_rope_recognise(&r, factor, head_dim[h], said ? known[i].original : 0))
                    fail_msg("scaling %zu, heads of %zu: not recognised", i, head_dim[h]);
                for (size_t k = 0; k < head_dim[h] / 2; k++)
                    assert_true(fabs(gr_rope_factor(&r, k, head_dim[h]) / (double)factor[k] - 1) < 1e-5);
                if (i < 2 && head_dim[h] > 16)
                    assert_true(r.original == known[i].original && r.high == 4 && r.factor == known[i].factor);
            }
}

static gram_status zeros(void *arg, size_t tensor, size_t row, float *out, gram_err *err)
{
    (void)arg, (void)tensor, (void)row, (void)err;
    memset(out, 0, 8 * sizeof *out);
    return GRAM_OK;
}

static void gguf_metadata_says_the_same(void **state)
{
    static const float factor[] = { 1, 1, 1, 2, 4, 8, 8, 8 };
    gr_weights *w;
    gr_config c;

    (void)state;
    read_gguf(&c, &w, GOLDEN "llama3.gguf");
    assert_int_equal(c.architecture, GR_ARCH_LLAMA);
    assert_true(c.layers == 2 && c.width == 64 && c.heads == 4 && c.kv_heads == 2 && c.head_dim == 16 &&
                c.hidden == 96);
    assert_true(c.vocabulary == 100 && c.context == 4096 && c.rms_eps == 1e-5f && c.bos == 1 && c.eos == 2);
    assert_true(c.rope_interleaved && c.tied_head && !c.qkv_bias && !c.o_bias && !c.qk_norm && c.window == 0);
    assert_true(c.attn_scale == 0.25f && c.embed_scale == 1 && c.norm_bias == 0);
    for (size_t i = 0; i < 8; i++)
        assert_true(c.inv_freq[0][i] == 1 / powf(5e5f, (float)i / 8) / factor[i]);
    gr_config_clear(&c);
    gr_weights_close(w);

    read_gguf(&c, &w, GOLDEN "mistral.gguf");
    assert_true(c.window == 24 && c.sliding[0] && c.sliding[1] && !c.tied_head && c.rope_interleaved);
    gr_config_clear(&c);
    gr_weights_close(w);

    read_gguf(&c, &w, GOLDEN "qwen2.gguf");
    assert_true(c.architecture == GR_ARCH_QWEN2 && c.qkv_bias && !c.o_bias && c.window == 0 && !c.sliding[0]);
    assert_false(c.rope_interleaved);
    gr_config_clear(&c);
    gr_weights_close(w);

    read_gguf(&c, &w, GOLDEN "qwen3.gguf");
    assert_true(c.architecture == GR_ARCH_QWEN3 && c.head_dim == 32 && c.qk_norm && !c.rope_interleaved);
    gr_config_clear(&c);
    gr_weights_close(w);

    read_gguf(&c, &w, GOLDEN "gemma3.gguf");
    assert_true(c.architecture == GR_ARCH_GEMMA3 && c.window == 16 && c.sliding[4] && !c.sliding[5] && c.sliding[6]);
    assert_true(c.embed_scale == 8 && c.norm_bias == 0 && c.sandwich_norms && c.geglu && c.qk_norm);
    assert_true(c.inv_freq[0][1] == 1 / powf(1e6f, 1 / 16.f) / 8 && c.inv_freq[1][1] == 1 / powf(1e4f, 1 / 16.f));
    gr_config_clear(&c);
    gr_weights_close(w);

    read_gguf(&c, &w, GOLDEN "gemma2.gguf");
    assert_true(c.architecture == GR_ARCH_GEMMA2 && c.window == 16 && c.sliding[0] && !c.sliding[1] && c.sliding[2]);
    assert_true(c.embed_scale == 8 && c.norm_bias == 0 && c.sandwich_norms && c.geglu && !c.qk_norm);
    assert_true(c.attn_cap == 20.5f && c.logit_cap == 12 && c.attn_scale == 1 / sqrtf(32));
    gr_config_clear(&c);
    gr_weights_close(w);

    read_gguf(&c, &w, GOLDEN "gemma2_early.gguf");      /* no window, no caps: llama.cpp's; and the 27B's scale */
    assert_true(c.window == 4096 && c.sliding[0] && !c.sliding[1] && c.attn_cap == 50 && c.logit_cap == 30);
    assert_true(c.attn_scale == 1 / sqrtf(16));
    gr_config_clear(&c);
    gr_weights_close(w);

    read_gguf(&c, &w, GOLDEN "gemma3_pattern.gguf");
    assert_true(c.sliding[0] && !c.sliding[1] && c.sliding[2]);
    gr_config_clear(&c);
    gr_weights_close(w);
}

/* A GGUF of a small model with what `more` adds to its keys. */
static gram_status read_arch(gr_config *c, gr_weights **w, const char *arch, void (*more)(gr_keys *k))
{
    static const gr_planned embedding = { "token_embd.weight", GR_F32, 4, 8, false, 0, 0 };
    static const struct { const char *key; uint32_t value; } sizes[] = {
        { "block_count", 1 }, { "embedding_length", 8 }, { "feed_forward_length", 8 }, { "context_length", 64 },
        { "attention.head_count", 2 },
    };
    char *path = check_tmppath("keys.gguf");
    gr_keys k = { 0 };
    gram_status rc;

    gr_keys_str(&k, "general.architecture", (gr_str){ arch, strlen(arch) });
    for (size_t i = 0; i < GR_COUNT(sizes); i++) {
        char key[64];
        snprintf(key, sizeof key, "%s.%s", arch, sizes[i].key);
        gr_keys_u32(&k, key, sizes[i].value);
    }
    more(&k);
    CHECK_OK(gr_gguf_write(path, &k, &embedding, 1, zeros, NULL, &check_err));
    CHECK_OK(gr_weights_open_gguf(w, path, &check_err));
    rc = gr_config_from_gguf(c, gr_weights_gguf(*w), *w, &check_err);
    gr_keys_clear(&k);
    free(path);
    return rc;
}

static gram_status read_with(gr_config *c, gr_weights **w, void (*more)(gr_keys *k))
{
    return read_arch(c, w, "llama", more);
}

static void granites(gr_keys *k)
{
    gr_keys_f32(k, "granite.attention.scale", 0);
    gr_keys_f32(k, "granite.embedding_scale", 12);
    gr_keys_f32(k, "granite.residual_scale", 0.5f);
    gr_keys_f32(k, "granite.logit_scale", 8);
}

static void without_rope(gr_keys *k) { gr_keys_bool(k, "granite.rope.scaling.finetuned", false); }

/* llama.cpp's switch of Granite's rope is a key that says nothing elsewhere. */
static void granites_keys_are_read(void **state)
{
    gr_config c;
    gr_weights *w;

    (void)state;
    CHECK_OK(read_arch(&c, &w, "granite", granites));
    assert_true(c.attn_scale == 0.5f && c.embed_scale == 12 && c.branch_scale == 0.5f && c.logit_div == 8);
    gr_config_clear(&c);
    gr_weights_close(w);
    assert_int_equal(read_arch(&c, &w, "granite", without_rope), GRAM_EUNSUPPORTED);
    assert_non_null(strstr(check_err.text, "granite.rope.scaling.finetuned"));
    gr_weights_close(w);
}

static void of_a_scale(gr_keys *k) { gr_keys_f32(k, "llama.attention.output_scale", 4); }
static void of_a_scale_of_one(gr_keys *k) { gr_keys_f32(k, "llama.attention.output_scale", 1); }
static void of_something(gr_keys *k) { gr_keys_u32(k, "llama.something", 4); }
static void factor_alone(gr_keys *k) { gr_keys_f32(k, "llama.rope.scaling.factor", 4); }
static void old_factor(gr_keys *k) { gr_keys_f32(k, "llama.rope.scale_linear", 4); }
static void type_no_string(gr_keys *k) { gr_keys_u32(k, "llama.rope.scaling.type", 1); }

static void yarn_alone(gr_keys *k)
{
    gr_keys_str(k, "llama.rope.scaling.type", (gr_str){ "yarn", 4 });
    gr_keys_f32(k, "llama.rope.scaling.factor", 4);
    gr_keys_f32(k, "llama.rope.scaling.yarn_beta_slow", 1);
    gr_keys_f32(k, "llama.rope.scaling.yarn_attn_factor", 1.13862944f);
}

static void yarn_of_16_turns(gr_keys *k)
{
    yarn_alone(k);
    gr_keys_f32(k, "llama.rope.scaling.yarn_beta_fast", 16);
}

static void yarn_and_no_attention(gr_keys *k)
{
    gr_keys_str(k, "llama.rope.scaling.type", (gr_str){ "yarn", 4 });
    gr_keys_f32(k, "llama.rope.scaling.factor", 4);
    gr_keys_f32(k, "llama.rope.scaling.yarn_attn_factor", 1);
}

static void factor_of_none(gr_keys *k)
{
    gr_keys_str(k, "llama.rope.scaling.type", (gr_str){ "none", 4 });
    gr_keys_f32(k, "llama.rope.scaling.factor", 4);
    gr_keys_f32(k, "llama.rope.scale_linear", 4);
}

static void pattern(gr_keys *k)
{
    gr_keys_u32(k, "llama.attention.sliding_window", 8);
    gr_keys_u32(k, "llama.attention.sliding_window_pattern", 2);
}

static void template_no_string(gr_keys *k) { gr_keys_u32(k, "tokenizer.chat_template.rag", 1); }

static void a_template_of_a_gguf_is_a_text(void **state)
{
    gr_templates found;
    gr_config c;
    gr_weights *w;

    (void)state;
    CHECK_OK(read_with(&c, &w, template_no_string));
    assert_int_equal(gr_templates_of_gguf(&found, gr_weights_gguf(w), "keys.gguf", &check_err), GRAM_EFORMAT);
    assert_non_null(strstr(check_err.text, "keys.gguf: key tokenizer.chat_template.rag: wanted a text"));
    gr_templates_clear(&found);
    gr_config_clear(&c);
    gr_weights_close(w);
}

/* Where no type is said, rope is scaled linearly, as llama.cpp has it. A key that nobody knows is told of. */
static void keys_of_a_gguf_are_not_passed_over(void **state)
{
    static const struct {
        void (*more)(gr_keys *k);
        const char *refused, *noted;
        gr_rope_kind kind;
    } one[] = {
        { of_a_scale, "\"llama.attention.output_scale\" is set", NULL, 0 },
        { of_a_scale_of_one, NULL, "not used: llama.attention.output_scale", GR_ROPE_DEFAULT },
        { of_something, NULL, "not used: llama.something", GR_ROPE_DEFAULT },
        { factor_alone, NULL, NULL, GR_ROPE_LINEAR }, { old_factor, NULL, NULL, GR_ROPE_LINEAR },
        { factor_of_none, NULL, NULL, GR_ROPE_DEFAULT },
        { yarn_alone, NULL, NULL, GR_ROPE_YARN },
        { yarn_of_16_turns, "\"llama.rope.scaling.yarn_beta_fast\" is not 32", NULL, 0 },
        { yarn_and_no_attention, "\"llama.rope.scaling.yarn_attn_factor\" is not 1.13863", NULL, 0 },
        { type_no_string, "\"llama.rope.scaling.type\" is not a string", NULL, 0 },
        { pattern, "\"llama.attention.sliding_window_pattern\"", NULL, 0 },
    };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(one); i++) {
        gr_weights *w;
        gr_config c;
        gram_status rc = read_with(&c, &w, one[i].more);

        if ((rc != GRAM_OK) != (one[i].refused != NULL) ||
            (rc ? !strstr(check_err.text, one[i].refused) : c.rope[0].kind != one[i].kind) ||
            (one[i].noted ? !c.notes || !strstr(c.notes, one[i].noted) : c.notes != NULL))
            fail_msg("%zu: status %d, \"%s\", notes \"%s\"", i, rc, rc ? check_err.text : "", c.notes ? c.notes : "");
        gr_config_clear(&c);
        gr_weights_close(w);
    }
}

static void what_is_not_supported_is_named(void **state)
{
    static const struct { const char *json; gram_status rc; const char *says; } bad[] = {
        { "", GRAM_EFORMAT, "config.json: line 1" },
        { "[]", GRAM_EFORMAT, "not a JSON object" },
        { "{}", GRAM_EFORMAT, "model_type" },
        { "{\"model_type\": \"mamba\"}", GRAM_EUNSUPPORTED,
          "architecture \"mamba\" is not supported: it asks for state-space layers; supported: llama" },
        { "{\"model_type\": \"llama\", \"architectures\": [\"LlamaForTokenClassification\"]}", GRAM_EUNSUPPORTED,
          "architecture \"LlamaForTokenClassification\" is not supported" },
        { "{\"model_type\": \"llama\", \"architectures\": [\"Qwen2ForProcessRewardModel\"]}", GRAM_EUNSUPPORTED,
          "a process reward model" },
        { "{\"model_type\": \"llama\", \"value_head_prefix\": \"a_name_that_is_longer_than_any_in_use\"}",
          GRAM_EFORMAT, "value_head_prefix" },
        { "{\"model_type\": \"llama\", \"logit_scale\": 0.5}", GRAM_EUNSUPPORTED, "\"logit_scale\" is set" },
        { "{\"model_type\": \"llama\", \"my_softcap\": 30}", GRAM_EUNSUPPORTED, "\"my_softcap\" is set" },
        { "{\"model_type\": \"llama\", \"do_normalize\": true}", GRAM_EUNSUPPORTED, "\"do_normalize\" is set" },
        { "{\"model_type\": \"llama\", \"quantization_config\": {\"quant_method\": \"bitsandbytes\", "
          "\"load_in_8bit\": true, \"load_in_4bit\": true}}", GRAM_EUNSUPPORTED, "both 4 bits and 8" },
        { "\xff\xfe{", GRAM_EFORMAT, "byte-order mark of UTF-16" },
        { "{\"model_type\": \"llama\", \"model_type\": \"llama\"}", GRAM_EFORMAT, "model_type" },
        { "{\"model_type\": \"llama\", \"hidden_size\": 0}", GRAM_EFORMAT, "\"hidden_size\" is 0" },
        { "{\"model_type\": \"llama\", \"hidden_size\": -5}", GRAM_EFORMAT, "\"hidden_size\" is -5" },
        { "{\"model_type\": \"llama\", \"hidden_size\": 1e3}", GRAM_EFORMAT, "\"hidden_size\" is not a whole" },
        { "{\"model_type\": \"llama\", \"num_hidden_layers\": 4000000000}", GRAM_EFORMAT, "from 1 to 4096" },
        { "{\"model_type\": \"llama\", \"num_key_value_heads\": 5}", GRAM_EFORMAT, "32 heads are not a multiple of 5" },
        { "{\"model_type\": \"llama\", \"head_dim\": 7}", GRAM_EFORMAT, "even head size" },
        { "{\"model_type\": \"llama\", \"hidden_size\": 100}", GRAM_EFORMAT, "not a multiple of 32 heads" },
        { "{\"model_type\": \"llama\", \"mlp_bias\": true}", GRAM_EUNSUPPORTED, "mlp_bias" },
        { "{\"model_type\": \"llama\", \"hidden_act\": \"relu\"}", GRAM_EUNSUPPORTED, "\"relu\"" },
        { "{\"model_type\": \"llama\", \"rms_norm_eps\": \"x\"}", GRAM_EFORMAT, "rms_norm_eps" },
        { "{\"model_type\": \"llama\", \"rope_theta\": -1}", GRAM_EFORMAT, "rope_theta" },
        { "{\"model_type\": \"llama\", \"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4, \"alpha\": 2}}",
          GRAM_EUNSUPPORTED, "\"alpha\" of rope is set" },
        { "{\"model_type\": \"llama\", \"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 4, \"beta_fast\": 2}}",
          GRAM_EUNSUPPORTED, "\"beta_fast\" of rope is set" },
        { "{\"model_type\": \"llama\", \"rope_scaling\": {\"type\": \"dynamic\"}}", GRAM_EFORMAT,
          "\"factor\" is missing" },
        { "{\"model_type\": \"llama\", \"rope_scaling\": {\"type\": \"yarn\"}}", GRAM_EFORMAT,
          "\"factor\" is missing" },
        { "{\"model_type\": \"llama\", \"rope_theta\": 1, \"rope_scaling\": {\"type\": \"yarn\", \"factor\": 2}}",
          GRAM_EFORMAT, "\"rope_theta\" is 1, more than 1" },
        { "{\"model_type\": \"llama\", \"rope_scaling\": {\"type\": \"yarn\", \"factor\": 2, \"truncate\": 1}}",
          GRAM_EFORMAT, "\"truncate\" is neither" },
        { "{\"model_type\": \"gemma3_text\", \"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 2, "
          "\"truncate\": false}}", GRAM_EUNSUPPORTED, "\"truncate\" false" },
        { "{\"model_type\": \"internlm2\", \"bias\": false, \"rope_scaling\": {\"type\": \"yarn\", \"factor\": 2}}",
          GRAM_EUNSUPPORTED, "rope type \"yarn\"" },
        { "{\"model_type\": \"llama\", \"rope_scaling\": {\"type\": \"ntk\", \"factor\": 2}}", GRAM_EUNSUPPORTED,
          "supported: default, linear, llama3, dynamic, yarn" },
        { "{\"model_type\": \"llama\", \"rope_scaling\": {\"type\": \"linear\"}}", GRAM_EFORMAT,
          "\"factor\" is missing" },
        { "{\"model_type\": \"llama\", \"rope_scaling\": 3}", GRAM_EFORMAT, "not an object" },
        { "{\"model_type\": \"llama\", \"rope_scaling\": {\"factor\": 4}}", GRAM_EFORMAT, "no \"rope_type\"" },
        { "{\"model_type\": \"llama\", \"rope_scaling\": {\"rope_type\": null, \"factor\": 4}}", GRAM_EFORMAT,
          "no \"rope_type\"" },
        { "{\"model_type\": \"qwen2\", \"rope_parameters\": {\"full_attention\": {\"rope_theta\": 5}}}",
          GRAM_EUNSUPPORTED, "(\"full_attention\") is not supported for qwen2" },
        { "{\"model_type\": \"qwen2\", \"is_causal\": false}", GRAM_EUNSUPPORTED, "\"is_causal\" is not true" },
        { "{\"model_type\": \"qwen2\", \"is_causal\": 0}", GRAM_EUNSUPPORTED, "\"is_causal\" is not true" },
        { "{\"model_type\": \"mistral\", \"num_hidden_layers\": 2, \"layer_types\": [\"full_attention\"]}",
          GRAM_EFORMAT, "1 entries, 2 layers" },
        { "{\"model_type\": \"llama\", \"rope_parameters\": {\"rope_type\": \"llama3\", \"factor\": 8, "
          "\"low_freq_factor\": 4,"
          " \"high_freq_factor\": 4}}", GRAM_EFORMAT, "not above" },
        { "{\"model_type\": \"llama\", \"partial_rotary_factor\": 0.5}", GRAM_EUNSUPPORTED, "partial_rotary_factor" },
        { "{\"model_type\": \"llama\", \"quantization_config\": {\"quant_method\": \"quanto\"}}", GRAM_EUNSUPPORTED,
          "\"quanto\"" },
        { "{\"model_type\": \"llama\", \"quantization_config\": {\"quant_method\": \"fp8\", "
          "\"expert_dtype\": \"fp4\"}}", GRAM_EUNSUPPORTED, "\"expert_dtype\" fp4 of the packed weights" },
        { "{\"model_type\": \"llama\", \"quantization_config\": {\"quant_method\": \"fp8\", \"rotation\": 3}}",
          GRAM_EUNSUPPORTED, "\"rotation\" (its value) of the packed weights" },
        { "{\"model_type\": \"llama\", \"quantization_config\": {\"quant_method\": \"compressed-tensors\", "
          "\"format\": \"marlin-24\"}}", GRAM_EUNSUPPORTED, "\"format\" marlin-24" },
        { "{\"model_type\": \"llama\", \"quantization_config\": {\"quant_method\": \"compressed-tensors\", "
          "\"transform_config\": {\"r\": 1}}}", GRAM_EUNSUPPORTED, "\"transform_config\" (its value)" },
        { "{\"model_type\": \"llama\", \"quantization_config\": {\"quant_method\": \"compressed-tensors\", "
          "\"config_groups\": {\"g\": {\"weights\": {\"num_bits\": 4, \"type\": \"float\"}}}}}", GRAM_EUNSUPPORTED,
          "wanted num_bits 8, symmetric" },
        { "{\"model_type\": \"llama\", \"eos_token_id\": \"x\"}", GRAM_EFORMAT, "eos_token_id" },
        { "{\"model_type\": \"qwen2\", \"num_hidden_layers\": 2, \"layer_types\": [\"full_attention\"]}", GRAM_EFORMAT,
          "1 entries, 2 layers" },
        { "{\"model_type\": \"qwen2\", \"num_hidden_layers\": 1, \"layer_types\": [\"chunked_attention\"]}",
          GRAM_EUNSUPPORTED, "chunked_attention" },
        { "{\"model_type\": \"qwen2\", \"num_hidden_layers\": 1, \"layer_types\": [\"sliding_attention\"]}",
          GRAM_EFORMAT, "\"sliding_window\" is not set" },
        { "{\"model_type\": \"gemma3_text\", \"attn_logit_softcapping\": 50.0}", GRAM_EUNSUPPORTED, "softcapping" },
        { "{\"model_type\": \"gemma2\", \"attn_logit_softcapping\": 0}", GRAM_EFORMAT,
          "\"attn_logit_softcapping\" is not a positive number" },
        { "{\"model_type\": \"gemma2\", \"attn_logit_softcapping\": 1e-40}", GRAM_EFORMAT, "at least 0.001" },
        { "{\"model_type\": \"gemma2\", \"final_logit_softcapping\": \"x\"}", GRAM_EFORMAT,
          "\"final_logit_softcapping\" is not a positive number" },
        { "{\"model_type\": \"gemma2\", \"logit_softcapping\": 30}", GRAM_EUNSUPPORTED,
          "\"logit_softcapping\" is set" },
        { "{\"model_type\": \"gemma3_text\", \"use_bidirectional_attention\": true}", GRAM_EUNSUPPORTED,
          "bidirectional" },
        { "{\"model_type\": \"gemma3_text\", \"rope_parameters\": {\"rope_theta\": 5}}", GRAM_EFORMAT,
          "full_attention" },
        { "{\"model_type\": \"olmo3\", \"rope_theta\": 10000}", GRAM_EUNSUPPORTED, "do not agree" },
        { "{\"model_type\": \"olmo3\", \"rope_local_base_freq\": 10000}", GRAM_EUNSUPPORTED,
          "\"rope_local_base_freq\"" },
        { "{\"model_type\": \"granite\", \"logits_scaling\": 0}", GRAM_EFORMAT,
          "\"logits_scaling\" is not a positive number" },
        { "{\"model_type\": \"granite\", \"residual_multiplier\": 1e-9}", GRAM_EFORMAT, "from 1e-06 to 1e+06" },
        { "{\"model_type\": \"llama\", \"residual_multiplier\": 0.22}", GRAM_EUNSUPPORTED,
          "\"residual_multiplier\" is set" },
        { "{\"model_type\": \"gemma\", \"hidden_act\": \"gelu_new\"}", GRAM_EUNSUPPORTED, "\"gelu_new\"" },
        { "{\"model_type\": \"gemma\", \"hidden_act\": \"gelu\", \"hidden_activation\": \"gelu\"}",
          GRAM_EUNSUPPORTED, "\"hidden_activation\" is \"gelu\"" },
        { "{\"model_type\": \"gemma\", \"use_bidirectional_attention\": true}", GRAM_EUNSUPPORTED,
          "bidirectional" },
        { "{\"model_type\": \"smollm3\", \"num_hidden_layers\": 2, \"no_rope_layers\": [1]}", GRAM_EFORMAT,
          "2 layers wanted" },
        { "{\"model_type\": \"qwen2_moe\", \"use_sliding_window\": true}", GRAM_EUNSUPPORTED,
          "\"use_sliding_window\" without \"layer_types\"" },
        { "{\"model_type\": \"qwen2_moe\", \"mlp_only_layers\": [0], \"intermediate_size\": 64}", GRAM_EUNSUPPORTED,
          "\"shared_expert_intermediate_size\" of 5632 are not supported, only alike" },
        { "{\"model_type\": \"glm4_moe\"}", GRAM_EUNSUPPORTED,
          "it asks for a mixture of experts; supported: llama, " },
        { "{\"model_type\": \"llama\", \"num_experts\": 8}", GRAM_EUNSUPPORTED, "\"num_experts\" is set" },
        { "{\"model_type\": \"qwen3_moe\", \"num_experts\": 0}", GRAM_EUNSUPPORTED, "a model without experts" },
        { "{\"model_type\": \"qwen3_moe\", \"num_experts\": 4097}", GRAM_EFORMAT, "from 1 to 4096 wanted" },
        { "{\"model_type\": \"qwen3_moe\", \"num_experts\": 4, \"num_local_experts\": 8}", GRAM_EFORMAT,
          "are not the same" },
        { "{\"model_type\": \"qwen3_moe\", \"num_experts\": 4, \"num_experts_per_tok\": 5}", GRAM_EFORMAT,
          "5 experts for a token are more than the 4 that there are" },
        { "{\"model_type\": \"mixtral\", \"num_experts_per_tok\": 9}", GRAM_EFORMAT,
          "9 experts for a token are more than the 8 that there are" },
        { "{\"model_type\": \"olmoe\", \"clip_qkv\": 8.0}", GRAM_EUNSUPPORTED, "\"clip_qkv\" is set" },
        { "{\"model_type\": \"qwen3_moe\", \"norm_topk_prob\": 1}", GRAM_EFORMAT, "\"norm_topk_prob\"" },
        { "{\"model_type\": \"qwen3_moe\", \"decoder_sparse_step\": 0}", GRAM_EFORMAT, "\"decoder_sparse_step\"" },
        { "{\"model_type\": \"qwen3_moe\", \"mlp_only_layers\": 1}", GRAM_EFORMAT,
          "\"mlp_only_layers\" is not a list" },
        { "{\"model_type\": \"qwen3_moe\", \"mlp_only_layers\": [\"1\"]}", GRAM_EFORMAT, "entry 0" },
        { "{\"model_type\": \"qwen3_moe\", \"shared_expert_intermediate_size\": 64}", GRAM_EUNSUPPORTED,
          "\"shared_expert_intermediate_size\"" },
        { "{\"model_type\": \"internlm2\"}", GRAM_EUNSUPPORTED, "\"bias\"" },
        { "{\"model_type\": \"internlm2\", \"bias\": false, \"reward_token_id\": 103168}", GRAM_EFORMAT,
          "beyond a vocabulary" },
        { "{\"model_type\": \"internlm2\", \"bias\": false, \"reward_token_id\": 7, \"_name_or_path\": \"POLAR-7B\"}",
          GRAM_EUNSUPPORTED, "POLAR" },
        { "{\"model_type\": \"phi3\", \"rope_scaling\": {\"type\": \"longrope\"}}", GRAM_EFORMAT,
          "\"short_factor\" has 0 entries, 48 numbers wanted" },
        { "{\"model_type\": \"phi3\", \"rope_scaling\": {\"type\": \"linear2\"}}", GRAM_EUNSUPPORTED,
          "supported: default, linear, llama3, dynamic, longrope" },
        { "{\"model_type\": \"phi3\", \"partial_rotary_factor\": 0.1}", GRAM_EFORMAT, "makes 9 of a head's 96" },
        { "{\"model_type\": \"phi3\", \"partial_rotary_factor\": 1.5}", GRAM_EUNSUPPORTED, "only 1 and less" },
        { "{\"model_type\": \"llama\", \"partial_rotary_factor\": 0.75}", GRAM_EUNSUPPORTED, "partial_rotary" },
        { "{\"model_type\": \"llama\", \"rope_scaling\": {\"rope_type\": \"longrope\"}}", GRAM_EUNSUPPORTED,
          "\"longrope\" is not supported; supported: default, linear, llama3" },
        { "{\"model_type\": \"phi3\", \"hidden_size\": 16, \"num_attention_heads\": 4, \"rope_scaling\": "
          "{\"rope_type\": \"longrope\", \"short_factor\": [1, 1], \"long_factor\": [1, 0]}}", GRAM_EFORMAT,
          "\"long_factor\": entry 1 is not a positive number" },
        { "{\"model_type\": \"phi3\", \"hidden_size\": 16, \"num_attention_heads\": 4, \"rope_scaling\": "
          "{\"rope_type\": \"longrope\", \"short_factor\": [1, 1], \"long_factor\": [1, 2], "
          "\"original_max_position_embeddings\": 64}}", GRAM_EFORMAT,
          "is 4096 beside the sizes, and 64 in rope" },
        { "{\"model_type\": \"phi3\", \"hidden_size\": 16, \"num_attention_heads\": 4, \"rope_scaling\": "
          "{\"rope_type\": \"longrope\", \"short_factor\": [1, 1], \"long_factor\": [1, 2], \"short_mscale\": 1.2}}",
          GRAM_EUNSUPPORTED,
          "\"short_mscale\"" },
        { "{\"model_type\": \"smollm3\", \"num_hidden_layers\": 2, \"no_rope_layers\": [1, 3]}", GRAM_EFORMAT,
          "neither 0 nor 1" },
        { "{\"model_type\": \"llama\", \"no_rope_layers\": [1, 0]}", GRAM_EUNSUPPORTED, "no_rope_layers" },
        { "{\"model_type\": \"gemma3\"}", GRAM_EFORMAT, "text_config" },
    };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(bad); i++) {
        gr_config c;
        gram_status rc = gr_config_parse(&c, "config.json", bad[i].json, strlen(bad[i].json), &check_err);
        if (rc != bad[i].rc || !strstr(check_err.text, bad[i].says) || strncmp(check_err.text, "config.json: ", 13))
            fail_msg("%s: status %d, \"%s\"", bad[i].json, rc, rc ? check_err.text : "");
        assert_null(c.sliding);
        assert_null(c.inv_freq[0]);
    }
}

static void a_missing_file_is_named(void **state)
{
    gr_config c;

    (void)state;
    assert_int_equal(gr_config_read(&c, GOLDEN "none", &check_err), GRAM_EIO);
    assert_string_equal(check_err.text, GOLDEN "none/config.json: No such file or directory");
}

static void every_row_is_whole(void **state)
{
    (void)state;
    for (gr_arch a = 0; a < GR_ARCHS; a++) {
        const gr_arch_row *r = gr_arch_of(a);
        gr_arch b;
        assert_true(r->name && r->causal && strstr(r->classifier, "ForSequenceClassification"));
        assert_true(gr_arch_by_type(&b, r->model_type) && b == a);
        assert_true(gr_arch_by_gguf(&b, r->gguf, strlen(r->gguf)) && !strcmp(gr_arch_of(b)->gguf, r->gguf));
        assert_true((r->slide == GR_SLIDE_PATTERN) == (r->slide_but > 0));
        assert_true(r->otherwise.eps > 0 && r->otherwise.theta > 0 && r->otherwise.layers > 0);
    }
}

int main(void)
{
    const struct CMUnitTest test[] = {
        cmocka_unit_test(every_row_is_whole),
        cmocka_unit_test(config_json_reads_as_transformers_reads_it),
        cmocka_unit_test(gguf_metadata_says_the_same),
        cmocka_unit_test(keys_of_a_gguf_are_not_passed_over),
        cmocka_unit_test(granites_keys_are_read),
        cmocka_unit_test(a_template_of_a_gguf_is_a_text),
        cmocka_unit_test(a_config_that_is_written_reads_the_same),
        cmocka_unit_test(the_factors_of_a_scaling_are_recognised),
        cmocka_unit_test(what_is_not_supported_is_named),
        cmocka_unit_test(a_missing_file_is_named),
    };
    return cmocka_run_group_tests(test, NULL, NULL);
}
