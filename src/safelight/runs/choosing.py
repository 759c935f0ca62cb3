"""Settings that nobody named, chosen from the images; every choice with its reason."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, final

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from safelight.config.data import DataConfig, Fit
from safelight.config.network import ClassifierConfig, CustomNetwork, DeepConvConfig, UNetConfig
from safelight.config.run import RunConfig
from safelight.config.task import AutoencodeConfig, ClassifyConfig
from safelight.config.training import TrainingConfig
from safelight.data.components import fit_components, sample_of
from safelight.data.images import Divided, ImageSet
from safelight.machine import cpu_threads
from safelight.networks.linear_path import coarse
from safelight.networks.table import image_cost
from safelight.runs.assembly import Parts
from safelight.runs.training import fit

__all__ = ["Choices", "Plan", "choose", "make_plan"]

BUDGET = 1e14  # FLOPs: ten minutes of two cores that do 83 billion a second each
MOST_STEPS, FEW_STEPS = 8_000, 3_000
EPOCHS = (5, 400)
LEAST_BATCH, MOST_BATCH = 16, 64
BATCHES_AN_EPOCH = 16  # at least, where batches can be smaller
LOOKED_AT = 2_000  # images
SMALLEST_MAP = 8
WIDEST, NARROWEST = 128, 16  # stages
BLACK_AND_WHITE = 0.75
OF_SQUARES = ("gaussian", "student")  # likelihoods of squared errors, which PCA makes least
CODE = (8, 128)
EXPLAINED = 0.95
IMAGES_A_DIMENSION, VALUES_A_DIMENSION = 50, 6
TIMED = 8  # steps
LEAST_HALVED = 20  # images, to compare one half with the other
COMPARED = 16  # principal components
AS_LIKELY = 1.1


@dataclass(frozen=True)
class Choices:
    """Settings in which nothing is open.

    Attributes:
        network: its settings.
        task: its settings.
        training: epochs, batches and rate too.
        reasons: a sentence for each choice.
    """

    network: Any
    task: Any
    training: TrainingConfig
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What a training is going to be, told before it begins.

    Attributes:
        config: all settings; its notes say what was done to the pictures, and why settings are what they are.
        images: how many there are for training, validation and test.
        steps: batches in all epochs.
        seconds: that they will take, by a few steps that were tried.
    """

    config: RunConfig
    images: Mapping[str, int]
    steps: int
    seconds: float

    @property
    def epochs(self) -> int:
        """Times every training image will be seen."""
        return self.config.training.epochs


def choose(
    train: ImageSet, network: Any, task: Any, training: TrainingConfig, named: Collection[str]
) -> Choices:
    """Choose the settings that were not named from the training images.

    Args:
        train: the training images.
        network: its settings; those not named are replaced.
        task: likewise.
        training: likewise.
        named: the settings that somebody named.

    Example:
        >>> import safelight
        >>> from safelight.config.network import ConvVAEConfig
        >>> digits = safelight.load("digits").split().train
        >>> found = choose(digits, ConvVAEConfig(), AutoencodeConfig(), TrainingConfig(), {"lr"})
        >>> found.task.likelihood, found.training.epochs, found.training.lr
        ('student', 348, 0.004)
    """
    chooser = _Chooser(train, named)
    if isinstance(task, AutoencodeConfig):
        task = chooser.augment(chooser.likelihood(task))
    if isinstance(network, DeepConvConfig):
        network = chooser.stages(network)
        likelihood = getattr(task, "likelihood", "bernoulli")
        network = chooser.code(network, likelihood)
        network = chooser.linear_path(network, likelihood)
    if isinstance(network, ClassifierConfig):
        network = chooser.classes(network)
    names = train.classes or ()
    if isinstance(task, ClassifyConfig) and len(names) == getattr(network, "classes", None):
        task = replace(task, class_names=names)
    training = chooser.rate(training, network, task)
    training = chooser.budget(training, network)
    return Choices(network, task, training, tuple(chooser.reasons))


@final
class _Chooser:
    """The rules, one method each."""

    def __init__(self, train: ImageSet, named: Collection[str]) -> None:
        self.train = train
        self.named = named
        self.reasons: list[str] = []

    def likelihood(self, task: AutoencodeConfig) -> AutoencodeConfig:
        """Bernoulli where pixels are nearly black or white, else Student's t."""
        if "likelihood" in self.named:
            return task
        share = _contrast(sample_of(self.train, LOOKED_AT))
        is_binary = share >= BLACK_AND_WHITE
        chosen: Literal["bernoulli", "student"] = "bernoulli" if is_binary else "student"
        self.reasons.append(
            f"likelihood {chosen}: pixels vary {share:.0%} as much as if all were black or white, "
            f"{'at least' if is_binary else 'less than'} {BLACK_AND_WHITE:.0%}"
        )
        return replace(task, likelihood=chosen)

    def augment(self, task: AutoencodeConfig) -> AutoencodeConfig:
        """Ways to mirror and turn images that leave them as likely, to PCA, as others that it did not see."""
        if "augment" in self.named or len(self.train) < LEAST_HALVED:
            return task
        mirrored, turned = _unlikeness(sample_of(self.train, LOOKED_AT))
        chosen = "none" if mirrored > AS_LIKELY else "mirror" if turned > AS_LIKELY else "turn"
        self.reasons.append(
            f"augment {chosen}: PCA of half the images misses the others by {mirrored - 1:.0%} more if they "
            f"are mirrored, by {turned - 1:.0%} if turned; {AS_LIKELY - 1:.0%} is allowed"
        )
        return replace(task, augment=chosen)

    def stages(self, network: DeepConvConfig) -> DeepConvConfig:
        """Halve until maps have at most 8 pixels a side; the last stage is the widest."""
        if {"channels", "kernels", "strides"} & set(self.named):
            return network
        _, height, width = self.train.shape
        stages = 2
        while max(height, width) >> stages > SMALLEST_MAP and min(height, width) >> (stages + 1) >= 1:
            stages += 1
        widest = WIDEST if stages > 2 else WIDEST // 2
        channels = tuple(max(NARROWEST, widest >> (stages - 1 - stage)) for stage in range(stages))
        self.reasons.append(
            f"channels {','.join(map(str, channels))}: {stages} halvings make {height}×{width} pixels "
            f"{height >> stages}×{width >> stages}"
        )
        return replace(network, channels=channels)

    def code(self, network: DeepConvConfig, likelihood: str) -> DeepConvConfig:
        """As many dimensions as PCA needs for 95% of the variance, if there are images enough."""
        if "latent" in self.named:
            return network
        if likelihood == "bernoulli":
            self.reasons.append(
                f"latent {network.latent}: what serves digits, as variance counts edges of black and white "
                "as many directions"
            )
            return network
        least, most = CODE
        shares = fit_components(
            sample_of(self.train, LOOKED_AT), most, coarse(self.train.shape[1:])
        ).shares.cumsum()
        needed = int((shares < EXPLAINED).sum()) + 1
        values = math.prod(self.train.shape)
        allowed = min(len(self.train) // IMAGES_A_DIMENSION, values // VALUES_A_DIMENSION, most)
        latent = max(least, min(needed, allowed))
        words = f"{needed}" if needed <= len(shares) else f"more than {len(shares)}"
        self.reasons.append(
            f"latent {latent}: PCA needs {words} dimensions for {EXPLAINED:.0%} of the variance, and "
            f"{len(self.train):,} images of {values:,} values allow {max(least, allowed)}"
        )
        return replace(network, latent=latent)

    def linear_path(self, network: DeepConvConfig, likelihood: str) -> DeepConvConfig:
        """From PCA on, where the squared error that PCA makes least is what the likelihood counts."""
        if "linear_path" in self.named or likelihood not in OF_SQUARES:
            return network
        self.reasons.append(f"linear path pca: for likelihood {likelihood}")
        return replace(network, linear_path="pca")

    def classes(self, network: ClassifierConfig) -> ClassifierConfig:
        """As many as the set has."""
        labels = self.train.labels
        if "classes" in self.named or labels is None:
            return network
        count = len(self.train.classes or ()) or int(labels.max()) + 1
        if count < 2 or count == network.classes:
            return network
        self.reasons.append(f"classes {count}: as many as the set has")
        return replace(network, classes=count)

    def rate(self, training: TrainingConfig, network: Any, task: Any) -> TrainingConfig:
        """What was best on validation images for such a network and likelihood."""
        is_unet, likelihood = isinstance(network, UNetConfig), getattr(task, "likelihood", "")
        if "lr" in self.named or not (is_unet or likelihood in OF_SQUARES):
            return training
        self.reasons.append(f"lr 0.002: for {'a U-Net' if is_unet else f'likelihood {likelihood}'}")
        return replace(training, lr=2e-3)

    def budget(self, training: TrainingConfig, network: Any) -> TrainingConfig:
        """As many steps as ten minutes of two cores allow, by what a step costs; none by the clock."""
        count, batch = len(self.train), training.batch_size
        if batch is None:
            batch = MOST_BATCH
            while batch > LEAST_BATCH and (
                count < batch * BATCHES_AN_EPOCH or self._steps(network, training, batch) < FEW_STEPS
            ):
                batch //= 2
            batch = min(batch, count)
        training = replace(training, batch_size=batch)
        if batch != MOST_BATCH and "batch_size" not in self.named:
            self.reasons.append(f"batch size {batch}: for {FEW_STEPS:,} steps or more")
        if "epochs" in self.named:
            return training
        steps = self._steps(network, training, batch)
        an_epoch = max(1, count // batch + (count % batch > 1))  # a last image alone is left to another epoch
        least, most = EPOCHS
        epochs = min(max(least, round(steps / an_epoch)), most)
        self.reasons.append(
            f"epochs {epochs}: {epochs * an_epoch:,} steps of {an_epoch:,} an epoch, "
            f"{'by what a step costs' if steps < MOST_STEPS else 'which is enough'}"
        )
        return replace(training, epochs=epochs)

    def _steps(self, network: Any, training: TrainingConfig, batch: int) -> int:
        if isinstance(network, CustomNetwork):  # nobody knows what it costs
            return MOST_STEPS
        channels, height, width = self.train.shape
        image = Fit(height, width, channels)
        config = RunConfig(network, image, DataConfig(), replace(training, batch_size=batch))
        return min(MOST_STEPS, round(BUDGET / (batch * image_cost(config))))


def _contrast(images: ImageSet) -> float:
    """The variance of pixels over the greatest that their mean allows: 1 where all are black or white.

    A constant background, black or white, changes it little: both variances shrink.
    """

    def moments(x: Tensor) -> Tensor:
        return torch.stack([x.flatten(1).mean(1), x.flatten(1).square().mean(1)], 1)

    mean, square = images.mapped(moments).mean(0, dtype=np.float64)
    return float((square - mean**2) / max(mean * (1 - mean), 1e-12))


def _unlikeness(images: ImageSet) -> tuple[float, float]:
    """By which factors PCA of half the images misses the others more if they are mirrored, and if turned."""
    order = np.random.default_rng(0).permutation(len(images))
    seen, others = (images.subset(np.sort(half)) for half in np.array_split(order, 2))
    size = coarse(images.shape[1:])
    found = fit_components(seen, COMPARED, size)
    ways: list[Callable[[Tensor], Tensor]] = [
        lambda x: x,
        lambda x: x.flip(3),
        lambda x: x.flip(2),
        lambda x: x.transpose(2, 3) if size[0] == size[1] else x,
    ]

    def errors(x: Tensor) -> Tensor:
        shrunk = F.interpolate(x, size, mode="area")
        shown = (way(shrunk) for way in ways)
        return torch.stack([(found.reconstruct(y) - y).square().flatten(1).mean(1) for y in shown], 1)

    plain, mirrored, upside_down, transposed = others.mapped(errors).mean(0, dtype=np.float64).clip(1e-12)
    return mirrored / plain, max(mirrored, upside_down, transposed) / plain


def make_plan(parts: Parts, config: RunConfig, images: Divided) -> Plan:
    """What a training is going to be; a few steps are timed on copies, so that it notices nothing itself."""
    network, loss = copy.deepcopy((parts.network, parts.loss))
    batches = parts.batches(config, images.train)
    marks = [time.perf_counter()]

    def mark(state: object) -> bool:
        marks.append(time.perf_counter())
        return len(marks) > TIMED

    with cpu_threads(config.training.threads):
        fit(network, batches, loss, config.training, on_step=mark)
    steps = config.training.epochs * len(batches)
    counts = {name: len(rows) for name, rows in images.rows.items()}
    return Plan(config, counts, steps, steps * float(np.median(np.diff(marks))))
