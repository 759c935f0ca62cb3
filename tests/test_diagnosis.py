"""What went wrong, in words: on runs that were made to fail."""

import dataclasses
from collections.abc import Sequence

import pytest
import torch
from torch import nn

import safelight
from safelight.networks.base import Autoencoder, Code
from safelight.reporting.diagnosis import diagnose
from safelight.reporting.summary import Epoch, Summary, summarize

FAST = {"channels": (8,), "hidden": 32, "latent": 4, "threads": 1, "likelihood": "bernoulli"}


class Black(Autoencoder):
    """Has gone where no gradient leads back."""

    def __init__(self):
        super().__init__()
        self.down, self.level = nn.Linear(64, 2), nn.Parameter(torch.tensor(-90.0))

    def encode(self, x):
        return Code(self.down(x.flatten(1)), None)

    def decode(self, z):
        return (0 * z.sum(1) + self.level).view(-1, 1, 1, 1).expand(-1, 1, 8, 8)


@pytest.fixture(scope="module")
def short() -> safelight.Run:
    return safelight.train("digits", epochs=5, batch_size=32, prior="normal", **FAST)


def sentences(run: safelight.Run) -> str:
    return "\n".join(diagnose(summarize(run.folder)))


def with_losses(run: safelight.Run, train: Sequence[float], validation: Sequence[float]) -> Summary:
    epochs = [
        Epoch(i + 1, {"loss": a}, {"loss": b}, 0.1, 1.0, 1.0)
        for i, (a, b) in enumerate(zip(train, validation, strict=True))
    ]
    found = summarize(run.folder)
    training = dataclasses.replace(found.config.training, epochs=len(epochs))
    config = dataclasses.replace(found.config, training=training)
    return dataclasses.replace(found, epochs=tuple(epochs), config=config, evaluation={})


def test_a_collapsed_code():
    run = safelight.train("digits", epochs=3, beta=1000.0, **FAST)
    assert run.evaluate()["active_units"] == 0
    assert "The code is empty: none of its dimensions follows the image" in sentences(run)
    assert "PCA" not in sentences(run)


def test_black_output():
    run = safelight.train("digits", Black(), epochs=1, threads=1)
    assert run.evaluate()["black"] == 1
    assert "Its reconstructions are black" in sentences(run)


def test_a_rate_that_is_too_low(short):
    slow = safelight.train("digits", epochs=4, lr=1e-5, **FAST)
    slow.evaluate()
    assert "the rate of 1e-05 is too low. Train with --lr 0.0001" in sentences(slow)
    assert "rate" not in sentences(short)


def test_a_rate_that_is_too_high():
    run = safelight.train("digits", epochs=6, lr=0.2, prior="normal", **FAST)
    run.evaluate()
    assert "with another --lr" in sentences(run)


def test_losses_that_jump_or_never_fall(short):
    jumped = with_losses(short, [50, 40, 30, 48, 35, 34], [50, 40, 30, 48, 35, 34])
    assert "In epoch 4 the training loss lost more than half" in diagnose(jumped)[0]
    recovered = [50, 40, 30, 48, 29, 24, 23.9, 23.8]
    assert "rate" not in "".join(diagnose(with_losses(short, recovered, recovered)))
    idle = with_losses(short, [50, 51, 51, 50, 52], [50, 51, 51, 50, 52])
    assert "no better than after the first epoch" in diagnose(idle)[0]


def test_overfitting_and_too_few_images():
    larger = FAST | {"channels": (32,), "hidden": 128, "latent": 8}
    run = safelight.train("digits", "deep-conv-ae", epochs=30, limit=12, batch_size=6, lr=0.01, **larger)
    assert "learns the training images by heart" in sentences(run)
    run.evaluate()
    assert "12 training images are few for a code of 8 dimensions" in sentences(run)


def test_underfitting_is_told_beside_pca(short, command):
    measured = short.evaluate()
    assert measured["psnr"] < measured["pca_psnr"]
    words = f"PCA with as many dimensions comes nearer: {measured['pca_psnr']:.1f} dB, where this has"
    assert words in sentences(short)
    assert words in short.report().read_text()
    assert words in " ".join(command("evaluate", short.path).stderr.split())


def test_still_improving_and_finished(short):
    values = [100, 60, 40, 30, 24, 20]
    assert "--resume RUN --epochs 12 goes on" in diagnose(with_losses(short, values, values))[0]
    flat = [100, 60, 40, 30, 29.9, 29.85, 29.8, 29.79, 29.79, 29.78]
    assert diagnose(with_losses(short, flat, flat)) == []
    unfinished = with_losses(short, values, values)
    longer = dataclasses.replace(unfinished.config.training, epochs=20)
    config = dataclasses.replace(unfinished.config, training=longer)
    assert diagnose(dataclasses.replace(unfinished, config=config)) == []
