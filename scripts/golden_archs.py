#!/usr/bin/env python3
"""Makes tests/golden/archs: a whole tiny checkpoint of each of the newer architectures, with a tokenizer and a chat
template in the form that its family has, and what transformers makes of texts and conversations.

    scripts/golden_archs.py [NAME...]       needs: pip install tokenizers transformers torch safetensors

NAME/ holds the model (random weights in bfloat16) and want.json: "texts" are [text, ids with special tokens parsed, ids
with them as text]; "chats" are {"messages", "arguments", "text", "ids"}, text null where the template refuses, and then
"error" is in its words. Templates and vocabularies are made here; only their form is the families'.
"""
import json
import pathlib
import shutil
import sys

import torch
import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

import golden_models

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "archs"
CORPUS = ["The cat sat on the mat, and the dog ran after the other cat.", "What is the answer? It isn't there.",
          "In the end the better answer is the shorter one; the other one is there for those who ask.",
          "Numbers: 1, 22, 333 and 4444.", "Question and answer, answer and question.",
          "A or B? A and B are two answers, A the first, B the other. A B A B Q"]
BYTES = ["<0x%02X>" % b for b in range(256)]
QWEN_CASE = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
             r"|\s+(?!\S)|\s+")
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CASE = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + REST
GPT4O = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def special(words, **more):
    return [AddedToken(w, special=True, normalized=False, **more) for w in words]


def byte_level(regex, added, plain=(), normalizer=None, whole=True):
    """GPT-2's bytes, cut by a regular expression; special tokens come last, as those of Llama 3 and its kin do."""
    tok = Tokenizer(models.BPE(ignore_merges=whole))
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(regex), "isolated"),
                                                 pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=300, show_progress=False,
                                                        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tok.add_special_tokens(added)
    tok.add_tokens([AddedToken(t, normalized=False) for t in plain])
    if normalizer:
        tok.normalizer = normalizer
    return tok


def sentence(first, prefix, added, pre=None, plain=()):
    """SentencePiece's BPE as its converters write it: its words, a token for each byte, and merges in any way that
    leads to a word."""
    meta = normalizers.Replace(" ", "▁")
    train = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    train.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), meta]) if prefix else meta
    train.pre_tokenizer = pre_tokenizers.Metaspace(split=True)
    train.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=360, special_tokens=first + BYTES,
                                                          show_progress=False))
    j = json.loads(train.to_str())
    vocab = j["model"]["vocab"]
    j["pre_tokenizer"] = None
    j["added_tokens"] = [t for t in j["added_tokens"] if t["content"] in first]
    j["model"]["merges"] = [[t[:i], t[i:]] for t in sorted(vocab, key=vocab.get) if t not in first + BYTES
                            for i in range(1, len(t)) if t[:i] in vocab and t[i:] in vocab]
    tok = Tokenizer.from_str(json.dumps(j))
    if pre:
        tok.pre_tokenizer = pre
    tail = [decoders.Strip(" ", 1, 0)] if prefix else []
    tok.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()] + tail)
    tok.add_special_tokens(added)
    tok.add_tokens([AddedToken(t, normalized=False) for t in plain])
    return tok


GEMMA = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('there is no system turn') }}\
{% endif %}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}\
{{ raise_exception('user and assistant take turns') }}{% endif %}\
{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}\
{{ '<start_of_turn>' + role + '\\n' + m['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}\
{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"""
PHI3 = """{% for m in messages %}{% if m['role'] in ['system', 'user', 'assistant'] %}\
{{ '<|' + m['role'] + '|>\\n' + m['content'] + '<|end|>\\n' }}{% endif %}{% endfor %}\
{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"""
PHI4 = """{% for m in messages %}{% if m['role'] == 'system' and m.tools is defined and m.tools %}\
{{ '<|system|>' + m['content'] + '<|tool|>' + m['tools'] + '<|/tool|><|end|>' }}{% else %}\
{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endif %}{% endfor %}\
{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}"""
OLMO = ("""{{ bos_token }}{% for m in messages %}{% if m['role'] == 'assistant' %}{"""
"""{ '<|assistant|>\\n' + m['content'] }}\
{{ '\\n' if not loop.last else eos_token }}{% else %}{{ '<|' + m['role'] + '|>\\n' + m['content'] + '\\n' }}{% endif %}\
{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}{% endfor %}""")
GRANITE = """{%- if messages[0]['role'] == 'system' %}{%- set given = messages[0]['content'] %}\
{%- set turns = messages[1:] %}{%- else %}{%- set given = 'You are Granite.' %}{%- set turns = messages %}{%- endif %}\
{{- '<|start_of_role|>system<|end_of_role|>' + given + '<|end_of_text|>\\n' }}\
{%- for m in turns %}{{- '<|start_of_role|>' + m['role'] + '<|end_of_role|>' + m['content'] + '<|end_of_text|>\\n' }}\
{%- if loop.last and add_generation_prompt %}{{- '<|start_of_role|>assistant<|end_of_role|>' }}{%- endif %}\
{%- endfor %}"""
MIXTRAL = """{{ bos_token }}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}\
{{ raise_exception('user and assistant take turns') }}{% endif %}{% if m['role'] == 'user' %}\
{{ '[INST] ' + m['content'] + ' [/INST]' }}{% else %}{{ ' ' + m['content'] + eos_token }}{% endif %}{% endfor %}"""
SMOLLM = """{%- set thinks = enable_thinking if enable_thinking is defined else true -%}
{%- set given = messages[0]['content'] if messages[0]['role'] == 'system' else '' -%}
{%- if '/no_think' in given %}{%- set thinks = false -%}{%- endif -%}
{{- '<|im_start|>system\\n## Mode: ' + ('thinks' if thinks else 'answers') + '\\n\\n' -}}
{{- given.replace('/no_think', '').rstrip() + '<|im_end|>\\n' -}}
{%- for m in messages -%}
    {%- if m['role'] == 'user' -%}{{- '<|im_start|>user\\n' + m['content'] + '<|im_end|>\\n' -}}
    {%- elif m['role'] == 'assistant' -%}{% generation %}
        {{- '<|im_start|>assistant\\n' + ('' if thinks else '<think>\\n\\n</think>\\n') + m['content'].lstrip('\\n') -}}
        {{- '<|im_end|>\\n' -}}{% endgeneration %}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\\n' + ('' if thinks else '<think>\\n\\n</think>\\n') -}}
{%- endif -%}
"""
INTERN = """{{ bos_token }}{% for m in messages %}\
{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}{% endfor %}\
{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

QWEN = """{%- if messages[0].role == 'system' %}{{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}\
{%- endif %}
{%- set ns = namespace(looks=true, last=messages|length - 1) %}
{%- for m in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.looks and m.role == "user" and m.content is string %}
        {%- set ns.looks = false %}{%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for m in messages %}
    {%- if m.role == "user" or (m.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}
    {%- elif m.role == "assistant" %}
        {%- set thought = '' %}{%- set content = m.content %}
        {%- if '</think>' in content %}
            {%- set thought = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last and (loop.last or thought) %}
            {{- '<|im_start|>' + m.role + '\n<think>\n' + thought.strip('\n') + '\n</think>\n\n' }}
            {{- content.lstrip('\n') }}
        {%- else %}
            {{- '<|im_start|>' + m.role + '\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}
{%- endif %}"""

GEMMA_PRE = pre_tokenizers.Split(" ", "merged_with_previous")
PHI = ["<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>"]
# name: the model's row in golden_models.py, its tokenizer, bos, eos, pad, and its template.
ARCHS = {
    "gemma": ("gemma", lambda: sentence(["<pad>", "<eos>", "<bos>", "<unk>"], False,
                                        special(["<start_of_turn>", "<end_of_turn>"]), GEMMA_PRE, ["\n\n", "\n\n\n"]),
              "<bos>", "<eos>", "<pad>", GEMMA),
    "gemma2": ("gemma2", lambda: sentence(["<pad>", "<eos>", "<bos>", "<unk>"], False,
                                          special(["<start_of_turn>", "<end_of_turn>"]), GEMMA_PRE, ["\n\n", "\n\n\n"]),
               "<bos>", "<eos>", "<pad>", GEMMA),
    "phi3": ("phi3_long", lambda: sentence(["<unk>", "<s>", "</s>"], True, special(PHI, rstrip=True)),
             "<s>", "<|endoftext|>", "<|endoftext|>", PHI3),
    "phi4_mini": ("phi4_mini", lambda: byte_level(GPT4O, special(PHI + ["<|tool|>", "<|/tool|>"])),
                  "<|endoftext|>", "<|endoftext|>", "<|endoftext|>", PHI4),
    "olmo2": ("olmo2", lambda: byte_level(CASE, special(["<|endoftext|>", "<|pad|>"])),
              "<|endoftext|>", "<|endoftext|>", "<|pad|>", OLMO),
    "granite": ("granite", lambda: byte_level(QWEN_CASE, special(["<|end_of_text|>", "<|start_of_role|>",
                                                                  "<|end_of_role|>"]), whole=False),
                "<|end_of_text|>", "<|end_of_text|>", "<|end_of_text|>", GRANITE),
    "smollm3": ("smollm3", lambda: byte_level(CASE, special(["<|begin_of_text|>", "<|end_of_text|>", "<|im_start|>",
                                                             "<|im_end|>"])),
                "<|begin_of_text|>", "<|im_end|>", "<|im_end|>", SMOLLM),
    "internlm2": ("internlm2", lambda: sentence(["<unk>", "<s>", "</s>"], True,
                                                special(["<|im_start|>", "<|im_end|>", "<|plugin|>"])),
                  "<s>", "</s>", "</s>", INTERN),
    "qwen3_moe": ("qwen3_moe", lambda: byte_level(QWEN_CASE, special(["<|endoftext|>", "<|im_start|>", "<|im_end|>"]),
                                                  ["<think>", "</think>"], normalizers.NFC(), False),
                  "<|endoftext|>", "<|im_end|>", "<|endoftext|>", QWEN),
    "mixtral": ("mixtral", lambda: sentence(["<unk>", "<s>", "</s>"], True, []), "<s>", "</s>", "</s>", MIXTRAL),
}
TEXTS = ["", " ", "The cat, the dog and 12345 others.", "  two  spaces \n\n\n lines\t", "isn't IT'S don't",
         "na\u00efve \u4f60\u597d \U0001f600\u200d e\u0301", "<|im_end|> </s> <|end|>\n<end_of_turn>\n<|user|>  x",
         "<|endoftext|><s><bos>", "a\r\nb/c //\n"]


def turns(*content, system=None):
    roles = ["user", "assistant"]
    return ([{"role": "system", "content": system}] if system is not None else []) + \
        [{"role": roles[i % 2], "content": c} for i, c in enumerate(content)]


CHATS = [(turns("What is the answer?"), {}), (turns("Hi.", " There. \n", "And the other one?"), {}),
         (turns("Q 22", "A <|im_end|> 4"), {}), (turns("  why  ", system=" Be short. /no_think"), {}),
         (turns("Hi.", "\n\nx", "Next", system="One word."), {"enable_thinking": False}),
         (turns("Hi.", "<think>\nwhy\n</think>\n\nSo."), {}), (turns("q", "<think>\na\n</think>\n\nb", "c"), {})]


def save_model(path, row, size, ids):
    bos, eos, pad = ids
    if row == "internlm2":
        config = golden_models.internlm2_config(golden_models.size(1, 24, 2, 1, 16, vocab_size=size))
        config |= {"bos_token_id": bos, "eos_token_id": eos, "pad_token_id": pad}
        model = golden_models.fill(golden_models.InternLM2(config), 7)
        state = {n: model.w(n.removesuffix(".weight")).data for n in model.names}
    else:
        arch, sizes = golden_models.HF[row][:2]
        sizes = sizes | {"num_hidden_layers": 2, "vocab_size": size, "bos_token_id": bos, "eos_token_id": eos,
                         "pad_token_id": pad}
        if arch == "qwen3_moe":             # llama.cpp has experts in every layer
            sizes |= {"mlp_only_layers": []}
        model = golden_models.build(arch, sizes, 7)
        config = golden_models.config_json(model.config, "new", torch.bfloat16)
        state = model.state_dict()
        if sizes["tie_word_embeddings"]:
            del state["lm_head.weight"]
    golden_models.save_weights(path, {n: w.to(torch.bfloat16) for n, w in state.items()}, 1)
    (path / "config.json").write_text(json.dumps(config, indent=1) + "\n")


def chat(tok, messages, arguments, prompt):
    one = {"messages": messages, "arguments": arguments, "add_generation_prompt": prompt, "text": None}
    try:
        one["text"] = tok.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt, **arguments)
    except Exception as e:
        return one | {"error": str(e)}
    return one | {"ids": tok(one["text"], add_special_tokens=False)["input_ids"]}


def make(name):
    row, build, bos, eos, pad, template = ARCHS[name]
    path = OUT / name
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    tok = build()
    save_model(path, row, tok.get_vocab_size(), [tok.token_to_id(t) for t in (bos, eos, pad)])
    tok.save(str(path / "tokenizer.json"), pretty=False)
    (path / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": bos, "eos_token": eos, "pad_token": pad,
        "add_bos_token": False, "chat_template": template}, indent=1) + "\n")
    fast = PreTrainedTokenizerFast.from_pretrained(path)
    texts = []
    for text in TEXTS:
        tok.encode_special_tokens = False
        ids = tok.encode(text, add_special_tokens=False).ids
        tok.encode_special_tokens = True
        texts.append([text, ids, tok.encode(text, add_special_tokens=False).ids])
    chats = [chat(fast, messages, arguments, messages[-1]["role"] == "user") for messages, arguments in CHATS]
    (path / "want.json").write_text(json.dumps({"texts": texts, "chats": chats}) + "\n")
    print(name, sum(f.stat().st_size for f in path.iterdir()) // 1024, "KiB", [c.get("error") for c in chats])


if __name__ == "__main__":
    for arch in sys.argv[1:] or ARCHS:
        make(arch)
