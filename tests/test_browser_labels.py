"""Labelling in the page, in a real browser: nothing is lost, and choosing is quick."""

import threading
from contextlib import contextmanager

import numpy as np
import pytest
from browsing import LONELY, PIXEL_OF, click_point, lasso_all, until
from PIL import Image

from safelight.data.label_files import read_labels
from safelight.explorer.bundling import with_label_file
from safelight.explorer.labelling import LabelFile
from safelight.explorer.serving import Served, serve

playwright = pytest.importorskip("playwright.sync_api")
pytest.importorskip("onnxscript")

pytestmark = pytest.mark.browser

STORED = "localStorage.getItem('safelight labels ' + safelight.app.contents.header.fingerprint)"
FULL = """const real = Storage.prototype.setItem; window.isFull = true;
Storage.prototype.setItem = function (...given) {
  if (window.isFull) throw new DOMException("full", "QuotaExceededError");
  real.apply(this, given);
};"""
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
    tab.wait_for_selector("#page[data-engine=ready]")
    give(tab, [1, 2], "cat")
    tab.evaluate("window.isFull = false")
    give(tab, [3], "dog")
    assert tab.evaluate(STORED).count("\n") == 4, "also what it did not take at first"
    playwright.expect(tab.locator("#panel-label [role=alert]")).to_be_hidden()


def test_the_server_keeps_labels_in_the_file_through_a_restart(visit, page_file, tmp_path):
    path = tmp_path / "labels.csv"
    content = page_file.read_bytes()
    with exploring(content) as server:
        tab = visit(server.url)
        give(tab, [7], "owl")  # before there was a file
        port = server.server_port
    with exploring(content, path, port) as server:
        tab = visit(server.url, beside=tab)
        names = named(tab, [1, 2, 3])
        give(tab, [1, 2], "cat")
        give(tab, [3], "dog")
        until(tab, "safelight.app.labels.keeper.fault() === ''")
        tab.click("#undo")
        until(tab, "safelight.app.labels.keeper.isIdle()")
        labels = LabelFile(path)
        assert labels.read() == dict.fromkeys(names[:2], "cat")
        assert tab.evaluate(STORED).count("\n") == 2, "the file alone has them"
        other = visit(server.url, beside=tab)
        assert other.evaluate("safelight.app.labels.of.size") == 2
        give(other, [3], "fox")
        until(tab, "safelight.app.labels.of.size === 3")
        tab.get_by_role("button", name="Add 1 labels that this browser kept before").click()
        until(other, "safelight.app.labels.of.get(7) === 'owl'")


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
        tab.click("#redo")
        until(tab, "safelight.app.labels.keeper.isIdle()")
    tab.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    playwright.expect(tab.locator("#panel-label [role=alert]")).to_contain_text("cannot be read")
    assert tab.evaluate("safelight.app.labels.of.size") == 1, "what was read is still there"
    context.close()


def test_clicks_add_take_away_and_let_go(tab):
    a, b = tab.evaluate(LONELY)
    click_point(tab, a)
    assert tab.evaluate(CHOSEN) == [a]
    x, y = tab.evaluate(PIXEL_OF, b)
    tab.keyboard.down("Shift")
    tab.mouse.click(x, y)
    tab.keyboard.up("Shift")
    assert tab.evaluate(CHOSEN) == [a, b]
    tab.keyboard.down("Alt")
    click_point(tab, a)
    tab.keyboard.up("Alt")
    assert tab.evaluate(CHOSEN) == [b]
    click_point(tab, a)
    click_point(tab, a)
    assert tab.evaluate(CHOSEN) == []
    tab.select_option("#choosing", "add")  # as for a finger, which has no Shift
    click_point(tab, a)
    click_point(tab, b)
    assert tab.evaluate(CHOSEN) == [a, b]
    lasso_all(tab)
    tab.select_option("#choosing", "take")
    click_point(tab, b)
    assert tab.evaluate(CHOSEN).count(b) == 0
    assert len(tab.evaluate(CHOSEN)) == 299


def test_a_class_is_chosen_in_the_legend_counted_and_the_rest_is_dim(tab):
    seven = tab.evaluate("[...safelight.app.contents.label].flatMap((label, at) => label === 7 ? [at] : [])")
    tab.locator("#legend button", has_text="7 (").click()
    assert tab.evaluate(CHOSEN) == seven
    tab.click("#tab-label")
    playwright.expect(tab.locator("#panel-label")).to_contain_text(f"By the map's colours: 7: {len(seven)}")
    alphas = tab.evaluate("[...safelight.map.tones()].map(tone => tone >>> 24)")
    assert {alphas[at] for at in seven} == {0xE0}
    assert max(alphas[at] for at in range(300) if at not in seven) < 0x40
    tab.evaluate("safelight.app.picked.set(3)")
    tab.fill("#near-count", "12")
    tab.click("text=Choose it and its nearest")
    assert tab.evaluate(CHOSEN)[0] == 3
    assert len(tab.evaluate(CHOSEN)) == 13


def test_the_table_is_sorted_and_searched(tab):
    tab.click("#tab-table")
    loss = tab.evaluate("[...safelight.app.contents.loss]")
    header = tab.get_by_role("button", name="Loss", exact=True)
    for ends in (min, max):
        header.click()
        first = tab.locator("#panel-table tbody tr").first.locator("td").last
        playwright.expect(first).to_have_text(f"{ends(loss):.1f}")
    assert header.locator("..").get_attribute("aria-sort") == "descending"
    names = tab.evaluate("safelight.app.contents.header.names")
    tab.fill("#search", "17")
    tab.click("text=Choose those found")
    assert tab.evaluate(CHOSEN) == [at for at, name in enumerate(names) if "17" in name]


def test_what_is_shown_survives_a_reload(tab):
    tab.select_option("#colour", "loss")
    tab.select_option("#projection", label="PCA")
    lasso_all(tab)
    tab.click("#tab-table")
    tab.evaluate("safelight.app.picked.set(7)")
    url = tab.url
    for again in (tab.reload, lambda: (tab.goto("about:blank"), tab.goto(url))):
        again()
        tab.wait_for_selector("#page[data-engine=ready]")
        assert tab.input_value("#colour") == "loss"
        assert tab.evaluate("safelight.map.chosen") == 1
        assert tab.evaluate("safelight.app.opened()") == "table"
        assert tab.evaluate("safelight.app.picked.get()") == 7
        assert tab.evaluate(CHOSEN) == list(range(300))
    assert tab.evaluate("document.querySelector('#undo').disabled")


def test_what_is_chosen_becomes_a_contact_sheet(tab, tmp_path):
    tab.evaluate("safelight.app.selection.set([1, 2, 3, 4, 5])")
    tab.click("#tab-label")
    with tab.expect_download() as waiting:
        tab.get_by_role("button", name="Contact sheet").click()
    waiting.value.save_as(tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (3 * 68 + 4, 2 * 82 + 4)
        assert len(set(sheet.convert("L").tobytes())) > 10


def test_many_classes_have_colours_of_their_own(tab):
    tab.evaluate("for (let i = 0; i < 200; i++) safelight.app.labels.set([i], `class ${i}`)")
    tab.select_option("#colour", "own")
    swatches = tab.locator("#legend .swatch")
    playwright.expect(swatches).to_have_count(201)
    colours = tab.evaluate("[...document.querySelectorAll('.swatch')].map(each => each.style.background)")
    assert len(set(colours)) > 195


def test_from_suggestions_through_keys_to_a_file_that_finetune_reads(visit, digits, page_file, tmp_path):
    """suggest writes names without labels, the page goes through them by keys, the server writes the file."""
    path = tmp_path / "labels.csv"
    with exploring(page_file.read_bytes(), path) as server:
        tab = visit(server.url)
        wanted = named(tab, list(range(40, 52)))
        truth = {name: str(digits.labels[int(name)]) for name in wanted}
        rows = "".join(f"{name},\n" for name in [*wanted, "no such image"])
        (tmp_path / "to_label.csv").write_text(f"filename,label\n{rows}")
        tab.click("#tab-label")
        tab.set_input_files("#panel-label input[type=file]", tmp_path / "to_label.csv")
        playwright.expect(tab.locator("#panel-label h3")).to_have_text("12 chosen")
        said = "0 labels read. 12 images without a label are chosen. 1 rows are of images that this page"
        playwright.expect(tab.locator("#panel-label [role=status]")).to_contain_text(said)
        tab.focus("#map")
        for name in wanted:
            playwright.expect(tab.locator("#panel-label .current strong")).to_have_text(f"Image {name}")
            tab.keyboard.press(truth[name])
        tab.keyboard.press("p")
        tab.keyboard.press("Delete")
        tab.keyboard.press("Control+z")
        until(tab, "safelight.app.labels.of.size === 12")
        until(tab, "safelight.app.labels.keeper.isIdle()")
    names = list(map(str, range(len(digits))))
    read = read_labels(path, names)
    assert {names[at]: read.classes[read.numbers[at]] for at in np.flatnonzero(read.numbers >= 0)} == truth
