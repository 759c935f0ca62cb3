"""Labelling in the page, in a real browser: nothing is lost, and choosing is quick."""

import threading
from contextlib import contextmanager

import pytest
from browsing import until

from safelight.explorer.bundling import with_label_file
from safelight.explorer.labelling import LabelFile
from safelight.explorer.serving import Served, serve

playwright = pytest.importorskip("playwright.sync_api")
pytest.importorskip("onnxscript")

pytestmark = pytest.mark.browser

STORED = "localStorage.getItem('safelight labels ' + safelight.app.contents.header.fingerprint)"
FULL = "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); };"
KEYS = "[...safelight.app.labels.all].map(pair => pair.join(':')).sort().join(' ')"
CHOSEN = "safelight.app.selection.get()"


def give(tab, points: list[int], label: str) -> None:
    tab.evaluate("points => safelight.app.selection.set(points)", points)
    tab.click("#tab-label")
    tab.fill("#label-text", label)
    tab.press("#label-text", "Enter")


def named(tab, points: list[int]) -> list[str]:
    return tab.evaluate("points => points.map(at => safelight.app.contents.header.names[at])", points)


@contextmanager
def exploring(content: bytes, path=None, port: int = 0):
    """What `safelight explore --labels` serves."""
    labels = None if path is None else LabelFile(path)
    content = content if labels is None else with_label_file(content, path.name, "token")
    server = serve(
        {"/": Served("text/html; charset=utf-8", content)}, port=port, labels=labels, token="token"
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def test_a_smaller_page_of_the_same_set_keeps_all_labels(visit, page_run, tmp_path):
    small = page_run.page(tmp_path / "small.html", n=20)
    tab = visit()
    give(tab, list(range(300)), "seven")
    before = tab.evaluate(STORED)
    assert before.count("\n") == 301
    other = visit(small.as_uri(), beside=tab)
    other.click("#tab-label")
    playwright.expect(other.locator("#panel-label")).to_contain_text(
        "labels are of images that this page does"
    )
    give(other, [0], "eight")
    (name,) = named(other, [0])
    until(tab, f"safelight.app.labels.all.get('{name}') === 'eight'")
    assert tab.evaluate("safelight.app.labels.all.size") >= 300
    assert other.evaluate(STORED).count("\n") >= 301


def test_two_tabs_give_labels_to_one_store(visit):
    one = visit()
    two = visit(beside=one)
    give(one, [1, 2, 3], "cat")
    give(two, [4], "dog")
    for tab in (one, two):
        until(tab, "safelight.app.labels.of.size === 4")
    one.reload()
    one.wait_for_selector("#page[data-engine=ready]")
    assert one.evaluate("[...safelight.app.labels.of.values()].sort()") == ["cat", "cat", "cat", "dog"]


def test_everything_can_be_undone_and_done_again(tab):
    give(tab, [1, 2], "cat")
    give(tab, [2, 3], "dog")
    tab.click("#map", position={"x": 4, "y": 4})
    states = [tab.evaluate(KEYS)]
    for _ in range(2):
        tab.keyboard.press("Control+z")
    states.append(tab.evaluate(KEYS))
    tab.keyboard.press("Control+z")
    assert tab.evaluate("safelight.app.labels.of.size") == 0
    playwright.expect(tab.locator("#live")).to_have_text("Undone: 2 labels")
    assert tab.evaluate(CHOSEN) == [1, 2]
    for _ in range(3):
        tab.keyboard.press("Control+Shift+Z")
    assert tab.evaluate(KEYS) == states[0] != states[1]
    tab.click("#undo")
    assert tab.evaluate(KEYS) != states[0]


def test_a_browser_that_keeps_nothing_says_so_and_asks_before_it_forgets(visit):
    tab = visit(script=FULL)
    asked = []
    tab.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    give(tab, [1], "cat")
    playwright.expect(tab.locator("#panel-label [role=alert]")).to_contain_text("no room for these labels")
    tab.reload()
    assert asked == ["beforeunload"]
    tab.wait_for_selector("#page[data-engine=ready]")
    give(tab, [1], "cat")
    with tab.expect_download():
        tab.get_by_role("button", name="Download labels.csv").click()
    tab.reload()
    assert asked == ["beforeunload"], "what was downloaded is safe"


def test_the_server_keeps_labels_in_the_file_through_a_restart(visit, page_file, tmp_path):
    path = tmp_path / "labels.csv"
    content = page_file.read_bytes()
    with exploring(content, path) as server:
        tab = visit(server.url)
        names = named(tab, [1, 2, 3])
        give(tab, [1, 2], "cat")
        give(tab, [3], "dog")
        until(tab, "safelight.app.labels.keeper.fault() === ''")
        tab.click("#undo")
        labels = LabelFile(path)
        for _ in range(100):
            if labels.path.exists() and labels.read() == dict.fromkeys(names[:2], "cat"):
                break
            tab.wait_for_timeout(25)
        assert labels.read() == dict.fromkeys(names[:2], "cat")
        assert tab.evaluate(STORED) is None, "the file alone has them"
        other = visit(server.url, beside=tab)
        assert other.evaluate("safelight.app.labels.of.size") == 2
        give(other, [3], "fox")
        until(tab, "safelight.app.labels.of.size === 3")


def test_labels_wait_while_the_server_is_gone_and_are_sent_when_it_is_back(browser, page_file, tmp_path):
    path = tmp_path / "labels.csv"
    content = page_file.read_bytes()
    context = browser.new_context()
    tab = context.new_page()
    with exploring(content, path) as server:
        port = server.server_port
        tab.goto(server.url)
        tab.wait_for_selector("#page[data-engine=ready]")
    give(tab, [1], "cat")
    playwright.expect(tab.locator("#panel-label [role=alert]")).to_contain_text("is safelight explore still")
    with exploring(content, path, port):
        playwright.expect(tab.locator("#panel-label [role=alert]")).to_be_hidden(timeout=10_000)
        assert LabelFile(path).read() == dict.fromkeys(named(tab, [1]), "cat")
        tab.reload()
        tab.wait_for_selector("#page[data-engine=ready]")
        tab.click("#undo")  # what was given before the reload
        until(tab, "safelight.app.labels.of.size === 0")
    context.close()
