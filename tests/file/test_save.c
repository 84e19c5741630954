/* test_save.c - what is written as safetensors and as a directory is read again, and a full disk leaves nothing. */
#include <stdlib.h>
#include <string.h>
#include "check.h"
#include "file/io.h"
#include "file/save.h"
#include "file/weights.h"

static char *in(const char *dir, const char *name)
{
    char *p = gr_path_join(dir, name);

    assert_non_null(p);
    return p;
}

static void tensors_and_words_come_back(void **state)
{
    static const float a[6] = { 1, -2.5f, 1e-40f, 3e38f, 0, -0.0f }, b[3] = { 7, 8, 9 };
    const gr_saved t[] = { { "", "a", a, 2, 3, true }, { "m.", "b \"quoted\"", b, 1, 3, false },
                           { "", "c", b, 1, 3, true } };
    const gr_meta meta[] = { { "step", "12" }, { "words", "lr=1e-05 \xc3\xa9\n" } };
    char *path = in(check_tmpdir(), "t.safetensors"), *text;
    gr_st *st;

    (void)state;
    CHECK_OK(gr_st_write(path, t, 3, meta, 2, &check_err));
    CHECK_OK(gr_st_open(&st, path, &check_err));
    assert_int_equal(gr_st_count(st), 3);
    for (size_t i = 0; i < 3; i++) {
        const gr_named *n = gr_st_at(st, i);
        assert_string_equal(n->name, i == 1 ? "m.b \"quoted\"" : t[i].name);
        assert_int_equal(n->n_dims, i == 1 ? 1 : 2);
        assert_int_equal((uintptr_t)n->data % 4, 0);
        assert_memory_equal(n->data, t[i].data, n->bytes);
    }
    gr_st_close(st);
    CHECK_OK(gr_st_meta(path, "words", &text, &check_err));
    assert_string_equal(text, meta[1].value);
    free(text);
    CHECK_OK(gr_st_meta(path, "none", &text, &check_err));
    assert_null(text);
    free(path);
}

static void a_directory_that_is_not_there_is_said(void **state)
{
    static const float a[1] = { 1 };
    const gr_saved t = { "", "a", a, 1, 1, false };
    char *path = in(check_tmpdir(), "no/such/t.safetensors");

    (void)state;
    assert_int_equal(gr_st_write(path, &t, 1, NULL, 0, &check_err), GRAM_EIO);
    assert_non_null(strstr(check_err.text, "no/such"));
    assert_int_equal(gr_st_write("/dev/full", &t, 1, NULL, 0, &check_err), GRAM_EIO);
    free(path);
}

static void files_beside_the_weights_are_copied(void **state)
{
    static const char given[] = "{\"torch_dtype\": \"bfloat16\", \"rms_norm_eps\": 1e-06, \"list\": [1, null]}";
    const char *dir = check_tmpdir();
    char *config = in(dir, "config.json"), *to = in(dir, "tokenizer.json"), *text;
    char *copied = in(dir, "config.json");
    size_t n;
    gr_out *o;

    (void)state;
    CHECK_OK(gr_out_open(&o, config, false, &check_err));
    CHECK_OK(gr_out_write(o, given, strlen(given), &check_err));
    CHECK_OK(gr_out_commit(o, &check_err));
    gr_out_close(o);
    CHECK_OK(gr_copy_model_files(dir, dir, NULL, &check_err));    /* onto itself: config.json is replaced whole */
    CHECK_OK(gr_read_file(copied, 1000, &text, &n, &check_err));
    assert_non_null(strstr(text, "\"torch_dtype\": \"float32\""));
    assert_null(strstr(text, "bfloat16"));
    assert_false(gr_path_exists(to));
    free(text);
    CHECK_OK(gr_copy_model_files("tests/golden/train/judge", dir, NULL, &check_err));
    assert_true(gr_path_exists(to));
    free(config), free(to), free(copied);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_and_words_come_back),
        cmocka_unit_test(a_directory_that_is_not_there_is_said),
        cmocka_unit_test(files_beside_the_weights_are_copied),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
