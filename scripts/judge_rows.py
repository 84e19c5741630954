#!/usr/bin/env python3
"""The pairs that the shipped judge is trained and tuned on: judge_rows.py FOLDER OUT.

FOLDER holds SET.jsonl.gz of rows {"prompt", "chosen", "rejected", "subset"?} for the sets below; those whose licence
forbids it to hand on what was learnt from them are not here. OUT gets train.jsonl, its short pairs in short.jsonl,
pairs too long for train.jsonl in long.jsonl (up to some 1,024 tokens), and dev.jsonl and long-dev.jsonl. A prompt of
these two is in no other: a twentieth of all prompts, by the MD5 of their text, is for tuning, at most 30 pairs of a
set, or 15 long ones.

    judge_rows.py --eval FOLDER OUT

makes the rows of the tables on the judges' cards: 100 of each SET.jsonl.gz of FOLDER, drawn with the seed 1 and in the
file's order, in OUT/100, and every second one of them in OUT/50."""
import gzip
import hashlib
import json
import pathlib
import random
import sys

# set: the longest pair in characters of its prompt and its longer answer, the most pairs, where they come from, licence
SETS = {
    "arena_bench": (1300, 400, "lm-sys/arena-hard-auto", "Apache-2.0"),
    "crux": (1200, 60, "WildEval/ZeroEval", "Apache-2.0"),
    "gsm8k": (1200, 250, "WildEval/ZeroEval, openai/grade-school-math", "Apache-2.0, MIT"),
    "hh_rlhf": (1500, 2500, "anthropics/hh-rlhf, harmless-base", "MIT"),
    "llmeval2": (1500, 1200, "AlibabaResearch/DAMO-ConvAI", "MIT"),
    "math_level5": (1200, 60, "WildEval/ZeroEval", "Apache-2.0"),
    "qa_eval": (1200, 1000, "wangcunxiang/QA-Eval", "Apache-2.0"),
    "qa_feedback": (3600, 150, "allenai/FineGrainedRLHF", "Apache-2.0"),
    "small_mix": (1600, 500, "princeton-nlp/LLMBar, artidoro/qlora, microsoft-foundry/fine-tuning, NiuTrans/GRAM, "
                             "Re-Align/just-eval", "MIT, Apache-2.0"),
    "truthfulqa": (1700, 1400, "sylinrl/TruthfulQA", "Apache-2.0"),
    "ukp_convarg": (1500, 1200, "UKPLab/acl2016-convincing-arguments", "CC BY 4.0"),
}


SHORT = 1200                # characters of a pair in short.jsonl, which a judge reads whole, twice
LONG = 3600                 # characters of a prompt and an answer in long.jsonl
LONG_OF_SET = 130           # pairs of a set in it, and
LONG_TUNING = 15            # of one in long-dev.jsonl


def permitted(name, row):
    """The cleaned copy of hh-rlhf's helpful half is CC BY-NC."""
    return not (name == "hh_rlhf" and "helpful" in row.get("subset", ""))


def text_of(prompt):
    return prompt if isinstance(prompt, str) else json.dumps(prompt)


def write(path, rows):
    with open(path, "w") as f:
        for i, (name, r) in enumerate(rows):
            f.write(json.dumps({"id": f"{name}/{i}", "prompt": r["prompt"], "chosen": r["chosen"],
                                "rejected": r["rejected"], "subset": name}) + "\n")


def tables(source, out):
    for part in ("100", "50"):
        (out / part).mkdir(parents=True, exist_ok=True)
    for path in sorted(source.glob("*.jsonl.gz")):
        with gzip.open(path, "rt") as f:
            lines = list(f)
        lines = [lines[i] for i in sorted(random.Random(1).sample(range(len(lines)), min(100, len(lines))))]
        (out / "100" / path.stem).write_text("".join(lines))
        (out / "50" / path.stem).write_text("".join(lines[::2]))


def main():
    tables_only = sys.argv[1:2] == ["--eval"]
    if len(sys.argv) != 3 + tables_only:
        sys.exit(__doc__)
    source, out = map(pathlib.Path, sys.argv[1 + tables_only:])
    out.mkdir(parents=True, exist_ok=True)
    if tables_only:
        return tables(source, out)
    random.seed(1)
    train, tuning, longer, longer_dev = [], {}, [], []
    for name, (longest, most, _, _) in SETS.items():
        keep, over, over_dev = [], [], []
        with gzip.open(source / f"{name}.jsonl.gz", "rt") as f:
            for row in map(json.loads, f):
                prompt = text_of(row["prompt"])
                length = len(prompt) + max(len(row["chosen"]), len(row["rejected"]))
                if not permitted(name, row) or length > max(longest, LONG):
                    continue
                part = int(hashlib.md5(prompt.encode()).hexdigest(), 16) % 20
                if length <= longest:
                    (tuning.setdefault(name, []) if part == 0 else keep).append(row)
                else:
                    (over if part else over_dev).append((name, row))
        random.shuffle(keep)
        train += [(name, row) for row in keep[:most]]
        longer += random.Random(2).sample(over, min(LONG_OF_SET, len(over)))
        longer_dev += random.Random(4).sample(over_dev, min(LONG_TUNING, len(over_dev)))
        print(f"{name}: {min(most, len(keep))} of {len(keep)} pairs to train on")
    random.shuffle(train)
    write(out / "train.jsonl", train)
    short = [(name, row) for name, row in train
             if len(text_of(row["prompt"]) + row["chosen"] + row["rejected"]) <= SHORT]
    random.Random(11).shuffle(short)
    write(out / "short.jsonl", short)
    random.Random(3).shuffle(longer)
    write(out / "long.jsonl", longer)
    write(out / "long-dev.jsonl", longer_dev)
    dev = []
    for name in sorted(tuning):
        random.shuffle(tuning[name])
        dev += [(name, row) for row in tuning[name][:30]]
    write(out / "dev.jsonl", dev)
    print(f"{len(train)} pairs in train.jsonl, {len(dev)} in dev.jsonl")


main()
