#!/bin/sh
# --device: what is said where no GPU can be used, and each command on an emulated one: what the CPU gives, within what
# float32 sums in another order may differ.
. tests/e2e/lib.sh
m=$tmp/model
tiny_model "$m"
printf '{input}\n1 %s\n2 %s\nBetter:' '{response_a}' '{response_b}' >"$tmp/judge.txt"
for i in 1 2 3; do
    echo "{\"prompt\":\"What is $i?\",\"chosen\":\"It is $i.\",\"rejected\":\"No idea $i\"}"
done >"$tmp/pairs.jsonl"
for i in 1 2; do echo "{\"prompt\":\"Why $i?\",\"responses\":[\"Because.\",\"So.\"]}"; done >"$tmp/groups.jsonl"
echo '{"prompt":"Say it"}' >"$tmp/prompts.jsonl"
for i in 1 2 3; do echo "{\"prompt\":\"Say $i\"}"; done >"$tmp/asked.jsonl"

# ---- No GPU ----

unset GRAM_DEVICE
export GRAM_CUDA_PATH="$tmp"
expect 0 "$GRAM" info "$m"
says out "GPU           none: "
expect 1 "$GRAM" score "$m" "$tmp/pairs.jsonl" --device cuda:0
one_sentence
says err "no GPU can be used: "
if [ ! -e "$B/libgram-cuda.so" ]; then
    says err "libgram-cuda.so is missing: looked for it in $tmp, "
    expect 0 "$GRAM" score "$m" "$tmp/pairs.jsonl" -p "$tmp/judge.txt" --device auto -q
fi
expect 2 "$GRAM" score "$m" "$tmp/pairs.jsonl" --device gpu
says err 'device: wanted cpu, cuda, cuda:0 (or another number) or auto, found "gpu"'
expect 1 env GRAM_DEVICE=cuda:0 "$GRAM" logits "$m" --tokens "[40, 41]" --out "$tmp/l.npy"
says err "no GPU can be used: "
echo "not a library" >"$tmp/libgram-cuda.so"
expect 1 "$GRAM" score "$m" "$tmp/pairs.jsonl" --device cuda:0
says err "libgram-cuda.so cannot be used: "
rm "$tmp/libgram-cuda.so"

# Without cublasLt the library says where it was looked for; where CUDA is, NVIDIA's own is found and wants a GPU.
without_cublaslt() {
    mkdir "$tmp/half"
    cp "$B/emu/libgram-cuda.so" "$B/emu/libemu.so" "$tmp/half/"
    expect 1 env GRAM_CUDA_PATH="$tmp/half" HOME="$tmp" VIRTUAL_ENV="$tmp" LD_LIBRARY_PATH= "$GRAM" score "$m" \
        "$tmp/pairs.jsonl" --device cuda:0
    grep -q "libcublasLt.so.13 is missing: looked for it in $tmp/half, where the loader looks, " "$tmp/err" ||
        grep -q "no GPU can be used: .*cublasLt" "$tmp/err" || { cat "$tmp/err"; die "cublasLt is not missed"; }
}
[ -e /dev/nvidia0 ] || without_cublaslt

# ---- An emulated one ----

export GRAM_CUDA_PATH="$PWD/$B/emu" EMU_LAZY=1
expect 1 env EMU_DEVICES=0 "$GRAM" score "$m" "$tmp/pairs.jsonl" --device cuda:0
says err "no GPU that it knows"
expect 0 "$GRAM" info "$m"
says out "cuda:0        emulated GPU, compute capability 8.0, 4.0 GiB of memory, "
expect 1 env EMU_MEGABYTES=2 "$GRAM" score "$m" "$tmp/pairs.jsonl" --device cuda:0
one_sentence
says err "needed to work in, and cuda:0 has 0.00 GiB free: a smaller --batch-tokens leaves more of it to the weights"
expect 1 "$GRAM" score "$m" "$tmp/pairs.jsonl" --device cuda:0 --dtype int8
says err "device cuda:0 multiplies in f32 and bf16, not in int8"

# near FILE FILE [BOUND]: the numbers of two files, in their order, differ by 1e-3 at most.
near() {
    python3 - "$1" "$2" "${3-1e-3}" <<'E' || die "$1 and $2 differ"
import re, sys
a, b = ([float(x) for x in re.findall(r"-?\d+\.\d+(?:e-?\d+)?", open(f).read())] for f in sys.argv[1:3])
sys.exit(not a or len(a) != len(b) or any(abs(x - y) > float(sys.argv[3]) for x, y in zip(a, b)))
E
}

# each NAME ARG...: on both.
each() {
    name=$1
    shift
    expect 0 "$GRAM" "$@" --device cpu --out "$tmp/$name.cpu"
    expect 0 "$GRAM" "$@" --device cuda:0 --out "$tmp/$name.gpu"
    near "$tmp/$name.cpu" "$tmp/$name.gpu"
}

each score score "$m" "$tmp/pairs.jsonl" -p "$tmp/judge.txt" -q
each rank rank "$m" "$tmp/groups.jsonl" -p "$tmp/judge.txt" -q
expect 0 "$GRAM" score "$m" "$tmp/pairs.jsonl" -p "$tmp/judge.txt" -q --device cuda:0 --batch-tokens 64
cmp "$tmp/out" "$tmp/score.gpu" || die "the batch size changes a verdict"

# In bfloat16 a label's logit moves by a hundredth of its spread, of a model of two layers whose logits are below 1.
expect 0 "$GRAM" score "$m" "$tmp/pairs.jsonl" -p "$tmp/judge.txt" -q --device cuda:0 --dtype bf16 --out "$tmp/half.gpu"
near "$tmp/score.cpu" "$tmp/half.gpu" 0.03
cmp -s "$tmp/score.gpu" "$tmp/half.gpu" && die "nothing is rounded"
expect 0 "$GRAM" score "$m" "$tmp/pairs.jsonl" -p "$tmp/judge.txt" -q --device cuda:0 --dtype bf16 --batch-tokens 64
cmp "$tmp/out" "$tmp/half.gpu" || die "the batch size changes a verdict in bfloat16"

# The real model, where it is: a row in both orders.
if [ -f "$GRAM_MODEL" ]; then
    head -n 1 data/demo.jsonl >"$tmp/one.jsonl"
    each real score "$GRAM_MODEL" "$tmp/one.jsonl" -q
fi

# ---- Learning and writing ----

bound=1e-3
# learn NAME ARG...: on both; the loss and the norm of the gradient of each step.
learn() {
    name=$1
    shift
    for d in cpu cuda:0; do
        expect 0 "$GRAM" "$@" --out "$tmp/$name.$d" --steps 3 --batch-rows 2 --lr 3e-3 -q --device $d
        sed -n 's/.*"loss":\([0-9.e-]*\).*"grad_norm":\([0-9.e-]*\).*/\1 \2/p' "$tmp/$name.$d/metrics.jsonl" \
            >"$tmp/$name.$d.losses"
    done
    near "$tmp/$name.cpu.losses" "$tmp/$name.cuda:0.losses" "$bound"
}

learn judge finetune "$m" "$tmp/pairs.jsonl" -p "$tmp/judge.txt"
learn adapters finetune "$m" "$tmp/pairs.jsonl" -p "$tmp/judge.txt" --lora-rank 2 --lora-dropout 0.3
learn reward finetune "$m" "$tmp/pairs.jsonl" --loss bt
learn reward-adapters finetune "$m" "$tmp/pairs.jsonl" --loss bt --lora-rank 2
learn policy finetune "$m" "$tmp/pairs.jsonl" --loss dpo
learn stage1 pretrain "$m" "$tmp/groups.jsonl"
learn values rl "$m" "$tmp/asked.jsonl" --judge tests/golden/rewards/qwen3 --algorithm ppo --lora-rank 2 --cut keep \
    --max-new-tokens 4
bound=0.03
if grep -qwE 'avx512_bf16|amx_bf16' /proc/cpuinfo; then
    learn rounded finetune "$m" "$tmp/pairs.jsonl" -p "$tmp/judge.txt" --compute bf16
else
    echo "  this CPU multiplies no bfloat16, so --compute bf16 has nothing to be held to"
fi
learn halves finetune "$m" "$tmp/pairs.jsonl" -p "$tmp/judge.txt" --dtype bf16 --lora-rank 2

# A run that stops and goes on ends with the weights of one that did not.
again() {
    expect "$1" "$GRAM" finetune "$m" "$tmp/pairs.jsonl" -p "$tmp/judge.txt" --out "$tmp/stopped" --steps 3 \
        --batch-rows 2 --lr 3e-3 -q --device cuda:0 "$2" "$3"
}
again 1 --max-minutes 1e-9
again 0 --resume --quiet
cmp "$tmp/judge.cuda:0/model.safetensors" "$tmp/stopped/model.safetensors" ||
    die "a resumed run ends with other weights"

for d in cpu cuda:0; do
    expect 0 "$GRAM" generate "$m" "$tmp/prompts.jsonl" --max-new-tokens 6 --n 3 --seed 4 -q --device $d \
        --out "$tmp/text.$d"
    sed 's/"logprob.*//' "$tmp/text.$d" >"$tmp/words.$d"
done
cmp "$tmp/words.cpu" "$tmp/words.cuda:0" || die "other words are written"
near "$tmp/text.cpu" "$tmp/text.cuda:0"
