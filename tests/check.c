/* check.c - see check.h. */
#include <ftw.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/cpu.h"
#include "base/digest.h"
#include "check.h"

gram_err check_err;
const struct gr_kern *check_op;

void *check_fenced(size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), whole = gr_round_up(bytes ? bytes : 1, page);
    unsigned char *p = mmap(NULL, whole + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED || mprotect(p + whole, page, PROT_NONE))
        fail_msg("no fenced memory");
    return p + whole - bytes;
}

/* splitmix64, and Box-Muller over it: the same numbers on every machine. */
static double uniform(uint64_t *s)
{
    uint64_t z = *s += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return ((double)((z ^ (z >> 31)) >> 11) + 0.5) * 0x1p-53;
}

float *check_randn(size_t n, uint64_t seed)
{
    float *x = check_fenced(n * sizeof *x);

    for (size_t i = 0; i < n; i++) {
        double r = sqrt(-2 * log(uniform(&seed)));
        x[i] = (float)(r * cos(2 * 3.14159265358979323846 * uniform(&seed)));
    }
    return x;
}

void check_close_at(const float *a, const float *b, size_t n, double tol, const char *file, int line)
{
    double top = 1e-30, worst = 0;
    size_t at = 0;

    for (size_t i = 0; i < n; i++)
        top = fmax(top, fabs((double)b[i]));
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - (double)b[i]) / top;
        if (!(d <= worst)) {            /* a NaN is the worst there is */
            worst = d;
            at = i;
        }
    }
    if (!(worst <= tol)) {
        print_error("%s:%d: at %zu of %zu: %.9g, wanted %.9g: off by %.3g of the largest, %.3g allowed\n",
                    file, line, at, n, (double)a[at], (double)b[at], worst, tol);
        fail();
    }
}

static char *tmpdir;

static int unlink_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st, (void)kind, (void)ftw;
    return remove(path);
}

static void remove_tmpdir(void)
{
    nftw(tmpdir, unlink_one, 16, FTW_DEPTH | FTW_PHYS);
    free(tmpdir);
}

char *check_tmpdir(void)
{
    if (!tmpdir) {
        tmpdir = strdup("/tmp/gram-test-XXXXXX");
        if (!tmpdir || !mkdtemp(tmpdir))
            fail_msg("no temporary directory");
        atexit(remove_tmpdir);
    }
    return tmpdir;
}

/* Runs argv[0] under this GRAM_CPU; whether it passed. */
static bool passes_capped(const char *program, const char *cap)
{
    int status = 1;
    pid_t child = fork();

    if (child == 0) {
        setenv("GRAM_CPU", cap, 1);
        execl(program, program, "capped", (char *)NULL);
        _exit(127);
    }
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

void check_digest(const void *p, size_t bytes, const char *name, ...)
{
    const char *path = getenv("GRAM_DIGESTS");
    FILE *f = path ? fopen(path, "a") : NULL;
    va_list ap;

    if (!f)
        return;
    va_start(ap, name);
    fprintf(f, "%s ", gr_cpu_name(gr_cpu()));
    vfprintf(f, name, ap);
    va_end(ap);
    fprintf(f, " %016" PRIx64 "\n", gr_digest(GR_DIGEST, p, bytes));
    fclose(f);
}

int check_capped(int argc, char **argv)
{
    static const struct { const char *name; unsigned keeps; } cap[] = {
        { "bf16", GR_CPU_AVX2 | GR_CPU_AVX512 | GR_CPU_VNNI | GR_CPU_BF16 },
        { "avx512", GR_CPU_AVX2 | GR_CPU_AVX512 }, { "avx2", GR_CPU_AVX2 }, { "ref", 0 },
    };
    unsigned ran = gr_cpu();
    int failed = 0;

#ifdef __SANITIZE_THREAD__
    return 0;                               /* threads meet in the same places whatever the kernels are */
#endif
    if (getenv("GRAM_DEVICE"))
        return 0;                               /* a GPU computes, whatever the CPU grants */
    for (size_t i = 0; argc == 1 && i < GR_COUNT(cap); i++) {
        if ((ran & cap[i].keeps) == ran)
            continue;                       /* it takes nothing away */
        ran &= cap[i].keeps;
        if (!passes_capped(argv[0], cap[i].name)) {
            print_error("failed with GRAM_CPU=%s\n", cap[i].name);
            failed++;
        }
    }
    return failed;
}

char *check_tmppath(const char *name)
{
    char *p;

    assert_true(asprintf(&p, "%s/%s", check_tmpdir(), name) > 0);
    return p;
}

char *check_write(const char *name, const char *text)
{
    char *path = check_tmppath(name);
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
    return path;
}

/* Nothing here outlives a machine that goes down, and a disk in step takes longer than most tests. */
int fsync(int fd)
{
    (void)fd;
    return 0;
}
