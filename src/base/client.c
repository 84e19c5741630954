/* client.c - see client.h. HTTP/1.0, a connection a request: the server then neither chunks its answer nor keeps the
 * connection, so the end of the answer is the end of the connection. */
#include <errno.h>
#include <jansson.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/client.h"
#include "base/err.h"

enum { TRIES = 30, ANSWER_MAX = 1 << 28 };

typedef struct { char host[256], port[6], prefix[256]; } address;

/* The n bytes at p, where there is room for them. */
static bool copy(char *to, size_t size, const char *p, size_t n)
{
    if (n >= size)
        return false;
    memcpy(to, p, n);
    to[n] = '\0';
    return true;
}

static gram_status read_url(const char *url, address *a, gram_err *err)
{
    const char *p = url + 7, *path, *end, *colon;
    size_t n;

    if (strncmp(url, "http://", 7))
        return gr_fail(err, GRAM_EARG, "%s: wanted http://HOST:PORT (TLS is a proxy's work)", url);
    path = p + strcspn(p, "/");
    end = *p == '[' ? memchr(p, ']', (size_t)(path - p)) : p;       /* [::1]:8080 */
    colon = end ? memchr(end, ':', (size_t)(path - end)) : NULL;
    if (*p == '[')
        p++;
    else
        end = colon ? colon : path;
    n = strlen(path);
    n -= n && path[n - 1] == '/';
    if (!end || end == p || !copy(a->host, sizeof a->host, p, (size_t)(end - p)) ||
        !copy(a->port, sizeof a->port, colon ? colon + 1 : "80", colon ? (size_t)(path - colon - 1) : 2) ||
        !copy(a->prefix, sizeof a->prefix, path, n))
        return gr_fail(err, GRAM_EARG, "%s: wanted http://HOST:PORT", url);
    return GRAM_OK;
}

static int dial(const address *a, char why[256])
{
    const struct addrinfo want = { .ai_socktype = SOCK_STREAM };
    struct addrinfo *list, *i;
    int fd = -1, e = getaddrinfo(a->host, a->port, &want, &list);

    if (e) {
        snprintf(why, 256, "%s", gai_strerror(e));
        return -1;
    }
    for (i = list; i && fd < 0; i = i->ai_next) {
        fd = socket(i->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0 && connect(fd, i->ai_addr, i->ai_addrlen)) {
            snprintf(why, 256, "%s", strerror(errno));
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(list);
    return fd;
}

static bool send_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t k = send(fd, p, n, MSG_NOSIGNAL);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return false;
        p += k;
        n -= (size_t)k;
    }
    return true;
}

static bool receive_all(int fd, gr_buf *out)
{
    char part[16384];

    for (;;) {
        ssize_t k = recv(fd, part, sizeof part, 0);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return k == 0;
        if (out->n > ANSWER_MAX || !gr_buf_add(out, part, (size_t)k))
            return false;
    }
}

/* The value of a header among those that end at `end`; NULL: it is not there. name: as "\r\nNAME:". */
static const char *header(const char *answer, const char *end, const char *name)
{
    const char *at = strcasestr(answer, name);

    return at && at < end ? at + strlen(name) : NULL;
}

/* One try: the HTTP status, or 0 and why there is none. *answer gets the body, *wait what Retry-After says. */
static int try_once(const address *a, const char *key, const char *path, const char *body, gr_buf *answer,
                    unsigned *wait, char why[256])
{
    gr_buf request = { 0 };
    const char *after, *length, *head;
    int status = 0, fd = dial(a, why);

    gr_buf_clear(answer);                   /* what a try before this one got, too */
    if (fd < 0)
        return 0;
    snprintf(why, 256, "the connection broke");
    if (!gr_buf_printf(&request, "POST %s%s HTTP/1.0\r\nHost: %s:%s\r\nContent-Type: application/json\r\n"
                       "Content-Length: %zu\r\n%s%s%s\r\n%s", a->prefix, path, a->host, a->port, strlen(body),
                       key ? "Authorization: Bearer " : "", key ? key : "", key ? "\r\n" : "", body)
        || !send_all(fd, request.p, request.n) || !receive_all(fd, answer))
        goto out;
    head = answer->p ? strstr(answer->p, "\r\n\r\n") : NULL;
    if (!head || sscanf(answer->p, "HTTP/%*d.%*d %d", &status) != 1) {
        status = 0;
        goto out;
    }
    after = header(answer->p, head, "\r\nRetry-After:");
    length = header(answer->p, head, "\r\nContent-Length:");
    *wait = after ? (unsigned)strtoul(after, NULL, 10) : 1;
    if (length && strtoull(length, NULL, 10) != answer->n - (size_t)(head + 4 - answer->p)) {
        status = 0;                         /* the server ended in the midst of it */
        goto out;
    }
    head += 4;
    answer->n -= (size_t)(head - answer->p);
    memmove(answer->p, head, answer->n + 1);
out:
    gr_buf_clear(&request);
    close(fd);
    return status;
}

static gram_status refused(const char *url, int status, const gr_buf *answer, gram_err *err)
{
    json_t *j = answer->n ? json_loadb(answer->p, answer->n, 0, NULL) : NULL;
    const char *message = json_string_value(json_object_get(json_object_get(j, "error"), "message"));
    bool asked_wrongly = status >= 400 && status < 500 && status != 429;
    gram_status rc = gr_fail(err, asked_wrongly ? GRAM_EARG : GRAM_EIO, "%s answered %d: %s", url, status,
                             message ? message : "no reason given");

    json_decref(j);
    return rc;
}

gram_status gr_client_post(const char *url, const char *key, const char *path, const char *body, gr_buf *answer,
                           int *status, gram_err *err)
{
    address a;
    char why[256] = "";
    gram_status rc = read_url(url, &a, err);
    int unwanted;

    status = status ? status : &unwanted;
    *status = 0;
    if (rc)
        return rc;
    for (int i = 0; ; i++) {
        unsigned wait = 1;
        *status = try_once(&a, key, path, body, answer, &wait, why);
        if (*status == 200)
            return GRAM_OK;
        if (i + 1 == TRIES || (*status && *status != 429 && *status != 503) || (!*status && i >= 2))
            return *status ? refused(url, *status, answer, err) : gr_fail(err, GRAM_EIO, "%s: %s", url, why);
        sleep(wait < 1 ? 1 : wait > 60 ? 60 : wait);
    }
}
