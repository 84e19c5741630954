#!/bin/sh
# The server under load, over an engine without a model: requests of every kind from 64 connections at once, right and
# wrong ones. Built with a sanitizer, a race or a stray access ends it with a report and an exit code.
. tests/e2e/lib.sh
command -v wrk >/dev/null || { echo "  wrk is not installed"; exit 77; }

fake_server 2>"$tmp/log"
# A slow machine may take long over an answer; that is not an error.
wrk -t2 -c64 -d"${LOAD_SECONDS:-2}"s --timeout 60s -s tests/e2e/serve_load.lua "http://127.0.0.1:$port" >"$tmp/out" 2>&1
exec 3>&-
wait $server || { cat "$tmp/log"; die "the server ended with an error"; }
set -- $(sed -n 's/^good \([0-9]*\) bad \([0-9]*\)$/\1 \2/p' "$tmp/out")
[ $# -eq 2 ] && [ "$1" -gt 20 ] && [ "$2" -eq 0 ] || { cat "$tmp/out"; die "wanted good answers, and no bad ones"; }
echo "  $1 good answers under load"
