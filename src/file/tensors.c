/* tensors.c - see tensors.h. */
#include <stdio.h>
#include <string.h>
#include "file/tensors.h"

enum when { ALWAYS, WORDS, PRE_NORMS, POST_NORMS, HEAD_NORMS, DENSE, SPARSE, SHARED };
enum size { ONE, WIDTH, HIDDEN, VOCABULARY, QUERIES, KEYS, Q_NORM, K_NORM, EXPERTS, EXPERT };

static const struct row {
    const char *hf, *gguf;
    enum when when;
    enum size rows, cols;
} row[GR_TENSORS] = {
    [GR_T_EMBED]          = { "model.embed_tokens",            "token_embd",          ALWAYS,     VOCABULARY, WIDTH },
    [GR_T_HEAD]           = { "lm_head",                       "output",              WORDS,      VOCABULARY, WIDTH },
    [GR_T_FINAL_NORM]     = { "model.norm",                    "output_norm",         ALWAYS,     ONE,        WIDTH },
    [GR_T_ATTN_NORM]      = { "input_layernorm",               "attn_norm",           PRE_NORMS,  ONE,        WIDTH },
    [GR_T_MLP_NORM]       = { "pre_feedforward_layernorm",     "ffn_norm",            PRE_NORMS,  ONE,        WIDTH },
    [GR_T_ATTN_POST_NORM] = { "post_attention_layernorm",      "post_attention_norm", POST_NORMS, ONE,        WIDTH },
    [GR_T_MLP_POST_NORM]  = { "post_feedforward_layernorm",    "post_ffw_norm",       POST_NORMS, ONE,        WIDTH },
    [GR_T_Q_NORM]         = { "self_attn.q_norm",              "attn_q_norm",         HEAD_NORMS, ONE,        Q_NORM },
    [GR_T_K_NORM]         = { "self_attn.k_norm",              "attn_k_norm",         HEAD_NORMS, ONE,        K_NORM },
    [GR_T_Q]              = { "self_attn.q_proj",              "attn_q",              ALWAYS,     QUERIES,    WIDTH },
    [GR_T_K]              = { "self_attn.k_proj",              "attn_k",              ALWAYS,     KEYS,       WIDTH },
    [GR_T_V]              = { "self_attn.v_proj",              "attn_v",              ALWAYS,     KEYS,       WIDTH },
    [GR_T_O]              = { "self_attn.o_proj",              "attn_output",         ALWAYS,     WIDTH,      QUERIES },
    [GR_T_GATE]           = { "mlp.gate_proj",                 "ffn_gate",            DENSE,      HIDDEN,     WIDTH },
    [GR_T_UP]             = { "mlp.up_proj",                   "ffn_up",              DENSE,      HIDDEN,     WIDTH },
    [GR_T_DOWN]           = { "mlp.down_proj",                 "ffn_down",            DENSE,      WIDTH,      HIDDEN },
    [GR_T_ROUTER]         = { "mlp.gate",                      "ffn_gate_inp",        SPARSE,     EXPERTS,    WIDTH },
    [GR_T_SHARED]         = { "mlp.shared_expert_gate",        "ffn_gate_inp_shexp",  SHARED,     ONE,        WIDTH },
    [GR_T_EXPERT_GATE]    = { "gate_proj",                     "ffn_gate_exps",       SPARSE,     EXPERT,     WIDTH },
    [GR_T_EXPERT_UP]      = { "up_proj",                       "ffn_up_exps",         SPARSE,     EXPERT,     WIDTH },
    [GR_T_EXPERT_DOWN]    = { "down_proj",                     "ffn_down_exps",       SPARSE,     WIDTH,      EXPERT },
    [GR_T_SCORE]          = { "",                              "",                    ALWAYS,     ONE,        WIDTH },
};

/* A Hugging Face file's own names. */
static const char *const internlm2[GR_TENSORS] = {
    [GR_T_EMBED] = "model.tok_embeddings", [GR_T_HEAD] = "output", [GR_T_ATTN_NORM] = "attention_norm",
    [GR_T_MLP_NORM] = "ffn_norm", [GR_T_Q] = "attention.wqkv", [GR_T_K] = "attention.wqkv",
    [GR_T_V] = "attention.wqkv", [GR_T_O] = "attention.wo", [GR_T_GATE] = "feed_forward.w1",
    [GR_T_UP] = "feed_forward.w3", [GR_T_DOWN] = "feed_forward.w2",
};
static const char *const phi3[GR_TENSORS] = {
    [GR_T_Q] = "self_attn.qkv_proj", [GR_T_K] = "self_attn.qkv_proj", [GR_T_V] = "self_attn.qkv_proj",
    [GR_T_GATE] = "mlp.gate_up_proj", [GR_T_UP] = "mlp.gate_up_proj",
};
static const char *const phi3_gguf[GR_TENSORS] = {
    [GR_T_Q] = "attn_qkv", [GR_T_K] = "attn_qkv", [GR_T_V] = "attn_qkv", [GR_T_GATE] = "ffn_up", [GR_T_UP] = "ffn_up",
};
/* Of experts the last word alone, behind MIXTRAL_BLOCK. No layer is dense: those names are the modules of adapters. */
#define MIXTRAL_BLOCK "block_sparse_moe"
static const char *const mixtral[GR_TENSORS] = {
    [GR_T_GATE] = "w1", [GR_T_UP] = "w3", [GR_T_DOWN] = "w2", [GR_T_ROUTER] = MIXTRAL_BLOCK ".gate",
    [GR_T_EXPERT_GATE] = "w1", [GR_T_EXPERT_UP] = "w3", [GR_T_EXPERT_DOWN] = "w2",
};
static const char *const *const own[GR_ARCHS][2] = {        /* and a GGUF's */
    [GR_ARCH_INTERNLM2] = { internlm2, NULL }, [GR_ARCH_PHI3] = { phi3, phi3_gguf },
    [GR_ARCH_MIXTRAL] = { mixtral, NULL },
};

/* Of a shared expert: in a Hugging Face file, and in a GGUF. */
static const char *const shared[][2] = {
    { "mlp.shared_expert.gate_proj", "ffn_gate_shexp" }, { "mlp.shared_expert.up_proj", "ffn_up_shexp" },
    { "mlp.shared_expert.down_proj", "ffn_down_shexp" },
};

static bool is_of_shared(const gr_config *c, gr_tensor_kind t, size_t layer)
{
    return t >= GR_T_GATE && t <= GR_T_DOWN && gr_config_shares(c, layer);
}

static const char *name_of(const gr_config *c, bool gguf, gr_tensor_kind t)
{
    /* Where no norms follow, a Hugging Face file calls the norm before the MLP the one after the attention. */
    if (!gguf && t == GR_T_MLP_NORM && !c->sandwich_norms)
        t = GR_T_ATTN_POST_NORM;
    return gguf ? row[t].gguf : row[t].hf;
}

static void write_name(char *out, size_t size, const char *before, gr_tensor_kind t, size_t layer, const char *name)
{
    if (t >= GR_T_LAYER && t < GR_T_LAYER_END)
        snprintf(out, size, "%s%zu.%s", before, layer, name);
    else
        snprintf(out, size, "%s", name);
}

/* names: of the architecture's own, or NULL. */
static void write_expert(const gr_config *c, bool gguf, const char *const *names, gr_tensor_kind t, size_t at,
                         char *out, size_t size)
{
    size_t layer = at / c->experts, expert = at % c->experts;
    bool mine = names && names[t];

    if (gguf)
        snprintf(out, size, "blk.%zu.%s", layer, row[t].gguf);
    else
        snprintf(out, size, "model.layers.%zu.%s.experts.%zu.%s", layer, mine ? MIXTRAL_BLOCK : "mlp", expert,
                 mine ? names[t] : row[t].hf);
}

void gr_tensor_stem(const gr_config *c, bool gguf, gr_tensor_kind t, size_t layer, char *out, size_t size)
{
    if (gr_tensor_of_expert(t))
        write_expert(c, gguf, NULL, t, layer, out, size);
    else if (is_of_shared(c, t, layer))
        write_name(out, size, gguf ? "blk." : "model.layers.", t, layer, shared[t - GR_T_GATE][gguf]);
    else
        write_name(out, size, gguf ? "blk." : "model.layers.", t, layer, name_of(c, gguf, t));
}

/* Where a file has the experts of a layer in one tensor, transformers 5 wrote it, which calls the block "mlp" in every
 * architecture. */
void gr_tensor_stem_read(const gr_config *c, bool gguf, gr_tensor_kind t, size_t layer, char *out, size_t size)
{
    bool stack = !gguf && c->stacked;

    if (stack && gr_tensor_of_expert(t))
        write_name(out, size, "model.layers.", t, layer / c->experts,
                   t == GR_T_EXPERT_DOWN ? "mlp.experts.down_proj" : "mlp.experts.gate_up_proj");
    else
        (stack && t == GR_T_ROUTER ? gr_tensor_stem : gr_tensor_stem_own)(c, gguf, t, layer, out, size);
}

void gr_tensor_stem_own(const gr_config *c, bool gguf, gr_tensor_kind t, size_t layer, char *out, size_t size)
{
    const char *const *names = own[c->architecture][gguf];

    if (gr_tensor_of_expert(t))
        write_expert(c, gguf, names, t, layer, out, size);
    else if (is_of_shared(c, t, layer))
        gr_tensor_stem(c, gguf, t, layer, out, size);
    else
        write_name(out, size, gguf ? "blk." : "model.layers.", t, layer,
                   names && names[t] ? names[t] : name_of(c, gguf, t));
}

void gr_tensor_stem_written(const gr_config *c, bool gguf, gr_tensor_kind t, size_t layer, char *out, size_t size)
{
    (gr_config_has(c, GR_HAS_OWN_FORM) ? gr_tensor_stem : gr_tensor_stem_own)(c, gguf, t, layer, out, size);
}

static void stacked(const gr_config *c, bool gguf, gr_tensor_kind t, size_t expert, gr_fused *out)
{
    size_t F = c->expert_hidden, rows = t == GR_T_EXPERT_DOWN ? c->width : gguf ? F : 2 * F;

    *out = (gr_fused){ c->experts * rows, expert * rows + (!gguf && t == GR_T_EXPERT_UP ? F : 0),
                       t == GR_T_EXPERT_DOWN ? rows : F, 0, c->experts };
}

/* InternLM2 has the rows of a key-value head together: those of its queries, of its keys and of its values. Phi-3 has
 * all queries, then all keys, then all values; and all of the gate, then all of what it lets through. Stacked experts
 * lie one after the other, in a Hugging Face file gate and up of an expert together. */
bool gr_tensor_fused(const gr_config *c, bool gguf, gr_tensor_kind t, size_t layer, gr_fused *out)
{
    size_t D = c->head_dim, q = c->heads * D, kv = c->kv_heads * D, group = c->heads / c->kv_heads * D;
    bool qkv = t >= GR_T_Q && t <= GR_T_V, gate_up = t == GR_T_GATE || t == GR_T_UP;

    if (gr_tensor_of_expert(t) && (gguf || c->stacked))
        stacked(c, gguf, t, layer % c->experts, out);
    else if (c->architecture == GR_ARCH_INTERNLM2 && qkv && !gguf)
        *out = (gr_fused){ q + 2 * kv, t == GR_T_Q ? 0 : t == GR_T_K ? group : group + D, t == GR_T_Q ? group : D,
                           group + 2 * D, 0 };
    else if (c->architecture == GR_ARCH_PHI3 && qkv)
        *out = (gr_fused){ q + 2 * kv, t == GR_T_Q ? 0 : t == GR_T_K ? q : q + kv, t == GR_T_Q ? q : kv, 0, 0 };
    else if (c->architecture == GR_ARCH_PHI3 && gate_up)
        *out = (gr_fused){ 2 * c->hidden, t == GR_T_GATE ? 0 : c->hidden, c->hidden, 0, 0 };
    else
        return false;
    return true;
}

static const char *last_word(const char *name)
{
    const char *dot = strrchr(name, '.');

    return dot ? dot + 1 : name;
}

const char *gr_tensor_module(const gr_config *c, gr_tensor_kind t)
{
    return last_word(name_of(c, false, t));
}

const char *gr_tensor_own_module(const gr_config *c, gr_tensor_kind t)
{
    const char *const *names = own[c->architecture][0];

    return names && names[t] ? last_word(names[t]) : gr_tensor_module(c, t);
}

bool gr_tensor_is_called(gr_tensor_kind t, const char *word, size_t n)
{
    for (gr_arch a = 0; a < GR_ARCHS; a++) {
        const char *s = gr_tensor_own_module(&(gr_config){ .architecture = a }, t);
        if (strlen(s) == n && !memcmp(s, word, n))
            return true;
    }
    return false;
}

bool gr_tensor_there(const gr_config *c, gr_tensor_kind t, size_t layer)
{
    switch (row[t].when) {
    case WORDS:      return c->words && !c->tied_head;
    case PRE_NORMS:  return !c->no_pre_norms;
    case POST_NORMS: return c->sandwich_norms;
    case HEAD_NORMS: return c->qk_norm;
    case DENSE:      return !gr_config_sparse(c, layer) || gr_config_shares(c, layer);
    case SHARED:     return gr_config_shares(c, layer);
    case SPARSE:     return gr_config_sparse(c, gr_tensor_of_expert(t) ? layer / c->experts : layer);
    case ALWAYS:     break;
    }
    return true;
}

bool gr_tensor_has_bias(const gr_config *c, gr_tensor_kind t)
{
    return t == GR_T_O ? c->o_bias : t >= GR_T_Q && t <= GR_T_V && c->qkv_bias;
}

static size_t size_of(const gr_config *c, enum size s)
{
    switch (s) {
    case WIDTH:      return c->width;
    case HIDDEN:     return c->hidden;
    case VOCABULARY: return c->vocabulary;
    case Q_NORM:     return (c->qk_norm_wide ? c->heads : 1) * c->head_dim;
    case K_NORM:     return (c->qk_norm_wide ? c->kv_heads : 1) * c->head_dim;
    case QUERIES:    return c->heads * c->head_dim;
    case KEYS:       return c->kv_heads * c->head_dim;
    case EXPERTS:    return c->experts;
    case EXPERT:     return c->expert_hidden;
    case ONE:        break;
    }
    return 1;
}

void gr_tensor_shape(const gr_config *c, gr_tensor_kind t, size_t *rows, size_t *cols)
{
    *rows = size_of(c, row[t].rows);
    *cols = size_of(c, row[t].cols);
}
