#!/bin/sh
# Compiles each kernel for each GPU that gram is for, and writes what ptxas says of it to bench/cuda_ptxas.csv:
# registers of a thread, bytes that it spills, shared and constant bytes. Nothing is run. NVCC names the compiler; ARCHS
# some of the targets, FILES some of the files, whose lines are then replaced.
set -eu
nvcc=${NVCC-nvcc}
archs=${ARCHS-80 86 89 90a 100 120}
files=${FILES-$(echo src/op/*.cu)}
out=bench/cuda_ptxas.csv
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

head="file,kernel,arch,registers,stack,spill_stores,spill_loads"
[ -f $out ] && tail -n +2 $out >"$tmp/old" || : >"$tmp/old"
for f in $files; do
    for a in $archs; do
        grep -v "^$(basename "$f"),[^,]*,sm_$a," "$tmp/old" >"$tmp/rest" || true
        "$nvcc" -std=c++17 -O3 -fmad=false -Iinclude -Isrc -gencode "arch=compute_$a,code=sm_$a" -Xptxas -v -cubin \
            -o "$tmp/cubin" "$f" >"$tmp/log" 2>&1 || { cat "$tmp/log"; exit 1; }
        if grep -iE 'warning|error' "$tmp/log"; then exit 1; fi
        sed -n "s/.*Compiling entry function '\([^']*\)'.*/E \1/p
                s/^ *\([0-9]*\) bytes stack frame, \([0-9]*\) bytes spill stores, \([0-9]*\) bytes spill.*/S \1 \2 \3/p
                s/.*Used \([0-9]*\) registers.*/R \1/p" "$tmp/log" |
            awk -v f="$(basename "$f")" -v a="sm_$a" '
                $1 == "E" { name = $2 } $1 == "S" { stack = $2; store = $3; load = $4 }
                $1 == "R" { print f "," name "," a "," $2 "," stack "," store "," load }' |
            c++filt -p | sed 's/, /;/g' >>"$tmp/rest"
        mv "$tmp/rest" "$tmp/old"
        { echo "$head"; sort "$tmp/old"; } >"$tmp/csv" && cp "$tmp/csv" $out
        echo "$f: sm_$a"
    done
done
