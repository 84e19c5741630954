/* test_train_nomem.c - training with its n-th allocation failing, for every n: it says that memory ran out, gives back
 * what it took, and leaves no model that looks whole. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "check.h"
#include "file/io.h"
#include "gram/train.h"
#include "nomem_json.h"

static char pairs[300], groups[300], out[300], folder[320], checkpoint[340], spare[330];

/* What a run writes; a file that is there already is looked up with realpath(), whose memory is the C library's. */
static void clean(void)
{
    static const char *const name[] = { "model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json",
                                        "best/model.safetensors", "best/config.json", "best/tokenizer.json",
                                        "best/tokenizer_config.json", "metrics.jsonl", "held-out.jsonl",
                                        "report.html", "checkpoints/step-000001.safetensors" };
    char path[330];

    for (size_t i = 0; i < GR_COUNT(name); i++) {
        snprintf(path, sizeof path, "%s/%s", out, name[i]);
        unlink(path);
    }
}

static int stop_once(void *arg, const gram_train_step *s)
{
    (void)s;
    return (*(int *)arg)-- > 0;
}

static gram_status run(gram_stage stage, bool stop)
{
    int stops = stop;
    const char *const more[] = { pairs, NULL };
    gram_train_options o;

    gram_train_options_init(&o, stage);
    o.model.threads = 1;
    o.model.judge_prompt = "{input}\n{response_a}\n{response_b}\n";
    o.steps = 2;
    o.batch_rows = 1;
    o.resume = true;
    o.eval_file = stage == GRAM_STAGE_FINETUNE ? pairs : groups;
    o.more_eval = stage == GRAM_STAGE_FINETUNE ? more : NULL;
    o.eval_every = 1;
    o.best = true;
    o.progress = stop_once;
    o.arg = &stops;
    return (stage == GRAM_STAGE_FINETUNE ? gram_finetune : gram_pretrain)
        ("tests/golden/train/judge", stage == GRAM_STAGE_FINETUNE ? pairs : groups, out, &o, NULL, &check_err);
}

/* stop: the run begins, and is stopped after a step. Otherwise it goes on from the checkpoint `spare` to the end. */
static void fail_each(gram_stage stage, bool stop)
{
    gram_status end = stop ? GRAM_ESTOPPED : GRAM_OK;
    bool done = false;
    long n = 0;

    for (; !done; n++) {
        long before;
        gram_status rc;
        clean();
        if (!stop) {
            mkdir(folder, 0777);
            assert_int_equal(link(spare, checkpoint), 0);
        }
        before = nomem_live;
        nomem_left = n;
        rc = run(stage, stop);
        done = NOMEM_COUNTED ? nomem_left >= 0 : true;
        nomem_left = -1;
        if (nomem_live != before)
            fail_msg("allocation %ld: %ld blocks leaked", n, nomem_live - before);
        if (rc != (done ? end : GRAM_ENOMEM) && !(stop && rc == end))      /* a stop is one without its report too */
            fail_msg("allocation %ld: status %d: %s", n, (int)rc, check_err.text);
        if (!done && !stop && access(checkpoint, F_OK))
            fail_msg("allocation %ld: failed, and the checkpoint is gone", n);
    }
    assert_true(!NOMEM_COUNTED || n > 300);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    for (int s = 0; s < 2; s++) {
        gram_stage stage = s ? GRAM_STAGE_FINETUNE : GRAM_STAGE_PRETRAIN;
        clean();
        CHECK_OK(run(stage, false));                /* what libraries set up once is there before anything is counted */
        fail_each(stage, true);
        unlink(spare);
        assert_int_equal(rename(checkpoint, spare), 0);
        fail_each(stage, false);
    }
}

static void put(char *path, const char *dir, const char *name, const char *text)
{
    FILE *f;

    snprintf(path, 300, "%s/%s", dir, name);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int set_up(void **state)
{
    const char *dir = check_tmpdir();

    (void)state;
    json_set_alloc_funcs(json_take, json_give);
    put(pairs, dir, "pairs.jsonl", "{\"prompt\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\"}\n");
    put(groups, dir, "groups.jsonl", "{\"prompt\":\"q\",\"responses\":[\"a\",\"b\",\"c\"]}\n");
    snprintf(out, sizeof out, "%s/out", dir);
    snprintf(spare, sizeof spare, "%s/spare", dir);
    snprintf(folder, sizeof folder, "%s/checkpoints", out);
    snprintf(checkpoint, sizeof checkpoint, "%s/checkpoints/step-000001.safetensors", out);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_allocation_may_fail) };

    return cmocka_run_group_tests(tests, set_up, NULL);
}
