"""Golden files of the weight formats, by the official libraries: tests/golden/files.

    pip install gguf safetensors torch transformers && python3 scripts/golden_files.py

Value k of the tensor called NAME is ((7 k + len(NAME)) mod 65 - 32) / 4, which every float type holds exactly,
so the tests need no second copy.
"""
import json
import pathlib
import struct
import numpy as np
import torch
from gguf import GGMLQuantizationType as T
from gguf import GGUFValueType as V
from gguf import GGUFWriter, quants
from safetensors.torch import save_file

out = pathlib.Path(__file__).parent.parent / "tests/golden/files"
(out / "sharded").mkdir(parents=True, exist_ok=True)


def values(name, *shape):
    k = np.arange(int(np.prod(shape)))
    return (((7 * k + len(name)) % 65 - 32) / 4).astype(np.float32).reshape(shape)


def tensors(*what):
    return {n: torch.tensor(values(n, *s)).to(t) for n, s, t in what}


# safetensors: every type, every number of dimensions, an empty tensor, a scalar
save_file(tensors(("f32", (3, 5), torch.float32), ("f16", (4, 3), torch.float16), ("bf16", (7,), torch.bfloat16),
                  ("four", (2, 3, 2, 2), torch.float32), ("scalar", (), torch.float32),
                  ("empty", (0, 4), torch.float32)),
          out / "model.safetensors", metadata={"format": "pt"})
save_file({"ids": torch.arange(4)}, out / "int64.safetensors")
save_file(tensors(("f64", (3, 5), torch.float64)), out / "f64.safetensors")

# shards as transformers writes them
shard = [tensors(("a.weight", (6, 4), torch.float32), ("b.weight", (2, 2), torch.bfloat16)),
         tensors(("c.weight", (3, 8), torch.float16))]
index = {"metadata": {"total_size": 0}, "weight_map": {}}
for i, s in enumerate(shard):
    file = f"model-{i + 1:05}-of-{len(shard):05}.safetensors"
    save_file(s, out / "sharded" / file, metadata={"format": "pt"})
    index["weight_map"] |= {n: file for n in s}
(out / "sharded/model.safetensors.index.json").write_text(json.dumps(index, indent=2))

# a header whose length is odd, so that the float32 data begin at an odd byte: legal, if rare
head = (b'{"u":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},'
        b'"v":{"dtype":"BF16","shape":[3],"data_offsets":[16,22]}}')
head += b" " * (1 - len(head) % 2)
bf16 = (values("v", 3).view(np.uint32) >> 16).astype(np.uint16)
(out / "unaligned.safetensors").write_bytes(
    struct.pack("<Q", len(head)) + head + values("u", 2, 2).tobytes() + bf16.tobytes())


def gguf(name, alignment=None, **how):
    w = GGUFWriter(out / name, "llama", **how)
    if alignment:
        w.add_custom_alignment(alignment)
    for key, v, kind in (("u8", 200, V.UINT8), ("i8", -3, V.INT8), ("u16", 60000, V.UINT16), ("i16", -300, V.INT16),
                         ("u32", 4000000000, V.UINT32), ("i32", -70000, V.INT32), ("f32", 0.15625, V.FLOAT32),
                         ("u64", 2**63 + 5, V.UINT64), ("i64", -2**40, V.INT64), ("f64", 1e-300, V.FLOAT64),
                         ("bool", True, V.BOOL), ("string", "naïve", V.STRING)):
        w.add_key_value("t." + key, v, kind)
    w.add_array("t.strings", ["", "ab", "c" * 40])
    w.add_array("t.i32s", [1, -2, 3])
    w.add_array("t.f32s", [0.5, -0.25])
    w.add_array("t.bools", [True, False, True])
    for t in (T.F32, T.F16, T.BF16, T.Q8_0, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1):
        w.add_tensor(t.name.lower(), quants.quantize(values(t.name, 3, 64), t), raw_dtype=t)
    for t, size in ((T.Q4_K, 144), (T.Q5_K, 176), (T.Q6_K, 210)):
        w.add_tensor(t.name.lower(), np.arange(2 * size, dtype=np.uint8).reshape(2, size), raw_dtype=t)
    w.add_tensor("cube", values("cube", 2, 3, 4))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return out / name


v3 = gguf("v3.gguf").read_bytes()
(out / "v2.gguf").write_bytes(v3[:4] + struct.pack("<I", 2) + v3[8:])
gguf("align64.gguf", 64)
gguf("split.gguf", split_max_tensors=5)         # split-00001-of-00003.gguf and two more: v3.gguf's tensors
w = GGUFWriter(out / "f64.gguf", "llama")
w.add_tensor("f64", values("f64", 3, 5).astype(np.float64))
w.write_header_to_file()
w.write_kv_data_to_file()
w.write_tensors_to_file()
w.close()
w = GGUFWriter(out / "tq1.gguf", "llama")
w.add_tensor("odd", np.zeros((1, 54), dtype=np.uint8), raw_dtype=T.TQ1_0)
w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()
