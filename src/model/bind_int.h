/* bind_int.h - what binding shares between the trunk (bind.c) and the reward head (bind_head.c). */
#ifndef GR_MODEL_BIND_INT_H
#define GR_MODEL_BIND_INT_H

#include "file/tensors.h"
#include "model/lora_int.h"

struct list { gr_stored *t; size_t n, cap; };

struct binder {
    gr_model *m;
    gr_linear_mode mode;
    size_t bound;               /* tensors asked for and found */
    gram_err *err;
    const gr_adapter *adapter;  /* folded into the matrices; NULL: none */
    bool exact;                 /* model.h's GR_MODEL_EXACT */
    size_t folded;              /* pairs of A and B of it */
    struct list *list;          /* not NULL: they are noted here, and nothing is loaded */
    const char *as;             /* what gram calls the tensor of the reward head at hand */
};

/* Memory of the host becomes the device's, which on a CPU it is; on failure it is given back, and *p is NULL. */
gram_status gr_bind_settle(const gr_model *m, void **p, size_t bytes, gram_err *err);
/* Notes a parameter; takes over w, or half, of the host's memory. Its values are then where the parameter says. */
gram_status gr_bind_add_param(struct binder *b, gr_tensor_kind slot, size_t layer, const char *part, float *w,
                              uint16_t *half, size_t rows, size_t cols);
/* The file's tensor of a slot, proved: noted, copied where the model is writable, or as it lies in the file. Of
 * GR_T_SCORE, `part` is its whole name. */
gram_status gr_bind_find(struct binder *b, gr_tensor_kind slot, size_t layer, const char *part, size_t rows, size_t cols,
                         gr_tensor *out);
/* The reward head, and the network that weighs its outputs. */
gram_status gr_bind_head(struct binder *b);
bool gr_bind_is_of_gate(const gr_config *c, const char *name);

#endif
