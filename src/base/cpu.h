/* cpu.h - what this processor and this operating system both grant. */
#ifndef GR_BASE_CPU_H
#define GR_BASE_CPU_H

#include <stddef.h>
#include "gram/error.h"

enum {
    GR_CPU_AVX2   = 1,      /* with FMA and F16C */
    GR_CPU_AVX512 = 2,      /* F, BW, DQ, VL */
    GR_CPU_VNNI   = 4,      /* AVX-512 VNNI */
    GR_CPU_BF16   = 8,      /* AVX-512 BF16 */
    GR_CPU_AMX    = 16,     /* AMX, of bytes and of bfloat16 */
    GR_CPU_SPLIT  = 32      /* float32 is multiplied as sums of two bfloat16, which is faster where there is AMX */
};

/* The bits, capped by GRAM_CPU=ref|avx2|avx512|vnni|bf16|amx in the environment; bf16x3 is bf16 with SPLIT. */
unsigned gr_cpu(void);
/* Whether GRAM_CPU is one of these words, and what it forces is there: to be asked before anything is computed. What it
 * caps may be more than there is. */
gram_status gr_cpu_check(gram_err *err);
const char *gr_cpu_name(unsigned bits);     /* "avx512+vnni"; never NULL */
/* How many bytes ahead of where it reads a loop that computes with a long stream asks for it, into the first cache; 0:
 * it does not. Intel's cores fetch by themselves no further than a page of 4 KiB, and such loops waited half as long
 * again for memory; those of AMD were slower where they were asked. */
size_t gr_cpu_ahead(void);

#endif
