#!/bin/sh
# release.sh [--draft]: build/release/ with gram-VERSION.tar.gz, the wheel, the Debian package and their SHA256SUMS, all
# made in a copy of the commit that is checked out. Runs over one commit on one machine give the same bytes, wherever,
# whenever and by whomever they are started. --draft: of a version that CHANGELOG.md calls "not yet released". Needs
# what `make deb wheel` needs, and abigail-tools.
set -eu
fail() { echo "release.sh: $*" >&2; exit 1; }

draft=
[ "${1:-}" != --draft ] || draft=1
version=$(sed -n 's/#define GRAM_VERSION "\(.*\)"/\1/p' include/gram/gram.h)
[ -z "$(git status --porcelain)" ] || fail "there are changes that are not committed"
heading=$(grep "^## $version\b" CHANGELOG.md) || fail "CHANGELOG.md says nothing of $version"
case $heading in
*"not yet released"*) [ -n "$draft" ] || fail "CHANGELOG.md: '$heading': wanted the day of the release" ;;
esac
[ -n "$draft" ] || scripts/abi_check.sh

umask 022
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH LC_ALL=C TZ=UTC0
to=$PWD/build/release work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -rf "$to"
mkdir -p "$to"
scripts/build_tarball.sh >/dev/null
cp build/tarball/*.tar.gz "$to"
tar -x -z --no-same-owner --no-same-permissions -f "$to/gram-$version.tar.gz" -C "$work"
cd "$work/gram-$version"
CFLAGS="${CFLAGS:-} -ffile-prefix-map=$PWD=."       # the folder's name is in no byte
export CFLAGS
make -j"$(nproc)" all >/dev/null
make --no-print-directory deb wheel >/dev/null
cp build/deb/*.deb build/wheel/*.whl "$to"
cd "$to"
sha256sum -- * >SHA256SUMS
cat SHA256SUMS
