#!/bin/sh
# Help, bad usage and what is written from the option tables; no model is needed.
. tests/e2e/lib.sh

expect 0 "$GRAM" --help
cp "$tmp/out" "$tmp/overview"
for c in tokenize logits score rank generate bon eval evalpolicy finetune pretrain raft rl prove; do
    says overview "  $c "
    expect 0 "$GRAM" "$c" --help
    says out "usage: gram $c "
    says out "Examples:"
    says out "Exit codes:"
    if grep -q '(null)' "$tmp/out"; then die "help of $c has a title without words"; fi
    awk 'length > 100 { exit 1 }' "$tmp/out" || die "help of $c is too wide"
    twice=$(sed -n '/^Examples:/q;s/^ \{2,6\}\(-., \)\{0,1\}\(--[a-z-]*\).*/\2/p' "$tmp/out" | sort | uniq -d)
    [ -z "$twice" ] || die "help of $c has twice:" $twice
    cp "$tmp/out" "$tmp/first"
    expect 0 "$GRAM" help "$c"
    cmp -s "$tmp/out" "$tmp/first" || die "help $c and $c --help differ"
    expect 2 "$GRAM" "$c"
    says err "gram $c --help"
    expect 2 "$GRAM" "$c" --no-such-option
done
expect 0 "$GRAM" evalpolicy --help
if grep -q -e --shard "$tmp/out"; then die "evalpolicy offers --shard, which it refuses"; fi
expect 0 "$GRAM" --version
says out "gram $(sed -n 's/^#define GRAM_VERSION "\(.*\)"/\1/p' include/gram/gram.h)"

expect 2 "$GRAM"
[ ! -s "$tmp/out" ] || die "help that was not asked for went to stdout"
expect 2 "$GRAM" scroe
says err "did you mean 'score'?"
expect 2 "$GRAM" help scroe
says err "did you mean 'score'?"
expect 2 "$GRAM" --verison
says err "did you mean 'version'?"
expect 2 "$GRAM" foo
if grep -q "did you mean" "$tmp/err"; then die "bon is suggested for foo"; fi
expect 2 "$GRAM" score --treads 2 model pairs
says err "did you mean '--threads'?"
expect 2 "$GRAM" score model pairs --threads many
says err "--threads"
expect 2 "$GRAM" score model pairs --dtype f17
says err "f32|bf16|int8|int8-fast"
expect 2 "$GRAM" score model pairs --labels AB
expect 2 "$GRAM" generate model prompts --top-p 0
says err "top_p"
expect 2 "$GRAM" generate model prompts --top-k -1
says err "--top-k"
expect 2 "$GRAM" generate model prompts --max-new-tokens 0
says err "max_new_tokens"
expect 2 "$GRAM" generate model prompts --greedy --temperature 1
expect 2 "$GRAM" generate model prompts --stop ""
says err "empty"
expect 2 "$GRAM" generate model prompts --products many
says err "auto, few or tiles"
expect 2 "$GRAM" generate model prompts --speculate 17
says err "speculate"
expect 2 "$GRAM" score model pairs --max-tokens -3
expect 2 "$GRAM" score model pairs --resume
expect 2 "$GRAM" score "" pairs
says err "argument 1 is empty"
expect 2 "$GRAM" rank model groups --method best
expect 2 "$GRAM" logits model
expect 2 "$GRAM" completion csh

expect 0 "$GRAM" completion bash
bash -n "$tmp/out" || die "the bash completion is no bash"
# What bash would offer: commands, options, values.
offer() {
    bash -c '. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _gram; echo "${COMPREPLY[*]}"' - "$tmp/out" "$@"
}
[ "$(offer gram sc)" = score ] || die "no completion of a command"
[ "$(offer gram score --dt)" = --dtype ] || die "no completion of an option"
[ "$(offer gram score --dtype i)" = "int8 int8-fast" ] || die "no completion of a value"
[ "$(offer gram rl --scheme c)" = circular ] || die "no completion of a value that is a word"
[ -z "$(offer gram rl --rationale-format F)" ] || die "the name of a value is offered as a value"
expect 0 "$GRAM" completion fish
says out "complete -c gram"
expect 0 "$GRAM" completion zsh
if command -v zsh >/dev/null; then zsh -n "$tmp/out" || die "the zsh completion is no zsh"; fi
expect 0 "$GRAM" help --man
says out ".TH GRAM 1"
says out "\\-\\-judge\\-prompt"
if command -v mandoc >/dev/null; then
    mandoc -T lint -W warning "$tmp/out" | grep -v 'missing date' >"$tmp/lint"
    [ ! -s "$tmp/lint" ] || { cat "$tmp/lint"; die "the man page has faults"; }
fi

# Errors of the world: 1 and one sentence. A full disk is an error.
expect 1 "$GRAM" info "$tmp/none.gguf"
one_sentence
says err "none.gguf"
head -c 100 /dev/urandom >"$tmp/bad.gguf"
expect 1 "$GRAM" info "$tmp/bad.gguf"
one_sentence
expect 1 "$GRAM" tokenize "$tmp"
one_sentence
tiny_model "$tmp/tiny"
echo '{"prompt":"q","chosen":"a","rejected":"b"}' >"$tmp/rows.jsonl"
for c in score eval finetune generate; do
    expect 2 "$GRAM" "$c" "$tmp/rows.jsonl" "$tmp/tiny"
    says err "the model comes first"
done
expect 2 "$GRAM" score "$tmp/tiny" "$tmp/rows.jsonl" --out ""
says err "--out: the name is empty"
expect 2 "$GRAM" eval "$tmp/tiny" "$tmp/rows.jsonl" --report ""
says err "a directory is empty"
expect 1 "$GRAM" finetune "$tmp/tiny" "$tmp/rows.jsonl" --out "$tmp/rows.jsonl"
says err "a directory is needed"
expect 1 sh -c '"$GRAM" --help >/dev/full'
says err "No space left on device"
