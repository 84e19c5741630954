#!/bin/sh
# gram selftrain killed over and over, wherever it happens to be, ends with the bytes of a run left alone; the second
# time nothing is left to do, and a recipe that has changed is refused in one sentence.
. tests/e2e/lib.sh
for i in 1 2 3 4 5 6 7 8; do
    echo "{\"prompt\":\"q$i\",\"chosen\":\"yes\",\"rejected\":\"no\",\"rationale\":\"{first} is better.\"}" \
        >>"$tmp/human.jsonl"
    echo "{\"id\":\"l$i\",\"prompt\":\"q$i\",\"chosen\":\"yes\",\"rejected\":\"no\"}" >>"$tmp/labelled.jsonl"
    echo "{\"id\":\"u$i\",\"prompt\":\"q$i\",\"responses\":[\"no\",\"yes\"]}" >>"$tmp/pairs.jsonl"
done
echo '{"prompt":"r","chosen":"yes","rejected":"no"}' >"$tmp/eval.jsonl"
printf 'Q {input}\nA {response_a}\nB {response_b}\nWhy?' >"$tmp/judge.txt"
printf 'Q {input}\nA {response_a}\nB {response_b}\nBetter: {label}\nWhy?' >"$tmp/prover.txt"
cat >"$tmp/run.yaml" <<YAML
model: $PWD/tests/golden/train/judge
human: human.jsonl
labelled: labelled.jsonl
unlabelled: [pairs.jsonl]
eval: eval.jsonl
judge-prompt: judge.txt
prover-judge-prompt: prover.txt
rounds: 2
votes: 2
rationale-tokens: 8
proof-tokens: 32
batch-rows: 8
lr: 1e-2
prover-epochs: 24
judge-steps: 3
final-steps: 1
save-every: 4
vote-share: 0.5
probability: 0
names-label: false          # the model is too small to say anything
names-both: false
closed: false
agrees: false
repeats: 0
least-tokens: 1
YAML
cd "$tmp" || exit 1

expect 0 "$GRAM" selftrain run.yaml --set out=whole --set threads=1
says out "round 2: 4 pairs, 4 labels kept"
says out "whole/final"
says err "[18/18] eval/final"

# Each time it is given half as long again, so it ends on any machine, and is killed on a quick one.
kills=0
milliseconds=20
while :; do
    "$GRAM" selftrain run.yaml --set out=killed -q >out 2>err &
    pid=$!
    sleep "$(printf '%d.%03d' $((milliseconds / 1000)) $((milliseconds % 1000)))"
    kill -9 "$pid" 2>/dev/null && kills=$((kills + 1))
    wait "$pid" 2>/dev/null
    got=$?
    [ "$got" -eq 137 ] || break
    milliseconds=$((milliseconds * 3 / 2))
done
[ "$got" -eq 0 ] || { cat err; die "the run that was killed $kills times ended with $got"; }
[ "$kills" -ge 2 ] || die "the run was killed $kills times only"

# What tells of the day and of speed is not compared.
for f in $(cd whole && find . -type f ! -name '*.tmp' ! -name 'metrics.jsonl' ! -name 'events.*' ! -name 'index.html' \
           ! -name 'numbers.json' ! -path './*/report.html'); do
    cmp "whole/$f" "killed/$f" || die "$f differs after $kills kills"
done
[ -z "$(find killed -name '*.partial' -o -path '*/checkpoints/*')" ] || die "a part of a run is left"

expect 0 "$GRAM" selftrain run.yaml --set out=killed
[ "$(grep -c 'whole already' err)" -eq 18 ] || die "a stage was done twice"
sed -i '/^output=/d' killed/stages/01-proofs.jsonl       # killed when the file had its name, and its .how was there
echo '{}' >killed/01-proofs.jsonl.how
expect 0 "$GRAM" selftrain run.yaml --set out=killed
[ ! -e killed/01-proofs.jsonl.how ] || die "the file that is whole has a .how"
expect 2 "$GRAM" selftrain run.yaml --set out=killed --set judge-lr=1e-3 --quiet
one_sentence
says err "killed/02-judge: it was begun with lr 0.01, and now that is 0.001"

expect 0 "$GRAM" prove whole/00-prover labelled.jsonl --k 2 --max-new-tokens 32 --out mean.out
grep -q '"rationale":"' mean.out || die "the prover proves nothing"
says err "mean score $(sed -n '/"rationale":"/s/.*"score":\(-[0-9.]*\),"proofs".*/\1/p' mean.out |
    LC_ALL=C awk '{ sum += $1 } END { printf "%.3f", sum / NR }')"

# What stands behind a name is compared as well: the text of a format or a template, and an adapter's base.
echo '{"opening":"<r>","closing":"</r>","cue":"[","ending":"]"}' >format.json
printf '{%% for m in messages %%}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{%% endfor %%}' >chat.jinja
printf '{%% if add_generation_prompt %%}<|im_start|>assistant\n{%% endif %%}' >>chat.jinja
cp -r "$(sed -n 's/^model: //p' run.yaml)" base
expect 0 "$GRAM" finetune base human.jsonl --loss rationale --lora-rank 2 --steps 1 --judge-prompt judge.txt \
    --rationale-format format.json --out adapter
# It remembers the form in which it learnt to write, so that it needs no file.
some="--rationale --rationale-tokens 4 --seed 1"
"$GRAM" merge adapter --out merged >/dev/null || die "merge"
"$GRAM" convert adapter --out bytes --dtype int8 >/dev/null || die "convert"
for m in adapter merged bytes; do
    expect 0 "$GRAM" score $m labelled.jsonl $some --out own --quiet
    expect 0 "$GRAM" score $m labelled.jsonl $some --rationale-format format.json --out named --quiet
    expect 0 "$GRAM" score $m labelled.jsonl $some --rationale-format gram-r2 --out other --quiet
    cmp own named || die "$m does not know its form of reasons"
    cmp -s own other && die "the form of reasons changes nothing"
done
short="--set rounds=0 --set final=false" texts="--set rationale-format=format.json --set template=chat.jinja"
expect 0 "$GRAM" selftrain run.yaml --set out=words $short $texts
expect 0 "$GRAM" selftrain run.yaml --set out=over $short --set model=adapter
mkdir away && cp human.jsonl labelled.jsonl judge.txt prover.txt away/          # a file's path is its recipe's
cp format.json away/form.json
(sed '/^unlabelled\|^eval/d' run.yaml; echo 'rationale-format: form.json') >away/run.yaml
expect 0 "$GRAM" selftrain away/run.yaml --set out=far $short
sed -i 's/"\["/"("/' format.json
expect 2 "$GRAM" selftrain run.yaml --set out=words $short $texts --quiet
one_sentence
says err "words/00-prover: it was begun with other contents of rationale-format"
sed -i 's/"("/"["/' format.json
echo '{# changed #}' >>chat.jinja
expect 2 "$GRAM" selftrain run.yaml --set out=words $short $texts
says err "words/00-prover: it was begun with other contents of template"
printf '\n' >>base/config.json
expect 2 "$GRAM" selftrain run.yaml --set out=over $short --set model=adapter
says err "over/00-prover: it was begun with other contents of the base of the model"
expect 2 "$GRAM" selftrain run.yaml --set out=x --set prover-rationale-format=rm-r1
says err 'there is no key "prover-rationale-format"'

# A pair that the judge cannot read has no vote under skip-bad, and the others keep theirs.
for i in 1 2 3; do
    echo "{\"id\":\"v$i\",\"prompt\":\"q$i\",\"responses\":[\"no\",\"yes\"]}"
    echo "{\"id\":\"c$i\",\"prompt\":\"q$i\",\"responses\":[\"no\",\"yes\"],\"criteria\":\"c\"}"
done >some.jsonl
some="--set rounds=1 --set final=false --set unlabelled=some.jsonl --set skip-bad=true"
expect 0 "$GRAM" selftrain run.yaml --set out=some $some
grep -o '"id":"v."' some/round-1/votes.jsonl >votes
grep -o '"id":"v."' some/round-1/labels.jsonl >labels
cmp votes labels || die "labels are not of the pairs with votes"
[ "$(grep -c '"id":"c.","broke":\["judged"\]' some/round-1/dropped.jsonl)" -eq 3 ] || die "a pair is gone"
sed -i 's/"id":"v1"/"id":"c1"/' some.jsonl
expect 1 "$GRAM" selftrain run.yaml --set out=twice $some --quiet
says err "twice/round-1/pairs.jsonl: the judge could not read 3 of 6 pairs, and ids that occur twice do not tell which"

# `gram prove` compares the format, too; it has written 64 rows when it meets a bad one.
for i in $(seq 64); do echo "{\"prompt\":\"q$i\",\"chosen\":\"yes\",\"rejected\":\"no\"}"; done >many.jsonl
echo '{"prompt":"q"}' >>many.jsonl
expect 1 "$GRAM" prove base many.jsonl --k 1 --max-new-tokens 1 --rationale-format format.json --out proofs.jsonl
sed -i 's/"\["/"("/' format.json
expect 2 "$GRAM" prove base many.jsonl --k 1 --max-new-tokens 1 --rationale-format format.json --out proofs.jsonl \
    --resume
says err "proofs.jsonl.how: the run that is to be resumed has format and prompt"

# A pair that was shortened, or is too long, says so; a prover is told the label that its format has.
printf '{"prompt":"%02000d","chosen":"yes","rejected":"no"}\n' 7 >long.jsonl
some="--k 1 --max-new-tokens 1 --max-tokens 1500 --truncate balanced --out many.out"
cp long.jsonl part.jsonl && head -n 63 many.jsonl >>part.jsonl
(cat part.jsonl; echo '{"prompt":"q"}') >many.jsonl
expect 1 "$GRAM" prove base many.jsonl $some
(cat part.jsonl; head -n 1 part.jsonl) >many.jsonl
expect 0 "$GRAM" prove base many.jsonl $some --resume               # it counts what was written before, too
says err "0 pairs proved, 65 not; proofs: 65, cut: "
says err "64 of them from the run before, 2 truncated"
some="--k 1 --max-new-tokens 1 --max-tokens 1500 --out long.out"
expect 0 "$GRAM" prove base long.jsonl $some --truncate balanced
says err "1 truncated"
grep -q '"truncated":true' long.out || die "a pair that was shortened does not say so"
expect 0 "$GRAM" prove base long.jsonl $some --truncate drop
says err "1 dropped as too long"
echo '{"opening":"<r>","closing":"</r>","cue":"[","ending":"]","labels":["1","2"]}' >format.json
head -n 1 human.jsonl >one.jsonl
expect 0 "$GRAM" finetune base one.jsonl --loss proof --out prover --lr 2e-2 --steps 150 --batch-rows 2 \
    --judge-prompt prover.txt --rationale-format format.json
expect 0 "$GRAM" prove prover one.jsonl --k 2 --max-new-tokens 40
says out '"first":"rejected","proof":"Response 2 is better."'

expect 2 "$GRAM" selftrain run.yaml --set out=x --set vote=4
says err 'there is no key "vote"; did you mean "votes"?'
expect 2 "$GRAM" selftrain
expect 0 "$GRAM" selftrain --keys
says out "vote-share"
cd "$OLDPWD" || exit 1
expect 0 "$GRAM" selftrain recipes/selftrain.yaml --keys
exit 0
