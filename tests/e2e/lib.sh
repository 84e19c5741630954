# lib.sh - what the end-to-end tests share; they source it. run_tests.sh starts them in the root of the repository
# with B and GRAM_MODEL in the environment, as `make test` does.
# shellcheck shell=sh
# shellcheck disable=SC2016  # what `sh -c` runs expands there
set -u
B=${B:-build}
GRAM=$PWD/$B/gram
GRAM_MODEL=${GRAM_MODEL-build/model/SmolLM2-135M-Instruct.Q4_1.gguf}
case $GRAM_MODEL in /*) ;; *) GRAM_MODEL=$PWD/$GRAM_MODEL ;; esac
export GRAM GRAM_MODEL
all_tmp=$(mktemp -d)
tmp=$all_tmp
trap 'rm -rf "$all_tmp"' EXIT

die() {
    echo "$0: $*"
    exit 1
}

# tiny_model DIR: a judge of two layers that reads bytes and has room for any row; it knows nothing.
tiny_model() {
    mkdir -p "$1"
    cp tests/golden/train/judge/* "$1/"
    sed 's/"max_position_embeddings": [0-9]*/"max_position_embeddings": 65536/' tests/golden/train/judge/config.json \
        >"$1/config.json"
}

# noted OUT ARGUMENT...: what the command writes, and OUT.how as a run leaves it that was cut off behind its last line.
noted() {
    noted=$1
    shift
    rm -f "$noted" "$noted.how"
    "$GRAM" "$@" --out "$noted" --resume -q || die "$* --resume"
}

# on_each_model FUNCTION: with $m the tiny model, and then, where it has been fetched, the real one ($real is then 1);
# $tmp is a folder of each one's own.
on_each_model() {
    tiny_model "$all_tmp/tiny"
    m=$all_tmp/tiny real='' tmp=$all_tmp/with-tiny
    mkdir "$tmp"
    "$1"
    if [ -f "$GRAM_MODEL" ]; then
        m=$GRAM_MODEL real=1 tmp=$all_tmp/with-real
        mkdir "$tmp"
        "$1"
    fi
}

# expect STATUS COMMAND...: runs it into $tmp/out and $tmp/err.
expect() {
    want=$1
    shift
    "$@" >"$tmp/out" 2>"$tmp/err"
    got=$?
    [ "$got" -eq "$want" ] || { cat "$tmp/out" "$tmp/err"; die "'$*' ended with $got, wanted $want"; }
}

says() {        # says FILE TEXT: the file holds the text
    grep -qF -- "$2" "$tmp/$1" || { cat "$tmp/$1"; die "$1 does not say '$2'"; }
}

one_sentence() {        # stderr is one line
    [ "$(wc -l <"$tmp/err")" -eq 1 ] || { cat "$tmp/err"; die "wanted one sentence on stderr"; }
}

# mpirun_here: mpirun starts as many processes as it is told to on this machine, by its loopback, whoever runs it.
mpirun_here() {
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 \
           OMPI_MCA_plm=isolated OMPI_MCA_btl=self,tcp OMPI_MCA_btl_tcp_if_include=lo OMPI_MCA_oob_tcp_if_include=lo \
           OMPI_MCA_hwloc_base_binding_policy=none ASAN_OPTIONS="detect_leaks=0:${ASAN_OPTIONS:-}"
}

# server_port FILE: waits until a fake server has written where it answers, which is $port then.
server_port() {
    for _ in $(seq 100); do
        [ -s "$1" ] && break
        sleep 0.1
    done
    port=$(cat "$1")
}

# fake_server OPTION...: a server over an engine without a model; it ends when descriptor 3 is closed. $server is its
# process, $port where it answers.
fake_server() {
    rm -f "$tmp/stop" "$tmp/port"
    mkfifo "$tmp/stop"
    "$B/tests/serve/fake_server" "$@" <"$tmp/stop" >"$tmp/port" &
    server=$!
    exec 3>"$tmp/stop"
    server_port "$tmp/port"
}

# free_port: a port that nobody has, on stdout.
free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# nginx_of EDIT: nginx with the configuration of docs/serve.md on stdin, changed by sed; $nginx is its process. The
# descriptors that hold servers are not nginx's.
nginx_of() {
    {
        [ "$(id -u)" -ne 0 ] || echo "user root;"      # whose files these are
        echo "daemon off; pid $tmp/nginx.pid; error_log $tmp/nginx.log; events {} http { access_log off;"
        for kind in client_body proxy fastcgi uwsgi scgi; do
            echo "${kind}_temp_path $tmp/$kind;"
        done
        grep -v '^```' | sed "$1"
        echo "}"
    } >"$tmp/nginx.conf"
    nginx -p "$tmp" -c "$tmp/nginx.conf" 2>"$tmp/err" 3>&- 4>&- &
    nginx=$!
}

# serve ARGUMENT...: `gram serve` of a port of its own. $server is its process, $port where it answers.
serve() {
    : >"$tmp/serve.err"                 # what a server before said is not what is waited for
    "$GRAM" serve "$@" --port 0 2>"$tmp/serve.err" &
    server=$!
    for _ in $(seq 600); do
        port=$(sed -n 's|.*http://127.0.0.1:\([0-9]*\).*|\1|p' "$tmp/serve.err" | head -n 1)
        [ -z "$port" ] || return 0
        sleep 0.1
    done
    cat "$tmp/serve.err"
    kill "$server"
    die "no server of $*"
}

# rows N: that many small labelled pairs on stdout.
rows() {
    i=0
    while [ "$i" -lt "$1" ]; do
        i=$((i + 1))
        echo "{\"id\":\"r$i\",\"prompt\":\"What is $i plus $i?\",\"chosen\":\"$((i + i)).\",\"rejected\":\"It is $i.\"}"
    done
}

# ---- Shares of the rows

long_pair() {   # long_pair N: a row whose texts are as long as they like to be
    printf '{"prompt":"question %s%s?","chosen":"answer %s","rejected":"no %s"}\n' "$1" "$(seq -s ' ' "$1")" "$1" "$1"
}

sharded() {     # sharded N OUT COMMAND...: the command in N shards, the last one first
    shards=$1 joined=$2 i=$1
    shift 2
    while [ "$i" -gt 0 ]; do
        i=$((i - 1))
        "$GRAM" "$@" --out "$joined" --shard "$i/$shards" -q || die "$* --shard $i/$shards"
    done
    "$GRAM" merge-shards "$joined" 2>"$tmp/said" || die "merge: $(cat "$tmp/said")"
}

same_in_shards() {      # same_in_shards N COMMAND...: the command in N shards as in one run
    n=$1
    shift
    rm -f "$tmp/whole" "$tmp"/joined*
    "$GRAM" "$@" --out "$tmp/whole" -q >"$tmp/said" || die "$*"
    sharded "$n" "$tmp/joined" "$@"
    cmp "$tmp/whole" "$tmp/joined" || die "$*: $n shards give other bytes"
}
