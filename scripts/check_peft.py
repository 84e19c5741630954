#!/usr/bin/env python3
"""check_peft.py - whether PEFT reads an adapter that gram wrote, and whether both compute the same.

    python3 scripts/check_peft.py ADAPTER [GRAM]        GRAM: build/gram where it is not said

64 token ids, drawn by a seed, go through PEFT (the adapter on its base, float32), through `gram logits ADAPTER`, and
through `gram merge` and transformers; every logit of every position is compared. Prints the largest differences beside
the largest logit, and how far the adapter itself moves a logit; fails where a difference is more than 1e-4 of the
largest logit, which is some hundred roundings of float32.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy
import peft
import torch
import transformers


def main():
    adapter, gram = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "build/gram"
    where = json.loads((pathlib.Path(adapter) / "adapter_config.json").read_text())["base_model_name_or_path"]
    base = transformers.AutoModelForCausalLM.from_pretrained(where, dtype=torch.float32, attn_implementation="eager")
    ids = torch.randint(0, base.config.vocab_size, (1, 64), generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), tempfile.TemporaryDirectory() as tmp:
        plain = base(ids).logits[0].numpy()
        want = peft.PeftModel.from_pretrained(base, adapter)(ids).logits[0].numpy()
        subprocess.run([gram, "logits", adapter, "--tokens", str(ids[0].tolist()), "--out", f"{tmp}/z.npy"], check=True)
        got = numpy.load(f"{tmp}/z.npy")
        subprocess.run([gram, "merge", adapter, "--out", f"{tmp}/merged"], check=True)
        merged = transformers.AutoModelForCausalLM.from_pretrained(f"{tmp}/merged", dtype=torch.float32,
                                                                   attn_implementation="eager")(ids).logits[0].numpy()
    top = numpy.abs(want).max()
    by_gram, by_merge = numpy.abs(got - want).max(), numpy.abs(merged - want).max()
    print(f"{adapter}: logits up to {top:.4g}, which the adapter moves by up to {numpy.abs(want - plain).max():.4g}; "
          f"gram and PEFT differ by {by_gram:.2g}, the merged model and PEFT by {by_merge:.2g}")
    sys.exit(not max(by_gram, by_merge) <= 1e-4 * top)


if __name__ == "__main__":
    main()
