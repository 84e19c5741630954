/* gpu.h - the emulated GPU for tests: the library that the build put beside them, opened by name as a user's is. */
#ifndef TESTS_GPU_H
#define TESTS_GPU_H

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "check.h"
#include "emu/emu_opt.h"
#include "op/op.h"

/* Says where it is, and how the emulator goes: asynchronous things happen as late as they may. Before the first
 * device is opened; what is in the environment already stays. */
static inline void gpu_set_up(void)
{
    char path[4096] = { 0 }, *end = path;

    assert_true(readlink("/proc/self/exe", path, sizeof path - 8) > 0);
    for (int i = 0; i < 3; i++) {                   /* BUILD/tests/FOLDER/test_x */
        end = strrchr(path, '/');
        assert_non_null(end);
        *end = '\0';
    }
    strcpy(end, "/emu");
    setenv("GRAM_CUDA_PATH", path, 0);
    setenv("EMU_LAZY", "1", 0);
}

/* The one that GRAM_DEVICE names, or the first. */
static inline gr_device *gpu_open(void)
{
    const char *name = getenv("GRAM_DEVICE");
    gr_device *d;

    gpu_set_up();
    CHECK_OK(gr_device_open(&d, name && !strncmp(name, "cuda:", 5) ? name : "cuda:0", 0, &check_err));
    return d;
}

/* One that multiplies by wgmma where that is written: the emulated one is a Hopper then, and a real one may be. */
static inline gr_device *gpu_open_hopper(void)
{
    gr_device *d;

    setenv("GRAM_CUDA_WGMMA", "1", 1);
    setenv("EMU_CAPABILITY", "90", 1);
    d = gpu_open();
    unsetenv("GRAM_CUDA_WGMMA");
    unsetenv("EMU_CAPABILITY");
    return d;
}

/* How the emulator orders threads from here on, GPU_AS_ASKED: as the environment says. False: this is a GPU, which
 * orders them as it likes. */
enum gpu_order { GPU_ASCENDING, GPU_DESCENDING, GPU_RANDOM, GPU_AS_ASKED };
static inline bool gpu_order(enum gpu_order order)
{
    static struct emu_options *opt;
    static int asked;
    char path[4096];
    void *lib;

    if (!opt) {
        snprintf(path, sizeof path, "%s/libemu.so", getenv("GRAM_CUDA_PATH"));
        lib = dlopen(path, RTLD_LAZY | RTLD_NOLOAD);
        opt = lib ? dlsym(lib, "emu_opt") : NULL;
        if (!opt)
            return false;
        asked = opt->order;
    }
    opt->order = order == GPU_AS_ASKED ? asked : (int)order;
    opt->seed++;                                    /* of a random one */
    return true;
}

/* n numbers of the host's on the device, and back; free() what comes back. */
static inline float *gpu_put(gr_device *d, const float *x, size_t n)
{
    void *p;

    CHECK_OK(gr_device_alloc(d, &p, n * sizeof *x, &check_err));
    gr_device_put(d, p, x, n * sizeof *x);
    return p;
}

static inline float *gpu_get(gr_device *d, const float *p, size_t n)
{
    float *x = malloc(n * sizeof *x);

    assert_non_null(x);
    gr_device_get(d, x, p, n * sizeof *x);
    return x;
}

#endif
