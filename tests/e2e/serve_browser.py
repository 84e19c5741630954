"""What the tests of the page share: headless Chromium at a width, by day or at night, and what is asked of it.
Debian: chromium chromium-driver python3-selenium. Ends with 77 where they are not installed."""
import os
import sys
import traceback

try:
    from selenium import webdriver
    from selenium.common.exceptions import TimeoutException
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait
except ImportError:
    print("  python3-selenium is not installed")
    sys.exit(77)

SHOTS = sys.argv[2] if len(sys.argv) > 2 else None      # a folder for screenshots

DROP = """
const [text, name, target] = arguments, data = new DataTransfer();
data.items.add(new File([text], name));
for (const type of ["dragover", "drop"])
  target.dispatchEvent(new DragEvent(type, { bubbles: true, cancelable: true, dataTransfer: data }));
"""


def browser(url, width, height, dark=False):
    o = webdriver.ChromeOptions()
    for a in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        o.add_argument(a)
    o.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    try:
        d = webdriver.Chrome(options=o)
    except Exception as e:                      # no chromium here
        print("  Chromium does not start:", str(e).splitlines()[0])
        sys.exit(77)
    d.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                      {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600})
    if dark:
        d.execute_cdp_cmd("Emulation.setEmulatedMedia",
                          {"features": [{"name": "prefers-color-scheme", "value": "dark"}]})
    d.get(url)
    return d


def wait(d, what, seconds=60):
    try:
        return WebDriverWait(d, seconds).until(what)
    except TimeoutException:
        frames = [f for f in traceback.extract_stack()[:-1] if f.name != "<module>"]
        print(f"FAILED: {' -> '.join(f.name for f in frames)}, line {frames[-1].lineno}: waited in vain; the page "
              "says:")
        print(d.find_element(By.TAG_NAME, "body").text)
        sys.exit(1)


def shot(d, name):
    if SHOTS:
        high = d.execute_script("return document.documentElement.scrollHeight")
        size = d.execute_script("return [innerWidth, innerHeight]")
        d.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                          {"width": size[0], "height": max(high, size[1]), "deviceScaleFactor": 1, "mobile": False})
        d.save_screenshot(os.path.join(SHOTS, name + ".png"))
        d.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                          {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size[0] < 600})


def check(ok, what):
    if not ok:
        print("FAILED:", what)
        sys.exit(1)


def no_overflow(d, where):
    wide = d.execute_script("return document.documentElement.scrollWidth - innerWidth")
    check(wide <= 0, f"{where}: the page is {wide} pixels too wide")


def id_of(d, name):
    return d.find_element(By.ID, name)


def drop(d, text, name="pairs.jsonl"):
    d.execute_script(DROP, text, name, id_of(d, "drop"))


def in_view(d, e):
    """Whether all of the element's height stands in the window, as far as it fits."""
    return e.is_displayed() and d.execute_script("""
      const r = arguments[0].getBoundingClientRect();
      return r.top >= 0 && (r.bottom <= innerHeight || r.height > innerHeight);""", e)
