/* few_bytes_vnni.c - register tiles of up to 4 rows by a panel's width, or the part of it that vectors of 16 divide. */
#include <immintrin.h>
#include <string.h>
#include "base/mem.h"
#include "op/few.h"

enum { ROWS = 4, LANES = 16, WIDE = 4 };
#define INLINE static inline __attribute__((always_inline))

INLINE __m512i same4(const uint8_t *p)
{
    int32_t four;

    memcpy(&four, p, sizeof four);
    return _mm512_set1_epi32(four);
}

/* n rows by `wide` vectors of outputs, of which the first O are stored; a step of 4 k is P outputs. n and wide are
 * constants where this is inlined. */
INLINE void tile(int32_t *acc, size_t ldacc, const uint8_t *q, size_t n, const int8_t *w, size_t wide, size_t P,
                 size_t O, size_t K)
{
    __m512i sum[ROWS][WIDE];

#pragma GCC unroll 16
    for (size_t i = 0; i < n * wide; i++)
        sum[i / wide][i % wide] = _mm512_setzero_si512();
    for (size_t k = 0; k < K; k += 4, w += 4 * P) {
        __m512i a[ROWS];
#pragma GCC unroll 4
        for (size_t i = 0; i < n; i++)
            a[i] = same4(q + i * K + k);
#pragma GCC unroll 4
        for (size_t v = 0; v < wide; v++) {
            __m512i b = _mm512_loadu_si512(w + v * 4 * LANES);
#pragma GCC unroll 4
            for (size_t i = 0; i < n; i++)
                sum[i][v] = _mm512_dpbusd_epi32(sum[i][v], a[i], b);
        }
    }
#pragma GCC unroll 16
    for (size_t i = 0; i < n * wide; i++) {
        size_t at = i % wide * LANES;
        if (at < O)
            _mm512_mask_storeu_epi32(acc + i / wide * ldacc + at,
                                     (__mmask16)(O - at < LANES ? (1u << (O - at)) - 1 : 0xffffu),
                                     sum[i / wide][i % wide]);
    }
}

INLINE void rows(int32_t *acc, size_t ldacc, const uint8_t *q, size_t N, const int8_t *w, size_t wide, size_t P,
                 size_t O, size_t K)
{
    size_t n = 0;

    for (; n + 4 <= N; n += 4)
        tile(acc + n * ldacc, ldacc, q + n * K, 4, w, wide, P, O, K);
    if (N - n >= 2) {
        tile(acc + n * ldacc, ldacc, q + n * K, 2, w, wide, P, O, K);
        n += 2;
    }
    if (n < N)
        tile(acc + n * ldacc, ldacc, q + n * K, 1, w, wide, P, O, K);
}

void gr_few_bytes_vnni(int32_t *acc, size_t ldacc, const uint8_t *q, size_t N, const int8_t *w, size_t P, size_t O,
                       size_t K)
{
    size_t bytes = gr_few_panel_bytes(P, K);

    for (size_t o = 0; o < O; o += P, w += bytes)
        if (P == WIDE * LANES)
            rows(acc + o, ldacc, q, N, w, WIDE, P, O - o, K);
        else
            for (size_t v = 0; v < P && o + v < O; v += LANES)
                rows(acc + o + v, ldacc, q, N, w + 4 * v, 1, P, gr_min(P - v, O - o - v), K);
}
