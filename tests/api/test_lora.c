/* test_lora.c - adapters from files to files: trained, resumed, trained further, opened, merged, refused.
 *
 * The tiny model and the rows are those of test_train.c. */
#include <glob.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/digest.h"
#include "check.h"
#include "file/io.h"
#include "gram/convert.h"
#include "gram/train.h"

#define MODEL "tests/golden/train/judge"
static char *pairs;

static bool exists(const char *name)
{
    char *p = check_tmppath(name);
    bool yes = gr_path_exists(p);

    free(p);
    return yes;
}

struct watch { double first, last; uint64_t stop_at, kill_at; };

static int on_step(void *arg, const gram_train_step *s)
{
    struct watch *w = arg;

    w->first = s->step == 1 ? s->loss : w->first;
    w->last = s->loss;
    if (s->step == w->kill_at)
        raise(SIGKILL);
    return s->step == w->stop_at;
}

static gram_train_options options(struct watch *w)
{
    gram_train_options o;

    gram_train_options_init(&o, GRAM_STAGE_FINETUNE);
    o.lora_rank = 3;
    o.lr = 2e-2;
    o.batch_rows = 4;
    o.steps = 10;
    o.model.judge_prompt = "Q {input}\nA {response_a}\nB {response_b}\nBetter:";
    o.model.threads = 2;
    o.progress = on_step;
    o.arg = w;
    return o;
}

static gram_status finetune(const char *model, const char *out, const gram_train_options *o, gram_train_report *r)
{
    char *to = check_tmppath(out);
    gram_status rc = gram_finetune(model, pairs, to, o, r, &check_err);

    free(to);
    return rc;
}

static double preference(const char *model, const char *base)
{
    const gram_message q = { "user", "q1" };
    const gram_pair pair = { { &q, 1 }, "zzzz", "aaaa" };
    gram_options o = { .judge_prompt = "Q {input}\nA {response_a}\nB {response_b}\nBetter:", .base = base,
                       .threads = 1 };
    gram_verdict v;
    gram_model *m;

    CHECK_OK(gram_open(&m, model, &o, &check_err));
    CHECK_OK(gram_score(m, &pair, 1, &v, &check_err));
    gram_close(m);
    return v.preference;
}

static void same_file(const char *a, const char *b)
{
    char *pa = check_tmppath(a), *pb = check_tmppath(b), *x, *y;
    size_t n, m;

    CHECK_OK(gr_read_file(pa, 1 << 24, &x, &n, &check_err));
    CHECK_OK(gr_read_file(pb, 1 << 24, &y, &m, &check_err));
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n);
    free(pa), free(pb), free(x), free(y);
}

/* What is folded on the way goes again, templates in a folder of their own and all. */
static void convert_with_templates(const char *adapter)
{
    char *folder = gr_path_join(adapter, "additional_chat_templates"), *file = gr_path_join(folder, "tool_use.jinja");
    char *out = check_tmppath("templates.gguf"), *left = check_tmppath("templates.gguf.*.merged");
    glob_t found = { 0 };

    assert_int_equal(mkdir(folder, 0777), 0);
    CHECK_OK(gr_write_file(file, "{{ messages }}", 14, &check_err));
    CHECK_OK(gram_convert(adapter, out, NULL, NULL, &check_err));
    assert_int_equal(glob(left, 0, NULL, &found), GLOB_NOMATCH);
    globfree(&found);
    assert_true(!unlink(file) && !rmdir(folder));
    free(folder), free(file), free(out), free(left);
}

/* Adding s B A to W row by row, or all at once before the products, moves a float32 logit by some roundings. */
static void an_adapter_learns_opens_and_merges(void **state)
{
    struct watch w = { 0 };
    gram_train_options o = options(&w);
    char *adapter = check_tmppath("learn"), *merged = check_tmppath("merged"), *half = check_tmppath("half");
    char *words = check_tmppath("learn/tokenizer.json");
    char *gguf = check_tmppath("learn.gguf"), *whole = check_tmppath("whole-of/");
    gram_train_report r;
    gram_info i;
    double p;

    (void)state;
    o.steps = 30;
    o.eval_file = pairs;
    CHECK_OK(finetune(MODEL, "learn", &o, &r));
    assert_true(w.last < w.first - 0.15 && r.after.value == 1);
    assert_true(exists("learn/adapter_config.json") && exists("learn/adapter_model.safetensors"));
    assert_true(exists("learn/tokenizer.json") && !exists("learn/config.json") && !exists("learn/model.safetensors"));
    p = preference(adapter, NULL);
    assert_true(p > 0.6 && fabs(p - preference(MODEL, NULL)) > 0.05);
    CHECK_OK(gram_inspect(adapter, NULL, &i, &check_err));
    assert_true(i.adapter_rank == 3 && i.adapter_alpha == 6 && i.layers == 2);
    assert_int_equal(i.adapter_parameters, 2 * 3 * (2 * (32 + 32) + 2 * (32 + 16) + 3 * (32 + 64)));
    assert_non_null(strstr(i.base, MODEL));
    CHECK_OK(gram_merge(adapter, NULL, merged, GRAM_F32, &check_err));
    CHECK_OK(gram_convert(adapter, gguf, NULL, NULL, &check_err));          /* folded on the way */
    assert_true(fabs(preference(gguf, NULL) - preference(merged, NULL)) < 1e-4);
    CHECK_OK(gram_convert(adapter, whole, NULL, NULL, &check_err));
    assert_true(preference(whole, NULL) == preference(merged, NULL));
    free(gguf), free(whole);
    assert_true(fabs(preference(merged, NULL) - p) < 1e-5);
    assert_int_equal(gram_merge(adapter, NULL, merged, GRAM_F32, &check_err), GRAM_EARG);         /* not written over */
    assert_int_equal(gram_merge(adapter, NULL, half, GRAM_INT8, &check_err), GRAM_EARG);
    CHECK_OK(gram_merge(adapter, NULL, half, GRAM_BF16, &check_err));
    assert_true(fabs(preference(half, NULL) - p) < 0.02);                   /* weights are off by their 2^-9th */
    CHECK_OK(gram_inspect(half, NULL, &i, &check_err));
    assert_true(i.types == 1 && !strcmp(i.type[0].name, "BF16"));
    assert_int_equal(gram_merge(merged, NULL, adapter, GRAM_F32, &check_err), GRAM_EARG);         /* no adapter */
    assert_int_equal(finetune(MODEL, "learn", &o, &r), GRAM_EARG);
    convert_with_templates(adapter);
    assert_int_equal(unlink(words), 0);                                     /* then the base's words are read */
    assert_true(preference(adapter, MODEL) == p);
    free(adapter), free(merged), free(half), free(words);
}

/* Uninterrupted with 2 threads; stopped and resumed with 3; killed and resumed with 1. */
static void stopped_and_killed_runs_end_with_the_same_bits(void **state)
{
    struct watch w = { 0 };
    gram_train_options o = options(&w);
    gram_train_report r;
    int status;
    pid_t pid;

    (void)state;
    o.lora_dropout = 0.2;
    CHECK_OK(finetune(MODEL, "whole", &o, &r));
    w = (struct watch){ .stop_at = 4 };
    o.resume = true;
    o.model.threads = 3;
    assert_int_equal(finetune(MODEL, "stopped", &o, &r), GRAM_ESTOPPED);
    o.lora_alpha = 5;
    assert_int_equal(finetune(MODEL, "stopped", &o, &r), GRAM_EARG);        /* another run's checkpoint */
    o.lora_alpha = 0;
    o.lora_targets = "q,v";
    assert_int_equal(finetune(MODEL, "stopped", &o, &r), GRAM_EARG);
    o.lora_targets = NULL;
    o.lora_dropout = 0.1;
    assert_int_equal(finetune(MODEL, "stopped", &o, &r), GRAM_EARG);
    o.lora_dropout = 0.2;
    o.lora_targets = "q,k,v,o,gate,up,down_proj";                           /* all of them, which was the default */
    w = (struct watch){ 0 };
    CHECK_OK(finetune(MODEL, "stopped", &o, &r));
    assert_int_equal(r.resumed, 4);
    same_file("whole/adapter_model.safetensors", "stopped/adapter_model.safetensors");
    o.save_every = 3;
    o.model.threads = 1;
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        w = (struct watch){ .kill_at = 8 };
        finetune(MODEL, "killed", &o, &r);
        _exit(0);
    }
    assert_true(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
    assert_false(exists("killed/adapter_model.safetensors"));
    w = (struct watch){ 0 };
    CHECK_OK(finetune(MODEL, "killed", &o, &r));
    assert_int_equal(r.resumed, 6);
    same_file("whole/adapter_model.safetensors", "killed/adapter_model.safetensors");
}

static void the_best_adapter_is_kept_and_taken(void **state)
{
    struct watch w = { 0 };
    gram_train_options o = options(&w);
    gram_train_report r;

    (void)state;
    o.eval_file = pairs;
    o.eval_every = 2;
    o.best = true;
    o.schedule = GRAM_SCHEDULE_CONSTANT;
    o.lr = 0.3;                                 /* so large that the last step is not the best */
    o.clip = 0;
    CHECK_OK(finetune(MODEL, "best-of", &o, &r));
    assert_true(r.best_step > 0 && r.best_step <= 10);
    assert_true(exists("best-of/adapter_model.safetensors") && exists("best-of/checkpoints/ended"));
    assert_true(exists("best-of/best") == (r.best_step < 10));      /* for a run that may get more steps */
}

/* The adapter that PEFT wrote for llama_gqa, of rank 4, with another alpha and kind of scale; its path. */
static char *scaled_adapter(const char *name, double alpha, bool root)
{
    char *dir = check_tmppath(name), *path;
    json_t *config = json_load_file("tests/golden/train/llama_gqa/lora/adapter_config.json", 0, NULL);
    char *text, *to;
    size_t n;
    FILE *f;

    assert_int_equal(mkdir(dir, 0777), 0);
    json_object_set_new(config, "lora_alpha", json_real(alpha));
    json_object_set_new(config, "use_rslora", json_boolean(root));
    path = gr_path_join(dir, "adapter_config.json");
    assert_int_equal(json_dump_file(config, path, 0), 0);
    json_decref(config);
    free(path);
    CHECK_OK(gr_read_file("tests/golden/train/llama_gqa/lora/adapter_model.safetensors", 1 << 24, &text, &n,
                          &check_err));
    to = gr_path_join(dir, "adapter_model.safetensors");
    f = fopen(to, "wb");
    assert_true(f && fwrite(text, 1, n, f) == n && fclose(f) == 0);
    free(text), free(to);
    return dir;
}

/* DoRA's rows are made as they are written: one that cannot be made ends the file before it has its name. */
static void a_merge_that_fails_leaves_no_model(void **state)
{
    static const char file[] = "adapter_model.safetensors", config[] = "adapter_config.json";
    char *dir = check_tmppath("endless"), *out = check_tmppath("endless-merged"), *text, *at, *to;
    const float endless = INFINITY;
    size_t n, first = 0;
    uint64_t header;

    (void)state;
    CHECK_OK(gr_make_directory(dir, &check_err));
    CHECK_OK(gr_read_file("tests/golden/train/llama_gqa/dora/adapter_config.json", 1 << 20, &text, &n, &check_err));
    to = gr_path_join(dir, config);
    CHECK_OK(gr_write_file(to, text, n, &check_err));
    free(text), free(to);
    CHECK_OK(gr_read_file("tests/golden/train/llama_gqa/dora/adapter_model.safetensors", 1 << 24, &text, &n,
                          &check_err));
    memcpy(&header, text, sizeof header);
    at = memmem(text, n, "lora_magnitude_vector", 21);
    assert_true(at && (at = strstr(at, "data_offsets\":[")) && sscanf(at, "data_offsets\":[%zu", &first) == 1);
    memcpy(text + sizeof header + header + first, &endless, sizeof endless);
    to = gr_path_join(dir, file);
    CHECK_OK(gr_write_file(to, text, n, &check_err));
    assert_int_equal(gram_merge(dir, "tests/golden/train/llama_gqa", out, GRAM_F32, &check_err), GRAM_EFORMAT);
    assert_non_null(strstr(check_err.text, "no length that is a number"));
    assert_false(exists("endless-merged/model.safetensors"));
    free(text), free(to), free(dir), free(out);
}

/* rsLoRA's scale is alpha / sqrt(r): at rank 4 that of alpha 8 is the plain one of alpha 16. Merged, and as it is
 * loaded beside its base, the two are the same to the bit, and another than the plain one of alpha 8. */
static void rslora_has_its_own_scale(void **state)
{
    static const struct { const char *name, *merged; double alpha; bool root; } kind[] = {
        { "rs", "rs-merged", 8, true }, { "plain16", "plain16-merged", 16, false },
        { "plain8", "plain8-merged", 8, false },
    };
    static const int32_t ids[] = { 5, 9, 30, 7, 100 };
    uint64_t merged[3], logits[3];

    (void)state;
    for (size_t k = 0; k < GR_COUNT(kind); k++) {
        char *dir = scaled_adapter(kind[k].name, kind[k].alpha, kind[k].root), *to = check_tmppath(kind[k].merged);
        const gram_options o = { .base = "tests/golden/train/llama_gqa" };
        char *file = gr_path_join(to, "model.safetensors"), *text;
        float *z;
        gram_model *m;
        size_t n;
        CHECK_OK(gram_merge(dir, o.base, to, GRAM_F32, &check_err));
        CHECK_OK(gr_read_file(file, 1 << 24, &text, &n, &check_err));
        merged[k] = gr_digest(GR_DIGEST, text, n);
        CHECK_OK(gram_open(&m, dir, &o, &check_err));
        n = GR_COUNT(ids) * gram_vocabulary(m);
        z = gr_calloc(n, sizeof *z);
        CHECK_OK(gram_logits(m, ids, GR_COUNT(ids), z, &check_err));
        logits[k] = gr_digest(GR_DIGEST, z, n * sizeof *z);
        gram_close(m);
        free(z), free(text), free(file), free(to), free(dir);
    }
    assert_true(merged[0] == merged[1] && merged[0] != merged[2]);
    assert_true(logits[0] == logits[1] && logits[0] != logits[2]);
}

/* What PEFT's configuration says of it. */
static void same_dropout(const char *adapter, const char *want)
{
    char name[80], line[80], *path, *text;
    size_t n;

    snprintf(name, sizeof name, "%s/adapter_config.json", adapter);
    snprintf(line, sizeof line, "\"lora_dropout\": %s,", want);
    path = check_tmppath(name);
    CHECK_OK(gr_read_file(path, 1 << 16, &text, &n, &check_err));
    if (!strstr(text, line))
        fail_msg("%s: wanted %s", path, line);
    free(path), free(text);
}

static void an_adapter_is_trained_further(void **state)
{
    struct watch w = { 0 };
    gram_train_options o = options(&w);
    char *first = check_tmppath("further1");
    double last;
    gram_train_report r;

    (void)state;
    o.lora_targets = "v,up";
    o.lora_alpha = 4;
    o.schedule = GRAM_SCHEDULE_CONSTANT;
    CHECK_OK(finetune(MODEL, "further1", &o, &r));
    last = w.last;
    o.lora_targets = NULL;                      /* what it has */
    o.lora_alpha = 0;
    o.steps = 3;
    CHECK_OK(finetune(first, "further2", &o, &r));
    assert_true(w.first < last + 0.1 && w.first < 0.66);        /* not from the beginning, which is 0.69 */
    o.lora_rank = 4;
    assert_int_equal(finetune(first, "further3", &o, &r), GRAM_EARG);
    o.lora_rank = 3;
    o.lora_targets = "q";
    assert_int_equal(finetune(first, "further3", &o, &r), GRAM_EARG);
    o.lora_targets = NULL;
    o.lora_rank = 0;                            /* every weight, the adapter's among them */
    o.lr = 1e-3;
    CHECK_OK(finetune(first, "further4", &o, &r));
    assert_true(exists("further4/model.safetensors") && exists("further4/config.json"));
    assert_true(w.first < last + 0.1 && w.first < 0.66);
    free(first);
}

static void its_dropout_goes_with_an_adapter(void **state)
{
    struct watch w = { 0 };
    gram_train_options o = options(&w);
    char *first = check_tmppath("dropout1");
    gram_train_report r;

    (void)state;
    o.steps = 2;
    o.lora_dropout = 0.25;
    CHECK_OK(finetune(MODEL, "dropout1", &o, &r));
    o.lora_dropout = -1;                        /* what it has */
    CHECK_OK(finetune(first, "dropout2", &o, &r));
    same_dropout("dropout2", "0.25");
    o.lora_dropout = 0;
    CHECK_OK(finetune(first, "dropout3", &o, &r));
    same_dropout("dropout3", "0.0");
    o.lora_dropout = 1;
    assert_int_equal(finetune(first, "dropout4", &o, &r), GRAM_EARG);
    o.lora_dropout = 0.1;
    o.lora_rank = 0;
    assert_int_equal(finetune(MODEL, "dropout4", &o, &r), GRAM_EARG);
    free(first);
}

/* The head is trained whole beside the adapters, and goes where they go. */
static void a_reward_head_goes_with_its_adapter(void **state)
{
    static const struct { gram_loss loss; const char *out, *merged, *head; } kind[] = {
        { GRAM_LOSS_BT, "bt", "bt-merged", "reward" }, { GRAM_LOSS_PURM, "purm", "purm-merged", "purm" },
    };
    const gram_message q = { "user", "q1" };
    const gram_pair pair = { { &q, 1 }, "zzzz", "aaaa" };

    (void)state;
    for (size_t k = 0; k < GR_COUNT(kind); k++) {
        struct watch w = { 0 };
        gram_train_options o = options(&w);
        char *path[2] = { check_tmppath(kind[k].out), check_tmppath(kind[k].merged) };
        gram_verdict v[2];
        gram_train_report r;
        gram_model *m;
        gram_info i;
        o.model.judge_prompt = NULL;
        gram_train_options_set_loss(&o, kind[k].loss);
        CHECK_OK(finetune(MODEL, kind[k].out, &o, &r));
        assert_true(w.last < w.first);
        CHECK_OK(gram_inspect(path[0], NULL, &i, &check_err));
        assert_string_equal(i.head, kind[k].head);
        CHECK_OK(gram_merge(path[0], NULL, path[1], GRAM_F32, &check_err));
        for (int j = 0; j < 2; j++) {
            CHECK_OK(gram_open(&m, path[j], NULL, &check_err));
            CHECK_OK(gram_score(m, &pair, 1, &v[j], &check_err));
            gram_close(m);
        }
        assert_true(v[0].preference > 0.51 && fabs(v[0].preference - v[1].preference) < 1e-5);
        w = (struct watch){ 0 };
        o.steps = 2;
        CHECK_OK(finetune(path[0], k ? "purm2" : "bt2", &o, &r));           /* trained further, head and all */
        gram_train_options_set_loss(&o, k ? GRAM_LOSS_BT : GRAM_LOSS_PURM);
        assert_int_equal(finetune(path[0], "other", &o, &r), GRAM_EARG);    /* its head is the other loss's */
        free(path[0]), free(path[1]);
    }
}

static void a_base_in_bf16_is_trained_beside(void **state)
{
    struct watch w = { 0 };
    gram_train_options o = options(&w);
    gram_train_report r;

    (void)state;
    o.model.dtype = GRAM_BF16;
    CHECK_OK(finetune(MODEL, "bf16", &o, &r));
    assert_true(w.last < w.first);
    o.model.dtype = GRAM_INT8;
    assert_int_equal(finetune(MODEL, "int8", &o, &r), GRAM_EARG);
    o.model.dtype = GRAM_F32;
    o.lora_rank = 17;                           /* the keys of a layer are 16 wide */
    assert_int_equal(finetune(MODEL, "wide", &o, &r), GRAM_EARG);
    o.lora_rank = 0;
    o.lora_targets = "q";
    assert_int_equal(finetune(MODEL, "none", &o, &r), GRAM_EARG);
}

static void refused(const char *what, const char *config, const char *why)
{
    gram_model *m = NULL;
    char *path;

    free(check_write("broken/adapter_config.json", config));
    path = check_tmppath("broken");
    if (!gram_open(&m, path, NULL, &check_err))
        fail_msg("%s: it opened", what);
    if (!strstr(check_err.text, why) || m)
        fail_msg("%s: \"%s\"", what, check_err.text);
    free(path);
}

static void broken_directories_are_said(void **state)
{
    const gram_options based = { .base = MODEL };
    char *path = check_tmppath("broken"), *from = check_tmppath("whole/adapter_model.safetensors");
    char *to = check_tmppath("broken/adapter_model.safetensors");
    gram_model *m;

    (void)state;
    assert_int_equal(mkdir(path, 0777), 0);
    refused("no tensors", "{\"peft_type\":\"LORA\",\"r\":3,\"lora_alpha\":6}",
            "adapter_model.safetensors is not there");
    assert_int_equal(link(from, to), 0);
    refused("no base", "{\"peft_type\":\"LORA\",\"r\":3,\"lora_alpha\":6}", "names no base model");
    refused("a base that is not there", "{\"peft_type\":\"LORA\",\"r\":3,\"lora_alpha\":6,"
            "\"base_model_name_or_path\":\"meta/none\"}", "meta/none is not there");
    refused("a base that is an adapter", "{\"peft_type\":\"LORA\",\"r\":3,\"lora_alpha\":6,"
            "\"base_model_name_or_path\":\"../learn\"}", "is an adapter too");
    refused("another shape", "{\"peft_type\":\"LORA\",\"r\":3,\"lora_alpha\":6,\"base_model_name_or_path\":"
            "\"tests/golden/train/llama_gqa\"}", "lora_");
    free(check_write("broken/adapter_config.json", "{\"peft_type\":\"LORA\",\"r\":3,\"lora_alpha\":6}"));
    CHECK_OK(gram_open(&m, path, &based, &check_err));
    gram_close(m);
    assert_int_equal(gram_open(&m, MODEL, &based, &check_err), GRAM_EARG);  /* a base for what is no adapter */
    assert_null(m);
    free(path), free(from), free(to);
}

/* Its tokenizer.json says another token in front of a text than the model's, which says none. */
static void put_in_front(const char *dir, const char *id)
{
    char *command;

    assert_true(asprintf(&command, "sed -i 's/\"post_processor\": null/\"post_processor\": {\"type\": "
                         "\"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"x\"}}], "
                         "\"special_tokens\": {\"x\": {\"ids\": [%s]}}}/' '%s/tokenizer.json'", id, dir) > 0);
    assert_int_equal(system(command), 0);
    free(command);
}

/* What stands in front of "a" is `front` for the tokenizer of the opened model, and for the one that is opened alone;
 * -1: nothing. */
static void check_words(const char *model, const char *base, int32_t front)
{
    const gram_options o = { .base = base, .threads = 1 };
    const gram_tokenizer *lent;
    gram_tokenizer *alone;
    gram_model *m;

    CHECK_OK(gram_open(&m, model, &o, &check_err));
    CHECK_OK(gram_tokenizer_of(&lent, m, &check_err));
    CHECK_OK(gram_tokenizer_open_base(&alone, model, base, &check_err));
    for (int k = 0; k < 2; k++) {
        const gram_tokenizer *t = k ? alone : lent;
        int32_t *id;
        size_t n;
        CHECK_OK(gram_tokenize_prompt(t, "a", 1, &id, &n, &check_err));
        assert_int_equal(n, front < 0 ? 1 : 2);
        assert_int_equal(id[0], front < 0 ? id[n - 1] : front);
        assert_int_equal(gram_tokenizer_bos(t), 1);
        free(id);
    }
    gram_tokenizer_close(alone);
    gram_close(m);
}

static void the_tokenizer_is_the_one_that_is_read_with(void **state)
{
    struct watch w = { 0 };
    gram_train_options o = options(&w);
    gram_train_report r;
    char *adapter = check_tmppath("words"), *base = check_tmppath("words-base"), *gguf = check_tmppath("words.gguf");
    char *command;
    const gram_tokenizer *t;
    gram_tokenizer *alone;
    gram_model *m;

    (void)state;
    o.steps = 1;
    assert_true(asprintf(&command, "cp -r " MODEL " '%s'", base) > 0);
    assert_int_equal(system(command), 0);
    put_in_front(base, "1");
    CHECK_OK(finetune(MODEL, "words", &o, &r));
    CHECK_OK(gram_convert(base, gguf, NULL, NULL, &check_err));
    put_in_front(adapter, "70");
    check_words(adapter, NULL, 70);             /* its own, whatever the base */
    check_words(adapter, base, 70);
    check_words(adapter, gguf, 70);
    free(command);
    assert_true(asprintf(&command, "rm '%s'/tokenizer*", adapter) > 0);
    assert_int_equal(system(command), 0);
    check_words(adapter, NULL, -1);
    check_words(adapter, base, 1);
    check_words(adapter, gguf, 1);
    check_words(gguf, NULL, 1);
    assert_int_equal(gram_tokenizer_open_base(&alone, base, MODEL, &check_err), GRAM_EARG);
    assert_null(alone);

    free(command);
    assert_true(asprintf(&command, "cp " MODEL "/tokenizer.json '%s'", adapter) > 0);
    assert_int_equal(system(command), 0);
    put_in_front(adapter, "1000");
    CHECK_OK(gram_open(&m, adapter, NULL, &check_err));
    assert_int_equal(gram_tokenizer_of(&t, m, &check_err), GRAM_EFORMAT);
    assert_null(t);
    assert_non_null(strstr(check_err.text, "words: \"post_processor\" of tokenizer.json puts token 1000 in front"));
    gram_close(m);
    free(command);
    assert_true(asprintf(&command, "rm '%s'/tokenizer*", base) > 0);
    assert_int_equal(system(command), 0);
    CHECK_OK(gram_open(&m, base, NULL, &check_err));        /* there are still logits */
    assert_int_equal(gram_tokenizer_of(&t, m, &check_err), GRAM_EUNSUPPORTED);
    assert_null(t);
    gram_close(m);
    free(command), free(adapter), free(base), free(gguf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_adapter_learns_opens_and_merges),
        cmocka_unit_test(stopped_and_killed_runs_end_with_the_same_bits),
        cmocka_unit_test(the_best_adapter_is_kept_and_taken),
        cmocka_unit_test(a_merge_that_fails_leaves_no_model),
        cmocka_unit_test(rslora_has_its_own_scale),
        cmocka_unit_test(an_adapter_is_trained_further),
        cmocka_unit_test(its_dropout_goes_with_an_adapter),
        cmocka_unit_test(a_reward_head_goes_with_its_adapter),
        cmocka_unit_test(a_base_in_bf16_is_trained_beside),
        cmocka_unit_test(broken_directories_are_said),
        cmocka_unit_test(the_tokenizer_is_the_one_that_is_read_with),
    };
    gr_buf b = { 0 };

    for (int i = 0; i < 10; i++)
        if (!gr_buf_printf(&b, "{\"prompt\":\"q%d\",\"chosen\":\"%s\",\"rejected\":\"%s\"}\n", i,
                           i % 3 ? "zzzz" : "zzz", i % 2 ? "aaaa" : "aa"))
            return 1;
    free(check_write("pairs.jsonl", b.p));
    pairs = check_tmppath("pairs.jsonl");
    gr_buf_clear(&b);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
