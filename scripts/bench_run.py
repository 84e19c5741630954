#!/usr/bin/env python3
"""bench_run.py - time gram beside its peers and its limits, and append one row to bench/history.csv.

`make bench` builds what this runs. Needs Python alone; with --peers DIR (scripts/get_peers.sh) transformers and
llama.cpp run in turn with gram, on the same token sequences. Tokens are counted as a program that shares nothing spends
them, both orders of a pair whole; the best of the rounds counts for everybody.
"""
import argparse
import collections
import csv
import datetime
import gzip
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile

HISTORY = pathlib.Path("bench/history.csv")
KERNELS = pathlib.Path("bench/kernels.csv")
TYPES = ("F32", "Q8_0", "Q4_0")
LENGTHS = (512, 2048)


def say(text):
    print(text, file=sys.stderr, flush=True)


def run(command, stdin=None):
    p = subprocess.run([str(c) for c in command], input=stdin, text=True, capture_output=True)
    if p.returncode:
        sys.exit(f"bench_run.py: {' '.join(map(str, command))}\n{p.stderr.strip()}")
    return p.stdout


def cpu_facts():
    text = pathlib.Path("/proc/cpuinfo").read_text() if os.path.exists("/proc/cpuinfo") else ""
    facts = dict(line.split("\t", 1) for line in text.split("\n\n")[0].splitlines() if "\t" in line)
    facts = {k.strip(): v.lstrip("\t: ").strip() for k, v in facts.items()}
    known = ("avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_tile", "amx_int8",
             "amx_bf16")
    flags = set(facts.get("flags", "").split())
    name = facts.get("model name", platform.processor())
    return f"{name} family {facts.get('cpu family', '?')} model {facts.get('model', '?')}", \
        " ".join(f for f in known if f in flags)


def commit():
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    dirty = subprocess.run(["git", "status", "--porcelain", "-uno"], capture_output=True, text=True).stdout.strip()
    return (head or "unknown") + ("+" if dirty else "")


def seen_by(sequences):
    """Pairs of a token and one that it sees, tokens, and what the last tokens alone see. A prefix that sequences share
    counts once: it is computed once."""
    pairs = distinct = last = 0
    before = []
    for ids in sorted(sequences):
        n, shared = len(ids), 0
        while shared < min(n, len(before)) and ids[shared] == before[shared]:
            shared += 1
        pairs += (n * (n + 1) - shared * (shared + 1)) // 2
        distinct += n - shared
        last += n
        before = ids
    return pairs, distinct, last


class Bench:
    def __init__(self, args, tmp):
        self.args, self.tmp = args, pathlib.Path(tmp)
        self.build = pathlib.Path(args.build)
        self.rows = self.read_rows()
        self.row = {}                           # of the CSV

    def read_rows(self):
        with (gzip.open if self.args.rows.endswith(".gz") else open)(self.args.rows, "rt") as f:
            return [json.loads(line) for line in f if line.strip()][:self.args.limit]

    def write(self, name, rows):
        path = self.tmp / name
        path.write_text("".join(json.dumps(r) + "\n" for r in rows))
        return path

    def score(self, rows, dtype, max_tokens=None):
        command = [self.build / "bench/bench_score", self.args.model, rows, dtype, self.args.threads]
        return json.loads(run(command + ([max_tokens] if max_tokens else [])))

    def ids(self, rows):
        """One line of ids an order, as the peers read them."""
        text = run([self.build / "gram", "score", self.args.model, rows, "--show-tokens"])
        return ["".join(f"{i} " for i in json.loads(line)["tokens"]) for line in text.splitlines()]

    def subset(self):
        """Every k-th row by length, so that a few rows have the lengths of all."""
        n = min(self.args.subset, len(self.rows))
        order = sorted(self.rows, key=lambda r: len(json.dumps(r)))
        return [order[(2 * i + 1) * len(order) // (2 * n)] for i in range(n)]

    def long_rows(self, n, chars):
        """Pairs of answers longer than any cut, each of other texts, so that nothing is shared between pairs."""
        text = lambda a: a if isinstance(a, str) else a[-1]["content"]
        pool = [text(r[k]) for r in self.rows for k in ("chosen", "rejected")]
        rows = []
        for i in range(n):
            sides = []
            for s in range(2):
                at, answer = (2 * i + s) * len(pool) // (2 * n), f"{2 * i + s}. "
                while len(answer) < chars:
                    answer += pool[at % len(pool)] + "\n"
                    at += 1
                sides.append(answer)
            rows.append({"id": str(i), "prompt": f"Question {i}?", "chosen": sides[0], "rejected": sides[1]})
        return rows

    # ---- Parts -----------------------------------------------------------------------------------

    def limits(self):
        self.info = json.loads(run([self.build / "bench/bench_score", self.args.model, "info"]))
        i = self.info
        self.gemm = json.loads(run([self.build / "bench/bench_gemm", self.args.threads, i["width"], i["q"], i["kv"],
                                    i["hidden"]]))
        self.row.update({f"gemm_{k}": v for k, v in self.gemm.items()})

    def limit_seconds(self, result, dtype):
        """What oneDNN alone would take for the products that were really computed: all layers but the last for
        every token, of the last K and V, and the rest of it for one token a sequence."""
        i = self.info
        kv = 2 * i["width"] * i["kv"]
        layer = 2 * i["width"] * i["q"] + kv + 3 * i["width"] * i["hidden"]
        ops = 2 * (result["computed"] * ((i["layers"] - 1) * layer + kv) + result["sequences"] * (layer - kv))
        return ops / (1e9 * max(self.gemm[f"{dtype}_tile"], self.gemm[f"{dtype}_large"]))

    def attention_seconds(self, result, path):
        """What attention's two products would take at oneDNN's float32 speed: a multiply-add for each of q's numbers,
        twice, for each token and each that it sees."""
        i = self.info
        pairs, distinct, last = seen_by([line.split() for line in self.ids(path)])
        pairs *= result["computed"] / distinct      # what a full cache let go is computed again
        return 4 * i["q"] * (pairs * (i["layers"] - 1) + last) / (1e9 * max(self.gemm["f32_tile"],
                                                                            self.gemm["f32_large"]))

    def full(self):
        path = self.write("all.jsonl", self.rows)
        for dtype in ("f32", "int8"):
            say(f"gram {dtype}, {len(self.rows)} rows")
            r = min((self.score(path, dtype) for _ in range(self.args.rounds)), key=lambda r: r["seconds"])
            limit, attention = self.limit_seconds(r, dtype), self.attention_seconds(r, path)
            self.row.update({f"{dtype}_pairs_s": r["rows"] / r["seconds"],
                             f"{dtype}_tokens_s": r["tokens"] / r["seconds"],
                             f"{dtype}_computed_s": r["computed"] / r["seconds"],
                             f"{dtype}_limit_pairs_s": r["rows"] / limit, f"{dtype}_of_limit": limit / r["seconds"],
                             f"{dtype}_rss_mb": r["rss"] / 1e6, f"{dtype}_weights_mb": r["weight_bytes"] / 1e6,
                             f"{dtype}_open_s": r["open_seconds"],
                             f"{dtype}_of_limit_shared": limit / (limit + attention),
                             f"{dtype}_of_all_products": (limit + attention) / r["seconds"]})
            self.row.update({"rows": r["rows"], "tokens": r["tokens"], "computed": r["computed"]})

    def peers(self):
        """Everybody in turn, a few rounds of it."""
        rows = self.subset()
        path = self.write("subset.jsonl", rows)
        stdin = "\n".join(self.ids(path)) + "\n"
        long = {n: self.write(f"long{n}.jsonl", self.long_rows(4, 8 * n)) for n in LENGTHS}
        best = collections.defaultdict(float)

        def keep(name, value):
            best[name] = max(best[name], value)

        def peer(name, command):
            say(name)
            r = json.loads(run(command, stdin))
            keep(f"{name}_pairs_s", r["sequences"] / 2 / r["seconds"])
            keep(f"{name}_tokens_s", r["tokens"] / r["seconds"])

        for n in range(self.args.rounds):
            say(f"round {n + 1} of {self.args.rounds}, {len(rows)} rows")
            for dtype in ("f32", "bf16", "int8"):
                r = self.score(path, dtype)
                keep(f"sub_{dtype}_pairs_s", r["rows"] / r["seconds"])
                for length in LENGTHS:
                    r = self.score(long[length], dtype, length)
                    keep(f"{dtype}_at_{length}", r["tokens"] / r["seconds"])
            if not self.args.peers:
                continue
            at = pathlib.Path(self.args.peers)
            peer("transformers", [at / "venv/bin/python", "scripts/bench_transformers.py", at / "hf",
                                  self.args.threads])
            peer("transformers_bf16", [at / "venv/bin/python", "scripts/bench_transformers.py", at / "hf",
                                       self.args.threads, "bfloat16"])
            os.environ["THREADS"] = str(self.args.threads)
            for kind in TYPES:
                peer(f"llama_{kind}", [at / "bin/bench_llamacpp", at / f"{kind}.gguf"])
                out = run([at / "bin/llama-bench", "-m", at / f"{kind}.gguf", "-p", ",".join(map(str, LENGTHS)),
                           "-n", 0, "-r", 1, "-t", self.args.threads, "-o", "json"])
                for r in json.loads(out):
                    keep(f"llama_{kind}_at_{r['n_prompt']}", r["avg_ts"])
        self.row.update(best)
        if self.args.peers:
            top = max(TYPES, key=lambda t: best[f"llama_{t}_pairs_s"])
            self.row["llama_best_type"] = top
            self.row["f32_over_transformers"] = best["sub_f32_pairs_s"] / best["transformers_pairs_s"]
            self.row["bf16_over_transformers"] = best["sub_bf16_pairs_s"] / best["transformers_bf16_pairs_s"]
            self.row["int8_over_llama_best"] = best["sub_int8_pairs_s"] / best[f"llama_{top}_pairs_s"]
            for length in LENGTHS:
                self.row[f"f32_over_llama_at_{length}"] = best[f"f32_at_{length}"] / best[f"llama_F32_at_{length}"]

    def shape(self):
        """A model of 1.2 billion random weights in bfloat16, one pair: how fast it opens and reads in each type."""
        at = pathlib.Path(self.args.peers)
        model, small = self.tmp / "1b", self.args.model
        run([sys.executable, "scripts/bench_shape.py", model, at / "hf"])
        text = lambda a: a if isinstance(a, str) else a[-1]["content"]
        rows = sorted(self.rows, key=lambda r: len(text(r["chosen"])))
        path = self.write("pair.jsonl", [rows[len(rows) // 2]])
        self.args.model = model
        stdin = "\n".join(self.ids(path)) + "\n"
        for dtype in ("f32", "bf16", "int8"):
            say(f"1B shape, gram {dtype}")
            r = self.score(path, dtype)
            self.row.update({f"1b_{dtype}_s": r["seconds"], f"1b_{dtype}_open_s": r["open_seconds"]})
        r = json.loads(run([self.build / "bench/bench_score", model, "open", "int8", self.args.threads]))
        self.row.update({"1b_read_s": r["read_seconds"], "1b_int8_open_over_read": r["open_over_read"]})
        for dtype in ("float32", "bfloat16"):
            say(f"1B shape, transformers {dtype}")
            r = json.loads(run([at / "venv/bin/python", "scripts/bench_transformers.py", model, self.args.threads,
                                dtype], stdin))
            self.row[f"1b_transformers_{dtype}_s"] = r["seconds"]
        self.row["1b_bf16_over_transformers"] = self.row["1b_transformers_bfloat16_s"] / self.row["1b_bf16_s"]
        self.args.model = small

    def flatness(self):
        """Copies of the rows, each question told apart by its first words so that no prefix is shared anew."""
        for times in (1, 2, 4):
            rows = [{**r, "id": f"{r.get('id', '')}#{k}", "prompt": mark(r["prompt"], k)}
                    for k in range(times) for r in self.rows]
            say(f"flatness, {len(rows)} rows")
            r = self.score(self.write("flat.jsonl", rows), "int8")
            self.row[f"flat_{times}x_pairs_s"] = r["rows"] / r["seconds"]

    def growth(self):
        for length in (512, 1024, 2048, 4096):
            say(f"growth, {length} tokens")
            r = self.score(self.write("long.jsonl", self.long_rows(4, 8 * length)), "f32", length)
            self.row[f"us_per_token_{length}"] = 1e6 * r["seconds"] / r["computed"]
        r = self.score(self.write("one.jsonl", self.long_rows(1, 8 * 2048)), "f32", 2048)
        self.row["pair_2048_over_weights_mb"] = (r["rss"] - r["weight_bytes"]) / 1e6

    def rank(self):
        """16 real answers of middling length to one question."""
        text = lambda a: a if isinstance(a, str) else a[-1]["content"]
        answers = sorted((text(r[k]) for r in self.rows for k in ("chosen", "rejected")), key=len)
        at = max(0, len(answers) // 2 - 8)
        group = {"id": "16", "prompt": text(self.rows[0]["prompt"]), "responses": answers[at:at + 16]}
        say("rank, all pairs of 16")
        r = self.score(self.write("group.jsonl", [group]), "rank")
        self.row["rank16_tokens_ratio"] = r["computed"] / r["tokens"]
        self.row["rank16_seconds"] = r["seconds"]

    def kernels(self):
        say("kernels")
        lines = run([self.build / "bench/bench_kernels"]).splitlines()
        new = not KERNELS.exists()
        with KERNELS.open("a") as f:
            for line in lines[0 if new else 1:]:
                f.write(("commit," if line == lines[0] else commit() + ",") + line + "\n")
        print("\n".join(lines))


def mark(prompt, k):
    if not k:
        return prompt
    if isinstance(prompt, str):
        return f"({k}) {prompt}"
    return [{**m, "content": f"({k}) {m['content']}"} if i == 0 else m for i, m in enumerate(prompt)]


# What the issue asks for: column, sense, value, in words.
TARGETS = [
    ("f32_over_transformers", 2.5, "f32 over transformers, pairs/s on the same rows"),
    ("bf16_over_transformers", 2.0, "bf16 over transformers in bfloat16, pairs/s on the same rows"),
    ("1b_bf16_over_transformers", 2.0, "the same of a pair and a 1B shape"),
    ("f32_over_llama_at_512", 1.5, "f32 over llama.cpp F32, tokens/s at 512"),
    ("f32_over_llama_at_2048", 2.0, "f32 over llama.cpp F32, tokens/s at 2048"),
    ("f32_of_all_products", 0.85, "f32, of what oneDNN's speed allows for all products computed, attention's too"),
    ("f32_of_limit", 0.85, "f32, of what oneDNN's speed allows for the products with weights alone"),
    ("int8_over_llama_best", 2.5, "int8 over llama.cpp's best type, pairs/s on the same rows"),
    ("rank16_tokens_ratio", -0.60, "rank 16 all pairs, tokens computed over lone pairs'"),
    ("pair_2048_over_weights_mb", -200, "memory over the weights, a pair of 2,048 tokens, MB"),
]


def show(row):
    for k, v in row.items():
        print(f"{k:28} {v:.4g}" if isinstance(v, float) else f"{k:28} {v}")
    print()
    for key, want, words in TARGETS:
        if key in row:
            ok = row[key] <= -want if want < 0 else row[key] >= want
            most = row.get(key + "_shared")
            beside = f"; {most:.3g} if attention ran at oneDNN's speed and all else were free" if most else ""
            spent = row.get(key[:key.index("_over_")] + "_of_all_products") if "_over_" in key else None
            if spent:
                beside = f"; {row[key] / spent:.3g} if nothing but products took time, at oneDNN's speed"
            print(f"{'met ' if ok else 'MISS'} {words}: {row[key]:.3g}, wanted {'at most' if want < 0 else 'at least'} "
                  f"{abs(want)}{beside}")


def append(row, history=HISTORY):
    """Old rows keep their columns; new columns go to the right."""
    old = list(csv.DictReader(history.open())) if history.exists() else []
    columns = list(dict.fromkeys([k for r in old for k in r] + list(row)))
    with history.open("w", newline="") as f:
        w = csv.DictWriter(f, columns, restval="", lineterminator="\n")
        w.writeheader()
        w.writerows(old)
        w.writerow({k: f"{v:.5g}" if isinstance(v, float) else v for k, v in row.items()})


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--build", default="build")
    ap.add_argument("--model", default=os.environ.get("GRAM_MODEL", "build/model/SmolLM2-135M-Instruct.Q4_1.gguf"))
    ap.add_argument("--peers", metavar="DIR", help="what scripts/get_peers.sh installed")
    ap.add_argument("--rows", default="data/bench.jsonl.gz")
    ap.add_argument("--limit", type=int, help="use the first N rows only")
    ap.add_argument("--subset", type=int, default=10, help="rows that the peers read (default 10)")
    ap.add_argument("--rounds", type=int, default=2)
    ap.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    ap.add_argument("--quick", action="store_true",
                    help="8 rows, peers 2, one round, no kernels: a look, not a measurement")
    ap.add_argument("--dry", action="store_true", help="append nothing to bench/history.csv")
    args = ap.parse_args()
    if args.quick:
        args.limit, args.subset, args.rounds = args.limit or 8, 2, 1
    cpu, flags = cpu_facts()
    with tempfile.TemporaryDirectory() as tmp:
        b = Bench(args, tmp)
        b.row = {"date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M"), "commit": commit(),
                 "cpu": cpu, "flags": flags, "threads": args.threads, "model": pathlib.Path(args.model).name,
                 "load_before": os.getloadavg()[0]}
        b.limits()
        b.full()
        b.peers()
        b.growth()
        b.rank()
        if args.peers and not args.quick:
            b.shape()
        if not args.quick:
            b.flatness()
            b.kernels()
        show(b.row)
        if not args.dry:
            append(b.row)
            say(f"one row added to {HISTORY}")


if __name__ == "__main__":
    main()
