"""Shuffled batches of floats, epoch by epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from safelight.data.images import ImageSet
from safelight.errors import ConfigError
from safelight.machine import derive_seed

__all__ = ["Batch", "Batches", "MicroBatch"]


@dataclass(frozen=True)
class MicroBatch:
    """Part of a batch that goes through the network by itself.

    Attributes:
        indices: (n,) int64, its images' places in the set.
        name: fixes its randomness: epoch, batch and part, as numbers.
    """

    indices: NDArray[np.int64]
    name: str

    def __len__(self) -> int:
        return len(self.indices)


@dataclass(frozen=True)
class Batch:
    """Images and what is known of them.

    Attributes:
        images: (n, C, H, W) floats in [0, 1], as they are.
        inputs: (n, C, H, W), what the network is given: the images, or a transform's version of them.
        labels: (n,) int64, or None.
        indices: (n,) int64, their places in the set.
        label_range: the least and the greatest label, where they are known without asking the device.
    """

    images: Tensor
    inputs: Tensor
    labels: Tensor | None
    indices: Tensor
    label_range: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.images)

    @staticmethod
    def of(images: ImageSet, indices: slice | np.ndarray = slice(None), device: str = "cpu") -> Batch:
        """A batch of the chosen images, without a transform."""
        chosen = np.arange(len(images))[indices]
        x = images.floats(indices, device)
        if images.labels is None:
            return Batch(x, x, None, torch.from_numpy(chosen))
        labels = images.labels[chosen]
        known = (int(labels.min()), int(labels.max())) if len(labels) else None
        return Batch(x, x, torch.from_numpy(labels).to(device), torch.from_numpy(chosen), known)


class Batches:
    """Shuffled batches, a pass over the set an epoch; or, of weighted images, as many draws from them.

    A last batch of one image would have no spread to normalize by; it joins the batch before it.

    The order of an epoch follows from (seed, epoch) alone, and a batch's transform from (seed, epoch, batch),
    so that a run can be continued at any batch.

    Args:
        images: the images to serve.
        batch_size: images a batch; the last batch of an epoch may be smaller.
        seed: fixes the orders.
        device: where the batches go.
        transform: makes the inputs from the images, drawing from the generator alone.
        augment: makes other images of the images first, likewise.

    Raises:
        ConfigError: the batch is larger than the set.

    Example:
        >>> import numpy as np
        >>> from safelight.data.batches import Batches
        >>> from safelight.data.images import ImageSet
        >>> batches = Batches(ImageSet(np.zeros((5, 1, 8, 8), np.uint8)), batch_size=2, seed=0)
        >>> len(batches), [tuple(batch.images.shape) for batch in batches.epoch(0)]
        (2, [(2, 1, 8, 8), (3, 1, 8, 8)])
    """

    def __init__(
        self,
        images: ImageSet,
        batch_size: int,
        seed: int,
        device: str = "cpu",
        transform: Callable[[Tensor, torch.Generator], Tensor] | None = None,
        augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    ) -> None:
        if batch_size > len(images):
            raise ConfigError(
                f"expected a batch size of at most {len(images)}, the number of training images, "
                f"got {batch_size}; lower it"
            )
        self.images = images
        self.batch_size = batch_size
        self.seed = seed
        self.device = device
        self.transform = transform
        self.augment = augment

    def __len__(self) -> int:
        """Batches in an epoch."""
        full, rest = divmod(len(self.images), self.batch_size)
        return full + (rest > 1)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch, from batch `start` on."""
        for name, indices in self._steps(epoch, start):
            yield self.serve(MicroBatch(indices, name))

    def parts(self, epoch: int, start: int, most: int) -> Iterator[list[MicroBatch]]:
        """The same batches, each as up to so many parts of two images or more, for `serve`."""
        for name, indices in self._steps(epoch, start):
            count = max(1, min(most, len(indices) // 2))
            parts = enumerate(np.array_split(indices, count))
            yield [MicroBatch(part, f"{name} {i}") for i, part in parts]

    def serve(self, part: MicroBatch) -> Batch:
        """Its images, augmented, and transformed."""
        batch = Batch.of(self.images, part.indices, self.device)
        generator = torch.Generator(self.device)
        if self.augment is not None:
            generator.manual_seed(derive_seed(self.seed, f"augment {part.name}"))
            images = self.augment(batch.images, generator)
            batch = replace(batch, images=images, inputs=images)
        if self.transform is not None:
            generator.manual_seed(derive_seed(self.seed, f"transform {part.name}"))
            batch = replace(batch, inputs=self.transform(batch.images, generator))
        return batch

    def _steps(self, epoch: int, start: int) -> Iterator[tuple[str, NDArray[np.int64]]]:
        order = self._order(epoch)
        for step in range(start, len(self)):
            last = len(order) if step == len(self) - 1 else (step + 1) * self.batch_size
            yield f"{epoch} {step}", order[step * self.batch_size : last]

    def _order(self, epoch: int) -> NDArray[np.int64]:
        rng, weights = np.random.default_rng((self.seed, epoch)), self.images.weights
        if weights is None:
            return rng.permutation(len(self.images))
        shares = weights.astype(np.float64)
        return rng.choice(len(shares), len(shares), p=shares / shares.sum())
