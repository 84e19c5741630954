/* test_lora_nomem.c - adapters trained, opened and merged with the n-th allocation failing, for every n: it says that
 * memory ran out, and gives back what it took. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "check.h"
#include "file/io.h"
#include "gram/train.h"
#include "nomem_json.h"

#define ADAPTER "tests/golden/train/gemma3_text/lora"
static char pairs[300], out[300];

/* A file that is there already is looked up with realpath(), whose memory is the C library's. */
static void clean(void)
{
    static const char *const name[] = { "adapter_model.safetensors", "adapter_config.json", "tokenizer.json",
                                        "tokenizer_config.json", "metrics.jsonl", "held-out.jsonl", "report.html",
                                        "config.json", "model.safetensors" };
    char path[330];

    for (size_t i = 0; i < GR_COUNT(name); i++) {
        snprintf(path, sizeof path, "%s/%s", out, name[i]);
        unlink(path);
    }
}

static gram_status train(void)
{
    gram_train_options o;

    gram_train_options_init(&o, GRAM_STAGE_FINETUNE);
    o.model.threads = 1;
    o.model.judge_prompt = "{input}\n{response_a}\n{response_b}\n";
    o.lora_rank = 2;
    o.lora_targets = "q,down";
    o.steps = 1;
    o.batch_rows = 1;
    return gram_finetune("tests/golden/train/judge", pairs, out, &o, NULL, &check_err);
}

static gram_status open_one(void)
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

static void fail_each(gram_status (*one)(void))
{
    bool done = false;
    long n = 0;

    clean();
    CHECK_OK(one());                                /* what libraries set up once is there before anything is counted */
    for (; !done; n++) {
        long before;
        gram_status rc;
        clean();
        before = nomem_live;
        nomem_left = n;
        rc = one();
        done = NOMEM_COUNTED ? nomem_left >= 0 : true;
        nomem_left = -1;
        if (nomem_live != before)
            fail_msg("allocation %ld: %ld blocks leaked", n, nomem_live - before);
        if (rc != (done ? GRAM_OK : GRAM_ENOMEM))
            fail_msg("allocation %ld: status %d: %s", n, (int)rc, check_err.text);
    }
    assert_true(!NOMEM_COUNTED || n > 100);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    fail_each(train);
    fail_each(open_one);
    fail_each(merge);
}

static int set_up(void **state)
{
    const char *dir = check_tmpdir();
    FILE *f;

    (void)state;
    json_set_alloc_funcs(json_take, json_give);
    snprintf(pairs, sizeof pairs, "%s/pairs.jsonl", dir);
    snprintf(out, sizeof out, "%s/out", dir);
    f = fopen(pairs, "w");
    if (!f)
        return 1;
    fputs("{\"prompt\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\"}\n", f);
    return fclose(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_allocation_may_fail) };

    return cmocka_run_group_tests(tests, set_up, NULL);
}
