#!/usr/bin/env python3
"""bench_transformers.py - transformers in float32, or bfloat16, over given token sequences: one line of JSON.

    bench_transformers.py HF_DIR THREADS [float32|bfloat16] < IDS

IDS are lines of token ids with a space between them, as for bench_llamacpp. Each sequence is read alone and whole, and
only its last position's logits are computed. The first is read once more before the clock starts.
"""
import json
import sys
import time

import torch
import transformers


def main(directory, threads, dtype="float32"):
    torch.set_num_threads(int(threads))
    transformers.utils.logging.disable_progress_bar()
    model = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=getattr(torch, dtype)).eval()
    ids = [torch.tensor([[int(i) for i in line.split()]]) for line in sys.stdin if line.strip()]
    with torch.no_grad():
        model(ids[0], logits_to_keep=1)
        start = time.monotonic()
        for sequence in ids:
            model(sequence, logits_to_keep=1)
        seconds = time.monotonic() - start
    print(json.dumps({"sequences": len(ids), "tokens": sum(i.shape[1] for i in ids), "seconds": round(seconds, 4)}))


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(*sys.argv[1:])
