#!/usr/bin/env python3
"""check_peft.py - whether PEFT reads an adapter that gram wrote, and whether both compute the same.

    python3 scripts/check_peft.py ADAPTER [GRAM]        GRAM: build/gram where it is not said

64 token ids, drawn by a seed, go through PEFT (the adapter on its base, float32), through `gram logits ADAPTER`, and
through `gram merge` and transformers; every logit of every position is compared. Of a reward model it is the reward,
and `gram merge` alone. Prints the largest differences beside the largest number, and how far the adapter itself moves
one; fails where a difference is more than 1e-4 of the largest, which is some hundred roundings of float32.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy
import peft
import safetensors
import torch
import transformers


HEAD = "base_model.model.score."


def compute(model, ids):
    with torch.no_grad():
        return model(ids).logits[0].numpy()


def main():
    adapter, gram = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "build/gram"
    config = json.loads((pathlib.Path(adapter) / "adapter_config.json").read_text())
    where, words, how = config["base_model_name_or_path"], config["task_type"] == "CAUSAL_LM", {}
    if not words:
        with safetensors.safe_open(pathlib.Path(adapter) / "adapter_model.safetensors", "np") as f:
            mlp = f.get_tensor(HEAD + "0.weight").shape[0] if HEAD + "0.weight" in f.keys() else 0
            how = {"num_labels": f.get_tensor(HEAD + ("2.weight" if mlp else "weight")).shape[0], "pad_token_id": 0}
    kind = transformers.AutoModelForCausalLM if words else transformers.AutoModelForSequenceClassification

    def load(path, **more):
        model = kind.from_pretrained(path, dtype=torch.float32, attn_implementation="eager", **more)
        if not words and mlp:               # what transformers does not know, in the place of its matrix
            linear = torch.nn.Linear
            model.score = torch.nn.Sequential(linear(model.config.hidden_size, mlp), torch.nn.ReLU(),
                                              linear(mlp, how["num_labels"]))
            if path != where:
                with safetensors.safe_open(pathlib.Path(path) / "model.safetensors", "pt") as f:
                    names = [n for n in f.keys() if n.startswith("score.")]
                    model.score.load_state_dict({n[len("score."):]: f.get_tensor(n) for n in names})
        return model

    base = load(where, **how)
    ids = torch.randint(1, base.config.vocab_size, (1, 64), generator=torch.Generator().manual_seed(0))
    plain = compute(base, ids)
    want = compute(peft.PeftModel.from_pretrained(base, adapter), ids)
    with tempfile.TemporaryDirectory() as tmp:
        if words:
            subprocess.run([gram, "logits", adapter, "--tokens", str(ids[0].tolist()), "--out", f"{tmp}/z.npy"],
                           check=True)
        got = numpy.load(f"{tmp}/z.npy") if words else None
        subprocess.run([gram, "merge", adapter, "--out", f"{tmp}/merged"], check=True)
        merged = compute(load(f"{tmp}/merged", **({} if words else {"pad_token_id": 0})), ids)
    top, off = numpy.abs(want).max(), [numpy.abs(x - want).max() for x in (merged, got) if x is not None]
    print(f"{adapter}: outputs up to {top:.4g}, which the adapter moves by up to {numpy.abs(want - plain).max():.4g}; "
          f"the merged model and PEFT differ by {off[0]:.2g}" + (f", gram and PEFT by {off[1]:.2g}" if words else ""))
    sys.exit(not max(off) <= 1e-4 * top)


if __name__ == "__main__":
    main()
