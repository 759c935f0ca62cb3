"""Label spreading: against a dense solution, on real digits, with many and unbalanced classes."""

import numpy as np
import pytest
from sklearn.neighbors import kneighbors_graph

from safelight.labels.spreading import ALPHA, certainty, neighbour_graph, spread, spread_over


@pytest.fixture(scope="module")
def pixels(digits):
    return digits.floats().flatten(1).numpy()


def few(labels, per_class, seed=0):
    """Some labels of each class; the others are -1."""
    rng, known = np.random.default_rng(seed), np.full(len(labels), -1)
    for number in np.unique(labels):
        chosen = rng.choice(np.flatnonzero(labels == number), per_class, replace=False)
        known[chosen] = number
    return known


class TestGraph:
    def test_joins_each_image_with_its_nearest_alone(self, pixels):
        graph = neighbour_graph(pixels[:300], 5)
        nearest = kneighbors_graph(pixels[:300], 5).toarray() > 0
        assert np.array_equal(graph.toarray() > 0, nearest | nearest.T)
        assert (graph != graph.T).nnz == 0
        assert graph.diagonal().sum() == 0
        assert graph.max() <= 1

    def test_does_not_depend_on_the_scale_of_codes(self, pixels):
        small, large = neighbour_graph(pixels[:200]), neighbour_graph(1000 * pixels[:200])
        assert np.abs((small - large).toarray()).max() < 1e-3

    def test_takes_fewer_images_than_neighbours_and_copies_of_one(self):
        assert neighbour_graph(np.zeros((3, 2), np.float32), 10).toarray().sum() == 6


class TestSpreading:
    def test_agrees_with_the_dense_solution(self, pixels, digits):
        labels, graph = few(digits.labels[:400], 2), neighbour_graph(pixels[:400])
        w = graph.toarray()
        s = w / np.sqrt(np.outer(w.sum(0), w.sum(1)))
        y = np.eye(10)[np.maximum(labels, 0)] * (labels >= 0)[:, None]
        f = np.linalg.inv(np.eye(400) - ALPHA * s) @ y
        f /= f.sum(0)
        expected = f / f.sum(1, keepdims=True)
        unknown = labels < 0
        assert np.abs(spread_over(graph, labels, 10) - expected)[unknown].max() < 1e-3

    def test_beats_the_nearest_labelled_neighbour_on_digits(self, pixels, digits):
        labels = few(digits.labels, 3)
        unknown, known = labels < 0, labels >= 0
        found = spread(pixels, labels, 10).argmax(1)
        distances = ((pixels[unknown, None] - pixels[None, known]) ** 2).sum(2)
        nearest = labels[known][distances.argmin(1)]
        truth = digits.labels[unknown]
        assert (found[unknown] == truth).mean() > max(0.9, (nearest == truth).mean() + 0.1)

    def test_known_labels_stay_and_probabilities_sum_to_one(self, pixels, digits):
        labels = few(digits.labels, 1)
        probabilities = spread(pixels, labels, 10)
        assert probabilities.dtype == np.float32
        assert np.allclose(probabilities.sum(1), 1, atol=1e-5)
        assert np.array_equal(probabilities[labels >= 0], np.eye(10)[labels[labels >= 0]])

    def test_what_no_label_reaches_may_be_anything(self):
        codes = np.concatenate([np.arange(5), 1000 + np.arange(5), 2000 + np.arange(5)])[:, None]
        labels = np.full(15, -1)
        labels[[0, 5]] = 0, 1
        probabilities = spread(codes.astype(np.float32), labels, 2, neighbours=2)
        assert (probabilities[:5, 0] == 1).all()
        assert (probabilities[5:10, 1] == 1).all()
        assert (probabilities[10:] == 0.5).all()
        assert certainty(probabilities).tolist() == [1.0] * 10 + [0.0] * 5

    def test_a_hundred_classes_of_which_one_example_is_known(self):
        rng = np.random.default_rng(0)
        truth = np.arange(3000) % 100
        codes = (rng.normal(size=(100, 20))[truth] * 4 + rng.normal(size=(3000, 20))).astype(np.float32)
        labels = few(truth, 1)
        assert (spread(codes, labels, 100).argmax(1) == truth).mean() > 0.98

    def test_a_class_labelled_ten_times_as_often_does_not_take_the_others_images(self, pixels, digits):
        labels = few(digits.labels, 20)
        for number in range(1, 10):
            labels[np.flatnonzero(labels == number)[2:]] = -1
        unknown = labels < 0
        right = spread(pixels, labels, 10).argmax(1) == digits.labels
        assert right[unknown].mean() > 0.85

    def test_classes_of_very_unequal_size_are_told_apart(self, pixels, digits):
        rng = np.random.default_rng(0)
        sizes = np.geomspace(170, 12, 10).astype(int)
        chosen = np.concatenate(
            [
                rng.choice(np.flatnonzero(digits.labels == k), size, replace=False)
                for k, size in enumerate(sizes)
            ]
        )
        truth = digits.labels[chosen]
        labels = few(truth, 3)
        unknown = labels < 0
        right = spread(pixels[chosen], labels, 10).argmax(1) == truth
        assert right[unknown].mean() > 0.85


def test_certainty_by_hand():
    p = np.array([[0.5, 0.25, 0.25]], np.float32)
    assert certainty(p)[0] == pytest.approx(1 - 1.5 * np.log(2) / np.log(3), abs=1e-6)
