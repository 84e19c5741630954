/* test_mpi.c - what src/comm/mpi.c declares of Open MPI is what its mpi.h says, and lies where dlopen finds it. */
#include <stdio.h>
#include <stdlib.h>
#include "check.h"
#include "comm/comm_int.h"

#if __has_include(<mpi.h>)
#include <mpi.h>

static void handles_and_constants_are_those_of_the_header(void **state)
{
    struct gr_mpi m;

    (void)state;
    assert_int_equal(sizeof(MPI_Comm), sizeof m.world);
    assert_int_equal(sizeof(MPI_Request), sizeof m.null_request);
    assert_int_equal(MPI_THREAD_SERIALIZED, GR_MPI_SERIALIZED);
    assert_int_equal(MPI_ANY_SOURCE, GR_MPI_ANY);
    assert_true(MPI_MAX_ERROR_STRING <= GR_MPI_ERROR_TEXT);
    assert_int_equal(MPI_SUCCESS, 0);
    assert_null((void *)MPI_STATUS_IGNORE);
    setenv("OMPI_COMM_WORLD_SIZE", "2", 1);             /* as mpirun would */
    setenv("OMPI_COMM_WORLD_RANK", "0", 1);
    CHECK_OK(gr_mpi_load(&m, &check_err));
    assert_ptr_equal(m.world, MPI_COMM_WORLD);
    assert_ptr_equal(m.byte, MPI_BYTE);
    assert_ptr_equal(m.errors_return, MPI_ERRORS_RETURN);
    assert_ptr_equal(m.null_request, MPI_REQUEST_NULL);
    assert_true(m.isend == (int (*)(const void *, int, void *, int, int, void *, void **))MPI_Isend);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(handles_and_constants_are_those_of_the_header) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
#else
int main(void)
{
    puts("  Open MPI's mpi.h is not installed: src/comm/mpi.c was not held against it");
    return 77;
}
#endif
