#!/bin/sh
# bench.sh - `make bench`: build the programs of bench/, run them, and append one row to bench/history.csv.
#
#   make bench [PEERS=DIR] [BENCH="--quick --rows N ..."]       bench_run.py --help says the options
#   make bench-train PEERS=DIR [BENCH="..."]                    bench_train.py, bench/train.csv
#
# Wants a machine that does nothing else; `--quick` is a look, not a measurement.
set -eu
B=${B:-build}
"${MAKE:-make}" --no-print-directory "$B"/bench/bench_gemm "$B"/bench/bench_score "$B"/bench/bench_kernels \
    "$B"/bench/bench_train
# shellcheck disable=SC2086
exec "${PYTHON:-python3}" "scripts/${1:-bench_run}.py" --build "$B" ${PEERS:+--peers "$PEERS"} ${BENCH:-}
