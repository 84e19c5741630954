#!/usr/bin/env python3
"""Texts of gram serve: serve_texts.py GRAM MODEL. Answers to one prompt are those of their own seeds, a stream's parts
are the text, a completion of a chat's tokens is the chat, the tokens of a prompt have the log-probabilities that
writing gave them, and beside a client that scores, with others that leave in the middle, nobody gets other bits."""
import http.client
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading

GRAM, MODEL = sys.argv[1:]


class Serve:
    def __init__(self, *options, model=MODEL):
        self.process = subprocess.Popen([GRAM, "serve", model, "--port", "0", *options], stderr=subprocess.PIPE,
                                        text=True)
        self.port = None
        for line in self.process.stderr:
            found = re.search(r"http://[^:]+:(\d+)", line)
            if found:
                self.port = int(found.group(1))
                break
        while self.ask("GET", "/health")[0] != 200:
            pass

    def ask(self, method, path, body=None):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        c.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
        r = c.getresponse()
        text = r.read().decode()
        c.close()
        return r.status, text

    def post(self, path, body, whole=True):
        status, text = self.ask("POST", path, body)
        assert status == 200, (path, body, status, text)
        return json.loads(text) if whole else text

    def refused(self, path, body, status, word):
        got, text = self.ask("POST", path, body)
        assert got == status and word in json.loads(text)["error"]["message"], (path, body, got, text)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        assert self.process.wait() == 0


def chat(i, **more):
    return {"messages": [{"role": "user", "content": f"Question {i}, über Köln? " * (1 + i % 3)}],
            "max_tokens": 12 + i % 5,
            "seed": 100 * i, "logprobs": True, "top_logprobs": i % 3, **more}


def streamed(s, path, body):
    """Of each choice its text and how it ended."""
    status, text = s.ask("POST", path, {**body, "stream": True})
    assert status == 200 and text.rstrip().endswith("data: [DONE]"), (status, text)
    said, ended = {}, {}
    for line in text.splitlines():
        if line.startswith("data: {"):
            for c in json.loads(line[6:])["choices"]:
                part = (c["delta"].get("content") if "delta" in c else c["text"]) or ""
                said[c["index"]] = said.get(c["index"], "") + part
                ended[c["index"]] = c["finish_reason"]
    return [(said[i], ended[i]) for i in sorted(said)]


def rationales_are_those_of_gram_score(s):
    """Text and bits, of a request alone, of pairs, and of a stream, with a chat beside them."""
    row = {"prompt": "Why?", "a": "Because it is so.", "b": "No."}
    how = {"rationale": True, "votes": 3, "rationale_tokens": 12, "seed": 5}
    out = subprocess.run([GRAM, "score", MODEL, "-", "--rationale", "--votes", "3", "--rationale-tokens", "12",
                          "--seed", "5",
                          "--products", "few", "--quiet"], capture_output=True, text=True, check=True, input=json.dumps(
                          {"prompt": row["prompt"], "chosen": row["a"], "rejected": row["b"]}) + "\n").stdout
    want = json.loads(out)
    del want["id"]
    beside = threading.Thread(target=s.post, args=("/v1/chat/completions", chat(2)))
    beside.start()
    got = s.post("/v1/score", {**row, **how})
    assert {k: got[k] for k in want} == want, (got, want)
    assert got["usage"]["completion_tokens"] == want["written"]
    other = {**row, "prompt": "And then?"}
    got = s.post("/v1/score", {"pairs": [other, row], **how})["data"][1]
    assert {k: got[k] for k in want} == want, (got, want)
    status, text = s.ask("POST", "/v1/score", {**row, **how, "stream": True})
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    assert status == 200 and {k: events[-1][k] for k in want} == want, text
    for order in want["orders"]:
        for i, written in enumerate(order["rationale"]):
            number = 2 * i + (order["first"] == "b")
            said = "".join(e["delta"] for e in events[:-1] if e["rationale"] == number and e["first"] == order["first"])
            assert said.strip() == written.strip(), (said, written)
    beside.join()


def answers_have_seeds_of_their_own(s):
    whole = s.post("/v1/chat/completions", chat(1, n=5, stop=["e", "tz"]))["choices"]
    for k, c in enumerate(whole):
        one, = s.post("/v1/chat/completions", {**chat(1, stop=["e", "tz"]), "seed": 100 + k})["choices"]
        assert {**c, "index": 0} == one, (c, one)
    assert len({c["message"]["content"] for c in whole}) > 1
    parts = streamed(s, "/v1/chat/completions", chat(1, n=5, stop=["e", "tz"]))
    assert parts == [(c["message"]["content"], c["finish_reason"]) for c in whole], (parts, whole)


def written(s):
    text = s.ask("GET", "/metrics")[1]
    return [int(re.search(rf"^gram_{name}_total (\d+)", text, re.M)[1]) for name in ("texts", "text_tokens")]


def the_answer_says_its_seed(s):
    """One that was drawn, too, and with it the same text comes again."""
    chat = {"messages": [{"role": "user", "content": "q"}], "max_tokens": 8}
    drawn = [s.post("/v1/chat/completions", {**chat, **seed}) for seed in ({"seed": -1}, {}, {})]
    assert len({d["seed"] for d in drawn}) == 3 and all(0 <= d["seed"] < 2**52 for d in drawn), drawn  # as JavaScript's
    again = s.post("/v1/chat/completions", {**chat, "seed": drawn[0]["seed"]})
    assert again["choices"] == drawn[0]["choices"]
    text = {"prompt": ["q", "q"], "n": 2, "max_tokens": 12}
    four = s.post("/v1/completions", text)["choices"]
    assert len({c["seed"] for c in four}) == 4 and len({c["text"] for c in four}) > 1, four
    four += s.post("/v1/completions", {**text, "prompt": "q", "n": 1, "best_of": 4})["choices"]
    for c in four:
        one, = s.post("/v1/completions", {**text, "prompt": "q", "n": 1, "seed": c["seed"]})["choices"]
        assert one["text"] == c["text"], (one, c)
    assert [c["seed"] for c in s.post("/v1/completions", {**text, "seed": 5})["choices"]] == [5, 6, 5, 6]
    counts = [written(s)]
    status, text = s.ask("POST", "/v1/completions", {"prompt": "q", "max_tokens": 2, "seed": 7, "stream": True})
    counts.append(written(s))
    assert [b - a for a, b in zip(*counts)] == [1, 2], counts
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    assert status == 200 and {e["seed"] for e in events} == {7}, text


def bytes_are_the_text(s):
    """The vocabulary is bytes, so most characters are several tokens."""
    c, = s.post("/v1/chat/completions", chat(2, max_tokens=60))["choices"]
    raw = b"".join(bytes(t["bytes"]) for t in c["logprobs"]["content"])
    assert raw.decode(errors="replace").replace("\0", "\ufffd") == c["message"]["content"], (raw, c)


def a_completion_of_a_chat_is_the_chat(s):
    body = chat(3, n=2)
    said = s.post("/v1/chat/completions", body)
    text = s.post("/apply-template", {"messages": body["messages"]})["prompt"]
    ids = s.post("/tokenize", {"content": text, "parse_special": True})["tokens"]
    how = {k: v for k, v in body.items() if k not in ("messages", "logprobs", "top_logprobs")}
    for prompt in (text, ids, [text], [ids]):
        out = s.post("/v1/completions", {**how, "prompt": prompt, "logprobs": 0})
        assert [c["text"] for c in out["choices"]] == [c["message"]["content"] for c in said["choices"]], (out, said)
        assert out["usage"] == said["usage"]
        for c, d in zip(out["choices"], said["choices"]):
            assert c["logprobs"]["token_logprobs"] == [t["logprob"] for t in d["logprobs"]["content"]]
    parts = streamed(s, "/v1/completions", {**how, "prompt": [text, text + "a"], "echo": True})
    whole = s.post("/v1/completions", {**how, "prompt": [text, text + "a"], "echo": True})["choices"]
    assert parts == [(c["text"], c["finish_reason"]) for c in whole] and len(whole) == 4, (parts, whole)
    assert whole[3]["text"].startswith(text + "a")


def a_prompt_has_the_logprobs_of_its_writing(s):
    """To float32's rounding: the products of many rows and of few sum in another order."""
    text = "A short text, "
    a, = s.post("/v1/completions", {"prompt": text, "max_tokens": 10, "seed": 3, "logprobs": 2,
                                    "echo": True})["choices"]
    a = a["logprobs"]
    ids = s.post("/tokenize", {"content": text})["tokens"]
    written = a["token_logprobs"][-10:]
    assert a["token_logprobs"][0] is None and a["top_logprobs"][0] is None and len(a["tokens"]) == len(ids) + 10
    plain, = s.post("/v1/completions", {"prompt": ids, "max_tokens": 10, "seed": 3, "logprobs": 2})["choices"]
    assert plain["logprobs"]["token_logprobs"] == written
    if all(not t.startswith("bytes:") for t in a["tokens"]):
        again = s.post("/tokenize", {"content": text + plain["text"]})["tokens"]
        b, = s.post("/v1/completions", {"prompt": again, "max_tokens": 0, "logprobs": 2, "echo": True})["choices"]
        assert b["text"] == text + plain["text"] and b["finish_reason"] == "length"
        for x, y in zip(b["logprobs"]["token_logprobs"][1:], a["token_logprobs"][1:]):
            assert abs(x - y) < 1e-4, (a, b)


def generated(prompt, *options):
    """What gram generate writes to it, with the products of a server's texts."""
    out = subprocess.run([GRAM, "generate", MODEL, "-", "--products", "few", "--quiet", *options], capture_output=True,
                         text=True, check=True, input=json.dumps({"prompt": prompt}) + "\n").stdout
    return json.loads(out)


def the_token_that_ends_an_answer_counts(s):
    """As it does in gram generate, whose log-probabilities say which answers are the best. Of a hundred bytes that end
    an answer one is often drawn at once, and that answer is empty, not certain."""
    ends = list(range(40, 140))
    want = generated("q", "--n", "24", "--max-new-tokens", "6", "--seed", "1", "--stop-ids", ",".join(map(str, ends)))
    n = want["responses"].count("")
    order = sorted(range(24), key=lambda k: -want["logprob"][k] / want["tokens"][k])[:n]
    assert n > 1 and any(want["responses"][k] for k in order), want
    how = {"max_tokens": 6, "seed": 1, "stop_token_ids": ends, "logprobs": 0}
    text = s.post("/apply-template", {"messages": [{"role": "user", "content": "q"}]})["prompt"]
    every = s.post("/v1/completions", {**how, "prompt": text, "n": 24})
    assert [c["text"] for c in every["choices"]] == want["responses"]
    assert every["usage"]["completion_tokens"] == sum(want["tokens"]), every["usage"]
    empty = every["choices"][want["responses"].index("")]["logprobs"]
    assert empty == {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}, empty
    best = s.post("/v1/completions", {**how, "prompt": text, "n": n, "best_of": 24})
    assert [c["text"] for c in best["choices"]] == [want["responses"][k] for k in order], (best, want)
    assert best["usage"] == every["usage"]
    chat = s.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "q"}], "n": 24, "max_tokens": 6,
                                           "seed": 1, "stop_token_ids": ends})
    assert chat["usage"] == every["usage"], chat["usage"]


def nobody_gets_other_bits(s):
    """Chats, a client that scores, and clients that leave in the middle of a stream or before anything was written."""
    bodies = [chat(i, n=1 + i % 3, temperature=i % 2) for i in range(12)]
    alone = [s.post("/v1/chat/completions", b)["choices"] for b in bodies]
    pairs = [{"prompt": f"q{i}", "a": "an answer " * (10 + 7 * i), "b": "another " * (15 + 5 * i)} for i in range(12)]
    scores = s.post("/v1/score", {"pairs": pairs})["data"]
    wrong, more = [], threading.Event()

    def say(order):
        for i in order:
            if s.post("/v1/chat/completions", bodies[i])["choices"] != alone[i]:
                wrong.append(f"chat {i} has another text or other log-probabilities")

    def judge():
        while not more.is_set():
            if s.post("/v1/score", {"pairs": pairs})["data"] != scores:
                wrong.append("other scores")

    def leave(seed):
        rng = random.Random(seed)
        while not more.is_set():
            c = http.client.HTTPConnection("127.0.0.1", s.port, timeout=300)
            c.request("POST", "/v1/chat/completions",
                      json.dumps(chat(rng.randrange(12), n=3, stream=True, max_tokens=200)),
                      {"Content-Type": "application/json"})
            if rng.random() < 0.7:
                c.getresponse().read(rng.randrange(1, 3000))
            c.close()

    others = [threading.Thread(target=f, args=a) for f, a in ((judge, ()), (leave, (1,)), (leave, (2,)))]
    sayers = [threading.Thread(target=say, args=(random.Random(k).sample(range(12), 12),)) for k in range(3)]
    for t in others + sayers:
        t.start()
    for t in sayers:
        t.join()
    more.set()
    for t in others:
        t.join()
    assert not wrong, wrong[0]


def what_cannot_be_written_is_one_sentence(s):
    message = [{"role": "user", "content": "q"}]
    s.refused("/v1/chat/completions", {"messages": message, "temperature": 101}, 422, "temperature must be 0 to 100")
    s.refused("/v1/chat/completions", {"messages": message, "stop": ["a", "b\0"]}, 422, "string 1 holds U+0000")
    s.refused("/v1/chat/completions", {"messages": message, "stop": "\ud800"}, 422, "stop")
    s.refused("/v1/completions", {"prompt": "x" * 70000, "max_tokens": 2}, 422, "leaves no room")
    s.refused("/v1/completions", {"prompt": ["a", "x" * 70000], "max_tokens": 2}, 422, "prompt 1: ")
    s.refused("/v1/completions", {"prompt": [10 ** 9], "max_tokens": 2}, 422, "not in the vocabulary")
    s.refused("/v1/completions", {"prompt": [10 ** 9], "max_tokens": 0, "echo": True, "logprobs": 1}, 422, "")
    s.refused("/v1/completions", {"prompt": ["a"] * 1000, "n": 2}, 413, "1024 texts")


def offsets_are_of_the_text():
    """Where tokens stand before the prompt that the client did not send: a BOS, and a tokenizer's own space."""
    with tempfile.TemporaryDirectory() as dir:
        shutil.copytree("tests/golden/archs/internlm2", dir, dirs_exist_ok=True)
        with open(dir + "/tokenizer_config.json", encoding="utf-8") as f:
            config = json.load(f)
        with open(dir + "/tokenizer_config.json", "w", encoding="utf-8") as f:
            json.dump({**config, "add_bos_token": True}, f)
        with Serve("--quiet", model=dir) as s:
            for prompt, front in (("Once a", 2), (" Once", 2), ([1, 295, 82], 0)):
                body = {"prompt": prompt, "max_tokens": 1, "echo": True, "logprobs": 0, "n": 2, "seed": 2}
                for c in s.post("/v1/completions", body)["choices"]:
                    tokens, at = c["logprobs"]["tokens"], c["logprobs"]["text_offset"]
                    assert tokens[:2] == ["<s>", " "] and at[:front] == [0] * front, (c, front)
                    for token, k in list(zip(tokens, at))[front:]:
                        assert token.startswith("bytes:") or c["text"][k:].startswith(token), (c, token)


def the_log_says_what_usage_says():
    with Serve() as s:
        used = [s.post("/v1/chat/completions", chat(1, n=2))["usage"]["total_tokens"]]
        s.post("/v1/completions", {"prompt": "q", "max_tokens": 3, "stream": True, "seed": 1}, whole=False)
        used.append(1 + 3)
        reasons = {"prompt": "q", "rationale": True, "votes": 2, "rationale_tokens": 4}
        for path, body in (("/v1/score", {"a": "x", "b": "y"}), ("/v1/rank", {"responses": ["x", "y"]}),
                           ("/v1/reward", {"responses": ["x", "y"]})):
            used += 2 * [s.post(path, {**reasons, **body})["usage"]["total_tokens"]]
            s.post(path, {**reasons, **body, "stream": True}, whole=False)
        s.process.terminate()
        lines = [json.loads(line) for line in s.process.stderr if '"path":"/v1/' in line]
    assert [line["tokens"] for line in lines] == used, (lines, used)
    assert [line["pairs"] for line in lines] == [0] * 2 + [1] * 6, lines


the_log_says_what_usage_says()
offsets_are_of_the_text()
with Serve("--quiet") as server:
    rationales_are_those_of_gram_score(server)
    answers_have_seeds_of_their_own(server)
    the_answer_says_its_seed(server)
    bytes_are_the_text(server)
    a_completion_of_a_chat_is_the_chat(server)
    a_prompt_has_the_logprobs_of_its_writing(server)
    the_token_that_ends_an_answer_counts(server)
    nobody_gets_other_bits(server)
    what_cannot_be_written_is_one_sentence(server)
print("  texts are the same in every company, in parts or whole")
