/* test_memory.c - the memory that a run, of training or of writing, says it will take: against what the kernel
 * measured, in machines of several sizes, which sysconf() below makes up.
 *
 * A run is a process of its own: its peak is the kernel's count (ru_maxrss). */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include "api/api_int.h"
#include "check.h"
#include "file/io.h"
#include "gram/train.h"

#define MODEL "tests/golden/train/judge"
#define MIB   (1 << 20)

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { MEASURED = 0, ROWS = 2 };        /* a sanitizer's shadow is no memory of the run's, and it is slow */
#else
enum { MEASURED = 1, ROWS = 10 };
#endif
enum { LENGTH = 900 };                  /* of an answer, a token a byte */
static char *dir;

/* The machine's memory, where the test says how much it is. */
static uint64_t pretended;

long sysconf(int name)
{
    static long (*real)(int);

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "sysconf");
    return name == _SC_PHYS_PAGES && pretended ? (long)(pretended / (uint64_t)real(_SC_PAGESIZE)) : real(name);
}

static void write_pairs(void)
{
    char *path = check_tmppath("pairs.jsonl"), a[LENGTH + 1], b[LENGTH + 1];
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    memset(a, 'z', LENGTH), memset(b, 'a', LENGTH);
    a[LENGTH] = b[LENGTH] = '\0';
    for (int i = 0; i < ROWS; i++)
        fprintf(f, "{\"prompt\":\"q%d\",\"chosen\":\"%s\",\"rejected\":\"%s\"}\n", i, a, b);
    assert_int_equal(fclose(f), 0);
    free(path);
}

/* What a child tells its parent. */
struct told { gram_status rc; uint64_t said; int steps; char note[300]; gram_err err; };
struct outcome { struct told told; uint64_t peak; };

static int on_step(void *arg, const gram_train_step *s)
{
    (void)s;
    ((struct told *)arg)->steps++;
    return 0;
}

static void on_note(void *arg, const char *text)
{
    struct told *t = arg;

    if (strstr(text, "memory: "))
        snprintf(t->note, sizeof t->note, "%s", text);
}

static gram_optim_state kept;

static gram_status train(const char *out, gram_recompute how, size_t rank, struct told *t)
{
    char *to = check_tmppath(out), *pairs = check_tmppath("pairs.jsonl");
    gram_train_report report;
    gram_train_options o;

    gram_train_options_init(&o, GRAM_STAGE_FINETUNE);
    o.model.judge_prompt = "{input}\nA {response_a}\nB {response_b}\nBetter:";
    o.model.threads = 1;
    o.model.batch_tokens = 1 << 20;         /* all rows at once, to have something to measure */
    o.batch_rows = ROWS;
    o.steps = 1;
    o.lora_rank = rank;
    o.recompute = how;
    o.optim_state = kept;
    o.progress = on_step;
    o.note = on_note;
    o.arg = t;
    t->rc = gram_finetune(MODEL, pairs, to, &o, &report, &t->err);
    t->said = report.memory_bytes;
    free(to), free(pairs);
    return t->rc;
}

static struct outcome run(const char *out, gram_recompute how, size_t rank, uint64_t machine)
{
    struct outcome r = { 0 };
    struct rusage use;
    int pipes[2], status;
    pid_t pid;

    assert_int_equal(pipe(pipes), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        pretended = machine;
        train(out, how, rank, &r.told);
        getrusage(RUSAGE_SELF, &use);
        r.peak = (uint64_t)use.ru_maxrss << 10;
        _exit(write(pipes[1], &r, sizeof r) != sizeof r);
    }
    close(pipes[1]);
    assert_int_equal(read(pipes[0], &r, sizeof r), sizeof r);
    close(pipes[0]);
    assert_true(waitpid(pid, &status, 0) == pid && status == 0);
    return r;
}

static void same_model(const char *a, const char *b, const char *file)
{
    char command[600];

    snprintf(command, sizeof command, "cmp '%s/%s/%s' '%s/%s/%s'", dir, a, file, dir, b, file);
    assert_int_equal(system(command), 0);
}

/* The estimate is an upper one, up to huge pages that are not full and what holds a moment at the end: for these 16 MiB
 * are ample. What it counts is touched, so it is not far above. */
static void check_peak(const struct outcome *r)
{
    assert_int_equal(r->told.rc, GRAM_OK);
    if (MEASURED && (r->peak > r->told.said + 16 * MIB || r->peak < r->told.said * 3 / 4))
        fail_msg("said %.1f MiB (%s), and took %.1f", (double)r->told.said / MIB, r->told.note, (double)r->peak / MIB);
}

/* The program itself, which is in the numbers, is not as large in every process. */
#define SLACK (2 * MIB)

static bool close_to(uint64_t a, uint64_t b)
{
    return a < b + SLACK && b < a + SLACK;
}

static void what_is_said_is_what_is_taken(void **state)
{
    for (size_t rank = 0; rank <= 3; rank += 3) {
        const char *file = rank ? "adapter_model.safetensors" : "model.safetensors";
        struct outcome off = run(rank ? "lora-off" : "off", GRAM_RECOMPUTE_OFF, rank, 0);
        struct outcome on = run(rank ? "lora-on" : "on", GRAM_RECOMPUTE_ON, rank, 0);
        struct outcome some;

        (void)state;
        check_peak(&off);
        check_peak(&on);
        assert_true(on.told.said < off.told.said * 7 / 8 && off.told.said > ROWS * 10 * MIB);
        assert_non_null(strstr(on.told.note, "2 of 2 layers recomputed"));
        assert_null(strstr(off.told.note, "recomputed"));

        /* auto: none in a machine that has room, and in one that lacks a little what it takes: here both layers, for
         * one that is recomputed is in memory beside the one that is kept. */
        some = run(rank ? "lora-roomy" : "roomy", GRAM_RECOMPUTE_AUTO, rank, off.told.said + SLACK);
        check_peak(&some);
        assert_true(close_to(some.told.said, off.told.said) && !strstr(some.told.note, "recomputed"));
        some = run(rank ? "lora-some" : "some", GRAM_RECOMPUTE_AUTO, rank, off.told.said - SLACK);
        check_peak(&some);
        assert_non_null(strstr(some.told.note, "layers recomputed"));
        assert_true(some.told.said < off.told.said - SLACK);
        some = run(rank ? "lora-tight" : "tight", GRAM_RECOMPUTE_AUTO, rank, on.told.said + SLACK);
        check_peak(&some);
        assert_true(close_to(some.told.said, on.told.said));
        same_model(rank ? "lora-off" : "off", rank ? "lora-on" : "on", file);
        same_model(rank ? "lora-off" : "off", rank ? "lora-some" : "some", file);
        same_model(rank ? "lora-off" : "off", rank ? "lora-tight" : "tight", file);
    }
}

static bool exists(const char *name)
{
    char *p = check_tmppath(name);
    bool yes = gr_path_exists(p);

    free(p);
    return yes;
}

static void what_cannot_fit_stops_before_the_first_step(void **state)
{
    struct outcome r = run("fits", GRAM_RECOMPUTE_ON, 0, 0), no;

    (void)state;
    no = run("none", GRAM_RECOMPUTE_AUTO, 0, r.told.said - SLACK);      /* not even with every layer made again */
    assert_true(no.told.rc == GRAM_ENOMEM && no.told.steps == 0);
    assert_non_null(strstr(no.told.note, "2 of 2 layers recomputed"));
    assert_non_null(strstr(no.told.err.text, "the machine has"));
    assert_non_null(strstr(no.told.err.text, "a smaller `batch-tokens`"));
    assert_true(!exists("none/model.safetensors") && !exists("none/checkpoints"));
    no = run("none", GRAM_RECOMPUTE_OFF, 0, r.told.said);
    assert_true(no.told.rc == GRAM_ENOMEM && no.told.steps == 0);
    assert_non_null(strstr(no.told.err.text, "`recompute auto`"));

    /* Weights of 105 KiB and three times as much besides: said before they are read. */
    no = run("none", GRAM_RECOMPUTE_AUTO, 0, 400 << 10);
    assert_true(no.told.rc == GRAM_ENOMEM && no.told.steps == 0 && !*no.told.note);
    assert_non_null(strstr(no.told.err.text, "`lora-rank`"));
    kept = GRAM_STATE_BF16;                 /* twice as much: they are read, and the rest does not fit */
    no = run("none", GRAM_RECOMPUTE_AUTO, 0, 400 << 10);
    kept = GRAM_STATE_F32;
    assert_true(no.told.rc == GRAM_ENOMEM && no.told.steps == 0 && *no.told.note);
}

/* ---- Writing -------------------------------------------------------------------------------------- */

enum { ANSWERS = 96, NEW = MEASURED ? 500 : 20 };

static int no_answer(void *arg, const gram_answer *a)
{
    assert_int_not_equal(a->finish, GRAM_FINISH_FAILED);
    ++*(int *)arg;
    return 0;
}

/* In a process of its own; the note comes before the first answer. */
static void write_answers(uint64_t machine, struct told *t)
{
    const gram_options o = { .threads = 1, .note = on_note, .note_arg = t };
    const gram_message turn = { .role = "user", .content = "Go on." };
    const gram_prompt prompt = { .turn = &turn, .n = 1 };
    gram_generation g;
    gram_model *m;

    gram_generation_init(&g);
    g.n = ANSWERS;
    g.max_new_tokens = g.min_new_tokens = NEW;
    t->rc = gram_open(&m, MODEL, &o, &t->err);
    pretended = machine;
    if (!t->rc)
        t->rc = gram_generate(m, &prompt, 1, &g, no_answer, &t->steps, &t->err);
    t->said = m ? m->told : 0;
    gram_close(m);
}

static struct outcome run_writing(uint64_t machine)
{
    struct outcome r = { 0 };
    struct rusage use;
    int pipes[2], status;
    pid_t pid;

    assert_int_equal(pipe(pipes), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        write_answers(machine, &r.told);
        getrusage(RUSAGE_SELF, &use);
        r.peak = (uint64_t)use.ru_maxrss << 10;
        _exit(write(pipes[1], &r, sizeof r) != sizeof r);
    }
    close(pipes[1]);
    assert_int_equal(read(pipes[0], &r, sizeof r), sizeof r);
    close(pipes[0]);
    assert_true(waitpid(pid, &status, 0) == pid && status == 0);
    return r;
}

static void writing_takes_what_it_says(void **state)
{
    struct outcome r = run_writing(0), no;

    (void)state;
    assert_int_equal(r.told.steps, ANSWERS);
    assert_non_null(strstr(r.told.note, "keys and values"));
    check_peak(&r);
    no = run_writing(r.told.said - SLACK);
    assert_true(no.told.rc == GRAM_ENOMEM && no.told.steps == 0);
    assert_non_null(strstr(no.told.err.text, "the machine has"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_said_is_what_is_taken),
        cmocka_unit_test(what_cannot_fit_stops_before_the_first_step), cmocka_unit_test(writing_takes_what_it_says),
    };

    dir = check_tmpdir();
    write_pairs();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
