#!/bin/sh
# Installs the Debian packages that gram is built with, those that are missing; with none missing it does nothing
# and needs no network.
set -eu
packages="gcc clang make pkg-config libdnnl-dev libjansson-dev libpcre2-dev libutf8proc-dev zlib1g-dev libpopt-dev
          libmicrohttpd-dev libcmocka-dev gcovr openmpi-bin libopenmpi-dev python3 python3-pip unzip ca-certificates"

missing=
for p in $packages; do
    dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

sudo=
if [ "$(id -u)" -ne 0 ]; then
    sudo=sudo
    command -v sudo >/dev/null || { echo "deps: as root, run: apt-get install$missing" >&2; exit 1; }
fi
echo "deps: installing$missing"
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq
# shellcheck disable=SC2086  # a list of names
$sudo apt-get install -y -qq --no-install-recommends $missing
