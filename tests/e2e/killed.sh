#!/bin/sh
# score, rank, prove and eval killed in the middle, with lines written: --resume ends with the bytes of a run left
# alone, and does not go on with other texts under the same ids.
. tests/e2e/lib.sh
m=$PWD/tests/golden/train/judge
printf 'Q {input}\nA {response_a}\nB {response_b}\nBetter:' >"$tmp/judge.txt"
rows 2500 >"$tmp/pairs.jsonl"
sed 's/"chosen":/"responses":["four",/; s/,"rejected":/,/; s/}$/]}/' "$tmp/pairs.jsonl" >"$tmp/groups.jsonl"
cd "$tmp" || exit 1

judge() {       # judge COMMAND OUT INPUT OPTION...
    command=$1 to=$2 input=$3
    shift 3
    mkdir -p "$to"
    case $command in
    eval)  set -- --json "$to/numbers.json" --rows "$to/lines" --report "$to" "$@" ;;
    prove) set -- --out "$to/lines" --k 1 --max-new-tokens 1 "$@" ;;
    *)     set -- --out "$to/lines" "$@" ;;
    esac
    "$GRAM" "$command" "$m" "$input" -p judge.txt --threads 1 --batch-tokens 400 "$@"
}

# The input is a pipe that holds four rows of five and then neither speaks nor ends, so the run is in its middle
# however fast it is; it is a file of the same name for the resume.
kill_and_resume() {     # kill_and_resume COMMAND ROWS
    mkdir in
    mkfifo "in/$2"
    timeout 60 sh -c 'exec >"in/$1"; head -n 2000 "$1"; exec sleep 60' - "$2" &
    feeder=$!
    judge "$1" killed "in/$2" -q 2>err &
    judge=$!
    n=0
    until [ -s killed/lines.partial ]; do
        n=$((n + 1))
        [ "$n" -lt 600 ] || { cat err; die "$1 wrote nothing for a minute"; }
        sleep 0.1
    done
    pid=$(cat "/proc/$judge/task/$judge/children")      # the shell's child, for judge() is a function
    kill -9 ${pid:-$judge}
    kill "$feeder"
    wait "$judge" "$feeder" 2>/dev/null
    [ ! -e killed/lines ] || die "$1 gave a file that is not whole the name of one that is"
    kept=$(wc -l <killed/lines.partial)
    [ "$kept" -gt 0 ] || die "$1 had written no line"
    rm "in/$2"
    sed '1s/rejected":"/&An/; 1s/"four"/"for"/' "$2" >"in/$2"
    cp killed/lines.partial before
    expect 2 judge "$1" killed "in/$2" --resume
    says err 'says something else than when'
    one_sentence
    cmp killed/lines.partial before || die "$1 that was refused changes what is there"
    cp "$2" "in/$2"
    expect 0 judge "$1" killed "in/$2" --resume --threads 2
    says err "$kept of them from the run before"
    expect 0 judge "$1" whole "in/$2" -q
    cmp killed/lines whole/lines || die "$1 that was killed and resumed writes other lines"
    [ ! -e killed/lines.partial ] || die "$1 leaves a partial file"
}

kill_and_resume score pairs.jsonl
rm -r in killed whole
kill_and_resume rank groups.jsonl
rm -r in killed whole
kill_and_resume prove pairs.jsonl
rm -r in killed whole
kill_and_resume eval pairs.jsonl

# All but the date and the speed, which are of this run.
for f in numbers.json index.html; do
    for run in killed whole; do
        sed '/"speed": {/,/}/d; /"date"/d; /tokens\/s/d; s/20[0-9][0-9]-[0-9: -]* UTC//' "$run/$f" >"$run.$f"
    done
    cmp "killed.$f" "whole.$f" || die "eval that was killed and resumed writes another $f"
done
