"""Networks as ONNX models, which take and give pixels, and compute what torch does."""

from __future__ import annotations

import copy
import logging
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple, final

import numpy as np
import torch
from torch import Tensor, nn

from safelight.errors import ConfigError, RunError
from safelight.networks.base import Autoencoder, Network, Shape
from safelight.networks.classifier import ClassNetwork
from safelight.networks.unet import DenoisingUNet
from safelight.runs.typical import Typical
from safelight.tasks.priors import Flow, Prior

__all__ = ["Decoder", "Draw", "Encoder", "OnnxModels", "classifier_to_onnx", "denoiser_to_onnx", "to_onnx"]

TOLERANCE = 1e-4  # of the greatest number that comes out
LEAST_SCALE = 1e-3  # below which numbers count as 0
OPSET = 18
SMALLEST_SIDE = 8  # of what a U-Net cleans


class _OfPixels(nn.Module, ABC):
    """A network, or half of one, that takes or gives pixels.

    Args:
        network: in evaluation mode.
        value_range: the pixels that stand for black and white.
    """

    def __init__(self, network: Network, value_range: tuple[float, float]) -> None:
        super().__init__()
        self.network: Any = network
        self.low, self.high = value_range

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Pixels to something, or something to pixels."""

    def _scaled(self, pixels: Tensor) -> Tensor:
        return (pixels - self.low) / (self.high - self.low)


@final
class Encoder(_OfPixels):
    """Pixels to codes: a network's encoder with the scaling of pixels in front."""

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Pixels (N, C, H, W) to mu (N, D) and, of a variational network, logvar (N, D)."""
        mu, logvar = self.network.encode(self._scaled(pixels))
        return (mu,) if logvar is None else (mu, logvar)


@final
class Decoder(_OfPixels):
    """Codes to pixels: a network's decoder with the sigmoid and the scaling of pixels behind."""

    def forward(self, z: Tensor) -> Tensor:
        """Codes (N, D) to pixels (N, C, H, W)."""
        return torch.sigmoid(self.network.decode(z)) * (self.high - self.low) + self.low


@final
class _Denoiser(_OfPixels):
    """Pixels to clean ones of the same size."""

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels (N, C, H, W) to the same."""
        clean: Tensor = self.network.reconstruct(self._scaled(pixels)) * (self.high - self.low) + self.low
        return clean


@final
class _Classifier(_OfPixels):
    """Pixels to probabilities of classes, and how unlike the training images they are.

    Args:
        network: in evaluation mode.
        value_range: the pixels that stand for black and white.
        temperature: what logits are divided by.
        typical: what the training images look like, or None.
    """

    means: Tensor
    precision: Tensor

    def __init__(
        self, network: Network, value_range: tuple[float, float], temperature: float, typical: Typical | None
    ) -> None:
        super().__init__(network, value_range)
        self.temperature, self.limit = temperature, 0.0
        if typical is not None:
            self.limit = max(typical.limit, 1e-12)
            self.register_buffer("means", torch.from_numpy(typical.means))
            self.register_buffer("precision", torch.from_numpy(typical.precision))

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Pixels (N, C, H, W) to probabilities (N, K) and, where it was learned, unlikeness (N,).

        That is the squared Mahalanobis distance to the nearest class, as a share of what 99 of 100 training
        images lie within.
        """
        features = self.network.features(self._scaled(pixels))
        found = (torch.softmax(self.network.head(features) / self.temperature, 1),)
        if not self.limit:
            return found
        offsets = features[:, None] - self.means  # (N, K, D)
        distances = ((offsets @ self.precision) * offsets).sum(2)
        return (*found, distances.amin(1) / self.limit)


@final
class Draw(nn.Module):
    """Standard normal numbers to codes.

    Args:
        prior: on the CPU.
    """

    def __init__(self, prior: Prior) -> None:
        super().__init__()
        self.prior = prior

    def forward(self, noise: Tensor) -> Tensor:
        """Noise (N, D + extra) to codes (N, D)."""
        return self.prior.from_base(noise)


@final
class Base(nn.Module):
    """Codes to the standard normal numbers that a flow would draw them from.

    Args:
        flow: on the CPU.
    """

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, z: Tensor) -> Tensor:
        """Codes (N, D) to noise (N, D)."""
        return self.flow.to_base(z)


class OnnxModels(NamedTuple):
    """Both halves of an autoencoder, and what new codes are drawn by.

    Attributes:
        encoder: an ONNX model of "pixels" (N, C, H, W) to "mu" (N, D) and, if variational, "logvar" (N, D).
        decoder: an ONNX model of "z" (N, D) to "pixels" (N, C, H, W).
        latent: D.
        is_variational: whether there is a "logvar".
        prior: an ONNX model of "noise" (N, D + extra), standard normal numbers, to "z" (N, D); None where
            these are the codes, or where there is no prior.
        extra: numbers of noise that a code takes beyond one a dimension.
        base: of a flow, what reverses it: "z" (N, D) to "noise" (N, D).
    """

    encoder: bytes
    decoder: bytes
    latent: int
    is_variational: bool
    prior: bytes | None = None
    extra: int = 0
    base: bytes | None = None

    @property
    def numbers(self) -> int:
        """Of noise that a code is drawn from."""
        return self.latent + self.extra


def to_onnx(
    network: Autoencoder, shape: Shape, value_range: tuple[float, float], prior: Prior | None = None
) -> OnnxModels:
    """Encoder and decoder as ONNX models, with the scaling of pixels inside and N of any size.

    They are run under onnxruntime and compared with torch.

    Args:
        network: left as it is.
        shape: (C, H, W) of its images.
        value_range: the pixels that stand for black and white, such as (0, 255).
        prior: one that was learned, to be a model too.

    Raises:
        ConfigError: the packages for ONNX are not installed, or ONNX has no form for a network of one's own.
        RunError: the results differ by more than 1e-4 of their scale.
    """
    network = copy.deepcopy(network).cpu().eval()
    generator = torch.Generator().manual_seed(0)
    pixels = _pixels(shape, value_range, generator)
    encoder, decoder = Encoder(network, value_range), Decoder(network, value_range)
    with torch.no_grad():
        outputs = encoder(pixels)
    encoded = _exported(encoder, [pixels], "pixels", ["mu", "logvar"][: len(outputs)])
    decoded = _exported(decoder, [outputs[0]], "z", ["pixels"])
    latent, drawn, based = outputs[0].shape[1], None, None
    if prior is not None:
        prior = copy.deepcopy(prior).cpu()
        noise = torch.randn(2, latent + prior.extra, generator=generator)
        drawn = _exported(Draw(prior), [noise], "noise", ["z"])
        if isinstance(prior, Flow):
            with torch.no_grad():
                codes = prior.from_base(noise)
            based = _exported(Base(prior), [codes], "z", ["noise"])
    extra = 0 if prior is None else prior.extra
    return OnnxModels(encoded, decoded, latent, len(outputs) == 2, drawn, extra, based)


def classifier_to_onnx(
    network: ClassNetwork,
    shape: Shape,
    value_range: tuple[float, float],
    temperature: float,
    typical: Typical | None,
) -> bytes:
    """A classifier as an ONNX model of "pixels" to "probabilities" and, where known, "unlikeness".

    Args:
        network: left as it is.
        shape: (C, H, W) of its images.
        value_range: the pixels that stand for black and white.
        temperature: what logits are divided by.
        typical: what the training images look like.

    Raises:
        ConfigError, RunError: as for `to_onnx`.
    """
    pixels = _pixels(shape, value_range, torch.Generator().manual_seed(0))
    module = _Classifier(copy.deepcopy(network).cpu().eval(), value_range, temperature, typical)
    results = ["probabilities", "unlikeness"] if typical is not None else ["probabilities"]
    return _exported(module, [pixels], "pixels", results)


def denoiser_to_onnx(network: DenoisingUNet, shape: Shape, value_range: tuple[float, float]) -> bytes:
    """A U-Net as an ONNX model of "pixels" to "clean" ones, of any size from 8 up.

    Args:
        network: left as it is.
        shape: (C, H, W) of the images that it was trained on.
        value_range: the pixels that stand for black and white.

    Raises:
        ConfigError, RunError: as for `to_onnx`.
    """
    channels, (height, width) = shape[0], network.window
    sizes = (height + 5, 2 * width + 3), (SMALLEST_SIDE, width), (2 * height, 3 * width), shape[1:]
    generator = torch.Generator().manual_seed(0)
    examples = [_pixels((channels, *size), value_range, generator) for size in sizes]
    module = _Denoiser(copy.deepcopy(network).cpu().eval(), value_range)
    return _exported(module, examples, "pixels", ["clean"], any_size=True)


def _pixels(shape: Shape, value_range: tuple[float, float], generator: torch.Generator) -> Tensor:
    low, high = value_range
    return low + (high - low) * torch.rand(2, *shape, generator=generator)


def _exported(
    module: nn.Module, examples: Sequence[Tensor], given: str, results: list[str], any_size: bool = False
) -> bytes:
    """A module as the bytes of an ONNX file whose batch may have any size, compared with torch."""
    try:
        import onnxscript  # noqa: F401  (torch's exporter writes with it)
    except ImportError:
        raise ConfigError("export needs more packages: pip install 'safelight[onnx]'") from None
    axes: dict[int, Any] = {0: torch.export.Dim("batch")}
    if any_size:
        axes |= {
            axis: torch.export.Dim(name, min=SMALLEST_SIDE) for axis, name in ((2, "height"), (3, "width"))
        }
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)  # the exporter talks of packages that it could also use
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's, about itself
            program: Any = torch.onnx.export(
                module,
                (examples[0],),
                input_names=[given],
                output_names=results,
                opset_version=OPSET,
                dynamic_shapes=(axes,),
                dynamo=True,
                verbose=False,
            )
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"ONNX has no form for this network ({reason}); use plain layers") from None
    finally:
        log.setLevel(level)
    content: bytes = program.model_proto.SerializeToString()
    difference = max(_difference(content, module, example) for example in examples)
    if not difference <= TOLERANCE:
        raise RunError(
            f"expected ONNX to compute what torch does within {TOLERANCE} of its scale, got a difference of "
            f"{difference:.2g}; report it, with the network's settings"
        )
    return content


def _difference(content: bytes, module: nn.Module, example: Tensor) -> float:
    """The largest difference between onnxruntime's results and torch's, of one image and of both.

    It is in shares of the greatest number of each result.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    largest = 0.0
    for batch in (example[:1], example):
        with torch.no_grad():
            expected = module(batch)
        got = session.run(None, {session.get_inputs()[0].name: batch.numpy()})
        for a, b in zip(expected if isinstance(expected, tuple) else (expected,), got, strict=True):
            if a.shape != b.shape:
                return float("inf")
            scale = max(LEAST_SCALE, float(a.abs().max()))
            largest = max(largest, float(np.abs(a.numpy() - b).max()) / scale)
    return largest
