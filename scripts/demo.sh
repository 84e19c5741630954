#!/bin/sh
# The demo: a small model that was never trained to judge judges real pairs; so does the judge that comes with gram,
# which is an adapter over it; then that one learns from other pairs for about a minute, and judges pairs that it has
# not seen, before and after. Run by `make demo`, in the root of the repository, with B and GRAM_MODEL in the
# environment.
set -eu
gram=$B/gram
out=$B/demo
judge=
loss=bt
for kind in generative scalar; do               # scalar is what is used without a MODEL
    [ ! -f data/judge/$kind/adapter_config.json ] || judge=data/judge/$kind
done
[ "$judge" != data/judge/generative ] || loss=gram

echo "1. SmolLM2-135M-Instruct, as it is, judges 32 pairs that people judged:"
echo
"$gram" eval "$GRAM_MODEL" data/demo.jsonl --verdicts
echo
rm -rf "$out"
if [ -z "$judge" ]; then
    echo "2. It learns from 480 pairs of true answers and common false ones, once through; 120 pairs of other questions"
    echo "   are held out, and judged before and after. Less than ten minutes on two cores, and 5 GiB of memory."
    echo
    "$gram" finetune "$GRAM_MODEL" data/train.jsonl --out "$out" --eval-file data/held-out.jsonl \
        --lr 3e-5 --batch-rows 8 --epochs 1
else
    echo "2. The judge that comes with gram, $judge, judges the same pairs:"
    echo
    "$gram" eval "$judge" data/demo.jsonl
    echo
    echo "3. It learns for about a minute from pairs of your own. Say that you want short answers: here are 285 pairs"
    echo "   in which the shorter one is better, and it reads 192 of them. 65 pairs of other questions are held out,"
    echo "   and judged before and after."
    echo
    rank=$(sed -n 's/^ *"r": *\([0-9]*\),*$/\1/p' "$judge/adapter_config.json")
    "$gram" finetune "$judge" data/brief.jsonl --out "$out" --eval-file data/brief-held-out.jsonl --loss $loss \
        --lora-rank "$rank" --lr 4e-4 --batch-rows 8 --steps 24
fi
echo
echo "$out/report.html shows the run. What it learnt is a model like any other:"
echo "    $gram score $out pairs.jsonl"
