#!/usr/bin/env python3
"""Makes tests/golden/tokens/pre.json and pre.jsonl: how each word of tokenizer.ggml.pre cuts hard texts.

    scripts/golden_pre.py GRAM LLAMA_TOKENS [NAME...]       needs: pip install tokenizers gguf numpy

LLAMA_TOKENS is scripts/llama_tokens.c, built. pre.json is a tokenizer whose merges know no words, so that its ids tell
where a text was cut; the first line of pre.jsonl is the texts, each other one a family: its name and the ids of each
text. For each family a GGUF of that tokenizer is made, GRAM turns it into a directory, and the Rust library reads that:
these ids are the golden ones. llama.cpp reads the GGUF itself, and must give the same on all texts but as many as APART
says, and why.
"""
import json
import pathlib
import random
import subprocess
import sys
import tempfile

import gguf
import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "tokens"
NAMES = """llama-bpe smaug-bpe glm4 qwen2 stablelm2 qwen35 gpt-2 olmo smollm command-r tekken gpt-4o
granite-embed-multi-97m tiny_aya deepseek-llm deepseek-coder deepseek-v3 spark2_5 youtu falcon bloom viking jais-2
chameleon kimi-k2 superbpe bailingmoe seed-coder ufakzeka afmoe laguna exaone-moe minicpm5 default""".split()

NFC, CASE = "it does not normalise", "to it marks and letters beyond ASCII have no case"
DIGITS = "it joins digits to what stands before them"
APART = {"qwen2": (2, NFC), "qwen35": (2, NFC), "olmo": (2, NFC), "command-r": (2, NFC), "tekken": (3, CASE),
         "gpt-4o": (3, CASE), "kimi-k2": (4, CASE), "youtu": (1, CASE), "tiny_aya": (4, DIGITS), "afmoe": (1, DIGITS),
         "superbpe": (1, "to it digits are those of ASCII")}

SEEN = ["the quick brown fox, isn't it? I'll say: \"don't\" (we've) 12345 67 890 1,234.56\n\n\n  indented\tby tab\r\n",
        "HTTPServer camelCase snake_case CONST_NAME v2.0.1 x=y+z; a<=b && c||d; $100 50% #tag @you ~/a/b\\c",
        "你好，世界！今天是2024年10月5日。こんにちは、カタカナ。안녕하세요 여러분 สวัสดี ສະບາຍດີ",
        "Привет, мир! Καλημέρα κόσμε. שלום עולם مرحبا بالعالم। नमस्ते दुनिया ",
        "e\u0301a\u0308 n\u0303 Ǆ ǅ ªº ① ½ ² Ⅷ ٣٤٥ １２３ ",
        "!!!??? ... --- === *** ``` <|x|> [a](b) {c} 🙂🙃👩\u200d👧 ™©®€£¥ ↔→ \u00a0\u3000\u2009 "]

TEXTS = ["", " ", "a", "Hello, world! It's 2024:\n  naïve 你好 😀.", "I'LL DON'T we've 'Twas 're-do' can'ts o'clock's",
         "1 12 123 1234 12345 123456 1234567 1,234,567.89 3x4 v10 ²³ ½ ٣٤٥٦ １２３４ Ⅷ①",
         "  two   three    four\n\n\n  tab\t\ttab \n \n\r\n\r\n end   ", "\n", "   ", "\t \n x", "a\n",
         "a \n b\r\nc\r\r\nd",
         "camelCase HTTPServer XMLHttpRequest iPhone McDonald ABCdef abcDEF ǅabc ªb",
         "x=y+z;a<=b&&c||d $5 50%of #tag @you",
         "!?.,;:-_()[]{}<>/\\|`~^*&%$#@+=\"' ¡¿«»“”‘’…—–·§¶†™©®€£¥", "...\n!!!\n\n///\n http://a.b/c?d=e&f=%20#g",
         "你好，世界！今天天气很好。我在apple工作123天～", "こんにちは、カタカナ・ひらがな。漢字かな交じり文ー", "안녕하세요 여러분! ㄱㄴㄷ ㅏ",
         "Привет, мир! Ёлка НАТО. Καλημέρα ΚΌΣΜΕ ς",
         "שָׁלוֹם עולם مَرْحَبًا بالعالم۔ ، नमस्ते दुनिया। বাংলা ไทยภาษา ລາວ ខ្មែរ မြန်မာ",
         "n\u0303o\u0301 q\u0323\u0301 \u0301x Z\u0336 \u20dd", "👩\u200d👧 🙂🙃 🏳️\u200d🌈 ✅\ufe0f 1\ufe0f\u20e3",
         "\u00a0x\u3000y\u2009\u2028z\u0085w\u180e\u200b.",
         "<sentinel:12> IMGIMGABZ IMGIMGABCDEZ <|im_start|>user\nHi<|im_end|>", "The  year 1999's 5's K9s B2B",
         "def f(x):\n    return x**2  # squared\n\tif True:\n\t\tpass\n", "{\"a\": [1, 2.5e-3, null], \"b\": \"c\\n\"}",
         "a'b''c'''d \"'\" 'S 'T 'm'M ’s l'été aujourd'hui", "Ǆ ǅ ǆ ﬁ ﬀ ʼn İ ı ß ẞ ſ K Å", "µ ª º ᴬ ᵃ ʰ ⁿ ₁ ⅓ ㊿ 〇 〡 ㍿",
         "a_b__c -d--e .f..g ,h,,i", "x" * 40 + " " * 20 + "9" * 20 + "." * 20, " (a) [b] {c} <d> !e ?f",
         "\r\n \r\n\ta\rb",
         "word\u0301s mid\u0301\u0301dle 한\u0301글", "$a +b <c =d >e ^f `g |h ~i", "Ünïcödé ÀÉÎÕÜ ñandú ÇA VA Œuvre",
         "1st 2nd 3rd 4th 1990s 10% 5€ 3°C 7/8 1:2 1.2.3.4 -5 +6", "tail spaces    \n", "end\n\n", "end \u3000"]


# Of Unicode 15 to 16: llama.cpp is not asked, whose tables are older or newer.
NEWER = ["a\U0002ebf0B \U0001fae8!x \u1c89\u1c8a\ua7cb\ua7cd Ab\U00010d50\U00010d70 1\U0001e4f1\U0001ccf0 \U0001d2c0x",
         "x\u0897\U00011f00 \u1b4e\u1b7f.\U0001fae9\U0001fadf \u2ffc\u31ef \U0001e030a\U00016d40 \U00031350\U00031351中",
         "\U0001e4d0\U0001e4eb\U0001e4ec 12\U00011f50\U00011f51\U00011f523 \U0001fae8\U0001faf7\n\U0001f774 \u2427"]


def random_texts():
    """Every kind of character beside every other."""
    r = random.Random(11)
    parts = list(" \n\t\r aAzZ09'.,!?_-/$+(") + ["'s", "'LL", "  ", "\r\n", "é", "É", "ж", "Ж", "中", "か", "カ", "한",
             "ก", "א",
             "\u0301", "ǅ", "ª", "²", "½", "٣", "€", "。", "，", "🙂", "\u200d", "\u00a0", "\u3000", "12", "1234567",
             "the", "THE", "The"]
    return ["".join(r.choice(parts) for _ in range(r.choice([4, 9, 20]))) for _ in range(40)]


def base():
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tok.decoder = decoders.ByteLevel()
    r = random.Random(7)
    lines = ["".join(r.sample(s.split(" "), 1)[0] + r.choice([" ", "", "\n", "  "]) for _ in range(12)) for s in SEEN
             for _ in range(60)] + SEEN * 20 + TEXTS
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tok.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=900, initial_alphabet=alphabet, show_progress=False,
                                                       max_token_length=12))
    return tok


def write_gguf(path, tok, pre):
    model = json.loads(tok.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    w = gguf.GGUFWriter(path, "llama")
    w.add_context_length(64), w.add_embedding_length(8), w.add_block_count(1), w.add_feed_forward_length(8)
    w.add_head_count(1), w.add_layer_norm_rms_eps(1e-5), w.add_vocab_size(len(tokens)), w.add_rope_dimension_count(8)
    w.add_tokenizer_model("gpt2"), w.add_tokenizer_pre(pre), w.add_token_list(tokens)
    w.add_token_types([1] * len(tokens)), w.add_token_merges([" ".join(m) for m in model["merges"]])
    w.add_bos_token_id(0), w.add_eos_token_id(0), w.add_add_bos_token(False)
    for name, shape in (("token_embd", (len(tokens), 8)), ("output_norm", (8,)), ("blk.0.attn_norm", (8,)),
                        ("blk.0.ffn_norm", (8,)), *((f"blk.0.{m}", (8, 8)) for m in ("attn_q", "attn_k", "attn_v",
                         "attn_output", "ffn_gate", "ffn_up", "ffn_down"))):
        w.add_tensor(name + ".weight", np.ones(shape, dtype=np.float32))
    w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file(), w.close()


def main():
    gram, llama, names = sys.argv[1], sys.argv[2], sys.argv[3:] or NAMES
    tok, asked = base(), TEXTS + random_texts()
    texts = asked + NEWER
    lines, total = [json.dumps(texts, ensure_ascii=False)], 0
    for name in names:
        with tempfile.TemporaryDirectory() as tmp:
            path = pathlib.Path(tmp) / "m.gguf"
            write_gguf(path, tok, name)
            subprocess.run([gram, "convert", path, "--out",
            path.with_suffix("")], check=True, stdout=subprocess.DEVNULL)
            library = Tokenizer.from_file(str(path.with_suffix("") / "tokenizer.json"))
            ids = [library.encode(t).ids for t in texts]
            said = subprocess.run([llama, path, "0"], input="".join(t.encode().hex() + "\n" for t in asked), text=True,
                                  capture_output=True, check=True).stdout.splitlines()
        theirs = [json.loads(s) for s in said]
        off = [i for i, t in enumerate(asked) if t and theirs[i] != ids[i]]
        lines.append(json.dumps({"pre": name, "ids": ids}, separators=(",", ":")))
        print(f"{name}: llama.cpp differs on {len(off)} of {len(asked)}", *(repr(texts[i]) for i in off), sep="\n    ")
        assert len(off) <= APART.get(name, (0, ""))[0], name
    if len(sys.argv) > 3:
        return
    tok.save(str(OUT / "pre.json"), pretty=False)
    (OUT / "pre.jsonl").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
