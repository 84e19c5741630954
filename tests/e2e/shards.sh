#!/bin/sh
# Runs with --shard, joined by gram merge-shards, have the bytes of one run over all rows, bad rows and several files
# among them; a shard that is missing, cut off or of another run is named.
. tests/e2e/lib.sh
tiny_model "$tmp/tiny"
m=$tmp/tiny

mkdir "$tmp/rows"
for i in 1 2 3; do long_pair "$i"; done >"$tmp/rows/a.jsonl"
{ echo; long_pair 4; echo '{"prompt":"no answers"}'; echo; long_pair 5; } >"$tmp/rows/b.jsonl"
echo "[$(long_pair 6),$(long_pair 7)]" >"$tmp/rows/c.json"
echo 'not rows' >"$tmp/rows/README.md"
cat "$tmp/rows/a.jsonl" >"$tmp/pairs.jsonl"

same_in_shards 2 score "$m" "$tmp/pairs.jsonl"
same_in_shards 3 score tests/golden/rewards/purm "$tmp/rows" --skip-bad --lambda 2
grep -q '"overlap":' "$tmp/joined" || die "PURM's verdicts say nothing of their overlap"
same_in_shards 7 score "$m" "$tmp/pairs.jsonl"                            # more shards than rows: some have none
same_in_shards 3 score "$m" "$tmp/rows" --skip-bad
same_in_shards 2 score "$m" "$tmp/rows/[ab].jsonl" --skip-bad
[ "$(wc -l <"$tmp/joined")" = 5 ] || die "5 good rows, and $(wc -l <"$tmp/joined") lines"
grep -q "\"id\":\"$tmp/rows/b.jsonl:2\"" "$tmp/joined" || die "a row is called after its file and line"
same_in_shards 3 prove "$m" "$tmp/pairs.jsonl" --k 2 --max-new-tokens 4
for i in 1 2 3 4 5; do
    echo "{\"prompt\":\"q $i\",\"responses\":[\"a $i\",\"b\",\"c $i\"]}"
done >"$tmp/groups.jsonl"
same_in_shards 2 rank "$m" "$tmp/groups.jsonl"
same_in_shards 4 generate "$m" "$tmp/groups.jsonl" --n 2 --max-new-tokens 5 --seed 3 --temperature 1
# 99 prompts are written with tiles, though each shard of 33 would be with few rows.
seq 99 | sed 's/.*/{"prompt":"p &"}/' >"$tmp/prompts.jsonl"
same_in_shards 3 generate "$m" "$tmp/prompts.jsonl" --max-new-tokens 2 --seed 3
grep -q '"products":"tiles"' "$tmp/whole" || die "the way of products is not what this test is for"

# An evaluation's lines, of two files with a bad row; the numbers are of all of them.
"$GRAM" eval "$m" "$tmp/pairs.jsonl" "$tmp/rows/b.jsonl" --skip-bad --json "$tmp/one.json" -q >"$tmp/one.txt" ||
    die "eval"
for i in 2 0 1; do
    "$GRAM" eval "$m" "$tmp/pairs.jsonl" "$tmp/rows/b.jsonl" --skip-bad --rows "$tmp/e.jsonl" --shard $i/3 -q \
        >"$tmp/said" ||
        die "eval --shard $i/3"
    [ ! -s "$tmp/said" ] || die "a share of an evaluation has numbers"
done
"$GRAM" merge-shards "$tmp/e.jsonl" 2>/dev/null || die "merge of an evaluation"
cmp "$tmp/one.rows.jsonl" "$tmp/e.jsonl" || die "an evaluation in shards has other lines"
"$GRAM" eval "$m" "$tmp/pairs.jsonl" "$tmp/rows/b.jsonl" --skip-bad --rows "$tmp/e.jsonl" --resume -q >"$tmp/all.txt" ||
    die "eval of what was merged"
grep -v 'tokens/s\|taken over' "$tmp/one.txt" >"$tmp/one"
grep -v 'tokens/s\|taken over' "$tmp/all.txt" | cmp - "$tmp/one" || die "an evaluation in shards has other numbers"

# What is there is not done again, and is seen to be of these rows.
"$GRAM" generate "$m" "$tmp/prompts.jsonl" --max-new-tokens 2 --seed 3 --out "$tmp/joined" --shard 1/3 --resume \
    2>"$tmp/said" || die "resume of a whole shard"
grep -q '33 of them from the run before' "$tmp/said" || die "a whole shard was written again: $(cat "$tmp/said")"
expect 2 "$GRAM" generate "$m" "$tmp/groups.jsonl" --max-new-tokens 2 --seed 3 --out "$tmp/joined" --shard 1/3 --resume
says err 'the run that is to be resumed has lines 99, and this one 5'
mv "$tmp/joined.shard-1-of-3.partial" "$tmp/joined.shard-1-of-3"
expect 2 "$GRAM" generate "$m" "$tmp/prompts.jsonl" --max-new-tokens 2 --seed 4 --out "$tmp/joined" --shard 1/3 --resume
says err 'the run that is to be resumed has seed 3, and this one 4'
mv "$tmp/joined.shard-1-of-3.partial" "$tmp/joined.shard-1-of-3"
head -n 7 "$tmp/joined.shard-2-of-3" >"$tmp/joined.shard-2-of-3.partial"
rm "$tmp/joined.shard-2-of-3" "$tmp/joined"
expect 1 "$GRAM" merge-shards "$tmp/joined"
says err 'joined.shard-2-of-3: this shard is not whole yet (2 of 3 shards are there)'
[ ! -e "$tmp/joined" ] || die "half a merge"
"$GRAM" generate "$m" "$tmp/prompts.jsonl" --max-new-tokens 2 --seed 3 --out "$tmp/joined" --shard 2/3 --resume -q ||
    die "resume of a shard"
"$GRAM" merge-shards "$tmp/joined" 2>"$tmp/said"
cmp "$tmp/whole" "$tmp/joined" || die "a shard that was resumed has other bytes"
rm "$tmp/joined.shard-0-of-3"
expect 1 "$GRAM" merge-shards "$tmp/joined"
says err 'joined.shard-0-of-3: this shard is missing'
"$GRAM" score "$m" "$tmp/pairs.jsonl" --out "$tmp/joined" --shard 0/2 -q || die "a shard of 2"
expect 1 "$GRAM" merge-shards "$tmp/joined"
says err 'there are shards of 2 and of 3'
expect 1 "$GRAM" merge-shards "$tmp/nothing"
says err 'there is no shard of it'
one_sentence

# A shard of another judge, of a file that has grown meanwhile, or under another's name is none of the whole.
printf 'Q {input}\nA {response_a}\nB {response_b}\nBetter:' >"$tmp/judge.txt"
rm -f "$tmp"/joined*
part() { "$GRAM" score "$m" "$1" --out "$tmp/joined" --shard "$2" -q $3 || die "score --shard $2"; }
part "$tmp/pairs.jsonl" 0/2 ''
part "$tmp/pairs.jsonl" 1/2 "-p $tmp/judge.txt"
expect 1 "$GRAM" merge-shards "$tmp/joined"
says err 'joined.shard-1-of-2: this shard has judge prompt'
cat "$tmp/pairs.jsonl" "$tmp/pairs.jsonl" >"$tmp/twice.jsonl"
part "$tmp/twice.jsonl" 1/2 ''
expect 1 "$GRAM" merge-shards "$tmp/joined"
says err 'joined.shard-1-of-2: this shard has lines 6, and those before 3'
sed 's/"answer 3"/"answer 4"/' "$tmp/pairs.jsonl" >"$tmp/changed.jsonl"
part "$tmp/changed.jsonl" 1/2 ''
expect 1 "$GRAM" merge-shards "$tmp/joined"
says err 'joined.shard-1-of-2: this shard has digest of the lines'
for end in '' .how; do cp "$tmp/joined.shard-0-of-2$end" "$tmp/joined.shard-1-of-2$end"; done
expect 1 "$GRAM" merge-shards "$tmp/joined"
says err 'joined.shard-1-of-2: what is noted beside it is of share 0'
rm "$tmp/joined.shard-1-of-2.how"
expect 1 "$GRAM" merge-shards "$tmp/joined"
says err 'is not noted beside it'
[ ! -e "$tmp/joined" ] || die "half a merge"
part "$tmp/pairs.jsonl" 1/2 ''
"$GRAM" merge-shards "$tmp/joined" 2>"$tmp/said" || die "merge: $(cat "$tmp/said")"

# Shards that are joined for a run over all rows bring what their rows were: best-of-n sees that one has changed.
head=tests/golden/rewards/llama
for i in 0 1; do
    "$GRAM" bon "$tmp/groups.jsonl" --judge "$head" --out "$tmp/won" --shard $i/2 -q || die "bon --shard $i/2"
done
sed 's/"c 4"/"C 4"/' "$tmp/groups.jsonl" >"$tmp/groups"
cp "$tmp/groups.jsonl" "$tmp/kept"
cp "$tmp/groups" "$tmp/groups.jsonl"
expect 2 "$GRAM" bon "$tmp/groups.jsonl" --judge "$head" --out "$tmp/won" --resume
says err 'groups.jsonl:4: row '
cp "$tmp/kept" "$tmp/groups.jsonl"
expect 0 "$GRAM" bon "$tmp/groups.jsonl" --judge "$head" --out "$tmp/won" --resume
says err '5 of them from the run before'
grep -q '"whole"' "$tmp/won.how" || die "it is not noted that a file is whole that was made of shards"

# Fewer rows than an earlier run has written are another input, sharded or not.
noted "$tmp/v" score "$m" "$tmp/pairs.jsonl"
mv "$tmp/v" "$tmp/v.partial"
head -n 1 "$tmp/pairs.jsonl" >"$tmp/fewer"
cp "$tmp/fewer" "$tmp/pairs.jsonl"
expect 2 "$GRAM" score "$m" "$tmp/pairs.jsonl" --out "$tmp/v" --resume
says err 'wanted the input of the run before'
# Nor does a run go on with another judge than it began with: --resume compares, and a run anew does not.
[ -e "$tmp/v.how" ] || die "it is not noted how lines were made that are not whole"
expect 2 "$GRAM" score "$m" "$tmp/pairs.jsonl" --out "$tmp/v" --resume -p "$tmp/judge.txt"
says err 'v.how: the run that is to be resumed has judge prompt'
expect 0 "$GRAM" score "$m" "$tmp/pairs.jsonl" --out "$tmp/v" -p "$tmp/judge.txt"
[ ! -e "$tmp/v.how" ] || die "without --resume a note stays beside what is whole"

# Processes of one start share the rows by themselves, and merge.
process() {     # process RUN RANK SIZE [--resume]: as a launcher starts it
    env PMIX_NAMESPACE="$1" OMPI_COMM_WORLD_RANK="$2" OMPI_COMM_WORLD_SIZE="$3" OMPI_COMM_WORLD_LOCAL_SIZE="$3" \
        "$GRAM" generate "$m" "$tmp/prompts.jsonl" --max-new-tokens 2 --seed 3 --out "$tmp/joined" ${4:-} 2>>"$tmp/said"
}
left_over() { find "$tmp" -name 'joined.shard-*'; }
"$GRAM" generate "$m" "$tmp/prompts.jsonl" --max-new-tokens 2 --seed 3 --out "$tmp/whole" -q || die "generate"
rm -f "$tmp"/joined*
: >"$tmp/said"
for rank in 0 1 2; do process one "$rank" 3 --resume & done
wait
cmp "$tmp/whole" "$tmp/joined" || die "three processes: $(cat "$tmp/said")"
[ -z "$(left_over)" ] || die "what is left over: $(left_over)"
[ "$(grep -c 'is whole, by 3 processes' "$tmp/said")" = 1 ] || die "one of them says it: $(cat "$tmp/said")"
# Nothing is left of what is whole: no share is made again, and one of them says so.
: >"$tmp/said"
touch -d 2001-01-01 "$tmp/joined"
for rank in 2 1 0; do process again "$rank" 3 --resume || die "a start on what is whole: $(cat "$tmp/said")"; done
[ "$(grep -c 'nothing was left to do' "$tmp/said")" = 1 ] || die "one of them says it: $(cat "$tmp/said")"
[ "$tmp/joined" -ot "$tmp/pairs.jsonl" ] || die "what was whole is written again"

# One that dies leaves its share to a later start, of another number; an old share of this name is not taken for theirs.
rm "$tmp/joined"
echo 'not of this run' >"$tmp/joined.shard-0-of-16"
process two 0 2 || die "the first of two"
[ ! -e "$tmp/joined" ] || die "merged without the second"
head -n 1 "$tmp/joined.shard-3-of-16" >"$tmp/joined.shard-3-of-16.partial"
rm "$tmp/joined.shard-3-of-16"
for rank in 0 1 2; do process three "$rank" 3 --resume & done
wait
cmp "$tmp/whole" "$tmp/joined" || die "a later start: $(cat "$tmp/said")"
[ -z "$(left_over)" ] || die "what is left over: $(left_over)"
expect 2 env OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_SIZE=2 "$GRAM" score "$m" "$tmp/pairs.jsonl" --out "$tmp/v"
says err 'does not say which start this is'
# A step of srun names a start by its job and its number; a batch script is no step.
for rank in 1 0; do
    env SLURM_JOB_ID=7 SLURM_STEP_ID=1 SLURM_PROCID=$rank SLURM_STEP_NUM_TASKS=2 SLURM_STEP_TASKS_PER_NODE=2 \
        "$GRAM" score "$m" "$tmp/pairs.jsonl" --out "$tmp/step" 2>"$tmp/said" ||
        die "a step of srun: $(cat "$tmp/said")"
done
grep -q 'is whole, by 2 processes' "$tmp/said" || die "two tasks of srun have not shared the rows: $(cat "$tmp/said")"
env SLURM_JOB_ID=7 SLURM_PROCID=0 SLURM_NTASKS=2 "$GRAM" score "$m" "$tmp/pairs.jsonl" --out "$tmp/batch" -q ||
    die "a batch script of Slurm's"
cmp "$tmp/step" "$tmp/batch" || die "two tasks of srun write other bytes"
expect 2 env PMI_RANK=0 PMI_SIZE=2 PMI_KVSNAME=k "$GRAM" score "$m" "$tmp/pairs.jsonl" --out "$tmp/v" --shard 0/2
says err 'take their shares themselves'
expect 2 env PMI_RANK=0 PMI_SIZE=2 PMI_KVSNAME=k "$GRAM" score --server http://127.0.0.1:1 "$tmp/pairs.jsonl"
says err 'each would ask for all rows'

for bad in 2/2 1 a/2 -1/2 0/0 1/2/3; do
    expect 2 "$GRAM" score "$m" "$tmp/pairs.jsonl" --out "$tmp/v" --shard "$bad"
    says err 'wanted I/N'
done
expect 2 "$GRAM" score "$m" "$tmp/pairs.jsonl" --shard 0/2
says err '--shard needs --out'
expect 2 "$GRAM" score "$m" - --out "$tmp/v" --shard 0/2 <"$tmp/pairs.jsonl"
says err 'standard input: a share of the rows needs files that can be read twice'
expect 1 "$GRAM" score "$m" "$m" --out "$tmp/v"
says err 'wanted rows, found the directory of a model'
expect 1 "$GRAM" score "$m" "$tmp/none-*.jsonl" --out "$tmp/v"
says err 'no file matches'
mkdir "$tmp/empty"
expect 1 "$GRAM" score "$m" "$tmp/empty" --out "$tmp/v"
says err 'no file of rows'
