/* vocabulary.h - the head over the whole vocabulary, as a product over many rows at once: what writing needs.
 *
 *   z[n,v] = sum_c hidden[n,c] head[v,c]           hidden [N,C]    z [N,V], float32 sums
 *
 * For many rows the head's are cut into slices, which the threads share out; for a handful each is read once.
 * gr_model_logits() and the labels of a verdict sum in double instead, one row at a time; the two agree to float32's
 * rounding. */
#ifndef GR_MODEL_VOCABULARY_H
#define GR_MODEL_VOCABULARY_H

#include "model/model.h"

typedef struct gr_vocabulary gr_vocabulary;
/* What its products are made of: float32 and the head's own type, or, as far as the model's matrices are rounded, both
 * sides as of those: bfloat16, or 8-bit weights and activations of two bytes. */
typedef enum { GR_HEAD_EXACT, GR_HEAD_ROUNDED } gr_head_as;
/* way: GR_ROWS_ALIKE, or GR_ROWS_FEW, which is exact. Fails where the model has no head over the vocabulary. m and d
 * are borrowed. */
gram_status gr_vocabulary_open(gr_vocabulary **out, const gr_model *m, gr_rows_way way, gr_head_as as, gr_device *d,
                               gram_err *err);
/* Lays the head out for many rows to come (op/matmul.h: gr_linear_lay()). Changes no bit. */
gram_status gr_vocabulary_lay(gr_vocabulary *h, gram_err *err);
void gr_vocabulary_close(gr_vocabulary *h);
/* z, in h until its next use: rows n, V apart. A row's bits depend on that row alone. */
gram_status gr_vocabulary_logits(gr_vocabulary *h, const float *hidden, size_t n, const float **z, gram_err *err);

#endif
