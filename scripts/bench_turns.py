#!/usr/bin/env python3
"""bench_turns.py - two builds of gram side by side: short turns in alternation, and rows for bench/turns.csv.

    scripts/bench_turns.py BEFORE/build/gram AFTER/build/gram --model model.gguf [--turns N] [--only score_f32,serve]

Each task runs BEFORE, AFTER, AFTER, BEFORE and so on, one thread each, and a row has the CPU seconds that the process
spent as a user (the system's are not a kernel's) and the wall's: of each build the median of its turns and the least,
and AFTER over BEFORE. On a machine that does other things too the two of a turn run side by side (--together), so that
both meet the same, and the CPU's seconds are what can be compared. turn_ratio is the geometric mean of AFTER over
BEFORE of each turn's user seconds, and within the half width of its 95 % interval, as Student's t gives it for that
many turns.

    score_f32, score_int8, score_int8_fast      gram score over some pairs of data/demo.jsonl
    step_lora               gram finetune with adapters, some steps over these pairs
    step_tiny               the same over every weight of a tiny model: what is not a product
    step_text               gram pretrain over every weight of that model: the whole vocabulary
    serve                   gram serve, which is sent these pairs one by one; its start is not counted
"""
import argparse
import concurrent.futures
import datetime
import http.client
import json
import math
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from bench_run import append

TINY = "tests/golden/train/judge"
COLUMNS = ["date", "before", "after", "cpu", "load", "task", "turns", "user_before", "user_after", "user_ratio",
           "least_before", "least_after", "least_ratio", "wall_before", "wall_after", "wall_ratio", "together",
           "turn_ratio", "within"]
T95 = {3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 10: 2.262, 12: 2.201, 16: 2.131, 20: 2.093}


def timed(command):
    """User-CPU and wall seconds of a command that must pass."""
    began = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    said = child.stderr.read()
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{' '.join(map(str, command))}: {said}")
    return used.ru_utime, time.monotonic() - began


def of_turns(before, after):
    """The geometric mean of the turns' ratios, and the half width of its interval."""
    logs = [math.log(a / b) for b, a in zip(before, after)]
    n, mean = len(logs), statistics.fmean(logs)
    t = T95[max((k for k in T95 if k <= n), default=3)]         # of fewer turns, so wider, where n is not there
    return math.exp(mean), math.exp(mean) * t * statistics.stdev(logs) / math.sqrt(n) if n > 2 else math.inf


def score(gram, args, tmp, dtype):
    return timed([gram, "score", args.model, tmp / "pairs.jsonl", "-o", tmp / "scores.jsonl", "-t1", "--dtype", dtype,
                  "--quiet"])


def finetune(gram, tmp, model, *options):
    out = tmp / "out"
    shutil.rmtree(out, ignore_errors=True)
    return timed([gram, *options[:1], model, *options[1:], "-o", out, "-t1", "--quiet", "--save-every", "0"])


def step_lora(gram, args, tmp):
    return finetune(gram, tmp, args.model, "finetune", tmp / "pairs.jsonl", "--lora-rank", "8", "--steps", "1", "-b",
                    "2", "--warmup", "0")


def step_tiny(gram, args, tmp):
    prompt = "Q {input}\nA {response_a}\nB {response_b}\nBetter:"
    (tmp / "prompt.txt").write_text(prompt)
    return finetune(gram, tmp, TINY, "finetune", tmp / "tiny.jsonl", "--judge-prompt", tmp / "prompt.txt", "--steps",
                    args.small_steps, "-b", "4")


def step_text(gram, args, tmp):
    return finetune(gram, tmp, TINY, "pretrain", tmp / "groups.jsonl", "--steps", args.small_steps, "-b", "4")


def user_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) / os.sysconf("SC_CLK_TCK")


def serve(gram, args, tmp):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    child = subprocess.Popen([gram, "serve", args.model, "--port", str(port), "-t1", "--quiet"],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        while True:
            try:
                c.request("GET", "/health")
                answer = c.getresponse()
                answer.read()
                if answer.status == 200:
                    break
            except OSError:
                c.close()
            time.sleep(0.05)
        user, wall = user_seconds(child.pid), time.monotonic()
        for row in map(json.loads, (tmp / "pairs.jsonl").read_text().splitlines()):
            c.request("POST", "/v1/score", json.dumps({"prompt": row["prompt"], "a": row["chosen"],
                                                       "b": row["rejected"]}), {"Content-Type": "application/json"})
            answer = c.getresponse()
            if answer.status != 200:
                sys.exit(f"{gram}: serve: {answer.read()}")
            answer.read()
        return user_seconds(child.pid) - user, time.monotonic() - wall
    finally:
        child.terminate()
        child.wait()


TASKS = {"score_f32": lambda *a: score(*a, "f32"), "score_int8": lambda *a: score(*a, "int8"),
         "score_int8_fast": lambda *a: score(*a, "int8-fast"), "step_lora": step_lora,
         "step_tiny": step_tiny, "step_text": step_text, "serve": serve}


def folder_of(tmp, args, gram):
    """A copy of the rows for each build, so that two may write at once."""
    own = tmp / ("before" if gram == args.before else "after")
    if not own.exists():
        own.mkdir()
        for f in tmp.glob("*.jsonl"):
            shutil.copy(f, own)
    return own


def commit_of(gram):
    where = pathlib.Path(gram).resolve().parent
    return subprocess.run(["git", "-C", where, "rev-parse", "--short", "HEAD"], capture_output=True,
                          text=True).stdout.strip() or "?"


def write_rows(args, tmp):
    rows = pathlib.Path("data/demo.jsonl").read_text().splitlines()
    short = sorted(rows, key=len)[:args.rows]
    (tmp / "pairs.jsonl").write_text("\n".join(short) + "\n")
    with open(tmp / "tiny.jsonl", "w") as pairs, open(tmp / "groups.jsonl", "w") as groups:
        for i in range(40):
            a, b = "z" * (20 + i % 17), "a" * (15 + i % 11)
            pairs.write(json.dumps({"prompt": f"q{i}", "chosen": a, "rejected": b}) + "\n")
            groups.write(json.dumps({"prompt": f"q{i}", "responses": [a, b]}) + "\n")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("before")
    p.add_argument("after")
    p.add_argument("--model", required=True)
    p.add_argument("--turns", type=int, default=8, help="of each build and task")
    p.add_argument("--rows", type=int, default=8, help="pairs that are scored and served")
    p.add_argument("--small-steps", default="2000", help="of step_tiny and step_text")
    p.add_argument("--together", action="store_true")
    p.add_argument("--only", default=",".join(TASKS))
    p.add_argument("--csv", type=pathlib.Path, default=pathlib.Path("bench/turns.csv"))
    args = p.parse_args()
    cpu = next(line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
    with tempfile.TemporaryDirectory() as folder:
        tmp = pathlib.Path(folder)
        write_rows(args, tmp)
        for task in args.only.split(","):
            load = os.getloadavg()[0]
            seen = {args.before: [], args.after: []}
            for turn in range(args.turns):
                order = [args.before, args.after] if turn % 2 == 0 else [args.after, args.before]
                with concurrent.futures.ThreadPoolExecutor(2 if args.together else 1) as pool:
                    took = pool.map(lambda gram: TASKS[task](gram, args, folder_of(tmp, args, gram)), order)
                    for gram, t in zip(order, took):
                        seen[gram].append(t)
            (ub, wb), (ua, wa) = (zip(*seen[g]) for g in (args.before, args.after))
            m = statistics.median
            row = [datetime.date.today(), commit_of(args.before), commit_of(args.after), cpu, f"{load:.1f}", task,
                   args.turns, f"{m(ub):.3f}", f"{m(ua):.3f}", f"{m(ua) / m(ub):.4f}", f"{min(ub):.3f}",
                   f"{min(ua):.3f}", f"{min(ua) / min(ub):.4f}", f"{m(wb):.3f}", f"{m(wa):.3f}", f"{m(wa) / m(wb):.4f}",
                   "yes" if args.together else "no", *(f"{x:.4f}" for x in of_turns(ub, ua))]
            append(dict(zip(COLUMNS, row)), args.csv)
            print(task, *row[6:], flush=True)


if __name__ == "__main__":
    main()
