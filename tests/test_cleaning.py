"""`safelight denoise`: files, folders and arrays."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import safelight
from safelight.cleaning.cleaner import Cleaner
from safelight.cleaning.files import clean_files
from safelight.cleaning.planning import plan
from safelight.command.main import main
from safelight.config.data import Fit
from safelight.data.corruption import Corruption
from safelight.data.images import ImageSet
from safelight.data.opening import open_pages, open_picture
from safelight.data.png16 import encode_png16
from safelight.errors import DataError, RunError
from safelight.networks.base import ImageNetwork


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    pictures = ImageSet((15 * safelight.load("digits").pixels).astype(np.uint8))  # of 8 bits, as files are
    common = {"epochs": 20, "threads": 1, "limit": 200}
    settings = {"task": "denoise", "corrupt": "gaussian:0..0.6", "channels": (8, 16), "heads": 2}
    safelight.train(pictures, "denoising-unet", folder / "clean", **settings, **common)
    safelight.train(
        pictures, "deep-conv-ae", folder / "fixed", task="denoise", corrupt="masking:0.2", **common
    )
    safelight.train(pictures, "deep-conv-ae", folder / "naive", **common)
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch, capsys):
    """Runs the command in this process, in a folder of its own: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        return (code, *capsys.readouterr())

    return run


def picture(size: tuple[int, int] = (40, 60), channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).random((channels, *size), np.float32)


def save(path, shares: np.ndarray, bits: int = 8, alpha: np.ndarray | None = None):
    """A file of a picture (C, H, W) in [0, 1]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.rint(shares * (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16).transpose(1, 2, 0)
    samples = levels if alpha is None else np.concatenate([levels, alpha[..., None]], axis=2)
    if bits == 16 and samples.shape[2] > 1:
        path.write_bytes(encode_png16(samples))
    else:
        image = Image.fromarray(samples.squeeze(2) if samples.shape[2] == 1 else samples)
        image.save(path, **({"quality": 95} if path.suffix.lower() == ".jpg" else {}))
    return path


def shares_in(path) -> np.ndarray:
    found = open_picture(path, path.name)
    return found.pixels.astype(np.float32) / np.iinfo(found.pixels.dtype).max


def test_pictures_come_out_as_the_kind_they_were(runs, tmp_path, command):
    alpha = np.arange(40 * 60, dtype=np.uint16).reshape(40, 60)
    kinds = {
        "gray.png": (picture(), 8),
        "deep.tif": (picture(), 16),
        "photo.JPG": (picture((50, 31)), 8),
        "lossless.bmp": (picture((50, 31)), 8),
        "clear.png": (picture(), 8, alpha.astype(np.uint8)),
        "both.png": (picture(), 16, alpha),
    }
    for name, like in kinds.items():
        save(tmp_path / "noisy" / name, *like)
    (tmp_path / "noisy" / "notes.txt").write_text("not a picture")
    done = command("denoise", runs / "clean", "noisy", "--out", "cleaned", "--compare")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "Cleaned 6 of 6 files into cleaned\n"
    comparisons = {f"{name.rpartition('.')[0]}-compare.png" for name in kinds}
    assert {path.name for path in (tmp_path / "cleaned").iterdir()} == {*kinds, *comparisons}
    run = safelight.Run(runs / "clean")
    for name, (_, bits, *own_alpha) in kinds.items():
        before, after = (tmp_path / folder / name for folder in ("noisy", "cleaned"))
        opened = open_picture(after, name)
        assert opened.header == open_picture(before, name).header
        for expected in own_alpha:
            np.testing.assert_array_equal(opened.alpha, expected)
        expected = run.denoise(shares_in(before)[None])[0]
        tolerance = 12 if name.endswith("JPG") else 0.51
        assert np.abs(shares_in(after) - expected).max() * (2**bits - 1) <= tolerance
    with Image.open(tmp_path / "cleaned" / "gray-compare.png") as sheet:
        assert sheet.size[0] > 3 * 60


def test_a_single_file_goes_into_a_file(runs, tmp_path, here):
    save(tmp_path / "img.png", picture())
    code, _, errors = here("denoise", runs / "clean", "img.png", "--out", "img_clean.png")
    assert (code, errors) == (0, "")
    with Image.open(tmp_path / "img_clean.png") as image:
        assert (image.size, image.mode) == ((60, 40), "L")


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        *((np.uint8, (700, 8, 8)), (np.uint16, (3, 9, 12, 1)), (np.float64, (3, 1, 8, 8))),
        *((np.bool_, (2, 8, 8)), (np.uint8, (9, 12)), (np.uint8, (9, 12, 3))),
    ],
)
def test_arrays_keep_shape_and_type(runs, tmp_path, digits, kind, shape):
    run = safelight.Run(runs / "clean")
    rng = np.random.default_rng(0)
    most = np.iinfo(kind).max if np.issubdtype(kind, np.integer) else 1
    array = (rng.random(shape) * most).round(0 if kind != np.float64 else 9).astype(kind)
    np.save(tmp_path / "noisy.npy", array)
    files = plan([tmp_path / "noisy.npy"], tmp_path / "clean.npy", compare=True, overwrite=False)
    (done,) = clean_files(run.cleaner(), files, compare=True)
    assert done.error is None
    cleaned = np.load(tmp_path / "clean.npy")
    assert (cleaned.shape, cleaned.dtype) == (array.shape, array.dtype)
    expected = run.denoise(array)
    expected = expected.transpose(1, 2, 0) if shape[-1] == 3 else expected.reshape(shape)
    assert np.abs(cleaned / most - expected).max() <= (0.51 if kind == np.bool_ else 0.51 / most + 1e-6)
    assert (tmp_path / "clean-compare.png").exists()


def test_small_pictures_go_through_together_and_come_out_apart(runs, tmp_path, digits):
    run = safelight.Run(runs / "clean")
    noisy = Corruption("gaussian:0.3")(digits.floats(slice(30)), torch.Generator().manual_seed(0)).numpy()
    for i, image in enumerate(noisy):
        shape = image if i % 7 else image[:, :, ::-1].repeat(2, 1)
        save(tmp_path / "in" / f"{i:02d}.png", shape)
    sources = sorted((tmp_path / "in").iterdir())
    done = list(clean_files(run.cleaner(), plan([tmp_path / "in"], tmp_path / "out", False, False), False))
    assert [d.source for d in done] == sources
    for source in sources:
        expected = run.denoise(shares_in(source)[None])[0]
        found = shares_in(tmp_path / "out" / source.name)
        assert np.abs(found - expected).max() <= 0.51 / 255 + 1e-5


def test_damaged_files_are_named_and_the_others_cleaned(runs, tmp_path, here):
    whole = save(tmp_path / "noisy" / "good.png", picture()).read_bytes()
    (tmp_path / "noisy" / "cut.png").write_bytes(whole[:700])
    (tmp_path / "noisy" / "[red]text.png").write_text("hello")
    save(tmp_path / "noisy" / "colour.png", picture(channels=3))
    save(tmp_path / "noisy" / "tiny.png", picture((7, 40)))
    np.save(tmp_path / "noisy" / "nan.npy", np.full((2, 8, 8), np.nan))
    code, said, errors = here("denoise", runs / "clean", "noisy", "--out", "cleaned")
    assert (code, said) == (1, "Cleaned 2 of 6 files into cleaned\n")
    assert sorted(path.name for path in (tmp_path / "cleaned").iterdir()) == ["colour.png", "good.png"]
    assert len(errors.splitlines()) == 4
    for words in ("cut.png", "[red]text.png", "got 40×7", "NaN"):
        assert words in errors


def test_a_network_of_one_size_takes_any_and_says_what_that_costs(runs, tmp_path, here):
    for name in "ab":
        save(tmp_path / "in" / f"{name}.png", picture())
    code, _, errors = here("denoise", runs / "fixed", "in", "--out", "out")
    assert code == 0
    assert errors.count("this network draws 8×8 pixels: larger pictures were scaled") == 1
    with Image.open(tmp_path / "out" / "a.png") as image:
        assert image.size == (60, 40)


class Echo(ImageNetwork):
    """Draws what it sees, of one size alone."""

    def __init__(self, size):
        super().__init__()
        self.size = size
        self.seen = []
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x):
        assert x.shape[2:] == self.size
        self.seen.append(x)
        return torch.logit(self.weight * x.clamp(1e-6, 1 - 1e-6))


@pytest.mark.parametrize("size", [(40, 60), (16, 16), (9, 50), (5, 4)])
def test_what_a_network_of_one_size_sees(size):
    """Tiles that cover the picture; or all of it, in the midst of its border's colour."""
    image = picture(size)[None]
    tiles = Cleaner(Echo((16, 12)), Fit(16, 12, 1, how="tile"), "float32")
    np.testing.assert_allclose(tiles(image), image, atol=1e-5)
    assert not tiles.has_scaled
    network = Echo((16, 12))
    ramp = np.broadcast_to(np.linspace(0.25, 0.75, size[1], dtype=np.float32), (1, 1, *size)).copy()
    whole = Cleaner(network, Fit(16, 12, 1), "float32")(ramp)
    middle = (..., *(slice(side // 4, side - side // 4) for side in size))
    np.testing.assert_allclose(whole[middle], ramp[middle], atol=0.04)
    Cleaner(network, Fit(16, 12, 1), "float32")(np.full_like(ramp, 0.3))
    np.testing.assert_allclose(network.seen[-1], 0.3, atol=1e-5)  # its border goes on around it


def test_folders_in_folders_keep_their_places(runs, tmp_path, here):
    for name in ("a.png", "day 1/a.png", "day 1/plate/b.png", "day 10/a.png", "day 2/.hidden/c.png"):
        save(tmp_path / "in" / name, picture((16, 16)))
    code, said, errors = here("denoise", runs / "clean", "in", "--out", "out", "--compare")
    assert (code, errors) == (0, "")
    assert "Cleaned 4 of 4 files" in said
    made = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png")}
    assert made >= {"a.png", "day 1/a.png", "day 1/plate/b.png", "day 10/a.png", "day 1/a-compare.png"}
    for inside in ("in", "in/day 1", "in/new"):
        code, _, errors = here("denoise", runs / "clean", "in", "--out", inside)
        assert code == 2
        assert "expected another folder than the input's" in errors


def test_one_reason_is_said_once(runs, tmp_path, here):
    for name in "abc":
        save(tmp_path / "in" / f"{name}.png", picture((7, 40)))
    save(tmp_path / "in" / "good.png", picture())
    code, said, errors = here("denoise", runs / "clean", "in", "--out", "out")
    assert code == 1
    assert "Cleaned 1 of 4 files" in said
    assert errors.count("expected sides from 8 pixels up") == 1
    assert "a.png and 2 more" in errors


def test_a_run_that_never_saw_noise_says_so_once(runs, tmp_path, here):
    for name in "ab":
        save(tmp_path / "in" / f"{name}.png", picture((8, 8)))
    code, _, errors = here("denoise", runs / "naive", "in", "--out", "out")
    assert code == 0
    assert errors.count("never trained on noise") == 1


def test_outputs_never_fall_on_anything(tmp_path):
    noisy = save(tmp_path / "noisy" / "img.png", picture())
    other = save(tmp_path / "other" / "img.png", picture())
    folder = noisy.parent

    def refused(words, sources, out, compare=False):
        with pytest.raises((RunError, DataError), match=words):
            plan(sources, out, compare, False)

    refused("another folder than the input's", [folder], folder)
    refused("another folder than the input's", [folder], tmp_path / "other" / ".." / "noisy")
    refused("another file than the input", [noisy], noisy)
    (tmp_path / "link").symlink_to(folder)
    refused("another folder than the input's", [folder], tmp_path / "link")
    refused("got img.png 2 times", [noisy, other], tmp_path / "out")
    refused("expected a folder, got the file", [noisy, tmp_path / "noisy"], other)
    refused("of the same kind as img.png, got x.tif", [noisy], tmp_path / "x.tif")
    refused("expected no outputs yet, got .*img.png", [noisy], tmp_path / "other")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "img-compare.png").symlink_to(tmp_path / "nowhere")
    refused("expected no outputs yet, got .*img-compare.png", [noisy], tmp_path / "out", compare=True)
    refused("which is not there", [tmp_path / "missing.png"], tmp_path / "out")
    refused("expected pictures", [tmp_path / "out"], tmp_path / "new")
    (tmp_path / "x.psd").write_bytes(b"")
    refused("convert it", [tmp_path / "x.psd"], tmp_path / "new")
    assert plan([noisy], tmp_path / "other", False, overwrite=True) == [(noisy, other)]
    comparison = save(tmp_path / "x-compare.png", picture())
    with pytest.raises(RunError, match=r"beside what is cleaned, got .*x-compare\.png; choose another"):
        plan([comparison], tmp_path / "x.png", compare=True, overwrite=True)


def test_stacks_are_cleaned_page_by_page(runs, tmp_path):
    import tifffile

    stack = (picture((40, 60), 3) * 255).astype(np.uint8)
    tifffile.imwrite(tmp_path / "stack.tif", stack, imagej=True, metadata={"axes": "ZYX"})
    files = plan([tmp_path / "stack.tif"], tmp_path / "out.tif", compare=True, overwrite=False)
    run = safelight.Run(runs / "clean")
    assert [done.error for done in clean_files(run.cleaner(), files, True)] == [None]
    cleaned = [page.pixels for page in open_pages(tmp_path / "out.tif", "out.tif")]
    assert np.abs(np.stack(cleaned) / 255 - run.denoise(stack[:, None])).max() <= 0.51 / 255 + 1e-5
    assert (tmp_path / "out-compare.png").exists()


def test_long_names_are_written_and_their_comparisons_shortened(runs, tmp_path, here):
    for name in ("a", "ü" * 120, "ü" * 121):  # 244 bytes with its ending, and another that begins alike
        save(tmp_path / "in" / f"{name}.png", picture((8, 8)))
    code, said, errors = here("denoise", runs / "clean", "in", "--out", "out", "--compare")
    assert (code, said, errors) == (0, "Cleaned 3 of 3 files into out\n", "")
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {
        "a.png",
        "a-compare.png",
        "ü" * 120 + ".png",
        "ü" * 121 + ".png",
    }
    assert len(list((tmp_path / "out").iterdir())) == 6


def test_overwriting_goes_through_no_link(runs, tmp_path):
    noisy = save(tmp_path / "noisy" / "img.png", picture())
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "img.png").symlink_to(precious)
    files = plan([noisy.parent], tmp_path / "out", False, overwrite=True)
    assert [done.error for done in clean_files(safelight.Run(runs / "clean").cleaner(), files, False)] == [
        None
    ]
    assert precious.read_text() == "mine"
    assert not (tmp_path / "out" / "img.png").is_symlink()


def test_a_network_without_codes_says_so(runs, digits):
    run = safelight.Run(runs / "clean")
    with pytest.raises(RunError, match="a DenoisingUNet has no codes"):
        run.encode(digits)
    with pytest.raises(RunError, match="a DenoisingUNet has no codes"):
        run.sample(3)


def test_turns_are_averaged(runs, tmp_path):
    """What comes out no longer depends on how a picture lies."""
    run = safelight.Run(runs / "clean")
    image = picture((24, 40))[None]
    plain, averaged = run.cleaner(), run.cleaner(turns=True)
    ways = [lambda x: x[..., ::-1], lambda x: x.swapaxes(2, 3), lambda x: np.rot90(x, 2, (2, 3))]
    for way in ways:
        assert np.abs(way(plain(image)) - plain(way(image).copy())).max() > 1e-3
        np.testing.assert_allclose(way(averaged(image)), averaged(way(image).copy()), atol=1e-5)


def test_large_pictures_are_cleaned_over_their_own_pixels(runs, tmp_path, monkeypatch):
    """In tiles, with rows kept that those below still see: the same as all at once."""
    monkeypatch.setattr("safelight.cleaning.files.MAX_PIXELS", 10_000)
    monkeypatch.setattr("safelight.cleaning.in_place.LARGE_TILE", 128**2)
    run = safelight.Run(runs / "clean")
    for name, shares, bits in (("a.png", picture((140, 211), 3), 8), ("a.tif", picture((211, 140)), 16)):
        source = save(tmp_path / name, shares, bits)
        files = plan([source], tmp_path / "out", compare=True, overwrite=True)
        (done,) = clean_files(run.cleaner(), files, compare=True)
        assert done.error is None
        expected = run.denoise(shares_in(source)[None])[0]
        assert np.abs(shares_in(tmp_path / "out" / name) - expected).max() <= 0.51 / (2**bits - 1) + 1e-5
        assert (tmp_path / "out" / "a-compare.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["photo.jpg", "photo.tif", "photo.png"])
def test_a_camera_photograph_needs_little_more_than_its_pixels(runs, tmp_path, name):
    """24 megapixels in colour, 72 MB: fifteen bytes a pixel beside what the program and one tile take."""
    part = (picture((400, 600), 3) * 255).astype(np.uint8).transpose(1, 2, 0)
    Image.fromarray(np.tile(part, (10, 10, 1))).save(tmp_path / name)
    code = (
        "import resource; from safelight.command.main import main; import safelight.run; "
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; before = peak(); "
        f"main(['denoise', {str(runs / 'clean')!r}, {name!r}, '--out', 'out']); "
        "print(peak() - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert int(done.stdout.split()[-1]) * 1024 < 24e6 * 15 + 300e6
    found = open_picture(tmp_path / "out" / name, name)
    assert found.pixels.shape == (3, 4000, 6000)


@pytest.mark.slow
def test_arrays_are_never_all_in_memory(runs, tmp_path):
    """Mapped as they come in, and written as they go: 256 MB of them cost a fraction of that."""
    array = np.lib.format.open_memmap(tmp_path / "in.npy", "w+", np.float32, (256, 512, 512))
    array[:] = picture((512, 512))
    del array
    code = (
        "from safelight.command.main import main; import safelight.run; "
        "lines = lambda: open('/proc/self/status').read().splitlines()\n"
        "own = lambda: next(int(line.split()[1]) for line in lines() if line[:7] == 'RssAnon')\n"
        "from safelight.cleaning.cleaner import Cleaner\n"
        "most, plain = [own()], Cleaner.__call__\n"
        "def counted(self, images): result = plain(self, images); most.append(own()); return result\n"
        "Cleaner.__call__ = counted\n"
        f"main(['denoise', {str(runs / 'clean')!r}, 'in.npy', '--out', 'out.npy'])\n"
        "print(max(most) - most[0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert int(done.stdout.split()[-1]) < 200_000  # KiB that no file holds
    found = np.load(tmp_path / "out.npy", mmap_mode="r")
    assert (found.shape, found.dtype) == ((256, 512, 512), np.float32)


def test_nothing_is_written_through_a_link_to_a_folder(tmp_path):
    save(tmp_path / "noisy" / "a" / "img.png", picture())
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="is a link, which is not followed"):
        plan([tmp_path / "noisy"], tmp_path / "out", False, overwrite=True)
