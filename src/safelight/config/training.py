"""How a network is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from safelight.config.reading import CHOSEN, MAX_COUNT, check, check_seed

__all__ = ["BATCH_SIZE", "TrainingConfig"]

MAX_THREADS = MAX_PARTS = 1024
BATCH_SIZE = 64


@dataclass(frozen=True)
class TrainingConfig:
    """How a network is trained.

    Attributes:
        epochs: times every training image is seen
        batch_size: images a step; where it is left open 64, or all of fewer images
        lr: Adam's learning rate at its highest
        warmup: share of the run over which the rate rises from zero
        decay: over the whole run, linear to zero or by gamma
        gamma: with decay gamma, the rate at step t of T is lr * gamma ** (t / T)
        weight_decay: Adam's L2 penalty
        seed: fixes initial weights, order of the images and noise
        threads: CPU threads; by default one a core, and on a busy machine better one less
        device: auto takes the first of CUDA, MPS and CPU that is there
        micro_batches: parts that a batch is computed in, each normalized by itself; by default 1, and 8 under
            torchrun, where no more processes than that can take part
        precision: bfloat16 computes in half the memory, quicker on processors made for it
        patience: stop after this many epochs without a better validation loss
    """

    epochs: int = field(default=10, metadata=CHOSEN)
    batch_size: int | None = field(default=None, metadata=CHOSEN)
    lr: float = field(default=4e-3, metadata=CHOSEN)
    warmup: float = 0.01
    decay: Literal["linear", "gamma"] = "linear"
    gamma: float = 1.0
    weight_decay: float = 0.0
    seed: int = 0
    threads: int | None = None
    device: str = "auto"
    micro_batches: int | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    patience: int | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            value = getattr(self, name)
            fits = (value is None and name == "batch_size") or 1 <= value <= MAX_COUNT
            check(fits, name, f"1 to {MAX_COUNT:,}", value)
        check(
            self.threads is None or 1 <= self.threads <= MAX_THREADS,
            "threads",
            f"1 to {MAX_THREADS}",
            self.threads,
        )
        parts = self.micro_batches
        check(parts is None or 1 <= parts <= MAX_PARTS, "micro_batches", f"1 to {MAX_PARTS}", parts)
        check(self.patience is None or self.patience >= 1, "patience", "at least 1", self.patience)
        check(0 < self.lr < math.inf, "lr", "a learning rate above 0", self.lr)
        for name in ("warmup", "gamma"):
            check(0 <= getattr(self, name) <= 1, name, "0 to 1", getattr(self, name))
        check(0 <= self.weight_decay < math.inf, "weight_decay", "0 or more", self.weight_decay)
        check_seed(self.seed)
        check(
            self.decay == "gamma" or self.gamma == 1,
            "gamma",
            "1.0 with a linear decay (it acts only with decay gamma)",
            self.gamma,
        )

    def images_a_step(self, images: int) -> int:
        """The batch size for so many training images, also where it was left open.

        Example:
            >>> TrainingConfig().images_a_step(48), TrainingConfig(batch_size=10).images_a_step(48)
            (48, 10)
        """
        return min(BATCH_SIZE, images) if self.batch_size is None else self.batch_size
