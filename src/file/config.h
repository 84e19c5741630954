/* config.h - what a checkpoint says of its model, from config.json or from GGUF metadata, as one plain struct.
 *
 * Every number is in range when a reader returns: no size is zero, kv_heads divides heads, head_dim is even.
 * What a reader cannot do exactly (another architecture, another kind of rope, soft-capped logits) it refuses
 * by name. Keys that are missing take the defaults of transformers' configuration classes. */
#ifndef GR_FILE_CONFIG_H
#define GR_FILE_CONFIG_H

#include "base/mem.h"
#include "file/weights.h"

typedef enum { GR_ARCH_LLAMA, GR_ARCH_MISTRAL, GR_ARCH_QWEN2, GR_ARCH_QWEN3, GR_ARCH_GEMMA3, GR_ARCHS } gr_arch;
const char *gr_arch_name(gr_arch a);        /* "llama", "mistral", "qwen2", "qwen3", "gemma3" */

/* freq[i] = theta^(-2i/head_dim), then by kind:
 *   linear  freq / factor
 *   llama3  as it is where its wave is shorter than original/high, / factor where longer than original/low,
 *           a blend of both between
 *   table   freq / factors that a file lists and none of the above gives */
typedef enum { GR_ROPE_DEFAULT, GR_ROPE_LINEAR, GR_ROPE_LLAMA3, GR_ROPE_TABLE } gr_rope_kind;
typedef struct { gr_rope_kind kind; double theta, factor, low, high, original; } gr_rope;

/* What stands behind the last norm besides, or instead of, the head over the vocabulary: score.weight, whose product
 * with the last token's hidden state is one number, or two: PURM's mean and h, the spread being exp(h/10). Or an MLP
 * with one hidden layer, torch's Sequential(Linear, ReLU, Linear) in its place. */
typedef enum { GR_REWARD_NONE, GR_REWARD_MEAN, GR_REWARD_PURM } gr_reward_kind;
#define GR_PURM_MARK "purm"                 /* "gram_reward_head" of config.json, which tells PURM from a classifier */

typedef struct {
    gr_arch architecture;       /* GGUF writes Mistral as "llama" */
    size_t layers;
    size_t width;               /* hidden_size */
    size_t heads, kv_heads;     /* kv_heads divides heads */
    size_t head_dim;            /* even; heads * head_dim need not be width */
    size_t hidden;              /* intermediate_size */
    size_t vocabulary, context;
    float rms_eps;

    bool rope_interleaved;      /* q and k rows are permuted for pairs (2i, 2i+1): GGUF "llama" */
    bool tied_head;             /* the embedding is the output head; in a GGUF: output.weight is absent */
    bool qkv_bias, o_bias;
    bool qk_norm;               /* RMSNorm of each head of q and k before rope (Qwen3, Gemma 3) */
    float norm_bias;            /* added to every norm weight: 1 where a Gemma stores w - 1, else 0 */
    bool sandwich_norms;        /* Gemma 3: norms after attention and after the MLP too */
    bool geglu;                 /* tanh-GELU gate; false: SiLU */
    float embed_scale;          /* multiplies embeddings: sqrt(width) in float32 for Gemma, else 1 */
    float attn_scale;           /* multiplies q.k */

    size_t window;              /* keys a sliding layer's query sees, itself included; 0: no layer slides */
    bool *sliding;              /* [layers], owned */
    /* [0] of full layers, [1] of sliding ones: inverse frequencies [head_dim/2], owned; computed in float32 as
     * transformers does. rope_scale multiplies cos and sin. */
    float *inv_freq[2];
    float rope_scale[2];
    gr_rope rope[2];            /* what inv_freq was computed from */

    gr_reward_kind reward;
    size_t head_width;          /* units of the reward head's hidden layer; 0: it is one matrix */
    bool new_head;              /* the reward head is to be made, by training: the file has none */
    bool words;                 /* there is a head over the vocabulary; ...ForSequenceClassification has none */
    double init_std;            /* initializer_range: of a head that training makes */

    int32_t bos, eos, pad;      /* token ids; -1: none. Of a list of eos ids, the first. */
    const char *prefix;         /* before "model." in tensor names: "" or "language_model."; static */
} gr_config;

/* DIR/config.json. On failure nothing is left to clear. */
gram_status gr_config_read(gr_config *out, const char *dir, gram_err *err);
/* The same from bytes that were read from the file called `name`. */
gram_status gr_config_parse(gr_config *out, const char *name, const char *json, size_t n, gram_err *err);
/* From a GGUF's metadata, and the weights that say the rest: tied head, biases, vocabulary, rope factors. */
gram_status gr_config_from_gguf(gr_config *out, const gr_gguf *g, const gr_weights *w, gram_err *err);
/* As the text of a config.json, appended; `name` is for errors, dtype "float32", "bfloat16" or "float16". How rows of q
 * and k lie and what a norm holds are the weights' affair: they must be written as transformers has them. */
gram_status gr_config_json(const gr_config *c, const char *name, const char *dtype, gr_buf *out, gram_err *err);
/* As the keys of a GGUF. What llama.cpp does not compute is refused by name. */
struct gr_keys;
gram_status gr_config_keys(const gr_config *c, const char *name, struct gr_keys *k, gram_err *err);
/* What rope's unscaled frequencies are divided by, as the tensor rope_freqs.weight holds it: out[head_dim / 2]. The
 * kind of c->rope[0] is llama3. */
void gr_config_rope_factors(const gr_config *c, float *out);
void gr_config_clear(gr_config *c);         /* all zeros is fine */
size_t gr_reward_outputs(gr_reward_kind k); /* 0, 1 or 2 */

/* The tensors of a reward head: score.weight; or score.0.weight, score.0.bias, score.2.weight and score.2.bias. Tensor
 * i; false: there are no more. A bias has one dimension, and is here a row. */
enum { GR_REWARD_PARTS = 4 };
typedef struct { const char *name; size_t rows, cols; bool bias; } gr_reward_part;
bool gr_reward_part_at(const gr_config *c, size_t i, gr_reward_part *out);
/* Whether the file has a reward head; if so head_width is its. */
bool gr_config_find_head(gr_config *c, const gr_weights *w);

#endif
