"""Genes of settings: the named spaces, spaces of a user's own, and the way to settings and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_origin

from safelight.config.data import Fit
from safelight.config.network import DeepConvConfig
from safelight.config.reading import MAX_COUNT, did_you_mean, fields_of, from_dict, read_json, to_dict
from safelight.config.run import RunConfig
from safelight.config.search import DECIDED
from safelight.errors import ConfigError
from safelight.evolution.genome import STAGES, Gene, Space, Value, Values
from safelight.files import why
from safelight.tasks.table import make_task

__all__ = ["SPACES", "apply_genes", "genes_of", "hyper_genes", "named_genes", "report_genes"]

PARTS = ("network", "task", "training")  # of a run's settings, which genes may change
SPACES = ("hyper", "report", "structure", "both")
STRUCTURES = ("structure", "both")
BATCH_SIZE = "training.batch_size"


def hyper_genes() -> dict[str, Gene]:
    """How a network is trained: batches, the rate and how it rises and falls, weight decay.

    A rate may fall to nothing or to a share of itself: which is best differs with how long a training is.
    """
    return {
        BATCH_SIZE: Gene("integer", 10, 128),
        "training.lr": Gene("log-float", 1e-5, 0.1),
        "training.warmup": Gene("float", 0.0, 0.1),
        "training.decay": Gene("categorical", choices=("linear", "gamma")),
        "training.gamma": Gene("float", 0.05, 1.0, when={"training.decay": ("gamma",)}),
        "training.weight_decay": Gene("log-float", 1e-7, 1e-4),
    }


def report_genes() -> dict[str, Gene]:
    """The original report's four, with its ranges (its section 2.1)."""
    return {
        BATCH_SIZE: Gene("integer", 10, 128),
        "training.lr": Gene("log-float", 1e-8, 1.0),
        "training.gamma": Gene("float", 0.0, 1.0),
        "training.weight_decay": Gene("log-float", 1e-7, 1e-4),
    }


def structure_genes(image: Fit) -> dict[str, Gene]:
    """The form of a `DeepConvVAE` or `DeepConvAE` for such images."""
    side = min(image.height, image.width)
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


def named_genes(space: str, base: RunConfig, images: int = MAX_COUNT) -> dict[str, Gene]:
    """The genes that a name stands for, or those of a JSON file.

    Args:
        space: hyper, report, structure, both, or the path of a file with an object of genes by name.
        base: the settings that they change.
        images: number of training images; a named space has no larger batches.

    Raises:
        ConfigError: neither, or genes or values that this network does not have.

    Example:
        >>> from safelight.config.data import DataConfig, Fit
        >>> from safelight.config.network import ConvVAEConfig
        >>> from safelight.config.training import TrainingConfig
        >>> base = RunConfig(ConvVAEConfig(), Fit(28, 28, 1), DataConfig(), TrainingConfig())
        >>> list(named_genes("report", base))
        ['training.batch_size', 'training.lr', 'training.gamma', 'training.weight_decay']
    """
    if space in STRUCTURES and not isinstance(base.network, DeepConvConfig):
        raise ConfigError(
            f"--space {space}: {base.network.name} has one structure; use --model deep-conv-vae"
        )
    if space in SPACES:
        genes = {} if space == "structure" else report_genes() if space == "report" else hyper_genes()
        if genes and images < genes[BATCH_SIZE].high:
            genes[BATCH_SIZE] = Gene("integer", min(10, images - 1), images)
        return genes | (structure_genes(base.image) if space in STRUCTURES else {})
    if not space.endswith(".json"):
        raise ConfigError(
            f"--space: got {space!r}; {did_you_mean(space, (*SPACES, 'or a .json file of genes'))}"
        )
    try:
        values = read_json(Path(space))
    except OSError as error:
        raise ConfigError(f"--space: cannot read {space}: {why(error)}") from None
    genes = {name: from_dict(Gene, gene, f"{space}: {name}") for name, gene in values.items()}
    known = _known_names(base)
    for name in genes:
        if name.rstrip("0123456789") not in known:
            shown = [f"{k}0" if k.endswith(".") else k for k in known]
            raise ConfigError(f"{space}: unknown gene {name!r}; {did_you_mean(name, shown)}")
    Space(genes)  # refuses conditions that cannot be
    for name, gene in genes.items():
        acts = {other: values[0] for other, values in gene.when.items()}
        for value in gene.choices or (gene.decode(0.0), gene.decode(1.0)):
            try:
                _check_measure(base, apply_genes(acts | {name: value}, base))
            except ConfigError as error:
                raise ConfigError(f"{space}: {name}: {value}: {error}") from None
    return genes


def _check_measure(base: RunConfig, changed: RunConfig) -> None:
    """Refuse settings whose loss means something else: such losses cannot be compared."""
    own, other = (make_task(config).measures[0] for config in (base, changed))
    if own != other:
        raise ConfigError(
            f"expected genes that leave the {own.words} what it is ({own.meaning}), got one that makes it "
            f"another ({other.meaning}); search once for each, and drop this gene"
        )


def _known_names(base: RunConfig) -> list[str]:
    """What a gene may be called: a setting, or an element of one, which ends in a dot and its number."""
    names = []
    for part in PARTS:
        settings = type(getattr(base, part))
        derived = {field.name for field in dataclasses.fields(settings) if "derived" in field.metadata}
        for name, hint in fields_of(settings).items():
            if (
                name != "name"
                and name not in derived
                and not (part == "training" and name in (*DECIDED, "device"))
            ):
                names.append(f"{part}.{name}." if get_origin(hint) is tuple else f"{part}.{name}")
    return [*names, *([STAGES] if isinstance(base.network, DeepConvConfig) else [])]


def apply_genes(values: Mapping[str, Value], base: RunConfig) -> RunConfig:
    """Put decoded values into settings; what no gene decides stays.

    Raises:
        ConfigError: a value that its setting cannot have.

    Example:
        >>> from safelight.config.data import DataConfig, Fit
        >>> from safelight.config.training import TrainingConfig
        >>> image, network = Fit(28, 28, 1), DeepConvConfig(hidden=64)
        >>> base = RunConfig(network, image, DataConfig(), TrainingConfig())
        >>> values = {"training.lr": 0.01, "network.channels.0": 8, "network.channels.1": 16}
        >>> found = apply_genes(values, base)
        >>> found.network.hidden, found.network.channels, found.training.lr
        (64, (8, 16), 0.01)
    """
    chosen: dict[str, dict[str, Any]] = {part: {} for part in PARTS}
    elements: dict[tuple[str, str], dict[int, Value]] = {}
    if STAGES in values:
        several = [n for n, v in to_dict(base.network).items() if isinstance(v, tuple) and len(v) > 1]
        elements = {("network", name): {} for name in several}
    for name, value in values.items():
        part, setting, *element = name.split(".")
        if element:
            elements.setdefault((part, setting), {})[int(element[0])] = value
        elif name != STAGES:
            chosen[part][setting] = value
    for (part, setting), given in elements.items():
        own = getattr(getattr(base, part), setting)
        stages = int(values.get(STAGES, _stages(base) or len(own)))
        count = max(stages, 1 + max(given, default=0))
        chosen[part][setting] = [given.get(i, own[min(i, len(own) - 1)]) for i in range(count)]
    if "gamma" in chosen["training"]:
        chosen["training"].setdefault("decay", "gamma")  # without which it does nothing
    elif chosen["training"].get("decay") == "linear":
        chosen["training"]["gamma"] = 1.0  # the base's would do nothing
    made: dict[str, Any] = {}
    for part in PARTS:
        if chosen[part]:
            settings = getattr(base, part)
            made[part] = from_dict(type(settings), to_dict(settings) | chosen[part], part)
    return dataclasses.replace(base, **made)


def _stages(base: RunConfig) -> int | None:
    return len(base.network.channels) if isinstance(base.network, DeepConvConfig) else None


def genes_of(base: RunConfig, space: Space) -> Values:
    """The genes' values that say some settings, as near as their ranges allow; reverses `apply_genes`.

    Example:
        >>> from safelight.config.data import DataConfig, Fit
        >>> from safelight.config.training import TrainingConfig
        >>> training = TrainingConfig(lr=0.004)
        >>> base = RunConfig(DeepConvConfig(), Fit(28, 28, 1), DataConfig(), training)
        >>> genes_of(
        ...     base, Space({"network.kernels.0": Gene("integer", 2, 3), "training.lr": Gene("float", 0, 1)})
        ... )
        {'network.kernels.0': 3, 'training.lr': 0.004}
    """
    settings: dict[str, Any] = {}
    for part in PARTS:
        for name, value in to_dict(getattr(base, part)).items():
            if not isinstance(value, tuple):
                settings[f"{part}.{name}"] = value
                continue
            stages = settings[STAGES] = _stages(base) or len(value)
            for i, element in enumerate(value * stages if len(value) == 1 else value):
                settings[f"{part}.{name}.{i}"] = element
    values: Values = {}
    for name, gene in space.genes.items():
        value = settings.get(name)
        if gene.is_ordered and isinstance(value, int | float):
            value = min(max(value, gene.low), gene.high)
            values[name] = int(value) if gene.kind.endswith("integer") else value
        elif value is not None and value in gene.choices:
            values[name] = value
    return values
