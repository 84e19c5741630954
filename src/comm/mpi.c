/* mpi.c - Open MPI, looked for when mpirun started this process: docs/decisions/0009-mpi.md says why so. The
 * declarations are those of its mpi.h, which tests/comm/test_mpi.c holds against them where that is installed. */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/library.h"
#include "comm/comm_int.h"

#define LIBRARY "libmpi.so.40"          /* of Open MPI 3, 4 and 5 */

static bool number(const char *name, size_t *out)
{
    const char *s = getenv(name);
    char *end;
    unsigned long n;

    if (!s || *s < '0' || *s > '9')
        return false;
    n = strtoul(s, &end, 10);
    *out = n;
    return !*end && n <= INT32_MAX;
}

/* Open MPI's mpirun, srun --mpi=pmix, then the launchers of the other MPIs and srun without one, which gr_mpi_load()
 * refuses. A batch script of Slurm's is no step, and alone. */
bool gr_dist_launched(size_t *rank, size_t *size)
{
    static const char *const names[][2] = {
        { "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE" }, { "PMIX_RANK", "SLURM_STEP_NUM_TASKS" },
        { "PMI_RANK", "PMI_SIZE" }, { "SLURM_PROCID", "SLURM_STEP_NUM_TASKS" },
    };

    if (gr_local_launched(rank, size))
        return true;
    for (size_t i = 0; i < GR_COUNT(names); i++)
        if (number(names[i][0], rank) && number(names[i][1], size) && *size > 1 && *rank < *size)
            return true;
    *rank = 0;
    *size = 1;
    return false;
}

gram_status gr_mpi_load(struct gr_mpi *m, gram_err *err)
{
    const gr_symbol symbol[] = {
        { &m->world, "ompi_mpi_comm_world" }, { &m->byte, "ompi_mpi_byte" },
        { &m->errors_return, "ompi_mpi_errors_return" }, { &m->null_request, "ompi_request_null" },
        { &m->initialized, "MPI_Initialized" }, { &m->finalized, "MPI_Finalized" },
        { &m->query_thread, "MPI_Query_thread" }, { &m->init_thread, "MPI_Init_thread" },
        { &m->comm_dup, "MPI_Comm_dup" }, { &m->comm_rank, "MPI_Comm_rank" }, { &m->comm_size, "MPI_Comm_size" },
        { &m->comm_set_errhandler, "MPI_Comm_set_errhandler" }, { &m->isend, "MPI_Isend" },
        { &m->irecv, "MPI_Irecv" }, { &m->test, "MPI_Test" }, { &m->cancel, "MPI_Cancel" },
        { &m->error_string, "MPI_Error_string" }, { &m->finalize, "MPI_Finalize" },
    };
    const char *missing;
    size_t rank, size;

    gr_dist_launched(&rank, &size);
    if (!getenv("OMPI_COMM_WORLD_SIZE") && !getenv("PMIX_RANK"))
        return gr_fail(err, GRAM_EUNSUPPORTED, "this process was started as one of %zu by the launcher of an MPI that "
                       "is not Open MPI: start it with Open MPI's mpirun, or by Slurm's srun with pmix", size);
    m->library = dlopen(LIBRARY, RTLD_NOW | RTLD_GLOBAL);       /* global: its plugins look for it there */
    if (!m->library)
        return gr_fail(err, GRAM_EUNSUPPORTED, "this process was started as one of %zu, and Open MPI, through which "
                       "they would speak, is not there (Debian: openmpi-bin): %s", size, dlerror());
    missing = gr_library_missing(m->library, symbol, GR_COUNT(symbol));
    return missing ? gr_fail(err, GRAM_EUNSUPPORTED, LIBRARY ": %s is missing: it is not Open MPI's", missing)
                   : GRAM_OK;
}

gram_status gr_mpi_failed(const struct gr_mpi *m, const char *call, int code, gram_err *err)
{
    char text[GR_MPI_ERROR_TEXT] = "";
    int n;

    if (m->error_string(code, text, &n))
        *text = '\0';
    return m->library ? gr_fail(err, GRAM_EIO, "MPI: %s failed: %s", call, text)
                      : gr_fail(err, GRAM_EIO, "processes: %s", text);
}
