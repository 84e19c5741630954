#!/usr/bin/env python3
"""bench_generate.py - time writing beside llama.cpp and transformers, and append rows to bench/generate.csv.

    scripts/bench_generate.py --peers DIR [--quick] [--dry]

DIR is what scripts/get_peers.sh installed, with any other NAME.gguf of the same model that is put there (llama.cpp's
K-quants, say). gram, llama.cpp and transformers take turns, in every round, on the same
prompts: one text, four at once, and 96 (12 prompts x 8), 64 tokens each, the likeliest token always and no end. The
best of the rounds counts for everybody; llama.cpp writes 32, 48 and 96 at once and its best counts. Wants a machine
that does nothing else.
"""
import argparse
import datetime
import json
import os
import pathlib
import tempfile
import time

import bench_run
from bench_run import run, say

HISTORY = pathlib.Path("bench/generate.csv")
QUESTIONS = ("What is the capital of France?", "Why is the sky blue?", "Write a poem about rain.",
             "Name three large rivers and say where they are.", "How do I boil an egg?",
             "Explain what a prime number is.", "Tell me a story about a fox.", "What should I do against a cold?",
             "How does a bicycle stay upright?", "Give me a recipe for bread.", "Who wrote Hamlet, and when?",
             "Describe the ocean to someone who has never seen it.")
CASES = ((1, 1), (4, 1), (12, 8))           # prompts, answers to each
TRANSFORMERS = """
import json, sys, time, torch, transformers
directory, threads, each, new = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
torch.set_num_threads(threads)
transformers.utils.logging.disable_progress_bar()
m = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
ids = [[int(i) for i in line.split()] for line in sys.stdin]
longest = max(map(len, ids))
x = torch.tensor([[0] * (longest - len(r)) + r for r in ids for _ in range(each)])
mask = torch.tensor([[0] * (longest - len(r)) + [1] * len(r) for r in ids for _ in range(each)])
with torch.no_grad():
    m.generate(x[:1], attention_mask=mask[:1], max_new_tokens=2, do_sample=False, pad_token_id=0)
    start = time.monotonic()
    m.generate(x, attention_mask=mask, min_new_tokens=new, max_new_tokens=new, do_sample=False, pad_token_id=0)
print(json.dumps({"tokens": len(ids) * each * new, "seconds": time.monotonic() - start}))
"""


def prompt_ids(gram, model, n):
    """As the chat template renders them, for the peers."""
    rows = "".join(json.dumps({"messages": [{"role": "user", "content": q}], "add_generation_prompt": True}) + "\n"
                   for q in QUESTIONS[:n])
    texts = [json.loads(line)["text"] for line in run([gram, "render", model, "-"], rows).splitlines()]
    ids = run([gram, "tokenize", model, "--lines", "--special"], "".join(json.dumps(t) + "\n" for t in texts))
    return "".join(" ".join(map(str, json.loads(line))) + "\n" for line in ids.splitlines())


def gram_speed(args, model, dtype, n, each, tmp):
    """Tokens a second, less the time that a run of one token takes, which is that of opening the model."""
    def seconds(questions, each, new):
        prompts = tmp / "prompts.jsonl"
        prompts.write_text("".join(json.dumps({"prompt": q}) + "\n" for q in questions))
        start = time.monotonic()
        run([args.build / "gram", "generate", model, prompts, "--n", each, "--greedy", "--dtype", dtype, "--threads",
             args.threads, "--min-new-tokens", new, "--max-new-tokens", new, "--out", tmp / "out.jsonl", "-q"])
        return time.monotonic() - start

    seconds(["x"], 1, 1)                    # from a cold disk, the file is read here and not below
    opened = seconds(["x"], 1, 1)
    return n * each * args.new / (seconds(QUESTIONS[:n], each, args.new) - opened)


def llama_speed(args, model, n, each, ids):
    best = (0, 0)
    for width in (n,) if each == 1 else (32, 48, 96):
        os.environ["THREADS"] = str(args.threads)
        r = json.loads(run([args.peers / "bin/bench_llama_write", model, each, args.new, width], ids))
        best = max(best, (r["tokens"] / r["seconds"], width))
    return best


def transformers_speed(args, each, ids):
    r = json.loads(run([args.peers / "venv/bin/python", "-c", TRANSFORMERS, args.peers / "hf", args.threads, each,
                        args.new], ids))
    return r["tokens"] / r["seconds"]


def kinds(peers):
    """What scripts/get_peers.sh made, and what else is there."""
    return bench_run.TYPES + tuple(sorted(p.stem for p in peers.glob("*.gguf") if p.stem not in bench_run.TYPES))


def measure(args, tmp, done):
    """done is called with each row as its last round ends: what stops the bench later costs no row."""
    rows = {}
    for left in reversed(range(args.rounds)):
        for n, each in CASES:
            ids = prompt_ids(args.build / "gram", args.peers / "F32.gguf", n)
            for kind in kinds(args.peers):
                row = rows.setdefault((kind, n * each), {"type": kind, "texts": n * each})
                keep = lambda key, value, row=row: row.update({key: max(row.get(key, 0), value)})
                model = args.peers / f"{kind}.gguf"
                keep("gram", gram_speed(args, model, "f32", n, each, tmp))
                if kind == "F32":
                    for dtype in ("int8",) if each == 1 else ("int8", "bf16", "int8-fast"):
                        keep("gram_" + dtype.replace("-", "_"), gram_speed(args, model, dtype, n, each, tmp))
                speed, width = llama_speed(args, model, n, each, ids)
                row["llama_width"] = width if speed > row.get("llama", 0) else row["llama_width"]
                keep("llama", speed)
                if kind == "F32" and (n * each > 1 or not args.quick):
                    keep("transformers", transformers_speed(args, each, ids))
                say(" ".join(f"{k} {v:.1f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()))
                if not left:
                    done(row)


def arguments(doc):
    """What benches of writing may be asked for; more may be added."""
    ap = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--build", default="build", type=pathlib.Path)
    ap.add_argument("--peers", required=True, type=pathlib.Path, metavar="DIR")
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--new", type=int, default=64, help="tokens of an answer")
    ap.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    ap.add_argument("--quick", action="store_true", help="one round of 8 tokens: a look, not a measurement")
    return ap


def begin(ap):
    """The arguments, and what a row says of the run."""
    args = ap.parse_args()
    if args.quick:
        args.rounds, args.new = 1, 8
    cpu, flags = bench_run.cpu_facts()
    return args, {"date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M"),
                  "commit": bench_run.commit(), "cpu": cpu, "flags": flags, "threads": args.threads, "new": args.new,
                  "load_before": os.getloadavg()[0]}


def main():
    ap = arguments(__doc__)
    ap.add_argument("--dry", action="store_true", help=f"append nothing to {HISTORY}")
    args, about = begin(ap)

    def done(row):
        row["of_llama"] = row["gram"] / row["llama"]
        if not args.dry:
            bench_run.append(about | row, HISTORY)

    with tempfile.TemporaryDirectory() as tmp:
        measure(args, pathlib.Path(tmp), done)


if __name__ == "__main__":
    main()
