/* gpu.c - see gpu.h. The library stands where $GRAM_CUDA_PATH says, beside the program or libgram, in the lib folder
 * beside theirs, or where the loader looks. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "base/cpu.h"
#include "base/err.h"
#include "base/library.h"
#include "op/gpu.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const gr_gpu *loaded;

static gram_status load(gram_err *err)
{
    static const int here;
    char own[512], beside[512];
    const gr_gpu_build build = GR_GPU_BUILD;
    gr_gpu_entry_fn *entry = NULL;
    void *library = gr_library_open(GR_GPU_LIBRARY, (const char *const[]){
        getenv("GRAM_CUDA_PATH"), gr_library_folder(&here, "", own, sizeof own) ? own : NULL,
        gr_library_folder(&here, "/../lib", beside, sizeof beside) ? beside : NULL, "" }, 4, err);
    void *at = library ? dlsym(library, GR_GPU_ENTRY) : NULL;

    if (!library)
        return GRAM_EUNSUPPORTED;
    memcpy(&entry, &at, sizeof at);                 /* POSIX lets a function's address be an object's */
    loaded = entry ? entry(&build) : NULL;
    if (!loaded)
        return gr_fail(err, GRAM_EUNSUPPORTED, GR_GPU_LIBRARY " is of another build than this libgram " GRAM_VERSION);
    return GRAM_OK;
}

static const gr_gpu *library(gram_err *err)
{
    const gr_gpu *gpu;

    pthread_mutex_lock(&lock);
    if (!loaded)
        load(err);
    gpu = loaded;
    pthread_mutex_unlock(&lock);
    return gpu;
}

size_t gr_gpu_list(gr_gpu_info *out, size_t n, gram_err *err)
{
    const gr_gpu *gpu = library(err);

    return gpu ? gpu->list(out, n, err) : 0;
}

gram_status gr_gpu_open(gr_device **out, size_t index, gram_err *err)
{
    gram_err why;
    const gr_gpu *gpu = library(&why);
    const gr_device_kind *kind;
    const struct gr_kern *op;
    void *self;
    gram_status rc = gpu ? gpu->open(&kind, &self, &op, index, gr_kern_of(gr_cpu()), &why) : why.status;

    *out = NULL;
    if (rc)
        return gr_fail(err, rc, "no GPU can be used: %s", why.text);
    return gr_device_open_kind(out, kind, self, 1, op, err);
}
