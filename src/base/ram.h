/* ram.h - how much memory there is. */
#ifndef GR_BASE_RAM_H
#define GR_BASE_RAM_H

#include <stdint.h>

/* Bytes that this process may hold: the machine's, or fewer where it runs in a container with a limit. */
uint64_t gr_ram(void);
uint64_t gr_ram_held(void);                 /* bytes that it holds: its resident set; 0: not known */
/* The least limit of the control groups that `cgroups`, a file like /proc/self/cgroup, names, where `mount` is
 * /sys/fs/cgroup: of the groups themselves and of all around them. UINT64_MAX: none has one. */
uint64_t gr_ram_limit(const char *cgroups, const char *mount);

#endif
