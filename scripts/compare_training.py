#!/usr/bin/env python3
"""compare_training.py - held-out accuracy of the untuned judge, Bradley-Terry, the generative judge and GRAM.

    python3 scripts/compare_training.py MODEL DATA OUT                the papers' comparison in full
    python3 scripts/compare_training.py MODEL DATA OUT --quick       what an hour or two on 2 cores allows

DATA holds train/, unlabeled/ and eval/ with *.jsonl.gz (docs/formats.md). Every arm takes --steps steps on the same
labelled rows in the same order. GRAM takes --stage1-steps on unlabeled pairs before them; --control adds an arm that
takes as many labelled steps as GRAM takes of both, so that the gain of stage 1 can be told from that of more steps.

A run that is in OUT already is not made again, and a training that was cut off goes on, so the same command can be
given until it ends. OUT/table.md is the result, OUT/results.json the same with all numbers, OUT/commands.sh what was
run. Python's standard library alone.
"""
import argparse
import collections
import gzip
import hashlib
import json
import math
import pathlib
import shlex
import statistics
import subprocess
import sys

# 97.5 % points of Student's t, by degrees of freedom.
T = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("data", type=pathlib.Path)
    p.add_argument("out", type=pathlib.Path)
    p.add_argument("--quick", action="store_true", help="the defaults in brackets")
    p.add_argument("--gram", default="build/gram", help="the program")
    p.add_argument("--seeds", type=int, help="3 [1]")
    p.add_argument("--steps", type=int, help="labelled steps: 3000 [300]")
    p.add_argument("--stage1-steps", type=int, help="unlabeled steps: 1500 [150]")
    p.add_argument("--batch-rows", type=int, help="16 [8]")
    p.add_argument("--train-chars", type=int, help="longest training row, characters: 12000 [350]")
    p.add_argument("--eval-chars", type=int, help="longest held-out row: none [500]")
    p.add_argument("--eval-rows", type=int, help="of each held-out set: all [60]")
    p.add_argument("--lora-rank", type=int, help="0, all weights [16]")
    p.add_argument("--lr", type=float, help="2e-5 [1e-3]")
    p.add_argument("--stage1-lr", type=float, help="1e-5 [1e-3]")
    p.add_argument("--control", action="store_true", help="add the arm \"generative, longer\"; always without --quick")
    p.add_argument("--threads", type=int, default=0)
    p.add_argument("--sources", help="training files to take, by name: all")
    a = p.parse_args()
    full = dict(seeds=3, steps=3000, stage1_steps=1500, batch_rows=16, train_chars=12000, eval_chars=0, eval_rows=0,
                lora_rank=0, lr=2e-5, stage1_lr=1e-5)
    quick = dict(seeds=1, steps=300, stage1_steps=150, batch_rows=8, train_chars=350, eval_chars=500, eval_rows=60,
                 lora_rank=16, lr=1e-3, stage1_lr=1e-3)
    for name, value in (quick if a.quick else full).items():
        if getattr(a, name) is None:
            setattr(a, name, value)
    return a


# ---- Rows -----------------------------------------------------------------------------------------------------------


def characters(row):
    p = row["prompt"]
    asked = len(p) if isinstance(p, str) else sum(len(t["content"]) for t in p)
    return asked + (len(row["chosen"]) + len(row["rejected"]) if "chosen" in row else 0)


def in_order(rows):
    """A fixed shuffle."""
    return sorted(rows, key=lambda r: hashlib.sha256(json.dumps(r, sort_keys=True).encode()).digest())


def read(path, keep):
    with gzip.open(path, "rt", encoding="utf-8") as f:
        return in_order(r for r in map(json.loads, f) if keep(r))


def in_turn(lists):
    """One of each list, then another of each, until all are taken."""
    for i in range(max(map(len, lists), default=0)):
        yield from (rows[i] for rows in lists if i < len(rows))


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")


def short_answers(row, most):
    """The row with those of its answers of which two fit beside the question."""
    room = (most - characters(row)) // 2
    return dict(row, responses=[r for r in row["responses"] if len(r) <= room])


def draw(a):
    wanted = set(a.sources.split(",")) if a.sources else None
    train = [read(f, lambda r: characters(r) <= a.train_chars) for f in sorted((a.data / "train").glob("*.gz"))
             if wanted is None or f.name.split(".")[0] in wanted]
    most = max(a.steps + a.stage1_steps, 1) * a.batch_rows
    pairs = [dict(r, id=f"{r.get('source', '')}/{r['id']}") for r, _ in zip(in_turn(train), range(most))]
    write(a.out / "data/pairs.jsonl", pairs)

    files = sorted((a.data / "unlabeled").glob("*.gz"))
    groups = [[s for s in (short_answers(r, a.train_chars) for r in read(f, lambda r: True)) if len(s["responses"]) > 1]
              for f in files]
    write(a.out / "data/unlabeled.jsonl", (r for r, _ in zip(in_turn(groups), range(a.stage1_steps * a.batch_rows))))

    held = []
    for f in sorted((a.data / "eval").glob("*.gz")):
        rows = read(f, lambda r: not a.eval_chars or characters(r) <= a.eval_chars)
        rows = rows[:a.eval_rows or None]
        if len(rows) >= 10:                     # a handful of rows says nothing of a set
            held.append(a.out / f"data/eval/{f.name.split('.')[0]}.jsonl")
            write(held[-1], rows)
    return held


# ---- Runs -----------------------------------------------------------------------------------------------------------


class Runs:
    def __init__(self, a, held):
        self.a, self.held, self.log = a, held, []

    def gram(self, *args, stdout=None):
        command = [self.a.gram, *map(str, args)] + (["--threads", str(self.a.threads)] if self.a.threads else [])
        self.log.append(shlex.join(command))
        return command

    def call(self, *args):
        command = self.gram(*args)
        print("$", self.log[-1], file=sys.stderr, flush=True)
        done = subprocess.run(command)
        if done.returncode:
            sys.exit(f"compare_training.py: the command above ended with {done.returncode}")

    def train(self, stage, model, rows, name, steps, lr, seed, *more):
        out = self.a.out / name
        lora = ["--lora-rank", self.a.lora_rank, "--recompute", "off"] if self.a.lora_rank else []
        args = [stage, model, rows, "--out", out, "--steps", steps, "--lr", lr, "--batch-rows", self.a.batch_rows,
                "--seed", seed, "--save-every", max(steps // 10, 1), "--resume", *lora, *more]
        weights = [out / "model.safetensors", out / "adapter_model.safetensors"]
        if any(w.exists() for w in weights):
            self.gram(*args)
        else:
            self.call(*args)
        return out

    def stage1(self, seed):
        """The model after stage 1, adapters folded in."""
        out = self.train("pretrain", self.a.model, self.a.out / "data/unlabeled.jsonl", f"stage1-seed{seed}",
                         self.a.stage1_steps, self.a.stage1_lr, seed)
        if not self.a.lora_rank:
            return out
        merged = self.a.out / f"stage1-seed{seed}-merged"
        if (merged / "model.safetensors").exists():
            self.gram("merge", out, "--out", merged)
        else:
            command = ["merge", out, "--out", merged]
            self.log.append(shlex.join([self.a.gram, *map(str, command)]))
            if subprocess.run([self.a.gram, *map(str, command)]).returncode:
                sys.exit("compare_training.py: gram merge failed")
        return merged

    def judge(self, model, name):
        numbers = self.a.out / f"{name}.json"
        args = ["eval", model, *self.held, "--json", numbers, "--quiet"]
        if numbers.exists():
            self.gram(*args)
        else:
            self.call(*args, "--resume")
        rows = [json.loads(line) for line in open(numbers.with_suffix(".rows.jsonl"), encoding="utf-8")]
        return json.loads(numbers.read_text()), rows


def arms(a):
    """Name, --loss, smoothing, after stage 1, labelled steps."""
    yield "generative", "generative", None, False, a.steps
    for e in (0, 0.05, 0.1):
        yield f"GRAM, smoothing {e:g}", "gram", e, True, a.steps
    yield "Bradley-Terry", "bt", None, False, a.steps
    if a.control or not a.quick:
        yield "generative, longer", "generative", None, False, a.steps + a.stage1_steps


# ---- Numbers --------------------------------------------------------------------------------------------------------


def right(rows):
    return [1.0 if r["preference"] > 0.5 else 0.5 if r["preference"] == 0.5 else 0.0 for r in rows]


def interval(values, rows_interval):
    """Mean with its interval over seeds; with one seed, that over rows which gram eval gives."""
    if len(values) < 2:
        return values[0], rows_interval["low"], rows_interval["high"]
    mean, sd = statistics.mean(values), statistics.stdev(values)
    half = T[len(values) - 1] * sd / math.sqrt(len(values))
    return mean, mean - half, mean + half


def paired(x, y):
    """Mean difference of accuracies on the same rows, with its 95 % interval by the normal approximation."""
    d = [a - b for a, b in zip(x, y)]
    mean = statistics.mean(d)
    half = 1.96 * statistics.stdev(d) / math.sqrt(len(d)) if len(d) > 1 else math.nan
    return mean, mean - half, mean + half


def percent(v):
    return f"{100 * v[0]:.1f} [{100 * v[1]:.1f}, {100 * v[2]:.1f}]"


def table(a, results):
    """results: arm -> list over seeds of (numbers, rows)."""
    names = [f["name"] for f in next(iter(results.values()))[0][0]["files"]]
    lines = ["| set (rows) | " + " | ".join(results) + " |", "| --- |" + " ---: |" * len(results)]

    def cells(title, pick):
        row = []
        for runs in results.values():
            parts = [pick(numbers) for numbers, _ in runs]
            row.append(percent(interval([p["value"] for p in parts], parts[0])))
        lines.append(f"| {title} | " + " | ".join(row) + " |")

    first = next(iter(results.values()))[0][0]
    for i, name in enumerate(names):
        cells(f"{name.removesuffix('.jsonl')} ({first['files'][i]['rows']})", lambda n: n["files"][i]["accuracy"])
    cells(f"all rows ({first['summary']['rows']})", lambda n: n["summary"]["accuracy"])
    cells("mean of the sets", lambda n: n["summary"]["macro_accuracy"])
    flips = [statistics.mean((n["summary"]["flip_rate"] or {}).get("value") or 0 for n, _ in runs)
             for runs in results.values()]
    lines.append("| flip rate, % | " + " | ".join(f"{100 * f:.1f}" for f in flips) + " |")
    eces = [statistics.mean(n["summary"]["ece"] for n, _ in runs) for runs in results.values()]
    lines.append("| ECE, % | " + " | ".join(f"{100 * e:.1f}" for e in eces) + " |")
    base = [right(rows) for _, rows in results["generative"]]
    row = []
    for runs in results.values():
        pairs = [(right(rows), base[min(i, len(base) - 1)]) for i, (_, rows) in enumerate(runs)]
        row.append(percent(paired([v for x, _ in pairs for v in x], [v for _, y in pairs for v in y])))
    lines.append("| minus generative, same rows | " + " | ".join(row) + " |")
    return "\n".join(lines) + "\n"


def main():
    a = arguments()
    a.out.mkdir(parents=True, exist_ok=True)
    settings = {k: str(v) for k, v in vars(a).items() if k not in ("gram", "threads", "out")}
    kept = a.out / "settings.json"
    if kept.exists() and json.loads(kept.read_text()) != settings:
        sys.exit(f"compare_training.py: {kept} is of other settings; they want another folder")
    kept.write_text(json.dumps(settings, indent=1))
    runs = Runs(a, draw(a))
    results = collections.OrderedDict(untuned=[runs.judge(a.model, "untuned")])
    for seed in range(a.seeds):
        for name, loss, smoothing, after, steps in arms(a):
            tag = name.replace(",", "").replace(" ", "-") + f"-seed{seed}"
            model = runs.stage1(seed) if after else a.model
            more = ["--loss", loss] + (["--smoothing", smoothing] if smoothing is not None else [])
            out = runs.train("finetune", model, a.out / "data/pairs.jsonl", tag, steps, a.lr, seed, *more)
            results.setdefault(name, []).append(runs.judge(out, tag))
            (a.out / "commands.sh").write_text("\n".join(dict.fromkeys(runs.log)) + "\n")
            if "generative" in results:
                (a.out / "table.md").write_text(table(a, results))
    (a.out / "results.json").write_text(json.dumps({n: [numbers for numbers, _ in r] for n, r in results.items()}))
    print((a.out / "table.md").read_text(), end="")


if __name__ == "__main__":
    main()
