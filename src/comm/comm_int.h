/* comm_int.h - what the files of src/comm share. */
#ifndef GR_COMM_COMM_INT_H
#define GR_COMM_COMM_INT_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>
#include <time.h>
#include "comm/comm.h"

/* ---- MPI, as far as it is used (mpi.c), or what does the same over sockets (local.c) ----------------- */

/* Open MPI's handles are pointers, and its predefined ones are addresses of its variables. */
typedef void *gr_mpi_handle;
struct gr_mpi {
    void *library;
    gr_mpi_handle world, byte, errors_return, null_request;
    int (*initialized)(int *), (*finalized)(int *), (*query_thread)(int *);
    int (*init_thread)(int *, char ***, int, int *);
    int (*comm_dup)(gr_mpi_handle, gr_mpi_handle *);
    int (*comm_rank)(gr_mpi_handle, int *), (*comm_size)(gr_mpi_handle, int *);
    int (*comm_set_errhandler)(gr_mpi_handle, gr_mpi_handle);
    int (*isend)(const void *, int, gr_mpi_handle, int, int, gr_mpi_handle, gr_mpi_handle *);
    int (*irecv)(void *, int, gr_mpi_handle, int, int, gr_mpi_handle, gr_mpi_handle *);
    int (*test)(gr_mpi_handle *, int *, void *);
    int (*cancel)(gr_mpi_handle *);
    int (*error_string)(int, char *, int *);
    int (*finalize)(void);
};
enum { GR_MPI_SERIALIZED = 2, GR_MPI_ANY = -1, GR_MPI_ERROR_TEXT = 256 };
gram_status gr_mpi_load(struct gr_mpi *m, gram_err *err);
gram_status gr_mpi_failed(const struct gr_mpi *m, const char *call, int code, gram_err *err);

/* What gr_dist_run() tells its processes: who they are, and the name of the start, which no other has. */
#define GR_LOCAL_ENV "GRAM_PROCESS"
#define GR_LOCAL_START "GRAM_START"
enum { GR_LOCAL_MOST = 16 };
gram_status gr_local_load(struct gr_mpi *m, gram_err *err);

/* ---- The processes (comm.c) ------------------------------------------------------------------------ */

struct gr_process {
    char host[64];
    uint64_t machine;           /* the same where process numbers mean the same */
    uint64_t cores;             /* a digest of those it may run on */
    int64_t pid;
};

/* What a watch says to another, GR_TAG_WATCH. from: its rank; about: the one that failed. */
enum { GR_ALIVE, GR_FAILED, GR_CLOSING };
struct gr_news { int32_t what, from, about; gram_err why; };

/* What a watch knows of another process. */
struct gr_peer {
    struct gr_news said;        /* on its way while `saying` */
    gr_mpi_handle saying;
    _Atomic double seen;        /* when it was last heard */
    double died;                /* when it was first seen to have, 0: it has not; and d->talks then */
    unsigned talks;
    bool told_failed, told_closing;
    atomic_bool closing;        /* it has told that it closes */
};

/* The links between the devices of the processes, where these carry what lies on the devices. */
struct gr_linked {
    gr_device *device;          /* NULL: the hosts carry it */
    float *came;                /* [size, chunk] on the device: what is received to be added */
    size_t chunk;
    gr_parcel *parcel;          /* of the exchange under way */
    size_t n, cap;
};

struct gram_dist {
    struct gr_mpi mpi;
    gr_mpi_handle comm;
    bool started;               /* MPI was started here, and is ended here */
    size_t rank, size;
    struct gr_process *process; /* [size] */
    pthread_mutex_t lock;       /* around each call of MPI. None of them waits, but where a connection breaks Open MPI
                                 * may never come back from one */

    float *in, *out;            /* [size, chunk]: what is received and what is sent */
    size_t chunk;
    struct gr_linked linked;    /* links.c */
    gr_mpi_handle *request;     /* [2 size] of the exchange that is under way */

    /* The own of the two threads of heartbeat.c. */
    pthread_t watch, talk;
    bool watching;
    struct gr_peer *peer;       /* [size] */
    gr_mpi_handle hearing;
    struct gr_news heard;
    double told, silence;       /* when this one last spoke; seconds after which a silent one is given up, 0: never */
    gram_dist_fn *on_death;
    void *arg;

    /* Between these and the caller's. about, dead and why are written once, before failed is set. */
    atomic_flag failing;
    atomic_bool failed, leaving, quit;
    atomic_uint talks;          /* how often all that had come was heard */
    atomic_bool together, all_told;     /* every process is closing; all that live know of the failure */
    bool dead;                  /* a process is gone */
    gram_err why;
    size_t about;
};

enum { GR_TAG_DATA = 1, GR_TAG_WATCH = 2 };
#define GR_SECOND_NS 1000000000L
/* For a wait of ns nanoseconds from now. */
struct timespec gr_dist_until(long ns);
/* Takes the lock; false where a tenth of a second was not enough, since MPI does not come back. */
bool gr_dist_lock(gr_dist *d);
gram_status gr_watch_open(gr_dist *d, gram_err *err);
/* Waits until every process has come here, or one is gone: whether all have. */
bool gr_watch_close(gr_dist *d);
/* The first failure is the one that is told. */
void gr_watch_failed(gr_dist *d, size_t about, bool dead, const gram_err *why);

/* Begins to send or to receive, as request `at` of the exchange; waits for the first n requests of it. */
gram_status gr_dist_post(gr_dist *d, size_t at, bool sends, size_t peer, void *p, size_t bytes, gram_err *err);
gram_status gr_dist_settle(gr_dist *d, size_t n, gram_err *err);
/* What carries bytes knows that a connection broke a little before the watch knows who died, which is the better
 * sentence. */
gram_status gr_dist_broken(gr_dist *d, const gram_err *why, gram_err *err);

/* ---- Vectors, by the hosts (vectors.c) or between devices (links.c) ------------------------------------- */

struct gr_range { size_t from, n; };
struct gr_range gr_vector_own(const gr_vector *v, size_t size, size_t bucket, size_t rank);
/* The pieces of a range, which lie in one parameter each: n values from `first` on, `at` values behind the range's
 * first. False: fn ended it. */
typedef bool gr_piece_fn(void *arg, const gr_param *p, size_t first, size_t n, size_t at);
bool gr_vector_pieces(const gr_vector *v, struct gr_range r, gr_piece_fn *fn, void *arg);
gram_status gr_links_reduce(gr_dist *d, const gr_vector *v, gram_err *err);
gram_status gr_links_share(gr_dist *d, const gr_vector *v, gram_err *err);

#endif
