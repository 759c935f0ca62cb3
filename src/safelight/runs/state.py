"""A training under way, and its way to bytes and back."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, final

import safetensors.torch
import torch
from torch import Tensor, nn

from safelight.networks.base import Network

__all__ = ["GlobalRandomness", "PackedState", "State", "to_bytes"]


def to_bytes(tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """Tensors, wherever they are and however they lie in memory, as a safetensors file."""
    on_cpu = {
        name: t.detach().cpu().clone(memory_format=torch.contiguous_format) for name, t in tensors.items()
    }
    return safetensors.torch.save(on_cpu, metadata)


@dataclass(frozen=True)
class PackedState:
    """A `State` as tensors by name, and numbers fit for JSON.

    Attributes:
        tensors: weights, moments and the states of generators.
        numbers: where the training stands.
    """

    tensors: dict[str, Tensor]
    numbers: dict[str, Any]

    def to_bytes(self) -> bytes:
        """As the bytes of a safetensors file."""
        return to_bytes(self.tensors, {"numbers": json.dumps(self.numbers)})

    @classmethod
    def from_bytes(cls, content: bytes) -> PackedState:
        """Read it back.

        Raises:
            ValueError: these are no such bytes.
        """
        try:
            tensors = safetensors.torch.load(content)
            header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
            return cls(tensors, dict(json.loads(header["__metadata__"]["numbers"])))
        except (safetensors.SafetensorError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"no training state ({error})") from None

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin so, without that beginning."""
        return {k.removeprefix(prefix): t for k, t in self.tensors.items() if k.startswith(prefix)}

    def load_weights(self, network: nn.Module, loss: nn.Module) -> None:
        """Load the weights alone.

        Raises:
            RuntimeError: they are another network's.
        """
        network.load_state_dict(self.part("network."))
        loss.load_state_dict(self.part("loss."))


@final
class GlobalRandomness:
    """What one training draws from torch's global generators, as fresh weights and layers such as dropout do.

    A process has one such generator a device. Here a training has states of its own, which are in place while
    it draws: neither the caller nor a training in another thread draws from them, or it from theirs.

    Args:
        seed: fixes the draws.
        device: of the training.

    Example:
        >>> draws = []
        >>> for _ in range(2):
        ...     with GlobalRandomness(0, "cpu").drawn():
        ...         draws.append(torch.rand(1))
        >>> draws[0] == draws[1]
        tensor([True])
    """

    _turn = threading.RLock()  # of the one whose states are in place

    def __init__(self, seed: int, device: str | torch.device) -> None:
        self._devices = {"cpu", torch.device(device).type} & {"cpu", "cuda", "mps"}
        self.states: dict[str, Tensor] = {}
        with self._turn:
            before = self._read()
            for name in self._devices:
                (torch.default_generator if name == "cpu" else _generator(name)).manual_seed(seed)
            self.states = self._read()
            self._write(before)

    @contextmanager
    def drawn(self) -> Iterator[None]:
        """What is drawn in the block comes from these states, and moves them on.

        Raises:
            KeyError, RuntimeError, TypeError: they are none.
        """
        with self._turn:
            before = self._read()
            try:
                self._write(self.states)
                yield
                self.states = self._read()
            finally:
                self._write(before)

    def _read(self) -> dict[str, Tensor]:
        return {name: _generator(name).get_rng_state() for name in self._devices}

    def _write(self, states: dict[str, Tensor]) -> None:
        for name in self._devices:
            _generator(name).set_rng_state(states[name])


def _generator(device: str) -> Any:
    return torch.random if device == "cpu" else getattr(torch, device)


@dataclass
class State:
    """Everything that a run needs to go on as if it had never stopped.

    Attributes:
        network: with its weights.
        loss: with its own weights, if any.
        optimizer: with its moments.
        generator: the noise still to come.
        layers: what its layers draw from.
        epoch: finished epochs.
        step: batches done in the epoch that is under way.
        sums: over those batches, each term's sum over images, on the network's device.
        images: over those batches, number of images.
        seconds: spent on them.
        untrained: the loss of the first batch, before any step.
        usual_norm: of the gradient of all parameters; None before the first step.
    """

    network: Network
    loss: nn.Module
    optimizer: torch.optim.Adam
    generator: torch.Generator
    layers: GlobalRandomness
    epoch: int = 0
    step: int = 0
    sums: dict[str, Tensor] = field(default_factory=dict)
    images: int = 0
    seconds: float = 0.0
    untrained: float | None = None
    usual_norm: Tensor | None = None

    @property
    def totals(self) -> dict[str, float]:
        """The sums as numbers; to read them is to wait for the device."""
        numbers = torch.stack(list(self.sums.values())).tolist() if self.sums else []
        return dict(zip(self.sums, numbers, strict=True))

    def add(self, terms: dict[str, Tensor], count: int) -> None:
        """Add a batch's terms, means over so many images, without waiting for the device."""
        device = self.generator.device
        for name, term in terms.items():
            total = term.detach().reshape(()).to(device, _precise(device)) * count
            self.sums[name] = self.sums[name] + total if name in self.sums else total
        self.images += count

    def pack(self) -> PackedState:
        """The state as tensors and numbers; to be called from a callback of `fit`."""
        tensors = {f"network.{name}": t for name, t in self.network.state_dict().items()}
        tensors |= {f"loss.{name}": t for name, t in self.loss.state_dict().items()}
        for i, parameter in enumerate(self._parameters()):
            for name, moment in self.optimizer.state[parameter].items():
                tensors[f"optimizer.{i}.{name}"] = moment
        if self.usual_norm is not None:
            tensors["usual_norm"] = self.usual_norm
        tensors["generator"] = self.generator.get_state()
        tensors |= {f"global_generator.{device}": state for device, state in self.layers.states.items()}
        names = ("epoch", "step", "totals", "images", "seconds", "untrained")
        numbers = {name: getattr(self, name) for name in names}
        return PackedState(tensors, numbers)

    def unpack(self, packed: PackedState) -> None:
        """Take over a packed state.

        Raises:
            KeyError, RuntimeError, TypeError, ValueError: it belongs to another network, or is damaged.
        """
        tensors, numbers = packed.tensors, packed.numbers
        packed.load_weights(self.network, self.loss)
        for i, parameter in enumerate(self._parameters()):
            moments = packed.part(f"optimizer.{i}.")
            if not moments:
                continue  # a parameter that no step has used
            shapes = {name: moment.shape for name, moment in moments.items()}
            if shapes != {"step": torch.Size(), "exp_avg": parameter.shape, "exp_avg_sq": parameter.shape}:
                raise ValueError(f"moments of parameter {i} are {shapes}")
            for name, moment in moments.items():
                # The fused step walks both in memory order, so a moment needs its parameter's layout.
                same = moment.shape == parameter.shape
                like = torch.empty_like(parameter) if same else moment.to(parameter.device)
                self.optimizer.state[parameter][name] = like.detach().copy_(moment)
        norm = tensors.get("usual_norm")
        self.usual_norm = None if norm is None else norm.to(self.generator.device)
        self.generator.set_state(tensors["generator"])
        self.layers.states = packed.part("global_generator.")
        with self.layers.drawn():
            pass  # they can be put in place
        counts = [numbers[name] for name in ("epoch", "step", "images")]
        if any(type(count) is not int or count < 0 for count in counts):
            raise ValueError(f"counts are {counts}")
        self.epoch, self.step, self.images = counts
        device = self.generator.device
        self.sums = {
            str(name): torch.tensor(float(total), dtype=_precise(device), device=device)
            for name, total in numbers["totals"].items()
        }
        self.seconds = float(numbers["seconds"])
        self.untrained = None if numbers.get("untrained") is None else float(numbers["untrained"])

    def _parameters(self) -> list[nn.Parameter]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]


def _precise(device: torch.device) -> torch.dtype:
    """Of sums, as numbers of Python are; Apple's devices have no double precision."""
    return torch.float32 if device.type == "mps" else torch.float64
