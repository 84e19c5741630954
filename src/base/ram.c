/* ram.c - see ram.h. A container is killed, without a word, when it takes more than its control group may have; what
 * sysconf() tells there is the memory of the machine around it.
 *
 *     version 2    0::/a/b            /sys/fs/cgroup/a/b/memory.max                       a number or "max"
 *     version 1    4:memory:/a/b      /sys/fs/cgroup/memory/a/b/memory.limit_in_bytes     a number, huge: none
 *
 * In a container the names may be those outside of it, and then there are no such folders; its own limit is in the
 * outermost one that it sees. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"
#include "base/ram.h"

enum { PATH_MOST = 4096 };

static uint64_t number_in(const char *path)
{
    FILE *f = fopen(path, "r");
    uint64_t n = UINT64_MAX;

    if (f && fscanf(f, "%" SCNu64, &n) != 1)
        n = UINT64_MAX;
    if (f)
        fclose(f);
    return n;
}

/* Of a group and all around it, the outermost too. */
static uint64_t limit_of(const char *mount, const char *folder, const char *group, const char *file)
{
    char path[2 * PATH_MOST];
    size_t n = strlen(group);
    uint64_t least = UINT64_MAX;

    for (;;) {
        while (n > 0 && group[n - 1] == '/')
            n--;
        snprintf(path, sizeof path, "%s%s%.*s/%s", mount, folder, (int)n, group, file);
        least = gr_min(least, number_in(path));
        if (n == 0)
            return least;
        while (n > 0 && group[n - 1] != '/')
            n--;
    }
}

uint64_t gr_ram_limit(const char *cgroups, const char *mount)
{
    FILE *f = fopen(cgroups, "r");
    char line[PATH_MOST], *kinds, *group;
    uint64_t least = UINT64_MAX;

    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        kinds = strchr(line, ':');
        group = kinds ? strchr(kinds + 1, ':') : NULL;
        if (!group)
            continue;
        *group++ = '\0';
        if (kinds[1] == '\0')
            least = gr_min(least, limit_of(mount, "", group, "memory.max"));
        else if (!strcmp(kinds + 1, "memory"))
            least = gr_min(least, limit_of(mount, "/memory", group, "memory.limit_in_bytes"));
    }
    if (f)
        fclose(f);
    return least;
}

uint64_t gr_ram(void)
{
    uint64_t machine = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);

    return gr_min(machine, gr_ram_limit("/proc/self/cgroup", "/sys/fs/cgroup"));
}

uint64_t gr_ram_held(void)
{
    FILE *f = fopen("/proc/self/statm", "r");
    uint64_t all, resident = 0;

    if (f && fscanf(f, "%" SCNu64 " %" SCNu64, &all, &resident) != 2)
        resident = 0;
    if (f)
        fclose(f);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}
