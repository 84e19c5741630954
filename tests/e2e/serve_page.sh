#!/bin/sh
# What the server shows: the OpenAPI document held against its answers, and the page in a browser. The engine has no
# model, so that this takes seconds; serve.sh has a real one.
. tests/e2e/lib.sh

start() {       # start MODEL: a server, whose address is $url, until stop
    fake_server --model "$1"
    url=http://127.0.0.1:$port
}

stop() {
    exec 3>&-
    wait $server || die "the server ended with an error"
}

skipped=0
try() {         # try TEST: of tests/e2e, against the server
    for python in python3 /usr/bin/python3; do      # Debian's, where another comes first, has Debian's modules
        $python -W ignore "tests/e2e/$1" "$url"; rc=$?
        [ $rc -eq 77 ] || break
    done
    [ $rc -eq 0 ] || [ $rc -eq 77 ] || die "$1"
    [ $rc -eq 0 ] || skipped=77
}

start fake
try serve_openapi.py
try serve_page.py
try serve_page_trouble.py
stop
start head
try serve_openapi.py
try serve_page.py
stop
exit $skipped
