#!/bin/sh
# scripts/bench_clients.py times gram serve and what stands for llama-server: a row for each file, and none where a
# server writes fewer tokens than it was asked for.
. tests/e2e/lib.sh
command -v python3 >/dev/null || { echo "  python3 is not installed"; exit 77; }
tiny_model "$tmp/tiny"
mkdir -p "$tmp/peers/bin"
expect 0 "$GRAM" convert "$tmp/tiny" --out "$tmp/peers/F32.gguf"
cat >"$tmp/peers/bin/llama-server" <<'EOF'
#!/usr/bin/env python3
import http.server
import json
import os
import sys


class Peer(http.server.BaseHTTPRequestHandler):
    def answer(self, o):
        body = json.dumps(o).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer({"status": "ok"})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert asked["ignore_eos"] and asked["temperature"] == 0
        self.answer({"usage": {"completion_tokens": asked["max_tokens"] - int(os.environ.get("FEWER", "0"))}})

    def log_message(self, *_):
        pass


args = dict(zip(sys.argv[1::2], sys.argv[2::2]))
assert args["-np"] == "3" and args["-m"].endswith("F32.gguf")
http.server.ThreadingHTTPServer(("127.0.0.1", int(args["--port"])), Peer).serve_forever()
EOF
chmod +x "$tmp/peers/bin/llama-server"

bench() {
    python3 scripts/bench_clients.py --build "$B" --peers "$tmp/peers" --types F32 --clients 3 --quick "$@"
}
expect 0 bench --csv "$tmp/clients.csv"
says err "type F32 clients 3 gram"
[ "$(wc -l <"$tmp/clients.csv")" -eq 2 ] || die "rows"
FEWER=1 expect 1 bench --csv "$tmp/none.csv"
says err "7 tokens were written; wanted 8"
[ ! -e "$tmp/none.csv" ] || die "a row of a failure"
