"""Genes with their types and ranges, and the space that they span.

An algorithm sees a genotype, one number in [0, 1] a gene, and never what the genes mean; the space decodes it
into settings. Distances on the unit scale are fair: a factor of ten in a learning rate counts the same
anywhere in its range.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from safelight.config.network import MAX_STAGES
from safelight.config.reading import did_you_mean
from safelight.errors import ConfigError

__all__ = ["STAGES", "Gene", "Genotype", "Space", "Value", "Values"]

Value = int | float | str
Values = dict[str, Value]
Genotype = tuple[float, ...]
Kind = Literal["integer", "log-integer", "float", "log-float", "categorical"]

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
        object.__setattr__(self, "low", float(self.low))  # as they come back from JSON
        object.__setattr__(self, "high", float(self.high))
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
            raise ConfigError(f"expected a range with low < high, got {self.low:g} to {self.high:g}")
        if self.kind.startswith("log") and self.low <= 0:
            raise ConfigError(f"expected a range above 0 on a log scale, got {self.low:g} to {self.high:g}")
        if self.kind.endswith("integer") and not (self.low == int(self.low) and self.high == int(self.high)):
            raise ConfigError(f"expected whole numbers as a range, got {self.low:g} to {self.high:g}")

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
                if not values:
                    raise ConfigError(f"space: {name}: when {other}: expected values of it, got none")
                for value in values:
                    try:
                        self.genes[other].encode(value)
                    except ConfigError as error:
                        raise ConfigError(f"space: {name}: when {other}: {error}") from None
        stages = self.genes.get(STAGES)
        numbers = (stages.choices or (stages.low, stages.high)) if stages else ()
        if not all(isinstance(n, int | float) and 1 <= n <= MAX_STAGES for n in numbers):
            raise ConfigError(f"space: {STAGES}: expected 1 to {MAX_STAGES}")
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
        if math.isinf(self._excess_of(self._shrunk(genotype, 0.0))):
            raise ConfigError("space: no network in it fits the images; take fewer stages or smaller strides")
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
