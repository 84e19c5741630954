#!/bin/sh
# Rows as CSV and zstd through the command give the verdicts of JSON Lines; a table as output is whole or not there, and
# a run that was cut off goes on; without DuckDB there is a sentence.
. tests/e2e/lib.sh
m=$all_tmp/tiny
tiny_model "$m"
B_TABLE=$PWD/$B/tests/file/write_table
[ -x "$B_TABLE" ] || make -s --no-print-directory "$B/tests/file/write_table" || exit 1
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

noted noted score "$m" rows.jsonl
head -n 1 noted >cut.csv.partial                # what a run that was cut off leaves
mv noted.how cut.csv.how
expect 0 "$GRAM" score "$m" rows.jsonl --resume --out cut.csv
expect 0 "$GRAM" score "$m" rows.jsonl --out whole.csv
cmp cut.csv whole.csv || die "a run that goes on ends with another table"

# Through a pipe: what is read is told by its first bytes, and what is written is asked for by an ending.
for form in parquet arrow arrows csv tsv; do
    expect 0 "$GRAM" score "$m" rows.jsonl --out file.$form
    "$GRAM" score "$m" rows.jsonl --out -.$form 2>err | cat >piped.$form
    cmp file.$form piped.$form || die "$form through a pipe has other bytes: $(cat err)"
done
"$B_TABLE" rows.jsonl rows.parquet && "$B_TABLE" rows.jsonl rows.arrows || die "no tables"
for file in rows.parquet rows.arrows; do
    # shellcheck disable=SC2002  # a pipe is meant
    cat $file | "$GRAM" score "$m" - --out got.jsonl -q || die "$file through a pipe"
    cmp want.jsonl got.jsonl || die "$file through a pipe gives other verdicts"
    "$GRAM" score "$m" - --out got.jsonl -q <$file || die "$file as standard input"
    cmp want.jsonl got.jsonl || die "$file as standard input gives other verdicts"
done
# shellcheck disable=SC2002
cat rows.csv | "$GRAM" score "$m" -q --columns chosen=good --out got.jsonl -- -.csv || die "CSV through a pipe"
cmp want.jsonl got.jsonl || die "CSV through a pipe gives other verdicts"
mkfifo way.arrows
"$GRAM" score "$m" rows.jsonl --out way.arrows -q &
cat way.arrows >got.arrows
wait $! || die "a table into a named pipe"
cmp file.arrows got.arrows || die "a named pipe gets other bytes"
head -c 300 rows.arrows | "$GRAM" score "$m" - --skip-bad >out 2>err && die "half a table through a pipe"
says err "standard input: an Arrow file"
gzip -c rows.arrows >rows.arrows.gz
expect 1 "$GRAM" score "$m" rows.arrows.gz
says err "compressed once more"
expect 2 "$GRAM" score "$m" rows.jsonl --out -.xls
says err "wanted - for standard output"
expect 2 "$GRAM" score "$m" rows.jsonl --out -.csv --resume
says err "--resume needs --out FILE"

# The rows of an evaluation as a table, which a resume and a comparison read.
for form in jsonl parquet arrow; do
    expect 0 "$GRAM" eval "$m" rows.jsonl --rows e.$form
    mv out want.$form
done
expect 0 "$GRAM" eval "$m" rows.jsonl --rows e.parquet --resume
says out 'taken over from the run'
expect 0 "$GRAM" eval --compare e.jsonl e.arrow
says out "0.0"
expect 2 "$GRAM" eval "$m" rows.jsonl --rows e.csv
says err "CSV has no types"
expect 0 "$GRAM" eval "$m" rows.jsonl --rows e.parquet --verdicts
says out "two lines"                            # the questions, which no file of rows has
[ "$(head -c 4 e.parquet)" = PAR1 ] || die "no Parquet was written"
