#!/usr/bin/env python3
"""golden_models.py - tiny seeded models of every architecture, and the logits transformers gives for them.

    python3 scripts/golden_models.py [NAME...]         writes tests/golden/models/, or these alone
    python3 scripts/golden_models.py --smollm2 DIR     writes tests/golden/models/smollm2/, see make_hf_dir.py

Each tests/golden/models/NAME/ holds a checkpoint (model.safetensors and config.json, shards, or model.gguf),
tokens.json and logits.npy [T,V] float32. The logits are those of the weights as stored, computed in float32. Three
things are proved on the way, for a golden file that cannot fail is worth nothing:
  - transformers reads the checkpoint back, in the old or the new form of config.json, to the same bits;
  - the feature a model is there for is felt: without it the logits move by more than TEETH;
  - T is longer than every window.
"""
import argparse
import json
import math
import pathlib
import shutil
import tempfile

import gguf
import numpy as np
import torch
import transformers
from safetensors.torch import save_file

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "models"
T, V = 53, 61                   # odd, so that every vector kernel meets its tail
LONG = {"llama_gqa": 131, "mistral_window": 107, "gemma3": 99,      # these T cross a tile of 96 rows
        "qwen3_head320": 96, "gemma3_head512": 96, "smollm3": 96, "olmo2": 96,
        "internlm2": 96, "gemma": 96, "granite": 96, "phi3": 96, "phi3_long": 96, "phi4_mini": 96, "gemma2": 96,
        "olmo3": 96,
        "qwen3_moe": 96, "qwen3_moe_stacked": 96, "mixtral": 96, "olmoe": 96,
        "qwen2_moe": 96}           # these are trained too, on 96 tokens
TEETH = 0.05
SEED = {"qwen3_moe": 22, "qwen3_moe_stacked": 23, "llama_yarn": 24, "llama_f64": 25, "qwen3_fp8": 26,
        "llama_fp8_channels": 27, "gguf_qwen3_moe": 114, "gguf_few_bits": 115, "gguf_grids": 116,
        "gguf_yarn": 117, "gemma": 30, "gguf_gemma": 130,
        "granite": 31, "gguf_granite": 131, "mixtral": 40, "mixtral_stacked": 167,
        "olmoe": 42, "gguf_mixtral": 140, "gguf_olmoe": 141, "olmo3": 32,
        "gguf_olmo3": 132, "qwen2_moe": 43, "qwen2_moe_stacked": 105,
        "gguf_qwen2_moe": 142}     # others follow from their places
CLASS = {"llama": transformers.LlamaConfig, "mistral": transformers.MistralConfig, "qwen2": transformers.Qwen2Config,
         "qwen3": transformers.Qwen3Config, "gemma3_text": transformers.Gemma3TextConfig,
         "smollm3": transformers.SmolLM3Config, "olmo2": transformers.Olmo2Config,
         "phi3": transformers.Phi3Config, "gemma2": transformers.Gemma2Config,
         "qwen3_moe": transformers.Qwen3MoeConfig, "gemma": transformers.GemmaConfig,
         "granite": transformers.GraniteConfig, "mixtral": transformers.MixtralConfig,
         "olmoe": transformers.OlmoeConfig, "olmo3": transformers.Olmo3Config,
         "qwen2_moe": transformers.Qwen2MoeConfig}
EXPERTS = ("qwen3_moe", "mixtral", "olmoe", "qwen2_moe")
F64, F32, F16, BF16 = torch.float64, torch.float32, torch.float16, torch.bfloat16
LLAMA3 = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}
PLAIN = {"rope_type": "default", "rope_theta": 10000.0}
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 24}
FAR = {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0, 1.05, 1.3, 2.0],
       "long_factor": [1.1, 1.9, 6.0, 9.5]}
PART = {"rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 0.75,
        "short_factor": [1.0, 1.1, 1.2, 1.3, 1.7, 2.5], "long_factor": [1.0, 1.4, 3.0, 8.0, 17.0, 30.0]}


def size(layers, width, heads, kv, hidden, **more):
    return {"num_hidden_layers": layers, "hidden_size": width, "num_attention_heads": heads,
            "num_key_value_heads": kv, "intermediate_size": hidden, "vocab_size": V,
            "max_position_embeddings": 512, "tie_word_embeddings": False, **more}


WIDE = {"vocab_size": 257}      # one more than a block of the head's rows


# name: architecture, sizes, type stored, form of config.json, number of shards, and the changes to config.json
# that must each be felt.
HF = {
    "llama_mha": ("llama", size(2, 24, 3, 3, 40, rope_parameters=PLAIN), F32, "old", 1, [{"rope_theta": 100.0}]),
    "llama_gqa": ("llama", size(3, 32, 4, 2, 56, rope_parameters=PLAIN, tie_word_embeddings=True, rms_norm_eps=1e-5),
                  F16, "new", 1, [{"rms_norm_eps": 0.1}]),
    "llama_scaled": ("llama", size(2, 24, 3, 1, 40, rope_parameters=LLAMA3), BF16, "old", 1,
                     [{"rope_scaling": None}]),
    "llama_scaled_new": ("llama", size(2, 32, 2, 2, 48, rope_parameters=LLAMA3, tie_word_embeddings=True), F16, "new",
                         1, [{"rope_parameters": {"rope_theta": 500000.0, "rope_type": "default"}}]),
    "llama_linear": ("llama", size(2, 32, 2, 1, 48, rope_parameters=LINEAR), BF16, "legacy", 1,
                     [{"rope_scaling": None}]),
    "llama_yarn": ("llama", size(2, 64, 2, 1, 48, rope_parameters={
        **YARN, "beta_fast": 3.0, "beta_slow": 0.25, "truncate": False, "mscale": 1.5, "mscale_all_dim": 0.5}), BF16,
                   "legacy", 1, [{"rope_scaling": {**YARN, **one}} for one in (
                       {"beta_slow": 0.25, "mscale": 1.5, "mscale_all_dim": 0.5, "truncate": False},
                       {"beta_fast": 3.0, "mscale": 1.5, "mscale_all_dim": 0.5, "truncate": False},
                       {"beta_fast": 3.0, "beta_slow": 0.25, "mscale": 1.5, "mscale_all_dim": 0.5},
                       {"beta_fast": 3.0, "beta_slow": 0.25, "truncate": False})]),
    "llama_f64": ("llama", size(1, 24, 3, 1, 32, rope_parameters=PLAIN), F64, "new", 1, [{"rms_norm_eps": 0.1}]),
    "llama_bias": ("llama", size(2, 32, 4, 2, 48, rope_parameters=PLAIN, attention_bias=True), BF16, "new", 1, []),
    "mistral_window": ("mistral", size(2, 24, 2, 1, 40, rope_parameters=PLAIN, sliding_window=24), BF16, "new", 1,
                       [{"sliding_window": None}, {"sliding_window": 23}]),
    "mistral_wide": ("mistral", size(2, 24, 4, 2, 40, rope_parameters=PLAIN, sliding_window=None, head_dim=8), BF16,
                     "old", 1, [{"sliding_window": 24}]),
    "qwen2": ("qwen2", size(2, 32, 4, 1, 48, rope_parameters=PLAIN, tie_word_embeddings=True), F16, "old", 1, []),
    "qwen2_window": ("qwen2", size(4, 24, 3, 1, 32, rope_parameters=PLAIN, use_sliding_window=True,
                                   sliding_window=16, max_window_layers=2), BF16, "old", 1,
                     [{"use_sliding_window": False}, {"max_window_layers": 3}, {"sliding_window": 17}]),
    "qwen3": ("qwen3", size(2, 24, 2, 1, 40, rope_parameters=PLAIN, head_dim=32), BF16, "old", 1, []),
    "qwen3_sharded": ("qwen3", size(3, 24, 2, 1, 32, rope_parameters=PLAIN, head_dim=16, tie_word_embeddings=True),
                      BF16, "new", 3, []),
    "gemma3": ("gemma3_text", size(7, 32, 2, 1, 40, tie_word_embeddings=True, head_dim=16, sliding_window=16,
                                   query_pre_attn_scalar=16), BF16, "old", 1,
               [{"sliding_window_pattern": 3}, {"rope_local_base_freq": 1e6}, {"sliding_window": 17},
                {"rope_theta": 1e3}, {"hidden_activation": "gelu"}]),
    "gemma3_untied": ("gemma3_text", size(4, 24, 2, 1, 32, head_dim=16, sliding_window=16, query_pre_attn_scalar=40,
                                          layer_types=["sliding_attention", "full_attention", "full_attention",
                                                       "sliding_attention"],
                                          rope_parameters={"full_attention": {"rope_type": "linear", "factor": 8.0,
                                                                              "rope_theta": 1e6},
                                                           "sliding_attention": PLAIN}), F16, "new", 1,
                      [{"query_pre_attn_scalar": 16}, {"layer_types": ["full_attention"] * 4}]),
    # Heads longer than any public model's: five on one key, and one alone.
    "qwen3_head320": ("qwen3", size(1, 20, 5, 1, 24, rope_parameters=PLAIN, head_dim=320, **WIDE), BF16, "new", 1,
                      [{"rms_norm_eps": 0.1}]),
    "gemma3_head512": ("gemma3_text", size(2, 20, 1, 1, 24, tie_word_embeddings=True, head_dim=512, sliding_window=16,
                                           query_pre_attn_scalar=512, **WIDE,
                                           layer_types=["sliding_attention", "full_attention"]), BF16, "new", 1,
                       [{"layer_types": ["full_attention"] * 2}]),
    "smollm3": ("smollm3", size(5, 24, 4, 2, 40, rope_parameters={**PLAIN, "rope_theta": 2e6}, pad_token_id=None,
                                tie_word_embeddings=True, **WIDE), BF16, "new", 1, [{"no_rope_layers": [1] * 5}]),
    "smollm3_old": ("smollm3", size(4, 32, 2, 1, 32, rope_parameters=PLAIN, pad_token_id=None, use_sliding_window=True,
                                    sliding_window=16, no_rope_layers=[0, 1, 1, 0]), F16, "old", 1,
                    [{"no_rope_layers": [1, 1, 1, 1]}, {"no_rope_layers": None}, {"use_sliding_window": False}]),
    "olmo2": ("olmo2", size(3, 24, 4, 2, 40, rope_parameters=PLAIN, pad_token_id=None, **WIDE), BF16, "new", 1,
              [{"rms_norm_eps": 0.1}, {"rope_theta": 100.0, "rope_parameters": None}]),
    "phi3": ("phi3", size(2, 24, 4, 2, 40, rope_parameters=PLAIN, pad_token_id=None, sliding_window=40, **WIDE), BF16,
             "new", 1, [{"rms_norm_eps": 0.1}, {"sliding_window": None}]),
    "gemma2": ("gemma2", size(4, 32, 4, 2, 40, rope_parameters=PLAIN, tie_word_embeddings=True, head_dim=16,
                              sliding_window=16, query_pre_attn_scalar=16, attn_logit_softcapping=2.0,
                              final_logit_softcapping=4.0, pad_token_id=None, **WIDE), BF16, "old", 1,
               [{"attn_logit_softcapping": None}, {"final_logit_softcapping": None}, {"sliding_window": 17},
                {"layer_types": ["full_attention", "sliding_attention"] * 2}, {"hidden_activation": "gelu"}]),
    "gemma2_untied": ("gemma2", size(3, 24, 2, 1, 32, rope_parameters=PLAIN, head_dim=16, sliding_window=16,
                                     query_pre_attn_scalar=40, attn_logit_softcapping=1.5,
                                     final_logit_softcapping=None,
                                     layer_types=["full_attention", "sliding_attention", "sliding_attention"]),
                      F16, "new", 1,
                      [{"query_pre_attn_scalar": 16}, {"layer_types": ["full_attention"] * 3},
                       {"final_logit_softcapping": 4.0}]),
    # Twice as many tokens as the original context, and fewer.
    "phi3_long": ("phi3", size(2, 32, 4, 4, 40, rope_parameters=FAR, original_max_position_embeddings=48,
                               pad_token_id=None, sliding_window=60, **WIDE), BF16, "old", 1,
                  [{"original_max_position_embeddings": 96}, {"max_position_embeddings": 48},
                   {"sliding_window": None}]),
    "phi4_mini": ("phi3", size(2, 64, 4, 2, 40, rope_parameters=PART, original_max_position_embeddings=128,
                               partial_rotary_factor=0.75, pad_token_id=None, tie_word_embeddings=True, **WIDE),
                  BF16, "old", 1,
                  [{"original_max_position_embeddings": 95}, {"max_position_embeddings": 128}]),
    # Experts apart, and a layer without any; all of a layer in one tensor, as transformers 5 has them in memory.
    "qwen3_moe": ("qwen3_moe", size(3, 24, 2, 1, 40, rope_parameters=PLAIN, head_dim=16, num_experts=6,
                                    num_experts_per_tok=2, moe_intermediate_size=20, norm_topk_prob=True,
                                    mlp_only_layers=[1], **WIDE), BF16, "old", 1,
                  [{"norm_topk_prob": False}, {"num_experts_per_tok": 3}]),
    "qwen3_moe_stacked": ("qwen3_moe", size(4, 24, 4, 2, 32, rope_parameters=PLAIN, head_dim=8, num_experts=9,
                                            num_experts_per_tok=3, moe_intermediate_size=17, norm_topk_prob=False,
                                            decoder_sparse_step=2, use_sliding_window=True, sliding_window=24,
                                            tie_word_embeddings=True, **WIDE), F16, "new", 1,
                          [{"norm_topk_prob": True}, {"use_sliding_window": False}]),
    # The first Gemma; heads are wider together than the model.
    "gemma": ("gemma", size(2, 24, 2, 1, 40, rope_parameters=PLAIN, tie_word_embeddings=True, head_dim=16,
                            pad_token_id=None, **WIDE), BF16, "old", 1,
              [{"rms_norm_eps": 0.1}, {"rope_theta": 100.0}]),
    "granite": ("granite", size(3, 24, 4, 2, 40, rope_parameters=PLAIN, tie_word_embeddings=True, attention_bias=True,
                                embedding_multiplier=3.0, attention_multiplier=0.3, residual_multiplier=0.6,
                                logits_scaling=2.5, **WIDE), BF16, "new", 1,
                [{"embedding_multiplier": 1.0}, {"attention_multiplier": 0.40825}, {"residual_multiplier": 1.0},
                 {"logits_scaling": 1.0}]),
    "mixtral": ("mixtral", size(2, 24, 4, 2, 20, rope_parameters=PLAIN, num_local_experts=6, num_experts_per_tok=2,
                                sliding_window=24, **WIDE), BF16, "old", 1,
                [{"num_experts_per_tok": 3}, {"sliding_window": None}]),
    "mixtral_stacked": ("mixtral", size(2, 24, 2, 1, 20, rope_parameters=PLAIN, head_dim=16, num_local_experts=5,
                                        num_experts_per_tok=2, tie_word_embeddings=True), F16, "new", 1,
                        [{"num_experts_per_tok": 1}, {"sliding_window": 16}]),
    "olmoe": ("olmoe", size(2, 24, 4, 2, 20, rope_parameters=PLAIN, pad_token_id=None, num_experts=7,
                            num_experts_per_tok=3, norm_topk_prob=False, **WIDE), BF16, "old", 1,
              [{"norm_topk_prob": True}, {"num_experts_per_tok": 2}, {"rms_norm_eps": 0.1}]),
    "olmo3": ("olmo3", size(5, 24, 4, 2, 40, pad_token_id=None, sliding_window=16,
                            rope_parameters={"full_attention": {**YARN, "attention_factor": 1.3},
                                             "sliding_attention": PLAIN}, **WIDE), BF16, "new", 1,
              [{"sliding_window": 17}, {"layer_types": ["sliding_attention"] * 5},
               {"rope_parameters": {"full_attention": YARN, "sliding_attention": PLAIN}},
               {"rope_parameters": {"full_attention": {**YARN, "attention_factor": 1.3},
                                    "sliding_attention": {**PLAIN, "rope_theta": 100.0}}}]),
    # A shared expert beside those that are chosen, and a layer without any.
    "qwen2_moe": ("qwen2_moe", size(3, 24, 2, 1, 28, rope_parameters=PLAIN, num_experts=6, num_experts_per_tok=2,
                                    moe_intermediate_size=20, shared_expert_intermediate_size=28,
                                    mlp_only_layers=[1], **WIDE), BF16, "old", 1,
                  [{"norm_topk_prob": True}, {"num_experts_per_tok": 3}]),
    "qwen2_moe_stacked": ("qwen2_moe", size(2, 24, 4, 2, 40, rope_parameters=PLAIN, num_experts=5,
                                            num_experts_per_tok=2, moe_intermediate_size=17,
                                            shared_expert_intermediate_size=24, norm_topk_prob=True, qkv_bias=False,
                                            use_sliding_window=True, sliding_window=24,
                                            layer_types=["sliding_attention", "full_attention"]), F16, "new", 1,
                          [{"norm_topk_prob": False}, {"use_sliding_window": False, "layer_types": None}]),
}
SHORT = {"phi3_long": 48}       # tokens, whose logits stand beside those of the whole

# name: architecture, sizes, type of the embedding (and head), and types that the matrices of a layer take in turn.
Q = gguf.GGMLQuantizationType
GGUF = {
    "gguf_f32_scaled": ("llama", size(2, 24, 3, 1, 40, rope_parameters=LLAMA3), Q.F32, [Q.F32]),
    "gguf_f16_linear": ("llama", size(2, 32, 2, 2, 48, rope_parameters=LINEAR, tie_word_embeddings=True), Q.F16,
                        [Q.F16]),
    "gguf_bf16_headdim": ("llama", size(2, 24, 2, 1, 40, rope_parameters=PLAIN, head_dim=16), Q.BF16, [Q.BF16]),
    "gguf_q4_0": ("llama", size(2, 64, 4, 2, 64, rope_parameters=PLAIN, tie_word_embeddings=True), Q.Q8_0, [Q.Q4_0]),
    "gguf_q4_1": ("llama", size(2, 64, 2, 1, 64, rope_parameters=PLAIN), Q.Q4_1, [Q.Q4_1]),
    "gguf_q5_0": ("llama", size(2, 64, 4, 4, 64, rope_parameters=PLAIN), Q.Q5_0, [Q.Q5_0]),
    "gguf_q5_1": ("llama", size(2, 64, 4, 2, 64, rope_parameters=PLAIN), Q.Q5_1, [Q.Q5_1]),
    "gguf_k": ("llama", size(1, 256, 4, 2, 32, rope_parameters=PLAIN, head_dim=16, tie_word_embeddings=True), Q.Q6_K,
               [Q.Q4_K, Q.Q5_K, Q.Q6_K]),
    "gguf_qwen2": ("qwen2", size(2, 64, 4, 2, 64, rope_parameters=PLAIN, tie_word_embeddings=True), Q.Q8_0, [Q.Q8_0]),
    "gguf_qwen3": ("qwen3", size(2, 64, 4, 2, 64, rope_parameters=PLAIN, head_dim=16), Q.Q5_0, [Q.Q4_1, Q.Q5_0]),
    "gguf_gemma3": ("gemma3_text", size(7, 32, 2, 1, 32, tie_word_embeddings=True, head_dim=16, sliding_window=16,
                                        query_pre_attn_scalar=16), Q.Q8_0, [Q.Q8_0, Q.F16]),
    "gguf_smollm3": ("smollm3", size(5, 32, 4, 2, 32, rope_parameters=PLAIN, tie_word_embeddings=True,
                                     pad_token_id=None), Q.Q8_0, [Q.Q8_0, Q.F16]),
    "gguf_olmo2": ("olmo2", size(2, 32, 4, 4, 32, rope_parameters=PLAIN, pad_token_id=None), Q.Q8_0, [Q.F16, Q.Q8_0]),
    "gguf_gemma2": ("gemma2", size(4, 32, 2, 1, 32, rope_parameters=PLAIN, tie_word_embeddings=True, head_dim=16,
                                   sliding_window=16, query_pre_attn_scalar=16, attn_logit_softcapping=2.0,
                                   final_logit_softcapping=4.0), Q.Q8_0, [Q.Q8_0, Q.F16]),
    "gguf_phi3": ("phi3", size(2, 32, 4, 2, 32, rope_parameters=PLAIN, pad_token_id=None, sliding_window=24), Q.F16,
                  [Q.F16, Q.Q8_0]),
    "gguf_phi4_mini": ("phi3", size(2, 64, 4, 2, 32, rope_parameters=PART, original_max_position_embeddings=40,
                                    partial_rotary_factor=0.75, pad_token_id=None, tie_word_embeddings=True), Q.Q8_0,
                       [Q.Q8_0, Q.Q4_0]),
    "gguf_qwen3_moe": ("qwen3_moe", size(2, 32, 2, 1, 32, rope_parameters=PLAIN, head_dim=16, num_experts=5,
                                         num_experts_per_tok=2, moe_intermediate_size=32, norm_topk_prob=True), Q.Q8_0,
                       [Q.Q8_0, Q.F16, Q.Q5_0]),
    "gguf_mixtral": ("mixtral", size(2, 32, 2, 1, 32, rope_parameters=PLAIN, num_local_experts=5,
                                     num_experts_per_tok=2), Q.Q8_0, [Q.Q8_0, Q.F16, Q.Q5_0]),
    "gguf_olmoe": ("olmoe", size(2, 32, 4, 4, 32, rope_parameters=PLAIN, pad_token_id=None, num_experts=5,
                                 num_experts_per_tok=2, norm_topk_prob=False), Q.Q8_0, [Q.F16, Q.Q8_0]),
    "gguf_qwen2_moe": ("qwen2_moe", size(2, 32, 2, 1, 64, rope_parameters=PLAIN, num_experts=5,
                                         num_experts_per_tok=2, moe_intermediate_size=32,
                                         shared_expert_intermediate_size=64), Q.Q8_0, [Q.Q8_0, Q.F16, Q.Q5_0]),
    "gguf_yarn": ("llama", size(2, 64, 2, 1, 48, rope_parameters={**YARN, "original_max_position_embeddings": 320},
                                head_dim=64), Q.F16, [Q.F16]),
    "gguf_few_bits": ("llama", size(1, 256, 4, 2, 32, rope_parameters=PLAIN, head_dim=16, tie_word_embeddings=True),
                      Q.IQ4_XS, [Q.Q2_K, Q.Q3_K, Q.IQ4_NL]),
    "gguf_grids": ("llama", size(1, 256, 4, 2, 32, rope_parameters=PLAIN, head_dim=16), Q.IQ3_S,
                   [Q.IQ1_S, Q.IQ1_M, Q.IQ2_XXS, Q.IQ2_XS, Q.IQ2_S, Q.IQ3_XXS]),
    "gguf_gemma": ("gemma", size(2, 32, 2, 1, 32, rope_parameters=PLAIN, tie_word_embeddings=True, head_dim=32),
                   Q.Q8_0, [Q.Q8_0, Q.F16]),
    "gguf_granite": ("granite", size(2, 32, 4, 2, 32, rope_parameters=PLAIN, tie_word_embeddings=True,
                                     embedding_multiplier=4.0, attention_multiplier=0.2, residual_multiplier=0.5,
                                     logits_scaling=3.0), Q.Q8_0, [Q.F16, Q.Q8_0]),
    "gguf_olmo3": ("olmo3", size(5, 32, 4, 4, 32, pad_token_id=None, sliding_window=16,
                                 rope_parameters={"full_attention": YARN, "sliding_attention": PLAIN}), Q.Q8_0,
                   [Q.F16, Q.Q8_0]),
}


def fill(model, seed):
    """Weights that make attention sharp and every bias and norm count."""
    rng = np.random.default_rng(seed)
    for name, p in sorted(model.named_parameters()):
        x = rng.standard_normal(p.shape)
        if p.ndim >= 2:
            x *= 1.5 / math.sqrt(p.shape[-1])
        elif name.endswith("bias"):
            x *= 0.3
        else:                                   # a norm: Gemma stores w - 1 and starts at 0, the others at 1
            x = x * 0.15 + p.detach().numpy().mean().round()
        p.data = torch.tensor(x, dtype=F32)
    return model


def build(arch, sizes, seed):
    config = CLASS[arch](**json.loads(json.dumps(sizes)))
    config._attn_implementation = config._experts_implementation = "eager"
    return fill(transformers.AutoModelForCausalLM.from_config(config), seed).eval()


def logits(model, tokens):
    with torch.no_grad():
        return model(torch.tensor([tokens])).logits[0].float().numpy()


IDLE = ("_attn_implementation", "_experts_implementation", "_name_or_path", "attention_dropout",
        "chunk_size_feed_forward", "id2label",
        "initializer_range", "is_encoder_decoder", "label2id", "output_attentions", "output_hidden_states",
        "pretraining_tp", "problem_type", "return_dict", "transformers_version", "use_cache")


def config_json(config, form, dtype):
    d = config.to_dict()
    for key in IDLE:
        d.pop(key, None)
    d["architectures"] = [transformers.AutoModelForCausalLM._model_mapping[type(config)].__name__]
    d["dtype"] = str(dtype).removeprefix("torch.")
    if form == "new":
        return d
    d["torch_dtype"] = d.pop("dtype")
    if "num_local_experts" in d and config.model_type != "mixtral":
        d["num_experts"] = d.pop("num_local_experts")
    d.pop("layer_types", None)
    rope = d.pop("rope_parameters")
    if "full_attention" in rope:                # Gemma 3: two bases, and a pattern
        d["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        d["sliding_window_pattern"] = d.pop("_sliding_window_pattern")
        rope = rope["full_attention"]
    d["rope_theta"] = rope.pop("rope_theta")
    d["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    if form == "legacy":
        d["rope_scaling"]["type"] = d["rope_scaling"].pop("rope_type")
    return d


def in_file(model_type, n):
    """What transformers 4 calls a tensor of this architecture."""
    if model_type == "mixtral":
        for a, b in ((".gate_proj.", ".w1."), (".up_proj.", ".w3."), (".down_proj.", ".w2."),
                     (".mlp.", ".block_sparse_moe.")):
            n = n.replace(a, b)
    return n


def apart(state):
    """Experts as transformers 4 has them: three matrices each."""
    out = {}
    for n, w in state.items():
        at = n.rpartition(".")[0]
        if n.endswith("experts.gate_up_proj"):
            for e, both in enumerate(w):
                out |= {f"{at}.{e}.{k}_proj.weight": x for k, x in zip(("gate", "up"), both.chunk(2))}
        elif n.endswith("experts.down_proj"):
            out |= {f"{at}.{e}.down_proj.weight": x for e, x in enumerate(w)}
        else:
            out[n] = w
    return out


def check_choices(name, model, tokens):
    """No row's last expert that is chosen is close to the first that is not: roundings choose none."""
    if model.config.model_type not in EXPERTS:
        return
    gaps, k = [], model.config.num_experts_per_tok

    def see(module, args, out):
        p = out[0].softmax(-1).sort(-1, descending=True).values
        gaps.append(((p[:, k - 1] - p[:, k]) / p[:, k - 1]).min().item())
    hooks = [m.register_forward_hook(see) for n, m in model.named_modules() if n.endswith("mlp.gate")]
    logits(model, tokens)
    for h in hooks:
        h.remove()
    assert min(gaps) > 1e-4, f"{name}: experts within {min(gaps)} of each other"


def save_weights(path, state, shards):
    names = sorted(state)
    if shards == 1:
        save_file({n: state[n].contiguous() for n in names}, path / "model.safetensors", metadata={"format": "pt"})
        return
    where = {}
    for i in range(shards):
        file = f"model-{i + 1:05}-of-{shards:05}.safetensors"
        part = names[i::shards]
        save_file({n: state[n].contiguous() for n in part}, path / file, metadata={"format": "pt"})
        where.update({n: file for n in part})
    total = sum(t.numel() * t.element_size() for t in state.values())
    (path / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": total}, "weight_map": dict(sorted(where.items()))}, indent=1) + "\n")


def load(path):
    return transformers.AutoModelForCausalLM.from_pretrained(path, dtype=F32, attn_implementation="eager",
                                                             experts_implementation="eager").eval()


def check_teeth(path, want, tokens, changes):
    """The same weights under a configuration that lacks the feature."""
    config = json.loads((path / "config.json").read_text())
    for change in changes:
        with tempfile.TemporaryDirectory() as tmp:
            tmp = pathlib.Path(tmp)
            shutil.copytree(path, tmp, dirs_exist_ok=True)
            (tmp / "config.json").write_text(json.dumps({**config, **change}))
            moved = np.abs(logits(load(tmp), tokens) - want).max()
        felt = 1e-4 if "hidden_activation" in change else TEETH     # tanh-GELU is within 5e-4 of the exact one
        assert moved > felt, f"{path.name}: {change} moves the logits by {moved}"


def fresh(name, seed, vocabulary=V):
    path = OUT / name
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    tokens = np.random.default_rng(seed + 1000).integers(0, vocabulary, LONG.get(name, T)).tolist()
    (path / "tokens.json").write_text(json.dumps(tokens) + "\n")
    return path, tokens


def report(path, want):
    bytes_ = sum(f.stat().st_size for f in path.iterdir())
    print(f"{path.name:20} {bytes_ / 1024:6.0f} KiB   logits {want.shape} in [{want.min():.2f}, {want.max():.2f}]")


def make_hf(name, seed, arch, sizes, dtype, form, shards, changes):
    path, tokens = fresh(name, seed, sizes["vocab_size"])
    model = build(arch, sizes, seed)
    state = {n: w.to(dtype) for n, w in model.state_dict().items()}
    model.load_state_dict({n: w.float() for n, w in state.items()})     # rounded as it is stored
    if sizes["tie_word_embeddings"]:
        del state["lm_head.weight"]
    if form == "old":
        state = {in_file(arch, n): w for n, w in apart(state).items()}
    save_weights(path, state, shards)
    check_choices(name, model, tokens)
    (path / "config.json").write_text(json.dumps(config_json(model.config, form, dtype), indent=1) + "\n")
    want = logits(load(path), tokens)
    assert np.array_equal(want, logits(model, tokens)), f"{name}: config.json does not mean the model"
    check_teeth(path, want, tokens, changes)
    np.save(path / "logits.npy", want)
    if name in SHORT:
        np.save(path / "short.npy", logits(load(path), tokens[:SHORT[name]]))
    report(path, want)


def make_fp8(name, seed, arch, sizes, section, scale_of):
    """Matrices of the layers as F8_E4M3 with scales: transformers' own dequantize says what they are."""
    path, tokens = fresh(name, seed, sizes["vocab_size"])
    model, state = build(arch, sizes, seed), {}
    for n, w in model.state_dict().items():
        if ".layers." not in n or w.ndim < 2:
            state[n] = w.to(BF16)
            continue
        ending, scale = scale_of(w)
        grid = scale.float().repeat_interleave(w.shape[0] // scale.shape[0], 0)
        grid = grid.repeat_interleave(w.shape[1] // scale.shape[1], 1)
        state[n], state[n + ending] = (w / grid).to(torch.float8_e4m3fn), scale
    save_weights(path, state, 1)
    config = config_json(model.config, "new", BF16) | {"quantization_config": section}
    (path / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    want = logits(load(path).float(), tokens)       # the rest keeps the file's type
    np.save(path / "logits.npy", want)
    report(path, want)


def by_blocks(w, size=32):
    """As DeepSeek and Qwen have them."""
    most = w.reshape(w.shape[0] // size, size, w.shape[1] // size, size).abs().amax((1, 3))
    return "_scale_inv", (most / 448).float()


def by_rows(w):
    """As compressed-tensors has them: bfloat16, to which the product is rounded."""
    return "_scale", (w.abs().amax(1, keepdim=True) / 448).to(BF16)


FP8 = {
    "qwen3_fp8": ("qwen3", size(2, 64, 2, 1, 96, rope_parameters=PLAIN, head_dim=32),
                  {"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3", "weight_block_size": [32, 32],
                   "modules_to_not_convert": ["lm_head"]}, by_blocks),
    "llama_fp8_channels": ("llama", size(2, 40, 2, 1, 56, rope_parameters=PLAIN, head_dim=20),
                           {"quant_method": "compressed-tensors", "format": "float-quantized", "dequantize": True,
                            "quantization_status": "compressed", "ignore": ["lm_head"], "kv_cache_scheme": None,
                            "config_groups": {"group_0": {
                                "targets": ["Linear"], "output_activations": None,
                                "weights": {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "channel",
                                            "dynamic": False},
                                "input_activations": {"num_bits": 8, "type": "float", "symmetric": True,
                                                      "strategy": "token", "dynamic": True}}}}, by_rows),
}


class InternLM2(torch.nn.Module):
    """The model that InternLM publishes as code beside its weights; transformers has no class of it."""

    def __init__(self, config):
        super().__init__()
        self.config = c = config
        self.D = c["hidden_size"] // c["num_attention_heads"]
        self.groups = c["num_attention_heads"] // c["num_key_value_heads"]

        def linear(rows, cols):
            return torch.nn.Parameter(torch.zeros(rows, cols))

        C, F = c["hidden_size"], c["intermediate_size"]
        shapes = {"model.tok_embeddings": linear(c["vocab_size"], C), "output": linear(c["vocab_size"], C),
                  "model.norm": torch.nn.Parameter(torch.ones(C))}
        for i in range(c["num_hidden_layers"]):
            at = f"model.layers.{i}."
            rows = (c["num_attention_heads"] + 2 * c["num_key_value_heads"]) * self.D
            shapes |= {at + "attention.wqkv": linear(rows, C), at + "attention.wo": linear(C, C),
                       at + "feed_forward.w1": linear(F, C), at + "feed_forward.w3": linear(F, C),
                       at + "feed_forward.w2": linear(C, F), at + "attention_norm": torch.nn.Parameter(torch.ones(C)),
                       at + "ffn_norm": torch.nn.Parameter(torch.ones(C))}
        self.names = {n + ".weight": (n + ".weight").replace(".", "_") for n in shapes}
        for n, p in shapes.items():
            self.register_parameter(self.names[n + ".weight"], p)

    def w(self, name):
        return getattr(self, self.names[name + ".weight"])

    def norm(self, x, name):
        return self.w(name) * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.config["rms_norm_eps"]))

    def rotate(self, x):
        """Of [heads, T, D]: the two halves of a head turn together."""
        half = 1.0 / self.config["rope_theta"] ** (torch.arange(0, self.D, 2, dtype=F32) / self.D)
        angle = torch.arange(x.shape[1], dtype=F32)[:, None] * half[None]
        cos, sin = (torch.cat([f(angle)] * 2, dim=-1) for f in (torch.cos, torch.sin))
        a, b = x[..., :self.D // 2], x[..., self.D // 2:]
        return x * cos + torch.cat([-b, a], dim=-1) * sin

    def attention(self, x, at):
        n = x.shape[0]
        qkv = (x @ self.w(at + "wqkv").T).view(n, -1, self.groups + 2, self.D)      # [T, kv heads, q.. k v, D]
        q = self.rotate(qkv[:, :, :self.groups].reshape(n, -1, self.D).transpose(0, 1))
        k, v = (t.transpose(0, 1) for t in (qkv[:, :, -2], qkv[:, :, -1]))
        k = self.rotate(k).repeat_interleave(self.groups, dim=0)
        v = v.repeat_interleave(self.groups, dim=0)
        score = q @ k.transpose(1, 2) / math.sqrt(self.D) + torch.full((n, n), -math.inf).triu(1)
        return (score.softmax(-1) @ v).transpose(0, 1).reshape(n, -1) @ self.w(at + "wo").T

    def hidden(self, tokens):
        x = self.w("model.tok_embeddings")[torch.tensor(tokens)]
        for i in range(self.config["num_hidden_layers"]):
            at = f"model.layers.{i}."
            x = x + self.attention(self.norm(x, at + "attention_norm"), at + "attention.")
            h, f = self.norm(x, at + "ffn_norm"), at + "feed_forward."
            x = x + (torch.nn.functional.silu(h @ self.w(f + "w1").T) * (h @ self.w(f + "w3").T)) @ self.w(f + "w2").T
        return self.norm(x, "model.norm")

    def forward(self, tokens):
        return self.hidden(tokens) @ self.w("output").T


def internlm2_config(sizes):
    c = {k: v for k, v in sizes.items() if k != "rope_parameters"}
    return {**c, "architectures": ["InternLM2ForCausalLM"], "model_type": "internlm2", "bias": False,
            "hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "bos_token_id": 1, "eos_token_id": 2,
            "rope_scaling": {"type": "dynamic", "factor": 2.0}, "pad_token_id": 2, "torch_dtype": "bfloat16"}


def make_internlm2(name, seed, sizes):
    path, tokens = fresh(name, seed, sizes["vocab_size"])
    config = internlm2_config(sizes)
    model = fill(InternLM2(config), seed)
    for p in model.parameters():
        p.data = p.data.to(BF16).float()
    state = {n: model.w(n.removesuffix(".weight")).data.to(BF16) for n in model.names}
    save_weights(path, state, 1)
    (path / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    with torch.no_grad():
        want = model(tokens).numpy()
    np.save(path / "logits.npy", want)
    report(path, want)


def permute(w, heads):
    """Rows of q and k as convert_hf_to_gguf stores them for llama: (2, D/2) of each head become (D/2, 2)."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def unpermute(w, heads):
    return w.reshape(heads, w.shape[0] // heads // 2, 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def k_quant(rng, shape, kind):
    """Random blocks of a K-quant with a spread fit for weights: no official Python packs them, and random bits
    use every field. Layouts are those of ggml-common.h."""
    n = shape[0] * shape[1] // 256
    width = 1.5 / math.sqrt(shape[1])

    def half(x):
        return np.full((n, 1), x, dtype="<f2").view(np.uint8).reshape(n, 2)

    def bits(k):
        return rng.integers(0, 256, (n, k), dtype=np.uint8)

    if kind == Q.Q6_K:              # ql[128] qh[64] scales[16] d; w = d * scale * (q - 32)
        blocks = np.hstack([bits(128), bits(64), bits(16), half(width / 74 / 18)])
    else:                           # d dmin scales[12] [qh[32]] qs[128]; w = d * scale * q - dmin * min
        top = 15 if kind == Q.Q4_K else 31
        d = width / (18 * top * 0.75)
        blocks = np.hstack([half(d), half(d * top / 2), bits(12)] + ([bits(32)] if kind == Q.Q5_K else []) +
                           [bits(128)])
    return blocks.reshape(shape[0], -1)


# Where the blocks of types that no official Python packs have their scale, and their minimum's; IQ1_M: see below.
SCALES = {Q.Q2_K: (80, 82), Q.Q3_K: (108,), Q.IQ4_NL: (0,), Q.IQ4_XS: (0,), Q.IQ1_S: (0,), Q.IQ1_M: (), Q.IQ2_XXS: (0,),
          Q.IQ2_XS: (0,), Q.IQ2_S: (0,), Q.IQ3_XXS: (0,), Q.IQ3_S: (0,)}


def any_blocks(rng, shape, kind):
    """Random blocks whose values have the spread of weights: first with a scale of 1, whose spread is measured."""
    each, size = gguf.GGML_QUANT_SIZES[kind]
    b = rng.integers(0, 256, (shape[0] * shape[1] // each, size), dtype=np.uint8)
    d = np.float16(1)
    for _ in range(2):
        half = np.frombuffer(d.tobytes(), dtype=np.uint8)
        for at in SCALES[kind]:
            b[:, at:at + 2] = half
        for i in range(4 * (kind == Q.IQ1_M)):      # its scale lies in four upper halves of bytes
            b[:, 49 + 2 * i] = b[:, 49 + 2 * i] & 15 | (int(d.view(np.uint16)) >> 4 * i & 15) << 4
        d = np.float16(1.5 / math.sqrt(shape[1]) / gguf.quants.dequantize(b, kind).std())
    return b.reshape(shape[0], -1)


def pack(rng, w, kind):
    """Bytes of w in a GGUF type, and the values those bytes stand for."""
    if kind in SCALES:
        packed = any_blocks(rng, w.shape, kind)
    elif kind in (Q.Q4_K, Q.Q5_K, Q.Q6_K):
        packed = k_quant(rng, w.shape, kind)
    else:
        packed = gguf.quants.quantize(w, kind)
    return packed, gguf.quants.dequantize(packed, kind).reshape(w.shape).astype(np.float32)


def rope_factors(config):
    """What convert_hf_to_gguf writes as rope_freqs: how much slower each frequency of Llama 3 turns."""
    rope = config.rope_parameters
    inv, _ = transformers.modeling_rope_utils.ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    plain = 1.0 / rope["rope_theta"] ** (torch.arange(0, len(inv) * 2, 2, dtype=F32) / (len(inv) * 2))
    return (plain / inv).numpy().astype(np.float32)


def write_meta(w, config, arch):
    rope = config.rope_parameters
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    w.add_context_length(config.max_position_embeddings)
    w.add_embedding_length(config.hidden_size)
    w.add_block_count(config.num_hidden_layers)
    w.add_feed_forward_length(config.intermediate_size)
    w.add_head_count(config.num_attention_heads)
    w.add_head_count_kv(config.num_key_value_heads)
    w.add_layer_norm_rms_eps(config.rms_norm_eps)
    w.add_vocab_size(config.vocab_size)
    if arch == "phi3":              # as its converter writes them, long rope or not
        part = int(head_dim * rope["partial_rotary_factor"])
        w.add_rope_dimension_count(part)
        w.add_rope_scaling_orig_ctx_len(config.original_max_position_embeddings)
        w.add_sliding_window(config.sliding_window or 0)
        if rope["rope_type"] == "longrope":
            s, original = config.max_position_embeddings, config.original_max_position_embeddings
            w.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(s / original) / math.log(original)))
            for which in ("long", "short"):
                w.add_tensor(f"rope_factors_{which}.weight", np.array(rope[which + "_factor"], dtype=np.float32))
    if arch not in ("qwen2", "olmo2", "olmo3", "phi3", "granite", "olmoe", "qwen2_moe"):
        w.add_key_length(head_dim)
        w.add_value_length(head_dim)
    if arch in ("llama", "smollm3", "granite", "mixtral"):
        w.add_rope_dimension_count(head_dim)
    if arch in ("gemma3_text", "olmo3"):
        w.add_sliding_window(config.sliding_window)
        if arch == "olmo3":
            w.add_sliding_window_pattern([t == "sliding_attention" for t in config.layer_types])
        rope = rope["full_attention"]
    if arch == "granite":
        w.add_attention_scale(config.attention_multiplier)
        w.add_embedding_scale(config.embedding_multiplier)
        w.add_residual_scale(config.residual_multiplier)
        w.add_logit_scale(config.logits_scaling)
    if arch == "gemma2":
        w.add_sliding_window(config.sliding_window)
        w.add_attn_logit_softcapping(config.attn_logit_softcapping)
        w.add_final_logit_softcapping(config.final_logit_softcapping)
    if arch != "gemma":             # llama.cpp's is always 10000
        w.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "yarn":
        w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        w.add_rope_scaling_factor(rope["factor"])
        w.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if rope["rope_type"] == "linear":
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        w.add_rope_scaling_factor(rope["factor"])
    if arch in EXPERTS:
        w.add_expert_count(config.num_experts)
        w.add_expert_used_count(config.num_experts_per_tok)
    if arch == "qwen2_moe":
        w.add_expert_shared_feed_forward_length(config.shared_expert_intermediate_size)
    if arch in ("qwen2_moe", "qwen3_moe"):
        w.add_expert_feed_forward_length(config.moe_intermediate_size)
    w.add_tokenizer_model("none")


def stacks(name, w):
    """The tensors of a GGUF that a tensor of experts becomes: views of it. Any other stays."""
    if name.endswith("experts.down_proj"):
        return [(f"blk.{name.split('.')[2]}.ffn_down_exps.weight", w)]
    if name.endswith("experts.gate_up_proj"):
        return [(f"blk.{name.split('.')[2]}.ffn_{k}_exps.weight", x) for k, x in zip(("gate", "up"), w.chunk(2, dim=1))]
    return [(name, w)]


def make_gguf(name, seed, arch, sizes, embed, types):
    path, tokens = fresh(name, seed)
    rng = np.random.default_rng(seed + 2000)
    model = build(arch, sizes, seed)
    kind = "LLAMA" if arch == "mixtral" else arch.removesuffix("_text").replace("olmo3", "olmo2").upper()
    kind = kind.replace("_MOE", "MOE")
    kind = getattr(gguf.MODEL_ARCH, kind)
    names = gguf.get_tensor_name_map(kind, sizes["num_hidden_layers"])
    writer = gguf.GGUFWriter(path / "model.gguf", gguf.MODEL_ARCH_NAMES[kind])
    write_meta(writer, model.config, arch)
    state, turn = model.state_dict(), 0
    if sizes["tie_word_embeddings"]:
        del state["lm_head.weight"]
    if arch == "llama" and model.config.rope_parameters["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", rope_factors(model.config))
    for hf, tensor in [x for pair in state.items() for x in stacks(*pair)]:
        w = tensor.numpy()
        to = hf if hf.startswith("blk.") else names.get_name(hf, try_suffixes=(".weight", ".bias"))
        heads = {"q_proj": sizes["num_attention_heads"], "k_proj": sizes["num_key_value_heads"]}.get(hf.split(".")[-2])
        shift = 1 if arch.startswith("gemma") and hf.endswith("norm.weight") else 0
        if w.ndim == 1:                             # norms and biases stay float32, as converters leave them
            writer.add_tensor(to, w + np.float32(shift))
            continue
        permuted = arch in ("llama", "smollm3", "granite", "mixtral") and heads
        w = permute(w, heads) if permuted else w
        if "embed" in hf or "lm_head" in hf:
            as_ = embed
        elif hf.endswith(("mlp.gate.weight", "shared_expert_gate.weight")):
            as_ = Q.F32                             # no converter packs a router
        else:
            as_, turn = types[turn % len(types)], turn + 1
        if w.shape[-1] % gguf.GGML_QUANT_SIZES[as_][0]:
            as_ = Q.Q8_0                            # a row must be whole blocks; llama-quantize falls back too
        packed, values = pack(rng, w, as_)
        if as_ in (Q.F32, Q.F16):
            writer.add_tensor(to, packed)
        else:
            writer.add_tensor(to, packed, raw_dtype=as_)
        tensor.copy_(torch.tensor(unpermute(values, heads) if permuted else values.reshape(w.shape)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    want = logits(model, tokens)
    check_choices(name, model, tokens)
    np.save(path / "logits.npy", want)
    report(path, want)


def smollm2(directory):
    """Logits of the real model at every position of a few texts: 96 columns drawn once, and the 8 largest of
    each row, so that the files stay small."""
    model = load(directory)
    tok = transformers.AutoTokenizer.from_pretrained(directory)
    texts = {
        "prose": "The capital of France is Paris. In 1984, George Orwell wrote: \u201cIt was a bright cold day\u201d "
                 "\u2013 n'est-ce pas? 12,345 + 67 = 12412.",
        "code": "def fib(n):\n    return n if n < 2 else fib(n - 1) + fib(n - 2)\n\n"
                "print([fib(i) for i in range(10)])\n",
        "chat": tok.apply_chat_template([{"role": "user", "content": "Why is the sky blue? Answer in one sentence."}],
                                        tokenize=False, add_generation_prompt=True)}
    path = OUT / "smollm2"
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    rng = np.random.default_rng(3)
    for name, text in texts.items():
        ids = tok(text, add_special_tokens=False)["input_ids"]
        got = logits(model, ids)
        columns = np.sort(rng.choice(got.shape[1], 96, replace=False))
        top = np.argsort(-got, axis=1)[:, :8]
        (path / f"{name}.json").write_text(json.dumps({
            "text": text, "tokens": ids, "columns": columns.tolist(),
            "logits": got[:, columns].astype(float).round(5).tolist(),
            "top": top.tolist(), "top_logits": np.take_along_axis(got, top, 1).astype(float).round(5).tolist()}) + "\n")
        print(f"smollm2/{name}: {len(ids)} tokens")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--smollm2", metavar="DIR", help="a directory that make_hf_dir.py made of SmolLM2-135M-Instruct")
    ap.add_argument("name", nargs="*")
    args = ap.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    if args.smollm2:
        return smollm2(args.smollm2)
    for seed, (name, spec) in enumerate(HF.items()):
        if not args.name or name in args.name:
            make_hf(name, SEED.get(name, seed), *spec)
    for name, spec in FP8.items():
        if not args.name or name in args.name:
            make_fp8(name, SEED[name], *spec)
    if not args.name or "internlm2" in args.name:
        make_internlm2("internlm2", 90, size(2, 48, 6, 2, 40, **WIDE))
    for seed, (name, spec) in enumerate(GGUF.items(), 100):
        if not args.name or name in args.name:
            make_gguf(name, SEED.get(name, seed), *spec)
    print(f"{sum(f.stat().st_size for f in OUT.rglob('*') if f.is_file()) / 1024:.0f} KiB in all")


if __name__ == "__main__":
    main()
