/* packed.h - an 8-bit weight as gram writes it to a file: made once, and multiplied where it lies.
 *
 *   header    GR_ALIGN bytes: GR_PACKED_WORD, the layout's number, O and K, zeros
 *   scale     [Op] float32          Op: O rounded up to 64; what is behind O is 0, here and below
 *   sum       [Op] int32            of a row's bytes
 *   panels    [Op / 64][Kp / 4][64][4] signed bytes         Kp: K rounded up to 64
 *
 *   w[o,k]  = scale[o] (q R^T)[o,k]         q: the bytes, R: rotate.h's, of blocks of gr_packed_rotated(K)
 *
 * The panels are those of few.h and what oneDNN multiplies with VNNI and with AMX. A CPU without them has these bytes
 * laid out as dot16.h wants them, once, when the weight is opened. They do not ask which activations they will meet. */
#ifndef GR_OP_PACKED_H
#define GR_OP_PACKED_H

#include "op/strip.h"
#include "tensor/device.h"

enum { GR_PACKED_LAYOUT = 1, GR_PACKED_PANEL = 64 };
#define GR_PACKED_WORD "gramint8"       /* 8 bytes, no NUL */

/* Pointers into one piece of bytes, proved. */
typedef struct gr_packed { size_t O, K; const float *scale; const int32_t *sum; const int8_t *panels; } gr_packed;

/* Channels that are rotated together. */
static inline size_t gr_packed_rotated(size_t K) { return gr_min(512, K & -K); }
/* 0: beyond what memory holds. */
uint64_t gr_packed_bytes(size_t O, size_t K);
/* p is GR_ALIGN-aligned and stays borrowed. what: the file and the tensor, for the sentence. */
gram_status gr_packed_read(gr_packed *out, const char *what, const void *p, uint64_t bytes, gram_err *err);
/* The same of what gr_packed_make() made, or makes. */
gr_packed gr_packed_at(const void *p, size_t O, size_t K);
/* The weight whose rows row() gives, from any thread, in bfloat16 or float32: made by all of d's, into
 * gr_packed_bytes() of aligned memory. */
gram_status gr_packed_make(void *p, gr_device *d, size_t O, size_t K, gr_strip_row_fn *row, void *arg, bool bf16,
                           gram_err *err);

#endif
