#!/bin/sh
# gram under mpirun: what shares its work and what refuses, Ctrl-C and SIGUSR1, and a machine without Open MPI.
. tests/e2e/lib.sh
m=tests/golden/train/judge

rows 8 >"$tmp/pairs.jsonl"
printf 'Q {input}\nA {response_a}\nB {response_b}\nBetter:' >"$tmp/judge.txt"
train() { echo "$GRAM finetune $m $tmp/pairs.jsonl --out $tmp/$1 -p $tmp/judge.txt -b 4 -t 1 --steps 1000000 --save-every 0"; }

# Without the library, with another MPI's launcher, and with none at all: a sentence from the first process alone.
mkdir "$tmp/lib"
echo "no library" >"$tmp/lib/libmpi.so.40"
for rank in 0 1; do
    # shellcheck disable=SC2046  # words
    expect 1 env OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_RANK=$rank LD_LIBRARY_PATH="$tmp/lib" $(train none)
    [ $rank = 1 ] || { one_sentence; says err "Open MPI, through which they would speak, is not there"; }
done
[ ! -s "$tmp/err" ] || die "the second process says it too"
# shellcheck disable=SC2046
expect 1 env PMI_SIZE=2 PMI_RANK=0 $(train none)
says err "is not Open MPI"
[ ! -e "$tmp/none" ] || die "a run that did not begin left a directory"

command -v mpirun >/dev/null || { echo "  mpirun is not installed: gram under it was not tried"; exit 77; }
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_plm=isolated \
       OMPI_MCA_btl=self,tcp OMPI_MCA_btl_tcp_if_include=lo OMPI_MCA_oob_tcp_if_include=lo \
       OMPI_MCA_hwloc_base_binding_policy=none ASAN_OPTIONS="detect_leaks=0:${ASAN_OPTIONS:-}"

expect 2 mpirun -np 2 "$GRAM" score $m "$tmp/pairs.jsonl"
says err "alone share theirs"
[ "$(grep -c '^gram ' "$tmp/err")" -eq 1 ] || die "each process says it"

# A signal to mpirun in the middle of a run that would take for ever.
steps() { cat "$tmp/out1/metrics.jsonl" 2>/dev/null | wc -l; }
stopped() {     # stopped SIGNAL OPTION...
    sig=$1
    shift
    before=$(steps)
    # shellcheck disable=SC2046
    mpirun -np 2 $(train out1) "$@" >"$tmp/out" 2>"$tmp/err" &
    pid=$!
    i=0
    until [ "$(steps)" -gt $((before + 3)) ]; do
        i=$((i + 1))
        [ "$i" -lt 600 ] || { cat "$tmp/err"; die "no step was taken"; }
        sleep 0.05
    done
    kill -"$sig" "$pid"
    wait "$pid" && die "a run that was stopped ended well"
    says err "stopped after step"
    says err "with --resume goes on"
    ls "$tmp"/out1/checkpoints/step-*.safetensors >/dev/null || die "SIG$sig left no checkpoint"
}
stopped INT
first=$(ls "$tmp/out1/checkpoints")
stopped USR1 --resume
[ "$(ls "$tmp/out1/checkpoints" | tail -n 1)" != "$first" ] || die "the resumed run went no further"
echo "ok"
