#!/bin/sh
# abi_check.sh [TAG]: libgram.so beside that of the last release (the newest tag vX.Y.Z), by libabigail's abidiff
# (Debian's abigail-tools), against the rule of CHANGELOG.md: what goes or changes raises MAJOR (while that is 0,
# MINOR), what is added raises MINOR. Prints the difference; fails where the version does not say what the library does.
set -eu
fail() { echo "abi_check.sh: $*" >&2; exit 1; }

command -v abidiff >/dev/null || fail "abidiff is missing: apt-get install abigail-tools"
tag=${1:-$(git describe --tags --abbrev=0 --match 'v[0-9]*' 2>/dev/null || true)}
[ -n "$tag" ] || { echo "abi_check.sh: there is no release yet to compare with"; exit 0; }
version() { sed -n 's/#define GRAM_VERSION "\(.*\)"/\1/p'; }
now=$(version <include/gram/gram.h)
then=$(git show "$tag:include/gram/gram.h" | version)
[ -n "$then" ] || fail "$tag has no include/gram/gram.h with a version"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for at in "$tag" HEAD; do
    mkdir "$work/$at"
    git archive "$at" | tar -x -C "$work/$at"
    make -C "$work/$at" -j"$(nproc)" build/libgram.so >"$work/log" 2>&1 ||
        { tail -n 20 "$work/log"; fail "$at does not build"; }
done
so() { echo "$work/$1/build/libgram.so"; }

# differ OPTION...: abidiff's bit 4, a difference of any kind (its 8 is set for few of those that break a program).
differ() {
    status=0
    abidiff "$@" --headers-dir1 "$work/$tag/include" --headers-dir2 "$work/HEAD/include" --drop-private-types \
        "$(so "$tag")" "$(so HEAD)" || status=$?
    [ $((status & 3)) -eq 0 ] || fail "abidiff failed"
    [ $((status & 4)) -ne 0 ]
}
part() { echo "$1" | cut -d . -f "$2"; }
raised() { [ "$(part "$now" "$1")" -gt "$(part "$then" "$1")" ]; }
same_major() { [ "$(part "$now" 1)" -eq "$(part "$then" 1)" ]; }
breaking=2
[ "$(part "$then" 1)" -eq 0 ] || breaking=1
if differ --no-added-syms; then
    raised 1 || { [ $breaking -eq 2 ] && same_major && raised 2; } ||
        fail "something that $then had is gone or changed: $now does not say so"
elif differ; then
    raised 1 || { same_major && raised 2; } || fail "the library has more than $then: $now does not say so"
fi
echo "$then -> $now: the version says what the library does"
