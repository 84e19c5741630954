#!/bin/sh
# Rows that lie as tokens in a file: a run ends with the bytes of one that holds them in memory, for each kind of rows,
# made, found, shared by processes; what is refused and counted is the same; and the rows of a split by prompt.
. tests/e2e/lib.sh
m=$PWD/tests/golden/train/judge
printf 'Q {input}\nA {response_a}\nB {response_b}\nBetter:' >"$tmp/judge.txt"
cd "$tmp" || exit 1
unset GRAM_CACHE

# 70 rows: more than what is made before the threads are started; two of them are the same prompt.
i=0
while [ $i -lt 70 ]; do
    echo "{\"prompt\":\"q$((i / 2))\",\"chosen\":\"$(seq -s ' ' $((i % 7 + 2)))\",\"rejected\":\"no $i\",\"margin\":$i}"
    i=$((i + 1))
done >pairs.jsonl
head -20 pairs.jsonl | sed 's/"q/"held q/' >held.jsonl
pair='"chosen":\("[^"]*"\),"rejected":\("[^"]*"\),"margin":[0-9]*'
sed "s/$pair/\"completion\":\\1,\"label\":true/; n; s/$pair/\"completion\":\\2,\"label\":false/" pairs.jsonl \
    >labelled.jsonl
sed "s/$pair/\"responses\":[\\1,\\2,\"other\",\"z\"]/" pairs.jsonl >groups.jsonl
sed 's/,"margin"/,"rationale":"Response A is longer than Response B.","margin"/' pairs.jsonl >reasons.jsonl

made() { ls cache/*.rows 2>/dev/null | wc -l; }
lines() {
    grep -v "lie as tokens in\|tokens/s\|tokens a second\|^step \|disk:\|memory:\|bytes\|^$1" err |
        sed "s/ in [0-9.:]* s.*//"
}

# alike NAME COMMAND...: with the rows in memory, in a file that is made, and in the one that is then there.
alike() {
    name=$1
    shift
    expect 0 "$GRAM" "$@" --out "$name-0" -q
    before=$(made)
    expect 0 "$GRAM" "$@" --out "$name-1" --cache cache
    says err "rows lie as tokens in cache/"
    [ "$(made)" -gt "$before" ] || die "$name: no file of rows was made"
    before=$(made)
    expect 0 "$GRAM" "$@" --out "$name-2" -q --cache cache
    [ "$(made)" = "$before" ] || die "$name: the file of rows was not found again"
    for k in 1 2; do
        cmp "$name-0/model.safetensors" "$name-$k/model.safetensors" ||
            die "$name: other weights with the rows in a file"
        for f in held-out.jsonl reference.jsonl; do
            [ ! -e "$name-0/$f" ] || cmp "$name-0/$f" "$name-$k/$f" || die "$name: another $f"
        done
    done
}

some="--steps 3 --batch-rows 4 --lr 3e-3"
# shellcheck disable=SC2086  # words
{
    alike gram finetune "$m" pairs.jsonl -p judge.txt $some --eval-file held.jsonl
    alike bt-margin finetune "$m" pairs.jsonl --loss bt-margin $some
    alike dpo finetune "$m" pairs.jsonl --loss dpo $some --batch-tokens 300 --eval-file held.jsonl
    alike kto finetune "$m" labelled.jsonl --loss kto $some --batch-tokens 300
    alike pretrain pretrain "$m" groups.jsonl -p judge.txt $some --pairs 2 --seed 5
    alike rationale finetune "$m" reasons.jsonl --loss rationale $some
    gzip -k pairs.jsonl
    alike several finetune "$m" pairs.jsonl.gz held.jsonl -p judge.txt $some --columns prompt=prompt

    # Rows that are left out are told of and counted alike, in the same words.
    { sed -n 1,40p pairs.jsonl; echo 'no row'; echo '{"prompt":"p","chosen":"a"}'; sed -n 41,70p pairs.jsonl; } \
        >bad.jsonl
    for k in 0 1 2; do
        [ $k = 0 ] && where='' || where='--cache cache'
        expect 0 "$GRAM" finetune "$m" bad.jsonl -p judge.txt $some --skip-bad --out bad-$k $where
        grep "bad.jsonl:\|rows are\|skipped\|bad" err >said-$k
        cmp bad-0/model.safetensors bad-$k/model.safetensors || die "bad rows: other weights"
    done
    [ "$(grep -c 'bad.jsonl:4[12]: ' said-0)" = 2 ] || die "two rows are bad"
    cmp said-0 said-1 && cmp said-0 said-2 || die "other words about bad rows"
    for where in '' '--cache cache'; do
        expect 1 "$GRAM" finetune "$m" bad.jsonl -p judge.txt $some --out none $where
        one_sentence
        says err "bad.jsonl:41: "
        expect 1 "$GRAM" finetune "$m" pairs.jsonl -p judge.txt $some --max-tokens 20 --out none $where
        says err "pairs.jsonl:1: "
    done

    # A run that held its rows in memory goes on with them in a file.
    long="--batch-rows 4 --lr 3e-3 --schedule constant --warmup 0"
    expect 0 "$GRAM" finetune "$m" pairs.jsonl -p judge.txt $long --steps 2 --out on -q
    expect 0 "$GRAM" finetune "$m" pairs.jsonl -p judge.txt $long --steps 5 --out on -q --resume --cache cache
    expect 0 "$GRAM" finetune "$m" pairs.jsonl -p judge.txt $long --steps 5 --out straight -q
    cmp on/model.safetensors straight/model.safetensors || die "a run does not go on with its rows in a file"

    # Other options, another file; a file that is damaged is made again, or where that is seen late, named.
    rm -r cache
    expect 0 "$GRAM" finetune "$m" pairs.jsonl -p judge.txt $some --out d0 -q --cache cache
    expect 0 "$GRAM" finetune "$m" pairs.jsonl -p judge.txt $some --out d1 -q --cache cache --smoothing 0.2
    [ "$(made)" = 2 ] || die "another option is not another file"
    rm cache/*
    expect 0 "$GRAM" finetune "$m" pairs.jsonl -p judge.txt $some --out d2 -q --cache cache
    rows=$(ls cache/*.rows)
    printf x | dd of="$rows" bs=1 seek=$(($(stat -c %s "$rows") - 3)) conv=notrunc status=none
    expect 0 "$GRAM" finetune "$m" pairs.jsonl -p judge.txt $some --out d3 --cache cache
    says err "it is made again"
    cmp d0/model.safetensors d3/model.safetensors || die "a file that was made again has other rows"
    printf xxxx | dd of="$rows" bs=1 seek=$(($(stat -c %s "$rows") * 2 / 3)) conv=notrunc status=none
    expect 1 "$GRAM" finetune "$m" pairs.jsonl -p judge.txt --epochs 1 --out d4 -q --cache cache
    says err "was changed or is damaged: remove the file"
    rm "$rows"
    [ -z "$(find cache -name '*.tmp')" ] || die "something is left: $(ls cache)"
    expect 1 sh -c 'ulimit -f 20; "$@"' - "$GRAM" finetune "$m" pairs.jsonl -p judge.txt --out none --cache cache
    one_sentence
    says err "File too large"
    [ -z "$(ls cache)" ] || die "a full disk leaves something: $(ls cache)"
    expect 2 sh -c "'$GRAM' finetune '$m' - -p judge.txt --out none --cache cache <pairs.jsonl"
    says err "standard input: its rows cannot lie in a cache"
    expect 1 "$GRAM" finetune "$m" pairs.jsonl -p judge.txt --out none --cache pairs.jsonl
    says err "pairs.jsonl: a directory is needed, this is a file"

    # A split by prompt: both rows of a prompt are on the same side, the same ones whatever the seed is, and all rows
    # are on one.
    for k in 0 1; do
        [ $k = 0 ] && where='' || where='--cache cache --seed 9'
        expect 0 "$GRAM" finetune "$m" pairs.jsonl -p judge.txt $some --out split-$k --split-by-prompt 0.3 $where
        grep 'split by prompt: ' err >said-$k
        wc -l <split-$k/held-out.jsonl >judged-$k
    done
    cmp said-0 said-1 && cmp judged-0 judged-1 || die "another seed holds out other prompts"
    sed -n 's/.*: \([0-9]*\) rows of \([0-9]*\) prompts are held out, and \([0-9]*\) rows.*/\1 \2 \3/p' said-0 |
        { read -r held prompts trained; [ $((held + trained)) = 70 ] && [ "$held" = $((2 * prompts)) ]; } ||
        die "the split is none: $(cat said-0)"
    [ "$(made)" = 2 ] || die "both sides of a split lie in files"
    expect 0 "$GRAM" pretrain "$m" groups.jsonl -p judge.txt $some --out split-2 --split-by-prompt 0.3 --eval-every 2 -q
    expect 2 "$GRAM" finetune "$m" pairs.jsonl -p judge.txt --out none --split-by-prompt 0.3 --eval-file held.jsonl
    says err "wanted one of the two"
    expect 2 "$GRAM" finetune "$m" pairs.jsonl -p judge.txt --out none --split-by-prompt 1
    head -2 pairs.jsonl >two.jsonl
    expect 1 "$GRAM" finetune "$m" two.jsonl -p judge.txt --out none --split-by-prompt 0.5
    says err "split-by-prompt 0.5 leaves no row to"
    [ ! -e none ] || die "a usage error made a directory"
}

command -v mpirun >/dev/null ||
    { echo "  mpirun is not installed: processes that share a file were not tried"; exit 77; }
mpirun_here
rm -rf cache
for k in 0 1; do
    [ $k = 0 ] && where='' || where='--cache cache'
    # shellcheck disable=SC2086
    expect 0 mpirun -np 3 "$GRAM" finetune "$m" pairs.jsonl -p judge.txt $some --out many-$k -t 1 \
        --split-by-prompt 0.3 $where
done
cmp many-0/model.safetensors many-1/model.safetensors || die "three processes: other weights with the rows in a file"
[ "$(grep -c 'lie as tokens in' err)" = 2 ] || die "not one process says where the rows lie"
[ "$(made)" = 2 ] || die "three processes have not shared two files"
