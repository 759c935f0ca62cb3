"""The images that a network is made for, and where they come from."""

from __future__ import annotations

from dataclasses import dataclass

from safelight.config.reading import MAX_SIZE, check

__all__ = ["DataConfig", "ImageConfig"]


@dataclass(frozen=True)
class ImageConfig:
    """The images a network was made for.

    Attributes:
        height: rows
        width: columns
        channels: 1 or 3
        range: the pixel values that stand for black and white
    """

    height: int
    width: int
    channels: int
    range: tuple[float, float] = (0, 255)

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            check(1 <= getattr(self, name) <= MAX_SIZE, f"image.{name}", "1 or more", getattr(self, name))
        check(self.channels in (1, 3), "image.channels", "1 or 3", self.channels)
        low, high = self.range
        object.__setattr__(self, "range", (float(low), float(high)))  # as they come back from JSON
        check(self.range[0] < self.range[1], "image.range", "two growing numbers", self.range)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.channels, self.height, self.width


@dataclass(frozen=True)
class DataConfig:
    """Where a run's images came from and how they were divided.

    Attributes:
        source: a named set, a file or a folder; None for images handed over in Python
        fingerprint: SHA-256 of the images before they were divided
        validation: number of validation images; None for the set's default
        limit: number of training images kept; None for all
    """

    source: str | None = None
    fingerprint: str | None = None
    validation: int | None = None
    limit: int | None = None
