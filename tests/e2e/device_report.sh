#!/bin/sh
# What scripts/device_check.sh writes, and the tables that scripts/bench_report.py makes of it: over emulated GPUs, of
# a tiny model's shape. Its times say nothing, and go into no document.
. tests/e2e/lib.sh
[ -e "$B/emu/libgram-cuda.so" ] || { echo "no emulated GPU: there is no C++ compiler here"; exit 77; }
[ ! -e /dev/nvidia0 ] || { echo "a GPU is here: device_check.sh is for it"; exit 77; }
case $B in *asan* | *tsan*) echo "a sanitizer's objects are not for a program without it"; exit 77 ;; esac
export GRAM_CUDA_PATH="$PWD/$B/emu" EMU_DEVICES=2 SHAPES=tiny TOKENS=20 PAIRS=2 SECONDS_EACH=0 SMALL=1 DIR="$tmp"
expect 0 scripts/device_check.sh "$tmp/check.json"
expect 0 python3 scripts/bench_report.py "$tmp/check.json"
says out "emulated GPU, compute capability 8.0"
says out "All 5 steps passed."
grep -qE '^\| tiny \| [0-9.,]+ \| peak not known \| - \| -( \| [0-9.,]+ \| peak not known){2} \|$' "$tmp/out" ||
    { cat "$tmp/out" "$tmp/check.json"; die "the table has other columns"; }
says out "It is no Hopper"
grep -qE '^\| SwiGLU \| [0-9.e-]+ GB/s \| limit not known \| - \| - \|$' "$tmp/out" ||
    { cat "$tmp/out"; die "no table of kernels"; }
grep -q '"processes": 2, "by_nccl": true' "$tmp/check.json" || { cat "$tmp/check.json"; die "NCCL carried nothing"; }

cp docs/gpu.md "$tmp/gpu.md"
expect 1 python3 scripts/bench_report.py "$tmp/check.json" "$tmp/gpu.md"
says err "whose times say nothing"
cmp docs/gpu.md "$tmp/gpu.md" || die "an emulated GPU's times are in a document"

# A Hopper's own products and attention are looked at where the GPU is one.
expect 0 env EMU_CAPABILITY=90 scripts/device_check.sh "$tmp/hopper.json"
expect 0 python3 scripts/bench_report.py "$tmp/hopper.json"
says out "were right there"
grep -qE '^\| tiny( \| [0-9.,]+ \| peak not known){4} \|$' "$tmp/out" || { cat "$tmp/out"; die "no pairs by wgmma"; }

# Of a GPU whose limits are known: 1e5 tokens/s of 4.945e9 operations each are half of 989e12.
cat >"$tmp/h200.json" <<'J'
{"gpu": "NVIDIA H200, compute capability 9.0", "commit": "abc", "steps": {"one": {"status": 0, "milliseconds": 2000},
 "two": {"status": 9, "milliseconds": 500}}, "shapes": {"8B": {"score": {"pairs_per_s": 50, "tokens_per_s": 1e5,
 "flops_a_token": 4.945e9}, "wgmma": null, "train": {"error": "out of memory"}, "share": {"tokens_per_s": 4e5,
 "flops_a_token": 4.945e9, "processes": 8}}}, "bench":
 {"products": [{"of": "q", "N": 2, "K": 3, "dtype": "bf16", "forward": {"other_bits": 0,
 "of": 8, "tflops_2048": 1.5, "tflops_16384": 494.5}, "dx": {"other_bits": 1, "of": 8, "tflops_2048": 3}}]},
 "kernels": {"kernels": [{"of": "attention", "tflops": 98.9}, {"of": "norm", "gb_s": 2400}]},
 "wgmma": {"right": false, "bench": null, "kernels": {"kernels": [{"of": "attention", "tflops": 197.8}]}}}
J
expect 0 python3 scripts/bench_report.py "$tmp/h200.json" "$tmp/gpu.md"
for line in 'Failed: two.' '| 8B | 50 | 50 % | - | - | out of memory | - | 400,000 | 25 % |' \
            '| q [2, 3] | bf16 | 1 of 16 | 1.5 494.5 (50 %) | 3 (0 %) |' '`GRAM_CUDA_WGMMA` is to stay unset' \
            '| attention | 98.9 TFLOP/s | 10 % | 197.8 TFLOP/s | 20 % |' '| norm | 2400 GB/s | 50 % | - | - |'; do
    grep -qF -- "$line" "$tmp/gpu.md" || { sed -n '/device check/,$p' "$tmp/gpu.md"; die "no line $line"; }
done
grep -q "No figure was measured on hardware yet" "$tmp/gpu.md" && die "what stood there stays"
echo "ok"
