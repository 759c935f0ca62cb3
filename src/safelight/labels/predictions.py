"""What a classifier found, as a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import nn

from safelight.data.images import ImageSet
from safelight.data.label_files import names_of
from safelight.errors import ConfigError
from safelight.files import write_file
from safelight.labels.training import codes_of, features_of
from safelight.latent.codes import Codes
from safelight.networks.base import Network
from safelight.runs.typical import Typical
from safelight.tasks.calibration import softmax
from safelight.tasks.classify import Predictions, logits_of, temperature_of

__all__ = ["feature_codes", "predict", "write_predictions"]


def predict(
    network: Network,
    loss: nn.Module,
    classes: tuple[str, ...],
    images: ImageSet,
    typical: Typical | None = None,
) -> Predictions:
    """Tell which class images are of.

    Args:
        network: in evaluation mode.
        loss: its temperature divides the logits.
        classes: their names; without, their numbers.
        images: to classify.
        typical: what the training images look like to the network.
    """
    logits = logits_of(network, images)
    return Predictions(
        classes or tuple(map(str, range(logits.shape[1]))),
        softmax(logits, temperature_of(loss)),
        typical.unlike(features_of(network, images)) if typical else None,
    )


def feature_codes(network: Network, images: ImageSet) -> Codes:
    """A classifier's features as codes, for maps of them; as there is no decoder, nothing is lost."""
    features = codes_of(network, images)
    lost = np.zeros(len(images), np.float32)
    return Codes(features, None, lost, images.labels, tuple(names_of(images)))


def write_predictions(
    path: Path, names: Sequence[str], found: Predictions, min_probability: float = 0.0
) -> None:
    """Write predictions as a table, which `read_labels` reads too, or as an array.

    Args:
        path: of a .csv file (filename, label, probability, unlike, and each class's own probability; "yes"
            under unlike marks an image unlike those trained on), or a .npy file of the probabilities alone.
        names: of the images.
        found: their predictions.
        min_probability: a label less probable than that is left empty.

    Raises:
        ConfigError: the file's name ends otherwise.
        RunError: it cannot be written.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "found.csv"
        >>> write_predictions(path, ["a.png"], Predictions(("cat", "dog"), np.array([[0.25, 0.75]])))
        >>> print(path.read_text().strip())
        filename,label,probability,unlike,cat,dog
        a.png,dog,0.750000,,0.250000,0.750000
    """
    if path.suffix == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, found.probabilities)
        write_file(path, buffer.getvalue())
        return
    if path.suffix != ".csv":
        raise ConfigError(f"--out: expected a name that ends in .csv or .npy, got {path.name!r}")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("filename", "label", "probability", "unlike", *found.classes))
    unlike = np.zeros(len(found.probabilities), bool) if found.unlike is None else found.unlike
    for name, label, is_unlike, row in zip(
        names, found.names(min_probability), unlike, found.probabilities, strict=True
    ):
        mark = "yes" if is_unlike else ""
        writer.writerow((name, label or "", f"{row.max():.6f}", mark, *(f"{p:.6f}" for p in row)))
    write_file(path, text.getvalue())
