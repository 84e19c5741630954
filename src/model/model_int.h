/* model_int.h - what the files of src/model share. */
#ifndef GR_MODEL_INT_H
#define GR_MODEL_INT_H

#include "model/model.h"

/* The matrices of a layer that have rows for outputs. LoRA may stand beside each. A shared expert has the place of the
 * MLP, and GR_MAT_SHARED is the one row that its weight comes from. Those of the experts follow, gate, up and down of
 * each: gr_expert_matrix(). */
enum gr_matrix { GR_MAT_Q, GR_MAT_K, GR_MAT_V, GR_MAT_O, GR_MAT_GATE, GR_MAT_UP, GR_MAT_DOWN, GR_MATRICES,
                 GR_MAT_ROUTER = GR_MATRICES, GR_MAT_SHARED, GR_MAT_EXPERTS };
/* Whether it says what experts weigh: such products are float32's, whatever the others are made of. */
static inline bool gr_matrix_weighs(size_t which) { return which == GR_MAT_ROUTER || which == GR_MAT_SHARED; }

struct matrix {
    gr_linear *l;               /* NULL: the layer has none such */
    const float *w;             /* of a writable model: the numbers behind it */
    void *apart;                /* owned: rows that the file has among those of others */
    float *folded;              /* owned: with an adapter in it, where the file's will not do */
};

struct layer {
    float *attn_norm, *mlp_norm;            /* [C], NULL where there are none before */
    float *attn_post_norm, *mlp_post_norm;  /* [C], NULL but for sandwich norms */
    float *q_norm, *k_norm;                 /* [D], [H*D] where all heads are normed as one, or NULL */
    float *bias[4];                         /* q k v o, NULL without */
    struct matrix *mat;                     /* [gr_matrices()], into the model's */
};

struct gr_model {
    gr_config cfg;
    gr_device *on;
    gr_linear_mode mode;
    const gr_weights *file;
    gr_tensor embed, head;                  /* as the file has them; head is embed where tied; writable: parameters */
    gr_tensor table;                        /* embed for kernels: on the device */
    float *final_norm;
    gr_head score;                          /* writable: its parts are parameters */
    gr_gate gate;                           /* weighs its outputs, where form.kind is one */
    struct layer *layer;                    /* [cfg.layers] */
    struct matrix *mat;                     /* of all layers */
    uint64_t bytes;
    bool writable;                          /* every tensor is a parameter below */
    void *int8;                             /* what INT8 made of all layers; NULL: matrices have their own */
    gr_multiply steps;                      /* gr_model_train_by() */
    bool nested;                            /* of a multimodal file that keeps its text half under another name */
    gr_param *param;                        /* names and values owned */
    size_t n_params, cap_params;
};

/* How many matrices a layer may have, which of them this one has, and which of them the experts' are: `which` is
 * GR_MAT_GATE, UP or DOWN. */
size_t gr_matrices(const gr_config *c);
bool gr_matrix_there(const gr_config *c, size_t which, size_t layer);
static inline size_t gr_expert_matrix(size_t expert, enum gr_matrix which)
{
    return GR_MAT_EXPERTS + 3 * expert + (which - GR_MAT_GATE);
}
/* The one of the first seven that an expert's is the like of. */
static inline enum gr_matrix gr_matrix_kind(size_t which)
{
    return (enum gr_matrix)(which < GR_MAT_EXPERTS ? which : GR_MAT_GATE + (which - GR_MAT_EXPERTS) % 3);
}

/* The name of a matrix in a Hugging Face checkpoint of this model, "model.layers.0.self_attn.q_proj.weight". */
void gr_matrix_name(const gr_model *m, size_t which, size_t layer, char *out, size_t size);
/* The same as a directory of this architecture calls it, where it may stand among others. */
void gr_matrix_own_name(const gr_model *m, size_t which, size_t layer, char *out, size_t size);
/* Where it stands among others there; false: it stands alone. */
bool gr_matrix_fused(const gr_config *c, size_t which, gr_fused *in);
void gr_matrix_shape(const gr_config *c, size_t which, size_t *O, size_t *K);
/* GGUF's "llama" stores the rows of q and k so that rotation pairs are neighbours, (2i, 2i+1); a Hugging Face file
 * has them D/2 apart. The row of the GGUF that belongs at row r, and back. */
size_t gr_matrix_unpermuted(const gr_config *c, size_t r);
size_t gr_matrix_permuted(const gr_config *c, size_t r);

/* Fails of a model without a head over the vocabulary: where words are tied, the table that reads them stands there. */
gram_status gr_model_check_words(const gr_model *m, gram_err *err);
/* Gives the host row v of the vocabulary's head as float32. */
void gr_model_head_row(const gr_model *m, size_t v, float *out);

const gr_model *gr_work_model(const gr_work *w);

#endif
