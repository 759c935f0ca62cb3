"""Shuffled batches of floats."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from safelight.data.images import ImageSet
from safelight.errors import ConfigError

__all__ = ["Batches"]


class Batches:
    """Shuffled batches of floats, epoch by epoch.

    A last batch of one image would have no spread to normalize by; it joins the batch before it.

    The order of an epoch follows from (seed, epoch) alone, so that a run can be continued at any batch.

    Args:
        images: the images to serve.
        batch_size: images a batch; the last batch of an epoch may be smaller.
        seed: fixes the orders.
        device: where the batches go.

    Raises:
        ConfigError: the batch is larger than the set.

    Example:
        >>> import numpy as np
        >>> from safelight.data.batches import Batches
        >>> from safelight.data.images import ImageSet
        >>> batches = Batches(ImageSet(np.zeros((5, 1, 8, 8), np.uint8)), batch_size=2, seed=0)
        >>> len(batches), [tuple(batch.shape) for batch in batches.epoch(0)]
        (2, [(2, 1, 8, 8), (3, 1, 8, 8)])
    """

    def __init__(self, images: ImageSet, batch_size: int, seed: int, device: str = "cpu") -> None:
        if batch_size > len(images):
            raise ConfigError(
                f"expected a batch size of at most {len(images)}, the number of training images, "
                f"got {batch_size}; lower --batch-size"
            )
        self.images = images
        self.batch_size = batch_size
        self.seed = seed
        self.device = device

    def __len__(self) -> int:
        """Batches in an epoch."""
        full, rest = divmod(len(self.images), self.batch_size)
        return full + (rest > 1)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Tensor]:
        """The batches of one epoch, (n, C, H, W) each, from batch `start` on."""
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.images))
        for step in range(start, len(self)):
            last = len(order) if step == len(self) - 1 else (step + 1) * self.batch_size
            yield self.images.floats(order[step * self.batch_size : last], self.device)
