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
cp $golden/word/tokenizer.json $golden/word/tokenizer_config.json "$tmp/word/"
expect 0 "$GRAM" convert "$tmp/word" --out "$tmp/word.gguf"
[ "$(grep -c 'no form' "$tmp/err")" -eq 0 ] || die "a token without flags is said to have no form"
same "$tmp/word.gguf" $golden/word/lines.jsonl $golden/word/expected.jsonl
same "$tmp/word.gguf" $golden/word/lines.jsonl $golden/word/expected_special.jsonl --special

# The length that transformers writes where there is none.
cp -r $golden/word "$tmp/long"
echo '{"model_max_length": 1000000000000000019884624838656}' >"$tmp/long/tokenizer_config.json"
same "$tmp/long" $golden/word/lines.jsonl $golden/word/expected.jsonl

# What tokenizer_config.json says beside tokenizer.json. A token that the template writes must be one.
said() {        # said JSON: what is added to the configuration of a copy
    rm -rf "$tmp/said"
    cp -r $golden/sep "$tmp/said"
    python3 -c 'import json, sys
f = sys.argv[1] + "/tokenizer_config.json"
json.dump(json.load(open(f)) | json.loads(sys.argv[2]), open(f, "w"))' "$tmp/said" "$1"
    echo '{"messages": [{"role": "user", "content": "a"}]}' >"$tmp/talk.jsonl"
}
said '{"additional_special_tokens": ["<|user|>"]}'
expect 0 "$GRAM" render "$tmp/said" "$tmp/talk.jsonl"
said '{"additional_special_tokens": ["<|user|>"], "chat_template": "<|user|>{{ messages[0].content }}"}'
expect 1 "$GRAM" render "$tmp/said" "$tmp/talk.jsonl"
says err 'the chat template writes "<|user|>", which tokenizer_config.json'
expect 1 sh -c 'echo a | "$0" tokenize "$1"' "$GRAM" "$tmp/said"
said '{"added_tokens_decoder": {"9": {"content": "<|user|>"}}, "chat_template": "<|user|>{{ messages[0].content }}"}'
expect 1 "$GRAM" render "$tmp/said" "$tmp/talk.jsonl"
said '{"chat_template": "<|user|>{{ messages[0].content }}"}'
expect 0 "$GRAM" render "$tmp/said" "$tmp/talk.jsonl"
echo '{"<|user|>": 9}' >"$tmp/said/added_tokens.json"
expect 1 "$GRAM" render "$tmp/said" "$tmp/talk.jsonl"
said '{"eos_token": "<|done|>", "chat_template": "{{ messages[0].content }}{{ eos_token }}"}'
expect 1 "$GRAM" render "$tmp/said" "$tmp/talk.jsonl"
says err 'the chat template writes "<|done|>"'
said '{"pad_token": "<|done|>"}'
expect 0 "$GRAM" render "$tmp/said" "$tmp/talk.jsonl"
said '{"add_prefix_space": false}'
expect 0 "$GRAM" render "$tmp/said" "$tmp/talk.jsonl"
said '{"add_prefix_space": true}'
expect 1 "$GRAM" render "$tmp/said" "$tmp/talk.jsonl"
says err '"add_prefix_space" true, and the ByteLevel of tokenizer.json false'
exit 0
