#!/usr/bin/env python3
"""align.py - the experiments of docs/alignment.md, and the tables that it shows of them.

    python3 scripts/experiments/align.py all            in the root of the repository, after `make`
    python3 scripts/experiments/align.py climb beta     one after the other
    python3 scripts/experiments/align.py bon --pairs pairs.jsonl.gz --judges data/judge/scalar MODEL

    start   the policy that all begin with: world.py says what it is
    climb   a known reward under every method, three seeds, and what it has risen to after equal numbers of tokens
    beta    RLOO with three weights of the KL
    k       RAFT with the best of 2, 4 and 8, beside what the best of so many has by itself
    over    RLOO and best-of-n against reward models that learnt 60 to 4000 labels, held against what gave the labels
    purm    the same against PURM's reward model, with lambda 0, 5 and 30
    rankers Bradley-Terry, a generative judge and GRAM of the same labels, by what they take from given answers
    bon     judges on given answers: the prompts of labelled pairs that have four answers

Every run is a directory below --out, and one that is whole is not run again. What an experiment comes to is written
to build/align-experiments/NAME.csv and printed as a table. Wanted: Python with torch, transformers and tokenizers for
`start` (scripts/requirements.txt), nothing for the others.
"""
import argparse
import csv
import gzip
import json
import math
import os
import random
import shutil
import statistics
import subprocess
import sys

import world

HERE = os.path.dirname(os.path.abspath(__file__))
COMMON = ["--max-new-tokens", str(world.MAX_NEW), "--schedule", "constant", "--warmup", "0", "--threads", "1",
          "--save-every", "0", "--quiet"]
RATE = "1e-3"
opt = None


# ---- Runs --------------------------------------------------------------------------------------------------------

def gram(*args):
    subprocess.run([opt.gram, *map(str, args)], check=True, stdout=subprocess.DEVNULL)


def path(*parts):
    return os.path.join(opt.out, *parts)


def lines(name):
    with open(name, encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def write_lines(name, rows):
    with open(name, "w", encoding="utf-8") as f:
        f.writelines(json.dumps(row) + "\n" for row in rows)


def whole(name):
    """False, and nothing left there, where a run has not ended."""
    if os.path.exists(path(name, "whole")):
        return True
    shutil.rmtree(path(name), ignore_errors=True)
    return False


def ended(name):
    open(path(name, "whole"), "w").close()
    print(f"{name}: done", file=sys.stderr, flush=True)


def scripted(reward):
    return f"exec:python3 {os.path.join(HERE, 'world.py')} {reward}"


def train(name, command, *args, rate=RATE):
    """A run of `gram raft` or `gram rl` from the start; its directory."""
    if not whole(name):
        gram(command, path("start"), path("train.jsonl"), "--out", path(name), *COMMON, "--lr", rate, *args)
        ended(name)
    return path(name)


def evaluate(name, reward):
    """numbers.json of `gram evalpolicy` on 32 held-out prompts asked in 8 ways of drawing, against the start."""
    out = name + "-eval"
    if not whole(out):
        gram("evalpolicy", path(name), path("asked.jsonl"), "--judge", scripted(reward), "--baseline", path("start"),
             "--out", path(out), "--max-new-tokens", world.MAX_NEW, "--threads", 1, "--seed", 12345, "--quiet")
        ended(out)
    with open(path(out, "numbers.json"), encoding="utf-8") as f:
        return json.load(f)


def start():
    if whole("start"):
        return
    asked, held = world.prompts()
    write_lines(path("train.jsonl"), [{"prompt": p} for p in asked])
    write_lines(path("held.jsonl"), [{"prompt": p} for p in held])
    write_lines(path("asked.jsonl"), [{"prompt": p} for p in held for _ in range(8)])
    world.make_model(path("start"))
    ended("start")


# ---- Tables ------------------------------------------------------------------------------------------------------

def table(name, rows):
    """rows: dicts of one form."""
    with open(path(name + ".csv"), "w", newline="", encoding="utf-8") as f:
        w = csv.DictWriter(f, rows[0].keys(), lineterminator="\n")
        w.writeheader()
        w.writerows(rows)
    print("\n| " + " | ".join(rows[0]) + " |\n|" + "---|" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(str(x) for x in row.values()) + " |")
    sys.stdout.flush()


def mean_sd(x, digits=2):
    """Over seeds; nothing where one has no such number."""
    if any(map(math.isnan, x)):
        return ""
    if len(x) < 2:
        return f"{x[0]:.{digits}f}"
    return f"{statistics.mean(x):.{digits}f} ({statistics.stdev(x):.{digits}f})"


def rollouts(name):
    """The lines of metrics.jsonl that begin a rollout."""
    return [m for m in lines(os.path.join(name, "metrics.jsonl")) if "reward" in m and "loss" in m]


# ---- A known reward under every method ----------------------------------------------------------------------------

GROUPS = ["--rollout-prompts", 16, "--batch-rows", 16, "--samples", 8]
ALONE = ["--rollout-prompts", 64, "--batch-rows", 64, "--samples", 1]
METHODS = {                                     # 30 times 128 answers, greedy ones too; ppo 64
    "raft": ("raft", GROUPS + ["--updates", 2, "--steps", 60]),
    "raft++": ("raft", GROUPS + ["--updates", 2, "--steps", 60]),
    "reinforce-rej": ("raft", GROUPS + ["--steps", 30]),
    "reinforce": ("rl", GROUPS + ["--steps", 30]),
    "rloo": ("rl", GROUPS + ["--kl", "none", "--steps", 30]),
    "grpo": ("rl", GROUPS + ["--steps", 30]),
    "dr-grpo": ("rl", GROUPS + ["--steps", 30]),
    "remax": ("rl", ALONE + ["--steps", 30]),
    "online-dpo": ("rl", ["--rollout-prompts", 64, "--batch-rows", 64, "--samples", 2, "--steps", 30]),
    "ppo": ("rl", ALONE + ["--kl", "none", "--updates", 4, "--steps", 120, "--value-lr", 3e-3])}


def after_tokens(name, method, tokens):
    """The mean reward of the rollout that begins when about `tokens` have been written, greedy ones counted."""
    written = 0
    for m in rollouts(name):
        if written >= tokens:
            return m["reward"]
        written += m["num_tokens"] * (2 if method == "remax" else 1)
    return math.nan


def climb():
    """Rows: means over the seeds, and in brackets the standard deviation over them."""
    out = []
    for method, (command, args) in METHODS.items():
        runs = [train(f"climb-{method}-{seed}", command, "--algorithm", method, "--judge", scripted("letter"),
                      "--seed", seed, *args, rate="3e-4" if "--updates" in args else RATE) for seed in range(opt.seeds)]
        got = [evaluate(os.path.basename(run), "letter") for run in runs]
        gain = [g["gain"]["value"] for g in got]
        errors = [(g["gain"]["high"] - g["gain"]["low"]) / 3.92 for g in got]
        row = {"method": method, "reward": mean_sd([g["policy"]["reward"]["value"] for g in got]),
               "gain": mean_sd(gain),
               "least gain / s.e.": f"{min(g / e for g, e in zip(gain, errors)):.0f}",
               "KL": mean_sd([g["kl"]["value"] for g in got], 1),
               "tokens an answer": mean_sd([g["policy"]["tokens"]["value"] for g in got], 1)}
        for tokens in (10000, 20000, 35000):
            row[f"after {tokens // 1000}k tokens"] = mean_sd([after_tokens(run, method, tokens) for run in runs])
        out.append(row)
    table("climb", out)


def beta():
    out = []
    for weight in ("none", 0.05, 0.2):
        kl = ["--kl", "none"] if weight == "none" else ["--kl", "k1", "--beta", weight]
        names = [f"beta-{weight}-{seed}" for seed in range(opt.seeds)]
        for seed, name in enumerate(names):
            train(name, "rl", "--algorithm", "rloo", "--judge", scripted("letter"), "--seed", seed, *GROUPS,
                  "--steps", 60, *kl)
        got = [evaluate(name, "letter") for name in names]
        out.append({"beta": weight, "reward": mean_sd([g["policy"]["reward"]["value"] for g in got]),
                    "KL": mean_sd([g["kl"]["value"] for g in got], 1),
                    "KL of each seed": ", ".join(f"{g['kl']['value']:.1f}" for g in got),
                    "reward - beta KL": mean_sd([g["policy"]["reward"]["value"] -
                                                 (0 if weight == "none" else weight) * g["kl"]["value"] for g in got])})
    table("beta", out)


# ---- Best of n -----------------------------------------------------------------------------------------------------

def best_of(pairs, n):
    """E of the second of a pair for the one with the largest first of n drawn without return."""
    order = sorted(pairs)
    total = math.comb(len(order), n)
    return sum(math.comb(i, n - 1) / total * second for i, (_, second) in enumerate(order) if i >= n - 1)


def written(name, prompts, n, seed):
    if not os.path.exists(path(name)):
        gram("generate", path("start"), prompts, "--n", n, "--seed", seed, "--max-new-tokens", world.MAX_NEW,
             "--threads", 1, "--out", path(name), "--quiet")
    rows = lines(path(name))
    for row in rows:                            # a model of bytes may write a NUL, which no judge takes
        row["responses"] = [text.replace("\0", "\ufffd") for text in row["responses"]]
    return rows


def k():
    """Beside the stages what theory has: the best of K of the start's own answers, without bias from 64 of each."""
    rows = written("k-start.jsonl", path("train.jsonl"), 64, 7)
    groups = [[world.letter(t) for t in row["responses"]] for row in rows]
    out = []
    for many in (2, 4, 8):
        expected = [best_of([(r, r) for r in g], many) for g in groups]
        runs = [train(f"k-{many}-{seed}", "raft", "--judge", scripted("letter"), "--seed", seed, "--rollout-prompts",
                      64, "--batch-rows", 16, "--samples", many, "--updates", 2, "--steps", 160, rate="3e-4")
                for seed in range(opt.seeds)]
        told = [rollouts(run) for run in runs]
        out.append({"K": many, "E of the best of K": f"{statistics.mean(expected):.2f}",
                    "winners, stage 1": mean_sd([t[0]["rewards/learnt/mean"] for t in told]),
                    "policy, stage 2": mean_sd([t[1]["reward"] for t in told]),
                    "policy, stage 5": mean_sd([t[4]["reward"] for t in told]),
                    "policy, stage 10": mean_sd([t[9]["reward"] for t in told]),
                    "policy, stage 20": mean_sd([t[19]["reward"] for t in told])})
    table("k", out)


# ---- Over-optimisation ---------------------------------------------------------------------------------------------

def labelled():
    """Pairs of the start's answers, which the one or the other wins with Bradley and Terry's probability by gold."""
    r = random.Random(3)
    pairs = []
    for row in written("over-start.jsonl", path("train.jsonl"), 160, 11):
        texts = row["responses"]
        for a, b in zip(texts[::2], texts[1::2]):
            if a == b:
                continue
            if r.random() >= 1 / (1 + math.exp(world.gold(b) - world.gold(a))):
                a, b = b, a
            pairs.append({"prompt": row["prompt"], "chosen": a, "rejected": b})
    r.shuffle(pairs)
    write_lines(path("pairs-held.jsonl"), pairs[:600])
    return pairs[600:]


def proxy(loss, labels, seed=0, begin="start", more=()):
    """A reward model or a judge, the best of its steps by 600 other labels; its directory and accuracy. Each seed has
    labels of its own, as long as there are enough."""
    name = f"proxy-{loss}-{labels}-{seed}"
    if not whole(name):
        every = labelled()
        first = labels * seed if labels * (seed + 1) <= len(every) else 0
        write_lines(path("pairs.jsonl"), every[first:first + labels])
        gram("finetune", path(begin), path("pairs.jsonl"), "--loss", loss, "--out", path(name), "--lr", "1e-3",
             "--batch-rows", 16, "--steps", 300, "--eval-file", path("pairs-held.jsonl"), "--eval-every", 25, "--best",
             "--threads", 1, "--save-every", 0, "--quiet", "--seed", seed, *more)
        ended(name)
    judged = [m["held_accuracy"] for m in lines(path(name, "metrics.jsonl")) if "held_accuracy" in m]
    return path(name), max(judged)


def course(run):
    """For each rollout: KL of an answer, and means of proxy and gold over its answers."""
    of = {}
    for s in lines(os.path.join(run, "samples.jsonl")):
        if s["reward"] is not None:
            of.setdefault(s["step"], []).append((s["kl"], s["reward"], world.gold(s["completion"])))
    return [tuple(statistics.mean(x) for x in zip(*of[step])) for step in sorted(of)]


def smooth(x, width=5):
    return [statistics.mean(x[max(0, i - width + 1):i + 1]) for i in range(len(x))]


def fit(course_of_run):
    """a and b of gold - gold at first = d (a - b log d), d being the root of the KL: Gao et al., by least squares."""
    points = [(math.sqrt(kl), g - course_of_run[0][2]) for kl, _, g in course_of_run if kl > 0]
    x, y = [(d, -d * math.log(d)) for d, _ in points], [gain for _, gain in points]
    p, q, r = (sum(t[i] * t[k] for t in x) for i, k in ((0, 0), (0, 1), (1, 1)))
    u, v = (sum(t[i] * gain for t, gain in zip(x, y)) for i in (0, 1))
    det = p * r - q * q
    return (u * r - v * q) / det, (v * p - u * q) / det


def told_course(runs):
    """Of runs against one proxy: gold at its start, its peak, the KL there and where it ends."""
    all_runs = [course(run) for run in runs]
    for run, c in zip(runs, all_runs):
        with open(path(os.path.basename(run) + "-course.csv"), "w", encoding="utf-8") as f:
            f.write("kl,proxy,gold\n" + "".join("%.4f,%.4f,%.4f\n" % row for row in c))
    golds = [smooth([g for _, _, g in c]) for c in all_runs]
    peaks = [max(range(len(g)), key=g.__getitem__) for g in golds]
    return {"gold at first": mean_sd([c[0][2] for c in all_runs]),
            "gold at its peak": mean_sd([g[i] for g, i in zip(golds, peaks)]),
            "step of the peak": mean_sd([i + 1 for i in peaks], 0),
            "KL there": mean_sd([smooth([x for x, _, _ in c])[i] for c, i in zip(all_runs, peaks)], 1),
            "gold at the end": mean_sd([g[-1] for g in golds]),
            "KL at the end": mean_sd([c[-1][0] for c in all_runs], 1),
            "a, b of the fit": ", ".join(f"{statistics.mean(x):.2f}" for x in zip(*map(fit, all_runs))),
            "proxy, first and end": f"{statistics.mean(c[0][1] for c in all_runs):.1f}, "
                                    f"{statistics.mean(c[-1][1] for c in all_runs):.1f}"}


def chase(name, judge, seed, *more):
    return train(f"{name}-{seed}", "rl", "--algorithm", "rloo", "--judge", judge, "--seed", seed, *GROUPS, "--steps",
                 120, "--kl", "k1", "--beta", "1e-6", *more)


def over():
    out, curve = [], []
    groups = written("bon-start.jsonl", path("held.jsonl"), 128, 5)
    write_lines(path("bon-groups.jsonl"), [{"prompt": g["prompt"], "responses": g["responses"]} for g in groups])
    for labels in (60, 250, 1000, 4000):
        where, accuracy = proxy("bt", labels)
        out.append({"labels": labels, "accuracy": f"{100 * accuracy:.0f} %",
                    **told_course([chase(f"over-{labels}", where, seed) for seed in range(opt.seeds)])})
        judged = path(f"over-bon-{labels}.jsonl")
        if not os.path.exists(judged):
            gram("bon", path("bon-groups.jsonl"), "--judge", where, "--threads", 1, "--out", judged, "--quiet")
        row = {"labels": labels}
        scored = [list(zip(g["rewards"], map(world.gold, g["responses"]))) for g in lines(judged)]
        for n in (1, 4, 16, 64):
            row[f"gold of the best of {n}"] = f"{statistics.mean(best_of(g, n) for g in scored):.2f}"
        curve.append(row)
    out.append({"labels": "gold itself", "accuracy": "",
                **told_course([chase("over-gold", scripted("gold"), seed) for seed in range(opt.seeds)])})
    scored = [[(world.gold(t), world.gold(t)) for t in g["responses"]] for g in groups]
    curve.append({"labels": "gold itself"})
    for n in (1, 4, 16, 64):
        curve[-1][f"gold of the best of {n}"] = f"{statistics.mean(best_of(g, n) for g in scored):.2f}"
    table("over", out)
    table("over-bon", curve)


def purm():
    out = []
    for labels in (250,):
        where, accuracy = proxy("purm", labels)
        for penalty in (0, 5, 30):
            out.append({"labels": labels, "accuracy": f"{100 * accuracy:.0f} %", "lambda": penalty,
                        **told_course([chase(f"purm-{labels}-{penalty}", where, seed, "--lambda", penalty)
                                       for seed in range(opt.seeds)])})
    table("purm", out)


# ---- Rankers --------------------------------------------------------------------------------------------------------

def read_on():
    """Stage 1 of GRAM: the start learns to write two answers to a prompt, unlabelled ones."""
    if not whole("stage1"):
        groups = written("over-start.jsonl", path("train.jsonl"), 160, 11)
        write_lines(path("unlabelled.jsonl"), [{"prompt": g["prompt"], "responses": g["responses"]} for g in groups])
        gram("pretrain", path("start"), path("unlabelled.jsonl"), "--out", path("stage1"), "--lr", "1e-3",
             "--batch-rows", 16, "--pairs", 40, "--steps", 150, "--judge-prompt", path("prompt.txt"), "--threads", 1,
             "--save-every", 0, "--quiet")
        ended("stage1")


def rankers():
    """Best-of-n on 16 answers to each of 32 prompts, which all judges get alike: the gold of what they take."""
    with open(path("prompt.txt"), "w", encoding="utf-8") as f:
        f.write("{input} {response_a} or {response_b}")
    words = ["--judge-prompt", path("prompt.txt")]
    groups = [{"prompt": g["prompt"], "responses": g["responses"][:16]}
              for g in written("bon-start.jsonl", path("held.jsonl"), 128, 5)]
    write_lines(path("rankers.jsonl"), [{**g, "gold": [world.gold(t) for t in g["responses"]]} for g in groups])
    read_on()
    kinds = {"Bradley-Terry": ("bt", "start", []), "generative": ("generative", "start", words),
             "GRAM": ("gram", "stage1", words)}
    out = []
    for labels in (1000,):
        for kind, (loss, begin, more) in kinds.items():
            right, curves = [], []
            for seed in range(opt.seeds):
                where, accuracy = proxy(loss, labels, seed, begin, more)
                told = path(f"rankers-{loss}-{labels}-{seed}.json")
                if not os.path.exists(told):
                    gram("bon", path("rankers.jsonl"), "--judge", where, "--gold", "gold", "--json", told, "--out",
                         told + "l", "--threads", 1, "--quiet", *more)
                with open(told, encoding="utf-8") as f:
                    curves.append({point["n"]: point for point in json.load(f)["curve"]})
                right.append(100 * accuracy)
            row = {"labels": labels, "judge": kind, "accuracy, %": mean_sd(right, 1)}
            for n in (1, 2, 4, 8, 16):
                row[f"gold of the best of {n}"] = mean_sd([c[n]["gold"]["value"] for c in curves])
            row["the best there is of 16"] = mean_sd([c[16]["oracle"]["value"] for c in curves])
            out.append(row)
    table("rankers", out)


# ---- Judges on given responses ---------------------------------------------------------------------------------------

def labelled_groups(files, most, characters):
    """The prompts of labelled pairs that have four different answers, each only ever chosen or only ever rejected."""
    out = []
    for name in files:
        of = {}
        with (gzip.open if name.endswith(".gz") else open)(name, "rt", encoding="utf-8") as f:
            for row in map(json.loads, f):
                prompt, chosen, rejected = of.setdefault(json.dumps(row["prompt"]), (row["prompt"], {}, {}))
                chosen[row["chosen"]] = rejected[row["rejected"]] = True
        groups = []
        for prompt, chosen, rejected in of.values():
            texts = [t for t in {**chosen, **rejected} if (t in chosen) != (t in rejected)]
            if len(texts) == 4 and len(json.dumps(prompt)) + sum(map(len, texts)) <= characters:
                groups.append({"prompt": prompt, "responses": texts, "gold": [float(t in chosen) for t in texts]})
        out += groups[:most]
    return out


def bon():
    """--judges on --pairs: how often what a judge takes from n answers is one that was chosen."""
    if not opt.pairs or not opt.judges:
        sys.exit("bon: wanted --pairs FILE... and --judges JUDGE...")
    groups = path("bon-labelled.jsonl")
    if not os.path.exists(groups):
        write_lines(groups, labelled_groups(opt.pairs, opt.most, opt.characters))
    out = []
    for judge in opt.judges:
        name = os.path.basename(judge.rstrip("/"))
        told = path(f"bon-{name}.json")
        if not os.path.exists(told):
            gram("bon", groups, "--judge", judge, "--gold", "gold", "--json", told, "--out", path(f"bon-{name}.jsonl"),
                 "--threads", 1, "--quiet", "--resume")
        with open(told, encoding="utf-8") as f:
            told = json.load(f)
        for point in told["curve"]:
            row = {"judge": name, "prompts": told["prompts"], "n": point["n"]}
            for key in ("gold", "gain"):
                v = point[key]
                row[key] = f"{v['value']:.2f} ({v['low']:.2f} to {v['high']:.2f})"
            out.append({**row, **{key: f"{point[key]['value']:.2f}" for key in ("longest", "oracle")}})
    table("bon", out)


EXPERIMENTS = {"start": start, "climb": climb, "beta": beta, "k": k, "over": over, "purm": purm, "rankers": rankers,
               "bon": bon}


def main():
    global opt
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", nargs="+", choices=[*EXPERIMENTS, "all"])
    p.add_argument("--gram", default="build/gram")
    p.add_argument("--out", default="build/align-experiments")
    p.add_argument("--seeds", type=int, default=3, help="runs of everything that is random")
    p.add_argument("--pairs", nargs="*", help="bon: files of labelled pairs")
    p.add_argument("--judges", nargs="*", help="bon: models")
    p.add_argument("--most", type=int, default=40, help="bon: prompts of a file")
    p.add_argument("--characters", type=int, default=4000, help="bon: the longest prompt with its four answers")
    opt = p.parse_args()
    os.makedirs(opt.out, exist_ok=True)
    for what in ["climb", "beta", "k", "over", "purm", "rankers"] if "all" in opt.what else opt.what:
        if what != "bon":
            start()
        EXPERIMENTS[what]()


if __name__ == "__main__":
    main()
