/* nccl.c - what carries bytes between GPUs: NCCL, looked for when processes that share a run have opened theirs.
 *
 * Of NCCL only what sends and receives is used, which changes no bit. Its communicator is one that never waits: each
 * call is asked whether it is over until it is, or until a process is known to be gone. */
#include <sched.h>
#include <string.h>
#include <time.h>
#include "base/err.h"
#include "base/library.h"
#include "cuda/cuda_int.h"

#define LIBRARY "libnccl.so.2"
#define WHEEL "/nvidia/nccl/lib"
enum { SPINS = 1000 };                      /* looks at what is awaited before the core is left to others */

static gram_status fail(const struct gr_cuda *g, const char *call, ncclResult_t r, gram_err *err)
{
    return gr_fail(err, GRAM_EIO, "device %s: NCCL: %s: %s", g->name, call, g->nccl.error_string(r));
}

static gram_status find(void *self, gram_err *err)
{
    struct gr_nccl *n = &((struct gr_cuda *)self)->nccl;
    const gr_symbol symbol[] = {
        { &n->get_id, "ncclGetUniqueId" }, { &n->init, "ncclCommInitRankConfig" }, { &n->abort, "ncclCommAbort" },
        { &n->async_error, "ncclCommGetAsyncError" }, { &n->send, "ncclSend" }, { &n->recv, "ncclRecv" },
        { &n->group_start, "ncclGroupStart" }, { &n->group_end, "ncclGroupEnd" },
        { &n->error_string, "ncclGetErrorString" },
    };
    const char *missing;

    if (!n->library)
        n->library = gr_cuda_library(LIBRARY, WHEEL, err);
    if (!n->library)
        return GRAM_EUNSUPPORTED;
    missing = gr_library_missing(n->library, symbol, GR_COUNT(symbol));
    return missing ? gr_fail(err, GRAM_EUNSUPPORTED, LIBRARY ": %s is missing: it is not NCCL's, or older than 2.18",
                             missing) : GRAM_OK;
}

static gram_status id(void *self, unsigned char id[GR_LINKS_ID], gram_err *err)
{
    struct gr_cuda *g = self;
    ncclUniqueId u;
    ncclResult_t r = g->nccl.get_id(&u);

    _Static_assert(sizeof u == GR_LINKS_ID, "NCCL's id");
    memcpy(id, &u, sizeof u);
    return r ? fail(g, "ncclGetUniqueId", r, err) : GRAM_OK;
}

/* Between two looks at something that is not over. False: somebody is gone. */
static bool wait_a_little(size_t look, gr_go_on_fn *go_on, void *arg)
{
    const struct timespec pause = { 0, 20000 };

    if (!go_on(arg))
        return false;
    if (look < SPINS)
        sched_yield();
    else
        nanosleep(&pause, NULL);
    return true;
}

/* Until what was begun is under way. */
static gram_status begun(struct gr_cuda *g, const char *call, ncclResult_t r, gr_go_on_fn *go_on, void *arg,
                         gram_err *err)
{
    for (size_t look = 0; r == ncclInProgress; look++) {
        ncclResult_t asked = g->nccl.async_error(g->nccl.comm, &r);
        if (asked)
            return fail(g, "ncclCommGetAsyncError", asked, err);
        if (r == ncclInProgress && !wait_a_little(look, go_on, arg))
            return gr_fail(err, GRAM_EIO, "device %s: NCCL: %s was given up", g->name, call);
    }
    return r ? fail(g, call, r, err) : GRAM_OK;
}

static gram_status open_links(void *self, const unsigned char id[GR_LINKS_ID], size_t rank, size_t size,
                              gr_go_on_fn *go_on, void *arg, gram_err *err)
{
    struct gr_cuda *g = self;
    ncclConfig_t config = { .size = offsetof(ncclConfig_t, splitShare) + sizeof config.splitShare,
                            .magic = (unsigned)GR_NCCL_MAGIC, .version = GR_NCCL_VERSION, .blocking = 0,
                            .cgaClusterSize = GR_NCCL_UNSET, .minCTAs = GR_NCCL_UNSET, .maxCTAs = GR_NCCL_UNSET,
                            .splitShare = GR_NCCL_UNSET };
    ncclUniqueId u;
    ncclResult_t r;

    memcpy(&u, id, sizeof u);
    cudaSetDevice(g->index);
    r = g->nccl.init(&g->nccl.comm, (int)size, u, (int)rank, &config);
    return begun(g, "ncclCommInitRankConfig", r, go_on, arg, err);
}

static gram_status exchange(void *self, const gr_parcel *parcel, size_t n, gr_go_on_fn *go_on, void *arg,
                            gram_err *err)
{
    struct gr_cuda *g = self;
    struct gr_nccl *c = &g->nccl;
    ncclResult_t r, end;

    cudaSetDevice(g->index);
    r = c->group_start();
    if (r)
        return fail(g, "ncclGroupStart", r, err);
    for (size_t i = 0; i < n && (!r || r == ncclInProgress); i++) {
        const gr_parcel *p = &parcel[i];
        r = p->sends ? c->send(p->p, p->bytes, ncclInt8, (int)p->peer, c->comm, g->stream)
                     : c->recv(p->p, p->bytes, ncclInt8, (int)p->peer, c->comm, g->stream);
    }
    end = c->group_end();
    if (r && r != ncclInProgress)
        return fail(g, "ncclSend or ncclRecv", r, err);
    return begun(g, "ncclGroupEnd", end, go_on, arg, err);
}

static gram_status settle(void *self, gr_go_on_fn *go_on, void *arg, gram_err *err)
{
    struct gr_cuda *g = self;
    ncclResult_t r = ncclSuccess, asked;
    cudaError_t e;

    cudaSetDevice(g->index);
    for (size_t look = 0; (e = cudaStreamQuery(g->stream)) == cudaErrorNotReady; look++) {
        cudaGetLastError();                         /* "not ready" is no error for the next launch to tell */
        asked = g->nccl.async_error(g->nccl.comm, &r);
        if (asked || (r && r != ncclInProgress))
            return fail(g, "what was sent", asked ? asked : r, err);
        if (!wait_a_little(look, go_on, arg))
            return gr_fail(err, GRAM_EIO, "device %s: NCCL: what was sent was given up", g->name);
    }
    return e ? gr_fail(err, GRAM_EIO, "device %s: what was sent: %s", g->name, cudaGetErrorString(e)) : GRAM_OK;
}

/* After a run that went well nothing is under way, and there is nothing to abort. */
static void close_links(void *self)
{
    struct gr_cuda *g = self;

    cudaSetDevice(g->index);
    if (g->nccl.comm)
        g->nccl.abort(g->nccl.comm);
    g->nccl.comm = NULL;
}

static void mark(void *self, unsigned char mark[GR_DEVICE_MARK])
{
    struct cudaDeviceProp p;

    memset(mark, 0, GR_DEVICE_MARK);
    if (!cudaGetDeviceProperties(&p, ((struct gr_cuda *)self)->index))
        memcpy(mark, &p.uuid, GR_DEVICE_MARK);
}

const gr_links_kind gr_links_nccl = { mark, find, id, open_links, exchange, settle, close_links };
