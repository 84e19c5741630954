/* test_nomem.c - the public calls over a tiny model with their n-th allocation failing, for every n: each says that
 * memory ran out, gives back what it took, leaves no output that looks whole, and then works.
 *
 * To try another call, add a function to call[] below. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "check.h"
#include "gram/convert.h"
#include "gram/gram.h"
#include "gram/recipe.h"
#include "nomem_json.h"

/* A tokenizer of single letters that fits the 61 words of tests/golden/models/llama_gqa. \u010a is a newline and
 * \u0120 a space, as byte-level BPE writes them. */
static const char tokenizer[] =
    "{\"added_tokens\":[{\"id\":0,\"content\":\"<|im_start|>\",\"special\":true},{\"id\":1,\"content\":\"<|im_end|>\","
    "\"special\":true}],\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true},"
    "\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"<|im_start|>\":0,\"<|im_end|>\":1,"
    "\"\\u010a\":2,\"\\u0120\":3,\"A\":4,\"B\":5,\"a\":6,\"b\":7,\"e\":8,\"i\":9,\"n\":10,\"r\":11,\"s\":12,\"t\":13,"
    "\"u\":14,\"st\":15},\"merges\":[\"s t\"]}}";
static const char tokenizer_config[] =
    "{\"chat_template\":\"{% for m in messages %}"
    "{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}\","
    "\"eos_token\":\"<|im_end|>\"}";

static char dir[200], in[300], groups[300], out[300], json[300], rows[300], report[300], page[320],
            gguf[300], back[300], recipe[300];
static gram_model *model;
static gram_tokenizer *words;

static const gram_message question = { "user", "is it a test" };
static const gram_options options = { .threads = 1, .judge_prompt = "{input}\n{response_a}\n{response_b}\n" };

static void put(const char *path, const void *p, size_t n)
{
    FILE *f = fopen(path, "wb");

    assert_true(f && fwrite(p, 1, n, f) == n && fclose(f) == 0);
}

static void copy(const char *name)
{
    static char bytes[1 << 17];
    char from[300], to[320];
    FILE *f;

    snprintf(from, sizeof from, "tests/golden/models/llama_gqa/%s", name);
    snprintf(to, sizeof to, "%s/%s", dir, name);
    f = fopen(from, "rb");
    assert_non_null(f);
    put(to, bytes, fread(bytes, 1, sizeof bytes, f));
    fclose(f);
}

static int set_up(void **state)
{
    static const char pairs[] = "{\"id\":\"1\",\"prompt\":\"is it\",\"chosen\":\"it is\",\"rejected\":\"a nest\"}\n"
                               "{\"id\":\"2\",\"prompt\":\"is it\",\"chosen\":\"it is\",\"rejected\":\"sun\"}\n";
    static const char group[] = "{\"prompt\":\"is it\",\"responses\":[\"it "
                                "is\",\"sun\",\"rust\"],\"reference\":\"a\"}\n";
    static const char plan[] = "model: m\ndata: d\nlabels: x,y\nlora-rank: 2\nlora-targets: q\neval-file: [h, i]\n"
                               "judge-prompt: run.yaml       # itself: {input} {response_a} {response_b}\n";
    char path[320];

    (void)state;
    json_set_alloc_funcs(json_take, json_give);
    snprintf(dir, sizeof dir, "%s", check_tmpdir());
    snprintf(in, sizeof in, "%s/in.jsonl", dir);
    snprintf(groups, sizeof groups, "%s/groups.jsonl", dir);
    snprintf(out, sizeof out, "%s/out.jsonl", dir);
    snprintf(json, sizeof json, "%s/out.json", dir);
    snprintf(rows, sizeof rows, "%s/out.rows.jsonl", dir);
    snprintf(report, sizeof report, "%s/report", dir);
    snprintf(page, sizeof page, "%s/index.html", report);
    snprintf(gguf, sizeof gguf, "%s/out.gguf", dir);
    snprintf(back, sizeof back, "%s/back", dir);
    snprintf(recipe, sizeof recipe, "%s/run.yaml", dir);
    put(recipe, plan, strlen(plan));
    copy("config.json");
    copy("model.safetensors");
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    put(path, tokenizer, strlen(tokenizer));
    snprintf(path, sizeof path, "%s/tokenizer_config.json", dir);
    put(path, tokenizer_config, strlen(tokenizer_config));
    put(in, pairs, strlen(pairs));
    put(groups, group, strlen(group));
    CHECK_OK(gram_open(&model, dir, &options, &check_err));
    CHECK_OK(gram_tokenizer_open(&words, dir, &check_err));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    gram_tokenizer_close(words);
    gram_close(model);
    return 0;
}

/* ---- The calls ---------------------------------------------------------------------------------- */

static gram_status inspect(gram_err *err)
{
    gram_info info;

    return gram_inspect(dir, &options, &info, err);
}

static gram_status open_as(gram_dtype dtype, gram_err *err)
{
    gram_options o = options;
    gram_model *m;
    gram_status rc;

    o.dtype = dtype;
    rc = gram_open(&m, dir, &o, err);
    assert_true(!rc == !!m);
    gram_close(m);
    return rc;
}

static gram_status open_f32(gram_err *err)  { return open_as(GRAM_F32, err); }
static gram_status open_bf16(gram_err *err) { return open_as(GRAM_BF16, err); }
static gram_status open_int8(gram_err *err) { return open_as(GRAM_INT8, err); }
static gram_status open_fast(gram_err *err) { return open_as(GRAM_INT8_FAST, err); }

static gram_status open_words(gram_err *err)
{
    gram_tokenizer *t;
    gram_status rc = gram_tokenizer_open(&t, dir, err);

    gram_tokenizer_close(t);
    return rc;
}

static gram_status tokenize(gram_err *err)
{
    char *text = NULL;
    int32_t *id = NULL;
    size_t n, bytes;
    gram_status rc = gram_tokenize(words, "a nest is it", 12, false, &id, &n, err);

    if (!rc)
        rc = gram_detokenize(words, id, n, true, &text, &bytes, err);
    free(text);
    free(id);
    return rc;
}

static gram_status score(gram_err *err)
{
    const gram_pair pair[] = { { { &question, 1 }, "it is", "it is not" }, { { &question, 1 }, "it is", "a nest" } };
    gram_verdict v[2];

    return gram_score(model, pair, 2, v, err);
}

static gram_status show(gram_err *err)
{
    const gram_pair pair = { { &question, 1 }, "it is", "a nest" };
    char *text = NULL;
    int32_t *id = NULL;
    size_t n;
    gram_status rc = gram_show_prompt(model, &pair, true, &text, err);

    if (!rc)
        rc = gram_show_tokens(model, &pair, true, &id, &n, err);
    free(text);
    free(id);
    return rc;
}

static gram_status rank_by(gram_rank_method method, gram_err *err)
{
    static const char *const response[] = { "it is", "a nest", "sun", "rust" };
    gram_ranking r;
    gram_status rc = gram_rank(model, (gram_prompt){ &question, 1 }, response, 4, method, "is it", &r, err);

    if (!rc)
        gram_ranking_clear(&r);
    return rc;
}

static gram_status rank_linear(gram_err *err)     { return rank_by(GRAM_RANK_LINEAR, err); }
static gram_status rank_tournament(gram_err *err) { return rank_by(GRAM_RANK_TOURNAMENT, err); }
static gram_status rank_all_pairs(gram_err *err)  { return rank_by(GRAM_RANK_ALL_PAIRS, err); }
static gram_status rank_reference(gram_err *err)  { return rank_by(GRAM_RANK_REFERENCE, err); }

static gram_status logits(gram_err *err)
{
    static const int32_t token[] = { 4, 5, 6, 7, 8 };
    float z[5 * 61];

    return gram_logits(model, token, 5, z, err);
}

/* A call that writes: an output that is there is a whole one, as long as the first. It may be there after a failure:
 * the directory is synced last, when the file has its name already. */
static gram_status whole_or_absent(gram_status rc, const char *path, off_t *size)
{
    struct stat st;
    bool there = !stat(path, &st);

    if (!*size && there)
        *size = st.st_size;
    if ((!rc && !there) || (there && st.st_size != *size))
        fail_msg("%s: status %d, and %lld bytes are there", path, rc, there ? (long long)st.st_size : 0);
    unlink(path);
    return rc;
}

static gram_status score_file(gram_err *err)
{
    static off_t size;

    return whole_or_absent(gram_score_file(model, in, out, NULL, NULL, err), out, &size);
}

static gram_status rank_file(gram_err *err)
{
    static off_t size;

    return whole_or_absent(gram_rank_file(model, groups, out, GRAM_RANK_ALL_PAIRS, NULL, NULL, err), out, &size);
}

static gram_status logits_file(gram_err *err)
{
    static off_t size;

    return whole_or_absent(gram_logits_file(model, (const int32_t[]){ 4, 5 }, 2, out, err), out, &size);
}

static gram_status read_rows(gram_err *err)
{
    const gram_row *row = NULL;
    gram_rows *r;
    gram_status rc = gram_rows_open(&r, in, err);

    if (rc)
        return rc;
    do
        rc = gram_rows_next(r, &row, err);
    while (!rc && row);
    gram_rows_close(r);
    return rc;
}

static gram_status evaluate(gram_err *err)
{
    const char *const file = in;
    gram_eval_options o = { .json = json, .report_dir = report };
    gram_eval_summary sum;
    char *table = NULL;
    gram_status rc = gram_eval(model, &file, 1, &o, &sum, &table, err);

    free(table);
    unlink(json);               /* where a name exists, realpath() allocates and this test does not see it */
    unlink(rows);
    unlink(page);
    return rc;
}

static gram_status to_gguf(gram_err *err)
{
    unlink(gguf);
    return gram_convert(dir, gguf, NULL, NULL, err);
}

/* What a failed call leaves in the directory is no model, and goes before the next. */
static gram_status to_directory(gram_err *err)
{
    static const char *const part[] = { "config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors" };
    char path[400];

    if (access(gguf, F_OK))
        CHECK_OK(gram_convert(dir, gguf, NULL, NULL, &check_err));
    for (size_t i = 0; i < GR_COUNT(part); i++) {
        snprintf(path, sizeof path, "%s/%s", back, part[i]);
        unlink(path);
    }
    return gram_convert(gguf, back, NULL, NULL, err);
}

static gram_status read_recipe(gram_err *err)
{
    const char *const set[] = { "lr=1", "model=x" };
    gram_recipe *r;
    gram_status rc = gram_recipe_open(&r, recipe, set, GR_COUNT(set), err);

    gram_recipe_close(r);
    return rc;
}

static const struct { const char *name; gram_status (*fn)(gram_err *err); } call[] = {
    { "inspect", inspect }, { "open f32", open_f32 }, { "open bf16", open_bf16 }, { "open int8", open_int8 },
    { "open int8-fast", open_fast },
    { "tokenizer", open_words }, { "tokenize", tokenize }, { "score", score }, { "show", show },
    { "rank linear", rank_linear }, { "rank tournament", rank_tournament }, { "rank all-pairs", rank_all_pairs },
    { "rank reference", rank_reference }, { "logits", logits }, { "score file", score_file },
    { "rank file", rank_file }, { "logits file", logits_file }, { "rows", read_rows }, { "eval", evaluate },
    { "to a GGUF", to_gguf }, { "to a directory", to_directory }, { "recipe", read_recipe },
};

static size_t faults;

/* The call with its allocation n failing. False: it made fewer than that. All faults are told of before the test
 * fails. */
static bool fail_at(size_t i, long n)
{
    long before = nomem_live;
    gram_err err = { 0 };
    gram_status rc;
    bool failed;

    nomem_left = n;
    rc = call[i].fn(&err);
    failed = NOMEM_COUNTED && nomem_left < 0;
    nomem_left = -1;
    if (rc || failed)                               /* a prefix cache declines, and all is well */
        CHECK_OK(call[i].fn(&check_err));           /* works again; and what the model keeps is as it was */
    if (nomem_live != before) {
        faults++;
        print_error("%s, allocation %ld: %ld not given back\n", call[i].name, n, nomem_live - before);
    }
    if (rc && (rc != GRAM_ENOMEM || !strstr(err.text, "out of memory"))) {
        faults++;
        print_error("%s, allocation %ld: status %d, \"%s\"\n", call[i].name, n, rc, err.text);
    }
    return failed;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    for (size_t i = 0; i < GR_COUNT(call); i++) {
        long n = 0;
        CHECK_OK(call[i].fn(&check_err));           /* what libraries keep for themselves is taken here */
        while (fail_at(i, n))
            n++;
        print_message("%-16s %ld allocations\n", call[i].name, n);
    }
    assert_int_equal(faults, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_allocation_may_fail) };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
