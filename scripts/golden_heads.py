#!/usr/bin/env python3
"""golden_heads.py - reward heads in the forms that trainers and model families save them in, by PyTorch, for
tests/api/test_heads.c: writes tests/golden/heads/.

Each directory is a tiny trunk of transformers' with a head of a few lines of PyTorch, written down in the layout of its
kind: the class in config.json, the names of the tensors, the files. heads.json holds, for each, the rewards of the
conversations of golden_rewards.py in their order, and the options that gram needs.
"""

import json
import pathlib
import shutil
import subprocess

import gguf
import peft
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch.nn import Linear, ReLU, SELU, Sequential

import golden_rewards as G

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "heads"
SMALL = dict(G.SMALL, num_hidden_layers=1)
GATE_MARK = "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
T = transformers


def spread(module, seed=5):
    """Weights and biases that are not all alike, large enough that a head left out or mixed up is seen."""
    g = torch.Generator().manual_seed(seed)
    for p in module.parameters():
        p.data = 0.5 * torch.randn(p.shape, generator=g)
    return module


class Writer(gguf.GGUFWriter):
    """The library's, which refuses the empty list of merges that a tokenizer of bytes has."""

    def _pack_val(self, val, vtype, add_vtype, sub_type=None):
        if vtype == gguf.GGUFValueType.ARRAY and len(val) == 0:
            head = self._pack("I", vtype) if add_vtype else b""
            return head + self._pack("I", sub_type or gguf.GGUFValueType.STRING) + self._pack("Q", 0)
        return super()._pack_val(val, vtype, add_vtype, sub_type)


class Maker:
    """A trunk with its tokenizer in OUT/name; what it was saved as is changed afterwards."""

    def __init__(self, name, config, words=False, llama3=False):
        self.dir = OUT / name
        special = G.LLAMA3_TOKENS if llama3 else G.CHATML_TOKENS
        self.tok = G.tokenizer(special, G.LLAMA3 if llama3 else G.CHATML, self.dir)
        config.vocab_size = 256 + len(special)
        torch.manual_seed(11)
        kind = T.AutoModelForCausalLM if words else T.AutoModel
        self.model = kind.from_config(config).eval()
        for p in self.model.parameters():
            if p.ndim == 1:
                p.data += 0.1 * torch.randn(p.shape)
        self.trunk = self.model.model if words else self.model
        self.words, self.more, self.width = words, {}, config.hidden_size

    def hidden(self, talk):
        ids = self.tok.apply_chat_template(talk, tokenize=True, return_tensors="pt", return_dict=True)["input_ids"]
        with torch.no_grad():
            return self.trunk(input_ids=ids).last_hidden_state[0], ids[0].tolist()

    def save(self, architecture, tensors, config=None, beside=None):
        """tensors: of the head, in the same file; beside: in a file of its own, {name of the file: tensors}."""
        self.model.save_pretrained(self.dir)
        for f in ("generation_config.json",):
            (self.dir / f).unlink(missing_ok=True)
        t = load_file(self.dir / "model.safetensors")
        if not self.words:
            t = {"model." + k: v for k, v in t.items()}
        t.update({k: v.detach().contiguous() for k, v in tensors.items()})
        save_file(t, self.dir / "model.safetensors", {"format": "pt"})
        for f, more in (beside or {}).items():
            save_file({k: v.detach().contiguous() for k, v in more.items()}, self.dir / f, {"format": "pt"})
        c = json.loads((self.dir / "config.json").read_text())
        for k in ("id2label", "label2id", "num_labels"):
            c.pop(k, None)
        c["architectures"] = [architecture] if architecture else None
        c.update(config or {})
        (self.dir / "config.json").write_text(json.dumps(c, indent=1) + "\n")


def named(module, stem):
    return {f"{stem}.{k}": v for k, v in module.state_dict().items()}


def rewards(maker, head):
    with torch.no_grad():
        return [float(head(*maker.hidden(t))) for t in G.TALKS]


def simple(name, config, head, stem, architecture, words=False, extra=None, more=None, beside=None):
    """One matrix or an MLP behind the last token."""
    m = Maker(name, config, words)
    spread(head)
    tensors = named(head, stem)
    if beside:
        m.save(architecture, {}, extra, {beside: tensors})
    else:
        m.save(architecture, {**tensors, **(more or {})}, extra)
    return {"rewards": rewards(m, lambda h, ids: head(h[-1]))}


def armo(name, outputs=5):
    """ArmoRM: a gate reads where the prompt ends."""
    m = Maker(name, T.LlamaConfig(**SMALL), llama3=True)
    W, mark = m.width, m.tok.encode(GATE_MARK, add_special_tokens=False)
    head = spread(Linear(W, outputs, bias=False))
    layers = [spread(Linear(W, 12), 6), spread(Linear(12, 8), 7), spread(Linear(8, outputs), 8)]
    matrix, scale, temperature = torch.eye(outputs) - 0.2 * torch.tril(torch.ones(outputs, outputs), -1), 1.25, 3.0

    def reward(h, ids):
        at = max(j for j in range(len(ids)) if ids[j : j + len(mark)] == mark)
        x = h[at]
        for i, layer in enumerate(layers):
            x = layer(x)
            x = torch.relu(x) if i + 1 < len(layers) else x
        g = torch.softmax(x / temperature, dim=-1) * scale
        return (g * (head(h[-1]) @ matrix)).sum()

    tensors = named(head, "regression_layer") | {
        "reward_transform_matrix": matrix,
        "gating.logit_scale": torch.tensor([scale]),
    }
    for i, layer in enumerate(layers):
        tensors |= named(layer, f"gating.layers.{i}")
    m.save(
        "LlamaForRewardModelWithGating",
        tensors,
        {
            "gating_temperature": temperature,
            "gating_hidden_dim": 12,
            "gating_n_hidden": 2,
            "num_objectives": outputs,
            "num_labels": outputs,
            "auto_map": {"AutoModelForSequenceClassification": "modeling_custom.Custom"},
        },
    )
    return {"rewards": rewards(m, reward)}


def urm(name, pairs=3):
    """URM: pairs of mean and spread, whose means a network weighs by the last token."""
    m = Maker(name, T.LlamaConfig(**SMALL), llama3=True)
    head = spread(Linear(m.width, 2 * pairs, bias=False))
    fc = spread(
        Sequential(Linear(m.width, m.width), SELU(), Linear(m.width, m.width), SELU(), Linear(m.width, pairs)), 6
    )
    m.save(
        "LlamaForSequenceClassificationWithNormal_Weights",
        named(head, "score") | named(fc, "weights.fc"),
        {"id2label": {str(i): f"LABEL_{i}" for i in range(2 * pairs)}},
    )
    return {"rewards": rewards(m, lambda h, ids: (fc(h[-1]) * head(h[-1])[::2]).sum())}


def weighed(name):
    """Several outputs, and a person who says how they become one."""
    m = Maker(name, T.Qwen3Config(**SMALL))
    head, w = spread(Linear(m.width, 3, bias=False)), torch.tensor([0.5, -1.0, 2.0])
    m.save("Qwen3ForSequenceClassification", named(head, "score"), {"id2label": {str(i): f"L{i}" for i in range(3)}})
    return {"rewards": rewards(m, lambda h, ids: head(h[-1]) @ w), "reward_weights": "0.5,-1,2"}


def token(name, rows):
    """A token's logit; rows False: of a head whose other rows are zeros."""
    m = Maker(name, T.LlamaConfig(**SMALL), words=True)
    spread(m.model.lm_head)
    if not rows:
        m.model.lm_head.weight.data[1:] = 0
    which = 7 if rows else 0
    m.save("LlamaForCausalLM", {})
    return {"rewards": rewards(m, lambda h, ids: m.model.lm_head(h[-1])[which]), "reward_token": str(which)}


def adapter(name, old):
    """PEFT's, of a sequence classifier; old: under the names that its first versions gave the head."""
    base = Maker(name + "-base", T.LlamaConfig(**SMALL), words=True)
    base.save("LlamaForCausalLM", {})
    c = T.AutoConfig.from_pretrained(base.dir)
    c.num_labels = 1
    torch.manual_seed(12)
    model = T.AutoModelForSequenceClassification.from_pretrained(base.dir, config=c, dtype=torch.float32)
    model = peft.get_peft_model(
        model, peft.LoraConfig(task_type="SEQ_CLS", r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"])
    )
    for k, p in model.named_parameters():
        if "lora_B" in k or "modules_to_save" in k:
            p.data = 0.5 * torch.randn(p.shape)
    model.eval()
    out = OUT / name
    model.save_pretrained(out)
    (out / "README.md").unlink(missing_ok=True)
    f = out / "adapter_config.json"
    f.write_text(
        json.dumps(json.loads(f.read_text()) | {"base_model_name_or_path": f"../{name}-base"}, indent=1) + "\n"
    )
    if old:
        t = load_file(out / "adapter_model.safetensors")
        t["base_model.model.score.modules_to_save.weight"] = t.pop("base_model.model.score.weight")
        t["base_model.model.score.original_module.weight"] = torch.ones(1, base.width)
        save_file(t, out / "adapter_model.safetensors", {"format": "pt"})

    def reward(talk):
        ids = base.tok.apply_chat_template(talk, tokenize=True, return_tensors="pt", return_dict=True)["input_ids"]
        with torch.no_grad():
            return float(model(input_ids=ids).logits[0, 0])

    return {"rewards": [reward(t) for t in G.TALKS]}


def adapter_beside(name):
    """LLaMA-Factory's: LoRA of a language model, and the head in a file of its own."""
    base = Maker(name + "-base", T.LlamaConfig(**SMALL), words=True)
    base.save("LlamaForCausalLM", {})
    model = peft.get_peft_model(
        base.model, peft.LoraConfig(task_type="CAUSAL_LM", r=2, lora_alpha=4, target_modules=["k_proj", "up_proj"])
    )
    torch.manual_seed(13)
    for k, p in model.named_parameters():
        if "lora_B" in k:
            p.data = 0.5 * torch.randn(p.shape)
    model.eval()
    out = OUT / name
    model.save_pretrained(out)
    (out / "README.md").unlink(missing_ok=True)
    f = out / "adapter_config.json"
    f.write_text(
        json.dumps(json.loads(f.read_text()) | {"base_model_name_or_path": f"../{name}-base"}, indent=1) + "\n"
    )
    head = spread(Linear(base.width, 1))
    save_file(
        {k: v.detach() for k, v in named(head, "v_head.summary").items()},
        out / "value_head.safetensors",
        {"format": "pt"},
    )
    return {"rewards": rewards(base, lambda h, ids: head(h[-1]))}


def add_to_gguf(path, tensors, keys):
    """The file again with tensors in the place of output.weight, and more keys."""
    r = gguf.GGUFReader(path)
    arch = r.get_field("general.architecture").contents()
    w = Writer(str(path) + ".new", arch)
    for f in r.fields.values():
        if not f.name.startswith("GGUF.") and f.name != "general.architecture":
            sub = f.types[-1] if len(f.types) > 1 else gguf.GGUFValueType.STRING
            w.add_key_value(f.name, f.contents(), f.types[0], sub_type=sub)
    for k, v in keys.items():
        w.add_key_value(k.replace("ARCH", arch), v, gguf.GGUFValueType.UINT32)
    for t in r.tensors:
        if t.name != "output.weight":
            w.add_tensor(t.name, t.data, raw_dtype=t.tensor_type)
    for k, v in tensors.items():
        w.add_tensor(k, v.detach().numpy())
    w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file(), w.close()
    pathlib.Path(str(path) + ".new").rename(path)


def in_gguf(name, dense):
    """llama.cpp's ranking head; dense: a tanh before it."""
    m = Maker(name + "-dir", T.Qwen2Config(**SMALL), words=True)
    m.save("Qwen2ForCausalLM", {})
    path = OUT / (name + ".gguf")
    path.unlink(missing_ok=True)
    subprocess.run(["build/gram", "convert", m.dir, "--out", path, "--dtype", "f32"], check=True, capture_output=True)
    head, first = spread(Linear(m.width, 1)), spread(Linear(m.width, m.width), 6)
    tensors = named(head, "cls.output") | (named(first, "cls") if dense else {})
    add_to_gguf(path, tensors, {"ARCH.pooling_type": 4})
    shutil.rmtree(m.dir)
    return {
        "rewards": rewards(m, lambda h, ids: head(torch.tanh(first(h[-1])) if dense else h[-1])),
        "path": name + ".gguf",
    }


def main():
    W, shutil_dir = SMALL["hidden_size"], OUT
    shutil.rmtree(shutil_dir, ignore_errors=True)
    out = {
        "openrlhf": simple(
            "openrlhf",
            T.LlamaConfig(**SMALL),
            Linear(W, 1, bias=False),
            "value_head",
            "RewardModel",
            extra={"value_head_prefix": "value_head", "mean": 0.5, "std": 2.0},
        ),
        "openrlhf-score": simple(
            "openrlhf-score",
            T.LlamaConfig(**SMALL),
            Linear(W, 1, bias=False),
            "score",
            "LlamaForSequenceClassification",
        ),
        "llamafactory": simple(
            "llamafactory",
            T.LlamaConfig(**SMALL),
            Linear(W, 1),
            "v_head.summary",
            "LlamaForCausalLM",
            words=True,
            beside="value_head.safetensors",
        ),
        "grm": simple(
            "grm",
            T.LlamaConfig(**SMALL),
            Sequential(Linear(W, 12), ReLU(), Linear(12, 1)),
            "v_head.summary",
            "LlamaForCausalLM",
            words=True,
        ),
        "ultrarm": simple(
            "ultrarm", T.MistralConfig(**SMALL), Linear(W, 1, bias=False), "regression_head", "LlamaRewardModel"
        ),
        "saferlhf": simple(
            "saferlhf",
            T.LlamaConfig(**SMALL),
            Linear(W, 1),
            "score_head",
            "LlamaForScore",
            extra={"do_normalize": False, "score_type": "reward", "score_dim": 1, "score_bias": True},
            more={"normalizer.mean": torch.ones(1), "normalizer.var": torch.ones(1)},
        ),
        "qwen2-rm": simple(
            "qwen2-rm",
            T.Qwen2Config(**SMALL),
            Sequential(Linear(W, 12, bias=False), ReLU(), Linear(12, 1, bias=False)),
            "score",
            "Qwen2ForRewardModel",
            extra={"id2label": {"0": "a", "1": "b", "2": "c"}},
        ),
        "rm_head": simple("rm_head", T.Qwen3Config(**SMALL), Linear(W, 1), "rm_head", None),
        "reward_head": simple(
            "reward_head", T.LlamaConfig(**SMALL), Linear(W, 1, bias=False), "reward_head", "LlamaModelForScore"
        ),
        "v_head": simple(
            "v_head", T.LlamaConfig(**SMALL), Linear(W, 1, bias=False), "v_head", "InternThingForPreference"
        ),
        "armo": armo("armo"),
        "urm": urm("urm"),
        "weighed": weighed("weighed"),
        "token": token("token", True),
        "nemotron": token("nemotron", False),
        "peft": adapter("peft", False),
        "peft-old": adapter("peft-old", True),
        "llamafactory-lora": adapter_beside("llamafactory-lora"),
        "cls": in_gguf("cls", False),
        "cls-tanh": in_gguf("cls-tanh", True),
    }
    (OUT / "heads.json").write_text(json.dumps({"talks": G.TALKS, "heads": out}, indent=1) + "\n")


if __name__ == "__main__":
    main()
