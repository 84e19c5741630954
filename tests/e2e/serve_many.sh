#!/bin/sh
# The nginx and HAProxy configurations of docs/serve.md for several servers: requests that begin alike meet in one
# server, all servers get some, and when one is lost the other answers in its place.
. tests/e2e/lib.sh
# nginx and haproxy are services where they are installed: deps.sh has CI alone install them.
command -v curl >"$tmp/out" || { echo "  curl is not installed"; exit 77; }

proxy=
trap 'exec 3>&- 4>&-; [ -z "$proxy" ] || kill "$proxy"; rm -rf "$tmp"' EXIT

# haproxy_of EDIT: as nginx_of.
haproxy_of() {
    grep -v '^```' | sed "$1" >"$tmp/haproxy.cfg"
    haproxy -db -f "$tmp/haproxy.cfg" 2>"$tmp/haproxy.log" 3>&- 4>&- &
}

# The documented configuration for $first and $second, at $port, with the server's address in each answer.
start_nginx() {
    sed -n '/^## Several servers/,/^HAProxy/p' docs/serve.md | sed -n '/^```$/,/^```$/p' >"$tmp/several"
    nginx_of "s/10.0.0.1:8080/127.0.0.1:$first/; s/10.0.0.2:8080/127.0.0.1:$second/
              s/listen 8080/listen 127.0.0.1:$port/; s/location/add_header X-Server \$upstream_addr always; location/" \
        <"$tmp/several"
}
start_haproxy() {
    sed -n '/^```haproxy$/,/^```$/p' docs/serve.md >"$tmp/several"
    haproxy_of "s/10.0.0.1:8080/127.0.0.1:$first/; s/10.0.0.2:8080/127.0.0.1:$second/
                s/bind :8080/bind 127.0.0.1:$port/
                s/ *default_backend .*/    http-response set-header X-Server %si:%sp\n&/" <"$tmp/several"
}

where() {       # where PROMPT ANSWER: which server judges it
    curl -sSf -D "$tmp/head" -o "$tmp/out" "http://127.0.0.1:$port/v1/score" -H "Content-Type: application/json" \
        -d "{\"prompt\":\"$1\",\"a\":\"$2\",\"b\":\"no\"}" 2>"$tmp/err" ||
        { cat "$tmp/err" "$tmp/$by.log"; die "curl through $by"; }
    sed -n 's/^x-server: \([0-9.:]*\).*/\1/ip' "$tmp/head"
}
long=$(seq -s ' ' 200)          # more than 512 bytes

# behind PROXY: two servers behind that proxy.
behind() {
    by=$1
    fake_server
    first=$port
    mkfifo "$tmp/stop2"
    "$B/tests/serve/fake_server" <"$tmp/stop2" >"$tmp/port2" 3>&- &
    second_server=$!
    exec 4>"$tmp/stop2"
    server_port "$tmp/port2"
    second=$port
    port=$(free_port)
    "start_$by"
    proxy=$!
    for _ in $(seq 100); do
        curl -sf "http://127.0.0.1:$port/health" >"$tmp/out" 2>&1 && break
        kill -0 $proxy || { cat "$tmp/$by.log"; die "$by ended"; }
        sleep 0.1
    done
    for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
        at=$(where "$i $long" x)
        [ "$(where "$i $long" "another answer")" = "$at" ] || die "$by: prompt $i was judged by two servers"
        [ "$(where "$i $long and on" y)" = "$at" ] || die "$by: what begins as prompt $i was judged elsewhere"
        echo "$at"
    done | sort | uniq >"$tmp/servers"
    [ "$(wc -l <"$tmp/servers")" -eq 2 ] || { cat "$tmp/servers"; die "$by: one server has all"; }
    curl -sf -D "$tmp/head" -o "$tmp/out" "http://127.0.0.1:$port/health"
    grep -qi '^x-request-id: ..*' "$tmp/head" || { cat "$tmp/head"; die "$by: a request has no id"; }

    exec 4>&-
    wait $second_server || die "the second server ended with an error"
    for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
        where "$i $long" x >"$tmp/after"
        says out '"preference"'
    done
    grep -qx "127.0.0.1:$first" "$tmp/after" || die "$by: the lost server is still asked"
    kill $proxy
    wait $proxy
    proxy=
    exec 3>&-
    wait $server || die "the first server ended with an error"
    rm -f "$tmp/stop2" "$tmp/port2"
    echo "  requests that begin alike meet in one server behind $by"
}
tried=
for by in nginx haproxy; do
    command -v "$by" >"$tmp/out" && tried=1 && behind "$by"
done
[ -n "$tried" ] || { echo "  neither nginx nor haproxy is installed"; exit 77; }
