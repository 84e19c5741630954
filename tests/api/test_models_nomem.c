/* test_models_nomem.c - reward models, heads of other forms and adapters with the n-th allocation failing, for every n:
 * opened, asked, ranked, scored from a file to a file, evaluated, merged; and a step of the loss that asks for most,
 * and of adapters. Each says that memory ran out, and gives back what it took. */
#include <dirent.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "check.h"
#include "gram/train.h"
#include "nomem_json.h"

#define ADAPTER "tests/golden/train/gemma3_text/lora"
static char pairs[300], groups[300], scores[300], out[300];

/* A file that is there already is looked up with realpath(), whose memory is the C library's. */
static void clean(void)
{
    static const char *const name[] = { "adapter_model.safetensors", "adapter_config.json", "model.safetensors",
                                        "config.json", "tokenizer.json", "tokenizer_config.json", "metrics.jsonl",
                                        "held-out.jsonl", "report.html" };
    char path[330];
    DIR *d;

    for (size_t i = 0; i < GR_COUNT(name); i++) {
        snprintf(path, sizeof path, "%s/%s", out, name[i]);
        unlink(path);
    }
    unlink(scores);
    snprintf(path, sizeof path, "%s/checkpoints", out);     /* of a run that failed after its first was written */
    d = opendir(path);
    for (const struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d))
        unlinkat(dirfd(d), e->d_name, 0);
    if (d)
        closedir(d);
}

static gram_status ask(void)
{
    const gram_message q = { "user", "Why?" };
    const char *const answer[] = { "So.", "Because." };
    const gram_options o = { .threads = 1, .lambda = 30 };
    gram_model *m;
    gram_ranking r;
    gram_eval_summary s;
    gram_reward reward[2];
    char *table = NULL;
    const char *file = pairs;
    gram_status rc = gram_open(&m, "tests/golden/rewards/purm", &o, &check_err);

    if (!rc)
        rc = gram_rewards(m, (gram_prompt){ &q, 1 }, answer, 2, reward, &check_err);
    if (!rc)
        rc = gram_rank(m, (gram_prompt){ &q, 1 }, answer, 2, GRAM_RANK_REFERENCE, "x", &r, &check_err);
    if (!rc)
        gram_ranking_clear(&r);
    if (!rc)
        rc = gram_score_file(m, pairs, scores, NULL, NULL, &check_err);
    if (!rc)
        rc = gram_eval(m, &file, 1, NULL, &s, &table, &check_err);
    free(table);
    gram_close(m);
    return rc;
}

static gram_status learn(void)
{
    gram_train_options o;

    gram_train_options_init(&o, GRAM_STAGE_FINETUNE);
    gram_train_options_set_loss(&o, GRAM_LOSS_SFT_REG);
    o.model.threads = 1;
    o.steps = 1;
    o.save_every = 0;
    return gram_finetune("tests/golden/train/judge", pairs, out, &o, NULL, &check_err);
}

static gram_status learn_adapter(void)
{
    gram_train_options o;

    gram_train_options_init(&o, GRAM_STAGE_FINETUNE);
    o.model.threads = 1;
    o.model.judge_prompt = "{input}\n{response_a}\n{response_b}\n";
    o.lora_rank = 2;
    o.lora_targets = "q,down";
    o.lora_dropout = 0.1;
    o.steps = 1;
    o.batch_rows = 1;
    return gram_finetune("tests/golden/train/judge", pairs, out, &o, NULL, &check_err);
}

/* A head with a hidden layer, beside adapters or alone. */
static gram_status learn_head(size_t rank)
{
    gram_train_options o;

    gram_train_options_init(&o, GRAM_STAGE_FINETUNE);
    gram_train_options_set_loss(&o, GRAM_LOSS_BT);
    o.model.threads = 1;
    o.head = GRAM_HEAD_MLP;
    o.head_width = 9;
    o.lora_rank = rank;
    o.lora_targets = rank ? "v" : NULL;
    o.freeze = !rank;
    o.steps = 1;
    o.batch_rows = 1;
    return gram_finetune("tests/golden/train/judge", pairs, out, &o, NULL, &check_err);
}

static gram_status learn_head_alone(void)
{
    return learn_head(0);
}

static gram_status learn_head_beside(void)
{
    return learn_head(1);
}

static gram_status open_head(void)
{
    gram_model *m;
    gram_status rc = gram_open(&m, "tests/golden/rewards/mlp", NULL, &check_err);

    gram_close(m);
    return rc;
}

/* A head whose outputs a gate weighs, one whose outputs a person weighs, and files that have something to say. */
static gram_status ask_other_heads(void)
{
    static const struct { const char *path, *weights; } head[] = {
        { "tests/golden/heads/armo", NULL }, { "tests/golden/heads/weighed", "1,2,3" },
        { "tests/golden/heads/llamafactory-lora", NULL }, { "tests/golden/heads/openrlhf", NULL },
        { "tests/golden/heads/cls-tanh.gguf", NULL },
    };
    const gram_message q = { .role = "user", .content = "Why?" };
    const char *const answer[] = { "So.", "Because." };
    gram_reward reward[2];
    gram_status rc = GRAM_OK;

    for (size_t i = 0; i < GR_COUNT(head) && !rc; i++) {
        const gram_options o = { .threads = 1, .reward_weights = head[i].weights };
        gram_model *m;
        rc = gram_open(&m, head[i].path, &o, &check_err);
        if (!rc)
            rc = gram_rewards(m, (gram_prompt){ .turn = &q, .n = 1 }, answer, 2, reward, &check_err);
        gram_close(m);
    }
    return rc;
}

static gram_status open_adapter(void)
{
    const gram_options o = { .threads = 1, .dtype = GRAM_BF16 };
    gram_model *m;
    gram_status rc = gram_open(&m, ADAPTER, &o, &check_err);

    gram_close(m);
    return rc;
}

static gram_status merge(void)
{
    return gram_merge(ADAPTER, NULL, out, GRAM_F32, &check_err);
}

static void fail_each(gram_status (*run)(void))
{
    bool done = false;
    long n = 0;

    clean();
    CHECK_OK(run());                        /* what libraries set up once is there before anything is counted */
    for (; !done; n++) {
        long before;
        gram_status rc;
        clean();
        before = nomem_live;
        nomem_left = n;
        rc = run();
        done = NOMEM_COUNTED ? nomem_left >= 0 : true;
        nomem_left = -1;
        if (nomem_live != before)
            fail_msg("allocation %ld: %ld blocks leaked", n, nomem_live - before);
        if (rc != (done ? GRAM_OK : GRAM_ENOMEM) &&        /* a prefix cache declines, and all is well */
            (rc || (run != ask && run != ask_other_heads)))
            fail_msg("allocation %ld: status %d: %s", n, (int)rc, rc ? check_err.text : "");
    }
    assert_true(!NOMEM_COUNTED || n > 100);
}

static void every_allocation_may_fail(void **state)
{
    static gram_status (*const run[])(void) = { ask, learn, learn_adapter, learn_head_alone, learn_head_beside,
                                                open_head, ask_other_heads, open_adapter, merge };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(run); i++)
        fail_each(run[i]);
}

static long json_left = -1;             /* allocations of jansson's until one fails; below 0: none does */

static void *json_fails(size_t n)
{
    return json_left >= 0 && json_left-- == 0 ? NULL : json_take(n);
}

static void holds_all(const char *path, const char *const *key, size_t n)
{
    json_t *o = json_load_file(path, 0, NULL);

    for (size_t i = 0; i < n; i++)
        if (json_array_size(json_object_get(o, key[i])) != 2)
            fail_msg("%s: key %s has %zu numbers", path, key[i], json_array_size(json_object_get(o, key[i])));
    json_decref(o);
}

/* A line is written whole or not at all, whichever of jansson's allocations fails. */
static void lines_lack_nothing(void **state)
{
    static const char *const scored[] = { "reward", "sigma", "overlap", "penalised" };
    static const char *const ranked[] = { "ranking", "scores", "rewards", "sigma", "overlap" };
    gram_model *m;
    size_t lost = 0, n = 0;
    bool done = false;

    (void)state;
    CHECK_OK(gram_open(&m, "tests/golden/rewards/purm", NULL, &check_err));
    for (; !done; n++) {
        bool good;
        unlink(scores);
        json_left = (long)n;
        json_set_alloc_funcs(json_fails, json_give);
        good = !(n % 2 ? gram_rank_file(m, groups, scores, GRAM_RANK_ALL_PAIRS, NULL, NULL, &check_err)
                       : gram_score_file(m, pairs, scores, NULL, NULL, &check_err));
        done = json_left >= 0 && n % 2;
        json_left = -1;
        lost += !good;
        if (good)
            holds_all(scores, n % 2 ? ranked : scored, n % 2 ? GR_COUNT(ranked) : GR_COUNT(scored));
    }
    json_set_alloc_funcs(json_take, json_give);
    assert_true(lost > 40 && lost < n);
    gram_close(m);
}

static int set_up(void **state)
{
    const char *dir = check_tmpdir();
    FILE *f;

    (void)state;
    json_set_alloc_funcs(json_take, json_give);
    snprintf(pairs, sizeof pairs, "%s/pairs.jsonl", dir);
    snprintf(scores, sizeof scores, "%s/scores.jsonl", dir);
    snprintf(out, sizeof out, "%s/out", dir);
    f = fopen(pairs, "w");
    assert_non_null(f);
    fputs("{\"prompt\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\"}\n", f);
    fclose(f);
    snprintf(groups, sizeof groups, "%s/groups.jsonl", dir);
    f = fopen(groups, "w");
    assert_non_null(f);
    fputs("{\"prompt\":\"q\",\"responses\":[\"a\",\"b\"]}\n", f);
    fclose(f);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(lines_lack_nothing),
    };

    return cmocka_run_group_tests(tests, set_up, NULL);
}
