"""Whether a cleaned picture can be its noisy one without the noise; in words, where it cannot."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["doubt_of"]

BLOCK = 8  # pixels to a side of the squares whose means tell what is under the noise
LEAST_BLOCKS = 9  # of which a picture can be judged
MOVED = 1 / 3  # of what lies between a picture's darkest and brightest hundredth
CLIPPED = 0.4  # standard deviations by which clipping moves a mean: 1 / sqrt(2π) of a pixel at the end
LEAST_MOVE = 0.02  # of white
SURELY = 4.0  # times the variance that noise leaves in a square's mean
FLAT = 0.01  # of the variance of what was under the noise
PERIODIC = 0.5  # of the variance within squares
SEEN = 0.005  # of white: a standard deviation that one can see


def doubt_of(before: NDArray[Any], after: NDArray[Any], any_light: bool = False) -> str | None:
    """What is wrong with a cleaned picture, if it differs from the noisy one by more than noise.

    Three things are looked for: another brightness, by the mean of the pixels that are neither black nor
    white, as those may have been lost or clipped; nothing left of what the means of squares of 8×8 pixels
    show, from which noise is nearly gone; and a pattern that repeats in each of these squares, as
    convolutions and folds leave it behind.

    Args:
        before: (C, H, W), as shares of white.
        after: the same, cleaned.
        any_light: another brightness is what was asked for.

    Returns:
        Words that follow "the result", or None where there is nothing to say, or the picture is below 24×24.

    Example:
        >>> ramp = np.linspace(0.1, 0.9, 64, dtype=np.float32) * np.ones((1, 64, 1), np.float32)
        >>> noisy = ramp + np.random.default_rng(0).normal(0, 0.1, ramp.shape)
        >>> doubt_of(noisy, ramp), doubt_of(noisy, 0 * ramp + 0.5)
        (None, 'is one even gray or colour, where the picture is not')
    """
    before, after = np.asarray(before, np.float32), np.asarray(after, np.float32)
    if before.shape[1] // BLOCK * (before.shape[2] // BLOCK) < LEAST_BLOCKS:
        return None
    noise = _noise(before)
    inside = (before > 0) & (before < 1)
    if inside.mean() > FLAT and not any_light:
        low, high = np.percentile(before, [1, 99])
        was, became = float(before[inside].mean()), float(after[inside].mean())
        if abs(became - was) > max(MOVED * (high - low), LEAST_MOVE) + CLIPPED * noise:
            way = "brighter" if became > was else "darker"
            return f"is {way} than noise explains: {became:.1%} of white on average, where it was {was:.1%}"
    squares, cleaned = _squares(before), _squares(after)
    structure = squares.mean((2, 4)).var((1, 2)).max() - SURELY * noise**2 / BLOCK**2
    if structure > LEAST_MOVE**2 and cleaned.mean((2, 4)).var((1, 2)).max() < FLAT * structure:
        return "is one even gray or colour, where the picture is not"
    had, (has, seen) = _periodic(squares)[0], _periodic(cleaned)
    if has > max(PERIODIC, 2 * had) and seen > SEEN:
        return f"has a pattern that repeats every {BLOCK} pixels, which the picture has not"
    return None


def _noise(pixels: NDArray[np.float32]) -> float:
    """The standard deviation of white noise, by what four neighbours do not have in common."""
    a, b = pixels[:, :-1], pixels[:, 1:]
    mixed = (a[:, :, :-1] - a[:, :, 1:] - b[:, :, :-1] + b[:, :, 1:]) / 2
    return float(mixed.std())


def _squares(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """(C, rows, BLOCK, columns, BLOCK), without what is left over at the ends."""
    channels, height, width = pixels.shape
    rows, columns = height // BLOCK, width // BLOCK
    whole = pixels[:, : rows * BLOCK, : columns * BLOCK]
    return whole.reshape(channels, rows, BLOCK, columns, BLOCK)


def _periodic(squares: NDArray[np.float32]) -> tuple[float, float]:
    """The share of the variance within squares that is the same in all of them, and its deviation."""
    within = squares - squares.mean((2, 4), keepdims=True)
    pattern = float(within.mean((1, 3)).var())
    return pattern / max(float(within.var()), 1e-12), pattern**0.5
