#!/bin/sh
# Compiles each header alone, the public ones as C++ too. The argument is the compiler, or it is cc.
cc=${1:-cc}
flags="-fsyntax-only -Wall -Wextra -Werror -Iinclude -Isrc -Itests -D_GNU_SOURCE -DGR_EMU"     # of a GPU its stand-ins
failed=0
for h in include/gram/*.h src/*/*.h tests/*.h; do
    # shellcheck disable=SC2086  # lists of flags
    echo "#include \"$PWD/$h\"" | $cc -std=c11 $flags -xc - || { echo "$h: does not compile alone"; failed=1; }
done
for h in include/gram/*.h; do
    # shellcheck disable=SC2086
    echo "#include \"$PWD/$h\"" | $cc -std=c++11 $flags -xc++ - || { echo "$h: is no C++"; failed=1; }
done
[ "$failed" = 0 ] && echo "headers: each compiles alone"
exit "$failed"
