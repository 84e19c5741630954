/* heartbeat.c - two threads in each process that know within seconds when another can no longer be waited for.
 *
 *     watch   every tenth of a second     is each process of this machine still there?
 *     talk    every second                process 0 says to each that it lives, and each to process 0
 *             at once                     who fails, or sees one that is gone, tells all
 *
 * The first finds a process that was killed, the second one that hangs or whose machine is gone. mpirun too notices a
 * death and ends the others, after the second or two in which the sentence is said. The first never calls MPI: the
 * call that finds the connection to a dead process closed may not come back, since Open MPI reports that to mpirun and
 * waits for an answer, and mpirun answers no one while it ends the others. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/clock.h"
#include "base/err.h"
#include "comm/comm_int.h"

#define TICK_NS  100000000L
#define HEARD    0.5            /* seconds in which what was told is heard */
#define SILENCE  30             /* seconds, where GRAM_PEER_TIMEOUT does not say */
#define GOODBYE  300            /* seconds that a failed run waits for the others to come to its end */

void gr_watch_failed(gr_dist *d, size_t about, bool dead, const gram_err *why)
{
    if (atomic_flag_test_and_set(&d->failing))
        return;
    d->about = about;
    d->dead = dead;
    d->why = *why;
    d->failed = true;
}

static void gone(gr_dist *d, size_t rank, const char *how)
{
    const struct gr_process *p = &d->process[rank];
    gram_err why;

    gr_fail(&why, GRAM_EIO, "process %zu of %zu (%lld on %s) %s", rank, d->size, (long long)p->pid, p->host, how);
    gr_watch_failed(d, rank, true, &why);
    if (!d->mpi.library)
        kill((pid_t)p->pid, SIGKILL);       /* what hangs, as mpirun would */
}

/* Whether an exchange with MPI is over; one that failed will never be more so. */
static bool done(gr_dist *d, gr_mpi_handle *request)
{
    int flag = 1;

    return *request == d->mpi.null_request || d->mpi.test(request, &flag, NULL) || flag;
}

static void listen(gr_dist *d)
{
    if (d->mpi.irecv(&d->heard, sizeof d->heard, d->mpi.byte, GR_MPI_ANY, GR_TAG_WATCH, d->comm, &d->hearing))
        d->hearing = d->mpi.null_request;
}

/* What a process says of itself gets its name; what it says of another has one. */
static void hear(gr_dist *d, const struct gr_news *n, size_t from)
{
    gram_err why = n->why;

    d->peer[from].seen = gr_now();
    if (n->what == GR_CLOSING)
        d->peer[from].closing = true;
    if (n->what != GR_FAILED)
        return;
    if ((size_t)n->about == from)
        gr_fail(&why, n->why.status, "process %zu of %zu (on %s): %s", from, d->size, d->process[from].host,
                n->why.text);
    gr_watch_failed(d, (size_t)n->about, (size_t)n->about != from, &why);
}

static void hear_all(gr_dist *d)
{
    while (d->hearing != d->mpi.null_request && done(d, &d->hearing)) {
        if (d->heard.from >= 0 && (size_t)d->heard.from < d->size)
            hear(d, &d->heard, (size_t)d->heard.from);
        listen(d);
    }
}

static void tell(gr_dist *d, size_t to, int what)
{
    struct gr_peer *p = &d->peer[to];

    p->said = (struct gr_news){ .what = what, .from = (int32_t)d->rank, .about = (int32_t)d->about };
    if (what == GR_FAILED)
        p->said.why = d->why;
    if (d->mpi.isend(&p->said, sizeof p->said, d->mpi.byte, (int)to, GR_TAG_WATCH, d->comm, &p->saying))
        p->saying = d->mpi.null_request;
}

static void tell_all(gr_dist *d, double now)
{
    bool beat = now - d->told >= 1;

    for (size_t i = 0; i < d->size; i++) {
        struct gr_peer *p = &d->peer[i];
        if (i == d->rank || !done(d, &p->saying))
            continue;
        if (d->failed && !p->told_failed) {
            p->told_failed = true;
            tell(d, i, GR_FAILED);
        } else if (d->leaving && !p->told_closing) {
            p->told_closing = true;
            tell(d, i, GR_CLOSING);
        } else if (beat && (i == 0 || d->rank == 0)) {
            tell(d, i, GR_ALIVE);
        }
    }
    if (beat)
        d->told = now;
}

/* A process that was killed has its number until mpirun looks at it, which may be after it has ended all others. */
static bool has_died(pid_t pid)
{
    char path[32], text[512], *state;
    FILE *f;
    size_t n;

    if (kill(pid, 0) && errno == ESRCH)
        return true;
    snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
    f = fopen(path, "re");
    if (!f)
        return false;
    n = fread(text, 1, sizeof text - 1, f);
    text[n] = '\0';
    fclose(f);
    state = strrchr(text, ')');             /* after the name of the program, which may hold anything */
    return state && (!strncmp(state, ") Z", 3) || !strncmp(state, ") X", 3));
}

/* Whether process i has died and said nothing of an end: what it sent before may still have to be heard, unless the
 * other thread is in MPI for good. */
static bool is_gone(gr_dist *d, size_t i, double now)
{
    struct gr_peer *p = &d->peer[i];

    if (!has_died((pid_t)d->process[i].pid))
        return false;
    if (p->died == 0) {
        p->died = now;
        p->talks = d->talks;
    }
    return d->talks - p->talks > 1 || now - p->died > HEARD;
}

static void look(gr_dist *d, double now)
{
    for (size_t i = 0; i < d->size && !d->failed; i++) {
        bool near = d->process[i].machine == d->process[d->rank].machine;
        if (i == d->rank || d->peer[i].closing)
            continue;
        if (near && is_gone(d, i, now))
            gone(d, i, "has died");
        else if (d->silence > 0 && (i == 0 || d->rank == 0) && now - d->peer[i].seen > d->silence)
            gone(d, i, "gives no sign of life");
    }
}

/* What the other thread waits for when it closes. */
static void sum_up(gr_dist *d)
{
    bool together = d->leaving, told = d->failed;

    for (size_t i = 0; i < d->size; i++) {
        struct gr_peer *p = &d->peer[i];
        if (i == d->rank)
            continue;
        together = together && p->closing && p->told_closing && done(d, &p->saying);
        told = told && (i == d->about || (p->told_failed && done(d, &p->saying)));
    }
    d->all_told = told;
    d->together = together;
}

static void *watch(void *arg)
{
    const struct timespec tick = { 0, TICK_NS };
    gr_dist *d = arg;
    bool called = false;

    while (!d->quit) {
        look(d, gr_now());
        if (d->failed && d->dead && !called && d->on_death && gr_dist_speaks(d)) {
            called = true;
            d->on_death(d->arg, &d->why);
        }
        nanosleep(&tick, NULL);
    }
    return NULL;
}

static void *talk(void *arg)
{
    gr_dist *d = arg;

    while (!d->quit) {
        const struct timespec tick = { 0, d->leaving ? TICK_NS / 20 : TICK_NS };
        if (gr_dist_lock(d)) {
            hear_all(d);
            tell_all(d, gr_now());
            sum_up(d);
            d->talks++;
            pthread_mutex_unlock(&d->lock);
        }
        nanosleep(&tick, NULL);
    }
    return NULL;
}

/* A word that is no number would mean 0, and nobody would be given up. */
static gram_status read_silence(double *out, gram_err *err)
{
    const char *seconds = getenv("GRAM_PEER_TIMEOUT");
    char *end;

    *out = SILENCE;
    if (!seconds || !*seconds)
        return GRAM_OK;
    *out = strtod(seconds, &end);
    return end > seconds && !*end && *out >= 0
         ? GRAM_OK : gr_fail(err, GRAM_EARG, "GRAM_PEER_TIMEOUT: wanted seconds, 0 or more, found \"%s\"", seconds);
}

gram_status gr_watch_open(gr_dist *d, gram_err *err)
{
    sigset_t all, was;
    int rc;

    if (read_silence(&d->silence, err))
        return GRAM_EARG;
    for (size_t i = 0; i < d->size; i++)
        d->peer[i].saying = d->mpi.null_request, d->peer[i].seen = gr_now();
    listen(d);
    sigfillset(&all);                       /* signals are for the caller's thread */
    pthread_sigmask(SIG_SETMASK, &all, &was);
    rc = pthread_create(&d->talk, NULL, talk, d);
    if (!rc && (rc = pthread_create(&d->watch, NULL, watch, d)) != 0) {
        d->quit = true;
        pthread_join(d->talk, NULL);
    }
    d->watching = rc == 0;
    pthread_sigmask(SIG_SETMASK, &was, NULL);
    return rc ? gr_fail(err, GRAM_ENOMEM, "the threads that watch the other processes were not started") : GRAM_OK;
}

/* With a process gone, the others are told and have time to hear it, and the one that says it to people goes first:
 * when one more ends, mpirun ends them all at once. */
bool gr_watch_close(gr_dist *d)
{
    const struct timespec tick = { 0, TICK_NS / 20 };
    double start = gr_now(), spent = 0;

    d->leaving = true;
    while (!d->together && !(d->failed && spent > GOODBYE) &&
           !(d->failed && d->dead && spent > (d->all_told && gr_dist_speaks(d) ? HEARD : 2 * HEARD))) {
        nanosleep(&tick, NULL);
        spent = gr_now() - start;
    }
    d->quit = true;
    pthread_join(d->watch, NULL);
    if (d->together) {
        pthread_join(d->talk, NULL);
    } else {
        const struct timespec until = gr_dist_until(GR_SECOND_NS);
        pthread_timedjoin_np(d->talk, NULL, &until);    /* it may be in MPI for good */
    }
    d->watching = false;
    return d->together;
}
