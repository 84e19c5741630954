#!/bin/bash
# Four hosts in network namespaces that share one directory: one of them slow, one killed while it works. Processes that
# a launcher's environment names, then those that mpirun starts over the simulated network, score a file, evaluate and
# train; what comes out must have the bytes of a run on one host. Needs root, ip, unshare, tc and mpirun; where these
# are not to be had it says so and leaves with 77, and with 3 where the work was done before the host was killed:
# SIM_ROWS asks for more of it. Run in the root of the repository after `make`; B may name the build.
set -u
gram=$PWD/${B:-build}/gram
tmp=$(mktemp -d)
id=$$ bridge=gb$$
die() { echo "sim_hosts: $*"; exit 1; }
skip() { echo "sim_hosts: $*: nothing was simulated"; exit 77; }

clean() {
    for h in 1 2 3 4; do
        for p in $(ip netns pids "g$id-$h" 2>/dev/null); do kill -9 "$p" 2>/dev/null; done
        ip netns del "g$id-$h" 2>/dev/null
    done
    ip link del $bridge 2>/dev/null
    rm -rf "$tmp"
}

# ---- The network ---------------------------------------------------------------------------------------

[ "$(id -u)" = 0 ] || skip "root is needed for namespaces"
for c in ip unshare tc mpirun; do command -v $c >/dev/null || skip "there is no $c"; done
unshare -n -u -p --fork true 2>/dev/null || skip "this machine grants no namespaces"
trap clean EXIT
ip link add $bridge type bridge 2>/dev/null || skip "this machine grants no bridge"
ip addr add 10.77.0.254/24 dev $bridge && ip link set $bridge up || die "the bridge does not come up"
for h in 1 2 3 4; do
    ip netns add "g$id-$h" && ip link add "v$id-$h" type veth peer name eth0 netns "g$id-$h" &&
        ip link set "v$id-$h" master $bridge up && ip -n "g$id-$h" addr add 10.77.0.$h/24 dev eth0 &&
        ip -n "g$id-$h" link set eth0 up && ip -n "g$id-$h" link set lo up || die "host $h has no network"
done
tc -n "g$id-2" qdisc add dev eth0 root netem delay 5ms rate 200mbit 2>/dev/null || echo "  (no netem: host 2 is near)"

# on HOST COMMAND...: with a network, a host name, processes and a session of its own.
on() {
    local h=$1
    shift
    exec setsid ip netns exec "g$id-$h" unshare -u -p --fork --kill-child sh -c 'hostname "host$0"; exec "$@"' "$h" "$@"
}

# ---- What is to be done --------------------------------------------------------------------------------

m=$tmp/model
cp -r tests/golden/train/judge "$m"
printf 'Q {input}\nA {response_a}\nB {response_b}\nBetter:' >"$tmp/judge.txt"
rows=${SIM_ROWS:-1500}
seq "$rows" | sed 's/.*/{"prompt":"question &?","chosen":"answer & and more of it","rejected":"no &"}/' \
    >"$tmp/pairs.jsonl"
score() { echo "score $m $tmp/pairs.jsonl -p $tmp/judge.txt -t 1 --out $1"; }
# shellcheck disable=SC2046
"$gram" $(score "$tmp/want.jsonl") -q || die "one host"

# ---- 1. Shares of a file: host 2 is stopped most of the time, host 3 dies ----------------------------------

process() {     # process RUN HOST [OPTION...]: as a launcher of four starts it
    local run=$1 h=$2
    shift 2
    # shellcheck disable=SC2046
    on "$h" env PMIX_NAMESPACE="$run" OMPI_COMM_WORLD_RANK=$((h - 1)) OMPI_COMM_WORLD_SIZE=4 \
        OMPI_COMM_WORLD_LOCAL_SIZE=1 "$gram" $(score "$tmp/v.jsonl") "$@" 2>"$tmp/said-$h"
}
working() {     # working HOST: gram's processes there
    for p in $(ip netns pids "g$id-$1" 2>/dev/null); do
        [ "$(cat "/proc/$p/comm" 2>/dev/null)" != gram ] || echo "$p"
    done
}
slow() {        # slow HOST: what works there runs a tenth of the time
    local pids
    while pids=$(working "$1") && [ -n "$pids" ]; do
        # shellcheck disable=SC2086
        { kill -STOP $pids; sleep 0.09; kill -CONT $pids; sleep 0.01; } 2>/dev/null
    done
}
begun() { find "$tmp" -name 'v.jsonl.shard-*-of-32*' | wc -l; }

pid=()
for h in 1 2 3 4; do
    process first $h &
    pid[h]=$!
done
until [ "$(begun)" -ge 8 ] || ! kill -0 "${pid[3]}" 2>/dev/null; do sleep 0.02; done
slow 2 &
for p in $(working 3); do kill -9 "$p" 2>/dev/null; done
wait "${pid[3]}" && { echo "sim_hosts: host 3 had done its part before it was killed"; exit 3; }
for h in 1 2 4; do wait "${pid[h]}" || { cat "$tmp/said-$h"; die "host $h did not end well"; }; done
[ ! -e "$tmp/v.jsonl" ] || die "the file is whole though host 3 died"
cut=$(cat "$tmp"/v.jsonl.shard-*-of-32 | wc -l)
echo "host 3 of 4 was killed, host 2 ran a tenth of the time: $cut of $rows rows are there; each said:"
sed 's/^/    /' "$tmp"/said-[124]
for h in 1 2 3 4; do
    process second $h --resume &
    pid[h]=$!
done
for h in 1 2 3 4; do wait "${pid[h]}" || { cat "$tmp/said-$h"; die "host $h, going on"; }; done
cmp "$tmp/want.jsonl" "$tmp/v.jsonl" || die "four hosts write other bytes"
left=$(find "$tmp" -name 'v.jsonl.*' ! -name v.jsonl.how)          # by which it would go on
[ -z "$left" ] || die "something is left: $left"
echo "the same command with --resume: the bytes of one run"

# ---- 2. mpirun over the network ------------------------------------------------------------------------------

cat >"$tmp/agent" <<A
#!/bin/sh
# takes the place of ssh: HOST COMMAND
h=\${1#10.77.0.}
shift
exec ip netns exec "g$id-\$h" unshare -u sh -c "hostname host\$h; \$*"
A
chmod +x "$tmp/agent"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
over_four() {
    mpirun -np 4 --host 10.77.0.1:1,10.77.0.2:1,10.77.0.3:1,10.77.0.4:1 --mca plm_rsh_agent "$tmp/agent" \
        --mca plm rsh --mca btl self,tcp --mca btl_tcp_if_include 10.77.0.0/24 --mca oob_tcp_if_include 10.77.0.0/24 \
        --mca hwloc_base_binding_policy none --tag-output "$gram" "$@"
}
# shellcheck disable=SC2046
over_four $(score "$tmp/m.jsonl") >"$tmp/out" 2>&1 || { cat "$tmp/out"; die "mpirun gram score"; }
cmp "$tmp/want.jsonl" "$tmp/m.jsonl" || die "mpirun over four hosts writes other bytes"
echo "mpirun gram score over four hosts: the bytes of one run"

head -n 40 "$tmp/pairs.jsonl" >"$tmp/train.jsonl"
train() {
    echo "finetune $m $tmp/train.jsonl -p $tmp/judge.txt -t 1 -b 8 --lr 3e-3 --save-every 2 --cache $tmp/cache --out $1"
}
# shellcheck disable=SC2046
mpirun -np 4 --oversubscribe --mca plm isolated --mca btl self,tcp --mca btl_tcp_if_include lo \
    --mca oob_tcp_if_include lo --mca hwloc_base_binding_policy none \
    "$gram" $(train "$tmp/t-one") --steps 12 -q >"$tmp/out" 2>&1 ||
    { cat "$tmp/out"; die "training on one host"; }
# shellcheck disable=SC2046
over_four $(train "$tmp/t-four") --steps 12 -q >"$tmp/out" 2>&1 || { cat "$tmp/out"; die "mpirun gram finetune"; }
cmp "$tmp/t-one/model.safetensors" "$tmp/t-four/model.safetensors" || die "four hosts learn other weights"
echo "mpirun gram finetune over four hosts, 12 steps: the weights of four processes on one host"

# shellcheck disable=SC2046
over_four $(train "$tmp/t-cut") --steps 100000 --schedule constant >"$tmp/out" 2>&1 &
running=$!
until ls "$tmp"/t-cut/checkpoints/*.safetensors >/dev/null 2>&1 || ! kill -0 $running 2>/dev/null; do sleep 0.05; done
for p in $(working 3); do kill -9 "$p"; done
began=$(date +%s)
wait $running && die "the run ended well though a host died"
echo "a host of a training run was killed: it ended everywhere within $(($(date +%s) - began)) s; it said:"
grep -h 'has died\|exited on signal' "$tmp/out" | head -2 | sed 's/^/    /'
ls "$tmp"/t-cut/checkpoints/*.safetensors >/dev/null || die "no checkpoint is left"
echo "passed"
