/* arch.c - see arch.h. */
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include "file/arch.h"

static const char *const smollm3_keys[] = { "no_rope_layers", "no_rope_layer_interval", NULL };

static const char *const internlm2_keys[] = { "bias", NULL };

static const char *const mixtral_keys[] = {
    "num_experts", "num_local_experts", "num_experts_per_tok", "output_router_logits", "router_aux_loss_coef",
    "router_jitter_noise", NULL             /* the noise is of training alone */
};

static const char *const olmoe_keys[] = {
    "num_experts", "num_local_experts", "num_experts_per_tok", "norm_topk_prob", "output_router_logits",
    "router_aux_loss_coef", NULL
};

static const char *const qwen2_moe_keys[] = {
    "num_experts", "num_experts_per_tok", "moe_intermediate_size", "norm_topk_prob", "decoder_sparse_step",
    "mlp_only_layers", "output_router_logits", "router_aux_loss_coef", "shared_expert_intermediate_size", "qkv_bias",
    NULL
};

static const char *const moe_keys[] = {
    "num_experts", "num_local_experts", "num_experts_per_tok", "moe_intermediate_size", "norm_topk_prob",
    "decoder_sparse_step", "mlp_only_layers", "output_router_logits", "router_aux_loss_coef", NULL
};

static const gr_arch_row row[GR_ARCHS] = {
    [GR_ARCH_LLAMA] = {
        .name = "llama", .model_type = "llama", .causal = "LlamaForCausalLM",
        .classifier = "LlamaForSequenceClassification", .gguf = "llama",
        .has = GR_HAS_BIAS_KEY | GR_HAS_MLP_BIAS_KEY | GR_GGUF_PAIRS | GR_GGUF_O_BIAS | GR_GGUF_FACTORS |
               GR_GGUF_WINDOW,
        .otherwise = { 32000, 4096, 11008, 32, 32, 0, 0, 2048, 0, 1, 2, -1, false, 1e-6, 1e4 },
    },
    [GR_ARCH_MISTRAL] = {
        .name = "mistral", .model_type = "mistral", .causal = "MistralForCausalLM",
        .classifier = "MistralForSequenceClassification", .also = "ministral", .gguf = "llama",
        .has = GR_GGUF_PAIRS | GR_GGUF_O_BIAS | GR_GGUF_FACTORS | GR_GGUF_WINDOW, .slide = GR_SLIDE_LISTED,
        .otherwise = { 32000, 4096, 14336, 32, 32, 8, 0, 131072, 4096, 1, 2, -1, false, 1e-6, 1e4 },
    },
    [GR_ARCH_QWEN2] = {
        .name = "qwen2", .model_type = "qwen2", .causal = "Qwen2ForCausalLM",
        .classifier = "Qwen2ForSequenceClassification", .gguf = "qwen2",
        .has = GR_HAS_QKV_BIAS | GR_GGUF_HEADS_FILL | GR_GGUF_IDLE_WINDOW, .slide = GR_SLIDE_ASKED,
        .otherwise = { 151936, 4096, 22016, 32, 32, 32, 0, 32768, 4096, -1, -1, -1, false, 1e-6, 1e4 },
    },
    [GR_ARCH_QWEN3] = {
        .name = "qwen3", .model_type = "qwen3", .causal = "Qwen3ForCausalLM",
        .classifier = "Qwen3ForSequenceClassification", .gguf = "qwen3",
        .has = GR_HAS_BIAS_KEY | GR_HAS_QK_NORM | GR_GGUF_IDLE_WINDOW, .slide = GR_SLIDE_ASKED,
        .otherwise = { 151936, 4096, 22016, 32, 32, 32, 128, 32768, 4096, -1, -1, -1, false, 1e-6, 1e4 },
    },
    [GR_ARCH_GEMMA] = {
        .name = "gemma", .model_type = "gemma", .causal = "GemmaForCausalLM",
        .classifier = "GemmaForSequenceClassification", .gguf = "gemma",
        .has = GR_HAS_BIAS_KEY | GR_HAS_GEGLU | GR_HAS_GELU_NAMED | GR_HAS_PLUS_ONE | GR_HAS_EMBED_SCALE | GR_GGUF_TIED,
        .otherwise = { 256000, 3072, 24576, 28, 16, 16, 256, 8192, 0, 2, 1, 0, true, 1e-6, 1e4 },
    },
    [GR_ARCH_GEMMA2] = {
        .name = "gemma2", .model_type = "gemma2", .causal = "Gemma2ForCausalLM",
        .classifier = "Gemma2ForSequenceClassification", .gguf = "gemma2",
        .has = GR_HAS_BIAS_KEY | GR_HAS_POST_NORMS | GR_HAS_GEGLU | GR_HAS_PLUS_ONE | GR_HAS_EMBED_SCALE |
               GR_HAS_QUERY_SCALAR | GR_HAS_CAPS | GR_GGUF_WINDOW | GR_GGUF_TIED,
        .slide = GR_SLIDE_PATTERN, .slide_but = 2, .wide_layers = 46,
        .otherwise = { 256000, 2304, 9216, 26, 8, 4, 256, 8192, 4096, 2, 1, 0, true, 1e-6, 1e4, 50, 30 },
    },
    [GR_ARCH_GEMMA3] = {
        .name = "gemma3", .model_type = "gemma3_text", .causal = "Gemma3ForCausalLM",
        .classifier = "Gemma3TextForSequenceClassification", .outer = "gemma3",
        .gguf = "gemma3",
        .has = GR_HAS_BIAS_KEY | GR_HAS_QK_NORM | GR_HAS_POST_NORMS | GR_HAS_GEGLU | GR_HAS_PLUS_ONE |
               GR_HAS_EMBED_SCALE | GR_HAS_QUERY_SCALAR | GR_HAS_TWO_ROPES | GR_GGUF_WINDOW,
        .slide = GR_SLIDE_PATTERN, .slide_but = 6, .wide_layers = 62,
        .otherwise = { 262208, 2304, 9216, 26, 8, 4, 256, 131072, 4096, 2, 1, 0, true, 1e-6, 1e6 },
    },
    [GR_ARCH_SMOLLM3] = {
        .name = "smollm3", .model_type = "smollm3", .causal = "SmolLM3ForCausalLM",
        .classifier = "SmolLM3ForSequenceClassification", .gguf = "smollm3",
        .has = GR_HAS_BIAS_KEY | GR_HAS_MLP_BIAS_KEY | GR_GGUF_PAIRS, .slide = GR_SLIDE_ASKED, .rope_but = 4,
        .keys = smollm3_keys,
        .otherwise = { 128256, 2048, 11008, 36, 16, 4, 0, 32768, 0, 128000, 128001, 128004, true, 1e-6, 2e6 },
    },
    [GR_ARCH_OLMO2] = {
        .name = "olmo2", .model_type = "olmo2", .causal = "Olmo2ForCausalLM",
        .classifier = "Olmo2ForSequenceClassification", .gguf = "olmo2",
        .has = GR_HAS_BIAS_KEY | GR_HAS_QK_NORM | GR_HAS_QK_NORM_WIDE | GR_HAS_POST_NORMS | GR_HAS_NO_PRE_NORMS |
               GR_GGUF_HEADS_FILL,
        .otherwise = { 50304, 4096, 11008, 32, 32, 0, 0, 2048, 0, -1, 50279, 1, false, 1e-5, 1e4 },
    },
    [GR_ARCH_OLMO3] = {
        .name = "olmo3", .model_type = "olmo3", .causal = "Olmo3ForCausalLM",
        .classifier = "Olmo3ForSequenceClassification", .gguf = "olmo2",
        .has = GR_HAS_BIAS_KEY | GR_HAS_QK_NORM | GR_HAS_QK_NORM_WIDE | GR_HAS_POST_NORMS | GR_HAS_NO_PRE_NORMS |
               GR_HAS_TWO_ROPES | GR_HAS_ONE_BASE | GR_GGUF_HEADS_FILL | GR_GGUF_WINDOW,
        .slide = GR_SLIDE_PATTERN, .slide_but = 4,
        .otherwise = { 50304, 4096, 11008, 32, 32, 0, 0, 2048, 4096, -1, 50279, 1, false, 1e-5, 5e5 },
    },
    [GR_ARCH_INTERNLM2] = {
        .name = "internlm2", .model_type = "internlm2", .causal = "InternLM2ForCausalLM",
        .classifier = "InternLM2ForSequenceClassification", .gguf = "internlm2",
        .has = GR_HAS_OWN_FORM | GR_HAS_BIAS_REFUSED | GR_GGUF_PAIRS,
        .keys = internlm2_keys,
        .otherwise = { 103168, 4096, 11008, 32, 32, 0, 0, 2048, 0, 1, 2, 0, false, 1e-6, 1e4 },
    },
    [GR_ARCH_PHI3] = {
        .name = "phi3", .model_type = "phi3", .causal = "Phi3ForCausalLM",
        .classifier = "Phi3ForSequenceClassification", .gguf = "phi3",
        .has = GR_HAS_LONG_ROPE | GR_GGUF_WINDOW | GR_GGUF_HEADS_FILL, .slide = GR_SLIDE_ALL,
        .otherwise = { 32064, 3072, 8192, 32, 32, 0, 0, 4096, 0, 1, 32000, 32000, false, 1e-5, 1e4 },
    },
    [GR_ARCH_GRANITE] = {
        .name = "granite", .model_type = "granite", .causal = "GraniteForCausalLM",
        .classifier = "GraniteForSequenceClassification", .gguf = "granite",
        .has = GR_HAS_BIAS_KEY | GR_HAS_MLP_BIAS_KEY | GR_HAS_MULTIPLIERS | GR_GGUF_PAIRS | GR_GGUF_O_BIAS |
               GR_GGUF_FACTORS,
        .otherwise = { 32000, 4096, 11008, 32, 32, 0, 0, 2048, 0, 1, 2, -1, false, 1e-6, 1e4 },
    },
    [GR_ARCH_QWEN3_MOE] = {
        .name = "qwen3_moe", .model_type = "qwen3_moe", .causal = "Qwen3MoeForCausalLM",
        .classifier = "Qwen3MoeForSequenceClassification", .gguf = "qwen3moe",
        .has = GR_HAS_BIAS_KEY | GR_HAS_QK_NORM | GR_HAS_EXPERTS | GR_GGUF_IDLE_WINDOW | GR_GGUF_NORM_CHOSEN,
        .slide = GR_SLIDE_ALL_ASKED, .keys = moe_keys, .experts = 128, .chosen = 8, .expert_hidden = 768,
        .otherwise = { 151936, 2048, 6144, 24, 32, 4, 0, 32768, 4096, -1, -1, -1, false, 1e-6, 1e4 },
    },
    [GR_ARCH_MIXTRAL] = {
        .name = "mixtral", .model_type = "mixtral", .causal = "MixtralForCausalLM",
        .classifier = "MixtralForSequenceClassification", .gguf = "llama",
        .has = GR_HAS_EXPERTS | GR_GGUF_PAIRS | GR_GGUF_FACTORS | GR_GGUF_WINDOW | GR_GGUF_NORM_CHOSEN,
        .slide = GR_SLIDE_ALL, .keys = mixtral_keys, .experts = 8, .chosen = 2,
        .otherwise = { 32000, 4096, 14336, 32, 32, 8, 0, 131072, 0, 1, 2, -1, false, 1e-5, 1e6 },
    },
    [GR_ARCH_OLMOE] = {
        .name = "olmoe", .model_type = "olmoe", .causal = "OlmoeForCausalLM",
        .classifier = "OlmoeForSequenceClassification", .gguf = "olmoe",
        .has = GR_HAS_BIAS_KEY | GR_HAS_QK_NORM | GR_HAS_QK_NORM_WIDE | GR_HAS_EXPERTS | GR_GGUF_HEADS_FILL,
        .keys = olmoe_keys, .experts = 64, .chosen = 8,
        .otherwise = { 50304, 2048, 2048, 16, 16, 0, 0, 4096, 0, -1, 50279, 1, false, 1e-5, 1e4 },
    },
    [GR_ARCH_QWEN2_MOE] = {
        .name = "qwen2_moe", .model_type = "qwen2_moe", .causal = "Qwen2MoeForCausalLM",
        .classifier = "Qwen2MoeForSequenceClassification", .gguf = "qwen2moe",
        .has = GR_HAS_QKV_BIAS | GR_HAS_EXPERTS | GR_HAS_SHARED | GR_GGUF_HEADS_FILL | GR_GGUF_IDLE_WINDOW,
        .slide = GR_SLIDE_ASKED, .keys = qwen2_moe_keys, .experts = 60, .chosen = 4, .expert_hidden = 1408,
        .otherwise = { 151936, 2048, 5632, 24, 16, 16, 0, 32768, 4096, -1, -1, -1, false, 1e-6, 1e4 },
    },
};

static const struct { const char *name, *missing; } other[] = {
    { "gemma3n", "layers that share keys and values, and embeddings of each layer" },
    { "gemma4", "layers that share keys and values, and embeddings of each layer" },
    { "phimoe", "a mixture of experts" }, { "granitemoe", "a mixture of experts" },
    { "glm4_moe", "a mixture of experts" }, { "llama4", "a mixture of experts, and images" },
    { "gpt_oss", "a mixture of experts, and attention with sinks" },
    { "gpt-oss", "a mixture of experts, and attention with sinks" },
    { "deepseek_v2", "a mixture of experts, and attention over latent keys and values" },
    { "deepseek_v3", "a mixture of experts, and attention over latent keys and values" },
    { "deepseek2", "a mixture of experts, and attention over latent keys and values" },
    { "qwen3_next", "linear attention, and a mixture of experts" }, { "qwen3next", "linear attention" },
    { "qwen3_5", "linear attention" }, { "qwen3_5_text", "linear attention" },
    { "mamba", "state-space layers" }, { "nemotron_h", "state-space layers" }, { "jamba", "state-space layers" },
    { "nemotron-nas", "layers of different sizes" },
    { "nemotron", "layer norms with a bias, and an MLP without a gate" },
    { "glm4", "rope in a part of each head" }, { "phi", "layer norms, and an MLP without a gate" },
    { "olmo", "layer norms without weights" },
    { "cohere", "layer norms, and attention beside the MLP" },
    { "cohere2", "layer norms, and attention beside the MLP" },
    { "falcon", "layer norms, and attention beside the MLP" }, { "gpt2", "layer norms, and learned positions" },
    { "granitemoe", "a mixture of experts" }, { "granitemoeshared", "a mixture of experts" },
    { "granitemoehybrid", "a mixture of experts, and state-space layers" }, { "granitehybrid", "state-space layers" },
    { "minicpm", "multipliers of residuals and logits" },
    { "bert", "attention in both directions" }, { "roberta", "attention in both directions" },
    { "deberta-v2", "attention in both directions, with relative positions" },
    { "modernbert", "attention in both directions" }, { "t5", "an encoder beside the decoder" },
    { "qwen2_vl", "images" }, { "qwen2_5_vl", "images" }, { "qwen3_vl", "images" }, { "mllama", "images" },
    { "llava", "images" }, { "mistral3", "images" }, { "internvl", "images" }, { "internvl_chat", "images" },
    { "internlmxcomposer2", "images" }, { "phi4_multimodal", "images and sound" }, { "phi4mm", "images and sound" },
};

const char *gr_arch_missing(const char *name)
{
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        if (!strcmp(name, other[i].name))
            return other[i].missing;
    return NULL;
}

const gr_arch_row *gr_arch_of(gr_arch a)
{
    assert(a < GR_ARCHS);
    return &row[a];
}

const char *gr_arch_name(gr_arch a)
{
    return gr_arch_of(a)->name;
}

bool gr_arch_by_type(gr_arch *out, const char *model_type)
{
    for (*out = 0; *out < GR_ARCHS; ++*out)
        if (!strcmp(model_type, row[*out].model_type) || (row[*out].also && !strcmp(model_type, row[*out].also)))
            return true;
    return false;
}

bool gr_arch_by_outer(gr_arch *out, const char *model_type)
{
    for (*out = 0; *out < GR_ARCHS; ++*out)
        if (row[*out].outer && !strcmp(model_type, row[*out].outer))
            return true;
    return false;
}

bool gr_arch_by_gguf(gr_arch *out, const char *name, size_t n)
{
    for (*out = 0; *out < GR_ARCHS; ++*out) {
        const char *s = row[*out].gguf;
        if (s && strlen(s) == n && !memcmp(name, s, n))
            return true;
    }
    return false;
}

gr_arch gr_arch_with_experts(gr_arch a)
{
    for (gr_arch b = 0; b < GR_ARCHS; b++)
        if (row[b].has & GR_HAS_EXPERTS && row[a].gguf && row[b].gguf && !strcmp(row[a].gguf, row[b].gguf))
            return b;
    return a;
}

bool gr_arch_own_key(gr_arch a, const char *key)
{
    const char *const *own = row[a].keys;

    while (own && *own && strcmp(*own, key))
        own++;
    return own && *own;
}

gr_arch gr_arch_written(gr_arch a, bool window)
{
    gr_arch b = a;

    if (row[a].has & GR_HAS_OWN_FORM)
        return window ? GR_ARCH_MISTRAL : GR_ARCH_LLAMA;
    if (!window || row[a].slide != GR_SLIDE_NONE || !row[a].gguf)
        return a;
    while (b < GR_ARCHS && (row[b].slide == GR_SLIDE_NONE || !row[b].gguf || strcmp(row[a].gguf, row[b].gguf)))
        b++;
    return b < GR_ARCHS ? b : a;
}

const char *gr_arch_list(char *out, size_t size)
{
    size_t at = 0;

    *out = '\0';
    for (size_t i = 0; i < GR_ARCHS && at < size; i++)
        at += (size_t)snprintf(out + at, size - at, "%s%s", i ? ", " : "", row[i].name);
    return out;
}
