#!/bin/sh
# The demo: a small model that was never trained to judge judges real pairs, learns from others, and judges again pairs
# that it has not seen. Run by `make demo`, in the root of the repository, with B and GRAM_MODEL in the environment.
set -eu
gram=$B/gram
out=$B/demo

echo "1. SmolLM2-135M-Instruct, as it is, judges 32 pairs that people judged:"
echo
"$gram" eval "$GRAM_MODEL" data/demo.jsonl --verdicts
echo
echo "2. It learns from 480 pairs of true answers and common false ones, once through; 120 pairs of other questions are"
echo "   held out, and judged before and after. Less than ten minutes on two cores, and 5 GiB of memory."
echo
rm -rf "$out"
"$gram" finetune "$GRAM_MODEL" data/train.jsonl --out "$out" --eval-file data/held-out.jsonl \
    --lr 3e-5 --batch-rows 8 --epochs 1
echo
echo "$out/report.html shows the run. What it learnt is a model like any other:"
echo "    $gram score $out pairs.jsonl"
