"""How quick the page is: opening it, drawing a frame of 70,000 points, decoding an image.

    python benchmarks/page.py runs/first --out benchmarks/results/page.json

Opens the run's page in Debian's Chromium, without a GPU, and then one of 70,000 points drawn from a normal
distribution, as it comes and by WebGL2 in software. Needs playwright and `make page`.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Browser, sync_playwright

import safelight
from safelight.config.latent import MAX_PAGE_IMAGES
from safelight.explorer.bundling import page
from safelight.explorer.contents import Package, page_contents, page_networks

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
CLAIM_A_GPU = """const real = WebGL2RenderingContext.prototype.getParameter;
WebGL2RenderingContext.prototype.getParameter = function (name) {
  return name === 0x9246 ? "some GPU" : real.call(this, name);
};"""
DECODE = """async () => { const { engine } = safelight.app; const z = new Float32Array(engine.latent);
  await engine.decode(z); const begin = performance.now();
  for (let i = 0; i < 100; i++) await engine.decode(z); return (performance.now() - begin) / 100; }"""
DRAW = """() => new Promise(done => { const { map } = safelight; let n = 0; const begin = performance.now();
  const step = () => { map.camera.drag(3, 1, true); map.draw();
    if (++n < 60) requestAnimationFrame(step); else done(n * 1000 / (performance.now() - begin)); };
  requestAnimationFrame(step); })"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    run = safelight.open(options.run)
    assert isinstance(run, safelight.Run)
    found: dict[str, Any] = {"machine": platform.processor() or platform.machine()}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as started:
        small, large = Path(folder) / "page.html", Path(folder) / "large.html"
        run.page(small)
        found["megabytes"] = round(small.stat().st_size / 1e6, 2)
        _write_large(run, large)
        browser = started.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        found |= _measure(browser, small, None, "")
        found |= _measure(browser, large, None, "70,000 points: ")
        found |= _measure(browser, large, CLAIM_A_GPU, "70,000 points, WebGL2 in software: ")
        browser.close()
    options.out.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


def _write_large(run: safelight.Run, path: Path) -> None:
    """A page of as many points as there may be; its maps are drawn, not computed."""
    images = run.images("train").subset(slice(64))
    package = page_contents(
        run.codes(images), None, {"title": "large", "source": "noise", "fingerprint": "0"}
    )
    arrays = dict(package.arrays)
    generator = np.random.default_rng(0)
    for name, array in arrays.items():
        per_image = array.size // len(images)
        if name.startswith("points"):
            arrays[name] = generator.normal(size=(MAX_PAGE_IMAGES, per_image)).astype(np.float32)
        elif name in ("codes8", "loss", "label", "cluster"):
            arrays[name] = np.resize(array, (MAX_PAGE_IMAGES, per_image))
    names = [str(place) for place in range(MAX_PAGE_IMAGES)]
    header = {
        **package.header,
        "n": MAX_PAGE_IMAGES,
        "total": MAX_PAGE_IMAGES,
        "shape": images.shape,
        "names": names,
    }
    path.write_text(page(Package(header, arrays), page_networks(run.network, images)))  # type: ignore[arg-type]


def _measure(browser: Browser, path: Path, script: str | None, what: str) -> dict[str, float]:
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    tab = context.new_page()
    if script:
        tab.add_init_script(script)
    begin = time.perf_counter()
    tab.goto(path.as_uri())
    tab.wait_for_selector("#page:not([aria-busy])")
    opened = time.perf_counter() - begin
    tab.wait_for_selector("#page[data-engine=ready]")
    started = time.perf_counter() - begin
    tab.select_option("#projection", "2")
    tab.wait_for_timeout(1500)
    found = {
        f"{what}seconds until the map answers": round(opened, 2),
        f"{what}seconds until it decodes": round(started, 2),
        f"{what}milliseconds to decode an image": round(tab.evaluate(DECODE), 2),
        f"{what}frames a second": round(tab.evaluate(DRAW), 1),
    }
    context.close()
    return found


if __name__ == "__main__":
    main()
