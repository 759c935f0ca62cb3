"""A finished run, to read, clean and write images with: each method a few lines over the wings."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from safelight.cleaning.cleaner import Cleaner
from safelight.coding import CodingRun
from safelight.config.corruption import CORRUPTIONS, parse_corruption
from safelight.config.latent import PageConfig
from safelight.config.reading import check, check_seed, from_dict, whole
from safelight.config.task import ClassifyConfig
from safelight.data.arrays import one_image
from safelight.data.finding import Images
from safelight.data.images import ImageSet, at_once
from safelight.errors import DataError, RunError, SafelightError
from safelight.files import new_file, write_file
from safelight.labels.predictions import feature_codes, predict
from safelight.latent.codes import some_images
from safelight.latent.export import Told, export_onnx
from safelight.latent.sampling import CODES_TO_FIT, class_rows, fit_mixture, sampling_method
from safelight.latent.walks import Traversals, WalkPath, traversals, walk, walk_path
from safelight.networks.base import Autoencoder
from safelight.tasks.classify import Predictions, temperature_of
from safelight.tasks.priors import Flow, Normal, Prior
from safelight.tasks.sampling import latent_points

__all__ = ["Run"]


@final
class Run(CodingRun):
    """A run folder, opened lazily.

    Args:
        path: the folder.
        network: for a run of a network of your own, its class (called without arguments) or an instance.
        task: likewise for a task of your own.
        images: for a run on images handed over in Python, the same images, which every method then uses; what
            `train`, `finetune` and `resume` give has them already.

    Wherever a method takes images, one alone will do: an array or a tensor, (H, W), (H, W, 3), or (H, W, C)
    or (C, H, W) of the run's own channels, or a picture of Pillow's. What is made of it then has no first
    axis: the code of one image is (D,), its reconstruction (C, H, W).

    Raises:
        RunError: it is not a run folder, or its weights do not fit.

    Example:
        >>> import safelight
        >>> run = safelight.train("digits", latent=4, epochs=1, threads=1)
        >>> run.encode(safelight.load("digits", split="test")).shape
        (180, 4)
        >>> run.sample(3).shape
        (3, 1, 8, 8)
        >>> run.decode(run.encode(np.zeros((8, 8)))).shape
        (1, 8, 8)
    """

    def reconstruct(self, images: Images) -> NDArray[np.float32]:
        """Images to the network's version of them, (N, C, H, W) in [0, 1]; one image to (C, H, W).

        Raises:
            RunError: the network does not make images.
        """
        return self._map(images, self._image_network().reconstruct)

    def denoise(self, images: Images) -> NDArray[np.float32]:
        """Images to clean ones, (N, C, H, W) in [0, 1], one image to (C, H, W).

        A `DenoisingUNet` takes any size from 8 pixels up.

        Raises:
            DataError: the network takes no such images.
            RunError: the network does not make images.
        """
        cleaner = self.cleaner()
        image_set = cleaner.taken(images)
        parts = [cleaner(image_set.floats(chunk).numpy()) for chunk in image_set.chunks()]
        found = np.concatenate(parts)
        return found if one_image(images, self.config.image.channels) is None else found[0]

    def cleaner(self, turns: bool = False) -> Cleaner:
        """What cleans arrays and files by the run's network.

        Args:
            turns: average over the eight ways that a picture can lie, which takes eight times as long.

        Raises:
            RunError: the network does not make images.
        """
        precision = self.config.training.precision
        text = getattr(self.config.task, "corruption", None)
        steps = parse_corruption(text) if text else ()
        changes_light = any(CORRUPTIONS[step.name].changes_light for step in steps)
        return Cleaner(self._image_network(), self.config.image, precision, changes_light, turns)

    def sample(
        self,
        count: int,
        method: str | None = None,
        label: int | str | None = None,
        seed: int = 0,
        images: Images | None = None,
    ) -> NDArray[np.float32]:
        """New images, (count, C, H, W) in [0, 1].

        Args:
            count: number of images.
            method: prior, of a variational network or learned; or mixture, of normal densities fitted to the
                training codes. By default the prior where there is one and no label is asked for.
            label: draw from a mixture fitted to this class alone, by its name or its number.
            seed: fixes the draws.
            images: for a mixture of a run on images handed over in Python, the same images.

        Raises:
            ConfigError: no such method, or it cannot draw what is asked for.
            RunError: the network has no codes.
        """
        return np.concatenate(list(self.sample_parts(count, method, label, seed, images)))

    def sample_parts(
        self,
        count: int,
        method: str | None = None,
        label: int | str | None = None,
        seed: int = 0,
        images: Images | None = None,
    ) -> Iterator[NDArray[np.float32]]:
        """What `sample` gives, in parts that take little memory; arguments and errors as there."""
        codes = self._drawn_codes(count, method, label, seed, images)
        for part in torch.split(codes, at_once(self.config.image.shape)):
            yield self.decode(part.cpu().numpy())

    def _drawn_codes(
        self, count: int, method: str | None, label: int | str | None, seed: int, images: Images | None
    ) -> torch.Tensor:
        network, prior = self._autoencoder(), self.prior
        count, seed = whole("count", count), check_seed(seed)
        method = sampling_method(count, method, label, prior is not None)
        if method == "prior" and prior is not None:
            blank = ImageSet(np.zeros((1, *self.config.image.shape), np.uint8))
            return latent_points(network, prior, count, blank, seed)
        train = self.images("train", images)
        if label is not None:
            train = train.subset(class_rows(train.labels, label, train.classes))
        mixture = fit_mixture(self.codes(some_images(train, CODES_TO_FIT, seed)), seed)
        return mixture.sample(count, seed)

    def walk(
        self, start: Images | int, end: Images | int, steps: int = 12, path: WalkPath | None = None
    ) -> NDArray[np.float32]:
        """Images on the way between the codes of two images, (steps, C, H, W) in [0, 1].

        Args:
            start: the place of an image in the run's set before it was divided, or an image: the first of
                what `safelight.load` gives.
            end: likewise.
            steps: number of images, both ends' reconstructions among them.
            path: linear, spherical, or flow, along a straight line of what a flow makes codes of. By default
                that of a prior that is a flow, else spherical.

        Raises:
            ConfigError: a number of steps, a place or a path that there is not.
            RunError: the network has no codes.
        """
        flow = self.prior if isinstance(self.prior, Flow) else None
        path = walk_path(path, flow is not None)
        a, b = (self.encode(self._one(image))[0] for image in (start, end))
        return self.decode(walk(a, b, steps, path, flow))

    def traverse(
        self, images: Images | None = None, steps: int = 9
    ) -> tuple[Traversals, NDArray[np.float32]]:
        """Change one dimension of the mean code at a time, over the range that it has in images.

        Args:
            images: that decide range and mean; the training images by default.
            steps: images a dimension.

        Returns:
            The codes, and the images that they decode to, (D, steps, C, H, W) in [0, 1].

        Raises:
            ConfigError: a number of steps that there is not.
            RunError: the network has no codes.
        """
        chosen = self.images("train") if images is None else self.taken(images)
        found = traversals(self.codes(some_images(chosen, CODES_TO_FIT)), steps)
        drawn = self.decode(found.codes.reshape(-1, found.codes.shape[-1]))
        return found, drawn.reshape(*found.codes.shape[:2], *drawn.shape[1:])

    def export(self, folder: str | os.PathLike[str], overwrite: bool = False) -> Path:
        """Write the network as ONNX files that take and give pixels, with a README.md on feeding them.

        An autoencoder becomes encoder.onnx and decoder.onnx, and prior.onnx where a prior was learned, which
        makes codes of standard normal numbers; a classifier classifier.onnx, pixels to probabilities and how
        unlike the training images they are; a U-Net denoiser.onnx, for any size. fit.json says how pictures
        become images.

        Args:
            folder: made if it is not there.
            overwrite: replace files of these names.

        Raises:
            ConfigError: the packages for ONNX are not installed.
            RunError: the network is none of these, or the folder cannot be written.
        """
        network, task, told = self.network, self.config.task, None
        if isinstance(task, ClassifyConfig):
            classes = task.class_names or tuple(map(str, range(getattr(self.config.network, "classes", 0))))
            told = Told(classes, temperature_of(self._parts.loss), self.folder.read_typical())
        prior = self._learned_prior if isinstance(network, Autoencoder) else None
        return export_onnx(network, self.config.image, folder, overwrite, prior, told)

    @property
    def _learned_prior(self) -> Prior | None:
        """None where codes are drawn as the numbers are, or not at all."""
        return None if isinstance(self.prior, Normal) else self.prior

    def page(
        self,
        out: str | os.PathLike[str],
        images: Images | None = None,
        with_images: bool = True,
        overwrite: bool = False,
        on_progress: Callable[[int, int], object] | None = None,
        **settings: Any,
    ) -> Path:
        """Write one HTML file to walk through the latent space in a browser, with no server.

        It holds encoder, decoder and engine, and of the training images names, labels, codes and thumbnails.
        A classifier's shows its features, and what it tells the training images to be, with given labels.

        Args:
            out: the file to make, ending in .html.
            images: for a run on images handed over in Python, the same images.
            with_images: False leaves the images themselves out; their names, labels and codes stay.
            overwrite: replace a file that is there.
            on_progress: called with the iterations of t-SNE that are done and those there are.
            **settings: of `PageConfig`: n, map, perplexity, neighbours and metric.

        Returns:
            The path of the file.

        Raises:
            ConfigError: too many images, the packages for ONNX are not installed, or a classifier's page was
                to be without images.
            RunError: the network has no codes, the engine is missing, or the file cannot be written.
        """
        from safelight.explorer.bundling import engine_files, page
        from safelight.explorer.contents import page_contents, page_networks

        path = new_file(out, [".html"], overwrite)
        config = from_dict(PageConfig, settings, "page")
        is_classifier, data = isinstance(self.config.task, ClassifyConfig), self.config.data
        if is_classifier:
            check(with_images, "images", "them in the page of a classifier, which decodes none", "none")
        else:
            self._autoencoder(), engine_files()  # before minutes of work
        train = self.images("train", images)
        chosen = some_images(train, config.n)
        source = data.source and (Path(data.source).name or data.source)  # no more of its owner's folders
        name = self.path.resolve().name
        about = {
            "title": name if source is None else f"{source} · {name}",
            "source": source or "its own",
            "fingerprint": data.fingerprint,
            "made_of": self.made_of(config, with_images),
            "total": len(train),
            "shape": chosen.shape,
            "has_prior": self.prior is not None,
            "has_flow": isinstance(self.prior, Flow),
        }
        shown = chosen if with_images else None
        if is_classifier:
            models, found, codes = None, self.classify(chosen), feature_codes(self.network, chosen)
        else:
            models, found = page_networks(self._autoencoder(), chosen, self._learned_prior), None
            codes = self.codes(chosen)
        contents = page_contents(codes, shown, about, on_progress, config, found)
        write_file(path, page(contents, models))
        return path

    def made_of(self, config: PageConfig, with_images: bool) -> str:
        """What a page says it was made of, by which one out of date is known: weights and settings."""
        weights = self.folder.digest()
        return json.dumps({"weights": weights, "images": with_images, **asdict(config)})

    def classify(self, images: Images) -> Predictions:
        """Tell which class images are of, and which of them are unlike those that were trained on.

        Raises:
            RunError: the run is none of a classifier.
        """
        task, image_set = self.config.task, self.taken(images)
        if not isinstance(task, ClassifyConfig):
            raise RunError(
                f"{self.path}: a run to {task.name} tells no classes; make one with safelight finetune"
            )
        return predict(
            self.network, self._parts.loss, task.class_names, image_set, self.folder.read_typical()
        )

    def report(
        self, images: Images | None = None, on_note: Callable[[str], object] = lambda note: None
    ) -> Path:
        """Write `figures/` and `report.html`, with maps of the codes where there are any.

        Args:
            images: for the maps of a run on images handed over in Python, the same images.
            on_note: called with why there are no maps, where the images are gone.

        Returns:
            The path of the page.
        """
        from safelight.latent.figures import CODES, latent_panels  # matplotlib, which only charts need
        from safelight.reporting.report import write_report

        try:
            train = some_images(self.images("train", images), CODES)
            panels = latent_panels(self.codes(train))
        except SafelightError as error:  # no codes, or images that are gone: the rest is still worth having
            panels = []
            if isinstance(error, DataError):
                on_note(f"no maps of the codes: {error}")
        return write_report(self.folder, panels)
