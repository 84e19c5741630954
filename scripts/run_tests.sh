#!/bin/sh
# Runs test programs and says how many passed; a program's output is shown when it fails. One that exits with 77 could
# not be run here: the last line that it printed says why. A program uses a core and some of another, so that two at a
# time keep two cores busy; those that start processes and servers, send signals or wait for somebody run alone, at the
# end. TEST_JOBS is how many at a time, TEST_LIMIT how many seconds one may take; none begins after TEST_UNTIL, in
# seconds since 1970, and how many that left out is said.
export ASAN_OPTIONS="allocator_may_return_null=1:${ASAN_OPTIONS:-}"    # as malloc does: NULL, not the end
export TSAN_OPTIONS="allocator_may_return_null=1:suppressions=$PWD/tests/tsan.supp:${TSAN_OPTIONS:-}"

if [ "${TEST_ONE-}" ]; then                 # one program, for the run whose folder this is
    dir=$TEST_ONE
    unset TEST_ONE
    if [ "$(date +%s)" -gt "${TEST_UNTIL:-99999999999}" ]; then
        echo left >>"$dir/words"
        exit 0
    fi
    unset TEST_UNTIL
    log=$(mktemp "$dir/XXXXXX")
    start=$(date +%s%N)
    limit=${TEST_LIMIT:-900}
    timeout --foreground --kill-after=10 "$limit" "$1" >"$log" 2>&1
    case $? in
    0)  word=ok ;;
    77) word=skipped ;;
    124) word=FAILED; echo "it did not end in $limit s" >>"$log" ;;
    *)  word=FAILED ;;
    esac
    end=$(date +%s%N)
    {
        flock 9
        printf '%-48s%-7s %6d ms\n' "$1" $word $(((end - start) / 1000000))
        [ $word != skipped ] || tail -n 1 "$log"
        [ $word != FAILED ] || cat "$log"
        echo $word >&9
    } 9>>"$dir/words"
    rm -f "$log"
    exit 0
fi

[ -n "${GRAM_DUCKDB-}" ] || for f in build/duckdb/_duckdb*.so; do      # what scripts/get_duckdb.sh got
    [ ! -f "$f" ] || export GRAM_DUCKDB="$PWD/$f"
done
jobs=${TEST_JOBS:-2}
[ "$(nproc)" -gt 1 ] || jobs=1
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
export TEST_ONE="$dir"
: >"$dir/words"
for t in "$@"; do
    case $t in
    */e2e/* | */comm/* | */serve/* | */api/test_judge | *_dist | *_killed | *_memory | *_pool)
        echo "$t" >>"$dir/alone" ;;
    *) echo "$t" >>"$dir/beside" ;;
    esac
done
[ ! -f "$dir/beside" ] || xargs -P "$jobs" -n 1 "$0" <"$dir/beside"
[ ! -f "$dir/alone" ] || xargs -n 1 "$0" <"$dir/alone"
count() { grep -c "^$1\$" "$dir/words"; }
skipped=$(count skipped) passed=$(count ok) left=$(count left)
[ "$skipped" -eq 0 ] || echo "$skipped skipped"
[ "$left" -eq 0 ] || echo "$left left out: it was too late to begin them"
failed=$(($# - passed - skipped - left))    # one that was killed with its runner said no word
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
