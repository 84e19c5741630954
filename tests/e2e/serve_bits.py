#!/usr/bin/env python3
"""Scores over HTTP are the bits of `gram score`: serve_bits.py URL PAIRS.jsonl VERDICTS.jsonl

The rows go in one by one from several clients at once, in another order, beside a ranking and a chat, and then all in
one request: whatever else is in flight, every number is the one that the file holds."""
import json
import random
import sys
import threading

sys.path.insert(0, "python")
from gram.client import Gram  # noqa: E402

url, pairs, verdicts = sys.argv[1:]
gram = Gram(url)
rows = [json.loads(line) for line in open(pairs, encoding="utf-8")]
want = [json.loads(line) for line in open(verdicts, encoding="utf-8")]
KEYS = ("preference", "p_forward", "p_swapped", "logit_margin", "consistent", "tokens", "truncated")
wrong = []


def body(row):
    return {"prompt": row["prompt"], "chosen": row["chosen"], "rejected": row["rejected"]}


def compare(i, v, how):
    for k in KEYS:
        if v[k] != want[i][k]:
            wrong.append(f"row {i}, {how}: {k} is {v[k]!r}, gram score says {want[i][k]!r}")


def client(order):
    for i in order:
        compare(i, gram.post("/v1/score", body(rows[i])), "alone")


orders = [random.Random(s).sample(range(len(rows)), len(rows)) for s in range(3)]
threads = [threading.Thread(target=client, args=(o,)) for o in orders]
threads.append(threading.Thread(target=gram.rank, args=("Name a prime.", ["7", "8", "It is 9.", "Two."])))
threads.append(threading.Thread(target=gram.post, args=("/v1/chat/completions", {
    "messages": [{"role": "user", "content": "Count to ten."}], "max_tokens": 12, "temperature": 0})))
for t in threads:
    t.start()
for t in threads:
    t.join()
for i, v in enumerate(gram.post("/v1/score", {"pairs": [body(r) for r in rows]})["data"]):
    compare(i, v, "in one request")
if wrong:
    sys.exit("FAILED: " + wrong[0])
print(f"  {4 * len(rows)} verdicts over HTTP have the bits of gram score")
