"""Images side by side, as PNG files.

They need only NumPy and Pillow, and the time of a few batches.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from safelight.errors import RunError
from safelight.files import refuse_links, why, write_file

__all__ = ["captioned", "make_folder", "pairs", "png", "tile", "write_examples"]

LEGIBLE = 64  # pixels that the longer side of a small image is enlarged to, at most
CAPTIONED = 128  # pixels that the longer side of an image over a caption is enlarged to, at most
LINE = 17  # pixels of a caption's line
GUTTER = 4  # pixels between images
GREY = 72  # of the gutter: parts black from black and white from white
PAIRS, PAIR_COLUMNS = 30, 10


def tile(images: Any, columns: int) -> Image.Image:
    """Images side by side on one sheet, row by row.

    Small images are enlarged by a whole number, each pixel to a square. Values outside [0, 1] are clipped,
    NaN is drawn black.

    Args:
        images: (N, C, H, W) floats in [0, 1], C being 1 or 3.
        columns: images a row.

    Returns:
        A grayscale or an RGB image.

    Example:
        >>> import numpy as np
        >>> tile(np.zeros((64, 1, 28, 28)), columns=8).size
        (476, 476)
    """
    pixels = np.nan_to_num(np.asarray(images, np.float32)).clip(0, 1)
    n, channels, height, width = pixels.shape
    scale = max(1, LEGIBLE // max(height, width))
    large = (pixels * 255 + 0.5).astype(np.uint8).repeat(scale, axis=2).repeat(scale, axis=3)
    columns = min(columns, n)
    rows = -(-n // columns)
    h, w = height * scale, width * scale
    cells = np.full((rows * columns, h + GUTTER, w + GUTTER, channels), GREY, np.uint8)
    cells[:n, :h, :w] = large.transpose(0, 2, 3, 1)
    grid = cells.reshape(rows, columns, h + GUTTER, w + GUTTER, channels).swapaxes(1, 2)
    sheet = grid.reshape(rows * (h + GUTTER), columns * (w + GUTTER), channels)[:-GUTTER, :-GUTTER]
    return Image.fromarray(np.ascontiguousarray(sheet[..., 0] if channels == 1 else sheet))


def write_examples(figures: Path, images: Any) -> None:
    """Write examples.png, some of the images of a run.

    Args:
        figures: a run's folder of pictures.
        images: (N, C, H, W) in [0, 1].

    Raises:
        RunError: the file cannot be written.
    """
    columns = next((c for c in (10, 8, 12, 9, 7) if len(images) % c == 0), 10)
    write_file(make_folder(figures) / "examples.png", png(tile(images, columns)))


def png(image: Image.Image) -> bytes:
    """The bytes of a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def pairs(inputs: NDArray[Any], outputs: NDArray[Any]) -> Image.Image:
    """Rows of inputs, each over the row of what became of them, the pairs of rows set apart.

    Args:
        inputs: (N, C, H, W) in [0, 1]; the first 30 are drawn.
        outputs: the same images, changed.
    """
    columns = min(PAIR_COLUMNS, len(inputs))
    count = min(PAIRS, len(inputs)) // columns * columns
    blocks = [
        tile(np.concatenate([inputs[i : i + columns], outputs[i : i + columns]]), columns)
        for i in range(0, count, columns)
    ]
    width, height = blocks[0].size
    step = height + 3 * GUTTER
    sheet = Image.new(blocks[0].mode, (width, step * len(blocks) - 3 * GUTTER), _grey(blocks[0].mode))
    for i, block in enumerate(blocks):
        sheet.paste(block, (0, i * step))
    return sheet


def _grey(mode: str) -> int | tuple[int, int, int]:
    return GREY if mode == "L" else (GREY, GREY, GREY)


def make_folder(path: Path) -> Path:
    """Make a folder for pictures, where it is missing.

    Raises:
        RunError: it cannot be made.
    """
    refuse_links(path, path.parent)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot make the folder {path}: {why(error)}") from None
    return path


def captioned(images: Any, captions: Sequence[str], columns: int) -> Image.Image:
    """Images side by side, each over some lines of text.

    Args:
        images: (N, C, H, W) floats in [0, 1], C being 1 or 3.
        captions: one an image, of equally many lines; what does not fit under it is cut off.
        columns: images a row.

    Returns:
        An RGB image.

    Example:
        >>> import numpy as np
        >>> captioned(np.zeros((2, 1, 28, 28)), ["7", "3"], columns=2).size
        (228, 133)
    """
    font = ImageFont.load_default(LINE - 4)
    pictures = [tile(image[None], 1).convert("RGB") for image in np.asarray(images)]
    scale = max(1, CAPTIONED // max(pictures[0].size))
    width, height = (side * scale for side in pictures[0].size)
    full = height + LINE * len(captions[0].splitlines()) + GUTTER
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    grey = (GREY, GREY, GREY)
    sheet = Image.new("RGB", (columns * (width + GUTTER) - GUTTER, rows * full), grey)
    for i, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        cell = Image.new("RGB", (width, full), grey)
        cell.paste(picture.resize((width, height), Image.Resampling.NEAREST))
        ImageDraw.Draw(cell).multiline_text((3, height + 1), caption, (255, 255, 255), font, spacing=2)
        sheet.paste(cell, (i % columns * (width + GUTTER), i // columns * full))
    return sheet
