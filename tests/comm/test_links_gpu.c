/* test_links_gpu.c - what goes between the memories of GPUs: the sums and copies of long vectors over what stands for
 * NCCL, in 2 and 4 processes with an emulated GPU each, against numbers that are made here; what keeps processes from
 * it; and a process that dies in the middle. */
#include <signal.h>
#include "comm/comm_int.h"
#include "gpu.h"
#include "mpirun.h"

enum { MOST = 4, PARAMS = 4, BUCKETS = 2 };
static gr_dist *d;
static size_t rank, size;
static gr_device *gpu;

static float value(size_t r, size_t i)
{
    return (float)((double)((i * 2654435761u + r * 40503) % 1000003) * 1e-3 - 500);
}

/* Parameters in float32 and bfloat16, cut where no parameter ends; the last process owns none of the second bucket. */
struct vector { gr_param param[PARAMS]; size_t cut[BUCKETS * MOST + 1], n; gr_vector v; };

static void open_vector(struct vector *u, bool gradients)
{
    static const size_t part[PARAMS] = { 1, 40001, 3, 9995 };
    size_t at = 0;

    memset(u, 0, sizeof *u);
    for (size_t i = 0; i < PARAMS; at += part[i++]) {
        gr_param *p = &u->param[i];
        float *x = malloc(part[i] * sizeof *x);
        *p = (gr_param){ .rows = 1, .cols = part[i], .on = gpu };
        for (size_t k = 0; k < part[i]; k++)
            x[k] = value(rank, at + k);
        p->g = gr_mat_f32(gpu_put(gpu, x, part[i]), part[i]);
        p->w = (gr_mat){ gpu_put(gpu, x, part[i]), part[i], i == 1 ? GR_BF16 : GR_F32 };
        free(x);
    }
    u->n = at;
    for (size_t r = 0; r < size; r++) {
        u->cut[r] = 30000 / size * r;
        u->cut[size + r] = r ? u->n : 30000;
    }
    u->cut[2 * size] = u->n;
    u->v = (gr_vector){ u->param, PARAMS, gradients, u->cut, BUCKETS };
}

static void close_vector(struct vector *u)
{
    for (size_t i = 0; i < PARAMS; i++) {
        gr_device_free(gpu, u->param[i].w.p);
        gr_device_free(gpu, u->param[i].g.p);
    }
}

static bool is_own(const struct vector *u, size_t r, size_t i)
{
    return (i >= u->cut[r] && i < u->cut[r + 1] && i < 30000) || (i >= u->cut[size + r] && i < u->cut[size + r + 1]);
}

/* In chunks that are smaller than a part, and once in one. */
static void gradients_are_added_in_order(void **state)
{
    size_t chunk = d->linked.chunk;

    (void)state;
    for (int whole = 0; whole < 2; whole++) {
        struct vector u;
        float *got;
        open_vector(&u, true);
        got = malloc(u.n * sizeof *got);
        d->linked.chunk = whole ? chunk : 4096;
        CHECK_OK(gr_dist_reduce_scatter(d, &u.v, &check_err));
        gr_vector_get(&u.v, 0, u.n, got);
        for (size_t i = 0; i < u.n; i++) {
            float want = value(0, i);
            for (size_t p = 1; p < size; p++)
                want += value(p, i);
            if (got[i] != (is_own(&u, rank, i) ? want : value(rank, i)))
                fail_msg("value %zu is %.9g in process %zu", i, got[i], rank);
        }
        free(got);
        close_vector(&u);
    }
    d->linked.chunk = chunk;
}

/* Half of which are bfloat16, and travel as such. */
static void values_of_owners_reach_all(void **state)
{
    struct vector u;
    float *x;

    (void)state;
    open_vector(&u, false);
    x = malloc(u.n * sizeof *x);
    for (size_t i = 0; i < u.n; i++)
        x[i] = is_own(&u, rank, i) ? (float)(i % 251) : -1;         /* which bfloat16 holds */
    gr_vector_put(&u.v, 0, u.n, x);
    d->linked.chunk = 4096;
    CHECK_OK(gr_dist_all_gather(d, &u.v, &check_err));
    gr_vector_get(&u.v, 0, u.n, x);
    for (size_t i = 0; i < u.n; i++)
        if (x[i] != (float)(i % 251))
            fail_msg("value %zu is %.9g in process %zu", i, x[i], rank);
    free(x);
    close_vector(&u);
}

/* ---- Processes ------------------------------------------------------------------------------------- */

/* A run's end while the others wait for what this one has to send. */
static int end_badly(void)
{
    struct vector u;
    gram_err err = { 0 };
    gram_status rc = GRAM_OK;

    open_vector(&u, true);
    for (size_t i = 0; !rc; i++) {
        if (rank == 1 && i == 2)
            raise(SIGKILL);
        rc = gr_dist_reduce_scatter(d, &u.v, &err);
    }
    if (gr_dist_speaks(d))
        mpirun_say(NULL, &err);
    gr_dist_unlink(d);
    gr_dist_close(d);
    return 1;
}

static int take_part(const char *how)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_are_added_in_order),
        cmocka_unit_test(values_of_owners_reach_all),
    };
    gram_err why;
    int rc;

    mpirun_hold_on();
    CHECK_OK(gr_dist_open(&d, mpirun_say, NULL, &check_err));
    rank = gr_dist_rank(d);
    size = gr_dist_size(d);
    CHECK_OK(gr_device_open(&gpu, NULL, 0, &check_err));
    CHECK_OK(gr_dist_link(d, gpu, &why, &check_err));
    if (!d->linked.device) {
        if (rank == 0)
            printf("by hosts: %s\n", why.text);
    } else if (!strcmp(how, "die")) {
        return end_badly();
    }
    rc = d->linked.device ? cmocka_run_group_tests(tests, NULL, NULL) : 3;
    gr_dist_unlink(d);
    gr_dist_close(d);
    gr_device_close(gpu);
    return rc;
}

/* ---- The program that `make test` starts ------------------------------------------------------------- */

static const char *self;

static char *output(const char *env, const char *args, int *status)
{
    static char out[1 << 16];
    char command[1000];
    FILE *f;
    size_t n;

    snprintf(command, sizeof command, "%s '%s' %s 2>&1", env, self, args);
    f = popen(command, "r");
    assert_non_null(f);
    n = fread(out, 1, sizeof out - 1, f);
    out[n] = '\0';
    *status = mpirun_status(pclose(f));
    return out;
}

static void two_and_four_processes_add_alike(void **state)
{
    (void)state;
    for (int n = 2; n <= MOST; n += 2) {
        char args[20];
        int status;
        const char *out;
        snprintf(args, sizeof args, "%d share", n);
        out = output("EMU_DEVICES=4 EMU_LAZY=1", args, &status);
        if (status)
            fail_msg("%d processes: %s", n, out);
    }
}

static void a_process_that_dies_ends_the_others(void **state)
{
    int status;
    const char *out = output("EMU_DEVICES=4 EMU_LAZY=1", "3 die", &status);
    const char *first = strstr(out, "said: process 1 of 3");

    (void)state;
    if (!status || !first || !strstr(first, "has died") || strstr(first + 1, "said: "))
        fail_msg("status %d: %s", status, out);
}

/* One GPU for two, and a machine without NCCL: the hosts carry it, and it is said why. */
static void what_keeps_them_from_it_is_said(void **state)
{
    const char *there = getenv("GRAM_CUDA_PATH");
    char env[600], *out;
    int status;

    (void)state;
    out = output("EMU_DEVICES=1", "2 same", &status);
    if (status != 3 || !strstr(out, "by hosts: processes 0 and 1 compute on the same GPU of "))
        fail_msg("status %d: %s", status, out);
    snprintf(env, sizeof env, "cd '%s' && ln -s '%s'/libgram-cuda.so '%s'/libemu.so '%s'/libcublasLt.so.13 . && cd - "
             ">/dev/null && echo none >'%s/libnccl.so.2'", check_tmpdir(), there, there, there, check_tmpdir());
    assert_int_equal(system(env), 0);
    snprintf(env, sizeof env, "EMU_DEVICES=2 GRAM_CUDA_PATH='%s'", check_tmpdir());
    out = output(env, "2 share", &status);
    if (status != 3 || !strstr(out, "by hosts: libnccl.so.2 cannot be used: "))
        fail_msg("status %d: %s", status, out);
}

static int start(int n, const char *how)
{
    static const char *const device[] = { "cuda:0", "cuda:1", "cuda:2", "cuda:3" };
    static const char *const same[] = { "cuda:0", "cuda:0" };
    char *const argv[] = { (char *)(uintptr_t)"test_links_gpu", (char *)(uintptr_t)how, NULL };
    int status;

    CHECK_OK(gr_dist_run("/proc/self/exe", argv, strcmp(how, "same") ? device : same, (size_t)n, &status, &check_err));
    return status;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_and_four_processes_add_alike),
        cmocka_unit_test(a_process_that_dies_ends_the_others),
        cmocka_unit_test(what_keeps_them_from_it_is_said),
    };

    gpu_set_up();
    if (argc > 2)
        return start(atoi(argv[1]), argv[2]);
    if (argc > 1 && *argv[1])
        return take_part(argv[1]);
    self = argv[0];
    mpirun_env();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
