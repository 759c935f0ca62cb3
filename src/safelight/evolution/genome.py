"""Genes with their types and ranges, and the space that they span.

An algorithm sees a genotype, one number in [0, 1] a gene, and never what the genes mean; the space decodes it
into settings. Distances on the unit scale are fair: a factor of ten in a learning rate counts the same
anywhere in its range.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_origin, get_type_hints

from safelight.config.network import NETWORK_CONFIGS, DeepConvConfig, NetworkSpec
from safelight.config.reading import did_you_mean, from_dict
from safelight.config.training import TrainingConfig
from safelight.errors import ConfigError

__all__ = [
    "SPACES",
    "Gene",
    "Genotype",
    "Space",
    "Value",
    "Values",
    "from_settings",
    "named_genes",
    "to_settings",
]

Value = int | float | str
Values = dict[str, Value]
Genotype = tuple[float, ...]
Kind = Literal["integer", "log-integer", "float", "log-float", "categorical"]

SPACES = ("hyper", "structure", "both")
FIXED = ("epochs", "seed", "threads", "device", "patience")  # of training: what a search itself decides
STAGES = "network.stages"  # decides which stages' genes act, and is no setting itself
DIGITS = 4  # of a float: finer differences cannot be told apart, and the values stay readable
MAX_GENES = 100


@dataclass(frozen=True)
class Gene:
    """One setting that a search may choose.

    Attributes:
        kind: integer, log-integer, float, log-float or categorical.
        low: least value of a number.
        high: greatest value of a number.
        choices: values of a category: text or numbers.
        when: the gene acts only where each of these genes has one of these values.

    Raises:
        ConfigError: an empty range or no choice.

    Example:
        >>> rate = Gene("log-float", 1e-4, 1)
        >>> rate.decode(0.5), round(rate.encode(0.01), 6)
        (0.01, 0.5)
    """

    kind: Kind
    low: float = 0.0
    high: float = 0.0
    choices: tuple[Any, ...] = ()
    when: dict[str, tuple[Any, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind == "categorical":
            are_scalars = all(isinstance(choice, int | float | str) for choice in self.choices)
            differ = are_scalars and len(set(self.choices)) == len(self.choices) > 0
            if not differ or self.low or self.high:
                raise ConfigError(
                    f"expected choices that differ, text or numbers, and no range; got {list(self.choices)}"
                )
            return
        if self.choices:
            raise ConfigError(f"expected low and high for a {self.kind} gene, and no choices")
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ConfigError(f"expected a range with low < high, got {self.low} to {self.high}")
        if self.kind.startswith("log") and self.low <= 0:
            raise ConfigError(f"expected a range above 0 on a log scale, got {self.low} to {self.high}")
        if self.kind.endswith("integer") and not (self.low == int(self.low) and self.high == int(self.high)):
            raise ConfigError(f"expected whole numbers as a range, got {self.low} to {self.high}")

    @property
    def is_ordered(self) -> bool:
        """Whether nearer on the unit scale means more alike."""
        return self.kind != "categorical"

    def decode(self, unit: float) -> Value:
        """A number in [0, 1] to a value."""
        if self.kind == "categorical":
            choice: Value = self.choices[min(int(unit * len(self.choices)), len(self.choices) - 1)]
            return choice
        low, high = self._scale()
        scaled = low + unit * (high - low)
        value = math.exp(scaled) if self.kind.startswith("log") else scaled
        if self.kind.endswith("integer"):
            whole = math.floor(value * (1 + 1e-12))  # the logarithm of a whole number comes back as less
            return int(min(max(whole, self.low), self.high))
        return min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)

    def encode(self, value: Value) -> float:
        """A value to the middle of the numbers in [0, 1] that stand for it.

        Raises:
            ConfigError: it is outside the gene's range or none of its choices.
        """
        if self.kind == "categorical":
            if value not in self.choices:
                raise ConfigError(f"expected one of {', '.join(map(str, self.choices))}, got {value!r}")
            return (self.choices.index(value) + 0.5) / len(self.choices)
        if isinstance(value, str) or not self.low <= value <= self.high:
            raise ConfigError(f"expected {self.low:g} to {self.high:g}, got {value!r}")
        low, high = self._scale()
        is_log = self.kind.startswith("log")
        ends = (value, value + 1) if self.kind.endswith("integer") else (value, value)
        middle = sum(math.log(end) if is_log else end for end in ends) / 2
        return (middle - low) / (high - low)

    def _scale(self) -> tuple[float, float]:
        """The range on the scale that units are linear in; a whole number owns the interval above it."""
        low, high = self.low, self.high + (1 if self.kind.endswith("integer") else 0)
        return (math.log(low), math.log(high)) if self.kind.startswith("log") else (low, high)


class Space:
    """Genes by name, and what a genotype means.

    Args:
        genes: in an order in which every gene follows those that it depends on.
        excess: how many times too large a network of these values is, at most 1 where it keeps its bounds.

    Raises:
        ConfigError: no gene, an unknown or later gene in a condition, or bounds that nothing keeps.

    Example:
        >>> space = Space({
        ...     "network.stages": Gene("integer", 1, 2),
        ...     "network.channels.0": Gene("log-integer", 8, 64),
        ...     "network.channels.1": Gene("log-integer", 8, 64, when={"network.stages": (2,)}),
        ... })
        >>> space.decode((0.0, 0.5, 0.5))
        {'network.stages': 1, 'network.channels.0': 22}
    """

    def __init__(self, genes: Mapping[str, Gene], excess: Callable[[Values], float] | None = None) -> None:
        if not 1 <= len(genes) <= MAX_GENES:
            raise ConfigError(f"space: expected 1 to {MAX_GENES} genes, got {len(genes)}")
        self.genes = dict(genes)
        self._excess = excess
        names = list(self.genes)
        for i, (name, gene) in enumerate(self.genes.items()):
            for other, values in gene.when.items():
                if other not in names[:i]:
                    raise ConfigError(
                        f"space: {name}: expected a condition on an earlier gene, got {other!r}; "
                        f"{did_you_mean(other, names[:i]) if i else 'put that gene first'}"
                    )
                for value in values:
                    try:
                        self.genes[other].encode(value)
                    except ConfigError as error:
                        raise ConfigError(f"space: {name}: when {other}: {error}") from None
        self._sizes = [
            i
            for i, (name, gene) in enumerate(self.genes.items())
            if name.startswith("network.") and gene.kind.endswith("integer") and name != STAGES
        ]
        self._structure = [
            i for i, name in enumerate(self.genes) if name.startswith("network.") and i not in self._sizes
        ]
        self.repair((0.0,) * len(self))

    def __len__(self) -> int:
        return len(self.genes)

    def decode(self, genotype: Genotype) -> Values:
        """The values of the genes that act."""
        values: Values = {}
        for unit, (name, gene) in zip(genotype, self.genes.items(), strict=True):
            if all(values.get(other) in allowed for other, allowed in gene.when.items()):
                values[name] = gene.decode(unit)
        return values

    def encode(self, values: Mapping[str, Value]) -> Genotype:
        """A genotype of these values; genes without one get the middle of their range.

        Raises:
            ConfigError: a value that its gene cannot have.
        """
        units = []
        for name, gene in self.genes.items():
            try:
                units.append(gene.encode(values[name]) if name in values else 0.5)
            except ConfigError as error:
                raise ConfigError(f"{name}: {error}") from None
        return tuple(units)

    def repair(self, genotype: Genotype) -> Genotype:
        """The genotype itself if it keeps the bounds; else widths shrink together, then other genes change.

        Raises:
            ConfigError: nothing in the space keeps them.
        """
        if self._keeps(genotype):
            return genotype
        for i in (None, *self._structure):
            if i is not None:
                options = (genotype, *self._variants(genotype, i))
                genotype = min(options, key=lambda g: self._excess_of(self._shrunk(g, 0.0)))
            if self._keeps(self._shrunk(genotype, 0.0)):
                least, most = 0.0, 1.0
                for _ in range(10):
                    middle = (least + most) / 2
                    keeps = self._keeps(self._shrunk(genotype, middle))
                    least, most = (middle, most) if keeps else (least, middle)
                return self._shrunk(genotype, least)
        raise ConfigError("space: no network in it is small enough; raise --max-parameters or --max-flops")

    def _excess_of(self, genotype: Genotype) -> float:
        return self._excess(self.decode(genotype)) if self._excess else 0.0

    def _keeps(self, genotype: Genotype) -> bool:
        return self._excess_of(genotype) <= 1

    def _shrunk(self, genotype: Genotype, factor: float) -> Genotype:
        return tuple(unit * factor if i in self._sizes else unit for i, unit in enumerate(genotype))

    def _variants(self, genotype: Genotype, i: int) -> list[Genotype]:
        """The genotype with each of one gene's few values."""
        gene = list(self.genes.values())[i]
        values = gene.choices or range(int(gene.low), int(gene.high) + 1)
        return [(*genotype[:i], gene.encode(value), *genotype[i + 1 :]) for value in values]


def hyper_genes() -> dict[str, Gene]:
    """The original report's four, with its ranges (its section 2.1)."""
    return {
        "training.batch_size": Gene("integer", 10, 128),
        "training.lr": Gene("log-float", 1e-8, 1.0),
        "training.gamma": Gene("float", 0.0, 1.0),
        "training.weight_decay": Gene("log-float", 1e-7, 1e-4),
    }


def structure_genes(side: int) -> dict[str, Gene]:
    """The form of a `DeepConvVAE` or `DeepConvAE` for images whose shorter side this is."""
    most = max(1, min(4, side.bit_length() - 2))  # so that the smallest maps are 2 pixels wide
    genes = {STAGES: Gene("integer", 1, most) if most > 1 else Gene("categorical", choices=(1,))}
    for i in range(most):
        when = {STAGES: tuple(range(i + 1, most + 1))} if i else {}
        genes[f"network.channels.{i}"] = Gene("log-integer", 8, 128, when=when)
        genes[f"network.kernels.{i}"] = Gene("integer", 2, 6, when=when)
        genes[f"network.strides.{i}"] = Gene("categorical", choices=(1, 2), when=when)
    return genes | {
        "network.hidden": Gene("log-integer", 64, 1024),
        "network.latent": Gene("log-integer", 8, 64),
        "network.activation": Gene("categorical", choices=("relu", "silu", "gelu", "elu", "leaky-relu")),
        "network.normalization": Gene("categorical", choices=("none", "batch", "group")),
    }


def named_genes(space: str, model: str, side: int) -> dict[str, Gene]:
    """The genes that a name stands for, or those of a JSON file.

    Args:
        space: hyper, structure, both, or the path of a file with an object of genes by name.
        model: the network whose settings they are.
        side: the shorter side of the images.

    Raises:
        ConfigError: neither, or genes or values that this network does not have.

    Example:
        >>> list(named_genes("hyper", "conv-vae", 28))
        ['training.batch_size', 'training.lr', 'training.gamma', 'training.weight_decay']
    """
    if space in SPACES and space != "hyper" and NETWORK_CONFIGS[model] is not DeepConvConfig:
        raise ConfigError(f"--space {space}: {model} has one structure; use --model deep-conv-vae")
    if space == "hyper":
        return hyper_genes()
    if space == "structure":
        return structure_genes(side)
    if space == "both":
        return hyper_genes() | structure_genes(side)
    if not space.endswith(".json"):
        raise ConfigError(
            f"--space: got {space!r}; {did_you_mean(space, (*SPACES, 'or a .json file of genes'))}"
        )
    values = _read_json(Path(space))
    genes = {name: from_dict(Gene, gene, f"{space}: {name}") for name, gene in values.items()}
    known = known_names(model)
    for name in genes:
        if name.rstrip("0123456789") not in known:
            shown = [f"{k}0" if k.endswith(".") else k for k in known]
            raise ConfigError(f"{space}: unknown gene {name!r}; {did_you_mean(name, shown)}")
        for value in genes[name].choices or (genes[name].decode(0.0), genes[name].decode(1.0)):
            try:
                spec, _ = to_settings({name: value}, NetworkSpec(model), TrainingConfig())
                from_dict(NETWORK_CONFIGS[model], spec.fields, "network")
            except ConfigError as error:
                raise ConfigError(f"{space}: {name}: {error}") from None
    return genes


def known_names(model: str) -> list[str]:
    """What a gene may be called: a setting, or an element of one, which ends in a dot and its number."""
    hints = get_type_hints(NETWORK_CONFIGS[model])
    of_network = [f"{name}." if get_origin(hint) is tuple else name for name, hint in hints.items()]
    return [
        *(f"training.{f.name}" for f in dataclasses.fields(TrainingConfig) if f.name not in FIXED),
        *(f"network.{name}" for name in of_network),
        *([STAGES] if NETWORK_CONFIGS[model] is DeepConvConfig else []),
    ]


def to_settings(
    values: Mapping[str, Value], network: NetworkSpec, training: TrainingConfig
) -> tuple[NetworkSpec, TrainingConfig]:
    """Put decoded values into settings; what no gene decides stays.

    Raises:
        ConfigError: a value that its setting cannot have.

    Example:
        >>> spec = NetworkSpec("deep-conv-vae", {"hidden": 64})
        >>> values = {"training.lr": 0.01, "network.channels.0": 8, "network.channels.1": 16}
        >>> network, training = to_settings(values, spec, TrainingConfig())
        >>> network.fields, training.lr
        ({'hidden': 64, 'channels': [8, 16]}, 0.01)
    """
    fields: dict[str, Any] = {}
    of_training: dict[str, Any] = {}
    for name, value in values.items():
        part, _, setting = name.partition(".")
        if part == "training":
            of_training[setting] = value
        elif name != STAGES:
            setting, _, element = setting.partition(".")
            if element:
                fields.setdefault(setting, []).append(value)  # genes come in the order of their stages
            else:
                fields[setting] = value
    if "gamma" in of_training:
        of_training.setdefault("decay", "gamma")  # without which it does nothing
    settings = dataclasses.asdict(training) | of_training
    return (
        dataclasses.replace(network, fields=network.fields | fields),
        from_dict(TrainingConfig, settings, "training"),
    )


def from_settings(space: Space, network: NetworkSpec, training: TrainingConfig) -> Values:
    """The genes' values that say some settings, as near as their ranges allow; the reverse of `to_settings`.

    Example:
        >>> space = Space({"network.kernels.0": Gene("integer", 2, 3), "training.lr": Gene("float", 0, 1)})
        >>> from_settings(space, NetworkSpec("deep-conv-vae"), TrainingConfig(lr=0.004))
        {'network.kernels.0': 3, 'training.lr': 0.004}
    """
    settings: dict[str, Any] = {f"training.{k}": v for k, v in dataclasses.asdict(training).items()}
    fields = dataclasses.asdict(from_dict(NETWORK_CONFIGS[network.name], network.fields, "network"))
    for name, value in fields.items():
        if not isinstance(value, tuple):
            settings[f"network.{name}"] = value
            continue
        stages = len(fields["channels"])
        settings[STAGES] = stages
        for i, element in enumerate(value * stages if len(value) == 1 else value):
            settings[f"network.{name}.{i}"] = element
    values: Values = {}
    for name, gene in space.genes.items():
        value = settings.get(name)
        if gene.is_ordered and isinstance(value, int | float):
            value = min(max(value, gene.low), gene.high)
            values[name] = int(value) if gene.kind.endswith("integer") else value
        elif value is not None and value in gene.choices:
            values[name] = value
    return values


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"--space: cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"--space: expected JSON in {path}, got {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"--space: expected an object of genes by name in {path}, got {values!r}")
    return values
