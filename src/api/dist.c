/* dist.c - include/gram/dist.h over src/comm. */
#include "comm/comm.h"

bool gram_dist_launched(int *rank, int *size)
{
    size_t r, n;
    bool yes = gr_dist_launched(&r, &n);

    *rank = (int)r;
    *size = (int)n;
    return yes;
}

gram_status gram_dist_open(gram_dist **out, gram_dist_fn *on_death, void *arg, gram_err *err)
{
    return gr_dist_open(out, on_death, arg, err);
}

int gram_dist_rank(const gram_dist *d)
{
    return (int)gr_dist_rank(d);
}

int gram_dist_size(const gram_dist *d)
{
    return (int)gr_dist_size(d);
}

bool gram_dist_speaks(const gram_dist *d)
{
    return gr_dist_speaks(d);
}

void gram_dist_close(gram_dist *d)
{
    gr_dist_close(d);
}

bool gram_dist_is_local(void)
{
    size_t rank, size;

    return gr_local_launched(&rank, &size);
}

gram_status gram_dist_run(const char *program, char *const *argv, const char *const *device, int n, int *status,
                          gram_err *err)
{
    return gr_dist_run(program, argv, device, n > 0 ? (size_t)n : 0, status, err);
}
