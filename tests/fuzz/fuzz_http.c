/* fuzz_http.c - bytes on a connection, as they come: the whole server, its HTTP library and its threads, over
 * tests/serve/fake.h's engine. Whatever was sent, every answer of ours that is no success is an error in its one form,
 * and the next client is served. */
#include <arpa/inet.h>
#include <assert.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include "serve/serve.h"
#include "../serve/fake.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static gr_serve *server;

static void start(void)
{
    static gr_engine engine;
    const gr_serve_options opt = { .name = "fake", .max_body = 65536, .max_rows = 16, .max_pairs = 64,
                                   .max_new_tokens = 8, .quiet = true };
    gram_err err;

    signal(SIGPIPE, SIG_IGN);
    engine = fake_engine("fake");
    if (gr_serve_start(&server, &opt, &engine, &err))
        abort();
    while (gr_serve_get_state(server, NULL) != GR_SERVE_READY)
        usleep(1000);
}

/* Sends all, closes its half, and reads what comes within a while, and after it within a moment: whether the server
 * will say more, only a parser of what was sent could tell. The text is the caller's. */
static char *talk(const void *data, size_t n, int patience_ms)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)gr_serve_port(server)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    const struct linger reset = { 1, 0 };       /* or the ports of a long run are all waiting out their time */
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    size_t held = 0, cap = 1 << 20;
    char *text = malloc(cap + 1);
    ssize_t k;

    assert(fd >= 0 && text);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    assert(!connect(fd, (struct sockaddr *)&a, sizeof a));
    for (size_t sent = 0; sent < n && (k = send(fd, (const char *)data + sent, n - sent, MSG_NOSIGNAL)) > 0; )
        sent += (size_t)k;
    shutdown(fd, SHUT_WR);
    while (held < cap && poll(&(struct pollfd){ fd, POLLIN, 0 }, 1, held ? 2 : patience_ms) > 0
           && (k = recv(fd, text + held, cap - held, 0)) > 0)
        held += (size_t)k;
    close(fd);
    text[held] = '\0';
    return text;
}

/* Of the first answer: those that follow it begin where its length says, and are like it. */
static void check_answer(const char *text)
{
    const char *end = strstr(text, "\r\n\r\n"), *ours = strcasestr(text, "\r\nX-Request-Id:");
    json_t *body;
    int status = 0;

    if (!end)
        return;
    assert(sscanf(text, "HTTP/1.%*d %d", &status) == 1);
    if (status < 400 || !ours || ours > end)
        return;
    body = json_loads(end + 4, JSON_DISABLE_EOF_CHECK, NULL);
    assert(!end[4] || json_integer_value(json_object_get(json_object_get(body, "error"), "code")) == status);
    json_decref(body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static unsigned runs;
    char *text;

    if (!server)
        start();
    if (memmem(data, n, "SLOW", 4))
        return 0;
    text = talk(data, n, 20);
    check_answer(text);
    free(text);
    if (runs++ % 64 == 0) {
        static const char health[] = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
        text = talk(health, sizeof health - 1, 10000);
        assert(!strncmp(text, "HTTP/1.1 200", 12));
        free(text);
    }
    return 0;
}
