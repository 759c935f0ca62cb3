"""Ways through the latent space: between two codes, and along each of its dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from safelight.config.reading import check, whole
from safelight.latent.codes import Codes
from safelight.networks.base import device_of
from safelight.tasks.priors import Flow

__all__ = ["MAX_STEPS", "PATHS", "Traversals", "WalkPath", "traversals", "walk", "walk_path"]

WalkPath = Literal["linear", "spherical", "flow"]
PATHS = get_args(WalkPath)
MAX_STEPS = 1000
QUANTILES = (0.01, 0.99)  # of the data along a dimension: how far a traversal goes


def walk_path(path: WalkPath | None, has_flow: bool) -> WalkPath:
    """The way to take: what is asked for, or the flow's where there is one.

    Args:
        path: linear, spherical, flow or None.
        has_flow: whether the network's prior is a flow.

    Raises:
        ConfigError: no such way.

    Example:
        >>> walk_path(None, True), walk_path(None, False)
        ('flow', 'spherical')
    """
    if path is None:
        return "flow" if has_flow else "spherical"
    check(path in PATHS, "path", " or ".join(PATHS), repr(path))
    check(path != "flow" or has_flow, "path", "linear or spherical with a prior that is no flow", path)
    return path


@torch.no_grad()
def walk(
    start: NDArray[np.float32],
    end: NDArray[np.float32],
    steps: int = 12,
    path: WalkPath = "spherical",
    flow: Flow | None = None,
) -> NDArray[np.float32]:
    """Codes from one to another.

    A straight line passes nearer to the origin than codes drawn from a normal prior lie; the spherical way
    (White 2016, Sampling Generative Networks, section 2.1) turns from one direction to the other at an even
    pace. Its length goes evenly from one's to the other's, so that no code of the way is longer than both;
    between nearly opposite ones White's formula leaves the space. Codes of the same or of opposite
    direction, or at the origin, have no such way but the line. A flow's way is straight where the flow makes
    the codes normal, and bends around what is unlikely.

    Args:
        start: (D,).
        end: (D,).
        steps: number of codes, both ends among them.
        path: linear, spherical or flow.
        flow: the prior, for its way.

    Returns:
        (steps, D).

    Raises:
        ConfigError: fewer than 2 steps, or more than 1,000.

    Example:
        >>> walk(np.array([1, 0], np.float32), np.array([0, 1], np.float32), 3).round(3).tolist()
        [[1.0, 0.0], [0.7070000171661377, 0.7070000171661377], [0.0, 1.0]]
    """
    steps = whole("steps", steps, 2, MAX_STEPS)
    if flow is not None and path == "flow":
        device = device_of(flow)
        ends = flow.to_base(torch.as_tensor(np.stack([start, end]), device=device))
        straight = walk(ends[0].cpu().numpy(), ends[1].cpu().numpy(), steps, "linear")
        return flow.from_base(torch.as_tensor(straight, device=device)).cpu().numpy()
    a, b = np.asarray(start, np.float64), np.asarray(end, np.float64)
    t = np.linspace(0, 1, steps)[:, None]  # (steps, 1)
    first, second = np.linalg.norm(a), np.linalg.norm(b)
    angle = np.arccos(np.clip(a @ b / (first * second), -1, 1)) if first and second else 0.0
    if path == "linear" or np.sin(angle) < 1e-4:
        between = (1 - t) * a + t * b
    else:
        turned = (np.sin((1 - t) * angle) * a / first + np.sin(t * angle) * b / second) / np.sin(angle)
        between = ((1 - t) * first + t * second) * turned
    return between.astype(np.float32)


@dataclass(frozen=True, eq=False)
class Traversals:
    """Codes that differ in one dimension at a time.

    Attributes:
        dimensions: (R,), which dimension each row changes, the most telling first.
        tells: (R,), what it tells of an image: its mean KL in nats; its variance where codes are points.
        is_kl: which of both.
        codes: (R, steps, D).
    """

    dimensions: NDArray[np.int64]
    tells: NDArray[np.float64]
    is_kl: bool
    codes: NDArray[np.float32]


def traversals(
    codes: Codes, steps: int = 9, start: NDArray[np.float32] | None = None, rows: int | None = None
) -> Traversals:
    """Change one dimension of a code at a time, over the range that the data have in it.

    Args:
        codes: of the data; their 1st and 99th percentiles in each dimension bound the range.
        steps: codes a row.
        start: (D,), the code to change; the mean of `codes` by default.
        rows: the most dimensions to show, the most telling.

    Raises:
        ConfigError: fewer than 2 steps, or more than 1,000.

    Example:
        >>> mu = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32) * [1, 3, 2]
        >>> found = traversals(Codes(mu.astype(np.float32), None, mu[:, 0], None, ("",) * 100), steps=5)
        >>> found.dimensions.tolist(), found.codes.shape
        ([1, 2, 0], (3, 5, 3))
    """
    steps = whole("steps", steps, 2, MAX_STEPS)
    codes = codes.finite()
    tells = codes.spread()
    order = np.argsort(-tells, kind="stable")[:rows]
    low, high = np.quantile(codes.mu, QUANTILES, axis=0)
    middle = codes.mu.mean(0) if start is None else start
    found = np.tile(np.asarray(middle, np.float32), (len(order), steps, 1))  # (R, steps, D)
    for row, dimension in enumerate(order):
        found[row, :, dimension] = np.linspace(low[dimension], high[dimension], steps)
    return Traversals(order, tells[order], codes.logvar is not None, found)
