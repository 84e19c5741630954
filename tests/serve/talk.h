/* talk.h - a server over the engine of fake.h, and raw words with it; for the tests of src/serve/http.c and its like.
 * Each test uses some of it. */
#ifndef TALK_H
#define TALK_H

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
static gr_serve *server, *other;
static sem_t gate;

/* What happens sooner or later is waited for, however slow the machine; what does not happen fails the test. */
enum { PATIENCE = 30 };                     /* seconds */
#define WAIT_FOR(what)                                                      \
    do {                                                                    \
        double give_up_ = gr_now() + PATIENCE;                              \
        while (!(what)) {                                                   \
            if (gr_now() > give_up_)                                        \
                fail_msg("%d seconds went by without " #what, PATIENCE);    \
            usleep(1000);                                                   \
        }                                                                   \
    } while (0)

/* Lets n of what is HELD pass. */
static inline void let_pass(int n)
{
    while (n-- > 0)
        sem_post(&gate);
}

static inline gr_serve *start_one(gr_engine *e, const gr_serve_options *opt, const char *model)
{
    gr_serve_options o = *opt;
    gr_serve *s;

    o.quiet = true;
    *e = fake_engine(model);
    CHECK_OK(gr_serve_start(&s, &o, e, &check_err));
    return s;
}

static inline void start(const gr_serve_options *opt, const char *model)
{
    fake_gate = &gate;
    sem_init(&gate, 0, 0);
    server = start_one(&engine, opt, model);
    if (!strcmp(model, "fake"))
        WAIT_FOR(gr_serve_get_state(server, NULL) == GR_SERVE_READY);
}

static inline int stop(void **state)
{
    (void)state;
    let_pass(1000);                         /* where a test failed, something may be held still */
    gr_serve_stop(server);
    gr_serve_stop(other);
    server = other = NULL;
    return 0;
}

static inline int dial_port(unsigned port)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    const struct timeval patience = { PATIENCE, 0 };
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&a, sizeof a))
        fail_msg("connect: %s", strerror(errno));
    return fd;
}

static inline int dial_to(const gr_serve *s)
{
    return dial_port(gr_serve_port(s));
}

static inline int dial(void)
{
    return dial_to(server);
}

static inline void put(int fd, const char *s, size_t n)
{
    while (n > 0) {
        ssize_t k = send(fd, s, n, MSG_NOSIGNAL);
        if (k <= 0)
            return;                         /* the server closed; the answer says why */
        s += k;
        n -= (size_t)k;
    }
}

enum { TEXT_MOST = 1 << 18 };           /* of an answer: /openapi.json is the longest */

/* Reads one answer, interim ones skipped; its status, or 0 where the connection ended. text: TEXT_MOST bytes. */
static inline int answer(int fd, char *text)
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
        k = n < TEXT_MOST - 1 ? recv(fd, text + n, TEXT_MOST - 1 - n, 0) : 0;
        if (k <= 0)
            return 0;
        n += (size_t)k;
    }
}

static char text[TEXT_MOST];

static inline void say(int fd, const char *s)
{
    put(fd, s, strlen(s));
}

static inline void post(int fd, const char *path, const char *more, const char *body)
{
    gr_buf b = { 0 };

    assert_true(gr_buf_printf(&b, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                              "Content-Length: %zu\r\n%s\r\n%s", path, strlen(body), more, body));
    put(fd, b.p, b.n);
    gr_buf_clear(&b);
}

static inline int one(const char *path, const char *more, const char *body)
{
    int fd = dial(), status;

    post(fd, path, more, body);
    status = answer(fd, text);
    close(fd);
    return status;
}

static inline int raw(const char *request)
{
    int fd = dial(), status;

    say(fd, request);
    status = answer(fd, text);
    close(fd);
    return status;
}

#define PAIR "{\"prompt\":\"p\",\"a\":\"x\",\"b\":\"yy\"}"
#define SLOW "{\"prompt\":\"p\",\"a\":\"SLOW\",\"b\":\"yy\"}"
#define HELD "{\"prompt\":\"p\",\"a\":\"HELD\",\"b\":\"yy\"}"

static inline double metric(const char *name)
{
    char line[64], *at;

    assert_int_equal(raw("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"), 200);
    snprintf(line, sizeof line, "\n%s ", name);
    at = strstr(text, line);
    assert_non_null(at);
    return atof(at + strlen(line));
}

/* Pairs that wait or are being judged. */
static inline int waiting_pairs(void)
{
    return (int)metric("gram_queue_pairs");
}

/* A request of n pairs. */
static inline void post_many(int fd, int n, const char *pair)
{
    gr_buf b = { 0 };

    assert_true(gr_buf_puts(&b, "{\"pairs\":["));
    for (int i = 0; i < n; i++)
        assert_true(gr_buf_printf(&b, "%s%s", i ? "," : "", pair));
    assert_true(gr_buf_puts(&b, "]}"));
    post(fd, "/v1/score", "", b.p);
    gr_buf_clear(&b);
}

#endif
