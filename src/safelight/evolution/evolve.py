"""`evolve`: a search, from images to a winner that was measured once on the test images."""

from __future__ import annotations

import dataclasses
import os
import shlex
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import safelight
from safelight.config.data import DataConfig, FitOptions
from safelight.config.reading import did_you_mean, from_dict, plain
from safelight.config.run import RunConfig
from safelight.config.search import DECIDED, SearchConfig
from safelight.config.task import Measure
from safelight.data import sources
from safelight.data.finding import Images, as_image_set, find_images
from safelight.data.images import ImageSet
from safelight.engines.executors import ENGINES, Engine, open_engine
from safelight.errors import ConfigError, DataError, RunError
from safelight.evolution.finals import Finalist
from safelight.evolution.folder import SearchFolder
from safelight.evolution.foresight import Foresight
from safelight.evolution.genes import named_genes
from safelight.evolution.genome import Values
from safelight.evolution.ledger import Trial, trials_of
from safelight.evolution.record import SearchRecord, check_space, make_space
from safelight.evolution.report import write_search_report
from safelight.evolution.search import run_search
from safelight.evolution.status import Status
from safelight.evolution.trial import DIVERGED, Material
from safelight.runs.assembly import assemble, try_out
from safelight.runs.settings import read_settings
from safelight.runs.state import PackedState
from safelight.showing import showing, table
from safelight.tasks.table import make_task

__all__ = ["Search", "evolve", "resume_evolution", "spread"]


class Search:
    """A search's folder, opened lazily.

    Args:
        path: the folder.

    Raises:
        RunError: it is not a search's.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.folder = SearchFolder(path)
        self.config = self.folder.read_config()

    def __repr__(self) -> str:
        return f"Search({str(self.path)!r}, {self.config.search.algorithm})"

    def _repr_html_(self) -> str:
        """A table for notebooks: what was searched, how far it is, and what is best."""
        trials, measure = self.trials, self.measure
        rows: list[tuple[object, object]] = [
            ("trials", f"{sum(trial.is_done for trial in trials):,} done"),
            ("judged by", f"validation {measure.title}"),
            *((name, value) for name, value in self.values.items()),
        ]
        for what, found in (("validation", self.validation), ("test", self.test)):
            rows += [(f"{what} {measure.words}", spread(found))] if found else []
        return table(rows, repr(self))

    @property
    def path(self) -> Path:
        """The folder."""
        return self.folder.path

    @property
    def measure(self) -> Measure:
        """What trials are judged by."""
        return make_task(self.config.base).measures[0]

    @property
    def trials(self) -> list[Trial]:
        """Every trial, in the order of their numbers, also while the search runs."""
        return trials_of(self.folder.study)

    @property
    def best(self) -> dict[str, Any]:
        """The settings of the winner, or of the best so far, as in best.json."""
        return self.folder.read_best()

    @property
    def finalists(self) -> list[dict[str, Any]]:
        """The best trials, trained again from fresh seeds, the winner first; empty before the end."""
        found: list[dict[str, Any]] = self.folder.read_result().get("finalists", [])
        return found

    @property
    def values(self) -> Values:
        """The winner's genes; empty before the end."""
        values: Values = self.folder.read_result().get("values", {})
        return values

    @property
    def validation(self) -> list[float]:
        """The winner's validation measures, one a fresh seed that did not fail."""
        return [loss for loss in self.folder.read_result().get("validation", []) if loss is not None]

    @property
    def test(self) -> list[float]:
        """Its test measures, of the same trainings; empty where the data keeps no test images."""
        found: list[float] = self.folder.read_result().get("test", [])
        return found

    @property
    def notes(self) -> list[str]:
        """What failed for want of memory and the like, or among the finalists; a line each."""
        lost = [trial for trial in self.trials if trial.failure and not trial.is_done]
        notes = [f"trial {trial.number} was not judged: {trial.failure}" for trial in lost]
        for finalist in self.finalists:
            failures, count = finalist.get("failures", []), len(finalist["validation"])
            if failures:
                what = f"{len(failures)} of {count} trainings of finalist {finalist['trial']} failed"
                notes.append(f"{what}: {failures[0]}")
        if any(DIVERGED not in note for note in notes):
            notes.append(f"to try again: safelight evolve --resume {shlex.quote(str(self.path))}")
        return notes

    @property
    def foresight(self) -> Foresight:
        """Of a search with `for_epochs`: what was foretold and came true, and what was spent."""
        again = [f["trial"] for f in self.finalists if len(f["validation"]) > 1]
        return Foresight.of(self.config, self.trials, again)

    def report(self) -> Path:
        """Write `figures/` and `report.html`; the path of the page."""
        return write_search_report(self.folder)


@showing
def evolve(
    images: Images,
    network: str = "deep-conv-vae",
    out: str | os.PathLike[str] = "runs/evolution",
    *,
    task: str = "autoencode",
    settings: dict[str, Any] | None = None,
    validation: int | None = None,
    workers: int | None = None,
    engine: str = "local",
    address: str | None = None,
    overwrite: bool = False,
    command: str = "safelight.evolve",
    progress: bool = True,
    on_status: Callable[[Status], object] = lambda status: None,
    is_stopped: Callable[[], bool] = lambda: False,
    **search: Any,
) -> Search:
    """Search for the settings or the structure of a network.

    Trials are judged by their validation loss. The best three are trained again from three fresh seeds; the
    one with the least mean wins, and only its trainings are then measured on the test images. With
    `for_epochs` settings for so long a training are found: see `safelight.evolution.protocol`.

    Args:
        images: an `ImageSet`, an array, or what `safelight.load` takes.
        network: a name of `safelight.networks.table.NETWORKS`.
        out: the search's folder to make.
        task: a name of `safelight.tasks.table.TASKS`.
        settings: of network, task and training where no gene decides, such as `{"precision": "bfloat16"}`.
        validation: number of validation images.
        workers: processes of one thread each; one a core by default.
        engine: local, dask or ray.
        address: of a Dask or Ray cluster; without it they start workers on this machine.
        overwrite: replace a search that is in `out`.
        command: kept in config.json.
        progress: show a bar, on a terminal or in a notebook.
        on_status: called after each trial.
        is_stopped: a true answer finishes the trials that run and raises `Interrupted`.
        search: fields of `SearchConfig`.

    Returns:
        The finished search; `best.json` in its folder is what `safelight train --config` reads.

    Raises:
        ConfigError, DataError: nothing was written.
        RunError: every trial failed, or the folder cannot be made or written.
        Interrupted: `is_stopped` asked for it; `resume_evolution` continues.

    Example:
        >>> import safelight, tempfile
        >>> images = safelight.load("digits", limit=200)
        >>> small = {"space": "report", "population": 2, "generations": 1}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     found = safelight.evolve(images, "conv-vae", folder, **small)
        ...     sorted(found.values)
        ['training.batch_size', 'training.gamma', 'training.lr', 'training.weight_decay']
    """
    for what, given in (("network", network), ("task", task)):
        if not isinstance(given, str):
            raise ConfigError(
                f"{what}: a search takes names, as its workers make their own, got a "
                f"{getattr(given, '__name__', type(given).__name__)}; train yours with safelight.train"
            )
    for name in DECIDED:
        if name in (settings or {}):
            own = {"epochs": "epochs and for_epochs", "seed": "a seed"}.get(name, "none")
            raise ConfigError(f"settings: {name}: a search itself has {own}; leave it out of the trials'")
    config: SearchConfig = from_dict(SearchConfig, search, "search")
    workers, validation = plain(workers), plain(validation)
    _check_engine(engine, address, workers)
    network_config, task_config, training = read_settings(network, task, settings or {})
    data = DataConfig(validation=validation, limit=config.limit)
    image_set = as_image_set(images, FitOptions().suiting(task_config.name), data)
    material = _material(config, image_set, validation)
    base = RunConfig(
        network=network_config,
        image=image_set.image,
        data=dataclasses.replace(data, source=image_set.source, fingerprint=image_set.fingerprint()),
        training=dataclasses.replace(training, batch_size=training.images_a_step(len(material.train))),
        task=task_config,
    )
    try_out(assemble(base), base, material.train)
    genes = named_genes(config.space, base, len(material.train))
    record = SearchRecord(config, genes, base, _versions(), command)
    check_space(record, make_space(record), len(material.train))
    folder = SearchFolder(out)
    with (
        open_engine(engine, material, workers or os.cpu_count() or 1, folder.images, address) as opened,
        folder.create(overwrite),
    ):
        folder.at("state").mkdir(exist_ok=True)
        folder.write_config(record)
        return _search(folder, record, material, opened, on_status, is_stopped, image_set)


@showing
def resume_evolution(
    path: str | os.PathLike[str],
    generations: int | None = None,
    images: Images | None = None,
    *,
    workers: int | None = None,
    engine: str = "local",
    address: str | None = None,
    progress: bool = True,
    on_status: Callable[[Status], object] = lambda status: None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> Search:
    """Continue a search where it stopped; what is in its record is not trained again.

    Args:
        path: the search's folder.
        generations: search for this many instead.
        images: for a search on images handed over in Python, the same images.
        workers: as in `evolve`, also others than it was begun with.
        engine: likewise.
        address: likewise.
        progress: as in `evolve`.
        on_status: as in `evolve`.
        is_stopped: as in `evolve`.

    Returns:
        The finished search.

    Raises:
        RunError: the folder holds no search, or one of other versions or other data.
        DataError: the data is gone or changed.
        Interrupted: as in `evolve`.
    """
    folder = SearchFolder(path)
    folder.read_config()  # before a lock is made in what may be no search
    generations, workers = plain(generations), plain(workers)
    _check_engine(engine, address, workers)
    with folder.locked():
        record = folder.read_config()
        if record.versions != _versions():
            raise RunError(
                f"{folder.path}: expected the versions it was begun with ({_shown(record.versions)}), got "
                f"{_shown(_versions())}; other versions give other losses: install those, or search anew"
            )
        image_set = find_images(record.base.data, record.base.image, folder.path, images)
        if generations is not None and record.search.for_epochs is not None:
            raise RunError(
                f"{folder.path} was begun for trainings of {record.search.for_epochs} epochs at a budget of "
                f"{record.search.budget}, and has no generations to add; resume it without, or search anew"
            )
        if generations is not None:
            done = len(trials_of(folder.study)) // record.search.population
            if generations < done:
                raise RunError(
                    f"{folder.path} has {done} generations already, more than {generations}; ask for more"
                )
            if generations > record.search.rounds:
                folder.forget_result()
            search = dataclasses.replace(record.search, generations=generations)
            record = dataclasses.replace(record, search=search)
            folder.write_config(record)
        material = _material(record.search, image_set, record.base.data.validation)
        count = workers or os.cpu_count() or 1
        with open_engine(engine, material, count, folder.images, address) as opened:
            return _search(folder, record, material, opened, on_status, is_stopped, image_set)


def _search(
    folder: SearchFolder,
    record: SearchRecord,
    material: Material,
    engine: Engine,
    on_status: Callable[[Status], object],
    is_stopped: Callable[[], bool],
    images: ImageSet,
) -> Search:
    finalists = run_search(folder, record, engine, on_status, is_stopped)
    rows = [
        {
            "trial": f.number,
            "values": f.values,
            "search": f.search_loss,
            "validation": f.losses,
            "failures": f.failures,
        }
        for f in finalists
    ]
    folder.write_result(finalists[0].values, rows, _measure(folder, finalists[0], images))
    return Search(folder.path)


def _measure(folder: SearchFolder, winner: Finalist, images: ImageSet) -> list[float]:
    """Measure the winner's trainings on the test images, which no training is measured on twice."""
    known = [loss is not None for loss in winner.losses]
    names = [name for name, is_known in zip(winner.trainings, known, strict=True) if is_known]
    tested = folder.read_tested()
    if any(name not in tested for name in names):
        test = images.split().test
        if test is None and images.source is not None:
            test = sources.load_for(images.source, DataConfig(), images.image, split="test")
        if test is None:
            return []
        for name in names:
            packed = folder.read_checkpoint(name)
            if name in tested or packed is None:
                continue
            parts = assemble(winner.trainings[name])
            PackedState.from_bytes(packed).load_weights(parts.network, parts.loss)
            parts.network.eval()
            measure = parts.task.measures[0]
            found = parts.task.measure(parts.network, parts.loss, test)[measure.name]
            tested[name] = measure.ordered(found)
        folder.write_tested(tested)
    losses = (tested.get(name) for name in names)
    return [loss for loss in losses if loss is not None]


def _versions() -> dict[str, str]:
    return {"safelight": safelight.__version__, "torch": torch.__version__}


def _material(search: SearchConfig, images: ImageSet, validation: int | None) -> Material:
    splits = images.split(validation)
    if splits.validation is None:
        raise DataError("a search needs validation images to judge by, got none; use more images")
    return Material(
        splits.train.subset(slice(search.limit)), splits.validation.subset(slice(search.limit_validation))
    )


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
    """A mean and what it ranges over, for people.

    Example:
        >>> spread([1.0, 2.0]), spread([1.0]), spread([])
        ('1.5000 (1.0000 to 2.0000)', '1.0000', 'none')
    """
    if not losses:
        return "none"
    if len(losses) == 1:
        return f"{losses[0]:.4f}"
    return f"{statistics.fmean(losses):.4f} ({min(losses):.4f} to {max(losses):.4f})"
