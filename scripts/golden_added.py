#!/usr/bin/env python3
"""Makes tests/golden/tokens/added_*: tiny tokenizers whose added tokens have every flag, or are words too.

    scripts/golden_added.py         needs: pip install tokenizers

added_NAME.json is a tokenizer, and each line of added_NAME.jsonl [text, ids with special tokens parsed, ids with them
as text], the ids the Rust library's.
"""
import json
import pathlib
import random

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "tokens"
WORDS = ["Yes", "Yes.", "yes", "No", "and", "the", "<sep>", "<mask>", "<end>"]


def merges_of(words, first):
    """Every word from left to right."""
    vocab, merges = dict(first), []
    for w in words:
        for i in range(2, len(w) + 1):
            if w[:i] not in vocab:
                vocab[w[:i]] = len(vocab)
                merges.append((w[:i - 1], w[i - 1]))
    return vocab, merges


def tokens():
    """One of each kind; Yes, No and the are words of the model too, and <end> is made by merges."""
    special = [AddedToken("<s>", normalized=False), AddedToken("Yes", normalized=False),
               AddedToken("<sep>", lstrip=True, rstrip=True, normalized=False),
               AddedToken("<mask>", lstrip=True, normalized=True), AddedToken("<end>", rstrip=True, normalized=False),
               AddedToken("No", single_word=True, normalized=False)]
    plain = [AddedToken("the", single_word=True, normalized=False),
             AddedToken("<think>", rstrip=True, normalized=False),
             AddedToken("</think>", lstrip=True, normalized=False), AddedToken("[x]", normalized=True),
             AddedToken("<x>", normalized=True, single_word=True)]
    return special, plain


def add(tok):
    special, plain = tokens()
    tok.add_special_tokens(special)
    tok.add_tokens(plain)
    return tok


def bytes_(normalizer=None):
    alphabet = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    vocab, merges = merges_of(WORDS + ["ĠYes", "Ġthe"], alphabet)
    tok = Tokenizer(models.BPE(vocab, merges))
    if normalizer:
        tok.normalizer = normalizer
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    return add(tok)


def sentence(normalizer, pre):
    first = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    letters = sorted(set("▁ <>[]/.,!?" + "".join(WORDS) + "abcdefghijklmnopqrstuvwxyzÜ"))
    vocab, merges = merges_of(["▁Yes", "▁▁▁▁"] + WORDS, {t: i for i, t in enumerate(first + letters)})
    merges = [(t[:i], t[i:]) for t in sorted(vocab, key=vocab.get) if t not in first       # every cut, as from scores
              for i in range(1, len(t)) if t[:i] in vocab and t[i:] in vocab]
    tok = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if normalizer:
        tok.normalizer = normalizer
    if pre:
        tok.pre_tokenizer = pre
    tok.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                     decoders.Strip(" ", 1, 0)])
    return add(tok)


def texts():
    r = random.Random(3)
    special, plain = tokens()
    parts = [t.content for t in special + plain] + [" ", "  ", "\n", "\t", "\u00a0", "Yes", "yes", "Ü", ".", "a",
                                                    "sYes",
                                                    "▁", "No", "the", "theNo", "U\u0308"]
    return ["", " ", " a", "Yes", "Yes, Yes", "a <sep> b", " <mask> ", "<s> a", "<s>a", "No. Nope the then", "<end>  x",
            "a  </think>  b <think>  c", "[x] a[x]b <x> a<x>b"] + \
        ["".join(r.choice(parts) for _ in range(r.choice([2, 4, 8]))) for _ in range(120)]


def main():
    meta = lambda scheme: pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    spaces = normalizers.Replace(" ", "▁")
    for name, tok in {"bytes": bytes_(), "nfc": bytes_(normalizers.NFC()),
                      "prepend": sentence(normalizers.Sequence([normalizers.Prepend("▁"), spaces]), None),
                      "bare": sentence(spaces, None), "always": sentence(None, meta("always")),
                      "first": sentence(None, meta("first"))}.items():
        tok.save(str(OUT / f"added_{name}.json"), pretty=False)
        lines = []
        for text in texts():
            ids = []
            for tok.encode_special_tokens in (False, True):
                ids.append(tok.encode(text, add_special_tokens=False).ids)
            lines.append(json.dumps([text, *ids], ensure_ascii=False))
        (OUT / f"added_{name}.jsonl").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
