/* test_heads.c - reward heads in the forms that trainers and model families save them in, against PyTorch
 * (scripts/golden_heads.py), and files that contradict themselves. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "check.h"
#include "file/io.h"
#include "gram/convert.h"
#include "gram/train.h"

#define GOLDEN "tests/golden/heads/"

/* What the files said while the last model was opened. */
static char said[4096];

static void hear(void *arg, const char *text)
{
    size_t n = strlen(said);

    (void)arg;
    snprintf(said + n, sizeof said - n, "%s\n", text);
}

static gram_status open_heard(gram_model **m, const char *path, gram_options o)
{
    *said = '\0';
    o.note = hear;
    return gram_open(m, path, &o, &check_err);
}

static gram_prompt prompt_of(const json_t *talk, gram_message turn[8], const char **answer)
{
    size_t n = json_array_size(talk);

    for (size_t i = 0; i < n; i++)
        turn[i] = (gram_message){ json_string_value(json_object_get(json_array_get(talk, i), "role")),
                                  json_string_value(json_object_get(json_array_get(talk, i), "content")) };
    *answer = turn[n - 1].content;
    return (gram_prompt){ turn, n - 1 };
}

/* A layer of 16 channels, and a gate of three, in float32 against float32: some dozens of roundings of sums that are a
 * few times their largest term. */
static void compare(const char *name, gram_model *m, const json_t *talks, const json_t *want)
{
    const json_t *talk;
    size_t i;

    json_array_foreach(talks, i, talk) {
        double w = json_number_value(json_array_get(want, i));
        gram_message turn[8];
        const char *answer;
        gram_prompt p = prompt_of(talk, turn, &answer);
        gram_reward r;
        CHECK_OK(gram_rewards(m, p, &answer, 1, &r, &check_err));
        if (!(fabs(r.mean - w) < 5e-5 * (1 + fabs(w))))
            fail_msg("%s, talk %zu: reward %.9g, wanted %.9g", name, i, r.mean, w);
    }
}

static void rewards_are_pytorchs(void **state)
{
    json_t *all = json_load_file(GOLDEN "heads.json", 0, NULL), *one;
    const char *name;

    (void)state;
    assert_non_null(all);
    json_object_foreach(json_object_get(all, "heads"), name, one) {
        const char *file = json_string_value(json_object_get(one, "path"));
        gram_options o = { .reward_token = json_string_value(json_object_get(one, "reward_token")),
                           .reward_weights = json_string_value(json_object_get(one, "reward_weights")) };
        char path[96];
        gram_model *m;
        snprintf(path, sizeof path, GOLDEN "%s", file ? file : name);
        CHECK_OK(open_heard(&m, path, o));
        assert_string_equal(gram_head(m), "reward");
        compare(name, m, json_object_get(all, "talks"), json_object_get(one, "rewards"));
        gram_close(m);
    }
    json_decref(all);
}

/* A batch of answers to one prompt has the rewards that each has alone: a gate reads the prompt of its own sequence. */
static void a_gate_is_the_same_in_any_batch(void **state)
{
    static const char *const answer[] = { "a", "a longer one", "", "a" };
    gram_message turn = { "user", "Q" };
    gram_reward r[4], one;
    gram_model *m;

    (void)state;
    CHECK_OK(open_heard(&m, GOLDEN "armo", (gram_options){ 0 }));
    CHECK_OK(gram_rewards(m, (gram_prompt){ &turn, 1 }, answer, 4, r, &check_err));
    for (size_t i = 0; i < 4; i++) {
        CHECK_OK(gram_rewards(m, (gram_prompt){ &turn, 1 }, &answer[i], 1, &one, &check_err));
        assert_true(one.mean == r[i].mean);
    }
    assert_true(r[0].mean == r[3].mean && r[0].mean != r[1].mean);
    gram_close(m);
}

/* ---- What is said, and what is refused ---------------------------------------------------------------- */

static void heard(const char *name, const char *a, const char *b)
{
    char path[96];
    gram_model *m;

    snprintf(path, sizeof path, GOLDEN "%s", name);
    CHECK_OK(open_heard(&m, path, (gram_options){ 0 }));
    gram_close(m);
    if (!strstr(said, a) || !strstr(said, b))
        fail_msg("%s: wanted a note with \"%s\" and \"%s\", heard \"%s\"", name, a, b, said);
}

static void what_files_say_is_passed_on(void **state)
{
    (void)state;
    heard("llamafactory", "LlamaForCausalLM", "v_head.summary.weight: it is read as a reward model");
    heard("grm", "language model", "v_head.summary.2.weight");
    heard("qwen2-rm", "3 labels", "score.2.weight has 1");
    heard("openrlhf", "\"mean\" and \"std\"", "left out of account");
}

/* A copy of the directory with a file edited: `from` becomes `to` once; from NULL: a new file that holds `to`. */
static char *edited(const char *name, const char *file, const char *from, const char *to)
{
    char *dir = check_tmppath("edited"), *command = NULL, *path, *text = NULL, *at;
    size_t n;
    FILE *f;

    assert_true(asprintf(&command, "rm -rf '%s' && cp -r '" GOLDEN "%s' '%s'", dir, name, dir) > 0);
    assert_int_equal(system(command), 0);
    path = gr_path_join(dir, file);
    if (from) {
        CHECK_OK(gr_read_file(path, 1 << 24, &text, &n, &check_err));
        at = memmem(text, n, from, strlen(from));
        if (!at)
            fail_msg("%s/%s: no %s", name, file, from);
        f = fopen(path, "w");
        assert_true(fwrite(text, 1, (size_t)(at - text), f) == (size_t)(at - text) && fputs(to, f) >= 0);
        n -= (size_t)(at - text) + strlen(from);
        assert_true(fwrite(at + strlen(from), 1, n, f) == n && fclose(f) == 0);
    } else {
        f = fopen(path, "w");
        assert_true(fputs(to, f) >= 0 && fclose(f) == 0);
    }
    free(command), free(path), free(text);
    return dir;
}

static void refused(const char *name, const char *file, const char *from, const char *to, gram_options o,
                    const char *why)
{
    char *dir = edited(name, file, from, to);
    gram_model *m = NULL;

    if (!open_heard(&m, dir, o))
        fail_msg("%s, %s: \"%s\": opened", name, file, to);
    if (!strstr(check_err.text, why))
        fail_msg("%s, %s: wanted \"%s\", found \"%s\"", name, file, why, check_err.text);
    free(dir);
}

static void what_is_no_whole_model_is_refused(void **state)
{
    const gram_options no = { 0 };

    (void)state;
    refused("openrlhf", "model.safetensors", "value_head.weight", "walue_head.weight", no,
            "RewardModel says that there is one, and there is no tensor value_head.weight");
    refused("ultrarm", "model.safetensors", "regression_head.", "regression_heal.", no, "the reward head is missing");
    refused("weighed", "config.json", "\"model_type\"", "\"x\": 1, \"model_type\"", no,
            "score.weight has 3 rows, as many outputs: wanted one");
    refused("weighed", "x", NULL, "", (gram_options){ .reward_weights = "1,2" }, "wanted 3, one for each output");
    refused("weighed", "x", NULL, "", (gram_options){ .reward_weights = "1,2,z" }, "wanted numbers with commas");
    refused("openrlhf", "x", NULL, "", (gram_options){ .reward_token = "0" }, "a reward head of its own");
    refused("token", "x", NULL, "", (gram_options){ .reward_token = "259" }, "wanted the id of a token, from 0 to 258");
    refused("token", "x", NULL, "", (gram_options){ .reward_weights = "1" }, "it has no reward head");
    refused("token", "value_head.bin", NULL, "x", no, "value_head.bin: by its name it belongs to the model");
    refused("token", "gating_layer.pt", NULL, "x", no, "gating_layer.pt");
    refused("token", "adapter_model.safetensors", NULL, "x", no, "adapter_model.safetensors");
    refused("token", "modules.json", NULL, "[]", no, "an embedding model");
    refused("saferlhf", "config.json", "\"do_normalize\": false", "\"do_normalize\": true", no,
            "\"do_normalize\" is set");
    refused("armo", "model.safetensors", "gating.layers.1.", "gating.layerz.1.", no, "gating.layerz.1.");
    refused("urm", "model.safetensors", "weights.fc.4.bias", "weights.fc.5.bias", no, "weights.fc.5.bias is not one");
    refused("token", "config.json", "LlamaForCausalLM", "LlamaForNothing", no, "\"LlamaForNothing\" is not supported");
    refused("peft", "adapter_config.json", "\"SEQ_CLS\"", "\"TOKEN_CLS\"", no, "\"TOKEN_CLS\"");
    refused("v_head", "config.json", "InternThingForPreference", "ThingForProcessRewardModel", no,
            "process reward model");
}

static void judges_nothing(const char *dir, const char *why)
{
    const gram_message turn = { "user", "Q" };
    const gram_pair pair = { { &turn, 1 }, "yes", "no" };
    gram_verdict v;
    gram_model *m;

    CHECK_OK(open_heard(&m, dir, (gram_options){ 0 }));
    if (!gram_score(m, &pair, 1, &v, &check_err) || !strstr(check_err.text, why))
        fail_msg("%s: wanted \"%s\", found \"%s\"", dir, why, check_err.text);
    gram_close(m);
}

/* A language model whose one useful row of lm_head is a reward, and one that is known for it by its name. */
static void what_cannot_judge_does_not(void **state)
{
    char *dir = edited("token", "config.json", "\"model_type\"",
                       "\"_name_or_path\": \"x/Llama-3.3-Nemotron-70B-Reward\", \"model_type\"");

    (void)state;
    judges_nothing(GOLDEN "nemotron", "`reward-token`");
    judges_nothing(dir, "`reward-token 0`");
    free(dir);
}

static void odd_files_beside_are_noted(void **state)
{
    char *dir = edited("token", "other.safetensors", NULL, "x");
    gram_model *m;

    (void)state;
    CHECK_OK(open_heard(&m, dir, (gram_options){ 0 }));
    gram_close(m);
    assert_non_null(strstr(said, "other.safetensors: weights that are not used"));
    free(dir);
    dir = edited("token", "config.json", "\"model_type\"", "\"my_key\": 1, \"model_type\"");
    CHECK_OK(open_heard(&m, dir, (gram_options){ 0 }));
    gram_close(m);
    assert_non_null(strstr(said, "not known here, and not used: my_key"));
    free(dir);
    dir = edited("token", "config.json", "{", "\xef\xbb\xbf{");
    CHECK_OK(open_heard(&m, dir, (gram_options){ 0 }));
    gram_close(m);
    free(dir);
}

/* ---- Training and writing ----------------------------------------------------------------------------- */

#define PAIRS "{\"prompt\":\"Q\",\"chosen\":\"yes\",\"rejected\":\"no\"}\n"

static double reward_of(const char *path)
{
    static const char *const answer = "yes";
    gram_message turn = { "user", "Q" };
    gram_reward r;
    gram_model *m;

    CHECK_OK(open_heard(&m, path, (gram_options){ 0 }));
    CHECK_OK(gram_rewards(m, (gram_prompt){ &turn, 1 }, &answer, 1, &r, &check_err));
    gram_close(m);
    return r.mean;
}

/* A step of no length leaves a head of any name as it was, with its biases; it is then called score. */
static void training_goes_on_from_any_head(void **state)
{
    static const char *const name[] = { "openrlhf", "llamafactory", "grm", "saferlhf", "qwen2-rm", "peft-old",
                                        "llamafactory-lora" };
    char *pairs = check_write("pairs.jsonl", PAIRS);

    (void)state;
    for (size_t i = 0; i < GR_COUNT(name); i++) {
        char *out = check_tmppath(name[i]), path[96];
        gram_train_options o;
        double was, is;
        gram_train_options_init(&o, GRAM_STAGE_FINETUNE);
        gram_train_options_set_loss(&o, GRAM_LOSS_BT);
        o.steps = o.batch_rows = 1;
        o.lr = 1e-30;
        o.weight_decay = 0;
        snprintf(path, sizeof path, GOLDEN "%s", name[i]);
        was = reward_of(path);
        CHECK_OK(gram_finetune(path, pairs, out, &o, NULL, &check_err));
        is = reward_of(out);
        if (!(fabs(was - is) < 2e-5 * (1 + fabs(was))))
            fail_msg("%s: reward %.9g, after a step of no length %.9g", name[i], was, is);
        free(out);
    }
    free(pairs);
}

/* The same with adapters beside the model's matrices, which have such of their own already. */
static void adapters_go_on_with_their_heads(void **state)
{
    static const char *const name[] = { "peft", "peft-old", "llamafactory-lora", "grm" };
    char *pairs = check_write("pairs.jsonl", PAIRS);

    (void)state;
    for (size_t i = 0; i < GR_COUNT(name); i++) {
        char as[64], *out, path[96];
        gram_train_options o;
        double was, is;
        snprintf(as, sizeof as, "lora-%s", name[i]);
        out = check_tmppath(as);
        gram_train_options_init(&o, GRAM_STAGE_FINETUNE);
        gram_train_options_set_loss(&o, GRAM_LOSS_BT);
        o.steps = o.batch_rows = 1;
        o.lora_rank = 2;
        o.lr = 1e-30;
        snprintf(path, sizeof path, GOLDEN "%s", name[i]);
        was = reward_of(path);
        CHECK_OK(gram_finetune(path, pairs, out, &o, NULL, &check_err));
        is = reward_of(out);
        if (!(fabs(was - is) < 2e-5 * (1 + fabs(was))))
            fail_msg("%s: reward %.9g, after a step of no length %.9g", name[i], was, is);
        free(out);
    }
    free(pairs);
}

static void what_cannot_be_trained_is_refused(void **state)
{
    static const char *const name[] = { "armo", "urm" };
    char *pairs = check_write("pairs.jsonl", PAIRS), *out = check_tmppath("out");
    gram_train_options o;

    (void)state;
    gram_train_options_init(&o, GRAM_STAGE_FINETUNE);
    gram_train_options_set_loss(&o, GRAM_LOSS_BT);
    o.steps = o.batch_rows = 1;
    for (size_t i = 0; i < GR_COUNT(name); i++) {
        char path[96];
        snprintf(path, sizeof path, GOLDEN "%s", name[i]);
        assert_int_equal(gram_finetune(path, pairs, out, &o, NULL, &check_err), GRAM_EUNSUPPORTED);
        assert_non_null(strstr(check_err.text, "is read, and not trained"));
        assert_int_equal(gram_convert(path, out, NULL, NULL, &check_err), GRAM_EUNSUPPORTED);
    }
    free(pairs), free(out);
}

/* A head that a run begins is said. */
static void a_new_head_is_said(void **state)
{
    char *pairs = check_write("pairs.jsonl", PAIRS), *out = check_tmppath("new");
    gram_train_options o;

    (void)state;
    gram_train_options_init(&o, GRAM_STAGE_FINETUNE);
    gram_train_options_set_loss(&o, GRAM_LOSS_BT);
    o.steps = o.batch_rows = 1;
    o.note = hear;
    *said = '\0';
    CHECK_OK(gram_finetune(GOLDEN "token", pairs, out, &o, NULL, &check_err));
    assert_non_null(strstr(said, "no reward head: a new one is begun"));
    free(pairs), free(out);
}

/* Merged and copied, under the name that gram writes. */
static void a_written_model_has_the_same_rewards(void **state)
{
    static const char *const name[] = { "openrlhf", "llamafactory", "grm", "saferlhf", "cls.gguf", "peft-old",
                                        "llamafactory-lora" };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(name); i++) {
        char written[64], *out, path[96];
        double was, is;
        snprintf(written, sizeof written, "written-%zu/", i);
        out = check_tmppath(written);
        snprintf(path, sizeof path, GOLDEN "%s", name[i]);
        was = reward_of(path);
        CHECK_OK(gram_convert(path, out, NULL, NULL, &check_err));
        is = reward_of(out);
        if (!(fabs(was - is) < 2e-5 * (1 + fabs(was))))
            fail_msg("%s: reward %.9g, written %.9g", name[i], was, is);
        free(out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rewards_are_pytorchs),
        cmocka_unit_test(a_gate_is_the_same_in_any_batch),
        cmocka_unit_test(what_files_say_is_passed_on),
        cmocka_unit_test(what_is_no_whole_model_is_refused),
        cmocka_unit_test(what_cannot_judge_does_not),
        cmocka_unit_test(odd_files_beside_are_noted),
        cmocka_unit_test(training_goes_on_from_any_head),
        cmocka_unit_test(adapters_go_on_with_their_heads),
        cmocka_unit_test(what_cannot_be_trained_is_refused),
        cmocka_unit_test(a_new_head_is_said),
        cmocka_unit_test(a_written_model_has_the_same_rewards),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
