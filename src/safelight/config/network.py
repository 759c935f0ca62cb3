"""The settings of each network; the tag `name` says which network they make.

`NETWORK_CONFIGS` is the table from tags to settings; `networks/table.py` has the one from tags to networks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from safelight.config.reading import CHOSEN, MAX_SIZE, check, check_sizes, tagged

__all__ = [
    "ENCODER_CONFIGS",
    "NETWORK_CONFIGS",
    "ClassifierConfig",
    "ConvVAEConfig",
    "CustomNetwork",
    "DeepConvConfig",
    "Encoder",
    "FineTunedConfig",
    "NetworkConfig",
    "UNetConfig",
]

MAX_STAGES = 6


@dataclass(frozen=True)
class ConvVAEConfig:
    """The network of the original report.

    Attributes:
        name: which network
        channels: feature maps of its one convolution
        latent: dimensions of the code
    """

    name: Literal["conv-vae"] = "conv-vae"
    channels: int = 32
    latent: int = 20

    @property
    def is_variational(self) -> bool:
        """Whether codes are distributions."""
        return True

    def __post_init__(self) -> None:
        check_sizes(self, "channels", "latent")


@dataclass(frozen=True)
class DeepConvConfig:
    """Strided convolution stages, a hidden layer and a code; the decoder mirrors the encoder.

    Attributes:
        name: which network: variational, or with codes that are points
        channels: feature maps of each stage
        kernels: kernel size of each stage, or one for all
        strides: what each stage divides height and width by, or one for all
        hidden: width of the fully connected layer between the stages and the code
        latent: dimensions of the code
        activation: the nonlinearity after every hidden layer
        normalization: what each hidden layer's output is normalized over
        linear_path: what the stages add to: nothing; or a linear map to the code and back, which starts as
            the principal components of the training images
    """

    name: Literal["deep-conv-vae", "deep-conv-ae"] = "deep-conv-vae"
    channels: tuple[int, ...] = field(default=(32, 64), metadata=CHOSEN)
    kernels: tuple[int, ...] = (4,)
    strides: tuple[int, ...] = (2,)
    hidden: int = 256
    latent: int = field(default=20, metadata=CHOSEN)
    activation: Literal["relu", "silu", "gelu", "elu", "leaky-relu"] = "silu"
    normalization: Literal["none", "batch", "group"] = "none"
    linear_path: Literal["none", "pca"] = field(default="none", metadata=CHOSEN)

    @property
    def is_variational(self) -> bool:
        """Whether codes are distributions."""
        return self.name == "deep-conv-vae"

    def __post_init__(self) -> None:
        check_sizes(self, "hidden", "latent")
        check(
            self.normalization != "group" or self.hidden >= 4,
            "network.hidden",
            "at least 4 to be normalized in groups",
            self.hidden,
        )
        for name in ("channels", "kernels", "strides"):
            check(
                1 <= len(getattr(self, name)) <= MAX_STAGES,
                f"network.{name}",
                f"1 to {MAX_STAGES} numbers",
                getattr(self, name),
            )
        for channels in self.channels:
            check(1 <= channels <= MAX_SIZE, "network.channels", f"1 to {MAX_SIZE}", channels)
        for kernel in self.kernels:
            check(2 <= kernel <= 11, "network.kernels", "2 to 11 (less would skip pixels)", kernel)
        for name in ("kernels", "strides"):
            check(
                len(getattr(self, name)) in (1, len(self.channels)),
                f"network.{name}",
                f"1 or {len(self.channels)} numbers, as there are stages",
                getattr(self, name),
            )
        stages = len(self.channels)
        kernels, strides = (sizes * (stages // len(sizes)) for sizes in (self.kernels, self.strides))
        for kernel, stride in zip(kernels, strides, strict=True):
            check(1 <= stride <= kernel, "network.strides", f"1 to its own kernel's {kernel}", stride)


Encoder = ConvVAEConfig | DeepConvConfig
ENCODER_CONFIGS: dict[str, type[Any]] = {
    "deep-conv-vae": DeepConvConfig,
    "deep-conv-ae": DeepConvConfig,
    "conv-vae": ConvVAEConfig,
}


@dataclass(frozen=True)
class ClassifierConfig:
    """A small convolutional network that tells classes apart.

    Attributes:
        name: which network
        classes: number of classes
        channels: feature maps of each of its three convolutions
    """

    name: Literal["classifier"] = "classifier"
    classes: int = field(default=10, metadata=CHOSEN)
    channels: tuple[int, ...] = (32, 64, 128)

    @property
    def is_variational(self) -> bool:
        """Whether codes are distributions."""
        return False

    def __post_init__(self) -> None:
        check(2 <= self.classes <= MAX_SIZE, "network.classes", f"2 to {MAX_SIZE}", self.classes)
        check(len(self.channels) == 3, "network.channels", "3 numbers", self.channels)
        for channels in self.channels:
            check(1 <= channels <= MAX_SIZE, "network.channels", f"1 to {MAX_SIZE}", channels)


@dataclass(frozen=True)
class FineTunedConfig:
    """An autoencoder's encoder, and a linear layer that tells classes apart by its codes.

    Attributes:
        name: which network
        encoder: the autoencoder's own settings, as its run has them
        classes: number of classes
    """

    name: Literal["fine-tuned"] = "fine-tuned"
    encoder: Encoder = field(default_factory=DeepConvConfig, metadata=tagged(ENCODER_CONFIGS))
    classes: int = 10

    @property
    def is_variational(self) -> bool:
        """Whether codes are distributions."""
        return False

    def __post_init__(self) -> None:
        check(2 <= self.classes <= MAX_SIZE, "network.classes", f"2 to {MAX_SIZE}", self.classes)


@dataclass(frozen=True)
class UNetConfig:
    """A U-Net for noisy images: a skip for detail, self-attention for the whole.

    Attributes:
        name: which network
        channels: feature maps at half the size, and at a quarter
        attention: layers of self-attention at a quarter of the size
        heads: of each of these
        window: the most pixels to a side that one of them sees at once
    """

    name: Literal["denoising-unet"] = "denoising-unet"
    channels: tuple[int, ...] = (48, 128)
    attention: int = 2
    heads: int = 4
    window: int = 64

    @property
    def is_variational(self) -> bool:
        """Whether codes are distributions; there are none."""
        return False

    def __post_init__(self) -> None:
        sizes = self.channels
        fits = len(sizes) == 2 and all(1 <= channels <= MAX_SIZE for channels in sizes)
        check(fits, "network.channels", f"two numbers from 1 to {MAX_SIZE}", sizes)
        check(0 <= self.attention <= 16, "network.attention", "0 to 16", self.attention)
        divides = 1 <= self.heads <= sizes[1] and sizes[1] % self.heads == 0
        check(divides, "network.heads", f"a divisor of the {sizes[1]} channels", self.heads)
        check(8 <= self.window <= 256, "network.window", "8 to 256", self.window)


@dataclass(frozen=True)
class CustomNetwork:
    """A user's own class; only that class can load the run.

    Attributes:
        name: says that it is one
        class_name: shown where the class is asked for
        is_variational: whether its codes are distributions
        latent: dimensions of its codes; 0 where it has none, or where that was not kept
    """

    name: Literal["custom"] = "custom"
    class_name: str = ""
    is_variational: bool = False
    latent: int = 0


NetworkConfig = Encoder | UNetConfig | ClassifierConfig | FineTunedConfig | CustomNetwork
NETWORK_CONFIGS: dict[str, type[Any]] = {
    **ENCODER_CONFIGS,
    "denoising-unet": UNetConfig,
    "classifier": ClassifierConfig,
    "fine-tuned": FineTunedConfig,
}
