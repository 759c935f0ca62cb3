"""The labels that a run learns from: those that were given, and what they were spread to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray

from safelight.data.images import ANYWHERE, Divided
from safelight.errors import RunError
from safelight.runs.state import to_bytes

__all__ = ["RunLabels"]


@final
@dataclass(frozen=True, eq=False)
class RunLabels:
    """What a run's training images are taken for.

    Attributes:
        given: (N,) int64, the labels of all the run's images before they were divided, -1 where unknown.
        parts: (N,) int8, where images went that the division may have put elsewhere: 0 to training, 1 to
            validation, 2 to test; -1 where it was left alone.
        labels: (n,) int64, what each training image is taken for.
        weights: (n,) float32, how often each training image is drawn.
        epoch: that they were made for, counted from 0.
    """

    given: NDArray[np.int64]
    parts: NDArray[np.int8]
    labels: NDArray[np.int64]
    weights: NDArray[np.float32]
    epoch: int = 0

    def given_to(self, images: Divided) -> Divided:
        """The run's images with the given labels in place of their own.

        Raises:
            RunError: these are the labels of other images.
        """
        if len(self.given) <= max(int(rows.max(initial=-1)) for rows in images.rows.values()):
            raise RunError("the run's labels are not those of these images; train a new run")
        return images.labelled(self.given)

    def taken_for(self, images: Divided) -> Divided:
        """A run's images: for training, with what they are taken for.

        Raises:
            RunError: these are the labels of other images.
        """
        splits = self.given_to(images)
        if not len(self.labels) == len(self.weights) == len(splits.train):
            raise RunError(f"the run's labels are not those of {len(splits.train)} images; train a new run")
        return replace(splits, train=replace(splits.train, labels=self.labels, weights=self.weights))

    def to_bytes(self) -> bytes:
        """As the bytes of a safetensors file."""
        arrays = {name: value for name, value in vars(self).items() if name != "epoch"}
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        return to_bytes(tensors | {"epoch": torch.tensor(self.epoch)})

    @classmethod
    def from_bytes(cls, content: bytes) -> RunLabels:
        """Read them back.

        Raises:
            ValueError: these are no such bytes.
        """
        try:
            arrays = {name: tensor.numpy() for name, tensor in safetensors.torch.load(content).items()}
            given, labels, weights = arrays["given"], arrays["labels"], arrays["weights"]
            parts = arrays.get("parts", np.full(len(given), ANYWHERE, np.int8))  # which older runs have not
            epoch = int(arrays["epoch"])
        except (safetensors.SafetensorError, KeyError, TypeError) as error:
            raise ValueError(f"no labels ({error})") from None
        kinds = [f"{array.dtype} {array.ndim}" for array in (given, parts, labels, weights)]
        if kinds != ["int64 1", "int8 1", "int64 1", "float32 1"] or len(parts) != len(given):
            raise ValueError("no labels (other types or shapes)")
        return cls(given, parts, labels, weights, epoch)
