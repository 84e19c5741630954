/* tensors.h - the tensors of a model, a row each: what both formats call it, its shape, and which models have it. What
 * is bound, checked, listed, converted or given an adapter is read from here. */
#ifndef GR_FILE_TENSORS_H
#define GR_FILE_TENSORS_H

#include "file/config.h"

/* In the order in which a model's parameters stand. */
typedef enum {
    GR_T_EMBED, GR_T_HEAD, GR_T_FINAL_NORM,
    GR_T_ATTN_NORM, GR_T_MLP_NORM, GR_T_ATTN_POST_NORM, GR_T_MLP_POST_NORM, GR_T_Q_NORM, GR_T_K_NORM,   /* of a layer */
    GR_T_Q, GR_T_K, GR_T_V, GR_T_O, GR_T_GATE, GR_T_UP, GR_T_DOWN,                      /* of a layer, matrices */
    GR_T_ROUTER, GR_T_SHARED,   /* of layers with experts; the latter one row, whose product says how much of the shared
                                 * expert counts: that has gate, up and down of the layer, under other names */
    GR_T_EXPERT_GATE, GR_T_EXPERT_UP, GR_T_EXPERT_DOWN,    /* in place of gate, up and down */
    GR_T_SCORE,                 /* the reward head's: names and shapes are in gr_head_form */
    GR_TENSORS,
    GR_T_LAYER = GR_T_ATTN_NORM, GR_T_LAYER_END = GR_T_SCORE
} gr_tensor_kind;

/* Of an expert's tensors the `layer` below is layer * c->experts + expert. */
static inline bool gr_tensor_of_expert(gr_tensor_kind t) { return t >= GR_T_EXPERT_GATE && t <= GR_T_EXPERT_DOWN; }

/* What a Hugging Face directory, or a GGUF, calls it, without ".weight" or ".bias". In a GGUF all experts of a layer
 * have one name, and are one tensor of three dimensions. */
void gr_tensor_stem(const gr_config *c, bool gguf, gr_tensor_kind t, size_t layer, char *out, size_t size);
/* The same as it stands in a file of this architecture: some have their own names, and one tensor for several. */
void gr_tensor_stem_read(const gr_config *c, bool gguf, gr_tensor_kind t, size_t layer, char *out, size_t size);
/* And in one whose experts stand each apart, as they are written. */
void gr_tensor_stem_own(const gr_config *c, bool gguf, gr_tensor_kind t, size_t layer, char *out, size_t size);
/* Where its rows are in such a tensor of `all` rows: row r is at from + r / take * every + r % take. deep: the tensor
 * has three dimensions, [deep, all / deep, cols]; 0: two. False: it stands alone. */
typedef struct { size_t all, from, take, every, deep; } gr_fused;
bool gr_tensor_fused(const gr_config *c, bool gguf, gr_tensor_kind t, size_t layer, gr_fused *out);
/* As gr_tensor_stem_own() what is written is called, but for an architecture whose directory is written as a Llama's.
 * Tensors of one name stand in it one after the other. */
void gr_tensor_stem_written(const gr_config *c, bool gguf, gr_tensor_kind t, size_t layer, char *out, size_t size);
/* The last word of what gr_tensor_stem() gives, PEFT's name of a matrix: "q_proj"; and of gr_tensor_stem_own(). */
const char *gr_tensor_module(const gr_config *c, gr_tensor_kind t);
const char *gr_tensor_own_module(const gr_config *c, gr_tensor_kind t);
/* Whether any architecture calls it by this last word. */
bool gr_tensor_is_called(gr_tensor_kind t, const char *word, size_t n);
bool gr_tensor_there(const gr_config *c, gr_tensor_kind t, size_t layer);
bool gr_tensor_has_bias(const gr_config *c, gr_tensor_kind t);
/* [rows, cols] of its weight; a vector is one row. */
void gr_tensor_shape(const gr_config *c, gr_tensor_kind t, size_t *rows, size_t *cols);

#endif
