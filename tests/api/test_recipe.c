/* test_recipe.c - recipes: those that are shipped, every kind of value, and what is wrong with its line. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "check.h"
#include "gram/recipe.h"

static char *path;

static void write_recipe(const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

/* Each shipped recipe opens, and says what its name says; the paths are left to whoever runs it. */
static void shipped_recipes_open(void **state)
{
    static const struct { const char *file; gram_stage stage; gram_loss loss; double lr, smoothing; size_t rows, rank,
                          epochs, tokens; double warmup, clip; gram_schedule schedule; const char *targets; } want[] = {
        { "gram-stage1", GRAM_STAGE_PRETRAIN, GRAM_LOSS_GRAM, 1e-5, 0.05, 256, 0, 1, 2048, 0.1, 1, 0, NULL },
        { "gram-stage2", GRAM_STAGE_FINETUNE, GRAM_LOSS_GRAM, 2e-5, 0.05, 128, 0, 2, 2048, 0.1, 1, 0, NULL },
        { "generative", GRAM_STAGE_FINETUNE, GRAM_LOSS_GENERATIVE, 2e-5, 0, 128, 0, 2, 2048, 0.1, 1, 0, NULL },
        { "bt", GRAM_STAGE_FINETUNE, GRAM_LOSS_BT, 5e-6, 0, 256, 0, 1, 3000, 0.03, 5, 0, NULL },
        { "bt-margin", GRAM_STAGE_FINETUNE, GRAM_LOSS_BT_MARGIN, 1e-5, 0, 24, 32, 2, 1024, 0.03, 5, 0, "q,k,v,o" },
        { "bt-smooth", GRAM_STAGE_FINETUNE, GRAM_LOSS_BT_SMOOTH, 1e-5, 0.1, 24, 32, 2, 1024, 0.03, 5, 0, "q,k,v,o" },
        { "bt-posreg", GRAM_STAGE_FINETUNE, GRAM_LOSS_BT_POSREG, 1e-5, 0, 24, 32, 2, 1024, 0.03, 5, 0, "q,k,v,o" },
        { "grm-full", GRAM_STAGE_FINETUNE, GRAM_LOSS_SFT_REG, 5e-6, 0, 256, 0, 1, 3000, 0.03, 5, 0, NULL },
        { "grm-lora", GRAM_STAGE_FINETUNE, GRAM_LOSS_SFT_REG, 1e-5, 0, 24, 32, 2, 1024, 0.03, 5, 0, "q,k,v,o" },
        { "bt-freeze", GRAM_STAGE_FINETUNE, GRAM_LOSS_BT, 1e-5, 0, 64, 0, 2, 1024, 0.03, 5, 0, NULL },
        { "purm", GRAM_STAGE_FINETUNE, GRAM_LOSS_PURM, 1e-6, 0, 32, 0, 1, 2048, 0.1, 1, GRAM_SCHEDULE_LINEAR, NULL },
        { "trl-rloo", GRAM_STAGE_ALIGN, GRAM_LOSS_GRAM, 1e-6, 0, 16, 0, 3, 0, 0, 1, GRAM_SCHEDULE_LINEAR, NULL },
        { "trl-grpo", GRAM_STAGE_ALIGN, GRAM_LOSS_GRAM, 1e-6, 0, 16, 0, 3, 0, 0, 1, GRAM_SCHEDULE_LINEAR, NULL },
        { "gram-ppo", GRAM_STAGE_ALIGN, GRAM_LOSS_GRAM, 1e-5, 0, 16, 8, 1, 0, 0, 1, GRAM_SCHEDULE_COSINE, NULL },
        { "judge-scalar", GRAM_STAGE_FINETUNE, GRAM_LOSS_BT, 4e-4, 0, 16, 16, 1, 0, 0.05, 1, GRAM_SCHEDULE_COSINE,
         NULL },
        { "judge-generative", GRAM_STAGE_FINETUNE, GRAM_LOSS_GRAM, 4e-4, 0.05, 16, 16, 1, 0, 0.05, 1,
          GRAM_SCHEDULE_COSINE, NULL },
        { "raft", GRAM_STAGE_ALIGN, GRAM_LOSS_GRAM, 2e-5, 0, 64, 0, 1, 0, 0, 1, GRAM_SCHEDULE_LINEAR, NULL },
        { "raft-plus", GRAM_STAGE_ALIGN, GRAM_LOSS_GRAM, 1e-6, 0, 256, 0, 1, 0, 0, 1, GRAM_SCHEDULE_CONSTANT, NULL },
    };
    size_t files = 0;
    DIR *d = opendir("recipes");

    (void)state;
    for (struct dirent *e = readdir(d); e; e = readdir(d))
        files += strstr(e->d_name, ".yaml") && strcmp(e->d_name, "selftrain.yaml");     /* test_selftrain.c opens it */
    closedir(d);
    assert_int_equal(files, GR_COUNT(want));        /* none is left out here */
    for (size_t i = 0; i < GR_COUNT(want); i++) {
        char file[128];
        gram_recipe *r;
        const gram_run *run;

        snprintf(file, sizeof file, "recipes/%s.yaml", want[i].file);
        CHECK_OK(gram_recipe_open(&r, file, NULL, 0, &check_err));
        run = gram_recipe_run(r);
        assert_true(run->stage == want[i].stage && run->options.loss == want[i].loss);
        assert_true(run->options.lr == want[i].lr && run->options.batch_rows == want[i].rows);
        assert_true(run->options.lora_rank == want[i].rank && run->options.epochs == want[i].epochs);
        assert_true(run->options.model.max_tokens == want[i].tokens && run->options.schedule == want[i].schedule);
        assert_true(run->options.warmup == want[i].warmup && run->options.clip == want[i].clip);
        assert_true(run->options.lora_alpha == 2.0 * (double)want[i].rank);
        assert_true(run->options.lora_dropout == (want[i].rank && want[i].stage != GRAM_STAGE_ALIGN && want[i].tokens
                                                  ? 0.05 : -1));
        assert_true(run->options.freeze == !strcmp(want[i].file, "bt-freeze"));
        assert_true((run->options.head == GRAM_HEAD_MLP) == (want[i].loss == GRAM_LOSS_SFT_REG || run->options.freeze));
        assert_int_equal(run->options.head_width, 1024);
        if (want[i].targets)
            assert_string_equal(run->options.lora_targets, want[i].targets);
        if (want[i].smoothing > 0)
            assert_true(run->options.smoothing == want[i].smoothing);
        assert_null(run->model);
        gram_recipe_close(r);
    }
}

static void every_kind_of_value_is_read(void **state)
{
    const char *const set[] = { "lr=3e-4", "out=here", "seed=18446744073709551615", "lr=2e-4" };
    char beside[512];
    const gram_run *run;
    gram_recipe *r;

    (void)state;
    write_recipe("# a run\nloss: bt-smooth   # its smoothing is 0.1\nmodel: ../m\ndata: /abs/pairs.jsonl\n"
                 "lr: 1e-5\nclip: 0\nschedule: linear\nbatch-rows: 7\nbest: true\nties: drop\nlora-rank: ~\nkeep:\n"
                 "truncate: drop\ndtype: bf16\nthreads: 3\n"
                 "eval-file: held.jsonl\n");
    CHECK_OK(gram_recipe_open(&r, path, set, GR_COUNT(set), &check_err));
    run = gram_recipe_run(r);
    snprintf(beside, sizeof beside, "%.*s../m", (int)(strrchr(path, '/') - path) + 1, path);
    assert_string_equal(run->model, beside);
    assert_string_equal(run->data, "/abs/pairs.jsonl");
    assert_string_equal(run->out, "here");
    assert_true(run->options.loss == GRAM_LOSS_BT_SMOOTH && run->options.smoothing == 0.1);
    assert_true(run->options.lr == 2e-4 && run->options.clip == 0 && run->options.seed == UINT64_MAX);
    assert_true(run->options.schedule == GRAM_SCHEDULE_LINEAR && run->options.batch_rows == 7);
    assert_true(run->options.best && run->options.ties == GRAM_TIES_DROP && run->options.lora_rank == 0);
    assert_true(run->options.keep == 2 && run->options.epochs == 2);         /* as where they are not there */
    assert_null(run->options.lora_targets);
    assert_true(run->options.model.truncate == GRAM_TRUNCATE_DROP && run->options.model.dtype == GRAM_BF16);
    assert_true(run->options.model.threads == 3 && strstr(run->options.eval_file, "/held.jsonl"));
    gram_recipe_close(r);

    write_recipe("labels: \"Yes,No\"\neval-file: [one.jsonl, /two.jsonl, 'three.jsonl']\n"
                 "data:\n# all of them\n  - a\n  - b\n");
    CHECK_OK(gram_recipe_open(&r, path, NULL, 0, &check_err));
    run = gram_recipe_run(r);
    assert_string_equal(run->options.model.label_a, "Yes");
    assert_string_equal(run->options.model.label_b, "No");
    assert_true(strstr(run->options.eval_file, "/one.jsonl") && strstr(run->options.more_eval[1], "/three.jsonl"));
    assert_string_equal(run->options.more_eval[0], "/two.jsonl");
    assert_null(run->options.more_eval[2]);
    assert_true(strstr(run->data, "/a") && strstr(run->options.more_data[0], "/b") && !run->options.more_data[1]);
    gram_recipe_close(r);

    write_recipe("stage: pretrain");
    CHECK_OK(gram_recipe_open(&r, path, NULL, 0, &check_err));
    run = gram_recipe_run(r);
    assert_true(run->stage == GRAM_STAGE_PRETRAIN && run->options.lr == 1e-5 && run->options.batch_rows == 32);
    gram_recipe_close(r);
}

static void what_is_wrong_has_its_line(void **state)
{
    static const struct { const char *text, *set, *say[3]; } bad[] = {
        { "lr: 1\n# lrr: 2\n\nlrr: 3\n", NULL, { ":4: there is no key \"lrr\"", "did you mean \"lr\"" } },
        { "{lr: 1, zzzzzz: 3}", NULL, { ":1: there is no key \"zzzzzz\"" } },
        { "model: x\nlr: fast\n", NULL, { ":2: key \"lr\"", "wanted a number", "found \"fast\"" } },
        { "\n\nlr: -1\n", NULL, { ":3:", "a number from 0 to 1", "\"-1\"" } },
        { "lr: nan\n", NULL, { ":1:", "\"nan\"" } },
        { "epochs: 1.5\n", NULL, { ":1: key \"epochs\"", "a whole number", "\"1.5\"" } },
        { "best: yes\n", NULL, { ":1: key \"best\"", "true or false", "\"yes\"" } },
        { "a: 1\n", NULL, { ":1: there is no key \"a\"" } },
        { "model: x\nloss: btt\n", NULL, { ":2: key \"loss\"", "one of gram|generative|bt|", "\"btt\"" } },
        { "labels: A\n", NULL, { ":1: key \"labels\"", "comma" } },
        { "lr: 1\nlr: 2\n", NULL, { "\"lr\" is there twice" } },
        { "lr: [1, 2]\n", NULL, { "line 1", "single value" } },
        { "- lr\n", NULL, { "a key with a value" } },
        { "lr: 'open\n", NULL, { "end of stream" } },
        { "lr: &x 1\nclip: *x\n", NULL, { "alias" } },
        { "lr: 1\n", "lr", { "set lr: wanted KEY=VALUE" } },
        { "lr: 1\n", "lrr=2", { "set lrr=2: there is no key", "\"lr\"" } },
        { "lr: 1\n", "lr=x", { "set lr=x: key \"lr\"", "\"x\"" } },
        { "# loss\nloss: bt\nlabels: A,B\n", NULL, { ":3: key \"labels\"", "of the losses gram, generative, " } },
        { "lr: 1\nloss: ''\n", NULL, { ":2: key \"loss\"", "found an empty one" } },
        { "eval-file: [ \"\", b]\n", NULL, { ":1: key \"eval-file\"", "found an empty one" } },
        { "data:\n- a\n- ~\n", NULL, { ":1: key \"data\"", "found an empty one" } },
        { "lr: 1\n", "lr=", { "set lr=: wanted KEY=VALUE" } },
        { "%YAML 1.1\n# one\n---\nlr: 1\n---\nclip: 2\n", NULL, { ":5: a second document" } },
        { "loss: DPO\n", NULL, { "one of gram|", "|orpo|kto, found" } },
        { "stage: pretrain\nbest: true\n", NULL, { ":2: key \"best\"", "`eval-file`" } },
        { "eval-file: x\nstage: pretrain\nposreg: 1\n", NULL, { ":3: key \"posreg\"", "of the stage finetune" } },
        { "lr: 1\n", "pairs=2", { "set pairs=2: key \"pairs\"", "of the stage pretrain" } },
        { "data: [a, [b]]\n", NULL, { "line 1" } },
        { "judge-prompt: not-there.txt\n", NULL, { "not-there.txt" } },
    };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(bad); i++) {
        gram_recipe *r;
        write_recipe(bad[i].text);
        if (!gram_recipe_open(&r, path, &bad[i].set, bad[i].set != NULL, &check_err))
            fail_msg("recipe %zu was taken", i);
        assert_null(r);
        for (size_t k = 0; k < 3 && bad[i].say[k]; k++)
            if (!strstr(check_err.text, bad[i].say[k]))
                fail_msg("recipe %zu: \"%s\" does not say \"%s\"", i, check_err.text, bad[i].say[k]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shipped_recipes_open),
        cmocka_unit_test(every_kind_of_value_is_read),
        cmocka_unit_test(what_is_wrong_has_its_line),
    };

    assert_true(asprintf(&path, "%s/run.yaml", check_tmpdir()) > 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
