"""world.py - a little language, a model that writes it, and rewards that are known.

Prompts name an animal; an answer is a sentence about it, of 4 to about 20 words, drawn from a grammar. The model is a
Llama of two layers and 0.2 million weights over a byte-level BPE vocabulary of its own, trained here from random
weights until it writes the grammar, so that a step of RLOO takes a tenth of a second and an experiment of 30 runs
minutes. It is no language model of use; what it can show is what methods do to a policy.

    python3 world.py letter|gold        a reward as a judge of `gram`: JSON lines in, a number a line out
"""
import json
import random
import sys

NOUNS = ("fox crow dog owl cat hen bear goat wolf deer mouse horse snake hare lark frog swan mole stork eel carp toad "
         "ram lynx").split()
ADJECTIVES = "old brown small grey cold quick golden thin slow bold red mild poor green soft white".split()
VERBS = "sees follows hears knows leaves meets warms holds calls finds".split()
PLACES = "river road field wood stone garden hill moor lake door tree barn".split()
PREPOSITIONS = "near on behind over below from".split()
ADVERBS = "soon often again today slowly never".split()
ASK = ["Tell me about the {}.", "What does the {} do?", "Write a line on the {}.", "Where is the {}?"]
MAX_NEW = 32


def thing(r):
    return [r.choice(["the", "a"])] + ([r.choice(ADJECTIVES)] if r.random() < .6 else []) + [r.choice(NOUNS)]


def place(r):
    return [r.choice(PREPOSITIONS), "the"] + ([r.choice(ADJECTIVES)] if r.random() < .3 else []) + [r.choice(PLACES)]


def sentence(noun, r):
    words = ["the"] + ([r.choice(ADJECTIVES)] if r.random() < .6 else []) + [noun, r.choice(VERBS)] + thing(r)
    if r.random() < .5:
        words += place(r)
    if r.random() < .3:
        words += [r.choice(ADVERBS)]
    if r.random() < .3:
        words += ["and", r.choice(VERBS)] + thing(r) + (place(r) if r.random() < .5 else [])
    return " ".join(words) + " ."


def prompts():
    """Training prompts and held-out ones: every third way of asking about an animal is held out."""
    every = [ask.format(noun) for noun in NOUNS for ask in ASK]
    return [p for i, p in enumerate(every) if i % 3], [p for i, p in enumerate(every) if i % 3 == 0]


# ---- Rewards -----------------------------------------------------------------------------------------------------

def letter(text):
    """Ten times the share of an answer's letters that are an o."""
    letters = [c for c in text.lower() if c.isalpha()]
    return 10 * letters.count("o") / len(letters) if letters else 0.0


def gold(text):
    """What the over-optimised proxy stands for: words with an o, up to eight of them and each once, less what is
    repeated and what goes beyond twelve words. It falls where a proxy that has learnt "more o" is followed on."""
    words = [w for w in text.lower().split() if w.isalpha()]
    told = [w for w in words if w not in ("the", "a", "and")]
    with_o = {w for w in told if "o" in w}
    return float(min(len(with_o), 8) - (len(told) - len(set(told))) - max(0, len(words) - 12) / 2)


REWARD = {"letter": letter, "gold": gold}


def judge(name):
    for line in sys.stdin:
        print(REWARD[name](json.loads(line)["completion"]), flush=True)


# ---- The model ---------------------------------------------------------------------------------------------------

TEMPLATE = ("{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}")
SPECIAL = ["<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]


def make_tokenizer(texts):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=560, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False))
    return tok


def make_model(out, steps=1500, rows=64, seed=0):
    """Writes the policy that every experiment starts from to the directory `out`."""
    import torch
    import transformers
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    r = random.Random(seed)
    train, _ = prompts()
    asked = [(p, sentence(p.split()[-1].strip(".?") if "do?" not in p else p.split()[-2], r))
             for p in (r.choice(train) for _ in range(20000))]
    tok = make_tokenizer([t for pair in asked for t in pair])
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tok, eos_token="<|end|>", pad_token="<|end|>")
    fast.chat_template = TEMPLATE
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(
        vocab_size=len(fast), hidden_size=80, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=224, max_position_embeddings=512, tie_word_embeddings=True,
        eos_token_id=tok.token_to_id("<|end|>"), bos_token_id=None, pad_token_id=None))
    ids = [([1] + tok.encode(p).ids + [0, 2], tok.encode(a).ids + [0]) for p, a in asked]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        batch = [ids[r.randrange(len(ids))] for _ in range(rows)]
        longest = max(len(p) + len(a) for p, a in batch)
        x = torch.tensor([p + a + [0] * (longest - len(p) - len(a)) for p, a in batch])
        y = torch.tensor([[-100] * len(p) + a + [-100] * (longest - len(p) - len(a)) for p, a in batch])
        loss = model(input_ids=x, labels=y).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 250 == 0 or step == steps - 1:
            print(f"step {step}: {loss.item():.3f}", file=sys.stderr, flush=True)
    model.save_pretrained(out)
    fast.save_pretrained(out)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in REWARD:
        sys.exit(__doc__)
    judge(sys.argv[1])
