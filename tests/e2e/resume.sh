#!/bin/sh
# A resume goes on with the run that was begun, and nothing else: another model behind the same or another path, another
# configuration, other held-out rows, another judge, reference or gold are refused, of a run that has ended too, and no
# model is written beside another one.
# shellcheck source=tests/e2e/lib.sh
. tests/e2e/lib.sh
tiny_model "$tmp/m"
rows 8 >"$tmp/pairs.jsonl"
rows 4 | sed 's/plus/times/' >"$tmp/held.jsonl"
sed 's/"chosen"/"reference"/' "$tmp/held.jsonl" >"$tmp/prompts.jsonl"
set -- --threads 1 --batch-rows 4

# stopped COMMAND...: ends after its first step or rollout, with a checkpoint.
stopped() {
    rm -rf "$tmp/run"
    expect 1 "$GRAM" "$@" --out "$tmp/run" --max-minutes 0.00001
    says err "stopped after step"
}
other() {       # other WHAT COMMAND...: the resume is refused for this
    what=$1
    shift
    expect 2 "$GRAM" "$@" --out "$tmp/run" --resume
    says err "here is another: $what"
}

expect 0 "$GRAM" finetune "$tmp/m" "$tmp/pairs.jsonl" --out "$tmp/other" --steps 1 --lr 1e-2 "$@"
cp -r "$tmp/m" "$tmp/turned"
sed -i 's/"rope_theta": 10000.0/"rope_theta": 20000.0/' "$tmp/turned/config.json"
cmp -s "$tmp/m/config.json" "$tmp/turned/config.json" && die "the other angles are the same"

# The model that a run starts from, whose weights are trained; and its configuration.
stopped finetune "$tmp/m" "$tmp/pairs.jsonl" --steps 3 "$@"
other "model that it starts from" finetune "$tmp/other" "$tmp/pairs.jsonl" --steps 3 "$@"
other "model that it starts from" finetune "$tmp/turned" "$tmp/pairs.jsonl" --steps 3 "$@"
expect 0 "$GRAM" finetune "$tmp/m" "$tmp/pairs.jsonl" --steps 3 "$@" --out "$tmp/run" --resume

# What has ended is this run alone, and its directory no other's.
expect 0 "$GRAM" finetune "$tmp/m" "$tmp/pairs.jsonl" --steps 3 "$@" --out "$tmp/run" --resume
says err "nothing was done"
other "lr (2e-05 there, 0.001 here)" finetune "$tmp/m" "$tmp/pairs.jsonl" --steps 3 --lr 1e-3 "$@"
other "training rows" finetune "$tmp/m" "$tmp/held.jsonl" --steps 3 "$@"
expect 2 "$GRAM" finetune "$tmp/m" "$tmp/pairs.jsonl" --steps 3 "$@" --out "$tmp/run" --resume --lora-rank 2
says err "run/model.safetensors is there already"
expect 2 "$GRAM" finetune "$tmp/m" "$tmp/pairs.jsonl" --steps 3 "$@" --out "$tmp/turned" --resume
says err "no run.txt beside it"
expect 0 "$GRAM" finetune "$tmp/m" "$tmp/pairs.jsonl" --steps 1 "$@" --out "$tmp/thin" --lora-rank 2
expect 2 "$GRAM" finetune "$tmp/m" "$tmp/pairs.jsonl" --steps 1 "$@" --out "$tmp/thin"
says err "thin/adapter_model.safetensors is there already"
expect 2 "$GRAM" merge "$tmp/thin" --out "$tmp/thin"
says err "thin/adapter_model.safetensors is there already"
rm -rf "$tmp/run"
expect 0 "$GRAM" finetune "$tmp/m" "$tmp/pairs.jsonl" --steps 3 "$@" --out "$tmp/run" --eval-file "$tmp/held.jsonl"
other "best (0 there, 1 here)" finetune "$tmp/m" "$tmp/pairs.jsonl" --steps 3 "$@" --eval-file "$tmp/held.jsonl" --best

# Every held-out set, not the first alone.
stopped finetune "$tmp/m" "$tmp/pairs.jsonl" --steps 3 "$@" --eval-file "$tmp/held.jsonl" --eval-file "$tmp/pairs.jsonl"
other "held-out rows of set 2" finetune "$tmp/m" "$tmp/pairs.jsonl" --steps 3 "$@" --eval-file "$tmp/held.jsonl" \
    --eval-file "$tmp/held.jsonl"
other "held-out rows of set 2" finetune "$tmp/m" "$tmp/pairs.jsonl" --steps 3 "$@" --eval-file "$tmp/held.jsonl"

# The judge, the reference and the prompt that a judge is asked by, under the names that they had.
policy() {
    echo rl "$tmp/m" "$tmp/prompts.jsonl" --max-new-tokens 4 --samples 2 --rollout-prompts 4 --steps 2
}
cp -r "$tmp/m" "$tmp/judge"
cp -r "$tmp/m" "$tmp/reference"
printf 'Q {input}\nA {response}\nGood?' >"$tmp/one.txt"
# shellcheck disable=SC2046  # words
set -- $(policy) --judge "$tmp/judge" --pointwise --scale 0-9 --pointwise-prompt "$tmp/one.txt" \
    --reference "$tmp/reference" "$@"
stopped "$@"
cp "$tmp/other/model.safetensors" "$tmp/judge/"
other "judges or how they are asked" "$@"
cp "$tmp/m/model.safetensors" "$tmp/judge/"
printf 'Q {input}\nA {response}\nBad?' >"$tmp/one.txt"
other "judges or how they are asked" "$@"
printf 'Q {input}\nA {response}\nGood?' >"$tmp/one.txt"
cp "$tmp/other/model.safetensors" "$tmp/reference/"
other "weights of the reference" "$@"
cp "$tmp/m/model.safetensors" "$tmp/reference/"
expect 0 "$GRAM" "$@" --out "$tmp/run" --resume

# A judge that best-of-n holds its winners against.
printf '{"prompt":"q","responses":["one","two"]}\n{"prompt":"r","responses":["three","four"]}\n' >"$tmp/groups.jsonl"
cp -r "$tmp/m" "$tmp/gold"
set -- bon "$tmp/groups.jsonl" --judge "$tmp/m" --gold "$tmp/gold"
noted "$tmp/best" "$@"
mv "$tmp/best" "$tmp/best.partial"
cp "$tmp/other/model.safetensors" "$tmp/gold/"
expect 2 "$GRAM" "$@" --out "$tmp/best" --resume
says err 'the run that is to be resumed has model "gold '
cp "$tmp/m/model.safetensors" "$tmp/gold/"

# A judge behind an address is known by what its server says of it, its name, weights and how it asks.
served() {      # served OPTION...: the model that is in gold now, at $port where there is one
    "$GRAM" serve "$tmp/gold" --port "$port" "$@" 2>"$tmp/serve.err" &
    server=$!
    for _ in $(seq 100); do
        grep -q "http://127.0.0.1:$port" "$tmp/serve.err" && return 0
        sleep 0.1
    done
    die "no server: $(cat "$tmp/serve.err")"
}
port=$(free_port)
served
set -- bon "$tmp/groups.jsonl" --judge "http://127.0.0.1:$port"
noted "$tmp/far" "$@"
mv "$tmp/far" "$tmp/far.partial"
stopped rl "$tmp/m" "$tmp/prompts.jsonl" --max-new-tokens 4 --samples 2 --rollout-prompts 4 --steps 2 --threads 1 \
    --judge "http://127.0.0.1:$port"
for change in "cp $tmp/other/model.safetensors $tmp/gold/" "cp $tmp/m/model.safetensors $tmp/gold/" ; do
    kill "$server"
    wait "$server" 2>/dev/null
    $change
    more=
    [ "$change" = "${change#*other}" ] && more='--max-tokens 999'
    # shellcheck disable=SC2086  # words
    served $more
    expect 2 "$GRAM" "$@" --out "$tmp/far" --resume
    says err 'the run that is to be resumed has model of the server "gold '
    other "judges or how they are asked" rl "$tmp/m" "$tmp/prompts.jsonl" --max-new-tokens 4 --samples 2 \
        --rollout-prompts 4 --steps 2 --threads 1 --judge "http://127.0.0.1:$port"
done
kill "$server"
wait "$server" 2>/dev/null
served
expect 0 "$GRAM" "$@" --out "$tmp/far" --resume
kill "$server"
wait "$server" 2>/dev/null

# What is whole stays as it is, and that nothing is left is said: of this file, these rows and this judge alone.
cp "$tmp/groups.jsonl" "$tmp/kept"
whole() {       # whole END COMMAND...: the command's rows are the pairs or the groups
    out=$tmp/whole.$1
    shift
    rm -f "$tmp"/whole.*
    expect 0 "$GRAM" "$@" --out "$out"
    [ ! -e "$out.how" ] || die "$*: without --resume a note stays beside what is whole"
    expect 0 "$GRAM" "$@" --out "$out" --resume
    touch -d 2001-01-01 "$out"
    cp -p "$out" "$tmp/was"
    expect 0 "$GRAM" "$@" --out "$out" --resume
    says err ' of them from the run before: nothing was left to do'
    cmp "$tmp/was" "$out" || die "$*: other bytes"
    [ "$out" -ot "$tmp/m/config.json" ] || die "$*: it is written again"
    [ ! -e "$out.partial" ] || die "$*: a part is left"
    # Of a file that says something else nothing is known, and it is made anew.
    echo >>"$out"
    expect 0 "$GRAM" "$@" --out "$out" --resume
    grep -q 'nothing was left' "$tmp/err" && die "$*: another file is taken for what was written"
    cmp "$tmp/was" "$out" || die "$*: other bytes when it was made anew"
    # A row that says something else, one that is gone, and one more, which is judged alone.
    sed -i '2s/\(one\|plus\|three\)/times/' "$tmp/pairs.jsonl" "$tmp/groups.jsonl"
    expect 2 "$GRAM" "$@" --out "$out" --resume
    says err ' says something else than when line 2 of what is to be resumed was made of it'
    cmp "$tmp/was" "$out" || die "$*: a refusal wrote it"
    rows 8 | head -n 7 >"$tmp/pairs.jsonl"
    head -n 1 "$tmp/kept" >"$tmp/groups.jsonl"
    expect 2 "$GRAM" "$@" --out "$out" --resume
    says err 'wanted the input of the run before'
    cmp "$tmp/was" "$out" || die "$*: a refusal wrote it"
    rows 9 >"$tmp/pairs.jsonl"
    { cat "$tmp/kept"; printf '{"prompt":"s","responses":["five","six"]}\n'; } >"$tmp/groups.jsonl"
    expect 0 "$GRAM" "$@" --out "$out" --resume
    says err "$(($(wc -l <"$tmp/kept") * grouped + 8 * (1 - grouped))) of them from the run before"
    mv "$out" "$tmp/was"
    expect 0 "$GRAM" "$@" --out "$out"
    cmp "$tmp/was" "$out" || die "$*: with a row more it has other bytes"
    rows 8 >"$tmp/pairs.jsonl"
    cp "$tmp/kept" "$tmp/groups.jsonl"
    rm -f "$out" "$out.how"
    expect 0 "$GRAM" "$@" --out "$out" --resume
    cp "$out" "$tmp/was"
    [ -z "$other" ] || { cp "$tmp/other/model.safetensors" "$other"
                         expect 2 "$GRAM" "$@" --out "$out" --resume
                         says err 'the run that made what is to be resumed has model'
                         cmp "$tmp/was" "$out" || die "$*: a refusal wrote it"
                         cp "$tmp/m/model.safetensors" "$other"; }
}
grouped=0 other=$tmp/judge/model.safetensors
whole jsonl score "$tmp/judge" "$tmp/pairs.jsonl"
whole jsonl.gz score "$tmp/judge" "$tmp/pairs.jsonl"
whole jsonl generate "$tmp/judge" "$tmp/pairs.jsonl" --n 2 --max-new-tokens 4
whole jsonl prove "$tmp/judge" "$tmp/pairs.jsonl" --k 2 --max-new-tokens 4
whole jsonl bon "$tmp/m" "$tmp/pairs.jsonl" --judge "$tmp/judge" --n 2 --max-new-tokens 4
other=
whole jsonl score tests/golden/rewards/purm "$tmp/pairs.jsonl"
grouped=1 other=$tmp/judge/model.safetensors
whole jsonl rank "$tmp/judge" "$tmp/groups.jsonl"
whole jsonl bon "$tmp/groups.jsonl" --judge "$tmp/judge"
exit 0
