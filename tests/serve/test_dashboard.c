/* test_dashboard.c - the page of `gram watch`: which runs it finds, whole lines of their files from where a reader was,
 * and nothing else of this machine for anybody else. */
#include "talk.h"
#include <jansson.h>
#include <stdlib.h>
#include <sys/stat.h>
#include "serve/assets.h"

static gr_dashboard *page;
static char *dir;

/* Writes DIR/NAME, making the folder that it is in. */
static void write_file(const char *name, const char *bytes)
{
    char path[4096], *slash;
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    slash = strrchr(path, '/');
    *slash = '\0';
    mkdir(path, 0777);
    *slash = '/';
    f = fopen(path, "w");
    assert_non_null(f);
    fputs(bytes, f);
    fclose(f);
}

static int begin(void **state)
{
    (void)state;
    dir = check_tmppath("runs");
    mkdir(dir, 0777);
    write_file("one/metrics.jsonl", "{\"step\":1}\n{\"step\":2}\n{\"st");
    write_file("one/samples.jsonl", "{\"completion\":\"x\"}\n");
    write_file("two/empty", "");
    write_file("two/deep/metrics.jsonl", "{\"step\":7}\n");
    write_file("two/deep/deeper/none", "");
    write_file("two/deep/deeper/deepest/metrics.jsonl", "{}\n");
    write_file(".hidden/metrics.jsonl", "{}\n");
    CHECK_OK(gr_dashboard_start(&page, dir, 0, &check_err));
    return 0;
}

static int end(void **state)
{
    (void)state;
    gr_dashboard_stop(page);
    free(dir);
    return 0;
}

/* The status, and what was answered in text. */
static int ask(const char *method, const char *target, const char *host)
{
    char request[4096];
    int fd = dial_port(gr_dashboard_port(page)), status;

    put(fd, request, (size_t)snprintf(request, sizeof request,
                                      "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n",
                                      method, target, host));
    status = answer(fd, text);
    close(fd);
    return status;
}

static const char *body(void)
{
    return strstr(text, "\r\n\r\n") + 4;
}

static void runs_are_found(void **state)
{
    static const char *const want[] = { "one", "two/deep" };
    json_t *o, *r;
    size_t i, seen = 0;

    (void)state;
    assert_int_equal(ask("GET", "/runs", "localhost"), 200);
    o = json_loads(body(), 0, NULL);
    assert_string_equal(json_string_value(json_object_get(o, "folder")), dir);
    json_array_foreach(json_object_get(o, "runs"), i, r) {
        for (size_t k = 0; k < GR_COUNT(want); k++)
            seen += (size_t)!strcmp(json_string_value(json_object_get(r, "name")), want[k]) << k;
        assert_int_equal(json_is_true(json_object_get(r, "samples")),
                         !strcmp(json_string_value(json_object_get(r, "name")), "one"));
    }
    assert_int_equal(json_array_size(json_object_get(o, "runs")), 2);
    assert_int_equal(seen, 3);
    json_decref(o);
}

static void lines_are_whole(void **state)
{
    (void)state;
    assert_int_equal(ask("GET", "/metrics?run=one&from=0", "127.0.0.1:1"), 200);
    assert_string_equal(body(), "{\"step\":1}\n{\"step\":2}\n");
    assert_int_equal(ask("GET", "/metrics?run=one&from=11", "[::1]"), 200);
    assert_string_equal(body(), "{\"step\":2}\n");
    for (const char *const *at = (const char *const[]){ "22", "26", "9999999999", NULL }; *at; at++) {
        char target[64];
        snprintf(target, sizeof target, "/metrics?run=one&from=%s", *at);
        assert_int_equal(ask("GET", target, "localhost"), 200);
        assert_string_equal(body(), "");
    }
    assert_int_equal(ask("GET", "/metrics?run=one&from=-5", "localhost"), 200);
    assert_string_equal(body(), "{\"step\":1}\n{\"step\":2}\n");
    assert_int_equal(ask("GET", "/metrics?run=two%2Fdeep", "localhost"), 200);
    assert_string_equal(body(), "{\"step\":7}\n");
    assert_int_equal(ask("GET", "/samples?run=one", "localhost"), 200);
    assert_string_equal(body(), "{\"completion\":\"x\"}\n");
}

/* Of a long file of samples the last lines, the first of them whole. */
static void the_last_samples(void **state)
{
    gr_buf b = { 0 };

    (void)state;
    for (int i = 0; i < 6000; i++)
        assert_true(gr_buf_printf(&b, "{\"completion\":\"answer %d, which is long enough\"}\n", i));
    write_file("one/samples.jsonl", b.p);
    assert_int_equal(ask("GET", "/samples?run=one", "localhost"), 200);
    assert_memory_equal(body(), "{\"completion\":\"answer ", 22);
    assert_true(strlen(body()) < (192 << 10) && strstr(body(), "answer 5999,"));
    gr_buf_clear(&b);
}

static void nothing_else_is_told(void **state)
{
    char *pipe = check_tmppath("runs/two/deep/samples.jsonl");

    (void)state;
    assert_int_equal(mkfifo(pipe, 0600), 0);        /* nobody ever writes it, and nobody waits for them */
    assert_int_equal(ask("GET", "/samples?run=two/deep", "localhost"), 404);
    unlink(pipe);
    free(pipe);
    assert_int_equal(ask("GET", "/metrics?run=../runs/one", "localhost"), 404);
    assert_int_equal(ask("GET", "/metrics?run=.hidden", "localhost"), 404);
    assert_int_equal(ask("GET", "/metrics", "localhost"), 404);
    assert_int_equal(ask("GET", "/samples?run=two/deep", "localhost"), 404);
    assert_int_equal(ask("GET", "/etc/passwd", "localhost"), 404);
    assert_int_equal(ask("GET", "/runs", "rebound.example"), 403);
    assert_int_equal(ask("POST", "/runs", "localhost"), 405);
    for (size_t i = 0; i < gr_n_dashboard_assets; i++)
        if (gr_dashboard_assets[i].end - gr_dashboard_assets[i].begin < (ptrdiff_t)sizeof text / 2)
            assert_int_equal(ask("GET", gr_dashboard_assets[i].path, "localhost"), 200);
}

static void what_cannot_be_watched(void **state)
{
    gr_dashboard *other_page;

    (void)state;
    assert_int_equal(gr_dashboard_start(&other_page, "/nonexistent", 0, &check_err), GRAM_EIO);
    assert_non_null(strstr(check_err.text, "/nonexistent: No such file"));
    assert_int_equal(gr_dashboard_start(&other_page, "/dev/null", 0, &check_err), GRAM_EIO);
    assert_non_null(strstr(check_err.text, "Not a directory"));
    assert_int_equal(gr_dashboard_start(&other_page, dir, (unsigned short)gr_dashboard_port(page), &check_err),
                     GRAM_EIO);
    assert_non_null(strstr(check_err.text, "Address already in use"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_are_found),
        cmocka_unit_test(lines_are_whole),
        cmocka_unit_test(the_last_samples),
        cmocka_unit_test(nothing_else_is_told),
        cmocka_unit_test(what_cannot_be_watched),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
