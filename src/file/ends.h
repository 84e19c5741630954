/* ends.h - the tokens that end an answer, as a checkpoint's files name them. */
#ifndef GR_FILE_ENDS_H
#define GR_FILE_ENDS_H

#include "file/weights.h"

/* Appends eos_token_id of config.json and generation_config.json of a directory, each a number or a list. Files that
 * are absent say nothing. */
gram_status gr_ends_of_dir(gr_ids *out, const char *dir, gram_err *err);
/* Appends the ends of a sequence, of a turn and of a message that a GGUF names. */
gram_status gr_ends_of_gguf(gr_ids *out, const gr_gguf *g, gram_err *err);

#endif
