/* limits.h - how much memory, how much disk and how many cores there are. */
#ifndef GR_BASE_LIMITS_H
#define GR_BASE_LIMITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GR_GIB ((double)(1 << 30))

/* Bytes that this process may hold: the machine's, or fewer where it runs in a container with a limit. */
uint64_t gr_ram(void);
uint64_t gr_ram_held(void);                 /* bytes that it holds: its resident set; 0: not known */
/* Bytes that this user may still write to the file system of a path; false where it does not say. */
bool gr_disk_free(const char *path, uint64_t *bytes);
/* Cores that the scheduler grants this process, or fewer: as many, rounded up, as its container may keep busy. */
size_t gr_cores(void);

/* The least limit of the control groups that `cgroups`, a file like /proc/self/cgroup, names, where `mount` is
 * /sys/fs/cgroup: of the groups themselves and of all around them. UINT64_MAX: none has one. */
typedef enum { GR_LIMIT_RAM, GR_LIMIT_CORES } gr_limit;
uint64_t gr_group_limit(gr_limit what, const char *cgroups, const char *mount);

#endif
