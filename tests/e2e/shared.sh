#!/bin/sh
# Numbers that are of all rows, from runs over shares of them: an evaluation whose bad rows are left out, one of a
# folder, and the curve of best-of-n have the lines and the numbers of one run, by --shard and by processes of a
# launcher.
. tests/e2e/lib.sh
tiny_model "$tmp/tiny"
m=$tmp/tiny

mkdir "$tmp/rows"
for i in 1 2 3 4 5; do
    echo "{\"prompt\":\"q $i\",\"responses\":[\"a $i\",\"b\",\"c $i\"]}"
done >"$tmp/groups.jsonl"

# A row that the template cannot write is left out by each share, by a run of one, and where either goes on.
r=tests/golden/rewards/llama
{ long_pair 1; long_pair 2; echo '{"prompt":"q","tools":[{"a":1}],"chosen":"x","rejected":"y"}'
  echo '{"prompt":"no answers"}'; long_pair 3; long_pair 4; } >"$tmp/rows/tools.jsonl"
numbers() { grep -v 'tokens/s\|taken over' "$1"; }     # all but how fast it was
evaluate() {    # evaluate TABLE FILE ROWS OPTION...
    to=$1 in=$2 lines=$3
    shift 3
    "$GRAM" eval "$r" "$in" --skip-bad --rows "$lines" -q "$@" >"$to" 2>"$tmp/said" ||
        die "eval $in $*: $(cat "$tmp/said")"
}
evaluate "$tmp/one.txt" "$tmp/rows/tools.jsonl" "$tmp/t.jsonl"
[ "$(wc -l <"$tmp/t.jsonl")" = 4 ] || die "4 rows can be judged"
head -n 3 "$tmp/t.jsonl" >"$tmp/cut.jsonl.partial"
evaluate "$tmp/all.txt" "$tmp/rows/tools.jsonl" "$tmp/cut.jsonl" --resume
cmp "$tmp/t.jsonl" "$tmp/cut.jsonl" || die "a resume behind a row that is left out has other lines"
numbers "$tmp/one.txt" >"$tmp/one"
numbers "$tmp/all.txt" | cmp - "$tmp/one" || die "a resume behind a row that is left out has other numbers"
for i in 1 0 2; do
    evaluate "$tmp/said" "$tmp/rows/tools.jsonl" "$tmp/cut.jsonl" --shard $i/3
done
"$GRAM" merge-shards "$tmp/cut.jsonl" 2>/dev/null || die "merge behind a row that is left out"
cmp "$tmp/t.jsonl" "$tmp/cut.jsonl" || die "shards with a row that is left out have other lines"
evaluate "$tmp/all.txt" "$tmp/rows/tools.jsonl" "$tmp/cut.jsonl" --resume
numbers "$tmp/all.txt" | cmp - "$tmp/one" || die "shards with a row that is left out have other numbers"
find "$tmp" -name 'cut.jsonl.*' | grep . && die "the shards that were taken over stay"
# Another text in a row, of the same length too, or another subset: the line is not the row's.
for change in 's/"chosen":"answer 2/"chosen":"another/' 's/"chosen":"answer 2/"chosen":"answer 7/' \
              's/"rejected":"no 2"/"rejected":"No 2"/' 's/"chosen":"answer 2/"subset":"s",&/' \
              's/"chosen":"answer 2/"criteria":"c",&/'; do
    sed "$change" "$tmp/rows/tools.jsonl" >"$tmp/other.jsonl"
    cmp -s "$tmp/rows/tools.jsonl" "$tmp/other.jsonl" && die "$change changes nothing"
    sed "s|rows/tools.jsonl|other.jsonl|g" "$tmp/t.jsonl" >"$tmp/cut.jsonl.partial"
    expect 2 "$GRAM" eval "$r" "$tmp/other.jsonl" --skip-bad --rows "$tmp/cut.jsonl" --resume -q
    says err 'so it cannot be resumed'
    case $change in     # a row that its head cannot read is left out, and the line is not of the one behind it
    *criteria*) says err "cut.jsonl.partial:2: holds row $tmp/other.jsonl:2 of" ;;
    *)          says err "cut.jsonl.partial:2: row $tmp/other.jsonl:2 of $tmp/other.jsonl says something else" ;;
    esac
done
# Nor is it gone on with by a model of the same name with other weights.
mkdir "$tmp/other"
cp -r "$r" "$tmp/other"
printf '\77' | dd of="$tmp/other/llama/model.safetensors" bs=1 conv=notrunc status=none \
    seek=$(($(wc -c <"$r/model.safetensors") - 1))
cp "$tmp/t.jsonl" "$tmp/cut.jsonl.partial"
expect 2 "$GRAM" eval "$tmp/other/llama" "$tmp/rows/tools.jsonl" --skip-bad --rows "$tmp/cut.jsonl" --resume -q
says err 'written with another model or other settings'
rm "$tmp/cut.jsonl.partial"

# A folder of benchmarks: each benchmark's rows are shared, and the page and the numbers come with all of them.
mkdir "$tmp/bench"
cp tests/golden/eval/judgebench.jsonl "$tmp/bench"
cp "$tmp/rows/tools.jsonl" "$tmp/bench/mine.jsonl"
folder() {
    "$GRAM" eval "$r" "$tmp/bench" --skip-bad -q "$@" 2>"$tmp/err" || die "eval of a folder, $*: $(cat "$tmp/err")"
}
folder --report "$tmp/one-page" --json "$tmp/one.json" >"$tmp/one.txt"
for i in 1 0; do
    folder --report "$tmp/pages" --shard $i/2 >"$tmp/all.txt"
    [ ! -s "$tmp/all.txt" ] || die "a share of a folder has numbers"
done
mv "$tmp/pages/own/numbers.rows.jsonl.shard-1-of-2" "$tmp/kept"
expect 1 "$GRAM" eval "$r" "$tmp/bench" --skip-bad -q --report "$tmp/pages" --resume
says err 'own/numbers.rows.jsonl.shard-1-of-2: this shard is missing'
mv "$tmp/kept" "$tmp/pages/own/numbers.rows.jsonl.shard-1-of-2"
folder --report "$tmp/pages" --json "$tmp/all.json" --resume >"$tmp/all.txt"
same_folder() {
    cmp "$tmp/one.txt" "$tmp/all.txt" || die "a folder, $1, has other numbers"
    cmp "$tmp/one.json" "$tmp/all.json" || die "a folder, $1, has another JSON"
    for bench in own judgebench; do
        cmp "$tmp/one-page/$bench/numbers.rows.jsonl" "$tmp/pages/$bench/numbers.rows.jsonl" ||
            die "a folder, $1, has other rows of $bench"
    done
    find "$tmp/pages" -name '*shard*' | grep . && die "a folder, $1: the shards stay"
    rm -rf "$tmp/pages" "$tmp/all.json"
}
same_folder "in shards"
launched() {    # launched RUN RANK SIZE COMMAND...: as a launcher starts it
    run=$1 rank=$2 size=$3
    shift 3
    env PMIX_NAMESPACE="$run" OMPI_COMM_WORLD_RANK="$rank" OMPI_COMM_WORLD_SIZE="$size" \
        OMPI_COMM_WORLD_LOCAL_SIZE="$size" "$GRAM" "$@"
}
in_folder() {   # in_folder RUN RANK SIZE [--resume]
    launched "$1" "$2" "$3" eval "$r" "$tmp/bench" --skip-bad -q --report "$tmp/pages" --json "$tmp/all.json" ${4:-}
}
for rank in 0 1 2; do in_folder one "$rank" 3 >"$tmp/all.$rank" 2>>"$tmp/said" & done
wait
cat "$tmp"/all.[012] >"$tmp/all.txt"
same_folder "by three processes"
in_folder two 0 2 >"$tmp/all.txt" 2>"$tmp/said" || die "one of two: $(cat "$tmp/said")"
[ ! -s "$tmp/all.txt" ] || die "numbers without the second process"
rm "$tmp/pages/judgebench/numbers.rows.jsonl.shard-2-of-16"
for rank in 0 1; do in_folder three "$rank" 2 --resume >"$tmp/all.$rank" 2>>"$tmp/said" & done
wait
cat "$tmp"/all.[01] >"$tmp/all.txt"
same_folder "by a later start"

# Best-of-n: the lines by shards, and the curve of all of them.
curve() { "$GRAM" bon "$@" -q >"$tmp/out" 2>"$tmp/err" || die "bon $*: $(cat "$tmp/err")"; }
bon_same() {    # bon_same N ARGUMENT...
    n=$1
    shift
    same_in_shards "$n" bon "$@"
    curve "$@" --out "$tmp/whole" --json "$tmp/one.json"
    cp "$tmp/out" "$tmp/one.txt"
    curve "$@" --out "$tmp/joined" --json "$tmp/all.json" --resume
    cmp "$tmp/whole" "$tmp/joined" || die "bon $*: what is taken over has other lines"
    cmp "$tmp/one.json" "$tmp/all.json" || die "bon $*: what is taken over has another curve"
    cmp "$tmp/one.txt" "$tmp/out" || die "bon $*: what is taken over has another table"
    find "$tmp" -name 'joined.*' ! -name joined.how | grep . && die "bon $*: the shards that were taken over stay"
}
bon_same 2 "$tmp/groups.jsonl" --judge "$m"
seq 50 | sed 's/.*/{"prompt":"p &"}/; 7s/.*/{"prompt":"p","responses":["x","y"]}/' >"$tmp/asked.jsonl"
bon_same 3 "$m" "$tmp/asked.jsonl" --judge "$r" --n 2 --max-new-tokens 2 --seed 3 --temperature 1 --skip-bad
grep -q '"products":"tiles"' "$tmp/whole" || die "the way of products is not what this test is for"
head -n 9 "$tmp/asked.jsonl" >"$tmp/some.jsonl"
bon_same 2 "$m" "$tmp/some.jsonl" --judge "$m" --by reference --n 2 --max-new-tokens 2 --seed 3 --skip-bad
for i in 0 1; do curve "$tmp/groups.jsonl" --judge "$m" --out "$tmp/joined" --shard $i/3; done
expect 1 "$GRAM" bon "$tmp/groups.jsonl" --judge "$m" --out "$tmp/joined" --resume
says err 'joined.shard-2-of-3: this shard is missing'
rm "$tmp"/joined*
in_bon() {      # in_bon RUN RANK SIZE [--resume]
    launched "$1" "$2" "$3" bon "$m" "$tmp/some.jsonl" --judge "$m" --by reference --n 2 --max-new-tokens 2 --seed 3 \
        --skip-bad --out "$tmp/joined" --json "$tmp/all.json" ${4:-} 2>>"$tmp/said"
}
in_bon four 0 2 >"$tmp/out" || die "one of two: $(cat "$tmp/said")"
[ ! -e "$tmp/joined" ] || die "a curve without the second process"
rm "$tmp/joined.shard-3-of-16"
for rank in 0 1 2; do in_bon five "$rank" 3 --resume >"$tmp/all.$rank" & done
wait
cat "$tmp"/all.[012] | cmp - "$tmp/one.txt" || die "bon by processes has another table"
cmp "$tmp/whole" "$tmp/joined" || die "bon by processes has other lines"
cmp "$tmp/one.json" "$tmp/all.json" || die "bon by processes has another curve"
find "$tmp" -name 'joined.*' ! -name joined.how | grep . && die "bon by processes leaves something"
rm "$tmp"/joined*

# What docs/many-machines.md has for Kubernetes, in five pods, some at a time and in no order; one that is killed and
# started again, one that is started twice. Its array for Slurm. And rows through a pipe, a partition each.
rows 20 >"$tmp/pairs.jsonl"
expect 0 "$GRAM" score "$m" "$tmp/pairs.jsonl" --out "$tmp/whole" -q
sed -n '/^```yaml$/,/^```$/p' docs/many-machines.md | grep -v '^```' >"$tmp/job.yaml"
if python3 -c 'import yaml' 2>"$tmp/err"; then
    python3 - "$tmp/job.yaml" <<'P' || die "the indexed job of docs/many-machines.md"
import sys, yaml
job = yaml.safe_load(open(sys.argv[1], encoding="utf-8"))
pod = job["spec"]["template"]["spec"]
run = pod["containers"][0]
assert (job["apiVersion"], job["kind"], job["spec"]["completionMode"]) == ("batch/v1", "Job", "Indexed")
assert run["command"] == ["sh", "-c"] and f'"$JOB_COMPLETION_INDEX/{job["spec"]["completions"]}"' in run["args"][0]
assert {v["name"] for v in run["volumeMounts"]} == {v["name"] for v in pod["volumes"]}
P
fi
sed -n '/^        - |$/,/^        resources:$/s/^          //p' "$tmp/job.yaml" |
    sed "s|gram score|'$GRAM' score --threads 1|; s|/data/judge|$m|; s|/data/|$tmp/|g; s|/64|/5|" >"$tmp/pod"
pod() { JOB_COMPLETION_INDEX=$1 sh "$tmp/pod" 2>"$tmp/err.$2"; }
JOB_COMPLETION_INDEX=3 sh "$tmp/pod" 2>"$tmp/err.a" &
kill -9 $!
pod 4 b & pod 1 c & pod 1 d & pod 0 e & pod 2 f &
wait
for i in 0 1 2 3 4; do pod $i again || die "pod $i: $(cat "$tmp/err.again")"; done
expect 0 "$GRAM" merge-shards "$tmp/v.jsonl"
cmp "$tmp/whole" "$tmp/v.jsonl" || die "an indexed job gives other bytes"
rm "$tmp"/v.jsonl*
sed -n '/^    #SBATCH --array/,/^$/s/^    //p' docs/many-machines.md |
    sed "s|judge/|$m|; s|^gram|'$GRAM'|" >"$tmp/array"
for i in 2 0 1; do
    (cd "$tmp" && SLURM_ARRAY_TASK_ID=$i SLURM_ARRAY_TASK_COUNT=3 SLURM_CPUS_PER_TASK=1 sh ./array) || die "job $i"
done
expect 0 "$GRAM" merge-shards "$tmp/v.jsonl"
cmp "$tmp/whole" "$tmp/v.jsonl" || die "an array of jobs gives other bytes"
split -n l/3 "$tmp/pairs.jsonl" "$tmp/partition."
for p in "$tmp"/partition.*; do "$GRAM" score "$m" - -q <"$p"; done | cmp - "$tmp/whole" || die "pipes give other lines"
