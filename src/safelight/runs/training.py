"""`fit`, the only training loop: for autoencoders, and whatever else has batches and a loss.

The loop is pure as to files: it hands its `State` to two callbacks after every batch and every epoch, and a
`State` packed into tensors and numbers continues, bit for bit, where it was packed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from safelight.config.training import TrainingConfig
from safelight.data.batches import Batches
from safelight.engines.ranks import ALONE, Ranks
from safelight.errors import RunError, TrainingError
from safelight.machine import compute_thread, derive_seed
from safelight.networks.base import Network, device_of
from safelight.runs.gradients import Gradients, MicroBatches, WholeBatches, shorten
from safelight.runs.state import GlobalRandomness, PackedState, State

__all__ = [
    "EpochResult",
    "diverged",
    "fit",
    "learning_rate",
]

LOOK = 100  # steps from one look at the loss to the next: each waits for the device


@dataclass(frozen=True)
class EpochResult:
    """What an epoch came to.

    Attributes:
        epoch: counted from 1.
        terms: the loss's terms, each a mean over the epoch's images, in nats.
        lr: the learning rate of the last step.
        seconds: spent in training steps, also before an interruption.
        images: number of images trained on.
    """

    epoch: int
    terms: dict[str, float]
    lr: float
    seconds: float
    images: int


def fit(
    network: Network,
    batches: Batches,
    loss: nn.Module,
    config: TrainingConfig,
    on_epoch: Callable[[EpochResult, State], object] | None = None,
    on_step: Callable[[State], object] | None = None,
    packed: PackedState | None = None,
    ranks: Ranks = ALONE,
) -> State:
    """Train a network with Adam (Kingma & Ba 2015); sudden gradients are shortened.

    Args:
        network: trained in place, on the device it is on.
        batches: the training images.
        loss: called as `loss(network, batch, generator, progress)`, gives named terms; "loss" is minimized.
        config: epochs, rates, seed, precision, micro-batches.
        on_epoch: called after each epoch; a true answer ends the training.
        on_step: called after each batch; a true answer pauses it.
        packed: a `State.pack()` to continue from.
        ranks: the processes that train together; each calls `fit` with the same, and the first answers.

    Returns:
        The state at the end; network and loss are in training mode.

    Raises:
        RunError: `packed` belongs to another network, or is damaged; another process is gone.
        TrainingError: the loss is no longer finite; the steps before it may have spoilt the weights.

    Example:
        >>> import safelight
        >>> from safelight.config.training import TrainingConfig
        >>> from safelight.data.batches import Batch, Batches
        >>> from safelight.networks.conv_vae import ConvVAE
        >>> from safelight.tasks.objective import Bernoulli, NegativeELBO
        >>> config = TrainingConfig(epochs=2, batch_size=64, threads=1)
        >>> losses = []
        >>> state = fit(
        ...     ConvVAE((1, 8, 8)),
        ...     Batches(safelight.load("digits"), config.batch_size, config.seed),
        ...     NegativeELBO(Bernoulli()),
        ...     config,
        ...     on_epoch=lambda result, state: losses.append(result.terms["loss"]),
        ... )
        >>> state.epoch, losses[1] < losses[0]
        (2, True)
    """
    device = torch.device(device_of(network))
    parameters = [p for p in (*network.parameters(), *loss.parameters()) if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, config.lr, weight_decay=config.weight_decay, fused=True)
    generator = torch.Generator(device).manual_seed(derive_seed(config.seed, "noise"))
    layers = GlobalRandomness(derive_seed(config.seed, "layers"), device)
    state = State(network, loss, optimizer, generator, layers)
    steps = len(batches) * config.epochs
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16")
    gradients: Gradients = WholeBatches(network, loss, batches, generator, autocast)
    if config.micro_batches and config.micro_batches > 1:
        gradients = MicroBatches(network, loss, batches, config.micro_batches, autocast, ranks)

    def take_step(served: Iterator[Any], rate: float, progress: float) -> None:
        step = next(served)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        terms, images = gradients.fill(step, progress)
        state.usual_norm = shorten(parameters, state.usual_norm)
        optimizer.step()
        state.add(terms, images)

    with torch.inference_mode(False), torch.enable_grad(), compute_thread() as compute:
        if packed:
            try:
                state.unpack(packed)
            except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
                detail = " ".join(str(error).split())[:200]
                raise RunError(f"the saved state does not fit this run ({detail}); train a new run") from None
        network.train(), loss.train()
        while state.epoch < config.epochs:
            started = time.perf_counter() - state.seconds
            served = gradients.steps(state.epoch, state.step)
            while state.step < len(batches):
                done = state.epoch * len(batches) + state.step
                with layers.drawn(), _deterministic():
                    compute(take_step, served, learning_rate(config, done, steps), done / steps)
                state.step += 1
                state.seconds = time.perf_counter() - started
                if state.untrained is None or state.step % LOOK == 0 or state.step == len(batches):
                    _look(state, config)
                if ranks.agree(bool(on_step and on_step(state))):
                    return state
            result = EpochResult(
                epoch=state.epoch + 1,
                terms={name: total / state.images for name, total in state.totals.items()},
                lr=learning_rate(config, (state.epoch + 1) * len(batches) - 1, steps),
                seconds=state.seconds,
                images=state.images,
            )
            state.epoch += 1
            state.step, state.sums, state.images, state.seconds = 0, {}, 0, 0.0
            if ranks.agree(bool(on_epoch and on_epoch(result, state))):
                break
            network.train(), loss.train()
    return state


def _look(state: State, config: TrainingConfig) -> None:
    """Read the mean loss of the epoch so far, and go on only if it is a number."""
    mean = state.totals["loss"] / state.images
    if not math.isfinite(mean):
        rate = state.optimizer.param_groups[0]["lr"]
        what = f"the loss became {mean} in epoch {state.epoch + 1} at a rate of {rate:.3g}"
        raise diverged(what, state.epoch, config)
    if state.untrained is None:
        state.untrained = mean


def diverged(what: str, finished: int, config: TrainingConfig) -> TrainingError:
    """The error of a training that went wrong.

    Args:
        what: happened.
        finished: epochs, which are kept.
        config: how it was trained.
    """
    kept = f"; {finished} finished epoch{'s are' if finished > 1 else ' is'} kept" if finished else ""
    advice = " or use float32" if config.precision == "bfloat16" else ""
    replacing = ", and --overwrite" if finished else ""
    return TrainingError(f"{what}{kept}; begin anew with a lower --lr{advice}{replacing}")


@contextmanager
def _deterministic() -> Iterator[None]:
    """CuDNN's operators that sum in one order; `cudnn.flags` would set what it was not asked for as well."""
    cudnn: Any = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before


def learning_rate(config: TrainingConfig, step: int, steps: int) -> float:
    """The rate at step t of T: it rises over the warm-up, and decays over the whole run.

    Linear: lr (1 - t/T). By gamma: lr gamma^(t/T), so that gamma is the decay over the whole run, however
    long.

    Example:
        >>> config = TrainingConfig(lr=1.0, decay="gamma", gamma=0.25, warmup=0)
        >>> [learning_rate(config, step, 100) for step in (0, 50, 100)]
        [1.0, 0.5, 0.25]
    """
    share = step / steps
    decay = 1 - share if config.decay == "linear" else config.gamma**share
    rise = min(1.0, (step + 1) / (config.warmup * steps)) if config.warmup else 1.0
    return config.lr * decay * rise
