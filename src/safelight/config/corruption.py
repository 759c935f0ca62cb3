"""What images can suffer, in words and ranges; `data/corruption.py` does it to them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from safelight.config.reading import did_you_mean
from safelight.errors import ConfigError

__all__ = ["CORRUPTIONS", "CorruptionKind", "CorruptionStep", "parse_corruption"]


@dataclass(frozen=True)
class CorruptionKind:
    """One row of the table of corruptions. A severity of 0 leaves an image as it is.

    Attributes:
        severity: what the number means.
        most: the largest that is taken.
        curve: those that an evaluation measures.
        changes_light: whether it makes all of an image brighter or darker.
    """

    severity: str
    most: float
    curve: tuple[float, ...]
    changes_light: bool = False


_SHARES = (0.1, 0.25, 0.5, 0.75, 0.9)
CORRUPTIONS: dict[str, CorruptionKind] = {
    "gaussian": CorruptionKind("standard deviation of added noise", 2, (0.1, 0.25, 0.5, 0.75, 1)),
    "salt-and-pepper": CorruptionKind("share of pixels turned black or white", 1, _SHARES),
    "masking": CorruptionKind("share of pixels turned black", 1, _SHARES),
    "blocks": CorruptionKind("side in pixels of a square turned black", 128, (4, 8, 12, 16, 20)),
    "blur": CorruptionKind("standard deviation in pixels of a Gaussian blur", 8, (0.5, 1, 1.5, 2, 3)),
    "poisson": CorruptionKind("brightness of one photon, white being 1", 1, (0.1, 0.25, 0.5, 0.75, 1)),
    "camera": CorruptionKind(
        "standard deviation at white of photons' noise, with a tenth of it everywhere, as reading adds",
        1,
        (0.05, 0.1, 0.2, 0.35, 0.5),
    ),
    "contrast": CorruptionKind(
        "share of the distance to middle gray that is lost", 1, _SHARES, changes_light=True
    ),
}


@dataclass(frozen=True)
class CorruptionStep:
    """One corruption with its severity, or with a range to draw each image's severity from.

    Attributes:
        name: one of `CORRUPTIONS`.
        low: the least severity.
        high: the greatest severity.
    """

    name: str
    low: float
    high: float

    def __str__(self) -> str:
        severity = f"{self.low:g}" if self.low == self.high else f"{self.low:g}..{self.high:g}"
        return f"{self.name}:{severity}"


def parse_corruption(text: str) -> tuple[CorruptionStep, ...]:
    """Read corruptions such as `gaussian:0.3`, `gaussian:0..1` or `gaussian:0.3+blocks:8`.

    Args:
        text: names and severities; a plus stands between those that follow one another.

    Raises:
        ConfigError: an unknown name, or a severity that is none or out of range.

    Example:
        >>> [str(step) for step in parse_corruption("gaussian:0..1+blocks:8")]
        ['gaussian:0..1', 'blocks:8']
    """
    return tuple(_step(part.strip()) for part in text.split("+"))


def _step(part: str) -> CorruptionStep:
    name, _, severity = part.partition(":")
    if name not in CORRUPTIONS:
        known = ", ".join(f"{kind}:0..{row.most:g}" for kind, row in CORRUPTIONS.items())
        hint = did_you_mean(name, CORRUPTIONS) + "; " if name else ""
        raise ConfigError(f"corrupt: unknown corruption {name!r}; {hint}there are {known}")
    kind = CORRUPTIONS[name]
    low, dots, high = severity.partition("..")
    try:
        numbers = float(low), float(high if dots else low)
    except ValueError:
        numbers = math.nan, math.nan
    if not 0 <= numbers[0] <= numbers[1] <= kind.most:
        raise ConfigError(
            f"corrupt: expected {name} with a severity from 0 to {kind.most:g} ({kind.severity}), such as "
            f"{name}:{kind.most / 4:g} or a range such as {name}:0..{kind.most / 2:g}, got {part!r}"
        )
    return CorruptionStep(name, *numbers)
