#!/bin/sh
# Each command that reads rows, with each form that people have them in (forms.py).
. tests/e2e/lib.sh
tiny_model "$tmp/tiny"
[ -x "$B/tests/file/write_table" ] || make -s --no-print-directory "$B/tests/file/write_table" || exit 1
TINY=$tmp/tiny HEAD=$PWD/tests/golden/rewards/llama WRITE_TABLE=$PWD/$B/tests/file/write_table \
    python3 tests/e2e/forms.py "$tmp" || exit 1
[ -n "${GRAM_DUCKDB-}" ] || { echo "DuckDB is not here (scripts/get_duckdb.sh): tables were not read"; exit 77; }
