"""From a run and a few labels to the start of a classifier's training."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from safelight.config.network import ENCODER_CONFIGS, ClassifierConfig, FineTunedConfig
from safelight.config.reading import check_seed
from safelight.config.run import RunConfig
from safelight.config.task import ClassifyConfig
from safelight.config.training import TrainingConfig
from safelight.data.images import Divided, ImageSet
from safelight.data.label_files import UNKNOWN, Labels, names_of, read_labels
from safelight.errors import ConfigError, DataError
from safelight.labels.probes import linear_probe
from safelight.labels.training import codes_of
from safelight.networks.base import Autoencoder
from safelight.networks.classifier import FineTuned
from safelight.runs.settings import read_settings

__all__ = ["GivenLabels", "choose_settings", "divide", "few_labels", "given_labels", "start_from", "told"]

GivenLabels = Labels | Sequence[str | int | None] | NDArray[np.int64] | str | os.PathLike[str]

STEPS = 1500  # that few images are trained for by default
LEAST_EPOCHS = 4  # that many images are trained for at least: labels are spread anew before each
BATCH_SIZE = 128
DEFAULTS: dict[str, dict[str, Any]] = {"classifier": {"lr": 4e-3}, "fine-tuned": {"lr": 1e-3}}


def given_labels(
    images: ImageSet, labels: GivenLabels | None, encoding: str | None = None, keep_na: bool = False
) -> Labels:
    """Labels in whatever form they are given.

    Args:
        images: whose labels they are.
        labels: each image's class, None or -1 where unknown; a file; or None for the images' own.
        encoding: of the file, as for `read_labels`.
        keep_na: likewise.

    Raises:
        DataError: there are none, or they do not fit the images.
    """
    if isinstance(labels, str | Path | os.PathLike):
        return read_labels(labels, names_of(images), encoding, keep_na)
    if labels is None:
        if images.labels is None:
            raise DataError(
                f"{images.source or 'the images'} have no labels of their own; give some, as in "
                "--labels labels.csv"
            )
        labels = images.labels
    if not isinstance(labels, Labels):
        names = images.classes if labels is images.labels else None
        labels = Labels.of(
            (
                None if label is None or label == UNKNOWN else names[int(label)] if names else label
                for label in labels
            ),
            keep_na,
        )
    if len(labels.numbers) != len(images):
        raise DataError(
            f"expected a label or None for each of {len(images)} images, got {len(labels.numbers)}"
        )
    return labels


def few_labels(images: Divided, labels: Labels, per_class: int, seed: int) -> Labels:
    """Keep only so many of the training images' labels of each class, and none of the validation images'.

    Args:
        images: the run's images.
        labels: all that is known of them, before they are divided.
        per_class: labels of each class.
        seed: fixes which.

    Raises:
        DataError: a class has fewer.
    """
    train, test = images.rows["train"], images.rows["test"]
    check_seed(seed)
    rng = np.random.default_rng(seed)
    kept = np.full(len(labels.numbers), UNKNOWN)
    kept[test] = labels.numbers[test]
    for number, name in enumerate(labels.classes):
        places = train[labels.numbers[train] == number]
        if not 1 <= per_class <= len(places):
            raise DataError(
                f"expected from 1 to {len(places)} labels a class, as there are training images of class "
                f"{name!r}, got {per_class}"
            )
        kept[rng.choice(places, per_class, replace=False)] = number
    return replace(labels, numbers=kept)


def divide(
    images: ImageSet, labels: Labels, validation: int | None, limit: int | None
) -> tuple[Divided, Labels]:
    """Divide a set as labels say, and so that of each class there is something to learn from.

    Args:
        images: to divide.
        labels: of them; those of a class that would leave training with none of it go there.
        validation: as in `ImageSet.split`.
        limit: likewise.

    Returns:
        The parts, and the labels, which say where images went.
    """
    divided = images.split(validation, limit, labels.parts)
    there = np.unique(labels.numbers[divided.rows["train"]])
    lost = ~np.isin(labels.numbers, [UNKNOWN, *there])
    if lost.any():
        labels = labels.trained_on(lost)
        divided = images.split(validation, limit, labels.parts)
    return divided.labelled(labels.numbers, labels.classes), labels


def told(images: ImageSet, divided: Divided, labels: Labels, limit: int | None) -> tuple[str, ...]:
    """What became of the labels, in words: nothing of theirs happens silently.

    Args:
        images: the whole set.
        divided: its parts.
        labels: where they all are.
        limit: of training images.
    """
    known = labels.numbers != UNKNOWN
    count, said = int(known.sum()), []
    if labels.blank:
        words = "NA and the like; --keep-na takes such words for classes"
        said.append(f"{labels.blank:,} rows of the file give none (empty, {words})")
    usual = images.split(divided.held_out, limit)
    came = int(known[np.setdiff1d(divided.rows["train"], usual.rows["train"])].sum())
    if came:
        said.append(f"{came:,} of {count:,} were of images kept from training, which are trained on now")
    measured, within = np.zeros(len(known), bool), np.zeros(len(known), bool)
    for name, rows in divided.rows.items():
        within[rows] = True
        measured[rows] = known[rows] & (name != "train")
    left_out = int((known & ~within).sum())
    if left_out:
        said.append(f"{left_out:,} of {count:,} are left out, as their images are beyond the limit")
    if measured.any():
        only = np.setdiff1d(labels.numbers[known], labels.numbers[measured])
        if len(only):
            some = ", ".join(labels.classes[number] for number in only[:5])
            more = f" and {len(only) - 5} more" * (len(only) > 5)
            said.append(f"all of {some}{more} are trained on, so that these classes are not measured")
    return tuple(f"labels: {words}" for words in said)


def choose_settings(
    images: Divided,
    labels: Labels,
    start: RunConfig | None,
    network: str | None,
    supervised_only: bool,
    settings: Mapping[str, Any],
) -> tuple[ClassifierConfig | FineTunedConfig, ClassifyConfig, TrainingConfig]:
    """What to train, and how.

    Args:
        images: the run's images.
        labels: those that were given, before they are divided.
        start: the settings of the run to start from.
        network: classifier, fine-tuned, or None for what suits.
        supervised_only: leave the unlabelled images alone.
        settings: fields of `TrainingConfig` and of `ClassifyConfig`.

    Raises:
        ConfigError: a setting does not fit.
        DataError: the labels of some class were all told to go elsewhere than to training.
    """
    train = images.rows["train"]
    counts = np.bincount(labels.numbers[train] + 1, minlength=len(labels.classes) + 1)
    missing = [name for name, count in zip(labels.classes, counts[1:], strict=True) if count == 0]
    if missing:
        raise DataError(
            f"expected a label of each class among the {len(train)} training images, got none of "
            f"{', '.join(missing[:5])}; leave some of it for training"
        )
    has_encoder = start is not None and start.network.name in ENCODER_CONFIGS
    name = network or ("fine-tuned" if supervised_only and has_encoder else "classifier")
    if name not in DEFAULTS:
        raise ConfigError(f"network: expected {' or '.join(DEFAULTS)}, got {name!r}")
    made: ClassifierConfig | FineTunedConfig = ClassifierConfig(classes=len(labels.classes))
    if name == "fine-tuned":
        if start is None or not has_encoder:
            raise ConfigError(
                "network: fine-tuned needs a run of an autoencoder to start from; use classifier"
            )
        made = FineTunedConfig(encoder=cast(Any, start.network), classes=len(labels.classes))
    chosen: dict[str, Any] = DEFAULTS[name] | dict(settings)
    if chosen.get("batch_size") is None:
        chosen["batch_size"] = min(BATCH_SIZE, len(train))
    steps = max(1, len(train) // max(1, int(chosen["batch_size"])))
    epochs = max(LEAST_EPOCHS, math.ceil(STEPS / steps))
    is_spread = bool(counts[0]) and not supervised_only
    fixed = {"class_names": labels.classes, "spread": is_spread}
    _, task, training = read_settings(made, "classify", {"epochs": epochs} | chosen | fixed)
    return made, task, training


def start_from(network: FineTuned, start: Autoencoder, images: ImageSet) -> None:
    """Give a network the weights of an autoencoder, and the head that is best on its codes as they are.

    Args:
        network: changed in place.
        start: with the same settings.
        images: with labels, -1 where unknown.
    """
    network.autoencoder.load_state_dict(start.state_dict())
    labels = cast(NDArray[np.int64], images.labels)
    known = np.flatnonzero(labels != UNKNOWN)
    regression = linear_probe(codes_of(start, images.subset(known)), labels[known])
    weight, bias = regression.coef_, regression.intercept_
    if len(weight) == 1:  # of two classes only the second's lead over the first is known
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    with torch.no_grad():
        network.head.weight.copy_(torch.from_numpy(weight))
        network.head.bias.copy_(torch.from_numpy(bias))
