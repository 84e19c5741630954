/* dist.h - the processes that share a training run, as mpirun or gram_dist_run() started them.
 *
 *     gram_dist *d;
 *     if (gram_dist_open(&d, NULL, NULL, &err)) { puts(err.text); return 1; }
 *     o.dist = d;                          // of gram_train_options; NULL: this process trains alone
 *     rc = gram_finetune(..., &o, ...);    // in every process, with the same arguments
 *     if (rc && gram_dist_speaks(d)) puts(err.text);
 *     gram_dist_close(d);
 *
 * Open MPI is looked for when mpirun started the process, and not before: libgram links no MPI. A call that fails in
 * one process fails in all of them, with the same reason; one that dies is noticed within seconds. */
#ifndef GRAM_DIST_H
#define GRAM_DIST_H

#include <stdbool.h>
#include "gram/error.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

typedef struct gram_dist gram_dist;

/* What the environment says, before anything is opened: true where a launcher started this process together with
 * others, and its place among them, from 0. */
bool gram_dist_launched(int *rank, int *size);
/* Called in the process that prints, once, by a thread of its own, as soon as a process is known to have died
 * or to hang. The call that works may be far from its next look at the others, and mpirun ends every process within two
 * seconds: what must be said is said here. */
typedef void gram_dist_fn(void *arg, const gram_err *why);
/* Joins them; *out is NULL where the process was started alone, which every function below takes. Once in a process,
 * by the thread that closes it. */
gram_status gram_dist_open(gram_dist **out, gram_dist_fn *on_death, void *arg, gram_err *err);
int gram_dist_rank(const gram_dist *d);         /* 0 when alone */
int gram_dist_size(const gram_dist *d);         /* 1 when alone */
/* Whether this is the process that prints: the first of those that live. */
bool gram_dist_speaks(const gram_dist *d);
/* Waits for the others, who must close too. NULL is fine. */
void gram_dist_close(gram_dist *d);

/* Starts the program at a path n times on this machine, 2 to 16, in the place of mpirun, and waits for all. In each of
 * them gram_dist_launched() is true, and gram_dist_open() joins them. argv ends with NULL. device [n]: what GRAM_DEVICE
 * is in each, as "cuda:1"; NULL: what it is here. *status: 0, or the exit status of the first that did not end well,
 * 128 and more for a signal. SIGINT, SIGTERM, SIGHUP and SIGUSR1 go on to all of them, who also end when this one does.
 */
gram_status gram_dist_run(const char *program, char *const *argv, const char *const *device, int n, int *status,
                          gram_err *err);
bool gram_dist_is_local(void);                  /* whether this process was started so */

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
