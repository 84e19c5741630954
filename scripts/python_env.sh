#!/bin/sh
# python_env.sh [--all] [DIR]: the virtual environment in which the tests of the Python package run, build/venv where
# none is named; with what it needs already there it does nothing. tests/e2e/python.sh uses it where PYTHON names its
# python. --all: with TRL, PyTorch and lm-eval too (3 GB). Needs python3-venv and a package index.
set -eu
modules="cffi numpy setuptools tqdm duckdb datasets" packages="cffi numpy setuptools>=70.1 tqdm duckdb datasets"
if [ "${1-}" = --all ]; then
    modules="$modules torch transformers trl lm_eval" packages="$packages torch transformers trl lm_eval"
    shift
fi
to=${1:-build/venv}
has='import importlib.util, sys; sys.exit(not all(importlib.util.find_spec(m) for m in sys.argv[1:]))'
# shellcheck disable=SC2086  # a list of names
[ ! -x "$to/bin/python" ] || ! "$to/bin/python" -c "$has" $modules || exit 0
python3 -m venv "$to"
# shellcheck disable=SC2086  # a list of names
"$to/bin/pip" install -q --disable-pip-version-check --retries 1 --timeout 20 $packages
