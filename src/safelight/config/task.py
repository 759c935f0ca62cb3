"""What a run is trained for, in settings; and the words that people read of its measures and pictures."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from safelight.config.corruption import parse_corruption
from safelight.config.reading import CHOSEN, DERIVED, MAX_COUNT, check

__all__ = [
    "AUGMENTATIONS",
    "PLAIN_NAME",
    "PRIORS",
    "TASK_CONFIGS",
    "AutoencodeConfig",
    "AutoencodeEvaluation",
    "ClassifyConfig",
    "CustomTask",
    "DenoiseConfig",
    "DenoiseEvaluation",
    "Measure",
    "NoOptions",
    "Sheet",
]

PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")  # of a picture

AUGMENTATIONS = {  # of images, in words
    "none": "as they are",
    "mirror": "every other one mirrored, left to right",
    "turn": "mirrored, and turned by quarters, or by halves where height and width differ",
}

PRIORS = {  # of codes, in words
    "normal": "N(0, 1)",
    "mixture": "a mixture of 128 normal densities, learned along",
    "flow": "six affine coupling layers over N(0, 1), learned along",
}


@dataclass(frozen=True)
class Measure:
    """A number that says how good a network is: one row of a task's table.

    Attributes:
        name: its key in history.jsonl and evaluation.json.
        words: what people call it.
        meaning: its convention, in a few words.
        unit: such as nats per image.
        digits: shown after the point.
        lower_is_better: which way it should go.
        is_headline: whether it says more to people than the first of its table.
    """

    name: str
    words: str
    meaning: str = ""
    unit: str = ""
    digits: int = 2
    lower_is_better: bool = True
    is_headline: bool = False

    @property
    def title(self) -> str:
        """Its words and, where it has one, its unit."""
        return f"{self.words} ({self.unit})" if self.unit else self.words

    def ordered(self, value: float) -> float:
        """The value, or its negative where higher is better: least is best."""
        return value if self.lower_is_better else -value


@dataclass(frozen=True)
class Sheet:
    """A picture that a task draws after every epoch.

    Attributes:
        name: of its files.
        title: its heading in a report.
        words: what is to be seen on it.
    """

    name: str
    title: str
    words: str

    def __post_init__(self) -> None:
        is_plain = PLAIN_NAME.fullmatch(self.name) is not None
        check(is_plain, "sheet", "a name of letters, digits, - and _", repr(self.name))


@dataclass(frozen=True)
class NoOptions:
    """A task's evaluation that has none."""


@dataclass(frozen=True)
class AutoencodeEvaluation:
    """What to measure of an autoencoder.

    Attributes:
        samples: samples of z of the importance-weighted bound; 0 leaves it out
    """

    samples: int = 50

    def __post_init__(self) -> None:
        check(0 <= self.samples <= MAX_COUNT, "samples", f"0 to {MAX_COUNT:,}", self.samples)


@dataclass(frozen=True)
class AutoencodeConfig:
    """Training to reconstruct: the negative ELBO, or the reconstruction alone where codes are points.

    Attributes:
        name: the task
        likelihood: what the decoder's output means: shares of white, or the middle of a Gaussian with one
            variance for all images, or of Student's t, with a variance for each image
        beta: weight of the KL term
        beta_warmup: share of the run over which beta rises from zero
        prior: what codes are drawn from: N(0, 1), or a mixture or a flow that is learned along; where codes
            are points, these are a density fitted to them, which leaves them as they are
        augment: how the images are shown in training: none, as they are; mirror, every other one mirrored; or
            turn, in all eight ways that a square can lie, four where height and width differ
    """

    evaluation: ClassVar[type[Any]] = AutoencodeEvaluation

    name: Literal["autoencode"] = "autoencode"
    likelihood: Literal["bernoulli", "gaussian", "student"] = field(default="bernoulli", metadata=CHOSEN)
    beta: float = 1.0
    beta_warmup: float = 0.0
    prior: str = field(default="normal", metadata={"choices": PRIORS})  # as in runs that do not say
    augment: str = field(default="none", metadata=CHOSEN | {"choices": AUGMENTATIONS})

    def __post_init__(self) -> None:
        check(self.prior in PRIORS, "prior", " or ".join(PRIORS), repr(self.prior))
        check(self.augment in AUGMENTATIONS, "augment", " or ".join(AUGMENTATIONS), repr(self.augment))
        check(0 <= self.beta < math.inf, "beta", "0 or more", self.beta)
        check(0 <= self.beta_warmup <= 1, "beta_warmup", "0 to 1", self.beta_warmup)


@dataclass(frozen=True)
class DenoiseEvaluation:
    """What to measure of a denoiser.

    Attributes:
        corrupt: what to measure on, such as gaussian:0.5; without it, what the network was trained on
        judge: a classifier's run, by which to tell how many images are still read as what they are
    """

    corrupt: str | None = None
    judge: str | None = None

    def __post_init__(self) -> None:
        if self.corrupt is not None:
            parse_corruption(self.corrupt)


@dataclass(frozen=True)
class DenoiseConfig:
    """Training to clean: from corrupted images to the images as they are, or without clean ones.

    Attributes:
        name: the task
        likelihood: what the network's output means
        corrupt: what images suffer, with a severity or a range of them, such as gaussian:0..1 or
            gaussian:0.3+blocks:8; without it gaussian:0..1
        self_supervised: the images are noisy themselves: hide pixels, and learn to tell them from the others
    """

    evaluation: ClassVar[type[Any]] = DenoiseEvaluation

    name: Literal["denoise"] = "denoise"
    likelihood: Literal["bernoulli", "gaussian", "student"] = "bernoulli"
    corrupt: str | None = None
    self_supervised: bool = False

    def __post_init__(self) -> None:
        if self.corrupt is not None:
            parse_corruption(self.corrupt)
            check(not self.self_supervised, "corrupt", "none with self_supervised images", self.corrupt)
        has_own = self.self_supervised and self.likelihood != "bernoulli"
        check(not has_own, "likelihood", "none with self_supervised images", self.likelihood)

    @property
    def corruption(self) -> str | None:
        """What the training images suffer; None where they are noisy themselves."""
        return None if self.self_supervised else self.corrupt or "gaussian:0..1"


@dataclass(frozen=True)
class CustomTask:
    """A task of a user's own; only its class can go on with the run, but anything can report it.

    Attributes:
        name: says that it is one
        class_name: shown where the class is asked for
        measures: its table
        sheets: its pictures
    """

    evaluation: ClassVar[type[Any]] = NoOptions

    name: Literal["custom"] = "custom"
    class_name: str = ""
    measures: tuple[Measure, ...] = ()
    sheets: tuple[Sheet, ...] = ()


@dataclass(frozen=True)
class ClassifyConfig:
    """Training to tell classes apart, from labels.

    Attributes:
        name: the task
        label_smoothing: share of each label that is spread over all classes
        no_augmentation: train on images as they are, not shifted, rotated, scaled, sheared and partly covered
        balance: draw every class as often in training, however many of its images there are
        spread: spread the labels over the unlabelled images, anew before each epoch
        class_names: the classes' names; by default their numbers
    """

    evaluation: ClassVar[type[Any]] = NoOptions

    name: Literal["classify"] = "classify"
    label_smoothing: float = 0.1
    no_augmentation: bool = False
    balance: bool = False
    spread: bool = field(default=False, metadata=DERIVED)
    class_names: tuple[str, ...] = field(default=(), metadata=DERIVED)

    def __post_init__(self) -> None:
        check(0 <= self.label_smoothing < 1, "label_smoothing", "0 to less than 1", self.label_smoothing)


TaskConfig = AutoencodeConfig | DenoiseConfig | ClassifyConfig | CustomTask
TASK_CONFIGS: dict[str, type[Any]] = {
    "autoencode": AutoencodeConfig,
    "denoise": DenoiseConfig,
    "classify": ClassifyConfig,
}
