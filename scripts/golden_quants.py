"""Golden files of dequantisation, by the official gguf package: tests/golden/quants/NAME.{bin,f32}.

    pip install gguf numpy && python3 scripts/golden_quants.py

NAME.bin holds blocks, NAME.f32 the float32 values that gguf.quants.dequantize gives them. Types that the
package can quantise get random rows (rows.f32), with an all-zero block; the K types get random bytes with sane
scales.
"""
import pathlib
import numpy as np
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


rows = rng.standard_normal((16, 64)).astype(np.float32)
rows[3, :32] = 0
(out / "rows.f32").write_bytes(rows.astype("<f4").tobytes())
for t in (T.F16, T.BF16, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.Q4_K, T.Q5_K, T.Q6_K):
    if t == T.Q4_K:
        data = k_blocks(144, (0, 2))
    elif t == T.Q5_K:
        data = k_blocks(176, (0, 2))
    elif t == T.Q6_K:
        data = k_blocks(210, (208,))
    else:
        data = quants.quantize(rows, t)
    want = quants.dequantize(data, t)
    assert np.isfinite(want).all()
    (out / f"{t.name}.bin").write_bytes(data.tobytes())
    (out / f"{t.name}.f32").write_bytes(want.astype("<f4").tobytes())
