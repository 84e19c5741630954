#!/bin/sh
# gram bon: every kind of judge gives the same rewards wherever it stands, a run that is killed or stopped goes on with
# the same bytes, and what cannot be meant is refused.
. tests/e2e/lib.sh
m=tests/golden/train/judge head=tests/golden/rewards/qwen3 purm=tests/golden/rewards/purm
i=0
while [ "$i" -lt 400 ]; do
    i=$((i + 1))
    printf '{"id":"r%d","prompt":"Name %d things.",' "$i" "$i"
    printf '"responses":["one","two %d","","one"],"human":[1,2,3,null]}\n' "$i"
done >"$tmp/groups.jsonl"
head -n 6 "$tmp/groups.jsonl" >"$tmp/few.jsonl"
sed 's/,"responses".*/}/' "$tmp/groups.jsonl" >"$tmp/prompts.jsonl"

bon() {         # bon OUT INPUT... OPTION...: quietly
    to=$1
    shift
    expect 0 "$GRAM" bon "$@" --out "$to" --threads 1 -q
}

# ---- A judge here, and the same behind a server: the same lines but for what it cost.
without_cost() { sed 's/,"cost":{[^}]*}//' "$1"; }

for judge in "$m" "$m --by reference" "$m --by tournament" "$m --by linear --unit preference" "$m --by circular" \
             "$head" "$purm --lambda 2"; do
    # shellcheck disable=SC2086  # a judge and its options
    set -- $judge
    model=$1
    shift
    sed 's/"responses"/"reference":"three","responses"/' "$tmp/few.jsonl" >"$tmp/in.jsonl"
    bon "$tmp/here" "$tmp/in.jsonl" --judge "$model" "$@"
    serve "$model" --threads 1
    bon "$tmp/there" "$tmp/in.jsonl" --judge "http://127.0.0.1:$port" "$@"
    kill "$server"
    wait "$server"
    without_cost "$tmp/here" >"$tmp/a"
    without_cost "$tmp/there" >"$tmp/b"
    cmp "$tmp/a" "$tmp/b" || die "$judge gives other rewards behind a server"
    [ "$(grep -c '"winner":' "$tmp/here")" -eq 6 ] || die "$judge: a row has no winner"
done
expect 1 "$GRAM" bon "$tmp/few.jsonl" --judge "http://127.0.0.1:$port"
says err "127.0.0.1:$port"

# ---- Asked in other words and labels: answers that a policy writes get the rewards that they get where they stand.
printf 'Q {input}\n1 {response_a}\n2 {response_b}\nBetter:' >"$tmp/judge.txt"
set -- --judge "$PWD/$m" -p "$tmp/judge.txt" --labels 1,2
head -n 2 "$tmp/prompts.jsonl" >"$tmp/two.jsonl"
bon "$tmp/written" "$m" "$tmp/two.jsonl" "$@" --n 3 --max-new-tokens 4 --seed 3
python3 -c 'import json, sys
for o in map(json.loads, open(sys.argv[1])):
    print(json.dumps({k: o[k] for k in ("id", "prompt", "responses")}))' "$tmp/written" >"$tmp/in.jsonl"
bon "$tmp/there" "$tmp/in.jsonl" "$@"
rewards() { grep -o '"rewards":[^]]*' "$1"; }
rewards "$tmp/written" >"$tmp/a"
rewards "$tmp/there" | cmp - "$tmp/a" || die "a policy's answers get other rewards by a judge prompt"

# ---- A program, which also gets the row's other columns.
cat >"$tmp/judge.py" <<'END'
import json, sys
for line in sys.stdin:
    o = json.loads(line)
    n = len(o["completion"])
    answer = {"reward": n, "index": o["index"]} if n > 3 else n + o["human"][0] if n else {"error": "empty"}
    print(json.dumps(answer), flush=True)
END
expect 0 "$GRAM" bon "$tmp/few.jsonl" --judge "exec:python3 $tmp/judge.py" -q
[ ! -s "$tmp/err" ] || die "-q says something beside the lines"
expect 0 "$GRAM" bon "$tmp/few.jsonl" --judge "exec:python3 $tmp/judge.py" --gold human --json "$tmp/curve.json" \
    --report "$tmp/report" --out "$tmp/lines"
says lines '"rewards":[4.0,5.0,null,4.0],"errors":[{"index":2,"message":"the program says: empty"}]'
says lines '"winner":1,"completion":"two 1"'
says err '6 responses without a reward'
says out 'oracle'
says curve.json '"n": 2'
says report/index.html '<svg'
expect 1 "$GRAM" bon "$tmp/few.jsonl" --judge 'exec:echo loading; cat >/dev/null'
says err loading
expect 1 "$GRAM" bon "$tmp/few.jsonl" --judge 'exec:exit 4'
says err 'status 4'

# ---- Killed, and stopped by Ctrl-C, with lines written: the same bytes in the end. The input is a pipe that holds most
# rows and then neither speaks nor ends; it is a file of the same name for the resume.
mkdir "$tmp/in"
cut_off() {     # cut_off SIGNAL INPUT BON-ARGUMENT...
    signal=$1 input=$2
    shift 2
    rm -rf "$tmp/in/"* "$tmp/cut" "$tmp/cut.partial"
    mkfifo "$tmp/in/rows.jsonl"
    timeout 60 sh -c 'exec >"$1"; head -n 300 "$2"; exec sleep 60' - "$tmp/in/rows.jsonl" "$tmp/$input" &
    feeder=$!
    "$GRAM" bon "$@" --out "$tmp/cut" -q 2>"$tmp/err" &
    run=$!
    n=0
    until [ -s "$tmp/cut.partial" ]; do
        n=$((n + 1))
        [ "$n" -lt 600 ] || { cat "$tmp/err"; die "nothing is written for a minute"; }
        sleep 0.1
    done
    kill -"$signal" "$run"
    [ "$signal" = KILL ] || sleep 0.2
    kill "$feeder"
    wait "$run" "$feeder" 2>/dev/null
    [ ! -e "$tmp/cut" ] || die "a file that is not whole has the name of one that is"
    kept=$(wc -l <"$tmp/cut.partial")
    [ "$kept" -gt 0 ] || die "no line was kept"
    rm "$tmp/in/rows.jsonl"
    cp "$tmp/$input" "$tmp/in/rows.jsonl"
    expect 0 "$GRAM" bon "$@" --out "$tmp/cut" --json "$tmp/cut.json" --resume --threads 2
    says err "$kept of them from the run before"
    expect 0 "$GRAM" bon "$@" --out "$tmp/whole" --json "$tmp/whole.json" -q
    cmp "$tmp/cut" "$tmp/whole" || die "a run that got SIG$signal and went on writes other lines"
    cmp "$tmp/cut.json" "$tmp/whole.json" || die "a run that got SIG$signal and went on has another curve"
    [ ! -e "$tmp/cut.partial" ] || die "a partial file is left"
}
cut_off KILL groups.jsonl "$tmp/in/rows.jsonl" --judge "$head" --gold human
cut_off KILL prompts.jsonl "$m" "$tmp/in/rows.jsonl" --judge "$head" --n 3 --max-new-tokens 2 --seed 7
expect 1 "$GRAM" bon "$m" "$tmp/few.jsonl" --judge "$head"; says err '"responses" of its own'
noted "$tmp/cut" bon "$m" "$tmp/in/rows.jsonl" --judge "$head" --n 3 --max-new-tokens 2 --seed 7
mv "$tmp/cut" "$tmp/cut.partial"
expect 2 "$GRAM" bon "$m" "$tmp/in/rows.jsonl" --judge "$head" --n 3 --max-new-tokens 2 --seed 8 --out "$tmp/cut" \
    --resume
says err 'has seed 7, and this one 8'

# ---- What cannot be meant.
refuses() {     # refuses TEXT ARGUMENT...
    text=$1
    shift
    expect 2 "$GRAM" bon "$@"
    says err "$text"
}
g=$tmp/few.jsonl
refuses 'judge is needed' "$g"
refuses 'both orders' "$g" --judge "$m" --single-order
refuses 'no policy' "$g" --judge "$m" --temperature 1
refuses 'no policy' "$g" --judge "$m" --greedy
refuses 'no policy' "$g" --judge "$m" --policy-template chatml
refuses 'is no program' "$g" --judge "$m" --judge-timeout 5
refuses 'labels: exec:cat judges in its own way' "$g" --judge exec:cat --labels A,B
for option in --dtype=int8 --base=x --device=cpu; do
    name=${option%=*}
    refuses "gram bon: $name: exec:cat judges in its own way" "$g" --judge exec:cat "$option"
done
refuses 'gram bon: --base: http' "$m" "$tmp/prompts.jsonl" --judge http://127.0.0.1:1 --base x
refuses 'truncate: http' "$g" --judge http://127.0.0.1:1 --truncate balanced
refuses 'template: exec:cat' "$g" --judge exec:cat --template chatml
refuses 'wanted all-pairs' "$g" --judge "$m" --by best
refuses 'wanted margin' "$g" --judge "$m" --unit points
refuses 'nothing to compare' "$g" --judge "$head" --by tournament
refuses 'PURM' "$g" --judge "$head" --lambda 2
refuses 'lambda' "$g" --judge "$purm" --lambda -2
refuses 'TLS' "$g" --judge https://127.0.0.1
refuses 'timeout' "$g" --judge "$m" --judge-timeout -1
refuses '--resume needs' "$g" --judge "$m" --resume
refuses 'n: wanted 1' "$m" "$tmp/prompts.jsonl" --judge "$m" --n 0
refuses 'human' "$m" "$tmp/prompts.jsonl" --judge "$m" --gold human
expect 1 "$GRAM" bon "$g" --judge "$tmp/none"; says err none; one_sentence
expect 0 "$GRAM" bon "$g" --judge "$purm" --lambda 2 --gold "$head" --out "$tmp/gold.jsonl"     # which is no PURM
expect 1 "$GRAM" bon "$g" --judge "$m" --gold "$tmp/none"; says err none; one_sentence
expect 1 "$GRAM" bon "$g" --judge "$head" --gold machine -q; says err '"machine"'; one_sentence
expect 1 "$GRAM" bon "$tmp/prompts.jsonl" --judge "$head" -q; says err '"responses"'; one_sentence
cp "$g" "$tmp/over.jsonl"
expect 2 "$GRAM" bon "$tmp/over.jsonl" --judge "$head" --json "$tmp/over.jsonl" -q
says err 'is what is read'; one_sentence
cmp "$g" "$tmp/over.jsonl" || die "the rows are written over"
expect 1 "$GRAM" bon "$head" "$tmp/prompts.jsonl" --judge "$head" -q; says err 'cannot write'; one_sentence
echo "ok"
