/* weights.h - named tensors of a model, whichever format they came in.
 *
 * Once open, every tensor lies inside its file and its shape times its type is its byte range, so nobody
 * checks again. Bytes stay mapped in the page cache. */
#ifndef GR_FILE_WEIGHTS_H
#define GR_FILE_WEIGHTS_H

#include "base/mem.h"
#include "tensor/dtype.h"

typedef struct {
    const char *name;           /* NUL-terminated, owned by the file */
    gr_dtype type;
    size_t n_dims, dim[4];      /* row-major: the last is the fastest */
    const void *data;           /* aligned for its elements, GGUF's blocks to 8 bytes: where a safetensors file
                                 * is not (which is legal), the tensor is a copy in memory */
    uint64_t bytes;
    bool packed;                /* bytes without a type that gram alone knows: gr_weights_packed() */
} gr_named;

/* The same as rows: dim[0] x ... x dim[n_dims-2] of them. A scalar is one row of one value. */
gr_tensor gr_named_tensor(const gr_named *t);
float gr_named_value(const gr_named *t, size_t i);      /* its i-th, of a type that has no blocks */

typedef struct gr_st gr_st;     /* one .safetensors file */
gram_status gr_st_open(gr_st **out, const char *path, gram_err *err);
void gr_st_close(gr_st *st);
size_t gr_st_count(const gr_st *st);
const gr_named *gr_st_at(const gr_st *st, size_t i);
const gr_named *gr_st_find(const gr_st *st, const char *name);          /* NULL: none */

/* A safetensors file whose __metadata__ say "format": GR_PACKED_FORMAT may hold weights that gram itself laid out
 * (op/packed.h), as tensors of I8 that begin at multiples of GR_ALIGN. They are on no list of tensors here but their
 * own. The last one, GR_PACKED_DIGEST, is the digest of all others: of names, types and shapes, of vectors, and of what
 * is none of the first and the last row, or 4096 bytes. */
#define GR_PACKED_FORMAT "gram-int8"
#define GR_PACKED_DIGEST "gram.digest"
#define GR_PACKED_WEIGHTS "model.int8.safetensors"

/* How a config.json says that weights are packed, or some of them: a list of ways ends in one without a method. */
enum { GR_WAYS = 8 };
typedef struct {
    const char *method;         /* quant_method; static; NULL: not at all */
    size_t block[2];            /* rows and columns that have one scale, of F8_E4M3; 0: not said */
    unsigned bits;              /* of a whole number: 4 or 8; 0: they are F8_E4M3 */
    size_t group;               /* inputs that have one scale, of whole numbers; 0: all */
    bool ordered;               /* which input is in which group is a list */
    bool zeros, less_one;       /* zeros are stored, and stored less one; otherwise they are the middle of the range */
    bool several;               /* some weights are packed in other ways, of whole numbers all */
} gr_quantization;

/* A Hugging Face directory's weights: model.safetensors, or the shards that model.safetensors.index.json
 * names, or GR_PACKED_WEIGHTS; and value_head.safetensors, where a trainer left a head beside the first two. A tensor
 * found twice, or missing from its shard, is an error. */
#define GR_VALUE_HEAD "value_head.safetensors"
typedef struct gr_weights gr_weights;
gram_status gr_weights_open_dir(gr_weights **out, const char *dir, gram_err *err);
/* The same by so many threads, 0: gr_cores(). What is packed is then sooner unpacked. */
gram_status gr_weights_open_dir_by(gr_weights **out, const char *dir, size_t threads, gram_err *err);
/* GRAM_EARG where a directory has weights already, of a whole model or of an adapter: it is of one model. */
gram_status gr_weights_check_none(const char *dir, gram_err *err);
/* With its metadata, below. The first part of a split model opens all of them. */
gram_status gr_weights_open_gguf(gr_weights **out, const char *path, gram_err *err);
/* By the name of its first part: how many parts a split model has, 1 of any other file; and the path of part i of n,
 * from 0, malloc'ed. NULL: memory ran out. */
size_t gr_gguf_part_count(const char *first);
char *gr_gguf_part_path(const char *first, size_t i, size_t n);
void gr_weights_close(gr_weights *w);
const char *gr_weights_path(const gr_weights *w);                       /* for errors */
const gr_named *gr_weights_find(const gr_weights *w, const char *name); /* NULL: none */
size_t gr_weights_count(const gr_weights *w);
const gr_named *gr_weights_at(const gr_weights *w, size_t i);
/* Weights that gram laid out: 0 of a model that gram did not quantise; and the one of a name, or NULL. */
size_t gr_weights_packed_count(const gr_weights *w);
const gr_named *gr_weights_packed_at(const gr_weights *w, size_t i);
const gr_named *gr_weights_packed(const gr_weights *w, const char *name);
/* A weight [size[0], size[1]] that was codes of a type with scales beside them, of F8_E4M3 a grid; a copy in memory. */
typedef struct { void *data; const char *name; gr_dtype was; size_t size[2], grid[2]; } gr_scaled;
size_t gr_weights_scaled_count(const gr_weights *w);
const gr_scaled *gr_weights_scaled_at(const gr_weights *w, size_t i);
uint64_t gr_weights_file_bytes(const gr_weights *w);
/* Gives back the pages of the file that were read so far; they are read again when they are needed. */
void gr_weights_release(const gr_weights *w);
/* Tells one checkpoint from another: of all names, types and shapes, and of the first bytes of each tensor. */
uint64_t gr_weights_digest(const gr_weights *w);
/* The same of more of them, by which a run is resumed: of each tensor of up to 64 KiB all bytes, of a larger one 16
 * pieces of 4 KiB from its beginning to its end. Training moves all of a matrix that it touches, and is seen; a change
 * of a few values between the pieces is not, as of some rows of an embedding alone, of one of many experts that stand
 * in one tensor, or of a file that a disk has damaged. */
uint64_t gr_weights_sample(const gr_weights *w);
/* The GGUF metadata of a gr_weights_open_gguf(); NULL for a directory. */
const struct gr_gguf *gr_weights_gguf(const gr_weights *w);

/* GGUF v2/v3 metadata. Strings are borrowed from the mapping: not NUL-terminated, and not proved to be UTF-8. Each
 * call is false, or 0, where the key is absent or of another kind. */
typedef struct gr_gguf gr_gguf;
bool gr_gguf_key(const gr_gguf *g, size_t i, gr_str *out);              /* the i-th key; false: there are no more */
bool gr_gguf_str(const gr_gguf *g, const char *key, gr_str *out);
bool gr_gguf_u64(const gr_gguf *g, const char *key, uint64_t *out);     /* any unsigned, or signed and not negative */
bool gr_gguf_f64(const gr_gguf *g, const char *key, double *out);       /* any number */
bool gr_gguf_bool(const gr_gguf *g, const char *key, bool *out);
bool gr_gguf_has(const gr_gguf *g, const char *key);                    /* of any kind */
/* Arrays: the number of elements, or 0 where the key is absent or no array; then out[count]. */
size_t gr_gguf_count(const gr_gguf *g, const char *key);
bool gr_gguf_strs(const gr_gguf *g, const char *key, gr_str *out);
bool gr_gguf_f32s(const gr_gguf *g, const char *key, float *out);
bool gr_gguf_i32s(const gr_gguf *g, const char *key, int32_t *out);
bool gr_gguf_bools(const gr_gguf *g, const char *key, bool *out);

#endif
