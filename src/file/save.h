/* save.h - a model as a Hugging Face directory, and numbers with a few words about them in one atomic file. */
#ifndef GR_FILE_SAVE_H
#define GR_FILE_SAVE_H

#include "file/config.h"
#include "tensor/dtype.h"

/* A tensor to be written: float32, [rows, cols], or [cols] where rows == 1 and it is no `matrix`. The name is `prefix`
 * and `name`. half: in bfloat16, which its values are. */
typedef struct { const char *prefix, *name; const float *data; size_t rows, cols; bool matrix, half; } gr_saved;

/* A .safetensors file, which appears under its name only when it is whole. key and value, n_meta of them, are its
 * __metadata__. */
typedef struct { const char *key, *value; } gr_meta;
gram_status gr_st_write(const char *path, const gr_saved *t, size_t n, const gr_meta *meta, size_t n_meta,
                        gram_err *err);
/* A tensor that is written row by row, in a type that gr_quantizes(): [rows, cols], or [rows * cols] where flat; in a
 * GGUF with deep > 0 [deep, rows / deep, cols]. packed > 0: so many bytes, written at once, and no type or shape. */
typedef struct {
    const char *name;
    gr_dtype type;
    size_t rows, cols;
    bool flat;
    size_t deep;
    uint64_t packed;
} gr_planned;
typedef gram_status gr_row_fn(void *arg, size_t tensor, size_t row, float *out, gram_err *err);     /* out[cols] */
uint64_t gr_planned_bytes(const gr_planned *t);
gram_status gr_st_write_rows(const char *path, const gr_planned *t, size_t n, const gr_meta *meta, size_t n_meta,
                             gr_row_fn *row, void *arg, gram_err *err);
/* The bytes of one of them to a file that is being written; of the first and the last row, *digest where not NULL. */
struct gr_out;
gram_status gr_rows_write(struct gr_out *o, const char *path, const gr_planned *t, size_t i, gr_row_fn *row, void *arg,
                          uint64_t *digest, gram_err *err);
/* A file that gram alone reads: weights.h. The tensors that are packed come first; pack() makes their bytes. */
typedef gram_status gr_pack_fn(void *arg, size_t tensor, void *out, gram_err *err);
gram_status gr_st_write_packed(const char *path, const gr_planned *t, size_t n, gr_row_fn *row, gr_pack_fn *pack,
                               void *arg, gram_err *err);

/* The same, where fn is called before tensor i is written, and may only then bring its numbers to their place. */
typedef gram_status gr_saving_fn(void *arg, size_t i, gram_err *err);
gram_status gr_st_write_as_it_comes(const char *path, const gr_saved *t, size_t n, const gr_meta *meta, size_t n_meta,
                                    gr_saving_fn *fn, void *arg, gram_err *err);
/* The value of a key in a file's __metadata__, malloc'ed; NULL where it has none. */
gram_status gr_st_meta(const char *path, const char *key, char **out, gram_err *err);

/* What stands beside the weights in a Hugging Face directory, copied from one to another: config.json, which says the
 * dtype given ("float32"), and the files of the tokenizer and the chat template, those that there are. `from` may be a
 * GGUF file too: config.json, tokenizer.json and tokenizer_config.json are then written from what its keys say. cfg,
 * where not NULL, is the model's: of a reward model config.json then says so as transformers does, and a head over the
 * vocabulary that is its own is not said to be tied. */
gram_status gr_write_model_files(const char *from, const char *to, const char *dtype, const gr_config *cfg,
                                 gram_err *err);
/* The same for float32. */
gram_status gr_copy_model_files(const char *from, const char *to, const gr_config *cfg, gram_err *err);
/* The same for the files of the tokenizer and the chat template alone. */
gram_status gr_copy_words(const char *from, const char *to, gram_err *err);

#endif
