/* test_train.c - gram_finetune() and gram_pretrain() from files to files, on a tiny model with a tokenizer of bytes:
 * what is learnt, what a stop, a kill and a resume leave, and what is refused. */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "check.h"
#include "file/io.h"
#include "file/weights.h"
#include "gram/train.h"
#include "train/metrics_file.h"

#define MODEL "tests/golden/train/judge"

/* Which of two letters is more: something that the tiny model can learn. */
static char *write_pairs(const char *name, int n)
{
    gr_buf b = { 0 };
    char *path;

    for (int i = 0; i < n; i++)
        assert_true(gr_buf_printf(&b, "{\"prompt\":\"q%d\",\"chosen\":\"%s\",\"rejected\":\"%s\"}\n", i,
                                  i % 3 ? "zzzz" : "zzz", i % 2 ? "aaaa" : "aa"));
    path = check_write(name, b.p);
    gr_buf_clear(&b);
    return path;
}

/* full_at: behind that step no file may grow beyond `room` bytes, which is how a disk that fills looks. */
struct watch { double first, last, accuracy; uint64_t stop_at, kill_at, full_at, seen, judged; rlim_t room; };

static pid_t first_process;

static int on_step(void *arg, const gram_train_step *s)
{
    struct watch *w = arg;

    if (w->seen++ == 0)
        w->first = s->loss;
    w->last = s->loss;
    w->accuracy = s->accuracy;
    if (s->step == w->kill_at && getpid() == first_process)     /* a mistake let it get so far */
        fail_msg("step %d is taken by the test itself, and no child of it", (int)s->step);
    if (s->step == w->kill_at)
        raise(SIGKILL);
    if (s->step == w->full_at)
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){ w->room, RLIM_INFINITY });
    return s->step == w->stop_at;
}

/* Judging begins; the n-th time is counted. */
static int on_judging(void *arg, uint64_t done, uint64_t total)
{
    struct watch *w = arg;

    assert_true(done <= total);
    w->judged += done == 0;
    return 0;
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
    o.judging = on_judging;
    o.arg = w;
    return o;
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

static bool exists(const char *name)
{
    char *p = check_tmppath(name);
    bool yes = gr_path_exists(p);

    free(p);
    return yes;
}

static size_t count_lines(const char *name)
{
    char *p = check_tmppath(name), *text;
    size_t n, lines = 0;

    CHECK_OK(gr_read_file(p, 1 << 24, &text, &n, &check_err));
    for (size_t i = 0; i < n; i++)
        lines += text[i] == '\n';
    free(p), free(text);
    return lines;
}

static gram_status finetune(const char *pairs, const char *out, const gram_train_options *o, gram_train_report *r)
{
    char *to = check_tmppath(out);
    gram_status rc = gram_finetune(MODEL, pairs, to, o, r, &check_err);

    free(to);
    return rc;
}

static void finetune_learns_and_the_model_opens(void **state)
{
    char *pairs = write_pairs("learn.jsonl", 24), *to = check_tmppath("learn");
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
    assert_true(r.after.value == 1 && r.after.low > 0.8 && r.before.value < 1 && r.eval_rows == 24 && r.rows == 24);
    assert_true(r.memory_bytes > 0);
    assert_false(exists("learn/checkpoints") || exists("learn/best"));
    assert_int_equal(count_lines("learn/metrics.jsonl"), 32);           /* the steps, and twice the held-out rows */
    assert_int_equal(count_lines("learn/held-out.jsonl"), 2);
    CHECK_OK(gram_open(&m, to, &o.model, &check_err));
    CHECK_OK(gram_score(m, &pair, 1, &v, &check_err));
    assert_true(v.preference > 0.7 && v.consistent);
    gram_close(m);
    assert_int_equal(finetune(pairs, "learn", &o, &r), GRAM_EARG);         /* never written over */
    assert_non_null(strstr(check_err.text, "not written over"));
    free(to), free(pairs);
}

/* The steps that metrics.jsonl names, in order, as "1 2 h2 3": h where held-out rows were judged. */
static void steps_of(const char *out, char *text, size_t room)
{
    char *to = check_tmppath(out);
    gr_metric *m;
    size_t n, at = 0;

    CHECK_OK(gr_metrics_read(to, &m, &n, &check_err));
    text[0] = '\0';
    for (size_t i = 0; i < n; i++)
        at += (size_t)snprintf(text + at, room - at, "%s%s%d", i ? " " : "", m[i].held ? "h" : "", (int)m[i].step);
    free(m), free(to);
}

/* How many records an event file holds, each with its length and two checksums around it. */
static size_t count_events(const char *name)
{
    char *p = check_tmppath(name), *b;
    size_t n, at = 0, count = 0;

    CHECK_OK(gr_read_file(p, 1 << 24, &b, &n, &check_err));
    for (; at < n; count++) {
        uint64_t length;
        memcpy(&length, b + at, sizeof length);
        at += 16 + length;
    }
    assert_int_equal(at, n);
    free(p), free(b);
    return count;
}

/* In a process of its own, which ends as `w` says; true where a signal ended it. Its error is in err. */
static bool in_child(const char *pairs, const char *out, const gram_train_options *o, gram_status want)
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        gram_train_report r;
        gram_status rc = finetune(pairs, out, o, &r);
        if (rc != want)
            fprintf(stderr, "%s: status %d: %s\n", out, (int)rc, check_err.text);
        _exit(rc == want ? 0 : 1);
    }
    assert_true(waitpid(pid, &status, 0) == pid);
    assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    return WIFSIGNALED(status);
}

#define EACH_ONCE "h0 1 2 3 4 h4 5 6 7 8 h8 9 10 11 12 h12"

static gram_train_options judged_options(struct watch *w, const char *held)
{
    gram_train_options o = options(GRAM_STAGE_FINETUNE, w);

    o.eval_file = held;
    o.eval_every = 4;
    o.save_every = 3;
    return o;
}

/* Uninterrupted with 2 threads; stopped and resumed with 3. */
static void a_stopped_run_ends_with_the_same_bits(void **state)
{
    char *pairs = write_pairs("resume.jsonl", 10), steps[200];
    struct watch w = { 0 };
    gram_train_options o = judged_options(&w, pairs);
    gram_train_report r, whole;

    (void)state;
    CHECK_OK(finetune(pairs, "whole", &o, &whole));
    steps_of("whole", steps, sizeof steps);
    assert_string_equal(steps, EACH_ONCE);
    assert_int_equal(w.judged, 4);
    assert_int_equal(count_events("whole/tb/events.out.tfevents.gram"), 17);

    w = (struct watch){ .stop_at = 5 };
    o.resume = true;                            /* without a checkpoint it begins */
    o.model.threads = 3;
    assert_int_equal(finetune(pairs, "stopped", &o, &r), GRAM_ESTOPPED);
    assert_int_equal(r.steps, 5);
    o.lr = 1e-3;
    assert_int_equal(finetune(pairs, "stopped", &o, &r), GRAM_EARG);       /* another run's checkpoint */
    o.lr = 3e-3;
    o.eval_every = 5;
    assert_int_equal(finetune(pairs, "stopped", &o, &r), GRAM_EARG);       /* another run's best */
    o.eval_every = 4;
    o.resume = false;
    assert_int_equal(finetune(pairs, "stopped", &o, &r), GRAM_EARG);       /* is not written over either */
    o.resume = true;
    w = (struct watch){ 0 };
    CHECK_OK(finetune(pairs, "stopped", &o, &r));
    assert_true(r.resumed == 5 && w.seen == 7 && w.judged == 2);
    assert_true(r.before.value == whole.before.value && r.after.value == whole.after.value);
    same_file("whole/model.safetensors", "stopped/model.safetensors");
    same_file("whole/held-out.jsonl", "stopped/held-out.jsonl");
    steps_of("stopped", steps, sizeof steps);
    assert_string_equal(steps, EACH_ONCE);
    assert_int_equal(count_events("stopped/tb/events.out.tfevents.gram"), 17);
    w = (struct watch){ 0 };
    CHECK_OK(finetune(pairs, "stopped", &o, &r));       /* a run that has ended */
    assert_true(r.finished && r.steps == 0 && w.seen == 0);
    same_file("whole/model.safetensors", "stopped/model.safetensors");
    steps_of("stopped", steps, sizeof steps);
    assert_string_equal(steps, EACH_ONCE);
    free(pairs);
}

/* Matrices of two bytes, rounded by chance: learns as float32 does with a rate far below their last digit, with the
 * same bits at other numbers of threads, stopped and resumed, with layers recomputed. */
static void weights_of_two_bytes_learn_and_repeat(void **state)
{
    char *pairs = write_pairs("half.jsonl", 24), *to = check_tmppath("half");
    struct watch w = { 0 };
    gram_train_options o = options(GRAM_STAGE_FINETUNE, &w);
    gram_train_report full, r;
    gr_weights *made;

    (void)state;
    o.steps = 30;
    o.eval_file = pairs;
    CHECK_OK(finetune(pairs, "four", &o, &full));
    o.model.dtype = GRAM_BF16;
    CHECK_OK(finetune(pairs, "half", &o, &r));
    assert_true(r.after.value == 1 && r.before.value < 1);
    assert_true(fabs(r.loss - full.loss) < 0.05);
    CHECK_OK(gr_weights_open_dir(&made, to, &check_err));
    assert_int_equal(gr_weights_find(made, "model.embed_tokens.weight")->type, GR_BF16);
    assert_int_equal(gr_weights_find(made, "model.norm.weight")->type, GR_F32);
    gr_weights_close(made);

    w = (struct watch){ .stop_at = 17 };
    o.model.threads = 3;
    o.recompute = GRAM_RECOMPUTE_ON;
    o.resume = true;
    assert_int_equal(finetune(pairs, "half2", &o, &r), GRAM_ESTOPPED);
    o.model.dtype = GRAM_F32;
    assert_int_equal(finetune(pairs, "half2", &o, &r), GRAM_EARG);      /* another run's */
    o.model.dtype = GRAM_BF16;
    o.model.threads = 1;
    CHECK_OK(finetune(pairs, "half2", &o, &r));
    assert_int_equal(r.resumed, 17);
    same_file("half/model.safetensors", "half2/model.safetensors");
    free(to), free(pairs);
}

/* Moments of two bytes, rounded by chance: the loss of float32's, with the same bits at other numbers of threads and
 * stopped and resumed; a checkpoint holds what is kept, 8 bytes of the 12 that a value has otherwise. */
static void moments_of_two_bytes_learn_and_repeat(void **state)
{
    char *pairs = write_pairs("moments.jsonl", 24);
    char *step = check_tmppath("moments2/checkpoints/step-000017.safetensors");
    struct watch w = { 0 };
    gram_train_options o = options(GRAM_STAGE_FINETUNE, &w);
    gram_train_report full, r;
    gr_st *st;

    (void)state;
    o.steps = 30;
    o.eval_file = pairs;
    CHECK_OK(finetune(pairs, "moments-f32", &o, &full));
    o.optim_state = GRAM_STATE_BF16;
    CHECK_OK(finetune(pairs, "moments", &o, &r));
    assert_true(r.after.value == 1 && r.before.value < 1);
    assert_true(fabs(r.loss - full.loss) < 0.05);

    w = (struct watch){ .stop_at = 17 };
    o.model.threads = 3;
    o.resume = true;
    assert_int_equal(finetune(pairs, "moments2", &o, &r), GRAM_ESTOPPED);
    CHECK_OK(gr_st_open(&st, step, &check_err));
    assert_int_equal(gr_st_find(st, "model.norm.weight")->type, GR_F32);
    assert_int_equal(gr_st_find(st, "m.model.norm.weight")->type, GR_BF16);
    assert_int_equal(gr_st_find(st, "v.model.norm.weight")->type, GR_BF16);
    gr_st_close(st);
    o.optim_state = GRAM_STATE_F32;
    assert_int_equal(finetune(pairs, "moments2", &o, &r), GRAM_EARG);   /* another run's */
    assert_non_null(strstr(check_err.text, "optim-state"));
    o.optim_state = GRAM_STATE_BF16;
    o.model.threads = 1;
    CHECK_OK(finetune(pairs, "moments2", &o, &r));
    assert_int_equal(r.resumed, 17);
    same_file("moments/model.safetensors", "moments2/model.safetensors");
    free(step), free(pairs);
}

/* Killed behind each step, its line in metrics.jsonl and no checkpoint of it; and in the middle of a checkpoint. */
static void a_killed_run_ends_with_the_same_bits(void **state)
{
    char *pairs = write_pairs("kill.jsonl", 10), steps[200];
    struct watch w = { 0 };
    gram_train_options o = judged_options(&w, pairs);
    gram_train_report r;

    (void)state;
    o.resume = true;
    CHECK_OK(finetune(pairs, "unkilled", &o, &r));
    o.model.threads = 1;
    for (int half = 0; half < 2; half++) {
        const char *out = half ? "killed-writing" : "killed";
        for (uint64_t k = 2; k <= 8; k += 6) {                  /* checkpoints are due behind 3, 6 and 9 */
            w = half ? (struct watch){ .full_at = k, .room = 100000 } : (struct watch){ .kill_at = k };
            assert_true(in_child(pairs, out, &o, GRAM_OK));     /* SIGXFSZ ends a process that does not ignore it */
        }
        w = (struct watch){ 0 };
        CHECK_OK(finetune(pairs, out, &o, &r));
        assert_int_equal(r.resumed, 6);
        steps_of(out, steps, sizeof steps);
        assert_string_equal(steps, EACH_ONCE);
    }
    same_file("unkilled/model.safetensors", "killed/model.safetensors");
    same_file("unkilled/model.safetensors", "killed-writing/model.safetensors");
    assert_false(exists("killed-writing/checkpoints"));          /* with what the killed writes left in it */
    free(pairs);
}

static void the_last_checkpoints_stay_and_a_full_disk_spares_them(void **state)
{
    char *pairs = write_pairs("full.jsonl", 10);
    struct watch w = { .full_at = 8, .room = 100000 };
    gram_train_options o = judged_options(&w, NULL);
    gram_train_report r;

    (void)state;
    o.eval_every = 0;
    o.save_every = 2;
    signal(SIGXFSZ, SIG_IGN);
    assert_false(in_child(pairs, "full", &o, GRAM_EIO));
    signal(SIGXFSZ, SIG_DFL);
    assert_true(exists("full/checkpoints/step-000004.safetensors"));
    assert_true(exists("full/checkpoints/step-000006.safetensors"));
    assert_false(exists("full/checkpoints/step-000002.safetensors"));
    assert_false(exists("full/checkpoints/step-000008.safetensors"));
    assert_false(exists("full/model.safetensors"));
    w = (struct watch){ 0 };
    o.resume = true;
    CHECK_OK(finetune(pairs, "full", &o, &r));
    assert_int_equal(r.resumed, 6);
    free(pairs);
}

static char warned[2048];

static void on_note(void *arg, const char *text)
{
    (void)arg;
    size_t n = strlen(warned);

    if (!strstr(text, "memory:") && !strstr(text, "disk:"))
        snprintf(warned + n, sizeof warned - n, "%s\n", text);
}

static void spoil(const char *path, bool shorten)
{
    FILE *f = fopen(path, "r+b");
    int c;

    assert_non_null(f);
    assert_int_equal(fseek(f, -1000, SEEK_END), 0);
    if (shorten) {
        assert_int_equal(ftruncate(fileno(f), ftell(f)), 0);
    } else {
        c = fgetc(f);
        assert_int_equal(fseek(f, -1000, SEEK_END), 0);
        fputc(c ^ 1, f);
    }
    assert_int_equal(fclose(f), 0);
}

static void a_checkpoint_that_is_not_whole_is_named_and_the_one_before_taken(void **state)
{
    char *pairs = write_pairs("cut.jsonl", 6), *last = check_tmppath("cut/checkpoints/step-000006.safetensors");
    char *before = check_tmppath("cut/checkpoints/step-000005.safetensors");
    struct watch w = { 0 };
    gram_train_options o = options(GRAM_STAGE_FINETUNE, &w);
    gram_train_report r;

    (void)state;
    o.save_every = 2;
    o.note = on_note;
    warned[0] = '\0';
    o.resume = true;
    CHECK_OK(finetune(pairs, "uncut", &o, &r));
    w = (struct watch){ .kill_at = 7 };
    assert_true(in_child(pairs, "cut", &o, GRAM_OK));
    spoil(last, true);
    w = (struct watch){ .stop_at = 5 };
    assert_int_equal(finetune(pairs, "cut", &o, &r), GRAM_ESTOPPED);
    assert_int_equal(r.resumed, 4);
    assert_non_null(strstr(warned, "step-000006.safetensors"));
    assert_non_null(strstr(warned, "before it is taken"));
    assert_true(exists("cut/checkpoints/step-000004.safetensors") && exists("cut/checkpoints/step-000005.safetensors"));
    assert_false(exists("cut/checkpoints/step-000006.safetensors"));        /* not newer than the one of step 5 */

    w = (struct watch){ .kill_at = 7 };
    assert_true(in_child(pairs, "cut", &o, GRAM_OK));
    spoil(last, false);                         /* one bit, in the middle of a moment */
    spoil(before, true);
    assert_int_equal(finetune(pairs, "cut", &o, &r), GRAM_EFORMAT);
    assert_non_null(strstr(check_err.text, "step-000005.safetensors"));
    spoil(last, false);                         /* as it was */
    w = (struct watch){ 0 };
    CHECK_OK(finetune(pairs, "cut", &o, &r));
    assert_int_equal(r.resumed, 6);
    same_file("uncut/model.safetensors", "cut/model.safetensors");
    free(last), free(before), free(pairs);
}

/* Held-out pairs with the other labels: the more is learnt, the worse they are judged, so the best comes early. */
static void the_best_of_the_run_is_kept_or_written(void **state)
{
    char *pairs = write_pairs("towards.jsonl", 6);
    char *held = check_write("against.jsonl", "{\"prompt\":\"q0\",\"chosen\":\"aa\",\"rejected\":\"zzz\"}\n"
                                             "{\"prompt\":\"q1\",\"chosen\":\"aaaa\",\"rejected\":\"zzzz\"}\n");
    struct watch w = { 0 };
    gram_train_options o = judged_options(&w, held);
    gram_train_report r;

    (void)state;
    CHECK_OK(finetune(pairs, "last", &o, &r));
    assert_true(r.best_step == 4 && r.best_accuracy >= r.after.value && r.eval_seen == 2);
    assert_true(exists("last/best/model.safetensors") && exists("last/best/tokenizer.json"));
    w = (struct watch){ .kill_at = 7 };
    o.best = o.resume = true;
    assert_true(in_child(pairs, "best", &o, GRAM_OK));
    w = (struct watch){ 0 };
    CHECK_OK(finetune(pairs, "best", &o, &r));
    assert_true(r.best_step == 4 && r.after.value == r.best_accuracy);
    assert_false(exists("best/best"));
    same_file("last/best/model.safetensors", "best/model.safetensors");
    o.eval_file = NULL;
    assert_int_equal(finetune(pairs, "none", &o, &r), GRAM_EARG);
    free(pairs), free(held);
}

static char *copy_model(const char *name)
{
    static const char *const file[] = { "config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors" };
    char *to = check_tmppath(name);

    assert_int_equal(mkdir(to, 0777), 0);
    for (size_t i = 0; i < GR_COUNT(file); i++) {
        char *a = gr_path_join(MODEL, file[i]), *b = gr_path_join(to, file[i]), *text;
        size_t n;
        FILE *f = fopen(b, "wb");
        CHECK_OK(gr_read_file(a, 1 << 24, &text, &n, &check_err));
        assert_true(f && fwrite(text, 1, n, f) == n && fclose(f) == 0);
        free(a), free(b), free(text);
    }
    return to;
}

/* A copy of the model with one weight changed. */
static char *odd_model(const char *name, float weight)
{
    char *to = copy_model(name), *path = gr_path_join(to, "model.safetensors");
    FILE *f = fopen(path, "r+b");

    assert_true(f && fseek(f, -40, SEEK_END) == 0 && fwrite(&weight, sizeof weight, 1, f) == 1 && fclose(f) == 0);
    free(path);
    return to;
}

static void weights_that_are_no_numbers_are_named(void **state)
{
    char *pairs = write_pairs("nan.jsonl", 4), *model = odd_model("nan", NAN), *out = check_tmppath("nan-out");
    struct watch w = { 0 };
    gram_train_options o = options(GRAM_STAGE_FINETUNE, &w);
    gram_train_report r;

    (void)state;
    assert_int_equal(gram_finetune(model, pairs, out, &o, &r, &check_err), GRAM_EFORMAT);
    assert_non_null(strstr(check_err.text, "nan, and training wants finite numbers"));
    assert_int_equal(w.seen, 0);
    free(pairs), free(model), free(out);
}

/* One row weighs so much that its gradients, through one large weight, are beyond float32. */
static void a_run_that_diverges_says_so_and_keeps_what_was_good(void **state)
{
    char *pairs = check_write("diverge.jsonl",
        "{\"prompt\":\"q1\",\"chosen\":\"a\",\"rejected\":\"b\"}\n"
        "{\"prompt\":\"q2\",\"chosen\":\"a\",\"rejected\":\"b\",\"weight\":1e30}\n"
        "{\"prompt\":\"q3\",\"chosen\":\"a\",\"rejected\":\"b\"}\n"
        "{\"prompt\":\"q4\",\"chosen\":\"a\",\"rejected\":\"b\"}\n");
    char *model = odd_model("large", 1e18f), *out = check_tmppath("diverge"), good[64];
    struct watch w = { 0 };
    gram_train_options o = options(GRAM_STAGE_FINETUNE, &w);
    gram_train_report r;

    (void)state;
    o.save_every = o.batch_rows = 1;
    assert_int_equal(gram_finetune(model, pairs, out, &o, &r, &check_err), GRAM_EFORMAT);
    if (!strstr(check_err.text, "diverged"))
        fail_msg("%s", check_err.text);
    assert_true(w.seen > 0 && r.steps == w.seen);               /* the seed takes another row first */
    snprintf(good, sizeof good, "diverge/checkpoints/step-%06d.safetensors", (int)w.seen);
    assert_true(exists(good) && !exists("diverge/model.safetensors"));
    free(pairs), free(model), free(out);
}

static void labels_that_contradict_are_counted(void **state)
{
    char *pairs = check_write("noise.jsonl", "{\"prompt\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\"}\n"
                                            "{\"prompt\":\"q\",\"chosen\":\"b\",\"rejected\":\"a\"}\n"
                                            "{\"prompt\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\"}\n"
                                            "{\"prompt\":\"p\",\"chosen\":\"a\",\"rejected\":\"b\"}\n"
                                            "{\"prompt\":\"p\",\"chosen\":\"b\",\"rejected\":\"a\",\"tie\":true}\n");
    char *held = check_write("seen.jsonl", "{\"prompt\":\"p\",\"chosen\":\"a\",\"rejected\":\"b\"}\n"
                                          "{\"prompt\":\"o\",\"chosen\":\"a\",\"rejected\":\"b\"}\n");
    struct watch w = { 0 };
    gram_train_options o = options(GRAM_STAGE_FINETUNE, &w);
    gram_train_report r;

    (void)state;
    o.steps = 1;
    o.eval_file = held;
    o.note = on_note;
    warned[0] = '\0';
    CHECK_OK(finetune(pairs, "noise", &o, &r));
    assert_true(r.contradicting == 3 && r.repeated == 1 && r.ties == 1 && r.eval_seen == 1);
    assert_non_null(strstr(warned, "3 of 5 rows contradict another"));
    free(pairs), free(held);
}

/* Rows that differ in what --truncate balanced leaves out are not the same row. */
static void rows_that_are_cut_alike_are_not_repeated(void **state)
{
    gr_buf text = { 0 };
    struct watch w = { 0 };
    gram_train_options o = options(GRAM_STAGE_FINETUNE, &w);
    gram_train_report r;
    char *pairs;

    (void)state;
    for (int row = 0; row < 3; row++) {             /* the third is the first again */
        assert_true(gr_buf_puts(&text, "{\"prompt\":\""));
        for (int i = 0; i < 400; i++)
            assert_true(gr_buf_puts(&text, i != 200 ? "q " : row == 1 ? "one " : "two "));
        assert_true(gr_buf_puts(&text, "\",\"chosen\":\"a\",\"rejected\":\"b\"}\n"));
    }
    pairs = check_write("middle.jsonl", text.p);
    o.steps = 1;
    o.model.truncate = GRAM_TRUNCATE_BALANCED;
    o.model.max_tokens = 100;
    CHECK_OK(finetune(pairs, "middle", &o, &r));
    assert_true(r.rows == 3 && r.truncated == 3 && r.repeated == 1);
    gr_buf_clear(&text);
    free(pairs);
}

static void a_tie_is_half_right_or_left_out(void **state)
{
    char *pairs = check_write("ties.jsonl", "{\"prompt\":\"q\",\"chosen\":\"zz\",\"rejected\":\"aa\",\"tie\":true}\n"
                                           "{\"prompt\":\"p\",\"chosen\":\"zzz\",\"rejected\":\"a\",\"tie\":true}\n");
    static const gram_loss loss[] = { GRAM_LOSS_GRAM, GRAM_LOSS_BT };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(loss); i++) {
        struct watch w = { 0 };
        gram_train_options o = options(GRAM_STAGE_FINETUNE, &w);
        gram_train_report r;
        gram_train_options_set_loss(&o, loss[i]);
        o.model.judge_prompt = i ? NULL : o.model.judge_prompt;
        o.steps = 4;
        CHECK_OK(finetune(pairs, i ? "ties-bt" : "ties", &o, &r));
        assert_true(r.ties == 2 && r.rows == 2 && w.accuracy == 0.5);
        o.ties = GRAM_TIES_DROP;
        assert_int_equal(finetune(pairs, "no-ties", &o, &r), GRAM_EFORMAT);     /* nothing is left */
        assert_non_null(strstr(check_err.text, "2 ties"));
    }
    free(pairs);
}

static void pretrain_learns_and_finetune_goes_on(void **state)
{
    char *groups = check_write("groups.jsonl",
        "{\"prompt\":\"a\",\"responses\":[\"one two\",\"two three\",\"three four\",\"four\"]}\n"
        "{\"prompt\":\"b\",\"responses\":[\"two one\",\"one\",\"four two\"]}\n");
    char *pairs = write_pairs("after.jsonl", 6);
    char *first = check_tmppath("stage1"), *again = check_tmppath("stage1b"), *second = check_tmppath("stage2");
    struct watch w = { 0 };
    gram_train_options o = options(GRAM_STAGE_PRETRAIN, &w);
    gram_train_report r;

    (void)state;
    o.pairs = 2;
    o.model.truncate = GRAM_TRUNCATE_BALANCED;
    assert_int_equal(gram_pretrain(MODEL, groups, first, &o, &r, &check_err), GRAM_EARG);
    o.model.truncate = GRAM_TRUNCATE_ERROR;
    CHECK_OK(gram_pretrain(MODEL, groups, first, &o, &r, &check_err));
    assert_int_equal(r.rows, 3);                /* two pairs of four responses, one of three */
    assert_true(w.last < w.first - 0.5);
    assert_true(isnan(r.after.value));
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
    char *bad = check_write("bad.jsonl", "{\"prompt\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\"}\n{\"prompt\":3}\n"
                           "{\"prompt\":\"q\",\"chosen\":\"\",\"rejected\":\"c\",\"tie\":true}\n");
    char *empty = check_write("empty.jsonl", "");
    struct watch w = { 0 };
    gram_train_options o = options(GRAM_STAGE_FINETUNE, &w);
    gram_train_report r;

    (void)state;
    o.steps = 1;
    assert_int_equal(finetune(bad, "bad", &o, &r), GRAM_EFORMAT);
    assert_non_null(strstr(check_err.text, "bad.jsonl:2"));
    assert_int_equal(finetune(empty, "bad", &o, &r), GRAM_EFORMAT);
    o.skip_bad = true;
    o.ties = GRAM_TIES_DROP;
    CHECK_OK(finetune(bad, "bad", &o, &r));
    assert_true(r.bad == 1 && r.ties == 1 && r.rows == 1);
    free(empty);
    empty = check_write("hollow.jsonl", "{\"prompt\":\"\",\"chosen\":\"a\",\"rejected\":\"b\"}\n"
                                       "{\"prompt\":\"q\",\"chosen\":\"\",\"rejected\":\"\"}\n"
                                       "{\"prompt\":\"q\",\"chosen\":\"a\",\"rejected\":\"a\"}\n\n{}\n");
    assert_int_equal(finetune(empty, "hollow", &o, &r), GRAM_EFORMAT);
    assert_non_null(strstr(check_err.text, "no row to learn from: 2 bad, 0 too long, 0 ties, 2 with two answers that "
                                           "are "
                           "one text"));
    o.skip_bad = false;
    assert_int_equal(finetune(empty, "hollow", &o, &r), GRAM_EFORMAT);
    assert_non_null(strstr(check_err.text, "hollow.jsonl:1"));
    o.skip_bad = true;
    o.model.max_tokens = 10;
    assert_int_equal(finetune(bad, "long", &o, &r), GRAM_ELIMIT);
    assert_non_null(strstr(check_err.text, "bad.jsonl:1"));
    o.model.truncate = GRAM_TRUNCATE_DROP;
    assert_int_equal(finetune(bad, "long", &o, &r), GRAM_EFORMAT);          /* nothing is left */
    o.model = (gram_options){ 0 };
    o.lr = NAN;
    assert_int_equal(finetune(bad, "nan", &o, &r), GRAM_EARG);
    o.lr = 1e-3;
    o.posreg = 0.2;
    assert_int_equal(finetune(bad, "posreg", &o, &r), GRAM_EARG);           /* the loss has none */
    assert_non_null(strstr(check_err.text, "an option of the loss bt-posreg, and the loss is gram"));
    gram_train_options_set_loss(&o, GRAM_LOSS_GRAM);
    o.model.dtype = GRAM_INT8;
    assert_int_equal(finetune(bad, "int8", &o, &r), GRAM_EARG);
    assert_int_equal(gram_finetune("tests/golden/models/gguf_q4_0/model.gguf", bad, "x", NULL, &r, &check_err),
                     GRAM_EUNSUPPORTED);
    assert_non_null(strstr(check_err.text, "no tokenizer"));
    free(bad), free(empty);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finetune_learns_and_the_model_opens),
        cmocka_unit_test(a_stopped_run_ends_with_the_same_bits),
        cmocka_unit_test(weights_of_two_bytes_learn_and_repeat),
        cmocka_unit_test(moments_of_two_bytes_learn_and_repeat),
        cmocka_unit_test(a_killed_run_ends_with_the_same_bits),
        cmocka_unit_test(the_last_checkpoints_stay_and_a_full_disk_spares_them),
        cmocka_unit_test(a_checkpoint_that_is_not_whole_is_named_and_the_one_before_taken),
        cmocka_unit_test(the_best_of_the_run_is_kept_or_written),
        cmocka_unit_test(weights_that_are_no_numbers_are_named),
        cmocka_unit_test(a_run_that_diverges_says_so_and_keeps_what_was_good),
        cmocka_unit_test(labels_that_contradict_are_counted),
        cmocka_unit_test(rows_that_are_cut_alike_are_not_repeated),
        cmocka_unit_test(a_tie_is_half_right_or_left_out),
        cmocka_unit_test(pretrain_learns_and_finetune_goes_on),
        cmocka_unit_test(bad_rows_and_options_are_said),
    };

    first_process = getpid();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
