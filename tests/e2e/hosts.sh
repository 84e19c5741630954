#!/bin/sh
# Four hosts in network namespaces, one slow and one killed: scripts/sim_hosts.sh. On a fast machine it takes more rows.
export ASAN_OPTIONS="detect_leaks=0:${ASAN_OPTIONS:-}"
for rows in 1500 15000 150000; do
    SIM_ROWS=$rows scripts/sim_hosts.sh
    got=$?
    [ $got = 3 ] || exit $got
done
exit 1
