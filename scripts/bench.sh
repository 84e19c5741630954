#!/bin/sh
# bench.sh - `make bench`: build the programs of bench/, run them, and append one row to bench/history.csv.
#
#   make bench [PEERS=DIR] [BENCH="--quick --rows N ..."]       bench_run.py --help says the options
#   make bench-train PEERS=DIR [BENCH="..."]                    bench_train.py, bench/train.csv
#
# Wants a machine that does nothing else; `--quick` is a look, not a measurement.
set -eu
B=${B:-build}
mkdir -p "$B/bench"
for name in bench_gemm bench_score bench_kernels bench_train; do
    [ "$B/bench/$name" -nt "bench/$name.c" ] && [ "$B/bench/$name" -nt "$B/libgram.a" ] && continue
    # shellcheck disable=SC2046
    ${CC:-gcc} -std=c11 -O2 -D_GNU_SOURCE -Iinclude -Isrc -Wall -Wextra -o "$B/bench/$name" "bench/$name.c" \
        "$B/libgram.a" $(pkg-config --libs jansson libpcre2-8 libutf8proc zlib libzstd liblz4) -ldnnl -lgomp -lm \
        -pthread
done
# shellcheck disable=SC2086
exec "${PYTHON:-python3}" "scripts/${1:-bench_run}.py" --build "$B" ${PEERS:+--peers "$PEERS"} ${BENCH:-}
