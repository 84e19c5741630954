#!/bin/sh
# gram train: every option of the two training commands is a key of a recipe, and a recipe trains what the command does.
. tests/e2e/lib.sh

"$GRAM" train --keys >"$tmp/keys" || die "gram train --keys failed"
# All but those of what is told and of processes, and the one that trains nothing.
for c in finetune pretrain; do
    "$GRAM" $c --help | grep -oE '^ +(-[a-z], )? *--[a-z-]+' | grep -oE '[a-z][a-z-]+$' >"$tmp/options"
    [ "$(wc -l <"$tmp/options")" -gt 20 ] || die "the options of gram $c were not found in its help"
    for o in $(grep -vxE 'help|quiet|check-gradients|chat-arg|devices' "$tmp/options"); do
        grep -q "^$o " "$tmp/keys" || die "gram $c has --$o, and recipes have no key $o"
    done
done
grep -q "^chat-args " "$tmp/keys" || die "recipes have no key for what --chat-arg says"

rows 4 >"$tmp/pairs.jsonl"
printf 'Q {input}\nA {response_a}\nB {response_b}\nBetter:' >"$tmp/judge.txt"
cat >"$tmp/run.yaml" <<YAML
model: $PWD/tests/golden/train/judge
data: pairs.jsonl
out: by-recipe          # beside this file
judge-prompt: judge.txt
steps: 2
batch-rows: 2
lr: 1e-3
threads: 1
YAML
expect 0 "$GRAM" train "$tmp/run.yaml" --quiet
expect 0 "$GRAM" finetune tests/golden/train/judge "$tmp/pairs.jsonl" --out "$tmp/by-command" -p "$tmp/judge.txt" \
    --steps 2 --batch-rows 2 --lr 1e-3 --threads 2 --quiet
cmp "$tmp/by-recipe/model.safetensors" "$tmp/by-command/model.safetensors" || die "a recipe trained another model"
expect 0 "$GRAM" train "$tmp/run.yaml" --set lr=0 --set "out=$tmp/still" --quiet
cmp -s "$tmp/still/model.safetensors" "$tmp/by-recipe/model.safetensors" && die "--set changed nothing"
expect 2 "$GRAM" train "$tmp/run.yaml" --set lrr=0
says err 'did you mean "lr"'
printf 'Q {input}' >"$tmp/judge.txt"
expect 2 "$GRAM" train "$tmp/run.yaml"
says err 'judge.txt: judge prompt: no {response_a}'
# A key of another stage has no use, and is said with its line; lists are lists.
printf '# 1\nstage: pretrain\nsteps: 1\nties: drop\n' >"$tmp/one.yaml"
expect 2 "$GRAM" train "$tmp/one.yaml" --set model=x --set data=x --set out="$tmp/x"
says err 'one.yaml:4: key "ties": it is an option of the stage finetune'
printf 'pairs: 2\n' >"$tmp/two.yaml"
expect 2 "$GRAM" train "$tmp/two.yaml" --set model=x --set data=x --set out="$tmp/x"
says err 'two.yaml:1: key "pairs": it is an option of the stage pretrain'
rows 3 >"$tmp/more.jsonl"
printf 'Q {input}\nA {response_a}\nB {response_b}\nBetter:' >"$tmp/judge.txt"
cat >"$tmp/list.yaml" <<YAML
model: $PWD/tests/golden/train/judge
data: [pairs.jsonl, "more.jsonl"]
eval-file:          # the first decides
    - pairs.jsonl
    - more.jsonl
judge-prompt: judge.txt
out: by-list
steps: 1
batch-rows: 2
YAML
expect 0 "$GRAM" train "$tmp/list.yaml"
says err "1 step over 7 rows"
says err "more.jsonl, 3 rows, at step 1: "
printf 'data: [a, b\n' >"$tmp/open.yaml"
expect 1 "$GRAM" train "$tmp/open.yaml"
says err 'open.yaml: '
printf 'lr: [1, 2]\n' >"$tmp/open.yaml"
expect 1 "$GRAM" train "$tmp/open.yaml"
says err 'line 1'

printf 'Q {input}' >"$tmp/judge.txt"
printf 'lr: 1\n' >"$tmp/none.yaml"
expect 2 "$GRAM" train "$tmp/none.yaml"
says err 'key "model" is missing'
exit 0
