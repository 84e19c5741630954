/* dtype.h - the types that weights come in, and how many bytes they take.
 *
 * Quantised types are stored as rows of blocks along the input dimension; a row is whole blocks. F8_SCALED is in no
 * file: what F8_E4M3 becomes that has scales beside it (file/fp8.c). U8, I8, I32 and I64 have no values: codes of
 * packed weights lie in them, which file/unpack.c makes weights of before anybody else sees them. */
#ifndef GR_TENSOR_DTYPE_H
#define GR_TENSOR_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
    GR_F32, GR_F16, GR_BF16,
    GR_Q4_0, GR_Q4_1, GR_Q5_0, GR_Q5_1, GR_Q8_0, GR_Q2_K, GR_Q3_K, GR_Q4_K, GR_Q5_K, GR_Q6_K,
    GR_IQ1_S, GR_IQ1_M, GR_IQ2_XXS, GR_IQ2_XS, GR_IQ2_S, GR_IQ3_XXS, GR_IQ3_S, GR_IQ4_NL, GR_IQ4_XS,
    GR_F64, GR_F8_E4M3, GR_F8_SCALED, GR_U8, GR_I8, GR_I32, GR_I64,
    GR_DTYPES
} gr_dtype;

const char *gr_dtype_name(gr_dtype t);          /* "F32", "Q4_K" */
size_t gr_dtype_block(gr_dtype t);              /* values in a block: 1, 32 or 256 */
size_t gr_dtype_bytes(gr_dtype t);              /* bytes in a block */
/* Whether kernels read its values where they lie: F32, F16 and BF16. */
static inline bool gr_dtype_is_plain(gr_dtype t) { return t <= GR_BF16; }
static inline bool gr_dtype_is_codes(gr_dtype t) { return t >= GR_U8 && t <= GR_I64; }
/* Bytes of a row of K values; false where K is not whole blocks or the product wraps. */
bool gr_dtype_row_bytes(gr_dtype t, size_t K, size_t *bytes);

/* What the 4 bits of IQ4_NL and IQ4_XS stand for. */
extern const int8_t gr_iq4_values[16];
/* The j-th scale, from -32 to 31, of the 16 of a Q3_K block, whose 12 bytes of scales begin at p, and of the 8 of an
 * IQ4_XS block, which begins at x. */
int gr_q3_k_scale(const uint8_t *p, size_t j);
int gr_iq4_xs_scale(const uint8_t *x, size_t j);

/* y[0..n) = the n values at the start of a row's bytes; n is whole blocks. Exact: each value is what
 * the format's definition gives in float32; of F64 the nearest. Any alignment. */
void gr_dequant(float *y, const void *x, gr_dtype t, size_t n);
static inline float gr_half_at(const uint8_t *p)
{
    float f;

    gr_dequant(&f, p, GR_F16, 1);
    return f;
}

/* The nearest bfloat16, ties to even; a NaN stays one. */
uint16_t gr_bf16(float f);
/* The other way, to the types that gr_quantizes(): the bytes of n values, whole blocks, each the nearest that the type
 * holds. False where a value, or the scale of its block, is beyond what the type holds or no number; F32 takes all. */
bool gr_quantizes(gr_dtype t);
bool gr_quantize(void *out, gr_dtype t, const float *x, size_t n);

/* A weight as a file holds it: [rows, cols], row-major, borrowed from the file's mapping. */
typedef struct {
    gr_dtype type;
    const void *data;
    size_t rows, cols;          /* a vector has rows == 1 */
} gr_tensor;

#endif
