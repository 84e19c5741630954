#!/bin/sh
# Rows as CSV and zstd through the command give the verdicts of JSON Lines; a table as output is whole or not there, and
# a run that was cut off goes on; without DuckDB there is a sentence.
. tests/e2e/lib.sh
m=$all_tmp/tiny
tiny_model "$m"
cd "$tmp" || exit 1

cat >rows.jsonl <<'X'
{"id":"007","prompt":"What is \"2+2\", now?","chosen":"4","rejected":"5","margin":0.5}
{"id":"b","prompt":"two\nlines","chosen":"x, y","rejected":"z"}
X
cat >rows.csv <<'X'
id,prompt,good,rejected,margin
007,"What is ""2+2"", now?",4,5,0.5
b,"two
lines","x, y",z,
X
expect 0 "$GRAM" score "$m" rows.jsonl --out want.jsonl

if command -v zstd >/dev/null; then
    zstd -q rows.jsonl
    expect 0 "$GRAM" score "$m" rows.jsonl.zst --out got.jsonl
    cmp want.jsonl got.jsonl || die "zstd gives other verdicts"
fi

expect 1 env GRAM_DUCKDB=/nonexistent/libduckdb.so "$GRAM" score "$m" rows.csv --columns chosen=good
says err "rows.csv: DuckDB, which GRAM_DUCKDB names"
expect 1 env GRAM_DUCKDB=/nonexistent/libduckdb.so "$GRAM" score "$m" rows.jsonl --out got.parquet
says err "got.parquet"
if [ -z "${GRAM_DUCKDB-}" ]; then
    echo "DuckDB is not here (scripts/get_duckdb.sh): tables were not read"
    exit 77
fi

expect 0 "$GRAM" score "$m" rows.csv --columns chosen=good --out got.jsonl
cmp want.jsonl got.jsonl || die "CSV gives other verdicts"
expect 0 "$GRAM" score "$m" rows.jsonl --out got.parquet
[ ! -e got.parquet.partial ] || die "the lines of a whole table stay"
[ "$(head -c 4 got.parquet)" = PAR1 ] || die "no Parquet was written"
expect 0 "$GRAM" score "$m" rows.csv --columns chosen=good --out got.tsv
[ "$(cut -f 1 got.tsv | tr '\n' ' ')" = "id 007 b " ] || die "the table lacks rows or keys"

head -n 1 want.jsonl >cut.csv.partial          # what a run that was cut off leaves
expect 0 "$GRAM" score "$m" rows.jsonl --resume --out cut.csv
expect 0 "$GRAM" score "$m" rows.jsonl --out whole.csv
cmp cut.csv whole.csv || die "a run that goes on ends with another table"
