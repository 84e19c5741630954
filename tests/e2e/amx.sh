#!/bin/sh
# What runs where there is AMX, on a processor without: products of oneDNN's and what gram does around them, its
# instructions done by tests/amx/. A processor that has AMX runs all tests on it anyway.
. tests/e2e/lib.sh
case $B in *asan* | *tsan*) echo "  sanitizers do not go with a handler of invalid instructions"; exit 77 ;; esac
grep -qw avx512_bf16 /proc/cpuinfo || { echo "  oneDNN's code for AMX wants AVX512_BF16 besides"; exit 77; }
! grep -qw amx_tile /proc/cpuinfo || { echo "  this processor has AMX"; exit 77; }
for tool in python3 objdump readelf cc; do
    command -v "$tool" >/dev/null || { echo "  $tool is not installed"; exit 77; }
done
unset GRAM_CPU
dnnl=$(ldd "$GRAM" | awk '/libdnnl/ { print $3 }')
[ -f "$dnnl" ] || { echo "  oneDNN is not a shared library here"; exit 77; }

# The product of bfloat16 alone takes 20 seconds of signals, so that only GRAM_TEST_ALL=1 asks for all of its tests.
tests="test_packed${GRAM_TEST_ALL:+ test_matmul_bf16}"
cc -O2 -shared -fPIC -Wl,-z,initfirst -o "$tmp/amx.so" tests/amx/amx.c || die "the stand-in does not build"
# shellcheck disable=SC2046
python3 tests/amx/patch.py "$tmp" "$dnnl" "$GRAM" $(printf "$B/tests/op/%s " $tests) >"$tmp/out" ||
    { cat "$tmp/out"; die "patch.py failed"; }

# on_amx COMMAND...: with what it multiplies by AMX counted, which must be something.
on_amx() {
    rm -f "$tmp/products"
    expect 0 env LD_LIBRARY_PATH="$tmp" LD_PRELOAD="$tmp/amx.so" AMX_REPORT="$tmp/products" "$@"
    grep -qv '^0$' "$tmp/products" || die "'$*' multiplied nothing by AMX"
}

# oneDNN 2 is known to take it for such a processor; of others nothing is known.
expect 0 env LD_LIBRARY_PATH="$tmp" LD_PRELOAD="$tmp/amx.so" "$tmp/gram" info tests/golden/train/judge
case $(cat "$tmp/out") in
*+amx*) ;;
*)  case $dnnl in *.so.2) die "oneDNN does not take this for a processor with AMX" ;; esac
    echo "  this oneDNN does not take the stand-in for a processor with AMX"
    exit 77 ;;
esac
for t in $tests; do
    on_amx "$tmp/$t" once
done

# Scores and steps are those of products by AVX-512: int8's sums are whole numbers, and the others' are in another
# order, for which a ten-thousandth is left. Where that turns the rounding of an activation to bfloat16, it moves by
# 2^-8 of itself, one of many of a product: a thousandth.
tiny_model "$tmp/tiny"
for i in 1 2 3; do
    echo "{\"prompt\": \"What is $i and $i?\", \"chosen\": \"It is $((i + i)).\", \"rejected\": \"No $i\"}"
done >"$tmp/rows.jsonl"
near() {        # near TOLERANCE KEY: the numbers of this key in both files
    python3 - "$tmp/amx.jsonl" "$tmp/plain.jsonl" "$1" "$2" <<'END' || die "$2 is not near that of AVX-512"
import json, sys
a, b = ([json.loads(line)[sys.argv[4]] for line in open(path)] for path in sys.argv[1:3])
worst = max(abs(x - y) for x, y in zip(a, b, strict=True))
print(f"  {sys.argv[4]}: {worst:.2g} apart")
sys.exit(not worst <= float(sys.argv[3]))
END
}
for dtype in f32 bf16 int8 int8-fast; do
    on_amx "$tmp/gram" score "$tmp/tiny" "$tmp/rows.jsonl" --dtype $dtype --out "$tmp/amx.jsonl"
    expect 0 env GRAM_CPU=bf16 "$GRAM" score "$tmp/tiny" "$tmp/rows.jsonl" --dtype $dtype --out "$tmp/plain.jsonl"
    near "$(case $dtype in bf16) echo 1e-3 ;; *) echo 1e-4 ;; esac)" preference
done
for compute in f32 bf16; do
    steps="finetune $tmp/tiny $tmp/rows.jsonl --compute $compute --steps 2 -b 3 --out"
    # shellcheck disable=SC2086
    on_amx "$tmp/gram" $steps "$tmp/on-amx-$compute"
    # shellcheck disable=SC2086
    expect 0 env GRAM_CPU=bf16 "$GRAM" $steps "$tmp/plain-$compute"
    cp "$tmp/on-amx-$compute/metrics.jsonl" "$tmp/amx.jsonl"
    cp "$tmp/plain-$compute/metrics.jsonl" "$tmp/plain.jsonl"
    near 1e-3 loss
done
