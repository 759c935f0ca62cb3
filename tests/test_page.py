"""The page's parts that need no browser: packing, bundling, serving, verbs."""

import base64
import gzip
import html
import http.client
import json
import re
import signal
import subprocess
import threading
import urllib.request

import numpy as np
import pytest
from conftest import safelight_command

import safelight
from safelight.command import explore
from safelight.command.main import main
from safelight.command.pages import page_config
from safelight.config.latent import PageConfig
from safelight.errors import ConfigError, RunError
from safelight.explorer import bundling, contents
from safelight.explorer.bundling import bundle, page, page_sources
from safelight.explorer.contents import Package, pack, page_contents
from safelight.explorer.serving import PageServer, Served, serve
from safelight.latent.codes import Codes
from safelight.latent.onnx import OnnxModels

ABOUT = {"title": "a </script><b>", "source": "test", "fingerprint": "0", "total": 5, "shape": (1, 8, 8)}
MODELS = OnnxModels(b"encoder", b"decoder", 2, True)


def some_codes(n: int, latent: int, seed: int = 0) -> Codes:
    generator = np.random.default_rng(seed)
    mu = generator.normal(size=(n, latent)).astype(np.float32)
    return Codes(mu, np.zeros_like(mu), np.ones(n, np.float32), None, tuple(f"{i}.png" for i in range(n)))


def unpacked(content: bytes) -> tuple[dict, dict]:
    """What the page's JavaScript reads, by the same few rules."""
    raw = gzip.decompress(content)
    length = int.from_bytes(raw[:4], "little")
    header = json.loads(raw[4 : 4 + length])
    arrays = {
        place["name"]: np.frombuffer(raw, place["kind"], place["count"], place["offset"])
        for place in header["arrays"]
    }
    return header, arrays


def test_packages_keep_values_at_places_that_a_browser_can_read():
    arrays = {
        "a": np.arange(3, dtype=np.uint8),
        "b": np.array([0.5, -1], np.float32),
        "c": np.ones(1, np.int32),
    }
    header, found = unpacked(pack(Package({"name": "ß"}, arrays)))
    assert header["name"] == "ß"
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    assert all(place["offset"] % 8 == 0 for place in header["arrays"])


@pytest.mark.parametrize(("n", "latent", "channels"), [(1, 2, 1), (40, 2, 3), (40, 5, 1)])
def test_contents_of_few_images_dimensions_and_channels(n, latent, channels):
    images = safelight.ImageSet(np.random.default_rng(0).integers(0, 256, (n, channels, 50, 40), np.uint8))
    codes = some_codes(n, latent)
    header, arrays = unpacked(pack(page_contents(codes, images, ABOUT)))
    span = arrays["most"] - arrays["least"]
    again = arrays["least"] + arrays["codes8"].reshape(n, latent) / 255 * span
    assert np.abs(again - codes.mu).max() <= span.max() / 255
    assert header["thumbnail"] == [channels, 50, 40], "few are as large as they are"
    thumbnails = arrays["thumbnails"].reshape(n, *header["thumbnail"])
    np.testing.assert_allclose(thumbnails.mean(), images.pixels.mean(), atol=2)
    for place, projection in enumerate(header["projections"]):
        assert arrays[f"points{place}"].size == n * projection["dims"]
    np.testing.assert_allclose(arrays["weights"].sum(), 1, rtol=1e-5)
    assert page_contents(codes, None, ABOUT).header["thumbnail"] is None


def test_thumbnails_are_the_larger_the_fewer_they_are(monkeypatch):
    images = safelight.ImageSet(np.random.default_rng(0).integers(0, 256, (20, 3, 128, 96), np.uint8))
    assert page_contents(some_codes(20, 3), images, ABOUT).header["thumbnail"] == (3, 128, 96)
    monkeypatch.setattr(contents, "THUMBNAIL_BYTES", 20 * 3 * 64**2)
    assert page_contents(some_codes(20, 3), images, ABOUT).header["thumbnail"] == (3, 64, 48)
    monkeypatch.setattr(contents, "THUMBNAIL_BYTES", 1)
    assert page_contents(some_codes(20, 3), images, ABOUT).header["thumbnail"] == (3, 32, 24)


def test_a_page_has_the_maps_that_were_asked_for():
    codes = some_codes(60, 4)
    plain = page_contents(codes, None, ABOUT)
    asked = page_contents(codes, None, ABOUT, config=PageConfig(perplexity=5, metric="cosine"))
    words = [each.header["projections"][0]["words"] for each in (plain, asked)]
    assert "perplexity 19.6" in words[0]
    assert "perplexity 5, by cosine" in words[1]
    longer = codes.mu * np.linspace(1, 9, 60, dtype=np.float32)[:, None]
    doubled = Codes(longer, codes.logvar, codes.reconstruction, None, codes.names)
    again = page_contents(doubled, None, ABOUT, config=PageConfig(perplexity=5, metric="cosine"))
    np.testing.assert_allclose(again.arrays["points1"], asked.arrays["points1"], atol=1e-5)


def test_codes_that_are_not_finite_stay_out_with_their_images():
    codes = some_codes(20, 3)
    codes.mu[4] = np.nan
    images = safelight.ImageSet(np.arange(20, dtype=np.uint8).repeat(64).reshape(20, 1, 8, 8))
    found = page_contents(codes, images, ABOUT)
    assert "4.png" not in found.header["names"]
    assert 4 not in found.arrays["thumbnails"]
    assert found.header["n"] == 19


def test_modules_are_bundled_in_the_order_of_their_imports():
    script = bundle(page_sources())
    assert not re.search(r"^\s*(import|export)\b", script, re.M), "nothing that only a module may say"
    assert "</script" not in script
    assert script.index("const $dom =") < script.index("const $main =")
    with pytest.raises(ValueError, match="in a circle: main → a → main"):
        bundle({"main.js": 'import { b } from "./a.js";\n', "a.js": 'import { c } from "./main.js";\n'})


def test_every_module_is_short():
    for name, text in page_sources().items():
        if name.endswith(".js"):
            assert text.count("\n") <= 300, name


def test_the_policy_knows_no_outside_source(monkeypatch):
    monkeypatch.setattr(bundling, "engine_files", lambda: {"script": b"s", "wasm": b"w"})
    text = page(page_contents(some_codes(5, 2), None, ABOUT), MODELS)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    assert "unsafe-inline" not in policy
    assert "connect-src" not in policy, "none, as by default"
    assert "a &lt;/script&gt;&lt;b&gt;" in text
    assert not re.search(r"\{\{ \w+ \}\}", text)


def test_without_the_engine_one_line_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(bundling, "FOLDER", tmp_path)
    with pytest.raises(RunError, match="install npm, then run make page"):
        bundling.engine_files()


def test_the_server_answers_this_machine_alone():
    with serve({"/": Served("text/html", b"hello")}) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with urllib.request.urlopen(server.url) as answer:
            assert answer.read() == b"hello"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"

        def status(path: str, host: str) -> int:
            connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
            connection.request("GET", path, headers={"Host": host})
            found = connection.getresponse().status
            connection.close()
            return found

        own = f"localhost:{server.server_port}"
        assert status("/", own) == 200
        assert status("/", "evil.example") == 403
        assert status("/", f"evil.example:{server.server_port}") == 403
        assert [status(path, own) for path in ("/x", "/../config.json", "//etc/passwd", "/%2e%2e/x")] == [
            404
        ] * 4
        with pytest.raises(ConfigError, match="choose another --port"):
            serve({}, port=server.server_port)
        server.shutdown()
    with pytest.raises(ConfigError, match="expected an IPv4 address"):
        serve({}, host="example.org")


def test_export_says_what_is_missing(digits, tmp_path, capsys):
    run = safelight.train(
        "digits", out=tmp_path / "run", epochs=1, limit=100, channels=(8,), hidden=16, threads=1
    )
    assert main(["export", str(run.path)]) == 2
    assert "--single-file digits.html or --onnx networks/" in capsys.readouterr().err
    there = tmp_path / "there.html"
    there.write_text("mine")
    assert main(["export", str(run.path), "--single-file", str(there)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert there.read_text() == "mine"
    assert main(["export", str(run.path), "--single-file", str(tmp_path / "new.html"), "--n", "70001"]) == 2
    assert "n: expected 1 to 70,000 images" in capsys.readouterr().err


def test_explore_makes_a_page_anew_when_weights_or_settings_differ(tmp_path, monkeypatch, capsys):
    run = safelight.train(
        "digits", out=tmp_path / "run", epochs=1, limit=100, channels=(8,), hidden=16, threads=1
    )
    made, ports = [], []

    def write_page(run, path, options, overwrite):
        about = html.escape(run.made_of(page_config(options), not options.no_images))
        path.write_text(f'<meta name="made-of" content="{about}">')
        made.append(about)

    def listening(asked, listen):
        ports.append(asked[0])
        return serve({})

    monkeypatch.setattr(explore, "write_page", write_page)
    monkeypatch.setattr(explore, "_listening", listening)
    monkeypatch.setattr(PageServer, "serve_forever", lambda server: None)
    for options, expected in (
        ([], 1),
        ([], 1),
        (["--n", "50"], 2),
        (["--n", "50"], 2),
        (["--n", "50", "--no-images"], 3),
        (["--n", "50", "--no-images", "--perplexity", "5"], 4),
        (["--map", "umap"], 5),
    ):
        assert main(["explore", str(run.path), *options]) == 0
        assert len(made) == expected, options
    weights = run.path / run.folder.trained
    weights.write_bytes(weights.read_bytes() + b" ")
    assert main(["explore", str(run.path), "--map", "umap"]) == 0
    assert len(made) == 6
    assert len(set(ports)) == 1, "one origin, by which the browser keeps labels"
    assert (
        "expected a name ending in .csv"
        in (
            main(["explore", str(run.path), "--labels", "labels.xlsx"]),
            capsys.readouterr().err,
        )[1]
    )


def test_the_title_holds_no_path_of_its_owner(tmp_path, monkeypatch):
    monkeypatch.setattr(bundling, "engine_files", lambda: {"script": b"s", "wasm": b"w"})
    digits = safelight.load("digits")
    folder = tmp_path / "secret owner"
    folder.mkdir()
    np.save(folder / "mine.npy", digits.pixels[:200, 0])
    run = safelight.train(
        folder / "mine.npy", out=tmp_path / "run", epochs=1, channels=(8,), hidden=16, threads=1
    )
    text = run.page(tmp_path / "page.html", n=40).read_text()
    assert "<title>mine.npy · run · safelight</title>" in text
    packed = re.search(r'id="contents">([^<]*)<', text)[1]
    header, _ = unpacked(base64.b64decode(packed))
    assert header["source"] == "mine.npy"
    assert "secret owner" not in json.dumps(header)


def test_explore_serves_a_page_that_is_there_until_ctrl_c(tmp_path):
    run = safelight.train(
        "digits", out=tmp_path / "run", epochs=1, limit=100, channels=(8,), hidden=16, threads=1
    )
    current = html.escape(run.made_of(PageConfig(), True))
    written = f'<meta name="made-of" content="{current}">the page'
    run.folder.page.write_text(written)
    process = subprocess.Popen(
        safelight_command(["explore", run.path]),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job ignores it
    )
    line = process.stdout.readline()
    url = re.match(r"http://127\.0\.0\.1:\d+/", line)[0]
    with urllib.request.urlopen(url) as answer:
        assert answer.read().decode() == written
    process.send_signal(signal.SIGINT)
    said, complaint = process.communicate(timeout=20)
    assert (process.returncode, complaint) == (0, "")
    assert "Stopped." in said
