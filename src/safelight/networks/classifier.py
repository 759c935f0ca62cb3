"""Networks that tell classes apart: a small convolutional one, and an encoder with a linear layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, cast, final

import torch
from torch import Tensor, nn

from safelight.config.network import ClassifierConfig, FineTunedConfig
from safelight.networks.base import Network, Shape, check_image
from safelight.networks.conv_vae import ConvVAE
from safelight.networks.deep_conv import DeepConvAE, DeepConvVAE

__all__ = ["ENCODERS", "ClassNetwork", "Classifier", "FineTuned"]

ENCODERS: dict[str, type[ConvVAE] | type[DeepConvVAE] | type[DeepConvAE]] = {
    "deep-conv-vae": DeepConvVAE,
    "deep-conv-ae": DeepConvAE,
    "conv-vae": ConvVAE,
}


class ClassNetwork(Network, ABC):
    """A network that decides by features which class an image is of."""

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) in [0, 1] to what the last layer decides by, (N, D)."""


@final
class Classifier(ClassNetwork):
    """Three convolutions with batch normalization, the greatest value of each map, and a linear layer.

    Taking each map's maximum makes the features those of an image's parts, wherever they are, so one
    size of network serves images of any size. 94,698 weights for 28×28 digits.

    Args:
        shape: (C, H, W) of the images, H and W from 8 to 512.
        config: sizes.

    Raises:
        ConfigError: images of another size.

    Example:
        >>> import torch
        >>> classifier = Classifier((1, 28, 28))
        >>> classifier(torch.rand(2, 1, 28, 28)).shape, classifier.features(torch.rand(2, 1, 28, 28)).shape
        (torch.Size([2, 10]), torch.Size([2, 128]))
    """

    def __init__(self, shape: Shape = (1, 28, 28), config: ClassifierConfig | None = None) -> None:
        super().__init__()
        check_image(shape)
        config = config or ClassifierConfig()
        first, second, third = config.channels
        self.stages = nn.Sequential(
            *_stage(shape[0], first, kernel=5, stride=2),
            *_stage(first, second, kernel=3),
            nn.MaxPool2d(2),
            *_stage(second, third, kernel=3),
        )
        self.head = nn.Linear(third, config.classes)
        nn.Module.to(self, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def features(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) in [0, 1] to what the last layer decides by, (N, D)."""
        return cast(Tensor, self.stages(x).amax((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) in [0, 1] to logits of the classes, (N, K)."""
        return cast(Tensor, self.head(self.features(x)))


@final
class FineTuned(ClassNetwork):
    """An autoencoder's encoder with a linear layer on its mean codes.

    Args:
        shape: (C, H, W) of the images.
        config: the autoencoder's settings, and the number of classes.

    Attributes:
        autoencoder: whose encoder it is; what codes do not come from, as its decoder, is not trained.
        head: the linear layer.

    Example:
        >>> import torch
        >>> FineTuned((1, 28, 28))(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    def __init__(self, shape: Shape = (1, 28, 28), config: FineTunedConfig | None = None) -> None:
        super().__init__()
        config = config or FineTunedConfig()
        self.autoencoder = ENCODERS[config.encoder.name](shape, cast(Any, config.encoder))
        self.head = nn.Linear(config.encoder.latent, config.classes)
        parameters = list(self.autoencoder.parameters())
        trial = self.autoencoder.eval().encode(torch.zeros(1, *shape)).mu.sum()
        gradients = torch.autograd.grad(trial, parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.requires_grad_(gradient is not None)
        self.autoencoder.train()

    def features(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) in [0, 1] to their mean codes, (N, D)."""
        return self.autoencoder.encode(x).mu

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) in [0, 1] to logits of the classes, (N, K)."""
        return cast(Tensor, self.head(self.features(x)))


def _stage(channels: int, width: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=False)
    return [conv, nn.BatchNorm2d(width), nn.ReLU()]
