/* test_limits.c - the limits of control groups, of both versions, as a tree of files. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "check.h"
#include "base/limits.h"

static char *dir;

static char *put(const char *name, const char *text)
{
    static char path[600];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
    return path;
}

static void folder(const char *name)
{
    char path[600];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(mkdir(path, 0777), 0);
}

static void the_least_limit_around_a_group_holds(void **state)
{
    static const struct { const char *groups; uint64_t want; } one[] = {
        { "0::/a/b\n", 3000 },                          /* b has none, a around it has */
        { "0::/a/b/c/\n", 2000 },
        { "0::/\n", 9000 },
        { "0::/host/name/of/it\n", 9000 },              /* a container: the outermost is its own */
        { "4:memory:/x\n0::/\n", 500 },
        { "4:memory:/x/y\n", 400 },
        { "4:memory:/none\n3:cpuset:/x/y\n", 800 },
        { "4:cpu:/x\n", UINT64_MAX },
        { "nonsense\n:\n\n", UINT64_MAX },
        { "", UINT64_MAX },
    };

    (void)state;
    folder("a"), folder("a/b"), folder("a/b/c"), folder("memory"), folder("memory/x"), folder("memory/x/y");
    put("memory.max", "9000\n"), put("a/memory.max", "3000\n");
    put("a/b/memory.max", "max\n"), put("a/b/c/memory.max", "2000\n");
    put("memory/memory.limit_in_bytes", "800\n"), put("memory/x/memory.limit_in_bytes", "500\n");
    put("memory/x/y/memory.limit_in_bytes", "400\n");
    for (size_t i = 0; i < GR_COUNT(one); i++)
        if (gr_group_limit(GR_LIMIT_RAM, put("cgroup", one[i].groups), dir) != one[i].want)
            fail_msg("%s: wanted %lu", one[i].groups, (unsigned long)one[i].want);
    assert_true(gr_group_limit(GR_LIMIT_RAM, "/nowhere/at/all", dir) == UINT64_MAX);
}

/* Of 64 cores a container may be granted the time of two and a half: three threads keep it busy, 64 only wait. */
static void the_least_share_of_time_holds(void **state)
{
    static const struct { const char *groups; uint64_t want; } one[] = {
        { "0::/pod/box\n", 3 },
        { "0::/pod\n", 4 },
        { "0::/\n", UINT64_MAX },
        { "5:cpu,cpuacct:/y\n", 2 },
        { "5:cpuacct,cpu:/y/none\n", 1 },
        { "5:cpuacct:/y\n", UINT64_MAX },
        { "5:cpu:/\n", UINT64_MAX },
    };

    (void)state;
    folder("pod"), folder("pod/box"), folder("cpu"), folder("cpu/y"), folder("cpu/y/none");
    put("cpu.max", "max 100000\n"), put("pod/cpu.max", "400000 100000\n"), put("pod/box/cpu.max", "250000 100000\n");
    put("cpu/cpu.cfs_quota_us", "-1\n"), put("cpu/cpu.cfs_period_us", "100000\n");
    put("cpu/y/cpu.cfs_quota_us", "100001\n"), put("cpu/y/cpu.cfs_period_us", "100000\n");
    put("cpu/y/none/cpu.cfs_quota_us", "5000\n"), put("cpu/y/none/cpu.cfs_period_us", "100000\n");
    for (size_t i = 0; i < GR_COUNT(one); i++)
        if (gr_group_limit(GR_LIMIT_CORES, put("cgroup", one[i].groups), dir) != one[i].want)
            fail_msg("%s: wanted %lu", one[i].groups, (unsigned long)one[i].want);
}

static void there_is_something(void **state)
{
    (void)state;
    assert_true(gr_ram() > 1 << 24 && gr_ram() <= (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE));
    assert_true(gr_cores() >= 1 && gr_cores() <= (size_t)sysconf(_SC_NPROCESSORS_CONF));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_limit_around_a_group_holds),
        cmocka_unit_test(the_least_share_of_time_holds),
        cmocka_unit_test(there_is_something),
    };

    dir = check_tmpdir();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
