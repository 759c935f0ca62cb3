"""The images that a network is made for, how pictures become such, and where they come from."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args

from safelight.config.reading import MAX_SIZE, check
from safelight.errors import ConfigError

__all__ = ["BACKGROUNDS", "MAX_CHANNELS", "DataConfig", "Fit", "FitOptions", "How"]

MAX_CHANNELS = 8
MAX_SIDE = 512  # that pictures are fitted to; arrays and tiles may be as large as they are
How = Literal["pad", "crop", "stretch", "tile"]
BACKGROUNDS = ("border", "white", "black")


@dataclass(frozen=True)
class Fit:
    """The images that a network is made for, and how a picture of any other kind becomes one of them.

    Attributes:
        height: rows
        width: columns
        channels: 1 is gray, 3 is colour; up to 8
        range: the pixel values that stand for black and white
        how: pictures of other sizes are scaled and padded, scaled and cropped, stretched, or cut into tiles
        background: what is seen through transparent pixels and around padded pictures: white, black, a colour
            such as #ffcc00, or border, each picture's own border colour, and white through transparent ones
    """

    height: int
    width: int
    channels: int
    range: tuple[float, float] = (0, 255)
    how: How = "pad"
    background: str = "border"

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            check(1 <= getattr(self, name) <= MAX_SIZE, f"image.{name}", "1 or more", getattr(self, name))
        check(1 <= self.channels <= MAX_CHANNELS, "image.channels", f"1 to {MAX_CHANNELS}", self.channels)
        low, high = self.range
        object.__setattr__(self, "range", (float(low), float(high)))  # as they come back from JSON
        check(self.range[0] < self.range[1], "image.range", "two growing numbers", self.range)
        check(self.how in get_args(How), "image.how", f"one of {', '.join(get_args(How))}", self.how)
        _check_background(self.background)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.channels, self.height, self.width

    @property
    def dtype(self) -> str:
        """The number type that holds the range: uint8, uint16 or float32."""
        low, high = self.range
        if (low, high) == (0, 255):
            return "uint8"
        is_whole = low == int(low) and high == int(high)
        return "uint16" if is_whole and low >= 0 and 255 < high <= 65535 else "float32"


@dataclass(frozen=True)
class FitOptions:
    """How pictures of all kinds are made alike; what is left open follows from the pictures.

    Attributes:
        size: of the images, as 64 or 96x64 (width x height); by default the size that nine in ten have,
            or else their median side in steps of 8, at most 64
        fit: pad or crop pictures of other proportions, stretch them, or cut large ones into tiles; by default
            tile for denoising, which leaves every pixel as it is, else pad
        background: behind transparent pixels and around padded pictures: white, black, #ffcc00, or border,
            each picture's own border colour
        image_channels: 1 for gray, 3 for colour; by default colour where a tenth of the pictures have any
        range: LOW..HIGH, the values that stand for black and white, such as 0..4095; auto finds them
    """

    size: str | None = None
    fit: How | None = field(default=None, metadata={"choices": get_args(How)})
    background: str = "border"
    image_channels: int | None = None
    range: str = "auto"

    def __post_init__(self) -> None:
        _ = self.height_and_width, self.low_and_high
        check(self.fit in (None, *get_args(How)), "fit", f"one of {', '.join(get_args(How))}", self.fit)
        check(
            self.image_channels is None or 1 <= self.image_channels <= MAX_CHANNELS,
            "image_channels",
            f"1 to {MAX_CHANNELS}",
            self.image_channels,
        )
        _check_background(self.background)

    @property
    def height_and_width(self) -> tuple[int, int] | None:
        """The size that was asked for; None where it is left open.

        Example:
            >>> FitOptions(size="96x64").height_and_width, FitOptions(size="64").height_and_width
            ((64, 96), (64, 64))
        """
        if self.size is None:
            return None
        found = re.fullmatch(r"(\d{1,5})(?:[x×](\d{1,5}))?", str(self.size).strip().lower())
        width, height = (int(side) for side in (found[1], found[2] or found[1])) if found else (0, 0)
        check(
            min(width, height) >= 8 and max(width, height) <= MAX_SIDE,
            "size",
            f"sides from 8 to {MAX_SIDE}, as 64 or 96x64 (width x height)",
            repr(self.size),
        )
        return height, width

    @property
    def low_and_high(self) -> tuple[float, float] | None:
        """The values of black and white that were asked for; None for auto."""
        if self.range == "auto":
            return None
        low, dots, high = str(self.range).partition("..")
        try:
            values = float(low), float(high)
        except ValueError:
            values = 0.0, 0.0
        check(
            bool(dots) and values[0] < values[1] and abs(values[0]) + abs(values[1]) < 1e38,
            "range",
            "auto, or two growing numbers as in 0..4095",
            repr(self.range),
        )
        return values

    @property
    def how(self) -> How:
        """What becomes of pictures of other proportions and sizes."""
        return self.fit or "pad"

    def suiting(self, task: object) -> FitOptions:
        """With what a task, by its name or one's own, wants where nothing was asked for.

        Example:
            >>> FitOptions().suiting("denoise").how, FitOptions(fit="crop").suiting("denoise").how
            ('tile', 'crop')
        """
        return replace(self, fit="tile") if task == "denoise" and self.fit is None else self

    @staticmethod
    def of(image: Fit) -> FitOptions:
        """What asks for just that."""
        low, high = image.range
        return FitOptions(
            f"{image.width}x{image.height}", image.how, image.background, image.channels, f"{low:g}..{high:g}"
        )

    @staticmethod
    def parted(settings: dict[str, Any]) -> tuple[FitOptions, dict[str, Any]]:
        """Settings by name: those of how pictures are fitted, and the others.

        Example:
            >>> options, others = FitOptions.parted({"size": 32, "epochs": 2})
            >>> options.size, others
            ('32', {'epochs': 2})
        """
        own = {field.name for field in fields(FitOptions)}
        given = {name: value for name, value in settings.items() if name in own}
        if isinstance(given.get("size"), int | tuple | list):
            sides = given["size"] if isinstance(given["size"], tuple | list) else (given["size"],)
            given["size"] = "x".join(str(side) for side in reversed(sides))  # (height, width)
        if isinstance(given.get("range"), tuple | list):
            given["range"] = "..".join(f"{value:g}" for value in given["range"])
        try:
            options = FitOptions(**given)
        except TypeError as error:
            raise ConfigError(f"how pictures are fitted: {error}") from None
        return options, {name: value for name, value in settings.items() if name not in own}


@dataclass(frozen=True)
class DataConfig:
    """Where a run's images came from and how they were divided.

    Attributes:
        source: a named set, a file or a folder; None for images handed over in Python
        fingerprint: SHA-256 of the images before they were divided
        validation: number of validation images; None for the set's default
        limit: number of training images kept; None for all
        labels: folders, none, or a file of them
        encoding: of that file; None for UTF-8 or UTF-16
        keep_na: take NA, none, null, ? and the like for classes, not for labels that are not known
        group_by: a regular expression; images whose names agree in what it finds stay in one part
    """

    source: str | None = None
    fingerprint: str | None = None
    validation: int | None = None
    limit: int | None = None
    labels: str = "folders"
    group_by: str | None = None
    encoding: str | None = None
    keep_na: bool = False

    def __post_init__(self) -> None:
        if self.encoding is not None and self.labels in ("folders", "none"):
            raise ConfigError("encoding is that of a file of labels; give it with labels, or leave it out")
        if self.group_by is not None:
            try:
                re.compile(self.group_by)
            except re.error as error:
                raise ConfigError(
                    f"group_by: expected a regular expression, got {self.group_by!r} ({error})"
                ) from None


def _check_background(background: str) -> None:
    fits = background in BACKGROUNDS or re.fullmatch(r"#[0-9a-fA-F]{6}", background)
    check(bool(fits), "background", "white, black, border, or a colour such as #ffcc00", repr(background))
