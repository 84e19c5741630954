#!/bin/sh
# gram generate says before its first token how much memory it takes at most, and stays below; with guesses, another
# number of threads or a stop in between it writes the same bytes.
. tests/e2e/lib.sh
[ "$B" = build ] || export GRAM_MODEL=

prompts() {     # prompts N
    seq "$1" | sed 's/.*/{"prompt":"Tell me about & and & and & again, please: what is & to you?"}/'
}

# The last line says its peak in KiB. Sanitizers take memory of their own.
within_what_it_says() {     # within_what_it_says OPTION...
    python3 -c 'import resource, subprocess, sys
done = subprocess.run(sys.argv[1:])
print("peak", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(done.returncode)' "$GRAM" generate "$m" "$tmp/prompts.jsonl" --out "$tmp/out.jsonl" "$@" >"$tmp/log" 2>&1 ||
        die "$(cat "$tmp/log")"
    said=$(sed -n 's/.*memory: at most about \([0-9.]*\) GiB.*/\1/p' "$tmp/log")
    peak=$(sed -n 's/^peak //p' "$tmp/log")
    [ -n "$said" ] || die "no memory was said: $(cat "$tmp/log")"
    [ "$B" != build ] || awk "BEGIN { exit !($peak <= ($said + 0.005) * 1048576) }" ||
        die "$*: $said GiB were said, and $peak KiB taken"
}

same() {        # same OPTION...: as $tmp/out.jsonl
    "$GRAM" generate "$m" "$tmp/prompts.jsonl" --out "$tmp/again.jsonl" -q "$@" || die "generate $*"
    cmp "$tmp/out.jsonl" "$tmp/again.jsonl" || die "$*: other bytes"
    rm "$tmp/again.jsonl"
}

check() {
    prompts 3 >"$tmp/prompts.jsonl"
    within_what_it_says --n 2 --max-new-tokens 12 --seed 7
    few=$said
    grep -q '"products":"few"' "$tmp/out.jsonl" || die "few answers, and products are $(head -c 300 "$tmp/out.jsonl")"
    same --n 2 --max-new-tokens 12 --seed 7 --speculate 4 --threads 1
    prompts 13 >"$tmp/prompts.jsonl"
    within_what_it_says --n 8 --max-new-tokens 6
    case $m in          # a few answers leave the weights as they are packed
    *.Q*.gguf) awk "BEGIN { exit !($few + 0.3 < $said) }" || die "few answers take $few GiB, many $said" ;;
    esac
    [ "$(grep -c '"products":"tiles"' "$tmp/out.jsonl")" = 13 ] || die "many answers, and products are few"
    noted "$tmp/noted" generate "$m" "$tmp/prompts.jsonl" --n 8 --max-new-tokens 6
    head -n 12 "$tmp/noted" >"$tmp/again.jsonl.partial"
    mv "$tmp/noted.how" "$tmp/again.jsonl.how"
    same --n 8 --max-new-tokens 6 --resume
}

on_each_model check
