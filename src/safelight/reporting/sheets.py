"""The snapshots of a run put together: epochs side by side, and the samples developing as an animation."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from safelight.errors import RunError
from safelight.files import refuse_links, write_file

__all__ = [
    "animation_epochs",
    "choose_epochs",
    "contact_sheet",
    "fit",
    "read_picture",
    "snapshots",
    "write_animation",
]

MAX_PIXELS = 1 << 25  # our largest sheet has 1.7 million
MAX_FRAMES = 40
ANIMATION_SIDE = 560  # pixels; a larger sheet is scaled down
PANEL_SIDE = 640
MARGIN = 12
FILM, INK = 24, 226  # grey of the margin and of the words on it, fit for a light and a dark page
PLAYS, HOLD = 6000, 3000  # milliseconds that all frames take, and that the last stays


def snapshots(figures: Path, kind: str, last: int) -> dict[int, Path]:
    """The pictures of one kind that a training drew, by epoch.

    Args:
        figures: a run's folder of pictures.
        kind: "samples" or "reconstructions".
        last: the last finished epoch; a killed run may have left a picture of one more.
    """
    found = {}
    for path in sorted((figures / "epochs").glob(f"{kind}-*.png")):
        match = re.fullmatch(rf"{kind}-(\d{{4,9}})\.png", path.name)
        if match and 1 <= int(match[1]) <= last:
            found[int(match[1])] = path
    return dict(sorted(found.items()))


def choose_epochs(epochs: Sequence[int]) -> list[int]:
    """First, middle and last: 1, 15 and 30 of thirty epochs.

    Example:
        >>> choose_epochs(range(1, 31)), choose_epochs([1, 2]), choose_epochs([1])
        ([1, 15, 30], [1, 2], [1])
    """
    if not epochs:
        return []
    first, last = min(epochs), max(epochs)
    middle = min(epochs, key=lambda epoch: abs(epoch - (first + last) // 2))
    return sorted({first, middle, last})


def animation_epochs(epochs: Sequence[int]) -> list[int]:
    """At most 40 of a run's epochs, evenly spaced, the first and the last among them.

    Example:
        >>> chosen = animation_epochs(range(1, 1001))
        >>> len(chosen), chosen[0], chosen[-1]
        (40, 1, 1000)
    """
    ordered = sorted(epochs)
    if len(ordered) <= MAX_FRAMES:
        return ordered
    return [ordered[round(i * (len(ordered) - 1) / (MAX_FRAMES - 1))] for i in range(MAX_FRAMES)]


def read_picture(path: Path) -> Image.Image:
    """Read a picture of ours, grayscale or RGB.

    Raises:
        RunError: it is damaged, a link, or far larger than ours are.
    """
    refuse_links(path, path.parents[1])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=["PNG"]) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise OSError(f"{image.width}×{image.height} pixels are too many")
                return image.convert("L" if image.mode == "L" else "RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Warning) as error:
        raise RunError(f"{path} cannot be read as a picture ({error}); delete it and try again") from None


def fit(image: Image.Image, side: int = PANEL_SIDE) -> Image.Image:
    """The image, scaled down if it is wider or higher than `side`."""
    if max(image.size) <= side:
        return image
    factor = side / max(image.size)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.resize(size, Image.Resampling.LANCZOS)


def contact_sheet(panels: Sequence[tuple[Image.Image, str]]) -> Image.Image:
    """Pictures side by side on a dark margin, each with its caption below."""
    fitted = [(fit(image), caption) for image, caption in panels]
    mode = "L" if all(image.mode == "L" for image, _ in fitted) else "RGB"
    strip = _strip(fitted[0][0].width)
    width = sum(image.width for image, _ in fitted) + MARGIN * (len(fitted) + 1)
    sheet = Image.new(
        mode, (width, max(image.height for image, _ in fitted) + MARGIN + strip), _grey(mode, FILM)
    )
    x = MARGIN
    for image, caption in fitted:
        sheet.paste(image, (x, MARGIN))
        _write(sheet, caption, x, MARGIN + image.height, image.width, strip)
        x += image.width + MARGIN
    return sheet


def write_animation(path: Path, pictures: Mapping[int, Path], total: int) -> None:
    """Write a GIF of the samples after each epoch; it loops, and rests on the last.

    Args:
        path: the file to write.
        pictures: snapshots by epoch.
        total: number of epochs, written beside the frame's own.

    Raises:
        RunError: a snapshot is damaged, or the file cannot be written.
    """
    frames: list[Image.Image] = []
    size = (0, 0)
    for epoch in reversed(animation_epochs(list(pictures))):
        picture = fit(read_picture(pictures[epoch]), ANIMATION_SIDE)
        size = size if frames else picture.size
        frame = contact_sheet([(picture.resize(size), f"epoch {epoch} of {total}")])
        frames.insert(0, frame if frame.mode == "L" else frame.quantize(256, dither=Image.Dither.NONE))
    each = min(600, max(80, PLAYS // len(frames) // 10 * 10))
    buffer = io.BytesIO()
    frames[0].save(
        buffer,
        "GIF",
        save_all=True,
        append_images=frames[1:],
        duration=[each] * (len(frames) - 1) + [HOLD],
        loop=0,
    )
    write_file(path, buffer.getvalue())


def _strip(width: int) -> int:
    return 2 * _font_size(width)


def _font_size(width: int) -> int:
    return max(11, min(22, width // 22))


def _write(sheet: Image.Image, text: str, x: int, y: int, width: int, height: int) -> None:
    font = ImageFont.load_default(_font_size(width))
    ink = _grey(sheet.mode, INK)
    ImageDraw.Draw(sheet).text((x + width / 2, y + height / 2), text, fill=ink, font=font, anchor="mm")


def _grey(mode: str, value: int) -> int | tuple[int, int, int]:
    return value if mode == "L" else (value, value, value)
