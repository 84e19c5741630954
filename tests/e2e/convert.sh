#!/bin/sh
# gram convert: what it says, what it asks for, and that a name with an old file keeps it until the new one is whole.
. tests/e2e/lib.sh
models=tests/golden/models

expect 0 "$GRAM" convert $models/mistral_window --out "$tmp/m.gguf" --dtype q8_0
says err "llama.cpp reads this architecture without its sliding window"
says err "their rows are not whole blocks of 32"
says err "21 tensors"
expect 0 "$GRAM" convert $models/mistral_window --out "$tmp/m.gguf" -q
[ ! -s "$tmp/err" ] || die "-q is not quiet"
expect 0 "$GRAM" info "$tmp/m.gguf"
says out "see a window of 24 tokens"
expect 0 "$GRAM" convert "$tmp/m.gguf" --out "$tmp/m" --dtype bf16
grep -q '"model_type": "mistral"' "$tmp/m/config.json" || die "a Mistral came back as something else"
grep -q '"torch_dtype": "bfloat16"' "$tmp/m/config.json" || die "config.json does not say bfloat16"
expect 0 "$GRAM" convert "$tmp/m.gguf" --out "$tmp/half" --dtype f16
grep -q '"torch_dtype": "float16"' "$tmp/half/config.json" || die "config.json does not say float16"

before=$(cksum <"$tmp/m.gguf")
expect 1 "$GRAM" convert $models/qwen2_window --out "$tmp/m.gguf"
one_sentence
[ "$(cksum <"$tmp/m.gguf")" = "$before" ] || die "a failure took the file that was there"
expect 1 sh -c 'ulimit -f 20; exec "$@"' - "$GRAM" convert $models/qwen3 --out "$tmp/m.gguf"
one_sentence
[ "$(cksum <"$tmp/m.gguf")" = "$before" ] || die "a full disk took the file that was there"
[ "$(find "$tmp" -name '*.tmp' | wc -l)" -eq 0 ] || die "a temporary file was left"
expect 2 "$GRAM" convert $models/qwen3
says err "--out is missing"
expect 2 "$GRAM" convert $models/qwen3 --out "$tmp/x.gguf" --dtype q2
says err "wanted one of f32|bf16|f16"
expect 2 "$GRAM" convert $models/qwen3 --out "$tmp/x" --dtype q8_0
says err "a type of GGUF"
expect 2 "$GRAM" convert $models/qwen3 --out "$tmp/m"
says err "not written over"

expect 0 "$GRAM" convert $models/qwen3 --out "$tmp/int8" --dtype int8
[ ! -e "$tmp/int8/model.safetensors" ] || die "other programs would read weights of 8 bits"
expect 0 "$GRAM" info "$tmp/int8"
says out "8 bits of gram convert"
says out "8-bit integers"
expect 0 "$GRAM" logits "$tmp/int8" --tokens '[1,2,3]' --out "$tmp/a.npy"
expect 0 "$GRAM" logits "$tmp/int8" --tokens '[1,2,3]' --dtype int8 --out "$tmp/b.npy"
expect 0 "$GRAM" logits $models/qwen3 --tokens '[1,2,3]' --dtype int8 --out "$tmp/c.npy"
cmp "$tmp/a.npy" "$tmp/b.npy" && cmp "$tmp/a.npy" "$tmp/c.npy" || die "other logits than int8's"
expect 1 "$GRAM" logits "$tmp/int8" --tokens '[1,2,3]' --dtype f32 --out "$tmp/d.npy"
says err "they are read with the dtype int8"
one_sentence
exit 0
