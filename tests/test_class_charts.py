"""Charts of classifiers: what they are drawn from, what damaged files do, and pictures with captions."""

import numpy as np
import pytest

import safelight
from safelight.data.pictures import captioned
from safelight.reporting.charts import DARK, LIGHT
from safelight.reporting.class_charts import (
    Confusion,
    class_rows,
    confusion_chart,
    read_confusion,
    read_reliability,
    reliability_chart,
)

COUNTS = np.array([[8, 2, 0], [0, 5, 0], [0, 0, 0]])


def test_the_table_of_classes():
    rows = class_rows(Confusion(("cat", "dog", "yak"), COUNTS))
    assert rows == [("cat", "10", "80.00", "dog (2)"), ("dog", "5", "100.00", "–"), ("yak", "0", "–", "–")]


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_only_mistakes_are_coloured_and_small_tables_are_numbered(theme):
    axes = confusion_chart(Confusion(("cat", "dog", "yak"), COUNTS), theme).axes[0]
    assert axes.images[0].get_array().tolist() == [[0, 2, 0], [0, 0, 0], [0, 0, 0]]
    assert sorted(text.get_text() for text in axes.texts) == ["2", "5", "8"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog", "yak"]


def test_many_classes_have_no_numbers():
    many = Confusion([f"class {i}" for i in range(100)], np.eye(100, dtype=int))
    assert not list(confusion_chart(many, LIGHT).axes[0].texts)


def test_reliability_is_drawn_in_percent():
    axes = reliability_chart([(0.55, 0.5, 10), (0.95, 0.9, 90)], LIGHT).axes[0]
    assert np.allclose(axes.collections[0].get_offsets(), [[55, 50], [95, 90]])
    small, large = axes.collections[0].get_sizes()
    assert small < large


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (read_confusion, {"classes": ["a", "b"], "counts": [[1, 2]]}),
        (read_confusion, {"classes": ["a"], "counts": [[1]]}),
        (read_confusion, {"classes": ["a", "b"], "counts": [[1, -2], [0, 1]]}),
        (read_confusion, {"counts": [[1, 2], [3, 4]]}),
        (read_confusion, 3),
        (read_reliability, []),
        (read_reliability, [{"confidence": 2, "accuracy": 0.5, "n": 1}]),
        (read_reliability, [{"confidence": 0.5}]),
        (read_reliability, "no"),
    ],
)
def test_damaged_values_are_refused_in_the_ways_a_report_survives(read, value):
    with pytest.raises((KeyError, TypeError, ValueError)):
        read(value)


def test_captions_stand_under_their_images():
    images = np.stack([np.zeros((1, 16, 16)), np.ones((1, 16, 16))])
    sheet = np.asarray(captioned(images, ["7", ""], columns=2).convert("L")).astype(int)
    left, right = sheet[:, :128], sheet[:, 132:]
    assert (left[:128] == 0).all()
    assert (right[:128] == 255).all()
    assert left[128:].max() > 200  # ink under the first
    assert (right[128:] == right[-1, 0]).all()  # none under the second


def test_a_report_shows_classes_and_mistakes(digits):
    run = safelight.train("digits", "classifier", task="classify", epochs=1, threads=1)
    measured = run.evaluate()
    page = run.report().read_text()
    for part in ('id="confusion"', 'id="reliability"', "Mistakes", "mostly taken for"):
        assert part in page
    assert f"{measured['accuracy']:.2f}" in page
    assert (run.folder.figures / "confusion-dark.png").exists()
