#!/bin/sh
# A judge of one answer on a scale: the same numbers from score, rank, bon, a server and raft, and RewardBench 2's Ties.
. tests/e2e/lib.sh
command -v python3 >/dev/null || { echo "  python3 is not installed"; exit 77; }
tiny_model "$tmp/tiny"
m=$tmp/tiny
cat >"$tmp/rows.py" <<'END'
import json, sys
colours, beasts = ["Red", "Blue", "Green, or another.", "Grey"], ["Dog", "Cat", "A whale", "Ox"]
with open(sys.argv[1] + "/groups", "w") as f:
    for i in range(4):
        responses = [*colours[i:], beasts[i], "Dog"]
        print(json.dumps({"id": f"g{i}", "prompt": f"Which colour is {i}?", "responses": responses}), file=f)
with open(sys.argv[1] + "/ties", "w") as f:
    for i in range(6):
        q = {"prompt": f"Name a colour, or {i}.", "rejected": [b + "!" * i for b in beasts], "subset": "Ties"}
        print(json.dumps({"id": f"ref:{i}", "chosen": [colours[i % 4]], **q}), file=f)
        print(json.dumps({"id": f"tied:{i}", "chosen": colours[: 2 + i % 3], **q}), file=f)
END
python3 "$tmp/rows.py" "$tmp"
on="--pointwise --scale 0-10"

# shellcheck disable=SC2086
expect 0 "$GRAM" rank "$m" "$tmp/groups" $on --out "$tmp/ranks" -q
# shellcheck disable=SC2086
expect 0 "$GRAM" bon "$tmp/groups" --judge "$m" $on --out "$tmp/bon" -q
# shellcheck disable=SC2086
serve "$m" $on --threads 1
"$GRAM" bon "$tmp/groups" --judge "http://127.0.0.1:$port" --out "$tmp/there" -q >"$tmp/out" 2>"$tmp/err" ||
    { kill "$server"; die "no bon by the server"; }
cat >"$tmp/check.py" <<'END'
import json, sys, urllib.request
at, url = sys.argv[1], sys.argv[2]
lines = lambda name: [json.loads(l) for l in open(f"{at}/{name}")]
def ask(path, body):
    r = urllib.request.Request(url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(r, timeout=60))
chat = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n{}<|im_end|>\n"
for g, rank, bon, there in zip(lines("groups"), lines("ranks"), lines("bon"), lines("there"), strict=True):
    n = len(g["responses"])
    assert len(rank["mass"]) == n and rank["passes"] == n and rank["comparisons"] == 0
    assert all(0 < x < 10 for x in rank["rewards"]) and all(0 < x < 1 for x in rank["mass"])
    assert bon["rewards"] == rank["rewards"] == there["rewards"], (bon, rank, there)
    out = ask("/v1/rank", {"prompt": g["prompt"], "responses": g["responses"]})
    assert out["rewards"] == rank["rewards"] and out["mass"] == rank["mass"]
    assert [r["index"] for r in out["results"]] == rank["ranking"]
    out = ask("/v1/reward", {"prompt": g["prompt"], "responses": g["responses"]})
    assert out["rewards"] == rank["rewards"] and out["scale"] == "head"
    out = ask("/v1/score", {"prompt": g["prompt"], "a": g["responses"][0], "b": g["responses"][1], "explain": True})
    assert out["rewards"] == rank["rewards"][:2] and out["mass"] == rank["mass"][:2]
    assert "from 0 (worst) to 10" in out["read"][1]
    out = ask("/get_reward", {"query": [chat.format(g["prompt"], r) for r in g["responses"]]})      # one text each
    assert out["rewards"] == rank["rewards"], (out, rank)
END
python3 "$tmp/check.py" "$tmp" "http://127.0.0.1:$port" || { kill "$server"; die "the server and the commands differ"; }
expect 2 "$GRAM" bon "$tmp/groups" --judge "http://127.0.0.1:$port" --pointwise
kill "$server"
wait "$server"
says err "judges in its own way"

# ---- Ties: by its own rule, from the rewards of each item's pairs; without rewards it is left out.
# shellcheck disable=SC2086
expect 0 "$GRAM" eval "$m" "$tmp/ties" --rules rewardbench2 $on --json "$tmp/ties.json" --rows "$tmp/ties.rows" -q
cat >"$tmp/ties.py" <<'END'
import json, math, sys
items = {}
for l in map(json.loads, open(sys.argv[1] + "/ties.rows")):
    right, wrong = items.setdefault(l["id"].split("#")[0], (set(), set()))
    right.add(l["reward"][0]), wrong.add(l["reward"][1])
gap = {k: min(r) - max(w) for k, (r, w) in items.items()}
spread = {k: max(r) - min(r) for k, (r, w) in items.items()}
mean = lambda values: sum(values) / len(values)
kinds = [[k for k in items if k.startswith(kind)] for kind in ("tied", "ref")]
both = [(gap[k], min(gap[k], gap["ref" + k[4:]]), spread[k]) for k in kinds[0]]
want = sum(0.3 * mean([gap[k] > 0 for k in kind]) for kind in kinds) + 0.2 * mean([g > s for g, _, s in both]) \
    + 0.2 * mean([h > s for _, h, s in both]) + 0.01 * mean([math.tanh(h / s - 1) for _, h, s in both])
got = {s["name"]: s["score"]["value"] for s in json.load(open(sys.argv[1] + "/ties.json"))["rules"]["scores"]}
assert len(items) == 12 and abs(got["Ties"] - want) < 1e-12, (got, want)
END
python3 "$tmp/ties.py" "$tmp" || die "Ties has another score"
printf '{input}|{response_a}|{response_b}|' >"$tmp/judge.txt"
expect 0 "$GRAM" eval "$m" "$tmp/ties" --rules rewardbench2 -p "$tmp/judge.txt" -q
says out "Ties compares rewards, and a judge gives none: its 12 items are left out."

# ---- A policy learns from it; what does not go together is said.
echo '{"prompt":"Which?"}' >"$tmp/prompts"
# shellcheck disable=SC2086
expect 0 "$GRAM" raft "$m" "$tmp/prompts" --judge "$m" $on --out "$tmp/raft" --max-new-tokens 4 --samples 3 --steps 1 \
    --batch-rows 1 --rollout-prompts 1 -q
[ "$(grep -c '"reward":' "$tmp/raft/samples.jsonl")" -ge 3 ] || die "answers have no rewards"
expect 2 "$GRAM" score "$m" "$tmp/groups" --scale 0-10
says err "--scale goes with --pointwise"
expect 2 "$GRAM" rank "$m" "$tmp/groups" --pointwise --scale 0-10 --labels Yes,No
says err "its numbers are the labels"
expect 2 "$GRAM" rank "$m" "$tmp/groups" --pointwise --scale 7
says err "two whole numbers"
expect 2 "$GRAM" rank "$m" "$tmp/groups" --pointwise --scale 0-10 --rationale
says err "reasons are written about two answers"

# What was judged on one scale is not gone on with on another, though the prompt be the same.
printf 'Question {input}\nAnswer {response}\nPoints:' >"$tmp/points"
printf '{"prompt":"Which?","chosen":"red","rejected":"a cow"}\n' >"$tmp/pair.jsonl"
expect 0 "$GRAM" eval "$m" "$tmp/pair.jsonl" $on -p "$tmp/points" --json "$tmp/points.json" -q
expect 0 "$GRAM" eval "$m" "$tmp/pair.jsonl" $on -p "$tmp/points" --json "$tmp/points.json" -q --resume
expect 2 "$GRAM" eval "$m" "$tmp/pair.jsonl" --pointwise --scale 0-5 -p "$tmp/points" --json "$tmp/points.json" \
    -q --resume
says err "another model or other settings"
exit 0
