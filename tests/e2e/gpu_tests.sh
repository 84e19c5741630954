#!/bin/sh
# Tests of models, of training and of writing on an emulated GPU, within the bounds that they have on a CPU: some of the
# cases of each, for it is slow; `make emu-all` has all of them.
. tests/e2e/lib.sh
[ -e "$B/emu/libgram-cuda.so" ] || { echo "no emulated GPU: there is no C++ compiler here"; exit 77; }
tests="model/test_golden_models model/test_golden_smollm2 model/test_trainee model/test_same_bits train/test_train"
case $B in
*asan*|*tsan*) echo "sanitizers see the kernels by themselves, in tests/op and test_scores_gpu"; exit 77 ;;
esac
[ -z "${GRAM_TEST_ALL-}" ] || tests="$tests train/test_check train/test_offline train/test_written train/test_policy \
    model/test_lora generate/test_write api/test_golden_scores"
export GRAM_CUDA_PATH="$PWD/$B/emu" GRAM_DEVICE=cuda:0 EMU_LAZY=1
for t in $tests; do
    start=$(date +%s%N)
    "$B/tests/$t" >"$tmp/log" 2>&1 || { cat "$tmp/log"; die "$t fails on an emulated GPU"; }
    echo "$t $((($(date +%s%N) - start) / 1000000)) ms"
done
