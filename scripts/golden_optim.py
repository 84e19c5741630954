#!/usr/bin/env python3
"""golden_optim.py - 20 steps of torch.optim.AdamW with clipping and a cosine schedule: tests/golden/optim.json.

    python3 scripts/golden_optim.py

Weights and gradients are small whole numbers over 64, so that decimal text holds them exactly; the gradients of step s
are those of the file times (s % 5) - 2.
"""
import json
import math
import pathlib

import torch

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "optim.json"
STEPS, WARMUP, PEAK, DECAY, CLIP = 20, 4, 1e-2, 0.1, 1.0


def rate(step):
    if step < WARMUP:
        return PEAK * (step + 1) / WARMUP
    return PEAK * 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP)))


def main():
    torch.manual_seed(4)
    shapes = [(5, 7), (9,)]                         # a matrix, which decays, and a norm's weights, which do not
    start = [torch.randint(-64, 65, s).float() / 64 for s in shapes]
    grads = [torch.randint(-64, 65, s).float() / 64 for s in shapes]
    params = [torch.nn.Parameter(x.clone()) for x in start]
    opt = torch.optim.AdamW([{"params": params[:1], "weight_decay": DECAY},
                             {"params": params[1:], "weight_decay": 0.0}], foreach=False)
    norms = []
    for step in range(STEPS):
        for group in opt.param_groups:
            group["lr"] = rate(step)
        for p, g in zip(params, grads):
            p.grad = g * (step % 5 - 2)
        norms.append(torch.nn.utils.clip_grad_norm_(params, CLIP).item())
        opt.step()
    OUT.write_text(json.dumps({
        "steps": STEPS, "warmup": WARMUP, "peak": PEAK, "decay": DECAY, "clip": CLIP, "norm": norms,
        "rate": [rate(s) for s in range(STEPS)], "start": [x.flatten().tolist() for x in start],
        "grad": [x.flatten().tolist() for x in grads],
        "end": [p.detach().flatten().tolist() for p in params],
        "v": [opt.state[p]["exp_avg_sq"].flatten().tolist() for p in params]}, indent=1) + "\n")


if __name__ == "__main__":
    main()
