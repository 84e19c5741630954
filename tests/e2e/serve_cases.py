"""serve_cases.py GRAM JUDGE REWARD: the cases of tests/cases/serve* against `gram serve` of a judge and of a reward
model whose template writes a dated system turn (Llama 3's marks)."""
import base64
import http.client
import json
import math
import pathlib
import re
import socket
import struct
import subprocess
import sys
import threading
import time

GRAM, JUDGE, REWARD = sys.argv[1:]
CASES = pathlib.Path(__file__).resolve().parent.parent / "cases"


class Serve:
    def __init__(self, model, *options):
        self.p = subprocess.Popen([GRAM, "serve", model, "--port", "0", "-q", *options], stderr=subprocess.PIPE,
                                  text=True)
        self.port = int(re.search(r":(\d+)$", self.p.stderr.readline())[1])
        while self.ask("GET", "/health")[0] != 200:
            time.sleep(0.05)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.p.terminate()
        assert self.p.wait(60) == 0, "the server ended with an error"

    def ask(self, how, path, body=None):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        c.request(how, path, body, {} if body is None else {"Content-Type": "application/json"})
        r = c.getresponse()
        text = r.read()
        c.close()
        return r.status, json.loads(text)

    def post(self, path, body):
        return self.ask("POST", path, body if isinstance(body, (bytes, str)) else json.dumps(body))

    def case(self, name):
        """A file that says its path, or the path and a file."""
        j = json.loads((CASES / name).read_text())
        return self.post(j["path"], j["body"])

    def raw(self, data):
        """The statuses that come back until the server closes the connection, or None where it does not."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as s:
            s.sendall(data)
            out = b""
            s.settimeout(2)
            try:
                while b := s.recv(65536):
                    out += b
            except TimeoutError:
                return None
            except OSError:
                pass
        return [int(x) for x in re.findall(rb"HTTP/1\.[01] (\d+)", out)]


def load(name):
    return json.loads((CASES / name).read_text())


def reward_in(answer):
    status, j = answer
    assert status == 200, answer
    if isinstance(j, list):
        return j[0]["embedding"][0]
    for k in ("rewards", "scores"):
        if k in j:
            return j[k][0]
    d = j["data"][0]
    return d["embedding"][0] if "embedding" in d else d["probs"][0]


def two_lengths(s):
    assert s.raw((CASES / "serve_two_lengths/request.bin").read_bytes()) == [400]
    assert s.raw((CASES / "serve_two_lengths/both.bin").read_bytes()) == [400]


def forged_turns(s):
    a = s.post("/get_reward", load("serve_get_reward_forged_turns/request.json"))
    b = s.post("/v1/score", load("serve_get_reward_forged_turns/same.json"))
    assert a[1]["rewards"][0] == b[1]["preference"], (a, b)


def equal_answers(s):
    for line in (CASES / "serve_equal_answers_tie/requests.jsonl").read_text().splitlines():
        v = s.post("/v1/score", line)[1]
        assert v["preference"] == 0.5 and v["winner"] == "tie" and v["flipped"] is False, (line, v)
    for method in ("all-pairs", "linear", "tournament"):
        r = s.post("/v1/rank", {**load("serve_equal_answers_tie/rank.json"), "method": method})[1]["results"]
        assert [x["index"] for x in r] == [0, 1, 2, 3] and len({(x["score"], x["rank"]) for x in r}) == 1, r
        many = s.post("/v1/rank", {"prompt": "q", "responses": ["a", "b", "a", "cc", "a", "b"],
                                   "method": method})[1]["results"]
        ranks = {x["index"]: (x["rank"], x["score"]) for x in many}
        assert ranks[0] == ranks[2] == ranks[4] and ranks[1] == ranks[5] != ranks[0], many


def odd_rollouts(s):
    q = load("serve_nul_in_one_completion/request.json")
    odd = json.dumps({**q, "responses": ["7", "7HALF", "9"]}).replace("HALF", "\\ud800")
    for body in (json.dumps(q), odd):
        status, j = s.post("/v1/reward", body)
        assert status == 422 and j["error"]["param"] == "responses[1]" and "responses[1]" in j["error"]["message"], j
        partial = {**json.loads(body), "partial": True}
        status, j = s.post("/v1/reward", partial)
        alone = s.post("/v1/reward", {"prompt": q["prompt"], "responses": ["7", "9"]})[1]["rewards"]
        assert status == 200 and j["rewards"] == [alone[0], None, alone[1]], (j, alone)
    long = "word " * 40000
    status, j = s.post("/v1/reward", {"prompt": "q", "responses": ["x", long, "yy"], "partial": True})
    want = s.post("/v1/reward", {"prompt": "q", "responses": ["x", "yy"]})[1]["rewards"]
    assert status == 200 and j["rewards"] == [want[0], None, want[1]], str(j)[:500]
    assert re.search(r"takes \d+ tokens, and at most \d+ may be read", j["data"][1]["error"]["message"]), j["data"][1]


def health_beside_a_big_request(s):
    make = CASES / "serve_health_beside_big_request/make.py"
    body = subprocess.run([sys.executable, make], capture_output=True, check=True).stdout
    seen, stop = [], threading.Event()

    def watch():
        while not stop.is_set():
            begin = time.time()
            assert s.ask("GET", "/health")[0] == 200
            seen.append(time.time() - begin)
            time.sleep(0.01)

    w = threading.Thread(target=watch)
    w.start()
    begin = time.time()
    s.post("/v1/score/evaluation", body)
    took = time.time() - begin
    stop.set()
    w.join()
    assert max(seen) < max(0.5, 0.5 * took), (max(seen), took)


def embeddings(s):
    q = load("serve_embeddings_base64/request.json")
    want = reward_in(s.post("/v1/embeddings", {**q, "encoding_format": "float"}))
    got = base64.b64decode(s.post("/v1/embeddings", q)[1]["data"][0]["embedding"], validate=True)
    assert len(got) == 4 and abs(struct.unpack("<f", got)[0] - want) < 1e-6 * max(1, abs(want))


def classify(s):
    for name in ("messages", "request"):
        j = load(f"server_classify_probs/{name}.json")
        d = [s.post(j["path"], {**j["body"], **more})[1]["data"][0] for more in ({}, {"activation": False})]
        assert [len(x["probs"]) for x in d] == [1, 1] and [x["num_classes"] for x in d] == [1, 1], d
        assert abs(d[0]["probs"][0] - 1 / (1 + math.exp(-d[1]["probs"][0]))) < 1e-12, d


def labels(s):
    j = load("server_get_reward_label_scales/request.json")
    plain = s.post(j["path"], {k: v for k, v in j["body"].items() if k != "labels"})[1]
    assert s.post(j["path"], j["body"])[1] == plain and plain["scale"] == "head", plain


def null_content(s):
    status, j = s.case("server_null_content/request.json")
    assert status == 422 and "tool_calls" in j["error"]["message"], j


def rendered_text(s):
    cut, whole = (reward_in(s.case(f"server_rendered_text_cut_answer/{n}.json")) for n in ("cut", "whole"))
    assert cut != whole
    rewards = [reward_in(s.case(f"server_rendered_text_dated/{n}.json"))
               for n in ("messages", "text_sglang", "text_openrlhf", "text_factory")]
    assert all(r == rewards[0] for r in rewards) and abs(rewards[0] - 1.6134) < 1e-3, rewards


def chats_share_their_memory():
    """What a chat alone may come to has to fit: more is 422. Where several come to more, some wait, and all write what
    they write alone."""
    chat = {"messages": [{"role": "user", "content": "q"}], "temperature": 0}
    with Serve(JUDGE, "--chat-memory", "1", "--max-new-tokens", "60000") as s:
        status, j = s.post("/v1/chat/completions", {**chat, "max_tokens": 60000})
        assert status == 422 and "1 MiB" in j["error"]["message"], j
        most = max(n for n in range(100, 4000, 100)
                   if s.post("/v1/chat/completions", {**chat, "max_tokens": n, "stop": "e"})[0] == 200)
        seen = []

        def write():
            status, j = s.post("/v1/chat/completions", {**chat, "max_tokens": most, "min_tokens": most})
            seen.append((status, j["choices"][0]["message"]["content"] if status == 200 else j))

        write()
        threads = [threading.Thread(target=write) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert len(seen) == 5 and seen[0][0] == 200 and all(one == seen[0] for one in seen), seen


with Serve(JUDGE) as judge:
    for case in (two_lengths, forged_turns, equal_answers, odd_rollouts, health_beside_a_big_request):
        case(judge)
with Serve(REWARD) as reward:
    for case in (two_lengths, embeddings, classify, labels, null_content, rendered_text, equal_answers):
        case(reward)
print("  the cases hold")
