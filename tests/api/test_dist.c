/* test_dist.c - a run shared out over processes: four end with one's weights as far as the order of the sums lets them,
 * and with their own bits each time; a stop, a death and a resume; what differs between processes is said. With every
 * weight, with adapters, and with reward heads.
 *
 * The program starts itself under mpirun, as `test_dist KIND-WAY OUT`; runs that do not need one another go side by
 * side. */
#include <float.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include "check.h"
#include "file/io.h"
#include "file/weights.h"
#include "gram/train.h"
#include "optim/optim.h"
#include "mpirun.h"

#define MODEL "tests/golden/train/judge"
#define RATE 3e-3
enum { ROWS = 26, BATCH = 6, STEPS = 12, WARMUP = 2 };

static char *dir;

/* ---- What each process of a run does --------------------------------------------------------------- */

/* What is trained. Adapters begin as nothing, and learn at a larger rate. */
static const struct kind { const char *name; gram_loss loss; size_t rank; const char *file; } kinds[] = {
    { "full", GRAM_LOSS_GRAM, 0, "model.safetensors" },
    { "lora", GRAM_LOSS_GRAM, 3, "adapter_model.safetensors" },
    { "purm", GRAM_LOSS_PURM, 0, "model.safetensors" },
    { "lora_bt", GRAM_LOSS_BT_POSREG, 3, "adapter_model.safetensors" },
};

/* That of `KIND-WAY`, and its way. */
static const struct kind *kind_of(const char *name, const char **way)
{
    for (size_t i = 0; i < GR_COUNT(kinds); i++) {
        size_t n = strlen(kinds[i].name);
        if (!strncmp(name, kinds[i].name, n) && name[n] == '-') {
            *way = name + n + 1;
            return &kinds[i];
        }
    }
    return NULL;
}

struct watch { uint64_t stop_at; };

static int on_step(void *arg, const gram_train_step *s)
{
    const struct watch *w = arg;

    return s->step == w->stop_at;
}

static void on_note(void *arg, const char *text)
{
    (void)arg;
    printf("note: %s\n", text);
}

/* Dies when the checkpoint of step 4 is there: somewhere in the steps behind it. */
static void *die_behind(void *path)
{
    while (!gr_path_exists(path))
        usleep(1000);
    raise(SIGKILL);
    return NULL;
}

static gram_train_options options(const struct kind *k, struct watch *w)
{
    gram_train_options o;

    gram_train_options_init(&o, GRAM_STAGE_FINETUNE);
    gram_train_options_set_loss(&o, k->loss);
    o.lora_rank = k->rank;
    o.lora_dropout = k->rank ? 0.1 : -1;
    o.head = k->loss == GRAM_LOSS_BT_POSREG ? GRAM_HEAD_MLP : GRAM_HEAD_LINEAR;
    if (o.head == GRAM_HEAD_MLP)
        o.head_width = 24;
    o.lr = RATE;
    o.warmup = (double)WARMUP / STEPS;
    o.weight_decay = 0.01;
    o.batch_rows = BATCH;
    o.steps = STEPS;
    o.save_every = 4;
    o.eval_every = 5;
    if (!gram_loss_is_scalar(k->loss))
        o.model.judge_prompt = "Q {input}\nA {response_a}\nB {response_b}\nBetter:";
    o.model.threads = 1;
    o.model.batch_tokens = 300;
    o.progress = on_step;
    o.arg = w;
    return o;
}

static gram_status train(const char *name, const char *out, gram_dist *d, gram_train_report *report, gram_err *err)
{
    struct watch w = { 0 };
    const char *way = "";
    gram_train_options o = options(kind_of(name, &way), &w);
    char pairs[300], held[300], four[300];
    pthread_t thread;

    snprintf(pairs, sizeof pairs, "%s/pairs.jsonl", dir);
    snprintf(held, sizeof held, "%s/held.jsonl", dir);
    snprintf(four, sizeof four, "%s/checkpoints/step-000004.safetensors", out);
    o.dist = d;
    o.note = d ? on_note : NULL;
    o.eval_file = held;
    o.resume = strstr(way, "resume") != NULL;
    if (!strcmp(way, "drawn"))                  /* the weights as they begin: a step of rate 0 */
        o.lr = 0, o.steps = 1, o.eval_file = NULL, o.eval_every = 0;
    if (!strcmp(way, "first") || !strcmp(way, "stop"))
        w.stop_at = way[0] == 'f' ? 1 : 7;
    if (!strcmp(way, "differ") && gram_dist_rank(d) == 2)
        o.eval_file = pairs;
    if (!strcmp(way, "half"))
        o.model.dtype = GRAM_BF16, o.optim_state = GRAM_STATE_BF16, o.best = true;
    if (!strcmp(way, "die") && gram_dist_rank(d) == 2)
        pthread_create(&thread, NULL, die_behind, four);
    return gram_finetune(MODEL, pairs, out, &o, report, err);
}

static int take_part(const char *way, const char *out)
{
    gram_train_report report;
    gram_dist *d;
    gram_err err;
    gram_status rc;

    dir = getenv("TEST_DIST_DIR");
    mpirun_hold_on();
    if (gram_dist_open(&d, mpirun_say, NULL, &err))
        return puts(err.text), 1;
    rc = train(way, out, d, &report, &err);
    if (rc && gram_dist_speaks(d))
        mpirun_say(NULL, &err);
    if (!rc && gram_dist_rank(d) == 0)
        printf("done: %.6f %.6f\n", report.after.value, report.loss);
    fflush(stdout);
    gram_dist_close(d);
    return rc ? 1 : 0;
}

/* ---- Runs ------------------------------------------------------------------------------------------ */

static const char *self;
struct run { char way[40], out[40]; int processes; FILE *f; char text[1 << 14]; int status; };

static void start(struct run *r)
{
    char command[1200];

    snprintf(command, sizeof command, "TEST_DIST_DIR='%s' " MPIRUN_APART "mpirun -np %d '%s' %s '%s/%s' 2>&1", dir, dir,
             r->processes, self, r->way, dir, r->out);
    r->f = popen(command, "r");
    assert_non_null(r->f);
}

static void finish(struct run *r)
{
    size_t n = fread(r->text, 1, sizeof r->text - 1, r->f);

    while (fgetc(r->f) != EOF)
        continue;
    r->text[n] = '\0';
    r->status = mpirun_status(pclose(r->f));
}

static void check(const struct run *r, bool well, const char *says)
{
    if ((r->status == 0) == well && strstr(r->text, says))
        return;
    fprintf(stderr, "%s\n", r->text);           /* cmocka would cut it */
    fail_msg("%s: status %d, wanted '%s'", r->way, r->status, says);
}

static void command(const char *format, const char *a, const char *b)
{
    char text[1000];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(text, sizeof text, format, dir, a, dir, b);
#pragma GCC diagnostic pop
    if (system(text))
        fail_msg("%s", text);
}

static void same_model(const struct kind *k, const char *a, const char *b)
{
    char x[300], y[300];

    snprintf(x, sizeof x, "%s-%s/%s", k->name, a, k->file);
    snprintf(y, sizeof y, "%s-%s/%s", k->name, b, k->file);
    command("cmp '%s/%s' '%s/%s'", x, y);
}

static gr_st *tensors(const struct kind *k, const char *out, const char *name)
{
    char path[600];
    gr_st *st;

    snprintf(path, sizeof path, "%s/%s-%s/%s", dir, k->name, out, name);
    CHECK_OK(gr_st_open(&st, path, &check_err));
    return st;
}

static const gr_named *tensor(const gr_st *st, const char *name)
{
    for (size_t i = 0; i < gr_st_count(st); i++)
        if (!strcmp(gr_st_at(st, i)->name, name))
            return gr_st_at(st, i);
    fail_msg("tensor %s is missing", name);
    return NULL;
}

/* ---- Bounds ----------------------------------------------------------------------------------------- */

/* Tokens of a step at most: both orders of BATCH rows of about 55. Each is a term of the sums that are gradients. */
#define TERMS (2 * BATCH * 60)

/* The gradients of a step: one process and four add the same TERMS terms in other orders, and two orders of n terms lie
 * within 2 (n - 1) u times the sum of their sizes, u = FLT_EPSILON / 2. Roundings go up as often as down, so what the
 * sum of sizes exceeds the largest gradient by is more than made good. m after a step is a tenth of the gradient. */
static void check_gradients(const struct kind *k)
{
    gr_st *a = tensors(k, "one-first", "checkpoints/step-000001.safetensors");
    gr_st *b = tensors(k, "first", "checkpoints/step-000001.safetensors");
    size_t compared = 0;

    for (size_t i = 0; i < gr_st_count(a); i++) {
        const gr_named *x = gr_st_at(a, i);
        if (strncmp(x->name, "m.", 2))
            continue;
        compared++;
        CHECK_CLOSE((const float *)tensor(b, x->name)->data, (const float *)x->data, x->bytes / sizeof(float),
                    TERMS * FLT_EPSILON);
    }
    assert_true(compared > 10);
    gr_st_close(a);
    gr_st_close(b);
}

/* Weights at the end: docs/training.md derives sqrt(8 n eps) times the sum of the rates. */
static void check_weights(const struct kind *kind, const char *four)
{
    gr_st *a = tensors(kind, "one", kind->file), *b = tensors(kind, four, kind->file);
    gr_st *from = tensors(kind, "drawn", kind->file);
    double off = 0, way = 0, rates = 0;
    size_t n = 0;

    for (uint64_t s = 0; s < STEPS; s++)
        rates += gr_learning_rate(GR_SCHEDULE_COSINE, RATE, s, WARMUP, STEPS);

    for (size_t i = 0; i < gr_st_count(a); i++) {
        const gr_named *x = gr_st_at(a, i);
        const float *p = (const float *)x->data, *q = (const float *)tensor(b, x->name)->data;
        const float *s = (const float *)tensor(from, x->name)->data;
        for (size_t k = 0; k < x->bytes / sizeof(float); k++) {
            off += ((double)p[k] - q[k]) * ((double)p[k] - q[k]);
            way += ((double)p[k] - s[k]) * ((double)p[k] - s[k]);
        }
        n += x->bytes / sizeof(float);
    }
    off = sqrt(off / (double)n);
    way = sqrt(way / (double)n);
    if (!(off <= sqrt(8 * TERMS * FLT_EPSILON) * rates && way > 10 * sqrt(8 * TERMS * FLT_EPSILON) * rates))
        fail_msg("weights went %g, and those of one process and of four are %g apart", way, off);
    gr_st_close(a);
    gr_st_close(b);
    gr_st_close(from);
}

/* ---- Tests ------------------------------------------------------------------------------------------ */

/* By one process. */
static gram_status alone(const struct kind *k, const char *way, const char *out, gram_train_report *report)
{
    char name[40], path[600];

    snprintf(name, sizeof name, "%s-%s", k->name, way);
    snprintf(path, sizeof path, "%s/%s-%s", dir, k->name, out);
    return train(name, path, NULL, report, &check_err);
}

static struct run run_of(const struct kind *k, const char *way, int processes, const char *out)
{
    struct run r = { .processes = processes };

    snprintf(r.way, sizeof r.way, "%s-%s", k->name, way);
    snprintf(r.out, sizeof r.out, "%s-%s", k->name, out);
    return r;
}

/* Four processes alone, stopped and killed; what one process makes of the same meanwhile. */
static void four_are_one(const struct kind *k)
{
    static struct run run[4];
    gram_train_report report;
    double after, loss;

    run[0] = run_of(k, "whole", 4, "whole");
    run[1] = run_of(k, "first", 4, "first");
    run[2] = run_of(k, "stop", 4, "stop");
    run[3] = run_of(k, "die", 4, "die");
    for (size_t i = 0; i < GR_COUNT(run); i++)
        start(&run[i]);
    CHECK_OK(alone(k, "whole", "one", &report));
    CHECK_OK(alone(k, "drawn", "drawn", NULL));
    assert_int_equal(alone(k, "first", "one-first", NULL), GRAM_ESTOPPED);
    for (size_t i = 0; i < GR_COUNT(run); i++)
        finish(&run[i]);

    check(&run[0], true, "4 processes with 1 thread each");
    check(&run[0], true, "done: ");
    assert_int_equal(sscanf(strstr(run[0].text, "done: "), "done: %lf %lf", &after, &loss), 2);
    assert_true(fabs(after - report.after.value) < 1e-6);       /* counted, not summed */
    assert_true(fabs(loss - report.loss) < 1e-3);
    check_weights(k, "whole");
    check(&run[1], false, "stopped after step 1 of");
    check_gradients(k);
    check(&run[2], false, "stopped after step 7 of");
    check(&run[3], false, "said: process 2 of 4 (");
    check(&run[3], false, ") has died");
}

/* Both go on; and so it is the same from run to run. */
static void they_go_on(const struct kind *k)
{
    static struct run run[2];

    run[0] = run_of(k, "resume", 4, "stop");
    run[1] = run_of(k, "resume", 4, "die");
    for (size_t i = 0; i < GR_COUNT(run); i++)
        start(&run[i]);
    for (size_t i = 0; i < GR_COUNT(run); i++)
        finish(&run[i]);
    check(&run[0], true, "done: ");
    check(&run[1], true, "done: ");
    same_model(k, "whole", "stop");
    same_model(k, "whole", "die");
}

static void a_run_of_four_is_a_run_of_one(void **state)
{
    const struct kind *k = *state;

    four_are_one(k);
    command("cp -r '%s/%s' '%s/%s'", run_of(k, "", 0, "stop").out, run_of(k, "", 0, "two").out);
    they_go_on(k);
}

/* A stopped run of four (of the test before) goes on by two; other rows in one process; bfloat16 weights, and at the
 * end those of the best step. */
static void other_numbers_rows_and_types(void **state)
{
    const struct kind *k = *state;
    static struct run run[3];

    run[0] = run_of(k, "resume", 2, "two");
    run[1] = run_of(k, "differ", 4, "differ");
    run[2] = run_of(k, "half", 3, "half");
    for (size_t i = 0; i < GR_COUNT(run); i++)
        start(&run[i]);
    for (size_t i = 0; i < GR_COUNT(run); i++)
        finish(&run[i]);
    check(&run[0], true, "was written by 4 processes, and 2 go on");
    check_weights(k, "two");
    check(&run[1], false, "has other held-out rows than process 0");
    check(&run[2], true, "done: ");
}

static void put_rows(const char *name, int from, int n)
{
    char path[300];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "w");
    assert_non_null(f);
    for (int i = from; i < from + n; i++)
        fprintf(f, "{\"prompt\":\"q%d\",\"chosen\":\"%.*s\",\"rejected\":\"%.*s\"}\n", i, 3 + i % 7, "zzzzzzzzzz",
                2 + i % 5, "aaaaaaaa");
    assert_int_equal(fclose(f), 0);
}

int main(int argc, char **argv)
{
    struct kind k[GR_COUNT(kinds)];             /* cmocka hands over what may be written to */
    const struct CMUnitTest tests[] = {
        { "every weight", a_run_of_four_is_a_run_of_one, NULL, NULL, &k[0] },
        { "every weight: others", other_numbers_rows_and_types, NULL, NULL, &k[0] },
        { "adapters", a_run_of_four_is_a_run_of_one, NULL, NULL, &k[1] },
        { "adapters: others", other_numbers_rows_and_types, NULL, NULL, &k[1] },
        { "PURM's head", a_run_of_four_is_a_run_of_one, NULL, NULL, &k[2] },
        { "a reward head and adapters", a_run_of_four_is_a_run_of_one, NULL, NULL, &k[3] },
    };

    memcpy(k, kinds, sizeof k);
    if (argc == 3)
        return take_part(argv[1], argv[2]);
    mpirun_env();
    if (mpirun_missing())
        return puts("  mpirun is not installed: runs of several processes were not tried"), 77;
    self = argv[0];
    dir = check_tmpdir();
    put_rows("pairs.jsonl", 0, ROWS);
    put_rows("held.jsonl", 100, 9);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
