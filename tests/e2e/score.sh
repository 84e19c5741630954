#!/bin/sh
# score, tokenize, logits, rank and eval on a tiny model and on the real one where it is: streams, the same bits however
# they are run, a stop and a resume, bad rows, what the model sees.
. tests/e2e/lib.sh

facts() {
    expect 0 "$GRAM" info "$m"
    says out llama
    expect 0 "$GRAM" info tests/golden/models/llama_gqa
    says out "61 tokens, no tokenizer, "
    expect 0 sh -c 'printf "Hello world" | "$GRAM" tokenize "$1"' - "$m"
    [ "$(cat "$tmp/out")" = "[$hello]" ] || die "token ids differ"
    expect 0 sh -c 'printf "%s\n" "[$2]" "[]" | "$GRAM" tokenize "$1" --decode --lines' - "$m" "$hello"
    [ "$(tr '\n' ' ' <"$tmp/out")" = '"Hello world" "" ' ] || die "decoded text differs"
    expect 1 sh -c 'echo "{" | "$GRAM" tokenize "$1" --lines' - "$m"
    says err "standard input:1"
    expect 0 "$GRAM" logits "$m" --tokens "[40, 41]" --out "$tmp/l.npy"
    [ "$(wc -c <"$tmp/l.npy")" -eq $((128 + 2 * vocabulary * 4)) ] || die "the .npy file has the wrong size"
}

# File, streams, gzip, threads and batch size: the same bytes.
same_bytes() {
    expect 0 "$GRAM" score "$m" "$tmp/pairs.jsonl" --out "$tmp/v.jsonl"
    says err "4 pairs in "
    [ "$(wc -l <"$tmp/v.jsonl")" -eq 4 ] || die "wanted 4 verdicts"
    [ ! -e "$tmp/v.jsonl.partial" ] || die "a .partial file is left"
    gzip -k "$tmp/pairs.jsonl"
    expect 0 "$GRAM" score "$m" - -q --threads 1 <"$tmp/pairs.jsonl.gz"
    cmp "$tmp/out" "$tmp/v.jsonl" || die "standard input gives other verdicts"
    [ ! -s "$tmp/err" ] || die "--quiet says something"
    expect 0 "$GRAM" score "$m" "$tmp/pairs.jsonl" --threads 2 --batch-tokens 300
    cmp "$tmp/out" "$tmp/v.jsonl" || die "the batch size changes a verdict"
}

# What the model sees.
what_it_sees() {
    expect 0 "$GRAM" score "$m" "$tmp/pairs.jsonl" --show-prompt --single-order
    says out "==== r1, forward ===="
    grep -q "swapped ====" "$tmp/out" && die "--single-order shows the other order"
    says out "What is 1 plus 1?"
    expect 0 "$GRAM" score "$m" "$tmp/pairs.jsonl" --show-tokens
    [ "$(grep -c '"order":' "$tmp/out")" -eq 8 ] || die "wanted the tokens of 4 rows in both orders"
}

# A judge prompt and labels of one's own, wrong ones refused.
own_prompt() {
    printf 'Q: {input}\n1: {response_a}\n2: {response_b}\nBetter?' >"$tmp/judge.txt"
    expect 0 "$GRAM" score "$m" "$tmp/pairs.jsonl" --judge-prompt "$tmp/judge.txt" --labels 1,2 --show-prompt
    says out "Better?"
    printf 'Q: {input}' >"$tmp/judge.txt"
    expect 1 "$GRAM" score "$m" "$tmp/pairs.jsonl" --judge-prompt "$tmp/judge.txt"
    says err "judge.txt: judge prompt: no {response_a}"
    expect 0 "$GRAM" score "$m" "$tmp/pairs.jsonl" --labels 1,2 --show-prompt
    says err "labels: gram's own judge prompt asks for A or B, and the verdict is read from 1 and 2"
    expect 0 "$GRAM" score "$m" "$tmp/pairs.jsonl" --labels A,B --show-prompt
    grep -q "asks for" "$tmp/err" && die "labels that the prompt asks for are told of"
    "$GRAM" score "$m" "$tmp/pairs.jsonl" --labels "antidisestablishment,B" >"$tmp/out" 2>"$tmp/err" &&
        die "a label of many tokens"
}

# Bad rows: named, or counted.
bad_rows() {
    { rows 1; echo '{"prompt": 3}'; rows 1; } >"$tmp/bad.jsonl"
    expect 1 "$GRAM" score "$m" "$tmp/bad.jsonl" -q
    one_sentence
    says err "bad.jsonl:2"
    expect 0 "$GRAM" score "$m" "$tmp/bad.jsonl" --skip-bad
    says err "1 bad row skipped"
    [ "$(wc -l <"$tmp/out")" -eq 2 ] || die "wanted the two good rows"
    expect 1 "$GRAM" score "$m" "$tmp/pairs.jsonl" --max-tokens 30 -q
    says err "r1"
    expect 0 "$GRAM" score "$m" "$tmp/pairs.jsonl" --max-tokens 30 --truncate drop
    says err "4 dropped"
    expect 0 "$GRAM" score "$m" "$tmp/pairs.jsonl" --max-tokens 30 --truncate drop --show-tokens
    [ "$(grep -c dropped "$tmp/err")" -eq 4 ] && [ ! -s "$tmp/out" ] || die "what scoring drops is shown"
    expect 1 "$GRAM" score "$m" "$tmp" -q
    one_sentence
}

# A full disk is an error, and nothing claims to be whole.
full_disk() {
    expect 1 sh -c '"$GRAM" score "$1" "$2" -q >/dev/full' - "$m" "$tmp/pairs.jsonl"
    one_sentence

    expect 1 sh -c 'ulimit -f 1; "$GRAM" score "$1" "$2" -q --out "$3"' - "$m" "$tmp/pairs.jsonl" "$tmp/small.jsonl"
    one_sentence
    [ ! -e "$tmp/small.jsonl" ] || die "a short file has the name of a whole one"
}

# Ctrl-C keeps what is done; --resume ends with the bytes of a run that was not stopped.
stopped_and_resumed() {
    rows 12 >"$tmp/long.jsonl"
    noted "$tmp/whole.jsonl" score "$m" "$tmp/long.jsonl"
    cp "$tmp/whole.jsonl.how" "$tmp/part.jsonl.how"
    cp "$tmp/whole.jsonl.how" "$tmp/other.jsonl.how"
    head -n 5 "$tmp/whole.jsonl" >"$tmp/part.jsonl.partial"
    printf '{"id":"r6","pref' >>"$tmp/part.jsonl.partial"
    expect 0 "$GRAM" score "$m" "$tmp/long.jsonl" --resume --out "$tmp/part.jsonl"
    says err "5 of them from the run before"
    cmp "$tmp/part.jsonl" "$tmp/whole.jsonl" || die "a resumed run differs"
    head -n 5 "$tmp/whole.jsonl" >"$tmp/other.jsonl.partial"
    sed 's/"r3"/"x3"/' "$tmp/long.jsonl" >"$tmp/other-rows.jsonl"
    expect 2 "$GRAM" score "$m" "$tmp/other-rows.jsonl" --resume --out "$tmp/other.jsonl"
    one_sentence
    says err "other-rows.jsonl:3: row x3, but line 3 of what is to be resumed is of row r3"
    mkfifo "$tmp/slow"
    "$GRAM" score "$m" - --out "$tmp/cut.jsonl" --max-tokens 1000 --truncate drop <"$tmp/slow" 2>"$tmp/err" &
    pid=$!
    exec 3>"$tmp/slow"
    # More text than the program takes at once, then silence: the run is in the middle. Dropped as too long, so cheap.
    question=$(printf 'why %.0s' $(seq 1500))
    rows 24 | sed "s/What is/$question/" >&3
    n=0
    until [ -s "$tmp/cut.jsonl.partial" ]; do
        n=$((n + 1))
        [ "$n" -lt 600 ] || die "nothing was written for a minute"
        sleep 0.1
    done
    kill -INT "$pid"
    exec 3>&-
    wait "$pid"
    [ $? -eq 1 ] || { cat "$tmp/err"; die "a stopped run should end with 1"; }
    says err "--resume"
    [ -f "$tmp/cut.jsonl.partial" ] && [ ! -e "$tmp/cut.jsonl" ] || die "a stopped run leaves NAME.partial alone"
}

# rank and eval.
rank_and_eval() {
    printf '%s\n' '{"prompt":"2+2?","responses":["4","5","I do not know"],"reference":"four"}' >"$tmp/groups.jsonl"
    for method in linear tournament all-pairs reference; do
        expect 0 "$GRAM" rank "$m" "$tmp/groups.jsonl" --method $method
        says err "1 group in"
    done
    expect 0 "$GRAM" eval "$m" "$tmp/pairs.jsonl" --verdicts
    says out "What is 3 plus 3?"
    [ "$(grep -cE ' (right|wrong|tie)(, flips)?$' "$tmp/out")" -eq 4 ] ||
        { cat "$tmp/out"; die "wanted a verdict for each row"; }
    expect 0 "$GRAM" eval "$m" "$tmp/pairs.jsonl" -q --json "$tmp/n.json" --report "$tmp/report"
    [ -s "$tmp/n.json" ] && [ -s "$tmp/n.rows.jsonl" ] && [ -s "$tmp/report/index.html" ] || die "eval wrote too little"
}

# A judge that writes its reasons: the same ones however it is run, and where they are shown.
reasons() {
    set -- --rationale --votes 3 --rationale-tokens 6
    expect 0 "$GRAM" score "$m" "$tmp/pairs.jsonl" "$@" --out "$tmp/r.jsonl"
    [ "$(grep -c '"orders":' "$tmp/r.jsonl")" -eq 4 ] || die "wanted rationales in each line"
    tail -1 "$tmp/pairs.jsonl" >"$tmp/last.jsonl"
    expect 0 "$GRAM" score "$m" "$tmp/last.jsonl" "$@" --threads 1 --batch-tokens 64
    [ "$(cat "$tmp/out")" = "$(tail -1 "$tmp/r.jsonl")" ] || die "a pair alone has other rationales"
    expect 0 "$GRAM" score "$m" "$tmp/pairs.jsonl" --rationale --show-prompt
    says out "<think>"
    [ -z "$real" ] || return 0              # what follows is the same code, and a minute long
    expect 0 "$GRAM" rank "$m" "$tmp/groups.jsonl" "$@"
    says out '"judged":'
    expect 0 "$GRAM" eval "$m" "$tmp/pairs.jsonl" "$@" --early 2 --report "$tmp/reasons"
    says out "by rationales"
    grep -q '<h2>Rationales</h2>' "$tmp/reasons/index.html" || die "the report shows no rationales"
    expect 2 "$GRAM" score "$m" "$tmp/pairs.jsonl" --votes 3
    says err "--votes goes with --rationale"
    expect 2 "$GRAM" score "$m" "$tmp/pairs.jsonl" --rationale --sure 0.7
    says err "--sure goes with --early"
    expect 2 "$GRAM" score "$m" "$tmp/pairs.jsonl" --rationale --rationale-format xml
    says err "neither one of gram-r2"
}

all_of_it() {
    hello=42,71,78,78,81,223,89,81,84,78,70 vocabulary=259      # a token a byte
    [ -z "$real" ] || hello=19556,905 vocabulary=49152
    rows 4 >"$tmp/pairs.jsonl"
    facts
    same_bytes
    what_it_sees
    own_prompt
    bad_rows
    full_disk
    stopped_and_resumed
    rank_and_eval
    reasons
}

on_each_model all_of_it

# A tensor that the model would leave aside is named: here the norms of q and k, which a Llama does not have.
cp -r tests/golden/rewards/qwen3 "$all_tmp/norms"
sed 's/"qwen3"/"llama"/; s/Qwen3/Llama/' tests/golden/rewards/qwen3/config.json >"$all_tmp/norms/config.json"
rows 1 >"$tmp/pairs.jsonl"
expect 1 "$GRAM" score "$all_tmp/norms" "$tmp/pairs.jsonl"
says err '_norm.weight is not one that the architecture llama knows'
