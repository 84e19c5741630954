#!/usr/bin/env python3
"""golden_rewards.py - reward models by transformers, for tests/api/test_rewards.c; and a directory that gram wrote.

    python3 scripts/golden_rewards.py                       writes tests/golden/rewards/
    python3 scripts/golden_rewards.py DIR PAIRS.jsonl       opens DIR, which `gram finetune --loss bt` or purm wrote,
                                                            and PAIRS.jsonl, and compares with `build/gram score`
    python3 scripts/golden_rewards.py NAME                  this model alone, beside the others

A reward is AutoModelForSequenceClassification's on the text that apply_chat_template gives of the conversation with the
answer at its end. In rewards.json are the conversations, and for each model their rewards in this order.
"""
import json
import pathlib
import subprocess
import sys

import safetensors.torch
import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "rewards"
CHATML = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
          "'<|im_end|>' + "
          "'\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
LLAMA3 = ("{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + "
          "'<|end_header_id|>\n\n' "
          "+ message['content'] | trim + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}"
          "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}")
CHATML_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
LLAMA3_TOKENS = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
TALKS = [
    [{"role": "user", "content": "Why is the sky blue?"}, {"role": "assistant", "content": "Rayleigh scattering."}],
    [{"role": "user", "content": "Why is the sky blue?"}, {"role": "assistant", "content": "It is painted."}],
    [{"role": "system", "content": "Be terse."}, {"role": "user", "content": "Hi"},
     {"role": "assistant", "content": "Hello"},
     {"role": "user", "content": "A prime?"}, {"role": "assistant", "content": "7"}],
    [{"role": "user", "content": "Q"}, {"role": "assistant", "content": ""}],
]
SMALL = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
             head_dim=8, max_position_embeddings=512, initializer_range=0.3)


def tokenizer(special, template, out):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tok = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(special + alphabet)}, merges=[]))
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    out.mkdir(parents=True, exist_ok=True)
    tok.save(str(out / "tokenizer.json"))
    (out / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": special[0],
        "chat_template": template}, indent=1) + "\n")
    return transformers.AutoTokenizer.from_pretrained(out)


def rewards(model, tok, talk):
    ids = tok.apply_chat_template(talk, tokenize=True, return_tensors="pt", return_dict=True)["input_ids"]
    with torch.no_grad():
        return model(input_ids=ids).logits[0].tolist()


def give_mlp(model, units):
    """GRM's head where transformers has a matrix."""
    model.score = torch.nn.Sequential(torch.nn.Linear(model.config.hidden_size, units), torch.nn.ReLU(),
                                      torch.nn.Linear(units, model.config.num_labels))


def make(name, config, special=CHATML_TOKENS, template=CHATML):
    torch.manual_seed(3)
    tok = tokenizer(special, template, OUT / name)
    config.vocab_size, config.num_labels = 256 + len(special), 2 if name == "purm" else 1
    if name == "purm":
        config.gram_reward_head = "purm"
    model = transformers.AutoModelForSequenceClassification.from_config(config).eval()
    if name == "mlp":
        give_mlp(model, 24)
    for p in model.parameters():
        if p.ndim == 1:
            p.data += 0.1 * torch.randn(p.shape)    # norms and biases that are not all alike
    model.save_pretrained(OUT / name)
    return [rewards(model, tok, t) for t in TALKS]


def golden(only):
    T = transformers
    gemma = dict(SMALL, query_pre_attn_scalar=8, sliding_window=16, layer_types=["sliding_attention", "full_attention"])
    what = {
        "llama": (T.LlamaConfig(**SMALL),),
        "qwen2": (T.Qwen2Config(**SMALL, pad_token_id=0),),
        "qwen3": (T.Qwen3Config(**SMALL),),
        "mistral": (T.MistralConfig(**SMALL, pad_token_id=3), LLAMA3_TOKENS, LLAMA3),
        "gemma3": (T.Gemma3TextConfig(**gemma),),
        "gemma2": (T.Gemma2Config(**gemma, attn_logit_softcapping=0.1, final_logit_softcapping=0.5,
                                  attn_implementation="eager"),),           # the others leave the cap out
        "purm": (T.LlamaConfig(**SMALL, bos_token_id=1),),
        "mlp": (T.LlamaConfig(**SMALL),),
    }
    out = json.loads((OUT / "rewards.json").read_text())["rewards"] if only else {}
    for name in only or what:
        out[name] = make(name, *what[name])
    (OUT / "rewards.json").write_text(json.dumps({"talks": TALKS, "rewards": out}, indent=1) + "\n")


def compare(path, pairs):
    tok = transformers.AutoTokenizer.from_pretrained(path)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(path, dtype=torch.float32,
                                                                                attn_implementation="eager").eval()
    tensors = safetensors.torch.load_file(pathlib.Path(path) / "model.safetensors")
    if "score.0.weight" in tensors:
        give_mlp(model, len(tensors["score.0.weight"]))
        model.score.load_state_dict({n[len("score."):]: t for n, t in tensors.items() if n.startswith("score.")})
    lines = subprocess.run(["build/gram", "score", path, pairs, "-q"], check=True, capture_output=True,
                           text=True).stdout
    worst = 0
    for row, line in zip(map(json.loads, open(pairs)), map(json.loads, lines.splitlines())):
        prompt = row["prompt"]
        prompt = prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]
        for k, key in enumerate(("chosen", "rejected")):
            want = rewards(model, tok, prompt + [{"role": "assistant", "content": row[key]}])
            worst = max(worst, abs(line["reward"][k] - want[0]) / (1 + abs(want[0])))
            if "sigma" in line:
                worst = max(worst, abs(line["sigma"][k] / torch.tensor(want[1] / 10).exp().item() - 1))
    print(f"{type(model).__name__}: largest relative difference {worst:.2g}")
    return worst < 1e-4


if __name__ == "__main__":
    sys.exit(not compare(*sys.argv[1:])) if len(sys.argv) == 3 else golden(sys.argv[1:])
