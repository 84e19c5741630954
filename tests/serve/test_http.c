/* test_http.c - the server on a real socket: keys, limits, bodies in pieces, clients that leave or close one half,
 * a full queue, a batch with one bad request in it, draining, a crowd of idle connections, its own cost. */
#include "check.h"
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include "fake.h"
#include "serve/queue.h"
#include "serve/serve.h"

static gr_engine engine;
static gr_serve *server;

static void start(const gr_serve_options *opt, const char *model)
{
    gr_serve_options o = *opt;

    o.quiet = true;
    engine = fake_engine(model);
    CHECK_OK(gr_serve_start(&server, &o, &engine, &check_err));
    for (int i = 0; i < 1000 && !strcmp(model, "fake") && gr_serve_get_state(server, NULL) != GR_SERVE_READY; i++)
        usleep(1000);
}

static int stop(void **state)
{
    (void)state;
    gr_serve_stop(server);
    server = NULL;
    return 0;
}

static int dial(void)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)gr_serve_port(server)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_true(fd >= 0);
    if (connect(fd, (struct sockaddr *)&a, sizeof a))
        fail_msg("connect: %s", strerror(errno));
    return fd;
}

static void put(int fd, const char *s, size_t n)
{
    while (n > 0) {
        ssize_t k = send(fd, s, n, MSG_NOSIGNAL);
        if (k <= 0)
            return;                         /* the server closed; the answer says why */
        s += k;
        n -= (size_t)k;
    }
}

/* Reads one answer, interim ones skipped; its status, or 0 where the connection ended. text: 64 KiB. */
static int answer(int fd, char *text)
{
    size_t n = 0;
    int status = 0;

    for (;;) {
        char *end, *length;
        ssize_t k;
        text[n] = '\0';
        end = strstr(text, "\r\n\r\n");
        if (end && sscanf(text, "HTTP/1.%*d %d", &status) == 1) {
            length = strcasestr(text, "content-length:");
            if (status == 100) {
                n -= (size_t)(end + 4 - text);
                memmove(text, end + 4, n);
                continue;
            }
            if (length && length < end && n >= (size_t)(end + 4 - text) + (size_t)atoi(length + 15))
                return status;
        }
        k = n < 65535 ? recv(fd, text + n, 65535 - n, 0) : 0;
        if (k <= 0)
            return 0;
        n += (size_t)k;
    }
}

static char text[65536];

static void say(int fd, const char *s)
{
    put(fd, s, strlen(s));
}

static void post(int fd, const char *path, const char *more, const char *body)
{
    gr_buf b = { 0 };

    assert_true(gr_buf_printf(&b, "POST %s HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
                              "Content-Length: %zu\r\n%s\r\n%s", path, strlen(body), more, body));
    put(fd, b.p, b.n);
    gr_buf_clear(&b);
}

static int one(const char *path, const char *more, const char *body)
{
    int fd = dial(), status;

    post(fd, path, more, body);
    status = answer(fd, text);
    close(fd);
    return status;
}

static int raw(const char *request)
{
    int fd = dial(), status;

    say(fd, request);
    status = answer(fd, text);
    close(fd);
    return status;
}

#define PAIR "{\"prompt\":\"p\",\"a\":\"x\",\"b\":\"yy\"}"
#define SLOW "{\"prompt\":\"p\",\"a\":\"SLOW\",\"b\":\"yy\"}"

static void requests_and_refusals(void **state)
{
    (void)state;
    start(&(gr_serve_options){ .max_body = 4096 }, "fake");
    assert_int_equal(one("/v1/score", "X-Request-Id: my-id.7\r\n", PAIR), 200);
    assert_non_null(strstr(text, "X-Request-Id: my-id.7\r\n"));
    assert_non_null(strstr(text, "\"id\":\"my-id.7\""));
    assert_int_equal(one("/v1/score", "X-Request-Id: a b\r\n", PAIR), 200);
    assert_null(strstr(text, "a b"));
    assert_int_equal(one("/v1/score", "Origin: http://evil.example\r\n", PAIR), 403);
    assert_int_equal(one("/v1/score", "Origin: http://h\r\n", PAIR), 403);      /* a name that was made to lead here */
    assert_int_equal(raw("POST /v1/score HTTP/1.1\r\nHost: 127.0.0.1:80\r\nOrigin: http://127.0.0.1:80\r\n"
                         "Content-Length: 31\r\n\r\n" PAIR), 200);
    assert_int_equal(one("/v1/score", "Content-Encoding: gzip\r\n", PAIR), 415);
    assert_int_equal(raw("POST /v1/score HTTP/1.1\r\nHost: h\r\nContent-Type: text/plain\r\n"
                         "Content-Length: 2\r\n\r\n{}"), 415);
    assert_int_equal(raw("GET /v1/score HTTP/1.1\r\nHost: h\r\n\r\n"), 405);
    assert_non_null(strstr(text, "Allow: POST"));
    assert_int_equal(raw("GET /nope HTTP/1.1\r\nHost: h\r\n\r\n"), 404);
    assert_int_equal(raw("GET / HTTP/1.1\r\nHost: h\r\n\r\n"), 200);
    assert_non_null(strstr(text, "Content-Security-Policy: default-src 'none'"));
    assert_int_equal(raw("GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n"), 200);
    assert_non_null(strstr(text, "gram_requests_total{method=\"POST\",path=\"/v1/score\",status=\"200\"} 3"));
    assert_int_equal(one("/v1/score", "", "{\"prompt\":\"p\",\"a\":\"NAN\",\"b\":\"y\"}"), 500);
    assert_null(strstr(text, "preference"));
    stop(NULL);
}

static void bodies_over_the_limit(void **state)
{
    gr_buf b = { 0 };
    int fd;

    (void)state;
    start(&(gr_serve_options){ .max_body = 4096 }, "fake");
    for (int i = 0; i < 5000; i++)
        assert_true(gr_buf_puts(&b, "x"));
    assert_int_equal(one("/v1/score", "", b.p), 413);               /* by its length */
    fd = dial();                                                    /* in chunks, its length unsaid */
    say(fd, "POST /v1/score HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 20; i++) {
        say(fd, "3e8\r\n");
        put(fd, b.p, 1000);
        say(fd, "\r\n");
    }
    say(fd, "0\r\n\r\n");
    assert_int_equal(answer(fd, text), 413);
    post(fd, "/v1/score", "", PAIR);                                /* and the connection lives on */
    assert_int_equal(answer(fd, text), 200);
    close(fd);
    assert_int_equal(raw("POST /v1/score HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
                         "Content-Length: 99999999999\r\n\r\n{"), 413);
    gr_buf_clear(&b);
    stop(NULL);
}

/* Bodies made to cost more than they say: the server's other clients must not notice. */
static void bodies_that_cost(void **state)
{
    gr_buf b = { 0 };
    double begin;

    (void)state;
    start(&(gr_serve_options){ .max_body = 1 << 20 }, "fake");
    assert_true(gr_buf_puts(&b, "{\"a\":[1"));
    for (int i = 0; i < 400000; i++)        /* 800 KB of JSON that ends before it should: what was read goes at once */
        assert_true(gr_buf_puts(&b, ",1"));
    begin = gr_now();
    assert_int_equal(one("/v1/score", "", b.p), 400);
    assert_true(gr_now() - begin < 5);      /* a search for each block took minutes */
    b.n = 0;
    assert_true(gr_buf_puts(&b, "{\"prompt\":\""));
    for (int i = 0; i < 100000; i++)
        assert_true(gr_buf_puts(&b, "01234567"));
    assert_true(gr_buf_puts(&b, "\",\"responses\":[\"x\""));
    for (int i = 0; i < 13; i++)
        assert_true(gr_buf_puts(&b, ",\"x\""));
    assert_true(gr_buf_puts(&b, "]}"));     /* 91 comparisons that each read the long prompt: more than 64 bodies */
    assert_int_equal(one("/v1/reward", "", b.p), 413);
    assert_non_null(strstr(text, "bytes of text"));
    gr_buf_clear(&b);
    stop(NULL);
}

static void keys(void **state)
{
    gr_serve_options open_to_all = { .host = "0.0.0.0", .quiet = true };

    (void)state;
    engine = fake_engine("fake");
    assert_int_equal(gr_serve_start(&server, &open_to_all, &engine, &check_err), GRAM_EARG);
    assert_non_null(strstr(check_err.text, "key"));
    start(&(gr_serve_options){ .key = "s3cret", .host = "0.0.0.0" }, "fake");
    assert_int_equal(one("/v1/score", "", PAIR), 401);
    assert_non_null(strstr(text, "WWW-Authenticate: Bearer"));
    assert_int_equal(one("/v1/score", "Authorization: Bearer s3cre\r\n", PAIR), 401);
    assert_int_equal(one("/v1/score", "Authorization: Bearer s3crets\r\n", PAIR), 401);
    assert_int_equal(one("/v1/score", "Authorization: Basic s3cret\r\n", PAIR), 401);
    assert_int_equal(one("/v1/score", "Authorization: bearer s3cret\r\n", PAIR), 200);
    assert_int_equal(one("/v1/score", "Authorization: bearer s3cret\r\nOrigin: https://h\r\n", PAIR), 200);
    assert_int_equal(raw("GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n"), 401);
    assert_int_equal(raw("GET /health HTTP/1.1\r\nHost: h\r\n\r\n"), 200);
    stop(NULL);
}

static void loading_and_failing_to(void **state)
{
    (void)state;
    start(&(gr_serve_options){ 0 }, "slow");
    assert_int_equal(raw("GET /health HTTP/1.1\r\nHost: h\r\n\r\n"), 503);
    assert_non_null(strstr(text, "\"code\":503,\"message\":\"Loading model\",\"type\":\"unavailable_error\""));
    assert_int_equal(one("/v1/score", "", PAIR), 503);
    assert_non_null(strstr(text, "Retry-After: "));
    assert_int_equal(raw("GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n"), 200);
    usleep(500000);
    assert_int_equal(raw("GET /health HTTP/1.1\r\nHost: h\r\n\r\n"), 200);
    stop(NULL);
    start(&(gr_serve_options){ 0 }, "missing");
    for (int i = 0; i < 1000 && gr_serve_get_state(server, &check_err) != GR_SERVE_FAILED; i++)
        usleep(1000);
    assert_string_equal(check_err.text, "missing: no such file");
    assert_int_equal(one("/v1/score", "", PAIR), 503);
    stop(NULL);
}

static void a_bad_neighbour_fails_alone(void **state)
{
    int fd[8];

    (void)state;
    start(&(gr_serve_options){ 0 }, "fake");
    fd[7] = dial();
    post(fd[7], "/v1/score", "", SLOW);                             /* while it is judged, the others gather */
    usleep(50000);
    for (int i = 0; i < 7; i++) {
        fd[i] = dial();
        post(fd[i], "/v1/score", "", i == 3 ? "{\"prompt\":\"p\",\"a\":\"TOOLONG\",\"b\":\"y\"}" :
             i == 5 ? "{\"prompt\":\"p\",\"a\":\"NAN\",\"b\":\"y\"}" : PAIR);
    }
    for (int i = 0; i < 8; i++) {
        assert_int_equal(answer(fd[i], text), i == 3 ? 422 : i == 5 ? 500 : 200);
        close(fd[i]);
    }
    stop(NULL);
}

/* Metrics say how many pairs wait or are being judged. */
static int waiting_pairs(void)
{
    char *at;

    assert_int_equal(raw("GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n"), 200);
    at = strstr(text, "\ngram_queue_pairs ");
    assert_non_null(at);
    return atoi(at + 18);
}

static void a_client_that_leaves_frees_its_work(void **state)
{
    gr_buf many = { 0 };
    int fd;

    (void)state;
    start(&(gr_serve_options){ .batch_tokens = 1 }, "fake");
    assert_true(gr_buf_puts(&many, "{\"pairs\":[" SLOW));
    for (int i = 0; i < 49; i++)
        assert_true(gr_buf_puts(&many, "," SLOW));
    assert_true(gr_buf_puts(&many, "]}"));
    fd = dial();
    post(fd, "/v1/score", "", many.p);
    usleep(100000);
    assert_true(waiting_pairs() > 40);
    close(fd);
    usleep(600000);                         /* the pair being judged is finished, the rest is not begun */
    assert_int_equal(waiting_pairs(), 0);
    fd = dial();                            /* one that closes its sending half only still gets its answer */
    post(fd, "/v1/score", "", SLOW);
    shutdown(fd, SHUT_WR);
    assert_int_equal(answer(fd, text), 200);
    close(fd);
    gr_buf_clear(&many);
    stop(NULL);
}

static void a_full_queue_and_a_late_answer(void **state)
{
    int fd;

    (void)state;
    start(&(gr_serve_options){ .max_queue = 2, .timeout = 0.5, .batch_tokens = 1 }, "fake");
    fd = dial();
    post(fd, "/v1/score", "", "{\"pairs\":[" SLOW "," SLOW "," SLOW "," SLOW "," SLOW "," SLOW "," SLOW "," SLOW "," SLOW
         "," SLOW "]}");
    usleep(50000);
    assert_int_equal(one("/v1/score", "", PAIR), 429);
    assert_non_null(strstr(text, "Retry-After: "));
    assert_int_equal(answer(fd, text), 503);
    assert_non_null(strstr(text, "not finished within the time"));
    close(fd);
    assert_int_equal(one("/v1/score", "", PAIR), 200);
    stop(NULL);
}

static void small_requests_do_not_wait_for_large_ones(void **state)
{
    gr_buf many = { 0 };
    int fd = 0;
    double begin;

    (void)state;
    start(&(gr_serve_options){ .batch_tokens = 1000 }, "fake");
    assert_true(gr_buf_puts(&many, "{\"pairs\":[" SLOW));
    for (int i = 0; i < 29; i++)
        assert_true(gr_buf_puts(&many, "," SLOW));
    assert_true(gr_buf_puts(&many, "]}"));
    fd = dial();
    post(fd, "/v1/score", "", many.p);      /* six seconds of work */
    usleep(50000);
    begin = gr_now();
    assert_int_equal(one("/v1/score", "", PAIR), 200);
    assert_true(gr_now() - begin < 3);
    close(fd);
    gr_buf_clear(&many);
    stop(NULL);
}

static void streaming(void **state)
{
    const char *body = "{\"messages\":[{\"role\":\"user\",\"content\":\"SLOW\"}],\"stream\":true,"
                       "\"stream_options\":{\"include_usage\":true}}";
    int fd;
    size_t n = 0;
    ssize_t k;

    (void)state;
    start(&(gr_serve_options){ 0 }, "fake");
    fd = dial();
    post(fd, "/v1/chat/completions", "Connection: close\r\n", body);
    while ((k = recv(fd, text + n, sizeof text - 1 - n, 0)) > 0)
        n += (size_t)k;
    text[n] = '\0';
    assert_non_null(strstr(text, "Content-Type: text/event-stream"));
    assert_non_null(strstr(text, "data: [DONE]"));
    assert_non_null(strstr(text, "\xe2\x9c\x93"));
    assert_non_null(strstr(text, "\"completion_tokens\":7"));
    close(fd);
    fd = dial();                            /* one that is too long fails before a stream begins */
    post(fd, "/v1/chat/completions", "", "{\"messages\":[{\"role\":\"user\",\"content\":\"TOOLONG\"}],\"stream\":true}");
    assert_int_equal(answer(fd, text), 422);
    close(fd);
    for (int i = 0; i < 20; i++) {          /* clients that leave in the middle of a stream */
        fd = dial();
        post(fd, "/v1/chat/completions", "", body);
        usleep((useconds_t)(i * 700));
        close(fd);
    }
    usleep(100000);
    assert_int_equal(waiting_pairs(), 0);
    stop(NULL);
}

static void draining(void **state)
{
    int fd, idle;

    (void)state;
    start(&(gr_serve_options){ 0 }, "fake");
    idle = dial();
    post(idle, "/v1/score", "", PAIR);
    assert_int_equal(answer(idle, text), 200);
    fd = dial();
    post(fd, "/v1/score", "", SLOW);
    usleep(50000);
    gr_serve_drain(server);
    assert_int_equal(gr_serve_in_flight(server), 1);
    post(idle, "/v1/score", "", PAIR);
    assert_int_equal(answer(idle, text), 503);
    assert_int_equal(answer(fd, text), 200);                        /* what was accepted is finished */
    assert_non_null(strcasestr(text, "connection: close"));
    for (int i = 0; i < 1000 && gr_serve_in_flight(server) > 0; i++)
        usleep(1000);
    assert_int_equal(gr_serve_in_flight(server), 0);
    close(fd);
    close(idle);
    fd = -1;
    stop(NULL);
}

static void stopped_with_work_in_flight(void **state)
{
    int fd[4];

    (void)state;
    start(&(gr_serve_options){ .batch_tokens = 1 }, "fake");
    for (int i = 0; i < 4; i++) {
        fd[i] = dial();
        post(fd[i], "/v1/score", "", "{\"pairs\":[" SLOW "," SLOW "," SLOW "," SLOW "]}");
    }
    usleep(100000);
    stop(NULL);
    for (int i = 0; i < 4; i++)
        close(fd[i]);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Median seconds of a request on one connection. */
static double median(size_t n)
{
    double *t = calloc(n, sizeof *t), m;
    int fd = dial();

    for (size_t i = 0; i < n; i++) {
        double begin = gr_now();
        post(fd, "/v1/score", "", PAIR);
        assert_int_equal(answer(fd, text), 200);
        t[i] = gr_now() - begin;
    }
    close(fd);
    qsort(t, n, sizeof *t, by_value);
    m = t[n / 2];
    free(t);
    return m;
}

static void a_crowd_of_slow_clients(void **state)
{
    enum { CROWD = 1000 };
    static int fd[CROWD];
    double alone, among;

    (void)state;
    start(&(gr_serve_options){ 0 }, "fake");
    alone = median(300);
    for (int i = 0; i < CROWD; i++) {
        fd[i] = dial();
        if (i % 3 == 1)                     /* half a request */
            say(fd[i], "POST /v1/score HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
                "Content-Length: 40\r\n\r\n{");
        if (i % 3 == 2)
            shutdown(fd[i], SHUT_WR);
    }
    among = median(300);
    print_message("a request takes %.0f us alone, %.0f us among %d idle, slow and half-closed clients\n", 1e6 * alone,
                  1e6 * among, CROWD);
    for (int i = 0; i < 1000 && gr_serve_in_flight(server) > 0; i++)
        usleep(1000);                       /* the last answer is read a moment before it is counted as sent */
    assert_int_equal(gr_serve_in_flight(server), 0);
    for (int i = 0; i < CROWD; i++)
        close(fd[i]);
    stop(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(requests_and_refusals, stop),
        cmocka_unit_test_teardown(bodies_over_the_limit, stop),
        cmocka_unit_test_teardown(bodies_that_cost, stop),
        cmocka_unit_test_teardown(keys, stop),
        cmocka_unit_test_teardown(loading_and_failing_to, stop),
        cmocka_unit_test_teardown(a_bad_neighbour_fails_alone, stop),
        cmocka_unit_test_teardown(a_client_that_leaves_frees_its_work, stop),
        cmocka_unit_test_teardown(a_full_queue_and_a_late_answer, stop),
        cmocka_unit_test_teardown(small_requests_do_not_wait_for_large_ones, stop),
        cmocka_unit_test_teardown(streaming, stop),
        cmocka_unit_test_teardown(draining, stop),
        cmocka_unit_test_teardown(stopped_with_work_in_flight, stop),
        cmocka_unit_test_teardown(a_crowd_of_slow_clients, stop),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
