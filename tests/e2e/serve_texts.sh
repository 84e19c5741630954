#!/bin/sh
# Texts that a server writes: the same in every company, in parts or whole, as a chat or as a completion.
. tests/e2e/lib.sh
command -v python3 >/dev/null || { echo "  python3 is not installed"; exit 77; }
tiny_model "$tmp/tiny"
python3 tests/e2e/serve_texts.py "$GRAM" "$tmp/tiny" || die "texts"
