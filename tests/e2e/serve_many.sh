#!/bin/sh
# The nginx configuration of docs/serve.md for several servers: requests that begin alike meet in one server, all
# servers get some, and when one is lost the other answers in its place.
. tests/e2e/lib.sh
for tool in nginx curl; do      # deps.sh leaves nginx alone: it starts a service where it is installed
    command -v $tool >/dev/null || { echo "  $tool is not installed"; exit 77; }
done

nginx=
trap 'exec 3>&- 4>&-; [ -z "$nginx" ] || kill "$nginx"; rm -rf "$tmp"' EXIT
fake_server
first=$port
mkfifo "$tmp/stop2"
"$B/tests/serve/fake_server" <"$tmp/stop2" >"$tmp/port2" 3>&- &
second_server=$!
exec 4>"$tmp/stop2"
server_port "$tmp/port2"
second=$port
port=$(free_port)
sed -n '/^## Several servers/,/^\[pack/p' docs/serve.md | sed -n '/^```$/,/^```$/p' >"$tmp/several"
nginx_of "s/10.0.0.1:8080/127.0.0.1:$first/; s/10.0.0.2:8080/127.0.0.1:$second/
          s/listen 8080/listen 127.0.0.1:$port/; s/location/add_header X-Server \$upstream_addr always; location/" \
    <"$tmp/several"
for _ in $(seq 100); do
    curl -sf "http://127.0.0.1:$port/health" >"$tmp/out" 2>&1 && break
    kill -0 $nginx || { cat "$tmp/err"; die "nginx ended"; }
    sleep 0.1
done

where() {       # where PROMPT ANSWER: which server judges it
    curl -sSf -D "$tmp/head" -o "$tmp/out" "http://127.0.0.1:$port/v1/score" -H "Content-Type: application/json" \
        -d "{\"prompt\":\"$1\",\"a\":\"$2\",\"b\":\"no\"}" 2>"$tmp/err" ||
        { cat "$tmp/err" "$tmp/nginx.log"; die "curl"; }
    sed -n 's/^X-Server: \([0-9.:]*\).*/\1/p' "$tmp/head"
}
long=$(seq -s ' ' 200)          # more than 512 bytes
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
    at=$(where "$i $long" x)
    [ "$(where "$i $long" "another answer")" = "$at" ] || die "prompt $i was judged by two servers"
    [ "$(where "$i $long and on" y)" = "$at" ] || die "what begins as prompt $i was judged elsewhere"
    echo "$at"
done | sort | uniq >"$tmp/servers"
[ "$(wc -l <"$tmp/servers")" -eq 2 ] || { cat "$tmp/servers"; die "one server has all"; }

exec 4>&-
wait $second_server || die "the second server ended with an error"
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
    where "$i $long" x >>"$tmp/after"
    says out '"preference"'
done
tail -n 1 "$tmp/after" | grep -qx "127.0.0.1:$first" || die "the lost server is still asked"
exec 3>&-
wait $server || die "the first server ended with an error"
echo "  requests that begin alike meet in one server"
