/* test_killed.c - SIGKILL at some step, then resume: the bits of a run that nobody disturbed, for each loss, over every
 * weight and with adapters. Over processes test_dist.c does the same; moments between steps are test_train.c's. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "check.h"
#include "file/io.h"
#include "gram/train.h"
#include "train/metrics_file.h"

#define MODEL "tests/golden/train/judge"
enum { STEPS = 10, SAVE_EVERY = 3 };

/* Rows with all that a row may say: each loss takes what it uses. */
static void write_rows(void)
{
    gr_buf pairs = { 0 }, groups = { 0 };

    for (int i = 0; i < 10; i++) {
        assert_true(gr_buf_printf(&pairs, "{\"prompt\":\"q%d\",\"chosen\":\"%s\",\"rejected\":\"%s\",\"weight\":%g,"
                                  "\"margin\":%d%s}\n", i, i % 3 ? "zzzz" : "zzz", i % 2 ? "aaaa" : "aa",
                                  1 + i / 8.0, i % 3, i == 4 ? ",\"tie\":true" : i == 5 ? ",\"soft\":0.8" : ""));
        assert_true(gr_buf_printf(&groups, "{\"prompt\":\"q%d\",\"responses\":[\"one\",\"two\",\"two %d\"]}\n", i, i));
    }
    free(check_write("pairs.jsonl", pairs.p));
    free(check_write("groups.jsonl", groups.p));
    gr_buf_clear(&pairs);
    gr_buf_clear(&groups);
}

struct kind { gram_stage stage; gram_loss loss; size_t rank; gram_dtype dtype; uint64_t kill_at; bool freeze; };

static int on_step(void *arg, const gram_train_step *s)
{
    const uint64_t *kill_at = arg;

    return s->step == *kill_at ? raise(SIGKILL) : 0;
}

static gram_status train(const struct kind *k, const char *out, int threads, bool resume, uint64_t kill_at,
                         gram_train_report *r)
{
    char *to = check_tmppath(out), *held = check_tmppath("pairs.jsonl"), *groups = check_tmppath("groups.jsonl");
    gram_train_options o;
    gram_status rc;

    gram_train_options_init(&o, k->stage);
    gram_train_options_set_loss(&o, k->loss);
    o.lr = k->rank ? 2e-2 : 3e-3;
    o.weight_decay = 0.01;
    o.batch_rows = 3;
    o.steps = STEPS;
    o.save_every = SAVE_EVERY;
    o.resume = resume;
    o.lora_rank = k->rank;
    o.lora_dropout = k->rank ? 0.1 : -1;
    o.freeze = k->freeze;
    o.head = k->freeze || k->loss == GRAM_LOSS_SFT_REG ? GRAM_HEAD_MLP : GRAM_HEAD_LINEAR;
    if (o.head == GRAM_HEAD_MLP)
        o.head_width = 20;
    if (k->stage == GRAM_STAGE_FINETUNE) {
        o.eval_file = held;
        o.eval_every = 4;
        if (!gram_loss_is_scalar(k->loss) && !gram_loss_is_policy(k->loss))
            o.model.judge_prompt = "Q {input}\nA {response_a}\nB {response_b}\nBetter:";
    }
    o.model.dtype = k->dtype;
    o.model.threads = threads;
    o.model.batch_tokens = 300;
    o.progress = on_step;
    o.arg = &kill_at;
    rc = (k->stage == GRAM_STAGE_PRETRAIN ? gram_pretrain : gram_finetune)
         (MODEL, k->stage == GRAM_STAGE_PRETRAIN ? groups : held, to, &o, r, &check_err);
    free(to), free(held), free(groups);
    return rc;
}

static void same_file(const char *a, const char *b, const char *name)
{
    char *da = check_tmppath(a), *db = check_tmppath(b), *x, *y;
    char *pa = gr_path_join(da, name), *pb = gr_path_join(db, name);
    size_t n, m;

    CHECK_OK(gr_read_file(pa, 1 << 24, &x, &n, &check_err));
    CHECK_OK(gr_read_file(pb, 1 << 24, &y, &m, &check_err));
    if (n != m || memcmp(x, y, n))
        fail_msg("%s and %s are not the same bytes", pa, pb);
    free(da), free(db), free(pa), free(pb), free(x), free(y);
}

/* All that does not tell the time. */
static void same_metrics(const char *a, const char *b)
{
    char *pa = check_tmppath(a), *pb = check_tmppath(b);
    gr_metric *x, *y;
    size_t n, m;

    CHECK_OK(gr_metrics_read(pa, &x, &n, &check_err));
    CHECK_OK(gr_metrics_read(pb, &y, &m, &check_err));
    assert_true(n >= STEPS && n == m);
    for (size_t i = 0; i < n; i++)
        if (x[i].held != y[i].held || x[i].step != y[i].step || x[i].loss != y[i].loss ||
            (!x[i].held && (x[i].lr != y[i].lr || x[i].grad_norm != y[i].grad_norm)))
            fail_msg("%s: line %zu of metrics.jsonl is not that of %s", b, i + 1, a);
    free(pa), free(pb), free(x), free(y);
}

static void killed_and_resumed_it_is_the_same(void **state)
{
    const struct kind *k = *state;
    const char *weights = k->rank ? "adapter_model.safetensors" : "model.safetensors";
    char whole[80], killed[100];
    gram_train_report r;
    int status;
    pid_t pid;

    snprintf(whole, sizeof whole, "whole-%d-%d-%zu-%d-%d", (int)k->stage, (int)k->loss, k->rank, (int)k->dtype,
             k->freeze);
    snprintf(killed, sizeof killed, "killed%s", whole + 5);
    CHECK_OK(train(k, whole, 2, false, 0, &r));
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        train(k, killed, 1, false, k->kill_at, &r);
        fprintf(stderr, "it was not killed: %s\n", check_err.text);
        _exit(1);
    }
    assert_true(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    CHECK_OK(train(k, killed, 3, true, 0, &r));
    assert_int_equal(r.resumed, (k->kill_at - 1) / SAVE_EVERY * SAVE_EVERY);    /* that step's is written behind it */
    same_file(whole, killed, weights);
    same_metrics(whole, killed);
    if (k->stage == GRAM_STAGE_FINETUNE)
        same_file(whole, killed, "held-out.jsonl");
}

/* Each loss over every weight and with adapters of rank 3 and dropout, sft-reg with a head of a hidden layer; stage 1
 * likewise; weights of two bytes; a head alone. Killed at steps 1 to 9: before the first checkpoint, at the step of
 * one, behind one, at the step of a judging. */
int main(void)
{
    static struct kind k[2 * (GRAM_LOSS_PURM + 2) + 4];
    static char name[GR_COUNT(k)][50];
    struct CMUnitTest tests[GR_COUNT(k)];
    size_t n = 0;

    for (size_t rank = 0; rank <= 3; rank += 3) {
        for (int loss = GRAM_LOSS_GRAM; loss <= GRAM_LOSS_PURM; loss++)
            k[n++] = (struct kind){ GRAM_STAGE_FINETUNE, (gram_loss)loss, rank, GRAM_F32, 0, false };
        k[n++] = (struct kind){ GRAM_STAGE_PRETRAIN, GRAM_LOSS_GRAM, rank, GRAM_F32, 0, false };
    }
    k[n++] = (struct kind){ GRAM_STAGE_FINETUNE, GRAM_LOSS_DPO, 0, GRAM_F32, 0, false };
    k[n++] = (struct kind){ GRAM_STAGE_FINETUNE, GRAM_LOSS_CDPO, 2, GRAM_F32, 0, false };
    k[n++] = (struct kind){ GRAM_STAGE_FINETUNE, GRAM_LOSS_GRAM, 0, GRAM_BF16, 0, false };
    k[n++] = (struct kind){ GRAM_STAGE_FINETUNE, GRAM_LOSS_BT, 0, GRAM_F32, 0, true };
    for (size_t i = 0; i < n; i++) {
        k[i].kill_at = 1 + (i * 2 + i / 9) % (STEPS - 1);
        snprintf(name[i], sizeof name[i], "%s%s%s%s, step %d", k[i].stage == GRAM_STAGE_PRETRAIN ? "pretrain"
                 : gram_loss_name(k[i].loss), k[i].rank ? ", adapters" : "", k[i].dtype == GRAM_BF16 ? ", bf16" : "",
                 k[i].freeze ? ", frozen" : "", (int)k[i].kill_at);
        tests[i] = (struct CMUnitTest){ name[i], killed_and_resumed_it_is_the_same, NULL, NULL, &k[i] };
    }
    write_rows();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
