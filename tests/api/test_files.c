/* test_files.c - rows in, verdicts out, over a tiny random model in a directory as checkpoints have it.
 *
 * The model knows nothing; what is asserted is what a file's user relies on: names in errors, the same bytes however a
 * run is cut, and that nothing in a directory that real checkpoints write stops it from being opened. */
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "check.h"
#include "gram/gram.h"

enum { VOCABULARY = 705, WIDTH = 32, HIDDEN = 64 };     /* the vocabulary of tests/golden/tokens/smollm.json */

static char dir[256], path[320], rows_path[320], out_path[320];

static const char *in_dir(char *buf, size_t size, const char *name)
{
    assert_true((size_t)snprintf(buf, size, "%s/%s", dir, name) < size);
    return buf;
}

static void write_text(const char *file, const char *text)
{
    FILE *f = fopen(file, "w");

    assert_true(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static char *read_text(const char *file)
{
    static char text[2][1 << 16];
    static int turn;
    char *t = text[turn ^= 1];
    FILE *f = fopen(file, "r");

    assert_non_null(f);
    t[fread(t, 1, sizeof text[0] - 1, f)] = '\0';
    fclose(f);
    return t;
}

static void write_weights(void)
{
    static const struct { const char *name; size_t rows, cols; } t[] = {
        { "model.embed_tokens", VOCABULARY, WIDTH }, { "model.norm", 0, WIDTH },
        { "model.layers.0.input_layernorm", 0, WIDTH }, { "model.layers.0.post_attention_layernorm", 0, WIDTH },
        { "model.layers.0.self_attn.q_proj", WIDTH, WIDTH }, { "model.layers.0.self_attn.k_proj", WIDTH, WIDTH },
        { "model.layers.0.self_attn.v_proj", WIDTH, WIDTH }, { "model.layers.0.self_attn.o_proj", WIDTH, WIDTH },
        { "model.layers.0.mlp.gate_proj", HIDDEN, WIDTH }, { "model.layers.0.mlp.up_proj", HIDDEN, WIDTH },
        { "model.layers.0.mlp.down_proj", WIDTH, HIDDEN },
    };
    char header[4096] = "{", file[320];
    size_t n = 1, at = 0;
    uint64_t bytes;
    float *x;
    FILE *f;

    for (size_t i = 0; i < GR_COUNT(t); i++) {
        size_t floats = (t[i].rows ? t[i].rows : 1) * t[i].cols;
        n += (size_t)(t[i].rows ? snprintf(header + n, sizeof header - n,
                                           "%s\"%s.weight\":{\"dtype\":\"F32\",\"shape\":"
                                           "[%zu,%zu],\"data_offsets\":[%zu,%zu]}", i ? "," : "", t[i].name, t[i].rows,
                                           t[i].cols, 4 * at, 4 * (at + floats))
                                : snprintf(header + n, sizeof header - n,
                                           "%s\"%s.weight\":{\"dtype\":\"F32\",\"shape\":"
                                           "[%zu],\"data_offsets\":[%zu,%zu]}", i ? "," : "", t[i].name, t[i].cols,
                                           4 * at, 4 * (at + floats)));
        at += floats;
    }
    header[n++] = '}';
    while (n % 8)
        header[n++] = ' ';
    bytes = n;
    x = check_randn(at, 3);
    f = fopen(in_dir(file, sizeof file, "model.safetensors"), "wb");
    assert_non_null(f);
    assert_true(fwrite(&bytes, 8, 1, f) == 1 && fwrite(header, 1, n, f) == n && fwrite(x, 4, at, f) == at);
    assert_int_equal(fclose(f), 0);
}

/* "model_max_length" is what the transformers library writes where a tokenizer knows no limit. */
static int make_model(void **state)
{
    char file[320], *tokenizer;
    (void)state;

    snprintf(dir, sizeof dir, "%s/model", check_tmpdir());
    assert_int_equal(mkdir(dir, 0777), 0);
    in_dir(rows_path, sizeof rows_path, "rows.jsonl");
    in_dir(out_path, sizeof out_path, "out.jsonl");
    write_text(in_dir(file, sizeof file, "config.json"),
               "{\"model_type\":\"llama\",\"vocab_size\":705,\"hidden_size\":32,\"intermediate_size\":64,"
               "\"num_hidden_layers\":1,\"num_attention_heads\":2,\"num_key_value_heads\":2,\"hidden_act\":\"silu\","
               "\"max_position_embeddings\":2048,\"rms_norm_eps\":1e-5,\"rope_theta\":10000.0,"
               "\"tie_word_embeddings\":true}");
    write_text(in_dir(file, sizeof file, "tokenizer_config.json"),
               "{\"bos_token\":\"<|im_start|>\",\"model_max_length\":1000000000000000019884624838656}");
    tokenizer = read_text("tests/golden/tokens/smollm.json");
    write_text(in_dir(file, sizeof file, "tokenizer.json"), tokenizer);
    write_weights();
    return 0;
}

static gram_model *open_model(const gram_options *o)
{
    gram_model *m;

    CHECK_OK(gram_open(&m, dir, o, &check_err));
    return m;
}

static void write_rows(const char *file, int n)
{
    FILE *f = fopen(file, "w");

    assert_non_null(f);
    for (int i = 0; i < n; i++)
        fprintf(f, "{\"id\":\"r%d\",\"prompt\":\"What is %d and %d?\",\"chosen\":\"%d\",\"rejected\":\"none\"}\n", i,
                i, i,
                2 * i);
    assert_int_equal(fclose(f), 0);
}

static int never_stop(void *arg, uint64_t done, uint64_t total)
{
    (void)arg, (void)done, (void)total;
    return 0;
}

static void *feed(void *fifo)
{
    write_rows(fifo, 3);
    return NULL;
}

/* A pipe by name gives its bytes once: looking at how long it is would lose them. */
static void a_pipe_is_read_once(void **state)
{
    gram_model *m = open_model(NULL);
    const gram_file_options opt = { .progress = never_stop };
    gram_eval_options eval = { .file = opt };
    gram_file_report report;
    gram_eval_summary summary;
    const char *const fifo = in_dir(path, sizeof path, "pipe");
    pthread_t writer;
    (void)state;

    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(pthread_create(&writer, NULL, feed, path), 0);
    CHECK_OK(gram_score_file(m, fifo, out_path, &opt, &report, &check_err));
    assert_int_equal(report.rows, 3);
    pthread_join(writer, NULL);
    assert_int_equal(pthread_create(&writer, NULL, feed, path), 0);
    CHECK_OK(gram_eval(m, &fifo, 1, &eval, &summary, NULL, &check_err));
    assert_int_equal(summary.rows, 3);
    pthread_join(writer, NULL);
    gram_close(m);
}

/* Rows too long: refused by file, line and id; cut; or dropped, all of them. */
static void long_rows(void **state)
{
    gram_options o = { .max_tokens = 700 };
    char text[4096] = "", row[8192];
    gram_file_report report;
    gram_model *m;
    (void)state;

    for (int i = 0; i < 250; i++)
        strcat(text, "why not so? ");
    snprintf(row, sizeof row, "{\"id\":\"short\",\"prompt\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\"}\n"
             "{\"id\":\"long\",\"prompt\":\"%s\",\"chosen\":\"a\",\"rejected\":\"b\"}\n", text);
    write_text(rows_path, row);
    m = open_model(&o);
    assert_int_equal(gram_score_file(m, rows_path, out_path, NULL, NULL, &check_err), GRAM_ELIMIT);
    assert_non_null(strstr(check_err.text, "rows.jsonl:2: row long: the pair takes "));
    memset(strstr(row, "\"id\":\"long\","), ' ', sizeof "\"id\":\"long\"," - 1);   /* so its place is its id */
    write_text(rows_path, row);
    assert_int_equal(gram_score_file(m, rows_path, out_path, NULL, NULL, &check_err), GRAM_ELIMIT);
    assert_non_null(strstr(check_err.text, "rows.jsonl:2: the pair takes "));
    gram_close(m);
    o.truncate = GRAM_TRUNCATE_BALANCED;
    m = open_model(&o);
    CHECK_OK(gram_score_file(m, rows_path, out_path, NULL, &report, &check_err));
    assert_int_equal(report.truncated, 1);
    gram_close(m);
    o = (gram_options){ .max_tokens = 20, .truncate = GRAM_TRUNCATE_DROP };
    m = open_model(&o);
    CHECK_OK(gram_score_file(m, rows_path, out_path, NULL, &report, &check_err));
    assert_int_equal(report.dropped, 2);
    gram_close(m);
}

/* A bad row may be skipped, a file that is cut off may not: nothing comes after. The 20 bytes are a gzip header and a
 * stored block that says more than there is. */
static void a_cut_gzip_ends_the_run(void **state)
{
    static const char z[] = "\x1f\x8b\x08\0\0\0\0\0\0\3\1\xff\0\0\xff{\n{\n{";
    const gram_file_options skip = { .skip_bad = true };
    gram_model *m = open_model(NULL);
    FILE *f = fopen(in_dir(path, sizeof path, "cut.gz"), "wb");
    (void)state;

    assert_true(f && fwrite(z, 1, 20, f) == 20 && fclose(f) == 0);
    assert_int_equal(gram_score_file(m, path, out_path, &skip, NULL, &check_err), GRAM_EIO);
    assert_non_null(strstr(check_err.text, "cut.gz:3: the gzip stream ends early"));
    gram_close(m);
}

static int stop_at_the_end(void *arg, uint64_t done, uint64_t total)
{
    (void)arg;
    return done == total;
}

/* What a run that is cut off leaves beside its lines, of all its rows; one to be freed. */
static char *how_of(gram_model *m, gram_rank_method *method, const gram_file_options *opt)
{
    gram_file_options o = opt ? *opt : (gram_file_options){ .progress = NULL };
    char how[340];

    o.progress = stop_at_the_end;
    assert_int_equal(method ? gram_rank_file(m, rows_path, out_path, *method, &o, NULL, &check_err)
                            : gram_score_file(m, rows_path, out_path, &o, NULL, &check_err), GRAM_ESTOPPED);
    snprintf(how, sizeof how, "%s.how", out_path);
    return strdup(read_text(how));
}

/* A run that was cut off as its lines are here. */
static void cut_off(const char *lines, const char *how)
{
    char beside[340];

    snprintf(beside, sizeof beside, "%s.partial", out_path);
    write_text(beside, lines);
    snprintf(beside, sizeof beside, "%s.how", out_path);
    write_text(beside, how);
    unlink(out_path);
}

/* Groups that the method cannot rank are bad rows: named, counted, and no line of the output belongs to one, so that a
 * resume goes on where the run before was. */
static void groups_that_cannot_be_ranked_are_skipped(void **state)
{
    const gram_file_options skip = { .skip_bad = true }, resume = { .skip_bad = true, .resume = true };
    gram_model *m = open_model(NULL);
    gram_file_report report;
    gram_rank_method by = GRAM_RANK_REFERENCE;
    char *how, whole[2000];
    gr_buf b = { 0 };
    (void)state;

    assert_true(gr_buf_puts(&b, "{\"id\":\"a\",\"prompt\":\"q\",\"responses\":[\"x\",\"y\"]}\n{\"id\":\"b\","
                                "\"prompt\":\"q\","
                            "\"responses\":[\"x\",\"y\"],\"reference\":\"z\"}\n{\"prompt\":\"q\",\"responses\":["));
    for (int i = 0; i < 1025; i++)
        assert_true(gr_buf_puts(&b, i ? ",\"x\"" : "\"x\""));
    assert_true(gr_buf_puts(&b, "],\"reference\":\"z\"}\n{\"id\":\"c\",\"prompt\":\"q\",\"responses\":[\"x\",\"y\"],"
                            "\"reference\":\"z\"}\n"));
    write_text(rows_path, b.p);
    assert_int_equal(gram_rank_file(m, rows_path, out_path, GRAM_RANK_REFERENCE, NULL, &report, &check_err),
                     GRAM_EFORMAT);
    assert_non_null(strstr(check_err.text, ":1: wanted a key \"reference\""));
    CHECK_OK(gram_rank_file(m, rows_path, out_path, GRAM_RANK_REFERENCE, &skip, &report, &check_err));
    assert_true(report.rows == 2 && report.bad == 2);
    snprintf(whole, sizeof whole, "%s", read_text(out_path));
    how = how_of(m, &by, &skip);
    *strchr(whole, '\n') = '\0';
    gr_buf_clear(&b);
    assert_true(gr_buf_printf(&b, "%s\n", whole));
    snprintf(whole, sizeof whole, "%s", read_text(out_path));
    cut_off(b.p, how);
    CHECK_OK(gram_rank_file(m, rows_path, out_path, GRAM_RANK_REFERENCE, &resume, &report, &check_err));
    assert_string_equal(read_text(out_path), whole);
    gr_buf_clear(&b);
    free(how);
    gram_close(m);
}

/* A row that is skipped hides no failure of the lines before it: here there is no room for the second one's digest. */
static void a_skipped_row_hides_no_failure(void **state)
{
    const gram_file_options skip = { .skip_bad = true };
    gram_model *m = open_model(NULL);
    struct rlimit was, small;
    gram_file_report report;
    gram_status rc;
    char *how;
    (void)state;

    write_text(rows_path, "{\"id\":\"a\",\"prompt\":\"q\",\"chosen\":\"x\",\"rejected\":\"y\"}\n"
                          "{\"id\":\"b\",\"prompt\":\"q\",\"chosen\":\"x\",\"rejected\":\"z\"}\n"
                          "{\"id\":\"c\",\"prompt\":\"q\",\"chosen\":\"x\",\"rejected\":\"y\",\"tools\":"
                          "[{\"a\":1}]}\n");
    CHECK_OK(gram_score_file(m, rows_path, out_path, &skip, &report, &check_err));
    assert_true(report.rows == 2 && report.bad == 1);
    how = how_of(m, NULL, &skip);
    unlink(out_path);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    small = (struct rlimit){ strlen(how) - 5, was.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    rc = gram_score_file(m, rows_path, out_path, &skip, &report, &check_err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    assert_int_equal(rc, GRAM_EIO);
    assert_non_null(strstr(check_err.text, ".how: File too large"));
    assert_int_equal(access(out_path, F_OK), -1);
    free(how);
    gram_close(m);
}

/* However a run is cut, threaded or packed: the bytes of a run that was not. */
static void resumed_bytes(void **state)
{
    static const gram_options each[] = { { .threads = 1 }, { .threads = 3, .batch_tokens = 100 },
                                         { .batch_tokens = 100000 } };
    char whole[1 << 15];
    gram_file_report report;
    (void)state;

    write_rows(rows_path, 40);
    for (size_t i = 0; i < GR_COUNT(each); i++) {
        const gram_file_options resume = { .resume = true };
        gram_model *m = open_model(&each[i]);
        char *how = how_of(m, NULL, NULL);
        CHECK_OK(gram_score_file(m, rows_path, out_path, NULL, &report, &check_err));
        if (i == 0)
            snprintf(whole, sizeof whole, "%s", read_text(out_path));
        assert_string_equal(read_text(out_path), whole);
        for (size_t cut = 0; cut < strlen(whole); cut += 1231) {
            char part[1 << 15];
            snprintf(part, sizeof part, "%.*s", (int)cut, whole);
            cut_off(part, how);
            CHECK_OK(gram_score_file(m, rows_path, out_path, &resume, &report, &check_err));
            assert_string_equal(read_text(out_path), whole);
        }
        free(how);
        gram_close(m);
    }
}

/* ---- What goes on is of the same rows ------------------------------------------------------------- */

/* A row a line, each of a letter, which stands twice in its form. */
static void write_letters(const char *form, const char *letters)
{
    gr_buf b = { 0 };

    for (; *letters; letters++)
        assert_true(gr_buf_printf(&b, form, *letters, *letters));
    write_text(rows_path, b.p);
    gr_buf_clear(&b);
}

static gram_status go_on(gram_model *m, bool rank)
{
    const gram_file_options o = { .resume = true };

    return rank ? gram_rank_file(m, rows_path, out_path, GRAM_RANK_LINEAR, &o, NULL, &check_err)
                : gram_score_file(m, rows_path, out_path, &o, NULL, &check_err);
}

static size_t lines_of(char *text, size_t lines)
{
    char *p = text;

    while (lines-- > 0)
        p = strchr(p, '\n') + 1;
    return (size_t)(p - text);
}

/* Three lines of five rows are there. Another text, order or number of these rows is told with its line, under ids or
 * without; what follows may be another. */
static void changed_rows_are_refused(void **state)
{
    static const struct { const char *form; bool rank; } each[] = {
        { "{\"id\":\"r\",\"prompt\":\"%c\",\"chosen\":\"%c\",\"rejected\":\"n\"}\n", false },
        { "{\"prompt\":\"q\",\"chosen\":\"%c\",\"rejected\":\"%c%%\"}\n", false },
        { "{\"prompt\":\"q\",\"chosen\":\"n\",\"rejected\":\"x\",\"criteria\":\"%c%c\"}\n", false },
        { "{\"prompt\":\"q\",\"responses\":[\"n\",\"%c\",\"%c!\"]}\n", true },
        { "{\"id\":\"r\",\"prompt\":\"%c\",\"responses\":[\"n\",\"%c\"]}\n", true },
    };
    static const struct { const char *letters, *says; } other[] = {
        { "abXde", "rows.jsonl:3: row" }, { "bacde", "rows.jsonl:1: row" }, { "bcde", "rows.jsonl:1: row" },
        { "ab", "it ends after 2 rows of the 3 lines" }, { "abc", NULL }, { "abcXdef", NULL },
    };
    gram_rank_method by = GRAM_RANK_LINEAR;
    gram_model *m = open_model(NULL);
    (void)state;

    for (size_t k = 0; k < GR_COUNT(each); k++) {
        char *how, whole[1 << 12], three[1 << 12], changed[1 << 12];
        write_letters(each[k].form, "abcde");
        how = how_of(m, each[k].rank ? &by : NULL, NULL);
        cut_off("", how);
        CHECK_OK(go_on(m, each[k].rank));
        snprintf(whole, sizeof whole, "%s", read_text(out_path));
        snprintf(three, sizeof three, "%.*s", (int)lines_of(whole, 3), whole);
        for (size_t i = 0; i < GR_COUNT(other); i++) {
            gram_status rc;
            cut_off("", how);
            write_letters(each[k].form, other[i].letters);
            CHECK_OK(go_on(m, each[k].rank));
            snprintf(changed, sizeof changed, "%s", read_text(out_path));
            cut_off(three, how);
            rc = go_on(m, each[k].rank);
            assert_int_equal(rc, other[i].says ? GRAM_EARG : GRAM_OK);
            if (other[i].says && !strstr(check_err.text, other[i].says))
                fail_msg("\"%s\" does not say \"%s\"", check_err.text, other[i].says);
            if (!other[i].says)
                assert_string_equal(read_text(out_path), changed);
        }
        free(how);
    }
    gram_close(m);
}

/* A machine that stopped may have lost the last digests: their lines are made again. Without any nothing goes on. */
static void lines_without_a_digest_are_made_again(void **state)
{
    const gram_file_options o = { .resume = true };
    gram_model *m = open_model(NULL);
    char *how, *end, whole[1 << 12], file[340];
    gram_file_report report;
    (void)state;

    write_rows(rows_path, 5);
    how = how_of(m, NULL, NULL);
    CHECK_OK(gram_score_file(m, rows_path, out_path, NULL, NULL, &check_err));
    snprintf(whole, sizeof whole, "%s", read_text(out_path));
    end = strrchr(how, '}') + 2;
    for (size_t digests = 5; digests-- > 0; ) {
        end[17 * digests + 9 * (digests % 2)] = '\0';           /* of the last a part, or nothing */
        cut_off(whole, how);
        CHECK_OK(gram_score_file(m, rows_path, out_path, &o, &report, &check_err));
        assert_int_equal(report.resumed, digests);
        assert_string_equal(read_text(out_path), whole);
    }
    cut_off(whole, how);
    unlink(in_dir(file, sizeof file, "out.jsonl.how"));
    assert_int_equal(gram_score_file(m, rows_path, out_path, &o, &report, &check_err), GRAM_EARG);
    assert_non_null(strstr(check_err.text, "out.jsonl.how: it is missing"));
    free(how);
    gram_close(m);
}

/* What a run was begun under, and the one that is to go on with it is not, is a difference, too. */
static void a_setting_of_the_earlier_run_alone_is_refused(void **state)
{
    const gram_file_options o = { .resume = true };
    gram_model *m = open_model(NULL);
    gr_buf more = { 0 };
    char *how, whole[1 << 12];
    (void)state;

    write_rows(rows_path, 3);
    how = how_of(m, NULL, NULL);
    CHECK_OK(gram_score_file(m, rows_path, out_path, NULL, NULL, &check_err));
    snprintf(whole, sizeof whole, "%s", read_text(out_path));
    assert_true(gr_buf_printf(&more, "{\"of then\": 5,%s", how + 1));
    cut_off(whole, more.p);
    assert_int_equal(gram_score_file(m, rows_path, out_path, &o, NULL, &check_err), GRAM_EARG);
    assert_non_null(strstr(check_err.text, "out.jsonl.how: the run that is to be resumed has of then 5, and this one "
                                           "of no kind"));
    gr_buf_clear(&more);
    assert_true(gr_buf_printf(&more, "{\"whole\": \"0 1\",%s", how + 1));
    cut_off(whole, more.p);
    CHECK_OK(gram_score_file(m, rows_path, out_path, &o, NULL, &check_err));
    gr_buf_clear(&more);
    free(how);
    gram_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pipe_is_read_once),
        cmocka_unit_test(long_rows),
        cmocka_unit_test(a_cut_gzip_ends_the_run),
        cmocka_unit_test(groups_that_cannot_be_ranked_are_skipped),
        cmocka_unit_test(a_skipped_row_hides_no_failure),
        cmocka_unit_test(resumed_bytes),
        cmocka_unit_test(changed_rows_are_refused),
        cmocka_unit_test(lines_without_a_digest_are_made_again),
        cmocka_unit_test(a_setting_of_the_earlier_run_alone_is_refused),
    };

    return cmocka_run_group_tests_name("files", tests, make_model, NULL);
}
