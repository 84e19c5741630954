#!/usr/bin/env python3
"""models_table.py - what gram makes of the layouts of popular reward models and judges: writes docs/models.md.

    python3 scripts/models_table.py [NAME...]       NAME: a part of a row's name; then the table goes to stdout

Each row of the table is built as a tiny model with random weights in the layout of its kind (class, names of the head's
tensors, labels, rope, template family), read by build/gram, and compared with transformers, or a few lines of PyTorch,
on the same conversations. A row is right when every number agrees and what gram cannot do is refused by name. No real
weights are read, and the templates here are short ones of the same form as the models' own.
"""

import json
import math
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import types
import urllib.request

import torch
import transformers as T
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from torch.nn import Linear, ReLU, SELU, Sequential

import golden_models

ROOT = pathlib.Path(__file__).resolve().parent.parent
GRAM = os.environ.get("GRAM", ROOT / "build" / "gram")
WORK = pathlib.Path(tempfile.mkdtemp(prefix="gram-models-"))
SMALL = dict(
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=8,
    max_position_embeddings=2048,
    initializer_range=0.3,
)
SCALED = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "rope_theta": 500000.0,
    "original_max_position_embeddings": 64,
}
TALKS = [
    [{"role": "user", "content": "Why is the sky blue?"}, {"role": "assistant", "content": "Rayleigh scattering."}],
    [
        {"role": "system", "content": "Be terse."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "A prime?"},
        {"role": "assistant", "content": "7"},
    ],
]
OTHER = "It is painted, and nobody knows by whom."
TOLERANCE = 1e-4  # two layers in float32 against float32: the numbers are about 1, the differences about 1e-6

# ---- Templates, one of each family ---------------------------------------------------------------------------------

LOOP, END = "{% for m in messages %}", "{% endfor %}"
CHATML = (
    LOOP
    + "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}"
    + END
    + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CHATML_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nPlease reason step by step.<|im_end|>\n' }}"
    "{% endif %}" + CHATML
)
QWEN3 = (
    LOOP
    + "{% if m['role'] == 'assistant' and loop.last %}"
    "{{ '<|im_start|>assistant\n<think>\n\n</think>\n\n' + m['content']"
    " + '<|im_end|>\n' }}{% else %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endif %}"
    + END
    + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and enable_thinking is "
    "false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
OPENS_THINK = CHATML.replace("'<|im_start|>assistant\n'", "'<|im_start|>assistant\n<think>\n'")
LLAMA3 = (
    "{{ bos_token }}" + LOOP + "{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] | trim + "
    "'<|eot_id|>' }}"
    + END
    + "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
DATED = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] | trim %}"
    "{% set messages = messages[1:] %}{% else %}{% set system = '' %}{% endif %}"
    "{{ '<|start_header_id|>system<|end_header_id|>\n\n' }}{{ 'Cutting Knowledge Date: December 2023\n' }}"
    "{{ 'Today Date: 26 Jul 2024\n\n' }}{{ system }}{{ '<|eot_id|>' }}" + LLAMA3.replace("{{ bos_token }}", "")
)
TULU = (
    LOOP + "{{ '<|' + m['role'] + '|>\n' + m['content'] }}{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% if not loop.last %}{{ '\n' }}{% endif %}"
    + END
    + "{% if add_generation_prompt %}{{ '\n<|assistant|>\n' }}{% endif %}"
)
DEEPSEEK = (
    "{{ bos_token }}"
    + LOOP
    + "{% if m['role'] == 'user' %}{{ '<|User|>' + m['content'] }}{% elif m['role'] == 'assistant' %}"
    "{{ '<|Assistant|>' + m['content'] + eos_token }}{% else %}{{ m['content'] }}{% endif %}"
    + END
    + "{% if add_generation_prompt %}{{ '<|Assistant|><think>\n' }}{% endif %}"
)
PHI4 = (
    LOOP
    + "{{ '<|im_start|>' + m['role'] + '<|im_sep|>' + m['content'] + '<|im_end|>' }}"
    + END
    + "{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}" + LOOP + "{% if m['role'] == 'assistant' %}{{ ' ' + m['content'] + eos_token }}{% else %}"
    "{{ '[INST] ' + m['content'] + ' [/INST]' }}{% endif %}" + END
)
HUMAN = (
    LOOP
    + "{% if m['role'] == 'assistant' %}{{ '\nAssistant: ' + m['content'] }}"
    "{% else %}{{ ('\n' if not loop.first else '') + "
    "'Human: ' + m['content'] }}{% endif %}" + END + "{% if add_generation_prompt %}{{ '\nAssistant:' }}{% endif %}"
)
VICUNA = (
    LOOP
    + "{% if m['role'] == 'assistant' %}{{ 'ASSISTANT: ' + m['content'] + eos_token }}"
    "{% else %}{{ 'USER: ' + m['content'] + "
    "' ' }}{% endif %}" + END + "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
PLAIN = LOOP + "{{ m['content'] }}" + END

GEMMA = (
    "{{ bos_token }}" + LOOP + "{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' + "
    "m['content'] | trim + '<end_of_turn>\n' }}"
    + END
    + "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)

CHATML_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|im_sep|>", "<think>", "</think>"]
LLAMA3_TOKENS = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|end_of_text|>"]
GEMMA_TOKENS = ["<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"]
PAIR_TOKENS = ["<s>", "</s>", "<|User|>", "<|Assistant|>", "<|user|>", "<|assistant|>", "[INST]", "[/INST]"]
WORDS = [("y", "e"), ("ye", "s"), ("n", "o")]  # so that "yes" and "no" are tokens


# ---- Building ------------------------------------------------------------------------------------------------------


def tokenizer(out, special, template, eos):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {t: i for i, t in enumerate(special + alphabet + ["".join(w) for w in WORDS])}
    tok = Tokenizer(models.BPE(vocab=vocab, merges=WORDS))
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    out.mkdir(parents=True, exist_ok=True)
    tok.save(str(out / "tokenizer.json"))
    facts = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": special[0],
        "eos_token": eos,
        "add_bos_token": False,
    }
    if template:
        facts["chat_template"] = template
    (out / "tokenizer_config.json").write_text(json.dumps(facts, indent=1))
    return T.AutoTokenizer.from_pretrained(out), len(vocab)


FAMILY = {  # config, special tokens, template, eos
    "llama31": (lambda: T.LlamaConfig(**SMALL, rope_parameters=SCALED), LLAMA3_TOKENS, DATED, "<|eot_id|>"),
    "llama3": (lambda: T.LlamaConfig(**SMALL), LLAMA3_TOKENS, LLAMA3, "<|eot_id|>"),
    "qwen3": (lambda: T.Qwen3Config(**SMALL), CHATML_TOKENS, QWEN3, "<|im_end|>"),
    "qwen2": (lambda: T.Qwen2Config(**SMALL), CHATML_TOKENS, CHATML_SYSTEM, "<|im_end|>"),
    "mistral": (lambda: T.MistralConfig(**SMALL, sliding_window=None), PAIR_TOKENS, MISTRAL, "</s>"),
    # Every second layer slides, and caps that are felt; eager, since the others leave the cap of the scores out.
    "gemma2": (
        lambda: T.Gemma2Config(
            **SMALL,
            query_pre_attn_scalar=8,
            sliding_window=32,
            attn_logit_softcapping=1.0,
            final_logit_softcapping=2.0,
            attn_implementation="eager",
        ),
        GEMMA_TOKENS,
        GEMMA,
        "<eos>",
    ),
    "gemma": (lambda: T.GemmaConfig(**SMALL), GEMMA_TOKENS, GEMMA, "<eos>"),
    "llama2": (lambda: T.LlamaConfig(**SMALL), PAIR_TOKENS, HUMAN, "</s>"),
}


class Model:
    """A directory WORK/name. head None: of a language model; otherwise (hidden states, ids) -> reward."""

    def __init__(self, name, family, words=False, template=None, pad=None, tied=False):
        config, special, own, eos = FAMILY[family]
        self.dir = WORK / name
        self.tok, n = tokenizer(self.dir, special, own if template is None else template, eos)
        c = config()
        c.vocab_size, c.tie_word_embeddings = n, tied
        if pad:
            c.pad_token_id = self.tok.convert_tokens_to_ids(pad)
        torch.manual_seed(len(name))
        self.model = (T.AutoModelForCausalLM if words else T.AutoModel).from_config(c).eval()
        for p in self.model.parameters():
            if p.ndim == 1:
                p.data += 0.1 * torch.randn(p.shape)
        self.trunk, self.words, self.width = self.model.model if words else self.model, words, c.hidden_size

    def ids(self, talk, **more):
        text = talk if isinstance(talk, str) else self.tok.apply_chat_template(talk, tokenize=False, **more)
        return self.tok.encode(text, add_special_tokens=False)

    def hidden(self, ids):
        with torch.no_grad():
            return self.trunk(input_ids=torch.tensor([ids])).last_hidden_state[0]

    def save(self, architecture, tensors=None, config=None, beside=None):
        self.model.save_pretrained(self.dir)
        (self.dir / "generation_config.json").unlink(missing_ok=True)
        t = load_file(self.dir / "model.safetensors")
        if not self.words:
            t = {"model." + k: v for k, v in t.items()}
        t |= {k: v.detach().contiguous() for k, v in (tensors or {}).items()}
        save_file(t, self.dir / "model.safetensors", {"format": "pt"})
        for f, more in (beside or {}).items():
            save_file({k: v.detach().contiguous() for k, v in more.items()}, self.dir / f, {"format": "pt"})
        c = json.loads((self.dir / "config.json").read_text())
        for k in ("id2label", "label2id", "num_labels"):
            c.pop(k, None)
        c |= {"architectures": [architecture]} | (config or {})
        (self.dir / "config.json").write_text(json.dumps(c, indent=1))
        return self


def spread(module, seed=5):
    g = torch.Generator().manual_seed(seed)
    for p in module.parameters():
        p.data = 0.5 * torch.randn(p.shape, generator=g)
    return module


def named(module, stem):
    return {f"{stem}.{k}": v for k, v in module.state_dict().items()}


# ---- Asking gram ---------------------------------------------------------------------------------------------------


class Failed(Exception):
    pass


def gram(*args):
    return subprocess.run([GRAM, *map(str, args)], capture_output=True, text=True, timeout=120)


def score(path, talks, *opt):
    rows = WORK / "rows.jsonl"
    rows.write_text(
        "".join(json.dumps({"prompt": t[:-1], "chosen": t[-1]["content"], "rejected": OTHER}) + "\n" for t in talks)
    )
    r = gram("score", path, rows, *opt)
    if r.returncode:
        raise Failed(f"refused: {r.stderr.strip()}")
    return [json.loads(line) for line in r.stdout.splitlines()]


def near(what, got, want):
    if got is None or not math.isfinite(got) or abs(got - want) > TOLERANCE * (1 + abs(want)):
        raise Failed(f"{what}: {got}, wanted {want:.6f}")


def check_rewards(m, head, *opt, talks=TALKS):
    """Both answers of each conversation, against the head on the hidden state of the last token that is not padding."""
    for talk, v in zip(talks, score(m.dir if isinstance(m, Model) else m[1], talks, *opt)):
        model = m if isinstance(m, Model) else m[0]
        for k, answer in enumerate((talk[-1]["content"], OTHER)):
            ids = model.ids(talk[:-1] + [{"role": "assistant", "content": answer}])
            while ids[-1] == model.model.config.pad_token_id:
                ids.pop()
            if "reward" not in v:
                raise Failed("read as a judge")
            with torch.no_grad():
                near("reward", v["reward"][k], float(head(model.hidden(ids), ids)))


JUDGE = "Which answer to the question is better?\nQuestion: {input}\nA: {response_a}\nB: {response_b}\nVerdict:"


def check_judge(m, prompt=JUDGE, labels=("A", "B"), opt=(), talks=TALKS[:1], chat=None):
    """The probability of the first label at the first token of the answer, in both orders."""
    f = WORK / "judge.txt"
    f.write_text(prompt)
    for talk, v in zip(talks, score(m.dir, talks, "--judge-prompt", f, "--labels", ",".join(labels), *opt)):
        for key, (a, b) in (("p_forward", (talk[-1]["content"], OTHER)), ("p_swapped", (OTHER, talk[-1]["content"]))):
            text = prompt.replace("{input}", talk[-2]["content"]).replace("{response_a}", a).replace("{response_b}", b)
            ids = m.ids([{"role": "user", "content": text}], add_generation_prompt=True, **(chat or {}))
            z = m.model.lm_head(m.hidden(ids)[-1]) / getattr(m.model.config, "logits_scaling", 1)
            z = z[[m.tok.convert_tokens_to_ids(w) for w in labels]]
            p = float(torch.softmax(z, -1)[0].detach())
            near(key, v[key], p if key == "p_forward" else 1 - p)


def check_refused(path, *words, opt=()):
    r = gram("score", path, WORK / "rows.jsonl", *opt)
    if r.returncode == 0:
        raise Failed("scored where it should be refused")
    if not all(re.search(w, r.stderr) for w in words):
        raise Failed(f"the refusal does not name {words}: {r.stderr.strip()}")


def check_other(name, config, *words):
    """A directory of which only the configuration counts."""
    d = WORK / name
    tokenizer(d, CHATML_TOKENS, CHATML, "<|im_end|>")
    (d / "config.json").write_text(json.dumps(config))
    save_file({"x": torch.zeros(1)}, d / "model.safetensors")
    check_refused(d, *words)


class Serve:
    """gram serve of a model; post() gives (status, JSON)."""

    def __init__(self, path):
        self.log = open(WORK / "serve.log", "w+")
        self.p = subprocess.Popen([GRAM, "serve", str(path), "--port", "0"], stdout=subprocess.DEVNULL, stderr=self.log)
        for _ in range(1200):
            m = re.search(r"http://\S*:(\d+)", (WORK / "serve.log").read_text())
            self.base = m and f"http://127.0.0.1:{m[1]}"
            if m and self.is_ready():
                return
            time.sleep(0.05)
        raise Failed("gram serve does not come up")

    def is_ready(self):
        try:
            with urllib.request.urlopen(self.base + "/health", timeout=30):
                return True
        except urllib.error.URLError:       # 503 while the model is read
            return False

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.p.terminate()
        self.p.wait()

    def post(self, path, body):
        q = urllib.request.Request(self.base + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(q, timeout=30) as r:
                return r.status, json.loads(r.read())
        except urllib.error.HTTPError as e:
            return e.code, json.loads(e.read())


def check_rendered(m, head):
    """SGLang's client: the text that it rendered itself has the reward of its messages."""
    with Serve(m.dir) as s:
        for talk in TALKS:
            text = m.tok.apply_chat_template(talk, tokenize=False)
            status, a = s.post("/classify", {"text": [text]})
            if status != 200:
                raise Failed(f"/classify answers {status}: {a}")
            ids = m.ids(text)
            while ids[-1] == m.model.config.pad_token_id:
                ids.pop()
            with torch.no_grad():
                near("the reward of rendered text", a[0]["embedding"][0], float(head(m.hidden(ids), ids)))


def check_generative_scoring(m, query, items, labels):
    with Serve(m.dir) as s:
        ids = [m.tok.convert_tokens_to_ids(w) for w in labels]
        status, a = s.post(
            "/generative_scoring", {"query": query, "items": items, "label_token_ids": ids, "apply_softmax": True}
        )
        if status != 200:
            raise Failed(f"/generative_scoring answers {status}: {a}")
        for item, got in zip(items, a["scores"] if "scores" in a else [x["score"] for x in a["data"]]):
            z = m.model.lm_head(m.hidden(m.ids(query + item))[-1])[ids]
            want = torch.softmax(z, -1)
            near("yes", got[0] if isinstance(got, list) else got, float(want[0]))


# ---- The rows ------------------------------------------------------------------------------------------------------

ROWS = []


def row(model, layout, does):
    """A row of the table: layout is what is built, does what gram does with it when the check passes."""

    def add(check):
        ROWS.append((model, layout, does, check))
        return check

    return add


def scalar(m, stem="score", architecture=None, bias=False, config=None, **more):
    """One matrix behind the last token."""
    head = spread(Linear(m.width, 1, bias=bias))
    m.save(
        architecture or type(m.model).__name__.replace("Model", "ForSequenceClassification"),
        named(head, stem),
        {"id2label": {"0": "LABEL_0"}} if config is None else config,
        **more,
    )
    return lambda h, ids: head(h[-1])[0]


def mlp(m, stem, architecture, units=12, **more):
    head = spread(Sequential(Linear(m.width, units), ReLU(), Linear(units, 1)))
    m.save(architecture, named(head, stem), **more)
    return lambda h, ids: head(h[-1])[0]


def dated(name, template=None):
    m = Model(name, "llama31", template=template, pad="<|end_of_text|>")
    head = scalar(m)
    check_rewards(m, head)
    check_rendered(m, head)


ONE = "one-row head, {}"


@row(
    "Skywork-Reward-V2-Llama-3.1-8B, -8B-40M",
    "llama3 rope, dated template, pad token",
    "rewards; text that a client rendered has the same",
)
def _():
    dated("skywork-v2-31")


@row("Skywork-Reward-V2-Llama-3.2-3B, -1B", "the same", "the same")
def _():
    dated("skywork-v2-32")


@row("Skywork-Reward-V2-Qwen3-8B, 4B, 1.7B, 0.6B", "Qwen3ForSequenceClassification", "rewards")
def _():
    m = Model("skywork-qwen3", "qwen3")
    check_rewards(m, scalar(m))


@row(
    "Skywork-Reward-Llama-3.1-8B (-v0.2)",
    "llama3 rope, dated template",
    "rewards; text that a client rendered has the same",
)
def _():
    dated("skywork-31")


@row("Skywork-Reward-Gemma-2-27B (-v0.2)", "Gemma2ForSequenceClassification: capped scores, windows", "rewards")
def _():
    m = Model("skywork-gemma2", "gemma2", tied=True)
    head = scalar(m)
    check_rewards(m, head)
    check_rendered(m, head)


@row(
    "QRM-Gemma-2-27B, LDL-Reward-Gemma-2-27B",
    "gemma2, heads of their own in .pt files",
    "refused: their heads are no tensors of the safetensors",
)
def _():
    m = Model("qrm-gemma2", "gemma2", tied=True).save("Gemma2ForRewardModelWithGating")
    check_refused(m.dir, "Gemma2ForRewardModelWithGating", "head")


@row("GRM-gemma2-2B, GRM-Gemma-2B, RM-Gemma-2B/7B", "gemma2; gemma, \"hidden_act\": \"gelu\"", "rewards")
def _():
    m = Model("grm-gemma2", "gemma2", tied=True)
    check_rewards(m, scalar(m))
    m = Model("rm-gemma", "gemma", tied=True)
    check_rewards(m, scalar(m, config={"id2label": {"0": "LABEL_0"}, "hidden_act": "gelu"}))


@row("INF-ORM-Llama3.1-70B", "INFORMForSequenceClassification, score.0/score.2", "rewards")
def _():
    m = Model("inform", "llama31")
    check_rewards(m, mlp(m, "score", "INFORMForSequenceClassification", config={"num_labels": 1}))


@row(
    "allenai Llama-3.1-8B/70B-*-RM-RB2",
    "dated template; tulu template",
    "rewards; text that a client rendered has the same",
)
def _():
    dated("rb2")
    dated("rb2-tulu", TULU)


@row("Llama-3.1-Tulu-3-8B-RM", "tulu template", "rewards")
def _():
    m = Model("tulu", "llama31", template=TULU)
    check_rewards(m, scalar(m))


@row("ArmoRM-Llama3-8B-v0.1", "19 outputs, weighed by a gate that reads the prompt's end", "rewards; not trained")
def _():
    m, n = Model("armo", "llama3"), 19
    mark = m.ids("<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n")
    head = spread(Linear(m.width, n, bias=False))
    layers = [spread(Linear(*s), i) for i, s in enumerate([(m.width, 12), (12, 12), (12, 12), (12, n)])]
    matrix = torch.eye(n) - 0.1 * torch.tril(torch.ones(n, n), -1)

    def reward(h, ids):
        x = h[max(j for j in range(len(ids)) if ids[j : j + len(mark)] == mark)]
        for i, layer in enumerate(layers):
            x = layer(x) if i == len(layers) - 1 else torch.relu(layer(x))
        return (torch.softmax(x / 10, -1) * (head(h[-1]) @ matrix)).sum()

    t = named(head, "regression_layer") | {"reward_transform_matrix": matrix, "gating.logit_scale": torch.ones(1)}
    for i, layer in enumerate(layers):
        t |= named(layer, f"gating.layers.{i}")
    m.save(
        "LlamaForRewardModelWithGating",
        t,
        {"num_labels": n, "gating_temperature": 10, "gating_n_hidden": 3, "gating_hidden_dim": 12},
    )
    check_rewards(m, reward)


@row(
    "URM-LLaMa-3.1-8B, QRM-Llama3.1-8B-v2",
    "pairs of outputs weighed by a network of the last token; quantiles",
    "rewards of URM; QRM refused: which outputs are whose quantiles stands in its code alone",
)
def _():
    m, pairs = Model("urm", "llama31"), 5
    head = spread(Linear(m.width, 2 * pairs, bias=False))
    fc = spread(
        Sequential(Linear(m.width, m.width), SELU(), Linear(m.width, m.width), SELU(), Linear(m.width, pairs)), 6
    )
    m.save(
        "LlamaForSequenceClassificationWithNormal_Weights",
        named(head, "score") | named(fc, "weights.fc"),
        {"num_labels": 10},
    )
    check_rewards(m, lambda h, ids: (fc(h[-1]) * head(h[-1])[::2]).sum())
    q = Model("qrm", "llama31")
    t = named(spread(Linear(q.width, 5 * 19, bias=False)), "regression_layer")
    t |= named(spread(Linear(q.width, 5)), "gating.layers.0") | {"gating.logit_scale": torch.ones(1)}
    q.save("LlamaForRewardModelWithGating", t, {"num_labels": 5})
    check_refused(q.dir, "95 outputs")
    q.save("LlamaForRewardModelWithGating", t, {"num_labels": 5, "num_quantiles": 19})
    check_refused(q.dir, "num_quantiles")


def plain(name, family, **more):
    m = Model(name, family, **more)
    check_rewards(m, scalar(m))


@row("OffsetBias-RM-Llama3-8B", "LlamaForSequenceClassification", "rewards")
def _():
    plain("offsetbias", "llama3")


@row("FsfairX-LLaMA3-RM-v0.1", "LlamaForSequenceClassification, undated template", "rewards")
def _():
    plain("fsfairx", "llama3", pad="<|end_of_text|>")


@row("GRM-Llama3.x-*-rewardmodel-ft", "LlamaForSequenceClassification", "rewards")
def _():
    plain("grm-ft", "llama3")


@row("GRM-*-sftreg, -distill", "a causal trunk with its lm_head, and v_head.summary.0/.2", "rewards, with a note")
def _():
    m = Model("grm-sftreg", "llama3", words=True)
    check_rewards(m, mlp(m, "v_head.summary", "LlamaForCausalLM"))


class InternLM2:
    """A directory of InternLM2's reward model, beside golden_models.py's code of it. Its get_score() puts the token
    reward_token_id behind the text, and reads the head there."""

    def __init__(self, name):
        self.dir = WORK / name
        self.tok, n = tokenizer(self.dir, CHATML_TOKENS + ["[UNUSED_TOKEN_130]"], CHATML, "<|im_end|>")
        self.last = self.tok.convert_tokens_to_ids("[UNUSED_TOKEN_130]")
        sizes = {k: v for k, v in SMALL.items() if k not in ("head_dim", "initializer_range")}
        self.config = golden_models.internlm2_config(sizes | {"vocab_size": n, "tie_word_embeddings": False})
        self.inner = golden_models.fill(golden_models.InternLM2(self.config), 3)
        self.model = types.SimpleNamespace(config=types.SimpleNamespace(pad_token_id=None))
        self.width = self.config["hidden_size"]

    def ids(self, talk):
        text = self.tok.apply_chat_template(talk, tokenize=False)
        return self.tok.encode(text, add_special_tokens=False) + [self.last]

    def hidden(self, ids):
        return self.inner.hidden(ids)

    def save(self, head):
        t = {n: self.inner.w(n.removesuffix(".weight")).data for n in self.inner.names if not n.startswith("output")}
        save_file(t | {"v_head.weight": head.weight.data}, self.dir / "model.safetensors", {"format": "pt"})
        c = self.config | {"architectures": ["InternLM2ForRewardModel"], "reward_token_id": self.last}
        (self.dir / "config.json").write_text(json.dumps(c, indent=1))
        return lambda h, ids: head(h[-1])[0]


@row("internlm2-1_8b/7b/20b-reward", "internlm2, v_head, reward_token_id behind the text", "rewards, with a note")
def _():
    m = InternLM2("internlm2-reward")
    check_rewards((m, m.dir), m.save(spread(Linear(m.width, 1, bias=False))))


@row("POLAR-1.8B / 7B", "internlm2, with a reference", "refused by name, where the directory or config.json says POLAR")
def _():
    m = InternLM2("POLAR-1_8B")
    m.save(spread(Linear(m.width, 1, bias=False)))
    check_refused(m.dir, "POLAR", "reference")


@row(
    "Qwen2.5-Math-RM-72B, WorldPM-72B; Qwen2.5-Math-PRM",
    "Qwen2ForRewardModel, score.0/score.2; Qwen2ForProcessRewardModel",
    "rewards; the process reward model refused by name",
)
def _():
    m = Model("qwen2-rm", "qwen2")
    check_rewards(m, mlp(m, "score", "Qwen2ForRewardModel", units=m.width))
    p = Model("qwen2-prm", "qwen2")
    p.save(
        "Qwen2ForProcessRewardModel", named(Sequential(Linear(p.width, p.width), ReLU(), Linear(p.width, 2)), "score")
    )
    check_refused(p.dir, "Qwen2ForProcessRewardModel", "each step")
    p.save("Qwen2ForRewardModel")
    p.save("Qwen2ForRewardModel", named(Sequential(Linear(p.width, p.width), ReLU(), Linear(p.width, 2)), "score"))
    check_refused(p.dir, "score.2.weight", "2 rows")


@row("AceMath-7B/72B-RM", "Qwen2ForSequenceClassification, a system message of its own", "rewards")
def _():
    plain("acemath", "qwen2", pad="<|endoftext|>")


@row("Qwen-2.5-Nemotron-32B-Reward, Qwen-3-Nemotron-32B-Reward", "Qwen2/Qwen3ForSequenceClassification", "rewards")
def _():
    plain("qwen25-nemotron", "qwen2", template=CHATML)
    plain("qwen3-nemotron", "qwen3")


@row(
    "Llama-3.1-Nemotron-70B-Reward-HF, Llama-3.3-Nemotron-70B-Reward",
    "LlamaForCausalLM; the reward is the logit of token 0",
    "rewards with `--reward-token 0`; without it refused, by its lm_head or its name",
)
def _():
    m = Model("Llama-3.1-Nemotron-70B-Reward-HF", "llama31", words=True)
    m.save("LlamaForCausalLM")
    check_rewards(m, lambda h, ids: m.model.lm_head(h[-1])[0], "--reward-token", 0)
    check_refused(m.dir, "--reward-token 0")
    other = Model("renamed", "llama31", words=True)
    other.model.lm_head.weight.data[1:] = 0
    other.save("LlamaForCausalLM")
    check_rewards(other, lambda h, ids: other.model.lm_head(h[-1])[0], "--reward-token", 0)
    check_refused(other.dir, "--reward-token")


@row(
    "OpenRLHF Llama-3-8b-rm-700k, -mixture",
    "LlamaForSequenceClassification without labels; RewardModel, value_head_prefix",
    "rewards; `mean` and `std` are noted",
)
def _():
    m = Model("openrlhf", "llama3")
    check_rewards(m, scalar(m, config={}))
    m = Model("openrlhf-class", "llama3")
    check_rewards(
        m, scalar(m, "value_head", "RewardModel", config={"value_head_prefix": "value_head", "mean": 0.1, "std": 2.0})
    )


@row(
    "LLaMA-Factory reward models",
    "a causal model and value_head.safetensors",
    "rewards, with a note; value_head.bin refused by name",
)
def _():
    m = Model("llamafactory", "qwen2", words=True)
    head = spread(Linear(m.width, 1))
    m.save("Qwen2ForCausalLM", beside={"value_head.safetensors": named(head, "v_head.summary")})
    check_rewards(m, lambda h, ids: head(h[-1])[0])
    (m.dir / "value_head.safetensors").rename(m.dir / "value_head.bin")
    check_refused(m.dir, "value_head.bin")


@row(
    "TRL RewardTrainer, full and LoRA",
    "...ForSequenceClassification; PEFT SEQ_CLS, old and new names",
    "rewards; an adapter that lost its head refused by name",
)
def _():
    import peft

    plain("trl", "qwen3")
    m = Model("trl-base", "qwen3", words=True)
    m.save("Qwen3ForCausalLM")
    c = T.AutoConfig.from_pretrained(m.dir)
    c.num_labels = 1
    c.pad_token_id = None
    seq = T.AutoModelForSequenceClassification.from_pretrained(m.dir, config=c, dtype=torch.float32)
    seq = peft.get_peft_model(
        seq, peft.LoraConfig(task_type="SEQ_CLS", r=2, lora_alpha=4, target_modules=["q_proj", "up_proj"])
    ).eval()
    for k, p in seq.named_parameters():
        if "lora_B" in k or "modules_to_save" in k:
            p.data = 0.5 * torch.randn(p.shape)
    seq.save_pretrained(WORK / "trl-lora")
    m.trunk = seq.base_model.model.model
    head = seq.base_model.model.score
    check_rewards((m, WORK / "trl-lora"), lambda h, ids: head(h[-1])[0], "--base", m.dir)
    f = WORK / "trl-lora" / "adapter_model.safetensors"
    t = load_file(f)
    w = t.pop("base_model.model.score.weight")
    old = t | {
        "base_model.model.score.modules_to_save.weight": w,
        "base_model.model.score.original_module.weight": w * 0,
    }
    save_file(old, f)
    check_rewards((m, WORK / "trl-lora"), lambda h, ids: head(h[-1])[0], "--base", m.dir)
    save_file(t, f)
    check_refused(WORK / "trl-lora", "reward head is missing", opt=("--base", m.dir))


@row(
    "UltraRM-13b, Eurus-RM-7b, Starling-RM, beaver, Ziya, moss-rlhf",
    "regression_head; score_head with bias; reward_head; v_head; .bin files",
    "rewards from safetensors, their prompts by `--template FILE`; files of Python objects refused by name",
)
def _():
    for stem, arch, family, bias, config in (
        ("regression_head", "LlamaRewardModel", "llama2", False, {}),
        ("regression_head", "EurusRewardModel", "mistral", False, {}),
        ("score_head", "LlamaForScore", "llama2", True, {"do_normalize": False, "score_type": "reward"}),
        ("reward_head", "LlamaRewardModel", "llama2", False, {}),
        ("v_head", "GPTRewardModel", "llama2", False, {}),
    ):
        m = Model(f"{arch}-{stem}", family)
        check_rewards(m, scalar(m, stem, arch, bias, config), talks=TALKS[:1])
    (m.dir / "model.safetensors").rename(m.dir / "pytorch_model.bin")
    check_refused(m.dir, "pytorch_model.bin")


@row("PairRM, OpenAssistant reward-model-deberta-v3", "deberta", "refused: architecture deberta-v2")
def _():
    check_other(
        "deberta", {"model_type": "deberta-v2", "architectures": ["DebertaV2ForSequenceClassification"]}, "deberta-v2"
    )


@row("Skywork-VL-Reward, IXC-2.5-Reward", "qwen2_5_vl, internlm2 with images", "refused: architectures")
def _():
    check_other(
        "skywork-vl",
        {"model_type": "qwen2_5_vl", "architectures": ["Qwen2_5_VLForConditionalGeneration"]},
        "qwen2_5_vl",
    )
    check_other(
        "ixc",
        {"model_type": "internlmxcomposer2", "architectures": ["InternLMXComposer2ForRewardModel"]},
        "internlmxcomposer2",
    )


N_SCALAR = len(ROWS)


def judge(name, family, template=None, **more):
    m = Model(name, family, words=True, template=template, tied=more.pop("tied", False))
    m.save(type(m.model).__name__)
    check_judge(m, **more)
    return m


NOTHINK = {"enable_thinking": False}


@row(
    "GRAM-Qwen3-*, GRAM-LLaMA3.x (NiuTrans)",
    "chat_template.jinja beside; Qwen3, Llama 3",
    "judges: A/B at the first token, both orders",
)
def _():
    m = Model("gram-qwen3", "qwen3", words=True, template="")
    m.save("Qwen3ForCausalLM")
    (m.dir / "chat_template.jinja").write_text(QWEN3)
    m.tok.chat_template = QWEN3
    check_judge(m, chat=NOTHINK)
    judge("gram-llama3", "llama31")


@row(
    "GRAM-RR-LLaMA-3.2 / Qwen3",
    "the same; writes a rationale first",
    "judges A/B at the first token; rationales by chat completions",
)
def _():
    judge("gram-rr", "llama31")


@row("RM-R1-Qwen2.5-7B/14B/32B", "Qwen2ForCausalLM; rationale, then <answer>", "opens; rationales by chat completions")
def _():
    judge("rm-r1", "qwen2")


@row("RM-R1-DeepSeek-Distilled-Qwen", "<|User|> template that opens <think>", "opens; rationales by chat completions")
def _():
    FAMILY["deepseek"] = (lambda: T.Qwen2Config(**SMALL), PAIR_TOKENS, DEEPSEEK, "</s>")
    judge("rm-r1-deepseek", "deepseek")


@row(
    "RewardAnything-8B, Qwen3-Nemotron-32B-GenRM-Principle, R3-Qwen3",
    "Qwen3ForCausalLM; thinking; a template that opens <think>",
    "opens; rationales by chat completions",
)
def _():
    judge("rewardanything", "qwen3", chat=NOTHINK)
    judge("genrm", "qwen3", OPENS_THINK)


@row(
    "Qwen3-Nemotron-235B-A22B-GenRM",
    "Qwen3MoeForCausalLM; experts; a template that opens <think>",
    "opens; rationales by chat completions",
)
def _():
    experts = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "norm_topk_prob": True}
    FAMILY["qwen3moe"] = (lambda: T.Qwen3MoeConfig(**SMALL, **experts), CHATML_TOKENS, QWEN3, "<|im_end|>")
    judge("qwen3moe", "qwen3moe", chat=NOTHINK)
    judge("genrm-moe", "qwen3moe", OPENS_THINK)


@row("Llama-3_3-Nemotron-Super-49B-GenRM", "nemotron-nas", "refused: architecture nemotron-nas")
def _():
    check_other("nas", {"model_type": "nemotron-nas", "architectures": ["DeciLMForCausalLM"]}, "nemotron-nas")


@row(
    "prometheus-7b-v2.0, -8x7b",
    "MistralForCausalLM; MixtralForCausalLM, experts",
    "opens; feedback by chat completions",
)
def _():
    judge("prometheus", "mistral")
    experts = {"num_local_experts": 6, "num_experts_per_tok": 2}
    FAMILY["mixtral"] = (lambda: T.MixtralConfig(**SMALL, **experts), *FAMILY["mistral"][1:])
    judge("prometheus-8x7b", "mixtral")


@row(
    "Selene-1-Mini, Skywork-Critic-Llama-3.1-8B, Themis, Auto-J, PandaLM, JudgeLM",
    "Llama 3, llama2 and vicuna templates",
    "judges with `--judge-prompt` and `--labels`",
)
def _():
    judge("critic", "llama31", prompt="[Question]\n{input}\n[A]\n{response_a}\n[B]\n{response_b}\nFinal Verdict:\n[[")
    FAMILY["vicuna"] = (lambda: T.LlamaConfig(**SMALL), PAIR_TOKENS, VICUNA, "</s>")
    judge("judgelm", "vicuna", labels=("1", "2"))


@row(
    "pair-preference-model-LLaMA3-8B (RLHFlow)",
    "its own <turn> form, A/B, no BOS",
    "judges with `--judge-prompt` and `--template FILE`: one turn",
)
def _():
    prompt = "[CONTEXT] <turn> user\n {input} [RESPONSE A] {response_a} [RESPONSE B] {response_b} \n"
    own = LLAMA3.replace("{{ bos_token }}", "")
    m = Model("pairpm", "llama3", words=True)
    m.save("LlamaForCausalLM")
    m.tok.chat_template = own
    (WORK / "own.jinja").write_text(own)
    check_judge(m, prompt, opt=("--template", WORK / "own.jinja"))


RERANK = '<|im_start|>system\nIs the answer "yes" or "no"?<|im_end|>\n<|im_start|>user\n<Query>: q\n'


@row(
    "Qwen3-Reranker-0.6B/4B/8B, zerank-2",
    "Qwen3ForCausalLM; a fixed prompt, yes/no",
    "yes/no of the text as it is by `/generative_scoring`",
)
def _():
    m = Model("reranker", "qwen3", words=True, tied=True)
    m.save("Qwen3ForCausalLM")
    check_generative_scoring(
        m,
        RERANK,
        ["<Document>: d<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n", "<Document>: e<|im_end|>\n"],
        ("yes", "no"),
    )


@row(
    "Qwen3-Reranker-*-seq-cls",
    "Qwen3ForSequenceClassification; the same prompt as text",
    "rewards of the text as it is by `/classify`",
)
def _():
    m = Model("seqcls", "qwen3")
    head = scalar(m)
    text = RERANK + "<Document>: d<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    with Serve(m.dir) as s, torch.no_grad():
        status, a = s.post("/classify", {"text": [text]})
        if status != 200:
            raise Failed(f"/classify answers {status}: {a}")
        near("the reward of a text", a[0]["embedding"][0], float(head(m.hidden(m.ids(text)), None)))


LONG = {"rope_type": "longrope", "short_factor": [1.0, 1.1, 1.4], "long_factor": [1.0, 2.0, 9.0], "rope_theta": 1e4}
PHI_TOKENS = ["<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
PHI3 = (
    LOOP
    + "{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}"
    + END
    + "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def phi(original):
    """Phi-4-mini's rope: of a head's 8 channels 6 turn, by factors for texts up to `original` tokens and beyond."""
    return T.Phi3Config(
        **SMALL,
        pad_token_id=None,
        rope_parameters=LONG | {"partial_rotary_factor": 0.75},
        original_max_position_embeddings=original,
        partial_rotary_factor=0.75,
    )


@row(
    "Phi-4, Llama-fied phi-4 judges; Phi-3.5, Phi-4-mini",
    "<|im_sep|> template; phi3; longrope, and rope in a part of each head",
    "judges; a text beyond the original context has the other factors, whatever is beside it",
)
def _():
    FAMILY["phi4"] = (lambda: T.LlamaConfig(**SMALL), CHATML_TOKENS, PHI4, "<|im_end|>")
    judge("phi4", "phi4")
    FAMILY["phi3"] = (lambda: T.Phi3Config(**SMALL, pad_token_id=None), CHATML_TOKENS, PHI4, "<|im_end|>")
    judge("phi3", "phi3")
    for name, original in (("phi4mini", 1024), ("phi4mini-far", 16)):
        FAMILY[name] = ((lambda n: lambda: phi(n))(original), PHI_TOKENS, PHI3, "<|end|>")
        judge(name, name)


@row(
    "granite-guardian-3.x (2B, 8B), granite-3.x judges",
    "GraniteForCausalLM; multipliers of embeddings, attention, residuals and logits",
    "judges; yes/no of the text as it is by `/generative_scoring`",
)
def _():
    FAMILY["granite"] = (
        lambda: T.GraniteConfig(
            **SMALL, embedding_multiplier=3.0, attention_multiplier=0.2, residual_multiplier=0.5, logits_scaling=0.5
        ),
        CHATML_TOKENS,
        CHATML,
        "<|im_end|>",
    )
    judge("granite", "granite")


@row("Qwen3.5 / Qwen3-Next, gpt-oss, GLM, DeepSeek-V3", "other architectures", "refused: architectures")
def _():
    for kind in ("qwen3_next", "gpt_oss", "glm4", "deepseek_v3"):
        check_other(kind, {"model_type": kind, "architectures": ["XForCausalLM"]}, kind)


# ---- The table -----------------------------------------------------------------------------------------------------


def run(rows):
    """(row, what went wrong or None) of each."""
    out = []
    for r in rows:
        try:
            r[3]()
            out.append((r, None))
        except Failed as e:
            out.append((r, str(e)))
        print(
            "%-5s %s%s" % ("FAIL" if out[-1][1] else "ok", r[0], ": " + out[-1][1] if out[-1][1] else ""),
            file=sys.stderr,
        )
    return out


HEAD = """# Reward models and judges, and what gram does with them

`python3 scripts/models_table.py` makes this table. For each row it builds tiny models with random weights in the
layout of its kind (class, names of the head's tensors, labels, rope, template family), lets gram read them, and
compares with transformers, or with a few lines of PyTorch, on the same conversations. "right" means that all numbers
agree, "refused" that gram does not compute the architecture and says its name. No real weights were read for it.

What decides is in the files. A reward head is found by the names of its tensors and measured by their shapes:
`score`, `v_head`, `v_head.summary`, `value_head`, `rm_head`, `reward_head`, `regression_head`, `score_head`,
`regression_layer`, and `cls` and `cls.output` of a GGUF; one matrix, or two with a ReLU between (`score.0`,
`score.2`), with any biases; in the model's file, in `value_head.safetensors` beside it or beside an adapter, or in an
adapter under PEFT's old and new names. `value_head_prefix` of config.json chooses where there are two. The class and
the labels in config.json only have to be no contradiction: a head that they speak of and the files lack is refused,
labels that do not fit the head are noted, as is a class that is code of the checkpoint's own (`auto_map`), which is
not run. A head of several outputs becomes one reward by its own gate (ArmoRM, URM) or by `--reward-weights`; a language
model that was trained to give its reward as a token's logit is read with `--reward-token`. Heads that gram writes,
after training, merging or converting, are called `score`.

Of safetensors the types F64, F32, F16 and BF16 are read, F64 rounded to float32 wherever it is used, as transformers
does that opens it so, and F8_E4M3 with scales beside it: `weight_scale_inv` of `quant_method` `fp8` (DeepSeek, Qwen3),
for blocks of a matrix, and `weight_scale` of `compressed-tensors` (format `float-quantized`), for a matrix, its rows or
its blocks, which must be whole and of the size that config.json says. A weight is the number that transformers'
dequantize makes of it, also in what is trained, merged and converted; activations stay float32 or bfloat16, and a note
says that they are not rounded to 8 bits, as a GPU's kernels do it. Such weights are copied when the model opens, 9 bits
each, or 16 where `weight_scale` is bfloat16. Scales of E8M0 and FP4 are refused by name, and so are keys of
`quantization_config` that are not known. Weights packed as whole numbers by GPTQ, AWQ, compressed-tensors and
bitsandbytes open, too: [formats.md](formats.md#weights-packed-as-whole-numbers) says which, and what becomes of them.

Of a GGUF the types F64, F32, F16, BF16, Q8_0, Q4_0 to Q5_1, Q2_K to Q6_K and IQ1_S to IQ4_XS are read, to the values
that the official package gives them. Those that number the points of a grid (IQ1, IQ2, IQ3) are made float32 row by row
for a handful of texts, too, where all others are multiplied as they lie; so are F64 and F8_E4M3. What else ggml has
(the ternary TQ1_0 and TQ2_0, MXFP4, NVFP4) is refused by its name.

A file with an `lm_head.weight` that differs from the embedding keeps it, with a note, though config.json ties the
two. Keys of config.json, and of the architecture in a GGUF, that change numbers in a way that gram does not know are
refused; other unknown keys, and weights beside the model that are not used, are noted.

Rope may be scaled by `linear`, `llama3`, `yarn` with all of its keys, `longrope` (Phi-3) and `dynamic`. The last
changes nothing within `max_position_embeddings`, and longer texts are refused as everywhere: what transformers makes of
them follows from the longest text of the batch and of the texts before it. YaRN has the frequencies and the attention
factor of transformers, and of llama.cpp for a GGUF. A key of YaRN or of `dynamic` that is not known is refused.

llama.cpp computes the GELU of the Gemmas by a table of half-precision numbers: its logits of a small Gemma 2 with
large weights are 1.7e-3 (of 3.8) from transformers' in float64, gram's 3e-6; float64 with such a table is as far off,
and llama.cpp 5e-5 from that. Its cache of half-precision keys and values adds 3e-3.
"""


def table(results, title):
    out = [f"\n## {title}\n", "| model | what is built | what gram does | |", "|---|---|---|---|"]
    for (model, layout, does, _), wrong in results:
        state = "**wrong**" if wrong else "refused" if does.startswith("refused") else "right"
        out.append(
            "| "
            + " | ".join(
                x.replace("|", "\\|").replace("\n", " ") for x in (model, layout, does if not wrong else wrong, state)
            )
            + " |"
        )
    return "\n".join(out) + "\n"


def main():
    names = sys.argv[1:]
    chosen = [r for r in ROWS if not names or any(n.lower() in r[0].lower() for n in names)]
    results = run(chosen)
    right = sum(not w for _, w in results)
    if names:
        print(table(results, "Rows"))
    else:
        refused = sum(r[2].startswith("refused") for r, w in results if not w)
        wrong = len(results) - right
        text = HEAD + table(results[:N_SCALAR], "Scalar reward models") + table(results[N_SCALAR:], "Generative judges")
        text += f"\nOf {len(results)} rows {right - refused} are right, {refused} are refused, "
        text += f"and {wrong or 'none'} {'are' if wrong > 1 else 'is'} wrong.\n"
        (ROOT / "docs" / "models.md").write_text(text)
    shutil.rmtree(WORK)
    return 0 if right == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
