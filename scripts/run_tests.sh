#!/bin/sh
# Runs test programs one after the other and says how many passed; a program's output is shown when it fails. One that
# exits with 77 could not be run here: the last line that it printed says why.
export ASAN_OPTIONS="allocator_may_return_null=1:${ASAN_OPTIONS:-}"    # as malloc does: NULL, not the end
export TSAN_OPTIONS="allocator_may_return_null=1:suppressions=$PWD/tests/tsan.supp:${TSAN_OPTIONS:-}"
[ -n "${GRAM_DUCKDB-}" ] || for f in build/duckdb/_duckdb*.so; do      # what scripts/get_duckdb.sh got
    [ ! -f "$f" ] || export GRAM_DUCKDB="$PWD/$f"
done
passed=0; failed=0; skipped=0
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
for t in "$@"; do
    printf '%-48s' "$t"
    start=$(date +%s%N)
    "$t" >"$log" 2>&1
    case $? in
    0)  passed=$((passed + 1)); word=ok ;;
    77) skipped=$((skipped + 1)); word=skipped ;;
    *)  failed=$((failed + 1)); word=FAILED ;;
    esac
    end=$(date +%s%N)
    printf '%-7s %6d ms\n' $word $(((end - start) / 1000000))
    [ $word != skipped ] || tail -n 1 "$log"
    [ $word != FAILED ] || cat "$log"
done
[ "$skipped" -eq 0 ] || echo "$skipped skipped"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
