"""The page in a real browser: Debian's Chromium, from file:// and from loopback."""

import csv
import http.server
import io
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from browsing import LONELY, PIXEL_OF, click_point, lasso_all, until, values_of
from PIL import Image

import safelight
from safelight.config.latent import PageConfig
from safelight.config.network import DeepConvConfig
from safelight.explorer.bundling import page
from safelight.explorer.contents import page_contents, page_networks
from safelight.explorer.serving import Served, serve
from safelight.latent.codes import Codes, encode
from safelight.latent.walks import walk
from safelight.networks.deep_conv import DeepConvVAE
from safelight.tasks.objective import Bernoulli

playwright = pytest.importorskip("playwright.sync_api")
pytest.importorskip("onnxscript")

pytestmark = pytest.mark.browser

AXE = Path(__file__).parents[1] / "node_modules" / "axe-core" / "axe.min.js"
NO_WEBGL = """const real = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
  return kind === "webgl2" ? null : real.call(this, kind, ...rest);
};"""
CLAIM_A_GPU = """const real = WebGL2RenderingContext.prototype.getParameter;
WebGL2RenderingContext.prototype.getParameter = function (name) {
  return name === 0x9246 ? "some GPU" : real.call(this, name);
};"""


def drop(tab, name: str, content: bytes, kind: str) -> None:
    tab.click("#tab-draw")
    picked = {"name": name, "mimeType": kind, "buffer": content}
    tab.set_input_files("#panel-draw input[type=file]", picked)


def decoded_by_torch(page_run, codes: np.ndarray) -> np.ndarray:
    return page_run.decode(codes).ravel()


@pytest.mark.parametrize("scheme", ["file", "http"])
def test_the_page_computes_what_torch_does(visit, page_run, page_file, scheme):
    if scheme == "file":
        tab = visit()
    else:
        server = serve({"/": Served("text/html; charset=utf-8", page_file.read_bytes())})
        threading.Thread(target=server.serve_forever, daemon=True).start()
        tab = visit(server.url)
    codes = np.random.default_rng(0).normal(size=(70, 4)).astype(np.float32)
    pixels = values_of(tab, f"safelight.app.engine.decode(Float32Array.from({codes.ravel().tolist()}))")
    assert np.abs(pixels - decoded_by_torch(page_run, codes)).max() <= 1 / 255
    images = page_run.images("train").subset(slice(10))
    x = images.floats().numpy()
    found = values_of(tab, f"safelight.app.engine.encode(Float32Array.from({x.ravel().tolist()}))")
    np.testing.assert_allclose(found, page_run.encode(images).ravel(), atol=0.02)
    if scheme == "http":
        server.shutdown()
        server.server_close()


def test_even_a_script_in_the_page_may_ask_for_nothing(browser, page_file):
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as elsewhere:
        elsewhere.timeout = 0.5
        url = f"http://127.0.0.1:{elsewhere.server_port}"
        context = browser.new_context()
        tab = context.new_page()
        tab.goto(page_file.as_uri())
        refused = (
            f"new Promise(done => Object.assign(new Image(), {{ onerror: done, src: '{url}/a' }}))",
            f"fetch('{url}/b').catch(error => error.message)",
        )
        for attempt in refused:
            tab.evaluate(f"async () => void await {attempt}")
        handled = []
        elsewhere.process_request = lambda request, address: handled.append(address)
        elsewhere.handle_request()
        assert handled == []
        context.close()


def test_hover_shows_and_a_click_picks_a_point(tab, page_run):
    (at, _) = tab.evaluate(LONELY)
    tab.mouse.move(*tab.evaluate(PIXEL_OF, at))
    name = tab.evaluate("i => safelight.app.contents.header.names[i]", at)
    assert f"Image {name}" in tab.locator("#tooltip").inner_text()
    click_point(tab, at)
    panel = tab.locator("#panel-point")
    playwright.expect(panel.locator("h3:visible").first).to_have_text(f"Image {name}")
    image = safelight.load("digits")  # names are places in the whole set, as finetune reads them
    loss = float(page_run.codes(image.subset([int(name)])).reconstruction[0])
    assert f"loss {loss:.1f} nats" in panel.inner_text()
    assert f"label {image.labels[int(name)]}" in panel.inner_text()
    codes = values_of(tab, "safelight.app.contents.codes").reshape(-1, 4)
    expected = np.argsort(((codes - codes[at]) ** 2).sum(1), kind="stable")[1:13]
    names = tab.evaluate("safelight.app.contents.header.names")
    shown = [button.get_attribute("aria-label") for button in panel.locator(".grid button").all()]
    assert [label.split(",")[0] for label in shown] == [f"Image {names[i]}" for i in expected]


def test_a_click_between_points_is_decoded(tab):
    box = tab.locator("#map").bounding_box()
    tab.mouse.click(box["x"] + 8, box["y"] + 8)
    playwright.expect(tab.get_by_text("Between points", exact=True)).to_be_visible()
    until(tab, "document.querySelector('#panel-point canvas').width === 8")


def test_a_drag_with_walk_makes_a_film_from_one_point_to_another(tab, page_run):
    (a, b) = tab.evaluate(LONELY)
    tab.check("input[value=walk]")
    tab.mouse.move(*tab.evaluate(PIXEL_OF, a))
    tab.mouse.down()
    tab.mouse.move(*tab.evaluate(PIXEL_OF, b), steps=5)
    tab.mouse.up()
    frames = tab.locator("#panel-walk .strip canvas")
    playwright.expect(frames).to_have_count(12)
    pixels = tab.evaluate("""() => [...document.querySelectorAll('#panel-walk .strip canvas')].map(canvas =>
      Array.from(canvas.getContext('2d').getImageData(0, 0, 8, 8).data).filter((_, i) => i % 4 === 0))""")
    codes = values_of(tab, "safelight.app.contents.codes").reshape(-1, 4)
    for frame, at in ((pixels[0], a), (pixels[-1], b)):
        assert np.abs(np.array(frame) - 255 * decoded_by_torch(page_run, codes[[at]])).max() <= 1.6, "rounded"
    tab.locator("#panel-walk input[type=range]").fill("0.5")
    playwright.expect(tab.locator("#panel-walk output")).to_have_text("50 %")
    tab.click("text=Play")
    playwright.expect(tab.locator("#panel-walk output")).not_to_have_text("50 %")


def test_sliders_stand_in_the_order_of_their_kl(tab):
    tab.click("#tab-sliders")
    labels = tab.locator("#panel-sliders label.slider").all_inner_texts()
    kl = [float(label.split("KL ")[1].split(" ")[0]) for label in labels]
    assert len(kl) == 4
    assert kl == sorted(kl, reverse=True)
    picture = "document.querySelector('#panel-sliders .sticky canvas').toDataURL()"
    until(tab, "document.querySelector('#panel-sliders .strip canvas').width === 8")
    before = tab.evaluate(picture)
    tab.locator("#panel-sliders input[type=range]").first.press("End")
    until(tab, f"{picture} !== {before!r}")


def test_a_code_between_two_islands_is_placed_on_one_of_them(visit, tmp_path):
    generator = np.random.default_rng(0)
    mu = generator.normal(scale=0.12, size=(200, 2)).astype(np.float32)
    mu[100:, 0] += 1
    codes = Codes(mu, np.zeros_like(mu), np.ones(200, np.float32), None, tuple(map(str, range(200))))
    network = DeepConvVAE((1, 8, 8), DeepConvConfig(channels=(4,), hidden=8, latent=2)).eval()
    about = {"title": "x", "source": "x", "fingerprint": "2", "total": 200, "shape": (1, 8, 8)}
    images = safelight.load("digits").subset(slice(8))
    path = tmp_path / "islands.html"
    contents = page_contents(codes, None, about, config=PageConfig(perplexity=10))
    path.write_text(page(contents, page_networks(network, images)))
    tab = visit(path.as_uri())
    places = values_of(tab, "safelight.map.maps[0]").reshape(-1, 3)
    apart = np.sqrt(((places[:, None] - places) ** 2).sum(-1))
    islands = apart[:100, 100:].min()
    spacing = np.median(np.sort(apart, 1)[:, 8])
    assert islands > 2 * spacing, "there are two"
    for x in np.linspace(0.3, 0.7, 9):
        found = values_of(tab, f"safelight.map.placeOf(Float32Array.from([{x}, 0]))")
        nearest = np.sqrt(((places - found) ** 2).sum(1)).min()
        assert nearest < spacing, x

    walked = values_of(tab, opposite_walk([0.083, 0], [-0.02, 1e-4])).reshape(-1, 2)
    assert np.linalg.norm(walked, axis=1).max() <= 0.0831, "without a flow: between nearly opposite codes"


def opposite_walk(a: list[float], b: list[float]) -> str:
    return f"safelight.app.engine.walk(new Float32Array({a}), new Float32Array({b}), [0, 0.2, 0.5, 0.8, 1])"


def test_a_walk_goes_through_the_flow_as_torch_does(tab, page_run):
    codes = page_run.encode(page_run.images("train").subset(slice(40)))
    ends = codes[[0, np.linalg.norm(codes - codes[0], axis=1).argmax()]]
    expected = walk(*ends, 11, "flow", page_run.prior)
    shares = [i / 10 for i in range(11)]
    start, end = (f"new Float32Array({code.tolist()})" for code in ends)
    found = values_of(tab, f"safelight.app.engine.walk({start}, {end}, {shares})").reshape(11, -1)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    assert np.abs(found - walk(*ends, 11)).max() > 1e-2 * np.abs(expected).max()  # and turns otherwise
    tab.evaluate(f"safelight.app.ends.set([{start}, {end}])")
    until(tab, "safelight.map.path.length === 24")
    tab.click("#tab-walk")
    playwright.expect(tab.locator("#panel-walk .strip canvas")).to_have_count(12)
    assert "bends around unlikely codes" in tab.locator("#panel-walk").inner_text()


def test_what_is_drawn_lands_on_the_map(tab):
    tab.click("#tab-draw")
    box = tab.locator("canvas.sketch").bounding_box()
    tab.mouse.move(box["x"] + 100, box["y"] + 40)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 110, box["y"] + 180, steps=6)
    tab.mouse.up()
    playwright.expect(tab.locator("#panel-draw .grid button")).to_have_count(6)
    assert tab.evaluate("safelight.map.marks.length") == 1
    before = values_of(tab, "safelight.app.guest.get().code")
    tab.get_by_label("Noise", exact=True).fill("0.6")
    until(tab, f"safelight.app.guest.get().code[0] !== Math.fround({float(before[0])!r})")


def test_a_picture_that_is_brought_is_encoded_as_torch_does(tab, page_run, tmp_path):
    images = page_run.images("train")
    pixels = (images.floats([3]).numpy()[0, 0] * 255).round().astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "three.png")
    drop(tab, "three.png", (tmp_path / "three.png").read_bytes(), "image/png")
    until(tab, "safelight.app.guest.get() !== null")
    x = torch.from_numpy(pixels).float()[None, None] / 255
    with torch.no_grad():
        expected = page_run.network.encode(x).mu[0].numpy()
    np.testing.assert_allclose(values_of(tab, "safelight.app.guest.get().code"), expected, atol=0.02)


def test_a_picture_of_the_other_polarity_is_inverted_and_the_choice_acts_on_what_is_there(tab, page_run):
    pixels = (page_run.images("train").floats([3]).numpy()[0, 0] * 255).round().astype(np.uint8)
    code = page_run.encode(page_run.images("train").subset([3]))[0]
    paper = io.BytesIO()
    Image.fromarray(255 - pixels).save(paper, "PNG")
    drop(tab, "paper.png", paper.getvalue(), "image/png")
    playwright.expect(tab.locator("#panel-draw [role=status]")).to_contain_text("and was inverted")
    until(tab, "safelight.app.guest.get() !== null")
    right = values_of(tab, "safelight.app.guest.get().code")
    tab.get_by_label("invert it").uncheck()
    until(tab, f"safelight.app.guest.get().code[0] !== Math.fround({float(right[0])!r})")
    wrong = values_of(tab, "safelight.app.guest.get().code")
    assert np.linalg.norm(right - code) < 0.3 * np.linalg.norm(wrong - code)
    tab.click("text=Clear")
    tab.keyboard.press("Control+z")
    until(tab, "safelight.app.guest.get() !== null")


def test_drawing_with_arrows(tab):
    tab.click("#tab-draw")
    tab.focus("canvas.sketch")
    for _ in range(6):
        tab.keyboard.press("ArrowDown")
    playwright.expect(tab.locator("#panel-draw .grid button")).to_have_count(6)


def test_files_that_are_no_picture_are_refused_in_a_sentence(tab, tmp_path):
    header = struct.pack(">4sIIBBBBB", b"IHDR", 10_000, 10_000, 8, 0, 0, 0, 0)
    huge = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    Image.new("L", (8, 8)).save(tmp_path / "a.gif")
    for name, content, said in (
        ("a.svg", b"<svg onload='alert(1)'></svg>", "a.svg is no PNG, JPEG or GIF"),
        ("<img>.png", b"text", "<img>.png is no PNG, JPEG or GIF"),
        ("huge.png", huge, "10000 × 10000 pixels; expected at most 50 megapixels"),
        ("cut.png", huge.replace(struct.pack(">I", 10_000), struct.pack(">I", 10)), "cut.png is damaged"),
        ("a.gif", (tmp_path / "a.gif").read_bytes(), "Of a GIF, the first picture is used"),
    ):
        drop(tab, name, content, "image/png")
        playwright.expect(tab.locator("#panel-draw [role=status]")).to_contain_text(said)


def test_new_images_stand_beside_the_nearest(tab):
    tab.click("#tab-samples")
    for method in ("prior", "mixture"):
        tab.check(f"input[value={method}]")
        tab.click("text=Draw new images")
        playwright.expect(tab.locator("#live")).to_have_text(f"12 new images from the {method}")
    playwright.expect(tab.locator("#panel-samples .couples canvas")).to_have_count(24)


def test_the_page_draws_from_the_prior_that_the_run_learned(tab, page_run):
    """As many codes of the page's as of torch's, each dimension's mean and spread beside the other's."""
    drawn = values_of(tab, "safelight.app.engine.draw(4000)").reshape(4000, 4)
    with torch.no_grad():
        noise = torch.randn(4000, 4, generator=torch.Generator().manual_seed(0))
        expected = page_run.prior.from_base(noise).numpy()
    assert not np.allclose(expected, noise, atol=0.1)
    np.testing.assert_allclose(drawn.mean(0), expected.mean(0), atol=0.1 * expected.std(0).max())
    np.testing.assert_allclose(drawn.std(0), expected.std(0), rtol=0.1)


def test_labels_are_given_kept_and_written_as_finetune_reads_them(tab, tmp_path):
    lasso_all(tab)
    playwright.expect(tab.locator("#panel-label h3")).to_have_text("300 chosen")
    playwright.expect(tab.locator("#panel-label .grid button")).to_have_count(120)
    label = '<b>"all", </script>'
    tab.fill("#label-text", label)
    tab.press("#label-text", "Enter")
    click_point(tab, tab.evaluate(LONELY)[0])  # added to what is selected: it is there already
    tab.reload()
    tab.wait_for_selector("#page[data-engine=ready]")
    tab.click("#tab-label")
    assert label in tab.locator("#panel-label table").inner_text()
    with tab.expect_download() as waiting:
        tab.click("text=Download labels.csv")
    path = tmp_path / "labels.csv"
    waiting.value.save_as(path)
    with path.open(newline="") as opened:
        rows = list(csv.reader(opened))
    assert rows[0] == ["filename", "label"]
    assert {row[1] for row in rows[1:]} == {label}
    assert [row[0] for row in rows[1:]] == tab.evaluate("safelight.app.contents.header.names")
    tab.click("#panel-label table button")
    with tab.expect_download() as waiting:
        tab.click("text=Download the selection")
    waiting.value.save_as(path)
    with path.open(newline="") as opened:
        columns = csv.DictReader(opened).fieldnames
    assert columns == ["filename", "t-SNE x", "t-SNE y", "label", "cluster", "loss", "my label"]
    tab.click("text=Remove labels")
    for content, said in (
        (b"\xef\xbb\xbffile;note;class\r\n" + f"{rows[1][0]};x;seven\r\n".encode(), "1 labels read."),
        (b"a.png,cat\nb.png,dog\n", "it may belong to another set"),
    ):
        picked = {"name": "labels.csv", "mimeType": "text/csv", "buffer": content}
        tab.set_input_files("#panel-label input[type=file]", picked)
        playwright.expect(tab.locator("#panel-label [role=status]")).to_contain_text(said)
    assert tab.evaluate("[...safelight.app.labels.of.values()]") == ["seven"]


def test_the_keyboard_goes_everywhere(tab):
    tab.focus("#map")
    tab.keyboard.press("ArrowRight")
    first = tab.evaluate("safelight.app.picked.get()")
    playwright.expect(tab.locator("#live")).to_contain_text("Image")
    tab.keyboard.press("Enter")
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp", "ArrowDown"):
        tab.keyboard.press(key)
    assert tab.evaluate("safelight.app.picked.get()") != first
    tab.keyboard.press("Enter")
    playwright.expect(tab.locator("#panel-walk .strip canvas")).to_have_count(12)
    tab.focus("#tab-walk")
    tab.keyboard.press("ArrowRight")
    playwright.expect(tab.locator("#panel-sliders")).to_be_visible()
    tab.focus("#map")
    tab.keyboard.press("Escape")
    assert tab.evaluate("safelight.app.ends.get()") == [None, None]


def test_maps_change_zoom_turn_and_the_table_tells_the_same(tab):
    tab.select_option("#projection", label="PCA in space")
    until(tab, "safelight.map.depth === 1")
    before = values_of(tab, "safelight.map.seen")
    box = tab.locator("#map").bounding_box()
    tab.mouse.move(box["x"] + 200, box["y"] + 200)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 300, box["y"] + 220, steps=3)
    tab.mouse.up()
    until(tab, "safelight.map.frame === 0")
    assert np.abs(values_of(tab, "safelight.map.seen") - before).max() > 5
    tab.mouse.wheel(0, -400)
    until(tab, "safelight.map.camera.zoom > 2")
    tab.select_option("#colour", "loss")
    playwright.expect(tab.locator("#legend li")).to_have_count(6)
    tab.click("#tab-table")
    tab.click("text=Next")
    assert "21 to 40 of all 300 points" in tab.locator("#panel-table caption").inner_text()
    assert len(tab.locator("#panel-table tbody tr").all()) == 20


@pytest.mark.parametrize(
    ("script", "renderer"),
    [(None, "Canvas"), (NO_WEBGL, "Canvas"), (CLAIM_A_GPU, "WebGL2")],
    ids=["software", "no WebGL", "GPU"],
)
def test_points_have_the_colours_of_their_legend(visit, script, renderer):
    tab = visit(script=script)
    assert f"drawn by {renderer}" in tab.locator("#notes").inner_text()
    (at, _) = tab.evaluate(LONELY)
    x, y = tab.evaluate(PIXEL_OF, at)
    colour = tab.evaluate(
        """at => { const swatches = document.querySelectorAll('.swatch');
        const swatch = swatches[safelight.map.colouring.groups[at]];
        return getComputedStyle(swatch).backgroundColor.match(/\\d+/g).map(Number); }""",
        at,
    )
    picture = tab.screenshot(clip={"x": round(x), "y": round(y), "width": 1, "height": 1})
    with Image.open(io.BytesIO(picture)) as opened:
        seen = np.array(opened.convert("RGB"))[0, 0]
    assert np.abs(seen - np.array(colour)).max() <= 40, "an eighth of it is the page's white"


def test_without_webassembly_the_map_still_works(visit):
    tab = visit(script="delete window.WebAssembly;", wait=":not([aria-busy])")
    playwright.expect(tab.locator("#fault")).to_contain_text("no WebAssembly")
    (at, _) = tab.evaluate(LONELY)
    click_point(tab, at)
    playwright.expect(tab.locator("#panel-point .grid button")).to_have_count(12)
    tab.click("#tab-sliders")
    tab.locator("#panel-sliders input[type=range]").first.press("End")


def test_a_lost_context_is_drawn_without_a_gpu(visit):
    tab = visit(script=CLAIM_A_GPU)
    assert tab.evaluate("safelight.map.renderer.name") == "WebGL2"
    tab.evaluate("safelight.map.canvas.getContext('webgl2').getExtension('WEBGL_lose_context').loseContext()")
    until(tab, "safelight.map.renderer.name === 'Canvas'")
    lit = "document.querySelector('#points').getContext('2d').getImageData(0, 0, 500, 500).data.some(Boolean)"
    until(tab, lit)


def test_a_file_that_was_cut_off_says_so(browser, page_file, tmp_path):
    cut = tmp_path / "cut.html"
    content = page_file.read_bytes()
    context = browser.new_context()
    tab = context.new_page()
    for share in (0.999, 0.5):
        cut.write_bytes(content[: int(len(content) * share)])
        tab.goto(cut.as_uri())
        playwright.expect(tab.locator("#cut")).to_be_visible(timeout=10_000)
    context.close()


PHONE = {"viewport": {"width": 390, "height": 800}, "has_touch": True, "is_mobile": True}


def test_a_tap_on_a_phone_shows_the_point_where_it_is(visit):
    tab = visit(**PHONE)
    (at, _) = tab.evaluate(LONELY)
    tab.touchscreen.tap(*tab.evaluate(PIXEL_OF, at))
    name = tab.evaluate("i => safelight.app.contents.header.names[i]", at)
    playwright.expect(tab.locator("#tooltip")).to_contain_text(f"Image {name}")
    playwright.expect(tab.locator("#tooltip")).to_be_in_viewport(ratio=0.9)


def test_a_pinch_with_the_lasso_keeps_what_is_chosen(visit):
    tab = visit(**PHONE)
    tab.evaluate("safelight.app.selection.set([1, 2, 3])")
    tab.check("input[value=lasso]")
    box = tab.locator("#map").bounding_box()
    middle = [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]
    touch = tab.context.new_cdp_session(tab)

    def fingers(kind, *offsets):
        points = [{"x": middle[0] + dx, "y": middle[1], "id": i} for i, dx in enumerate(offsets)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    zoom = tab.evaluate("safelight.map.camera.zoom")
    fingers("touchStart", -20)
    fingers("touchStart", -20, 20)
    for reach in (40, 60, 80):
        fingers("touchMove", -reach, reach)
    fingers("touchEnd", -80)
    fingers("touchMove", -10)
    fingers("touchEnd")
    until(tab, f"safelight.map.camera.zoom > {zoom * 2}")
    assert tab.evaluate("safelight.app.selection.get()") == [1, 2, 3]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(visit, scheme):
    assert AXE.exists(), "make page fetches axe-core"
    tab = visit(color_scheme=scheme, viewport={"width": 1400 if scheme == "light" else 390, "height": 900})
    tab.evaluate(AXE.read_text())
    tab.evaluate("safelight.app.picked.set(1); safelight.app.selection.set([1, 2, 3])")
    tab.evaluate("safelight.app.labels.set([1, 2], 'seven')")
    for name in ("point", "walk", "sliders", "draw", "samples", "label", "table"):
        tab.evaluate("name => safelight.app.open(name)", name)
        found = tab.evaluate("axe.run(document, { resultTypes: ['violations'] })")["violations"]
        serious = [
            (each["id"], each["nodes"][0]["html"][:200])
            for each in found
            if each["impact"] in ("moderate", "serious", "critical")
        ]
        assert serious == [], name
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert tab.evaluate(overflow) <= 0


def test_one_image_in_colour_two_dimensions_and_a_hostile_name(visit, tmp_path):
    torch.manual_seed(0)
    network = DeepConvVAE((3, 12, 10), DeepConvConfig(channels=(4,), hidden=8, latent=2)).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 12, 10), np.uint8)
    images = safelight.ImageSet(pixels, names=("</script><img src=x onerror=alert(1)>",))
    codes = encode(network, Bernoulli(), images)
    about = {"title": "<i>x", "source": "<b>", "fingerprint": "1", "total": 1, "shape": images.shape}
    models = page_networks(network, images)
    for held, name in ((images, "one.html"), (None, "none.html")):
        (tmp_path / name).write_text(page(page_contents(codes, held, about), models))
        tab = visit((tmp_path / name).as_uri())
        tab.evaluate("safelight.app.picked.set(0)")
        what = "Image" if held else "Decoded image"
        assert tab.locator("#panel-point h3:visible").first.inner_text() == f"{what} {images.names[0]}"
        assert tab.locator("h1").inner_text() == "<i>x"
        until(
            tab, "document.querySelector('#panel-point > :last-child figure:last-child canvas').width === 10"
        )
        lasso_all(tab)
        playwright.expect(tab.locator("#panel-label .grid canvas")).to_have_count(1)
        assert ("the images," in tab.locator("#notes").inner_text()) == (held is not None)
