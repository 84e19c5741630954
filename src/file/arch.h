/* arch.h - read this to know which model is what: a row an architecture. What is computed follows from gr_config alone;
 * these rows say how the two formats come to it, and back. */
#ifndef GR_FILE_ARCH_H
#define GR_FILE_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum { GR_ARCH_LLAMA, GR_ARCH_MISTRAL, GR_ARCH_QWEN2, GR_ARCH_QWEN3, GR_ARCH_GEMMA, GR_ARCH_GEMMA2,
               GR_ARCH_GEMMA3, GR_ARCH_SMOLLM3, GR_ARCH_OLMO2, GR_ARCH_OLMO3, GR_ARCH_INTERNLM2, GR_ARCH_PHI3,
               GR_ARCH_GRANITE, GR_ARCH_QWEN3_MOE, GR_ARCH_MIXTRAL, GR_ARCH_OLMOE, GR_ARCH_QWEN2_MOE,
               GR_ARCHS } gr_arch;

enum {
    GR_HAS_QKV_BIAS     = 1 << 0,   /* q, k and v have a bias, always, and the output has none */
    GR_HAS_BIAS_KEY     = 1 << 1,   /* "attention_bias" gives all four one */
    GR_HAS_MLP_BIAS_KEY = 1 << 2,   /* "mlp_bias" may be there; true is refused */
    GR_HAS_QK_NORM      = 1 << 3,   /* each head of q and k is normed */
    GR_HAS_POST_NORMS   = 1 << 4,   /* norms after attention and MLP, too */
    GR_HAS_GEGLU        = 1 << 5,   /* and not SiLU */
    GR_HAS_PLUS_ONE     = 1 << 6,   /* a Hugging Face file holds the norms' weights less 1 */
    GR_HAS_EMBED_SCALE  = 1 << 7,   /* embeddings are multiplied by sqrt(width) */
    GR_HAS_QUERY_SCALAR = 1 << 8,   /* attention is scaled by "query_pre_attn_scalar", not by the head's size */
    GR_HAS_TWO_ROPES    = 1 << 9,   /* layers with a window have a rope of their own */
    GR_HAS_QK_NORM_WIDE = 1 << 10,  /* all heads of q, or of k, are normed as one */
    GR_HAS_NO_PRE_NORMS = 1 << 11,  /* no norms before attention and MLP */
    GR_HAS_OWN_FORM     = 1 << 12,  /* a Llama whose tensors a Hugging Face file renames and fuses: it is written
                                     * as the Llama, or with a window the Mistral, that it is */
    GR_HAS_BIAS_REFUSED = 1 << 13,  /* "bias", true where it is not there, and then refused */
    GR_HAS_GELU_NAMED   = 1 << 14,  /* the activation stands in "hidden_act", where "gelu" is the tanh-GELU, too */
    GR_HAS_CAPS         = 1 << 15,  /* "attn_logit_softcapping" and "final_logit_softcapping" */
    GR_HAS_LONG_ROPE    = 1 << 24,  /* rope of the type "longrope", and "partial_rotary_factor" */
    GR_HAS_MULTIPLIERS  = 1 << 25,  /* of embeddings, attention and residuals, and what logits are divided by */
    GR_HAS_ONE_BASE     = 1 << 26,  /* of the two ropes, which differ by the scaling of the layers without a window */
    GR_HAS_EXPERTS      = 1 << 22,  /* a router and experts in place of the MLP, in some or all layers */
    GR_HAS_SHARED       = 1 << 28,  /* a gated MLP beside the experts, times the sigmoid of a product with one row */
    /* What llama.cpp's GGUF of it is like: */
    GR_GGUF_PAIRS       = 1 << 16,  /* rows of q and k are ordered for rope on neighbours, (2i, 2i+1) */
    GR_GGUF_O_BIAS      = 1 << 17,  /* the attention's output may have a bias */
    GR_GGUF_FACTORS     = 1 << 18,  /* rope may be scaled by a list of factors */
    GR_GGUF_WINDOW      = 1 << 19,  /* a window has a key */
    GR_GGUF_IDLE_WINDOW = 1 << 20,  /* a window may have a key, and is none that the model was trained with */
    GR_GGUF_TIED        = 1 << 23,  /* the embedding is the output head, always */
    GR_GGUF_HEADS_FILL  = 1 << 21,  /* the heads together must be as wide as the model */
    GR_GGUF_NORM_CHOSEN = 1 << 27,  /* the probabilities of the chosen experts are divided by their sum */
};

/* Which layers see a window of keys alone, in a config.json. */
typedef enum {
    GR_SLIDE_NONE,              /* none */
    GR_SLIDE_ALL,               /* all, where "sliding_window" is set */
    GR_SLIDE_LISTED,            /* the same, or those of "layer_types", which make a Mistral a Ministral */
    GR_SLIDE_ASKED,             /* with "use_sliding_window", those from "max_window_layers" on, or of "layer_types" */
    GR_SLIDE_ALL_ASKED,         /* all, with "use_sliding_window" */
    GR_SLIDE_PATTERN            /* all but each n-th, "sliding_window_pattern", or those of "layer_types" */
} gr_slide;

typedef struct {
    const char *name;
    const char *model_type, *causal;        /* config.json's, and transformers' class with a head over words */
    const char *classifier;                 /* and its class with a head for numbers */
    const char *outer;                      /* the model_type of one with images that has it inside, or NULL */
    const char *also;                       /* another model_type with the same layers, or NULL */
    const char *gguf;                       /* general.architecture; of two rows with the same the first is read */
    unsigned has;
    gr_slide slide;
    size_t slide_but;                       /* of a pattern: the n that transformers takes where nothing is said */
    size_t rope_but;                        /* layers i with (i + 1) % rope_but == 0 are without rope; 0: none are */
    const char *const *keys;                /* of config.json that are of this architecture alone; a NULL ends them */
    size_t experts, chosen, expert_hidden;  /* what transformers takes where config.json says nothing of them;
                                             * expert_hidden 0: an expert has as many units as a dense layer */
    size_t wide_layers;                     /* of the model that llama.cpp scales attention in by width / heads */
    struct {                                /* what transformers takes where config.json says nothing; 0: it follows */
        size_t vocabulary, width, hidden, layers, heads, kv_heads, head_dim, context, window;
        int32_t bos, eos, pad;
        bool tied;
        double eps, theta;
        float attn_cap, logit_cap;
    } otherwise;
} gr_arch_row;

const gr_arch_row *gr_arch_of(gr_arch a);
const char *gr_arch_name(gr_arch a);        /* "llama" */
static inline bool gr_arch_has(gr_arch a, unsigned what) { return (gr_arch_of(a)->has & what) != 0; }
/* The row of a model_type, of one with images, or of a GGUF's general.architecture (n bytes); false: there is none. */
bool gr_arch_by_type(gr_arch *out, const char *model_type);
bool gr_arch_by_outer(gr_arch *out, const char *model_type);
bool gr_arch_by_gguf(gr_arch *out, const char *name, size_t n);
/* The row with experts whose GGUF has the same general.architecture as that of a; a where there is none. */
gr_arch gr_arch_with_experts(gr_arch a);
/* Whether a key of config.json is of this architecture alone. */
bool gr_arch_own_key(gr_arch a, const char *key);
/* The row that config.json is written by. A GGUF calls Mistral "llama", and a window is what tells them apart. */
gr_arch gr_arch_written(gr_arch a, bool window);
/* What a popular architecture that has no row asks for, by a model_type or a name of GGUF; NULL: nobody here knows. */
const char *gr_arch_missing(const char *name);
/* "llama, mistral, ...": all names, in out. */
const char *gr_arch_list(char *out, size_t size);

#endif
