#!/usr/bin/env python3
"""The page of `gram watch` in a browser, over runs that this test writes: watch.py GRAM [FOLDER FOR SCREENSHOTS]."""
import json
import pathlib
import subprocess
import sys
import tempfile

from serve_browser import browser, check, id_of, no_overflow, shot, wait

EVIL = "<img src=x onerror=document.title='run'>"


def rows(path, first, n, **facts):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as f:
        for i in range(first, first + n):
            f.write(json.dumps({"step": i, "loss": 1 / i, "tokens_per_s": 100 + i % 7, "time": 1, **facts}) + "\n")


def words(d):
    return d.execute_script("return [...document.querySelectorAll('figcaption')].map(e => e.textContent)")


def cut(d):
    return d.execute_script("""return [...document.querySelectorAll('figure svg text')].filter(t =>
        t.getBoundingClientRect().left < t.ownerSVGElement.getBoundingClientRect().left).map(t => t.textContent)""")


def main():
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for run in ("judge", "resumed"):
            rows(root / run / "metrics.jsonl", 1, 30, accuracy=.5, lr=2e-5)
            with open(root / run / "metrics.jsonl", "a") as f:
                f.write('{"step":30,"held_loss":0.25,"held_accuracy":0.75}\n{"step":30,"held_loss":0.5,"set":2}\n')
        (root / "resumed").rename(root / ".resumed")
        rows(root / "policies" / EVIL.replace("/", "") / "metrics.jsonl", 1, 700, **{"reward": 2.5})
        (root / "policies" / EVIL.replace("/", "") / "samples.jsonl").write_text(
            json.dumps({"step": 700, "prompt": EVIL, "completion": "It is 4.", "reward": 1.25}) + "\n")
        server = subprocess.Popen([sys.argv[1], "watch", folder, "--port", "0"], stderr=subprocess.PIPE, text=True)
        try:
            url = server.stderr.readline().split()[-1]
            for name, width, dark in (("desk", 1000, False), ("phone", 400, True)):
                d = browser(url, width, 900, dark)
                try:
                    wait(d, lambda d: any(w.startswith("reward:") for w in words(d)))
                    check(any("judge, held out: 0.25" in w and "held out (set 2): 0.5" in w for w in words(d)),
                          words(d))
                    check("It is 4." in id_of(d, "answers").text and EVIL in id_of(d, "answers").text,
                          "an answer is shown")
                    check(d.title == "gram watch", "a text of a run was taken for HTML")
                    check(not cut(d), f"numbers stand beside their drawing: {cut(d)}")
                    no_overflow(d, name)
                    shot(d, "watch-" + name)
                    if name == "desk":
                        rows(root / "judge" / "metrics.jsonl", 31, 10, accuracy=1)
                        wait(d, lambda d: any("judge: 0.025" in w for w in words(d)))
                        # A resume writes the file anew; it may be as long as it was before the page looks again.
                        rows(root / ".resumed" / "metrics.jsonl", 31, 50, accuracy=.25)
                        (root / ".resumed" / "metrics.jsonl").rename(root / "judge" / "metrics.jsonl")
                        wait(d, lambda d: any("judge: 0.0125" in w for w in words(d)))
                        check(not d.execute_script("return runs.get('judge').rows.some(r => r.accuracy === 1)"),
                              "lines that are no longer there are drawn")
                        id_of(d, "filter").send_keys("ACCU")
                        wait(d, lambda d: len(words(d)) == 1)
                    errors = [e for e in d.get_log("browser") if e["level"] == "SEVERE"]
                    check(not errors, errors)
                finally:
                    d.quit()
        finally:
            server.terminate()
            check(server.wait(30) == 0, "gram watch ended with an error")


main()
