/* comm.h - the processes of a run: who they are, sums and copies between them, and the news that one has failed.
 *
 *     one process     gr_dist *d is NULL; everything here is done at once
 *     MPI             found at run time (mpi.c), when mpirun started the process
 *
 * All processes call the same functions in the same order. MPI carries bytes and adds nothing: what is summed is
 * received and added here, in the order of the ranks, so a sum has the same bits in every run of that many processes,
 * whatever the network is and however MPI was built.
 *
 * No call waits for a process that is gone: each watches the others (watch.c), and a call fails with a sentence that
 * names the one that died, or the one that called gr_dist_fail() and why. */
#ifndef GR_COMM_COMM_H
#define GR_COMM_COMM_H

#include "base/mem.h"
#include "gram/dist.h"

typedef struct gram_dist gr_dist;

bool gr_dist_launched(size_t *rank, size_t *size);      /* as gram_dist_launched() */
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

/* A long vector that lies in pieces, one after the other; values [cut[r], cut[r + 1]) are rank r's own. */
typedef struct { float *p; size_t n; } gr_piece;
typedef struct { const gr_piece *piece; size_t n; const size_t *cut; } gr_vector;
gram_status gr_dist_reduce_scatter(gr_dist *d, const gr_vector *v, gram_err *err);  /* own values: the sum of all */
gram_status gr_dist_all_gather(gr_dist *d, const gr_vector *v, gram_err *err);      /* everyone has everyone's own */
gram_status gr_dist_gather(gr_dist *d, const gr_vector *v, gram_err *err);          /* process 0 has everyone's own */
gram_status gr_dist_scatter(gr_dist *d, const gr_vector *v, gram_err *err);         /* own values: process 0's */
/* A range of it to or from memory in one piece. */
void gr_vector_get(const gr_vector *v, size_t from, size_t n, float *out);
void gr_vector_put(const gr_vector *v, size_t from, size_t n, const float *x);
uint64_t gr_dist_bytes(const gr_dist *d);       /* memory that these take besides the vectors */

/* This process cannot go on: every call of the others fails with its sentence. */
void gr_dist_fail(gr_dist *d, const gram_err *why);
/* Whether one of the others cannot, asked without waiting. */
gram_status gr_dist_check(gr_dist *d, gram_err *err);

#endif
