/* gguf_write.h - a GGUF file on its way out: its keys, and its tensors row by row. */
#ifndef GR_FILE_GGUF_WRITE_H
#define GR_FILE_GGUF_WRITE_H

#include "file/save.h"

/* Keys and their values as the file has them. All zeros is ready; a call that finds no memory sets failed, which
 * gr_gguf_write() reports, so that nobody asks after each key. */
typedef struct gr_keys { gr_buf bytes; uint64_t n; bool failed; } gr_keys;
void gr_keys_str(gr_keys *k, const char *key, gr_str v);
void gr_keys_u32(gr_keys *k, const char *key, uint32_t v);
void gr_keys_f32(gr_keys *k, const char *key, float v);
void gr_keys_bool(gr_keys *k, const char *key, bool v);
void gr_keys_strs(gr_keys *k, const char *key, const gr_str *v, size_t n);
void gr_keys_f32s(gr_keys *k, const char *key, const float *v, size_t n);
void gr_keys_i32s(gr_keys *k, const char *key, const int32_t *v, size_t n);
void gr_keys_bools(gr_keys *k, const char *key, const bool *v, size_t n);
void gr_keys_clear(gr_keys *k);

gram_status gr_gguf_write(const char *path, const gr_keys *k, const gr_planned *t, size_t n, gr_row_fn *row, void *arg,
                          gram_err *err);

#endif
