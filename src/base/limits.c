/* limits.c - see limits.h. A container is killed, without a word, when it takes more memory than its control group may
 * have, and stands still for the rest of each period when its threads have used up its time; what sysconf() and the
 * scheduler tell there is of the machine around it.
 *
 *     version 2    0::/a/b            /sys/fs/cgroup/a/b/memory.max                       a number or "max"
 *                                     /sys/fs/cgroup/a/b/cpu.max                          microseconds of so many, or
 *                                                                                         "max"
 *     version 1    4:memory:/a/b      /sys/fs/cgroup/memory/a/b/memory.limit_in_bytes     a number, huge: none
 *                  3:cpu,cpuacct:/a   /sys/fs/cgroup/cpu/a/cpu.cfs_quota_us               microseconds, -1: none,
 *                                     /sys/fs/cgroup/cpu/a/cpu.cfs_period_us              of so many
 *
 * In a container the names may be those outside of it, and then there are no such folders; its own limit is in the
 * outermost one that it sees. */
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include "base/limits.h"
#include "base/mem.h"

enum { PATH_MOST = 4096 };

/* The first `most` numbers in a file; those that are not there are left as they are. */
static void numbers_in(const char *dir, const char *file, int64_t *n, int most)
{
    char path[3 * PATH_MOST];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, file);
    f = fopen(path, "r");
    while (f && most-- > 0 && fscanf(f, "%" SCNd64, n) == 1)
        n++;
    if (f)
        fclose(f);
}

/* What a group's own files say. */
static uint64_t limit_in(gr_limit what, int version, const char *dir)
{
    int64_t n[2] = { -1, -1 };

    if (what == GR_LIMIT_RAM) {
        numbers_in(dir, version == 2 ? "memory.max" : "memory.limit_in_bytes", n, 1);
        return n[0] >= 0 ? (uint64_t)n[0] : UINT64_MAX;
    }
    if (version == 2) {
        numbers_in(dir, "cpu.max", n, 2);
    } else {
        numbers_in(dir, "cpu.cfs_quota_us", n, 1);
        numbers_in(dir, "cpu.cfs_period_us", n + 1, 1);
    }
    return n[0] > 0 && n[1] > 0 ? (uint64_t)((n[0] - 1) / n[1] + 1) : UINT64_MAX;
}

/* The least of a group's limit and of those of all groups around it, the outermost too. */
static uint64_t least_around(gr_limit what, int version, const char *mount, const char *group)
{
    static const char *const folder[] = { [GR_LIMIT_RAM] = "/memory", [GR_LIMIT_CORES] = "/cpu" };
    char dir[2 * PATH_MOST];
    size_t n = strlen(group);
    uint64_t least = UINT64_MAX;

    for (;;) {
        while (n > 0 && group[n - 1] == '/')
            n--;
        snprintf(dir, sizeof dir, "%s%s%.*s", mount, version == 2 ? "" : folder[what], (int)n, group);
        least = gr_min(least, limit_in(what, version, dir));
        if (n == 0)
            return least;
        while (n > 0 && group[n - 1] != '/')
            n--;
    }
}

/* Whether "cpu,cpuacct" names one of them. */
static bool names(const char *kinds, const char *one)
{
    size_t n;

    for (; *kinds; kinds += n + (kinds[n] != '\0')) {
        n = strcspn(kinds, ",");
        if (n == strlen(one) && !strncmp(kinds, one, n))
            return true;
    }
    return false;
}

uint64_t gr_group_limit(gr_limit what, const char *cgroups, const char *mount)
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
            least = gr_min(least, least_around(what, 2, mount, group));
        else if (names(kinds + 1, what == GR_LIMIT_RAM ? "memory" : "cpu"))
            least = gr_min(least, least_around(what, 1, mount, group));
    }
    if (f)
        fclose(f);
    return least;
}

uint64_t gr_ram(void)
{
    uint64_t machine = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);

    return gr_min(machine, gr_group_limit(GR_LIMIT_RAM, "/proc/self/cgroup", "/sys/fs/cgroup"));
}

bool gr_disk_free(const char *path, uint64_t *bytes)
{
    struct statvfs st;
    bool known = statvfs(path, &st) == 0 && st.f_blocks > 0;

    *bytes = known ? (uint64_t)st.f_bavail * st.f_frsize : 0;
    return known;
}

size_t gr_cores(void)
{
    cpu_set_t set;
    uint64_t granted = sched_getaffinity(0, sizeof set, &set) == 0 ? (uint64_t)CPU_COUNT(&set) : 1;

    return (size_t)gr_min(granted, gr_group_limit(GR_LIMIT_CORES, "/proc/self/cgroup", "/sys/fs/cgroup"));
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
