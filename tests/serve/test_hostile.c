/* test_hostile.c - what clients should not send: requests that two servers read differently, headers and bodies that
 * drip, names that were made to lead here, keys that nobody can send. */
#include "talk.h"

#define HEAD "POST /v1/score HTTP/1.1\r\nContent-Type: application/json\r\n"
#define LENGTH "Content-Length: 31\r\n"
#define HOST "Host: localhost\r\n"
#define BEHIND "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"

/* Sends it and what a smuggler would put behind it; the status of the one answer, after which the connection ends. */
static int only_answer(const char *request, size_t n)
{
    int fd = dial(), status;

    put(fd, request, n);
    say(fd, PAIR BEHIND);
    status = answer(fd, text);
    if (status && recv(fd, text, sizeof text, 0) > 0)
        fail_msg("%s: answered %d, and the connection goes on", request, status);
    close(fd);
    return status;
}

static void framing_that_two_servers_read_differently(void **state)
{
#define REQUEST(text) { text, sizeof(text) - 1 }
    static const struct { const char *text; size_t n; } bad[] = {
        REQUEST(HEAD HOST LENGTH "Content-Length: 3\r\n\r\n"),
        REQUEST(HEAD HOST LENGTH LENGTH "\r\n"),
        REQUEST(HEAD HOST LENGTH "content-length: 31\r\n\r\n"),
        REQUEST(HEAD HOST LENGTH "Transfer-Encoding: chunked\r\n\r\n"),
        REQUEST(HEAD HOST LENGTH "TRANSFER-ENCODING: identity\r\n\r\n"),
        REQUEST(HEAD HOST "Transfer-Encoding: gzip\r\n\r\n"),
        REQUEST(HEAD HOST "Transfer-Encoding: gzip, chunked\r\n\r\n"),
        REQUEST(HEAD HOST "Transfer-Encoding: xchunked\r\n\r\n"),
        REQUEST(HEAD HOST "Transfer-Encoding:\r\n\r\n"),
        REQUEST(HEAD HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
        REQUEST("POST /v1/score HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"),
        REQUEST(HEAD HOST "Content-Length : 31\r\n\r\n"),
        REQUEST(HEAD HOST "Content-Length\t: 31\r\n\r\n"),
        REQUEST(HEAD HOST LENGTH "X : y\r\n\r\n"),
        REQUEST(HEAD HOST LENGTH " X: y\r\n\r\n"),
        REQUEST(HEAD HOST "Content-Leng: 2\r\n th\r\n" LENGTH "\r\n"),
        REQUEST(HEAD HOST LENGTH "X: y\r\n folded\r\n\r\n"),
        REQUEST(HEAD HOST LENGTH "X: y\rContent-Length: 3\r\n\r\n"),
        REQUEST(HEAD HOST LENGTH "X: y\nZ: 3\r\n\r\n"),
        REQUEST(HEAD HOST LENGTH "X: y\0z\r\nZ: 3\r\n\r\n"),
        REQUEST(HEAD HOST LENGTH "X: y\0z\r\n\r\n"),
        REQUEST(HEAD HOST "X: y\r\n: z\r\n" LENGTH "\r\n"),
        REQUEST(HEAD HOST LENGTH "Host: other\r\n\r\n"),
        REQUEST(HEAD HOST LENGTH HOST "\r\n"),
        REQUEST(HEAD LENGTH "\r\n"),
        REQUEST(HEAD HOST "Content-Length: 31, 31\r\n\r\n"),
        REQUEST(HEAD HOST "Content-Length: +31\r\n\r\n"),
        REQUEST(HEAD HOST "Content-Length: 0x1f\r\n\r\n"),
        REQUEST(HEAD HOST "Content-Length:\r\n\r\n"),
    };

    (void)state;
    start(&(gr_serve_options){ .max_body = 4096 }, "fake");
    for (size_t i = 0; i < GR_COUNT(bad); i++)
        if (only_answer(bad[i].text, bad[i].n) != 400)
            fail_msg("number %zu, %s: not refused with 400", i, bad[i].text);
    assert_int_equal(only_answer(HEAD HOST "Transfer-Encoding: Chunked\r\n\r\n1f\r\n" PAIR "\r\n0\r\n\r\n",
                                 sizeof(HEAD HOST "Transfer-Encoding: Chunked\r\n\r\n1f\r\n" PAIR "\r\n0\r\n\r\n") - 1),
                     200);
    assert_int_equal(raw(HEAD HOST "X:  two blanks \r\nEmpty:\r\n" LENGTH "\r\n" PAIR), 200);
    assert_int_equal(raw("POST /v1/score HTTP/1.0\r\n" LENGTH "\r\n" PAIR), 200);
    stop(NULL);
}

/* 8 connections that never say a whole thing, on a server that holds 8. */
static void drips(void **state)
{
    static const char *const begin[] = {
        "POST /v1/score HTTP/1.1\r\nHost: localhost\r\nX: ", "POST ", "",
        HEAD HOST "Content-Length: 100000\r\n\r\n{\"prompt\":\"",
        HEAD HOST "Transfer-Encoding: chunked\r\n\r\n1;x=", HEAD HOST "Transfer-Encoding: chunked\r\n\r\n",
        HEAD HOST "Transfer-Encoding: chunked\r\n\r\n0\r\nX: ", "GET /health HTTP/1.1\r\nHost: localhost\r\nX:",
    };
    int fd[GR_COUNT(begin)];
    double end;

    (void)state;
    start(&(gr_serve_options){ .max_connections = GR_COUNT(begin), .timeout = 1 }, "fake");
    for (size_t i = 0; i < GR_COUNT(begin); i++) {
        fd[i] = dial();
        say(fd[i], begin[i]);
    }
    end = gr_now() + PATIENCE;
    while (one("/v1/score", "", PAIR) != 200) {
        if (gr_now() > end)
            fail_msg("dripping connections keep their places");
        for (size_t i = 0; i < GR_COUNT(begin); i++)
            put(fd[i], begin[i][0] ? "a" : "", 1);
        usleep(50000);
    }
    for (size_t i = 0; i < GR_COUNT(begin); i++)
        close(fd[i]);
    stop(NULL);
}

static void names_that_were_made_to_lead_here(void **state)
{
    static const char *const path[] = { "/", "/health", "/metrics", "/v1/models", "/openapi.json" };
    static const char *const own[] = { "localhost", "LOCALHOST:80", "127.0.0.1:8080", "127.9.9.9", "[::1]",
                                      "[::1]:80" };
    static const char *const foreign[] = { "evil.example", "localhost.evil.example", "127.0.0.1.evil.example",
                                           "10.0.0.1", "evil", "[::1].evil", "" };
    char request[256];

    (void)state;
    start(&(gr_serve_options){ .max_body = 4096 }, "fake");
    for (size_t p = 0; p < GR_COUNT(path); p++) {
        for (size_t i = 0; i < GR_COUNT(foreign); i++) {
            snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path[p], foreign[i]);
            assert_int_equal(raw(request), 403);
        }
        for (size_t i = 0; i < GR_COUNT(own); i++) {
            snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path[p], own[i]);
            assert_int_equal(raw(request), 200);
        }
    }
    stop(NULL);
    start(&(gr_serve_options){ .key = "k" }, "fake");               /* a key stands between */
    assert_int_equal(raw("GET /health HTTP/1.1\r\nHost: gram.example\r\n\r\n"), 200);
    stop(NULL);
}

static void keys_that_nobody_can_send(void **state)
{
    static const char *const bad[] = { "", " ", "a ", " a", "a\nb", "a\r", "\t", "a\tb", "\x7f" };

    (void)state;
    engine = fake_engine("fake");
    for (size_t i = 0; i < GR_COUNT(bad); i++) {
        const gr_serve_options o = { .key = bad[i], .quiet = true };
        assert_int_equal(gr_serve_start(&server, &o, &engine, &check_err), GRAM_EARG);
        assert_non_null(strstr(check_err.text, "key"));
    }
    start(&(gr_serve_options){ .key = "a b \xc3\xa4" }, "fake");
    assert_int_equal(one("/v1/score", "Authorization: Bearer a b \xc3\xa4\r\n", PAIR), 200);
    assert_int_equal(one("/v1/score", "Authorization: Bearer a b\r\n", PAIR), 401);
    stop(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(framing_that_two_servers_read_differently, stop),
        cmocka_unit_test_teardown(drips, stop),
        cmocka_unit_test_teardown(names_that_were_made_to_lead_here, stop),
        cmocka_unit_test_teardown(keys_that_nobody_can_send, stop),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
