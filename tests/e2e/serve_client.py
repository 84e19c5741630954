#!/usr/bin/env python3
"""python/gram/client.py against a server: serve_client.py URL. The engine may be any."""
import http.server
import os
import sys
import threading
import types

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "python"))
from gram import client as gram_client  # noqa: E402

URL = sys.argv[1]
os.environ["GRAM_URL"] = URL
gram = gram_client.Gram(URL)


def close(a, b):
    return abs(a - b) < 1e-12


def raises(status, call, *args):
    try:
        call(*args)
    except gram_client.GramError as e:
        assert e.status == status, (e.status, e)
    else:
        raise AssertionError("it did not fail")


assert gram.healthy()
v = gram.score("q", "an answer", "another one")
assert 0 <= v["preference"] <= 1
pairs = gram.score_pairs([("q", "an answer", "another one"), ("q", "another one", "an answer")])
assert pairs[0]["preference"] == v["preference"] and close(pairs[1]["preference"], 1 - v["preference"])
assert len(gram.rank("q", ["a", "b", "c"], "tournament")["results"]) == 3
group = gram.reward("q", ["an answer", "another one", "a third"])
assert len(group) == 3
raises(422, gram.reward, "q", ["alone"])
how = {"rationale": True, "votes": 1, "rationale_tokens": 4, "criteria": "Be brief."}
assert gram.score_pairs([("q", "x", "yy")], **how)[0]["unparsed"] == 0
assert gram.rank("q", ["x", "yy"], **how)["comparisons"][0]["unparsed"] == 0
by_reasons = gram.reward("q", ["x", "yy"], **how)
assert by_reasons == gram_client.trl_reward(URL, fields=how)(["q"] * 2, ["x", "yy"]) and close(sum(by_reasons), 1)
raises(422, gram.score, "", 3, "x")

trl = gram_client.trl_reward(URL)
assert trl(["q"] * 3 + ["r"], ["an answer", "another one", "a third", "x"]) == group + [None]
odd = ["an answer", "7\0", "another one", "7\ud800", "a third"]
assert trl(["q"] * 5, odd) == [group[0], None, group[1], None, group[2]]
assert trl(["q"] * 2, odd[1::2]) == [None, None]
raises(422, gram.reward, "q", odd)
try:
    gram.reward("q", odd)
except gram_client.GramError as e:
    assert [i["index"] for i in e.items] == [1, 3] and e.param == "responses[1]", (e.items, e.param)
assert ["error" in v for v in gram.score_pairs([("q", "x", "7\0"), ("q", "an answer", "another one")])] == [True, False]
for script in ("Grüße aus Köln 😀", "東京は日本の首都です。", "Москва — столица", "القاهرة عاصمة مصر", "हिन्दी", "🏳️‍🌈 e\u0301"):
    a, b = gram.score(script, script, "x"), gram.score(script, "x", script)
    assert close(a["preference"], 1 - b["preference"]) and gram.score(script, script, script)["winner"] == "tie"


class Proxy(http.server.BaseHTTPRequestHandler):
    """What may stand before a server: busy until a date, and then with a page of its own."""
    answers = [(503, {"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}), (200, {})]

    def do_POST(self):
        status, headers = self.answers.pop(0)
        self.send_response(status)
        for name, value in {**headers, "Content-Length": "4"}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"<p/>")

    def log_message(self, *_):
        pass


proxy = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
threading.Thread(target=proxy.serve_forever, daemon=True).start()
raises(200, gram_client.Gram(f"http://127.0.0.1:{proxy.server_port}").score, "q", "x", "y")
assert not Proxy.answers
proxy.shutdown()

chat = [{"role": "user", "content": "q"}]
answers = [[{"role": "assistant", "content": t}] for t in ("an answer", "another one")]
assert trl([chat] * 2, answers)[0] == v["preference"]
assert gram_client.trl_reward(URL, "solution")(["q"], ["an answer"], solution=["another one"]) == [v["preference"]]

s = gram_client.compute_score("d", "an answer", "another one", {"question": "q"})
assert s["score"] == v["preference"]
one = ["d"], ["an answer"], ["another one"]
assert gram_client.compute_score_batch(*one, [{"raw_prompt": chat}]) == [v["preference"]]

sys.modules.setdefault("torch", types.SimpleNamespace(tensor=list))
text = "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\nan answer<|im_end|>\n"
got = gram_client.reward_func([text], [text[:text.index("an answer")]], ["another one"])
assert list(got["rewards"]) == [v["preference"]]

seen = []
threads = [threading.Thread(target=lambda: seen.append(gram.score("q", "an answer", "another one"))) for _ in range(16)]
for t in threads:
    t.start()
for t in threads:
    t.join()
assert len(seen) == 16 and all(x["preference"] == v["preference"] for x in seen)
print("  the Python client agrees with the server")
