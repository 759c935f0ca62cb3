import numpy as np
import pytest
import sklearn.decomposition
import sklearn.neighbors

from safelight.config.latent import MapConfig
from safelight.errors import ConfigError, DataError
from safelight.latent.charts import COLOURS, map_chart, map_words
from safelight.latent.codes import Codes
from safelight.latent.maps import clusters, project, read_map, write_map
from safelight.reporting.charts import DARK, LIGHT


def codes_of(mu, labels=None, logvar=None):
    mu = np.asarray(mu, np.float32)
    names = tuple(f"<i>{i}</i>" for i in range(len(mu)))
    return Codes(mu, logvar, np.linspace(50, 90, len(mu), dtype=np.float32), labels, names)


@pytest.fixture(scope="module")
def heaps():
    """Three heaps in 8 dimensions, and the two random directions in which they lie."""
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 100)
    centres = 6 * generator.normal(size=(3, 8))
    return codes_of(
        centres[labels] + generator.normal(size=(300, 8)), labels, np.full((300, 8), -2, np.float32)
    )


def purity(latent_map, k=10):
    """Share of a point's neighbours on the map that have its label."""
    near = sklearn.neighbors.NearestNeighbors(n_neighbors=k + 1).fit(latent_map.points)
    places = near.kneighbors(return_distance=False)
    return (latent_map.labels[places] == latent_map.labels[:, None]).mean()


def test_pca_is_scikit_learns(heaps):
    found = project(heaps)
    expected = sklearn.decomposition.PCA(2, svd_solver="full").fit(heaps.mu.astype(np.float64))
    np.testing.assert_allclose(found.points, expected.transform(heaps.mu), atol=1e-4)
    np.testing.assert_allclose(found.explained_variance, expected.explained_variance_ratio_, rtol=1e-6)
    assert found.notes == ()


def test_pca_of_draws_is_the_original_reports(heaps):
    found = project(heaps, MapConfig(sampled=True, seed=3))
    expected = sklearn.decomposition.PCA(2, svd_solver="full").fit_transform(
        heaps.sampled(3).astype(np.float64)
    )
    np.testing.assert_allclose(found.points, expected, atol=1e-4)
    assert "draws of q(z | x)" in map_words(found)[0]


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_maps_keep_heaps_apart_and_repeat(heaps, method):
    done = []
    first = project(heaps, MapConfig(method), lambda *count: done.append(count))
    assert purity(first) > 0.95
    assert first.quality.trustworthiness > 0.85
    again = project(heaps, MapConfig(method))
    np.testing.assert_array_equal(first.points, again.points)
    assert done == ([] if method == "pca" else [(25 * i, 1000) for i in range(1, 41)])


def test_tsne_by_fft_is_as_good_as_by_trees(heaps, monkeypatch):
    monkeypatch.setattr("safelight.latent.maps.ITERATIONS", 50)
    monkeypatch.setattr("safelight.latent.maps.EXAGGERATED", 100)
    by_trees = project(heaps, MapConfig("tsne"))
    monkeypatch.setattr("safelight.latent.maps.MANY", 0)
    by_fft = project(heaps, MapConfig("tsne"))
    assert purity(by_fft) > 0.95
    assert by_fft.quality.trustworthiness == pytest.approx(by_trees.quality.trustworthiness, abs=0.02)


@pytest.mark.slow
def test_umap(heaps):
    pytest.importorskip("umap")
    for dims in (2, 3):
        found = project(heaps, MapConfig("umap", dims=dims))
        assert found.points.shape == (300, dims)
        assert purity(found) > 0.95
    few = project(codes_of(np.random.default_rng(0).normal(size=(9, 3))), MapConfig("umap"))
    assert few.notes == ("9 images allow 8 neighbours, not 15",)


def test_a_map_is_of_at_most_n_codes(heaps):
    found = project(heaps, MapConfig(n=50))
    assert len(found) == len(found.names) == len(found.labels) == 50
    assert set(np.unique(found.labels)) == {0, 1, 2}
    other = project(heaps, MapConfig(n=50, seed=1))
    assert found.names != other.names


def test_axes_without_a_direction_are_zero():
    found = project(codes_of(np.random.default_rng(0).normal(size=(20, 2))), MapConfig(dims=3))
    assert found.points.shape == (20, 3)
    assert not found.points[:, 2].any()
    assert found.notes == ("codes of 2 dimensions span 2 of the map's 3 axes: the rest are 0",)
    assert sum(found.explained_variance) == pytest.approx(1)


@pytest.mark.parametrize("method", ["pca", "tsne", "umap"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_few_codes(method, count):
    found = project(codes_of(np.random.default_rng(0).normal(size=(count, 5))), MapConfig(method))
    assert found.points.shape == (count, 2)
    assert np.isfinite(found.points).all()
    assert found.config.method == "pca"
    assert found.quality is None
    if count == 1:
        assert found.notes[0] == "one code is one point"
    elif method != "pca":
        assert f"{count} images are too few for {method}" in found.notes[0]
    for theme in (LIGHT, DARK):
        map_chart(found, theme)


def test_perplexity_is_lowered_to_what_few_images_allow():
    found = project(codes_of(np.random.default_rng(0).normal(size=(31, 5))), MapConfig("tsne"))
    assert found.notes == ("31 images allow a perplexity of 10, not 30",)
    assert "perplexity 10" in map_words(found)[0]
    assert found.quality.trustworthiness > 0.7


@pytest.mark.parametrize("method", ["pca", "tsne", "umap"])
def test_equal_codes_are_one_point(method):
    found = project(codes_of(np.ones((40, 3))), MapConfig(method))
    assert not found.points.any()
    assert found.notes[0] == "all codes are equal: the map is one point"
    map_chart(found, LIGHT)


def test_many_equal_codes_among_others():
    mu = np.random.default_rng(0).normal(size=(200, 4))
    mu[:150] = 1
    found = project(codes_of(mu), MapConfig("tsne"))
    assert np.isfinite(found.points).all()


def test_codes_that_are_not_finite_are_left_out(heaps):
    mu = heaps.mu.copy()
    mu[3], mu[5, 0] = np.nan, np.inf
    found = project(codes_of(mu, heaps.labels))
    assert len(found) == 298
    assert found.notes == ("left out 2 codes that hold NaN or infinity",)
    with pytest.raises(DataError, match="expected finite codes, got 300"):
        project(codes_of(np.full((300, 2), np.nan)))


def test_settings_that_do_not_fit_are_refused():
    for settings, words in (
        ({"dims": 4}, "dims: expected 2 or 3, got 4"),
        ({"method": "tsne", "dims": 3}, "dims: expected 2 for t-SNE"),
        ({"n": 0}, "n: expected 1 to 1,000,000,000 images, got 0"),
        ({"perplexity": 0.5}, "perplexity: expected"),
        ({"perplexity": float("nan")}, "perplexity: expected"),
    ):
        with pytest.raises(ConfigError, match=words):
            MapConfig(**settings)


def test_clusters_find_heaps(heaps):
    found = clusters(np.concatenate([heaps.mu[:100], heaps.mu[100:130]]), 0)
    assert found.max() < 10
    counts = np.bincount(found)
    assert (np.diff(counts) <= 0).all(), "the largest first"


def test_a_map_is_read_back_as_it_was(heaps, tmp_path):
    path = tmp_path / "map.parquet"
    for found in (
        project(heaps, MapConfig(dims=3)),
        project(codes_of(heaps.mu[:3]), MapConfig("tsne", perplexity=5)),
    ):
        write_map(found, path)
        again = read_map(path)
        for name in ("points", "clusters", "reconstruction"):
            np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
        for name in ("names", "config", "explained_variance", "quality", "notes"):
            assert getattr(again, name) == getattr(found, name)
        assert (again.labels is None) == (found.labels is None)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match="cannot be read as map"):
        read_map(path)


def test_chart_names_groups_and_says_how_far_to_trust_it(heaps):
    found = project(heaps)
    figure = map_chart(found, LIGHT, class_names={0: "$a_b$", 1: "_hidden", 2: "<script>" * 9})
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["$a_b$", " _hidden", "<script><script><script…"[:24]]
    said = " ".join(text.get_text() for text in figure.texts)
    assert f"Trustworthiness {found.quality.trustworthiness:.3f}" in said
    assert "PCA of 300 codes" in said
    drawn = figure.axes[0].collections[0]
    assert len(drawn.get_offsets()) == 300
    assert len(np.unique(drawn.get_facecolors(), axis=0)) == 3


def test_chart_of_many_classes_names_the_largest():
    labels = np.repeat(np.arange(40), np.arange(40, 0, -1))
    found = project(codes_of(np.random.default_rng(0).normal(size=(len(labels), 3)), labels))
    figure = map_chart(found, DARK)
    assert [t.get_text() for t in figure.axes[0].texts] == [str(i) for i in range(len(COLOURS) - 1)]
    assert figure.legends[0].get_texts()[-1].get_text() == "other"


def test_chart_by_loss_and_by_cluster(heaps):
    unlabelled = project(codes_of(heaps.mu))
    assert map_chart(unlabelled, LIGHT).legends[0].get_title().get_text() == "cluster"
    with pytest.raises(ConfigError, match="expected cluster or loss for images without labels"):
        map_chart(unlabelled, LIGHT, "label")
    by_loss = map_chart(project(heaps), LIGHT, "loss")
    assert by_loss.axes[1].get_title() == "reconstruction loss (nats)"
    assert not by_loss.legends
