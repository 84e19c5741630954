#!/bin/sh
# DuckDB for the tests of tables, into build/duckdb: the extension module of its Python package, which has the C
# interface in it. Where it cannot be had, these tests say so and are left out.
set -eu
to=build/duckdb
ls $to/_duckdb*.so >/dev/null 2>&1 && exit 0
mkdir -p $to
trap 'rm -f $to/*.whl' EXIT
python3 -m pip download -q --no-deps --only-binary :all: -d $to "duckdb>=1.1,<3" || exit 1
unzip -qjo $to/duckdb-*.whl '_duckdb*.so' -d $to
