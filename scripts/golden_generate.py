#!/usr/bin/env python3
"""tests/golden/generate.txt: what transformers writes greedily, in float32, after 200 prompts with six tiny models.

A line `NAME PROMPT ANSWER` each; a token is one character, chr(48 + id) (the models of tests/golden/models know 61). No
token ends an answer. Prompts have 1 to 40 random tokens, drawn with a seed; 64 tokens are written."""
import pathlib
import random
import sys

import torch
import transformers

HERE = pathlib.Path(__file__).resolve().parent.parent / 'tests/golden'
MODELS, LENGTHS, EACH, NEW = ('llama_scaled', 'mistral_window', 'qwen2_window', 'qwen3', 'gemma3',
                              'gemma2_untied'), 20, 10, 64


def text(ids):
    return ''.join(chr(48 + i) for i in ids)


def main():
    random.seed(5)
    with open(HERE / 'generate.txt', 'w') as out:
        for name in MODELS:
            m = transformers.AutoModelForCausalLM.from_pretrained(HERE / 'models' / name, dtype=torch.float32,
                                                                  attn_implementation='eager').eval()
            m.generation_config = transformers.GenerationConfig(do_sample=False, max_new_tokens=NEW, pad_token_id=0)
            for _ in range(LENGTHS):
                n = random.randint(1, 40)
                ids = torch.tensor([[random.randrange(61) for _ in range(n)] for _ in range(EACH)])
                got = m.generate(ids, attention_mask=torch.ones_like(ids))
                for row in got.tolist(): out.write(f'{name} {text(row[:n])} {text(row[n:])}\n')
            print(name, file=sys.stderr)


main()
