#!/bin/sh
# The nginx configuration of docs/serve.md, with TLS, in front of the server: what clients see through it.
. tests/e2e/lib.sh
for tool in nginx openssl curl; do      # nginx, a service where it is installed: deps.sh has CI install it
    command -v $tool >/dev/null || { echo "  $tool is not installed"; exit 77; }
done

nginx=
trap 'exec 3>&-; [ -z "$nginx" ] || kill "$nginx"; rm -rf "$tmp"' EXIT
fake_server --key s3cret

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=rewards.example.org \
    -addext subjectAltName=DNS:rewards.example.org -keyout "$tmp/key.pem" -out "$tmp/cert.pem" 2>"$tmp/err" ||
    die "openssl: $(cat "$tmp/err")"
tls=$(free_port)
sed -n '/^```nginx$/,/^```$/p' docs/serve.md >"$tmp/one"
nginx_of "s/127.0.0.1:8080/127.0.0.1:$port/; s/listen 443 ssl/listen 127.0.0.1:$tls ssl/
          s|ssl_certificate  .*;|ssl_certificate $tmp/cert.pem;|
          s|ssl_certificate_key .*;|ssl_certificate_key $tmp/key.pem;|" <"$tmp/one"

# ask CURL'S ARGUMENTS: through the proxy; the answer's headers and body go to $tmp/out, its status to $status.
url=https://rewards.example.org:$tls
through() { curl -sS --cacert "$tmp/cert.pem" --connect-to "rewards.example.org:$tls:127.0.0.1:$tls" "$@"; }
ask() {
    status=$(through -o "$tmp/out" -D "$tmp/head" -w '%{http_code}' "$@" 2>"$tmp/err") ||
        { cat "$tmp/err" "$tmp/nginx.log"; die "curl $*"; }
}

wants() {       # wants STATUS
    [ "$status" = "$1" ] || { cat "$tmp/head" "$tmp/out"; die "the proxy answered $status, wanted $1"; }
}

for _ in $(seq 100); do
    through "$url/health" >"$tmp/out" 2>&1 && break
    kill -0 $nginx || { cat "$tmp/err"; die "nginx ended"; }
    sleep 0.1
done
says out '"ok"'
pair='{"prompt":"q","a":"x","b":"yy"}'
ask "$url/v1/score" --json "$pair"; wants 401
says out '"authentication_error"'
ask "$url/v1/score" --json "$pair" -H "Authorization: Bearer s3cret"; wants 200
says out '"preference"'
id=$(sed -n 's/.*"id":"\([^"]*\)".*/\1/p' "$tmp/out")
grep -qi "^x-request-id: $id" "$tmp/head" || { cat "$tmp/head" "$tmp/out"; die "the proxy's request id is not echoed"; }

# The page, which has the site's own name, may ask; a page of another site may not.
ask "$url/"; wants 200
says out "<title>gram</title>"
ask "$url/v1/score" --json "$pair" -H "Authorization: Bearer s3cret" -H "Origin: $url"; wants 200
ask "$url/v1/score" --json "$pair" -H "Authorization: Bearer s3cret" -H "Origin: https://elsewhere.example.org"
wants 403

# A body over the limit is refused by the server, in its own form.
python3 -c 'print("{\"prompt\":\"" + 9000000 * "x" + "\",\"a\":\"x\",\"b\":\"y\"}")' >"$tmp/large"
ask "$url/v1/score" -H "Content-Type: application/json" --data-binary "@$tmp/large" -H "Authorization: Bearer s3cret"
wants 413
says out '"too_large_error"'

# A stream passes.
ask "$url/v1/chat/completions" -N --json '{"messages":[{"role":"user","content":"q"}],"stream":true}' \
    -H "Authorization: Bearer s3cret"; wants 200
says out "data: [DONE]"

# A client that leaves: the proxy hangs up on the server, which drops its work.
slow='{"prompt":"q","a":"SLOW","b":"x"}'
for _ in 1 2 3 4; do
    slow=$slow,$slow            # 16, of 0.2 s each
done
timeout 1 curl -sS --cacert "$tmp/cert.pem" --connect-to "rewards.example.org:$tls:127.0.0.1:$tls" "$url/v1/score" \
    --json "{\"pairs\":[$slow]}" -H "Authorization: Bearer s3cret" >/dev/null 2>&1
for _ in $(seq 100); do
    ask "$url/metrics" -H "Authorization: Bearer s3cret"; wants 200
    grep -q '^gram_requests_total.*"499"' "$tmp/out" && break
    sleep 0.1
done
grep -q '^gram_requests_total.*"499"' "$tmp/out" ||
    { cat "$tmp/out"; die "the server does not notice a client that left"; }
exec 3>&-
wait $server || die "the server ended with an error"
ask "$url/health"; wants 502
echo "  the documented proxy works with TLS"
