#!/bin/sh
# shipped.sh - the judge that is used where no MODEL is named, judge.json and its temperature, and what is said where
# they are missing. The judge is a tiny one, made here.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
model=$PWD/tests/golden/train/judge
top=$PWD
cd "$tmp" || exit 1
for i in 1 2 3 4 5 6 7 8; do
    printf '{"id":"r%d","prompt":"q%d","chosen":"zz%dzz","rejected":"aa%daa"}\n' $i $i $((i % 3)) $((i % 4))
done >pairs.jsonl
printf '{"id":"g","prompt":"q","responses":["zz","ab","za","aa","zb"]}\n' >groups.jsonl
real=$GRAM_MODEL
unset GRAM_MODEL GRAM_JUDGE
export GRAM_CACHE="$tmp/cache" HOME="$tmp/home" PIP_CONFIG_FILE=/dev/null
mkdir cache

# An adapter over one GGUF that its configuration names by a name which is nowhere, and a card that says what it is.
expect 0 "$GRAM" convert "$model" --out cache/tiny.gguf
expect 0 "$GRAM" finetune cache/tiny.gguf pairs.jsonl --out trained --lora-rank 2 --lr 1e-2 --steps 2 --batch-rows 4 \
    --loss bt
mkdir judge
cp trained/adapter_model.safetensors judge
sed 's|"base_model_name_or_path": "[^"]*"|"base_model_name_or_path": "somebody/tiny"|' trained/adapter_config.json \
    >judge/adapter_config.json
expect 1 "$GRAM" score judge pairs.jsonl
says err "somebody/tiny"
bytes=$(wc -c <cache/tiny.gguf)
card() {        # card TEMPERATURE [BYTES]
    printf '{"name":"tiny-judge","temperature":%s,"base":{"file":"tiny.gguf","bytes":%s}}' "$1" "${2-$bytes}" \
        >judge/judge.json
}
card 1
export GRAM_JUDGE="$tmp/judge"

# Without MODEL it is that judge, and it says so on one line; with it the numbers are the same.
expect 0 "$GRAM" score pairs.jsonl --out without.jsonl
says err "note: the judge is tiny-judge ($tmp/judge) over $tmp/cache/tiny.gguf, temperature 1"
[ "$(grep -c 'the judge is' "$tmp/err")" = 1 ] || die "the judge is not told of once"
expect 0 "$GRAM" score judge pairs.jsonl --out with.jsonl
cmp -s with.jsonl without.jsonl || die "with and without MODEL the numbers differ"
expect 0 "$GRAM" score - --out piped.jsonl <pairs.jsonl
cmp -s piped.jsonl without.jsonl || die "through a pipe the numbers differ"
expect 0 "$GRAM" rank groups.jsonl --out ranks.jsonl
says err "tiny-judge"
expect 0 "$GRAM" eval pairs.jsonl --json one.json
grep -q '"model": "tiny-judge"' one.json || die "the numbers do not say which judge they are of"
mkdir folder
cp pairs.jsonl folder
expect 0 "$GRAM" eval folder
expect 0 "$GRAM" info
says out "judge         tiny-judge"
expect 0 "$GRAM" score pairs.jsonl --quiet
[ ! -s err ] || die "--quiet is not quiet"

# A temperature is in the probabilities, and in nothing that orders.
card 0.25
expect 0 "$GRAM" score pairs.jsonl --out hot.jsonl
expect 0 "$GRAM" rank groups.jsonl --out hot-ranks.jsonl
expect 0 "$GRAM" info judge
says out "temperature   0.25, from judge.json"
python3 - <<'X' || die "the temperature is not where it should be"
import json, math
for a, b in zip(map(json.loads, open("without.jsonl")), map(json.loads, open("hot.jsonl"))):
    assert a["logit_margin"] == b["logit_margin"] and a["reward"] == b["reward"] and b["temperature"] == 0.25
    assert abs(b["preference"] - 1 / (1 + math.exp(-b["logit_margin"] / 0.25))) < 1e-12
a, b = (json.loads(open(f).readline()) for f in ("ranks.jsonl", "hot-ranks.jsonl"))
assert {k: v for k, v in a.items() if "tokens" not in k} == {k: v for k, v in b.items() if "tokens" not in k}
X
printf '{"t": 1}\n' >template.txt
expect 0 "$GRAM" score pairs.jsonl --template chatml --out own.jsonl
says err "the temperature in judge.json is left out"
grep -q '"temperature"' own.jsonl && die "a temperature of another template was used"

# It is found on rows with labels, beside what the card says already.
sed 's/"chosen"/"x"/; s/"rejected"/"chosen"/; s/"x"/"rejected"/' pairs.jsonl | head -n 3 >wrong.jsonl
cat pairs.jsonl wrong.jsonl >mixed.jsonl
expect 0 "$GRAM" eval mixed.jsonl --fit-temperature judge/judge.json
says out "probabilities at temperature 0.25"
says out "fits 11 pairs best: ECE"
python3 - <<'X' || die "the card was not written as it should be"
import json
c = json.load(open("judge/judge.json"))
assert c["name"] == "tiny-judge" and c["base"]["file"] == "tiny.gguf" and c["temperature"] != 0.25
assert c["calibration"]["pairs"] == 11 and c["calibration"]["nll_after"] <= c["calibration"]["nll_before"]
X
expect 0 "$GRAM" eval mixed.jsonl --fit-temperature fresh.json
grep -q '"sha256"' fresh.json || die "a new card does not say its base"
printf '{"name": "another", "reads": {"labels": ["1", "2"]}}\n' >another.json
cp another.json kept.json
expect 2 "$GRAM" eval mixed.jsonl --fit-temperature another.json
says err "it names another, and the temperature is that of a judge whose judge.json names tiny-judge"
cmp -s another.json kept.json || die "another judge's card was written"
sed 's/"bytes": [0-9]*/"bytes": 5/' judge/judge.json >another.json
expect 2 "$GRAM" eval mixed.jsonl --fit-temperature another.json
says err "the judge was asked over another"
cp judge/judge.json before.json
expect 2 "$GRAM" eval wrong.jsonl --fit-temperature judge/judge.json
one_of=$(grep -c 'no temperature fits' err)
[ "$one_of" = 1 ] || { cat err; die "a fit that has no end is not refused"; }
cmp -s before.json judge/judge.json || die "a fit that failed changed the card"
expect 2 "$GRAM" eval folder --fit-temperature x.json

# What is neither rows nor a model, or a model alone, is no reason to guess.
expect 2 "$GRAM" score judge
says err "what it is to judge is missing"
expect 2 "$GRAM" eval cache/tiny.gguf
expect 1 "$GRAM" score nothing.jsonl
says err "nothing.jsonl: No such file"
printf 'some text\n' >words
expect 2 "$GRAM" score words
says err "words is no model"
: >empty
expect 1 "$GRAM" eval empty pairs.jsonl
grep -q 'the judge is' err && die "an empty file was taken for rows, and the judge for the model"
card 1
expect 0 "$GRAM" score folder --out folder.jsonl
cmp -s folder.jsonl without.jsonl || die "a folder of rows gives other numbers"
expect 0 "$GRAM" score 'pai*.jsonl' --out pattern.jsonl
cmp -s pattern.jsonl without.jsonl || die "a pattern gives other numbers"

# The base must be the one that the card names; without it one sentence says what to do.
card 1 12
expect 1 "$GRAM" score pairs.jsonl
says err "its base model tiny.gguf of 12 bytes is nowhere that was looked"
one_sentence
printf '{"name":"j","base":{"file":"SmolLM2-135M-Instruct.Q4_1.gguf","bytes":98362432,"sha256":"%s"}}' \
    b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53 >judge/judge.json
expect 1 env GRAM_CACHE=/nonexistent "$top/$B/gram" score pairs.jsonl --base nowhere.gguf
says err "nowhere.gguf"
printf '{"name":"j","tempreature":2}' >judge/judge.json
expect 1 "$GRAM" score pairs.jsonl
says err 'the key "tempreature" is not known'
one_sentence

# A copy of the program in another place finds the judge that stands with it.
card 1
unset GRAM_JUDGE
mkdir -p place/bin place/share/gram/judge
cp -r judge place/share/gram/judge/generative
cp "$GRAM" place/bin/gram
expect 0 place/bin/gram score pairs.jsonl --out installed.jsonl
says err "tiny-judge ($tmp/place/share/gram/judge/generative)"
cmp -s installed.jsonl without.jsonl || die "an installed judge gives other numbers"
cp -r judge place/share/gram/judge/scalar
expect 0 place/bin/gram score pairs.jsonl --out installed.jsonl
says err "judge/scalar)"
rm -r place/share
expect 1 place/bin/gram score pairs.jsonl
says err "no judge came with this program"
one_sentence

# The server says it too, and answers with the temperature.
export GRAM_JUDGE="$tmp/judge"
card 0.5
serve
says serve.err "the judge is tiny-judge ($tmp/judge) over $tmp/cache/tiny.gguf, temperature 0.5"
expect 0 "$GRAM" score --server "http://127.0.0.1:$port" pairs.jsonl --out served.jsonl
expect 0 "$GRAM" score pairs.jsonl --out here.jsonl
cmp -s served.jsonl here.jsonl || die "the server gives other numbers"
kill $server
wait $server || die "the server ended badly"

# What is shipped names no path of the machine that it was made on, and opens over the base that is fetched.
for d in "$top"/data/judge/*/; do
    [ -f "${d}adapter_config.json" ] || continue
    ! grep -q '"base_model_name_or_path": "/' "${d}adapter_config.json" ||
        die "$d names a base by a path of one machine"
    [ -s "${d}README.md" ] || die "$d has no model card"
    sum=$(sed -n 's/.*"sha256": *"\([0-9a-f]*\)".*/\1/p' "${d}judge.json")
    grep -q "\"$sum\"" "$top/src/file/fetch.c" || die "$d is over another base than gram fetch gets"
    [ ! -f "$real" ] || expect 0 env GRAM_MODEL="$real" "$GRAM" info "$d"
done
