#!/bin/sh
# Installs the Debian packages that gram is built with, those that are missing; with none missing it does nothing
# and needs no network. `deps.sh tests` adds those that tests of the server and of releases use; where these cannot be
# had, such a test says so and is left out.
set -eu
packages="gcc g++ clang libclang-rt-dev libomp-dev make pkg-config libdnnl-dev libjansson-dev libpcre2-dev
          libutf8proc-dev zlib1g-dev libzstd-dev liblz4-dev nettle-dev libcurl4
          libpopt-dev libcyaml-dev libyaml-dev libmicrohttpd-dev libjs-d3 libcmocka-dev gcovr
          openmpi-bin libopenmpi-dev python3 python3-pip unzip ca-certificates"
extra=
[ "${1-}" != tests ] ||
    extra="python3-venv python3-cffi python3-numpy python3-jsonschema python3-selenium chromium chromium-driver wrk
           libpython3.11 python3-yaml abigail-tools"
# Proxies are services from the moment they are installed, which nobody wants of a test on a machine of theirs.
[ "${1-}" != tests ] || [ -z "${CI-}" ] || extra="$extra nginx haproxy"

not_installed() {
    for p in "$@"; do
        dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || printf ' %s' "$p"
    done
}
# shellcheck disable=SC2086  # lists of names
missing=$(not_installed $packages) extra=$(not_installed $extra)
[ -n "$missing$extra" ] || exit 0

sudo=
if [ "$(id -u)" -ne 0 ]; then
    sudo=sudo
    command -v sudo >/dev/null || { echo "deps: as root, run: apt-get install$missing" >&2; exit 1; }
fi
echo "deps: installing$missing$extra"
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq || [ -z "$missing" ]       # what is left out may be out of reach
# shellcheck disable=SC2086
[ -z "$missing" ] || $sudo apt-get install -y -qq --no-install-recommends $missing
# shellcheck disable=SC2086
[ -z "$extra" ] || $sudo apt-get install -y -qq --no-install-recommends $extra ||
    echo "deps: going on without$extra" >&2
