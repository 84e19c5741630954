/* output.h - the model that comes out of a run: written, opened again and compared with what was trained. */
#ifndef GR_TRAIN_OUTPUT_H
#define GR_TRAIN_OUTPUT_H

#include "train/grad.h"
#include "train/run.h"

/* Every tensor must be read again byte for byte, and some rows' logits come out of the forward pass that scores. */
gram_status gr_output_write(const gr_training *r, gr_grad *grad, const gr_param *param, size_t n, gram_err *err);

#endif
