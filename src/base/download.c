/* download.c - see download.h. The numbers below are libcurl's interface, which its makers promise to keep; there is no
 * header, so that nothing need be installed to build. */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>
#include "base/download.h"
#include "base/err.h"
#include "base/library.h"

enum {
    OPT_WRITE_TO = 10001, OPT_URL = 10002, OPT_PROXY = 10004, OPT_WHY = 10010, OPT_AGENT = 10018, OPT_HEADERS = 10023,
    OPT_PROGRESS_TO = 10057, OPT_CAINFO = 10065, OPT_PROTOCOLS = 10318, OPT_REDIRECTS = 10319, OPT_WRITE = 20011,
    OPT_PROGRESS = 20219, OPT_RESUME = 30116, OPT_SLOW_BYTES = 19, OPT_SLOW_SECONDS = 20, OPT_NO_PROGRESS = 43,
    OPT_FAIL = 45, OPT_FOLLOW = 52, OPT_HOPS = 68, OPT_CONNECT_SECONDS = 78, OPT_NO_SIGNAL = 99
};
enum { INFO_URL = 0x100001, INFO_CODE = 0x200002 };
enum {
    CODE_OK = 0, CODE_PARTIAL = 18, CODE_REFUSED = 22, CODE_WRITE = 23, CODE_TIMEOUT = 28, CODE_RANGE = 33,
    CODE_STOPPED = 42, CODE_EMPTY = 52, CODE_SEND = 55, CODE_RECEIVE = 56, CODE_HTTP2 = 92
};
enum { PART_URL = 0, PART_USER = 2, PART_PASSWORD = 3, PART_HOST = 5, PART_FRAGMENT = 9 };

static struct {
    int (*global_init)(long);
    void *(*init)(void);
    void (*cleanup)(void *);
    int (*setopt)(void *, int, ...);
    int (*getinfo)(void *, int, ...);
    int (*perform)(void *);
    const char *(*strerror)(int);
    void *(*list_add)(void *, const char *);
    void (*list_free)(void *);
    void (*free)(void *);
    void *(*url)(void);
    void (*url_cleanup)(void *);
    int (*url_set)(void *, int, const char *, unsigned);
    int (*url_get)(const void *, int, char **, unsigned);
    gram_status rc;
    gram_err err;
} curl;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void load(void)
{
    static const char *const names[] = { "libcurl.so.4", "libcurl-gnutls.so.4", "libcurl-nss.so.4" };
    const gr_symbol symbol[] = {
        { &curl.global_init, "curl_global_init" }, { &curl.init, "curl_easy_init" },
        { &curl.cleanup, "curl_easy_cleanup" }, { &curl.setopt, "curl_easy_setopt" },
        { &curl.getinfo, "curl_easy_getinfo" }, { &curl.perform, "curl_easy_perform" },
        { &curl.strerror, "curl_easy_strerror" }, { &curl.list_add, "curl_slist_append" },
        { &curl.list_free, "curl_slist_free_all" }, { &curl.free, "curl_free" }, { &curl.url, "curl_url" },
        { &curl.url_cleanup, "curl_url_cleanup" }, { &curl.url_set, "curl_url_set" },
        { &curl.url_get, "curl_url_get" },
    };
    const char *missing;
    void *library = NULL;

    for (size_t i = 0; i < GR_COUNT(names) && !library; i++)
        library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (!library)
        curl.rc = gr_fail(&curl.err, GRAM_EUNSUPPORTED, "libcurl is not here (%s), and downloads need it: `apt-get "
                          "install libcurl4`", dlerror());
    missing = library ? gr_library_missing(library, symbol, GR_COUNT(symbol)) : NULL;
    if (missing)
        curl.rc = gr_fail(&curl.err, GRAM_EUNSUPPORTED, "libcurl is here without %s: wanted 7.62 or later", missing);
    if (!curl.rc && curl.global_init(3))                /* CURL_GLOBAL_ALL */
        curl.rc = gr_fail(&curl.err, GRAM_EUNSUPPORTED, "libcurl does not start");
}

static gram_status ready(gram_err *err)
{
    pthread_once(&once, load);
    return curl.rc ? gr_fail(err, curl.rc, "%s", curl.err.text) : GRAM_OK;
}

/* An address for people: no name and password. */
static char *shown(const char *url)
{
    void *u = curl.url();
    char *plain = NULL, *copy = NULL;

    if (u && !curl.url_set(u, PART_URL, url, 0) && !curl.url_set(u, PART_USER, NULL, 0) &&
        !curl.url_set(u, PART_PASSWORD, NULL, 0) && !curl.url_get(u, PART_URL, &plain, 0))
        copy = gr_strdup(plain);
    curl.free(plain);
    curl.url_cleanup(u);
    return copy ? copy : gr_strdup("an address that is none");
}

/* Where the bytes of one transfer go: a page, or a file. */
struct transfer {
    const gr_download *d;
    gr_buf *page;
    int fd;
    uint64_t had, got;          /* bytes in the file before, and since */
    int error;                  /* errno of a write that failed */
    long status;                /* of HTTP, 0 elsewhere */
    bool stopped;
    char why[256];              /* CURL_ERROR_SIZE */
};

enum { PAGE_MOST = 64 << 20 };

static size_t take(char *p, size_t size, size_t n, void *arg)
{
    struct transfer *t = arg;
    size_t left = size * n;

    t->got += left;
    if (t->page) {
        if (t->page->n + left > PAGE_MOST) {
            t->error = EFBIG;
            return 0;
        }
        t->error = gr_buf_add(t->page, p, left) ? 0 : ENOMEM;
        return t->error ? 0 : left;
    }
    while (left > 0) {
        ssize_t k = write(t->fd, p, left);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0) {
            t->error = k < 0 ? errno : ENOSPC;
            return 0;
        }
        p += k;
        left -= (size_t)k;
    }
    return size * n;
}

static int tell(void *arg, int64_t total, int64_t now, int64_t up_total, int64_t up)
{
    struct transfer *t = arg;

    (void)up_total, (void)up;
    if (t->d->progress && t->d->progress(t->d->arg, t->had + (uint64_t)now, total > 0 ? t->had + (uint64_t)total : 0))
        t->stopped = true;
    return t->stopped;
}

static gram_status prepare(void *c, struct transfer *t, const char *url, void *headers, gram_err *err)
{
    int bad = curl.setopt(c, OPT_URL, url) | curl.setopt(c, OPT_AGENT, "gram") | curl.setopt(c, OPT_WHY, t->why) |
              curl.setopt(c, OPT_WRITE, take) | curl.setopt(c, OPT_WRITE_TO, t) | curl.setopt(c, OPT_PROGRESS, tell) |
              curl.setopt(c, OPT_PROGRESS_TO, t) | curl.setopt(c, OPT_NO_PROGRESS, 0L) |
              curl.setopt(c, OPT_FAIL, 1L) | curl.setopt(c, OPT_FOLLOW, 1L) | curl.setopt(c, OPT_HOPS, 10L) |
              curl.setopt(c, OPT_CONNECT_SECONDS, 30L) | curl.setopt(c, OPT_SLOW_BYTES, 1L) |
              curl.setopt(c, OPT_SLOW_SECONDS, 60L) | curl.setopt(c, OPT_NO_SIGNAL, 1L);

    curl.setopt(c, OPT_PROTOCOLS, "http,https,file");       /* from 7.85 on; older ones follow to HTTP and FTP alone */
    curl.setopt(c, OPT_REDIRECTS, "http,https");
    if (headers)
        bad |= curl.setopt(c, OPT_HEADERS, headers);
    if (t->d->cert)
        bad |= curl.setopt(c, OPT_CAINFO, t->d->cert);
    if (t->d->proxy)
        bad |= curl.setopt(c, OPT_PROXY, t->d->proxy);
    if (t->had)
        bad |= curl.setopt(c, OPT_RESUME, (int64_t)t->had);
    return bad ? gr_fail(err, GRAM_EUNSUPPORTED, "libcurl does not take an option that there is since 7.62") : GRAM_OK;
}

/* The one sentence about a transfer that ended with this code. */
static gram_status failed(const struct transfer *t, int code, const char *url, const char *name, gram_err *err)
{
    char *at = shown(url);
    gram_status rc;

    if (t->stopped)
        rc = gr_fail(err, GRAM_ESTOPPED, "%s: stopped", name);
    else if (t->error)
        rc = gr_fail(err, GRAM_EIO, "%s: %s", name, strerror(t->error));
    else
        rc = gr_fail(err, GRAM_EIO, "%s: %s", at ? at : name, *t->why ? t->why : curl.strerror(code));
    free(at);
    return rc;
}

static gram_status transfer(struct transfer *t, const char *url, void *headers, int *code, char **at, gram_err *err)
{
    void *c = curl.init();
    const char *end = NULL;
    gram_status rc = c ? prepare(c, t, url, headers, err) : gr_nomem(err, "download");

    t->why[0] = '\0';
    t->got = 0;
    t->status = 0;
    *code = CODE_OK;
    if (!rc) {
        *code = curl.perform(c);
        curl.getinfo(c, INFO_CODE, &t->status);
        if (at && !*code && !curl.getinfo(c, INFO_URL, &end) && !(*at = gr_strdup(end ? end : url)))
            rc = gr_nomem(err, "download");
    }
    if (c)
        curl.cleanup(c);
    return rc;
}

gram_status gr_download_page(const gr_download *d, const char *url, gr_buf *body, char **at, gram_err *err)
{
    struct transfer t = { .d = &(gr_download){ .cert = d->cert, .proxy = d->proxy }, .page = body };
    void *headers = NULL;
    int code;
    gram_status rc = ready(err);

    *at = NULL;
    if (rc)
        return rc;
    headers = curl.list_add(NULL, "Accept: application/vnd.pypi.simple.v1+html, text/html;q=0.5, */*;q=0.1");
    rc = headers ? transfer(&t, url, headers, &code, at, err) : gr_nomem(err, "download");
    if (!rc && code)
        rc = failed(&t, code, url, "the page", err);
    curl.list_free(headers);
    return rc;
}

static bool comes_again(int code)
{
    return code == CODE_PARTIAL || code == CODE_TIMEOUT || code == CODE_EMPTY || code == CODE_SEND ||
           code == CODE_RECEIVE || code == CODE_HTTP2;
}

gram_status gr_download_file(const gr_download *d, const char *url, int fd, const char *name, gram_err *err)
{
    struct transfer t = { .d = d, .fd = fd };
    gram_status rc = ready(err);
    int code;

    for (unsigned idle = 0; !rc; ) {
        off_t end = lseek(fd, 0, SEEK_END);
        if (end < 0)
            return gr_fail(err, GRAM_EIO, "%s: %s", name, strerror(errno));
        t.had = (uint64_t)end;
        rc = transfer(&t, url, NULL, &code, NULL, err);
        /* 416: there is no byte behind those that are here. libcurl itself takes that for the end, but not of a server
         * that also says how long the file is. */
        if (rc || code == CODE_OK || (code == CODE_REFUSED && t.had && t.status == 416))
            return rc;
        idle = t.got ? 0 : idle + 1;
        if (code == CODE_RANGE && t.had && !ftruncate(fd, 0))
            continue;
        if (!comes_again(code) || t.stopped || t.error || idle > 2)
            return failed(&t, code, url, name, err);
        nanosleep(&(struct timespec){ .tv_nsec = 500000000 }, NULL);
    }
    return rc;
}

/* The page's name and password go to its own host alone. */
static int lend_login(void *to, const void *page)
{
    char *user = NULL, *password = NULL, *host[2] = { NULL, NULL }, *own = NULL;
    int bad = 0;

    if (!curl.url_get(page, PART_USER, &user, 0) && curl.url_get(to, PART_USER, &own, 0) &&
        !curl.url_get(page, PART_HOST, &host[0], 0) && !curl.url_get(to, PART_HOST, &host[1], 0) &&
        !strcasecmp(host[0], host[1])) {
        bad = curl.url_set(to, PART_USER, user, 0);
        if (!bad && !curl.url_get(page, PART_PASSWORD, &password, 0))
            bad = curl.url_set(to, PART_PASSWORD, password, 0);
    }
    curl.free(user);
    curl.free(password);
    curl.free(own);
    curl.free(host[0]);
    curl.free(host[1]);
    return bad;
}

gram_status gr_download_join(char **out, const char *base, const char *link, gram_err *err)
{
    gram_status rc = ready(err);
    void *page = rc ? NULL : curl.url(), *to = rc ? NULL : curl.url();
    char *text = NULL;

    *out = NULL;
    if (rc)
        return rc;
    if (!page || !to)
        rc = gr_nomem(err, "download");
    else if (curl.url_set(page, PART_URL, base, 0) || curl.url_set(to, PART_URL, base, 0) ||
             curl.url_set(to, PART_URL, link, 0) || curl.url_set(to, PART_FRAGMENT, NULL, 0) || lend_login(to, page) ||
             curl.url_get(to, PART_URL, &text, 0))
        rc = gr_fail(err, GRAM_EFORMAT, "a link that leads nowhere: %s", link);
    else if (!(*out = gr_strdup(text)))
        rc = gr_nomem(err, "download");
    curl.free(text);
    curl.url_cleanup(page);
    curl.url_cleanup(to);
    return rc;
}
