/* lora.h - low-rank adapters: beside a frozen weight W [O,K] two thin ones that learn.
 *
 *   forward   u = s x A^T             y += u B^T           s = alpha / r, or alpha / sqrt(r) for rsLoRA
 *   backward  du = s dy B             dx += du A
 *             dA += du^T x            dB += dy^T u
 *   folded    W + s B A; of DoRA each row of it times m / its length, m [O] being a vector of the file
 *   shapes    x dx [N,K]    y dy [N,O]    u du [N,r]    A [r,K]    B [O,r]
 *   dropout   in training A sees drop(x) instead, see op/dropout.h, and the same mask comes back on dx
 *   at first  A uniform in +-1/sqrt(K), which is PEFT's kaiming_uniform(a = sqrt(5)); B = 0, so that y is W's
 *
 * A reward head, where the model has one, is trained whole beside them, as PEFT's modules_to_save ["score"].
 *
 * B lies transposed, [r,O], so that each of these is a product that matmul.h has; files have it as PEFT does. For a
 * GGUF whose rows of q and k are permuted, the columns of that B are too, but in files. */
#ifndef GR_MODEL_LORA_H
#define GR_MODEL_LORA_H

#include "file/adapter.h"
#include "file/save.h"
#include "model/model.h"

#define GR_LORA_ALL 0x7fu       /* every matrix but the router, whose adapters are only read */
typedef struct {
    size_t rank;
    double alpha;
    bool root;                  /* rsLoRA */
    unsigned targets;           /* bit i: matrix i of q k v o gate up down router has an adapter, in every layer */
    double dropout;             /* of what A sees in training: below 1 */
    bool stacked;               /* a layer's experts have theirs in one tensor, and gate and up of each one A */
} gr_lora_spec;

/* "q,k,v", or PEFT's "q_proj,v_proj"; NULL: all. Fails by the name that it does not know. */
gram_status gr_lora_targets(unsigned *out, const char *list, gram_err *err);
/* The same list, in PEFT's names for this architecture: out[10], NULL-terminated. */
void gr_lora_modules(const char *out[10], const gr_config *c, unsigned targets);

/* New adapters for m. Their values follow from the seed. Matrices that lie in one tensor of a directory, as Phi-3's q,
 * k and v, have one A together, as PEFT gives them. */
gram_status gr_lora_open(gr_lora **out, const gr_model *m, const gr_lora_spec *spec, uint64_t seed, gram_err *err);
/* An adapter's, to be trained further: the same matrices in every layer, all of its config's rank. */
gram_status gr_lora_read(gr_lora **out, const gr_model *m, const gr_adapter *a, gram_err *err);
void gr_lora_close(gr_lora *l);
const gr_lora_spec *gr_lora_get_spec(const gr_lora *l);
void gr_lora_set_dropout(gr_lora *l, double dropout);
/* A and B of each matrix, and a reward head; g NULL. Named as PEFT does. */
const gr_param *gr_lora_params(const gr_lora *l, size_t *n);
/* DIR/adapter_config.json, which names the base, and after it adapter_model.safetensors with `meta`. */
gram_status gr_lora_write(const gr_lora *l, const gr_model *m, const char *dir, const char *base, const gr_meta *meta,
                          size_t n_meta, gram_err *err);
/* The .safetensors file of a Hugging Face directory: the base w with the adapter added, row by row, so that it takes
 * little memory. type is one that gr_quantizes(). Takes *cfg over. */
gram_status gr_lora_merge(const char *path, const gr_weights *w, gr_config *cfg, const gr_adapter *a, gr_dtype type,
                          gram_err *err);
/* Bytes that a float32 copy of the matrices that have adapters takes. */
uint64_t gr_lora_folded_bytes(const gr_lora_spec *s, const gr_config *c);

#endif
