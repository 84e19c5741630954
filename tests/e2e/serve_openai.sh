#!/bin/sh
# The openai package as people use it, against the server: a virtual environment under the build folder gets it where
# PyPI can be reached; elsewhere the test is skipped.
. tests/e2e/lib.sh
venv=$PWD/$B/clients
trap 'exec 3>&-; rm -rf "$all_tmp"' EXIT

if ! "$venv/bin/python" -c 'import openai' 2>/dev/null; then
    python3 -m venv "$venv" >"$tmp/log" 2>&1 &&
        timeout 120 "$venv/bin/pip" install -q --retries 0 openai >>"$tmp/log" 2>&1 ||
        { rm -rf "$venv"; echo "  the openai package is not at hand"; exit 77; }
fi
for model in fake head; do
    fake_server --model "$model" --key s3cret
    "$venv/bin/python" tests/e2e/serve_openai.py "http://127.0.0.1:$port" "$model" ||
        die "the openai package, model $model"
    exec 3>&-
    wait "$server" || die "the server ended with an error"
done
