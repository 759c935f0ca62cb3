"""What every page of ours is made with: templates, pictures inside it, and numbers as people read them."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from safelight.files import refuse_links, write_file
from safelight.reporting.charts import DARK, LIGHT, Theme, write_both

__all__ = [
    "data_uri",
    "duration",
    "number",
    "plain",
    "shown",
    "title_case",
    "uri",
    "write_charts",
    "write_page",
]

HUGE = 1e6  # from which on the digits after the point mean nothing
Chart = Callable[[Theme], Figure]


def write_page(path: Path, template: str, /, **page: Any) -> Path:
    """Render a template of this folder, with every value escaped, to a page that needs nothing but itself."""
    environment = Environment(
        loader=PackageLoader("safelight", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    environment.filters["plain"] = plain
    environment.filters["title_case"] = title_case
    write_file(path, environment.get_template(template).render(light=LIGHT, dark=DARK, **page))
    return path


def write_charts(figures: Path, charts: Mapping[str, Chart]) -> dict[str, tuple[str, str]]:
    """Write each chart for light and for dark pages; their data URIs by name."""
    for name, chart in charts.items():
        write_both(figures, name, chart)
    return {name: (uri(figures / f"{name}.png"), uri(figures / f"{name}-dark.png")) for name in charts}


def number(value: float | None, digits: int = 2) -> str:
    """A number with so many digits after the point; a dash where there is none."""
    if value is None:
        return "–"
    if digits and abs(value) >= HUGE:
        return f"{value:.1e}"
    return f"{value:.{digits}f}" if digits else f"{value:,.0f}"


def plain(value: object) -> str:
    """A setting's value."""
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(map(plain, value)) if isinstance(value, list | tuple) else str(value)


def title_case(words: str) -> str:
    """Words with a capital in front; unlike `str.capitalize`, PSNR stays PSNR."""
    return words[:1].upper() + words[1:]


def duration(seconds: float) -> str:
    """A time in the units that suit it."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    hours, minutes = whole // 3600, whole % 3600 // 60
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {whole % 60} s"


def shown(path: Path) -> str:
    """A folder as a command takes it; of an absolute path, which says nothing to others, the name."""
    return shlex.quote(path.name if path.is_absolute() else str(path))


def uri(path: Path) -> str:
    """A picture's file as part of a page."""
    refuse_links(path, path.parents[1])
    return data_uri(path.read_bytes(), path.suffix[1:])


def data_uri(content: bytes, kind: str) -> str:
    """A picture as part of a page."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
