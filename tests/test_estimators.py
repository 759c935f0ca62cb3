"""scikit-learn's own checks, and what its users do with an estimator."""

import io
import pickle

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

import safelight

ONE = {"threads": 1}
DIGITS, CLASSES = load_digits(return_X_y=True)


@pytest.fixture(scope="module")
def coder():
    return safelight.AutoencoderTransformer(8, (8, 8), epochs=1, settings=ONE).fit(DIGITS[:600])


@pytest.mark.parametrize(
    "estimator",
    [
        safelight.AutoencoderTransformer(2, epochs=1, settings=ONE),
        safelight.OutlierDetector(2, epochs=1, settings=ONE),
        safelight.FewLabelsClassifier(2, epochs=3, settings=ONE | {"lr": 0.02}),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_scikit_learns_own_checks_pass(estimator):
    found = check_estimator(estimator, on_skip=None, on_fail="raise")
    assert len(found) > 40
    assert {row["check_name"] for row in found if row["status"] != "passed"} <= {
        "check_array_api_input",  # asks for scipy's own switch
        "check_classifier_data_not_an_array",  # its second half asks for pandas
        "check_regressor_data_not_an_array",
    }


def test_codes_are_features_that_go_back_to_rows(coder):
    codes = coder.transform(DIGITS)
    assert codes.shape == (1797, 8)
    again = coder.inverse_transform(codes)
    assert again.shape == DIGITS.shape
    error = ((again - DIGITS) ** 2).mean(1)
    np.testing.assert_allclose(coder.score_samples(DIGITS), -error / 16**2, rtol=1e-4)
    assert coder.score(DIGITS) == coder.score_samples(DIGITS).mean() == coder.score(DIGITS)
    assert error.mean() < DIGITS.var(0).mean(), "more than the mean image"
    assert coder.get_feature_names_out()[0] == "autoencodertransformer0"
    images = DIGITS.reshape(-1, 8, 8)
    np.testing.assert_array_equal(coder.transform(images), codes)
    whole = clone(coder).set_params(image_shape=None).fit(images[:600])
    np.testing.assert_array_equal(whole.transform(images), codes)
    assert whole.inverse_transform(codes[:2]).shape == (2, 8, 8)
    with pytest.raises(ValueError, match=r"expected codes \(N, 8\), got \(2, 3\)"):
        coder.inverse_transform(np.zeros((2, 3)))


@pytest.mark.parametrize("keep", ["pickle", "joblib"])
def test_weights_are_inside(coder, keep):
    if keep == "pickle":
        again = pickle.loads(pickle.dumps(coder))
    else:
        file = io.BytesIO()
        joblib.dump(coder, file)
        file.seek(0)
        again = joblib.load(file)
    np.testing.assert_array_equal(again.transform(DIGITS[:9]), coder.transform(DIGITS[:9]))


def test_a_search_over_a_pipeline():
    steps = make_pipeline(
        safelight.AutoencoderTransformer(epochs=1, settings=ONE), LogisticRegression(max_iter=500)
    )
    search = GridSearchCV(steps, {"autoencodertransformer__latent": [1, 12]}, cv=2)
    search.fit(DIGITS[:300], CLASSES[:300])
    assert search.best_params_ == {"autoencodertransformer__latent": 12}
    assert search.score(DIGITS[300:900], CLASSES[300:900]) > 0.7


@pytest.mark.parametrize("image_shape", [None, (8, 8)])
def test_outliers_are_below_zero_by_the_share_that_was_asked_for(image_shape):
    ones = DIGITS[CLASSES == 1]
    detector = safelight.OutlierDetector(4, image_shape, 5, ONE, contamination=0.1).fit(ones[:120])
    assert (detector.predict(ones[:120]) == -1).sum() == 12
    mixed = np.concatenate([ones[120:], DIGITS[CLASSES == 0][:60]])
    scores, is_odd = detector.score_samples(mixed), np.arange(len(mixed)) >= len(ones) - 120
    assert roc_auc_score(is_odd, -scores) > 0.95
    np.testing.assert_array_equal(detector.score_samples(mixed), scores)
    np.testing.assert_array_equal(detector.predict(mixed), np.where(scores < detector.offset_, -1, 1))


def test_vectors_beyond_all_that_were_seen_are_outliers():
    rows = np.random.default_rng(0).normal(size=(200, 3)) * [1, 1e3, 1e-3]
    detector = safelight.OutlierDetector(2, epochs=2, settings=ONE).fit(rows)
    assert detector.predict([[0, 0, 1e6], [0, -1e7, 0], [0, 0, 0]]).tolist() == [-1, -1, 1]


def test_few_labels_and_names_of_classes():
    names = np.array(["even", "odd"])[CLASSES[:500] % 2].astype(object)
    few = np.where(np.arange(500) < 60, names, -1)
    found = safelight.FewLabelsClassifier(8, epochs=4, settings=ONE).fit(DIGITS[:500], few)
    assert list(found.classes_) == ["even", "odd"]
    assert found.score(DIGITS[60:500], names[60:]) > 0.8
    np.testing.assert_allclose(found.predict_proba(DIGITS[:9]).sum(1), 1)


def test_labels_of_minus_one_and_one_are_two_classes():
    rows = np.concatenate([np.zeros((20, 4)), np.ones((20, 4))])
    rows += 0.1 * np.random.default_rng(0).normal(size=rows.shape)
    signs = np.repeat([-1, 1], 20)
    found = safelight.FewLabelsClassifier(2, epochs=20, settings=ONE).fit(rows, signs)
    assert found.predict(rows).tolist() == signs.tolist()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_shape": (8, 9)}, r"image_shape: expected .* of 64 values, as rows have, got \(8, 9\)"),
        ({"image_shape": (4, 16)}, "sides from 8"),
        ({"image_shape": (8, 8), "settings": {"latnt": 3}}, "unknown setting 'latnt'; did you mean 'latent'"),
        ({"latent": 0}, "latent: expected a whole number from 1 up, got 0"),
    ],
)
def test_what_does_not_fit_is_a_value_error(change, words):
    with pytest.raises(ValueError, match=words):
        safelight.AutoencoderTransformer(epochs=1, **change).fit(DIGITS[:50])
    with pytest.raises(ValueError, match=r"contamination: expected above 0 and up to 0\.5, got 0\.7"):
        safelight.OutlierDetector(contamination=0.7).fit(DIGITS[:50])


@pytest.mark.slow
def test_beside_pyods_autoencoder_in_one_loop():
    """Which PyOD's users asked for a convolutional one of, in its issue 387; its scores grow with oddness."""
    pyod = pytest.importorskip("pyod.models.auto_encoder")
    usual = DIGITS[CLASSES != 4]
    mixed = np.concatenate([usual[1000:], DIGITS[CLASSES == 4]])
    is_odd = np.arange(len(mixed)) >= len(usual) - 1000
    found = {}
    for detector, sign in (
        (safelight.OutlierDetector(16, (8, 8), epochs=10, settings=ONE), -1),
        (pyod.AutoEncoder(epoch_num=30, verbose=0, random_state=0), 1),
    ):
        scores = detector.fit(usual[:1000]).decision_function(mixed)
        found[type(detector).__name__] = roc_auc_score(is_odd, sign * scores)
    assert found["OutlierDetector"] > found["AutoEncoder"] > 0.8, found
