#!/usr/bin/env python3
"""Writes tests/golden/table: Parquet and Arrow by pyarrow, zstd by its command. Run once, with pyarrow and zstd at
hand."""
import json
import os
import subprocess

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

DIR = "tests/golden/table/"


def parquet(name, columns, schema=None, **how):
    pq.write_table(pa.table(columns, schema=schema), DIR + name, **how)


def arrow(name, columns, form, **how):
    table = pa.table(columns)
    with form(DIR + name, table.schema, options=ipc.IpcWriteOptions(**how)) as out:
        out.write_table(table, max_chunksize=2)


def user(text):
    return [{"role": "user", "content": text}]


def frame(text):
    return subprocess.run(["zstd", "-q", "--check", "-c"], input=text.encode(), stdout=subprocess.PIPE,
                          check=True).stdout


os.makedirs(DIR, exist_ok=True)
messages = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
rows = {
    "prompt": pa.array([user("Wie geht's?"), user('a "quoted" word\nand a line'), []], messages),
    "chosen": ["gut \U0001f600", "0123456789ab", "0123456789abc"], "n": [2**62 + 1, 1, 2],
    "score": [0.1, 1.5, -2e-300], "note": [None, "2020-01-01", "x"]}
parquet("rows.parquet", rows, row_group_size=2, compression="snappy")
arrow("rows.arrow", rows, ipc.new_file, compression="lz4")
arrow("rows.arrows", rows | {"note": pa.array(rows["note"]).dictionary_encode()}, ipc.new_stream)
arrow("views.feather", rows | {"chosen": pa.array(rows["chosen"], pa.string_view()),
                               "note": pa.array(rows["note"], pa.large_string())}, ipc.new_file, compression="zstd")
parquet("named_t.parquet", {"t": [1], "gram": ["x"]})
parquet("empty.parquet", {"prompt": pa.array([], pa.string())})
binary = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
parquet("binary.parquet", {
    "prompt": ["q", "r"], "chosen": pa.array([b"\xc3\xa9", None]), "rejected": ["x", "y"],
    "images": pa.array([[{"bytes": b"\xff\0", "path": "p"}], []], pa.list_(binary))})
parquet("two_names.parquet", {"System": ["s"], "prompt": ["q"], "system": ["t"], "system_2": ["u"]})
arrow("two_names.arrows", {"System": ["s"], "prompt": ["q"], "system": ["t"]}, ipc.new_stream)
with open(DIR + "frames.jsonl.zst", "wb") as out:
    out.write(frame("".join(json.dumps({"i": i}, separators=(",", ":")) + "\n" for i in range(5000))))
    out.write(frame('{"last":true}\n'))
