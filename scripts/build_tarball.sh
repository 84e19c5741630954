#!/bin/sh
# build/tarball/gram-VERSION.tar.gz: what the commit that is checked out holds. The same bytes wherever, whenever and
# under whatever settings of git it is made. Needs git.
set -eu
version=$(git show HEAD:include/gram/gram.h | sed -n 's/#define GRAM_VERSION "\(.*\)"/\1/p')
to=build/tarball
rm -rf "$to"
mkdir -p "$to"
# Not by git's own gzip, which settings name; a name or a time of day would stand in its header without -n.
git -c tar.umask=0022 -c core.autocrlf=false archive --format=tar --prefix="gram-$version/" HEAD >"$to/tar"
gzip -n9 <"$to/tar" >"$to/part"
rm "$to/tar"
mv "$to/part" "$to/gram-$version.tar.gz"                # under its name when it is whole
ls -l "$to"
