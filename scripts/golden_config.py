"""What transformers makes of tests/golden/config/NAME/config.json: tests/golden/config/want.json, and GGUF files with
the metadata that llama.cpp's converter writes for the same models: tests/golden/config/NAME.gguf.

    pip install transformers torch gguf && python3 scripts/golden_config.py

The variants below are written first; the other directories are small models' own.
"""
import json
import pathlib
import numpy as np
import torch
import transformers
from gguf import GGUFWriter
from transformers import AutoConfig, AutoModelForCausalLM

out = pathlib.Path(__file__).parent.parent / "tests/golden/config"
small = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4,
         "num_key_value_heads": 2, "vocab_size": 100, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5}
gemma = small | {"model_type": "gemma3_text", "num_hidden_layers": 7, "head_dim": 32, "query_pre_attn_scalar": 168,
                 "rope_theta": 1000000, "rope_local_base_freq": 10000, "sliding_window": 512,
                 "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "hidden_activation": "gelu_pytorch_tanh"}
variants = {
    "llama_defaults": {"model_type": "llama"},
    "llama31_old": small | {"model_type": "llama", "rope_theta": 500000.0, "tie_word_embeddings": True,
                            "eos_token_id": [128001, 128008], "bos_token_id": 128000,
                            "rope_scaling": {"factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                                             "original_max_position_embeddings": 1024, "rope_type": "llama3"}},
    "llama_linear_old": small | {"model_type": "llama", "rope_scaling": {"type": "linear", "factor": 4.0}},
    "llama_dynamic": small | {"model_type": "llama", "rope_scaling": {"type": "dynamic", "factor": 2.5}},
    "llama_yarn_old": small | {"model_type": "llama", "rope_theta": 50000.0, "head_dim": 64,
                               "original_max_position_embeddings": 512,
                               "rope_scaling": {"type": "yarn", "factor": None, "beta_fast": 20, "beta_slow": 0.5,
                                                "original_max_position_embeddings": 1024, "truncate": False,
                                                "mscale": 0.707, "mscale_all_dim": 1.2}},
    "qwen2_yarn": small | {"model_type": "qwen2", "rope_theta": 1000000.0,
                           "rope_scaling": {"factor": 4.0, "original_max_position_embeddings": 32768, "type": "yarn"}},
    "qwen3_yarn": small | {"model_type": "qwen3", "head_dim": 128,
                           "rope_parameters": {"rope_type": "yarn", "rope_theta": 1000000.0, "factor": 4.0,
                                               "attention_factor": 0.9, "finetuned": True, "mscale": 3.0,
                                               "original_max_position_embeddings": 1024}},
    "gemma3_yarn": {k: v for k, v in gemma.items() if "rope" not in k} | {
        "rope_parameters": {"full_attention": {"rope_type": "yarn", "rope_theta": 1000000.0, "factor": 8.0,
                                               "original_max_position_embeddings": 256},
                            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}},
    "llama_bias": small | {"model_type": "llama", "attention_bias": True, "num_key_value_heads": None,
                           "rope_scaling": None, "rope_theta": 100000},
    "mistral_defaults": {"model_type": "mistral"},
    "mistral_null": small | {"model_type": "mistral", "sliding_window": None, "head_dim": None},
    "mistral_types": small | {"model_type": "mistral", "head_dim": 16, "sliding_window": 24, "layer_types": [
        "sliding_attention", "full_attention", "full_attention", "sliding_attention"]},
    "ministral": small | {"model_type": "ministral", "head_dim": 32, "sliding_window": 24, "layer_types": [
        "full_attention", "sliding_attention", "full_attention", "full_attention"]},
    "qwen2_window": small | {"model_type": "qwen2", "use_sliding_window": True, "max_window_layers": 3,
                             "sliding_window": 1024, "rope_theta": 1000000.0},
    "qwen3_old": small | {"model_type": "qwen3", "head_dim": 128, "rope_theta": 1000000, "rope_scaling": None,
                          "sliding_window": None, "max_window_layers": 2, "tie_word_embeddings": True},
    "qwen3_bias": small | {"model_type": "qwen3", "attention_bias": True, "head_dim": 24},
    "gemma_defaults": {"model_type": "gemma"},
    "gemma_old": small | {"model_type": "gemma", "head_dim": 32, "hidden_act": "gelu", "hidden_activation": None,
                          "rope_theta": 10000.0},
    "gemma2_defaults": {"model_type": "gemma2"},
    "gemma2_caps": small | {"model_type": "gemma2", "head_dim": 32, "query_pre_attn_scalar": 144, "sliding_window": 512,
                            "attn_logit_softcapping": 20.5, "final_logit_softcapping": None, "rope_theta": 10000.0,
                            "hidden_activation": "gelu_pytorch_tanh", "num_hidden_layers": 5},
    "granite_defaults": {"model_type": "granite"},
    "granite_3": small | {"model_type": "granite", "embedding_multiplier": 12.0, "attention_multiplier": 0.015625,
                          "residual_multiplier": 0.22, "logits_scaling": 8.0, "rope_theta": 10000000.0,
                          "rope_scaling": None, "mlp_bias": False, "tie_word_embeddings": True},
    "olmo3_defaults": {"model_type": "olmo3"},
    "olmo3_yarn": small | {"model_type": "olmo3", "rope_theta": 500000, "sliding_window": 512, "num_hidden_layers": 5,
                           "rope_scaling": {"rope_type": "yarn", "factor": 8.0, "beta_fast": 32, "beta_slow": 1,
                                            "attention_factor": 1.2079441541679836,
                                            "original_max_position_embeddings": 512}},
    "gemma3_old": gemma | {"sliding_window_pattern": 3},
    "gemma3_inner": {"model_type": "gemma3", "architectures": ["Gemma3ForConditionalGeneration"],
                     "eos_token_id": [1, 106], "text_config": gemma,
                     "vision_config": {"model_type": "siglip_vision_model"}},
}
for name, c in variants.items():
    (out / name).mkdir(parents=True, exist_ok=True)
    (out / name / "config.json").write_text(json.dumps(c, indent=1) + "\n")


def first(x):
    x = x[0] if isinstance(x, list) else x
    return -1 if x is None else x


def hexes(x):
    return [float(v).hex() for v in x.float().tolist()]


def describe(path):
    outer = AutoConfig.from_pretrained(path)
    c = getattr(outer, "text_config", outer)
    head_dim = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    module = getattr(transformers.models, c.model_type.removesuffix("_text"))
    rotary = [v for k, v in vars(getattr(module, f"modeling_{c.model_type.removesuffix('_text')}")).items()
              if k.endswith("RotaryEmbedding")][0](c)
    is_gemma = c.model_type in ("gemma", "gemma2", "gemma3_text")
    if c.model_type in ("gemma3_text", "olmo3"):
        sliding = [t == "sliding_attention" for t in c.layer_types]
        freq = [hexes(rotary.full_attention_inv_freq), hexes(rotary.sliding_attention_inv_freq)]
        scale = [rotary.full_attention_attention_scaling, rotary.sliding_attention_attention_scaling]
    else:
        freq = [hexes(rotary.inv_freq)] * 2
        scale = [rotary.attention_scaling] * 2
        if c.model_type in ("llama", "gemma", "granite"):
            sliding = [False] * c.num_hidden_layers
        elif c.model_type == "mistral":
            sliding = [c.sliding_window is not None] * c.num_hidden_layers
        else:
            sliding = [t == "sliding_attention" for t in c.layer_types]
    tiny = type(c)(**(c.to_dict() | {"num_hidden_layers": 1, "vocab_size": 128,
                                     "hidden_size": 8 * c.num_attention_heads,
                                     "intermediate_size": 16, "layer_types": None, "pad_token_id": None}))
    with torch.device("meta"):
        names = [n for n, _ in AutoModelForCausalLM.from_config(tiny).named_parameters()]
    has = lambda part: any(part in n for n in names)
    return {
        "architecture": c.model_type.removesuffix("_text").replace("ministral", "mistral"),
        "layers": c.num_hidden_layers, "width": c.hidden_size,
        "heads": c.num_attention_heads, "kv_heads": c.num_key_value_heads, "head_dim": head_dim,
        "hidden": c.intermediate_size, "vocabulary": c.vocab_size, "context": c.max_position_embeddings,
        "rms_eps": c.rms_norm_eps, "tied_head": bool(outer.tie_word_embeddings), "qkv_bias": has("q_proj.bias"),
        "o_bias": has("o_proj.bias"), "qk_norm": has("q_norm"), "sandwich_norms": has("post_feedforward"),
        "geglu": is_gemma, "norm_bias": float(is_gemma),
        "embed_scale": torch.tensor(c.hidden_size**0.5).item() if is_gemma else getattr(c, "embedding_multiplier", 1.0),
        "branch_scale": getattr(c, "residual_multiplier", 1.0), "logit_div": getattr(c, "logits_scaling", 1.0),
        "attn_cap": getattr(c, "attn_logit_softcapping", None) or 0.0,
        "logit_cap": getattr(c, "final_logit_softcapping", None) or 0.0,
        "attn_scale": getattr(c, "attention_multiplier", getattr(c, "query_pre_attn_scalar", head_dim)**-0.5),
        "window": c.sliding_window if any(sliding) else 0, "sliding": sliding,
        "bos": first(outer.bos_token_id if outer is c or getattr(outer, "bos_token_id", None) is not None
                     else c.bos_token_id),
        "eos": first(outer.eos_token_id if getattr(outer, "eos_token_id", None) is not None else c.eos_token_id),
        "inv_freq": freq, "rope_scale": scale,
    }


want = {p.parent.name: describe(p.parent) for p in sorted(out.glob("*/config.json"))}
(out / "want.json").write_text("{\n" + ",\n".join(f'"{k}": {json.dumps(v)}' for k, v in want.items()) + "\n}\n")


# GGUF: the keys and the few tensors that say something
def gguf(name, arch, keys, bias=False, tied=True, factors=None, head_dim=None, pattern=None,
         caps=None):
    w = GGUFWriter(out / f"{name}.gguf", arch)
    w.add_block_count(keys["layers"]); w.add_embedding_length(64); w.add_feed_forward_length(96)
    w.add_context_length(4096); w.add_head_count(4); w.add_head_count_kv(2); w.add_layer_norm_rms_eps(1e-5)
    w.add_rope_freq_base(keys["theta"]); w.add_bos_token_id(1); w.add_eos_token_id(2)
    if head_dim:
        w.add_key_length(head_dim); w.add_value_length(head_dim)
    if "window" in keys:
        w.add_sliding_window(keys["window"])
    if pattern:
        w.add_array(f"{arch}.attention.sliding_window_pattern", pattern)
    if caps:
        w.add_attn_logit_softcapping(caps[0]); w.add_final_logit_softcapping(caps[1])
    if "factor" in keys:
        w.add_string(f"{arch}.rope.scaling.type", "linear")
        w.add_float32(f"{arch}.rope.scaling.factor", keys["factor"])
    w.add_tensor("token_embd.weight", np.zeros((100, 64), dtype=np.float16))
    if bias:
        w.add_tensor("blk.0.attn_q.bias", np.zeros(64, dtype=np.float32))
    if not tied:
        w.add_tensor("output.weight", np.zeros((100, 64), dtype=np.float16))
    if factors is not None:
        w.add_tensor("rope_freqs.weight", np.array(factors, dtype=np.float32))
    w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()


gguf("llama3", "llama", {"layers": 2, "theta": 500000.0}, factors=[1, 1, 1, 2, 4, 8, 8, 8])
gguf("mistral", "llama", {"layers": 2, "theta": 10000.0, "window": 24}, tied=False)
gguf("qwen2", "qwen2", {"layers": 2, "theta": 1000000.0, "window": 99}, bias=True)
gguf("qwen3", "qwen3", {"layers": 2, "theta": 1000000.0}, head_dim=32)
gguf("gemma3", "gemma3", {"layers": 7, "theta": 1000000.0, "window": 16, "factor": 8.0}, head_dim=32)
gguf("gemma3_pattern", "gemma3", {"layers": 3, "theta": 1000000.0, "window": 16}, head_dim=32,
     pattern=[True, False, True])
gguf("gemma", "gemma", {"layers": 2, "theta": 10000.0}, head_dim=32)
gguf("gemma2", "gemma2", {"layers": 3, "theta": 10000.0, "window": 16}, head_dim=32, caps=(20.5, 12.0))
gguf("gemma2_early", "gemma2", {"layers": 46, "theta": 10000.0}, head_dim=32)
