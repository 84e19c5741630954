"""src/tensor/iq_grids.inc: the points that GGUF's types IQ1 to IQ3 number, from the official gguf package.

    pip install gguf numpy && python3 scripts/make_iq_grids.py > src/tensor/iq_grids.inc

A point is 8 values of 2 bits or 4 of 3 bits, the first one lowest.
"""
import numpy as np
from gguf import quants

print("/* iq_grids.inc - made by scripts/make_iq_grids.py of the gguf package (MIT): the points of ggml's grids. */")
for q in (quants.IQ2_XXS, quants.IQ2_XS, quants.IQ2_S, quants.IQ3_XXS, quants.IQ3_S, quants.IQ1_S):
    q.init_grid()
    n, values = q.grid_shape
    bits = 16 // values if values == 8 else 3
    place = np.searchsorted(np.array(q.grid_map), q.grid.reshape(n, values))
    point = (place.astype(np.uint32) << (bits * np.arange(values, dtype=np.uint32))).sum(axis=1)
    print(f"\nstatic const uint16_t {q.__name__.lower()}_grid[{n}] = {{")
    for i in range(0, n, 12):
        print("    " + " ".join(f"0x{p:04x}," for p in point[i:i + 12]))
    print("};")
