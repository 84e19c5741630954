/* test_adapter.c - adapter_config.json: what PEFT writes is read, what cannot be done is named, what is written is
 * read. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "check.h"
#include "file/adapter.h"
#include "file/io.h"

#define PLAIN "\"peft_type\":\"LORA\",\"r\":8,\"lora_alpha\":16"

static gram_status parse(gr_adapter_config *c, const char *json)
{
    return gr_adapter_config_parse(c, "adapter_config.json", json, strlen(json), &check_err);
}

static void pefts_own_is_read(void **state)
{
    char *text;
    size_t n;
    gr_adapter_config c;

    (void)state;
    CHECK_OK(gr_read_file("tests/golden/train/gemma3_text/lora/adapter_config.json", 1 << 16, &text, &n, &check_err));
    CHECK_OK(gr_adapter_config_parse(&c, "x", text, n, &check_err));
    assert_true(c.rank == 3 && c.alpha == 3 && c.root);
    assert_string_equal(c.base, "..");
    gr_adapter_config_clear(&c);
    free(text);
    CHECK_OK(parse(&c, "{" PLAIN "}"));
    assert_true(c.rank == 8 && c.alpha == 16 && !c.root && !c.base && c.dropout == 0);
    CHECK_OK(parse(&c, "{" PLAIN ",\"init_lora_weights\":\"eva\"}"));        /* the base is as it was */
    gr_adapter_config_clear(&c);
    CHECK_OK(parse(&c, "{" PLAIN ",\"lora_dropout\":0.05}"));
    assert_true(c.dropout == 0.05);
}

static void what_cannot_be_done_is_named(void **state)
{
    static const struct { const char *json, *why; gram_status rc; } bad[] = {
        { "[]", "adapter_config.json", GRAM_EFORMAT },
        { "{\"peft_type\":\"IA3\",\"r\":8,\"lora_alpha\":16}", "found IA3", GRAM_EUNSUPPORTED },
        { "{\"r\":8,\"lora_alpha\":16}", "peft_type", GRAM_EUNSUPPORTED },
        { "{\"peft_type\":\"LORA\",\"lora_alpha\":16}", "\"r\"", GRAM_EFORMAT },
        { "{\"peft_type\":\"LORA\",\"r\":0,\"lora_alpha\":16}", "\"r\"", GRAM_EFORMAT },
        { "{\"peft_type\":\"LORA\",\"r\":8.5,\"lora_alpha\":16}", "\"r\"", GRAM_EFORMAT },
        { "{\"peft_type\":\"LORA\",\"r\":8,\"lora_alpha\":-1}", "lora_alpha", GRAM_EFORMAT },
        { "{\"peft_type\":\"LORA\",\"r\":8,\"lora_alpha\":\"16\"}", "lora_alpha", GRAM_EFORMAT },
        { "{" PLAIN ",\"lora_dropout\":1}", "lora_dropout", GRAM_EFORMAT },
        { "{" PLAIN ",\"lora_dropout\":\"0.1\"}", "lora_dropout", GRAM_EFORMAT },
        { "{" PLAIN ",\"use_dora\":1}", "use_dora", GRAM_EFORMAT },
        { "{" PLAIN ",\"bias\":\"boft_only\"}", "found \"boft_only\"", GRAM_EUNSUPPORTED },
        { "{" PLAIN ",\"bias\":true}", "found \"no string\"", GRAM_EUNSUPPORTED },
        { "{" PLAIN ",\"lora_bias\":true}", "lora_bias", GRAM_EUNSUPPORTED },
        { "{" PLAIN ",\"alpha_pattern\":{\"q_proj\":0}}", "\"q_proj\": wanted a positive number", GRAM_EFORMAT },
        { "{" PLAIN ",\"alpha_pattern\":{\"q_proj\":4,\"(\":4}}", "\"(\" is no regular expression", GRAM_EFORMAT },
        { "{" PLAIN ",\"alpha_pattern\":[4]}", "wanted an object", GRAM_EFORMAT },
        { "{" PLAIN ",\"target_parameters\":\"experts.down_proj\"}", "wanted a list of names", GRAM_EFORMAT },
        { "{" PLAIN ",\"target_parameters\":[\"experts.down_proj\",7]}", "wanted a list of names", GRAM_EFORMAT },
        { "{" PLAIN ",\"fan_in_fan_out\":true}", "fan_in_fan_out", GRAM_EUNSUPPORTED },
        { "{" PLAIN ",\"init_lora_weights\":\"pissa\"}", "init_lora_weights", GRAM_EUNSUPPORTED },
        { "{" PLAIN ",\"use_rslora\":1}", "use_rslora", GRAM_EFORMAT },
        { "{" PLAIN ",\"r\":4}", "adapter_config.json", GRAM_EFORMAT },
    };
    gr_adapter_config c;

    (void)state;
    for (size_t i = 0; i < GR_COUNT(bad); i++) {
        gram_status rc = parse(&c, bad[i].json);
        if (rc != bad[i].rc || !strstr(check_err.text, bad[i].why))
            fail_msg("%s: status %d, \"%s\"", bad[i].json, (int)rc, rc ? check_err.text : "");
        assert_null(c.base);
    }
}

/* As PEFT matches: a parameter by its end from a dot on, an alpha by the first pattern that is the name or such an
 * end. */
static void parameters_and_alphas_are_found_by_their_names(void **state)
{
    static const struct { const char *name; bool is; } parameter[] = {
        { "model.layers.0.mlp.experts.down_proj", true }, { "model.layers.1.mlp.experts.gate_up_proj", true },
        { "model.layers.0.mlp.experts.gate_up_proj", false }, { "model.layers.11.mlp.experts.gate_up_proj", false },
        { "model.layers.0.mlp.xexperts.down_proj", false }, { "down_proj", false }, { "experts.down_proj", true },
    };
    static const struct { const char *name; double alpha; } alpha[] = {
        { "model.layers.0.self_attn.q_proj", 4 }, { "q_proj", 4 }, { "model.layers.0.self_attn.xq_proj", 16 },
        { "model.layers.3.mlp.experts.gate_up_proj", 32 }, { "model.layers.2.self_attn.v_proj", 5 },
        { "model.layers.12.self_attn.v_proj", 16 }, { "model.layers.2.self_attn.k_proj", 6 },
    };
    gr_adapter_config c;
    double got;

    (void)state;
    CHECK_OK(parse(&c, "{" PLAIN ",\"target_parameters\":[\"experts.down_proj\","
                   "\"model.layers.1.mlp.experts.gate_up_proj\"],\"alpha_pattern\":{\"q_proj\":4,"
                   "\".*\\\\.gate_up_proj\":32,\"layers.2.self_attn.v_proj\":5,\"layers.2.self_attn.[vk]_proj\":6}}"));
    for (size_t i = 0; i < GR_COUNT(parameter); i++)
        assert_int_equal(gr_adapter_config_targets(&c, parameter[i].name), parameter[i].is);
    for (size_t i = 0; i < GR_COUNT(alpha); i++) {
        CHECK_OK(gr_adapter_config_alpha(&got, &c, alpha[i].name, &check_err));
        assert_true(got == alpha[i].alpha);
    }
    gr_adapter_config_clear(&c);
    CHECK_OK(parse(&c, "{" PLAIN ",\"alpha_pattern\":{\"((a+)+)+[bc]\":4}}"));     /* takes for ever to fail */
    assert_int_equal(gr_adapter_config_alpha(&got, &c, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", &check_err),
                     GRAM_EFORMAT);
    gr_adapter_config_clear(&c);
}

static void what_is_written_is_read(void **state)
{
    static const char *const targets[] = { "q_proj", "down_proj", NULL };
    static char base[] = "/models/a \"b\"";
    const gr_adapter_config c = { .base = base, .rank = 5, .alpha = 7.5, .root = true, .dropout = 0.05,
                                  .says_head = true };
    char *dir = check_tmpdir(), *path = gr_path_join(dir, GR_ADAPTER_CONFIG), *text;
    gr_adapter_config got;
    bool is;
    size_t n;

    (void)state;
    CHECK_OK(gr_adapter_is(&is, dir, &check_err));
    assert_false(is);
    CHECK_OK(gr_adapter_config_write(dir, &c, targets, true, &check_err));
    CHECK_OK(gr_adapter_is(&is, dir, &check_err));
    assert_true(is);
    CHECK_OK(gr_read_file(path, 1 << 16, &text, &n, &check_err));
    CHECK_OK(gr_adapter_config_parse(&got, path, text, n, &check_err));
    assert_true(got.rank == 5 && got.alpha == 7.5 && got.root && got.dropout == 0.05);
    assert_string_equal(got.base, base);
    assert_non_null(strstr(text, "SEQ_CLS"));
    assert_non_null(strstr(text, "\"score\""));
    gr_adapter_config_clear(&got);
    free(text);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pefts_own_is_read),
        cmocka_unit_test(what_cannot_be_done_is_named),
        cmocka_unit_test(parameters_and_alphas_are_found_by_their_names),
        cmocka_unit_test(what_is_written_is_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
