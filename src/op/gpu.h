/* gpu.h - the GPUs of this machine, through libgram-cuda.so, which is looked for when one is first asked for. */
#ifndef GR_OP_GPU_H
#define GR_OP_GPU_H

#include "op/gpu_entry.h"

/* n of them at most; how many there are. 0: *err is the sentence that says what is missing. */
size_t gr_gpu_list(gr_gpu_info *out, size_t n, gram_err *err);
/* "cuda:0" and so on, of which `index` is the number. */
gram_status gr_gpu_open(gr_device **out, size_t index, gram_err *err);

#endif
