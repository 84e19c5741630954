#!/bin/sh
# `gram serve` with a tiny model and, where it is, a real one: scores with the bits of `gram score`, the Python client,
# the log, signals, and refusals to start.
. tests/e2e/lib.sh
command -v python3 >/dev/null || { echo "  python3 is not installed"; exit 77; }

server=
trap '[ -z "$server" ] || kill -9 "$server" 2>/dev/null; rm -rf "$all_tmp"' EXIT

# start MODEL OPTIONS...: a server on a free port; $server is its process, $url where it answers.
start() {
    : >"$tmp/log"
    "$GRAM" serve "$@" --port 0 2>"$tmp/log" &
    server=$!
    for _ in $(seq 600); do
        url=$(sed -n 's/^gram serve: //p' "$tmp/log")
        [ -n "$url" ] &&
            python3 -c "import sys,urllib.request as u; u.urlopen(sys.argv[1])" "$url/health" 2>/dev/null && return
        kill -0 "$server" 2>/dev/null || { cat "$tmp/log"; die "the server ended"; }
        sleep 0.1
    done
    die "the server does not become healthy"
}

ended() {       # ended STATUS: the server ends with it
    wait "$server"
    got=$?
    server=
    [ "$got" -eq "$1" ] || { cat "$tmp/log"; die "the server ended with $got, wanted $1"; }
}

post() {        # post PATH BODY: status, then the answer; @FILE: the body is in it
    python3 - "$url$1" "$2" <<'EOF'
import sys, urllib.request, urllib.error
body = open(sys.argv[2][1:], "rb").read() if sys.argv[2].startswith("@") else sys.argv[2].encode()
r = urllib.request.Request(sys.argv[1], body, {"Content-Type": "application/json"})
try:
    a = urllib.request.urlopen(r)
except urllib.error.HTTPError as e:
    a = e
print(a.status, a.read().decode())
EOF
}

# work N: posts N pairs in the background ($client; the answer goes to $tmp/answer) and waits until they are in the
# queue. A machine that is too fast for that to be seen gets four times as many.
work() {
    n=$1
    while :; do
        python3 -c 'import sys
print("{\"pairs\":[" + ",".join(f"{{\"prompt\":\"What is {i}?\",\"a\":\"{i} is one.\",\"b\":\"None, {i}.\"}}"
                               for i in range(int(sys.argv[1]))) + "]}")' "$n" >"$tmp/work"
        rm -f "$tmp/watched"
        { until [ -e "$tmp/watched" ]; do sleep 0.01; done; post /v1/score "@$tmp/work" >"$tmp/answer" 2>&1; } &
        client=$!
        python3 - "$url/metrics" $client "$tmp/watched" <<'EOF' && return
import os, re, sys, time, urllib.request
urllib.request.urlopen(sys.argv[1]).read()
open(sys.argv[3], "w").close()
while re.search(r"^gram_queue_pairs 0$", urllib.request.urlopen(sys.argv[1]).read().decode(), re.M):
    with open(f"/proc/{sys.argv[2]}/stat") as f:        # it ended, and its shell has not asked how
        if f.read().rsplit(")", 1)[1].split()[0] == "Z":
            sys.exit(1)
    time.sleep(0.002)
EOF
        wait "$client"
        [ "$n" -lt 5000 ] || { cat "$tmp/answer"; die "work is never seen in the queue"; }
        n=$((4 * n))
    done
}

# What it refuses to start with, in one sentence.
refuses_to_start() {
    expect 2 "$GRAM" serve "$m" --host 0.0.0.0 --port 0; says err "needs a key"; one_sentence
    expect 2 "$GRAM" serve "$m" --port 70000; says err "wanted 0 to 65535"
    expect 2 "$GRAM" serve "$m" --reference x --reference-file y; says err "are one answer"
    expect 2 "$GRAM" serve "$m" --reference ''; says err "wanted an answer, found an empty text"
    printf 'an \377swer' >"$tmp/odd.txt"
    expect 2 "$GRAM" serve "$m" --reference-file "$tmp/odd.txt"; says err "is not UTF-8 at byte 3"
    expect 1 "$GRAM" serve "$m" --key-file "$tmp/none"; says err "No such file"; one_sentence
    expect 1 "$GRAM" serve "$tmp/none.gguf" --port 0 --quiet; says err "none.gguf"
}

# As of gram score without a server: never over the rows that are read, in place of no device or pipe, and under no name
# that says more than is done.
where_remote_verdicts_go() {
    mkdir "$tmp/rows"
    cp "$tmp/pairs.jsonl" "$tmp/rows/a.jsonl"
    for in in rows/a.jsonl rows 'rows/*.jsonl'; do
        expect 1 "$GRAM" score --server "$url" "$tmp/$in" --out "$tmp/rows/a.jsonl"; one_sentence
        says err 'would be written over'
        cmp "$tmp/rows/a.jsonl" "$tmp/pairs.jsonl" || die "rows were written over"
    done
    mkfifo "$tmp/fifo"
    cat "$tmp/fifo" >"$tmp/through" &
    reading=$!
    expect 0 "$GRAM" score --server "$url" "$tmp/pairs.jsonl" --out "$tmp/fifo"
    wait $reading
    cmp "$tmp/through" "$tmp/verdicts.jsonl" || die "gram score --server writes other verdicts into a pipe"
    [ -p "$tmp/fifo" ] || die "a pipe was replaced by a file"
    ln -s there.jsonl "$tmp/link.jsonl"
    : >"$tmp/there.jsonl"
    expect 0 "$GRAM" score --server "$url" "$tmp/pairs.jsonl" --out "$tmp/link.jsonl"
    cmp "$tmp/there.jsonl" "$tmp/verdicts.jsonl" || die "a link was not followed"
    expect 2 "$GRAM" score --server "$url" "$tmp/pairs.jsonl" --out "$tmp/v.CSV"; says err 'plain JSON Lines'
    expect 2 "$GRAM" score --server "$url" "$tmp/pairs.jsonl" --out "$tmp/v.jsonl.gz"; says err 'plain JSON Lines'
    expect 1 "$GRAM" score --server http://127.0.0.1:1 "$tmp/pairs.jsonl" --out "$tmp/none.jsonl"
    ls "$tmp"/none.jsonl* >"$tmp/out" 2>/dev/null && die "a run that wrote nothing left a file"
    rm -r "$tmp/rows" "$tmp/fifo"
}

the_bits_of_score() {
    head -4 data/demo.jsonl >"$tmp/pairs.jsonl"
    expect 0 "$GRAM" score "$m" "$tmp/pairs.jsonl" --out "$tmp/verdicts.jsonl"
    start "$m" --max-rows 8000
    grep '"event":"ready".*, in float32' "$tmp/log" >/dev/null || die "the log does not say what is computed in"
    python3 tests/e2e/serve_bits.py "$url" "$tmp/pairs.jsonl" "$tmp/verdicts.jsonl" || die "bits"
    expect 0 "$GRAM" score --server "$url" "$tmp/pairs.jsonl" --out "$tmp/remote.jsonl"
    cmp "$tmp/remote.jsonl" "$tmp/verdicts.jsonl" || die "gram score --server writes other verdicts"
    where_remote_verdicts_go
    expect 1 "$GRAM" score --server http://127.0.0.1:1 "$tmp/pairs.jsonl"; one_sentence
    for option in --judge-prompt=x --labels=A,B --max-tokens=9 --truncate=drop --template=chatml --chat-arg=a=1 \
                  --reward-token=0 --reward-weights=1 --pointwise --scale=0-10 --lambda=1 --single-order --base=x \
                  --dtype=bf16 --device=cpu; do
        expect 2 "$GRAM" score --server http://127.0.0.1:1 "$tmp/pairs.jsonl" $option
        says err 'judges in its own way'
    done
    expect 2 "$GRAM" score --server ftp://x "$tmp/pairs.jsonl"; says err "wanted http://"
    python3 tests/e2e/serve_client.py "$url" || die "client"
    if grep -q "another one" "$tmp/log"; then die "the log holds text of requests"; fi
}

# SIGTERM while a request is judged: it is answered, and the server ends well.
told_to_stop() {
    work 20
    kill -TERM "$server"
    wait "$client"
    says answer "200 {"
    ended 0
}

# Told twice, it ends at once, whatever it has to do.
told_twice() {
    start "$m" --max-rows 8000 --log-text
    work $((20 * n))
    while kill -TERM "$server" 2>/dev/null; do sleep 0.1; done
    ended 1
    wait "$client"
}

a_key() {
    printf 'k3y\n' >"$tmp/key"
    start "$m" --key-file "$tmp/key" --log-text
    post /v1/score '{"prompt":"p","a":"x","b":"y"}' >"$tmp/out"; says out "401 {"
    GRAM_API_KEY=k3y GRAM_URL=$url PYTHONPATH=python python3 -c '
from gram import client as gram_client
gram_client.Gram().score("q", "an answer", "another one")' || die "client with a key"
    grep -q "another one" "$tmp/log" || die "--log-text logs no text"
    kill -INT "$server"
    ended 0
}

serves() {
    refuses_to_start
    the_bits_of_score
    told_to_stop
    told_twice
    a_key
}

on_each_model serves

tmp=$all_tmp
head -4 data/demo.jsonl >"$tmp/pairs.jsonl"
# A reward head measures a lone response: PyTorch's numbers for these conversations (scripts/golden_rewards.py).
start tests/golden/rewards/purm
GRAM_URL=$url python3 - "$url" tests/golden/rewards/rewards.json <<'EOF' || die "a lone response's reward"
import json, sys
sys.path.insert(0, "python")
from gram import client as gram_client
gram = gram_client.Gram(sys.argv[1])
with open(sys.argv[2]) as f:
    golden = json.load(f)
trl = gram_client.trl_reward(gram=gram)
for talk, want in zip(golden["talks"], golden["rewards"]["purm"]):
    got, = gram.reward(talk[:-1], [talk[-1]["content"]])
    assert abs(got - want[0]) < 1e-4, (talk, got, want)
    answer = talk[-1]["content"]
    assert trl([talk[:-1]], [talk[-1:]]) == [got]
    assert gram_client.compute_score_batch(["d"], [answer], [None], [{"raw_prompt": talk[:-1]}]) == [got]
EOF
kill -TERM "$server"
ended 0

# Groups of a reward head over HTTP are what `gram rank` writes of them, and pairs what `gram score` writes.
answers='["It is painted.", "Rayleigh scattering.", "", "Because.", "Because."]'
asked='[{"role": "system", "content": "Be terse."}, {"role": "user", "content": "A prime?"}]'
cat >"$tmp/groups.jsonl" <<EOF
{"prompt": "Why is the sky blue?", "responses": $answers, "reference": "Air scatters blue light."}
{"prompt": $asked, "responses": ["7", "9"], "reference": "2"}
EOF
for model in qwen3 purm; do
    lambda=
    [ $model != purm ] || lambda="--lambda 3"
    # shellcheck disable=SC2086  # two words
    for method in all-pairs tournament linear reference; do
        expect 0 "$GRAM" rank tests/golden/rewards/$model "$tmp/groups.jsonl" $lambda --method $method \
            --out "$tmp/ranks.$method"
    done
    # shellcheck disable=SC2086
    expect 0 "$GRAM" score tests/golden/rewards/$model "$tmp/pairs.jsonl" $lambda --out "$tmp/verdicts.jsonl"
    # shellcheck disable=SC2086
    start tests/golden/rewards/$model $lambda
    python3 tests/e2e/serve_ranks.py "$url" "$tmp/groups.jsonl" "$tmp/ranks" || die "ranks of $model"
    expect 0 "$GRAM" score --server "$url" "$tmp/pairs.jsonl" --out "$tmp/remote.jsonl"
    cmp "$tmp/verdicts.jsonl" "$tmp/remote.jsonl" || die "gram score --server writes other rewards"
    kill -TERM "$server"
    ended 0
done
says remote.jsonl '"penalised"'

# A judge of one answer, whose lines have the mass of its numbers.
expect 0 "$GRAM" score "$all_tmp/tiny" "$tmp/pairs.jsonl" --pointwise --scale 0-9 --out "$tmp/verdicts.jsonl"
start "$all_tmp/tiny" --pointwise --scale 0-9
expect 0 "$GRAM" score --server "$url" "$tmp/pairs.jsonl" --out "$tmp/remote.jsonl"
cmp "$tmp/verdicts.jsonl" "$tmp/remote.jsonl" || die "gram score --server writes other rewards of one answer"
says remote.jsonl '"mass"'
kill -TERM "$server"
ended 0

# Each limit is the one of its option.
start tests/golden/train/judge --name a-judge --reference "An answer." --max-body 4000 --max-rows 7 --max-pairs 5 \
    --max-new-tokens 6 --strict-text --max-connections 9
asks() {        # asks PATH BODY TEXT: the answer says TEXT
    post "$1" "$2" >"$tmp/answer"
    says answer "$3"
}
asks /v1/score "{\"prompt\":\"$(printf '%04000d' 7)\",\"a\":\"x\",\"b\":\"y\"}" 'this server takes 4000'
pair='{"prompt":"p","a":"x","b":"y"}'
asks /v1/score "{\"pairs\":[$pair,$pair,$pair,$pair,$pair,$pair,$pair,$pair]}" 'this server takes 7'
asks /v1/rank '{"prompt":"p","responses":["a","b","c","d"],"method":"all-pairs"}' 'this server makes 5'
asks /v1/chat/completions '{"messages":[{"role":"user","content":"q"}],"max_tokens":7}' 'at most 6'
asks /classify '{"input":"<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\nx<|im_end|>\n"}' 'takes only what comes'
asks /v1/reward '{"prompt":"p","response":"x","reference":"An answer."}' '"model":"a-judge"'
sed -n 's/.*\("rewards":.*\)/\1/p' "$tmp/answer" >"$tmp/given"
asks /v1/reward '{"prompt":"p","response":"x"}' '"rewards"'
sed -n 's/.*\("rewards":.*\)/\1/p' "$tmp/answer" | cmp - "$tmp/given" || die "another reference than --reference"
python3 - "$url" <<'EOF' || die "another number of connections than --max-connections"
import socket, sys, urllib.parse
at = urllib.parse.urlparse(sys.argv[1])
held = [socket.create_connection((at.hostname, at.port)) for _ in range(10)]
said = []
for s in held:
    s.sendall(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n")
    said.append(s.recv(4000))
assert all(b" 200 " in a for a in said[:9]), said
assert b"this server holds 9" in said[9], said[9]
EOF
kill -TERM "$server"
ended 0
