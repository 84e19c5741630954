#!/usr/bin/env python3
"""golden_packed.py - tiny models packed as whole numbers, and the logits of what their own libraries unpack.

    python3 scripts/golden_packed.py [NAME...]         writes tests/golden/models/NAME/, or these alone

It needs, besides scripts/requirements.txt, gptqmodel 7.7.0, autoawq 0.2.9, compressed-tensors 0.20.1 and
bitsandbytes 0.50.2.

Who made the format packs each matrix and makes numbers of it again: gptqmodel, AutoAWQ or compressed-tensors, in the
type of the scales, and bitsandbytes. The logits are those of these numbers, computed in float32 by transformers.
"""
import json
import sys

import numpy as np
import torch
import transformers

from golden_models import BF16, F16, PLAIN, build, config_json, fresh, logits, report, save_weights, size


def ranges(w, bits, group, symmetric):
    """Scales and zeros [out, groups] of consecutive groups of inputs."""
    out, inputs = w.shape
    x = w.reshape(out, -1, group if group > 0 else inputs)
    top = 2 ** bits - 1
    if symmetric:
        return x.abs().amax(2) * 2 / top, torch.full(x.shape[:2], 2.0 ** (bits - 1))
    low, high = x.amin(2).clamp(max=0), x.amax(2).clamp(min=0)
    scale = (high - low) / top
    return scale, torch.round(-low / scale)


def linear(w):
    layer = torch.nn.Linear(w.shape[1], w.shape[0], bias=False)
    layer.weight.data = w.clone()
    return layer


def gptq(w, how, seed):
    """gptqmodel's tensors, and its numbers [out, in]."""
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    from gptqmodel.utils.model import convert_gptq_v2_to_v1_format_module

    out, inputs = w.shape
    bits, group = how["bits"], how["group_size"]
    order = torch.arange(inputs)
    if how["desc_act"]:
        order = torch.tensor(np.random.default_rng(seed).permutation(inputs))
    scales, zeros = ranges(w[:, order], bits, group, how["sym"])
    if not how["sym"]:          # zeros of 0 and of 1: stored less one the first borrows from its neighbour
        zeros[::3], zeros[1::5] = 0, 1
    index = torch.empty(inputs, dtype=torch.int32)
    index[order] = (torch.arange(inputs) // (group if group > 0 else inputs)).int()
    layer = TorchLinear(bits=bits, group_size=group, sym=how["sym"], desc_act=how["desc_act"], in_features=inputs,
                        out_features=out, bias=False, register_buffers=True)
    layer.pack_original(linear(w), scales, zeros, index)
    layer.eval()
    values = layer.dequantize_weight().T.contiguous()
    assert values.dtype == F16 and values.shape == w.shape
    if how["checkpoint_format"] == "gptq":
        from gptqmodel.quantization.config import QuantizeConfig
        convert_gptq_v2_to_v1_format_module(layer, QuantizeConfig(bits=bits))
    return {"qweight": layer.qweight, "qzeros": layer.qzeros, "scales": layer.scales, "g_idx": layer.g_idx}, values


def awq(w, how, seed):
    """AutoAWQ's tensors, and its numbers."""
    from awq.modules.linear.gemm import WQLinear_GEMM
    from awq.utils.packing_utils import dequantize_gemm

    group = how["group_size"]
    scales, zeros = ranges(w, 4, group, False)
    layer = WQLinear_GEMM.from_linear(linear(w), 4, group, False, scales.T.half().contiguous(), zeros.T.contiguous())
    values = dequantize_gemm(layer.qweight, layer.qzeros, layer.scales, 4, group).T.contiguous()
    assert values.dtype == F16 and values.shape == w.shape
    return {"qweight": layer.qweight, "qzeros": layer.qzeros, "scales": layer.scales}, values


def compressed(w, how, seed):
    """compressed-tensors' tensors, and its numbers."""
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationScheme

    scheme = QuantizationScheme(**how["config_groups"]["group_0"])
    args = scheme.weights
    scale, zero = ranges(w, args.num_bits, args.group_size or -1, args.symmetric)
    half = 2 ** (args.num_bits - 1)
    state = {"weight": w.to(BF16), "weight_scale": scale.to(BF16)}
    if not args.symmetric:
        state["weight_zero_point"] = (zero - half).to(torch.int8)
    compressor = BaseCompressor.get_value_from_registry(how["format"])
    tensors = compressor.compress(state, scheme)
    values = compressor.decompress(tensors, scheme)["weight"]
    assert values.dtype == BF16 and values.shape == w.shape
    return tensors, values


def bnb(w, how, seed):
    """bitsandbytes' tensors, and its numbers."""
    from bitsandbytes import functional

    if how["load_in_8bit"]:
        codes, most, _ = functional.int8_vectorwise_quant(w.to(F16))
        return ({"weight": codes, "SCB": most, "weight_format": torch.tensor(0, dtype=torch.uint8)},
                functional.int8_vectorwise_dequant(codes, most))
    codes, state = functional.quantize_4bit(w.to(BF16), quant_type=how["bnb_4bit_quant_type"],
                                            compress_statistics=how["bnb_4bit_use_double_quant"])
    beside = state.as_dict(packed=True)
    return {"weight": codes} | {f"weight.{n}": t for n, t in beside.items()}, functional.dequantize_4bit(codes, state)


def make(name, seed, pack, arch, sizes, how, head, dtype=F16):
    """head: lm_head is packed, too. dtype: of all else."""
    path, tokens = fresh(name, seed, sizes["vocab_size"])
    model, state, whole = build(arch, sizes, seed), {}, {}
    for n, w in model.state_dict().items():
        whole[n] = w.to(dtype)
        if w.ndim < 2 or "embed" in n or (n == "lm_head.weight" and not head):
            state[n] = whole[n]
            continue
        tensors, values = pack(w, how, seed + len(state))
        whole[n] = values
        state.update({n.removesuffix("weight") + part: t.contiguous() for part, t in tensors.items()})
    save_weights(path, state, 1)
    config = config_json(model.config, "new", dtype) | {"quantization_config": how}
    (path / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    before = logits(model, tokens)
    model.load_state_dict({n: w.float() for n, w in whole.items()})
    want = logits(model, tokens)
    print(f"{name}: {abs(want - before).max():.3f} from the model that was packed")
    np.save(path / "logits.npy", want)
    report(path, want)


def ct(form, weights, activations):
    return {"quant_method": "compressed-tensors", "format": form, "quantization_status": "compressed",
            "ignore": ["lm_head"], "kv_cache_scheme": None, "global_compression_ratio": None,
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights, "output_activations": None,
                                          "input_activations": activations, "format": form}}}


MODELS = {
    "llama_gptq": (28, gptq, "llama", size(2, 64, 2, 1, 96, rope_parameters=PLAIN, head_dim=32),
                   {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": True, "sym": False,
                    "lm_head": False, "checkpoint_format": "gptq", "pack_dtype": "int32", "true_sequential": True,
                    "dynamic": None, "damp_percent": 0.05, "meta": {"quantizer": ["gptqmodel:7.7.0"]}}, False),
    "qwen2_awq": (30, awq, "qwen2", size(2, 64, 2, 1, 96, rope_parameters=PLAIN),
                  {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True, "version": "gemm",
                   "modules_to_not_convert": None}, False),
    "llama_ct_packed": (31, compressed, "llama", size(2, 64, 2, 1, 96, rope_parameters=PLAIN, head_dim=32),
                        ct("pack-quantized", {"num_bits": 4, "type": "int", "symmetric": False, "strategy": "group",
                                              "group_size": 32, "dynamic": False}, None), False),
    "llama_ct_int8": (32, compressed, "llama", size(2, 40, 2, 1, 56, rope_parameters=PLAIN, head_dim=20),
                      ct("int-quantized", {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel",
                                           "dynamic": False},
                         {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True}),
                      False),
    "llama_gptq_v2": (29, gptq, "llama", size(2, 40, 2, 1, 56, rope_parameters=PLAIN, head_dim=20),
                      {"quant_method": "gptq", "bits": 8, "group_size": -1, "desc_act": False, "sym": True,
                       "lm_head": True, "checkpoint_format": "gptq_v2", "format": "gptq_v2", "pack_dtype": "int32"},
                      True),
    "llama_nf4": (31, bnb, "llama", size(2, 64, 2, 1, 96, rope_parameters=PLAIN, head_dim=32),
                  {"quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": False,
                   "_load_in_4bit": True, "_load_in_8bit": False, "bnb_4bit_quant_type": "nf4",
                   "bnb_4bit_use_double_quant": True, "bnb_4bit_compute_dtype": "bfloat16",
                   "bnb_4bit_quant_storage": "uint8", "llm_int8_enable_fp32_cpu_offload": False,
                   "llm_int8_has_fp16_weight": False, "llm_int8_skip_modules": ["lm_head"],
                   "llm_int8_threshold": 6.0}, False, BF16),
    "llama_fp4": (32, bnb, "llama", size(2, 40, 2, 1, 56, rope_parameters=PLAIN, head_dim=20),
                  {"quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": False,
                   "bnb_4bit_quant_type": "fp4", "bnb_4bit_use_double_quant": False}, False, BF16),
    "llama_bnb8": (33, bnb, "llama", size(2, 40, 2, 1, 56, rope_parameters=PLAIN, head_dim=20),
                   {"quant_method": "bitsandbytes", "load_in_4bit": False, "load_in_8bit": True,
                    "llm_int8_threshold": 6.0}, False),
}


def main():
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    for name, spec in MODELS.items():
        if len(sys.argv) < 2 or name in sys.argv[1:]:
            make(name, *spec)


if __name__ == "__main__":
    main()
