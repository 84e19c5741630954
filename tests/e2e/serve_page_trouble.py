#!/usr/bin/env python3
"""What the page says when there is no verdict, or none to trust: a server that dies, that is busy, that wants a key,
that is no gram; orders that disagree; texts that were edited since; a file stopped, lost and gone on with.

    serve_page_trouble.py URL [FOLDER FOR SCREENSHOTS]

The browser asks a proxy before the server, which this test tells to behave badly."""
import http.client
import http.server
import json
import sys
import threading
from urllib.parse import urlsplit

from serve_browser import browser, check, drop, id_of, in_view, no_overflow, shot, wait

TARGET = urlsplit(sys.argv[1])
KEY = "open sesame"


class Proxy(http.server.BaseHTTPRequestHandler):
    """Hands everything on. mode: "ok"; "dead", closed without an answer; "busy"; "hang", no answer until another mode;
    "key"; "stranger", a proxy's page. `posts` counts down before a mode of POST alone begins."""
    mode, posts, changed = "ok", 0, threading.Event()
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body, kind="application/json", **headers):
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status, message, **headers):
        error = {"code": status, "message": message, "type": "x", "param": None}
        self.answer(status, json.dumps({"error": error}).encode(), **headers)

    def hand_on(self, method, body=None):
        c = http.client.HTTPConnection(TARGET.hostname, TARGET.port, timeout=20)
        c.request(method, self.path, body, {"Content-Type": self.headers.get("Content-Type", "text/plain")})
        r = c.getresponse()
        text = r.read()
        c.close()
        if self.path == "/health" and Proxy.mode == "hang":
            Proxy.changed.wait(20)
        self.answer(r.status, text, r.getheader("Content-Type") or "text/plain")

    def do_GET(self):
        if Proxy.mode == "dead":
            self.close_connection = True
        else:
            self.hand_on("GET")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if Proxy.posts > 0 or Proxy.mode == "ok":
            Proxy.posts -= 1
            return self.hand_on("POST", body)
        if Proxy.mode == "dead":
            self.close_connection = True
        elif Proxy.mode == "busy":
            self.refuse(429, "the queue is full", Retry_After="1")
        elif Proxy.mode == "stranger":
            self.answer(502, b"<html>Bad Gateway</html>", "text/html")
        elif Proxy.mode == "hang":
            Proxy.changed.wait(20)
            self.close_connection = True
        elif self.headers.get("Authorization") != "Bearer " + KEY:
            self.refuse(401, "some words of the server's")
        else:
            self.hand_on("POST", body)


def behave(mode, posts=0):
    Proxy.changed.set()
    Proxy.changed = threading.Event()
    Proxy.mode, Proxy.posts = mode, posts


def state(d):
    return id_of(d, "state").get_attribute("class")


def text_of(d, name):
    e = id_of(d, name)
    return e.text if e.is_displayed() else ""


def see(d, name, *words):
    """Waits until the element says these words, and it must stand in the window."""
    wait(d, lambda d: all(w in text_of(d, name) for w in words))
    check(in_view(d, id_of(d, name)), f"#{name} is not in view: {text_of(d, name)}")


def fill(d, *texts, prompt="Which is best?"):
    d.execute_script("fill_form(arguments[0], arguments[1])", prompt, texts)


def judge(d):
    id_of(d, "go").click()


def result(d):
    return id_of(d, "result").text


def idle(d):
    wait(d, lambda d: id_of(d, "go").is_enabled() and not id_of(d, "stop-judging").is_displayed())


def orders_that_disagree(d):
    fill(d, "FLIP a long answer with many words in it", "short")
    judge(d)
    wait(d, lambda d: "Nothing is decided: the orders disagree" in result(d))
    check(" is better" not in result(d).split("Read first")[0], "a winner is named where the orders disagree")
    check("Over both orders" in result(d), "what the mean of both orders says is missing")
    check(d.find_elements("css selector", "#result svg .axis text"), "the bars have no axis")
    no_overflow(d, "a verdict that is none")
    shot(d, "disagree")
    fill(d, "FLIP a long answer with many words in it", "short", "middle")
    judge(d)
    wait(d, lambda d: "Nothing is decided between" in result(d))
    shot(d, "disagree-ranking")


def small_differences(d):
    """Two scores that differ by a hundredth have bars that differ by a hundredth of the axis, at most."""
    widths = d.execute_script("""
      const r = { results: [{ index: 0, score: .005 }, { index: 1, score: -.005 }], method: "all-pairs" };
      return [...rank_chart(r).querySelectorAll("g > rect")].map(e => Number(e.getAttribute("width")));""")
    check(max(widths) < 5, f"scores of 0.005 and -0.005 are drawn {widths} wide")
    check(d.execute_script("return lead(.5000004)") == "50.00004 %", "50.00004 % reads as an even chance")
    check("A tie" in d.execute_script("return decision({ preference: .5, flipped: false }, 'A', 'B')[0]"), "no tie")


def results_come_into_view(d):
    fill(d, *(f"answer {i} " * 40 for i in range(8)))
    d.execute_script("scrollTo(0, 0)")
    d.execute_script("document.activeElement.blur(); judge()")
    wait(d, lambda d: d.find_elements("css selector", "#result .verdict"))
    check(in_view(d, d.find_element("css selector", "#result .verdict")), "the verdict is below the window's edge")


def an_edited_answer(d):
    fill(d, "one answer", "another")
    judge(d)
    wait(d, lambda d: "is better" in result(d))
    id_of(d, "answer-1").send_keys(" more")
    check(result(d) == "", "the verdict stays though an answer was edited")
    check("has changed" in text_of(d, "note"), "nothing says why the verdict is gone")
    behave("hang")
    judge(d)
    wait(d, lambda d: id_of(d, "stop-judging").is_displayed())
    id_of(d, "prompt").send_keys("!")       # the answer under way is void too
    idle(d)
    behave("ok")
    check(result(d) == "" and "has changed" in text_of(d, "note"), "an edit under way is not noticed")
    judge(d)
    wait(d, lambda d: "is better" in result(d))
    id_of(d, "add").click()
    check(result(d) == "", "the verdict stays though there is an answer more")


def what_was_put_in(d):
    """Line ends that a text area changes, and conversations, are judged as the file has them."""
    seen = d.execute_script(r"""
      fill_form([{ role: "user", content: "a\r\nb" }], ["x\r\ny", "z"]);
      const before = [text_of($("prompt")), ...answers().map(text_of)];
      $("prompt").value += "!";
      return [before, text_of($("prompt"))];""")
    check(seen == [[[{"role": "user", "content": "a\r\nb"}], "x\r\ny", "z"], "user: a\nb!"], f"the form judges {seen}")


def a_dead_server(d):
    wait(d, lambda d: state(d) == "ok")
    fill(d, *(f"answer {i} " * 200 for i in range(8)))
    behave("dead")
    judge(d)
    see(d, "error", "no longer answers", "Press Judge again")
    check(state(d) == "bad", "the light stays green though the server is gone")
    shot(d, "dead")
    idle(d)
    behave("stranger")
    judge(d)
    see(d, "error", "is not gram", "502")
    behave("ok")
    wait(d, lambda d: state(d) == "ok")
    judge(d)
    wait(d, lambda d: "best of 8" in result(d) or "Nothing" in result(d))
    check(text_of(d, "error") == "", "the old error stays beside the new verdict")


def a_busy_server(d):
    fill(d, "one answer", "another")
    behave("busy")
    judge(d)
    see(d, "note", "busy", "the queue is full", "Stop")
    shot(d, "busy")
    id_of(d, "stop-judging").click()
    idle(d)
    check("Stopped" in text_of(d, "note"), "Stop says nothing")
    judge(d)
    see(d, "note", "busy")
    behave("ok")
    wait(d, lambda d: "is better" in result(d))
    check(text_of(d, "note") == "", "the server is still called busy")


def a_key(d):
    fill(d, "one answer", "another")
    behave("key")
    judge(d)
    see(d, "key-says", "needs its key")
    id_of(d, "key").send_keys("guess\n")
    see(d, "key-says", "The key is wrong")
    shot(d, "key")
    check(d.execute_script("return sessionStorage.getItem('key')") is None, "a wrong key is kept")
    id_of(d, "key-cancel").click()
    check(not id_of(d, "key-form").is_displayed(), "the question for the key cannot be left")
    judge(d)
    see(d, "key-says", "needs its key")
    id_of(d, "key").send_keys(KEY + "\n")
    wait(d, lambda d: "is better" in result(d))
    d.execute_script("sessionStorage.clear()")
    behave("ok")


SAVED = """
window.saved = [];
URL.createObjectURL = blob => { blob.text().then(t => saved.push(t)); return "#"; };"""


def save(d):
    d.execute_script("saved.length = 0")
    id_of(d, "save").click()
    wait(d, lambda d: d.execute_script("return saved.length"))
    return [json.loads(x) for x in d.execute_script("return saved[0]").splitlines()]


def pairs(n):
    return [{"prompt": f"Question {i}?", "chosen": f"A full answer {i}", "rejected": "No."} for i in range(n)]


def a_file(d):
    """Lost half way, saved, gone on with, stopped while busy, a wrong key; then every row has its verdict."""
    rows = [json.dumps(r) for r in pairs(40)]
    rows[3] = '{"prompt": "q", "chosen": "x", "rejected": "y", "tools": [1]}'
    rows[38] = '{"prompt": "q", "chosen": "x", "rejected": "TOOLONG"}'
    id_of(d, "tab-set").click()
    d.execute_script(SAVED)
    behave("dead")
    drop(d, "\n".join(rows))                # the first request is lost, and nothing with it
    see(d, "set-trouble", "no longer answers", "Go on")
    check(not id_of(d, "save").is_displayed() and id_of(d, "go-on").is_displayed(), "a first request lost ends it all")
    behave("dead", 2)
    id_of(d, "go-on").click()
    see(d, "set-trouble", "no longer answers", "can be saved")
    half = save(d)
    check(8 <= sum("preference" in r for r in half) <= 16, f"{len(half)} rows are saved of a file lost half way")
    shot(d, "file-lost")
    behave("busy")
    id_of(d, "go-on").click()
    see(d, "set-note", "busy", "Stop")
    id_of(d, "stop").click()
    see(d, "set-note", "Stopped", "rows left")
    behave("key")
    id_of(d, "go-on").click()
    see(d, "set-trouble", "needs its key")
    id_of(d, "key").send_keys(KEY + "\n")
    wait(d, lambda d: text_of(d, "count").startswith("38 of 40"))
    wait(d, lambda d: not id_of(d, "stop").is_displayed())
    check(not id_of(d, "go-on").is_displayed(), "Go on stands under a file that is done")
    whole = save(d)
    check([r["line"] for r in whole] == list(range(1, 41)), "the rows saved are not the file's, in its order")
    check("tools" in whole[3]["error"] and "tokens" in whole[38]["error"], f"{whole[3]}, {whole[38]}")
    check("line 4: " in text_of(d, "set-error"), "the row that was not judged is not named")
    d.execute_script("sessionStorage.clear()")
    behave("ok")


BAD_ROWS = [
    ('[1]', "wanted an object"), ('{"prompt": "q", "chosen": "x"}', '"rejected"'),
    ('{"chosen": "x", "rejected": "y"}', '"prompt"'),
    ('{"prompt": "q", "chosen": "x", "rejected": "x"}', "the same text"),
    ('{"prompt": "q", "chosen": {"a": 1}, "rejected": "x"}', "found object"),
    ('{"prompt": "q", "response1": "x", "response2": "y"}', "overall_preference"),
    ('{"prompt": "q", "response1": "x", "response2": "y", "overall_preference": 0}', "overall_preference"),
    ('{"prompt": "q", "chosen": "x", "rejected": "y", "tie": true}', "tie"),
    ('{"prompt": "q", "chosen": "x", "rejected": "y", "criteria": "Be brief."}', '"criteria"'),
    ('{"question": "q", "context": "passage", "chosen": "x", "rejected": "y"}', '"question" and "context"'),
    ('{"prompt": "", "chosen": "x", "rejected": "y"}', "an empty text"),
    ('{"prompt": "q", "chosen": [{"role": "user", "content": "other"}, {"role": "assistant", "content": "x"}], '
     '"rejected": [{"role": "user", "content": "other"}, {"role": "assistant", "content": "y"}]}', "not the prompt's"),
    ('{"chosen": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "x"}], '
     '"rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "y"}]}',
     "before their last turn"),
    ('{"prompt": [{"role": "user", "content": [{"type": "image"}]}], "chosen": "x", "rejected": "y"}', "not text"),
    ('{"prompt": "<|im_start|>user\\nq<|im_end|>\\n<|im_start|>assistant\\n", "chosen": "x", "rejected": "y"}',
     "written into one text"),
    ('{"prompt": "q\\n<extra_id_1>Assistant\\na\\n<extra_id_1>User\\nq", "chosen": "x", "rejected": "y"}',
     "written into one text"),
    ('{"prompt": "q", "chosen": "Human: q\\n\\nAssistant: x", "rejected": "y"}', "written into one text"),
    ("""{"prompt": "[{'role': 'user', 'content': 'q'}]", "chosen": "x", "rejected": "y"}""", "the list itself"),
    ("""{"prompt": "q", "chosen": "[{'role': 'assistant', 'content': 'x'}]", "rejected": "y"}""", "the list itself"),
    ('{"prompt": "Human: q\\n\\nAssistant: a", "chosen": "x", "rejected": "y"}', "ends with an answer"),
]


def rows_refused(d):
    for row, words in BAD_ROWS:
        said = d.execute_script("""
          try { return JSON.stringify(read_row(arguments[0])); } catch (e) { return e.message; }""", row)
        check(words in said, f"{row} gives {said}")
    said = d.execute_script('return read_row(arguments[0])', json.dumps({
        "chosen": "\n\nHuman: p\n\nAssistant: x ", "rejected": "\n\nHuman: p\n\nAssistant: y"}))
    check(said == {"prompt": [{"role": "user", "content": "p"}], "a": "x", "b": "y"}, f"a transcript gives {said}")
    said = d.execute_script('return read_row(arguments[0])', json.dumps({
        "prompt": "\n\nHuman: p\n\nAssistant: a\n\nHuman: q\n\nAssistant:", "chosen": " x", "rejected": " y"}))
    check(said == {"prompt": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "a"},
                              {"role": "user", "content": "q"}], "a": " x", "b": " y"}, f"a transcript gives {said}")
    for name, text, words in (("a.jsonl", "", "no rows"), ("b.jsonl.gz", "not gzip", "gzip")):
        drop(d, text, name)
        see(d, "file-error", name, words)
    check("Failed to fetch" not in d.page_source, "the browser's own words")


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    d = browser(url, 1000, 700)
    orders_that_disagree(d)
    small_differences(d)
    results_come_into_view(d)
    an_edited_answer(d)
    what_was_put_in(d)
    a_dead_server(d)
    a_busy_server(d)
    a_key(d)
    a_file(d)
    d.quit()
    d = browser(url, 390, 700, dark=True)
    orders_that_disagree(d)
    a_dead_server(d)
    a_key(d)
    rows_refused(d)
    no_overflow(d, "phone, with trouble")
    d.quit()
    print("  the page has words for what goes wrong")


main()
