#!/usr/bin/env python3
"""Groups of a reward head over HTTP have the bits of `gram rank`: serve_ranks.py URL GROUPS.jsonl RANKS

RANKS.all-pairs and the like are what `gram rank --method` wrote. What ranks by reward without comparing (/v1/reward,
the rerankers asked for raw scores) must give the same scores in the same order."""
import json
import math
import sys

sys.path.insert(0, "python")
from gram.client import Gram  # noqa: E402

url, groups, ranks = sys.argv[1:]
gram = Gram(url)
checked = 0


def same(got, want, what):
    global checked
    checked += 1
    if got != want:
        sys.exit(f"FAILED: {what}: {got!r}, gram rank says {want!r}")


def best_first(results, name, want, what):
    same([r["index"] for r in results], want["ranking"], what)
    same([r[name] for r in results], [want["scores"][i] for i in want["ranking"]], what)


with open(groups, encoding="utf-8") as f:
    rows = [json.loads(line) for line in f]
for method in ("all-pairs", "tournament", "linear", "reference"):
    with open(f"{ranks}.{method}", encoding="utf-8") as f:
        wanted = [json.loads(line) for line in f]
    for row, want in zip(rows, wanted):
        prompt, responses, n = row["prompt"], row["responses"], len(row["responses"])
        got = gram.rank(prompt, responses, method, row["reference"])
        best_first(got["results"], "score", want, f"/v1/rank, {method}")
        for name in ("rewards", "sigma", "overlap"):
            same(got.get(name), want.get(name), f"/v1/rank, {method}, {name}")
        for name, theirs in (("comparison_count", "comparisons"), ("passes", "passes"), ("tokens", "tokens"),
                             ("intransitive", "intransitive"), ("truncated", "truncated")):
            same(got[name], want[theirs], f"/v1/rank, {method}, {name}")
        if method == "reference":           # preferences over it, by another way: pairs
            same(gram.reward(prompt, responses, row["reference"]), want["scores"], "/v1/reward with a reference")
            continue
        same(gram.reward(prompt, responses), want["scores"], "/v1/reward")
        got = gram.post("/v1/rerank", {"query": prompt, "documents": responses, "use_activation": False})
        best_first(got["results"], "relevance_score", want, "/v1/rerank")
        got = gram.post("/rerank", {"query": prompt, "texts": responses, "raw_scores": True})
        best_first(got, "score", want, "TEI's /rerank")
        got = gram.post("/v1/rerank", {"query": prompt, "documents": responses, "instruct": "",
                                       "use_activation": False})
        best_first(got, "score", want, "SGLang's /v1/rerank")
        got = gram.post("/v2/rerank", {"query": prompt, "documents": responses})["results"]
        same([r["index"] for r in got], want["ranking"], "/v2/rerank")
        assert all(math.isclose(r["relevance_score"], 1 / (1 + math.exp(-want["scores"][r["index"]]))) for r in got)
print(f"  {checked} answers about groups have the bits of gram rank")
