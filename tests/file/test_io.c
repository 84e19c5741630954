/* test_io.c - lines plain and gzipped, outputs that appear whole or not at all, full disks, .npy. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>
#include "check.h"
#include "file/io.h"

static const char *in_tmp(const char *name)
{
    static char path[4][256];
    static int k;

    k = (k + 1) % 4;
    snprintf(path[k], sizeof path[k], "%s/%s", check_tmpdir(), name);
    return path[k];
}

static const char *put(const char *name, const void *p, size_t n)
{
    const char *path = in_tmp(name);
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
    return path;
}

static void holds(const char *path, const char *want)
{
    char *p;
    size_t n;

    CHECK_OK(gr_read_file(path, 1 << 20, &p, &n, &check_err));
    assert_string_equal(p, want);
    assert_int_equal(n, strlen(want));
    free(p);
}

/* How many names beside "." and ".." the directory has. */
static int names_in(const char *dir)
{
    char command[300];
    FILE *f;
    int n = -1;

    snprintf(command, sizeof command, "ls -A '%s' | wc -l", dir);
    f = popen(command, "r");
    assert_int_equal(fscanf(f, "%d", &n), 1);
    pclose(f);
    return n;
}

/* ---- Maps and whole files ------------------------------------------------------------------------- */

static void files_are_mapped_and_read(void **state)
{
    const char *path = put("whole", "abc", 3), *empty = put("empty", "", 0);
    gr_map m;
    char *p;
    size_t n;

    (void)state;
    CHECK_OK(gr_map_open(&m, path, &check_err));
    assert_int_equal(m.size, 3);
    assert_memory_equal(m.data, "abc", 3);
    gr_map_close(&m);
    CHECK_OK(gr_map_open(&m, empty, &check_err));
    assert_true(m.size == 0 && !m.data);
    gr_map_close(&m);
    holds(path, "abc");
    holds(empty, "");
    assert_int_equal(gr_read_file(path, 2, &p, &n, &check_err), GRAM_EFORMAT);
    assert_non_null(strstr(check_err.text, "at most 2 bytes wanted, found 3"));
    assert_null(p);
    assert_int_equal(gr_read_file(check_tmpdir(), 2, &p, &n, &check_err), GRAM_EIO);
    assert_int_equal(gr_map_open(&m, "/dev/null", &check_err), GRAM_EIO);
    assert_int_equal(mkfifo(in_tmp("fifo"), 0600), 0);
    assert_int_equal(gr_map_open(&m, in_tmp("fifo"), &check_err), GRAM_EIO);     /* and does not wait for a writer */
    assert_true(gr_path_exists(path));
    assert_false(gr_path_exists(in_tmp("none")));
    p = gr_path_join("a", "b");
    assert_string_equal(p, "a/b");
    free(p);
    p = gr_path_join("a/", "b");
    assert_string_equal(p, "a/b");
    free(p);
}

/* ---- Lines ---------------------------------------------------------------------------------------- */

/* All lines with a '|' behind each, and the status of the last call. */
static gram_status all_lines(const char *path, gr_buf *out)
{
    gr_lines *l;
    const char *line;
    size_t n;
    uint64_t count = 0;
    gram_status rc = gr_lines_open(&l, path, &check_err);

    *out = (gr_buf){ 0 };
    assert_true(gr_buf_puts(out, ""));
    if (rc)
        return rc;
    while ((rc = gr_lines_next(l, &line, &n, &check_err)) == GRAM_OK && line) {
        assert_true(gr_buf_add(out, line, n) && gr_buf_puts(out, "|"));
        assert_int_equal(gr_lines_number(l), ++count);
    }
    if (!rc) {                              /* the end stays the end */
        CHECK_OK(gr_lines_next(l, &line, &n, &check_err));
        assert_null(line);
    }
    gr_lines_close(l);
    return rc;
}

static void lines(const char *path, const char *want)
{
    gr_buf got;

    CHECK_OK(all_lines(path, &got));
    assert_string_equal(got.p, want);
    gr_buf_clear(&got);
}

static void lines_end_at_newlines(void **state)
{
    (void)state;
    lines(put("l", "", 0), "");
    lines(put("l", "\n", 1), "|");
    lines(put("l", "a", 1), "a|");
    lines(put("l", "a\n\nbc", 5), "a||bc|");
    lines(put("l", "a\r\nb\n", 5), "a\r|b|");
    lines(put("l", "\x1f", 1), "\x1f|");
}

static size_t gzip(unsigned char *out, size_t room, const char *text, size_t n)
{
    z_stream z = { .next_in = (unsigned char *)(uintptr_t)text, .avail_in = (uInt)n, .next_out = out,
                   .avail_out = (uInt)room };

    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return room - z.avail_out;
}

static void gzip_is_recognised(void **state)
{
    unsigned char z[400];
    size_t n = gzip(z, sizeof z, "one\ntwo", 7), m = gzip(z + n, sizeof z - n, "\nthree\n", 7);
    gr_buf got;

    (void)state;
    lines(put("z", z, n), "one|two|");
    lines(put("z", z, n + m), "one|two|three|");            /* members follow each other as one text */
    memset(z + n + m, 0, 20);
    lines(put("z", z, n + m + 20), "one|two|three|");       /* tape padding */
    for (size_t k = 2; k < n; k++) {                        /* one byte alone is not gzip yet */
        assert_int_equal(all_lines(put("z", z, k), &got), GRAM_EIO);
        assert_non_null(strstr(check_err.text, "ends early"));
        gr_buf_clear(&got);
    }
    z[n - 6] ^= 1;                                          /* its checksum */
    assert_int_equal(all_lines(put("z", z, n), &got), GRAM_EIO);
    assert_non_null(strstr(check_err.text, "gzip data are damaged"));
    gr_buf_clear(&got);
}

/* A frame of one line. Its sixth byte is the window: 2^27 bytes are read, 2^31 are too many by default. */
static void windows_of_zstd(void **state)
{
    unsigned char z[] = { 0x28, 0xb5, 0x2f, 0xfd, 0x00, 17 << 3, 0x11, 0, 0, 'x', '\n' };
    gr_buf got;

    (void)state;
    lines(put("z", z, sizeof z), "x|");
    z[5] = 21 << 3;
    assert_int_equal(all_lines(put("z", z, sizeof z), &got), GRAM_EIO);
    assert_non_null(strstr(check_err.text, "zstdcat -M2048MB"));
    gr_buf_clear(&got);
    z[5] = 17 << 3;
    z[6] = 0x17;                                            /* a block of a kind that there is not */
    assert_int_equal(all_lines(put("z", z, sizeof z), &got), GRAM_EIO);
    assert_non_null(strstr(check_err.text, "zstd data are damaged"));
    gr_buf_clear(&got);
}

static void long_lines_cross_blocks(void **state)
{
    size_t n = 300000;
    char *text = malloc(n + 4);
    unsigned char *z = malloc(n);
    gr_lines *l;
    const char *line;
    size_t got;

    (void)state;
    for (size_t i = 0; i < n; i++)
        text[i] = (char)('a' + i * i % 23);
    memcpy(text + n, "\nx\n", 3);
    for (int zipped = 0; zipped < 2; zipped++) {
        size_t m = zipped ? gzip(z, n, text, n + 3) : 0;
        CHECK_OK(gr_lines_open(&l, zipped ? put("long", z, m) : put("long", text, n + 3), &check_err));
        CHECK_OK(gr_lines_next(l, &line, &got, &check_err));
        assert_int_equal(got, n);
        assert_memory_equal(line, text, n);
        CHECK_OK(gr_lines_next(l, &line, &got, &check_err));
        assert_string_equal(line, "x");
        gr_lines_close(l);
    }
    free(text);
    free(z);
}

static void a_line_has_a_limit(void **state)
{
    const char *path = put("huge", "ok\n", 3);
    gr_lines *l;
    const char *line;
    size_t n;
    FILE *f;

    (void)state;
    assert_int_equal(truncate(path, (65 << 20)), 0);        /* zeros without a newline, and without disk */
    f = fopen(path, "a");
    assert_non_null(f);
    assert_true(fputs("\nbehind it\n", f) >= 0 && fclose(f) == 0);
    CHECK_OK(gr_lines_open(&l, path, &check_err));
    CHECK_OK(gr_lines_next(l, &line, &n, &check_err));
    assert_int_equal(gr_lines_next(l, &line, &n, &check_err), GRAM_EFORMAT);
    assert_non_null(strstr(check_err.text, "huge:2: longer than 67108864 bytes"));
    CHECK_OK(gr_lines_next(l, &line, &n, &check_err));
    assert_string_equal(line, "behind it");
    assert_int_equal(gr_lines_number(l), 3);
    gr_lines_close(l);
}

static void standard_input_in_small_pieces(void **state)
{
    unsigned char z[100];
    size_t n = gzip(z, sizeof z, "p\nq\n", 4);
    int pipes[2], old = dup(STDIN_FILENO);
    pid_t child;

    (void)state;
    assert_int_equal(pipe(pipes), 0);
    child = fork();
    if (child == 0) {
        for (size_t i = 0; i < n; i++) {
            if (write(pipes[1], z + i, 1) != 1)
                _exit(1);
            if (i < 3)
                usleep(1000);
        }
        _exit(0);
    }
    close(pipes[1]);
    dup2(pipes[0], STDIN_FILENO);
    close(pipes[0]);
    lines("-", "p|q|");
    dup2(old, STDIN_FILENO);
    close(old);
    waitpid(child, NULL, 0);
}

static void unreadable_lines_are_named(void **state)
{
    gr_buf got;

    (void)state;
    assert_int_equal(all_lines(in_tmp("none"), &got), GRAM_EIO);
    assert_non_null(strstr(check_err.text, "none: No such file"));
    gr_buf_clear(&got);
    assert_int_equal(all_lines(check_tmpdir(), &got), GRAM_EIO);
    assert_non_null(strstr(check_err.text, "directory"));
    gr_buf_clear(&got);
}

/* ---- Outputs -------------------------------------------------------------------------------------- */

static const char *fresh_dir(const char *name)
{
    const char *dir = in_tmp(name);

    assert_int_equal(mkdir(dir, 0700), 0);
    return dir;
}

static void an_output_appears_when_whole(void **state)
{
    const char *dir = fresh_dir("out1");
    char *path = gr_path_join(dir, "f");

    (void)state;
    for (int keep = 0; keep < 2; keep++) {
        gr_out *o;
        CHECK_OK(gr_out_open(&o, path, keep, &check_err));
        CHECK_OK(gr_out_write(o, "new\n", 4, &check_err));
        CHECK_OK(gr_out_flush(o, &check_err));
        if (keep)
            holds(path, "new\n");           /* the one before */
        else
            assert_false(gr_path_exists(path));
        CHECK_OK(gr_out_write(o, keep ? "2\n" : "", keep ? 2 : 0, &check_err));
        CHECK_OK(gr_out_commit(o, &check_err));
        gr_out_close(o);
        holds(path, keep ? "new\n2\n" : "new\n");
        assert_int_equal(names_in(dir), 1);
    }
    free(path);
}

/* Until it is whole it is lines, so that a run can go on behind them. */
static void an_output_is_compressed_as_its_name_says(void **state)
{
    static const char *const name[] = { "f.jsonl.gz", "f.jsonl.zst" };
    static const unsigned char magic[][2] = { { 0x1f, 0x8b }, { 0x28, 0xb5 } };
    const char *dir = fresh_dir("packed");
    char *much = check_fenced(200001), *want = check_fenced(200001), *head;

    (void)state;
    for (size_t i = 0; i < 200000; i++)                 /* some blocks of it */
        much[i] = i % 100 == 99 ? '\n' : (char)('a' + (i * i + i / 7) % 26);
    much[200000] = '\0';
    for (size_t i = 0; i <= 200000; i++)
        want[i] = much[i] == '\n' ? '|' : much[i];
    for (size_t k = 0; k < GR_COUNT(name); k++) {
        char *path = gr_path_join(dir, name[k]), left[400];
        uint64_t n;
        size_t bytes;
        gr_out *o;
        snprintf(left, sizeof left, "%s.%ld.tmp", path, (long)getpid());
        CHECK_OK(gr_write_file(left, "x", 1, &check_err));      /* a killed run's, which had this number, too */
        CHECK_OK(gr_out_open(&o, path, true, &check_err));
        CHECK_OK(gr_out_rows(o, &check_err));
        CHECK_OK(gr_out_write(o, much, 100000, &check_err));
        gr_out_close(o);                                /* cut off */
        CHECK_OK(gr_out_resume(&o, path, &n, &check_err));
        CHECK_OK(gr_out_rows(o, &check_err));
        assert_int_equal(n, 1000);
        CHECK_OK(gr_out_write(o, much + 100000, 100000, &check_err));
        CHECK_OK(gr_out_commit(o, &check_err));
        gr_out_close(o);
        CHECK_OK(gr_read_file(path, 1 << 20, &head, &bytes, &check_err));
        assert_true(bytes < 200000);
        assert_memory_equal(head, magic[k], 2);
        lines(path, want);
        assert_int_equal(names_in(dir), k + 1);
        free(head), free(path);
    }
}

/* Lines of JSON under a name that promises something else would be taken for it. */
static void a_name_of_another_form_is_refused(void **state)
{
    static const char *const no[] = { "f.CSV", "f.Parquet", "f.parquet.gz", "f.arrow.zst", "f.xlsx", "f.jsonl.bz2",
                                      "f.jsonl.GZ", "f.csv.xz" };
    static const char *const yes[] = { "f.json", "f.txt", "f", "f.gz", "f.JSONL", "f.xlsx.jsonl" };
    const char *dir = fresh_dir("foreign");

    (void)state;
    for (size_t k = 0; k < GR_COUNT(no) + GR_COUNT(yes); k++) {
        bool refused = k < GR_COUNT(no);
        char *path = gr_path_join(dir, refused ? no[k] : yes[k - GR_COUNT(no)]);
        gr_out *o;
        CHECK_OK(gr_out_open(&o, path, true, &check_err));
        assert_int_equal(gr_out_rows(o, &check_err), refused ? GRAM_EARG : GRAM_OK);
        assert_true(!refused || strstr(check_err.text, "the form of this ending"));
        gr_out_close(o);
        assert_int_equal(names_in(dir), 0);
        free(path);
    }
}

static void an_output_given_up_leaves_what_it_should(void **state)
{
    const char *dir = fresh_dir("out2");
    char *path = gr_path_join(dir, "f"), *partial = gr_path_join(dir, "f.partial");
    uint64_t lines_kept;
    gr_out *o, *second;

    (void)state;
    CHECK_OK(gr_out_open(&o, path, false, &check_err));
    CHECK_OK(gr_out_write(o, "x\n", 2, &check_err));
    gr_out_close(o);
    assert_int_equal(names_in(dir), 0);

    CHECK_OK(gr_out_open(&o, path, true, &check_err));
    gr_out_close(o);
    assert_int_equal(names_in(dir), 0);     /* nothing was written: nothing to resume */

    CHECK_OK(gr_out_resume(&o, path, &lines_kept, &check_err));
    assert_int_equal(lines_kept, 0);
    CHECK_OK(gr_out_write(o, "one\ntwo\nthr", 11, &check_err));
    assert_int_equal(gr_out_open(&second, path, true, &check_err), GRAM_EIO);
    assert_non_null(strstr(check_err.text, "another run"));
    assert_null(second);
    gr_out_close(o);
    holds(partial, "one\ntwo\nthr");

    CHECK_OK(gr_out_resume(&o, path, &lines_kept, &check_err));
    assert_int_equal(lines_kept, 2);
    CHECK_OK(gr_out_write(o, "three\n", 6, &check_err));
    CHECK_OK(gr_out_commit(o, &check_err));
    gr_out_close(o);
    holds(path, "one\ntwo\nthree\n");
    assert_int_equal(names_in(dir), 1);
    gr_out_close(NULL);
    free(path);
    free(partial);
}

static void a_kill_leaves_whole_lines(void **state)
{
    const char *dir = fresh_dir("out3");
    char *path = gr_path_join(dir, "f");
    uint64_t lines_kept;
    gr_out *o;
    pid_t child = fork();
    int status;

    (void)state;
    if (child == 0) {                       /* more than is held back, then no warning */
        if (gr_out_open(&o, path, true, NULL))
            _exit(1);
        for (int i = 0; i < 20000; i++)
            gr_out_write(o, "0123456789\n", 11, NULL);
        kill(getpid(), SIGKILL);
    }
    waitpid(child, &status, 0);
    assert_true(WIFSIGNALED(status));
    CHECK_OK(gr_out_resume(&o, path, &lines_kept, &check_err));
    assert_true(lines_kept > 10000);
    gr_out_close(o);
    {
        struct stat st;
        char *partial = gr_path_join(dir, "f.partial");
        assert_int_equal(stat(partial, &st), 0);
        assert_int_equal((uint64_t)st.st_size, 11 * lines_kept);
        free(partial);
    }
    free(path);
}

static void links_and_devices_are_written_through(void **state)
{
    const char *dir = fresh_dir("out4");
    char *path = gr_path_join(dir, "file"), *link = gr_path_join(dir, "link");
    struct stat st;
    gr_out *o;

    (void)state;
    assert_int_equal(symlink("file", link), 0);
    put("out4/file", "old", 3);
    CHECK_OK(gr_out_open(&o, link, false, &check_err));
    CHECK_OK(gr_out_write(o, "new", 3, &check_err));
    CHECK_OK(gr_out_commit(o, &check_err));
    gr_out_close(o);
    holds(path, "new");
    assert_int_equal(lstat(link, &st), 0);
    assert_true(S_ISLNK(st.st_mode));

    CHECK_OK(gr_out_open(&o, "/dev/null", true, &check_err));
    CHECK_OK(gr_out_write(o, "x\n", 2, &check_err));
    CHECK_OK(gr_out_commit(o, &check_err));
    gr_out_close(o);
    assert_int_equal(stat("/dev/null", &st), 0);
    assert_true(S_ISCHR(st.st_mode));
    free(path);
    free(link);
}

static void a_full_disk_is_an_error(void **state)
{
    const char *dir = fresh_dir("out5");
    char *path = gr_path_join(dir, "f"), line[1000];
    struct rlimit old, small;
    gram_status rc = GRAM_OK;
    gr_out *o;

    (void)state;
    CHECK_OK(gr_out_open(&o, "/dev/full", false, &check_err));
    CHECK_OK(gr_out_write(o, "x\n", 2, &check_err));
    assert_int_equal(gr_out_commit(o, &check_err), GRAM_EIO);
    assert_string_equal(check_err.text, "/dev/full: not written: No space left on device");
    assert_int_equal(gr_out_write(o, "x\n", 2, &check_err), GRAM_EIO);
    assert_int_equal(gr_out_commit(o, &check_err), GRAM_EIO);
    gr_out_close(o);

    memset(line, 'x', sizeof line);
    line[sizeof line - 1] = '\n';
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = (struct rlimit){ 100000, old.rlim_max };
    for (int keep = 0; keep < 2; keep++) {
        put("out5/f", "old", 3);
        setrlimit(RLIMIT_FSIZE, &small);
        CHECK_OK(gr_out_open(&o, path, keep, &check_err));
        for (int i = 0; i < 200 && !rc; i++)
            rc = gr_out_write(o, line, sizeof line, &check_err);
        if (!rc)
            rc = gr_out_commit(o, &check_err);
        setrlimit(RLIMIT_FSIZE, &old);
        assert_int_equal(rc, GRAM_EIO);
        assert_non_null(strstr(check_err.text, "File too large"));
        assert_int_equal(gr_out_commit(o, &check_err), GRAM_EIO);
        gr_out_close(o);
        holds(path, "old");
        assert_int_equal(names_in(dir), keep ? 2 : 1);      /* what fitted is kept for a resume */
        rc = GRAM_OK;
    }
    free(path);
}

static void a_bad_place_is_named(void **state)
{
    gr_out *o;

    (void)state;
    assert_int_equal(gr_out_open(&o, in_tmp("no/such/f"), false, &check_err), GRAM_EIO);
    assert_non_null(strstr(check_err.text, "no/such/f"));
    assert_int_equal(gr_out_open(&o, in_tmp("no/such/f"), true, &check_err), GRAM_EIO);
    assert_int_equal(gr_out_open(&o, check_tmpdir(), true, &check_err), GRAM_EIO);
    assert_non_null(strstr(check_err.text, "a directory"));
    assert_null(o);
}

static void npy_is_numpys(void **state)
{
    static const float x[6] = { 1, -2, 0.5f, 3, 1e30f, 0 };
    static const char text[] = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
    const char *path = in_tmp("a.npy");
    char *p;
    size_t n;

    (void)state;
    CHECK_OK(gr_npy_write_f32(path, x, 2, 3, &check_err));
    CHECK_OK(gr_read_file(path, 1000, &p, &n, &check_err));
    assert_int_equal(n, 128 + sizeof x);
    assert_memory_equal(p, "\x93NUMPY\x01\x00\x76\x00", 10);
    assert_memory_equal(p + 10, text, sizeof text - 1);
    assert_int_equal(p[127], '\n');
    for (size_t i = 10 + sizeof text - 1; i < 127; i++)
        assert_int_equal(p[i], ' ');
    assert_memory_equal(p + 128, x, sizeof x);
    free(p);
    assert_int_equal(gr_npy_write_f32(path, x, SIZE_MAX / 2, 3, &check_err), GRAM_EARG);
    CHECK_OK(gr_npy_write_f32(path, NULL, 0, 3, &check_err));
}

int main(void)
{
    const struct CMUnitTest test[] = {
        cmocka_unit_test(files_are_mapped_and_read),
        cmocka_unit_test(lines_end_at_newlines),
        cmocka_unit_test(gzip_is_recognised),
        cmocka_unit_test(windows_of_zstd),
        cmocka_unit_test(long_lines_cross_blocks),
        cmocka_unit_test(a_line_has_a_limit),
        cmocka_unit_test(standard_input_in_small_pieces),
        cmocka_unit_test(unreadable_lines_are_named),
        cmocka_unit_test(an_output_appears_when_whole),
        cmocka_unit_test(an_output_is_compressed_as_its_name_says),
        cmocka_unit_test(a_name_of_another_form_is_refused),
        cmocka_unit_test(an_output_given_up_leaves_what_it_should),
        cmocka_unit_test(a_kill_leaves_whole_lines),
        cmocka_unit_test(links_and_devices_are_written_through),
        cmocka_unit_test(a_full_disk_is_an_error),
        cmocka_unit_test(a_bad_place_is_named),
        cmocka_unit_test(npy_is_numpys),
    };
    return cmocka_run_group_tests(test, NULL, NULL);
}
