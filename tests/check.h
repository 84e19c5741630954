/* check.h - what the tests share: random and fenced memory, closeness with a derived tolerance, and every CPU
 * path in turn. Include it instead of <cmocka.h>. */
#ifndef CHECK_H
#define CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/mem.h"

#define CHECK_OK(call) do { gram_status s_ = (call); if (s_) fail_msg("%s: %s", #call, check_err.text); } while (0)
extern gram_err check_err;              /* pass &check_err to the call that CHECK_OK guards */

/* Memory whose last byte is the last before a page that faults: an over-read by one is seen without a
 * sanitizer. Freed at exit of the program. */
void *check_fenced(size_t bytes);
float *check_randn(size_t n, uint64_t seed);    /* fenced, standard normal */

/* |got - want| <= off. cmocka's own assert_float_equal() takes a NAN for whatever is wanted. */
#define CHECK_NEAR(got, want, off) do { const double got_ = (got), want_ = (want); if (!(fabs(got_ - want_) <= (off))) \
    fail_msg("%s:%d: " #got " is %.12g, wanted %.12g", __FILE__, __LINE__, got_, want_); } while (0)

/* max |a - b| / (1e-30 + max |b|) <= tol, else fails with the place of the worst. */
void check_close_at(const float *a, const float *b, size_t n, double tol, const char *file, int line);
#define CHECK_CLOSE(a, b, n, tol) check_close_at(a, b, n, tol, __FILE__, __LINE__)

/* Runs the block that follows with check_op the kernels of each CPU that this machine and GRAM_CPU grant, the best
 * first, and leaves the best. Needs base/cpu.h and op/op.h. */
extern const struct gr_kern *check_op;
#define EACH_CPU \
    for (size_t cpu_ = 0; cpu_ < GR_COUNT(check_cpu) || (check_op = gr_kern_of(gr_cpu()), 0); cpu_++) \
        if ((check_cpu[cpu_] & ~gr_cpu()) == 0 && (check_op = gr_kern_of(check_cpu[cpu_]), 1))
static const unsigned check_cpu[] = { 7, 3, 1, 0 };     /* VNNI, AVX-512, AVX2, none of them */

/* Runs this program again under each GRAM_CPU that takes something from what it uses here, with one argument more,
 * unless it has that argument itself: oneDNN settles on an instruction set once in a process. Returns how many of these
 * runs failed. Not where GRAM_DEVICE says who computes. */
int check_capped(int argc, char **argv);

/* Where GRAM_DIGESTS names a file, adds a line to it: what these bytes are called, and their digest. Two builds that
 * give the same numbers write the same lines; scripts/digests.sh compares them. */
void check_digest(const void *p, size_t bytes, const char *name, ...) __attribute__((format(printf, 3, 4)));

/* The same where it takes long: a sanitizer has seen the kernels in their own tests. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CHECK_CAPPED(argc, argv) ((void)(argc), (void)(argv), 0)
#else
#define CHECK_CAPPED(argc, argv) check_capped(argc, argv)
#endif

/* ThreadSanitizer looks for threads that meet: a run by one thread alone shows it nothing, and takes it twenty times as
 * long. */
#ifdef __SANITIZE_THREAD__
enum { CHECK_RACES = 1 };
#else
enum { CHECK_RACES = 0 };
#endif

/* AddressSanitizer has seen all of a run's code after a few of its steps. */
#ifdef __SANITIZE_ADDRESS__
enum { CHECK_ADDRESSES = 1 };
#else
enum { CHECK_ADDRESSES = 0 };
#endif

char *check_tmpdir(void);               /* a fresh directory, removed at exit */
char *check_tmppath(const char *name);  /* of a file in it; malloc'ed */
char *check_write(const char *name, const char *text);      /* writes that file; its path, malloc'ed */

#endif
