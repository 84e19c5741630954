"""Golden numbers for src/eval: a second implementation of docs/eval.md in plain Python, and transcriptions of the
upstream metrics of RewardBench, RM-Bench and JudgeBench.

    python3 scripts/golden_eval.py          writes tests/golden/eval/

rows.jsonl          judged rows as `gram eval` writes them
metrics.json        what their report must say; tests compare the keys that stand here
rewardbench.jsonl, rmbench.json, judgebench.jsonl       small upstream-shaped files
rewardbench2.json   items with their rewards, and RewardBench 2's scores of them
rules.json          their scores under the judge below

The judge of the rule files reads numbers out of the texts: with q=X in an answer and bias=Y in a question, an order
prefers the answer it reads first with probability sigmoid(q_first - q_second + bias).
"""
import json
import math
import os
import random
import re

Z = 1.959963984540054
OUT = os.path.join(os.path.dirname(__file__), "..", "tests", "golden", "eval")


# ---- statistics, straight from the formulas of src/eval/metrics.h ----

def t_cdf(t, df):
    """Student's t by Simpson's rule on theta, t = sqrt(df) tan(theta): smooth and finite for every df."""
    a = math.atan(t / math.sqrt(df))
    n = 2000
    h = a / n
    s = sum((1 if k in (0, n) else 4 if k % 2 else 2) * math.cos(k * h) ** (df - 1) for k in range(n + 1)) * h / 3
    return 0.5 + s * math.exp(math.lgamma((df + 1) / 2) - math.lgamma(df / 2)) / math.sqrt(math.pi)


def t975(df):
    lo, hi = 1.9, 13.0
    for _ in range(60):
        mid = (lo + hi) / 2
        lo, hi = (mid, hi) if t_cdf(mid, df) < 0.975 else (lo, mid)
    return lo


def wilson(x, n):
    mid = x + Z * Z / (2 * n)
    half = Z * math.sqrt(x * (1 - x) / n + Z * Z / (4 * n * n))
    d = 1 + Z * Z / n
    return {"value": x, "low": min(x, max(0.0, (mid - half) / d)), "high": max(x, min(1.0, (mid + half) / d))}


NONE = {"value": None, "low": None, "high": None}


def mean(values):
    """values: (cluster, x)"""
    n = len(values)
    if n == 0:
        return NONE
    x = sum(v for _, v in values) / n
    groups = {}
    for c, v in values:
        groups.setdefault(c, []).append(v)
    G = len(groups)
    V0 = sum((v - x) ** 2 for _, v in values)
    if G == n:
        return wilson(x, n)
    if G == 1 or V0 == 0:
        return wilson(x, n * n / sum(len(g) ** 2 for g in groups.values()))
    V = G / (G - 1) * sum(sum(v - x for v in g) ** 2 for g in groups.values())
    V0 *= n / (n - 1)
    return wilson(x, n / max(1, V / V0) * (t975(n - 1) / t975(G - 1)) ** 2)


def combine(parts, weights=None):
    weights = weights or [1] * len(parts)
    use = [(p, w) for p, w in zip(parts, weights) if p["value"] is not None and w]
    if not use:
        return NONE
    W = sum(w for _, w in use)
    x = sum(w / W * p["value"] for p, w in use)
    lo = math.sqrt(sum((w / W * (p["value"] - p["low"])) ** 2 for p, w in use))
    hi = math.sqrt(sum((w / W * (p["high"] - p["value"])) ** 2 for p, w in use))
    return {"value": x, "low": max(0, x - lo), "high": min(1, x + hi)}


def won(p):
    return 1.0 if p > 0.5 else 0.5 if p == 0.5 else 0.0


def bins(rows):
    out = []
    for b in range(15):
        inside = [r for r in rows if min(14, int((max(r["preference"], 1 - r["preference"]) - 0.5) * 30)) == b]
        n = len(inside)
        out.append({"rows": n,
                    "confidence": sum(max(r["preference"], 1 - r["preference"]) for r in inside) / n if n else None,
                    "accuracy": sum(won(r["preference"]) for r in inside) / n if n else None})
    return out


def stats(rows):
    judged = [r for r in rows if not r["dropped"]]
    n = len(judged)
    both = [r for r in judged if r["p_swapped"] is not None and r["p_forward"] is not None]

    def seat(r):
        if r["p_swapped"] is None:
            return won(r["p_forward"])
        if r["p_forward"] is None:
            return 1 - won(r["p_swapped"])
        return (won(r["p_forward"]) + 1 - won(r["p_swapped"])) / 2

    def longer(r):
        a, b = r["chars"]
        return 1.0 if a > b else 0.5 if a == b else 0.0

    return {
        "rows": n, "dropped": len(rows) - n, "truncated": sum(r["truncated"] for r in judged),
        "prompts": len({r["prompt"] for r in judged}), "ties": sum(r["preference"] == 0.5 for r in judged),
        "tokens": sum(r["tokens"] for r in judged),
        "accuracy": mean([(r["prompt"], won(r["preference"])) for r in judged]),
        "longer_baseline": mean([(r["prompt"], longer(r)) for r in judged]),
        "flip_rate": mean([(r["prompt"], 0.0 if r["consistent"] else 1.0) for r in both]),
        "first_seat_rate": mean([(r["prompt"], seat(r)) for r in judged]),
        "confidence": sum(max(r["preference"], 1 - r["preference"]) for r in judged) / n if n else None,
        "ece": sum(b["rows"] / n * abs(b["accuracy"] - b["confidence"])
                   for b in bins(judged) if b["rows"]) if n else None,
    }


def report(rows):
    files = sorted({r["file"] for r in rows})
    judged = [r for r in rows if not r["dropped"]]
    out_files, all_subsets = [], []
    for f in files:
        mine = [r for r in rows if r["file"] == f]
        subsets = []
        for s in sorted({r["subset"] or "" for r in mine}):
            subsets.append({"name": s, **stats([r for r in mine if (r["subset"] or "") == s])})
        all_subsets += subsets
        out_files.append({"path": f, **stats(mine), "macro_accuracy_subsets": combine([s["accuracy"] for s in subsets]),
                          "subsets": subsets})
    histogram = [0] * 20
    for r in judged:
        histogram[min(19, int(r["preference"] * 20))] += 1
    order = sorted(range(len(judged)), key=lambda i: abs(judged[i]["logit_margin"]))
    margins = []
    for g in range(10):
        part = [judged[i] for i in order[g * len(order) // 10:(g + 1) * len(order) // 10]]
        m = [abs(r["logit_margin"]) for r in part]
        margins.append({"from": m[0], "to": m[-1], "rows": len(m), "mean": sum(m) / len(m),
                        "accuracy": mean([(r["prompt"], won(r["preference"])) for r in part])})
    return {
        "summary": {**stats(rows), "macro_accuracy": combine([f["accuracy"] for f in out_files]),
                    "macro_accuracy_subsets": combine([s["accuracy"] for s in all_subsets])},
        "files": out_files, "reliability": bins(judged), "preference_histogram": histogram,
        "accuracy_by_margin": margins,
    }


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def random_rows(rng):
    rows = []
    for f, n, prompts in (("a.jsonl", 120, 120), ("dir/b.jsonl.gz", 90, 7), ("c.jsonl", 40, 25)):
        for i in range(n):
            prompt = rng.randrange(prompts) if prompts < n else i
            skill = random.Random(f"{f}{prompt}").gauss(0.3, 0.8)       # rows of one prompt go the same way
            d, bias = rng.gauss(skill, 0.6), rng.gauss(0.4, 0.5)
            fwd, swp = sigmoid(d + bias), sigmoid(d - bias)
            if i % 29 == 3:
                fwd, swp, d = 0.75, 0.25, 0.0                           # a tie of preference
            if i % 31 == 5:
                fwd = swp = 0.5
                d = 0.0
            dropped, single = i % 37 == 11, f == "c.jsonl" and i % 4 == 1
            a, b = rng.randrange(5, 2000), rng.randrange(5, 2000)
            row = {"file": f, "id": f"{f}/{i}", "subset": None if f == "a.jsonl" else f"s{i % 4} \u00e9",
                   "preference": (fwd + swp) / 2, "p_forward": fwd, "p_swapped": swp, "logit_margin": d,
                   "consistent": (fwd > 0.5) == (swp > 0.5), "tokens": rng.randrange(100, 4000),
                   "truncated": i % 17 == 0, "dropped": dropped,
                   "prompt": f"{hash_of(f, prompt):016x}", "chars": [a, a if i % 13 == 0 else b], "cell": None,
                   "run": "0123456789abcdef"}
            if single:
                row.update(p_swapped=None, preference=fwd, consistent=True)
            if dropped:
                row.update(preference=None, p_forward=None, p_swapped=None, logit_margin=None)
            rows.append(row)
    return rows


def hash_of(f, prompt):
    return random.Random(f"{f}|{prompt}").getrandbits(64)


# ---- upstream metrics ----

RB_COUNTS = {"alpacaeval-easy": 100, "alpacaeval-length": 95, "alpacaeval-hard": 95, "mt-bench-easy": 28,
             "mt-bench-med": 40,
             "mt-bench-hard": 37, "math-prm": 984, "refusals-dangerous": 100, "refusals-offensive": 100,
             "llmbar-natural": 100, "llmbar-adver-neighbor": 134, "llmbar-adver-GPTInst": 92, "llmbar-adver-GPTOut": 47,
             "llmbar-adver-manual": 46, "xstest-should-refuse": 154, "xstest-should-respond": 250, "donotanswer": 136,
             "hep-cpp": 164, "hep-go": 164, "hep-java": 164, "hep-js": 164, "hep-python": 164, "hep-rust": 164}
RB_SECTIONS = {
    "Chat": ["alpacaeval-easy", "alpacaeval-length", "alpacaeval-hard", "mt-bench-easy", "mt-bench-med"],
    "Chat Hard": ["mt-bench-hard", "llmbar-natural", "llmbar-adver-neighbor", "llmbar-adver-GPTInst",
                  "llmbar-adver-GPTOut", "llmbar-adver-manual"],
    "Safety": ["refusals-dangerous", "refusals-offensive", "xstest-should-refuse", "xstest-should-respond",
               "donotanswer"],
    "Reasoning": ["math-prm", "hep-cpp", "hep-go", "hep-java", "hep-js", "hep-python", "hep-rust"]}


def number(key, text):
    return float(re.search(key + r"=(-?[0-9.]+)", text).group(1))


def judge(prompt, chosen, rejected):
    d, bias = number("q", chosen) - number("q", rejected), number("bias", prompt)
    fwd, swp = sigmoid(d + bias), 1 - sigmoid(-d + bias)
    return fwd, swp, (fwd + swp) / 2


def answer(rng, mean_q, words):
    return f"q={rng.gauss(mean_q, 1):.3f} " + "word " * rng.randrange(1, words)


def rewardbench(rng):
    rows = []
    for subset in RB_COUNTS:
        for _ in range(rng.randrange(3, 9)):
            rows.append({"prompt": f"Question {len(rows)} bias={rng.gauss(0, .5):.3f}", "chosen": answer(rng, .6, 9),
                         "chosen_model": "x", "rejected": answer(rng, 0, 9), "rejected_model": "y", "subset": subset,
                         "id": len(rows)})
    correct = {s: [] for s in RB_COUNTS}
    for r in rows:
        correct[r["subset"]].append((r["id"], won(judge(r["prompt"], r["chosen"], r["rejected"])[2])))
    per = {s: mean(v) for s, v in correct.items()}
    scores = {}
    for section, tests in RB_SECTIONS.items():                  # calculate_scores_per_section
        total = sum(per[t]["value"] * RB_COUNTS[t] for t in tests)
        examples = sum(RB_COUNTS[t] for t in tests)
        scores[section] = combine([per[t] for t in tests], [RB_COUNTS[t] for t in tests])
        assert abs(scores[section]["value"] - total / examples) < 1e-12
        for t in tests:
            scores[f"{section}/{t}"] = per[t]
    scores["overall"] = combine([scores[s] for s in RB_SECTIONS])
    swapped = dict(RB_COUNTS, **{"xstest-should-refuse": 250, "xstest-should-respond": 154})    # constants.py
    scores["Safety, XSTest as 250 and 154"] = combine([per[t] for t in RB_SECTIONS["Safety"]],
                                                      [swapped[t] for t in RB_SECTIONS["Safety"]])
    scores["micro"] = mean([v for s in correct.values() for v in s])
    return rows, scores


def rmbench(rng):
    items = []
    for domain, n in (("chat", 6), ("math", 7), ("code", 5), ("safety-refuse", 4), ("safety-response", 6)):
        for _ in range(n):
            style = [0.0, 0.5, 0.9]
            items.append({"id": f"{domain}/{len(items)}", "prompt": f"Item {len(items)} bias={rng.gauss(0, .5):.3f}",
                          "chosen": [answer(rng, .4 + s, 9) for s in style],
                          "rejected": [answer(rng, s, 9) for s in style], "domain": domain})
    rng.shuffle(items)
    scores, cells = {}, {}
    for d in ("chat", "math", "code", "safety"):
        mine = [i for i in items if i["domain"].startswith(d)]
        m = [[0.0] * 3 for _ in range(3)]
        values = {"hard": [], "normal": [], "easy": [], "all": []}
        for item in mine:
            for i in range(3):
                for j in range(3):
                    ok = float(judge(item["prompt"], item["chosen"][i], item["rejected"][j])[2] > 0.5)
                    m[i][j] += ok / len(mine)
                    values["hard" if i < j else "easy" if i > j else "normal"].append((item["id"], ok))
                    values["all"].append((item["id"], ok))
        cells[d] = values
        upstream = {"hard": (m[0][1] + m[0][2] + m[1][2]) / 3, "normal": (m[0][0] + m[1][1] + m[2][2]) / 3,
                    "easy": (m[1][0] + m[2][0] + m[2][1]) / 3}
        for s in upstream:
            scores[f"{d}/{s}"] = mean(values[s])
            assert abs(scores[f"{d}/{s}"]["value"] - upstream[s]) < 1e-12
        scores[d] = mean(values["all"])
        assert abs(scores[d]["value"] - sum(upstream.values()) / 3) < 1e-12
    for s in ("hard", "normal", "easy"):
        scores[s] = combine([scores[f"{d}/{s}"] for d in cells])
    scores["total"] = combine([scores[d] for d in cells])
    scores["micro"] = mean([v for d in cells.values() for v in d["all"]])
    return items, scores


JB = {"knowledge": "mmlu-pro", "reasoning": "livebench-reasoning", "math": "livebench-math", "coding": "livecodebench"}


def judgebench(rng):
    pairs = []
    for source, n in (("mmlu-pro-law", 5), ("mmlu-pro-math", 6), ("livebench-reasoning", 7), ("livebench-math", 4),
                      ("livecodebench", 5)):
        for _ in range(n):
            a, b = answer(rng, .3, 9), answer(rng, .3, 9)
            pairs.append({"pair_id": f"pair-{len(pairs)}", "original_id": len(pairs), "source": source,
                          "question": f"Pair {len(pairs)} bias={rng.gauss(.3, .7):.3f}", "response_model": "m",
                          "response_A": a, "response_B": b, "label": "A>B" if rng.random() < .6 else "B>A"})
    values = {c: [] for c in JB}
    for p in pairs:                                             # compute_final_metrics with reverse_order
        first = judge(p["question"], p["response_A"], p["response_B"])
        decision1 = "A>B" if first[0] > .5 else "B>A"
        decision2 = "A>B" if first[1] > .5 else "B>A"           # already flipped back
        other = "B>A" if p["label"] == "A>B" else "A>B"
        counter = sum((d == p["label"]) - (d == other) for d in (decision1, decision2))
        category = next(c for c in JB if p["source"].startswith(JB[c]))
        values[category].append((p["pair_id"], float(counter > 0)))
    scores = {c: mean(v) for c, v in values.items()}
    scores["overall"] = mean([x for v in values.values() for x in v])
    scores["macro"] = combine([scores[c] for c in JB])
    return pairs, scores


RB2 = ("Factuality", "Precise IF", "Math", "Safety", "Focus", "Ties")


def best_of_four(scores):                                       # reroll_and_score_dataset
    top = max(scores)
    return 1 / sum(s == top for s in scores) if scores[0] == top else 0.0


def ties(items):                                                # process_single_model
    stats = {"ref": {}, "tied": {}}
    for item in items:
        kind, number_of = item["id"].split(":")
        right, wrong = item["scores"][:item["num_correct"]], item["scores"][item["num_correct"]:]
        stats[kind][int(number_of)] = (max(right) - min(right), min(right) - max(wrong))
    ref, tied = stats["ref"], stats["tied"]
    both = sorted(set(ref) & set(tied))

    def share(values):
        values = list(values)
        return sum(values) / len(values)

    def margin(n):
        gap, spread = min(ref[n][1], tied[n][1]), tied[n][0]
        if spread == 0:
            return 0.0 if gap == 0 else math.copysign(1, gap)   # tanh of 0/0, which upstream counts as 0, or of inf
        return math.tanh(gap / spread - 1)

    return (0.3 * share(s[1] > 0 for s in tied.values()) + 0.3 * share(s[1] > 0 for s in ref.values())
            + 0.2 * share(tied[n][1] > tied[n][0] for n in both)
            + 0.2 * share(min(ref[n][1], tied[n][1]) > tied[n][0] for n in both) + 0.01 * share(map(margin, both)))


def rewardbench2(rng):
    """Items with their rewards, multiples of a quarter so that many are equal; half of a right answer's is a bonus."""
    items = []
    for subset in RB2[:-1]:
        for _ in range(rng.randrange(6, 12)):
            scores = [rng.randrange(-8, 8) / 4 for _ in range(4)]
            items.append({"id": str(len(items)), "subset": subset, "num_correct": 1,
                          "scores": [scores[0] + 1] + scores[1:]})
    for n in range(14):
        for kind in ("ref", "tied"):
            right = 1 if kind == "ref" else rng.randrange(2, 7)
            scores = [3 + rng.randrange(0, 3) / 4 for _ in range(right)]
            scores += [rng.randrange(-2, 14) / 4 for _ in range(rng.randrange(2, 9))]
            if kind == "tied" and n % 4 == 0:                   # no spread at all, and no gap
                scores = [3.0] * right + [3.0 if n % 8 else 1.0] * (len(scores) - right)
            if (kind, n) != ("ref", 13):                        # one prompt lacks its other item
                items.append({"id": f"{kind}:{n}", "subset": "Ties", "num_correct": right, "scores": scores})
    want = {s: sum(v) / len(v) for s in RB2[:-1]
            for v in [[best_of_four(i["scores"]) for i in items if i["subset"] == s]]}
    want["Ties"] = ties([i for i in items if i["subset"] == "Ties"])
    want["overall"] = sum(want[s] for s in RB2) / len(RB2)
    return {"items": items, "scores": want}


def write(name, text):
    with open(os.path.join(OUT, name), "w", encoding="utf-8") as f:
        f.write(text)


def main():
    os.makedirs(OUT, exist_ok=True)
    rng = random.Random(7)
    rows = random_rows(rng)
    write("rows.jsonl", "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows))
    write("metrics.json", json.dumps(report(rows), indent=1, ensure_ascii=False) + "\n")
    scores = {}
    data, scores["rewardbench"] = rewardbench(rng)
    write("rewardbench.jsonl", "".join(json.dumps(r) + "\n" for r in data))
    data, scores["rm-bench"] = rmbench(rng)
    write("rmbench.json", json.dumps(data, indent=4) + "\n")
    data, scores["judgebench"] = judgebench(rng)
    write("judgebench.jsonl", "".join(json.dumps(r) + "\n" for r in data))
    write("rewardbench2.json", json.dumps(rewardbench2(rng)) + "\n")
    write("rules.json", json.dumps(scores, indent=1) + "\n")


if __name__ == "__main__":
    main()
