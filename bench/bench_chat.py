#!/usr/bin/env python3
"""What chats and scoring cost each other in gram serve.

    bench_chat.py [--model FILE] [--dtype f32|bf16|int8] [--seconds S] [--rounds N] [--chats N] [--threads N]
                  [--cpu] [--long N] [--csv FILE]

One server. In each round, in turn: chats alone, whose tokens are streamed one after the other; a client alone that
scores long pairs, one behind the other; and both at once.

With --cpu, which asks for --threads 1, times are the server's CPU time; it still divides the machine by the clock.

token_alone_ms, token_beside_ms   median time from a token of a chat to its next
ratio                             of the two
pairs_alone, pairs_beside         pairs/s of the client that scores
kept                              pairs_beside / pairs_alone: of the time that both want, the chats take their part
lost                              of its pairs/s, beyond the time that the chats' tokens take when they are alone

Medians over the rounds: a machine's speed changes from minute to minute. A row in the CSV; nothing is asserted."""
import argparse
import csv
import http.client
import json
import os
import re
import signal
import statistics
import subprocess
import threading
import time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
BUILD = os.environ.get("B", "build")
WORDS = "the reward of an answer is the probability that a judge prefers it to another answer which was written before "


class Serve:
    def __init__(self, model, dtype, threads, cpu):
        self.process = subprocess.Popen([f"{BUILD}/gram", "serve", model, "--port", "0", "--dtype", dtype, "--threads",
                                         str(threads)],
                                        stderr=subprocess.PIPE, text=True)
        # the clock of the process's CPU time, as clock_getcpuclockid() makes its number
        self.clock = (lambda: time.clock_gettime((~self.process.pid << 3) | 2)) if cpu else time.perf_counter
        self.port = int(self.process.stderr.readline().rsplit(":", 1)[1])
        threading.Thread(target=self.listen, daemon=True).start()
        while True:
            try:
                c = http.client.HTTPConnection("127.0.0.1", self.port)
                c.request("GET", "/health")
                if c.getresponse().status == 200:
                    break
            except OSError:
                pass
            time.sleep(0.1)

    def listen(self):
        for _ in self.process.stderr:
            pass

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def chat(port, n, until, gaps, clock):
    """Chats one behind the other; the times between their tokens."""
    body = json.dumps({"messages": [{"role": "user", "content": f"Tell me a long story about the number {n}."}],
                       "max_tokens": 128, "min_tokens": 128, "stream": True, "seed": n})
    while time.perf_counter() < until:
        c = http.client.HTTPConnection("127.0.0.1", port)
        c.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        last = None
        for line in c.getresponse():
            if line.startswith(b"data: {"):
                now = clock()
                if last:
                    gaps.append(now - last)
                last = now
            if time.perf_counter() >= until:
                break
        c.close()


def score(port, long, until, done, clock):
    c = http.client.HTTPConnection("127.0.0.1", port)
    i = 0
    while time.perf_counter() < until:
        i += 1
        a, b = WORDS * long, WORDS[20:] + WORDS * (long - 1)
        c.request("POST", "/v1/score", json.dumps({"prompt": f"{i}: which is better? " + WORDS, "a": a, "b": b}),
                  {"Content-Type": "application/json"})
        r = c.getresponse()
        answer = json.loads(r.read())
        if r.status != 200:
            raise SystemExit(f"{r.status}: {answer}")
        if time.perf_counter() < until:         # what comes later had the machine to itself at its end
            done.append((clock(), answer["tokens"]))


def run(server, chats, scoring, long, seconds):
    """Times between tokens, and pairs/s that were scored, from the end of the first to that of the last."""
    begin, clock = server.clock(), server.clock
    until, gaps, done = time.perf_counter() + seconds, [], []
    threads = [threading.Thread(target=chat, args=(server.port, n, until, gaps, clock)) for n in range(chats)]
    if scoring:
        threads.append(threading.Thread(target=score, args=(server.port, long, until, done, clock)))
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    rate = (len(done) - 1) / (done[-1][0] - done[0][0]) if len(done) > 1 else 0
    if scoring and len(done) < 2:
        server.close()
        raise SystemExit(f"{len(done)} pairs in {seconds} s: no rate; give --seconds more, or --long less")
    return gaps, rate, done[0][1] if done else 0, clock() - begin


def main():
    o = argparse.ArgumentParser()
    o.add_argument("--model", default=os.environ.get("GRAM_MODEL", "build/model/SmolLM2-135M-Instruct.Q4_1.gguf"))
    o.add_argument("--dtype", default="f32")
    o.add_argument("--threads", type=int, default=0, help="of the server; 0: one for each core")
    o.add_argument("--cpu", action="store_true", help="in the server's CPU time: on a machine that others use")
    o.add_argument("--seconds", type=float, default=10)
    o.add_argument("--rounds", type=int, default=3)
    o.add_argument("--chats", type=int, default=1)
    o.add_argument("--long", type=int, default=8, help="times that twenty words stand in an answer")
    o.add_argument("--csv", default="bench/chat.csv")
    o = o.parse_args()
    os.chdir(ROOT)
    s = Serve(o.model, o.dtype, o.threads, o.cpu)
    rows = []
    for _ in range(o.rounds):
        gaps, _, _, _ = run(s, o.chats, False, o.long, o.seconds)
        _, alone, tokens, _ = run(s, 0, True, o.long, o.seconds)
        beside_gaps, beside, _, took = run(s, o.chats, True, o.long, 2 * o.seconds)
        a, b = statistics.median(gaps), statistics.median(beside_gaps)
        steps = len(beside_gaps) / o.chats                     # a step writes a token of every chat
        rows.append((1e3 * a, 1e3 * b, b / a, alone, beside, beside / alone,
                     1 - beside / alone / max(1e-9, 1 - steps * a / took)))
        print(*(round(x, 3) for x in rows[-1]), flush=True)
    s.close()
    with open("/proc/cpuinfo") as f:
        cpu = re.search(r"model name\s*: (.*)", f.read()).group(1)
    m = [statistics.median(column) for column in zip(*rows)]
    row = {"commit": subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True,
                                    text=True).stdout.strip(),
           "cpu": cpu, "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1), "dtype": o.dtype,
           "chats": o.chats,
           "pair_tokens": tokens, "token_alone_ms": round(m[0], 1), "token_beside_ms": round(m[1], 1),
           "ratio": round(m[2], 2), "pairs_alone": round(m[3], 3), "pairs_beside": round(m[4], 3),
           "kept": round(m[5], 3),
           "lost": round(m[6], 3), "threads": o.threads, "clock": "cpu" if o.cpu else "wall"}
    for k, v in row.items():
        print(f"{k:16} {v}")
    new = not os.path.exists(o.csv)
    with open(o.csv, "a", newline="") as f:
        w = csv.DictWriter(f, row)
        if new:
            w.writeheader()
        w.writerow(row)


main()
