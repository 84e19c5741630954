/* test_train.c - gram_finetune() and gram_pretrain() from files to files, on a tiny model with a tokenizer of bytes:
 * what is learnt, what a stop, a kill and a resume leave, and what is refused. */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "check.h"
#include "file/io.h"
#include "gram/train.h"

#define MODEL "tests/golden/train/judge"
static char *dir;

static char *in_dir(const char *name)
{
    char *p = gr_path_join(dir, name);

    assert_non_null(p);
    return p;
}

static char *write_text(const char *name, const char *text)
{
    char *path = in_dir(name);
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
    return path;
}

/* Which of two letters is more: something that the tiny model can learn. */
static char *write_pairs(const char *name, int n)
{
    gr_buf b = { 0 };
    char *path;

    for (int i = 0; i < n; i++)
        assert_true(gr_buf_printf(&b, "{\"prompt\":\"q%d\",\"chosen\":\"%s\",\"rejected\":\"%s\"}\n", i,
                                  i % 3 ? "zzzz" : "zzz", i % 2 ? "aaaa" : "aa"));
    path = write_text(name, b.p);
    gr_buf_clear(&b);
    return path;
}

struct watch { double first, last; uint64_t stop_at, kill_at, seen; };

static int on_step(void *arg, const gram_train_step *s)
{
    struct watch *w = arg;

    if (w->seen++ == 0)
        w->first = s->loss;
    w->last = s->loss;
    if (s->step == w->kill_at)
        raise(SIGKILL);
    return s->step == w->stop_at;
}

static gram_train_options options(gram_stage stage, struct watch *w)
{
    gram_train_options o;

    gram_train_options_init(&o, stage);
    o.lr = 3e-3;
    o.batch_rows = 4;
    o.steps = 12;
    o.model.judge_prompt = "Q {input}\nA {response_a}\nB {response_b}\nBetter:";      /* short, to be quick */
    o.model.threads = 2;
    o.model.batch_tokens = 2500;
    o.progress = on_step;
    o.arg = w;
    return o;
}

static void same_file(const char *a, const char *b)
{
    char *pa = in_dir(a), *pb = in_dir(b), *x, *y;
    size_t n, m;

    CHECK_OK(gr_read_file(pa, 1 << 24, &x, &n, &check_err));
    CHECK_OK(gr_read_file(pb, 1 << 24, &y, &m, &check_err));
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n);
    free(pa), free(pb), free(x), free(y);
}

static bool exists(const char *name)
{
    char *p = in_dir(name);
    bool yes = gr_path_exists(p);

    free(p);
    return yes;
}

static size_t count_lines(const char *name)
{
    char *p = in_dir(name), *text;
    size_t n, lines = 0;

    CHECK_OK(gr_read_file(p, 1 << 24, &text, &n, &check_err));
    for (size_t i = 0; i < n; i++)
        lines += text[i] == '\n';
    free(p), free(text);
    return lines;
}

static gram_status finetune(const char *pairs, const char *out, const gram_train_options *o, gram_train_report *r)
{
    char *to = in_dir(out);
    gram_status rc = gram_finetune(MODEL, pairs, to, o, r, &check_err);

    free(to);
    return rc;
}

static void finetune_learns_and_the_model_opens(void **state)
{
    char *pairs = write_pairs("learn.jsonl", 24), *to = in_dir("learn");
    struct watch w = { 0 };
    gram_train_options o = options(GRAM_STAGE_FINETUNE, &w);
    const gram_message q = { "user", "q1" };
    const gram_pair pair = { { &q, 1 }, "zzzz", "aaaa" };
    gram_train_report r;
    gram_model *m;
    gram_verdict v;

    (void)state;
    o.steps = 30;
    o.eval_file = pairs;
    CHECK_OK(finetune(pairs, "learn", &o, &r));
    assert_int_equal(w.seen, 30);
    assert_true(w.last < w.first - 0.2 && w.last > 0.198);     /* smoothing 0.05: never below its entropy, 0.1985 */
    assert_true(r.accuracy_after == 1 && r.accuracy_before <= 1 && r.eval_rows == 24 && r.rows == 24);
    assert_true(r.memory_bytes > 0);
    assert_false(exists("learn/checkpoint.safetensors"));
    assert_int_equal(count_lines("learn/metrics.jsonl"), 30);
    CHECK_OK(gram_open(&m, to, &o.model, &check_err));
    CHECK_OK(gram_score(m, &pair, 1, &v, &check_err));
    assert_true(v.preference > 0.7 && v.consistent);
    gram_close(m);
    assert_int_equal(finetune(pairs, "learn", &o, &r), GRAM_EARG);         /* never written over */
    assert_non_null(strstr(check_err.text, "not written over"));
    free(to), free(pairs);
}

/* Uninterrupted with 2 threads; stopped and resumed with 3; killed and resumed with 1. */
static void stopped_and_killed_runs_end_with_the_same_bits(void **state)
{
    char *pairs = write_pairs("resume.jsonl", 10);
    struct watch w = { 0 };
    gram_train_options o = options(GRAM_STAGE_FINETUNE, &w);
    gram_train_report r;
    int status;
    pid_t pid;

    (void)state;
    CHECK_OK(finetune(pairs, "whole", &o, &r));

    w = (struct watch){ .stop_at = 5 };
    o.resume = true;                            /* without a checkpoint it begins */
    o.model.threads = 3;
    assert_int_equal(finetune(pairs, "stopped", &o, &r), GRAM_ESTOPPED);
    assert_int_equal(r.steps, 5);
    o.lr = 1e-3;
    assert_int_equal(finetune(pairs, "stopped", &o, &r), GRAM_EARG);       /* another run's checkpoint */
    o.lr = 3e-3;
    o.resume = false;
    assert_int_equal(finetune(pairs, "stopped", &o, &r), GRAM_EARG);       /* is not written over either */
    o.resume = true;
    w = (struct watch){ 0 };
    CHECK_OK(finetune(pairs, "stopped", &o, &r));
    assert_true(r.resumed == 5 && w.seen == 7);
    same_file("whole/model.safetensors", "stopped/model.safetensors");
    assert_int_equal(count_lines("stopped/metrics.jsonl"), 12);

    o.save_every = 3;
    o.model.threads = 1;
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        w = (struct watch){ .kill_at = 8 };
        finetune(pairs, "killed", &o, &r);
        _exit(0);
    }
    assert_true(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
    assert_true(exists("killed/checkpoint.safetensors") && !exists("killed/model.safetensors"));
    w = (struct watch){ 0 };
    CHECK_OK(finetune(pairs, "killed", &o, &r));
    assert_true(r.resumed == 6 && w.seen == 6);
    same_file("whole/model.safetensors", "killed/model.safetensors");
    assert_int_equal(count_lines("killed/metrics.jsonl"), 12);
    free(pairs);
}

static void a_checkpoint_cut_short_is_said(void **state)
{
    char *pairs = write_pairs("cut.jsonl", 6), *path = in_dir("cut/checkpoint.safetensors");
    struct watch w = { .stop_at = 2 };
    gram_train_options o = options(GRAM_STAGE_FINETUNE, &w);
    gram_train_report r;

    (void)state;
    assert_int_equal(finetune(pairs, "cut", &o, &r), GRAM_ESTOPPED);
    assert_int_equal(truncate(path, 100000), 0);
    o.resume = true;
    assert_int_equal(finetune(pairs, "cut", &o, &r), GRAM_EFORMAT);
    assert_non_null(strstr(check_err.text, "checkpoint.safetensors"));
    free(path), free(pairs);
}

static void pretrain_learns_and_finetune_goes_on(void **state)
{
    char *groups = write_text("groups.jsonl",
        "{\"prompt\":\"a\",\"responses\":[\"one two\",\"two three\",\"three four\",\"four\"]}\n"
        "{\"prompt\":\"b\",\"responses\":[\"two one\",\"one\",\"four two\"]}\n");
    char *pairs = write_pairs("after.jsonl", 6);
    char *first = in_dir("stage1"), *again = in_dir("stage1b"), *second = in_dir("stage2");
    struct watch w = { 0 };
    gram_train_options o = options(GRAM_STAGE_PRETRAIN, &w);
    gram_train_report r;

    (void)state;
    o.pairs = 2;
    CHECK_OK(gram_pretrain(MODEL, groups, first, &o, &r, &check_err));
    assert_int_equal(r.rows, 3);                /* two pairs of four responses, one of three */
    assert_true(w.last < w.first - 0.5);
    assert_true(isnan(r.accuracy_after));
    w = (struct watch){ .stop_at = 4 };
    o.model.threads = 1;
    assert_int_equal(gram_pretrain(MODEL, groups, again, &o, &r, &check_err), GRAM_ESTOPPED);
    w = (struct watch){ 0 };
    o.resume = true;
    CHECK_OK(gram_pretrain(MODEL, groups, again, &o, &r, &check_err));
    same_file("stage1/model.safetensors", "stage1b/model.safetensors");
    o = options(GRAM_STAGE_FINETUNE, &w);
    o.steps = 2;
    CHECK_OK(gram_finetune(first, pairs, second, &o, &r, &check_err));
    free(groups), free(pairs), free(first), free(again), free(second);
}

static void bad_rows_and_options_are_said(void **state)
{
    char *bad = write_text("bad.jsonl", "{\"prompt\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\"}\n{\"prompt\":3}\n"
                           "{\"prompt\":\"q\",\"chosen\":\"\",\"rejected\":\"c\",\"tie\":true}\n");
    char *empty = write_text("empty.jsonl", "");
    struct watch w = { 0 };
    gram_train_options o = options(GRAM_STAGE_FINETUNE, &w);
    gram_train_report r;

    (void)state;
    o.steps = 1;
    assert_int_equal(finetune(bad, "bad", &o, &r), GRAM_EFORMAT);
    assert_non_null(strstr(check_err.text, "bad.jsonl:2"));
    assert_int_equal(finetune(empty, "bad", &o, &r), GRAM_EFORMAT);
    o.skip_bad = true;
    o.drop_ties = true;
    CHECK_OK(finetune(bad, "bad", &o, &r));
    assert_true(r.bad == 1 && r.ties == 1 && r.rows == 1);
    o.model.max_tokens = 10;
    assert_int_equal(finetune(bad, "long", &o, &r), GRAM_ELIMIT);
    assert_non_null(strstr(check_err.text, "bad.jsonl:1"));
    o.model.truncate = GRAM_TRUNCATE_DROP;
    assert_int_equal(finetune(bad, "long", &o, &r), GRAM_EFORMAT);          /* nothing is left */
    o.model = (gram_options){ 0 };
    o.lr = NAN;
    assert_int_equal(finetune(bad, "nan", &o, &r), GRAM_EARG);
    o.lr = 1e-3;
    o.model.dtype = GRAM_BF16;
    assert_int_equal(finetune(bad, "bf16", &o, &r), GRAM_EARG);
    assert_int_equal(gram_finetune("tests/golden/models/gguf_q4_0/model.gguf", bad, "x", NULL, &r, &check_err),
                     GRAM_EFORMAT);
    assert_non_null(strstr(check_err.text, "tokenizer.ggml"));
    free(bad), free(empty);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finetune_learns_and_the_model_opens),
        cmocka_unit_test(stopped_and_killed_runs_end_with_the_same_bits),
        cmocka_unit_test(a_checkpoint_cut_short_is_said),
        cmocka_unit_test(pretrain_learns_and_finetune_goes_on),
        cmocka_unit_test(bad_rows_and_options_are_said),
    };

    dir = check_tmpdir();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
