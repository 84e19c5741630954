/* nccl.c - what stands in for NCCL: sends and receives between processes of one machine, over sockets in no file
 * system.
 *
 * Like the real one with a communicator that never waits: what was begun is under way only when it was asked for and
 * says so; what is exchanged comes to its turn in its stream, and does not end while a process is missing, until it is
 * aborted. Sizes that do not meet, memory of the host and a communicator that is used too early end the program with a
 * sentence, or are refused. It is compiled without sanitizers. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "cuda/nccl.h"

enum { MOST = 64, SLOW = 2 };                   /* SLOW: how often what was begun is "in progress" */

struct ncclComm { int rank, size, listener, fd[MOST], slow; ncclUniqueId id; bool ready, aborted; };
struct parcel { struct parcel *next; char *p; size_t bytes, done; uint64_t head; };
struct exchange { ncclComm_t comm; struct parcel *out[MOST], *in[MOST]; };

static struct { int depth; ncclComm_t comm; cudaStream_t stream; struct exchange *x; ncclResult_t failed; } group;

static void refuse(const char *what)
{
    fprintf(stderr, "NCCL stand-in: %s\n", what);
    _Exit(95);
}

static void *taken(size_t bytes)
{
    void *p = calloc(1, bytes);

    if (!p)
        refuse("out of memory");
    return p;
}

const char *ncclGetErrorString(ncclResult_t r)
{
    return r == ncclSuccess ? "no error" : r == ncclInvalidUsage ? "invalid usage" : r == ncclInvalidArgument ?
           "invalid argument" : r == ncclSystemError ? "unhandled system error" : "error";
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
    unsigned long long random;

    if (getrandom(&random, sizeof random, 0) != sizeof random)
        return ncclSystemError;
    memset(id, 0, sizeof *id);
    snprintf(id->internal, sizeof id->internal, "emu-nccl-%llx", random);
    return ncclSuccess;
}

/* ---- Meeting --------------------------------------------------------------------------------------- */

/* Names that begin with a zero are in no file system. */
static socklen_t address(struct sockaddr_un *a, const ncclUniqueId *id, int rank)
{
    *a = (struct sockaddr_un){ .sun_family = AF_UNIX };
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
                       (size_t)snprintf(a->sun_path + 1, sizeof a->sun_path - 1, "%.60s-%d", id->internal, rank));
}

static void look_for(ncclComm_t c, int peer)
{
    struct sockaddr_un a;
    socklen_t n = address(&a, &c->id, peer);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd >= 0 && !connect(fd, (struct sockaddr *)&a, n) && send(fd, &c->rank, sizeof c->rank, MSG_NOSIGNAL) > 0)
        c->fd[peer] = fd;
    else if (fd >= 0)
        close(fd);
}

static void meet(ncclComm_t c)
{
    int fd, peer, there = 0;

    for (int p = 0; p < c->rank; p++)
        if (c->fd[p] < 0)
            look_for(c, p);
    while ((fd = accept4(c->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        if (recv(fd, &peer, sizeof peer, MSG_WAITALL) != sizeof peer || peer <= c->rank || peer >= c->size)
            refuse("a process that is none of these");
        c->fd[peer] = fd;
    }
    for (int p = 0; p < c->size; p++)
        there += p != c->rank && c->fd[p] >= 0;
    c->ready = there == c->size - 1;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *comm, int size, ncclUniqueId id, int rank, ncclConfig_t *config)
{
    ncclComm_t c = taken(sizeof *c);
    struct sockaddr_un a;
    socklen_t n = address(&a, &id, rank);

    if (config->magic != 0xcafebeef || config->blocking != 0 || config->version < 21400)
        refuse("wanted a communicator that does not wait");
    if (size > MOST || rank < 0 || rank >= size)
        return ncclInvalidArgument;
    *c = (struct ncclComm){ .rank = rank, .size = size, .id = id, .slow = SLOW,
                            .listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) };
    for (int p = 0; p < MOST; p++)
        c->fd[p] = -1;
    if (c->listener < 0 || bind(c->listener, (struct sockaddr *)&a, n) || listen(c->listener, MOST))
        return ncclSystemError;
    *comm = c;
    return ncclInProgress;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t c, ncclResult_t *error)
{
    if (!c->ready)
        meet(c);
    else if (c->slow > 0)
        c->slow--;
    *error = c->ready && c->slow == 0 ? ncclSuccess : ncclInProgress;
    return ncclSuccess;
}

/* What is under way may still look at it. */
ncclResult_t ncclCommAbort(ncclComm_t c)
{
    c->aborted = true;
    close(c->listener);
    for (int p = 0; p < c->size; p++)
        if (c->fd[p] >= 0)
            close(c->fd[p]);
    return ncclSuccess;
}

/* ---- Parcels --------------------------------------------------------------------------------------- */

/* The head of a parcel is its size. False: it is not over. */
static bool move_on(int fd, struct parcel *p, bool sends)
{
    while (p->done < sizeof p->head + p->bytes) {
        bool head = p->done < sizeof p->head;
        char *at = head ? (char *)&p->head + p->done : p->p + (p->done - sizeof p->head);
        size_t n = head ? sizeof p->head - p->done : p->bytes - (p->done - sizeof p->head);
        ssize_t moved = sends ? send(fd, at, n, MSG_DONTWAIT | MSG_NOSIGNAL) : recv(fd, at, n, MSG_DONTWAIT);
        if (moved <= 0)
            return false;
        p->done += (size_t)moved;
        if (p->done == sizeof p->head && p->head != p->bytes)
            refuse("what is sent has another size than what is received");
    }
    return true;
}

static bool move_all(int fd, struct parcel **list, bool sends)
{
    while (*list && move_on(fd, *list, sends)) {
        struct parcel *over = *list;
        *list = over->next;
        free(over);
    }
    return !*list;
}

static int run(void *arg)
{
    struct exchange *x = arg;
    bool over = true;

    for (int p = 0; p < x->comm->size && !x->comm->aborted; p++) {
        over = move_all(x->comm->fd[p], &x->out[p], true) && over;
        over = move_all(x->comm->fd[p], &x->in[p], false) && over;
    }
    if (over && !x->comm->aborted)
        free(x);
    return over || x->comm->aborted;
}

static ncclResult_t add(bool sends, void *p, size_t n, int peer, ncclComm_t c, cudaStream_t stream)
{
    struct parcel **list, *one;

    if (!c->ready || c->slow > 0 || !group.depth || peer < 0 || peer >= c->size || peer == c->rank)
        return group.failed = ncclInvalidUsage;
    if (!emu_inside(p, n))
        refuse("a parcel that is not in one buffer of device memory");
    if (!group.x) {
        group.x = taken(sizeof *group.x);
        group.x->comm = group.comm = c;
        group.stream = stream;
    }
    if (group.stream != stream || group.comm != c)
        refuse("a group of two streams");
    one = taken(sizeof *one);
    *one = (struct parcel){ NULL, p, n, 0, sends ? n : 0 };
    for (list = sends ? &group.x->out[peer] : &group.x->in[peer]; *list; list = &(*list)->next)
        ;
    *list = one;
    return ncclSuccess;
}

ncclResult_t ncclSend(const void *p, size_t n, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t stream)
{
    (void)type;
    return add(true, (void *)(uintptr_t)p, n, peer, comm, stream);
}

ncclResult_t ncclRecv(void *p, size_t n, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t stream)
{
    (void)type;
    return add(false, p, n, peer, comm, stream);
}

ncclResult_t ncclGroupStart(void)
{
    if (group.depth++ == 0)
        group.failed = ncclSuccess;
    return ncclSuccess;
}

ncclResult_t ncclGroupEnd(void)
{
    struct exchange *x = group.x;

    if (--group.depth)
        return ncclSuccess;
    group.x = NULL;
    if (group.failed || !x)
        return group.failed;
    x->comm->slow = SLOW;
    emu_enqueue_until(group.stream, run, x);
    return ncclInProgress;
}
