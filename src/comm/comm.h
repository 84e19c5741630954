/* comm.h - the processes of a run: who they are, sums and copies between them, and the news that one has failed.
 *
 *     one process     gr_dist *d is NULL; everything here is done at once
 *     MPI             found at run time (mpi.c), when mpirun started the process
 *     sockets         (local.c) when gr_dist_run() did
 *     NCCL            between GPUs (links.c), for what lies on them, beside either of these
 *
 * All processes call the same functions in the same order. What carries bytes adds nothing: what is summed is received
 * and added here, in the order of the ranks, so a sum has the same bits in every run of that many processes, whatever
 * carries it.
 *
 * No call waits for a process that is gone: each watches the others (heartbeat.c), and a call fails with a sentence
 * that names the one that died, or the one that called gr_dist_fail() and why. */
#ifndef GR_COMM_COMM_H
#define GR_COMM_COMM_H

#include "base/mem.h"
#include "tensor/param.h"
#include "gram/dist.h"

typedef struct gram_dist gr_dist;

bool gr_dist_launched(size_t *rank, size_t *size);      /* as gram_dist_launched() */
bool gr_local_launched(size_t *rank, size_t *size);     /* the same, where gr_dist_run() was the launcher */
gram_status gr_dist_open(gr_dist **out, gram_dist_fn *on_death, void *arg, gram_err *err);
void gr_dist_close(gr_dist *d);
size_t gr_dist_rank(const gr_dist *d);
size_t gr_dist_size(const gr_dist *d);
bool gr_dist_speaks(const gr_dist *d);
size_t gr_dist_on_host(const gr_dist *d);       /* processes on this machine, this one among them */
/* Threads that are this process's share of the cores it may run on; 0, what gr_pool_open() decides, when alone. */
size_t gr_dist_threads(const gr_dist *d);

/* A block of each process in the order of the ranks, all [size][bytes], known to everyone. */
gram_status gr_dist_all(gr_dist *d, const void *mine, void *all, size_t bytes, gram_err *err);
gram_status gr_dist_barrier(gr_dist *d, gram_err *err);
/* x becomes the sum of everyone's x, added in the order of the ranks. */
gram_status gr_dist_sum(gr_dist *d, double *x, size_t n, gram_err *err);
/* x becomes what it is in process 0. */
gram_status gr_dist_broadcast(gr_dist *d, void *x, size_t bytes, gram_err *err);
/* Fails everywhere where a process has another digest than process 0: "process 2 on HOST has other WHAT". */
gram_status gr_dist_same(gr_dist *d, const char *what, uint64_t digest, gram_err *err);

/* A long vector: the values, or the gradients, of a list of parameters, one after the other, on their device. It is cut
 * into buckets, and of bucket b values [cut[b * size + r], cut[b * size + r + 1]) are rank r's own. */
typedef struct {
    const gr_param *param;
    size_t n;
    bool gradients;
    const size_t *cut;          /* [buckets * size + 1] */
    size_t buckets;
} gr_vector;
gram_status gr_dist_reduce_scatter(gr_dist *d, const gr_vector *v, gram_err *err);  /* own values: the sum of all */
gram_status gr_dist_all_gather(gr_dist *d, const gr_vector *v, gram_err *err);      /* everyone has everyone's own */
gram_status gr_dist_spread(gr_dist *d, const gr_vector *v, gram_err *err);          /* everyone has process 0's */
/* Numbers of which each process has its own, bucket after bucket, one after the other in `mine`, whatever their type:
 * values [first, first + n), of one bucket, to `all` on the host of process 0; and from there to each its own. */
typedef struct { const gr_vector *cut; const gr_param *mine; } gr_parts;
gram_status gr_dist_gather(gr_dist *d, const gr_parts *p, size_t first, size_t n, float *all, gram_err *err);
gram_status gr_dist_scatter(gr_dist *d, const gr_parts *p, size_t first, size_t n, const float *all, gram_err *err);
/* A range of it to or from the host's memory, as float32. */
void gr_vector_get(const gr_vector *v, size_t from, size_t n, float *out);
void gr_vector_put(const gr_vector *v, size_t from, size_t n, const float *x);
uint64_t gr_dist_bytes(const gr_dist *d);       /* memory that these take besides the vectors, of the host */

/* From now on what lies on devices goes between these without the hosts, where each process has a device of its own and
 * all of them can; otherwise the hosts carry it, with the same bits, and *why, "" where devices are not GPUs, says what
 * kept them from it. Everyone calls it, and gr_dist_unlink() before the device goes. */
gram_status gr_dist_link(gr_dist *d, gr_device *device, gram_err *why, gram_err *err);
void gr_dist_unlink(gr_dist *d);
uint64_t gr_dist_device_bytes(const gr_dist *d);        /* memory that this takes on the device */

/* Starts a program n times on this machine, with `argv`, and waits until all have ended; *status: 0, or the exit status
 * of the first that did not end well. In them gr_dist_launched() is true. device [n]: what GRAM_DEVICE is in each;
 * NULL, or one that is: as it is here. Signals that ask to stop go on to them. */
gram_status gr_dist_run(const char *program, char *const *argv, const char *const *device, size_t n, int *status,
                        gram_err *err);

/* This process cannot go on: every call of the others fails with its sentence. */
void gr_dist_fail(gr_dist *d, const gram_err *why);
/* Whether one of the others cannot, asked without waiting. */
gram_status gr_dist_check(gr_dist *d, gram_err *err);

#endif
