#!/usr/bin/env python3
"""bench_experts.py - a model of many experts, read by gram and by transformers in turn, and a row for
bench/experts.csv.

    scripts/bench_experts.py --peers DIR [--gram build/gram] [--experts 128] [--rounds 3] [--dry]

DIR is what scripts/get_peers.sh installed. The model is made here: the shape of Qwen3-MoE (8 of the experts for a
token, norms of q and k, grouped queries) with small matrices and weights drawn at random, so that a router sends each
token elsewhere; the tokenizer is that of tests/golden/train/judge, one token a byte. Both read the same token ids with
one thread: gram scores pairs, whose two orders share their beginnings (`computed` is what it computes of them),
transformers reads one sequence after the other, by the way to compute experts that is the fastest for the first. What
is counted is the CPU time that a process spends as a user, less that of a run over one short pair, which is left out;
the least of the rounds counts for both, and `spread` is the widest of gram's rounds over the least. The largest
difference of the two programs' logits over one sequence says whether they computed the same.
"""
import argparse
import datetime
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile

from bench_run import append, commit, cpu_facts

JUDGE = pathlib.Path("tests/golden/train/judge")
ROWS = pathlib.Path("data/demo.jsonl")
WAYS = ("eager", "batched_mm", "grouped_mm")
MAKE = """
import json, sys, torch, transformers
directory, shape = sys.argv[1], json.loads(sys.argv[2])
torch.manual_seed(1)
config = transformers.Qwen3MoeConfig(**shape)
model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
for p in model.parameters():
    if p.ndim > 1:
        p.data.normal_(0, 1 / p.shape[-1] ** 0.5)
model.save_pretrained(directory)
print(sum(p.numel() for p in model.parameters()))
"""
READ = """
import json, sys, time, numpy, torch, transformers
directory, ours = sys.argv[1:3]
torch.set_num_threads(1)
transformers.utils.logging.disable_progress_bar()
ids = [torch.tensor([json.loads(line)]) for line in sys.stdin]
model, took = {}, {}
with torch.no_grad():
    for way in sys.argv[3:]:
        model[way] = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32,
                                                                       experts_implementation=way).eval()
        model[way](ids[0], logits_to_keep=1)
        start = time.process_time()
        model[way](ids[0], logits_to_keep=1)
        took[way] = time.process_time() - start
    way = min(took, key=took.get)
    start = time.process_time()
    for x in ids:
        model[way](x, logits_to_keep=1)
    seconds = time.process_time() - start
    z = model[way](ids[0]).logits[0].numpy()
print(json.dumps({"seconds": seconds, "way": way, "took": took, "size": float(abs(z).max()),
                  "difference": float(abs(numpy.load(ours) - z).max())}))
"""
COLUMNS = ["date", "commit", "cpu", "load", "experts", "chosen", "layers", "width", "expert_width", "parameters",
           "sequences", "tokens", "computed", "gram_s", "spread", "gram_tokens_s", "transformers", "transformers_s",
           "transformers_tokens_s", "over_transformers", "logits_differ", "logits_size"]


def run(command, stdin=None):
    p = subprocess.run([str(c) for c in command], input=stdin, text=True, capture_output=True)
    if p.returncode:
        sys.exit(f"bench_experts.py: {' '.join(map(str, command))[:200]}\n{p.stderr.strip()}")
    return p.stdout


def user_seconds(command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    text = run(command)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before, text


def computed(sequences):
    """Tokens less those of beginnings that a sequence shares with the one before it in order."""
    n, before = 0, []
    for ids in sorted(sequences):
        same = 0
        while same < min(len(ids), len(before)) and ids[same] == before[same]:
            same += 1
        n += len(ids) - same
        before = ids
    return n


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--peers", required=True, type=pathlib.Path)
    p.add_argument("--gram", default="build/gram")
    p.add_argument("--experts", type=int, default=128)
    p.add_argument("--rows", type=int, default=6)
    p.add_argument("--most", type=int, default=1500, help="bytes of a row, which are about its tokens")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--dry", action="store_true")
    p.add_argument("--csv", type=pathlib.Path, default=pathlib.Path("bench/experts.csv"))
    args = p.parse_args()
    shape = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
             "head_dim": 64, "intermediate_size": 512, "num_experts": args.experts, "num_experts_per_tok": 8,
             "moe_intermediate_size": 128, "norm_topk_prob": True, "vocab_size": 259, "tie_word_embeddings": True,
             "max_position_embeddings": 4096, "bos_token_id": 1, "eos_token_id": 2}
    python = args.peers / "venv/bin/python"
    with tempfile.TemporaryDirectory() as folder:
        tmp = pathlib.Path(folder)
        model, rows, one = tmp / "model", tmp / "rows.jsonl", tmp / "one.jsonl"
        parameters = int(run([python, "-c", MAKE, model, json.dumps(shape)]))
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(JUDGE / name, model)
        lines = [x for x in sorted(ROWS.read_text().splitlines(), key=len) if len(x) < args.most]
        few = [lines[(2 * i + 1) * len(lines) // (2 * args.rows)] for i in range(args.rows)]
        rows.write_text("\n".join(few) + "\n")
        one.write_text(lines[0] + "\n")
        ids, opened = ([json.loads(line)["tokens"] for line in
                        run([args.gram, "score", model, x, "--show-tokens"]).splitlines()] for x in (rows, one))
        text = "".join(json.dumps(i) + "\n" for i in ids)
        run([args.gram, "logits", model, "--tokens", json.dumps(ids[0]), "-o", tmp / "z.npy", "-t1"])
        ours, theirs = [], []
        for _ in range(args.rounds):
            took, _ = user_seconds([args.gram, "score", model, rows, "-o", tmp / "out.jsonl", "-t1", "--quiet"])
            opening, _ = user_seconds([args.gram, "score", model, one, "-o", tmp / "out.jsonl", "-t1", "--quiet"])
            ours.append(took - opening)         # and the short pair that it read
            theirs.append(json.loads(run([python, "-c", READ, model, tmp / "z.npy", *WAYS], text)))
    says = min(theirs, key=lambda r: r["seconds"])
    tokens, gram_s, peer_s = sum(map(len, ids)), min(ours), says["seconds"]
    gram_rate, peer_rate = (tokens - sum(map(len, opened))) / gram_s, tokens / peer_s
    row = [datetime.date.today(), commit(), cpu_facts()[0], f"{os.getloadavg()[0]:.1f}", args.experts, 8,
           shape["num_hidden_layers"], shape["hidden_size"], shape["moe_intermediate_size"], parameters, len(ids),
tokens,
           computed(ids), f"{gram_s:.3f}", f"{max(ours) / gram_s:.3f}", f"{gram_rate:.1f}", says["way"],
           f"{peer_s:.3f}", f"{peer_rate:.1f}", f"{gram_rate / peer_rate:.3f}", f"{says['difference']:.2g}",
           f"{says['size']:.3g}"]
    for name, value in zip(COLUMNS, row):
        print(f"{name}: {value}")
    print("gram", [round(s, 3) for s in ours], "transformers", [round(r["seconds"], 3) for r in theirs], says["took"])
    if args.dry:
        return
    append(dict(zip(COLUMNS, row)), args.csv)


if __name__ == "__main__":
    main()
