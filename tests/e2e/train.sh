#!/bin/sh
# finetune on a tiny model: what is said on a terminal and without one, a run killed again and again, a full disk, a
# checkpoint cut short, and what is left.
. tests/e2e/lib.sh
m=$PWD/tests/golden/train/judge
printf 'Q {input}\nA {response_a}\nB {response_b}\nBetter:' >"$tmp/judge.txt"
rows 8 >"$tmp/pairs.jsonl"
rows 4 | sed 's/"prompt":"/&r/' >"$tmp/more.jsonl"
cd "$tmp" || exit 1
finetune() {    # finetune OUT OPTION...
    to=$1
    shift
    "$GRAM" finetune "$m" pairs.jsonl --out "$to" -p judge.txt --steps 40 --batch-rows 2 --lr 3e-3 "$@"
}

expect 0 finetune whole --eval-file pairs.jsonl --eval-every 20
says err "8 of 8 held-out rows are training rows too"
says err "judging 8 held-out rows"
says err "step 40 of 40, loss "
says err "tokens/s"
says out "accuracy on 8 held-out pairs"
[ ! -e whole/checkpoints ] || die "checkpoints are left behind a whole run"

says err "disk: at most about"
# Held-out numbers stand where they were measured, with their step, and nowhere else; the first line knows the time
# left.
[ "$(grep -c "^pairs.jsonl, 8 rows, at step" err)" = 3 ] && ! grep -q "^step .*held-out" err ||
    die "held-out numbers are shown where nothing was judged"
says err "pairs.jsonl, 8 rows, at step 0: accuracy 0."
says err "pairs.jsonl, 8 rows, at step 20: accuracy "
says err "pairs.jsonl, 8 rows, at step 40: accuracy "
grep -q '^step 1 of 40, loss .*, [0-9]*:[0-9][0-9] left$' err || die "the first line does not say how long it will take"

expect 0 script -qec "stty columns 70; '$GRAM' finetune '$m' pairs.jsonl --out bar -p judge.txt --steps 9 --lr 1e-3" \
    /dev/null
says out "[########]  9/9  loss 0."
says out "  acc 0."
[ "$(tr '\r' '\n' <out | sed 's/\x1b\[K//' | awk 'length > 70 && /^\[/' | wc -l)" -eq 0 ] ||
    die "the bar is wider than the terminal"

# Killed at moments that nobody chose; where the machine is fast the last of them may come after the end.
for wait in 0.02 0.05 0.1 0.2; do
    "$GRAM" finetune "$m" pairs.jsonl --out killed -p judge.txt --steps 40 --batch-rows 2 --lr 3e-3 \
        --eval-file pairs.jsonl --eval-every 20 --save-every 1 --resume -q 2>err &
    sleep $wait
    kill -9 $! 2>/dev/null
    wait $! 2>/dev/null
done
[ -e killed/model.safetensors ] ||
    expect 0 finetune killed --eval-file pairs.jsonl --eval-every 20 --save-every 1 --resume
cmp whole/model.safetensors killed/model.safetensors || die "a run that was killed ends with other weights"
cmp whole/held-out.jsonl killed/held-out.jsonl || die "a run that was killed judged otherwise"

# A file that may not grow is a disk that is full.
expect 1 sh -c 'ulimit -f 40; "$@"' - "$GRAM" finetune "$m" pairs.jsonl --out full -p judge.txt --steps 40 \
    --save-every 5 -q
one_sentence
says err "File too large"

# Numbers out of range are usage errors: the option, what was wanted and what was found; nothing is made.
for o in lora-rank:-1 steps:-1 epochs:-1 seed:-1 save-every:-1 keep:-1 eval-every:-1 batch-rows:-1 patience:-1 \
         epochs:0 keep:0 batch-rows:0 lr:nan lr:-0.5 lr:2 lr:inf smoothing:nan smoothing:0.6 clip:nan warmup:nan \
         warmup:1.5 weight-decay:-1 lora-alpha:nan lora-alpha:0 lora-dropout:1 max-minutes:0 steps:1e3 steps:many; do
    expect 2 "$GRAM" finetune "$m" pairs.jsonl --out wrong -p judge.txt "--${o%%:*}" "${o#*:}"
    says err "gram finetune: --${o%%:*}: wanted "
    says err "found \"${o#*:}\""
    [ ! -e wrong ] || die "--${o%%:*} ${o#*:} made a directory"
done
for o in threads:-1 batch-tokens:-1 max-tokens:-1; do
    expect 2 "$GRAM" finetune "$m" pairs.jsonl --out wrong -p judge.txt "--${o%%:*}" "${o#*:}"
    says err "--${o%%:*}: wanted a number that is not negative, found -1"
done
# What another stage, loss or option would have a use for.
expect 2 "$GRAM" finetune "$m" pairs.jsonl --out wrong --posreg 0.1
says err "--posreg: it is an option of the loss bt-posreg, and the loss is gram"
expect 2 "$GRAM" finetune "$m" pairs.jsonl --out wrong --best
says err "--best: wanted --eval-file with it"
expect 2 "$GRAM" pretrain "$m" pairs.jsonl --out wrong --loss bt
says err "there is no option '--loss'"
[ ! -e wrong ] || die "a usage error made a directory"

# Several files of rows, and held-out sets.
expect 0 "$GRAM" finetune "$m" pairs.jsonl more.jsonl --out several -p judge.txt --steps 2 --batch-rows 2 --lr 3e-3 \
    --eval-file pairs.jsonl --eval-file more.jsonl
says err "2 steps over 12 rows"
says err "more.jsonl, 4 rows, at step 2: accuracy "
says err "more.jsonl: accuracy on 4 held-out pairs, with 95 % intervals: "

# A terminal that is closed asks it to stop as SIGTERM does; under nohup it goes on. The tests may themselves have been
# started with signals ignored, which a shell cannot undo.
expect 1 sh -c '(n=0
    until [ -s hup/metrics.jsonl ] || [ $n -eq 300 ]; do n=$((n + 1)); sleep 0.1; done
    kill -HUP $$) & exec env --default-signal=HUP "$@"' - "$GRAM" finetune "$m" pairs.jsonl --out hup \
    -p judge.txt --steps 100000 -q
says err "the same command with --resume goes on"
[ -e hup/checkpoints ] || die "SIGHUP left no checkpoint"
expect 0 sh -c 'trap "" HUP
    (n=0
    until [ -s nohup/metrics.jsonl ] || [ $n -eq 300 ]; do n=$((n + 1)); sleep 0.1; done
    kill -HUP $$) & exec "$@"' - "$GRAM" finetune "$m" pairs.jsonl --out nohup -p judge.txt --steps 300 -b 8 -q

# Cut short: named, and an error where there is no other.

mkdir -p cut
expect 1 sh -c '(n=0
    until [ -s cut/metrics.jsonl ] || [ $n -eq 300 ]; do n=$((n + 1)); sleep 0.1; done
    "$1" finetune "$3" "$4" --out cut --resume 2>second
    kill -INT $$) & exec env --default-signal=INT "$@"' - "$GRAM" finetune "$m" pairs.jsonl --out cut \
    -p judge.txt --steps 100000 -q
says err "the same command with --resume goes on"
says second "another run is writing to it"
for f in cut/checkpoints/*; do truncate -s 1000 "$f"; done
expect 1 "$GRAM" finetune "$m" pairs.jsonl --out cut -p judge.txt --steps 100000 -q --resume
one_sentence
says err "cut/checkpoints/step-"

# What a number is of: kto has answers and no pairs, and a reward model no reading orders.
for i in 1 2 3 4; do
    printf '{"prompt":"q%d","completion":"a","label":%s}\n' "$i" "$([ $((i % 2)) -eq 0 ] && echo true || echo false)"
done >answers.jsonl
expect 0 "$GRAM" finetune "$m" answers.jsonl --loss kto --out kto --steps 1 --eval-file answers.jsonl \
    --eval-file answers.jsonl
says out "accuracy on 4 held-out answers"
says err "answers.jsonl: accuracy on 4 held-out answers"
grep -q "4 held-out answers.*the sign of their label" kto/report.html ||
    die "the page of kto does not say what its accuracy is of"
grep -qi "better answer was preferred\|two answers" kto/report.html && die "the page of kto speaks of pairs"
expect 0 "$GRAM" finetune "$m" pairs.jsonl --loss bt --out bt --steps 1 -q
grep -q "reading orders" bt/report.html && die "the page of a reward model speaks of reading orders"
exit 0
