/* runtime.h - NVIDIA's runtime and cublasLt as this folder calls them, or with GR_EMU what stands in for them
 * (tests/emu/). */
#ifndef GR_CUDA_RUNTIME_H
#define GR_CUDA_RUNTIME_H

#ifdef GR_EMU
#include <emu/emu_lt.h>
#else
#include <cublasLt.h>
#include <cuda_runtime_api.h>
#endif

#endif
