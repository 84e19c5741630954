#!/bin/sh
# gram eval: --verdicts says of each row its own texts, in every benchmark's form; --compare says who read shortened
# ones.
# shellcheck source=tests/e2e/lib.sh
. tests/e2e/lib.sh
tiny_model "$tmp/m"

# Rows without a verdict, ids that repeat, and a file that is read twice.
cat >"$tmp/a.jsonl" <<'ROWS'
{"id":"x","prompt":"a tie","chosen":"a","rejected":"b","tie":true}
{"id":"x","prompt":"the first","chosen":"aa","rejected":"b"}
{"id":"x","prompt":"not read","chosen":5,"rejected":"b"}
{"id":"x","prompt":"the second","chosen":"a","rejected":"bbb"}
ROWS
expect 0 "$GRAM" eval "$tmp/m" "$tmp/a.jsonl" "$tmp/a.jsonl" --verdicts --skip-bad
sed -n 's/^x  *\(the [a-z]*\|[a-z ]*\)  .*/\1/p' "$tmp/out" | tr '\n' ',' >"$tmp/told"
[ "$(cat "$tmp/told")" = "the first,the second,the first,the second," ] || die "verdicts are said of $(cat "$tmp/told")"
cat >"$tmp/two.jsonl" <<'ROWS'
{"id":"7","prompt":"what","chosen":["a"],"rejected":["bb","c","d"],"subset":"Math"}
ROWS
expect 0 "$GRAM" eval "$tmp/m" "$tmp/two.jsonl" --rules rewardbench2 --verdicts
[ "$(grep -c '^7#[012]  *what ' "$tmp/out")" -eq 3 ] || die "no verdicts of an item's three pairs"
expect 2 "$GRAM" eval "$tmp/m" - --verdicts <"$tmp/a.jsonl"
says err "this can be read once"

# A soft label that speaks against the answer that its row calls chosen.
printf '{"prompt":"q","chosen":"a","rejected":"b","soft":0.%s}\n' 2 3 5 9 >"$tmp/soft.jsonl"
expect 0 "$GRAM" eval "$tmp/m" "$tmp/soft.jsonl"
says err "2 rows have a soft label below 0.5"

for i in 20 400; do
    printf '{"prompt":"q","chosen":"%s","rejected":"no"}\n' "$(seq -s ' ' "$i")"
done >"$tmp/long.jsonl"
expect 0 "$GRAM" eval "$tmp/m" "$tmp/long.jsonl" --json "$tmp/whole.json"
expect 0 "$GRAM" eval "$tmp/m" "$tmp/long.jsonl" --json "$tmp/cut.json" --max-tokens 1700 --truncate balanced
# The row has a name; which of a batch it was says nothing.
expect 1 "$GRAM" eval "$tmp/m" "$tmp/long.jsonl" --max-tokens 1700
says err "long.jsonl:2: the pair takes"
expect 0 "$GRAM" eval --compare "$tmp/whole.json" "$tmp/cut.json"
grep -q '^B read 1 row on shortened text$' "$tmp/out" || die "nothing is said of shortened text"
grep -q '^A read' "$tmp/out" && die "A read the whole text"
for option in --lambda=3 --dtype=int8 --columns=prompt=q --skip-bad --shard=0/2 --single-order --rationale; do
    expect 2 "$GRAM" eval --compare "$tmp/whole.json" "$tmp/cut.json" "$option"
    says err "takes --json and --rows"
done
exit 0
