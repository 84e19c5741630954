#!/bin/sh
# Runs each fuzz target for a while from its seeds, and stops at the first input that fails.
# Arguments: seconds, targets.
set -eu
seconds=$1
shift
for t in "$@"; do
    name=${t##*/fuzz_}
    new=$(dirname "$t")/new/$name               # what is found; the seeds themselves are not touched
    seeds=tests/fuzz/corpus/$name
    mkdir -p "$new"
    [ -d "$seeds" ] || seeds=
    echo "fuzz: $name, $seconds s"
    # shellcheck disable=SC2086  # seeds may be absent
    if ! "$t" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=20 -artifact_prefix="$new-" "$new" $seeds \
        >"$t.log" 2>&1; then
        tail -n 60 "$t.log"
        echo "fuzz: $name failed"
        exit 1
    fi
done
echo "fuzz: nothing found"
