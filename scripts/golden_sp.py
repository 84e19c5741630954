#!/usr/bin/env python3
"""Makes tests/golden/tokens/sp_*: tiny tokenizer.model files, and what transformers and SentencePiece make of texts.

    scripts/golden_sp.py            needs: pip install sentencepiece transformers

sp_llama and sp_legacy are read by transformers' LlamaTokenizer, with added tokens; sp_bare by SentencePiece itself,
which puts no space before a text there and has tokens of a user. ids.jsonl has a line for each text: [text, ids].
"""
import io
import json
import pathlib
import random

import sentencepiece
from transformers import LlamaTokenizer

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "tests" / "golden" / "tokens"
FLAGS = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True}
ADDED = {0: {"content": "<unk>"}, 1: {"content": "<s>"}, 2: {"content": "</s>"}, 520: {"content": "<|im_start|>"},
         521: {"content": "<|im_end|>"}, 522: {"content": "<sep>", "lstrip": True, "rstrip": True},
         523: {"content": "<think>", "special": False}}


def model(name, **how):
    corpus = [line for file in ("README.md", "docs/training.md", "docs/serve.md")
              for line in (ROOT / file).read_text().splitlines() if line.strip()]
    corpus += ["你好 世界 こんにちは", "Привет мир naïve café Ünï", "x = 1;  y = 2;\tz"] * 20
    file = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus), model_writer=file, vocab_size=520, model_type="bpe", character_coverage=0.999,
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True,
        allow_whitespace_only_pieces=True, minloglevel=2, num_threads=1, **how)
    (OUT / name).mkdir(exist_ok=True)
    (OUT / name / "tokenizer.model").write_bytes(file.getvalue())
    return OUT / name


def config(path, added, **more):
    added = {str(i): {**FLAGS, **a} for i, a in added.items()}
    (path / "tokenizer_config.json").write_text(json.dumps(
        {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", **more, "added_tokens_decoder": added},
        indent=1) + "\n")


def texts():
    r = random.Random(8)
    parts = [a["content"] for a in ADDED.values()] + [" ", "  ", "\n", "\t", "the", "The", "model", "é", "ж", "中", "🙂",
                                                      "12",
             ".", "'s", "<tool>", "\u00a0", "<0x0A>", "x"]
    return ["", " ", "a", " lead", "  lead", "Hello, world! It's 2024:\n  naïve 你好 😀.", "a<sep>b", "a <sep>  b",
            "<|im_start|>user\nHi<|im_end|>\n", "x <tool> y<tool>z", "a  b   c    d     e", "<s> a", "<s>a</s>"] + \
        ["".join(r.choice(parts) for _ in range(r.choice([3, 6, 12]))) for _ in range(60)]


def write(path, encode):
    (path / "ids.jsonl").write_text("".join(json.dumps([t, encode(t)], ensure_ascii=False) + "\n" for t in texts()))


def main():
    llama = model("sp_llama")
    for name, legacy in (("sp_llama", False), ("sp_legacy", True)):
        path = OUT / name
        path.mkdir(exist_ok=True)
        (path / "tokenizer.model").write_bytes((llama / "tokenizer.model").read_bytes())
        config(path, ADDED, tokenizer_class="LlamaTokenizer", legacy=legacy)
        tok = LlamaTokenizer.from_pretrained(path)
        write(path, lambda t: tok.encode(t, add_special_tokens=False))
    bare = model("sp_bare", add_dummy_prefix=False, user_defined_symbols=["▁▁", "▁▁▁", "<tool>"])
    write(bare, sentencepiece.SentencePieceProcessor(model_file=str(bare / "tokenizer.model")).encode)


if __name__ == "__main__":
    main()
