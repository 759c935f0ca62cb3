"""Classification: the network, its loss by hand, and that it learns real digits."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import safelight
from safelight.config.network import ClassifierConfig
from safelight.data.batches import Batch
from safelight.errors import ConfigError, DataError, TrainingError
from safelight.networks.classifier import Classifier
from safelight.networks.deep_conv import DeepConvVAE
from safelight.tasks.classify import CrossEntropy


def terms(classifier, batch, smoothing=0.0):
    return {
        name: float(term.detach())
        for name, term in CrossEntropy(smoothing)(classifier, batch, torch.Generator(), 0.0).items()
    }


class TestClassifier:
    def test_size(self):
        assert sum(p.numel() for p in Classifier().parameters()) == 94_698

    @pytest.mark.parametrize("shape", [(1, 8, 8), (3, 33, 20), (3, 128, 128)])
    def test_takes_images_of_any_size(self, shape):
        classifier = Classifier(shape, ClassifierConfig(classes=100)).eval()
        assert classifier(torch.rand(2, *shape)).shape == (2, 100)

    def test_the_head_decides_by_the_features(self):
        classifier, images = Classifier().eval(), torch.rand(3, 1, 28, 28)
        features = classifier.features(images)
        expected = features @ classifier.head.weight.T + classifier.head.bias
        assert torch.allclose(classifier(images), expected, atol=1e-6)

    def test_refuses_images_it_is_not_made_for(self):
        with pytest.raises(ConfigError, match="sides from 8 to 512"):
            Classifier((1, 7, 28))


class TestCrossEntropy:
    def test_agrees_with_scikit_learn(self, digits):
        batch = Batch.of(digits, slice(200))
        classifier = Classifier(digits.shape).eval()
        with torch.no_grad():
            probabilities = classifier(batch.inputs).double().softmax(1).numpy()
            measured = terms(classifier, batch)
        assert measured["loss"] == pytest.approx(
            log_loss(batch.labels, probabilities, labels=range(10)), 1e-5
        )
        assert measured["accuracy"] == pytest.approx(
            100 * accuracy_score(batch.labels, probabilities.argmax(1))
        )

    def test_smoothing_mixes_the_label_with_all_classes(self, digits):
        batch = Batch.of(digits, slice(50))
        classifier = Classifier(digits.shape).eval()
        with torch.no_grad():
            log_p = classifier(batch.inputs).log_softmax(1)
        targets = 0.8 * np.eye(10)[digits.labels[:50]] + 0.2 / 10
        expected = -(targets * log_p.numpy()).sum(1).mean()
        assert terms(classifier, batch, smoothing=0.2)["loss"] == pytest.approx(expected, 1e-5)

    def test_refuses_a_network_that_makes_images(self, digits):
        with pytest.raises(
            TrainingError, match=r"logits of classes, \(N, K\), got .*; use --model classifier"
        ):
            terms(DeepConvVAE((1, 8, 8)), Batch.of(digits, slice(4)))

    def test_refuses_what_has_no_labels_or_too_many_classes(self, digits):
        images = torch.rand(4, 1, 8, 8)
        unlabelled = Batch(images, images, None, torch.arange(4))
        with pytest.raises(DataError, match="expected images with labels"):
            terms(Classifier((1, 8, 8)), unlabelled)
        with pytest.raises(DataError, match=r"labels from 0 to 2, got 0 to 9; set --network\.classes"):
            terms(Classifier((1, 8, 8), ClassifierConfig(classes=3)), Batch.of(digits, slice(50)))


def test_logistic_regression_on_pca_stands_beside_a_classifier(command, tmp_path):
    run = safelight.train(
        "digits", "classifier", tmp_path / "a", task="classify", epochs=1, lr=1e-5, threads=1
    )
    measured = run.evaluate()
    train, test = run.images("train"), run.images("test")
    linear = make_pipeline(PCA(50), StandardScaler(), LogisticRegression(max_iter=1000))
    x, y = (images.floats().flatten(1).numpy() for images in (train, test))
    expected = 100 * linear.fit(x, train.labels).score(y, test.labels)
    assert measured["pca_accuracy"] == pytest.approx(expected, abs=2)
    assert measured["accuracy"] < 50
    words = (
        f"Logistic regression on PCA of the same labels is right more often: {measured['pca_accuracy']:.1f}%"
    )
    assert words in " ".join(command("evaluate", run.path).stderr.split())
