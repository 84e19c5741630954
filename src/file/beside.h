/* beside.h - the other files of a model's directory: what among them could change a number and is not read. */
#ifndef GR_FILE_BESIDE_H
#define GR_FILE_BESIDE_H

#include "file/config.h"

/* Fails where one of them holds a head or an adapter that is left aside (value_head.bin, gating_layer.pt), or says that
 * the model, which has no reward head, makes vectors; other weights are noted in c. */
gram_status gr_beside_check(gr_config *c, const char *dir, gram_err *err);

#endif
