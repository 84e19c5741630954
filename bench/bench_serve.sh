#!/bin/sh
# bench_serve.sh - runs bench_serve.py with the arguments given, over what `make tests` has built.
#
#   PEERS=DIR bench/bench_serve.sh [--rows N ...]       a row in bench/serve.csv
set -eu
make --no-print-directory -s all "${B:-build}/tests/serve/fake_server"
exec "${PYTHON:-python3}" bench/bench_serve.py "$@"
