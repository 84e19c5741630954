#!/bin/sh
# build_deb.sh [DIR]: DIR/gram_VERSION_ARCH.deb, in build/deb where none is given: the program, the library, headers,
# man page, completions, recipes, judges and the service. Its dependencies are what the built files link. Needs
# dpkg-dev. What is built has the same bytes whenever and by whomever it is packed.
set -eu
umask 022
version=$(sed -n 's/#define GRAM_VERSION "\(.*\)"/\1/p' include/gram/gram.h)
arch=$(dpkg --print-architecture)
to=${1:-build/deb}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 315532800)}
export SOURCE_DATE_EPOCH LC_ALL=C TZ=UTC0
mkdir -p "$to"
to=$(cd "$to" && pwd) root=$to/root
rm -rf "$root" "$to"/gram_*.deb
mkdir -p "$root/DEBIAN" "$to/debian"
make --no-print-directory install PREFIX=/usr libdir="/usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH)" \
    DESTDIR="$root" >/dev/null
strip --strip-unneeded "$root"/usr/bin/gram "$root"/usr/lib/*/libgram.so.*.*
strip --strip-debug --enable-deterministic-archives "$root"/usr/lib/*/libgram.a
gzip -n9 "$root"/usr/share/man/man1/gram.1
install -Dm 644 packaging/gram.service "$root/usr/lib/systemd/system/gram.service"
install -Dm 644 packaging/default "$root/etc/default/gram"
install -Dm 644 LICENSE "$root/usr/share/doc/gram/copyright"
echo /etc/default/gram >"$root/DEBIAN/conffiles"

# dpkg-shlibdeps wants a source package's control file, which says nothing here.
printf 'Source: gram\n\nPackage: gram\nArchitecture: any\n' >"$to/debian/control"
depends=$(cd "$to" && dpkg-shlibdeps -O root/usr/bin/gram root/usr/lib/*/libgram.so.*.* |
    sed -n 's/^shlibs:Depends=//p')
# In KiB as Debian counts it, which no file system has a part in.
installed=$(find "$root" -path "$root/DEBIAN" -prune -o -type f -printf '%s\n' -o -printf '1\n' |
    awk '{ n += int(($1 + 1023) / 1024) } END { print n }')
cat >"$root/DEBIAN/control" <<X
Package: gram
Version: $version
Architecture: $arch
Maintainer: the gram project <gram@localhost>
Installed-Size: $installed
Depends: $depends
Recommends: libcurl4
Suggests: python3-duckdb, openmpi-bin
Section: science
Priority: optional
Description: generative reward models: score, rank, generate, train and serve
 gram judges which of two answers is better, ranks groups, serves rewards to
 programs that train language models, and trains such judges, on a CPU.
X
find "$root" -type d -exec chmod 755 {} +
find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
dpkg-deb --root-owner-group -b "$root" "$to/part" >/dev/null
mv "$to/part" "$to/gram_${version}_$arch.deb"           # under its name when it is whole
rm -rf "$root" "$to/debian"
ls -l "$to"
