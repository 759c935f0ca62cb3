"""`data check`, `list` and `clear`: what was planted is found, and nothing else; numbers that are right."""

import html
import json
import re
import tracemalloc

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageFilter

import safelight
from safelight.config.data import DataConfig, FitOptions
from safelight.data.checking import Check, check, check_source
from safelight.data.findings import KINDS
from safelight.data.images import ImageSet
from safelight.data.likeness import groups_of, near_pairs
from safelight.data.store import stores

NAMES = [kind.name for kind in KINDS if kind.is_fault]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SAFELIGHT_DATA", str(tmp_path / "cache"))


def texture(number: int, height: int = 48, width: int = 48) -> Image.Image:
    """A picture like no other: coloured noise, softened, from near black to near white."""
    rng = np.random.default_rng(number)
    noise = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    x = np.asarray(noise.filter(ImageFilter.GaussianBlur(1 + rng.random())), np.float32)
    x = (x - x.mean()) / x.std() * 50 + 128
    return Image.fromarray(x.clip(0, 255).astype(np.uint8))


def textures(count: int) -> np.ndarray:
    return np.stack([np.asarray(texture(number)) for number in range(count)])


def looked_through(source, **options) -> Check:
    return check_source(str(source), DataConfig(), FitOptions(**options))[0]


def found(result: Check) -> dict[str, list[tuple[str, ...]]]:
    """The names of all that was found, by kind, where there is any."""
    return {f.kind.name: [tuple(sorted(row.names)) for row in f.rows] for f in result.faults}


@pytest.fixture
def photos(tmp_path):
    """Sixty pictures, and one of each thing that can be wrong."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(60):
        texture(number).save(folder / f"{number}.png")
    texture(1).save(folder / "copy.bmp")
    texture(2).save(folder / "again.jpg", quality=85)
    texture(100).filter(ImageFilter.GaussianBlur(6)).save(folder / "blurred.png")
    texture(101).point(lambda value: value // 8).save(folder / "dark.png")
    texture(102).point(lambda value: 233 + value // 12).save(folder / "pale.png")
    Image.new("RGB", (48, 48), (90, 20, 200)).save(folder / "constant.png")
    texture(103, 400, 400).resize((400, 400)).save(folder / "large.png")
    texture(104, 20, 96).save(folder / "wide.png")
    texture(105).convert("L").save(folder / "gray.png")
    whole = (folder / "3.png").read_bytes()
    (folder / "broken.png").write_bytes(whole[: len(whole) // 2])
    (folder / "notes.txt").write_text("none")
    return folder


def test_what_was_planted_is_found_and_nothing_else(photos):
    result = looked_through(photos)
    assert found(result) == {
        "left_out": [("broken.png",)],
        "copies": [("1.png", "copy.bmp")],
        "near": [("2.png", "again.jpg")],
        "constant": [("constant.png",)],
        "dark": [("dark.png",)],
        "light": [("pale.png",)],
        "blurred": [("blurred.png",)],
        "odd_size": [("large.png",)],
        "odd_shape": [("wide.png",)],
        "odd_colour": [("gray.png",)],
    }
    assert result["darkest"].rows[0].names == ("dark.png",)
    assert result["brightest"].rows[0].names == ("pale.png",)


def test_the_numbers_are_those_of_the_pictures(photos):
    result = looked_through(photos)
    assert (result.images, result.pictures, result.shape, result.range) == (69, 69, (3, 48, 48), (0, 255))
    assert dict(result.sizes) == {(48, 48): 67, (400, 400): 1, (96, 20): 1}
    assert dict(result.kinds) == {"PNG": 67, "BMP": 1, "JPEG": 1}
    assert dict(result.bits) == {8: 69}
    assert (result.alpha, result.animated, result.clipped, result.passed_over) == (0, 0, 0, 1)
    assert sum(dict(result.parts).values()) == 69
    assert result.divided_by == "safelight"
    values = {row.names[0]: row.remark for row in result["darkest"].rows}
    gray = np.asarray(Image.open(photos / "dark.png"), np.float64) @ [0.299, 0.587, 0.114] / 255
    assert values["dark.png"] == f"brightness {gray.mean():.3f}"


def test_images_that_only_differ_are_no_findings():
    assert not check(ImageSet(textures(40).transpose(0, 3, 1, 2))).faults


def test_one_image_under_two_labels_and_small_classes(tmp_path):
    for number in range(30):
        folder = tmp_path / "set" / ["cats", "dogs"][number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        texture(number).save(folder / f"{number}.png")
    (tmp_path / "set" / "birds").mkdir()
    texture(4).save(tmp_path / "set" / "birds" / "b.png")
    result = looked_through(tmp_path / "set")
    assert found(result)["contrary"] == [("birds/b.png", "cats/4.png")]
    assert found(result)["few"] == [("birds",)]
    assert dict(result.classes) == {"birds": 1, "cats": 15, "dogs": 15}
    (row,) = result["contrary"].rows
    assert set(row.remark.split(" and ")) == {"birds", "cats"}


def test_what_an_owner_put_into_two_parts_is_told(tmp_path):
    pixels = textures(30)
    near = np.clip(pixels[7].astype(int) + np.random.default_rng(0).integers(-3, 4, pixels[7].shape), 0, 255)
    np.savez(
        tmp_path / "set.npz",
        train_images=pixels[:20],
        train_labels=np.arange(20)[:, None] % 2,
        val_images=pixels[20:25],
        val_labels=np.zeros((5, 1), int),
        test_images=np.concatenate([pixels[25:], pixels[3:4], near[None].astype(np.uint8)]),
        test_labels=np.zeros((7, 1), int),
    )
    result = looked_through(tmp_path / "set.npz")
    assert dict(result.parts) == {"train": 20, "validation": 5, "test": 7}
    assert result.divided_by == "owner"
    assert found(result)["leaks"] == [("image 3", "image 30"), ("image 31", "image 7")]
    assert [row.remark for row in result["leaks"].rows] == [
        "train and test, identical",
        "train and test, nearly so",
    ]


def test_test_images_that_lie_in_files_of_their_own_are_compared(tmp_path):
    def idx(array):
        header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
        return header + array.tobytes()

    pixels = textures(24)[..., 0]
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(pixels[:20]))
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(np.concatenate([pixels[20:], pixels[:1]])))
    result = looked_through(tmp_path)
    assert dict(result.parts) == {"train": 17, "validation": 3, "test": 5}
    assert found(result)["leaks"] == [("image 0", "image 24")]


def test_pictures_divided_by_safelight_leak_nothing(photos):
    for number in range(10):
        texture(number).save(photos / f"again {number}.bmp")
    result = looked_through(photos)
    assert result["copies"].count == 11
    assert not result["leaks"].count


def test_arrays_are_told_as_files_are(tmp_path, photos):
    pixels = textures(60)
    pixels[50:] = [np.asarray(Image.open(photos / f"{name}.png")) for name in ("blurred", "dark")] * 5
    np.save(tmp_path / "set.npy", pixels[:52])
    result = looked_through(tmp_path / "set.npy")
    assert found(result) == {"dark": [("image 51",)], "blurred": [("image 50",)]}
    assert dict(result.kinds) == {"array": 52}


def test_near_pairs_of_many_hashes_take_linear_memory():
    rng = np.random.default_rng(0)
    looks = rng.integers(0, 1 << 64, 20_000, dtype=np.uint64)
    ones, others = rng.permutation(20_000)[:200].reshape(2, 100)
    for a, b in zip(ones, others, strict=True):
        bits = rng.choice(64, rng.integers(0, 4), replace=False).astype(np.uint64)
        looks[b] = looks[a] ^ np.bitwise_or.reduce(np.uint64(1) << bits, initial=np.uint64(0))
    tracemalloc.start()
    pairs = near_pairs(looks)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    expected = {tuple(sorted(pair)) for pair in zip(ones.tolist(), others.tolist(), strict=True)}
    assert {tuple(pair) for pair in pairs.tolist()} == expected
    assert peak < 400 * len(looks)  # bytes each; a matrix of them all would take 20,000


def test_many_that_look_the_same_are_grouped_in_linear_memory():
    looks = np.arange(20, dtype=np.uint64).repeat(1000) * np.uint64(0x0123456789ABCDEF)
    contents = np.arange(len(looks), dtype=np.uint64)
    tracemalloc.start()
    groups = groups_of(contents, looks)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(np.unique(groups, return_inverse=True)[1], np.arange(20).repeat(1000))
    assert peak < 400 * len(looks)  # bytes each; every pair of them would take 8,000


def test_many_of_one_look_are_few_pairs():
    noise = np.random.default_rng(0).integers(-4, 5, (120, 48, 48))
    alike = np.clip(textures(1)[0, :, :, 0].astype(int) + noise, 0, 255).astype(np.uint8)
    pairs = check(ImageSet(alike[:, None]))["near"].rows
    assert {name for row in pairs for name in row.names} == {f"image {n}" for n in range(120)}
    assert len(pairs) <= 4 * 120


def test_tiles_of_one_picture_are_no_copies_of_each_other(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    for number in range(3):
        x = np.asarray(texture(number, 96, 96)).copy()
        x[:40] = 77
        Image.fromarray(x).save(folder / f"{number}.png")
    result = looked_through(folder, size="32", fit="tile")
    assert (result.images, result.pictures, dict(result.sizes)) == (27, 3, {(96, 96): 3})
    assert result["constant"].count == 9
    assert {row.names[0].split("#")[0] for row in result["copies"].rows} == {"0.png"}
    (folder / "again.png").write_bytes((folder / "1.png").read_bytes())
    groups = safelight.load(folder, size=32, fit="tile").groups
    assert len(set(groups)) == 3, (
        "what is alike in tiles of several pictures does not join these, a copy does"
    )


def test_page_json_and_summary_agree(photos, command, tmp_path):
    (photos / "<b>bold & co.png").write_bytes((photos / "5.png").read_bytes())
    texture(200).point(lambda value: value // 9).save(photos / "\x1b[31m\nred.png")
    printed = json.loads(command("data", "check", photos, "--json").stdout)
    assert not (tmp_path / "check.html").exists()
    shown = command("data", "check", photos)
    assert shown.returncode == 0
    assert "Page: check.html" in shown.stdout
    assert "\x1b" not in shown.stdout + shown.stderr
    page = (tmp_path / "check.html").read_text()
    copies = [row["names"] for row in printed["findings"]["copies"]["rows"]]
    assert ["5.png", "<b>bold & co.png"] in copies or ["<b>bold & co.png", "5.png"] in copies
    assert printed["findings"]["dark"]["rows"][0]["names"] == ["\x1b[31m\nred.png"]
    assert printed["sizes"][0] == {"width": 48, "height": 48, "count": 69}
    assert list(printed["findings"]) == [kind.name for kind in KINDS]
    for name in NAMES:
        finding = printed["findings"][name]
        assert (f'<section id="{name}">' in page) == (finding["count"] > 0)
        if finding["count"]:
            assert f"<h2>{finding['title']}: {finding['count']}</h2>" in page
            assert re.search(rf"{finding['title']}\s*│\s*{finding['count']}\s", shown.stdout)
        for row in finding["rows"]:
            for called in row["names"]:
                assert html.escape(called.replace("\x1b[31m\n", "\\x1b[31m\\n")) in page
    assert "<b>" not in page
    assert "\x1b" not in page
    assert "bold &amp; co" in page


def test_the_page_is_one_file_that_asks_for_nothing(photos, command, tmp_path):
    command("data", "check", photos, "--out", "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "<script" not in page
    assert "default-src 'none'" in page
    assert all(place.startswith(("data:", "#")) for place in re.findall(r'(?:src|href)="([^"]*)"', page))
    assert page.count("<img") > 30
    assert len(list(tmp_path.glob("page*"))) == 1


def test_what_was_checked_is_not_read_again(photos, command):
    command("data", "check", photos, "--size", "32")
    (before,) = stores()
    images = safelight.load(str(photos), size=32)
    assert images.store is not None
    assert images.store.folder == before[0].folder
    assert len(stores()) == 1


def test_channels_beyond_three_are_shown_beside_each_other(command, tmp_path):
    np.save(tmp_path / "five.npy", np.random.default_rng(0).random((12, 5, 16, 16)))
    assert command("data", "check", "five.npy").returncode == 0
    assert 'alt="image 0"' in (tmp_path / "check.html").read_text()


def test_strict_refuses_a_set_of_which_pictures_are_left_out(photos, command):
    refused = command("data", "check", photos, "--strict", "--json")
    assert refused.returncode == 2
    assert json.loads(refused.stdout)["images"] == 69
    assert re.search(r"\nsafelight: expected every picture.*1 left out \(broken.png: .*\)\n$", refused.stderr)
    trained = command("train", photos, "--strict", "--out", "run", "--epochs", "1")
    assert trained.returncode == 2
    assert "1 left out (broken.png" in trained.stderr
    (photos / "broken.png").unlink()
    assert command("data", "check", photos, "--strict", "--json").returncode == 0
    assert command("train", photos, "--strict", "--dry-run").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere/",), "does not exist"),
        (("digits", "--size", "none"), "expected sides from 8"),
        (("digits", "--out", "check.txt"), "expected a name ending in .html"),
        (("digits", "--out", "gone/check.html"), "expected a folder"),
        (("digits", "--group-by", "("), "regular expression"),
        (("digits", "--bits", "4"), "unknown option --bits"),
        ((), "source"),
    ],
)
def test_bad_input_is_one_line(arguments, words, command):
    refused = command("data", "check", *arguments)
    assert refused.returncode == 2
    assert words in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_page_is_only_replaced_when_asked(command, tmp_path):
    (tmp_path / "check.html").write_text("mine")
    assert "--overwrite" in command("data", "check", "digits").stderr
    assert (tmp_path / "check.html").read_text() == "mine"
    assert command("data", "check", "digits", "--overwrite").returncode == 0


def test_list_shows_what_is_kept_and_clear_frees_it(photos, command, tmp_path):
    named = command("data", "list").stdout
    assert "mnist" in named
    assert "pictures from" not in named
    safelight.load(str(photos), size=32)
    safelight.load(str(photos), size=16)
    size = sum(kept.size for kept, _ in stores())
    assert size > 69 * 3 * (32**2 + 16**2)
    listed = " ".join(command("data", "list").stdout.split())
    assert "32×32×3" in listed
    assert "16×16×3" in listed
    assert f"In all {size / 1e6:.1f} MB" in listed
    assert command("data", "clear").stdout.startswith(f"Freed {size / 1e6:.1f} MB of 2 sets")
    assert not list((tmp_path / "cache" / "pictures").iterdir())
    assert command("data", "clear").stdout.startswith("Freed 0.0 MB of 0 sets")


def test_listing_is_no_use(photos):
    safelight.load(str(photos))
    before = stores()[0][0].used
    assert stores()[0][0].used == before > 0


def test_clear_leaves_alone_what_is_being_made(photos):
    from safelight.data.cache import clear_kept, lock_of

    folder = safelight.load(str(photos)).store.folder
    with lock_of(folder):
        assert clear_kept() == (0, 0)
    assert folder.is_dir()
    assert clear_kept()[0] == 1
    assert not folder.exists()


def test_a_page_cut_into_tiles_is_one_picture(tmp_path):
    """A stack of two pages and a plain picture are three; a value outside counts once, not for each tile."""
    folder = tmp_path / "set"
    folder.mkdir()
    pages = np.stack([np.asarray(texture(n, 64, 64).convert("L")) for n in (1, 2, 3)])
    pages = pages.astype(np.uint16) * 4
    pages[0, :1, :5], pages[1, 40:, 40:43] = 2000, 2001
    tifffile.imwrite(folder / "stack.tif", pages[:2], photometric="minisblack")
    tifffile.imwrite(folder / "z.tif", pages[2])
    result = looked_through(folder, size="32", fit="tile", range="0..1023")
    assert (result.images, sum(count for _, count in result.sizes)) == (12, 3)
    assert result.clipped == 5 + 72
    assert [row.names for row in result["clipped"].rows] == [("stack.tif#4",), ("stack.tif#0",)]
    assert "3 pictures in 2 files, all 64×64, cut into 12 tiles" in result.notes[0]
    assert "77 values outside" in " ".join(result.notes)
