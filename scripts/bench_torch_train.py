#!/usr/bin/env python3
"""bench_torch_train.py - steps of training with transformers and torch's AdamW in float32, or with its products in
bfloat16 by autocast: one line of JSON.

    bench_torch_train.py HF_DIR two|full THREADS STEPS [autocast] < IDS

IDS are lines of token ids with a space between them, as for bench_train, and all of them are one step's batch. Each
sequence is read alone, so that torch computes no padding; gradients add up, are clipped to norm 1, and AdamW (fused)
takes the step. two computes the logits of the last position only. The best step counts, the first is not timed.
"""
import json
import resource
import sys
import time

import torch
import transformers

LABELS = [49, 50]


def loss_of(model, ids, kind, sequences, targets):
    if kind == "two":
        logits = model(ids, logits_to_keep=1).logits[0, -1, LABELS]
        return torch.nn.functional.cross_entropy(logits[None], torch.tensor([0])) / sequences
    logits = model(ids).logits[0, :-1]
    return torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum") / targets


def main(directory, kind, threads, steps, how="float32"):
    torch.set_num_threads(int(threads))
    transformers.utils.logging.disable_progress_bar()
    model = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).train()
    model.config.use_cache = False
    adam = torch.optim.AdamW(model.parameters(), lr=1e-6, weight_decay=0, fused=True)
    ids = [torch.tensor([[int(i) for i in line.split()]]) for line in sys.stdin if line.strip()]
    tokens = sum(i.shape[1] for i in ids)
    best = float("inf")
    for step in range(int(steps) + 1):
        start = time.monotonic()
        adam.zero_grad()
        total = 0.0
        for sequence in ids:
            with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
                loss = loss_of(model, sequence, kind, len(ids), tokens - len(ids))
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        if step:
            best = min(best, time.monotonic() - start)
    print(json.dumps({"sequences": len(ids), "tokens": tokens, "seconds": round(best, 4), "loss": round(total, 6),
                      "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


if __name__ == "__main__":
    if len(sys.argv) not in (5, 6):
        sys.exit(__doc__)
    main(*sys.argv[1:])
