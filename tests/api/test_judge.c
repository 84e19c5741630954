/* test_judge.c - gram/judge.h over models, programs and servers: its rewards are those of the calls that it stands on,
 * an answer that cannot be judged fails alone, a program that does not keep to the lines is never believed, and another
 * model at a server's address is noticed. */
#include <arpa/inet.h>
#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "api/api_int.h"
#include "check.h"
#include "gram/judge.h"
#include "nomem_json.h"

#define PAIRWISE "tests/golden/train/judge"
#define HEADS "tests/golden/rewards/"

static const gram_message turn = { .role = "user", .content = "Why is the sky blue?" };
static const char *const answers[] = { "It is painted.", "Rayleigh scattering.", "", "Because.", "It is painted." };
enum { N = 5 };

static gram_group group(void)
{
    return (gram_group){ .prompt = { &turn, 1, NULL }, .response = answers, .n = N, .reference = "Air." };
}

static gram_judge *open(const char *where, const gram_judge_options *o)
{
    gram_judge *j;

    CHECK_OK(gram_judge_open(&j, where, o, &check_err));
    return j;
}

/* ---- Models -------------------------------------------------------------------------------------- */

static double margin(gram_model *m, const char *a, const char *b)
{
    const gram_pair p = { .prompt = { &turn, 1, NULL }, .a = a, .b = b };
    gram_verdict v;

    CHECK_OK(gram_score(m, &p, 1, &v, &check_err));
    return v.logit_margin;
}

static void margins_are_those_of_score(void **state)
{
    gram_judge *j = open(PAIRWISE, NULL);
    gram_model *m = gram_judge_model(j);
    gram_group g = group();
    gram_judged_group r;

    (void)state;
    assert_false(gram_judge_across_prompts(j));
    assert_false(gram_judge_needs_reference(j));
    assert_non_null(strstr(gram_judge_about(j), "all-pairs, logit margins"));
    CHECK_OK(gram_judge_group(j, &g, &r, &check_err));
    for (size_t i = 0; i < N; i++) {
        double sum = 0;
        for (size_t k = 0; k < N; k++) {
            double d = i == k ? 0 : margin(m, answers[i], answers[k]);
            assert_true(fabs(r.value[i * N + k] - d) < 1e-12);
            sum += d;
        }
        assert_true(fabs(r.reward[i] - sum / (N - 1)) < 1e-12);
    }
    assert_true(r.reward[0] == r.reward[4] && r.cost.comparisons == 6 && r.cost.passes == 12 && !r.failed);
    assert_true(r.cost.tokens_computed > 0 && r.cost.tokens_computed < r.cost.tokens);     /* the prompt once */
    assert_true(!r.head && !r.overlap);
    gram_judged_group_clear(&r);
    gram_judge_close(j);
}

static void by_reference_over_a_model_that_is_open(void **state)
{
    const gram_judge_options o = { .scheme = GRAM_SCHEME_REFERENCE };
    gram_group g = group();
    gram_judged_group r, again;
    gram_judge *j;
    gram_model *m;

    (void)state;
    CHECK_OK(gram_open(&m, PAIRWISE, NULL, &check_err));
    CHECK_OK(gram_judge_over(&j, m, &o, &check_err));
    assert_true(gram_judge_needs_reference(j) && gram_judge_model(j) == m);
    CHECK_OK(gram_judge_group(j, &g, &r, &check_err));
    for (size_t i = 0; i < N; i++)
        assert_true(r.reward[i] == margin(m, answers[i], "Air."));
    CHECK_OK(gram_judge_group(j, &g, &again, &check_err));
    assert_int_equal(r.cost.tokens_computed, again.cost.tokens_computed);   /* what came before has no part in it */
    gram_judged_group_clear(&again);
    gram_judged_group_clear(&r);
    g.n = 1;
    CHECK_OK(gram_judge_group(j, &g, &r, &check_err));
    gram_judged_group_clear(&r);
    g.reference = NULL;
    assert_int_equal(gram_judge_group(j, &g, &r, &check_err), GRAM_EARG);
    assert_null(r.reward);
    gram_judge_close(j);
    gram_close(m);
}

static void heads_give_what_rewards_gives(void **state)
{
    (void)state;
    for (int purm = 0; purm < 2; purm++) {
        const gram_judge_options o = { .lambda = purm ? 3 : 0 };
        gram_judge *j = open(purm ? HEADS "purm" : HEADS "qwen3", &o);
        gram_group g = group();
        gram_reward want[N];
        gram_judged_group r;
        double mean[N], sigma[N], u[N];
        assert_true(gram_judge_across_prompts(j));
        CHECK_OK(gram_rewards(gram_judge_model(j), g.prompt, answers, N, want, &check_err));
        CHECK_OK(gram_judge_group(j, &g, &r, &check_err));
        for (size_t i = 0; i < N; i++) {
            mean[i] = want[i].mean;
            sigma[i] = want[i].sigma;
            assert_true(r.head[i].mean == mean[i] && r.head[i].sigma == sigma[i]);
        }
        gram_overlap(mean, sigma, N, u);
        for (size_t i = 0; i < N; i++)
            assert_true(fabs(r.reward[i] - (purm ? mean[i] - 3 * u[i] : mean[i])) < 1e-12);
        assert_true(r.reward[0] == r.reward[4]);
        assert_true(!r.value && (purm == !!r.overlap) && r.cost.passes == 4 && r.cost.comparisons == 0);
        gram_judged_group_clear(&r);
        gram_judge_close(j);
    }
}

/* With room for few tokens the long answer does not fit. */
static void a_long_answer_fails_alone(void **state)
{
    static const char *const models[] = { PAIRWISE, HEADS "qwen3" };

    (void)state;
    for (size_t k = 0; k < 2; k++) {
        gram_options limited = { .max_tokens = k ? 150 : 900 };
        const gram_judge_options o = { .model = &limited };
        gram_judge *j = open(models[k], &o);
        gram_group g = group(), others = group();
        gram_judged_group r, w;
        char tale[4001];
        const char *with[] = { answers[0], tale, answers[1], answers[3] };
        const char *without[] = { answers[0], answers[1], answers[3] };
        memset(tale, 'x', 4000);
        tale[4000] = '\0';
        g.response = with;
        g.n = 4;
        others.response = without;
        others.n = 3;
        CHECK_OK(gram_judge_group(j, &g, &r, &check_err));
        CHECK_OK(gram_judge_group(j, &others, &w, &check_err));
        assert_true(r.failed == 1 && isnan(r.reward[1]) && strstr(r.error[1], "tokens"));
        assert_true(r.reward[0] == w.reward[0] && r.reward[2] == w.reward[1] && r.reward[3] == w.reward[2]);
        gram_judged_group_clear(&r);
        gram_judged_group_clear(&w);
        gram_judge_close(j);
    }
}

static void what_cannot_be_meant_is_refused(void **state)
{
    static const gram_options one_order = { .single_order = true }, threads = { .threads = -1 };
    static const struct { const char *where; gram_judge_options o; const char *says; } bad[] = {
        { PAIRWISE, { .model = &one_order }, "both orders" },
        { PAIRWISE, { .model = &threads }, "threads: wanted 0 to 1024, found -1" },
        { PAIRWISE, { .lambda = 1 }, "PURM" },
        { PAIRWISE, { .lambda = -1 }, "lambda" },
        { PAIRWISE, { .scheme = (gram_scheme)9 }, "scheme" },
        { PAIRWISE, { .unit = (gram_unit)9 }, "unit" },
        { PAIRWISE, { .timeout = NAN }, "timeout" },
        { HEADS "qwen3", { .scheme = GRAM_SCHEME_TOURNAMENT }, "tournament" },
        { HEADS "qwen3", { .unit = GRAM_UNIT_PREFERENCE }, "preference" },
        { HEADS "qwen3", { .lambda = 1 }, "PURM" },
        { "exec:cat", { .scheme = GRAM_SCHEME_LINEAR }, "linear" },
        { "exec: ", { 0 }, "a command" },
        { "https://there", { 0 }, "TLS" },
        { "/no/such/model", { 0 }, "/no/such/model" },
    };
    gram_judge *j;
    gram_group g = group();
    gram_judged_group r;
    gram_scheme s;
    gram_unit u;

    (void)state;
    for (size_t i = 0; i < GR_COUNT(bad); i++) {
        assert_true(gram_judge_open(&j, bad[i].where, &bad[i].o, &check_err) != GRAM_OK);
        assert_null(j);
        if (!strstr(check_err.text, bad[i].says))
            fail_msg("%s: \"%s\" does not say \"%s\"", bad[i].where, check_err.text, bad[i].says);
    }
    for (int k = 1; k <= GRAM_SCHEME_CIRCULAR; k++) {
        CHECK_OK(gram_scheme_parse(gram_scheme_name((gram_scheme)k), &s, &check_err));
        assert_int_equal(s, k);
    }
    CHECK_OK(gram_unit_parse("preference", &u, &check_err));
    assert_int_equal(gram_scheme_parse("best", &s, &check_err), GRAM_EARG);
    assert_int_equal(gram_unit_parse("", &u, &check_err), GRAM_EARG);
    j = open(PAIRWISE, NULL);
    g.n = 1;
    assert_int_equal(gram_judge_group(j, &g, &r, &check_err), GRAM_EARG);
    g.n = 0;
    assert_int_equal(gram_judge_group(j, &g, &r, &check_err), GRAM_EARG);
    g.n = 1025;
    assert_int_equal(gram_judge_group(j, &g, &r, &check_err), GRAM_EARG);
    gram_judge_close(j);
    gram_judge_close(NULL);
}

/* Neither memory that ran out, as a text was told that JSON does not take, nor the end of the process. */
static void a_text_that_is_none_is_refused(void **state)
{
    static const char *const none[] = { NULL, "\xff" }, *const models[] = { PAIRWISE, HEADS "qwen3" };
    gram_ranking ranked;

    (void)state;
    for (size_t i = 0; i < 2 * GR_COUNT(none); i++) {
        gram_model *m;
        CHECK_OK(gram_open(&m, models[i / 2], NULL, &check_err));
        for (int where = 0; where < 5; where++) {
            const char *text[] = { "user", "q", "a", "b", "" };
            const char *found = none[i % 2] ? "UTF-8" : where == 4 ? NULL : "NULL";
            gram_verdict v;
            text[where] = none[i % 2];
            if (!found || (where == 4 && i / 2))        /* criteria may be NULL, and a reward model reads none */
                continue;
            gram_message q = { .role = text[0], .content = text[1] };
            gram_pair p = { { &q, 1, NULL, text[4] }, .a = text[2], .b = text[3] };
            assert_int_equal(gram_score(m, &p, 1, &v, &check_err), GRAM_EARG);
            if (!strstr(check_err.text, found))
                fail_msg("%s, %d: \"%s\" does not say \"%s\"", models[i / 2], where, check_err.text, found);
        }
        const char *three[] = { "x", "y", none[i % 2] };
        for (gram_rank_method method = GRAM_RANK_LINEAR; method <= GRAM_RANK_ALL_PAIRS; method++)
            assert_int_equal(gram_rank(m, (gram_prompt){ &turn, 1, NULL }, three, 3, method, NULL, &ranked, &check_err),
                             GRAM_EARG);
        gram_close(m);
    }
}

/* ---- Programs ------------------------------------------------------------------------------------ */

static void a_program_answers_line_by_line(void **state)
{
    gram_judge *j = open("exec:while read -r line; do echo \"$line\" >>\"$JUDGE_LOG\"; echo \"${#line}\"; done", NULL);
    gram_group g = group();
    gram_judged_group r;
    const char *log = getenv("JUDGE_LOG");
    json_t *o;
    FILE *f;

    (void)state;
    assert_true(gram_judge_across_prompts(j));
    g.columns = "{\"answer\": \"42\", \"prompt\": \"mine\"}";
    for (int round = 0; round < 2; round++) {
        CHECK_OK(gram_judge_group(j, &g, &r, &check_err));
        assert_true(!r.failed && r.reward[0] == r.reward[4] && r.reward[1] == r.reward[0] + 6 && r.cost.passes == 4);
        gram_judged_group_clear(&r);
    }
    gram_judge_close(j);
    f = fopen(log, "r");
    assert_non_null(f);
    for (size_t k = 0; k < 8; k++) {                        /* started once; equal answers once a group */
        o = json_loadf(f, JSON_DISABLE_EOF_CHECK, NULL);
        assert_string_equal(json_string_value(json_object_get(o, "completion")), answers[k % 4]);
        assert_string_equal(json_string_value(json_object_get(o, "prompt")), turn.content);
        assert_string_equal(json_string_value(json_object_get(o, "reference")), "Air.");
        assert_string_equal(json_string_value(json_object_get(o, "answer")), "42");
        assert_int_equal(json_integer_value(json_object_get(o, "index")), k % 4);
        json_decref(o);
    }
    assert_int_equal(fgetc(f), '\n');
    assert_int_equal(fgetc(f), EOF);
    fclose(f);
}

/* Lines that are an answer, but no reward: the response has none, and never 0. */
static void lines_without_a_number(void **state)
{
    static const char *const lines[] = { "1.5", "null", "{\\\"reward\\\": -2, \\\"index\\\": 2}",
                                         "{\\\"error\\\": \\\"no idea\\\"}", "NaN", "-inf", "", "\\\"7\\\"", "[1]",
                                         "true",
                                         "{\\\"score\\\": 1}", "1e400" };
    static const char *const says[] = { NULL, "no number", NULL, "no idea", "NaN", "-inf", "no number", "\"7\"", "[1]",
                                        "true", "score", NULL };
    gr_buf command = { 0 };
    char text[12][2];
    const char *response[12];
    gram_group g = group();
    gram_judged_group r;
    gram_judge *j;

    (void)state;
    gr_buf_puts(&command, "exec:");
    for (size_t i = 0; i < 11; i++)
        gr_buf_printf(&command, "read -r x; echo \"%s\"; ", lines[i]);
    gr_buf_puts(&command, "cat >/dev/null");
    for (size_t i = 0; i < 12; i++) {
        text[i][0] = (char)('a' + i);
        text[i][1] = '\0';
        response[i] = text[i];
    }
    g.response = response;
    g.n = 11;
    j = open(command.p, NULL);
    CHECK_OK(gram_judge_group(j, &g, &r, &check_err));
    for (size_t i = 0; i < 11; i++) {
        assert_true(!says[i] == !r.error[i] && isnan(r.reward[i]) == !!says[i]);
        if (says[i] && !strstr(r.error[i], says[i]))
            fail_msg("line %zu: \"%s\" does not say \"%s\"", i, r.error[i], says[i]);
    }
    assert_true(r.reward[0] == 1.5 && r.reward[2] == -2 && r.failed == 9);
    gram_judged_group_clear(&r);
    gram_judge_close(j);
    gr_buf_clear(&command);
}

/* What makes it unsure which line answers which: nothing is believed from there on. */
static void programs_that_are_not_believed(void **state)
{
    static const struct { const char *command, *says; double timeout; } bad[] = {
        { "exec:exit 3", "status 3", 0 },
        { "exec:no-such-program-at-all 2>/dev/null", "status 127", 0 },
        { "exec:read x; echo 1; kill -TERM $$", "signal 15", 0 },
        { "exec:read x; echo 1; exec >&-; sleep 60", "after 1 of 4", 0 },
        { "exec:echo hello; cat >/dev/null", "hello", 0 },
        { "exec:while read x; do echo 1; echo 2; done", "wrote more", 0 },
        { "exec:read x; echo '{\"reward\": 1, \"index\": 3}'; cat", "index 3", 0 },
        { "exec:cat >/dev/null", "0 of 4 lines", 0.2 },
        { "exec:read x; echo 1; sleep 60", "1 of 4 lines", 1 },
        { "exec:head -c 3000000 /dev/zero | tr '\\0' x; cat >/dev/null", "line", 0 },
    };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(bad); i++) {
        const gram_judge_options o = { .timeout = bad[i].timeout };
        gram_judge *j = open(bad[i].command, &o);
        gram_group g = group();
        gram_judged_group r;
        gram_status rc = gram_judge_group(j, &g, &r, &check_err);
        if (!rc && strstr(bad[i].says, "more")) {       /* on a machine so slow that the lines came later */
            gram_judged_group_clear(&r);
            rc = gram_judge_group(j, &g, &r, &check_err);
        }
        assert_int_equal(rc, GRAM_EIO);
        if (!strstr(check_err.text, bad[i].says))
            fail_msg("%s: \"%s\" does not say \"%s\"", bad[i].command, check_err.text, bad[i].says);
        assert_null(r.reward);
        assert_int_equal(gram_judge_group(j, &g, &r, &check_err), GRAM_EIO);
        gram_judge_close(j);
    }
}

/* Both pipes full at once: neither waits for the other. */
static void more_than_the_pipes_hold(void **state)
{
    gram_judge *j = open("exec:while read -r line; do echo \"                                        ${#line}\"; done",
                         NULL);
    static char text[1024][1200];
    static const char *response[1024];
    gram_group g = group();
    gram_judged_group r;

    (void)state;
    for (size_t i = 0; i < 1024; i++) {
        memset(text[i], 'x', 1000);
        snprintf(text[i] + 1000, 20, "%zu", i);
        response[i] = text[i];
    }
    g.response = response;
    g.n = 1024;
    CHECK_OK(gram_judge_group(j, &g, &r, &check_err));
    assert_true(!r.failed && r.reward[1023] == r.reward[0] + 6);    /* three digits more, in two places */
    gram_judged_group_clear(&r);
    gram_judge_close(j);
}

/* What it started goes with it. */
static void a_program_is_killed_with_what_it_started(void **state)
{
    char *path = check_tmppath("pid");
    gr_buf command = { 0 };
    gram_group g = group();
    gram_judged_group r;
    gram_judge *j;
    FILE *f;
    int pid = 0;

    (void)state;
    gr_buf_printf(&command, "exec:sleep 1000 & echo $! >%s; while read x; do echo 0; done", path);
    j = open(command.p, NULL);
    CHECK_OK(gram_judge_group(j, &g, &r, &check_err));
    gram_judged_group_clear(&r);
    gram_judge_close(j);
    f = fopen(path, "r");
    assert_true(f && fscanf(f, "%d", &pid) == 1 && pid > 1);
    fclose(f);
    for (int i = 0; i < 500 && !kill(pid, 0); i++) {    /* a zombie until init has seen it */
        char stat[64], line[256] = "";
        snprintf(stat, sizeof stat, "/proc/%d/stat", pid);
        if ((f = fopen(stat, "r"))) {
            assert_non_null(fgets(line, sizeof line, f));
            fclose(f);
        }
        if (strstr(line, ") Z"))
            break;
        assert_true(i < 499);
        usleep(10000);
    }
    gr_buf_clear(&command);
    free(path);
}

/* ---- Memory -------------------------------------------------------------------------------------- */

static const char *nomem_where;
static gram_model *nomem_model;

static gram_status judge_once(gram_err *err)
{
    const gram_judge_options o = { .lambda = !strcmp(nomem_where, HEADS "purm") ? 2 : 0 };
    gram_group g = group();
    gram_judged_group r = { 0 };
    gram_judge *j;
    gram_status rc = nomem_model ? gram_judge_over(&j, nomem_model, &o, err) : gram_judge_open(&j, nomem_where, &o,
                                                                                               err);

    g.columns = "{\"k\": 1}";
    if (rc) {
        assert_null(j);
        return rc;
    }
    rc = gram_judge_group(j, &g, &r, err);
    assert_true(!rc == !!r.reward);
    gram_judged_group_clear(&r);
    gram_judge_close(j);
    if (nomem_model)
        gr_kv_forget(nomem_model->scorer.cache);        /* what it keeps for the next call is not lost */
    return rc;
}

static void every_allocation_may_fail(void **state)
{
    static const char *const where[] = { PAIRWISE, HEADS "purm", "exec:while read -r x; do echo 1; done" };

    (void)state;
    for (size_t k = 0; k < GR_COUNT(where); k++) {
        gram_status rc = GRAM_ENOMEM;
        nomem_where = where[k];
        nomem_model = NULL;
        if (k < 2)
            CHECK_OK(gram_open(&nomem_model, where[k], NULL, &check_err));
        CHECK_OK(judge_once(&check_err));
        for (long n = 0; rc; n++) {
            long live = nomem_live;
            nomem_left = n;
            rc = judge_once(&check_err);
            if (nomem_left >= 0 && !NOMEM_COUNTED)
                break;
            nomem_left = -1;
            if (rc && rc != GRAM_ENOMEM)
                fail_msg("%s, allocation %ld: %s", where[k], n, check_err.text);
            if (nomem_live != live)
                fail_msg("%s, allocation %ld: %ld blocks are lost", where[k], n, nomem_live - live);
        }
        nomem_left = -1;
        gram_close(nomem_model);
    }
}

/* ---- Servers ------------------------------------------------------------------------------------- */

/* Which model answers, one request after the other; a name and a fingerprint, or NULL for none. */
struct served { int fd; const char *const (*as)[2]; size_t n; };

static void *answer_as(void *arg)
{
    const struct served *s = arg;

    for (size_t i = 0; i < s->n; i++) {
        gr_buf b = { 0 };
        char read[4096];
        int fd = accept(s->fd, NULL, NULL);
        if (fd < 0)
            return NULL;
        gr_buf_puts(&b, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"data\":[{\"preference\":0.5,\"p_forward\":0.5,"
                        "\"p_swapped\":0.5,\"logit_margin\":0,\"consistent\":true,\"tokens\":2}]");
        for (size_t k = 0; k < 2; k++)
            if (s->as[i][k])
                gr_buf_printf(&b, ",\"%s\":\"%s\"", k ? "system_fingerprint" : "model", s->as[i][k]);
        gr_buf_puts(&b, "}");
        if (send(fd, b.p, b.n, MSG_NOSIGNAL) == (ssize_t)b.n && !shutdown(fd, SHUT_WR))
            while (recv(fd, read, sizeof read, 0) > 0)
                ;
        gr_buf_clear(&b);
        close(fd);
    }
    return NULL;
}

/* A judge at an address is one model as long as it is open: as the first answer says it, by its name and by its
 * fingerprint, which each decide alone. */
static void another_model_at_the_address_is_noticed(void **state)
{
    static const char *const as[][3][2] = {
        { { "m", "00aa" }, { "m", "00aa" }, { "m", "00bb" } }, { { "m", "00aa" }, { "m", "00aa" }, { "n", "00aa" } },
        { { "m", "00aa" }, { "m", "00aa" }, { "m", NULL } },   { { "m", NULL }, { "m", NULL }, { "m", "00aa" } },
    };
    static const char *const pair[] = { "x", "y" };
    gram_group g = group();
    gram_judged_group r;

    (void)state;
    g.response = pair;
    g.n = 2;
    for (size_t i = 0; i < GR_COUNT(as); i++) {
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        struct served s = { socket(AF_INET, SOCK_STREAM, 0), as[i], 3 };
        socklen_t bytes = sizeof a;
        pthread_t thread;
        gram_judge *j;
        char url[40];
        assert_true(s.fd >= 0 && !bind(s.fd, (struct sockaddr *)&a, sizeof a) && !listen(s.fd, 4));
        assert_false(getsockname(s.fd, (struct sockaddr *)&a, &bytes));
        snprintf(url, sizeof url, "http://127.0.0.1:%u", ntohs(a.sin_port));
        assert_false(pthread_create(&thread, NULL, answer_as, &s));
        j = open(url, NULL);
        CHECK_OK(gram_judge_group(j, &g, &r, &check_err));
        gram_judged_group_clear(&r);
        assert_int_equal(gram_judge_group(j, &g, &r, &check_err), GRAM_EIO);
        assert_non_null(strstr(check_err.text, "it has another model than before, or asks it in another way: "));
        gram_judge_close(j);
        pthread_join(thread, NULL);
        close(s.fd);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(margins_are_those_of_score), cmocka_unit_test(by_reference_over_a_model_that_is_open),
        cmocka_unit_test(heads_give_what_rewards_gives), cmocka_unit_test(a_long_answer_fails_alone),
        cmocka_unit_test(what_cannot_be_meant_is_refused),
        cmocka_unit_test(a_text_that_is_none_is_refused), cmocka_unit_test(a_program_answers_line_by_line),
        cmocka_unit_test(lines_without_a_number), cmocka_unit_test(programs_that_are_not_believed),
        cmocka_unit_test(more_than_the_pipes_hold), cmocka_unit_test(a_program_is_killed_with_what_it_started),
        cmocka_unit_test(another_model_at_the_address_is_noticed), cmocka_unit_test(every_allocation_may_fail),
    };
    char *log = check_tmppath("log");

    setenv("JUDGE_LOG", log, 1);
    free(log);
    json_set_alloc_funcs(json_take, json_give);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
