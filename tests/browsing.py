"""What tests of the page in a browser share: a run, its page, Debian's Chromium, and ways to act in it."""

from pathlib import Path

import numpy as np
import pytest

import safelight

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
PIXEL_OF = """i => { const { seen, ratio, overlay } = safelight.map;
  const box = overlay.getBoundingClientRect();
  return [box.x + seen[3 * i] / ratio, box.y + seen[3 * i + 1] / ratio]; }"""
LONELY = """() => { const { seen } = safelight.map; const n = seen.length / 3;
  const far = i => { let least = Infinity; for (let j = 0; j < n; j++) if (j !== i)
    least = Math.min(least, Math.hypot(seen[3*i] - seen[3*j], seen[3*i+1] - seen[3*j+1])); return least; };
  return Array.from({ length: n }, (_, i) => i).sort((a, b) => far(b) - far(a)).slice(0, 2); }"""


@pytest.fixture(scope="session")
def page_run(tmp_path_factory):
    settings = {"channels": (8, 16), "hidden": 32, "latent": 4, "lr": 0.01, "batch_size": 64, "threads": 1}
    path = tmp_path_factory.mktemp("runs") / "digits"
    return safelight.train("digits", out=path, epochs=5, limit=400, **settings)


@pytest.fixture(scope="session")
def page_file(page_run, tmp_path_factory):
    return page_run.page(tmp_path_factory.mktemp("page") / "digits.html", n=300)


@pytest.fixture(scope="session")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser, page_file):
    """Opens the page, and at the end finds that it asked for nothing and complained of nothing."""
    contexts, asked, complaints = [], [], []

    def open_page(url=None, script=None, wait="[data-engine=ready]", beside=None, **options):
        context = beside and beside.context
        if context is None:
            context = browser.new_context(**{"viewport": {"width": 1400, "height": 900}, **options})
            contexts.append(context)
        tab = context.new_page()
        tab.set_default_timeout(20_000)
        if script:
            tab.add_init_script(script)
        url = url or page_file.as_uri()
        own = (url.split("#")[0], f"{url}labels")
        tab.on(
            "request", lambda request: None if request.url.split("#")[0] in own else asked.append(request.url)
        )
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        tab.goto(url)
        tab.wait_for_selector(f"#page{wait}")
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert [url for url in asked if not url.startswith(("blob:", "data:"))] == []
    assert complaints == []


@pytest.fixture
def tab(visit):
    return visit()


def values_of(tab, expression: str) -> np.ndarray:
    return np.array(tab.evaluate(f"async () => Array.from(await {expression})"), np.float32)


def until(tab, expression: str) -> None:
    """Waits for an expression, as playwright does, but without the eval that the page's policy forbids."""
    for _ in range(200):
        if tab.evaluate(f"Boolean({expression})"):
            return
        tab.wait_for_timeout(25)
    raise AssertionError(f"still not: {expression}")


def click_point(tab, at: int) -> None:
    tab.mouse.click(*tab.evaluate(PIXEL_OF, at))


def lasso_all(tab) -> None:
    tab.check("input[value=lasso]")
    box = tab.locator("#map").bounding_box()
    left, top = box["x"] + 3, box["y"] + 3
    right, bottom = left + box["width"] - 6, top + box["height"] - 6
    tab.mouse.move(left, top)
    tab.mouse.down()
    for x, y in ((right, top), (right, bottom), (left, bottom)):
        tab.mouse.move(x, y, steps=3)
    tab.mouse.up()
