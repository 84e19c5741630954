#!/usr/bin/env python3
"""bench_train.py - time steps of training beside torch and the machine's limit, and append one row to bench/train.csv.

`make bench-train PEERS=DIR` builds what this runs; DIR is what scripts/get_peers.sh installed. gram and torch take
turns on the same model, token sequences and losses, every weight in float32: forward, backward, clipping and AdamW.

    one_two, one_full      a sequence of 512 tokens a step: the loss of two labels, and of the whole vocabulary
    pairs_two              both orders of some real pairs a step

Tokens are counted as torch spends them, each sequence whole. *_of_limit is the share of the time that oneDNN alone,
timed just before, would take for three times the forward pass's products with weights: those that are really computed,
prefixes shared, past the last layer's keys and values only at positions that have a loss. *_of_all_products counts
attention's two products as well, *_passes_of_all_products sets them against forward and backward alone, without the
optimizer.
"""
import argparse
import datetime
import json
import os
import pathlib
import sys

import bench_run
from bench_run import run, say

ROWS = pathlib.Path("data/demo.jsonl")


def sequences(args):
    """Both orders of the demo's pairs as token ids."""
    text = run([args.build / "gram", "score", args.model, ROWS, "--show-tokens"])
    return [json.loads(line)["tokens"] for line in text.splitlines()]


def stdin(rows):
    return "".join(" ".join(map(str, ids)) + "\n" for ids in rows)


def limit_seconds(info, r, ids, full, gflops):
    """Of the products with weights, and of attention's two."""
    kv = 2 * info["width"] * info["kv"]
    layer = 2 * info["width"] * info["q"] + kv + 3 * info["width"] * info["hidden"]
    wanted = r["computed"] if full else r["sequences"]
    products = r["computed"] * ((info["layers"] - 1) * layer + kv) + wanted * (layer - kv)
    if full:
        products += r["targets"] * info["width"] * info["vocabulary"]
    pairs, _, last = bench_run.seen_by(ids)
    attention = 2 * info["q"] * (pairs * (info["layers"] - 1) + (pairs if full else last))
    return [3 * 2 * n / (1e9 * gflops) for n in (products, attention)]


def gemm(args, info, row):
    """GFLOP/s of oneDNN alone at this moment: a clock that boosts or sinks moves it by a tenth within minutes."""
    found = json.loads(run([args.build / "bench/bench_gemm", args.threads, info["width"], info["q"], info["kv"],
                            info["hidden"], "f32"]))
    for k, v in found.items():
        row[f"gemm_{k}"] = max(row.get(f"gemm_{k}", 0), v)
    say(f"oneDNN alone: {max(found.values()):.1f} GFLOP/s")
    return max(found.values())


def measure(args, name, kind, ids, row, info):
    text = stdin(ids)
    for _ in range(args.rounds):
        gflops = gemm(args, info, row)
        r = json.loads(run([args.build / "bench/bench_train", args.model, kind, args.threads, args.steps], text))
        limit, attention = limit_seconds(info, r, ids, kind == "full", gflops)
        say(f"{name}: gram {r['tokens'] / r['seconds']:.1f} tokens/s")
        if f"{name}_tokens_s" not in row or r["tokens"] / r["seconds"] > row[f"{name}_tokens_s"]:
            row.update({f"{name}_tokens": r["tokens"], f"{name}_computed": r["computed"],
                        f"{name}_tokens_s": r["tokens"] / r["seconds"], f"{name}_rss_mb": r["rss"] / 1e6,
                        f"{name}_of_limit": limit / r["seconds"],
                        f"{name}_of_all_products": (limit + attention) / r["seconds"],
                        f"{name}_passes_of_all_products": (limit + attention) / r["passes"]})
        if args.python:
            t = json.loads(run([args.python, "scripts/bench_torch_train.py", args.model, kind, args.threads,
                                args.steps], text))
            say(f"{name}: torch {t['tokens'] / t['seconds']:.1f} tokens/s")
            if abs(t["loss"] - r["loss"]) > 1e-2 * (1 + abs(t["loss"])):
                sys.exit(f"bench_train.py: {name}: torch has loss {t['loss']} where gram has {r['loss']}")
            best = max(row.get(f"{name}_torch_tokens_s", 0), t["tokens"] / t["seconds"])
            row.update({f"{name}_torch_tokens_s": best, f"{name}_torch_rss_mb": t["rss"] / 1e6})
    if "avx512_bf16" in row["flags"].split():
        in_bfloat16(args, name, kind, text, row)
    if args.python:
        row[f"{name}_over_torch"] = row[f"{name}_tokens_s"] / row[f"{name}_torch_tokens_s"]


def in_bfloat16(args, name, kind, text, row):
    """--compute bf16 beside torch's autocast; losses are those of float32 to a hundredth."""
    mine = theirs = 0.0
    for _ in range(args.rounds):
        r = json.loads(run([args.build / "bench/bench_train", args.model, kind, args.threads, args.steps, "bf16"],
                           text))
        mine = max(mine, r["tokens"] / r["seconds"])
        if args.python:
            t = json.loads(run([args.python, "scripts/bench_torch_train.py", args.model, kind, args.threads, args.steps,
                                "autocast"], text))
            theirs = max(theirs, t["tokens"] / t["seconds"])
            if abs(t["loss"] - r["loss"]) > 2e-2 * (1 + abs(t["loss"])):
                sys.exit(f"bench_train.py: {name}: autocast has loss {t['loss']} where gram has {r['loss']}")
    say(f"{name}: gram in bfloat16 {mine:.1f} tokens/s, torch {theirs:.1f}")
    row.update({f"{name}_bf16_tokens_s": mine, f"{name}_bf16_over_f32": mine / row[f"{name}_tokens_s"]})
    if args.python:
        row.update({f"{name}_autocast_tokens_s": theirs, f"{name}_bf16_over_autocast": mine / theirs})


def show(row):
    for k, v in row.items():
        print(f"{k:28} {v:.4g}" if isinstance(v, float) else f"{k:28} {v}")
    print()
    for k, v in row.items():
        want = 2 if k.endswith("_over_torch") else 0.8 if k.endswith(("_of_limit", "_products")) else None
        share = row.get(k.replace("_over_torch", "_of_all_products")) if k.endswith("_over_torch") else None
        most = f"; {v / share:.3g} if nothing but products took time, at oneDNN's speed" if share else ""
        if want:
            print(f"{'met ' if v >= want else 'MISS'} {k}: {v:.3g}, wanted at least {want}{most}")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--build", type=pathlib.Path, default="build")
    ap.add_argument("--peers", metavar="DIR", type=pathlib.Path, help="what scripts/get_peers.sh installed")
    ap.add_argument("--model", type=pathlib.Path, help="a Hugging Face directory (default: PEERS/hf)")
    ap.add_argument("--pairs", type=int, default=8, help="pairs of a packed step (default 8)")
    ap.add_argument("--steps", type=int, default=3, help="timed steps, of which the best counts (default 3)")
    ap.add_argument("--rounds", type=int, default=2, help="turns of gram and torch (default 2)")
    ap.add_argument("--only", default="one_two,one_full,pairs_two", help="measurements, with commas between them")
    ap.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    ap.add_argument("--dry", action="store_true", help="append nothing to bench/train.csv")
    args = ap.parse_args()
    if not args.model and not args.peers:
        ap.error("wanted --model, or --peers that has one")
    args.model = args.model or args.peers / "hf"
    args.python = args.peers and args.peers / "venv/bin/python"
    cpu, flags = bench_run.cpu_facts()
    row = {"date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M"),
           "commit": bench_run.commit(), "cpu": cpu, "flags": flags, "threads": args.threads,
           "model": args.model.name, "load_before": os.getloadavg()[0]}
    info = json.loads(run([args.build / "bench/bench_score", args.model, "info"]))
    ids = sequences(args)
    one = [sum(ids, [])[:512]]
    for name, kind, rows in (("one_two", "two", one), ("one_full", "full", one),
                             ("pairs_two", "two", ids[:2 * args.pairs])):
        if name in args.only.split(","):
            measure(args, name, kind, rows, row, info)
    show(row)
    if not args.dry:
        bench_run.append(row, pathlib.Path("bench/train.csv"))
        say("one row added to bench/train.csv")


if __name__ == "__main__":
    main()
