/* test_runs.c - runs that get more steps, end early or are out of time; several files of rows and of held-out rows, in
 * both stages; what is left out, counted and named; the disk; a checkpoint before the model. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "check.h"
#include "file/io.h"
#include "file/weights.h"
#include "gram/train.h"
#include "train/metrics_file.h"

#define MODEL "tests/golden/train/judge"

struct watch { uint64_t stop_at, seen, held; char notes[8192], judged[2048]; };

static int on_step(void *arg, const gram_train_step *s)
{
    struct watch *w = arg;

    w->seen++;
    assert_true(s->took > 0 && s->took <= s->seconds);
    return s->step == w->stop_at;
}

static void on_note(void *arg, const char *text)
{
    struct watch *w = arg;

    snprintf(w->notes + strlen(w->notes), sizeof w->notes - strlen(w->notes), "%s\n", text);
}

/* "a.jsonl@0 a.jsonl@4+", + where it was the best so far */
static void on_held(void *arg, const gram_train_held *h)
{
    struct watch *w = arg;

    snprintf(w->judged + strlen(w->judged), sizeof w->judged - strlen(w->judged), "%s%s@%d%s", *w->judged ? " " : "",
             h->file, (int)h->step, h->best ? "+" : "");
}

static gram_train_options options(gram_stage stage, struct watch *w)
{
    gram_train_options o;

    gram_train_options_init(&o, stage);
    o.lr = 3e-3;
    o.warmup = 0;
    o.batch_rows = 3;
    o.steps = 6;
    o.model.judge_prompt = "Q {input}\nA {response_a}\nB {response_b}\nBetter:";
    o.model.threads = 1;
    o.progress = on_step;
    o.note = on_note;
    o.held = on_held;
    o.arg = w;
    return o;
}

/* Rows from..to of a list; turned: with the other label. */
static char *write_pairs(const char *name, int from, int to, bool turned)
{
    gr_buf b = { 0 };
    char *path;

    for (int i = from; i < to; i++)
        assert_true(gr_buf_printf(&b, "{\"prompt\":\"q%d\",\"%s\":\"%s\",\"%s\":\"%s\"}\n", i,
                                  turned ? "rejected" : "chosen", i % 3 ? "zzzz" : "zzz",
                                  turned ? "chosen" : "rejected", i % 2 ? "aaaa" : "aa"));
    path = check_write(name, b.p);
    gr_buf_clear(&b);
    return path;
}

static gram_status finetune(const char *data, const char *out, const gram_train_options *o, gram_train_report *r)
{
    char *to = check_tmppath(out);
    gram_status rc = gram_finetune(MODEL, data, to, o, r, &check_err);

    free(to);
    return rc;
}

static bool exists(const char *name)
{
    char *p = check_tmppath(name);
    bool yes = gr_path_exists(p);

    free(p);
    return yes;
}

/* The tensors of two directories; the words about them may differ. */
static bool same_weights(const char *a, const char *b)
{
    char *pa = check_tmppath(a), *pb = check_tmppath(b);
    gr_weights *x, *y;
    bool same;

    CHECK_OK(gr_weights_open_dir(&x, pa, &check_err));
    CHECK_OK(gr_weights_open_dir(&y, pb, &check_err));
    same = gr_weights_count(x) == gr_weights_count(y);
    for (size_t i = 0; i < gr_weights_count(x); i++) {
        const gr_named *s = gr_weights_at(x, i), *t = gr_weights_find(y, s->name);
        same = same && t && s->bytes == t->bytes && !memcmp(s->data, t->data, s->bytes);
    }
    gr_weights_close(x), gr_weights_close(y);
    free(pa), free(pb);
    return same;
}

static void says(const char *where, const char *what)
{
    if (!strstr(where, what))
        fail_msg("\"%s\" does not say \"%s\"", where, what);
}

static int at_once(void *arg, uint64_t done, uint64_t n)
{
    (void)arg, (void)done, (void)n;
    return 1;
}

/* ---- More steps ------------------------------------------------------------------------------------ */

/* Under a constant rate: stopped and ended runs both go on to 10 steps, with the bits of one that had them from the
 * start; the model of step 6 was the best, and is kept when the run goes on. */
static void a_constant_rate_takes_more_steps(void **state)
{
    char *pairs = write_pairs("more.jsonl", 0, 9, false), *held = write_pairs("held.jsonl", 20, 24, false);
    struct watch w = { 0 };
    gram_train_options o = options(GRAM_STAGE_FINETUNE, &w);
    gram_train_report r;

    (void)state;
    o.schedule = GRAM_SCHEDULE_CONSTANT;
    o.eval_file = held;
    o.eval_every = 2;
    o.steps = 10;
    CHECK_OK(finetune(pairs, "ten", &o, &r));
    o.steps = 6;
    o.resume = true;
    CHECK_OK(finetune(pairs, "six", &o, &r));
    assert_true(r.steps == 6 && exists("six/checkpoints/ended") && exists("six/checkpoints/step-000006.safetensors"));
    w.seen = 0;
    CHECK_OK(finetune(pairs, "six", &o, &r));               /* the same once more: nothing is left to do */
    assert_true(r.finished && w.seen == 0 && exists("six/checkpoints/ended"));
    o.steps = 4;
    assert_int_equal(finetune(pairs, "six", &o, &r), GRAM_EARG);
    says(check_err.text, "has taken 6 steps already, and 4 in all are asked for");
    o.steps = 10;
    CHECK_OK(finetune(pairs, "six", &o, &r));
    assert_true(r.resumed == 6 && r.steps == 10 && w.seen == 4 && !r.finished);
    assert_true(same_weights("ten", "six"));

    w = (struct watch){ .stop_at = 5 };
    o.steps = 6;
    assert_int_equal(finetune(pairs, "five", &o, &r), GRAM_ESTOPPED);
    w.stop_at = 0;
    o.steps = 0;
    o.epochs = 4;                                           /* of 9 rows: 12 steps */
    CHECK_OK(finetune(pairs, "five", &o, &r));
    assert_true(r.resumed == 5 && r.steps == 12);
    free(pairs), free(held);
}

/* --best, ended at its last and best step: what follows is worse, and the model that comes out is still that one. */
static void the_best_of_a_run_that_went_on_is_not_lost(void **state)
{
    char *pairs = write_pairs("up.jsonl", 0, 6, false), *held = write_pairs("against.jsonl", 0, 4, true);
    struct watch w = { 0 };
    gram_train_options o = options(GRAM_STAGE_FINETUNE, &w);
    gram_train_report r;

    (void)state;
    o.schedule = GRAM_SCHEDULE_CONSTANT;
    o.eval_file = held;
    o.eval_every = 1;
    o.best = o.resume = true;
    o.steps = 1;
    CHECK_OK(finetune(pairs, "first", &o, &r));
    CHECK_OK(finetune(pairs, "first-kept", &o, &r));
    assert_int_equal(r.best_step, 1);
    o.steps = 12;
    CHECK_OK(finetune(pairs, "first", &o, &r));
    assert_int_equal(r.resumed, 1);
    assert_true(r.best_step == 1 ? same_weights("first", "first-kept") : !same_weights("first", "first-kept"));
    assert_true(exists("first/best/model.safetensors") == (r.best_step < 12));
    free(pairs), free(held);
}

/* A falling rate: refused with how it goes on, and goes on with --extend, at the rates of the longer run. A run that
 * has ended without it has no checkpoint left. */
static void a_falling_rate_takes_more_steps_where_it_is_asked_to(void **state)
{
    char *pairs = write_pairs("fall.jsonl", 0, 9, false), *dir = check_tmppath("fall");
    struct watch w = { .stop_at = 3 };
    gram_train_options o = options(GRAM_STAGE_FINETUNE, &w);
    gram_train_report r;
    gr_metric *m;
    size_t n;

    (void)state;
    o.resume = true;
    assert_int_equal(finetune(pairs, "fall", &o, &r), GRAM_ESTOPPED);
    w.stop_at = 0;
    o.steps = 12;
    assert_int_equal(finetune(pairs, "fall", &o, &r), GRAM_EARG);
    says(check_err.text, "one of 6 steps");
    says(check_err.text, "`extend`");
    o.extend = true;
    CHECK_OK(finetune(pairs, "fall", &o, &r));
    assert_true(r.resumed == 3 && r.steps == 12 && exists("fall/checkpoints/ended"));
    CHECK_OK(gr_metrics_read(dir, &m, &n, &check_err));
    for (size_t i = 0; i < n; i++) {
        double of = i < 3 ? 6 : 12, want = 3e-3 * 0.5 * (1 + cos(M_PI * (double)i / of));
        if (fabs(m[i].lr - want) > 1e-9)
            fail_msg("step %zu: rate %g, wanted %g", i + 1, m[i].lr, want);
    }
    free(m);
    o.extend = false;
    o.steps = 6;
    CHECK_OK(finetune(pairs, "fell", &o, &r));
    assert_false(exists("fell/checkpoints"));
    o.steps = 7;
    assert_int_equal(finetune(pairs, "fell", &o, &r), GRAM_EARG);
    says(check_err.text, "a run of 6 steps that has ended, and 7 are asked for");
    free(pairs), free(dir);
}

static void another_runs_options_are_named_alone(void **state)
{
    char *pairs = write_pairs("named.jsonl", 0, 9, false), *other = write_pairs("others.jsonl", 1, 9, false);
    struct watch w = { .stop_at = 2 };
    gram_train_options o = options(GRAM_STAGE_FINETUNE, &w);
    gram_train_report r;

    (void)state;
    o.resume = true;
    assert_int_equal(finetune(pairs, "named", &o, &r), GRAM_ESTOPPED);
    o.clip = 5;
    o.seed = 9;
    assert_int_equal(finetune(pairs, "named", &o, &r), GRAM_EARG);
    says(check_err.text, "here is another: clip (1 there, 5 here), seed (0 there, 9 here)");
    o.clip = 1;
    o.seed = 0;
    assert_int_equal(finetune(other, "named", &o, &r), GRAM_EARG);
    says(check_err.text, "here is another: training rows");
    assert_null(strchr(strstr(check_err.text, "another:"), ','));
    w.stop_at = 0;
    o.model.threads = 2;                    /* no bit depends on it, nor on what stays on the disk */
    o.keep = 1;
    o.save_every = 3;
    CHECK_OK(finetune(pairs, "named", &o, &r));
    free(pairs), free(other);
}

/* ---- Early ends ------------------------------------------------------------------------------------ */

/* Held-out rows with the other labels get worse: with patience 2 the run ends two judgings behind the best one, and
 * what is written is that step's, or the best's. Stopped behind it, it goes on to the same. */
static void patience_ends_a_run(void **state)
{
    char *pairs = write_pairs("towards.jsonl", 0, 6, false), *held = write_pairs("turned.jsonl", 0, 4, true);
    struct watch w = { 0 };
    gram_train_options o = options(GRAM_STAGE_FINETUNE, &w);
    gram_train_report r, best, again;

    (void)state;
    o.steps = 40;
    o.eval_file = held;
    o.eval_every = 1;
    o.patience = 2;
    CHECK_OK(finetune(pairs, "early", &o, &r));
    assert_true(r.early && r.best_step > 0 && r.steps == r.best_step + 2 && r.steps < 40);
    assert_true(exists("early/best/model.safetensors"));
    o.best = true;
    CHECK_OK(finetune(pairs, "early-best", &o, &best));
    assert_true(best.early && best.steps == r.steps && best.best_step == r.best_step);
    assert_true(same_weights("early/best", "early-best"));
    o.best = false;
    o.resume = true;
    w.stop_at = r.best_step + 1;
    assert_int_equal(finetune(pairs, "early-stop", &o, &again), GRAM_ESTOPPED);
    w.stop_at = 0;
    CHECK_OK(finetune(pairs, "early-stop", &o, &again));
    assert_true(again.early && again.steps == r.steps && again.resumed == r.best_step + 1);
    assert_true(same_weights("early", "early-stop"));
    CHECK_OK(finetune(pairs, "early-stop", &o, &again));
    assert_true(again.finished);
    free(pairs), free(held);
}

static void a_run_out_of_time_stops_with_a_checkpoint(void **state)
{
    char *pairs = write_pairs("late.jsonl", 0, 9, false);
    struct watch w = { 0 };
    gram_train_options o = options(GRAM_STAGE_FINETUNE, &w);
    gram_train_report r;

    (void)state;
    CHECK_OK(finetune(pairs, "punctual", &o, &r));
    o.max_minutes = 1e-9;
    o.resume = true;
    for (uint64_t step = 1; step < 6; step++) {
        assert_int_equal(finetune(pairs, "late", &o, &r), GRAM_ESTOPPED);
        assert_int_equal(r.steps, step);
        says(check_err.text, "`max-minutes` have gone by");
    }
    CHECK_OK(finetune(pairs, "late", &o, &r));              /* the last step has nothing to stop for */
    assert_true(same_weights("punctual", "late"));
    free(pairs);
}

/* ---- Files ----------------------------------------------------------------------------------------- */

static void files_are_read_one_after_the_other(void **state)
{
    char *all = write_pairs("all.jsonl", 0, 9, false), *a = write_pairs("a.jsonl", 0, 4, false);
    char *b = write_pairs("b.jsonl", 4, 9, false), *bad = check_write("bad.jsonl", "{}\n");
    const char *more[] = { b, NULL };
    struct watch w = { 0 };
    gram_train_options o = options(GRAM_STAGE_FINETUNE, &w);
    gram_train_report r;

    (void)state;
    CHECK_OK(finetune(all, "one-file", &o, &r));
    o.more_data = more;
    CHECK_OK(finetune(a, "two-files", &o, &r));
    assert_int_equal(r.rows, 9);
    assert_true(same_weights("one-file", "two-files"));
    more[0] = bad;
    assert_int_equal(finetune(a, "bad-file", &o, &r), GRAM_EFORMAT);
    says(check_err.text, "bad.jsonl:1");
    free(all), free(a), free(b), free(bad);
}

/* The first set decides; the second is judged at the same steps and changes nothing. */
static void held_out_sets_are_judged_beside_each_other(void **state)
{
    char *pairs = write_pairs("learnt.jsonl", 0, 9, false), *first = write_pairs("first.jsonl", 20, 23, false);
    char *second = write_pairs("second.jsonl", 30, 35, true), *dir = check_tmppath("sets");
    const char *more[] = { second, NULL };
    struct watch w = { 0 };
    gram_train_options o = options(GRAM_STAGE_FINETUNE, &w);
    gram_train_report one, two;
    gr_metric *m;
    size_t n, held[2] = { 0 };

    (void)state;
    o.eval_file = first;
    o.eval_every = 3;
    CHECK_OK(finetune(pairs, "one-set", &o, &one));
    w = (struct watch){ 0 };
    o.more_eval = more;
    CHECK_OK(finetune(pairs, "sets", &o, &two));
    assert_true(same_weights("one-set", "sets") && two.best_step == one.best_step && two.eval_rows == 3);
    assert_true(two.after.value == one.after.value && two.loss_after == one.loss_after && two.loss_before > 0);
    says(w.judged, "first.jsonl@0 second.jsonl@0 first.jsonl@3+ second.jsonl@3 first.jsonl@6");
    says(w.notes, "second.jsonl: accuracy on 5 held-out pairs");
    CHECK_OK(gr_metrics_read(dir, &m, &n, &check_err));
    for (size_t i = 0; i < n; i++)
        if (m[i].held)
            held[m[i].set]++;
    assert_true(held[0] == 3 && held[1] == 3);
    free(m);
    for (size_t k = 0; k < 2; k++) {
        gr_held h;
        CHECK_OK(gr_metrics_judged(dir, 6, k, &h, &check_err));
        assert_int_equal(h.n, k ? 5 : 3);
        free(h.p);
    }
    more[0] = "nowhere.jsonl";
    assert_int_equal(finetune(pairs, "nowhere", &o, &two), GRAM_EIO);
    assert_false(exists("nowhere"));
    free(pairs), free(first), free(second), free(dir);
}

/* Stage 1: the loss of held-out groups before and after, the best weights by it, and the same however it is cut. */
static void stage_1_has_a_held_out_loss(void **state)
{
    char *groups = check_write("groups.jsonl", "{\"prompt\":\"a\",\"responses\":[\"one two\",\"two three\",\"four\"]}\n"
                                              "{\"prompt\":\"b\",\"responses\":[\"two one\",\"one\",\"four two\"]}\n");
    char *held = check_write("held1.jsonl", "{\"prompt\":\"c\",\"responses\":[\"one two\",\"four\"]}\n"
                                           "{\"prompt\":\"d\",\"responses\":[\"a longer answer\",\"two\"]}\n");
    char *out = check_tmppath("stage1"), *cut = check_tmppath("stage1-cut");
    struct watch w = { 0 };
    gram_train_options o = options(GRAM_STAGE_PRETRAIN, &w);
    gram_train_report r, small;

    (void)state;
    o.eval_file = held;
    o.eval_every = 2;
    o.best = true;
    CHECK_OK(gram_pretrain(MODEL, groups, out, &o, &r, &check_err));
    assert_true(r.loss_after < r.loss_before && isnan(r.after.value) && isnan(r.best_accuracy));
    assert_true(r.best_step > 0 && fabs(r.best_loss - r.loss_after) < 1e-8 && r.eval_rows == 2);
    assert_true(exists("stage1/model.safetensors") && exists("stage1/report.html"));
    says(w.judged, "held1.jsonl@0 held1.jsonl@2+");
    o.model.batch_tokens = 10;
    CHECK_OK(gram_pretrain(MODEL, groups, cut, &o, &small, &check_err));
    assert_true(fabs(small.loss_before - r.loss_before) < 1e-6);
    free(groups), free(held), free(out), free(cut);
}

/* ---- What is left out, counted and named ----------------------------------------------------------- */

/* Answers that are one text, as they are and once they are cut, are left out in training and held-out rows. */
static void answers_that_are_one_text_are_left_out(void **state)
{
    gr_buf b = { 0 };
    char *rows, *clean;
    struct watch w = { 0 };
    gram_train_options o = options(GRAM_STAGE_FINETUNE, &w);
    gram_train_report r;

    (void)state;
    assert_true(gr_buf_puts(&b, "{\"prompt\":\"q1\",\"chosen\":\"same\",\"rejected\":\"same\"}\n"
                            "{\"prompt\":\"q2\",\"chosen\":\"zz\",\"rejected\":\"a\"}\n"
                            "{\"prompt\":\"q3\",\"chosen\":\""));
    for (int k = 0; k < 2; k++) {                   /* two answers that differ in their middle */
        for (int i = 0; i < 300; i++)
            assert_true(gr_buf_puts(&b, i == 150 ? k ? "X" : "Y" : "m"));
        assert_true(gr_buf_puts(&b, k ? "\"}\n" : "\",\"rejected\":\""));
    }
    rows = check_write("alike.jsonl", b.p);
    clean = check_write("clean.jsonl", "{\"prompt\":\"q2\",\"chosen\":\"zz\",\"rejected\":\"a\"}\n");
    o.model.truncate = GRAM_TRUNCATE_BALANCED;
    o.model.max_tokens = 120;
    CHECK_OK(finetune(rows, "alike", &o, &r));
    assert_true(r.alike == 2 && r.rows == 1 && r.truncated == 0);
    says(w.notes, "2 of 3 pairs are left out, since their two answers are the same text");
    CHECK_OK(finetune(clean, "clean", &o, &r));
    assert_true(r.alike == 0 && same_weights("alike", "clean"));
    gr_buf_clear(&b);
    free(rows), free(clean);
}

static void margins_and_weights_are_counted(void **state)
{
    char *rows = check_write("odd.jsonl",
        "{\"prompt\":\"q1\",\"chosen\":\"zz\",\"rejected\":\"a\",\"margin\":1}\n"
        "{\"prompt\":\"q2\",\"chosen\":\"zz\",\"rejected\":\"a\"}\n"
        "{\"prompt\":\"q3\",\"chosen\":\"zz\",\"rejected\":\"a\",\"margin\":-0.5}\n"
        "{\"prompt\":\"q4\",\"chosen\":\"zz\",\"rejected\":\"a\",\"margin\":-0.5,\"tie\":true}\n"
        "{\"prompt\":\"q5\",\"chosen\":\"zz\",\"rejected\":\"a\",\"margin\":1,\"weight\":0}\n");
    char *nothing = check_write("nothing.jsonl",
        "{\"prompt\":\"q\",\"chosen\":\"zz\",\"rejected\":\"a\",\"weight\":0}\n");
    struct watch w = { 0 };
    gram_train_options o = options(GRAM_STAGE_FINETUNE, &w);
    gram_train_report r;

    (void)state;
    o.model.judge_prompt = NULL;
    gram_train_options_set_loss(&o, GRAM_LOSS_BT_MARGIN);
    CHECK_OK(finetune(rows, "margins", &o, &r));
    says(w.notes, "1 of 5 rows have no margin of their own");
    says(w.notes, "1 of 5 rows have a negative margin");
    says(w.notes, "1 of 5 rows have the weight 0");
    assert_int_equal(finetune(nothing, "nothing", &o, &r), GRAM_EFORMAT);
    says(check_err.text, "every row has the weight 0");
    gram_train_options_set_loss(&o, GRAM_LOSS_BT);
    w = (struct watch){ 0 };
    CHECK_OK(finetune(rows, "plain", &o, &r));
    assert_null(strstr(w.notes, "margin"));         /* this loss does not look at them */
    free(rows), free(nothing);
}

/* Ties that are left out are none of the rows, of which the others are counted. */
static void ties_that_are_left_out_are_counted_so(void **state)
{
    char *rows = check_write("some-ties.jsonl",
        "{\"prompt\":\"q1\",\"chosen\":\"zz\",\"rejected\":\"a\",\"margin\":1}\n"
        "{\"prompt\":\"q2\",\"chosen\":\"zz\",\"rejected\":\"a\",\"tie\":true}\n");
    struct watch w = { 0 };
    gram_train_options o = options(GRAM_STAGE_FINETUNE, &w);
    gram_train_report r;

    (void)state;
    o.model.judge_prompt = NULL;
    gram_train_options_set_loss(&o, GRAM_LOSS_BT_MARGIN);
    o.ties = GRAM_TIES_DROP;
    CHECK_OK(finetune(rows, "ties-out", &o, &r));
    assert_true(r.rows == 1 && r.ties == 1);
    says(w.notes, "1 of 2 rows are ties, and left out");
    assert_null(strstr(w.notes, "no margin"));
    o.ties = GRAM_TIES_HALF;
    w = (struct watch){ 0 };
    CHECK_OK(finetune(rows, "ties-in", &o, &r));
    assert_true(r.rows == 2 && r.ties == 1);
    says(w.notes, "1 of 2 rows are ties\n");
    gram_train_options_set_loss(&o, GRAM_LOSS_DPO);
    w = (struct watch){ 0 };
    CHECK_OK(finetune(rows, "ties-dpo", &o, &r));
    says(w.notes, "1 of 2 rows are ties, and left out");
    free(rows);
}

/* A run that was stopped before its first checkpoint leaves no settings to be compared with, and what is begun in its
 * place may have another reference. */
static void another_reference_is_read_anew(void **state)
{
    char *pairs = write_pairs("refer.jsonl", 0, 9, false), *held = write_pairs("refer-held.jsonl", 20, 24, false);
    char *other = check_tmppath("referee");
    struct watch w = { 0 };
    gram_train_options o = options(GRAM_STAGE_FINETUNE, &w);
    gram_train_report stale, fresh;

    (void)state;
    o.model.judge_prompt = NULL;
    gram_train_options_set_loss(&o, GRAM_LOSS_SIMPO);
    o.lr = 3e-2;
    CHECK_OK(finetune(pairs, "referee", &o, &fresh));
    gram_train_options_set_loss(&o, GRAM_LOSS_DPO);
    o.eval_file = held;
    o.judging = at_once;
    assert_int_equal(finetune(pairs, "refer", &o, &stale), GRAM_ESTOPPED);
    assert_true(exists("refer/reference.jsonl"));
    o.judging = NULL;
    o.reference = other;
    o.resume = true;
    CHECK_OK(finetune(pairs, "refer", &o, &stale));
    CHECK_OK(finetune(pairs, "refer-anew", &o, &fresh));
    assert_true(stale.loss == fresh.loss);
    free(pairs), free(held), free(other);
}

/* What z of kto reads is cut by max-tokens, though no row's own answer is. */
static void kto_goes_on_with_the_same_cuts(void **state)
{
    char *rows = check_write("cuts.jsonl",
        "{\"prompt\":\"qqqqqqqqqqqqqqqqqqqqqqqqqqqqqq\",\"completion\":\"a\",\"label\":false}\n"
        "{\"prompt\":\"q\",\"completion\":\"zzzzzzzzzzzzzzzzzzzzzzzzzzzzzz\",\"label\":true}\n");
    struct watch w = { .stop_at = 2 };
    gram_train_options o = options(GRAM_STAGE_FINETUNE, &w);

    (void)state;
    o.model.judge_prompt = NULL;
    gram_train_options_set_loss(&o, GRAM_LOSS_KTO);
    o.model.max_tokens = 90;
    assert_int_equal(finetune(rows, "cuts", &o, NULL), GRAM_ESTOPPED);
    o.model.max_tokens = 70;
    o.resume = true;
    assert_int_equal(finetune(rows, "cuts", &o, NULL), GRAM_EARG);
    says(check_err.text, "training rows");
    free(rows);
}

#define REASONED "\"prompt\":\"q\",\"chosen\":\"x\",\"rejected\":\"y\",\"rationale\""
#define ANNOTATED "\"prompt\":\"p\",\"response1\":\"x\",\"response2\":\"y\",\"individual_preference\""
#define ANNOTATOR(score) "{\"score\":" score ",\"reasoning\":\"r\",\"feedback1\":\"f\",\"feedback2\":\"g\"}"

/* A reason is learnt in both orders, and a row may have several: rows are counted of rows, and reasons of reasons. */
static void rows_with_reasons_are_counted_so(void **state)
{
    char *rows = check_write("reasons.jsonl",
        "{" ANNOTATED ":[" ANNOTATOR("-1") "," ANNOTATOR("-2") "," ANNOTATOR("1") ",{\"score\":-1}],"
        "\"overall_preference\":-1}\n"
        "{" ANNOTATED ":[" ANNOTATOR("0") "],\"overall_preference\":0}\n"
        "{" REASONED ":\"The former, Response A, is better.\",\"weight\":0}\n"
        "{" REASONED ":null,\"dropped\":\"every proof has a flaw\"}\n");
    char *nothing = check_write("no-reasons.jsonl", "{" REASONED ":\"Response A is better.\",\"weight\":0}\n");
    struct watch w = { 0 };
    gram_train_options o = options(GRAM_STAGE_FINETUNE, &w);
    gram_train_report r;

    (void)state;
    gram_train_options_set_loss(&o, GRAM_LOSS_RATIONALE);
    CHECK_OK(finetune(rows, "reasons", &o, &r));
    assert_int_equal(r.rows, 5);
    says(w.notes, "1 of 4 rows are ties, and left out, 1 of 2 rows have the weight 0, and nothing is learnt from them, "
         "1 of 4 reasons are left out, since their writers preferred the other answer, or none, "
         "1 of 5 annotators are left out, since they gave no score or no reasoning, 1 of 4 rows are left out, "
         "since no proof of them was kept, 1 of 3 reasons hold in one order alone");
    assert_int_equal(finetune(nothing, "no-reasons", &o, &r), GRAM_EFORMAT);
    says(check_err.text, "every row has the weight 0");
    free(rows), free(nothing);
}

/* A soft label below a half speaks against the answer that the row calls chosen. */
static void soft_labels_against_their_row_are_said(void **state)
{
    char *rows = check_write("doubted.jsonl",
        "{\"prompt\":\"q1\",\"chosen\":\"zz\",\"rejected\":\"a\",\"soft\":0.2}\n"
        "{\"prompt\":\"q2\",\"chosen\":\"zz\",\"rejected\":\"a\",\"soft\":0.7}\n"
        "{\"prompt\":\"q3\",\"chosen\":\"zz\",\"rejected\":\"a\"}\n");
    struct watch w = { 0 };
    gram_train_options o = options(GRAM_STAGE_FINETUNE, &w);

    (void)state;
    o.eval_file = rows;
    CHECK_OK(finetune(rows, "doubted", &o, NULL));
    says(w.notes, "1 of 3 rows have a soft label below 0.5");
    says(w.notes, "1 of 3 held-out rows have a soft label below 0.5");
    free(rows);
}

/* What a held-out file has that is not judged is said, each row that is bad by itself. */
static void held_out_rows_that_are_left_out_are_said(void **state)
{
    char *rows = write_pairs("learnt.jsonl", 0, 3, false), *held = check_write("half-held.jsonl",
        "{\"prompt\":\"q1\",\"chosen\":\"zz\",\"rejected\":\"a\"}\n"
        "{\"prompt\":\"q2\",\"chosen\":\"zz\",\"rejected\":\"a\",\"tie\":true}\n"
        "{\"prompt\":\"q3\",\"chosen\":\"same\",\"rejected\":\"same\"}\n"
        "{no JSON\n"
        "{\"prompt\":\"q5 that is longer than all of the others are\",\"chosen\":\"zz\",\"rejected\":\"a\"}\n");
    struct watch w = { 0 };
    gram_train_options o = options(GRAM_STAGE_FINETUNE, &w);
    gram_train_report r;

    (void)state;
    o.eval_file = held;
    o.skip_bad = true;
    o.model.truncate = GRAM_TRUNCATE_DROP;
    o.model.max_tokens = 60;
    CHECK_OK(finetune(rows, "half-held", &o, &r));
    assert_true(r.eval_rows == 1 && r.bad == 0 && r.dropped == 0);
    says(w.notes, "half-held.jsonl:4: ");
    says(w.notes, "half-held.jsonl: 1 of 5 rows are bad, and skipped, 1 of 5 rows are left out as too long, 1 of 5 "
         "rows are ties, and left out, 1 of 5 pairs are left out, since their two answers are the same text");
    free(rows), free(held);
}

/* A copy of the model whose tensor of that name has one such value. */
static char *odd_model(const char *name, const char *tensor, float value)
{
    static const char *const file[] = { "config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors" };
    char *to = check_tmppath(name);
    gr_weights *x;

    assert_int_equal(mkdir(to, 0777), 0);
    CHECK_OK(gr_weights_open_dir(&x, MODEL, &check_err));
    for (size_t i = 0; i < GR_COUNT(file); i++) {
        char *a = gr_path_join(MODEL, file[i]), *b = gr_path_join(to, file[i]), *text, *at;
        const gr_named *t = gr_weights_find(x, tensor);
        size_t n;
        FILE *f = fopen(b, "wb");
        CHECK_OK(gr_read_file(a, 1 << 24, &text, &n, &check_err));
        assert_non_null(t);
        at = i == 3 ? memmem(text, n, t->data, t->bytes) : NULL;
        if (at)
            memcpy(at + 12, &value, sizeof value);
        assert_true(f && fwrite(text, 1, n, f) == n && fclose(f) == 0 && (i < 3 || at));
        free(a), free(b), free(text);
    }
    gr_weights_close(x);
    return to;
}

/* In weights that nobody trains, under adapters and under a head that is trained alone. */
static void a_base_that_is_no_number_is_named(void **state)
{
    static const char *const tensor[] = { "model.layers.1.mlp.up_proj.weight",
                                          "model.layers.0.self_attn.q_proj.weight" };
    char *pairs = write_pairs("base.jsonl", 0, 4, false);

    (void)state;
    for (int k = 0; k < 4; k++) {
        char name[20], want[80], *model, *out = check_tmppath("odd-out");
        struct watch w = { 0 };
        gram_train_options o = options(GRAM_STAGE_FINETUNE, &w);
        gram_train_report r;
        snprintf(name, sizeof name, "odd%d", k);
        snprintf(want, sizeof want, "tensor %s: value 3 is %s", tensor[k / 2], k / 2 ? "inf" : "nan");
        model = odd_model(name, tensor[k / 2], k / 2 ? INFINITY : NAN);
        if (k % 2) {
            o.lora_rank = 2;
        } else {
            gram_train_options_set_loss(&o, GRAM_LOSS_BT);
            o.model.judge_prompt = NULL;
            o.freeze = true;
        }
        assert_int_equal(gram_finetune(model, pairs, out, &o, &r, &check_err), GRAM_EFORMAT);
        says(check_err.text, want);
        assert_int_equal(w.seen, 0);
        free(model), free(out);
    }
    free(pairs);
}

/* ---- The disk -------------------------------------------------------------------------------------- */

/* More checkpoints than any disk holds are refused before the first step; what is said is what a run takes. */
static void the_disk_is_said_and_checked(void **state)
{
    char *pairs = write_pairs("disk.jsonl", 0, 9, false), *dir = check_tmppath("disk/checkpoints");
    struct watch w = { .stop_at = 4 };
    gram_train_options o = options(GRAM_STAGE_FINETUNE, &w);
    gram_train_report r;
    struct stat st;
    char *last = check_tmppath("disk/checkpoints/step-000004.safetensors");

    (void)state;
    o.save_every = 1;
    assert_int_equal(finetune(pairs, "disk", &o, &r), GRAM_ESTOPPED);
    says(w.notes, "disk: at most about");
    says(w.notes, "are free");
    assert_int_equal(stat(last, &st), 0);
    /* two stay and one is being written, with a little for their headers */
    assert_true(r.disk_bytes <= 3 * (uint64_t)st.st_size && r.disk_bytes > 3 * (uint64_t)st.st_size * 9 / 10);
    w = (struct watch){ 0 };
    o.steps = (uint64_t)1 << 39;
    o.keep = 1 << 20;
    gram_train_options_set_loss(&o, GRAM_LOSS_BT);
    o.head = GRAM_HEAD_MLP;                         /* of half a gigabyte: 6 PB of checkpoints */
    o.head_width = 1 << 20;
    o.freeze = true;
    o.model.judge_prompt = NULL;
    if (finetune(pairs, "vast", &o, &r) != GRAM_EIO)
        fail_msg("a run of %g GB was begun: %s", (double)r.disk_bytes / 1e9, check_err.text);
    says(check_err.text, "are free there");
    assert_true(w.seen == 0 && !exists("vast/checkpoints"));
    free(pairs), free(dir), free(last);
}

/* A file of the model cannot be written, since a directory stands in its place: nothing is lost, and with that away the
 * run goes on. */
static void a_checkpoint_comes_before_the_model(void **state)
{
    char *pairs = write_pairs("blocked.jsonl", 0, 9, false), *out = check_tmppath("blocked");
    char *block = check_tmppath("blocked/tokenizer.json");
    struct watch w = { 0 };
    gram_train_options o = options(GRAM_STAGE_FINETUNE, &w);
    gram_train_report r;

    (void)state;
    CHECK_OK(finetune(pairs, "free", &o, &r));
    assert_true(mkdir(out, 0777) == 0 && mkdir(block, 0777) == 0);
    o.resume = true;
    assert_int_equal(finetune(pairs, "blocked", &o, &r), GRAM_EIO);
    assert_true(exists("blocked/checkpoints/step-000006.safetensors") && !exists("blocked/model.safetensors"));
    assert_int_equal(rmdir(block), 0);
    w.seen = 0;
    CHECK_OK(finetune(pairs, "blocked", &o, &r));
    assert_true(r.resumed == 6 && w.seen == 0 && same_weights("free", "blocked"));
    free(pairs), free(out), free(block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_constant_rate_takes_more_steps),
        cmocka_unit_test(the_best_of_a_run_that_went_on_is_not_lost),
        cmocka_unit_test(a_falling_rate_takes_more_steps_where_it_is_asked_to),
        cmocka_unit_test(another_runs_options_are_named_alone),
        cmocka_unit_test(patience_ends_a_run),
        cmocka_unit_test(a_run_out_of_time_stops_with_a_checkpoint),
        cmocka_unit_test(files_are_read_one_after_the_other),
        cmocka_unit_test(held_out_sets_are_judged_beside_each_other),
        cmocka_unit_test(stage_1_has_a_held_out_loss),
        cmocka_unit_test(answers_that_are_one_text_are_left_out),
        cmocka_unit_test(margins_and_weights_are_counted),
        cmocka_unit_test(ties_that_are_left_out_are_counted_so),
        cmocka_unit_test(another_reference_is_read_anew),
        cmocka_unit_test(kto_goes_on_with_the_same_cuts),
        cmocka_unit_test(rows_with_reasons_are_counted_so),
        cmocka_unit_test(held_out_rows_that_are_left_out_are_said),
        cmocka_unit_test(soft_labels_against_their_row_are_said),
        cmocka_unit_test(a_base_that_is_no_number_is_named),
        cmocka_unit_test(the_disk_is_said_and_checked),
        cmocka_unit_test(a_checkpoint_comes_before_the_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
