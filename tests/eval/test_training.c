/* test_training.c - the page of a training run, from files as a run leaves them, whole, cut short or absent. */
#include <sys/stat.h>
#include "eval/training_page.h"
#include "eval_check.h"

static void put(const char *dir, const char *name, const char *text)
{
    char *path = gr_path_join(dir, name);
    FILE *f = fopen(path, "w");

    assert_true(f && fputs(text, f) >= 0 && fclose(f) == 0);
    free(path);
}

static char *out_dir(const char *name)
{
    char *dir = gr_path_join(check_tmpdir(), name);

    assert_int_equal(mkdir(dir, 0777), 0);
    return dir;
}

static const uint64_t prompt[] = { 1, 2, 3, 4 };
static gr_run_set set[] = { { .name = EVIL, .rows = 4, .prompt = prompt } };
static gram_train_options o;

static char *page_of(const char *dir, const gr_run_facts *f, gram_train_report *r)
{
    gr_buf b = { 0 };

    CHECK_OK(gr_eval_training(dir, f, r, &b, &check_err));
    well_formed(b.p);
    assert_null(strstr(b.p, "src="));                       /* nothing is fetched */
    assert_null(strstr(b.p, "url("));
    assert_null(strstr(b.p, "href="));
    assert_null(strstr(b.p, "nan"));
    assert_null(strstr(b.p, "inf"));
    return b.p;
}

static size_t count(const char *page, const char *what)
{
    size_t n = 0;

    for (; (page = strstr(page, what)); page++)
        n++;
    return n;
}

/* Three of the four pairs become right, one wrong; the last line of a file was cut short. */
static void a_run_is_shown(void **state)
{
    char *dir = out_dir("run"), *page;
    gram_train_report r = { .steps = 2, .rows = 1234, .eval_rows = 4, .best_step = 2, .best_accuracy = 0.75,
                            .contradicting = 2 };
    gr_run_facts f = { .stage = GRAM_STAGE_FINETUNE, .model = EVIL, .data = EVIL, .set = set, .sets = 1, .opt = &o,
                       .cpu = "avx2", .date = "2026-01-02" };

    (void)state;
    put(dir, "metrics.jsonl",
        "{\"step\":0,\"held_loss\":0.8,\"held_accuracy\":0.25,\"time\":1}\n"
        "{\"step\":1,\"loss\":0.7,\"accuracy\":0.5,\"lr\":2e-5,\"grad_norm\":3,\"tokens_per_s\":100,\"time\":2}\n"
        "{\"step\":2,\"loss\":0.5,\"accuracy\":1,\"lr\":1e-5,\"grad_norm\":2,\"tokens_per_s\":300,\"time\":3}\n"
        "{\"step\":2,\"held_loss\":0.6,\"held_accuracy\":0.75,\"time\":4}\n"
        "{\"step\":3,\"lo");
    put(dir, "held-out.jsonl",
        "{\"step\":0,\"preference\":[[0.3,0.4],[0.4,0.1],[0.2,0.6],[0.7,0.9]]}\n"
        "{\"step\":2,\"preference\":[[0.8,0.9],[0.6,0.7],[0.9,0.4],[0.1,0.2]]}\n");
    page = page_of(dir, &f, &r);
    assert_true(r.before.value == 0.25 && r.after.value == 0.75 && r.after.low < 0.75 && r.after.high > 0.75);
    assert_int_equal(count(page, "<path class=\"curve\""), 5);      /* loss, accuracy, rate, norm, speed */
    assert_int_equal(count(page, "<path class=\"held\""), 2);
    assert_int_equal(count(page, "Reliability diagram"), 2);
    assert_non_null(strstr(page, "3 pairs became right and 1 wrong"));
    assert_non_null(strstr(page, "1,234 rows"));
    assert_non_null(strstr(page, "2 rows of the training data contradict another"));
    assert_non_null(strstr(page, "in units of 1e-5"));
    assert_null(strstr(page, "<script"));
    free(page);
    f.stopped = true;
    page = page_of(dir, &f, &r);
    assert_non_null(strstr(page, "The run was stopped after 2 steps"));
    free(page), free(dir);
}

/* Stage 1 has no accuracy and no held-out pairs; more steps than a curve has points. */
static void a_long_run_of_stage_1_is_shown(void **state)
{
    char *dir = out_dir("long"), *page;
    gram_train_report r = { .steps = 1000, .rows = 5 };
    gr_run_facts f = { .stage = GRAM_STAGE_PRETRAIN, .model = "m", .data = "d", .opt = &o };
    gr_buf b = { 0 };

    (void)state;
    for (int i = 1; i <= 1000; i++)
        assert_true(gr_buf_printf(&b, "{\"step\":%d,\"loss\":%g,\"lr\":1e-5,\"grad_norm\":1,\"tokens_per_s\":20000}\n",
                                  i, 4.0 - i / 500.0));
    put(dir, "metrics.jsonl", b.p);
    gr_buf_clear(&b);
    page = page_of(dir, &f, &r);
    assert_int_equal(count(page, "<path class=\"curve\""), 4);
    assert_non_null(strstr(page, "in thousands"));
    assert_non_null(strstr(page, "mean of 50 steps"));
    assert_null(strstr(page, "Reliability"));
    assert_true(isnan(r.after.value) && strlen(page) < 60000);
    free(page), free(dir);
}

/* Proofs have no verdict, so no accuracy is drawn or told. */
static void a_prover_is_shown(void **state)
{
    gram_train_options proof = { .lr = 2e-5, .batch_rows = 2, .loss = GRAM_LOSS_PROOF };
    char *dir = out_dir("proof"), *page;
    gram_train_report r = { .steps = 2, .rows = 6, .eval_rows = 4 };
    gr_run_facts f = { .stage = GRAM_STAGE_FINETUNE, .model = "m", .data = "d", .set = set, .sets = 1, .opt = &proof };

    (void)state;
    put(dir, "metrics.jsonl",
        "{\"step\":0,\"held_loss\":7}\n"
        "{\"step\":1,\"loss\":7,\"lr\":2e-5,\"grad_norm\":3,\"tokens_per_s\":100}\n"
        "{\"step\":2,\"loss\":6,\"lr\":1e-5,\"grad_norm\":2,\"tokens_per_s\":300}\n"
        "{\"step\":2,\"held_loss\":6}\n");
    page = page_of(dir, &f, &r);
    assert_int_equal(count(page, "<path class=\"curve\""), 4);
    assert_int_equal(count(page, "<path class=\"held\""), 1);
    assert_non_null(strstr(page, "a token of the reasons, the mean"));
    assert_null(strstr(page, "<dt>accuracy</dt>"));
    free(page), free(dir);
}

static void files_that_are_gone_leave_a_page(void **state)
{
    char *dir = out_dir("gone"), *page;
    gram_train_report r = { .steps = 3, .rows = 5, .eval_rows = 4 };
    gr_run_facts f = { .stage = GRAM_STAGE_FINETUNE, .model = "m", .data = "d", .set = set, .sets = 1, .opt = &o };

    (void)state;
    page = page_of(dir, &f, &r);
    assert_true(isnan(r.before.value) && isnan(r.after.value));
    free(page);
    put(dir, "held-out.jsonl", "{\"step\":0,\"preference\":[[0.3,0.4]]}\nno line of ours\n");    /* of other rows */
    put(dir, "metrics.jsonl", "{\"step\":1,\"loss\":1,\"accuracy\":0,\"lr\":0,\"grad_norm\":0,\"tokens_per_s\":0}\n");
    page = page_of(dir, &f, &r);
    assert_true(isnan(r.before.value));
    assert_int_equal(count(page, "<path class=\"curve\""), 5);
    free(page), free(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_is_shown),
        cmocka_unit_test(a_long_run_of_stage_1_is_shown),
        cmocka_unit_test(a_prover_is_shown),
        cmocka_unit_test(files_that_are_gone_leave_a_page),
    };

    o = (gram_train_options){ .lr = 2e-5, .warmup = 0.1, .clip = 1, .smoothing = 0.05, .batch_rows = 16 };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
