/* log.c - one JSON object a line on stderr. Text of requests only with --log-text; refusals name fields, not values. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/json.h"
#include "serve/serve_int.h"

static void write_line(json_t *line)
{
    char *text = gr_json_text(line, JSON_COMPACT | JSON_REAL_PRECISION(6));
    ssize_t done;

    if (text) {
        size_t n = strlen(text);
        text[n] = '\n';                     /* the NUL is not needed: one write, so that lines never mix */
        done = write(STDERR_FILENO, text, n + 1);
        (void)done;                         /* a log that nobody reads is no reason to fail a request */
    }
    free(text);
    json_decref(line);
}

static const char *stamp(char out[40])
{
    struct timespec t;
    struct tm tm;
    char day[24];

    clock_gettime(CLOCK_REALTIME, &t);
    gmtime_r(&t.tv_sec, &tm);
    strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out, 40, "%s.%03ldZ", day, t.tv_nsec / 1000000);
    return out;
}

static const char *client(const gr_req *r, char out[INET6_ADDRSTRLEN])
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(r->conn, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *a = info ? info->client_addr : NULL;

    strcpy(out, "?");
    if (a && a->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)a)->sin_addr, out, INET6_ADDRSTRLEN);
    if (a && a->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr, out, INET6_ADDRSTRLEN);
    return out;
}

void gr_log_request(const gr_req *r, double seconds)
{
    char time[40], ip[INET6_ADDRSTRLEN];
    json_t *line;
    double waited = r->job.started > 0 ? r->job.started - r->job.queued : 0;

    if (r->opt->quiet)
        return;
    line = json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:f, s:f, s:I, s:I, s:I}", "time", stamp(time), "id", r->id,
                     "client", client(r, ip), "method", r->method, "path", r->route ? r->route->path : "?",
                     "status", r->sent, "ms", 1e3 * seconds, "queue_ms", 1e3 * waited,
                     "pairs", (json_int_t)r->pairs, "tokens", (json_int_t)r->tokens, "bytes", (json_int_t)r->body.n);
    if (line && r->why[0])
        json_object_set_new(line, "error", json_string(r->why));
    if (line && r->opt->log_text && r->body.n > 0)
        json_object_set_new(line, "body", json_stringn(r->body.p, r->body.n));
    write_line(line);
}

void gr_log_event(const gr_serve *s, const char *event, const char *text)
{
    char time[40];

    if (!s->opt.quiet)
        write_line(json_pack("{s:s, s:s, s:s}", "time", stamp(time), "event", event, "text", text));
}
