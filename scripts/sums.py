"""sums.py - a task on which reasons help by construction: which of two answers is the larger sum.

    python3 scripts/sums.py data DIR [--seed N] [--human N] [--labelled N] [--unlabelled N] [--test N]
    python3 scripts/sums.py table RUN...

A judge that answers at once has to add up both answers in one step; one that writes may add a number at a time. `data`
writes rows with reasons (human.jsonl), labelled pairs without (labelled.jsonl), pairs for the rounds (unlabelled.jsonl;
their labels are there to be counted by, and no stage looks at them), a test set (test.jsonl) without a question in
common, and the prompts. The same seed gives the same bytes. `table` prints what runs of scripts/run_sums.sh, one a seed,
came to."""
import argparse, json, math, pathlib, random, statistics

TERMS, LARGEST, APART = 3, 49, 25
JUDGE = "Which response is the larger sum?\nResponse A: {response_a}\nResponse B: {response_b}\n"
PROMPTS = {
    "plain.txt": JUDGE + "{input} Answer with A or B alone.",
    "judge.txt": JUDGE + "{input} Add up both, a number at a time, then answer.",
    "prover.txt": JUDGE + "{input} Response {label} is. Add up both, a number at a time, and conclude.",
}

def pair(rng, seen):
    """Two sums that differ, but not by much: no first number gives them away."""
    while True:
        a, b = ([rng.randint(1, LARGEST) for _ in range(TERMS)] for _ in range(2))
        key = tuple(sorted([tuple(a), tuple(b)]))
        if 0 < abs(sum(a) - sum(b)) <= APART and key not in seen:
            seen.add(key)
            return (a, b) if sum(a) > sum(b) else (b, a)

def text(terms):
    return " + ".join(map(str, terms))

def steps(name, terms):
    total, said = terms[0], []
    for t in terms[1:]:
        said.append(f"{total} + {t} = {total + t}")
        total += t
    return f"{name}: {', '.join(said)}."

def row(name, i, rng, seen, reasons):
    better, worse = pair(rng, seen)
    r = {"id": f"{name}{i}", "prompt": "Which sum is larger?", "chosen": text(better), "rejected": text(worse)}
    if reasons:
        r["rationale"] = (f"{steps('{first}', better)}\n{steps('{second}', worse)}\n\nConclusion:\n"
                          f"{sum(better)} is more than {sum(worse)}. {{first}} is better.")
    return r

def data(args):
    rng, seen, out = random.Random(f"sums {args.seed}"), set(), pathlib.Path(args.dir)
    out.mkdir(parents=True, exist_ok=True)
    for name in ["human", "labelled", "unlabelled", "test"]:
        rows = [row(name, i, rng, seen, name == "human") for i in range(getattr(args, name))]
        (out / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    for name, prompt in PROMPTS.items():
        (out / name).write_text(prompt)

# ---- What came of it ---------------------------------------------------------------------------------

T95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571}       # 97.5 % points of Student's t by degrees of freedom

def over_seeds(values):
    """The mean over seeds and half of its 95 % interval."""
    half = T95.get(len(values) - 1, 1.96) * statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return f"{100 * statistics.mean(values):.1f}" + (f" \u00b1 {100 * half:.1f}" if half is not None else "")

def numbers(path):
    return json.loads(path.read_text())

def table(args):
    runs = [pathlib.Path(r) for r in args.run]
    print("| judge | votes | accuracy, % | tokens written a pair |\n| --- | --- | --- | --- |")
    plain = [numbers(r / "plain/numbers.json")["summary"]["accuracy"]["value"] for r in runs]
    print(f"| plain | - | {over_seeds(plain)} | 0 |")
    for judge in ["02-judge", "round-1", "round-2", "final"]:
        points = [numbers(r / "self/eval" / judge / "numbers.json")["rationales"]["accuracy_by_votes"] for r in runs]
        for k in (1, 4, 16):
            at = [p for run in points for p in run if p["votes"] == k]
            print(f"| {judge} | {k} | {over_seeds([p['accuracy']['value'] for p in at])} | "
                  f"{statistics.mean(p['written_tokens_a_row'] for p in at):.0f} |")
    print("\n| round | kept, % | of kept, right, % | of dropped, right, % |\n| --- | --- | --- | --- |")
    for n in (1, 2):
        rounds = [numbers(r / "self/rounds.json")["rounds"][n]["labels"] for r in runs]
        share = lambda c: c["right"] / c["known"] if c["known"] else float("nan")
        print(f"| {n} | {over_seeds([l['kept']['pairs'] / l['pairs'] for l in rounds])} | "
              f"{over_seeds([share(l['kept']) for l in rounds])} | {over_seeds([share(l['dropped']) for l in rounds])} |")

def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sub = p.add_subparsers(required=True)
    d = sub.add_parser("data")
    d.add_argument("dir")
    for name, n in [("seed", 0), ("human", 400), ("labelled", 400), ("unlabelled", 800), ("test", 400)]:
        d.add_argument(f"--{name}", type=int, default=n)
    d.set_defaults(run_it=data)
    t = sub.add_parser("table")
    t.add_argument("run", nargs="+")
    t.set_defaults(run_it=table)
    args = p.parse_args()
    args.run_it(args)

if __name__ == "__main__":
    main()
