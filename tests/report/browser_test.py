#!/usr/bin/env python3
"""Opens pages of `orrery report` in headless Chromium: each view, search, overlay, hover, hostile texts, a long run.

    browser_test.py --program build/dev/orrery [--screenshots DIR] [--page FILE.html]

Exit code 77 when chromium or chromedriver is not installed. With --page it only makes screenshots of that page.
"""
import argparse
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import browser as browsers
import made_run

VIEWS = ["overview", "curves", "time", "workers", "graph", "config", "samples", "log"]
MOST_SECONDS = 3
MOST_BYTES = 60e6


def write_report(program, *arguments):
    result = subprocess.run([program, "report", *map(str, arguments)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


class Page:
    """A page that is open; what the checks below share."""

    def __init__(self, browser, file, screenshots):
        self.browser, self.screenshots = browser, screenshots
        begin = time.time()
        browser.open(f"file://{file}")
        browser.wait("return document.documentElement.dataset.ready")
        self.seconds = time.time() - begin

    def show(self, view):
        self.browser.run("location.hash = arguments[0]", view)
        self.browser.wait(f"return document.getElementById('view').dataset.view === '{view}'")
        time.sleep(0.3)

    def picture(self, name, full=True):
        if self.screenshots:
            self.browser.screenshot(self.screenshots / f"{name}.png", full)

    def type(self, field, text):
        self.browser.run("const field = document.getElementById(arguments[0]); field.value = arguments[1];"
                         "field.dispatchEvent(new Event('input'));", field, text)
        time.sleep(0.4)

    def choose(self, label, value):
        self.browser.run("const label = [...document.querySelectorAll('.controls label')].find((one) => one.textContent.startsWith(arguments[0]));"
                         "const select = label.querySelector('select'); select.value = arguments[1]; select.dispatchEvent(new Event('change'));", label, value)
        time.sleep(0.3)

    def text(self, selector):
        return self.browser.run("return [...document.querySelectorAll(arguments[0])].map((one) => one.textContent)", selector)


def check_is_closed(page):
    """Nothing was loaded, nothing of a run was executed, nothing failed."""
    assert page.browser.run("return performance.getEntriesByType('resource').length") == 0
    assert page.browser.run("return window.hacked === undefined && document.querySelectorAll('#view img').length === 0")
    assert not page.browser.log(), page.browser.log()


def check_views(page, name):
    for view in VIEWS:
        page.show(view)
        assert len("".join(page.text("#view"))) > 40, view
        page.picture(f"{name}-{view}")
        check_is_closed(page)


def check_curves(page):
    page.show("curves")
    page.type("curve-filter", "actor_train/grad_norm")
    assert len(page.text("[data-chart]")) == 1
    page.browser.wait("return document.querySelector('.uplot canvas')")
    box = page.browser.run("const box = document.querySelector('.u-over').getBoundingClientRect(); return [box.left, box.top, box.width, box.height]")
    page.browser.move(box[0] + box[2] / 2, box[1] + box[3] / 2)
    time.sleep(0.2)
    hovered = page.text(".u-legend .u-series:not(.raw) .u-value")
    assert len(hovered) == 3 and "–" not in hovered[1] and "–" not in hovered[2], hovered  # step and both runs
    page.picture("hover", full=False)
    page.browser.move(box[0] + box[2] / 4, box[1] + box[3] / 2)
    time.sleep(0.2)
    assert page.text(".u-legend .u-series .u-value")[0] != hovered[0]
    # Without the second run there is one curve and its raw values.
    page.browser.run("document.querySelectorAll('.controls input[type=checkbox]')[3].click()")
    page.browser.wait("return document.querySelectorAll('.u-legend .u-series:not(.raw)').length === 2")
    page.browser.run("document.querySelectorAll('.controls input[type=checkbox]')[3].click()")
    page.type("smoothing", "0")
    page.browser.wait("return document.querySelectorAll('.u-legend .raw').length === 0")
    page.choose("over", "time")
    page.type("curve-filter", "no such metric")
    assert not page.text("[data-chart]")
    page.type("curve-filter", "")


def check_time(page):
    page.show("time")
    for by in ("call", "phase"):
        page.choose("by", by)
        page.browser.wait("return document.querySelector('.uplot canvas')")
        assert any("actor_train" in text for text in page.text("table.data td"))


def check_configuration(page):
    page.show("config")
    keys = page.text("table.data tr.differs td:first-child")
    assert "model.actor.lr" in keys and "experiment.seed" in keys, keys
    page.type("config-filter", "actor.lr")
    assert page.text("table.data tr.differs td:first-child") == ["model.actor.lr"]
    page.type("config-filter", "")


def check_samples(page):
    page.show("samples")
    page.type("sample-text", "NEEDLE of this")
    assert page.text("#sample-count") == ["2 answers"], page.text("#sample-count")
    assert page.text("#sample-list mark") == ["needle of this"] * 2
    page.picture("search", full=False)
    page.choose("run", "0")
    assert page.text("#sample-count") == ["1 answer"]
    page.type("sample-text", "window.hacked")
    assert int(page.text("#sample-count")[0].split()[0]) > 0
    check_is_closed(page)
    page.type("sample-text", "")
    page.choose("only", "failed")
    assert all("no reward: timeout" in text for text in page.text(".sample > div:first-child"))
    page.choose("only", "all")
    page.choose("order", "best")
    assert "reward 1" in page.text(".sample > div:first-child")[0]
    page.choose("order", "worst")
    assert "reward 0" in page.text(".sample > div:first-child")[0]
    page.choose("order", "changed")
    assert page.text(".sample")
    page.picture("changed")
    page.choose("order", "first")
    page.type("sample-from", "3")
    page.type("sample-to", "3")
    assert all(text.startswith("step 3") for text in page.text(".sample .chip:first-of-type"))
    page.type("sample-low", "2")
    assert page.text("#sample-count") == ["0 answers"]
    for field in ("from", "to", "low"):
        page.type(f"sample-{field}", "")
    assert page.browser.run("return document.querySelectorAll('.token[title^=\"log p\"]').length") > 0
    page.picture("tokens")


def check_two_runs(program, browser, folder, screenshots):
    runs = [made_run.make_run(folder / "first", log_probs=True), made_run.make_run(folder / "second", seed=2, lr="3e-4")]
    write_report(program, *runs, "--out", folder / "two.html")
    page = Page(browser, folder / "two.html", screenshots)
    check_views(page, "two")
    check_curves(page)
    check_time(page)
    check_configuration(page)
    check_samples(page)
    check_is_closed(page)


def check_one_run_with_damage(program, browser, folder, screenshots):
    run = made_run.make_run(folder / "damaged", steps=3)
    with (run / "metrics.jsonl").open("a") as out:
        out.write("{\"step\": 4, \"met\n[]\n")
    said = write_report(program, run, "--out", folder / "damaged.html")
    assert "damaged" in said
    page = Page(browser, folder / "damaged.html", screenshots)
    page.show("log")
    assert any("metrics.jsonl:16: not JSON" in text for text in page.text("pre")), page.text("pre")
    page.picture("damaged-log")
    check_is_closed(page)


def check_long_run(program, browser, folder, screenshots):
    run = made_run.make_run(folder / "long", steps=5000, per_step=16, text_length=1500)
    begin = time.time()
    print("  " + write_report(program, run, "--out", folder / "long.html", "--samples", "10-12").replace("\n", "\n  ").strip())
    made = time.time() - begin
    size = (folder / "long.html").stat().st_size
    page = Page(browser, folder / "long.html", screenshots)
    ready = float(page.browser.run("return document.documentElement.dataset.ready")) / 1000
    print(f"  5000 steps: {size / 1e6:.1f} MB, written in {made:.1f} s, ready after {ready:.2f} s, open after {page.seconds:.2f} s")
    assert size <= MOST_BYTES and ready < MOST_SECONDS and page.seconds < 2 * MOST_SECONDS
    begin = time.time()
    page.show("samples")
    page.type("sample-text", "needle of this")
    print(f"  samples and a search through them: {time.time() - begin:.2f} s")
    for view in ("curves", "time", "workers"):
        page.show(view)
    page.show("time")
    page.picture("long-time")
    check_is_closed(page)
    page = Page(browser, folder / "long.samples-10-12.html", screenshots)
    assert page.text("#sample-count") == ["48 answers"], page.text("#sample-count")
    check_is_closed(page)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", required=True)
    parser.add_argument("--screenshots", type=pathlib.Path)
    parser.add_argument("--page", type=pathlib.Path)
    arguments = parser.parse_args()
    if name := browsers.missing():
        print(f"skipped: {name} is not installed (Debian: chromium, chromium-driver)")
        sys.exit(77)
    if arguments.screenshots:
        arguments.screenshots.mkdir(parents=True, exist_ok=True)
    browser = browsers.Browser()
    try:
        if arguments.page:
            check_views(Page(browser, arguments.page.resolve(), arguments.screenshots), arguments.page.stem)
            return
        with tempfile.TemporaryDirectory() as folder:
            for check in (check_two_runs, check_one_run_with_damage, check_long_run):
                check(arguments.program, browser, pathlib.Path(folder), arguments.screenshots)
                print(f"{check.__name__}: ok")
    finally:
        browser.close()


if __name__ == "__main__":
    main()
