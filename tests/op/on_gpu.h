/* on_gpu.h - the kernels of a GPU as a table that takes what lies on the host, so that tests of kernels run on it as
 * they do on a CPU. The GPU is the emulated one that the build put beside the tests, or a real one where GRAM_CUDA_PATH
 * names its library. */
#ifndef TESTS_OP_ON_GPU_H
#define TESTS_OP_ON_GPU_H

#include "base/cpu.h"
#include "check.h"
#include "op/op.h"

/* Each call brings its matrices to the device, and back what it writes. Lanes are not looked at. NULL: there is none,
 * as where no C++ compiler is. */
const struct gr_kern *on_gpu(void);
/* The same with all matrices in bfloat16 there; what comes back is float32 again. */
const struct gr_kern *on_gpu_bf16(void);
/* And on one that multiplies by wgmma where that is written, if it is a Hopper. */
const struct gr_kern *on_hopper_bf16(void);

/* EACH_CPU, and then the GPU, where check_op is on_gpu(): an emulated one has no time for many seeds. */
#define EACH_DEVICE \
    for (size_t cpu_ = 0; cpu_ <= GR_COUNT(check_cpu) || (check_op = gr_kern_of(gr_cpu()), 0); cpu_++) \
        if (cpu_ < GR_COUNT(check_cpu) \
            ? (check_cpu[cpu_] & ~gr_cpu()) == 0 && (check_op = gr_kern_of(check_cpu[cpu_]), 1) \
            : (check_op = on_gpu()) != NULL)

#endif
