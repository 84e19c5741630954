#!/usr/bin/env python3
"""golden_train.py - steps of both stages by PyTorch, and a tiny model that can read, for the tests of training.

    python3 scripts/golden_train.py             all of it; golden_models.py comes first
    python3 scripts/golden_train.py gradients [MODEL]   the train.json, and the adapters that no steps go with
    python3 scripts/golden_train.py losses rationale    this loss's steps alone, with the adapters that are there
    python3 scripts/golden_train.py NAME...     these models' steps alone, beside those of the others

tests/golden/train/MODEL/train.json, and that of two of tests/golden/models: of one pass over tokens.json the loss, the
label logits, each parameter's gradient as the three numbers below, and the label logits after a step of AdamW.
tests/golden/train/steps.json: for models of tests/golden/train, each loss, over every weight and with LoRA, losses and
gradient norms of 20 steps of AdamW; of each tensor its gradient in the first step and what it changed by after steps 1
and 20, as three numbers: the norm, the sum, and the dot product with cos(place), which a swap of two values changes.
"dropout LOSS" are LoRA with dropout, by the masks of src/op/dropout.h, whose keys src/model/trainee.c makes, and
"mlp LOSS" are a reward head with a hidden layer.
tests/golden/train/MODEL/lora/: the adapter that those start from, as PEFT writes it, with the label logits that PEFT
gives for tokens.json; of models with experts as PEFT writes it over a transformers that has them apart, which is played
here, and of qwen3_moe_stacked as it writes it where a layer's experts are parameters (target_parameters).
tests/golden/train/judge/: a checkpoint with a tokenizer of single bytes and a ChatML template.

The rows are made of tokens.json, here and in tests/train/test_train.c by the same rule: row i of order k has token j
of the list at (j + 7 i) % 96, plus 11 k from token 40 on, all modulo 256, and 60 + i tokens. Stage 1 learns order 0 of
each row from token 20 on.
"""
import json
import math
import pathlib
import re
import sys
import types

import peft
import numpy
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

import golden_models

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "train"
LABEL, EPS, PEAK, STEPS, WARMUP, BATCH, ROWS, ASKED = (65, 66), 0.05, 1e-3, 20, 2, 3, 6, 20

DROP, SEED, UNITS = 0.2, 9, 24

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

FUSED = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
MOE = {"r": 2, "lora_alpha": 3}
APART = ("../models/qwen3_moe", "../models/mixtral", "../models/olmoe", "../models/qwen2_moe")
STACKED = "../models/qwen3_moe_stacked"     # whose experts and router PEFT adapts as they are: no modules of Linear
ONE_LOSS = {                    # 20 steps of one loss, whole and with an adapter
    "../models/smollm3": {"r": 2, "lora_alpha": 3, "target_modules": ALL},
    "../models/olmo2": {"r": 2, "lora_alpha": 3, "target_modules": ALL},
    "../models/gemma": {"r": 2, "lora_alpha": 3, "target_modules": ALL},
    "../models/olmo3": {"r": 2, "lora_alpha": 3, "target_modules": ALL},
    "../models/phi3": {"r": 2, "lora_alpha": 3, "target_modules": FUSED},
    "../models/phi3_long": {"r": 3, "lora_alpha": 3, "use_rslora": True, "target_modules": ["qkv_proj"]},
    "../models/phi4_mini": {"r": 2, "lora_alpha": 4, "target_modules": ["gate_up_proj", "qkv_proj"]},
    **{name: MOE for name in APART},
    STACKED: {"r": 2, "lora_alpha": 3, "target_modules": ["q_proj", "v_proj"],
              "target_parameters": ["mlp.experts.gate_up_proj", "experts.down_proj", "mlp.gate.weight"]},
    "../models/internlm2": {"r": 2, "lora_alpha": 3, "target_modules": ["wqkv", "wo", "w1", "w2", "w3"]},
}
KEYS = {name: ("", "lora ", "dropout ") for name in ("../models/phi3", "../models/olmo2", "../models/qwen3_moe")}
KEYS[STACKED] = ("lora ",)


def rate(step):
    if step < WARMUP:
        return PEAK * (step + 1) / WARMUP
    return PEAK * 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP)))


def row(tokens, i, k):
    return [(tokens[(j + 7 * i) % 96] + (11 * k if j >= 40 else 0)) % 256 for j in range(60 + i)]


def pair_loss(eps):
    def one(model, tokens, i):
        loss = 0
        for k in range(2):
            z = model(torch.tensor([row(tokens, i, k)])).logits[0, -1]
            d = z[LABEL[k]] - z[LABEL[1 - k]]
            loss = loss + (-torch.nn.functional.logsigmoid(d) + eps * d) / 2
        return loss, 1
    return one


def written_loss(model, tokens, i):
    ids = torch.tensor([row(tokens, i, 0)])
    z = model(ids).logits[0, ASKED - 1:-1]
    return torch.nn.functional.cross_entropy(z, ids[0, ASKED:], reduction="sum"), ids.shape[1] - ASKED


def rationale_loss(model, tokens, i):
    """A text whose token 50 is a label, learnt over the two labels alone, with the weight 2."""
    ids = row(tokens, i, 0)
    ids[50] = LABEL[i % 2]
    z = model(torch.tensor([ids])).logits[0, ASKED - 1:-1]
    each = torch.nn.functional.cross_entropy(z, torch.tensor(ids[ASKED:]), reduction="none")
    k = 50 - ASKED
    d = z[k][LABEL[i % 2]] - z[k][LABEL[1 - i % 2]]
    text = each[:k].sum() + each[k + 1:].sum()
    return (1 + i / 4) * (text + 2 * (-torch.nn.functional.logsigmoid(d) + EPS * d)), len(ids) - ASKED


def score(outputs, width):
    return torch.tensor([[0.3 * math.sin(1 + 0.7 * c + 2.3 * k) for c in range(width)] for k in range(outputs)])


def nodes(n=96):
    """Of N(0,1): more than the C code takes, so that its 32 are judged too."""
    x, w = numpy.polynomial.hermite_e.hermegauss(n)
    return torch.tensor(x), torch.tensor(w / w.sum())


def scalar_loss(loss):
    """The loss of a batch: all of its rows at once, since bt-posreg takes their mean."""
    logsigmoid = torch.nn.functional.logsigmoid

    def batch(model, tokens, rows):
        total, lifted = 0, 0
        for i in rows:
            q, weight = {4: 0.8, 5: 0.5}.get(i, 1.0), 1 + i / 4
            hidden = [model.model(torch.tensor([row(tokens, i, k)])).last_hidden_state[0] for k in range(2)]
            y = [model.score(h[-1]) for h in hidden]
            d = y[0][0] - y[1][0]
            pair = lambda d, t: -t * logsigmoid(d) - (1 - t) * logsigmoid(-d)
            if loss == "purm":
                v = torch.sqrt(torch.exp(y[0][1] / 5) + torch.exp(y[1][1] / 5)).double()
                x, w = nodes()
                won = (w * torch.sigmoid(d.double() + v * x)).sum()
                one = -q * torch.log(won) - (1 - q) * torch.log(1 - won)
            elif loss == "bt-smooth":
                one = pair(d, q * 0.9 + (1 - q) * 0.1)
            elif loss == "bt-margin":
                one = pair(d - (0 if i == 5 else i / 2), q)
            else:
                one = pair(d, q)
            if loss == "sft-reg":
                ids = torch.tensor(row(tokens, i, 0))
                z = model.lm_head(hidden[0][39:-1]) / getattr(model.config, "logits_scaling", 1)
                cap = getattr(model.config, "final_logit_softcapping", None)
                z = cap * torch.tanh(z / cap) if cap else z
                log_p = -torch.nn.functional.cross_entropy(z, ids[40:], reduction="sum")
                one = 0.99 * one + (0 if i == 5 else 0.01 * -logsigmoid(0.1 * log_p))
            lifted = lifted + weight * (q * y[0][0] + (1 - q) * y[1][0]) / len(rows)
            total = total + weight * one / len(rows)
        return total - 0.1 * logsigmoid(lifted) if loss == "bt-posreg" else total
    return batch


def per_row(one):
    def batch(model, tokens, rows):
        each = [one(model, tokens, i) for i in rows]
        return sum(x for x, _ in each) / sum(n for _, n in each)
    return batch


def short(x):
    """A tree of numbers to 8 digits: ten times finer than a float32 is off, and the file stays small."""
    if isinstance(x, dict):
        return {k: short(v) for k, v in x.items()}
    return [short(v) for v in x] if isinstance(x, list) else float(f"{x:.8g}")


def summary(x):
    x = x.detach().double().flatten()
    place = torch.arange(x.numel(), dtype=torch.float64)
    return [x.norm().item(), x.sum().item(), (x @ place.cos()).item()]


def one_pass(name):
    model = load(name)
    opt = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0)
    last = lambda: model(torch.tensor([tokens_of(name)])).logits[0, -1]
    z = last()
    d = z[LABEL[0]] - z[LABEL[1]]
    loss = -torch.nn.functional.logsigmoid(d) + EPS * d
    loss.backward()
    grads = {k: summary(g) for n, p in model.named_parameters() for k, g in apart(model.config, n, p.grad).items()}
    opt.step()
    after = last()
    text = json.dumps(short({"loss": loss.item(), "label_logits": [z[i].item() for i in LABEL], "gradient": grads,
                             "label_logits_after_adamw_lr1e-3": [after[i].item() for i in LABEL]}), indent=1)
    (OUT / name / "train.json").write_text(re.sub(r"\n\s+(?=[-\d\]])", " ", text) + "\n")


def apart_stacked(experts, n, x):
    """PEFT's A or B of all experts of a layer, of which gate and up have one A."""
    at, part = n.split(".lora_")
    two = at.endswith(".base_layer")
    at = at.removesuffix(".base_layer")
    if part == "A.weight":
        first = "gate" if two else "down"
        return {f"{at}.{e}.{first}_proj.lora_A.weight": a for e, a in enumerate(x.reshape(experts, -1, x.shape[1]))}
    each = x.reshape(x.shape[0], -1, experts)
    kinds = ("gate", "up") if two else ("down",)
    return {f"{at}.{e}.{k}_proj.lora_B.weight": b for e in range(experts)
            for k, b in zip(kinds, each[:, :, e].chunk(len(kinds)))}


def apart(c, n, x):
    """A tensor, or the parts of a fused one, under the names that a Llama has; of an adapter B alone falls apart."""
    D = c.hidden_size // c.num_attention_heads
    q, kv = c.num_attention_heads * D, c.num_key_value_heads * D
    plain = {"tok_embeddings": "embed_tokens", "attention_norm": "input_layernorm", "attention.wo": "self_attn.o_proj",
             "ffn_norm": "post_attention_layernorm", "feed_forward.w1": "mlp.gate_proj",
             "feed_forward.w3": "mlp.up_proj", "feed_forward.w2": "mlp.down_proj", "output": "lm_head"}
    for end in (".weight", ".lora_B.weight"):
        if n.endswith("attention.wqkv" + end):
            at, each = n.removesuffix("attention.wqkv" + end), x.reshape(c.num_key_value_heads, -1, D, x.shape[1])
            parts = {"q": each[:, :-2], "k": each[:, -2], "v": each[:, -1]}
            return {f"{at}self_attn.{k}_proj{end}": x.reshape(-1, x.shape[-1]) for k, x in parts.items()}
        if n.endswith("qkv_proj" + end):
            at = n.removesuffix("qkv_proj" + end)
            return {f"{at}{k}_proj{end}": x for k, x in zip("qkv", x.split([q, kv, kv]))}
        if n.endswith("gate_up_proj" + end):
            at = n.removesuffix("gate_up_proj" + end)
            return {f"{at}{k}_proj{end}": x for k, x in zip(("gate", "up"), x.chunk(2))}
    if c.model_type in golden_models.EXPERTS and ".lora_" in n:
        if ".experts." in n and not re.search(r"experts\.\d", n):
            return apart_stacked(c.num_experts, n, x)
        return {golden_models.in_file(c.model_type, n): x}
    if c.model_type in golden_models.EXPERTS:
        return golden_models.apart({n: x})
    if c.model_type == "internlm2" and "lora_" not in n:
        for a, b in plain.items():
            n = n.replace(a, b)
    return {n: x}


class Config(dict):
    """Of a model that transformers has no class of."""

    def __getattr__(self, name):
        if name not in self:
            raise AttributeError(name)
        return self[name]


class InternLM2(golden_models.InternLM2):
    """golden_models.py's, its matrices in modules that PEFT finds, with the face of a model of transformers."""

    def __init__(self, path):
        torch.nn.Module.__init__(self)
        self.config = c = Config(json.loads((path / "config.json").read_text()))
        self.D = c.hidden_size // c.num_attention_heads
        self.groups = c.num_attention_heads // c.num_key_value_heads
        for n, w in load_file(path / "model.safetensors").items():
            at, words = self, n.removesuffix(".weight").split(".")
            for word in words[:-1]:
                if not hasattr(at, word):
                    at.add_module(word, torch.nn.Module())
                at = getattr(at, word)
            leaf = torch.nn.Linear(w.shape[1], w.shape[0], bias=False) if w.ndim == 2 else torch.nn.Module()
            leaf.weight = torch.nn.Parameter(w.float())
            at.add_module(words[-1], leaf)

    def w(self, name):
        at = self.get_submodule(name)
        return at.base_layer.weight + at.get_delta_weight("default") if hasattr(at, "lora_A") else at.weight

    def prepare_inputs_for_generation(self, **kwargs):
        return kwargs

    def forward(self, input_ids, **kwargs):
        return types.SimpleNamespace(logits=golden_models.InternLM2.forward(self, input_ids[0].tolist())[None])


def tokens_of(name):
    return json.loads((OUT / name / "tokens.json").read_text())


def load(name):
    if json.loads((OUT / name / "config.json").read_text())["model_type"] == "internlm2":
        return InternLM2(OUT / name)
    return transformers.AutoModelForCausalLM.from_pretrained(OUT / name, dtype=torch.float32,
                                                             attn_implementation="eager",
                                                             experts_implementation="eager")


def beside(linear, rank, scale):
    """A and B beside a matrix [out, in] of PyTorch, in the words of PEFT's linear layers."""
    linear.lora_A = torch.nn.Linear(linear.in_features, rank, bias=False)
    linear.lora_B = torch.nn.Linear(rank, linear.out_features, bias=False)
    linear.lora_dropout = torch.nn.ModuleDict({"default": torch.nn.Identity()})
    linear.lora_B.weight.data.normal_(0, 0.1)

    def forward(x, *rows):
        plain = torch.nn.functional.linear(x, linear.weight, linear.bias)
        return plain + scale * linear.lora_B(linear.lora_A(linear.lora_dropout["default"](x, *rows)))
    linear.forward = forward


def split_experts(experts, rank, scale):
    """Three matrices an expert, each with its A and B, as PEFT has adapted them where transformers has them apart."""
    for e in range(experts.num_experts):
        one = torch.nn.Module()
        for which, w in zip(ALL[4:], (*experts.gate_up_proj[e].chunk(2), experts.down_proj[e])):
            linear = torch.nn.Linear(w.shape[1], w.shape[0], bias=False)
            linear.weight = torch.nn.Parameter(w.detach().clone())
            beside(linear, rank, scale)
            setattr(one, which, linear)
        experts.add_module(str(e), one)
    del experts.gate_up_proj, experts.down_proj

    def forward(x, chosen, weight):
        out = torch.zeros_like(x)
        for e in range(experts.num_experts):
            one, (rows, place) = getattr(experts, str(e)), torch.where(chosen == e)
            drops = [] if isinstance(one.up_proj.lora_dropout["default"], torch.nn.Identity) else [rows]
            act = torch.nn.functional.silu(one.gate_proj(x[rows], *drops)) * one.up_proj(x[rows], *drops)
            out = out.index_add(0, rows, one.down_proj(act, *drops) * weight[rows, place, None])
        return out
    experts.forward = forward


def adapt_experts(model, rank, scale):
    """PEFT cannot: its adapters of stacked experts are others."""
    for layer in model.model.layers:
        for which in ALL[:4]:
            beside(getattr(layer.self_attn, which), rank, scale)
        if hasattr(layer.mlp, "experts"):
            split_experts(layer.mlp.experts, rank, scale)
        for which in ALL[4:] if hasattr(layer.mlp, "shared_expert") or not hasattr(layer.mlp, "experts") else []:
            beside(getattr(getattr(layer.mlp, "shared_expert", layer.mlp), which), rank, scale)
    for n, p in model.named_parameters():
        p.requires_grad = "lora_" in n


def make_experts_adapter(name):
    torch.manual_seed(5)
    model = load(name)
    adapt_experts(model, MOE["r"], MOE["lora_alpha"] / MOE["r"])
    out = OUT / name / "lora"
    out.mkdir(exist_ok=True)
    kind = model.config.model_type
    save_file({"base_model.model." + golden_models.in_file(kind, n): p.detach().contiguous()
               for n, p in sorted(model.named_parameters()) if "lora_" in n}, out / "adapter_model.safetensors",
              metadata={"format": "pt"})
    (out / "adapter_config.json").write_text(json.dumps(MOE | {
        "base_model_name_or_path": "..", "bias": "none", "lora_dropout": 0.0, "peft_type": "LORA",
        "target_modules": [golden_models.in_file(kind, f".{n}.").strip(".") for n in ALL],
        "task_type": "CAUSAL_LM"}, indent=1, sort_keys=True) + "\n")
    z = model(torch.tensor([tokens_of(name)])).logits[0, -1]
    (out / "logits.json").write_text(json.dumps([z[i].item() for i in LABEL]) + "\n")


def open_adapter(name, model):
    if name not in APART:
        peft.PeftModel.from_pretrained(model, OUT / name / "lora", is_trainable=True)   # it changes model itself
        return
    adapt_experts(model, MOE["r"], MOE["lora_alpha"] / MOE["r"])
    names = {golden_models.in_file(model.config.model_type, n): n for n, _ in model.named_parameters()}
    for n, w in load_file(OUT / name / "lora" / "adapter_model.safetensors").items():
        model.get_parameter(names[n.removeprefix("base_model.model.")]).data = w


def make_adapter(name, to="lora", **how):
    """An adapter whose B is not zero, so that A has gradients in the first step. What it trains beside A and B has
    moved, too."""
    if name in APART and to == "lora":
        make_experts_adapter(name)
        return
    torch.manual_seed(5)
    model = peft.get_peft_model(load(name), peft.LoraConfig(task_type="CAUSAL_LM", **how))
    for n, p in model.named_parameters():
        if "lora_B" in n:
            p.data.normal_(0, 0.1)
        elif p.requires_grad and "lora_A" not in n:
            p.data.mul_(1 + 0.3 * torch.randn(p.shape)).add_(0.1 * torch.randn(p.shape) * ("bias" in n))
    model.peft_config["default"].base_model_name_or_path = ".."
    out = OUT / name / to
    model.save_pretrained(out)
    (out / "README.md").unlink()
    z = model(torch.tensor([tokens_of(name)])).logits[0, -1]
    (out / "logits.json").write_text(json.dumps([z[i].item() for i in LABEL]) + "\n")


def mix(z):
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9 & 2**64 - 1
    z = (z ^ z >> 27) * 0x94d049bb133111eb & 2**64 - 1
    return z ^ z >> 31


def beneath(state, word):
    golden = 0x9e3779b97f4a7c15
    return mix((mix((state + golden) & 2**64 - 1) ^ word) + golden & 2**64 - 1)


class Dropout(torch.nn.Module):
    """In the place of an adapter's: the mask of each row follows from the tokens up to it."""
    now = {"step": 0, "rows": []}

    def __init__(self, matrix, expert=None):
        super().__init__()
        self.matrix = matrix
        self.expert = expert            # which of the experts' matrices

    @classmethod
    def see(cls, module, args, kwargs):
        key, cls.now["rows"] = 0, []
        for token in (kwargs["input_ids"] if "input_ids" in kwargs else args[0])[0].tolist():
            key = beneath(key, token)
            cls.now["rows"].append(key)

    def forward(self, x, rows=None):
        """x: of all rows, [1, T, K], or of those that an expert gets, [n, K]."""
        key = beneath(beneath(beneath(0, SEED), self.now["step"]), self.matrix)
        key = key if self.expert is None else beneath(key, self.expert)
        mask = torch.empty(x.shape if rows is not None else x.shape[1:])
        for t, row in enumerate(self.now["rows"] if rows is None else [self.now["rows"][r] for r in rows]):
            state = beneath(key, row)
            draws = [mix(state + 0x9e3779b97f4a7c15 * (i + 1) & 2**64 - 1) for i in range(x.shape[-1] // 4)]
            chance = [z >> shift & 0xffff for z in draws for shift in (0, 16, 32, 48)]
            mask[t] = torch.tensor([float(x >= int(DROP * 2**16)) for x in chance])
        return x * mask / (1 - DROP)


def add_dropout(model):
    model.model.register_forward_pre_hook(Dropout.see, with_kwargs=True)
    for i, layer in enumerate(model.model.layers):
        for k, which in [*enumerate(ALL), (0, "qkv_proj"), (4, "gate_up_proj")]:
            matrix = getattr(layer.mlp if k > 3 else layer.self_attn, which, None)
            experts = getattr(layer.mlp, "experts", None) if which in ALL[4:] else None
            for e in range(experts.num_experts if experts else 0):
                one = getattr(getattr(experts, str(e)), which)
                one.lora_dropout["default"] = Dropout(i * len(ALL) + k, len(ALL) + 1 + 3 * e + k - 4)
            if hasattr(matrix, "lora_dropout"):
                matrix.lora_dropout["default"] = Dropout(i * len(ALL) + k)


def head(outputs, width, mlp):
    """One matrix, or GRM's MLP, as the code of its frozen baseline puts it in score's place."""
    linear = torch.nn.Linear
    new = torch.nn.Sequential(linear(width, UNITS), torch.nn.ReLU(), linear(UNITS, outputs)) if mlp else \
        linear(width, outputs, bias=False)
    for p in new.parameters():
        p.data = score(*p.shape) if p.ndim > 1 else score(1, p.numel())[0]
    return new


def run(name, one, lora=False, outputs=0, dropout=False, mlp=False):
    torch.manual_seed(0)
    tokens = tokens_of(name)
    model = load(name)
    if lora:
        open_adapter(name, model)
    if dropout:
        add_dropout(model)
    if outputs:
        model.score = head(outputs, model.config.hidden_size, mlp)
    params = {"base_model.model." * lora + n.replace(".default", ""): p for n, p in model.named_parameters()
              if p.requires_grad}
    opt = torch.optim.AdamW([{"params": [p for p in params.values() if p.ndim > 1], "weight_decay": 0.01},
                             {"params": [p for p in params.values() if p.ndim == 1], "weight_decay": 0.0}])
    begun = {n: p.detach().clone() for n, p in params.items()}
    out = {"loss": [], "norm": [], "tensor": {}}
    for step in range(STEPS):
        opt.zero_grad()
        Dropout.now["step"] = step
        for group in opt.param_groups:
            group["lr"] = rate(step)
        loss = one(model, tokens, [(step * BATCH + b) % ROWS for b in range(BATCH)])
        loss.backward()
        out["loss"].append(loss.item())
        params = {n: p for n, p in params.items() if p.grad is not None}
        if step == 0:
            out["tensor"] = {k: summary(x) for n, p in params.items() for k, x in apart(model.config, n,
p.grad).items()}
        out["norm"].append(torch.nn.utils.clip_grad_norm_(params.values(), 1.0).item())
        opt.step()
        if step + 1 in (1, STEPS):
            for n, p in params.items():
                for k, x in apart(model.config, n, p - begun[n]).items():
                    out["tensor"][k] += summary(x)
    return out


def make_judge(out):
    """Byte tokens, the marks of ChatML, and seeded weights."""
    torch.manual_seed(1)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tok = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(special + alphabet)}, merges=[]))
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    config = transformers.LlamaConfig(vocab_size=259, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                                      num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=2048,
                                      tie_word_embeddings=True, initializer_range=0.08, bos_token_id=1, eos_token_id=2)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(out)
    (out / "generation_config.json").unlink(missing_ok=True)
    tok.save(str(out / "tokenizer.json"))
    template = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
                "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
                "{% endif %}")
    (out / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": special[1], "eos_token": special[2],
        "chat_template": template}, indent=1) + "\n")


def add_losses(names):
    steps = json.loads((OUT / "steps.json").read_text())
    for name in steps:
        for loss in names:
            for adapters in (False, True):
                steps[name]["lora " * adapters + loss] = run(name, per_row({"rationale": rationale_loss}[loss]),
adapters)
    (OUT / "steps.json").write_text(json.dumps(short(steps), indent=None, separators=(",", ":")) + "\n")


def make_doras():
    """Adapters that are opened and merged, and not trained further."""
    make_adapter("llama_gqa", "dora", r=3, lora_alpha=6, use_dora=True, target_modules=["q_proj", "o_proj", "up_proj"])
    make_adapter("../models/phi3", "dora", r=2, lora_alpha=3, use_dora=True,
                 target_modules=["qkv_proj", "gate_up_proj"])
    make_adapter("qwen2_bias", "dora", r=2, lora_alpha=3, use_dora=True, bias="lora_only",
                 target_modules=["q_proj", "v_proj", "down_proj"])
    make_adapter("qwen2_bias", "biases", r=2, lora_alpha=3, bias="all", target_modules=["k_proj", "o_proj"])


def make_stacked():
    """Of a model whose file has experts apart, as PEFT makes it over transformers 5."""
    make_adapter("../models/mixtral", "stacked", **ONE_LOSS[STACKED])


def main():
    torch.set_num_threads(1)
    if sys.argv[1:] == ["doras"]:
        return make_doras()
    if sys.argv[1:2] == ["losses"]:
        return add_losses(sys.argv[2:])
    only = [x for x in sys.argv[1:] if x != "gradients"]
    for name in ("llama_gqa", "qwen2_bias", "qwen3_headdim", "mistral_window", "gemma3_text",
                 "../models/qwen3_head320", "../models/gemma3_head512", "../models/smollm3", "../models/olmo2",
                 "../models/gemma", "../models/granite", "../models/olmo3",
                 "../models/phi3", "../models/phi3_long", "../models/phi4_mini", "../models/internlm2",
                 "../models/gemma2", *APART, STACKED):
        if not only or name in only:
            one_pass(name)
    if sys.argv[1:2] == ["gradients"]:
        return
    steps = {}
    lora = {"llama_gqa": {"r": 4, "lora_alpha": 6, "target_modules": ALL},
            "qwen2_bias": {"r": 1, "lora_alpha": 2, "target_modules": ["v_proj", "up_proj"]},
            "gemma3_text": {"r": 3, "lora_alpha": 3, "use_rslora": True, "target_modules": ALL},
            "../models/gemma2": {"r": 2, "lora_alpha": 4, "target_modules": ALL},
            "../models/granite": {"r": 2, "lora_alpha": 3, "target_modules": ALL}}
    if only:
        steps = json.loads((OUT / "steps.json").read_text())
    if not only:
        make_doras()
        make_stacked()
    for name in only or ONE_LOSS:
        if name in ONE_LOSS:
            make_adapter(name, **ONE_LOSS[name])
            steps[name] = {key + "gram": run(name, per_row(pair_loss(EPS)), key != "", dropout=key == "dropout ")
                           for key in KEYS.get(name, ("", "lora "))}
    for name in [n for n in only or lora if n in lora]:
        make_adapter(name, **lora[name])
        each = {"gram": per_row(pair_loss(EPS)), "pretrain": per_row(written_loss), "rationale":
per_row(rationale_loss)}
        scalar = ("bt", "sft-reg")
        if name == "llama_gqa":
            each["generative"] = per_row(pair_loss(0))
            scalar = ("bt", "bt-margin", "bt-smooth", "bt-posreg", "sft-reg", "purm")
        steps[name] = {}
        for adapters in (False, True):
            for loss in list(each) + list(scalar):
                one = each[loss] if loss in each else scalar_loss(loss)
                outputs = 0 if loss in each else 2 if loss == "purm" else 1
                steps[name]["lora " * adapters + loss] = run(name, one, adapters, outputs)
        for loss in ("gram", "pretrain", "bt") if name == "llama_gqa" else ("gram",):
            one = each[loss] if loss in each else scalar_loss(loss)
            steps[name]["dropout " + loss] = run(name, one, True, 0 if loss in each else 1, True)
        mlp = ("mlp bt", "mlp sft-reg", "mlp purm", "lora mlp bt", "lora mlp sft-reg")
        for key in mlp if name == "llama_gqa" else ():
            loss = key.split()[-1]
            steps[name][key] = run(name, scalar_loss(loss), "lora" in key, 2 if loss == "purm" else 1, mlp=True)
    (OUT / "steps.json").write_text(json.dumps(short(steps), indent=None, separators=(",", ":")) + "\n")
    if not only:
        make_judge(OUT / "judge")


if __name__ == "__main__":
    main()
