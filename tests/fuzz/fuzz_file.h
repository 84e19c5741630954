/* fuzz_file.h - the input of a fuzz target as a file in memory with a name. */
#ifndef FUZZ_FILE_H
#define FUZZ_FILE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The name of one file of the process, made to hold the bytes. */
static inline const char *fuzz_file(const uint8_t *data, size_t size)
{
    static char path[64];
    static int fd = -1;

    if (fd < 0) {
        fd = memfd_create("fuzz", 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    if (fd < 0 || ftruncate(fd, 0) || pwrite(fd, data, size, 0) != (ssize_t)size)
        abort();
    return path;
}

/* Reads each byte, so that the sanitizer sees those that are not there. */
static inline void fuzz_touch(const void *p, uint64_t n)
{
    static volatile unsigned char last;

    for (uint64_t i = 0; i < n; i++)
        last = ((const unsigned char *)p)[i];
    (void)last;
}

#endif
