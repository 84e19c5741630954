#!/bin/sh
# What stands in packaging/: the dashboard asks for metrics that a server has, the service and its options are known.
. tests/e2e/lib.sh
python3 -m json.tool packaging/grafana.json >/dev/null || die "packaging/grafana.json is no JSON"
for metric in $(grep -ow 'gram_[a-z_]*' packaging/grafana.json | sort -u); do
    grep -q "${metric%_bucket}" src/serve/prometheus.c || die "no server has the metric $metric"
done
grep -q '^EnvironmentFile=-/etc/gram.key$' packaging/gram.service || die "the key that is named is not read"
"$GRAM" serve --help >"$tmp/out"
for option in $(sed -n 's/^GRAM_SERVE_OPTIONS=//p' packaging/default | grep -o -- '--[a-z-]*'); do
    says out "$option"
done
