"""Outliers and look-alikes, by what they mean."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

import safelight
from safelight.errors import ConfigError, DataError
from safelight.run import Run
from safelight.similarity.neighbours import nearest


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    return safelight.train(
        "digits", latent=8, epochs=5, threads=1, out=tmp_path_factory.mktemp("runs") / "run"
    )


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
    assert found.names[2][0] == "2"
    assert (np.diff(found.distances) >= 0).all()


def test_shuffled_pixels_are_odder_than_digits(run):
    images = safelight.load("digits", split="test")
    pixels = np.asarray(images.pixels)[:, 0].copy()
    shuffled = np.random.default_rng(0).permuted(pixels[:40].reshape(40, -1), axis=1).reshape(40, 8, 8)
    both = np.concatenate([pixels, shuffled]) / np.float32(pixels.max())
    found = run.outliers(both.astype(np.float32))
    assert roc_auc_score(np.arange(len(both)) >= len(pixels), found.scores) > 0.9
    assert found.heat.shape == (len(both), 8, 8)
    assert run.outliers(both.astype(np.float32), share=0.1).is_outlier.mean() == pytest.approx(0.1, abs=0.01)


def test_the_heat_is_where_the_image_was_changed(run):
    pixels = np.asarray(safelight.load("digits", split="test").pixels)[:30, 0].astype(np.float32)
    pixels /= pixels.max()
    marked = pixels.copy()
    marked[:, :2, :2] = 1  # a corner that digits leave black
    before, after = run.outliers(pixels).heat, run.outliers(marked).heat
    assert after[:, :2, :2].mean() > 5 * before[:, :2, :2].mean()


def test_shares_and_quantiles_are_shares(run):
    images = safelight.load("digits", split="test")
    for wrong in ({"share": 0.0}, {"share": 1.5}, {"quantile": 1.0}):
        with pytest.raises(ConfigError, match="between 0 and 1"):
            run.outliers(images, **wrong)
