"""Settings as frozen dataclasses, and their way to and from JSON.

Nothing here imports torch, so that the command line stays quick. A run's `config.json` is a `RunConfig`; the
file given to `safelight train --config` is the same with any part left out.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field
from types import UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from safelight.errors import ConfigError

__all__ = [
    "FORMAT_VERSION",
    "NETWORK_CONFIGS",
    "ConvVAEConfig",
    "DataConfig",
    "DeepConvConfig",
    "ImageConfig",
    "LIKELIHOODS",
    "NetworkConfig",
    "NetworkSpec",
    "RunConfig",
    "SearchConfig",
    "TrainingConfig",
]

FORMAT_VERSION = 1
CUSTOM_NETWORK = "custom"  # a user's own class; only that class can load the run
MAX_LAYER_SIZE = 1 << 16  # declared sizes are capped before anything is allocated
MAX_STAGES = 6
MAX_THREADS = 1024
MAX_COUNT = 10**9
LIKELIHOODS = ("bernoulli", "gaussian")

T = TypeVar("T")


@dataclass(frozen=True)
class ConvVAEConfig:
    """The network of the original report.

    Attributes:
        channels: feature maps of its one convolution
        latent: dimensions of the code
    """

    channels: int = 32
    latent: int = 20

    def __post_init__(self) -> None:
        _check_sizes(self, "channels", "latent")


@dataclass(frozen=True)
class DeepConvConfig:
    """Strided convolution stages, a hidden layer and a code; the decoder mirrors the encoder.

    Attributes:
        channels: feature maps of each stage
        kernels: kernel size of each stage, or one for all
        strides: what each stage divides height and width by, or one for all
        hidden: width of the fully connected layer between the stages and the code
        latent: dimensions of the code
        activation: the nonlinearity after every hidden layer
        normalization: what each hidden layer's output is normalized over
    """

    channels: tuple[int, ...] = (32, 64)
    kernels: tuple[int, ...] = (4,)
    strides: tuple[int, ...] = (2,)
    hidden: int = 256
    latent: int = 20
    activation: Literal["relu", "silu", "gelu", "elu", "leaky-relu"] = "silu"
    normalization: Literal["none", "batch", "group"] = "none"

    def __post_init__(self) -> None:
        _check_sizes(self, "hidden", "latent")
        for name in ("channels", "kernels", "strides"):
            _check(
                1 <= len(getattr(self, name)) <= MAX_STAGES,
                f"network.{name}",
                f"1 to {MAX_STAGES} numbers",
                getattr(self, name),
            )
        for channels in self.channels:
            _check(1 <= channels <= MAX_LAYER_SIZE, "network.channels", f"1 to {MAX_LAYER_SIZE}", channels)
        for kernel in self.kernels:
            _check(2 <= kernel <= 11, "network.kernels", "2 to 11 (less would skip pixels)", kernel)
        for name in ("kernels", "strides"):
            _check(
                len(getattr(self, name)) in (1, len(self.channels)),
                f"network.{name}",
                f"1 or {len(self.channels)} numbers, as there are stages",
                getattr(self, name),
            )
        for stride in self.strides:
            least = min(self.kernels)
            _check(1 <= stride <= least, "network.strides", f"1 to the kernel's {least}", stride)


NetworkConfig = ConvVAEConfig | DeepConvConfig
NETWORK_CONFIGS: dict[str, type[ConvVAEConfig] | type[DeepConvConfig]] = {
    "deep-conv-vae": DeepConvConfig,
    "deep-conv-ae": DeepConvConfig,
    "conv-vae": ConvVAEConfig,
}


@dataclass(frozen=True)
class TrainingConfig:
    """How a network is trained.

    Attributes:
        epochs: times every training image is seen
        batch_size: images a step
        lr: Adam's learning rate at its highest
        warmup: share of the run over which the rate rises from zero
        decay: over the whole run, linear to zero or by gamma
        gamma: with decay gamma, the rate at step t of T is lr * gamma ** (t / T)
        weight_decay: Adam's L2 penalty
        beta: weight of the KL term
        beta_warmup: share of the run over which beta rises from zero
        seed: fixes initial weights, order of the images and noise
        threads: CPU threads; by default one a core, and on a busy machine better one less
        device: auto takes the first of CUDA, MPS and CPU that is there
        precision: bfloat16 computes in half the memory, quicker on processors made for it
        patience: stop after this many epochs without a better validation loss
    """

    epochs: int = 10
    batch_size: int = 64
    lr: float = 4e-3
    warmup: float = 0.01
    decay: Literal["linear", "gamma"] = "linear"
    gamma: float = 1.0
    weight_decay: float = 0.0
    beta: float = 1.0
    beta_warmup: float = 0.0
    seed: int = 0
    threads: int | None = None
    device: str = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"
    patience: int | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            _check(1 <= getattr(self, name) <= MAX_COUNT, name, f"1 to {MAX_COUNT:,}", getattr(self, name))
        _check(
            self.threads is None or 1 <= self.threads <= MAX_THREADS,
            "threads",
            f"1 to {MAX_THREADS}",
            self.threads,
        )
        _check(self.patience is None or self.patience >= 1, "patience", "at least 1", self.patience)
        _check(0 < self.lr < math.inf, "lr", "a learning rate above 0", self.lr)
        for name in ("warmup", "gamma", "beta_warmup"):
            _check(0 <= getattr(self, name) <= 1, name, "0 to 1", getattr(self, name))
        for name in ("weight_decay", "beta"):
            _check(0 <= getattr(self, name) < math.inf, name, "0 or more", getattr(self, name))
        _check(0 <= self.seed < 2**63, "seed", "0 or more", self.seed)
        _check(
            self.decay == "gamma" or self.gamma == 1,
            "gamma",
            "1.0 with a linear decay (it acts only with decay gamma)",
            self.gamma,
        )


@dataclass(frozen=True)
class SearchConfig:
    """How settings are searched for; a trial is one training.

    Attributes:
        space: hyper, structure, both, or a .json file of genes
        algorithm: what proposes the trials
        population: trials a generation
        generations: number of generations
        epochs: of a whole trial
        rungs: epochs after which only the best share of a generation trains on, such as 1,3,9
        objective: what is minimized; with more than one, the Pareto front is kept
        limit: number of training images; None for all
        limit_validation: number of validation images; None for all
        max_parameters: of a network; by default four times those of --model's own
        max_flops: of reconstructing an image; by default four times those of --model's own
        trial_timeout: seconds after which a trial has failed
        stop_hopeless: stop a trial that is worse than all survivors were at the same step
        seed: fixes the whole table of trials
    """

    space: str = "hyper"
    algorithm: Literal["ga", "truncation", "nsga2", "tpe", "random"] = "ga"
    population: int = 30
    generations: int = 12
    epochs: int = 1
    rungs: tuple[int, ...] = ()
    objective: tuple[str, ...] = ("loss",)
    limit: int | None = None
    limit_validation: int | None = None
    max_parameters: int | None = None
    max_flops: int | None = None
    trial_timeout: float | None = None
    stop_hopeless: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        _check(2 <= self.population <= MAX_COUNT, "population", "at least 2", self.population)
        for name in ("generations", "epochs"):
            _check(1 <= getattr(self, name) <= MAX_COUNT, name, f"1 to {MAX_COUNT:,}", getattr(self, name))
        for name in ("limit", "limit_validation", "max_parameters", "max_flops"):
            value = getattr(self, name)
            _check(value is None or value >= 1, name, "at least 1", value)
        _check(
            self.trial_timeout is None or self.trial_timeout > 0,
            "trial_timeout",
            "above 0",
            self.trial_timeout,
        )
        _check(0 <= self.seed < 2**63, "seed", "0 or more", self.seed)
        grows = all(a < b for a, b in zip(self.rungs, self.rungs[1:], strict=False))
        _check(
            grows and all(rung >= 1 for rung in self.rungs), "rungs", "growing numbers of epochs", self.rungs
        )
        known = self.objective[:1] == ("loss",) and self.objective[1:] in ((), ("parameters",), ("flops",))
        _check(known, "objective", "loss, or loss,parameters or loss,flops", ",".join(self.objective))

    @property
    def steps(self) -> tuple[int, ...]:
        """Numbers of epochs at which a trial is measured; the last is a whole one's."""
        return self.rungs or (self.epochs,)


@dataclass(frozen=True)
class ImageConfig:
    """The images a network was made for.

    Attributes:
        height: rows
        width: columns
        channels: 1 or 3
        range: the pixel values that stand for black and white
    """

    height: int
    width: int
    channels: int
    range: tuple[float, float] = (0, 255)

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            _check(
                1 <= getattr(self, name) <= MAX_LAYER_SIZE, f"image.{name}", "1 or more", getattr(self, name)
            )
        _check(self.channels in (1, 3), "image.channels", "1 or 3", self.channels)
        _check(self.range[0] < self.range[1], "image.range", "two growing numbers", self.range)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.channels, self.height, self.width


@dataclass(frozen=True)
class NetworkSpec:
    """Which network, in names of our own table alone.

    Attributes:
        name: one of `NETWORK_CONFIGS`, or "custom"
        fields: the settings of its config dataclass
        own_class: the name of a user's own class, only to be shown
    """

    name: str
    fields: dict[str, Any] = field(default_factory=dict)
    own_class: str | None = None


@dataclass(frozen=True)
class DataConfig:
    """Where a run's images came from and how they were divided.

    Attributes:
        source: a named set, a file or a folder; None for images handed over in Python
        fingerprint: SHA-256 of the images before they were divided
        validation: number of validation images; None for the set's default
        limit: number of training images kept; None for all
    """

    source: str | None = None
    fingerprint: str | None = None
    validation: int | None = None
    limit: int | None = None


@dataclass(frozen=True)
class RunConfig:
    """All that is needed to build a run's network again and to continue or repeat its training.

    Attributes:
        network: which network, and its settings
        image: size and range of the images
        data: where the images came from
        training: how the network was trained
        likelihood: what the decoder's output means
        kind: what the run holds
        versions: of safelight, torch, NumPy and Python, when the run was made
        command: the command that made the run
        format_version: of the run folder
    """

    network: NetworkSpec
    image: ImageConfig
    data: DataConfig
    training: TrainingConfig
    likelihood: Literal["bernoulli", "gaussian"] = "bernoulli"
    kind: Literal["autoencoder"] = "autoencoder"
    versions: dict[str, str] = field(default_factory=dict)
    command: str = ""
    format_version: int = FORMAT_VERSION


def to_dict(config: Any) -> dict[str, Any]:
    """A config dataclass as plain JSON types."""
    return dataclasses.asdict(config)


def from_dict(cls: type[T], values: Any, where: str) -> T:
    """Build a config dataclass from parsed JSON, strictly; nothing named in it is imported or opened.

    Args:
        cls: a dataclass of this module.
        values: its fields; nested dataclasses as mappings.
        where: named in errors, such as "runs/first/config.json".

    Raises:
        ConfigError: an unknown or missing field, or a value of the wrong type or range.

    Example:
        >>> from_dict(ImageConfig, {"height": 8, "width": 8, "channels": 1}, "here").range
        (0, 255)
    """
    hints = get_type_hints(cls)
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}: expected an object of {', '.join(hints)}, got {values!r}")
    for name in values:
        if name not in hints:
            raise ConfigError(f"{where}: unknown key {name!r}; {did_you_mean(str(name), hints)}")
    for field_ in dataclasses.fields(cls):  # type: ignore[arg-type]
        required = field_.default is MISSING and field_.default_factory is MISSING
        if required and field_.name not in values:
            raise ConfigError(f"{where}: expected a key {field_.name!r}, but there is none")
    converted = {name: _convert(hints[name], value, where, name) for name, value in values.items()}
    try:
        return cls(**converted)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _convert(hint: Any, value: Any, where: str, name: str) -> Any:
    """A JSON value as the type that a field is declared with."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):  # only ever a type or None
        if value is None:
            return None
        return _convert(next(part for part in parts if part is not type(None)), value, where, name)
    if dataclasses.is_dataclass(hint):
        return from_dict(cast(type, hint), value, f"{where}: {name}")
    if origin is tuple and isinstance(value, list | tuple) and (... in parts or len(value) == len(parts)):
        return tuple(_convert(parts[0], item, where, name) for item in value)
    if origin is dict and isinstance(value, Mapping):
        return {str(key): _convert(parts[1], item, where, f"{name}.{key}") for key, item in value.items()}
    if origin is Literal and isinstance(value, str) and value in parts:
        return value
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint is Any or (hint in (int, str, bool) and type(value) is hint):
        return value
    expected = {
        tuple: "a list",
        dict: "an object",
        Literal: f"one of {', '.join(map(str, parts))}",
    }
    described = expected.get(origin) or {int: "a whole number", float: "a number", bool: "true or false"}.get(
        hint, "text"
    )
    raise ConfigError(f"{where}: {name}: expected {described}, got {value!r}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint for a mistyped name: the near ones, or all there are."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"


def _check(condition: bool, name: str, expected: str, got: object) -> None:
    if not condition:
        raise ConfigError(f"{name}: expected {expected}, got {got}")


def _check_sizes(config: object, *names: str) -> None:
    for name in names:
        size = getattr(config, name)
        _check(1 <= size <= MAX_LAYER_SIZE, f"network.{name}", f"1 to {MAX_LAYER_SIZE}", size)
