"""The page of a classifier: what it tells images to be, the least sure first, and mistakes to correct."""

from dataclasses import replace

import numpy as np
import pytest

import safelight
from safelight.errors import ConfigError
from safelight.explorer.contents import page_contents
from safelight.labels.predictions import feature_codes

NAMES = tuple("abcdefghij")
PREDICTED = "at => safelight.app.contents.header.classes[safelight.app.contents.predicted[at]]"


@pytest.fixture(scope="module")
def tuned(digits, tmp_path_factory):
    """Of 300 digits, of which every third has no label and some have a wrong one."""
    labels = digits.labels[:300].copy()
    labels[::3] = -1
    labels[1:40:3] = (labels[1:40:3] + 1) % 10
    images = replace(digits.subset(slice(300)), labels=labels, classes=NAMES)
    out = tmp_path_factory.mktemp("runs") / "tuned"
    return safelight.finetune(None, images, out=out, epochs=4, batch_size=16, threads=1, seed=1), images


def test_it_holds_predictions_and_given_labels_and_needs_no_engine(tuned, tmp_path, monkeypatch):
    run, images = tuned
    monkeypatch.setattr("safelight.explorer.bundling.engine_files", lambda: 1 / 0)
    page = run.page(tmp_path / "p.html", images, map="tsne").read_text(encoding="utf-8")
    assert '<script type="text/plain" id="engine"></script>' in page
    train = run.images("train", images)
    found = run.classify(train)
    contents = page_contents(feature_codes(run.network, train), train, {"title": ""}, None, None, found)
    assert contents.header["classes"] == list(NAMES)
    assert np.array_equal(contents.arrays["predicted"], found.probabilities.argmax(1))
    assert np.array_equal(contents.arrays["label"], train.labels)
    assert contents.arrays["codes8"].shape == (len(train), contents.header["latent"])
    with pytest.raises(ConfigError, match="images: expected them in the page of a classifier"):
        run.page(tmp_path / "q.html", images, with_images=False)


@pytest.mark.browser
def test_its_mistakes_are_found_and_corrected(tuned, tmp_path, visit):
    run, images = tuned
    tab = visit(run.page(tmp_path / "p.html", images).as_uri())
    assert tab.locator("#tabs button").all_inner_texts() == ["Point", "Label", "Table"]
    assert tab.locator("input[value=walk]").count() == 0
    tab.click("#tab-table")
    told = [float(cell) for cell in tab.locator("#panel-table tbody td:last-child").all_inner_texts()]
    assert told == sorted(told), "the least sure first"
    tab.select_option("#colour", "mistakes")
    tab.locator("#legend button", has_text="mistaken").click()
    mistaken = tab.evaluate("safelight.app.selection.get()")
    train = run.images("train", images)
    predicted = run.classify(train).probabilities.argmax(1)
    assert mistaken == np.flatnonzero((train.labels >= 0) & (train.labels != predicted)).tolist() != []
    right = tab.evaluate(PREDICTED, mistaken[0])
    tab.evaluate("at => safelight.app.selection.set([at])", mistaken[0])
    tab.click("#tab-label")
    tab.fill("#label-text", right)
    tab.press("#label-text", "Enter")
    words = tab.locator("#legend button", has_text="mistaken").inner_text()
    assert words == f"mistaken ({len(mistaken) - 1})" or len(mistaken) == 1
    tab.evaluate("at => safelight.app.picked.set(at)", mistaken[0])
    tab.click("#tab-point")
    assert "Reconstruction" not in tab.inner_text("#panel-point")
    assert f"{right} by " in tab.inner_text("#panel-point")
