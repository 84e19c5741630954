#!/usr/bin/env python3
"""tests/golden/sampling.txt: which tokens transformers' logits processors keep of 1,000 rows of logits with many ties.

A line a row: temperature top_k top_p min_p repetition, how many tokens stay, and the FNV-1a hash of the ids that stay
and are likelier than the least likely one of them, as 32-bit little-endian numbers in increasing order: which of
several equal tokens at the border of top_p stay, torch leaves to its sort, which promises no order. The logits are made
by splitmix64 from the row's number, in the test as here, so that they need not be stored: z = (random >> 40) mod 97 -
48 eighths. The repetition penalty's text is ids (row * 7 + i * 31) mod V, i < 20. transformers sums probabilities in
float32: a row where a sum comes nearer than 1e-5 to its border is left out (its line has a count of 0), as is one whose
min_p border does.""" import sys
import torch
from transformers.generation import logits_process as lp

V, ROWS, M = 257, 1000, (1 << 64) - 1


def logits(row):
    state, z = row, []
    for _ in range(V):
        state = (state + 0x9e3779b97f4a7c15) & M
        x = state
        x = ((x ^ x >> 30) * 0xbf58476d1ce4e5b9) & M
        x = ((x ^ x >> 27) * 0x94d049bb133111eb) & M
        z.append((((x ^ x >> 31) >> 40) % 97 - 48) / 8)
    return torch.tensor([z], dtype=torch.float32)


def near_border(scores, top_p, min_p):
    """Whether float32 could decide otherwise than exact numbers."""
    p = torch.softmax(scores.double(), -1)[0]
    if top_p < 1 and (torch.sort(p).values.cumsum(0) - (1 - top_p)).abs().min() < 1e-5: return True
    return min_p > 0 and (p / p.max() - min_p).abs().min() < 1e-5


def main():
    with open(sys.argv[1] if len(sys.argv) > 1 else 'tests/golden/sampling.txt', 'w') as out:
        for row in range(ROWS):
            T, k = (1, .5, .7, 1.3, 2)[row % 5], (0, 1, 5, 40, 300)[row // 5 % 5]
            p, m, r = (1, .9, .5, .1)[row // 25 % 4], (0, .05, .3)[row // 7 % 3], (1, 1.1, 2, .75)[row // 11 % 4]
            text = torch.tensor([[(row * 7 + i * 31) % V for i in range(20)]])
            z = logits(row)
            if r != 1: z = lp.RepetitionPenaltyLogitsProcessor(float(r))(text, z)
            if T != 1: z = lp.TemperatureLogitsWarper(float(T))(text, z)
            if k: z = lp.TopKLogitsWarper(k)(text, z)
            bad = near_border(z, p, m)
            if p < 1: z = lp.TopPLogitsWarper(p)(text, z)
            if m: z = lp.MinPLogitsWarper(m)(text, z)
            kept, h = torch.isfinite(z[0]).nonzero()[:, 0].tolist(), 0xcbf29ce484222325
            least = z[0][kept].min()
            for b in b''.join(i.to_bytes(4, 'little') for i in kept if z[0][i] > least): h = ((h ^ b) * 0x100000001b3) &
M
            out.write(f'{T} {k} {p} {m} {r} {0 if bad else len(kept)} {h:016x}\n')


main()
