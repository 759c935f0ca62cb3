"""safelight from Python: `train`, `finetune`, `resume` and `open`."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

from safelight.config.data import DataConfig, FitOptions
from safelight.config.reading import check_seed, plain
from safelight.config.task import ClassifyConfig
from safelight.data.finding import Images, OnReading, as_image_set, find_images, refuse_left_out
from safelight.data.label_files import UNKNOWN, Labels
from safelight.engines.ranks import join
from safelight.errors import ConfigError, RunError
from safelight.labels.cross_validation import cross_validate, has_others, try_both
from safelight.labels.finetuning import (
    GivenLabels,
    choose_settings,
    divide,
    few_labels,
    given_labels,
    start_from,
    told,
)
from safelight.labels.training import codes_of, conclude, first_labels, train_on_labels
from safelight.machine import cpu_threads
from safelight.networks.base import Autoencoder, Network
from safelight.networks.classifier import FineTuned
from safelight.run import Run
from safelight.runs.assembly import (
    assemble,
    describe_network,
    describe_run,
    describe_task,
    fresh_weights,
    try_out,
)
from safelight.runs.choosing import Plan, choose, make_plan
from safelight.runs.folder import CROSS_VALIDATED, INITIAL, RunFolder
from safelight.runs.folders import TemporaryFolder, kind_of
from safelight.runs.recorder import OnEpoch, OnStep, Recorder
from safelight.runs.settings import read_settings
from safelight.showing import showing
from safelight.tasks.base import Task

if TYPE_CHECKING:
    from safelight.evolution.evolve import Search

__all__ = ["finetune", "open", "resume", "train"]


def open(path: str | os.PathLike[str]) -> Run | Search:
    """Open a folder of ours: a `Run` or a `Search`.

    Raises:
        RunError: it is neither.
    """
    if kind_of(path) != "search":
        return Run(path)
    from safelight.evolution.evolve import Search  # a second to import, which no run needs

    return Search(path)


@showing
def train(
    images: Images,
    network: str | Network | type[Network] = "deep-conv-vae",
    out: str | os.PathLike[str] | None = None,
    *,
    task: str | Task | type[Task] = "autoencode",
    validation: int | None = None,
    limit: int | None = None,
    init_from: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    strict: bool = False,
    labels: str = "folders",
    group_by: str | None = None,
    encoding: str | None = None,
    keep_na: bool = False,
    command: str = "safelight.train",
    progress: bool = True,
    on_reading: OnReading = lambda done, count: None,
    on_epoch: OnEpoch | None = None,
    on_step: OnStep | None = None,
    on_start: Callable[[Plan], object] | None = None,
    **settings: Any,
) -> Run:
    """Train a network.

    Under torchrun its processes train together: each calls this with the same, and the first's answers count.

    Args:
        images: an `ImageSet`, an array, or what `safelight.load` takes.
        network: a name of `safelight.networks.table.NETWORKS`, or a `Network` of your own:
            an instance, of which a copy is trained, or a class, whose weights then follow from the seed.
        out: the run folder to make, on a disk that all processes see; without it the run lives in a temporary
            folder and goes with the last object that opens it.
        task: a name of `safelight.tasks.table.TASKS`, or a `Task` of your own, likewise.
        validation: number of validation images; 0 trains on everything but the test images.
        limit: number of training images to keep.
        init_from: a run of the same network whose weights to start from.
        overwrite: replace a run that is in `out`.
        strict: refuse a set of which any picture is left out.
        labels: of pictures, as in `load`.
        group_by: likewise.
        encoding: likewise.
        keep_na: likewise.
        command: kept in config.json.
        progress: show a bar, on a terminal or in a notebook.
        on_reading: called with the pictures read and all there are; a true answer raises `Interrupted`, and
            the next call goes on from there.
        on_epoch: called with each epoch's record; a true answer ends the training.
        on_step: called after each batch; a true answer saves the run and raises `Interrupted`.
        on_start: called before anything is written, with what is going to be trained and how long that takes.
        settings: of how pictures are fitted (`FitOptions`), of training, network and task; without some the
            images choose, as `train --help` says.

    Returns:
        The finished run.

    Raises:
        ConfigError, DataError, RunError: nothing was written.
        TrainingError: the loss is no longer finite, or ended far above where it began; the run folder holds
            the last good epoch.
        Interrupted: `on_step` asked for it; `resume` continues.

    Example:
        >>> import safelight
        >>> run = safelight.train("digits", epochs=2, lr=0.004, channels=(16,), threads=1)
        >>> [record["epoch"] for record in run.history]
        [1, 2]
    """
    validation, limit = plain(validation), plain(limit)
    settings = {name: value for name, value in settings.items() if value is not None}
    for what, given, base in (("network", network, Network), ("task", task, Task)):
        is_class = isinstance(given, type) and issubclass(given, base)
        if not isinstance(given, (str, base)) and not is_class:
            raise ConfigError(f"{what}: expected a name, or a {base.__name__} such as MyNet(), got {given!r}")
    ranks = join()
    own_network = None if isinstance(network, str) else network
    own_task = None if isinstance(task, str) else task
    task_given = task if isinstance(task, str) else describe_task(_made(task))
    options, settings = FitOptions.parted(settings)
    if isinstance(network, str):
        read_settings(network, task_given, settings)  # before minutes of reading
    data = DataConfig(None, None, None, limit, labels, group_by, encoding, keep_na)
    image_set = as_image_set(images, options.suiting(task), data, on_reading)
    if strict:
        refuse_left_out(image_set)
    splits = image_set.split(validation, limit)
    network_given = network if isinstance(network, str) else describe_network(_made(network), splits.train)
    start = None if init_from is None else RunFolder(init_from)
    known = vars(start.read_config().network) if start else {}
    if known.get("name") == network:  # its weights fit no other
        settings = {name: known[name] for name in known if name != "name"} | settings
    chosen = choose(splits.train, *read_settings(network_given, task_given, settings), settings)
    training = ranks.settled(chosen.training, out)
    notes = (*image_set.notes, *chosen.reasons)
    if isinstance(chosen.task, ClassifyConfig) and image_set.labels is not None:
        classes = image_set.classes or tuple(map(str, range(int(image_set.labels.max()) + 1)))
        notes += told(image_set, splits, Labels(image_set.labels, classes), limit)
    config = describe_run(image_set, splits, data, chosen.network, chosen.task, training, command, notes)
    parts = assemble(config, own_network, own_task, None if start else splits.train)
    if start:
        start.read_weights(start.trained, parts.network, parts.loss)
    try_out(parts, config, splits.train)
    if on_start and ranks.is_first:
        on_start(make_plan(parts, config, splits))
    with _folder(out) as folder:
        recorder = Recorder(folder, config, parts, splits, on_epoch, on_step, ranks)
        with folder.create(overwrite) if ranks.is_first else contextlib.nullcontext():
            if ranks.is_first:
                folder.write_pictures(image_set)
            recorder.run()
    return Run(folder.path, own_network, own_task, None if image_set.source else image_set)


@showing
def finetune(
    run: Run | str | os.PathLike[str] | None,
    images: Images,
    labels: GivenLabels | None = None,
    out: str | os.PathLike[str] | None = None,
    *,
    encoding: str | None = None,
    keep_na: bool = False,
    labels_per_class: int | None = None,
    supervised_only: bool = False,
    from_scratch: bool = False,
    network: str | None = None,
    validation: int | None = None,
    limit: int | None = None,
    overwrite: bool = False,
    command: str = "safelight.finetune",
    progress: bool = True,
    on_reading: OnReading = lambda done, count: None,
    on_epoch: OnEpoch | None = None,
    on_step: OnStep | None = None,
    **settings: Any,
) -> Run:
    """Train a classifier from a run and a few labels.

    The labels are spread over the unlabelled images, in the first epoch over the run's codes, then anew
    before each epoch over the features that the classifier has learned; an epoch draws as many images as
    there are, one in five of those with a given label, the others the more often the surer their label is.
    But where a fifth of the labels at a time is hidden, and logistic regression on the codes of the others
    tells more of them right than spreading does, the unlabelled images are left alone.

    Args:
        run: of an autoencoder, or of a classifier; None starts from scratch.
        images: an `ImageSet`, an array, or what `safelight.load` takes; labelled or not.
        labels: for each image the name or number of its class, None or -1 where unknown; or a file of them,
            as `read_labels` reads it, all of which are trained on but those that a column "part" keeps for
            "test". By default the images' own, of which validation and test images keep theirs.
        out: the run folder to make; without it the run lives in a temporary folder and goes with the `Run`.
        encoding: of a file of labels, as for `read_labels`.
        keep_na: likewise, and of the images' own.
        labels_per_class: of the training images' labels, only this many of each class are used, drawn by
            `seed`, and none of the validation images'.
        supervised_only: leave the unlabelled images alone.
        from_scratch: leave the run's weights and codes alone, to see what they are worth.
        network: classifier, a small network of its own; or fine-tuned, the run's encoder with a linear layer
            that starts from the best one on its codes. By default the second where the unlabelled images are
            left alone.
        validation: number of validation images; by default that of the run, if it has the same images.
        limit: number of training images to keep.
        overwrite: replace a run that is in `out`.
        command: kept in config.json.
        progress: as in `train`.
        on_reading: as in `train`.
        on_epoch: as in `train`.
        on_step: as in `train`.
        settings: fields of `TrainingConfig`, of `ClassifyConfig` and, without a run, of `FitOptions`.

    Returns:
        The finished run; see `Run.classify`.

    Raises:
        ConfigError, DataError, RunError: nothing was written.
        TrainingError, Interrupted: as in `train`; `resume` continues.

    Example:
        >>> import safelight
        >>> run = safelight.train("digits", epochs=2, threads=1)
        >>> digits = safelight.finetune(run, "digits", labels_per_class=10, epochs=4, threads=1)
        >>> digits.classify(safelight.load("digits", split="test")).probabilities.shape
        (180, 10)
    """
    source = run if isinstance(run, Run | None) else Run(run)
    options, settings = FitOptions.parted(settings)
    group_by = source.config.data.group_by if source else None
    data = DataConfig(limit=limit, group_by=group_by, keep_na=keep_na)
    image_set = as_image_set(images, source.config.image if source else options, data, on_reading)
    if validation is None and source and image_set.is_what(source.config.data.fingerprint):
        validation = source.config.data.validation
    known, seed = given_labels(image_set, labels, encoding, keep_na), check_seed(settings.get("seed", 0))
    if labels_per_class is not None:
        known = few_labels(image_set.split(validation, limit, known.parts), known, labels_per_class, seed)
    elif labels is not None:
        known = known.trained_on(known.numbers != UNKNOWN)
    divided, known = divide(image_set, known, validation, limit)
    start_config = source.config if source else None
    chosen = choose_settings(divided, known, start_config, network, supervised_only, settings)
    notes, train_set, classes = told(image_set, divided, known, limit), divided.train, known.classes
    start = None if source is None or from_scratch else source.network
    codes, measured = None, None
    with cpu_threads(chosen[2].threads):
        if start is not None:
            codes = codes_of(start, train_set)
        if codes is not None and isinstance(start, Autoencoder):  # which never saw a label
            given = cast(Any, train_set.labels)
            if chosen[1].spread:
                measured, why = try_both(codes, given, classes)
                if why:
                    chosen = choose_settings(divided, known, start_config, network, True, settings)
                    notes += (why,)
            else:
                measured = cross_validate(codes, given, classes, False)
    unlabelled = dataclasses.replace(image_set, labels=None)
    config = describe_run(unlabelled, divided, data, *chosen, command, notes)
    parts = assemble(config)
    with cpu_threads(config.training.threads):
        if isinstance(parts.network, FineTuned) and isinstance(start, Autoencoder):
            start_from(parts.network, start, train_set)
        found = first_labels(divided, known, config, codes if chosen[1].spread else None)
    with _folder(out) as folder, folder.create(overwrite):
        if measured and not has_others(image_set, divided):
            about = {"split": CROSS_VALIDATED, "weights": ""}  # of none yet
            folder.write_evaluation({CROSS_VALIDATED: measured | about})
        folder.write_labels(found)
        folder.write_pictures(image_set)
        folder.write_weights(INITIAL, parts.network, parts.loss)
        folder.write_config(config)
        train_on_labels(folder, config, parts, divided, on_epoch, on_step)
        conclude(folder, config, parts, divided)
    return Run(folder.path, images=None if image_set.source else image_set)


@showing
def resume(
    path: str | os.PathLike[str],
    epochs: int | None = None,
    network: type[Network] | Network | None = None,
    images: Images | None = None,
    task: type[Task] | Task | None = None,
    on_epoch: OnEpoch | None = None,
    on_step: OnStep | None = None,
    progress: bool = True,
) -> Run:
    """Continue a run where it stopped, to the same bits as if it had not.

    Args:
        path: the run folder.
        epochs: train to this many epochs instead; the rate then follows the schedule of the longer run.
        network: for a network of your own, its class or an instance.
        images: for a run on images handed over in Python, the same images.
        task: for a task of your own, its class or an instance.
        on_epoch: as in `train`.
        on_step: as in `train`.
        progress: as in `train`.

    Returns:
        The finished run.

    Raises:
        RunError: the folder cannot be continued, or has more epochs already.
        DataError: the data is gone or changed.
        TrainingError, Interrupted: as in `train`.

    Example:
        >>> import safelight
        >>> run = safelight.train("digits", epochs=1, threads=1)
        >>> len(safelight.resume(run.path, epochs=2).history)
        2
    """
    ranks = join()
    folder = RunFolder(path)
    folder.read_config()  # before a lock is made in what may be no run
    with folder.locked() if ranks.is_first else contextlib.nullcontext():
        config = folder.read_config()
        packed = folder.read_state()
        done = packed.numbers["epoch"] if packed else 0
        epochs = plain(epochs)
        if epochs is not None:
            config = dataclasses.replace(config, training=dataclasses.replace(config.training, epochs=epochs))
        if config.training.epochs < done:
            raise RunError(
                f"{folder.path} has {done} epochs already; ask for at least as many, "
                f"got {config.training.epochs}"
            )
        ranks.check(config.training)
        parts = assemble(config, network, task)
        image_set = find_images(config.data, config.image, folder.path, images)
        labels = folder.read_labels()
        moved = None if labels is None else labels.parts
        splits = image_set.split(config.data.validation, config.data.limit, moved)
        if packed is None:
            folder.read_weights(INITIAL, parts.network, parts.loss)
        if labels is not None:
            if ranks.count > 1:
                raise RunError(f"{folder.path} was made by finetune, in one process; leave torchrun out")
            folder.write_config(config)
            train_on_labels(folder, config, parts, splits, on_epoch, on_step)
            conclude(folder, config, parts, splits)
        else:
            recorder = Recorder(folder, config, parts, splits, on_epoch, on_step, ranks)
            if epochs is not None and epochs > done and recorder.has_stopped(done):
                raise RunError(
                    f"{folder.path} stopped by its patience of {config.training.patience} after {done} "
                    "epochs: more would stop at once; train a new run with more --patience"
                )
            recorder.run(packed)
    return Run(path, network, task, images)


@contextlib.contextmanager
def _folder(out: str | os.PathLike[str] | None) -> Iterator[RunFolder]:
    """The folder to make; a temporary one goes when something fails, or with the last object that uses it."""
    if out is not None:
        yield RunFolder(out)
        return
    temporary = TemporaryFolder()
    try:
        yield RunFolder(temporary.path)
    except BaseException:
        temporary.delete()
        raise


def _made(given: Any) -> Any:
    """What a class makes, to be looked at."""
    if not isinstance(given, type):
        return given
    with fresh_weights(0):
        return given()
