"""The same weights have the same loss, and pixels mean what their range says."""

import numpy as np
import pytest
import torch

import safelight
from safelight.config.data import DataConfig, Fit
from safelight.config.network import DeepConvConfig, UNetConfig
from safelight.config.run import RunConfig
from safelight.config.task import AutoencodeConfig, DenoiseConfig
from safelight.config.training import TrainingConfig
from safelight.data.images import ImageSet
from safelight.errors import DataError
from safelight.runs.assembly import assemble


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("network", [DeepConvConfig(), UNetConfig()])
@pytest.mark.parametrize("task", [AutoencodeConfig(), DenoiseConfig(), DenoiseConfig(self_supervised=True)])
def test_an_epochs_loss_and_an_evaluations_are_the_same_of_the_same_weights(precision, network, task, digits):
    if isinstance(network, UNetConfig) and isinstance(task, AutoencodeConfig):
        return  # it has no codes
    training = TrainingConfig(precision=precision, device="cpu")
    config = RunConfig(network, Fit(8, 8, 1, (0, 16)), DataConfig(), training, task)
    parts = assemble(config)
    parts.network.eval()
    images = digits.subset(slice(30))
    with torch.no_grad():
        after_epoch = parts.task.measure(parts.network, parts.loss, images)
        at_the_end = parts.task.evaluate(parts.network, parts.loss, images, task.evaluation()).values
    assert after_epoch["loss"] == at_the_end["loss"]


def test_whole_numbers_keep_to_their_range_too():
    pixels = np.array([0, 255], np.uint8).repeat(32).reshape(1, 1, 8, 8)
    with pytest.raises(DataError, match=r"expected pixels from 0 to 1, got 0 to 255; .*value_range"):
        ImageSet(pixels, (0, 1))
    with pytest.raises(DataError, match=r"expected pixels from 10 to 255, got 0 to 255"):
        ImageSet(pixels, (10, 255))
    with pytest.raises(DataError, match=r"expected pixels from 0 to 4095, got 0 to 65535"):
        ImageSet(pixels.astype(np.uint16) * 257, (0, 4095))
    assert ImageSet(pixels // 255, (0, 1)).floats().max() == 1
    assert safelight.load("digits").floats().max() == 1
