#!/usr/bin/env python3
"""A trained adapter as it is shipped: judge_adapter.py ADAPTER OUT.

Weights are rounded to bfloat16 (nearest, ties to even), and the base is named as on the hub. The tokenizer is the
base's and is left out; what judge.json says of the words that the judge reads goes along.

    judge_adapter.py --start ADAPTER OUT

makes the start of a judge that compares of a reward model's adapter: its head is left out, and nothing is rounded."""
import json
import pathlib
import struct
import sys

import numpy as np

BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"


def read(path):
    data = path.read_bytes()
    n = struct.unpack("<Q", data[:8])[0]
    head = json.loads(data[8:8 + n])
    head.pop("__metadata__", None)
    for name, t in head.items():
        begin, end = t["data_offsets"]
        part = data[8 + n + begin:8 + n + end]
        if t["dtype"] == "F32":
            bits = np.frombuffer(part, dtype="<u4")
        elif t["dtype"] == "BF16":
            bits = np.frombuffer(part, dtype="<u2").astype("<u4") << 16
        else:
            sys.exit(f"{path}: {name}: wanted F32 or BF16, found {t['dtype']}")
        yield name, t["shape"], bits


def rounded(bits):
    even = (bits >> 16) & 1
    return ((bits.astype(np.uint64) + 0x7fff + even) >> 16).astype("<u2")


def write(path, tensors, start):
    head, parts, at = {"__metadata__": {"format": "pt"}}, [], 0
    for name, shape, bits in tensors:
        if start and "lora" not in name:
            continue
        data = (bits if start else rounded(bits)).tobytes()
        head[name] = {"dtype": "F32" if start else "BF16", "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
        parts.append(data)
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(parts))


def main():
    start = sys.argv[1:2] == ["--start"]
    if len(sys.argv) != 3 + start:
        sys.exit(__doc__)
    source, out = map(pathlib.Path, sys.argv[1 + start:])
    out.mkdir(parents=True, exist_ok=True)
    config = json.loads((source / "adapter_config.json").read_text())
    if start:
        config |= {"modules_to_save": None, "task_type": "CAUSAL_LM"}
    else:
        config["base_model_name_or_path"] = BASE
    (out / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")
    write(out / "adapter_model.safetensors", list(read(source / "adapter_model.safetensors")), start)
    card = source / "judge.json"
    if card.exists() and not start:
        (out / "judge.json").write_text(json.dumps({"reads": json.loads(card.read_text())["reads"]}, indent=2) + "\n")


main()
