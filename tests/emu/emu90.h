/* emu90.h - barriers, copies and products of a Hopper, as op/gpu90.cuh uses them. Copies and products are made when
 * somebody waits for them (emu_opt.lazy), so that a wait that is missing, or a buffer that is filled too early, changes
 * the result. */
#ifndef TESTS_EMU_EMU90_H
#define TESTS_EMU_EMU90_H

#include "emu/emu.h"

/* What cuTensorMapEncodeTiled() would make: rows of a matrix of bf16, boxes of box_rows x 64. */
typedef struct { const uint16_t *p; int rows, cols, ld, box_rows; } CUtensorMap;

void emu_bar_init(uint64_t *b, int n);
void emu_bar_arrive(uint64_t *b, int bytes, int line);
void emu_bar_wait(uint64_t *b, int parity, int line);
void emu_tma(void *shared, const CUtensorMap *map, int x, int y, uint64_t *b, int line);
void emu_meet4(int line, void *slot, void (*fn)(void *const *slot));    /* the four warps of a warpgroup */
void emu_wgmma_fence(int line);
/* Of 64 x n: a NULL: both in shared memory; else b's K is its rows. d NULL: commits. */
void emu_wgmma(int n, float *d, const uint32_t *a, uint64_t at_a, uint64_t at_b, int add, int line);
void emu_proxy_fence(void);
void emu_wgmma_wait(int may_run, int line);

#endif
