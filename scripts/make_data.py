"""make_data.py - choose the pairs that the project ships: data/demo.jsonl, train.jsonl, held-out.jsonl, brief.jsonl,
brief-held-out.jsonl, bench.jsonl.gz.

    python3 scripts/make_data.py EVAL_DIR TRAIN_DIR TOKENIZER_JSON

EVAL_DIR and TRAIN_DIR hold the gzipped sets named below, without a prompt in common; TOKENIZER_JSON is SmolLM2's
tokenizer.json (.xz is fine). Needs the tokenizers library. Nothing is drawn by chance: the same inputs give the same
bytes."""
import gzip, hashlib, json, lzma, pathlib, re, sys
from tokenizers import Tokenizer

ROOT = pathlib.Path(__file__).resolve().parent.parent
DEMO = {"llmbar": 16, "hhh": 8, "truthfulqa": 8}        # MIT, Apache-2.0, Apache-2.0
LEARN, TRAIN_ROWS, HELD_ROWS = "truthfulqa", 480, 120   # Apache-2.0; short answers, so that a step takes seconds
# MIT and CC BY 4.0, MIT, MIT, Apache-2.0
BENCH = ["mtbench_human", "llmbar", "mtbench_human", "llmbar_casestudy", "hhh"]
BENCH_ROWS, BENCH_TOKENS = 100, 178_000
UNSUITED = re.compile(r"\b(sex\w*|porn\w*|kill\w*|murder\w*|suicid\w*|rape\w*|nazi\w*|racis\w*|bomb\w*|drugs?|cocaine|"
                      r"steal\w*|weapon\w*|guns?|die|died|dead|death|abus\w*|terroris\w*|hitler|blood\w*|gay\w*|jew\w*|"
                      r"muslim\w*|black people|white people|women|fuck\w*|shit|damn|ass|stupid|hate\w*|beat\w*|rob\w*|"
                      r"cannibal\w*|penis|vagina|genital\w*|torture\w*|attack\w*|poison\w*|harm\w*|abortion\w*|trump|"
                      r"religio\w*|kidnap\w*|slave\w*|lynch\w*|burglar\w*|hack\w*|assault\w*|crime\w*|"
                      r"illegal\w*)\b", re.I)

def rows_of(folder, name):
    with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as f:
        return [json.loads(line) for line in f]

def kept(row, name):
    return {"id": row["id"], "prompt": row["prompt"], "chosen": row["chosen"], "rejected": row["rejected"],
            "source": name, "subset": row["subset"]}

def order(row):
    """A fixed shuffle, so that neighbours in a source do not crowd a selection."""
    return hashlib.sha256(("gram " + row["id"]).encode()).hexdigest()

def text(row):
    p = row["prompt"]
    return "\n".join([p if isinstance(p, str) else " ".join(m["content"] for m in p), row["chosen"], row["rejected"]])

def dump(rows):
    return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows).encode()

def judge_prompt():
    source = (ROOT / "src/reward/prompt.c").read_text()
    body = source[source.index("gr_judge_default[] ="):].split('";\n', 1)[0] + '"'
    whole = "".join(json.loads(s) for s in re.findall(r'^\s+("(?:[^"\\]|\\.)*")', body, re.M))
    return whole.replace("{criteria?}", "")     # as a row without criteria reads it

def learnable(folder, rows, each):
    """Short pairs, at most `each` of a prompt."""
    picked, seen = [], {}
    for r in sorted(rows_of(folder, LEARN), key=order):
        if UNSUITED.search(text(r)) or len(text(r)) >= 320 or seen.get(r["prompt"], 0) == each or len(picked) == rows:
            continue
        seen[r["prompt"]] = seen.get(r["prompt"], 0) + 1
        picked.append(kept(r, LEARN))
    return picked

def brief(rows):
    """A preference that can be seen: the shorter answer, where the two differ enough."""
    for r in rows:
        short, long = sorted((r["chosen"], r["rejected"]), key=len)
        if len(long) - len(short) >= 12:
            yield dict(r, chosen=short, rejected=long)

def main():
    folder, tok_path = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[3])
    raw = lzma.open(tok_path).read() if tok_path.suffix == ".xz" else tok_path.read_bytes()
    tok = Tokenizer.from_str(raw.decode())
    judge = judge_prompt()
    assert judge.count("{input}") == judge.count("{response_a}") == judge.count("{response_b}") == 1
    frame = ("<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
             "<|im_start|>user\n%s<|im_end|>\n<|im_start|>assistant\n")

    def tokens(row):
        p = row["prompt"]
        if not isinstance(p, str):
            p = "\n\n".join(m["role"].capitalize() + ": " + m["content"] for m in p)
        parts = {"{input}": p, "{response_a}": row["chosen"], "{response_b}": row["rejected"]}
        fill = lambda d: re.sub(r"\{input\}|\{response_[ab]\}", lambda m: d[m.group()], judge)
        swapped = dict(parts, **{"{response_a}": row["rejected"], "{response_b}": row["chosen"]})
        return sum(len(tok.encode(frame % fill(d), add_special_tokens=False).ids) for d in (parts, swapped))

    demo, seen = [], set()
    for name, want in DEMO.items():
        rows = sorted(rows_of(folder, name), key=order)
        rows = [r for r in rows if not UNSUITED.search(text(r)) and 40 < len(text(r)) < 900]
        if name == "hhh":       # the harmless part argues about harm
            rows = [r for r in rows if r["subset"] in ("helpful", "honest", "other")]
        picked = []
        for r in rows:
            key = (json.dumps(r["prompt"]))
            if key not in seen and len(picked) < want:
                seen.add(key)
                picked.append(kept(r, name))
        demo += picked
    (ROOT / "data/demo.jsonl").write_bytes(dump(demo))

    train, held = learnable(pathlib.Path(sys.argv[2]), TRAIN_ROWS, 2), learnable(folder, HELD_ROWS, 1)
    assert not {r["prompt"] for r in train} & {r["prompt"] for r in held}
    (ROOT / "data/train.jsonl").write_bytes(dump(train))
    (ROOT / "data/held-out.jsonl").write_bytes(dump(held))
    (ROOT / "data/brief.jsonl").write_bytes(dump(brief(train)))
    (ROOT / "data/brief-held-out.jsonl").write_bytes(dump(brief(held)))

    pool = {name: [(tokens(r), kept(r, name)) for r in sorted(rows_of(folder, name), key=order)
                   if not UNSUITED.search(text(r))] for name in set(BENCH)}

    def take(least):                            # turn by turn from each source, what is not too short
        left = {name: [r for r in rows if r[0] >= least] for name, rows in pool.items()}
        turns = (left[name] for _ in range(BENCH_ROWS) for name in BENCH)
        return [rows.pop(0) for rows in turns if rows][:BENCH_ROWS]

    picked = min((take(least) for least in range(400, 1600, 10)),
                 key=lambda rows: abs(sum(r[0] for r in rows) - BENCH_TOKENS) + (len(rows) < BENCH_ROWS) * BENCH_TOKENS)
    bench, total = [r[1] for r in picked], sum(r[0] for r in picked)
    data = gzip.compress(dump(bench), 9, mtime=0)
    (ROOT / "data/bench.jsonl.gz").write_bytes(data)
    lengths = sorted(tokens(r) for r in bench)
    for name, rows in (("train", train), ("held-out", held)):
        print(f"{name}: {len(rows)} pairs of {len({r['prompt'] for r in rows})} prompts, "
              f"{sum(map(tokens, rows))} tokens, "
              f"{sum(len(r['chosen']) > len(r['rejected']) for r in rows)} with the longer answer chosen")
    print(f"demo: {len(demo)} pairs, {sum(map(tokens, demo))} tokens; bench: {len(bench)} pairs, {total} tokens, "
          f"a pair {lengths[0]} / {lengths[49]} / {lengths[89]} / {lengths[-1]} (least, median, p90, most)")

main()
