/* test_client.c - a server that breaks off: what has come of an answer is none, and is not taken for the next one's. */
#include "check.h"
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/client.h"

/* What the server says on one connection after the other; reset: it then breaks it off, and ends it otherwise. */
struct said { const char *text; bool reset; };
struct server { int fd; char url[300]; const struct said *said; size_t n; pthread_t thread; };

static void *serve(void *arg)
{
    const struct server *s = arg;

    for (size_t i = 0; i < s->n; i++) {
        const struct linger at_once = { 1, 0 };
        char request[4096];
        int fd = accept(s->fd, NULL, NULL);
        if (fd < 0 || recv(fd, request, sizeof request, 0) <= 0)
            return NULL;
        if (*s->said[i].text && send(fd, s->said[i].text, strlen(s->said[i].text), MSG_NOSIGNAL) < 0)
            return NULL;
        if (s->said[i].reset) {
            usleep(200000);                 /* the client has read it by then */
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        }
        close(fd);
    }
    return NULL;
}

static void start(struct server *s, const struct said *said, size_t n)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t bytes = sizeof a;

    *s = (struct server){ .fd = socket(AF_INET, SOCK_STREAM, 0), .said = said, .n = n };
    assert_true(s->fd >= 0 && !bind(s->fd, (struct sockaddr *)&a, sizeof a) && !listen(s->fd, 4));
    assert_false(getsockname(s->fd, (struct sockaddr *)&a, &bytes));
    snprintf(s->url, sizeof s->url, "http://127.0.0.1:%u", ntohs(a.sin_port));
    assert_false(pthread_create(&s->thread, NULL, serve, s));
}

static void stop(struct server *s)
{
    pthread_join(s->thread, NULL);
    close(s->fd);
}

static void an_answer_that_broke_off_leaves_nothing(void **state)
{
    const struct said said[] = {
        { "HTTP/1.1 200 OK\r\n\r\n{\"half of", true }, { "", false },
        { "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", false },
    };
    struct server s;
    gr_buf answer = { 0 };
    int status;

    (void)state;
    start(&s, said, 3);
    CHECK_OK(gr_client_post(s.url, NULL, "/x", "{}", &answer, &status, &check_err));
    assert_int_equal(status, 200);
    assert_int_equal(answer.n, 2);
    assert_string_equal(answer.p, "{}");
    gr_buf_clear(&answer);
    stop(&s);
}

static void an_answer_has_the_length_that_it_says(void **state)
{
    const struct said said[] = {
        { "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{\"a\": 1}", false },
        { "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n{\"a\": 2}", false },
    };
    struct server s;
    gr_buf answer = { 0 };

    (void)state;
    start(&s, said, 2);
    CHECK_OK(gr_client_post(s.url, NULL, "/x", "{}", &answer, NULL, &check_err));
    assert_string_equal(answer.p, "{\"a\": 2}");
    gr_buf_clear(&answer);
    stop(&s);
}

static void an_address_is_taken_whole_or_not(void **state)
{
    char url[400] = "http://127.0.0.1:1/";
    gr_buf answer = { 0 };
    static const char *const bad[] = { "http://127.0.0.1:123456789", "http://[::1", "http://", "https://x" };

    (void)state;
    memset(url + strlen(url), 'p', 300);
    assert_int_equal(gr_client_post(url, NULL, "/x", "{}", &answer, NULL, &check_err), GRAM_EARG);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(gr_client_post(bad[i], NULL, "/x", "{}", &answer, NULL, &check_err), GRAM_EARG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_that_broke_off_leaves_nothing),
        cmocka_unit_test(an_answer_has_the_length_that_it_says), cmocka_unit_test(an_address_is_taken_whole_or_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
