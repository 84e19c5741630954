#!/usr/bin/env python3
"""bench_shape.py - a model of Llama-3.2-1B's shape with random weights in bfloat16, for measurements of speed alone.

    bench_shape.py OUT HF_DIR [LAYERS]

HF_DIR gives the tokenizer, whose words are fewer than the model's. 2.5 GB with 16 layers, in a few seconds: a matrix is
a block of 2^18 normal numbers again and again. What such a model says means nothing.
"""
import array
import json
import pathlib
import random
import shutil
import struct
import sys

WIDTH, HIDDEN, HEADS, KV, HEAD, WORDS = 2048, 8192, 32, 8, 64, 128256
BLOCK = 1 << 18


def tensors(layers):
    yield "model.embed_tokens.weight", (WORDS, WIDTH)
    for i in range(layers):
        at = f"model.layers.{i}."
        yield at + "input_layernorm.weight", (WIDTH,)
        yield at + "mlp.down_proj.weight", (WIDTH, HIDDEN)
        yield at + "mlp.gate_proj.weight", (HIDDEN, WIDTH)
        yield at + "mlp.up_proj.weight", (HIDDEN, WIDTH)
        yield at + "post_attention_layernorm.weight", (WIDTH,)
        yield at + "self_attn.k_proj.weight", (KV * HEAD, WIDTH)
        yield at + "self_attn.o_proj.weight", (WIDTH, HEADS * HEAD)
        yield at + "self_attn.q_proj.weight", (HEADS * HEAD, WIDTH)
        yield at + "self_attn.v_proj.weight", (KV * HEAD, WIDTH)
    yield "model.norm.weight", (WIDTH,)


def size(shape):
    return 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)


def bfloat16(values):
    return array.array("H", [struct.unpack("<I", struct.pack("<f", v))[0] >> 16 for v in values]).tobytes()


def main(out, words, layers=16):
    out, words = pathlib.Path(out), pathlib.Path(words)
    draw = random.Random(1)
    block, ones = bfloat16([draw.gauss(0, 0.02) for _ in range(BLOCK)]), bfloat16([1.0] * WIDTH)
    header, at = {}, 0
    for name, shape in tensors(int(layers)):
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size(shape)]}
        at += size(shape)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    out.mkdir(parents=True)
    with (out / "model.safetensors").open("wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for _, shape in tensors(int(layers)):
            if len(shape) == 1:
                f.write(ones)
                continue
            for n in range(size(shape) // len(block)):
                k = 2 * (n * 7919 % BLOCK)
                f.write(block[k:] + block[:k])
            f.write(block[:size(shape) % len(block)])
    (out / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": WIDTH, "intermediate_size": HIDDEN,
        "num_hidden_layers": int(layers), "num_attention_heads": HEADS, "num_key_value_heads": KV, "head_dim": HEAD,
        "vocab_size": WORDS, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
        "hidden_act": "silu", "tie_word_embeddings": True, "torch_dtype": "bfloat16"}, indent=2))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(words / name, out / name)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(*sys.argv[1:])
