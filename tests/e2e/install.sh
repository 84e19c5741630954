#!/bin/sh
# make install into an empty place, the example built from there as a user would, make uninstall.
. tests/e2e/lib.sh
case $B in build) ;; *) echo "  only the plain build is installed"; exit 77 ;; esac

p=$tmp/prefix
${MAKE:-make} --no-print-directory install PREFIX="$p" >"$tmp/out" 2>&1 ||
    { cat "$tmp/out"; die "make install failed"; }
[ "$("$p/bin/gram" version)" = "$("$GRAM" version)" ] || die "another gram was installed"
export PKG_CONFIG_PATH="$p/lib/pkgconfig"
# shellcheck disable=SC2046  # flags are words
cc -Wall -Werror examples/score.c -o "$tmp/shared" $(pkg-config --cflags --libs gram) ||
    die "no build against the shared library"
# shellcheck disable=SC2046
cc -Wall -Werror examples/score.c -o "$tmp/static" -Wl,-Bstatic -L"$p/lib" -lgram -Wl,-Bdynamic \
    $(pkg-config --cflags --libs --static gram | sed 's/-lgram//') || die "no build against the static library"
LD_LIBRARY_PATH="$p/lib" ldd "$tmp/shared" | grep -q "$p/lib/libgram.so.0" || die "the soname is not what is installed"
# Nothing but gram_ is seen from outside.
nm -D --defined-only "$p/lib/libgram.so" | awk '$2 ~ /[TDBR]/ && $3 !~ /^gram_/ { print; bad = 1 } END { exit bad }' ||
    die "the shared library shows more than gram.h declares"
if [ -f "$GRAM_MODEL" ]; then
    for build in "$tmp/shared" "$tmp/static" "$B/examples/score"; do
        expect 0 env LD_LIBRARY_PATH="$p/lib" "$build" "$GRAM_MODEL" "Why is the sky blue?" "Rayleigh scattering." \
            "Paint."
        says out "The first answer is better with probability"
    done
fi
find "$p" -type f | sed "s|$p/||" >"$tmp/files"
for f in share/man/man1/gram.1 share/bash-completion/completions/gram share/zsh/site-functions/_gram \
         share/fish/vendor_completions.d/gram.fish include/gram/gram.h include/gram/convert.h lib/libgram.a \
         share/gram/recipes/gram-stage2.yaml; do
    grep -qx "$f" "$tmp/files" || die "$f was not installed"
done
${MAKE:-make} --no-print-directory uninstall PREFIX="$p" >"$tmp/out" 2>&1 ||
    { cat "$tmp/out"; die "make uninstall failed"; }
[ -z "$(find "$p" ! -type d)" ] || { find "$p" ! -type d; die "make uninstall left files"; }
