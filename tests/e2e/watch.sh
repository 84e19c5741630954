#!/bin/sh
# gram watch: its page in a browser, and what it cannot watch.
. tests/e2e/lib.sh

for python in python3 /usr/bin/python3; do      # Debian's, where another comes first, has Debian's modules
    $python -W ignore tests/e2e/watch.py "$GRAM"; rc=$?
    [ $rc -eq 77 ] || break
done
[ $rc -eq 0 ] || [ $rc -eq 77 ] || die "watch.py"
expect 1 "$GRAM" watch "$tmp/none"
says err "$tmp/none: No such file or directory"
one_sentence
expect 2 "$GRAM" watch "$tmp" --port 70000
says err '--port 70000: wanted 0 to 65535'
exit $rc
