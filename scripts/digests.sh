#!/bin/sh
# digests.sh [BEFORE] - the digests of all golden logits and scores, of gradients, and of the weights after the golden
# 20 steps of training, for each instruction set that this CPU has (the tests run themselves under each). With BEFORE,
# what this printed for another build, says which lines differ and fails if any does: a change that is to move no bit is
# tested so.
set -eu
B=${B:-build}
out=$(mktemp)
trap 'rm -f "$out"' EXIT
for t in model/test_golden_models model/test_golden_smollm2 model/test_same_bits model/test_trainee train/test_train; do
    echo "# $t" >>"$out"
    GRAM_DIGESTS=$out "$B/tests/$t" >/dev/null 2>&1 || { echo "$t fails" >&2; exit 1; }
done
if [ $# -gt 0 ]; then
    diff "$1" "$out" && echo "the same $(grep -vc '^#' "$out") digests"
else
    cat "$out"
fi
