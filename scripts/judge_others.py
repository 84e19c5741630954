#!/usr/bin/env python3
"""Pairs whose worse answer is the answer to another question: judge_others.py TRAIN OUT.

TRAIN is train.jsonl of judge_rows.py. Reward models that saw only answers to the question at hand take a longer answer
to a question like it for the better one. OUT/others.jsonl teaches them: 1,120 pairs of a row's better answer and an
answer to one of the six prompts that are most like its own (by the cosine of their words, rare ones weighing more),
four times of five one that is longer; and 800 rows of TRAIN, so that what was learnt is kept. OUT/others-held.jsonl
has 300 further ones of the former kind."""
import collections
import json
import math
import pathlib
import random
import re
import sys

import numpy as np

LONGEST = 1400              # characters of a prompt and an answer
OTHERS, KEPT, HELD = 1120, 800, 300


def text_of(prompt):
    return prompt if isinstance(prompt, str) else "\n".join(t["content"] for t in prompt)


def question(prompt):
    """What the last turns are about."""
    return prompt if isinstance(prompt, str) else " ".join(t["content"] for t in prompt[-3:] if t["role"] != "system")


def words(text):
    return re.findall(r"\w+", text.lower())


def likeness(questions):
    """[n,n]: the cosines of the questions' words, each weighted by how rare it is; -1 of one with itself."""
    df = collections.Counter(w for q in questions for w in set(words(q)))
    column = {w: i for i, w in enumerate(w for w, c in df.items() if 2 <= c < len(questions) * 0.2)}
    m = np.zeros((len(questions), len(column)), np.float32)
    for i, q in enumerate(questions):
        for w in words(q):
            if w in column:
                m[i, column[w]] += math.log(len(questions) / df[w])
    m /= np.linalg.norm(m, axis=1, keepdims=True) + 1e-9
    like = m @ m.T
    np.fill_diagonal(like, -1)
    return like


def same(a, b):
    """Whether two answers say much the same."""
    a, b = set(words(a)), set(words(b))
    return len(a & b) > 0.7 * min(len(a), len(b)) + 1


def pairs(rows, rand):
    asked = [question(r["prompt"]) for r in rows]
    of = collections.defaultdict(list)
    for i, q in enumerate(asked):
        of[q].append(i)
    questions = list(of)
    place = {q: i for i, q in enumerate(questions)}
    like, seen = likeness(questions), collections.Counter()
    order = list(range(len(rows)))
    rand.shuffle(order)
    for i in order:
        row, name, best = rows[i], rows[i]["id"].split("/")[0], rows[i]["chosen"]
        if seen[asked[i]] >= (20 if name == "ukp_convarg" else 2):          # which has 18 prompts
            continue
        mine = like[place[asked[i]]]
        near = [n for n in np.argsort(-mine)[:6] if 0.05 < mine[n] < 0.98]
        other = [rows[j][side] for n in near for j in of[questions[n]][:6] for side in ("chosen", "rejected")]
        other = [t for t in other
                 if t.strip() != best.strip() and t not in (best, row["rejected"]) and not same(t, best)]
        if not other:
            continue
        longer = [t for t in other if len(best) < len(t) < 3 * len(best) + 60]
        worse = rand.choice(longer) if longer and rand.random() < 0.8 else rand.choice(other)
        if len(text_of(row["prompt"])) + max(len(best), len(worse)) > LONGEST:
            continue
        seen[asked[i]] += 1
        yield {"id": f"other/{i}", "prompt": row["prompt"], "chosen": best, "rejected": worse,
               "subset": f"other:{name}"}


def write(path, rows):
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    rows = [json.loads(line) for line in open(sys.argv[1])]
    out, rand = pathlib.Path(sys.argv[2]), random.Random(7)
    others = list(pairs(rows, rand))
    short = [r for r in rows if len(text_of(r["prompt"])) + max(len(r["chosen"]), len(r["rejected"])) <= LONGEST]
    rand.shuffle(short)
    mixed = others[:OTHERS] + short[:KEPT]
    rand.shuffle(mixed)
    write(out / "others.jsonl", mixed)
    write(out / "others-held.jsonl", others[OTHERS:OTHERS + HELD])
    print(f"{len(others)} pairs with an answer to another question, {len(mixed)} rows in others.jsonl")


main()
