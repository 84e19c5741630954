#!/usr/bin/env python3
"""optim_curve.py - the learning curve with AdamW's moments in float32 and in bfloat16, over seeds.

    scripts/optim_curve.py OUT [--gram build/gram] [--steps 360] [--seeds 0,1,2] [--at 90,180,270,360]

A small model of random weights (scripts/sums.py base) learns to add, every weight trained: each row's rationale is its
loss. The seed moves the order of the rows, and with bfloat16 the rounding. The loss of 60 rows that no run trains on
is judged as often as `--at` asks, and the table has its mean over the seeds with their standard deviation, and the mean
of bf16 less f32 of the same seed with that of these differences. The same command goes on where it was stopped."""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys

HELD = 60
STATES = ("f32", "bf16")


def make_rows(out):
    here = pathlib.Path(__file__).resolve().parent
    subprocess.run([sys.executable, here / "sums.py", "base", out / "base", "--size", "small"], check=True)
    rows = (out / "base/rows.jsonl").read_text().splitlines(keepends=True)
    (out / "train.jsonl").write_text("".join(rows[:-HELD]))
    (out / "held.jsonl").write_text("".join(rows[-HELD:]))


def train(args, state, seed):
    """The held-out losses by step."""
    to, every = args.out / f"{state}-{seed}", args.at[0]
    if not (to / "model.safetensors").exists():
        subprocess.run([args.gram, "finetune", args.out / "base/random", args.out / "train.jsonl", "--out", to,
                        "--loss", "rationale", "--verdict-weight", "0", "-p", args.out / "base/prompt.txt", "--lr",
                        "2e-3", "-b", "4", "--steps", str(args.steps), "--max-tokens", "512", "--seed", str(seed),
                        "--optim-state", state, "--eval-file", args.out / "held.jsonl", "--eval-every", str(every),
                        "--resume", "--quiet"], check=True)
    lines = [json.loads(line) for line in (to / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["held_loss"] for line in lines if "held_loss" in line}


def cell(values):
    return f"{statistics.fmean(values):.4f} +- {statistics.stdev(values):.4f}"


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("out", type=pathlib.Path)
    ap.add_argument("--gram", default="build/gram")
    ap.add_argument("--steps", type=int, default=360)
    ap.add_argument("--seeds", default="0,1,2", type=lambda s: [int(n) for n in s.split(",")])
    ap.add_argument("--at", default="90,180,270,360", type=lambda s: [int(n) for n in s.split(",")])
    args = ap.parse_args()
    if len(args.seeds) < 2 or any(n % args.at[0] or n > args.steps for n in args.at):
        ap.error("wanted at least two seeds, and steps that are multiples of the first of --at, up to --steps")
    args.out.mkdir(parents=True, exist_ok=True)
    make_rows(args.out)
    loss = {state: [train(args, state, seed) for seed in args.seeds] for state in STATES}
    print("| step | moments in float32 | in bfloat16 | bfloat16 less float32, by seed |\n| ---: | --- | --- | --- |")
    for step in args.at:
        mine, other = ([run[step] for run in loss[state]] for state in STATES)
        print(f"| {step} | {cell(mine)} | {cell(other)} | {cell([b - a for a, b in zip(mine, other)])} |")


main()
