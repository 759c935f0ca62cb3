"""`report.html`: a run on one page that needs nothing but itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from safelight.config.task import PRIORS, CustomTask
from safelight.data.pictures import make_folder, png
from safelight.files import write_file
from safelight.reporting.charts import judge_chart, others_chart
from safelight.reporting.diagnosis import diagnose
from safelight.reporting.evaluation_charts import EVALUATION_CHARTS
from safelight.reporting.page import (
    Chart,
    data_uri,
    duration,
    number,
    plain,
    shown,
    uri,
    write_charts,
    write_page,
)
from safelight.reporting.sheets import (
    choose_epochs,
    contact_sheet,
    fit,
    read_picture,
    snapshots,
    write_animation,
)
from safelight.reporting.summary import Summary, condition, counted, summarize
from safelight.runs.folder import CROSS_VALIDATED, RunFolder

__all__ = ["Panel", "write_report"]

LONG_TABLE = 12  # rows; a longer table is folded
PAGE_SIDE = 640  # pixels; a larger picture is scaled down in the page


@dataclass(frozen=True)
class Panel:
    """A chart that a report is given.

    Attributes:
        name: of its files.
        chart: draws it.
        words: what is to be seen on it.
    """

    name: str
    chart: Chart
    words: str


def write_report(folder: RunFolder, latent: Sequence[Panel] = ()) -> Path:
    """Write a run's charts, sheets and animation into `figures/`, and `report.html` which holds them all.

    Charts: loss.png (the measure that chose the weights), parts.png (the others), and one for each list that
    an evaluation holds; each also as NAME-dark.png. From the pictures of epochs: a sheet of each kind (first,
    middle and last epoch side by side), and an animation of the first kind. What a run does not have is left
    out.

    Args:
        folder: a run with at least one finished epoch.
        latent: maps of its codes.

    Returns:
        The path of report.html.

    Raises:
        RunError: no epoch is finished yet, a file of the run is damaged, or one cannot be written.
    """
    run = summarize(folder)
    figures = make_folder(folder.figures)
    drawn = _drawn(run)
    page = {
        "name": run.name,
        "run": run,
        "charts": write_charts(figures, _charts(run) | {key: entry["chart"] for key, entry in drawn.items()}),
        "drawn": drawn,
        "latent": list(
            zip(latent, write_charts(figures, {p.name: p.chart for p in latent}).values(), strict=True)
        ),
        "examples": uri(figures / "examples.png") if (figures / "examples.png").exists() else None,
        "sheets": [(sheet, _write_sheet(run, figures, sheet.name)) for sheet in run.sheets],
        "animation": _write_animation(run, figures),
        "pictures": _pictures(run, figures),
        "tiles": _tiles(run),
        "status": _status(run, folder.path),
        "prior": PRIORS[run.prior] if run.prior else None,
        "advice": [words.replace("RUN", shown(folder.path)) for words in diagnose(run)],
        "settings": _settings(run),
        "data": _data(run),
        "evaluation": _evaluation(run),
        "path": shown(folder.path),
        "long_table": LONG_TABLE,
    }
    return write_page(folder.path / "report.html", "reporting/run.html.j2", **page)


def _charts(run: Summary) -> dict[str, Chart]:
    """The charts of epochs that the run has numbers for."""
    charts: dict[str, Chart] = {"loss": partial(judge_chart, run)}
    return charts | ({"parts": partial(others_chart, run)} if run.others else {})


def _drawn(run: Summary) -> dict[str, dict[str, Any]]:
    """Charts of what an evaluation holds, of the test split if that was evaluated."""
    found: dict[str, dict[str, Any]] = {}
    for split in sorted(run.evaluation, key=lambda split: split != "test"):
        for key, kind in EVALUATION_CHARTS.items():
            if key in found or key not in run.evaluation[split]:
                continue
            try:
                value = kind.read(run.evaluation[split][key])
            except (KeyError, TypeError, ValueError):
                continue  # damaged: the rest of the page is still worth having
            chart = partial(kind.draw, value)
            found[key] = {"chart": chart, "split": split, "words": kind.words, "table": kind.table(value)}
    return found


def _pictures(run: Summary, figures: Path) -> list[tuple[str, str]]:
    """What an evaluation drew, by name."""
    names = {name for measures in run.evaluation.values() for name in measures.get("pictures", [])}
    paths = {name: figures / "evaluation" / f"{name}.png" for name in sorted(names)}
    found = {name: read_picture(path) for name, path in paths.items() if path.exists()}
    return [
        (name.replace("-", " "), data_uri(png(fit(picture, 2 * PAGE_SIDE)), "png"))
        for name, picture in found.items()
    ]


def _write_sheet(run: Summary, figures: Path, kind: str) -> list[dict[str, Any]]:
    """Write the chosen epochs side by side; for the page, each of them apart, so that they can wrap."""
    pictures = snapshots(figures, kind, run.epochs[-1].epoch)
    numbers = {epoch.epoch: epoch for epoch in run.epochs}
    panels = [(epoch, read_picture(pictures[epoch])) for epoch in choose_epochs(list(pictures))]
    if panels:
        sheet = contact_sheet([(picture, f"epoch {epoch}") for epoch, picture in panels])
        write_file(figures / f"{kind}.png", png(sheet))
    return [
        {
            "epoch": epoch,
            "numbers": numbers.get(epoch),
            "uri": data_uri(png(fit(picture, PAGE_SIDE)), "png"),
            "size": fit(picture, PAGE_SIDE).size,
        }
        for epoch, picture in panels
    ]


def _write_animation(run: Summary, figures: Path) -> dict[str, str] | None:
    """Write the first sheet's animation; None for the page when there is nothing to see move."""
    kind = run.sheets[0].name if run.sheets else ""
    pictures = snapshots(figures, kind, run.epochs[-1].epoch) if kind else {}
    if not pictures:
        return None
    write_animation(figures / f"{kind}.gif", pictures, run.epochs[-1].epoch)
    last = max(pictures)
    still = contact_sheet([(fit(read_picture(pictures[last])), f"epoch {last} of {run.epochs[-1].epoch}")])
    return {
        "moving": uri(figures / f"{kind}.gif") if len(pictures) > 1 else "",
        "still": data_uri(png(still), "png"),
    }


def _tiles(run: Summary) -> list[tuple[str, str, str]]:
    """The numbers that matter most, each with its name and a remark; the first is the headline."""
    judge, best, last = run.headline, run.best, run.epochs[-1]
    tiles = []
    for split in ("test", CROSS_VALIDATED, "validation"):
        measured = run.evaluation.get(split, {})
        if (value := measured.get(judge.name)) is not None:
            of = f", of {counted(measured)} images" * judge.is_headline
            tiles.append((f"{split} {judge.words}", number(value, judge.digits), judge.unit + of))
            break
    if best:
        value = number(best.validation.get(judge.name), judge.digits)
        of = "best validation" if judge is run.judge else "validation"
        tiles.append((f"{of} {judge.words}", value, f"after epoch {best.epoch}"))
    else:
        value = number(last.train.get(judge.name), judge.digits)
        tiles.append((f"training {judge.words}", value, f"in epoch {last.epoch}"))
    tiles.append(("epochs", str(len(run.epochs)), f"of {run.config.training.epochs} planned"))
    tiles.append(("training time", duration(run.seconds), "steps alone"))
    if run.parameters is not None:
        tiles.append(("parameters", f"{run.parameters:,}", str(run.config.network.name)))
    return tiles


def _status(run: Summary, path: Path) -> dict[str, str] | None:
    """Why the run has fewer epochs than planned, and what to do about it; None when it is complete."""
    training, done = run.config.training, len(run.epochs)
    if done >= training.epochs:
        return None
    if training.patience and run.best and run.epochs[-1].epoch - run.best.epoch >= training.patience:
        reason = f"none of the last {training.patience} was better"
        return {"words": f"Stopped after {done} of {training.epochs} epochs: {reason}.", "command": ""}
    words = f"Only {done} of {training.epochs} epochs are finished. To continue:"
    return {"words": words, "command": f"safelight train --resume {shown(path)}"}


def _settings(run: Summary) -> list[tuple[str, list[tuple[str, str]]]]:
    config = run.config
    unset = {"threads": "as many as there are cores", "patience": "never stop early"}

    def rows(part: Any) -> list[tuple[str, str]]:
        fields = dataclasses.asdict(part).items()
        return [(k.replace("_", " "), unset.get(k, "–") if v is None else plain(v)) for k, v in fields]

    task = [("name", config.task.class_name)] if isinstance(config.task, CustomTask) else rows(config.task)
    chosen = [(what, why) for what, _, why in (note.partition(": ") for note in config.notes)]
    return [
        ("Network", rows(config.network)),
        ("Task", task),
        ("Training", rows(config.training)),
        *([("Chosen from the images", chosen)] if chosen else []),
        ("Versions", [(name, version) for name, version in run.config.versions.items()]),
    ]


def _data(run: Summary) -> list[tuple[str, str]]:
    data, image = run.config.data, run.config.image
    validation = "the default of the source" if data.validation is None else f"{data.validation:,}"
    rows = [
        ("source", data.source or "handed over in Python"),
        ("image", f"{image.height} × {image.width}, {'grayscale' if image.channels == 1 else 'colour'}"),
        ("black and white", " and ".join(f"{value:g}" for value in image.range)),
        ("training images", "all the others" if data.limit is None else f"the first {data.limit:,}"),
        ("validation images", validation if data.validation != 0 else "none"),
    ]
    rows += [(f"{split} images, evaluated", counted(m)) for split, m in run.evaluation.items()]
    return [*rows, ("SHA-256 of the images", data.fingerprint or "not stored")]


def _evaluation(run: Summary) -> dict[str, Any] | None:
    """Measures in rows, splits in columns, and what each measure means."""
    if not run.evaluation:
        return None
    splits = list(run.evaluation)
    rows = [
        {
            "name": measure.title,
            "meaning": measure.meaning,
            "values": [number(run.evaluation[split].get(measure.name), measure.digits) for split in splits],
        }
        for measure in run.measures
        if any(run.evaluation[split].get(measure.name) is not None for split in splits)
    ]
    images = [counted(run.evaluation[split]) for split in splits]
    rows.append({"name": "images", "meaning": "that were measured", "values": images})
    words = {k for m in run.evaluation.values() for k, v in m.items() if isinstance(v, str) and k != "split"}
    for name in sorted(words):  # such as what the images were corrupted with
        values = [plain(run.evaluation[split].get(name, "–")) for split in splits]
        rows.append({"name": name.replace("_", " "), "meaning": condition(name), "values": values})
    return {"splits": splits, "rows": rows}
