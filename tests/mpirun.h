/* mpirun.h - for a test program that starts itself again under mpirun. */
#ifndef MPIRUN_H
#define MPIRUN_H

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "gram/dist.h"

/* More processes than cores, as root in a container, over the loopback, without ssh: a test needs no more. A sanitizer
 * would call MPI's own memory a leak. */
static inline void mpirun_env(void)
{
    static const char *const set[][2] = {
        { "OMPI_ALLOW_RUN_AS_ROOT", "1" }, { "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1" },
        { "OMPI_MCA_rmaps_base_oversubscribe", "1" }, { "OMPI_MCA_hwloc_base_binding_policy", "none" },
        { "OMPI_MCA_btl", "self,tcp" }, { "OMPI_MCA_btl_tcp_if_include", "lo" },
        { "OMPI_MCA_oob_tcp_if_include", "lo" }, { "OMPI_MCA_plm", "isolated" },
        { "ASAN_OPTIONS", "detect_leaks=0:allocator_may_return_null=1" },
    };

    for (size_t i = 0; i < sizeof set / sizeof *set; i++)
        setenv(set[i][0], set[i][1], 1);
}

/* Before the command, with a directory: one of its own, for two that start at once would both make the same, and one
 * would fail. */
#define MPIRUN_APART "OMPI_MCA_orte_tmpdir_base=$(mktemp -d '%s/mpi.XXXXXX') "

static inline int mpirun_missing(void)
{
    return system("command -v mpirun >/dev/null 2>&1") != 0;
}

/* A gram_dist_fn, which a process also calls when a call has failed: the first sentence is said. */
static inline void mpirun_say(void *arg, const gram_err *why)
{
    static atomic_bool said;

    (void)arg;
    if (!atomic_exchange(&said, true))
        fprintf(stderr, "said: %s\n", why->text);
}

/* As `gram` does: when mpirun ends the processes, what they still have to say is said. */
static inline void mpirun_hold_on(void)
{
    signal(SIGTERM, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
}

/* The exit status of a command; 128 and more for a signal. */
static inline int mpirun_status(int status)
{
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

#endif
