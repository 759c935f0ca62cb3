"""How a step's gradients come about: from a whole batch, or from parts of it on one or many processes."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, final

import torch
from torch import Tensor, nn

from safelight.data.batches import Batch, Batches, MicroBatch
from safelight.engines.ranks import Ranks
from safelight.machine import derive_seed
from safelight.networks.base import Network

__all__ = ["Gradients", "MicroBatches", "WholeBatches", "shorten"]

SUDDEN = 5  # times the usual norm
MEMORY = 0.02  # what a step has of the usual norm: the last fifty or so tell it


class Gradients(ABC):
    """What fills the gradients of a network and a loss, step by step."""

    @abstractmethod
    def steps(self, epoch: int, start: int) -> Iterator[Any]:
        """What the steps of an epoch are made from, from step `start` on."""

    @abstractmethod
    def fill(self, step: Any, progress: float) -> tuple[dict[str, Tensor], int]:
        """Fill the gradients, which are None.

        Args:
            step: what `steps` gave.
            progress: share of the training that is done.

        Returns:
            The loss's terms, and how many images they are means over.
        """


@final
class WholeBatches(Gradients):
    """A batch goes through the network at once.

    Args:
        network: that is trained.
        loss: likewise.
        batches: the training images.
        generator: of the loss's noise.
        autocast: the precision to compute in.
    """

    def __init__(
        self,
        network: Network,
        loss: nn.Module,
        batches: Batches,
        generator: torch.Generator,
        autocast: torch.autocast,
    ) -> None:
        self._network = network
        self._loss = loss
        self._batches = batches
        self._generator = generator
        self._autocast = autocast

    def steps(self, epoch: int, start: int) -> Iterator[Batch]:
        """The batches."""
        return self._batches.epoch(epoch, start)

    def fill(self, step: Batch, progress: float) -> tuple[dict[str, Tensor], int]:
        """As in `Gradients`."""
        with self._autocast:
            terms = self._loss(self._network, step, self._generator, progress=progress)
        terms["loss"].backward()
        return terms, len(step)


@final
class MicroBatches(Gradients):
    """A batch goes through the network in parts, each with its own randomness, wherever it is computed.

    A part's gradients, terms and changes of buffers (the running statistics of batch normalization) count by
    its share of the batch's images, and are added along the tree of `Ranks.sum`, to the same bits for any
    number of processes.

    Args:
        network: that is trained.
        loss: likewise.
        batches: the training images.
        parts: of a batch, at most.
        autocast: the precision to compute in.
        ranks: the processes that share the parts.
    """

    def __init__(
        self,
        network: Network,
        loss: nn.Module,
        batches: Batches,
        parts: int,
        autocast: torch.autocast,
        ranks: Ranks,
    ) -> None:
        self._network = network
        self._loss = loss
        self._batches = batches
        self._parts = parts
        self._autocast = autocast
        self._ranks = ranks
        self._parameters = [p for p in (*network.parameters(), *loss.parameters()) if p.requires_grad]
        self._buffers = [b for b in (*network.buffers(), *loss.buffers()) if b.dtype != torch.bool]
        self._names: list[str] = []  # of the terms, once they are known
        self._known = False

    def steps(self, epoch: int, start: int) -> Iterator[list[MicroBatch]]:
        """The parts of the batches."""
        return self._batches.parts(epoch, start, self._parts)

    def fill(self, step: list[MicroBatch], progress: float) -> tuple[dict[str, Tensor], int]:
        """As in `Gradients`."""
        images = sum(map(len, step))
        before = [buffer.clone() for buffer in self._buffers]

        def leaf(number: int) -> Tensor:
            for buffer, value in zip(self._buffers, before, strict=True):
                buffer.copy_(value)
            return self._leaf(step[number], len(step[number]) / images, progress, before)

        total = self._ranks.sum(leaf, len(step))
        if not self._known:  # a process without a part learns what the terms are called
            self._names, self._known = self._ranks.agree_on(self._names), True
        if total is None:
            total = self._parameters[0].new_empty(sum(self._sizes), dtype=self._dtype)
        return self._take(self._ranks.spread(total), before), images

    def _leaf(self, part: MicroBatch, share: float, progress: float, before: list[Tensor]) -> Tensor:
        """What a part adds, as one vector: gradients, changes of buffers, terms."""
        for parameter in self._parameters:
            parameter.grad = None
        seed, device = self._batches.seed, torch.device(self._batches.device)
        generator = torch.Generator(device).manual_seed(derive_seed(seed, f"noise {part.name}"))
        with _layers_draw(derive_seed(seed, f"layers {part.name}"), device):
            with self._autocast:
                terms = self._loss(self._network, self._batches.serve(part), generator, progress=progress)
            (terms["loss"] * share).backward()
        self._names = list(terms)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self._parameters]
        changes = [share * (now - then) for now, then in zip(self._buffers, before, strict=True)]
        values = [share * term.detach() for term in terms.values()]
        return torch.cat([t.reshape(-1).to(self._dtype) for t in (*gradients, *changes, *values)])

    @torch.no_grad()
    def _take(self, total: Tensor, before: list[Tensor]) -> dict[str, Tensor]:
        pieces = iter(torch.split(total, self._sizes))
        for parameter in self._parameters:  # of its layout, as the fused step walks both in memory order
            parameter.grad = torch.empty_like(parameter).copy_(next(pieces).view_as(parameter))
        for buffer, then in zip(self._buffers, before, strict=True):
            change = next(pieces).view_as(buffer)
            buffer.copy_(then + (change if buffer.is_floating_point() else change.round()))
        return {name: value.reshape(()) for name, value in zip(self._names, pieces, strict=True)}

    @property
    def _sizes(self) -> list[int]:
        return [*(t.numel() for t in (*self._parameters, *self._buffers)), *(1 for _ in self._names)]

    @property
    def _dtype(self) -> torch.dtype:
        is_double = any(parameter.dtype == torch.float64 for parameter in self._parameters)
        return torch.float64 if is_double else torch.float32


@contextlib.contextmanager
def _layers_draw(seed: int, device: torch.device) -> Iterator[None]:
    """Layers such as dropout draw from a seed in the block."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@torch.no_grad()
def shorten(parameters: Iterable[nn.Parameter], usual: Tensor | None) -> Tensor:
    """Shorten a sudden gradient of all parameters to five times its usual norm.

    By a gradient far larger than those before it Adam moves every weight by three times the learning rate at
    once, from which a learned prior, a product of exponentials, does not come back. As AutoClip (Seetharaman
    et al. 2020), with a running mean in place of percentiles. Other gradients keep every bit.

    Args:
        parameters: with their gradients, shortened in place; nothing waits for the device.
        usual: the norm so far; None before the first step, which is not shortened.

    Returns:
        The usual norm from now on.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    if usual is None:
        return norm
    usual = torch.where(usual > 0, usual, norm)  # a network may begin without any gradient
    share = (SUDDEN * usual / norm.clamp(min=torch.finfo(norm.dtype).tiny)).clamp(max=1)
    torch._foreach_mul_(gradients, share)
    return usual.lerp(norm * share, MEMORY)
