/* iq.h - ggml's types of 1 to 3 bits a weight, whose numbers name points of a grid. */
#ifndef GR_TENSOR_IQ_H
#define GR_TENSOR_IQ_H

#include "tensor/dtype.h"

/* gr_dequant() for types from GR_IQ1_S to GR_IQ3_S. */
void gr_dequant_iq(float *y, const uint8_t *x, gr_dtype t, size_t n);

#endif
