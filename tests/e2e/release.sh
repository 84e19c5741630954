#!/bin/sh
# What a release is made of has the same bytes in another folder, later, under another umask and other settings of git:
# the tarball, and how the Debian package is put together. And scripts/abi_check.sh beside a library that changes.
. tests/e2e/lib.sh
case $B in build) ;; *) echo "  only the plain build is packed"; exit 77 ;; esac
git rev-parse --verify -q HEAD >/dev/null 2>&1 || { echo "  this is no work tree of git"; exit 77; }

# A library and its repository, small enough to be packed and compared many times.
here=$PWD
mkdir -p "$tmp/lib/include/gram"
cd "$tmp/lib" || exit 1
cat >include/gram/gram.h <<'X'
#define GRAM_VERSION "0.1.0"
typedef struct { int threads; } gram_options;
typedef struct gram_model gram_model;
double gram_score(const gram_model *m, const gram_options *o, int row);
X
cat >gram.c <<'X'
#include <gram/gram.h>
struct gram_model { int rows; };
double gram_score(const gram_model *m, const gram_options *o, int row) { return m->rows + o->threads + row; }
static double gram_more(int x) { return x; }
X
printf 'build/libgram.so: gram.c include/gram/gram.h\n\tmkdir -p build\n\t$(CC) -g -fPIC -shared -Iinclude -o $@ $<\n' \
    >Makefile
printf '#!/bin/sh\n' >run
chmod 755 run
ln -s run link
commit() {
    git add -A
    git -c user.name=a -c user.email=a@localhost -c commit.gpgsign=false commit -q -m "$1"
}
git init -q . 2>"$tmp/err"
commit first

# ---- The same bytes ----

modes() {       # modes WHAT: the list in $tmp/list has root's files alone, which everybody reads
    grep -v -e '^[d-]rwxr-xr-x root/root' -e '^-rw-r--r-- root/root' -e '^lrwxrwxrwx root/root' "$tmp/list" | grep . &&
        die "modes or owners of this machine are in $1"
}
tarball() {     # tarball DIR: of a clone there; its sha256
    git clone -q "$tmp/lib" "$tmp/$1" 2>"$tmp/err" || die "git clone: $(cat "$tmp/err")"
    (cd "$tmp/$1" && "$here/scripts/build_tarball.sh" >"$tmp/out" && cat build/tarball/gram-0.1.0.tar.gz | sha256sum)
}
mkdir "$tmp/home"
git config -f "$tmp/home/.gitconfig" tar.umask user
git config -f "$tmp/home/.gitconfig" core.autocrlf true
one=$(tarball one)
two=$(export HOME="$tmp/home" TZ=Pacific/Kiritimati && umask 077 && sleep 1 && tarball another)
[ "${#one}" -gt 64 ] && [ "$one" = "$two" ] || die "two tarballs of one commit: '$one' and '$two'"
tar -t -v -z -f "$tmp/another/build/tarball/gram-0.1.0.tar.gz" >"$tmp/list"
modes "the tarball"
[ "$(wc -l <"$tmp/list")" -eq 8 ] || { cat "$tmp/list"; die "the tarball has other files"; }

package() {     # package DIR: of this build; compressing, which is the same anywhere, would take its time
    (cd "$here" && DPKG_DEB_COMPRESSOR_TYPE=none scripts/build_deb.sh "$tmp/$1" >"$tmp/out" 2>&1) ||
        { cat "$tmp/out"; die "build_deb.sh"; }
}
if command -v dpkg-deb >"$tmp/out" && command -v dpkg-shlibdeps >"$tmp/out"; then
    (umask 022 && package deb) || exit 1
    (umask 077 && export TZ=Pacific/Kiritimati && package again) || exit 1
    cmp "$tmp"/deb/gram_*.deb "$tmp"/again/gram_*.deb || die "two packages of one build differ"
    dpkg-deb -c "$tmp"/deb/gram_*.deb >"$tmp/list"
    modes "the package"
fi

# ---- The library's ABI ----

command -v abidiff >"$tmp/out" || { echo "  abigail-tools is not installed: no ABI was compared"; exit 0; }
echo '## 0.1.0, not yet released' >CHANGELOG.md
commit log
expect 0 "$here/scripts/abi_check.sh"
says out "there is no release yet"
# A clone without tags has what the release wrote down; without that it is no pass.
echo '## 0.1.0, 2026-01-02' >CHANGELOG.md
commit released
expect 1 "$here/scripts/abi_check.sh"
says err "neither its tag"
expect 0 "$here/scripts/abi_check.sh" --dump
commit dump
fine="the version says what the library does" changed="something that 0.1.0 had is gone or changed"
expect 0 "$here/scripts/abi_check.sh"
says out "0.1.0 -> 0.1.0: $fine"
sed -i 's/int threads/int more, threads/' include/gram/gram.h
commit another
expect 1 "$here/scripts/abi_check.sh"
cat "$tmp/err" >>"$tmp/out"
says out "$changed: 0.1.0"
git reset -q --hard HEAD~1
git tag v0.1.0
abi() {         # abi STATUS SENTENCE SED: the check beside 0.1.0 of a library that SED has changed
    git reset -q --hard v0.1.0
    sed -i "$3" gram.c include/gram/gram.h
    git diff --quiet && die "nothing is changed by $3"
    commit change
    expect "$1" "$here/scripts/abi_check.sh"
    cat "$tmp/err" >>"$tmp/out"
    says out "$2"
}
patch='s/"0.1.0"/"0.1.1"/;' minor='s/"0.1.0"/"0.2.0"/;'
abi 1 "$changed: 0.1.1" "$patch s/int row/long row/"
abi 1 "$changed: 0.1.0" 's/int threads/int more, threads/'
abi 1 "$changed: 0.1.1" "$patch s/gram_score/gram_scores/"
abi 0 "$fine" "$minor s/int row/long row/"
abi 1 "the library has more than 0.1.0: 0.1.1" "$patch s/static double/double/"
abi 0 "$fine" "$minor s/static double/double/"
abi 0 "$fine" 's/int rows/int more, rows/'          # of a type that no header shows
