/* emu_opt.h - how the emulated GPU runs, for tests in C. */
#ifndef TESTS_EMU_EMU_OPT_H
#define TESTS_EMU_EMU_OPT_H

#include <stdbool.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

extern struct emu_options {
    int order;                          /* of threads: 0 ascending, 1 descending, 2 random */
    uint64_t seed;
    bool lazy;                          /* asynchronous things happen as late as they may */
} emu_opt;

#ifdef __cplusplus
}
#endif
#endif
