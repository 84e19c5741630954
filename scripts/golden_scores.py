#!/usr/bin/env python3
"""golden_scores.py - preferences of real pairs as transformers computes them, each order alone.

    python3 scripts/make_hf_dir.py SmolLM2-135M-Instruct.Q4_1.gguf /tmp/smollm2
    python3 scripts/golden_scores.py /tmp/smollm2 ROWS.jsonl[.gz] OUT.jsonl [--prompt FILE] [--limit N]

ROWS are objects with id, prompt (a string, or messages), chosen and rejected. The judge prompt is the project's own,
read out of src/reward/prompt.c; the chat template is the model's own jinja. Nothing of gram runs here. Each line of
OUT: id, preference, p_forward, p_swapped, logits [[A, B] forward, [A, B] swapped], tokens of both orders.
"""
import argparse
import ast
import gzip
import json
import math
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LABELS = ("A", "B")


def default_prompt():
    """The string literals of gr_judge_default, joined as a C compiler joins them, as a row without criteria reads
    it."""
    text = (ROOT / "src/reward/prompt.c").read_text()
    literals = re.findall(r'"(?:[^"\\]|\\.)*"', text.split("gr_judge_default[]", 1)[1].split('";\n', 1)[0] + '"')
    return "".join(ast.literal_eval(s) for s in literals).replace("{criteria?}", "")


def question(prompt):
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1:
        return prompt[0]["content"]
    name = {"system": "System", "user": "User", "assistant": "Assistant"}
    return "\n\n".join(f"{name[m['role']]}: {m['content']}" for m in prompt)


def answer(a):
    return a if isinstance(a, str) else a[-1]["content"]


def fill(template, row, first, second):
    part = {"input": question(row["prompt"]), "response_a": answer(row[first]), "response_b": answer(row[second])}
    return re.sub(r"\{(input|response_a|response_b)\}", lambda m: part[m[1]], template)


def read_rows(path, limit=None):
    with (gzip.open if path.endswith(".gz") else open)(path, "rt", encoding="utf-8") as f:
        rows = [json.loads(line) for line in f if line.strip()]
    return rows[:limit]


class Judge:
    def __init__(self, directory, template, threads):
        import torch
        import transformers
        torch.set_num_threads(threads)
        transformers.utils.logging.disable_progress_bar()
        self.torch = torch
        self.tok = transformers.AutoTokenizer.from_pretrained(directory)
        self.model = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
        self.template = template
        self.special = [t.content for t in self.tok.added_tokens_decoder.values()]
        self.label = [self.tok.encode(x, add_special_tokens=False) for x in LABELS]
        assert all(len(ids) == 1 for ids in self.label)

    def ids(self, row, first, second):
        user = fill(self.template, row, first, second)
        if any(s in user for s in self.special):
            raise ValueError(f"{row['id']}: a special token stands in the text; transformers would take it as one")
        text = self.tok.apply_chat_template([{"role": "user", "content": user}], tokenize=False,
                                            add_generation_prompt=True)
        return self.tok(text, add_special_tokens=False)["input_ids"]

    def logits(self, ids):
        """Of the two labels after the last position; no other position's logits are computed."""
        with self.torch.no_grad():
            z = self.model(self.torch.tensor([ids]), logits_to_keep=1).logits[0, -1]
        return [float(z[i[0]]) for i in self.label]

    def score(self, row):
        forward, swapped = self.ids(row, "chosen", "rejected"), self.ids(row, "rejected", "chosen")
        f, s = self.logits(forward), self.logits(swapped)
        pf = 1 / (1 + math.exp(f[1] - f[0]))
        ps = 1 / (1 + math.exp(s[0] - s[1]))
        return {"id": row["id"], "preference": (pf + ps) / 2, "p_forward": pf, "p_swapped": ps, "logits": [f, s],
                "tokens": len(forward) + len(swapped)}


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("model")
    ap.add_argument("rows")
    ap.add_argument("out")
    ap.add_argument("--prompt", help="a judge prompt's file, used byte for byte")
    ap.add_argument("--limit", type=int)
    ap.add_argument("--threads", type=int, default=1)
    args = ap.parse_args()
    template = pathlib.Path(args.prompt).read_bytes().decode() if args.prompt else default_prompt()
    judge = Judge(args.model, template, args.threads)
    with open(args.out, "w") as out:
        for n, row in enumerate(read_rows(args.rows, args.limit), 1):
            try:
                out.write(json.dumps(judge.score(row)) + "\n")
            except ValueError as e:
                print(f"\nleft out: {e}", file=sys.stderr)
            print(f"\r{n}", end="", file=sys.stderr)
    print(file=sys.stderr)


if __name__ == "__main__":
    main()
