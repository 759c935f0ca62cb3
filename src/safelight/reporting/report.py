"""`report.html`: a run on one page that needs nothing but itself."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

from safelight.data.pictures import png
from safelight.files import write_file
from safelight.reporting.charts import kl_chart, loss_chart, parts_chart
from safelight.reporting.page import (
    Chart,
    data_uri,
    duration,
    make_figures,
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
from safelight.reporting.summary import Summary, summarize
from safelight.runs.folder import RunFolder

__all__ = ["write_report"]

LONG_TABLE = 12  # rows; a longer table is folded
MAX_TABLE = 200  # rows; a longer one is left to the files
PAGE_SIDE = 640  # pixels; a larger picture is scaled down in the page


def write_report(folder: RunFolder) -> Path:
    """Write a run's charts, sheets and animation into `figures/`, and `report.html` which holds them all.

    Charts: loss.png, parts.png and kl.png, each also as NAME-dark.png. From the snapshots: samples.png and
    reconstructions.png (first, middle and last epoch side by side), and samples.gif. What a run does not
    have, such as a KL, snapshots or an evaluation, is left out.

    Args:
        folder: a run with at least one finished epoch.

    Returns:
        The path of report.html.

    Raises:
        RunError: no epoch is finished yet, a file of the run is damaged, or one cannot be written.
    """
    run = summarize(folder)
    figures = folder.figures
    make_figures(figures)
    page = {
        "name": run.name,
        "run": run,
        "charts": write_charts(figures, _charts(run)),
        "examples": uri(figures / "examples.png") if (figures / "examples.png").exists() else None,
        "samples": _write_sheet(run, figures, "samples"),
        "reconstructions": _write_sheet(run, figures, "reconstructions"),
        "animation": _write_animation(run, figures),
        "tiles": _tiles(run),
        "status": _status(run, folder.path),
        "settings": _settings(run),
        "data": _data(run),
        "evaluation": _evaluation(run),
        "kl": _kl(run),
        "path": shown(folder.path),
        "pixel_count": math.prod(run.config.image.shape),
        "long_table": LONG_TABLE,
    }
    return write_page(folder.path / "report.html", "reporting/run.html.j2", **page)


def _charts(run: Summary) -> dict[str, Chart]:
    """The charts that the run has numbers for."""
    draw: dict[str, Chart] = {"loss": lambda theme: loss_chart(run.epochs, theme)}
    if run.variational:
        draw["parts"] = lambda theme: parts_chart(run.epochs, theme)
    kl = _kl(run)
    if kl:
        draw["kl"] = lambda theme: kl_chart(kl["values"], theme)
    return draw


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
    """Write samples.gif; None for the page when there is nothing to see move."""
    pictures = snapshots(figures, "samples", run.epochs[-1].epoch)
    if not pictures:
        return None
    write_animation(figures / "samples.gif", pictures, run.epochs[-1].epoch)
    last = max(pictures)
    still = contact_sheet([(fit(read_picture(pictures[last])), f"epoch {last} of {run.epochs[-1].epoch}")])
    return {
        "moving": uri(figures / "samples.gif") if len(pictures) > 1 else "",
        "still": data_uri(png(still), "png"),
    }


def _tiles(run: Summary) -> list[tuple[str, str, str]]:
    """The numbers that matter most, each with its name and a remark; the first is the headline."""
    test, best, last = run.evaluation.get("test"), run.best, run.epochs[-1]
    tiles = []
    if test:
        tiles.append(("test loss", number(test.get("loss"), 2), "nats per image"))
    if best:
        tiles.append(("best validation loss", number(best.val_loss, 2), f"after epoch {best.epoch}"))
    else:
        tiles.append(("training loss", number(last.train_loss, 2), f"in epoch {last.epoch}"))
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
    network, training = run.config.network, dataclasses.asdict(run.config.training)
    fields = network.fields
    fields = fields if isinstance(fields, dict) else {}
    unset = {"threads": "as many as there are cores", "patience": "never stop early"}
    return [
        ("Network", [("name", network.name), *((str(k), plain(v)) for k, v in fields.items())]),
        (
            "Training",
            [(k.replace("_", " "), unset.get(k, "–") if v is None else plain(v)) for k, v in training.items()]
            + [("likelihood", run.config.likelihood)],
        ),
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
    rows += [(f"{split} images, evaluated", number(m.get("n"), 0)) for split, m in run.evaluation.items()]
    return [*rows, ("SHA-256 of the images", data.fingerprint or "not stored")]


def _evaluation(run: Summary) -> dict[str, Any] | None:
    """Measures in rows, splits in columns, and what each measure means."""
    if not run.evaluation:
        return None
    splits = list(run.evaluation)
    samples = sorted({int(m["iw_samples"]) for m in run.evaluation.values() if m.get("iw_samples")})
    k = " or ".join(map(str, samples)) or "k"
    latent = len(_kl(run)["values"]) if _kl(run) else None
    meaning = {
        "loss": ("loss", run.convention, 4),
        "reconstruction": ("reconstruction", "its part −log p(x | z)", 4),
        "kl": ("KL", "its part KL(q(z | x) ‖ p(z))", 4),
        "loss_at_mean": ("loss at the mean", "z at the mean of q(z | x); lower, and not a bound", 4),
        "iw_bound": ("importance-weighted bound", f"on −log p(x), k = {k} samples of z an image", 4),
        "active_units": (
            "active units",
            f"of {latent} dimensions, those whose mean varies" if latent else "dimensions whose mean varies",
            0,
        ),
        "n": ("images", "that were measured", 0),
    }
    rows = [
        {
            "name": name,
            "meaning": words,
            "values": [number(run.evaluation[split].get(key), digits) for split in splits],
        }
        for key, (name, words, digits) in meaning.items()
        if (run.variational or key in ("loss", "n"))  # the others are the same number, or none
        and any(run.evaluation[split].get(key) is not None for split in splits)
    ]
    return {"splits": splits, "rows": rows}


def _kl(run: Summary) -> dict[str, Any]:
    """KL of each dimension, on the test split if that was evaluated; empty when there is none."""
    for split in sorted(run.evaluation, key=lambda split: split != "test"):
        values = run.evaluation[split].get("kl_per_dimension")
        if values:
            ranked = sorted(enumerate(values), key=lambda pair: -pair[1])
            return {"split": split, "values": values, "ranked": ranked[:MAX_TABLE]}
    return {}
