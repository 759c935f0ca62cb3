"""safelight from Python: `train`, `resume`, and a `Run` to read, clean and write images with."""

from __future__ import annotations

import dataclasses
import os
import platform
import shutil
import tempfile
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import safelight
from safelight.config.data import DataConfig, ImageConfig
from safelight.config.network import CUSTOM_NETWORK, NetworkSpec
from safelight.config.reading import did_you_mean, from_dict
from safelight.config.run import LIKELIHOODS, RunConfig
from safelight.config.training import TrainingConfig
from safelight.data import sources
from safelight.data.batches import Batches
from safelight.data.images import ImageSet, Splits
from safelight.errors import ConfigError, DataError, RunError
from safelight.machine import derive_seed, pick_device
from safelight.networks import sampling
from safelight.networks.base import Autoencoder
from safelight.networks.table import NETWORKS, build
from safelight.runs.folder import BEST, INITIAL, LAST, RunFolder
from safelight.runs.recorder import Progress, fit_in_folder
from safelight.tasks import evaluation
from safelight.tasks.evaluation import CHUNK
from safelight.tasks.objective import NegativeELBO, objective

__all__ = ["Progress", "Run", "resume", "train"]

Images = ImageSet | NDArray[Any] | str | os.PathLike[str]


class Run:
    """A run folder, opened lazily.

    Args:
        path: the folder.
        network: for a run of a network of your own, its class (called without arguments) or an instance.

    Raises:
        RunError: it is not a run folder, or its weights do not fit.

    Example:
        >>> import safelight
        >>> run = safelight.train("digits", latent=4, epochs=1, threads=1)
        >>> run.encode(safelight.load("digits", split="test")).shape
        (180, 4)
        >>> run.sample(3).shape
        (3, 1, 8, 8)
    """

    def __init__(
        self, path: str | os.PathLike[str], network: type[Autoencoder] | Autoencoder | None = None
    ) -> None:
        self.folder = RunFolder(path)
        self.config = self.folder.read_config()
        self._given = network
        self._loaded: tuple[Autoencoder, NegativeELBO] | None = None

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, {self.config.network.name})"

    @property
    def path(self) -> Path:
        """The folder."""
        return self.folder.path

    @property
    def history(self) -> list[dict[str, Any]]:
        """One record an epoch, as in history.jsonl."""
        return self.folder.read_history()

    @property
    def network(self) -> Autoencoder:
        """The network with its best weights on validation, or its last where there was none."""
        return self._load()[0]

    def encode(self, images: Images) -> NDArray[np.float32]:
        """Images to their mean codes, (N, D)."""
        return self._map(images, lambda network, x: network.encode(x).mu)

    def reconstruct(self, images: Images) -> NDArray[np.float32]:
        """Images to images through the mean code, (N, C, H, W) in [0, 1]."""
        return self._map(images, lambda network, x: network.reconstruct(x))

    def sample(self, count: int, seed: int = 0, images: Images | None = None) -> NDArray[np.float32]:
        """New images, (count, C, H, W) in [0, 1].

        A variational network decodes draws from its prior; a deterministic one decodes draws from a normal
        distribution fitted to its training codes.

        Args:
            count: number of images.
            seed: fixes the draws.
            images: for a deterministic network trained on images handed over in Python, the same images.
        """
        if count < 1:
            raise ConfigError(f"expected at least 1 sample, got {count}")
        network, _ = self._load()
        blank = ImageSet(np.zeros((1, *self.config.image.shape), np.uint8))
        with torch.no_grad():
            has_prior = network.encode(blank.floats(device=_device(network))).logvar is not None
        codes_of = blank if has_prior else self.images("train", images)
        points = sampling.latent_points(network, count, codes_of, seed)
        return np.asarray(sampling.sample(network, points).cpu().numpy(), np.float32)

    def evaluate(
        self, split: str = "test", samples: int = 50, images: Images | None = None
    ) -> dict[str, Any]:
        """Measure the run on one split of its data, and keep the result in evaluation.json.

        Args:
            split: test, validation or train.
            samples: k of the importance-weighted bound; 0 leaves it out.
            images: for a run on images handed over in Python, the same images.

        Returns:
            What `safelight.evaluation.evaluate` gives, and "split".

        Raises:
            DataError: the run's data is gone or changed, or has no such split.
        """
        network, loss = self._load()
        known = self.folder.read_evaluation()
        measures = evaluation.evaluate(network, loss.likelihood, self.images(split, images), samples)
        measures["split"] = split
        self.folder.write_evaluation(known | {split: measures})
        return measures

    def images(self, split: str, images: Images | None = None) -> ImageSet:
        """One split of the images that the run was made with.

        Args:
            split: test, validation or train.
            images: for a run on images handed over in Python, the same images.

        Raises:
            DataError: they are gone or changed, or there is no such split.
        """
        if split not in ("train", "validation", "test"):
            raise DataError(f"expected a split of train, validation or test, got {split!r}")
        part: ImageSet | None = getattr(find_splits(self.config.data, images), split)
        if part is None and split == "test" and self.config.data.source is not None:
            part = sources.load(self.config.data.source, split="test")
        if part is None:
            raise DataError(f"{self.path} has no {split} images; use another --split")
        return self._fitting(part)

    def _load(self) -> tuple[Autoencoder, NegativeELBO]:
        if self._loaded is None:
            network = _network(self.config, self._given)
            loss = objective(self.config.likelihood, self.config.training)
            name = BEST if (self.path / BEST).exists() else LAST
            self.folder.read_weights(name, network, loss)
            self._loaded = network.eval(), loss.eval()
        return self._loaded

    def _fitting(self, images: ImageSet) -> ImageSet:
        if images.shape != self.config.image.shape:
            raise DataError(
                f"expected images of {self.config.image.shape} (C, H, W), as {self.path} was trained on, "
                f"got {images.shape}; scale or crop them first"
            )
        return images

    @torch.no_grad()
    def _map(
        self, images: Images, function: Callable[[Autoencoder, torch.Tensor], torch.Tensor]
    ) -> NDArray[np.float32]:
        network, _ = self._load()
        image_set = self._fitting(as_image_set(images))
        parts = [
            function(network, image_set.floats(slice(first, first + CHUNK), _device(network))).cpu().numpy()
            for first in range(0, len(image_set), CHUNK)
        ]
        return np.concatenate(parts)


def train(
    images: Images,
    network: str | Autoencoder = "deep-conv-vae",
    out: str | os.PathLike[str] | None = None,
    *,
    likelihood: str = "bernoulli",
    validation: int | None = None,
    limit: int | None = None,
    init_from: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    command: str = "safelight.train",
    on_epoch: Callable[[dict[str, Any]], object] | None = None,
    on_step: Callable[[Progress], object] | None = None,
    **settings: Any,
) -> Run:
    """Train an autoencoder.

    Args:
        images: an `ImageSet`, an array, or what `safelight.load` takes.
        network: a name of `safelight.networks.NETWORKS`, or an `Autoencoder` of your own.
        out: the run folder to make; without it the run lives in a temporary folder and goes with the `Run`.
        likelihood: bernoulli or gaussian.
        validation: number of validation images; 0 trains on everything but the test images.
        limit: number of training images to keep.
        init_from: a run of the same network whose weights to start from.
        overwrite: replace a run that is in `out`.
        command: kept in config.json.
        on_epoch: called with each epoch's record; a true answer ends the training.
        on_step: called after each batch; a true answer saves the run and raises `Interrupted`.
        settings: fields of `TrainingConfig` and of the network's config.

    Returns:
        The finished run.

    Raises:
        ConfigError, DataError, RunError: nothing was written.
        TrainingError: the loss is no longer finite; the run folder holds the last good epoch.
        Interrupted: `on_step` asked for it; `resume` continues.

    Example:
        >>> import safelight
        >>> run = safelight.train("digits", epochs=2, lr=0.004, channels=(16,), threads=1)
        >>> [record["epoch"] for record in run.history]
        [1, 2]
    """
    image_set = as_image_set(images)
    splits = image_set.split(validation, limit)
    held_out = len(splits.validation) if splits.validation else 0
    fields, training = sort_settings(network, settings)
    training = _resolve(training)
    channels, height, width = image_set.shape
    if isinstance(network, str):
        described = NetworkSpec(network, fields)
    else:
        described = NetworkSpec(CUSTOM_NETWORK, own_class=type(network).__name__)
    if likelihood not in LIKELIHOODS:
        raise ConfigError(f"likelihood: expected {' or '.join(LIKELIHOODS)}, got {likelihood!r}")
    config = RunConfig(
        network=described,
        image=ImageConfig(height, width, channels, image_set.value_range),
        data=DataConfig(image_set.source, image_set.fingerprint(), held_out, limit),
        training=training,
        likelihood=likelihood,  # type: ignore[arg-type]
        versions={
            "safelight": safelight.__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        command=command,
    )
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(training.seed, "weights"))
        built = _network(config, None if isinstance(network, str) else network)
    loss = objective(likelihood, training)
    if init_from is not None:
        start = Run(init_from, None if isinstance(network, str) else network)
        start.folder.read_weights(BEST if (start.path / BEST).exists() else LAST, built, loss)
    _try_out(built, splits.train)
    batches = Batches(splits.train, training.batch_size, training.seed, training.device)
    temporary = Path(tempfile.mkdtemp(prefix="safelight-")) if out is None else None
    folder = RunFolder(temporary or Path(str(out)))
    try:
        with folder.create(overwrite):
            folder.write_weights(
                INITIAL, built, loss
            )  # a run killed in its first epoch starts from these again
            folder.write_config(config)
            fit_in_folder(folder, config, built, loss, batches, splits, on_epoch, on_step)
    except BaseException:
        if temporary:
            shutil.rmtree(temporary, ignore_errors=True)
        raise
    run = Run(folder.path, None if isinstance(network, str) else network)
    if temporary:
        weakref.finalize(run, shutil.rmtree, temporary, ignore_errors=True)
    return run


def resume(
    path: str | os.PathLike[str],
    epochs: int | None = None,
    network: type[Autoencoder] | Autoencoder | None = None,
    images: Images | None = None,
    on_epoch: Callable[[dict[str, Any]], object] | None = None,
    on_step: Callable[[Progress], object] | None = None,
) -> Run:
    """Continue a run where it stopped, to the same bits as if it had not.

    Args:
        path: the run folder.
        epochs: train to this many epochs instead; the rate then follows the schedule of the longer run.
        network: for a network of your own, its class or an instance.
        images: for a run on images handed over in Python, the same images.
        on_epoch: as in `train`.
        on_step: as in `train`.

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
    folder = RunFolder(path)
    folder.read_config()  # before a lock is made in what may be no run
    with folder.locked():
        config = folder.read_config()
        packed = folder.read_state()
        done = packed[1]["epoch"] if packed else 0
        if epochs is not None:
            config = dataclasses.replace(config, training=dataclasses.replace(config.training, epochs=epochs))
        training = config.training
        if training.epochs < done:
            raise RunError(
                f"{folder.path} has {done} epochs already; ask for at least as many, got {training.epochs}"
            )
        pick_device(training.device)
        splits = find_splits(config.data, images)
        built, loss = _network(config, network), objective(config.likelihood, training)
        if packed is None:
            folder.read_weights(INITIAL, built, loss)
        batches = Batches(splits.train, training.batch_size, training.seed, training.device)
        folder.write_config(config)
        fit_in_folder(folder, config, built, loss, batches, splits, on_epoch, on_step, packed)
    return Run(path, network)


def as_image_set(images: Images) -> ImageSet:
    """Images as they are, or loaded."""
    return images if isinstance(images, ImageSet) else sources.load(images)


def find_splits(data: DataConfig, images: Images | None = None) -> Splits:
    """A run's images, divided as they were when it was made."""
    if images is None and data.source is None:
        raise DataError("this run was trained on images handed over in Python; hand over the same ones")
    image_set = as_image_set(images if images is not None else str(data.source))
    if image_set.fingerprint() != data.fingerprint:
        raise DataError(
            "expected the images that the run was trained on, but "
            f"{data.source or 'these'} differ from them; restore them, or train a new run"
        )
    return image_set.split(data.validation, data.limit)


def _network(config: RunConfig, given: type[Autoencoder] | Autoencoder | None) -> Autoencoder:
    if given is not None:
        return given if isinstance(given, Autoencoder) else given()
    if config.network.name == CUSTOM_NETWORK:
        raise RunError(
            f"the run holds a network of your own, {config.network.own_class!r}; open it from Python with "
            "safelight.Run(path, network=its class)"
        )
    return build(config)


def sort_settings(
    network: str | Autoencoder, settings: dict[str, Any]
) -> tuple[dict[str, Any], TrainingConfig]:
    """Divide keyword arguments into the network's fields, all resolved, and the training's."""
    of_training = {f.name for f in dataclasses.fields(TrainingConfig)}
    of_network: Sequence[str] = ()
    if not isinstance(network, str | Autoencoder):
        raise ConfigError(
            f"network: expected a name, or an Autoencoder such as MyNet(), got {network!r}; "
            f"the names are {', '.join(NETWORKS)}"
        )
    if isinstance(network, str):
        if network not in NETWORKS:
            raise ConfigError(f"unknown network {network!r}; {did_you_mean(network, NETWORKS)}")
        of_network = [f.name for f in dataclasses.fields(NETWORKS[network].config_class)]
    for name in settings:
        if name not in of_training and name not in of_network:
            raise ConfigError(f"unknown setting {name!r}; {did_you_mean(name, [*of_network, *of_training])}")
    training = from_dict(TrainingConfig, {k: v for k, v in settings.items() if k in of_training}, "training")
    if not isinstance(network, str):
        return {}, training
    given = {k: v for k, v in settings.items() if k in of_network}
    config: Any = from_dict(NETWORKS[network].config_class, given, "network")
    return dataclasses.asdict(config), training


def _resolve(training: TrainingConfig) -> TrainingConfig:
    """Put the machine's own numbers where the settings left them open, so that the run can be repeated."""
    return dataclasses.replace(
        training,
        device=pick_device(training.device),
        threads=training.threads or torch.get_num_threads(),
    )


def _try_out(network: Autoencoder, images: ImageSet) -> None:
    """Make sure, before anything is written, that a network takes the images."""
    x = images.floats(slice(2), _device(network))
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad():
            shape = tuple(network.decode(network.encode(x).mu).shape)
    except RuntimeError as error:
        raise ConfigError(f"the network does not take images of {images.shape} (C, H, W): {error}") from None
    network.train(was_training)
    if shape != tuple(x.shape):
        raise ConfigError(
            f"expected decode to give {tuple(x.shape)}, as its input, got {shape}; change the network"
        )


def _device(network: Autoencoder) -> str:
    return str(next(network.parameters()).device)
