#!/bin/sh
# run_sums.sh - does it help a small judge to write its reasons, to vote and to learn from its own labels? On sums
# (scripts/sums.py says which):
#
#     scripts/run_sums.sh MODEL OUT [SEED...]
#     SIZE=middle scripts/run_sums.sh MODEL OUT [SEED...]
#     SIZE=small scripts/run_sums.sh new OUT [SEED...]
#
# For each seed (default: 0 1 2) OUT/SEED gets data, a plain judge of the labelled pairs and those with reasons, and
# GRAM-R2's self-training of two rounds, each judged by 1, 4 and 16 votes; then the tables are printed, which
# OUT/table.md keeps. MODEL "new" is a model of under a million parameters, made here: random weights that learn to add
# first (OUT/base). The same command goes on where it was stopped, and does nothing twice.
#
# SIZE: full (default) for MODEL of 135M parameters or more, about ten hours of two cores; middle, for such a model,
# which learns to add first, too, and then trains by adapters, some two hours; small, for "new", under 40 minutes;
# trial, which runs every part once in a minute and measures nothing. GRAM: the program (default: build/gram). COMPUTE:
# how trainings multiply (default: f32), of `gram finetune --compute`.
set -eu
gram=${GRAM:-build/gram} size=${SIZE:-full} compute=${COMPUTE:-f32}
model=$1 out=$2
shift 2
[ $# -gt 0 ] || set -- 0 1 2
here=$(dirname "$0")

# What trains the judges, by size: SmolLM2-135M is tuned, "new" learns as the small model that it is; both but `full`
# after `adding` steps of adding.
adding='' adding_rate='' template='' rank=0 votes=f32 new=''
case $size in
full)   rate=1e-4 batch=16 epochs=2 plain_epochs=2 final=1 ;;
middle) rate=1e-3 batch=16 epochs=2 plain_epochs=4 final=1 adding=60 adding_rate=1e-3 adding_batch=24 rank=16
        votes=int8 template='--template chatml' ;;
small)  rate=1e-3 batch=16 epochs=6 plain_epochs=8 final=2 adding=400 adding_rate=2e-3 adding_batch=32 ;;
trial)  rate=1e-3 batch=8 epochs=1 plain_epochs=1 final=1 adding=2 adding_rate=2e-3 adding_batch=32 ;;
*)      echo "run_sums.sh: SIZE $size: wanted full, middle, small or trial" >&2; exit 2 ;;
esac

if [ "$model" = new ]; then
    [ "$rank" = 0 ] && [ "$adding" ] || { echo "run_sums.sh: SIZE $size wants a model that can write" >&2; exit 2; }
    new=--new
fi
if [ "$adding" ]; then
    # shellcheck disable=SC2086
    python3 "$here/sums.py" base "$out/base" --size "$size" $new
    [ "$model" != new ] || model=$out/base/random
    adds=$out/base/adds
    # shellcheck disable=SC2086
    [ -f "$adds/model.safetensors" ] || [ -f "$adds/adapter_model.safetensors" ] ||
        "$gram" finetune "$model" "$out/base/rows.jsonl" --out "$adds" --loss rationale --verdict-weight 0 \
            -p "$out/base/prompt.txt" --lr "$adding_rate" -b "$adding_batch" --steps "$adding" --lora-rank "$rank" \
            --compute "$compute" $template --max-tokens 512 --resume
    model=$adds
    if [ "$rank" != 0 ]; then
        model=$out/base/merged
        [ -f "$model/model.safetensors" ] || "$gram" merge "$adds" --out "$model"
    fi
fi
# What a trial's judge writes is no rationale; some has to be kept all the same, for the stages behind it.
rules=''
[ "$size" != trial ] || for rule in vote-share=0 probability=0 closed=false least-tokens=1 names-label=false \
    names-both=false agrees=false repeats=0 proof-loss=1e9 prover-epochs=40 prover-lr=3e-3; do
    rules="$rules --set $rule"
done
runs=''
for seed in "$@"; do
    to=$out/$seed
    mkdir -p "$to"
    python3 "$here/sums.py" data "$to/data" --size "$size" --seed "$seed"
    "$gram" finetune "$model" "$to/data/plain.jsonl" --out "$to/plain" -p "$to/data/plain.txt" --lr "$rate" \
        -b "$batch" -e "$plain_epochs" --lora-rank "$rank" --compute "$compute" --max-tokens 512 --seed "$seed" --resume
    [ -f "$to/plain/numbers.json" ] || "$gram" eval "$to/plain" "$to/data/test.jsonl" -p "$to/data/plain.txt" \
        --dtype "$votes" --json "$to/plain/numbers.json" --rows "$to/plain/rows.jsonl" --resume
    # shellcheck disable=SC2086
    "$gram" selftrain "$here/sums.yaml" --set "model=$model" --set "out=$to/self" --set "seed=$seed" \
        --set "lr=$rate" --set "batch-rows=$batch" --set "epochs=$epochs" --set "final-epochs=$final" \
        --set "lora-rank=$rank" --set "compute=$compute" --set "vote-dtype=$votes" \
        --set "human=$to/data/human.jsonl" --set "labelled=$to/data/labelled.jsonl" \
        --set "unlabelled=$to/data/unlabelled.jsonl" --set "eval=$to/data/test.jsonl" \
        --set "judge-prompt=$to/data/judge.txt" --set "prover-judge-prompt=$to/data/prover.txt" $rules
    runs="$runs $to"
done
# shellcheck disable=SC2086
python3 "$here/sums.py" table $runs | tee "$out/table.md"
