/* test_state.c - checkpoints: what may be in one, what another run's says, and what tells one set of rows from another;
 * the event file's steps. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "check.h"
#include "file/io.h"
#include "train/checkpoints.h"
#include "train/metrics_file.h"

enum { N = 7 };

struct subject { float w[N], g[2 * N]; uint16_t half[N]; gr_param p[2]; gr_adamw a; gr_share share; };

static void subject_open(struct subject *s)
{
    *s = (struct subject){ .p = {
        { .name = "whole", .rows = 1, .cols = N, .w = gr_mat_f32(s->w, N), .g = gr_mat_f32(s->g, N) },
        { .name = "half", .rows = 1, .cols = N, .decay = true, .w = { s->half, N, GR_BF16 },
          .g = gr_mat_f32(s->g + N, N) },
    } };
    for (int i = 0; i < N; i++) {
        s->w[i] = (float)i;
        s->half[i] = (uint16_t)(0x3f80 + i);
    }
    CHECK_OK(gr_adamw_init(&s->a, s->p, 2, &check_err));
    CHECK_OK(gr_share_open(&s->share, NULL, &s->a, NULL, &check_err));
}

static void subject_close(struct subject *s)
{
    gr_share_clear(&s->share);
    gr_adamw_clear(&s->a);
}

/* Infinite values and no numbers, of both signs, at each place of a float32 and of a bfloat16 tensor: none is written,
 * and the sentence names the tensor and the place. The largest finite ones are. */
static void only_finite_weights_are_saved(void **state)
{
    static const float odd[] = { INFINITY, -INFINITY, NAN };
    static const uint16_t odd_half[] = { 0x7f80, 0xff80, 0x7fc0, 0x7f81, 0xffff };
    char *path = check_tmppath("odd.safetensors"), want[64];
    const gr_state zero = { 0 };

    (void)state;
    for (size_t k = 0; k < GR_COUNT(odd) + GR_COUNT(odd_half); k++)
        for (int i = 0; i < N; i += 3) {
            struct subject s;
            bool whole = k < GR_COUNT(odd);
            subject_open(&s);
            if (whole)
                s.w[i] = odd[k];
            else
                s.half[i] = odd_half[k - GR_COUNT(odd)];
            snprintf(want, sizeof want, "tensor %s: value %d is", whole ? "whole" : "half", i);
            assert_int_equal(gr_state_check(&s.a, "here", &check_err), GRAM_EFORMAT);
            assert_int_equal(gr_state_save(path, &zero, "a=1\n", &s.share, &check_err), GRAM_EFORMAT);
            if (!strstr(check_err.text, want) || gr_path_exists(path))
                fail_msg("%s: %s", want, check_err.text);
            subject_close(&s);
        }
    free(path);
}

static void the_largest_weights_are_saved_and_read(void **state)
{
    char *path = check_tmppath("large.safetensors");
    const gr_state was = { .step = 3, .judged = 2, .best = GR_NEVER, .best_accuracy = 0.25, .best_loss = 1.5,
                           .processes = 1, .steps = 12, .warmup = 2, .waited = 4 };
    gr_state is = { 0 };
    struct subject s;

    (void)state;
    subject_open(&s);
    s.w[0] = 3.4028234e38f;
    s.half[1] = 0xff7f;
    gr_f32(s.a.m.w)[2] = 5;
    CHECK_OK(gr_state_save(path, &was, "a=1\n", &s.share, &check_err));
    s.w[0] = gr_f32(s.a.m.w)[2] = 0;
    s.half[1] = 0;
    CHECK_OK(gr_state_load(path, &is, "a=1\n", &s.share, &check_err));
    assert_true(s.w[0] == 3.4028234e38f && gr_f32(s.a.m.w)[2] == 5 && s.half[1] == 0xff7f && s.a.t == 3);
    assert_true(is.step == 3 && is.judged == 2 && is.best == GR_NEVER && is.best_accuracy == 0.25 &&
                is.best_loss == 1.5 && is.steps == 12 && is.warmup == 2 && is.waited == 4);
    subject_close(&s);
    free(path);
}

/* The sentence names the settings that differ, with both values, and no other; of digests the name alone. */
static void another_runs_settings_are_named(void **state)
{
    static const char was[] = "lr=0.003\nclip=1\nrows=0123456789abcdef\nties=drop\n";
    static const struct { const char *now, *says, *not; } one[] = {
        { "lr=0.001\nclip=1\nrows=0123456789abcdef\nties=drop\n", ": lr (0.003 there, 0.001 here)", "clip" },
        { "lr=0.003\nclip=1\nrows=fedcba9876543210\nties=drop\n", ": rows", "0123" },
        { "lr=0.003\nclip=1\nrows=0123456789abcdef\n", ": ties (drop there, none here)", "rows" },
        { "lr=0.003\nclip=1\nrows=0123456789abcdef\nties=drop\nseed=5\n", ": seed (none there, 5 here)", "ties" },
        { "lr=0.003\nclip=10\nrows=0123456789abcdef\nties=half\n",
          ": clip (1 there, 10 here), ties (drop there, half here)", "lr" },
    };
    char *path = check_tmppath("settings.safetensors");
    gr_state state_of = { 0 };
    struct subject s;

    (void)state;
    subject_open(&s);
    CHECK_OK(gr_state_save(path, &state_of, was, &s.share, &check_err));
    CHECK_OK(gr_state_load(path, &state_of, was, &s.share, &check_err));
    for (size_t i = 0; i < GR_COUNT(one); i++) {
        const char *end;
        assert_int_equal(gr_state_load(path, &state_of, one[i].now, &s.share, &check_err), GRAM_EARG);
        end = strstr(check_err.text, one[i].says);
        if (!end || end[strlen(one[i].says)] || strstr(strstr(check_err.text, "another:"), one[i].not))
            fail_msg("case %zu: %s", i, check_err.text);
    }
    subject_close(&s);
    free(path);
}

static uint64_t digest_with(gr_example change)
{
    static const int32_t id[] = { 5, 6, 7 };
    gr_set s = { 0 };
    uint64_t h;

    for (int i = 0; i < 2; i++) {
        gr_example e = i ? change : (gr_example){ .target = 1, .weight = 1, .soft = 1 };
        for (int k = 0; k < 2; k++)
            assert_true(gr_ids_add(&e.seq[k], id, i && change.asked ? 2 : 3));
        CHECK_OK(gr_set_add(&s, &e, &check_err));
    }
    h = s.digest;
    gr_set_clear(&s);
    return h;
}

/* A resume compares the digest: each thing that a row says of itself moves it. */
static void each_number_of_a_row_moves_the_digest(void **state)
{
    static const gr_example one[] = {
        { .target = 1, .weight = 1, .soft = 1 }, { .target = 0.9, .weight = 1, .soft = 1 },
        { .target = 1, .weight = 2, .soft = 1 }, { .target = 1, .weight = 1, .soft = 0.9 },
        { .target = 1, .weight = 1, .soft = 1, .margin = 1 },
        { .target = 1, .weight = 1, .soft = 1, .asked = 1 },        /* one token fewer */
    };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(one); i++)
        for (size_t k = 0; k < GR_COUNT(one); k++)
            if ((digest_with(one[i]) == digest_with(one[k])) != (i == k))
                fail_msg("rows %zu and %zu: digests %s", i, k, i == k ? "differ" : "are the same");
}

static bool any(const gr_checkpoints *c)
{
    bool there;

    CHECK_OK(gr_checkpoints_any(c, &there, &check_err));
    return there;
}

/* A directory of checkpoints that cannot be read may hold a run: it is not begun anew over them. */
static void a_directory_that_cannot_be_read_is_not_an_empty_one(void **state)
{
    char *dir = check_tmppath("unread");
    bool there;
    gr_checkpoints c;

    (void)state;
    assert_int_equal(mkdir(dir, 0777), 0);
    CHECK_OK(gr_checkpoints_init(&c, dir, 2, &check_err));
    assert_true(!any(&c));
    assert_int_equal(symlink("checkpoints", c.dir), 0);     /* a link to itself */
    assert_int_equal(gr_checkpoints_any(&c, &there, &check_err), GRAM_EIO);
    assert_non_null(strstr(check_err.text, c.dir));
    gr_checkpoints_clear(&c);
    free(dir);
}

/* So many checkpoints stay, the newest; at the end none, or the last with the mark of a run that has ended. */
static void the_newest_are_kept(void **state)
{
    for (size_t keep = 1; keep <= 3; keep++) {
        char name[20], *dir;
        gr_checkpoints c;
        struct subject s;
        (void)state;
        snprintf(name, sizeof name, "keep%zu", keep);
        dir = check_tmppath(name);
        assert_int_equal(mkdir(dir, 0777), 0);
        subject_open(&s);
        CHECK_OK(gr_checkpoints_init(&c, dir, keep, &check_err));
        for (uint64_t step = 1; step <= 4; step++)
            CHECK_OK(gr_checkpoints_save(&c, &(gr_state){ .step = step }, "a=1\n", &s.share, &check_err));
        for (uint64_t step = 1; step <= 4; step++) {
            char file[80], *path;
            snprintf(file, sizeof file, "checkpoints/step-%06d.safetensors", (int)step);
            path = gr_path_join(dir, file);
            if (gr_path_exists(path) != (step + keep > 4))
                fail_msg("keep %zu: the checkpoint of step %d is %s", keep, (int)step,
                         step + keep > 4 ? "gone" : "there");
            free(path);
        }
        gr_checkpoints_end(&c, true);
        assert_true(gr_checkpoints_ended(&c) && any(&c));
        gr_checkpoints_reopen(&c);
        assert_true(!gr_checkpoints_ended(&c) && any(&c));
        gr_checkpoints_end(&c, true);
        gr_checkpoints_end(&c, false);
        assert_true(!any(&c) && !gr_path_exists(c.dir));
        gr_checkpoints_clear(&c);
        subject_close(&s);
        free(dir);
    }
}

/* The steps of an event file whose scalars have this tag, as "0 4". A record is a length and its checksum, an event and
 * its checksum; in the event field 2 is the step, which is left out where it is 0, and strings lie as they are. */
static void steps_with(const char *path, const char *tag, char *out, size_t room)
{
    char *b, head[2] = { 0x0a, (char)strlen(tag) };
    size_t n, at = 0;

    CHECK_OK(gr_read_file(path, 1 << 20, &b, &n, &check_err));
    *out = '\0';
    for (uint64_t length; at + 12 <= n; at += 16 + length) {
        const char *event = b + at + 12;
        gr_buf want = { 0 };
        unsigned step = 0;
        memcpy(&length, b + at, sizeof length);
        if (event[9] == 0x10)               /* behind the wall time; steps here are below 128 */
            step = (unsigned char)event[10];
        assert_true(gr_buf_add(&want, head, 2) && gr_buf_puts(&want, tag));
        if (memmem(event, length, want.p, want.n))
            snprintf(out + strlen(out), room - strlen(out), "%s%u", *out ? " " : "", step);
        gr_buf_clear(&want);
    }
    free(b);
}

/* The held-out numbers stand at the step whose weights were judged, of each set, in a run and in one that went on. */
static void event_files_have_the_steps_of_their_numbers(void **state)
{
    char *dir = check_tmppath("events"), *path = check_tmppath("events/tb/events.out.tfevents.gram"), steps[80];
    double p[1][2] = { { 0.5, 0.5 } };
    const gr_held held = { 1, p, 0.7, 0.5 };

    (void)state;
    assert_int_equal(mkdir(dir, 0777), 0);
    for (int call = 0; call < 2; call++) {
        gr_metrics *m;
        CHECK_OK(gr_metrics_open(&m, dir, call ? 3 : 0, call ? 3 : GR_NEVER, false, &check_err));
        for (uint64_t step = call ? 3 : 0; step <= 4; step++) {
            if (step > (call ? 3 : 0))
                CHECK_OK(gr_metrics_step(m, &(gram_train_step){ .step = step, .loss = 1, .accuracy = 1 }, &check_err));
            if (step == 0 || (step == 3 && !call) || step == 4)
                CHECK_OK(gr_metrics_held(m, step, 0, "a.jsonl", &held, &check_err));
            if (step == 4)
                CHECK_OK(gr_metrics_held(m, step, 1, "b \"c\".jsonl", &held, &check_err));
        }
        gr_metrics_close(m);
        steps_with(path, "loss/train", steps, sizeof steps);
        assert_string_equal(steps, "1 2 3 4");
        steps_with(path, "loss/held_out", steps, sizeof steps);
        assert_string_equal(steps, "0 3 4");
        steps_with(path, "accuracy/held_out", steps, sizeof steps);
        assert_string_equal(steps, "0 3 4");
        steps_with(path, "loss/held_out_2", steps, sizeof steps);
        assert_string_equal(steps, "4");
    }
    free(dir), free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_finite_weights_are_saved),
        cmocka_unit_test(the_largest_weights_are_saved_and_read),
        cmocka_unit_test(another_runs_settings_are_named),
        cmocka_unit_test(each_number_of_a_row_moves_the_digest),
        cmocka_unit_test(the_newest_are_kept),
        cmocka_unit_test(a_directory_that_cannot_be_read_is_not_an_empty_one),
        cmocka_unit_test(event_files_have_the_steps_of_their_numbers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
