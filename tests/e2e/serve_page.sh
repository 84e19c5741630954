#!/bin/sh
# What the server shows: the OpenAPI document held against its answers, and the page in a browser. The engine has no
# model, so that this takes seconds; serve.sh has a real one.
. tests/e2e/lib.sh

mkfifo "$tmp/stop"
"$B/tests/serve/fake_server" <"$tmp/stop" >"$tmp/port" &
server=$!
exec 3>"$tmp/stop"              # the server ends when this is closed
for _ in $(seq 100); do
    [ -s "$tmp/port" ] && break
    sleep 0.1
done
url=http://127.0.0.1:$(cat "$tmp/port")
skipped=0
for test in serve_openapi.py serve_page.py; do
    for python in python3 /usr/bin/python3; do      # Debian's, where another comes first, has Debian's modules
        $python -W ignore "tests/e2e/$test" "$url"; rc=$?
        [ $rc -eq 77 ] || break
    done
    [ $rc -eq 0 ] || [ $rc -eq 77 ] || die "$test"
    [ $rc -eq 0 ] || skipped=77
done
exec 3>&-
wait $server || die "the server ended with an error"
exit $skipped
