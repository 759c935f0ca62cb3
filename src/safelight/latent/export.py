"""Encoder and decoder as ONNX files, which take and give pixels."""

from __future__ import annotations

import copy
import logging
import os
import warnings
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
import torch
from torch import Tensor, nn

from safelight.errors import ConfigError, RunError
from safelight.files import why, write_file
from safelight.networks.base import Autoencoder, Shape
from safelight.tasks.priors import Flow, Prior

__all__ = ["Decoder", "Draw", "Encoder", "OnnxModels", "export_onnx", "to_onnx"]

FILES = ("encoder.onnx", "decoder.onnx", "README.md", "prior.onnx")
TOLERANCE = 1e-4
OPSET = 18


class _OfPixels(nn.Module, ABC):
    """A half of a network that takes or gives pixels.

    Args:
        network: in evaluation mode.
        value_range: the pixels that stand for black and white.
    """

    def __init__(self, network: Autoencoder, value_range: tuple[float, float]) -> None:
        super().__init__()
        self.network = network
        self.low, self.high = value_range

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Pixels to codes, or codes to pixels."""


@final
class Encoder(_OfPixels):
    """Pixels to codes: a network's encoder with the scaling of pixels in front."""

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Pixels (N, C, H, W) to mu (N, D) and, of a variational network, logvar (N, D)."""
        mu, logvar = self.network.encode((pixels - self.low) / (self.high - self.low))
        return (mu,) if logvar is None else (mu, logvar)


@final
class Decoder(_OfPixels):
    """Codes to pixels: a network's decoder with the sigmoid and the scaling of pixels behind."""

    def forward(self, z: Tensor) -> Tensor:
        """Codes (N, D) to pixels (N, C, H, W)."""
        return torch.sigmoid(self.network.decode(z)) * (self.high - self.low) + self.low


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
        RunError: the results differ by more than 1e-4.
    """
    network = copy.deepcopy(network).cpu().eval()
    low, high = value_range
    generator = torch.Generator().manual_seed(0)
    pixels = low + (high - low) * torch.rand(2, *shape, generator=generator)
    encoder, decoder = Encoder(network, value_range), Decoder(network, value_range)
    with torch.no_grad():
        outputs = encoder(pixels)
    encoded = _exported(encoder, pixels, "pixels", ["mu", "logvar"][: len(outputs)])
    decoded = _exported(decoder, outputs[0], "z", ["pixels"])
    differences = [
        _difference(encoded, encoder, pixels),
        _difference(decoded, decoder, outputs[0]) / (high - low),
    ]
    latent, drawn, based = outputs[0].shape[1], None, None
    if prior is not None:
        noise = torch.randn(2, latent + prior.extra, generator=generator)
        draw = Draw(copy.deepcopy(prior).cpu())
        drawn = _exported(draw, noise, "noise", ["z"])
        differences.append(_difference(drawn, draw, noise))
        if isinstance(draw.prior, Flow):
            base, codes = Base(draw.prior), draw(noise).detach()
            based = _exported(base, codes, "z", ["noise"])
            differences.append(_difference(based, base, codes))
    if not max(differences) <= TOLERANCE:
        raise RunError(
            f"expected ONNX to compute what torch does within {TOLERANCE}, got a difference of "
            f"{max(differences):.2g}; report it, with the network's settings"
        )
    extra = 0 if prior is None else prior.extra
    return OnnxModels(encoded, decoded, latent, len(outputs) == 2, drawn, extra, based)


def export_onnx(
    network: Autoencoder,
    shape: Shape,
    value_range: tuple[float, float],
    folder: str | os.PathLike[str],
    overwrite: bool = False,
    prior: Prior | None = None,
) -> Path:
    """Write `to_onnx`'s models as encoder.onnx and decoder.onnx, and a README.md that says how to use them.

    Args:
        network: left as it is.
        shape: (C, H, W) of its images.
        value_range: the pixels that stand for black and white, such as (0, 255).
        folder: made if it is not there.
        overwrite: replace files of these names.
        prior: one that was learned, to be written as prior.onnx.

    Returns:
        The folder.

    Raises:
        ConfigError: as for `to_onnx`.
        RunError: there are such files already, the folder cannot be written, or as for `to_onnx`.

    Example:
        >>> import tempfile
        >>> from safelight.networks.deep_conv import DeepConvVAE
        >>> folder = export_onnx(DeepConvVAE((1, 8, 8)), (1, 8, 8), (0, 16), tempfile.mkdtemp())
        >>> sorted(path.name for path in folder.iterdir())
        ['README.md', 'decoder.onnx', 'encoder.onnx']
    """
    folder = _folder(folder, overwrite)
    models = to_onnx(network, shape, value_range, prior)
    contents = models.encoder, models.decoder, _readme(shape, value_range, models), models.prior
    for name, content in zip(FILES, contents, strict=True):
        if content is None:
            (folder / name).unlink(missing_ok=True)  # of an export before this
        else:
            write_file(folder / name, content)
    return folder


def _folder(path: str | os.PathLike[str], overwrite: bool) -> Path:
    folder = Path(path).expanduser()
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise RunError(f"expected a folder to write, but {folder} is a link or a file; choose another --onnx")
    there = [name for name in FILES if (folder / name).exists() or (folder / name).is_symlink()]
    if there and not overwrite:
        raise RunError(
            f"{folder / there[0]} is there already; replace it with --overwrite, or choose another --onnx"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot make the folder {folder}: {why(error)} or choose another --onnx") from None
    return folder


def _exported(module: nn.Module, example: Tensor, given: str, results: list[str]) -> bytes:
    """A module as the bytes of an ONNX file whose batch may have any size."""
    try:
        import onnxscript  # noqa: F401  (torch's exporter writes with it)
    except ImportError:
        raise ConfigError("export needs more packages: pip install 'safelight[onnx]'") from None
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)  # the exporter talks of packages that it could also use
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's, about itself
            program: Any = torch.onnx.export(
                module,
                (example,),
                input_names=[given],
                output_names=results,
                opset_version=OPSET,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                dynamo=True,
                verbose=False,
            )
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"ONNX has no form for this network ({reason}); use plain layers") from None
    finally:
        log.setLevel(level)
    content: bytes = program.model_proto.SerializeToString()
    return content


def _difference(content: bytes, module: nn.Module, example: Tensor) -> float:
    """The largest difference between onnxruntime's results and torch's, of one image and of both."""
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
            largest = max(largest, float(np.abs(a.numpy() - b).max()))
    return largest


def _readme(shape: Shape, value_range: tuple[float, float], models: OnnxModels) -> str:
    latent = models.latent
    channels, height, width = shape
    low, high = (f"{value:g}" for value in value_range)
    outputs = f"`mu` (N, {latent}), the codes" + (
        f"; `logvar` (N, {latent}), logarithms of their variances" if models.is_variational else ""
    )
    numbers, is_learned = models.numbers, models.prior is not None
    row = f"| `prior.onnx` | `noise` (N, {numbers}), standard normal | `z` (N, {latent}), new codes |\n"
    session = 'prior = onnxruntime.InferenceSession("prior.onnx")\n'
    noise = f"np.random.randn(16, {numbers}).astype(np.float32)"
    drawn = f'prior.run(["z"], {{"noise": {noise}}})[0]' if is_learned else noise
    return f"""# An autoencoder in ONNX files

Written by [safelight](https://pypi.org/project/safelight/).

| file | takes | gives |
| --- | --- | --- |
| `encoder.onnx` | `pixels` (N, {channels}, {height}, {width}) | {outputs} |
| `decoder.onnx` | `z` (N, {latent}) | `pixels` (N, {channels}, {height}, {width}) |
{row if is_learned else ""}
All are float32; N is any number of images. Pixels go from {low} (black) to {high} (white), as in the training
images: the scaling is inside.

## Python

`pip install onnxruntime numpy`

```python
import numpy as np
import onnxruntime

encoder = onnxruntime.InferenceSession("encoder.onnx")
decoder = onnxruntime.InferenceSession("decoder.onnx")
{session if is_learned else ""}
pixels = np.full((1, {channels}, {height}, {width}), {low}, np.float32)  # your images
mu = encoder.run(["mu"], {{"pixels": pixels}})[0]
again = decoder.run(["pixels"], {{"z": mu}})[0]
new = decoder.run(["pixels"], {{"z": {drawn}}})[0]
```

## JavaScript

`npm install onnxruntime-web` for a browser, `onnxruntime-node` for Node.js.

```js
import * as ort from "onnxruntime-web";

const encoder = await ort.InferenceSession.create("encoder.onnx");
const decoder = await ort.InferenceSession.create("decoder.onnx");

const pixels = new ort.Tensor("float32", new Float32Array({channels * height * width}).fill({low}), \
[1, {channels}, {height}, {width}]);
const {{ mu }} = await encoder.run({{ pixels }});
const again = (await decoder.run({{ z: mu }})).pixels.data; // a Float32Array of {channels * height * width}
```
"""
