import numpy as np
import pytest
import scipy.linalg
import scipy.spatial
import sklearn.manifold

from safelight.latent import measures
from safelight.latent.measures import frechet_distance, map_quality, neighbours, precision_recall


@pytest.fixture(scope="module")
def cloud():
    return np.random.default_rng(0).normal(size=(300, 6))


def test_neighbours_are_the_nearest_others(cloud):
    places, distances = neighbours(cloud, 5)
    expected, at = scipy.spatial.KDTree(cloud).query(cloud, 6)
    np.testing.assert_array_equal(places, at[:, 1:])
    np.testing.assert_allclose(distances, expected[:, 1:], atol=1e-6)


def test_neighbours_where_many_points_are_at_one_place():
    points = np.zeros((10, 2))
    places, distances = neighbours(points, 3)
    assert places.shape == (10, 3)
    assert not (places == np.arange(10)[:, None]).any(), "no point is its own neighbour"
    assert not distances.any()


def test_trustworthiness_equals_scikit_learns(cloud):
    points = cloud[:, :2]
    quality = map_quality(cloud, points)
    assert quality.trustworthiness == pytest.approx(
        sklearn.manifold.trustworthiness(cloud, points, n_neighbors=12), abs=1e-12
    )
    near = scipy.spatial.KDTree(cloud).query(cloud, 13)[1][:, 1:]
    on_map = scipy.spatial.KDTree(points).query(points, 13)[1][:, 1:]
    shared = [len(set(a) & set(b)) / 12 for a, b in zip(near, on_map, strict=True)]
    assert quality.neighbour_preservation == pytest.approx(np.mean(shared))


def test_some_points_stand_for_all(cloud, monkeypatch):
    exact = map_quality(cloud, cloud[:, :2])
    monkeypatch.setattr(measures, "ANCHORS", 100)
    some = map_quality(cloud, cloud[:, :2])
    assert some != exact
    assert some.trustworthiness == pytest.approx(exact.trustworthiness, abs=0.03)


def test_a_random_map_is_not_trustworthy(cloud):
    quality = map_quality(cloud, np.random.default_rng(1).normal(size=(300, 2)))
    assert quality.trustworthiness == pytest.approx(0.5, abs=0.05)
    assert quality.neighbour_preservation == pytest.approx(12 / 299, abs=0.03)


def test_too_few_points_have_no_quality():
    assert map_quality(np.zeros((3, 2)), np.zeros((3, 2))) is None
    assert map_quality(np.eye(4), np.eye(4)[:, :2]).neighbours == 1


def test_frechet_distance_of_known_normals(cloud):
    other = cloud @ np.diag([1, 2, 3, 1, 1, 0.5]) + 1
    a, b = np.cov(cloud.T), np.cov(other.T)
    expected = np.square(cloud.mean(0) - other.mean(0)).sum() + np.trace(
        a + b - 2 * scipy.linalg.sqrtm(a @ b).real
    )
    assert frechet_distance(cloud, other) == pytest.approx(expected)
    assert frechet_distance(cloud, cloud) == pytest.approx(0, abs=1e-9)


def test_frechet_distance_with_dead_features():
    points = np.random.default_rng(0).normal(size=(50, 3)) * [1, 0, 0]
    assert frechet_distance(points, points + 1) == pytest.approx(3)


def test_precision_and_recall_tell_quality_from_variety(cloud):
    near = cloud[:150, :2]
    far = near + 100
    one_heap = 0.05 * near
    assert precision_recall(near, far) == (0, 0)
    precision, recall = precision_recall(cloud[150:, :2], one_heap)
    assert precision == 1, "all in the middle of the real ones"
    assert recall < 0.1, "but they cover little"
    precision, recall = precision_recall(near, np.concatenate([cloud[150:, :2], far]))
    assert precision < 0.55
    assert recall > 0.9
