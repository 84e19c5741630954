/* output.h - the model that comes out of a run: written, opened again and compared with what was trained.
 *
 * OUT/best/ is the model that judged the held-out rows best so far. A run that ends with other weights leaves it. */
#ifndef GR_TRAIN_OUTPUT_H
#define GR_TRAIN_OUTPUT_H

#include "train/grad.h"
#include "train/loop.h"

/* step: whose weights they are, of a run of so many. Every tensor must be read again byte for byte, and some rows'
 * logits come out of the forward pass that scores. */
gram_status gr_output_write(const gr_training *r, gr_grad *grad, uint64_t step, uint64_t steps, bool rows,
                            gram_err *err);

/* Writes OUT/best/, in place of the one before. */
gram_status gr_output_best(const gr_training *r, uint64_t step, uint64_t steps, gram_err *err);
/* Reads it back into the parameters; it must be of that step. */
gram_status gr_output_take_best(const gr_training *r, uint64_t step, gram_err *err);
/* Removes it, as far as its files are in OUT too. */
void gr_output_drop_best(const gr_training *r);

#endif
