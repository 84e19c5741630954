#!/bin/sh
# The Python package: its tests, the examples of docs/python.md, and the program through `python -m gram`.
. tests/e2e/lib.sh

for python in "${PYTHON-}" /usr/bin/python3 python3; do
    [ -n "$python" ] && "$python" -c 'import cffi, numpy' 2>/dev/null && break
    python=
done
[ -n "$python" ] || { echo "no Python with cffi and NumPy (Debian: python3-cffi python3-numpy)"; exit 77; }
[ "$B" = build ] || { echo "a sanitizer's library cannot be loaded into Python"; exit 77; }
make -s --no-print-directory "$B/libgram.so" || die "no libgram.so"     # the declarations are those of today's headers
new='import pip, setuptools as s; assert int(s.__version__.split(".")[0]) > 70'     # what pyproject.toml wants
if [ "$python" = "${PYTHON-}" ] && "$python" -c "$new" 2>"$tmp/err"; then
    # as pip installs it; the library and the program in it are those that were built here
    "$python" -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation --target "$tmp/site" \
        ./python >"$tmp/out" 2>&1 || { cat "$tmp/out"; die "pip install ./python fails"; }
    rm -rf python/build python/*.egg-info
    export PYTHONPATH=$tmp/site
    cmp "$tmp/site/gram/lib/libgram.so" "$B/libgram.so" || die "another library was installed"
else
    export PYTHONPATH=$PWD/python GRAM_LIBRARY=$PWD/$B/libgram.so
fi

"$python" tests/python/test_gram.py >"$tmp/out" 2>&1 || { cat "$tmp/out"; die "tests/python/test_gram.py fails"; }

# The examples, in their order as one program; the judge and the rows that they name are made here.
tiny_model "$tmp/my-judge"
cp -r "$tmp/my-judge" "$tmp/my-model"
printf '{"id":"%s","prompt":"q","chosen":"a","rejected":"bb"}\n' 1 2 3 4 >"$tmp/pairs.jsonl"
awk '/^```python/ { on = 1; next } /^```/ { on = 0 } on' docs/python.md >"$tmp/examples.py"
(cd "$tmp" && "$python" examples.py >out 2>&1) || { cat "$tmp/out"; die "an example of docs/python.md fails"; }

expect 0 "$python" -m gram --version
says out "gram "
