#!/bin/sh
# align.sh - `gram raft` and `gram rl` on the tiny model that reads bytes: a run, what comes of it, a resume, and what
# is refused in a sentence.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
model=$PWD/tests/golden/train/judge
for i in 1 2 3 4; do
    printf '{"prompt":"q%d"}\n' $i
done >"$tmp/p.jsonl"
# shellcheck disable=SC2016
judge='exec:while read -r l; do l=${l#*completion}; echo -${#l}; done'
cd "$tmp" || exit 1
# No option twice: popt loses the value that it had.
few="--max-new-tokens 8 --rollout-prompts 4 --batch-rows 2"
small="$few --samples 3 --steps 4"

# shellcheck disable=SC2086
expect 0 "$GRAM" raft "$model" p.jsonl --judge "$judge" --out a $small --cut keep --eval-file p.jsonl
says out "reward on 4 held-out prompts"
expect 0 "$GRAM" info a
[ "$(wc -l <a/samples.jsonl)" -eq 12 ] || die "12 answers are wanted in samples.jsonl"
# shellcheck disable=SC2086
expect 0 "$GRAM" raft "$model" p.jsonl --judge "$judge" --out a $small --cut keep --eval-file p.jsonl --resume
says err "holds a model already"
# shellcheck disable=SC2086
expect 0 "$GRAM" rl a p.jsonl --judge "$judge" --out b $small --lora-rank 2 --algorithm grpo
expect 0 "$GRAM" generate b p.jsonl --max-new-tokens 4 --out answers.jsonl

# shellcheck disable=SC2086
expect 2 "$GRAM" rl "$model" p.jsonl --out c $small
says err "judge"
# shellcheck disable=SC2086
expect 2 "$GRAM" raft "$model" p.jsonl --judge "$judge" --out c $small --algorithm grpo
says err "gram rl"
# shellcheck disable=SC2086
expect 1 "$GRAM" rl "$model" p.jsonl --judge nowhere/ --out c $small
says err "nowhere"
# A judge that compares cannot set prompts against each other.
# shellcheck disable=SC2086
expect 2 "$GRAM" raft "$model" p.jsonl --judge "$model" --out c $few --steps 4 --samples 2 --global
says err "compares answers to one prompt"
expect 2 "$GRAM" rl "$model" p.jsonl --judge "$judge" --out c
says err "max-new-tokens"
# What compares, as it is.
# shellcheck disable=SC2086
expect 0 "$GRAM" rl "$model" p.jsonl --judge "$model" --out d $few --samples 3 --steps 2 --cut keep
# shellcheck disable=SC2086
expect 0 "$GRAM" rl "$model" p.jsonl --judge "$model" --out e $few --samples 3 --steps 2 --cut keep --scheme reference \
    --against greedy

# Files of held-out prompts are one set, by a name of its own.
head -n 1 p.jsonl >first.jsonl
# shellcheck disable=SC2086
expect 0 "$GRAM" raft "$model" p.jsonl --judge "$judge" --out v $small --cut keep --eval-file first.jsonl \
    --eval-file p.jsonl
says err "first.jsonl and 1 more, 5 rows"

# Prompts as the policy reads them: too long ones are left out where that is asked for, and the template is one's own.
{ cat p.jsonl; echo '{"prompt":"a prompt that is longer than all of the others are"}'; } >long.jsonl
# shellcheck disable=SC2086
expect 1 "$GRAM" rl "$model" long.jsonl --judge "$judge" --out x $small --max-tokens 40
says err "--truncate drop"
# shellcheck disable=SC2086
expect 0 "$GRAM" rl "$model" long.jsonl --judge "$judge" --out t $small --max-tokens 40 --truncate drop --cut keep
says err "1 dropped as too long"
# shellcheck disable=SC2086
expect 0 "$GRAM" raft "$model" p.jsonl --judge "$judge" --out u $small --template chatml --cut keep
# shellcheck disable=SC2086
expect 2 "$GRAM" raft "$model" p.jsonl --judge "$judge" --out x $small --truncate balanced
says err "truncate"

printf '{"prompt":"h","reference":"zz"}\n' >given.jsonl
# shellcheck disable=SC2086
expect 0 "$GRAM" rl "$model" p.jsonl --judge "$model" --eval-judge "$model" --out w $few --samples 3 --steps 2 \
    --cut keep --eval-file given.jsonl

# PPO, and a judge that learns to reason about pairs by its own verdict.
# shellcheck disable=SC2086
expect 0 "$GRAM" rl "$model" p.jsonl --judge "$judge" --out f $few --algorithm ppo --steps 4 --updates 2 --cut keep
grep -q '"loss/value_avg"' f/metrics.jsonl || die "no loss of values in metrics.jsonl"
printf '{"prompt":"q1","chosen":"zz","rejected":"a"}\n{"prompt":"q2","chosen":"z","rejected":"aa"}\n' >few-pairs.jsonl
expect 0 "$GRAM" rl "$model" few-pairs.jsonl --judge self --out g --max-new-tokens 8 --samples 2 --steps 1 --cut keep \
    --batch-rows 2 --rollout-prompts 2 --lora-rank 2
grep -q '"order":1' g/samples.jsonl || die "no second order in samples.jsonl"
# Held-out pairs are read in both orders, and counted once.
{ head -n 1 few-pairs.jsonl; printf '{"prompt":"q3","chosen":"z","rejected":"a","tie":true}\n{no JSON\n'; } >half.jsonl
expect 0 "$GRAM" rl "$model" few-pairs.jsonl --judge self --out h --max-new-tokens 8 --samples 2 --steps 1 --cut keep \
    --batch-rows 2 --rollout-prompts 2 --eval-file half.jsonl --skip-bad
says err "half.jsonl: 1 of 3 rows are bad, and skipped, 1 of 3 rows are ties"
says err "2 of 2 held-out rows are training rows too"
[ "$(grep -c 'half.jsonl:3:' err)" -eq 1 ] || die "a bad row is told of twice"
# shellcheck disable=SC2086
expect 2 "$GRAM" rl "$model" few-pairs.jsonl --judge self --out x $few --algorithm remax --samples 2
says err "remax"

# Answers that somebody else wrote.
for i in 1 2 3 4; do
    printf '{"prompt":"q%d","chosen":"zzzz","rejected":"aaaa"}\n' $i
done >pairs.jsonl
printf '{"prompt":"q1","completion":"zz","label":true}\n{"prompt":"q2","completion":"aaa","label":false}\n' >kto.jsonl
expect 0 "$GRAM" finetune "$model" pairs.jsonl --out dpo --loss dpo --lr 1e-3 --steps 8 --batch-rows 4 \
    --eval-file pairs.jsonl
says out "100.0 %"
[ "$(wc -l <dpo/reference.jsonl)" -eq 9 ] || die "reference.jsonl: a digest and 8 rows are wanted"
grep -q '"rewards/margins"' dpo/metrics.jsonl || die "no margins in metrics.jsonl"
expect 0 "$GRAM" finetune "$model" kto.jsonl --out kto --loss kto --lr 1e-3 --steps 4 --batch-rows 2 --lora-rank 2 \
    --reference dpo
expect 1 "$GRAM" finetune "$model" pairs.jsonl --out x --loss kto
says err "label"
expect 2 "$GRAM" finetune "$model" pairs.jsonl --out x --loss simpo --reference dpo
says err "--reference: it is an option of the losses dpo, cdpo, ipo and kto"
expect 2 "$GRAM" finetune "$model" pairs.jsonl --out x --loss dpo --labels C,D
says err "labels"
