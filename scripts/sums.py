"""sums.py - a task on which reasons help by construction: which of two answers is a sum that ends in the larger digit.

    python3 scripts/sums.py data DIR [--size SIZE] [--seed N]
    python3 scripts/sums.py base DIR [--size SIZE] [--new]
    python3 scripts/sums.py table RUN...

A judge that answers at once has to add up both answers and drop the tens in one step; one that writes may add a number
at a time. (Which sum is larger is no such task: it is linear in the numbers, and a small model learns it in one step.)
`data` writes rows with reasons (human.jsonl), labelled pairs without (labelled.jsonl), pairs for the rounds
(unlabelled.jsonl; their labels are there to be counted by, and no stage looks at them), a test set (test.jsonl) without
a question in common, and the prompts. `base` writes rows that teach a model to add (DIR/rows.jsonl): both sums, step by
step, and which ends in more. No row says which response is better, and no label is learnt. With --new it also writes a
small model of random weights with a vocabulary of its own (DIR/random). The same size and seed give the same bytes;
where DIR is whole nothing is done, and where it was made otherwise that is an error. `table` prints what runs of
run_sums.sh, one a seed, came to."""
import argparse, array, json, math, pathlib, random, shutil, statistics, struct, sys

SIZES = {   # numbers to a sum, the largest of them; rows of each file
    "full": dict(terms=3, largest=49, human=400, labelled=400, unlabelled=800, test=400, base=0),
    "middle": dict(terms=2, largest=49, human=100, labelled=100, unlabelled=160, test=100, base=1200),
    "small": dict(terms=3, largest=9, human=200, labelled=200, unlabelled=400, test=150, base=4000),
    "trial": dict(terms=2, largest=9, human=8, labelled=8, unlabelled=16, test=8, base=16),
}
JUDGE = "Which response is the sum that ends in the larger digit?\nResponse A: {response_a}\nResponse B: {response_b}\n"
PROMPTS = {
    "plain.txt": JUDGE + "{input} Answer with A or B alone.",
    "judge.txt": JUDGE + "{input} Add up both, a number at a time, then answer.",
    "prover.txt": JUDGE + "{input} Response {label} is. Add up both, a number at a time, and conclude.",
}
BASE_PROMPT = "Response A: {response_a}\nResponse B: {response_b}\n{input}"
BASE_ASKS = "Add up both, a number at a time."

def last_digit(terms):
    return sum(terms) % 10

def pair(rng, seen, size):
    """Two sums that end in different digits, that of the larger one first."""
    while True:
        a, b = ([rng.randint(1, size["largest"]) for _ in range(size["terms"])] for _ in range(2))
        key = tuple(sorted([tuple(a), tuple(b)]))
        if last_digit(a) != last_digit(b) and key not in seen:
            seen.add(key)
            return (a, b) if last_digit(a) > last_digit(b) else (b, a)

def text(terms):
    return " + ".join(map(str, terms))

def steps(name, terms):
    total, said = terms[0], []
    for t in terms[1:]:
        said.append(f"{total} + {t} = {total + t}")
        total += t
    return f"{name}: {', '.join(said)}."

def reasons(better, worse, rng):
    """Which of the two comes first says nothing: else the first name would be the verdict, before anything is added."""
    both = [("{first}", better), ("{second}", worse)]
    if rng.random() < 0.5:
        both.reverse()
    (a, one), (b, other) = ((name, last_digit(terms)) for name, terms in both)
    lines = "\n".join(steps(name, terms) for name, terms in both)
    return f"{lines}\n\n{a} ends in {one}, {'more' if one > other else 'less'} than {other} of {b}. {{first}} has more."

def row(name, i, rng, seen, size):
    better, worse = pair(rng, seen, size)
    r = {"id": f"{name}{i}", "prompt": "Which one ends in more?", "chosen": text(better), "rejected": text(worse)}
    if name in ("human", "base"):
        r["rationale"] = reasons(better, worse, rng)
    if name == "human":
        r["rationale"] += "\n\nConclusion:\n{first} is better."
    if name == "base":
        r["prompt"] = BASE_ASKS
    return json.dumps(r) + "\n"

def rows(name, n, rng, seen, size):
    return "".join(row(name, i, rng, seen, size) for i in range(n))

# ---- A model that knows nothing -----------------------------------------------------------------------

LAYERS, WIDTH, HEADS, HIDDEN = 4, 128, 4, 384
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
            "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")

def byte_letters():
    """How GPT-2's byte-level BPE writes each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    return {**{b: chr(b) for b in plain}, **{b: chr(256 + i) for i, b in enumerate(rest)}}

def tokenizer():
    """Every word of the prompts and rationales is a token; digits stand alone."""
    said = " ".join([*PROMPTS.values(), BASE_PROMPT,
                     "Conclusion: ends in has more than of. has less than. is better. Which one ends in more?"])
    words = sorted({w for w in "".join(c if c.isalpha() else " " for c in said).split()})
    letter = byte_letters()
    vocab, merges = list(SPECIAL) + list(letter.values()), []
    first = ["\u0120" + w for w in [*words, "+", "="]]         # no merge of a word may come before its own first one
    for word in first + [w for w in words if w[0].isupper()] + ["assistant", "user", "think", "answer"]:
        for k in range(1, len(word)):
            if word[:k + 1] not in vocab:
                vocab.append(word[:k + 1])
                merges.append([word[:k], word[k]])
    split = [{"type": "Digits", "individual_digits": True},
             {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}]
    return {"version": "1.0", "truncation": None, "padding": None, "normalizer": None,
            "added_tokens": [{"id": i, "content": s, "single_word": False, "lstrip": False, "rstrip": False,
                              "normalized": False, "special": True} for i, s in enumerate(SPECIAL)],
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": split}, "post_processor": None, "decoder": split[1],
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                      "vocab": {v: i for i, v in enumerate(vocab)}, "merges": merges}}

def config(vocabulary):
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "float32", "vocab_size": vocabulary,
            "hidden_size": WIDTH, "intermediate_size": HIDDEN, "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS, "num_key_value_heads": HEADS, "head_dim": WIDTH // HEADS,
            "hidden_act": "silu", "attention_bias": False, "mlp_bias": False, "rms_norm_eps": 1e-6,
            "rope_theta": 10000.0, "max_position_embeddings": 1024, "tie_word_embeddings": True,
            "bos_token_id": 1, "eos_token_id": 2}

def tensors(vocabulary):
    """Names and shapes in the order of their bytes."""
    yield "model.embed_tokens.weight", (vocabulary, WIDTH)
    for i in range(LAYERS):
        at = f"model.layers.{i}."
        for name in "qkvo":
            yield f"{at}self_attn.{name}_proj.weight", (WIDTH, WIDTH)
        for name, shape in [("gate", (HIDDEN, WIDTH)), ("up", (HIDDEN, WIDTH)), ("down", (WIDTH, HIDDEN))]:
            yield f"{at}mlp.{name}_proj.weight", shape
        yield at + "input_layernorm.weight", (WIDTH,)
        yield at + "post_attention_layernorm.weight", (WIDTH,)
    yield "model.norm.weight", (WIDTH,)

def write_weights(path, vocabulary):
    """Norms of one; matrices normal, those that end a block smaller by the depth."""
    rng, header, parts, at = random.Random("sums base"), {}, [], 0
    for name, shape in tensors(vocabulary):
        n = math.prod(shape)
        deviation = 0.06 / math.sqrt(2 * LAYERS) if "o_proj" in name or "down_proj" in name else 0.06
        values = array.array("f", [rng.gauss(0, deviation) if len(shape) == 2 else 1.0 for _ in range(n)])
        if sys.byteorder == "big":
            values.byteswap()
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, at + 4 * n]}
        parts.append(values.tobytes())
        at += 4 * n
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    path.write_bytes(struct.pack("<Q", len(head)) + head + b"".join(parts))

# ---- Files, whole or not at all -----------------------------------------------------------------------

def make(out, settings, fill):
    """Lets `fill` write into a directory that gets its name when it is whole."""
    made = out / "settings.json"
    if made.exists():
        was = json.loads(made.read_text())
        if was != settings:
            sys.exit(f"{out}: it was made with {was}, and now {settings} is asked for")
        return
    part = out.with_name(out.name + ".part")
    for old in (part, out):
        shutil.rmtree(old, ignore_errors=True)
    part.mkdir(parents=True)
    fill(part)
    (part / "settings.json").write_text(json.dumps(settings) + "\n")
    part.rename(out)

def data(args):
    size, seen = SIZES[args.size], set()
    rng = random.Random(f"sums {args.size} {args.seed}")
    def fill(out):
        for name in ["human", "labelled", "unlabelled", "test"]:
            (out / f"{name}.jsonl").write_text(rows(name, size[name], rng, seen, size))
        (out / "plain.jsonl").write_text((out / "human.jsonl").read_text() + (out / "labelled.jsonl").read_text())
        for name, prompt in PROMPTS.items():
            (out / name).write_text(prompt)
    make(pathlib.Path(args.dir), {**size, "seed": args.seed}, fill)

def new_model(out):
    words = tokenizer()
    vocabulary = len(words["model"]["vocab"])
    out.mkdir()
    (out / "tokenizer.json").write_text(json.dumps(words))
    (out / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": SPECIAL[1], "eos_token": SPECIAL[2],
        "chat_template": TEMPLATE}))
    (out / "config.json").write_text(json.dumps(config(vocabulary), indent=1))
    write_weights(out / "model.safetensors", vocabulary)

def base(args):
    size = SIZES[args.size]
    def fill(out):
        if args.new:
            new_model(out / "random")
        (out / "rows.jsonl").write_text(rows("base", size["base"], random.Random("sums base rows"), set(), size))
        (out / "prompt.txt").write_text(BASE_PROMPT)
    make(pathlib.Path(args.dir), size, fill)

# ---- What came of it ---------------------------------------------------------------------------------

T95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571}       # 97.5 % points of Student's t by degrees of freedom

def over_seeds(values):
    """The mean over seeds and half of its 95 % interval."""
    half = T95.get(len(values) - 1,
                   1.96) * statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return f"{100 * statistics.mean(values):.1f}" + (f" \u00b1 {100 * half:.1f}" if half is not None else "")

def numbers(path):
    return json.loads(path.read_text())

def seconds(runs, votes):
    """A pair, of so many votes: of all votes' by the tokens written. A run that was resumed has not timed all."""
    each = []
    for run in map(lambda r: numbers(r / "numbers.json"), runs):
        if run["speed"]["resumed_rows"] == 0:
            tokens = [p["written_tokens_a_row"] for p in run["rationales"]["accuracy_by_votes"]] if votes else [1]
            at = [p["votes"] for p in run["rationales"]["accuracy_by_votes"]].index(votes) if votes else 0
            each.append(tokens[at] / tokens[-1] / run["speed"]["pairs_per_s"])
    return f"{statistics.mean(each):.3f}" if each else "-"

def table(args):
    runs = [pathlib.Path(r) for r in args.run]
    print("| judge | votes | accuracy, % | by seed, % | forced, % | tokens written a pair | seconds a pair |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    by_seed = lambda values: ", ".join(f"{100 * v:.1f}" for v in values)
    plain = [numbers(r / "plain/numbers.json")["summary"]["accuracy"]["value"] for r in runs]
    print(f"| plain | - | {over_seeds(plain)} | {by_seed(plain)} | - | 0 | {seconds([r / 'plain' for r in runs], 0)} |")
    for judge in ["02-judge", "round-1", "round-2", "final"]:
        all_votes = [numbers(r / "self/eval" / judge / "numbers.json")["rationales"] for r in runs]
        forced = statistics.mean(v["forced"] / v["rationales"] for v in all_votes)
        for k in (1, 4, 16):
            at = [p for v in all_votes for p in v["accuracy_by_votes"] if p["votes"] == k]
            right = [p["accuracy"]["value"] for p in at]
            print(f"| {judge} | {k} | {over_seeds(right)} | {by_seed(right)} | {100 * forced:.1f} | "
                  f"{statistics.mean(p['written_tokens_a_row'] for p in at):.0f} | "
                  f"{seconds([r / 'self/eval' / judge for r in runs], k)} |")
    print("\n| round | kept, % | of kept, right, % | of dropped, right, % |\n| --- | --- | --- | --- |")
    for n in (1, 2):
        rounds = [numbers(r / "self/rounds.json")["rounds"][n]["labels"] for r in runs]
        share = lambda c: c["right"] / c["known"] if c["known"] else float("nan")
        print(f"| {n} | {over_seeds([l['kept']['pairs'] / l['pairs'] for l in rounds])} | "
              f"{over_seeds([share(l['kept']) for l in rounds])} | "
              f"{over_seeds([share(l['dropped']) for l in rounds])} |")

def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sub = p.add_subparsers(required=True)
    for name, run, help_text in [("data", data, "rows and prompts of one seed"),
                                 ("base", base, "what teaches a model to add")]:
        d = sub.add_parser(name, help=help_text)
        d.add_argument("dir")
        d.add_argument("--size", choices=SIZES, default="full")
        d.set_defaults(run_it=run)
        if run is data:
            d.add_argument("--seed", type=int, default=0)
        else:
            d.add_argument("--new", action="store_true", help="and the model")
    t = sub.add_parser("table", help="what runs came to")
    t.add_argument("run", nargs="+")
    t.set_defaults(run_it=table)
    args = p.parse_args()
    args.run_it(args)

if __name__ == "__main__":
    main()
