#!/usr/bin/env python3
"""The page in headless Chromium: judging by hand, ranking, a file by drag and drop, a key, a phone's width. Of a server
whose model is called "head": what the page shows of a reward head.

    serve_page.py URL [FOLDER FOR SCREENSHOTS]"""
import json
import sys

from serve_browser import By, browser, check, drop, no_overflow, shot, wait
from selenium.webdriver.common.keys import Keys

ROWS = 12
URL = sys.argv[1]


def by_keyboard(d):
    """Tab to the prompt, type, tab to the answers, type, Ctrl+Enter: no mouse."""
    body = d.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)                    # the link past the header
    for _ in range(12):
        if d.switch_to.active_element.get_attribute("id") == "prompt":
            break
        d.switch_to.active_element.send_keys(Keys.TAB)
    check(d.switch_to.active_element.get_attribute("id") == "prompt", "Tab never reaches the prompt")
    for text in ("Is water wet?", "<b>Yes</b> & no", "It is a matter of definition, say chemists."):
        d.switch_to.active_element.send_keys(text)
        d.switch_to.active_element.send_keys(Keys.TAB)
    d.find_element(By.ID, "answer-1").send_keys(Keys.CONTROL, Keys.ENTER)
    wait(d, lambda d: d.find_elements(By.CSS_SELECTOR, "#result .verdict"))
    text = d.find_element(By.ID, "result").text
    check("is better" in text and "tokens" in text, "the verdict says: " + text)
    d.find_element(By.CSS_SELECTOR, "#result details summary").send_keys(Keys.ENTER)
    check("<b>Yes</b> & no" in d.find_element(By.CSS_SELECTOR, "#result pre").text, "what the model read is not shown")
    check(not d.find_elements(By.CSS_SELECTOR, "#result b"), "text of an answer became markup")


def reasons(d):
    """The box, the texts as they come, and then beside the verdict; as text."""
    d.find_element(By.ID, "reasons").click()
    votes = d.find_element(By.ID, "votes")
    votes.clear()
    votes.send_keys("3")
    d.find_element(By.ID, "go").click()
    wait(d, lambda d: len(d.find_elements(By.CSS_SELECTOR, "#result .reason")) == 3)
    text = d.find_element(By.ID, "result").text
    check("is better" in text and "<b>A</b> is better." in text and "votes A" in text, "the reasons say: " + text)
    check(not d.find_elements(By.CSS_SELECTOR, "#result b"), "text of a reason became markup")
    check(not d.find_elements(By.CSS_SELECTOR, "#result .writing"), "the reasons are still being written")
    check(len(d.find_elements(By.CSS_SELECTOR, "#result details")) == 5, "what the model read is not shown")
    d.find_element(By.ID, "reasons").click()
    check("has changed" in d.find_element(By.ID, "note").text, "a verdict stays that was made otherwise")


def ranking(d):
    d.find_element(By.ID, "add").click()
    d.find_element(By.ID, "add").click()
    for i, text in ((2, "Nobody knows."), (3, "Water is what makes things wet, so the question is a trap.")):
        d.find_element(By.ID, f"answer-{i}").send_keys(text)
    d.find_element(By.ID, "go").click()
    wait(d, lambda d: "best of 4" in d.find_element(By.ID, "result").text)
    buttons = d.find_elements(By.CSS_SELECTOR, "#result .row button")
    check(len(buttons) == 6, f"4 answers gave {len(buttons)} comparisons")
    buttons[0].click()
    wait(d, lambda d: len(d.find_elements(By.CSS_SELECTOR, "#result .verdict")) == 2)
    d.find_element(By.ID, "reasons").click()            # and the same by reasons, which each comparison then shows
    d.find_element(By.ID, "go").click()
    wait(d, lambda d: "best of 4" in d.find_element(By.ID, "result").text)
    buttons = d.find_elements(By.CSS_SELECTOR, "#result .row button")
    check(len(buttons) == 6, f"4 answers gave {len(buttons)} comparisons by reasons")
    check(not d.find_elements(By.CSS_SELECTOR, "#result .writing"), "the reasons of a ranking are still being written")
    buttons[1].click()
    wait(d, lambda d: len(d.find_elements(By.CSS_SELECTOR, "#result .reason")) == 3)
    check("Reasons 2, C read first" in d.find_element(By.ID, "result").text,
          "the reasons do not say which answers they compare")
    d.find_element(By.ID, "reasons").click()


def reward_head(d):
    d.find_element(By.ID, "example").click()
    d.find_element(By.ID, "add").click()
    d.find_element(By.ID, "answer-2").send_keys("Nobody knows.")
    d.find_element(By.ID, "go").click()
    wait(d, lambda d: "best of 3" in d.find_element(By.ID, "result").text)
    text = d.find_element(By.ID, "result").text
    check("Overlap" in text and "comparisons" not in text, "the ranking says: " + text)
    check(len(d.find_elements(By.CSS_SELECTOR, "#result svg rect")) == 3, "the ranking chart has no three bars")
    d.find_element(By.CSS_SELECTOR, "#result .row button").click()
    wait(d, lambda d: len(d.find_elements(By.CSS_SELECTOR, "#result .verdict")) == 2)
    no_overflow(d, "phone, with rewards")
    shot(d, "phone-head")


def rows_keep_focus(d):
    """The row with the keyboard's focus is still there, and has it, when the table is drawn again."""
    kept = d.execute_script('''
      const row = document.querySelector("#rows tbody tr:nth-child(3)");
      row.focus();
      draw(run);
      return document.activeElement === row;''')
    check(kept, "drawing the rows again takes the focus away")


def file_of_pairs(d):
    rows = [{"prompt": f"Question {i}?", "chosen": "A full answer, " + "word " * (i % 9),
             "rejected": "No." + "!" * (i % 4)}
            for i in range(ROWS)]
    question = {"role": "user", "content": rows[7]["prompt"]}
    rows[7]["chosen"] = [question, {"role": "assistant", "content": "an answer in a list"}]
    rows[7]["rejected"] = [question, {"role": "assistant", "content": "bad"}]
    text = "\n".join(json.dumps(r) for r in rows) + "\nnot json\n"
    drop(d, text)
    wait(d, lambda d: d.find_element(By.ID, "save").is_displayed(), 300)
    check(d.find_element(By.ID, "count").text == f"{ROWS} of {ROWS + 1}, 1 not judged",
          d.find_element(By.ID, "count").text)
    check(f"line {ROWS + 1}" in d.find_element(By.ID, "set-error").text, "the bad line is not named")
    check("%" in d.find_element(By.ID, "accuracy").text, "no accuracy")
    check(d.find_elements(By.CSS_SELECTOR, "#reliability rect.a"), "the reliability diagram is empty")
    counts = [int(e.text) for e in d.find_elements(By.CSS_SELECTOR, "#reliability .bin text")]
    check(sum(counts) == ROWS, f"the bars of the reliability diagram count {counts}")
    check(d.find_elements(By.CSS_SELECTOR, "#course .line[d^=M]"), "accuracy has no line")
    lines = [int(e.text) for e in d.find_elements(By.CSS_SELECTOR, "#rows tbody td:first-child")]
    check(lines == sorted(lines, reverse=True), f"the rows stand as {lines}")
    rows_keep_focus(d)
    check(len(d.find_elements(By.CSS_SELECTOR, "#rows tbody tr")) == ROWS, "rows are missing")


def one_order(d):
    """A server that reads one order, and a judge that likes the first seat: it is right where the chosen answer has
    that, in about half of the rows."""
    d.execute_script('''
      window.served = call;
      call = async (path, body) => ({ data: body.pairs.map(() => ({
        preference: .9, p_forward: .9, p_swapped: null, logit_margin: 2, logits: [[2, 0], null], winner: "a",
        consistent: true, flipped: false, tokens: 9, truncated: false })) });''')
    drop(d, "\n".join(json.dumps({"prompt": f"Question {i}?", "chosen": "yes", "rejected": "no"}) for i in range(40)))
    wait(d, lambda d: d.find_element(By.ID, "count").text == "40 of 40", 60)
    share = float(d.find_element(By.ID, "accuracy").text.split("%")[0])
    check(25 <= share <= 75, f"a judge that likes the first seat is {share} % right")
    check(d.find_element(By.ID, "flips").text.startswith("–"), "of rows that are read in one order it knows flips: " +
          d.find_element(By.ID, "flips").text)
    check(d.execute_script("return run.done.every(x => (x.v.p_forward === null) === is_turned(x.pair))"),
          "a verdict is not of the order that was read")
    d.execute_script("call = window.served; run.saved = run.done.length")


def main():
    d = browser(URL, 1200, 900)
    wait(d, lambda d: d.find_element(By.ID, "state").get_attribute("class") == "ok", 120)
    if d.find_element(By.ID, "state").text.endswith("head"):
        d.quit()
        d = browser(URL, 390, 844)
        reward_head(d)
        d.quit()
        print("  the page shows rewards")
        return
    by_keyboard(d)
    shot(d, "verdict")
    reasons(d)
    ranking(d)
    shot(d, "ranking")
    d.find_element(By.ID, "tab-set").click()
    file_of_pairs(d)
    shot(d, "file")
    no_overflow(d, "desktop")
    d.execute_script("run.saved = run.done.length")
    one_order(d)
    loaded = d.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    check(all(u.startswith(URL.rstrip("/")) for u in loaded), f"something came from elsewhere: {loaded}")
    severe = [m["message"] for m in d.get_log("browser") if m["level"] == "SEVERE" and "404" not in m["message"]]
    check(not severe, f"the console says {severe}")
    d.quit()
    d = browser(URL, 390, 844, dark=True)            # a phone, at night
    d.find_element(By.ID, "example").click()
    no_overflow(d, "phone")
    d.find_element(By.ID, "answer-1").send_keys(" CUT […] ocean")      # the engine calls it truncated
    d.find_element(By.ID, "go").click()
    wait(d, lambda d: d.find_elements(By.CSS_SELECTOR, "#result .verdict"))
    marks = d.find_elements(By.CSS_SELECTOR, "#result pre mark")
    check(len(marks) == 2, f"{len(marks)} marks where text was left out, wanted one in each order")
    no_overflow(d, "phone, with a verdict")
    shot(d, "phone")
    d.find_element(By.ID, "tab-set").click()
    file_of_pairs(d)
    no_overflow(d, "phone, with a file")
    shot(d, "phone-file")
    d.quit()
    print("  the page works by keyboard, on a phone, and with a file")


main()
