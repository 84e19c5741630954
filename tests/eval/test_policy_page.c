/* test_policy_page.c - what a policy's run adds to its page: which figures there are, where their points lie, which
 * samples are shown; texts of the files are escaped. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "check.h"
#include "eval/policy_page.h"
#include "file/io.h"

static size_t count(const char *text, const char *what)
{
    size_t n = 0;

    for (; (text = strstr(text, what)); text++)
        n++;
    return n;
}

static char *directory(const char *metrics, const char *samples)
{
    char *dir = check_tmppath("run"), *a = gr_path_join(dir, "metrics.jsonl");
    char *b = gr_path_join(dir, "samples.jsonl");

    CHECK_OK(gr_make_directory(dir, &check_err));
    CHECK_OK(gr_write_file(a, metrics, strlen(metrics), &check_err));
    CHECK_OK(gr_write_file(b, samples, strlen(samples), &check_err));
    free(a);
    free(b);
    return dir;
}

/* KLs of 0 and 4 nats an answer at 2 tokens are at 0 and at the right end; rewards 1 and 3, held out 2 behind step
 * 2. */
static void rewards_and_distance(void **state)
{
    char *dir = directory(
        "{\"step\":0,\"held_loss\":-1,\"reward\":1}\n"
        "{\"step\":1,\"loss\":0,\"reward\":1,\"kl\":0,\"completions/mean_length\":2,\"entropy\":3,\"time/train\":1}\n"
        "{\"step\":2,\"loss\":0,\"time/train\":1}\n"
        "{\"step\":2,\"held_loss\":-2,\"reward\":2}\n"
        "{\"step\":3,\"loss\":0,\"reward\":3,\"kl\":2,\"completions/mean_length\":2,\"entropy\":2,\"time/train\":1}\n"
        "{\"step\":4,\"lo", "");
    gr_buf b = { 0 };
    gr_page p = { &b, true };

    (void)state;
    CHECK_OK(gr_policy_figures(&p, dir, &check_err));
    CHECK_OK(gr_policy_samples(&p, dir, &check_err));
    assert_true(p.ok);
    assert_int_equal(count(b.p, "<figure"), 5);
    assert_int_equal(count(b.p, "<summary>step"), 0);
    /* In the two plots of rewards: two rollouts and two judgings each, which the second puts at their weights' KL. */
    assert_int_equal(count(b.p, "class=\"dot\""), 4);
    assert_int_equal(count(b.p, "class=\"hdot\""), 4);
    assert_non_null(strstr(strstr(b.p, "distance-h"), "class=\"dot\" cx=\"44.0\""));
    assert_non_null(strstr(strstr(b.p, "distance-h"), "class=\"dot\" cx=\"388.0\""));
    assert_non_null(strstr(strstr(b.p, "distance-h"), "class=\"hdot\" cx=\"388.0\""));
    gr_buf_clear(&b);
    free(dir);
}

static char *samples_of(int rollouts, int answers, int steps, gr_buf *page)
{
    char line[200], *dir;
    gr_buf lines = { 0 };
    gr_page p = { page, true };

    for (int i = 0; i < rollouts * answers; i++) {
        snprintf(line, sizeof line, "{\"step\":%d,\"prompt\":\"<q>\",\"completion\":\"a%d\",\"reward\":%s}\n",
                 1 + i / answers * steps, i, i % 2 ? "null" : "0.5");
        assert_true(gr_buf_puts(&lines, line));
    }
    dir = directory("{\"step\":1,\"loss\":2}\n", lines.p);
    CHECK_OK(gr_policy_figures(&p, dir, &check_err));
    assert_int_equal(page->n, 0);                       /* without rewards there is no figure */
    CHECK_OK(gr_policy_samples(&p, dir, &check_err));
    gr_buf_clear(&lines);
    return dir;
}

/* Eight answers of each of twenty rollouts of ten, from the first to the last, the last rollout open. */
static void eight_samples_a_step(void **state)
{
    gr_buf b = { 0 };
    char *dir = samples_of(20, 10, 1, &b);

    (void)state;
    assert_int_equal(count(b.p, "<summary>step "), 20);
    assert_int_equal(count(b.p, "open=\"\"><summary>step 20<"), 1);
    assert_int_equal(count(b.p, "&lt;q&gt;"), 20 * 8);
    assert_non_null(strstr(b.p, ">a0<"));
    assert_non_null(strstr(b.p, ">a199<"));
    assert_non_null(strstr(b.p, "<td>0.500</td>"));
    assert_null(strstr(b.p, "<q>"));
    gr_buf_clear(&b);
    free(dir);
}

/* Three steps learn of a rollout: 24 answers; and of a thousand rollouts some are shown. */
static void of_rollouts_of_several_steps(void **state)
{
    gr_buf b = { 0 };
    char *dir = samples_of(4, 40, 3, &b);

    (void)state;
    assert_int_equal(count(b.p, "<summary>steps "), 4);
    assert_non_null(strstr(b.p, "<summary>steps 10 to 12<"));
    assert_int_equal(count(b.p, "&lt;q&gt;"), 4 * 24);
    gr_buf_clear(&b);
    free(dir);
    dir = samples_of(1000, 8, 1, &b);
    assert_true(count(b.p, "&lt;q&gt;") > 3900 && count(b.p, "&lt;q&gt;") <= 4096);
    assert_non_null(strstr(b.p, "<summary>step 1<"));
    assert_non_null(strstr(b.p, "<summary>step 1000<"));
    assert_non_null(strstr(b.p, "since there are many"));
    gr_buf_clear(&b);
    free(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(rewards_and_distance), cmocka_unit_test(eight_samples_a_step),
                                        cmocka_unit_test(of_rollouts_of_several_steps) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
