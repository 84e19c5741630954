/* local.c - what Open MPI does, between processes of one machine that gram_dist_run() started: each two of them have a
 * socket, which they inherit. The functions are those of mpi.c's table and keep to MPI's rules.
 *
 *     | head: tag, bytes | bytes |
 *
 * Messages of two processes arrive in order. One that nobody has asked for yet is kept. Nothing waits: a test of any
 * request moves all of them on. Calls come from two threads, one at a time. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/err.h"
#include "comm/comm_int.h"

enum { BROKEN = 1 };                        /* the one failure: a connection is closed */

struct head { int32_t tag, bytes; };

/* Something to send, or to receive; what came unasked is a receive that nobody waits for. */
struct request {
    struct request *next;
    struct head head;
    int peer;                               /* or GR_MPI_ANY */
    char *p;
    size_t done;                            /* bytes moved, those of the head among them */
    bool over, unasked;
};

struct link {
    int fd;
    bool broken;
    struct request *out;                    /* to be written, in order */
    struct head head;                       /* of what is being read */
    size_t got;                             /* bytes of it and of what follows */
    struct request *in;                     /* where that goes */
};

static struct local {
    size_t rank, size;
    struct link link[GR_LOCAL_MOST];
    struct request *asked, *kept;           /* receives without a message, messages without a receive; in order */
} here;

/* ---- Lists ------------------------------------------------------------------------------------------ */

static void put_last(struct request **list, struct request *r)
{
    while (*list)
        list = &(*list)->next;
    r->next = NULL;
    *list = r;
}

/* Takes the first that fits a message from `peer` with the tag, or from anyone. */
static struct request *take(struct request **list, int peer, int32_t tag)
{
    struct request *r;

    for (; (r = *list); list = &r->next)
        if (r->head.tag == tag && (r->peer == peer || r->peer == GR_MPI_ANY || peer == GR_MPI_ANY)) {
            *list = r->next;
            return r;
        }
    return NULL;
}

static struct request *request_new(int peer, int32_t tag, void *p, int bytes)
{
    struct request *r = gr_calloc(1, sizeof *r);

    if (r)
        *r = (struct request){ .head = { tag, bytes }, .peer = peer, .p = p };
    return r;
}

/* ---- Moving on -------------------------------------------------------------------------------------- */

/* Whether a system call moved bytes; one that would have to wait has not, and any other failure ends the link. */
static bool moved(struct link *l, ssize_t n)
{
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR))
        l->broken = true;
    return n > 0;
}

static void write_on(struct link *l)
{
    while (l->out && !l->broken) {
        struct request *r = l->out;
        size_t all = sizeof r->head + (size_t)r->head.bytes;
        bool head = r->done < sizeof r->head;
        const char *at = head ? (const char *)&r->head + r->done : r->p + (r->done - sizeof r->head);
        ssize_t n = send(l->fd, at, head ? sizeof r->head - r->done : all - r->done, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (!moved(l, n))
            break;
        r->done += (size_t)n;
        if (r->done == all) {
            l->out = r->next;
            r->over = true;
        }
    }
}

/* The head is there: where the rest goes. A message that does not fit who asked for it is no message of ours. */
static void begin_message(struct link *l, int peer)
{
    l->in = take(&here.asked, peer, l->head.tag);
    if (!l->in && l->head.bytes >= 0) {
        l->in = request_new(peer, l->head.tag, malloc((size_t)l->head.bytes + 1), l->head.bytes);
        if (l->in && !l->in->p) {
            free(l->in);
            l->in = NULL;
        }
        if (l->in)
            l->in->unasked = true;
    }
    if (!l->in || l->in->head.bytes != l->head.bytes)
        l->broken = true;
}

static void hand_over(struct request *asked, struct request *kept)
{
    memcpy(asked->p, kept->p, (size_t)asked->head.bytes);
    asked->over = true;
    free(kept->p);
    free(kept);
}

static void end_message(struct link *l, int peer)
{
    struct request *r = l->in, *asked;

    l->in = NULL;
    l->got = 0;
    if (!r->unasked) {
        r->over = true;
        return;
    }
    asked = take(&here.asked, peer, r->head.tag);
    if (!asked)
        put_last(&here.kept, r);
    else if (asked->head.bytes == r->head.bytes)
        hand_over(asked, r);
    else
        l->broken = true;
}

static void read_on(struct link *l, int peer)
{
    while (!l->broken) {
        bool head = l->got < sizeof l->head;
        size_t left;
        ssize_t n;
        if (l->got == sizeof l->head && !l->in)
            begin_message(l, peer);
        if (l->broken)
            break;
        left = sizeof l->head + (head ? 0 : (size_t)l->head.bytes) - l->got;
        if (left > 0) {
            char *to = head ? (char *)&l->head + l->got : l->in->p + (l->got - sizeof l->head);
            n = recv(l->fd, to, left, MSG_DONTWAIT);
            if (!moved(l, n))
                break;
            l->got += (size_t)n;
        }
        if (!head && l->got == sizeof l->head + (size_t)l->head.bytes)
            end_message(l, peer);
    }
    if (l->broken && l->in && l->in->peer == GR_MPI_ANY) {      /* it is for the others' messages, too */
        put_last(&here.asked, l->in);
        l->in = NULL;
    }
}

static void move_on(void)
{
    for (size_t p = 0; p < here.size; p++)
        if (p != here.rank) {
            write_on(&here.link[p]);
            read_on(&here.link[p], (int)p);
        }
}

/* ---- MPI's functions -------------------------------------------------------------------------------- */

static int isend(const void *p, int bytes, gr_mpi_handle type, int peer, int tag, gr_mpi_handle comm,
                 gr_mpi_handle *out)
{
    struct request *r = request_new(peer, tag, (void *)(uintptr_t)p, bytes);

    (void)type, (void)comm;
    *out = r;
    if (!r)
        return BROKEN;
    put_last(&here.link[peer].out, r);
    write_on(&here.link[peer]);
    return 0;
}

static int irecv(void *p, int bytes, gr_mpi_handle type, int peer, int tag, gr_mpi_handle comm, gr_mpi_handle *out)
{
    struct request *r = request_new(peer, tag, p, bytes), *kept;

    (void)type, (void)comm;
    *out = r;
    if (!r)
        return BROKEN;
    kept = take(&here.kept, peer, tag);
    if (!kept)
        put_last(&here.asked, r);
    else if (kept->head.bytes == bytes)
        hand_over(r, kept);
    else
        return BROKEN;
    return 0;
}

static int test(gr_mpi_handle *request, int *over, void *status)
{
    struct request *r = *request;

    (void)status;
    move_on();
    *over = r->over;
    if (!r->over)
        return r->peer != GR_MPI_ANY && here.link[r->peer].broken ? BROKEN : 0;
    free(r);
    *request = NULL;
    return 0;
}

static int cancel(gr_mpi_handle *request)
{
    for (struct request **list = &here.asked; *list; list = &(*list)->next)
        if (*list == *request) {
            *list = (*list)->next;
            free(*request);
            *request = NULL;
            break;
        }
    return 0;
}

static int error_string(int code, char *text, int *n)
{
    (void)code;
    *n = snprintf(text, GR_MPI_ERROR_TEXT, "a connection is closed");
    return 0;
}

static void clear(struct request **list, bool own)
{
    while (*list) {
        struct request *r = *list;
        *list = r->next;
        if (own)
            free(r->p);
        free(r);
    }
}

static int finalize(void)
{
    for (size_t p = 0; p < here.size; p++)
        if (p != here.rank) {
            clear(&here.link[p].out, false);
            if (here.link[p].in && here.link[p].in->unasked)
                clear(&here.link[p].in, true);
            close(here.link[p].fd);
        }
    clear(&here.asked, false);
    clear(&here.kept, true);
    return 0;
}

/* ---- Who the others are ------------------------------------------------------------------------------ */

/* GRAM_PROCESS: the rank, the size, and the socket to each of the others in the order of the ranks, as "1/3 5 6". */
bool gr_local_launched(size_t *rank, size_t *size)
{
    const char *s = getenv(GR_LOCAL_ENV);

    return s && sscanf(s, "%zu/%zu", rank, size) == 2 && *size > 1 && *size <= GR_LOCAL_MOST && *rank < *size;
}

gram_status gr_local_load(struct gr_mpi *m, gram_err *err)
{
    const char *s = getenv(GR_LOCAL_ENV);

    here = (struct local){ 0 };
    if (!gr_local_launched(&here.rank, &here.size))
        return gr_fail(err, GRAM_EARG, GR_LOCAL_ENV ": wanted what gram gives to the processes that it starts");
    s += strcspn(s, " ");
    for (size_t p = 0; p < here.size; p++) {
        char *end;
        if (p == here.rank)
            continue;
        here.link[p].fd = (int)strtol(s, &end, 10);
        if (end == s || fcntl(here.link[p].fd, F_SETFD, FD_CLOEXEC))
            return gr_fail(err, GRAM_EARG, GR_LOCAL_ENV ": process %zu has no connection to process %zu: they were "
                           "joined and left before, or this one was started by another", here.rank, p);
        s = end;
    }
    *m = (struct gr_mpi){ .isend = isend, .irecv = irecv, .test = test, .cancel = cancel, .error_string = error_string,
                          .finalize = finalize };
    return GRAM_OK;
}
