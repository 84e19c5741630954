#!/bin/sh
# run_sums.sh - does it help a small judge to write its reasons, to vote and to learn from its own labels? On sums:
#
#     scripts/run_sums.sh MODEL OUT [SEED...]
#
# For each seed (default: 0 1 2) OUT/SEED gets data, a plain judge of the labelled pairs and those with reasons, and
# GRAM-R2's self-training of two rounds, each judged by 1, 4 and 16 votes; then the tables are printed. It goes on where it
# was stopped. GRAM: the program (default: build/gram).
set -eu
gram=${GRAM:-build/gram}
model=$1 out=$2
shift 2
[ $# -gt 0 ] || set -- 0 1 2
here=$(dirname "$0")
runs=''
for seed in "$@"; do
    to=$out/$seed
    mkdir -p "$to"
    [ -f "$to/data/test.jsonl" ] || python3 "$here/sums.py" data "$to/data" --seed "$seed"
    cat "$to/data/human.jsonl" "$to/data/labelled.jsonl" >"$to/data/plain.jsonl"
    "$gram" finetune "$model" "$to/data/plain.jsonl" --out "$to/plain" -p "$to/data/plain.txt" --lr 1e-4 -b 16 -e 2 \
        --max-tokens 512 --seed "$seed" --resume
    "$gram" eval "$to/plain" "$to/data/test.jsonl" -p "$to/data/plain.txt" --json "$to/plain/numbers.json" \
        --rows "$to/plain/rows.jsonl" --resume
    "$gram" selftrain "$here/sums.yaml" --set "model=$model" --set "out=$to/self" --set "seed=$seed" \
        --set "human=$to/data/human.jsonl" --set "labelled=$to/data/labelled.jsonl" \
        --set "unlabelled=$to/data/unlabelled.jsonl" --set "eval=$to/data/test.jsonl" \
        --set "judge-prompt=$to/data/judge.txt" --set "prover-judge-prompt=$to/data/prover.txt"
    runs="$runs $to"
done
# shellcheck disable=SC2086
python3 "$here/sums.py" table $runs
