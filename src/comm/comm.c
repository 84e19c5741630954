/* comm.c - see comm.h.
 *
 * All is made of one thing: everyone sends a block to everyone, or to some, and waits until what is meant for it has
 * come. Blocks are copied, so that when a process is gone no memory of the caller's is waited for. */
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/limits.h"
#include "comm/comm_int.h"

#define STAGE ((size_t)1 << 20)         /* floats that one process receives at a time, from all the others together */
#define LEFT  5                         /* seconds after which one that is closing will not send any more */

size_t gr_dist_rank(const gr_dist *d)
{
    return d ? d->rank : 0;
}

size_t gr_dist_size(const gr_dist *d)
{
    return d ? d->size : 1;
}

bool gr_dist_speaks(const gr_dist *d)
{
    return !d || d->rank == (d->failed && d->dead && d->about == 0);
}

static size_t count_processes(const gr_dist *d, bool same_cores)
{
    const struct gr_process *me = &d->process[d->rank];
    size_t n = 0;

    for (size_t i = 0; i < d->size; i++)
        n += d->process[i].machine == me->machine && (!same_cores || d->process[i].cores == me->cores);
    return n;
}

size_t gr_dist_on_host(const gr_dist *d)
{
    return d ? count_processes(d, false) : 1;
}

size_t gr_dist_threads(const gr_dist *d)
{
    return d ? gr_max(gr_cores() / count_processes(d, true), 1) : 0;
}

uint64_t gr_dist_bytes(const gr_dist *d)
{
    return d ? 2 * (uint64_t)d->size * d->chunk * sizeof *d->in : 0;
}

/* ---- Failing --------------------------------------------------------------------------------------- */

gram_status gr_dist_check(gr_dist *d, gram_err *err)
{
    if (!d || !d->failed)
        return GRAM_OK;
    return gr_fail(err, d->why.status, "%s", d->why.text);
}

void gr_dist_fail(gr_dist *d, const gram_err *why)
{
    if (d)
        gr_watch_failed(d, d->rank, false, why);
}

/* ---- Exchanges -------------------------------------------------------------------------------------- */

struct timespec gr_dist_until(long ns)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += ns;
    until.tv_sec += until.tv_nsec / GR_SECOND_NS;
    until.tv_nsec %= GR_SECOND_NS;
    return until;
}

bool gr_dist_lock(gr_dist *d)
{
    const struct timespec until = gr_dist_until(GR_SECOND_NS / 10);

    return pthread_mutex_timedlock(&d->lock, &until) == 0;
}

/* Who has left while something is still awaited of it; the size where none has. */
static size_t who_left(const gr_dist *d)
{
    size_t who = 0;

    while (who < d->size && !d->peer[who].closing)
        who++;
    return who;
}

gram_status gr_dist_broken(gr_dist *d, const gram_err *why, gram_err *err)
{
    const struct timespec pause = { 0, 10000000 };

    for (int i = 0; i < 100 && d->watching && !d->failed; i++)
        nanosleep(&pause, NULL);
    gr_dist_fail(d, why);
    return gr_dist_check(d, err);
}

static gram_status broken(gr_dist *d, const char *call, int code, gram_err *err)
{
    gram_err why;

    gr_mpi_failed(&d->mpi, call, code, &why);
    return gr_dist_broken(d, &why, err);
}

/* Whether the first n requests are over, without waiting. */
static gram_status test_all(gr_dist *d, size_t n, bool *over, gram_err *err)
{
    int code = 0, flag = 1;

    *over = false;
    if (!gr_dist_lock(d))
        return GRAM_OK;
    for (size_t i = 0; i < n && flag && !code; i++)
        if (d->request[i] != d->mpi.null_request)
            code = d->mpi.test(&d->request[i], &flag, NULL);
    pthread_mutex_unlock(&d->lock);
    *over = flag;
    return code ? broken(d, "MPI_Test", code, err) : GRAM_OK;
}

/* First it looks again and again, then it leaves the core to others. */
gram_status gr_dist_settle(gr_dist *d, size_t n, gram_err *err)
{
    const struct timespec pause = { 0, 50000 };
    double start = gr_now();
    gram_status rc = GRAM_OK;
    bool over = false;

    for (size_t i = 0; !over && !rc; i++) {
        rc = gr_dist_check(d, err);
        if (!rc)
            rc = test_all(d, n, &over, err);
        if (over || rc)
            break;
        if (i < 1000)
            sched_yield();
        else
            nanosleep(&pause, NULL);
        if (i % 1000 == 999 && gr_now() - start > LEFT && d->watching) {
            size_t who = who_left(d);
            if (who < d->size)
                rc = gr_fail(err, GRAM_EIO, "process %zu of %zu (on %s) has left the run", who, d->size,
                             d->process[who].host);
        }
    }
    return rc;
}

/* MPI counts bytes in an int. */
static gram_status check_count(size_t bytes, gram_err *err)
{
    return bytes <= INT_MAX ? GRAM_OK : gr_fail(err, GRAM_ELIMIT, "%zu bytes for another process: at most %d go in one "
                                                "message", bytes, INT_MAX);
}

gram_status gr_dist_post(gr_dist *d, size_t at, bool sends, size_t peer, void *p, size_t bytes, gram_err *err)
{
    gram_status rc = check_count(bytes, err);
    int code;

    while (!rc && !gr_dist_lock(d))
        rc = gr_dist_check(d, err);
    if (rc)
        return rc;
    d->request[at] = d->mpi.null_request;
    code = sends ? d->mpi.isend(p, (int)bytes, d->mpi.byte, (int)peer, GR_TAG_DATA, d->comm, &d->request[at])
                 : d->mpi.irecv(p, (int)bytes, d->mpi.byte, (int)peer, GR_TAG_DATA, d->comm, &d->request[at]);
    pthread_mutex_unlock(&d->lock);
    return code ? broken(d, sends ? "MPI_Isend" : "MPI_Irecv", code, err) : GRAM_OK;
}

gram_status gr_dist_all(gr_dist *d, const void *mine, void *all, size_t bytes, gram_err *err)
{
    size_t size = gr_dist_size(d), n = 0;
    unsigned char *block;
    gram_status rc = GRAM_OK;

    if (!d) {
        memmove(all, mine, bytes);
        return GRAM_OK;
    }
    rc = check_count(bytes, err);
    if (rc)
        return rc;
    block = gr_calloc(size, bytes);
    if (!block)
        return gr_nomem(err, "processes");
    memcpy(block + d->rank * bytes, mine, bytes);
    for (size_t p = 0; p < size && !rc; p++)
        if (p != d->rank)
            rc = gr_dist_post(d, n++, false, p, block + p * bytes, bytes, err);
    for (size_t p = 0; p < size && !rc; p++)
        if (p != d->rank)
            rc = gr_dist_post(d, n++, true, p, block + d->rank * bytes, bytes, err);
    if (!rc)
        rc = gr_dist_settle(d, n, err);
    if (rc)
        return rc;                      /* the block is still MPI's, and lost with the run */
    memcpy(all, block, size * bytes);
    free(block);
    return GRAM_OK;
}

gram_status gr_dist_barrier(gr_dist *d, gram_err *err)
{
    char x = 0;

    return gr_dist_broadcast(d, &x, 1, err);
}

gram_status gr_dist_sum(gr_dist *d, double *x, size_t n, gram_err *err)
{
    size_t size = gr_dist_size(d);
    double *all = size == 1 ? NULL : gr_calloc(size * n, sizeof *all);
    gram_status rc;

    if (size == 1)
        return GRAM_OK;
    if (!all)
        return gr_nomem(err, "processes");
    rc = gr_dist_all(d, x, all, n * sizeof *x, err);
    for (size_t i = 0; i < n && !rc; i++) {
        x[i] = all[i];
        for (size_t p = 1; p < size; p++)
            x[i] += all[p * n + i];
    }
    free(all);
    return rc;
}

gram_status gr_dist_broadcast(gr_dist *d, void *x, size_t bytes, gram_err *err)
{
    char *all = gr_dist_size(d) == 1 ? NULL : gr_calloc(d->size, bytes);
    gram_status rc;

    if (gr_dist_size(d) == 1)
        return GRAM_OK;
    rc = all ? gr_dist_all(d, x, all, bytes, err) : gr_nomem(err, "processes");
    if (!rc)
        memcpy(x, all, bytes);
    free(all);
    return rc;
}

gram_status gr_dist_same(gr_dist *d, const char *what, uint64_t digest, gram_err *err)
{
    size_t size = gr_dist_size(d);
    uint64_t *all = size == 1 ? NULL : gr_calloc(size, sizeof *all);
    gram_status rc;

    if (size == 1)
        return GRAM_OK;
    rc = all ? gr_dist_all(d, &digest, all, sizeof digest, err) : gr_nomem(err, "processes");
    for (size_t p = 1; p < size && !rc; p++)
        if (all[p] != all[0])
            rc = gr_fail(err, GRAM_EARG, "process %zu of %zu (on %s) has other %s than process 0 (on %s)", p, size,
                         d->process[p].host, what, d->process[0].host);
    free(all);
    return rc;
}

/* ---- Opening and closing ----------------------------------------------------------------------------- */

/* A machine is a host's name and a name space of process numbers: a container has its own. */
static void introduce(struct gr_process *me)
{
    struct stat st;
    cpu_set_t cores;

    *me = (struct gr_process){ .pid = getpid() };
    if (gethostname(me->host, sizeof me->host - 1))
        strcpy(me->host, "?");
    me->machine = gr_digest(GR_DIGEST, me->host, strlen(me->host));
    if (stat("/proc/self/ns/pid", &st) == 0)
        me->machine = gr_digest(me->machine, &st.st_ino, sizeof st.st_ino);
    CPU_ZERO(&cores);
    if (sched_getaffinity(0, sizeof cores, &cores) == 0)
        me->cores = gr_digest(GR_DIGEST, &cores, sizeof cores);
}

/* The callers may have started MPI themselves; then they also end it. */
static gram_status start_mpi(gr_dist *d, gram_err *err)
{
    const struct gr_mpi *m = &d->mpi;
    int running = 0, over = 0, level = 0, rank = 0, size = 0, code;

    m->initialized(&running);
    m->finalized(&over);
    if (over)
        return gr_fail(err, GRAM_EARG, "the processes were joined and left before; MPI does that once");
    code = running ? m->query_thread(&level) : m->init_thread(NULL, NULL, GR_MPI_SERIALIZED, &level);
    if (code)
        return gr_fail(err, GRAM_EIO, "MPI: MPI_Init_thread failed");
    d->started = !running;
    if (level < GR_MPI_SERIALIZED)
        return gr_fail(err, GRAM_EUNSUPPORTED, "MPI was started for one thread alone, and its calls come from two");
    code = m->comm_dup(m->world, &d->comm);
    if (!code)
        code = m->comm_set_errhandler(d->comm, m->errors_return);
    if (!code)
        code = m->comm_rank(d->comm, &rank);
    if (!code)
        code = m->comm_size(d->comm, &size);
    if (code)
        return gr_mpi_failed(m, "MPI_Comm_dup", code, err);
    gr_dist_launched(&d->rank, &d->size);
    if ((size_t)size != d->size || (size_t)rank != d->rank)
        return gr_fail(err, GRAM_EUNSUPPORTED, "mpirun says that this is process %zu of %zu, and Open MPI finds that "
                       "it is %d of %d: it was started by the mpirun of another MPI, or by none", d->rank, d->size,
                       rank, size);
    return GRAM_OK;
}

static gram_status start(gr_dist *d, gram_err *err)
{
    bool local = gr_local_launched(&d->rank, &d->size);
    gram_status rc = local ? gr_local_load(&d->mpi, err) : gr_mpi_load(&d->mpi, err);

    if (rc)
        return rc;
    if (!local)
        return start_mpi(d, err);
    d->started = true;
    d->comm = d;                            /* which MPI's handle would be, and says that something is open */
    return GRAM_OK;
}

static gram_status meet(gr_dist *d, gram_err *err)
{
    struct gr_process me;

    d->chunk = gr_max(STAGE / d->size, 1 << 14);
    d->process = gr_calloc(d->size, sizeof *d->process);
    d->peer = gr_calloc(d->size, sizeof *d->peer);
    d->request = gr_calloc(2 * d->size, sizeof *d->request);
    d->in = gr_alloc_aligned(d->size * d->chunk, sizeof *d->in);
    d->out = gr_alloc_aligned(d->size * d->chunk, sizeof *d->out);
    if (!d->process || !d->peer || !d->request || !d->in || !d->out)
        return gr_nomem(err, "processes");
    introduce(&me);
    return gr_dist_all(d, &me, d->process, sizeof me, err);
}

gram_status gr_dist_open(gr_dist **out, gram_dist_fn *on_death, void *arg, gram_err *err)
{
    size_t rank, size;
    gr_dist *d;
    gram_status rc;

    *out = NULL;
    if (!gr_dist_launched(&rank, &size))
        return GRAM_OK;
    d = gr_calloc(1, sizeof *d);
    if (!d)
        return gr_nomem(err, "processes");
    pthread_mutex_init(&d->lock, NULL);
    atomic_flag_clear(&d->failing);
    d->on_death = on_death;
    d->arg = arg;
    rc = start(d, err);
    if (!rc)
        rc = meet(d, err);
    if (!rc)
        rc = gr_watch_open(d, err);
    if (rc) {
        gr_dist_close(d);
        return rc;
    }
    *out = d;
    return GRAM_OK;
}

static void clear(gr_dist *d)
{
    free(d->in);
    free(d->out);
    free(d->request);
    free(d->peer);
    free(d->process);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

/* After a failure MPI may still write to what it was given, and with a process gone it cannot be ended. */
void gr_dist_close(gr_dist *d)
{
    bool together;

    if (!d)
        return;
    together = d->watching && gr_watch_close(d);
    if (together)
        d->mpi.cancel(&d->hearing);
    if (together && d->started)
        d->mpi.finalize();
    if (!d->comm || (together && !d->failed))
        clear(d);
}
