#!/bin/sh
# finetune on a tiny model: what is said on a terminal and without one, a run killed again and again, a full disk, a
# checkpoint cut short, and what is left.
. tests/e2e/lib.sh
m=$PWD/tests/golden/train/judge
printf 'Q {input}\nA {response_a}\nB {response_b}\nBetter:' >"$tmp/judge.txt"
rows 8 >"$tmp/pairs.jsonl"
cd "$tmp" || exit 1
finetune() {    # finetune OUT OPTION...
    to=$1
    shift
    "$GRAM" finetune "$m" pairs.jsonl --out "$to" -p judge.txt --steps 40 --batch-rows 2 --lr 3e-3 "$@"
}

expect 0 finetune whole --eval-file pairs.jsonl --eval-every 20
says err "8 of 8 held-out pairs are training rows too"
says err "judging 8 held-out rows"
says err "step 40 of 40, loss "
says err "tokens/s"
says out "accuracy on 8 held-out pairs"
[ ! -e whole/checkpoints ] || die "checkpoints are left behind a whole run"

expect 0 script -qec "stty columns 70; '$GRAM' finetune '$m' pairs.jsonl --out bar -p judge.txt --steps 9 --lr 1e-3" /dev/null
says out "[########]  9/9  loss 0."
says out "  acc 0."
[ "$(tr '\r' '\n' <out | sed 's/\x1b\[K//' | awk 'length > 70 && /^\[/' | wc -l)" -eq 0 ] || die "the bar is wider than the terminal"

# Killed at moments that nobody chose; where the machine is fast the last of them may come after the end.
for wait in 0.02 0.05 0.1 0.2; do
    "$GRAM" finetune "$m" pairs.jsonl --out killed -p judge.txt --steps 40 --batch-rows 2 --lr 3e-3 \
        --eval-file pairs.jsonl --eval-every 20 --save-every 1 --resume -q 2>err &
    sleep $wait
    kill -9 $! 2>/dev/null
    wait $! 2>/dev/null
done
[ -e killed/model.safetensors ] || expect 0 finetune killed --eval-file pairs.jsonl --eval-every 20 --save-every 1 --resume
cmp whole/model.safetensors killed/model.safetensors || die "a run that was killed ends with other weights"
cmp whole/held-out.jsonl killed/held-out.jsonl || die "a run that was killed judged otherwise"

# A file that may not grow is a disk that is full.
expect 1 sh -c 'ulimit -f 40; "$@"' - "$GRAM" finetune "$m" pairs.jsonl --out full -p judge.txt --steps 40 --save-every 5 -q
one_sentence
says err "File too large"

# Cut short: named, and an error where there is no other.

mkdir -p cut
expect 1 sh -c '(n=0
    until [ -s cut/metrics.jsonl ] || [ $n -eq 300 ]; do n=$((n + 1)); sleep 0.1; done
    "$1" finetune "$3" "$4" --out cut --resume 2>second
    kill -INT $$) & exec "$@"' - "$GRAM" finetune "$m" pairs.jsonl --out cut -p judge.txt --steps 100000 -q
says err "the same command with --resume goes on"
says second "another run is writing to it"
for f in cut/checkpoints/*; do truncate -s 1000 "$f"; done
expect 1 "$GRAM" finetune "$m" pairs.jsonl --out cut -p judge.txt --steps 100000 -q --resume
one_sentence
says err "cut/checkpoints/step-"
