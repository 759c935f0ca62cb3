"""A run's networks as a folder of ONNX files, with how pictures are fitted and a README that feeds any."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from safelight.config.data import Fit
from safelight.errors import RunError
from safelight.files import why, write_file
from safelight.latent.manual import manual
from safelight.latent.onnx import classifier_to_onnx, denoiser_to_onnx, to_onnx
from safelight.networks.base import Autoencoder, Network
from safelight.networks.classifier import ClassNetwork
from safelight.networks.unet import DenoisingUNet
from safelight.runs.typical import Typical
from safelight.tasks.priors import Prior

__all__ = ["MODELS", "Told", "export_onnx"]

MODELS = ("encoder.onnx", "decoder.onnx", "prior.onnx", "base.onnx", "classifier.onnx", "denoiser.onnx")
FILES = (*MODELS, "fit.json", "README.md")


class Told(NamedTuple):
    """What a classifier's numbers mean.

    Attributes:
        classes: their names.
        temperature: what logits are divided by for honest probabilities.
        typical: what the training images look like, or None.
    """

    classes: tuple[str, ...]
    temperature: float
    typical: Typical | None


def export_onnx(
    network: Network,
    fit: Fit,
    folder: str | os.PathLike[str],
    overwrite: bool = False,
    prior: Prior | None = None,
    told: Told | None = None,
) -> Path:
    """Write a network as ONNX files, with fit.json and a README.md that says how to use them.

    An autoencoder becomes encoder.onnx and decoder.onnx, a classifier classifier.onnx, a U-Net denoiser.onnx.
    Each holds the fit, and a classifier the names of its classes, in its metadata too.

    Args:
        network: left as it is.
        fit: of the images that it was made for.
        folder: made if it is not there.
        overwrite: replace files of these names.
        prior: one that was learned, to be written as prior.onnx; base.onnx reverses one that is a flow.
        told: of a classifier.

    Returns:
        The folder.

    Raises:
        ConfigError: the packages for ONNX are not installed, or ONNX has no form for a network of one's own.
        RunError: there are such files already, the folder cannot be written, the network has no such form, or
            the results differ by more than 1e-4 of their scale.

    Example:
        >>> import tempfile
        >>> from safelight.networks.deep_conv import DeepConvVAE
        >>> folder = export_onnx(DeepConvVAE((1, 8, 8)), Fit(8, 8, 1, (0, 16)), tempfile.mkdtemp())
        >>> sorted(path.name for path in folder.iterdir())
        ['README.md', 'decoder.onnx', 'encoder.onnx', 'fit.json']
    """
    folder = _folder(folder, overwrite)
    models, numbers = _models(network, fit, prior, told)
    about = {"fit": json.dumps(asdict(fit))} | ({"classes": json.dumps(told.classes)} if told else {})
    contents = {name: _with_metadata(content, about) for name, content in models.items()}
    contents["fit.json"] = json.dumps(asdict(fit), indent=2).encode()
    contents["README.md"] = manual(fit, models, told.classes if told else (), numbers).encode()
    for name in FILES:
        if name in contents:
            write_file(folder / name, contents[name])
        else:
            (folder / name).unlink(missing_ok=True)  # of an export before this
    return folder


def _models(
    network: Network, fit: Fit, prior: Prior | None, told: Told | None
) -> tuple[dict[str, bytes], int]:
    """Models by the names of their files, and how many numbers a new code is drawn from."""
    if isinstance(network, Autoencoder):
        made = to_onnx(network, fit.shape, fit.range, prior)
        found = {"encoder.onnx": made.encoder, "decoder.onnx": made.decoder}
        more = {"prior.onnx": made.prior, "base.onnx": made.base}
        return found | {name: model for name, model in more.items() if model is not None}, made.numbers
    if isinstance(network, ClassNetwork) and told is not None:
        content = classifier_to_onnx(network, fit.shape, fit.range, told.temperature, told.typical)
        return {"classifier.onnx": content}, 0
    if isinstance(network, DenoisingUNet):
        return {"denoiser.onnx": denoiser_to_onnx(network, fit.shape, fit.range)}, 0
    raise RunError(
        f"expected an autoencoder, a classifier or a U-Net, got a {type(network).__name__}; export it with "
        "torch.onnx.export"
    )


def _with_metadata(content: bytes, about: dict[str, str]) -> bytes:
    import onnx

    model = onnx.load_model_from_string(content)
    onnx.helper.set_model_props(model, about)
    return bytes(model.SerializeToString())


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
