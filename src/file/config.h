/* config.h - what a checkpoint says of its model, from config.json or from GGUF metadata, as one plain struct.
 *
 * Every number is in range when a reader returns: no size is zero, kv_heads divides heads, head_dim is even.
 * What a reader cannot do exactly (another architecture, another kind of rope) it refuses by name. Keys that are
 * missing take the defaults of transformers' configuration classes. */
#ifndef GR_FILE_CONFIG_H
#define GR_FILE_CONFIG_H

#include "base/mem.h"
#include "file/arch.h"
#include "file/weights.h"

/* freq[i] = theta^(-2i/rope_dim), then by kind:
 *   linear  freq / factor
 *   llama3  as it is where its wave is shorter than original/high, / factor where longer than original/low,
 *           a blend of both between
 *   yarn    as it is where it turns more than `high` times in `original` tokens, / factor where less than `low` times,
 *           a blend of both between, whose ends are whole channels with `truncate`
 *   dynamic as it is: other programs change it in texts beyond the context, which are not read here
 *   table   freq / factors that a file lists and none of the above gives
 *   long    freq / short factors in a text of up to `original` tokens, freq / long ones in all of a longer text */
typedef enum {
    GR_ROPE_DEFAULT, GR_ROPE_LINEAR, GR_ROPE_LLAMA3, GR_ROPE_YARN, GR_ROPE_DYNAMIC, GR_ROPE_TABLE, GR_ROPE_LONG
} gr_rope_kind;
typedef struct { gr_rope_kind kind; double theta, factor, low, high, original; bool truncate; } gr_rope;

/* What a model gives besides, or instead of, words: one number, or two: PURM's mean and h, the spread being
 * exp(h/10). */
typedef enum { GR_REWARD_NONE, GR_REWARD_MEAN, GR_REWARD_PURM } gr_reward_kind;
#define GR_PURM_MARK "purm"                 /* "gram_reward_head" of config.json, which tells PURM from a classifier */

/* The reward head after the last norm: one matrix [rows, width], or with `hidden` units between two, an MLP. What a
 * file calls them, "score" or "v_head.summary.2", stands before ".weight" and ".bias". rows 0: there is no head. */
enum { GR_HEAD_NAME = 64, GR_HEAD_MOST = 4096 };
typedef struct {
    char in[GR_HEAD_NAME], out[GR_HEAD_NAME];
    size_t rows, hidden;        /* hidden 0: `out` alone */
    bool in_bias, out_bias;
    bool tanh;                  /* after the first matrix, as llama.cpp has it after "cls"; otherwise ReLU */
} gr_head_form;

/* A network whose outputs are the weights of the rewards that the head gives: layers [out, in], an activation between
 * two. The reward is sum_k g_k r_k. */
enum { GR_GATE_LAYERS = 8 };
typedef enum {
    GR_GATE_NONE,
    GR_GATE_PROMPT,             /* ArmoRM: of the hidden state where the last prompt ends; g = scale softmax(z / T), and
                                 * r is multiplied by a matrix first */
    GR_GATE_ANSWER              /* URM: of the last token's; g = z, and r is every other output of the head */
} gr_gate_kind;
typedef struct {
    gr_gate_kind kind;
    size_t layers, size[GR_GATE_LAYERS + 1];    /* size[0] is the width, size[layers] the number of weights */
    double temperature;
} gr_gate_form;

/* What config.json, an adapter or a GGUF says that a checkpoint ends in, whatever its tensors are. */
typedef enum {
    GR_SAYS_NOTHING, GR_SAYS_WORDS, GR_SAYS_HEAD,
    GR_SAYS_OTHER               /* a ...For... of which nobody here knows; a head that is there counts all the same */
} gr_says;

typedef struct {
    gr_arch architecture;       /* GGUF writes Mistral as "llama" */
    size_t layers;
    size_t width;               /* hidden_size */
    size_t heads, kv_heads;     /* kv_heads divides heads */
    size_t head_dim;            /* even; heads * head_dim need not be width */
    size_t rope_dim;            /* even; of each head rope turns as many channels, the first */
    size_t hidden;              /* intermediate_size, of a layer without experts; and of a shared expert */
    /* Mixtures of experts: some layers choose `chosen` of `experts` gated MLPs for each token; 0: none do. */
    size_t experts, chosen;     /* num_experts, num_experts_per_tok */
    size_t expert_hidden;       /* moe_intermediate_size, or where there is no such key intermediate_size */
    bool *sparse;               /* [layers], owned: which; NULL where experts is 0 */
    bool norm_chosen;           /* norm_topk_prob: their probabilities are divided by their sum */
    bool router_loss;           /* output_router_logits: training is to add the routers' own loss */
    bool stacked;               /* the file has all experts of a layer in one tensor: found when it is bound */
    size_t vocabulary, context;
    float rms_eps;

    bool rope_interleaved;      /* q and k rows are permuted for pairs (2i, 2i+1): GGUF "llama" */
    bool tied_head;             /* the embedding is the output head; in a GGUF: output.weight is absent */
    bool qkv_bias, o_bias;
    bool qk_norm;               /* RMSNorm of each head of q and k before rope (Qwen3, Gemma 3) */
    bool qk_norm_wide;          /* of all heads of q, or of k, as one (OLMo 2) */
    float norm_bias;            /* added to every norm weight: 1 where a Gemma stores w - 1, else 0 */
    bool sandwich_norms;        /* Gemma: norms after attention and after the MLP too */
    bool no_pre_norms;          /* OLMo 2: those alone */
    bool geglu;                 /* tanh-GELU gate; false: SiLU */
    float embed_scale;          /* multiplies embeddings: sqrt(width) in float32 for Gemma, else 1 */
    float attn_scale;           /* multiplies q.k */
    float branch_scale;         /* multiplies what a branch adds to the residual: Granite; else 1 */
    float logit_div;            /* divides logits over words: Granite; else 1 */
    float attn_cap, logit_cap;  /* Gemma 2: x becomes cap tanh(x / cap), of scores and of logits over words; 0: none */

    size_t window;              /* keys a sliding layer's query sees, itself included; 0: no layer slides */
    bool *sliding;              /* [layers], owned */
    bool *bare;                 /* [layers], owned: no rope there (SmolLM3); NULL: it is in all */
    /* [0] of full layers, [1] of sliding ones: inverse frequencies [rope_dim/2], owned; computed in float32 as
     * transformers does. rope_scale multiplies cos and sin. */
    float *inv_freq[2];
    float rope_scale[2];
    gr_rope rope[2];            /* what inv_freq was computed from */
    /* Of GR_ROPE_LONG, [rope_dim/2] each, owned; after 0: of another kind. A text of more than `after` tokens has the
     * frequencies `freq` from its first token on, in every layer. */
    struct { size_t after; float *freq, *shorts, *longs; } far;

    gr_reward_kind reward;
    gr_head_form head;
    gr_gate_form gate;
    double *mix;                /* [head.rows], owned: the reward is the outputs' sum with these weights; or NULL */
    bool is_token;              /* the reward is the logit of this token, and there is no other head */
    int32_t token;
    bool new_head;              /* the reward head is to be made, by training: the file has none */
    bool words;                 /* there is a head over the vocabulary; ...ForSequenceClassification has none */
    struct {
        gr_says end;
        char by[GR_HEAD_NAME];  /* what says it: "LlamaForSequenceClassification" */
        char name[2 * GR_HEAD_NAME];            /* _name_or_path */
        long labels;            /* num_labels, id2label; -1: nothing */
        bool purm;
        char stem[GR_HEAD_NAME];                /* value_head_prefix, or "" */
        double temperature;     /* gating_temperature */
        bool vectors;           /* an embedding model, whose tokens' logits mean nothing */
        gr_quantization quantization;
        bool code;              /* the class is none of the architecture's: code in the checkpoint, "auto_map" */
    } said;
    char *notes;                /* owned: what a person should hear of the files, a line each; NULL: nothing */
    double init_std;            /* initializer_range: of a head that training makes */

    int32_t bos, eos, pad;      /* token ids; -1: none. Of a list of eos ids, the first. */
    int32_t last;               /* "reward_token_id": goes behind each text that is given a number, and the number is
                                 * read there; -1: none */
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
/* What rope's unscaled frequencies are divided by, as the tensor rope_freqs.weight holds it: out[rope_dim / 2]. The
 * kind of c->rope[0] is llama3. */
void gr_config_rope_factors(const gr_config *c, float *out);
static inline bool gr_config_has(const gr_config *c, unsigned what) { return gr_arch_has(c->architecture, what); }
static inline bool gr_config_sparse(const gr_config *c, size_t layer) { return c->sparse && c->sparse[layer]; }
/* Whether the layer has a shared expert beside those that are chosen. */
static inline bool gr_config_shares(const gr_config *c, size_t layer)
{
    return gr_config_sparse(c, layer) && gr_config_has(c, GR_HAS_SHARED);
}
/* Units of the widest gated MLP that there is, an expert or a layer's. */
size_t gr_config_most_hidden(const gr_config *c);
/* Of all that moves a number and that no tensor's name or shape tells: angles, scales, windows, which token gives the
 * reward. */
uint64_t gr_config_digest(const gr_config *c);
void gr_config_clear(gr_config *c);         /* all zeros is fine */
size_t gr_reward_outputs(gr_reward_kind k); /* what a person gets of it: 0, 1 or 2 numbers */

/* Adds a line to c->notes. */
gram_status gr_config_note(gr_config *c, gram_err *err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The tensors of a reward head. Tensor i; false: there are no more. `at` is its place in gr_head.part. A bias has one
 * dimension, and is here a row. */
enum { GR_HEAD_IN, GR_HEAD_IN_BIAS, GR_HEAD_OUT, GR_HEAD_OUT_BIAS, GR_HEAD_PARTS };
typedef struct { char name[GR_HEAD_NAME + 8]; size_t at, rows, cols; bool bias; } gr_head_part;
bool gr_head_part_at(const gr_head_form *h, size_t width, size_t i, gr_head_part *out);
/* A head as gram makes and writes it: score.weight; or score.0 and score.2, both with a bias. */
gr_head_form gr_head_new(size_t rows, size_t hidden);
/* The same head under the names that gram writes. */
gr_head_form gr_head_renamed(const gr_head_form *h);

/* Tensors by name, wherever they lie. */
typedef const gr_named *gr_find_fn(const void *from, const char *name);
/* The reward head among tensors whose names begin with `before`; rows 0: there is none. `first`, where not "", is what
 * it is called if it is there; otherwise two heads fail. width 0: of any. saved: names as PEFT had them for a module
 * that is trained whole, too. */
gram_status gr_head_find(gr_head_form *out, const char *first, size_t width, gr_find_fn *find, const void *from,
                         const char *before, bool saved, const char *path, gram_err *err);
/* The head of a file whose configuration says that it has one, into c->head. */
gram_status gr_config_find_head(gr_config *c, const gr_weights *w, gram_err *err);
/* Makes c that of a reward model with the head c->head, found in w, or with NULL in an adapter at `path`. mix: the
 * weights of its outputs, "0.6,0.4", or NULL. */
gram_status gr_config_take_head(gr_config *c, const gr_weights *w, const char *path, bool purm, const char *mix,
                                gram_err *err);
/* What a person asked of the head: the id of the token whose logit is the reward, and the weights of a head's outputs.
 * NULL: nothing. */
typedef struct { const char *token, *weights; } gr_head_asked;
/* Fails where a directory's weights are packed and its configuration does not say so, or the other way round, or in
 * blocks of another size. */
gram_status gr_config_check_packed(const gr_config *c, const gr_weights *w, gram_err *err);
/* Settles what the model ends in by the tensors that there are. A head that was found already (in an adapter) stays. A
 * head that is missing although something says that there is one fails. */
gram_status gr_config_settle(gr_config *c, const gr_weights *w, const gr_head_asked *q, gram_err *err);
/* Whether the hidden state at the end of the last prompt counts too. */
static inline bool gr_config_reads_prompt(const gr_config *c) { return c->gate.kind == GR_GATE_PROMPT; }
/* The tensors of c->gate: layer i's matrix or its bias, with what it is called. */
void gr_gate_name(char out[GR_HEAD_NAME], const gr_gate_form *g, size_t layer, bool bias);
#define GR_GATE_SCALE  "gating.logit_scale"
#define GR_GATE_MATRIX "reward_transform_matrix"
/* Whether a tensor of this name is of no account: of a head that is not used, or a table that follows from the rest. */
bool gr_head_is_idle(const gr_config *c, const char *name);

#endif
