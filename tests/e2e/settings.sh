#!/bin/sh
# Each option of a command that writes lines is the setting of its name: what stands beside the lines of how they were
# made (NAME.how) has the values that were given, all of them different.
. tests/e2e/lib.sh
m=tests/golden/train/judge
for i in 1 2; do
    printf '{"question":"q%d","chosen":"a","rejected":"b"}\n' $i >>"$tmp/pairs.jsonl"
    printf '{"question":"q%d"}\n' $i >>"$tmp/prompts.jsonl"
done
printf 'Q {input}\n1 {response_a}\n2 {response_b}\nBetter:' >"$tmp/judge.txt"

has() {         # has TEXT...: each is a setting
    for text in "$@"; do
        says lines.how "$text"
    done
}

noted "$tmp/lines" generate "$m" "$tmp/prompts.jsonl" --n 2 --temperature 0.5 --top-k 11 --top-p 0.875 --min-p 0.0625 \
    --repetition-penalty 1.25 --presence-penalty 0.25 --frequency-penalty 0.125 --min-new-tokens 3 --max-new-tokens 6 \
    --stop xyz --stop-ids 5,7 --seed 9 --products tiles --logprobs --columns prompt=question
has '"n": 2' '"temperature": 0.5' '"top_k": 11' '"top_p": 0.875' '"min_p": 0.0625' '"repetition_penalty": 1.25' \
    '"presence_penalty": 0.25' '"frequency_penalty": 0.125' '"min_new_tokens": 3' '"max_new_tokens": 6' '"xyz"' \
    '"seed": 9' '"products": "tiles"' '"logprobs": true' '"columns": "prompt=question"'
tr -d ' \n' <"$tmp/lines.how" | grep -q '"stop_ids":\[5,7\]' || die "the tokens that end an answer are others"
noted "$tmp/lines" generate "$m" "$tmp/prompts.jsonl" --greedy --max-new-tokens 1 --columns prompt=question
has '"top_k": 0' '"logprobs": false'
tr -d ' \n' <"$tmp/lines.how" | grep -q '"generation":{"temperature":0.0,' || die "--greedy draws"

noted "$tmp/lines" score "$m" "$tmp/pairs.jsonl" --rationale --votes 4 --rationale-tokens 5 --temperature 0.5 \
    --top-k 11 --top-p 0.875 --min-p 0.0625 --seed 9 --early 2 --sure 0.75 --products few --labels 1,2 \
    --max-tokens 1999 --truncate balanced --columns prompt=question
has '4 votes of at most 5 tokens, temperature 0.5, top_p 0.875, top_k 11, min_p 0.0625, seed 9, early 2 (0.75)' \
    'products few' '"label A": "1"' '"label B": "2"' '"max tokens": 1999' '"truncate": 1' '"single order": false'
sed -n 's/.*"judge prompt": //p' "$tmp/lines.how" >"$tmp/own"
noted "$tmp/lines" score "$m" "$tmp/pairs.jsonl" --judge-prompt "$tmp/judge.txt" --single-order \
    --columns prompt=question
has '"single order": true' '"reasons": null'
sed -n 's/.*"judge prompt": //p' "$tmp/lines.how" | cmp -s - "$tmp/own" && die "--judge-prompt is another's"

# A byte-order mark is no part of a judge prompt, a template, a form of reasons or a recipe.
marked() {      # marked FILE: the file with one in front of it, in $tmp/marked
    { printf '\357\273\277'; cat "$1"; } >"$tmp/marked"
}
without_mark() {        # without_mark FILE COMMAND...: the command, whose last option is this file's, and with a mark
    file=$1
    shift
    noted "$tmp/plain" "$@" "$file"
    marked "$file"
    noted "$tmp/lines" "$@" "$tmp/marked"
    cmp "$tmp/plain" "$tmp/lines" || die "$*: a byte-order mark changes what is written"
    cmp "$tmp/plain.how" "$tmp/lines.how" || die "$*: a byte-order mark is noted as another"
}
printf '{"opening":"<w>","closing":"</w>","cue":"so","ending":"."}\n' >"$tmp/form.json"
printf '{%% for m in messages %%}{{ m.role }}: {{ m.content }}\n{%% endfor %%}' >"$tmp/chat.jinja"
set -- score "$m" "$tmp/pairs.jsonl" --columns prompt=question
without_mark "$tmp/judge.txt" "$@" --judge-prompt
without_mark "$tmp/chat.jinja" "$@" --template
without_mark "$tmp/form.json" "$@" --rationale --rationale-tokens 2 --rationale-format
marked "$tmp/chat.jinja"
printf '{"messages":[{"role":"user","content":"q"}]}\n' >"$tmp/turns.jsonl"
expect 0 "$GRAM" render --template "$tmp/chat.jinja" "$tmp/turns.jsonl"
cp "$tmp/out" "$tmp/plain"
expect 0 "$GRAM" render --template "$tmp/marked" "$tmp/turns.jsonl"
cmp "$tmp/out" "$tmp/plain" || die "a byte-order mark is rendered"
printf 'stage: finetune\nmodel: %s\ndata:\n  - %s\nout: %s\nsteps: 1\n' "$PWD/$m" "$tmp/pairs.jsonl" "$tmp/run" \
    >"$tmp/recipe"
marked "$tmp/recipe"
expect 0 "$GRAM" train "$tmp/marked" --set columns=prompt=question --set threads=1
sed 's/steps/stepz/' "$tmp/recipe" >"$tmp/wrong"
marked "$tmp/wrong"
expect 2 "$GRAM" train "$tmp/marked"
says err 'marked:6: there is no key "stepz"'

noted "$tmp/lines" prove "$m" "$tmp/pairs.jsonl" --k 3 --max-new-tokens 5 --temperature 0.5 --top-p 0.875 --seed 9 \
    --least -2 --products few --columns prompt=question
has '"k": 3' '"max_tokens": 5' '"sampling temperature": 0.5' '"top_p": 0.875' '"seed": 9' '"least": -2.0' \
    '"products": "few"'

noted "$tmp/lines" bon "$m" "$tmp/prompts.jsonl" --judge "$m" --n 3 --max-new-tokens 5 --seed 9 --by linear \
    --unit preference --judge-votes 2 --judge-tokens 7 --judge-format rm-r1 --columns prompt=question
has '"n": 3' '"max_new_tokens": 5' '"seed": 9' \
    'behind 2 rationales of at most 7 tokens (rm-r1, seed 0): linear, preferences less 1/2'
noted "$tmp/lines" bon "$m" "$tmp/prompts.jsonl" --judge tests/golden/rewards/purm --lambda 3 --n 2 --max-new-tokens 2 \
    --columns prompt=question --gold tests/golden/rewards/qwen3
has '"lambda": 3.0' '"gold": {'
printf '{"prompt":"q","responses":["a","b"]}\n' >"$tmp/group.jsonl"
expect 0 "$GRAM" bon "$tmp/group.jsonl" --judge "$m" --seconds
says out '"seconds":'
expect 1 "$GRAM" bon "$tmp/group.jsonl" --judge 'exec:sleep 20' --judge-timeout 0.5
says err '0.5 seconds'
exit 0
