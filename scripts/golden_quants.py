"""Golden files of dequantisation, by the official gguf package: tests/golden/quants/NAME.{bin,f32}.

    pip install gguf numpy torch && python3 scripts/golden_quants.py

NAME.bin holds blocks, or float64, or bytes of PyTorch's float8_e4m3fn, NAME.f32 the float32 values that
gguf.quants.dequantize, or NumPy, or PyTorch, gives them. Types that the package can quantise get random rows
(rows.f32), with an all-zero block; the K and IQ types get random bytes with sane scales.
"""
import pathlib
import numpy as np
import torch
from gguf import GGMLQuantizationType as T
from gguf import quants

out = pathlib.Path(__file__).parent.parent / "tests/golden/quants"
out.mkdir(parents=True, exist_ok=True)
rng = np.random.default_rng(7)


def scales(n):
    """float16 of both signs, a zero and a subnormal one among them, as two bytes each."""
    d = (rng.standard_normal(n) * 0.01).astype(np.float16)
    d[:2] = [0, np.float16(3e-7)]
    return d.view(np.uint8).reshape(n, 2)


def k_blocks(size, at, n=24):
    b = rng.integers(0, 256, (n, size), dtype=np.uint8)
    for place in at:
        b[:, place:place + 2] = scales(n)
    return b


# The bytes of a block, and where its scale and its minimum lie.
blocks = {T.Q4_K: (144, (0, 2)), T.Q5_K: (176, (0, 2)), T.Q6_K: (210, (208,)), T.Q2_K: (84, (80, 82)),
          T.Q3_K: (110, (108,)), T.IQ4_NL: (18, (0,)), T.IQ4_XS: (136, (0,)), T.IQ1_S: (50, (0,)),
          T.IQ2_XXS: (66, (0,)), T.IQ2_XS: (74, (0,)), T.IQ2_S: (82, (0,)), T.IQ3_XXS: (98, (0,)), T.IQ3_S: (110, (0,))}
rows = rng.standard_normal((16, 64)).astype(np.float32)
rows[3, :32] = 0
(out / "rows.f32").write_bytes(rows.astype("<f4").tobytes())
wide = np.concatenate([np.random.default_rng(8).standard_normal(64),
                       [0.0, -0.0, 1e-40, -1e-46, 1e38, 1 + 2.0**-24, 1 + 3 * 2.0**-24]])
(out / "F64.bin").write_bytes(wide.astype("<f8").tobytes())
(out / "F64.f32").write_bytes(wide.astype("<f4").tobytes())
codes = np.array([c for c in range(256) if c % 128 < 127], dtype=np.uint8)       # the others are no numbers
(out / "F8_E4M3.bin").write_bytes(codes.tobytes())
floats = torch.from_numpy(codes).view(torch.float8_e4m3fn).float().numpy()
(out / "F8_E4M3.f32").write_bytes(floats.astype("<f4").tobytes())
d = np.random.default_rng(9).standard_normal((7, 1)).astype(np.float32)
(out / "F8_SCALED.bin").write_bytes(np.hstack([d.view(np.uint8).reshape(7, 4), codes[:224].reshape(7, 32)]).tobytes())
(out / "F8_SCALED.f32").write_bytes((d * floats[:224].reshape(7, 32)).astype("<f4").tobytes())
for t in (T.F16, T.BF16, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.Q4_K, T.Q5_K, T.Q6_K,
          T.Q2_K, T.Q3_K, T.IQ4_NL, T.IQ4_XS,
          T.IQ1_S, T.IQ1_M, T.IQ2_XXS, T.IQ2_XS, T.IQ2_S, T.IQ3_XXS, T.IQ3_S):
    if t in blocks:
        data = k_blocks(*blocks[t])
    elif t == T.IQ1_M:                              # whose d lies in four upper halves of bytes
        data = k_blocks(56, ())
        d = scales(len(data)).view(np.uint16)[:, 0]
        for i in range(4):
            data[:, 49 + 2 * i] = data[:, 49 + 2 * i] & 15 | (d >> 4 * i & 15) << 4
    else:
        data = quants.quantize(rows, t)
    want = quants.dequantize(data, t)
    assert np.isfinite(want).all()
    (out / f"{t.name}.bin").write_bytes(data.tobytes())
    (out / f"{t.name}.f32").write_bytes(want.astype("<f4").tobytes())
