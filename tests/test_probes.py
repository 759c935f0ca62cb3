"""Frozen probes: against an exhaustive search, and that they know good codes from bad ones."""

from itertools import permutations

import numpy as np
import pytest

from safelight.labels.probes import Coded, cluster_accuracy, probe


def test_cluster_accuracy_is_that_of_the_best_of_all_assignments():
    rng = np.random.default_rng(0)
    for _ in range(20):
        clusters, labels = rng.integers(0, 4, 30), rng.integers(0, 4, 30)
        best = max((np.array(p)[clusters] == labels).mean() for p in permutations(range(4)))
        assert cluster_accuracy(clusters, labels) == pytest.approx(best)


def test_more_clusters_than_classes():
    assert cluster_accuracy(np.array([0, 1, 2, 2]), np.array([0, 0, 1, 1])) == 0.75


def test_separate_groups_are_read_perfectly_and_noise_by_chance():
    rng = np.random.default_rng(0)
    labels = np.arange(600) % 3
    grouped = (20 * np.eye(3)[labels] + rng.normal(size=(600, 3))).astype(np.float32)
    noise = rng.normal(size=(600, 3)).astype(np.float32)

    def judge(codes):
        return probe(Coded(codes[:400], labels[:400]), Coded(codes[400:], labels[400:]))

    assert judge(grouped) == pytest.approx(
        {"linear": 100, "neighbours": 100, "clusters": 100, "mutual_information": 1}
    )
    chance = judge(noise)
    assert max(chance["linear"], chance["neighbours"], chance["clusters"]) < 50
    assert chance["mutual_information"] < 0.05


def test_unlabelled_images_are_clustered_but_not_learned_from():
    labels = np.arange(300) % 3
    codes = (20 * np.eye(3)[labels]).astype(np.float32)
    few = labels.copy()
    few[6:] = -1
    assert probe(Coded(codes, few), Coded(codes, labels))["linear"] == 100
