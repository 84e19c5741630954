#!/bin/sh
# abi_check.sh [TAG]: libgram.so beside that of the last release (the newest tag vX.Y.Z, or where a clone has no tags
# what --dump wrote), by libabigail's abidiff (Debian's abigail-tools), against the rule of CHANGELOG.md: what goes or
# changes raises MAJOR (while that is 0, MINOR), what is added raises MINOR. Prints the difference; fails where the
# version does not say what the library does, and where there was a release and nothing is left of it to compare with.
#
# abi_check.sh --dump: packaging/abi/libgram-VERSION.abi.gz, to be committed with a release: all that its interface is.
set -eu
dumps=packaging/abi
fail() { echo "abi_check.sh: $*" >&2; exit 1; }

command -v abidiff >/dev/null || fail "abidiff is missing: apt-get install abigail-tools"
version() { sed -n 's/#define GRAM_VERSION "\(.*\)"/\1/p'; }
now=$(version <include/gram/gram.h)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
build() {       # build COMMIT: its library and headers in $work/COMMIT
    mkdir "$work/$1"
    git archive "$1" | tar -x -C "$work/$1"
    make -C "$work/$1" -j"$(nproc)" build/libgram.so >"$work/log" 2>&1 ||
        { tail -n 20 "$work/log"; fail "$1 does not build"; }
}
so() { echo "$work/$1/build/libgram.so"; }

build HEAD
if [ "${1-}" = --dump ]; then
    mkdir -p $dumps
    # With the files of types: by these abidiff tells what is private.
    abidw --headers-dir "$work/HEAD/include" --drop-private-types --no-corpus-path --no-comp-dir-path "$(so HEAD)" |
        sed "s|$work/HEAD/||g" | gzip -n9 >"$work/dump"
    mv "$work/dump" "$dumps/libgram-$now.abi.gz"
    echo "$dumps/libgram-$now.abi.gz"
    exit 0
fi
tag=${1:-$(git describe --tags --abbrev=0 --match 'v[0-9]*' 2>/dev/null || true)}
dump=$(find $dumps -name 'libgram-*.abi.gz' 2>/dev/null | sort -V | tail -n 1)
if [ -n "$tag" ]; then
    then=$(git show "$tag:include/gram/gram.h" | version)
    [ -n "$then" ] || fail "$tag has no include/gram/gram.h with a version"
    build "$tag"
    before=$(so "$tag")
elif [ -n "$dump" ]; then
    then=${dump#"$dumps/libgram-"} then=${then%.abi.gz}
    before=$work/before.abi
    gunzip -c "$dump" >"$before"
elif grep -q '^## [0-9][0-9.]*, [0-9]' CHANGELOG.md; then
    fail "CHANGELOG.md tells of a release, and there is neither its tag (git fetch --tags) nor $dumps/"
else
    echo "abi_check.sh: there is no release yet to compare with"
    exit 0
fi

# differ OPTION...: abidiff's bit 4, a difference of any kind (its 8 is set for few of those that break a program).
differ() {
    status=0
    [ -z "$tag" ] || set -- "$@" --headers-dir1 "$work/$tag/include"
    abidiff "$@" --headers-dir2 "$work/HEAD/include" --drop-private-types "$before" "$(so HEAD)" || status=$?
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
