#!/bin/sh
# device_check.sh [OUT.json] - what is to be run where a GPU is, in four minutes on a Hopper by what is known without
# one; `make cuda tests` comes first.
#
#   tests       those that run on the emulated GPU in `make test`, on the real one, and the logits of every tiny model
#   sanitizer   compute-sanitizer's memcheck and racecheck over the kernels, the products and the scores, where it is
#   wgmma       of a Hopper: whether its own products and attention are right on it, which GRAM_CUDA_WGMMA=1 asks for
#   products    bench_gpu: whether a row has the same bits in any number of rows, and TFLOP/s
#   kernels     bench_gpu_kernels: TFLOP/s of attention and GB/s of what moves rows
#   shapes      bench_shapes: pairs/s and tokens/s of training for models of Qwen3's shapes, of random numbers
#   several     where there are more GPUs than one: what goes between them, and steps that they share
#
# One JSON object: what ran, how it ended, how long it took. A step that fails does not keep the others from running;
# the exit status says whether one did. `make bench-report JSON=OUT.json` makes the tables of docs/gpu.md of it. DEVICE
# is the GPU, cuda:0 if it is not set; LIMIT the seconds of a step; SHAPES those of bench_shapes (0.6B 1.7B 8B; 8B takes
# 16 GB of DIR, which is /dev/shm); TOKENS and PAIRS of a text and of a batch; SMALL=1 is for an emulated GPU: the
# shapes, and of the rest what takes a second.
set -u
B=${B:-build}
out=${1:-device_check.json}
export GRAM_CUDA_PATH="${GRAM_CUDA_PATH:-$PWD/$B}" GRAM_DEVICE="${DEVICE:-cuda:0}"
limit=${LIMIT:-120}
logs=$(mktemp -d) || exit 1
trap 'rm -rf "$logs"' EXIT
failed=0 first=1

# step NAME COMMAND...: adds its line to the object.
step() {
    name=$1
    shift
    start=$(date +%s%N)
    timeout "$limit" "$@" >"$logs/$name" 2>&1
    status=$?
    seconds=$((($(date +%s%N) - start) / 1000000))
    [ "$first" = 1 ] || printf ',\n' >>"$logs/steps"
    first=0
    printf '  "%s": {"status": %d, "milliseconds": %d}' "$name" "$status" "$seconds" >>"$logs/steps"
    printf '%-24s %s %6d ms\n' "$name" "$([ $status -eq 0 ] && echo ok || echo "FAILED ($status)")" "$seconds"
    [ "$status" -eq 0 ] || { failed=1; tail -n 20 "$logs/$name"; }
    return "$status"
}

# A JSON object that a step printed, or null.
object() {
    if tail -n 1 "$logs/$1" 2>/dev/null | grep -q '^]}'; then cat "$logs/$1"; else echo null; fi
}

if ! "$B/gram" info tests/golden/models/llama_gqa >"$logs/info" || ! grep -q "^cuda:" "$logs/info"; then
    grep "^GPU" "$logs/info"
    exit 1
fi
gpu=$(sed -n "s/^$GRAM_DEVICE *//p" "$logs/info")

"${MAKE:-make}" --no-print-directory "$B/bench/bench_gpu" "$B/bench/bench_gpu_kernels" "$B/bench/bench_shapes" || exit 1
if [ -z "${SMALL:-}" ]; then
    ops=$(grep -l '"op/on_gpu.h"' tests/op/test_*.c | sed 's,^tests/,,; s,\.c$,,')
    for t in op/test_products_gpu $ops model/test_scores_gpu model/test_trainee model/test_same_bits \
             train/test_train; do
        step "${t##*/}" "$B/tests/$t"
    done
    step test_golden_models "$B/tests/model/test_golden_models" capped      # capped: once, not for each kind of CPU
    [ ! -f "${GRAM_MODEL:-build/model/SmolLM2-135M-Instruct.Q4_1.gguf}" ] ||
        step test_golden_smollm2 env GRAM_MODEL="${GRAM_MODEL:-build/model/SmolLM2-135M-Instruct.Q4_1.gguf}" \
            "$B/tests/model/test_golden_smollm2"
    if command -v compute-sanitizer >/dev/null; then
        for tool in memcheck racecheck; do
            for t in op/test_kernels_gpu op/test_products_gpu model/test_scores_gpu; do
                step "${tool}_${t##*/}" compute-sanitizer --tool $tool --error-exitcode 9 "$B/tests/$t"
            done
        done
    fi
    step products "$B/bench/bench_gpu" "$GRAM_DEVICE"
fi
# shellcheck disable=SC2086  # a list of arguments
step kernels "$B/bench/bench_gpu_kernels" "$GRAM_DEVICE" ${SMALL:+0 20 1}

# ---- What a Hopper has of its own ----

# right: null where the GPU is none, true where all of it was.
right=null
case $gpu in *"capability 9.0"*)
    right=true
    for t in products attention slopes; do
        step "wgmma_$t" "$B/tests/op/test_kernels_gpu" "${t}_of_a_hopper" || right=false
    done
    step wgmma_scores "$B/tests/model/test_scores_gpu" scores_of_a_hopper_are_the_cpus || right=false
    [ -n "${SMALL:-}" ] || step wgmma_bench env GRAM_CUDA_WGMMA=1 "$B/bench/bench_gpu" "$GRAM_DEVICE" 0.2 bf16
    # shellcheck disable=SC2086  # a list of arguments
    step wgmma_kernels env GRAM_CUDA_WGMMA=1 "$B/bench/bench_gpu_kernels" "$GRAM_DEVICE" ${SMALL:+0 20 1}
esac

# ---- Models of random numbers ----

bench=$B/bench/bench_shapes
gpus=$(grep -c "^cuda:" "$logs/info")
[ "$gpus" -le 16 ] || gpus=16
dir=${DIR:-/dev/shm}/gram-device-check.$$
trap 'rm -rf "$logs" "$dir"' EXIT
shape_row() { tail -n 1 "$logs/$1" 2>/dev/null | grep '^{.*}$' || echo null; }
[ "$gpus" -lt 4 ] || step links_tests env EMU_DEVICES=4 "$B/tests/comm/test_links_gpu"
for shape in ${SHAPES:-0.6B 1.7B 8B}; do
    mkdir -p "$dir"
    step "make_$shape" "$bench" make "$shape" "$dir"
    step "score_$shape" "$bench" score "$dir" "$GRAM_DEVICE" "${SECONDS_EACH:-3}" "${TOKENS:-1000}" "${PAIRS:-8}"
    [ "$right" != true ] || step "wgmma_$shape" env GRAM_CUDA_WGMMA=1 "$bench" score "$dir" "$GRAM_DEVICE" \
        "${SECONDS_EACH:-3}" "${TOKENS:-1000}" "${PAIRS:-8}"
    step "train_$shape" "$bench" train "$dir" "$GRAM_DEVICE" 3 "${TOKENS:-1000}" "${PAIRS:-8}"
    [ "$gpus" -lt 2 ] || step "share_$shape" "$bench" share "$gpus" "$dir" 3 "${TOKENS:-1000}" $((gpus * ${PAIRS:-8}))
    rm -rf "$dir"
    [ ! -s "$logs/shapes" ] || printf ',\n' >>"$logs/shapes"
    printf '  "%s": {"score": %s,\n   "wgmma": %s,\n   "train": %s,\n   "share": %s}' "$shape" \
        "$(shape_row "score_$shape")" "$(shape_row "wgmma_$shape")" "$(shape_row "train_$shape")" \
        "$(shape_row "share_$shape")" >>"$logs/shapes"
done
{
    printf '{"gpu": "%s",\n "commit": "%s",\n "steps": {\n' "$gpu" "$(git rev-parse --short HEAD 2>/dev/null)"
    cat "$logs/steps"
    printf '\n },\n "shapes": {\n'
    cat "$logs/shapes"
    printf '\n },\n "bench": %s,\n "kernels": %s,\n' "$(object products)" "$(object kernels)"
    printf ' "wgmma": {"right": %s, "bench": %s, "kernels": %s}}\n' "$right" "$(object wgmma_bench)" \
        "$(object wgmma_kernels)"
} >"$out"
echo "$out"
exit $failed
