#!/bin/sh
# What stands in packaging/: the dashboard is one and asks for metrics that a server has, the service and its options
# are known.
. tests/e2e/lib.sh
trap 'exec 3>&-; rm -rf "$tmp"' EXIT
fake_server
python3 - "http://127.0.0.1:$port" packaging/grafana.json "$tmp/rules.json" >"$tmp/metrics" <<'P' || die "grafana.json"
import json, re, sys, urllib.request
url, board, rules = sys.argv[1:]
urllib.request.urlopen(url + "/health").read()          # an answer to count
metrics = urllib.request.urlopen(url + "/metrics").read().decode()
served = set(re.findall(r"^(\w+)[ {]", metrics, re.M))
d = json.load(open(board, encoding="utf-8"))
assert d["title"] and d["uid"] and d["schemaVersion"] >= 36 and d["time"]["from"], "what Grafana wants of a dashboard"
known = {v["name"] for v in d["templating"]["list"]} | {"__rate_interval"}
asked, place, ids = [], set(), [p["id"] for p in d["panels"]]
assert len(ids) == len(set(ids)), "two panels of one id"
queries = [v["query"] if isinstance(v["query"], str) else v["query"]["query"] for v in d["templating"]["list"]]
for p in d["panels"]:
    at = p["gridPos"]
    cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
    assert cells and max(x for x, _ in cells) < 24 and not cells & place, p["title"] + ": not in its own place"
    place |= cells
    refs = [t["refId"] for t in p["targets"]]
    assert refs and len(refs) == len(set(refs)) and p["title"] and p["type"] and p["datasource"], p["title"]
    asked += [t["expr"] for t in p["targets"]]
for text in asked + queries + [p["datasource"]["uid"] for p in d["panels"]]:
    unknown = set(re.findall(r"\$\{?(\w+)", text)) - known
    assert not unknown, f"{text}: no variable {unknown}"
    missing = set(re.findall(r"\bgram_\w+", text)) - served
    assert not missing, f"{text}: no server has {missing}"
for i, text in enumerate(asked):
    asked[i] = re.sub(r"\$\{?(\w+)\}?", lambda v: {"__rate_interval": "5m"}.get(v[1], "x"), text)
json.dump({"groups": [{"name": "board", "rules": [{"record": f"r{i}", "expr": e} for i, e in enumerate(asked)]}]},
          open(rules, "w"))
print(metrics, end="")
P
if command -v promtool >"$tmp/out"; then                # Prometheus' own, of Debian's package prometheus
    expect 0 promtool check rules "$tmp/rules.json"
    expect 0 promtool check metrics <"$tmp/metrics"
fi
exec 3>&-
wait $server || die "the server ended with an error"

grep -q '^EnvironmentFile=-/etc/gram.key$' packaging/gram.service || die "the key that is named is not read"
# systemd's own check, where it understands any unit on this machine; it wants the program that is named to be there.
printf '[Service]\nExecStart=/bin/sh\n' >"$tmp/any.service"
if command -v systemd-analyze >"$tmp/out" && systemd-analyze verify --man=no "$tmp/any.service" >"$tmp/out" 2>&1; then
    sed "s|^ExecStart=/usr/bin/gram |ExecStart=$GRAM |" packaging/gram.service >"$tmp/gram.service"
    expect 0 systemd-analyze verify --man=no "$tmp/gram.service"
    [ ! -s "$tmp/err" ] || { cat "$tmp/err"; die "systemd does not understand all of gram.service"; }
fi
"$GRAM" serve --help >"$tmp/out"
for option in $(sed -n 's/^GRAM_SERVE_OPTIONS=//p' packaging/default | grep -o -- '--[a-z-]*'); do
    says out "$option"
done
