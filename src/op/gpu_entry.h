/* gpu_entry.h - what libgram-cuda.so gives to libgram, which opens it by name and needs nothing of CUDA itself.
 *
 * Both are built from one source: the library has copies of what it needs of base/ and tensor/, and structs are handed
 * over as they are. So the entry refuses a libgram that is not of its build. */
#ifndef GR_OP_GPU_ENTRY_H
#define GR_OP_GPU_ENTRY_H

#include "gram/gram.h"
#include "op/op.h"

#define GR_GPU_LIBRARY "libgram-cuda.so"
#define GR_GPU_ENTRY "gr_gpu_entry"

/* Of the structs that go over the border. */
typedef struct { const char *version; size_t kern, lane, kind, linear, attn; } gr_gpu_build;
#define GR_GPU_BUILD ((gr_gpu_build){ GRAM_VERSION, sizeof(struct gr_kern), sizeof(gr_lane), sizeof(gr_device_kind), \
                                      sizeof(gr_linear_kind), sizeof(gr_attn_pass) })

typedef struct { char name[256]; int major, minor, processors; uint64_t bytes, free_bytes; } gr_gpu_info;

typedef struct {
    /* The devices, n of them at most; how many there are. err says why there are none. */
    size_t (*list)(gr_gpu_info *out, size_t n, gram_err *err);
    /* The parts of a device: gr_device_open_kind() makes one of them, and closes it. cpu: the table that the GPU's
     * begins as. */
    gram_status (*open)(const gr_device_kind **kind, void **self, const struct gr_kern **op, size_t index,
                        const struct gr_kern *cpu, gram_err *err);
} gr_gpu;

/* Returns NULL where libgram is of another build. */
typedef const gr_gpu *gr_gpu_entry_fn(const gr_gpu_build *build);

#endif
