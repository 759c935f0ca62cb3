"""Outliers and look-alikes, by what they mean."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

import safelight
from safelight.errors import ConfigError, DataError
from safelight.run import Run
from safelight.similarity.duplicates import find_duplicates
from safelight.similarity.neighbours import nearest
from safelight.similarity.outliers import Ordinary


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    return safelight.train(
        "digits", latent=8, epochs=5, threads=1, out=tmp_path_factory.mktemp("runs") / "run"
    )


@pytest.fixture(scope="module")
def classifier(tmp_path_factory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "classifier"
    return safelight.train("digits", "classifier", task="classify", epochs=1, threads=1, out=out)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_neighbours_are_those_that_scikit_learn_finds(metric):
    points = np.random.default_rng(0).normal(size=(500, 6)).astype(np.float32)
    places, distances = nearest(points[:40], points, 7, metric)
    theirs = NearestNeighbors(n_neighbors=7, metric=metric).fit(points).kneighbors(points[:40])
    assert (places == theirs[1]).all()
    np.testing.assert_allclose(distances, theirs[0], atol=1e-3)


def test_neighbours_refuse_what_cannot_be_answered():
    points = np.ones((3, 2), np.float32)
    with pytest.raises(ConfigError, match="expected 1 to 3"):
        nearest(points, points, 4)
    with pytest.raises(ConfigError, match="metric"):
        nearest(points, points, 1, "taxi")
    with pytest.raises(DataError, match="finite"):
        nearest(points * np.nan, points, 1)


def test_an_image_is_most_similar_to_itself(run):
    images = safelight.load("digits", split="test")
    found = run.similar(images.subset(slice(5)), images, k=3)
    assert found.places[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert found.names[2][0] == images.names[2], "its place in the whole set"
    assert (np.diff(found.distances) >= 0).all()


def test_shuffled_pixels_are_odder_than_digits(run):
    images = safelight.load("digits", split="test")
    pixels = np.asarray(images.pixels)[:, 0].copy()
    shuffled = np.random.default_rng(0).permuted(pixels[:40].reshape(40, -1), axis=1).reshape(40, 8, 8)
    both = np.concatenate([pixels, shuffled]) / np.float32(pixels.max())
    found = run.outliers(both.astype(np.float32))
    assert roc_auc_score(np.arange(len(both)) >= len(pixels), found.scores) > 0.9
    assert found.heat(found.order[:7]).shape == (7, 8, 8)
    assert run.outliers(both.astype(np.float32), share=0.1).is_outlier.mean() == pytest.approx(0.1, abs=0.01)


def test_the_heat_is_where_the_image_was_changed(run):
    pixels = np.asarray(safelight.load("digits", split="test").pixels)[:30, 0].astype(np.float32)
    pixels /= pixels.max()
    marked = pixels.copy()
    marked[:, :2, :2] = 1  # a corner that digits leave black
    every = np.arange(30)
    before, after = (run.outliers(images).heat(every) for images in (pixels, marked))
    assert after[:, :2, :2].mean() > 5 * before[:, :2, :2].mean()


def test_what_one_score_is_certain_of_is_not_outvoted():
    """Ten of a thousand are far beyond all in one score of four, and usual in the others."""
    rng = np.random.default_rng(0)
    names = ("reconstruction", "patch", "density", "neighbours")
    usually = {name: rng.gamma(2, 10.0**power, 1000) for power, name in enumerate(names)}
    columns = {name: column[:1000].copy() for name, column in usually.items()}
    columns["patch"][:10] += 20 * columns["patch"].std()
    scores = Ordinary(*[None] * 5, usually).scores(columns)
    assert set(np.argsort(-scores)[:10]) == set(range(10))
    larger, seen = ({n: 7 * c + 3 for n, c in some.items()} for some in (columns, usually))
    grown = Ordinary(*[None] * 5, seen).scores(larger)
    np.testing.assert_allclose(grown, scores)  # whatever a score's unit is
    even = Ordinary(*[None] * 5, {"a": np.arange(1001) / 1000})
    assert np.quantile(even.scores({"a": rng.random(999)}), 0.9) == pytest.approx(1, abs=0.05)


def test_shares_and_quantiles_are_shares(run):
    images = safelight.load("digits", split="test")
    for wrong in ({"share": 0.0}, {"share": 1.5}, {"quantile": 1.0}):
        with pytest.raises(ConfigError, match="between 0 and 1"):
            run.outliers(images, **wrong)


def test_a_share_is_that_many_however_equal_the_scores(run):
    same = np.zeros((40, 8, 8), np.float32)
    assert run.outliers(same, share=0.1).is_outlier.sum() == 4


def test_training_images_are_no_nearer_than_they_are_to_others(run):
    train = run.images("train")
    own = run.outliers(train.subset(slice(200))).columns["neighbours"]
    codes = run.encode(train)
    theirs = NearestNeighbors(n_neighbors=21).fit(codes).kneighbors(codes[:200])[0][:, 1:].mean(1)
    np.testing.assert_allclose(own, theirs, rtol=1e-3)


def texture(rng: np.random.Generator, height: int = 40, width: int = 40) -> Image.Image:
    noise = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    x = np.asarray(noise.filter(ImageFilter.GaussianBlur(1.5)), np.float32)
    return Image.fromarray(((x - x.mean()) / x.std() * 45 + 120).clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def copied(tmp_path_factory) -> Path:
    """Pictures named by number, and copies of some named by number and how they were made."""
    folder, rng = tmp_path_factory.mktemp("copied") / "photos", np.random.default_rng(0)
    folder.mkdir()
    for number in range(200):
        picture = texture(rng)
        picture.save(folder / f"{number:03d}.png")
        if number % 5 == 0:
            (folder / f"{number:03d}-bytes.png").write_bytes((folder / f"{number:03d}.png").read_bytes())
        elif number % 5 == 1:
            picture.save(folder / f"{number:03d}-jpeg.jpg", quality=70)
        elif number % 5 == 2:
            picture.resize((60, 60), Image.Resampling.BICUBIC).save(folder / f"{number:03d}-scaled.png")
        elif number % 5 == 3:
            picture.point(lambda value: min(255, int(value * 1.1 + 8))).save(
                folder / f"{number:03d}-bright.png"
            )
        elif number % 2:
            picture.transpose(Image.Transpose.ROTATE_90).save(folder / f"{number:03d}-turned.png")
        else:
            picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / f"{number:03d}-mirrored.png")
    return folder


@pytest.mark.parametrize("turned", [False, True])
def test_copies_are_found_and_nothing_else(copied, turned):
    found = find_duplicates(safelight.load(copied), turned)
    pairs = {tuple(sorted(Path(found.names[place]).stem for place in row)) for row in found.places}
    true = {(path.stem[:3], path.stem) for path in copied.iterdir() if "-" in path.stem}
    plain = {pair for pair in true if not pair[1].endswith(("turned", "mirrored"))}
    assert pairs <= true  # precision
    assert len(pairs & plain) >= 0.99 * len(plain)  # recall
    assert len(plain) == 160
    assert len(pairs - plain) == (40 if turned else 0)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_find_outliers_writes_the_planted_ones_first(command, run, tmp_path):
    pixels = np.asarray(safelight.load("digits", split="test").pixels)[:60, 0].astype(np.uint8) * 15
    planted = np.random.default_rng(0).permuted(pixels[:5].reshape(5, -1), axis=1).reshape(5, 8, 8)
    (tmp_path / "set").mkdir()
    for name, images in (("digit", pixels), ("odd", planted)):
        for i, image in enumerate(images):
            Image.fromarray(image).resize((16, 16)).save(tmp_path / "set" / f"{name}{i}.png")
    done = command("find", "outliers", run.path, "set", "-n", "10", "--out", "odd.html", "--share", "0.1")
    assert done.returncode == 0, done.stderr
    found = rows(tmp_path / "odd.csv")
    assert len(found) == 65
    assert sum(row["name"].startswith("odd") for row in found[:10]) >= 4
    assert sum(row["is_outlier"] == "True" for row in found) == 6
    page = (tmp_path / "odd.html").read_text()
    assert page.count("data:image/png") == 2 * 10  # each with its heat map
    assert "prefers-color-scheme: dark" in page
    assert "http" not in page.replace("http-equiv", "")


def test_find_similar_fits_a_query_of_another_size(command, run, tmp_path):
    pixels = np.asarray(safelight.load("digits", split="test").pixels)[:, 0].astype(np.uint8) * 15
    np.save(tmp_path / "set.npy", pixels // 15)  # as the run's own, from 0 to 16
    Image.fromarray(pixels[7]).resize((40, 40), Image.Resampling.NEAREST).save(tmp_path / "query.png")
    done = command(
        "find", "similar", run.path, "query.png", "set.npy", "-n", "3", "--json", "--out", "s.html"
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert "7" in [row["name"] for row in found]
    assert [row["distance"] for row in found] == sorted(row["distance"] for row in found)
    assert len(rows(tmp_path / "s.csv")) == 3


def test_find_duplicates_says_where_there_are_none(command, copied, tmp_path):
    command("find", "duplicates", copied, "--out", "d.html")
    assert {row["how"] for row in rows(tmp_path / "d.csv")} == {"identical", "nearly identical"}
    none = tmp_path / "none"
    none.mkdir()
    for path in sorted(copied.glob("???.png"))[:10]:
        (none / path.name).write_bytes(path.read_bytes())
    done = command("find", "duplicates", none, "--out", "none.html")
    assert done.returncode == 0, done.stderr
    assert "nothing twice among 10 images" in done.stdout
    assert rows(tmp_path / "none.csv") == []


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("outliers RUN digits -n 9999", "-n: expected 1 to"),
        ("similar RUN digits digits -n 0", "-n: expected 1 to"),
        ("outliers RUN digits --share 2", "share: expected between 0 and 1"),
        ("outliers RUN digits --share 0.1 --quantile 0.9", "--quantile would do nothing here"),
        ("outliers CLASSIFIER digits", "has no codes"),
        ("similar RUN nowhere.png digits", "nowhere.png"),
        ("duplicates nowhere", "nowhere"),
        ("duplicates digits --out page.txt", "expected a name ending in .html"),
    ],
)
def test_find_refuses_in_a_line_and_writes_nothing(call, expected, command, run, classifier, tmp_path):
    paths = {"RUN": str(run.path), "CLASSIFIER": str(classifier.path)}
    done = command("find", *(paths.get(word, word) for word in call.split()))
    assert done.returncode == 2
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.glob("*.html")) == list(tmp_path.glob("*.csv")) == []
