/* test_comm.c - what goes between processes: the sums and copies of comm.h, alone and in four processes that mpirun
 * starts, or gr_dist_run(); what the others say when one fails, dies or hangs. */
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <time.h>
#include "check.h"
#include "comm/comm_int.h"
#include "mpirun.h"

enum { RANKS = 4 };
static gr_dist *d;
static size_t rank, size;

/* ---- In every process, and alone ------------------------------------------------------------------- */

static void blocks_arrive_in_the_order_of_the_ranks(void **state)
{
    uint64_t mine[2] = { 7 * rank + 1, rank }, *all = gr_calloc(size, sizeof mine), first = rank + 5;

    (void)state;
    CHECK_OK(gr_dist_all(d, mine, all, sizeof mine, &check_err));
    for (size_t p = 0; p < size; p++)
        assert_true(all[2 * p] == 7 * p + 1 && all[2 * p + 1] == p);
    CHECK_OK(gr_dist_broadcast(d, &first, sizeof first, &check_err));
    assert_int_equal(first, 5);
    CHECK_OK(gr_dist_barrier(d, &check_err));
    free(all);
}

/* An int would be another number of bytes. */
static void more_than_a_message_holds_is_refused(void **state)
{
    char one = 0;

    (void)state;
    if (size == 1)
        return;
    assert_int_equal(gr_dist_all(d, &one, &one, (size_t)INT_MAX + 2, &check_err), GRAM_ELIMIT);
    assert_non_null(strstr(check_err.text, "2147483649 bytes"));
}

/* 1e16 + 1 - 1e16 is 0 in this order and 1 in others. */
static void sums_add_from_the_first_rank_on(void **state)
{
    static const double each[RANKS] = { 1e16, 1, -1e16, 3 };
    double x[2] = { each[rank], (double)rank + 0.5 }, want = each[0];

    (void)state;
    for (size_t p = 1; p < size; p++)
        want += each[p];
    CHECK_OK(gr_dist_sum(d, x, 2, &check_err));
    assert_true(x[0] == want);
    assert_true(x[1] == (double)(size * (size - 1)) / 2 + 0.5 * (double)size);
}

/* A vector of parameters whose ends are nobody's, longer than what is sent at a time, in two buckets; one process owns
 * nothing of the first, and the second is short. */
enum { BUCKETS = 2 };
struct vector { float *x; gr_param param[4]; size_t cut[BUCKETS * RANKS + 1], n; gr_vector v; };

static struct vector *vector_open(void)
{
    static const size_t part[] = { 1, 700001, 3, 299995 };
    struct vector *u = gr_calloc(1, sizeof *u);
    size_t first = 0;

    u->n = 1000000;
    u->x = gr_calloc(u->n, sizeof *u->x);
    for (size_t i = 0, at = 0; i < GR_COUNT(part); at += part[i++])
        u->param[i] = (gr_param){ .rows = 1, .cols = part[i], .w = gr_mat_f32(u->x + at, part[i]) };
    for (size_t b = 0; b < BUCKETS; first = u->n - 5, b++)
        for (size_t r = 0, n = b ? 5 : u->n - 5; r < size; r++)
            u->cut[b * size + r] = first + (r == 2 ? n / 7 : n / 7 * r) + (b == 0 && r > 0 && r != 2 ? r : 0);
    if (size > 2)
        u->cut[2] = u->cut[1];
    u->cut[BUCKETS * size] = u->n;
    u->v = (gr_vector){ u->param, GR_COUNT(u->param), false, u->cut, BUCKETS };
    return u;
}

static void vector_close(struct vector *u)
{
    free(u->x);
    free(u);
}

static float value(size_t r, size_t i)
{
    return (float)((double)((i * 2654435761u + r * 40503) % 1000003) * 1e-3 - 500);
}

static bool is_own(const struct vector *u, size_t r, size_t i)
{
    bool own = false;

    for (size_t b = 0; b < BUCKETS; b++)
        own = own || (i >= u->cut[b * size + r] && i < u->cut[b * size + r + 1]);
    return own;
}

static void own_values_are_the_sum_of_all_in_order(void **state)
{
    struct vector *u = vector_open();

    (void)state;
    for (size_t i = 0; i < u->n; i++)
        u->x[i] = value(rank, i);
    CHECK_OK(gr_dist_reduce_scatter(d, &u->v, &check_err));
    for (size_t i = 0; i < u->n; i++) {
        float want = value(0, i);
        for (size_t p = 1; p < size; p++)
            want += value(p, i);
        if (u->x[i] != (is_own(u, rank, i) ? want : value(rank, i)))
            fail_msg("value %zu is %.9g in process %zu", i, u->x[i], rank);
    }
    vector_close(u);
}

static void values_of_owners_reach_all(void **state)
{
    struct vector *u = vector_open();

    (void)state;
    for (size_t i = 0; i < u->n; i++)
        u->x[i] = is_own(u, rank, i) ? value(9, i) : -1;
    CHECK_OK(gr_dist_all_gather(d, &u->v, &check_err));
    for (size_t i = 0; i < u->n; i++)
        if (u->x[i] != value(9, i))
            fail_msg("value %zu is %.9g in process %zu", i, u->x[i], rank);
    for (size_t i = 0; i < u->n; i++)
        u->x[i] = rank ? -1 : value(3, i);
    CHECK_OK(gr_dist_spread(d, &u->v, &check_err));
    for (size_t i = 0; i < u->n; i++)
        assert_true(u->x[i] == value(3, i));
    vector_close(u);
}

/* What each has of its own, one after the other: ranges of one bucket to process 0, and back, doubled. */
static void own_numbers_go_to_process_0_and_back(void **state)
{
    static const size_t range[][2] = { { 0, 1 }, { 100, 700000 }, { 700100, 299895 }, { 999995, 5 } };
    struct vector *u = vector_open();
    float *mine = gr_calloc(u->n, sizeof *mine), *all = gr_calloc(u->n, sizeof *all);
    const gr_param own = { .rows = 1, .cols = u->n, .w = gr_mat_f32(mine, u->n) };
    const gr_parts p = { &u->v, &own };
    size_t n = 0;

    (void)state;
    for (size_t i = 0; i < u->n; i++)
        if (is_own(u, rank, i))
            mine[n++] = value(5, i);
    for (size_t k = 0; k < GR_COUNT(range); k++) {
        size_t first = range[k][0], some = range[k][1];
        CHECK_OK(gr_dist_gather(d, &p, first, some, rank ? NULL : all, &check_err));
        for (size_t i = 0; i < some && rank == 0; i++) {
            assert_true(all[i] == value(5, first + i));
            all[i] *= 2;
        }
        CHECK_OK(gr_dist_scatter(d, &p, first, some, rank ? NULL : all, &check_err));
    }
    for (size_t i = 0, k = 0; i < u->n; i++)
        if (is_own(u, rank, i)) {
            bool moved = i == 0 || i >= 100;
            assert_true(mine[k++] == value(5, i) * (moved ? 2 : 1));
        }
    free(mine);
    free(all);
    vector_close(u);
}

static void what_differs_is_named(void **state)
{
    gram_status rc;

    (void)state;
    CHECK_OK(gr_dist_same(d, "settings", 42, &check_err));
    rc = gr_dist_same(d, "settings", 42 + (rank == 2), &check_err);
    assert_int_equal(rc, size > 2 ? GRAM_EARG : GRAM_OK);
    if (rc)
        assert_non_null(strstr(check_err.text, "process 2 of 4 (on "));
}

static void processes_know_their_machine(void **state)
{
    (void)state;
    assert_int_equal(gr_dist_on_host(d), size);
    assert_true(size == 1 ? gr_dist_threads(d) == 0 : gr_dist_threads(d) >= 1);
    assert_true(gr_dist_speaks(d) == (rank == 0));
    CHECK_OK(gr_dist_check(d, &check_err));
}

static int run_shared(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_arrive_in_the_order_of_the_ranks),
        cmocka_unit_test(more_than_a_message_holds_is_refused),
        cmocka_unit_test(sums_add_from_the_first_rank_on),
        cmocka_unit_test(own_values_are_the_sum_of_all_in_order),
        cmocka_unit_test(values_of_owners_reach_all),
        cmocka_unit_test(own_numbers_go_to_process_0_and_back),
        cmocka_unit_test(what_differs_is_named),
        cmocka_unit_test(processes_know_their_machine),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* ---- A process that ends badly; the first that lives says how ---------------------------------------- */

/* MPI as it is when mpirun, which it tells of a closed connection, does not answer: a call does not come back, here
 * that of the thread that talks. */
static int (*real_test)(gr_mpi_handle *, int *, void *);
static atomic_bool stuck;
static pthread_t caller;

static int test_or_hang(gr_mpi_handle *request, int *flag, void *status)
{
    while (stuck && !pthread_equal(pthread_self(), caller))
        pause();
    return real_test(request, flag, status);
}

static void let_mpi_hang(void)
{
    pthread_mutex_lock(&d->lock);
    caller = pthread_self();
    real_test = d->mpi.test;
    d->mpi.test = test_or_hang;
    pthread_mutex_unlock(&d->lock);
}

static int end_badly(const char *how)
{
    gram_err err = { 0 };
    gram_status rc = gr_dist_barrier(d, &err);

    if (!strcmp(how, "stuck"))
        let_mpi_hang();
    if (rank != 1)
        usleep(300000);                     /* all are at work */
    if (rank == 2 && !strcmp(how, "fail"))
        gr_dist_fail(d, &(gram_err){ GRAM_EFORMAT, "row 7 is bad" });
    else if (rank == 0 && (!strcmp(how, "die") || !strcmp(how, "stuck")))
        raise(SIGKILL);
    else if (rank == 2 && !strcmp(how, "hang"))
        raise(SIGSTOP);
    stuck = true;
    while (!rc)
        rc = gr_dist_barrier(d, &err);
    if (gr_dist_speaks(d))
        mpirun_say(NULL, &err);
    gr_dist_close(d);
    return 1;
}

/* ---- The process that `make test` starts -------------------------------------------------------------- */

static const char *self;
static char *dir;

/* By mpirun, or, `local`, by this program itself. */
static FILE *start_four(bool local, const char *env, const char *args)
{
    char command[1000];
    FILE *f;

    if (local)
        snprintf(command, sizeof command, "%s '%s' local %s 2>&1", env, self, args);
    else
        snprintf(command, sizeof command, "%s " MPIRUN_APART "mpirun -np %d '%s' %s 2>&1", env, dir, RANKS, self, args);
    f = popen(command, "r");
    assert_non_null(f);
    return f;
}

static char *output(FILE *f, int *status)
{
    static char out[1 << 16];
    size_t n = fread(out, 1, sizeof out - 1, f);

    out[n] = '\0';
    *status = mpirun_status(pclose(f));
    return out;
}

static void pass_the_same_tests(bool local)
{
    int status;
    const char *out = output(start_four(local, "", "shared"), &status);

    if (status)
        fail_msg("%s", out);
}

/* Of one that fails, one that is killed, also while MPI hangs in the others, and one that hangs, all at the same time:
 * the others end with one sentence. */
static void one_ends_all(bool local)
{
    static const struct { const char *env, *how, *says; } way[] = {
        { "", "fail", "): row 7 is bad" }, { "", "die", "has died" }, { "", "stuck", "has died" },
        { "GRAM_PEER_TIMEOUT=4", "hang", "gives no sign of life" }, /* a busy machine may be silent for some seconds */
    };
    FILE *f[GR_COUNT(way)];
    double start;
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    start = (double)t.tv_sec;
    for (size_t i = 0; i < GR_COUNT(way); i++)
        f[i] = start_four(local, way[i].env, way[i].how);
    for (size_t i = 0; i < GR_COUNT(way); i++) {
        int status;
        const char *out = output(f[i], &status), *first = strstr(out, "said: process ");
        if (!status || !first || !strstr(first, way[i].says) || strstr(first + 1, "said: "))
            fail_msg("%s: status %d, wanted '%s' once and found:\n%s", way[i].how, status, way[i].says, out);
    }
    clock_gettime(CLOCK_MONOTONIC, &t);
    assert_true((double)t.tv_sec - start < 60);
}

static void four_of_mpirun_pass_the_same_tests(void **state)
{
    (void)state;
    pass_the_same_tests(false);
}

static void four_by_sockets_pass_the_same_tests(void **state)
{
    (void)state;
    pass_the_same_tests(true);
}

static void the_end_of_one_is_the_end_of_all(void **state)
{
    (void)state;
    one_ends_all(false);
}

static void by_sockets_too(void **state)
{
    (void)state;
    one_ends_all(true);
}

/* The first status that is not 0, a signal's included; no such program. */
static void how_they_ended_is_told(void **state)
{
    char *const bad[] = { (char *)(uintptr_t)"sh", (char *)(uintptr_t)"-c",
                          (char *)(uintptr_t)"case $GRAM_PROCESS in 1/*) exit 7 ;; esac", NULL };
    char *const killed[] = { bad[0], bad[1], (char *)(uintptr_t)"[ $GRAM_DEVICE = b ] || kill -TERM $$", NULL };
    static const char *const device[] = { "a", "b" };
    int status;

    (void)state;
    CHECK_OK(gr_dist_run("/bin/sh", bad, NULL, 3, &status, &check_err));
    assert_int_equal(status, 7);
    CHECK_OK(gr_dist_run("/bin/sh", killed, device, 2, &status, &check_err));
    assert_int_equal(status, 128 + SIGTERM);
    CHECK_OK(gr_dist_run("/no/such/program", killed, NULL, 2, &status, &check_err));
    assert_int_equal(status, 127);
    assert_int_equal(gr_dist_run("/bin/sh", bad, NULL, 1, &status, &check_err), GRAM_EARG);
    assert_int_equal(gr_dist_run("/bin/sh", bad, NULL, 17, &status, &check_err), GRAM_EARG);
}

/* Some parents leave SIGCHLD ignored, and then the system tells nobody how a child ended: no wait for ever. */
static void a_parent_that_ignores_its_children(void **state)
{
    char *const bad[] = { (char *)(uintptr_t)"sh", (char *)(uintptr_t)"-c",
                          (char *)(uintptr_t)"case $GRAM_PROCESS in 1/*) exit 7 ;; esac", NULL };
    struct sigaction now;
    int status;

    (void)state;
    signal(SIGCHLD, SIG_IGN);
    alarm(60);
    CHECK_OK(gr_dist_run("/bin/sh", bad, NULL, 2, &status, &check_err));
    alarm(0);
    assert_int_equal(status, 7);
    sigaction(SIGCHLD, NULL, &now);
    assert_true(now.sa_handler == SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
}

static void a_time_that_is_none(void **state)
{
    static const char *const wrong[] = { "30s", "abc", "-1", "nan" };
    char *const shared[] = { (char *)(uintptr_t)self, (char *)(uintptr_t)"shared", NULL };
    int status;

    (void)state;
    for (size_t i = 0; i < GR_COUNT(wrong); i++) {
        setenv("GRAM_PEER_TIMEOUT", wrong[i], 1);
        CHECK_OK(gr_dist_run("/proc/self/exe", shared, NULL, 2, &status, &check_err));
        assert_int_not_equal(status, 0);
    }
    unsetenv("GRAM_PEER_TIMEOUT");
}

static void without_the_library_it_is_said(void **state)
{
    gram_dist *none;

    (void)state;
    assert_false(gr_dist_launched(&rank, &size));
    setenv("PMI_RANK", "1", 1);
    setenv("PMI_SIZE", "4", 1);
    assert_true(gr_dist_launched(&rank, &size) && rank == 1 && size == 4);
    assert_int_equal(gr_dist_open(&none, NULL, NULL, &check_err), GRAM_EUNSUPPORTED);
    assert_true(!none && strstr(check_err.text, "not Open MPI"));
    unsetenv("PMI_RANK");
    unsetenv("PMI_SIZE");
    rank = 0;
    size = 1;
}

int main(int argc, char **argv)
{
    int rc;

    if (argc > 2 && !strcmp(argv[1], "local")) {
        argv[1] = argv[0];
        CHECK_OK(gr_dist_run("/proc/self/exe", argv + 1, NULL, RANKS, &rc, &check_err));
        return rc;
    }
    if (argc > 1)
        mpirun_hold_on();
    CHECK_OK(gr_dist_open(&d, mpirun_say, NULL, &check_err));
    rank = gr_dist_rank(d);
    size = gr_dist_size(d);
    if (size > 1 && strcmp(argv[1], "shared"))
        return end_badly(argv[1]);
    rc = run_shared();
    if (size > 1) {
        gr_dist_close(d);
        return rc;
    }
    self = argv[0];
    dir = check_tmpdir();
    mpirun_env();
    {
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(four_by_sockets_pass_the_same_tests),
            cmocka_unit_test(by_sockets_too),
            cmocka_unit_test(how_they_ended_is_told),
            cmocka_unit_test(a_parent_that_ignores_its_children),
            cmocka_unit_test(a_time_that_is_none),
        };
        rc += cmocka_run_group_tests(tests, NULL, NULL);
    }
    if (!rc && mpirun_missing()) {
        puts("  mpirun is not installed: four processes were not tried");
        return 77;
    }
    {
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(four_of_mpirun_pass_the_same_tests),
            cmocka_unit_test(the_end_of_one_is_the_end_of_all),
            cmocka_unit_test(without_the_library_it_is_said),
        };
        rc += cmocka_run_group_tests(tests, NULL, NULL);
    }
    return rc;
}
