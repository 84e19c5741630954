/* cpu.c - see cpu.h. __builtin_cpu_supports() asks cpuid and xgetbv both; compilers do not agree on its names of what
 * is newer, for which cpuid and xgetbv are asked here. */
#include <cpuid.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/cpu.h"
#include "base/err.h"

enum { UP_TO_AVX512 = GR_CPU_AVX2 | GR_CPU_AVX512, UP_TO_VNNI = UP_TO_AVX512 | GR_CPU_VNNI,
       UP_TO_BF16 = UP_TO_VNNI | GR_CPU_BF16, NO_WORD = 1 << 30 };

static bool has_avx512_bf16(void)
{
    unsigned a = 0, b, c, d;

    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && a >> 5 & 1;
}

/* The tiles, products of bfloat16 and of bytes, and the state of both that the system keeps. */
static bool has_amx(void)
{
    enum { TILES = 1 << 24, OF_BF16 = 1 << 22, OF_BYTES = 1 << 25, KEPT = 1 << 17 | 1 << 18 };
    unsigned a, b, c, d = 0, low, high;

    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 27 & 1) || !__get_cpuid_count(7, 0, &a, &b, &c, &d) ||
        (~d & (TILES | OF_BF16 | OF_BYTES)))
        return false;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & KEPT) == KEPT;
}

static unsigned granted(void)
{
    unsigned bits = 0;

    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))    /* F16C is older than AVX2 */
        bits |= GR_CPU_AVX2;
    if ((bits & GR_CPU_AVX2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        bits |= GR_CPU_AVX512;
    if ((bits & GR_CPU_AVX512) && __builtin_cpu_supports("avx512vnni"))
        bits |= GR_CPU_VNNI;
    if ((bits & GR_CPU_VNNI) && has_avx512_bf16())
        bits |= GR_CPU_BF16;
    if ((bits & GR_CPU_BF16) && has_amx())
        bits |= GR_CPU_AMX | GR_CPU_SPLIT;
    return bits;
}

/* What GRAM_CPU says, and the bits that it leaves; NULL: it says nothing. */
static const char *asked(unsigned *most)
{
    static const struct { const char *name; unsigned most; } cap[] = {
        { "amx", ~0u }, { "bf16x3", UP_TO_BF16 }, { "bf16", UP_TO_BF16 }, { "vnni", UP_TO_VNNI },
        { "avx512", UP_TO_AVX512 }, { "avx2", GR_CPU_AVX2 }, { "ref", 0 },
    };
    const char *name = getenv("GRAM_CPU");

    *most = NO_WORD;
    for (size_t i = 0; name && i < sizeof cap / sizeof *cap; i++)
        if (!strcmp(name, cap[i].name))
            *most = cap[i].most;
    return name && *name ? name : NULL;
}

unsigned gr_cpu(void)
{
    unsigned most, bits = granted();
    const char *name = asked(&most);

    if (!name)
        return bits;
    bits &= most;
    return strcmp(name, "bf16x3") || !(bits & GR_CPU_BF16) ? bits : bits | GR_CPU_SPLIT;
}

gram_status gr_cpu_check(gram_err *err)
{
    unsigned most;
    const char *name = asked(&most);

    if (name && most == NO_WORD)
        return gr_fail(err, GRAM_EARG, "GRAM_CPU: wanted one of ref|avx2|avx512|vnni|bf16|bf16x3|amx, found \"%s\"",
                       name);
    if (name && !strcmp(name, "bf16x3") && !(granted() & GR_CPU_BF16))
        return gr_fail(err, GRAM_EUNSUPPORTED, "GRAM_CPU=bf16x3: this CPU multiplies no bfloat16 (AVX512_BF16 is "
                       "wanted, %s found)", gr_cpu_name(granted()));
    return GRAM_OK;
}

const char *gr_cpu_name(unsigned bits)
{
    return bits & GR_CPU_AMX ? "avx512+vnni+bf16+amx" :
           bits & GR_CPU_BF16 ? bits & GR_CPU_SPLIT ? "avx512+vnni+bf16x3" : "avx512+vnni+bf16" :
           bits & GR_CPU_VNNI ? "avx512+vnni" : bits & GR_CPU_AVX512 ? "avx512" :
           bits & GR_CPU_AVX2 ? "avx2" : "ref";
}

size_t gr_cpu_ahead(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_is("intel") ? 4096 : 0;
}
