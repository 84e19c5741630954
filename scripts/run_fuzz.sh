#!/bin/sh
# Runs each fuzz target for a while from its seeds, a target on each core at once; what a target that fails has printed
# is shown. Arguments: seconds, targets.
set -eu
seconds=$1
shift
fuzz() {        # fuzz TARGET
    name=${1##*/fuzz_}
    new=$(dirname "$1")/new/$name               # what is found; the seeds themselves are not touched
    seeds=tests/fuzz/corpus/$name
    mkdir -p "$new"
    [ -d "$seeds" ] || seeds=
    # shellcheck disable=SC2086  # seeds may be absent
    if "$1" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=20 -artifact_prefix="$new-" "$new" $seeds \
        >"$1.log" 2>&1; then
        echo "fuzz: $name, $seconds s: nothing found"
    else
        tail -n 60 "$1.log"
        echo "fuzz: $name failed"
        return 1
    fi
}
if [ "${FUZZ_ONE-}" ]; then
    fuzz "$1"
    exit
fi
failed=0
out=$(printf '%s\n' "$@" | FUZZ_ONE=1 xargs -P "$(nproc)" -n 1 "$0" "$seconds") || failed=$?
echo "$out"
n=$(echo "$out" | grep -c ': nothing found$') || true
echo "$n passed, $(($# - n)) failed"
[ "$failed" -eq 0 ]
