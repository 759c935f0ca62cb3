"""`evolve`: a search, from images to a winner that was measured once on the test images."""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import safelight
from safelight.api import Images, as_image_set, find_splits, sort_settings
from safelight.config.data import DataConfig, ImageConfig
from safelight.config.network import NetworkSpec
from safelight.config.reading import did_you_mean, from_dict
from safelight.config.run import LIKELIHOODS, RunConfig
from safelight.config.search import SearchConfig
from safelight.data import sources
from safelight.data.images import ImageSet
from safelight.errors import ConfigError, DataError, RunError
from safelight.evolution.executors import ENGINES, Engine, open_engine
from safelight.evolution.genome import Values, named_genes
from safelight.evolution.ledger import Trial, trials_of
from safelight.evolution.search import (
    RESULT,
    Finalist,
    SearchFolder,
    SearchRecord,
    Status,
    make_space,
    run_search,
)
from safelight.evolution.trial import Material, unpack
from safelight.files import write_file
from safelight.networks.table import build
from safelight.tasks import evaluation
from safelight.tasks.objective import objective

__all__ = ["Evolution", "evolve", "resume_evolution"]


@dataclass(frozen=True)
class Evolution:
    """A finished search.

    Attributes:
        path: its folder.
        values: the winner's genes.
        validation: the winner's validation losses, one a fresh seed, in nats per image.
        test: its test losses, of the same trainings; empty where the data keeps no test images.
    """

    path: Path
    values: Values
    validation: list[float]
    test: list[float]

    @property
    def trials(self) -> list[Trial]:
        """Every trial, in the order of their numbers."""
        return trials_of(SearchFolder(self.path).study)


def evolve(
    images: Images,
    network: str = "deep-conv-vae",
    out: str | os.PathLike[str] = "runs/evolution",
    *,
    likelihood: str = "bernoulli",
    settings: dict[str, Any] | None = None,
    workers: int | None = None,
    engine: str = "local",
    address: str | None = None,
    overwrite: bool = False,
    command: str = "safelight.evolve",
    on_status: Callable[[Status], object] = lambda status: None,
    is_stopped: Callable[[], bool] = lambda: False,
    **search: Any,
) -> Evolution:
    """Search for the settings or the structure of an autoencoder.

    Trials are judged by their validation loss. The best three are trained again from three fresh seeds; the
    one with the least mean wins, and only its trainings are then measured on the test images.

    Args:
        images: an `ImageSet`, an array, or what `safelight.load` takes.
        network: a name of `safelight.networks.NETWORKS`.
        out: the search's folder to make.
        likelihood: bernoulli or gaussian.
        settings: of network and training where no gene decides, such as `{"precision": "bfloat16"}`.
        workers: processes of one thread each; one a core by default.
        engine: local, dask or ray.
        address: of a Dask or Ray cluster; without it they start workers on this machine.
        overwrite: replace a search that is in `out`.
        command: kept in config.json.
        on_status: called after each trial.
        is_stopped: a true answer finishes the trials that run and raises `Interrupted`.
        search: fields of `SearchConfig`.

    Returns:
        The winner; `best.json` in its folder is what `safelight train --config` reads.

    Raises:
        ConfigError, DataError: nothing was written.
        RunError: every trial failed, or the folder cannot be made or written.
        Interrupted: `is_stopped` asked for it; `resume_evolution` continues.

    Example:
        >>> import safelight, tempfile
        >>> images = safelight.load("digits", limit=200)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     best = safelight.evolve(images, "conv-vae", folder, population=2, generations=1, workers=1)
        >>> sorted(best.values)
        ['training.batch_size', 'training.gamma', 'training.lr', 'training.weight_decay']
    """
    image_set = as_image_set(images)
    config: SearchConfig = from_dict(SearchConfig, search, "search")
    if likelihood not in LIKELIHOODS:
        raise ConfigError(f"likelihood: expected {' or '.join(LIKELIHOODS)}, got {likelihood!r}")
    _check_engine(engine, address, workers)
    fields, training = sort_settings(network, settings or {})
    channels, height, width = image_set.shape
    record = SearchRecord(
        search=config,
        genes=named_genes(config.space, network, min(height, width)),
        base=RunConfig(
            network=NetworkSpec(network, fields),
            image=ImageConfig(height, width, channels, image_set.value_range),
            data=DataConfig(image_set.source, image_set.fingerprint(), None, config.limit),
            training=training,
            likelihood=likelihood,  # type: ignore[arg-type]
        ),
        versions={"safelight": safelight.__version__, "torch": torch.__version__},
        command=command,
    )
    material = _material(record, image_set)
    make_space(record)  # refuses what cannot be searched
    folder = SearchFolder(out)
    with (
        open_engine(engine, material, workers or os.cpu_count() or 1, address) as opened,
        folder.create(overwrite),
    ):
        (folder.path / "state").mkdir()
        folder.write_config(record)
        record = folder.read_config()  # as a later process will see it, to the type of every number
        return _search(folder, record, material, opened, on_status, is_stopped, images)


def resume_evolution(
    path: str | os.PathLike[str],
    generations: int | None = None,
    images: Images | None = None,
    *,
    workers: int | None = None,
    engine: str = "local",
    address: str | None = None,
    on_status: Callable[[Status], object] = lambda status: None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> Evolution:
    """Continue a search where it stopped; what is in its record is not trained again.

    Args:
        path: the search's folder.
        generations: search for this many instead.
        images: for a search on images handed over in Python, the same images.
        workers: as in `evolve`, also others than it was begun with.
        engine: likewise.
        address: likewise.
        on_status: as in `evolve`.
        is_stopped: as in `evolve`.

    Returns:
        The winner.

    Raises:
        RunError: the folder holds no search, or one of other versions or other data.
        DataError: the data is gone or changed.
        Interrupted: as in `evolve`.
    """
    folder = SearchFolder(path)
    folder.read_config()  # before a lock is made in what may be no search
    _check_engine(engine, address, workers)
    with folder.locked():
        record = folder.read_config()
        here = {"safelight": safelight.__version__, "torch": torch.__version__}
        if record.versions != here:
            raise RunError(
                f"{folder.path}: expected the versions it was begun with ({_shown(record.versions)}), got "
                f"{_shown(here)}; other versions give other losses: install those, or search anew"
            )
        if generations is not None:
            search = dataclasses.replace(record.search, generations=generations)
            record = dataclasses.replace(record, search=search)
            folder.write_config(record)
        found = images if images is not None else record.base.data.source
        find_splits(record.base.data, images)  # the same images
        material = _material(record, as_image_set(found))  # type: ignore[arg-type]
        with open_engine(engine, material, workers or os.cpu_count() or 1, address) as opened:
            return _search(folder, record, material, opened, on_status, is_stopped, found)


def _search(
    folder: SearchFolder,
    record: SearchRecord,
    material: Material,
    engine: Engine,
    on_status: Callable[[Status], object],
    is_stopped: Callable[[], bool],
    images: Images | None,
) -> Evolution:
    finalists = run_search(folder, record, engine, len(material.train), on_status, is_stopped)
    winner = finalists[0]
    test = _measure(record, winner, images)
    result = {
        "values": winner.values,
        "validation": winner.losses,
        "test": test,
        "finalists": [
            {"trial": f.number, "values": f.values, "search": f.search_loss, "validation": f.losses}
            for f in finalists
        ],
    }
    write_file(folder.path / RESULT, json.dumps(result, indent=2) + "\n")
    return Evolution(folder.path, winner.values, [loss for loss in winner.losses if loss is not None], test)


def _measure(record: SearchRecord, winner: Finalist, images: Images | None) -> list[float]:
    """Open the test images, for the first and only time, and measure the winner's trainings."""
    test = find_splits(record.base.data, images if isinstance(images, ImageSet) else None).test
    if test is None and record.base.data.source is not None:
        test = sources.load(record.base.data.source, split="test")
    if test is None:
        return []
    losses = []
    for config, path in zip(winner.configs, winner.weights, strict=True):
        if not path.exists():
            continue
        tensors, _ = unpack(path.read_bytes())
        network, loss = build(config), objective(config.likelihood, config.training)
        for prefix, module in (("network.", network), ("loss.", loss)):
            own = {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}
            module.load_state_dict(own)
        losses.append(evaluation.mean_loss(network, loss, test)["loss"])
    return losses


def _material(record: SearchRecord, images: ImageSet) -> Material:
    splits = images.split(None, record.search.limit)
    if splits.validation is None:
        raise DataError("a search needs validation images to judge by, got none; use more images")
    return Material(splits.train, splits.validation.subset(slice(record.search.limit_validation)))


def _check_engine(engine: str, address: str | None, workers: int | None) -> None:
    if engine not in ENGINES:
        raise ConfigError(f"engine: {did_you_mean(engine, ENGINES)}, got {engine!r}")
    if engine == "local" and address is not None:
        raise ConfigError("--address: expected with --engine dask or ray; local processes have none")
    if workers is not None and workers < 1:
        raise ConfigError(f"--workers: expected at least 1, got {workers}")


def _shown(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def spread(losses: list[float]) -> str:
    """A mean and what it ranges over, for people."""
    if not losses:
        return "none"
    return f"{statistics.fmean(losses):.4f} ({min(losses):.4f} to {max(losses):.4f})"
