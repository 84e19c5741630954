#!/usr/bin/env python3
"""bench_clients.py - time several clients' writing at once, by gram serve and by llama-server, and append rows to
bench/clients.csv.

    scripts/bench_clients.py --peers DIR [--types F32,Q8_0,Q4_0] [--clients 4] [--quick] [--csv FILE]

DIR is what scripts/get_peers.sh installed. Each round starts gram serve and llama-server with as many slots as there
are clients in turn, on the same file, and each client asks for one answer after the other: the same token ids, 64
tokens each, the likeliest always and no end, until the twelve prompts are used up. Tokens a second are those of all
answers, from the first request to the last answer, prompts read on the way; the best of the rounds counts for both.
Takes about two minutes on two cores, on a machine that does nothing else.
"""
import concurrent.futures
import http.client
import json
import pathlib
import socket
import subprocess
import sys
import time

import bench_generate
import bench_run
from bench_generate import QUESTIONS, prompt_ids
from bench_run import say


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """A program that listens on a port; healthy when this is made."""

    def __init__(self, *command):
        self.port = free_port()
        self.process = subprocess.Popen([*map(str, command), "--port", str(self.port)], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        for _ in range(600):
            if self.process.poll() is None and self.is_healthy():
                return
            time.sleep(0.1)
        self.close()
        sys.exit(f"bench_clients.py: {' '.join(map(str, command))}: not healthy within a minute")

    def is_healthy(self):
        try:
            c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            c.request("GET", "/health")
            return c.getresponse().status == 200
        except OSError:
            return False

    def close(self):
        self.process.terminate()
        self.process.wait()

    def complete(self, body):
        """An answer's tokens, as the server counts them."""
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        c.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        r = c.getresponse()
        text = r.read().decode()
        if r.status != 200:
            sys.exit(f"bench_clients.py: {r.status}: {text}")
        return json.loads(text)["usage"]["completion_tokens"]


def speed(args, server, prompts, **no_end):
    """Tokens a second of all clients together."""
    def ask(ids, new=args.new):
        n = server.complete({"prompt": ids, "max_tokens": new, "temperature": 0, "seed": 1} | no_end)
        if n != new:
            sys.exit(f"bench_clients.py: {n} tokens were written; wanted {new}")
        return n

    try:
        ask(prompts[0][:4])                                     # weights are read, and laid out
        start = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(args.clients) as clients:
            n = sum(clients.map(ask, prompts))
        return n / (time.monotonic() - start)
    finally:
        server.close()


def measure(args):
    ids = prompt_ids(args.build / "gram", args.peers / f"{args.types[0]}.gguf", len(QUESTIONS))
    prompts = [[int(i) for i in line.split()] for line in ids.splitlines()]
    rows = {t: {"type": t, "clients": args.clients, "gram": 0, "llama_server": 0} for t in args.types}
    for _ in range(args.rounds):
        for kind, row in rows.items():
            model = args.peers / f"{kind}.gguf"
            gram = Server(args.build / "gram", "serve", model, "--threads", args.threads)
            row["gram"] = max(row["gram"], speed(args, gram, prompts, min_tokens=args.new))
            llama = Server(args.peers / "bin/llama-server", "-m", model, "-np", args.clients, "-c", 1024 * args.clients,
                           "-t", args.threads)
            row["llama_server"] = max(row["llama_server"], speed(args, llama, prompts, ignore_eos=True))
            row["of_llama"] = row["gram"] / row["llama_server"]
            say(" ".join(f"{k} {v:.2f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()))
    return list(rows.values())


def main():
    ap = bench_generate.arguments(__doc__)
    ap.add_argument("--types", default=bench_run.TYPES, type=lambda text: text.split(","))
    ap.add_argument("--clients", type=int, default=4, help="at once, and slots of llama-server")
    ap.add_argument("--csv", default="bench/clients.csv", type=pathlib.Path)
    args, about = bench_generate.begin(ap)
    for row in measure(args):
        bench_run.append(about | row, args.csv)


if __name__ == "__main__":
    main()
