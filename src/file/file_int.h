/* file_int.h - what the formats of this folder share: a table of tensors, proved and found by name. */
#ifndef GR_FILE_FILE_INT_H
#define GR_FILE_FILE_INT_H

#include "base/pool.h"
#include "file/io.h"
#include "file/tok_facts.h"
#include "file/weights.h"

/* Names in order, so that a search takes log n steps whatever a hostile file calls its tensors. */
typedef struct {
    gr_named *t;            /* [n], in the file's order */
    size_t n;
    size_t *by_name;        /* [n] */
} gr_names;
/* Sorts; fails where two tensors share a name. `path` is for the error. */
gram_status gr_names_index(gr_names *a, const char *path, gram_err *err);
const gr_named *gr_names_find(const gr_names *a, const char *name);
void gr_names_clear(gr_names *a);

/* Fails where two tensors share a byte. Each already lies inside the file. */
gram_status gr_names_apart(const gr_names *a, const char *path, gram_err *err);

/* dim's product, and what that many values of the type take; false where it wraps or the last dimension is not
 * whole blocks. */
bool gr_named_bytes(const gr_named *t, uint64_t *bytes);

/* GGUF: the tensors are owned by g. */
gram_status gr_gguf_open(gr_gguf **out, const char *path, gram_err *err);
void gr_gguf_close(gr_gguf *g);
/* The other parts of a split model, [*n] in their order; 0 where it is whole. Close what is there after a failure too,
 * and free the list. */
gram_status gr_gguf_parts(gr_gguf ***out, size_t *n, const gr_gguf *first, const char *path, gram_err *err);
const gr_names *gr_gguf_names(const gr_gguf *g);
uint64_t gr_gguf_file_bytes(const gr_gguf *g);
void gr_gguf_release(const gr_gguf *g);

/* An adapter in a GGUF: whether there is one (only a lack of memory fails), and opening a->path. */
struct gr_adapter;
gram_status gr_adapter_gguf_is(bool *yes, const char *path, gram_err *err);
gram_status gr_adapter_gguf_open(struct gr_adapter *a, gram_err *err);

/* unpack.c: makes each weight that is packed an ordinary one, "X.weight" [outputs, inputs], of what lies beside its
 * codes, and takes that off the list. What was made is in (*made)[0 .. *n_made), whose data are to be freed with the
 * list, after a failure too. Codes that are no weight's fail. threads: as for gr_pool_open(), of the rows of a weight;
 * bits and errors do not depend on them. */
gram_status gr_unpack(gr_names *a, gr_scaled **made, size_t *n_made, const char *dir, size_t threads, gram_err *err);
/* The codes of one weight, called "X.code"; how: [GR_WAYS + 1], what config.json says of whole numbers. */
struct gr_codes {
    gr_pool *pool;
    const gr_names *all;
    const gr_named *t;
    const char *code;
    const gr_quantization *how;
    const char *path;
};
const gr_named *gr_codes_beside(const struct gr_codes *c, const char *part);    /* "X.part"; NULL: none */
/* A tensor's type and shape: "I32 [8, 16]". */
const char *gr_codes_shape(char out[128], const gr_named *t);
/* The tensor beside the codes, of a type, or with GR_DTYPES of any that a scale may be, and of a shape of one dimension
 * or two. */
gram_status gr_codes_need(const gr_named **out, const struct gr_codes *c, const char *part, gr_dtype type,
                          const size_t *dim, size_t n_dims, gram_err *err);
/* The weight, of what's type and dim[2]. fn makes the bytes of a row, with [some] floats for its own use; false: a
 * value is none that the type holds. Threads share the rows: each takes as many from a multiple of that, one behind the
 * other with the same floats. */
enum { GR_CODES_ROWS = 32 };
typedef bool gr_codes_row(const void *arg, size_t row, void *to, float *own);
gram_status gr_codes_fill(gr_named *out, gr_scaled *made, const struct gr_codes *c, const gr_named *what, size_t some,
                          gr_codes_row *fn, const void *arg, gram_err *err);
gram_status gr_fp8_make(gr_named *out, gr_scaled *made, const struct gr_codes *c, gram_err *err);
gram_status gr_whole_make(gr_named *out, gr_scaled *made, const struct gr_codes *c, gram_err *err);
gram_status gr_bnb_make(gr_named *out, gr_scaled *made, const struct gr_codes *c, gram_err *err);
/* "quantization_config" of DIR/config.json. */
gram_status gr_quantization_read(gr_quantization out[GR_WAYS + 1], const char *dir, gram_err *err);

/* gr_st_open() that lets tensors of codes in, gr_dtype_is_codes(); and how it refuses a type. */
gram_status gr_st_open_codes(gr_st **out, const char *path, gram_err *err);
gram_status gr_unsupported_type(const char *path, const char *tensor, const char *type, gram_err *err);

const char *gr_st_path(const gr_st *st);
const gr_names *gr_st_packed(const gr_st *st);

/* names.c: the digest of a packed file, of a tensor what it is, and then all bytes of a vector, or the first and the
 * last piece of what is none. */
uint64_t gr_digest_tensor(uint64_t h, const gr_named *t);
uint64_t gr_digest_values(uint64_t h, const gr_named *t, const void *p);
uint64_t gr_digest_piece(uint64_t h, const void *p, size_t n);
uint64_t gr_st_file_bytes(const gr_st *st);
void gr_st_release(const gr_st *st);

/* What a file that was taken for text begins as: "a Parquet file: ...", with the way on; NULL: nothing known. p holds
 * its first n bytes, not compressed. */
const char *gr_sniff(const void *p, size_t n);

/* Text of a JSON file to a value; a key that stands twice in one object is refused. */
struct json_t;
gram_status gr_json_parse(struct json_t **out, const char *name, const char *text, size_t n, gram_err *err);

/* templates.c: the named templates that lie in a folder of their own, copied. config is what tokenizer_config.json
 * holds. */
gram_status gr_templates_copy(const char *from, const char *to, gram_err *err);
gram_status gr_templates_of_dir(gr_templates *out, const char *dir, const struct json_t *config, gram_err *err);

#endif
