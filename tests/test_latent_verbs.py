"""The latent wing's verbs and the methods of `Run` under them."""

import csv
import re
import shlex
import shutil
import struct
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import safelight
from safelight.command.main import main
from safelight.config.search import SearchConfig
from safelight.evolution.folder import SearchFolder
from safelight.evolution.genome import Gene
from safelight.evolution.record import SearchRecord
from safelight.latent.figures import latent_panels
from safelight.latent.maps import read_map
from safelight.latent.parquet import read_codes
from safelight.runs.folder import RunFolder

NETWORK = {"channels": (8, 16), "hidden": 32, "latent": 4}
SMALL = NETWORK | {"likelihood": "bernoulli", "lr": 0.01, "batch_size": 64, "threads": 1}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return safelight.train("digits", out=tmp_path_factory.mktemp("runs") / "vae", epochs=20, **SMALL)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "ae"
    return safelight.train("digits", "deep-conv-ae", path, epochs=2, **SMALL)


@pytest.fixture
def says(tmp_path, monkeypatch, capsys):
    """Runs a command in a folder of its own; what it printed, if it ended as expected."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments, code=0):
        assert main([str(argument) for argument in arguments]) == code
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        if code:
            assert printed.err.count("\n") == 1, "one line"
        return printed.out if code == 0 else printed.err

    return call


def test_embed(run, says, tmp_path):
    assert "codes.parquet" in says("embed", run.path, "digits", "--split", "test")
    test = safelight.load("digits", split="test")
    codes = read_codes(tmp_path / "codes.parquet")
    np.testing.assert_allclose(codes.mu, run.encode(test), atol=1e-5)
    np.testing.assert_array_equal(codes.labels, test.labels)
    assert "is there already; replace it with --overwrite" in says("embed", run.path, code=2)
    says("embed", run.path, "--overwrite")
    assert len(read_codes(tmp_path / "codes.parquet")) == len(run.images("train"))


@pytest.mark.parametrize("verb", ["embed", "project"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_an_image_without_a_name_is_called_by_its_place_in_the_whole_set(
    verb, split, run, says, tmp_path, digits
):
    """A label given by that name, as `finetune --labels` reads it, is of the same image."""
    says(verb, run.path, "--split", split, "--out", "made.parquet")
    table = pq.read_table(tmp_path / "made.parquet")
    places = list(map(int, table["name"].to_pylist()))
    assert table["label"].to_pylist() == digits.labels[places].tolist()


def test_test_images_kept_apart_have_names_of_their_own(tmp_path):
    """A label of one would else be taken for that of the training image in its place."""
    for prefix, value in (("train", 1), ("t10k", 2)):
        header = struct.pack(">4B3I", 0, 0, 8, 3, 12, 8, 8)
        (tmp_path / f"{prefix}-images-idx3-ubyte").write_bytes(header + bytes([value]) * 12 * 64)
    assert safelight.load(tmp_path, "test").names[:2] == ("test-0", "test-1")
    assert safelight.load(tmp_path, "validation").names == ("10", "11")
    assert safelight.load(tmp_path, "train", limit=3).names == ("2", "4", "6")


def test_project(run, says, tmp_path):
    said = says("project", run.path, "--n", 200)
    assert "PCA of 200 codes" in said
    assert "Trustworthiness" in said
    with Image.open(tmp_path / "map.png") as picture:
        assert min(picture.size) > 800
    said = says(
        "project",
        run.path,
        "digits",
        "--split",
        "test",
        "--method",
        "tsne",
        "--perplexity",
        80,
        "--out",
        "m.parquet",
    )
    assert "Note: 180 images allow a perplexity of 59.7, not 80" in said
    found = read_map(tmp_path / "m.parquet")
    assert len(found) == 180
    assert found.config.perplexity == pytest.approx(179 / 3)
    assert found.quality.trustworthiness > 0.9
    says("project", run.path, "--n", 50, "--dims", 3, "--sampled", "--by", "loss", "--out", "s.png")
    assert "expected a name ending in .png or .parquet" in says("project", run.path, "--out", "a.jpg", code=2)
    assert "expected 2 for t-SNE" in says(
        "project", run.path, "--method", "tsne", "--dims", 3, "--out", "b.png", code=2
    )


def test_sample_draws_from_the_prior_and_shows_what_is_nearest(run, says, tmp_path):
    said = says("sample", run.path, "-n", 9)
    assert "9 images, drawn from the prior" in said
    assert "Distance to the nearest training image" in said
    with Image.open(tmp_path / "samples.png") as picture:
        assert picture.width > 2 * 3 * 64
    np.testing.assert_array_equal(run.sample(9), run.sample(9, "prior"))
    assert not np.array_equal(run.sample(9), run.sample(9, seed=1))


def test_sample_of_a_class_into_a_folder(run, says, tmp_path):
    assert "drawn from a mixture fitted to the codes of class 0" in says(
        "sample", run.path, "-n", 30, "--label", 0, "--out", "zeros"
    )
    with (tmp_path / "zeros" / "samples.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["sample"] for row in rows] == [f"sample-{i:04d}.png" for i in range(1, 31)]
    pictures = safelight.load(tmp_path / "zeros")
    assert pictures.shape == (1, 8, 8)
    whole = safelight.load("digits")
    nearest = [int(row["nearest_training_image"]) for row in rows]
    assert (whole.labels[nearest] == 0).mean() > 0.5, "most samples of zeros look like zeros"
    at = np.sqrt(np.square(pictures.floats().numpy() - whole.floats(nearest).numpy()).mean((1, 2, 3)))
    np.testing.assert_allclose([float(row["distance"]) for row in rows], at, atol=0.005)
    assert "expected a new or empty folder" in says("sample", run.path, "--out", "zeros", code=2)


def test_a_plain_autoencoder_draws_from_a_mixture(plain, says):
    assert "drawn from a mixture fitted to the codes" in says("sample", plain.path, "-n", 4)
    np.testing.assert_array_equal(plain.sample(4), plain.sample(4, "mixture"))
    assert "expected mixture for images of a network whose codes are points" in says(
        "sample", plain.path, "--method", "prior", "--out", "b.png", code=2
    )


def test_walk(run, says, tmp_path, digits):
    assert "A flow walk of 5 steps" in says("walk", run.path, 3, 8, "--steps", 5)
    steps = run.walk(3, 8, 5)  # places in the whole set, by which labels and codes call images
    np.testing.assert_allclose(steps[[0, -1]], run.reconstruct(digits.subset([3, 8])), atol=1e-5)
    for name, at in (("a.png", 3), ("b.png", 8)):
        Image.fromarray(np.round(digits.pixels[at, 0] * (255 / 16)).astype(np.uint8)).save(tmp_path / name)
    says("walk", run.path, "a.png", "b.png", "--path", "linear", "--out", "from-files.png")
    first = run.walk(tmp_path / "a.png", 8, 3)[:1]
    np.testing.assert_allclose(first, run.reconstruct(tmp_path / "a.png"), atol=1e-5)
    assert np.abs(first - steps[:1]).mean() < 0.02
    assert "expected the place of an image in its set, 0 to 1796, got 5000" in says(
        "walk", run.path, 0, 5000, "--out", "c.png", code=2
    )
    (tmp_path / "broken.png").write_bytes(b"no picture")
    for wrong in ("nothing.png", "broken.png"):
        assert wrong in says("walk", run.path, wrong, 1, "--out", "c.png", code=2)
    assert "steps: expected a whole number from 2 to 1,000" in says(
        "walk", run.path, 0, 1, "--steps", 1, "--out", "c.png", code=2
    )


def test_traverse(run, plain, says, tmp_path):
    assert "4 dimensions" in says("traverse", run.path)
    assert (tmp_path / "traversals.png").stat().st_size > 5000
    _, images = run.traverse(steps=3)
    assert images.shape == (4, 3, 1, 8, 8)
    changes = np.ptp(images, axis=1).mean((1, 2, 3))
    assert changes[0] > changes[-1], "what tells most changes most"
    assert not plain.traverse()[0].is_kl


def test_export(run, says, tmp_path, monkeypatch):
    pytest.importorskip("onnxscript")
    (tmp_path / "networks").mkdir()
    (tmp_path / "networks" / "README.md").write_text("mine")
    assert "README.md is there already" in says("export", run.path, "--onnx", "networks", code=2)
    says("export", run.path, "--onnx", "networks", "--overwrite")
    monkeypatch.chdir(tmp_path / "networks")
    Image.new("L", (8, 8)).save("picture.png")
    made = {}
    for block in re.findall(r"```python\n(.*?)```", Path("README.md").read_text(), re.DOTALL):
        exec(block, made)
    np.testing.assert_allclose(made["mu"], run.encode(np.zeros((1, 8, 8), np.uint8)), atol=1e-4)
    np.testing.assert_allclose(made["again"] / 16, run.decode(made["mu"]), atol=1e-4)
    assert 0 <= made["new"].min() < made["new"].max() <= 16
    monkeypatch.chdir(tmp_path)
    assert "is there already" in says("export", run.path, "--onnx", "networks", code=2)


def test_an_image_of_another_size_is_fitted(run, says):
    images = np.zeros((3, 9, 9), np.uint8)
    np.save("other.npy", images)
    for verb in ("embed", "project", "traverse"):
        says(verb, run.path, "other.npy", "--out", f"{verb}.{'parquet' if verb == 'embed' else 'png'}")
    fitted = safelight.load("other.npy", size=8)
    assert fitted.shape == (1, 8, 8)
    assert np.allclose(run.encode(images), run.encode(fitted))


def test_codes_that_a_broken_network_gives(run, says, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(run.path, broken)
    from safetensors.torch import load_file, save_file

    for name in ("best.safetensors", "model.safetensors"):
        weights = load_file(broken / name)
        key = next(key for key in weights if "encoder" in key and weights[key].ndim == 1)
        weights[key] = weights[key] * float("nan")
        save_file(weights, broken / name)
    says("embed", broken, "--split", "validation")
    for verb in ("project", "traverse"):
        assert "expected finite codes" in says(verb, broken, code=2)


def test_a_report_has_the_original_reports_figures_5_and_6(run, plain):
    page = run.report().read_text()
    assert "Latent space" in page
    for name in ("latent-2d-sampled", "latent-2d", "latent-3d-sampled", "latent-3d"):
        assert (run.folder.figures / f"{name}.png").is_file()
        assert (run.folder.figures / f"{name}-dark.png").is_file()
    assert "PCA of 1,437 draws of q(z | x)" in page
    panels = latent_panels(plain.codes(plain.images("validation")))
    assert [panel.name for panel in panels] == ["latent-2d", "latent-3d"], "points have no draws"


@pytest.fixture
def moved(tmp_path, says):
    """A run on a folder of pictures, and the place that the folder was moved to since."""
    pixels = safelight.load("digits", limit=80).pixels * 15
    (tmp_path / "photos").mkdir()
    for i, image in enumerate(pixels):
        Image.fromarray(image[0]).save(tmp_path / f"photos/{i:02d}.png")
    small = ["--epochs", 1, "--batch-size", 16, "--threads", 1, "--network.channels", 4]
    says("train", "photos", "--out", "my run", *small)
    (tmp_path / "photos").rename(tmp_path / "elsewhere")
    return tmp_path / "my run"


def test_images_that_moved_are_found_again_by_every_verb(moved, says, tmp_path):
    search = SearchFolder(tmp_path / "evo")
    (search.path / "state").mkdir(parents=True)
    settings = SearchConfig(population=2, generations=1, epochs=1)
    base, versions = (
        RunFolder(moved).read_config(),
        {"safelight": safelight.__version__, "torch": torch.__version__},
    )
    record = SearchRecord(settings, {"training.lr": Gene("log-float", 1e-4, 0.1)}, base, versions)
    search.write_config(record)
    verbs = [
        ("evaluate", moved),
        ("evaluate", moved, "--split", "train"),
        ("train", "--resume", moved, "--epochs", 2),
        ("embed", moved),
        ("project", moved, "--out", "map.png"),
        ("sample", moved, "-n", 2, "--method", "mixture", "--out", "samples.png"),
        ("walk", moved, 0, 1, "--out", "walk.png"),
        ("traverse", moved, "--out", "dims.png"),
        ("evolve", "--resume", search.path, "--workers", 1),
    ]
    for verb in verbs:
        folder = search.path if verb[0] == "evolve" else moved
        assert f"safelight data moved {shlex.quote(str(folder))} PLACE" in says(*verb, code=2)
    for verb in (("sample", moved, "-n", 2, "--out", "prior.png"), ("report", moved)):
        assert f"safelight data moved '{moved}' PLACE" in says(*verb)
    assert f"safelight data moved '{moved}' elsewhere" in says(
        "train", "--resume", moved, "elsewhere", code=2
    )
    (tmp_path / "others").mkdir()
    shutil.copy(tmp_path / "elsewhere/00.png", tmp_path / "others/00.png")
    before = (moved / "config.json").read_bytes()
    assert "differ from them" in says("data", "moved", moved, "others", code=2)
    assert (moved / "config.json").read_bytes() == before
    for folder in (moved, search.path):
        assert str(tmp_path / "elsewhere") in says("data", "moved", folder, "elsewhere")
    assert search.read_config().fingerprint() == record.fingerprint()  # trials stay valid
    for verb in verbs:
        says(*verb)
    assert "no maps" not in says("report", moved)
    assert (moved / "figures" / "latent-2d.png").exists()
