#!/bin/sh
# gram tokenize on checkpoints whose added tokens are words too, strip, or stand alone; and on the GGUFs made of them.
. tests/e2e/lib.sh
golden=tests/golden/tokens

# same MODEL LINES IDS [OPTION]: the Rust library's ids, a line each
same() {
    expect 0 sh -c '"$0" tokenize "$@"' "$GRAM" "$1" --lines ${4-} <"$2"
    tr -d ' ' <"$tmp/out" >"$tmp/got"
    tr -d ' ' <"$3" | cmp -s - "$tmp/got" || die "$1 ${4-}: other ids than $3"
}

for m in word strips; do
    same $golden/$m $golden/$m/lines.jsonl $golden/$m/expected.jsonl
    same $golden/$m $golden/$m/lines.jsonl $golden/$m/expected_special.jsonl --special
done
same $golden/sep $golden/sep/lines.jsonl $golden/sep/expected_special.jsonl --special

# What a GGUF has no form for is kept in keys of our own, and said; the way back has it too.
expect 0 "$GRAM" convert $golden/sep --out "$tmp/sep.gguf"
says err '"<sep>" (lstrip, rstrip)'
says err "llama.cpp has no form for it"
same "$tmp/sep.gguf" $golden/sep/lines.jsonl $golden/sep/expected_special.jsonl --special
expect 0 "$GRAM" convert "$tmp/sep.gguf" --out "$tmp/again.gguf"
same "$tmp/again.gguf" $golden/sep/lines.jsonl $golden/sep/expected_special.jsonl --special
expect 0 "$GRAM" convert "$tmp/again.gguf" --out "$tmp/sep"
same "$tmp/sep" $golden/sep/lines.jsonl $golden/sep/expected_special.jsonl --special
grep -q '"lstrip":true,"rstrip":true' "$tmp/sep/tokenizer.json" || die "the flags did not come back"

cp -r $golden/sep "$tmp/word"
cp $golden/word/tokenizer.json "$tmp/word/"
expect 0 "$GRAM" convert "$tmp/word" --out "$tmp/word.gguf"
[ "$(grep -c 'no form' "$tmp/err")" -eq 0 ] || die "a token without flags is said to have no form"
same "$tmp/word.gguf" $golden/word/lines.jsonl $golden/word/expected.jsonl
same "$tmp/word.gguf" $golden/word/lines.jsonl $golden/word/expected_special.jsonl --special

# The length that transformers writes where there is none.
cp -r $golden/word "$tmp/long"
echo '{"model_max_length": 1000000000000000019884624838656}' >"$tmp/long/tokenizer_config.json"
same "$tmp/long" $golden/word/lines.jsonl $golden/word/expected.jsonl
exit 0
