#!/usr/bin/env python3
"""The pairs of docs/rationale.md's self-training on real ones: real_pairs.py TRAIN.jsonl EVAL OUT.

TRAIN.jsonl is short.jsonl of scripts/judge_rows.py, EVAL a folder of SET.jsonl.gz of rows {"prompt", "chosen",
"rejected", "id"}. OUT gets labelled.jsonl, unlabelled.jsonl and human.jsonl of the shortest kind of pairs, as many of
each set as there are, and eval.jsonl, four of each evaluation set. No set here has reasons that people wrote: those in
human.jsonl are made, of the answers' first words, and teach the form alone. Then

    gram finetune MODEL OUT/labelled.jsonl OUT/human.jsonl --out OUT/plain --loss gram --lr 4e-4 -b 4 -e 1 \\
        --lora-rank 16 --max-tokens 1024 --truncate drop
    gram eval OUT/plain OUT/eval.jsonl --dtype int8
    gram selftrain scripts/real_pairs.yaml --set model=MODEL --set out=OUT/self --set human=OUT/human.jsonl \\
        --set labelled=OUT/labelled.jsonl --set unlabelled=OUT/unlabelled.jsonl --set eval=OUT/eval.jsonl"""
import gzip
import json
import pathlib
import random
import sys


def characters(row):
    prompt = row["prompt"] if isinstance(row["prompt"], str) else json.dumps(row["prompt"])
    return len(prompt + row["chosen"] + row["rejected"])


def in_turn(rows):
    """One of each set after the other."""
    sets = {}
    for row in rows:
        sets.setdefault(row["subset"], []).append(row)
    while any(sets.values()):
        for name in sorted(sets):
            if sets[name]:
                yield sets[name].pop()


def begins(text):
    """Twelve words of its first line, or of the last one where that is the answer."""
    lines = [line for line in text.strip().split("\n") if line.strip()]
    line = lines[-1] if lines[-1].startswith("Answer:") else lines[0]
    return " ".join(line.split()[:12])


def with_reason(row, turned):
    says = [f'{{first}} says "{begins(row["chosen"])}".', f'{{second}} says "{begins(row["rejected"])}".']
    if turned:
        says.reverse()
    end = "What {first} says is right and helps more, so {first} is better than {second}."
    return row | {"rationale": " ".join(says + [end]), "rationale_label": "chosen"}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    train, held, out = map(pathlib.Path, sys.argv[1:])
    out.mkdir(parents=True, exist_ok=True)
    random.seed(7)
    rows = [row for row in map(json.loads, train.open()) if characters(row) <= 500]
    random.shuffle(rows)
    rows = list(in_turn(rows))
    write(out / "labelled.jsonl", rows[:44])
    write(out / "unlabelled.jsonl", rows[44:132])
    write(out / "human.jsonl", [with_reason(row, i % 2 == 0) for i, row in enumerate(rows[132:176])])
    judged = []
    for path in sorted(held.glob("*.jsonl.gz")):
        name = path.name.split(".")[0]
        with gzip.open(path, "rt") as f:
            rows = [row for row in map(json.loads, f) if characters(row) <= 900]
        random.shuffle(rows)
        judged += [row | {"subset": name, "id": f"{name}/{row['id']}"} for row in rows[:4]]
    write(out / "eval.jsonl", judged)


main()
