"""Pictures as they lie, by every verb: listed, fitted, read once, divided, labelled."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile
from corpus import make_corpus
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import safelight
from safelight.command.main import main
from safelight.config.data import DataConfig, Fit, FitOptions
from safelight.data import cache, store
from safelight.data.arrays import set_of_pictures
from safelight.data.fitting import fit_pixels, natural_range, tiles_of
from safelight.data.likeness import groups_of, near_pairs
from safelight.data.listing import list_folder, natural
from safelight.data.named_sets import cache_root
from safelight.data.opening import SUFFIXES, open_picture
from safelight.data.sources import load, load_for
from safelight.errors import ConfigError, DataError, Interrupted

TINY = {"channels": (4,), "hidden": 8, "latent": 2, "epochs": 1, "threads": 1, "batch_size": 16}
TINY_OPTIONS = [
    f"--network.{name}={value}" for name, value in (("channels", 4), ("hidden", 8), ("latent", 2))
]
TINY_OPTIONS += ["--epochs=1", "--threads=1"]


def smooth(rng: np.random.Generator, height: int, width: int, channels: int = 3) -> np.ndarray:
    """A picture (H, W, C) that looks like no other, uint8."""
    coarse = Image.fromarray(rng.integers(0, 256, (5, 5, channels), np.uint8).squeeze())
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).reshape(
        height, width, channels
    )


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """60 pictures of several sizes and kinds in three folders, and things that are none."""
    rng, folder = np.random.default_rng(0), tmp_path / "photos"
    for place in range(60):
        height, width = ((24, 24), (24, 32), (40, 24))[place % 3]
        path = folder / ("sky", "sea", "land")[place % 3] / f"view {place}"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(smooth(rng, height, width))
        if place % 5 == 0:
            image.putalpha(200)
        image.save(path.with_suffix((".png", ".tif", ".webp")[place % 3]))
    (folder / "sea" / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (folder / "Thumbs.db").write_bytes(b"x")
    (folder / "notes.txt").write_text("not meant as one")
    (folder / "sky" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    (folder / "sky" / "empty.jpg").write_bytes(b"")
    (folder / "loop").symlink_to(folder)
    return folder


class TestFit:
    @given(
        st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]), st.sampled_from([1, 3]),
        st.sampled_from([np.uint8, np.uint16, np.float32]), st.sampled_from(["pad", "crop", "stretch"]),
    )  # fmt: skip
    @settings(max_examples=60, deadline=None)
    def test_anything_becomes_what_is_asked_for(self, height, width, channels, wanted, dtype, how):
        rng = np.random.default_rng(height * 41 + width)
        white = {np.uint8: 255.0, np.uint16: 4095.0, np.float32: 1.0}[dtype]
        pixels = (rng.random((channels, height, width)) * white).astype(dtype)
        fit = Fit(16, 12, wanted, (0, white), how)
        image = fit_pixels(pixels, fit, (0, white))
        assert (image.shape, image.dtype) == (fit.shape, fit.dtype)
        assert image.min() >= 0
        assert image.max() <= white
        flat = fit_pixels(np.full_like(pixels, white), fit, (0, white))
        assert np.allclose(flat, white, rtol=1e-3)  # white stays white, also around it

    def test_what_fits_already_is_left_as_it_is(self):
        pixels = np.random.default_rng(0).integers(0, 256, (3, 12, 10), np.uint8)
        assert fit_pixels(pixels, Fit(12, 10, 3), (0, 255)) is pixels

    def test_a_picture_is_scaled_by_what_its_own_white_is(self):
        pixels = np.full((1, 8, 8), 51, np.uint8)
        assert fit_pixels(pixels, Fit(8, 8, 1, (0, 4095)), (0, 255)).tolist() == [[[819] * 8] * 8]

    def test_alpha_shows_the_background(self):
        pixels, alpha = np.zeros((3, 8, 8), np.uint8), np.full((8, 8), 0.5, np.float32)
        for background, seen in (("white", (128, 128, 128)), ("black", (0, 0, 0)), ("#ff6400", (128, 50, 0))):
            image = fit_pixels(pixels, Fit(8, 8, 3, background=background), (0, 255), alpha)
            assert image[:, 4, 4].tolist() == list(seen)

    def test_padding_takes_the_pictures_own_border(self):
        pixels = np.full((3, 8, 16), 30, np.uint8)
        pixels[:, 2:6, 4:12] = 200
        image = fit_pixels(pixels, Fit(16, 16, 3), (0, 255))
        assert (image[:, :4] == 30).all()
        assert (image[:, 12:] == 30).all()
        assert image[0, 8, 8] == 200

    def test_cropping_keeps_the_middle(self):
        pixels = np.repeat(np.arange(32, dtype=np.uint8)[None, None], 16, axis=1)  # 16 × 32
        assert fit_pixels(pixels, Fit(16, 16, 1, how="crop"), (0, 255))[0, 0].tolist() == list(range(8, 24))

    @given(st.integers(8, 100), st.integers(8, 100))
    @settings(max_examples=30, deadline=None)
    def test_tiles_cover_all_of_it(self, height, width):
        seen = np.zeros((height, width), bool)
        for rows, columns in tiles_of(np.zeros((1, height, width)), 8, 8):
            assert seen[rows, columns].shape == (8, 8)
            seen[rows, columns] = True
        assert seen.all()

    def test_no_numbers_are_told_with_their_count(self):
        pixels = np.zeros((1, 8, 8), np.float32)
        pixels[0, 0, :3] = np.nan
        with pytest.raises(DataError, match="got 3 that are NaN"):
            fit_pixels(pixels, Fit(8, 8, 1, (0, 1)), (0, 1))

    @pytest.mark.parametrize(
        ("values", "is_float", "found"),
        [
            (np.arange(1000), False, (0, 1023)), (np.arange(3000), False, (0, 4095)),
            (np.arange(12000), False, (0, 16383)), (np.arange(60000), False, (0, 65535)),
            (np.linspace(0, 1, 500), True, (0, 1)), (np.linspace(0, 255, 500), True, (0, 255)),
            (np.arange(2000) - 1000, False, (-999.8, 998.8)),
        ],
    )  # fmt: skip
    def test_values_mean_something(self, values, is_float, found):
        assert natural_range(values, is_float)[0] == pytest.approx(found, abs=0.1)

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"size": "7"}, "sides from 8 to 512"), ({"size": "600x64"}, "sides from 8 to 512"),
            ({"size": "big"}, "as 64 or 96x64"), ({"fit": "squeeze"}, "one of pad, crop, stretch, tile"),
            ({"background": "green"}, "white, black, border, or a colour such as #ffcc00"),
            ({"range": "9..3"}, "two growing numbers as in 0..4095"), ({"image_channels": 9}, "1 to 8"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_asked_for(self, options, words):
        with pytest.raises(ConfigError, match=words):
            FitOptions(**options)


class TestReading:
    def test_a_folder_as_it_lies(self, photos):
        images = load(photos)
        assert images.shape == (3, 24, 24)
        assert (len(images), images.classes) == (60, ("land", "sea", "sky"))
        assert images.names[:3] == ("land/view 2.webp", "land/view 5.webp", "land/view 8.webp")
        assert [images.classes[label] for label in images.labels[[0, 20, 40]]] == ["land", "sea", "sky"]
        said = "; ".join(images.notes)
        assert "60 pictures of 3 classes, 20 WEBP, 20 TIFF, 20 PNG, 3 sizes (24×24 to 24×40)" in said
        assert "12 with alpha on white, fitted to 24×24 by padding, colour" in said
        assert "2 left out (sky/broken.png: " in said
        assert "1 passed over" in said

    def test_pictures_that_fit_come_through_to_the_last_bit(self, tmp_path):
        rng = np.random.default_rng(1)
        wanted = [smooth(rng, 16, 24) for _ in range(4)]
        for place, pixels in enumerate(wanted):
            Image.fromarray(pixels).save(tmp_path / f"{place}.png")
        images = load(tmp_path)
        assert np.array_equal(images.pixels, np.stack(wanted).transpose(0, 3, 1, 2))

    def test_every_kind_of_file_is_read_as_its_opener_reads_it(self, tmp_path):
        expected = make_corpus(tmp_path / "corpus")
        images = load(tmp_path / "corpus", size=32, image_channels=3)
        taken = {name.split("#")[0] for name in images.names}
        for name, pixels in expected.items():
            if pixels is None:
                assert name not in taken, name
            elif len(pixels) in (1, 3) and np.isfinite(pixels).all():
                assert name in taken, name
        low, high = images.value_range
        for place, name in enumerate(images.names):
            picture = open_picture(tmp_path / "corpus" / name.split("#")[0], name)
            if picture.white == 255 and picture.alpha is None and "#" not in name:
                as_bytes = fit_pixels(picture.pixels, Fit(32, 32, 3), (0, 255))
                found = (images.pixels[place] - low) / (high - low)
                assert np.abs(found - as_bytes / 255).max() < 0.02, name

    def test_cameras_of_12_bits_are_not_black(self, tmp_path):
        rng = np.random.default_rng(2)
        for place in range(9):
            tifffile.imwrite(tmp_path / f"{place}.tif", rng.integers(0, 4000, (16, 16)).astype(np.uint16))
        images = load(tmp_path)
        assert (images.value_range, images.pixels.dtype) == ((0, 4095), np.uint16)
        assert "12 bits: white is 4095" in images.notes
        assert 0.4 < float(images.floats().mean()) < 0.6
        assert load(tmp_path, range="0..8000").value_range == (0, 8000)

    @pytest.mark.parametrize("kind", ["zip", "parquet", "pattern", "list", "stack"])
    def test_other_places(self, tmp_path, kind):
        rng = np.random.default_rng(3)
        pictures = [smooth(rng, 16, 16) for _ in range(6)]
        files = {}
        for place, pixels in enumerate(pictures):
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "PNG")
            files[f"{'ab'[place % 2]}/{place}.png"] = buffer.getvalue()
        wanted = np.stack(pictures).transpose(0, 3, 1, 2)
        if kind == "zip":
            with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
                for name, content in files.items():
                    archive.writestr(f"all/{name}", content)
                archive.writestr("__MACOSX/all/._0.png", b"resource fork")
            images = load(tmp_path / "all.zip")
            assert images.classes == ("a", "b")
            wanted = wanted[[0, 2, 4, 1, 3, 5]]
        elif kind == "parquet":
            for shard in range(2):
                names = list(files)[3 * shard : 3 * shard + 3]
                rows = [{"bytes": files[name], "path": name} for name in names]
                features = {"info": {"features": {"label": {"names": ["even", "odd"]}}}}
                table = pa.table({"image": rows, "label": [int(name[2]) % 2 for name in names]})
                table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
                pq.write_table(table, tmp_path / f"{shard}.parquet", row_group_size=2)
            images = load(f"{tmp_path}/*.parquet:image")
            assert (images.classes, images.labels.tolist()) == (("even", "odd"), [0, 1] * 3)
            assert images.names == tuple(files)
        elif kind == "stack":
            tifffile.imwrite(tmp_path / "stack.tif", np.stack(pictures)[..., 0], imagej=True)
            images = load(tmp_path / "stack.tif")
            wanted = wanted[:, :1]
        else:
            for name, content in files.items():
                (tmp_path / Path(name).name).write_bytes(content)
            paths = sorted(tmp_path.glob("*.png"))
            images = load(f"{tmp_path}/*.png") if kind == "pattern" else load(paths)
        assert np.array_equal(images.pixels, wanted)

    def test_pictures_in_memory_of_all_kinds(self):
        rng = np.random.default_rng(4)
        arrays = [smooth(rng, 16, 16), smooth(rng, 20, 12), smooth(rng, 16, 16, 1)[..., 0]]
        images = load([arrays[0], Image.fromarray(arrays[1]), arrays[2]], size=16)
        assert images.shape == (3, 16, 16)
        assert np.array_equal(images.pixels[0], arrays[0].transpose(2, 0, 1))

        class Twins:
            """As torch's data sets are."""

            def __len__(self):
                return 4

            def __getitem__(self, place):
                return Image.fromarray(arrays[0]), place % 2

        twins = load(Twins())
        assert (twins.shape, twins.labels.tolist()) == ((3, 16, 16), [0, 1, 0, 1])

    def test_limit_reads_no_more_than_it_needs(self, tmp_path):
        rng = np.random.default_rng(5)
        for place in range(100):
            Image.fromarray(smooth(rng, 8, 8)).save(tmp_path / f"{place}.png")
        read = []
        images = load_for(
            str(tmp_path), DataConfig(limit=20), FitOptions(), on_reading=lambda *n: read.append(n)
        )
        assert read[-1] == (27, 27)
        parts = images.split(limit=20)
        assert [len(parts.train), len(parts.validation), len(parts.test)] == [20, 3, 3]

    def test_links_and_names_of_all_kinds(self, tmp_path):
        folder = tmp_path / "set"
        folder.mkdir()
        pixels = smooth(np.random.default_rng(6), 12, 12)
        names = ["with space.png", "na\nme.png", "ünï🦋.PNG", os.fsdecode(b"caf\xe9.png"), "10.png", "9.png"]
        for name in names:
            Image.fromarray(pixels).save(folder / name)
        (folder / "gone.png").symlink_to(folder / "nowhere.png")
        assert len(load(folder)) == len(names)
        listed = list(list_folder(folder, SUFFIXES).names)
        assert listed.index("9.png") < listed.index("10.png")
        assert natural("a2") < natural("a10")

    @pytest.mark.parametrize(
        ("make", "words"),
        [
            (lambda path: None, "expected pictures (PNG, JPG"),
            (lambda path: (path / "a.txt").write_text("x"), "got none among 1 files"),
            (
                lambda path: (path / "a.png").write_bytes(b"no"),
                "got none that can be taken: a.png: expected a",
            ),
        ],
    )
    def test_nothing_to_take(self, tmp_path, make, words):
        make(tmp_path)
        with pytest.raises(DataError) as caught:
            load(tmp_path)
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_too_few_to_divide(self, tmp_path):
        for place in range(2):
            Image.fromarray(smooth(np.random.default_rng(place), 8, 8)).save(tmp_path / f"{place}.png")
        with pytest.raises(DataError, match="at least 3 images"):
            safelight.train(tmp_path, **TINY)


class TestStore:
    def test_a_second_start_opens_no_picture(self, photos, monkeypatch):
        first = load(photos)
        monkeypatch.setattr(store, "open_picture", None)
        monkeypatch.setattr("safelight.data.reading.open_picture", None)
        second = load(photos)
        assert np.array_equal(first.pixels, second.pixels)
        assert first.fingerprint() == second.fingerprint()
        assert first.notes == second.notes

    def test_what_has_changed_is_read_anew(self, photos):
        before = load(photos)
        path = photos / "sea" / "view 1.tif"
        Image.fromarray(smooth(np.random.default_rng(99), 24, 32)).save(path)
        os.utime(path, ns=(1, 1))
        after = load(photos)
        place = list(after.names).index("sea/view 1.tif")
        assert not np.array_equal(before.pixels[place], after.pixels[place])
        assert before.fingerprint() != after.fingerprint()
        shutil.move(photos / "sky" / "view 0.png", photos / "land")
        assert load(photos).labels.tolist() != after.labels.tolist()

    def test_a_reading_that_was_cut_off_goes_on(self, photos, monkeypatch):
        monkeypatch.setattr(store, "BLOCK", 10)
        wanted = load(photos, size=20)
        read = []
        with pytest.raises(Interrupted):
            load(photos, size=22, on_reading=lambda done, count: read.append(done) or done >= 30)
        opened = []
        real = store.open_picture
        monkeypatch.setattr(store, "open_picture", lambda *a: opened.append(a[1]) or real(*a))
        whole = load(photos, size=22)
        assert (len(opened), len(whole)) == (32, 60)
        again = load(photos, size=20)
        assert np.array_equal(again.pixels, wanted.pixels)
        shutil.rmtree(cache_root() / "pictures")
        assert np.array_equal(load(photos, size=22).pixels, whole.pixels)

    def test_a_kill_while_reading_loses_nothing(self, photos):
        script = (
            "import os, safelight; from safelight.data import store; store.BLOCK = 10\n"
            "stop = lambda done, count: done >= 40 and os.kill(os.getpid(), 9)\n"
            f"safelight.load({str(photos)!r}, size=26, on_reading=stop)"
        )
        killed = subprocess.run([sys.executable, "-c", script])
        assert killed.returncode == -9
        read = []
        store_block, store.BLOCK = store.BLOCK, 10
        try:
            images = load(photos, size=26, on_reading=lambda done, count: read.append(done))
        finally:
            store.BLOCK = store_block
        assert len(images) == 60
        assert read[0] > 40

    def test_a_broken_store_is_made_anew(self, photos):
        wanted = np.array(load(photos).pixels)
        for kept, found in store.stores():
            if found is not None:
                (kept.folder / "pixels.bin").write_bytes(b"short")
        assert np.array_equal(load(photos).pixels, wanted)

    def test_the_oldest_goes_when_the_limit_is_reached(self, photos, monkeypatch):
        cache.clear_kept()
        for size in (30, 31):
            load(photos, size=size)
        assert len(store.stores()) == 2
        monkeypatch.setenv("SAFELIGHT_CACHE_GB", "0.0004")
        load(photos, size=32)
        kept = [found.fit.height for _, found in store.stores() if found]
        assert 30 not in kept
        assert 32 in kept
        count, size = cache.clear_kept()
        assert count == len(kept)
        assert size > 60 * 3 * 32 * 32
        monkeypatch.setenv("SAFELIGHT_CACHE_GB", "lots")
        with pytest.raises(DataError, match="SAFELIGHT_CACHE_GB: expected a number, got 'lots'"):
            load(photos, size=33)

    def test_two_processes_share_it(self, photos):
        script = f"import safelight; print(safelight.load({str(photos)!r}, size=34).fingerprint())"
        both = [
            subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in "ab"
        ]
        said = [process.communicate(timeout=120)[0] for process in both]
        assert said[0] == said[1] == load(photos, size=34).fingerprint() + "\n"

    def test_a_full_disk_is_one_line(self, photos):
        script = (
            "import resource, safelight\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (40000, 40000))\n"
            f"try: safelight.load({str(photos)!r}, size=64)\n"
            "except safelight.DataError as error: print(error)"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert done.stdout.count("\n") == 1, done.stderr
        assert "got File too large; raise the limit on the size of files or set SAFELIGHT_DATA" in done.stdout


class TestDividing:
    def test_copies_and_near_ones_stay_in_one_part(self, tmp_path):
        rng = np.random.default_rng(8)
        for place in range(50):
            image = Image.fromarray(smooth(rng, 32, 32))
            image.save(tmp_path / f"{place:02}.png")
            image.save(tmp_path / f"{place:02} copy.png")
            image.save(tmp_path / f"{place:02} again.jpg", quality=95)
        images = load(tmp_path)
        parts = images.split()
        where = {
            name: part for part in ("train", "validation", "test") for name in getattr(parts, part).names
        }
        assert len(where) == 150
        together = [len({where[f"{p:02}.png"], where[f"{p:02} copy.png"]}) == 1 for p in range(50)]
        assert all(together)
        near = [where[f"{p:02}.png"] == where[f"{p:02} again.jpg"] for p in range(50)]
        assert np.mean(near) > 0.9
        assert 13 <= len(parts.test) <= 17

    def test_what_belongs_together_stays_together(self, tmp_path):
        rng = np.random.default_rng(9)
        for place in range(60):
            Image.fromarray(smooth(rng, 16, 16)).save(tmp_path / f"patient{place // 6}_slice{place % 6}.png")
        parts = load(tmp_path, group_by=r"(patient\d+)_").split()
        names = [
            {name.split("_")[0] for name in getattr(parts, p).names} for p in ("train", "validation", "test")
        ]
        assert [len(found) for found in names] == [8, 1, 1]
        assert not names[0] & (names[1] | names[2])
        with pytest.raises(ConfigError, match="expected a regular expression"):
            load(tmp_path, group_by="(")

    def test_a_few_alike_do_not_pull_all_together(self):
        rng = np.random.default_rng(10)
        contents = rng.integers(0, 2**63, 2000).astype(np.uint64)
        looks = np.repeat(np.uint64(5), 2000)  # all look alike: that says nothing
        assert len(np.unique(groups_of(contents, looks))) == 2000
        looks = rng.integers(0, 2**63, 2000).astype(np.uint64)
        looks[1] = looks[0] ^ np.uint64(0b101 << 30)
        assert near_pairs(looks).tolist() == [[0, 1]]


class TestVerbs:
    def test_the_whole_way_of_a_folder(self, photos, command):
        said = command("train", "photos", "--out", "run", *TINY_OPTIONS)
        assert said.returncode == 0, said.stderr
        assert "fitted to 24×24 by padding" in said.stderr
        assert "2 left out" in said.stderr
        config = safelight.open(photos.parent / "run").config
        assert (config.image.shape, config.image.how, config.data.labels) == ((3, 24, 24), "pad", "folders")
        new = photos.parent / "new"
        new.mkdir()
        for name, size in (("big.jpg", (200, 150)), ("small.bmp", (9, 9)), ("gray.png", (24, 24))):
            Image.new("L" if "gray" in name else "RGB", size, 90).save(new / name)
        for arguments in (
            ("embed", "run", "new", "--out", "codes.parquet"),
            ("suggest", "run", "new", "-n", "2", "--out", "label.csv"),
            ("finetune", "run", "photos", "--out", "mine", "--epochs", "1", "--threads", "1"),
            ("classify", "mine", "new", "--out", "found.csv"),
            ("walk", "run", "new/big.jpg", "new/small.bmp", "--out", "walk.png"),
            ("evaluate", "run"),
            ("train", "--resume", "run", "--epochs", "2"),
        ):
            done = command(*arguments)
            assert done.returncode == 0, (arguments, done.stderr)
        assert pq.read_table(photos.parent / "codes.parquet")["name"].to_pylist() == [
            "big.jpg",
            "gray.png",
            "small.bmp",
        ]
        assert (photos.parent / "found.csv").read_text().splitlines()[0].endswith(",land,sea,sky")
        (photos / "sea" / "view 1.tif").unlink()
        changed = command("train", "--resume", "run", "--epochs", "3")
        assert changed.returncode == 2
        assert "differ from them" in changed.stderr

    def test_a_dry_run_says_and_trains_nothing(self, photos, command):
        said = command("train", "photos", "--size", "32x16", "--fit", "crop", "--dry-run")
        assert said.returncode == 0, said.stderr
        assert "fitted to 32×16 by cropping" in said.stderr
        assert "32×16, 3 channels, 0 to 255: 48 train, 6 validation, 6 test" in said.stdout
        assert "parameters" in said.stdout
        assert {path.name for path in photos.parent.iterdir()} == {"photos"}

    def test_labels_of_a_file(self, photos, command):
        lines = [
            f".\\{name}".replace("/", "\\") + (",up" if place % 2 else ",down")
            for place, name in enumerate(load(photos).names)
        ]
        (photos.parent / "labels.csv").write_text("filename,label\n" + "\n".join(lines))
        done = command("train", "photos", "--labels", "labels.csv", "--out", "run", *TINY_OPTIONS)
        assert done.returncode == 0, done.stderr
        assert safelight.open(photos.parent / "run").images("train").classes == ("down", "up")
        done = command("train", "photos", "--labels", "none", "--out", "run2", *TINY_OPTIONS)
        assert safelight.open(photos.parent / "run2").images("train").labels is None

    def test_an_array_goes_where_pictures_went(self, photos):
        run = safelight.train(photos, **TINY)
        pictures = load(photos, size=24)
        assert run.encode(pictures.pixels[:].transpose(0, 2, 3, 1)).shape == (60, 2)
        assert np.array_equal(run.encode(pictures.pixels[:]), run.encode(photos))
        assert run.encode(np.zeros((2, 50, 30, 3), np.uint8)).shape == (2, 2)  # fitted likewise


def test_pages_are_pictures_and_are_counted_as_such(tmp_path):
    rng = np.random.default_rng(0)
    for name in "abcd":
        Image.fromarray(rng.integers(0, 255, (40, 40), np.uint8)).save(tmp_path / f"{name}.png")
    tifffile.imwrite(
        tmp_path / "stack.tif", rng.integers(0, 255, (7, 40, 40), np.uint8), photometric="minisblack"
    )
    images = load_for(tmp_path, DataConfig(), FitOptions())
    assert len(images) == 11
    assert images.notes[0] == "11 pictures in 5 files, 7 TIFF, 4 PNG, all 40×40, gray"
    tiles = load_for(tmp_path, DataConfig(), FitOptions(size="16", fit="tile"))
    said = "11 pictures in 5 files, 7 TIFF, 4 PNG, all 40×40, cut into 99 tiles of 16×16"
    assert tiles.notes[0].startswith(said)


def test_a_folder_that_changed_since_the_run_is_told_by_how_many(photos, tmp_path, capsys):
    run = safelight.train(photos, out=tmp_path / "run", epochs=1, channels=(8,), threads=1)
    names = sorted(path for path in photos.rglob("*.png") if "broken" not in path.name)
    names[0].unlink()
    names[1].unlink()
    shutil.copy(names[3], names[2])
    shutil.copy(names[3], photos / "one more.png")
    for verb in (["evaluate"], ["train", "--resume"]):
        assert main([*verb, str(run.path)]) == 2
        assert "differ from them (1 new, 2 gone, 1 other than then); restore them" in capsys.readouterr().err
    assert main(["embed", str(run.path), str(photos), "--out", str(tmp_path / "codes.parquet")]) == 0


def test_every_verb_takes_what_training_takes(tmp_path, capsys):
    """Trained on, encoded, classified and cleaned are the same files, by the same pixels."""
    expected = make_corpus(tmp_path / "corpus")
    tiny = {"size": 16, "image_channels": 3, "epochs": 1, "channels": (8,), "threads": 1}
    run = safelight.train(tmp_path / "corpus", out=tmp_path / "run", latent=4, hidden=16, **tiny)
    images = load(tmp_path / "corpus", size=16, image_channels=3)
    taken = {name.split("#")[0] for name in images.names}
    assert taken == {
        name
        for name, pixels in expected.items()
        if pixels is not None and len(pixels) in (1, 3) and np.isfinite(pixels).all()
    }
    again = run.taken(str(tmp_path / "corpus"))
    assert np.array_equal(again.pixels, images.pixels)
    assert (
        main(["embed", str(run.path), str(tmp_path / "corpus"), "--out", str(tmp_path / "codes.parquet")])
        == 0
    )
    embedded = pq.read_table(tmp_path / "codes.parquet")["name"].to_pylist()
    assert embedded == list(images.names)
    labels = tmp_path / "labels.csv"
    with labels.open("w", newline="") as file:
        csv.writer(file).writerows([name, "ab"[i % 2]] for i, name in enumerate(images.names[:40]))
    judge = safelight.finetune(run, tmp_path / "corpus", str(labels), epochs=1, threads=1)
    assert len(judge.classify(tmp_path / "corpus").probabilities) == len(images)
    capsys.readouterr()
    main(["denoise", str(run.path), str(tmp_path / "corpus"), "--out", str(tmp_path / "cleaned")])
    made = {path.relative_to(tmp_path / "cleaned").as_posix() for path in (tmp_path / "cleaned").rglob("*.*")}
    assert made == taken


def test_what_is_to_be_cleaned_is_cut_and_never_scaled(tmp_path):
    """Small pictures whole, large ones in tiles at full resolution: noise stays what it was."""
    rng = np.random.default_rng(0)
    folder, sizes = tmp_path / "noisy", [(40, 40), (150, 90), (70, 200), (64, 64)]
    folder.mkdir()
    pictures = [rng.integers(60, 196, size, np.uint8) for size in sizes]
    for number, pixels in enumerate(pictures):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    run = safelight.train(folder, out=tmp_path / "run", task="denoise", channels=(4,), latent=4, epochs=1)
    assert run.config.image.how == "tile"
    assert run.config.image.shape == (1, 64, 64)
    tiles = safelight.load(folder, fit="tile")
    assert len(tiles) == 1 + 3 * 2 + 2 * 4 + 1
    assert (run.config.data.fingerprint, len(set(tiles.groups))) == (tiles.fingerprint(), 4)
    np.testing.assert_array_equal(tiles.pixels[1][0], pictures[1][:64, :64])
    handed_over = set_of_pictures(pictures, FitOptions(fit="tile"))
    np.testing.assert_array_equal(handed_over.pixels, tiles.pixels)
    np.testing.assert_array_equal(handed_over.groups, np.repeat(range(4), (1, 6, 8, 1)))
    assert safelight.train(folder, epochs=1, channels=(4,), latent=4).config.image.how == "pad"
    assert set_of_pictures([pixels[:28, :28] for pixels in pictures], FitOptions(fit="tile")).shape == (
        1,
        28,
        28,
    )


def test_one_large_picture_is_a_set_of_tiles(tmp_path, command):
    pixels = np.random.default_rng(0).integers(0, 4000, (130, 150), np.uint16)
    tifffile.imwrite(tmp_path / "big.tif", pixels)
    refused = command("train", "big.tif", "--out", "a")
    assert refused.returncode == 2
    assert "add images, or cut large ones into tiles (--fit tile)" in refused.stderr
    small = (
        "--model",
        "denoising-unet",
        "--network.channels",
        "4,8",
        "--network.attention",
        "0",
        "--epochs",
        "1",
        "--threads",
        "1",
    )
    done = command("train", "big.tif", *small, "--self-supervised", "--out", "b")
    assert done.returncode == 0, done.stderr
    assert "1 picture, all 150×130, cut into 9 tiles of 64×64" in done.stderr
    assert command("denoise", "b", "big.tif", "--out", "clean.tif").returncode in (0, 1)  # 1: doubtful
    assert tifffile.imread(tmp_path / "clean.tif").shape == (130, 150)
