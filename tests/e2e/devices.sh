#!/bin/sh
# --devices: a command that starts itself once for each device. What processes on CPUs and on emulated GPUs share, and
# that it has the bytes of one process, of mpirun's, or of another way between them; ZeRO-2; a process that dies.
. tests/e2e/lib.sh
m=$tmp/model
tiny_model "$m"
rows 8 >"$tmp/pairs.jsonl"
printf 'Q {input}\nA {response_a}\nB {response_b}\nBetter:' >"$tmp/judge.txt"
unset GRAM_DEVICE

expect 2 "$GRAM" score "$m" "$tmp/pairs.jsonl" --devices 0,,1
says err "wanted numbers of GPUs with commas between them"
expect 2 "$GRAM" score "$m" "$tmp/pairs.jsonl" --devices 1,0,1
says err "cuda:1 stands in it twice"
expect 2 "$GRAM" score "$m" "$tmp/pairs.jsonl" --devices 0,1 --device cpu
says err "wanted one of the two"
expect 2 env PMI_SIZE=2 PMI_RANK=0 "$GRAM" score "$m" "$tmp/pairs.jsonl" --devices 0,1
says err "a launcher started 2 processes already"
expect 2 "$GRAM" score "$m" "$tmp/pairs.jsonl" --devices cpu,cpu
says err "--out FILE is needed"
[ "$(grep -c '^gram ' "$tmp/err")" -eq 1 ] || die "each process says it"
expect 2 "$GRAM" serve "$m" --devices 0,1
says err "there is no option '--devices'"

# ---- Rows ----

score() { "$GRAM" score "$m" "$tmp/pairs.jsonl" -p "$tmp/judge.txt" "$@"; }
score -q --out "$tmp/alone.jsonl" || die "score"
expect 0 score --out "$tmp/shared.jsonl" --devices cpu,cpu,cpu
says err "shared.jsonl is whole, by 3 processes"
cmp "$tmp/alone.jsonl" "$tmp/shared.jsonl" || die "3 processes write other verdicts"
expect 0 score -q --devices cpu
cmp "$tmp/alone.jsonl" "$tmp/out" || die "one device is another"

# ---- Steps ----

# learn NAME OPTION...: the model's bytes and losses; each process has one micro-batch.
rows=8 together=4096 ends=0
learn() {
    name=$1
    shift
    # shellcheck disable=SC2086  # options
    expect "$ends" "$@" "$GRAM" finetune "$m" "$tmp/pairs.jsonl" -p "$tmp/judge.txt" --out "$tmp/$name" -t 1 --steps 3 \
        --lr 3e-3 -b "$rows" --batch-tokens "$together" -q $more
    sed -n 's/.*"loss":\([0-9.e-]*\).*"grad_norm":\([0-9.e-]*\).*/\1 \2/p' "$tmp/$name/metrics.jsonl" \
        >"$tmp/$name.losses"
}
same() { cmp "$tmp/$1/model.safetensors" "$tmp/$2/model.safetensors" || die "$1 and $2 end with other weights"; }

more="--devices cpu,cpu" learn two env
more="--devices cpu,cpu --zero 2" learn two-shared env
same two two-shared
more="--zero 2" learn one-shared env
more="" learn one env
same one one-shared
if command -v mpirun >/dev/null; then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 \
           OMPI_MCA_plm=isolated OMPI_MCA_btl=self,tcp OMPI_MCA_btl_tcp_if_include=lo OMPI_MCA_oob_tcp_if_include=lo \
           OMPI_MCA_hwloc_base_binding_policy=none
    ASAN_OPTIONS="detect_leaks=0:${ASAN_OPTIONS:-}" more="" learn mpi mpirun -np 2
    same two mpi
fi

# A checkpoint of two that share gradients is one of any number of processes.
ends=1 more="--devices cpu,cpu --zero 2 --max-minutes 1e-9" learn stopped env
more="--devices cpu,cpu --zero 2 --resume" learn stopped env
same two stopped
expect 2 "$GRAM" finetune "$m" "$tmp/pairs.jsonl" --out "$tmp/none" --zero 2 --lora-rank 2
says err "zero: 2 shares out the gradients of all weights"

# Several micro-batches each, and not as many for one process as for another.
rows=7 together=100
more="--devices cpu,cpu --zero 2" learn many-shared env
more="--devices cpu,cpu --zero 1" learn many env
rows=8 together=4096
near() {        # FILE FILE: the numbers differ by 1e-3 at most
    paste "$1" "$2" | awk '{ for (i = 1; i <= 2; i++) { d = $i - $(i + 2); if (d < 0) d = -d; if (d > 1e-3) exit 1 } }
        END { exit NR == 0 }' || { paste "$1" "$2"; die "$1 and $2 differ"; }
}
near "$tmp/many.losses" "$tmp/many-shared.losses"

# ---- A process that dies ----

"$GRAM" finetune "$m" "$tmp/pairs.jsonl" -p "$tmp/judge.txt" --out "$tmp/dies" -b 4 -t 1 --steps 1000000 \
    --save-every 0 -q --devices cpu,cpu 2>"$tmp/err" &
pid=$!
until [ "$(cat "$tmp/dies/metrics.jsonl" 2>/dev/null | wc -l)" -gt 2 ]; do
    kill -0 $pid 2>/dev/null || { cat "$tmp/err"; die "no step was taken"; }
    sleep 0.05
done
victim=$(grep -l "^PPid:[[:space:]]*$pid\$" /proc/[0-9]*/status 2>/dev/null | head -n 1 | cut -d / -f 3)
kill -9 "$victim"
wait $pid && die "a run whose process died ended well"
one_sentence
grep -q "process [01] of 2 ($victim on .*) has died" "$tmp/err" || { cat "$tmp/err"; die "who died is not said"; }

# ---- Emulated GPUs ----

[ -e "$B/emu/libgram-cuda.so" ] || { echo "ok, without emulated GPUs"; exit 0; }
export GRAM_CUDA_PATH="$PWD/$B/emu" EMU_LAZY=1 EMU_DEVICES=2
expect 0 score -q --device cuda:0 --out "$tmp/gpu.jsonl"
expect 0 score -q --devices 0,1 --out "$tmp/gpus.jsonl"
cmp "$tmp/gpu.jsonl" "$tmp/gpus.jsonl" || die "2 GPUs write other verdicts than one"
expect 1 score -q --devices 0,2 --out "$tmp/none.jsonl"
says err "device cuda:2: there are 2, from cuda:0 on"

more="--devices 0,1" learn gpus env
near "$tmp/two.losses" "$tmp/gpus.losses"
more="--devices 0,1 --zero 2" learn gpus-shared env
same gpus gpus-shared

mkdir "$tmp/half"
for l in libgram-cuda.so libemu.so libcublasLt.so.13; do ln -s "$PWD/$B/emu/$l" "$tmp/half/$l"; done
echo "no library" >"$tmp/half/libnccl.so.2"
more="--devices 0,1" learn hosts env GRAM_CUDA_PATH="$tmp/half"
same gpus hosts
case $B in *asan*) echo "ok; the rest is of the same code"; exit 0 ;; esac

# A run goes on on any GPU and on any number of them, but not on CPUs, whose sums are made in another order.
ends=1 more="--device cuda:1 --max-minutes 1e-9" learn moves env
more="--devices 0,1 --resume" learn moves env
near "$tmp/gpus.losses" "$tmp/moves.losses"
ends=1 more="--devices 0,1 --max-minutes 1e-9" learn from-gpus env
ends=2 more="--resume" learn from-gpus env
says err "here is another: computed on a GPU (yes there, none here)"
ends=1 more="--max-minutes 1e-9" learn from-cpu env
ends=2 more="--device cuda:0 --resume" learn from-cpu env
says err "here is another: computed on a GPU (none there, yes here)"
more="--devices 0,1 --dtype bf16 --zero 2" learn half env
more="--devices 0,1 --dtype bf16" learn half-hosts env GRAM_CUDA_PATH="$tmp/half"
same half half-hosts
if command -v mpirun >/dev/null; then
    more="--device cuda" learn mpi-gpus mpirun -np 2
    same gpus mpi-gpus
    expect 0 mpirun -np 2 "$GRAM" score "$m" "$tmp/pairs.jsonl" -p "$tmp/judge.txt" -q --device cuda \
        --out "$tmp/mpi.jsonl"
    cmp "$tmp/gpu.jsonl" "$tmp/mpi.jsonl" || die "2 GPUs of mpirun's processes write other verdicts than one"
fi
# Sums of four processes are made in another order than those of two: float32's, of gradients of a few hundredths.
export EMU_DEVICES=4
more="--devices 0,1,2,3" learn four-gpus env
near "$tmp/two.losses" "$tmp/four-gpus.losses"
more="--devices cpu,cpu,cpu,cpu" learn four env
near "$tmp/four.losses" "$tmp/four-gpus.losses"
echo "ok"
