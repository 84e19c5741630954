#!/bin/sh
# gram evalpolicy: a program that judges by length gives numbers that can be counted, a run that is killed goes on with
# the same bytes, and what cannot be meant is refused.
. tests/e2e/lib.sh
m=tests/golden/train/judge head=tests/golden/rewards/qwen3
i=0
while [ "$i" -lt 150 ]; do
    i=$((i + 1))
    printf '{"id":"r%d","prompt":"Name %d things.","chosen":"yes","rejected":"no"}\n' "$i" "$i"
done >"$tmp/rows.jsonl"
head -n 6 "$tmp/rows.jsonl" >"$tmp/few.jsonl"

# ---- Answers of 4 tokens, which are at most 4 characters, against "yes": a reward of 10 less the characters.
cat >"$tmp/judge.py" <<'END'
import json, sys
for line in sys.stdin:
    o = json.loads(line)
    assert o["rejected"] == "no"        # the row's own columns come along
    print(10 - len(o["completion"]), flush=True)
END
expect 0 "$GRAM" evalpolicy "$m" "$tmp/few.jsonl" --judge "exec:python3 $tmp/judge.py" --baseline-column chosen \
    --out "$tmp/eval" --max-new-tokens 4 --threads 1
cp "$tmp/out" "$tmp/table"
says table 'length-controlled'
says table "the rows' chosen"
says err 'products tiles'
says eval/index.html 'Side by side'
python3 - "$tmp/eval" <<'END' || die "the numbers are not those of the rows"
import json, statistics, sys
rows = [json.loads(l) for l in open(sys.argv[1] + "/rows.jsonl", encoding="utf-8")]
n = json.load(open(sys.argv[1] + "/numbers.json", encoding="utf-8"))
mean = statistics.fmean
assert len(rows) == n["rows"] == n["compared"] == 6
assert all(r["rewards"] == [10 - len(r["policy"]), 7] and r["baseline"] == "yes" for r in rows)
wins = [(a > b) + (a == b) / 2 for a, b in (r["rewards"] for r in rows)]
assert [r["win"] for r in rows] == wins and abs(n["win_rate"]["value"] - mean(wins)) < 1e-12
assert n["baseline"]["reward"]["value"] == 7 and n["baseline"]["tokens"]["value"] is None
assert abs(n["policy"]["chars"]["value"] - mean(len(r["policy"]) for r in rows)) < 1e-12
assert abs(n["policy"]["cut"]["value"] - mean(r["cut"][0] for r in rows)) < 1e-12
assert n["kl"]["value"] is None and n["win_rate"]["low"] <= n["win_rate"]["value"] <= n["win_rate"]["high"]
END

# ---- Without a baseline: rewards and no win rate.
expect 0 "$GRAM" evalpolicy "$m" "$tmp/few.jsonl" --judge "$head" --out "$tmp/alone" --max-new-tokens 4 -q
says out 'reward'
if grep -q 'win rate' "$tmp/out"; then die "a win over nobody"; fi

# ---- Killed with lines written, and gone on with. A machine that is over before it is killed gets four times the rows.
set -- evalpolicy "$m" "$tmp/rows.jsonl" --judge "$m" --baseline "$m" --max-new-tokens 3 -q
killed=
while [ -z "$killed" ]; do
    "$GRAM" "$@" --out "$tmp/cut" --threads 1 >"$tmp/out" 2>"$tmp/err" &
    run=$!
    n=0
    until [ -s "$tmp/cut/policy.jsonl.partial" ] || [ -e "$tmp/cut/policy.jsonl" ]; do
        n=$((n + 1))
        [ "$n" -lt 3000 ] || { cat "$tmp/err"; die "nothing is written for a minute"; }
        sleep 0.02
    done
    kill -KILL "$run" 2>/dev/null
    wait "$run" 2>/dev/null
    [ -e "$tmp/cut/index.html" ] || { killed=1; break; }
    [ "$(wc -l <"$tmp/rows.jsonl")" -lt 20000 ] || die "the run was over before it was killed"
    rm -r "$tmp/cut"
    for i in 1 2 3 4; do cat "$tmp/rows.jsonl"; done >"$tmp/more"
    mv "$tmp/more" "$tmp/rows.jsonl"
done
expect 0 "$GRAM" "$@" --out "$tmp/cut" --resume --threads 2
expect 0 "$GRAM" "$@" --out "$tmp/whole" --threads 1
for f in run.json policy.jsonl baseline.jsonl rows.jsonl numbers.json; do
    cmp "$tmp/cut/$f" "$tmp/whole/$f" || die "a run that was killed and went on has another $f"
done
[ -z "$(find "$tmp/cut" -name '*.partial')" ] || die "a partial file is left"
printf 'Q {input}\nA {response_a}\nB {response_b}\nBetter:' >"$tmp/asks.txt"
expect 2 "$GRAM" "$@" --out "$tmp/cut" --resume --judge-prompt "$tmp/asks.txt"
says err "has judge prompt"
expect 2 "$GRAM" "$@" --out "$tmp/cut" --resume --seed 5
says err 'has seed 0, and this one 5'

# ---- What cannot be meant.
refuses() {     # refuses TEXT ARGUMENT...
    text=$1
    shift
    expect 2 "$GRAM" evalpolicy "$@"
    says err "$text"
}
g=$tmp/few.jsonl o=$tmp/none
refuses 'judge is needed' "$m" "$g" --out "$o"
refuses 'out DIR is needed' "$m" "$g" --judge "$m"
refuses 'wanted a baseline' "$m" "$g" --judge "$m" --out "$o" -q
refuses 'baseline-column chosen is given too' "$m" "$g" --judge "$m" --baseline "$m" --baseline-column chosen --out "$o"
refuses 'shard' "$m" "$g" --judge "$m" --baseline "$m" --out "$o" --shard 0/2
refuses 'both orders' "$m" "$g" --judge "$m" --baseline "$m" --out "$o" --single-order
refuses 'is no program' "$m" "$g" --judge "$m" --out "$o" --judge-timeout 5
refuses 'judges in its own way' "$m" "$g" --judge http://127.0.0.1:1 --out "$o" --labels A,B
refuses 'samples -1' "$m" "$g" --judge "$m" --baseline "$m" --out "$o" --samples -1
refuses 'wanted margin' "$m" "$g" --judge "$m" --baseline "$m" --out "$o" --unit points
refuses 'max_new_tokens' "$m" "$g" --judge "$m" --baseline "$m" --out "$o" --max-new-tokens 0
refuses 'prompts have to be a file' "$m" - --judge "$m" --baseline "$m" --out "$o" -q
[ ! -e "$o" ] || die "a refused run left something"
expect 1 "$GRAM" evalpolicy "$m" "$g" --judge "$m" --baseline-column human --out "$o" -q
says err '"human"'; one_sentence
expect 1 "$GRAM" evalpolicy "$m" "$g" --judge "$m" --baseline "$tmp/nowhere" --out "$o" -q
says err nowhere; one_sentence
expect 1 "$GRAM" evalpolicy "$head" "$g" --judge "$m" --baseline "$m" --out "$o" -q
says err 'cannot write'; one_sentence
echo "ok"
