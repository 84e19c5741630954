#!/bin/sh
# A policy that learns from a reward which can be checked by eye: an answer should be one finished sentence, short, and
# no list. RAFT on the small model, then its answers beside those of the model that it began as. Run by
# `make demo-align`, in the root of the repository, with B and GRAM_MODEL in the environment; STEPS=40 is a longer
# run.
set -eu
gram=$B/gram
out=$B/demo-align
steps=${STEPS:-12}

rm -rf "$out"
mkdir -p "$out"
for rows in train held-out; do                  # each question once
    awk -F'"' '!seen[$8]++' data/$rows.jsonl >"$out/$rows.jsonl"
done
head -n 32 "$out/held-out.jsonl" >"$out/questions.jsonl"
cat >"$out/reward.py" <<'END'
import json, re, sys
for line in sys.stdin:
    text = json.loads(line)["completion"].strip()
    finished = text[-1:] in (".", "!", "?") and text != ""
    sentences = len(re.findall(r"[.!?](?:\s|$)", text))
    a_list = re.search(r"^\s*([-*]|\d+\.) ", text, re.M) is not None
    print(finished - a_list - max(0, sentences - 1) / 4 - len(text.split()) / 100, flush=True)
END

echo "1. The reward: 1 for an answer that is finished, less 1 for a list, 1/4 for each sentence after the first, and"
echo "   1/100 for each word. A program says it, $out/reward.py:"
echo
sed 's/^/    /' "$out/reward.py"
echo
echo "2. RAFT: SmolLM2-135M-Instruct answers 16 questions 8 times each, the best answer to each is learnt by adapters,"
echo "   and what came of it answers the next 16. Three times: less than five minutes on two cores,"
echo "   and 1 GiB of memory."
echo
"$gram" raft "$GRAM_MODEL" "$out/train.jsonl" --judge "exec:python3 $out/reward.py" --out "$out/policy" \
    --samples 8 --rollout-prompts 16 --batch-rows 8 --max-new-tokens 64 --temperature 0.7 --lora-rank 16 --lr 2e-4 \
    --steps "$steps"
echo
echo "3. Both answer 32 questions that neither has learnt from:"
echo
"$gram" evalpolicy "$out/policy" "$out/questions.jsonl" --judge "exec:python3 $out/reward.py" \
    --baseline "$GRAM_MODEL" --out "$out/eval" --max-new-tokens 64 --temperature 0.7
echo
echo "4. Three of these, side by side:"
python3 - "$out/eval/rows.jsonl" <<'END'
import json, sys, textwrap
rows = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
for row in rows[:: max(1, len(rows) // 3)][:3]:
    print("\n   ", row["prompt"])
    for who, reward in zip(("baseline", "policy"), reversed(row["rewards"])):
        text = textwrap.wrap(row[who], 90) or [""]
        print(f"      {who:9} {reward:6.2f}  " + ("\n" + " " * 25).join(text))
END
echo
echo "$out/eval/index.html shows eight, $out/policy/report.html the run, $out/policy/samples.jsonl every answer."
