"""All that a search is, and what follows from it: its space, its algorithm, its trials' settings."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from safelight.config.reading import check
from safelight.config.run import FORMAT_VERSION, RunConfig
from safelight.config.search import SearchConfig
from safelight.errors import ConfigError
from safelight.evolution.algorithms import ALGORITHMS
from safelight.evolution.genes import apply_genes, genes_of
from safelight.evolution.genetic import Algorithm, initial_design
from safelight.evolution.genome import Gene, Space, Values
from safelight.evolution.trial import seed_of
from safelight.networks.table import cost, image_cost

__all__ = ["SearchRecord", "check_space", "make_algorithm", "make_space", "trial_config"]

ROOM = 4  # times the network that a search starts from, where no bound is given


@dataclass(frozen=True)
class SearchRecord:
    """All that a search is, as its config.json holds it.

    Attributes:
        search: its settings.
        genes: what it may choose.
        base: settings of every trial where no gene decides.
        versions: of safelight and torch: other code gives other losses.
        command: the command that made it.
        kind: what the folder holds.
        format_version: of the folder.
    """

    search: SearchConfig
    genes: dict[str, Gene]
    base: RunConfig
    versions: dict[str, str] = field(default_factory=dict)
    command: str = ""
    kind: Literal["search"] = "search"
    format_version: int = FORMAT_VERSION

    def fingerprint(self) -> str:
        """What must be the same for trials to belong together; images may move, and generations be added."""
        search = dataclasses.replace(self.search, generations=1, trial_timeout=None)
        base = dataclasses.replace(self.base, data=dataclasses.replace(self.base.data, source=None))
        same = dataclasses.asdict(dataclasses.replace(self, search=search, base=base, command=""))
        return hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()


def make_space(record: SearchRecord) -> Space:
    """The search's space, with the bounds on a network's size."""
    if not any(name.startswith("network.") for name in record.genes):
        return Space(record.genes)
    parameters, flops = cost(record.base.network, record.base.image)
    bounds = (record.search.max_parameters or ROOM * parameters, record.search.max_flops or ROOM * flops)
    known: dict[str, float] = {}

    def excess(values: Values) -> float:
        key = json.dumps({name: value for name, value in values.items() if name.startswith("network.")})
        if key not in known:
            try:
                network = {name: value for name, value in values.items() if name.startswith("network.")}
                changed = apply_genes(network, record.base)
                found = cost(changed.network, changed.image)
            except ConfigError:  # such as more stages than the image has halvings
                found = (math.inf, math.inf)  # type: ignore[assignment]
            known[key] = max(found[0] / bounds[0], found[1] / bounds[1])
        return known[key]

    return Space(record.genes, excess)


def check_space(record: SearchRecord, space: Space, images: int) -> None:
    """Refuse, before anything is trained, genes that contradict each other or the data, two and two.

    Args:
        record: what is searched.
        space: its space, whose bounds keep networks that can be built.
        images: number of training images.

    Raises:
        ConfigError: a gene's value that cannot be beside another's.
    """
    search = record.search
    is_structure = any(name.startswith("network.") for name in record.genes)
    if search.for_epochs is not None and not is_structure and "training.lr" not in record.genes:
        raise ConfigError(
            "space: expected training.lr among its genes with for_epochs, whose law is of rates, "
            f"got {', '.join(record.genes)}; add it, or search with epochs alone"
        )
    if not is_structure:
        bounded = search.max_parameters is not None or search.max_flops is not None
        check(not bounded, "max_parameters, max_flops", "none where no gene changes the network", "a bound")
    known = genes_of(record.base, space)
    for chosen in _beside_each_other(space):
        values = space.decode(space.repair(space.encode(known | chosen)))
        try:
            _check_batches(trial_config(record, values, ""), images)
        except ConfigError as error:
            shown = ", ".join(f"{name} {values[name]}" for name in chosen if name in values)
            raise ConfigError(
                f'space: {shown}: {error}; narrow a range, or let one act only "when" the other allows it'
            ) from None


def _beside_each_other(space: Space) -> Iterator[Values]:
    """Every choice and both ends of every range alone, then two and two, of numbers their ends."""
    alone = {name: gene.choices or (gene.decode(0.0), gene.decode(1.0)) for name, gene in space.genes.items()}
    for name, values in alone.items():
        yield from ({name: value} for value in values)
    ends = {name: _ends(values) for name, values in alone.items()}
    for one, other in itertools.combinations(alone, 2):
        if not (one.startswith("network.") and other.startswith("network.")):
            yield from ({one: a, other: b} for a, b in itertools.product(ends[one], ends[other]))


def _ends(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return values if any(isinstance(value, str) for value in values) else (min(values), max(values))


def _check_batches(config: RunConfig, images: int) -> None:
    size = config.training.images_a_step(images)
    check(size <= images, "batch_size", f"at most {images}, the images to train on", size)
    is_alone = size == 1 and getattr(config.network, "normalization", None) == "batch"
    check(not is_alone, "batch_size", "at least 2 with a network.normalization over the batch", size)


def make_algorithm(record: SearchRecord, space: Space) -> Algorithm:
    """The algorithm that a search's settings name; all of them start from the same individuals."""
    search = record.search
    known = genes_of(record.base, space)
    start = initial_design(space, search.population, search.seed, [known])
    make = ALGORITHMS[search.algorithm]
    return make(space, search.population, search.seed, start, len(search.objective))


def trial_config(record: SearchRecord, values: Values, purpose: str, epochs: int | None = None) -> RunConfig:
    """A trial's settings; `purpose` fixes its seed, and epochs are those of a whole trial by default.

    With `equal_cost` a whole trial has as many as cost the same as those of the settings it began with.
    """
    config = apply_genes(values, record.base)
    whole = record.search.steps[-1]
    if record.search.equal_cost:
        whole = max(1, round(whole * image_cost(record.base) / image_cost(config)))
    training = dataclasses.replace(
        config.training,
        epochs=epochs or whole,
        seed=seed_of(record.search.seed, purpose),
    )
    return dataclasses.replace(config, training=training)
