/* amx.c - AMX on a processor without it: a library to be preloaded (tests/e2e/amx.sh), under which programs run what
 * they and oneDNN would run on a processor that has it. Nothing but its speed is unlike it.
 *
 * An AMX instruction is an invalid one here, and its signal's handler does what Intel's manual says that it does
 * ("Software Developer's Manual", volume 2; the pseudocode there names its parts as they are named here). For cpuid and
 * xgetbv to tell of AMX, patch.py has put an invalid instruction of the same length in their place, and the handler
 * executes them and adds to what they say; arch_prctl's permission is granted here.
 *
 * Known limits: what a processor does that is asked for a wrong tile is not told apart (the run ends with a sentence),
 * and of TDPBF16PS the manual's order of sums is kept: within a tile even and odd products apart, each by fused
 * products, then both together, then the tile that is added to. Denormals count as zero, as there. */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <cpuid.h>
#include <dlfcn.h>
#include <errno.h>
#include <immintrin.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define FAST __attribute__((target("avx512f")))

enum { TILES = 8, ROWS = 16, BYTES = 64 };

/* A thread's tiles, as its registers are its own. What lies beyond a tile's size is zero. */
typedef struct {
    uint8_t config[64];
    uint8_t rows[TILES];
    uint16_t bytes[TILES];          /* of a row; 0: not configured */
    uint8_t data[TILES][ROWS][BYTES];
} tiles;
static __thread tiles mine __attribute__((tls_model("initial-exec")));
static uint64_t products;           /* of all threads: a test asks that there were some */

static void die(const char *why, const uint8_t *at)
{
    char line[256];
    int n = snprintf(line, sizeof line, "amx: %s; at %p: %02x %02x %02x %02x %02x %02x\n", why, (const void *)at, at[0],
                     at[1], at[2], at[3], at[4], at[5]);

    if (write(2, line, (size_t)n) < 0)
        _exit(121);
    _exit(120);
}

/* ---- cpuid, xgetbv, arch_prctl ------------------------------------------------------------------------ */

enum { LAST_LEAF = 0x1e, AMX_BITS = 1 << 22 | 1 << 24 | 1 << 25, STATE = 1 << 17 | 1 << 18 };

static void tell_cpuid(greg_t *reg)
{
    unsigned leaf = (unsigned)reg[REG_RAX], sub = (unsigned)reg[REG_RCX], a, b, c, d;

    __cpuid_count(leaf, sub, a, b, c, d);
    if (leaf == 0 && a < LAST_LEAF)
        a = LAST_LEAF;
    if (leaf == 7 && sub == 0)
        d |= AMX_BITS;
    if (leaf > 0x10 && leaf <= LAST_LEAF)
        a = b = c = d = 0;
    if (leaf == 0x1d) {                                         /* palette 1: 8 tiles of 16 rows of 64 bytes */
        a = sub == 0 ? 1 : sub == 1 ? 8192 | 1024u << 16 : 0;
        b = sub == 1 ? BYTES | TILES << 16 : 0;
        c = sub == 1 ? ROWS : 0;
    }
    if (leaf == 0x1e && sub == 0)
        b = 16 | 64 << 8;
    reg[REG_RAX] = a;
    reg[REG_RBX] = b;
    reg[REG_RCX] = c;
    reg[REG_RDX] = d;
}

static void tell_xgetbv(greg_t *reg)
{
    uint32_t low, high;

    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"((uint32_t)reg[REG_RCX]));
    reg[REG_RAX] = low | (reg[REG_RCX] == 0 ? STATE : 0);
    reg[REG_RDX] = high;
}

/* oneDNN asks the system to let it use tiles, by syscall(). */
long syscall(long number, ...)
{
    enum { GET_PERMISSION = 0x1022, ASK_PERMISSION = 0x1023 };
    long a[6];
    va_list list;
    long rc;

    va_start(list, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(list, long);
    va_end(list);
    if (number == SYS_arch_prctl && a[0] == ASK_PERMISSION)
        return 0;
    if (number == SYS_arch_prctl && a[0] == GET_PERMISSION) {
        *(uint64_t *)a[1] = STATE;
        return 0;
    }
    {
        register long r10 __asm__("r10") = a[3];
        register long r8 __asm__("r8") = a[4];
        register long r9 __asm__("r9") = a[5];
        __asm__ volatile("syscall" : "=a"(rc) : "a"(number), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
                         : "rcx", "r11", "memory");
    }
    if (rc < 0 && rc > -4096) {
        errno = (int)-rc;
        return -1;
    }
    return rc;
}

/* ---- Tiles -------------------------------------------------------------------------------------------- */

static void load_config(const uint8_t *from, const uint8_t *at)
{
    memset(&mine, 0, sizeof mine);
    if (from[0] > 1)
        die("a palette that there is not", at);
    if (from[0] == 0)
        return;
    memcpy(mine.config, from, sizeof mine.config);
    for (int t = 0; t < TILES; t++) {
        memcpy(&mine.bytes[t], from + 16 + 2 * t, 2);
        mine.rows[t] = from[48 + t];
        if (mine.bytes[t] > BYTES || mine.rows[t] > ROWS || !mine.bytes[t] != !mine.rows[t])
            die("a tile of a size that there is not", at);
    }
}

static void move_tile(int t, uint8_t *memory, int64_t stride, int store, const uint8_t *at)
{
    if (!mine.config[0] || !mine.rows[t])
        die("a tile that was not configured", at);
    if (!store)
        memset(mine.data[t], 0, sizeof mine.data[t]);
    for (int r = 0; r < mine.rows[t]; r++)
        if (store)
            memcpy(memory + r * stride, mine.data[t][r], mine.bytes[t]);
        else
            memcpy(mine.data[t][r], memory + r * stride, mine.bytes[t]);
    mine.config[1] = 0;                                         /* start_row */
}

/* Sums are in float32 with denormals taken and given as zero, to which the signal's handler sets the thread. */
FAST static void products_of_bf16(int dst, int a, int b)
{
    int pairs = mine.bytes[a] / 4;
    __mmask16 columns = (__mmask16)((1u << mine.bytes[dst] / 4) - 1);

    for (int m = 0; m < mine.rows[dst]; m++) {
        __m512 even = _mm512_setzero_ps(), odd = even;

        for (int k = 0; k < pairs; k++) {
            uint32_t x;
            __m512i y = _mm512_loadu_si512(mine.data[b][k]), high = _mm512_set1_epi32((int)0xffff0000);

            memcpy(&x, mine.data[a][m] + 4 * k, 4);
            even = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_set1_epi32((int)(x << 16))),
                                   _mm512_castsi512_ps(_mm512_slli_epi32(y, 16)), even);
            odd = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_set1_epi32((int)(x & 0xffff0000))),
                                  _mm512_castsi512_ps(_mm512_and_si512(y, high)), odd);
        }
        _mm512_mask_storeu_ps(mine.data[dst][m], columns,
                              _mm512_add_ps(_mm512_loadu_ps(mine.data[dst][m]), _mm512_add_ps(even, odd)));
    }
}

/* Byte i of each of four, with its sign or without. */
FAST static __m512i byte_of(__m512i fours, int i, int with_sign)
{
    __m512i top = _mm512_sll_epi32(fours, _mm_cvtsi32_si128(24 - 8 * i));

    return with_sign ? _mm512_srai_epi32(top, 24) : _mm512_srli_epi32(top, 24);
}

FAST static void products_of_bytes(int dst, int a, int b, int a_signed, int b_signed)
{
    int fours = mine.bytes[a] / 4;
    __mmask16 columns = (__mmask16)((1u << mine.bytes[dst] / 4) - 1);

    for (int m = 0; m < mine.rows[dst]; m++) {
        __m512i sum = _mm512_loadu_si512(mine.data[dst][m]);

        for (int k = 0; k < fours; k++) {
            int32_t x;

            memcpy(&x, mine.data[a][m] + 4 * k, 4);
            for (int i = 0; i < 4; i++)
                sum = _mm512_add_epi32(sum, _mm512_mullo_epi32(byte_of(_mm512_set1_epi32(x), i, a_signed),
                                                               byte_of(_mm512_loadu_si512(mine.data[b][k]), i,
                                                                       b_signed)));
        }
        _mm512_mask_storeu_epi32(mine.data[dst][m], columns, sum);
    }
}

static void product(int opcode, int prefix, int dst, int a, int b, const uint8_t *at)
{
    if (dst == a || dst == b || a == b)
        die("a product of a tile and itself", at);
    if (!mine.config[0] || mine.rows[dst] != mine.rows[a] || mine.bytes[a] / 4 != mine.rows[b] ||
        mine.bytes[b] != mine.bytes[dst] || mine.bytes[a] % 4 || mine.bytes[b] % 4)
        die("tiles whose sizes do not go together", at);
    if (opcode == 0x5c && prefix == 2)
        products_of_bf16(dst, a, b);
    else if (opcode == 0x5e)                                    /* TDPBSSD, TDPBSUD, TDPBUSD, TDPBUUD */
        products_of_bytes(dst, a, b, prefix & 2, prefix == 3 || prefix == 1);
    else
        die("a product that is not known", at);
    __atomic_add_fetch(&products, 1, __ATOMIC_RELAXED);
}

/* ---- Instructions ------------------------------------------------------------------------------------- */

/* Of AMX: C4, [R X B 00010], [W vvvv L pp], opcode, modrm, and where it addresses memory sib and displacement. */
typedef struct {
    int prefix, opcode, mod, reg, rm, vvvv;     /* prefix: 0, 1 (66), 2 (F3), 3 (F2) */
    uint64_t base;                              /* of the address, displacement included */
    uint64_t index;                             /* times its scale */
    size_t length;
} instruction;

static uint64_t value_of(const greg_t *reg, int number)
{
    static const int at[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15 };

    return (uint64_t)reg[at[number]];
}

static int64_t signed_of(const uint8_t *p, int bytes)
{
    int32_t x;

    if (bytes == 1)
        return (int8_t)*p;
    memcpy(&x, p, 4);
    return x;
}

static void address(instruction *i, const uint8_t *p, const greg_t *reg, int rex_x, int rex_b)
{
    const uint8_t *from = p;
    int wide = i->mod == 0 ? 0 : i->mod == 1 ? 1 : 4;
    int base = i->rm;
    int relative = 0;

    if (i->rm == 4) {
        int number = (*p >> 3 & 7) | rex_x << 3;

        base = *p & 7;
        i->index = number == 4 ? 0 : value_of(reg, number) << (*p >> 6);
        p++;
        if (base == 5 && i->mod == 0) {
            base = -1;
            wide = 4;
        }
    } else if (i->rm == 5 && i->mod == 0) {
        base = -1;
        relative = 1;
        wide = 4;
    }
    i->base = (base < 0 ? 0 : value_of(reg, base | rex_b << 3)) + (wide ? (uint64_t)signed_of(p, wide) : 0);
    p += wide;
    i->length += (size_t)(p - from);
    if (relative)
        i->base += (uint64_t)(uintptr_t)p;
}

static int decode(instruction *i, const uint8_t *p, const greg_t *reg)
{
    memset(i, 0, sizeof *i);
    if (p[0] != 0xc4 || (p[1] & 0x1f) != 2 || (p[2] & 0x84))    /* map 0F38; W and L are 0 */
        return 0;
    i->prefix = p[2] & 3;
    i->vvvv = ~(p[2] >> 3) & 15;
    i->opcode = p[3];
    i->mod = p[4] >> 6;
    i->reg = (p[4] >> 3 & 7) | (p[1] & 0x80 ? 0 : 8);
    i->rm = p[4] & 7;
    i->length = 5;
    if (i->mod != 3)
        address(i, p + 5, reg, p[1] & 0x40 ? 0 : 1, p[1] & 0x20 ? 0 : 1);
    return 1;
}

static int execute(const instruction *i, const uint8_t *at)
{
    uint8_t *memory = (uint8_t *)(uintptr_t)i->base;

    if (i->reg >= TILES)
        return 0;
    if (i->opcode == 0x49 && i->mod != 3 && i->prefix == 0)
        load_config(memory + i->index, at);
    else if (i->opcode == 0x49 && i->mod != 3 && i->prefix == 1)
        memcpy(memory + i->index, mine.config, sizeof mine.config);
    else if (i->opcode == 0x49 && i->prefix == 0)
        memset(&mine, 0, sizeof mine);   /* TILERELEASE */
    else if (i->opcode == 0x49 && i->prefix == 3)
        memset(mine.data[i->reg], 0, sizeof mine.data[i->reg]);
    else if (i->opcode == 0x4b && i->mod != 3 && i->prefix)
        move_tile(i->reg, memory, (int64_t)i->index, i->prefix == 2, at);
    else if ((i->opcode == 0x5c || i->opcode == 0x5e) && i->mod == 3)
        product(i->opcode, i->prefix, i->reg, i->rm, i->vvvv, at);
    else
        return 0;
    return 1;
}

/* What follows is executed along with it as far as it is AMX's, too: a signal costs more than most of them. */
static int execute_run(greg_t *reg)
{
    const uint8_t *p = (const uint8_t *)(uintptr_t)reg[REG_RIP];
    instruction i;
    int n = 0;

    while (decode(&i, p, reg) && execute(&i, p)) {
        p += i.length;
        n++;
    }
    reg[REG_RIP] = (greg_t)(uintptr_t)p;
    return n;
}

static void on_invalid(int signal_number, siginfo_t *info, void *context)
{
    greg_t *reg = ((ucontext_t *)context)->uc_mcontext.gregs;
    const uint8_t *p = (const uint8_t *)(uintptr_t)reg[REG_RIP];

    (void)signal_number;
    (void)info;
    _mm_setcsr(0x1f80 | _MM_FLUSH_ZERO_ON | 1 << 6);    /* denormals are zero; the system restores what was */
    if (p[0] == 0x0f && p[1] == 0x0b && p[2] == 0xd0) {
        tell_xgetbv(reg);                                       /* patch.py: 0f 01 d0 became 0f 0b d0 */
        reg[REG_RIP] += 3;
    } else if (p[0] == 0x0f && p[1] == 0x0b) {
        tell_cpuid(reg);
        reg[REG_RIP] += 2;
    } else if (!execute_run(reg)) {
        die("an instruction that is not known", p);
    }
}

/* cmocka, and perhaps others, would have this signal end a test. */
int sigaction(int number, const struct sigaction *restrict act, struct sigaction *restrict old)
{
    static int (*real)(int, const struct sigaction *, struct sigaction *);

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "sigaction");
    return real(number, number == SIGILL && act && act->sa_sigaction != on_invalid ? NULL : act, old);
}

void (*signal(int number, void (*handler)(int)))(int)
{
    static void (*(*real)(int, void (*)(int)))(int);

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "signal");
    return number == SIGILL ? SIG_DFL : real(number, handler);
}

static void report(void)
{
    const char *path = getenv("AMX_REPORT");
    FILE *f = path ? fopen(path, "a") : NULL;

    if (!f)
        return;
    fprintf(f, "%llu\n", (unsigned long long)products);
    fclose(f);
}

__attribute__((constructor)) static void start(void)
{
    struct sigaction act = { .sa_sigaction = on_invalid, .sa_flags = SA_SIGINFO | SA_NODEFER };

    sigaction(SIGILL, &act, NULL);
    atexit(report);
}
