/* bind_int.h - what binding shares: names and places (bind_names.c), the trunk (bind.c), the head (bind_head.c). */
#ifndef GR_MODEL_BIND_INT_H
#define GR_MODEL_BIND_INT_H

#include "file/tensors.h"
#include "model/lora_int.h"

struct list { gr_stored *t; size_t n, cap; };

struct binder {
    gr_model *m;
    gr_linear_mode mode;
    size_t bound;               /* tensors asked for and found */
    size_t packed;              /* the same of those that gram laid out */
    gram_err *err;
    const gr_adapter *adapter;  /* folded into the matrices; NULL: none */
    bool exact;                 /* model.h's GR_MODEL_EXACT */
    size_t folded;              /* pairs of A and B of it */
    gr_arena int8;              /* of m->int8 */
    struct list *list;          /* not NULL: they are noted here, and nothing is loaded */
    const char *as;             /* what gram calls the tensor of the reward head at hand */
};

/* ---- bind_names.c ---------------------------------------------------------------------------------- */

/* Where a multimodal checkpoint keeps its language model, next to the older "language_model.model.". */
#define GR_NESTED "model.language_model."

/* The whole name of a tensor: in a GGUF, in a directory as if it were a Llama's, as this architecture has it in its
 * own, and as the file at hand has it. Of GR_T_SCORE, `part` is the name. layer: as tensors.h counts. */
enum gr_bind_format { GR_IN_GGUF, GR_AS_LLAMA, GR_AS_OWN, GR_IN_DIR };
void gr_bind_name_in(const gr_model *m, enum gr_bind_format format, char *out, size_t size, gr_tensor_kind slot,
                     size_t layer, const char *part);
void gr_bind_name(const struct binder *b, char *out, size_t size, gr_tensor_kind slot, size_t layer, const char *part);
/* The matrix of a slot, and its layer; `at` as tensors.h counts. */
size_t gr_bind_matrix_of(const gr_config *c, gr_tensor_kind slot, size_t at);
size_t gr_bind_layer_of(const gr_config *c, gr_tensor_kind slot, size_t at);
struct matrix *gr_bind_mat_of(const gr_model *m, gr_tensor_kind slot, size_t at);
bool gr_bind_is_bias(const char *part);     /* "bias", or a head's "0.bias" */
gr_stored gr_bind_stored(const struct binder *b, gr_tensor_kind slot, size_t layer, const char *part,
                         const gr_tensor *t);

/* ---- bind.c, bind_head.c --------------------------------------------------------------------------- */

/* Memory of the host becomes the device's, which on a CPU it is; on failure it is given back, and *p is NULL. */
gram_status gr_bind_settle(const gr_model *m, void **p, size_t bytes, gram_err *err);
/* Notes a parameter; takes over w, or half, of the host's memory. Its values are then where the parameter says. */
gram_status gr_bind_add_param(struct binder *b, gr_tensor_kind slot, size_t layer, const char *part, float *w,
                              uint16_t *half, size_t rows, size_t cols);
/* The file's tensor of a slot, proved: noted, copied where the model is writable, or as it lies in the file. Of
 * GR_T_SCORE, `part` is its whole name. */
gram_status gr_bind_find(struct binder *b, gr_tensor_kind slot, size_t layer, const char *part, size_t rows,
                         size_t cols,
                         gr_tensor *out);
/* Binds the reward head, and the network that weighs its outputs. */
gram_status gr_bind_head(struct binder *b);
bool gr_bind_is_of_gate(const gr_config *c, const char *name);

#endif
