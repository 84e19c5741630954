#!/usr/bin/env python3
"""A trained adapter as it is shipped: judge_adapter.py ADAPTER OUT.

Weights are rounded to bfloat16 (nearest, ties to even), and the base is named as on the hub. The tokenizer is the
base's and is left out."""
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
        if t["dtype"] != "F32":
            sys.exit(f"{path}: {name}: wanted F32, found {t['dtype']}")
        yield name, t["shape"], np.frombuffer(data[8 + n + begin:8 + n + end], dtype="<u4")


def write(path, tensors):
    head, parts, at = {"__metadata__": {"format": "pt"}}, [], 0
    for name, shape, bits in tensors:
        even = (bits >> 16) & 1
        half = ((bits.astype(np.uint64) + 0x7fff + even) >> 16).astype("<u2").tobytes()
        head[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + len(half)]}
        at += len(half)
        parts.append(half)
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(parts))


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    source, out = map(pathlib.Path, sys.argv[1:])
    out.mkdir(parents=True, exist_ok=True)
    config = json.loads((source / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = BASE
    (out / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")
    write(out / "adapter_model.safetensors", list(read(source / "adapter_model.safetensors")))


main()
