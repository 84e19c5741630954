#!/bin/sh
# Rows as people have them: each is read as it is meant, or refused by name; tests/cases/rows holds the inputs. Behind
# each of them stands another shape of the same habit. What the model reads is shown, its lines joined by "~".
. tests/e2e/lib.sh
m=tests/golden/rewards/llama
cases=tests/cases/rows
asked='<|im_start|>user~' end='<|im_end|>~' said='<|im_start|>assistant~'

show() {        # show FILE OPTION...: into $tmp/shown, one line
    expect 0 "$GRAM" score "$m" "$@" --show-prompt
    tr '\n' '~' <"$tmp/out" >"$tmp/shown"
    expect 0 "$GRAM" score "$m" "$@"
}

reads() {       # reads FILE ORDER TEXT: the row is shown so, and scored
    show "$1"
    says shown "$2 ====~$3$end~"
}

row() {         # row JSON...: a file of these rows, $tmp/row.jsonl
    printf '%s\n' "$@" >"$tmp/row.jsonl"
}

reads_row() {   # reads_row JSON ORDER TEXT
    row "$1"
    reads "$tmp/row.jsonl" "$2" "$3"
}

refuses() {     # refuses FILE TEXT...: by score and by --show-prompt, and no number is printed
    file=$1
    shift
    for how in "" --show-prompt; do
        # shellcheck disable=SC2086  # no option, or one
        expect 1 "$GRAM" score "$m" "$file" $how
        [ ! -s "$tmp/out" ] || die "$file: refused, and something is printed"
        for text in "$@"; do
            says err "$text"
        done
    done
}

refuses_row() { # refuses_row JSON TEXT...
    row "$1"
    shift
    refuses "$tmp/row.jsonl" "$@"
}

# Tools: in answers, in turns, in a column.
refuses $cases/answer_tool_calls_dropped.jsonl '"tool_calls"' 'jsonl:1'
refuses $cases/answer_tool_calls_alone.jsonl '"tool_calls"' 'jsonl:1'
refuses $cases/tool_role_passes.jsonl tool 'jsonl:1'
refuses $cases/row_tools_column_dropped.jsonl '"tools"' 'jsonl:1'
refuses_row '{"prompt":"q","chosen":{"role":"assistant","content":"x","reasoning_content":"hm"},"rejected":"y"}' \
    '"reasoning_content"'
refuses_row '{"prompt":"q","tools":"[{\"name\": \"f\"}]","chosen":"x","rejected":"y"}' '"tools"'
row '{"prompt":"q","tools":[{"a":1}],"chosen":"x","rejected":"y"}' '{"prompt":"q","chosen":"x","rejected":"y"}'
expect 0 "$GRAM" score "$m" "$tmp/row.jsonl" --skip-bad
[ "$(wc -l <"$tmp/out")" -eq 1 ] || die "a row that the template cannot write is not skipped"
says err "1 bad row skipped"
expect 0 "$GRAM" eval "$m" "$tmp/row.jsonl" --skip-bad
says out "bad and skipped"
row '{"prompt":"q","chosen":"x","rejected":"y"}' '{"prompt":"q","tools":[{"a":1}],"chosen":"x","rejected":"y"}' \
    '{"prompt":"q","chosen":"xx","rejected":"y"}' '{"prompt":"q","chosen":"xxx","rejected":"y"}'
noted "$tmp/whole.jsonl" score "$m" "$tmp/row.jsonl" --skip-bad
mv "$tmp/whole.jsonl.how" "$tmp/parts.jsonl.how"
head -n 2 "$tmp/whole.jsonl" >"$tmp/parts.jsonl.partial"
expect 0 "$GRAM" score "$m" "$tmp/row.jsonl" --skip-bad --resume --out "$tmp/parts.jsonl"
cmp "$tmp/whole.jsonl" "$tmp/parts.jsonl" || die "a resumed run that skips a row gives other lines"

# What belongs to the question.
reads $cases/context_string_dropped.jsonl forward \
    "${asked}The shop opens at nine and closes at five.~~When does the shop close?$end${said}At five."
refuses_row '{"prompt":"q","context":[{"role":"user","content":"p"}],"chosen":"x","rejected":"y"}' '"context"'
refuses $cases/system_key_beside_system_turn.jsonl system
reads_row '{"system_prompt":"be","question":"q","chosen":"x","rejected":"y"}' swapped \
    "<|im_start|>system~be$end${asked}q$end${said}y"

# Conversations in one text, or in a string.
reads $cases/extra_id_turn_marks.jsonl swapped \
    "${asked}What is 2+2?$end${said}4.$end${asked}And 3+3?$end${said}7."
reads $cases/hh_transcripts_beside_prompt.jsonl forward \
    "${asked}How do I boil an egg?$end${said}Ten minutes in hot water."
reads $cases/hh_without_leading_newlines.jsonl forward \
    "${asked}What is 2+2?$end${said}4.$end${asked}And 3+3?$end${said} It is 6."
reads_row '{"chosen":"Human: q\n\nAssistant: x","rejected":"\n\nHuman: q\n\nAssistant: y"}' swapped \
    "${asked}q$end${said}y"
refuses_row '{"prompt":"<|user|>\nq\n<|assistant|>\n","chosen":"x","rejected":"y"}' '<|user|>'
show $cases/stringified_messages.jsonl
says shown ":1, forward ====~${asked}Hi$end${said}Hello!$end~"
says shown ":2, swapped ====~${asked}Hi$end${said}Go away.$end~"
refuses_row '{"prompt":"q","chosen":"[{'"'role': 'assistant', 'content': 'x"'","rejected":"y"}' \
    "a list of messages in a string"
reads $cases/conv_a_conv_b.jsonl forward "${asked}2+2?$end${said}4"
said_x='[{"role":"user","content":"q"},{"role":"assistant","content":"x"}]'
refuses_row '{"conversation_a":'"$said_x"',"conversation_b":[],"winner":"model_a"}' \
    'must end with a turn of the assistant'

# Verdicts.
show $cases/verdict_letters.jsonl
for n in 1 2 3; do
    says shown ":$n, forward ====~${asked}2+2?$end${said}4$end~"
done
reads_row '{"prompt":"q","response_a":"x","response_b":"y","model_a":"m7","model_b":"m9","winner":"m9"}' forward \
    "${asked}q$end${said}y"
show $cases/winner_tie_bothbad.jsonl
says shown ":2, forward ====~${asked}Name a fish.$end${said}Cod.$end~"
expect 0 "$GRAM" eval "$m" $cases/winner_tie_bothbad.jsonl
says out "called a tie by the data"
for skip in "" --skip-bad; do
    for command in score eval; do
        # shellcheck disable=SC2086  # no option, or one
        expect 1 "$GRAM" $command "$m" $cases/label_zero_one.jsonl $skip
        says err '"label" is 0, and 1 and 2 are read of it'
        [ ! -s "$tmp/out" ] || die "rows with labels 0 and 1 are judged"
    done
done
show $cases/label_zero_one.jsonl --columns better_response_id=label
says shown ":2, forward ====~${asked}2+2?$end${said}4$end~"
row '{"prompt":"q","responses":["x","y"],"best":1}' '{"prompt":"q","responses":["x","y"],"best":2}'
expect 1 "$GRAM" score "$m" "$tmp/row.jsonl" --skip-bad
[ ! -s "$tmp/out" ] || die "rows that count from 1 are judged"
sed 's/"label": 0/"label": 1/; t; s/"label": 1/"label": 2/' $cases/label_zero_one.jsonl >"$tmp/row.jsonl"
# shellcheck disable=SC2016  # what `sh -c` runs expands there
expect 0 sh -c '"$GRAM" score tests/golden/rewards/llama - <"$1"' sh "$tmp/row.jsonl"
reads $cases/ranked_completions.jsonl forward "${asked}2+2?$end${said}4"

# Equal answers are a tie, by score, eval and rank.
expect 0 "$GRAM" score "$m" $cases/identical_answers_one_row.jsonl
says out '"preference":0.5,"p_forward":0.5,"p_swapped":null,"logit_margin":0.0,"consistent":true'
expect 0 "$GRAM" eval "$m" $cases/identical_answers_one_row.jsonl
says out "75.0"
tiny_model "$tmp/judge"
row '{"prompt":"q","chosen":[{"role":"assistant","content":"x"}],"rejected":"x"}'
expect 0 "$GRAM" score "$tmp/judge" "$tmp/row.jsonl"
says out '"preference":0.5,"p_forward":0.5,"p_swapped":0.5,"logit_margin":0.0,"consistent":true'
expect 0 "$GRAM" score "$tmp/judge" "$tmp/row.jsonl" --single-order
says out '"preference":0.5,"p_forward":0.5,"p_swapped":null,"logit_margin":0.0,"consistent":true'
echo '{"prompt":"q","responses":["x","x","x"]}' >"$tmp/row.jsonl"
expect 0 "$GRAM" rank "$m" "$tmp/row.jsonl"
says out '"ranking":[0,1,2]'

# RewardBench 2 by its own rules: best of four, and Ties.
expect 0 "$GRAM" eval "$m" $cases/rewardbench2_rules.jsonl --rules rewardbench2
says out "  Math                              1"
says out "  Ties                              1"
sed 's/"Math"/"Music"/' $cases/rewardbench2_rules.jsonl >"$tmp/row.jsonl"
expect 1 "$GRAM" eval "$m" "$tmp/row.jsonl" --rules rewardbench2
says err "Factuality, Precise IF, Math, Safety, Focus or Ties"

# Values that JSON does not know.
expect 1 "$GRAM" score "$m" $cases/lone_surrogate.jsonl
says err "the chosen answer holds a lone surrogate"
expect 0 "$GRAM" score "$m" $cases/lone_surrogate.jsonl --skip-bad
says out 'jsonl:2"'
for file in nan_in_unused_key uint64_in_unused_key; do
    expect 0 "$GRAM" score "$m" $cases/$file.jsonl
done
refuses_row '{"prompt":"q","chosen":"x","rejected":"y","margin":NaN}' '"margin"' NaN
row '{"id":18446744073709551615,"prompt":"q","chosen":"x","rejected":"y","a":[{"b":-Infinity,"c":"\udc00\u0000"}]}'
expect 0 "$GRAM" score "$m" "$tmp/row.jsonl"
says out '"id":"18446744073709551615"'

# Files that are no text are called what they are.
expect 1 "$GRAM" score "$m" $cases/lfs_pointer_rows.jsonl
says err "a Git LFS pointer"
expect 1 "$GRAM" score "$m" $cases/rows.parquet
says err "a Parquet file"
says err "to_json"
gzip -c $cases/rows.parquet >"$tmp/rows.jsonl"
expect 1 "$GRAM" score "$m" "$tmp/rows.jsonl"
says err "a Parquet file"
printf '\377\376{\000' >"$tmp/rows.jsonl"
expect 1 "$GRAM" score "$m" "$tmp/rows.jsonl"
says err "UTF-16"
printf '\n<!DOCTYPE html>\n<html>' >"$tmp/rows.jsonl"
expect 1 "$GRAM" eval "$m" "$tmp/rows.jsonl"
says err "a page of HTML"
printf '(\265/\375 compressed' >"$tmp/rows.jsonl"
expect 1 "$GRAM" rank "$m" "$tmp/rows.jsonl"
says err "zstd"

# What is read is not written over.
row '{"prompt":"q","chosen":"x","rejected":"y"}'
cp "$tmp/row.jsonl" "$tmp/kept.jsonl"
ln -s row.jsonl "$tmp/link.jsonl"
for out in row link; do
    expect 2 "$GRAM" score "$m" "$tmp/row.jsonl" --out "$tmp/$out.jsonl"
    says err "is what is read"
    expect 2 "$GRAM" eval "$m" "$tmp/row.jsonl" --rows "$tmp/$out.jsonl"
    says err "is what is read"
done
expect 2 "$GRAM" eval "$m" "$tmp/row.jsonl" --json "$tmp/row.jsonl"
cmp "$tmp/row.jsonl" "$tmp/kept.jsonl" || die "rows are gone"
rm "$tmp/link.jsonl"

# Columns by other names, for each command that reads rows.
row '{"q":{"text":"q"},"good":"x","bad":"y"}'
expect 0 "$GRAM" score "$m" "$tmp/row.jsonl" --columns prompt=q.text,chosen=good,rejected=bad
expect 0 "$GRAM" eval "$m" "$tmp/row.jsonl" --columns prompt=q.text,chosen=good,rejected=bad
expect 2 "$GRAM" score "$m" "$tmp/row.jsonl" --columns promt=q
says err '"promt" is no key that is read'
row '{"q":"q","list":["x","y"]}'
expect 0 "$GRAM" rank "$m" "$tmp/row.jsonl" --columns prompt=q,responses=list
row '{"q":"q","good":"x","bad":"y"}'
expect 0 "$GRAM" finetune "$tmp/judge" "$tmp/row.jsonl" --steps 1 -b 1 --out "$tmp/trained" \
    --columns prompt=q,chosen=good,rejected=bad
expect 1 "$GRAM" finetune "$tmp/judge" $cases/weight_zero_rows.jsonl --loss bt --steps 1 -b 3 --out "$tmp/none"
says err "weight"

# Criteria go into the judge prompt, or the row is named.
plain='{"id":"plain","prompt":"q","chosen":"xx","rejected":"y"}'
ruled='{"id":"ruled","prompt":"q","chosen":"xx","rejected":"y","criteria":"Be brief."}'
row "$plain" "$ruled"
expect 0 "$GRAM" score "$tmp/judge" "$tmp/row.jsonl" --show-prompt
[ "$(grep -c '^Judge by these criteria before all else:$' "$tmp/out")" -eq 2 ] || die "criteria are not in the prompt"
[ "$(grep -c '^Be brief.$' "$tmp/out")" -eq 2 ] || die "criteria are not in the prompt"
expect 0 "$GRAM" score "$tmp/judge" "$tmp/row.jsonl"
printf 'Q {input} 1 {response_a} 2 {response_b}\n' >"$tmp/without.txt"
printf 'C {criteria} Q {input} 1 {response_a} 2 {response_b}\n' >"$tmp/with.txt"
for command in score eval; do
    expect 2 "$GRAM" $command "$tmp/judge" "$tmp/row.jsonl" --judge-prompt "$tmp/without.txt"
    says err "row ruled: "
    says err "there are criteria to judge by, and the judge prompt has no {criteria}"
    expect 2 "$GRAM" $command "$tmp/judge" "$tmp/row.jsonl" --judge-prompt "$tmp/with.txt"
    says err "row plain: "
    says err "the judge prompt has {criteria}, and there are none"
    expect 0 "$GRAM" $command "$tmp/judge" "$tmp/row.jsonl" --judge-prompt "$tmp/with.txt" --skip-bad
    says err "1 bad row skipped"
done
proofs="--judge-prompt $tmp/without.txt --k 1 --max-new-tokens 1"
expect 2 "$GRAM" prove "$tmp/judge" "$tmp/row.jsonl" $proofs
says err "row ruled: there are criteria to judge by, and the judge prompt has no {criteria}"
row "$plain" "$ruled" '{"prompt":"q","chosen":"xxx","rejected":"y"}' '{"prompt":"q","chosen":"xxxx","rejected":"y"}'
noted "$tmp/proofs.jsonl" prove "$tmp/judge" "$tmp/row.jsonl" $proofs --skip-bad
[ "$(wc -l <"$tmp/proofs.jsonl")" -eq 3 ] || die "proofs of other rows than the three good ones"
mv "$tmp/proofs.jsonl.how" "$tmp/some.jsonl.how"
head -n 2 "$tmp/proofs.jsonl" >"$tmp/some.jsonl.partial"
expect 0 "$GRAM" prove "$tmp/judge" "$tmp/row.jsonl" $proofs --skip-bad --resume --out "$tmp/some.jsonl"
says err "1 bad row skipped"
cmp "$tmp/proofs.jsonl" "$tmp/some.jsonl" || die "resumed proofs that skip a row are other lines"
row "$plain" "$ruled"
expect 2 "$GRAM" score "$tmp/judge" "$tmp/row.jsonl" --judge-prompt "$tmp/without.txt" --rationale --rationale-tokens 4
says err "ruled: there are criteria"
row '{"id":"group","prompt":"q","responses":["x","y"],"criteria":"Be brief."}'
expect 0 "$GRAM" rank "$tmp/judge" "$tmp/row.jsonl" --judge-prompt "$tmp/with.txt"
expect 2 "$GRAM" rank "$tmp/judge" "$tmp/row.jsonl" --judge-prompt "$tmp/without.txt"
says err "group: "
says err "there are criteria"
row "$plain" "$ruled"
expect 1 "$GRAM" finetune "$tmp/judge" "$tmp/row.jsonl" --loss bt --steps 1 -b 2 --out "$tmp/none"
says err "there are criteria to judge by, which a reward model does not read"
