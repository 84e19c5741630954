#!/bin/sh
# lora.sh - `gram finetune --lora-rank`, what takes its adapter, and `gram merge`, on the tiny model that reads bytes.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
model=$PWD/tests/golden/train/judge
for i in 1 2 3 4; do
    printf '{"prompt":"q%d","chosen":"zzzz","rejected":"aaaa"}\n' $i
done >"$tmp/pairs.jsonl"
printf 'Q {input}\nA {response_a}\nB {response_b}\nBetter:' >"$tmp/judge.txt"
cd "$tmp" || exit 1

expect 2 "$GRAM" finetune "$model" pairs.jsonl --out x --lora-targets q
says err "--lora-targets: wanted --lora-rank with it"
expect 2 "$GRAM" finetune "$model" pairs.jsonl --out x --lora-rank 4 --lora-targets q,head
says err '"head"'
expect 0 "$GRAM" finetune "$model" pairs.jsonl --out a --lora-rank 4 --lr 1e-2 --steps 8 --batch-rows 4 \
    --judge-prompt judge.txt
says err "memory: at most"
expect 0 "$GRAM" info a
says out "LoRA, rank 4, alpha 8"
says out "$model"
expect 2 "$GRAM" merge a
says err "--out is missing"
expect 0 "$GRAM" merge a --out m
expect 2 "$GRAM" merge m --out n
says err "no LoRA adapter"
one_sentence

# The judge goes on in the words that it has learnt, and other words are the ones that were asked for.
grep -q '"prompt"' a/judge.json || die "the judge prompt of the run is not in judge.json"
expect 0 "$GRAM" info a
says out "a judge prompt of its own"
expect 0 "$GRAM" score a pairs.jsonl -q
mv out own.jsonl
expect 0 "$GRAM" score a pairs.jsonl --judge-prompt judge.txt -q
cmp out own.jsonl || die "without --judge-prompt the judge is asked in other words than those it was trained on"
sed 's/{input}/& ?/' judge.txt >other.txt
expect 0 "$GRAM" score a pairs.jsonl --judge-prompt other.txt -q
cmp -s out own.jsonl && die "--judge-prompt is not heeded"
expect 0 "$GRAM" merge a --out whole
cmp a/judge.json whole/judge.json || die "a merged judge has lost its words"
expect 0 "$GRAM" merge a --out half --dtype bf16
[ "$(stat -c %s half/model.safetensors)" -lt "$(stat -c %s whole/model.safetensors)" ] ||
    die "merge --dtype bf16 writes another type"
expect 0 "$GRAM" convert whole --out copied --dtype f32
cmp a/judge.json copied/judge.json || die "a converted judge has lost its words"
expect 0 "$GRAM" convert whole --out whole.gguf
says err "judge.json stays behind"
expect 0 "$GRAM" finetune a pairs.jsonl --out further --lora-rank 4 --steps 1 -q
cmp a/judge.json further/judge.json || die "training further forgets the words"
expect 0 "$GRAM" finetune a pairs.jsonl --out scalar --lora-rank 4 --steps 1 --loss bt -q
[ ! -e scalar/judge.json ] || die "a reward model has a judge prompt"
cp a/judge.json scalar
expect 1 "$GRAM" score scalar pairs.jsonl
says err "this is a reward model"
one_sentence
expect 0 "$GRAM" finetune "$model" pairs.jsonl --out named --lora-rank 4 --steps 1 --template chatml --labels Z,z -q
expect 0 "$GRAM" info named
says out "labels Z and z, template chatml"
printf '{"prompt":"q9","chosen":"aaaa","rejected":"zzzz"}\n' >wrong.jsonl
expect 0 "$GRAM" eval a pairs.jsonl pairs.jsonl wrong.jsonl --judge-prompt other.txt --fit-temperature fit.json
python3 -c 'import json,sys; sys.exit(json.load(open("fit.json"))["reads"]["prompt"] != open("other.txt").read())' ||
    die "a temperature was written without the words it was found with"

# Over a GGUF: what PEFT will need is said before the run, and the adapter opens.
expect 0 "$GRAM" convert "$model" --out base.gguf
expect 0 "$GRAM" finetune base.gguf pairs.jsonl --out g --lora-rank 4 --steps 1 --judge-prompt judge.txt
says err "PEFT does not open"
says err "gram convert $tmp/base.gguf --out DIR"
says err "base_model_name_or_path"
expect 0 "$GRAM" score g pairs.jsonl --judge-prompt judge.txt -q
expect 0 "$GRAM" finetune "$model" pairs.jsonl --out h --lora-rank 4 --steps 1 --judge-prompt judge.txt
grep -q "PEFT does not open" err && die "a directory is said to be none that PEFT opens"

# An adapter in a GGUF file is no model, and says what is missing.
expect 2 "$GRAM" info "$OLDPWD/tests/golden/train/llama_gqa/lora.gguf"
says err "a LoRA adapter, which is no model without its base"
one_sentence
expect 0 "$GRAM" info "$OLDPWD/tests/golden/train/llama_gqa/lora.gguf" --base "$OLDPWD/tests/golden/train/llama_gqa"
says out "LoRA, rank 4, alpha 6"

# The same verdicts to the fourth place: sums in another order move the seventh.
for dir in a m; do
    expect 0 "$GRAM" score $dir pairs.jsonl --judge-prompt judge.txt -q
    sed 's/.*"preference":\([0-9.]\{6\}\).*/\1/' out >$dir.txt
done
[ -s a.txt ] && cmp a.txt m.txt || die "the merged model gives other verdicts"

# Moved away from its base, an adapter says so, and takes --base.
sed "s|$model|/nowhere|" a/adapter_config.json >a/moved && mv a/moved a/adapter_config.json
expect 1 "$GRAM" score a pairs.jsonl
says err "/nowhere is not there"
one_sentence
expect 0 "$GRAM" score a pairs.jsonl --base "$model" --judge-prompt judge.txt -q
expect 0 "$GRAM" finetune a pairs.jsonl --base "$model" --out b --lora-rank 4 --steps 1 --judge-prompt judge.txt -q
expect 2 "$GRAM" score "$model" pairs.jsonl --base "$model"

# One without a tokenizer, as others publish them: a server reads the base that was given, too.
cp -r a bare
rm bare/tokenizer*
"$GRAM" serve bare --base "$model" --judge-prompt judge.txt --port 0 2>served &
server=$!
for _ in $(seq 100); do
    grep -q '"event"' served && break
    sleep 0.1
done
kill $server
wait $server
grep -q '"event":"ready"' served || { cat served; die "gram serve of an adapter without a tokenizer"; }
expect 1 sh -c 'echo -n abc | "$0" tokenize bare' "$GRAM"
says err "/nowhere is not there"
expect 0 sh -c 'echo -n abc | "$0" tokenize bare --base "$1"' "$GRAM" "$model"
mv out bare.ids
expect 0 sh -c 'echo -n abc | "$0" tokenize "$1"' "$GRAM" "$model"
cmp out bare.ids || die "gram tokenize --base"
expect 2 sh -c 'echo -n abc | "$0" tokenize "$1" --base "$1"' "$GRAM" "$model"
says err "no LoRA adapter"

# Beside other weights of the same shapes, which make another model of it, that is said, and beside its own nothing.
for c in "score a pairs.jsonl" "merge a --out again" "info a"; do
    # shellcheck disable=SC2086  # words
    expect 0 "$GRAM" $c --base "$model"
    grep -q "trained beside" err && die "$c: its own base is said to be another"
    rm -rf again
    # shellcheck disable=SC2086
    expect 0 "$GRAM" $c --base m
    says err "note: a was trained beside other weights than those of m"
done
