/* dashboard.c - see serve.h.
 *
 *     GET /runs                        {"folder", "runs": [{"name", "bytes", "changed", "samples"}]}
 *     GET /metrics?run=NAME&from=BYTE  the whole lines of its metrics.jsonl from there on
 *     GET /samples?run=NAME            the last lines of its samples.jsonl
 *
 * A run is a folder with a metrics.jsonl, at most three below the one that is watched. NAME is looked up among those
 * that are found, so that no request can name another file. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/err.h"
#include "base/json.h"
#include "base/mem.h"
#include "serve/assets.h"
#include "serve/serve_int.h"

enum { DEPTH = 3, RUNS = 1000 };
#define PIECE   ((off_t)4 << 20)        /* of metrics, in one answer */
#define SAMPLES ((off_t)192 << 10)

struct gr_dashboard {
    struct MHD_Daemon *daemon;
    char *dir;
    unsigned port;
};

/* ---- What there is -------------------------------------------------------------------------------- */

typedef struct {
    json_t *list;
    size_t n;
    bool nomem;
} scan;

/* DIR/NAME/FILE; name "" is the folder itself. */
static bool path_of(gr_buf *b, const char *dir, const char *name, const char *file)
{
    b->n = 0;
    return gr_buf_printf(b, "%s%s%s/%s", dir, *name ? "/" : "", name, file);
}

static void look(scan *s, const char *dir, const char *name, int depth)
{
    gr_buf path = { 0 };
    struct stat st, samples;
    struct dirent *e;
    DIR *d;

    if (!path_of(&path, dir, name, "metrics.jsonl"))
        s->nomem = true;
    else if (!stat(path.p, &st) && S_ISREG(st.st_mode)) {
        bool has = path_of(&path, dir, name, "samples.jsonl") && !stat(path.p, &samples) && S_ISREG(samples.st_mode);
        s->nomem = json_array_append_new(s->list, json_pack("{s:s, s:o, s:I, s:I, s:b}", "name", *name ? name : ".",
                                                            "file", json_sprintf("%" PRIu64, (uint64_t)st.st_ino),
                                                            "bytes", (json_int_t)st.st_size, "changed",
                                                            (json_int_t)st.st_mtime, "samples", has)) != 0;
        s->n++;
    }
    d = depth && !s->nomem && path_of(&path, dir, name, "") ? opendir(path.p) : NULL;
    while (d && !s->nomem && s->n < RUNS && (e = readdir(d))) {
        gr_buf below = { 0 };
        if (*e->d_name == '.' || (e->d_type != DT_DIR && e->d_type != DT_LNK && e->d_type != DT_UNKNOWN))
            continue;
        if (gr_buf_printf(&below, "%s%s%s", name, *name ? "/" : "", e->d_name))
            look(s, dir, below.p, depth - 1);
        else
            s->nomem = true;
        gr_buf_clear(&below);
    }
    if (d)
        closedir(d);
    gr_buf_clear(&path);
}

/* NULL: out of memory. */
static json_t *find_runs(const gr_dashboard *w)
{
    scan s = { .list = json_array() };

    if (s.list)
        look(&s, w->dir, "", DEPTH);
    if (s.nomem) {
        json_decref(s.list);
        return NULL;
    }
    return s.list;
}

/* ---- Answers -------------------------------------------------------------------------------------- */

typedef struct { unsigned status; const char *type; gr_buf body; } answer;

static void say(answer *a, unsigned status, const char *what)
{
    a->status = status;
    a->type = "text/plain; charset=utf-8";
    a->body.n = 0;
    gr_buf_puts(&a->body, what);
}

static void runs(const gr_dashboard *w, answer *a)
{
    json_t *list = find_runs(w), *o = list ? json_pack("{s:s, s:o}", "folder", w->dir, "runs", list) : NULL;
    char *text = o ? gr_json_text(o, JSON_COMPACT) : NULL;

    if (text && gr_buf_puts(&a->body, text))
        a->type = "application/json";
    else
        say(a, 500, "out of memory");
    free(text);
    json_decref(o);
}

/* Bytes [from, to) of the file, whose size is known to have been `to` or more. */
static bool read_bytes(int fd, off_t from, off_t to, gr_buf *out)
{
    char block[1 << 15];

    while (from < to) {
        size_t want = to - from < (off_t)sizeof block ? (size_t)(to - from) : sizeof block;
        ssize_t k = pread(fd, block, want, from);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return k == 0;                      /* cut since: what there is */
        if (!gr_buf_add(out, block, (size_t)k))
            return false;
        from += k;
    }
    return true;
}

/* Whole lines alone: a run may be writing the next one. tail: the last of them, in place of those from `from` on. */
static void lines(const gr_dashboard *w, const char *run, const char *file, off_t from, bool tail, answer *a)
{
    json_t *list = find_runs(w), *r;
    bool known = false;
    gr_buf path = { 0 };
    struct stat st;
    size_t i;
    int fd = -1;

    json_array_foreach(list, i, r)
        known = known || !strcmp(json_string_value(json_object_get(r, "name")), run);
    json_decref(list);
    if (known && path_of(&path, w->dir, strcmp(run, ".") ? run : "", file))
        fd = open(path.p, O_RDONLY | O_CLOEXEC | O_NONBLOCK);       /* a pipe of that name has nothing to say */
    gr_buf_clear(&path);
    a->type = "text/plain; charset=utf-8";
    if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode)) {
        say(a, 404, "no such run, or it has no such file");
    } else {
        off_t begin = tail ? (st.st_size > SAMPLES ? st.st_size - SAMPLES : 0) : from;
        off_t end = st.st_size - begin > PIECE ? begin + PIECE : st.st_size;
        if (!read_bytes(fd, begin, end, &a->body))
            say(a, 500, "not read");
        while (a->body.n && a->body.p[a->body.n - 1] != '\n')
            a->body.n--;
        if (tail && begin > 0 && a->body.n) {   /* the first line may be the end of one */
            size_t cut = (size_t)((char *)memchr(a->body.p, '\n', a->body.n) - a->body.p) + 1;
            memmove(a->body.p, a->body.p + cut, a->body.n - cut);
            a->body.n -= cut;
        }
    }
    if (fd >= 0)
        close(fd);
}

static void route(const gr_dashboard *w, struct MHD_Connection *c, const char *url, answer *a)
{
    const char *run = MHD_lookup_connection_value(c, MHD_GET_ARGUMENT_KIND, "run");
    const char *from = MHD_lookup_connection_value(c, MHD_GET_ARGUMENT_KIND, "from");
    long long at = from ? strtoll(from, NULL, 10) : 0;

    for (size_t i = 0; i < gr_n_dashboard_assets; i++)
        if (!strcmp(url, gr_dashboard_assets[i].path)) {
            const gr_asset *s = &gr_dashboard_assets[i];
            a->type = s->type;
            if (!gr_buf_add(&a->body, s->begin, (size_t)(s->end - s->begin)))
                say(a, 500, "out of memory");
            return;
        }
    if (!strcmp(url, "/runs"))
        runs(w, a);
    else if (!strcmp(url, "/metrics"))
        lines(w, run ? run : "", "metrics.jsonl", at > 0 ? (off_t)at : 0, false, a);
    else if (!strcmp(url, "/samples"))
        lines(w, run ? run : "", "samples.jsonl", 0, true, a);
    else
        say(a, 404, "not found");
}

static enum MHD_Result respond(void *cls, struct MHD_Connection *c, const char *url, const char *method,
                               const char *version, const char *upload, size_t *upload_n, void **state)
{
    const char *host = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Host");
    answer a = { .status = 200 };
    struct MHD_Response *r;
    enum MHD_Result rc;

    (void)version;
    (void)upload;
    (void)state;
    if (*upload_n) {
        *upload_n = 0;
        return MHD_YES;
    }
    if (strcmp(method, "GET") && strcmp(method, "HEAD"))
        say(&a, 405, "GET alone");
    else if (!host || !gr_names_loopback(host))     /* a site's owner may make its name lead here */
        say(&a, 403, "this page answers under localhost and 127.0.0.1 alone");
    else
        route(cls, c, url, &a);
    r = MHD_create_response_from_buffer(a.body.n, a.body.p, a.body.p ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_PERSISTENT);
    if (!r) {
        gr_buf_clear(&a.body);
        return MHD_NO;
    }
    MHD_add_response_header(r, "Content-Type", a.type);
    MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(r, "Cache-Control", "no-store");
    MHD_add_response_header(r, "Content-Security-Policy", gr_page_policy);
    rc = MHD_queue_response(c, a.status, r);
    MHD_destroy_response(r);
    return rc;
}

/* ---- The server ----------------------------------------------------------------------------------- */

gram_status gr_dashboard_start(gr_dashboard **out, const char *dir, unsigned short port, gram_err *err)
{
    struct sockaddr_in here = { .sin_family = AF_INET, .sin_port = htons(port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    gr_dashboard *w = gr_calloc(1, sizeof *w);
    const union MHD_DaemonInfo *info;
    struct stat st;

    *out = NULL;
    if (!w || !(w->dir = gr_strdup(dir))) {
        free(w);
        return gr_nomem(err, dir);
    }
    if (stat(dir, &st) || !S_ISDIR(st.st_mode)) {
        int why = stat(dir, &st) ? errno : ENOTDIR;
        gr_dashboard_stop(w);
        return gr_fail(err, GRAM_EIO, "%s: %s", dir, strerror(why));
    }
    w->daemon = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD, port, NULL, NULL, respond, w, MHD_OPTION_SOCK_ADDR,
                                 &here, MHD_OPTION_CONNECTION_LIMIT, 64u, MHD_OPTION_CONNECTION_TIMEOUT, 30u,
                                 MHD_OPTION_END);
    info = w->daemon ? MHD_get_daemon_info(w->daemon, MHD_DAEMON_INFO_BIND_PORT) : NULL;
    if (!info) {
        int why = errno;
        gr_dashboard_stop(w);
        return gr_fail(err, GRAM_EIO, "127.0.0.1 port %u: %s", port, strerror(why));
    }
    w->port = info->port;
    *out = w;
    return GRAM_OK;
}

unsigned gr_dashboard_port(const gr_dashboard *w)
{
    return w->port;
}

void gr_dashboard_stop(gr_dashboard *w)
{
    if (!w)
        return;
    if (w->daemon)
        MHD_stop_daemon(w->daemon);
    free(w->dir);
    free(w);
}
