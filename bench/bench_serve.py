#!/usr/bin/env python3
"""What serving costs, beside the engine alone, in one run.

    bench_serve.py [--model FILE] [--pairs FILE] [--rows N] [--rounds N] [--peers DIR] [--peer-rows N] [--csv FILE]

overhead      an empty engine (tests/serve/fake_server.c) over one kept-alive connection: microseconds a request, and
              those of GET /health, which is HTTP alone
saturation    the same rows by `gram score` and by 16 clients of `gram serve`, whose requests fill two batches, so that
              one is always waiting: pairs/s, and their ratio
lone pair     p50 of one pair of about 500 tokens over HTTP, beside the engine's own time for it (the server's
              busy time)
llama-server  where DIR (scripts/get_peers.sh) has it: tokens/s of /completion on the prompts that gram's judge reads of
              the first rows, in the model's own types and in F32, beside those of gram serve

Tokens are counted as a program that shares nothing would spend them.

Nothing is asserted: a figure is a row in the CSV, beside the commit and the CPU."""
import argparse
import csv
import http.client
import json
import os
import re
import signal
import statistics
import subprocess
import tempfile
import threading
import time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
BUILD = os.environ.get("B", "build")


def post(connection, path, body):
    connection.request("POST", path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    r = connection.getresponse()
    text = r.read()
    if r.status != 200:
        raise SystemExit(f"{path}: {r.status} {text[:300]}")
    return json.loads(text)


def metric(port, name):
    c = http.client.HTTPConnection("127.0.0.1", port)
    c.request("GET", "/metrics")
    return float(re.search(rf"^{name} (\S+)$", c.getresponse().read().decode(), re.M).group(1))


def wait_for(port, seconds=60):
    for _ in range(10 * seconds):
        try:
            c = http.client.HTTPConnection("127.0.0.1", port)
            c.request("GET", "/health")
            if c.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise SystemExit(f"nothing healthy on port {port}")


def in_parallel(clients, work, port, path, body_of):
    """The answers, in no order."""
    work, lock, answers = iter(work), threading.Lock(), []

    def client():
        c = http.client.HTTPConnection("127.0.0.1", port)
        while True:
            with lock:
                item = next(work, None)
            if item is None:
                return
            answers.append(post(c, path, body_of(item)))

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return answers


class Serve:
    def __init__(self, model):
        self.process = subprocess.Popen([f"{BUILD}/gram", "serve", model, "--port", "0"], stderr=subprocess.PIPE,
                                        text=True)
        self.port = int(self.process.stderr.readline().rsplit(":", 1)[1])
        threading.Thread(target=self.listen, daemon=True).start()
        wait_for(self.port)

    def listen(self):
        """The log is read so that its pipe never fills."""
        for _ in self.process.stderr:
            pass

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def overhead(rounds):
    """Microseconds a request of a small pair, and of GET /health: medians of rounds in turn."""
    p = subprocess.Popen([f"{BUILD}/tests/serve/fake_server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    url = f"http://127.0.0.1:{int(p.stdout.readline())}"

    def wrk(*args):
        out = subprocess.run(["wrk", "-t1", "-c1", "-d3s", *args], capture_output=True, text=True, check=True).stdout
        return 1e6 / float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1))

    pairs, health = zip(*((wrk("-s", "bench/serve_pair.lua", f"{url}/v1/score"), wrk(f"{url}/health"))
                          for _ in range(rounds)))
    p.stdin.close()
    p.wait()
    return statistics.median(pairs), statistics.median(health)


def score(model, rows):
    """Pairs/s of `gram score`, its loading left out."""
    with tempfile.TemporaryDirectory() as tmp:
        path = os.path.join(tmp, "pairs.jsonl")
        with open(path, "w") as f:
            f.writelines(json.dumps(r) + "\n" for r in rows)
        err = subprocess.run([f"{BUILD}/gram", "score", model, path, "--out", os.path.join(tmp, "out")],
                             capture_output=True, text=True, check=True).stderr
    return float(re.search(r"\(([\d.]+)(?: pairs)?/s", err).group(1))


def serve(model, rows):
    """Pairs/s and tokens/s of a new server's 16 clients; then a lone pair's p50 and the engine's own time for it."""
    s = Serve(model)
    begin = time.perf_counter()
    answers = in_parallel(16, rows, s.port, "/v1/score",
                          lambda row: {k: row[k] for k in ("prompt", "chosen", "rejected")})
    seconds = time.perf_counter() - begin
    lone = lone_pair(s.port)
    s.close()
    return len(rows) / seconds, sum(a["tokens"] for a in answers) / seconds, *lone


def saturation(model, rows, rounds):
    """The medians of rounds in turn: a machine's speed changes from minute to minute."""
    alone, served = zip(*((score(model, rows), serve(model, rows)) for _ in range(rounds)))
    return statistics.median(alone), *(statistics.median(column) for column in zip(*served))


def lone_pair(port):
    words = "the reward of an answer is the probability that a judge prefers it to another answer " * 40
    c, seconds = http.client.HTTPConnection("127.0.0.1", port), []

    def ask(i):                                     # another pair each time: what is cached is the judge prompt alone
        post(c, "/v1/score", {"prompt": f"{i}: which is better?", "a": words[i:i + 900], "b": words[i + 20:i + 800]})

    ask(0)
    busy = metric(port, "gram_busy_seconds_total")
    for i in range(1, 4):
        begin = time.perf_counter()
        ask(i)
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds), (metric(port, "gram_busy_seconds_total") - busy) / len(seconds)


def llama(program, model, rows, gram_model):
    """Tokens/s of the prompts that gram's judge reads, one token written after each, by two slots with two clients; the
    slots keep what prompts share, as is llama-server's default."""
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as f:
        f.writelines(json.dumps(r) + "\n" for r in rows)
        f.flush()
        shown = subprocess.run([f"{BUILD}/gram", "score", gram_model, f.name, "--show-tokens"], capture_output=True,
                               text=True, check=True).stdout
    prompts = [json.loads(line)["tokens"] for line in shown.splitlines()]
    p = subprocess.Popen([program, "-m", model, "--port", "8199", "-np", "2", "-c", "8192", "-t", str(os.cpu_count())],
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(8199)
        begin = time.perf_counter()
        in_parallel(2, prompts, 8199, "/completion", lambda ids: {"prompt": ids, "n_predict": 1})
        return sum(map(len, prompts)) / (time.perf_counter() - begin)
    finally:
        p.terminate()
        p.wait()


def main():
    o = argparse.ArgumentParser()
    o.add_argument("--model", default=os.environ.get("GRAM_MODEL", "build/model/SmolLM2-135M-Instruct.Q4_1.gguf"))
    o.add_argument("--pairs", default="data/demo.jsonl")
    o.add_argument("--rows", type=int, default=32)
    o.add_argument("--rounds", type=int, default=3)
    o.add_argument("--peers", default=os.environ.get("PEERS"))
    o.add_argument("--peer-rows", type=int, default=10)
    o.add_argument("--csv", default="bench/serve.csv")
    o = o.parse_args()
    os.chdir(ROOT)
    with open(o.pairs) as f:
        rows = [json.loads(line) for line in f][:o.rows]
    us, health_us = overhead(o.rounds)
    alone, served, tokens, lone, engine = saturation(o.model, rows, o.rounds)
    program = os.path.join(o.peers, "bin/llama-server") if o.peers else None
    peer = ["", ""]
    if program and os.path.exists(program):
        peer = [round(llama(program, m, rows[:o.peer_rows], o.model), 1)
                for m in (o.model, os.path.join(o.peers, "F32.gguf"))]
    with open("/proc/cpuinfo") as f:
        cpu = re.search(r"model name\s*: (.*)", f.read()).group(1)
    row = {"commit": subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True,
                                    text=True).stdout.strip(),
           "cpu": cpu, "cores": os.cpu_count(), "rows": len(rows), "overhead_us": round(us, 1),
           "health_us": round(health_us, 1),
           "score_pairs_per_s": round(alone, 3), "serve_pairs_per_s": round(served, 3),
           "ratio": round(served / alone, 3),
           "lone_p50_ms": round(1e3 * lone, 1), "lone_engine_ms": round(1e3 * engine, 1),
           "serve_tokens_per_s": round(tokens, 1), "llama_server_tokens_per_s": peer[0],
           "llama_server_f32_tokens_per_s": peer[1]}
    for k, v in row.items():
        print(f"{k:20} {v}")
    new = not os.path.exists(o.csv)
    with open(o.csv, "a", newline="") as f:
        w = csv.DictWriter(f, row)
        if new:
            w.writeheader()
        w.writerow(row)


main()
