#!/bin/sh
# gram under mpirun: what shares its work and what refuses, Ctrl-C and SIGUSR1, and a machine without Open MPI.
. tests/e2e/lib.sh
m=tests/golden/train/judge

rows 8 >"$tmp/pairs.jsonl"
printf 'Q {input}\nA {response_a}\nB {response_b}\nBetter:' >"$tmp/judge.txt"
train() {
    echo "$GRAM finetune $m $tmp/pairs.jsonl --out $tmp/$1 -p $tmp/judge.txt -b 4 -t 1 --steps 1000000 --save-every 0"
}

# Without the library, with another MPI's launcher, and with none at all: a sentence from the first process alone.
mkdir "$tmp/lib"
echo "no library" >"$tmp/lib/libmpi.so.40"
for rank in 0 1; do
    # shellcheck disable=SC2046  # words
    expect 1 env OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_RANK=$rank LD_LIBRARY_PATH="$tmp/lib" $(train none)
    [ $rank = 1 ] || { one_sentence; says err "Open MPI, through which they would speak, is not there"; }
done
[ ! -s "$tmp/err" ] || die "the second process says it too"
# shellcheck disable=SC2046
expect 1 env PMI_SIZE=2 PMI_RANK=0 $(train none)
says err "is not Open MPI"
[ ! -e "$tmp/none" ] || die "a run that did not begin left a directory"

command -v mpirun >/dev/null || { echo "  mpirun is not installed: gram under it was not tried"; exit 77; }
mpirun_here

expect 2 mpirun -np 2 "$GRAM" merge $m --out "$tmp/none"
says err "alone share theirs"
[ "$(grep -c '^gram ' "$tmp/err")" -eq 1 ] || die "each process says it"

# Processes share rows without a word between them: tests/e2e/shards.sh has more of it.
expect 2 mpirun -np 2 "$GRAM" score $m "$tmp/pairs.jsonl"
says err "--out FILE is needed"
"$GRAM" score $m "$tmp/pairs.jsonl" -p "$tmp/judge.txt" -q --out "$tmp/alone.jsonl" || die "score"
expect 0 mpirun -np 3 "$GRAM" score $m "$tmp/pairs.jsonl" -p "$tmp/judge.txt" --out "$tmp/shared.jsonl"
says err "shared.jsonl is whole, by 3 processes"
cmp "$tmp/alone.jsonl" "$tmp/shared.jsonl" || die "3 processes write other verdicts"
[ -z "$(find "$tmp" -name 'shared.jsonl.*')" ] || die "what is left over: $(find "$tmp" -name 'shared.jsonl.*')"

expect 2 mpirun -np 2 "$GRAM" eval $m "$tmp/pairs.jsonl"
says err "--rows, --json or --report is needed"
"$GRAM" eval $m "$tmp/pairs.jsonl" -p "$tmp/judge.txt" -q --json "$tmp/alone.json" --verdicts >"$tmp/alone.txt" ||
    die "eval"
expect 0 mpirun -np 3 "$GRAM" eval $m "$tmp/pairs.jsonl" -p "$tmp/judge.txt" --json "$tmp/shared.json" --verdicts
says err "shared.rows.jsonl is whole, by 3 processes"
cmp "$tmp/alone.rows.jsonl" "$tmp/shared.rows.jsonl" || die "eval: 3 processes judge otherwise"
numbers() { tr -d '\n ' <"$1" | sed 's/"\(date\|seconds\|tokens_per_s\|pairs_per_s\|resumed_rows\)":[^,}]*//g'; }
[ "$(numbers "$tmp/alone.json")" = "$(numbers "$tmp/shared.json")" ] || die "eval: 3 processes give other numbers"
grep -v "tokens/s\|taken over" "$tmp/alone.txt" >"$tmp/one"
grep -v "tokens/s\|taken over" "$tmp/out" | cmp - "$tmp/one" || die "eval: 3 processes print another table"
[ -z "$(find "$tmp" -name 'shared.*.shard*')" ] || die "what is left over: $(find "$tmp" -name 'shared.*')"

# So are a policy's rollouts: what the start writes is the same in any number of processes. What the reference makes of
# it may differ in the last digits (tests/api/test_align_dist.c).
texts() { sed 's/"ref_logprobs": *\[[^]]*\]//' "$1"; }
printf '{"prompt":"q%d"}\n' 1 2 3 4 >"$tmp/prompts.jsonl"
# shellcheck disable=SC2016  # the judge's shell expands it
by_length='exec:while read -r l; do l=${l#*completion}; echo -${#l}; done'
for command in raft rl; do
    for n in 1 2; do
        expect 0 mpirun -np $n "$GRAM" $command $m "$tmp/prompts.jsonl" --judge "$by_length" --out "$tmp/$command-$n" \
            --max-new-tokens 8 --rollout-prompts 4 --batch-rows 2 --samples 3 --steps 2 --cut keep --lr 0 -t 1 -q
    done
    texts "$tmp/$command-1/samples.jsonl" >"$tmp/one"
    texts "$tmp/$command-2/samples.jsonl" | cmp "$tmp/one" - ||
        die "$command: 2 processes draw other answers"
done

# A loss does not depend on the processes that share it: a mean over the batch, and a tie without a text, in the step
# and in two held-out sets. lr 0: the weights are the same; 1e-6: float32 sums in another order.
cat >"$tmp/four.jsonl" <<JSONL
{"prompt":"q1","chosen":"zzzz","rejected":"aa"}
{"prompt":"q2","chosen":"zz","rejected":"aaaa","tie":true}
{"prompt":"q3","chosen":"a rather long answer","rejected":"b"}
{"prompt":"q4","chosen":"z","rejected":"a"}
JSONL
losses() { sed -n 's/.*"\(held_\)\{0,1\}loss":\([0-9.e-]*\).*/\2/p' "$tmp/$1/metrics.jsonl"; }
for loss in bt-posreg sft-reg purm; do
    for n in 1 2 3; do
        expect 0 mpirun -np $n "$GRAM" finetune $m "$tmp/four.jsonl" --out "$tmp/$loss-$n" --loss $loss --steps 1 -b 4 \
            --lr 0 --eval-file "$tmp/four.jsonl" --eval-file "$tmp/pairs.jsonl" -q -t 1 --seed 3
    done
    [ "$(losses $loss-1 | wc -l)" = 5 ] || die "$loss: wanted five losses"
    for n in 2 3; do
        losses $loss-1 >"$tmp/one"
        losses $loss-$n | paste "$tmp/one" - | awk '{ d = $1 - $2; if (d < 0) d = -d; if (d > 1e-6) exit 1 }' ||
            { losses $loss-$n | paste "$tmp/one" -; die "$loss: the losses of $n processes are others"; }
    done
done

# Two processes end early, are out of time and go on together.
turned() { sed 's/"chosen"/"x"/; s/"rejected"/"chosen"/; s/"x"/"rejected"/' "$1"; }
turned "$tmp/four.jsonl" | grep -v tie >"$tmp/turned.jsonl"
expect 0 mpirun -np 2 "$GRAM" finetune $m "$tmp/four.jsonl" --out "$tmp/early" -p "$tmp/judge.txt" -b 4 -t 1 \
    --steps 50 --lr 3e-3 --warmup 0 --eval-file "$tmp/turned.jsonl" --eval-every 1 --patience 2 --best
says err "ended early"
expect 1 mpirun -np 2 "$GRAM" finetune $m "$tmp/four.jsonl" --out "$tmp/late" -p "$tmp/judge.txt" -b 4 -t 1 --steps 3 \
    --max-minutes 1e-9
says err "--max-minutes have gone by"
expect 0 mpirun -np 2 "$GRAM" finetune $m "$tmp/four.jsonl" --out "$tmp/late" -p "$tmp/judge.txt" -b 4 -t 1 --steps 5 \
    --resume --extend -q
expect 0 mpirun -np 2 "$GRAM" finetune $m "$tmp/four.jsonl" --out "$tmp/late" -p "$tmp/judge.txt" -b 4 -t 1 --steps 7 \
    --resume --extend
says err "7 steps over 4 rows"

# A signal to mpirun in the middle of a run that would take for ever.
steps() { cat "$tmp/out1/metrics.jsonl" 2>/dev/null | wc -l; }
stopped() {     # stopped SIGNAL OPTION...
    sig=$1
    shift
    before=$(steps)
    # shellcheck disable=SC2046
    mpirun -np 2 $(train out1) "$@" >"$tmp/out" 2>"$tmp/err" &
    pid=$!
    i=0
    until [ "$(steps)" -gt $((before + 3)) ]; do
        i=$((i + 1))
        [ "$i" -lt 600 ] || { cat "$tmp/err"; die "no step was taken"; }
        sleep 0.05
    done
    kill -"$sig" "$pid"
    wait "$pid" && die "a run that was stopped ended well"
    says err "stopped after step"
    says err "with --resume goes on"
    ls "$tmp"/out1/checkpoints/step-*.safetensors >/dev/null || die "SIG$sig left no checkpoint"
}
stopped INT
first=$(ls "$tmp/out1/checkpoints")
stopped USR1 --resume
[ "$(ls "$tmp/out1/checkpoints" | tail -n 1)" != "$first" ] || die "the resumed run went no further"
echo "ok"
